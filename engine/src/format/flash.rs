//! What only logs in flash have: the chip header behind a segment's own, and the STATE, which stands for the manifest.

use super::checksum;
use super::constants::{CHIP_HEADER_LEN, CHIP_MAGIC, SEGMENT_HEADER_LEN, STATE_PAYLOAD_LEN};
use super::control::Checkpoint;
use super::field::{put, u32_at, u64_at};
use crate::seq::{self, Seq};

/// The chip as the log was told about it, and how worn the segment's blocks are. Stands directly behind the segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChipHeader {
    /// Bytes that are erased together.
    pub block_bytes: u32,
    /// Blocks of the whole log.
    pub blocks: u32,
    /// Where the segment stands: its first byte, divided by the size of a segment.
    pub slot: u32,
    /// How often the segment's blocks were erased, this time included.
    pub erasures: u32,
    /// What erased bytes read as.
    pub erased: u8,
}

impl ChipHeader {
    /// The 32 bytes.
    pub fn encode(&self) -> [u8; CHIP_HEADER_LEN] {
        let mut out = [0; CHIP_HEADER_LEN];
        put(&mut out, 0, &CHIP_MAGIC);
        put(&mut out, 4, &self.block_bytes.to_le_bytes());
        put(&mut out, 8, &self.blocks.to_le_bytes());
        put(&mut out, 12, &self.slot.to_le_bytes());
        put(&mut out, 16, &self.erasures.to_le_bytes());
        out[20] = self.erased;
        let crc = checksum::of(&out[..CHIP_HEADER_LEN - 4]);
        put(&mut out, CHIP_HEADER_LEN - 4, &crc.to_le_bytes());
        out
    }

    /// Reads the header in `bytes`; `None` if they are not one.
    pub fn decode(bytes: &[u8; CHIP_HEADER_LEN]) -> Option<ChipHeader> {
        if bytes[..4] != CHIP_MAGIC || u32_at(bytes, CHIP_HEADER_LEN - 4) != checksum::of(&bytes[..CHIP_HEADER_LEN - 4]) {
            return None;
        }
        Some(ChipHeader {
            block_bytes: u32_at(bytes, 4),
            blocks: u32_at(bytes, 8),
            slot: u32_at(bytes, 12),
            erasures: u32_at(bytes, 16),
            erased: bytes[20],
        })
    }
}

/// Where frames start behind both headers, for a chip that is programmed in units of this size.
pub const fn data_start(unit: u32) -> u32 {
    let headers = (SEGMENT_HEADER_LEN + CHIP_HEADER_LEN) as u32;
    if unit > 32 { (headers + unit - 1) & !(unit - 1) } else { headers }
}

/// What a manifest would say. It travels as a FIRST fragment with an op of its own that nothing continues: every reader of records skips it as void.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Records up to here are forgotten.
    pub floor: Seq,
    /// The last data record among them.
    pub forgotten_data: Seq,
    /// The highest checkpoint.
    pub checkpoint: Checkpoint,
}

impl State {
    /// The payload.
    pub fn encode(&self) -> [u8; STATE_PAYLOAD_LEN] {
        let mut out = [0; STATE_PAYLOAD_LEN];
        put(&mut out, 0, &self.floor.to_le_bytes());
        put(&mut out, 8, &self.forgotten_data.to_le_bytes());
        put(&mut out, 16, &self.checkpoint.n.to_le_bytes());
        put(&mut out, 24, &self.checkpoint.covered.to_le_bytes());
        out
    }

    /// Reads a payload whose checksum is right; `None` if its values contradict each other.
    pub fn decode(payload: &[u8]) -> Option<State> {
        let payload: &[u8; STATE_PAYLOAD_LEN] = payload.try_into().ok()?;
        let state = State {
            floor: u64_at(payload, 0),
            forgotten_data: u64_at(payload, 8),
            checkpoint: Checkpoint { n: u64_at(payload, 16), covered: u64_at(payload, 24) },
        };
        (state.forgotten_data <= state.floor && state.floor.max(state.checkpoint.n) <= seq::MAX).then_some(state)
    }
}
