//! Opening: which segment is the last, where it ends, which others count. Nothing is written.

use wal_engine::error::Code;
use wal_engine::format::checksum;
use wal_engine::format::constants::{CHECKPOINT_VALUE_LEN, FRAME_HEADER_LEN, KIND_OPEN, OPEN_PAYLOAD_LEN, STATE_PAYLOAD_LEN};
use wal_engine::format::control::{Checkpoint, Open};
use wal_engine::format::flash::{ChipHeader, State};
use wal_engine::format::frame::{FrameHeader, payload_crc};
use wal_engine::format::segment_header::SegmentHeader;
use wal_engine::protocol::gap::{self, Extent};
use wal_engine::protocol::torn::{Verdict, verdict};
use wal_engine::segment::scan::{Frame, Walk};

use crate::advance::Until;
use crate::chip::Chip;
use crate::desk::{is_boundary, is_state};
use crate::fail::{Fail, Result};
use crate::log::{Active, BAD, FREE, Log, Point};

impl<C: Chip> Log<'_, C> {
    /// Finds the log on the chip, or none, which is a new one: its first segment is made when it is needed. To be called once, first.
    pub fn open(&mut self) -> Result<()> {
        self.seed_base = checksum::of(&self.log_id);
        match self.survey()? {
            Some(last) => {
                self.enter(last)?;
                if self.settings.expected_log_id.is_some_and(|id| id != self.log_id) {
                    return Err(Fail::new(Code::WrongLog));
                }
                self.scan()?;
                self.chain()?;
            }
            None if self.settings.expected_log_id.is_some() || self.settings.store_seq.is_some_and(|seq| seq > 0) => {
                return Err(Fail::new(Code::NotFound));
            }
            None => {}
        }
        self.licence = self.settings.store_seq.unwrap_or(self.state.checkpoint.n);
        match self.settings.store_seq {
            Some(seq) => Ok(gap::check(seq, self.extent())?),
            None => Ok(()),
        }
    }

    pub(crate) fn extent(&self) -> Extent {
        Extent { forgotten_data: self.state.forgotten_data, last: self.tail().seq }
    }

    fn agrees(&self, slot: u32, header: &SegmentHeader, chip: &ChipHeader) -> bool {
        let geometry = self.geometry();
        header.capacity == u64::from(geometry.segment_bytes())
            && header.write_unit == geometry.unit
            && header.data_start == u64::from(geometry.data_start())
            && (chip.block_bytes, chip.blocks, chip.slot, chip.erased) == (geometry.block_bytes, geometry.blocks, slot, geometry.erased)
    }

    /// Fills the table of slots; the slot of the last segment that counts.
    #[inline(never)]
    fn survey(&mut self) -> Result<Option<u32>> {
        let mut last: Option<(u32, SegmentHeader)> = None;
        for slot in 0..self.slots.len() as u32 {
            let mut index = FREE;
            if let Some((header, chip)) = self.desk.headers(slot)? {
                if !self.agrees(slot, &header, &chip) {
                    return Err(Fail::new(Code::Invalid).at(self.desk.place(slot, 0)));
                }
                self.next_index = self.next_index.max(header.index.saturating_add(1));
                self.most_erasures = self.most_erasures.max(chip.erasures);
                if self.desk.open(slot, &header)?.is_some() {
                    index = header.index;
                    if last.is_some_and(|(_, last)| last.log_id != header.log_id) {
                        return Err(Fail::damage(self.desk.place(slot, 0), 0));
                    }
                    if last.is_none_or(|(_, last)| last.index < index) {
                        last = Some((slot, header));
                    }
                }
            }
            if let Some(entry) = self.slots.get_mut(slot as usize) {
                *entry = index;
            }
        }
        for slot in 0..self.slots.len() as u32 {
            if self.slots.get(slot as usize) == Some(&FREE) && self.was_lost(slot, last.map(|(_, header)| header))? {
                return Err(Fail::damage(self.desk.place(slot, 0), 0));
            }
        }
        Ok(last.map(|(slot, _)| slot))
    }

    /// Whether a segment that does not count must have counted, behind the last one that does.
    #[inline(never)]
    fn was_lost(&mut self, slot: u32, last: Option<SegmentHeader>) -> Result<bool> {
        let start = self.geometry().data_start();
        if let Some((header, _)) = self.desk.headers(slot)? {
            let is_later = last.is_none_or(|last| last.log_id == header.log_id && last.index < header.index);
            return Ok(is_later && self.desk.vouched_behind(slot, &header, start, 0)? > 0);
        }
        // Its headers are durable before anything else is written, and gone first when it is erased.
        let mut bytes = [0; FRAME_HEADER_LEN];
        self.desk.fetch(slot, start, &mut bytes)?;
        if bytes[FRAME_HEADER_LEN - 1] != KIND_OPEN {
            return Ok(false);
        }
        let Some(last) = last else {
            let mut payload = [0; OPEN_PAYLOAD_LEN];
            self.desk.fetch(slot, start + FRAME_HEADER_LEN as u32, &mut payload)?;
            let crc = payload_crc(&[&payload]).to_le_bytes();
            return Ok(bytes[4..8] == crc && Open::decode(&payload).is_some());
        };
        let reach = (self.slots.len() as u32).saturating_mul(2).saturating_add(8);
        let mut seed = last.seed;
        for _ in 0..reach {
            seed = seed.wrapping_add(1);
            if FrameHeader::decode(seed, last.capacity, u64::from(start), &bytes).is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes the segment in `slot` the active one, as far as its OPEN tells.
    #[inline(never)]
    fn enter(&mut self, slot: u32) -> Result<()> {
        let damaged = Fail::damage(self.desk.place(slot, 0), 0);
        let (header, _) = self.desk.headers(slot)?.ok_or(damaged)?;
        let (open, frame) = self.desk.open(slot, &header)?.ok_or(damaged)?;
        let start =
            Point { at: self.geometry().first_frame(), last_frame: frame.offset as u32, last_crc: frame.crc, tail: open.tail_at_start() };
        self.log_id = header.log_id;
        self.seed_base = header.seed.wrapping_sub(header.index);
        self.epoch = open.epoch;
        self.state.checkpoint = open.checkpoint;
        self.active = Some(Active {
            slot,
            header,
            open,
            start,
            tip: start,
            safe: start,
            end: start.at,
            group: 0,
            state_bytes: 0,
            vouched: false,
            // What a crash left behind the tip looks erased, and need not be.
            sealed: true,
            in_doubt: false,
        });
        Ok(())
    }

    /// Walks through the active segment to its end.
    #[inline(never)]
    fn scan(&mut self) -> Result<()> {
        let Some(active) = self.active.as_ref() else { return Ok(()) };
        let (slot, header) = (active.slot, active.header);
        let mut walk = Walk::resume(header, u64::from(active.start.at), (active.start.tail.seq + 1 - active.open.first_seq) as u32);
        let (mut mark, mut tip, mut state_bytes) = (0, active.start, 0);
        let mut tail = tip.tail;
        while let Ok(frame) = self.desk.step(slot, &mut walk)? {
            mark = mark.max(frame.header.watermark);
            let at = walk.offset() as u32;
            tail = frame.tail_behind(tail);
            if is_state(&frame.header) {
                state_bytes += at.wrapping_sub(frame.offset as u32);
            }
            self.learn(slot, &frame)?;
            if is_boundary(&frame.header) {
                tip = Point { at, last_frame: frame.offset as u32, last_crc: frame.crc, tail };
            }
        }
        let stop = walk.offset() as u32;
        let behind = self.desk.vouched_behind(slot, &header, stop, walk.records())?;
        if verdict(u64::from(stop), behind) == Verdict::Rotten {
            return Err(Fail::damage(self.desk.place(slot, stop), tail.seq + 1));
        }
        mark = mark.max(behind);
        if let Some(active) = self.active.as_mut() {
            (active.tip, active.end, active.state_bytes, active.vouched) = (tip, stop, state_bytes, mark > 0);
        }
        let safe = self.last_point(Until::Offset(mark as u32))?;
        if let Some(active) = self.active.as_mut() {
            active.safe = safe;
        }
        self.shown = tip.at;
        self.durable = tip.tail.seq;
        Ok(())
    }

    /// What a frame says about floor and checkpoint.
    #[inline(never)]
    fn learn(&mut self, slot: u32, frame: &Frame) -> Result<()> {
        if is_state(&frame.header) {
            let mut payload = [0; STATE_PAYLOAD_LEN];
            self.desk.fetch(slot, frame.payload() as u32, &mut payload)?;
            if let Some(state) = State::decode(&payload) {
                if state.floor >= self.state.floor {
                    self.state.floor = state.floor;
                    self.state.forgotten_data = state.forgotten_data;
                }
                self.adopt(state.checkpoint);
            }
        } else if frame.header.is_checkpoint() {
            let mut value = [0; CHECKPOINT_VALUE_LEN];
            self.desk.fetch(slot, frame.payload() as u32, &mut value)?;
            if let Some(checkpoint) = Checkpoint::decode(&value) {
                self.adopt(checkpoint);
            }
        }
        Ok(())
    }

    pub(crate) fn adopt(&mut self, checkpoint: Checkpoint) {
        if checkpoint.n > self.state.checkpoint.n {
            self.state.checkpoint = checkpoint;
        }
    }

    /// The slot of the segment with this index, which counts.
    pub(crate) fn find(&self, index: u32) -> Option<u32> {
        self.slots.iter().position(|&entry| entry == index).map(|slot| slot as u32)
    }

    /// Goes back along the links, as far as the floor needs, and frees every slot that this does not lead to.
    #[inline(never)]
    pub(crate) fn chain(&mut self) -> Result<()> {
        let Some(active) = self.active.as_ref() else { return Ok(()) };
        let newest = active.header.index;
        let (mut index, mut open) = (active.header.index, active.open);
        while open.before.seq > self.state.floor {
            let link = open.link;
            let lost = Fail::damage(0, self.state.floor + 1);
            let slot = self.find(link.index).filter(|_| link.index < index).ok_or(lost)?;
            let lost = lost.at(self.desk.place(slot, 0));
            for entry in self.slots.iter_mut().filter(|entry| **entry > link.index && **entry < index) {
                *entry = FREE;
            }
            let (header, _) = self.desk.headers(slot)?.ok_or(lost)?;
            let last_frame = u32::try_from(link.last_frame).unwrap_or(u32::MAX);
            let ends_right = self.desk.frame_header(slot, &header, last_frame)?.is_some_and(|(last, crc)| {
                crc == link.last_crc && header.next_frame(link.last_frame.saturating_add(last.len())) == link.end
            });
            if !ends_right {
                return Err(lost.at(self.desk.place(slot, last_frame)));
            }
            open = self.desk.open(slot, &header)?.ok_or(lost)?.0;
            index = link.index;
        }
        for entry in self.slots.iter_mut().filter(|entry| **entry < index || (**entry > newest && **entry < BAD)) {
            *entry = FREE;
        }
        self.oldest = index;
        Ok(())
    }
}
