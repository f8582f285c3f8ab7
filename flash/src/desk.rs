//! Where bytes are read and written: the chip, the window through which it is looked at, and the page in which units are put together.

use core::cell::Cell;

use wal_engine::error::Code;
use wal_engine::format::constants::{CHIP_HEADER_LEN, FRAME_ALIGN, FRAME_HEADER_LEN, OPEN_PAYLOAD_LEN, SEGMENT_HEADER_LEN};
use wal_engine::format::control::Open;
use wal_engine::format::flash::ChipHeader;
use wal_engine::format::frame::{FrameHeader, Kind, padded};
use wal_engine::format::segment_header::{BadHeader, SegmentHeader};
use wal_engine::segment::payload::Pieces;
use wal_engine::segment::scan::{self, Frame, Stop, Walk, Window};
use wal_engine::storage::{IoError, IoKind, ReadAt};

use crate::chip::{Chip, Fault, Geometry};
use crate::fail::{Fail, Result};

/// What is copied, or compared, at once.
const CHUNK: usize = 32;

/// A segment as a scan reads it. What cannot be read, reads as zeros and is remembered.
struct Slot<'a, C> {
    chip: &'a C,
    geometry: &'a Geometry,
    base: u32,
    unreadable: Cell<bool>,
}

impl<C: Chip> ReadAt for Slot<'_, C> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> core::result::Result<usize, IoError> {
        let rest = u64::from(self.geometry.segment_bytes()).saturating_sub(offset);
        let len = rest.min(buf.len() as u64) as usize;
        let buf = buf.get_mut(..len).unwrap_or_default();
        let base = self.base.wrapping_add(offset as u32);
        match self.chip.read(base, buf) {
            Err(Fault::Driver(os_error)) => return Err(IoError { kind: IoKind::Other, os_error }),
            Err(_) => {
                self.unreadable.set(true);
                // Unit by unit: what can be read must not suffer from its neighbour.
                let unit = self.geometry.align();
                let (mut at, mut rest) = (base, buf);
                while !rest.is_empty() {
                    let to_edge = ((unit - (at & (unit - 1))) as usize).min(rest.len());
                    let Some((piece, later)) = rest.split_at_mut_checked(to_edge) else { break };
                    match self.chip.read(at, piece) {
                        Ok(()) => {}
                        Err(Fault::Driver(os_error)) => return Err(IoError { kind: IoKind::Other, os_error }),
                        Err(_) => piece.fill(0),
                    }
                    at = at.wrapping_add(piece.len() as u32);
                    rest = later;
                }
            }
            Ok(()) => {}
        }
        Ok(len)
    }
}

/// What the window holds.
#[derive(Clone, Copy, Default)]
struct Held {
    slot: u32,
    start: u64,
    len: usize,
    /// Whether something in this segment could not be read lately.
    unreadable: bool,
}

pub(crate) struct Desk<'m, C> {
    chip: C,
    pub(crate) geometry: Geometry,
    /// Whether what was programmed is read back.
    verify: bool,
    window: &'m mut [u8],
    held: Held,
    page: &'m mut [u8],
    /// Bytes in the page.
    filled: usize,
    /// Where the page goes.
    target: u32,
}

/// A frame as it was written.
#[derive(Clone, Copy)]
pub(crate) struct Written {
    pub(crate) at: u32,
    pub(crate) crc: u32,
    /// Where the next one goes.
    pub(crate) next: u32,
}

impl<'m, C: Chip> Desk<'m, C> {
    /// `page` is a multiple of the chip's unit, and of 8.
    pub(crate) fn new(chip: C, geometry: Geometry, verify: bool, page: &'m mut [u8], window: &'m mut [u8]) -> Desk<'m, C> {
        Desk { chip, geometry, verify, window, held: Held::default(), page, filled: 0, target: 0 }
    }

    /// Where a byte of a segment stands on the chip.
    pub(crate) fn place(&self, slot: u32, offset: u32) -> u32 {
        slot.wrapping_mul(self.geometry.segment_bytes()).wrapping_add(offset)
    }

    fn io(&self, error: IoError, slot: u32, offset: u32) -> Fail {
        Fail { driver: error.os_error, ..Fail::new(Code::Io) }.at(self.place(slot, offset))
    }

    // Reading.

    #[inline(never)]
    fn look<T>(
        &mut self,
        slot: u32,
        offset: u32,
        what: impl FnOnce(&mut Window<'_, Slot<'_, C>>) -> core::result::Result<T, IoError>,
    ) -> Result<T> {
        let held = if self.held.slot == slot { self.held } else { Held::default() };
        let unreadable = Cell::new(held.unreadable);
        let file = Slot { chip: &self.chip, geometry: &self.geometry, base: self.place(slot, 0), unreadable };
        let mut window = Window::resume(&file, self.window, (held.start, held.len));
        let result = what(&mut window);
        let (start, len) = window.held();
        self.held = Held { slot, start, len, unreadable: file.unreadable.get() };
        result.map_err(|error| self.io(error, slot, offset))
    }

    /// The next frame of a walk through a segment.
    #[inline(never)]
    pub(crate) fn step(&mut self, slot: u32, walk: &mut Walk) -> Result<core::result::Result<Frame, Stop>> {
        let offset = walk.offset() as u32;
        let before = walk.clone();
        let step = self.look(slot, offset, |window| walk.next(window))?;
        if let Ok(frame) = &step
            && self.held.unreadable
            && !self.is_readable(slot, offset, frame.end() as u32)?
        {
            // Zeros had the right checksum.
            *walk = before;
            return Ok(Err(Stop::BadPayload(frame.header)));
        }
        Ok(step)
    }

    fn is_readable(&mut self, slot: u32, from: u32, to: u32) -> Result<bool> {
        let mut piece = [0; CHUNK];
        let mut at = from;
        while at < to {
            let piece = piece.get_mut(..CHUNK.min((to - at) as usize)).unwrap_or_default();
            match self.hand_out(slot, at, piece) {
                Ok(()) => {}
                Err(Fail { code: Code::Corrupt, .. }) => return Ok(false),
                Err(fail) => return Err(fail),
            }
            at = at.wrapping_add(CHUNK as u32);
        }
        Ok(true)
    }

    /// What stands behind `from`: the highest watermark among the headers there.
    #[inline(never)]
    pub(crate) fn vouched_behind(&mut self, slot: u32, header: &SegmentHeader, from: u32, relative: u32) -> Result<u64> {
        self.look(slot, from, |window| scan::behind(window, header, u64::from(from), relative)).map(|behind| behind.watermark)
    }

    /// Copies bytes of a segment out, at most as many as the window holds.
    pub(crate) fn fetch(&mut self, slot: u32, offset: u32, out: &mut [u8]) -> Result<()> {
        let mut at = offset;
        for piece in out.chunks_mut(CHUNK) {
            self.fetch_piece(slot, at, piece)?;
            at = at.wrapping_add(piece.len() as u32);
        }
        Ok(())
    }

    /// Reads a record's bytes for the host: what cannot be read is damage here.
    pub(crate) fn hand_out(&mut self, slot: u32, offset: u32, out: &mut [u8]) -> Result<()> {
        let place = self.place(slot, offset);
        self.chip.read(place, out).map_err(|fault| match fault {
            Fault::Driver(_) => Fail::from(fault).at(place),
            Fault::Unreadable | Fault::BadBlock => Fail::damage(place, 0),
        })
    }

    #[inline(never)]
    fn fetch_piece(&mut self, slot: u32, offset: u32, out: &mut [u8]) -> Result<()> {
        let place = self.place(slot, offset);
        self.look(slot, offset, |window| {
            let bytes = window.bytes(u64::from(offset), out.len())?.unwrap_or_default();
            for (to, from) in out.iter_mut().zip(bytes) {
                *to = *from;
            }
            Ok(bytes.len() == out.len())
        })?
        .then_some(())
        .ok_or(Fail::damage(place, 0))
    }

    /// A segment's headers; `None` if nothing valid stands there.
    pub(crate) fn headers(&mut self, slot: u32) -> Result<Option<(SegmentHeader, ChipHeader)>> {
        let mut segment = [0; SEGMENT_HEADER_LEN];
        let mut chip = [0; CHIP_HEADER_LEN];
        self.fetch(slot, 0, &mut segment)?;
        self.fetch(slot, SEGMENT_HEADER_LEN as u32, &mut chip)?;
        match SegmentHeader::decode(&segment) {
            Ok(header) => Ok(ChipHeader::decode(&chip).map(|chip| (header, chip))),
            Err(BadHeader::Damaged) => Ok(None),
            Err(BadHeader::Newer) => Err(Fail::new(Code::Format).at(self.place(slot, 0))),
        }
    }

    /// A segment's OPEN and the frame that it stands in; `None` if it is bad.
    pub(crate) fn open(&mut self, slot: u32, header: &SegmentHeader) -> Result<Option<(Open, Frame)>> {
        match self.first_step(slot, header)? {
            Some(frame) => Ok(self.open_payload(slot, frame.payload() as u32)?.map(|open| (open, frame))),
            None => Ok(None),
        }
    }

    #[inline(never)]
    fn first_step(&mut self, slot: u32, header: &SegmentHeader) -> Result<Option<Frame>> {
        let mut walk = Walk::new(*header);
        Ok(self.step(slot, &mut walk)?.ok())
    }

    #[inline(never)]
    fn open_payload(&mut self, slot: u32, at: u32) -> Result<Option<Open>> {
        let mut payload = [0; OPEN_PAYLOAD_LEN];
        self.fetch(slot, at, &mut payload)?;
        Ok(Open::decode(&payload))
    }

    /// The header of the frame at `offset` if it is valid by itself, and its checksum.
    pub(crate) fn frame_header(&mut self, slot: u32, header: &SegmentHeader, offset: u32) -> Result<Option<(FrameHeader, u32)>> {
        if u64::from(offset) + FRAME_HEADER_LEN as u64 > header.capacity {
            return Ok(None);
        }
        let mut bytes = [0; FRAME_HEADER_LEN];
        self.fetch(slot, offset, &mut bytes)?;
        let decoded = FrameHeader::decode(header.seed, header.capacity, u64::from(offset), &bytes);
        Ok(decoded.map(|decoded| (decoded, FrameHeader::stored_crc(&bytes))))
    }

    // Writing.

    pub(crate) fn sync(&mut self) -> core::result::Result<(), Fault> {
        self.chip.sync()
    }

    pub(crate) fn erase(&mut self, slot: u32, block: u32) -> core::result::Result<(), Fault> {
        self.held = Held::default();
        self.chip.erase(slot.wrapping_mul(self.geometry.segment_blocks).wrapping_add(block))
    }

    /// Begins to write at `offset`, which is a multiple of the unit.
    pub(crate) fn aim(&mut self, slot: u32, offset: u32) {
        self.filled = 0;
        self.target = self.place(slot, offset);
    }

    #[inline(never)]
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> core::result::Result<(), Fault> {
        while !bytes.is_empty() {
            let room = self.page.get_mut(self.filled..).unwrap_or_default();
            let len = room.len().min(bytes.len());
            for (to, from) in room.iter_mut().zip(bytes) {
                *to = *from;
            }
            self.filled += len;
            bytes = bytes.get(len..).unwrap_or_default();
            if self.filled >= self.page.len() {
                self.program()?;
            }
        }
        Ok(())
    }

    /// Writes the rest of what was pushed, padded to whole units with what costs nothing to write.
    pub(crate) fn finish(&mut self) -> core::result::Result<(), Fault> {
        let end = (self.geometry.aligned(self.filled as u32) as usize).min(self.page.len());
        self.page.get_mut(self.filled..end).unwrap_or_default().fill(self.geometry.erased);
        self.filled = end;
        if end > 0 { self.program() } else { Ok(()) }
    }

    #[inline(never)]
    fn program(&mut self) -> core::result::Result<(), Fault> {
        self.held = Held::default();
        let bytes = self.page.get(..self.filled).unwrap_or_default();
        let target = self.target;
        self.filled = 0;
        self.target = target.wrapping_add(bytes.len() as u32);
        self.chip.program(target, bytes)?;
        if self.verify {
            let mut at = target;
            let mut found = [0; CHUNK];
            for wanted in bytes.chunks(CHUNK) {
                let found = found.get_mut(..wanted.len()).unwrap_or_default();
                self.chip.read(at, found).map_err(|_| Fault::BadBlock)?;
                if !found.iter().eq(wanted) {
                    return Err(Fault::BadBlock);
                }
                at = at.wrapping_add(CHUNK as u32);
            }
        }
        Ok(())
    }

    /// Writes a frame. `header` is complete.
    pub(crate) fn frame(
        &mut self,
        segment: &SegmentHeader,
        slot: u32,
        at: u32,
        header: &FrameHeader,
        body: &impl Pieces,
    ) -> core::result::Result<Written, Fault> {
        let mut bytes = [0; FRAME_HEADER_LEN];
        let crc = header.encode(segment.seed, u64::from(at), &mut bytes);
        self.aim(slot, at);
        let mut result = self.push(&bytes);
        body.visit(&mut |piece| {
            if result.is_ok() {
                result = self.push(piece);
            }
        });
        result?;
        self.pad(header)?;
        Ok(Written { at, crc, next: at.wrapping_add(self.geometry.aligned(header.len() as u32)) })
    }

    fn pad(&mut self, header: &FrameHeader) -> core::result::Result<(), Fault> {
        let padding = (padded(u64::from(header.payload_len)) - u64::from(header.payload_len)) as usize;
        self.push([0; FRAME_ALIGN].get(..padding).unwrap_or_default())?;
        self.finish()
    }

    /// Copies the payload of a frame in `from` behind the header `header`, which goes to `at` of another segment.
    pub(crate) fn copy(
        &mut self,
        from: (u32, &Frame),
        segment: &SegmentHeader,
        slot: u32,
        at: u32,
        header: &FrameHeader,
    ) -> Result<core::result::Result<Written, Fault>> {
        let mut bytes = [0; FRAME_HEADER_LEN];
        let crc = header.encode(segment.seed, u64::from(at), &mut bytes);
        self.aim(slot, at);
        let mut result = self.push(&bytes);
        let (mut offset, mut left) = (from.1.payload() as u32, padded(u64::from(header.payload_len)) as u32);
        let mut running = wal_engine::format::checksum::Running::new();
        while left > 0 && result.is_ok() {
            let mut chunk = [0; CHUNK];
            let piece = chunk.get_mut(..CHUNK.min(left as usize)).unwrap_or_default();
            self.fetch_piece(from.0, offset, piece)?;
            running.update(piece);
            offset = offset.wrapping_add(piece.len() as u32);
            left -= piece.len() as u32;
            result = self.push(piece);
        }
        let done = result.and_then(|()| self.finish());
        if done.is_ok() && running.finish() != header.payload_crc {
            // It was right a moment ago.
            return Err(Fail::damage(self.place(from.0, from.1.offset as u32), 0));
        }
        Ok(done.map(|()| Written { at, crc, next: at.wrapping_add(self.geometry.aligned(header.len() as u32)) }))
    }
}

/// Whether a record, or what is none, is complete behind this frame.
pub(crate) fn is_boundary(header: &FrameHeader) -> bool {
    is_state(header) || !matches!(header.kind, Kind::First | Kind::Middle)
}

/// Whether it is a STATE.
pub(crate) fn is_state(header: &FrameHeader) -> bool {
    use wal_engine::format::constants::{OP_STATE, STATE_PAYLOAD_LEN};
    header.kind == Kind::First && header.op == OP_STATE && header.payload_len == STATE_PAYLOAD_LEN as u32
}
