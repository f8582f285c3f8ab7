//! Sequence numbers: what they may be and the values that stand for something else.

/// The number of a record. The first is 1; 0 means "before the first".
pub type Seq = u64;

/// The highest number that a record may get.
pub const MAX: Seq = (1 << 62) - 1;

/// As an argument: the last seq appended so far.
pub const LAST: Seq = u64::MAX;
/// As `store_seq`: the store is empty.
pub const STORE_EMPTY: Seq = u64::MAX - 1;
/// As `after_seq`: start at the oldest record kept.
pub const OLDEST: Seq = u64::MAX - 2;

/// A record's place in the order and the last data record up to it: CHECKPOINT records take a seq but are not data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// The last seq given out.
    pub seq: Seq,
    /// The last seq at or below it that is not a CHECKPOINT record; 0 if there is none.
    pub data_seq: Seq,
}

impl Tail {
    /// The tail after `count` more records.
    #[must_use]
    #[inline]
    pub fn advanced(self, count: u64, data: bool) -> Tail {
        let seq = self.seq + count;
        Tail { seq, data_seq: if data { seq } else { self.data_seq } }
    }
}
