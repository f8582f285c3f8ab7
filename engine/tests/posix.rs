//! Real files behind the storage traits: what is refused, what a full disk answers, and in `locks` who is locked out and what a fork leaves alone.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

#[path = "posix/locks.rs"]
mod locks;

use std::ffi::{CStr, CString};
use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::TryRecvError;

use wal_engine::error::{Code, Place};
use wal_engine::names::FileName;
use wal_engine::storage::posix::{Directory, Modes, PlainFile, Thread};
use wal_engine::storage::{Access, File, IoError, IoKind, LockKind, Storage};

/// A directory of this test's own, removed at the end.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new() -> Scratch {
        Scratch::new_in(&std::env::temp_dir())
    }

    /// Where files can be written past the system's cache, as not all memory file systems can.
    fn on_disk() -> Scratch {
        Scratch::new_in(Path::new(env!("CARGO_TARGET_TMPDIR")))
    }

    fn new_in(parent: &Path) -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("wal-posix-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = parent.join(name);
        fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        Scratch { path }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn open(&self) -> Directory {
        open(&self.path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

fn open(path: &Path) -> Directory {
    Directory::open(&c_path(path), false, Modes::default()).unwrap()
}

fn kind<T>(outcome: Result<T, IoError>) -> Option<IoKind> {
    outcome.err().map(|error| error.kind)
}

/// A forked child that runs `body` and exits with its answer; killed if nobody asks for it.
struct Child {
    pid: libc::pid_t,
}

impl Child {
    fn run(body: impl FnOnce() -> i32) -> Child {
        // SAFETY: the child calls only `body`, which the tests keep to the storage, files and system calls, and exits without unwinding into the
        // test harness; glibc keeps its allocator usable in the child.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork");
        if pid == 0 {
            // A child that hangs fails its test instead of hanging it.
            // SAFETY: cannot fail.
            unsafe { libc::alarm(60) };
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(101);
            // SAFETY: ends the process.
            unsafe { libc::_exit(code) };
        }
        Child { pid }
    }

    fn code(self) -> i32 {
        let mut status = 0;
        // SAFETY: room for the status; the child is ours and not yet waited for.
        let pid = unsafe { libc::waitpid(self.pid, &raw mut status, 0) };
        assert_eq!(pid, self.pid);
        std::mem::forget(self);
        if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -libc::WTERMSIG(status) }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: the child is ours and not yet waited for, so the number is still its own.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
        }
    }
}

#[test]
fn lists_the_names_of_the_log_and_no_others() {
    let scratch = Scratch::new();
    let directory = scratch.open();
    let mut names = vec![
        FileName::Lock,
        FileName::Manifest,
        FileName::Segment(1),
        FileName::Segment(u32::MAX),
        FileName::Spare(7),
        FileName::Damaged(9),
        FileName::Damaged(u32::MAX),
    ];
    for &name in &names {
        directory.create(name).unwrap();
        assert!(scratch.at(&name.to_string()).is_file(), "{name}");
    }
    for foreign in ["0000000000.wal", "4294967296.wal", "0000000001.wal.bak", "000000001.wal", "manifest", "LOCK~", ".hidden", "0000000002"]
    {
        fs::write(scratch.at(foreign), b"x").unwrap();
    }
    // Twice: a listing starts at the beginning whatever was listed before.
    for _ in 0..2 {
        let mut found = Vec::new();
        directory.list(&mut |name| found.push(name)).unwrap();
        found.sort_unstable();
        names.sort_unstable();
        assert_eq!(found, names);
    }
}

#[test]
fn bytes_are_where_they_were_written() {
    let scratch = Scratch::new();
    let directory = scratch.open();
    let file = directory.create(FileName::Segment(1)).unwrap();
    file.write_at(10, b"hello").unwrap();
    assert_eq!(file.len().unwrap(), 15);
    file.sync().unwrap();
    directory.sync_dir().unwrap();
    file.drop_cache();

    let reader = directory.open(FileName::Segment(1), Access::Read).unwrap();
    let mut buf = [0xff; 20];
    assert_eq!(reader.read_at(8, &mut buf).unwrap(), 7);
    assert_eq!(&buf[..7], b"\0\0hello");
    assert_eq!(reader.read_at(15, &mut buf).unwrap(), 0);
    assert_eq!(reader.read_at(1 << 40, &mut buf).unwrap(), 0);
    assert!(reader.read_at(u64::MAX, &mut buf).is_err());
    assert!(reader.write_at(0, b"x").is_err(), "opened for reading");
    assert!(file.write_at(u64::MAX, b"x").is_err());

    let writer = directory.open(FileName::Segment(1), Access::Write).unwrap();
    writer.write_at(0, b"again").unwrap();
    assert_eq!(file.read_at(0, &mut buf[..5]).unwrap(), 5);
    assert_eq!(&buf[..5], b"again");
}

#[test]
fn creating_renaming_and_removing_never_replace() {
    let scratch = Scratch::new();
    let directory = scratch.open();
    let (one, two, three) = (FileName::Segment(1), FileName::Spare(2), FileName::Segment(3));
    directory.create(one).unwrap().write_at(0, b"one").unwrap();
    directory.create(two).unwrap().write_at(0, b"two").unwrap();
    assert_eq!(kind(directory.create(one)), Some(IoKind::Exists));
    assert_eq!(kind(directory.rename(one, two)), Some(IoKind::Exists));
    assert_eq!(fs::read(scratch.at("0000000001.wal")).unwrap(), b"one");
    assert_eq!(fs::read(scratch.at("0000000002.spare")).unwrap(), b"two");

    directory.rename(two, three).unwrap();
    assert_eq!(fs::read(scratch.at("0000000003.wal")).unwrap(), b"two");
    assert_eq!(kind(directory.rename(two, FileName::Spare(4))), Some(IoKind::NotFound));
    assert_eq!(kind(directory.open(two, Access::Read)), Some(IoKind::NotFound));

    directory.remove(three).unwrap();
    assert_eq!(kind(directory.remove(three)), Some(IoKind::NotFound));
    directory.sync_dir().unwrap();
}

#[test]
fn what_is_no_plain_file_is_refused_at_once() {
    let scratch = Scratch::new();
    let directory = scratch.open();
    fs::write(scratch.at("target"), b"secret").unwrap();
    symlink("target", scratch.at("0000000001.wal")).unwrap();
    symlink("nowhere", scratch.at("0000000002.wal")).unwrap();
    fs::create_dir(scratch.at("0000000003.wal")).unwrap();
    let fifo = c_path(&scratch.at("0000000004.wal"));
    // SAFETY: a string that ends with a zero byte.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    assert!(fs::metadata(scratch.at("0000000004.wal")).unwrap().file_type().is_fifo());
    let _socket = std::os::unix::net::UnixListener::bind(scratch.at("0000000005.wal")).unwrap();

    for index in 1..=5 {
        let name = FileName::Segment(index);
        assert_eq!(kind(directory.open(name, Access::Read)), Some(IoKind::NotAFile), "{name}");
        assert_eq!(kind(directory.open(name, Access::Write)), Some(IoKind::NotAFile), "{name}");
        assert_eq!(kind(directory.create(name)), Some(IoKind::Exists), "{name}");
    }
    assert!(!scratch.at("nowhere").exists(), "nothing is created through a symlink");

    symlink("target", scratch.at("LOCK")).unwrap();
    for lock in [LockKind::Shared, LockKind::Exclusive] {
        assert_eq!(kind(directory.lock(lock)), Some(IoKind::NotAFile));
    }
    fs::remove_file(scratch.at("LOCK")).unwrap();
    symlink("nowhere", scratch.at("LOCK")).unwrap();
    assert_eq!(kind(directory.lock(LockKind::Exclusive)), Some(IoKind::NotAFile));
    assert!(!scratch.at("nowhere").exists());
}

#[test]
fn opening_a_directory() {
    let scratch = Scratch::new();
    let missing = c_path(&scratch.at("log"));
    let error = Directory::open(&missing, false, Modes::default()).err().unwrap();
    assert_eq!((error.code, error.place, error.os_error), (Code::NotFound, Place::Directory, libc::ENOENT));
    assert!(!scratch.at("log").exists());

    Directory::open(&missing, true, Modes::default()).unwrap();
    Directory::open(&missing, true, Modes::default()).unwrap();
    Directory::open(&missing, false, Modes::default()).unwrap();

    let error = Directory::open(&c_path(&scratch.at("a/b")), true, Modes::default()).err().unwrap();
    assert_eq!((error.code, error.os_error), (Code::NotFound, libc::ENOENT));
    assert!(error.what.contains("parent"), "{error}");
    assert!(!scratch.at("a").exists(), "one level, never more");

    fs::write(scratch.at("file"), b"").unwrap();
    for path in ["file", "file/log"] {
        for create in [false, true] {
            let error = Directory::open(&c_path(&scratch.at(path)), create, Modes::default()).err().unwrap();
            assert_eq!((error.code, error.os_error), (Code::Io, libc::ENOTDIR), "{path}");
            assert!(error.to_string().contains("not a directory"), "{error}");
        }
    }
    assert_eq!(Directory::open(c"", true, Modes::default()).err().unwrap().code, Code::NotFound);

    symlink("nowhere", scratch.at("dangling")).unwrap();
    assert_eq!(Directory::open(&c_path(&scratch.at("dangling")), true, Modes::default()).err().unwrap().code, Code::NotFound);
}

#[test]
fn a_directory_stays_the_log_when_it_is_renamed() {
    let scratch = Scratch::new();
    let directory = Directory::open(&c_path(&scratch.at("before")), true, Modes::default()).unwrap();
    fs::rename(scratch.at("before"), scratch.at("after")).unwrap();
    directory.create(FileName::Manifest).unwrap();
    assert!(scratch.at("after/MANIFEST").is_file());
}

#[test]
fn nobody_else_may_read_unless_the_host_says_so() {
    let scratch = Scratch::new();
    // In a child, because the umask belongs to the whole process.
    let modes_of = |umask: libc::mode_t, name: &str, modes: Modes| {
        let path = scratch.at(name);
        let child = Child::run(|| {
            // SAFETY: cannot fail.
            unsafe { libc::umask(umask) };
            let directory = Directory::open(&c_path(&path), true, modes).unwrap();
            directory.create(FileName::Segment(1)).unwrap();
            directory.lock(LockKind::Exclusive).unwrap();
            0
        });
        assert_eq!(child.code(), 0);
        ["", "0000000001.wal", "LOCK"].map(|file| fs::metadata(path.join(file)).unwrap().permissions().mode() & 0o7777)
    };
    assert_eq!(modes_of(0, "default", Modes::default()), [0o700, 0o600, 0o600]);
    let group = Modes { directory: 0o770, file: 0o660 };
    assert_eq!(modes_of(0o002, "group", group), [0o770, 0o660, 0o660]);
    assert_eq!(modes_of(0o077, "narrowed", group), [0o700, 0o600, 0o600]);
}

#[test]
fn filling_with_zeros_takes_the_space() {
    let scratch = Scratch::new();
    let directory = scratch.open();
    for (index, size) in [(1, 0), (2, 4096), (3, (3 << 20) + 4096 + 1)] {
        let file = directory.create(FileName::Spare(index)).unwrap();
        file.fill_zeros(size).unwrap();
        file.sync().unwrap();
        assert_eq!(file.len().unwrap(), size);
        let path = scratch.at(&FileName::Spare(index).to_string());
        assert!(fs::metadata(&path).unwrap().blocks() * 512 >= size, "blocks for {size} bytes");
        assert!(fs::read(&path).unwrap().iter().all(|&byte| byte == 0));
        assert_eq!(unwritten_extents(&fs::File::open(&path).unwrap()), Some(0), "every block is written, not only reserved");
    }
}

/// How many extents of a file are reserved without having been written; 0 as well where the file system cannot tell.
fn unwritten_extents(file: &fs::File) -> Option<usize> {
    const FS_IOC_FIEMAP: libc::Ioctl = 0xc020_660b;
    const FIEMAP_EXTENT_UNWRITTEN: u32 = 0x800;
    const EXTENTS: usize = 64;
    // struct fiemap: start u64, length u64, flags u32, mapped u32, count u32, reserved u32; then extents of 56 bytes, flags at byte 40.
    let mut request = vec![0_u64; 4 + EXTENTS * 7];
    request[1] = u64::MAX;
    request[3] = EXTENTS as u64;
    // SAFETY: room for as many extents as the request says.
    if unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP, request.as_mut_ptr()) } != 0 {
        return Some(0);
    }
    let mapped = usize::try_from(request[2] >> 32).ok()?;
    let flags = request[4..].chunks(7).take(mapped).map(|extent| extent[5] as u32);
    Some(flags.filter(|flags| flags & FIEMAP_EXTENT_UNWRITTEN != 0).count())
}

#[test]
fn a_background_thread_takes_no_signals() {
    fn blocked(signal: libc::c_int) -> bool {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: room for the set, which the call fills.
        unsafe {
            assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), set.as_mut_ptr()), 0);
            libc::sigismember(set.as_ptr(), signal) == 1
        }
    }
    let signals = [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGPROF];
    let before = signals.map(blocked);
    assert!(before.contains(&false));
    let (send, receive) = std::sync::mpsc::channel();
    let thread = Thread::start(move || send.send(signals.map(blocked)).unwrap()).unwrap();
    thread.join();
    assert_eq!(receive.recv(), Ok([true; 4]));
    assert_eq!(signals.map(blocked), before, "the caller's mask is as it was");
}

#[test]
fn random_bytes_are_not_repeated() {
    let scratch = Scratch::new();
    let directory = scratch.open();
    let mut blocks = [[0_u8; 600]; 2];
    for block in &mut blocks {
        directory.random(block).unwrap();
        assert!(block.chunks(100).all(|part| part.iter().any(|&byte| byte != 0)), "filled to the end");
    }
    assert_ne!(blocks[0], blocks[1]);
    directory.random(&mut []).unwrap();
}

#[test]
fn a_file_that_may_not_grow_counts_as_a_full_disk() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    // In a child, because the limit belongs to the whole process.
    let child = Child::run(|| {
        let limit = libc::rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
        // SAFETY: an initialised limit.
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
        }
        let directory = open(&path);
        let spare = directory.create(FileName::Spare(1)).unwrap();
        if kind(spare.fill_zeros(2 << 20)) != Some(IoKind::NoSpace) {
            return 1;
        }
        let segment = directory.create(FileName::Segment(2)).unwrap();
        // Half of it fits: the short write is gone on with, and then there is the error.
        if kind(segment.write_at((1 << 20) - 4096, &[7; 8192])) != Some(IoKind::NoSpace) {
            return 2;
        }
        if segment.len() != Ok(1 << 20) || segment.write_at(0, &[7; 4096]).is_err() {
            return 3;
        }
        0
    });
    assert_eq!(child.code(), 0);
}

/// A file that is written past the cache has two descriptors. Where there is one more and no second, nothing is left behind.
#[test]
fn a_file_for_which_descriptors_are_too_few_is_not_created() {
    let scratch = Scratch::on_disk();
    let path = scratch.path.clone();
    // In a child, because the limit belongs to the whole process.
    let child = Child::run(|| {
        let mut directory = open(&path);
        directory.write_past_cache().unwrap();
        let next = fs::File::open(&path).unwrap().as_raw_fd();
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: room for the limit, which the first call fills.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
            limit.rlim_cur = next as libc::rlim_t + 1;
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
        }
        if kind(directory.create(FileName::Spare(1))) != Some(IoKind::NoMemory) {
            return 1;
        }
        if kind(directory.open(FileName::Spare(1), Access::Read)) != Some(IoKind::NotFound) {
            return 2;
        }
        limit.rlim_cur += 1;
        // SAFETY: an initialised limit.
        unsafe { assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0) };
        if directory.create(FileName::Spare(1)).is_err() { 3 } else { 0 }
    });
    assert_eq!(child.code(), 0);
}

/// The two descriptors of a file that is written past the cache are opened by name. Whoever gives the name to another file in between must not have the
/// log write to one file and sync the other.
#[test]
fn a_file_is_written_past_the_cache_or_not_at_all() {
    let scratch = Scratch::on_disk();
    let mut directory = scratch.open();
    directory.write_past_cache().unwrap();
    let name = FileName::Segment(1);
    let (one, other, third) = (scratch.at("one"), scratch.at("other"), scratch.at("third"));
    for path in [&one, &other] {
        fs::write(path, [0; 4096]).unwrap();
    }
    let segment = scratch.at(&name.to_string());
    fs::hard_link(&one, &segment).unwrap();
    let (running, stopped) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let stopped = stopped;
            for path in [&one, &other].into_iter().cycle().take_while(|_| stopped.try_recv() == Err(TryRecvError::Empty)) {
                fs::hard_link(path, &third).unwrap();
                fs::rename(&third, &segment).unwrap();
                // Of two names of one file neither replaces the other.
                let _may_be_gone = fs::remove_file(&third);
            }
        });
        let _until_here = running;
        let mut met = 0;
        for round in 0..50_000_u32 {
            match directory.open(name, Access::Write) {
                Ok(file) => {
                    let mut read = [0; 4];
                    file.write_at(0, &round.to_le_bytes()).unwrap();
                    assert_eq!((file.read_at(0, &mut read), u32::from_le_bytes(read)), (Ok(4), round), "it was written elsewhere");
                }
                Err(error) => {
                    assert_eq!(error.os_error, libc::ESTALE);
                    met += 1;
                }
            }
            if met == 10 {
                break;
            }
        }
    });
}

/// A tmpfs of 1 MiB on `path`, seen by this process alone, which must have one thread.
fn mount_small_disk(path: &Path) -> std::io::Result<()> {
    fn check(answer: libc::c_int) -> std::io::Result<()> {
        if answer == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    }
    // SAFETY: strings that end with a zero byte, or null where that is allowed.
    unsafe {
        let (uid, gid) = (libc::geteuid(), libc::getegid());
        if uid == 0 && libc::unshare(libc::CLONE_NEWNS) == 0 {
            // Allowed as it is.
        } else {
            check(libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS))?;
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
            fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
        }
        let null = std::ptr::null();
        check(libc::mount(null, c"/".as_ptr(), null, libc::MS_REC | libc::MS_PRIVATE, null.cast()))?;
        let options: &CStr = c"size=1m,mode=700";
        check(libc::mount(c"tmpfs".as_ptr(), c_path(path).as_ptr(), c"tmpfs".as_ptr(), 0, options.as_ptr().cast()))
    }
}

#[test]
fn a_full_disk_takes_nothing_back_and_is_usable_again() {
    const NOT_ALLOWED: i32 = 77;
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let child = Child::run(|| {
        if mount_small_disk(&path).is_err() {
            return NOT_ALLOWED;
        }
        let directory = open(&path);
        let segment = directory.create(FileName::Segment(1)).unwrap();
        if segment.fill_zeros(512 << 10).is_err() {
            return 1;
        }
        let full = |outcome: Result<(), IoError>| outcome == Err(IoError { kind: IoKind::NoSpace, os_error: libc::ENOSPC });
        let spare: PlainFile = directory.create(FileName::Spare(2)).unwrap();
        if !full(spare.fill_zeros(1 << 20)) {
            return 2;
        }
        if !full(spare.write_at(0, &vec![1; 1 << 20])) {
            return 3;
        }
        // What has its blocks can be written without any space.
        if segment.write_at(0, &vec![1; 512 << 10]).is_err() || segment.sync().is_err() {
            return 4;
        }
        drop(spare);
        directory.remove(FileName::Spare(2)).unwrap();
        let spare = directory.create(FileName::Spare(3)).unwrap();
        if spare.fill_zeros(256 << 10).is_err() {
            return 5;
        }
        0
    });
    match child.code() {
        NOT_ALLOWED => {
            // Past the harness, which hides what passing tests print.
            let _ = writeln!(std::io::stderr(), "NOT RUN: a full disk needs the right to mount a tmpfs in a namespace");
        }
        code => assert_eq!(code, 0),
    }
}

/// Sparse, so that it takes no room. Where the C library has narrow calls and wide ones, the narrow ones end at 2 GiB.
#[test]
fn bytes_behind_4_gib_are_reached() {
    const AT: u64 = (1 << 32) + 5;
    let scratch = Scratch::new();
    let file = scratch.open().create(FileName::Segment(1)).unwrap();
    file.write_at(AT, b"far away").unwrap();
    let file = scratch.open().open(FileName::Segment(1), Access::Read).unwrap();
    assert_eq!(file.len(), Ok(AT + 8));
    let mut read = [1; 16];
    assert_eq!(file.read_at(AT - 4, &mut read), Ok(12));
    assert_eq!(&read[..12], b"\0\0\0\0far away");
}
