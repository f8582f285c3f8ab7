//! The same C tests under valgrind's memcheck, and with AddressSanitizer and UndefinedBehaviorSanitizer: a test for each group, each on two threads.
//! The long ones do a part of their work there; what they do is counted by `scaled` in `c/harness.c`.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use wal_ffi_tests::{Library, RUNNER, SANITIZED_TARGET, build, have, list, memory, run, scratch, skipped};

const TMP: &str = env!("CARGO_TARGET_TMPDIR");
const VALGRIND: [&str; 7] = [
    "valgrind",
    "--quiet",
    "--error-exitcode=99",
    "--leak-check=full",
    "--errors-for-leak-kinds=definite",
    "--show-leak-kinds=definite",
    "--fair-sched=yes",
];

fn for_each_test(group: &str, prefix: &str, library: Library, one: impl Fn(&Path, &str, &Path) + Sync) {
    let runner = build(RUNNER, library, TMP);
    let tests: Vec<_> = list(&runner).into_iter().filter(|test| test.split('.').next() == Some(group)).collect();
    assert!(!tests.is_empty(), "there are no tests in {group}");
    let place = memory(TMP);
    for test in &tests {
        one(&runner, test, &scratch(&Path::new(&place).join(format!("{prefix}.{test}"))));
    }
}

fn under_valgrind(group: &str) {
    if !have("valgrind") {
        skipped(&format!("valgrind {group}"), "valgrind is not installed");
        return;
    }
    let wrapper = VALGRIND.map(OsStr::new);
    for_each_test(group, "valgrind", Library::Static, |runner, test, dir| {
        run(&wrapper, &[("WAL_TEST_SCALE", "small"), ("WAL_TEST_SECONDS", "300"), ("WAL_TEST_MEMCHECK", "1")], runner, test, dir);
    });
}

fn sanitized(group: &str) {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")) {
        skipped(&format!("asan_ubsan {group}"), &format!("the library is built with a sanitizer for {SANITIZED_TARGET} only"));
        return;
    }
    let options = [
        ("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:exitcode=99:detect_stack_use_after_return=1"),
        ("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1"),
        ("WAL_TEST_SCALE", "small"),
        ("WAL_TEST_SECONDS", "300"),
    ];
    for_each_test(group, "sanitized", Library::Sanitized, |runner, test, dir| run(&[], &options, runner, test, dir));
}

macro_rules! groups {
    ($($group:ident,)+) => {
        mod valgrind {
            $(#[test]
            fn $group() {
                super::under_valgrind(stringify!($group));
            })+
        }

        mod asan_ubsan {
            $(#[test]
            fn $group() {
                super::sanitized(stringify!($group));
            })+
        }

        const GROUPS: &[&str] = &[$(stringify!($group),)+];
    };
}

groups! {
    appending,
    opening,
    forking,
    checkpoint,
    replay,
    modes,
    crash,
    failing,
    damage,
    threads,
    arguments,
}

#[test]
fn no_group_is_left_out() {
    for test in list(&build(RUNNER, Library::Static, TMP)) {
        assert!(GROUPS.iter().any(|group| test.split('.').next() == Some(group)), "{test} is in no group");
    }
}

static PLANTED: AtomicUsize = AtomicUsize::new(0);

/// A tool that finds nothing may be one that looks at nothing: each must find the mistake that is planted for it.
fn finds(library: Library, wrapper: &[&str], mistake: &str) {
    let program = build(wal_ffi_tests::Program { name: "mistakes", sources: &["mistakes.c"], libraries: &[] }, library, TMP);
    let mut command = match wrapper.split_first() {
        Some((tool, arguments)) => {
            let mut command = Command::new(tool);
            command.args(arguments).arg(program);
            command
        }
        None => Command::new(program),
    };
    let number = PLANTED.fetch_add(1, Ordering::Relaxed);
    let dir = scratch(&Path::new(TMP).join(format!("mistake.{number}")));
    let output = command.arg(mistake).arg(&dir).env("ASAN_OPTIONS", "exitcode=99").env("UBSAN_OPTIONS", "halt_on_error=1").output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(!output.status.success(), "{mistake} was not noticed by {library:?} {wrapper:?}");
    assert_ne!(output.status.code(), Some(3), "{mistake} was not made: {}", String::from_utf8_lossy(&output.stdout));
    // What cannot be removed is no failure of the test.
    let _still_there = std::fs::remove_dir_all(dir);
}

#[test]
fn valgrind_finds_planted_mistakes() {
    if !have("valgrind") {
        skipped("valgrind planted mistakes", "valgrind is not installed");
        return;
    }
    for mistake in ["leak", "use-after-free", "short-value"] {
        finds(Library::Static, &VALGRIND, mistake);
    }
}

#[test]
fn sanitizers_find_planted_mistakes() {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")) {
        skipped("asan_ubsan planted mistakes", "built for x86_64 Linux only");
        return;
    }
    for mistake in ["leak", "use-after-free", "short-value", "overflow"] {
        finds(Library::Sanitized, &[], mistake);
    }
}
