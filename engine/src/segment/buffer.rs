//! A commit buffer: frames composed in memory, in the bytes in which they go to the file.

use super::payload::Pieces;
use super::scan::MIN_WINDOW_BYTES;
use crate::config::BUFFER_BYTES;
use crate::error::{Code, Error, Result};
use crate::format::constants::{FRAME_ALIGN, FRAME_HEADER_LEN};
use crate::format::frame::{FrameHeader, frame_len, padded};
use crate::format::segment_header::SegmentHeader;
use crate::memory;

/// A buffer for reading a file of `len` bytes in pieces: as large as a commit buffer, or as the file if that is smaller.
pub fn read_buffer(len: u64) -> Result<Vec<u8>> {
    let len = (BUFFER_BYTES as u64).min(len).max(MIN_WINDOW_BYTES as u64) as usize;
    memory::zeroed(len, "no memory for a read buffer")
}

/// How many zeros follow frames that end at `end` when they are written: as many as a header has. So where the frames of a recycled segment end
/// there are zeros and not what the blocks held before, and a header that is damaged or torn can be told from no header.
pub fn blank_len(end: u64, capacity: u64) -> usize {
    (FRAME_HEADER_LEN as u64).min(capacity - end) as usize
}

/// Frames that wait to be written at one place of one segment.
#[derive(Debug, Default)]
pub struct CommitBuffer {
    bytes: Vec<u8>,
    base: u64,
}

/// Where a composed frame stands and the checksum of its header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Its offset.
    pub offset: u64,
    /// Its header's checksum.
    pub crc: u32,
}

impl CommitBuffer {
    /// An empty buffer that takes `capacity` bytes without allocating again.
    pub fn with_capacity(capacity: usize) -> Result<CommitBuffer> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(capacity + FRAME_HEADER_LEN).map_err(|_| Error::new(Code::NoMemory, "no memory for a commit buffer"))?;
        Ok(CommitBuffer { bytes, base: 0 })
    }

    /// Forgets its frames; the next one stands at `base`.
    pub fn restart(&mut self, base: u64) {
        self.bytes.clear();
        self.base = base;
    }

    /// Offset of the first byte.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Offset behind the last byte.
    #[inline]
    pub fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// The frames.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether a frame of `len` bytes fits without allocating, and what ends the buffer behind it.
    #[inline]
    pub fn has_room(&self, len: u64) -> bool {
        len + FRAME_HEADER_LEN as u64 <= (self.bytes.capacity() - self.bytes.len()) as u64
    }

    /// The frames as they are written, with the zeros behind them that tell the end from a torn frame. Only `restart` may follow.
    pub fn ended(&mut self, capacity: u64) -> &[u8] {
        let zeros = blank_len(self.end(), capacity);
        self.bytes.resize(self.bytes.len() + zeros, 0);
        &self.bytes
    }

    /// Adds bytes of a frame that was composed elsewhere; there must be room.
    pub fn extend(&mut self, bytes: &[u8]) {
        debug_assert!(self.has_room(bytes.len() as u64));
        self.bytes.extend_from_slice(bytes);
    }

    /// Adds a frame, for which there must be room.
    pub fn push(&mut self, segment: &SegmentHeader, header: &FrameHeader, body: &impl Pieces) -> Placed {
        let offset = self.end();
        debug_assert!(offset.is_multiple_of(FRAME_ALIGN as u64) && self.has_room(header.len()));
        let start = self.bytes.len();
        let payload = start + FRAME_HEADER_LEN;
        let mut encoded = [0; FRAME_HEADER_LEN];
        let crc = header.encode(segment.seed, offset, &mut encoded);
        self.bytes.extend_from_slice(&encoded);
        body.visit(&mut |piece| {
            // Most records have no key.
            if !piece.is_empty() {
                self.bytes.extend_from_slice(piece);
            }
        });
        debug_assert_eq!(self.bytes.len() - payload, header.payload_len as usize);
        self.bytes.resize(payload + padded(u64::from(header.payload_len)) as usize, 0);
        debug_assert_eq!(self.end(), offset + frame_len(u64::from(header.payload_len)));
        Placed { offset, crc }
    }
}
