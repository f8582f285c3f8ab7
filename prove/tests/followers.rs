//! The leader's sync fails: every thread of its group hears of it, nothing is acknowledged afterwards, and what was acknowledged before is there.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use wal_engine::config::{Config, SyncMode};
use wal_engine::error::Code;
use wal_engine::format::constants::OP_PUT;
use wal_engine::log::{Log, ReplayOptions};
use wal_engine::names::FileName;
use wal_engine::seq;
use wal_prove::host::{bounded, config};
use wal_sim::{Budget, Call, Disk, EIO, ENOSPC, Effect, Fault};

const THREADS: u8 = 6;

/// Which sync fails, and how.
fn one(nth: u64, error: wal_engine::storage::IoError, effect: Effect) {
    let config = Config { segment_bytes: 1 << 16, ..config(SyncMode::Always, true) };
    let disk = Disk::new(nth);
    let log = Log::open(disk.storage(), &config).unwrap();
    log.append(OP_PUT, b"", b"first").unwrap();
    // Long enough for the others to come and wait.
    disk.on_sync(|_| thread::sleep(Duration::from_micros(300)));
    disk.fail(Fault::nth(nth).of(Call::Sync).on(FileName::Segment(1)).error(error).effect(effect));
    let (log_ref, disk_ref) = (&log, &disk);
    // What each thread was told to be durable.
    let acknowledged: BTreeMap<u64, Vec<u8>> = thread::scope(|scope| {
        let write = move |thread: u8| {
            let mut told = Vec::new();
            let failed = loop {
                let value = vec![thread, told.len() as u8, 7];
                match log_ref.append(OP_PUT, b"", &value) {
                    Ok(seq) => {
                        disk_ref.acknowledge(seq);
                        told.push((seq, value));
                    }
                    Err(error) => break error,
                }
            };
            assert_eq!(failed.code, Code::Failed, "thread {thread}");
            // It stays that way, whatever is asked for.
            assert_eq!(log_ref.append(OP_PUT, b"", b"more").unwrap_err().code, Code::Failed);
            assert_eq!(log_ref.sync(seq::LAST).unwrap_err().code, Code::Failed);
            told
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || write(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let last = acknowledged.keys().next_back().copied().unwrap_or(1);
    assert!(last <= log.durable_seq(), "told {last}, durable {}", log.durable_seq());
    assert!(log.stat().last_seq > log.durable_seq(), "nobody followed the leader");
    assert_eq!(log.close().unwrap_err().code, Code::Failed);
    disk.assert_ordered();
    disk.clear_faults();
    for image in disk.point().images(&Budget { seed: nth, ..Budget::default() }) {
        let disk = Disk::from_image(&image, 1);
        let log = Log::open(disk.storage(), &config).unwrap();
        let mut cursor = log.replay(1, ReplayOptions::default()).unwrap();
        let mut found = BTreeMap::new();
        while let Some(record) = cursor.next().unwrap() {
            found.insert(record.seq, record.value.to_vec());
        }
        assert!(acknowledged.iter().all(|(seq, value)| found.get(seq) == Some(value)), "lost: {acknowledged:?}, found {found:?}");
    }
}

#[test]
fn followers_learn_of_the_leaders_failure() {
    bounded(|| {
        for nth in 1..=12 {
            for (error, effect) in [(EIO, Effect::Nothing), (EIO, Effect::Prefix(1)), (ENOSPC, Effect::Nothing), (EIO, Effect::Whole)] {
                one(nth, error, effect);
            }
        }
    });
}
