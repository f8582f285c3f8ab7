//! Group commit at the moments that matter: a sync under way, and others who write or wait meanwhile. What the tests of interleavings look for in many
//! orders, in the two that other logs got wrong.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::thread;

use wal_engine::config::{Config, SyncMode};
use wal_engine::error::Code;
use wal_engine::log::{Log, ReplayOptions};
use wal_engine::names::FileName;
use wal_engine::seq;
use wal_prove::host::bounded;
use wal_prove::watched::{Signal, Watcher, wait_until};
use wal_sim::{Call, Disk, EIO};

const SEGMENT: FileName = FileName::Segment(1);

fn config(sync_mode: SyncMode) -> Config {
    Config { segment_bytes: 1 << 20, sync_mode, background: false, ..Config::default() }
}

/// The seqs that are there after a power cut.
fn after_a_power_cut(disk: &Disk) -> Vec<u64> {
    let disk = Disk::from_image(&disk.durable_image(), 2);
    let log = Log::open(disk.storage(), &config(SyncMode::Always)).unwrap();
    let mut cursor = log.replay(seq::OLDEST, ReplayOptions::default()).unwrap();
    let mut seqs = Vec::new();
    while let Some(record) = cursor.next().unwrap() {
        seqs.push(record.seq);
    }
    seqs
}

/// A sync has done its work when another thread writes a record, and then returns: it has not synced that record. Whoever asks for it afterwards
/// gets a sync of his own.
#[test]
fn what_is_written_during_a_sync_is_not_synced_by_it() {
    bounded(|| {
        let disk = Disk::new(1);
        let watcher = Watcher::default();
        let log = Log::open(watcher.storage(&disk), &config(SyncMode::Os)).unwrap();
        log.append(1, b"k", b"one").unwrap();
        let (held, go) = (Signal::default(), Signal::default());
        watcher.set_synced({
            let (held, go) = (held.clone(), go.clone());
            move |name| {
                if name == SEGMENT {
                    held.give();
                    go.wait();
                }
            }
        });
        thread::scope(|scope| {
            let sync = scope.spawn(|| log.sync(seq::LAST));
            held.wait();
            assert_eq!(log.append(1, b"k", b"two"), Ok(2));
            go.give();
            sync.join().unwrap().unwrap();
        });
        log.sync(2).unwrap();
        disk.acknowledge(2);
        disk.assert_ordered();
        assert_eq!(after_a_power_cut(&disk), [1, 2]);
    });
}

/// The sync that many wait for fails. Not only the one who called it must hear of that: none of their records is durable.
#[test]
fn a_failed_sync_is_heard_by_all_who_wait_for_it() {
    const FOLLOWERS: u64 = 3;
    bounded(|| {
        let disk = Disk::new(1);
        let watcher = Watcher::default();
        let log = Log::open(watcher.storage(&disk), &config(SyncMode::Always)).unwrap();
        assert_eq!(log.append(1, b"k", b"durable"), Ok(1));
        disk.acknowledge(1);
        let (held, go) = (Signal::default(), Signal::default());
        watcher.set({
            let (held, go) = (held.clone(), go.clone());
            move |call, name, _| {
                if call != Call::Sync || name != SEGMENT {
                    return None;
                }
                held.give();
                go.wait();
                Some(EIO)
            }
        });
        thread::scope(|scope| {
            let append = || scope.spawn(|| log.append(1, b"k", b"in doubt"));
            let leader = append();
            held.wait();
            let followers = [(); FOLLOWERS as usize].map(|()| append());
            // A record gets its seq under the lock that its call gives up only to wait.
            wait_until(|| log.last_seq() == 2 + FOLLOWERS);
            go.give();
            for call in [leader].into_iter().chain(followers) {
                let outcome = call.join().unwrap();
                if let Ok(seq) = outcome {
                    disk.acknowledge(seq);
                }
                assert_eq!(outcome.map_err(|error| error.code), Err(Code::Failed), "a call was not told that its sync failed");
            }
        });
        disk.assert_ordered();
        assert_eq!(after_a_power_cut(&disk), [1]);
    });
}
