//! Measures the log through its C ABI, against bare loops that do nothing but the system calls and the checksums; with `PEERS=1` beside other
//! logs (`peers/`).
//!
//! The two are measured in turns, a fraction of a second each, and compared within a round: what else the machine does, and how the disk feels
//! today, then counts for both. Figures are medians over the rounds. Nothing here fails because something was slow, only if it did not work.
//!
//!     cargo run --release --manifest-path bench/Cargo.toml
//!
//!     QUICK=1         a shorter run, for a first look
//!     CHECK=1         shorter still: whether everything works, allocates nothing and makes no more system calls than it must
//!     BENCH_DIR=path  where to measure; the default is beside the program
//!     ONLY=w1,w4      only these: w1 w2 w3 w4 w5 w6 memory calls crossing budget, and what `scale` stands for: latency threads sizes
//!                     lengths segments cursors logs. Without it, everything but `scale`
//!     WRITE=1         puts the tables into docs/PERFORMANCE.md, and plots and series into docs/performance/

mod abi;
mod allocations;
mod bare;
mod budget;
mod buffered;
mod callgrind;
mod charts;
mod counts;
mod crossing;
mod direct;
mod durable;
mod figures;
mod latency;
mod memory;
mod opening;
mod peers;
mod place;
mod replay;
mod report;
mod scale;
mod truncating;

use std::env;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use abi::{Failure, Outcome};
use figures::Table;
use place::Place;
use report::Report;

/// What the larger of the works needs beside another, in bytes.
const DISK_NEEDED: u64 = 3 << 30;

/// How much is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Enough to see that it works.
    Check,
    Quick,
    Full,
}

/// How long to measure.
pub(crate) struct Plan {
    pub(crate) extent: Extent,
    /// Rounds of the works that are timed by the clock.
    pub(crate) rounds: usize,
    /// Time for one side in one round.
    pub(crate) slice: Duration,
    /// Bytes of the log that W5 opens, and of the one that W6 cuts.
    pub(crate) log_bytes: u64,
    /// Bytes that W4 reads in each pass.
    pub(crate) replay_bytes: u64,
}

impl Plan {
    fn new(extent: Extent) -> Plan {
        let (rounds, slice_ms, log_mib, replay_mib) = match extent {
            Extent::Check => (1, 40, 64, 16),
            Extent::Quick => (3, 120, 256, 64),
            Extent::Full => (9, 300, 1024, 192),
        };
        Plan { extent, rounds, slice: Duration::from_millis(slice_ms), log_bytes: log_mib << 20, replay_bytes: replay_mib << 20 }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        [] if peers::are_wanted() => peers::run(),
        [] => run(),
        [peers::SERVE, name] => peers::serve(name),
        // What this program starts itself: a process to be killed, and one to be weighed.
        [opening::CHILD, dir, bytes] => opening::child(dir.as_ref(), bytes),
        [memory::CHILD, dir] => memory::child(dir.as_ref()),
        [counts::CHILD, work, dir] => counts::child(work, dir.as_ref()),
        [budget::CHILD, work, dir] => budget::child(work, dir.as_ref()),
        [scale::CHILD, work, dir, ref numbers @ ..] => scale::child(work, dir.as_ref(), numbers),
        _ => Err(Failure("no arguments, please; the source's head names the environment variables".into())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(what)) => {
            eprintln!("wal-bench: {what}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| value != "0" && !value.is_empty());
    let only = env::var("ONLY").unwrap_or_default();
    let named = |name: &str| only.split(',').any(|one| one.eq_ignore_ascii_case(name));
    let wanted = |name: &str| only.is_empty() || named(name);
    let began = Instant::now();
    let (check, write) = (is_set("CHECK"), is_set("WRITE"));
    let plan = Plan::new(if check {
        Extent::Check
    } else if is_set("QUICK") {
        Extent::Quick
    } else {
        Extent::Full
    });
    // How cost grows takes minutes, and is measured when it is asked for; what is only checked is checked all.
    let grows = |name: &str| named(name) || named("scale") || (check && only.is_empty());
    let place = Place::new(if plan.extent == Extent::Full && grows("lengths") { scale::DISK_NEEDED } else { DISK_NEEDED })?;
    describe(&place)?;
    let hurried = if plan.extent == Extent::Full { "" } else { "; a hurried run, whose figures mean little" };
    let report = Report::new(write, &format!("{}{hurried}", machine(&place)?))?;
    let mut table = Table::default();
    if wanted("w1") {
        table.begin("w1");
        durable::one_thread(&plan, &place, &mut table)?;
        durable::rotating(&plan, &place, &mut table)?;
    }
    if wanted("w2") {
        table.begin("w2");
        durable::many_threads(&plan, &place, &mut table)?;
    }
    if wanted("direct") {
        table.begin("direct");
        direct::measure(&plan, &place, &mut table)?;
    }
    if wanted("w3") {
        table.begin("w3");
        buffered::measure(&plan, &place, &mut table)?;
    }
    if wanted("w4") {
        table.begin("w4");
        replay::measure(&plan, &place, &mut table)?;
    }
    if wanted("w5") {
        table.begin("w5");
        opening::measure(&plan, &place, &mut table)?;
    }
    if wanted("w6") {
        table.begin("w6");
        truncating::measure(&plan, &place, &mut table)?;
    }
    if wanted("crossing") {
        table.begin("crossing");
        crossing::measure(&plan, &place, &mut table)?;
    }
    if wanted("memory") {
        table.begin("memory");
        memory::measure(&place, &mut table)?;
    }
    if wanted("calls") {
        table.begin("calls");
        counts::measure(&place, &mut table)?;
    }
    if wanted("budget") {
        table.begin("budget");
        budget::measure(&plan, &place, &mut table)?;
    }
    if grows("latency") {
        table.begin("latency");
        latency::measure(&plan, &place, &mut table, &report)?;
    }
    for (name, measure) in scale::WORKS {
        if grows(name) {
            table.begin(name);
            measure(&plan, &place, &mut table, &report)?;
        }
    }
    report.tables(&table)?;
    if table.broken() > 0 {
        return Err(Failure(format!("{} figures are wrong that do not depend on time", table.broken())));
    }
    let missed = match table.missed() {
        0 => "every goal was reached".into(),
        1 => "1 goal was not reached".into(),
        many => format!("{many} goals were not reached"),
    };
    println!("\n{missed}; {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// What the figures depend on beside the program.
fn machine(place: &Place) -> Outcome<String> {
    let first = |path: &str, name: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let value =
            text.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim_start_matches([' ', '\t', ':']).trim().to_string());
        value.unwrap_or_else(|| env::consts::OS.into())
    };
    let kernel = first("/proc/sys/kernel/osrelease", "");
    // What comes behind the first two numbers is the distributor's.
    let kernel: Vec<&str> = kernel.split('.').take(2).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let scheduled = if is_real_time() { "`chrt -f 10`" } else { "ordinary priority" };
    Ok(format!(
        "{}, {cores} cores, {}, Linux {}, {scheduled}",
        first("/proc/cpuinfo", "model name"),
        place.file_system()?,
        kernel.join(".")
    ))
}

fn describe(place: &Place) -> Outcome<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("wal {}, {} cores, {} at {}", abi::version(), cores, place.file_system()?, place.path().display());
    println!("\"limit\": a bare loop measured in the same rounds. Figures differ from machine to machine, ratios less so.");
    if !is_real_time() && has_chrt() {
        println!("Other programs' work turns into scheduler delays here; as root, chrt -f 10 in front of the command keeps them out.");
    }
    Ok(())
}

/// Whether this process is scheduled ahead of the ordinary ones.
fn is_real_time() -> bool {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: no pointers; 0 is this process.
        let policy = unsafe { libc::sched_getscheduler(0) };
        policy == libc::SCHED_FIFO || policy == libc::SCHED_RR
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// The priority of this process among those that are scheduled ahead of the ordinary ones, if it is one of them and can start others so.
fn real_time_priority() -> Option<i32> {
    if !is_real_time() || !has_chrt() {
        return None;
    }
    #[cfg(target_os = "linux")]
    {
        let mut found = std::mem::MaybeUninit::<libc::sched_param>::zeroed();
        // SAFETY: 0 is this process, and there is a place for the answer; zeros are valid if there is none.
        let found = unsafe {
            libc::sched_getparam(0, found.as_mut_ptr());
            found.assume_init()
        };
        Some(found.sched_priority.max(1))
    }
    #[cfg(not(target_os = "linux"))]
    None
}

fn has_chrt() -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|dir| dir.join("chrt").exists()))
}
