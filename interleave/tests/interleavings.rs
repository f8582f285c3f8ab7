//! Every scenario in many orders: half of the runs at random, half by priorities; those of single parts in every order there is.
//!
//! A failure leaves the order as a file and says how to run it again. With `WAL_INTERLEAVE_MINUTES=n` it goes on for so long, from a seed that is printed;
//! `WAL_INTERLEAVE_SEED=n` begins with that one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs, thread};

use wal_interleave::explore::{Choice, explore, replay};
use wal_interleave::scenarios::{Scenario, all, named};

/// Runs for each share of a scenario in one round; all rounds but those of a long run are one.
const RUNS: usize = 1500;
/// Runs that one worker makes in a row.
const CHUNK: usize = 250;
/// No part has as many orders.
const EVERY: usize = 1_000_000;

#[derive(Clone, Copy)]
struct Chunk {
    scenario: Scenario,
    choice: Choice,
    seed: u64,
    runs: usize,
}

fn round(seed: u64) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    for (number, scenario) in (0u64..).zip(all()) {
        for at in 0..scenario.share * RUNS / CHUNK {
            let choice = [Choice::Random, Choice::Priorities(2), Choice::Random, Choice::Priorities(4)][at % 4];
            chunks.push(Chunk { scenario, choice, seed: seed ^ (number << 32 | at as u64), runs: CHUNK });
        }
    }
    chunks
}

fn parts() -> Vec<Chunk> {
    let small = all().into_iter().filter(|scenario| scenario.share == 0);
    small.map(|scenario| Chunk { scenario, choice: Choice::Every, seed: 0, runs: EVERY }).collect()
}

/// Runs the chunks on all processors; how many runs that were, or the first failure.
fn work(chunks: &[Chunk], until: Option<Instant>, failures: &Path) -> Result<u64, String> {
    let (next, count, failed) = (AtomicUsize::new(0), AtomicU64::new(0), Mutex::new(None));
    let worker = || {
        while let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
            if until.is_some_and(|until| Instant::now() >= until) {
                return;
            }
            match explore(&chunk.scenario, chunk.choice, chunk.seed, chunk.runs, Some(failures)) {
                Ok(runs) if chunk.choice == Choice::Every && runs == EVERY as u64 => {
                    *failed.lock().expect("no worker panics") = Some(format!("{} has more than {EVERY} orders", chunk.scenario.name));
                }
                Ok(runs) => {
                    count.fetch_add(runs, Ordering::Relaxed);
                    if chunk.choice == Choice::Every {
                        println!("{}: all of its {runs} orders", chunk.scenario.name);
                    }
                    continue;
                }
                Err(failure) => {
                    let Chunk { scenario, choice, seed, .. } = chunk;
                    let what = format!(
                        "{} failed in run {} of {choice:?} from seed {seed}: {}\nthe order is the newest file in {}; run it again with\n\
                         WAL_INTERLEAVE_SCENARIO={} WAL_INTERLEAVE_ORDER=FILE cargo test --release --test interleavings",
                        scenario.name,
                        failure.runs,
                        failure.what,
                        failures.display(),
                        scenario.name
                    );
                    *failed.lock().expect("no worker panics") = Some(what);
                }
            }
            // The others stop after their chunk.
            next.store(chunks.len(), Ordering::Relaxed);
        }
    };
    let workers = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(worker))));
    failed.into_inner().expect("no worker panics").map_or(Ok(count.into_inner()), Err)
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

fn explored(minutes: Option<u64>, failures: &Path) -> Result<u64, String> {
    let mut count = work(&parts(), None, failures)?;
    let Some(minutes) = minutes else {
        return Ok(count + work(&round(number("WAL_INTERLEAVE_SEED").unwrap_or(0)), None, failures)?);
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
    let (began, mut seed) = (Instant::now(), number("WAL_INTERLEAVE_SEED").unwrap_or(now));
    let until = began + Duration::from_secs(60 * minutes);
    println!("seed {seed}");
    while Instant::now() < until {
        count += work(&round(seed), Some(until), failures)?;
        seed = seed.wrapping_add(1 << 40);
        let spent = began.elapsed().as_secs();
        println!("{count} schedules in {spent} s, {} s to go", (60 * minutes).saturating_sub(spent));
    }
    Ok(count)
}

fn main() -> ExitCode {
    if let Some(order) = env::var_os("WAL_INTERLEAVE_ORDER") {
        let name = env::var("WAL_INTERLEAVE_SCENARIO").unwrap_or_default();
        let scenario = named(&name).unwrap_or_else(|| panic!("WAL_INTERLEAVE_SCENARIO names no scenario: {name:?}"));
        replay(&scenario, Path::new(&order)).expect("the file with the order");
        println!("{name}: nothing went wrong");
        return ExitCode::SUCCESS;
    }
    let began = Instant::now();
    let failures = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(&failures).expect("a place for orders that fail");
    match explored(number("WAL_INTERLEAVE_MINUTES"), &failures) {
        Ok(count) => {
            println!("{} scenarios in {} s, nothing lost, nobody stuck", all().len(), began.elapsed().as_secs());
            println!("tally: interleavings {count} schedules");
            ExitCode::SUCCESS
        }
        Err(what) => {
            println!("{what}");
            ExitCode::FAILURE
        }
    }
}
