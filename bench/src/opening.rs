//! W5: opening a large log, after its process was killed and after a clean close.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::Plan;
use crate::abi::{self, Failure, Log, Outcome, WAL_SYNC_OS};
use crate::bare;
use crate::figures::{Goal, Pair, Table, median, mib, us};
use crate::place::Place;

/// Argument that makes this program the one that is killed.
pub(crate) const CHILD: &str = "--to-be-killed";
const SEGMENT: u64 = 16 << 20;
/// What the killed process leaves in its last segment: most of one.
const TAIL: u64 = 14 << 20;
/// What an opening finds above the last vouched point, about: what the log syncs by itself in its background.
const COPIED: usize = 2 << 20;

/// Fills a log up to `bytes` on disk with large records, then the last segment with small ones; says so, and waits for its end.
pub(crate) fn child(dir: &Path, bytes: &str) -> Outcome<()> {
    let bytes: u64 = bytes.parse().map_err(|_| Failure("no number".into()))?;
    let log = Log::open(dir, &abi::options(WAL_SYNC_OS))?;
    let large = vec![0x5A; 64 << 10];
    while log.stat()?.segments * SEGMENT < bytes {
        log.append(&large)?;
    }
    let rotations = log.stat()?.rotations;
    let (mut written, small) = (0, [0x5A; 128]);
    while written < TAIL && log.stat()?.rotations == rotations {
        for _ in 0..1000 {
            log.append(&small)?;
        }
        written += 1000 * bare::frame_len(small.len()) as u64;
    }
    println!("{}", log.last_seq());
    loop {
        std::thread::park();
    }
}

/// Has a child fill the log and kills it; the last seq that it appended.
fn fill_and_kill(dir: &Path, bytes: u64) -> Outcome<u64> {
    let mut child = Killed(Command::new(env::current_exe()?).arg(CHILD).arg(dir).arg(bytes.to_string()).stdout(Stdio::piped()).spawn()?);
    let stdout = child.0.stdout.take().ok_or_else(|| Failure("the child has no output".into()))?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    line.trim().parse().map_err(|_| Failure("the process that fills the log failed".into()))
}

/// A child that does not outlive this value.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// The segment that the killed process was filling: the last one that has records.
fn last_segment(dir: &Path, buffer: &mut Vec<u8>) -> Outcome<PathBuf> {
    let mut names: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wal") {
            names.push(path);
        }
    }
    names.sort();
    for path in names.into_iter().rev() {
        if bare::scan(&path, buffer)? > 0 {
            return Ok(path);
        }
    }
    Err(Failure("W5: no segment has records".into()))
}

/// Seconds for what such an opening must do to the disk, with a segment that the page cache holds as it does the log's.
fn bare_steps(place: &Place, tail: &Path, buffer: &mut Vec<u8>) -> Outcome<f64> {
    let dir = place.fresh("w5.bare")?;
    fs::create_dir(dir.path())?;
    bare::zero_filled(&dir.path().join("spare"), SEGMENT as usize)?;
    bare::zero_filled(&dir.path().join("manifest"), 16384)?;
    // Overwritten in the cache, as the log's segments are: blocks that the file has already.
    let copy = bare::zero_filled(&dir.path().join("tail"), SEGMENT as usize)?;
    copy.write_all_at(&fs::read(tail)?, 0)?;
    drop(copy);
    let began = Instant::now();
    bare::recover(dir.path(), COPIED, buffer)?;
    Ok(began.elapsed().as_secs_f64())
}

pub(crate) fn measure(plan: &Plan, place: &Place, table: &mut Table) -> Outcome<()> {
    table.heading(&format!(
        "W5  Opening a log of {} MiB. Limit: reading and verifying one segment, which the page cache holds",
        plan.log_bytes >> 20
    ));
    let dir = place.fresh("w5")?;
    let mut buffer = Vec::new();
    let (mut killed, mut steps, mut clean) = (Pair::default(), Pair::default(), Vec::new());
    let (mut read, mut allowed, mut copied, mut segments, mut clean_read) = (0, 0, 0, 0, 0);
    for _ in 0..plan.rounds.min(7) {
        let last = fill_and_kill(dir.path(), plan.log_bytes)?;
        let tail = last_segment(dir.path(), &mut buffer)?;
        let began = Instant::now();
        bare::scan(&tail, &mut buffer)?;
        let limit = began.elapsed().as_secs_f64();
        let bare = bare_steps(place, &tail, &mut buffer)?;
        let began = Instant::now();
        let log = Log::open(dir.path(), &abi::options(WAL_SYNC_OS))?;
        let opening = began.elapsed().as_secs_f64();
        killed.add(opening * 1e6, limit * 1e6);
        steps.add(opening * 1e6, bare * 1e6);
        let report = log.report()?;
        if log.last_seq() != last || report.clean != 0 {
            return Err(Failure(format!("W5: seq {} after a kill instead of {last}", log.last_seq())));
        }
        // Manifest, a page of each segment, and one segment whole.
        read = read.max(report.bytes_read);
        allowed = 16384 + (report.segments + report.spares) * 4096 + SEGMENT;
        copied = report.copied_bytes;
        segments = report.segments;
        log.append(b"so that the close has something to do")?;
        log.close()?;
        let began = Instant::now();
        let log = Log::open(dir.path(), &abi::options(WAL_SYNC_OS))?;
        clean.push(began.elapsed().as_secs_f64() * 1e6);
        let report = log.report()?;
        if log.last_seq() != last + 1 || report.clean != 1 {
            return Err(Failure("W5: a closed log was not found clean".into()));
        }
        clean_read = report.bytes_read;
        log.close()?;
    }
    let title = format!("W5 after a kill: {segments} segments, {:.1} MiB copied; of the limit", copied as f64 / f64::from(1 << 20));
    table.row(&title, &us(killed.ours()), &us(killed.limit()), killed.ratio(), Goal::AtMost(1.2));
    let title = "   of the bare steps: as much from the device, as much copied, seven syncs";
    table.row(title, &us(steps.ours()), &us(steps.limit()), steps.ratio(), Goal::None);
    table.row(
        "   bytes read, of manifest + segment headers + one segment",
        &mib(read as f64),
        &mib(allowed as f64),
        read as f64 / allowed as f64,
        Goal::AtMost(1.0),
    );
    let clean = median(&mut clean);
    table.row("W5 after a clean close, ms", &us(clean), "", clean / 1000.0, Goal::AtMost(2.0));
    table.row("   bytes read", &mib(clean_read as f64), "", f64::NAN, Goal::None);
    Ok(())
}
