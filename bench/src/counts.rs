//! What an append costs that a clock need not tell: system calls and heap allocations. These are the same on every machine, so missing them is
//! an error. `strace` counts the calls.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::abi::{self, Failure, Log, Options, Outcome, WAL_SYNC_ALWAYS, WAL_SYNC_BATCH, WAL_SYNC_NONE, WAL_SYNC_OS};
use crate::allocations;
use crate::figures::{Goal, Table};
use crate::place::Place;

/// The first argument of the process whose calls are counted.
pub(crate) const CHILD: &str = "--counted";

const APPENDS: u64 = 1000;
const BATCH_RECORDS: u32 = 100;
const VALUE: [u8; 128] = [7; 128];

/// What is done between the marks, and the system calls that it may make, all threads together.
struct Work {
    name: &'static str,
    title: &'static str,
    calls: &'static [(&'static str, u64)],
}

const WORKS: [Work; 6] = [
    Work { name: "always", title: "1000 appends, WAL_SYNC_ALWAYS", calls: &[("pwrite64", APPENDS), ("fdatasync", APPENDS)] },
    // The block that the last write ended in is known: nothing is read.
    Work { name: "direct", title: "1000 appends, WAL_OPTION_DIRECT", calls: &[("pwrite64", APPENDS), ("fdatasync", APPENDS)] },
    Work {
        name: "batch",
        title: "1000 appends, WAL_SYNC_BATCH, 100 records",
        calls: &[("pwrite64", APPENDS / 100), ("fdatasync", APPENDS / 100)],
    },
    Work { name: "os", title: "1000 appends, WAL_SYNC_OS", calls: &[("pwrite64", APPENDS)] },
    Work { name: "none", title: "1000 appends, WAL_SYNC_NONE", calls: &[] },
    // The segment, opened and looked at, and a buffer of it.
    Work { name: "replay", title: "a replay of 1000 records", calls: &[("openat", 1), ("newfstatat", 1), ("pread64", 1)] },
];

pub(crate) fn measure(place: &Place, table: &mut Table) -> Outcome<()> {
    table.heading("System calls and heap allocations, counted. Limit: what the work cannot do without");
    for Work { name: work, title, calls: allowed } in WORKS {
        let dir = place.fresh(&format!("counted-{work}"))?;
        let trace = place.fresh(&format!("counted-{work}.trace"))?;
        let counted = trace_child(work, dir.path(), trace.path())?;
        let all: u64 = counted.calls.values().sum();
        let most: u64 = allowed.iter().map(|(_, count)| count).sum();
        table.row(&format!("{title}: system calls"), &all.to_string(), &most.to_string(), all as f64, Goal::Must(most as f64));
        if let Some((call, count)) = counted.calls.iter().find(|(call, count)| !allowed.contains(&(call.as_str(), **count))) {
            return Err(Failure(format!("{title}: {call} was called {count} times; all calls: {:?}", counted.calls)));
        }
        if work != "replay" {
            let allocated = counted.allocations;
            table.row("   heap allocations of the thread", &allocated.to_string(), "0", allocated as f64, Goal::Must(0.0));
        }
    }
    Ok(())
}

struct Counted {
    calls: BTreeMap<String, u64>,
    allocations: u64,
}

fn trace_child(work: &str, dir: &Path, trace: &Path) -> Outcome<Counted> {
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(trace)
        .arg(env::current_exe()?)
        .args([CHILD, work])
        .arg(dir)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failure(format!("strace, which counts the system calls: {error}")))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let allocations = said.trim().parse().map_err(|_| Failure(format!("{work}: the process that is counted failed: {said}")))?;
    let mut calls = BTreeMap::new();
    let mut marks = 0;
    for line in fs::read_to_string(trace)?.lines() {
        // "PID name(arguments) = result"; what was interrupted by another thread's line is counted where it began.
        let Some((name, _)) = line.split_once(' ').and_then(|(_, call)| call.trim_start().split_once('(')) else {
            continue;
        };
        if name == "getppid" {
            marks += 1;
        } else if marks == 1 {
            *calls.entry(name.to_string()).or_default() += 1;
        }
    }
    if marks == 2 { Ok(Counted { calls, allocations }) } else { Err(Failure(format!("{work}: {marks} marks in the trace"))) }
}

/// A call that the library never makes and that shows in the trace.
fn mark() {
    // SAFETY: no arguments, and it cannot fail.
    unsafe { libc::getppid() };
}

/// What is counted. Prints the allocations.
pub(crate) fn child(work: &str, dir: &Path) -> Outcome<()> {
    let options = match work {
        "always" => abi::options(WAL_SYNC_ALWAYS),
        "direct" => abi::direct_options(),
        "batch" => Options { batch_records: BATCH_RECORDS, batch_interval_us: 0, ..abi::options(WAL_SYNC_BATCH) },
        "os" | "replay" => abi::options(WAL_SYNC_OS),
        "none" => abi::options(WAL_SYNC_NONE),
        _ => return Err(Failure(format!("{work} is no work"))),
    };
    let log = Log::open(dir, &options)?;
    // An opening's first append prepares much, and asks the background for more.
    log.append(&VALUE)?;
    log.sync()?;
    quiet(&log)?;
    if work == "direct" {
        // The preparation of a segment takes the place of the blocks that are kept: one append reads them again, and no further one.
        log.append(&VALUE)?;
    }
    let before = allocations::count();
    if work == "replay" {
        for _ in 1..APPENDS {
            log.append(&VALUE)?;
        }
        let mut cursor = log.replay(0)?;
        mark();
        let mut seen = 0;
        while cursor.next()?.is_some() {
            seen += 1;
        }
        mark();
        if seen != APPENDS {
            return Err(Failure(format!("{seen} records came back")));
        }
    } else {
        mark();
        for _ in 0..APPENDS {
            log.append(&VALUE)?;
        }
        mark();
    }
    println!("{}", allocations::count() - before);
    log.close()
}

/// Waits until the background has prepared the segments to come.
fn quiet(log: &Log) -> Outcome<()> {
    let began = Instant::now();
    while log.stat()?.spares < 2 {
        if began.elapsed() > Duration::from_secs(20) {
            return Err(Failure("no spare segments are prepared".into()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
