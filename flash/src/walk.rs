//! Walking through a segment from its OPEN on: the desk's trail says where the walk is, the desk's frame what it found last.

use wal_engine::format::constants::OPEN_PAYLOAD_LEN;
use wal_engine::format::control::Open;
use wal_engine::segment::scan::Walk;
use wal_engine::seq::Seq;

use crate::chip::Chip;
use crate::desk::Desk;
use crate::fail::{Miss, Result};

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
    pub(crate) fn must_enter(&mut self, slot: u32, index: u32) -> Result<()> {
        match self.enter(slot, index) {
            Ok(()) => Ok(()),
            Err(Miss::None) => Err(self.damage(slot, 0, 0)),
            Err(Miss::Fail(code)) => Err(code),
        }
    }

    /// Finds the next frame.
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
