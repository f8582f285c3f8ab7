//! One copy of the manifest's content.

use super::checksum;
use super::constants::{DATA_START, FORMAT_VERSION, FRAME_ALIGN, MANIFEST_COPY_LEN, MANIFEST_DIRTY, MANIFEST_MAGIC, READER_VERSION};
use super::control::Checkpoint;
use super::field::{put, u16_at, u32_at, u64_at};
use super::segment_header::BadHeader;
use crate::config::{LogId, MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES};
use crate::seq::{self, Seq, Tail};

/// A point up to which everything is known to be durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Segment.
    pub segment: u32,
    /// Offset in it.
    pub offset: u64,
    /// The last seq before it and the last data seq.
    pub tail: Tail,
}

/// What the manifest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Rises with every install; the valid copy with the highest one counts.
    pub generation: u64,
    /// Whether frames may stand behind the bound.
    pub dirty: bool,
    /// The log.
    pub log_id: LogId,
    /// Records up to here are forgotten.
    pub floor: Seq,
    /// The last data record among them.
    pub forgotten_data: Seq,
    /// The highest checkpoint.
    pub checkpoint: Checkpoint,
    /// Rises at each unclean opening and at each that dropped something.
    pub epoch: u64,
    /// The bound.
    pub bound: Bound,
    /// The oldest segment that is needed.
    pub oldest_segment: u32,
    /// A segment's seed is this plus its index.
    pub seed_base: u32,
    /// Size of every segment, in bytes.
    pub segment_bytes: u64,
    /// First and last index that a prefix recovery moves aside; 0 and 0 if none.
    pub aside: (u32, u32),
}

impl Manifest {
    /// The 256 bytes of a copy.
    pub fn encode(&self) -> [u8; MANIFEST_COPY_LEN] {
        let mut out = [0; MANIFEST_COPY_LEN];
        put(&mut out, 0, &MANIFEST_MAGIC);
        put(&mut out, 8, &FORMAT_VERSION.to_le_bytes());
        put(&mut out, 10, &READER_VERSION.to_le_bytes());
        put(&mut out, 12, &(if self.dirty { MANIFEST_DIRTY } else { 0 }).to_le_bytes());
        put(&mut out, 16, &self.generation.to_le_bytes());
        put(&mut out, 24, &self.log_id);
        put(&mut out, 40, &self.floor.to_le_bytes());
        put(&mut out, 48, &self.forgotten_data.to_le_bytes());
        put(&mut out, 56, &self.checkpoint.n.to_le_bytes());
        put(&mut out, 64, &self.checkpoint.covered.to_le_bytes());
        put(&mut out, 72, &self.epoch.to_le_bytes());
        put(&mut out, 80, &self.bound.offset.to_le_bytes());
        put(&mut out, 88, &self.bound.tail.seq.to_le_bytes());
        put(&mut out, 96, &self.bound.tail.data_seq.to_le_bytes());
        put(&mut out, 104, &self.segment_bytes.to_le_bytes());
        put(&mut out, 112, &self.bound.segment.to_le_bytes());
        put(&mut out, 116, &self.oldest_segment.to_le_bytes());
        put(&mut out, 120, &self.seed_base.to_le_bytes());
        put(&mut out, 124, &self.aside.0.to_le_bytes());
        put(&mut out, 128, &self.aside.1.to_le_bytes());
        let crc = checksum::of(&out[..MANIFEST_COPY_LEN - 4]);
        put(&mut out, MANIFEST_COPY_LEN - 4, &crc.to_le_bytes());
        out
    }

    /// Reads a copy.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, BadHeader> {
        let bytes = bytes.get(..MANIFEST_COPY_LEN).ok_or(BadHeader::Damaged)?;
        if bytes[..8] != MANIFEST_MAGIC || u32_at(bytes, MANIFEST_COPY_LEN - 4) != checksum::of(&bytes[..MANIFEST_COPY_LEN - 4]) {
            return Err(BadHeader::Damaged);
        }
        if u16_at(bytes, 10) > FORMAT_VERSION {
            return Err(BadHeader::Newer);
        }
        let mut log_id = [0; 16];
        log_id.copy_from_slice(&bytes[24..40]);
        let manifest = Manifest {
            generation: u64_at(bytes, 16),
            dirty: u32_at(bytes, 12) & MANIFEST_DIRTY != 0,
            log_id,
            floor: u64_at(bytes, 40),
            forgotten_data: u64_at(bytes, 48),
            checkpoint: Checkpoint { n: u64_at(bytes, 56), covered: u64_at(bytes, 64) },
            epoch: u64_at(bytes, 72),
            bound: Bound {
                segment: u32_at(bytes, 112),
                offset: u64_at(bytes, 80),
                tail: Tail { seq: u64_at(bytes, 88), data_seq: u64_at(bytes, 96) },
            },
            oldest_segment: u32_at(bytes, 116),
            seed_base: u32_at(bytes, 120),
            segment_bytes: u64_at(bytes, 104),
            aside: (u32_at(bytes, 124), u32_at(bytes, 128)),
        };
        let legal = (MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&manifest.segment_bytes)
            && manifest.bound.offset <= manifest.segment_bytes
            && manifest.bound.offset >= DATA_START
            && manifest.bound.offset.is_multiple_of(FRAME_ALIGN as u64)
            && (1..=manifest.bound.segment).contains(&manifest.oldest_segment)
            && manifest.bound.tail.data_seq <= manifest.bound.tail.seq
            && manifest.forgotten_data <= manifest.floor
            && manifest.bound.tail.seq.max(manifest.floor).max(manifest.checkpoint.n) <= seq::MAX
            && manifest.epoch.max(manifest.generation) < u64::MAX;
        if legal { Ok(manifest) } else { Err(BadHeader::Damaged) }
    }
}
