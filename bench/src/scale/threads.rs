//! 1 to 64 threads.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::abi::{self, Failure, Log, Outcome, WAL_SYNC_ALWAYS, WAL_SYNC_NONE};
use crate::bare::Durable;
use crate::charts::{Axis, Chart, Marks, Series};
use crate::figures::{Table, median, rate};
use crate::place::Place;
use crate::report::Report;
use crate::{Extent, Plan};

const VALUE: [u8; 128] = [0x5A; 128];
const FILE: usize = 32 << 20;
/// Between two looks at the clock of a thread whose appends take less than that.
const UNSEEN: u64 = 64;

/// Appends per second of so many threads together.
fn together(log: &Log, value: &[u8], threads: usize, time: Duration, unseen: u64) -> Outcome<f64> {
    let start = Barrier::new(threads + 1);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    let (began, mut count) = (Instant::now(), 0);
                    while began.elapsed() < time {
                        for _ in 0..unseen {
                            log.append(value)?;
                        }
                        count += unseen;
                    }
                    Ok::<u64, Failure>(count)
                })
            })
            .collect();
        start.wait();
        let (began, mut sum) = (Instant::now(), 0);
        for thread in threads {
            sum += thread.join().map_err(|_| Failure("a thread panicked".into()))??;
        }
        Ok(sum as f64 / began.elapsed().as_secs_f64())
    })
}

pub(super) fn measure(plan: &Plan, place: &Place, table: &mut Table, report: &Report) -> Outcome<()> {
    let columns = ["threads", "durable", "limit: ideal batches", "ratio", "WAL_SYNC_NONE", "of one thread"];
    table.grid("Appends of 128 B per second by threads", &columns);
    let counts: &[usize] = if plan.extent == Extent::Check { &[1, 64] } else { &[1, 2, 4, 8, 16, 32, 64] };
    let (dir, none_dir, file) = (place.fresh("threads")?, place.fresh("threads.none")?, place.fresh("threads.bare")?);
    let log = Log::open(dir.path(), &abi::options(WAL_SYNC_ALWAYS))?;
    let none = Log::open(none_dir.path(), &abi::options(WAL_SYNC_NONE))?;
    let mut bare = Durable::new(file.path(), FILE)?;
    let (mut durable, mut limits, mut unsynced) = (Vec::new(), Vec::new(), Vec::new());
    for &count in counts {
        let (mut ours, mut limit, mut buffered) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..plan.rounds.min(5) {
            let (began, mut batches) = (Instant::now(), 0);
            while began.elapsed() < plan.slice {
                bare.append(&VALUE, count)?;
                batches += 1;
            }
            limit.push((batches * count) as f64 / began.elapsed().as_secs_f64());
            ours.push(together(&log, &VALUE, count, plan.slice, 1)?);
            buffered.push(together(&none, &VALUE, count, plan.slice, UNSEEN)?);
            for log in [&log, &none] {
                log.truncate(log.checkpoint(log.last_seq())?)?;
            }
        }
        let figures = [median(&mut ours), median(&mut limit), median(&mut buffered)];
        for (points, figure) in [&mut durable, &mut limits, &mut unsynced].into_iter().zip(figures) {
            points.push((count as f64, figure));
        }
        let [ours, limit, buffered] = figures;
        let alone = unsynced.first().map_or(f64::NAN, |first| buffered / first.1);
        table.line(vec![count.to_string(), rate(ours), rate(limit), format!("{:.2}", ours / limit), rate(buffered), format!("{alone:.2}")]);
    }
    none.close()?;
    log.close()?;
    let chart = Chart {
        name: "threads",
        title: "Appends of 128 B by threads",
        x: Axis { label: "threads", marks: Marks::Powers(2.0), format: |threads| format!("{threads}") },
        y: Axis { label: "appends per second", marks: Marks::Powers(10.0), format: count },
        series: vec![
            Series { name: "durable".into(), points: durable },
            Series { name: "limit of durable: ideal batches".into(), points: limits },
            Series { name: "WAL_SYNC_NONE".into(), points: unsynced },
        ],
    };
    chart.keep(report)
}

/// 1, 10 k, 1 M.
fn count(count: f64) -> String {
    match count {
        many if many >= 1e6 => format!("{} M", many / 1e6),
        many if many >= 1e3 => format!("{} k", many / 1e3),
        few => few.to_string(),
    }
}
