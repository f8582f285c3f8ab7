//! A log that another process reads while it is written: the reader looks in front of each storage call of the writer and amid each of its writes, and the
//! writer does all that it has to do in front of each call of the reader. What is shown was appended, comes in order and is durable; and nothing is missing
//! but what the host has forgotten. Prints how many moments it tried.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use wal_engine::config::{Config, OpenKind, SyncMode};
use wal_engine::error::Code;
use wal_engine::format::constants::{OP_CHECKPOINT, OP_PUT};
use wal_engine::log::{Durability, Entry, Log, Replay, ReplayOptions};
use wal_engine::seq;
use wal_prove::host::{config, value_of};
use wal_prove::watched::{Watched, Watcher};
use wal_sim::Disk;

/// What the writer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Append,
    /// Large enough that the next one of its kind needs another segment.
    AppendRotating,
    Batch,
    Sync,
    Checkpoint,
    TruncateHalf,
    TruncateLast,
    Publish,
    Reopen,
    /// The process ends without closing the log, and another one opens it.
    Kill,
}

const STEPS: [Step; 10] = [
    Step::Append,
    Step::AppendRotating,
    Step::Batch,
    Step::Sync,
    Step::Checkpoint,
    Step::TruncateHalf,
    Step::TruncateLast,
    Step::Publish,
    Step::Reopen,
    Step::Kill,
];

/// One segment; and several, some of them forgotten, with others to be recycled.
const STARTS: [&[Step]; 2] = [
    &[Step::Append, Step::Append],
    &[Step::AppendRotating, Step::AppendRotating, Step::AppendRotating, Step::TruncateHalf, Step::AppendRotating, Step::Append],
];

const MODES: [SyncMode; 2] = [SyncMode::Always, SyncMode::Os];

/// Every script of so many steps.
fn scripts(len: usize) -> Vec<Vec<Step>> {
    (0..len).fold(vec![Vec::new()], |all, _| all.iter().flat_map(|script| STEPS.map(|step| [&script[..], &[step]].concat())).collect())
}

/// What both processes are judged by.
#[derive(Default)]
struct Truth {
    /// Everything that was handed over and not lost with a process: operation and value.
    records: BTreeMap<u64, (u8, Vec<u8>)>,
    /// The highest seq that the writer was asked to forget.
    asked_floor: u64,
}

struct Writer {
    disk: Disk,
    watcher: Watcher,
    config: Config,
    log: Option<Log<Watched>>,
    truth: Arc<Mutex<Truth>>,
    /// Processes before this one: the same seq has other bytes in each.
    life: u64,
}

impl Writer {
    fn begin(mode: SyncMode, start: &[Step]) -> Writer {
        let (disk, watcher, config) = (Disk::new(7), Watcher::default(), config(mode, true));
        let log = Log::open(watcher.storage(&disk), &config).unwrap();
        let mut writer = Writer { disk, watcher, config, log: Some(log), truth: Arc::default(), life: 0 };
        start.iter().for_each(|&step| writer.step(step));
        writer
    }

    fn log(&self) -> &Log<Watched> {
        self.log.as_ref().unwrap()
    }

    fn append(&self, lens: &[usize]) {
        let first = self.log().last_seq() + 1;
        let values: Vec<Vec<u8>> = (first..).zip(lens).map(|(seq, &len)| value_of(seq + 57 * self.life, len)).collect();
        self.truth.lock().unwrap().records.extend((first..).zip(values.iter().map(|value| (OP_PUT, value.clone()))));
        let entries: Vec<Entry<'_>> = values.iter().map(|value| Entry { op: OP_PUT, key: b"", value }).collect();
        match &entries[..] {
            [one] => self.log().append(OP_PUT, b"", one.value).map(drop).unwrap(),
            several => self.log().append_batch(several, Durability::Mode).map(drop).unwrap(),
        }
    }

    fn truncate(&self, up_to: u64) {
        self.truth.lock().unwrap().asked_floor = up_to;
        self.log().truncate(up_to, true).unwrap();
    }

    fn step(&mut self, step: Step) {
        let last = self.log().last_seq();
        match step {
            Step::Append => self.append(&[200]),
            Step::AppendRotating => self.append(&[2000]),
            Step::Batch => self.append(&[100, 100, 100]),
            Step::Sync => self.log().sync(seq::LAST).unwrap(),
            Step::Checkpoint => {
                self.truth.lock().unwrap().records.insert(last + 1, (OP_CHECKPOINT, Vec::new()));
                self.log().checkpoint(seq::LAST).map(drop).unwrap();
            }
            Step::TruncateHalf => {
                let asked = self.truth.lock().unwrap().asked_floor;
                self.truncate(asked.max(last / 2));
            }
            Step::TruncateLast => self.truncate(last),
            Step::Publish => self.log().publish().unwrap(),
            Step::Reopen => {
                self.log.take().unwrap().close().unwrap();
                self.open_again();
            }
            Step::Kill => {
                drop(self.log.take());
                self.open_again();
                self.life += 1;
            }
        }
    }

    fn open_again(&mut self) {
        let log = Log::open(self.watcher.storage(&self.disk), &self.config).unwrap();
        // What this opening does not have is gone for good, and its seqs are given out again.
        self.truth.lock().unwrap().records.split_off(&(log.last_seq() + 1));
        self.log = Some(log);
    }
}

/// A reader in another process, with a cursor.
struct Reader {
    log: Log<Watched>,
    cursor: Replay<Watched>,
    /// The next seq; not known in front of the oldest one.
    next: Option<u64>,
    shown: BTreeMap<u64, (u8, Vec<u8>)>,
}

impl Reader {
    fn open(disk: &Disk, watcher: &Watcher) -> Reader {
        let live = Config { open: OpenKind::Live, ..config(SyncMode::Always, true) };
        let log = Log::open(watcher.storage(disk), &live).unwrap_or_else(|error| panic!("cannot be opened: {error}"));
        let cursor = oldest(&log);
        Reader { log, cursor, next: None, shown: BTreeMap::new() }
    }

    /// Shows what there is. Was it overtaken, it begins anew; returns how often.
    fn read_on(&mut self, truth: &Mutex<Truth>) -> u64 {
        let mut overtaken = 0;
        loop {
            match self.cursor.next() {
                Ok(Some(record)) => {
                    let truth = truth.lock().unwrap();
                    match self.next {
                        Some(next) => assert_eq!(record.seq, next, "a hole"),
                        None => {
                            assert!(record.seq <= truth.asked_floor + 1, "begins with {}, {} is forgotten", record.seq, truth.asked_floor)
                        }
                    }
                    let (op, value) = truth.records.get(&record.seq).unwrap_or_else(|| panic!("invented: seq {}", record.seq));
                    assert_eq!(record.op, *op, "seq {}", record.seq);
                    assert!(record.op == OP_CHECKPOINT || record.value == *value, "wrong bytes in seq {}", record.seq);
                    let before = self.shown.insert(record.seq, (*op, value.clone()));
                    assert!(before.is_none_or(|before| before == (*op, value.clone())), "seq {} has changed", record.seq);
                    self.next = Some(record.seq + 1);
                }
                Ok(None) => return overtaken,
                Err(error) => {
                    assert_eq!(error.code, Code::Gap, "{error}");
                    let floor = truth.lock().unwrap().asked_floor;
                    assert!(self.next.is_none_or(|next| next <= floor), "a gap at {:?}, {floor} is forgotten", self.next);
                    overtaken += 1;
                    assert!(overtaken < 3, "a reader that begins at the oldest record has a gap: {error}");
                    self.cursor = oldest(&self.log);
                    self.next = None;
                }
            }
        }
    }

    /// What was shown must be there if the power fails now.
    fn is_durable(&self, disk: &Disk) {
        if let Some((&last, _)) = self.shown.last_key_value() {
            let log = Log::open(Disk::from_image(&disk.durable_image(), 3).storage(), &config(SyncMode::Always, true)).unwrap();
            assert!(log.last_seq() >= last, "{last} was shown, {} is durable", log.last_seq());
        }
    }

    /// What was shown is what the log has in the end, as far as it was not forgotten; and all that the log has was shown.
    fn end(mut self, truth: &Mutex<Truth>) {
        self.read_on(truth);
        let truth = truth.lock().unwrap();
        for (seq, shown) in self.shown.range(truth.asked_floor + 1..) {
            assert_eq!(truth.records.get(seq), Some(shown), "seq {seq} was shown, and is another now");
        }
        let shown = self.shown.last_key_value().map_or(0, |(&last, _)| last);
        let last = truth.records.last_key_value().map_or(0, |(&last, _)| last);
        assert!(shown == last || last <= truth.asked_floor, "ends with {shown} instead of {last}");
    }
}

fn oldest(log: &Log<Watched>) -> Replay<Watched> {
    log.replay(seq::OLDEST, ReplayOptions { raw: true, ..ReplayOptions::default() }).unwrap()
}

#[derive(Default)]
struct Tried {
    moments: AtomicU64,
    overtaken: AtomicU64,
    records: AtomicU64,
}

/// Readers that look at every moment, at a few, or once in the middle and once at the end.
struct Audience {
    disk: Disk,
    truth: Arc<Mutex<Truth>>,
    always: Reader,
    others: Vec<Reader>,
    tried: Arc<Tried>,
}

/// How many moments later a reader looks again.
const LATER: usize = 5;

impl Audience {
    fn look(&mut self) {
        let number = self.tried.moments.fetch_add(1, Ordering::Relaxed);
        let mut fresh = Reader::open(&self.disk, &Watcher::default());
        fresh.read_on(&self.truth);
        let mut overtaken = self.always.read_on(&self.truth);
        let last = |reader: &Reader| reader.shown.last_key_value().map_or(0, |(&last, _)| last);
        let asked_floor = self.truth.lock().unwrap().asked_floor;
        assert!(last(&fresh).max(asked_floor) >= last(&self.always), "who begins now sees less than who was there");
        // A later record does not become less durable: one look in three is enough.
        if number.is_multiple_of(3) {
            fresh.is_durable(&self.disk);
        }
        self.others.push(fresh);
        if let Some(later) = self.others.len().checked_sub(LATER + 1) {
            overtaken += self.others[later].read_on(&self.truth);
        }
        self.tried.overtaken.fetch_add(overtaken, Ordering::Relaxed);
    }
}

/// All scripts behind all starts, in both modes, on two threads.
fn spread(longest: usize, judge: impl Fn(SyncMode, &[Step], &[Step]) + Sync) {
    let scripts: Vec<Vec<Step>> = (1..=longest).flat_map(scripts).collect();
    thread::scope(|scope| {
        for part in [0, 1] {
            let (judge, scripts) = (&judge, &scripts);
            scope.spawn(move || {
                for script in scripts.iter().skip(part).step_by(2) {
                    for start in STARTS {
                        MODES.into_iter().for_each(|mode| judge(mode, start, script));
                    }
                }
            });
        }
    });
}

#[test]
fn readers_look_at_every_moment() {
    let tried = Arc::new(Tried::default());
    spread(3, |mode, start, script| {
        let mut writer = Writer::begin(mode, start);
        let mut always = Reader::open(&writer.disk, &Watcher::default());
        always.read_on(&writer.truth);
        let (disk, truth) = (writer.disk.clone(), Arc::clone(&writer.truth));
        let audience = Arc::new(Mutex::new(Some(Audience { disk, truth, always, others: Vec::new(), tried: Arc::clone(&tried) })));
        let watching = Arc::clone(&audience);
        writer.watcher.set_moment(move || watching.lock().unwrap().as_mut().unwrap().look());
        script.iter().for_each(|&step| writer.step(step));
        writer.watcher.clear_moment();
        let Audience { always, others, .. } = audience.lock().unwrap().take().unwrap();
        writer.log.take().unwrap().close().unwrap();
        for reader in others.into_iter().chain([always]) {
            tried.records.fetch_add(reader.shown.len() as u64, Ordering::Relaxed);
            reader.end(&writer.truth);
        }
    });
    let [moments, overtaken, records] = [&tried.moments, &tried.overtaken, &tried.records].map(|count| count.load(Ordering::Relaxed));
    println!("tally: live {moments} moments in which {records} records were read, {overtaken} readers overtaken");
    assert!(moments > 100_000 && overtaken > 200 && records > 300_000, "this test tried next to nothing");
}

/// The other way round: the reader is held up in each of its calls, from its opening on, while the writer goes on.
#[test]
fn the_writer_goes_on_amid_each_call_of_a_reader() {
    let (calls, overtaken) = (AtomicU64::new(0), AtomicU64::new(0));
    spread(3, |mode, start, script| {
        for at in 1.. {
            let writer = Writer::begin(mode, start);
            let (disk, truth) = (writer.disk.clone(), Arc::clone(&writer.truth));
            let writer = Arc::new(Mutex::new(writer));
            let watcher = Watcher::default();
            let called = Arc::new(AtomicU64::new(0));
            let goes_on = {
                let (writer, script, called) = (Arc::clone(&writer), script.to_vec(), Arc::clone(&called));
                move || {
                    if called.fetch_add(1, Ordering::Relaxed) + 1 == at {
                        let mut writer = writer.lock().unwrap();
                        script.iter().for_each(|&step| writer.step(step));
                    }
                }
            };
            watcher.set_moment(goes_on);
            let mut reader = Reader::open(&disk, &watcher);
            for _ in 0..2 {
                overtaken.fetch_add(reader.read_on(&truth), Ordering::Relaxed);
            }
            reader.is_durable(&disk);
            watcher.clear_moment();
            let log = mem::take(&mut writer.lock().unwrap().log).unwrap();
            log.close().unwrap();
            reader.end(&truth);
            if called.load(Ordering::Relaxed) < at {
                break;
            }
            calls.fetch_add(1, Ordering::Relaxed);
        }
    });
    let [calls, overtaken] = [&calls, &overtaken].map(|count| count.load(Ordering::Relaxed));
    println!("tally: live-calls {calls} calls of readers amid which a writer went on, {overtaken} readers overtaken");
    assert!(calls > 100_000 && overtaken > 10_000, "this test tried next to nothing");
}
