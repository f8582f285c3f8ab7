//! Locks, and what a fork does to them.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use wal_engine::storage::posix::fork::generation;
use wal_engine::storage::{IoKind, LockKind, Storage};

use crate::{Child, Scratch, kind, open};

fn pipe() -> (fs::File, fs::File) {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors, which nobody else knows.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (fs::File::from(OwnedFd::from_raw_fd(ends[0])), fs::File::from(OwnedFd::from_raw_fd(ends[1])))
    }
}

/// In a child: waits to be killed.
fn live_on() -> i32 {
    std::thread::sleep(Duration::from_secs(60));
    0
}

#[test]
fn a_lock_excludes_within_a_process() {
    let scratch = Scratch::new();
    // A shared lock where there is no log creates nothing.
    scratch.open().lock(LockKind::Shared).unwrap();
    assert!(!scratch.at("LOCK").exists());

    let writer = scratch.open();
    writer.lock(LockKind::Exclusive).unwrap();
    for lock in [LockKind::Shared, LockKind::Exclusive] {
        let error = scratch.open().lock(lock).err().unwrap();
        assert_eq!((error.kind, error.os_error), (IoKind::Locked, libc::EWOULDBLOCK));
    }
    drop(writer);

    let readers = [scratch.open(), scratch.open()];
    for reader in &readers {
        reader.lock(LockKind::Shared).unwrap();
    }
    assert_eq!(kind(scratch.open().lock(LockKind::Exclusive)), Some(IoKind::Locked));
    drop(readers);
    scratch.open().lock(LockKind::Exclusive).unwrap();
}

#[test]
fn a_lock_on_a_removed_file_excludes_nobody_new() {
    let scratch = Scratch::new();
    let first = scratch.open();
    first.lock(LockKind::Exclusive).unwrap();
    fs::remove_file(scratch.at("LOCK")).unwrap();
    // Another file under the name, another lock: whoever removes it by hand has to know.
    let second = scratch.open();
    second.lock(LockKind::Exclusive).unwrap();
    assert_eq!(kind(scratch.open().lock(LockKind::Exclusive)), Some(IoKind::Locked));
}

#[test]
fn lockers_that_remove_the_lock_file_still_exclude_each_other() {
    let scratch = Scratch::new();
    let inside = AtomicU32::new(0);
    let entered = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while entered.load(Ordering::Relaxed) < 3000 {
                    let directory = scratch.open();
                    if directory.lock(LockKind::Exclusive).is_err() {
                        continue;
                    }
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold the lock");
                    entered.fetch_add(1, Ordering::Relaxed);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    // From here on the lock is of a file without a name: whoever has that file open must not take it for the lock.
                    fs::remove_file(scratch.at("LOCK")).unwrap();
                }
            });
        }
    });
    scratch.open().lock(LockKind::Exclusive).unwrap();
}

#[test]
fn a_lock_excludes_other_processes_and_ends_with_them() {
    let scratch = Scratch::new();
    let (mut ready, mut tell) = pipe();
    let path = scratch.path.clone();
    let child = Child::run(move || {
        let directory = open(&path);
        directory.lock(LockKind::Exclusive).unwrap();
        tell.write_all(b"x").unwrap();
        live_on()
    });
    ready.read_exact(&mut [0]).unwrap();
    assert_eq!(kind(scratch.open().lock(LockKind::Exclusive)), Some(IoKind::Locked));
    assert_eq!(kind(scratch.open().lock(LockKind::Shared)), Some(IoKind::Locked));
    drop(child);
    scratch.open().lock(LockKind::Exclusive).unwrap();
}

#[test]
fn a_forked_child_leaves_the_lock_with_its_parent() {
    let scratch = Scratch::new();
    let directory = scratch.open();
    directory.lock(LockKind::Exclusive).unwrap();
    let here = generation();
    let path = scratch.path.clone();
    // The handle lives on in this process; only the child drops its copy.
    let copy = std::mem::ManuallyDrop::new(directory);
    let mut copy_of_child = std::mem::ManuallyDrop::new(&copy);
    let child = Child::run(|| {
        if generation() != here.wrapping_add(1) {
            return 1;
        }
        if open_descriptors_of(&path.join("LOCK")) != 0 {
            return 2;
        }
        // Takes the lowest free numbers, so also the one that the lock file had.
        let strangers: Vec<_> = (0..8).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        // SAFETY: the child never uses the value again, and the parent's is in another address space.
        drop(unsafe { std::ptr::read(&**std::mem::ManuallyDrop::take(&mut copy_of_child)) });
        if strangers.iter().any(|file| file.metadata().is_err()) {
            return 3;
        }
        if kind(open(&path).lock(LockKind::Exclusive)) != Some(IoKind::Locked) {
            return 4;
        }
        // A grandchild is a stranger to both.
        let grandchild = Child::run(|| i32::from(generation() != here.wrapping_add(2)));
        if grandchild.code() != 0 {
            return 5;
        }
        0
    });
    assert_eq!(child.code(), 0);
    assert_eq!(generation(), here, "only the child's changes");
    assert_eq!(kind(scratch.open().lock(LockKind::Exclusive)), Some(IoKind::Locked), "still the parent's");
    drop(std::mem::ManuallyDrop::into_inner(copy));
    scratch.open().lock(LockKind::Exclusive).unwrap();
}

#[test]
fn a_child_that_lives_on_does_not_keep_the_lock() {
    let scratch = Scratch::new();
    let directory = scratch.open();
    directory.lock(LockKind::Exclusive).unwrap();
    let child = Child::run(live_on);
    drop(directory);
    scratch.open().lock(LockKind::Exclusive).unwrap();
    drop(child);
}

#[test]
fn neither_does_one_that_was_made_behind_the_library() {
    let scratch = Scratch::new();
    let directory = scratch.open();
    directory.lock(LockKind::Exclusive).unwrap();
    let (blocked, mut hold) = pipe();
    // What Go's runtime does to start a program: no handlers run, and until `exec` the child has every descriptor.
    // No stack of its own; one kernel wants that said first, the others the flags.
    let (first, second) = if cfg!(target_arch = "s390x") { (0, libc::SIGCHLD) } else { (libc::SIGCHLD, 0) };
    // SAFETY: like a fork; the child makes plain system calls and exits.
    let pid = unsafe { libc::syscall(libc::SYS_clone, first, second, 0, 0, 0) };
    if pid == 0 {
        // SAFETY: room for the byte that never comes.
        unsafe {
            libc::close(hold.as_raw_fd());
            let mut byte = 0_u8;
            libc::read(blocked.as_raw_fd(), (&raw mut byte).cast(), 1);
            libc::_exit(0);
        }
    }
    assert!(pid > 0);
    let child = Child { pid: libc::pid_t::try_from(pid).unwrap() };
    drop(directory);
    scratch.open().lock(LockKind::Exclusive).unwrap();
    hold.write_all(b"x").unwrap();
    assert_eq!(child.code(), 0);
}

#[test]
fn no_fork_at_any_moment_duplicates_a_lock_file() {
    let scratch = Scratch::new();
    let stop = AtomicBool::new(false);
    let lock_file = scratch.at("LOCK");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let _ = scratch.open().lock(LockKind::Shared);
                    let _ = scratch.open().lock(LockKind::Exclusive);
                }
            });
        }
        let mut duplicated = 0;
        for _ in 0..400 {
            let child = Child::run(|| i32::from(open_descriptors_of(&lock_file) != 0));
            duplicated += child.code();
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(duplicated, 0);
    });
}

/// How many descriptors of this process are open on `path`. Allocates nothing.
fn open_descriptors_of(path: &Path) -> usize {
    let Ok(named) = fs::symlink_metadata(path) else { return 0 };
    let is_it = |fd: &i32| {
        let mut stat = std::mem::MaybeUninit::<libc::stat64>::uninit();
        // SAFETY: room for the answer, which is read only after success; a number that is not open is an error.
        unsafe {
            libc::fstat64(*fd, stat.as_mut_ptr()) == 0 && {
                let stat = stat.assume_init();
                (stat.st_dev, stat.st_ino) == (named.dev(), named.ino())
            }
        }
    };
    (0..256).filter(is_it).count()
}
