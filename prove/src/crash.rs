//! Crash states: every script through a crash at every storage operation, and through a second one while the log recovers from the first.
//!
//! A script runs on the simulated disk. For every point of its trace and every image that a crash there may leave, a log is opened and must hold
//! what was promised; opened again, it must show the same; and appends go on. For a sample of the images of every point the same is done with
//! every point of the trace of that opening.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use wal_engine::config::{Config, SyncMode};
use wal_engine::error::Result;
use wal_engine::format::constants::OP_PUT;
use wal_sim::{Budget, Disk, Image, Point, Trace};

use crate::chance::{Chance, mix};
use crate::host::{History, Host, Known, Promised, Shown, check_open, check_open_with, value_of};
use crate::scripts::Script;
use crate::seen::Seen;

/// What all logs are made of that the counted states come from: a state that comes twice shall be seen to.
pub const DISK_SEED: u64 = 11;

/// How much to try at each point.
#[derive(Clone, Copy, Debug)]
pub struct Depth {
    pub budget: Budget,
    /// Images of each point whose recovery is crashed too.
    pub deep: usize,
    pub deep_budget: Budget,
}

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Examinations.
    pub cases: u64,
    /// States that nobody had counted before.
    pub states: u64,
    /// Time that it took one thread.
    pub busy: Duration,
}

impl Count {
    pub fn add(&mut self, other: Count) {
        self.cases += other.cases;
        self.states += other.states;
        self.busy += other.busy;
    }
}

/// What was tried at both depths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub first: Count,
    pub second: Count,
}

/// Where something was lost, and how it was found.
pub type Failure = String;

/// Everything that a judgement of an image depends on beside the image.
struct Case<'a> {
    config: &'a Config,
    promised: Promised,
    history: &'a History,
    /// Hash of all of it.
    hash: u64,
}

impl<'a> Case<'a> {
    fn new(config: &'a Config, point: &Point, ledger: &'a Ledger) -> Case<'a> {
        let promised = Promised::at(point);
        let mut hasher = DefaultHasher::new();
        promised.hash(&mut hasher);
        // What an opening does and shows does not depend on the sync mode: the same image of another mode need not be judged again.
        config.recycle_segments.hash(&mut hasher);
        Case { config, promised, history: &ledger.history, hash: mix(hasher.finish(), ledger.hash) }
    }
}

/// What was handed over up to some point of a trace.
struct Ledger {
    history: History,
    /// The exclusive or of the hashes of all entries.
    hash: u64,
    /// How many changes it has.
    changes: usize,
}

impl Ledger {
    /// Before any of the host's own changes.
    fn new(host: &Host) -> Ledger {
        let mut ledger = Ledger { history: host.inherited.clone(), hash: 0, changes: 0 };
        ledger.hash = ledger.hash_from(0);
        ledger
    }

    fn hash_from(&self, first: u64) -> u64 {
        self.history.range(first..).fold(0, |sum, entry| {
            let mut hasher = DefaultHasher::new();
            entry.hash(&mut hasher);
            sum ^ hasher.finish()
        })
    }

    /// Makes the changes that were made before operation number `at` of the trace ended.
    fn advance(&mut self, host: &Host, at: usize) {
        while let Some(change) = host.changes.get(self.changes).filter(|change| change.at <= at) {
            self.hash ^= self.hash_from(change.first);
            change.apply(&mut self.history);
            self.hash ^= self.hash_from(change.first);
            self.changes += 1;
        }
    }
}

/// Explores the crashes in the last step of a script; the root of the scripts, without any, is explored from its beginning. So whoever explores a script
/// and all that begin it explores each point once.
pub fn explore(script: &Script, depth: &Depth, seen: &Seen) -> std::result::Result<Counts, Failure> {
    let config = script.setting.config();
    let disk = Disk::new(DISK_SEED);
    let mut before_last = 0;
    let run = || -> Result<Host> {
        let mut host = Host::open(disk.clone(), config)?;
        for (at, &step) in script.start.iter().chain(&script.steps).enumerate() {
            if at + 1 == script.start.len() + script.steps.len() && !script.steps.is_empty() {
                before_last = disk.operations() + 1;
            }
            host.step(step)?;
            if config.sync_mode == SyncMode::Always {
                disk.assert_all_synced();
            }
        }
        disk.assert_ordered();
        Ok(host)
    };
    let mut host = verdict(run).map_err(|failure| format!("{failure}\nscript {script}, no crash\n{}", disk.trace()))?;
    drop(host.log.take());
    explore_host(&host, before_last..=usize::MAX, depth, seen).map_err(|failure| format!("{failure}\nscript {script}"))
}

/// Explores the crashes of what a host did, at these points of its disk's trace.
pub fn explore_host(host: &Host, points: RangeInclusive<usize>, depth: &Depth, seen: &Seen) -> std::result::Result<Counts, Failure> {
    let began = Instant::now();
    let mut counts = Counts::default();
    let trace = host.disk.trace();
    let mut ledger = Ledger::new(host);
    for point in trace.crash_points_from(*points.start()).take_while(|point| points.contains(&point.index())) {
        ledger.advance(host, point.index());
        let case = Case::new(&host.config, &point, &ledger);
        let mut chance = Chance::new(depth.budget.seed, point.index() as u64);
        let mut sample = Vec::new();
        for (number, image) in point.images(&depth.budget).enumerate() {
            let hash = image.hash();
            if seen.examine(mix(hash, case.hash)) {
                verdict(|| examine(&image, &case)).map_err(|failure| found_at(&point, &case, &trace, number, failure))?;
                counts.first.cases += 1;
                counts.first.states += u64::from(seen.count(mix(hash, case.promised.durable)));
            }
            // Each image of the point has the same chance, however many there will be.
            if sample.len() < depth.deep {
                sample.push((number, image));
            } else if let Some(place) = sample.get_mut(chance.below(number as u64 + 1) as usize) {
                *place = (number, image);
            }
        }
        for (number, image) in sample {
            if seen.examine(mix(image.hash(), case.hash.rotate_left(32))) {
                let explored = explore_recovery(&image, &case, depth, seen);
                counts.second.add(explored.map_err(|failure| found_at(&point, &case, &trace, number, failure))?);
            }
        }
    }
    counts.first.busy = began.elapsed().saturating_sub(counts.second.busy);
    Ok(counts)
}

fn found_at(point: &Point, case: &Case<'_>, trace: &Trace, number: usize, failure: Failure) -> Failure {
    format!("{failure}\ncrash at point {}, image {number}, {:?}\n{trace}", point.index(), case.promised)
}

/// A second crash, at every point of the recovery from the first.
fn explore_recovery(image: &Image, case: &Case<'_>, depth: &Depth, seen: &Seen) -> std::result::Result<Count, Failure> {
    let began = Instant::now();
    let mut count = Count::default();
    let disk = Disk::from_image(image, 7);
    let (log, shown) = verdict(|| check_open(&disk, case.config, &case.promised, case.history))?;
    drop(log);
    let trace = disk.trace();
    let end = trace.ops().len();
    for point in trace.crash_points_from(1) {
        for (number, image) in point.images(&depth.deep_budget).enumerate() {
            let hash = image.hash();
            // Once the opening has returned, its answer stands: that is more than what the host was promised.
            let returned = point.index() == end;
            if !seen.examine(mix(hash, case.hash.wrapping_add(u64::from(returned)))) {
                continue;
            }
            let outcome = verdict(|| {
                let again = examine(&image, case)?;
                assert!(!returned || again == shown, "the opening showed {shown:?}, and after the crash {again:?}");
                Ok(())
            });
            outcome.map_err(|failure| {
                format!("{failure}\nsecond crash at point {} of the recovery, image {number}\n{trace}which recovered from a", point.index())
            })?;
            count.cases += 1;
            count.states += u64::from(seen.count(mix(hash, case.promised.durable)));
        }
    }
    count.busy = began.elapsed();
    Ok(count)
}

/// The whole examination of one crash state.
fn examine(image: &Image, case: &Case<'_>) -> Result<Shown> {
    let Case { config, promised, history, .. } = case;
    let disk = Disk::from_image(image, 7);
    let (log, shown) = check_open(&disk, config, promised, history)?;
    drop(log);
    // Opening again gives the same answer, after the process died and after the machine did. Often that is the same: when nothing is unsynced.
    let rebooted = disk.has_unsynced().then(|| Disk::from_image(&disk.durable_image(), 8));
    for again in [Some(disk), rebooted].into_iter().flatten() {
        examine_again(&again, case, shown)?;
        again.assert_ordered();
    }
    Ok(shown)
}

/// The lengths of the values that are appended after a crash: so that one stays in the segment and one does not.
const MORE: [usize; 3] = [100, 2000, 1000];

/// The answer stands, appends go on, and what they add is found.
fn examine_again(disk: &Disk, case: &Case<'_>, shown: Shown) -> Result<()> {
    let Case { config, promised, history, .. } = case;
    let (log, second) = check_open(disk, config, promised, history)?;
    assert_eq!(second, shown, "another answer at the second opening");
    let added = MORE.map(|len| value_of(len as u64 + shown.last, len));
    let first = shown.last + 1;
    for (seq, value) in (first..).zip(&added) {
        assert_eq!(log.append(OP_PUT, b"", value)?, seq);
    }
    log.close()?;
    let last = shown.last + added.len() as u64;
    let added: Vec<Known> = (first..).zip(added).map(|(seq, value)| Known { op: OP_PUT, value, batch_last: seq }).collect();
    let known = |seq: u64| if seq < first { history.get(&seq) } else { added.get((seq - first) as usize) };
    let after = Promised { durable: last, appended: last, ..*promised };
    let (_, third) = check_open_with(disk, config, &after, &known)?;
    assert_eq!(third.last, last);
    Ok(())
}

/// Runs what gives its judgement by an error or a panic.
pub fn verdict<T>(body: impl FnOnce() -> Result<T>) -> std::result::Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("{error:?}")),
        Err(panic) => {
            let what = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|what| what.to_string()));
            Err(what.unwrap_or_else(|| "panic".to_string()))
        }
    }
}
