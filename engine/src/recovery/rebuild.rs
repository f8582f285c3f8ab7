//! A manifest made anew from the segments, when no copy of it is left and a prefix recovery is asked for.
//!
//! Nothing in it is guessed. The chain is in the OPEN frames; what stands before the oldest segment of it is gone, whoever removed it, and so
//! counts as forgotten: a store that needs it is refused. What is lost is the bound, so that the tail of the log is judged by watermarks alone, and
//! a floor inside the oldest segment, so that records come back which had been forgotten.

use crate::config::Config;
use crate::error::{Code, Error, Result};
use crate::format::constants::{OPEN_PAYLOAD_LEN, SEGMENT_HEADER_LEN};
use crate::format::control::{Checkpoint, How, Open};
use crate::format::frame::frame_len;
use crate::format::manifest_slot::{Bound, Manifest};
use crate::format::segment_header::SegmentHeader;
use crate::memory;
use crate::names::FileName;
use crate::segment::buffer::read_buffer;
use crate::segment::head::{Family, Head, ends_as_linked, load};
use crate::segment::scan::{self, Window};
use crate::storage::{Access, File, IoError, IoKind, Storage};

/// The manifest that the segments in `names` tell of.
pub(super) fn rebuild<S: Storage>(storage: &S, config: &Config, names: &[FileName]) -> Result<Manifest> {
    let indexes = || names.iter().filter(|name| matches!(name, FileName::Segment(_))).map(|name| name.index());
    let family = family(storage, indexes())?;
    if config.expected_log_id.is_some_and(|expected| expected != family.log_id) {
        return Err(
            Error::new(Code::WrongLog, "the segments in this directory are not of the log that the store belongs to").in_directory()
        );
    }
    // Nothing tells which of the bytes that can be read are durable, and a bound must not name any that are not.
    for index in indexes() {
        let name = FileName::Segment(index);
        let file = match storage.open(name, Access::Read) {
            Err(IoError { kind: IoKind::NotAFile, .. }) => continue,
            opened => opened.map_err(|io| io.in_file(name, "cannot open the segment"))?,
        };
        file.sync().map_err(|io| io.in_file(name, "cannot sync the segment before reading it"))?;
        file.drop_cache();
    }
    let mut opens: Vec<(u32, Open)> = Vec::new();
    for index in indexes() {
        match load(storage, &family, index, Access::Read) {
            Ok(Head { open: Some(open), .. }) => memory::push(&mut opens, (index, open))?,
            Ok(_) => {}
            Err(damage) if damage.code == Code::Corrupt => {}
            // What cannot be read today may be whole tomorrow.
            Err(error) => return Err(error),
        }
    }
    // The last segment that a recovery made and committed, or the first of all: those behind it follow by rotation.
    let mut bound = *opens.first().ok_or_else(impossible)?;
    for &(index, open) in opens.iter().rev().filter(|(_, open)| open.how == How::Recovered) {
        if was_committed(storage, &family, index, &open, &opens)? {
            bound = (index, open);
            break;
        }
    }
    let (bound_segment, open) = bound;
    let data_start = load(storage, &family, bound_segment, Access::Read)?.header.data_start;
    let mut oldest = (bound_segment, open);
    while let Some(&(index, before)) = opens.iter().find(|(index, _)| *index == oldest.1.link.index) {
        let link = oldest.1.link;
        let head = load(storage, &family, index, Access::Read)?;
        if !ends_as_linked(&head.file, &head.header, &link)? || index >= oldest.0 {
            break;
        }
        oldest = (index, before);
    }
    let forgotten = oldest.1.tail_at_start();
    let mut checkpoint = Checkpoint::default();
    for (_, open) in &opens {
        if open.checkpoint.n > checkpoint.n {
            checkpoint = open.checkpoint;
        }
    }
    Ok(Manifest {
        generation: 0,
        dirty: true,
        log_id: family.log_id,
        floor: forgotten.seq,
        forgotten_data: forgotten.data_seq,
        checkpoint,
        epoch: opens.iter().map(|(_, open)| open.epoch).max().unwrap_or(0),
        bound: Bound { segment: bound_segment, offset: data_start + frame_len(OPEN_PAYLOAD_LEN as u64), tail: open.tail_at_start() },
        oldest_segment: oldest.0,
        seed_base: family.seed_base,
        segment_bytes: family.segment_bytes,
        aside: (0, 0),
    })
}

/// Whether a recovered segment was made to count, as far as the segments can tell. One that was not is a copy of frames that still stand in its
/// predecessor, and perhaps not a whole one. One that was, but into which nothing was written since, is such a copy as well, and passing it over loses
/// nothing.
fn was_committed<S: Storage>(storage: &S, family: &Family, index: u32, open: &Open, opens: &[(u32, Open)]) -> Result<bool> {
    let is_followed = opens.iter().any(|(_, later)| later.link.index == index);
    let stands_alone = !opens.iter().any(|(before, _)| *before == open.link.index);
    if is_followed || stands_alone || open.first_seq > open.before.seq + 1 {
        return Ok(true);
    }
    let head = load(storage, family, index, Access::Read)?;
    let mut buffer = read_buffer(family.segment_bytes)?;
    let mut window = Window::new(&head.file, &mut buffer);
    let frames = scan::behind(&mut window, &head.header, head.header.data_start, 0)
        .map_err(|io| io.in_file(FileName::Segment(index), "cannot read the segment"))?;
    Ok(frames.watermark > 0)
}

/// What all valid segment headers agree on. If they do not agree, which log this is would be a guess.
fn family<S: Storage>(storage: &S, indexes: impl Iterator<Item = u32>) -> Result<Family> {
    let mut family: Option<Family> = None;
    for index in indexes {
        let name = FileName::Segment(index);
        let file = match storage.open(name, Access::Read) {
            Ok(file) => file,
            Err(io) if matches!(io.kind, IoKind::NotFound | IoKind::NotAFile) => continue,
            Err(io) => return Err(io.in_file(name, "cannot open the segment")),
        };
        let mut bytes = [0; SEGMENT_HEADER_LEN];
        let read = file.read_at(0, &mut bytes).map_err(|io| io.in_file(name, "cannot read the segment's header"))?;
        let Ok(header) = SegmentHeader::decode(&bytes[..read]) else {
            continue;
        };
        if header.index != index {
            continue;
        }
        let this = Family { log_id: header.log_id, seed_base: header.seed.wrapping_sub(index), segment_bytes: header.capacity };
        if family.is_some_and(|family| family != this) {
            return Err(impossible().in_file(name));
        }
        family = Some(this);
    }
    family.ok_or_else(impossible)
}

fn impossible() -> Error {
    Error::new(Code::Corrupt, "the manifest is gone and cannot be rebuilt from the segments without guessing; restore it")
        .in_file(FileName::Manifest)
}
