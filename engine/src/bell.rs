//! How those who append, commit and forget tell the background thread that there is work.

use std::time::Duration;

use crate::sync::{AtomicBool, Condvar, Instant, Mutex, OnceLock, Ordering};

/// What there is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Prepare a spare segment.
    pub prepare: bool,
    /// Drop forgotten segments.
    pub drop: bool,
    /// Sync what is written.
    pub sync: bool,
    /// Sync at this time at the latest.
    pub sync_by: Option<Instant>,
    /// End.
    pub stop: bool,
}

/// Starts the thread; whether it runs.
type Starter = Box<dyn Fn() -> bool + Send + Sync>;

/// See the module's head.
#[derive(Default)]
pub struct Bell {
    work: Mutex<Work>,
    rung: Condvar,
    started: AtomicBool,
    starter: OnceLock<Starter>,
}

impl Bell {
    /// Sets what starts the thread when it is first needed. Without it, or when it fails, `ring` answers false and the caller does the work.
    pub fn set_starter(&self, starter: Starter) {
        // Set once, right after the log's parts are tied together.
        let _already_set = self.starter.set(starter);
    }

    /// Adds work and wakes the thread, which is started first if need be; whether somebody will do it.
    pub fn ring(&self, add: impl FnOnce(&mut Work)) -> bool {
        if !self.started.load(Ordering::Acquire) {
            let Some(starter) = self.starter.get() else {
                return false;
            };
            // Under the lock, so that two callers start one thread.
            let work = self.work.lock();
            if !self.started.load(Ordering::Acquire) {
                if work.stop || !starter() {
                    return false;
                }
                self.started.store(true, Ordering::Release);
            }
        }
        let mut work = self.work.lock();
        if work.stop {
            return false;
        }
        add(&mut work);
        drop(work);
        self.rung.notify_one();
        true
    }

    /// Tells the thread to end; whether there is one.
    pub fn stop(&self) -> bool {
        self.work.lock().stop = true;
        self.rung.notify_one();
        self.started.load(Ordering::Acquire)
    }

    /// For a thread that ends without being told to: nobody does any work any more.
    pub fn silence(&self) {
        self.work.lock().stop = true;
    }

    /// For the thread: waits for work and takes it. A time that has come is reported as `sync`.
    pub fn take(&self) -> Work {
        let mut work = self.work.lock();
        loop {
            let now = Instant::now();
            if work.sync_by.is_some_and(|at| at <= now) {
                work.sync_by = None;
                work.sync = true;
            }
            if work.prepare || work.drop || work.sync || work.stop {
                let taken = *work;
                *work = Work { stop: taken.stop, sync_by: taken.sync_by, ..Work::default() };
                return taken;
            }
            work = match work.sync_by {
                None => self.rung.wait(work),
                Some(at) => {
                    let left = at.saturating_duration_since(now).max(Duration::from_micros(1));
                    self.rung.wait_timeout(work, left)
                }
            };
        }
    }
}
