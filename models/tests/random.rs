//! Random operations with faults, kills and power cuts, held against a model of what a host may rely on. A failure is shrunk to a short one.
//!
//! `WAL_MODEL_CASES` sets how many sequences are tried, `WAL_MODEL_SECONDS` for how long at the most, `WAL_MODEL_SEED` which ones.

mod oracle;

use std::cell::Cell;
use std::env;
use std::time::{Duration, Instant};

use oracle::Oracle;
use proptest::prelude::*;
use proptest::test_runner::{Config as Runner, RngAlgorithm, TestError, TestRng, TestRunner};
use wal_engine::config::{Config, RECYCLE_NONE, SyncMode};
use wal_engine::error::{Code, Error};
use wal_engine::format::constants::{OP_CHECKPOINT, OP_PUT};
use wal_engine::log::{Durability, Entry, Log, ReplayOptions};
use wal_engine::seq;
use wal_sim::{Budget, Disk, EIO, ENOSPC, Effect, Fault, SimStorage};

/// A seq, relative to what there is.
#[derive(Clone, Copy, Debug)]
enum Place {
    BelowLast(u64),
    AboveFloor(u64),
    AboveLast(u64),
    Licensed,
    Last,
}

#[derive(Clone, Debug)]
enum Op {
    Append(usize),
    Batch(Vec<usize>, bool),
    Sync(Place),
    Flush,
    Checkpoint(Place),
    Truncate(Place, bool),
    Replay(Place),
    /// Close, and open again; with what a store says, or without.
    Reopen(Option<Place>),
    /// The process dies.
    Kill,
    /// The machine dies; which of the states that it may leave.
    PowerCut(usize),
    /// The nth storage call from here on fails.
    Fault {
        nth: u64,
        no_space: bool,
        effect: Option<u64>,
        forever: bool,
    },
    Repair,
    /// The disk has room for so many bytes more, or for any number.
    Space(Option<u64>),
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        4 => (0..6u64).prop_map(Place::BelowLast),
        2 => (0..4u64).prop_map(Place::AboveFloor),
        1 => (1..3u64).prop_map(Place::AboveLast),
        3 => Just(Place::Licensed),
        3 => Just(Place::Last),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![4 => 0..300usize, 2 => 1000..2500usize, 1 => 3000..4500usize];
    prop_oneof![
        12 => len.clone().prop_map(Op::Append),
        3 => (prop::collection::vec(len, 1..5), any::<bool>()).prop_map(|(lens, durable)| Op::Batch(lens, durable)),
        2 => place().prop_map(Op::Sync),
        1 => Just(Op::Flush),
        4 => place().prop_map(Op::Checkpoint),
        4 => (place(), prop::bool::weighted(0.1)).prop_map(|(place, unchecked)| Op::Truncate(place, unchecked)),
        2 => place().prop_map(Op::Replay),
        2 => prop::option::of(place()).prop_map(Op::Reopen),
        1 => Just(Op::Kill),
        2 => any::<usize>().prop_map(Op::PowerCut),
        2 => (1..12u64, any::<bool>(), prop::option::of(0..200u64), any::<bool>())
            .prop_map(|(nth, no_space, effect, forever)| Op::Fault { nth, no_space, effect, forever }),
        1 => Just(Op::Repair),
        1 => prop::option::of(0..12_000u64).prop_map(Op::Space),
    ]
}

fn config() -> impl Strategy<Value = Config> {
    let mode = prop_oneof![Just(SyncMode::Always), Just(SyncMode::Batch), Just(SyncMode::Os), Just(SyncMode::None)];
    (mode, prop_oneof![Just(0), Just(RECYCLE_NONE), Just(1)], prop_oneof![3 => Just(4096), 1 => Just(8192)]).prop_map(
        |(sync_mode, recycle_segments, segment_bytes)| Config {
            sync_mode,
            recycle_segments,
            segment_bytes,
            batch_records: if sync_mode == SyncMode::Batch { 3 } else { 0 },
            background: false,
            ..Config::default()
        },
    )
}

struct Host {
    disk: Disk,
    config: Config,
    log: Option<Log<SimStorage>>,
    oracle: Oracle,
}

fn bytes(seq: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| (seq as usize * 37 + at * 11) as u8).collect()
}

impl Host {
    fn seq(&self, place: Place) -> u64 {
        match place {
            Place::BelowLast(less) => self.oracle.last().saturating_sub(less),
            Place::AboveFloor(more) => self.oracle.floor() + more,
            Place::AboveLast(more) => self.oracle.last() + more,
            Place::Licensed => self.oracle.licence(),
            Place::Last => seq::LAST,
        }
    }

    fn append(&mut self, lens: &[usize], durability: Option<Durability>) {
        let Some(log) = &self.log else { return };
        let first = self.oracle.last() + 1;
        let values: Vec<Vec<u8>> = (first..).zip(lens).map(|(seq, &len)| bytes(seq, len)).collect();
        let outcome = match durability {
            None => log.append(OP_PUT, b"", &values[0]),
            Some(durability) => {
                let entries: Vec<Entry<'_>> = values.iter().map(|value| Entry { op: OP_PUT, key: b"", value }).collect();
                log.append_batch(&entries[..], durability)
            }
        };
        let durable =
            durability == Some(Durability::Sync) || self.config.sync_mode == SyncMode::Always && durability != Some(Durability::Async);
        self.oracle.appended(values, outcome, durable);
    }

    /// Opens what is there; fails only where a fault lets it fail, or the store asks for what is not there.
    fn open(&mut self, store: Option<u64>) {
        let config = Config { store_seq: store.filter(|&store| store > 0 && store <= seq::MAX), ..self.config };
        match Log::open(self.disk.storage(), &config) {
            Ok(log) => {
                let stat = log.stat();
                self.oracle.opened(&stat, config.store_seq);
                self.log = Some(log);
            }
            Err(error) => {
                if error.code == Code::Gap {
                    assert!(self.oracle.refuses(config.store_seq), "refused without need: {error:?}");
                } else {
                    assert!(self.disk.injected() > 0, "an opening fails: {error:?}");
                }
            }
        }
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Append(len) => self.append(&[*len], None),
            Op::Batch(lens, durable) => self.append(lens, Some(if *durable { Durability::Sync } else { Durability::Async })),
            Op::Sync(place) => {
                let asked = self.seq(*place);
                if let Some(log) = &self.log {
                    self.oracle.synced(asked, log.sync(asked));
                }
            }
            Op::Flush => {
                if let Some(log) = &self.log {
                    self.oracle.flushed(log.flush());
                }
            }
            Op::Checkpoint(place) => {
                let covered = self.seq(*place);
                if let Some(log) = &self.log {
                    let outcome = log.checkpoint(covered);
                    self.oracle.checkpointed(covered, outcome, log.last_seq());
                }
            }
            Op::Truncate(place, unchecked) => {
                let up_to = self.seq(*place);
                if let Some(log) = &self.log {
                    self.oracle.truncated(up_to, *unchecked, log.truncate(up_to, *unchecked));
                }
            }
            Op::Replay(place) => {
                let after = self.seq(*place);
                self.replay(after);
            }
            Op::Reopen(store) => {
                let store = store.map(|place| self.seq(place));
                if let Some(log) = self.log.take() {
                    let last = log.last_seq();
                    self.oracle.closed(log.close(), last);
                }
                self.open(store);
            }
            Op::Kill => {
                drop(self.log.take());
                self.open(None);
            }
            Op::PowerCut(pick) => {
                let point = self.disk.point();
                drop(self.log.take());
                let images: Vec<_> = point.images(&Budget { exhaustive: 3, samples: 8, torn: 4, seed: *pick as u64 }).collect();
                self.disk.assert_ordered();
                self.disk = Disk::from_image(&images[pick % images.len()], 1);
                self.open(None);
            }
            Op::Fault { nth, no_space, effect, forever } => {
                let mut fault = Fault::nth(*nth).error(if *no_space { ENOSPC } else { EIO });
                if let Some(bytes) = effect {
                    fault = fault.effect(Effect::Prefix(*bytes));
                }
                self.disk.fail(if *forever { fault.forever() } else { fault });
            }
            Op::Repair => {
                self.disk.clear_faults();
                if self.log.is_none() {
                    self.open(None);
                }
            }
            Op::Space(bytes) => self.disk.limit_space(bytes.map(|bytes| self.disk.used() + bytes)),
        }
        if let Some(log) = &self.log {
            self.oracle.seen(log.last_seq(), log.durable_seq());
        }
    }

    fn replay(&mut self, after: u64) {
        let Some(log) = &self.log else { return };
        let after = if after == seq::LAST { seq::OLDEST } else { after };
        let outcome = log.replay(after, ReplayOptions { raw: true, ..ReplayOptions::default() });
        let mut cursor = match outcome {
            Ok(cursor) => cursor,
            Err(error) => return self.oracle.replay_refused(after, &error, self.disk.injected() > 0),
        };
        let mut shown = Vec::new();
        loop {
            match cursor.next() {
                Ok(Some(record)) => shown.push((record.seq, record.op == OP_CHECKPOINT, record.value.to_vec(), record.batch_last_seq)),
                Ok(None) => break,
                Err(Error { code, .. }) => {
                    assert!(self.disk.injected() > 0, "{code:?} in the middle of a replay");
                    return;
                }
            }
        }
        self.oracle.replayed(after, &shown, log.durable_seq());
    }
}

fn live(config: Config, ops: &[Op]) {
    let mut host = Host { disk: Disk::new(5), config, log: None, oracle: Oracle::new(config.sync_mode) };
    host.open(None);
    for op in ops {
        host.run(op);
    }
    // In the end everything works again.
    host.disk.clear_faults();
    host.disk.limit_space(None);
    drop(host.log.take());
    host.open(None);
    host.replay(seq::OLDEST);
    host.append(&[10], None);
    host.run(&Op::Sync(Place::Last));
    host.replay(seq::OLDEST);
    host.disk.assert_ordered();
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().and_then(|value| value.parse().ok())
}

/// Sequences that are made from one seed.
const ROUND: u32 = 250;

#[test]
fn random_lives() {
    let cases = number("WAL_MODEL_CASES").unwrap_or(4000);
    let end = number("WAL_MODEL_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    // Always the same ones, unless told otherwise: a long run takes a seed that no other had.
    let first_seed = number("WAL_MODEL_SEED").unwrap_or(0);
    let operations = Cell::new(0);
    let mut lives = 0;
    let strategy = (config(), prop::collection::vec(op(), 1..60));
    for round in 0.. {
        if lives >= cases || end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&(first_seed + round).to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let options = Runner { cases: ROUND, max_shrink_iters: 20_000, failure_persistence: None, ..Runner::default() };
        let outcome = TestRunner::new_with_rng(options, rng).run(&strategy, |(config, ops)| {
            operations.set(operations.get() + ops.len());
            live(config, &ops);
            Ok(())
        });
        if let Err(TestError::Fail(reason, (config, ops))) = outcome {
            panic!("{reason}, WAL_MODEL_SEED={}\n{config:?}\n{ops:#?}", first_seed + round);
        }
        lives += u64::from(ROUND);
    }
    println!("tally: random-lives {lives} sequences");
    println!("tally: random-operations {} operations", operations.get());
}
