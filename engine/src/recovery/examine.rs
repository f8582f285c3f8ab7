//! Every damage in a log, one by one. A strict opening stops at the first and a prefix recovery gives up what follows it; who has to decide what to
//! restore wants to know about all. Reads every byte that counts or that a pin keeps, writes nothing, and keeps nothing of what it finds.

use core::ops::Range;

use super::ending::Begin;
use super::surveyor::{Fact, Surveyor};
use crate::error::{Code, Error, Result};
use crate::format::constants::{DATA_START, FRAME_ALIGN, FRAME_HEADER_LEN, MANIFEST_COPY_LEN, MANIFEST_LEN, MANIFEST_PAGE_LEN};
use crate::format::control::{How, Open};
use crate::format::frame::{FrameHeader, Kind, padded};
use crate::format::manifest_slot::Manifest;
use crate::format::segment_header::SegmentHeader;
use crate::memory;
use crate::names::FileName;
use crate::pins::{self, Kept, Standing};
use crate::segment::buffer::read_buffer;
use crate::segment::head::ends_as_linked;
use crate::segment::scan::{Behind, Stop, Walk, Window};
use crate::seq::{self, Seq};
use crate::storage::{Access, File, IoError, IoKind, Storage};

/// Calls `each` with every damage, segment by segment. `strict` is what a strict reading met first.
pub(super) fn every_damage<S: Storage>(surveyor: &mut Surveyor<'_, S>, strict: Option<Error>, each: &mut dyn FnMut(&Error)) -> Result<()> {
    let mut seen = Seen { each, strict };
    manifest_copies(surveyor.storage, &mut |damage| seen.report(&damage))?;
    let expected = Expected { opens: surveyor.opens()?, keep: kept_above(surveyor)? };
    let chain = expected.chain(surveyor)?;
    let mut next = None;
    for (place, &index) in chain.iter().enumerate() {
        let successor = chain.get(place + 1).copied();
        next = segment(surveyor, &expected, index, successor, next, &mut seen)?;
    }
    seen.finish();
    Ok(())
}

/// What is forgotten above it, pins keep; the floor, if nothing. Pins that are lost or damaged do not say what should be there.
fn kept_above<S: Storage>(surveyor: &Surveyor<'_, S>) -> Result<Seq> {
    let pins = pins::read_all(surveyor.storage, &surveyor.names, surveyor.manifest.log_id)?;
    let is_whole = |kept: &&Kept| matches!(kept.standing, Standing::Whole(_));
    let lowest = pins.iter().filter(is_whole).filter_map(Kept::keeps).min();
    Ok(lowest.map_or(surveyor.manifest.floor, |keep| keep.min(surveyor.manifest.floor)))
}

/// What was reported so far.
struct Seen<'a> {
    each: &'a mut dyn FnMut(&Error),
    /// What a strict reading met, until something in the same file is reported.
    strict: Option<Error>,
}

impl Seen<'_> {
    fn report(&mut self, damage: &Error) {
        if self.strict.is_some_and(|strict| strict.place == damage.place) {
            self.strict = None;
        }
        (self.each)(damage);
    }

    /// What is wrong with the log as a whole, and with no frame of it: an old manifest, a segment too many.
    fn finish(self) {
        if let Some(strict) = self.strict {
            (self.each)(&strict);
        }
    }
}

/// Reports copies of the manifest that are not valid.
fn manifest_copies<S: Storage>(storage: &S, report: &mut dyn FnMut(Error)) -> Result<()> {
    let name = FileName::Manifest;
    let file = match storage.open(name, Access::Read) {
        Ok(file) => file,
        Err(IoError { kind: IoKind::NotFound, .. }) => return Ok(()),
        Err(io) => return Err(io.in_file(name, "cannot open the manifest")),
    };
    for offset in (0..MANIFEST_LEN as u64).step_by(MANIFEST_PAGE_LEN) {
        let mut copy = [0; MANIFEST_COPY_LEN];
        let read = file.read_at(offset, &mut copy).map_err(|io| io.in_file(name, "cannot read the manifest"))?;
        if Manifest::decode(&copy[..read]).is_err() {
            report(
                Error::new(Code::Corrupt, "this copy of the manifest is damaged, or a crash interrupted its writing; there are others")
                    .in_file(name)
                    .at(offset),
            );
        }
    }
    Ok(())
}

/// What should be there.
struct Expected {
    /// The valid OPENs, by index.
    opens: Vec<(u32, Open)>,
    /// See `kept_above`.
    keep: Seq,
}

impl Expected {
    fn open_of(&self, index: u32) -> Option<Open> {
        self.opens.binary_search_by_key(&index, |&(index, _)| index).ok().map(|place| self.opens[place].1)
    }

    /// The segments that count, or would if nothing were damaged, and in front of them those that pins keep, oldest first: back from the last one, over
    /// gaps to the next lower index.
    fn chain<S: Storage>(&self, surveyor: &Surveyor<'_, S>) -> Result<Vec<u32>> {
        let manifest = surveyor.manifest;
        let oldest = manifest.oldest_segment;
        let rotated = self.opens.iter().rev().find(|(index, open)| *index > manifest.bound.segment && open.how == How::Rotated);
        let mut current = rotated.map_or(manifest.bound.segment, |&(index, _)| index);
        let mut chain = Vec::new();
        loop {
            memory::push(&mut chain, current)?;
            let open = self.open_of(current);
            let lowest = if current > oldest { oldest } else { 1 };
            if current <= oldest && (self.keep >= manifest.floor || open.is_some_and(|open| open.before.seq <= self.keep)) {
                break;
            }
            let linked = open.map(|open| open.link.index).filter(|index| (lowest..current).contains(index));
            // Without its OPEN a segment does not say what it follows.
            let below = || surveyor.segment_indexes().filter(|&index| index < current).last();
            current = match linked.or_else(below) {
                Some(index) => index.max(lowest),
                None if current > oldest => oldest,
                None => break,
            };
        }
        chain.reverse();
        Ok(chain)
    }
}

/// An opening does without it, so recovering would not help.
const ONLY_PINNED: &str = "this segment, which only pins need, is missing, cut or damaged; restore it, or drop them and begin anew";

/// Reports what is wrong with one segment. `next` is the seq that came next at the end of the one before, if that is known; returns the same for this
/// one.
fn segment<S: Storage>(
    surveyor: &mut Surveyor<'_, S>,
    expected: &Expected,
    index: u32,
    successor: Option<u32>,
    next: Option<Seq>,
    seen: &mut Seen<'_>,
) -> Result<Option<Seq>> {
    let bound = surveyor.manifest.bound;
    // Of a successor that says what it follows.
    let follows = successor.and_then(|index| expected.open_of(index)).filter(|open| open.link.index == index);
    let next_after = match (follows, successor) {
        (Some(open), _) => Some(open.before.seq + 1),
        (None, None) if !surveyor.dirty && bound.segment == index => Some(bound.tail.seq + 1),
        _ => None,
    };
    let is_pinned = index < surveyor.manifest.oldest_segment;
    // Where the segment does not say it and no other does.
    let kept_above = if is_pinned { expected.keep } else { surveyor.manifest.floor };
    let first = next.unwrap_or(kept_above + 1);
    let until = |next: Option<Seq>| next.map_or(Seq::MAX, |next| next - 1);
    let head = match surveyor.load(index) {
        Ok(head) => head,
        Err(damage) if damage.code == Code::Corrupt => {
            let damage = if is_pinned { Error { what: ONLY_PINNED, ..damage } } else { damage };
            seen.report(&damage.seqs(first, until(next_after).max(first)));
            return Ok(next_after);
        }
        Err(error) => return Err(error),
    };
    let fact = Fact { header: head.header, open: head.open };
    let is_empty = head.open.is_none() && bound.segment == index && bound.offset == head.header.data_start && successor.is_none();
    let begin = match head.open {
        Some(_) => surveyor.begin(fact),
        None => Begin { first_seq: first, ..surveyor.begin(fact) },
    };
    let mut frames = Frames {
        file: &head.file,
        begin: &begin,
        // Where nothing tells which seqs this segment holds, those of its damaged frames cannot be told either.
        has_open: head.open.is_some(),
        knows_seqs: head.open.is_some() || next.is_some() || is_empty,
        buffer: read_buffer(surveyor.family.segment_bytes)?,
    };
    let (end, has_end) = match follows {
        Some(open) => (open.link.end, true),
        None if successor.is_none() && !surveyor.dirty => (bound.offset, true),
        None => frames.end_by_itself(surveyor.bound_in(&fact), successor.is_some())?,
    };
    let checked = frames.check(end, next_after, seen)?;
    if !has_end && successor.is_some() {
        frames.check_ended(end, checked.next, seen)?;
    }
    if let Some(open) = follows
        && checked.is_whole
        && !ends_as_linked(&head.file, &head.header, &open.link)?
    {
        let damage = Error::new(Code::Corrupt, "the segment is not the one that its successor followed")
            .in_file(FileName::Segment(index))
            .at(open.link.last_frame);
        seen.report(&damage.seqs(begin.first_seq, open.before.seq.max(begin.first_seq)));
    }
    Ok(next_after.or(checked.next))
}

/// The frames of one segment.
struct Frames<'a, F: File> {
    file: &'a F,
    begin: &'a Begin,
    has_open: bool,
    knows_seqs: bool,
    buffer: Vec<u8>,
}

/// How a check of them ended.
struct Checked {
    /// The seq that comes next.
    next: Option<Seq>,
    /// Whether every frame was there.
    is_whole: bool,
}

impl<F: File> Frames<'_, F> {
    fn name(&self) -> FileName {
        FileName::Segment(self.begin.header.index)
    }

    fn cannot_read(&self) -> impl Fn(IoError) -> Error + use<F> {
        let name = self.name();
        move |io| io.in_file(name, "cannot read the segment")
    }

    /// Up to where something in the segment, or `bound`, vouches for it; with a successor that does not say where this one ends, up to its last frame.
    /// And whether an END is among them.
    fn end_by_itself(&mut self, bound: u64, has_successor: bool) -> Result<(u64, bool)> {
        let header = self.begin.header;
        let cannot_read = self.cannot_read();
        let mut found = Behind::default();
        let mut window = Window::new(self.file, &mut self.buffer);
        found.search(&mut window, &header, header.data_start..header.capacity, 0).map_err(cannot_read)?;
        let end = header.data_start.max(bound).max(if has_successor { found.end.max(found.watermark) } else { found.watermark });
        Ok((end, found.last_end.is_some()))
    }

    /// Reports an END that should stand in front of a successor, and of which not even the header is left. What stood before it can be lost as well.
    fn check_ended(&mut self, end: u64, next: Option<Seq>, seen: &mut Seen<'_>) -> Result<()> {
        let name = self.name();
        let cannot_read = self.cannot_read();
        let mut window = Window::new(self.file, &mut self.buffer);
        let bytes = window.up_to(end, FRAME_HEADER_LEN).map_err(cannot_read)?;
        let is_written = bytes.iter().any(|&byte| byte != 0);
        if is_written {
            let damage = Error::new(Code::Corrupt, "the last frames of the segment are damaged").in_file(name).at(end);
            seen.report(&next.map_or(damage, |next| damage.seqs(next, Seq::MAX)));
        }
        Ok(())
    }

    /// Goes through the frames up to `end`, from good one to good one, and reports what is between.
    fn check(&mut self, end: u64, next_after: Option<Seq>, seen: &mut Seen<'_>) -> Result<Checked> {
        let (name, segment, first_seq, knows_seqs) = (self.name(), self.begin.header, self.begin.first_seq, self.knows_seqs);
        let cannot_read = self.cannot_read();
        let mut window = Window::new(self.file, &mut self.buffer);
        let mut walk = Walk::new(segment);
        let mut is_whole = true;
        let mut resumed_at = 0;
        while walk.offset() < end {
            let stop = match walk.next(&mut window).map_err(&cannot_read)? {
                Ok(_) => continue,
                Err(stop) => stop,
            };
            is_whole = false;
            let (offset, relative) = (walk.offset(), walk.records());
            let from = match stop {
                Stop::BadPayload(header) => offset + header.len(),
                // Good by itself, as the first of those that come; unless it was taken for that before.
                Stop::BadOrder if offset != resumed_at => offset,
                Stop::BadOrder | Stop::Blank | Stop::BadHeader | Stop::Ended | Stop::Full => offset + FRAME_ALIGN as u64,
            };
            // Behind a header that is right the next one's place is certain, whatever became of its payload.
            let is_certain = matches!(stop, Stop::BadPayload(_));
            let good = next_good(&mut window, &segment, from..end, relative, is_certain).map_err(&cannot_read)?;
            let what = match stop {
                Stop::BadPayload(_) => "the frame's payload does not match its checksum",
                Stop::BadOrder => "the frame is out of order: what stood in front of it is missing",
                Stop::BadHeader => "the frame's header is damaged",
                Stop::Blank | Stop::Ended | Stop::Full => "frames are missing",
            };
            let next = first_seq + u64::from(relative);
            let after = good.map(|(_, relative)| first_seq + u64::from(relative)).or(next_after);
            let damage = Error::new(Code::Corrupt, what).in_file(name).at(offset);
            let until = |after: Option<Seq>| after.map_or(Seq::MAX, |after| after - 1);
            seen.report(&match after {
                // Without its OPEN nothing in the segment can be reached.
                _ if offset == segment.data_start => damage.seqs(first_seq, until(next_after).max(first_seq)),
                // Only the log's own frames between two records: nothing is lost.
                Some(after) if after <= next => damage,
                _ if !knows_seqs => damage,
                after => damage.seqs(next, until(after)),
            });
            match good {
                Some((offset, relative)) => {
                    resumed_at = offset;
                    walk = Walk::resume(segment, offset, relative);
                }
                None => return Ok(Checked { next: next_after, is_whole }),
            }
        }
        let next = first_seq + u64::from(walk.records());
        if walk.offset() != end || (self.has_open && next_after.is_some_and(|after| after != next)) {
            is_whole = false;
            let damage = Error::new(Code::Corrupt, "the segment does not end where it should").in_file(name).at(walk.offset());
            let last = next_after.map_or(Seq::MAX, |after| after - 1);
            seen.report(&if next <= last { damage.seqs(next, last) } else { damage });
        }
        Ok(Checked { next: Some(next).filter(|next| knows_seqs && *next <= seq::MAX), is_whole })
    }
}

/// The next frame in `range` that is whole and begins a record or ends the segment, and its relative seq. With `is_certain` a right header at the
/// start of the range is enough.
fn next_good<F: File>(
    window: &mut Window<'_, F>,
    segment: &SegmentHeader,
    range: Range<u64>,
    relative: u32,
    is_certain: bool,
) -> core::result::Result<Option<(u64, u32)>, IoError> {
    let mut at = range.start.max(DATA_START);
    let certain = is_certain.then_some(at);
    while at + FRAME_HEADER_LEN as u64 <= range.end {
        let Some(bytes) = window.bytes(at, FRAME_HEADER_LEN)? else {
            break;
        };
        if let Some(header) = FrameHeader::decode(segment.seed, segment.capacity, at, bytes)
            && matches!(header.kind, Kind::Record | Kind::Batch | Kind::First | Kind::End)
            && header.relative_seq >= relative
            // No segment holds more records than bytes.
            && u64::from(header.relative_seq) <= segment.capacity
            && (certain == Some(at) || window.checksum(at + FRAME_HEADER_LEN as u64, padded(u64::from(header.payload_len)))? == Some(header.payload_crc))
        {
            return Ok(Some((at, header.relative_seq)));
        }
        at += FRAME_ALIGN as u64;
    }
    Ok(None)
}
