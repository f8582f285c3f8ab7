//! One real file, and what every other call into the operating system shares: retrying, error numbers, names.

use core::ffi::CStr;
use core::fmt::{self, Write};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::direct::Stage;
use super::wide::{self, Stat};
use crate::memory::Shared;
use crate::names::FileName;
use crate::storage::{File, IoError, IoKind};

/// Most bytes in one read or write. Some systems refuse more than fits into an `int`, the others transfer less than they were asked to.
const MAX_TRANSFER_BYTES: usize = 1 << 30;

const ZEROS_BYTES: usize = 1 << 20;

/// Zeros to write from. Never written, yet atomic: what cannot change is stored in the library file, what can change starts as untouched
/// pages of zeros.
static ZEROS: [AtomicU8; ZEROS_BYTES] = [const { AtomicU8::new(0) }; ZEROS_BYTES];

/// Calls again for as long as a signal interrupts; a negative answer means that `errno` says why, and that is the error.
pub(super) fn retry<T: Default + PartialOrd>(mut call: impl FnMut() -> T) -> Result<T, i32> {
    loop {
        let answer = call();
        if answer >= T::default() {
            return Ok(answer);
        }
        match errno() {
            libc::EINTR => {}
            errno => return Err(errno),
        }
    }
}

/// The calling thread's `errno`.
pub(super) fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// `errno` as the log's kinds. A file that may not grow, because of a limit of the process or of the file system, counts as a full disk: like a quota, it
/// stops only writes that need more room, and can be raised.
pub fn from_errno(errno: i32) -> IoError {
    let kind = match errno {
        libc::ENOENT => IoKind::NotFound,
        libc::EEXIST => IoKind::Exists,
        libc::ENOSPC | libc::EDQUOT | libc::EFBIG => IoKind::NoSpace,
        libc::ENOMEM | libc::EMFILE | libc::ENFILE => IoKind::NoMemory,
        libc::ELOOP | libc::EISDIR => IoKind::NotAFile,
        _ => IoKind::Other,
    };
    IoError { kind, os_error: errno }
}

/// The same for an attempt to open: what opens answer for symlinks, pipes, sockets and devices is about what is there.
fn from_open_errno(errno: i32) -> IoError {
    match errno {
        libc::ENXIO | libc::ENODEV | libc::EOPNOTSUPP | libc::EMLINK => IoError { kind: IoKind::NotAFile, os_error: errno },
        _ => from_errno(errno),
    }
}

/// A file's name as the operating system takes it.
pub(super) struct EntryName {
    bytes: [u8; FileName::MAX_LEN + 1],
    len: usize,
}

impl EntryName {
    pub(super) fn new(name: FileName) -> Result<EntryName, IoError> {
        let mut entry = EntryName { bytes: [0; FileName::MAX_LEN + 1], len: 0 };
        write!(entry, "{name}").map_err(|_| from_errno(libc::ENAMETOOLONG))?;
        Ok(entry)
    }

    /// Ends with a zero byte: `write_str` never writes the last one.
    pub(super) fn as_ptr(&self) -> *const libc::c_char {
        self.bytes.as_ptr().cast()
    }
}

impl Write for EntryName {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        if end >= self.bytes.len() {
            return Err(fmt::Error);
        }
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// What there is to know about an open file.
pub(super) fn stat(fd: RawFd) -> Result<Stat, IoError> {
    let mut stat = MaybeUninit::<Stat>::uninit();
    // SAFETY: points to room for the answer. `fd` may be any number: a closed one is an error, not undefined.
    retry(|| unsafe { wide::fstat(fd, stat.as_mut_ptr()) }).map_err(from_errno)?;
    // SAFETY: the call succeeded, so it filled all of it.
    Ok(unsafe { stat.assume_init() })
}

/// What there is to know about a directory's entry, without following it.
pub(super) fn stat_at(directory: BorrowedFd<'_>, name: FileName) -> Result<Stat, IoError> {
    let name = EntryName::new(name)?;
    let mut stat = MaybeUninit::<Stat>::uninit();
    // SAFETY: a name that ends with a zero byte, and room for the answer.
    retry(|| unsafe { wide::fstatat(directory.as_raw_fd(), name.as_ptr(), stat.as_mut_ptr(), libc::AT_SYMLINK_NOFOLLOW) })
        .map_err(from_errno)?;
    // SAFETY: the call succeeded, so it filled all of it.
    Ok(unsafe { stat.assume_init() })
}

/// Opens a plain file and nothing else. A symlink is not followed; a pipe, which could block the open for ever, does not; both are refused.
/// `mode` matters where `flags` may create.
pub(super) fn open_at(directory: BorrowedFd<'_>, name: FileName, flags: libc::c_int, mode: u32) -> Result<OwnedFd, IoError> {
    let name = EntryName::new(name)?;
    let flags = flags | libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    // SAFETY: a name that ends with a zero byte; the mode has the type that a variadic call passes it as.
    let fd =
        retry(|| unsafe { wide::openat(directory.as_raw_fd(), name.as_ptr(), flags, mode as libc::c_uint) }).map_err(from_open_errno)?;
    // SAFETY: just opened, and nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    if stat(fd.as_raw_fd())?.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(IoError { kind: IoKind::NotAFile, os_error: 0 });
    }
    Ok(fd)
}

/// Content, and as much of the rest as is needed to read it back, is durable afterwards.
fn sync_content(fd: RawFd) -> Result<(), IoError> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // SAFETY: no pointers. A closed descriptor is an error, not undefined.
    return retry(|| unsafe { libc::fdatasync(fd) }).map(drop).map_err(from_errno);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    sync_everything(fd)
}

/// A file's or a directory's content is durable afterwards, on the medium and not only in the drive's cache.
pub(super) fn sync_everything(fd: RawFd) -> Result<(), IoError> {
    // There, `fsync` leaves the bytes in the drive's cache. Where the stronger call does not exist, the weaker one is all there is; any other
    // failure is final.
    #[cfg(target_vendor = "apple")]
    // SAFETY: no pointers.
    match retry(|| unsafe { libc::fcntl(fd, libc::F_FULLFSYNC) }) {
        Ok(_) => return Ok(()),
        Err(libc::ENOTSUP | libc::EINVAL | libc::ENOTTY) => {}
        Err(errno) => return Err(from_errno(errno)),
    }
    // SAFETY: no pointers. A closed descriptor is an error, not undefined.
    retry(|| unsafe { libc::fsync(fd) }).map(drop).map_err(from_errno)
}

/// A plain file of a log.
#[derive(Debug)]
pub struct PlainFile {
    fd: OwnedFd,
    past_cache: Option<PastCache>,
}

/// How a file is written past the system's cache.
#[derive(Debug)]
struct PastCache {
    /// The same file once more: whether the cache is used is a property of a descriptor.
    fd: OwnedFd,
    stage: Shared<Stage>,
    /// Its number there.
    number: u64,
    /// Whether something went through the cache since the last sync: then all goes that way, lest the system have to clear the cache in between.
    cached: AtomicBool,
}

impl PlainFile {
    pub(super) fn new(fd: OwnedFd) -> PlainFile {
        PlainFile { fd, past_cache: None }
    }

    /// The same, written past the cache. `direct` is another descriptor of the same file; it was opened by name, which may have got another one meanwhile.
    pub(super) fn past_cache(self, direct: OwnedFd, stage: Shared<Stage>) -> Result<PlainFile, IoError> {
        if !is_same(&stat(self.raw())?, &stat(direct.as_raw_fd())?) {
            return Err(from_errno(libc::ESTALE));
        }
        let number = stage.enter();
        Ok(PlainFile { past_cache: Some(PastCache { fd: direct, stage, number, cached: AtomicBool::new(false) }), ..self })
    }

    fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Asks for `size` bytes of space at once, which finds a full disk early and keeps the file in one piece. Where that is not to be had the
    /// writes will do.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn reserve(&self, size: u64) -> Result<(), IoError> {
        let size = position(size)?;
        // SAFETY: no pointers.
        match retry(|| unsafe { wide::fallocate(self.raw(), 0, 0, size) }) {
            Ok(_) | Err(libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS) => Ok(()),
            Err(errno) => Err(from_errno(errno)),
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn reserve(&self, _size: u64) -> Result<(), IoError> {
        Ok(())
    }
}

/// Writes `len` bytes from `bytes` at `offset`.
///
/// # Safety
/// `bytes` points to that many readable bytes, which nobody writes meanwhile.
unsafe fn write_raw(fd: RawFd, offset: u64, bytes: *const u8, len: usize) -> Result<(), IoError> {
    let mut done = 0;
    while done < len {
        let at = position(offset.saturating_add(done as u64))?;
        let count = (len - done).min(MAX_TRANSFER_BYTES);
        // SAFETY: `done + count <= len`, so all of it is the caller's readable bytes.
        let written = retry(|| unsafe { wide::pwrite(fd, bytes.add(done).cast(), count, at) }).map_err(from_errno)?;
        match usize::try_from(written) {
            // Not an answer that a plain file gives for a non-empty write; trying again could go on for ever.
            Ok(0) | Err(_) => return Err(IoError { kind: IoKind::Other, os_error: 0 }),
            Ok(written) => done += written,
        }
    }
    Ok(())
}

fn write_slice(fd: RawFd, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
    // SAFETY: a slice is readable and cannot change while it is borrowed.
    unsafe { write_raw(fd, offset, bytes.as_ptr(), bytes.len()) }
}

/// A byte offset as the operating system takes it.
fn position(offset: u64) -> Result<wide::off_t, IoError> {
    wide::off_t::try_from(offset).map_err(|_| IoError { kind: IoKind::Other, os_error: libc::EINVAL })
}

impl File for PlainFile {
    fn len(&self) -> Result<u64, IoError> {
        u64::try_from(stat(self.raw())?.st_size).map_err(|_| IoError { kind: IoKind::Other, os_error: libc::EINVAL })
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, IoError> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = position(offset.saturating_add(done as u64))?;
            let count = rest.len().min(MAX_TRANSFER_BYTES);
            // SAFETY: `rest` is writable and at least `count` bytes long.
            let read = retry(|| unsafe { wide::pread(self.raw(), rest.as_mut_ptr().cast(), count, at) }).map_err(from_errno)?;
            match usize::try_from(read) {
                Ok(0) | Err(_) => break,
                Ok(read) => done += read,
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        if let Some(PastCache { fd, stage, number, cached }) = &self.past_cache
            && !cached.load(Ordering::Relaxed)
        {
            let read = |offset, block: &mut [u8]| self.read_at(offset, block);
            let write = |offset, blocks: &[u8]| {
                write_slice(fd.as_raw_fd(), offset, blocks).inspect_err(|_| {
                    // Some file systems (btrfs) also tell the next who syncs the file, which would be the next opening. Each descriptor is told by itself, so
                    // that nothing is taken away from a sync of the other one.
                    let _told_now = sync_content(fd.as_raw_fd());
                })
            };
            if let Some(written) = stage.write(*number, offset, bytes, read, write) {
                return written;
            }
            cached.store(true, Ordering::Relaxed);
        }
        write_slice(self.raw(), offset, bytes)
    }

    fn fill_zeros(&self, size: u64) -> Result<(), IoError> {
        self.reserve(size)?;
        // Reserved space still has to be recorded as written when something is first written into it. Writing it now makes later syncs cheap, and
        // free of failures of that record.
        let mut offset = 0;
        while offset < size {
            let count = usize::try_from(size - offset).unwrap_or(ZEROS_BYTES).min(ZEROS_BYTES);
            // SAFETY: `count` bytes of a static array as long as `ZEROS_BYTES`, whose elements are bytes in memory and never stored to.
            unsafe { write_raw(self.raw(), offset, ZEROS.as_ptr().cast(), count)? };
            offset += count as u64;
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), IoError> {
        if let Some(past_cache) = &self.past_cache {
            past_cache.cached.store(false, Ordering::Relaxed);
        }
        sync_content(self.raw())
    }

    fn drop_cache(&self) {
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
        // SAFETY: no pointers. The answer does not matter: this is a wish.
        unsafe {
            wide::posix_fadvise(self.raw(), 0, 0, libc::POSIX_FADV_DONTNEED)
        };
    }
}

/// Whether two answers are about the same file.
pub(super) fn is_same(one: &Stat, other: &Stat) -> bool {
    one.st_dev == other.st_dev && one.st_ino == other.st_ino
}

/// Opens `path`, a directory, for use as the base of names.
pub(super) fn open_directory(base: RawFd, path: &CStr) -> Result<OwnedFd, i32> {
    open_path(base, path, libc::O_RDONLY | libc::O_DIRECTORY, 0)
}

/// Opens a file without a name in `directory`, which is gone when it is closed.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn open_nameless(directory: RawFd, flags: libc::c_int) -> Result<OwnedFd, i32> {
    open_path(directory, c".", flags | libc::O_TMPFILE | libc::O_RDWR, 0o600)
}

/// `mode` matters where `flags` may create.
fn open_path(base: RawFd, path: &CStr, flags: libc::c_int, mode: libc::c_uint) -> Result<OwnedFd, i32> {
    // SAFETY: a string that ends with a zero byte; the mode has the type that a variadic call passes it as.
    let fd = retry(|| unsafe { wide::openat(base, path.as_ptr(), flags | libc::O_CLOEXEC, mode) })?;
    // SAFETY: just opened, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
