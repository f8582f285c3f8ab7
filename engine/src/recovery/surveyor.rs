//! What every part of a survey works with: the directory's names, the manifest, and segments looked at one by one.

use super::Report;
use super::ending::{Begin, scan_segment};
use crate::chain::Segment;
use crate::error::{Code, Error, Result};
use crate::format::constants::{DATA_START, MANIFEST_LEN, SEGMENT_HEADER_LEN};
use crate::format::control::{How, Open};
use crate::format::manifest_slot::Manifest;
use crate::format::segment_header::SegmentHeader;
use crate::memory;
use crate::names::FileName;
use crate::pins::Kept;
use crate::segment::buffer::read_buffer;
use crate::segment::head::{Family, Head, load};
use crate::segment::scan::Window;
use crate::seq::{Seq, Tail};
use crate::storage::{Access, File, IoKind, Storage};

/// A segment of the chain, without its file.
#[derive(Clone, Copy)]
pub(super) struct Fact {
    pub(super) header: SegmentHeader,
    pub(super) open: Option<Open>,
}

/// What a survey works with.
pub(super) struct Surveyor<'a, S: Storage> {
    pub(super) storage: &'a S,
    pub(super) names: Vec<FileName>,
    pub(super) manifest: Manifest,
    pub(super) family: Family,
    pub(super) dirty: bool,
    pub(super) report: Report,
}

impl<'a, S: Storage> Surveyor<'a, S> {
    pub(super) fn new(storage: &'a S, names: Vec<FileName>, manifest: Manifest, both_slots: bool) -> Surveyor<'a, S> {
        let family = Family::from(&manifest);
        let report = Report { clean: !manifest.dirty, bytes_read: MANIFEST_LEN as u64, log_id: manifest.log_id, ..Report::default() };
        // A slot without a valid copy may have been the newer one; then the flag in the other is out of date.
        let dirty = manifest.dirty || !both_slots;
        Surveyor { storage, names, manifest, family, dirty, report }
    }

    /// The first seq of a segment and the tail in front of it.
    pub(super) fn begin(&self, fact: Fact) -> Begin {
        let tail = match fact.open {
            Some(open) => open.tail_at_start(),
            // Only the first segment of a log counts without an OPEN.
            None => self.manifest.bound.tail,
        };
        Begin { header: fact.header, first_seq: fact.open.map_or(tail.seq + 1, |open| open.first_seq), tail }
    }

    /// The bound's offset if it lies in this segment.
    pub(super) fn bound_in(&self, fact: &Fact) -> u64 {
        let bound = self.manifest.bound;
        if bound.segment == fact.header.index && bound.offset > fact.header.data_start { bound.offset } else { 0 }
    }

    /// The successor that an END names, and whose OPEN is not valid or it would count: its header was durable before the END was written, and
    /// nothing in it may be vouched for. `tail` is what stands in front of it.
    pub(super) fn check_successor(&mut self, index: u32, tail: Tail) -> Result<()> {
        let next = tail.seq + 1;
        let at_risk = |error: Error| if error.code == Code::Corrupt { error.seqs(next, Seq::MAX) } else { error };
        let head = self.load(index).map_err(at_risk)?;
        if head.open.is_some_and(|open| open.how == How::Rotated) {
            return Err(Error::new(Code::Corrupt, "the segment does not follow the one that names it as its successor")
                .in_file(FileName::Segment(index))
                .at(DATA_START)
                .seqs(next, Seq::MAX));
        }
        let begin = Begin { header: head.header, first_seq: next, tail };
        let mut buffer = read_buffer(self.family.segment_bytes)?;
        let scanned = scan_segment(&mut Window::new(&head.file, &mut buffer), &begin, head.header.capacity, &mut self.report)?;
        if head.open.is_none() {
            scanned.check_end(&begin, scanned.vouched(0))?;
        }
        Ok(())
    }

    /// The chain as cursors see it.
    pub(super) fn segments(&self, chain: &[Fact]) -> Result<Vec<Segment>> {
        let mut segments = Vec::new();
        segments.try_reserve(chain.len()).map_err(|_| no_memory())?;
        for (place, fact) in chain.iter().enumerate() {
            let begin = self.begin(*fact);
            let before = fact.open.map_or(begin.tail, |open| open.before);
            let end = chain.get(place + 1).and_then(|next| next.open).map(|next| (next.link.end, next.before));
            segments.push(Segment { header: fact.header, first_seq: begin.first_seq, before, end });
        }
        Ok(segments)
    }

    /// The valid OPENs of all usable segments, by index.
    pub(super) fn opens(&mut self) -> Result<Vec<(u32, Open)>> {
        let indexes = memory::collect(self.segment_indexes())?;
        let mut opens = Vec::new();
        for index in indexes {
            match self.load(index) {
                Ok(Head { open: Some(open), .. }) => memory::push(&mut opens, (index, open))?,
                Ok(_) => {}
                Err(error) if error.code == Code::Corrupt => {}
                Err(error) => return Err(error),
            }
        }
        Ok(opens)
    }

    pub(super) fn load(&mut self, index: u32) -> Result<Head<S::File>> {
        let head = load(self.storage, &self.family, index, Access::Read)?;
        self.report.bytes_read += head.bytes_read;
        Ok(head)
    }

    pub(super) fn segment_indexes(&self) -> impl Iterator<Item = u32> + '_ {
        self.names.iter().filter_map(|name| match name {
            FileName::Segment(index) => Some(*index),
            _ => None,
        })
    }

    /// Every spare, and every segment that neither counts nor is pinned nor is evidence.
    pub(super) fn leftovers(&self, segments: &[Segment], pinned: &Pinned) -> Result<Vec<FileName>> {
        let counting = Indexes::with_pinned(segments.iter().map(|segment| segment.header.index), pinned)?;
        let mut leftovers = Vec::new();
        for &name in &self.names {
            let is_leftover = match name {
                FileName::Spare(_) => true,
                FileName::Segment(index) => !counting.contain(index) && !self.is_evidence(index) && self.is_ours(name)?,
                FileName::Lock | FileName::Manifest | FileName::Damaged(_) | FileName::Pins | FileName::Pin(_) | FileName::Draft(_) => {
                    false
                }
            };
            if is_leftover {
                memory::push(&mut leftovers, name)?;
            }
        }
        Ok(leftovers)
    }

    /// Segments that an earlier prefix recovery was to move aside and has not.
    pub(super) fn evidence(&self, chain: &[Fact], pinned: &Pinned) -> Result<Vec<FileName>> {
        let counting = Indexes::with_pinned(chain.iter().map(|fact| fact.header.index), pinned)?;
        let is_evidence = |&index: &u32| !counting.contain(index) && self.is_evidence(index);
        memory::collect(self.segment_indexes().filter(is_evidence).map(FileName::Segment))
    }

    /// Segments that do not count and have lost their header, by which they could be told from another's files: those among the log's own indexes.
    pub(super) fn headless(&self, segments: &[Segment], pinned: &Pinned, highest_index: u32) -> Result<Vec<FileName>> {
        let counting = Indexes::with_pinned(segments.iter().map(|segment| segment.header.index), pinned)?;
        let mut headless = Vec::new();
        for index in self.segment_indexes().filter(|&index| index <= highest_index && !counting.contain(index) && !self.is_evidence(index))
        {
            let name = FileName::Segment(index);
            if !self.is_ours(name)? {
                memory::push(&mut headless, name)?;
            }
        }
        Ok(headless)
    }

    /// How many files stay for the sake of pins.
    pub(super) fn kept_files(&self, pinned: &Pinned) -> Result<u64> {
        let kept = Indexes::with_pinned(core::iter::empty(), pinned)?;
        Ok(self.segment_indexes().filter(|&index| kept.contain(index)).count() as u64)
    }

    fn is_evidence(&self, index: u32) -> bool {
        let (first, last) = self.manifest.aside;
        first > 0 && (first..=last).contains(&index)
    }

    /// Whether a file has the header of a segment of this log. One that has not is either damaged or not the log's at all: whoever put it there may want
    /// it back.
    fn is_ours(&self, name: FileName) -> Result<bool> {
        let file = match self.storage.open(name, Access::Read) {
            Ok(file) => file,
            Err(io) if matches!(io.kind, IoKind::NotFound | IoKind::NotAFile) => return Ok(false),
            Err(io) => return Err(io.in_file(name, "cannot open the file")),
        };
        let mut bytes = [0; SEGMENT_HEADER_LEN];
        let read = file.read_at(0, &mut bytes).map_err(|io| io.in_file(name, "cannot read the file's header"))?;
        Ok(SegmentHeader::decode(&bytes[..read]).is_ok_and(|header| header.log_id == self.family.log_id))
    }

    /// The highest index that this log has used. A name alone proves nothing: anybody can give it to a file, and the highest one of all would leave no
    /// index to go on with.
    pub(super) fn highest_index(&self) -> Result<u32> {
        let mut highest = self.manifest.bound.segment.max(self.manifest.aside.1);
        // From the highest down, so that mostly the first file that is looked into decides.
        for &name in self.names.iter().rev() {
            if matches!(name, FileName::Segment(_) | FileName::Spare(_)) && name.index() > highest && self.is_ours(name)? {
                highest = name.index();
            }
        }
        Ok(highest)
    }
}

/// What pins keep of what the host has forgotten.
#[derive(Default)]
pub(super) struct Pinned {
    /// The pins.
    pub(super) pins: Vec<Kept>,
    /// The forgotten segments that they keep, from the oldest on: they lead up to the oldest one that counts.
    pub(super) segments: Vec<Segment>,
    /// Where the way back ends before all that pins keep was found, every segment below this index stays, whatever it is; 0 otherwise.
    pub(super) below: u32,
}

/// Indexes to look up.
pub(super) struct Indexes {
    sorted: Vec<u32>,
    /// All below are among them.
    below: u32,
}

impl Indexes {
    pub(super) fn new(indexes: impl Iterator<Item = u32>) -> Result<Indexes> {
        let mut sorted = memory::collect(indexes)?;
        sorted.sort_unstable();
        Ok(Indexes { sorted, below: 0 })
    }

    /// These and those of what pins keep.
    fn with_pinned(indexes: impl Iterator<Item = u32>, pinned: &Pinned) -> Result<Indexes> {
        let indexes = Indexes::new(indexes.chain(pinned.segments.iter().map(|segment| segment.header.index)))?;
        Ok(Indexes { below: pinned.below, ..indexes })
    }

    pub(super) fn contain(&self, index: u32) -> bool {
        index < self.below || self.sorted.binary_search(&index).is_ok()
    }
}

fn no_memory() -> Error {
    Error::new(Code::NoMemory, "no memory for the list of segments")
}
