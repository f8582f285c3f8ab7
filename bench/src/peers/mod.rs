//! This log beside others: the same records, the same durability, in turns, each side a program of its own that keeps its log open.

mod bars;
mod board;
mod evidence;
mod ours;
mod program;
mod report;
mod roster;
mod side;
mod works;

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

pub(crate) struct Wishes<'a> {
    pub(crate) check: bool,
    pub(crate) quick: bool,
    pub(crate) write: bool,
    /// Names of works and of sides, separated by commas; without any of a kind, all of that kind.
    pub(crate) only: &'a str,
}

/// Builds the sides, has them work in turns, and shows what came out.
pub(crate) fn run(wishes: &Wishes<'_>) -> Outcome<()> {
    let names: Vec<String> = wishes.only.split(',').map(|name| name.trim().to_lowercase()).filter(|name| !name.is_empty()).collect();
    let is_side = |name: &str| roster::ROSTER.iter().any(|side| side.name == name);
    if let Some(unknown) = names.iter().find(|name| !WORKS.contains(&name.as_str()) && !is_side(name)) {
        let sides = roster::ROSTER.iter().map(|side| side.name).collect::<Vec<_>>().join(" ");
        return Err(Failure(format!("{unknown} is neither a work ({}) nor a side ({sides})", WORKS.join(" "))));
    }
    let wanted_work = |work: &str| names.iter().all(|name| !WORKS.contains(&name.as_str())) || names.iter().any(|name| name == work);
    let wanted_side = |side: &str| names.iter().all(|name| !is_side(name)) || names.iter().any(|name| name == side);
    let plan = Plan::new(wishes.check, wishes.quick);
    let place = Place::new(DISK_NEEDED)?;
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
    if wishes.write {
        report.write()?;
    }
    println!("\n{:.0} s", began.elapsed().as_secs_f64());
    // A peer that fails is shown; this log may not.
    let all = board::TABLES.iter().flat_map(|(_, _, columns)| columns.iter());
    let broken: Vec<&str> =
        all.filter(|column| matches!(board.why_not(1, column.key), Some(Lack::Failed(_)))).map(|column| column.key).collect();
    if broken.is_empty() { Ok(()) } else { Err(Failure(format!("this log failed at {}", broken.join(", ")))) }
}
