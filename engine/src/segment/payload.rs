//! What a frame carries, as pieces in the caller's memory: checksummed before the lock, copied once under it.

use crate::config::Offset;
use crate::format::batch::{self, BatchEntry};
use crate::format::checksum::Running;
use crate::format::constants::{FRAME_ALIGN, MAX_FRAME_KEY_LEN};
use crate::format::frame::{FrameHeader, Kind, padded};
use crate::seq::Seq;

/// One record of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What it does.
    pub op: u8,
    /// Its key.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

/// The records of a batch, wherever they are kept. `entry` is called several times for each and gives the same bytes each time.
pub trait Entries {
    /// How many there are.
    fn count(&self) -> usize;
    /// The one with this index.
    fn entry(&self, index: usize) -> Entry<'_>;
}

impl Entries for [Entry<'_>] {
    fn count(&self) -> usize {
        self.len()
    }

    fn entry(&self, index: usize) -> Entry<'_> {
        self[index]
    }
}

/// The bytes of a frame behind its header.
pub trait Pieces {
    /// Calls `each` with its pieces in order.
    fn visit(&self, each: &mut impl FnMut(&[u8]));
}

/// Records as a frame carries them.
#[expect(clippy::len_without_is_empty, reason = "a size, not a collection's length")]
pub trait Payload: Pieces {
    /// Its length in bytes, `None` if that cannot be counted.
    fn len(&self) -> Option<u64>;
    /// The header fields that say how to read it.
    fn describe(&self, header: &mut FrameHeader);
    /// How many records it holds.
    fn records(&self) -> u64;
}

/// A single record whose key fits a frame header.
pub struct One<'a>(pub Entry<'a>);

impl One<'_> {
    /// Whether the key fits.
    #[inline]
    pub fn fits(key: &[u8]) -> bool {
        key.len() <= MAX_FRAME_KEY_LEN
    }
}

impl Pieces for One<'_> {
    #[inline]
    fn visit(&self, each: &mut impl FnMut(&[u8])) {
        each(self.0.key);
        each(self.0.value);
    }
}

impl Payload for One<'_> {
    #[inline]
    fn len(&self) -> Option<u64> {
        (self.0.key.len() as u64).checked_add(self.0.value.len() as u64)
    }

    #[inline]
    fn describe(&self, header: &mut FrameHeader) {
        header.key_len = self.0.key.len() as u16;
        header.op = self.0.op;
    }

    #[inline]
    fn records(&self) -> u64 {
        1
    }
}

/// A batch.
pub struct Batch<'a, E: Entries + ?Sized>(pub &'a E);

impl<E: Entries + ?Sized> Pieces for Batch<'_, E> {
    fn visit(&self, each: &mut impl FnMut(&[u8])) {
        each(&(self.0.count() as u32).to_le_bytes());
        for index in 0..self.0.count() {
            let entry = self.0.entry(index);
            each(&BatchEntry { key_len: entry.key.len() as u32, value_len: entry.value.len() as u32, op: entry.op }.encode());
        }
        for index in 0..self.0.count() {
            let entry = self.0.entry(index);
            each(entry.key);
            each(entry.value);
        }
    }
}

impl<E: Entries + ?Sized> Payload for Batch<'_, E> {
    fn len(&self) -> Option<u64> {
        // A count whose table alone would overflow is more than a frame can say.
        let count = u32::try_from(self.0.count()).ok()?;
        let mut len = batch::table_len(u64::from(count));
        for index in 0..self.0.count() {
            let entry = self.0.entry(index);
            len = len.checked_add(entry.key.len() as u64)?.checked_add(entry.value.len() as u64)?;
        }
        Some(len)
    }

    fn describe(&self, _header: &mut FrameHeader) {}

    fn records(&self) -> u64 {
        self.0.count() as u64
    }
}

/// A batch in the shape in which a frame has it: the entries of its table, and all keys and values in one piece. That `table` has `count`
/// entries, and that their lengths add up to those of `bytes`, is for the caller to see to.
pub struct Packed<'a, T: Pieces> {
    /// How many records there are.
    pub count: u32,
    /// The entries as `BatchEntry` encodes them.
    pub table: &'a T,
    /// Keys and values in the order of the table.
    pub bytes: &'a [u8],
}

impl<T: Pieces> Pieces for Packed<'_, T> {
    fn visit(&self, each: &mut impl FnMut(&[u8])) {
        each(&self.count.to_le_bytes());
        self.table.visit(each);
        each(self.bytes);
    }
}

impl<T: Pieces> Payload for Packed<'_, T> {
    fn len(&self) -> Option<u64> {
        batch::table_len(u64::from(self.count)).checked_add(self.bytes.len() as u64)
    }

    fn describe(&self, _header: &mut FrameHeader) {}

    fn records(&self) -> u64 {
        u64::from(self.count)
    }
}

/// Bytes that the log writes for itself.
pub struct Control<'a>(pub &'a [u8]);

impl Pieces for Control<'_> {
    fn visit(&self, each: &mut impl FnMut(&[u8])) {
        each(self.0);
    }
}

/// The header of a frame with these records, complete but for the two fields that depend on its place.
pub fn header_of(kind: Kind, payload: &impl Payload, len: u64) -> FrameHeader {
    let mut header = plain_header(kind, payload, len as Offset);
    payload.describe(&mut header);
    header
}

/// The header of one of the log's own frames.
pub fn control_header(kind: Kind, payload: &[u8]) -> FrameHeader {
    plain_header(kind, &Control(payload), payload.len() as Offset)
}

/// The header of a frame with this body and no key, complete but for what depends on its place.
pub fn plain_header(kind: Kind, body: &impl Pieces, len: Offset) -> FrameHeader {
    let mut running = Running::new();
    body.visit(&mut |piece| running.update(piece));
    running.update([0; FRAME_ALIGN].get(..(padded(len) - len) as usize).unwrap_or_default());
    FrameHeader { payload_crc: running.finish(), payload_len: len as u32, relative_seq: 0, watermark: 0, key_len: 0, op: 0, kind }
}

/// The relative seq of a frame whose first record is `seq`.
#[inline]
pub fn relative(seq: Seq, first_seq: Seq) -> u32 {
    debug_assert!(seq >= first_seq);
    (seq - first_seq) as u32
}
