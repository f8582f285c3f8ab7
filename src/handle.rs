//! What stands behind `wal_t` and `wal_cursor_t`, and how it gets into and out of the host's hands.

use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use std::alloc::{Layout, alloc, dealloc};

use wal_engine::error::{Code, Error};
use wal_engine::log::{Log, Replay};
use wal_engine::storage::posix::fork;

use crate::files::Files;
use crate::text::DirName;

/// An open log. Any thread may use it.
pub struct Wal {
    pub(crate) engine: Log<Files>,
    pub(crate) dir: DirName,
    generation: u32,
}

const _: () = {
    const fn any_thread<T: Send + Sync>() {}
    any_thread::<Wal>();
};

/// A replay. One thread at a time may use it.
pub struct WalCursor {
    replay: UnsafeCell<Replay<Files>>,
    /// Set while a thread is in a call: whoever finds it set shares the cursor against the rules. Not a lock: two threads that come at the very
    /// same time both get in.
    busy: AtomicBool,
    /// Set by a panic, which leaves `replay` in no known state.
    failed: AtomicBool,
    pub(crate) dir: DirName,
    generation: u32,
}

fn forked() -> Error {
    Error::new(Code::Forked, "this handle came through fork and belongs to the parent; the child must open the log itself")
}

impl Wal {
    pub(crate) fn new(engine: Log<Files>, dir: DirName, generation: u32) -> Wal {
        Wal { engine, dir, generation }
    }

    /// Refuses in a child that inherited the handle. To be asked before any lock is touched: a thread that does not exist here may hold it.
    #[inline]
    pub(crate) fn check_fork(&self) -> Result<(), Error> {
        if self.generation == fork::generation() { Ok(()) } else { Err(forked()) }
    }

    /// A cursor of this log.
    pub(crate) fn cursor(&self, replay: Replay<Files>) -> WalCursor {
        WalCursor {
            replay: UnsafeCell::new(replay),
            busy: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            dir: self.dir,
            generation: self.generation,
        }
    }

    /// Ends the log; in a forked child without touching files or locks. The handle stays: a callback that hears of it may use it.
    pub(crate) fn end(&self) -> Result<(), Error> {
        self.check_fork()?;
        self.engine.end()
    }

    /// Frees what an ended log has; in a forked child without touching files or locks.
    pub(crate) fn free(self) {
        if self.check_fork().is_err() {
            self.engine.discard();
        }
    }
}

impl WalCursor {
    /// Lets `body` use the replay unless the cursor came through fork, a panic has broken it, or another thread is in it.
    #[inline]
    pub(crate) fn with<T>(&self, body: impl FnOnce(&mut Replay<Files>) -> Result<T, Error>) -> Result<T, Error> {
        if self.generation != fork::generation() {
            return Err(forked());
        }
        if self.failed.load(Ordering::Relaxed) {
            return Err(Error::new(Code::Failed, "an earlier call on this cursor ended in WAL_E_PANIC; close it"));
        }
        if self.busy.load(Ordering::Relaxed) {
            return Err(Error::new(Code::Misuse, "another thread is in a call on this cursor; one thread at a time may use it"));
        }
        self.busy.store(true, Ordering::Relaxed);
        // SAFETY: the header allows one thread at a time, and no other reference is made outside this function.
        let outcome = body(unsafe { &mut *self.replay.get() });
        self.busy.store(false, Ordering::Relaxed);
        outcome
    }

    /// After a panic: the cursor answers nothing any more.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Ends the replay; in a forked child without touching files or locks.
    pub(crate) fn close(self) {
        let replay = self.replay.into_inner();
        if self.generation != fork::generation() {
            replay.discard();
        }
    }
}

/// Memory for a handle, had before the work that fills it: so that running out of it leaves nothing to undo.
pub(crate) struct Room<T>(NonNull<T>);

impl<T> Room<T> {
    pub(crate) fn new() -> Result<Room<T>, Error> {
        const { assert!(size_of::<T>() > 0) };
        // SAFETY: the size is not 0.
        let memory = unsafe { alloc(Layout::new::<T>()) };
        NonNull::new(memory.cast()).map(Room).ok_or(Error::new(Code::NoMemory, "no memory for a handle"))
    }

    /// Moves `value` in; the pointer owns it until `take`.
    pub(crate) fn fill(self, value: T) -> *mut T {
        let memory = self.0.as_ptr();
        core::mem::forget(self);
        // SAFETY: `new` allocated this with T's layout, and nothing is in it yet.
        unsafe { memory.write(value) };
        memory
    }
}

impl<T> Drop for Room<T> {
    fn drop(&mut self) {
        // SAFETY: `new` allocated this with the same layout, and `fill` was not called, which forgets the room.
        unsafe { dealloc(self.0.as_ptr().cast(), Layout::new::<T>()) };
    }
}

/// Moves the value out and frees its memory.
///
/// # Safety
///
/// `handle` comes from `Room::fill`, has not been taken before, and nobody uses it any more.
pub(crate) unsafe fn take<T>(handle: NonNull<T>) -> T {
    // SAFETY: the global allocator gave this memory for exactly this layout, as it does for a `Box`; the rest is this function's contract.
    *unsafe { Box::from_raw(handle.as_ptr()) }
}
