//! What the log needs from below: a directory of files. Each method says what is durable afterwards, who owns what and who may call it when.
//!
//! Two stores implement it: real files (`posix`) and, outside the shipped library, a simulated disk that tears, reorders, fails and crashes.

#[cfg(feature = "std")]
pub mod posix;

use crate::config::Offset;
use crate::error::{Code, Error};
use crate::names::FileName;

/// What the operating system said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoError {
    /// The kinds that a log must tell apart.
    pub kind: IoKind,
    /// `errno`, 0 if there is none.
    pub os_error: i32,
}

/// The kinds of I/O error that a log must tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoKind {
    /// No such file or directory.
    NotFound,
    /// The name is taken.
    Exists,
    /// No space, or no quota.
    NoSpace,
    /// No memory, or no descriptors.
    NoMemory,
    /// Somebody else holds the lock.
    Locked,
    /// A symlink, a directory or another thing that is not a plain file.
    NotAFile,
    /// Anything else.
    Other,
}

impl IoError {
    /// The same as an error of this log about `name`; `what` says what was being done.
    pub fn in_file(self, name: FileName, what: &'static str) -> Error {
        Error::new(self.code(), what).in_file(name).os(self.os_error)
    }

    /// The same as an error of this log about its directory.
    pub fn in_directory(self, what: &'static str) -> Error {
        Error::new(self.code(), what).in_directory().os(self.os_error)
    }

    fn code(self) -> Code {
        match self.kind {
            IoKind::NotFound => Code::NotFound,
            IoKind::NoSpace => Code::NoSpace,
            IoKind::NoMemory => Code::NoMemory,
            IoKind::Locked => Code::Locked,
            IoKind::Exists | IoKind::NotAFile | IoKind::Other => Code::Io,
        }
    }
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}

/// Who may hold the log's lock beside the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Others that share it.
    Shared,
    /// Nobody.
    Exclusive,
}

/// What can be read at an offset: all that a scan needs.
pub trait ReadAt {
    /// Fills `buf` from `offset` on; returns less than its length only where there is no more.
    fn read_at(&self, offset: Offset, buf: &mut [u8]) -> Result<usize, IoError>;
}

impl<F: File> ReadAt for F {
    #[inline]
    fn read_at(&self, offset: Offset, buf: &mut [u8]) -> Result<usize, IoError> {
        File::read_at(self, u64::from(offset), buf)
    }
}

/// A plain file. Any thread may call any method at any time; the log itself never writes the same bytes from two threads.
/// The descriptor is closed when the value is dropped.
#[expect(clippy::len_without_is_empty, reason = "a size, not a collection's length")]
pub trait File: Send + Sync + 'static {
    /// Size in bytes.
    fn len(&self) -> Result<u64, IoError>;

    /// Fills `buf` from `offset` on; returns less than its length only where the file ends.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, IoError>;

    /// Writes all of `bytes` at `offset`, which is at most the file's length, extending the file if it must. Not durable before `sync`. On an error any
    /// part may have been written. In a segment, what follows `bytes` and was never written through this value may be zero afterwards, as far as
    /// the next multiple of 4096.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), IoError>;

    /// Makes the file `size` bytes long, every byte zero and its block allocated and written, so that overwriting it later needs no space.
    /// Only for a file that was just created. Not durable before `sync`. On an error the file may have any size up to `size`.
    fn fill_zeros(&self, size: u64) -> Result<(), IoError>;

    /// Content and size are durable when this returns. A failure is final: the file's unsynced bytes must be considered lost, and calling
    /// again proves nothing.
    fn sync(&self) -> Result<(), IoError>;

    /// Called after `sync`: asks that the next reads come from the device and not from a cache. Best effort.
    fn drop_cache(&self);
}

/// Zeros to write from.
#[cfg(feature = "std")]
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Writes zeros from `from`, which is at most the file's length, up to `end`, in pieces of 64 KiB; nothing if `end` is not behind it. Not durable
/// before `File::sync`. On an error any part may have been written.
#[cfg(feature = "std")]
pub fn write_zeros<F: File>(file: &F, mut from: u64, end: u64) -> Result<(), IoError> {
    while from < end {
        let len = (end - from).min(ZEROS.len() as u64);
        file.write_at(from, &ZEROS[..len as usize])?;
        from += len;
    }
    Ok(())
}

/// A log's directory. Any thread may call any method at any time.
pub trait Storage: Send + Sync + 'static {
    /// Its files.
    type File: File;
    /// The pins' lock, held; given back when it is dropped.
    type PinsLock: Send;

    /// Takes the lock, without waiting; `IoKind::Locked` if somebody holds it. It is given back when the storage is dropped. Called at most once.
    /// A shared lock creates nothing and succeeds where there is no lock file.
    fn lock(&self, kind: LockKind) -> Result<(), IoError>;

    /// Takes the pins' lock for a short while, waiting for whoever holds it, but not for ever: then it is `IoKind::Locked`. Its file is created if need be
    /// with `create`, and is `IoKind::NotFound` without. Independent of `lock`: whether a log is open does not matter.
    fn lock_pins(&self, create: bool) -> Result<Self::PinsLock, IoError>;

    /// Calls `each` with every entry that has a name of the log; foreign names are left out.
    fn list(&self, each: &mut dyn FnMut(FileName)) -> Result<(), IoError>;

    /// Creates an empty file that nobody else may read; `IoKind::Exists` if there is one. The name is durable after `sync_dir`.
    fn create(&self, name: FileName) -> Result<Self::File, IoError>;

    /// Opens a plain file; anything else under that name, a symlink included, is `IoKind::NotAFile`.
    fn open(&self, name: FileName, access: Access) -> Result<Self::File, IoError>;

    /// Renames a file over nothing: the log never replaces one. Durable after `sync_dir`.
    fn rename(&self, from: FileName, to: FileName) -> Result<(), IoError>;

    /// Removes a file. Durable after `sync_dir`.
    fn remove(&self, name: FileName) -> Result<(), IoError>;

    /// All creations, renames and removals so far are durable when this returns. A failure is final, as with `File::sync`.
    fn sync_dir(&self) -> Result<(), IoError>;

    /// Fills `out` with bytes that nobody can guess.
    fn random(&self, out: &mut [u8]) -> Result<(), IoError>;
}
