//! What `fork` must not do to a log.
//!
//! A forked child gets a duplicate of every descriptor and a copy of every handle. Two things follow. First, the handles must be known to be
//! copies: `generation` differs in the child from what the handle remembers. Second, an `flock` belongs to the open file that all duplicates
//! share and ends when the last one is closed: a child that lives on would keep the parent's lock for as long. So the child closes its duplicates
//! at once, in a `pthread_atfork` handler. It never unlocks, because that would take the lock away from the parent.
//!
//! The handler must know every lock descriptor that the child inherits. Therefore a lock file is opened and registered, and later unregistered
//! and closed, inside one critical section of a mutex that the prepare handler takes: a fork falls before or after it, never inside. The mutex is a
//! raw `pthread_mutex_t` because it is taken in one handler and released in another, which a guard cannot express; POSIX defines this very use, the
//! child being a copy of the thread that locked it. The registry is a fixed array of integers, zero until used, so that neither the handlers nor the
//! critical section allocate: an allocator may hold locks of its own across a fork.
//!
//! Children made without running the handlers (`vfork`, `posix_spawn`, a bare `clone`) are not noticed. What they are for is `exec`, which closes
//! the duplicates, since these are close-on-exec; and the owner unlocks explicitly before it closes, so that not even the time until then counts.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering};
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use super::file::{from_errno, retry};
use crate::storage::IoError;

/// Most locks that one process can hold at a time.
const MAX_LOCKS: usize = 1 << 14;

/// The bitwise complements, never zero, of the registered descriptors; 0 where there is none. Changed only by who holds `MUTEX`.
static SLOTS: [AtomicI32; MAX_LOCKS] = [const { AtomicI32::new(0) }; MAX_LOCKS];
/// No slot from here on was ever used.
static SLOTS_USED: AtomicUsize = AtomicUsize::new(0);
static GENERATION: AtomicU32 = AtomicU32::new(0);
static MUTEX: RegistryMutex = RegistryMutex(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));

/// How many forks lie between this process and the one that first called `watch`. A handle that remembers another number came through `fork`.
#[inline]
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

struct RegistryMutex(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: the mutex is only ever reached through its address, by the pthread functions, which may be called from any thread.
unsafe impl Sync for RegistryMutex {}

impl RegistryMutex {
    /// Cannot fail: the mutex is statically initialised, of the default type, never destroyed, and no holder takes it again.
    fn lock(&self) {
        // SAFETY: an initialised mutex in a static, which therefore never moves.
        unsafe { libc::pthread_mutex_lock(self.0.get()) };
    }

    /// Only for the thread that holds the mutex, or its copy in a forked child.
    fn unlock(&self) {
        // SAFETY: as in `lock`; the caller holds the mutex.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) };
    }
}

extern "C" fn before_fork() {
    MUTEX.lock();
}

extern "C" fn after_fork_in_parent() {
    MUTEX.unlock();
}

/// Runs in the child before `fork` returns there, alone: async-signal-safe calls only.
extern "C" fn after_fork_in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    for slot in SLOTS.iter().take(SLOTS_USED.load(Ordering::Relaxed)) {
        let stored = slot.swap(0, Ordering::Relaxed);
        if stored != 0 {
            // SAFETY: registered means open and owned by a `LockDescriptor`, whose drop leaves it alone in this process.
            unsafe { libc::close(!stored) };
        }
    }
    MUTEX.unlock();
}

/// Registers the handlers, once in the life of a process and its children. A fork by another thread during the very first call leaves a child that
/// cannot lock anything; a child of several threads may do little but `exec` anyway. Whoever takes a lock has called this; a handle without one must
/// be made after it.
pub fn watch() -> Result<(), IoError> {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    if WATCHED.load(Ordering::Acquire) {
        return Ok(());
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if !WATCHED.load(Ordering::Acquire) {
        // SAFETY: the handlers are functions of the right type that live as long as this library; the C library drops them when it is unloaded.
        match unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork_in_parent), Some(after_fork_in_child)) } {
            0 => WATCHED.store(true, Ordering::Release),
            // Of memory, which there may be the next time.
            errno => return Err(from_errno(errno)),
        }
    }
    Ok(())
}

/// The registry's mutex, held. Signals wait meanwhile: a handler that forks on this thread would wait for the mutex for ever.
struct Registry {
    _signals: SignalsBlocked,
}

impl Registry {
    fn enter() -> Registry {
        let signals = SignalsBlocked::new();
        MUTEX.lock();
        Registry { _signals: signals }
    }

    fn free_slot(&self) -> Option<usize> {
        SLOTS.iter().position(|slot| slot.load(Ordering::Relaxed) == 0)
    }

    fn set(&self, slot: usize, stored: i32) {
        if let Some(entry) = SLOTS.get(slot) {
            entry.store(stored, Ordering::Relaxed);
            SLOTS_USED.fetch_max(slot + 1, Ordering::Relaxed);
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        MUTEX.unlock();
    }
}

/// An open lock file that forked children close. Whatever lock it has is given up when it is dropped by the process that opened it;
/// dropped in a child it does nothing, because there the number is closed and may by now be another file's.
#[derive(Debug)]
pub(super) struct LockDescriptor {
    fd: RawFd,
    slot: usize,
    generation: u32,
    /// Tells children apart that were made without the handlers.
    process: libc::pid_t,
}

impl LockDescriptor {
    /// Registers what `open` opens. Every `fork` of the process waits while `open` runs, so it must do nothing else.
    pub(super) fn register(open: impl FnOnce() -> Result<OwnedFd, IoError>) -> Result<LockDescriptor, IoError> {
        watch()?;
        let registry = Registry::enter();
        let slot = registry.free_slot().ok_or(from_errno(libc::EMFILE))?;
        let fd = open()?.into_raw_fd();
        registry.set(slot, !fd);
        Ok(LockDescriptor { fd, slot, generation: generation(), process: process() })
    }

    /// The descriptor's number. Meaningless in a forked child.
    pub(super) fn number(&self) -> RawFd {
        self.fd
    }
}

impl Drop for LockDescriptor {
    fn drop(&mut self) {
        if self.generation != generation() || self.process != process() {
            return;
        }
        let registry = Registry::enter();
        registry.set(self.slot, 0);
        // SAFETY: the descriptor is open and owned by `self`. Not being able to unlock is harmless, closing does it as well, only perhaps later.
        let _ = retry(|| unsafe { libc::flock(self.fd, libc::LOCK_UN) });
        // SAFETY: as above, and nobody uses it afterwards. It is gone whatever `close` answers, so that is never called again.
        unsafe { libc::close(self.fd) };
    }
}

fn process() -> libc::pid_t {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::getpid() }
}

/// All signals are blocked for the calling thread, and for threads that it creates, until this is dropped.
pub(super) struct SignalsBlocked {
    /// What was blocked before; `None` if the mask could not be changed, which no system does for valid arguments.
    before: Option<libc::sigset_t>,
}

impl SignalsBlocked {
    pub(super) fn new() -> SignalsBlocked {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: both point to room for a set; `sigfillset` initialises the first before it is read, and a successful `pthread_sigmask` the second.
        let before = unsafe {
            libc::sigfillset(all.as_mut_ptr());
            match libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) {
                0 => Some(before.assume_init()),
                _ => None,
            }
        };
        SignalsBlocked { before }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // SAFETY: an initialised set, and no wish to learn the present one.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, core::ptr::null_mut()) };
        }
    }
}
