//! Runs a scenario in one order after the other.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::thread;

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use crate::scenarios::{self, Scenario};

/// How the orders are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Anybody who can go on, at every step.
    Random,
    /// Whoever has the highest priority, which changes at this many places less one: finds what needs few changes in the right places.
    Priorities(usize),
    /// All of them, one after the other.
    Every,
}

/// A failed run.
#[derive(Clone, Debug)]
pub struct Failure {
    /// How many runs it took, itself included.
    pub runs: u64,
    /// What was wrong.
    pub what: String,
}

fn config(failures: Option<&Path>) -> Config {
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    config.max_steps = MaxSteps::FailAfter(100_000);
    config.silence_warnings = true;
    config.failure_persistence =
        failures.map_or(FailurePersistence::None, |directory| FailurePersistence::File(Some(directory.to_path_buf())));
    config.ungraceful_shutdown_config.immediately_return_on_panic = true;
    config
}

thread_local! {
    static LAST_WORDS: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The scheduler's own panic follows that of a scenario's thread, which says what is wrong and is kept here. All threads of a run are one.
fn keep_last_words() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        panic::set_hook(Box::new(|panic| {
            let text = panic.payload_as_str().unwrap_or("a panic without words");
            let place = panic.location().map_or(String::new(), |location| format!("{location}: "));
            LAST_WORDS.with_borrow_mut(|words| {
                if words.is_empty() {
                    *words = format!("{place}{text}");
                }
            });
        }));
    });
}

/// Runs the scenario up to `runs` times; how often it ran, or how it failed. The order that failed is left as a file in `failures`, if given.
pub fn explore(scenario: &Scenario, choice: Choice, seed: u64, runs: usize, failures: Option<&Path>) -> Result<u64, Failure> {
    prepare(failures);
    // A failed run leaves its threads' stacks behind, and the scheduler in disorder: on a thread of its own that harms nobody.
    thread::scope(|scope| {
        let run = || match choice {
            Choice::Random => run(scenario, RandomScheduler::new_from_seed(seed, runs), failures),
            Choice::Priorities(changes) => run(scenario, PctScheduler::new_from_seed(seed, changes, runs), failures),
            Choice::Every => run(scenario, DfsScheduler::new(Some(runs), false), failures),
        };
        scope.spawn(run).join().unwrap_or_else(|_| Err(Failure { runs: 0, what: "the scheduler itself has failed".to_string() }))
    })
}

fn run(scenario: &Scenario, scheduler: impl Scheduler + 'static, failures: Option<&Path>) -> Result<u64, Failure> {
    let begun = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&begun);
    let life = scenario.life;
    let runner = Runner::new(scheduler, config(failures));
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        runner.run(move || {
            count.fetch_add(1, Ordering::Relaxed);
            life();
        })
    }));
    match outcome {
        Ok(runs) => Ok(runs as u64),
        Err(_) => Err(Failure { runs: begun.load(Ordering::Relaxed), what: LAST_WORDS.take() }),
    }
}

/// Runs the scenario once more in the order that `file` holds; what goes wrong is a panic.
pub fn replay(scenario: &Scenario, file: &Path) -> std::io::Result<()> {
    let scheduler = ReplayScheduler::new_from_file(file)?;
    scenarios::prepare(config(None));
    Runner::new(scheduler, config(None)).run(scenario.life);
    Ok(())
}

fn prepare(failures: Option<&Path>) {
    keep_last_words();
    // The scheduler remembers for all runs what the first one wants to become of the orders that fail.
    scenarios::prepare(config(failures));
}
