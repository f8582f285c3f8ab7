//! Which call leads a group: the one that completes it.
//!
//! Threads that append in a loop come back right after the sync that released them. A leader that does not wait for them leaves half of them to the
//! next sync, every time. So a call that comes while others are likely to follow waits with them, and whoever is the last of the expected ones leads:
//! nobody is woken for it. Only the first sets a limit to the waiting, and leads when that is over. A thread that appends alone expects nobody.

use std::time::Duration;

/// How long a group waits at the most for calls that are likely to come: about a sync of a fast disk,
const LEAST_LIMIT: Duration = Duration::from_micros(60);
/// or as long as it takes to wake so many threads one after the other.
const LIMIT_PER_CALL: Duration = Duration::from_micros(5);
/// How often in a row waiting in vain makes it rarer: up to once in 64 groups.
const MOST_MISSES: u32 = 6;

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// Calls that came to wait since the last group was closed.
    arrived: u32,
    /// Calls that this group may expect.
    expected: u32,
    /// Groups to close without waiting, because waiting was in vain.
    skip: u32,
    misses: u32,
    /// Somebody sees to it that this group is led in time.
    watched: bool,
    /// Somebody has waited for this group.
    waited: bool,
    /// The waiting for this group is over.
    over: bool,
    /// Groups closed so far.
    closed: u64,
}

impl Gathering {
    /// A call comes that waits for its record.
    pub(super) fn arrive(&mut self) {
        self.arrived += 1;
    }

    /// Whether a call that may lead should rather wait for others.
    pub(super) fn is_worth_it(&self) -> bool {
        !self.over && self.skip == 0 && self.arrived < self.expected
    }

    /// Begins to watch over this group: its number, and how long it is waited for at the most; `None` if somebody else watches. Everybody else may
    /// wait without a limit.
    pub(super) fn watch(&mut self) -> Option<(u64, Duration)> {
        if self.watched {
            return None;
        }
        self.watched = true;
        self.waited = true;
        Some((self.closed, LEAST_LIMIT.max(LIMIT_PER_CALL * self.expected)))
    }

    /// Ends the watch over a group, and the waiting for it; false if it was closed meanwhile.
    pub(super) fn end_watch(&mut self, group: u64) -> bool {
        let is_open = group == self.closed;
        if is_open {
            self.watched = false;
            self.over = true;
        }
        is_open
    }

    /// Closes the group, which is written now; how many calls are in it.
    pub(super) fn close(&mut self) -> u32 {
        if self.waited {
            // Nearly all is good enough: one thread may have been held up.
            let missed = self.arrived < self.expected - self.expected / 4;
            self.misses = if missed { (self.misses + 1).min(MOST_MISSES) } else { 0 };
            self.skip = if missed { 1 << self.misses } else { 0 };
        } else {
            self.skip = self.skip.saturating_sub(1);
        }
        self.watched = false;
        self.waited = false;
        self.over = false;
        self.closed += 1;
        core::mem::take(&mut self.arrived)
    }

    /// A group of so many calls is durable: they may come back, to those that came meanwhile.
    pub(super) fn release(&mut self, calls: u32) {
        self.expected = calls + self.arrived;
    }
}
