//! Every state that a crash may leave at every point of a recording, opened and held against what the host was promised.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use wal_engine::config::Config;
use wal_engine::error::Code;
use wal_engine::format::constants::{OP_CHECKPOINT, OP_PUT};
use wal_engine::log::{Log, ReplayOptions};
use wal_engine::seq;
use wal_sim::{Budget, Disk, Image, Point};

use super::replay::{Moment, Replayed, config_at};
use crate::host::{History, Shown, check_open, value_of};

/// A state, and what the log shows of it.
pub struct Judged {
    pub image: Image,
    pub moment: Moment,
    pub shown: Shown,
}

/// States judged so far in one configuration: those that come again are passed over.
#[derive(Default)]
pub struct Judge {
    pub budget: Budget,
    /// States that were judged: distinct ones of image and everything promised.
    pub states: u64,
    /// Of these, how many were opened a second time after a power cut, with the same answer.
    pub twice: u64,
    /// Every so many states one is also opened on a full disk.
    pub full_every: u64,
    /// The space that there is on that disk, if the files take less.
    pub space: u64,
    pub seen: HashSet<(u64, [u64; 6])>,
    /// Every so many states one is kept in `kept`; 0: none.
    pub keep_every: u64,
    pub kept: Vec<Judged>,
}

/// Every so many states the opening is repeated.
const TWICE_EVERY: u64 = 16;

impl Judge {
    /// Judges the points of a trace from number `first` on; what is wrong with the first bad one, or `None`.
    pub fn explore(&mut self, replayed: &Replayed, config: &Config, first: usize) -> Option<String> {
        for point in replayed.trace.crash_points_from(first) {
            let moment = replayed.moment(&point);
            let nothing = (!moment.named).then(Image::new);
            for image in nothing.into_iter().chain(point.images(&self.budget)) {
                if let Some(wrong) = self.state(image, moment, config, &point) {
                    return Some(wrong);
                }
            }
        }
        None
    }

    fn state(&mut self, image: Image, moment: &Moment, config: &Config, point: &Point) -> Option<String> {
        let promised = &moment.promised;
        let numbers = [
            promised.durable,
            promised.appended,
            promised.checkpoint,
            promised.floor,
            promised.asked_floor,
            u64::from(moment.exists) + 2 * u64::from(moment.closed) + moment.kept.as_ref().map_or(0, |kept| 4 + 4 * kept.len() as u64),
        ];
        if !self.seen.insert((image.hash(), numbers)) {
            return None;
        }
        self.states += 1;
        let again = self.states.is_multiple_of(TWICE_EVERY);
        let full = self.states.is_multiple_of(self.full_every.max(1));
        match judge(&image, moment, config, again, full.then_some(self.space)) {
            Ok(shown) => {
                self.twice += u64::from(again && shown.is_some());
                if let Some(shown) = shown.filter(|_| self.keep_every > 0 && self.states.is_multiple_of(self.keep_every)) {
                    self.kept.push(Judged { image, moment: moment.clone(), shown });
                }
                None
            }
            Err(wrong) => {
                let op = point.op().map_or("before anything".to_string(), |op| format!("after \"{op}\""));
                Some(format!("crash {op}: {wrong}"))
            }
        }
    }
}

/// Opens a state on a simulated disk; `again`: twice, with a power cut between; `full`: also on a full disk. `None`: the log was damaged, and holds what it should.
fn judge(image: &Image, moment: &Moment, config: &Config, again: bool, full: Option<u64>) -> Result<Option<Shown>, String> {
    let config = config_at(moment, config);
    let open = |image: &Image, seed: u64| {
        let disk = Disk::from_image(image, seed);
        let shown = match &moment.kept {
            Some(kept) => check_damaged(&disk, &config, kept, &moment.history).map(|()| None),
            None => check_open(&disk, &config, &moment.promised, &moment.history).map(|(log, shown)| {
                assert!(log.report().clean || !moment.closed, "it was closed, and is not clean");
                Some(shown)
            }),
        };
        shown.map(|shown| (disk, shown)).map_err(|error| error.to_string())
    };
    quietly(|| {
        let (disk, shown) = open(image, 7)?;
        if again {
            let (_, second) = open(&disk.durable_image(), 8)?;
            assert_eq!(second, shown, "another answer at the second opening");
        }
        if let Some(space) = full.filter(|_| moment.exists && moment.kept.is_none()) {
            check_full(image, space, &config, moment).map_err(|error| format!("on a full disk: {error}"))?;
        }
        Ok(shown)
    })
}

/// Opens a state on a disk without any space left. That must work, and appending either works or is refused with nothing changed: blocks that the
/// log has taken for its own are there.
fn check_full(image: &Image, space: u64, config: &Config, moment: &Moment) -> wal_engine::error::Result<()> {
    let disk = Disk::from_image(image, 9);
    disk.limit_space(Some(disk.used().max(space)));
    let (log, _) = check_open(&disk, config, &moment.promised, &moment.history)?;
    for len in [100, 2000, 2000, 2000] {
        match log.append(OP_PUT, b"", &value_of(log.last_seq() + 1, len)) {
            Err(error) if error.code != Code::NoSpace => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// A log that the host has damaged: nothing invented, and what was shown since is still there.
fn check_damaged(disk: &Disk, config: &Config, kept: &BTreeSet<u64>, history: &History) -> wal_engine::error::Result<()> {
    let log = Log::open(disk.storage(), config)?;
    let mut cursor = log.replay(seq::OLDEST, ReplayOptions { raw: true, skip_lost: true, ..ReplayOptions::default() })?;
    let mut shown = BTreeSet::new();
    while let Some(record) = cursor.next()? {
        let known = history.get(&record.seq).unwrap_or_else(|| panic!("invented: seq {}", record.seq));
        assert_eq!((record.op, record.batch_last_seq), (known.op, known.batch_last), "seq {}", record.seq);
        assert!(record.op == OP_CHECKPOINT || record.value == known.value, "wrong bytes in seq {}", record.seq);
        shown.insert(record.seq);
    }
    let lost: Vec<&u64> = kept.difference(&shown).collect();
    assert!(lost.is_empty(), "shown or acknowledged since the damage, and lost: {lost:?}");
    Ok(())
}

thread_local! {
    static QUIET: RefCell<bool> = const { RefCell::new(false) };
}

/// Runs `body`; a panic in it is not printed but returned.
pub fn quietly<T>(body: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.with(|quiet| *quiet.borrow()) {
                loud(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(body));
    QUIET.set(before);
    outcome.unwrap_or_else(|panic| Err(message_of(&*panic)))
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").replace('\n', " ")
}
