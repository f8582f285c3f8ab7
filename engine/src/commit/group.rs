//! Writing and syncing in groups, and what happens when either fails.

use std::mem;

use super::state::{Mark, State, TakenBack};
use super::{Committer, Guard, doubting, elapsed_us, poisoned};
use crate::error::{Code, Error, Result};
use crate::events::Event;
use crate::format::manifest_slot::Bound;
use crate::names::FileName;
use crate::seq::{self, Seq};
use crate::storage::{File, IoError, Storage, write_zeros};
use crate::sync::{Instant, Ordering};

impl<S: Storage> Committer<S> {
    /// Returns once everything up to `seq` is durable; `seq::LAST` stands for everything appended so far.
    pub fn sync(&self, seq: Seq) -> Result<()> {
        let state = self.lock();
        let seq = match seq {
            seq::LAST => state.tail.seq,
            seq if seq > state.tail.seq => {
                return Err(Error::new(Code::Range, "seq is above the last sequence number").seqs(seq.min(seq::MAX), 0));
            }
            seq => seq,
        };
        if state.failure.is_none() && state.synced.tail.seq >= seq {
            return if state.shut { state.check_usable() } else { Ok(()) };
        }
        state.check_usable()?;
        self.reach_durable(state, seq)
    }

    /// Hands everything appended so far to the operating system; returns up to where.
    pub fn flush(&self) -> Result<Seq> {
        let state = self.lock();
        state.check_usable()?;
        let seq = state.tail.seq;
        self.wait_written(state, seq).1.map(|()| seq)
    }

    /// For the background thread: syncs what is written and what is in the buffer.
    pub fn sync_in_background(&self) {
        let mut state = self.lock();
        state.timer_set = false;
        state.sync_rung = false;
        if state.failure.is_none() && !state.shut {
            let seq = state.tail.seq;
            // A failure poisons the handle, which is how everybody learns of it.
            let _poisoned_if_failed = self.reach(state, seq, false);
        }
    }

    /// Waits until `seq` is durable, and takes the lock again.
    pub(super) fn wait_durable<'a>(&'a self, state: Guard<'a, S>, seq: Seq) -> (Guard<'a, S>, Result<()>) {
        let outcome = self.reach_durable(state, seq);
        (self.lock(), outcome)
    }

    /// Waits until `seq` is durable, leading a group if nobody does.
    pub(super) fn reach_durable<'a>(&'a self, state: Guard<'a, S>, seq: Seq) -> Result<()> {
        self.reach(state, seq, true)
    }

    /// The same, for a call after which others like it may be expected, or for one that comes by itself.
    fn reach<'a>(&'a self, mut state: Guard<'a, S>, seq: Seq, mut comes_back: bool) -> Result<()> {
        self.waiting_calls.fetch_add(1, Ordering::SeqCst);
        loop {
            let fate = fate(&state, seq, state.synced.tail.seq);
            if comes_back && !matches!(fate, Fate::Settled(_)) {
                state.gathering.arrive();
                comes_back = false;
            }
            match fate {
                Fate::Settled(outcome) => {
                    self.waiting_calls.fetch_sub(1, Ordering::SeqCst);
                    self.end_take_back(&mut state);
                    return outcome;
                }
                Fate::Open if !state.syncing && !state.exclusive => {
                    if state.gathering.is_worth_it() {
                        self.gather(state, seq);
                    } else {
                        self.lead_sync(state);
                    }
                }
                Fate::Open | Fate::Unknown => {
                    let turn = self.waiters.turn();
                    drop(state);
                    self.waiters.wait(turn, None);
                    #[cfg(wal_plants)]
                    if crate::plants::Mistake::FollowersHearSuccess.is_planted() && self.lock().failure.is_some() {
                        self.waiting_calls.fetch_sub(1, Ordering::SeqCst);
                        return Ok(());
                    }
                }
            }
            if self.parts.chain.durable() >= seq {
                // What is durable is nobody's to take back. The lock is needed only by the last call that others wait for.
                if self.waiting_calls.fetch_sub(1, Ordering::SeqCst) == 1 && self.taking_back.load(Ordering::SeqCst) {
                    self.end_take_back(&mut self.lock());
                }
                return Ok(());
            }
            state = self.lock();
        }
    }

    /// Waits until `seq` is in the hands of the operating system, writing it if nobody does.
    pub(super) fn wait_written<'a>(&'a self, mut state: Guard<'a, S>, seq: Seq) -> (Guard<'a, S>, Result<()>) {
        self.waiting_calls.fetch_add(1, Ordering::SeqCst);
        let outcome = loop {
            match fate(&state, seq, state.written.tail.seq) {
                Fate::Settled(outcome) => break outcome,
                Fate::Open if !state.writing && !state.exclusive => state = self.lead_write(state),
                Fate::Open | Fate::Unknown => state = self.wait(state),
            }
        };
        self.waiting_calls.fetch_sub(1, Ordering::SeqCst);
        self.end_take_back(&mut state);
        (state, outcome)
    }

    /// Waits for the others of the group, as one of them; perhaps for a limited time, after which nobody waits for them any more.
    fn gather(&self, mut state: Guard<'_, S>, seq: Seq) {
        let turn = self.waiters.turn();
        let watch = state.gathering.watch();
        drop(state);
        let Some((group, limit)) = watch else {
            self.waiters.wait(turn, None);
            return;
        };
        self.waiters.wait(turn, Some(limit));
        let mut state = self.lock();
        if state.gathering.end_watch(group) && !matches!(fate(&state, seq, state.synced.tail.seq), Fate::Open) {
            // Whoever looked before this moment relies on the watch.
            drop(state);
            self.waiters.wake();
        }
    }

    /// Writes, then syncs what was written before the sync began. On a failure the state says so.
    fn lead_sync<'a>(&'a self, mut state: Guard<'a, S>) {
        state.syncing = true;
        while state.writing && state.failure.is_none() {
            state = self.wait(state);
        }
        if state.failure.is_none() {
            state.writing = true;
            let calls = state.gathering.close();
            let (next, written) = self.write_out(state);
            state = next;
            state.writing = false;
            if written.is_ok() && state.failure.is_none() {
                self.wake_for_role(&state);
                state = self.sync_written(state).0;
                state.gathering.release(calls);
            }
        }
        state.syncing = false;
        self.wake_for_role(&state);
        drop(state);
        self.waiters.wake();
    }

    fn lead_write<'a>(&'a self, mut state: Guard<'a, S>) -> Guard<'a, S> {
        state.writing = true;
        let (mut state, _state_says) = self.write_out(state);
        state.writing = false;
        self.wake_for_role(&state);
        state
    }

    /// Syncs what is written. The caller holds the syncing role, or is exclusive.
    pub(super) fn sync_written<'a>(&'a self, mut state: Guard<'a, S>) -> (Guard<'a, S>, Result<()>) {
        // Captured before the sync begins: what is written while it runs may or may not be part of it.
        let mark = state.written;
        let file = state.active.file.clone();
        let began = Instant::now();
        state.sync_began = Some(began);
        drop(state);
        let synced = file.sync();
        let duration_us = elapsed_us(began);
        #[cfg(wal_plants)]
        let synced = synced.or_else(|io| if crate::plants::Mistake::SyncIsRetried.is_planted() { file.sync() } else { Err(io) });
        let mut state = self.lock();
        #[cfg(wal_plants)]
        let mark = crate::plants::Mistake::SyncedCountsLater.or(state.written, mark);
        state.sync_began = None;
        state.counts.syncs += 1;
        state.counts.sync_us.add(duration_us);
        if duration_us >= self.slow_sync_us {
            let records = mark.tail.seq - state.synced.tail.seq;
            self.parts.events.say(Event::SlowSync { duration_us, records });
        }
        match synced {
            Ok(()) if state.failure.is_none() => {
                let group = mark.tail.seq - state.synced.tail.seq;
                state.counts.groups.add(group);
                self.mark_synced(&mut state, mark);
                (state, Ok(()))
            }
            Ok(()) => {
                let error = state.check_usable();
                (state, error)
            }
            Err(io) => {
                let name = FileName::Segment(state.active.header.index);
                let error =
                    io.in_file(name, "cannot sync the segment: what was not synced before is in doubt; close the log and open it again");
                self.fail(&mut state, error);
                let error = in_doubt(error, &state);
                (state, Err(error))
            }
        }
    }

    pub(super) fn mark_synced(&self, state: &mut Guard<'_, S>, mark: Mark) {
        state.synced = mark;
        if mark.offset > state.active.header.data_start {
            state.bound = Bound { segment: state.active.header.index, offset: mark.offset, tail: mark.tail };
        }
        self.parts.chain.publish_durable(mark.tail.seq);
    }

    /// Writes the filled buffer. The caller holds the writing role, or is exclusive.
    pub(super) fn write_out<'a>(&'a self, mut state: Guard<'a, S>) -> (Guard<'a, S>, Result<()>) {
        if state.filling.bytes().is_empty() {
            return (state, Ok(()));
        }
        let next = mem::take(&mut state.idle);
        let mut buffer = mem::replace(&mut state.filling, next);
        state.filling.restart(buffer.end());
        let mark = Mark { offset: buffer.end(), tail: state.tail, last_frame: state.last_frame };
        let file = state.active.file.clone();
        let capacity = state.active.header.capacity;
        drop(state);
        let end = buffer.end();
        let base = buffer.base();
        let written = file.write_at(base, buffer.ended(capacity));
        let mut state = self.lock();
        buffer.restart(state.filling.base());
        if state.filling.bytes().is_empty() {
            // Nobody has come meanwhile: the processor's caches hold this one and not the other.
            mem::swap(&mut state.filling, &mut buffer);
        }
        state.idle = buffer;
        state.counts.writes += 1;
        match written {
            Ok(()) => {
                self.mark_written(&mut state, mark);
                (state, Ok(()))
            }
            Err(io) => self.take_back(state, io, end),
        }
    }

    pub(super) fn mark_written(&self, state: &mut Guard<'_, S>, mark: Mark) {
        state.written = mark;
        if state.failure.is_none() {
            self.parts.chain.publish_readable(mark.tail.seq);
        }
    }

    /// A write of frames up to `end` failed. The range is zeroed, synced and taken back if every record in and behind it belongs to calls that
    /// all return the error; otherwise the handle is poisoned. The caller holds the writing role, or is exclusive.
    pub(super) fn take_back<'a>(&'a self, mut state: Guard<'a, S>, io: IoError, end: u64) -> (Guard<'a, S>, Result<()>) {
        let name = FileName::Segment(state.active.header.index);
        let from = state.written.offset;
        let error = io.in_file(name, "cannot write to the segment; these records were not appended").at(from);
        let good = state.written.tail.seq;
        if state.failure.is_some() || state.accepted > good {
            self.fail(&mut state, error);
            let error = in_doubt(error, &state);
            return (state, Err(error));
        }
        let error = if state.tail.seq > good { error.seqs(good + 1, state.tail.seq) } else { error };
        // Appends wait from here on; calls that wait for records above `good` return the error.
        state.taken_back = Some(TakenBack { error, good, clean: false });
        self.taking_back.store(true, Ordering::SeqCst);
        // Counted as one of them, so that it does not end before the range is clean.
        self.waiting_calls.fetch_add(1, Ordering::SeqCst);
        // Never two syncs of one file at once: the kernel tells of a lost page only one of them.
        while state.sync_began.is_some() && state.failure.is_none() {
            state = self.wait(state);
        }
        // After a failed sync of this file another one would prove nothing.
        let mut zeroed = state.failure.is_none();
        if zeroed {
            let file = state.active.file.clone();
            drop(state);
            #[cfg(wal_plants)]
            let end = crate::plants::Mistake::RefusedRecordStays.or(from, end);
            zeroed = write_zeros(&*file, from, end).and_then(|()| file.sync()).is_ok();
            state = self.lock();
        }
        self.waiting_calls.fetch_sub(1, Ordering::SeqCst);
        if !zeroed || state.failure.is_some() {
            // The records may be there after all, so nobody may hear that they are not.
            self.fail(&mut state, error);
            state.taken_back = None;
            self.taking_back.store(false, Ordering::SeqCst);
            let error = in_doubt(error, &state);
            return (state, Err(error));
        }
        state.taken_back = Some(TakenBack { error, good, clean: true });
        self.parts.events.note(error);
        self.parts.events.say(Event::TakenBack(error));
        let written = state.written;
        state.tail = written.tail;
        state.last_frame = written.last_frame;
        state.filling.restart(written.offset);
        #[cfg(wal_plants)]
        state.filling.restart(crate::plants::Mistake::FailedWriteStays.or(end, written.offset));
        state.checkpoints.cut(written.tail);
        self.last_seq.store(written.tail.seq, Ordering::Release);
        self.end_take_back(&mut state);
        self.wake(&state);
        (state, Err(error))
    }

    /// Lets appends go on once every call whose record was taken back has returned.
    fn end_take_back(&self, state: &mut Guard<'_, S>) {
        if state.taken_back.is_some() && self.waiting_calls.load(Ordering::SeqCst) == 0 {
            state.taken_back = None;
            self.taking_back.store(false, Ordering::SeqCst);
            self.wake(state);
        }
    }
}

/// What becomes of a record.
enum Fate {
    /// Its call returns this.
    Settled(Result<()>),
    /// A write failed, and whether it can be taken back is not known yet.
    Unknown,
    Open,
}

/// What becomes of the record `seq`, of a call that waits until `reached` is as far.
fn fate<F>(state: &State<F>, seq: Seq, reached: Seq) -> Fate {
    if let Some(failure) = state.failure.filter(|failure| seq > failure.durable) {
        return Fate::Settled(Err(poisoned(failure)));
    }
    match state.taken_back {
        Some(taken_back) if seq > taken_back.good && taken_back.clean => Fate::Settled(Err(taken_back.error)),
        Some(taken_back) if seq > taken_back.good => Fate::Unknown,
        _ if reached >= seq => Fate::Settled(Ok(())),
        _ => Fate::Open,
    }
}

/// What the call that met the failure of a handle returns: its own error, under the code that says what it means.
fn in_doubt<F>(error: Error, state: &State<F>) -> Error {
    let what = "writing or syncing the segment failed, and what was not synced before is in doubt; close the log and open it again";
    doubting(Error { code: Code::Failed, what, ..error }, state.failure)
}
