//! W6: forgetting half of a large log while another thread appends.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::abi::{self, Failure, Log, Outcome, WAL_SYNC_ALWAYS};
use crate::bare::{Durable, zero_filled};
use crate::figures::{Goal, Pair, Table, us};
use crate::place::Place;
use crate::{Extent, Plan};

const VALUE: [u8; 128] = [0x5A; 128];
/// Of which a truncation frees eight in a log of a GiB.
const SEGMENT: u64 = 64 << 20;
const BARE_FILE: usize = 32 << 20;

/// The longest appends before and after the moment of a truncation, in equally long spans of time, and how long the call took; microseconds.
struct Watched {
    call: f64,
    before: f64,
    after: f64,
}

/// Appends go on in a thread of their own while `truncate` is called.
fn watch(span: Duration, append: impl FnMut() -> Outcome<()> + Send, truncate: impl FnOnce() -> Outcome<()>) -> Outcome<Watched> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let appender = scope.spawn(|| {
            let mut append = append;
            let mut times: Vec<(Instant, Instant)> = Vec::with_capacity(1 << 16);
            while !done.load(Ordering::Relaxed) {
                let began = Instant::now();
                append()?;
                times.push((began, Instant::now()));
            }
            Ok::<_, Failure>(times)
        });
        // What the first appends cost is not looked at.
        thread::sleep(span / 4);
        let watched_from = Instant::now();
        thread::sleep(span);
        let began = Instant::now();
        let truncated = truncate();
        let call = began.elapsed();
        thread::sleep(span.saturating_sub(call));
        done.store(true, Ordering::Relaxed);
        let times = appender.join().map_err(|_| Failure("W6: a thread panicked".into()))??;
        truncated?;
        let longest = |from: Instant, to: Instant| {
            let within = times.iter().filter(|(start, end)| *end > from && *start < to);
            within.map(|(start, end)| (*end - *start).as_nanos() as f64 / 1e3).fold(0.0, f64::max)
        };
        Ok(Watched { call: call.as_nanos() as f64 / 1e3, before: longest(watched_from, began), after: longest(began, began + span) })
    })
}

/// As many files as a truncation forgets, renamed into a pool and back.
struct Pool {
    dir: PathBuf,
    files: u64,
    renamed: bool,
}

impl Pool {
    fn new(dir: &Path, files: u64) -> Outcome<Pool> {
        fs::create_dir(dir)?;
        for file in 0..files {
            // What is in a file does not matter to a rename.
            zero_filled(&dir.join(format!("{file}.wal")), 4096)?;
        }
        Ok(Pool { dir: dir.into(), files, renamed: false })
    }

    fn swap(&mut self) -> Outcome<()> {
        let names = |file| (self.dir.join(format!("{file}.wal")), self.dir.join(format!("{file}.spare")));
        for (segment, spare) in (0..self.files).map(names) {
            if self.renamed { fs::rename(spare, segment)? } else { fs::rename(segment, spare)? }
        }
        self.renamed = !self.renamed;
        Ok(File::open(&self.dir)?.sync_all()?)
    }
}

/// Where the segments of the log end, as far as it was filled here.
#[derive(Default)]
struct Ends {
    rotations: u64,
    seqs: VecDeque<u64>,
}

impl Ends {
    /// Fills the log until so many segments are full.
    fn fill(&mut self, log: &Log, segments: usize) -> Outcome<()> {
        let large = vec![0x5A; 1 << 20];
        while self.seqs.len() < segments {
            log.append(&large)?;
            let stat = log.stat()?;
            if stat.rotations > self.rotations {
                self.rotations = stat.rotations;
                // The record went into the next segment already.
                self.seqs.push_back(stat.last_seq - 1);
            }
        }
        Ok(())
    }
}

pub(crate) fn measure(plan: &Plan, place: &Place, table: &mut Table) -> Outcome<()> {
    let segments = if plan.extent == Extent::Check { 2 } else { plan.log_bytes.div_ceil(SEGMENT) };
    let half = segments / 2;
    let title = format!(
        "W6  Truncating half of {} MiB while durable appends of 128 B go on. Limit: {half} renames and a sync of the directory",
        (segments * SEGMENT) >> 20
    );
    table.heading(&title);
    let dir = place.fresh("w6")?;
    let pool_dir = place.fresh("w6.pool")?;
    let file = place.fresh("w6.bare")?;
    let mut options = abi::options(WAL_SYNC_ALWAYS);
    options.segment_size = SEGMENT;
    let log = Log::open(dir.path(), &options)?;
    let mut bare = Durable::new(file.path(), BARE_FILE)?;
    let mut pool = Pool::new(pool_dir.path(), half)?;
    let span = plan.slice.max(Duration::from_millis(100)) * 2;
    let (mut call, mut ours, mut limit) = (Pair::default(), Pair::default(), Pair::default());
    let mut longest = Pair::default();
    let mut ends = Ends::default();
    for _ in 0..plan.rounds {
        ends.fill(&log, segments as usize)?;
        let forgotten: Vec<u64> = ends.seqs.drain(..half as usize).collect();
        let n = log.checkpoint(*forgotten.last().unwrap_or(&0))?;
        let renamed = watch(span, || Ok(bare.append(&VALUE, 1)?), || pool.swap())?;
        let held = log.stat()?.segments;
        let truncated = watch(span, || log.append(&VALUE).map(drop), || log.truncate(n))?;
        // Files are renamed and removed one by one, after the call.
        while log.stat()?.segments_forgotten > 0 {
            thread::sleep(Duration::from_millis(2));
        }
        let freed = held.saturating_sub(log.stat()?.segments);
        // Those that were appended meanwhile may have filled one more.
        if freed + 1 < half || freed > half {
            return Err(Failure(format!("W6: {freed} segments of {held} were freed instead of {half}")));
        }
        call.add(truncated.call, renamed.call);
        ours.add(truncated.after, truncated.before);
        limit.add(renamed.after, renamed.before);
        longest.add(truncated.after, renamed.after);
    }
    let ms = call.ours() / 1e3;
    table.row("W6 the call, ms", &us(call.ours()), &us(call.limit()), ms, Goal::AtMost(2.0));
    table.row("   longest append meanwhile, of the limit's", &us(longest.ours()), &us(longest.limit()), longest.ratio(), Goal::None);
    let title = format!("   of the longest in {} ms without: {}", span.as_millis(), us(ours.limit()));
    table.row(&title, &us(ours.ours()), "", ours.ratio(), Goal::AtMost(1.5));
    let title = format!("   the same of the bare loop: {}", us(limit.limit()));
    table.row(&title, "", &us(limit.ours()), limit.ratio(), Goal::None);
    log.close()
}
