//! The front of a segment: a header that is another's, an OPEN that is none, a last frame that is not the one.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wal_engine::config::SyncMode;
use wal_engine::error::{Code, Place};
use wal_engine::format::checksum;
use wal_engine::format::constants::{DATA_START, OP_PUT};
use wal_engine::format::control::{Checkpoint, How, Link, Open};
use wal_engine::format::frame::Kind;
use wal_engine::log::Log;
use wal_engine::names::FileName;
use wal_engine::segment::head::{decode_open, ends_as_linked};
use wal_engine::seq::Tail;
use wal_engine::storage::{IoError, IoKind};
use wal_prove::forge::{changed, frames, segments};
use wal_prove::host::{bounded, config, value_of};
use wal_prove::memory::{Builder, Memory, SMALL};
use wal_sim::{Call, Disk, Fault, Image};

const OPEN: Open = Open {
    first_seq: 11,
    how: How::Rotated,
    link: Link { index: 6, end: 4000, last_frame: 3960, last_crc: 77 },
    before: Tail { seq: 10, data_seq: 9 },
    checkpoint: Checkpoint { n: 3, covered: 2 },
    epoch: 4,
};

/// A log of three segments, closed.
fn left() -> Image {
    let disk = Disk::new(3);
    let log = Log::open(disk.storage(), &config(SyncMode::Always, true)).unwrap();
    while log.stat().segments < 3 {
        log.append(OP_PUT, b"", &value_of(log.last_seq() + 1, 400)).unwrap();
    }
    log.close().unwrap();
    disk.visible_image()
}

fn refusal(disk: &Disk) -> (Code, Place, Option<u64>) {
    let error = Log::open(disk.storage(), &config(SyncMode::Always, true)).err().unwrap();
    (error.code, error.place, error.offset)
}

/// Each number of a header by itself makes the segment another one.
#[test]
fn a_header_with_another_number() {
    bounded(|| {
        let image = left();
        let name = FileName::Segment(2);
        // The log, the index, the seed, the capacity.
        for (at, bit) in [(16, 1), (31, 128), (32, 1), (36, 1), (41, 32)] {
            let image = changed(&image, name, |bytes| {
                bytes[at] ^= bit;
                let crc = checksum::of(&bytes[..DATA_START as usize - 4]);
                bytes[DATA_START as usize - 4..DATA_START as usize].copy_from_slice(&crc.to_le_bytes());
            });
            assert_eq!(refusal(&Disk::from_image(&image, 4)), (Code::Corrupt, Place::File(name), Some(0)), "byte {at}");
        }
        // Shorter than it says.
        let image = changed(&image, name, |bytes| bytes.truncate(4095));
        assert_eq!(refusal(&Disk::from_image(&image, 4)), (Code::Corrupt, Place::File(name), Some(4095)));
    });
}

#[test]
fn something_else_in_place_of_a_segment() {
    bounded(|| {
        let image = left();
        for index in segments(&image).into_iter().take(3) {
            let name = FileName::Segment(index);
            for (kind, code) in [(IoKind::NotAFile, Code::Corrupt), (IoKind::NotFound, Code::Corrupt), (IoKind::NoMemory, Code::NoMemory)] {
                let disk = Disk::from_image(&image, 4);
                disk.fail(Fault::nth(1).of(Call::Open).on(name).error(IoError { kind, os_error: 40 }));
                let error = Log::open(disk.storage(), &config(SyncMode::Always, true)).err().unwrap();
                assert_eq!((error.code, error.place), (code, Place::File(name)));
                assert_eq!(error.os_error, if kind == IoKind::NotFound { 0 } else { 40 });
            }
        }
    });
}

#[test]
fn an_open_and_what_is_none() {
    let decoded = |kind, relative, payload: &[u8]| {
        let mut builder = Builder::new(SMALL as u64);
        builder.frame(kind, relative, 0, payload);
        decode_open(&builder.header, &builder.bytes)
    };
    let payload = OPEN.encode();
    let longer = [&payload[..], &[0; 8]].concat();
    assert_eq!(decoded(Kind::Open, 0, &payload), Some(OPEN));
    assert_eq!(decoded(Kind::Record, 0, &payload), None);
    assert_eq!(decoded(Kind::Open, 1, &payload), None);
    assert_eq!(decoded(Kind::Open, 0, &payload[..79]), None);
    assert_eq!(decoded(Kind::Open, 0, &longer), None);
    assert_eq!(decoded(Kind::Open, 0, &Open { first_seq: 10, ..OPEN }.encode()), None);
    let mut builder = Builder::new(SMALL as u64);
    builder.open(&OPEN);
    let end = builder.end as usize;
    for len in 0..end {
        assert_eq!(decode_open(&builder.header, &builder.bytes[..len]), None, "{len} bytes");
    }
    assert_eq!(decode_open(&builder.header, &builder.bytes[..end]), Some(OPEN));
    for bit in DATA_START as usize * 8..end * 8 {
        let mut bytes = builder.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode_open(&builder.header, &bytes), None, "bit {bit}");
    }
}

#[test]
fn the_frame_that_a_link_names() {
    let mut builder = Builder::new(SMALL as u64);
    builder.open(&OPEN);
    builder.record(0, b"one");
    let link = Link { index: 7, end: builder.end, last_frame: builder.offsets[1], last_crc: builder.last_crc };
    builder.record(1, b"two");
    let ends = |link: &Link, len: usize| ends_as_linked(&Memory::new(&builder.bytes[..len]), &builder.header, link).unwrap();
    assert!(ends(&link, SMALL));
    for wrong in [
        Link { end: link.end + 8, ..link },
        Link { end: link.end - 8, ..link },
        Link { last_crc: link.last_crc ^ 1, ..link },
        Link { last_frame: builder.offsets[0], ..link },
        Link { last_frame: builder.offsets[2], ..link },
        Link { last_frame: SMALL as u64 - 8, last_crc: 0, ..link },
        Link { last_frame: u64::MAX, last_crc: 0, ..link },
    ] {
        assert!(!ends(&wrong, SMALL), "{wrong:?}");
    }
    // A file that has been cut inside of that header.
    assert!(ends(&link, link.last_frame as usize + 24));
    assert!(!ends(&link, link.last_frame as usize + 23));
    assert!(!ends(&link, link.last_frame as usize));
    // The bytes of another frame under the right checksum.
    let (header, found) = frames(&builder.bytes);
    assert_eq!((header, found.len()), (builder.header, 3));
}
