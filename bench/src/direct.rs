//! D: writes past the page cache, beside the same log's through it.

use crate::Plan;
use crate::abi::{self, Log, Outcome, WAL_SYNC_ALWAYS};
use crate::bare::{Durable, PastCache};
use crate::durable::{Together, VALUE, in_turns, percentiles, together};
use crate::figures::{Goal, Pair, Table, bytes, rate};
use crate::place::{Place, Scratch};

/// Size of the bare loops' files.
const FILE: usize = 32 << 20;
const SIZES: [usize; 6] = [128, 1 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];

pub(crate) fn measure(plan: &Plan, place: &Place, table: &mut Table) -> Outcome<()> {
    table.heading("D  Durable appends with WAL_OPTION_DIRECT. Limit: the same log without it, unless a row says otherwise");
    against_bare_loops(plan, place, table)?;
    for size in SIZES {
        let (_dirs, ours, theirs) = both(place)?;
        let value = vec![0x5A; size];
        let append = |log: &Log| log.append(&value).map(drop);
        let (pair, our_times, their_times) = in_turns(plan, plan.slice, || append(&ours), || append(&theirs))?;
        let title = format!("D one thread, {}", bytes(size as f64));
        table.row(&title, &rate(pair.ours()), &rate(pair.limit()), pair.ratio(), Goal::None);
        if size == VALUE.len() {
            percentiles(
                table,
                "the other's",
                &our_times,
                &their_times,
                [("p50", 0.5, Goal::None), ("p99", 0.99, Goal::None), ("p99.9", 0.999, Goal::None)],
            );
        }
        ours.close()?;
        theirs.close()?;
    }
    let (_dirs, ours, theirs) = both(place)?;
    for count in [4, 16, 64] {
        let mut pair = Pair::default();
        for _ in 0..plan.rounds {
            let Together { per_second: other, .. } = together(&theirs, count, plan.slice)?;
            pair.add(together(&ours, count, plan.slice)?.per_second, other);
        }
        table.row(&format!("D {count} threads, 128 B"), &rate(pair.ours()), &rate(pair.limit()), pair.ratio(), Goal::None);
    }
    ours.close()?;
    theirs.close()
}

/// New logs with direct writes and without, and their directories, which go when they are dropped.
fn both(place: &Place) -> Outcome<([Scratch; 2], Log, Log)> {
    let dirs = [place.fresh("direct")?, place.fresh("cached")?];
    let ours = Log::open(dirs[0].path(), &abi::direct_options())?;
    let theirs = Log::open(dirs[1].path(), &abi::options(WAL_SYNC_ALWAYS))?;
    Ok((dirs, ours, theirs))
}

fn against_bare_loops(plan: &Plan, place: &Place, table: &mut Table) -> Outcome<()> {
    let dir = place.fresh("direct")?;
    let file = place.fresh("direct.bare")?;
    let log = Log::open(dir.path(), &abi::direct_options())?;
    let mut bare = PastCache::new(file.path(), FILE)?;
    let (pair, ..) = in_turns(plan, plan.slice, || log.append(&VALUE).map(drop), || Ok(bare.append(&VALUE)?))?;
    let title = "D 128 B, of a bare loop: whole blocks, O_DIRECT, fdatasync";
    table.row(title, &rate(pair.ours()), &rate(pair.limit()), pair.ratio(), Goal::None);
    let file = place.fresh("cached.bare")?;
    let mut bare = Durable::new(file.path(), FILE)?;
    let (pair, ..) = in_turns(plan, plan.slice, || log.append(&VALUE).map(drop), || Ok(bare.append(&VALUE, 1)?))?;
    table.row("D 128 B, of the limit of W1", &rate(pair.ours()), &rate(pair.limit()), pair.ratio(), Goal::None);
    log.close()
}
