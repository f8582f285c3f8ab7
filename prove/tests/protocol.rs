//! Every protocol path through a crash at every storage operation, and through a second crash while the log recovers from the first: the size for
//! every compilation. `make prove` does the same with far more.

use wal_engine::config::SyncMode;
use wal_prove::crash::{Counts, Depth, explore};
use wal_prove::host::Step;
use wal_prove::lives::{Lives, live};
use wal_prove::run::{Done, Run, Slice};
use wal_prove::scripts::{Script, Scripts, Setting, settings};
use wal_sim::Budget;

const DEPTH: Depth = Depth {
    budget: Budget { exhaustive: 4, samples: 8, torn: 12, seed: 3 },
    deep: 1,
    deep_budget: Budget { exhaustive: 1, samples: 2, torn: 1, seed: 3 },
};

fn all(name: &str, items: u64, each: impl Fn(&Run, u64) -> Result<Counts, String> + Sync) -> Counts {
    let run = Run::new(2, DEPTH.budget.seed);
    let (Done { counts, .. }, failed) = run.spread(name, Slice::whole(items), |item| each(&run, item));
    if let Some(failed) = failed {
        panic!("{name}, item {}: {}", failed.item, failed.failure);
    }
    println!("{name}: {counts:?}");
    counts
}

fn scripts_of_two_calls(mode: SyncMode) {
    let scripts = Scripts { settings: settings(&[mode]), longest: 2 };
    let counts = all("scripts", scripts.count(), |run, number| explore(&scripts.get(number), &DEPTH, &run.seen));
    assert!(counts.first.states > 1_000 && counts.second.states > 2_000, "this test tried next to nothing: {counts:?}");
}

#[test]
fn scripts_in_always_mode() {
    scripts_of_two_calls(SyncMode::Always);
}

#[test]
fn scripts_in_os_mode() {
    scripts_of_two_calls(SyncMode::Os);
}

#[test]
fn scripts_in_buffer_mode() {
    scripts_of_two_calls(SyncMode::None);
}

#[test]
fn scripts_in_batch_mode() {
    scripts_of_two_calls(SyncMode::Batch);
}

/// Segments come and go, under one process and the next.
#[test]
fn a_long_life() {
    let mut steps = Vec::new();
    for round in 0..6 {
        steps.extend([Step::AppendRotating, Step::Append, Step::Batch, Step::CheckpointBefore, Step::AppendRotating]);
        steps.push(if round % 2 == 0 { Step::TruncateHalf } else { Step::TruncateLast });
        if round == 3 {
            steps.push(Step::Reopen);
        }
    }
    let setting = Setting { mode: SyncMode::Always, recycle: true };
    // Each beginning of a script is a script, whose last step is explored.
    let script = |number: u64| Script { setting, start: &[], steps: steps[..number as usize].to_vec() };
    let counts = all("a long life", steps.len() as u64 + 1, |run, number| explore(&script(number), &DEPTH, &run.seen));
    assert!(counts.first.states > 300 && counts.second.states > 300, "this test tried next to nothing: {counts:?}");
}

#[test]
fn random_lives() {
    let lives = Lives { steps: (5, 30), lives: (1, 4) };
    let depth = Depth { deep: 0, ..DEPTH };
    let counts = all("lives", 10, |run, number| live(&lives, run.seed, number, &depth, &run.seen));
    assert!(counts.first.states > 2_000, "this test tried next to nothing: {counts:?}");
}
