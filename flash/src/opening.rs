//! Opening: which segment is the last, where it ends, which others count. Nothing is written.

use wal_engine::error::Code;
use wal_engine::format::checksum;
use wal_engine::format::constants::{CHECKPOINT_VALUE_LEN, FRAME_HEADER_LEN, KIND_OPEN, OPEN_PAYLOAD_LEN, STATE_PAYLOAD_LEN};
use wal_engine::format::control::{Checkpoint, Open};
use wal_engine::format::flash::State;
use wal_engine::format::frame::FrameHeader;
use wal_engine::protocol::gap::{self, Extent};
use wal_engine::protocol::torn::{Verdict, verdict};
use wal_engine::seq::Seq;

use crate::chip::Chip;
use crate::fail::{Miss, Result};
use crate::log::{Active, BAD, FREE, Log, Settings};
use crate::trail::is_state;

impl<C: Chip> Log<'_, C> {
    /// Finds the log on the chip, or none, which is a new one: its first segment is made when it is needed. To be called once, first.
    pub fn open(&mut self, settings: &Settings) -> Result<()> {
        if let Some(slot) = self.survey()? {
            if settings.expected_log_id.is_some_and(|id| id != self.log_id) {
                return Err(Code::WrongLog);
            }
            self.scan(slot)?;
            self.chain()?;
        } else if settings.expected_log_id.is_some() || settings.store_seq.is_some_and(|seq| seq > 0) {
            return Err(Code::NotFound);
        }
        self.licence = settings.store_seq.unwrap_or(self.state.checkpoint.n);
        settings.store_seq.map_or(Ok(()), |seq| self.check_gap(seq))
    }

    /// Whether everything above `after` is there.
    #[inline(never)]
    pub(crate) fn check_gap(&mut self, after: Seq) -> Result<()> {
        let extent = Extent { forgotten_data: self.state.forgotten_data, last: self.tail().seq };
        gap::check(after, extent).map_err(|error| self.refuse(error))
    }

    /// Fills the table of slots; the slot of the last segment that counts.
    fn survey(&mut self) -> Result<Option<u32>> {
        let (mut last, mut last_index) = (None, FREE);
        let slots = self.slots.len() as u32;
        for slot in 0..slots {
            self.set_slot(slot, FREE);
            let (header, chip) = match self.desk.headers(slot) {
                Ok(found) => found,
                Err(Miss::None) => continue,
                Err(Miss::Fail(code)) => return Err(code),
            };
            self.next_index = self.next_index.max(header.index.saturating_add(1));
            self.most_erasures = self.most_erasures.max(chip.erasures);
            let seed_base = core::mem::replace(&mut self.desk.common.seed, header.seed.wrapping_sub(header.index));
            let counts = match self.desk.enter(slot, header.index) {
                Ok(()) => true,
                Err(Miss::None) => false,
                Err(Miss::Fail(code)) => return Err(code),
            };
            if counts {
                if last_index != FREE && self.log_id != header.log_id {
                    return Err(self.desk.damage(slot, 0, 0));
                }
                self.set_slot(slot, header.index);
            }
            if counts && header.index > last_index {
                (last, last_index) = (Some(slot), header.index);
                self.log_id = header.log_id;
            } else {
                self.desk.common.seed = seed_base;
            }
        }
        for slot in 0..slots {
            if self.slots.get(slot as usize) == Some(&FREE) && self.was_lost(slot, last_index)? {
                return Err(self.desk.damage(slot, 0, 0));
            }
        }
        Ok(last)
    }

    /// Whether a segment that does not count must have counted, behind the last one that does.
    fn was_lost(&mut self, slot: u32, last_index: u32) -> Result<bool> {
        let start = self.desk.common.data_start;
        match self.desk.headers(slot) {
            Ok((header, _)) => {
                if last_index != FREE && (self.log_id != header.log_id || last_index >= header.index) {
                    return Ok(false);
                }
                // Its own seed, which is the log's if there is one.
                let seed_base = core::mem::replace(&mut self.desk.common.seed, header.seed.wrapping_sub(header.index));
                let mark = self.desk.watermark_behind(slot, header.index, start, 0);
                self.desk.common.seed = seed_base;
                return Ok(mark? > 0);
            }
            Err(Miss::None) => {}
            Err(Miss::Fail(code)) => return Err(code),
        }
        // Its headers are durable before anything else is written, and gone first when it is erased.
        let shape = self.desk.shape(last_index);
        let reach = self.slots.len() as u32 * 2 + 8;
        let bytes = self.desk.bytes(self.desk.place(slot, start), FRAME_HEADER_LEN + OPEN_PAYLOAD_LEN).unwrap_or_default();
        let (front, payload) = bytes.split_at_checked(FRAME_HEADER_LEN).unwrap_or_default();
        let is_lost = if front.last() != Some(&KIND_OPEN) {
            false
        } else if last_index == FREE {
            let crc = checksum::of(payload).to_le_bytes();
            front.get(4..8) == Some(&crc) && Open::decode(payload).is_some()
        } else {
            (1..=reach).any(|later| FrameHeader::decode(shape.seed.wrapping_add(later), shape.capacity, start, front).is_some())
        };
        self.desk.calm()?;
        Ok(is_lost)
    }

    /// Walks through the last segment to its end: it is the active one.
    fn scan(&mut self, slot: u32) -> Result<()> {
        let index = self.index_of(slot);
        self.desk.must_enter(slot, index)?;
        self.epoch = self.desk.trail.epoch;
        self.state.checkpoint = self.desk.trail.checkpoint;
        let mut active = Active::new(slot, index, self.desk.trail.point);
        // What a crash left behind the tip looks erased, and need not be.
        active.sealed = true;
        loop {
            match self.desk.advance() {
                Ok(()) => {}
                Err(Miss::None) => break,
                Err(Miss::Fail(code)) => return Err(code),
            }
            active.pass(&self.desk.frame, self.desk.trail.walk.offset());
            self.learn(slot)?;
        }
        let stop = self.desk.trail.walk.offset();
        let behind = self.desk.watermark_behind(slot, index, stop, self.desk.trail.walk.records())?;
        if verdict(stop, behind) == Verdict::Rotten {
            return Err(self.desk.damage(slot, stop, active.tip.tail.seq + 1));
        }
        active.mark = active.mark.max(behind);
        self.desk.must_enter(slot, index)?;
        self.desk.last_point(active.mark, Seq::MAX)?;
        active.safe = self.desk.trail.point;
        self.shown = active.tip.at;
        self.durable = active.tip.tail.seq;
        self.active = Some(active);
        Ok(())
    }

    /// What the frame that was found last says about floor and checkpoint.
    fn learn(&mut self, slot: u32) -> Result<()> {
        let place = self.desk.place(slot, self.desk.frame.payload());
        if is_state(&self.desk.frame.header) {
            if let Some(state) = self.desk.bytes(place, STATE_PAYLOAD_LEN).and_then(State::decode) {
                if state.floor >= self.state.floor {
                    self.state.floor = state.floor;
                    self.state.forgotten_data = state.forgotten_data;
                }
                self.adopt(state.checkpoint);
            }
        } else if self.desk.frame.header.is_checkpoint()
            && let Some(checkpoint) = self.desk.bytes(place, CHECKPOINT_VALUE_LEN).and_then(Checkpoint::decode)
        {
            self.adopt(checkpoint);
        }
        self.desk.calm()
    }

    #[inline(never)]
    pub(crate) fn adopt(&mut self, checkpoint: Checkpoint) {
        if checkpoint.n > self.state.checkpoint.n {
            self.state.checkpoint = checkpoint;
        }
    }

    /// The index of the segment in a slot.
    pub(crate) fn index_of(&self, slot: u32) -> u32 {
        self.slots.get(slot as usize).copied().unwrap_or(FREE)
    }

    /// The slot of the segment with this index, which counts.
    #[inline(never)]
    pub(crate) fn find(&self, index: u32) -> Option<u32> {
        self.slots.iter().position(|&entry| entry == index).map(|slot| slot as u32)
    }

    /// Frees the slots of segments between two indexes.
    #[inline(never)]
    fn free_between(&mut self, low: u32, high: u32) {
        for entry in self.slots.iter_mut().filter(|entry| **entry > low && **entry < high) {
            *entry = FREE;
        }
    }

    /// Goes back along the links, as far as the floor needs, and frees every slot that this does not lead to.
    #[inline(never)]
    pub(crate) fn chain(&mut self) -> Result<()> {
        let Some(active) = self.active.as_ref() else { return Ok(()) };
        let (mut slot, mut index) = (active.slot, active.index);
        self.free_between(index, BAD);
        loop {
            self.desk.must_enter(slot, index)?;
            if self.desk.trail.before.seq <= self.state.floor {
                break;
            }
            let lost_seq = self.state.floor + 1;
            let link = self.desk.trail.link;
            slot = match self.find(link.index) {
                Some(slot) if link.index < index => slot,
                _ => return Err(self.desk.damage(0, 0, lost_seq)),
            };
            self.free_between(link.index, index);
            index = link.index;
            let ends = self.desk.frame_at(slot, index, link.last_frame);
            let next = self.desk.common.next_frame(self.desk.frame.end());
            match ends {
                Ok(()) if self.desk.frame.crc == link.last_crc && next == link.end => {}
                Err(Miss::Fail(code)) => return Err(code),
                _ => return Err(self.desk.damage(slot, link.last_frame, lost_seq)),
            }
        }
        self.free_between(FREE, index);
        self.oldest = index;
        Ok(())
    }
}
