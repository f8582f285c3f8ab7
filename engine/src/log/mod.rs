//! The handle that ties the parts together.

mod open;
mod replay;
mod writer;

use std::time::Duration;

use crate::chain::Chain;
use crate::config::LogId;
use crate::cursor::Cursor;
use crate::error::{Code, Error, Result};
use crate::events::Events;
use crate::follow::Follower;
use crate::format::constants::MANIFEST_LEN;
use crate::format::control::Checkpoint;
use crate::memory::Shared;
use crate::pins::{self, Held};
use crate::protocol::gap;
use crate::retention::Forget;
use crate::seq::{self, Seq};
use crate::storage::Storage;
use crate::sync::{Mutex, Ordering};

pub use crate::commit::{BUCKETS, Durability, Histogram};
pub use crate::cursor::{Record, ReplayOptions};
pub use crate::events::{Event, Failures, Level, Listener};
pub use crate::recovery::Report;
pub use crate::segment::payload::{Entries, Entry, Packed, Pieces};
pub use open::inspect;
pub use replay::Replay;

use writer::Writer;

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// With what was waited for.
    Durable,
    /// Without it.
    TimedOut,
}

/// What an operator wants to see.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stat {
    /// The last seq appended.
    pub last_seq: Seq,
    /// The last durable one.
    pub durable_seq: Seq,
    /// What the highest checkpoint allows to truncate to.
    pub checkpoint_seq: Seq,
    /// What the host declared with it.
    pub checkpoint_covered: Seq,
    /// The oldest record kept, one above the last if there is none.
    pub oldest_seq: Seq,
    /// Records up to here are forgotten.
    pub floor_seq: Seq,
    /// Rises at each unclean opening and at each that dropped something.
    pub epoch: u64,
    /// Size of a segment, in bytes.
    pub segment_bytes: u64,
    /// Bytes on disk: segments, spares and manifest.
    pub disk_bytes: u64,
    /// Segments that hold records, those that wait to be dropped included.
    pub segments: u64,
    /// Segments that wait to be used.
    pub spares: u64,
    /// Calls that appended, since this opening like the rest.
    pub appends: u64,
    /// Records appended.
    pub records: u64,
    /// Bytes of frames appended.
    pub appended_bytes: u64,
    /// Writes to segments.
    pub writes: u64,
    /// Syncs of segments.
    pub syncs: u64,
    /// Changes to another segment.
    pub rotations: u64,
    /// Segments prepared from blocks used before.
    pub recycled: u64,
    /// Whether a failure poisoned the handle.
    pub poisoned: bool,
    /// What pins keep, as the log saw them last: at its opening, and whenever it dropped segments.
    pub pins: Held,
    /// Bytes of forgotten segments that stand on disk for the sake of pins.
    pub pinned_bytes: u64,
    /// Of the spares, those that are ready to be written to.
    pub spares_ready: u64,
    /// Of the segments, those that are forgotten and wait to be dropped, perhaps for a cursor to be done with them.
    pub segments_forgotten: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Truncations that forgot something.
    pub truncations: u64,
    /// Records that each sync made durable.
    pub groups: Histogram,
    /// How long each sync took, in microseconds.
    pub sync_us: Histogram,
    /// How long the sync that is under way has taken so far, in microseconds; 0 if there is none.
    pub sync_running_us: u64,
    /// Failures of the log's own work.
    pub failures: Failures,
}

/// An open log.
pub struct Log<S: Storage> {
    storage: Shared<S>,
    chain: Shared<Chain>,
    writer: Option<Shared<Writer<S>>>,
    /// Of a log that another process writes.
    follower: Option<Shared<Follower<S>>>,
    found: FoundState,
    /// The highest checkpoint, never held over I/O.
    checkpoint: Mutex<Checkpoint>,
    events: Shared<Events>,
}

/// What stays as the opening found it.
struct FoundState {
    report: Report,
    log_id: LogId,
    epoch: u64,
    segment_bytes: u64,
    pins: Held,
}

impl<S: Storage> Log<S> {
    fn writer(&self) -> Result<&Writer<S>> {
        self.writer.as_deref().ok_or_else(|| Error::new(Code::ReadOnly, "the log was opened read-only"))
    }

    /// Calls the listener, if there is anything to hear: where every call that can cause an event ends, without a lock.
    #[inline]
    fn tell<T>(&self, outcome: Result<T>) -> Result<T> {
        self.events.deliver();
        outcome
    }

    /// Appends one record; returns its seq as the sync mode says.
    pub fn append(&self, op: u8, key: &[u8], value: &[u8]) -> Result<Seq> {
        self.tell(self.writer()?.committer.append(op, key, value))
    }

    /// Appends records that are there all or not at all after any crash; returns the last one's seq.
    pub fn append_batch<E: Entries + ?Sized>(&self, entries: &E, durability: Durability) -> Result<Seq> {
        self.tell(self.writer()?.committer.append_batch(entries, durability))
    }

    /// The same for a batch that is put together already.
    pub fn append_packed(&self, packed: &Packed<'_, impl Pieces>, durability: Durability) -> Result<Seq> {
        self.tell(self.writer()?.committer.append_packed(packed, durability))
    }

    /// Returns once everything up to `seq` is durable; `seq::LAST` stands for everything appended so far.
    pub fn sync(&self, seq: Seq) -> Result<()> {
        self.tell(self.writer()?.committer.sync(seq))
    }

    /// Hands everything appended so far to the operating system.
    pub fn flush(&self) -> Result<()> {
        self.tell(self.writer()?.committer.flush().map(|_| ()))
    }

    /// Waits until `seq` is durable, without starting a sync; `seq` may still have to be appended. 0 polls, `u64::MAX` waits for ever.
    pub fn wait_durable(&self, seq: Seq, timeout_us: u64) -> Result<Waited> {
        let writer = self.writer()?;
        if seq > seq::MAX {
            return Err(Error::new(Code::Range, "seq is no sequence number"));
        }
        // What is queued must not wait for as long as this call may.
        self.events.deliver();
        let mut outcome = Ok(Waited::TimedOut);
        self.chain.wait_until(timeout(timeout_us), || {
            if self.chain.durable() >= seq {
                outcome = Ok(Waited::Durable);
                return true;
            }
            match writer.committer.check_usable() {
                Ok(()) => false,
                Err(error) => {
                    outcome = Err(error);
                    true
                }
            }
        });
        if outcome == Ok(Waited::Durable) && self.chain.is_closed() {
            writer.committer.check_usable()?;
        }
        outcome
    }

    /// The host's store durably holds every record up to `covered`; returns the highest seq that this makes safe to truncate to.
    pub fn checkpoint(&self, covered: Seq) -> Result<Seq> {
        self.tell(self.checkpoint_at(self.writer()?, covered))
    }

    fn checkpoint_at(&self, writer: &Writer<S>, covered: Seq) -> Result<Seq> {
        let checkpoint = match writer.committer.append_checkpoint(covered) {
            Ok((_, checkpoint)) => checkpoint,
            Err((Some(covered), error)) if error.code == Code::NoSpace => {
                // No frame can be written; the manifest alone can still hold what the host declares.
                writer.committer.sync(covered)?;
                Checkpoint { n: covered, covered }
            }
            Err((_, error)) => return Err(error),
        };
        let highest =
            writer.retention.install_checkpoint(checkpoint, writer.committer.bound()).map_err(|failed| writer.install_failed(failed))?;
        writer.committer.note_checkpoint(highest);
        let mut known = self.checkpoint.lock();
        // Another call may have come back with a higher one.
        if highest.n > known.n {
            *known = highest;
        }
        drop(known);
        writer.calls.checkpoints.fetch_add(1, Ordering::Relaxed);
        Ok(checkpoint.n)
    }

    /// Forgets every record up to `up_to`.
    pub fn truncate(&self, up_to: Seq, unchecked: bool) -> Result<()> {
        self.tell(self.truncate_to(self.writer()?, up_to, unchecked))
    }

    fn truncate_to(&self, writer: &Writer<S>, up_to: Seq, unchecked: bool) -> Result<()> {
        writer.committer.check_usable()?;
        if !writer.retention.check(up_to, writer.committer.last_seq(), unchecked)? {
            return Ok(());
        }
        // What is forgotten was durable first: else a crash could bring a seq back that was forgotten.
        writer.committer.sync(up_to)?;
        let data_seq = match writer.committer.data_seq_at(up_to) {
            Some(data_seq) => data_seq,
            None => writer.retention.read_data_seq(up_to)?,
        };
        let forget = Forget { up_to, data_seq };
        let bound = writer.committer.bound();
        writer.retention.forget(forget, bound, |forget| writer.swap(forget)).map_err(|failed| writer.install_failed(failed))?;
        writer.calls.truncations.fetch_add(1, Ordering::Relaxed);
        if !writer.parts.bell.ring(|work| work.drop = true) {
            writer.drop_segments();
        }
        Ok(())
    }

    /// Makes everything that is durable by now visible to those who follow the log from other processes.
    pub fn publish(&self) -> Result<()> {
        let writer = self.writer()?;
        writer.committer.check_usable()?;
        writer.retention.publish(writer.committer.bound()).map_err(|failed| writer.install_failed(failed))
    }

    /// A cursor over every record above `after`; `seq::OLDEST` begins at the oldest one kept.
    pub fn replay(&self, after: Seq, options: ReplayOptions) -> Result<Replay<S>> {
        self.tell(self.replay_from(after, options))
    }

    fn replay_from(&self, after: Seq, options: ReplayOptions) -> Result<Replay<S>> {
        if self.chain.is_closed() {
            return Err(Error::new(Code::Closed, "the log has been shut down"));
        }
        if let Some(writer) = &self.writer
            && !writer.committer.is_poisoned()
        {
            match writer.committer.sync(seq::LAST) {
                // Somebody else's records, which were taken back: what is left is durable.
                Err(error) if matches!(error.code, Code::Io | Code::NoSpace) && !writer.committer.is_poisoned() => {}
                synced => synced?,
            }
        }
        if let Some(follower) = &self.follower {
            if options.unsynced {
                return Err(Error::new(
                    Code::Invalid,
                    "WAL_REPLAY_UNSYNCED on a log that another process writes: what it shows could be taken back",
                ));
            }
            follower.look()?;
        }
        let (floor, forgotten_data) = self.chain.forgotten();
        // The files say what pins keep now; another process may have made one since the log looked.
        let pinned = if options.pinned { pins::oldest(&*self.storage, self.found.log_id)? } else { None };
        let pinned = pinned.filter(|&pinned| pinned < floor);
        let options = ReplayOptions { pinned: pinned.is_some_and(|pinned| after == seq::OLDEST || after >= pinned), ..options };
        let from_oldest = after == seq::OLDEST;
        let after = match (after, pinned) {
            (seq::OLDEST, Some(pinned)) => pinned,
            (seq::OLDEST, None) => floor,
            (after, _) => {
                let last = if self.writer.is_some() || self.follower.is_some() || options.unsynced {
                    self.last_seq()
                } else {
                    self.chain.durable()
                };
                gap::check(after, gap::Extent { forgotten_data: if options.pinned { 0 } else { forgotten_data }, last })?;
                if options.pinned { after } else { after.max(floor) }
            }
        };
        let enter = || Cursor::new(&self.storage, self.chain.clone(), after, options, self.found.segment_bytes, self.follower.is_some());
        let cursor = match &self.follower {
            Some(follower) if options.pinned => follower.with_pinned(after, enter)?,
            _ => enter()?,
        };
        // A truncation may have come between; then the segments it needs may be gone.
        let (_, forgotten_now) = self.chain.forgotten();
        if forgotten_now > forgotten_data && after < forgotten_now && !from_oldest && !options.pinned {
            gap::check(after, gap::Extent { forgotten_data: forgotten_now, last: self.last_seq() })?;
        }
        Ok(Replay { cursor, writer: self.writer.as_ref().map(Shared::downgrade), follower: self.follower.clone() })
    }

    /// No appends, syncs, checkpoints or truncations from here on; wakes everybody who waits. Appends under way still complete.
    pub fn shutdown(&self) -> Result<()> {
        match &self.writer {
            Some(writer) => writer.committer.shut_down(),
            None => self.chain.close(),
        }
        Ok(())
    }

    /// Syncs what is left, marks the log clean and frees everything. The error is the final sync's. A log that is dropped without it is found
    /// as after a crash.
    pub fn close(self) -> Result<()> {
        self.end()
    }

    /// The same, but for what is freed when the log is dropped: whoever listens may still use it.
    pub fn end(&self) -> Result<()> {
        self.tell(self.writer.as_ref().map_or(Ok(()), |writer| writer.close()))
    }

    /// In a child made by `fork`: forgets the handle without touching locks, files or the thread, none of which belong to the child.
    pub fn discard(self) {
        std::mem::forget(self);
    }

    /// After a caught panic: nothing may be appended any more.
    pub fn poison(&self) {
        if let Some(writer) = &self.writer {
            writer.committer.poison(Error::new(Code::Panic, "a bug in this library was caught in a call"));
            self.events.deliver();
        }
    }

    /// The last seq appended.
    pub fn last_seq(&self) -> Seq {
        self.writer.as_ref().map_or_else(|| self.chain.readable(), |writer| writer.committer.last_seq())
    }

    /// The last seq that is durable.
    pub fn durable_seq(&self) -> Seq {
        self.chain.durable()
    }

    /// What the highest checkpoint allows to truncate to.
    pub fn checkpoint_seq(&self) -> Seq {
        self.checkpoint_so_far().n
    }

    fn checkpoint_so_far(&self) -> Checkpoint {
        *self.checkpoint.lock()
    }

    /// The oldest record kept, one above the last if there is none.
    pub fn oldest_seq(&self) -> Seq {
        self.chain.oldest()
    }

    /// The log's identity.
    pub fn log_id(&self) -> LogId {
        self.found.log_id
    }

    /// What this opening found and did.
    pub fn report(&self) -> Report {
        self.found.report
    }

    /// What an operator wants to see.
    pub fn stat(&self) -> Stat {
        let (segments, doomed) = self.chain.counts();
        let checkpoint = self.checkpoint_so_far();
        let mut stat = Stat {
            last_seq: self.last_seq(),
            durable_seq: self.durable_seq(),
            checkpoint_seq: checkpoint.n,
            checkpoint_covered: checkpoint.covered,
            oldest_seq: self.oldest_seq(),
            floor_seq: self.chain.forgotten().0,
            epoch: self.found.epoch,
            segment_bytes: self.found.segment_bytes,
            segments: (segments + doomed) as u64,
            segments_forgotten: doomed as u64,
            failures: self.events.failures(),
            spares: self.found.report.spares,
            pins: self.found.pins,
            ..Stat::default()
        };
        if let Some(writer) = &self.writer {
            let (counts, poisoned) = writer.committer.counts();
            let (ready, pool) = writer.parts.spares.counts();
            stat.spares = (ready + pool) as u64;
            stat.appends = counts.appends;
            stat.records = stat.last_seq + 1 - writer.first_seq_of_opening;
            stat.appended_bytes = counts.bytes;
            stat.writes = counts.writes;
            stat.syncs = counts.syncs;
            stat.rotations = counts.rotations;
            stat.recycled = writer.parts.spares.recycled();
            stat.poisoned = poisoned;
            stat.spares_ready = ready as u64;
            stat.checkpoints = writer.calls.checkpoints.load(Ordering::Relaxed);
            stat.truncations = writer.calls.truncations.load(Ordering::Relaxed);
            stat.groups = counts.groups;
            stat.sync_us = counts.sync_us;
            stat.sync_running_us = counts.sync_running_us;
            stat.pins = writer.parts.pins.held();
        }
        stat.pinned_bytes = stat.pins.oldest.map_or(0, |oldest| self.chain.kept_above(oldest)) * stat.segment_bytes;
        stat.disk_bytes = (stat.segments + stat.spares) * stat.segment_bytes + MANIFEST_LEN as u64;
        stat
    }
}

impl<S: Storage> Drop for Log<S> {
    fn drop(&mut self) {
        match &self.writer {
            Some(writer) => writer.stop(),
            None => self.chain.close(),
        }
    }
}

fn timeout(timeout_us: u64) -> Option<Duration> {
    (timeout_us != u64::MAX).then(|| Duration::from_micros(timeout_us))
}
