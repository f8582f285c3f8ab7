//! A simulated disk on which calls can be held up, for tests that need one thread to do something in the middle of what another one does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use wal_engine::names::FileName;
use wal_engine::storage::{Access, File, IoError, LockKind, Storage};
use wal_sim::{Call, Disk, SimFile, SimPinsLock, SimStorage};

/// Something that one thread waits for and another one says.
#[derive(Clone, Debug, Default)]
pub struct Signal(Arc<AtomicBool>);

impl Signal {
    pub fn give(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub fn is_given(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Whether it was given; it is not any more.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }

    pub fn wait(&self) {
        wait_until(|| self.is_given());
    }
}

pub fn wait_until(ready: impl Fn() -> bool) {
    while !ready() {
        thread::yield_now();
    }
}

/// Called in front of each write (with its length) and each sync; with an error the call fails without effect.
type Watch = dyn Fn(Call, FileName, usize) -> Option<IoError> + Send + Sync;
/// Called when a sync has done its work and has not returned yet.
type Synced = dyn Fn(FileName) + Send + Sync;

/// Called in front of each call of whatever kind, and when half of a write is done.
type Moment = dyn Fn() + Send + Sync;

/// A simulated disk on which calls can be held up: the faults of the disk itself take no time.
pub struct Watched {
    inner: SimStorage,
    watch: Watcher,
}

#[derive(Clone)]
pub struct Watcher {
    watch: Arc<Mutex<Arc<Watch>>>,
    synced: Arc<Mutex<Arc<Synced>>>,
    moment: Arc<Mutex<Option<Arc<Moment>>>>,
}

impl Default for Watcher {
    fn default() -> Watcher {
        Watcher {
            watch: Arc::new(Mutex::new(Arc::new(|_, _, _| None))),
            synced: Arc::new(Mutex::new(Arc::new(|_| {}))),
            moment: Arc::default(),
        }
    }
}

impl Watcher {
    pub fn set(&self, watch: impl Fn(Call, FileName, usize) -> Option<IoError> + Send + Sync + 'static) {
        *self.watch.lock().unwrap() = Arc::new(watch);
    }

    pub fn set_synced(&self, synced: impl Fn(FileName) + Send + Sync + 'static) {
        *self.synced.lock().unwrap() = Arc::new(synced);
    }

    pub fn set_moment(&self, moment: impl Fn() + Send + Sync + 'static) {
        *self.moment.lock().unwrap() = Some(Arc::new(moment));
    }

    pub fn clear_moment(&self) {
        *self.moment.lock().unwrap() = None;
    }

    /// Whether anybody asked to be called.
    fn pause(&self) -> bool {
        let moment = self.moment.lock().unwrap().clone();
        moment.map(|moment| moment()).is_some()
    }

    fn ask(&self, call: Call, name: FileName, len: usize) -> Result<(), IoError> {
        let watch = Arc::clone(&self.watch.lock().unwrap());
        watch(call, name, len).map_or(Ok(()), Err)
    }

    fn tell(&self, name: FileName) {
        let synced = Arc::clone(&self.synced.lock().unwrap());
        synced(name);
    }

    pub fn storage(&self, disk: &Disk) -> Watched {
        Watched { inner: disk.storage(), watch: self.clone() }
    }
}

pub struct WatchedFile {
    inner: SimFile,
    /// The one under which it was opened or made.
    name: FileName,
    watch: Watcher,
}

impl File for WatchedFile {
    fn len(&self) -> Result<u64, IoError> {
        self.inner.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, IoError> {
        self.watch.pause();
        self.inner.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        self.watch.ask(Call::WriteAt, self.name, bytes.len())?;
        if self.watch.pause() {
            self.inner.write_at(offset, &bytes[..bytes.len() / 2])?;
            self.watch.pause();
        }
        self.inner.write_at(offset, bytes)
    }

    fn fill_zeros(&self, size: u64) -> Result<(), IoError> {
        self.watch.pause();
        self.inner.fill_zeros(size)
    }

    fn sync(&self) -> Result<(), IoError> {
        self.watch.ask(Call::Sync, self.name, 0)?;
        self.watch.pause();
        self.inner.sync()?;
        self.watch.tell(self.name);
        Ok(())
    }

    fn drop_cache(&self) {
        self.inner.drop_cache();
    }
}

impl Storage for Watched {
    type File = WatchedFile;
    type PinsLock = SimPinsLock;

    fn lock(&self, kind: LockKind) -> Result<(), IoError> {
        self.inner.lock(kind)
    }

    fn lock_pins(&self, create: bool) -> Result<SimPinsLock, IoError> {
        self.inner.lock_pins(create)
    }

    fn list(&self, each: &mut dyn FnMut(FileName)) -> Result<(), IoError> {
        self.watch.pause();
        self.inner.list(each)
    }

    fn create(&self, name: FileName) -> Result<WatchedFile, IoError> {
        self.watch.pause();
        Ok(WatchedFile { inner: self.inner.create(name)?, name, watch: self.watch.clone() })
    }

    fn open(&self, name: FileName, access: Access) -> Result<WatchedFile, IoError> {
        self.watch.pause();
        Ok(WatchedFile { inner: self.inner.open(name, access)?, name, watch: self.watch.clone() })
    }

    fn rename(&self, from: FileName, to: FileName) -> Result<(), IoError> {
        self.watch.pause();
        self.inner.rename(from, to)
    }

    fn remove(&self, name: FileName) -> Result<(), IoError> {
        self.watch.pause();
        self.inner.remove(name)
    }

    fn sync_dir(&self) -> Result<(), IoError> {
        self.watch.pause();
        self.inner.sync_dir()
    }

    fn random(&self, out: &mut [u8]) -> Result<(), IoError> {
        self.inner.random(out)
    }
}
