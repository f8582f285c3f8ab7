//! A file in memory that knows how it was read, and segments put together frame by frame.

use std::sync::{Mutex, PoisonError};

use wal_engine::format::checksum;
use wal_engine::format::constants::{DATA_START, FRAME_HEADER_LEN, OP_PUT};
use wal_engine::format::control::Open;
use wal_engine::format::frame::{FrameHeader, Kind, frame_len};
use wal_engine::format::segment_header::SegmentHeader;
use wal_engine::segment::scan::MIN_WINDOW_BYTES;
use wal_engine::storage::{File, IoError};

/// The smallest buffer and the smallest segment.
pub const SMALL: usize = MIN_WINDOW_BYTES;

/// A file that is only read.
pub struct Memory {
    bytes: Vec<u8>,
    /// How often each byte was.
    read: Mutex<Vec<u32>>,
}

impl Memory {
    pub fn new(bytes: &[u8]) -> Memory {
        Memory { bytes: bytes.to_vec(), read: Mutex::new(vec![0; bytes.len()]) }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Copies the first `len` bytes to where a window over them may begin.
    pub fn read_at_once(&self, buffer: &mut [u8], len: usize) {
        buffer[..len].copy_from_slice(&self.bytes[..len]);
    }

    /// How many bytes were read more than once.
    pub fn read_twice(&self) -> usize {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|&&times| times > 1).count()
    }
}

impl File for Memory {
    fn len(&self) -> Result<u64, IoError> {
        Ok(self.bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, IoError> {
        let from = (offset as usize).min(self.bytes.len());
        let len = buf.len().min(self.bytes.len() - from);
        buf[..len].copy_from_slice(&self.bytes[from..from + len]);
        self.read.lock().unwrap_or_else(PoisonError::into_inner)[from..from + len].iter_mut().for_each(|times| *times += 1);
        Ok(len)
    }

    fn write_at(&self, _offset: u64, _bytes: &[u8]) -> Result<(), IoError> {
        panic!("a scan writes")
    }

    fn fill_zeros(&self, _size: u64) -> Result<(), IoError> {
        panic!("a scan writes")
    }

    fn sync(&self) -> Result<(), IoError> {
        panic!("a scan syncs")
    }

    fn drop_cache(&self) {}
}

/// The header of a segment of the smallest size.
fn header() -> SegmentHeader {
    SegmentHeader::new([9; 16], 1000, 7, SMALL as u64, false)
}

/// A segment in the making.
pub struct Builder {
    pub header: SegmentHeader,
    pub bytes: Vec<u8>,
    /// Where each frame starts.
    pub offsets: Vec<u64>,
    /// Where the next one will.
    pub end: u64,
    /// The checksum of the last one's header.
    pub last_crc: u32,
    /// What the next ones say was synced.
    pub watermark: u64,
}

impl Builder {
    pub fn new(capacity: u64) -> Builder {
        let header = SegmentHeader { capacity, ..header() };
        let mut bytes = vec![0; capacity as usize];
        bytes[..DATA_START as usize].copy_from_slice(&header.encode());
        Builder { header, bytes, offsets: Vec::new(), end: DATA_START, last_crc: 0, watermark: 0 }
    }

    pub fn open(&mut self, open: &Open) {
        self.frame(Kind::Open, 0, 0, &open.encode());
    }

    pub fn record(&mut self, relative_seq: u32, value: &[u8]) {
        self.frame(Kind::Record, relative_seq, OP_PUT, value);
    }

    pub fn batch(&mut self, relative_seq: u32, values: &[&[u8]]) {
        let mut payload = (values.len() as u32).to_le_bytes().to_vec();
        for value in values {
            payload.extend([0; 4]);
            payload.extend((value.len() as u32).to_le_bytes());
            payload.extend([OP_PUT, 0, 0, 0]);
        }
        payload.extend(values.concat());
        self.frame(Kind::Batch, relative_seq, 0, &payload);
    }

    pub fn frame(&mut self, kind: Kind, relative_seq: u32, op: u8, payload: &[u8]) {
        self.frame_with_key(kind, relative_seq, op, 0, payload);
    }

    pub fn frame_with_key(&mut self, kind: Kind, relative_seq: u32, op: u8, key_len: u16, payload: &[u8]) {
        let at = self.end as usize;
        let next = at + frame_len(payload.len() as u64) as usize;
        let body = at + FRAME_HEADER_LEN;
        self.bytes[body..body + payload.len()].copy_from_slice(payload);
        let payload_crc = checksum::of(&self.bytes[body..next]);
        let header =
            FrameHeader { payload_crc, payload_len: payload.len() as u32, relative_seq, watermark: self.watermark, key_len, op, kind };
        self.last_crc = header.encode(self.header.seed, self.end, &mut self.bytes[at..]);
        self.offsets.push(self.end);
        self.end = next as u64;
    }
}
