//! 1 to 1000 logs in one process.

use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::abi::{self, Failure, Log, Options, Outcome, WAL_SYNC_ALWAYS};
use crate::figures::{Table, bytes, rate, us};
use crate::memory::resident;
use crate::place::Place;
use crate::report::Report;
use crate::{Extent, Plan};

const VALUE: [u8; 128] = [0x5A; 128];
/// A thousand logs of the default size would be 48 GiB of segments and spares.
const SEGMENT: u64 = 64 << 10;

/// Lets this process open as many files as it may.
fn raise_file_limit() -> Outcome<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a place for the answer, which the second call reads.
    let done = unsafe {
        let asked = libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        asked | libc::setrlimit(libc::RLIMIT_NOFILE, &limit)
    };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().into()) }
}

/// Entries of a directory of `/proc/self`.
fn held(what: &str) -> f64 {
    fs::read_dir(Path::new("/proc/self").join(what)).map_or(f64::NAN, |entries| entries.count() as f64)
}

/// Makes and opens so many logs, appends to them in turns, closes them and opens them again; prints microseconds to make one, bytes of memory, files and
/// threads of all, durable appends in a second, and microseconds to close one and to open it again.
pub(super) fn child(dir: &Path, count: u64, appends: u64) -> Outcome<()> {
    raise_file_limit()?;
    fs::create_dir(dir)?;
    let options = Options { segment_size: SEGMENT, ..abi::options(WAL_SYNC_ALWAYS) };
    let open = || (0..count).map(|log| Log::open(&dir.join(format!("{log}")), &options)).collect::<Outcome<Vec<_>>>();
    let each = |began: Instant| began.elapsed().as_secs_f64() * 1e6 / count as f64;
    resident()?;
    let (memory, files, threads) = (resident()?, held("fd"), held("task"));
    let began = Instant::now();
    let logs = open()?;
    let made = each(began);
    // An opening's first append asks for more than the ones after it.
    for log in &logs {
        log.append(&VALUE)?;
    }
    let rounds = (appends / count).max(2);
    let began = Instant::now();
    for _ in 0..rounds {
        for log in &logs {
            log.append(&VALUE)?;
        }
    }
    let appended = (rounds * count) as f64 / began.elapsed().as_secs_f64();
    let (memory, files, threads) = (resident()?.saturating_sub(memory), held("fd") - files, held("task") - threads);
    let began = Instant::now();
    logs.into_iter().try_for_each(Log::close)?;
    let closed = each(began);
    let began = Instant::now();
    let logs = open()?;
    let opened = each(began);
    if let Some(log) = logs.iter().find(|log| log.last_seq() != rounds + 1) {
        return Err(Failure(format!("{} records came back instead of {}", log.last_seq(), rounds + 1)));
    }
    logs.into_iter().try_for_each(Log::close)?;
    println!("{made} {memory} {files} {threads} {appended} {closed} {opened}");
    Ok(())
}

pub(super) fn measure(plan: &Plan, place: &Place, table: &mut Table, _report: &Report) -> Outcome<()> {
    table.grid(
        "Logs in one process, appended to in turns by one thread, segments of 64 KiB",
        &["logs", "make one", "open one", "close one", "durable appends/s", "memory of each", "files of each", "threads of each"],
    );
    let counts: &[u64] = if plan.extent == Extent::Check { &[20] } else { &[1, 10, 100, 1000] };
    for &count in counts {
        let dir = place.fresh("logs")?;
        let appends = if plan.extent == Extent::Check { 40 } else { 10_000 };
        let [made, memory, files, threads, appended, closed, opened] = super::ask("logs", dir.path(), &[count, appends])?;
        let each = |all: f64| format!("{:.1}", all / count as f64);
        table.line(vec![
            count.to_string(),
            us(made),
            us(opened),
            us(closed),
            rate(appended),
            bytes(memory / count as f64),
            each(files),
            each(threads),
        ]);
    }
    Ok(())
}
