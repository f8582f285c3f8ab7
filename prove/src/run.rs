//! One run of the suites: threads share the items of a suite, one reports how far they are, and the first failure ends it.

use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::crash::{Count, Counts, Failure};
use crate::seen::Seen;

/// How often progress is shown where it is a line of its own, and where it overwrites the last one.
const REPORT_EVERY: Duration = Duration::from_secs(30);
const REDRAW_EVERY: Duration = Duration::from_millis(500);

/// What all suites of a run share.
pub struct Run {
    pub threads: usize,
    pub seed: u64,
    pub seen: Seen,
}

/// A slice of a suite: items from `first` on, so many at most, and no new ones after `until`.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    pub first: u64,
    pub items: u64,
    pub until: Option<Instant>,
    /// When the whole run is to end, for those who watch it.
    pub run_until: Option<Instant>,
}

impl Slice {
    /// All of a suite.
    pub fn whole(items: u64) -> Slice {
        Slice { first: 0, items, until: None, run_until: None }
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    pub items: u64,
    pub counts: Counts,
    pub elapsed: Duration,
}

/// A failure, and the item that failed.
#[derive(Clone, Debug)]
pub struct Failed {
    pub item: u64,
    pub failure: Failure,
}

impl Run {
    pub fn new(threads: usize, seed: u64) -> Run {
        Run { threads, seed, seen: Seen::default() }
    }

    /// Calls `each` with every item of the slice, from several threads.
    pub fn spread(&self, name: &str, slice: Slice, each: impl Fn(u64) -> Result<Counts, Failure> + Sync) -> (Done, Option<Failed>) {
        let began = Instant::now();
        let next = AtomicU64::new(0);
        let running = AtomicU64::new(self.threads as u64);
        let stop = AtomicBool::new(false);
        let done = Mutex::new(Done::default());
        let failed = Mutex::new(None);
        let work = || {
            while !stop.load(Ordering::Relaxed) && slice.until.is_none_or(|until| Instant::now() < until) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= slice.items {
                    break;
                }
                let item = slice.first + number;
                match each(item) {
                    Ok(counts) => {
                        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                        done.items += 1;
                        done.counts.first.add(counts.first);
                        done.counts.second.add(counts.second);
                    }
                    Err(failure) => {
                        stop.store(true, Ordering::Relaxed);
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(Failed { item, failure });
                    }
                }
            }
            running.fetch_sub(1, Ordering::Release);
        };
        thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(work);
            }
            let mut progress = Progress::new(name, slice, began);
            while running.load(Ordering::Acquire) > 0 {
                thread::sleep(Duration::from_millis(20));
                progress.show(&done);
            }
            progress.clear();
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.elapsed = began.elapsed();
        (done, failed.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The line that says how far a suite is.
struct Progress<'a> {
    name: &'a str,
    slice: Slice,
    began: Instant,
    redraws: bool,
    shown: Instant,
}

impl<'a> Progress<'a> {
    fn new(name: &'a str, slice: Slice, began: Instant) -> Progress<'a> {
        Progress { name, slice, began, redraws: stderr().is_terminal(), shown: began }
    }

    fn show(&mut self, done: &Mutex<Done>) {
        if self.shown.elapsed() < if self.redraws { REDRAW_EVERY } else { REPORT_EVERY } {
            return;
        }
        self.shown = Instant::now();
        let done = *done.lock().unwrap_or_else(PoisonError::into_inner);
        let Count { cases, states, .. } = done.counts.first;
        let second = done.counts.second;
        let elapsed = self.began.elapsed().as_secs_f64();
        let by_items = (done.items > 0 && self.slice.items < u64::MAX)
            .then(|| elapsed * (self.slice.items.saturating_sub(done.items)) as f64 / done.items as f64);
        let by_time = self.slice.run_until.map(|until| until.saturating_duration_since(self.shown).as_secs_f64());
        let left = [by_items, by_time].into_iter().flatten().reduce(f64::min);
        let line = format!(
            "{}: {} items, {} cases, {} distinct states, {:.0} cases a second, {}",
            self.name,
            done.items,
            cases + second.cases,
            states + second.states,
            (cases + second.cases) as f64 / elapsed,
            left.map_or("time left unknown".to_string(), |left| format!("about {left:.0} s left"))
        );
        // Nobody may be reading any more; the run goes on.
        let _ = if self.redraws { write!(stderr(), "\r\x1b[K{line}") } else { writeln!(stderr(), "{line}") };
    }

    fn clear(&self) {
        if self.redraws {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
