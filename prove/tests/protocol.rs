//! Every protocol path through a crash at every storage operation, and through a second crash while the log recovers from the first: the size for
//! every compilation. `make prove` does the same with far more.

use wal_engine::config::SyncMode;
use wal_prove::crash::{Counts, Depth, explore};
use wal_prove::lives::{Lives, live};
use wal_prove::run::{Done, Run, Slice};
use wal_prove::scripts::{Scripts, settings};
use wal_sim::Budget;

const DEPTH: Depth = Depth {
    budget: Budget { exhaustive: 4, samples: 8, torn: 12, seed: 3 },
    deep: 1,
    deep_budget: Budget { exhaustive: 1, samples: 2, torn: 1, seed: 3 },
};

fn all(name: &str, items: u64, each: impl Fn(&Run, u64) -> Result<Counts, String> + Sync) -> Counts {
    let run = Run::new(2, DEPTH.budget.seed);
    let (Done { counts, .. }, failed) = run.spread(name, Slice { first: 0, items, until: None }, |item| each(&run, item));
    if let Some(failed) = failed {
        panic!("{name}, item {}: {}", failed.item, failed.failure);
    }
    println!("{name}: {counts:?}");
    counts
}

#[test]
fn scripts_of_two_calls() {
    let scripts = Scripts { settings: settings(&[SyncMode::Always, SyncMode::Os, SyncMode::None, SyncMode::Batch]), longest: 2 };
    let counts = all("scripts", scripts.count(), |run, number| explore(&scripts.get(number), &DEPTH, &run.seen));
    assert!(counts.first.states > 5_000 && counts.second.states > 5_000, "this test tried next to nothing: {counts:?}");
}

#[test]
fn random_lives() {
    let lives = Lives { steps: (5, 30), lives: (1, 4) };
    let depth = Depth { deep: 0, ..DEPTH };
    let counts = all("lives", 10, |run, number| live(&lives, run.seed, number, &depth, &run.seen));
    assert!(counts.first.states > 2_000, "this test tried next to nothing: {counts:?}");
}
