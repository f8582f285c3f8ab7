//! When records that a host needs are missing.

use crate::error::{Code, Error, Result};
use crate::seq::Seq;

/// What the log still has.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// The last data record that was forgotten; 0 if none was.
    pub forgotten_data: Seq,
    /// The last seq in the log.
    pub last: Seq,
}

/// Whether everything above `after` is there, as far as forgetting and the end of the log go. `after` is what a store says it holds.
pub fn check(after: Seq, extent: Extent) -> Result<()> {
    if after > extent.last {
        return Err(Error::new(
            Code::Gap,
            "the log ends below what the store holds: the log is older than the store, or it is another store's",
        )
        .seqs(extent.last + 1, after));
    }
    if after < extent.forgotten_data {
        return Err(Error::new(
            Code::Gap,
            "records that the store lacks have been forgotten: the store is older than the log; restore a newer one",
        )
        .seqs(after + 1, extent.forgotten_data));
    }
    Ok(())
}

/// The refusal for a store that lacks records which damage took.
pub fn lost(first: Seq, last: Seq) -> Error {
    Error::new(Code::Gap, "these records were lost to damage; a store that lacks them cannot be completed from this log").seqs(first, last)
}

/// The refusal for a reader of what a pin should have kept.
pub fn unpinned(first: Seq, last: Seq) -> Error {
    Error::new(Code::Gap, "these records, which a pin was to keep, cannot be reached: their segments are damaged or gone").seqs(first, last)
}

/// The answer to a reader that another process's truncations have overtaken.
pub fn overtaken(first: Seq, last: Seq) -> Error {
    Error::new(Code::Gap, "these records were forgotten while they were read; pin what is to stay").seqs(first, last)
}
