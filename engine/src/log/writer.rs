//! What a log opened for writing has: the parts that append and forget, and the background thread.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::commit::Committer;
use crate::error::{Error, Result};
use crate::manifest::InstallError;
use crate::memory::{self, Weak};
use crate::parts::Parts;
use crate::retention::{Forget, Retention};
use crate::seq::Seq;
use crate::storage::Storage;
use crate::sync::{Mutex, Thread};

/// What a log opened for writing has beside what every open log has.
pub(super) struct Writer<S: Storage> {
    pub(super) parts: Parts<S>,
    pub(super) committer: Committer<S>,
    pub(super) retention: Retention<S>,
    pub(super) first_seq_of_opening: Seq,
    pub(super) thread: Mutex<Option<Thread>>,
}

impl<S: Storage> Writer<S> {
    /// Replaces the active segment if all its records are forgotten and it is worth it: half full, or no successor could be had for it.
    pub(super) fn swap(&self, forget: &Forget) -> core::result::Result<Option<u32>, InstallError> {
        if forget.up_to != self.committer.last_seq() {
            return Ok(None);
        }
        let bound = self.committer.bound();
        let (ready, pool) = self.parts.spares.counts();
        let worth_it = bound.offset >= self.parts.manifest.current().segment_bytes / 2 || ready + pool < 2;
        if !worth_it {
            return Ok(None);
        }
        self.committer.swap_forgotten(forget.up_to, |manifest, segment| forget.apply(manifest, segment))
    }

    pub(super) fn install_failed(&self, failed: InstallError) -> Error {
        if failed.is_final { self.committer.poison_with(failed.told()) } else { failed.told() }
    }

    /// Ends the background thread, which holds the log while it runs.
    pub(super) fn stop(&self) {
        self.committer.shut_down();
        if self.parts.bell.stop() {
            let thread = self.thread.lock().take();
            if let Some(thread) = thread {
                thread.join();
            }
        }
    }

    pub(super) fn close(&self) -> Result<()> {
        self.stop();
        let (bound, dirty) = self.committer.finish()?;
        // What fails to be dropped now, the next opening drops.
        let _next_time = self.parts.pins.drop_segments();
        if dirty {
            self.parts
                .manifest
                .install(|manifest| {
                    manifest.dirty = false;
                    manifest.bound = bound;
                })
                .map_err(InstallError::told)?;
        }
        Ok(())
    }

    /// The background thread's life. A bug in what it does must not leave a log behind that goes on without the syncs it promised.
    fn work_until_stopped(&self) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.work())) {
            memory::discard(payload);
            self.committer.poison();
            self.parts.bell.silence();
        }
    }

    fn work(&self) {
        loop {
            let work = self.parts.bell.take();
            if work.stop {
                return;
            }
            if work.sync {
                self.committer.sync_in_background();
            }
            if work.prepare {
                // The error, if any, is met again by the append that needs the spare.
                let _met_again = self.parts.spares.ensure(2);
            }
            if work.drop {
                let _next_time = self.parts.pins.drop_segments();
            }
        }
    }
}

/// Starts the background thread; whether it runs.
pub(super) fn start_thread<S: Storage>(writer: &Weak<Writer<S>>) -> bool {
    let Some(writer) = writer.upgrade() else {
        return false;
    };
    let for_thread = writer.clone();
    // Without a thread the caller does the work, and the next one asks again.
    let started = Thread::start(move || for_thread.work_until_stopped()).ok();
    let running = started.is_some();
    *writer.thread.lock() = started;
    running
}
