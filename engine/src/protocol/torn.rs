//! Torn or rotten: whether a bad frame is the work of a crash or of damage.

use crate::config::Offset;

/// What a bad frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing vouches for it: a write that a crash interrupted.
    Torn,
    /// Something durable says that it was durable: damage.
    Rotten,
}

/// The verdict on a bad frame at `offset` of a segment whose bytes up to `vouched` were durable, as the manifest's bound, a counting successor's
/// OPEN or the watermark of any later valid frame header says.
pub fn verdict(offset: Offset, vouched: Offset) -> Verdict {
    if offset < vouched { Verdict::Rotten } else { Verdict::Torn }
}
