//! Appending.

use core::ffi::c_void;

use wal_engine::error::Error;
use wal_engine::format::constants as format;
use wal_engine::log::{Durability, Packed};

use crate::check::{self, invalid};
use crate::error::WalError;
use crate::handle::Wal;
use crate::status::{WAL_OK, WalStatus};

/// ## Operations: op
/// A value was set.
pub const WAL_OP_PUT: u32 = 1;
/// A key was removed.
pub const WAL_OP_DELETE: u32 = 2;
/// Written by wal_checkpoint alone.
pub const WAL_OP_CHECKPOINT: u32 = 3;
/// This and up to 255: the host's own.
pub const WAL_OP_USER: u32 = 16;

const _: () = assert!(
    WAL_OP_PUT == format::OP_PUT as u32
        && WAL_OP_DELETE == format::OP_DELETE as u32
        && WAL_OP_CHECKPOINT == format::OP_CHECKPOINT as u32
        && WAL_OP_USER == format::OP_HOST_FIRST as u32
);

/// ## wal_append_batch: flags
/// Durable on return, in every mode.
pub const WAL_APPEND_SYNC: u32 = 1;
/// Do not wait for a sync, in any mode.
pub const WAL_APPEND_ASYNC: u32 = 2;

/// One record of a batch. All of it is the caller's and is read during the call only.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WalEntry {
    /// key_len bytes; may be NULL if key_len is 0.
    pub key: *const c_void,
    /// value_len bytes; may be NULL if value_len is 0.
    pub value: *const c_void,
    /// Bytes in the key.
    pub key_len: usize,
    /// Bytes in the value.
    pub value_len: usize,
    /// WAL_OP_PUT, WAL_OP_DELETE or 16 to 255.
    pub op: u32,
    /// Must be 0.
    pub reserved: u32,
}

const _: () = assert!(size_of::<WalEntry>() == 4 * size_of::<usize>() + 8);

/// One record of a packed batch: what its bytes are. No padding: 12 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WalPackedEntry {
    /// Bytes in the key.
    pub key_len: u32,
    /// Bytes in the value.
    pub value_len: u32,
    /// WAL_OP_PUT, WAL_OP_DELETE or 16 to 255.
    pub op: u32,
}

const _: () = assert!(size_of::<WalPackedEntry>() == 12);

impl WalEntry {
    /// How many bytes it has, if nothing is wrong with it.
    #[inline]
    pub(crate) fn check(&self) -> Result<usize, Error> {
        let len = check::record_len(self.key_len, self.value_len)?;
        if self.key.is_null() && self.key_len > 0 {
            return Err(invalid("key is NULL, but key_len is not 0"));
        }
        if self.value.is_null() && self.value_len > 0 {
            return Err(invalid("value is NULL, but value_len is not 0"));
        }
        if self.reserved != 0 {
            return Err(invalid("reserved must be 0"));
        }
        check::op(self.op)?;
        Ok(len)
    }
}

/// ## Appending
/// Appends one record. When it returns is the sync mode's to say; in WAL_SYNC_ALWAYS the record
/// is durable then, and many threads that append at once share one sync.
///
/// op        WAL_OP_PUT, WAL_OP_DELETE or 16 to 255.
/// key       key_len bytes; NULL with length 0 is fine. Opaque payloads need no key.
/// value     value_len bytes; NULL with length 0 is fine.
/// seq       receives the record's sequence number; may be NULL.
///
/// Returns:  WAL_OK;
///           WAL_E_INVALID, WAL_E_TOO_LARGE (see "Limits"), WAL_E_READ_ONLY, WAL_E_CLOSED,
///           WAL_E_NO_SPACE, WAL_E_NO_MEMORY: the log is as before the call, and usable;
///           WAL_E_IO: the write failed and was taken back, the log is as before the call;
///           WAL_E_FAILED: the handle is poisoned; err->seq to seq_last are in doubt, this
///           record perhaps among them;
///           WAL_E_FORKED, WAL_E_PANIC.
/// Threads:  any. Allocates nothing.
/// Lifetime: key and value are not kept.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn wal_append(
    wal: *mut Wal,
    op: u8,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    seq: *mut u64,
    err: *mut WalError,
) -> WalStatus {
    let caller = caller!();
    caller.log(wal, err, |log| {
        check::record_len(key_len, value_len)?;
        let op = check::op(op.into())?;
        let key = caller.bytes(key, key_len, "key is NULL, but key_len is not 0")?;
        let value = caller.bytes(value, value_len, "value is NULL, but value_len is not 0")?;
        let appended = log.engine.append(op, key, value)?;
        caller.put(seq, appended);
        Ok(WAL_OK)
    })
}

/// Appends several records with consecutive sequence numbers as one unit: after any crash either
/// all of them are there or none.
///
/// entries   `count` entries; they and their bytes must not change during the call.
/// count     at least 1.
/// flags     0: as the sync mode says; or WAL_APPEND_SYNC, or WAL_APPEND_ASYNC.
/// last_seq  receives the last record's sequence number; the first is last_seq - count + 1.
///           May be NULL.
///
/// Returns:  as wal_append. If one entry is wrong, err->offset is its index and nothing has been
///           appended.
/// Threads:  any. Allocates nothing.
/// Lifetime: entries, keys and values are not kept.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn wal_append_batch(
    wal: *mut Wal,
    entries: *const WalEntry,
    count: usize,
    flags: u32,
    last_seq: *mut u64,
    err: *mut WalError,
) -> WalStatus {
    let caller = caller!();
    caller.log(wal, err, |log| {
        let durability = durability(flags)?;
        let batch = caller.batch(entries, count)?;
        let appended = log.engine.append_batch(&batch, durability)?;
        caller.put(last_seq, appended);
        Ok(WAL_OK)
    })
}

/// Appends a batch that is packed: after any crash either all of its records are there or none.
/// It is wal_append_batch for many small records, and for languages whose calls into C are dear
/// or may not pass pointers to pointers: the batch is two flat pieces of memory, in the shape in
/// which the log writes it, so that nothing is done for each record but to check it.
///
/// entries    `count` of them, in the machine's byte order.
/// count      at least 1.
/// bytes      the first entry's key, its value, the second's key, its value, and so on, with
///            nothing between. May be NULL if bytes_len is 0. Both may stand at any address and
///            must not change during the call.
/// bytes_len  exactly the sum of all key_len and value_len.
/// flags      0: as the sync mode says; or WAL_APPEND_SYNC, or WAL_APPEND_ASYNC.
/// last_seq   receives the last record's sequence number; the first is last_seq - count + 1.
///            May be NULL.
///
/// Returns:  as wal_append_batch. WAL_E_INVALID, too, if the lengths do not add up to bytes_len;
///           err->offset is then the index of the first entry that exceeds it, or count if all
///           together fall short.
/// Threads:  any. Allocates nothing.
/// Lifetime: entries and bytes are not kept.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn wal_append_packed(
    wal: *mut Wal,
    entries: *const WalPackedEntry,
    count: usize,
    bytes: *const c_void,
    bytes_len: usize,
    flags: u32,
    last_seq: *mut u64,
    err: *mut WalError,
) -> WalStatus {
    let caller = caller!();
    caller.log(wal, err, |log| {
        let durability = durability(flags)?;
        let table = caller.table(entries, count, bytes_len)?;
        let bytes = caller.bytes(bytes, bytes_len, "bytes is NULL, but bytes_len is not 0")?;
        let appended = log.engine.append_packed(&Packed { count: table.count(), table: &table, bytes }, durability)?;
        caller.put(last_seq, appended);
        Ok(WAL_OK)
    })
}

fn durability(flags: u32) -> Result<Durability, Error> {
    match flags {
        0 => Ok(Durability::Mode),
        WAL_APPEND_SYNC => Ok(Durability::Sync),
        WAL_APPEND_ASYNC => Ok(Durability::Async),
        _ => Err(invalid("flags must be 0, WAL_APPEND_SYNC or WAL_APPEND_ASYNC")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ptr::null;
    use wal_engine::error::Code;
    use wal_engine::log::Entries;

    const GOOD: WalEntry = WalEntry { key: c"key".as_ptr().cast(), value: null(), key_len: 3, value_len: 0, op: 1, reserved: 0 };

    fn refusal(entries: &[WalEntry]) -> (Code, Option<u64>) {
        match caller!().batch(entries.as_ptr(), entries.len()) {
            Ok(_) => panic!("the batch must be refused"),
            Err(error) => (error.code, error.offset),
        }
    }

    #[test]
    fn a_batch_is_read_in_place() {
        let entries = [GOOD, WalEntry { key: null(), key_len: 0, value: c"val".as_ptr().cast(), value_len: 2, op: 255, reserved: 0 }];
        let caller = caller!();
        let batch = caller.batch(entries.as_ptr(), 2).map_err(|error| error.what).expect("a good batch");
        assert_eq!(batch.count(), 2);
        assert_eq!((batch.entry(0).op, batch.entry(0).key, batch.entry(0).value), (1, &b"key"[..], &b""[..]));
        assert_eq!((batch.entry(1).op, batch.entry(1).key, batch.entry(1).value), (255, &b""[..], &b"va"[..]));
    }

    #[test]
    fn a_bad_entry_is_refused_by_its_index() {
        for (entry, code) in [
            (WalEntry { op: 0, ..GOOD }, Code::Invalid),
            (WalEntry { op: WAL_OP_CHECKPOINT, ..GOOD }, Code::Invalid),
            (WalEntry { op: 257, ..GOOD }, Code::Invalid),
            (WalEntry { reserved: 1, ..GOOD }, Code::Invalid),
            (WalEntry { key: null(), ..GOOD }, Code::Invalid),
            (WalEntry { value_len: 1, ..GOOD }, Code::Invalid),
            (WalEntry { key_len: usize::MAX, ..GOOD }, Code::TooLarge),
            (WalEntry { value_len: usize::MAX, ..GOOD }, Code::TooLarge),
        ] {
            assert_eq!(refusal(&[GOOD, entry, GOOD]), (code, Some(1)));
        }
    }

    #[test]
    fn a_batch_that_no_segment_holds_is_refused_before_its_bytes_are_looked_at() {
        let half = WalEntry { value: c"".as_ptr().cast(), value_len: check::MAX_BYTES / 2, ..GOOD };
        assert_eq!(refusal(&[half, half]), (Code::TooLarge, Some(1)));
        for count in [usize::MAX, usize::MAX / 2, check::MAX_BYTES / 12 + 1] {
            let error = caller!().batch(&GOOD, count).map(|_| ()).expect_err("no such array");
            assert_eq!((error.code, error.offset), (Code::TooLarge, None));
        }
    }

    #[test]
    fn no_batch_is_no_batch() {
        assert_eq!(refusal(&[]), (Code::Invalid, None));
        assert_eq!(caller!().batch(null(), 1).map(|_| ()).map_err(|error| error.code), Err(Code::Invalid));
    }

    #[test]
    fn flags_contradict_each_other() {
        assert!(durability(WAL_APPEND_SYNC | WAL_APPEND_ASYNC).is_err() && durability(4).is_err());
    }
}
