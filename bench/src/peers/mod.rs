//! This log beside others: the same records, the same durability, in turns, each side a program of its own that keeps its log open.
//!
//!     PEERS=1         has these sides work instead of what the program does otherwise
//!     QUICK=1         shorter rounds and logs
//!     CHECK=1         one short round of everything, to see that it works
//!     ONLY=durable,rocksdb   works: durable buffered replay open syncs; and sides, as the program names them. The limit and this log are always there
//!     WRITE=1         puts the tables into docs/PERFORMANCE.md, and figures and bars into docs/performance/

mod bars;
mod board;
mod evidence;
mod ours;
mod program;
mod report;
mod roster;
mod side;
mod works;

use std::env;
use std::time::Instant;

pub(crate) use ours::serve;
pub(crate) use roster::SERVE;

use crate::abi::{Failure, Outcome};
use crate::place::Place;
use board::Board;
use program::{Lack, Program};
use works::Plan;

/// What the largest of the works needs, in bytes: a gigabyte of records, and what a side makes of them.
const DISK_NEEDED: u64 = 8 << 30;
const WORKS: [&str; 5] = ["durable", "buffered", "replay", "open", "syncs"];

fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| value != "0" && !value.is_empty())
}

pub(crate) fn are_wanted() -> bool {
    is_set("PEERS")
}

/// Builds the sides, has them work in turns, and shows what came out.
pub(crate) fn run() -> Outcome<()> {
    let only = env::var("ONLY").unwrap_or_default();
    let names: Vec<String> = only.split(',').map(|name| name.trim().to_lowercase()).filter(|name| !name.is_empty()).collect();
    let is_side = |name: &str| roster::ROSTER.iter().any(|side| side.name == name);
    if let Some(unknown) = names.iter().find(|name| !WORKS.contains(&name.as_str()) && !is_side(name)) {
        let sides = roster::ROSTER.iter().map(|side| side.name).collect::<Vec<_>>().join(" ");
        return Err(Failure(format!("{unknown} is neither a work ({}) nor a side ({sides})", WORKS.join(" "))));
    }
    let wanted_work = |work: &str| names.iter().all(|name| !WORKS.contains(&name.as_str())) || names.iter().any(|name| name == work);
    let wanted_side = |side: &str| names.iter().all(|name| !is_side(name)) || names.iter().any(|name| name == side);
    if is_set("WRITE") && !names.is_empty() {
        return Err(Failure("WRITE replaces all tables, so ONLY cannot leave some out".into()));
    }
    let plan = Plan::new(is_set("CHECK"), is_set("QUICK"));
    let place = Place::new(DISK_NEEDED)?;
    if place.path().as_os_str().to_string_lossy().contains(char::is_whitespace) {
        return Err(Failure("sides are told directories without spaces; BENCH_DIR names another place".into()));
    }
    crate::describe(&place)?;
    let sides = roster::build(wanted_side)?;
    let mut versions = Vec::new();
    for side in &sides {
        versions.push(Program::start(side.command())?.version.clone());
    }
    // Building takes long the first time, and is not measured.
    let began = Instant::now();
    let mut board = Board::default();
    if wanted_work("syncs") {
        evidence::measure(&place, &sides, &mut board)?;
    }
    if wanted_work("durable") {
        works::durable(&plan, &place, &sides, &mut board)?;
    }
    if wanted_work("buffered") {
        works::buffered(&plan, &place, &sides, &mut board)?;
    }
    if wanted_work("replay") {
        works::replay(&plan, &place, &sides, &mut board)?;
    }
    if wanted_work("open") {
        works::large(&plan, &place, &sides, &mut board)?;
    }
    let report = report::Report { sides: &sides, versions: &versions, board: &board, log_bytes: plan.log_bytes };
    report.print();
    if is_set("WRITE") {
        let hurried = if is_set("CHECK") || is_set("QUICK") { "; a hurried run, whose figures mean little" } else { "" };
        report.write(&format!(
            "{} cores, {}{hurried}",
            std::thread::available_parallelism().map_or(1, usize::from),
            place.file_system()?
        ))?;
    }
    println!("\n{:.0} s", began.elapsed().as_secs_f64());
    // A peer that fails is shown; this log may not.
    let all = board::TABLES.iter().flat_map(|(_, _, columns)| columns.iter());
    let broken: Vec<&str> =
        all.filter(|column| matches!(board.why_not(1, column.key), Some(Lack::Failed(_)))).map(|column| column.key).collect();
    if broken.is_empty() { Ok(()) } else { Err(Failure(format!("this log failed at {}", broken.join(", ")))) }
}
