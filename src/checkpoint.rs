//! The agreement between store and log: checkpoint and truncate.

use crate::check;
use crate::error::WalError;
use crate::handle::Wal;
use crate::status::{WAL_OK, WalStatus};

/// ## wal_truncate: flags
/// Forget even what no checkpoint covers.
pub const WAL_TRUNCATE_UNCHECKED: u32 = 1;

/// ## Checkpoint and truncate
/// Declares that the host's store durably holds every record up to `covered`, and learns up to
/// where the log may be truncated. It makes everything appended so far durable, appends a
/// CHECKPOINT record (which takes a sequence number; replay skips it), forces it to disk, and
/// remembers the declaration.
///
/// covered   the highest seq that the store durably holds, together with all before it; or
///           WAL_SEQ_LAST if nothing has been appended since the store's flush began.
/// n         receives the highest seq that this declaration makes safe to forget: at least
///           `covered`, and the CHECKPOINT record's own seq if no other record stands between
///           the two. Save it in the store, durably, before calling wal_truncate.
///
/// Calling it with WAL_SEQ_LAST while other threads append loses what they appended since the
/// flush: pass what the store has really flushed. A `covered` below an earlier one is allowed;
/// it takes nothing back.
///
/// Returns:  WAL_OK;
///           WAL_E_INVALID (n is NULL, too), WAL_E_RANGE (covered is above the last seq: this is
///           not the store's log), WAL_E_READ_ONLY, WAL_E_CLOSED, WAL_E_FORKED;
///           WAL_E_IO, WAL_E_NO_SPACE, WAL_E_NO_MEMORY, WAL_E_FAILED: nothing may be truncated
///           on the strength of this call; WAL_E_PANIC.
/// Threads:  any.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn wal_checkpoint(wal: *mut Wal, covered: u64, n: *mut u64, err: *mut WalError) -> WalStatus {
    let caller = caller!();
    caller.log(wal, err, |log| {
        caller.need(n, "n is NULL")?;
        let licence = log.engine.checkpoint(covered)?;
        caller.put(n, licence);
        Ok(WAL_OK)
    })
}

/// Forgets every record up to `up_to`, and only those. No replay opened later yields them; a crash
/// does not bring them back; a cursor that is open keeps what it still has to read. The disk
/// space comes back in whole segments, in the background, and appends do not wait for it.
///
/// up_to     usually the n of wal_checkpoint, once the store has saved it. 0, or what has been
///           forgotten already, does nothing.
/// flags     0, or WAL_TRUNCATE_UNCHECKED: forget even what no checkpoint covers.
///
/// Returns:  WAL_OK;
///           WAL_E_INVALID, WAL_E_RANGE (above the last seq, whatever the flags);
///           WAL_E_NOT_CHECKPOINTED (above the highest n of this opening, and above the
///           store_seq it was opened with; seq to seq_last are not covered);
///           WAL_E_READ_ONLY, WAL_E_CLOSED, WAL_E_FORKED;
///           WAL_E_IO, WAL_E_NO_SPACE, WAL_E_NO_MEMORY (nothing has been forgotten, or it is not
///           durable that it has: call it again), WAL_E_FAILED, WAL_E_PANIC.
/// Threads:  any.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn wal_truncate(wal: *mut Wal, up_to: u64, flags: u32, err: *mut WalError) -> WalStatus {
    caller!().log(wal, err, |log| {
        check::flags(flags, WAL_TRUNCATE_UNCHECKED, "flags must be 0 or WAL_TRUNCATE_UNCHECKED")?;
        log.engine.truncate(up_to, flags & WAL_TRUNCATE_UNCHECKED != 0)?;
        Ok(WAL_OK)
    })
}
