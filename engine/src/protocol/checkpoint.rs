//! What a checkpoint licenses.

use crate::error::{Code, Error, Result};
use crate::seq::{self, Seq, Tail};

/// The seq that a host declares: `seq::LAST` stands for everything appended so far.
pub fn covered(given: Seq, last: Seq) -> Result<Seq> {
    match given {
        seq::LAST => Ok(last),
        given if given > last => {
            Err(Error::new(Code::Range, "covered is above the last sequence number: the store cannot hold what was never appended")
                .seqs(given.min(seq::MAX), 0))
        }
        given => Ok(given),
    }
}

/// The highest seq that a declaration makes safe to truncate to. `before` is the tail in front of the CHECKPOINT record, `own_seq` its seq.
///
/// Not always its own seq: a record that another thread appended between the store's flush and this call is below `own_seq`, yet not in the store.
pub fn licence(covered: Seq, before: Tail, own_seq: Seq) -> Seq {
    #[cfg(wal_plants)]
    let covered = crate::plants::Mistake::LicenceIsOwnSeq.or(own_seq, covered);
    if before.data_seq <= covered { own_seq } else { covered }
}
