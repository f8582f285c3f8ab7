//! The log: what it knows in memory, and how records are appended.

use wal_engine::config::LogId;
use wal_engine::error::{Code, Error};
use wal_engine::format::checksum;
use wal_engine::format::constants::{FRAME_HEADER_LEN, MAX_FRAME_KEY_LEN, OP_CHECKPOINT, OP_DELETE, OP_HOST_FIRST, OP_PUT, OP_STATE};
use wal_engine::format::flash::State;
use wal_engine::format::frame::{FrameHeader, Kind};
use wal_engine::segment::payload::{Entries, Entry};
use wal_engine::segment::scan::Frame;
use wal_engine::seq::{Seq, Tail};

use crate::body::Body;
use crate::chip::{Chip, Geometry};
use crate::desk::Desk;
use crate::fail::{Detail, Halt, Result};
use crate::trail::{Point, is_state};

/// In the table of slots: not part of the log.
pub(crate) const FREE: u32 = 0;
/// In the table of slots: worn out.
pub(crate) const BAD: u32 = u32::MAX;

/// What an opening is told.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The chip.
    pub geometry: Geometry,
    /// Whether an append waits until it is durable, or `sync` does.
    pub sync_each: bool,
    /// Whether what was programmed is read back.
    pub verify: bool,
    /// Whether a full log forgets its oldest segment rather than refuse a record.
    pub overwrite: bool,
    /// Up to where the host's store holds everything; `None` if not given.
    pub store_seq: Option<Seq>,
    /// The log that the store belongs to; `None` if not given.
    pub expected_log_id: Option<LogId>,
    /// The identity of a log that is created.
    pub new_log_id: LogId,
}

/// The segment that is written.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Active {
    /// Whether nothing more may be written here: what stands behind the tip is not known to be erased.
    pub(crate) sealed: bool,
    /// Whether a sync failed: what it was to make durable is written again elsewhere rather than asked for twice.
    pub(crate) in_doubt: bool,
    pub(crate) slot: u32,
    pub(crate) index: u32,
    pub(crate) first_seq: Seq,
    /// Behind the last complete record.
    pub(crate) tip: Point,
    /// Everything in front of it was durable before something behind it was written.
    pub(crate) safe: Point,
    /// Where the next frame goes: behind the tip if a record is being appended in pieces, or was and was given up.
    pub(crate) end: u32,
    /// Where the first piece stands of a record that is being appended in pieces.
    pub(crate) group: u32,
    /// Bytes of STATEs, which need not be copied.
    pub(crate) state_bytes: u32,
    /// The highest watermark in it: above 0, losing OPEN would be noticed.
    pub(crate) mark: u32,
}

impl Active {
    /// Behind OPEN. Nothing is vouched for.
    #[inline(never)]
    pub(crate) fn new(slot: u32, index: u32, tip: Point) -> Active {
        let first_seq = tip.tail.seq + 1;
        let (safe, end) = (Point::default(), tip.at);
        Active { slot, index, first_seq, tip, safe, end, group: 0, state_bytes: 0, mark: 0, sealed: false, in_doubt: false }
    }

    /// Notes a frame that stands at the end; behind it, at `next`, is the end now.
    #[inline(never)]
    pub(crate) fn pass(&mut self, frame: &Frame, next: u32) {
        self.mark = self.mark.max(frame.header.watermark);
        if is_state(&frame.header) {
            self.state_bytes += next - frame.offset;
        }
        self.end = next;
        self.tip.pass(frame, next);
    }

    /// Writes a frame for which there is room. When that fails, nothing more may be written here.
    #[inline(never)]
    fn write<C: Chip>(
        &mut self,
        desk: &mut Desk<'_, C>,
        header: &FrameHeader,
        body: &Body<'_>,
        records: u32,
    ) -> core::result::Result<(), Halt> {
        let relative_seq = (self.tip.tail.seq + 1 - self.first_seq) as u32;
        let header = FrameHeader { relative_seq, watermark: self.safe.at, ..*header };
        self.sealed = true;
        let crc = desk.frame(self.index, self.slot, self.end, &header, body)?;
        self.sealed = false;
        let frame = Frame { offset: self.end, header, crc, records };
        self.pass(&frame, self.end + desk.room_of(&header));
        Ok(())
    }

    /// Writes a STATE.
    #[inline(never)]
    pub(crate) fn write_state<C: Chip>(&mut self, desk: &mut Desk<'_, C>, state: &State) -> core::result::Result<(), Halt> {
        let bytes = state.encode();
        let body = Body::Bytes(&bytes, &[]);
        self.write(desk, &body.header(Kind::First, OP_STATE, 0, bytes.len() as u32), &body, 0)
    }
}

/// The slot that is made ready for the next segment.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ahead {
    /// One more than its number, 0 if there is none.
    pub(crate) next_slot: u32,
    /// Blocks that are erased.
    pub(crate) erased: u32,
    /// The index in its headers, 0 if it has none.
    pub(crate) index: u32,
    /// How often its blocks were erased.
    pub(crate) erasures: u32,
}

/// A log in flash. The order is that of use: what stands in front is reached with shorter instructions.
#[repr(C)]
pub struct Log<'m, C> {
    /// Whether a record is being appended in pieces.
    pub(crate) pieces: bool,
    overwrite: bool,
    sync_each: bool,
    /// Bytes of key that the pieces still lack.
    key_left: u32,
    pub(crate) active: Option<Active>,
    pub(crate) next_index: u32,
    /// Index of the oldest segment that counts.
    pub(crate) oldest: u32,
    /// Replay shows the active segment up to here.
    pub(crate) shown: u32,
    /// Rises when segments change their places: cursors look again.
    pub(crate) generation: u32,
    /// Index of the segment that stands in each slot and counts, `FREE` or `BAD`.
    pub(crate) slots: &'m mut [u32],
    pub(crate) ahead: Ahead,
    pub(crate) most_erasures: u32,
    pub(crate) state: State,
    /// Up to here the host may truncate.
    pub(crate) licence: Seq,
    pub(crate) epoch: u64,
    pub(crate) durable: Seq,
    pub(crate) log_id: LogId,
    pub(crate) desk: Desk<'m, C>,
}

impl<'m, C: Chip> Log<'m, C> {
    /// Not open yet. `slots` has one entry for each segment of the chip; `page` is at least a unit, at least 8 bytes, and a multiple of both; `window`
    /// is at least 128 bytes.
    pub fn new(chip: C, settings: &Settings, slots: &'m mut [u32], page: &'m mut [u8], window: &'m mut [u8]) -> Log<'m, C> {
        Log {
            desk: Desk::new(chip, settings.geometry, checksum::of(&settings.new_log_id), settings.verify, page, window),
            slots,
            log_id: settings.new_log_id,
            next_index: 1,
            oldest: 0,
            active: None,
            state: State::default(),
            licence: 0,
            epoch: 0,
            durable: 0,
            shown: 0,
            generation: 0,
            key_left: 0,
            ahead: Ahead::default(),
            most_erasures: 0,
            sync_each: settings.sync_each,
            overwrite: settings.overwrite,
            pieces: false,
        }
    }

    /// What the last failed call was about. It is never forgotten, only replaced: see `forget_detail`.
    pub fn detail(&self) -> Detail {
        self.desk.detail
    }

    /// To be called before a call whose detail matters.
    #[inline(never)]
    pub fn forget_detail(&mut self) {
        self.desk.detail = Detail::default();
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.desk.geometry
    }

    /// A rule's refusal.
    pub(crate) fn refuse(&mut self, error: Error) -> Code {
        self.desk.detail.seq = error.seq;
        error.code
    }

    /// The tail of the log.
    pub(crate) fn tail(&self) -> Tail {
        self.active.as_ref().map_or(Tail::default(), |active| active.tip.tail)
    }

    /// The last record's number, 0 if there never was one.
    pub fn last_seq(&self) -> Seq {
        self.tail().seq
    }

    /// Bytes of the pieces of a record that is not complete.
    pub(crate) fn pending(&self) -> u32 {
        self.active.as_ref().filter(|_| self.pieces).map_or(0, |active| active.end - active.group)
    }

    // Room.

    /// Slots that hold nothing that counts.
    #[inline(never)]
    pub(crate) fn free(&self) -> u32 {
        self.slots.iter().filter(|&&index| index == FREE).count() as u32
    }

    /// Bytes of frames that a segment takes beside OPEN, a STATE, and room for a further one.
    #[inline(never)]
    pub(crate) fn segment_room(&self) -> u32 {
        let geometry = self.geometry();
        self.desk.common.capacity - geometry.first_frame() - 2 * geometry.state_room()
    }

    fn fits(&self, len: u32) -> bool {
        let geometry = self.geometry();
        self.active.as_ref().is_some_and(|active| {
            let physical = active.end + len + geometry.state_room() <= self.desk.common.capacity;
            // Pieces that were given up count once a record stands behind them.
            let behind_tip = active.end - active.tip.at;
            !active.sealed && physical && self.live(active) + behind_tip + len <= self.segment_room()
        })
    }

    /// Bytes up to the tip that have to be copied if the segment is replaced.
    pub(crate) fn live(&self, active: &Active) -> u32 {
        active.tip.at - self.geometry().first_frame() - active.state_bytes
    }

    /// Sees to it that a frame of `len` bytes fits.
    fn make_room(&mut self, len: u32) -> Result<()> {
        while !self.fits(len) {
            match self.advance(len) {
                Err(Code::NoSpace) if self.overwrite && !self.pieces => self.forget_oldest()?,
                result => result?,
            }
        }
        Ok(())
    }

    /// Bytes of frames that can be appended before the log is full, as far as one can tell.
    pub fn free_bytes(&self) -> u64 {
        let geometry = self.geometry();
        let rest = self.active.as_ref().filter(|active| !active.sealed).map_or(0, |active| {
            let taken = active.end + geometry.state_room();
            self.desk.common.capacity.saturating_sub(taken)
        });
        u64::from(self.free().saturating_sub(1)) * u64::from(self.segment_room()) + u64::from(rest)
    }

    // Frames.

    /// Writes a frame, in another segment if this one fails.
    #[inline(never)]
    fn put(&mut self, kind: Kind, op: u8, key_len: u16, body: &Body<'_>, records: u32) -> Result<()> {
        let len = body.len(self.geometry().max_payload()).ok_or(Code::TooLarge)?;
        let header = body.header(kind, op, key_len, len);
        let mut need = self.desk.room_of(&header);
        if kind == Kind::First || kind == Kind::Middle {
            // As the last piece of a record needs a header's room.
            need += self.desk.common.next_frame(FRAME_HEADER_LEN as u32);
            if kind == Kind::Middle && need + self.pending() > self.segment_room() {
                return Err(Code::TooLarge);
            }
        }
        let mut attempts = self.slots.len();
        loop {
            self.make_room(need)?;
            // There is room, which only an active segment has.
            let Some(active) = self.active.as_mut() else { return Err(Code::NoSpace) };
            match active.write(&mut self.desk, &header, body, records) {
                Ok(()) => return Ok(()),
                Err(Halt::Worn) if attempts > 0 => attempts -= 1,
                Err(Halt::Worn) => return Err(Code::Io),
                Err(Halt::Fail(code)) => return Err(code),
            }
        }
    }

    /// Everything appended is durable when this returns.
    #[inline(never)]
    pub fn sync(&mut self) -> Result<()> {
        let Some(active) = self.active.as_mut() else { return Ok(()) };
        if active.in_doubt {
            return self.advance(0);
        }
        if let Err(halt) = self.desk.sync() {
            active.sealed = true;
            active.in_doubt = true;
            return Err(halt.code());
        }
        if !active.sealed {
            active.safe = active.tip;
        }
        self.shown = active.tip.at;
        self.durable = active.tip.tail.seq;
        Ok(())
    }

    // Records.

    pub(crate) fn refuse_between_pieces(&self) -> Result<()> {
        if self.pieces { Err(Code::Misuse) } else { Ok(()) }
    }

    fn check_op(op: u8) -> Result<()> {
        if op == OP_PUT || op == OP_DELETE || op >= OP_HOST_FIRST { Ok(()) } else { Err(Code::Invalid) }
    }

    /// Appends what makes records count.
    #[inline(never)]
    fn append_frame(&mut self, kind: Kind, op: u8, key_len: u16, body: &Body<'_>, records: u32) -> Result<()> {
        self.refuse_between_pieces()?;
        self.put(kind, op, key_len, body, records)?;
        self.settle()
    }

    #[inline(never)]
    fn settle(&mut self) -> Result<()> {
        if self.sync_each { self.sync() } else { Ok(()) }
    }

    /// Appends a record, whose seq is `last_seq` then.
    pub fn append(&mut self, entry: Entry<'_>) -> Result<()> {
        Self::check_op(entry.op)?;
        let key_len = u16::try_from(entry.key.len()).map_err(|_| Code::TooLarge)?;
        self.append_frame(Kind::Record, entry.op, key_len, &Body::Bytes(entry.key, entry.value), 1)
    }

    /// Appends several records, all or none.
    pub fn append_batch(&mut self, entries: &dyn Entries) -> Result<()> {
        if entries.count() == 0 {
            return Err(Code::Invalid);
        }
        for index in 0..entries.count() {
            Self::check_op(entries.entry(index).op)?;
        }
        self.append_frame(Kind::Batch, 0, 0, &Body::Batch(entries), entries.count() as u32)
    }

    /// Begins a record that comes in pieces: `key_len` bytes of key, then the value.
    pub fn begin(&mut self, op: u8, key_len: u32) -> Result<()> {
        self.refuse_between_pieces()?;
        Self::check_op(op)?;
        if key_len > MAX_FRAME_KEY_LEN as u32 {
            return Err(Code::TooLarge);
        }
        self.put(Kind::First, op, key_len as u16, &Body::Bytes(&[], &[]), 0)?;
        let len = self.desk.common.next_frame(FRAME_HEADER_LEN as u32);
        if let Some(active) = self.active.as_mut() {
            active.group = active.end - len;
        }
        self.pieces = true;
        self.key_left = key_len;
        Ok(())
    }

    /// Adds a piece.
    pub fn add(&mut self, piece: &[u8]) -> Result<()> {
        if !self.pieces {
            return Err(Code::Misuse);
        }
        self.put(Kind::Middle, 0, 0, &Body::Bytes(piece, &[]), 0)?;
        self.key_left = self.key_left.saturating_sub(piece.len() as u32);
        Ok(())
    }

    /// Ends the record. Nothing of it counts before.
    pub fn end(&mut self) -> Result<()> {
        if !self.pieces || self.key_left > 0 {
            return Err(Code::Misuse);
        }
        self.put(Kind::Last, 0, 0, &Body::Bytes(&[], &[]), 1)?;
        self.pieces = false;
        self.settle()
    }

    /// Gives the record up: none of it was appended.
    pub fn cancel(&mut self) {
        self.pieces = false;
    }

    // The log's own.

    /// Appends a CHECKPOINT record, if there is room for one without the reserve.
    pub(crate) fn append_checkpoint(&mut self, value: &[u8]) -> Result<bool> {
        let overwrite = core::mem::replace(&mut self.overwrite, false);
        let put = self.put(Kind::Record, OP_CHECKPOINT, 0, &Body::Bytes(value, &[]), 1);
        self.overwrite = overwrite;
        match put {
            Ok(()) => Ok(true),
            Err(Code::NoSpace) => Ok(false),
            Err(code) => Err(code),
        }
    }

    /// Makes the state durable, in a STATE of this segment or with a segment that replaces it.
    #[inline(never)]
    pub(crate) fn put_state(&mut self) -> Result<()> {
        let limit = self.desk.common.capacity - self.geometry().state_room();
        if let Some(active) = self.active.as_mut().filter(|active| !active.sealed && active.end <= limit) {
            match active.write_state(&mut self.desk, &self.state) {
                Ok(()) => return self.sync(),
                Err(Halt::Worn) => {}
                Err(Halt::Fail(code)) => return Err(code),
            }
        }
        self.advance(0)
    }
}
