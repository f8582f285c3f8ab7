//! How the log goes on in a fresh segment: when one is full, after every opening, and when a chip refuses to go on.
//!
//! The new segment gets its headers, then a STATE and what has to be copied, and only when all that is durable its OPEN, which makes it count. Until
//! then the old one does.

use wal_engine::error::Code;
use wal_engine::format::constants::{CHIP_HEADER_LEN, OPEN_PAYLOAD_LEN, SEGMENT_HEADER_LEN};
use wal_engine::format::control::{How, Link, Open};
use wal_engine::format::flash::ChipHeader;
use wal_engine::format::frame::Kind;
use wal_engine::format::segment_header::SegmentHeader;
use wal_engine::seq::Tail;

use crate::body::Body;
use crate::chip::Chip;
use crate::fail::{Halt, Miss, Result};
use crate::log::{Active, Ahead, BAD, FREE, Log};
use crate::trail::{Point, is_state};

/// What a new segment continues, and what is copied into it.
struct Plan {
    open: Open,
    /// What stands in the old segment from here on is copied.
    from: u32,
    /// Whether the segment that was active does not count any more.
    replaces: bool,
}

impl<C: Chip> Log<'_, C> {
    /// How to go on so that `need` bytes fit. A log without segments begins with the plan as it is.
    #[inline(never)]
    fn plan(&mut self, need: u32, plan: &mut Plan) -> Result<()> {
        let free = self.free();
        if free == 0 {
            return Err(Code::NoSpace);
        }
        let Some(active) = self.active.as_ref() else { return Ok(()) };
        self.desk.must_enter(active.slot, active.index)?;
        let is_oldest = self.desk.trail.before.seq <= self.state.floor;
        if is_oldest {
            self.desk.last_point(active.tip.at, self.state.floor)?;
        }
        let mut cut = &self.desk.trail.point;
        let pending = self.pending();
        let replaced = self.live(active).min(active.tip.at - cut.at) + pending;
        let linked = active.tip.at - active.safe.at + pending;
        let room = self.segment_room();
        // A sealed segment has to be left in any case; where the bytes go that are needed is seen then.
        let least = if active.sealed { 0 } else { need };
        let can_link = free >= 2 && active.safe.at > self.geometry().first_frame() && linked + least <= room;
        let can_replace = replaced + least <= room;
        // After an opening little is copied rather than a segment left nearly empty: a device that often loses power would fill its flash with those.
        let is_little = active.sealed && replaced <= self.desk.common.capacity / 2 && replaced + need <= room;
        plan.replaces = can_replace && (is_little || replaced == 0 || !can_link);
        if !plan.replaces {
            if !can_link {
                return Err(Code::NoSpace);
            }
            cut = &active.safe;
        }
        plan.from = cut.at;
        plan.open.how = How::Recovered;
        if plan.replaces && !is_oldest {
            // It takes the old one's place.
            plan.open.link = self.desk.trail.link;
            plan.open.before = self.desk.trail.before;
        } else {
            plan.open.link = Link { index: active.index, end: cut.at, last_frame: cut.last_frame, last_crc: cut.last_crc };
            plan.open.before = cut.tail;
        }
        plan.open.first_seq = plan.open.before.seq + 1;
        Ok(())
    }

    /// Goes on in a fresh segment in which `need` bytes fit beside what it has to keep.
    #[inline(never)]
    pub(crate) fn advance(&mut self, need: u32) -> Result<()> {
        if self.active.as_ref().is_some_and(|active| !active.sealed) {
            self.sync()?;
        }
        while !self.try_advance(need)? {}
        self.chain()
    }

    /// Whether there is a fresh segment; if not, a slot had to be given up.
    #[inline(never)]
    fn try_advance(&mut self, need: u32) -> Result<bool> {
        // Before anything is erased: a log that is full stays as it is.
        let mut plan = Plan {
            open: Open {
                first_seq: 1,
                how: How::First,
                link: Link::default(),
                before: Tail::default(),
                checkpoint: self.state.checkpoint,
                epoch: self.epoch + u64::from(self.active.as_ref().is_none_or(|active| active.sealed)),
            },
            from: 0,
            replaces: false,
        };
        self.plan(need, &mut plan)?;
        while self.ahead.index == 0 {
            if !self.prepare_step()? {
                return Ok(false);
            }
        }
        let Ahead { next_slot, index, .. } = core::mem::take(&mut self.ahead);
        let slot = next_slot - 1;
        let composed = self.compose(slot, index, &plan);
        self.survives(slot, composed)
    }

    /// Gives the slot up if its block is worn out; then false.
    #[inline(never)]
    fn survives(&mut self, slot: u32, done: core::result::Result<(), Halt>) -> Result<bool> {
        match done {
            Ok(()) => Ok(true),
            Err(Halt::Worn) => {
                self.set_slot(slot, BAD);
                Ok(false)
            }
            Err(Halt::Fail(code)) => Err(code),
        }
    }

    pub(crate) fn set_slot(&mut self, slot: u32, index: u32) {
        if let Some(entry) = self.slots.get_mut(slot as usize) {
            *entry = index;
        }
    }

    /// The next slot of the ring that holds nothing that counts.
    fn next_free(&self) -> Option<u32> {
        let count = self.slots.len();
        let mut slot = self.active.as_ref().map_or(count, |active| active.slot as usize + 1);
        for _ in 0..count {
            if slot >= count {
                slot = 0;
            }
            if self.slots.get(slot) == Some(&FREE) {
                return Some(slot as u32);
            }
            slot += 1;
        }
        None
    }

    /// Erases one block ahead, or writes the headers once all are erased; false if a slot had to be given up.
    #[inline(never)]
    fn prepare_step(&mut self) -> Result<bool> {
        // Forgotten until it has succeeded.
        let mut ahead = core::mem::take(&mut self.ahead);
        if ahead.next_slot == 0 {
            ahead.next_slot = self.next_free().ok_or(Code::NoSpace)? + 1;
        }
        let slot = ahead.next_slot - 1;
        let done = if ahead.erased < self.geometry().segment_blocks {
            if ahead.erased == 0 {
                // Counted before the count is gone.
                ahead.erasures = match self.desk.headers(slot) {
                    Ok((_, chip)) => chip.erasures,
                    Err(Miss::None) => self.most_erasures,
                    Err(Miss::Fail(code)) => return Err(code),
                }
                .saturating_add(1);
                self.most_erasures = self.most_erasures.max(ahead.erasures);
            }
            ahead.erased += 1;
            self.desk.erase(slot, ahead.erased - 1)
        } else {
            ahead.index = self.next_index;
            if ahead.index >= BAD - 1 {
                return Err(Code::NoSpace);
            }
            self.next_index += 1;
            self.write_headers(slot, &ahead)
        };
        let survives = self.survives(slot, done);
        match survives {
            Ok(true) => self.ahead = ahead,
            Ok(false) => {}
            Err(code) => return Err(self.desk.fail(code, slot, 0)),
        }
        survives
    }

    fn write_headers(&mut self, slot: u32, ahead: &Ahead) -> core::result::Result<(), Halt> {
        let shape = self.desk.shape(ahead.index);
        let geometry = self.geometry();
        let chip = ChipHeader {
            block_bytes: geometry.block_bytes,
            blocks: geometry.blocks,
            slot,
            erasures: ahead.erasures,
            erased: geometry.erased,
        };
        let header = SegmentHeader {
            log_id: self.log_id,
            index: ahead.index,
            seed: shape.seed,
            capacity: shape.capacity,
            data_start: shape.data_start,
            write_unit: shape.write_unit,
            recycled: true,
        };
        const { assert!(SEGMENT_HEADER_LEN + CHIP_HEADER_LEN == 96) };
        self.desk.aim(slot, 0);
        self.desk.push(&header.encode())?;
        self.desk.push(&chip.encode())?;
        self.desk.finish()?;
        self.desk.sync()
    }

    /// Does a part of what the next append would have to do, at most one erasure; `Miss::None` if there is nothing left to do.
    pub fn prepare(&mut self) -> core::result::Result<(), Miss> {
        self.refuse_between_pieces()?;
        let ready = self.ahead.index != 0;
        if !ready && self.free() > 0 {
            // The segment that this one replaced may be erased only when losing this one would be noticed.
            if self.active.as_ref().is_some_and(|active| !active.sealed && active.mark == 0) {
                self.put_state()?;
            }
            self.prepare_step()?;
            return Ok(());
        }
        if ready && self.active.as_ref().is_none_or(|active| active.sealed) {
            return Ok(self.advance(0)?);
        }
        Err(Miss::None)
    }

    /// Fills a segment and makes it count.
    #[inline(never)]
    fn compose(&mut self, slot: u32, index: u32, plan: &Plan) -> core::result::Result<(), Halt> {
        let (start, first) = (self.desk.common.data_start, self.geometry().first_frame());
        let point = Point { at: first, last_frame: start, last_crc: 0, tail: plan.open.before };
        let mut active = Active::new(slot, index, point);
        if self.state.floor > 0 {
            active.write_state(&mut self.desk, &self.state)?;
        }
        self.copy(plan, &mut active)?;
        // Everything is there before OPEN says so.
        self.desk.sync()?;
        let crc = self.write_open(slot, index, &plan.open)?;
        self.desk.sync()?;
        if active.tip.at == first {
            active.tip.last_crc = crc;
        }
        active.safe = active.tip;
        // It counts from now on.
        if let Some(old) = self.active.as_ref().filter(|_| plan.replaces) {
            self.set_slot(old.slot, FREE);
        }
        self.set_slot(slot, index);
        self.shown = active.tip.at;
        self.durable = active.tip.tail.seq;
        self.epoch = plan.open.epoch;
        self.generation = self.generation.wrapping_add(1);
        self.active = Some(active);
        Ok(())
    }

    #[inline(never)]
    fn write_open(&mut self, slot: u32, index: u32, open: &Open) -> core::result::Result<u32, Halt> {
        let payload = open.encode();
        let body = Body::Bytes(&payload, &[]);
        let header = body.header(Kind::Open, 0, 0, OPEN_PAYLOAD_LEN as u32);
        self.desk.frame(index, slot, self.desk.common.data_start, &header, &body)
    }

    /// Copies frames behind what the new segment holds already, with a watermark of 0: nothing vouches for them here.
    fn copy(&mut self, plan: &Plan, active: &mut Active) -> core::result::Result<(), Halt> {
        let Some(source) = self.active.as_ref() else { return Ok(()) };
        let group = if self.pieces { source.group } else { source.end };
        let skipped = (active.first_seq - source.first_seq) as u32;
        self.desk.must_enter(source.slot, source.index)?;
        while self.desk.trail.walk.offset() < source.end {
            self.desk.must_advance()?;
            let mut frame = self.desk.frame;
            let at = frame.offset;
            if at < plan.from || is_state(&frame.header) || (at >= source.tip.at && at < group) {
                continue;
            }
            if at == group {
                active.group = active.end;
            }
            frame.header.relative_seq -= skipped;
            frame.header.watermark = 0;
            frame.crc = self.desk.copy(source.slot, active.index, active.slot, active.end, &frame.header)?;
            frame.offset = active.end;
            active.pass(&frame, active.end + self.desk.room_of(&frame.header));
        }
        Ok(())
    }
}
