//! Every protocol path through a crash at every storage operation, and through a second crash while the log recovers from the first.
//!
//! A script of calls runs on the simulated disk. Then, for every point of its trace and every state that a crash there may leave, a log is opened
//! and must hold what was promised; for a share of them the same is done with every point of that opening's own trace.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashSet;
use std::env;

use wal_engine::config::{Config, SyncMode};
use wal_engine::error::Result;
use wal_engine::format::constants::OP_PUT;
use wal_engine::log::Log;
use wal_prove::host::{History, Host, Known, Promised, STEPS, Shown, Step, check_open, config, value_of};
use wal_sim::{Budget, Disk, Image};

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
    let mut host = Host::open(Disk::new(11), *config).unwrap();
    for &step in script {
        host.step(step).unwrap();
        if config.sync_mode == SyncMode::Always {
            host.disk.assert_all_synced();
        }
        host.disk.assert_ordered();
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
