//! Damage to logs of several segments. The whole of it, every bit and every byte, is what the program `prove` runs; here every 64th.

use wal_prove::damage::{Extent, Made, run_one};

const SOME: Extent = Extent { flip_one_of: 64, cut_one_of: 40, pairs: 200, seed: 1, threads: 2 };

fn try_both(made: Made) {
    for clean in [true, false] {
        let counts = run_one(made, clean, &SOME);
        println!("{made:?}: {counts}");
        assert!(counts.flips > 5_000 && counts.told > 1_500);
    }
}

#[test]
fn a_log_synced_record_by_record() {
    try_both(Made::Always);
}

#[test]
fn a_log_in_recycled_segments() {
    try_both(Made::Recycled);
}

#[test]
fn a_log_synced_by_the_system() {
    try_both(Made::System);
}

#[test]
fn a_log_with_fragments() {
    try_both(Made::Fragments);
}

/// Every bit and every byte.
#[test]
#[ignore = "the program `prove` does this"]
fn whole() {
    println!("{}", wal_prove::damage::run(&Extent::WHOLE));
}
