//! The simulated disk with a scheduling point before and after each of its calls.

use std::time::Duration;

use wal_engine::names::FileName;
use wal_engine::storage::{Access, File, IoError, LockKind, Storage};
use wal_sim::{Disk, SimFile, SimPinsLock, SimStorage};

/// Others may go on here. Unlike a yield this says nothing about who should.
pub fn point() {
    shuttle::thread::sleep(Duration::ZERO);
}

fn between<T>(call: impl FnOnce() -> T) -> T {
    point();
    let answer = call();
    point();
    answer
}

/// A directory whose calls take their time.
pub struct Scheduled(SimStorage);

impl Scheduled {
    /// For one opening of the log on `disk`, which from here on lets others go on in the middle of every sync.
    pub fn new(disk: &Disk) -> Scheduled {
        disk.on_sync(|_| point());
        Scheduled(disk.storage())
    }
}

impl Storage for Scheduled {
    type File = ScheduledFile;
    type PinsLock = SimPinsLock;

    fn lock(&self, kind: LockKind) -> Result<(), IoError> {
        self.0.lock(kind)
    }

    fn lock_pins(&self, create: bool) -> Result<SimPinsLock, IoError> {
        between(|| self.0.lock_pins(create))
    }

    fn list(&self, each: &mut dyn FnMut(FileName)) -> Result<(), IoError> {
        self.0.list(each)
    }

    fn create(&self, name: FileName) -> Result<ScheduledFile, IoError> {
        between(|| self.0.create(name)).map(ScheduledFile)
    }

    fn open(&self, name: FileName, access: Access) -> Result<ScheduledFile, IoError> {
        between(|| self.0.open(name, access)).map(ScheduledFile)
    }

    fn rename(&self, from: FileName, to: FileName) -> Result<(), IoError> {
        between(|| self.0.rename(from, to))
    }

    fn remove(&self, name: FileName) -> Result<(), IoError> {
        between(|| self.0.remove(name))
    }

    fn sync_dir(&self) -> Result<(), IoError> {
        between(|| self.0.sync_dir())
    }

    fn random(&self, out: &mut [u8]) -> Result<(), IoError> {
        self.0.random(out)
    }
}

/// A file whose calls take their time.
pub struct ScheduledFile(SimFile);

impl File for ScheduledFile {
    fn len(&self) -> Result<u64, IoError> {
        self.0.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, IoError> {
        between(|| self.0.read_at(offset, buf))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        between(|| self.0.write_at(offset, bytes))
    }

    fn fill_zeros(&self, size: u64) -> Result<(), IoError> {
        between(|| self.0.fill_zeros(size))
    }

    fn sync(&self) -> Result<(), IoError> {
        between(|| self.0.sync())
    }

    fn drop_cache(&self) {
        self.0.drop_cache();
    }
}
