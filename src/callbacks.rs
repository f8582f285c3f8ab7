//! The engine's storage on a host's own file layer: the only file that calls what `wal_storage_t` names.
//!
//! Nothing that a callback answers is believed before it is looked at. What is no answer at all (a count above what was asked for, a positive error
//! number, a file that is NULL) counts as the error number of a broken protocol, which no file layer has a reason to use.
//!
//! Every call below is sound for the same reason: the functions and their context are good as long as the table, and may be called from any thread, by
//! the promise of whoever opened the log; strings end with a zero byte and memory is as long as said.

use core::ffi::{CStr, c_char, c_void};
use core::fmt::Write;
use core::ptr::{NonNull, null_mut};
use core::slice;
use std::sync::OnceLock;

use wal_engine::error::Error;
use wal_engine::memory::{self, Shared};
use wal_engine::names::FileName;
use wal_engine::storage::posix::{self, from_errno};
use wal_engine::storage::{Access, File, IoError, IoKind, LockKind, Storage, write_zeros};

use crate::check::invalid;
use crate::storage::{WAL_STORAGE_CREATE, WAL_STORAGE_READ_ONLY, WAL_STORAGE_SHARED, WalStorage, WalStorageEach};
use crate::text::Text;

/// The largest error number that any system has.
const MAX_ERRNO: i64 = 4095;
/// Most bytes in one read or write, so that every layer can count them.
const MAX_TRANSFER_BYTES: usize = 1 << 30;
/// The longest name that a directory may have an entry of.
const MAX_NAME_LEN: usize = 255;

/// An answer that the header does not know.
const NO_ANSWER: IoError = IoError { kind: IoKind::Other, os_error: libc::EPROTO };

/// What a function answered that has nothing to tell but whether it succeeded.
fn done(answer: i32) -> Result<(), IoError> {
    count(answer.into(), 0).map(drop)
}

/// What a function answered that tells a number, at most `most`.
#[inline]
fn count(answer: i64, most: u64) -> Result<u64, IoError> {
    match u64::try_from(answer) {
        Ok(count) if count <= most => Ok(count),
        Err(_) if answer >= -MAX_ERRNO => Err(from_errno(answer.unsigned_abs() as i32)),
        _ => Err(NO_ANSWER),
    }
}

/// The same of a function that was given an open file: that no file has some name, or that one has, is nothing that could be said of it.
fn of_file(answer: i64, most: u64) -> Result<u64, IoError> {
    count(answer, most).map_err(|io| match io.kind {
        IoKind::NotFound | IoKind::Exists | IoKind::NotAFile => IoError { kind: IoKind::Other, ..io },
        _ => io,
    })
}

type Context = *mut c_void;
type Path = *const c_char;

/// The functions of a `wal_storage_t`, all there, with their context and the directory that they are to work on.
struct Table {
    context: Context,
    /// Ends with a zero byte.
    dir: Vec<u8>,
    make_dir: unsafe extern "C" fn(Context, Path) -> i32,
    list: unsafe extern "C" fn(Context, Path, WalStorageEach, *mut c_void) -> i32,
    open: unsafe extern "C" fn(Context, Path, Path, u32, *mut *mut c_void) -> i32,
    close: unsafe extern "C" fn(Context, *mut c_void),
    size: unsafe extern "C" fn(Context, *mut c_void) -> i64,
    read: unsafe extern "C" fn(Context, *mut c_void, u64, *mut c_void, usize) -> i64,
    write: unsafe extern "C" fn(Context, *mut c_void, u64, *const c_void, usize) -> i64,
    sync: unsafe extern "C" fn(Context, *mut c_void) -> i32,
    drop_cache: Option<unsafe extern "C" fn(Context, *mut c_void)>,
    rename: unsafe extern "C" fn(Context, Path, Path, Path) -> i32,
    remove: unsafe extern "C" fn(Context, Path, Path) -> i32,
    sync_dir: unsafe extern "C" fn(Context, Path) -> i32,
    lock: unsafe extern "C" fn(Context, Path, Path, u32, *mut *mut c_void) -> i32,
    unlock: unsafe extern "C" fn(Context, *mut c_void),
    random: Option<unsafe extern "C" fn(Context, *mut c_void, usize) -> i32>,
}

// SAFETY: the header says that the log calls from any thread, so the host made functions and context for that.
unsafe impl Send for Table {}
// SAFETY: as above; it says, too, that calls come at the same time.
unsafe impl Sync for Table {}

impl Table {
    fn new(storage: &WalStorage, dir: &CStr) -> Result<Table, Error> {
        Ok(Table {
            context: storage.context,
            dir: memory::collect(dir.to_bytes_with_nul().iter().copied())?,
            make_dir: storage.make_dir.ok_or(invalid("storage->make_dir is NULL"))?,
            list: storage.list.ok_or(invalid("storage->list is NULL"))?,
            open: storage.open.ok_or(invalid("storage->open is NULL"))?,
            close: storage.close.ok_or(invalid("storage->close is NULL"))?,
            size: storage.size.ok_or(invalid("storage->size is NULL"))?,
            read: storage.read.ok_or(invalid("storage->read is NULL"))?,
            write: storage.write.ok_or(invalid("storage->write is NULL"))?,
            sync: storage.sync.ok_or(invalid("storage->sync is NULL"))?,
            drop_cache: storage.drop_cache,
            rename: storage.rename.ok_or(invalid("storage->rename is NULL"))?,
            remove: storage.remove.ok_or(invalid("storage->remove is NULL"))?,
            sync_dir: storage.sync_dir.ok_or(invalid("storage->sync_dir is NULL"))?,
            lock: storage.lock.ok_or(invalid("storage->lock is NULL"))?,
            unlock: storage.unlock.ok_or(invalid("storage->unlock is NULL"))?,
            random: storage.random,
        })
    }

    fn dir(&self) -> Path {
        self.dir.as_ptr().cast()
    }
}

/// A file's name as C takes it.
struct EntryName(Text<{ FileName::MAX_LEN + 1 }>);

impl EntryName {
    fn new(name: FileName) -> EntryName {
        let mut text = Text::new();
        let _ = write!(text, "{name}"); // It fits.
        EntryName(text)
    }

    fn as_ptr(&self) -> Path {
        self.0.bytes().as_ptr().cast()
    }
}

/// A directory of a host's file layer.
pub(crate) struct HostDirectory {
    /// First, so that it is given back before the functions go.
    lock: OnceLock<HostLock>,
    table: Shared<Table>,
}

impl HostDirectory {
    /// The directory `dir`. With `create`, it is made if it is not there.
    pub(crate) fn open(storage: &WalStorage, dir: &CStr, create: bool) -> Result<HostDirectory, Error> {
        let table = Table::new(storage, dir)?;
        if create {
            // SAFETY: see the head of this file.
            let made = done(unsafe { (table.make_dir)(table.context, table.dir()) });
            made.map_err(|io| io.in_directory("the storage cannot make the directory"))?;
        }
        Ok(HostDirectory { lock: OnceLock::new(), table: Shared::new(table)? })
    }

    fn open_file(&self, name: FileName, flags: u32) -> Result<HostFile, IoError> {
        let (table, name) = (&*self.table, EntryName::new(name));
        let mut handle = null_mut();
        // SAFETY: see the head of this file; `handle` is room for the answer.
        done(unsafe { (table.open)(table.context, table.dir(), name.as_ptr(), flags, &raw mut handle) })?;
        Ok(HostFile { handle: NonNull::new(handle).ok_or(NO_ANSWER)?, table: self.table.clone() })
    }

    fn take_lock(&self, name: FileName, flags: u32) -> Result<HostLock, IoError> {
        let (table, name) = (&*self.table, EntryName::new(name));
        let mut handle = null_mut();
        // SAFETY: see the head of this file; `handle` is room for the answer.
        match done(unsafe { (table.lock)(table.context, table.dir(), name.as_ptr(), flags, &raw mut handle) }) {
            Ok(()) => Ok(HostLock { handle, table: self.table.clone() }),
            Err(IoError { os_error: libc::EAGAIN, .. }) => Err(IoError { kind: IoKind::Locked, os_error: libc::EAGAIN }),
            Err(error) => Err(error),
        }
    }
}

impl Storage for HostDirectory {
    type File = HostFile;
    type PinsLock = HostLock;

    fn lock(&self, kind: LockKind) -> Result<(), IoError> {
        let flags = if kind == LockKind::Shared { WAL_STORAGE_SHARED } else { 0 };
        match self.take_lock(FileName::Lock, flags) {
            Ok(lock) => {
                // Called at most once.
                let _ = self.lock.set(lock);
                Ok(())
            }
            Err(IoError { kind: IoKind::NotFound, .. }) if kind == LockKind::Shared => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The file says that there may be pins. The lock is the layer's, and need not be one of files.
    fn lock_pins(&self, create: bool) -> Result<HostLock, IoError> {
        match self.open_file(FileName::Pins, if create { WAL_STORAGE_CREATE } else { WAL_STORAGE_READ_ONLY }) {
            Ok(_) => {}
            Err(IoError { kind: IoKind::Exists, .. }) if create => {}
            Err(error) => return Err(error),
        }
        posix::wait_for_pins(|| self.take_lock(FileName::Pins, 0).map(Some))
    }

    fn list(&self, each: &mut dyn FnMut(FileName)) -> Result<(), IoError> {
        let table = &*self.table;
        let mut listing = Listing { names: Vec::new(), outcome: Ok(()) };
        // SAFETY: see the head of this file; `listing` is what `take_name` expects, and stays until the function has returned.
        let answer = unsafe { (table.list)(table.context, table.dir(), Some(take_name), (&raw mut listing).cast()) };
        listing.outcome?;
        done(answer)?;
        // A layer may name a file twice, as those do that are changed meanwhile.
        listing.names.sort_unstable();
        listing.names.dedup();
        listing.names.into_iter().for_each(each);
        Ok(())
    }

    fn create(&self, name: FileName) -> Result<HostFile, IoError> {
        self.open_file(name, WAL_STORAGE_CREATE)
    }

    fn open(&self, name: FileName, access: Access) -> Result<HostFile, IoError> {
        self.open_file(name, if access == Access::Read { WAL_STORAGE_READ_ONLY } else { 0 })
    }

    /// Most layers would replace a file of the new name, so it is looked whether there is one. Not atomic, but only the holder of the lock has business
    /// here, and it renames a file from one thread at a time.
    fn rename(&self, from: FileName, to: FileName) -> Result<(), IoError> {
        match self.open(to, Access::Read) {
            Ok(_) => return Err(from_errno(libc::EEXIST)),
            Err(IoError { kind: IoKind::NotFound, .. }) => {}
            Err(error) => return Err(error),
        }
        let (table, from, to) = (&*self.table, EntryName::new(from), EntryName::new(to));
        // SAFETY: see the head of this file.
        done(unsafe { (table.rename)(table.context, table.dir(), from.as_ptr(), to.as_ptr()) })
    }

    fn remove(&self, name: FileName) -> Result<(), IoError> {
        let (table, name) = (&*self.table, EntryName::new(name));
        // SAFETY: see the head of this file.
        done(unsafe { (table.remove)(table.context, table.dir(), name.as_ptr()) })
    }

    fn sync_dir(&self) -> Result<(), IoError> {
        let table = &*self.table;
        // SAFETY: see the head of this file.
        done(unsafe { (table.sync_dir)(table.context, table.dir()) })
    }

    fn random(&self, out: &mut [u8]) -> Result<(), IoError> {
        match self.table.random {
            // SAFETY: see the head of this file.
            Some(random) => done(unsafe { random(self.table.context, out.as_mut_ptr().cast(), out.len()) }),
            None => posix::random(out),
        }
    }
}

/// A listing that is under way.
struct Listing {
    names: Vec<FileName>,
    outcome: Result<(), IoError>,
}

/// What a host's `list` calls with each name. Nothing in it panics: that could not unwind through the host's function.
unsafe extern "C" fn take_name(names: *mut c_void, name: *const c_char) {
    // SAFETY: the host hands back what it was given, on the same thread and before its function returns, by its promise; NULL is noticed.
    let Some(listing) = (unsafe { names.cast::<Listing>().as_mut() }) else {
        return;
    };
    if listing.outcome.is_err() {
        return;
    }
    // SAFETY: NULL or a string, by the host's promise.
    let Some(name) = (unsafe { entry(name) }) else {
        listing.outcome = Err(NO_ANSWER);
        return;
    };
    if let Some(name) = FileName::parse(name) {
        listing.outcome = memory::push(&mut listing.names, name).map_err(|_| IoError { kind: IoKind::NoMemory, os_error: 0 });
    }
}

/// The bytes of a name, unless it is none that an entry of a directory can have. Nothing behind its zero byte is read, nor behind the longest name.
///
/// # Safety
/// NULL, or readable up to the first zero byte.
unsafe fn entry<'a>(name: *const c_char) -> Option<&'a [u8]> {
    let start = NonNull::new(name.cast_mut())?.as_ptr().cast::<u8>();
    // SAFETY: no byte before this one was zero, so it can be read.
    let len = (0..=MAX_NAME_LEN).find(|&at| unsafe { *start.add(at) } == 0)?;
    // SAFETY: just read.
    let name = unsafe { slice::from_raw_parts(start, len) };
    (!name.is_empty() && !name.contains(&b'/')).then_some(name)
}

/// A lock of a host's file layer, held.
pub(crate) struct HostLock {
    handle: *mut c_void,
    table: Shared<Table>,
}

// SAFETY: the host gets it back on whichever thread ends the use, as the header says.
unsafe impl Send for HostLock {}
// SAFETY: as above; nothing is done with it but that.
unsafe impl Sync for HostLock {}

impl Drop for HostLock {
    fn drop(&mut self) {
        // SAFETY: see the head of this file; held, and given back once.
        unsafe { (self.table.unlock)(self.table.context, self.handle) };
    }
}

/// A file of a host's file layer, open.
pub(crate) struct HostFile {
    handle: NonNull<c_void>,
    table: Shared<Table>,
}

// SAFETY: the header says that any thread may use it.
unsafe impl Send for HostFile {}
// SAFETY: as above; several at the same time, too.
unsafe impl Sync for HostFile {}

impl Drop for HostFile {
    fn drop(&mut self) {
        // SAFETY: see the head of this file; open, and closed once.
        unsafe { (self.table.close)(self.table.context, self.handle.as_ptr()) };
    }
}

// Out of line, so that a write to one of the system's files costs a comparison more and nothing else.
impl File for HostFile {
    fn len(&self) -> Result<u64, IoError> {
        let table = &*self.table;
        // SAFETY: see the head of this file.
        of_file(unsafe { (table.size)(table.context, self.handle.as_ptr()) }, i64::MAX as u64)
    }

    #[cold]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, IoError> {
        let table = &*self.table;
        let mut read = 0;
        while let Some(rest) = buf.get_mut(read..).filter(|rest| !rest.is_empty()) {
            let at = offset.checked_add(read as u64).ok_or(from_errno(libc::EINVAL))?;
            let most = rest.len().min(MAX_TRANSFER_BYTES);
            // SAFETY: see the head of this file; `rest` is writable and at least `most` bytes long.
            let answer = unsafe { (table.read)(table.context, self.handle.as_ptr(), at, rest.as_mut_ptr().cast(), most) };
            match of_file(answer, most as u64)? {
                0 => break,
                more => read += more as usize,
            }
        }
        Ok(read)
    }

    #[cold]
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        let table = &*self.table;
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            let at = offset.checked_add(written as u64).ok_or(from_errno(libc::EFBIG))?;
            let most = rest.len().min(MAX_TRANSFER_BYTES);
            // SAFETY: see the head of this file; `rest` is readable and at least `most` bytes long.
            let answer = unsafe { (table.write)(table.context, self.handle.as_ptr(), at, rest.as_ptr().cast(), most) };
            match of_file(answer, most as u64)? {
                // Trying again could go on for ever.
                0 => return Err(NO_ANSWER),
                more => written += more as usize,
            }
        }
        Ok(())
    }

    fn fill_zeros(&self, size: u64) -> Result<(), IoError> {
        write_zeros(self, 0, size)
    }

    #[cold]
    fn sync(&self) -> Result<(), IoError> {
        let table = &*self.table;
        // SAFETY: see the head of this file.
        of_file(unsafe { (table.sync)(table.context, self.handle.as_ptr()) }.into(), 0).map(drop)
    }

    fn drop_cache(&self) {
        if let Some(drop_cache) = self.table.drop_cache {
            // SAFETY: see the head of this file.
            unsafe { drop_cache(self.table.context, self.handle.as_ptr()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_header_knows_is_an_answer() {
        assert_eq!((done(0), count(0, 8), count(8, 8)), (Ok(()), Ok(0), Ok(8)));
        assert_eq!(done(-libc::ENOSPC), Err(IoError { kind: IoKind::NoSpace, os_error: libc::ENOSPC }));
        assert_eq!(count(-i64::from(libc::EIO), 8), Err(IoError { kind: IoKind::Other, os_error: libc::EIO }));
        for answer in [1, libc::EIO, i32::MAX, i32::MIN, -4096] {
            assert_eq!(done(answer), Err(NO_ANSWER), "{answer}");
        }
        for answer in [9, i64::MAX, i64::MIN, -4096, -(1 << 32) - 5] {
            assert_eq!(count(answer, 8), Err(NO_ANSWER), "{answer}");
        }
        for (errno, kind) in [(libc::ENOENT, IoKind::NotFound), (libc::EEXIST, IoKind::Exists), (libc::EISDIR, IoKind::NotAFile)] {
            assert_eq!(done(-errno), Err(IoError { kind, os_error: errno }));
            assert_eq!(of_file((-errno).into(), 8), Err(IoError { kind: IoKind::Other, os_error: errno }));
        }
        assert_eq!(of_file((-libc::ENOSPC).into(), 8), done(-libc::ENOSPC).map(|()| 0));
    }

    #[test]
    fn only_names_of_entries_are_names() {
        // SAFETY: strings, NULL, and bytes without a zero that are as long as the longest name and its zero.
        let name = |text: *const c_char| unsafe { entry(text) };
        assert_eq!(name(c"MANIFEST".as_ptr()), Some(&b"MANIFEST"[..]));
        assert_eq!(name(c".".as_ptr()), Some(&b"."[..]));
        for wrong in [c"", c"log/MANIFEST", c"/"] {
            assert_eq!(name(wrong.as_ptr()), None, "{wrong:?}");
        }
        let mut long = [b'x'; MAX_NAME_LEN + 1];
        assert_eq!((name(null_mut()), name(long.as_ptr().cast())), (None, None));
        long[MAX_NAME_LEN] = 0;
        assert_eq!(name(long.as_ptr().cast()).map(<[u8]>::len), Some(MAX_NAME_LEN));
    }
}
