//! The mistakes, where they are planted, and the tests that are there for them.

use std::fmt;

/// A test of the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Test {
    /// The directory of its package.
    pub(crate) package: &'static str,
    /// The file in `tests`.
    pub(crate) target: &'static str,
    pub(crate) name: &'static str,
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/tests/{}.rs, {}", self.package, self.target, self.name)
    }
}

/// A test against the simulated disk.
const fn sim(target: &'static str, name: &'static str) -> Test {
    Test { package: "prove", target, name }
}

/// A test in C.
const fn c(name: &'static str) -> Test {
    Test { package: "ffi-tests", target: "c", name }
}

/// The test that builds what the tests in C need.
pub(crate) const C_TESTS: Test = c("the_lists_agree");

/// The tests of interleavings, which plant the mistakes that need two threads by themselves.
pub(crate) const INTERLEAVINGS: Test = Test { package: "interleave", target: "planted", name: "all scenarios" };
const THREADS: (&str, Test) = ("interleavings", INTERLEAVINGS);

/// A mistake. `engine/src/plants.rs` numbers them alike.
pub(crate) struct Mistake {
    pub(crate) number: u8,
    pub(crate) what: &'static str,
    pub(crate) place: &'static str,
    /// Each of these must fail: the kind of test, and the test.
    pub(crate) caught_by: &'static [(&'static str, Test)],
}

pub(crate) const MISTAKES: &[Mistake] = &[
    Mistake {
        number: 1,
        what: "a spare gets its name, and the directory is not synced (etcd #6368, RocksDB 7.7)",
        place: "engine/src/spares.rs",
        caught_by: &[
            ("crash states, ordering monitor", sim("protocol", "a_long_life")),
            ("nth fault", sim("nth_fault", "calls_fail_and_machines_crash_after_it")),
        ],
    },
    Mistake {
        number: 2,
        what: "a torn frame whose blocks hold the preallocated zeros is taken for damage (etcd #5230, #6378)",
        place: "engine/src/recovery/ending.rs",
        caught_by: &[("crash states", sim("protocol", "scripts_in_always_mode"))],
    },
    Mistake {
        number: 3,
        what: "a reader's limit below the writer's: frames longer than half a segment (etcd #14098)",
        place: "engine/src/segment/scan.rs",
        caught_by: &[("crash states, every length", sim("lengths", "records_of_every_length"))],
    },
    Mistake {
        number: 4,
        what: "a damaged frame is taken for the end, whatever vouches for it behind (Pebble #453, NATS)",
        place: "engine/src/recovery/ending.rs",
        caught_by: &[("flips", sim("vouched", "a_flip_in_front_of_a_sync_is_told"))],
    },
    Mistake {
        number: 5,
        what: "the watermark is written in one mode only, SYNC_ALWAYS (Pebble #6031: only with a metric switched on)",
        place: "engine/src/commit/append.rs",
        caught_by: &[("flips across configurations", sim("vouched", "a_flip_in_front_of_a_sync_is_told"))],
    },
    Mistake {
        number: 6,
        what: "after a torn end appending goes on behind it, where no reader comes (duckdb #14785, kuzu #5852)",
        place: "engine/src/log/open.rs",
        caught_by: &[
            ("crash inside recovery", sim("nth_fault", "calls_fail_and_machines_crash_after_it")),
            ("torn records, in C", c("crash::torn_records_pile_up_without_harm")),
        ],
    },
    Mistake {
        number: 7,
        what: "after a failed write the next frame goes behind its place (rocksdb-js #748)",
        place: "engine/src/commit/group.rs",
        caught_by: &[("nth fault", sim("nth_fault", "calls_fail_and_machines_crash_after_it"))],
    },
    Mistake {
        number: 8,
        what: "a sync that fails is tried again and believed (CockroachDB #37102, PostgreSQL 2018)",
        place: "engine/src/commit/group.rs",
        caught_by: &[
            ("nth fault, ordering monitor", sim("nth_fault", "calls_fail_and_machines_crash_after_it")),
            ("failed sync, in C", c("failing::a_failed_sync_poisons_the_handle")),
        ],
    },
    Mistake {
        number: 9,
        what: "who waits for another's sync is not told that it failed (RocksDB #3096)",
        place: "engine/src/commit/group.rs",
        caught_by: &[
            THREADS,
            ("failing syncs and threads", sim("groups", "a_failed_sync_is_heard_by_all_who_wait_for_it")),
            ("failed sync, in C", c("failing::a_failed_sync_reaches_everybody_who_waits_for_it")),
        ],
    },
    Mistake {
        number: 10,
        what: "what is written while a sync runs is counted as synced (RocksDB #10560)",
        place: "engine/src/commit/group.rs",
        caught_by: &[THREADS, ("ordering monitor and threads", sim("groups", "what_is_written_during_a_sync_is_not_synced_by_it"))],
    },
    Mistake {
        number: 11,
        what: "an append is acknowledged first and saved afterwards (etcd #14370)",
        place: "engine/src/commit/append.rs",
        caught_by: &[
            ("ordering monitor", sim("protocol", "a_long_life")),
            ("killed processes, in C", c("modes::always_loses_nothing_with_the_process")),
        ],
    },
    Mistake {
        number: 12,
        what: "a checkpoint licenses to forget all in front of its record, the store's or not (laurus #876, NodeDB #160)",
        place: "engine/src/protocol/checkpoint.rs",
        caught_by: &[THREADS, ("protocol, in C", c("crash::the_protocol_survives_a_crash_at_every_step_with_writers"))],
    },
    Mistake {
        number: 13,
        what: "a checkpoint writes the end that it saw over a newer one, of a segment that is gone (SQLite 3.7.0 to 3.51.2)",
        place: "engine/src/retention/mod.rs",
        caught_by: &[THREADS],
    },
    Mistake {
        number: 14,
        what: "what a truncation leaves of a batch is passed over (raft-engine #315)",
        place: "engine/src/cursor/mod.rs",
        caught_by: &[
            ("bounded scripts", sim("protocol", "scripts_in_always_mode")),
            ("truncation, in C", c("checkpoint::a_truncation_inside_a_batch_leaves_the_rest")),
        ],
    },
    Mistake {
        number: 15,
        what: "a recycled segment keeps its seed, so that old frames are valid in it (RocksDB 9.2)",
        place: "engine/src/format/segment_header.rs",
        caught_by: &[("crash states, recycling", sim("protocol", "scripts_in_always_mode"))],
    },
    Mistake {
        number: 16,
        what: "a failed write is reported and not taken back (Turso #2091)",
        place: "engine/src/commit/group.rs",
        caught_by: &[("nth fault", sim("nth_fault", "calls_fail_and_machines_crash_after_it"))],
    },
    Mistake {
        number: 17,
        what: "a file that has been cut is not noticed (RocksDB #12488)",
        place: "engine/src/segment/head.rs",
        caught_by: &[("cut at every byte", sim("vouched", "a_cut_is_told_at_every_byte"))],
    },
    Mistake {
        number: 18,
        what: "a log of which everything was forgotten counts from 1 again (the Python original)",
        place: "engine/src/log/open.rs",
        caught_by: &[
            ("bounded scripts", sim("protocol", "a_long_life")),
            ("protocol, in C", c("appending::the_next_seq_follows_after_everything_was_truncated")),
        ],
    },
    Mistake {
        number: 19,
        what: "the host lets the log forget before its own table is synced (turso #4467, #4652)",
        place: "ffi-tests/c/store.c, under examples-c/kvstore.c",
        caught_by: &[("power cuts of a host", Test { package: "ffi-tests", target: "store", name: "the_power_fails_at_every_sync" })],
    },
    Mistake {
        number: 20,
        what: "the floor advances in memory and segments go, without the manifest (PostgreSQL slots, 2025)",
        place: "engine/src/retention/mod.rs",
        caught_by: &[("crash states, ordering monitor", sim("protocol", "a_long_life"))],
    },
];
