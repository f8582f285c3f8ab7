//! Memory that may be refused. The standard library ends the process where it cannot get any, in a host's process, too; so whatever a call of
//! the log allocates is had here, or by `try_reserve`, and a refusal is an error like any other.

use core::any::Any;
use core::fmt;
use core::marker::PhantomData;
use core::mem::forget;
use core::ops::Deref;
use core::ptr::{NonNull, drop_in_place};
use core::sync::atomic::{AtomicUsize, Ordering};
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Code, Error, Result};

fn refused(what: &'static str) -> Error {
    Error::new(Code::NoMemory, what)
}

/// Adds `item` to `list`.
pub fn push<T>(list: &mut Vec<T>, item: T) -> Result<()> {
    list.try_reserve(1).map_err(|_| refused("no memory for a list"))?;
    list.push(item);
    Ok(())
}

/// What `items` yields.
pub fn collect<T>(items: impl IntoIterator<Item = T>) -> Result<Vec<T>> {
    let mut list = Vec::new();
    for item in items {
        push(&mut list, item)?;
    }
    Ok(list)
}

/// `len` zeros. Large ones are the system's untouched pages, which cost nothing until they are used.
pub fn zeroed(len: usize, what: &'static str) -> Result<Vec<u8>> {
    let Ok(layout) = Layout::array::<u8>(len) else {
        return Err(refused(what));
    };
    if len == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the size is not 0.
    let memory = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(refused(what))?;
    // SAFETY: allocated by the global allocator with the layout of `len` bytes, all of which have a value.
    Ok(unsafe { Vec::from_raw_parts(memory.as_ptr(), len, len) })
}

/// A value on the heap.
pub fn boxed<T>(value: T) -> Result<Box<T>> {
    const { assert!(size_of::<T>() > 0) };
    // SAFETY: the size is not 0.
    let memory = NonNull::new(unsafe { alloc(Layout::new::<T>()) }.cast::<T>()).ok_or(refused("no memory for a value"))?;
    // SAFETY: allocated by the global allocator with T's layout, as a box's memory is, and filled before the box owns it.
    unsafe {
        memory.write(value);
        Ok(Box::from_raw(memory.as_ptr()))
    }
}

/// Drops what a caught panic left. That runs code which may panic again, and what that leaves is not looked at.
pub fn discard(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        forget(second);
    }
}

/// What owners share. One of the counts of `weak` belongs to all `strong` ones together, so that the memory stays for as long as either kind is left.
struct Common<T> {
    strong: AtomicUsize,
    weak: AtomicUsize,
    value: T,
}

/// Memory for a shared value, had before the work that makes the value: so that a refusal leaves nothing to undo.
pub struct Room<T>(NonNull<Common<T>>);

impl<T> Room<T> {
    /// Room for one value.
    pub fn new() -> Result<Room<T>> {
        // SAFETY: the size is not 0: there are counts.
        let memory = unsafe { alloc(Layout::new::<Common<T>>()) };
        NonNull::new(memory.cast()).map(Room).ok_or(refused("no memory for a part of the log"))
    }

    /// Moves `value` in.
    pub fn fill(self, value: T) -> Shared<T> {
        let common = self.0;
        forget(self);
        // SAFETY: `new` allocated this with the layout of a `Common`, and nothing is in it yet.
        unsafe { common.write(Common { strong: AtomicUsize::new(1), weak: AtomicUsize::new(1), value }) };
        Shared { common, owns: PhantomData }
    }
}

impl<T> Drop for Room<T> {
    fn drop(&mut self) {
        // SAFETY: `new` allocated this with the same layout, and `fill`, which forgets the room, was not called.
        unsafe { dealloc(self.0.as_ptr().cast(), Layout::new::<Common<T>>()) };
    }
}

/// `std::sync::Arc` with one difference: making one can fail.
pub struct Shared<T> {
    common: NonNull<Common<T>>,
    owns: PhantomData<Common<T>>,
}

// SAFETY: it gives out `&T` on every thread that has one, and drops the T on the thread that has the last one.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: as above; a reference to it is enough to clone it.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Shares `value`, so far with nobody.
    pub fn new(value: T) -> Result<Shared<T>> {
        Ok(Room::new()?.fill(value))
    }

    /// A way to the value that does not keep it.
    pub fn downgrade(this: &Shared<T>) -> Weak<T> {
        count_up(&this.common().weak);
        Weak { common: this.common }
    }

    fn common(&self) -> &Common<T> {
        // SAFETY: the memory stays, and the value in it, for as long as this counts among the strong.
        unsafe { self.common.as_ref() }
    }
}

/// One more owner. What the new one may see the old one has seen, so that nothing needs to be ordered. As with `Arc`, a count that overflows means
/// that owners were forgotten without end, and nothing better can be done than to stop.
fn count_up(count: &AtomicUsize) {
    if count.fetch_add(1, Ordering::Relaxed) > isize::MAX as usize {
        std::process::abort();
    }
}

/// One owner less; whether it was the last. Then whatever the others did with what they shared has happened before this returns.
fn count_down(count: &AtomicUsize) -> bool {
    if count.fetch_sub(1, Ordering::Release) != 1 {
        return false;
    }
    count.load(Ordering::Acquire);
    true
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        count_up(&self.common().strong);
        Shared { common: self.common, owns: PhantomData }
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.common().value
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        if count_down(&self.common().strong) {
            // The count that all strong ones have together; the memory goes after the value, even if dropping that panics.
            let _memory = Weak { common: self.common };
            // SAFETY: nobody else has the value, and `upgrade` gives it to nobody any more.
            unsafe { drop_in_place(&raw mut (*self.common.as_ptr()).value) };
        }
    }
}

/// A way to a shared value that does not keep it.
pub struct Weak<T> {
    common: NonNull<Common<T>>,
}

// SAFETY: it gives what `Shared` gives.
unsafe impl<T: Send + Sync> Send for Weak<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Weak<T> {}

impl<T> Weak<T> {
    /// The value, if anybody still has it.
    pub fn upgrade(&self) -> Option<Shared<T>> {
        // SAFETY: the memory stays for as long as this counts among the weak; only the counts are touched, not the value, which may be gone.
        let strong = unsafe { &(*self.common.as_ptr()).strong };
        let more = |count: usize| (count > 0 && count <= isize::MAX as usize).then(|| count + 1);
        let counted = strong.fetch_update(Ordering::Acquire, Ordering::Relaxed, more);
        counted.ok().map(|_| Shared { common: self.common, owns: PhantomData })
    }
}

impl<T> Drop for Weak<T> {
    fn drop(&mut self) {
        // SAFETY: as in `upgrade`.
        let last = count_down(unsafe { &(*self.common.as_ptr()).weak });
        if last {
            // SAFETY: `Room::new` allocated this with the same layout; nobody is left who could reach it, and the value was dropped before.
            unsafe { dealloc(self.common.as_ptr().cast(), Layout::new::<Common<T>>()) };
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    /// Counts how often it is dropped.
    struct Counted<'a>(&'a AtomicU32);

    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_last_owner_drops_the_value_once() {
        let drops = AtomicU32::new(0);
        let first = Shared::new(Counted(&drops)).unwrap();
        let weak = Shared::downgrade(&first);
        let second = first.clone();
        drop(first);
        assert_eq!(drops.load(Ordering::Relaxed), 0);
        let third = weak.upgrade().expect("it is still there");
        drop(second);
        drop(third);
        assert_eq!(drops.load(Ordering::Relaxed), 1);
        assert!(weak.upgrade().is_none(), "it is gone");
        drop(weak);
        assert_eq!(drops.load(Ordering::Relaxed), 1);
        drop(Room::<Counted<'_>>::new().unwrap());
        assert_eq!(drops.load(Ordering::Relaxed), 1, "an empty room has nothing to drop");
    }

    /// What each owner did before it let go is there for the one that drops; also what `valgrind` and the sanitizers look at.
    #[test]
    fn owners_on_many_threads_see_each_others_work() {
        struct Sum<'a>(std::cell::UnsafeCell<[u64; 4]>, &'a std::sync::Mutex<u64>);
        // SAFETY: each thread of the test writes a place of its own, and only the last owner reads them all.
        unsafe impl Sync for Sum<'_> {}
        impl Drop for Sum<'_> {
            fn drop(&mut self) {
                *self.1.lock().unwrap() += self.0.get_mut().iter().sum::<u64>();
            }
        }
        for _ in 0..200 {
            let total = std::sync::Mutex::new(0);
            std::thread::scope(|scope| {
                let shared = Shared::new(Sum(std::cell::UnsafeCell::new([0; 4]), &total)).unwrap();
                for place in 0..4 {
                    let mine = shared.clone();
                    let weak = Shared::downgrade(&shared);
                    scope.spawn(move || {
                        // SAFETY: the place is this thread's alone.
                        unsafe { (*mine.0.get())[place] = place as u64 + 1 };
                        drop(mine);
                        drop(weak.upgrade());
                    });
                }
            });
            assert_eq!(*total.lock().unwrap(), 10);
        }
    }

    #[test]
    fn a_panic_while_the_value_is_dropped_leaks_nothing_and_frees_nothing_twice() {
        struct Bomb(#[expect(dead_code, reason = "it has a size")] u8);
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("on purpose");
            }
        }
        let shared = Shared::new(Bomb(1)).unwrap();
        let weak = Shared::downgrade(&shared);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(shared))).is_err());
        assert!(weak.upgrade().is_none());
    }

    #[test]
    fn lists_and_boxes_hold_what_they_are_given() {
        assert_eq!(collect(0..5).unwrap(), [0, 1, 2, 3, 4]);
        assert_eq!(*boxed([7u8; 3]).unwrap(), [7; 3]);
        assert_eq!(zeroed(3, "").unwrap(), [0; 3]);
        assert!(zeroed(0, "").unwrap().is_empty());
        assert_eq!(zeroed(usize::MAX, "too much").unwrap_err(), Error::new(Code::NoMemory, "too much"));
        let mut list = vec![1];
        push(&mut list, 2).unwrap();
        assert_eq!(list, [1, 2]);
    }
}
