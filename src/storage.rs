//! `wal_storage_t`: a host's own file layer, as C describes it.

use core::ffi::{c_char, c_void};

/// ## wal_storage_open_t: flags
/// Make a new file; -EEXIST if there is one.
pub const WAL_STORAGE_CREATE: u32 = 1;
/// Only size, read, sync, drop_cache follow.
pub const WAL_STORAGE_READ_ONLY: u32 = 2;

/// ## wal_storage_lock_t: flags
/// Others may share it at the same time.
pub const WAL_STORAGE_SHARED: u32 = 1;

/// Sees to it that the directory `dir` is there, its parent not, and that its own name is durable
/// when this returns. Called by each wal_open that may create a log, first of all functions; that
/// the directory is there already is no error.
///
/// Returns:  0; -ENOENT (no parent) or another -errno.
pub type WalStorageMakeDir = Option<unsafe extern "C" fn(context: *mut c_void, dir: *const c_char) -> i32>;

/// What wal_storage_list_t hands each name to: a function of the library. `names` is what list was
/// given; `name` is read before this returns.
pub type WalStorageEach = Option<unsafe extern "C" fn(names: *mut c_void, name: *const c_char)>;

/// Calls `each` with `names` and the name of every entry of the directory, one at a time, in any
/// order, on the thread that called it and before it returns. Names without the directory in front
/// of them; what is not the log's is passed over. A file that another thread makes, renames or
/// removes meanwhile may be named or not; every other one must be. A name may come twice.
///
/// A name that is NULL, empty, longer than 255 bytes or contains a '/' makes the listing fail.
///
/// Returns:  0; -ENOENT (no such directory) or another -errno, whatever has been named so far.
pub type WalStorageList =
    Option<unsafe extern "C" fn(context: *mut c_void, dir: *const c_char, each: WalStorageEach, names: *mut c_void) -> i32>;

/// Opens a file for reading and writing.
///
/// flags     0: it is there. WAL_STORAGE_CREATE: it is not, and is made, empty; the name is
///           durable after sync_dir. WAL_STORAGE_READ_ONLY: it is there and is not written to.
///           Never both.
/// file      receives what the other functions get as `file`: anything but NULL.
///
/// Returns:  0; -ENOENT (it is not there), -EEXIST (it is, and was to be made), -EISDIR (it is
///           not a plain file), -ENOSPC, -ENOMEM, -EMFILE, another -errno.
pub type WalStorageOpen =
    Option<unsafe extern "C" fn(context: *mut c_void, dir: *const c_char, name: *const c_char, flags: u32, file: *mut *mut c_void) -> i32>;

/// Ends the use of an open file. It need not make anything durable: what had to be has been
/// synced.
pub type WalStorageClose = Option<unsafe extern "C" fn(context: *mut c_void, file: *mut c_void)>;

/// The size of a file.
///
/// Returns:  bytes, or a -errno.
pub type WalStorageSize = Option<unsafe extern "C" fn(context: *mut c_void, file: *mut c_void) -> i64>;

/// Reads up to `len` bytes, 1 to 1073741824, from `offset` on into `bytes`. It may read fewer: the
/// log then asks for the rest. `offset` may lie behind the end of a file that damage has cut.
///
/// Returns:  how many were read; 0 at the file's end and behind it, and only there; or a -errno.
pub type WalStorageRead =
    Option<unsafe extern "C" fn(context: *mut c_void, file: *mut c_void, offset: u64, bytes: *mut c_void, len: usize) -> i64>;

/// Writes up to `len` bytes, 1 to 1073741824, at `offset`, which is never behind the file's end;
/// the file grows as it must. It may write fewer: the log then comes with the rest. Durable after
/// sync.
///
/// Returns:  how many were written, at least 1; or -ENOSPC or another -errno, after which any of
///           them may have been.
pub type WalStorageWrite =
    Option<unsafe extern "C" fn(context: *mut c_void, file: *mut c_void, offset: u64, bytes: *const c_void, len: usize) -> i64>;

/// Makes content and size of a file durable: all that any handle of it had written when this was
/// called. Also called for files that were opened with WAL_STORAGE_READ_ONLY: what they show is to
/// be durable before it is believed.
///
/// Returns:  0, when it is so; or a -errno: what was to become durable is in doubt.
pub type WalStorageSync = Option<unsafe extern "C" fn(context: *mut c_void, file: *mut c_void) -> i32>;

/// Called after sync, before a file is read that an earlier opening may have failed to sync: the
/// reads that follow must show what the medium holds, not what a cache still does. On Linux that
/// is posix_fadvise with POSIX_FADV_DONTNEED. NULL for layers whose reads, once sync has returned
/// 0, never show anything else.
pub type WalStorageDropCache = Option<unsafe extern "C" fn(context: *mut c_void, file: *mut c_void)>;

/// Gives the file `from` the name `to`, which no file has: the log has looked. After a power cut
/// it has one of the two. Durable after sync_dir.
///
/// Returns:  0; -ENOENT (no such file) or another -errno: it has its old name.
pub type WalStorageRename =
    Option<unsafe extern "C" fn(context: *mut c_void, dir: *const c_char, from: *const c_char, to: *const c_char) -> i32>;

/// Removes a file. Durable after sync_dir.
///
/// Returns:  0; -ENOENT (no such file) or another -errno: it is still there.
pub type WalStorageRemove = Option<unsafe extern "C" fn(context: *mut c_void, dir: *const c_char, name: *const c_char) -> i32>;

/// Makes the names in a directory durable: every file that has been created, renamed or removed.
///
/// Returns:  0, when it is so; or a -errno: the names are in doubt.
pub type WalStorageSyncDir = Option<unsafe extern "C" fn(context: *mut c_void, dir: *const c_char) -> i32>;

/// Takes a lock, without waiting, against everybody who may use the same directory: other handles
/// of this process and, where they can reach the files, other processes. It must end with its
/// holder, also if that is killed or loses power.
///
/// name      which: "LOCK", from wal_open to wal_close, or "PINS", for a moment now and then; they
///           have nothing to do with each other. Files of these names may serve for it. When the
///           log gives "LOCK" back it has closed its files, but for those of cursors.
/// flags     0: for one holder. WAL_STORAGE_SHARED: for readers (WAL_OPEN_READ_ONLY without
///           WAL_OPEN_LIVE, wal_inspect); nothing is to be created for it. A layer that has
///           no shared locks may take one for one holder.
/// lock      receives what unlock gets.
///
/// Returns:  0; -EAGAIN (somebody holds it: WAL_E_LOCKED); -ENOENT with WAL_STORAGE_SHARED (there
///           is nothing that could be locked, which is no error); or another -errno.
pub type WalStorageLock =
    Option<unsafe extern "C" fn(context: *mut c_void, dir: *const c_char, name: *const c_char, flags: u32, lock: *mut *mut c_void) -> i32>;

/// Gives a lock back.
pub type WalStorageUnlock = Option<unsafe extern "C" fn(context: *mut c_void, lock: *mut c_void)>;

/// Fills `bytes` with `len` bytes that nobody can guess. Asked for once, when a log is created:
/// its id, and the seed of its checksums. NULL: the system's.
///
/// Returns:  0, or a -errno.
pub type WalStorageRandom = Option<unsafe extern "C" fn(context: *mut c_void, bytes: *mut c_void, len: usize) -> i32>;

/// A file layer of the host's own, for wal_options_t: see YOUR OWN FILE LAYER at the top, and each
/// function's type above. The log copies the struct when it is opened; functions and context must
/// be good until wal_close of the log and wal_replay_close of all its cursors have returned.
///
/// `dir` is always the string that was passed to wal_open, `name`, `from` and `to` are at most 18
/// letters, digits and dots; strings and memory are the callee's until it returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WalStorage {
    /// sizeof(wal_storage_t).
    pub struct_size: u32,
    /// Reserved, 0.
    pub reserved: u32,
    /// What every function gets as its first argument.
    pub context: *mut c_void,
    /// Needed, like all that follow but drop_cache and random.
    pub make_dir: WalStorageMakeDir,
    /// The names in a directory.
    pub list: WalStorageList,
    /// Opens a file, or makes one.
    pub open: WalStorageOpen,
    /// Ends the use of an open file.
    pub close: WalStorageClose,
    /// Bytes in a file.
    pub size: WalStorageSize,
    /// Reads at an offset.
    pub read: WalStorageRead,
    /// Writes at an offset.
    pub write: WalStorageWrite,
    /// Content and size are durable afterwards.
    pub sync: WalStorageSync,
    /// NULL if reads never show what is not on the medium.
    pub drop_cache: WalStorageDropCache,
    /// Renames a file.
    pub rename: WalStorageRename,
    /// Removes a file.
    pub remove: WalStorageRemove,
    /// Names are durable afterwards.
    pub sync_dir: WalStorageSyncDir,
    /// Locks the log, or its pins.
    pub lock: WalStorageLock,
    /// Gives a lock back.
    pub unlock: WalStorageUnlock,
    /// NULL: the system's random numbers.
    pub random: WalStorageRandom,
}

const _: () = assert!(size_of::<WalStorage>() == 8 + 16 * size_of::<usize>());

impl WalStorage {
    /// No function at all.
    pub(crate) const EMPTY: WalStorage = WalStorage {
        struct_size: size_of::<WalStorage>() as u32,
        reserved: 0,
        context: core::ptr::null_mut(),
        make_dir: None,
        list: None,
        open: None,
        close: None,
        size: None,
        read: None,
        write: None,
        sync: None,
        drop_cache: None,
        rename: None,
        remove: None,
        sync_dir: None,
        lock: None,
        unlock: None,
        random: None,
    };
}
