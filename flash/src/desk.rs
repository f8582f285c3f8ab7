//! Where bytes are read and written: the chip, the window through which it is looked at, and the page in which units are put together.

use core::convert::Infallible;

use wal_engine::config::Offset;
use wal_engine::error::Code;
use wal_engine::format::checksum::Running;
use wal_engine::format::constants::{CHIP_HEADER_LEN, FRAME_ALIGN, FRAME_HEADER_LEN, SEGMENT_HEADER_LEN};
use wal_engine::format::flash::ChipHeader;
use wal_engine::format::frame::{FrameHeader, Kind, padded};
use wal_engine::format::segment_header::{BadHeader, SegmentHeader, Shape};
use wal_engine::segment::payload::Pieces;
use wal_engine::segment::scan::{self, Frame, Walk};
use wal_engine::seq::Seq;

use crate::body::Body;
use crate::chip::{Chip, Fault, Geometry};
use crate::fail::{Detail, Halt, Miss, Result};
use crate::trail::Trail;

/// What is compared at once.
const CHUNK: usize = 32;

/// The order is that of use: what stands in front is reached with shorter instructions.
#[repr(C)]
pub(crate) struct Desk<'m, C> {
    pub(crate) geometry: Geometry,
    /// What is common to all segments; the seed is that of index 0.
    pub(crate) common: Shape,
    window: &'m mut [u8],
    /// What the window holds: from here,
    held: u32,
    /// so many bytes.
    held_len: u32,
    page: &'m mut [u8],
    /// Bytes in the page.
    filled: usize,
    /// Where the page goes.
    target: u32,
    /// Whether the driver failed to read, which nobody has been told yet.
    trouble: bool,
    /// Whether what was programmed is read back.
    verify: bool,
    /// The frame that was found last.
    pub(crate) frame: Frame,
    /// Where the walk through a segment is.
    pub(crate) trail: Trail,
    /// About the last failure.
    pub(crate) detail: Detail,
    chip: C,
}

/// A segment as a scan sees it. What cannot be read is not there; whether that is the driver's fault is for `calm` to say.
struct Segment<'d, 'm, C> {
    desk: &'d mut Desk<'m, C>,
    /// Where it begins.
    base: u32,
}

impl<C: Chip> scan::View for Segment<'_, '_, C> {
    type Error = Infallible;

    #[inline(never)]
    fn bytes(&mut self, offset: Offset, len: usize) -> core::result::Result<Option<&[u8]>, Infallible> {
        Ok(self.desk.bytes(self.base + offset, len))
    }

    fn checksum(&mut self, offset: Offset, len: Offset) -> core::result::Result<Option<u32>, Infallible> {
        let mut running = Running::new();
        let (mut at, end) = (self.base + offset, self.base + offset + len);
        while at < end {
            let len = (end - at).min(self.desk.window.len() as u32);
            match self.desk.bytes(at, len as usize) {
                Some(bytes) => running.update(bytes),
                None => return Ok(None),
            }
            at += len;
        }
        Ok(Some(running.finish()))
    }
}

impl<'m, C: Chip> Desk<'m, C> {
    /// `page` is a multiple of the chip's unit, and of 8; `window` takes each of the log's own structures.
    pub(crate) fn new(chip: C, geometry: Geometry, seed_base: u32, verify: bool, page: &'m mut [u8], window: &'m mut [u8]) -> Desk<'m, C> {
        let header = FrameHeader { payload_crc: 0, payload_len: 0, relative_seq: 0, watermark: 0, key_len: 0, op: 0, kind: Kind::Record };
        let common =
            Shape { seed: seed_base, capacity: geometry.segment_bytes(), data_start: geometry.data_start(), write_unit: geometry.unit };
        Desk {
            geometry,
            common,
            window,
            held: 0,
            held_len: 0,
            page,
            filled: 0,
            target: 0,
            trouble: false,
            verify,
            frame: Frame { offset: 0, header, crc: 0, records: 0 },
            trail: Trail::default(),
            detail: Detail::default(),
            chip,
        }
    }

    /// Where a byte of a segment stands on the chip.
    pub(crate) fn place(&self, slot: u32, offset: u32) -> u32 {
        slot * self.common.capacity + offset
    }

    // Failures.

    /// Notes where something is wrong.
    #[inline(never)]
    pub(crate) fn fail(&mut self, code: Code, slot: u32, offset: u32) -> Code {
        self.detail.offset = self.place(slot, offset);
        code
    }

    /// Damage, which concerns records from `seq` on.
    pub(crate) fn damage(&mut self, slot: u32, offset: u32, seq: Seq) -> Code {
        self.detail.seq = seq;
        self.fail(Code::Corrupt, slot, offset)
    }

    /// The chip did not write.
    fn halt(&mut self, fault: Fault) -> Halt {
        match fault {
            Fault::BadBlock => Halt::Worn,
            fault => self.io(fault).into(),
        }
    }

    fn io(&mut self, fault: Fault) -> Code {
        if let Fault::Driver(number) = fault {
            self.detail.driver = number;
        }
        Code::Io
    }

    // Reading.

    /// The bytes at a place of the chip, at most as many as the window holds; `None` if they cannot be read.
    #[inline(never)]
    pub(crate) fn bytes(&mut self, place: u32, len: usize) -> Option<&[u8]> {
        if place < self.held || place + len as u32 > self.held + self.held_len {
            // As much as there is room for. What can be read must not suffer from its neighbour.
            let most = (self.geometry.whole() - place).min(self.window.len() as u32);
            if !self.fill(place, most) && !self.fill(place, len as u32) {
                return None;
            }
        }
        let from = (place - self.held) as usize;
        self.window.get(from..from + len)
    }

    #[inline(never)]
    fn fill(&mut self, place: u32, len: u32) -> bool {
        self.held = place;
        self.held_len = 0;
        match self.chip.read(place, self.window.get_mut(..len as usize).unwrap_or_default()) {
            Ok(()) => self.held_len = len,
            Err(Fault::Driver(number)) => {
                self.trouble = true;
                self.detail.driver = number;
            }
            Err(_) => {}
        }
        self.held_len > 0
    }

    /// Whether the driver could be asked: nothing may be concluded before this has been.
    #[inline(never)]
    pub(crate) fn calm(&mut self) -> Result<()> {
        if core::mem::take(&mut self.trouble) { Err(Code::Io) } else { Ok(()) }
    }

    /// What stands there was read before: if it cannot be read now, that is damage.
    fn unreadable(&mut self, place: u32, fault: Fault) -> Code {
        self.detail.offset = place;
        if let Fault::Driver(_) = fault { self.io(fault) } else { Code::Corrupt }
    }

    /// Reads a record's bytes for the host.
    pub(crate) fn hand_out(&mut self, slot: u32, offset: u32, out: &mut [u8]) -> Result<()> {
        let place = self.place(slot, offset);
        self.chip.read(place, out).map_err(|fault| self.unreadable(place, fault))
    }

    /// What the frames of the segment with this index need to know.
    pub(crate) fn shape(&self, index: u32) -> Shape {
        Shape { seed: SegmentHeader::seed(self.common.seed, index), ..self.common }
    }

    /// Bytes that a frame with this header takes.
    #[inline(never)]
    pub(crate) fn room_of(&self, header: &FrameHeader) -> u32 {
        self.common.next_frame(header.len())
    }

    /// Finds the next frame of a walk through a segment.
    #[inline(never)]
    pub(crate) fn step(&mut self, slot: u32, walk: &mut Walk) -> core::result::Result<(), Miss> {
        let base = self.place(slot, 0);
        let Ok(found) = walk.next(&mut Segment { desk: self, base });
        self.calm()?;
        self.frame = found.map_err(|_| Miss::None)?;
        Ok(())
    }

    /// The highest watermark among the headers behind `from`.
    #[inline(never)]
    pub(crate) fn watermark_behind(&mut self, slot: u32, index: u32, from: u32, relative: u32) -> Result<u32> {
        let (base, shape) = (self.place(slot, 0), self.shape(index));
        let Ok(mark) = scan::watermark_behind(&mut Segment { desk: self, base }, shape, from, relative);
        self.calm()?;
        Ok(mark)
    }

    /// A segment's headers, which must be those of a log of this shape.
    #[inline(never)]
    pub(crate) fn headers(&mut self, slot: u32) -> core::result::Result<(SegmentHeader, ChipHeader), Miss> {
        let found = self.bytes(self.place(slot, 0), SEGMENT_HEADER_LEN + CHIP_HEADER_LEN);
        let chip = found.and_then(|bytes| bytes.last_chunk()).and_then(ChipHeader::decode);
        let header = found.map_or(Err(BadHeader::Damaged), SegmentHeader::decode);
        self.calm()?;
        let (Ok(header), Some(chip)) = (header, chip) else {
            return Err(if chip.is_some() && header == Err(BadHeader::Newer) {
                self.fail(Code::Format, slot, 0).into()
            } else {
                Miss::None
            });
        };
        let (shape, geometry) = (&self.common, &self.geometry);
        let agrees = header.capacity == shape.capacity
            && header.write_unit == shape.write_unit
            && header.data_start == shape.data_start
            && (chip.block_bytes, chip.blocks, chip.slot, chip.erased) == (geometry.block_bytes, geometry.blocks, slot, geometry.erased);
        if agrees { Ok((header, chip)) } else { Err(self.fail(Code::Invalid, slot, 0).into()) }
    }

    /// Finds the frame at `offset`, whose header is valid by itself.
    #[inline(never)]
    pub(crate) fn frame_at(&mut self, slot: u32, index: u32, offset: u32) -> core::result::Result<(), Miss> {
        let shape = self.shape(index);
        if offset > shape.capacity - FRAME_HEADER_LEN as u32 {
            return Err(Miss::None);
        }
        let found = self.bytes(self.place(slot, offset), FRAME_HEADER_LEN).and_then(|bytes| {
            let header = FrameHeader::decode(shape.seed, shape.capacity, offset, bytes)?;
            Some(Frame { offset, header, crc: FrameHeader::stored_crc(bytes), records: 0 })
        });
        self.calm()?;
        self.frame = found.ok_or(Miss::None)?;
        Ok(())
    }

    // Writing.

    #[inline(never)]
    pub(crate) fn sync(&mut self) -> core::result::Result<(), Halt> {
        self.chip.sync().map_err(|fault| self.halt(fault))
    }

    pub(crate) fn erase(&mut self, slot: u32, block: u32) -> core::result::Result<(), Halt> {
        self.held_len = 0;
        self.chip.erase(slot.wrapping_mul(self.geometry.segment_blocks).wrapping_add(block)).map_err(|fault| self.halt(fault))
    }

    /// Begins to write at `offset`, which is a multiple of the unit.
    pub(crate) fn aim(&mut self, slot: u32, offset: u32) {
        self.filled = 0;
        self.target = self.place(slot, offset);
    }

    #[inline(never)]
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> core::result::Result<(), Halt> {
        while !bytes.is_empty() {
            let room = self.page.get_mut(self.filled..).unwrap_or_default();
            let len = room.len().min(bytes.len());
            for (to, from) in room.iter_mut().zip(bytes) {
                *to = *from;
            }
            bytes = bytes.get(len..).unwrap_or_default();
            self.filled += len;
            self.program_full()?;
        }
        Ok(())
    }

    /// Programs the page if it is full.
    #[inline(never)]
    fn program_full(&mut self) -> core::result::Result<(), Halt> {
        if self.filled >= self.page.len() { self.program() } else { Ok(()) }
    }

    /// Writes the rest of what was pushed, padded to whole units with what costs nothing to write.
    #[inline(never)]
    pub(crate) fn finish(&mut self) -> core::result::Result<(), Halt> {
        let end = self.common.next_frame(self.filled as u32) as usize;
        for byte in self.page.get_mut(self.filled..end).unwrap_or_default() {
            *byte = self.geometry.erased;
        }
        self.filled = end;
        if end > 0 { self.program() } else { Ok(()) }
    }

    #[inline(never)]
    fn program(&mut self) -> core::result::Result<(), Halt> {
        self.held_len = 0;
        let bytes = self.page.get(..self.filled).unwrap_or_default();
        let mut at = self.target;
        self.filled = 0;
        self.target = at + bytes.len() as u32;
        let programmed = self.chip.program(at, bytes);
        if let Err(fault) = programmed {
            return Err(self.halt(fault));
        }
        if self.verify {
            let mut found = [0; CHUNK];
            for wanted in bytes.chunks(CHUNK) {
                let found = found.get_mut(..wanted.len()).unwrap_or_default();
                if self.chip.read(at, found).is_err() || found != wanted {
                    return Err(Halt::Worn);
                }
                at += CHUNK as u32;
            }
        }
        Ok(())
    }

    /// Writes the header of a frame; its checksum.
    #[inline(never)]
    fn begin(&mut self, index: u32, slot: u32, at: u32, header: &FrameHeader) -> core::result::Result<u32, Halt> {
        let mut bytes = [0; FRAME_HEADER_LEN];
        let crc = header.encode(SegmentHeader::seed(self.common.seed, index), at, &mut bytes);
        self.aim(slot, at);
        self.push(&bytes)?;
        Ok(crc)
    }

    /// Writes a frame. `header` is complete. Returns its checksum.
    #[inline(never)]
    pub(crate) fn frame(
        &mut self,
        index: u32,
        slot: u32,
        at: u32,
        header: &FrameHeader,
        body: &Body<'_>,
    ) -> core::result::Result<u32, Halt> {
        let crc = self.begin(index, slot, at, header)?;
        let mut result = Ok(());
        body.visit(&mut |piece| {
            if result.is_ok() {
                result = self.push(piece);
            }
        });
        result?;
        let padding = padded(header.payload_len) - header.payload_len;
        self.push([0; FRAME_ALIGN].get(..padding as usize).unwrap_or_default())?;
        self.finish()?;
        Ok(crc)
    }

    /// Writes a frame with the payload of the frame that was found last, in the slot `from`.
    #[inline(never)]
    pub(crate) fn copy(&mut self, from: u32, index: u32, slot: u32, at: u32, header: &FrameHeader) -> core::result::Result<u32, Halt> {
        let crc = self.begin(index, slot, at, header)?;
        let mut place = self.place(from, self.frame.payload());
        let end = place + padded(header.payload_len);
        let mut running = Running::new();
        while place < end {
            let room = self.page.get_mut(self.filled..).unwrap_or_default();
            let len = room.len().min((end - place) as usize);
            let piece = room.get_mut(..len).unwrap_or_default();
            let read = self.chip.read(place, piece);
            running.update(piece);
            if let Err(fault) = read {
                return Err(self.unreadable(place, fault).into());
            }
            place += len as u32;
            self.filled += len;
            self.program_full()?;
        }
        if running.finish() != header.payload_crc {
            // It was right a moment ago.
            return Err(self.damage(from, self.frame.offset, 0).into());
        }
        self.finish()?;
        Ok(crc)
    }
}
