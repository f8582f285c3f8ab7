//! Getting at a log in a directory.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use wal_engine::config::{Config, OpenKind};
use wal_engine::error::Code;
use wal_engine::log::Log;
use wal_engine::names::FileName;
use wal_engine::storage::posix::{Directory, Modes};

use crate::failure::{Failure, Result, shown};

/// The directory, which must exist.
pub(crate) fn directory(dir: &Path) -> Result<Directory> {
    let path = CString::new(dir.as_os_str().as_bytes()).map_err(|_| Failure::Other(format!("{}: no path", shown(dir))))?;
    Directory::open(&path, false, Modes::default()).map_err(|error| match error.code {
        // The engine's advice is for those who open logs.
        Code::NotFound => Failure::NoLog(format!("{}: no such directory", shown(dir))),
        _ => Failure::of(dir, error),
    })
}

/// The log as a live reader sees it: no lock is taken, and what nothing proves to be durable yet is not shown.
pub(crate) fn live(dir: &Path) -> Result<Log<Directory>> {
    let config = Config { open: OpenKind::Live, ..Config::default() };
    Log::open(directory(dir)?, &config).map_err(|error| Failure::of(dir, error))
}

/// The log, to be read. While a writer has it open, as a live reader sees it.
pub(crate) fn readable(dir: &Path) -> Result<Log<Directory>> {
    let config = Config { open: OpenKind::ReadOnly, ..Config::default() };
    match Log::open(directory(dir)?, &config) {
        Err(error) if error.code == Code::Locked => live(dir),
        opened => opened.map_err(|error| Failure::of(dir, error)),
    }
}

/// The log's files and their sizes.
pub(crate) fn files(dir: &Path) -> Result<BTreeMap<FileName, u64>> {
    let unreadable = |error| Failure::io(shown(dir), &error);
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if let Some(name) = FileName::parse(entry.file_name().as_bytes())
            // One that goes away meanwhile is none.
            && let Ok(about) = entry.metadata()
        {
            files.insert(name, about.len());
        }
    }
    Ok(files)
}
