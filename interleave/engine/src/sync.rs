//! Where threads meet, as the library's `sync` has it, under a scheduler that chooses at every step who goes on.
//!
//! What is not modelled: atomics are sequentially consistent, whatever ordering the engine asks for; so a lack of ordering between them is not found
//! here. Reference counts are std's: nobody is interrupted between the last one's end and what it frees.
//!
//! Time stands still until somebody waits for it. A wait with a limit ends without a notification: either at once, or when its time is over, and the
//! clock says so. Which of them is a choice of the schedule. So a timed wait is never longer than it may be, but a notification that is lost on one
//! is not found either; one that is lost on a wait without a limit is a deadlock, which the scheduler reports.

use std::cell::Cell;
use std::ops::{Add, Deref, DerefMut};
use std::sync::PoisonError;
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread::{Builder, JoinHandle, yield_now};

use crate::error::{Code, Error, Result};

pub use crate::storage::posix::unix_time_us;
pub use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
pub use std::sync::OnceLock;

/// A lock.
#[derive(Debug, Default)]
pub struct Mutex<T>(shuttle::sync::Mutex<T>);

/// A lock that is held.
#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    lock: &'a Mutex<T>,
    held: shuttle::sync::MutexGuard<'a, T>,
}

impl<T> Mutex<T> {
    /// A free lock.
    pub const fn new(value: T) -> Mutex<T> {
        Mutex(shuttle::sync::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { lock: self, held: self.0.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.held
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.held
    }
}

/// Something that threads wait for.
#[derive(Debug, Default)]
pub struct Condvar(shuttle::sync::Condvar);

impl Condvar {
    /// Nobody waits yet.
    pub const fn new() -> Condvar {
        Condvar(shuttle::sync::Condvar::new())
    }

    /// Gives the lock back, waits for a notification and takes the lock again.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let MutexGuard { lock, held } = guard;
        MutexGuard { lock, held: self.0.wait(held).unwrap_or_else(PoisonError::into_inner) }
    }

    /// Gives the lock back, lets others go on, perhaps until the time is over, and takes the lock again.
    pub fn wait_timeout<'a, T>(&self, guard: MutexGuard<'a, T>, timeout: Duration) -> MutexGuard<'a, T> {
        let lock = guard.lock;
        drop(guard);
        yield_now();
        if thread_rng().gen_bool(0.5) {
            NOW.set(NOW.get().saturating_add(timeout));
        }
        lock.lock()
    }

    /// Wakes one of those who wait without a limit.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all of them.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

thread_local! {
    /// All threads of a schedule are one to the system, so this clock is theirs alone.
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// A moment of the schedule's own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(Duration);

impl Instant {
    /// What the clock says.
    pub fn now() -> Instant {
        Instant(NOW.get())
    }

    /// The moment this much later, if there is one.
    pub fn checked_add(self, later: Duration) -> Option<Instant> {
        self.0.checked_add(later).map(Instant)
    }

    /// How much earlier the other moment was.
    pub fn saturating_duration_since(self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// How long ago it was.
    pub fn elapsed(self) -> Duration {
        Instant::now().saturating_duration_since(self)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, later: Duration) -> Instant {
        Instant(self.0 + later)
    }
}

/// A thread that was started and has not been joined.
pub struct Thread(JoinHandle<()>);

impl Thread {
    /// Starts a thread that does `work`.
    pub fn start<W: FnOnce() + Send + 'static>(work: W) -> Result<Thread> {
        let started = Builder::new().name("wal".into()).spawn(work);
        started.map(Thread).map_err(|_| Error::new(Code::NoMemory, "the background thread cannot be started"))
    }

    /// Waits until it has ended.
    pub fn join(self) {
        // A panic of the thread has been told of; it ends the thread and nothing else.
        let _panicked = self.0.join();
    }
}
