//! Appending records.

use super::state::{Mark, State};
use super::{Committer, Guard};
use crate::config::{SEGMENT_OVERHEAD_BYTES, SyncMode};
use crate::error::{Code, Error, Result};
use crate::format::constants::{CHECKPOINT_VALUE_LEN, END_PAYLOAD_LEN, OP_CHECKPOINT};
use crate::format::control::Checkpoint;
use crate::format::frame::{FrameHeader, Kind, frame_len};
use crate::protocol::checkpoint;
use crate::segment::payload::{Batch, Entries, Entry, One, Packed, Payload, Pieces, control_header, header_of, relative};
use crate::seq::{self, Seq};
use crate::storage::Storage;
use crate::sync::{Instant, Ordering};

/// What an END frame takes.
const END_FRAME_LEN: u64 = frame_len(END_PAYLOAD_LEN as u64);
/// What data frames leave free in a segment: END and a few CHECKPOINT records.
const CONTROL_ROOM: u64 = END_FRAME_LEN + 5 * frame_len(CHECKPOINT_VALUE_LEN as u64);

/// When a batch's append returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// As the sync mode says.
    #[default]
    Mode,
    /// Durable.
    Sync,
    /// Copied into the log's buffer.
    Async,
}

impl<S: Storage> Committer<S> {
    /// Appends one record.
    pub fn append(&self, op: u8, key: &[u8], value: &[u8]) -> Result<Seq> {
        let entry = Entry { op, key, value };
        if One::fits(key) {
            self.append_payload(Kind::Record, &One(entry), Durability::Mode)
        } else {
            // A key too long for a frame header goes where lengths are wider.
            self.append_payload(Kind::Batch, &Batch(&[entry][..]), Durability::Mode)
        }
    }

    /// Appends records that are there all or not at all; returns the last one's seq.
    pub fn append_batch<E: Entries + ?Sized>(&self, entries: &E, durability: Durability) -> Result<Seq> {
        if entries.count() == 0 {
            return Err(no_batch());
        }
        self.append_payload(Kind::Batch, &Batch(entries), durability)
    }

    /// The same for a batch that is put together already.
    pub fn append_packed(&self, packed: &Packed<'_, impl Pieces>, durability: Durability) -> Result<Seq> {
        if packed.count == 0 {
            return Err(no_batch());
        }
        self.append_payload(Kind::Batch, packed, durability)
    }

    fn append_payload(&self, kind: Kind, payload: &impl Payload, durability: Durability) -> Result<Seq> {
        let len = payload.len().filter(|&len| len <= self.segment_bytes - SEGMENT_OVERHEAD_BYTES).ok_or_else(|| {
            Error::new(
                Code::TooLarge,
                "the record or batch does not fit into one segment (segment_size less 512 bytes); nothing was appended",
            )
        })?;
        let header = header_of(kind, payload, len);
        let mut state = self.lock();
        if self.mode == SyncMode::Batch && durability == Durability::Mode {
            state = self.wait_for_batch_room(state, payload.records())?;
        }
        let (state, seq) = self.place(state, header, payload, CONTROL_ROOM)?;
        self.settle(state, seq, durability)
    }

    /// Waits until `more` records may be added without exceeding what may be unsynced.
    fn wait_for_batch_room<'a>(&'a self, mut state: Guard<'a, S>, more: u64) -> Result<Guard<'a, S>> {
        loop {
            state.check_usable()?;
            let unsynced = state.unsynced();
            if unsynced == 0 || unsynced + more <= self.batch_records {
                return Ok(state);
            }
            let last = state.tail.seq;
            let (next, outcome) = self.wait_durable(state, last);
            outcome?;
            state = next;
        }
    }

    /// Returns when there is a place for a frame of `len` bytes with `room` left behind it. On an error nothing was appended.
    #[inline]
    fn find_place<'a>(&'a self, mut state: Guard<'a, S>, len: u64, room: u64) -> Result<Guard<'a, S>> {
        while !state.has_place(len, room) {
            state = self.make_place(state, len, room)?;
        }
        Ok(state)
    }

    /// Puts a frame behind the last one and gives its records their seqs; returns the last of them.
    #[inline]
    fn place<'a>(&'a self, state: Guard<'a, S>, mut header: FrameHeader, payload: &impl Payload, room: u64) -> Result<(Guard<'a, S>, Seq)> {
        let len = header.len();
        let mut state = self.find_place(state, len, room)?;
        let count = payload.records();
        if state.tail.seq + count > seq::MAX {
            return Err(Error::new(Code::Range, "the log has used up its sequence numbers"));
        }
        header.relative_seq = relative(state.tail.seq + 1, state.active.open.first_seq);
        header.watermark = watermark(&state);
        #[cfg(wal_plants)]
        if let SyncMode::Batch | SyncMode::Os | SyncMode::None = self.mode {
            header.watermark = crate::plants::Mistake::WatermarkNeedsMode.or(0, header.watermark);
        }
        if state.filling.has_room(len) {
            let segment = state.active.header;
            state.last_frame = state.filling.push(&segment, &header, payload);
        } else {
            state = self.write_large(state, &header, payload)?;
        }
        state.tail = state.tail.advanced(count, header.op != OP_CHECKPOINT);
        if state.filling.bytes().is_empty() {
            // A large frame is in the file already, and only now complete.
            let mark = Mark { offset: state.filling.end(), tail: state.tail, last_frame: state.last_frame };
            self.mark_written(&mut state, mark);
        }
        self.last_seq.store(state.tail.seq, Ordering::Release);
        state.counts.appends += 1;
        state.counts.bytes += len;
        let last = state.tail.seq;
        Ok((state, last))
    }

    /// Returns when the call may return success.
    #[inline]
    fn settle<'a>(&'a self, mut state: Guard<'a, S>, seq: Seq, durability: Durability) -> Result<Seq> {
        #[cfg(wal_plants)]
        let durability = if crate::plants::Mistake::AcknowledgedFirst.is_planted() {
            self.parts.bell.ring(|work| work.sync = true);
            Durability::Async
        } else {
            durability
        };
        let (mut state, outcome) = match (durability, self.mode) {
            // What is durable no failure can take back, so that it need not be noted as accepted.
            (Durability::Sync, _) | (Durability::Mode, SyncMode::Always) => return self.reach_durable(state, seq).map(|()| seq),
            (Durability::Mode, SyncMode::Os) => self.wait_written(state, seq),
            (Durability::Async, _) | (Durability::Mode, SyncMode::None | SyncMode::Batch) => {
                state.accepted = state.accepted.max(seq);
                (state, Ok(()))
            }
        };
        outcome?;
        state.accepted = state.accepted.max(seq);
        if self.mode == SyncMode::Batch && durability == Durability::Mode {
            if state.unsynced() >= self.batch_records {
                // The record is accepted, so that a failure has poisoned the handle; the caller learns of it now rather than at the next call.
                return self.reach_durable(state, seq).map(|()| seq);
            }
            let (next, outcome) = self.set_timer(state, seq);
            // As above: the record is accepted.
            outcome?;
            state = next;
        }
        let due = state.written.offset - state.synced.offset >= self.sync_bytes && !state.syncing && !state.sync_rung;
        if due && matches!(self.mode, SyncMode::Os | SyncMode::None) {
            state.sync_rung = true;
            drop(state);
            if !self.parts.bell.ring(|work| work.sync = true) {
                let mut state = self.lock();
                state.sync_rung = false;
                let written = state.written.tail.seq;
                self.reach_durable(state, written)?;
            }
        }
        Ok(seq)
    }

    /// Sees to it that `seq` is durable when the interval is over.
    fn set_timer<'a>(&'a self, mut state: Guard<'a, S>, seq: Seq) -> (Guard<'a, S>, Result<()>) {
        let Some(interval) = self.batch_interval else {
            return (state, Ok(()));
        };
        if state.timer_set || state.unsynced() == 0 {
            return (state, Ok(()));
        }
        state.timer_set = true;
        // Not under the lock: the first ring starts the thread.
        drop(state);
        let rung = self.parts.bell.ring(|work| {
            let by = Instant::now() + interval;
            work.sync_by = Some(work.sync_by.map_or(by, |earlier| earlier.min(by)));
        });
        let mut state = self.lock();
        if rung {
            return (state, Ok(()));
        }
        // No thread can be had that would sync later. The next append tries again.
        state.timer_set = false;
        self.wait_durable(state, seq)
    }

    /// Appends a CHECKPOINT record; returns its seq and the licence. `covered` is checked and resolved against the last seq here.
    /// With `Err(covered, error)` the record could not be written and nothing changed.
    pub fn append_checkpoint(&self, given: Seq) -> core::result::Result<(Seq, Checkpoint), (Option<Seq>, Error)> {
        let state = self.lock();
        state.check_usable().map_err(|error| (None, error))?;
        let covered = checkpoint::covered(given, state.tail.seq).map_err(|error| (None, error))?;
        let frame = frame_len(CHECKPOINT_VALUE_LEN as u64);
        let state = self.find_place(state, frame, END_FRAME_LEN).map_err(|error| (Some(covered), error))?;
        // No append can come between: the lock is held from here to the record's place.
        let before = state.tail;
        let own = before.seq + 1;
        let checkpoint = Checkpoint { n: checkpoint::licence(covered, before, own), covered };
        let value = checkpoint.encode();
        let mut header = control_header(Kind::Record, &value);
        header.op = OP_CHECKPOINT;
        let record = One(Entry { op: OP_CHECKPOINT, key: &[], value: &value });
        let (mut state, seq) = self.place(state, header, &record, END_FRAME_LEN).map_err(|error| (Some(covered), error))?;
        debug_assert_eq!(seq, own);
        state.checkpoints.add(seq);
        self.reach_durable(state, seq).map_err(|error| (None, error))?;
        Ok((seq, checkpoint))
    }

    /// The manifest holds this checkpoint now.
    pub fn note_checkpoint(&self, checkpoint: Checkpoint) {
        let mut state = self.lock();
        if checkpoint.n > state.checkpoint.n {
            state.checkpoint = checkpoint;
        }
    }
}

fn no_batch() -> Error {
    Error::new(Code::Invalid, "a batch holds at least one record")
}

/// The watermark of a frame that is composed now.
pub(super) fn watermark<F>(state: &State<F>) -> u64 {
    // In a segment in which nothing is synced but its header there is nothing to vouch for.
    if state.synced.offset > state.active.header.data_start { state.synced.offset } else { 0 }
}
