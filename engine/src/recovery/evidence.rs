//! What segments prove that damage keeps from being read: which seqs were given out, and whether a file may hold records.

use super::surveyor::Surveyor;
use crate::error::Result;
use crate::format::constants::FRAME_HEADER_LEN;
use crate::format::control::{End, Open};
use crate::format::frame::FrameHeader;
use crate::format::segment_header::{BadHeader, SegmentHeader};
use crate::memory;
use crate::names::FileName;
use crate::segment::buffer::read_buffer;
use crate::segment::head::{HEAD_LEN, decode_open, newer};
use crate::segment::scan::{self, Behind, Window};
use crate::seq::{self, Seq};
use crate::storage::{Access, File, IoKind, Storage};

/// A file under a segment's name, whole or not.
struct Look {
    header: SegmentHeader,
    open: Option<Open>,
    frames: Behind,
    /// The relative seq of the frame at the manifest's bound, if the bound lies in this file.
    relative_at_bound: Option<u32>,
}

/// The highest seq of which anything in the segments from `from` on proves that it was given out, at least `known`.
pub(super) fn highest_used<S: Storage>(surveyor: &mut Surveyor<'_, S>, from: u32, known: Seq) -> Result<Seq> {
    let mut highest = known;
    let mut looks = Vec::new();
    let indexes = memory::collect(surveyor.segment_indexes().filter(|&index| index >= from))?;
    for index in indexes {
        if let Some(look) = look(surveyor, index)? {
            memory::push(&mut looks, look)?;
        }
    }
    let ends = memory::collect(looks.iter().filter_map(|look| look.frames.last_end).filter(|end| end.last_seq < seq::MAX))?;
    for look in &looks {
        if let Some(open) = look.open {
            highest = highest.max(open.before.seq).max(open.first_seq - 1).max(open.checkpoint.n);
        }
        if let Some(first_seq) = first_seq(surveyor, look, &ends) {
            highest = highest.max(first_seq + look.frames.relative_last - 1);
        }
    }
    let ended = ends.iter().map(|end| end.last_seq).fold(highest, Seq::max);
    // A number that no log gives out proves nothing.
    Ok(if ended < seq::MAX { ended } else { known })
}

/// The seq to which the relative ones of a segment refer, as its OPEN says, the END before it, or the manifest's bound in it.
fn first_seq<S: Storage>(surveyor: &Surveyor<'_, S>, look: &Look, ends: &[End]) -> Option<Seq> {
    if let Some(open) = look.open {
        return Some(open.first_seq);
    }
    if let Some(end) = ends.iter().find(|end| end.successor == look.header.index) {
        return Some(end.last_seq + 1);
    }
    let bound = surveyor.manifest.bound;
    if bound.segment != look.header.index {
        return None;
    }
    if bound.offset <= look.header.data_start {
        return Some(bound.tail.seq + 1);
    }
    look.relative_at_bound.and_then(|relative| (bound.tail.seq + 1).checked_sub(u64::from(relative)))
}

/// Whether a segment outside the chain that has its header may hold records, or cannot be told not to.
pub(super) fn may_hold_records<S: Storage>(surveyor: &mut Surveyor<'_, S>, index: u32) -> Result<bool> {
    Ok(look(surveyor, index)?.is_none_or(|look| look.open.is_some() || look.frames.headers > 0))
}

fn look<S: Storage>(surveyor: &mut Surveyor<'_, S>, index: u32) -> Result<Option<Look>> {
    let name = FileName::Segment(index);
    let cannot_read = |io: crate::storage::IoError| io.in_file(name, "cannot read the segment");
    let file = match surveyor.storage.open(name, Access::Read) {
        Ok(file) => file,
        Err(io) if matches!(io.kind, IoKind::NotFound | IoKind::NotAFile) => return Ok(None),
        Err(io) => return Err(io.in_file(name, "cannot open the segment")),
    };
    let mut head = [0; HEAD_LEN];
    let read = file.read_at(0, &mut head).map_err(cannot_read)?;
    let own = match SegmentHeader::decode(&head[..read]) {
        Ok(header) => Some(header).filter(|header| header.log_id == surveyor.family.log_id),
        Err(BadHeader::Damaged) => None,
        Err(BadHeader::Newer) => {
            return Err(newer(name));
        }
    };
    let family = surveyor.family;
    let header = own.unwrap_or(SegmentHeader::new(family.log_id, family.seed_base, index, family.segment_bytes, true));
    let mut buffer = read_buffer(family.segment_bytes)?;
    let mut window = Window::new(&file, &mut buffer);
    let frames = scan::behind(&mut window, &header, header.data_start, 0).map_err(cannot_read)?;
    let bound = surveyor.manifest.bound;
    let relative_at_bound = if bound.segment == header.index {
        let bytes = window.bytes(bound.offset, FRAME_HEADER_LEN).map_err(cannot_read)?;
        bytes.and_then(|bytes| FrameHeader::decode(header.seed, header.capacity, bound.offset, bytes)).map(|header| header.relative_seq)
    } else {
        None
    };
    surveyor.report.bytes_read += window.bytes_read();
    let open = decode_open(&header, &head[..read]);
    Ok(Some(Look { header, open, frames, relative_at_bound }))
}
