//! The C tests about writing, with logs that write past the system's cache.

use wal_ffi_tests::{Library, MEMORY, Program, RUNNER, for_each_in_group, run_direct};

const TMP: &str = env!("CARGO_TARGET_TMPDIR");

macro_rules! direct {
    ($($group:ident,)+) => {
        $(#[test]
        fn $group() {
            run_group(RUNNER, stringify!($group));
        })+
    };
}

fn run_group(program: Program<'_>, group: &str) {
    for_each_in_group(program, Library::Shared, TMP, group, |test| run_direct(program, TMP, test));
}

/// Each allocation fails.
#[test]
fn memory() {
    run_group(MEMORY, "memory");
}

direct! {
    appending,
    packed,
    checkpoint,
    replay,
    modes,
    crash,
    failing,
    damage,
    threads,
}
