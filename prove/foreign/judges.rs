//! The judges that take seconds, in one binary, for machines that are emulated. Left out of a plain `cargo test`, which runs the same tests from their own
//! files.

#[path = "../tests/broken_chains.rs"]
mod broken_chains;
#[path = "../tests/evidence.rs"]
mod evidence;
#[path = "../tests/golden.rs"]
mod golden;
#[path = "../tests/heads.rs"]
mod heads;
#[path = "../tests/inspection.rs"]
mod inspection;
#[path = "../tests/manifest.rs"]
mod manifest;
#[path = "../tests/opening.rs"]
mod opening;
#[path = "../tests/packed.rs"]
mod packed;
#[path = "../tests/rebuilt.rs"]
mod rebuilt;
#[path = "../tests/regression_commit.rs"]
mod regression_commit;
#[path = "../tests/regression_recovery.rs"]
mod regression_recovery;
#[path = "../tests/rules.rs"]
mod rules;
#[path = "../tests/scan.rs"]
mod scan;
#[path = "../tests/window.rs"]
mod window;
