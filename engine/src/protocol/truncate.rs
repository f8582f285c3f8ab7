//! What may be forgotten.

use crate::error::{Code, Error, Result};
use crate::seq::{self, Seq};

/// What the log knows when a truncation is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Records up to here are forgotten already.
    pub floor: Seq,
    /// The last seq appended.
    pub last: Seq,
    /// The highest seq that the host has declared durable in its store.
    pub licence: Seq,
}

/// Whether records up to `up_to` may be forgotten: `Ok(false)` means that they are already.
pub fn check(up_to: Seq, known: Known, unchecked: bool) -> Result<bool> {
    if up_to > known.last {
        return Err(Error::new(Code::Range, "up_to is above the last sequence number").seqs(up_to.min(seq::MAX), 0));
    }
    if up_to <= known.floor {
        return Ok(false);
    }
    if up_to > known.licence && !unchecked {
        return Err(Error::new(
            Code::NotCheckpointed,
            "no checkpoint covers these records: call wal_checkpoint first, or WAL_TRUNCATE_UNCHECKED if the host keeps its own books",
        )
        .seqs(known.licence + 1, up_to));
    }
    Ok(true)
}
