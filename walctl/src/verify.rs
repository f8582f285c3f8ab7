//! `walctl verify`: reads every byte and names every damage.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use wal_engine::config::Config;
use wal_engine::error::{Error, Place};
use wal_engine::log::{Report, inspect};
use wal_engine::names::FileName;

use crate::failure::{Failure, Result, Verdict, shown};
use crate::output::{Output, count, duration, print, print_json, print_table, right, size};
use crate::source::{directory, files};

/// What was found in a log.
pub(crate) struct Found {
    pub(crate) report: Report,
    pub(crate) damages: Vec<Error>,
}

/// Inspects a log, with a progress bar on standard error if that is a terminal and it takes a while.
pub(crate) fn look(dir: &Path) -> Result<Found> {
    let storage = directory(dir)?;
    let total: u64 = files(dir)?.iter().filter(|(name, _)| matches!(name, FileName::Segment(_))).map(|(_, bytes)| bytes).sum();
    let mut damages = Vec::new();
    let report = with_progress(total, || inspect(&storage, &Config::default(), true, &mut |damage| damages.push(*damage)));
    Ok(Found { report: report.map_err(|error| Failure::of(dir, error))?, damages })
}

/// Runs `work`, which reads about `total` bytes.
fn with_progress<T>(total: u64, work: impl FnOnce() -> T) -> T {
    let Some(before) = bytes_read() else {
        return work();
    };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            // What is over at once shows no bar.
            thread::park_timeout(Duration::from_millis(400));
            if done.load(Ordering::Relaxed) {
                return;
            }
            let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} to go");
            let bar = ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            while !done.load(Ordering::Relaxed) {
                bar.set_position(bytes_read().unwrap_or(0).saturating_sub(before).min(total));
                thread::park_timeout(Duration::from_millis(100));
            }
            bar.finish_and_clear();
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        result
    })
}

/// By this process, from files of any kind: as much as the engine read, but for a few bytes.
fn bytes_read() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("rchar: ")).and_then(|number| number.trim().parse().ok())
}

pub(crate) fn run(output: Output, dir: &Path) -> Result<Verdict> {
    let Found { report, damages } = look(dir)?;
    if output.json {
        print_json(&json!({
            "dir": shown(dir),
            "damaged": !damages.is_empty(),
            "damages": damages.iter().map(damage_json).collect::<Vec<_>>(),
            "closed_cleanly": report.clean,
            "oldest_seq": report.oldest_seq,
            "last_seq": report.last_seq,
            "segments": report.segments,
            "bytes_read": report.bytes_read,
            "duration_us": report.duration_us,
        }))?;
    } else {
        print(&output.paragraph(&summary(dir, &report)))?;
        if damages.is_empty() {
            print("no damage\n")?;
        } else {
            print(&format!("\n{}:\n\n", count(damages.len() as u64, "damage")))?;
            print_damages(output, &damages)?;
            print("\n")?;
            print(&output.paragraph("walctl repair says what can be saved, and changes nothing unless told to."))?;
        }
    }
    Ok(if damages.is_empty() { Verdict::Good } else { Verdict::Damaged })
}

fn summary(dir: &Path, report: &Report) -> String {
    let records = match report.oldest_seq > report.last_seq {
        true => "no records".to_string(),
        false => format!("seq {} to {}", report.oldest_seq, report.last_seq),
    };
    let closed = if report.clean { "closed cleanly" } else { "not closed; the next opening recovers it" };
    let read = format!("{} read in {}", size(report.bytes_read), duration(report.duration_us as f64));
    format!("{}: {records} in {}, {closed}; {read}", shown(dir), count(report.segments, "segment"))
}

/// The records at risk.
pub(crate) fn seqs(first: u64, last: u64) -> String {
    match (first, last) {
        (0, _) => "-".to_string(),
        (first, u64::MAX) => format!("{first} and later"),
        (first, 0) => first.to_string(),
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first} to {last}"),
    }
}

pub(crate) fn print_damages(output: Output, damages: &[Error]) -> Result<()> {
    let mut table = output.table();
    table.set_header(["FILE", "AT BYTE", "RECORDS AT RISK", "WHAT"]);
    for damage in damages {
        let offset = damage.offset.map_or("-".to_string(), |offset| offset.to_string());
        table.add_row([file(damage), offset, seqs(damage.seq, damage.seq_last), damage.what.to_string()]);
    }
    right(&mut table, [1]);
    print_table(&table)?;
    Ok(())
}

fn file(error: &Error) -> String {
    match error.place {
        Place::File(name) => name.to_string(),
        Place::Directory | Place::Call => "-".to_string(),
    }
}

pub(crate) fn damage_json(damage: &Error) -> Value {
    let last = if damage.seq_last == 0 { damage.seq } else { damage.seq_last };
    json!({
        "file": file(damage),
        "offset": damage.offset,
        "seq": (damage.seq > 0).then_some(damage.seq),
        // No last one: all later ones, too.
        "seq_last": (damage.seq > 0 && last < u64::MAX).then_some(last),
        "what": damage.what,
    })
}
