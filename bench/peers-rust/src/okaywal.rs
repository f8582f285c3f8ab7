//! okaywal: an entry of one chunk for each record; commits are grouped by the log itself. Nothing is checkpointed until asked for, so that the log
//! holds what was appended; files are written ahead 64 MiB at a time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ::okaywal::{Configuration, Entry, EntryId, LogManager, ReadChunkResult, SegmentReader, WriteAheadLog};

use crate::side::{Log, Mode, Outcome, Trouble};

/// What recovery showed; records are only kept when they are wanted.
#[derive(Debug, Default)]
struct Recovered {
    wanted: bool,
    records: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Manager(Arc<Mutex<Recovered>>);

impl LogManager for Manager {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        let mut recovered = self.0.lock().map_err(|_| io::Error::other("a thread panicked"))?;
        while let ReadChunkResult::Chunk(mut chunk) = entry.read_chunk()? {
            let record = chunk.read_all()?;
            if !chunk.check_crc()? {
                return Err(io::Error::other("a wrong checksum"));
            }
            if recovered.wanted {
                recovered.records.push(record);
            }
        }
        Ok(())
    }

    fn checkpoint_to(&mut self, _last: EntryId, _entries: &mut SegmentReader, _wal: &WriteAheadLog) -> io::Result<()> {
        Ok(())
    }
}

struct Peer {
    dir: PathBuf,
    log: Option<WriteAheadLog>,
}

fn recover(dir: &Path, recovered: Arc<Mutex<Recovered>>) -> Outcome<WriteAheadLog> {
    Ok(Configuration::default_for(dir)
        .preallocate_bytes(64 << 20)
        .checkpoint_after_bytes(u64::MAX)
        .buffer_bytes(1 << 20)
        .open(Manager(recovered))?)
}

pub(crate) fn open(dir: &Path, mode: Mode) -> Outcome<Box<dyn Log>> {
    if mode == Mode::Buffered {
        return Err(Trouble::No("every commit syncs"));
    }
    Ok(Box::new(Peer { dir: dir.to_path_buf(), log: Some(recover(dir, Arc::default())?) }))
}

impl Peer {
    fn log(&self) -> Outcome<&WriteAheadLog> {
        Ok(self.log.as_ref().ok_or("the log is closed")?)
    }
}

impl Log for Peer {
    fn append(&self, _thread: usize, value: &[u8]) -> Outcome<()> {
        let mut entry = self.log()?.begin_entry()?;
        entry.write_chunk(value)?;
        entry.commit()?;
        Ok(())
    }

    fn fill(&mut self, value: &[u8], count: u64) -> Outcome<()> {
        let mut left = count;
        while left > 0 {
            let mut entry = self.log()?.begin_entry()?;
            for _ in 0..left.min(10_000) {
                entry.write_chunk(value)?;
            }
            entry.commit()?;
            left -= left.min(10_000);
        }
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        Ok(())
    }

    /// Records are shown by recovery and nowhere else.
    fn replay(&mut self, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        if let Some(log) = self.log.take() {
            log.shutdown()?;
        }
        let recovered = Arc::new(Mutex::new(Recovered { wanted: true, records: Vec::new() }));
        self.log = Some(recover(&self.dir, recovered.clone())?);
        recovered.lock().map_err(|_| "a thread panicked")?.records.iter().for_each(|record| visit(record));
        Ok(())
    }

    /// Everything before this moment, not the half: there is no choice.
    fn forget_half(&self) -> Outcome<()> {
        Ok(self.log()?.checkpoint_active()?)
    }
}
