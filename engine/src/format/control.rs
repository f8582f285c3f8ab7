//! Payloads that the log writes for itself: OPEN, END and the value of a CHECKPOINT record.

use super::constants::{CHECKPOINT_VALUE_LEN, END_PAYLOAD_LEN, OPEN_FIRST, OPEN_PAYLOAD_LEN, OPEN_RECOVERED, OPEN_ROTATED};
use super::field::{offset_at, put, u32_at, u64_at};
use crate::config::Offset;
use crate::seq::{self, Seq, Tail};

/// How a segment came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum How {
    /// It is the log's first.
    First = OPEN_FIRST,
    /// The predecessor was full.
    Rotated = OPEN_ROTATED,
    /// An opening or a truncation of everything made it; it overrides the predecessor's END.
    Recovered = OPEN_RECOVERED,
}

/// Where the frames of a segment's predecessor end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Index of the predecessor, 0 if there is none.
    pub index: u32,
    /// End of its last frame, in bytes.
    pub end: Offset,
    /// Offset of its last frame.
    pub last_frame: Offset,
    /// `header_crc` of its last frame.
    pub last_crc: u32,
}

/// The highest checkpoint so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// What it allows to truncate to.
    pub n: Seq,
    /// What the host declared.
    pub covered: Seq,
}

/// The payload of an OPEN frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Seq of the first record in this segment.
    pub first_seq: Seq,
    /// How it came about.
    pub how: How,
    /// The predecessor.
    pub link: Link,
    /// The last seq before this segment, and the last data seq. `first_seq` lies more than one above it if records between were lost.
    pub before: Tail,
    /// The highest checkpoint before this segment.
    pub checkpoint: Checkpoint,
    /// The epoch in which it was made.
    pub epoch: u64,
}

impl Open {
    /// The payload.
    pub fn encode(&self) -> [u8; OPEN_PAYLOAD_LEN] {
        let mut out = [0; OPEN_PAYLOAD_LEN];
        put(&mut out, 0, &self.first_seq.to_le_bytes());
        put(&mut out, 8, &self.link.index.to_le_bytes());
        put(&mut out, 12, &self.link.last_crc.to_le_bytes());
        put(&mut out, 16, &u64::from(self.link.end).to_le_bytes());
        put(&mut out, 24, &u64::from(self.link.last_frame).to_le_bytes());
        put(&mut out, 32, &self.before.seq.to_le_bytes());
        put(&mut out, 40, &self.before.data_seq.to_le_bytes());
        put(&mut out, 48, &self.checkpoint.n.to_le_bytes());
        put(&mut out, 56, &self.checkpoint.covered.to_le_bytes());
        put(&mut out, 64, &self.epoch.to_le_bytes());
        out[72] = self.how as u8;
        out
    }

    /// The tail in front of the first record. What was lost may have been data.
    pub fn tail_at_start(&self) -> Tail {
        let lost = self.first_seq > self.before.seq + 1;
        if lost { Tail { seq: self.first_seq - 1, data_seq: self.first_seq - 1 } } else { self.before }
    }

    /// Reads a payload whose checksum is right; `None` if its values contradict each other.
    pub fn decode(payload: &[u8]) -> Option<Open> {
        if payload.len() != OPEN_PAYLOAD_LEN {
            return None;
        }
        let how = match payload[72] {
            OPEN_FIRST => How::First,
            OPEN_ROTATED => How::Rotated,
            OPEN_RECOVERED => How::Recovered,
            _ => return None,
        };
        let open = Open {
            first_seq: u64_at(payload, 0),
            how,
            link: Link {
                index: u32_at(payload, 8),
                last_crc: u32_at(payload, 12),
                end: offset_at(payload, 16),
                last_frame: offset_at(payload, 24),
            },
            before: Tail { seq: u64_at(payload, 32), data_seq: u64_at(payload, 40) },
            checkpoint: Checkpoint { n: u64_at(payload, 48), covered: u64_at(payload, 56) },
            epoch: u64_at(payload, 64),
        };
        let in_range = open.first_seq.max(open.checkpoint.n) <= seq::MAX && open.epoch < u64::MAX;
        let order_is_right = in_range && open.first_seq > open.before.seq && open.before.seq >= open.before.data_seq;
        let dense = open.how == How::Recovered || open.before.seq.checked_add(1) == Some(open.first_seq);
        (order_is_right && dense && (how == How::Rotated) <= (open.link.index != 0)).then_some(open)
    }
}

/// The payload of an END frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Index of the successor.
    pub successor: u32,
    /// Last seq up to the end of this segment.
    pub last_seq: Seq,
    /// `header_crc` of the frame before, 0 if it is not known: so the checksum of an END differs where the records before it do.
    pub before_crc: u32,
}

impl End {
    /// The payload.
    pub fn encode(&self) -> [u8; END_PAYLOAD_LEN] {
        let mut out = [0; END_PAYLOAD_LEN];
        put(&mut out, 0, &self.last_seq.to_le_bytes());
        put(&mut out, 8, &self.successor.to_le_bytes());
        put(&mut out, 12, &self.before_crc.to_le_bytes());
        out
    }

    /// Reads a payload whose checksum is right.
    pub fn decode(payload: &[u8]) -> Option<End> {
        if payload.len() != END_PAYLOAD_LEN {
            return None;
        }
        Some(End { last_seq: u64_at(payload, 0), successor: u32_at(payload, 8), before_crc: u32_at(payload, 12) })
    }
}

impl Checkpoint {
    /// The value of a CHECKPOINT record.
    pub fn encode(&self) -> [u8; CHECKPOINT_VALUE_LEN] {
        let mut out = [0; CHECKPOINT_VALUE_LEN];
        put(&mut out, 0, &self.n.to_le_bytes());
        put(&mut out, 8, &self.covered.to_le_bytes());
        out
    }

    /// Reads a value whose checksum is right.
    pub fn decode(value: &[u8]) -> Option<Checkpoint> {
        if value.len() != CHECKPOINT_VALUE_LEN {
            return None;
        }
        Some(Checkpoint { n: u64_at(value, 0), covered: u64_at(value, 8) })
    }
}
