//! What can be said about arguments without following a pointer.

use wal_engine::config::MAX_SEGMENT_BYTES;
use wal_engine::error::{Code, Error};
use wal_engine::format::constants as format;

/// No record and no batch is longer than the largest segment, whatever the log's own segment size is: the engine checks that one.
/// Below `isize::MAX` on every target, so that what passes may be made a slice.
pub(crate) const MAX_BYTES: usize = MAX_SEGMENT_BYTES as usize;
const _: () = assert!(MAX_BYTES as u64 == MAX_SEGMENT_BYTES && MAX_BYTES < isize::MAX as usize);

const OP_PUT: u32 = format::OP_PUT as u32;
const OP_DELETE: u32 = format::OP_DELETE as u32;
const OP_HOST_FIRST: u32 = format::OP_HOST_FIRST as u32;
const OP_LAST: u32 = u8::MAX as u32;

pub(crate) fn invalid(what: &'static str) -> Error {
    Error::new(Code::Invalid, what)
}

pub(crate) fn too_large(what: &'static str) -> Error {
    Error::new(Code::TooLarge, what)
}

/// A host's operation code.
#[inline]
pub(crate) fn op(given: u32) -> Result<u8, Error> {
    match given {
        OP_PUT | OP_DELETE | OP_HOST_FIRST..=OP_LAST => Ok(given as u8),
        _ => Err(invalid("op must be WAL_OP_PUT, WAL_OP_DELETE or 16 to 255; the log writes WAL_OP_CHECKPOINT itself")),
    }
}

/// Flags of which this version knows all bits.
#[inline]
pub(crate) fn flags(given: u32, known: u32, what: &'static str) -> Result<(), Error> {
    if given & !known == 0 { Ok(()) } else { Err(invalid(what)) }
}

/// The bytes of one record.
#[inline]
pub(crate) fn record_len(key_len: usize, value_len: usize) -> Result<usize, Error> {
    match key_len.checked_add(value_len) {
        Some(len) if len <= MAX_BYTES => Ok(len),
        _ => Err(too_large("key and value together are longer than any segment")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hosts_ops_pass() {
        let passing: Vec<u32> = (0..600).filter(|&given| op(given).is_ok()).collect();
        let expected: Vec<u32> = [1, 2].into_iter().chain(16..=255).collect();
        assert_eq!(passing, expected);
        assert!(op(u32::MAX).is_err() && op(257).is_err() && op(0x101).is_err());
    }

    #[test]
    fn lengths_that_no_segment_holds_are_refused() {
        assert_eq!(record_len(MAX_BYTES, 0), Ok(MAX_BYTES));
        for (key, value) in [(MAX_BYTES, 1), (usize::MAX, 0), (usize::MAX, usize::MAX), (usize::MAX, 1), (0, isize::MAX as usize)] {
            assert_eq!(record_len(key, value).map_err(|error| error.code), Err(Code::TooLarge));
        }
    }
}
