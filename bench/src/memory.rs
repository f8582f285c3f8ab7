//! What an open log and a cursor take, in a process that does nothing else.

use std::env;
use std::path::Path;
use std::process::Command;

use crate::abi::{self, Failure, Log, Outcome, WAL_SYNC_ALWAYS};
use crate::figures::{Goal, Table, mib};
use crate::place::Place;

/// Argument that makes this program the one that is weighed.
pub(crate) const CHILD: &str = "--weigh";
const RECORDS: u64 = 20_000;
/// The largest record that is read back: larger than the cursor's buffer.
const LARGEST: usize = 3 << 20;

/// Memory of this process that is in use now, code included, in bytes.
pub(crate) fn resident() -> Outcome<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or_else(|| Failure("no VmRSS".into()))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().map_err(|_| Failure("VmRSS is no number".into()))?;
    Ok(kib << 10)
}

/// Prints what an open log, a cursor over small records and one that met a large record take.
pub(crate) fn child(dir: &Path) -> Outcome<()> {
    let small = [0x5A; 128];
    // What the first call of anything costs is not the log's.
    resident()?;
    let before = resident()?;
    let log = Log::open(dir, &abi::options(WAL_SYNC_ALWAYS))?;
    for _ in 0..RECORDS / 100 {
        log.append(&small)?;
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| (0..RECORDS / 16).try_for_each(|_| log.append(&small).map(drop)))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| Failure("a thread panicked".into()))?)
    })?;
    // Each of the buffers is almost filled.
    let long = vec![0x5A; 1000 << 10];
    for _ in 0..8 {
        log.append(&long)?;
    }
    drop(long);
    log.truncate(log.checkpoint(log.last_seq())?)?;
    for _ in 0..100 {
        log.append(&small)?;
    }
    let log_after = resident()?;
    let mut cursor = log.replay(log.last_seq() - 50)?;
    while cursor.next()?.is_some() {}
    let cursor_after = resident()?;
    {
        let large = vec![0x5A; LARGEST];
        log.append(&large)?;
    }
    let before_large = resident()?;
    while cursor.next()?.is_some() {}
    let large_after = resident()?;
    println!(
        "{} {} {}",
        log_after.saturating_sub(before),
        cursor_after.saturating_sub(log_after),
        large_after.saturating_sub(before_large)
    );
    drop(cursor);
    log.close()
}

pub(crate) fn measure(place: &Place, table: &mut Table) -> Outcome<()> {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    table.heading("Memory: growth of the resident set, code included");
    let dir = place.fresh("memory")?;
    let output = Command::new(env::current_exe()?).arg(CHILD).arg(dir.path()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let bytes: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [log, cursor, large] = bytes[..] else {
        return Err(Failure(format!("the process to be weighed failed: {}", String::from_utf8_lossy(&output.stderr).trim())));
    };
    let row = |table: &mut Table, what: &str, bytes: f64, most: f64| {
        table.row(what, &mib(bytes), "", bytes / f64::from(1 << 20), Goal::AtMost(most));
    };
    row(table, "an open log after some work, MiB", log, 4.0);
    row(table, "a cursor over small records, MiB", cursor, 2.0);
    row(table, "the cursor's growth over a record of 3 MiB, MiB", large, 3.5);
    Ok(())
}
