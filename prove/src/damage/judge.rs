//! What must come of a damaged log: an error that names the place, an exact prefix with a report, or everything.

use wal_engine::config::{Config, OpenKind, Recovery, SyncMode};
use wal_engine::error::{Code, Error, Place};
use wal_engine::format::constants::OP_PUT;
use wal_engine::log::{Log, ReplayOptions, Report, inspect};
use wal_engine::names::FileName;
use wal_engine::seq;
use wal_sim::{Disk, Image, SimStorage};

use super::damages::Damage;
use super::layout;
use super::left::{Left, Made};
use crate::host::{History, config};

/// What a strict opening and the replay behind it made of a damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Everything is there.
    Whole,
    /// An error that names the place.
    Told,
    /// Taken for a torn write: dropped, and reported.
    Dropped,
    /// The same without anything left to report.
    Unseen,
}

macro_rules! need {
    ($holds:expr, $($said:tt)+) => {
        if !$holds {
            return Err(format!($($said)+));
        }
    };
}

/// What an opening and a replay gave.
struct Got {
    floor: u64,
    /// The last seq that was read.
    last_read: u64,
    error: Option<Error>,
    report: Report,
    log: Option<Log<SimStorage>>,
}

impl Got {
    /// What two openings of one log must agree in.
    fn answer(&self) -> (u64, u64, Option<Error>) {
        (self.floor, self.last_read, self.error)
    }
}

/// Opens the log on `disk` and reads all of it; `Err` if anything read was never written.
fn read(disk: &Disk, open: OpenKind, recovery: Recovery, history: &History) -> Result<Got, String> {
    let config = Config { recovery, open, ..config(SyncMode::Always, true) };
    let mut got = Got { floor: 0, last_read: 0, error: None, report: Report::default(), log: None };
    let log = match Log::open(disk.storage(), &config) {
        Ok(log) => log,
        Err(error) => {
            got.error = Some(error);
            return Ok(got);
        }
    };
    got.report = log.report();
    got.floor = log.stat().floor_seq;
    got.last_read = got.floor;
    match log.replay(seq::OLDEST, ReplayOptions { raw: true, unsynced: true, ..ReplayOptions::default() }) {
        Err(error) => got.error = Some(error),
        Ok(mut cursor) => loop {
            match cursor.next() {
                Ok(Some(record)) => {
                    need!(record.seq == got.last_read + 1, "seq {} is shown behind {}", record.seq, got.last_read);
                    let known = history.get(&record.seq).ok_or_else(|| format!("seq {} was invented", record.seq))?;
                    need!(record.op == known.op && record.batch_last_seq == known.batch_last, "wrong op or batch in seq {}", record.seq);
                    need!(record.op != OP_PUT || record.value == known.value, "wrong bytes in seq {}", record.seq);
                    got.last_read = record.seq;
                }
                Ok(None) => break,
                Err(error) => {
                    got.error = Some(error);
                    break;
                }
            }
        },
    }
    let in_batch = history.get(&got.last_read).is_some_and(|known| known.batch_last != got.last_read);
    need!(!in_batch || got.last_read == got.floor, "half a batch at {}", got.last_read);
    got.log = Some(log);
    Ok(got)
}

/// Judges what comes of `damage`, which made `image`; with `goes_on`, a second opening, an inspection, and
/// appending behind a prefix recovery too.
pub(super) fn judge(left: &Left, damage: &Damage, image: &Image, goes_on: bool) -> Result<Outcome, String> {
    let disk = Disk::from_image(image, 4);
    let shown = read(&disk, OpenKind::ReadOnly, Recovery::Strict, &left.history)?.answer();
    need!(disk.visible_image() == *image, "a read-only opening wrote");
    let mut strict = read(&disk, OpenKind::Existing, Recovery::Strict, &left.history)?;
    need!(shown == strict.answer(), "read-only {shown:?}, for writing {:?}", strict.answer());
    drop(strict.log.take());
    if goes_on {
        let again = read(&disk, OpenKind::Existing, Recovery::Strict, &left.history)?.answer();
        need!(again == strict.answer(), "the second opening says {again:?}, the first {:?}", strict.answer());
    }
    let outcome = judge_strict(left, damage, image, &strict)?;
    judge_prefix(left, damage, image, &strict, goes_on)?;
    if goes_on {
        judge_inspection(left, damage, image, &strict)?;
    }
    Ok(outcome)
}

/// Every damage that an inspection finds in `image`.
pub(super) fn inspected(image: &Image) -> Result<Vec<Error>, String> {
    let disk = Disk::from_image(image, 4);
    let mut found = Vec::new();
    let config = Config { open: OpenKind::Existing, ..config(SyncMode::Always, true) };
    let report = inspect(&disk.storage(), &config, true, &mut |damage| found.push(*damage));
    need!(disk.visible_image() == *image, "an inspection wrote");
    let report = report.map_err(|error| format!("an inspection fails: {error:?}"))?;
    need!(report.damages == found.len() as u64, "{} damages counted, {} told", report.damages, found.len());
    Ok(found)
}

/// Whether an inspection finds what a strict reading met, and nothing where there is nothing.
fn judge_inspection(left: &Left, damage: &Damage, image: &Image, strict: &Got) -> Result<(), String> {
    let found = inspected(image)?;
    if let Some(error) = strict.error {
        need!(found.iter().any(|found| found.place == error.place), "an inspection finds {found:?}, but not {error:?}");
    }
    for found in &found {
        let is_copy = found.place == Place::File(FileName::Manifest) && damage.files().contains(&Some(FileName::Manifest));
        need!(is_copy || strict.error.is_some(), "an inspection finds {found:?}, which nobody else does");
        // Copies of records that a recovery made are not lost with their segment: the originals may still stand in the one before.
        let has_copies = left.made == Made::Fragments;
        if matches!(damage, Damage::Flip { .. } | Damage::Cut { .. } | Damage::Delete { .. }) && !is_copy && !has_copies {
            judge_place(left, damage, found).map_err(|said| format!("an inspection: {said}"))?;
        }
    }
    Ok(())
}

fn judge_strict(left: &Left, damage: &Damage, image: &Image, strict: &Got) -> Result<Outcome, String> {
    if let Some(error) = &strict.error {
        judge_place(left, damage, error)?;
        return Ok(Outcome::Told);
    }
    need!(strict.floor <= left.floor, "silently begins at {} and not at {}", strict.floor, left.floor);
    if strict.last_read == left.last {
        return Ok(Outcome::Whole);
    }
    need!(!left.clean, "silent end at {} of {}", strict.last_read, left.last);
    let vouched = if damage.spot().is_some() { left.vouched } else { layout::vouched(image, &left.chain) };
    need!(strict.last_read >= vouched, "silent end at {}, but {vouched} is vouched for", strict.last_read);
    if strict.report.dropped_bytes > 0 {
        return Ok(Outcome::Dropped);
    }
    // What the end of the log was before cannot be told where an older copy stands in its place.
    need!(damage.spot().is_none(), "dropped without a report, {} of {}", strict.last_read, left.last);
    Ok(Outcome::Unseen)
}

/// Whether an error names the file, the offset and the seqs that damage took.
fn judge_place(left: &Left, damage: &Damage, error: &Error) -> Result<(), String> {
    need!(error.code == Code::Corrupt, "{error:?}");
    let Place::File(named) = error.place else {
        return Err(format!("no file is named: {error:?}"));
    };
    // What an old manifest does not know of is where it shows.
    let in_manifest = damage.files().contains(&Some(FileName::Manifest));
    need!(in_manifest || damage.files().contains(&Some(named)), "another file is named: {error:?}");
    let Some((name, at)) = damage.spot() else {
        return Ok(());
    };
    let Some(segment) = left.chain.iter().find(|segment| FileName::Segment(segment.index) == name) else {
        return Ok(());
    };
    let whole_file = !matches!(damage, Damage::Flip { .. });
    let (places, lost) = match segment.frame_at(at).filter(|frame| !whole_file && frame.start > segment.frames[0].start) {
        Some(frame) => (frame.start..frame.end, frame.next_before..frame.next_after),
        // Without its header or its first frame nothing in a segment can be read.
        None => (0..segment.frames[0].end, segment.first_seq..segment.frames[segment.frames.len() - 1].next_after),
    };
    let places = if whole_file { 0..at + 1 } else { places };
    let is_named = error.offset.is_some_and(|offset| places.contains(&(offset as usize)));
    need!(is_named || matches!(damage, Damage::Delete { .. }), "an offset outside of {places:?}: {error:?}");
    let lost = lost.start.max(left.floor + 1)..lost.end;
    let covers = lost.is_empty() || (error.seq > 0 && error.seq <= lost.start && error.seq_last >= lost.end - 1);
    need!(covers, "{lost:?} is lost: {error:?}");
    Ok(())
}

fn judge_prefix(left: &Left, damage: &Damage, image: &Image, strict: &Got, goes_on: bool) -> Result<(), String> {
    let disk = Disk::from_image(image, 4);
    let mut prefix = read(&disk, OpenKind::Existing, Recovery::Prefix, &left.history)?;
    let Some(log) = prefix.log.take() else {
        return Err(format!("a prefix opening fails: {:?}", prefix.error));
    };
    let report = prefix.report;
    let found_something = report.damage.is_some() || report.rebuilt_manifest;
    need!(found_something == strict.error.is_some(), "prefix: {report:?}, strict: {:?}", strict.error);
    if strict.error.is_none() {
        need!(prefix.answer() == strict.answer(), "prefix: {:?}, strict: {:?}", prefix.answer(), strict.answer());
    } else if let Some(kept) = kept(left, damage) {
        // Where a recovery has copied frames, the originals may still stand in the segment before.
        let has_copies = left.made == Made::Fragments;
        need!(prefix.last_read == kept || (has_copies && prefix.last_read > kept), "prefix keeps {}, not {kept}", prefix.last_read);
    }
    if let Some(error) = prefix.error {
        need!(error.code == Code::Gap, "prefix: {error:?}");
        need!((error.seq, error.seq_last) == (prefix.last_read + 1, report.lost_last_seq), "prefix: {error:?}, {report:?}");
    }
    if prefix.last_read < left.last && strict.error.is_some() {
        need!(report.damage.is_some(), "a shorter log and no report");
    }
    need!(prefix.last_read >= strict.last_read, "a prefix opening keeps {}, a strict one {}", prefix.last_read, strict.last_read);
    // Goes on above everything that was used. Without a manifest the last frame of a clean log is like any that nothing vouches for.
    if left.clean && !report.rebuilt_manifest {
        need!(log.last_seq() == left.last, "seqs that were durable are given out again: {}", log.last_seq());
    }
    if goes_on { go_on(&disk, log, &report) } else { Ok(()) }
}

/// The last seq in front of damage in one place.
fn kept(left: &Left, damage: &Damage) -> Option<u64> {
    let (name, at) = damage.spot()?;
    let segment = left.chain.iter().find(|segment| FileName::Segment(segment.index) == name)?;
    let frame = segment.frame_at(at).filter(|_| matches!(damage, Damage::Flip { .. }));
    Some((frame.map_or(segment.first_seq, |frame| frame.next_before) - 1).max(left.floor))
}

/// Appends behind a prefix recovery, and reads over what is lost.
fn go_on(disk: &Disk, log: Log<SimStorage>, report: &Report) -> Result<(), String> {
    let said = |error: Error| format!("going on: {error:?}");
    let next = log.append(OP_PUT, b"", b"after").map_err(said)?;
    need!(next == log.last_seq(), "the next seq is {next}");
    log.close().map_err(said)?;
    let store = |store_seq| Config { store_seq: Some(store_seq), ..config(SyncMode::Always, true) };
    if report.lost_last_seq > 0 {
        let refused = Log::open(disk.storage(), &store(report.lost_last_seq - 1)).err().map(|error| error.code);
        need!(refused == Some(Code::Gap), "a store that lacks what is lost: {refused:?}");
    }
    let log = Log::open(disk.storage(), &store(next - 1)).map_err(said)?;
    let mut cursor = log.replay(next - 1, ReplayOptions::default()).map_err(said)?;
    let found = cursor.next().map_err(said)?.map(|record| record.value.to_vec());
    need!(found.as_deref() == Some(b"after"), "the record behind the recovery: {found:?}");
    drop(cursor);
    let mut cursor = log.replay(seq::OLDEST, ReplayOptions { skip_lost: true, ..ReplayOptions::default() }).map_err(said)?;
    let mut last = 0;
    while let Some(record) = cursor.next().map_err(said)? {
        last = record.seq;
    }
    need!(last == next, "reading over the hole ends at {last}");
    Ok(())
}
