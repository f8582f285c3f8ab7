//! The engine over real files: the behaviours that every host relies on.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use wal_engine::config::{Config, OpenKind, Recovery, SyncMode};
use wal_engine::error::Code;
use wal_engine::log::{Durability, Entry, Log, ReplayOptions, inspect};
use wal_engine::seq;
use wal_engine::storage::posix::{Directory, Modes};

struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("wal-log-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        Dir(path)
    }
    fn storage(&self) -> Directory {
        directory(&self.0)
    }
    fn open(&self, config: &Config) -> wal_engine::error::Result<Log<Directory>> {
        Log::open(self.storage(), config)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn directory(path: &Path) -> Directory {
    Directory::open(&CString::new(path.to_str().unwrap()).unwrap(), true, Modes::default()).unwrap()
}

fn small() -> Config {
    Config { segment_bytes: 4096, ..Config::default() }
}

fn all(log: &Log<Directory>, after: u64) -> Vec<(u64, Vec<u8>)> {
    let mut cursor = log.replay(after, ReplayOptions::default()).unwrap();
    let mut out = Vec::new();
    while let Some(record) = cursor.next().unwrap() {
        out.push((record.seq, record.value.to_vec()));
    }
    out
}

#[test]
fn append_reopen_replay() {
    let dir = Dir::new();
    let log = dir.open(&Config::default()).unwrap();
    for i in 1..=3u64 {
        assert_eq!(log.append(1, b"k", &i.to_le_bytes()).unwrap(), i);
    }
    assert_eq!(all(&log, 0).len(), 3);
    log.close().unwrap();
    let log = dir.open(&Config::default()).unwrap();
    assert!(log.report().clean);
    assert_eq!(all(&log, 1).iter().map(|r| r.0).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(log.append(1, b"k", b"v").unwrap(), 4);
    log.truncate(2, true).unwrap();
    assert_eq!(all(&log, seq::OLDEST).iter().map(|r| r.0).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(log.replay(0, ReplayOptions::default()).err().map(|e| e.code), Some(Code::Gap));
    log.close().unwrap();
}

#[test]
fn rotation_kill_and_truncate() {
    let dir = Dir::new();
    let value = [7u8; 500];
    for round in 0..6u64 {
        let log = dir.open(&small()).unwrap();
        let had = log.last_seq();
        assert_eq!(had, round * 101, "round {round}: {:?}", log.report());
        for i in 1..=100 {
            assert_eq!(log.append(1, b"key", &value).unwrap(), had + i);
        }
        assert_eq!(all(&log, had).len(), 100);
        let n = log.checkpoint(seq::LAST).unwrap();
        assert_eq!(n, had + 101);
        if round % 2 == 1 {
            log.truncate(n - 5, false).unwrap();
            assert_eq!(log.truncate(n + 1, false).unwrap_err().code, Code::Range);
        }
        let stat = log.stat();
        assert!(stat.rotations > 10, "{stat:?}");
        if round % 3 == 0 {
            log.close().unwrap();
        } else {
            // As a kill would: nothing is marked clean.
            let _ = log.shutdown();
            drop(log);
        }
    }
    let report = inspect(&dir.storage(), &Config::default(), true, &mut |_| {}).unwrap();
    assert_eq!(report.damage, None);
}

#[test]
fn large_records_and_batches() {
    let dir = Dir::new();
    let log = dir.open(&Config { sync_mode: SyncMode::None, ..Config::default() }).unwrap();
    let big = vec![3u8; 3 << 20];
    let entries: Vec<Entry<'_>> = (0..1000).map(|_| Entry { op: 1, key: b"a", value: &big[..5000] }).collect();
    for _ in 0..3 {
        log.append(1, b"big", &big).unwrap();
        log.append(1, &big[..70000], b"x").unwrap();
        log.append(1, b"", b"").unwrap();
        log.append_batch(&entries[..], Durability::Sync).unwrap();
    }
    assert_eq!(log.append(1, b"", &vec![0; 16 << 20]).unwrap_err().code, Code::TooLarge);
    let last = log.last_seq();
    assert_eq!(last, 3 * 1003);
    assert_eq!(all(&log, 0).len() as u64, last);
    let _ = log.shutdown();
    drop(log);
    let log = dir.open(&Config { recovery: Recovery::Prefix, ..Config::default() }).unwrap();
    assert_eq!(all(&log, 0).len() as u64, last, "{:?}", log.report());
    log.close().unwrap();
    assert_eq!(dir.open(&Config { open: OpenKind::New, ..Config::default() }).err().map(|e| e.code), Some(Code::Exists));
}

#[test]
fn threads_share_syncs_and_stay_dense() {
    let dir = Dir::new();
    let log = dir.open(&Config { segment_bytes: 64 << 10, ..Config::default() }).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let log = &log;
            scope.spawn(move || {
                for i in 0..300u64 {
                    log.append(1, &thread.to_le_bytes(), &i.to_le_bytes()).unwrap();
                }
            });
        }
        let log = &log;
        scope.spawn(move || {
            for _ in 0..50 {
                let n = log.checkpoint(log.durable_seq()).unwrap();
                log.truncate(n.saturating_sub(600), false).unwrap();
                let mut cursor = log.replay(seq::OLDEST, ReplayOptions { raw: true, ..ReplayOptions::default() }).unwrap();
                let mut expected = None;
                while let Some(record) = cursor.next().unwrap() {
                    assert!(expected.is_none_or(|e| e == record.seq));
                    expected = Some(record.seq + 1);
                }
            }
        });
    });
    assert_eq!(log.last_seq(), 8 * 300 + 50);
    log.close().unwrap();
}
