//! Scripts for the host in C, and what the recorder took down while it ran them.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use wal_engine::config::{Config, Recovery, SyncMode};
use wal_engine::names::FileName;
use wal_sim::Image;

use super::replay::Moment;
use super::tools::Tools;
use crate::host::{Step, config};

/// Who makes the directory of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    Log,
    /// The host, and nobody syncs its name.
    Host,
}

/// A run of the host.
#[derive(Clone, Debug)]
pub struct Script {
    pub mode: SyncMode,
    /// Whether segments are written past the system's cache.
    pub direct: bool,
    pub segment_bytes: u64,
    pub recycle: bool,
    pub recovery: Recovery,
    pub maker: Maker,
    /// The number of the call at which the first process dies; 0: it does not.
    pub die_at: u64,
    /// As prove/c/host.c has them.
    pub steps: String,
    /// What is on the disk at first and what was promised of it; without it, not even the directory is.
    pub base: Option<(Image, Moment)>,
}

impl Script {
    pub fn new(mode: SyncMode, recycle: bool, steps: &str) -> Script {
        Script {
            mode,
            direct: false,
            segment_bytes: 4096,
            recycle,
            recovery: Recovery::Strict,
            maker: Maker::Log,
            die_at: 0,
            steps: steps.into(),
            base: None,
        }
    }

    /// The configuration with which the simulated disk is opened.
    pub fn config(&self) -> Config {
        Config { segment_bytes: self.segment_bytes, ..config(self.mode, self.recycle) }
    }

    fn line(&self, dir: &Path) -> String {
        let mode = match self.mode {
            SyncMode::Always => 'a',
            SyncMode::Batch => 'b',
            SyncMode::Os => 'o',
            SyncMode::None => 'n',
        };
        let mode = if self.direct { mode.to_ascii_uppercase() } else { mode };
        let recycling = if self.recycle { 'r' } else { '-' };
        let recovery = if self.recovery == Recovery::Prefix { 'p' } else { 's' };
        let maker = match (&self.base, self.maker) {
            (Some(_), _) => 'e',
            (None, Maker::Log) => 'l',
            (None, Maker::Host) => 'h',
        };
        let steps = if self.steps.is_empty() { "-" } else { &self.steps };
        format!("{} {mode} {} {recycling} {recovery} {maker} {} {steps}\n", dir.display(), self.segment_bytes, self.die_at)
    }
}

/// The letter of a step in scripts.
pub fn letter(step: Step) -> char {
    match step {
        Step::Append => 'a',
        Step::AppendRotating => 'r',
        Step::Batch => 'b',
        Step::Sync => 's',
        Step::CheckpointLast => 'c',
        Step::CheckpointBefore => 'k',
        Step::TruncateHalf => 'h',
        Step::TruncateLast => 't',
        Step::Reopen => 'o',
    }
}

/// Marks, as prove/c/host.c has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Script { maker: u8 },
    Life,
    Opened { last: u64, floor: u64, checkpoint: u64 },
    Appending { first: u64, count: u64, op: u8, len: usize },
    Refused { first: u64 },
    Durable { seq: u64 },
    Checkpoint { n: u64 },
    Truncating { up_to: u64 },
    Truncated { up_to: u64 },
    Shown { seq: u64, batch_last: u64, op: u8, sum: u64 },
    Step,
    Damage,
    Closed,
    Opening,
    End,
}

impl Told {
    fn new(kind: i32, [a, b, c]: [u64; 3]) -> Told {
        match kind {
            1 => Told::Script { maker: a as u8 },
            2 => Told::Life,
            3 => Told::Opened { last: a, floor: b, checkpoint: c },
            4 => Told::Appending { first: a, count: b, op: (c >> 32) as u8, len: c as u32 as usize },
            5 => Told::Refused { first: a },
            6 => Told::Durable { seq: a },
            7 => Told::Checkpoint { n: a },
            8 => Told::Truncating { up_to: a },
            9 => Told::Truncated { up_to: a },
            10 => Told::Shown { seq: a, batch_last: b, op: (c >> 56) as u8, sum: c << 8 >> 8 },
            11 => Told::Step,
            12 => Told::Damage,
            13 => Told::Closed,
            14 => Told::Opening,
            15 => Told::End,
            _ => panic!("the host made a mark of kind {kind}"),
        }
    }
}

/// One record. Descriptors are the process's own numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Told(Told),
    Open {
        directory: i32,
        name: String,
        flags: u64,
        fd: i32,
    },
    Close {
        fd: i32,
    },
    MakeDirectory {
        path: String,
    },
    Write {
        fd: i32,
        offset: u64,
        bytes: Vec<u8>,
    },
    Allocate {
        fd: i32,
        mode: u64,
        offset: u64,
        len: u64,
    },
    /// The way through the library, innermost call first; whether the recorder left it out.
    Sync {
        fd: i32,
        way: Vec<u64>,
        skipped: bool,
    },
    Rename {
        directory: i32,
        from: String,
        to: String,
    },
    Unlink {
        directory: i32,
        name: String,
    },
    Other {
        name: String,
    },
}

impl Record {
    fn without_path(mut self, dir: &str) -> Record {
        if let Record::Open { name: path, .. } | Record::MakeDirectory { path } = &mut self
            && path == dir
        {
            *path = LOG_DIR.into();
        }
        self
    }

    /// Whether the process could be told to die at it.
    pub fn changes(&self) -> bool {
        match self {
            Record::Told(_) | Record::Close { .. } => false,
            Record::Open { flags, .. } => flags & O_CREAT != 0,
            _ => true,
        }
    }
}

pub const O_CREAT: u64 = 0o100;
pub const O_TRUNC: u64 = 0o1000;
/// Without O_DIRECTORY, which is part of it.
pub const O_TMPFILE: u64 = 0o20000000;
/// Of the machines that the recorder is built for; others have another number.
pub const O_DIRECT: u64 = if cfg!(any(target_arch = "arm", target_arch = "aarch64")) { 0o200000 } else { 0o40000 };

/// What stands in records for the path of the log's directory, which is another in every run.
pub const LOG_DIR: &str = "LOG";

/// What a script left behind.
#[derive(Clone, Debug)]
pub struct Recording {
    pub script: Script,
    pub records: Vec<Record>,
    /// The files in the directory at the end.
    pub files: BTreeMap<FileName, Vec<u8>>,
}

/// Cuts a file of records into those of each script.
fn parse(mut bytes: &[u8]) -> Vec<Vec<Record>> {
    let mut scripts: Vec<Vec<Record>> = Vec::new();
    while !bytes.is_empty() {
        let record = take_record(&mut bytes).unwrap_or_else(|| panic!("the record ends in the middle"));
        if matches!(record, Record::Told(Told::Script { .. })) {
            scripts.push(Vec::new());
        }
        scripts.last_mut().unwrap_or_else(|| panic!("the record begins without a mark")).push(record);
    }
    scripts
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(take(bytes, 4)?.try_into().ok()?))
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(take(bytes, 8)?.try_into().ok()?))
}

/// `record_t` of prove/c/record.h.
fn take_record(bytes: &mut &[u8]) -> Option<Record> {
    let call = take_u32(bytes)?;
    let fd = take_u32(bytes)? as i32;
    let result = take_u64(bytes)? as i64;
    let [a, b, c] = [take_u64(bytes)?, take_u64(bytes)?, take_u64(bytes)?];
    let (name_len, data_len) = (take_u32(bytes)? as usize, take_u32(bytes)? as usize);
    let name = String::from_utf8_lossy(take(bytes, name_len)?).into_owned();
    let data = take(bytes, data_len)?;
    Some(match call {
        1 => Record::Told(Told::new(fd, [a, b, c])),
        2 => Record::Open { directory: fd, name, flags: a, fd: result as i32 },
        3 => Record::Close { fd },
        4 => Record::MakeDirectory { path: name },
        5 => Record::Write { fd, offset: a, bytes: data.to_vec() },
        6 => Record::Allocate { fd, mode: a, offset: b, len: c },
        7 | 8 => {
            let way = data.chunks_exact(8).map(|frame| frame.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte))).collect();
            Record::Sync { fd, way, skipped: call == 8 }
        }
        9 => {
            let (from, to) = name.split_once('\0')?;
            Record::Rename { directory: fd, from: from.into(), to: to.into() }
        }
        10 => Record::Unlink { directory: fd, name },
        11 => Record::Other { name },
        _ => panic!("no such call: {call}"),
    })
}

/// A directory for the logs of one run of the host, in memory if the system has such a place: what a real disk does is not what is tried here.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let parent = if Path::new("/dev/shm").is_dir() { "/dev/shm".into() } else { env::temp_dir() };
        let place = parent.join(format!("wal-recorded-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
        Place(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _left_behind = fs::remove_dir_all(&self.0);
    }
}

/// Runs scripts, leaving out the syncs that are made on the ways with these numbers.
pub fn run(tools: &Tools, scripts: &[Script], skipped: &[u64]) -> Vec<Recording> {
    let place = Place::new();
    let record = place.0.join("record");
    let dirs: Vec<PathBuf> = (0..scripts.len()).map(|number| place.0.join(number.to_string())).collect();
    let mut lines = String::new();
    for (script, dir) in scripts.iter().zip(&dirs) {
        if let Some((image, _)) = &script.base {
            materialise(image, dir);
        }
        lines.push_str(&script.line(dir));
    }
    let skip: Vec<String> = skipped.iter().map(|number| format!("{number:x}")).collect();
    let mut host = Command::new(&tools.host)
        .env("LD_PRELOAD", &tools.recorder)
        .env("WAL_RECORD", &record)
        .env("WAL_RECORD_SKIP", skip.join(","))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", tools.host.display()));
    let told = host.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(lines.as_bytes()));
    let ended = host.wait_with_output();
    let (said, success) = ended.map_or_else(
        |error| (error.to_string(), false),
        |output| (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.success()),
    );
    assert!(told.is_ok() && success, "the host failed: {said}");
    let recorded = fs::read(&record).unwrap_or_else(|error| panic!("{}: {error}", record.display()));
    let records = parse(&recorded);
    assert_eq!(records.len(), scripts.len(), "scripts and records of scripts");
    let recordings = scripts.iter().zip(&dirs).zip(records);
    recordings
        .map(|((script, dir), records)| {
            let records = records.into_iter().map(|record| record.without_path(&dir.display().to_string()));
            Recording { script: script.clone(), records: records.collect(), files: read_files(dir) }
        })
        .collect()
}

fn materialise(image: &Image, dir: &Path) {
    let written = fs::create_dir(dir)
        .and_then(|()| image.names().try_for_each(|name| fs::write(dir.join(name.to_string()), image.read(name).unwrap_or_default())));
    written.unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
}

fn read_files(dir: &Path) -> BTreeMap<FileName, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let files = entries.flatten().map(|entry| {
        let name = entry.file_name();
        let parsed = FileName::parse(name.as_encoded_bytes()).unwrap_or_else(|| panic!("a stranger in the log's directory: {name:?}"));
        (parsed, fs::read(entry.path()).unwrap_or_else(|error| panic!("{}: {error}", entry.path().display())))
    });
    files.collect()
}
