//! Proves that floors 0 and 1 and the frame scan need neither std nor an allocator: this archive defines the panic handler itself, which does not
//! compile beside std, and no allocator, without which `alloc` does not link. `.ci/run` links it into a C program and runs it.
#![no_std]

use core::panic::PanicInfo;

use wal_engine::config::{LogId, Offset};
use wal_engine::format::constants::{DATA_START, FRAME_HEADER_LEN, OP_PUT};
use wal_engine::format::control::{Checkpoint, How, Link, Open};
use wal_engine::format::frame::{FrameHeader, Kind, padded, payload_crc};
use wal_engine::format::segment_header::SegmentHeader;
use wal_engine::protocol::gap::{self, Extent};
use wal_engine::segment::scan::{Frame, MIN_WINDOW_BYTES, Stop, Walk, Window, behind};
use wal_engine::seq::Tail;
use wal_engine::storage::{File, IoError};

#[panic_handler]
fn on_panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

const CAPACITY: usize = 4096;

/// A segment in memory, as it could stand in flash.
struct Image([u8; CAPACITY]);

impl File for Image {
    fn len(&self) -> Result<u64, IoError> {
        Ok(CAPACITY as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, IoError> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> Result<(), IoError> {
        Ok(())
    }

    fn fill_zeros(&self, _: u64) -> Result<(), IoError> {
        Ok(())
    }

    fn sync(&self) -> Result<(), IoError> {
        Ok(())
    }

    fn drop_cache(&self) {}
}

/// Puts a frame at `offset`; where the next one begins.
fn put(image: &mut Image, segment: &SegmentHeader, offset: Offset, header: FrameHeader, payload: &[u8]) -> Offset {
    let at = offset as usize;
    header.encode(segment.seed, offset, &mut image.0[at..at + FRAME_HEADER_LEN]);
    image.0[at + FRAME_HEADER_LEN..at + FRAME_HEADER_LEN + payload.len()].copy_from_slice(payload);
    offset + header.len()
}

fn header(kind: Kind, payload: &[u8], relative_seq: u32) -> FrameHeader {
    let zeros = [0; 8];
    let padding = padded(payload.len() as Offset) as usize - payload.len();
    let (key_len, op) = if kind == Kind::Record { (3, OP_PUT) } else { (0, 0) };
    let payload_crc = payload_crc(&[payload, &zeros[..padding]]);
    FrameHeader { payload_crc, payload_len: payload.len() as u32, relative_seq, watermark: 0, key_len, op, kind }
}

/// Composes a segment with two records, damages the second, and scans it. 0, or the number of the step that went wrong.
#[unsafe(no_mangle)]
pub extern "C" fn no_std_check() -> u32 {
    let id: LogId = *b"0123456789abcdef";
    let segment = SegmentHeader::new(id, 7, 1, CAPACITY as Offset, false);
    let mut image = Image([0; CAPACITY]);
    let encoded = segment.encode();
    image.0[..encoded.len()].copy_from_slice(&encoded);
    let open =
        Open { first_seq: 1, how: How::First, link: Link::default(), before: Tail::default(), checkpoint: Checkpoint::default(), epoch: 1 };
    let payload = open.encode();
    let first = put(&mut image, &segment, DATA_START as Offset, header(Kind::Open, &payload, 0), &payload);
    let second = put(&mut image, &segment, first, header(Kind::Record, b"keyvalue", 0), b"keyvalue");
    put(&mut image, &segment, second, header(Kind::Record, b"keyother", 1), b"keyother");
    image.0[second as usize + FRAME_HEADER_LEN] ^= 1;

    if SegmentHeader::decode(&image.0) != Ok(segment) {
        return 1;
    }
    let mut buffer = [0; MIN_WINDOW_BYTES];
    let mut window = Window::new(&image, &mut buffer);
    let mut walk = Walk::new(segment);
    if !matches!(walk.next(&mut window), Ok(Ok(Frame { records: 0, .. }))) {
        return 2;
    }
    if !matches!(walk.next(&mut window), Ok(Ok(Frame { records: 1, .. }))) {
        return 3;
    }
    if !matches!(walk.next(&mut window), Ok(Err(Stop::BadPayload(_)))) || walk.offset() != second {
        return 4;
    }
    match behind(&mut window, &segment, second, 1) {
        Ok(found) if found.headers == 1 => {}
        _ => return 5,
    }
    // The store holds up to 9 and the log ends at 1.
    if gap::check(9, Extent { forgotten_data: 0, last: 1 }).is_ok() { 6 } else { 0 }
}
