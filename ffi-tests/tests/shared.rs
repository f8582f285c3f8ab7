//! The same C tests against `libwal.so`: a test binary for each kind of link, so that a symbol that only one of them exports, or exports wrongly, shows.

use wal_ffi_tests::{Library, RUNNER, build, for_each_in_group, list, must, run_against};

const TMP: &str = env!("CARGO_TARGET_TMPDIR");

macro_rules! shared {
    ($($name:ident: $group:literal,)+) => {
        $(#[test]
        fn $name() {
            run_group($group);
        })+

        const GROUPS: &[&str] = &[$($group,)+];
    };
}

shared! {
    appending: "appending",
    packed: "packed",
    opening: "opening",
    forking: "forking",
    checkpoint: "checkpoint",
    replay: "replay",
    modes: "modes",
    crash: "crash",
    failing: "failing",
    damage: "damage",
    threads: "threads",
    arguments: "arguments",
    panics: "panics",
    pins: "pins",
    watching: "watching",
    live: "live",
    storage: "storage",
    layers: "layers",
    direct: "direct",
}

fn run_group(group: &str) {
    for_each_in_group(RUNNER, Library::Shared, TMP, group, |test| run_against(RUNNER, Library::Shared, TMP, test));
}

#[test]
fn no_group_is_left_out() {
    let tests = list(&build(RUNNER, Library::Shared, TMP));
    for test in tests {
        assert!(GROUPS.iter().any(|group| test.split('.').next() == Some(group)), "{test} is in no group");
    }
}

/// The runner is linked with the library and does not carry its code.
#[test]
fn the_runner_needs_the_shared_library() {
    let runner = build(RUNNER, Library::Shared, TMP);
    let output = must(std::process::Command::new("readelf").arg("-d").arg(runner));
    let needed = String::from_utf8_lossy(&output.stdout).lines().any(|line| line.contains("NEEDED") && line.contains("libwal.so"));
    assert!(needed, "libwal.so is not among what the runner needs");
}
