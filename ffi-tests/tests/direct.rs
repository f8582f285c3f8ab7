//! The C tests about writing, with logs that write past the system's cache.

use wal_ffi_tests::{Library, MEMORY, Program, RUNNER, build, list, run_direct};

const TMP: &str = env!("CARGO_TARGET_TMPDIR");

macro_rules! direct {
    ($($group:ident,)+) => {
        $(#[test]
        fn $group() {
            run_group(RUNNER, concat!(stringify!($group), "."));
        })+
    };
}

fn run_group(program: Program<'_>, prefix: &str) {
    let tests = list(&build(program, Library::Shared, TMP));
    let tests: Vec<_> = tests.iter().filter(|test| test.starts_with(prefix)).collect();
    assert!(!tests.is_empty(), "there are no tests in {prefix}");
    tests.into_iter().for_each(|test| run_direct(program, TMP, test));
}

/// Each allocation fails.
#[test]
fn memory() {
    run_group(MEMORY, "memory.");
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
