//! Reading records back.

use core::ffi::c_void;

use wal_engine::error::{Code, Error};
use wal_engine::log::ReplayOptions;
use wal_engine::seq;

use crate::boundary::address;
use crate::check;
use crate::error::WalError;
use crate::handle::{Room, Wal, WalCursor};
use crate::status::{WAL_END, WAL_OK, WalStatus};
use crate::sync::waited;
use crate::text::DirName;

/// ## wal_replay_open: after_seq
/// As after_seq: the oldest record kept.
pub const WAL_REPLAY_OLDEST: u64 = u64::MAX - 2;

/// ## wal_replay_open: flags
/// CHECKPOINT records, too.
pub const WAL_REPLAY_RAW: u32 = 1;
/// Also what is not yet durable.
pub const WAL_REPLAY_UNSYNCED: u32 = 2;
/// Step over records lost to damage.
pub const WAL_REPLAY_SKIP_LOST: u32 = 4;
/// Also what is forgotten but pinned.
pub const WAL_REPLAY_PINNED: u32 = 8;

const _: () = assert!(WAL_REPLAY_OLDEST == seq::OLDEST);

/// One record read back.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WalRecord {
    /// Its sequence number.
    pub seq: u64,
    /// Last seq of its batch; its own seq if it was appended alone.
    pub batch_last_seq: u64,
    /// key_len bytes, never NULL.
    pub key: *const c_void,
    /// value_len bytes, never NULL.
    pub value: *const c_void,
    /// Bytes in the key.
    pub key_len: usize,
    /// Bytes in the value.
    pub value_len: usize,
    /// As appended: WAL_OP_PUT, WAL_OP_DELETE or 16 to 255; with WAL_REPLAY_RAW also
    /// WAL_OP_CHECKPOINT, whose value is n, then covered, 8 bytes each, little-endian.
    pub op: u32,
    /// Reserved, 0.
    pub reserved: [u32; 3],
}

const _: () = assert!(size_of::<WalRecord>() == 32 + 4 * size_of::<usize>());

/// One record read back by wal_replay_next_packed, without its bytes. No padding: 32 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WalPackedRecord {
    /// Its sequence number.
    pub seq: u64,
    /// Last seq of its batch; its own seq if it was appended alone.
    pub batch_last_seq: u64,
    /// Bytes in the key.
    pub key_len: u32,
    /// Bytes in the value.
    pub value_len: u32,
    /// As in wal_record_t.
    pub op: u32,
    /// Reserved, 0.
    pub reserved: u32,
}

// Lengths fit, because no record is longer than a segment.
const _: () = assert!(size_of::<WalPackedRecord>() == 32 && check::MAX_BYTES <= u32::MAX as usize);

/// ## Replay
/// Starts reading the records with seq > after_seq, in order. It first syncs, and the cursor
/// shows only what is durable, so that nothing it shows can be taken back by a crash.
///
/// after_seq  what the store holds: 0 for an empty one; or WAL_REPLAY_OLDEST for all that the
///            log still has.
/// flags      0, or any of:
///            WAL_REPLAY_RAW        yield CHECKPOINT records, too;
///            WAL_REPLAY_UNSYNCED   yield everything appended, durable or not; on a log opened
///                                  read-only, also what a crash has left undecided;
///            WAL_REPLAY_SKIP_LOST  go on behind records that damage took, instead of
///                                  WAL_E_GAP; the jump shows in the seqs;
///            WAL_REPLAY_PINNED     begin among what the host has forgotten, as far as a pin that
///                                  is not lost keeps it: after_seq at or above that pin's seq,
///                                  or WAL_REPLAY_OLDEST for all that any pin keeps.
/// out        receives the cursor.
///
/// Returns:  WAL_OK, even if there is nothing to read;
///           WAL_E_GAP: records above after_seq have been forgotten (the store is older than the
///           log), or after_seq is above the last seq (the log is older than the store, or
///           another store's); seq to seq_last are missing. With WAL_REPLAY_PINNED also: what a
///           pin was to keep is damaged or gone;
///           WAL_E_INVALID, WAL_E_CLOSED, WAL_E_FORKED, WAL_E_CORRUPT, WAL_E_IO, WAL_E_NO_SPACE,
///           WAL_E_NO_MEMORY (a cursor has a buffer of 1 MiB), WAL_E_FAILED, WAL_E_PANIC.
/// Threads:  any.
/// Lifetime: the cursor lives until wal_replay_close, even beyond wal_close.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn wal_replay_open(
    wal: *mut Wal,
    after_seq: u64,
    flags: u32,
    out: *mut *mut WalCursor,
    err: *mut WalError,
) -> WalStatus {
    let caller = caller!();
    caller.log(wal, err, |log| {
        const KNOWN: u32 = WAL_REPLAY_RAW | WAL_REPLAY_UNSYNCED | WAL_REPLAY_SKIP_LOST | WAL_REPLAY_PINNED;
        check::flags(flags, KNOWN, "flags has bits that are none of WAL_REPLAY_...")?;
        caller.need(out, "out is NULL")?;
        let options = ReplayOptions {
            raw: flags & WAL_REPLAY_RAW != 0,
            unsynced: flags & WAL_REPLAY_UNSYNCED != 0,
            skip_lost: flags & WAL_REPLAY_SKIP_LOST != 0,
            pinned: flags & WAL_REPLAY_PINNED != 0,
        };
        let room = Room::new()?;
        let replay = log.engine.replay(after_seq, options)?;
        caller.put(out, room.fill(log.cursor(replay)));
        Ok(WAL_OK)
    })
}

/// Reads the next record. After WAL_END it may be called again and goes on with what has become
/// durable since.
///
/// record    receives the record.
///
/// Returns:  WAL_OK, WAL_END (no more records for now);
///           WAL_E_CORRUPT (from now on always: the records behind cannot be trusted to follow),
///           WAL_E_GAP (records seq to seq_last were lost to damage; likewise);
///           WAL_E_INVALID, WAL_E_IO, WAL_E_NO_MEMORY (a record longer than the buffer),
///           WAL_E_CLOSED, WAL_E_FORKED, WAL_E_PANIC (then WAL_E_FAILED),
///           WAL_E_MISUSE (two threads at once, as far as it is noticed).
/// Threads:  one at a time for each cursor.
/// Lifetime: key and value are valid until the next call on this cursor.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn wal_replay_next(cursor: *mut WalCursor, record: *mut WalRecord, err: *mut WalError) -> WalStatus {
    let caller = caller!();
    caller.cursor(cursor, err, |replay| {
        caller.need(record, "record is NULL")?;
        let Some(next) = replay.next()? else { return Ok(WAL_END) };
        let filled = WalRecord {
            seq: next.seq,
            batch_last_seq: next.batch_last_seq,
            key: address(next.key),
            value: address(next.value),
            key_len: next.key.len(),
            value_len: next.value.len(),
            op: next.op.into(),
            reserved: [0; 3],
        };
        caller.put(record, filled);
        Ok(WAL_OK)
    })
}

/// Reads as many of the next records as there is room for, in one call: wal_replay_next for many
/// small records, and for languages whose calls into C are dear. The two may be mixed on one
/// cursor.
///
/// records   receives up to `capacity` records without their bytes, in the machine's byte order.
/// capacity  at least 1.
/// bytes     receives the first record's key, its value, the second's key, its value, and so on,
///           with nothing between: `size` bytes at most, and whole records only. NULL if size is
///           0. Both may stand at any address.
/// count     receives how many records were read: at least 1.
///
/// Returns:  WAL_OK: there may be more, whatever count says; WAL_END (no more records for now);
///           WAL_E_NO_ROOM: the next record does not fit into `size` bytes; it stays the next,
///           and records[0] describes it: it needs key_len + value_len bytes;
///           the errors of wal_replay_next, once the records before have been handed out. Except
///           for WAL_E_NO_ROOM, results are written with WAL_OK only; the rest of both memories
///           has no defined content afterwards.
/// Threads:  one at a time for each cursor.
/// Lifetime: all is the caller's. Ends that of the bytes that wal_replay_next has given.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn wal_replay_next_packed(
    cursor: *mut WalCursor,
    records: *mut WalPackedRecord,
    capacity: usize,
    bytes: *mut c_void,
    size: usize,
    count: *mut usize,
    err: *mut WalError,
) -> WalStatus {
    let caller = caller!();
    caller.cursor(cursor, err, |replay| {
        let mut room = caller.room(records, capacity, bytes, size)?;
        caller.need(count, "count is NULL")?;
        let mut refused = None;
        let outcome = replay.take_while(|next| {
            let record = WalPackedRecord {
                seq: next.seq,
                batch_last_seq: next.batch_last_seq,
                key_len: next.key.len() as u32,
                value_len: next.value.len() as u32,
                op: next.op.into(),
                reserved: 0,
            };
            let is_taken = room.add(record, next.key, next.value);
            if !is_taken {
                refused = Some(record);
            }
            is_taken
        });
        match (room.count(), outcome, refused) {
            (1.., _, _) => {
                // An error met behind them is met again by the next call.
                caller.put(count, room.count());
                Ok(WAL_OK)
            }
            (0, Err(error), _) => Err(error),
            (0, Ok(()), None) => Ok(WAL_END),
            (0, Ok(()), Some(record)) => {
                caller.put(records, record);
                let what = "the next record needs more than size bytes; records[0] says how many";
                Err(Error::new(Code::NoRoom, what).seqs(record.seq, record.seq))
            }
        }
    })
}

/// Waits until wal_replay_next has something new to say after a WAL_END. Starts no sync.
///
/// timeout_us  microseconds; 0 only asks; WAL_WAIT_FOREVER waits without a limit.
///
/// Returns:  WAL_OK (call wal_replay_next), WAL_TIMEOUT;
///           WAL_E_INVALID, WAL_E_CLOSED (shut down meanwhile), WAL_E_FAILED (poisoned: nothing
///           more becomes durable), WAL_E_CORRUPT, WAL_E_GAP, WAL_E_FORKED, WAL_E_MISUSE,
///           WAL_E_PANIC.
/// Threads:  one at a time for each cursor.
/// Lifetime: ends that of the last record's bytes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn wal_replay_wait(cursor: *mut WalCursor, timeout_us: u64, err: *mut WalError) -> WalStatus {
    caller!().cursor(cursor, err, |replay| Ok(waited(replay.wait(timeout_us)?)))
}

/// Frees a cursor. NULL: nothing happens.
///
/// Threads:  no other call on this cursor may be under way or follow.
/// Lifetime: ends the cursor and the bytes of its last record.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_replay_close(cursor: *mut WalCursor) {
    let caller = caller!();
    let taken = caller.take_cursor(cursor);
    caller.guard(core::ptr::null_mut(), &DirName::new(), || {
        if let Some(cursor) = taken {
            cursor.close();
        }
        Ok(WAL_OK)
    });
}
