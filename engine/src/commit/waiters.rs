//! Threads that wait for what becomes of their records.
//!
//! They wait apart from the committer's lock, so that those whom a sync releases at once do not stand in line for it: each looks whether its
//! record is durable, and only if not takes the lock and looks again.

use std::time::Duration;

use crate::sync::{AtomicU64, Condvar, Mutex, Ordering};

/// See the module's head.
#[derive(Default)]
pub(super) struct Waiters {
    /// Counts the wakes.
    turn: AtomicU64,
    parked: Mutex<u32>,
    woken: Condvar,
}

impl Waiters {
    /// To be asked under the committer's lock, before it is given back: what is changed under that lock afterwards ends a wait for this turn.
    pub(super) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    /// Waits until somebody has called `wake` since `turn`, or for as long as `limit` says, and perhaps less.
    pub(super) fn wait(&self, turn: u64, limit: Option<Duration>) {
        let mut parked = self.parked.lock();
        if self.turn.load(Ordering::Relaxed) == turn {
            *parked += 1;
            parked = match limit {
                None => self.woken.wait(parked),
                Some(limit) => self.woken.wait_timeout(parked, limit),
            };
            *parked -= 1;
        }
    }

    /// Has everybody look again, after a change under the committer's lock. Where nobody waits it costs no system call.
    pub(super) fn wake(&self) {
        let parked = self.parked.lock();
        self.turn.fetch_add(1, Ordering::Relaxed);
        let is_waited_for = *parked > 0;
        drop(parked);
        if is_waited_for {
            self.woken.notify_all();
        }
    }
}
