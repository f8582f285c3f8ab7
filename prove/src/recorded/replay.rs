//! From a recording to a trace of the simulated disk: each recorded call is made there once more. The simulated disk then knows which states a crash
//! could have left at each moment, and its monitor watches the order of the calls.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use wal_engine::config::{Config, OpenKind, Recovery, SyncMode};
use wal_engine::format::constants::OP_CHECKPOINT;
use wal_engine::names::FileName;
use wal_engine::storage::{Access, File, IoError, IoKind, Storage};
use wal_sim::{Disk, Mark, Point, SimFile, SimStorage, Trace};

use super::script::{LOG_DIR, O_CREAT, O_DIRECT, O_TMPFILE, O_TRUNC, Record, Recording, Told};
use crate::host::{History, Known, Promised, value_of};

const AT_FDCWD: i32 = -100;
/// Where writes past the cache begin and end.
const BLOCK: u64 = 4096;
const SECTOR: usize = 512;
/// Marks of the simulated disk: the number of the moment that begins, and that of the record that comes.
const MOMENT: u32 = 100;
const RECORD: u32 = 101;

/// What the host knew and was promised at some moment.
#[derive(Clone, Debug, Default)]
pub struct Moment {
    pub promised: Promised,
    pub history: Arc<History>,
    /// Whether the name of the log's directory is durable. As long as it is not, a crash may leave nothing at all.
    pub named: bool,
    /// Whether a log was opened: from then on there is one, even if nothing was ever appended.
    pub exists: bool,
    /// Whether it was closed, and nobody has opened it since.
    pub closed: bool,
    /// If the log was damaged, so that it is opened in prefix mode: the records that were shown or acknowledged since.
    pub kept: Option<Arc<BTreeSet<u64>>>,
}

/// A record that a replay through the library showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShownRecord {
    pub seq: u64,
    pub batch_last: u64,
    pub op: u8,
    pub sum: u64,
}

/// A recording, made on the simulated disk.
pub struct Replayed {
    pub trace: Trace,
    pub moments: Vec<Moment>,
    /// What the monitor found.
    pub violations: Vec<String>,
    /// The last opening: last seq, floor, checkpoint.
    pub opened: Option<(u64, u64, u64)>,
    pub shown: Vec<ShownRecord>,
    pub skipped: usize,
}

impl Replayed {
    /// What was known at a point.
    pub fn moment(&self, point: &Point) -> &Moment {
        let number = point.highest(|mark| if let Mark::Note(MOMENT, number) = mark { Some(number) } else { None });
        &self.moments[number.unwrap_or(0) as usize]
    }

    /// The number of the point at which this record was about to be made.
    pub fn point_before(&self, record: usize) -> usize {
        let place = self.trace.marks().find(|&(_, mark)| mark == Mark::Note(RECORD, record as u64));
        place.map_or(self.trace.ops().len(), |(place, _)| place)
    }
}

enum Opened {
    Directory,
    Parent,
    /// A file without a name: it is gone when it is closed, and a crash leaves nothing of it.
    Nameless,
    /// Whether it is written past the system's cache.
    File(SimFile, bool),
}

struct Replay<'a> {
    config: &'a Config,
    disk: Disk,
    storage: SimStorage,
    opened: HashMap<i32, Opened>,
    moment: Moment,
    /// The last seq that the last opening showed.
    opened_last: u64,
    out: Replayed,
}

/// The value's checksum as prove/c/host.c makes it: 56 bits.
pub fn sum_of(value: &[u8]) -> u64 {
    value.iter().fold(0xcbf2_9ce4_8422_2325u64, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)) >> 8
}

/// Makes the calls of a recording on a simulated disk. Panics where a call is not understood or answers otherwise than it did, and where the files
/// in the end are not those that the library left: then the recorder has missed something.
pub fn replay(recording: &Recording) -> Replayed {
    let (image, moment) = recording.script.base.clone().unwrap_or_default();
    let disk = Disk::from_image(&image, 5);
    let config = recording.script.config();
    let trace = disk.trace();
    let out = Replayed { trace, moments: Vec::new(), violations: Vec::new(), opened: None, shown: Vec::new(), skipped: 0 };
    let mut replay = Replay { config: &config, storage: disk.storage(), disk, opened: HashMap::new(), moment, opened_last: 0, out };
    replay.now();
    for (number, record) in recording.records.iter().enumerate() {
        replay.disk.mark(Mark::Note(RECORD, number as u64));
        if let Err(error) = replay.make(record) {
            panic!("{:?}: record {number}, {record:?}: {error:?}\n{}", recording.script, replay.disk.trace());
        }
    }
    let visible = replay.disk.visible_image();
    let files: BTreeMap<FileName, Vec<u8>> = visible.names().map(|name| (name, visible.read(name).unwrap_or_default().to_vec())).collect();
    if files != recording.files {
        let differ = |name: &&FileName| files.get(name) != recording.files.get(name);
        let names: Vec<&FileName> = files.keys().chain(recording.files.keys()).filter(differ).collect();
        panic!("{:?}: the recorder has missed something: {names:?} differ\n{}", recording.script, replay.disk.trace());
    }
    let Replay { disk, mut out, .. } = replay;
    out.trace = disk.trace();
    // What the host's own damage does to the order says nothing about the log.
    if out.moments.last().is_some_and(|moment| moment.kept.is_none()) {
        out.violations.extend(disk.violations().iter().map(|violation| violation.to_string()));
    }
    out
}

fn file_name(name: &str) -> FileName {
    FileName::parse(name.as_bytes()).unwrap_or_else(|| panic!("{name} is not a name of the log's"))
}

impl Replay<'_> {
    /// From here on another moment is in force.
    fn now(&mut self) {
        self.disk.mark(Mark::Note(MOMENT, self.out.moments.len() as u64));
        self.out.moments.push(self.moment.clone());
    }

    fn file(&self, fd: i32) -> &SimFile {
        match self.opened.get(&fd) {
            Some(Opened::File(file, _)) => file,
            _ => panic!("descriptor {fd} is no file of the log's"),
        }
    }

    /// What a write of whole blocks changes. The rest is there already, and the cache of the system writes it again in the same way: whole blocks are all
    /// that a disk takes.
    fn changed<'a>(&self, fd: i32, offset: u64, bytes: &'a [u8]) -> Result<(u64, &'a [u8]), IoError> {
        let mut there = vec![0; bytes.len()];
        let read = self.file(fd).read_at(offset, &mut there)?;
        assert_eq!(read, there.len(), "a write past the cache reaches behind the end of its file");
        let differs = |(new, old): (&u8, &u8)| new != old;
        let first = bytes.iter().zip(&there).position(differs).unwrap_or(bytes.len());
        let end = bytes.iter().zip(&there).rposition(differs).map_or(first, |last| last + 1);
        Ok((offset + first as u64, &bytes[first..end]))
    }

    fn in_log(&self, directory: i32) {
        assert!(matches!(self.opened.get(&directory), Some(Opened::Directory)), "descriptor {directory} is not the log's directory");
    }

    fn make(&mut self, record: &Record) -> Result<(), IoError> {
        match record {
            Record::Told(told) => self.told(*told),
            Record::Open { directory, name, flags, fd } => {
                assert!(flags & O_TRUNC == 0, "a file was cut while it was opened");
                let opened = self.open(*directory, name, *flags)?;
                self.opened.insert(*fd, opened);
            }
            Record::Close { fd } => {
                self.opened.remove(fd);
            }
            Record::MakeDirectory { path } => assert!(path == LOG_DIR, "the directory {path} was made"),
            Record::Write { fd, .. } if matches!(self.opened.get(fd), Some(Opened::Nameless)) => {}
            Record::Write { fd, offset, bytes } => {
                let direct = matches!(self.opened.get(fd), Some(Opened::File(_, true)));
                // A write that was made to fail ends between sectors.
                let in_blocks = offset.is_multiple_of(BLOCK) && bytes.len().is_multiple_of(SECTOR);
                assert!(in_blocks || !direct, "{} bytes at {offset} were written past the cache", bytes.len());
                let (offset, bytes) = if direct { self.changed(*fd, *offset, bytes)? } else { (*offset, bytes.as_slice()) };
                self.file(*fd).write_at(offset, bytes)?;
            }
            Record::Allocate { fd, mode, offset, len } => {
                assert!((*mode, *offset) == (0, 0), "space was allocated in a way that is not understood");
                // Of an empty file: its size, and zeros.
                self.file(*fd).fill_zeros(*len)?;
            }
            Record::Sync { skipped: true, .. } => self.out.skipped += 1,
            Record::Sync { fd, .. } => match self.opened.get(fd) {
                Some(Opened::File(file, _)) => file.sync()?,
                Some(Opened::Directory) => self.storage.sync_dir()?,
                Some(Opened::Parent) => {
                    self.moment.named = true;
                    self.now();
                }
                Some(Opened::Nameless) | None => panic!("a stranger was synced"),
            },
            Record::Rename { directory, from, to } => {
                self.in_log(*directory);
                self.storage.rename(file_name(from), file_name(to))?;
            }
            Record::Unlink { directory, name } => {
                self.in_log(*directory);
                self.storage.remove(file_name(name))?;
            }
            Record::Other { name } => panic!("{name} was called, which nobody has taught this reader"),
        }
        Ok(())
    }

    fn open(&self, directory: i32, name: &str, flags: u64) -> Result<Opened, IoError> {
        if directory == AT_FDCWD {
            assert!(name == LOG_DIR, "{name} was opened");
            return Ok(Opened::Directory);
        }
        self.in_log(directory);
        match name {
            "." if flags & O_TMPFILE != 0 => return Ok(Opened::Nameless),
            "." => return Ok(Opened::Directory),
            ".." => return Ok(Opened::Parent),
            _ => {}
        }
        let name = file_name(name);
        match self.storage.open(name, Access::Write) {
            Err(IoError { kind: IoKind::NotFound, .. }) if flags & O_CREAT != 0 => self.storage.create(name),
            opened => opened,
        }
        .map(|file| Opened::File(file, flags & O_DIRECT != 0))
    }

    fn told(&mut self, told: Told) {
        let promised = &mut self.moment.promised;
        match told {
            Told::Script { .. } | Told::End => return,
            Told::Life => {
                self.opened.clear();
                self.storage = self.disk.storage();
                return;
            }
            Told::Opened { last, floor, checkpoint } => {
                self.out.opened = Some((last, floor, checkpoint));
                self.opened_last = last;
                // What an opening shows is durable, and what it does not show is gone.
                promised.durable = promised.durable.max(last);
                promised.appended = last;
                self.moment.exists = true;
                Arc::make_mut(&mut self.moment.history).split_off(&(last + 1));
                self.disk.acknowledge(last);
            }
            Told::Appending { first, count, op, len } => {
                let batch_last = first + count - 1;
                let history = Arc::make_mut(&mut self.moment.history);
                history.split_off(&first);
                history.extend((first..=batch_last).map(|seq| {
                    let value = if op == OP_CHECKPOINT { Vec::new() } else { value_of(seq, len) };
                    (seq, Known { op, value, batch_last })
                }));
                promised.appended = batch_last;
            }
            Told::Refused { first } => {
                Arc::make_mut(&mut self.moment.history).split_off(&first);
                promised.appended = first - 1;
            }
            Told::Durable { seq } => {
                promised.durable = promised.durable.max(seq);
                if let Some(kept) = &mut self.moment.kept {
                    let appended = self.moment.history.range(self.opened_last + 1..).map(|(&appended, _)| appended);
                    Arc::make_mut(kept).extend(appended.filter(|&appended| appended <= seq));
                }
                self.disk.acknowledge(seq);
            }
            Told::Checkpoint { n } => promised.checkpoint = promised.checkpoint.max(n),
            Told::Truncating { up_to } => promised.asked_floor = promised.asked_floor.max(up_to),
            Told::Truncated { up_to } => {
                promised.floor = promised.floor.max(up_to);
                // What is forgotten was made durable first.
                promised.durable = promised.durable.max(up_to);
                self.disk.acknowledge(up_to);
            }
            Told::Closed => self.moment.closed = true,
            Told::Opening => self.moment.closed = false,
            Told::Shown { seq, batch_last, op, sum } => {
                // A CHECKPOINT's value is the log's own.
                self.out.shown.push(ShownRecord { seq, batch_last, op, sum: if op == OP_CHECKPOINT { 0 } else { sum } });
                match &mut self.moment.kept {
                    Some(kept) => Arc::make_mut(kept).insert(seq),
                    None => return,
                };
            }
            Told::Step => {
                if self.config.sync_mode == SyncMode::Always {
                    self.disk.check_at_rest();
                }
                return;
            }
            Told::Damage => {
                // Only what the opening that follows shows is promised.
                *promised = Promised { durable: 0, checkpoint: 0, floor: 0, ..*promised };
                self.moment.kept = Some(Arc::default());
                self.moment.exists = false;
            }
        }
        self.now();
    }
}

/// What a replay of what `history` says between `floor` and `last` shows.
pub fn expected_of(history: &History, floor: u64, last: u64) -> Vec<ShownRecord> {
    let records = history.range(floor + 1..last + 1);
    let sum = |known: &Known| if known.op == OP_CHECKPOINT { 0 } else { sum_of(&known.value) };
    records.map(|(&seq, known)| ShownRecord { seq, batch_last: known.batch_last, op: known.op, sum: sum(known) }).collect()
}

/// The configuration under which what a crash leaves is opened.
pub fn config_at(moment: &Moment, config: &Config) -> Config {
    Config {
        recovery: if moment.kept.is_some() { Recovery::Prefix } else { config.recovery },
        open: if moment.exists { OpenKind::Existing } else { config.open },
        ..*config
    }
}
