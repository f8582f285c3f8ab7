//! The static header of a segment: written once, before the segment gets its name.

use super::checksum;
use super::constants::{
    DATA_START, FORMAT_VERSION, MAX_WRITE_UNIT, READER_VERSION, SEGMENT_HEADER_LEN, SEGMENT_MAGIC, SEGMENT_RECYCLED, WRITE_UNIT,
};
use super::field::{offset_at, put, u16_at, u32_at};
use crate::config::{LogId, MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES, Offset};

/// A segment's identity and shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The log it belongs to.
    pub log_id: LogId,
    /// Its index, which its name repeats. Never used twice.
    pub index: u32,
    /// Start value of the checksums of its frame headers.
    pub seed: u32,
    /// Size of the file, in bytes.
    pub capacity: Offset,
    /// Where frames start.
    pub data_start: Offset,
    /// Unit in which it is written, in bytes; frames begin at its multiples.
    pub write_unit: u32,
    /// Whether the blocks held other frames before.
    pub recycled: bool,
}

/// What writing and reading the frames of a segment takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Start value of the checksums of its frame headers.
    pub seed: u32,
    /// Its size, in bytes.
    pub capacity: Offset,
    /// Where frames start.
    pub data_start: Offset,
    /// Unit in which it is written, in bytes; frames begin at its multiples.
    pub write_unit: u32,
}

impl Shape {
    /// Where the frame behind one that ends at `end` begins.
    #[inline]
    pub fn next_frame(&self, end: Offset) -> Offset {
        let unit = Offset::from(self.write_unit.max(WRITE_UNIT));
        (end + unit - 1) & !(unit - 1)
    }
}

impl From<SegmentHeader> for Shape {
    fn from(header: SegmentHeader) -> Shape {
        header.shape()
    }
}

/// Why bytes are not a usable segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHeader {
    /// Not a header, or a damaged one.
    Damaged,
    /// Valid, but for newer readers only.
    Newer,
}

impl SegmentHeader {
    /// The header of a segment that this library makes.
    pub fn new(log_id: LogId, seed_base: u32, index: u32, capacity: Offset, recycled: bool) -> SegmentHeader {
        SegmentHeader {
            log_id,
            index,
            seed: SegmentHeader::seed(seed_base, index),
            capacity,
            data_start: DATA_START as Offset,
            write_unit: WRITE_UNIT,
            recycled,
        }
    }

    /// Where the frame behind one that ends at `end` begins.
    #[inline]
    pub fn next_frame(&self, end: Offset) -> Offset {
        self.shape().next_frame(end)
    }

    /// As much of it as its frames need.
    #[inline]
    pub fn shape(&self) -> Shape {
        Shape { seed: self.seed, capacity: self.capacity, data_start: self.data_start, write_unit: self.write_unit }
    }

    /// The seed of a segment: another one for each index, so that no frame of an earlier segment is valid in its blocks.
    pub fn seed(seed_base: u32, index: u32) -> u32 {
        #[cfg(wal_plants)]
        let index = crate::plants::Mistake::SeedIsNotRenewed.or(0, index);
        seed_base.wrapping_add(index)
    }

    /// The 64 bytes.
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_LEN] {
        let mut out = [0; SEGMENT_HEADER_LEN];
        put(&mut out, 0, &SEGMENT_MAGIC);
        put(&mut out, 8, &FORMAT_VERSION.to_le_bytes());
        put(&mut out, 10, &READER_VERSION.to_le_bytes());
        put(&mut out, 12, &(if self.recycled { SEGMENT_RECYCLED } else { 0 }).to_le_bytes());
        put(&mut out, 16, &self.log_id);
        put(&mut out, 32, &self.index.to_le_bytes());
        put(&mut out, 36, &self.seed.to_le_bytes());
        put(&mut out, 40, &u64::from(self.capacity).to_le_bytes());
        put(&mut out, 48, &self.write_unit.to_le_bytes());
        put(&mut out, 52, &(self.data_start as u32).to_le_bytes());
        let crc = checksum::of(&out[..SEGMENT_HEADER_LEN - 4]);
        put(&mut out, SEGMENT_HEADER_LEN - 4, &crc.to_le_bytes());
        out
    }

    /// Reads the header in `bytes`, which are at least 64.
    pub fn decode(bytes: &[u8]) -> Result<SegmentHeader, BadHeader> {
        let bytes = bytes.get(..SEGMENT_HEADER_LEN).ok_or(BadHeader::Damaged)?;
        if bytes[..8] != SEGMENT_MAGIC || u32_at(bytes, SEGMENT_HEADER_LEN - 4) != checksum::of(&bytes[..SEGMENT_HEADER_LEN - 4]) {
            return Err(BadHeader::Damaged);
        }
        if u16_at(bytes, 10) > FORMAT_VERSION {
            return Err(BadHeader::Newer);
        }
        let mut log_id = [0; 16];
        log_id.copy_from_slice(&bytes[16..32]);
        let header = SegmentHeader {
            log_id,
            index: u32_at(bytes, 32),
            seed: u32_at(bytes, 36),
            capacity: offset_at(bytes, 40),
            data_start: Offset::from(u32_at(bytes, 52)),
            write_unit: u32_at(bytes, 48),
            recycled: u32_at(bytes, 12) & SEGMENT_RECYCLED != 0,
        };
        let shape_is_legal = (MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&u64::from(header.capacity))
            && header.data_start >= DATA_START as Offset
            && header.data_start < header.capacity
            && header.write_unit.is_power_of_two()
            && header.write_unit <= MAX_WRITE_UNIT
            && header.next_frame(header.data_start) == header.data_start;
        if shape_is_legal { Ok(header) } else { Err(BadHeader::Damaged) }
    }
}
