//! The model: what a host may rely on, as a list of records and a few numbers.

use std::collections::BTreeMap;

use wal_engine::config::SyncMode;
use wal_engine::error::{Code, Error, Result};
use wal_engine::log::Stat;
use wal_engine::seq;

/// A record: its value, `None` for a CHECKPOINT record, and the last seq of its batch.
type Known = (Option<Vec<u8>>, u64);

/// What was shown: seq, whether it is a CHECKPOINT record, value, last seq of its batch.
pub(crate) type Shown = (u64, bool, Vec<u8>, u64);

pub(crate) struct Oracle {
    mode: SyncMode,
    /// Every record that may be there. Up to `durable` each of them is.
    records: BTreeMap<u64, Known>,
    last: u64,
    durable: u64,
    floor: u64,
    /// A truncation that failed may have happened.
    floor_at_most: u64,
    licence: u64,
    checkpoint: u64,
    /// No write succeeds until the log is opened again; records behind `last` are in doubt.
    poisoned: bool,
}

impl Oracle {
    pub(crate) fn new(mode: SyncMode) -> Oracle {
        Oracle {
            mode,
            records: BTreeMap::new(),
            last: 0,
            durable: 0,
            floor: 0,
            floor_at_most: 0,
            licence: 0,
            checkpoint: 0,
            poisoned: false,
        }
    }

    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    pub(crate) fn licence(&self) -> u64 {
        self.licence
    }

    fn data_up_to(&self, seq: u64) -> u64 {
        self.records.range(..=seq).rev().find(|(_, (value, _))| value.is_some()).map_or(0, |(&seq, _)| seq)
    }

    fn failed(&mut self, error: &Error) {
        self.poisoned |= error.code == Code::Failed;
    }

    fn succeeded(&self) {
        assert!(!self.poisoned, "a write succeeds on a poisoned handle");
    }

    fn add(&mut self, values: Vec<Option<Vec<u8>>>) {
        let batch_last = self.last + values.len() as u64;
        self.records.extend((self.last + 1..).zip(values.into_iter().map(|value| (value, batch_last))));
    }

    pub(crate) fn appended(&mut self, values: Vec<Vec<u8>>, outcome: Result<u64>, durable: bool) {
        let last = self.last + values.len() as u64;
        match outcome {
            Ok(seq) => {
                self.succeeded();
                assert_eq!(seq, last);
                self.add(values.into_iter().map(Some).collect());
                self.last = last;
                self.durable = if durable { last } else { self.durable };
            }
            Err(error) => {
                // Refused before: nothing of it is there. In doubt: it may be.
                if error.code == Code::Failed && !self.poisoned {
                    self.add(values.into_iter().map(Some).collect());
                }
                self.failed(&error);
            }
        }
    }

    pub(crate) fn synced(&mut self, asked: u64, outcome: Result<()>) {
        match outcome {
            Ok(()) => {
                assert!(asked <= self.last || asked == seq::LAST);
                if !self.poisoned {
                    self.durable = self.durable.max(asked.min(self.last));
                }
                assert!(self.durable >= asked.min(self.last), "a sync succeeds on a poisoned handle");
            }
            Err(error) if error.code == Code::Range => assert!(asked > self.last && asked != seq::LAST),
            Err(error) => self.failed(&error),
        }
    }

    pub(crate) fn flushed(&mut self, outcome: Result<()>) {
        match outcome {
            Ok(()) => self.succeeded(),
            Err(error) => self.failed(&error),
        }
    }

    pub(crate) fn checkpointed(&mut self, covered: u64, outcome: Result<u64>, last_now: u64) {
        let covered = if covered == seq::LAST { self.last } else { covered };
        let was_poisoned = self.poisoned;
        match outcome {
            Ok(n) => {
                self.succeeded();
                assert!(covered <= self.last);
                let nothing_between = self.data_up_to(self.last) <= covered;
                let has_record = last_now > self.last;
                assert_eq!(n, if nothing_between && has_record { last_now } else { covered }, "covered {covered} of {}", self.last);
                self.licence = self.licence.max(n);
                self.checkpoint = self.checkpoint.max(n);
                self.durable = self.durable.max(if has_record { last_now } else { covered });
            }
            Err(error) if error.code == Code::Range => assert!(covered > self.last),
            Err(error) => self.failed(&error),
        }
        if was_poisoned {
            return;
        }
        // The record may stay where the manifest could not be written, and be lacking where no frame could be.
        self.add(vec![None]);
        if !self.poisoned {
            assert!((self.last..=self.last + 1).contains(&last_now));
            self.last = last_now;
            self.records.split_off(&(last_now + 1));
        }
    }

    pub(crate) fn truncated(&mut self, up_to: u64, unchecked: bool, outcome: Result<()>) {
        let is_range = up_to > self.last;
        match outcome {
            Ok(()) if up_to <= self.floor => {}
            Ok(()) => {
                self.succeeded();
                assert!(!is_range && (unchecked || up_to <= self.licence), "{up_to} was never declared durable");
                self.durable = self.durable.max(up_to);
                self.floor = up_to;
                self.floor_at_most = self.floor_at_most.max(up_to);
            }
            Err(error) => match error.code {
                Code::Range => assert!(is_range),
                Code::NotCheckpointed => assert!(!unchecked && up_to > self.licence),
                _ => {
                    self.failed(&error);
                    if !is_range && (unchecked || up_to <= self.licence) {
                        self.floor_at_most = self.floor_at_most.max(up_to);
                    }
                }
            },
        }
    }

    pub(crate) fn closed(&mut self, outcome: Result<()>, last: u64) {
        match outcome {
            Ok(()) => {
                self.succeeded();
                self.durable = last;
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Whether the log must not be opened for a store that holds this.
    pub(crate) fn refuses(&self, store: Option<u64>) -> bool {
        // What is not durable, and a truncation that may have happened, leave it open.
        store.is_some_and(|store| store > self.durable || store < self.data_up_to(self.floor_at_most))
    }

    pub(crate) fn opened(&mut self, stat: &Stat, store: Option<u64>) {
        assert!(stat.last_seq >= self.durable, "lost: durable {}, last {}", self.durable, stat.last_seq);
        let may_be = self.records.keys().next_back().copied().unwrap_or(0);
        assert!(stat.last_seq <= may_be, "invented: last {} of {may_be}", stat.last_seq);
        assert!(stat.floor_seq >= self.floor && stat.floor_seq <= self.floor_at_most, "floor {}", stat.floor_seq);
        assert!(stat.checkpoint_seq >= self.checkpoint, "the checkpoint went back to {}", stat.checkpoint_seq);
        if let Some(store) = store {
            assert!(store <= stat.last_seq && store >= self.data_up_to(stat.floor_seq), "a store at {store} was let in");
        }
        if let Some((_, batch_last)) = self.records.get(&stat.last_seq) {
            assert_eq!(*batch_last, stat.last_seq, "half a batch");
        }
        self.records.split_off(&(stat.last_seq + 1));
        self.last = stat.last_seq;
        self.durable = stat.last_seq;
        self.floor = stat.floor_seq;
        self.floor_at_most = stat.floor_seq;
        self.checkpoint = stat.checkpoint_seq;
        self.licence = store.unwrap_or(stat.checkpoint_seq);
        self.poisoned = false;
    }

    /// What the log says of itself is a promise, too.
    pub(crate) fn seen(&mut self, last: u64, durable: u64) {
        assert!(durable >= self.durable, "durable went back");
        if !self.poisoned {
            assert_eq!(last, self.last);
            assert!(durable <= last);
        }
        self.durable = durable;
    }

    pub(crate) fn replay_refused(&mut self, after: u64, error: &Error, faulty: bool) {
        match error.code {
            Code::Gap => assert!(after > self.last || after < self.data_up_to(self.floor_at_most), "no gap above {after}"),
            _ => assert!(faulty || self.poisoned, "{error:?}"),
        }
        self.failed(error);
    }

    pub(crate) fn replayed(&mut self, after: u64, shown: &[Shown], durable: u64) {
        if !self.poisoned && self.mode != SyncMode::Always {
            // A replay syncs first.
            self.durable = self.durable.max(durable);
        }
        let first = if after == seq::OLDEST { self.floor } else { after.max(self.floor) } + 1;
        let last = if self.poisoned { durable } else { self.last };
        let expected: Vec<u64> = (first..=last).collect();
        assert_eq!(shown.iter().map(|record| record.0).collect::<Vec<_>>(), expected, "a hole");
        for (seq, is_checkpoint, value, batch_last) in shown {
            let (known, known_last) = &self.records[seq];
            assert_eq!((is_checkpoint, batch_last), (&known.is_none(), known_last), "seq {seq}");
            assert!(known.as_ref().is_none_or(|known| known == value), "wrong bytes in {seq}");
        }
    }
}
