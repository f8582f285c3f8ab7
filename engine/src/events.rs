//! What an open log tells beside the answers of its calls: failures, which are counted and the last of them kept, and events, which a listener of
//! the host's hears. Both are noted under whatever locks are held; the listener is called where none is.

use core::fmt;

use crate::error::{Error, Result};
use crate::memory::Shared;
use crate::seq::Seq;
use crate::sync::{AtomicBool, Mutex, Ordering, unix_time_us};

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Level {
    /// Somebody has to do something.
    Error = 1,
    /// Somebody should know.
    Warning = 2,
    /// Part of a log's life.
    Info = 3,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The opening made the log.
    Created,
    /// The manifest was lost and rebuilt from the segments.
    ManifestRebuilt,
    /// The opening met damage.
    Damaged(Error),
    /// Damage took these records.
    Lost {
        /// The first.
        first: Seq,
        /// The last.
        last: Seq,
    },
    /// Damaged files were moved aside.
    MovedAside {
        /// How many.
        files: u64,
    },
    /// Garbage behind the last usable byte was dropped.
    Dropped {
        /// Where.
        segment: u64,
        /// Where in it.
        offset: u64,
        /// How much.
        bytes: u64,
        /// Whole frames in it.
        frames: u64,
    },
    /// The log was not closed; records that nothing vouched for are durable now.
    Recovered {
        /// How many.
        records: u64,
        /// Their frames, in bytes.
        bytes: u64,
    },
    /// The log is open.
    Opened {
        /// The oldest record.
        oldest: Seq,
        /// The last one.
        last: Seq,
        /// How long it took.
        duration_us: u64,
    },
    /// A sync took long.
    SlowSync {
        /// How long.
        duration_us: u64,
        /// Records that waited for it.
        records: u64,
    },
    /// A write failed; its records were not appended.
    TakenBack(Error),
    /// The handle is poisoned.
    Poisoned(Error),
    /// The background thread could not prepare a spare segment.
    PrepareFailed(Error),
    /// The background thread could not drop a forgotten segment.
    DropFailed(Error),
    /// The log was closed cleanly.
    Closed {
        /// The last record.
        last: Seq,
    },
    /// More happened than the queue could hold.
    Missed {
        /// How many events.
        events: u64,
    },
}

impl Event {
    /// How much it matters.
    pub fn level(&self) -> Level {
        match self {
            Event::Damaged(_) | Event::Lost { .. } | Event::TakenBack(_) | Event::Poisoned(_) => Level::Error,
            Event::ManifestRebuilt
            | Event::MovedAside { .. }
            | Event::Dropped { .. }
            | Event::SlowSync { .. }
            | Event::PrepareFailed(_)
            | Event::DropFailed(_)
            | Event::Missed { .. } => Level::Warning,
            Event::Created | Event::Recovered { .. } | Event::Opened { .. } | Event::Closed { .. } => Level::Info,
        }
    }

    /// The error that it tells of.
    pub fn error(&self) -> Option<&Error> {
        match self {
            Event::Damaged(error)
            | Event::TakenBack(error)
            | Event::Poisoned(error)
            | Event::PrepareFailed(error)
            | Event::DropFailed(error) => Some(error),
            _ => None,
        }
    }
}

/// A whole sentence; what an error says follows it.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Event::Created => f.write_str("a new log was created"),
            Event::ManifestRebuilt => f.write_str("the manifest was lost; it was rebuilt from the segments"),
            Event::Damaged(_) => f.write_str("the log is damaged"),
            Event::Lost { first, last: u64::MAX } => write!(f, "damage took the records from seq {first} on"),
            Event::Lost { first, last } => write!(f, "damage took the records with seq {first} to {last}"),
            Event::MovedAside { files } => write!(f, "damaged files were moved aside: {files}"),
            Event::Dropped { segment, offset, bytes, frames: 0 } => {
                write!(f, "an unfinished write was dropped: {bytes} bytes at byte {offset} of segment {segment}")
            }
            Event::Dropped { segment, offset, bytes, frames } => {
                write!(
                    f,
                    "an unfinished write was dropped: {bytes} bytes at byte {offset} of segment {segment}, with whole frames in it: {frames}"
                )
            }
            Event::Recovered { records, bytes } => {
                write!(f, "the log was not closed; records at its end made durable anew: {records} ({bytes} bytes)")
            }
            Event::Opened { oldest, last, duration_us } if oldest > last => {
                write!(f, "opened in {} ms: no records, the next seq is {}", duration_us / 1000, last.saturating_add(1))
            }
            Event::Opened { oldest, last, duration_us } => write!(f, "opened in {} ms: seq {oldest} to {last}", duration_us / 1000),
            Event::SlowSync { duration_us, records } => {
                write!(f, "a sync took {} ms; records that waited for it: {records}", duration_us / 1000)
            }
            Event::TakenBack(_) => f.write_str("a write failed and was taken back"),
            Event::Poisoned(_) => f.write_str("the log accepts nothing more until it is closed and opened again"),
            Event::PrepareFailed(_) => f.write_str("no spare segment could be prepared; appends go on until the current one is full"),
            Event::DropFailed(_) => f.write_str("a forgotten segment could not be removed"),
            Event::Closed { last } => write!(f, "closed at seq {last}"),
            Event::Missed { events } => write!(f, "messages that came faster than they could be told: {events}"),
        }
    }
}

/// Who hears of events. Called by one thread at a time, under no lock of the log's, in the order in which things happened.
pub trait Listener: Send + Sync {
    /// It may call the log, but not close it.
    fn hear(&self, event: &Event);
}

/// Failures of an open log's own work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failures {
    /// How many.
    pub count: u64,
    /// The last one.
    pub last: Option<Error>,
    /// When that was, in microseconds since 1970.
    pub last_us: u64,
}

/// Events that wait for their listener. What does not fit is counted.
const QUEUE_LEN: usize = 64;

struct Queue {
    events: [Event; QUEUE_LEN],
    first: usize,
    len: usize,
    missed: u64,
    /// A thread is with the listener, and will take what comes meanwhile, too.
    delivering: bool,
    failures: Failures,
}

impl Queue {
    fn push(&mut self, event: Event) {
        if self.len == QUEUE_LEN {
            self.missed += 1;
            return;
        }
        self.events[(self.first + self.len) % QUEUE_LEN] = event;
        self.len += 1;
    }

    fn pop(&mut self) -> Option<Event> {
        if self.len == 0 {
            let events = core::mem::take(&mut self.missed);
            return (events > 0).then_some(Event::Missed { events });
        }
        let event = self.events[self.first];
        self.first = (self.first + 1) % QUEUE_LEN;
        self.len -= 1;
        Some(event)
    }
}

/// See the module's head.
pub struct Events {
    listener: Option<Box<dyn Listener>>,
    /// Whether the queue holds anything: what every call looks at.
    pending: AtomicBool,
    /// The lowest of locks: taken under any other, and nothing is called under it.
    queue: Mutex<Queue>,
}

impl Events {
    /// For a log that is being opened.
    pub fn new(listener: Option<Box<dyn Listener>>) -> Result<Shared<Events>> {
        let queue =
            Queue { events: [Event::Created; QUEUE_LEN], first: 0, len: 0, missed: 0, delivering: false, failures: Failures::default() };
        Shared::new(Events { listener, pending: AtomicBool::new(false), queue: Mutex::new(queue) })
    }

    /// Queues an event.
    pub fn say(&self, event: Event) {
        if self.listener.is_some() {
            self.queue.lock().push(event);
            self.pending.store(true, Ordering::Release);
        }
    }

    /// Remembers a failure.
    pub fn note(&self, error: Error) {
        let now = unix_time_us();
        let failures = &mut self.queue.lock().failures;
        failures.count += 1;
        failures.last = Some(error);
        failures.last_us = now;
    }

    /// The failures so far.
    pub fn failures(&self) -> Failures {
        self.queue.lock().failures
    }

    /// Calls the listener with what is queued, unless a thread is there already. To be called without a lock.
    #[inline]
    pub fn deliver(&self) {
        if self.pending.load(Ordering::Acquire) {
            self.deliver_queued();
        }
    }

    #[cold]
    fn deliver_queued(&self) {
        let Some(listener) = &self.listener else {
            return;
        };
        let mut queue = self.queue.lock();
        if queue.delivering {
            return;
        }
        queue.delivering = true;
        // Before the queue is looked at: what comes later sets it again.
        self.pending.store(false, Ordering::Relaxed);
        while let Some(event) = queue.pop() {
            drop(queue);
            listener.hear(&event);
            queue = self.queue.lock();
        }
        queue.delivering = false;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use crate::error::Code;
    use crate::memory::boxed;
    use crate::sync::OnceLock;
    use std::sync::{Arc, Mutex as StdMutex};

    #[derive(Default)]
    struct Heard {
        events: StdMutex<Vec<Event>>,
        /// What the listener calls back into.
        log: OnceLock<Shared<Events>>,
    }

    impl Listener for Arc<Heard> {
        fn hear(&self, event: &Event) {
            self.events.lock().unwrap().push(*event);
            if let (Some(log), Event::SlowSync { records, .. }) = (self.log.get(), event)
                && *records > 0
            {
                log.say(Event::SlowSync { duration_us: 0, records: records - 1 });
                log.deliver();
            }
        }
    }

    #[test]
    fn events_arrive_in_order_and_what_is_too_much_is_counted() {
        let heard = Arc::new(Heard::default());
        let events = Events::new(Some(boxed(heard.clone()).unwrap())).unwrap();
        for last in 0..QUEUE_LEN as u64 + 3 {
            events.say(Event::Closed { last });
        }
        events.deliver();
        events.say(Event::Created);
        events.deliver();
        events.deliver();
        let expected: Vec<Event> =
            (0..QUEUE_LEN as u64).map(|last| Event::Closed { last }).chain([Event::Missed { events: 3 }, Event::Created]).collect();
        assert_eq!(*heard.events.lock().unwrap(), expected);
    }

    /// A listener that calls the log is not called from within itself, and hears of what it caused.
    #[test]
    fn a_listener_is_never_within_itself() {
        let heard = Arc::new(Heard::default());
        let events = Events::new(Some(boxed(heard.clone()).unwrap())).unwrap();
        assert!(heard.log.set(events.clone()).is_ok());
        events.say(Event::SlowSync { duration_us: 0, records: 5 });
        events.deliver();
        let records: Vec<u64> = heard
            .events
            .lock()
            .unwrap()
            .iter()
            .map(|event| match event {
                Event::SlowSync { records, .. } => *records,
                _ => 99,
            })
            .collect();
        assert_eq!(records, [5, 4, 3, 2, 1, 0]);
    }

    #[test]
    fn the_last_failure_is_kept_and_all_are_counted() {
        let events = Events::new(None).unwrap();
        assert_eq!((events.failures().count, events.failures().last, events.failures().last_us), (0, None, 0));
        events.note(Error::new(Code::Io, "first"));
        events.note(Error::new(Code::NoSpace, "second"));
        let failures = events.failures();
        assert_eq!((failures.count, failures.last), (2, Some(Error::new(Code::NoSpace, "second"))));
        assert!(failures.last_us > 1_700_000_000_000_000);
        // Without a listener nothing is kept for one.
        events.say(Event::Created);
        assert!(!events.pending.load(Ordering::Relaxed));
    }
}
