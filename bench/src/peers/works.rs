//! The works: what the sides are asked, in turns.

use std::io::Write;
use std::time::Duration;

use super::board::Board;
use super::program::{Lack, Program};
use super::roster::Ready;
use crate::abi::{Failure, Outcome};
use crate::place::{Place, Scratch};

/// How long to measure.
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    /// Time for one side in one round.
    pub(crate) slice: Duration,
    /// Bytes of records in a round of appends that are not synced, at most: below what this log syncs in the background, so that only appending is
    /// measured, for everybody.
    pub(crate) round_bytes: u64,
    /// Bytes of records in a log that is replayed.
    pub(crate) replay_bytes: u64,
    /// Bytes of records in the log that is opened and truncated.
    pub(crate) log_bytes: u64,
}

impl Plan {
    pub(crate) fn new(check: bool, quick: bool) -> Plan {
        let (rounds, ms, replay_bytes, log_bytes) = match (check, quick) {
            (true, _) => (1, 40, 1 << 20, 16 << 20),
            (_, true) => (3, 100, 32 << 20, 128 << 20),
            _ => (7, 300, 64 << 20, 1 << 30),
        };
        Plan { rounds, slice: Duration::from_millis(ms), round_bytes: 8 << 20, replay_bytes, log_bytes }
    }
}

const DURABLE: &str = "durable";
const BUFFERED: &str = "buffered";

/// A side with its log open.
struct Open {
    program: Program,
    dir: Scratch,
    /// Records that it has acknowledged.
    written: f64,
}

/// Says where the run is, without an end of line.
fn progress(text: &str) {
    print!("{text}");
    // Nobody may be reading.
    let _unseen = std::io::stdout().flush();
}

fn open(side: &Ready, place: &Place, work: &str, mode: &str) -> Outcome<Result<Open, Lack>> {
    let dir = place.fresh(&format!("{work}-{}", side.side.name))?;
    let mut program = match Program::start(side.command()) {
        Ok(program) => program,
        Err(Failure(why)) => return Ok(Err(Lack::Failed(why))),
    };
    let opened = program.ask(&format!("open {} {mode}", dir.path().display()));
    Ok(opened.map(|_| Open { program, dir, written: 0.0 }))
}

/// Opens all; those that cannot lack `keys`.
fn open_all(
    sides: &[Ready],
    place: &Place,
    work: &str,
    mode: &str,
    keys: &[&'static str],
    board: &mut Board,
) -> Outcome<Vec<Option<Open>>> {
    let mut all = Vec::new();
    for (at, side) in sides.iter().enumerate() {
        all.push(match open(side, place, work, mode)? {
            Ok(open) => Some(open),
            Err(lack) => {
                board.lack(at, keys, &lack);
                None
            }
        });
    }
    Ok(all)
}

/// Asks all sides in each round, beginning with another one each time. One that fails is left out from then on.
fn in_turns(
    rounds: usize,
    all: &mut [Option<Open>],
    keys: &[&'static str],
    board: &mut Board,
    mut ask: impl FnMut(&mut Open, usize, &mut Board) -> Result<(), Lack>,
) {
    for round in 0..rounds {
        progress(&format!(" {}", round + 1));
        for turn in 0..all.len() {
            let at = (turn + round) % all.len();
            let Some(open) = &mut all[at] else { continue };
            if let Err(lack) = ask(open, at, board) {
                board.lack(at, keys, &lack);
                all[at] = None;
            }
        }
    }
    println!();
}

/// What an answer to `append` begins with: how many, in how many nanoseconds.
fn appended(open: &mut Open, line: &str) -> Result<(f64, Vec<f64>), Lack> {
    let answer = open.program.ask(line)?;
    let [count, ns, ..] = answer[..] else { return Err(Lack::Failed("an answer without numbers".into())) };
    open.written += count;
    Ok((count * 1e9 / ns, answer))
}

pub(crate) fn durable(plan: &Plan, place: &Place, sides: &[Ready], board: &mut Board) -> Outcome<()> {
    const WORKS: [(usize, &[&str]); 3] =
        [(1, &["d1", "d1_p50", "d1_p99", "d1_p999"]), (16, &["d16", "d16_max"]), (64, &["d64", "d64_max"])];
    let keys: Vec<&'static str> = WORKS.iter().flat_map(|(_, keys)| keys.iter().copied()).collect();
    let mut all = open_all(sides, place, "durable", DURABLE, &keys, board)?;
    for (threads, keys) in WORKS {
        progress(&format!("durable, {threads} threads: round"));
        for open in all.iter_mut().flatten() {
            // Nobody pays for what only happens at first. What fails here fails again below.
            let _warmed = appended(open, &format!("append {threads} 128 50 0"));
        }
        let line = format!("append {threads} 128 {} 0", plan.slice.as_millis());
        in_turns(plan.rounds, &mut all, keys, board, |open, at, board| {
            let (per_second, answer) = appended(open, &line)?;
            board.add(at, keys[0], per_second);
            let [_, _, p50, p99, p999, longest] = answer[..] else { return Err(Lack::Failed("an answer without times".into())) };
            let times = if threads == 1 { vec![p50, p99, p999] } else { vec![longest] };
            keys[1..].iter().zip(times).for_each(|(key, time)| board.add(at, key, time));
            Ok(())
        });
    }
    // What was acknowledged has to be there; the loops that are the limit keep nothing.
    for (at, open) in all.iter_mut().enumerate().skip(1) {
        let Some(open) = open else { continue };
        match open.program.ask("replay") {
            Ok(answer) if answer.first() != Some(&open.written) => {
                let found = answer.first().copied().unwrap_or(0.0);
                board.lack(at, &keys, &Lack::Failed(format!("{} records were acknowledged, {found} came back", open.written)));
            }
            Ok(_) | Err(Lack::No(_)) => {}
            Err(lack) => board.lack(at, &keys, &lack),
        }
    }
    Ok(())
}

pub(crate) fn buffered(plan: &Plan, place: &Place, sides: &[Ready], board: &mut Board) -> Outcome<()> {
    for (key, len) in [("b128", 128), ("b1k", 1024)] {
        progress(&format!("not synced, {len} B: round"));
        let mut all = open_all(sides, place, key, BUFFERED, &[key], board)?;
        for open in all.iter_mut().flatten() {
            // As above.
            let _warmed = appended(open, &format!("append 1 {len} 50 1024"));
            let _synced = open.program.ask("sync");
        }
        let line = format!("append 1 {len} {} {}", plan.slice.as_millis(), plan.round_bytes / len);
        in_turns(plan.rounds, &mut all, &[key], board, |open, at, board| {
            let (per_second, _) = appended(open, &line)?;
            board.add(at, key, per_second);
            // The disk is idle when the next one's turn comes.
            open.program.ask("sync").map(drop)
        });
    }
    Ok(())
}

/// Opens so that filling is fast, if the side can.
fn open_for_filling(side: &Ready, place: &Place, work: &str) -> Outcome<Result<(Open, &'static str), Lack>> {
    Ok(match open(side, place, work, BUFFERED)? {
        Ok(open) => Ok((open, BUFFERED)),
        Err(Lack::No(_)) => open(side, place, work, DURABLE)?.map(|open| (open, DURABLE)),
        Err(lack) => Err(lack),
    })
}

pub(crate) fn replay(plan: &Plan, place: &Place, sides: &[Ready], board: &mut Board) -> Outcome<()> {
    for (key, len) in [("r128", 128), ("r1k", 1024)] {
        progress(&format!("replay, {len} B: round"));
        let count = plan.replay_bytes / len;
        let mut all = Vec::new();
        for (at, side) in sides.iter().enumerate() {
            let filled = open_for_filling(side, place, key)?.and_then(|(mut open, _)| {
                open.program.ask(&format!("fill {count} {len}"))?;
                Ok(open)
            });
            all.push(filled.map_err(|lack| board.lack(at, &[key], &lack)).ok());
        }
        in_turns(plan.rounds, &mut all, &[key], board, |open, at, board| match open.program.ask("replay")?[..] {
            [found, ns] if found as u64 == count => {
                board.add(at, key, found * 1e9 / ns);
                Ok(())
            }
            [found, _] => Err(Lack::Failed(format!("{found} records came back of {count}"))),
            _ => Err(Lack::Failed("an answer without numbers".into())),
        });
    }
    Ok(())
}

/// Opening and truncating take one log after the other, since they are large; the limit and this log again at the end.
pub(crate) fn large(plan: &Plan, place: &Place, sides: &[Ready], board: &mut Board) -> Outcome<()> {
    const KEYS: [&str; 5] = ["open", "open_replay", "cut", "cut_before", "cut_longest"];
    progress(&format!("logs of {} MiB, killed, opened, truncated:", plan.log_bytes >> 20));
    let again = if plan.rounds > 1 { 2 } else { 0 };
    for (turn, at) in (0..sides.len()).chain((0..again).flat_map(|_| 0..2)).enumerate() {
        let side = &sides[at];
        progress(&format!(" {}", side.side.name));
        if let Err(lack) = large_one(plan, place, side, turn, |key, figure| board.add(at, key, figure))? {
            let missing: Vec<&'static str> = KEYS.iter().copied().filter(|key| board.rounds(at, key) == 0).collect();
            board.lack(at, &missing, &lack);
        }
    }
    println!();
    Ok(())
}

fn large_one(plan: &Plan, place: &Place, side: &Ready, turn: usize, mut add: impl FnMut(&'static str, f64)) -> Outcome<Result<(), Lack>> {
    let (mut open, mode) = match open_for_filling(side, place, &format!("large-{turn}"))? {
        Ok(open) => open,
        Err(lack) => return Ok(Err(lack)),
    };
    let count = plan.log_bytes / 1024;
    let filled = open.program.ask(&format!("fill {count} 1024"));
    // Some more, which the kill overtakes on their way.
    let filled = filled.and_then(|_| open.program.ask("append 1 1024 20 4096"));
    let Open { program, dir, .. } = open;
    program.kill();
    if let Err(lack) = filled {
        return Ok(Err(lack));
    }
    let mut program = Program::start(side.command())?;
    let directory = dir.path().display();
    let mut reopen = || -> Result<(), Lack> {
        let opened = program.ask(&format!("open {directory} {mode}"))?;
        add("open", opened.first().copied().unwrap_or(f64::NAN));
        match program.ask("replay") {
            Ok(answer) => {
                let [found, ns] = answer[..] else { return Err(Lack::Failed("an answer without numbers".into())) };
                if (found as u64) < count {
                    return Err(Lack::Failed(format!("{found} records came back of {count}")));
                }
                add("open_replay", opened.first().copied().unwrap_or(f64::NAN) + ns);
            }
            Err(Lack::No(_)) => {}
            Err(lack) => return Err(lack),
        }
        program.ask("close").map(drop)
    };
    if let Err(lack) = reopen() {
        return Ok(Err(lack));
    }
    program.kill();
    let mut program = Program::start(side.command())?;
    let mut truncate = || -> Result<(), Lack> {
        program.ask(&format!("open {directory} durable"))?;
        // What a peer does only at first after an opening is no part of it.
        program.ask("append 1 128 50 0")?;
        let answer = program.ask(&format!("truncate {}", plan.slice.as_millis() * 4))?;
        ["cut", "cut_before", "cut_longest"].iter().zip(answer).for_each(|(key, figure)| add(key, figure));
        Ok(())
    };
    Ok(truncate())
}
