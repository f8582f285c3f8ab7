//! A cursor with its way to the log.

use std::time::Duration;

use super::writer::Writer;
use super::{Record, Waited, timeout};
use crate::cursor::Cursor;
use crate::error::{Code, Error, Result};
use crate::follow::Follower;
use crate::memory::{Shared, Weak};
use crate::storage::Storage;
use crate::sync::Instant;

/// A cursor, and its way to the log for what is not written yet. Outlives the log.
pub struct Replay<S: Storage> {
    pub(super) cursor: Cursor<S>,
    /// Weak, so that a cursor that outlives the log does not hold its lock.
    pub(super) writer: Option<Weak<Writer<S>>>,
    /// Finds what another process writes.
    pub(super) follower: Option<Shared<Follower<S>>>,
}

impl<S: Storage> Replay<S> {
    /// The next record; `None` at the end. Called again later it goes on with what came since.
    #[expect(clippy::should_implement_trait, reason = "the record borrows from the cursor")]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        self.bring_up_what_is_to_be_shown()?;
        match self.cursor.seek() {
            Ok(found) => Ok(found.map(|found| self.cursor.record(found))),
            Err(error) => Err(self.explained(error)),
        }
    }

    /// Hands `take` the next records one after the other, until there are no more for now or it refuses one, which stays the next. After an error
    /// those that it took count.
    pub fn take_while(&mut self, take: impl FnMut(&Record<'_>) -> bool) -> Result<()> {
        self.bring_up_what_is_to_be_shown()?;
        self.cursor.take_while(take).map_err(|error| self.explained(error))
    }

    /// Waits until there is more. 0 polls, `u64::MAX` waits for ever.
    pub fn wait(&mut self, timeout_us: u64) -> Result<Waited> {
        /// What is only in the log's buffer is looked for this often.
        const LOOK_US: u64 = 1000;
        /// What another process writes is looked for this often.
        const LOOK_LIVE_US: u64 = 10_000;
        let look_us = if self.follower.is_some() { Some(LOOK_LIVE_US) } else { self.cursor.shows_unsynced().then_some(LOOK_US) };
        let deadline = timeout(timeout_us).and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            self.bring_up_what_is_to_be_shown()?;
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let slice = match look_us {
                Some(look_us) => Some(left.unwrap_or(Duration::MAX).min(Duration::from_micros(look_us))),
                None => left,
            };
            let cursor = &self.cursor;
            // Never held while it waits: it would hold the log's lock beyond the log's close.
            let failure = || self.writer().and_then(|writer| writer.committer.check_usable().err());
            cursor.wait_until(slice, || cursor.has_more() || cursor.is_closed() || failure().is_some());
            if cursor.is_closed() {
                return Err(Error::new(Code::Closed, "the log has been shut down or closed"));
            }
            if let Some(damage) = cursor.damage() {
                return Err(damage);
            }
            if cursor.has_more() {
                return Ok(Waited::Durable);
            }
            if let Some(failure) = failure() {
                return Err(failure);
            }
            if deadline.is_some_and(|at| at <= Instant::now()) {
                return Ok(Waited::TimedOut);
            }
        }
    }

    /// In a child made by `fork`: forgets the cursor without touching locks.
    pub fn discard(self) {
        std::mem::forget(self);
    }

    fn writer(&self) -> Option<Shared<Writer<S>>> {
        self.writer.as_ref().and_then(Weak::upgrade)
    }

    /// Before the cursor says that it is at the end.
    #[inline]
    fn bring_up_what_is_to_be_shown(&mut self) -> Result<()> {
        if self.cursor.is_closed() || self.cursor.has_more() { Ok(()) } else { self.look_for_more() }
    }

    #[cold]
    fn look_for_more(&mut self) -> Result<()> {
        if self.cursor.shows_unsynced() {
            self.flush();
        }
        match self.follower.as_ref().map_or(Ok(()), |follower| follower.look()) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.explained(error)),
        }
    }

    /// What another process has forgotten while it was read is a gap and no damage.
    fn explained(&mut self, error: Error) -> Error {
        let Some(follower) = &self.follower else {
            return error;
        };
        let told = follower.explain(error, self.cursor.expected());
        if told.code == Code::Gap {
            self.cursor.fail(told);
        }
        told
    }

    fn flush(&self) {
        if let Some(writer) = self.writer() {
            // On a failure the cursor stops at what is durable.
            let _poisoned_if_failed = writer.committer.flush();
        }
    }
}
