//! How long durable appends take, one by one, while segments are filled, changed and forgotten.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::abi::{self, Failure, Log, Outcome, WAL_SYNC_ALWAYS};
use crate::bare::Durable;
use crate::charts::{Axis, Chart, Marks, Series};
use crate::figures::{Latencies, Table, us};
use crate::place::Place;
use crate::report::Report;
use crate::{Extent, Plan};

const VALUE: [u8; 128] = [0x5A; 128];
const FILE: usize = 32 << 20;
/// Small, so that one is filled every few hundred milliseconds.
const SEGMENT: u64 = 1 << 20;
/// Between two checkpoints, each followed by a truncation.
const TRUNCATE_EVERY: Duration = Duration::from_millis(250);
const SHARES: [(&str, f64); 6] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("longest", 1.0)];

/// Appends in several threads for so long; every call's time.
fn in_threads(count: usize, time: Duration, append: impl Fn() -> Outcome<()> + Sync) -> Outcome<Latencies> {
    let start = Barrier::new(count);
    let all = thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|_| {
                scope.spawn(|| {
                    let mut times = Vec::with_capacity(1 << 20);
                    start.wait();
                    let began = Instant::now();
                    let mut last = began;
                    while last - began < time {
                        append()?;
                        let now = Instant::now();
                        times.push((now - last).as_nanos().min(u128::from(u32::MAX)) as u32);
                        last = now;
                    }
                    Ok::<_, Failure>(times)
                })
            })
            .collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| Failure("latency: a thread panicked".into()))??);
        }
        Ok::<_, Failure>(all)
    })?;
    Ok(Latencies(all).sorted())
}

/// Our appends; with `busy`, in small segments that a further thread forgets.
fn ours(place: &Place, count: usize, time: Duration, busy: bool) -> Outcome<(Latencies, u64)> {
    let dir = place.fresh("latency")?;
    let mut options = abi::options(WAL_SYNC_ALWAYS);
    options.segment_size = if busy { SEGMENT } else { 0 };
    let log = Log::open(dir.path(), &options)?;
    let done = AtomicBool::new(false);
    let times = thread::scope(|scope| {
        let truncating = scope.spawn(|| {
            while busy && !done.load(Ordering::Relaxed) {
                thread::sleep(TRUNCATE_EVERY.min(time / 4));
                log.truncate(log.checkpoint(log.last_seq())?)?;
            }
            Ok::<_, Failure>(())
        });
        let times = in_threads(count, time, || log.append(&VALUE).map(drop));
        done.store(true, Ordering::Relaxed);
        truncating.join().map_err(|_| Failure("latency: a thread panicked".into()))??;
        times
    })?;
    let rotations = log.stat()?.rotations;
    log.close()?;
    Ok((times, rotations))
}

pub(crate) fn measure(plan: &Plan, place: &Place, table: &mut Table, report: &Report) -> Outcome<()> {
    let time = match plan.extent {
        Extent::Check => Duration::from_millis(100),
        Extent::Quick => Duration::from_secs(1),
        Extent::Full => Duration::from_secs(12),
    };
    let columns: Vec<&str> = ["", "appends"].into_iter().chain(SHARES.map(|(name, _)| name)).collect();
    let title = format!(
        "Latency of durable appends of 128 B. Busy: segments of {} MiB, and a checkpoint and a truncation every {} ms",
        SEGMENT >> 20,
        TRUNCATE_EVERY.as_millis()
    );
    table.grid(&title, &columns);
    let file = place.fresh("latency.bare")?;
    let bare = std::sync::Mutex::new(Durable::new(file.path(), FILE)?);
    let poisoned = |_| Failure("latency: a thread panicked".into());
    let mut lines =
        vec![("limit: pwrite + fdatasync".to_string(), in_threads(1, time, || Ok(bare.lock().map_err(poisoned)?.append(&VALUE, 1)?))?)];
    for (count, busy) in [(1, false), (1, true), (16, false), (16, true)] {
        let (times, rotations) = ours(place, count, time, busy)?;
        let threads = if count == 1 { "1 thread".into() } else { format!("{count} threads") };
        let name = if busy { format!("{threads}, busy") } else { threads };
        if busy && rotations == 0 && plan.extent == Extent::Full {
            return Err(Failure("latency: no segment was filled".into()));
        }
        lines.push((name, times));
    }
    let mut series = Vec::new();
    for (name, times) in lines {
        let figures = SHARES.map(|(_, share)| times.us(share));
        table.line([name.clone(), times.0.len().to_string()].into_iter().chain(figures.map(us)).collect());
        let drawn = SHARES.iter().zip(figures).filter(|((_, share), _)| *share < 1.0);
        // What lies beyond so few calls is chance.
        let drawn = drawn.filter(|((_, share), _)| (1.0 - share) * times.0.len() as f64 >= 5.0);
        series.push(Series { name, points: drawn.map(|((_, share), us)| ((1.0 / (1.0 - share)).round(), us)).collect() });
    }
    let chart = Chart {
        name: "latency",
        title: "Durable appends of 128 B: how long one takes",
        x: Axis {
            label: "share of the appends that take no longer",
            marks: Marks::At(&[2.0, 10.0, 100.0, 1000.0, 10_000.0]),
            format: share,
        },
        y: Axis {
            label: "time",
            marks: Marks::Powers(10.0),
            format: |us| if us >= 1000.0 { format!("{} ms", us / 1000.0) } else { format!("{us} µs") },
        },
        series,
    };
    chart.keep(report)
}

fn share(one_of: f64) -> String {
    let percent = 100.0 - 100.0 / one_of;
    format!("{percent:.2}").trim_end_matches('0').trim_end_matches('.').to_string() + " %"
}
