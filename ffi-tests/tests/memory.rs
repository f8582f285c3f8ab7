//! Each allocation of the library fails, once and from then on: the C tests of `c/memory.c`, one Rust test for each, against both libraries, and a part of the
//! allocations under valgrind and with AddressSanitizer, which find what a failure leaves behind.

use wal_ffi_tests::{Library, MEMORY, Tool, build, list, run_against, run_under};

const TMP: &str = env!("CARGO_TARGET_TMPDIR");

macro_rules! tests {
    ($($test:ident,)+) => {
        mod archive {
            use super::{Library, MEMORY, TMP, run_against};

            $(#[test]
            fn $test() {
                run_against(MEMORY, Library::Static, TMP, concat!("memory.", stringify!($test)));
            })+
        }

        mod shared {
            use super::{Library, MEMORY, TMP, run_against};

            $(#[test]
            fn $test() {
                run_against(MEMORY, Library::Shared, TMP, concat!("memory.", stringify!($test)));
            })+
        }

        mod valgrind {
            use super::{MEMORY, TMP, Tool, run_under};

            $(#[test]
            fn $test() {
                run_under(Tool::Valgrind, MEMORY, TMP, concat!("memory.", stringify!($test)));
            })+
        }

        mod asan_ubsan {
            use super::{MEMORY, TMP, Tool, run_under};

            $(#[test]
            fn $test() {
                run_under(Tool::Sanitizers, MEMORY, TMP, concat!("memory.", stringify!($test)));
            })+
        }

        const NAMES: &[&str] = &[$(concat!("memory.", stringify!($test)),)+];
    };
}

tests! {
    opening_a_new_log,
    opening_a_closed_log,
    opening_a_log_after_a_kill,
    refusals,
    recovering_what_precedes_damage,
    appending,
    appending_beside_the_background_thread,
    appending_a_large_record,
    checkpoints_and_truncation,
    checkpoints_and_truncation_beside_the_background_thread,
    replays,
    reading_only,
    inspecting,
    pins,
    watching_forks,
    a_hosts_own_file_layer,
}

#[test]
fn the_lists_agree() {
    assert_eq!(list(&build(MEMORY, Library::Static, TMP)), NAMES);
}
