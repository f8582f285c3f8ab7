//! The mistakes of other logs that need two threads, planted one at a time: each is found, and this says after how many runs.

use std::process::ExitCode;

use wal_engine::plants::{Mistake, choose};
use wal_interleave::explore::{Choice, Failure, explore};
use wal_interleave::scenarios::all;

const MISTAKES: [Mistake; 4] = [Mistake::FollowersHearSuccess, Mistake::SyncedCountsLater, Mistake::LicenceIsOwnSeq, Mistake::StaleBound];
/// Within so many runs of one scenario, half of them at random and half by priorities.
const RUNS: usize = 2000;

fn main() -> ExitCode {
    let mut all_found = true;
    for mistake in MISTAKES {
        choose(Some(mistake));
        let mut found = Vec::new();
        let mut runs = 0;
        for scenario in all() {
            let mut spent = 0;
            for choice in [Choice::Random, Choice::Priorities(3)] {
                match explore(&scenario, choice, 1, RUNS / 2, None) {
                    Ok(passed) => spent += passed,
                    Err(Failure { runs, what }) => {
                        found.push((scenario.name, spent + runs, what));
                        spent += runs;
                        break;
                    }
                }
            }
            runs += spent;
        }
        found.sort_by_key(|(_, runs, _)| *runs);
        println!("mistake {} ({mistake:?}), {runs} runs:", mistake as u8);
        for (name, runs, what) in &found {
            println!(
                "    found by {name} in run {runs}: {}",
                what.lines().next().unwrap_or_default().chars().take(200).collect::<String>()
            );
        }
        if found.is_empty() {
            println!("    not found");
            all_found = false;
        }
    }
    choose(None);
    if all_found { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
