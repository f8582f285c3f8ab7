//! raft-engine: every thread appends to a Raft group of its own, as TiKV's regions do; the groups share one log, and writers that meet are led by
//! the first in the queue. Entries are protobuf messages, here the smallest that carries bytes: an index of 8 bytes, then the record.

use std::path::Path;
use std::sync::Mutex;

use ::raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};
use protobuf::well_known_types::BytesValue;

use crate::side::{Log, Mode, Outcome};

const THREADS: u64 = 64;
const INDEX: usize = 8;

struct Record;

impl MessageExt for Record {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        entry.value.first_chunk::<INDEX>().map_or(0, |index| u64::from_le_bytes(*index))
    }
}

fn entry(index: u64, value: &[u8]) -> BytesValue {
    let mut entry = BytesValue::new();
    entry.value.reserve_exact(INDEX + value.len());
    entry.value.extend_from_slice(&index.to_le_bytes());
    entry.value.extend_from_slice(value);
    entry
}

/// A thread's group.
struct Group {
    last: u64,
    batch: LogBatch,
}

struct Peer {
    engine: Engine,
    mode: Mode,
    groups: Vec<Mutex<Group>>,
    half: u64,
}

/// Groups are counted from 1.
fn region(thread: usize) -> u64 {
    thread as u64 + 1
}

pub(crate) fn open(dir: &Path, mode: Mode) -> Outcome<Box<dyn Log>> {
    let config = Config {
        dir: dir.to_str().ok_or("the directory's name is not UTF-8")?.to_string(),
        // Records are what they are: no side compresses.
        batch_compression_threshold: ReadableSize(0),
        // What is forgotten is given back when asked for, not only above 10 GiB.
        purge_threshold: ReadableSize::mb(256),
        ..Config::default()
    };
    let engine = Engine::open(config)?;
    let last = |region| engine.last_index(region).unwrap_or(0);
    let groups = (1..=THREADS).map(|region| Mutex::new(Group { last: last(region), batch: LogBatch::default() })).collect();
    Ok(Box::new(Peer { engine, mode, groups, half: 0 }))
}

impl Peer {
    fn write(&self, thread: usize, value: &[u8], count: u64, sync: bool) -> Outcome<()> {
        let mut group = self.groups.get(thread).ok_or("too many threads")?.lock().map_err(|_| "a thread panicked")?;
        let entries: Vec<BytesValue> = (1..=count).map(|n| entry(group.last + n, value)).collect();
        group.last += count;
        group.batch.add_entries::<Record>(region(thread), &entries)?;
        self.engine.write(&mut group.batch, sync)?;
        Ok(())
    }
}

impl Log for Peer {
    fn append(&self, thread: usize, value: &[u8]) -> Outcome<()> {
        self.write(thread, value, 1, self.mode == Mode::Durable)
    }

    fn fill(&mut self, value: &[u8], count: u64) -> Outcome<()> {
        let mut left = count;
        while left > 0 {
            self.write(0, value, left.min(1000), false)?;
            left -= left.min(1000);
        }
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.engine.sync()?)
    }

    fn replay(&mut self, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let mut entries = Vec::new();
        for region in self.engine.raft_groups() {
            let (Some(first), Some(last)) = (self.engine.first_index(region), self.engine.last_index(region)) else { continue };
            for begin in (first..=last).step_by(1000) {
                entries.clear();
                self.engine.fetch_entries_to::<Record>(region, begin, (begin + 1000).min(last + 1), None, &mut entries)?;
                entries.iter().for_each(|entry| visit(&entry.value[INDEX..]));
            }
        }
        Ok(())
    }

    fn prepare_forget(&mut self) -> Outcome<()> {
        self.half = self.engine.last_index(region(0)).unwrap_or(0) / 2;
        Ok(())
    }

    fn forget_half(&self) -> Outcome<()> {
        self.engine.compact_to(region(0), self.half + 1);
        self.engine.purge_expired_files()?;
        Ok(())
    }
}
