//! Every protocol path through a crash at every storage operation, and through a second crash while the log recovers from the first.
//!
//! A script of calls runs on the simulated disk. Then, for every point of its trace and every state that a crash there may leave, a log is opened
//! and must hold what was promised; for a share of them the same is done with every point of that opening's own trace.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, HashSet};
use std::env;

use wal_engine::config::{Config, RECYCLE_NONE, SyncMode};
use wal_engine::error::Result;
use wal_engine::format::constants::{OP_CHECKPOINT, OP_PUT};
use wal_engine::log::{Durability, Entry, Log, ReplayOptions};
use wal_engine::seq;
use wal_sim::{Budget, Disk, Image, Mark, Point, SimStorage};

/// A call, or a few that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
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

const STEPS: [Step; 9] = [
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

/// Marks of this test: a truncation was asked for.
const ASKED_TO_TRUNCATE: u32 = 1;

/// What the host knows of a record that it handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    op: u8,
    value: Vec<u8>,
    batch_last: u64,
}

type History = BTreeMap<u64, Known>;

fn config(mode: SyncMode, recycle: bool) -> Config {
    Config {
        sync_mode: mode,
        segment_bytes: 4096,
        background: false,
        recycle_segments: if recycle { 0 } else { RECYCLE_NONE },
        ..Config::default()
    }
}

fn value_of(seq: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| (seq as usize * 31 + at * 7) as u8).collect()
}

/// A host: it runs steps and keeps account.
struct Host {
    disk: Disk,
    config: Config,
    log: Option<Log<SimStorage>>,
    history: History,
}

impl Host {
    fn new(config: Config) -> Host {
        let disk = Disk::new(11);
        let log = Log::open(disk.storage(), &config).unwrap();
        Host { disk, config, log: Some(log), history: History::new() }
    }

    fn log(&self) -> &Log<SimStorage> {
        self.log.as_ref().unwrap()
    }

    fn durable(&self, up_to: u64) {
        self.disk.acknowledge(up_to);
    }

    fn append(&mut self, len: usize) {
        let seq = self.log().last_seq() + 1;
        let value = value_of(seq, len);
        self.history.insert(seq, Known { op: OP_PUT, value: value.clone(), batch_last: seq });
        self.disk.mark(Mark::Appended(seq));
        assert_eq!(self.log().append(OP_PUT, b"", &value).unwrap(), seq);
        if self.config.sync_mode == SyncMode::Always {
            self.durable(seq);
        }
    }

    fn batch(&mut self) {
        let first = self.log().last_seq() + 1;
        let values: Vec<Vec<u8>> = (first..first + 3).map(|seq| value_of(seq, 100)).collect();
        let entries: Vec<Entry<'_>> = values.iter().map(|value| Entry { op: OP_PUT, key: b"", value }).collect();
        for (seq, value) in (first..).zip(&values) {
            self.history.insert(seq, Known { op: OP_PUT, value: value.clone(), batch_last: first + 2 });
        }
        self.disk.mark(Mark::Appended(first + 2));
        assert_eq!(self.log().append_batch(&entries[..], Durability::Mode).unwrap(), first + 2);
        if self.config.sync_mode == SyncMode::Always {
            self.durable(first + 2);
        }
    }

    fn checkpoint(&mut self, covered: u64) {
        let own = self.log().last_seq() + 1;
        self.history.insert(own, Known { op: OP_CHECKPOINT, value: Vec::new(), batch_last: own });
        self.disk.mark(Mark::Appended(own));
        let n = self.log().checkpoint(covered).unwrap();
        self.durable(own);
        self.disk.mark(Mark::Checkpoint(n));
    }

    fn truncate(&mut self, up_to: u64) {
        self.disk.mark(Mark::Note(ASKED_TO_TRUNCATE, up_to));
        self.log().truncate(up_to, true).unwrap();
        self.disk.mark(Mark::Floor(up_to));
    }

    fn step(&mut self, step: Step) {
        let last = self.log().last_seq();
        match step {
            Step::Append => self.append(200),
            Step::AppendRotating => self.append(2000),
            Step::Batch => self.batch(),
            Step::Sync => {
                self.log().sync(seq::LAST).unwrap();
                self.durable(last);
            }
            Step::CheckpointLast => self.checkpoint(seq::LAST),
            Step::CheckpointBefore => self.checkpoint(last.saturating_sub(1)),
            Step::TruncateHalf => self.truncate(last / 2),
            Step::TruncateLast => self.truncate(last),
            Step::Reopen => {
                self.log.take().unwrap().close().unwrap();
                self.durable(last);
                self.log = Some(Log::open(self.disk.storage(), &self.config).unwrap());
            }
        }
        if self.config.sync_mode == SyncMode::Always {
            self.disk.assert_all_synced();
        }
        self.disk.assert_ordered();
    }
}

/// What must hold after a crash at some point.
#[derive(Clone, Copy, Debug, Default)]
struct Promised {
    durable: u64,
    appended: u64,
    checkpoint: u64,
    floor: u64,
    asked_floor: u64,
}

impl Promised {
    fn at(point: &Point) -> Promised {
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

/// What a log shows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    floor: u64,
    last: u64,
    checkpoint: u64,
    records: Vec<u64>,
}

/// Opens what a crash left and holds it against what was promised.
fn check_open(disk: &Disk, config: &Config, promised: &Promised, history: &History) -> Result<(Log<SimStorage>, Shown)> {
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
    let mut records = Vec::new();
    while let Some(record) = cursor.next()? {
        let known = &history[&record.seq];
        assert_eq!(record.op, known.op, "seq {}", record.seq);
        assert_eq!(record.batch_last_seq, known.batch_last, "seq {}", record.seq);
        assert!(record.op == OP_CHECKPOINT || record.value == known.value, "wrong bytes in seq {}", record.seq);
        records.push(record.seq);
    }
    let expected: Vec<u64> = (stat.floor_seq + 1..=stat.last_seq).collect();
    assert_eq!(records, expected, "holes");
    if let Some(known) = history.get(&stat.last_seq) {
        assert_eq!(known.batch_last, stat.last_seq, "half a batch");
    }
    let shown = Shown { floor: stat.floor_seq, last: stat.last_seq, checkpoint: stat.checkpoint_seq, records };
    Ok((log, shown))
}

/// The whole examination of one crash state.
fn examine(image: &Image, config: &Config, promised: &Promised, history: &History) -> Result<(Disk, Shown)> {
    let disk = Disk::from_image(image, 7);
    let (log, shown) = check_open(&disk, config, promised, history)?;
    drop(log);
    let recovered = disk.clone();
    let trace_end = disk.durable_image();
    // Opening again gives the same answer: after the process died, and after the machine did.
    for again in [disk.clone(), Disk::from_image(&trace_end, 8)] {
        let (log, second) = check_open(&again, config, promised, history)?;
        assert_eq!(second, shown, "another answer at the second opening");
        // Appends go on, and what they add is found.
        let mut history = history.clone();
        for len in [100, 2000, 1000] {
            let seq = log.last_seq() + 1;
            let value = value_of(seq + 77, len);
            assert_eq!(log.append(OP_PUT, b"", &value)?, seq);
            history.insert(seq, Known { op: OP_PUT, value, batch_last: seq });
        }
        log.close()?;
        let last = shown.last + 3;
        let after = Promised { durable: last, appended: last, ..*promised };
        let (log, third) = check_open(&again, config, &after, &history)?;
        assert_eq!(third.last, last);
        drop(log);
        again.assert_ordered();
    }
    Ok((recovered, shown))
}

#[derive(Default)]
struct Count {
    states: u64,
    deep: u64,
    distinct: HashSet<(u64, u64)>,
}

fn explore(script: &[Step], config: &Config, budget: &Budget, deep_every: u64, count: &mut Count) {
    let mut host = Host::new(*config);
    for &step in script {
        host.step(step);
    }
    drop(host.log.take());
    let history = &host.history;
    for point in host.disk.trace().crash_points() {
        let promised = Promised::at(&point);
        for image in point.images(budget) {
            if !count.distinct.insert((image.hash(), promised.durable)) {
                continue;
            }
            count.states += 1;
            let context = || format!("{script:?} {config:?}: crash at point {}, {promised:?}\n{}", point.index(), host.disk.trace());
            let outcome = std::panic::catch_unwind(|| examine(&image, config, &promised, history));
            let shown = match outcome {
                Ok(Ok((_, shown))) => shown,
                Ok(Err(error)) => panic!("{error:?}\n{}", context()),
                Err(panic) => {
                    eprintln!("{}", context());
                    std::panic::resume_unwind(panic);
                }
            };
            if count.states.is_multiple_of(deep_every) {
                explore_recovery(&image, config, &promised, &shown, history, budget, count);
            }
        }
    }
}

/// A second crash, at every point of the recovery from the first.
fn explore_recovery(
    image: &Image,
    config: &Config,
    promised: &Promised,
    shown: &Shown,
    history: &History,
    budget: &Budget,
    count: &mut Count,
) {
    let disk = Disk::from_image(image, 7);
    drop(Log::open(disk.storage(), config).unwrap());
    let trace = disk.trace();
    let points = trace.ops().len();
    for point in trace.crash_points() {
        for image in point.images(&Budget { samples: 8, torn: 4, ..*budget }) {
            count.deep += 1;
            let outcome = std::panic::catch_unwind(|| examine(&image, config, promised, history));
            match outcome {
                Ok(Ok((_, again))) if point.index() == points => assert_eq!(&again, shown, "after the recovery the answer stands"),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => panic!("second crash at {} of\n{trace}\n{error:?}", point.index()),
                Err(panic) => {
                    eprintln!("second crash at {} of\n{trace}", point.index());
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
}

fn budget() -> Budget {
    Budget { exhaustive: 4, samples: 16, torn: 6, seed: 3 }
}

/// One more than what is asked for in the environment, for longer runs by hand.
fn length() -> usize {
    env::var("WAL_SCRIPT_LEN").ok().and_then(|len| len.parse().ok()).unwrap_or(3)
}

fn all_scripts(prefix: &[Step], config: &Config, count: &mut Count) {
    let mut pending = vec![Vec::new()];
    while let Some(script) = pending.pop() {
        if script.len() < length() {
            for step in STEPS {
                let mut longer = script.clone();
                longer.push(step);
                pending.push(longer);
            }
        } else {
            let whole: Vec<Step> = prefix.iter().chain(&script).copied().collect();
            explore(&whole, config, &budget(), 40, count);
        }
    }
    println!("{} crash states, {} after a crash in recovery", count.states, count.deep);
    assert!(count.states > 1000 && count.deep > 500, "this test tried next to nothing");
}

#[test]
fn scripts_from_nothing_always() {
    all_scripts(&[], &config(SyncMode::Always, true), &mut Count::default());
}

#[test]
fn scripts_from_nothing_os() {
    all_scripts(&[], &config(SyncMode::Os, true), &mut Count::default());
}

#[test]
fn scripts_on_a_log_of_segments_always_recycling() {
    let prefix = [Step::AppendRotating, Step::AppendRotating, Step::Append, Step::TruncateHalf];
    all_scripts(&prefix, &config(SyncMode::Always, true), &mut Count::default());
}

#[test]
fn scripts_on_a_log_of_segments_os_without_recycling() {
    let prefix = [Step::AppendRotating, Step::AppendRotating, Step::Batch, Step::TruncateHalf];
    all_scripts(&prefix, &config(SyncMode::Os, false), &mut Count::default());
}

#[test]
fn scripts_in_buffer_mode() {
    let prefix = [Step::AppendRotating, Step::Append, Step::Sync, Step::AppendRotating];
    all_scripts(&prefix, &config(SyncMode::None, true), &mut Count::default());
}

#[test]
fn a_long_life() {
    let mut script = Vec::new();
    for round in 0..6 {
        script.extend([Step::AppendRotating, Step::Append, Step::Batch, Step::CheckpointBefore, Step::AppendRotating]);
        script.push(if round % 2 == 0 { Step::TruncateHalf } else { Step::TruncateLast });
        if round == 3 {
            script.push(Step::Reopen);
        }
    }
    let mut count = Count::default();
    explore(&script, &config(SyncMode::Always, true), &budget(), 60, &mut count);
    println!("{} crash states, {} after a crash in recovery", count.states, count.deep);
}
