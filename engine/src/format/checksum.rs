//! CRC-32 (ISO-HDLC), and how frames are seeded with it.

use crate::config::Offset;
#[cfg(feature = "std")]
use crc32fast::Hasher;

#[cfg(not(feature = "std"))]
use super::nibble::Hasher;

/// Checksum of `bytes`.
#[inline]
pub fn of(bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(bytes);
    hasher.finalize()
}

/// Checksum of bytes that come in pieces.
#[derive(Clone, Debug)]
pub struct Running(Hasher);

impl Running {
    /// Nothing hashed yet.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a checksum is begun, it has no default value")]
    #[inline]
    pub fn new() -> Running {
        Running(Hasher::new())
    }

    /// Adds the next piece.
    #[inline]
    pub fn update(&mut self, piece: &[u8]) {
        if !piece.is_empty() {
            self.0.update(piece);
        }
    }

    /// The checksum of everything added.
    #[must_use]
    #[inline]
    pub fn finish(self) -> u32 {
        self.0.finalize()
    }
}

/// Checksum of a frame header's bytes behind the checksum: starts from the segment's seed and ends with the frame's offset, so that a header
/// proves itself only in its own segment and place.
#[inline]
pub fn of_frame_header(seed: u32, header_tail: &[u8], offset: Offset) -> u32 {
    let mut hasher = Hasher::new_with_initial(seed);
    let mut bytes = [0; 28];
    let (head, place) = bytes.split_at_mut(20);
    if let Some(tail) = header_tail.first_chunk::<20>() {
        head.copy_from_slice(tail);
    }
    place.copy_from_slice(&u64::from(offset).to_le_bytes());
    hasher.update(&bytes);
    hasher.finalize()
}
