//! How cost grows: with threads, record sizes, the length of the log, its segments, cursors, and logs in one process.

mod cursors;
mod grown;
mod lengths;
mod logs;
mod segments;
mod sizes;
mod threads;

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Plan;
use crate::abi::{Failure, Outcome};
use crate::figures::Table;
use crate::place::Place;
use crate::report::Report;

/// What the longest of the logs needs, in bytes.
pub(crate) const DISK_NEEDED: u64 = 10 << 30;

type Measure = fn(&Plan, &Place, &mut Table, &Report) -> Outcome<()>;

pub(crate) const WORKS: [(&str, Measure); 6] = [
    ("threads", threads::measure),
    ("sizes", sizes::measure),
    ("lengths", lengths::measure),
    ("segments", segments::measure),
    ("cursors", cursors::measure),
    ("logs", logs::measure),
];

/// Argument that makes this program one that does a part of the work in memory of its own.
pub(crate) const CHILD: &str = "--scale";

pub(crate) fn child(work: &str, dir: &Path, numbers: &[&str]) -> Outcome<()> {
    let numbers: Option<Vec<u64>> = numbers.iter().map(|number| number.parse().ok()).collect();
    match (work, numbers.as_deref()) {
        ("grow", Some(&[segment_bytes, record_len, segments])) => grown::grow(dir, segment_bytes, record_len, segments),
        ("visit", Some(&[segment_bytes])) => grown::visit(dir, segment_bytes),
        ("cursors", Some(&[count, records])) => cursors::child(dir, count, records),
        ("logs", Some(&[count, appends])) => logs::child(dir, count, appends),
        _ => Err(Failure(format!("{work} is no work, or these are not its numbers"))),
    }
}

/// Has another process do it; the numbers that it prints.
fn ask<const N: usize>(work: &str, dir: &Path, numbers: &[u64]) -> Outcome<[f64; N]> {
    let numbers = numbers.iter().map(u64::to_string);
    let output = Command::new(env::current_exe()?)
        .args([CHILD, work])
        .arg(dir)
        .args(numbers)
        .stderr(Stdio::inherit())
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let answer: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    answer.try_into().map_err(|_| Failure(format!("{work}: another process was to say {N} numbers, and said {text:?}")))
}
