//! Where a log's files are: the system's, or a host's own. Each call is one comparison more than it would be for the system's alone.

use core::ffi::CStr;

use wal_engine::error::Error;
use wal_engine::names::FileName;
use wal_engine::storage::posix::{self, Directory, Modes, PlainFile};
use wal_engine::storage::{Access, File, IoError, LockKind, Storage};

use crate::callbacks::{HostDirectory, HostFile, HostLock};
use crate::storage::WalStorage;

/// A log's directory.
pub(crate) enum Files {
    /// Of the system.
    System(Directory),
    /// Of the host's own file layer.
    Host(HostDirectory),
}

impl Files {
    /// The directory `path`, of the host's file layer if there is one. With `create`, one that is missing is made;
    /// with `direct`, segments are written past the system's cache.
    pub(crate) fn open(storage: Option<&WalStorage>, path: &CStr, create: bool, modes: Modes, direct: bool) -> Result<Files, Error> {
        match storage {
            Some(storage) => HostDirectory::open(storage, path, create).map(Files::Host),
            None => {
                let mut directory = Directory::open(path, create, modes)?;
                if direct {
                    directory.write_past_cache()?;
                }
                Ok(Files::System(directory))
            }
        }
    }
}

/// A file of it, open.
pub(crate) enum AnyFile {
    System(PlainFile),
    Host(HostFile),
}

/// The pins' lock, held.
pub(crate) enum AnyPinsLock {
    System { _held: posix::PinsLock },
    Host { _held: HostLock },
}

impl Storage for Files {
    type File = AnyFile;
    type PinsLock = AnyPinsLock;

    fn lock(&self, kind: LockKind) -> Result<(), IoError> {
        match self {
            Files::System(directory) => directory.lock(kind),
            Files::Host(directory) => directory.lock(kind),
        }
    }

    fn lock_pins(&self, create: bool) -> Result<AnyPinsLock, IoError> {
        match self {
            Files::System(directory) => directory.lock_pins(create).map(|held| AnyPinsLock::System { _held: held }),
            Files::Host(directory) => directory.lock_pins(create).map(|held| AnyPinsLock::Host { _held: held }),
        }
    }

    fn list(&self, each: &mut dyn FnMut(FileName)) -> Result<(), IoError> {
        match self {
            Files::System(directory) => directory.list(each),
            Files::Host(directory) => directory.list(each),
        }
    }

    fn create(&self, name: FileName) -> Result<AnyFile, IoError> {
        match self {
            Files::System(directory) => directory.create(name).map(AnyFile::System),
            Files::Host(directory) => directory.create(name).map(AnyFile::Host),
        }
    }

    fn open(&self, name: FileName, access: Access) -> Result<AnyFile, IoError> {
        match self {
            Files::System(directory) => directory.open(name, access).map(AnyFile::System),
            Files::Host(directory) => directory.open(name, access).map(AnyFile::Host),
        }
    }

    fn rename(&self, from: FileName, to: FileName) -> Result<(), IoError> {
        match self {
            Files::System(directory) => directory.rename(from, to),
            Files::Host(directory) => directory.rename(from, to),
        }
    }

    fn remove(&self, name: FileName) -> Result<(), IoError> {
        match self {
            Files::System(directory) => directory.remove(name),
            Files::Host(directory) => directory.remove(name),
        }
    }

    fn sync_dir(&self) -> Result<(), IoError> {
        match self {
            Files::System(directory) => directory.sync_dir(),
            Files::Host(directory) => directory.sync_dir(),
        }
    }

    fn random(&self, out: &mut [u8]) -> Result<(), IoError> {
        match self {
            Files::System(directory) => directory.random(out),
            Files::Host(directory) => directory.random(out),
        }
    }
}

impl File for AnyFile {
    fn len(&self) -> Result<u64, IoError> {
        match self {
            AnyFile::System(file) => file.len(),
            AnyFile::Host(file) => file.len(),
        }
    }

    #[inline]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, IoError> {
        match self {
            AnyFile::System(file) => file.read_at(offset, buf),
            AnyFile::Host(file) => file.read_at(offset, buf),
        }
    }

    #[inline]
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        match self {
            AnyFile::System(file) => file.write_at(offset, bytes),
            AnyFile::Host(file) => file.write_at(offset, bytes),
        }
    }

    fn fill_zeros(&self, size: u64) -> Result<(), IoError> {
        match self {
            AnyFile::System(file) => file.fill_zeros(size),
            AnyFile::Host(file) => file.fill_zeros(size),
        }
    }

    #[inline]
    fn sync(&self) -> Result<(), IoError> {
        match self {
            AnyFile::System(file) => file.sync(),
            AnyFile::Host(file) => file.sync(),
        }
    }

    fn drop_cache(&self) {
        match self {
            AnyFile::System(file) => file.drop_cache(),
            AnyFile::Host(file) => file.drop_cache(),
        }
    }
}
