//! The frame: what is committed together.

use super::checksum;
use super::constants::{
    DATA_START, FRAME_ALIGN, FRAME_HEADER_LEN, KIND_BATCH, KIND_END, KIND_FIRST, KIND_LAST, KIND_MIDDLE, KIND_OPEN, KIND_RECORD,
    OP_CHECKPOINT,
};
use super::field::{put, u8_at, u16_at, u32_at};
use crate::config::Offset;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// One record.
    Record = KIND_RECORD,
    /// Several records, all or none.
    Batch = KIND_BATCH,
    /// First frame of a segment.
    Open = KIND_OPEN,
    /// Last frame of a segment.
    End = KIND_END,
    /// First fragment of a record.
    First = KIND_FIRST,
    /// A fragment between first and last.
    Middle = KIND_MIDDLE,
    /// Last fragment.
    Last = KIND_LAST,
}

impl Kind {
    /// The kind with this number.
    #[inline]
    pub fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            KIND_RECORD => Kind::Record,
            KIND_BATCH => Kind::Batch,
            KIND_OPEN => Kind::Open,
            KIND_END => Kind::End,
            KIND_FIRST => Kind::First,
            KIND_MIDDLE => Kind::Middle,
            KIND_LAST => Kind::Last,
            _ => return None,
        })
    }
}

/// A frame's 24-byte header, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Checksum of payload and padding.
    pub payload_crc: u32,
    /// Bytes of payload, without padding.
    pub payload_len: u32,
    /// Seq of the first record in the frame, less the first seq of the segment. Frames without records carry the seq that comes next.
    pub relative_seq: u32,
    /// End of the last frame in this segment that was known to be synced when this one was written, 0 if none.
    pub watermark: Offset,
    /// Length of the key in front of the payload.
    pub key_len: u16,
    /// What the record does.
    pub op: u8,
    /// What the frame is.
    pub kind: Kind,
}

/// Length of a payload with its padding.
#[inline]
pub const fn padded(payload_len: Offset) -> Offset {
    (payload_len + FRAME_ALIGN as Offset - 1) & !(FRAME_ALIGN as Offset - 1)
}

/// Length on disk of a frame with this payload.
#[inline]
pub const fn frame_len(payload_len: Offset) -> Offset {
    FRAME_HEADER_LEN as Offset + padded(payload_len)
}

impl FrameHeader {
    /// The frame's whole length on disk.
    #[expect(clippy::len_without_is_empty, reason = "no frame is empty")]
    #[inline]
    pub fn len(&self) -> Offset {
        frame_len(Offset::from(self.payload_len))
    }

    /// Whether the frame is a CHECKPOINT record, which takes a seq and is not data.
    #[inline]
    pub fn is_checkpoint(&self) -> bool {
        self.kind == Kind::Record && self.op == OP_CHECKPOINT
    }

    /// Writes the header as it stands at `offset` of the segment with `seed`; returns its checksum.
    #[inline]
    pub fn encode(&self, seed: u32, offset: Offset, out: &mut [u8]) -> u32 {
        // In whole words: what is written in small pieces and read at once as a large one makes the processor wait.
        let words = [
            u64::from(self.payload_crc) | u64::from(self.payload_len) << 32,
            u64::from(self.relative_seq) | u64::from(self.watermark / FRAME_ALIGN as Offset) << 32,
        ];
        let rest = u32::from(self.key_len) | u32::from(self.op) << 16 | u32::from(self.kind as u8) << 24;
        let mut tail = [0; FRAME_HEADER_LEN - 4];
        put(&mut tail, 0, &words[0].to_le_bytes());
        put(&mut tail, 8, &words[1].to_le_bytes());
        put(&mut tail, 16, &rest.to_le_bytes());
        let crc = checksum::of_frame_header(seed, &tail, offset);
        put(out, 0, &crc.to_le_bytes());
        put(out, 4, &words[0].to_le_bytes());
        put(out, 12, &words[1].to_le_bytes());
        put(out, 20, &rest.to_le_bytes());
        crc
    }

    /// The header in `bytes` if it is valid by itself at `offset` of a segment with this seed and capacity: checksum right, kind known, lengths
    /// inside the segment, watermark at most its own offset.
    #[cfg_attr(feature = "std", inline(always))]
    #[cfg_attr(not(feature = "std"), inline(never))]
    pub fn decode(seed: u32, capacity: Offset, offset: Offset, bytes: &[u8]) -> Option<FrameHeader> {
        let bytes = bytes.first_chunk::<FRAME_HEADER_LEN>()?;
        // The cheap conditions first: a search for headers meets mostly zeros and stale bytes.
        let kind = Kind::from_byte(u8_at(bytes, 23))?;
        let payload_len = u32_at(bytes, 8);
        // A length inside the capacity cannot overflow what follows.
        let fits = Offset::from(payload_len) <= capacity && offset.checked_add(frame_len(Offset::from(payload_len)))? <= capacity;
        if offset < DATA_START as Offset || !fits {
            return None;
        }
        let watermark = Offset::from(u32_at(bytes, 16)).checked_mul(FRAME_ALIGN as Offset)?;
        let key_len = u16_at(bytes, 20);
        if watermark > offset {
            return None;
        }
        // The key lies inside the frame, but for a first fragment, whose key may go on in the next.
        if u32::from(key_len) > payload_len && kind != Kind::First {
            return None;
        }
        if u32_at(bytes, 0) != checksum::of_frame_header(seed, bytes.get(4..FRAME_HEADER_LEN)?, offset) {
            return None;
        }
        Some(FrameHeader {
            payload_crc: u32_at(bytes, 4),
            payload_len,
            relative_seq: u32_at(bytes, 12),
            watermark,
            key_len,
            op: u8_at(bytes, 22),
            kind,
        })
    }

    /// The checksum that an encoded header carries.
    #[inline]
    pub fn stored_crc(bytes: &[u8]) -> u32 {
        u32_at(bytes, 0)
    }
}

/// Checksum over payload pieces and the zeros that pad them.
pub fn payload_crc(pieces: &[&[u8]]) -> u32 {
    let mut running = checksum::Running::new();
    let mut len = 0;
    for piece in pieces {
        running.update(piece);
        len += piece.len() as Offset;
    }
    let padding = (padded(len) - len) as usize;
    running.update([0; FRAME_ALIGN].get(..padding).unwrap_or_default());
    running.finish()
}
