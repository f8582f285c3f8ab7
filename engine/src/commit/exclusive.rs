//! What needs the segment alone: the first frame of an opening, rotation, frames larger than a buffer, the swap of a forgotten segment.

use core::mem;

use super::append::watermark;
use super::state::{Active, Mark};
use super::{Committer, Guard, poisoned};
use crate::chain::Segment;
use crate::error::{Code, Error, Result};
use crate::format::constants::{FRAME_ALIGN, FRAME_HEADER_LEN};
use crate::format::control::{End, How, Link, Open};
use crate::format::frame::{FrameHeader, Kind, padded};
use crate::format::manifest_slot::{Bound, Manifest};
use crate::format::segment_header::SegmentHeader;
use crate::manifest::InstallError;
use crate::memory::Shared;
use crate::names::FileName;
use crate::segment::buffer::{CommitBuffer, Placed, blank_len};
use crate::segment::payload::{Control, Payload, control_header, relative};
use crate::seq::Seq;
use crate::spares::Prepared;
use crate::storage::{File, IoError, IoKind, Storage};

/// Larger pieces of a frame that is larger than a buffer are not gathered, in bytes.
const GATHERED_BYTES: usize = 64 << 10;

impl<S: Storage> Committer<S> {
    /// Takes a step towards a place for a frame of `len` bytes with `room` left behind it; `State::has_place` says when there is one. On an error
    /// nothing was appended.
    #[cold]
    pub(super) fn make_place<'a>(&'a self, mut state: Guard<'a, S>, len: u64, room: u64) -> Result<Guard<'a, S>> {
        state.check_usable()?;
        if state.is_taken() {
            state = self.wait(state);
        } else if !state.dirty {
            state = self.make_dirty(state)?;
        } else if state.lacks_open() {
            self.place_open(&mut state);
        } else if !state.fits_segment(len, room) {
            state = self.rotate(state)?;
        } else if state.writing {
            state = self.wait(state);
        } else if state.filling.bytes().is_empty() {
            // A frame larger than a buffer goes straight to the file, once nothing is under way that could still be taken back.
            state.exclusive_wanted += 1;
            state = self.wait(state);
            state.exclusive_wanted -= 1;
            self.wake(&state);
        } else {
            state.writing = true;
            let (next, outcome) = self.write_out(state);
            state = next;
            state.writing = false;
            self.wake(&state);
            outcome?;
        }
        Ok(state)
    }

    /// Becomes exclusive; false if the segment changed or the handle failed meanwhile, so that the caller looks anew.
    fn acquire<'a>(&'a self, mut state: Guard<'a, S>) -> (Guard<'a, S>, bool) {
        let segment = state.active.header.index;
        state.exclusive_wanted += 1;
        // A poisoned handle may have roles that nobody gives back, after a panic.
        while state.failure.is_none() && (state.exclusive || state.writing || state.syncing || state.taken_back.is_some()) {
            state = self.wait(state);
        }
        state.exclusive_wanted -= 1;
        let go = state.active.header.index == segment && state.check_usable().is_ok();
        if go {
            state.exclusive = true;
        } else {
            self.wake(&state);
        }
        (state, go)
    }

    fn release(&self, state: &mut Guard<'_, S>) {
        state.exclusive = false;
        self.wake(state);
    }

    /// Before the first frame of an opening: a usable spare, so that a log that can write can also recover, then the manifest says dirty.
    fn make_dirty<'a>(&'a self, state: Guard<'a, S>) -> Result<Guard<'a, S>> {
        let (mut state, go) = self.acquire(state);
        if !go || state.dirty {
            if go {
                self.release(&mut state);
            }
            return Ok(state);
        }
        drop(state);
        let installed = self
            .parts
            .spares
            .ensure(1)
            .map_err(|error| InstallError { error, is_final: false })
            .and_then(|()| self.parts.manifest.install(|manifest| manifest.dirty = true));
        if installed.is_ok() {
            // Rotation needs two; better prepared now than when the segment is full.
            self.parts.bell.ring(|work| work.prepare = true);
        }
        let mut state = self.lock();
        self.release(&mut state);
        match installed {
            Ok(_) => {
                state.dirty = true;
                Ok(state)
            }
            Err(failed) => {
                if failed.is_final {
                    self.fail(&mut state, failed.error);
                } else {
                    self.parts.events.note(failed.error);
                }
                Err(failed.told())
            }
        }
    }

    fn place_open(&self, state: &mut Guard<'_, S>) {
        let payload = state.active.open.encode();
        let segment = state.active.header;
        state.last_frame = state.filling.push(&segment, &control_header(Kind::Open, &payload), &Control(&payload));
    }

    /// Goes on in a prepared segment. Costs one sync: END into the old one, sync; the new one's OPEN goes out with its first frames.
    fn rotate<'a>(&'a self, state: Guard<'a, S>) -> Result<Guard<'a, S>> {
        let (mut state, go) = self.acquire(state);
        if !go {
            return Ok(state);
        }
        drop(state);
        // One to go on in and a further one, without which its OPEN may not be written.
        let next = self
            .parts
            .pins
            .admit()
            .and_then(|()| self.parts.spares.ensure(2))
            .and_then(|()| self.parts.chain.reserve())
            .and_then(|()| self.parts.spares.take().ok_or_else(|| Error::new(Code::NoSpace, "no spare segment")));
        state = self.lock();
        let outcome = match next {
            Ok(next) => {
                let (after, outcome) = self.rotate_to(state, next);
                state = after;
                outcome
            }
            Err(error) => {
                self.parts.events.note(error);
                Err(error)
            }
        };
        self.release(&mut state);
        outcome?;
        drop(state);
        self.parts.bell.ring(|work| work.prepare = true);
        Ok(self.lock())
    }

    fn rotate_to<'a>(&'a self, mut state: Guard<'a, S>, next: Prepared<S::File>) -> (Guard<'a, S>, Result<()>) {
        let end = End { successor: next.header.index, last_seq: state.tail.seq, before_crc: state.last_frame.crc }.encode();
        let mut header = control_header(Kind::End, &end);
        if !state.filling.has_room(header.len()) {
            let (after, outcome) = self.write_out(state);
            state = after;
            if outcome.is_err() {
                self.parts.spares.put_back(next);
                return (state, outcome);
            }
        }
        header.relative_seq = relative(state.tail.seq + 1, state.active.open.first_seq);
        header.watermark = watermark(&state);
        let segment = state.active.header;
        state.last_frame = state.filling.push(&segment, &header, &Control(&end));
        let (after, outcome) = self.write_out(state);
        state = after;
        if outcome.is_err() {
            self.parts.spares.put_back(next);
            return (state, outcome);
        }
        let (after, outcome) = self.sync_written(state);
        state = after;
        if outcome.is_err() {
            return (state, outcome);
        }
        let link =
            Link { index: segment.index, end: state.synced.offset, last_frame: state.last_frame.offset, last_crc: state.last_frame.crc };
        let open = self.next_open(&state, How::Rotated, link);
        self.parts
            .chain
            .append((link.end, state.tail), Segment { header: next.header, first_seq: open.first_seq, before: open.before, end: None });
        self.enter(&mut state, next.header, next.file, open, Placed::default(), next.header.data_start);
        state.counts.rotations += 1;
        (state, Ok(()))
    }

    fn next_open(&self, state: &Guard<'_, S>, how: How, link: Link) -> Open {
        Open { first_seq: state.tail.seq + 1, how, link, before: state.tail, checkpoint: state.checkpoint, epoch: state.epoch }
    }

    fn enter(&self, state: &mut Guard<'_, S>, header: SegmentHeader, file: Shared<S::File>, open: Open, last_frame: Placed, offset: u64) {
        state.active = Active { header, file, open };
        state.filling.restart(offset);
        state.last_frame = last_frame;
        let mark = Mark { offset, tail: state.tail, last_frame };
        state.written = mark;
        state.synced = mark;
    }

    /// Writes a frame that is larger than a buffer straight to the file. The buffer is empty.
    pub(super) fn write_large<'a>(&'a self, state: Guard<'a, S>, header: &FrameHeader, payload: &impl Payload) -> Result<Guard<'a, S>> {
        let mut state = state;
        // `has_place` has seen, under the lock that is still held, that nobody writes, syncs or is exclusive.
        state.exclusive = true;
        let base = state.filling.base();
        let end = base + header.len();
        let segment = state.active.header;
        let file = state.active.file.clone();
        let mut buffer = mem::take(&mut state.idle);
        drop(state);
        let mut encoded = [0; FRAME_HEADER_LEN];
        let crc = header.encode(segment.seed, base, &mut encoded);
        let behind = padded(u64::from(header.payload_len)) - u64::from(header.payload_len) + blank_len(end, segment.capacity) as u64;
        let written = stream(&*file, &mut buffer, base, &encoded, payload, behind as usize);
        let mut state = self.lock();
        state.idle = buffer;
        state.counts.writes += 1;
        let outcome = match written {
            Ok(()) => {
                state.last_frame = Placed { offset: base, crc };
                state.filling.restart(end);
                // A failure elsewhere may have poisoned the handle meanwhile; a shutdown lets appends under way complete.
                state.failure.map_or(Ok(()), |failure| Err(poisoned(failure)))
            }
            Err(io) => {
                let (after, outcome) = self.take_back(state, io, end);
                state = after;
                outcome
            }
        };
        self.release(&mut state);
        outcome.map(|()| state)
    }

    /// After a rotation without a record behind it: puts the OPEN into the segment, so that a clean log ends in its last one.
    pub(super) fn settle_open<'a>(&'a self, mut state: Guard<'a, S>) -> (Guard<'a, S>, Result<()>) {
        if state.bound.segment == state.active.header.index || state.failure.is_some() {
            return (state, Ok(()));
        }
        if state.lacks_open() {
            self.place_open(&mut state);
        }
        let (state, outcome) = self.write_out(state);
        match outcome {
            Ok(()) => self.sync_written(state),
            Err(error) => (state, Err(error)),
        }
    }

    /// Replaces the active segment, all of whose records are to be forgotten, by a prepared one; `install` completes the manifest's new content.
    /// Returns the new segment, or `None` if something was appended meanwhile or a spare is lacking, and nothing changed.
    pub fn swap_forgotten(&self, up_to: Seq, install: impl FnOnce(&mut Manifest, u32)) -> core::result::Result<Option<u32>, InstallError> {
        let state = self.lock();
        state.check_usable().map_err(|error| InstallError { error, is_final: false })?;
        if state.tail.seq != up_to || state.lacks_open() {
            return Ok(None);
        }
        drop(state);
        // Before anything waits for this: it may have to fill a whole segment.
        if self.parts.spares.ensure(1).is_err() || self.parts.chain.reserve().is_err() {
            return Ok(None);
        }
        let (mut state, go) = self.acquire(self.lock());
        if !go {
            return Ok(None);
        }
        if state.tail.seq != up_to || state.synced.tail.seq != up_to || state.synced.offset != state.filling.end() || !state.dirty {
            self.release(&mut state);
            return Ok(None);
        }
        let Some(next) = self.parts.spares.take() else {
            self.release(&mut state);
            return Ok(None);
        };
        let link = Link {
            index: state.active.header.index,
            end: state.synced.offset,
            last_frame: state.last_frame.offset,
            last_crc: state.last_frame.crc,
        };
        let open = self.next_open(&state, How::Recovered, link);
        drop(state);
        let name = FileName::Segment(next.header.index);
        let opened = write_open(&next, &open);
        let outcome = match opened {
            // A leftover that nothing names. After a failed sync nothing about its blocks is certain, so they are not used again.
            Err(io) => {
                let _next_opening_finds_it = self.parts.storage.remove(name);
                Err(InstallError { error: io.in_file(name, "cannot begin a new segment"), is_final: false })
            }
            Ok((placed, end)) => {
                let bound = Bound { segment: next.header.index, offset: end, tail: open.before };
                self.parts
                    .manifest
                    .install_twice(|manifest| {
                        manifest.bound = bound;
                        manifest.dirty = false;
                        install(manifest, next.header.index);
                    })
                    // Whether the disk names the old segment or the new one is not known, so neither may be written to.
                    .map_err(|failed| InstallError { is_final: true, ..failed })
                    .map(|_| (placed, end, bound))
            }
        };
        let mut state = self.lock();
        let outcome = match outcome {
            Ok((placed, end, bound)) => {
                self.parts.chain.append(
                    (link.end, state.tail),
                    Segment { header: next.header, first_seq: open.first_seq, before: open.before, end: None },
                );
                self.enter(&mut state, next.header, next.file, open, placed, end);
                state.bound = bound;
                state.dirty = false;
                Ok(Some(bound.segment))
            }
            Err(failed) => {
                if failed.is_final {
                    self.fail(&mut state, failed.error);
                }
                Err(failed)
            }
        };
        self.release(&mut state);
        outcome
    }
}

/// Writes the OPEN frame of a segment that replaces another and syncs it; where it stands and where it ends.
fn write_open<F: File>(next: &Prepared<F>, open: &Open) -> core::result::Result<(Placed, u64), IoError> {
    let payload = open.encode();
    let header = control_header(Kind::Open, &payload);
    // A frame of a hundred bytes: failing to allocate it is failing to begin the segment.
    let mut frame = CommitBuffer::with_capacity(header.len() as usize).map_err(|_| IoError { kind: IoKind::NoMemory, os_error: 0 })?;
    frame.restart(next.header.data_start);
    let placed = frame.push(&next.header, &header, &Control(&payload));
    let end = frame.end();
    next.file.write_at(next.header.data_start, frame.ended(next.header.capacity))?;
    next.file.sync()?;
    Ok((placed, end))
}

/// Writes header, payload and `zeros` zeros, which are fewer than 32, at `base`. `buffer` is as large as any; nothing in it counts before or afterwards.
fn stream<F: File>(
    file: &F,
    buffer: &mut CommitBuffer,
    base: u64,
    header: &[u8],
    payload: &impl Payload,
    zeros: usize,
) -> core::result::Result<(), IoError> {
    buffer.restart(base);
    let mut outcome = Ok(());
    let mut put = |piece: &[u8]| {
        if outcome.is_ok() {
            outcome = stream_piece(file, buffer, piece);
        }
    };
    put(header);
    payload.visit(&mut put);
    put(&[0; FRAME_ALIGN + FRAME_HEADER_LEN][..zeros]);
    outcome?;
    file.write_at(buffer.base(), buffer.bytes())
}

/// Puts a piece behind what is in the buffer. Small ones are gathered there, for each write may wait for the disk; large ones go from the caller's memory.
fn stream_piece<F: File>(file: &F, buffer: &mut CommitBuffer, piece: &[u8]) -> core::result::Result<(), IoError> {
    let len = piece.len() as u64;
    let is_small = piece.len() <= GATHERED_BYTES;
    if !is_small || !buffer.has_room(len) {
        file.write_at(buffer.base(), buffer.bytes())?;
        buffer.restart(buffer.end());
    }
    if is_small {
        buffer.extend(piece);
    } else {
        file.write_at(buffer.base(), piece)?;
        buffer.restart(buffer.base() + len);
    }
    Ok(())
}
