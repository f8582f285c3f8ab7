//! Where C's pointers become Rust's values and back: with `handle`, the only file that follows them.

use core::any::Any;
use core::ffi::{CStr, c_char, c_void};
use core::marker::PhantomData;
use core::mem::offset_of;
use core::ptr::NonNull;
use core::slice;
use std::panic::{AssertUnwindSafe, catch_unwind};

use wal_engine::error::Error;
use wal_engine::format::batch::BatchEntry;
use wal_engine::log::{Entries, Entry, Event, Listener, Log, Pieces, Replay};
use wal_engine::memory;

use crate::append::{WalEntry, WalPackedEntry};
use crate::check::{self, MAX_BYTES, invalid, too_large};
use crate::error::WalError;
use crate::files::Files;
use crate::handle::{Wal, WalCursor, take};
use crate::message::sentence;
use crate::options::WalOptions;
use crate::status::{WAL_E_PANIC, WAL_OK, WalStatus};
use crate::storage::WalStorage;
use crate::text::DirName;

/// What a batch needs beside keys and values: its count, and lengths and op of each record.
const BATCH_COUNT_LEN: usize = wal_engine::format::constants::BATCH_COUNT_LEN;
const BATCH_ENTRY_LEN: usize = wal_engine::format::constants::BATCH_ENTRY_LEN;

/// No version of a struct that grows is longer than this; a larger size was never initialised.
const MAX_STRUCT_LEN: usize = 4096;

/// What an empty key or value points to.
const EMPTY: &[u8] = b"\0";

/// The promises of whoever calls an export, as the header states them: a pointer is NULL or points to as much memory of its kind as the call says,
/// valid and unchanged by others until the call returns, and a handle is open. Borrowed memory cannot outlive this value, so no call can keep it.
pub(crate) struct Caller(PhantomData<*const ()>);

/// The first word of an export. What it makes may be given that export's arguments and nothing else.
macro_rules! caller {
    () => {
        // SAFETY: it is made by an export, called from C, for that call alone.
        unsafe { $crate::boundary::Caller::trust() }
    };
}

impl Caller {
    /// # Safety
    ///
    /// To be called only by an export, which passes only its own arguments to the methods.
    #[inline]
    pub(crate) unsafe fn trust() -> Caller {
        Caller(PhantomData)
    }

    // Guards. Every body runs inside one.

    /// For functions without a handle; `dir` names the files in messages.
    pub(crate) fn guard(&self, err: *mut WalError, dir: &DirName, body: impl FnOnce() -> Result<WalStatus, Error>) -> WalStatus {
        match catch_unwind(AssertUnwindSafe(body)) {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => self.fail(err, &error, dir),
            Err(payload) => self.panicked(err, payload),
        }
    }

    /// For functions of a log: not NULL, not forked. A panic poisons it.
    #[inline]
    pub(crate) fn log(&self, wal: *const Wal, err: *mut WalError, body: impl FnOnce(&Wal) -> Result<WalStatus, Error>) -> WalStatus {
        // SAFETY: NULL or an open log, by the caller's promise.
        let Some(log) = (unsafe { wal.as_ref() }) else {
            return self.fail(err, &invalid("wal is NULL"), &DirName::new());
        };
        if let Err(error) = log.check_fork() {
            return self.fail(err, &error, &log.dir);
        }
        match catch_unwind(AssertUnwindSafe(|| body(log))) {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => self.fail(err, &error, &log.dir),
            Err(payload) => {
                // Poisoning may meet what broke the log, too; it can do no more than fail.
                if let Err(second) = catch_unwind(AssertUnwindSafe(|| log.engine.poison())) {
                    memory::discard(second);
                }
                self.panicked(err, payload)
            }
        }
    }

    /// For a number of a log: 0 if it is NULL, forked or broken.
    #[inline]
    pub(crate) fn number(&self, wal: *const Wal, read: impl FnOnce(&Log<Files>) -> u64) -> u64 {
        let mut number = 0;
        self.log(wal, core::ptr::null_mut(), |log| {
            number = read(&log.engine);
            Ok(0)
        });
        number
    }

    /// For functions of a cursor: not NULL, not forked, not broken, not busy. A panic breaks it.
    #[inline]
    pub(crate) fn cursor(
        &self,
        cursor: *const WalCursor,
        err: *mut WalError,
        body: impl FnOnce(&mut Replay<Files>) -> Result<WalStatus, Error>,
    ) -> WalStatus {
        // SAFETY: NULL or an open cursor, by the caller's promise.
        let Some(cursor) = (unsafe { cursor.as_ref() }) else {
            return self.fail(err, &invalid("cursor is NULL"), &DirName::new());
        };
        match catch_unwind(AssertUnwindSafe(|| cursor.with(body))) {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => self.fail(err, &error, &cursor.dir),
            Err(payload) => {
                cursor.fail();
                self.panicked(err, payload)
            }
        }
    }

    #[cold]
    fn fail(&self, err: *mut WalError, error: &Error, dir: &DirName) -> WalStatus {
        if !err.is_null() {
            self.put(err, WalError::new(error, dir));
        }
        error.code as i32
    }

    /// The panic hook has printed its message already.
    #[cold]
    fn panicked(&self, err: *mut WalError, payload: Box<dyn Any + Send>) -> WalStatus {
        let text = match (payload.downcast_ref::<&'static str>(), payload.downcast_ref::<String>()) {
            (Some(text), _) => text,
            (None, Some(text)) => text.as_str(),
            (None, None) => "no message",
        };
        self.put(err, WalError::panicked(WAL_E_PANIC, text));
        memory::discard(payload);
        WAL_E_PANIC
    }

    // What comes in.

    /// The path of a log's directory.
    pub(crate) fn path(&self, dir: *const c_char) -> Result<&CStr, Error> {
        let path = self.string(dir, "dir is NULL")?;
        if path.is_empty() { Err(invalid("dir is empty")) } else { Ok(path) }
    }

    /// A string.
    pub(crate) fn string(&self, text: *const c_char, null: &'static str) -> Result<&CStr, Error> {
        if text.is_null() {
            return Err(invalid(null));
        }
        // SAFETY: a NUL-terminated string, by the caller's promise.
        Ok(unsafe { CStr::from_ptr(text) })
    }

    /// The same for messages.
    pub(crate) fn dir_name(&self, dir: *const c_char) -> DirName {
        self.path(dir).map_or(DirName::new(), |path| DirName::of(path.to_bytes()))
    }

    /// The key or value of one record. `len` has passed `check::record_len`.
    #[inline]
    pub(crate) fn bytes(&self, data: *const c_void, len: usize, null: &'static str) -> Result<&[u8], Error> {
        match (NonNull::new(data.cast_mut()), len) {
            (_, 0) => Ok(&[]),
            (None, _) => Err(invalid(null)),
            // SAFETY: `len` bytes, by the caller's promise; below `isize::MAX`, because the length was checked.
            (Some(data), _) => Ok(unsafe { slice::from_raw_parts(data.as_ptr().cast(), len) }),
        }
    }

    /// The entries of a batch, each checked.
    pub(crate) fn batch(&self, entries: *const WalEntry, count: usize) -> Result<Batch<'_>, Error> {
        if count == 0 {
            return Err(invalid("count is 0: a batch has at least one record"));
        }
        if count > (MAX_BYTES - BATCH_COUNT_LEN) / BATCH_ENTRY_LEN || count > isize::MAX as usize / size_of::<WalEntry>() {
            return Err(too_large("more records than any segment holds"));
        }
        if entries.is_null() {
            return Err(invalid("entries is NULL"));
        }
        let batch = Batch { entries, count, caller: PhantomData };
        let mut len = BATCH_COUNT_LEN + count * BATCH_ENTRY_LEN;
        for index in 0..count {
            let entry = batch.read(index);
            let record = entry.check().map_err(|error| error.at(index as u64))?;
            len = len.saturating_add(record);
            if len > MAX_BYTES {
                return Err(too_large("the batch up to this entry is longer than any segment").at(index as u64));
            }
        }
        Ok(batch)
    }

    /// The entries of a packed batch of `len` bytes, each checked.
    pub(crate) fn table(&self, entries: *const WalPackedEntry, count: usize, len: usize) -> Result<Table<'_>, Error> {
        if count == 0 {
            return Err(invalid("count is 0: a batch has at least one record"));
        }
        if count > (MAX_BYTES - BATCH_COUNT_LEN) / BATCH_ENTRY_LEN || len > MAX_BYTES {
            return Err(too_large("more records or bytes than any segment holds"));
        }
        if entries.is_null() {
            return Err(invalid("entries is NULL"));
        }
        let table = Table { entries, count, caller: PhantomData };
        let mut left = len as u64;
        for index in 0..count {
            let entry = table.read(index);
            let checked = check::op(entry.op).and_then(|_| {
                let record = u64::from(entry.key_len) + u64::from(entry.value_len);
                left.checked_sub(record).ok_or(invalid("the lengths up to this entry exceed bytes_len"))
            });
            left = checked.map_err(|error| error.at(index as u64))?;
        }
        if left > 0 { Err(invalid("the lengths of all entries fall short of bytes_len").at(count as u64)) } else { Ok(table) }
    }

    /// A copy of the options, zero-extended to this version's length; NULL gives the defaults.
    pub(crate) fn options(&self, options: *const WalOptions) -> Result<WalOptions, Error> {
        let mut local = WalOptions::DEFAULT;
        if options.is_null() {
            return Ok(local);
        }
        let versioned = Versioned {
            smallest: size_of::<u32>(),
            wrong_size: "options->struct_size is wrong: call wal_options_init first",
            unknown: "options set something that this version of the library does not know",
        };
        // SAFETY: the caller's struct has as many bytes as it says, by its promise; integers and pointers that may be NULL.
        let size = unsafe { versioned.copy(options, &mut local)? };
        // From a program that knows none of these; a part of a pointer would be none.
        if size < offset_of!(WalOptions, log_context) + size_of::<*mut c_void>() {
            local.log_callback = None;
        }
        if size < offset_of!(WalOptions, storage) + size_of::<*const WalStorage>() {
            local.storage = core::ptr::null();
        }
        Ok(local)
    }

    /// A copy of the file layer that the options name, if they do. `options` come from `options`.
    pub(crate) fn storage(&self, options: &WalOptions) -> Result<Option<WalStorage>, Error> {
        if options.storage.is_null() {
            return Ok(None);
        }
        let mut local = WalStorage::EMPTY;
        let versioned = Versioned {
            smallest: size_of::<WalStorage>(),
            wrong_size: "storage->struct_size is wrong: it must be sizeof(wal_storage_t)",
            unknown: "storage sets something that this version of the library does not know",
        };
        // SAFETY: as for the options.
        unsafe { versioned.copy(options.storage, &mut local)? };
        if local.reserved != 0 {
            return Err(invalid("storage->reserved must be 0"));
        }
        if options.directory_mode != 0 || options.file_mode != 0 {
            return Err(invalid("directory_mode and file_mode are for the system's files: they must be 0 with a storage"));
        }
        if options.is_direct() {
            return Err(invalid("WAL_OPTION_DIRECT is for the system's files: a storage has its own cache or none"));
        }
        Ok(Some(local))
    }

    // What goes out.

    /// Refuses a NULL where the call has nowhere else to put its result.
    #[inline]
    pub(crate) fn need<T>(&self, to: *const T, null: &'static str) -> Result<(), Error> {
        if to.is_null() { Err(invalid(null)) } else { Ok(()) }
    }

    /// Where packed records go.
    pub(crate) fn room<T: Copy>(
        &self,
        records: *mut T,
        capacity: usize,
        bytes: *mut c_void,
        size: usize,
    ) -> Result<PackedRoom<'_, T>, Error> {
        self.need(records, "records is NULL")?;
        if capacity == 0 {
            return Err(invalid("capacity is 0: there is no room for any record"));
        }
        if size > 0 {
            self.need(bytes, "bytes is NULL, but size is not 0")?;
        }
        Ok(PackedRoom { records, capacity, bytes: bytes.cast(), size, count: 0, used: 0, caller: PhantomData })
    }

    /// Writes a result; NULL says that the caller does not want it.
    #[inline]
    pub(crate) fn put<T: Copy>(&self, to: *mut T, value: T) {
        if !to.is_null() {
            // SAFETY: memory for a T, by the caller's promise.
            unsafe { to.write_unaligned(value) };
        }
    }

    /// Refuses a place for a struct that grows if there is none.
    pub(crate) fn need_struct<T>(&self, to: *const T, size: usize, null: &'static str) -> Result<(), Error> {
        self.need(to, null)?;
        if (1..=MAX_STRUCT_LEN).contains(&size) { Ok(()) } else { Err(invalid("size must be the size of the struct: pass sizeof")) }
    }

    /// Writes as much of a struct that grows as the caller's version has, and zeros over what only the caller's has.
    /// `to` and `size` have passed `need_struct`. T has no padding.
    pub(crate) fn put_struct<T: Copy>(&self, to: *mut T, size: usize, value: &T) {
        let known = size.min(size_of::<T>());
        // SAFETY: `size` bytes, by the caller's promise, and `known` is at most that and at most T.
        unsafe {
            core::ptr::copy_nonoverlapping((&raw const *value).cast::<u8>(), to.cast::<u8>(), known);
            to.cast::<u8>().add(known).write_bytes(0, size - known);
        }
    }

    /// Zeros `size` bytes and writes `size` into the first four, if there are that many.
    pub(crate) fn init_options(&self, options: *mut WalOptions, size: usize) {
        let Ok(struct_size) = u32::try_from(size) else { return };
        if options.is_null() || size < size_of::<u32>() {
            return;
        }
        // SAFETY: `size` bytes, by the caller's promise, and at least four.
        unsafe {
            options.cast::<u8>().write_bytes(0, size);
            options.cast::<u32>().write_unaligned(struct_size);
        }
    }

    // Handles on their way out.

    /// Ends the log behind a handle, and frees it.
    pub(crate) fn close_log(&self, wal: *mut Wal, err: *mut WalError) -> WalStatus {
        let Some(handle) = NonNull::new(wal) else {
            return self.guard(err, &DirName::new(), || Err(invalid("wal is NULL")));
        };
        // SAFETY: an open log, by the caller's promise.
        let log = unsafe { handle.as_ref() };
        let name = log.dir;
        let ended = self.guard(err, &name, || log.end().map(|()| WAL_OK));
        // SAFETY: nobody else uses it, by the caller's promise, and `log` is not used from here on.
        let log = unsafe { take(handle) };
        let freed = self.guard(err, &name, || {
            log.free();
            Ok(WAL_OK)
        });
        if freed == WAL_OK { ended } else { freed }
    }

    /// The cursor behind a handle that is freed hereby; `None` for NULL.
    pub(crate) fn take_cursor(&self, cursor: *mut WalCursor) -> Option<WalCursor> {
        // SAFETY: an open cursor that nobody else uses, by the caller's promise.
        NonNull::new(cursor).map(|cursor| unsafe { take(cursor) })
    }
}

/// How a struct of the caller's is taken that begins with its size, a u32, and may be of another version.
struct Versioned {
    smallest: usize,
    wrong_size: &'static str,
    unknown: &'static str,
}

impl Versioned {
    /// Copies what the caller's struct and `local` both have; returns the size of the caller's. It is never borrowed: it may be shorter than a T.
    ///
    /// # Safety
    /// `from` points to as many bytes as it says, and any bytes make a T.
    unsafe fn copy<T: Copy>(&self, from: *const T, local: &mut T) -> Result<usize, Error> {
        // SAFETY: it begins with its size.
        let size = unsafe { from.cast::<u32>().read_unaligned() } as usize;
        if !(self.smallest..=MAX_STRUCT_LEN).contains(&size) {
            return Err(invalid(self.wrong_size));
        }
        let known = size.min(size_of::<T>());
        // SAFETY: this function's contract; `known` is at most `size`.
        let unknown = unsafe { slice::from_raw_parts(from.cast::<u8>().add(known), size - known) };
        if unknown.iter().any(|&byte| byte != 0) {
            return Err(invalid(self.unknown));
        }
        // SAFETY: as above.
        unsafe { core::ptr::copy_nonoverlapping(from.cast::<u8>(), (&raw mut *local).cast::<u8>(), known) };
        Ok(size)
    }
}

/// A host's log callback.
pub(crate) struct Callback {
    call: unsafe extern "C" fn(*mut c_void, u32, *const c_char),
    context: *mut c_void,
    dir: DirName,
}

// SAFETY: the header says that the log calls from any thread, so the host made function and context for that.
unsafe impl Send for Callback {}
// SAFETY: as above; the log calls from one thread at a time.
unsafe impl Sync for Callback {}

impl Callback {
    /// What the options name, if anything, for a log in `dir`.
    pub(crate) fn of(options: &WalOptions, dir: DirName) -> Result<Option<Box<dyn Listener>>, Error> {
        let Some(call) = options.log_callback else {
            return Ok(None);
        };
        Ok(Some(memory::boxed(Callback { call, context: options.log_context, dir })?))
    }
}

impl Listener for Callback {
    fn hear(&self, event: &Event) {
        let text = sentence(event, &self.dir);
        // SAFETY: the function and its context are good until wal_close returns, by the caller's promise; the log calls nobody afterwards.
        unsafe { (self.call)(self.context, event.level() as u32, text.bytes().as_ptr().cast()) };
    }
}

/// The address of bytes as C gets it: a pointer that can be read at least up to a NUL even if there are none.
#[inline]
pub(crate) fn address(bytes: &[u8]) -> *const c_void {
    if bytes.is_empty() { EMPTY.as_ptr().cast() } else { bytes.as_ptr().cast() }
}

/// The caller's array of entries, read in place: nothing is copied or allocated.
pub(crate) struct Batch<'a> {
    entries: *const WalEntry,
    count: usize,
    caller: PhantomData<&'a Caller>,
}

impl Batch<'_> {
    /// Copies one entry, not its bytes.
    #[inline]
    fn read(&self, index: usize) -> WalEntry {
        assert!(index < self.count);
        // SAFETY: the array has `count` entries, by the caller's promise, and they lie below `isize::MAX`, as `Caller::batch` checked.
        unsafe { self.entries.add(index).read_unaligned() }
    }
}

impl Entries for Batch<'_> {
    fn count(&self) -> usize {
        self.count
    }

    #[inline]
    fn entry(&self, index: usize) -> Entry<'_> {
        let entry = self.read(index);
        // SAFETY: `Caller::batch` found the bytes present and short enough, and the caller changes nothing during the call.
        let bytes = |data: *const c_void, len| if len == 0 { &[][..] } else { unsafe { slice::from_raw_parts(data.cast::<u8>(), len) } };
        Entry { op: entry.op as u8, key: bytes(entry.key, entry.key_len), value: bytes(entry.value, entry.value_len) }
    }
}

/// The caller's array of packed entries. Little-endian machines have it in memory as the log has it in a frame.
pub(crate) struct Table<'a> {
    entries: *const WalPackedEntry,
    count: usize,
    caller: PhantomData<&'a Caller>,
}

impl Table<'_> {
    pub(crate) fn count(&self) -> u32 {
        const { assert!(MAX_BYTES / BATCH_ENTRY_LEN <= u32::MAX as usize) };
        self.count as u32
    }

    #[inline]
    fn read(&self, index: usize) -> WalPackedEntry {
        debug_assert!(index < self.count);
        // SAFETY: the array has `count` entries, by the caller's promise, and they lie below `isize::MAX`, as `Caller::table` checked.
        unsafe { self.entries.add(index).read_unaligned() }
    }
}

impl Pieces for Table<'_> {
    fn visit(&self, each: &mut impl FnMut(&[u8])) {
        const { assert!(size_of::<WalPackedEntry>() == BATCH_ENTRY_LEN) };
        if cfg!(target_endian = "little") {
            // SAFETY: as in `read`; an entry is three integers without padding.
            each(unsafe { slice::from_raw_parts(self.entries.cast(), self.count * BATCH_ENTRY_LEN) });
            return;
        }
        for index in 0..self.count {
            let WalPackedEntry { key_len, value_len, op } = self.read(index);
            each(&BatchEntry { key_len, value_len, op: op as u8 }.encode());
        }
    }
}

/// The caller's memory for packed records.
pub(crate) struct PackedRoom<'a, T> {
    records: *mut T,
    capacity: usize,
    bytes: *mut u8,
    size: usize,
    count: usize,
    used: usize,
    caller: PhantomData<&'a Caller>,
}

impl<T: Copy> PackedRoom<'_, T> {
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Copies a record behind the others, if there is room.
    #[inline]
    pub(crate) fn add(&mut self, record: T, key: &[u8], value: &[u8]) -> bool {
        if self.count == self.capacity || key.len() + value.len() > self.size - self.used {
            return false;
        }
        // SAFETY: room for `capacity` records and `size` bytes, by the caller's promise, and what is written lies within. It is the caller's
        // memory, so it does not overlap the cursor's. Without bytes nothing is written, and `bytes` may be NULL.
        unsafe {
            self.records.add(self.count).write_unaligned(record);
            core::ptr::copy_nonoverlapping(key.as_ptr(), self.bytes.wrapping_add(self.used), key.len());
            core::ptr::copy_nonoverlapping(value.as_ptr(), self.bytes.wrapping_add(self.used + key.len()), value.len());
        }
        self.count += 1;
        self.used += key.len() + value.len();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic;

    fn message(error: &WalError) -> String {
        let bytes = error.message.map(|byte| byte as u8);
        CStr::from_bytes_until_nul(&bytes).map_or(String::new(), |text| text.to_string_lossy().into_owned())
    }

    fn caught(body: impl FnOnce() -> Result<WalStatus, Error>) -> (WalStatus, WalError) {
        let mut error = WalError::new(&invalid("not written"), &DirName::new());
        let status = caller!().guard(&mut error, &DirName::new(), body);
        (status, error)
    }

    /// A host that calls into a bug gets an answer and goes on.
    #[test]
    fn a_panic_ends_at_the_boundary() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("dropping the payload of a panic would end the process");
            }
        }
        let (status, error) = caught(|| panic!("index {} of {}", 7, 5));
        assert_eq!((status, error.code), (WAL_E_PANIC, WAL_E_PANIC));
        assert!(message(&error).ends_with("index 7 of 5"), "{}", message(&error));
        let (_, error) = caught(|| panic!("plain"));
        assert!(message(&error).ends_with("plain"));
        let (status, error) = caught(|| panic::panic_any(Bomb));
        assert_eq!(status, WAL_E_PANIC);
        assert!(message(&error).ends_with("no message"));
        assert_eq!(caller!().guard(core::ptr::null_mut(), &DirName::new(), || panic!("nobody asks")), WAL_E_PANIC);
    }

    #[test]
    fn an_error_is_written_and_a_success_is_not() {
        let (status, error) = caught(|| Err(Error::new(wal_engine::error::Code::Range, "too high").seqs(4, 5)));
        assert_eq!((status, error.code, error.seq, error.seq_last, message(&error).as_str()), (-3, -3, 4, 5, "too high (seq 4 to 5)"));
        let (status, error) = caught(|| Ok(1));
        assert_eq!((status, message(&error).as_str()), (1, "not written"));
    }

    #[test]
    fn bytes_may_be_absent_only_if_there_are_none() {
        let caller = caller!();
        assert_eq!(caller.bytes(core::ptr::null(), 0, "NULL"), Ok(&[][..]));
        assert_eq!(caller.bytes(core::ptr::null(), 1, "NULL"), Err(invalid("NULL")));
        assert_eq!(caller.bytes(c"key".as_ptr().cast(), 2, "NULL"), Ok(&b"ke"[..]));
        assert!(!address(&[]).is_null());
    }
}
