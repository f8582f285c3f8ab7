//! W3: appends that return when the record is in the log's buffer.

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use crate::Plan;
use crate::abi::{self, Failure, Log, Outcome, WAL_SYNC_NONE};
use crate::allocations;
use crate::bare::{Buffered, frame_len};
use crate::figures::{Goal, Pair, Table, rate};
use crate::place::Place;

/// Frames appended in a round: below what the log syncs in the background, so that only appending is measured.
const ROUND: usize = 8 << 20;
/// The bare file, and our segments: eight rounds.
const FILE: usize = 64 << 20;
/// Frames appended in a round of the work that goes on across rotations and background syncs.
const LONG_ROUND: usize = 96 << 20;
const THREADS: usize = 4;
/// Rounds that do not count.
const WARM_UP: usize = 17;

fn repeat(count: usize, mut body: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    let began = Instant::now();
    for _ in 0..count {
        body()?;
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

pub(crate) fn measure(plan: &Plan, place: &Place, table: &mut Table) -> Outcome<()> {
    table.heading("W3  WAL_SYNC_NONE, one thread. Limit: the same frames and checksums, one lock, a buffer of 1 MiB, write()");
    // 5 M/s is the library's goal on a machine of the kind that the figures in docs/PERFORMANCE.md come from.
    size(plan, place, table, 128, Some(5.0))?;
    size(plan, place, table, 1024, None)?;
    Ok(())
}

fn size(plan: &Plan, place: &Place, table: &mut Table, len: usize, millions: Option<f64>) -> Outcome<()> {
    let value = vec![0x5A; len];
    let count = ROUND / frame_len(len);
    let dir = place.fresh("w3")?;
    let file = place.fresh("w3.bare")?;
    let mut options = abi::options(WAL_SYNC_NONE);
    options.segment_size = FILE as u64;
    let log = Log::open(dir.path(), &options)?;
    let bare = Buffered::new(file.path(), FILE)?;
    let (mut one, mut four) = (Pair::default(), Pair::default());
    let mut allocated = 0;
    let mut appended = 0;
    // First until segments are used again: preparing new ones would take the other core and the memory away from what is measured.
    for round in 0..WARM_UP + plan.rounds * 4 {
        bare.sync()?;
        let limit = repeat(count, || Ok(bare.append(&value)?))?;
        bare.sync()?;
        let before = allocations::count();
        let ours = repeat(count, || log.append(&value).map(drop))?;
        let after = allocations::count();
        log.sync()?;
        let all = together(&log, &value, count)?;
        log.sync()?;
        if round >= WARM_UP {
            one.add(ours, limit);
            four.add(all, ours);
            allocated += after - before;
            appended += count as u64;
        }
        if round % 8 == 7 {
            log.truncate(log.checkpoint(log.last_seq())?)?;
        }
    }
    table.row(
        &format!("W3 {len} B, appends per second, of the limit"),
        &rate(one.ours()),
        &rate(one.limit()),
        one.ratio(),
        Goal::AtLeast(0.9),
    );
    if let Some(millions) = millions {
        table.row("   the same, millions per second", &rate(one.ours()), "", one.ours() / 1e6, Goal::AtLeast(millions));
    }
    if allocations::COUNTED {
        let title = format!("   heap allocations in {appended} appends");
        table.row(&title, &allocated.to_string(), "", allocated as f64, Goal::Must(0.0));
    }
    let title = format!("W3m {THREADS} threads together, of one thread");
    table.row(&title, &rate(four.ours()), &rate(four.limit()), four.ratio(), Goal::AtLeast(0.8));
    log.close()?;
    drop((dir, file));
    long(plan, place, table, &value)
}

/// `count` appends by several threads.
fn together(log: &Log, value: &[u8], count: usize) -> Outcome<f64> {
    let start = Barrier::new(THREADS + 1);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    (0..count / THREADS).try_for_each(|_| log.append(value).map(drop))
                })
            })
            .collect();
        start.wait();
        let began = Instant::now();
        for thread in threads {
            thread.join().map_err(|_| Failure("W3: a thread panicked".into()))??;
        }
        Ok((count / THREADS * THREADS) as f64 / began.elapsed().as_secs_f64())
    })
}

/// Default segments, filled one after the other, and truncated between the rounds so that they are used again.
fn long(plan: &Plan, place: &Place, table: &mut Table, value: &[u8]) -> Outcome<()> {
    let dir = place.fresh("w3l")?;
    let file = place.fresh("w3l.bare")?;
    let log = Log::open(dir.path(), &abi::options(WAL_SYNC_NONE))?;
    let bare = Buffered::new(file.path(), LONG_ROUND)?;
    let count = LONG_ROUND / frame_len(value.len());
    let mut pair = Pair::default();
    for round in 0..plan.rounds.min(5) + 1 {
        let limit = repeat(count, || Ok(bare.append(value)?))?;
        bare.sync()?;
        let ours = repeat(count, || log.append(value).map(drop))?;
        log.truncate(log.checkpoint(log.last_seq())?)?;
        if round > 0 {
            pair.add(ours, limit);
        }
    }
    let stat = log.stat()?;
    let title = format!("W3 {} B, {} rotations, {} syncs; limit never syncs", value.len(), stat.rotations, stat.syncs);
    table.row(&title, &rate(pair.ours()), &rate(pair.limit()), pair.ratio(), Goal::None);
    log.close()
}
