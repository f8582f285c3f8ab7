//! Pins through crashes, faults and other processes. Prints how many crash states it tried.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::thread;

use wal_engine::config::SyncMode;
use wal_prove::pins::{CALLS, Call, Tried, Wrong, explore, with_fault};
use wal_sim::Budget;

const BUDGET: Budget = Budget { exhaustive: 3, samples: 6, torn: 4, seed: 5 };

/// Every script of up to three calls that makes a pin before its last call, or with it.
fn scripts() -> Vec<Vec<Call>> {
    let mut all: Vec<Vec<Call>> = vec![Vec::new()];
    let mut longest = all.clone();
    for _ in 0..3 {
        longest = longest.iter().flat_map(|script| CALLS.map(|call| [&script[..], &[call]].concat())).collect();
        all.extend(longest.iter().cloned());
    }
    all.retain(|script| script.iter().any(|call| call.makes_pin()));
    all
}

/// All scripts, on two threads.
fn spread(judge: impl Fn(&[Call]) -> Result<Tried, String> + Sync) -> Tried {
    let scripts = scripts();
    let mut tried = Tried::default();
    thread::scope(|scope| {
        let (judge, scripts) = (&judge, &scripts);
        let run = move |part: usize| {
            let mut tried = Tried::default();
            for script in scripts.iter().skip(part).step_by(2) {
                tried.add(judge(script).unwrap_or_else(|failure| panic!("{failure}")));
            }
            tried
        };
        let threads = [0, 1].map(|part| scope.spawn(move || run(part)));
        threads.into_iter().for_each(|thread| tried.add(thread.join().unwrap()));
    });
    tried
}

#[test]
fn crashes_at_every_operation() {
    let tried = spread(|script| {
        let mut tried = explore(SyncMode::Always, true, script, &BUDGET, false)?;
        tried.add(explore(SyncMode::Os, false, script, &BUDGET, false)?);
        Ok(tried)
    });
    println!("{tried:?}");
    println!("tally: pins {} crash states of logs with pins", tried.states);
    assert!(tried.states > 20_000 && tried.pinned > 5_000 && tried.lost > 100, "this test tried next to nothing: {tried:?}");
}

/// A pin that moves in the cache only is what this suite is there for.
#[test]
fn a_pin_that_moves_in_memory_only_is_noticed() {
    let script = [Call::PinOldest, Call::AdvanceToLast, Call::TruncateLast];
    explore(SyncMode::Always, true, &script, &BUDGET, false).unwrap();
    let failure = explore(SyncMode::Always, true, &script, &BUDGET, true).unwrap_err();
    assert!(failure.contains("not Allowed") || failure.contains("hole") || failure.contains("cannot be reached"), "{failure}");
}

#[test]
fn storage_calls_fail_and_processes_die() {
    let tried = spread(|script| {
        let mut tried = Tried::default();
        // Longer scripts differ in what stands before; their last calls are those of the shorter ones.
        if script.len() > 2 {
            return Ok(tried);
        }
        for kind in [Wrong::Fails, Wrong::Dies] {
            for nth in 1.. {
                match with_fault(SyncMode::Always, script, kind(nth))? {
                    Some(more) => tried.add(more),
                    None => break,
                }
            }
        }
        Ok(tried)
    });
    println!("{tried:?}");
    println!("tally: pin-faults {} failing calls and deaths in the calls of pins", tried.faults);
    assert!(tried.faults > 1_000 && tried.pinned > 100, "this test tried next to nothing: {tried:?}");
}
