//! Crashes of logs with a pin: every script of a few calls through a crash at every storage operation of the pin's calls, of truncations and openings.
//!
//! The host and the pin's owner are two processes on one disk. After each crash the pin must be what it was acknowledged to be, or what the call under way
//! was making it, and everything above it must be read back from it, whatever the host has forgotten; and of what no pin keeps nothing may stay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wal_engine::config::{Config, SyncMode};
use wal_engine::error::{Code, Error, Result};
use wal_engine::format::constants::OP_PUT;
use wal_engine::format::pin::{Pin, PinName};
use wal_engine::log::{Log, ReplayOptions};
use wal_engine::names::FileName;
use wal_engine::pins::{self, Limit};
use wal_engine::seq;
use wal_engine::storage::{Access, File, IoError, LockKind, Storage};
use wal_sim::{Budget, Disk, Fault, Image, Mark, Point, SimFile, SimPinsLock, SimStorage};

use crate::crash::{Failure, verdict};
use crate::host::{ASKED_TO_TRUNCATE, History, Known, Promised, check_open, config, value_of};

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A record that needs another segment.
    Append,
    TruncateHalf,
    TruncateLast,
    Reopen,
    /// A pin of all that is not forgotten.
    PinOldest,
    /// One from the middle of the log on.
    PinMiddle,
    /// One that is lost when it holds more than a segment.
    PinBrief,
    /// One that refuses appends then.
    PinStrict,
    /// To the middle between where it is and the end.
    Advance,
    AdvanceToLast,
    Drop,
}

pub const CALLS: [Call; 11] = [
    Call::Append,
    Call::TruncateHalf,
    Call::TruncateLast,
    Call::Reopen,
    Call::PinOldest,
    Call::PinMiddle,
    Call::PinBrief,
    Call::PinStrict,
    Call::Advance,
    Call::AdvanceToLast,
    Call::Drop,
];

impl Call {
    pub fn makes_pin(self) -> bool {
        matches!(self, Call::PinOldest | Call::PinMiddle | Call::PinBrief | Call::PinStrict)
    }
}

/// What precedes a script: five segments, of which the host has forgotten the first; and then also a pin and most of the rest forgotten.
pub const STARTS: [&[Call]; 3] = [
    &[Call::Append, Call::Append, Call::TruncateHalf, Call::Append, Call::Append, Call::Append],
    &[Call::Append, Call::Append, Call::TruncateHalf, Call::Append, Call::PinOldest, Call::Append, Call::TruncateLast, Call::Append],
    &[Call::Append, Call::Append, Call::PinBrief, Call::Append, Call::Append, Call::TruncateHalf],
];

/// What a script runs on.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub mode: SyncMode,
    pub recycle: bool,
    pub start: &'static [Call],
    /// Whether pins' files believe the cache: pins then move in memory only.
    pub believes: bool,
}

const NAME: &str = "backup";
/// Two segments are above it.
const LIMIT_BYTES: u64 = 4096;

// Marks: a pin's call is asked for with its seq, or has returned.
const ASKED_TO_PIN: u32 = 10;
const ASKED_TO_ADVANCE: u32 = 11;
const ASKED_TO_DROP: u32 = 12;
const RETURNED: u32 = 13;
const REFUSED: u32 = 14;
/// Whether the pin of the last `ASKED_TO_PIN` may be lost: 1 if so.
const MAY_BE_LOST: u32 = 15;

/// The disk's storage, whose pins' files may be told to believe the cache: a sync of one does nothing, and succeeds.
pub struct Believing {
    inner: SimStorage,
    believes: Arc<AtomicBool>,
}

pub struct BelievingFile {
    inner: SimFile,
    is_pin: bool,
    believes: Arc<AtomicBool>,
}

impl File for BelievingFile {
    fn len(&self) -> std::result::Result<u64, IoError> {
        self.inner.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::result::Result<usize, IoError> {
        self.inner.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> std::result::Result<(), IoError> {
        self.inner.write_at(offset, bytes)
    }

    fn fill_zeros(&self, size: u64) -> std::result::Result<(), IoError> {
        self.inner.fill_zeros(size)
    }

    fn sync(&self) -> std::result::Result<(), IoError> {
        if self.is_pin && self.believes.load(Ordering::Relaxed) { Ok(()) } else { self.inner.sync() }
    }

    fn drop_cache(&self) {
        self.inner.drop_cache();
    }
}

impl Believing {
    fn file(&self, name: FileName, inner: SimFile) -> BelievingFile {
        BelievingFile { inner, is_pin: matches!(name, FileName::Pin(_)), believes: Arc::clone(&self.believes) }
    }
}

impl Storage for Believing {
    type File = BelievingFile;
    type PinsLock = SimPinsLock;

    fn lock(&self, kind: LockKind) -> std::result::Result<(), IoError> {
        self.inner.lock(kind)
    }

    fn lock_pins(&self, create: bool) -> std::result::Result<SimPinsLock, IoError> {
        self.inner.lock_pins(create)
    }

    fn list(&self, each: &mut dyn FnMut(FileName)) -> std::result::Result<(), IoError> {
        self.inner.list(each)
    }

    fn create(&self, name: FileName) -> std::result::Result<BelievingFile, IoError> {
        self.inner.create(name).map(|file| self.file(name, file))
    }

    fn open(&self, name: FileName, access: Access) -> std::result::Result<BelievingFile, IoError> {
        self.inner.open(name, access).map(|file| self.file(name, file))
    }

    fn rename(&self, from: FileName, to: FileName) -> std::result::Result<(), IoError> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: FileName) -> std::result::Result<(), IoError> {
        self.inner.remove(name)
    }

    fn sync_dir(&self) -> std::result::Result<(), IoError> {
        self.inner.sync_dir()
    }

    fn random(&self, out: &mut [u8]) -> std::result::Result<(), IoError> {
        self.inner.random(out)
    }
}

/// A host and the owner of a pin.
pub struct World {
    disk: Disk,
    config: Config,
    believes: Arc<AtomicBool>,
    log: Option<Log<Believing>>,
    history: History,
}

impl World {
    fn new(setting: &Setting) -> Result<World> {
        let mut world = World {
            disk: Disk::new(crate::crash::DISK_SEED),
            config: config(setting.mode, setting.recycle),
            believes: Arc::new(AtomicBool::new(setting.believes)),
            log: None,
            history: History::new(),
        };
        world.open()?;
        Ok(world)
    }

    fn storage(&self) -> Believing {
        Believing { inner: self.disk.storage(), believes: Arc::clone(&self.believes) }
    }

    fn open(&mut self) -> Result<()> {
        self.log = Some(Log::open(self.storage(), &self.config)?);
        Ok(())
    }

    fn log(&self) -> Result<&Log<Believing>> {
        self.log.as_ref().ok_or(Error::new(Code::Closed, "an earlier opening failed"))
    }

    fn pin(&self) -> Result<Option<Pin>> {
        let mut found = None;
        pins::list(&self.storage(), &mut |info| {
            found = info.pin;
            Ok(())
        })?;
        Ok(found)
    }

    fn make(&mut self, call: Call) -> Result<()> {
        let last = self.log()?.last_seq();
        let outcome = match call {
            Call::Append => self.append(),
            Call::TruncateHalf => self.truncate(last / 2),
            Call::TruncateLast => self.truncate(last),
            Call::Reopen => {
                let closed = self.log.take().map_or(Ok(()), Log::close);
                if closed.is_ok() {
                    self.disk.acknowledge(last);
                }
                self.open()?;
                closed
            }
            Call::PinOldest => self.create(seq::OLDEST, Limit::default()),
            Call::PinMiddle => self.create(last.div_ceil(2), Limit::default()),
            Call::PinBrief => self.create(seq::OLDEST, Limit { max_bytes: LIMIT_BYTES, refuses: false }),
            Call::PinStrict => self.create(seq::OLDEST, Limit { max_bytes: LIMIT_BYTES, refuses: true }),
            Call::Advance | Call::AdvanceToLast => {
                let at = self.pin()?.map_or(0, |pin| pin.seq);
                let to = if call == Call::Advance { at + (last - at.min(last)) / 2 } else { last.max(at) };
                self.disk.mark(Mark::Note(ASKED_TO_ADVANCE, to));
                let outcome = pins::advance(&self.storage(), NAME, to);
                self.tell(outcome)
            }
            Call::Drop => {
                self.disk.mark(Mark::Note(ASKED_TO_DROP, 0));
                let outcome = pins::remove(&self.storage(), NAME);
                self.tell(outcome)
            }
        };
        if let Ok(log) = self.log() {
            self.disk.acknowledge(log.durable_seq());
        }
        outcome
    }

    /// Notes how a pin's call ended. One that an input or output error ended may have happened or not.
    fn tell(&self, outcome: Result<()>) -> Result<()> {
        match outcome {
            Ok(()) => self.disk.mark(Mark::Note(RETURNED, 0)),
            Err(error) if matches!(error.code, Code::NotFound | Code::Exists | Code::Gap | Code::Range) && error.os_error == 0 => {
                self.disk.mark(Mark::Note(REFUSED, 0));
            }
            Err(_) => {}
        }
        outcome
    }

    fn create(&self, seq: u64, limit: Limit) -> Result<()> {
        let name = PinName::new(NAME.as_bytes()).ok_or(Error::new(Code::Invalid, "name"))?;
        let from = if seq == seq::OLDEST { self.log()?.stat().floor_seq } else { seq.max(self.log()?.stat().floor_seq) };
        self.disk.mark(Mark::Note(MAY_BE_LOST, u64::from(limit.max_bytes > 0 && !limit.refuses)));
        self.disk.mark(Mark::Note(ASKED_TO_PIN, from));
        let outcome = pins::create(&self.storage(), name, seq, limit);
        if let Ok(pinned) = outcome {
            assert_eq!(pinned, from, "pinned elsewhere");
        }
        self.tell(outcome.map(|_| ()))
    }

    fn append(&mut self) -> Result<()> {
        let seq = self.log()?.last_seq() + 1;
        let value = value_of(seq, 2000);
        self.history.insert(seq, Known { op: OP_PUT, value: value.clone(), batch_last: seq });
        self.disk.mark(Mark::Appended(seq));
        let outcome = self.log()?.append(OP_PUT, b"", &value);
        outcome.map(|_| ())
    }

    fn truncate(&mut self, up_to: u64) -> Result<()> {
        self.disk.mark(Mark::Note(ASKED_TO_TRUNCATE, up_to));
        self.log()?.truncate(up_to, true)?;
        self.disk.mark(Mark::Floor(up_to));
        Ok(())
    }
}

/// What a refused call is no failure of the proof: there is no pin, or there is one, or it is lost; or a pin refuses appends.
fn is_expected(call: Call, error: &Error) -> bool {
    match call {
        Call::Append => error.code == Code::NoSpace,
        call if call.makes_pin() => matches!(error.code, Code::Exists | Code::Gap),
        Call::Advance | Call::AdvanceToLast => matches!(error.code, Code::NotFound | Code::Gap),
        Call::Drop => error.code == Code::NotFound,
        _ => false,
    }
}

/// What the pin may be after a crash at a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Allowed {
    /// What it was, and what the call under way makes it; the inner `None` is no pin.
    one: Option<u64>,
    other: Option<u64>,
    may_be_lost: bool,
}

impl Allowed {
    fn at(point: &Point) -> Allowed {
        let mut allowed = Allowed::default();
        let mut may_be_lost = false;
        for &mark in point.marks() {
            match mark {
                Mark::Note(MAY_BE_LOST, lost) => may_be_lost = lost == 1,
                Mark::Note(ASKED_TO_PIN, seq) => allowed.other = Some(seq),
                Mark::Note(ASKED_TO_ADVANCE, seq) => allowed.other = allowed.one.map(|_| seq),
                Mark::Note(ASKED_TO_DROP, _) => allowed.other = None,
                Mark::Note(RETURNED, _) => allowed.one = allowed.other,
                Mark::Note(REFUSED, _) => allowed.other = allowed.one,
                _ => {}
            }
            if matches!(mark, Mark::Note(ASKED_TO_PIN, _)) && allowed.one.is_none() {
                allowed.may_be_lost = may_be_lost;
            }
        }
        allowed
    }
}

/// How a storage call under way may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It fails, without effect.
    Fails(u64),
    /// The process dies in it.
    Dies(u64),
}

/// What was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    pub scripts: u64,
    pub states: u64,
    /// States after a second crash, in the opening after the first.
    pub deep: u64,
    /// States in which a pin kept what the host had forgotten.
    pub pinned: u64,
    /// States in which one was lost.
    pub lost: u64,
    pub faults: u64,
}

impl Tried {
    pub fn add(&mut self, more: Tried) {
        self.scripts += more.scripts;
        self.states += more.states;
        self.deep += more.deep;
        self.pinned += more.pinned;
        self.lost += more.lost;
        self.faults += more.faults;
    }
}

/// Runs a script and every crash in its last call; of a short one also, for one image of each point, every crash of the opening after it.
pub fn explore(setting: &Setting, script: &[Call], budget: &Budget) -> std::result::Result<Tried, Failure> {
    let mut world = verdict(|| World::new(setting))?;
    let mut first = 0;
    let ran = verdict(|| {
        for (at, &call) in setting.start.iter().chain(script).enumerate() {
            if at + 1 == setting.start.len() + script.len() {
                first = world.disk.operations() + 1;
            }
            match world.make(call) {
                Err(error) if !is_expected(call, &error) => return Err(error),
                Err(_) if call == Call::Append => {
                    let last = world.log()?.last_seq();
                    world.history.split_off(&(last + 1));
                }
                _ => {}
            }
        }
        if !setting.believes {
            world.disk.assert_ordered();
        }
        Ok(())
    });
    ran.map_err(|failure| format!("{failure}\n{setting:?} {script:?}, no crash\n{}", world.disk.trace()))?;
    drop(world.log.take());
    let mut tried = Tried { scripts: 1, ..Tried::default() };
    let trace = world.disk.trace();
    for point in trace.crash_points_from(first) {
        for (number, image) in point.images(budget).enumerate() {
            let outcome = verdict(|| examine(&image, &world, &point));
            let described =
                |failure: Failure| format!("{failure}\ncrash at point {}, image {number}, {setting:?} {script:?}\n{trace}", point.index());
            let (pinned, lost) = outcome.map_err(described)?;
            tried.states += 1;
            tried.pinned += u64::from(pinned);
            tried.lost += u64::from(lost);
            if number == 0 && script.len() < 3 {
                tried.deep += explore_opening(&image, &world, &point, budget).map_err(described)?;
            }
        }
    }
    Ok(tried)
}

/// A second crash, at every point of the opening after the first; how many states that are.
fn explore_opening(image: &Image, world: &World, point: &Point, budget: &Budget) -> std::result::Result<u64, Failure> {
    let disk = Disk::from_image(image, 7);
    verdict(|| Log::open(disk.storage(), &world.config).map(drop))?;
    let mut states = 0;
    let trace = disk.trace();
    for second in trace.crash_points_from(1) {
        for image in second.images(budget).take(4) {
            verdict(|| examine(&image, world, point)).map_err(|failure| format!("{failure}\nsecond crash\n{trace}"))?;
            states += 1;
        }
    }
    Ok(states)
}

/// Runs a script whose last call meets a fault, and holds what is then there against what was promised: on the same machine, and after a power cut.
pub fn with_fault(setting: &Setting, script: &[Call], wrong: Wrong) -> std::result::Result<Option<Tried>, Failure> {
    let mut world = verdict(|| World::new(setting))?;
    let (last, before) = script.split_last().ok_or("an empty script")?;
    let outcome = verdict(|| {
        for &call in setting.start.iter().chain(before) {
            if let Err(error) = world.make(call)
                && !is_expected(call, &error)
            {
                return Err(error);
            }
        }
        Ok(())
    });
    outcome?;
    match wrong {
        Wrong::Fails(nth) => world.disk.fail(Fault::nth(nth)),
        Wrong::Dies(nth) => world.disk.kill_at(world.disk.calls() + nth),
    }
    let _judged_by_what_is_there = world.make(*last);
    if world.disk.injected() == 0 {
        return Ok(None);
    }
    drop(world.log.take());
    world.disk.clear_faults();
    world.disk.assert_ordered();
    let point = world.disk.point();
    let described = |failure: Failure| format!("{failure}\n{wrong:?} in the last of {setting:?} {script:?}\n{}", world.disk.trace());
    let mut tried = Tried { faults: 1, ..Tried::default() };
    for image in [world.disk.durable_image(), world.disk.visible_image()] {
        let (pinned, _) = verdict(|| examine(&image, &world, &point)).map_err(described)?;
        tried.states += 1;
        tried.pinned += u64::from(pinned);
    }
    Ok(Some(tried))
}

/// Opens what a crash left; whether a pin keeps what the host has forgotten, and whether one is lost.
fn examine(image: &Image, world: &World, point: &Point) -> Result<(bool, bool)> {
    let (promised, allowed) = (Promised::at(point), Allowed::at(point));
    let disk = Disk::from_image(image, 7);
    // What the host is promised does not depend on pins.
    let (log, shown) = check_open(&disk, &world.config, &promised, &world.history)?;
    let mut found: Option<Pin> = None;
    pins::list(&disk.storage(), &mut |info| {
        assert!(found.is_none(), "two pins");
        found = Some(info.pin.expect("a damaged pin"));
        Ok(())
    })?;
    let seq = found.map(|pin| pin.seq);
    assert!(seq == allowed.one || seq == allowed.other, "the pin is {found:?}, not {allowed:?}");
    let is_lost = found.is_some_and(|pin| pin.lost_to.is_some());
    assert!(!is_lost || allowed.may_be_lost, "lost, but not limited");
    let stat = log.stat();
    let holds = found.filter(|pin| pin.holds()).map(|pin| pin.seq);
    assert_eq!(stat.pins.oldest, holds, "what the log knows of the pin");
    read_from(&log, holds.unwrap_or(shown.floor), shown.last, world)?;
    if holds.is_none_or(|seq| seq >= shown.floor) {
        assert_eq!(stat.pinned_bytes, 0, "nothing keeps what is kept");
    }
    // The host forgets everything, twice, with an opening between: the pin's records stay, and go when it goes.
    let pinned = holds.is_some_and(|seq| seq < shown.floor);
    if let Some(seq) = holds {
        log.truncate(shown.last, true)?;
        drop(log);
        let log = Log::open(disk.storage(), &world.config)?;
        let lost = holds_now(&disk)?.is_none();
        if !lost {
            read_from(&log, seq, shown.last, world)?;
        }
        assert!(!lost || allowed.may_be_lost, "the pin is gone");
        pins::remove(&disk.storage(), NAME)?;
        log.append(OP_PUT, b"", &value_of(1, 100))?;
        log.truncate(shown.last + 1, true)?;
        let stat = log.stat();
        assert_eq!((stat.pinned_bytes, stat.floor_seq), (0, shown.last + 1), "a dropped pin's segments stay");
        assert!(stat.segments <= 2, "{} segments stay", stat.segments);
        log.close()?;
    }
    disk.assert_ordered();
    Ok((pinned, is_lost))
}

fn holds_now(disk: &Disk) -> Result<Option<u64>> {
    let mut holds = None;
    pins::list(&disk.storage(), &mut |info| {
        holds = info.pin.filter(Pin::holds).map(|pin| pin.seq);
        Ok(())
    })?;
    Ok(holds)
}

/// Everything above `after` is there, in order, with its bytes.
fn read_from(log: &Log<SimStorage>, after: u64, last: u64, world: &World) -> Result<()> {
    let options = ReplayOptions { pinned: true, raw: true, ..ReplayOptions::default() };
    let mut cursor = log.replay(after, options)?;
    let mut next = after + 1;
    while let Some(record) = cursor.next()? {
        assert_eq!(record.seq, next, "a hole behind a pin");
        assert_eq!(Some(record.value), world.history.get(&record.seq).map(|known| &known.value[..]), "wrong bytes in seq {next}");
        next += 1;
    }
    assert_eq!(next, last + 1, "the replay from a pin ends early");
    Ok(())
}
