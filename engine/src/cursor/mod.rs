//! Replay: the records above a seq, in order, as far as they may be shown.

use std::time::Duration;

use crate::chain::{Chain, ReaderId, Segment};
use crate::error::{Code, Error, Result};
use crate::format::batch::{self, BatchEntry};
use crate::format::checksum;
use crate::format::constants::{BATCH_ENTRY_LEN, FRAME_HEADER_LEN};
use crate::format::frame::{FrameHeader, Kind, padded};
use crate::memory::{Shared, Weak};
use crate::names::FileName;
use crate::protocol::gap;
use crate::segment::buffer::read_buffer;
use crate::segment::head::is_still;
use crate::seq::Seq;

use crate::storage::{Access, File, IoError, Storage};

/// What a cursor shows beside durable data records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayOptions {
    /// CHECKPOINT records too.
    pub raw: bool,
    /// Records that are not durable yet too.
    pub unsynced: bool,
    /// What comes behind records that damage took, without an error.
    pub skip_lost: bool,
    /// What the host has forgotten and pins keep, too.
    pub pinned: bool,
}

/// A record in the cursor's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its seq.
    pub seq: Seq,
    /// The last seq of its batch; its own if it is alone.
    pub batch_last_seq: Seq,
    /// What it does.
    pub op: u8,
    /// Its key.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

/// Where a record lies in the buffer.
#[derive(Clone, Copy)]
pub struct Found {
    seq: Seq,
    batch_last_seq: Seq,
    op: u8,
    key: usize,
    value: usize,
    end: usize,
}

/// A batch that is being handed out.
#[derive(Clone, Copy)]
struct OpenBatch {
    next: u32,
    count: u32,
    /// Seq of its first record.
    first_seq: Seq,
    /// Where in the buffer its table begins, behind the count.
    table: usize,
    /// Where in the buffer the next entry's bytes begin.
    bytes: usize,
}

impl OpenBatch {
    fn last(&self) -> Seq {
        self.first_seq + u64::from(self.count) - 1
    }
}

/// See the module's head. Reads from the files, with one buffer; a frame larger than it makes it grow.
pub struct Cursor<S: Storage> {
    /// Weak, so that a cursor that outlives the log does not hold its lock.
    storage: Weak<S>,
    chain: Shared<Chain>,
    reader: ReaderId,
    options: ReplayOptions,
    segment: Segment,
    /// Opened when the first frame of the segment is read.
    file: Option<S::File>,
    /// The seq that comes next.
    expected: Seq,
    /// Records up to here are not wanted.
    after: Seq,
    /// Offset of the next frame.
    position: u64,
    buffer: Vec<u8>,
    buffer_start: u64,
    buffer_len: usize,
    /// What could be shown when the buffer was filled: bytes of later records may have changed since.
    buffer_limit: Seq,
    /// No record up to here lies in a successor of the segment, as long as its end is not known.
    unended_to: Seq,
    batch: Option<OpenBatch>,
    /// Read, and refused by who reads: the next one.
    refused: Option<Found>,
    /// The first fragments of a record.
    fragments: Option<Fragments>,
    damage: Option<Error>,
    /// Whether another process writes the log, and may take away or use again what is being read.
    is_live: bool,
}

struct Fragments {
    bytes: Vec<u8>,
    key_len: usize,
    op: u8,
}

impl<S: Storage> Cursor<S> {
    /// A cursor over the records above `after`, which the caller has checked against what is forgotten.
    pub fn new(
        storage: &Shared<S>,
        chain: Shared<Chain>,
        after: Seq,
        options: ReplayOptions,
        segment_bytes: u64,
        is_live: bool,
    ) -> Result<Cursor<S>> {
        let buffer = read_buffer(segment_bytes)?;
        let (reader, segment) = chain.enter(after, options.pinned)?;
        // What was lost directly in front of where it begins is met at the first step.
        let damage = segment
            .hole()
            .filter(|&(_, last)| last > after && !options.skip_lost)
            .map(|(first, last)| gap::lost(first.max(after + 1), last));
        Ok(Cursor {
            storage: Shared::downgrade(storage),
            chain,
            reader,
            options,
            position: segment.header.data_start,
            expected: segment.first_seq,
            segment,
            file: None,
            after,
            buffer,
            buffer_start: 0,
            buffer_len: 0,
            buffer_limit: 0,
            unended_to: 0,
            batch: None,
            refused: None,
            fragments: None,
            damage,
            is_live,
        })
    }

    /// Whether it shows what is not durable yet.
    pub fn shows_unsynced(&self) -> bool {
        self.options.unsynced
    }

    /// Whether there is more to show than was shown.
    #[inline]
    pub fn has_more(&self) -> bool {
        self.damage.is_some()
            || self.refused.is_some_and(|found| found.batch_last_seq <= self.limit())
            || self.batch.is_some_and(|batch| batch.last() <= self.limit())
            || self.limit() >= self.expected.max(self.after + 1)
    }

    /// What the cursor met and keeps answering.
    pub fn damage(&self) -> Option<Error> {
        self.damage
    }

    /// Whether the log was closed.
    pub fn is_closed(&self) -> bool {
        self.chain.is_closed()
    }

    /// Waits until `ready`, which is asked again whenever something became durable; whether it was.
    pub fn wait_until(&self, timeout: Option<Duration>, ready: impl FnMut() -> bool) -> bool {
        self.chain.wait_until(timeout, ready)
    }

    fn limit(&self) -> Seq {
        if self.options.unsynced { self.chain.readable() } else { self.chain.durable() }
    }

    /// The next record; `None` at the end, behind which more may come later.
    #[expect(clippy::should_implement_trait, reason = "the record borrows from the cursor")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        Ok(self.seek()?.map(|found| self.record(found)))
    }

    /// Hands `take` the next records one after the other, until there are no more for now or it refuses one, which stays the next. After an error
    /// those that it took count.
    pub fn take_while(&mut self, mut take: impl FnMut(&Record<'_>) -> bool) -> Result<()> {
        while let Some(found) = self.seek()? {
            if !take(&self.record(found)) {
                self.refused = Some(found);
                return Ok(());
            }
        }
        Ok(())
    }

    /// The seq that comes next.
    pub fn expected(&self) -> Seq {
        self.expected.max(self.after + 1)
    }

    /// From here on answers with this.
    pub fn fail(&mut self, error: Error) {
        self.damage = Some(error);
    }

    /// Goes to the next record; `None` at the end.
    #[inline]
    pub fn seek(&mut self) -> Result<Option<Found>> {
        if self.chain.is_closed() {
            return Err(closed());
        }
        if let Some(damage) = self.damage {
            return Err(damage);
        }
        let found = self.find();
        if let Err(error) = &found
            && matches!(error.code, Code::Corrupt | Code::Gap)
        {
            self.damage = Some(*error);
        }
        found
    }

    /// The record that `seek` has just found.
    #[inline]
    pub fn record(&self, found: Found) -> Record<'_> {
        let bytes = match &self.fragments {
            Some(fragments) => &fragments.bytes,
            None => &self.buffer,
        };
        Record {
            seq: found.seq,
            batch_last_seq: found.batch_last_seq,
            op: found.op,
            key: &bytes[found.key..found.value],
            value: &bytes[found.value..found.end],
        }
    }

    fn find(&mut self) -> Result<Option<Found>> {
        if let Some(found) = self.refused {
            // As below: the handle may have failed since.
            return Ok((found.batch_last_seq <= self.limit()).then(|| {
                self.refused = None;
                found
            }));
        }
        loop {
            if let Some(batch) = &self.batch {
                if batch.last() > self.limit() {
                    // The handle failed while the batch was being shown, and it is not durable.
                    return Ok(None);
                }
                if let Some(found) = self.next_of_batch()
                    && found.seq > self.after
                {
                    return Ok(Some(found));
                }
                continue;
            }
            let limit = self.limit();
            if self.expected > limit || !self.at_a_frame()? {
                return Ok(None);
            }
            let header = self.frame()?;
            let payload = (self.position - self.buffer_start) as usize + FRAME_HEADER_LEN;
            let len = header.payload_len as usize;
            self.position += header.len();
            if header.kind != Kind::Middle && header.kind != Kind::Last {
                self.fragments = None;
            }
            let seq = self.expected;
            match header.kind {
                Kind::Open => {}
                Kind::End => self.follow_end()?,
                Kind::Record => {
                    self.expected += 1;
                    let shown = self.options.raw || !header.is_checkpoint();
                    if seq > self.after && shown {
                        let key = payload + header.key_len as usize;
                        return Ok(Some(Found { seq, batch_last_seq: seq, op: header.op, key: payload, value: key, end: payload + len }));
                    }
                }
                Kind::Batch => self.begin_batch(payload, len)?,
                Kind::First | Kind::Middle | Kind::Last => {
                    if let Some(found) = self.fragment(&header, payload, len)? {
                        return Ok(Some(found));
                    }
                }
            }
        }
    }

    /// Goes to the successor where this segment's frames end; false if it is not there yet.
    fn at_a_frame(&mut self) -> Result<bool> {
        loop {
            if self.segment.end.is_none() && self.expected > self.unended_to {
                // Before the look at the chain: what was durable while the segment had no successor lies in it, for good.
                let durable = self.chain.durable();
                let known = self.chain.segment(self.segment.header.index);
                if known.is_none() && self.is_live {
                    self.enter_again()?;
                    continue;
                }
                self.segment.end = known.and_then(|known| known.end);
                if self.segment.end.is_none() {
                    self.unended_to = durable;
                }
            }
            match self.segment.end {
                Some((end, _)) if self.position >= end => {
                    if !self.advance()? {
                        return Ok(false);
                    }
                    if self.expected > self.limit() {
                        return Ok(false);
                    }
                }
                _ => return Ok(true),
            }
        }
    }

    fn follow_end(&mut self) -> Result<()> {
        if self.advance()? {
            return Ok(());
        }
        Err(self.corrupt("the segment ends, but no segment follows it"))
    }

    /// To the next segment of the chain, if there is one.
    fn advance(&mut self) -> Result<bool> {
        let Some(next) = self.chain.advance(&self.reader, self.segment.header.index) else {
            return Ok(false);
        };
        if next.before.seq + 1 != self.expected {
            if self.is_live {
                self.enter_again()?;
                return Ok(true);
            }
            return Err(self.corrupt("the segment does not end with the seq that its successor names"));
        }
        self.segment = next;
        self.file = None;
        self.position = next.header.data_start;
        self.buffer_len = 0;
        if let Some((first, last)) = next.hole() {
            self.expected = next.first_seq;
            if last > self.after && !self.options.skip_lost {
                return Err(gap::lost(first.max(self.after + 1), last));
            }
        }
        Ok(true)
    }

    /// The writer has replaced the segment, or what follows it, by others: goes on in the one that holds what comes next.
    fn enter_again(&mut self) -> Result<()> {
        let after = self.expected - 1;
        let Some(segment) = self.chain.enter_again(&self.reader, after).filter(|segment| segment.before.seq <= after) else {
            return Err(self.corrupt("the segment that comes next is not there any more"));
        };
        self.segment = segment;
        self.file = None;
        self.position = segment.header.data_start;
        self.buffer_len = 0;
        self.unended_to = 0;
        self.after = self.after.max(after);
        if let Some((first, last)) = segment.hole().filter(|&(_, last)| last > self.after && !self.options.skip_lost) {
            return Err(gap::lost(first.max(self.after + 1), last));
        }
        self.expected = segment.first_seq;
        Ok(())
    }

    /// The frame at the position, whole in the buffer and verified.
    fn frame(&mut self) -> Result<FrameHeader> {
        let segment = self.segment.header;
        let at = self.load(FRAME_HEADER_LEN)?;
        let decoded =
            at.and_then(|at| FrameHeader::decode(segment.seed, segment.capacity, self.position, &self.buffer[at..at + FRAME_HEADER_LEN]));
        let Some(header) = decoded else {
            return Err(self.corrupt("the frame's header is damaged"));
        };
        if u64::from(header.relative_seq) + self.segment.first_seq != self.expected {
            return Err(self.corrupt("the frame is out of order"));
        }
        let padded = padded(u64::from(header.payload_len)) as usize;
        let at = self.load(FRAME_HEADER_LEN + padded)?;
        let sound = at.is_some_and(|at| {
            let payload = at + FRAME_HEADER_LEN;
            checksum::of(&self.buffer[payload..payload + padded]) == header.payload_crc
        });
        if !sound {
            return Err(self.corrupt("the frame's payload does not match its checksum"));
        }
        Ok(header)
    }

    /// Has `len` bytes from the position on in the buffer, and nothing in it older than what may be shown; where they begin, or `None` if the
    /// file ends before.
    #[inline]
    fn load(&mut self, len: usize) -> Result<Option<usize>> {
        if let Some(at) = self.held(len) {
            return Ok(Some(at));
        }
        self.fill(len)?;
        Ok(self.held(len))
    }

    #[inline]
    fn held(&self, len: usize) -> Option<usize> {
        let at = self.position.checked_sub(self.buffer_start)?;
        (at + len as u64 <= self.buffer_len as u64 && self.buffer_limit >= self.expected).then_some(at as usize)
    }

    /// Reads the buffer full from the position on; it is made longer for more than it holds.
    #[cold]
    fn fill(&mut self, len: usize) -> Result<()> {
        if len > self.buffer.len() {
            let more = len - self.buffer.len();
            self.buffer.try_reserve_exact(more).map_err(|_| Error::new(Code::NoMemory, "no memory for a record this large"))?;
            self.buffer.resize(len, 0);
        }
        // Before the read: what it shows may be older than a limit taken afterwards.
        self.buffer_limit = self.limit();
        let name = FileName::Segment(self.segment.header.index);
        let file = match self.file.take() {
            Some(file) => file,
            None => open_segment(&*self.storage.upgrade().ok_or_else(closed)?, &self.segment)?,
        };
        self.buffer_len = 0;
        let file = self.file.insert(file);
        let cannot_read = |io: IoError| io.in_file(name, "cannot read the segment").at(self.position);
        let read = file.read_at(self.position, &mut self.buffer).map_err(cannot_read)?;
        if self.is_live && !is_still(file, &self.segment.header).map_err(cannot_read)? {
            return Err(self.corrupt("the segment was made another while it was read"));
        }
        self.buffer_len = read;
        self.buffer_start = self.position;
        Ok(())
    }

    fn begin_batch(&mut self, payload: usize, len: usize) -> Result<()> {
        let body = &self.buffer[payload..payload + len];
        if !batch::is_consistent(body) {
            self.position = self.buffer_start + (payload - FRAME_HEADER_LEN) as u64;
            return Err(self.corrupt("the batch's lengths do not add up"));
        }
        let count = batch::count(body, len as u64).unwrap_or(0);
        self.batch = Some(OpenBatch {
            next: 0,
            count,
            first_seq: self.expected,
            table: payload + batch::table_len(0) as usize,
            bytes: payload + batch::table_len(u64::from(count)) as usize,
        });
        self.expected += u64::from(count);
        #[cfg(wal_plants)]
        if crate::plants::Mistake::CutBatchIsSkipped.is_planted() {
            self.batch = self.batch.filter(|batch| (..batch.first_seq).contains(&self.after));
        }
        Ok(())
    }

    fn next_of_batch(&mut self) -> Option<Found> {
        let batch = self.batch.as_mut()?;
        let entry = BatchEntry::decode(&self.buffer[batch.table + batch.next as usize * BATCH_ENTRY_LEN..]);
        let key = batch.bytes;
        let value = key + entry.key_len as usize;
        let end = value + entry.value_len as usize;
        let found = Found { seq: batch.first_seq + u64::from(batch.next), batch_last_seq: batch.last(), op: entry.op, key, value, end };
        batch.bytes = end;
        batch.next += 1;
        if batch.next == batch.count {
            self.batch = None;
        }
        Some(found)
    }

    /// Adds a fragment; the record, when it is the last.
    fn fragment(&mut self, header: &FrameHeader, payload: usize, len: usize) -> Result<Option<Found>> {
        if header.kind == Kind::First {
            self.fragments = Some(Fragments { bytes: Vec::new(), key_len: header.key_len as usize, op: header.op });
        }
        let piece = payload..payload + len;
        let Some(fragments) = &mut self.fragments else {
            return Err(self.corrupt("a fragment follows no first fragment"));
        };
        if fragments.bytes.try_reserve(len).is_err() {
            // The next call reads this frame again: without it the record would not be whole.
            self.position -= header.len();
            return Err(Error::new(Code::NoMemory, "no memory for a record this large"));
        }
        fragments.bytes.extend_from_slice(&self.buffer[piece]);
        if header.kind != Kind::Last {
            return Ok(None);
        }
        let seq = self.expected;
        let (key_len, end, op) = (fragments.key_len, fragments.bytes.len(), fragments.op);
        if key_len > end {
            return Err(self.corrupt("the record is shorter than its key"));
        }
        self.expected += 1;
        let found = Found { seq, batch_last_seq: seq, op, key: 0, value: key_len, end };
        Ok((seq > self.after).then_some(found))
    }

    fn corrupt(&self, what: &'static str) -> Error {
        let last = self.segment.end.map_or(u64::MAX, |(_, tail)| tail.seq.max(self.expected));
        Error::new(Code::Corrupt, what).in_file(FileName::Segment(self.segment.header.index)).at(self.position).seqs(self.expected, last)
    }
}

impl<S: Storage> Drop for Cursor<S> {
    fn drop(&mut self) {
        self.chain.leave(&self.reader);
    }
}

fn closed() -> Error {
    Error::new(Code::Closed, "the log has been shut down or closed")
}

fn open_segment<S: Storage>(storage: &S, segment: &Segment) -> Result<S::File> {
    let name = FileName::Segment(segment.header.index);
    storage.open(name, Access::Read).map_err(|io| {
        let error = io.in_file(name, "cannot open the segment");
        if error.code == Code::NotFound { Error { code: Code::Corrupt, ..error } } else { error }
    })
}
