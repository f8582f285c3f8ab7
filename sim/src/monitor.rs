//! The ordering monitor: always on, it watches every operation and takes down what a log must not do, even where no crash happens to be explored.
//!
//! It reads the log's own format where it has to know what matters: the *durable manifest* is the valid copy of the highest generation in the
//! durable bytes of the file whose durable name is `MANIFEST`; the *needed segments* are the manifest's bound segment, those that the OPEN frames in
//! durable bytes lead back to as far as the oldest segment, and those that rotated OPEN frames lead forward to from the bound segment. The rules:
//!
//! - *Acknowledged* (`Mark::Durable(s)`): no frame with a record of seq s or less, nor the header or OPEN frame of its segment, may have unsynced or
//!   lost bytes in a visible segment that the durable manifest's bound does not lie behind (what does is superseded by a copy); and every segment
//!   into which frames were written has a durable name, as has the manifest.
//! - *At rest* (`Disk::assert_all_synced`): the same segments, and the manifest, have no unsynced or lost bytes at all.
//! - *Failed sync*: a sync that succeeds on the storage value that saw the same file's sync fail must not leave lost writes behind: the log believes
//!   what is not true. The same for `sync_dir`.
//! - *Taken*: a segment is removed or renamed only if the durable manifest does not need it: its index is below the oldest segment, or it is not
//!   among the needed ones. Moving it to its `.damaged` name is also allowed if the manifest announces it, or if there is no manifest. Without a
//!   valid manifest a segment with an OPEN frame stays. A manifest with a valid copy stays for ever.
//!   Nor if a durable pin needs it: one of the durable manifest's log that is neither lost nor dropped, with a seq below the last one of the segment.
//! - *Recycled*: nothing is written into a file whose durable name is that of a segment while its visible name is another, or none.
//! - *Rewritten*: a write into a needed segment changes no durable byte in front of the bound.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use wal_engine::format::checksum;
use wal_engine::format::constants::{
    DATA_START, FRAME_HEADER_LEN, MANIFEST_COPIES, MANIFEST_PAGE_LEN, MANIFEST_SLOTS, PIN_COPIES, PIN_PAGE_LEN,
};
use wal_engine::format::control::{How, Open};
use wal_engine::format::frame::{FrameHeader, Kind};
use wal_engine::format::manifest_slot::Manifest;
use wal_engine::format::pin::Pin;
use wal_engine::format::segment_header::SegmentHeader;
use wal_engine::names::FileName;

use crate::disk::Cached;
use crate::model::{Data, Inode, Model, Op, Write};

/// A rule of the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A record was acknowledged whose bytes are not durable.
    AcknowledgedBytes,
    /// A record was acknowledged while the name of a file that holds frames, or of the manifest, is not durable.
    AcknowledgedName,
    /// Something is unsynced at a moment of rest.
    AtRest,
    /// A sync after a failed one was believed.
    SyncRepeated,
    /// A segment that the durable manifest needs, or the manifest itself, was removed or renamed.
    Taken,
    /// A recycled file was overwritten before its new name was durable.
    Recycled,
    /// Durable bytes in front of the bound were changed.
    Rewritten,
}

/// A rule that was broken.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// How many operations of the trace precede it.
    pub at: usize,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after operation {}: {:?}: {}", self.at, self.rule, self.what)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Monitor {
    violations: Vec<Violation>,
    /// The durable manifest, if it was looked for since it last may have changed.
    manifest: Option<Option<Manifest>>,
    /// Files into which frames were written since they were last a spare.
    framed: BTreeSet<Inode>,
    /// The storage value that saw a file's sync fail.
    failed: BTreeMap<Inode, u64>,
}

impl Monitor {
    pub(crate) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    fn report(&mut self, rule: Rule, at: usize, what: String) {
        self.violations.push(Violation { rule, at, what });
    }

    fn manifest(&mut self, model: &Model) -> Option<Manifest> {
        *self.manifest.get_or_insert_with(|| durable_manifest(model))
    }

    /// After an operation has been carried out.
    pub(crate) fn after(&mut self, op: &Op) {
        match *op {
            Op::Sync { name: Some(FileName::Manifest) | None, .. } | Op::SyncDir => self.manifest = None,
            Op::Rename { to: FileName::Spare(_), inode, .. } => {
                self.framed.remove(&inode);
            }
            _ => {}
        }
    }

    pub(crate) fn before_write(&mut self, model: &Model, inode: Inode, write: &Write, at: usize) {
        let range = write.range();
        let name = model.name_of(inode);
        if writes_frames(write) {
            self.framed.insert(inode);
        }
        let Some(FileName::Segment(index)) = model.durable_name_of(inode) else { return };
        if name != Some(FileName::Segment(index)) {
            let now = name.map_or("nothing".to_string(), |name| name.to_string());
            let what =
                format!("bytes [{}, {}) written into {now}, which after a crash may still be segment {index}", range.start, range.end);
            self.report(Rule::Recycled, at, what);
            return;
        }
        let Some(manifest) = self.manifest(model) else { return };
        let end = match index.cmp(&manifest.bound.segment) {
            std::cmp::Ordering::Greater => return,
            std::cmp::Ordering::Equal => manifest.bound.offset.min(range.end),
            std::cmp::Ordering::Less => range.end,
        };
        let changes = model.inodes.get(&inode).is_some_and(|file| changes_before(file.durable.bytes(), write, end));
        if changes && is_needed(model, &manifest, index) {
            let what = format!("bytes [{}, {end}) of segment {index} are in front of the bound and were changed", range.start);
            self.report(Rule::Rewritten, at, what);
        }
    }

    /// Before `name` is removed (`to` is `None`) or renamed.
    pub(crate) fn before_taking(&mut self, model: &Model, name: FileName, to: Option<FileName>, at: usize) {
        let Some(inode) = model.names.get(&name) else { return };
        let manifest = self.manifest(model);
        let how = to.map_or("removed".to_string(), |to| format!("renamed to {to}"));
        let aside = matches!(to, Some(FileName::Damaged(_)));
        match (name, manifest) {
            (FileName::Manifest, Some(_)) if model.durable_names.get(&name) == Some(inode) => {
                self.report(Rule::Taken, at, format!("the manifest was {how}, although it has a valid copy"));
            }
            (FileName::Segment(index), Some(manifest)) => {
                let announced = aside && (manifest.aside.0..=manifest.aside.1).contains(&index);
                if !announced && is_needed(model, &manifest, index) {
                    let what = format!(
                        "segment {index} was {how}, but the durable manifest (generation {}) needs segments from {} on and its bound is in segment {}",
                        manifest.generation, manifest.oldest_segment, manifest.bound.segment
                    );
                    self.report(Rule::Taken, at, what);
                }
                if let Some((pin, last)) = needed_by_pin(model, &manifest, index) {
                    let what =
                        format!("segment {index}, which ends with seq {last}, was {how}, but a durable pin keeps everything above {pin}");
                    self.report(Rule::Taken, at, what);
                }
            }
            (FileName::Segment(index), None) => {
                let open = model.inodes.get(inode).and_then(|file| parse_opening(file.durable.bytes()));
                if open.is_some() && !aside {
                    self.report(Rule::Taken, at, format!("segment {index} was {how}; it holds frames, and there is no durable manifest"));
                }
            }
            _ => {}
        }
    }

    pub(crate) fn sync_failed(&mut self, inode: Inode, storage: u64) {
        self.failed.insert(inode, storage);
    }

    pub(crate) fn sync_succeeded(&mut self, model: &Model, inode: Inode, storage: u64, at: usize) {
        if self.failed.get(&inode) == Some(&storage) && model.inodes.get(&inode).is_some_and(|file| file.has_lost()) {
            let name = model.name_of(inode).map_or("a nameless file".to_string(), |name| name.to_string());
            self.report(Rule::SyncRepeated, at, format!("a second sync of {name} succeeded, but what the failed one lost is not durable"));
        }
    }

    pub(crate) fn names_sync_repeated(&mut self, model: &Model, at: usize) {
        if !model.name_ops.is_empty() {
            self.report(Rule::SyncRepeated, at, "a second sync_dir succeeded after one that failed; the names are not durable".to_string());
        }
    }

    /// Every record up to `seq` was acknowledged.
    pub(crate) fn acknowledged(&mut self, model: &Model, cache: &BTreeMap<Inode, Cached>, seq: u64, at: usize) {
        self.check_names(model, at);
        let bound = self.manifest(model).map_or(0, |manifest| manifest.bound.segment);
        for (&name, inode) in &model.names {
            let FileName::Segment(index) = name else { continue };
            let (Some(file), Some(cached)) = (model.inodes.get(inode), cache.get(inode)) else { continue };
            if index < bound || file.writes.is_empty() {
                continue;
            }
            if let Some((offset, first)) = first_unsynced(cached.content.bytes(), &file.writes, seq) {
                let what = format!("seq {seq} was acknowledged, but {name} has unsynced bytes at {offset}, which seq {first} needs");
                self.report(Rule::AcknowledgedBytes, at, what);
            }
        }
    }

    /// Nothing that the log may have written is unsynced.
    pub(crate) fn at_rest(&mut self, model: &Model, at: usize) {
        self.check_names(model, at);
        let bound = self.manifest(model).map_or(0, |manifest| manifest.bound.segment);
        for (&name, inode) in &model.names {
            let matters = match name {
                FileName::Segment(index) => index >= bound && self.framed.contains(inode),
                FileName::Manifest => true,
                FileName::Lock | FileName::Pins | FileName::Pin(_) | FileName::Draft(_) | FileName::Spare(_) | FileName::Damaged(_) => {
                    false
                }
            };
            if let Some(write) = model.inodes.get(inode).filter(|_| matters).and_then(|file| file.writes.first()) {
                let (range, how) = (write.range(), if write.lost { "lost" } else { "unsynced" });
                self.report(Rule::AtRest, at, format!("bytes [{}, {}) of {name} are {how}", range.start, range.end));
            }
        }
    }

    fn check_names(&mut self, model: &Model, at: usize) {
        for (&name, inode) in &model.names {
            let matters = match name {
                FileName::Segment(_) => self.framed.contains(inode),
                FileName::Manifest => true,
                FileName::Lock | FileName::Pins | FileName::Pin(_) | FileName::Draft(_) | FileName::Spare(_) | FileName::Damaged(_) => {
                    false
                }
            };
            if matters && model.durable_names.get(&name) != Some(inode) {
                self.report(Rule::AcknowledgedName, at, format!("the name {name} is not durable"));
            }
        }
    }
}

fn writes_frames(write: &Write) -> bool {
    match &write.data {
        Data::Bytes { all, part } => {
            let header = DATA_START.saturating_sub(write.offset).min(part.len() as u64) as usize;
            all[part.start + header..part.end].iter().any(|&byte| byte != 0)
        }
        Data::Zeros(_) => false,
    }
}

/// Whether `write` changes a byte of `durable` in front of `end`.
fn changes_before(durable: &[u8], write: &Write, end: u64) -> bool {
    let range = write.range();
    let end = end.min(range.end).min(durable.len() as u64);
    if range.start >= end {
        return false;
    }
    let old = &durable[range.start as usize..end as usize];
    match &write.data {
        Data::Bytes { all, part } => all[part.start..part.start + old.len()] != *old,
        Data::Zeros(_) => old.iter().any(|&byte| byte != 0),
    }
}

/// The durable manifest.
fn durable_manifest(model: &Model) -> Option<Manifest> {
    let bytes = model.inodes.get(model.durable_names.get(&FileName::Manifest)?)?.durable.bytes();
    let copies = (0..MANIFEST_SLOTS * MANIFEST_COPIES).filter_map(|copy| bytes.get(copy * MANIFEST_PAGE_LEN..));
    copies.filter_map(|copy| Manifest::decode(copy).ok()).max_by_key(|manifest| manifest.generation)
}

/// Whether segment `index` is one of those that the durable manifest needs.
fn is_needed(model: &Model, manifest: &Manifest, index: u32) -> bool {
    if index < manifest.oldest_segment {
        return false;
    }
    let open_of = |index: u32| {
        let inode = model.durable_names.get(&FileName::Segment(index))?;
        let (header, _, open) = parse_opening(model.inodes.get(inode)?.durable.bytes())?;
        (header.index == index).then_some(open)
    };
    let mut at = manifest.bound.segment;
    if index > at {
        // Forward: from the bound's segment over successors that rotation made.
        let mut from = index;
        while from > at {
            match open_of(from).filter(|open| open.how == How::Rotated) {
                Some(open) if open.link.index < from => from = open.link.index,
                _ => return false,
            }
        }
        return from == at;
    }
    while at > index {
        match open_of(at) {
            Some(open) if open.link.index < at => at = open.link.index,
            // Where the way back cannot be read everything older has to be kept.
            _ => return true,
        }
    }
    at == index
}

/// The seq of the lowest durable pin, and the last seq of segment `index`, if that segment is forgotten and the pin needs it.
fn needed_by_pin(model: &Model, manifest: &Manifest, index: u32) -> Option<(u64, u64)> {
    let durable = |name: &FileName| Some(model.inodes.get(model.durable_names.get(name)?)?.durable.bytes());
    let pins = model.durable_names.keys().filter(|name| matches!(name, FileName::Pin(_)));
    let newest = |name: &FileName| {
        let bytes = durable(name)?;
        let copies = (0..PIN_COPIES).filter_map(|copy| Pin::decode(bytes.get(copy * PIN_PAGE_LEN..)?).ok());
        copies.max_by_key(|pin| pin.generation)
    };
    let pin = pins.filter_map(newest).filter(|pin| pin.log_id == manifest.log_id && pin.holds()).map(|pin| pin.seq).min()?;
    // Back from the oldest segment that counts, as far as the pin reaches.
    let mut at = manifest.oldest_segment;
    loop {
        let (_, _, open) = parse_opening(durable(&FileName::Segment(at))?)?;
        if open.before.seq <= pin || !(1..at).contains(&open.link.index) {
            return None;
        }
        at = open.link.index;
        if at == index {
            return Some((pin, open.before.seq));
        }
    }
}

/// The header and the OPEN frame of a segment, if both are whole.
fn parse_opening(bytes: &[u8]) -> Option<(SegmentHeader, FrameHeader, Open)> {
    let header = SegmentHeader::decode(bytes).ok()?;
    let frame = frame_at(bytes, &header, header.data_start).filter(|frame| frame.kind == Kind::Open)?;
    let start = header.data_start as usize + FRAME_HEADER_LEN;
    let payload = bytes.get(start..start + frame.payload_len as usize)?;
    let padded = bytes.get(start..(header.data_start + frame.len()) as usize)?;
    let open = Open::decode(payload).filter(|_| checksum::of(padded) == frame.payload_crc)?;
    Some((header, frame, open))
}

fn frame_at(bytes: &[u8], header: &SegmentHeader, offset: u64) -> Option<FrameHeader> {
    let raw = bytes.get(offset as usize..offset as usize + FRAME_HEADER_LEN)?;
    FrameHeader::decode(header.seed, header.capacity, offset, raw)
}

/// The first place in `bytes`, what readers see of a segment, that one of `writes` covers and a record of seq `last` or less needs; and that record's
/// seq, or the first of its frame.
fn first_unsynced(bytes: &[u8], writes: &[Write], last: u64) -> Option<(u64, u64)> {
    let (header, open_frame, open) = parse_opening(bytes)?;
    let touched = |place: Range<u64>| writes.iter().any(|write| write.range().start < place.end && place.start < write.range().end);
    let data = header.data_start + open_frame.len();
    let (mut at, mut opened) = (data, false);
    while let Some(frame) = frame_at(bytes, &header, at) {
        let seq = open.first_seq + u64::from(frame.relative_seq);
        let end = at + frame.len();
        if matches!(frame.kind, Kind::Record | Kind::Batch | Kind::First | Kind::Middle | Kind::Last) {
            if seq > last {
                return None;
            }
            if !opened && touched(0..data) {
                return Some((0, seq));
            }
            if touched(at..end) {
                return Some((at, seq));
            }
            opened = true;
        }
        at = end;
    }
    None
}
