//! A thread whose start can fail in every part: `std::thread` allocates before it asks the system, and ends the process where it cannot.

use core::ffi::{CStr, c_void};
use core::mem::MaybeUninit;
use core::ptr::{null, null_mut};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::file::from_errno;
use super::fork::SignalsBlocked;
use crate::error::{Code, Error, Result};
use crate::memory::{boxed, discard};

/// As debuggers show it.
const NAME: &CStr = c"wal";
/// More than twice what the deepest call takes.
const STACK_BYTES: usize = 256 << 10;

/// A thread that was started and has not been joined. One that is never joined runs on.
pub struct Thread {
    id: libc::pthread_t,
}

// SAFETY: the number names the thread to every thread of the process; `join` takes the value, so that it is used once.
unsafe impl Send for Thread {}

impl Thread {
    /// Starts a thread that does `work`. It takes no signals: one that is meant for the host must not end up on a thread that the host does not know.
    pub fn start<W: FnOnce() + Send + 'static>(work: W) -> Result<Thread> {
        let work = boxed(work)?;
        // The new thread inherits the mask.
        let _blocked = SignalsBlocked::new();
        let context = Box::into_raw(work);
        let mut id = MaybeUninit::<libc::pthread_t>::uninit();
        let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
        // SAFETY: the attributes are initialised before they are used and destroyed afterwards; `run` has the type that is asked for, and its
        // argument is what it expects.
        let errno = unsafe {
            match libc::pthread_attr_init(attributes.as_mut_ptr()) {
                0 => {
                    libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK_BYTES);
                    let errno = libc::pthread_create(id.as_mut_ptr(), attributes.as_ptr(), run::<W>, context.cast());
                    libc::pthread_attr_destroy(attributes.as_mut_ptr());
                    match errno {
                        // Some systems take a host's thread-local variables from the stack, and refuse one that has no room for them.
                        libc::EINVAL => libc::pthread_create(id.as_mut_ptr(), null(), run::<W>, context.cast()),
                        errno => errno,
                    }
                }
                errno => errno,
            }
        };
        if errno != 0 {
            // SAFETY: there is no thread that could have taken it.
            drop(unsafe { Box::from_raw(context) });
            return Err(Error::new(Code::NoMemory, "the background thread cannot be started").os(from_errno(errno).os_error));
        }
        // SAFETY: written by the call, which succeeded.
        Ok(Thread { id: unsafe { id.assume_init() } })
    }

    /// Waits until it has ended.
    pub fn join(self) {
        // SAFETY: a thread that was created joinable, and that nobody has joined: that takes the value. It cannot fail, but if the caller is that thread,
        // which then is left to itself.
        unsafe { libc::pthread_join(self.id, null_mut()) };
    }
}

/// What the system calls on the new thread.
extern "C" fn run<W: FnOnce()>(context: *mut c_void) -> *mut c_void {
    name_thread();
    // SAFETY: `start` made it from a box of this type, and gave it to this thread alone.
    let work = unsafe { Box::from_raw(context.cast::<W>()) };
    // The panic hook has told of it; a panic ends the thread and nothing else.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
        discard(payload);
    }
    null_mut()
}

fn name_thread() {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // SAFETY: the calling thread, and a string that ends with a zero byte.
    unsafe {
        libc::pthread_setname_np(libc::pthread_self(), NAME.as_ptr())
    };
    #[cfg(target_vendor = "apple")]
    // SAFETY: a string that ends with a zero byte.
    unsafe {
        libc::pthread_setname_np(NAME.as_ptr())
    };
    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    let _ = NAME;
}
