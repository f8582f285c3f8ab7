//! Bytes on disk, without I/O. `docs/FORMAT.md` is the specification; `constants` is the only place that repeats its numbers.

pub mod batch;
pub mod checksum;
pub mod constants;
pub mod control;
pub mod flash;
pub mod frame;
pub mod manifest_slot;
#[cfg(not(feature = "std"))]
mod nibble;
pub mod pin;
pub mod segment_header;

/// Little-endian reads and writes at fixed offsets of fixed-size records, whose callers have seen to the length. What would lie outside reads as 0
/// and is not written: firmware has no room for a panic that cannot happen.
pub(crate) mod field {
    use crate::config::Offset;

    #[inline]
    fn raw<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
        let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
        debug_assert!(found.is_some(), "{N} bytes at {at} of {}", bytes.len());
        found.copied().unwrap_or([0; N])
    }

    #[inline]
    pub(crate) fn u8_at(bytes: &[u8], at: usize) -> u8 {
        raw::<1>(bytes, at)[0]
    }

    #[inline]
    pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
        u16::from_le_bytes(raw(bytes, at))
    }

    #[inline]
    pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(raw(bytes, at))
    }

    #[inline]
    pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(raw(bytes, at))
    }

    #[inline]
    pub(crate) fn offset_at(bytes: &[u8], at: usize) -> Offset {
        // What is above the highest is damage, and stays above it.
        Offset::try_from(u64_at(bytes, at)).unwrap_or(Offset::MAX)
    }

    #[inline]
    pub(crate) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: &[u8; N]) {
        let place = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut());
        debug_assert!(place.is_some());
        if let Some(place) = place {
            *place = *value;
        }
    }
}
