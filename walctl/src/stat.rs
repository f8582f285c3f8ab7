//! `walctl stat`: where a log stands, without reading its records.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wal_engine::config::{Config, LogId};
use wal_engine::error::{Code, Error};
use wal_engine::log::{self, Report, inspect};
use wal_engine::pins::PinInfo;

use crate::failure::{Failure, Result, Verdict, sentence, shown};
use crate::output::{Output, count, hex, number, print, print_json, print_table, size};
use crate::pins;
use crate::source::{directory, files, live};
use crate::verify::{damage_json, seqs};

/// What can be told of a log.
pub(crate) struct Found {
    pub(crate) disk_bytes: u64,
    pub(crate) seen: Seen,
    /// Or why they cannot be told.
    pub(crate) pins: std::result::Result<Vec<PinInfo>, Error>,
}

pub(crate) enum Seen {
    /// By an inspection.
    Whole(Box<Report>),
    /// A writer has it open: as a live reader sees it.
    InUse(Box<Live>),
}

/// A log that is in use.
pub(crate) struct Live {
    pub(crate) log_id: LogId,
    pub(crate) stat: log::Stat,
}

/// What is known of a log, whether or not a writer has it open.
pub(crate) fn look(dir: &Path) -> Result<Found> {
    let storage = directory(dir)?;
    let disk_bytes = files(dir)?.values().sum();
    let seen = match inspect(&storage, &Config::default(), false, &mut |_| {}) {
        Ok(report) => Seen::Whole(Box::new(report)),
        Err(error) if error.code == Code::Locked => {
            let log = live(dir)?;
            Seen::InUse(Box::new(Live { log_id: log.log_id(), stat: log.stat() }))
        }
        Err(error) => return Err(Failure::of(dir, error)),
    };
    Ok(Found { disk_bytes, seen, pins: pins::list(dir)? })
}

/// Tells of one log after the other by `tell`, an empty line between two.
pub(crate) fn each(output: Output, dirs: &[PathBuf], mut tell: impl FnMut(&Path) -> Result<Verdict>) -> Result<Verdict> {
    sum_up(dirs.iter().enumerate().map(|(at, dir)| {
        if at > 0 && !output.json {
            print("\n")?;
        }
        tell(dir)
    }))
}

pub(crate) fn run(output: Output, dir: &Path) -> Result<Verdict> {
    let found = look(dir)?;
    if output.json {
        print_json(&as_json(dir, &found))?;
    } else {
        for_people(output, dir, &found)?;
    }
    Ok(found.verdict())
}

/// The verdict about several logs. All are looked at; the last failure is told where a run ends, those before it here.
pub(crate) fn sum_up(verdicts: impl Iterator<Item = Result<Verdict>>) -> Result<Verdict> {
    let (mut all, mut failed) = (Verdict::Good, None);
    for verdict in verdicts {
        match verdict {
            Ok(Verdict::Good) => {}
            Ok(Verdict::Damaged) => all = Verdict::Damaged,
            Err(Failure::NobodyReads) => return Err(Failure::NobodyReads),
            Err(failure) => {
                if let Some(earlier) = failed.replace(failure) {
                    eprintln!("walctl: {earlier}");
                }
            }
        }
    }
    failed.map_or(Ok(all), Err)
}

impl Found {
    pub(crate) fn verdict(&self) -> Verdict {
        if self.damage().is_some() { Verdict::Damaged } else { Verdict::Good }
    }

    pub(crate) fn damage(&self) -> Option<&Error> {
        match &self.seen {
            Seen::Whole(report) => report.damage.as_ref(),
            Seen::InUse(..) => None,
        }
    }
}

pub(crate) fn kept(oldest: u64, last: u64) -> u64 {
    (last + 1).saturating_sub(oldest)
}

fn epoch(epoch: u64) -> String {
    format!("{}; it rises at each opening after a crash", number(epoch))
}

pub(crate) fn forgotten(floor: u64) -> String {
    if floor > 0 { format!("up to seq {}", number(floor)) } else { "nothing".into() }
}

/// Records at the end that an opening has to decide about.
pub(crate) fn undecided(report: &Report) -> u64 {
    report.copied_records
}

fn for_people(output: Output, dir: &Path, found: &Found) -> Result<()> {
    print(&format!("{}\n", shown(dir)))?;
    let mut pairs: Vec<(&str, String)> = Vec::new();
    match &found.seen {
        Seen::Whole(report) => {
            let state = match (&report.damage, report.clean) {
                (Some(_), _) => "DAMAGED: walctl verify names every damage, walctl repair says what can be saved",
                (None, true) => "closed cleanly",
                (None, false) => "not closed: the process that had it open ended without; the next opening recovers it",
            };
            pairs.push(("  state", state.into()));
            if let Some(damage) = &report.damage {
                pairs.push(("  damage", sentence(dir, damage)));
            }
            let kept = match kept(report.oldest_seq, report.last_seq) {
                0 => format!("none; the next one is seq {}", number(report.last_seq + 1)),
                records => format!("{}, seq {} to {}", number(records), number(report.oldest_seq), number(report.last_seq)),
            };
            pairs.push(("  records", kept));
            if undecided(report) > 0 {
                pairs.push(("  undecided", format!("{} of them at the end, {}", number(undecided(report)), size(report.copied_bytes))));
            }
            if report.dropped_bytes > 0 {
                let place = format!("at byte {} of segment {}", report.dropped_offset, report.dropped_segment);
                pairs.push(("  unfinished", format!("a write of {} {place}, which the next opening drops", size(report.dropped_bytes))));
            }
            if report.lost_first_seq > 0 {
                pairs.push(("  lost", format!("seq {}", seqs(report.lost_first_seq, report.lost_last_seq))));
            }
            pairs.push(("  forgotten", forgotten(report.floor_seq)));
            pairs.push(("  checkpoint", checkpoint(report.checkpoint_seq, report.checkpoint_covered)));
            let spares = count(report.spares, "spare");
            pairs.push(("  segments", format!("{} of {}, {spares}", number(report.segments), size(report.segment_bytes))));
            pairs.push(("  on disk", size(found.disk_bytes)));
            pairs.push(("  epoch", epoch(report.epoch)));
            if report.damaged_files > 0 {
                pairs.push(("  set aside", format!("{} by earlier repairs (*.damaged)", count(report.damaged_files, "file"))));
            }
            if report.foreign_files > 0 {
                pairs.push((
                    "  foreign",
                    format!("{} with a segment's name that the log does without", count(report.foreign_files, "file")),
                ));
            }
            pairs.push(("  log id", hex(&report.log_id)));
        }
        Seen::InUse(live) => {
            let stat = &live.stat;
            pairs.push(("  state", "in use: a writer has it open; below is what is on disk for certain".into()));
            let kept = match kept(stat.oldest_seq, stat.durable_seq) {
                0 => "none".to_string(),
                records => format!("{}, seq {} to {}", number(records), number(stat.oldest_seq), number(stat.durable_seq)),
            };
            pairs.push(("  records", kept));
            pairs.push(("  forgotten", forgotten(stat.floor_seq)));
            pairs.push(("  checkpoint", checkpoint(stat.checkpoint_seq, stat.checkpoint_covered)));
            pairs.push(("  segments", format!("{} of {}", number(stat.segments), size(stat.segment_bytes))));
            pairs.push(("  on disk", size(found.disk_bytes)));
            pairs.push(("  epoch", epoch(stat.epoch)));
            pairs.push(("  log id", hex(&live.log_id)));
        }
    }
    match &found.pins {
        Ok(pins) => pairs.extend(pins.iter().enumerate().map(|(at, pin)| (if at == 0 { "  pins" } else { "" }, pins::line(pin)))),
        Err(error) => pairs.push(("  pins", format!("cannot be told: {}", sentence(dir, error)))),
    }
    print_table(&output.pairs(&pairs))?;
    Ok(())
}

pub(crate) fn checkpoint(n: u64, covered: u64) -> String {
    match n {
        0 => "none".into(),
        n => format!("the store holds everything up to seq {}; n is {}", number(covered), number(n)),
    }
}

fn as_json(dir: &Path, found: &Found) -> Value {
    // None at all, if they cannot be told.
    let pins = found.pins.as_ref().ok().map(|pins| pins.iter().map(pins::as_json).collect::<Vec<_>>());
    match &found.seen {
        Seen::Whole(report) => json!({
            "dir": shown(dir),
            "in_use": false,
            "log_id": hex(&report.log_id),
            "closed_cleanly": report.clean,
            "damage": report.damage.as_ref().map(damage_json),
            "records": kept(report.oldest_seq, report.last_seq),
            "oldest_seq": report.oldest_seq,
            "last_seq": report.last_seq,
            "undecided_records": undecided(report),
            "undecided_bytes": report.copied_bytes,
            "unfinished_bytes": report.dropped_bytes,
            "forgotten_seq": report.floor_seq,
            "forgotten_data_seq": report.forgotten_data_seq,
            "checkpoint_seq": report.checkpoint_seq,
            "checkpoint_covered": report.checkpoint_covered,
            "lost_first_seq": report.lost_first_seq,
            "lost_last_seq": report.lost_last_seq,
            "segments": report.segments,
            "spares": report.spares,
            "segment_bytes": report.segment_bytes,
            "disk_bytes": found.disk_bytes,
            "pins": pins,
            "epoch": report.epoch,
            "damaged_files": report.damaged_files,
            "foreign_files": report.foreign_files,
        }),
        Seen::InUse(live) => json!({
            "dir": shown(dir),
            "in_use": true,
            "log_id": hex(&live.log_id),
            "records": kept(live.stat.oldest_seq, live.stat.durable_seq),
            "oldest_seq": live.stat.oldest_seq,
            "last_seq": live.stat.durable_seq,
            "forgotten_seq": live.stat.floor_seq,
            "checkpoint_seq": live.stat.checkpoint_seq,
            "checkpoint_covered": live.stat.checkpoint_covered,
            "segments": live.stat.segments,
            "segment_bytes": live.stat.segment_bytes,
            "disk_bytes": found.disk_bytes,
            "pins": pins,
            "epoch": live.stat.epoch,
        }),
    }
}
