//! Many threads append while others checkpoint, truncate, replay and sync: nothing lost, nothing doubled, seqs dense, and a cursor that was opened in
//! front of it all reads every record, whatever was forgotten meanwhile.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::ffi::CString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wal_engine::config::{Config, SyncMode};
use wal_engine::error::Code;
use wal_engine::log::{Durability, Entry, Log, Replay, ReplayOptions, Waited};
use wal_engine::seq;
use wal_engine::storage::posix::{Directory, Modes};

const APPENDERS: u64 = 6;
const PER_APPENDER: u64 = 400;

struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("wal-threads-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Dir(std::env::temp_dir().join(name))
    }

    fn open(&self, config: &Config) -> Log<Directory> {
        let path = CString::new(self.0.to_str().unwrap()).unwrap();
        Log::open(Directory::open(&path, true, Modes::default()).unwrap(), config).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Follows the log to `last` and holds every record against who wrote it.
fn follow(mut cursor: Replay<Directory>, last: u64) {
    let mut expected = 1;
    let mut next_of = [0u64; APPENDERS as usize];
    let deadline = Instant::now() + Duration::from_secs(60);
    while expected <= last {
        match cursor.next().unwrap() {
            Some(record) => {
                assert_eq!(record.seq, expected);
                expected += 1;
                if record.key.len() == 8 {
                    let thread = u64::from_le_bytes(record.key.try_into().unwrap()) as usize;
                    let number = u64::from_le_bytes(record.value[..8].try_into().unwrap());
                    assert_eq!(number, next_of[thread], "thread {thread}: lost, doubled or out of order");
                    next_of[thread] += 1;
                }
            }
            None => {
                cursor.wait(100_000).unwrap();
                assert!(Instant::now() < deadline, "the follower hangs at {expected}");
            }
        }
    }
    assert!(next_of.iter().all(|&next| next == PER_APPENDER), "{next_of:?}");
}

fn life(config: &Config) {
    let dir = Dir::new();
    let log = dir.open(config);
    let checkpoints = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    let cursor = log.replay(0, ReplayOptions { raw: true, ..ReplayOptions::default() }).unwrap();
    let (log, checkpoints, done) = (&log, &checkpoints, &done);
    std::thread::scope(|scope| {
        let appenders: Vec<_> = (0..APPENDERS)
            .map(|thread| {
                scope.spawn(move || {
                    let key = thread.to_le_bytes();
                    let mut number = 0u64;
                    let mut seen = 0;
                    while number < PER_APPENDER {
                        let value =
                            |number: u64| [number.to_le_bytes().as_slice(), &vec![thread as u8; (number % 97) as usize * 8]].concat();
                        let seq = if number.is_multiple_of(7) && number + 3 <= PER_APPENDER {
                            let values: Vec<Vec<u8>> = (number..number + 3).map(value).collect();
                            let entries: Vec<Entry<'_>> = values.iter().map(|value| Entry { op: 1, key: &key, value }).collect();
                            number += 3;
                            let durability = if number.is_multiple_of(2) { Durability::Mode } else { Durability::Async };
                            log.append_batch(&entries[..], durability).unwrap()
                        } else {
                            number += 1;
                            log.append(1, &key, &value(number - 1)).unwrap()
                        };
                        assert!(seq > seen);
                        seen = seq;
                        if number.is_multiple_of(50) {
                            log.sync(seq).unwrap();
                            assert!(log.durable_seq() >= seq);
                        }
                    }
                })
            })
            .collect();
        scope.spawn(move || {
            while !done.load(Ordering::Acquire) {
                let n = log.checkpoint(log.durable_seq()).unwrap();
                checkpoints.fetch_add(1, Ordering::Relaxed);
                // Sometimes everything, so that the active segment is swapped, if nobody comes between.
                log.truncate(n, false).unwrap();
                match log.replay(seq::OLDEST, ReplayOptions::default()).map(|mut cursor| cursor.next().map(|_| ())) {
                    Ok(Ok(())) => {}
                    failed => panic!("{failed:?}"),
                }
            }
        });
        for appender in appenders {
            appender.join().unwrap();
        }
        done.store(true, Ordering::Release);
    });
    let last = log.last_seq();
    assert_eq!(last, APPENDERS * PER_APPENDER + checkpoints.load(Ordering::Relaxed));
    log.sync(seq::LAST).unwrap();
    follow(cursor, last);
}

fn small(sync_mode: SyncMode) -> Config {
    Config { sync_mode, segment_bytes: 8192, ..Config::default() }
}

#[test]
fn always() {
    life(&small(SyncMode::Always));
}

#[test]
fn always_without_a_thread() {
    life(&Config { background: false, ..small(SyncMode::Always) });
}

#[test]
fn batch() {
    life(&Config { batch_records: 20, batch_interval_us: 500, ..small(SyncMode::Batch) });
}

#[test]
fn os() {
    life(&small(SyncMode::Os));
}

#[test]
fn none() {
    life(&small(SyncMode::None));
}

#[test]
fn batch_mode_never_has_more_unsynced_than_it_may() {
    let dir = Dir::new();
    let log = dir.open(&Config { sync_mode: SyncMode::Batch, batch_records: 10, ..Config::default() });
    for _ in 0..95 {
        log.append(1, b"k", b"v").unwrap();
        assert!(log.last_seq() - log.durable_seq() <= 10);
    }
    let entries = vec![Entry { op: 1, key: b"k", value: b"v" }; 25];
    // More than the limit goes alone, once nothing is unsynced.
    log.append_batch(&entries[..], Durability::Mode).unwrap();
    assert!(log.durable_seq() >= 95);
    log.close().unwrap();
}

#[test]
fn the_batch_timer_syncs() {
    let dir = Dir::new();
    let log = dir.open(&Config { sync_mode: SyncMode::Batch, batch_interval_us: 2000, ..Config::default() });
    for _ in 0..5 {
        let seq = log.append(1, b"k", b"v").unwrap();
        assert_eq!(log.wait_durable(seq, 30_000_000).unwrap(), Waited::Durable);
    }
    log.close().unwrap();
}

#[test]
fn shutdown_wakes_those_who_wait() {
    let dir = Dir::new();
    let log = dir.open(&Config::default());
    let mut cursor = log.replay(0, ReplayOptions::default()).unwrap();
    let log = &log;
    std::thread::scope(|scope| {
        let waits = scope.spawn(move || log.wait_durable(7, u64::MAX));
        let follows = scope.spawn(move || cursor.wait(u64::MAX));
        std::thread::sleep(Duration::from_millis(20));
        log.shutdown().unwrap();
        assert_eq!(waits.join().unwrap().unwrap_err().code, Code::Closed);
        assert_eq!(follows.join().unwrap().unwrap_err().code, Code::Closed);
    });
    assert_eq!(log.append(1, b"", b"").unwrap_err().code, Code::Closed);
}
