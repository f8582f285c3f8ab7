//! The mistakes of other logs that need two threads to do harm, planted one at a time: each is found, and this says after how many runs.

use std::process::ExitCode;

use wal_engine::plants::{Mistake, choose};
use wal_interleave::explore::{Choice, explore};
use wal_interleave::scenarios::all;

const MISTAKES: [Mistake; 4] = [Mistake::FollowersHearSuccess, Mistake::SyncedCountsLater, Mistake::LicenceIsOwnSeq, Mistake::StaleBound];
/// Each scenario gets so many runs in turn, until one fails.
const TURN: usize = 50;
/// Turns of all scenarios after which a mistake has escaped.
const TURNS: u64 = 40;

/// Runs all scenarios until one fails; what to say about it.
fn find() -> Option<String> {
    let mut runs = 0;
    for turn in 0..TURNS {
        for scenario in all().into_iter().filter(|scenario| scenario.share > 0) {
            let choice = if turn % 2 == 0 { Choice::Random } else { Choice::Priorities(3) };
            match explore(&scenario, choice, turn, TURN, None) {
                Ok(passed) => runs += passed,
                Err(failure) => {
                    let what = failure.what.lines().take(2).collect::<Vec<_>>().join(" ");
                    let what: String = what.chars().take(300).collect();
                    return Some(format!("found by {} in schedule {} of all: {what}", scenario.name, runs + failure.runs));
                }
            }
        }
    }
    None
}

fn main() -> ExitCode {
    let mut escaped = 0;
    for mistake in MISTAKES {
        choose(Some(mistake));
        let found = find().unwrap_or_else(|| {
            escaped += 1;
            "NOT FOUND".to_string()
        });
        println!("mistake {} ({mistake:?}): {found}", mistake as u8);
    }
    println!("planted: {} of {} found", MISTAKES.len() - escaped, MISTAKES.len());
    if escaped == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
