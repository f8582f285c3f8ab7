//! Damage worked around: what precedes it is kept, what follows is moved aside, and the log goes on above the highest seq that was used.

use super::ending::{Scanned, scan_segment};
use super::evidence;
use super::surveyor::{Fact, Surveyor};
use super::{Ending, Found, Unclean};
use crate::error::{Code, Error, Result};
use crate::format::control::{Checkpoint, How, Link, Open};
use crate::memory;
use crate::names::FileName;
use crate::segment::buffer::read_buffer;
use crate::segment::scan::Window;
use crate::seq::{Seq, Tail};
use crate::storage::{File, Storage};

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
    let opens = surveyor.opens()?;
    let mut current = surveyor.manifest.oldest_segment;
    while let Some(next) = keep(surveyor, &opens, &mut kept, current)? {
        current = next;
    }
    let manifest = surveyor.manifest;
    let known = [manifest.bound.tail.seq, manifest.floor, manifest.checkpoint.n, kept.checkpoint.n, kept.tail.seq];
    let known = known.into_iter().fold(0, Seq::max);
    let highest = evidence::highest_used(surveyor, kept.link.index, known)?;
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
    // What may hold records is evidence and is moved aside; what certainly holds none can be used again.
    let pinned = surveyor.pinned(kept.chain.first().copied())?;
    let mut aside = surveyor.evidence(&kept.chain, &pinned)?;
    let highest_index = surveyor.highest_index()?;
    let mut leftovers = Vec::new();
    for name in surveyor.leftovers(&segments, &pinned)? {
        match name {
            FileName::Segment(index) if evidence::may_hold_records(surveyor, index)? => memory::push(&mut aside, name)?,
            _ => memory::push(&mut leftovers, name)?,
        }
    }
    for name in surveyor.headless(&segments, &pinned, highest_index)? {
        memory::push(&mut aside, name)?;
    }
    Ok(Found {
        manifest: surveyor.manifest,
        family: surveyor.family,
        segments,
        kept_files: surveyor.kept_files(&pinned)?,
        kept: pinned.segments,
        pins: pinned.pins,
        ending: Ending::Unclean(unclean),
        restore_slot: false,
        held: None,
        checkpoint: kept.checkpoint,
        until_commit: Vec::new(),
        leftovers,
        aside,
        highest_index,
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
fn keep<S: Storage>(surveyor: &mut Surveyor<'_, S>, opens: &[(u32, Open)], kept: &mut Kept, index: u32) -> Result<Option<u32>> {
    let head = match surveyor.load(index) {
        Ok(head) => head,
        Err(damage) if damage.code == Code::Corrupt => {
            kept.damage = Some(damage);
            return Ok(None);
        }
        // What cannot be read today may be whole tomorrow.
        Err(error) => return Err(error),
    };
    let fact = Fact { header: head.header, open: head.open };
    let begin = surveyor.begin(fact);
    let successor = successor_of(opens, surveyor.manifest.bound.segment, index);
    if successor.is_none() {
        // Nothing behind it proves that it was synced; what is kept of it must not be in the cache alone.
        let name = FileName::Segment(index);
        head.file.sync().map_err(|io| io.in_file(name, "cannot sync the segment before reading it"))?;
        head.file.drop_cache();
    }
    let limit = successor.map_or(head.header.capacity, |(_, open)| open.link.end);
    let mut buffer = read_buffer(surveyor.family.segment_bytes)?;
    let scanned = scan_segment(&mut Window::new(&head.file, &mut buffer), &begin, limit, &mut surveyor.report)?;
    let vouched = scanned.vouched(surveyor.bound_in(&fact));
    let must_reach = if successor.is_some() { limit } else { vouched };
    if let Err(damage) = scanned.check_end(&begin, must_reach) {
        keep_part(kept, fact, &scanned)?;
        kept.damage = Some(damage);
        return Ok(None);
    }
    if let Some((_, open)) = successor
        && !agrees(&scanned, &open)
    {
        // Which of its frames are this log's cannot be told from inside.
        kept.damage = Some(
            Error::new(Code::Corrupt, "the segment is not the one that its successor followed")
                .in_file(FileName::Segment(index))
                .at(scanned.end.last_frame.offset)
                .seqs(begin.first_seq, open.before.seq.max(begin.first_seq)),
        );
        return Ok(None);
    }
    keep_part(kept, fact, &scanned)?;
    match successor {
        Some((next, _)) => Ok(Some(next)),
        None if index < surveyor.manifest.bound.segment => {
            kept.damage = Some(
                Error::new(Code::Corrupt, "nothing follows this segment, but the manifest names later ones")
                    .in_file(FileName::Segment(index))
                    .at(scanned.end.offset)
                    .seqs(scanned.end.tail.seq + 1, u64::MAX),
            );
            Ok(None)
        }
        None => {
            if let Some(end) = scanned.successor {
                match surveyor.check_successor(end.successor, scanned.end.tail) {
                    Ok(()) => {}
                    Err(damage) if damage.code == Code::Corrupt => kept.damage = Some(damage),
                    Err(error) => return Err(error),
                }
            }
            scanned.report_dropped(&begin, &mut surveyor.report);
            Ok(None)
        }
    }
}

/// Whether a segment that ends where its successor says also ends with the frame and the tail that it says.
fn agrees(scanned: &Scanned, open: &Open) -> bool {
    let last = scanned.end.last_frame;
    let same_frame = open.link.last_frame == 0 || (last.offset == open.link.last_frame && last.crc == open.link.last_crc);
    same_frame && scanned.end.tail == open.before
}

fn keep_part(kept: &mut Kept, fact: Fact, scanned: &Scanned) -> Result<()> {
    if scanned.end.offset <= fact.header.data_start {
        return Ok(());
    }
    memory::push(&mut kept.chain, fact)?;
    kept.link = Link {
        index: fact.header.index,
        end: scanned.end.offset,
        last_frame: scanned.end.last_frame.offset,
        last_crc: scanned.end.last_frame.crc,
    };
    kept.tail = scanned.end.tail;
    let opened = fact.open.map_or(Checkpoint::default(), |open| open.checkpoint);
    for checkpoint in [opened, scanned.checkpoint] {
        if checkpoint.n > kept.checkpoint.n {
            kept.checkpoint = checkpoint;
        }
    }
    Ok(())
}

/// The segment that came after `index`. Recovered ones override rotated ones, but behind the bound they are what an interrupted opening left.
fn successor_of(opens: &[(u32, Open)], bound: u32, index: u32) -> Option<(u32, Open)> {
    let follows =
        |&&(later, open): &&(u32, Open)| later > index && open.link.index == index && (open.how == How::Rotated || later <= bound);
    opens.iter().rev().find(follows).copied()
}
