//! The C tests about writing, with logs that write past the system's cache.

use wal_ffi_tests::{Library, RUNNER, build, list, run_direct};

const TMP: &str = env!("CARGO_TARGET_TMPDIR");

macro_rules! direct {
    ($($group:ident,)+) => {
        $(#[test]
        fn $group() {
            let tests = list(&build(RUNNER, Library::Shared, TMP));
            let prefix = concat!(stringify!($group), ".");
            let tests: Vec<_> = tests.iter().filter(|test| test.starts_with(prefix)).collect();
            assert!(!tests.is_empty(), "there are no tests in {prefix}");
            tests.into_iter().for_each(|test| run_direct(TMP, test));
        })+
    };
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
