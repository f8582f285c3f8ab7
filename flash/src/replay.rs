//! Reading records back, in order.

use wal_engine::error::Code;
use wal_engine::format::batch::{self, BatchEntry};
use wal_engine::format::constants::{BATCH_ENTRY_LEN, FRAME_HEADER_LEN, OP_CHECKPOINT};
use wal_engine::format::frame::Kind;
use wal_engine::segment::scan::Walk;
use wal_engine::seq::{self, Seq};

use crate::chip::Chip;
use crate::fail::{Miss, Result};
use crate::log::{BAD, FREE, Log};

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
#[derive(Clone, Copy, Default)]
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

/// A batch that is being read.
#[derive(Clone, Copy, Default)]
struct Reading {
    /// Where its frame is.
    frame: u32,
    /// The next entry.
    index: u32,
    /// How many there are.
    count: u32,
    /// Where the bytes of the next entry stand.
    at: u32,
}

/// A reader's place. The log need not know how many there are.
#[derive(Default)]
pub struct Cursor {
    /// The next record wanted.
    next: Seq,
    raw: bool,
    generation: u32,
    /// The segment in which it is, 0 if it has not looked for one.
    index: u32,
    slot: u32,
    first_seq: Seq,
    /// Where the segment ends, if it is not the active one.
    end: u32,
    walk: Walk,
    /// The record that was yielded last.
    record: Record,
    bytes: Bytes,
    first: Bytes,
    batch: Reading,
}

impl Cursor {
    /// The record that `Log::next` found.
    pub fn record(&self) -> &Record {
        &self.record
    }
}

impl<C: Chip> Log<'_, C> {
    /// Enters the segment behind the one with this index.
    #[inline(never)]
    pub(crate) fn after(&mut self, index: u32) -> core::result::Result<(), Miss> {
        let next = self.slots.iter().copied().filter(|&entry| entry > index && entry < BAD).min().ok_or(Miss::None)?;
        let slot = self.find(next).ok_or(Miss::None)?;
        Ok(self.desk.must_enter(slot, next)?)
    }

    /// Enters the segment in which `seq` stands, or would; where it ends.
    #[inline(never)]
    pub(crate) fn locate(&mut self, seq: Seq) -> Result<u32> {
        let mut index = self.oldest;
        // Forwards, until the next one begins behind it.
        let end = loop {
            match self.after(index) {
                Ok(()) if self.desk.trail.before.seq >= seq => break self.desk.trail.link.end,
                Ok(()) => index = self.index_of(self.desk.trail.slot),
                Err(Miss::None) => break self.shown,
                Err(Miss::Fail(code)) => return Err(code),
            }
        };
        let slot = self.find(index).ok_or(Code::NotFound)?;
        self.desk.must_enter(slot, index)?;
        Ok(end)
    }

    /// Puts a cursor in front of the first record above `after`.
    pub fn replay(&mut self, cursor: &mut Cursor, after: Seq, raw: bool) -> Result<()> {
        if !self.pieces {
            self.sync()?;
        }
        let after = if after == seq::OLDEST { self.state.floor } else { after };
        self.check_gap(after)?;
        // The first call of `next` finds its place.
        *cursor = Cursor { next: after.max(self.state.floor) + 1, raw, generation: self.generation, ..Cursor::default() };
        Ok(())
    }

    /// Puts a cursor into the segment that holds what it wants next.
    fn find_place(&mut self, cursor: &mut Cursor) -> Result<()> {
        if cursor.next <= self.state.forgotten_data {
            self.desk.detail.seq = cursor.next;
            return Err(Code::Gap);
        }
        cursor.next = cursor.next.max(self.state.floor + 1);
        cursor.end = self.locate(cursor.next)?;
        let trail = &self.desk.trail;
        cursor.generation = self.generation;
        cursor.index = self.index_of(trail.slot);
        cursor.slot = trail.slot;
        cursor.first_seq = trail.before.seq + 1;
        cursor.walk = trail.walk;
        cursor.batch = Reading::default();
        Ok(())
    }

    /// Finds the next record; `Miss::None` at the end of what is durable.
    #[inline(never)]
    pub fn next(&mut self, cursor: &mut Cursor) -> core::result::Result<(), Miss> {
        // There is nothing to read unless this finds a record.
        cursor.record.key_len = 0;
        cursor.record.value_len = 0;
        let last = self.active.as_ref().ok_or(Miss::None)?.index;
        loop {
            if cursor.index == FREE || cursor.generation != self.generation {
                self.find_place(cursor)?;
            }
            let is_last = cursor.index == last;
            let end = if is_last { self.shown } else { cursor.end };
            let is_whole = if cursor.batch.index < cursor.batch.count {
                self.next_entry(cursor)?;
                true
            } else if cursor.walk.offset() < end {
                let at = cursor.walk.offset();
                match self.desk.step(cursor.slot, &mut cursor.walk) {
                    Ok(()) => self.take(cursor)?,
                    Err(Miss::None) => return Err(self.desk.damage(cursor.slot, at, cursor.next).into()),
                    miss => return miss,
                }
            } else if is_last {
                return Err(Miss::None);
            } else {
                // What it wants next stands in another segment.
                cursor.index = FREE;
                false
            };
            if is_whole && cursor.record.seq >= cursor.next {
                cursor.next = cursor.record.seq + 1;
                if cursor.raw || cursor.record.op != OP_CHECKPOINT {
                    cursor.bytes = cursor.first;
                    return Ok(());
                }
            }
        }
    }

    /// Whether the frame that was found last makes a record whole.
    fn take(&mut self, cursor: &mut Cursor) -> Result<bool> {
        let frame = &self.desk.frame;
        let header = &frame.header;
        let record = &mut cursor.record;
        let is_first = !matches!(header.kind, Kind::Middle | Kind::Last);
        if is_first {
            record.seq = cursor.first_seq + u64::from(header.relative_seq);
            record.batch_last_seq = record.seq;
            record.key_len = header.key_len.into();
            record.value_len = 0;
            record.op = header.op;
            cursor.first = Bytes { frame: frame.offset, at: frame.payload(), len: header.payload_len, before: 0 };
        }
        // Key and value as one, as long as pieces may follow.
        record.value_len += header.payload_len;
        match header.kind {
            Kind::Batch => {
                let at = frame.payload() + batch::table_len(frame.records.into()) as u32;
                cursor.batch = Reading { frame: frame.offset, index: 0, count: frame.records, at };
                record.batch_last_seq += u64::from(frame.records) - 1;
                return Ok(false);
            }
            Kind::Record | Kind::Last => {}
            _ => return Ok(false),
        }
        match record.value_len.checked_sub(record.key_len) {
            Some(len) => record.value_len = len,
            None => return Err(self.desk.damage(cursor.slot, self.desk.frame.offset, record.seq)),
        }
        Ok(true)
    }

    /// Takes the next record of a batch.
    fn next_entry(&mut self, cursor: &mut Cursor) -> Result<()> {
        let Reading { frame, index, count, at } = cursor.batch;
        let offset = frame + FRAME_HEADER_LEN as u32 + batch::table_len(index.into()) as u32;
        let entry = self.desk.bytes(self.desk.place(cursor.slot, offset), BATCH_ENTRY_LEN).map(BatchEntry::decode);
        self.desk.calm()?;
        let Some(BatchEntry { key_len, value_len, op }) = entry else {
            return Err(self.desk.damage(cursor.slot, offset, cursor.next));
        };
        let len = key_len + value_len;
        let batch_last_seq = cursor.record.batch_last_seq;
        cursor.record = Record { seq: batch_last_seq + 1 - u64::from(count - index), batch_last_seq, key_len, value_len, op };
        cursor.first = Bytes { frame, at, len, before: 0 };
        cursor.batch.at = at + len;
        cursor.batch.index = index + 1;
        Ok(())
    }

    /// Copies bytes of the record that `next` found, key and value as one; `copied` receives how many there are from `from` on, up to what `out` holds.
    pub fn read(&mut self, cursor: &mut Cursor, mut from: u32, out: &mut [u8], copied: &mut u32) -> Result<()> {
        if cursor.generation != self.generation || cursor.index == FREE {
            return Err(Code::Misuse);
        }
        if from < cursor.bytes.before {
            cursor.bytes = cursor.first;
        }
        let len = (cursor.record.key_len + cursor.record.value_len).saturating_sub(from).min(out.len() as u32);
        let mut rest = out.get_mut(..len as usize).unwrap_or_default();
        while !rest.is_empty() {
            let bytes = &mut cursor.bytes;
            let skipped = from - bytes.before;
            if skipped >= bytes.len {
                // A fragment follows directly, and was whole when `next` passed it.
                let lost = bytes.frame;
                match self.fragment_behind(cursor.slot, cursor.index, lost) {
                    Ok(()) => {}
                    Err(Miss::None) => return Err(self.desk.damage(cursor.slot, lost, cursor.record.seq)),
                    Err(Miss::Fail(code)) => return Err(code),
                }
                let next = &self.desk.frame;
                *bytes = Bytes { frame: next.offset, at: next.payload(), len: next.header.payload_len, before: bytes.before + bytes.len };
                continue;
            }
            let piece = ((bytes.len - skipped) as usize).min(rest.len());
            let Some((to, later)) = rest.split_at_mut_checked(piece) else { break };
            self.desk.hand_out(cursor.slot, bytes.at + skipped, to)?;
            from += piece as u32;
            rest = later;
        }
        *copied = len;
        Ok(())
    }

    /// Finds the fragment behind another one.
    #[inline(never)]
    fn fragment_behind(&mut self, slot: u32, index: u32, frame: u32) -> core::result::Result<(), Miss> {
        self.desk.frame_at(slot, index, frame)?;
        let next = self.desk.common.next_frame(self.desk.frame.end());
        self.desk.frame_at(slot, index, next)?;
        // The end of the record is not in front of its bytes.
        let header = &self.desk.frame.header;
        if header.kind == Kind::Middle || header.payload_len > 0 { Ok(()) } else { Err(Miss::None) }
    }
}
