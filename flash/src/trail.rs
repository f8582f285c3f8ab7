//! A walk through a segment that counts, from its OPEN on.

use wal_engine::config::Offset;
use wal_engine::format::constants::{OP_STATE, OPEN_PAYLOAD_LEN, STATE_PAYLOAD_LEN};
use wal_engine::format::control::Open;
use wal_engine::format::frame::{FrameHeader, Kind};
use wal_engine::segment::scan::{Frame, Walk};
use wal_engine::seq::{Seq, Tail};

use crate::chip::Chip;
use crate::desk::Desk;
use crate::fail::Result;

/// A point between two records of a segment.
#[derive(Clone, Copy, Default)]
pub(crate) struct Point {
    pub(crate) at: Offset,
    /// The frame that ends there.
    pub(crate) last_frame: Offset,
    pub(crate) last_crc: u32,
    pub(crate) tail: Tail,
}

impl Point {
    /// Moves behind a frame, if nothing is incomplete there.
    #[inline(never)]
    pub(crate) fn pass(&mut self, frame: &Frame, next: Offset) {
        if is_state(&frame.header) || !matches!(frame.header.kind, Kind::First | Kind::Middle) {
            *self = Point { at: next, last_frame: frame.offset, last_crc: frame.crc, tail: frame.tail_behind(self.tail) };
        }
    }
}

/// Whether it is the header of a STATE.
#[inline(never)]
pub(crate) fn is_state(header: &FrameHeader) -> bool {
    header.kind == Kind::First && header.op == OP_STATE && header.payload_len == STATE_PAYLOAD_LEN as u32
}

/// Where a walk through a segment is.
pub(crate) struct Trail {
    pub(crate) slot: u32,
    pub(crate) open: Open,
    pub(crate) walk: Walk,
    /// The last one passed.
    pub(crate) point: Point,
}

impl Trail {
    /// The next frame, if what stands there is one.
    #[inline(never)]
    pub(crate) fn next<C: Chip>(&mut self, desk: &mut Desk<'_, C>) -> Result<Option<Frame>> {
        let frame = desk.step(self.slot, &mut self.walk)?;
        if let Some(frame) = &frame {
            self.point.pass(frame, self.walk.offset());
        }
        Ok(frame)
    }

    /// The next frame, which must be there.
    #[inline(never)]
    pub(crate) fn must<C: Chip>(&mut self, desk: &mut Desk<'_, C>) -> Result<Frame> {
        let at = self.walk.offset();
        self.next(desk)?.ok_or_else(|| desk.damage(self.slot, at, self.point.tail.seq + 1))
    }

    /// Goes on to the last point that is neither behind `end` nor behind the record `up_to`.
    #[inline(never)]
    pub(crate) fn last_point<C: Chip>(&mut self, desk: &mut Desk<'_, C>, end: u32, up_to: Seq) -> Result<Point> {
        let mut point = self.point;
        while self.walk.offset() < end {
            self.must(desk)?;
            if self.point.at > end || self.point.tail.seq > up_to {
                break;
            }
            point = self.point;
        }
        Ok(point)
    }
}

impl<C: Chip> Desk<'_, C> {
    /// Enters the segment with this index; `None` if its OPEN is bad.
    #[inline(never)]
    pub(crate) fn enter(&mut self, slot: u32, index: u32) -> Result<Option<Trail>> {
        let mut walk = Walk::new(self.shape(index));
        let Some(frame) = self.step(slot, &mut walk)? else { return Ok(None) };
        let payload = self.bytes(self.place(slot, frame.payload()), OPEN_PAYLOAD_LEN)?;
        let Some(open) = payload.and_then(Open::decode) else { return Ok(None) };
        let point = Point { at: walk.offset(), last_frame: frame.offset, last_crc: frame.crc, tail: open.tail_at_start() };
        Ok(Some(Trail { slot, open, walk, point }))
    }

    /// The same for a segment that counts, whose OPEN cannot be bad.
    #[inline(never)]
    pub(crate) fn must_enter(&mut self, slot: u32, index: u32) -> Result<Trail> {
        self.enter(slot, index)?.ok_or_else(|| self.damage(slot, 0, 0))
    }
}
