//! Damage to logs of several segments: here every 64th bit; every one in the test `whole`, which `make prove` runs.

use wal_prove::damage::{Extent, Made, run_one};

const SOME: Extent = Extent { flip_one_of: 64, cut_one_of: 40, pairs: 200, seed: 1, threads: 2 };

fn try_both(made: Made) {
    for clean in [false, true] {
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

/// Every bit and every byte: part of `make prove`, which adds up what it prints.
#[test]
#[ignore = "takes a minute and a half"]
fn whole() {
    let counts = wal_prove::damage::run(&Extent::WHOLE);
    println!("{counts}");
    for (name, count, unit) in counts.rows() {
        println!("tally: {name} {count} {unit}");
    }
}
