//! Where threads meet: locks, conditions, atomics, threads and the clock. The engine has them from here alone, so that the tests of its
//! interleavings can put a room of the same shape in this one's place, whose scheduler tries one order after the other.
//!
//! A panic under a lock poisons the handle at the ABI, which every call checks before it relies on any state; what the locks protect is
//! consistent between statements. So the locks themselves know no poison.

use std::hint::spin_loop;
use std::sync::{PoisonError, TryLockError};
use std::time::Duration;

pub use crate::storage::posix::{Thread, unix_time_us};
pub use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
pub use std::sync::{MutexGuard, OnceLock};
pub use std::time::Instant;

/// How often a thread looks again whether a lock is free before it sleeps,
const ATTEMPTS: u32 = 16;
/// and how many pauses it makes between two looks.
const PAUSES: u32 = 64;

/// A lock.
#[derive(Debug, Default)]
pub struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// A free lock.
    pub const fn new(value: T) -> Mutex<T> {
        Mutex(std::sync::Mutex::new(value))
    }

    /// Waits for the lock: first awake, because it is held for a fraction of a microsecond at a time, and to sleep takes longer.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.try_lock().unwrap_or_else(|| self.lock_contended())
    }

    #[inline]
    fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    #[cold]
    fn lock_contended(&self) -> MutexGuard<'_, T> {
        for _ in 0..ATTEMPTS {
            for _ in 0..PAUSES {
                spin_loop();
            }
            if let Some(guard) = self.try_lock() {
                return guard;
            }
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something that threads wait for.
#[derive(Debug, Default)]
pub struct Condvar(std::sync::Condvar);

impl Condvar {
    /// Nobody waits yet.
    pub const fn new() -> Condvar {
        Condvar(std::sync::Condvar::new())
    }

    /// Gives the lock back, waits and takes it again. Also returns without a notification now and then.
    #[inline]
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, for this long at the most.
    #[inline]
    pub fn wait_timeout<'a, T>(&self, guard: MutexGuard<'a, T>, timeout: Duration) -> MutexGuard<'a, T> {
        self.0.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Wakes one of those who wait.
    #[inline]
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all of them.
    #[inline]
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}
