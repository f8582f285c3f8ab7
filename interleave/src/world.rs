//! A disk, a log on it, and the account that its hosts keep: what they handed over, what they were promised, what their store holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wal_engine::config::{Config, SyncMode};
use wal_engine::error::{Code, Error, Result};
use wal_engine::format::constants::OP_PUT;
use wal_engine::log::{Durability, Entry, Log};
use wal_engine::seq::{self, Seq};
use wal_sim::{Disk, Image, Point};

use crate::storage::Scheduled;

/// The log of a scenario.
pub type SharedLog = Arc<Log<Scheduled>>;

/// A record by the name that its host gave it; the record's value begins with it.
pub type Id = u32;

/// What became of a record that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The call has not come back.
    UnderWay,
    /// It came back with this seq.
    At(Seq),
    /// It came back with an error that leaves it open whether the record is there.
    InDoubt,
    /// It came back with an error that says that the record is not there.
    Refused,
}

/// What the hosts know.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// The records that were handed over.
    pub records: BTreeMap<Id, Fate>,
    /// How many records there may be, those of checkpoints included.
    pub most: u64,
    /// Everything up to here was acknowledged as durable.
    pub durable: Seq,
    /// Everything up to here was acknowledged as handed to the system.
    pub written: Seq,
    /// The highest n that a checkpoint returned.
    pub checkpoint: Seq,
    /// Truncation was asked for up to here.
    pub asked_floor: Seq,
    /// Truncation was acknowledged up to here.
    pub floor: Seq,
    /// Some call has answered that the handle is poisoned.
    pub poisoned: bool,
    /// The store, where a scenario has one.
    pub store: Option<Store>,
}

/// The host's own store, of which the log is the front.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// Records applied in memory, by seq.
    pub applied: BTreeMap<Seq, Id>,
    /// Records that a crash leaves.
    pub durable: BTreeSet<Id>,
    /// The n that a crash leaves.
    pub saved: Seq,
}

impl Store {
    /// Everything up to here is applied. A gap is a CHECKPOINT record if it is one of `checkpoints`, or if no append is under way.
    fn whole_up_to(&self, checkpoints: &BTreeSet<Seq>, under_way: bool) -> Seq {
        if !under_way {
            return self.applied.keys().next_back().copied().unwrap_or(0);
        }
        let gap = (1..).find(|seq| !self.applied.contains_key(seq) && !checkpoints.contains(seq));
        gap.map_or(0, |gap| gap - 1)
    }
}

/// A moment at which the power may go.
#[derive(Clone)]
pub struct Moment {
    /// The disk.
    pub point: Point,
    /// What readers see, for a death of the process alone.
    pub visible: Image,
    /// What was known then.
    pub ledger: Ledger,
}

/// See the module's head.
pub struct World {
    /// The disk.
    pub disk: Disk,
    /// How the log is opened.
    pub config: Config,
    ledger: Mutex<Ledger>,
    moments: Mutex<Vec<Moment>>,
}

/// A value that names its record and is `len` bytes long.
fn value_of(id: Id, len: usize) -> Vec<u8> {
    let mut value = id.to_le_bytes().to_vec();
    value.resize(len.max(4), id as u8);
    value
}

/// The record that a value names, if it is whole.
pub fn id_of(value: &[u8]) -> Option<Id> {
    let (id, rest) = value.split_first_chunk()?;
    let id = Id::from_le_bytes(*id);
    rest.iter().all(|&byte| byte == id as u8).then_some(id)
}

/// No scheduling point lies between taking one of these locks and giving it back.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// A disk that holds `image`, of whose log `ledger` knows.
    pub fn new(image: &Image, ledger: Ledger, config: Config) -> World {
        World { disk: Disk::from_image(image, 1), config, ledger: Mutex::new(ledger), moments: Mutex::new(Vec::new()) }
    }

    /// Opens the log.
    pub fn open(&self) -> Result<SharedLog> {
        Log::open(Scheduled::new(&self.disk), &self.config).map(Arc::new)
    }

    /// What the hosts know now.
    pub fn ledger(&self) -> Ledger {
        held(&self.ledger).clone()
    }

    /// The moments that were taken down.
    pub fn moments(&self) -> Vec<Moment> {
        held(&self.moments).clone()
    }

    /// Takes down the moment.
    pub fn moment(&self) {
        let moment = Moment { point: self.disk.point(), visible: self.disk.visible_image(), ledger: self.ledger() };
        held(&self.moments).push(moment);
    }

    /// Changes what is known, and takes down the moment.
    pub fn note<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let changed = change(&mut held(&self.ledger));
        self.moment();
        changed
    }

    /// Everything up to `seq` was acknowledged as durable.
    pub fn durable(&self, seq: Seq) {
        self.disk.acknowledge(seq);
        self.note(|ledger| {
            ledger.durable = ledger.durable.max(seq);
            ledger.written = ledger.written.max(seq);
        });
    }

    /// A call promised what was the end of the log shortly before. If a failed write was taken back, other records may have got those seqs since.
    fn durable_unless_taken_back(&self, seq: Seq) {
        if !held(&self.ledger).records.values().any(|fate| *fate == Fate::Refused) {
            self.durable(seq);
        }
    }

    /// An error that a call has returned.
    fn failed(&self, error: Error) {
        if error.code == Code::Failed {
            held(&self.ledger).poisoned = true;
        }
    }

    fn hand_over(&self, ids: &[Id]) -> bool {
        let mut ledger = held(&self.ledger);
        for id in ids {
            assert!(ledger.records.insert(*id, Fate::UnderWay).is_none(), "the scenario uses {id} twice");
        }
        ledger.most += ids.len() as u64;
        ledger.poisoned
    }

    fn settle(&self, ids: &[Id], poisoned: bool, durability: Durability, outcome: Result<Seq>) -> Result<Seq> {
        match outcome {
            Ok(last) => {
                assert!(!poisoned, "seq {last} was acknowledged by a handle that had said it is poisoned");
                let first = last + 1 - ids.len() as u64;
                {
                    let mut ledger = held(&self.ledger);
                    for (seq, id) in (first..).zip(ids) {
                        ledger.records.insert(*id, Fate::At(seq));
                    }
                }
                match (durability, self.config.sync_mode) {
                    (Durability::Sync, _) | (Durability::Mode, SyncMode::Always) => self.durable(last),
                    (Durability::Mode, SyncMode::Os) => self.note(|ledger| ledger.written = ledger.written.max(last)),
                    (Durability::Mode | Durability::Async, _) => self.moment(),
                }
            }
            Err(error) => {
                self.failed(error);
                let fate = if error.code == Code::Failed { Fate::InDoubt } else { Fate::Refused };
                self.note(|ledger| ledger.records.extend(ids.iter().map(|id| (*id, fate))));
            }
        }
        outcome
    }

    /// Appends a record of about `len` bytes.
    pub fn append(&self, log: &SharedLog, id: Id, len: usize) -> Result<Seq> {
        let poisoned = self.hand_over(&[id]);
        let outcome = log.append(OP_PUT, b"", &value_of(id, len));
        self.settle(&[id], poisoned, Durability::Mode, outcome)
    }

    /// Appends records that are there all or not at all.
    pub fn batch(&self, log: &SharedLog, ids: &[Id], len: usize, durability: Durability) -> Result<Seq> {
        let poisoned = self.hand_over(ids);
        let values: Vec<Vec<u8>> = ids.iter().map(|id| value_of(*id, len)).collect();
        let entries: Vec<Entry<'_>> = values.iter().map(|value| Entry { op: OP_PUT, key: b"", value }).collect();
        let outcome = log.append_batch(&entries[..], durability);
        self.settle(ids, poisoned, durability, outcome)
    }

    /// Syncs up to `seq`, or everything.
    pub fn sync(&self, log: &SharedLog, seq: Seq) -> Result<()> {
        let poisoned = held(&self.ledger).poisoned;
        let promised = if seq == seq::LAST { log.last_seq() } else { seq };
        let outcome = log.sync(seq);
        match outcome {
            Ok(()) => {
                // What was durable before the failure may still be said to be.
                assert!(!poisoned || promised <= log.durable_seq(), "a sync up to {promised} was acknowledged by a poisoned handle");
                self.durable_unless_taken_back(promised);
            }
            Err(error) => self.failed(error),
        }
        outcome
    }

    /// Declares that the store holds everything up to `covered`.
    pub fn checkpoint(&self, log: &SharedLog, covered: Seq) -> Result<Seq> {
        held(&self.ledger).most += 1;
        let before = log.last_seq();
        let outcome = log.checkpoint(covered);
        match outcome {
            Ok(n) => {
                self.durable_unless_taken_back(before);
                self.durable(n);
                self.note(|ledger| ledger.checkpoint = ledger.checkpoint.max(n));
            }
            Err(error) => self.failed(error),
        }
        outcome
    }

    /// Forgets everything up to `up_to`.
    pub fn truncate(&self, log: &SharedLog, up_to: Seq) -> Result<()> {
        self.note(|ledger| ledger.asked_floor = ledger.asked_floor.max(up_to));
        let outcome = log.truncate(up_to, false);
        match outcome {
            Ok(()) => self.note(|ledger| ledger.floor = ledger.floor.max(up_to)),
            Err(error) => self.failed(error),
        }
        outcome
    }

    /// The host's protocol with its store, once: flush what is applied without a gap, declare it, save what came back, forget.
    pub fn store_and_forget(&self, log: &SharedLog, checkpoints: &mut BTreeSet<Seq>) -> Result<()> {
        let covered = self.note(|ledger| {
            let under_way = ledger.records.values().any(|fate| *fate == Fate::UnderWay);
            let Some(store) = &mut ledger.store else { return 0 };
            let covered = store.whole_up_to(checkpoints, under_way);
            store.durable.extend(store.applied.range(..=covered).map(|(_, id)| *id));
            covered
        });
        let n = self.checkpoint(log, covered)?;
        // All between is the log's own, says the licence.
        checkpoints.extend(covered + 1..=n);
        self.note(|ledger| {
            if let Some(store) = &mut ledger.store {
                store.saved = store.saved.max(n);
            }
        });
        self.truncate(log, n)
    }

    /// Applies to the store what was appended at `seq`.
    pub fn apply(&self, id: Id, seq: Seq) {
        if let Some(store) = &mut held(&self.ledger).store {
            store.applied.insert(seq, id);
        }
    }
}
