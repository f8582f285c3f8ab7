//! The background thread where it is hard to have: what was promised of it holds all the same.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::cell::Cell;
use std::ffi::CString;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::mpsc;

use wal_engine::config::{Config, SyncMode};
use wal_engine::log::{Log, Waited};
use wal_engine::storage::posix::{Directory, Modes, Thread};

thread_local! {
    /// What a host may have, and what some systems take from each thread's stack.
    static LARGE: [Cell<u8>; 1 << 20] = const { [const { Cell::new(0) }; 1 << 20] };
}

struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        Dir(std::env::temp_dir().join(format!("wal-background-{}", std::process::id())))
    }

    fn open(&self) -> Log<Directory> {
        let path = CString::new(self.0.to_str().unwrap()).unwrap();
        let config = Config { sync_mode: SyncMode::Batch, batch_records: 100, batch_interval_us: 1000, ..Config::default() };
        Log::open(Directory::open(&path, true, Modes::default()).unwrap(), &config).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The most memory that the process may map from now on.
fn limit_memory(bytes: libc::rlim_t) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: an initialised limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
}

/// One test, because a limit is the whole process's.
#[test]
fn records_are_durable_when_their_interval_is_over() {
    const LONG_US: u64 = 10_000_000;
    let dir = Dir::new();
    // Where no thread can be had, records stayed unsynced until there were `batch_records` of them. First, while no ended thread has left a stack.
    let log = dir.open();
    limit_memory(0);
    let appended = log.append(1, b"", b"one");
    let waited = log.wait_durable(1, 0);
    limit_memory(libc::RLIM_INFINITY);
    assert_eq!((appended, waited), (Ok(1), Ok(Waited::Durable)));
    log.close().unwrap();

    // The thread could not be started: its stack was smaller than the host's thread-local variables.
    LARGE.with(|large| black_box(large)[large.len() - 1].set(1));
    let (done, finished) = mpsc::channel();
    Thread::start(move || done.send(7).unwrap()).unwrap().join();
    assert_eq!(finished.recv(), Ok(7));
    let log = dir.open();
    log.append(1, b"", b"two").unwrap();
    assert_eq!(log.wait_durable(2, LONG_US), Ok(Waited::Durable));
    log.close().unwrap();
}
