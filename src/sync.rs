//! Making records durable, and waiting for it.

use wal_engine::log::Waited;
use wal_engine::seq;

use crate::error::WalError;
use crate::handle::Wal;
use crate::status::{WAL_OK, WAL_TIMEOUT, WalStatus};

/// ## Special seqs and times
/// As a seq: everything appended so far.
pub const WAL_SEQ_LAST: u64 = u64::MAX;
/// As timeout_us: no limit.
pub const WAL_WAIT_FOREVER: u64 = u64::MAX;

const _: () = assert!(WAL_SEQ_LAST == seq::LAST);

pub(crate) fn waited(waited: Waited) -> WalStatus {
    match waited {
        Waited::Durable => WAL_OK,
        Waited::TimedOut => WAL_TIMEOUT,
    }
}

/// ## Making durable
/// Returns once every record up to `seq` is durable. Threads that call it at once share syncs;
/// what is durable already costs nothing.
///
/// seq       a sequence number, or WAL_SEQ_LAST.
///
/// Returns:  WAL_OK;
///           WAL_E_INVALID, WAL_E_RANGE (seq is above the last), WAL_E_READ_ONLY, WAL_E_CLOSED,
///           WAL_E_FORKED;
///           WAL_E_IO, WAL_E_NO_SPACE (buffered records could not be written; they were taken
///           back);
///           WAL_E_FAILED (the sync failed, or an earlier one: the handle is poisoned, records
///           err->seq to seq_last are in doubt); WAL_E_PANIC.
/// Threads:  any. Allocates nothing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn wal_sync(wal: *mut Wal, seq: u64, err: *mut WalError) -> WalStatus {
    caller!().log(wal, err, |log| {
        log.engine.sync(seq)?;
        Ok(WAL_OK)
    })
}

/// Hands everything appended so far to the operating system, so that it survives the end of this
/// process, but not a power cut. Of use in WAL_SYNC_NONE and WAL_SYNC_BATCH.
///
/// Returns:  as wal_sync, but never WAL_E_RANGE.
/// Threads:  any. Allocates nothing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn wal_flush(wal: *mut Wal, err: *mut WalError) -> WalStatus {
    caller!().log(wal, err, |log| {
        log.engine.flush()?;
        Ok(WAL_OK)
    })
}

/// Waits until the record `seq` is durable, by whatever sync makes it so: it starts none itself,
/// and it may wait for a record that has not been appended yet. For threads that answer clients
/// or feed replicas while others append.
///
/// seq         a sequence number, or WAL_SEQ_LAST: everything appended before this call.
/// timeout_us  microseconds; 0 only asks; WAL_WAIT_FOREVER waits without a limit.
///
/// Returns:  WAL_OK, WAL_TIMEOUT;
///           WAL_E_INVALID, WAL_E_RANGE (no record can ever get that seq), WAL_E_READ_ONLY,
///           WAL_E_CLOSED (shut down meanwhile), WAL_E_FAILED, WAL_E_FORKED, WAL_E_PANIC.
/// Threads:  any. Allocates nothing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn wal_wait_durable(wal: *mut Wal, seq: u64, timeout_us: u64, err: *mut WalError) -> WalStatus {
    caller!().log(wal, err, |log| {
        // Fixed here: "the last" must not move on while this call waits.
        let seq = if seq == WAL_SEQ_LAST { log.engine.last_seq() } else { seq };
        Ok(waited(log.engine.wait_durable(seq, timeout_us)?))
    })
}

/// Shows everything that is durable by now to those who follow the log from other processes
/// (WAL_OPEN_LIVE): writes and syncs the manifest, unless that says so already. Appending goes on
/// meanwhile. A checkpoint and a truncation do the same.
///
/// Returns:  WAL_OK;
///           WAL_E_INVALID, WAL_E_READ_ONLY, WAL_E_CLOSED, WAL_E_FORKED, WAL_E_IO, WAL_E_NO_SPACE
///           (nothing has changed), WAL_E_FAILED, WAL_E_PANIC.
/// Threads:  any.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn wal_publish(wal: *mut Wal, err: *mut WalError) -> WalStatus {
    caller!().log(wal, err, |log| {
        log.engine.publish()?;
        Ok(WAL_OK)
    })
}
