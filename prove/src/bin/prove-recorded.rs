//! The real storage code under the crash-state generator, and what happens without each of its syncs: see `wal_prove::recorded`.

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use wal_prove::recorded::suite::{self, Tried, run_suite};
use wal_prove::recorded::tools::Tools;

/// Calls in a script, if no argument says otherwise.
const SCRIPT_LEN: usize = 2;

fn main() -> ExitCode {
    let began = Instant::now();
    let len = env::args().nth(1).map_or(Ok(SCRIPT_LEN), |len| len.parse());
    let Ok(len) = len else {
        eprintln!("usage: prove-recorded [calls in a script]");
        return ExitCode::FAILURE;
    };
    let tools = Tools::get();
    let tried = run_suite(tools, len);
    report(&tried);
    println!("in {:.1} s; without each sync in turn:", began.elapsed().as_secs_f32());
    let left = suite::leave_out(tools, &tried.recordings);
    print!("{}", suite::table(&left));
    let caught = left.iter().filter(|left| left.is_caught()).count();
    let spared = left.iter().filter(|left| left.is_spared()).count();
    println!("in {:.1} s", began.elapsed().as_secs_f32());
    println!("tally: sync-sites {} sites", left.len());
    println!("tally: sync-sites-caught {caught} sites");
    println!("tally: sync-sites-explained {spared} sites");
    let mut wrong = tried.wrong;
    wrong.extend(suite::unseen_lines(tools, &tried.recordings));
    wrong.extend(suite::stale_reasons(&left));
    wrong.iter().for_each(|wrong| println!("{wrong}"));
    if wrong.is_empty() && caught + spared == left.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report(tried: &Tried) {
    println!("tally: recorded-scripts {} scripts", tried.scripts);
    println!("tally: recorded-calls {} operations", tried.operations);
    println!("tally: recorded-states {} states", tried.distinct.len());
    println!("tally: recorded-openings {} openings", tried.compared);
}
