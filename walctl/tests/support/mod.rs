//! Logs to look at, and the program that looks.
#![allow(unreachable_pub, dead_code, reason = "a module of each test, which uses its part")]

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wal_engine::config::Config;
use wal_engine::log::{Durability, Entry, Log};
use wal_engine::storage::posix::{Directory, Modes};

pub const WALCTL: &str = env!("CARGO_BIN_EXE_walctl");

/// A directory of the test's own, empty.
pub fn place(test: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a directory for the test");
    dir
}

pub fn directory(dir: &Path) -> Directory {
    let path = CString::new(dir.as_os_str().as_bytes()).expect("a path");
    Directory::open(&path, true, Modes::default()).expect("a directory")
}

pub fn open(dir: &Path, config: &Config) -> Log<Directory> {
    Log::open(directory(dir), config).expect("a log")
}

/// Three records, a batch of three, a checkpoint, and more until there are `last`; small segments.
pub fn fill(log: &Log<Directory>, last: u64) {
    log.append(1, b"user:1", b"Ada").expect("appended");
    log.append(2, b"user:1", b"").expect("appended");
    log.append(200, b"", b"\x1b[2J\x07 hostile \xff").expect("appended");
    let batch = ["one", "two", "three"].map(|value| Entry { op: 1, key: b"batch", value: value.as_bytes() });
    log.append_batch(&batch[..], Durability::Mode).expect("appended");
    log.checkpoint(6).expect("a checkpoint");
    for number in 8..=last {
        log.append(1, format!("key:{number}").as_bytes(), &[b'v'; 100]).expect("appended");
    }
}

/// Small segments, and no thread, so that a log is the same each time.
pub fn small() -> Config {
    Config { segment_bytes: 4096, background: false, ..Config::default() }
}

/// A log of `last` records that was closed.
pub fn closed(dir: &Path, last: u64) {
    let log = open(dir, &small());
    fill(&log, last);
    log.close().expect("closed");
}

/// Flips a bit of the value of `key:NUMBER`.
pub fn damage(dir: &Path, number: u64) -> String {
    let key = format!("key:{number}v");
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let bytes = fs::read(&path).expect("a file");
        if let Some(at) = bytes.windows(key.len()).position(|window| window == key.as_bytes()) {
            let file = OpenOptions::new().write(true).open(&path).expect("a file");
            let at = at + key.len() + 10;
            file.write_all_at(&[bytes[at] ^ 1], at as u64).expect("written");
            return path.file_name().expect("a name").to_string_lossy().into_owned();
        }
    }
    panic!("no {key} in {}", dir.display());
}

/// How a run ended and what it said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs walctl in `dir`, where the log is called `log`.
pub fn walctl(dir: &Path, arguments: &[&str]) -> Said {
    let output = Command::new(WALCTL).args(arguments).current_dir(dir).stdin(Stdio::null()).output().expect("walctl runs");
    Said {
        code: output.status.code().expect("walctl ends by itself"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// Name, size and content of every file, so that nothing can have been changed.
pub fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).expect("a file"))).collect()
}
