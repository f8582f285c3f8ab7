//! Bytes on disk, without I/O. `docs/FORMAT.md` is the specification; `constants` is the only place that repeats its numbers.

pub mod batch;
pub mod checksum;
pub mod constants;
pub mod control;
pub mod flash;
pub mod frame;
pub mod manifest_slot;
pub mod pin;
#[cfg(not(feature = "std"))]
mod nibble;
pub mod segment_header;

/// Little-endian reads and writes at fixed offsets of fixed-size records.
pub(crate) mod field {
    #[inline]
    pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
        u16::from_le_bytes([bytes[at], bytes[at + 1]])
    }

    #[inline]
    pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
        let mut raw = [0; 4];
        raw.copy_from_slice(&bytes[at..at + 4]);
        u32::from_le_bytes(raw)
    }

    #[inline]
    pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
        let mut raw = [0; 8];
        raw.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(raw)
    }

    #[inline]
    pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
        bytes[at..at + value.len()].copy_from_slice(value);
    }
}
