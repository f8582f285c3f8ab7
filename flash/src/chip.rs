//! What the log needs from a flash chip, and the shape of one.

use wal_engine::config::{MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES};
use wal_engine::format::constants::{FRAME_ALIGN, OPEN_PAYLOAD_LEN, STATE_PAYLOAD_LEN};
use wal_engine::format::flash;
use wal_engine::format::frame::frame_len;

/// Why a chip did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The bytes cannot be read: their error correction gave up.
    Unreadable,
    /// The block is worn out; other blocks are not concerned.
    BadBlock,
    /// Anything else, in the driver's own numbers.
    Driver(i32),
}

/// A flash chip, or the part of one that belongs to the log. Offsets count from the log's first byte. The log programs a unit at most once between
/// two erasures of its block, in whole units, never across two blocks' worth of frames at once, and in any order of units.
pub trait Chip {
    /// Fills `bytes` from `offset` on. Any offset, any length.
    fn read(&self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault>;
    /// Programs whole units. When a power cut or an error interrupts it, each of its units holds anything.
    fn program(&self, offset: u32, bytes: &[u8]) -> Result<(), Fault>;
    /// Erases a block. When a power cut or an error interrupts it, the block holds anything.
    fn erase(&self, block: u32) -> Result<(), Fault>;
    /// What was programmed and erased before is durable when this returns.
    fn sync(&self) -> Result<(), Fault>;
}

/// The shape of a chip, and of the log on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes that are erased together.
    pub block_bytes: u32,
    /// Blocks of the log.
    pub blocks: u32,
    /// Blocks of one segment.
    pub segment_blocks: u32,
    /// Bytes that are programmed together.
    pub unit: u32,
    /// What erased bytes read as.
    pub erased: u8,
}

/// The coarsest unit, in bytes.
const MAX_UNIT: u32 = 256;

impl Geometry {
    /// Whether a log fits such a chip.
    pub fn is_legal(&self) -> bool {
        let unit_is_legal = self.unit.is_power_of_two() && self.unit <= MAX_UNIT;
        let segment = self.block_bytes.checked_mul(self.segment_blocks).map(u64::from);
        let whole = self.block_bytes.checked_mul(self.blocks);
        unit_is_legal
            && segment.is_some_and(|bytes| (MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&bytes))
            && whole.is_some_and(|whole| whole / self.segment_bytes() >= 2)
            && self.block_bytes & (self.align() - 1) == 0
            && (self.erased == 0 || self.erased == 0xFF)
    }

    /// Bytes of a segment.
    pub fn segment_bytes(&self) -> u32 {
        self.block_bytes.wrapping_mul(self.segment_blocks)
    }

    /// Bytes of the chip.
    pub(crate) fn whole(&self) -> u32 {
        self.block_bytes.wrapping_mul(self.blocks)
    }

    /// Segments of the chip.
    #[inline(never)]
    pub fn slots(&self) -> u32 {
        self.blocks.checked_div(self.segment_blocks).unwrap_or(0)
    }

    /// Frames begin at multiples of this.
    pub(crate) fn align(&self) -> u32 {
        self.unit.max(FRAME_ALIGN as u32)
    }

    /// `len` rounded up to where a frame can begin.
    pub(crate) fn aligned(&self, len: u32) -> u32 {
        let mask = self.align() - 1;
        len.wrapping_add(mask) & !mask
    }

    /// Where OPEN stands.
    #[inline(never)]
    pub(crate) fn data_start(&self) -> u32 {
        flash::data_start(self.unit)
    }

    /// Where the frame behind OPEN stands.
    pub(crate) fn first_frame(&self) -> u32 {
        self.data_start() + self.aligned(frame_len(OPEN_PAYLOAD_LEN as u32))
    }

    /// Room of a STATE.
    pub(crate) fn state_room(&self) -> u32 {
        self.aligned(frame_len(STATE_PAYLOAD_LEN as u32))
    }

    /// The longest payload that a segment takes, in bytes.
    pub fn max_payload(&self) -> u32 {
        let overhead = self.first_frame() + 2 * self.state_room() + frame_len(0);
        (self.segment_bytes() - overhead) & !(FRAME_ALIGN as u32 - 1)
    }
}
