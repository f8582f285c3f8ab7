//! The log as it should be: one chain from the oldest segment to the end, or the first thing that is wrong with it.

use super::ending::{Begin, Scanned, scan_segment, tail_buffer};
use super::surveyor::{Fact, Indexes, Surveyor};
use super::{Copy, Ending, Found, Held, Position, Report, Unclean, has_room_for_end};
use crate::error::{Code, Error, Result};
use crate::format::constants::{DATA_START, FRAME_HEADER_LEN, OPEN_PAYLOAD_LEN};
use crate::format::control::{How, Link, Open};
use crate::format::frame::{FrameHeader, frame_len};
use crate::format::segment_header::SegmentHeader;
use crate::memory;
use crate::names::FileName;
use crate::segment::buffer::read_buffer;
use crate::segment::head::ends_as_linked;
use crate::segment::scan::Window;
use crate::seq::Seq;
use crate::storage::{Access, File, Storage};

impl<S: Storage> Surveyor<'_, S> {
    /// The chain as it should be, or the first thing that is wrong with it.
    pub(super) fn strict(&mut self) -> Result<Found> {
        let chain = self.chain()?;
        let Some(&last) = chain.last() else {
            return Err(Error::new(Code::Corrupt, "the log has no segment").in_directory());
        };
        let begins_late = chain[0].open.is_some_and(|open| open.before.seq > self.manifest.floor);
        if begins_late {
            return Err(Error::new(Code::Corrupt, "the oldest segment begins above what the manifest says was forgotten")
                .in_file(FileName::Segment(chain[0].header.index))
                .at(DATA_START));
        }
        let mut segments = self.segments(&chain)?;
        let mut checkpoint = self.manifest.checkpoint;
        for open in chain.iter().filter_map(|fact| fact.open) {
            if open.checkpoint.n > checkpoint.n {
                checkpoint = open.checkpoint;
            }
        }
        // What the copying still reads, and what an END still names, may not be used again before the new segment is committed.
        let mut until_commit = Vec::new();
        let mut restore_slot = false;
        let mut held = None;
        let ending = if self.dirty {
            let (unclean, scanned, bytes) = self.unclean(last)?;
            held = Some(bytes);
            restore_slot = !self.manifest.dirty && self.has_room(&last.header) && self.ends_at_bound(last, &scanned);
            if scanned.checkpoint.n > checkpoint.n {
                checkpoint = scanned.checkpoint;
            }
            if let Some(end) = scanned.successor {
                memory::push(&mut until_commit, FileName::Segment(end.successor))?;
            }
            if restore_slot { Ending::Clean } else { Ending::Unclean(unclean) }
        } else {
            self.check_clean_end(last)?;
            if self.has_room(&last.header) { Ending::Clean } else { Ending::Unclean(self.full(last)?) }
        };
        if let Ending::Unclean(unclean) = ending {
            if unclean.link.index != last.header.index {
                // Nothing in the last segment is vouched for: it does not stay.
                segments.pop();
                memory::push(&mut until_commit, FileName::Segment(last.header.index))?;
            } else if let Some(segment) = segments.last_mut() {
                segment.end = Some((unclean.link.end, unclean.before));
            }
        }
        let end = match ending {
            Ending::Clean => self.manifest.bound.tail,
            Ending::Unclean(unclean) => unclean.tail,
        };
        if end.seq < self.manifest.floor {
            return Err(Error::new(Code::Corrupt, "the log ends below what the manifest says was forgotten")
                .in_file(FileName::Segment(last.header.index))
                .seqs(end.seq + 1, self.manifest.floor));
        }
        let pinned = self.pinned(chain.first().copied())?;
        let mut leftovers = self.leftovers(&segments, &pinned)?;
        leftovers.retain(|name| !until_commit.contains(name));
        Ok(Found {
            manifest: self.manifest,
            family: self.family,
            segments,
            kept_files: self.kept_files(&pinned)?,
            ending,
            checkpoint,
            leftovers,
            restore_slot,
            held,
            until_commit,
            aside: self.evidence(&chain, &pinned)?,
            highest_index: self.highest_index()?,
            report: Report::default(),
            kept: pinned.segments,
            pins: pinned.pins,
        })
    }

    /// Whether a log that one slot of the manifest says is clean, while the other slot says nothing, ends where the manifest says and has no frame
    /// behind. Then the slot is all that is wrong, and no spare is needed to go on, which a full disk might not have.
    fn ends_at_bound(&self, last: Fact, scanned: &Scanned) -> bool {
        let bound = self.manifest.bound;
        bound.segment == last.header.index && scanned.end.offset == bound.offset && scanned.behind.headers == 0
    }

    /// The segments that count: back from the bound to the oldest, then forward by rotated OPENs.
    fn chain(&mut self) -> Result<Vec<Fact>> {
        let bound = self.manifest.bound;
        // Where a segment cannot be looked into, everything from the floor to what stands behind it is at risk.
        let floor = self.manifest.floor;
        let at_risk = |last: Seq| {
            move |error: Error| {
                if error.code == Code::Corrupt { error.seqs(floor + 1, last.max(floor + 1)) } else { error }
            }
        };
        let mut head = self.load(bound.segment).map_err(at_risk(if self.dirty { Seq::MAX } else { bound.tail.seq }))?;
        let vouched_open = bound.offset > head.header.data_start;
        // A frame that is written anywhere else nobody would find again.
        if bound.offset != head.header.data_start && bound.offset < behind_open(&head.header) {
            return Err(no_frame_ends(bound.segment, bound.offset));
        }
        let begins_late = head.open.is_some_and(|open| open.first_seq > bound.tail.seq + 1);
        if vouched_open && (head.open.is_none() || begins_late) {
            return Err(at_risk(Seq::MAX)(bad_open(bound.segment)));
        }
        let last = head.header.index;
        let mut chain = memory::collect([Fact { header: head.header, open: head.open }])?;
        while head.header.index != self.manifest.oldest_segment {
            let link = head.open.map_or(Link::default(), |open| open.link);
            if link.index < self.manifest.oldest_segment || link.index >= head.header.index {
                return Err(Error::new(
                    Code::Corrupt,
                    "the chain of segments does not lead back to the oldest one that the manifest names",
                )
                .in_file(FileName::Segment(head.header.index))
                .at(DATA_START));
            }
            let before = head.open.map_or(floor, |open| open.before.seq);
            let predecessor = self.load(link.index).map_err(at_risk(before))?;
            if predecessor.open.is_none() {
                return Err(at_risk(before)(bad_open(link.index)));
            }
            self.check_link(&predecessor.file, &predecessor.header, &link).map_err(at_risk(before))?;
            memory::push(&mut chain, Fact { header: predecessor.header, open: predecessor.open })?;
            head = predecessor;
        }
        chain.reverse();
        self.follow(chain, last)
    }

    /// Adds the segments behind the bound's.
    fn follow(&mut self, mut chain: Vec<Fact>, bound_segment: u32) -> Result<Vec<Fact>> {
        let later = memory::collect(self.segment_indexes().filter(|&index| index > bound_segment))?;
        let mut candidates = Vec::new();
        for index in later {
            match self.load(index) {
                Ok(head) => memory::push(&mut candidates, Fact { header: head.header, open: head.open })?,
                // Only what something needs must be whole: the name that an END gives is looked at when it is met.
                Err(error) if error.code == Code::Corrupt => {}
                Err(error) => return Err(error),
            }
        }
        let followers = Followers::new(&candidates)?;
        let mut current = bound_segment;
        loop {
            let (next, is_alone) = followers.of(current);
            let Some(fact) = next else {
                break;
            };
            let link = fact.open.map_or(Link::default(), |open| open.link);
            let out_of_date = !self.dirty || (current == bound_segment && link.end < self.manifest.bound.offset);
            if !is_alone || out_of_date {
                return Err(Error::new(
                    Code::Corrupt,
                    "there are segments behind the end that the manifest names: the manifest is an old copy; restore the newest",
                )
                .in_file(FileName::Segment(fact.header.index)));
            }
            let Some(&predecessor) = chain.last().filter(|predecessor| predecessor.open.is_some()) else {
                // The successor vouches for it, even where the bound does not.
                return Err(bad_open(current).seqs(self.manifest.floor + 1, Seq::MAX));
            };
            let file = self.open_known(current)?;
            self.check_link(&file, &predecessor.header, &link)?;
            current = fact.header.index;
            memory::push(&mut chain, fact)?;
        }
        self.check_missing_link(&candidates, &chain)?;
        self.check_leftovers(&candidates, &followers, &chain)?;
        Ok(chain)
    }

    /// A rotated segment that cannot be reached, because the one in front of it does not count, was appended to when that one was whole.
    fn check_missing_link(&mut self, candidates: &[Fact], chain: &[Fact]) -> Result<()> {
        let Some(last) = chain.last() else {
            return Ok(());
        };
        let with_open = Indexes::new(candidates.iter().filter(|fact| fact.open.is_some()).map(|fact| fact.header.index))?;
        let mut rotated = candidates.iter().filter_map(|fact| fact.open).filter(|open| open.how == How::Rotated);
        // The first of them: what follows it is behind the same damage.
        let Some(open) = rotated.find(|open| open.link.index > last.header.index && !with_open.contain(open.link.index)) else {
            return Ok(());
        };
        let first = last.open.map_or(self.manifest.floor + 1, |open| open.first_seq.max(self.manifest.floor + 1));
        let at_risk = |error: Error| if error.code == Code::Corrupt { error.seqs(first, open.before.seq.max(first)) } else { error };
        let index = open.link.index;
        self.load(index).map_err(at_risk)?;
        Err(at_risk(bad_open(index)))
    }

    /// A recovered segment behind the bound that the manifest does not name is one whose opening was interrupted: nobody appended to it.
    fn check_leftovers(&mut self, candidates: &[Fact], followers: &Followers, chain: &[Fact]) -> Result<()> {
        let counting = Indexes::new(chain.iter().map(|fact| fact.header.index))?;
        for fact in candidates {
            let Some(open) = fact.open.filter(|_| !counting.contain(fact.header.index)) else {
                continue;
            };
            let has_successor = followers.of(fact.header.index).0.is_some();
            let begin = Begin { header: fact.header, first_seq: open.first_seq, tail: open.before };
            let file = self.load(fact.header.index)?.file;
            let mut buffer = read_buffer(self.family.segment_bytes)?;
            let scanned = scan_segment(&mut Window::new(&file, &mut buffer), &begin, fact.header.capacity, &mut self.report)?;
            if open.how == How::Rotated || has_successor || scanned.vouched(0) > 0 {
                return Err(Error::new(
                    Code::Corrupt,
                    "records were appended to a segment that the manifest does not know: the manifest is an old copy; restore the newest",
                )
                .in_file(FileName::Segment(fact.header.index)));
            }
        }
        Ok(())
    }

    pub(super) fn check_link(&self, file: &S::File, predecessor: &SegmentHeader, link: &Link) -> Result<()> {
        if ends_as_linked(file, predecessor, link)? {
            return Ok(());
        }
        Err(Error::new(Code::Corrupt, "the segment does not end with the frame that its successor names")
            .in_file(FileName::Segment(predecessor.index))
            .at(link.last_frame))
    }

    /// A clean log ends at the bound: a frame there means that the manifest is older than the segment.
    fn check_clean_end(&mut self, last: Fact) -> Result<()> {
        let bound = self.manifest.bound;
        let name = FileName::Segment(last.header.index);
        let head = self.load(last.header.index)?;
        let mut bytes = [0; FRAME_HEADER_LEN];
        // Where the segment ends before, the rest stays zero, which is no header.
        let read = head.file.read_at(bound.offset, &mut bytes).map_err(|io| io.in_file(name, "cannot read the end of the log"))?;
        self.report.bytes_read += read as u64;
        if FrameHeader::decode(last.header.seed, last.header.capacity, bound.offset, &bytes).is_some() {
            return Err(Error::new(
                Code::Corrupt,
                "there is a frame behind the end that the manifest names: the manifest is an old copy; restore the newest",
            )
            .in_file(name)
            .at(bound.offset));
        }
        Ok(())
    }

    /// Whether appending can go on at the bound, in the segment with this header: with room for an OPEN that is still to be written, and for END.
    fn has_room(&self, header: &SegmentHeader) -> bool {
        has_room_for_end(header.capacity, self.manifest.bound.offset.max(behind_open(header)))
    }

    /// A clean log whose last segment has no room goes on as behind a recovery, with nothing to copy. Other writers may fill a segment to its last byte.
    fn full(&mut self, last: Fact) -> Result<Unclean> {
        let bound = self.manifest.bound;
        let file = self.open_known(last.header.index)?;
        let begin = self.begin(last);
        let mut buffer = read_buffer(self.family.segment_bytes)?;
        let scanned = scan_segment(&mut Window::new(&file, &mut buffer), &begin, bound.offset, &mut self.report)?;
        scanned.check_end(&begin, bound.offset)?;
        if (scanned.end.offset, scanned.end.tail) != (bound.offset, bound.tail) {
            return Err(no_frame_ends(last.header.index, bound.offset));
        }
        Ok(unclean_at(last, &begin, &scanned, scanned.end))
    }

    /// A segment that was looked at already.
    fn open_known(&self, index: u32) -> Result<S::File> {
        let name = FileName::Segment(index);
        self.storage.open(name, Access::Read).map_err(|io| io.in_file(name, "cannot open the segment"))
    }

    /// The last segment of a log that was not closed.
    fn unclean(&mut self, last: Fact) -> Result<(Unclean, Scanned, Held)> {
        let file = self.open_known(last.header.index)?;
        let mut buffer = tail_buffer(self.family.segment_bytes)?;
        let begin = self.begin(last);
        let mut window = Window::new(&file, &mut buffer);
        window.keep(last.header.data_start);
        let scanned = scan_segment(&mut window, &begin, last.header.capacity, &mut self.report)?;
        let bound = self.bound_in(&last);
        let vouched = scanned.vouched(bound);
        scanned.check_end(&begin, vouched)?;
        let position = scanned.position_at(&mut window, &begin, vouched.max(last.header.data_start))?;
        let place = window.held();
        let Some(position) = position.filter(|position| bound < vouched || bound == 0 || position.tail == self.manifest.bound.tail) else {
            return Err(no_frame_ends(last.header.index, vouched));
        };
        if let Some(end) = scanned.successor {
            self.check_successor(end.successor, scanned.end.tail)?;
        }
        scanned.report_dropped(&begin, &mut self.report);
        Ok((unclean_at(last, &begin, &scanned, position), scanned, Held { buffer, place }))
    }

    /// Reads every frame of every segment.
    pub(super) fn verify_all(&mut self, found: &Found) -> Result<()> {
        let mut buffer = read_buffer(self.family.segment_bytes)?;
        for segment in &found.segments {
            let head = self.load(segment.header.index)?;
            let begin = self.begin(Fact { header: head.header, open: head.open });
            let end = match (segment.end, found.ending) {
                (Some((end, _)), _) => end,
                (None, Ending::Clean) => self.manifest.bound.offset,
                // The last segment of an unclean log was read already.
                (None, Ending::Unclean(_)) => continue,
            };
            if end <= head.header.data_start {
                continue;
            }
            let scanned = scan_segment(&mut Window::new(&head.file, &mut buffer), &begin, end, &mut self.report)?;
            scanned.check_end(&begin, end)?;
        }
        Ok(())
    }
}

/// What an unclean opening starts from, `vouched` being where what something vouches for ends.
fn unclean_at(last: Fact, begin: &Begin, scanned: &Scanned, vouched: Position) -> Unclean {
    let (link, before) = if vouched.offset > last.header.data_start {
        let link =
            Link { index: last.header.index, end: vouched.offset, last_frame: vouched.last_frame.offset, last_crc: vouched.last_frame.crc };
        (link, vouched.tail)
    } else {
        // Nothing in it is vouched for, so the new segment takes its place in the chain.
        (last.open.map_or(Link::default(), |open| open.link), begin.tail)
    };
    let copy = Copy { segment: last.header, segment_first_seq: begin.first_seq, from: vouched.offset, end: scanned.end.offset };
    Unclean { link, before, first_seq: vouched.tail.seq + 1, copy: (copy.from < copy.end).then_some(copy), tail: scanned.end.tail }
}

/// Segments that rotated OPENs lead to, by the one they follow.
struct Followers(Vec<(u32, Fact)>);

impl Followers {
    fn new(candidates: &[Fact]) -> Result<Followers> {
        // Indexes rise along the chain.
        let follows = |fact: &Fact, open: &Open| open.how == How::Rotated && open.link.index < fact.header.index;
        let rotated = |fact: &Fact| fact.open.filter(|open| follows(fact, open)).map(|open| (open.link.index, *fact));
        let mut followers: Vec<(u32, Fact)> = memory::collect(candidates.iter().filter_map(rotated))?;
        followers.sort_unstable_by_key(|&(index, fact)| (index, fact.header.index));
        Ok(Followers(followers))
    }

    /// The first one that follows segment `index`, and whether no other does.
    fn of(&self, index: u32) -> (Option<Fact>, bool) {
        let from = self.0.partition_point(|&(before, _)| before < index);
        let mut followers = self.0[from..].iter().take_while(|&&(before, _)| before == index).map(|&(_, fact)| fact);
        (followers.next(), followers.next().is_none())
    }
}

/// The first offset at which a frame behind OPEN can stand.
fn behind_open(header: &SegmentHeader) -> u64 {
    header.data_start + frame_len(OPEN_PAYLOAD_LEN as u64)
}

fn no_frame_ends(index: u32, offset: u64) -> Error {
    Error::new(Code::Corrupt, "what vouches for this segment names a place where no frame ends")
        .in_file(FileName::Segment(index))
        .at(offset)
}

fn bad_open(index: u32) -> Error {
    Error::new(Code::Corrupt, "the first frame of the segment, which was durable, is damaged")
        .in_file(FileName::Segment(index))
        .at(DATA_START)
}
