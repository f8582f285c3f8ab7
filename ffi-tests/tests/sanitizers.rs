//! The same C tests under valgrind's memcheck, with AddressSanitizer and UndefinedBehaviorSanitizer, and with ThreadSanitizer: a test for each group, each
//! on two threads.
//! The long ones do a part of their work there; what they do is counted by `scaled` in `c/harness.c`.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use wal_ffi_tests::{Library, Program, RUNNER, Tool, build, for_each_in_group, list, run_under, scratch, skipped};

const TMP: &str = env!("CARGO_TARGET_TMPDIR");

/// Three processes that go on until they have seen enough of each other, which takes minutes there. The other tools run it.
const TOO_SLOW_FOR_VALGRIND: &str = "live.readers_keep_up_with_a_writer_that_forgets_recycles_and_dies";

fn for_each_test(group: &str, one: impl Fn(&str)) {
    for_each_in_group(RUNNER, Library::Static, TMP, group, one);
}

macro_rules! groups {
    ($($group:ident,)+) => {
        mod valgrind {
            use super::{RUNNER, TMP, Tool, run_under};

            $(#[test]
            fn $group() {
                super::for_each_test(stringify!($group), |test| {
                    if test != super::TOO_SLOW_FOR_VALGRIND {
                        run_under(Tool::Valgrind, RUNNER, TMP, test);
                    }
                });
            })+
        }

        mod asan_ubsan {
            use super::{RUNNER, TMP, Tool, run_under};

            $(#[test]
            fn $group() {
                super::for_each_test(stringify!($group), |test| run_under(Tool::Sanitizers, RUNNER, TMP, test));
            })+
        }

        mod tsan {
            use super::{RUNNER, TMP, Tool, run_under};

            $(#[test]
            fn $group() {
                super::for_each_test(stringify!($group), |test| run_under(Tool::ThreadSanitizer, RUNNER, TMP, test));
            })+
        }

        const GROUPS: &[&str] = &[$(stringify!($group),)+];
    };
}

groups! {
    appending,
    packed,
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
    panics,
    pins,
    watching,
    live,
    storage,
    layers,
    direct,
}

#[test]
fn no_group_is_left_out() {
    for test in list(&build(RUNNER, Library::Static, TMP)) {
        assert!(GROUPS.iter().any(|group| test.split('.').next() == Some(group)), "{test} is in no group");
    }
}

static PLANTED: AtomicUsize = AtomicUsize::new(0);

/// A tool that finds nothing may be one that looks at nothing: each must find the mistakes that are planted for it.
fn finds(tool: Tool, mistakes: &[&str]) {
    if let Some(reason) = tool.lacks() {
        skipped(&format!("{tool:?} planted mistakes"), reason);
        return;
    }
    let program = build(Program { name: "mistakes", sources: &["mistakes.c"], arguments: &[] }, tool.library(), TMP);
    for mistake in mistakes {
        let mut command = match tool.wrapper().split_first() {
            Some((wrapper, arguments)) => {
                let mut command = Command::new(wrapper);
                command.args(arguments).arg(&program);
                command
            }
            None => Command::new(&program),
        };
        let number = PLANTED.fetch_add(1, Ordering::Relaxed);
        let dir = scratch(&Path::new(TMP).join(format!("mistake.{number}")));
        let output = command.arg(mistake).arg(&dir).envs(tool.environment().iter().copied()).output();
        let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(!output.status.success(), "{mistake} was not noticed by {tool:?}");
        assert_ne!(output.status.code(), Some(3), "{mistake} was not made: {}", String::from_utf8_lossy(&output.stdout));
        // What cannot be removed is no failure of the test.
        let _still_there = std::fs::remove_dir_all(dir);
    }
}

#[test]
fn valgrind_finds_planted_mistakes() {
    finds(Tool::Valgrind, &["leak", "use-after-free", "short-value"]);
}

#[test]
fn sanitizers_find_planted_mistakes() {
    finds(Tool::Sanitizers, &["leak", "use-after-free", "short-value", "overflow"]);
}

#[test]
fn thread_sanitizer_finds_planted_mistakes() {
    finds(Tool::ThreadSanitizer, &["race"]);
}
