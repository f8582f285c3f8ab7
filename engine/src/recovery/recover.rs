//! The commit of an unclean opening: what nothing vouches for is made durable in a new segment, and one manifest write makes that count.

use super::{Copy, Ending, Found, Held, Unclean, has_room_for_end};
use crate::chain::Segment;
use crate::config::BUFFER_BYTES;
use crate::error::{Code, Error, Result};
use crate::format::checksum::Running;
use crate::format::constants::FRAME_HEADER_LEN;
use crate::format::control::{How, Link, Open};
use crate::format::frame::{FrameHeader, Kind, padded};
use crate::format::manifest_slot::Bound;
use crate::manifest::ManifestFile;
use crate::names::FileName;
use crate::segment::buffer::{CommitBuffer, Placed, read_buffer};
use crate::segment::head::load;
use crate::segment::payload::{Control, control_header};
use crate::segment::scan::Window;
use crate::seq::Seq;
use crate::spares::{Prepared, Spares};
use crate::storage::{Access, File, IoError, Storage};

/// Where appending goes on after a recovery.
pub struct Recovered<F> {
    /// The new segment.
    pub prepared: Prepared<F>,
    /// Its OPEN.
    pub open: Open,
    /// Its last frame.
    pub last_frame: Placed,
    /// The manifest's bound in it.
    pub bound: Bound,
}

/// Commits an unclean opening. Until the manifest is installed the new segment is a leftover, and a crash begins the opening again.
pub fn recover<S: Storage>(
    storage: &S,
    manifest: &ManifestFile<S::File>,
    spares: &Spares<S>,
    found: &mut Found,
    unclean: Unclean,
) -> Result<Recovered<S::File>> {
    // Before the commit, behind which nothing may fail for want of memory: room for the new segment and a further one.
    found.segments.try_reserve(2).map_err(|_| Error::new(Code::NoMemory, "no memory for the list of segments"))?;
    let recovered = recover_once(storage, manifest, spares, found, unclean)?;
    let bound = recovered.bound;
    if has_room_for_end(recovered.prepared.header.capacity, bound.offset) {
        return Ok(recovered);
    }
    // What was copied fills the new segment, as another writer may have filled the old one: it is left as a recovery leaves one.
    if let Some(segment) = found.segments.last_mut() {
        segment.end = Some((bound.offset, bound.tail));
    }
    let Placed { offset: last_frame, crc: last_crc } = recovered.last_frame;
    let link = Link { index: bound.segment, end: bound.offset, last_frame, last_crc };
    let tail = bound.tail;
    recover_once(storage, manifest, spares, found, Unclean { link, before: tail, first_seq: tail.seq + 1, copy: None, tail })
}

fn recover_once<S: Storage>(
    storage: &S,
    manifest: &ManifestFile<S::File>,
    spares: &Spares<S>,
    found: &mut Found,
    unclean: Unclean,
) -> Result<Recovered<S::File>> {
    spares.ensure(1)?;
    let prepared = spares.take().ok_or_else(|| Error::new(Code::NoSpace, "no spare segment to recover into"))?;
    let name = FileName::Segment(prepared.header.index);
    let epoch = found.manifest.epoch + 1;
    let open = Open {
        first_seq: unclean.first_seq,
        how: How::Recovered,
        link: unclean.link,
        before: unclean.before,
        checkpoint: found.checkpoint,
        epoch,
    };
    let cannot_write = |io: IoError| io.in_file(name, "cannot write the recovered segment");
    let mut out = Output {
        file: &*prepared.file,
        capacity: prepared.header.capacity,
        buffer: CommitBuffer::with_capacity((BUFFER_BYTES as u64).min(found.family.segment_bytes) as usize)?,
        cannot_write: &cannot_write,
    };
    out.buffer.restart(prepared.header.data_start);
    let payload = open.encode();
    let mut last_frame = out.buffer.push(&prepared.header, &control_header(Kind::Open, &payload), &Control(&payload));
    if let Some(copy) = unclean.copy {
        let source = load(storage, &found.family, copy.segment.index, Access::Read)?;
        copy_frames(&source.file, &copy, &prepared, open.first_seq, &mut out, &mut last_frame, found)?;
    }
    out.flush()?;
    let end = out.buffer.end();
    prepared.file.sync().map_err(|io| io.in_file(name, "cannot sync the recovered segment"))?;
    let bound = Bound { segment: prepared.header.index, offset: end, tail: unclean.tail };
    let oldest = found.segments.first().map_or(prepared.header.index, |segment| segment.header.index);
    let checkpoint = found.checkpoint;
    let aside = aside_range(&found.aside, found.manifest.aside);
    found.manifest = manifest
        .install_twice(|manifest| {
            manifest.dirty = false;
            manifest.bound = bound;
            manifest.epoch = epoch;
            manifest.checkpoint = checkpoint;
            manifest.oldest_segment = oldest;
            manifest.aside = aside;
        })
        .map_err(|failed| failed.error)?;
    found.segments.push(Segment { header: prepared.header, first_seq: open.first_seq, before: open.before, end: None });
    found.ending = Ending::Clean;
    for name in found.until_commit.drain(..) {
        spares.give_back(name);
    }
    Ok(Recovered { prepared, open, last_frame, bound })
}

/// From the lowest to the highest index of what is moved aside now or was to be moved before.
fn aside_range(names: &[FileName], earlier: (u32, u32)) -> (u32, u32) {
    let earlier = (earlier.0 > 0).then_some([earlier.0, earlier.1]);
    let indexes = || names.iter().map(|name| name.index()).chain(earlier.into_iter().flatten());
    (indexes().min().unwrap_or(0), indexes().max().unwrap_or(0))
}

/// Frames on their way into the new segment.
struct Output<'a, F: File> {
    file: &'a F,
    capacity: u64,
    buffer: CommitBuffer,
    cannot_write: &'a dyn Fn(IoError) -> Error,
}

impl<F: File> Output<'_, F> {
    fn flush(&mut self) -> Result<()> {
        let (base, end) = (self.buffer.base(), self.buffer.end());
        self.file.write_at(base, self.buffer.ended(self.capacity)).map_err(self.cannot_write)?;
        self.buffer.restart(end);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        if !self.buffer.has_room(bytes.len() as u64) {
            self.flush()?;
        }
        self.buffer.extend(bytes);
        Ok(())
    }
}

/// Copies the frames of records. Each is checked while it is copied: what was read to check it and what is written are the same bytes.
fn copy_frames<F: File>(
    source: &F,
    copy: &Copy,
    target: &Prepared<F>,
    first_seq: Seq,
    out: &mut Output<'_, F>,
    last_frame: &mut Placed,
    found: &mut Found,
) -> Result<()> {
    let name = FileName::Segment(copy.segment.index);
    let cannot_read = |io: IoError| io.in_file(name, "cannot read the segment");
    let changed = || {
        Error::new(Code::Corrupt, "the segment changed while it was read, or reads differ; check the device and open again").in_file(name)
    };
    let Held { mut buffer, place } = match found.held.take() {
        Some(held) => held,
        None => Held { buffer: read_buffer(copy.end - copy.from)?, place: (0, 0) },
    };
    // A piece goes through the output's buffer as well.
    let piece_max = buffer.len().min(BUFFER_BYTES) as u64;
    let mut window = Window::resume(source, &mut buffer, place);
    let mut at = copy.from;
    while at < copy.end {
        let bytes = window.bytes(at, FRAME_HEADER_LEN).map_err(cannot_read)?.ok_or_else(changed)?;
        let header = FrameHeader::decode(copy.segment.seed, copy.segment.capacity, at, bytes).ok_or_else(|| changed().at(at))?;
        let next = at + header.len();
        // The new segment has an OPEN of its own, and no END.
        let is_record = !matches!(header.kind, Kind::Open | Kind::End);
        if is_record {
            let seq = copy.segment_first_seq + u64::from(header.relative_seq);
            let moved = FrameHeader { relative_seq: (seq - first_seq) as u32, watermark: 0, ..header };
            let offset = out.buffer.end();
            let mut encoded = [0; FRAME_HEADER_LEN];
            let crc = moved.encode(target.header.seed, offset, &mut encoded);
            *last_frame = Placed { offset, crc };
            out.put(&encoded)?;
            let mut running = Running::new();
            let mut from = at + FRAME_HEADER_LEN as u64;
            let end = from + padded(u64::from(header.payload_len));
            while from < end {
                let len = (end - from).min(piece_max);
                let piece = window.bytes(from, len as usize).map_err(cannot_read)?.ok_or_else(changed)?;
                running.update(piece);
                out.put(piece)?;
                from += len;
            }
            if running.finish() != header.payload_crc {
                return Err(changed().at(at));
            }
            found.report.copied_bytes += header.len();
        }
        at = next;
    }
    found.report.copied_records = found.tail().seq - found.vouched().seq;
    found.report.bytes_read += window.bytes_read();
    Ok(())
}
