//! The library as a C program sees it: the part of `wal.h` that the benchmarks call, declared anew, and a thin cover that turns a negative
//! status into an error with the library's own message.

use std::ffi::{CStr, CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{null, null_mut};

const WAL_END: i32 = 1;
pub(crate) const WAL_SYNC_ALWAYS: u32 = 0;
pub(crate) const WAL_SYNC_BATCH: u32 = 1;
pub(crate) const WAL_SYNC_OS: u32 = 2;
pub(crate) const WAL_SYNC_NONE: u32 = 3;
const WAL_OPTION_DIRECT: u32 = 2;
pub(crate) const WAL_SEQ_LAST: u64 = u64::MAX;
const WAL_OP_PUT: u8 = 1;

#[repr(C)]
pub(crate) struct Options {
    pub(crate) struct_size: u32,
    pub(crate) sync_mode: u32,
    pub(crate) segment_size: u64,
    pub(crate) store_seq: u64,
    pub(crate) open_flags: u32,
    pub(crate) recovery: u32,
    pub(crate) batch_records: u32,
    pub(crate) batch_interval_us: u32,
    pub(crate) expected_log_id: [u8; 16],
    pub(crate) recycle_segments: u32,
    pub(crate) option_flags: u32,
    pub(crate) directory_mode: u32,
    pub(crate) file_mode: u32,
    pub(crate) reserved: [u64; 7],
}
const _: () = assert!(size_of::<Options>() == 128);

#[repr(C)]
struct ErrorInfo {
    seq: u64,
    seq_last: u64,
    segment: u64,
    offset: u64,
    code: i32,
    extended: i32,
    os_error: i32,
    reserved: i32,
    message: [c_char; 272],
}
const _: () = assert!(size_of::<ErrorInfo>() == 320);

#[repr(C)]
pub(crate) struct Record {
    pub(crate) seq: u64,
    pub(crate) batch_last_seq: u64,
    pub(crate) key: *const c_void,
    pub(crate) value: *const c_void,
    pub(crate) key_len: usize,
    pub(crate) value_len: usize,
    pub(crate) op: u32,
    pub(crate) reserved: [u32; 3],
}
const _: () = assert!(size_of::<Record>() == 64);

/// Of `wal_stat_t`, what is looked at here; `abi.c` fills it.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Stat {
    pub(crate) last_seq: u64,
    pub(crate) durable_seq: u64,
    pub(crate) segments: u64,
    pub(crate) spares: u64,
    pub(crate) records: u64,
    pub(crate) syncs: u64,
    pub(crate) rotations: u64,
    pub(crate) segments_forgotten: u64,
}

/// Of `wal_report_t`, likewise.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) segments: u64,
    pub(crate) spares: u64,
    pub(crate) bytes_read: u64,
    pub(crate) copied_bytes: u64,
    pub(crate) clean: u64,
}

#[repr(C)]
struct Wal([u8; 0]);
#[repr(C)]
struct WalCursor([u8; 0]);

// SAFETY: the signatures of wal.h and of `abi.c`, whose structs are declared above member for member.
unsafe extern "C" {
    fn wal_options_init(options: *mut Options, size: usize);
    fn wal_open(dir: *const c_char, options: *const Options, out: *mut *mut Wal, err: *mut ErrorInfo) -> i32;
    fn wal_close(wal: *mut Wal, err: *mut ErrorInfo) -> i32;
    fn wal_append(
        wal: *mut Wal,
        op: u8,
        key: *const c_void,
        key_len: usize,
        value: *const c_void,
        value_len: usize,
        seq: *mut u64,
        err: *mut ErrorInfo,
    ) -> i32;
    fn wal_sync(wal: *mut Wal, seq: u64, err: *mut ErrorInfo) -> i32;
    fn wal_flush(wal: *mut Wal, err: *mut ErrorInfo) -> i32;
    fn wal_checkpoint(wal: *mut Wal, covered: u64, n: *mut u64, err: *mut ErrorInfo) -> i32;
    fn wal_truncate(wal: *mut Wal, up_to: u64, flags: u32, err: *mut ErrorInfo) -> i32;
    fn wal_replay_open(wal: *mut Wal, after_seq: u64, flags: u32, out: *mut *mut WalCursor, err: *mut ErrorInfo) -> i32;
    fn wal_replay_next(cursor: *mut WalCursor, record: *mut Record, err: *mut ErrorInfo) -> i32;
    fn wal_replay_close(cursor: *mut WalCursor);
    fn wal_last_seq(wal: *const Wal) -> u64;
    fn bench_stat(wal: *const Wal, out: *mut Stat, err: *mut ErrorInfo) -> i32;
    fn bench_report(wal: *const Wal, out: *mut Report, err: *mut ErrorInfo) -> i32;
    fn wal_version_string() -> *const c_char;
    fn wal_status_name(code: i32) -> *const c_char;
}

/// What did not work.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure(error.to_string())
    }
}

pub(crate) type Outcome<T> = Result<T, Failure>;

fn text(from: *const c_char) -> String {
    // SAFETY: a static string of the library's, or the message of an error that it has written; both end with a zero byte.
    unsafe { CStr::from_ptr(from) }.to_string_lossy().into_owned()
}

/// Makes one call, which gets the place for an error.
#[inline]
fn call(name: &str, body: impl FnOnce(*mut ErrorInfo) -> i32) -> Outcome<i32> {
    let mut error = std::mem::MaybeUninit::<ErrorInfo>::uninit();
    let status = body(error.as_mut_ptr());
    if status >= 0 {
        return Ok(status);
    }
    // SAFETY: written whole on every negative return.
    Err(explain(name, status, unsafe { error.assume_init_ref() }))
}

#[cold]
fn explain(name: &str, status: i32, error: &ErrorInfo) -> Failure {
    // SAFETY: any number is fine.
    let code = text(unsafe { wal_status_name(status) });
    Failure(format!("{name}: {code}: {}", text(error.message.as_ptr())))
}

pub(crate) fn version() -> String {
    // SAFETY: no arguments.
    text(unsafe { wal_version_string() })
}

pub(crate) fn options(sync_mode: u32) -> Options {
    let mut options = std::mem::MaybeUninit::<Options>::zeroed();
    // SAFETY: memory of that size, which the call fills; integers only, so that zeros are valid as well.
    let mut options = unsafe {
        wal_options_init(options.as_mut_ptr(), size_of::<Options>());
        options.assume_init()
    };
    options.sync_mode = sync_mode;
    options
}

/// For durable appends past the page cache.
pub(crate) fn direct_options() -> Options {
    Options { option_flags: WAL_OPTION_DIRECT, ..options(WAL_SYNC_ALWAYS) }
}

/// An open log.
pub(crate) struct Log(*mut Wal);

// SAFETY: the header allows every function that is called here from many threads at once; closing takes the value.
unsafe impl Send for Log {}
// SAFETY: as above.
unsafe impl Sync for Log {}

impl Log {
    pub(crate) fn open(dir: &Path, options: &Options) -> Outcome<Log> {
        let dir = CString::new(dir.as_os_str().as_bytes()).map_err(|_| Failure("the directory's name has a zero byte".into()))?;
        let mut wal = null_mut();
        // SAFETY: a string, options of this version, and a place for the handle.
        call("wal_open", |err| unsafe { wal_open(dir.as_ptr(), options, &mut wal, err) })?;
        Ok(Log(wal))
    }

    #[inline]
    pub(crate) fn append(&self, value: &[u8]) -> Outcome<u64> {
        let mut seq = 0;
        // SAFETY: an open log, `value_len` bytes, no key, a place for the seq.
        call("wal_append", |err| unsafe { wal_append(self.0, WAL_OP_PUT, null(), 0, value.as_ptr().cast(), value.len(), &mut seq, err) })?;
        Ok(seq)
    }

    pub(crate) fn sync(&self) -> Outcome<()> {
        // SAFETY: an open log.
        call("wal_sync", |err| unsafe { wal_sync(self.0, WAL_SEQ_LAST, err) }).map(drop)
    }

    pub(crate) fn flush(&self) -> Outcome<()> {
        // SAFETY: an open log.
        call("wal_flush", |err| unsafe { wal_flush(self.0, err) }).map(drop)
    }

    pub(crate) fn checkpoint(&self, covered: u64) -> Outcome<u64> {
        let mut n = 0;
        // SAFETY: an open log and a place for the result.
        call("wal_checkpoint", |err| unsafe { wal_checkpoint(self.0, covered, &mut n, err) })?;
        Ok(n)
    }

    pub(crate) fn truncate(&self, up_to: u64) -> Outcome<()> {
        // SAFETY: an open log.
        call("wal_truncate", |err| unsafe { wal_truncate(self.0, up_to, 0, err) }).map(drop)
    }

    pub(crate) fn last_seq(&self) -> u64 {
        // SAFETY: an open log.
        unsafe { wal_last_seq(self.0) }
    }

    pub(crate) fn stat(&self) -> Outcome<Stat> {
        let mut stat = Stat::default();
        // SAFETY: an open log and a struct as `abi.c` has it.
        call("wal_stat", |err| unsafe { bench_stat(self.0, &mut stat, err) })?;
        Ok(stat)
    }

    pub(crate) fn report(&self) -> Outcome<Report> {
        let mut report = Report::default();
        // SAFETY: an open log and a struct as `abi.c` has it.
        call("wal_report", |err| unsafe { bench_report(self.0, &mut report, err) })?;
        Ok(report)
    }

    pub(crate) fn replay(&self, after_seq: u64) -> Outcome<Cursor> {
        let mut cursor = null_mut();
        // SAFETY: an open log and a place for the cursor.
        call("wal_replay_open", |err| unsafe { wal_replay_open(self.0, after_seq, 0, &mut cursor, err) })?;
        Ok(Cursor(cursor))
    }

    pub(crate) fn close(self) -> Outcome<()> {
        let wal = self.0;
        std::mem::forget(self);
        // SAFETY: an open log that nobody else uses: the value was not borrowed.
        call("wal_close", |err| unsafe { wal_close(wal, err) }).map(drop)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Only when a benchmark has failed already. SAFETY: as for `close`.
        unsafe { wal_close(self.0, null_mut()) };
    }
}

/// A replay.
pub(crate) struct Cursor(*mut WalCursor);

impl Cursor {
    /// The next record's seq and value; `None` at the end. The bytes are valid until the next call.
    #[inline]
    pub(crate) fn next(&mut self) -> Outcome<Option<(u64, &[u8])>> {
        let mut record = std::mem::MaybeUninit::<Record>::uninit();
        // SAFETY: an open cursor and a place for the record.
        let status = call("wal_replay_next", |err| unsafe { wal_replay_next(self.0, record.as_mut_ptr(), err) })?;
        if status == WAL_END {
            return Ok(None);
        }
        // SAFETY: filled, and its pointers are valid until the next call, for which this borrow must have ended.
        let (record, value) = unsafe {
            let record = record.assume_init_ref();
            (record, std::slice::from_raw_parts(record.value.cast::<u8>(), record.value_len))
        };
        Ok(Some((record.seq, value)))
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        // SAFETY: an open cursor that nobody else uses.
        unsafe { wal_replay_close(self.0) };
    }
}
