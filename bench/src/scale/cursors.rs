//! 1 to 100 cursors on one log.

use std::path::Path;
use std::time::Instant;

use crate::abi::{self, Failure, Log, Outcome, WAL_SYNC_NONE};
use crate::figures::{Table, bytes, rate};
use crate::memory::resident;
use crate::place::Place;
use crate::report::Report;
use crate::{Extent, Plan};

const VALUE: [u8; 128] = [0x5A; 128];
/// Records that a cursor reads at one turn, in the second reading.
const RUN: u64 = 100;

/// Opens so many cursors, reads all records with each, one record from each in turn, and appends with all of them open; then the same reading in runs.
/// Prints bytes of memory, records read in a second, the same in runs, and appends in a second.
pub(super) fn child(dir: &Path, count: u64, records: u64) -> Outcome<()> {
    let log = Log::open(dir, &abi::options(WAL_SYNC_NONE))?;
    for _ in 0..records {
        log.append(&VALUE)?;
    }
    log.sync()?;
    let before = resident()?;
    let mut cursors = (0..count).map(|_| log.replay(0)).collect::<Outcome<Vec<_>>>()?;
    let began = Instant::now();
    for expected in 1..=records {
        for cursor in &mut cursors {
            let seq = cursor.next()?.map(|(seq, _)| seq);
            if seq != Some(expected) {
                return Err(Failure(format!("record {seq:?} instead of {expected}")));
            }
        }
    }
    let per_second = |began: Instant| (records * count) as f64 / began.elapsed().as_secs_f64();
    let read = per_second(began);
    let memory = resident()?.saturating_sub(before);
    let began = Instant::now();
    for _ in 0..records {
        log.append(&VALUE)?;
    }
    let appended = records as f64 / began.elapsed().as_secs_f64();
    drop(cursors);
    let mut cursors = (0..count).map(|_| log.replay(records)).collect::<Outcome<Vec<_>>>()?;
    let began = Instant::now();
    for _ in 0..records / RUN {
        for cursor in &mut cursors {
            for _ in 0..RUN {
                cursor.next()?;
            }
        }
    }
    let runs = per_second(began);
    drop(cursors);
    println!("{memory} {read} {runs} {appended}");
    log.close()
}

pub(super) fn measure(plan: &Plan, place: &Place, table: &mut Table, _report: &Report) -> Outcome<()> {
    table.grid(
        "Cursors that read the same 128 B records in turns, one thread",
        &["cursors", "records/s, 1 at a turn", "records/s, 100 at a turn", "memory of each", "appends/s meanwhile"],
    );
    let counts: &[u64] = if plan.extent == Extent::Check { &[1, 100] } else { &[1, 10, 100] };
    for &count in counts {
        let records = match plan.extent {
            Extent::Check => 1000,
            // More than one segment, so that all of them change it.
            _ => 120_000,
        };
        let dir = place.fresh("cursors")?;
        let [memory, read, runs, appended] = super::ask("cursors", dir.path(), &[count, records])?;
        table.line(vec![count.to_string(), rate(read), rate(runs), bytes(memory / count as f64), rate(appended)]);
    }
    Ok(())
}
