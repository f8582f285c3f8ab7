//! The last segment: what in it is vouched for, what is not, and where its frames end.

use super::{Position, Report};
use crate::config::BACKGROUND_SYNC_BYTES;
use crate::error::{Code, Error, Result};
use crate::format::constants::{CHECKPOINT_VALUE_LEN, END_PAYLOAD_LEN, FRAME_HEADER_LEN};
use crate::format::control::{Checkpoint, End};
use crate::format::frame::Kind;
use crate::format::segment_header::SegmentHeader;
use crate::memory;
use crate::names::FileName;
use crate::protocol::torn::{self, Verdict};
use crate::segment::buffer::Placed;
use crate::segment::scan::{Behind, Frame, MIN_WINDOW_BYTES, Stop, Walk, Window};
use crate::seq::{Seq, Tail};
use crate::storage::{File, IoError, IoKind};

/// How many positions a scan remembers, so that it can go back to the vouched point without reading much again.
const POSITIONS: usize = 64;

/// The buffer of a search for frames behind the end, in bytes: on the stack of the caller, which may be a small one.
const SEARCH_BYTES: usize = 16 << 10;
/// The most that the scan of an unclean log's last segment holds at once, so that what has to be copied is read once: a whole segment of the
/// default size, and what the background sync lets stand unsynced in a larger one. In bytes; given back when the log is open.
const TAIL_BYTES: u64 = BACKGROUND_SYNC_BYTES;

/// A read buffer for the last segment of a log that was not closed.
pub(super) fn tail_buffer(segment_bytes: u64) -> Result<Vec<u8>> {
    let len = TAIL_BYTES.min(segment_bytes).max(MIN_WINDOW_BYTES as u64) as usize;
    memory::zeroed(len, "no memory for a read buffer")
}

/// Where a scan begins.
#[derive(Clone, Copy)]
pub(super) struct Begin {
    /// The segment.
    pub(super) header: SegmentHeader,
    /// Its first seq.
    pub(super) first_seq: Seq,
    /// The tail where it begins.
    pub(super) tail: Tail,
}

/// A segment whose frames were all verified.
pub(super) struct Scanned {
    /// Where they end, an incomplete record at the end left out.
    pub(super) end: Position,
    /// Up to where they are valid.
    pub(super) valid: u64,
    /// Why there.
    pub(super) stop: Stop,
    /// The successor that END names.
    pub(super) successor: Option<End>,
    /// The highest checkpoint in it.
    pub(super) checkpoint: Checkpoint,
    /// The highest watermark among its frames.
    pub(super) watermark: u64,
    /// What stands behind the end.
    pub(super) behind: Behind,
    positions: Vec<Position>,
}

/// Walks through a segment, to `limit` at the most, through a window that has read nothing yet.
pub(super) fn scan_segment<F: File>(window: &mut Window<'_, F>, begin: &Begin, limit: u64, report: &mut Report) -> Result<Scanned> {
    let name = FileName::Segment(begin.header.index);
    let outcome = scan_window(window, begin, limit, report);
    report.bytes_read += window.bytes_read();
    outcome.map_err(|io| io.in_file(name, "cannot read the segment"))
}

fn scan_window<F: File>(
    window: &mut Window<'_, F>,
    begin: &Begin,
    limit: u64,
    report: &mut Report,
) -> core::result::Result<Scanned, IoError> {
    let header = begin.header;
    let mut walk = Walk::new(header);
    let mut at = Position { offset: header.data_start, relative: 0, tail: begin.tail, last_frame: Placed::default() };
    // Apart by a part of the segment, so that there are never more.
    let mut positions = Vec::new();
    positions.try_reserve_exact(POSITIONS + 1).map_err(|_| IoError { kind: IoKind::NoMemory, os_error: 0 })?;
    positions.push(at);
    let mut scanned = Scanned {
        end: at,
        valid: at.offset,
        stop: Stop::Full,
        successor: None,
        checkpoint: Checkpoint::default(),
        watermark: 0,
        behind: Behind::default(),
        positions: Vec::new(),
    };
    let mut keep = 0;
    let apart = header.capacity / POSITIONS as u64;
    let stop = loop {
        if walk.offset() >= limit {
            break Stop::Full;
        }
        let before = at;
        let frame = match walk.next(window)? {
            Ok(frame) => frame,
            Err(stop) => break stop,
        };
        at = step(window, at, &frame, &mut scanned)?;
        if scanned.successor.is_some_and(|end| end.last_seq != at.tail.seq) {
            scanned.successor = None;
            at = before;
            break Stop::BadPayload(frame.header);
        }
        scanned.watermark = scanned.watermark.max(frame.header.watermark);
        if matches!(frame.header.kind, Kind::First | Kind::Middle) {
            // Nothing counts before the last fragment, and between fragments nothing may be cut.
            continue;
        }
        scanned.end = at;
        if at.offset - positions[positions.len() - 1].offset >= apart {
            positions.push(at);
        }
        if window.keeps() {
            // What nothing vouches for is copied from here, and the vouched point is looked for from the position in front of it.
            while positions.get(keep + 1).is_some_and(|position| position.offset <= scanned.watermark) {
                keep += 1;
            }
            window.keep(positions[keep].offset);
        }
    };
    if stop != Stop::Full {
        scanned.behind = search_behind(window, &header, at.offset, walk.records(), report)?;
    }
    scanned.valid = at.offset;
    scanned.stop = stop;
    scanned.positions = positions;
    Ok(scanned)
}

/// What stands behind the end. Goes through what the window holds, and on from there with a buffer of its own, so that the window goes on holding it.
fn search_behind<F: File>(
    window: &mut Window<'_, F>,
    header: &SegmentHeader,
    from: u64,
    next_relative: u32,
    report: &mut Report,
) -> core::result::Result<Behind, IoError> {
    let mut behind = Behind::default();
    let (start, len) = window.held();
    let held_end = (start + len as u64).min(header.capacity);
    let mut at = from;
    if (start..held_end).contains(&from) {
        at = behind.search(window, header, from..held_end, next_relative)?;
    }
    let mut buffer = [0; SEARCH_BYTES];
    let mut rest = Window::new(window.file(), &mut buffer);
    behind.search(&mut rest, header, at..header.capacity, next_relative)?;
    report.bytes_read += rest.bytes_read();
    Ok(behind)
}

/// The position behind `frame`.
#[inline(always)]
fn step<F: File>(
    window: &mut Window<'_, F>,
    at: Position,
    frame: &Frame,
    scanned: &mut Scanned,
) -> core::result::Result<Position, IoError> {
    match frame.header.kind {
        Kind::Record if frame.header.is_checkpoint() => {
            if let Some(value) = window.bytes(frame.payload(), CHECKPOINT_VALUE_LEN)?
                && let Some(checkpoint) = Checkpoint::decode(value)
                && checkpoint.n > scanned.checkpoint.n
            {
                scanned.checkpoint = checkpoint;
            }
        }
        Kind::End => {
            if let Some(payload) = window.bytes(frame.payload(), END_PAYLOAD_LEN)? {
                scanned.successor = End::decode(payload);
            }
        }
        _ => {}
    }
    Ok(Position {
        offset: frame.end(),
        relative: at.relative + frame.records,
        tail: frame.tail_behind(at.tail),
        last_frame: Placed { offset: frame.offset, crc: frame.crc },
    })
}

impl Scanned {
    /// The end of what something vouches for: `bound` says it from outside, watermarks from inside.
    pub(super) fn vouched(&self, bound: u64) -> u64 {
        let vouched = bound.max(self.watermark).max(self.behind.watermark);
        #[cfg(wal_plants)]
        let vouched = crate::plants::Mistake::DamageIsTheEnd.or(bound.max(self.watermark), vouched);
        // The fragments of a record that never became whole may be vouched for, but there is nothing in them to keep.
        if vouched > self.end.offset && vouched <= self.valid { self.end.offset } else { vouched }
    }

    /// Damage, if the frames end below `vouched`.
    pub(super) fn check_end(&self, begin: &Begin, vouched: u64) -> Result<()> {
        #[cfg(wal_plants)]
        let vouched =
            if let Stop::BadPayload(_) = self.stop { crate::plants::Mistake::ZerosAreDamage.or(u64::MAX, vouched) } else { vouched };
        if torn::verdict(self.end.offset, vouched) == Verdict::Torn {
            return Ok(());
        }
        let what = match self.stop {
            Stop::BadPayload(_) => "a frame that was durable is damaged: its payload does not match its checksum",
            Stop::BadOrder => "a frame that was durable is out of order",
            Stop::Blank | Stop::BadHeader | Stop::Ended | Stop::Full => "a frame that was durable is damaged or missing",
        };
        let next = self.end.tail.seq + 1;
        let last = begin.first_seq + self.behind.relative_end.saturating_sub(1);
        Err(Error::new(Code::Corrupt, what)
            .in_file(FileName::Segment(begin.header.index))
            .at(self.valid)
            .seqs(next, if self.behind.relative_end > 0 { last.max(next) } else { u64::MAX }))
    }

    /// The last position up to `offset` that is not between the fragments of a record; `None` if no frame ends at `offset`.
    pub(super) fn position_at<F: File>(&self, window: &mut Window<'_, F>, begin: &Begin, offset: u64) -> Result<Option<Position>> {
        let name = FileName::Segment(begin.header.index);
        let from = self.positions.iter().rposition(|position| position.offset <= offset).unwrap_or(0);
        let mut at = self.positions[from];
        let mut walk = Walk::resume(begin.header, at.offset, at.relative);
        let mut ignored = Scanned { positions: Vec::new(), ..*self };
        let mut whole = at;
        while at.offset < offset {
            let next = walk.next(window).map_err(|io| io.in_file(name, "cannot read the segment"))?;
            let Ok(frame) = next else {
                return Ok(None);
            };
            at = step(window, at, &frame, &mut ignored).map_err(|io| io.in_file(name, "cannot read the segment"))?;
            if !matches!(frame.header.kind, Kind::First | Kind::Middle) {
                whole = at;
            }
        }
        Ok((at.offset == offset).then_some(whole))
    }

    /// Notes in the report what is dropped behind the end.
    pub(super) fn report_dropped(&self, begin: &Begin, report: &mut Report) {
        // Fragments of a record that never became whole are valid, and dropped all the same.
        let mut end = self.behind.end.max(self.valid);
        match self.stop {
            Stop::BadPayload(header) => end = end.max(self.valid + header.len()),
            // How long the frame was is not known. What was never written to begins with zeros, also in blocks that held other frames before.
            Stop::BadHeader => end = end.max(self.valid + FRAME_HEADER_LEN as u64),
            Stop::Blank | Stop::BadOrder | Stop::Ended | Stop::Full => {}
        }
        if !begin.header.recycled {
            // Blocks that were zero: whatever is not zero now was written as part of this segment.
            end = end.max(self.behind.nonzero_end);
        }
        if end > self.end.offset {
            report.dropped_segment = u64::from(begin.header.index);
            report.dropped_offset = self.end.offset;
            report.dropped_bytes = end - self.end.offset;
            report.dropped_frames = self.behind.headers;
        }
    }
}
