//! Where the instructions of one append and of one record of a replay go.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;

use crate::abi::{self, Cursor, Failure, Log, Options, Outcome, WAL_SYNC_ALWAYS, WAL_SYNC_BATCH, WAL_SYNC_NONE, WAL_SYNC_OS};
use crate::bare::{self, Buffered};
use crate::callgrind;
use crate::figures::Table;
use crate::place::Place;
use crate::{Extent, Plan};

/// The first argument of the process whose instructions are counted.
pub(crate) const CHILD: &str = "--instructions";
const RECORDS: u64 = 10_000;
const VALUE: [u8; 128] = [7; 128];
const WORKS: [(&str, &str); 7] = [
    ("none", "NONE"),
    ("bare-none", "limit of NONE"),
    ("os", "OS"),
    ("batch", "BATCH of 100"),
    ("always", "ALWAYS"),
    ("replay", "replay"),
    ("bare-replay", "limit of replay"),
];

/// What sources are for, the first prefix that fits. The library's are below the root of its tree.
const GROUPS: [(&str, &str); 23] = [
    ("bench/src/bare", "the bare loops"),
    ("src/", "shell: arguments, panics, forks"),
    ("engine/src/format/checksum", "checksums"),
    ("engine/src/format/frame", "frame header"),
    ("engine/src/format/", "frame header"),
    ("engine/src/commit/append", "place in the log, counters"),
    ("engine/src/commit/exclusive", "place in the log, counters"),
    ("engine/src/commit/state", "place in the log, counters"),
    ("engine/src/commit/mod", "lock and roles"),
    ("engine/src/commit/histogram", "place in the log, counters"),
    ("engine/src/commit/", "group commit"),
    ("engine/src/sync", "lock and roles"),
    ("engine/src/bell", "lock and roles"),
    ("engine/src/segment/buffer", "copying"),
    ("engine/src/segment/payload", "copying"),
    ("engine/src/segment/scan", "walking frames"),
    ("engine/src/cursor", "cursor"),
    ("engine/src/log/replay", "cursor"),
    ("engine/src/log/", "place in the log, counters"),
    ("engine/src/protocol/", "place in the log, counters"),
    ("engine/src/seq", "place in the log, counters"),
    ("engine/src/chain", "what readers may see"),
    ("engine/src/", "files, events and the rest"),
];

/// What is counted: everything between entry and return, calls included.
#[unsafe(no_mangle)]
#[inline(never)]
fn wal_bench_counted(work: &mut dyn FnMut()) {
    work();
}

pub(crate) fn child(work: &str, dir: &Path) -> Outcome<()> {
    if work == "bare-none" {
        let bare = Buffered::new(dir, 4 << 20)?;
        let mut outcome = Ok(());
        wal_bench_counted(&mut || outcome = (0..RECORDS).try_for_each(|_| bare.append(&VALUE)));
        return Ok(outcome?);
    }
    let options = match work {
        "always" => abi::options(WAL_SYNC_ALWAYS),
        "batch" => Options { batch_records: 100, batch_interval_us: 0, ..abi::options(WAL_SYNC_BATCH) },
        "os" => abi::options(WAL_SYNC_OS),
        "none" | "replay" | "bare-replay" => abi::options(WAL_SYNC_NONE),
        _ => return Err(Failure(format!("{work} is no work"))),
    };
    let log = Log::open(dir, &options)?;
    log.append(&VALUE)?;
    log.sync()?;
    let mut outcome = Ok(());
    if work.ends_with("replay") {
        for _ in 0..RECORDS {
            log.append(&VALUE)?;
        }
        if work == "bare-replay" {
            log.close()?;
            return read_bare(dir);
        }
        let mut cursor = log.replay(0)?;
        // The first record has the segment opened and a buffer made.
        cursor.next()?;
        wal_bench_counted(&mut || outcome = (0..RECORDS).try_for_each(|_| read(&mut cursor)));
    } else {
        wal_bench_counted(&mut || outcome = (0..RECORDS).try_for_each(|_| log.append(&VALUE).map(drop)));
    }
    outcome?;
    log.close()
}

fn read_bare(dir: &Path) -> Outcome<()> {
    let (mut buffer, mut outcome) = (Vec::new(), Ok(0));
    wal_bench_counted(&mut || outcome = bare::scan(&dir.join("0000000001.wal"), &mut buffer));
    let records = outcome?;
    if records == RECORDS + 1 { Ok(()) } else { Err(Failure(format!("{records} records instead of {RECORDS}"))) }
}

fn read(cursor: &mut Cursor) -> Outcome<()> {
    cursor.next()?.map(drop).ok_or_else(|| Failure("a record is missing".into()))
}

pub(crate) fn measure(plan: &Plan, place: &Place, table: &mut Table) -> Outcome<()> {
    let program = env::current_exe()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default();
    let works = if plan.extent == Extent::Check { &WORKS[..1] } else { &WORKS[..] };
    let mut groups: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (at, (work, _)) in works.iter().enumerate() {
        let dir = place.fresh(&format!("budget-{work}"))?;
        let arguments = [CHILD.as_ref(), work.as_ref(), dir.path().as_os_str()];
        let costs = callgrind::count(place, &program, &arguments, "wal_bench_counted")?;
        let sources = callgrind::sources(&program, &costs)?;
        for (cost, source) in costs.iter().zip(&sources) {
            let group = group(cost, source, &root);
            groups.entry(group).or_insert_with(|| vec![0.0; works.len()])[at] += cost.instructions as f64 / RECORDS as f64;
        }
    }
    // The loop itself, and what turns a status into a Rust error, is not the library's.
    groups.remove(CALLER);
    let mut groups: Vec<(&str, Vec<f64>)> = groups.into_iter().collect();
    groups.sort_by(|one, other| other.1[0].total_cmp(&one.1[0]));
    let columns: Vec<&str> = ["instructions"].into_iter().chain(works.iter().map(|(_, title)| *title)).collect();
    table.grid("Instructions of one append of 128 B in each sync mode, and of reading one record; the kernel's are not counted", &columns);
    let mut sums = vec![0.0; works.len()];
    for (group, counts) in groups {
        table.line([group.to_string()].into_iter().chain(counts.iter().map(|count| format!("{count:.1}"))).collect());
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    table.line(["all".to_string()].into_iter().chain(sums.iter().map(|sum| format!("{sum:.1}"))).collect());
    if sums.contains(&0.0) {
        return Err(Failure("nothing was counted in one of the modes".into()));
    }
    Ok(())
}

const CALLER: &str = "the caller";

fn group(cost: &callgrind::Cost, source: &str, root: &Path) -> &'static str {
    if source.contains("/crc32fast-") {
        return "checksums";
    }
    // Paths of the build are relative to where it ran, or go by way of `bench/..`.
    let source = Path::new(source).components().fold(std::path::PathBuf::new(), |mut path, part| {
        if part == std::path::Component::ParentDir {
            path.pop();
        } else {
            path.push(part);
        }
        path
    });
    if let Ok(inside) = source.strip_prefix(root) {
        let inside = inside.to_string_lossy();
        return GROUPS.iter().find(|(prefix, _)| inside.starts_with(prefix)).map_or(CALLER, |(_, group)| group);
    }
    let function = cost.function.as_str();
    if function.contains("memcpy") || function.contains("memmove") {
        "copying"
    } else if function.contains("clock_gettime") {
        "clock"
    } else {
        "standard and C library"
    }
}
