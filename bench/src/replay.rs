//! W4: reading records back.

use std::time::Instant;

use crate::Plan;
use crate::abi::{self, Failure, Log, Outcome, WAL_SYNC_NONE};
use crate::bare::{self, frame_len};
use crate::figures::{Goal, Pair, Table, rate};
use crate::place::Place;

pub(crate) fn measure(plan: &Plan, place: &Place, table: &mut Table) -> Outcome<()> {
    table.heading("W4  Replay from the page cache. Limit: read() of 1 MiB and both checksums of every frame");
    size(plan, place, table, 128, Some(10.0))?;
    size(plan, place, table, 1024, None)
}

fn size(plan: &Plan, place: &Place, table: &mut Table, len: usize, millions: Option<f64>) -> Outcome<()> {
    let dir = place.fresh("w4")?;
    let log = Log::open(dir.path(), &abi::options(WAL_SYNC_NONE))?;
    let value = vec![0x5A; len];
    let count = plan.replay_bytes / frame_len(len) as u64;
    for _ in 0..count {
        log.append(&value)?;
    }
    log.sync()?;
    let mut buffer = Vec::new();
    let mut segments = dir.segments(log.stat()?.rotations + 16);
    let mut empty = Vec::new();
    for segment in &segments {
        empty.push(bare::scan(segment, &mut buffer)? == 0);
    }
    let mut empty = empty.into_iter();
    segments.retain(|_| !empty.next().unwrap_or(false));
    let (mut frames, mut plain) = (Pair::default(), Pair::default());
    let per_second = |began: Instant| count as f64 / began.elapsed().as_secs_f64();
    for _ in 0..plan.rounds + 2 {
        let began = Instant::now();
        let mut found = 0;
        for segment in &segments {
            found += bare::scan(segment, &mut buffer)?;
        }
        let limit = per_second(began);
        if found != count {
            return Err(Failure(format!("W4: the files hold {found} records instead of {count}")));
        }
        let began = Instant::now();
        for segment in &segments {
            std::hint::black_box(bare::read_and_hash(segment, &mut buffer)?);
        }
        let hashed = per_second(began);
        let began = Instant::now();
        let mut cursor = log.replay(0)?;
        let mut expected = 0;
        while let Some((seq, value)) = cursor.next()? {
            expected += 1;
            if seq != expected || value.len() != len {
                return Err(Failure(format!("W4: record {seq} instead of {expected}, {} B", value.len())));
            }
        }
        drop(cursor);
        let ours = per_second(began);
        if expected != count {
            return Err(Failure(format!("W4: {expected} records instead of {count}")));
        }
        frames.add(ours, limit);
        plain.add(ours, hashed);
    }
    let title = format!("W4 {len} B, records per second, of the limit");
    table.row(&title, &rate(frames.ours()), &rate(frames.limit()), frames.ratio(), Goal::AtLeast(0.85));
    if let Some(millions) = millions {
        table.row("   the same, millions per second", &rate(frames.ours()), "", frames.ours() / 1e6, Goal::AtLeast(millions));
    }
    table.row("   of read() of 1 MiB and one checksum over it", &rate(plain.ours()), &rate(plain.limit()), plain.ratio(), Goal::None);
    log.close()
}
