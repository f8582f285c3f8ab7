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
//!     ONLY=w1,w4      only these: w1 w2 w3 w4 w5 memory calls

mod abi;
mod allocations;
mod bare;
mod buffered;
mod counts;
mod durable;
mod figures;
mod memory;
mod opening;
mod peers;
mod place;
mod replay;

use std::env;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use abi::{Failure, Outcome};
use figures::Table;
use place::Place;

/// What the larger of the works needs beside another, in bytes.
const DISK_NEEDED: u64 = 3 << 30;

/// How long to measure.
pub(crate) struct Plan {
    /// Rounds of the works that are timed by the clock.
    pub(crate) rounds: usize,
    /// Time for one side in one round.
    pub(crate) slice: Duration,
    /// Bytes of the log that W5 opens.
    pub(crate) log_bytes: u64,
    /// Bytes that W4 reads in each pass.
    pub(crate) replay_bytes: u64,
}

impl Plan {
    fn new(check: bool, quick: bool) -> Plan {
        if check {
            Plan { rounds: 1, slice: Duration::from_millis(40), log_bytes: 64 << 20, replay_bytes: 16 << 20 }
        } else if quick {
            Plan { rounds: 3, slice: Duration::from_millis(120), log_bytes: 256 << 20, replay_bytes: 64 << 20 }
        } else {
            Plan { rounds: 9, slice: Duration::from_millis(300), log_bytes: 1 << 30, replay_bytes: 192 << 20 }
        }
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
    let wanted = |name: &str| only.is_empty() || only.split(',').any(|one| one.eq_ignore_ascii_case(name));
    let began = Instant::now();
    let plan = Plan::new(is_set("CHECK"), is_set("QUICK"));
    let place = Place::new(DISK_NEEDED)?;
    describe(&place)?;
    let mut table = Table::default();
    if wanted("w1") {
        durable::one_thread(&plan, &place, &mut table)?;
        durable::rotating(&plan, &place, &mut table)?;
    }
    if wanted("w2") {
        durable::many_threads(&plan, &place, &mut table)?;
    }
    if wanted("w3") {
        buffered::measure(&plan, &place, &mut table)?;
    }
    if wanted("w4") {
        replay::measure(&plan, &place, &mut table)?;
    }
    if wanted("w5") {
        opening::measure(&plan, &place, &mut table)?;
    }
    if wanted("memory") {
        memory::measure(&place, &mut table)?;
    }
    if wanted("calls") {
        counts::measure(&place, &mut table)?;
    }
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
