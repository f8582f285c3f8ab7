//! A host on the simulated disk: it makes calls, keeps account of what it handed over and what it was promised, and judges what comes back.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use wal_engine::config::{Config, RECYCLE_NONE, SyncMode};
use wal_engine::error::{Code, Error, Result};
use wal_engine::format::constants::{OP_CHECKPOINT, OP_PUT};
use wal_engine::log::{Durability, Entry, Log, ReplayOptions};
use wal_engine::seq;
use wal_sim::{Disk, Mark, Point, SimStorage};

/// Runs a test's body, and fails where it hangs.
pub fn bounded(body: impl FnOnce() + Send + 'static) {
    let (done, finished) = mpsc::channel();
    let thread = thread::spawn(move || {
        body();
        let _nobody_waits_any_more = done.send(());
    });
    if finished.recv_timeout(Duration::from_secs(20)) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("the test hangs");
    }
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

/// A call, or a few that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Append,
    /// Large enough that the next one of its kind needs another segment.
    AppendRotating,
    Batch,
    Sync,
    CheckpointLast,
    CheckpointBefore,
    TruncateHalf,
    TruncateLast,
    Reopen,
}

pub const STEPS: [Step; 9] = [
    Step::Append,
    Step::AppendRotating,
    Step::Batch,
    Step::Sync,
    Step::CheckpointLast,
    Step::CheckpointBefore,
    Step::TruncateHalf,
    Step::TruncateLast,
    Step::Reopen,
];

impl Step {
    /// As scripts are written: one letter for each step.
    pub fn letter(self) -> char {
        match self {
            Step::Append => 'a',
            Step::AppendRotating => 'A',
            Step::Batch => 'b',
            Step::Sync => 's',
            Step::CheckpointLast => 'C',
            Step::CheckpointBefore => 'c',
            Step::TruncateHalf => 't',
            Step::TruncateLast => 'T',
            Step::Reopen => 'r',
        }
    }
}

/// Marks of this test: a truncation was asked for.
pub const ASKED_TO_TRUNCATE: u32 = 1;

/// What the host knows of a record that it handed over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Known {
    pub op: u8,
    pub value: Vec<u8>,
    pub batch_last: u64,
}

pub type History = BTreeMap<u64, Known>;

/// How a history changed, and how many operations of the disk's trace came before.
#[derive(Clone, Debug)]
pub struct Change {
    pub at: usize,
    /// From here on nothing is there.
    pub first: u64,
    /// But these.
    pub added: Vec<Known>,
}

/// Unsynced records that the log of a host in batch mode may have: fewer than a batch, so that those go alone.
pub const BATCH_RECORDS: u32 = 2;

pub fn config(mode: SyncMode, recycle: bool) -> Config {
    Config {
        sync_mode: mode,
        segment_bytes: 4096,
        background: false,
        recycle_segments: if recycle { 0 } else { RECYCLE_NONE },
        batch_records: if mode == SyncMode::Batch { BATCH_RECORDS } else { 0 },
        ..Config::default()
    }
}

/// Steps of 7 go through all bytes and begin again.
const PERIOD: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = (at * 7) as u8;
        at += 1;
    }
    bytes
};

/// The value of record `seq`: neighbours differ in every byte. Copied in pieces, because it is made for every state.
pub fn value_of(seq: u64, len: usize) -> Vec<u8> {
    let start = seq as usize * 31 % PERIOD.len();
    let mut value = Vec::with_capacity(len + PERIOD.len());
    value.extend_from_slice(&PERIOD[start..]);
    while value.len() < len {
        value.extend_from_slice(&PERIOD);
    }
    value.truncate(len);
    value
}

/// Appends a record of `len` bytes; its seq. For tests in which nothing goes wrong here.
pub fn put(log: &Log<SimStorage>, len: usize) -> u64 {
    log.append(OP_PUT, b"", &value_of(log.last_seq() + 1, len)).expect("this append has no reason to fail")
}

impl Change {
    pub fn apply(&self, history: &mut History) {
        history.split_off(&self.first);
        history.extend((self.first..).zip(self.added.iter().cloned()));
    }
}

/// A host: it runs steps and keeps account.
pub struct Host {
    pub disk: Disk,
    pub config: Config,
    pub log: Option<Log<SimStorage>>,
    pub history: History,
    /// What it was when this host began.
    pub inherited: History,
    /// How the history came about.
    pub changes: Vec<Change>,
    /// The last record whose append returned success.
    pub accepted: u64,
    /// How often the machine was started before. What is written depends on it, so that bytes of an earlier life are not taken for those of this one.
    pub life: u64,
}

impl Host {
    /// Makes a log on `disk`.
    pub fn open(disk: Disk, config: Config) -> Result<Host> {
        let log = Log::open(disk.storage(), &config)?;
        Ok(Host {
            disk,
            config,
            log: Some(log),
            history: History::new(),
            inherited: History::new(),
            changes: Vec::new(),
            accepted: 0,
            life: 0,
        })
    }

    /// Goes on after a crash, with a log that was opened and judged: what it showed is what it must show from here on.
    pub fn resume(disk: Disk, config: Config, log: Log<SimStorage>, shown: &Shown, mut history: History, life: u64) -> Host {
        history.split_off(&(shown.last + 1));
        let Shown { floor, last, checkpoint } = *shown;
        Promised { durable: last, appended: last, checkpoint, floor, asked_floor: floor }.mark(&disk);
        Host { disk, config, log: Some(log), inherited: history.clone(), history, changes: Vec::new(), accepted: shown.last, life }
    }

    /// What had been handed over when the disk had made so many operations.
    pub fn history_at(&self, operations: usize) -> History {
        let mut history = self.inherited.clone();
        self.changes.iter().take_while(|change| change.at <= operations).for_each(|change| change.apply(&mut history));
        history
    }

    fn log(&self) -> Result<&Log<SimStorage>> {
        self.log.as_ref().ok_or(Error::new(Code::Closed, "an earlier opening failed"))
    }

    fn is_always(&self) -> bool {
        self.config.sync_mode == SyncMode::Always
    }

    /// Takes note of records that are about to be handed over.
    fn expect(&mut self, first: u64, records: &[(u8, Vec<u8>)]) {
        let batch_last = first + records.len() as u64 - 1;
        let known = |(op, value): &(u8, Vec<u8>)| Known { op: *op, value: value.clone(), batch_last };
        self.change(first, records.iter().map(known).collect());
        self.disk.mark(Mark::Appended(batch_last));
    }

    fn change(&mut self, first: u64, added: Vec<Known>) {
        let change = Change { at: self.disk.operations(), first, added };
        change.apply(&mut self.history);
        self.changes.push(change);
    }

    /// An append that failed with an error other than "in doubt" left nothing behind.
    fn settle(&mut self, first: u64, outcome: Result<u64>) -> Result<()> {
        match outcome {
            Ok(last) => {
                self.accepted = last;
                if self.is_always() {
                    self.disk.acknowledge(last);
                }
                Ok(())
            }
            Err(error) => {
                if error.code != Code::Failed {
                    self.change(first, Vec::new());
                }
                Err(error)
            }
        }
    }

    fn value_of(&self, seq: u64, len: usize) -> Vec<u8> {
        value_of(seq + 57 * self.life, len)
    }

    fn append(&mut self, len: usize) -> Result<()> {
        let seq = self.log()?.last_seq() + 1;
        let value = self.value_of(seq, len);
        self.expect(seq, &[(OP_PUT, value.clone())]);
        let outcome = self.log()?.append(OP_PUT, b"", &value);
        self.settle(seq, outcome)
    }

    fn batch(&mut self) -> Result<()> {
        let first = self.log()?.last_seq() + 1;
        let records: Vec<(u8, Vec<u8>)> = (first..first + 3).map(|seq| (OP_PUT, self.value_of(seq, 100))).collect();
        self.expect(first, &records);
        let entries: Vec<Entry<'_>> = records.iter().map(|(op, value)| Entry { op: *op, key: b"", value }).collect();
        let outcome = self.log()?.append_batch(&entries[..], Durability::Mode);
        self.settle(first, outcome)
    }

    fn checkpoint(&mut self, covered: u64) -> Result<()> {
        let before = self.log()?.last_seq();
        self.expect(before + 1, &[(OP_CHECKPOINT, Vec::new())]);
        // Its record may stay where the manifest cannot be written, and be lacking where no frame can be.
        let n = self.log()?.checkpoint(covered)?;
        self.disk.acknowledge(self.log()?.last_seq());
        self.disk.mark(Mark::Checkpoint(n));
        Ok(())
    }

    fn truncate(&mut self, up_to: u64) -> Result<()> {
        self.disk.mark(Mark::Note(ASKED_TO_TRUNCATE, up_to));
        self.log()?.truncate(up_to, true)?;
        self.disk.mark(Mark::Floor(up_to));
        Ok(())
    }

    fn reopen(&mut self) -> Result<()> {
        let last = self.log()?.last_seq();
        let closed = self.log.take().map_or(Ok(()), Log::close);
        if closed.is_ok() {
            self.disk.acknowledge(last);
        }
        let log = Log::open(self.disk.storage(), &self.config)?;
        // What this opening does not show is gone for good, and its seqs are given out again.
        self.accepted = log.last_seq();
        self.change(self.accepted + 1, Vec::new());
        self.log = Some(log);
        closed
    }

    /// Makes one step. What the log then says to be durable is a promise, whatever the mode.
    pub fn step(&mut self, step: Step) -> Result<()> {
        let outcome = self.make(step);
        if let Some(log) = &self.log {
            let (last, durable) = (log.last_seq(), log.durable_seq());
            self.disk.acknowledge(durable);
            if self.config.sync_mode == SyncMode::Batch && outcome.is_ok() {
                let newest = self.history.values().rev().take_while(|known| known.batch_last == last).count() as u64;
                assert!(last - durable <= u64::from(BATCH_RECORDS).max(newest), "{last} records, {durable} durable: more than a batch");
            }
        }
        outcome
    }

    fn make(&mut self, step: Step) -> Result<()> {
        let last = self.log()?.last_seq();
        match step {
            Step::Append => self.append(200),
            Step::AppendRotating => self.append(2000),
            Step::Batch => self.batch(),
            Step::Sync => {
                self.log()?.sync(seq::LAST)?;
                self.disk.acknowledge(last);
                Ok(())
            }
            Step::CheckpointLast => self.checkpoint(seq::LAST),
            Step::CheckpointBefore => self.checkpoint(last.saturating_sub(1)),
            Step::TruncateHalf => self.truncate(last / 2),
            Step::TruncateLast => self.truncate(last),
            Step::Reopen => self.reopen(),
        }
    }
}

/// What must hold after a crash at some point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Promised {
    pub durable: u64,
    pub appended: u64,
    pub checkpoint: u64,
    pub floor: u64,
    pub asked_floor: u64,
}

impl Promised {
    /// Puts it on a disk whose host already knows it.
    pub fn mark(&self, disk: &Disk) {
        disk.mark(Mark::Appended(self.appended));
        disk.mark(Mark::Durable(self.durable));
        disk.mark(Mark::Checkpoint(self.checkpoint));
        disk.mark(Mark::Note(ASKED_TO_TRUNCATE, self.asked_floor));
        disk.mark(Mark::Floor(self.floor));
    }

    /// What the marks up to this point say.
    pub fn at(point: &Point) -> Promised {
        let highest = |pick: fn(Mark) -> Option<u64>| point.highest(pick).unwrap_or(0);
        Promised {
            durable: point.durable().unwrap_or(0),
            appended: highest(|mark| if let Mark::Appended(seq) = mark { Some(seq) } else { None }),
            checkpoint: highest(|mark| if let Mark::Checkpoint(n) = mark { Some(n) } else { None }),
            floor: highest(|mark| if let Mark::Floor(seq) = mark { Some(seq) } else { None }),
            asked_floor: highest(|mark| if let Mark::Note(ASKED_TO_TRUNCATE, seq) = mark { Some(seq) } else { None }),
        }
    }
}

/// What a log shows: every record from behind the floor to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub floor: u64,
    pub last: u64,
    pub checkpoint: u64,
}

/// Opens what a crash left and holds it against what was promised.
pub fn check_open(disk: &Disk, config: &Config, promised: &Promised, history: &History) -> Result<(Log<SimStorage>, Shown)> {
    check_open_with(disk, config, promised, &|seq| history.get(&seq))
}

/// The same, with what was handed over from wherever the caller keeps it.
pub fn check_open_with<'k>(
    disk: &Disk,
    config: &Config,
    promised: &Promised,
    known: &dyn Fn(u64) -> Option<&'k Known>,
) -> Result<(Log<SimStorage>, Shown)> {
    // A store that saved its checkpoint must be let in, if nothing above it was truncated by its own decision.
    let store = promised.checkpoint;
    let config = Config { store_seq: (store > 0 && store >= promised.asked_floor).then_some(store), ..*config };
    let log = Log::open(disk.storage(), &config)?;
    let stat = log.stat();
    assert!(stat.last_seq >= promised.durable, "lost: durable {}, last {}", promised.durable, stat.last_seq);
    assert!(stat.last_seq <= promised.appended, "invented: appended {}, last {}", promised.appended, stat.last_seq);
    assert_eq!(stat.durable_seq, stat.last_seq, "shown but not durable");
    assert!(stat.checkpoint_seq >= promised.checkpoint, "checkpoint went back");
    assert!(stat.floor_seq >= promised.floor && stat.floor_seq <= promised.asked_floor.max(promised.floor), "floor {}", stat.floor_seq);
    let mut cursor = log.replay(seq::OLDEST, ReplayOptions { raw: true, ..ReplayOptions::default() })?;
    let mut next = stat.floor_seq + 1;
    while let Some(record) = cursor.next()? {
        assert_eq!(record.seq, next, "a hole");
        let known = known(record.seq).unwrap_or_else(|| panic!("invented: seq {}", record.seq));
        assert_eq!(record.op, known.op, "seq {}", record.seq);
        assert_eq!(record.batch_last_seq, known.batch_last, "seq {}", record.seq);
        assert!(record.op == OP_CHECKPOINT || record.value == known.value, "wrong bytes in seq {}", record.seq);
        next += 1;
    }
    assert_eq!(next, stat.last_seq + 1, "the replay ends early");
    if let Some(known) = known(stat.last_seq) {
        assert_eq!(known.batch_last, stat.last_seq, "half a batch");
    }
    drop(cursor);
    let shown = Shown { floor: stat.floor_seq, last: stat.last_seq, checkpoint: stat.checkpoint_seq };
    Ok((log, shown))
}
