//! Damage worked around: what precedes it is kept, what follows is moved aside, and the log goes on above the highest seq that was used.

use super::ending::{Begin, Scanned, scan_buffer, scan_segment};
use super::surveyor::{Fact, Surveyor};
use super::{Ending, Found, Unclean};
use crate::error::{Error, Result};
use crate::format::control::{Checkpoint, How, Link, Open};
use crate::names::FileName;
use crate::segment::scan;
use crate::seq::{Seq, Tail};
use crate::storage::{Access, Storage};

/// What stands before the first damage on the way from the oldest segment on. `damage` is what the strict reading met, which need not be the
/// first place.
pub(super) fn before_damage<S: Storage>(surveyor: &mut Surveyor<'_, S>, damage: Error) -> Result<Found> {
    let mut kept = Kept {
        chain: Vec::new(),
        link: Link::default(),
        tail: Tail { seq: surveyor.manifest.floor, data_seq: surveyor.manifest.forgotten_data },
        checkpoint: surveyor.manifest.checkpoint,
        damage: None,
    };
    let mut current = surveyor.manifest.oldest_segment;
    while let Some(next) = keep(surveyor, &mut kept, current)? {
        current = next;
    }
    let highest = highest_used(surveyor, &kept)?;
    let lost = (highest > kept.tail.seq).then_some((kept.tail.seq + 1, highest));
    let damage = kept.damage.unwrap_or(damage);
    surveyor.report.damage = Some(damage);
    if let Some((first, last)) = lost {
        surveyor.report.lost_first_seq = first;
        surveyor.report.lost_last_seq = last;
    }
    let mut segments = surveyor.segments(&kept.chain)?;
    if let Some(last) = segments.last_mut() {
        last.end = Some((kept.link.end, kept.tail));
    }
    let first_seq = highest.max(kept.tail.seq) + 1;
    let tail = if lost.is_some() { Tail { seq: highest, data_seq: highest } } else { kept.tail };
    let unclean = Unclean { link: kept.link, before: kept.tail, first_seq, copy: None, tail };
    let mut leftovers = surveyor.leftovers(&segments);
    let mut aside = Vec::new();
    // What may hold records is evidence and is moved aside; what certainly holds none can be used again.
    leftovers.retain(|&name| match name {
        FileName::Segment(index) if may_hold_records(surveyor, index) => {
            aside.push(name);
            false
        }
        _ => true,
    });
    Ok(Found {
        manifest: surveyor.manifest,
        family: surveyor.family,
        segments,
        ending: Ending::Unclean(unclean),
        checkpoint: kept.checkpoint,
        until_commit: Vec::new(),
        leftovers,
        aside,
        highest_index: surveyor.highest_index(),
        report: surveyor.report,
    })
}

struct Kept {
    chain: Vec<Fact>,
    link: Link,
    tail: Tail,
    checkpoint: Checkpoint,
    damage: Option<Error>,
}

/// Keeps what is good in segment `index`; the next one if all of it is.
fn keep<S: Storage>(surveyor: &mut Surveyor<'_, S>, kept: &mut Kept, index: u32) -> Result<Option<u32>> {
    let head = match surveyor.load(index) {
        Ok(head) => head,
        Err(damage) => {
            kept.damage = Some(damage);
            return Ok(None);
        }
    };
    let fact = Fact { header: head.header, open: head.open };
    let begin = surveyor.begin(fact);
    let successor = successor_of(surveyor, index)?;
    let limit = successor.map_or(head.header.capacity, |(_, open)| open.link.end);
    let mut buffer = scan_buffer(surveyor.family.segment_bytes)?;
    let scanned = scan_segment(&head.file, &begin, &mut buffer, limit, &mut surveyor.report)?;
    let vouched = scanned.vouched(surveyor.bound_in(&fact));
    let must_reach = if successor.is_some() { limit } else { vouched };
    if let Err(damage) = scanned.check_end(&begin, must_reach) {
        keep_part(kept, fact, &begin, &scanned);
        kept.damage = Some(damage);
        return Ok(None);
    }
    keep_part(kept, fact, &begin, &scanned);
    match successor {
        Some((next, _)) => Ok(Some(next)),
        None if index < surveyor.manifest.bound.segment => {
            kept.damage = Some(
                Error::new(crate::error::Code::Corrupt, "nothing follows this segment, but the manifest names later ones")
                    .in_file(FileName::Segment(index))
                    .at(scanned.end.offset)
                    .seqs(scanned.end.tail.seq + 1, u64::MAX),
            );
            Ok(None)
        }
        None => {
            if let Some(end) = scanned.successor {
                kept.damage = surveyor.check_successor(end.successor).err();
            }
            scanned.report_dropped(&begin, &mut surveyor.report);
            Ok(None)
        }
    }
}

fn keep_part(kept: &mut Kept, fact: Fact, begin: &Begin, scanned: &Scanned) {
    if scanned.end.offset <= fact.header.data_start {
        return;
    }
    kept.chain.push(fact);
    kept.link = Link {
        index: fact.header.index,
        end: scanned.end.offset,
        last_frame: scanned.end.last_frame.offset,
        last_crc: scanned.end.last_frame.crc,
    };
    kept.tail = if scanned.end.relative == 0 { begin.tail } else { scanned.end.tail };
    let opened = fact.open.map_or(Checkpoint::default(), |open| open.checkpoint);
    for checkpoint in [opened, scanned.checkpoint] {
        if checkpoint.n > kept.checkpoint.n {
            kept.checkpoint = checkpoint;
        }
    }
}

/// The segment that came after `index`. Recovered ones override rotated ones, but behind the bound they are what an interrupted opening left.
fn successor_of<S: Storage>(surveyor: &mut Surveyor<'_, S>, index: u32) -> Result<Option<(u32, Open)>> {
    let bound = surveyor.manifest.bound.segment;
    let mut best = None;
    let later: Vec<u32> = surveyor.segment_indexes().filter(|&later| later > index).collect();
    for later in later {
        let Ok(head) = surveyor.load(later) else {
            continue;
        };
        if let Some(open) = head.open.filter(|open| open.link.index == index && (open.how == How::Rotated || later <= bound)) {
            best = Some((later, open));
        }
    }
    Ok(best)
}

/// The highest seq of which anything proves that it was given out and durable, or that it stands in a valid header.
fn highest_used<S: Storage>(surveyor: &mut Surveyor<'_, S>, kept: &Kept) -> Result<Seq> {
    let manifest = surveyor.manifest;
    let mut highest = manifest.bound.tail.seq.max(manifest.floor).max(manifest.checkpoint.n).max(kept.checkpoint.n).max(kept.tail.seq);
    let from = kept.link.index;
    let indexes: Vec<u32> = surveyor.segment_indexes().filter(|&index| index >= from).collect();
    let mut buffer = scan_buffer(surveyor.family.segment_bytes)?;
    for index in indexes {
        let Ok(head) = surveyor.load(index) else {
            continue;
        };
        let Some(open) = head.open else {
            continue;
        };
        highest = highest.max(open.first_seq - 1).max(open.checkpoint.n);
        let mut window = scan::Window::new(&head.file, &mut buffer);
        let found = scan::behind(&mut window, &head.header, head.header.data_start, 0);
        surveyor.report.bytes_read += window.bytes_read();
        let found = found.map_err(|io| io.in_file(FileName::Segment(index), "cannot read the segment"))?;
        if found.relative_last > 0 {
            highest = highest.max(open.first_seq + found.relative_last - 1);
        }
    }
    Ok(highest)
}

/// Whether a segment outside the chain may hold records, or cannot be told not to.
fn may_hold_records<S: Storage>(surveyor: &mut Surveyor<'_, S>, index: u32) -> bool {
    let Ok(head) = crate::segment::head::load(surveyor.storage, &surveyor.family, index, Access::Read) else {
        return true;
    };
    if head.open.is_some() {
        return true;
    }
    let Ok(mut buffer) = scan_buffer(surveyor.family.segment_bytes) else {
        return true;
    };
    let mut window = scan::Window::new(&head.file, &mut buffer);
    scan::behind(&mut window, &head.header, head.header.data_start, 0).is_ok_and(|found| found.headers > 0)
}
