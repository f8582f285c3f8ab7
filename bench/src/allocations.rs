//! Counts heap allocations of a thread, the library's included: the linker sends every call of the functions below that any object or archive
//! makes to the ones here (`--wrap`, see `build.rs`).

use std::cell::Cell;
use std::ffi::{c_int, c_void};

thread_local! {
    // Neither initialised when first used nor dropped, so that counting allocates nothing itself.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Allocations of the calling thread so far.
pub(crate) fn count() -> u64 {
    COUNT.get()
}

/// Whether allocations are counted here at all.
pub(crate) const COUNTED: bool = cfg!(target_os = "linux");

#[cfg(target_os = "linux")]
mod wrapped {
    use super::*;

    // SAFETY: the C library's functions under the names that the linker gives them.
    unsafe extern "C" {
        fn __real_malloc(size: usize) -> *mut c_void;
        fn __real_calloc(count: usize, size: usize) -> *mut c_void;
        fn __real_realloc(old: *mut c_void, size: usize) -> *mut c_void;
        fn __real_posix_memalign(out: *mut *mut c_void, align: usize, size: usize) -> c_int;
        fn __real_aligned_alloc(align: usize, size: usize) -> *mut c_void;
    }

    fn note() {
        COUNT.set(COUNT.get() + 1);
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn __wrap_malloc(size: usize) -> *mut c_void {
        note();
        // SAFETY: passed on as it came, here and below.
        unsafe { __real_malloc(size) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn __wrap_calloc(count: usize, size: usize) -> *mut c_void {
        note();
        // SAFETY: as above.
        unsafe { __real_calloc(count, size) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn __wrap_realloc(old: *mut c_void, size: usize) -> *mut c_void {
        note();
        // SAFETY: as above.
        unsafe { __real_realloc(old, size) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn __wrap_posix_memalign(out: *mut *mut c_void, align: usize, size: usize) -> c_int {
        note();
        // SAFETY: as above.
        unsafe { __real_posix_memalign(out, align, size) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn __wrap_aligned_alloc(align: usize, size: usize) -> *mut c_void {
        note();
        // SAFETY: as above.
        unsafe { __real_aligned_alloc(align, size) }
    }
}
