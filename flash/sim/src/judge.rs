//! What was acknowledged, and whether a log has it.

use std::cell::RefCell;

use wal_engine::error::Code;
use wal_engine::segment::payload::Entries;
use wal_engine::seq;
use wal_flash::chip::Geometry;
use wal_flash::fail::Miss;
use wal_flash::log::{Log, Settings};
use wal_flash::replay::Cursor;

use crate::chip::{Flash, Pins};

/// A record as the model keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub op: u8,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// One thing that a host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A small record.
    Small,
    /// One that leaves little room in a segment.
    Big,
    /// Three records, all or none.
    Batch,
    /// One record in three pieces.
    Pieces,
    /// One that is given up behind its first piece.
    GivenUp,
    /// The store holds everything.
    Checkpoint,
    /// Forget up to the last checkpoint.
    Truncate,
    /// Erase ahead.
    Prepare,
    /// The power goes and comes back between two calls.
    Reopen,
}

pub const OPS: [Op; 9] = [Op::Small, Op::Big, Op::Batch, Op::Pieces, Op::GivenUp, Op::Checkpoint, Op::Truncate, Op::Prepare, Op::Reopen];

/// What the log was asked and what it promised.
#[derive(Clone, Default)]
pub struct Model {
    /// Record `i` has seq `i + 1`. CHECKPOINT records too.
    pub entries: Vec<Entry>,
    pub floor: u64,
    pub n: u64,
    /// Records up to here are promised.
    pub durable: u64,
    /// What an interrupted call may have done.
    pub maybe: Maybe,
}

#[derive(Clone, Default)]
pub struct Maybe {
    pub entries: Vec<Entry>,
    pub floor: Option<u64>,
    pub n: Option<u64>,
}

/// What a log says.
#[derive(PartialEq, Eq, Debug)]
pub struct Shown {
    records: Vec<(u64, u64, Entry)>,
    last: u64,
    floor: u64,
    n: u64,
}

impl Shown {
    /// The records as the reader in Python prints them, as far as that needs no SHA-256.
    pub fn lines(&self) -> Vec<String> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let value = |bytes: &[u8]| match bytes.len() {
            0..=64 => format!("\"value\": \"{}\"", hex(bytes)),
            len => format!("\"value_len\": {len}, \"value_sha256\""),
        };
        let line = |seq: u64, entry: &Entry| {
            format!("{{\"seq\": {seq}, \"op\": {}, \"key\": \"{}\", {}", entry.op, hex(&entry.key), value(&entry.value))
        };
        self.records.iter().map(|(seq, _, entry)| line(*seq, entry)).collect()
    }

    /// Whether it is `other` without its last records, at most so many.
    pub fn is_front_of(&self, other: &Shown, most: usize) -> bool {
        other.records.starts_with(&self.records) && self.records.len() + most >= other.records.len()
    }
}

/// The memory that a log works in: small, so that everything crosses its edges.
pub struct Memory {
    slots: Vec<u32>,
    page: Vec<u8>,
    window: Vec<u8>,
}

impl Memory {
    pub fn new(geometry: &Geometry, page: usize) -> Memory {
        Memory { slots: vec![0; geometry.slots() as usize], page: vec![0; page], window: vec![0; 128] }
    }
}

pub fn settings(geometry: Geometry, sync_each: bool) -> Settings {
    Settings {
        geometry,
        sync_each,
        verify: false,
        overwrite: false,
        store_seq: None,
        expected_log_id: None,
        new_log_id: *b"0123456789abcdef",
    }
}

/// Opens the log on a chip.
pub fn open<'m>(flash: &'m RefCell<Flash>, memory: &'m mut Memory, settings: Settings) -> Result<Log<'m, Pins<'m>>, Code> {
    let mut log = Log::new(Pins(flash), &settings, &mut memory.slots, &mut memory.page, &mut memory.window);
    log.open(&settings).map(|()| log)
}

fn entry(op: u8, len: usize, seed: u64) -> Entry {
    let byte = |i: usize| (i as u64).wrapping_mul(31).wrapping_add(seed.wrapping_mul(97)) as u8;
    Entry { op, key: (0..3).map(byte).collect(), value: (0..len).map(byte).collect() }
}

fn borrowed(entry: &Entry) -> wal_engine::segment::payload::Entry<'_> {
    wal_engine::segment::payload::Entry { op: entry.op, key: &entry.key, value: &entry.value }
}

/// Entries as the log takes them.
struct Listed<'a>(&'a [Entry]);

impl Entries for Listed<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn entry(&self, index: usize) -> wal_engine::segment::payload::Entry<'_> {
        borrowed(&self.0[index])
    }
}

impl Model {
    /// What an operation would append, or change.
    fn announce(&mut self, op: Op, geometry: &Geometry) {
        let seed = self.entries.len() as u64 + 1;
        self.maybe = Maybe::default();
        match op {
            Op::Small => self.maybe.entries = vec![entry(1, 10, seed)],
            Op::Big => self.maybe.entries = vec![entry(16, geometry.max_payload() as usize * 3 / 5, seed)],
            Op::Batch => self.maybe.entries = (0..3).map(|i| entry(1 + (i & 1) as u8, 7 * i as usize, seed + i)).collect(),
            Op::Pieces => self.maybe.entries = vec![entry(2, geometry.max_payload() as usize / 2, seed)],
            Op::Checkpoint => {
                let last = self.entries.len() as u64;
                let (n, covered) = (last + 1, last);
                let value = [n.to_le_bytes(), covered.to_le_bytes()].concat();
                self.maybe.entries = vec![Entry { op: 3, key: Vec::new(), value }];
                self.maybe.n = Some(n);
            }
            Op::Truncate => self.maybe.floor = Some(self.n.max(self.floor)),
            Op::GivenUp | Op::Prepare | Op::Reopen => {}
        }
    }

    fn keep(&mut self, sync_each: bool) {
        let maybe = std::mem::take(&mut self.maybe);
        let forces = maybe.n.is_some() || maybe.floor.is_some_and(|floor| floor > self.floor);
        self.entries.extend(maybe.entries);
        self.floor = maybe.floor.unwrap_or(self.floor);
        self.n = maybe.n.unwrap_or(self.n);
        if sync_each || forces {
            self.durable = self.entries.len() as u64;
        }
    }

    /// Does one operation on both. Errors other than a full log and a dead chip are the log's mistake.
    pub fn run(&mut self, log: &mut Log<'_, Pins<'_>>, op: Op, sync_each: bool) -> Result<(), Code> {
        let geometry = log_geometry(log);
        self.announce(op, &geometry);
        let entries = self.maybe.entries.clone();
        let seqs = self.entries.len() as u64 + entries.len() as u64;
        let done: Result<Option<u64>, Code> = match op {
            Op::Small | Op::Big => log.append(borrowed(&entries[0])).map(|()| Some(log.last_seq())),
            Op::Batch => log.append_batch(&Listed(&entries)).map(|()| Some(log.last_seq())),
            Op::Pieces | Op::GivenUp => {
                let whole = if op == Op::Pieces { entries[0].clone() } else { entry(1, 40, 1) };
                let bytes = [whole.key.clone(), whole.value.clone()].concat();
                let third = bytes.len() / 3;
                let mut append = || {
                    log.begin(whole.op, whole.key.len() as u32)?;
                    log.add(&bytes[..2])?;
                    if op == Op::GivenUp {
                        return Ok(None);
                    }
                    log.add(&bytes[2..third])?;
                    log.add(&bytes[third..])?;
                    log.end().map(|()| Some(log.last_seq()))
                };
                let done = append();
                if !matches!(done, Ok(Some(_))) {
                    log.cancel();
                }
                done
            }
            Op::Checkpoint => checkpoint(log, seq::LAST).map(|n| {
                if n < seqs {
                    // There was no room for the record.
                    assert_eq!(n, seqs - 1, "n without a record is what was covered");
                    self.maybe.entries.clear();
                    self.maybe.n = Some(n.max(self.n));
                }
                None
            }),
            Op::Truncate => log.truncate(self.n, false).map(|()| None),
            Op::Prepare => prepare(log).map(|()| None),
            Op::Reopen => Ok(None),
        };
        match done {
            Ok(seq) => {
                if let Some(seq) = seq {
                    assert_eq!(seq, seqs, "the seq of {op:?}");
                }
                self.keep(sync_each);
                Ok(())
            }
            Err(Code::NoSpace) => {
                self.maybe = Maybe::default();
                Err(Code::NoSpace)
            }
            Err(fail) => Err(fail),
        }
    }

    /// Reads a log back and compares it with what it promised. Afterwards the model is what the log says.
    pub fn judge(&mut self, log: &mut Log<'_, Pins<'_>>) -> Shown {
        let shown = show(log);
        let all: Vec<Entry> = self.entries.iter().chain(&self.maybe.entries).cloned().collect();
        let promised = self.durable;
        assert!(
            shown.floor == self.floor || Some(shown.floor) == self.maybe.floor,
            "floor {} is neither {} nor {:?}",
            shown.floor,
            self.floor,
            self.maybe.floor
        );
        assert!(shown.last >= promised, "the log ends at {}, yet {promised} was acknowledged", shown.last);
        let (own, most) = (self.entries.len() as u64, all.len() as u64);
        assert!(shown.last <= own || shown.last == most, "the log ends at {}, inside what is one: {own}..{most}", shown.last);
        let n_is_right = shown.n == self.n || Some(shown.n) == self.maybe.n || self.maybe.n.is_some_and(|_| shown.n == own);
        assert!(n_is_right, "checkpoint {} is neither {} nor {:?}", shown.n, self.n, self.maybe.n);
        let wanted: Vec<u64> = (shown.floor + 1..=shown.last).collect();
        let found: Vec<u64> = shown.records.iter().map(|record| record.0).collect();
        assert_eq!(found, wanted, "the records above the floor, without holes");
        for (seq, _, found) in &shown.records {
            let wanted = &all[*seq as usize - 1];
            // A CHECKPOINT record that came when there was no room for one says what it says.
            let differs = found.value.iter().zip(&wanted.value).position(|(a, b)| a != b);
            assert!(
                found == wanted,
                "record {seq} of {}: op {} key {:?} length {}, value differs at {differs:?}; instead of op {} key {:?} length {}",
                shown.last,
                found.op,
                found.key,
                found.value.len(),
                wanted.op,
                wanted.key,
                wanted.value.len()
            );
        }
        self.entries = all[..shown.last as usize].to_vec();
        self.floor = shown.floor;
        self.n = shown.n;
        self.durable = shown.last;
        self.maybe = Maybe::default();
        shown
    }
}

fn log_geometry(log: &Log<'_, Pins<'_>>) -> Geometry {
    log.shape()
}

/// Makes a checkpoint; its n.
pub fn checkpoint(log: &mut Log<'_, Pins<'_>>, covered: u64) -> Result<u64, Code> {
    let mut n = 0;
    log.checkpoint(covered, &mut n).map(|()| n)
}

/// Whether there is what was looked for.
pub fn is_there(found: Result<(), Miss>) -> Result<bool, Code> {
    match found {
        Ok(()) => Ok(true),
        Err(Miss::None) => Ok(false),
        Err(Miss::Fail(code)) => Err(code),
    }
}

/// Erases ahead until nothing is left to do.
pub fn prepare(log: &mut Log<'_, Pins<'_>>) -> Result<(), Code> {
    while is_there(log.prepare())? {}
    Ok(())
}

/// Everything that a log says, raw.
pub fn show(log: &mut Log<'_, Pins<'_>>) -> Shown {
    let mut cursor = Cursor::default();
    log.replay(&mut cursor, seq::OLDEST, true).expect("a cursor");
    let mut records = Vec::new();
    while is_there(log.next(&mut cursor)).expect("the next record") {
        let record = *cursor.record();
        let (key_len, len) = (record.key_len as usize, (record.key_len + record.value_len) as usize);
        let mut bytes = vec![0; len];
        // In odd pieces.
        let mut done = 0;
        while done < len {
            let end = len.min(done + 777);
            let mut got = 0;
            log.read(&mut cursor, done as u32, &mut bytes[done..end], &mut got).expect("its bytes");
            assert_eq!(got as usize, end - done);
            done = end;
        }
        let value = bytes.split_off(key_len);
        records.push((record.seq, record.batch_last_seq, Entry { op: record.op, key: bytes, value }));
    }
    let figures = log.figures();
    Shown { records, last: figures.last_seq, floor: figures.floor_seq, n: figures.checkpoint_seq }
}
