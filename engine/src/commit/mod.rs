//! Appending: group commit with two buffers, syncing, rotation.
//!
//! Everything hangs on one lock, under which no I/O happens. I/O is done by whoever holds a role, which is a flag under the lock:
//! - *writing*: takes the filled buffer, gives the other one to the appenders and writes it to the segment. One at a time, so bytes go out in order.
//! - *syncing*: writes, then syncs what was written before the sync began, and wakes those whose records that covers. Whoever needs durability
//!   and finds the role free takes it; the others wait and share its sync (group commit).
//! - *exclusive*: both at once and no appends: rotation, the first frame of an opening, frames larger than a buffer, the swap of a forgotten segment.

mod append;
mod exclusive;
mod gathering;
mod group;
mod histogram;
mod state;
mod waiters;

use std::time::Duration;

pub use append::Durability;
pub use histogram::{BUCKETS, Histogram};
pub use state::Start;

use crate::config::{BACKGROUND_SYNC_BYTES, Config, SyncMode};
use crate::error::{Code, Error, Result};
use crate::events::Event;
use crate::format::manifest_slot::Bound;
use crate::parts::Parts;
use crate::seq::Seq;
use crate::storage::Storage;
use crate::sync::{AtomicBool, AtomicU64, Condvar, Instant, Mutex, MutexGuard, Ordering};

use state::{Failure, State};
use waiters::Waiters;

/// What was done since the log was opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Calls that appended.
    pub appends: u64,
    /// Bytes of frames.
    pub bytes: u64,
    /// Writes of a buffer.
    pub writes: u64,
    /// Syncs of a segment.
    pub syncs: u64,
    /// Rotations.
    pub rotations: u64,
    /// Records that each sync made durable.
    pub groups: Histogram,
    /// How long each sync took, in microseconds.
    pub sync_us: Histogram,
    /// How long the sync that is under way has taken so far, in microseconds; 0 if there is none.
    pub sync_running_us: u64,
}

/// See the module's head.
pub struct Committer<S: Storage> {
    /// Dropped before the parts, with which the log's lock goes: nobody else may have the log while a file of it is open here.
    state: Mutex<State<S::File>>,
    parts: Parts<S>,
    mode: SyncMode,
    segment_bytes: u64,
    batch_records: u64,
    batch_interval: Option<Duration>,
    sync_bytes: u64,
    /// Notified when a role becomes free or the handle fails.
    changed: Condvar,
    /// Those who wait for records to become durable: woken when some do, are taken back or are in doubt, and when nobody leads a sync any more.
    waiters: Waiters,
    /// Calls that wait for a record of theirs to be written or durable.
    waiting_calls: AtomicU64,
    /// Set while a failed write is being taken back: the last of these calls to return lets appends go on.
    taking_back: AtomicBool,
    last_seq: AtomicU64,
    slow_sync_us: u64,
}

type Guard<'a, S> = MutexGuard<'a, State<<S as Storage>::File>>;

impl<S: Storage> Committer<S> {
    /// Goes on where an opening says.
    pub fn new(parts: Parts<S>, config: &Config, segment_bytes: u64, start: Start<S::File>) -> Result<Committer<S>> {
        let last_seq = AtomicU64::new(start.tail.seq);
        let state = State::new(start, segment_bytes)?;
        Ok(Committer {
            parts,
            mode: config.sync_mode,
            segment_bytes,
            batch_records: u64::from(config.batch_records),
            batch_interval: (config.batch_interval_us > 0).then(|| Duration::from_micros(u64::from(config.batch_interval_us))),
            sync_bytes: BACKGROUND_SYNC_BYTES.min(segment_bytes / 4),
            state: Mutex::new(state),
            changed: Condvar::new(),
            waiters: Waiters::default(),
            waiting_calls: AtomicU64::new(0),
            taking_back: AtomicBool::new(false),
            last_seq,
            slow_sync_us: u64::from(config.slow_sync_us),
        })
    }

    /// The last seq appended.
    pub fn last_seq(&self) -> Seq {
        self.last_seq.load(Ordering::Acquire)
    }

    /// A point up to which everything is durable.
    pub fn bound(&self) -> Bound {
        self.lock().bound
    }

    /// The last data seq at or below `seq`, if that is remembered.
    pub fn data_seq_at(&self, seq: Seq) -> Option<Seq> {
        self.lock().checkpoints.data_seq_at(seq)
    }

    /// What was done so far, and whether a failure poisoned the handle.
    pub fn counts(&self) -> (Counts, bool) {
        let state = self.lock();
        let sync_running_us = state.sync_began.map_or(0, elapsed_us);
        (Counts { sync_running_us, ..state.counts }, state.failure.is_some())
    }

    /// Whether a failure poisoned the handle.
    pub fn is_poisoned(&self) -> bool {
        self.lock().failure.is_some()
    }

    /// Poisons the handle: for failures that happen outside, after which nothing more may be acknowledged.
    pub fn poison(&self, error: Error) {
        let mut state = self.lock();
        self.fail(&mut state, error);
    }

    /// The same, and what the call that met such a failure returns: the records that are in doubt with it.
    pub fn poison_with(&self, error: Error) -> Error {
        let mut state = self.lock();
        self.fail(&mut state, error);
        doubting(error, state.failure)
    }

    /// Fails if the handle is poisoned or shut down.
    pub fn check_usable(&self) -> Result<()> {
        self.lock().check_usable()
    }

    /// No appends from here on; waiting ones whose record is in the buffer still complete.
    pub fn shut_down(&self) {
        let mut state = self.lock();
        state.shut = true;
        self.wake(&state);
        drop(state);
        self.parts.chain.close();
    }

    /// The final sync of a log that is being closed; where it ended. Nobody else uses the log any more.
    pub fn finish(&self) -> Result<(Bound, bool)> {
        let state = self.lock();
        let last = state.tail.seq;
        let (state, outcome) = self.wait_durable(state, last);
        outcome?;
        let (state, outcome) = self.settle_open(state);
        outcome?;
        // A log that a failure poisoned stays dirty, even if every record in it is durable: what failed may stand behind them.
        match state.failure {
            Some(failure) => Err(poisoned(failure)),
            None => Ok((state.bound, state.dirty)),
        }
    }

    fn lock(&self) -> Guard<'_, S> {
        self.state.lock()
    }

    /// Waits for a role.
    fn wait<'a>(&'a self, mut state: Guard<'a, S>) -> Guard<'a, S> {
        state.waiting_for_role += 1;
        let mut state = self.changed.wait(state);
        state.waiting_for_role -= 1;
        state
    }

    /// Has everybody who waits look again. Where nobody waits it costs no system call.
    fn wake(&self, state: &State<S::File>) {
        self.wake_for_role(state);
        self.waiters.wake();
    }

    /// Has those look again who wait for a role: for the others nothing has changed.
    fn wake_for_role(&self, state: &State<S::File>) {
        if state.waiting_for_role > 0 {
            self.changed.notify_all();
        }
    }

    /// Poisons the handle because of `error`. What is not known to be durable is in doubt from here on.
    fn fail(&self, state: &mut State<S::File>, error: Error) {
        if state.failure.is_none() {
            state.failure = Some(Failure { error, durable: state.synced.tail.seq, last: state.tail.seq });
            // Cursors stop at the durable seq, whatever they were asked to show.
            self.parts.chain.publish_readable(state.synced.tail.seq);
            self.parts.chain.wake();
            let error = doubting(error, state.failure);
            self.parts.events.note(error);
            self.parts.events.say(Event::Poisoned(error));
        }
        self.wake(state);
    }
}

fn elapsed_us(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A failure's own error, with the records that are in doubt because of it.
fn doubting(error: Error, failure: Option<Failure>) -> Error {
    match failure {
        Some(failure) if failure.last > failure.durable => error.seqs(failure.durable + 1, failure.last),
        _ => error,
    }
}

/// The answer of a poisoned handle: what failed where, and the records that are in doubt.
fn poisoned(failure: Failure) -> Error {
    let what = "a write or sync failed; close the log and open it again: what was acknowledged is there";
    doubting(Error { code: Code::Failed, what, ..failure.error.seqs(0, 0) }, Some(failure))
}
