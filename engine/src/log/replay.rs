//! A cursor with its way to the log.

use std::time::Duration;

use super::writer::Writer;
use super::{Record, Waited, timeout};
use crate::cursor::Cursor;
use crate::error::{Code, Error, Result};
use crate::memory::{Shared, Weak};
use crate::storage::Storage;
use crate::sync::Instant;

/// A cursor, and its way to the log for what is not written yet. Outlives the log.
pub struct Replay<S: Storage> {
    pub(super) cursor: Cursor<S>,
    /// Weak, so that a cursor that outlives the log does not hold its lock.
    pub(super) writer: Option<Weak<Writer<S>>>,
}

impl<S: Storage> Replay<S> {
    /// The next record; `None` at the end. Called again later it goes on with what came since.
    #[expect(clippy::should_implement_trait, reason = "the record borrows from the cursor")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        self.write_what_is_to_be_shown();
        self.cursor.next()
    }

    /// Hands `take` the next records one after the other, until there are no more for now or it refuses one, which stays the next. After an error
    /// those that it took count.
    pub fn take_while(&mut self, take: impl FnMut(&Record<'_>) -> bool) -> Result<()> {
        self.write_what_is_to_be_shown();
        self.cursor.take_while(take)
    }

    /// Waits until there is more. 0 polls, `u64::MAX` waits for ever.
    pub fn wait(&mut self, timeout_us: u64) -> Result<Waited> {
        /// What is only in the log's buffer is looked for this often.
        const LOOK_US: u64 = 1000;
        let deadline = timeout(timeout_us).and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if self.cursor.shows_unsynced() {
                self.flush();
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let slice =
                if self.cursor.shows_unsynced() { Some(left.unwrap_or(Duration::MAX).min(Duration::from_micros(LOOK_US))) } else { left };
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

    fn write_what_is_to_be_shown(&self) {
        if self.cursor.shows_unsynced() && !self.cursor.has_more() {
            self.flush();
        }
    }

    fn flush(&self) {
        if let Some(writer) = self.writer() {
            // On a failure the cursor stops at what is durable.
            let _poisoned_if_failed = writer.committer.flush();
        }
    }
}
