//! The Prometheus text exposition format, version 0.0.4, for the textfile collector of node_exporter.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use wal_engine::pins::PinInfo;

use crate::failure::{Result, Verdict};
use crate::image::{is_image, refuse};
use crate::output::{hex, print};
use crate::pins;
use crate::stat::{Found, Seen, look, sum_up, undecided};

/// A metric: its name, what it means, and its value for a log if that is known.
type Metric = (&'static str, &'static str, fn(&Found) -> Option<u64>);

/// All are gauges: what a directory says can go back, when a log is restored.
const METRICS: [Metric; 17] = [
    ("wal_log_in_use", "Whether a writer has the log open; then only what is on disk for certain is told.", |found| {
        Some(u64::from(matches!(found.seen, Seen::InUse(..))))
    }),
    ("wal_log_damaged", "Whether an opening would meet damage.", |found| match &found.seen {
        Seen::Whole(report) => Some(u64::from(report.damage.is_some())),
        Seen::InUse(..) => None,
    }),
    ("wal_log_closed_cleanly", "Whether the last writer closed the log.", |found| match &found.seen {
        Seen::Whole(report) => Some(u64::from(report.clean)),
        Seen::InUse(..) => None,
    }),
    ("wal_log_last_seq", "The last record; of a log in use, the last one on disk for certain.", |found| match &found.seen {
        Seen::Whole(report) => Some(report.last_seq),
        Seen::InUse(live) => Some(live.stat.durable_seq),
    }),
    ("wal_log_oldest_seq", "The oldest record kept, one above the last if there is none.", |found| match &found.seen {
        Seen::Whole(report) => Some(report.oldest_seq),
        Seen::InUse(live) => Some(live.stat.oldest_seq),
    }),
    ("wal_log_forgotten_seq", "Records up to here have been forgotten.", |found| match &found.seen {
        Seen::Whole(report) => Some(report.floor_seq),
        Seen::InUse(live) => Some(live.stat.floor_seq),
    }),
    ("wal_log_checkpoint_seq", "What the highest checkpoint allows to truncate to.", |found| match &found.seen {
        Seen::Whole(report) => Some(report.checkpoint_seq),
        Seen::InUse(live) => Some(live.stat.checkpoint_seq),
    }),
    ("wal_log_checkpoint_covered_seq", "What the host declared with the highest checkpoint.", |found| match &found.seen {
        Seen::Whole(report) => Some(report.checkpoint_covered),
        Seen::InUse(live) => Some(live.stat.checkpoint_covered),
    }),
    ("wal_log_undecided_records", "Records at the end that the next opening makes durable.", |found| match &found.seen {
        Seen::Whole(report) => Some(undecided(report)),
        Seen::InUse(..) => None,
    }),
    ("wal_log_unfinished_bytes", "Bytes at the end that the next opening drops.", |found| match &found.seen {
        Seen::Whole(report) => Some(report.dropped_bytes),
        Seen::InUse(..) => None,
    }),
    ("wal_log_epoch", "Rises at each opening after a crash, and at each that dropped something.", |found| match &found.seen {
        Seen::Whole(report) => Some(report.epoch),
        Seen::InUse(live) => Some(live.stat.epoch),
    }),
    ("wal_log_segments", "Segments that hold records.", |found| match &found.seen {
        Seen::Whole(report) => Some(report.segments),
        Seen::InUse(live) => Some(live.stat.segments),
    }),
    ("wal_log_spares", "Files prepared or kept for coming segments.", |found| match &found.seen {
        Seen::Whole(report) => Some(report.spares),
        Seen::InUse(..) => None,
    }),
    ("wal_log_segment_size_bytes", "Size of a segment.", |found| match &found.seen {
        Seen::Whole(report) => Some(report.segment_bytes),
        Seen::InUse(live) => Some(live.stat.segment_bytes),
    }),
    ("wal_log_disk_bytes", "Size of all the log's files.", |found| Some(found.disk_bytes)),
    ("wal_log_damaged_files", "Files that earlier repairs moved aside.", |found| match &found.seen {
        Seen::Whole(report) => Some(report.damaged_files),
        Seen::InUse(..) => None,
    }),
    ("wal_log_foreign_files", "Files with a segment's name that the log does without.", |found| match &found.seen {
        Seen::Whole(report) => Some(report.foreign_files),
        Seen::InUse(..) => None,
    }),
];

/// A metric of a pin.
type PinMetric = (&'static str, &'static str, fn(&PinInfo) -> u64);

const PIN_METRICS: [PinMetric; 4] = [
    ("wal_log_pin_seq", "Records above stay on disk; 0 if the pin is damaged.", |info| info.pin.map_or(0, |pin| pin.seq)),
    ("wal_log_pin_held_bytes", "Forgotten segments that are on disk and that the pin needs.", |info| info.held_bytes),
    ("wal_log_pin_lost", "Whether the pin reached its limit and was given up.", |info| {
        u64::from(info.pin.is_some_and(|pin| pin.lost_to.is_some()))
    }),
    ("wal_log_pin_damaged", "Whether the pin's file is damaged; nothing is dropped then.", |info| u64::from(info.pin.is_none())),
];

pub(crate) fn run(dirs: &[PathBuf]) -> Result<Verdict> {
    if dirs.iter().any(|dir| is_image(dir)) {
        refuse("--prometheus");
    }
    let found: Vec<(&Path, Result<Found>)> = dirs.iter().map(|dir| (dir.as_path(), look(dir))).collect();
    print(&text(&found))?;
    sum_up(found.into_iter().map(|(_, found)| found.map(|found| found.verdict())))
}

/// Every metric of every log, each metric's logs together, as the format wants it.
fn text(logs: &[(&Path, Result<Found>)]) -> String {
    let mut out = String::new();
    head(&mut out, "wal_log_up", "Whether the log could be looked at.");
    for (dir, found) in logs {
        let _ = writeln!(out, "wal_log_up{{dir=\"{}\"}} {}", label(dir), u64::from(found.is_ok()));
    }
    let known = || logs.iter().filter_map(|(dir, found)| found.as_ref().ok().map(|found| (*dir, found)));
    head(&mut out, "wal_log_info", "The log's identity.");
    for (dir, found) in known() {
        let log_id = match &found.seen {
            Seen::Whole(report) => report.log_id,
            Seen::InUse(live) => live.log_id,
        };
        let _ = writeln!(out, "wal_log_info{{dir=\"{}\",log_id=\"{}\"}} 1", label(dir), hex(&log_id));
    }
    for (name, help, value) in METRICS {
        let values: Vec<_> = known().filter_map(|(dir, found)| value(found).map(|value| (dir, value))).collect();
        if !values.is_empty() {
            head(&mut out, name, help);
        }
        for (dir, value) in values {
            let _ = writeln!(out, "{name}{{dir=\"{}\"}} {value}", label(dir));
        }
    }
    let pins = || known().flat_map(|(dir, found)| found.pins.iter().flatten().map(move |pin| (dir, pin)));
    for (name, help, value) in PIN_METRICS {
        if pins().next().is_some() {
            head(&mut out, name, help);
        }
        for (dir, pin) in pins() {
            // A pin's name needs no escaping.
            let _ = writeln!(out, "{name}{{dir=\"{}\",pin=\"{}\"}} {}", label(dir), pins::name(pin), value(pin));
        }
    }
    out
}

fn head(out: &mut String, name: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
}

/// A label's value: backslash, quote and line feed are escaped.
fn label(dir: &Path) -> String {
    dir.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
