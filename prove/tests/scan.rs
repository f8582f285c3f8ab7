//! The frame scan by itself, over files in memory: where a walk stops and why, what a search finds behind that, however it is read.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wal_engine::format::checksum;
use wal_engine::format::constants::{DATA_START, FRAME_HEADER_LEN, OP_CHECKPOINT, OP_PUT};
use wal_engine::format::control::{Checkpoint, End, How, Link, Open};
use wal_engine::format::frame::{FrameHeader, Kind};
use wal_engine::format::segment_header::SegmentHeader;
use wal_engine::segment::scan::{Behind, Frame, Stop, Walk, Window, behind, watermark_behind};
use wal_engine::seq::Tail;
use wal_prove::memory::{Builder, Memory, SMALL};

const OPEN: Open = Open {
    first_seq: 11,
    how: How::Rotated,
    link: Link { index: 6, end: 4000, last_frame: 3960, last_crc: 77 },
    before: Tail { seq: 10, data_seq: 9 },
    checkpoint: Checkpoint { n: 3, covered: 2 },
    epoch: 4,
};

/// Goes through the whole segment; the frames, and where and why it stopped.
fn walk(header: SegmentHeader, bytes: &[u8]) -> (Vec<Frame>, u64, Stop) {
    let file = Memory::new(bytes);
    let mut buffer = vec![0; SMALL];
    let mut window = Window::new(&file, &mut buffer);
    let mut walk = Walk::new(header);
    let mut frames = Vec::new();
    loop {
        match walk.next(&mut window).unwrap() {
            Ok(frame) => frames.push(frame),
            Err(stop) => {
                assert_eq!(walk.records(), frames.iter().map(|frame| frame.records).sum::<u32>());
                return (frames, walk.offset(), stop);
            }
        }
    }
}

/// OPEN, a record, a batch of three, a record in fragments; the last frame's checksum.
fn usual(builder: &mut Builder) {
    builder.open(&OPEN);
    builder.record(0, b"one");
    builder.batch(1, &[b"two", b"", b"four"]);
    builder.frame(Kind::First, 4, OP_PUT, b"five, ");
    builder.frame(Kind::Middle, 4, OP_PUT, b"in ");
    builder.frame(Kind::Last, 4, OP_PUT, b"pieces");
}

#[test]
fn a_whole_segment() {
    let mut builder = Builder::new(SMALL as u64);
    usual(&mut builder);
    builder.frame(Kind::End, 5, 0, &End { successor: 8, last_seq: 15, before_crc: builder.last_crc }.encode());
    let (frames, offset, stop) = walk(builder.header, &builder.bytes);
    assert_eq!(stop, Stop::Ended);
    assert_eq!(offset, builder.end);
    let shape: Vec<(u64, Kind, u32)> = frames.iter().map(|frame| (frame.offset, frame.header.kind, frame.records)).collect();
    let kinds = [Kind::Open, Kind::Record, Kind::Batch, Kind::First, Kind::Middle, Kind::Last, Kind::End];
    let expected: Vec<(u64, Kind, u32)> =
        builder.offsets.iter().zip(kinds).zip([0, 1, 3, 0, 0, 1, 0]).map(|((&offset, kind), records)| (offset, kind, records)).collect();
    assert_eq!(shape, expected);
    for (frame, next) in frames.iter().zip(builder.offsets.iter().skip(1).chain([&builder.end])) {
        assert_eq!(frame.end(), *next);
        assert_eq!(frame.payload(), frame.offset + FRAME_HEADER_LEN as u64);
        assert_eq!(frame.crc, FrameHeader::stored_crc(&builder.bytes[frame.offset as usize..]));
    }
}

/// One frame behind the usual ones, and how the walk takes it: `None` if it is right.
fn behind_the_usual(stop: Option<Stop>, kind: Kind, relative: u32, op: u8, payload: &[u8]) {
    let mut builder = Builder::new(SMALL as u64);
    usual(&mut builder);
    let at = builder.end;
    builder.frame(kind, relative, op, payload);
    let (frames, offset, found) = walk(builder.header, &builder.bytes);
    let what = format!("{kind:?}, relative {relative}, op {op}, {} bytes", payload.len());
    match stop {
        None => assert_eq!((frames.len(), frames[6].offset), (7, at), "{what}: {found:?}"),
        Some(stop) => {
            assert_eq!((frames.len(), offset), (6, at), "{what}");
            match (stop, found) {
                (Stop::BadPayload(_), Stop::BadPayload(header)) => assert_eq!(header.payload_len as usize, payload.len(), "{what}"),
                _ => assert_eq!(found, stop, "{what}"),
            }
        }
    }
}

/// Stands for `BadPayload` with whatever header.
fn bad_payload() -> Option<Stop> {
    Some(Stop::BadPayload(FrameHeader {
        payload_crc: 0,
        payload_len: 0,
        relative_seq: 0,
        watermark: 0,
        key_len: 0,
        op: 0,
        kind: Kind::Record,
    }))
}

#[test]
fn order_of_frames() {
    behind_the_usual(None, Kind::Record, 5, OP_PUT, b"x");
    behind_the_usual(None, Kind::First, 5, OP_PUT, b"x");
    for relative in [4, 6, u32::MAX] {
        behind_the_usual(Some(Stop::BadOrder), Kind::Record, relative, OP_PUT, b"x");
    }
    // Fragments that nothing began, and a second OPEN.
    behind_the_usual(Some(Stop::BadOrder), Kind::Middle, 5, OP_PUT, b"x");
    behind_the_usual(Some(Stop::BadOrder), Kind::Last, 5, OP_PUT, b"x");
    behind_the_usual(Some(Stop::BadOrder), Kind::Open, 5, 0, &OPEN.encode());
    // At the front only OPEN may stand.
    let one = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (kind, payload) in [(Kind::Record, &one), (Kind::Batch, &one), (Kind::First, &one), (Kind::Middle, &one), (Kind::Last, &one)] {
        let mut builder = Builder::new(SMALL as u64);
        builder.frame(kind, 0, OP_PUT, payload);
        assert_eq!(walk(builder.header, &builder.bytes), (Vec::new(), DATA_START, Stop::BadOrder), "{kind:?}");
    }
    let mut builder = Builder::new(SMALL as u64);
    builder.frame(Kind::End, 0, 0, &End { successor: 8, last_seq: 10, before_crc: 0 }.encode());
    assert_eq!(walk(builder.header, &builder.bytes), (Vec::new(), DATA_START, Stop::BadOrder));
    // After a fragment, a whole record begins anew and its fragments are void.
    let mut builder = Builder::new(SMALL as u64);
    builder.open(&OPEN);
    builder.frame(Kind::First, 0, OP_PUT, b"begun");
    builder.record(0, b"whole");
    builder.frame(Kind::Last, 1, OP_PUT, b"late");
    let (frames, offset, stop) = walk(builder.header, &builder.bytes);
    assert_eq!((frames.len(), offset, stop), (3, builder.offsets[3], Stop::BadOrder));
}

#[test]
fn what_the_logs_own_frames_may_say() {
    let checkpoint = Checkpoint { n: 4, covered: 4 }.encode();
    behind_the_usual(None, Kind::Record, 5, OP_CHECKPOINT, &checkpoint);
    behind_the_usual(bad_payload(), Kind::Record, 5, OP_CHECKPOINT, &checkpoint[..15]);
    behind_the_usual(bad_payload(), Kind::Record, 5, OP_CHECKPOINT, b"");
    behind_the_usual(None, Kind::Record, 5, OP_PUT, b"");
    let end = |before_crc| End { successor: 8, last_seq: 15, before_crc }.encode();
    let mut builder = Builder::new(SMALL as u64);
    usual(&mut builder);
    let before = builder.last_crc;
    behind_the_usual(None, Kind::End, 5, 0, &end(before));
    behind_the_usual(None, Kind::End, 5, 0, &end(0));
    behind_the_usual(bad_payload(), Kind::End, 5, 0, &end(before + 1));
    behind_the_usual(bad_payload(), Kind::End, 5, 0, &end(before)[..12]);
    // A key in front of a checkpoint's value.
    let mut builder = Builder::new(SMALL as u64);
    builder.open(&OPEN);
    builder.frame_with_key(Kind::Record, 0, OP_CHECKPOINT, 1, &checkpoint);
    let (frames, _, stop) = walk(builder.header, &builder.bytes);
    assert!(matches!((frames.len(), stop), (1, Stop::BadPayload(_))));
    // An OPEN that is too short, one that is too long, one whose numbers contradict each other.
    let absurd = Open { first_seq: 3, ..OPEN }.encode();
    let long = [&OPEN.encode()[..], &[0; 8]].concat();
    for payload in [&OPEN.encode()[..72], &long[..], &absurd[..]] {
        let mut builder = Builder::new(SMALL as u64);
        builder.frame(Kind::Open, 0, 0, payload);
        let (frames, _, stop) = walk(builder.header, &builder.bytes);
        assert!(matches!((frames.len(), stop), (0, Stop::BadPayload(_))), "{} bytes", payload.len());
    }
}

#[test]
fn what_a_batch_may_say() {
    let batch = |count: u32, lens: &[(u32, u32)], bytes: usize| {
        let mut payload = count.to_le_bytes().to_vec();
        for (key, value) in lens {
            payload.extend(key.to_le_bytes());
            payload.extend(value.to_le_bytes());
            payload.extend([OP_PUT, 0, 0, 0]);
        }
        payload.extend(vec![7; bytes]);
        payload
    };
    behind_the_usual(None, Kind::Batch, 5, 0, &batch(1, &[(0, 0)], 0));
    behind_the_usual(None, Kind::Batch, 5, 0, &batch(2, &[(3, 4), (5, 6)], 18));
    for wrong in [
        batch(2, &[(3, 4), (5, 6)], 17),
        batch(2, &[(3, 4), (5, 6)], 19),
        batch(1, &[(3, 4), (5, 6)], 18),
        batch(3, &[(3, 4), (5, 6)], 18),
        batch(0, &[], 0),
        batch(0, &[], 12),
        batch(1, &[], 11),
        batch(u32::MAX, &[(0, 0)], 0),
        batch(1, &[(u32::MAX, 1)], 0),
        vec![],
        vec![1, 0, 0],
        vec![1, 0, 0, 0],
    ] {
        behind_the_usual(bad_payload(), Kind::Batch, 5, 0, &wrong);
    }
}

#[test]
fn every_bit_of_a_segment_is_checked() {
    let mut builder = Builder::new(SMALL as u64);
    usual(&mut builder);
    let (whole, _, _) = walk(builder.header, &builder.bytes);
    for bit in DATA_START as usize * 8..builder.end as usize * 8 {
        let mut bytes = builder.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let hit = builder.offsets.iter().rposition(|&offset| offset as usize <= bit / 8).unwrap();
        let (frames, offset, stop) = walk(builder.header, &bytes);
        assert_eq!((&frames[..], offset), (&whole[..hit], builder.offsets[hit]), "bit {bit}");
        let in_header = bit / 8 < builder.offsets[hit] as usize + FRAME_HEADER_LEN;
        assert_eq!(matches!(stop, Stop::BadHeader), in_header, "bit {bit}: {stop:?}");
        assert_eq!(matches!(stop, Stop::BadPayload(_)), !in_header, "bit {bit}: {stop:?}");
    }
}

#[test]
fn the_end_of_a_segment() {
    // A frame without a payload may begin where just its header fits; what is left behind it is too small for another.
    for left in [0, 8, 16, 24] {
        let mut builder = Builder::new(SMALL as u64);
        builder.open(&OPEN);
        let filler = SMALL - builder.end as usize - FRAME_HEADER_LEN - left - FRAME_HEADER_LEN;
        builder.record(0, &vec![1; filler]);
        builder.record(1, b"");
        assert_eq!(builder.end as usize, SMALL - left);
        let (frames, offset, stop) = walk(builder.header, &builder.bytes);
        let why = if left < FRAME_HEADER_LEN { Stop::Full } else { Stop::Blank };
        assert_eq!((frames.len(), offset, stop), (3, builder.end, why), "{left} bytes left");
        // A file that has been cut: what is not there is no header, and no payload.
        let (frames, offset, stop) = walk(builder.header, &builder.bytes[..builder.end as usize - 1]);
        assert_eq!((frames.len(), offset, stop), (2, builder.offsets[2], Stop::BadHeader));
        let (frames, offset, stop) = walk(builder.header, &builder.bytes[..builder.offsets[2] as usize - 1]);
        assert!(matches!(stop, Stop::BadPayload(_)));
        assert_eq!((frames.len(), offset), (1, builder.offsets[1]));
    }
}

#[test]
fn a_walk_goes_on_where_another_was() {
    let mut builder = Builder::new(SMALL as u64);
    usual(&mut builder);
    builder.record(5, b"six");
    let end = End { successor: 8, last_seq: 16, before_crc: 12345 }.encode();
    builder.frame(Kind::End, 6, 0, &end);
    let file = Memory::new(&builder.bytes);
    let mut buffer = vec![0; SMALL];
    for (frame, records) in [(1, 0), (2, 1), (3, 4), (6, 5)] {
        let mut window = Window::new(&file, &mut buffer);
        let mut walk = Walk::resume(builder.header, builder.offsets[frame], records);
        assert_eq!((walk.offset(), walk.records()), (builder.offsets[frame], records));
        let found = walk.next(&mut window).unwrap().unwrap();
        assert_eq!(found.offset, builder.offsets[frame]);
        assert_eq!((walk.offset(), walk.records()), (found.end(), records + found.records));
    }
    // The checksum in END is that of the frame before; where that is not known it is not held against it.
    let mut window = Window::new(&file, &mut buffer);
    let mut at_end = Walk::resume(builder.header, builder.offsets[7], 6);
    assert!(at_end.next(&mut window).unwrap().is_ok());
    assert_eq!(at_end.next(&mut window).unwrap(), Err(Stop::Ended));
    let mut before_end = Walk::resume(builder.header, builder.offsets[6], 5);
    assert!(before_end.next(&mut window).unwrap().is_ok());
    assert!(matches!(before_end.next(&mut window).unwrap(), Err(Stop::BadPayload(_))));
}

/// What a search must find, told the long way round.
fn expected_behind(header: &SegmentHeader, bytes: &[u8], from: u64, next_relative: u32) -> Behind {
    let mut found = Behind::default();
    let mut batch = None;
    for at in (from as usize..bytes.len()).step_by(8) {
        if bytes[at..bytes.len().min(at + 8)].iter().any(|&byte| byte != 0) {
            found.nonzero_end = bytes.len().min(at + 8) as u64;
        }
        let Some(candidate) = bytes.get(at..at + FRAME_HEADER_LEN) else { continue };
        let Some(frame) = FrameHeader::decode(header.seed, header.capacity, at as u64, candidate) else { continue };
        if frame.relative_seq < next_relative {
            continue;
        }
        let end = at as u64 + frame.len();
        let payload = bytes.get(at + FRAME_HEADER_LEN..end as usize);
        let payload =
            payload.filter(|payload| checksum::of(payload) == frame.payload_crc).map(|payload| &payload[..frame.payload_len as usize]);
        found.headers += 1;
        found.watermark = found.watermark.max(frame.watermark);
        found.end = found.end.max(end);
        let behind = u64::from(frame.relative_seq) + 1;
        found.relative_end = found.relative_end.max(behind);
        match (frame.kind, payload) {
            (Kind::Open, _) | (Kind::End, None) => {}
            (Kind::End, Some(payload)) => found.last_end = End::decode(payload),
            (Kind::Batch, payload) => batch = Some(payload.map_or(behind, |payload| behind - 1 + u64::from(payload[0]))),
            _ => found.relative_last = found.relative_last.max(behind),
        }
    }
    found.relative_last = found.relative_last.max(batch.unwrap_or(0));
    found
}

/// Without what a search keeps for itself.
fn shown(behind: &Behind) -> [Option<u64>; 8] {
    let end = behind.last_end;
    [
        Some(behind.headers),
        Some(behind.watermark),
        Some(behind.end),
        Some(behind.relative_end),
        Some(behind.relative_last),
        end.map(|end| end.last_seq),
        end.map(|end| u64::from(end.successor)),
        Some(behind.nonzero_end),
    ]
}

fn assert_behind(header: &SegmentHeader, bytes: &[u8], from: u64, next_relative: u32, what: &str) {
    let expected = shown(&expected_behind(header, bytes, from, next_relative));
    for window_bytes in [SMALL, SMALL + 4, SMALL + 8, SMALL + 16, 3 * SMALL, 64 << 10] {
        let file = Memory::new(bytes);
        let mut buffer = vec![0; window_bytes];
        let mut window = Window::new(&file, &mut buffer);
        let found = behind(&mut window, header, from, next_relative).unwrap();
        assert_eq!(shown(&found), expected, "{what}, from {from}, through {window_bytes} bytes");
        assert!(!window.keeps());
        // Who has room for one number gets the same one.
        assert_eq!(watermark_behind(&mut window, header.shape(), from, next_relative), Ok(found.watermark), "{what}, from {from}");
    }
}

#[test]
fn frames_behind_the_end() {
    let mut builder = Builder::new(SMALL as u64);
    builder.open(&OPEN);
    builder.record(0, b"one");
    builder.watermark = builder.end;
    builder.batch(1, &[b"two", b"three", b"four"]);
    builder.record(4, b"five");
    builder.watermark = builder.end;
    builder.frame(Kind::First, 5, OP_PUT, b"six");
    builder.frame(Kind::Middle, 5, OP_PUT, b"six");
    builder.frame(Kind::Last, 5, OP_PUT, b"six");
    builder.watermark = 8;
    builder.frame(Kind::End, 6, 0, &End { successor: 8, last_seq: 16, before_crc: 1 }.encode());
    builder.frame(Kind::End, 3, 0, &End { successor: 9, last_seq: 13, before_crc: 1 }.encode());
    builder.batch(9, &[b"far", b"off"]);
    for from in (DATA_START..builder.end + 100).step_by(8) {
        for next_relative in [0, 1, 4, 5, 6, 9, 10] {
            assert_behind(&builder.header, &builder.bytes, from, next_relative, "frames");
        }
    }
    // With one byte changed anywhere: a header that is no more, a payload that is not right, zeros that are none.
    for at in DATA_START as usize..builder.end as usize + 48 {
        let mut bytes = builder.bytes.clone();
        bytes[at] ^= 0x10;
        assert_behind(&builder.header, &bytes, DATA_START, 0, &format!("byte {at} changed"));
    }
    // Cut anywhere.
    for len in builder.offsets[1] as usize..builder.end as usize + 30 {
        let mut bytes = builder.bytes[..len].to_vec();
        assert_behind(&builder.header, &bytes, DATA_START, 0, &format!("cut at {len}"));
        bytes[len - 1] = 1;
        assert_behind(&builder.header, &bytes, DATA_START, 0, &format!("cut at {len} behind a byte"));
    }
}

/// A search goes through the segment in pieces. What it finds does not depend on where one piece ends and the next begins.
#[test]
fn a_search_finds_the_same_in_any_pieces() {
    for shift in (0..96).step_by(8) {
        let mut builder = Builder::new(5 * SMALL as u64);
        builder.open(&OPEN);
        let mut relative = 0;
        for piece in [SMALL, 2 * SMALL, 3 * SMALL] {
            let filler = piece - shift - 48 - builder.end as usize;
            builder.record(relative, &vec![0; filler]);
            builder.record(relative + 1, b"");
            builder.frame(Kind::End, relative + 2, 0, &End { successor: relative + 8, last_seq: 12, before_crc: 1 }.encode());
            builder.batch(relative + 2, &[b"1", b"2"]);
            builder.batch(relative + 4, &[b""]);
            relative += 5;
            assert_behind(&builder.header, &builder.bytes, DATA_START, 0, &format!("{shift} in front of {piece}"));
            assert_behind(&builder.header, &builder.bytes, builder.offsets[2], 1, &format!("{shift} in front of {piece}"));
        }
    }
}

/// A search over a part of the segment says where it has to go on, and goes on there.
#[test]
fn a_search_in_two_parts() {
    let mut builder = Builder::new(2 * SMALL as u64);
    builder.open(&OPEN);
    for relative in 0..60 {
        builder.record(relative, &[3; 11]);
    }
    builder.frame(Kind::End, 60, 0, &End { successor: 8, last_seq: 70, before_crc: 1 }.encode());
    let header = builder.header;
    let whole = shown(&expected_behind(&header, &builder.bytes, DATA_START, 0));
    let capacity = header.capacity;
    for middle in (DATA_START..=capacity).step_by(8) {
        let file = Memory::new(&builder.bytes);
        let mut buffer = vec![0; SMALL];
        let mut window = Window::new(&file, &mut buffer);
        let mut found = Behind::default();
        let at = found.search(&mut window, &header, DATA_START..middle, 0).unwrap();
        assert!(at <= middle && at.is_multiple_of(8), "{at} of {middle}");
        // Less is left over than a header with what it needs behind it.
        assert!(middle - at < 40, "{at} of {middle}");
        let end = found.search(&mut window, &header, at..capacity, 0).unwrap();
        assert_eq!(end, capacity);
        assert_eq!(shown(&found), whole, "in two at {middle}");
    }
    // While the window keeps something, a search leaves that alone.
    let file = Memory::new(&builder.bytes);
    let mut buffer = vec![0; 4 * SMALL];
    let mut window = Window::new(&file, &mut buffer);
    window.keep(DATA_START);
    let mut found = Behind::default();
    found.search(&mut window, &header, DATA_START..capacity, 0).unwrap();
    assert!(window.keeps());
    assert_eq!(shown(&found), whole);
    assert_eq!((window.held(), window.bytes_read()), ((DATA_START, (capacity - DATA_START) as usize), capacity - DATA_START));
    // One that keeps nothing goes through a longer file with a small buffer, and reads nothing twice.
    let file = Memory::new(&builder.bytes);
    let mut buffer = vec![0; SMALL];
    let mut window = Window::new(&file, &mut buffer);
    Behind::default().search(&mut window, &header, DATA_START..capacity, 0).unwrap();
    assert_eq!((window.bytes_read(), file.read_twice()), (capacity - DATA_START, 0));

    assert_eq!(Behind::default().search(&mut window, &header, 80..80, 0).unwrap(), 80);
}

/// A file that ends in the middle of its segment, at every place in a piece.
#[test]
fn a_search_to_where_a_file_was_cut() {
    let mut builder = Builder::new(4 * SMALL as u64);
    builder.open(&OPEN);
    for relative in 0..250 {
        builder.record(relative, &[relative as u8 | 1; 16]);
    }
    for cut in (SMALL - 64..SMALL + 160).chain(2 * SMALL..2 * SMALL + 100) {
        assert_behind(&builder.header, &builder.bytes[..cut], DATA_START, 0, &format!("cut at {cut}"));
    }
}

/// A header whose checksum and whose payload's checksum are both zero looks like zeros at first.
#[test]
fn a_header_that_begins_with_zeros() {
    let mut builder = Builder::new(SMALL as u64);
    builder.open(&OPEN);
    let at = builder.end;
    let crc = |relative_seq: u32| {
        let header = FrameHeader { payload_crc: 0, payload_len: 0, relative_seq, watermark: 0, key_len: 0, op: OP_PUT, kind: Kind::Record };
        header.encode(builder.header.seed, at, &mut [0; FRAME_HEADER_LEN])
    };
    // A checksum is linear in each bit: which bits together turn that of 0 into zero.
    let mut basis: Vec<(u32, u32)> = Vec::new();
    let reduced = |basis: &[(u32, u32)], mut sum: u32, mut bits: u32| {
        for &(known, of) in basis {
            if sum ^ known < sum {
                (sum, bits) = (sum ^ known, bits ^ of);
            }
        }
        (sum, bits)
    };
    for bit in 0..32 {
        let (sum, bits) = reduced(&basis, crc(1 << bit) ^ crc(0), 1 << bit);
        basis.push((sum, bits));
        basis.sort_unstable_by_key(|&(sum, _)| core::cmp::Reverse(sum));
    }
    let (rest, relative_seq) = reduced(&basis, crc(0), 0);
    assert_eq!((rest, crc(relative_seq)), (0, 0));
    builder.record(relative_seq, b"");
    assert!(builder.bytes[at as usize..at as usize + 8].iter().all(|&byte| byte == 0));
    assert_eq!(expected_behind(&builder.header, &builder.bytes, at, 0).headers, 1);
    assert_behind(&builder.header, &builder.bytes, at, 0, "zeros in front");
}
