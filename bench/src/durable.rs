//! W1 and W2: appends that return when the record is durable.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::Plan;
use crate::abi::{self, Log, Outcome, WAL_SYNC_ALWAYS};
use crate::bare::{Durable, Gathered};
use crate::figures::{Goal, Latencies, Pair, Table, rate, us};
use crate::place::Place;

pub(crate) const VALUE: [u8; 128] = [0x5A; 128];
/// Size of the bare loops' file.
const FILE: usize = 32 << 20;

/// Repeats `body` for as long as `slice` says; how often per second, and each call's time.
fn repeat(slice: Duration, times: &mut Latencies, mut body: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    let began = Instant::now();
    let mut last = began;
    let mut count = 0u64;
    while last - began < slice {
        body()?;
        let now = Instant::now();
        times.0.push((now - last).as_nanos().min(u128::from(u32::MAX)) as u32);
        last = now;
        count += 1;
    }
    Ok(count as f64 / (last - began).as_secs_f64())
}

/// Measures two loops in turns.
pub(crate) fn in_turns(
    plan: &Plan,
    slice: Duration,
    mut ours: impl FnMut() -> Outcome<()>,
    mut limit: impl FnMut() -> Outcome<()>,
) -> Outcome<(Pair, Latencies, Latencies)> {
    let (mut pair, mut our_times, mut limit_times) = (Pair::default(), Latencies::default(), Latencies::default());
    // Neither side pays for what only happens at first.
    for _ in 0..50 {
        ours()?;
        limit()?;
    }
    for round in 0..plan.rounds {
        let (our_rate, limit_rate);
        if round % 2 == 0 {
            limit_rate = repeat(slice, &mut limit_times, &mut limit)?;
            our_rate = repeat(slice, &mut our_times, &mut ours)?;
        } else {
            our_rate = repeat(slice, &mut our_times, &mut ours)?;
            limit_rate = repeat(slice, &mut limit_times, &mut limit)?;
        }
        pair.add(our_rate, limit_rate);
    }
    Ok((pair, our_times.sorted(), limit_times.sorted()))
}

pub(crate) fn percentiles(table: &mut Table, whose: &str, ours: &Latencies, limit: &Latencies, goals: [(&str, f64, Goal); 3]) {
    for (name, share, goal) in goals {
        let (our_us, limit_us) = (ours.us(share), limit.us(share));
        table.row(&format!("   {name}, of {whose}"), &us(our_us), &us(limit_us), our_us / limit_us, goal);
    }
}

/// W1.
pub(crate) fn one_thread(plan: &Plan, place: &Place, table: &mut Table) -> Outcome<()> {
    table.heading("W1  Durable appends, 128 B, one thread. Limit: pwrite + fdatasync into a zero-filled file");
    let dir = place.fresh("w1")?;
    let file = place.fresh("w1.bare")?;
    let log = Log::open(dir.path(), &abi::options(WAL_SYNC_ALWAYS))?;
    let mut bare = Durable::new(file.path(), FILE)?;
    let slice = plan.slice * 2;
    let (pair, ours, limit) = in_turns(plan, slice, || log.append(&VALUE).map(drop), || Ok(bare.append(&VALUE, 1)?))?;
    table.row("W1 appends per second, of the limit", &rate(pair.ours()), &rate(pair.limit()), pair.ratio(), Goal::AtLeast(0.97));
    let goals = [("p50", 0.5, Goal::None), ("p99", 0.99, Goal::AtMost(1.15)), ("p99.9", 0.999, Goal::None)];
    percentiles(table, "the limit's", &ours, &limit, goals);
    let durable = log.stat()?;
    if durable.durable_seq != durable.last_seq || durable.last_seq != ours.0.len() as u64 + 50 {
        return Err(abi::Failure(format!("W1: {} records, {} of them durable", durable.last_seq, durable.durable_seq)));
    }
    log.close()
}

/// W1r.
pub(crate) fn rotating(plan: &Plan, place: &Place, table: &mut Table) -> Outcome<()> {
    let dir = place.fresh("w1r")?;
    let file = place.fresh("w1r.bare")?;
    let mut options = abi::options(WAL_SYNC_ALWAYS);
    // About 20 rotations in the whole run, at some thousand appends per second.
    options.segment_size = 256 << 10;
    let log = Log::open(dir.path(), &options)?;
    let mut bare = Durable::new(file.path(), FILE)?;
    let (pair, ours, limit) = in_turns(plan, plan.slice * 2, || log.append(&VALUE).map(drop), || Ok(bare.append(&VALUE, 1)?))?;
    let rotations = log.stat()?.rotations;
    let title = format!("W1r the same across {rotations} rotations");
    table.row(&title, &rate(pair.ours()), &rate(pair.limit()), pair.ratio(), Goal::None);
    percentiles(
        table,
        "the limit's",
        &ours,
        &limit,
        [("p50", 0.5, Goal::None), ("p99", 0.99, Goal::None), ("p99.9", 0.999, Goal::AtMost(1.2))],
    );
    log.close()
}

/// What `count` threads did together.
pub(crate) struct Together {
    pub(crate) per_second: f64,
    longest_us: f64,
    /// The thread that did least, of the mean.
    least: f64,
}

pub(crate) fn together(log: &Log, count: usize, slice: Duration) -> Outcome<Together> {
    let start = Barrier::new(count + 1);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|_| {
                scope.spawn(|| {
                    let mut times = Latencies::default();
                    times.0.reserve(1 << 16);
                    start.wait();
                    repeat(slice, &mut times, || log.append(&VALUE).map(drop)).map(|_| times)
                })
            })
            .collect();
        start.wait();
        let began = Instant::now();
        let (mut sum, mut least, mut longest) = (0, usize::MAX, 0);
        for thread in threads {
            let times = thread.join().map_err(|_| abi::Failure("W2: a thread panicked".into()))??;
            sum += times.0.len();
            least = least.min(times.0.len());
            longest = longest.max(times.0.iter().copied().max().unwrap_or(0));
        }
        let per_second = sum as f64 / began.elapsed().as_secs_f64();
        Ok(Together { per_second, longest_us: f64::from(longest) / 1000.0, least: least as f64 * count as f64 / sum as f64 })
    })
}

/// Has bare threads append until it is over.
fn bare_together(bare: &Gathered, count: usize) -> Outcome<()> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|_| {
                scope.spawn(|| {
                    while bare.append(&VALUE)? {}
                    Ok::<(), std::io::Error>(())
                })
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| abi::Failure("W2: a thread panicked".into()))??;
        }
        Ok(())
    })
}

/// W2.
pub(crate) fn many_threads(plan: &Plan, place: &Place, table: &mut Table) -> Outcome<()> {
    table.heading("W2  Durable appends, 128 B, many threads. Limit: one caller that writes and syncs ideal batches of as many");
    let dir = place.fresh("w2")?;
    let file = place.fresh("w2.bare")?;
    let log = Log::open(dir.path(), &abi::options(WAL_SYNC_ALWAYS))?;
    let mut bare = Durable::new(file.path(), FILE)?;
    let mut discarded = Latencies::default();
    for (name, count, ideal_goal, single_goal) in
        [("W2", 16, Goal::AtLeast(0.68), Goal::AtLeast(2.5)), ("W2b", 64, Goal::AtLeast(0.36), Goal::None)]
    {
        let (mut ideal, mut single, mut threads) = (Pair::default(), Pair::default(), Pair::default());
        let (mut longest, mut fairness) = (Vec::new(), Vec::new());
        let before = log.stat()?;
        let mut shared = 0.0;
        for _ in 0..plan.rounds {
            let batches = repeat(plan.slice, &mut discarded, || Ok(bare.append(&VALUE, count)?))?;
            let alone = repeat(plan.slice, &mut discarded, || log.append(&VALUE).map(drop))?;
            let alone_syncs = log.stat()?.syncs;
            let done = together(&log, count, plan.slice)?;
            shared += (log.stat()?.syncs - alone_syncs) as f64;
            discarded.0.clear();
            let gathered = Gathered::new(bare, count, plan.slice);
            let began = Instant::now();
            bare_together(&gathered, count)?;
            let elapsed = began.elapsed();
            let records;
            (records, bare) = gathered.end()?;
            threads.add(done.per_second, records as f64 / elapsed.as_secs_f64());
            ideal.add(done.per_second, batches * count as f64);
            single.add(done.per_second, alone);
            longest.push(done.longest_us);
            fairness.push(done.least);
        }
        let after = log.stat()?;
        let title = format!("{name} {count} threads, appends per second, of the limit");
        table.row(&title, &rate(ideal.ours()), &rate(ideal.limit()), ideal.ratio(), ideal_goal);
        let title = "   of as many bare threads: one lock, a sync by the last, all woken at once";
        table.row(title, &rate(threads.ours()), &rate(threads.limit()), threads.ratio(), Goal::None);
        table.row("   the same, times one thread's", &rate(single.ours()), &rate(single.limit()), single.ratio(), single_goal);
        let worst = longest.iter().copied().fold(0.0, f64::max);
        table.row("   longest append, ms", &us(worst), "", worst / 1000.0, Goal::AtMost(20.0));
        table.row("   what the slowest thread did, of the mean", "", "", crate::figures::median(&mut fairness), Goal::None);
        let grouped = together_records(&before, &after, shared);
        table.row("   records in one sync", &format!("{grouped:.1}"), &format!("{count}"), f64::NAN, Goal::None);
    }
    log.close()
}

/// Records in one of the syncs that threads shared; those of the single thread, one sync each, are left out.
fn together_records(before: &abi::Stat, after: &abi::Stat, shared_syncs: f64) -> f64 {
    let alone = (after.syncs - before.syncs) as f64 - shared_syncs;
    ((after.records - before.records) as f64 - alone) / shared_syncs
}
