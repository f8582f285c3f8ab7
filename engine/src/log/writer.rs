//! What a log opened for writing has: the parts that append and forget, and the background thread.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::commit::Committer;
use crate::error::{Code, Error, Result};
use crate::events::Event;
use crate::manifest::InstallError;
use crate::memory::{self, Weak};
use crate::parts::Parts;
use crate::retention::{Forget, Retention};
use crate::seq::Seq;
use crate::storage::Storage;
use crate::sync::{AtomicU64, Mutex, Thread};

/// What a log opened for writing has beside what every open log has.
pub(super) struct Writer<S: Storage> {
    pub(super) parts: Parts<S>,
    pub(super) committer: Committer<S>,
    pub(super) retention: Retention<S>,
    pub(super) first_seq_of_opening: Seq,
    pub(super) thread: Mutex<Option<Thread>>,
    pub(super) calls: Calls,
}

/// Rare calls that succeeded.
#[derive(Default)]
pub(super) struct Calls {
    pub(super) checkpoints: AtomicU64,
    pub(super) truncations: AtomicU64,
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
        if failed.is_final {
            return self.committer.poison_with(failed.told());
        }
        self.parts.events.note(failed.error);
        failed.told()
    }

    /// Gives back the disk space of forgotten records. They are forgotten, durably: a file that cannot be dropped does not undo that, and the next
    /// opening drops it.
    pub(super) fn drop_segments(&self) {
        if let Err(error) = self.parts.pins.drop_segments() {
            self.parts.events.note(error);
            self.parts.events.say(Event::DropFailed(error));
        }
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
        self.drop_segments();
        if dirty {
            self.parts
                .manifest
                .install(|manifest| {
                    manifest.dirty = false;
                    manifest.bound = bound;
                })
                .map_err(InstallError::told)?;
        }
        self.parts.events.say(Event::Closed { last: bound.tail.seq });
        Ok(())
    }

    /// The background thread's life. A bug in what it does must not leave a log behind that goes on without the syncs it promised.
    fn work_until_stopped(&self) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.work())) {
            memory::discard(payload);
            self.committer.poison(Error::new(Code::Panic, "a bug in this library was caught in its background thread"));
            self.parts.bell.silence();
            self.parts.events.deliver();
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
            if work.prepare
                && let Err(error) = self.parts.spares.ensure(2)
            {
                // It is met again by the append that needs the spare.
                self.parts.events.note(error);
                self.parts.events.say(Event::PrepareFailed(error));
            }
            if work.drop {
                self.drop_segments();
            }
            self.parts.events.deliver();
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
