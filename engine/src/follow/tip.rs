//! The end of a log that another process writes.

use crate::chain::Segment;
use crate::error::{Code, Error, Result};
use crate::format::constants::{END_PAYLOAD_LEN, FRAME_HEADER_LEN};
use crate::format::control::{End, How, Open};
use crate::format::frame::{FrameHeader, Kind};
use crate::format::manifest_slot::Bound;
use crate::format::segment_header::SegmentHeader;
use crate::names::FileName;
use crate::segment::head::is_still;
use crate::segment::scan::{Frame, Walk, Window};
use crate::seq::{Seq, Tail};
use crate::storage::{File, IoError};

/// A place between two frames, and not between the fragments of a record.
#[derive(Clone, Copy)]
struct At {
    offset: u64,
    relative: u32,
    tail: Tail,
}

/// The segment that is written, and how far it was looked at.
pub(super) struct Tip<F> {
    file: F,
    header: SegmentHeader,
    /// Everything in front is vouched for.
    vouched: At,
    /// Everything in front is whole. What lies between the two may still be taken back.
    seen: At,
    /// The last whole frame: where it stands, and its header's checksum.
    last: Option<(u64, u32)>,
    /// The highest watermark so far.
    watermark: u64,
    /// The END, if it was seen.
    end: Option<End>,
}

impl<F: File> Tip<F> {
    /// At the first frame of a segment.
    pub(super) fn at_start(file: F, segment: Segment) -> Tip<F> {
        let tail =
            if segment.hole().is_some() { Tail { seq: segment.first_seq - 1, data_seq: segment.first_seq - 1 } } else { segment.before };
        let at = At { offset: segment.header.data_start, relative: 0, tail };
        Tip { file, header: segment.header, vouched: at, seen: at, last: None, watermark: 0, end: None }
    }

    pub(super) fn index(&self) -> u32 {
        self.header.index
    }

    /// The last seqs that are vouched for, and that were seen.
    pub(super) fn seqs(&self) -> (Seq, Seq) {
        (self.vouched.tail.seq, self.seen.tail.seq)
    }

    /// If it ends: where, the tail there, and the segment that comes next.
    pub(super) fn ended(&self) -> Option<(u64, Tail, u32)> {
        self.end.map(|end| (self.seen.offset, self.seen.tail, end.successor))
    }

    /// Whether this is the OPEN of the next segment. Then it vouches for all of this one.
    pub(super) fn is_followed_by(&self, open: &Open) -> bool {
        open.how == How::Rotated
            && (open.link.index, open.link.end) == (self.header.index, self.seen.offset)
            && open.before == self.seen.tail
            && self.last.is_some_and(|(offset, crc)| (open.link.last_frame, open.link.last_crc) == (offset, crc))
    }

    /// Looks at what has come since.
    pub(super) fn look(&mut self, buffer: &mut [u8], bound: &Bound) -> Result<()> {
        let name = FileName::Segment(self.header.index);
        let bound = if bound.segment == self.header.index { bound.offset } else { 0 };
        self.read(buffer, bound).map_err(|io| io.in_file(name, "cannot read the segment"))?;
        if !is_still(&self.file, &self.header).map_err(|io| io.in_file(name, "cannot read the segment's header"))? {
            return Err(Error::new(Code::Corrupt, "the segment was made another while it was read").in_file(name));
        }
        if self.vouched.offset < bound {
            return Err(Error::new(Code::Corrupt, "a frame that was durable is damaged or missing")
                .in_file(name)
                .at(self.seen.offset)
                .seqs(self.seen.tail.seq + 1, Seq::MAX));
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], bound: u64) -> core::result::Result<(), IoError> {
        // A write that failed is taken back, and others take its place.
        if !self.last_stands()? {
            (self.seen, self.last, self.end) = (self.vouched, None, None);
            self.watermark = self.vouched.offset;
        }
        let mut window = Window::new(&self.file, buffer);
        let mut walk = Walk::resume(self.header, self.seen.offset, self.seen.relative);
        let mut at = self.seen;
        while self.end.is_none()
            && let Ok(frame) = walk.next(&mut window)?
        {
            at = behind(at, &frame);
            self.watermark = self.watermark.max(frame.header.watermark);
            if matches!(frame.header.kind, Kind::First | Kind::Middle) {
                continue;
            }
            if frame.header.kind == Kind::End {
                self.end = window.bytes(frame.payload(), END_PAYLOAD_LEN)?.and_then(End::decode);
            }
            (self.seen, self.last) = (at, Some((frame.offset, frame.crc)));
        }
        let limit = self.watermark.max(bound);
        if limit >= self.seen.offset {
            self.vouched = self.seen;
        } else if limit > self.vouched.offset {
            self.vouched = self.up_to(buffer, limit)?;
        }
        Ok(())
    }

    /// The last place up to `limit`.
    fn up_to(&self, buffer: &mut [u8], limit: u64) -> core::result::Result<At, IoError> {
        let mut window = Window::new(&self.file, buffer);
        let mut walk = Walk::resume(self.header, self.vouched.offset, self.vouched.relative);
        let (mut at, mut whole) = (self.vouched, self.vouched);
        while let Ok(frame) = walk.next(&mut window)? {
            at = behind(at, &frame);
            if at.offset > limit {
                break;
            }
            if !matches!(frame.header.kind, Kind::First | Kind::Middle) {
                whole = at;
            }
        }
        Ok(whole)
    }

    /// Whether the last frame that was seen is still there.
    fn last_stands(&self) -> core::result::Result<bool, IoError> {
        let Some((offset, crc)) = self.last.filter(|_| self.seen.offset > self.vouched.offset) else {
            return Ok(true);
        };
        let mut bytes = [0; FRAME_HEADER_LEN];
        self.file.read_at(offset, &mut bytes)?;
        Ok(FrameHeader::stored_crc(&bytes) == crc)
    }
}

/// The place behind `frame`.
fn behind(at: At, frame: &Frame) -> At {
    At { offset: frame.end(), relative: at.relative + frame.records, tail: frame.tail_behind(at.tail) }
}
