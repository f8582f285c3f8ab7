//! The store of `examples-c` and its log, when the power fails at any sync of either.

use std::path::Path;
use std::process::Command;

use wal_ffi_tests::{Library, Program, build, must, scratch};

const TMP: &str = env!("CARGO_TARGET_TMPDIR");
const STORE: Program<'static> = Program { name: "store", sources: &["store.c"], arguments: &[] };

#[test]
fn the_power_fails_at_every_sync() {
    let dir = scratch(&Path::new(TMP).join("store"));
    let output = must(Command::new(build(STORE, Library::Static, TMP)).arg(&dir));
    print!("{}", String::from_utf8_lossy(&output.stdout));
    // What cannot be removed is no failure of the test.
    let _still_there = std::fs::remove_dir_all(dir);
}
