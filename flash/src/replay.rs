//! Reading records back, in order.

use wal_engine::error::Code;
use wal_engine::format::batch::{self, BatchEntry};
use wal_engine::format::constants::{BATCH_ENTRY_LEN, FRAME_HEADER_LEN};
use wal_engine::format::control::Open;
use wal_engine::format::frame::Kind;
use wal_engine::format::segment_header::SegmentHeader;
use wal_engine::protocol::gap;
use wal_engine::segment::scan::{Frame, Walk};
use wal_engine::seq::{self, Seq};

use crate::chip::Chip;
use crate::desk::is_state;
use crate::fail::{Fail, Result};
use crate::log::{BAD, Log};

/// A segment that counts, and where its frames end.
pub(crate) struct Place {
    pub(crate) slot: u32,
    pub(crate) header: SegmentHeader,
    pub(crate) open: Open,
    pub(crate) end: u32,
}

/// A record, without its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub seq: Seq,
    /// The number of its batch's last record; its own if it came alone.
    pub batch_last_seq: Seq,
    /// Length of its key.
    pub key_len: u32,
    /// Length of its value.
    pub value_len: u32,
    /// What it does.
    pub op: u8,
}

/// Where the bytes of a record stand: one stretch, or the fragments from `frame` on.
#[derive(Clone, Copy)]
struct Bytes {
    /// Where the frame is that the next bytes are in.
    frame: u32,
    /// Where the first of them stands.
    at: u32,
    /// How many there are in this frame.
    len: u32,
    /// How many of the record's bytes stand in frames before.
    before: u32,
}

/// A reader's place. The log need not know how many there are.
pub struct Cursor {
    walk: Walk,
    first_seq: Seq,
    /// The next record wanted.
    next: Seq,
    slot: u32,
    index: u32,
    generation: u32,
    raw: bool,
    /// The record that was yielded last.
    record: Record,
    bytes: Bytes,
    first: Bytes,
    /// The batch that is being read: its frame, the next entry, how many there are.
    batch: (u32, u32, u32),
    /// Where the bytes of the next entry stand.
    entry_at: u32,
}

impl<C: Chip> Log<'_, C> {
    /// The segment in which `seq` stands, or would.
    pub(crate) fn segment_of(&mut self, seq: Seq) -> Result<Place> {
        let active = self.active.as_ref().ok_or(Fail::new(Code::NotFound))?;
        let mut place = Place { slot: active.slot, header: active.header, open: active.open, end: self.shown };
        while place.open.before.seq >= seq && place.header.index > self.oldest {
            let link = place.open.link;
            let lost = Fail::damage(self.desk.place(place.slot, 0), seq);
            let slot = self.find(link.index).ok_or(lost)?;
            let (header, _) = self.desk.headers(slot)?.ok_or(lost)?;
            let (open, _) = self.desk.open(slot, &header)?.ok_or(lost)?;
            place = Place { slot, header, open, end: link.end as u32 };
        }
        Ok(place)
    }

    /// Where the segment with this index ends.
    fn end_of(&mut self, index: u32) -> Result<u32> {
        match &self.active {
            Some(active) if active.header.index != index => {}
            _ => return Ok(self.shown),
        }
        let (_, _, open) = self.successor(index)?;
        Ok(open.link.end as u32)
    }

    fn successor(&mut self, index: u32) -> Result<(u32, SegmentHeader, Open)> {
        let next = self.slots.iter().copied().filter(|&entry| entry > index && entry < BAD).min();
        let slot = next.and_then(|next| self.find(next)).ok_or(Fail::damage(0, 0))?;
        let lost = Fail::damage(self.desk.place(slot, 0), 0);
        let (header, _) = self.desk.headers(slot)?.ok_or(lost)?;
        let (open, _) = self.desk.open(slot, &header)?.ok_or(lost)?;
        Ok((slot, header, open))
    }

    /// A cursor in front of the first record above `after`.
    pub fn replay(&mut self, after: Seq, raw: bool) -> Result<Cursor> {
        if !self.pieces {
            self.sync()?;
        }
        let after = if after == seq::OLDEST { self.state.floor } else { after };
        gap::check(after, self.extent())?;
        // Nothing is in no segment; the first call of `next` finds its place.
        let nowhere = SegmentHeader::new([0; 16], 0, 0, 0, false);
        let bytes = Bytes { frame: 0, at: 0, len: 0, before: 0 };
        Ok(Cursor {
            walk: Walk::new(nowhere),
            first_seq: 0,
            next: after.max(self.state.floor) + 1,
            slot: 0,
            index: 0,
            generation: self.generation,
            raw,
            record: Record::default(),
            bytes,
            first: bytes,
            batch: (0, 0, 0),
            entry_at: 0,
        })
    }

    fn enter_segment(cursor: &mut Cursor, slot: u32, header: SegmentHeader, open: &Open) {
        cursor.walk = Walk::new(header);
        cursor.first_seq = open.first_seq;
        cursor.slot = slot;
        cursor.index = header.index;
        cursor.batch = (0, 0, 0);
    }

    /// The next record; `None` at the end of what is durable.
    #[inline(never)]
    pub fn next(&mut self, cursor: &mut Cursor) -> Result<Option<Record>> {
        cursor.bytes.len = 0;
        cursor.first.len = 0;
        if self.active.is_none() {
            return Ok(None);
        }
        if cursor.index == 0 || cursor.generation != self.generation {
            if cursor.next <= self.state.forgotten_data {
                return Err(Fail { seq: cursor.next, ..Fail::new(Code::Gap) });
            }
            cursor.next = cursor.next.max(self.state.floor + 1);
            let place = self.segment_of(cursor.next)?;
            Self::enter_segment(cursor, place.slot, place.header, &place.open);
            cursor.generation = self.generation;
        }
        let mut end = self.end_of(cursor.index)?;
        loop {
            if cursor.batch.1 < cursor.batch.2 {
                // In the record stands the one before, or nothing but the batch's last seq.
                if self.next_entry(cursor)? {
                    return Ok(Some(cursor.record));
                }
                continue;
            }
            if cursor.walk.offset() >= u64::from(end) {
                if self.active.as_ref().is_none_or(|active| active.header.index == cursor.index) {
                    return Ok(None);
                }
                let (slot, header, open) = self.successor(cursor.index)?;
                Self::enter_segment(cursor, slot, header, &open);
                end = self.end_of(cursor.index)?;
                continue;
            }
            let at = cursor.walk.offset() as u32;
            let Ok(frame) = self.desk.step(cursor.slot, &mut cursor.walk)? else {
                return Err(Fail::damage(self.desk.place(cursor.slot, at), cursor.next));
            };
            if self.take(cursor, &frame)? {
                return Ok(Some(cursor.record));
            }
        }
    }

    /// Whether a frame yields a record.
    fn take(&mut self, cursor: &mut Cursor, frame: &Frame) -> Result<bool> {
        let header = &frame.header;
        let first = cursor.first_seq + u64::from(header.relative_seq);
        let bytes = Bytes { frame: frame.offset as u32, at: frame.payload() as u32, len: header.payload_len, before: 0 };
        match header.kind {
            Kind::Record => {
                cursor.record = Record {
                    seq: first,
                    batch_last_seq: first,
                    key_len: u32::from(header.key_len),
                    value_len: header.payload_len.saturating_sub(u32::from(header.key_len)),
                    op: header.op,
                };
                if !cursor.raw && header.is_checkpoint() {
                    return Ok(false);
                }
                cursor.first = bytes;
            }
            Kind::Batch => {
                cursor.batch = (bytes.frame, 0, frame.records);
                cursor.entry_at = bytes.at.wrapping_add(batch::table_len(u64::from(frame.records)) as u32);
                cursor.record = Record { seq: first - 1, batch_last_seq: first - 1 + u64::from(frame.records), ..Record::default() };
                return Ok(false);
            }
            Kind::First if !is_state(header) => {
                cursor.record =
                    Record { key_len: u32::from(header.key_len), value_len: header.payload_len, op: header.op, ..Record::default() };
                cursor.first = bytes;
                return Ok(false);
            }
            Kind::Middle | Kind::Last => {
                cursor.record.value_len = cursor.record.value_len.saturating_add(header.payload_len);
                if header.kind == Kind::Middle {
                    return Ok(false);
                }
                let key_len = cursor.record.key_len;
                let whole = cursor.record.value_len;
                let value_len = whole.checked_sub(key_len).ok_or(Fail::damage(self.desk.place(cursor.slot, frame.offset as u32), first))?;
                cursor.record = Record { seq: first, batch_last_seq: first, value_len, ..cursor.record };
            }
            _ => return Ok(false),
        }
        cursor.bytes = cursor.first;
        Ok(cursor.record.seq >= cursor.next && {
            cursor.next = cursor.record.seq + 1;
            true
        })
    }

    /// The next record of a batch; whether it is wanted.
    fn next_entry(&mut self, cursor: &mut Cursor) -> Result<bool> {
        let (frame, index, count) = cursor.batch;
        let mut entry = [0; BATCH_ENTRY_LEN];
        let at = frame.wrapping_add(FRAME_HEADER_LEN as u32).wrapping_add(batch::table_len(u64::from(index)) as u32);
        self.desk.fetch(cursor.slot, at, &mut entry)?;
        let entry = BatchEntry::decode(&entry);
        let last = cursor.record.batch_last_seq;
        let seq = last + 1 - u64::from(count - index);
        let len = entry.key_len.wrapping_add(entry.value_len);
        cursor.record = Record { seq, batch_last_seq: last, key_len: entry.key_len, value_len: entry.value_len, op: entry.op };
        cursor.first = Bytes { frame, at: cursor.entry_at, len, before: 0 };
        cursor.bytes = cursor.first;
        cursor.entry_at = cursor.entry_at.wrapping_add(len);
        cursor.batch.1 = index + 1;
        if seq < cursor.next {
            return Ok(false);
        }
        cursor.next = seq + 1;
        Ok(true)
    }

    /// Copies bytes of the record that `next` returned, key and value as one; how many there are from `from` on, up to what `out` holds.
    pub fn read(&mut self, cursor: &mut Cursor, from: u32, out: &mut [u8]) -> Result<u32> {
        if cursor.generation != self.generation || cursor.index == 0 {
            return Err(Fail::new(Code::Misuse));
        }
        if from < cursor.bytes.before {
            cursor.bytes = cursor.first;
        }
        let whole = cursor.record.key_len.saturating_add(cursor.record.value_len);
        let len = whole.saturating_sub(from).min(u32::try_from(out.len()).unwrap_or(u32::MAX));
        let (mut from, mut done) = (from, 0u32);
        while done < len {
            let bytes = cursor.bytes;
            let skipped = from.wrapping_sub(bytes.before);
            if skipped >= bytes.len {
                // A fragment follows directly, and was whole when `next` passed it.
                let lost = Fail::damage(self.desk.place(cursor.slot, bytes.frame), cursor.record.seq);
                let header = self.header_of(cursor)?;
                let (this, _) = self.desk.frame_header(cursor.slot, &header, bytes.frame)?.ok_or(lost)?;
                let frame = header.next_frame(u64::from(bytes.frame) + this.len()) as u32;
                let (next, _) = self.desk.frame_header(cursor.slot, &header, frame)?.ok_or(lost)?;
                let before = bytes.before.wrapping_add(bytes.len);
                cursor.bytes = Bytes { frame, at: frame.wrapping_add(FRAME_HEADER_LEN as u32), len: next.payload_len, before };
                if next.kind == Kind::Last && next.payload_len == 0 {
                    return Err(lost);
                }
                continue;
            }
            let piece = (bytes.len - skipped).min(len - done);
            let to = out.get_mut(done as usize..(done + piece) as usize).unwrap_or_default();
            self.desk.hand_out(cursor.slot, bytes.at.wrapping_add(skipped), to)?;
            done += piece;
            from += piece;
        }
        Ok(len)
    }

    fn header_of(&mut self, cursor: &Cursor) -> Result<SegmentHeader> {
        let lost = Fail::damage(self.desk.place(cursor.slot, 0), cursor.record.seq);
        self.desk.headers(cursor.slot)?.map(|(header, _)| header).ok_or(lost)
    }
}
