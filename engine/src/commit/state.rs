//! What the committer's lock protects.

use super::gathering::Gathering;
use super::{Counts, poisoned};
use crate::config::BUFFER_BYTES;
use crate::error::{Code, Error, Result};
use crate::format::control::{Checkpoint, Open};
use crate::format::manifest_slot::Bound;
use crate::format::segment_header::SegmentHeader;
use crate::memory::Shared;
use crate::segment::buffer::{CommitBuffer, Placed};
use crate::seq::{Seq, Tail};
use crate::sync::Instant;

/// The segment that is appended to.
pub(super) struct Active<F> {
    pub(super) header: SegmentHeader,
    pub(super) file: Shared<F>,
    /// Its OPEN: written with the first frame if it is not there yet.
    pub(super) open: Open,
}

/// A point in the active segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) offset: u64,
    pub(super) tail: Tail,
    pub(super) last_frame: Placed,
}

/// Where appending begins after an opening.
pub struct Start<F> {
    /// The active segment's header.
    pub header: SegmentHeader,
    /// Its file.
    pub file: Shared<F>,
    /// Its OPEN, written or still to be.
    pub open: Open,
    /// Where the next frame goes.
    pub offset: u64,
    /// The last frame before that, zeros if it is not known.
    pub last_frame: Placed,
    /// The tail there. All of it is durable.
    pub tail: Tail,
    /// The bound in the manifest.
    pub bound: Bound,
    /// The highest checkpoint so far.
    pub checkpoint: Checkpoint,
    /// The epoch of this opening.
    pub epoch: u64,
}

/// A failed write that is being taken back: calls whose record lies above `good` return `error`, once the range is zeroed and synced.
#[derive(Clone, Copy)]
pub(super) struct TakenBack {
    pub(super) error: Error,
    pub(super) good: Seq,
    pub(super) clean: bool,
}

/// What poisoned the log, and where it stood then.
#[derive(Clone, Copy)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) durable: Seq,
    pub(super) last: Seq,
}

pub(super) struct State<F> {
    pub(super) active: Active<F>,
    pub(super) filling: CommitBuffer,
    /// The other buffer; empty of memory while it is being written.
    pub(super) idle: CommitBuffer,
    pub(super) tail: Tail,
    pub(super) last_frame: Placed,
    pub(super) written: Mark,
    pub(super) synced: Mark,
    /// Everything before it is durable; stays in the predecessor until something in the active segment is.
    pub(super) bound: Bound,
    /// The last record whose call has returned success.
    pub(super) accepted: Seq,
    pub(super) checkpoint: Checkpoint,
    pub(super) checkpoints: CheckpointRuns,
    pub(super) epoch: u64,
    pub(super) dirty: bool,
    pub(super) writing: bool,
    pub(super) syncing: bool,
    /// When the sync of the active segment began that is under way, by whoever holds the syncing role or is exclusive.
    pub(super) sync_began: Option<Instant>,
    pub(super) exclusive: bool,
    /// Threads that wait to be exclusive: appends let them go first.
    pub(super) exclusive_wanted: u32,
    /// Threads that wait for a role.
    pub(super) waiting_for_role: u32,
    pub(super) gathering: Gathering,
    pub(super) taken_back: Option<TakenBack>,
    pub(super) failure: Option<Failure>,
    pub(super) shut: bool,
    pub(super) timer_set: bool,
    /// The background thread was asked for a sync and has not begun it.
    pub(super) sync_rung: bool,
    pub(super) counts: Counts,
}

impl<F> State<F> {
    pub(super) fn new(start: Start<F>, segment_bytes: u64) -> Result<State<F>> {
        let capacity = (BUFFER_BYTES as u64).min(segment_bytes) as usize;
        let mut filling = CommitBuffer::with_capacity(capacity)?;
        let idle = CommitBuffer::with_capacity(capacity)?;
        filling.restart(start.offset);
        let mark = Mark { offset: start.offset, tail: start.tail, last_frame: start.last_frame };
        Ok(State {
            active: Active { header: start.header, file: start.file, open: start.open },
            filling,
            idle,
            tail: start.tail,
            last_frame: start.last_frame,
            written: mark,
            synced: mark,
            bound: start.bound,
            accepted: start.tail.seq,
            checkpoint: start.checkpoint,
            checkpoints: CheckpointRuns::new(start.tail),
            epoch: start.epoch,
            dirty: false,
            writing: false,
            syncing: false,
            sync_began: None,
            exclusive: false,
            exclusive_wanted: 0,
            waiting_for_role: 0,
            gathering: Gathering::default(),
            taken_back: None,
            failure: None,
            shut: false,
            timer_set: false,
            sync_rung: false,
            counts: Counts::default(),
        })
    }

    #[inline]
    pub(super) fn check_usable(&self) -> Result<()> {
        if let Some(failure) = self.failure {
            return Err(poisoned(failure));
        }
        if self.shut {
            return Err(Error::new(Code::Closed, "the log has been shut down"));
        }
        Ok(())
    }

    /// Whether a frame of `len` bytes can be placed with `room` left behind it: nothing is in the way, the manifest says dirty, the segment has its
    /// OPEN and space, the buffer has space or is empty for a frame larger than it.
    #[inline]
    pub(super) fn has_place(&self, len: u64, room: u64) -> bool {
        let is_open = self.failure.is_none() && !self.shut && !self.is_taken() && self.dirty && !self.lacks_open();
        is_open && self.fits_segment(len, room) && (self.filling.has_room(len) || self.can_stream())
    }

    /// Whether somebody is alone with the segment, wants to be, or takes records back.
    #[inline]
    pub(super) fn is_taken(&self) -> bool {
        self.taken_back.is_some() || self.exclusive || self.exclusive_wanted > 0
    }

    /// Whether the active segment has no frame yet, neither in the file nor in the buffer.
    #[inline]
    pub(super) fn lacks_open(&self) -> bool {
        self.filling.end() == self.active.header.data_start
    }

    /// Whether the active segment takes a frame of `len` bytes with `room` left behind it.
    #[inline]
    pub(super) fn fits_segment(&self, len: u64, room: u64) -> bool {
        self.filling.end() + len + room <= self.active.header.capacity
    }

    /// Whether a frame may go straight to the file: nothing stands in front of it in memory, and nothing is under way that could still be taken back.
    fn can_stream(&self) -> bool {
        self.filling.bytes().is_empty() && !self.writing && !self.syncing
    }

    /// Records that are not durable yet.
    pub(super) fn unsynced(&self) -> u64 {
        self.tail.seq - self.synced.tail.seq
    }
}

/// Which of the recent seqs are CHECKPOINT records, so that a truncation knows the last data record that it forgets.
pub(super) struct CheckpointRuns {
    runs: [(Seq, Seq); CheckpointRuns::KEPT],
    len: usize,
    /// Nothing is known about seqs below.
    known_from: Seq,
}

impl CheckpointRuns {
    const KEPT: usize = 32;

    pub(super) fn new(tail: Tail) -> CheckpointRuns {
        let mut runs = CheckpointRuns { runs: [(0, 0); CheckpointRuns::KEPT], len: 0, known_from: tail.data_seq };
        if tail.seq > tail.data_seq {
            runs.runs[0] = (tail.data_seq + 1, tail.seq);
            runs.len = 1;
        }
        runs
    }

    pub(super) fn add(&mut self, seq: Seq) {
        if let Some(last) = self.len.checked_sub(1).map(|last| &mut self.runs[last])
            && last.1 + 1 == seq
        {
            last.1 = seq;
            return;
        }
        if self.len == CheckpointRuns::KEPT {
            self.known_from = self.runs[0].1 + 1;
            self.runs.rotate_left(1);
            self.len -= 1;
        }
        self.runs[self.len] = (seq, seq);
        self.len += 1;
    }

    /// Records above `tail` were taken back.
    pub(super) fn cut(&mut self, tail: Tail) {
        while let Some(last) = self.len.checked_sub(1)
            && self.runs[last].1 > tail.seq
        {
            if self.runs[last].0 > tail.seq {
                self.len -= 1;
            } else {
                self.runs[last].1 = tail.seq;
            }
        }
    }

    pub(super) fn data_seq_at(&self, seq: Seq) -> Option<Seq> {
        if seq < self.known_from {
            return None;
        }
        let run = self.runs[..self.len].iter().find(|(first, last)| (*first..=*last).contains(&seq));
        Some(run.map_or(seq, |(first, _)| first - 1))
    }
}
