//! Records of 16 B to 8 MiB: how fast they are appended, and what they take on disk.

use std::time::{Duration, Instant};

use crate::abi::{self, Log, Outcome, WAL_SYNC_ALWAYS, WAL_SYNC_NONE};
use crate::bare::{Buffered, Durable, frame_len};
use crate::charts::{Axis, Chart, Marks, Series};
use crate::figures::{Table, bytes, median, speed};
use crate::place::Place;
use crate::report::Report;
use crate::{Extent, Plan};

const FILE: usize = 64 << 20;
/// The marks of an axis of sizes.
const SIZE_MARKS: [f64; 7] = [16.0, 128.0, 1024.0, 8192.0, 65_536.0, 524_288.0, 4_194_304.0];
/// Full segments over which the space is counted.
const COUNTED: u64 = 2;
const SEGMENT: u64 = 16 << 20;

/// Bytes appended before the next sync: below what the log syncs in the background.
const PORTION: usize = 8 << 20;

/// Calls per second.
fn repeat(time: Duration, mut body: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < time {
        body()?;
        count += 1;
    }
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

/// Calls per second, in portions between which the disk takes in what was written.
fn in_portions(time: Duration, portion: usize, mut append: impl FnMut() -> Outcome<()>, sync: impl Fn() -> Outcome<()>) -> Outcome<f64> {
    let (began, mut count, mut appending) = (Instant::now(), 0, Duration::ZERO);
    while began.elapsed() < time {
        let from = Instant::now();
        for _ in 0..portion {
            append()?;
        }
        appending += from.elapsed();
        count += portion;
        sync()?;
    }
    Ok(count as f64 / appending.as_secs_f64())
}

/// Bytes on disk for each byte of the records, above 1: of segments that are full.
fn overhead(place: &Place, len: usize) -> Outcome<f64> {
    let dir = place.fresh("space")?;
    let log = Log::open(dir.path(), &abi::options(WAL_SYNC_NONE))?;
    let value = vec![0x5A; len];
    let (mut first, mut rotations) = (0, 0);
    loop {
        let seq = log.append(&value)?;
        // A look at every record would take longer than the record, unless it fills the segment.
        if seq % (1 + SEGMENT / 4096 / len as u64) != 0 {
            continue;
        }
        let now = log.stat()?.rotations;
        if now > rotations {
            match now {
                1 => first = seq,
                _ if now > COUNTED => {
                    log.close()?;
                    return Ok((SEGMENT * COUNTED) as f64 / ((seq - first) * len as u64) as f64 - 1.0);
                }
                _ => {}
            }
            rotations = now;
        }
    }
}

pub(super) fn measure(plan: &Plan, place: &Place, table: &mut Table, report: &Report) -> Outcome<()> {
    let columns = ["record", "durable", "of its limit", "WAL_SYNC_NONE", "of its limit", "frame, %", "on disk, %"];
    let title = "Records of one size, one thread, segments of 16 MiB. Limits: pwrite + fdatasync of each; a buffer of 1 MiB. Syncs of NONE are not timed. \
                 Overhead: header and padding of a frame; everything in full segments";
    table.grid(title, &columns);
    let sizes: &[usize] = if plan.extent == Extent::Check {
        &[16, 8 << 20]
    } else {
        &[16, 64, 128, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 8 << 20]
    };
    let names = ["durable", "limit of durable", "WAL_SYNC_NONE", "limit of WAL_SYNC_NONE"];
    let mut speeds = names.map(|name| Series { name: name.into(), points: Vec::new() });
    let mut space = ["on disk", "frame alone"].map(|name| Series { name: name.into(), points: Vec::new() });
    for &len in sizes {
        let (dir, none_dir) = (place.fresh("sizes")?, place.fresh("sizes.none")?);
        let (file, none_file) = (place.fresh("sizes.bare")?, place.fresh("sizes.none.bare")?);
        let log = Log::open(dir.path(), &abi::options(WAL_SYNC_ALWAYS))?;
        let none = Log::open(none_dir.path(), &abi::options(WAL_SYNC_NONE))?;
        let mut durable = Durable::new(file.path(), FILE)?;
        let buffered = Buffered::new(none_file.path(), FILE)?;
        let value = vec![0x5A; len];
        let portion = (PORTION / frame_len(len)).max(1);
        let mut rates: [Vec<f64>; 4] = Default::default();
        // The first round fills segments that are then used again.
        for round in 0..plan.rounds.min(3) + 1 {
            let ours = repeat(plan.slice, || log.append(&value).map(drop))?;
            let limit = repeat(plan.slice, || Ok(durable.append(&value, 1)?))?;
            log.truncate(log.checkpoint(log.last_seq())?)?;
            let none_ours = in_portions(plan.slice, portion, || none.append(&value).map(drop), || none.sync())?;
            none.truncate(none.checkpoint(none.last_seq())?)?;
            let none_limit = in_portions(plan.slice, portion, || Ok(buffered.append(&value)?), || Ok(buffered.sync()?))?;
            if round > 0 {
                for (rates, rate) in rates.iter_mut().zip([ours, limit, none_ours, none_limit]) {
                    rates.push(rate * len as f64);
                }
            }
        }
        none.close()?;
        log.close()?;
        let rates = rates.map(|mut rates| median(&mut rates));
        for (series, rate) in speeds.iter_mut().zip(rates) {
            series.points.push((len as f64, rate / 1e6));
        }
        let frame = 100.0 * (frame_len(len) as f64 / len as f64 - 1.0);
        let on_disk = 100.0 * overhead(place, len)?;
        for (series, percent) in space.iter_mut().zip([on_disk, frame]) {
            series.points.push((len as f64, percent));
        }
        let ratio = |ours: f64, limit: f64| format!("{:.2}", ours / limit);
        let percent = |percent: f64| format!("{percent:.3}");
        let [durable, durable_limit, none, none_limit] = rates;
        table.line(vec![
            bytes(len as f64),
            speed(durable),
            ratio(durable, durable_limit),
            speed(none),
            ratio(none, none_limit),
            percent(frame),
            percent(on_disk),
        ]);
    }
    let sizes = || Axis { label: "record size", marks: Marks::At(&SIZE_MARKS), format: bytes };
    let speeds = Chart {
        name: "sizes",
        title: "Appending records of one size, one thread",
        x: sizes(),
        y: Axis { label: "MB/s", marks: Marks::Powers(10.0), format: |speed| format!("{speed}") },
        series: speeds.into(),
    };
    speeds.keep(report)?;
    let space = Chart {
        name: "space",
        title: "What a record takes beside its own bytes, segments of 16 MiB",
        x: sizes(),
        y: Axis { label: "per cent of the record", marks: Marks::Powers(10.0), format: |percent| format!("{percent} %") },
        series: space.into(),
    };
    space.keep(report)
}
