//! Whether the sides sync where they say so: `strace` counts the calls.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::board::Board;
use super::program::{Lack, Program};
use super::roster::Ready;
use crate::abi::{Failure, Outcome};
use crate::place::Place;

const CALLS: &str =
    "trace=open,openat,creat,read,write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,msync,sync_file_range,io_uring_enter";
const SETTLED: Duration = Duration::from_millis(400);
const ALONE: u64 = 200;
const TOGETHER: u64 = 16 * 50;
const LOOSE: u64 = 1024;

/// Fails for a side of this library's own only; how a peer syncs is its own matter, but is shown.
pub(crate) fn measure(place: &Place, sides: &[Ready], board: &mut Board) -> Outcome<()> {
    for (at, side) in sides.iter().enumerate() {
        print!("{}{}", if at == 0 { "counting syncs: " } else { " " }, side.side.name);
        let asked = [format!("append 1 128 20000 {ALONE}"), format!("append 16 128 20000 {TOGETHER}")];
        match windows(place, side, "durable", &asked)? {
            Ok(counted) => {
                let [(alone, alone_syncs), (together, together_syncs)] = counted[..] else {
                    return Err(Failure(format!("{}: marks are missing in the trace", side.side.name)));
                };
                board.add(at, "syncs", alone_syncs / alone);
                board.add(at, "group", together / together_syncs);
                if alone_syncs < alone {
                    println!("\n{} DOES NOT SYNC: {alone_syncs} syncs for {alone} durable appends", side.side.title);
                }
            }
            Err(lack) => board.lack(at, &["syncs", "group"], &lack),
        }
        match windows(place, side, "buffered", &[format!("append 1 128 20000 {LOOSE}")])? {
            Ok(counted) => board.add(at, "loose", counted.first().map_or(f64::NAN, |(_, syncs)| *syncs)),
            Err(lack) => board.lack(at, &["loose"], &lack),
        }
    }
    println!();
    Ok(())
}

/// For each of the requests, how many appends were acknowledged and how many calls synced meanwhile.
fn windows(place: &Place, side: &Ready, mode: &str, asked: &[String]) -> Outcome<Result<Vec<(f64, f64)>, Lack>> {
    let dir = place.fresh(&format!("counted-{mode}-{}", side.side.name))?;
    let trace = place.fresh(&format!("counted-{mode}-{}.trace", side.side.name))?;
    let inner = side.command();
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", CALLS, "-o"]).arg(trace.path()).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let mut program = match Program::start(command) {
        Ok(program) => program,
        Err(Failure(why)) => return Ok(Err(Lack::Failed(why))),
    };
    if let Err(lack) = program.ask(&format!("open {} {mode}", dir.path().display())) {
        return Ok(Err(lack));
    }
    // What an opening's first append begins, in the background as well, is not what an append costs.
    if let Err(lack) = program.ask("append 1 128 1000 16") {
        return Ok(Err(lack));
    }
    thread::sleep(SETTLED);
    let mut done = Vec::new();
    for line in asked {
        match program.ask(line) {
            Ok(answer) => done.push(answer.first().copied().unwrap_or(f64::NAN)),
            Err(lack) => return Ok(Err(lack)),
        }
    }
    // The trace is whole when its program has ended.
    let _closed = program.ask("close");
    drop(program);
    let syncs = count(trace.path())?;
    let syncs = syncs.get(1..).unwrap_or_default();
    Ok(if syncs.len() == done.len() {
        Ok(done.into_iter().zip(syncs.iter().copied()).collect())
    } else {
        Err(Lack::Failed(format!("{} windows in the trace instead of {}", syncs.len(), done.len())))
    })
}

/// The syncs between each request to append and its answer.
fn count(trace: &Path) -> Outcome<Vec<f64>> {
    let mut synced_files = BTreeSet::new();
    let mut windows: Vec<f64> = Vec::new();
    let mut is_inside = false;
    for line in fs::read_to_string(trace)?.lines() {
        // "PID name(arguments) = result"; what another thread's line interrupts is counted where it began.
        let Some((_, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if call.contains("\"append ") && call.contains("read") {
            is_inside = true;
            windows.push(0.0);
        } else if call.starts_with("write(1, \"") {
            is_inside = false;
        }
        let Some((name, arguments)) = call.split_once('(') else { continue };
        if name.starts_with("open") && arguments.contains("SYNC") {
            synced_files.extend(arguments.rsplit_once("= ").and_then(|(_, fd)| fd.trim().parse::<u32>().ok()));
        }
        let is_to_synced = || arguments.split(',').next().and_then(|fd| fd.parse().ok()).is_some_and(|fd: u32| synced_files.contains(&fd));
        let is_sync = match name {
            "fsync" | "fdatasync" => true,
            "msync" => arguments.contains("MS_SYNC"),
            "write" | "writev" | "pwrite64" | "pwritev" => is_to_synced(),
            "pwritev2" => arguments.contains("SYNC") || is_to_synced(),
            _ => false,
        };
        if is_inside && is_sync {
            windows.last_mut().into_iter().for_each(|count| *count += 1.0);
        }
    }
    Ok(windows)
}
