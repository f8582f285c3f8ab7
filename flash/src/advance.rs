//! How the log goes on in a fresh segment: when one is full, after every opening, and when a chip refuses to go on.
//!
//! The new segment gets its headers, then a STATE and what has to be copied, and only when all that is durable its OPEN, which makes it count. Until
//! then the old one does.

use wal_engine::error::Code;
use wal_engine::format::constants::OP_STATE;
use wal_engine::format::control::{How, Link, Open};
use wal_engine::format::flash::ChipHeader;
use wal_engine::format::frame::{FrameHeader, Kind};
use wal_engine::format::segment_header::SegmentHeader;
use wal_engine::segment::payload::{self, Control};
use wal_engine::segment::scan::Walk;
use wal_engine::seq::{Seq, Tail};

use crate::chip::{Chip, Fault};
use crate::desk::{Written, is_boundary, is_state};
use crate::fail::{Fail, Result};
use crate::log::{Active, BAD, FREE, Log, Point};

/// What a new segment continues, and what is copied into it.
struct Plan {
    how: How,
    link: Link,
    before: Tail,
    first_seq: Seq,
    /// The segment to copy from.
    source: Option<Source>,
    /// Whether the segment that was active does not count any more.
    replaces: bool,
}

#[derive(Clone, Copy)]
struct Source {
    slot: u32,
    header: SegmentHeader,
    first_seq: Seq,
    from: u32,
    /// Complete records stand up to here,
    tip: u32,
    /// and the pieces of an incomplete one from here
    group: u32,
    /// to here.
    end: u32,
}

/// Up to where a walk goes.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    Offset(u32),
    Seq(Seq),
}

impl<C: Chip> Log<'_, C> {
    /// The last point between two records up to there.
    pub(crate) fn last_point(&mut self, until: Until) -> Result<Point> {
        let Some(active) = self.active.as_ref() else { return Ok(Point::default()) };
        let (slot, tip) = (active.slot, active.tip.at);
        let mut point = active.start;
        let mut walk = Walk::resume(active.header, u64::from(point.at), (point.tail.seq + 1).wrapping_sub(active.open.first_seq) as u32);
        while walk.offset() < u64::from(tip) {
            let Ok(frame) = self.desk.step(slot, &mut walk)? else {
                return Err(Fail::damage(self.desk.place(slot, walk.offset() as u32), point.tail.seq + 1));
            };
            let at = walk.offset() as u32;
            let tail = frame.tail_behind(point.tail);
            let is_in = match until {
                Until::Offset(limit) => at <= limit,
                Until::Seq(limit) => tail.seq <= limit,
            };
            if !is_in {
                break;
            }
            if is_boundary(&frame.header) {
                point = Point { at, last_frame: frame.offset as u32, last_crc: frame.crc, tail };
            }
        }
        Ok(point)
    }

    /// How to go on so that `need` bytes fit.
    #[inline(never)]
    fn plan(&mut self, need: u32) -> Result<Plan> {
        let free = self.free();
        let no_space = Err(Fail::new(Code::NoSpace));
        if free == 0 {
            return no_space;
        }
        let is_oldest = self.active.as_ref().is_some_and(|active| active.open.before.seq <= self.state.floor);
        let floor = if is_oldest { self.last_point(Until::Seq(self.state.floor))? } else { Point::default() };
        let Some(active) = self.active.as_ref() else {
            let how = How::First;
            return Ok(Plan { how, link: Link::default(), before: Tail::default(), first_seq: 1, source: None, replaces: false });
        };
        let cut = if is_oldest { floor } else { active.start };
        let pending = self.pending();
        let replaced = active.live().min(active.tip.at.wrapping_sub(cut.at)).saturating_add(pending);
        let linked = active.tip.at.wrapping_sub(active.safe.at).saturating_add(pending);
        // A sealed segment has to be left in any case; where the bytes go that are needed is seen then.
        let least = if active.sealed { 0 } else { need };
        let can_link = free >= 2 && active.safe.at > active.start.at && self.segment_takes(linked, least);
        let can_replace = self.segment_takes(replaced, least);
        // After an opening little is copied rather than a segment left nearly empty: a device that often loses power would fill its flash with those.
        let is_little = active.sealed && replaced <= self.geometry().segment_bytes() / 2 && self.segment_takes(replaced, need);
        let (tip, end) = (active.tip.at, active.end);
        let group = if self.pieces { active.group } else { end };
        let source = Source { slot: active.slot, header: active.header, first_seq: active.open.first_seq, from: cut.at, tip, group, end };
        let at = |point: Point| Link {
            index: active.header.index,
            end: u64::from(point.at),
            last_frame: u64::from(point.last_frame),
            last_crc: point.last_crc,
        };
        let how = How::Recovered;
        if can_replace && (is_little || replaced == 0 || !can_link) {
            return Ok(if is_oldest {
                let (before, first_seq) = (cut.tail, cut.tail.seq + 1);
                Plan { how, link: at(cut), before, first_seq, source: Some(source), replaces: true }
            } else {
                let open = &active.open;
                Plan { how, link: open.link, before: open.before, first_seq: open.first_seq, source: Some(source), replaces: true }
            });
        }
        if can_link {
            let source = Some(Source { from: active.safe.at, ..source });
            let before = active.safe.tail;
            return Ok(Plan { how, link: at(active.safe), before, first_seq: before.seq + 1, source, replaces: false });
        }
        no_space
    }

    /// Goes on in a fresh segment in which `need` bytes fit beside what it has to keep.
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
        let plan = self.plan(need)?;
        if !self.take_prepared()? {
            return Ok(false);
        }
        let Some((slot, header)) = self.prepared.take() else { return Ok(false) };
        match self.compose(slot, &header, &plan)? {
            Ok(()) => Ok(true),
            Err(Fault::BadBlock) => {
                self.give_up(slot);
                Ok(false)
            }
            Err(fault) => Err(fault.into()),
        }
    }

    /// The filled segment counts from now on.
    fn install(&mut self, active: &Active, replaces: bool) {
        if let Some(old) = self.active.as_ref().filter(|_| replaces)
            && let Some(entry) = self.slots.get_mut(old.slot as usize)
        {
            *entry = FREE;
        }
        if let Some(entry) = self.slots.get_mut(active.slot as usize) {
            *entry = active.header.index;
        }
        self.shown = active.tip.at;
        self.durable = active.tip.tail.seq;
        self.epoch = active.open.epoch;
        self.generation = self.generation.wrapping_add(1);
        self.active = Some(*active);
    }

    fn give_up(&mut self, slot: u32) {
        if let Some(entry) = self.slots.get_mut(slot as usize) {
            *entry = BAD;
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

    /// Sees to it that a slot has headers; false if one had to be given up.
    #[inline(never)]
    fn take_prepared(&mut self) -> Result<bool> {
        while self.prepared.is_none() {
            if !self.prepare_step()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Erases one block ahead, or writes the headers once all are erased; false if a slot had to be given up.
    fn prepare_step(&mut self) -> Result<bool> {
        let Some((slot, erased)) = self.preparing.or_else(|| self.next_free().map(|slot| (slot, 0))) else {
            return Err(Fail::new(Code::NoSpace));
        };
        self.preparing = None;
        let done = if erased < self.geometry().segment_blocks {
            if erased == 0 {
                // Counted before the count is gone.
                let count = self.desk.headers(slot)?.map_or(self.most_erasures, |(_, chip)| chip.erasures);
                self.erasures = count.saturating_add(1);
                self.most_erasures = self.most_erasures.max(self.erasures);
            }
            self.desk.erase(slot, erased).map(|()| self.preparing = Some((slot, erased + 1)))
        } else {
            self.write_headers(slot)?
        };
        match done {
            Ok(()) => Ok(true),
            Err(Fault::BadBlock) => {
                self.give_up(slot);
                Ok(false)
            }
            Err(fault) => Err(Fail::from(fault).at(self.desk.place(slot, 0))),
        }
    }

    fn write_headers(&mut self, slot: u32) -> Result<core::result::Result<(), Fault>> {
        let geometry = *self.geometry();
        let index = self.next_index;
        if index >= BAD - 1 {
            return Err(Fail::new(Code::NoSpace));
        }
        self.next_index = index + 1;
        let mut header = SegmentHeader::new(self.log_id, self.seed_base, index, u64::from(geometry.segment_bytes()), true);
        header.data_start = u64::from(geometry.data_start());
        header.write_unit = geometry.unit;
        let chip = ChipHeader {
            block_bytes: geometry.block_bytes,
            blocks: geometry.blocks,
            slot,
            erasures: self.erasures,
            erased: geometry.erased,
        };
        self.desk.aim(slot, 0);
        let result = self
            .desk
            .push(&header.encode())
            .and_then(|()| self.desk.push(&chip.encode()))
            .and_then(|()| self.desk.finish())
            .and_then(|()| self.desk.sync());
        if result.is_ok() {
            self.prepared = Some((slot, header));
        }
        Ok(result)
    }

    /// Does a part of what the next append would have to do, at most one erasure; false if there is nothing left to do.
    pub fn prepare(&mut self) -> Result<bool> {
        if self.pieces {
            return Err(Fail::new(Code::Misuse));
        }
        if self.prepared.is_none() && self.free() > 0 {
            // The segment that this one replaced may be erased only when losing this one would be noticed.
            if self.active.as_ref().is_some_and(|active| !active.sealed && !active.vouched) {
                self.put_state()?;
            }
            self.prepare_step()?;
            return Ok(true);
        }
        if self.prepared.is_some() && self.active.as_ref().is_none_or(|active| active.sealed) {
            self.advance(0)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Fills a segment and makes it count.
    #[inline(never)]
    fn compose(&mut self, slot: u32, header: &SegmentHeader, plan: &Plan) -> Result<core::result::Result<(), Fault>> {
        let geometry = *self.geometry();
        let start = geometry.data_start();
        let epoch = self.epoch.saturating_add(u64::from(self.active.as_ref().is_none_or(|active| active.sealed)));
        let open = Open {
            first_seq: plan.first_seq,
            how: plan.how,
            link: plan.link,
            before: plan.before,
            checkpoint: self.state.checkpoint,
            epoch,
        };
        let first = Point { at: geometry.first_frame(), last_frame: start, last_crc: 0, tail: plan.before };
        let mut active = Active {
            slot,
            header: *header,
            open,
            start: first,
            tip: first,
            safe: first,
            end: first.at,
            group: 0,
            state_bytes: 0,
            vouched: false,
            sealed: false,
            in_doubt: false,
        };
        if self.state.floor > 0 {
            let bytes = self.state.encode();
            let frame = FrameHeader { op: OP_STATE, ..payload::control_header(Kind::First, &bytes) };
            match self.desk.frame(header, slot, active.end, &frame, &Control(&bytes)) {
                Ok(written) => active.state_bytes = place(&mut active, written, true, plan.before),
                Err(fault) => return Ok(Err(fault)),
            }
        }
        if let Some(source) = &plan.source
            && let Err(fault) = self.copy(source, &mut active)?
        {
            return Ok(Err(fault));
        }
        // Everything is there before OPEN says so.
        let payload = open.encode();
        let opened = self
            .desk
            .sync()
            .and_then(|()| self.desk.frame(header, slot, start, &payload::control_header(Kind::Open, &payload), &Control(&payload)))
            .and_then(|written| self.desk.sync().map(|()| written));
        Ok(opened.map(|written| {
            active.start.last_crc = written.crc;
            if active.tip.at == active.start.at {
                active.tip = active.start;
            }
            active.safe = active.tip;
            self.install(&active, plan.replaces);
        }))
    }

    /// Copies frames behind what the new segment holds already, with a watermark of 0: nothing vouches for them here.
    #[inline(never)]
    fn copy(&mut self, source: &Source, active: &mut Active) -> Result<core::result::Result<(), Fault>> {
        let relative = |first: Seq| (active.open.first_seq).wrapping_sub(first) as u32;
        let skipped = relative(source.first_seq);
        let mut walk = Walk::resume(source.header, u64::from(source.from), skipped);
        while walk.offset() < u64::from(source.end) {
            let Ok(frame) = self.desk.step(source.slot, &mut walk)? else {
                let seq = active.tip.tail.seq + 1;
                return Err(Fail::damage(self.desk.place(source.slot, walk.offset() as u32), seq));
            };
            let at = frame.offset as u32;
            if is_state(&frame.header) || (at >= source.tip && at < source.group) {
                continue;
            }
            if at == source.group {
                active.group = active.end;
            }
            let header = FrameHeader { relative_seq: frame.header.relative_seq.wrapping_sub(skipped), watermark: 0, ..frame.header };
            let written = self.desk.copy((source.slot, &frame), &active.header, active.slot, active.end, &header)?;
            match written {
                Ok(written) => {
                    let tail = frame.tail_behind(active.tip.tail);
                    place(active, written, is_boundary(&frame.header), tail);
                }
                Err(fault) => return Ok(Err(fault)),
            }
        }
        Ok(Ok(()))
    }
}

/// Notes a frame that was written into a segment that does not count yet; its length.
fn place(active: &mut Active, written: Written, is_boundary: bool, tail: Tail) -> u32 {
    active.end = written.next;
    if is_boundary {
        active.tip = Point { at: written.next, last_frame: written.at, last_crc: written.crc, tail };
    }
    written.next.wrapping_sub(written.at)
}
