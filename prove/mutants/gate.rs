//! The tests that judge a mutant, in one binary: one link for each mutant instead of one for each file. `prove/mutants/phases` runs them in the
//! order of what they cost. Left out of a plain `cargo test`, which runs the same tests from their own files.

#[path = "../tests/broken_chains.rs"]
mod broken_chains;
#[path = "../tests/damage.rs"]
mod damage;
#[path = "../tests/evidence.rs"]
mod evidence;
#[path = "../tests/followers.rs"]
mod followers;
#[path = "../tests/golden.rs"]
mod golden;
#[path = "../tests/heads.rs"]
mod heads;
#[path = "../tests/inspection.rs"]
mod inspection;
#[path = "../tests/lengths.rs"]
mod lengths;
#[path = "../tests/live.rs"]
mod live;
#[path = "../tests/manifest.rs"]
mod manifest;
#[path = "../tests/nth_fault.rs"]
mod nth_fault;
#[path = "../tests/opening.rs"]
mod opening;
#[path = "../tests/packed.rs"]
mod packed;
#[path = "../tests/passing_errors.rs"]
mod passing_errors;
#[path = "../tests/pins.rs"]
mod pins;
#[path = "../tests/protocol.rs"]
mod protocol;
#[path = "../tests/published.rs"]
mod published;
#[path = "../tests/rebuilt.rs"]
mod rebuilt;
#[path = "../tests/regression_commit.rs"]
mod regression_commit;
#[path = "../tests/regression_damage.rs"]
mod regression_damage;
#[path = "../tests/regression_faults.rs"]
mod regression_faults;
#[path = "../tests/regression_recovery.rs"]
mod regression_recovery;
#[path = "../tests/rules.rs"]
mod rules;
#[path = "../tests/scan.rs"]
mod scan;
#[path = "../tests/tail.rs"]
mod tail;
#[path = "../tests/vouched.rs"]
mod vouched;
#[path = "../tests/window.rs"]
mod window;
