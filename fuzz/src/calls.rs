//! A host that makes the C calls that the input spells, on files in memory or on the system's, and knows what each must answer.

use core::ffi::c_void;
use core::mem::{MaybeUninit, offset_of};
use core::ptr::{null, null_mut};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process;

use arbitrary::{Result, Unstructured};
use wal::*;

use crate::memory::Memory;

/// One in so many values of an input's last byte puts the log on the system's files, where most of the time goes into the system.
const PER_SYSTEM_FILES: u8 = 64;
const MAX_CALLS: usize = 64;
const MAX_CURSORS: usize = 3;
const SEGMENT_BYTES: u64 = 4096;
/// What a record may have at most in a segment of `SEGMENT_BYTES`, generously; longer ones are tried, too.
const LONG: usize = 5000;

/// As the host handed it over.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    op: u32,
    key: Vec<u8>,
    value: Vec<u8>,
    batch_last: u64,
}

struct Cursor {
    raw: *mut WalCursor,
    /// The last seq that it has shown or passed over.
    at: u64,
    /// It may meet anything: what it was to read has been forgotten, the handle closed, or it has said so once.
    free: bool,
    raw_records: bool,
}

struct Host<'a> {
    dir: CString,
    /// NULL for the system's files.
    storage: *const WalStorage,
    direct: bool,
    /// What the log is opened with where nothing is to be said: NULL, or where its files are.
    defaults: Option<&'a WalOptions>,
    log: *mut Wal,
    cursors: Vec<Cursor>,
    history: BTreeMap<u64, Known>,
    last: u64,
    floor: u64,
    licensed: u64,
    is_shut: bool,
    read_only: bool,
}

/// Makes the calls.
pub fn calls(data: &[u8]) {
    let last_byte = data.last().copied().unwrap_or(0);
    if last_byte % PER_SYSTEM_FILES == PER_SYSTEM_FILES - 1 {
        let dir = directory();
        let _absent_at_first = fs::remove_dir_all(&dir);
        let last = make(data, &dir, null(), last_byte >= 128);
        fs::remove_dir_all(&dir).or_else(|error| if last == 0 { Ok(()) } else { Err(error) }).expect("the directory can be removed");
    } else {
        let memory = Memory::default();
        make(data, Path::new("log"), &memory.storage(), false);
        memory.assert_at_rest();
    }
}

/// Makes the calls on a log in `dir`, past the system's cache in the modes that allow it if `direct` says so; the last seq that it had.
fn make(data: &[u8], dir: &Path, storage: *const WalStorage, direct: bool) -> u64 {
    let defaults = WalOptions { storage, ..wal_options() };
    let mut host = Host {
        dir: CString::new(dir.as_os_str().as_bytes()).expect("no NUL in a name made here"),
        storage,
        direct,
        defaults: (!storage.is_null()).then_some(&defaults),
        log: null_mut(),
        cursors: Vec::new(),
        history: BTreeMap::new(),
        last: 0,
        floor: 0,
        licensed: 0,
        is_shut: false,
        read_only: false,
    };
    let mut input = Unstructured::new(data);
    let _then_calls_on_no_log = host.open(&mut input);
    for _ in 0..MAX_CALLS {
        if input.is_empty() || host.call(&mut input).is_err() {
            break;
        }
    }
    host.close();
    host.all_is_there();
    host.cursors.drain(..).for_each(|cursor| close_cursor(cursor.raw));
    host.last
}

/// In memory where there is such a place: a sync of a real disk would cost a thousand times as much and proves nothing here.
fn directory() -> PathBuf {
    let shm = Path::new("/dev/shm");
    let parent = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    parent.join(format!("wal-fuzz-{}", process::id()))
}

fn close_cursor(raw: *mut WalCursor) {
    // SAFETY: the cursor came from wal_replay_open and is closed once.
    unsafe { wal_replay_close(raw) };
}

fn error() -> WalError {
    // SAFETY: integers and characters, for which zeros are a value.
    unsafe { core::mem::zeroed() }
}

fn pointer(bytes: &[u8]) -> *const c_void {
    bytes.as_ptr().cast()
}

fn told(status: WalStatus, err: &WalError) -> WalStatus {
    if status < 0 {
        assert_eq!(err.code, status, "the error tells another code");
        assert!(err.message[0] != 0, "an error without a word");
    }
    status
}

impl Host<'_> {
    fn call(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        // What came later is spelled by the numbers from 240 on, so that old inputs keep most of their meaning.
        let call = input.arbitrary::<u8>()?;
        match if call < 240 { call % 20 } else { call } {
            240..=244 => self.batch(input, true),
            245 => self.packed_nonsense(input),
            246.. => self.replay_next_packed(input),
            0..=4 => self.append(input),
            5 => self.append_nonsense(input),
            6 | 7 => self.batch(input, false),
            8 => self.wait(input),
            9 => self.checkpoint(input),
            10 => self.truncate(input),
            11 => self.replay_open(input),
            12..=14 => self.replay_next(input),
            15 => self.replay_end(input),
            16 => self.look(input),
            17 => {
                // SAFETY: the handle is open or NULL.
                unsafe { wal_shutdown(self.log, null_mut()) };
                self.is_shut = !self.log.is_null();
                Ok(())
            }
            18 => self.open_twice(),
            _ => {
                self.close();
                self.open(input)
            }
        }
    }

    fn defaults(&self) -> *const WalOptions {
        self.defaults.map_or(null(), core::ptr::from_ref)
    }

    fn usable(&self) -> bool {
        !self.log.is_null() && !self.is_shut && !self.read_only
    }

    fn open(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let mut options = WalOptions { storage: self.storage, ..wal_options() };
        options.segment_size = SEGMENT_BYTES;
        options.option_flags = WAL_OPTION_NO_THREAD * u32::from(input.ratio(7, 8)?);
        options.sync_mode = input.int_in_range(0..=4)?;
        options.recovery = u32::from(input.ratio(1, 8)?);
        options.recycle_segments = if input.arbitrary()? { WAL_RECYCLE_NONE } else { 0 };
        options.batch_records = input.int_in_range(0..=3)?;
        if input.ratio(1, 4)? {
            options.open_flags = input.int_in_range(0..=7)?;
        }
        if input.ratio(1, 4)? {
            options.store_seq = self.seq(input)?;
        }
        if self.direct && options.sync_mode <= WAL_SYNC_BATCH && options.open_flags & WAL_OPEN_READ_ONLY == 0 {
            options.option_flags |= WAL_OPTION_DIRECT;
        }
        if input.ratio(1, 16)? {
            // What an older header does not have counts as 0; where the files are must stay.
            let size = usize::from(input.arbitrary::<u8>()?) % (size_of::<WalOptions>() + 1);
            let least = if self.storage.is_null() { 0 } else { offset_of!(WalOptions, storage) + size_of::<*const WalStorage>() };
            options = shortened(&options, size.max(least));
        }
        let mut log = null_mut();
        let mut err = error();
        // SAFETY: the pointers are to locals, the options at least as large as they say or refused for their size.
        let status = told(unsafe { wal_open(self.dir.as_ptr(), &options, &mut log, &mut err) }, &err);
        assert_eq!(status == WAL_OK, !log.is_null(), "{status}");
        if status != WAL_OK {
            assert!(self.log.is_null());
            return Ok(());
        }
        self.log = log;
        self.is_shut = false;
        self.read_only = options.open_flags & WAL_OPEN_READ_ONLY != 0;
        self.licensed = if options.store_seq == WAL_STORE_EMPTY {
            0
        } else if options.store_seq != 0 {
            options.store_seq
        } else {
            // SAFETY: the handle is open.
            unsafe { wal_checkpoint_seq(log) }
        };
        // SAFETY: the handle is open.
        assert_eq!(unsafe { wal_last_seq(log) }, self.last, "another last record than when it was closed");
        Ok(())
    }

    fn open_twice(&mut self) -> Result<()> {
        let mut second = null_mut();
        if !self.log.is_null() && !self.read_only {
            // SAFETY: a name and a place for the result; NULL options are the defaults.
            let status = unsafe { wal_open(self.dir.as_ptr(), self.defaults(), &mut second, null_mut()) };
            assert_eq!((status, second.is_null()), (WAL_E_LOCKED, true));
        }
        Ok(())
    }

    fn close(&mut self) {
        if self.log.is_null() {
            return;
        }
        // SAFETY: the handle is open; nobody else uses it.
        let status = unsafe { wal_close(self.log, null_mut()) };
        assert_eq!(status, WAL_OK, "nothing can fail here");
        self.log = null_mut();
        self.cursors.iter_mut().for_each(|cursor| cursor.free = true);
    }

    /// A seq near something, or any.
    fn seq(&self, input: &mut Unstructured<'_>) -> Result<u64> {
        Ok(match input.arbitrary::<u8>()? {
            near @ 0..=127 => (self.last + 8).saturating_sub(near.into()),
            128..=159 => self.floor + u64::from(input.arbitrary::<u8>()? % 4),
            160..=223 => WAL_SEQ_LAST,
            224..=239 => u64::MAX - u64::from(input.arbitrary::<u8>()? % 4),
            _ => input.arbitrary()?,
        })
    }

    fn bytes(&self, input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
        let len = match input.arbitrary::<u8>()? {
            short @ 0..=191 => usize::from(short),
            192..=239 => usize::from(input.arbitrary::<u16>()?) % 2000,
            _ => usize::from(input.arbitrary::<u16>()?) % LONG,
        };
        let first: u8 = input.arbitrary()?;
        Ok((0..len).map(|at| first.wrapping_add(at as u8)).collect())
    }

    fn op(&self, input: &mut Unstructured<'_>) -> Result<u8> {
        Ok(*input.choose(&[1, 2, 16, 255])?)
    }

    fn refused(&self, status: WalStatus) {
        let expected: &[WalStatus] = if self.log.is_null() {
            &[WAL_E_INVALID]
        } else if self.is_shut {
            &[WAL_E_CLOSED, WAL_E_INVALID, WAL_E_TOO_LARGE, WAL_E_READ_ONLY]
        } else if self.read_only {
            &[WAL_E_READ_ONLY, WAL_E_INVALID, WAL_E_TOO_LARGE]
        } else {
            &[WAL_E_TOO_LARGE, WAL_E_INVALID]
        };
        assert!(expected.contains(&status), "{status}");
        if !self.log.is_null() {
            // SAFETY: the handle is open.
            assert_eq!(unsafe { wal_last_seq(self.log) }, self.last, "refused, and appended");
        }
    }

    fn append(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let (op, key, value) = (self.op(input)?, self.bytes(input)?, self.bytes(input)?);
        let (mut seq, mut err) = (0, error());
        // SAFETY: the bytes and the results are locals.
        let status = unsafe { wal_append(self.log, op, pointer(&key), key.len(), pointer(&value), value.len(), &mut seq, &mut err) };
        if told(status, &err) == WAL_OK {
            assert!(self.usable());
            assert_eq!(seq, self.last + 1);
            self.history.insert(seq, Known { op: op.into(), key, value, batch_last: seq });
            self.last = seq;
        } else {
            self.refused(status);
            assert!(!self.usable() || key.len() + value.len() > 3000, "a short record is refused with {status}");
        }
        Ok(())
    }

    fn append_nonsense(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let op: u8 = *input.choose(&[0, 3, 4, 15])?;
        let status = match input.arbitrary::<u8>()? % 4 {
            // SAFETY: no pointer is followed where the op is none.
            0 => unsafe { wal_append(self.log, op, null(), 0, null(), 0, null_mut(), null_mut()) },
            // SAFETY: NULL with a length is refused.
            1 => unsafe { wal_append(self.log, 1, null(), 1 + usize::from(input.arbitrary::<u16>()?), null(), 0, null_mut(), null_mut()) },
            // SAFETY: the length is beyond every limit, and refused before the bytes are looked at.
            2 => unsafe { wal_append(self.log, 1, pointer(b"x"), usize::MAX - usize::from(op), pointer(b"y"), 1, null_mut(), null_mut()) },
            // SAFETY: NULL for a count of entries is refused.
            _ => unsafe { wal_append_batch(self.log, null(), input.arbitrary()?, input.arbitrary()?, null_mut(), null_mut()) },
        };
        assert!(status < 0);
        self.refused(status);
        Ok(())
    }

    /// A packed batch that is none: it says more or less than it holds.
    fn packed_nonsense(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let bytes = self.bytes(input)?;
        let mut entries: Vec<WalPackedEntry> = Vec::new();
        for _ in 0..input.int_in_range(0..=4)? {
            entries.push(WalPackedEntry { key_len: input.arbitrary()?, value_len: input.arbitrary()?, op: input.arbitrary()? });
        }
        let sum: u64 = entries.iter().map(|entry| u64::from(entry.key_len) + u64::from(entry.value_len)).sum();
        if sum == bytes.len() as u64 {
            return Ok(());
        }
        let mut err = error();
        // SAFETY: entries and bytes are locals, as long as they are said to be.
        let status =
            unsafe { wal_append_packed(self.log, entries.as_ptr(), entries.len(), pointer(&bytes), bytes.len(), 0, null_mut(), &mut err) };
        assert_eq!(told(status, &err), WAL_E_INVALID);
        self.refused(status);
        Ok(())
    }

    fn batch(&mut self, input: &mut Unstructured<'_>, is_packed: bool) -> Result<()> {
        let count = input.int_in_range(0..=5)?;
        let mut records = Vec::new();
        for _ in 0..count {
            records.push((self.op(input)?, self.bytes(input)?, self.bytes(input)?));
        }
        let flags = input.int_in_range(0..=3)?;
        let entries: Vec<WalEntry> = records
            .iter()
            .map(|(op, key, value)| WalEntry {
                key: pointer(key),
                value: pointer(value),
                key_len: key.len(),
                value_len: value.len(),
                op: (*op).into(),
                reserved: 0,
            })
            .collect();
        let (mut last, mut err) = (0, error());
        let status = if is_packed {
            let (table, bytes) = packed(&records);
            // SAFETY: entries and bytes are locals, as long as they are said to be.
            unsafe { wal_append_packed(self.log, table.as_ptr(), table.len(), pointer(&bytes), bytes.len(), flags, &mut last, &mut err) }
        } else {
            // SAFETY: the entries and what they point to are locals.
            unsafe { wal_append_batch(self.log, entries.as_ptr(), entries.len(), flags, &mut last, &mut err) }
        };
        told(status, &err);
        if status != WAL_OK {
            self.refused(status);
            return Ok(());
        }
        assert!(self.usable() && flags != 3 && count > 0);
        assert_eq!(last, self.last + count as u64);
        for (seq, (op, key, value)) in (self.last + 1..).zip(records) {
            self.history.insert(seq, Known { op: op.into(), key, value, batch_last: last });
        }
        self.last = last;
        Ok(())
    }

    fn wait(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let seq = self.seq(input)?;
        let mut err = error();
        match input.arbitrary::<u8>()? % 3 {
            0 => {
                // SAFETY: the handle is open or NULL.
                let status = told(unsafe { wal_sync(self.log, seq, &mut err) }, &err);
                let legal = seq <= self.last || seq == WAL_SEQ_LAST;
                assert_eq!(status == WAL_OK, self.usable() && legal, "{status}");
                if status == WAL_OK {
                    // SAFETY: the handle is open.
                    assert!(unsafe { wal_durable_seq(self.log) } >= seq.min(self.last));
                }
            }
            1 => {
                // SAFETY: the handle is open or NULL.
                told(unsafe { wal_flush(self.log, &mut err) }, &err);
            }
            _ => {
                // SAFETY: the handle is open or NULL.
                let status = told(unsafe { wal_wait_durable(self.log, seq, u64::from(input.arbitrary::<u8>()? / 8), &mut err) }, &err);
                // SAFETY: the handle is open where it says so.
                assert!(status != WAL_OK || unsafe { wal_durable_seq(self.log) } >= seq.min(self.last));
            }
        }
        Ok(())
    }

    fn checkpoint(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let covered = self.seq(input)?;
        let (mut n, mut err) = (0, error());
        // SAFETY: the results are locals.
        let status = told(unsafe { wal_checkpoint(self.log, covered, &mut n, &mut err) }, &err);
        if status != WAL_OK {
            assert!(!self.usable() || (covered > self.last && covered != WAL_SEQ_LAST), "{status}");
            return Ok(());
        }
        let covered = if covered == WAL_SEQ_LAST { self.last } else { covered };
        // Nothing but CHECKPOINT records may lie between.
        assert!(n >= covered && self.history.range(covered..=n).all(|(&seq, _)| seq == covered), "n {n}, covered {covered}");
        self.last += 1;
        // SAFETY: the handle is open.
        assert_eq!(unsafe { wal_last_seq(self.log) }, self.last);
        self.licensed = self.licensed.max(n);
        Ok(())
    }

    fn truncate(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let up_to = self.seq(input)?;
        let flags = input.int_in_range(0..=2)?;
        let mut err = error();
        // SAFETY: the handle is open or NULL.
        let status = told(unsafe { wal_truncate(self.log, up_to, flags, &mut err) }, &err);
        if status != WAL_OK {
            return Ok(());
        }
        assert!(self.usable() && up_to <= self.last && flags < 2);
        assert!(flags == WAL_TRUNCATE_UNCHECKED || up_to <= self.licensed.max(self.floor), "{up_to} was never declared durable");
        self.floor = self.floor.max(up_to);
        // SAFETY: the handle is open.
        assert!(unsafe { wal_oldest_seq(self.log) } > self.floor);
        Ok(())
    }

    fn replay_open(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        if self.cursors.len() == MAX_CURSORS {
            return Ok(());
        }
        let after = if input.arbitrary()? { WAL_REPLAY_OLDEST } else { self.seq(input)? };
        let flags = input.int_in_range(0..=8)?;
        let mut raw = null_mut();
        let mut err = error();
        // SAFETY: the results are locals.
        let status = told(unsafe { wal_replay_open(self.log, after, flags, &mut raw, &mut err) }, &err);
        assert_eq!(status == WAL_OK, !raw.is_null());
        if status != WAL_OK {
            return Ok(());
        }
        let at = if after == WAL_REPLAY_OLDEST { self.floor } else { after.max(self.floor) };
        if after != WAL_REPLAY_OLDEST {
            assert!(after <= self.last, "a replay behind the end");
        }
        self.cursors.push(Cursor { raw, at, free: false, raw_records: flags & WAL_REPLAY_RAW != 0 });
        Ok(())
    }

    fn replay_next(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        if self.cursors.is_empty() {
            return Ok(());
        }
        let which = input.choose_index(self.cursors.len())?;
        let steps = input.int_in_range(1..=8)?;
        let cursor = &mut self.cursors[which];
        for _ in 0..steps {
            // SAFETY: integers and pointers, for which zeros are a value.
            let mut record: WalRecord = unsafe { core::mem::zeroed() };
            let mut err = error();
            // SAFETY: the cursor is open, the results are locals.
            let status = told(unsafe { wal_replay_next(cursor.raw, &mut record, &mut err) }, &err);
            if status != WAL_OK {
                assert!(status == WAL_END || cursor.free || self.is_shut, "{status}");
                break;
            }
            check(cursor, &record, &self.history);
        }
        Ok(())
    }

    fn replay_next_packed(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        if self.cursors.is_empty() {
            return Ok(());
        }
        let which = input.choose_index(self.cursors.len())?;
        let cursor = &mut self.cursors[which];
        let capacity = input.int_in_range(0..=8)?;
        let mut bytes = vec![0u8; usize::from(input.arbitrary::<u16>()?) % LONG];
        // SAFETY: integers, for which zeros are a value.
        let mut records: Vec<WalPackedRecord> = (0..capacity).map(|_| unsafe { core::mem::zeroed() }).collect();
        let (mut count, mut err) = (0, error());
        let place = bytes.as_mut_ptr().cast();
        // SAFETY: the cursor is open, the results are locals, as long as they are said to be.
        let status =
            unsafe { wal_replay_next_packed(cursor.raw, records.as_mut_ptr(), records.len(), place, bytes.len(), &mut count, &mut err) };
        match told(status, &err) {
            WAL_OK => {}
            WAL_E_NO_ROOM => {
                assert!(records[0].key_len as usize + records[0].value_len as usize > bytes.len() && records[0].seq > cursor.at);
                return Ok(());
            }
            WAL_E_INVALID => {
                assert_eq!(capacity, 0);
                return Ok(());
            }
            status => {
                assert!(status == WAL_END || cursor.free || self.is_shut, "{status}");
                return Ok(());
            }
        }
        assert!(count > 0 && count <= records.len());
        let mut rest = &bytes[..];
        for record in &records[..count] {
            let (key, behind) = rest.split_at(record.key_len as usize);
            let (value, behind) = behind.split_at(record.value_len as usize);
            rest = behind;
            let record = WalRecord {
                seq: record.seq,
                batch_last_seq: record.batch_last_seq,
                key: pointer(key),
                value: pointer(value),
                key_len: key.len(),
                value_len: value.len(),
                op: record.op,
                reserved: [0; 3],
            };
            check(cursor, &record, &self.history);
        }
        Ok(())
    }

    fn replay_end(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        if self.cursors.is_empty() {
            return Ok(());
        }
        let which = input.choose_index(self.cursors.len())?;
        let mut err = error();
        // SAFETY: the cursor is open.
        told(unsafe { wal_replay_wait(self.cursors[which].raw, u64::from(input.arbitrary::<u8>()? / 8), &mut err) }, &err);
        if input.arbitrary()? {
            close_cursor(self.cursors.swap_remove(which).raw);
        }
        Ok(())
    }

    fn look(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let mut err = error();
        let mut id = [0u8; 16];
        let mut stat = MaybeUninit::<WalStat>::zeroed();
        let mut report = MaybeUninit::<WalReport>::zeroed();
        let size = usize::from(input.arbitrary::<u16>()?);
        let flags = input.int_in_range(0..=2)?;
        // SAFETY: each writes at most the size that it is told, which is at most what there is; the id has 16 bytes.
        unsafe {
            told(wal_stat(self.log, stat.as_mut_ptr(), size % (size_of::<WalStat>() + 1), &mut err), &err);
            told(wal_report(self.log, report.as_mut_ptr(), size % (size_of::<WalReport>() + 1), &mut err), &err);
            told(wal_inspect(self.dir.as_ptr(), self.defaults(), flags, report.as_mut_ptr(), size_of::<WalReport>(), &mut err), &err);
            wal_log_id(self.log, id.as_mut_ptr());
        }
        Ok(())
    }

    /// After everything: what was appended and not forgotten is there, and nothing else.
    fn all_is_there(&mut self) {
        if self.last == 0 {
            return;
        }
        let mut log = null_mut();
        let mut raw = null_mut();
        // SAFETY: the results are locals; NULL options are the defaults.
        unsafe {
            assert_eq!(wal_open(self.dir.as_ptr(), self.defaults(), &mut log, null_mut()), WAL_OK);
            assert_eq!(wal_last_seq(log), self.last);
            assert_eq!(wal_replay_open(log, WAL_REPLAY_OLDEST, 0, &mut raw, null_mut()), WAL_OK);
        }
        let mut cursor = Cursor { raw, at: self.floor, free: false, raw_records: false };
        let mut shown = 0;
        loop {
            // SAFETY: integers and pointers, for which zeros are a value.
            let mut record: WalRecord = unsafe { core::mem::zeroed() };
            // SAFETY: the cursor is open, the record a local.
            let status = unsafe { wal_replay_next(cursor.raw, &mut record, null_mut()) };
            if status != WAL_OK {
                assert_eq!(status, WAL_END);
                break;
            }
            check(&mut cursor, &record, &self.history);
            shown += 1;
        }
        assert_eq!(shown, self.history.keys().filter(|&&seq| seq > self.floor).count(), "records are missing");
        close_cursor(raw);
        // SAFETY: the handle is open; nobody else uses it.
        assert_eq!(unsafe { wal_close(log, null_mut()) }, WAL_OK);
    }
}

/// Records as wal_append_packed takes them.
fn packed(records: &[(u8, Vec<u8>, Vec<u8>)]) -> (Vec<WalPackedEntry>, Vec<u8>) {
    let entry = |(op, key, value): &(u8, Vec<u8>, Vec<u8>)| WalPackedEntry {
        key_len: key.len() as u32,
        value_len: value.len() as u32,
        op: (*op).into(),
    };
    (records.iter().map(entry).collect(), records.iter().flat_map(|(_, key, value)| key.iter().chain(value)).copied().collect())
}

fn check(cursor: &mut Cursor, record: &WalRecord, history: &BTreeMap<u64, Known>) {
    assert!(record.seq > cursor.at, "seq {} behind {}", record.seq, cursor.at);
    assert!(history.range(cursor.at..record.seq).all(|(&seq, _)| seq == cursor.at), "records in front of {} were left out", record.seq);
    cursor.at = record.seq;
    if record.op == WAL_OP_CHECKPOINT {
        assert!(cursor.raw_records, "a CHECKPOINT record that nobody asked for");
        return;
    }
    // SAFETY: the record's bytes are the cursor's until its next call.
    let (key, value) = unsafe {
        (
            core::slice::from_raw_parts(record.key.cast::<u8>(), record.key_len).to_vec(),
            core::slice::from_raw_parts(record.value.cast::<u8>(), record.value_len).to_vec(),
        )
    };
    let shown = Known { op: record.op, key, value, batch_last: record.batch_last_seq };
    assert_eq!(history.get(&record.seq), Some(&shown), "seq {}", record.seq);
}

/// As a program sees it that was compiled when the struct ended after `size` bytes.
fn shortened(options: &WalOptions, size: usize) -> WalOptions {
    let mut short = MaybeUninit::<WalOptions>::zeroed();
    // SAFETY: both are structs of integers and do not overlap; the size is at most theirs.
    let mut short = unsafe {
        core::ptr::copy_nonoverlapping(core::ptr::from_ref(options).cast::<u8>(), short.as_mut_ptr().cast(), size);
        short.assume_init()
    };
    short.struct_size = size as u32;
    short
}

fn wal_options() -> WalOptions {
    let mut options = MaybeUninit::zeroed();
    // SAFETY: the struct is as large as it is said to be, and integers throughout.
    unsafe {
        wal_options_init(options.as_mut_ptr(), size_of::<WalOptions>());
        options.assume_init()
    }
}
