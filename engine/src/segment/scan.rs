//! Where does the data of a segment end, and what stands behind it? Needs neither std nor an allocator: the caller brings the buffer.

use core::ops::Range;

use crate::config::Offset;
use crate::format::batch::{self, BatchEntry};
use crate::format::checksum;
use crate::format::constants::{
    BATCH_COUNT_LEN, BATCH_ENTRY_LEN, CHECKPOINT_VALUE_LEN, END_PAYLOAD_LEN, FRAME_ALIGN, FRAME_HEADER_LEN, OPEN_PAYLOAD_LEN,
};
use crate::format::control::{End, Open};
use crate::format::frame::{FrameHeader, Kind, padded, payload_crc};
use crate::format::segment_header::{SegmentHeader, Shape};
use crate::seq::Tail;
use crate::storage::{IoError, ReadAt};

/// The smallest buffer with which a scan of files is quick, in bytes. Firmware has less.
pub const MIN_WINDOW_BYTES: usize = 4096;
/// The most that is read at once.
const READ_BYTES: usize = 1 << 20;
/// What is moved within a buffer rather than using more of it.
const CHEAP_TO_MOVE: usize = 64 << 10;
/// As much of a frame as a search looks at in one piece: a header, and the payload of an END.
const SEARCHED_BYTES: usize = FRAME_HEADER_LEN + END_PAYLOAD_LEN;

/// A piece of a file in the caller's buffer. What a walk checked and what its caller copies afterwards are the same bytes as long as they fit
/// into the buffer together.
pub struct Window<'a, F: ReadAt> {
    file: &'a F,
    buffer: &'a mut [u8],
    start: Offset,
    len: usize,
    /// Bytes from here on stay in the buffer while later ones are read, as long as there is room; `Offset::MAX` if none need to.
    keep_from: Offset,
    bytes_read: u64,
}

impl<'a, F: ReadAt> Window<'a, F> {
    /// A window over `file`; `buffer` holds at least the payload of an OPEN. From `MIN_WINDOW_BYTES` on it reads in good pieces.
    pub fn new(file: &'a F, buffer: &'a mut [u8]) -> Window<'a, F> {
        debug_assert!(buffer.len() >= OPEN_PAYLOAD_LEN);
        Window { file, buffer, start: 0, len: 0, keep_from: Offset::MAX, bytes_read: 0 }
    }

    /// The same over a buffer that holds `held` of the file already, as another window's `held` said.
    pub fn resume(file: &'a F, buffer: &'a mut [u8], held: (Offset, usize)) -> Window<'a, F> {
        Window { start: held.0, len: held.1, ..Window::new(file, buffer) }
    }

    /// From now on keeps what it holds from `offset` on, so that it is read once. Given up when the buffer has no room for that.
    pub fn keep(&mut self, offset: Offset) {
        self.keep_from = offset;
    }

    /// Whether it keeps anything.
    pub fn keeps(&self) -> bool {
        self.keep_from != Offset::MAX
    }

    /// The file that it looks at.
    pub fn file(&self) -> &'a F {
        self.file
    }

    /// Offset and length of what the buffer holds.
    pub fn held(&self) -> (Offset, usize) {
        (self.start, self.len)
    }

    /// The bytes at `offset`, which are at most as many as the buffer holds; `None` where the file ends before.
    #[inline]
    pub fn bytes(&mut self, offset: Offset, len: usize) -> Result<Option<&[u8]>, IoError> {
        debug_assert!(len <= self.buffer.len());
        let end = offset + len as Offset;
        if offset < self.start || end > self.start + self.len as Offset {
            self.fill(offset, len)?;
        }
        let from = (offset - self.start) as usize;
        Ok(self.buffer.get(..self.len).and_then(|held| held.get(from..from + len)))
    }

    /// The bytes at `offset`, as many as there are up to `len`, which is at most what the buffer holds.
    pub fn up_to(&mut self, offset: Offset, len: usize) -> Result<&[u8], IoError> {
        if self.bytes(offset, len)?.is_some() {
            let from = (offset - self.start) as usize;
            return Ok(self.buffer.get(from..from + len).unwrap_or_default());
        }
        // The file ends before.
        let from = (offset - self.start) as usize;
        Ok(self.buffer.get(..self.len).and_then(|held| held.get(from..)).unwrap_or_default())
    }

    #[cold]
    fn fill(&mut self, offset: Offset, len: usize) -> Result<(), IoError> {
        let held_end = self.start + self.len as Offset;
        if self.keep_from <= offset && self.keep_from >= self.start && offset <= held_end {
            let kept = (held_end - self.keep_from) as usize;
            let needed = (offset - self.keep_from) as usize + len;
            // Moving little is cheaper than touching memory that was not touched yet; moving much is done only for want of room.
            if kept <= CHEAP_TO_MOVE || self.len + READ_BYTES.max(needed) > self.buffer.len() {
                let from = (self.keep_from - self.start) as usize;
                if let Some(held) = self.buffer.get_mut(..self.len)
                    && from <= held.len()
                {
                    held.copy_within(from.., 0);
                }
                self.start = self.keep_from;
                self.len = kept;
            }
            // With little room left, reading would go in crumbs.
            let room = self.buffer.len() - self.len;
            if (offset - self.start) as usize + len <= self.buffer.len() && room >= READ_BYTES.min(self.buffer.len() / 8) {
                return self.read_to(offset + len as Offset);
            }
        }
        if self.keep_from < offset {
            self.keep_from = Offset::MAX;
        }
        self.start = offset;
        self.len = 0;
        self.read_to(offset + len as Offset)
    }

    /// Reads on behind the held bytes, to `end` at least, unless the file ends before.
    fn read_to(&mut self, end: Offset) -> Result<(), IoError> {
        loop {
            let held_end = self.start + self.len as Offset;
            let room = self.buffer.get_mut(self.len..).unwrap_or_default();
            let len = room.len().min(READ_BYTES);
            let more = self.file.read_at(held_end, room.get_mut(..len).unwrap_or_default())?;
            self.len += more;
            self.bytes_read += more as u64;
            if more == 0 || self.start + self.len as Offset >= end {
                return Ok(());
            }
        }
    }

    /// The checksum of a range of any length; `None` where the file ends before.
    pub fn checksum(&mut self, offset: Offset, len: Offset) -> Result<Option<u32>, IoError> {
        let mut running = checksum::Running::new();
        let mut at = offset;
        let end = offset + len;
        while at < end {
            // Whole small frames in one piece, long ones by what the buffer holds.
            let piece = (end - at).min(self.buffer.len() as Offset) as usize;
            match self.bytes(at, piece)? {
                Some(bytes) => running.update(bytes),
                None => return Ok(None),
            }
            at += piece as Offset;
        }
        Ok(Some(running.finish()))
    }

    /// How many bytes came from the file so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }
}

/// A segment as a walk through its frames sees it.
pub trait View {
    /// Why it cannot be seen.
    type Error;
    /// The bytes at `offset`, at most as many as a header or a payload of the log's own has; `None` if they are not there.
    fn bytes(&mut self, offset: Offset, len: usize) -> Result<Option<&[u8]>, Self::Error>;
    /// The checksum of a range of any length; `None` if its bytes are not there.
    fn checksum(&mut self, offset: Offset, len: Offset) -> Result<Option<u32>, Self::Error>;
}

impl<F: ReadAt> View for Window<'_, F> {
    type Error = IoError;

    #[inline]
    fn bytes(&mut self, offset: Offset, len: usize) -> Result<Option<&[u8]>, IoError> {
        Window::bytes(self, offset, len)
    }

    #[inline]
    fn checksum(&mut self, offset: Offset, len: Offset) -> Result<Option<u32>, IoError> {
        Window::checksum(self, offset, len)
    }
}

/// A valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it starts.
    pub offset: Offset,
    /// Its header.
    pub header: FrameHeader,
    /// The header's own checksum.
    pub crc: u32,
    /// How many records count from here on that did not count before.
    pub records: u32,
}

impl Frame {
    /// Where the next frame starts.
    pub fn end(&self) -> Offset {
        self.offset + self.header.len()
    }

    /// Where its payload starts.
    pub fn payload(&self) -> Offset {
        self.offset + FRAME_HEADER_LEN as Offset
    }

    /// The tail behind it, when `before` is the one in front of it. A frame without records changes nothing: it must not make data of a CHECKPOINT
    /// record that came last.
    #[inline]
    pub fn tail_behind(&self, before: Tail) -> Tail {
        if self.records > 0 { before.advanced(u64::from(self.records), !self.header.is_checkpoint()) } else { before }
    }
}

/// Why a walk goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// An END frame was the last.
    Ended,
    /// No room for another header.
    Full,
    /// Zeros where a header would be.
    Blank,
    /// What stands here is not a header that is valid by itself.
    BadHeader,
    /// The header is valid by itself, but not the one that comes next: its seq or its kind is out of order.
    BadOrder,
    /// The header is right, its payload is not.
    BadPayload(FrameHeader),
}

/// Goes through the frames of a segment from its data start.
#[derive(Clone, Copy, Default)]
pub struct Walk {
    segment: Shape,
    offset: Offset,
    next_relative: u32,
    fragments: bool,
    ended: bool,
    /// Checksum of the header in front, 0 if it is not known.
    last_crc: u32,
}

impl Walk {
    /// At the data start of a segment with this header.
    pub fn new(segment: impl Into<Shape>) -> Walk {
        let segment = segment.into();
        Walk { segment, offset: segment.data_start, next_relative: 0, fragments: false, ended: false, last_crc: 0 }
    }

    /// At a frame boundary that an earlier walk passed, which is not between the fragments of a record.
    pub fn resume(segment: impl Into<Shape>, offset: Offset, records: u32) -> Walk {
        Walk { segment: segment.into(), offset, next_relative: records, fragments: false, ended: false, last_crc: 0 }
    }

    /// Where the next frame is looked for.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// Records seen so far, which is what the next header's relative seq must be.
    pub fn records(&self) -> u32 {
        self.next_relative
    }

    /// The next frame, verified whole, or why there is none.
    #[inline(always)]
    pub fn next<V: View>(&mut self, window: &mut V) -> Result<Result<Frame, Stop>, V::Error> {
        if self.ended {
            return Ok(Err(Stop::Ended));
        }
        if self.offset + FRAME_HEADER_LEN as Offset > self.segment.capacity {
            return Ok(Err(Stop::Full));
        }
        let Some(bytes) = window.bytes(self.offset, FRAME_HEADER_LEN)? else {
            return Ok(Err(Stop::BadHeader));
        };
        let crc = FrameHeader::stored_crc(bytes);
        let Some(header) = FrameHeader::decode(self.segment.seed, self.segment.capacity, self.offset, bytes) else {
            return Ok(Err(if bytes.iter().all(|&byte| byte == 0) { Stop::Blank } else { Stop::BadHeader }));
        };
        #[cfg(wal_plants)]
        let Some(_) =
            crate::plants::Mistake::ReaderHasLimit.or(self.segment.capacity.div_ceil(2), self.segment.capacity).checked_sub(header.len())
        else {
            return Ok(Err(Stop::BadHeader));
        };
        if header.relative_seq != self.next_relative || !self.kind_is_in_order(header.kind) {
            return Ok(Err(Stop::BadOrder));
        }
        let payload = self.offset + FRAME_HEADER_LEN as Offset;
        if window.checksum(payload, padded(Offset::from(header.payload_len)))? != Some(header.payload_crc) {
            return Ok(Err(Stop::BadPayload(header)));
        }
        if !content_is_sound(window, payload, &header, self.last_crc)? {
            return Ok(Err(Stop::BadPayload(header)));
        }
        let records = match header.kind {
            Kind::Record | Kind::Last => 1,
            Kind::Batch => match batch_records(window, payload, header.payload_len)? {
                Some(count) => count,
                None => return Ok(Err(Stop::BadPayload(header))),
            },
            Kind::Open | Kind::End | Kind::First | Kind::Middle => 0,
        };
        // No segment of this log holds so many; a stranger's, looked at from the middle, may say so.
        let Some(next_relative) = self.next_relative.checked_add(records) else {
            return Ok(Err(Stop::BadOrder));
        };
        let frame = Frame { offset: self.offset, header, crc, records };
        self.fragments = matches!(header.kind, Kind::First | Kind::Middle);
        self.ended = header.kind == Kind::End;
        self.next_relative = next_relative;
        self.last_crc = crc;
        self.offset = self.segment.next_frame(frame.end());
        Ok(Ok(frame))
    }

    fn kind_is_in_order(&self, kind: Kind) -> bool {
        let first = self.offset == self.segment.data_start;
        match kind {
            Kind::Open => first,
            Kind::Middle | Kind::Last => self.fragments,
            Kind::Record | Kind::Batch | Kind::End | Kind::First => !first,
        }
    }
}

/// Whether the log's own frames say what they may say.
fn content_is_sound<V: View>(window: &mut V, payload: Offset, header: &FrameHeader, last_crc: u32) -> Result<bool, V::Error> {
    let len = header.payload_len as usize;
    Ok(match header.kind {
        Kind::Open => len == OPEN_PAYLOAD_LEN && window.bytes(payload, len)?.is_some_and(|bytes| Open::decode(bytes).is_some()),
        Kind::End => {
            let end = if len == END_PAYLOAD_LEN { window.bytes(payload, len)?.and_then(End::decode) } else { None };
            end.is_some_and(|end| end.before_crc == 0 || last_crc == 0 || end.before_crc == last_crc)
        }
        Kind::Record if header.is_checkpoint() => header.key_len == 0 && len == CHECKPOINT_VALUE_LEN,
        _ => true,
    })
}

/// The number of records in a batch whose lengths add up to its payload; `None` if they do not.
fn batch_records<V: View>(window: &mut V, payload: Offset, payload_len: u32) -> Result<Option<u32>, V::Error> {
    let count = match window.bytes(payload, BATCH_COUNT_LEN)? {
        Some(front) => batch::count(front, u64::from(payload_len)),
        None => None,
    };
    let Some(count) = count else {
        return Ok(None);
    };
    // The table lies inside the payload, and with it inside the segment; the lengths in it may say anything.
    let mut total = batch::table_len(u64::from(count)) as Offset;
    for entry in 0..count {
        let at = payload + batch::table_len(u64::from(entry)) as Offset;
        let Some(bytes) = window.bytes(at, BATCH_ENTRY_LEN)? else {
            return Ok(None);
        };
        let entry = BatchEntry::decode(bytes);
        total = total.saturating_add(Offset::from(entry.key_len)).saturating_add(Offset::from(entry.value_len));
    }
    Ok((total == Offset::from(payload_len)).then_some(count))
}

/// What stands behind the point where a walk stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// Headers that are valid by themselves.
    pub headers: u64,
    /// The highest watermark among them.
    pub watermark: Offset,
    /// End of the last frame among them, 0 if there is none.
    pub end: Offset,
    /// One more than the highest relative seq among them, 0 if there is none.
    pub relative_end: u64,
    /// One more than the highest relative seq of a record in them, 0 if there is none.
    pub relative_last: u64,
    /// The last END among them whose payload is right as well.
    pub last_end: Option<End>,
    last_batch: Option<(Offset, FrameHeader)>,
    /// End of the last byte that is not zero, 0 if there is none.
    pub nonzero_end: Offset,
}

/// Looks for frame headers from `from` to the end of the segment that are valid by themselves and whose seq is not below `next_relative`.
pub fn behind<F: ReadAt>(window: &mut Window<'_, F>, segment: &SegmentHeader, from: Offset, next_relative: u32) -> Result<Behind, IoError> {
    let mut found = Behind::default();
    found.search(window, segment, from..segment.capacity, next_relative)?;
    if let Some((offset, header)) = found.last_batch {
        // How many records it holds is known only if its payload is right.
        let payload = offset + FRAME_HEADER_LEN as Offset;
        let is_right = window.checksum(payload, padded(Offset::from(header.payload_len)))? == Some(header.payload_crc);
        let count = if is_right { batch_records(window, payload, header.payload_len)? } else { None };
        found.relative_last = found.relative_last.max(u64::from(header.relative_seq) + u64::from(count.unwrap_or(1)));
    }
    Ok(found)
}

/// The highest watermark that `behind` would find, for those who have no room for the rest of what it tells.
pub fn watermark_behind<V: View>(view: &mut V, segment: Shape, from: Offset, next_relative: u32) -> Result<Offset, V::Error> {
    let (mut at, mut highest) = (from, 0);
    while at + FRAME_HEADER_LEN as Offset <= segment.capacity {
        if let Some(bytes) = view.bytes(at, FRAME_HEADER_LEN)?
            && let Some(header) = FrameHeader::decode(segment.seed, segment.capacity, at, bytes)
            && header.relative_seq >= next_relative
        {
            highest = highest.max(header.watermark);
        }
        at += FRAME_ALIGN as Offset;
    }
    Ok(highest)
}

impl Behind {
    /// Adds what stands in `range`; returns where the search has to go on: short of the range's end by what a header there may need, or at the
    /// end of segment or file.
    pub fn search<F: ReadAt>(
        &mut self,
        window: &mut Window<'_, F>,
        segment: &SegmentHeader,
        range: Range<Offset>,
        next_relative: u32,
    ) -> Result<Offset, IoError> {
        let found = self;
        let mut at = range.start;
        // What two pieces have in common is read once, unless the window has something else to keep.
        let slides = !window.keeps();
        while at < range.end {
            let len = (range.end - at).min(window.buffer.len() as Offset) as usize;
            let is_last = at + len as Offset == segment.capacity;
            let bytes = window.up_to(at, len)?;
            // A file that has been cut is looked at as far as it goes.
            let is_last = is_last || bytes.len() < len;
            let len = bytes.len();
            if len < SEARCHED_BYTES && !is_last {
                break;
            }
            // The next piece begins early enough to see a header, or an END, that this one cuts.
            let advance = if is_last { len } else { (len - (SEARCHED_BYTES - FRAME_ALIGN)) & !(FRAME_ALIGN - 1) };
            for (unit, word) in bytes.get(..advance).unwrap_or_default().chunks(FRAME_ALIGN).enumerate() {
                let place = unit * FRAME_ALIGN;
                let Some(candidate) = bytes.get(place..place + FRAME_HEADER_LEN) else {
                    if word.iter().any(|&byte| byte != 0) {
                        found.nonzero_end = at + (place + word.len()) as Offset;
                    }
                    continue;
                };
                if candidate.starts_with(&[0; FRAME_ALIGN]) {
                    // A header whose checksum and payload checksum are both zero is possible in principle: the test below is as cheap as this one.
                    if candidate[FRAME_HEADER_LEN - 1] == 0 {
                        continue;
                    }
                } else {
                    found.nonzero_end = at + (place + FRAME_ALIGN) as Offset;
                }
                let offset = at + place as Offset;
                let header = FrameHeader::decode(segment.seed, segment.capacity, offset, candidate);
                if let Some(header) = header.filter(|header| header.relative_seq >= next_relative) {
                    found.headers += 1;
                    found.watermark = found.watermark.max(header.watermark);
                    found.end = found.end.max(offset + header.len());
                    found.relative_end = found.relative_end.max(u64::from(header.relative_seq) + 1);
                    match header.kind {
                        Kind::Open => {}
                        Kind::End => {
                            let payload = bytes.get(place + FRAME_HEADER_LEN..place + SEARCHED_BYTES);
                            let payload = payload.filter(|payload| payload_crc(&[payload]) == header.payload_crc);
                            found.last_end = payload.and_then(End::decode).or(found.last_end);
                        }
                        Kind::Batch => found.last_batch = Some((offset, header)),
                        Kind::Record | Kind::First | Kind::Middle | Kind::Last => {
                            found.relative_last = found.relative_last.max(u64::from(header.relative_seq) + 1);
                        }
                    }
                }
            }
            at += advance as Offset;
            if slides {
                window.keep(at);
            }
            if is_last {
                break;
            }
        }
        if slides {
            window.keep(Offset::MAX);
        }
        Ok(at)
    }
}
