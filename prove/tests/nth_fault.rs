//! Storage calls that fail, and disks that are full: the size for every compilation. `make prove` makes every call fail in every way.
//!
//! Mistakes that this is to catch: a failed append leaves bytes behind and the next one lands after them; an error was returned but the record is
//! there after a restart; a sync that succeeds after a failed one acknowledges lost writes; something is acknowledged after a failed sync.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wal_engine::config::SyncMode;
use wal_engine::error::Code;
use wal_prove::crash::Depth;
use wal_prove::faults::Faults;
use wal_prove::host::{Host, Step, config};
use wal_prove::run::{Run, Slice};
use wal_sim::{Budget, Disk};

/// One fault in so many is tried here: a prime, so that all kinds have their turn.
const FAULTS: u64 = 13;
/// Of these, the crashes behind one in so many are explored.
const PAIRS: u64 = 7;

#[test]
fn calls_fail_and_machines_crash_after_it() {
    let budget = Budget { exhaustive: 3, samples: 4, torn: 2, seed: 9 };
    let depth = Depth { budget, deep: 0, deep_budget: budget };
    let faults = Faults::new().unwrap();
    let run = Run::new(2, 9);
    let slice = Slice::whole(faults.count() / FAULTS);
    let (done, failed) =
        run.spread("faults", slice, |item| faults.try_one(item * FAULTS, item.is_multiple_of(PAIRS).then_some(&depth), &run.seen));
    if let Some(failed) = failed {
        panic!("fault {}: {}", failed.item * FAULTS, failed.failure);
    }
    println!("{done:?}");
    assert!(done.items > 5_000 && done.counts.second.states > 2_000, "this test tried next to nothing: {done:?}");
}

/// A manifest, a segment and a spare of 4 KiB.
const MINIMUM_BYTES: u64 = 16384 + 2 * 4096;

/// The disk is full from some point on and has room again later: nothing acknowledged is lost, truncation frees, and appends go on.
#[test]
fn a_disk_that_fills_up_at_any_byte() {
    let config = config(SyncMode::Always, true);
    for limit in (20_000..70_000u64).step_by(1000) {
        let disk = Disk::new(11);
        disk.limit_space(Some(limit));
        let Ok(mut host) = Host::open(disk.clone(), config) else {
            continue;
        };
        let mut refused = 0;
        for _ in 0..12 {
            match host.step(Step::AppendRotating) {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error.code, Code::NoSpace, "limit {limit}: {error:?}");
                    refused += 1;
                }
            }
        }
        // On the full disk: checkpoint and truncation work, the log can be opened and read.
        let n = host.log.as_ref().unwrap().checkpoint(wal_engine::seq::LAST).unwrap_or_else(|error| panic!("limit {limit}: {error:?}"));
        let log = host.log.take().unwrap();
        let last = log.last_seq();
        let appended = host.history.keys().next_back().copied().unwrap_or(0);
        assert!(last >= appended, "limit {limit}");
        drop(log);
        let log = wal_engine::log::Log::open(disk.storage(), &config).unwrap_or_else(|error| panic!("limit {limit}: {error:?}"));
        assert_eq!(log.last_seq(), last);
        log.truncate(n, false).unwrap_or_else(|error| panic!("limit {limit}: {error:?}"));
        // Manifest, segment and spare: with less the log can be made but never written.
        if limit >= MINIMUM_BYTES {
            // What was forgotten makes room for more, without any help from outside.
            log.append(1, b"", &[1; 2000]).unwrap_or_else(|error| panic!("limit {limit}, {refused} refused: {error:?}"));
        }
        drop(log);
        disk.limit_space(None);
        let log = wal_engine::log::Log::open(disk.storage(), &config).unwrap();
        log.append(1, b"", &[1; 2000]).unwrap();
        log.close().unwrap();
        disk.assert_ordered();
    }
}
