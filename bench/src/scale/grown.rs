//! A log that one process fills until it is killed, and that others open.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::abi::{self, Failure, Log, Options, Outcome, WAL_SYNC_NONE};
use crate::bare::frame_len;
use crate::memory::resident;
use crate::opening::Killed;

fn options(segment_bytes: u64) -> Options {
    Options { segment_size: segment_bytes, ..abi::options(WAL_SYNC_NONE) }
}

/// In a process that is to be killed: appends until the log has so many segments and the last is filled to 7/8; says the last seq, and waits for its end.
pub(super) fn grow(dir: &Path, segment_bytes: u64, record_len: u64, segments: u64) -> Outcome<()> {
    let log = Log::open(dir, &options(segment_bytes))?;
    let value = vec![0x5A; record_len as usize];
    let frame = frame_len(value.len()) as u64;
    // As many as fit into a segment, less what is asked about each time.
    let portion = (segment_bytes / frame / 8).max(1);
    while log.stat()?.segments < segments {
        for _ in 0..portion {
            log.append(&value)?;
        }
    }
    let (mut filled, rotations) = (0, log.stat()?.rotations);
    while filled + portion * frame < segment_bytes / 8 * 7 && log.stat()?.rotations == rotations {
        for _ in 0..portion {
            log.append(&value)?;
        }
        filled += portion * frame;
    }
    log.flush()?;
    println!("{}", log.last_seq());
    loop {
        std::thread::park();
    }
}

/// Opens the log, reads all of it, and prints: milliseconds to open, whether it was clean, bytes read, the last seq, bytes of memory that it then takes;
/// seconds to read every record, and bytes of memory then.
pub(super) fn visit(dir: &Path, segment_bytes: u64) -> Outcome<()> {
    resident()?;
    let before = resident()?;
    let began = Instant::now();
    let log = Log::open(dir, &options(segment_bytes))?;
    let opened = began.elapsed();
    let open_memory = resident()?.saturating_sub(before);
    let began = Instant::now();
    let mut cursor = log.replay(0)?;
    let mut last = 0;
    while let Some((seq, _)) = cursor.next()? {
        last += 1;
        if seq != last {
            return Err(Failure(format!("record {seq} instead of {last}")));
        }
    }
    let read = began.elapsed();
    let read_memory = resident()?.saturating_sub(before);
    drop(cursor);
    let report = log.report()?;
    if last != log.last_seq() {
        return Err(Failure(format!("{last} records instead of {}", log.last_seq())));
    }
    // So that the close, and the next opening, have something to do.
    log.append(b"one more")?;
    log.close()?;
    println!(
        "{} {} {} {last} {open_memory} {} {read_memory}",
        opened.as_secs_f64() * 1e3,
        report.clean,
        report.bytes_read,
        read.as_secs_f64()
    );
    Ok(())
}

/// What one visit found.
pub(super) struct Visit {
    pub(super) open_ms: f64,
    pub(super) bytes_read: f64,
    pub(super) records: f64,
    pub(super) open_memory: f64,
    pub(super) read_s: f64,
    pub(super) read_memory: f64,
}

fn visited(dir: &Path, segment_bytes: u64, clean: bool, records: Option<f64>) -> Outcome<Visit> {
    let [open_ms, found_clean, bytes_read, found, open_memory, read_s, read_memory] = super::ask("visit", dir, &[segment_bytes])?;
    if (found_clean == 1.0) != clean || records.is_some_and(|records| records != found) {
        return Err(Failure(format!("{found} records came back instead of {records:?}; clean: {found_clean}")));
    }
    Ok(Visit { open_ms, bytes_read, records: found, open_memory, read_s, read_memory })
}

/// Has the log grow and its process killed; what the next two processes then find: after the kill, and after the first one's clean close.
pub(super) fn visits(dir: &Path, segment_bytes: u64, record_len: u64, segments: u64) -> Outcome<(Visit, Visit)> {
    let numbers = [segment_bytes, record_len, segments].map(|number| number.to_string());
    let mut child =
        Killed(Command::new(std::env::current_exe()?).args([super::CHILD, "grow"]).arg(dir).args(numbers).stdout(Stdio::piped()).spawn()?);
    let stdout = child.0.stdout.take().ok_or_else(|| Failure("the child has no output".into()))?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let last: f64 = line.trim().parse().map_err(|_| Failure("the process that fills the log failed".into()))?;
    drop(child);
    let killed = visited(dir, segment_bytes, false, Some(last))?;
    let clean = visited(dir, segment_bytes, true, Some(last + 1.0))?;
    Ok((killed, clean))
}
