//! Real files: a directory of the operating system. The only place in this crate with `unsafe` and with calls into the C library.
//!
//! Everything happens relative to one descriptor of the directory, so that renaming a directory above, or changing the working directory,
//! does not move the log. Descriptors are close-on-exec. Nothing but listing a directory and starting a thread allocates, and the first lock of
//! a process may; a refusal is an error.

mod clock;
mod direct;
mod file;
pub mod fork;
mod thread;
mod wide;

use core::ffi::CStr;
use core::ptr::NonNull;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::time::Duration;

pub use self::clock::unix_time_us;
use self::direct::Stage;
use self::file::{EntryName, errno, is_same, open_at, open_directory, open_nameless, retry, stat, stat_at, sync_everything};
pub use self::file::{PlainFile, from_errno};
use self::fork::LockDescriptor;
pub use self::thread::Thread;
use crate::error::{Code, Error};
use crate::memory::Shared;
use crate::names::FileName;
use crate::storage::{Access, IoError, IoKind, LockKind, Storage};

const DEFAULT_DIRECTORY_MODE: u32 = 0o700;
const DEFAULT_FILE_MODE: u32 = 0o600;
/// Permission bits, and the sticky, set-group-id and set-user-id bits.
const MODE_BITS: u32 = 0o7777;
const EXECUTE_BITS: u32 = 0o7111;
/// How often a lock file that was replaced while it was being locked is locked anew.
const LOCK_ATTEMPTS: u32 = 10;
/// How often, and how many microseconds apart, the pins' lock is asked for: five seconds. Whoever holds it holds it for a few syncs.
const PINS_ATTEMPTS: u32 = 5000;
const PINS_PAUSE_US: u64 = 1000;
/// Most random bytes that every system gives in one call.
const RANDOM_BYTES: usize = 256;

/// Who may use what the log creates, as permission bits. As with `open(2)` and `mkdir(2)`, the process's umask takes bits away and nothing
/// adds any; what exists already keeps its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Modes {
    /// For the directory; 0 = 0700.
    pub directory: u32,
    /// For the files; 0 = 0600.
    pub file: u32,
}

impl Modes {
    fn directory(self) -> u32 {
        if self.directory == 0 { DEFAULT_DIRECTORY_MODE } else { self.directory & MODE_BITS }
    }

    fn file(self) -> u32 {
        if self.file == 0 { DEFAULT_FILE_MODE } else { self.file & MODE_BITS }
    }
}

/// A directory of real files.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    file_mode: u32,
    /// What segments are written from past the system's cache, if they are.
    stage: Option<Shared<Stage>>,
    /// Last, so that it is given back last.
    lock: OnceLock<LockDescriptor>,
}

impl Directory {
    /// Opens the directory `path`. With `create`, one that is missing is made, but not its parents, and its name is durable afterwards; so is the
    /// name of a directory that was there and holds no log yet, as far as its parent may be read.
    pub fn open(path: &CStr, create: bool, modes: Modes) -> Result<Directory, Error> {
        let (fd, made) = match open_directory(libc::AT_FDCWD, path) {
            Err(libc::ENOENT) if create => {
                make_directory(path, modes.directory())?;
                (open_directory(libc::AT_FDCWD, path).map_err(cannot_open)?, true)
            }
            opened => (opened.map_err(cannot_open)?, false),
        };
        let directory = Directory { fd, file_mode: modes.file(), stage: None, lock: OnceLock::new() };
        if create && (made || directory.has_no_log()) {
            directory.sync_name(made)?;
        }
        Ok(directory)
    }

    /// The directory of a log that is there, for one who adds files to it: whoever may use the manifest may use them.
    pub fn of_log(path: &CStr) -> Result<Directory, Error> {
        let mut directory = Directory::open(path, false, Modes::default())?;
        if let Ok(manifest) = stat_at(directory.fd(), FileName::Manifest) {
            #[allow(clippy::unnecessary_cast)] // It is narrower on other systems.
            let mode = manifest.st_mode as u32;
            directory.file_mode = mode & MODE_BITS & !EXECUTE_BITS;
        }
        Ok(directory)
    }

    /// Whoever made the directory of a log that is not begun may have died, or never thought, to sync its name.
    fn has_no_log(&self) -> bool {
        matches!(stat_at(self.fd(), FileName::Manifest), Err(IoError { kind: IoKind::NotFound, .. }))
    }

    /// Makes the directory's own name durable, which is an entry of its parent. A parent that may be used but not read cannot be synced: an
    /// error only if the name is known to be new.
    fn sync_name(&self, new: bool) -> Result<(), Error> {
        match open_directory(self.raw(), c"..") {
            Ok(parent) => sync_everything(parent.as_raw_fd())
                .map_err(|error| error.in_directory("the parent directory cannot be synced, so the new directory might not survive a power cut")),
            Err(errno) if new => Err(from_errno(errno).in_directory(
                "the parent directory cannot be opened to make the new directory durable: allow reading it, or create and sync the directory first",
            )),
            Err(_) => Ok(()),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// From now on segments are written past the system's cache: for those who sync what they write. Refused where the system or the file system has no
    /// way to do so, or none for blocks as small as those of the log; that is found out without leaving anything behind.
    pub fn write_past_cache(&mut self) -> Result<(), Error> {
        let stage = Stage::new()?;
        if self.refuses_direct(&stage) {
            let what = "WAL_OPTION_DIRECT: files in this directory cannot be written past the system's cache; open the log without it";
            return Err(Error::new(Code::Invalid, what).in_directory().os(libc::EINVAL));
        }
        self.stage = Some(Shared::new(stage)?);
        Ok(())
    }

    /// Whether opening a file for that is an invalid argument here, or a block. What cannot be found out is for the opening of the first segment to say.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn refuses_direct(&self, stage: &Stage) -> bool {
        use crate::storage::File;
        let tried = match open_at(self.fd(), FileName::Manifest, libc::O_RDONLY | libc::O_DIRECT, 0).map(PlainFile::new) {
            // From a file that ends within the block it would be read in two steps, and no second step begins there.
            Ok(manifest) if manifest.len().is_ok_and(|len| len >= direct::BLOCK_BYTES as u64) => {
                stage.try_out(|block| manifest.read_at(0, block).map(drop))
            }
            Err(IoError { kind: IoKind::NotFound, .. }) => open_nameless(self.raw(), libc::O_DIRECT)
                .map_err(from_errno)
                .and_then(|file| stage.try_out(|block| PlainFile::new(file).write_at(0, block))),
            opened => opened.map(drop),
        };
        matches!(tried, Err(IoError { os_error: libc::EINVAL, .. }))
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn refuses_direct(&self, _stage: &Stage) -> bool {
        true
    }

    /// `file`, just opened under `name` to be written, as this directory writes files.
    fn past_cache(&self, name: FileName, file: OwnedFd) -> Result<PlainFile, IoError> {
        let plain = PlainFile::new(file);
        let (Some(stage), FileName::Segment(_) | FileName::Spare(_)) = (&self.stage, name) else { return Ok(plain) };
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let plain = plain.past_cache(open_at(self.fd(), name, libc::O_WRONLY | libc::O_DIRECT, 0)?, stage.clone())?;
        Ok(plain)
    }

    /// Opens and locks a lock file; `None` if its name meanwhile belongs to another file, or to none, so that the lock means nothing.
    fn try_lock(&self, name: FileName, flags: libc::c_int, operation: libc::c_int) -> Result<Option<LockDescriptor>, IoError> {
        let lock = LockDescriptor::register(|| open_at(self.fd(), name, flags, self.file_mode))?;
        // SAFETY: no pointers; the descriptor is open as long as `lock` lives.
        match retry(|| unsafe { libc::flock(lock.number(), operation | libc::LOCK_NB) }) {
            Ok(_) => {}
            Err(libc::EWOULDBLOCK) => return Err(IoError { kind: IoKind::Locked, os_error: libc::EWOULDBLOCK }),
            Err(errno) => return Err(from_errno(errno)),
        }
        match stat_at(self.fd(), name) {
            Ok(named) if is_same(&named, &stat(lock.number())?) => Ok(Some(lock)),
            Ok(_) | Err(IoError { kind: IoKind::NotFound, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn make_directory(path: &CStr, mode: u32) -> Result<(), Error> {
    // SAFETY: a string that ends with a zero byte.
    match retry(|| unsafe { libc::mkdir(path.as_ptr(), mode as libc::mode_t) }) {
        // If it exists by now, somebody else made it at this moment, and its name may not be durable yet: treated as made here.
        Ok(_) | Err(libc::EEXIST) => Ok(()),
        Err(errno) => Err(from_errno(errno).in_directory(match errno {
            libc::ENOENT => "the parent directory does not exist: create it first, only the last level is made",
            libc::ENOTDIR => "a part of the path is not a directory: correct the path",
            libc::EACCES | libc::EPERM => "permission to create the directory is denied: allow it, or create the directory first",
            libc::EROFS => "the directory cannot be created on a read-only file system: choose another place",
            libc::ENOSPC | libc::EDQUOT => "no space to create the directory: free some",
            _ => "the directory cannot be created: see the system's error number",
        })),
    }
}

fn cannot_open(errno: i32) -> Error {
    let what = match errno {
        libc::ENOENT => "the directory does not exist: check the path",
        libc::ENOTDIR => "the path, or a part of it, is not a directory: name a directory",
        libc::EACCES | libc::EPERM => "permission to open the directory is denied: it must be readable and searchable",
        libc::ELOOP => "the path has too many symbolic links: correct the path",
        libc::EMFILE | libc::ENFILE => "too many open files: raise the limit, or close some",
        _ => "the directory cannot be opened: see the system's error number",
    };
    let kind = if errno == libc::ELOOP { IoKind::Other } else { from_errno(errno).kind };
    IoError { kind, os_error: errno }.in_directory(what)
}

/// The pins' lock, held.
#[derive(Debug)]
pub struct PinsLock {
    _descriptor: LockDescriptor,
}

impl Storage for Directory {
    type File = PlainFile;
    type PinsLock = PinsLock;

    fn lock(&self, kind: LockKind) -> Result<(), IoError> {
        let (flags, operation) = match kind {
            LockKind::Shared => (libc::O_RDONLY, libc::LOCK_SH),
            LockKind::Exclusive => (libc::O_RDWR | libc::O_CREAT, libc::LOCK_EX),
        };
        for _ in 0..LOCK_ATTEMPTS {
            match self.try_lock(FileName::Lock, flags, operation) {
                Ok(Some(lock)) => {
                    // A second call, which the contract rules out, can only have shared the first one's lock: either will do.
                    let _ = self.lock.set(lock);
                    return Ok(());
                }
                Ok(None) => {}
                Err(IoError { kind: IoKind::NotFound, .. }) if kind == LockKind::Shared => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Err(from_errno(libc::ESTALE))
    }

    fn lock_pins(&self, create: bool) -> Result<PinsLock, IoError> {
        let flags = libc::O_RDWR | if create { libc::O_CREAT } else { 0 };
        wait_for_pins(|| self.try_lock(FileName::Pins, flags, libc::LOCK_EX)).map(|descriptor| PinsLock { _descriptor: descriptor })
    }

    fn list(&self, each: &mut dyn FnMut(FileName)) -> Result<(), IoError> {
        let mut entries = Entries::open(self.raw())?;
        while let Some(name) = entries.next()? {
            if let Some(name) = FileName::parse(name.to_bytes()) {
                each(name);
            }
        }
        Ok(())
    }

    fn create(&self, name: FileName) -> Result<PlainFile, IoError> {
        let file = open_at(self.fd(), name, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, self.file_mode)?;
        self.past_cache(name, file).inspect_err(|_| {
            // Where descriptors are short, every attempt would leave another empty file.
            let _may_fail = self.remove(name);
        })
    }

    fn open(&self, name: FileName, access: Access) -> Result<PlainFile, IoError> {
        match access {
            Access::Read => open_at(self.fd(), name, libc::O_RDONLY, 0).map(PlainFile::new),
            Access::Write => self.past_cache(name, open_at(self.fd(), name, libc::O_RDWR, 0)?),
        }
    }

    fn rename(&self, from: FileName, to: FileName) -> Result<(), IoError> {
        let (from_entry, to_entry) = (EntryName::new(from)?, EntryName::new(to)?);
        match rename_exclusively(self.raw(), &from_entry, &to_entry) {
            // Unknown to the kernel or the file system, or forbidden by a sandbox that knows no better.
            Err(libc::EINVAL | libc::ENOSYS | libc::ENOTSUP | libc::EPERM) => {}
            outcome => return outcome.map_err(from_errno),
        }
        // Not atomic, but only the holder of the lock has business here, and it renames a file from one thread at a time.
        match stat_at(self.fd(), to) {
            Ok(_) => return Err(from_errno(libc::EEXIST)),
            Err(IoError { kind: IoKind::NotFound, .. }) => {}
            Err(error) => return Err(error),
        }
        // SAFETY: names that end with a zero byte.
        retry(|| unsafe { libc::renameat(self.raw(), from_entry.as_ptr(), self.raw(), to_entry.as_ptr()) }).map(drop).map_err(from_errno)
    }

    fn remove(&self, name: FileName) -> Result<(), IoError> {
        let name = EntryName::new(name)?;
        // SAFETY: a name that ends with a zero byte.
        retry(|| unsafe { libc::unlinkat(self.raw(), name.as_ptr(), 0) }).map(drop).map_err(from_errno)
    }

    fn sync_dir(&self) -> Result<(), IoError> {
        sync_everything(self.raw())
    }

    fn random(&self, out: &mut [u8]) -> Result<(), IoError> {
        random(out)
    }
}

/// Asks for the pins' lock until `try_lock` has it, meets an error other than that somebody holds it, or has been asked often enough: then that is the
/// error. `None` stands for a lock that meant nothing, which is asked for again at once.
pub fn wait_for_pins<L>(mut try_lock: impl FnMut() -> Result<Option<L>, IoError>) -> Result<L, IoError> {
    for _ in 0..PINS_ATTEMPTS {
        match try_lock() {
            Ok(Some(lock)) => return Ok(lock),
            Ok(None) => {}
            Err(IoError { kind: IoKind::Locked, .. }) => std::thread::sleep(Duration::from_micros(PINS_PAUSE_US)),
            Err(error) => return Err(error),
        }
    }
    Err(IoError { kind: IoKind::Locked, os_error: libc::EWOULDBLOCK })
}

/// Fills `out` with the system's random bytes.
pub fn random(out: &mut [u8]) -> Result<(), IoError> {
    for piece in out.chunks_mut(RANDOM_BYTES) {
        fill_random(piece).map_err(from_errno)?;
    }
    Ok(())
}

/// Renames over nothing, as one step; an error means that nothing was renamed.
fn rename_exclusively(directory: RawFd, from: &EntryName, to: &EntryName) -> Result<(), i32> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // The bare system call, because older C libraries have no function for it.
    // SAFETY: names that end with a zero byte; the arguments are as wide as the kernel reads them, or widened by the call.
    return retry(|| unsafe {
        libc::syscall(libc::SYS_renameat2, directory, from.as_ptr(), directory, to.as_ptr(), libc::RENAME_NOREPLACE)
    })
    .map(drop);
    #[cfg(target_vendor = "apple")]
    // SAFETY: names that end with a zero byte.
    return retry(|| unsafe { libc::renameatx_np(directory, from.as_ptr(), directory, to.as_ptr(), libc::RENAME_EXCL) }).map(drop);
    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    {
        let _ = (directory, from, to);
        Err(libc::ENOSYS)
    }
}

/// Fills `piece`, which is at most `RANDOM_BYTES` long.
fn fill_random(piece: &mut [u8]) -> Result<(), i32> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let mut done = 0;
        while let Some(rest) = piece.get_mut(done..).filter(|rest| !rest.is_empty()) {
            // SAFETY: `rest` is writable and as long as said.
            let got = retry(|| unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) })?;
            done += usize::try_from(got).map_err(|_| libc::EIO)?;
        }
        Ok(())
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    // SAFETY: `piece` is writable and as long as said.
    retry(|| unsafe { libc::getentropy(piece.as_mut_ptr().cast(), piece.len()) }).map(drop)
}

/// The names in a directory.
struct Entries {
    stream: NonNull<libc::DIR>,
}

impl Entries {
    /// Opens the directory anew: a duplicate of the descriptor would share its position with every other listing.
    fn open(directory: RawFd) -> Result<Entries, IoError> {
        let fd = open_directory(directory, c".").map_err(from_errno)?;
        // SAFETY: an open directory, which the stream owns if there is one.
        match NonNull::new(unsafe { libc::fdopendir(fd.as_raw_fd()) }) {
            Some(stream) => {
                let _ = fd.into_raw_fd();
                Ok(Entries { stream })
            }
            None => Err(from_errno(errno())),
        }
    }

    /// The next name, valid until the next call; `None` at the end.
    fn next(&mut self) -> Result<Option<&CStr>, IoError> {
        clear_errno();
        // SAFETY: an open stream that only `self` uses.
        let entry = unsafe { wide::readdir(self.stream.as_ptr()) };
        if entry.is_null() {
            // The end and an error look alike but for this number.
            return match errno() {
                0 => Ok(None),
                errno => Err(from_errno(errno)),
            };
        }
        // SAFETY: an entry's name ends with a zero byte and stays until the stream is read again or closed, which needs `self`. No reference to the
        // whole entry is formed: the system may give fewer bytes than the type has.
        Ok(Some(unsafe { CStr::from_ptr((&raw const (*entry).d_name).cast()) }))
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        // SAFETY: an open stream that nobody uses afterwards.
        unsafe { libc::closedir(self.stream.as_ptr()) };
    }
}

/// Sets the calling thread's `errno` to 0.
fn clear_errno() {
    #[cfg(any(target_os = "android", target_os = "netbsd", target_os = "openbsd"))]
    use libc::__errno as location;
    #[cfg(target_os = "linux")]
    use libc::__errno_location as location;
    #[cfg(any(target_vendor = "apple", target_os = "freebsd", target_os = "dragonfly"))]
    use libc::__error as location;
    // SAFETY: the address of this thread's number, valid as long as the thread.
    unsafe { *location() = 0 };
}
