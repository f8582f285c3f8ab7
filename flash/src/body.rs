//! What a frame carries, in one shape for all of them.

use wal_engine::format::frame::{FrameHeader, Kind};
use wal_engine::segment::payload::{self, Batch, Entries, Payload, Pieces};

/// What a frame carries.
pub(crate) enum Body<'a> {
    /// Key and value of a record, or what the log writes for itself.
    Bytes(&'a [u8], &'a [u8]),
    /// A batch.
    Batch(&'a dyn Entries),
}

impl Body<'_> {
    /// Its length in bytes, if it is at most `most`.
    #[inline(never)]
    pub(crate) fn len(&self, most: u32) -> Option<u32> {
        let len = match self {
            Body::Bytes(key, value) => (key.len() as u64) + (value.len() as u64),
            Body::Batch(entries) => Batch(*entries).len()?,
        };
        u32::try_from(len).ok().filter(|&len| len <= most)
    }

    /// The header of a frame with it, complete but for the fields that depend on its place.
    #[inline(never)]
    pub(crate) fn header(&self, kind: Kind, op: u8, key_len: u16, len: u32) -> FrameHeader {
        FrameHeader { op, key_len, ..payload::plain_header(kind, self, len) }
    }

    #[inline(never)]
    fn each(&self, each: &mut dyn FnMut(&[u8])) {
        match self {
            Body::Bytes(key, value) => {
                each(key);
                each(value);
            }
            Body::Batch(entries) => Batch(*entries).visit(&mut |piece| each(piece)),
        }
    }
}

impl Pieces for Body<'_> {
    fn visit(&self, each: &mut impl FnMut(&[u8])) {
        self.each(each);
    }
}
