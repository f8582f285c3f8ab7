//! A walk through a segment that counts, from its OPEN on.

use wal_engine::config::Offset;
use wal_engine::format::constants::{OP_STATE, OPEN_PAYLOAD_LEN, STATE_PAYLOAD_LEN};
use wal_engine::format::control::{Checkpoint, Link, Open};
use wal_engine::format::frame::{FrameHeader, Kind};
use wal_engine::segment::scan::{Frame, Walk};
use wal_engine::seq::{Seq, Tail};

use crate::chip::Chip;
use crate::desk::Desk;
use crate::fail::{Miss, Result};

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
#[derive(Default)]
pub(crate) struct Trail {
    pub(crate) slot: u32,
    pub(crate) walk: Walk,
    /// The last one passed.
    pub(crate) point: Point,
    /// From its OPEN: what it continues,
    pub(crate) link: Link,
    pub(crate) before: Tail,
    /// and what else the log needs to know.
    pub(crate) checkpoint: Checkpoint,
    pub(crate) epoch: u64,
}

impl<C: Chip> Desk<'_, C> {
    /// Enters the segment with this index, if its OPEN is good.
    #[inline(never)]
    pub(crate) fn enter(&mut self, slot: u32, index: u32) -> core::result::Result<(), Miss> {
        self.trail.slot = slot;
        self.trail.walk = Walk::new(self.shape(index));
        self.advance()?;
        let place = self.place(slot, self.frame.payload());
        let open = self.bytes(place, OPEN_PAYLOAD_LEN).and_then(Open::decode);
        self.calm()?;
        let open = open.ok_or(Miss::None)?;
        self.trail.link = open.link;
        self.trail.before = open.before;
        self.trail.checkpoint = open.checkpoint;
        self.trail.epoch = open.epoch;
        self.trail.point.tail = open.tail_at_start();
        Ok(())
    }

    /// The same for a segment that counts, whose OPEN cannot be bad.
    #[inline(never)]
    pub(crate) fn must_enter(&mut self, slot: u32, index: u32) -> Result<()> {
        match self.enter(slot, index) {
            Ok(()) => Ok(()),
            Err(Miss::None) => Err(self.damage(slot, 0, 0)),
            Err(Miss::Fail(code)) => Err(code),
        }
    }

    /// Finds the next frame.
    #[inline(never)]
    pub(crate) fn advance(&mut self) -> core::result::Result<(), Miss> {
        let mut walk = self.trail.walk;
        self.step(self.trail.slot, &mut walk)?;
        self.trail.walk = walk;
        self.trail.point.pass(&self.frame, walk.offset());
        Ok(())
    }

    /// Finds the next frame, which must be there.
    #[inline(never)]
    pub(crate) fn must_advance(&mut self) -> Result<()> {
        match self.advance() {
            Ok(()) => Ok(()),
            Err(Miss::None) => Err(self.damage(self.trail.slot, self.trail.walk.offset(), self.trail.point.tail.seq + 1)),
            Err(Miss::Fail(code)) => Err(code),
        }
    }

    /// Goes on to the last point that is neither behind `end` nor behind the record `up_to`.
    #[inline(never)]
    pub(crate) fn last_point(&mut self, end: u32, up_to: Seq) -> Result<()> {
        while self.trail.walk.offset() < end {
            let point = self.trail.point;
            self.must_advance()?;
            if self.trail.point.at > end || self.trail.point.tail.seq > up_to {
                self.trail.point = point;
                break;
            }
        }
        Ok(())
    }
}
