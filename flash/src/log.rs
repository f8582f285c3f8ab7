//! The log: what it knows in memory, and how records are appended.

use wal_engine::config::LogId;
use wal_engine::error::Code;
use wal_engine::format::constants::{FRAME_HEADER_LEN, MAX_FRAME_KEY_LEN, OP_DELETE, OP_HOST_FIRST, OP_PUT, OP_STATE};
use wal_engine::format::control::Open;
use wal_engine::format::flash::State;
use wal_engine::format::frame::{FrameHeader, Kind, frame_len, padded};
use wal_engine::format::segment_header::SegmentHeader;
use wal_engine::segment::payload::{self, Batch, Control, Entries, Entry, One, Payload, Pieces};
use wal_engine::seq::{Seq, Tail};

use crate::chip::{Chip, Fault, Geometry};
use crate::desk::{Desk, Written};
use crate::fail::{Fail, Result};

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

/// A point between two records of a segment.
#[derive(Clone, Copy, Default)]
pub(crate) struct Point {
    pub(crate) at: u32,
    /// The frame that ends there.
    pub(crate) last_frame: u32,
    pub(crate) last_crc: u32,
    pub(crate) tail: Tail,
}

/// The segment that is written.
#[derive(Clone, Copy)]
pub(crate) struct Active {
    pub(crate) slot: u32,
    pub(crate) header: SegmentHeader,
    pub(crate) open: Open,
    /// Behind OPEN.
    pub(crate) start: Point,
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
    /// Whether a frame with a watermark stands here: losing OPEN would be noticed.
    pub(crate) vouched: bool,
    /// Whether nothing more may be written here: what stands behind the tip is not known to be erased.
    pub(crate) sealed: bool,
    /// Whether a sync failed: what it was to make durable is written again elsewhere rather than asked for twice.
    pub(crate) in_doubt: bool,
}

impl Active {
    /// Bytes up to the tip that have to be copied if the segment is replaced.
    pub(crate) fn live(&self) -> u32 {
        self.tip.at.wrapping_sub(self.start.at).saturating_sub(self.state_bytes)
    }
}

/// A log in flash.
pub struct Log<'m, C> {
    pub(crate) desk: Desk<'m, C>,
    /// Index of the segment that stands in each slot and counts, `FREE` or `BAD`.
    pub(crate) slots: &'m mut [u32],
    pub(crate) settings: Settings,
    pub(crate) log_id: LogId,
    pub(crate) seed_base: u32,
    pub(crate) next_index: u32,
    /// Index of the oldest segment that counts.
    pub(crate) oldest: u32,
    pub(crate) active: Option<Active>,
    pub(crate) state: State,
    /// Up to here the host may truncate.
    pub(crate) licence: Seq,
    pub(crate) epoch: u64,
    pub(crate) durable: Seq,
    /// Replay shows the active segment up to here.
    pub(crate) shown: u32,
    /// Rises when segments change their places: cursors look again.
    pub(crate) generation: u32,
    /// Whether a record is being appended in pieces.
    pub(crate) pieces: bool,
    /// Bytes of key that the pieces still lack.
    pub(crate) key_left: u32,
    /// A slot that is erased, or about to be, and how many of its blocks are.
    pub(crate) preparing: Option<(u32, u32)>,
    /// A slot that is erased and has its headers.
    pub(crate) prepared: Option<(u32, SegmentHeader)>,
    pub(crate) most_erasures: u32,
    pub(crate) erasures: u32,
}

impl<'m, C: Chip> Log<'m, C> {
    /// Not open yet. `slots` has one entry for each segment of the chip; `page` is at least a unit, at least 8 bytes, and a multiple of both; `window`
    /// is at least 128 bytes.
    pub fn new(chip: C, settings: Settings, slots: &'m mut [u32], page: &'m mut [u8], window: &'m mut [u8]) -> Log<'m, C> {
        Log {
            desk: Desk::new(chip, settings.geometry, settings.verify, page, window),
            slots,
            settings,
            log_id: settings.new_log_id,
            seed_base: 0,
            next_index: 1,
            oldest: 0,
            active: None,
            state: State::default(),
            licence: 0,
            epoch: 0,
            durable: 0,
            shown: 0,
            generation: 0,
            pieces: false,
            key_left: 0,
            preparing: None,
            prepared: None,
            most_erasures: 0,
            erasures: 0,
        }
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.desk.geometry
    }

    /// The tail of the log.
    pub(crate) fn tail(&self) -> Tail {
        self.active.as_ref().map_or(Tail::default(), |active| active.tip.tail)
    }

    /// Bytes of the pieces of a record that is not complete.
    pub(crate) fn pending(&self) -> u32 {
        self.active.as_ref().filter(|_| self.pieces).map_or(0, |active| active.end.wrapping_sub(active.group))
    }

    // Room.

    /// Slots that hold nothing that counts.
    pub(crate) fn free(&self) -> u32 {
        self.slots.iter().filter(|&&index| index == FREE).count() as u32
    }

    /// Whether `len` bytes fit into a segment that keeps `live` others, beside OPEN, a STATE, and room for a further one.
    pub(crate) fn segment_takes(&self, live: u32, len: u32) -> bool {
        let geometry = self.geometry();
        let needed = u64::from(geometry.first_frame()) + 2 * u64::from(geometry.state_room()) + u64::from(live) + u64::from(len);
        needed <= u64::from(geometry.segment_bytes())
    }

    fn fits(&self, len: u32) -> bool {
        let geometry = self.geometry();
        self.active.as_ref().is_some_and(|active| {
            let physical = u64::from(active.end) + u64::from(len) + u64::from(geometry.state_room()) <= u64::from(geometry.segment_bytes());
            // Pieces that were given up count once a record stands behind them.
            let behind_tip = active.end.wrapping_sub(active.tip.at);
            !active.sealed && physical && self.segment_takes(active.live().saturating_add(behind_tip), len)
        })
    }

    /// Sees to it that a frame of `len` bytes fits.
    fn make_room(&mut self, len: u32) -> Result<()> {
        while !self.fits(len) {
            match self.advance(len) {
                Err(Fail { code: Code::NoSpace, .. }) if self.settings.overwrite && !self.pieces => {
                    self.forget_oldest()?;
                }
                result => result?,
            }
        }
        Ok(())
    }

    /// Bytes of frames that can be appended before the log is full, as far as one can tell.
    pub fn free_bytes(&self) -> u64 {
        let geometry = self.geometry();
        let per_segment = geometry.segment_bytes() - geometry.first_frame() - 2 * geometry.state_room();
        let rest = self.active.as_ref().map_or(0, |active| {
            let taken = u64::from(active.end) + u64::from(geometry.state_room());
            if active.sealed { 0 } else { u64::from(geometry.segment_bytes()).saturating_sub(taken) }
        });
        u64::from(self.free().saturating_sub(1)) * u64::from(per_segment) + rest
    }

    // Frames.

    /// Writes a frame for which there is room. What fails leaves a segment that nothing more is written to.
    fn write(&mut self, mut header: FrameHeader, body: &impl Pieces) -> core::result::Result<Written, Fault> {
        // Only called with room, which only an active segment has.
        let Some(active) = self.active.as_mut() else { return Err(Fault::BadBlock) };
        header.relative_seq = (active.tip.tail.seq + 1).wrapping_sub(active.open.first_seq) as u32;
        header.watermark = u64::from(active.safe.at);
        let written = self.desk.frame(&active.header, active.slot, active.end, &header, body);
        match written {
            Ok(written) => {
                active.end = written.next;
                active.vouched = true;
            }
            Err(_) => active.sealed = true,
        }
        written
    }

    /// Writes a frame, in another segment if this one fails.
    fn put(&mut self, header: FrameHeader, body: &impl Pieces) -> Result<Written> {
        let len = self.geometry().aligned(header.len() as u32);
        // As the last piece of a record needs a header's room.
        let need = if header.kind == Kind::First || header.kind == Kind::Middle {
            len + self.geometry().aligned(FRAME_HEADER_LEN as u32)
        } else {
            len
        };
        let mut attempts = self.slots.len();
        loop {
            self.make_room(need)?;
            match self.write(header, body) {
                Ok(written) => return Ok(written),
                Err(Fault::BadBlock) if attempts > 0 => attempts -= 1,
                Err(fault) => return Err(fault.into()),
            }
        }
    }

    /// Makes what was written count.
    pub(crate) fn count(&mut self, written: Written, records: u64, data: bool) {
        if let Some(active) = self.active.as_mut() {
            let tail = active.tip.tail.advanced(records, data);
            active.tip = Point { at: written.next, last_frame: written.at, last_crc: written.crc, tail };
        }
    }

    /// Everything appended is durable when this returns.
    pub fn sync(&mut self) -> Result<()> {
        let Some(active) = self.active.as_mut() else { return Ok(()) };
        if active.in_doubt {
            return self.advance(0);
        }
        if let Err(fault) = self.desk.sync() {
            active.sealed = true;
            active.in_doubt = true;
            return Err(fault.into());
        }
        if !active.sealed {
            active.safe = active.tip;
        }
        self.shown = active.tip.at;
        self.durable = active.tip.tail.seq;
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        if self.settings.sync_each { self.sync() } else { Ok(()) }
    }

    // Records.

    fn refuse_between_pieces(&self) -> Result<()> {
        if self.pieces { Err(Fail::new(Code::Misuse)) } else { Ok(()) }
    }

    fn check_op(op: u8) -> Result<()> {
        if op == OP_PUT || op == OP_DELETE || op >= OP_HOST_FIRST { Ok(()) } else { Err(Fail::new(Code::Invalid)) }
    }

    fn append_frame(&mut self, kind: Kind, payload: &impl Payload) -> Result<Seq> {
        self.refuse_between_pieces()?;
        let max = u64::from(self.geometry().max_payload());
        let len = payload.len().filter(|&len| len <= max).ok_or(Fail::new(Code::TooLarge))?;
        let written = self.put(payload::header_of(kind, payload, len), payload)?;
        self.count(written, payload.records(), true);
        self.settle()?;
        Ok(self.tail().seq)
    }

    /// Appends a record; its seq.
    pub fn append(&mut self, entry: Entry<'_>) -> Result<Seq> {
        Self::check_op(entry.op)?;
        if entry.key.len() > MAX_FRAME_KEY_LEN {
            return Err(Fail::new(Code::TooLarge));
        }
        self.append_frame(Kind::Record, &One(entry))
    }

    /// Appends several records, all or none; the last one's seq.
    pub fn append_batch<E: Entries + ?Sized>(&mut self, entries: &E) -> Result<Seq> {
        if entries.count() == 0 {
            return Err(Fail::new(Code::Invalid));
        }
        for index in 0..entries.count() {
            Self::check_op(entries.entry(index).op)?;
        }
        self.append_frame(Kind::Batch, &Batch(entries))
    }

    /// Begins a record that comes in pieces: `key_len` bytes of key, then the value.
    pub fn begin(&mut self, op: u8, key_len: u32) -> Result<()> {
        self.refuse_between_pieces()?;
        Self::check_op(op)?;
        if key_len as usize > MAX_FRAME_KEY_LEN {
            return Err(Fail::new(Code::TooLarge));
        }
        let header = FrameHeader { op, key_len: key_len as u16, ..payload::control_header(Kind::First, &[]) };
        let written = self.put(header, &Control(&[]))?;
        if let Some(active) = self.active.as_mut() {
            active.group = written.at;
        }
        self.pieces = true;
        self.key_left = key_len;
        Ok(())
    }

    /// Adds a piece.
    pub fn add(&mut self, piece: &[u8]) -> Result<()> {
        if !self.pieces {
            return Err(Fail::new(Code::Misuse));
        }
        let header_len = FRAME_HEADER_LEN as u32;
        let len = u32::try_from(frame_len(padded(piece.len() as u64))).unwrap_or(u32::MAX / 4).min(u32::MAX / 4);
        let whole = self.geometry().aligned(len).saturating_add(self.geometry().aligned(header_len)).saturating_add(self.pending());
        if !self.segment_takes(0, whole) {
            return Err(Fail::new(Code::TooLarge));
        }
        self.put(payload::control_header(Kind::Middle, piece), &Control(piece))?;
        self.key_left = self.key_left.saturating_sub(piece.len() as u32);
        Ok(())
    }

    /// Ends the record; its seq. Nothing of it counts before.
    pub fn end(&mut self) -> Result<Seq> {
        if !self.pieces || self.key_left > 0 {
            return Err(Fail::new(Code::Misuse));
        }
        let written = self.put(payload::control_header(Kind::Last, &[]), &Control(&[]))?;
        self.pieces = false;
        self.count(written, 1, true);
        self.settle()?;
        Ok(self.tail().seq)
    }

    /// Gives the record up: none of it was appended.
    pub fn cancel(&mut self) {
        self.pieces = false;
    }

    // The log's own.

    /// Appends a CHECKPOINT record, if there is room for one without the reserve.
    pub(crate) fn append_checkpoint(&mut self, value: &[u8]) -> Result<bool> {
        use wal_engine::format::constants::OP_CHECKPOINT;
        let header = FrameHeader { op: OP_CHECKPOINT, ..payload::control_header(Kind::Record, value) };
        let overwrite = core::mem::replace(&mut self.settings.overwrite, false);
        let put = self.put(header, &Control(value));
        self.settings.overwrite = overwrite;
        match put {
            Ok(written) => self.count(written, 1, false),
            Err(Fail { code: Code::NoSpace, .. }) => return Ok(false),
            Err(fail) => return Err(fail),
        }
        Ok(true)
    }

    /// Makes the state durable, in a STATE of this segment or with a segment that replaces it.
    pub(crate) fn put_state(&mut self) -> Result<()> {
        let len = self.geometry().state_room();
        let room = self
            .active
            .as_ref()
            .is_some_and(|active| !active.sealed && u64::from(active.end) + u64::from(len) <= u64::from(self.geometry().segment_bytes()));
        if room {
            let bytes = self.state.encode();
            let header = FrameHeader { op: OP_STATE, ..payload::control_header(Kind::First, &bytes) };
            match self.write(header, &Control(&bytes)) {
                Ok(written) => {
                    self.count(written, 0, false);
                    if let Some(active) = self.active.as_mut() {
                        active.state_bytes = active.state_bytes.wrapping_add(len);
                    }
                    return self.sync();
                }
                Err(Fault::BadBlock) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        self.advance(0)
    }
}
