//! An inspection names every damage, each with its file, its offset and the seqs that it took, and nothing else.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wal_engine::config::{Config, OpenKind, Recovery, SyncMode};
use wal_engine::error::{Code, Place};
use wal_engine::format::constants::{DATA_START, FRAME_HEADER_LEN, MANIFEST_PAGE_LEN, OP_PUT};
use wal_engine::format::frame::{FrameHeader, Kind};
use wal_engine::format::pin::PinName;
use wal_engine::format::segment_header::SegmentHeader;
use wal_engine::log::{Log, inspect};
use wal_engine::names::FileName;
use wal_engine::pins::{self, Limit};
use wal_engine::segment::head::decode_open;
use wal_engine::seq::Tail;
use wal_prove::forge::{Placed, changed, flipped, forged, forged_open, found_in, frames, manifest, seal, segments};
use wal_prove::host::{bounded, config, put};
use wal_sim::{Disk, Image};

fn strict() -> Config {
    config(SyncMode::Always, true)
}

/// A log of so many segments, the last one with a few records.
fn left(segments: u64, clean: bool) -> Image {
    let disk = Disk::new(3);
    let log = Log::open(disk.storage(), &strict()).unwrap();
    while log.stat().segments < segments {
        put(&log, 400);
    }
    (0..5).for_each(|_| assert!(put(&log, 100) > 0));
    if clean {
        log.close().unwrap();
    }
    disk.visible_image()
}

/// A damage: the segment, the offset in it, the first and the last seq that it took.
type Told = (u32, u64, u64, u64);

fn inspected(image: &Image) -> Vec<Told> {
    let mut found = Vec::new();
    let config = Config { open: OpenKind::Existing, ..strict() };
    let report = inspect(&Disk::from_image(image, 4).storage(), &config, true, &mut |damage| {
        assert_eq!(damage.code, Code::Corrupt, "{damage}");
        let Place::File(FileName::Segment(index)) = damage.place else { panic!("no segment is named: {damage}") };
        found.push((index, damage.offset.unwrap_or(u64::MAX), damage.seq, damage.seq_last));
    });
    assert_eq!(report.unwrap().damages, found.len() as u64);
    found
}

fn last_in(image: &Image, index: u32) -> Placed {
    *found_in(image, index).last().unwrap()
}

/// First and last seq of a segment.
fn seqs(image: &Image, index: u32) -> (u64, u64) {
    (found_in(image, index)[1].last_seq, last_in(image, index).last_seq)
}

fn edit_u64(bytes: &mut [u8], at: usize, edit: impl Fn(u64) -> u64) {
    let value = edit(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()));
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

const IN_OPEN: u64 = DATA_START + FRAME_HEADER_LEN as u64 + 6;
const IN_HEADER: u64 = 10;
const IN_PAYLOAD: u64 = FRAME_HEADER_LEN as u64 + 3;

#[test]
fn nothing_where_nothing_is_damaged() {
    bounded(|| {
        for clean in [true, false] {
            for count in [1, 5] {
                let image = left(count, clean);
                assert_eq!(inspected(&image), []);
                // What stands behind the end of a segment means nothing.
                for index in segments(&image) {
                    let Some(end) = found_in(&image, index).last().map(|frame| frame.end) else { continue };
                    if end + 40 < 4096 {
                        assert_eq!(inspected(&flipped(&image, index, end + 4)), [], "behind the end of {index}, clean {clean}");
                    }
                }
            }
        }
        // Nor does a record for which nothing vouches.
        let image = left(5, false);
        assert_eq!(inspected(&flipped(&image, 5, last_in(&image, 5).offset + IN_PAYLOAD)), []);
    });
}

#[test]
fn each_copy_of_the_manifest() {
    bounded(|| {
        let image = left(3, true);
        for page in 0..4 {
            let offset = page * MANIFEST_PAGE_LEN;
            let image = changed(&image, FileName::Manifest, |bytes| bytes[offset + 20] ^= 1);
            let mut found = Vec::new();
            let report = inspect(&Disk::from_image(&image, 4).storage(), &strict(), true, &mut |damage| found.push(*damage)).unwrap();
            let found: Vec<_> = found.iter().map(|damage| (damage.code, damage.place, damage.offset)).collect();
            assert_eq!(found, [(Code::Corrupt, Place::File(FileName::Manifest), Some(offset as u64))]);
            assert_eq!(report.damages, 1);
        }
    });
}

#[test]
fn records() {
    bounded(|| {
        for clean in [true, false] {
            let image = left(5, clean);
            for index in 1..=5 {
                let found = found_in(&image, index);
                let records: Vec<_> = found.iter().filter(|frame| frame.kind == Kind::Record).collect();
                // Nothing vouches for the last one of a log that was not closed, so that it does not tell how much was lost in front of it.
                let vouched = records.len() - if index == 5 && !clean { 2 } else { 0 };
                for hit in records[vouched..].iter().take(1) {
                    let damaged = flipped(&image, index, hit.offset + IN_PAYLOAD);
                    assert_eq!(inspected(&damaged), [(index, hit.offset, hit.last_seq, u64::MAX)]);
                }
                for hit in &records[..vouched] {
                    for byte in [3, IN_PAYLOAD] {
                        let expected = [(index, hit.offset, hit.last_seq, hit.last_seq)];
                        assert_eq!(inspected(&flipped(&image, index, hit.offset + byte)), expected, "clean {clean}, byte {byte}");
                    }
                }
                // Neighbours, of which the first still says where the second is, and two with one between them.
                for (one, other) in [(1, 2), (0, 2)] {
                    let (one, other) = (records[one], records[other]);
                    let image = flipped(&flipped(&image, index, one.offset + IN_PAYLOAD), index, other.offset + IN_PAYLOAD);
                    let expected = [one, other].map(|hit| (index, hit.offset, hit.last_seq, hit.last_seq));
                    assert_eq!(inspected(&image), expected, "clean {clean}");
                }
                // Where the header of the first is damaged as well, what is lost begins there and ends with the second.
                let image = flipped(&flipped(&image, index, records[1].offset + 3), index, records[2].offset + IN_PAYLOAD);
                assert_eq!(inspected(&image), [(index, records[1].offset, records[1].last_seq, records[2].last_seq)], "clean {clean}");
            }
        }
    });
}

/// What cannot be looked into, with everything that the segments before and behind say was in it.
#[test]
fn whole_segments() {
    bounded(|| {
        let image = left(5, true);
        for index in 1..=5 {
            let (first, last) = seqs(&image, index);
            assert_eq!(inspected(&flipped(&image, index, IN_HEADER)), [(index, 0, first, last)]);
            let damaged = flipped(&image, index, IN_OPEN);
            assert_eq!(inspected(&damaged), [(index, DATA_START, first, last)]);
            // A record in it as well: which one it was says the segment before.
            let hit = found_in(&image, index)[3];
            let lost = if index > 1 { hit.last_seq } else { 0 };
            let both = flipped(&damaged, index, hit.offset + IN_PAYLOAD);
            assert_eq!(inspected(&both), [(index, DATA_START, first, last), (index, hit.offset, lost, lost)]);
        }
        // What was forgotten is not lost.
        let forgotten = forged(&image, |manifest| (manifest.floor, manifest.forgotten_data) = (2, 2));
        assert_eq!(inspected(&flipped(&forgotten, 1, IN_HEADER)), [(1, 0, 3, seqs(&image, 1).1)]);
        assert_eq!(inspected(&flipped(&forgotten, 1, IN_OPEN)), [(1, DATA_START, 3, seqs(&image, 1).1)]);
        // Two first frames: nothing says where the first segment ends and the second begins.
        let both = flipped(&flipped(&image, 1, IN_OPEN), 2, IN_OPEN);
        assert_eq!(inspected(&both), [(1, DATA_START, 1, u64::MAX), (2, DATA_START, 1, seqs(&image, 2).1)]);
        // All in front of a segment that does not say what it follows: at least the one that the manifest names must have been there.
        let mut alone = flipped(&image, 5, IN_OPEN);
        (1..5).for_each(|index| drop(alone.remove(FileName::Segment(index))));
        assert_eq!(inspected(&alone), [(1, u64::MAX, 1, u64::MAX), (5, DATA_START, 1, seqs(&image, 5).1)]);
        // A damage late in a segment whose successor does not say where it ends.
        let late = found_in(&image, 3)[6];
        let both = flipped(&flipped(&image, 3, late.offset + IN_PAYLOAD), 4, IN_OPEN);
        let (first, last) = seqs(&image, 4);
        assert_eq!(inspected(&both), [(3, late.offset, late.last_seq, late.last_seq), (4, DATA_START, first, last)]);
    });
}

/// Ten segments of a record each, number n in segment n; all up to the sixth are forgotten, and a pin keeps what is above `pinned`.
fn left_with_pin(pinned: u64) -> (Image, Image) {
    let disk = Disk::new(3);
    let log = Log::open(disk.storage(), &strict()).unwrap();
    (0..10).for_each(|_| assert!(put(&log, 2500) > 0));
    pins::create(&disk.storage(), PinName::new(b"feed").unwrap(), pinned, Limit::default()).unwrap();
    let before = disk.visible_image();
    log.truncate(6, true).unwrap();
    log.close().unwrap();
    let image = disk.visible_image();
    assert_eq!(manifest(&image).oldest_segment, 7);
    (before, image)
}

/// Segments that only a pin keeps are looked into, and none in front of them.
#[test]
fn what_only_a_pin_keeps() {
    bounded(|| {
        let (before, image) = left_with_pin(3);
        assert_eq!(inspected(&image), []);
        for index in 4..=10 {
            let hit = found_in(&image, index)[1];
            let seq = u64::from(index);
            assert_eq!((hit.kind, hit.last_seq), (Kind::Record, seq));
            assert_eq!(inspected(&flipped(&image, index, hit.offset + IN_PAYLOAD)), [(index, hit.offset, seq, seq)]);
            let mut without = image.clone();
            without.remove(FileName::Segment(index));
            if index < 10 {
                assert_eq!(inspected(&without), [(index, u64::MAX, seq, seq)]);
            }
        }
        // Two at once, and one that does not say what it follows.
        let both = flipped(&flipped(&image, 4, found_in(&image, 4)[1].offset + IN_PAYLOAD), 5, IN_OPEN);
        assert_eq!(inspected(&both), [(4, found_in(&image, 4)[1].offset, 4, 4), (5, DATA_START, 5, 5)]);
        // Neither what the first that the host needs follows is known, nor is anything there.
        let mut alone = flipped(&image, 7, IN_OPEN);
        (1..7).for_each(|index| drop(alone.remove(FileName::Segment(index))));
        assert_eq!(inspected(&alone), [(7, DATA_START, 7, 7)]);
        // Opening does without the one and not without the other.
        for (index, is_only_pinned) in [(6, true), (7, false)] {
            let mut without = image.clone();
            without.remove(FileName::Segment(index));
            let mut whats = Vec::new();
            let inspected = inspect(&Disk::from_image(&without, 4).storage(), &strict(), true, &mut |damage| whats.push(damage.what));
            assert_eq!((inspected.unwrap().damages, whats.len()), (1, 1));
            assert_eq!(whats[0].contains("only pins need"), is_only_pinned, "{index}: {}", whats[0]);
        }
        // What a crash left of segments that nobody needs.
        for pinned in [3, 6] {
            let (_, mut image) = left_with_pin(pinned);
            for index in 2..=pinned as u32 {
                let hit = found_in(&before, index)[1];
                let damaged = flipped(&before, index, hit.offset + IN_PAYLOAD);
                image.write(FileName::Segment(index), damaged.read(FileName::Segment(index)).unwrap().to_vec());
            }
            assert_eq!(inspected(&image), [], "pinned {pinned}");
        }
    });
}

/// Whatever the configuration would put up with, an inspection tells that there is no manifest.
#[test]
fn no_manifest() {
    bounded(|| {
        let mut image = left(3, true);
        image.remove(FileName::Manifest);
        for recovery in [Recovery::Strict, Recovery::Prefix] {
            let mut found = Vec::new();
            let config = Config { recovery, ..strict() };
            let _report =
                inspect(&Disk::from_image(&image, 4).storage(), &config, true, &mut |damage| found.push((damage.code, damage.place)));
            assert_eq!(found, [(Code::Corrupt, Place::File(FileName::Manifest))], "{recovery:?}");
        }
    });
}

/// What stands behind the end of a closed log means nothing, even if something behind that would vouch for it.
#[test]
fn behind_the_end_of_a_closed_log() {
    bounded(|| {
        let image = left(2, true);
        let found = found_in(&image, 2);
        let [.., end, hit, _, _] = found[..] else { panic!("too short") };
        let tail = Tail { seq: end.last_seq, data_seq: end.last_seq };
        let earlier = forged(&image, |manifest| (manifest.bound.offset, manifest.bound.tail) = (end.end, tail));
        assert_eq!(inspected(&flipped(&earlier, 2, hit.offset + 3)), []);
    });
}

/// What looks like a frame but cannot be one does not tell where the damage ends.
#[test]
fn a_seq_that_no_segment_reaches() {
    bounded(|| {
        let image = left(5, true);
        let found = found_in(&image, 3);
        let (hit, next) = (found[3], found[4]);
        for (relative, last) in [(4096u32, hit.last_seq), (4097, next.last_seq)] {
            let image = changed(&flipped(&image, 3, hit.offset + 3), FileName::Segment(3), |bytes| {
                bytes[next.offset as usize + 12..][..4].copy_from_slice(&relative.to_le_bytes());
                seal(bytes, next.offset);
            });
            let told = inspected(&image);
            assert_eq!((told[0].0, told[0].1, told[0].2), (3, hit.offset, hit.last_seq));
            assert_eq!(told[0].3 == last, relative > 4096, "{told:?}");
        }
    });
}

/// A segment that names one as its predecessor that the log has forgotten: what lies between is looked into all the same.
#[test]
fn a_chain_that_goes_too_far_back() {
    bounded(|| {
        let image = forged(&left(5, true), |manifest| manifest.oldest_segment = 2);
        let image = forged_open(&image, 4, |open| open[8..12].copy_from_slice(&1u32.to_le_bytes()));
        assert_eq!(inspected(&image), [(4, DATA_START, 0, 0)]);
        let hit = found_in(&image, 3)[3];
        let told = inspected(&flipped(&image, 3, hit.offset + IN_PAYLOAD));
        assert!(told.contains(&(3, hit.offset, hit.last_seq, hit.last_seq)), "{told:?}");
    });
}

/// The only segment: of a log that was closed, of one that was not.
#[test]
fn the_first_frame_of_all() {
    bounded(|| {
        for clean in [true, false] {
            let image = left(1, clean);
            let found = found_in(&image, 1);
            let both = flipped(&flipped(&image, 1, IN_OPEN), 1, found[3].offset + IN_PAYLOAD);
            // The manifest of a log that was never closed still says which seq comes first in it.
            let (last, lost) = if clean { (seqs(&image, 1).1, 0) } else { (u64::MAX, found[3].last_seq) };
            assert_eq!(inspected(&both), [(1, DATA_START, 1, last), (1, found[3].offset, lost, lost)], "clean {clean}");
        }
    });
}

/// An END that is lost, where the successor does not say either where its predecessor ended.
#[test]
fn the_end_of_a_segment() {
    bounded(|| {
        let image = left(5, true);
        let end = last_in(&image, 3);
        assert_eq!(end.kind, Kind::End);
        let (first, last) = seqs(&image, 4);
        // By itself it takes nothing with it.
        assert_eq!(inspected(&flipped(&image, 3, end.offset + 3)), [(3, end.offset, 0, 0)]);
        let base = flipped(&image, 4, IN_OPEN);
        let behind = (4, DATA_START, first, last);
        assert_eq!(inspected(&flipped(&base, 3, end.offset + 3)), [(3, end.offset, first, u64::MAX), behind]);
        // Where nothing was ever written, nothing is missing.
        assert_eq!(inspected(&changed(&base, FileName::Segment(3), |bytes| bytes[end.offset as usize..].fill(0))), [behind]);
    });
}

/// A successor that was appended behind another segment than the one that stands there.
#[test]
fn a_segment_that_its_successor_does_not_know() {
    bounded(|| {
        let image = left(5, true);
        let end = last_in(&image, 3);
        let (first, last) = seqs(&image, 3);
        let other_crc = forged_open(&image, 4, |open| open[12] ^= 1);
        assert_eq!(inspected(&other_crc), [(3, end.offset, first, last)]);
        // One that was swapped in does not know the last frame.
        assert_eq!(inspected(&forged_open(&image, 4, |open| [12..16, 24..32].into_iter().for_each(|field| open[field].fill(0)))), []);
        // Another end.
        let other_end = forged_open(&image, 4, |open| edit_u64(open, 16, |end| end - 8));
        assert_eq!(inspected(&other_end), [(3, end.end, 0, 0)]);
        // One record more than there is, and so on from there.
        let more = forged_open(&image, 4, |open| [0, 32, 40].into_iter().for_each(|at| edit_u64(open, at, |seq| seq + 1)));
        assert_eq!(inspected(&more), [(3, end.end, last + 1, last + 1), (4, last_in(&image, 4).end, 0, 0)]);
        // It says that it follows itself.
        let itself = forged_open(&image, 3, |open| open[8..12].copy_from_slice(&3u32.to_le_bytes()));
        assert_eq!(inspected(&itself), [(3, DATA_START, 0, 0)]);
    });
}

/// A file between two segments of the chain that is none of them is not asked where the first of the two ends.
#[test]
fn a_chain_that_passes_by_a_file() {
    bounded(|| {
        let disk = Disk::new(3);
        let log = Log::open(disk.storage(), &strict()).unwrap();
        while log.stat().segments < 2 {
            put(&log, 400);
        }
        drop(log);
        let log = Log::open(disk.storage(), &strict()).unwrap();
        put(&log, 100);
        log.close().unwrap();
        let mut image = disk.visible_image();
        let bound = manifest(&image).bound.segment;
        let bytes = image.read(FileName::Segment(bound)).unwrap();
        let open = decode_open(&SegmentHeader::decode(bytes).unwrap(), bytes).unwrap();
        assert!(open.link.index == 1 && bound > 2);
        image.write(FileName::Segment(2), vec![0; 4096]);
        assert_eq!(inspected(&image), []);
        let found = found_in(&image, 1);
        let [.., before, end] = found[..] else { panic!("too short") };
        let damaged = flipped(&flipped(&image, 1, before.offset + 3), 1, end.offset + 3);
        assert_eq!(inspected(&damaged), [(1, before.offset, before.last_seq, before.last_seq)]);
    });
}

#[test]
fn frames_out_of_order() {
    bounded(|| {
        let image = left(5, true);
        let found = found_in(&image, 2);
        let (hit, next) = (found[4], found[5]);
        // A record that says that it is the next one: its own is missing, and the next one is there twice.
        let skips = changed(&image, FileName::Segment(2), |bytes| {
            let relative = u32::from_le_bytes(bytes[hit.offset as usize + 12..][..4].try_into().unwrap());
            bytes[hit.offset as usize + 12..][..4].copy_from_slice(&(relative + 1).to_le_bytes());
            seal(bytes, hit.offset);
        });
        let (header, _) = frames(skips.read(FileName::Segment(2)).unwrap());
        let decoded = FrameHeader::decode(
            header.seed,
            header.capacity,
            hit.offset,
            &skips.read(FileName::Segment(2)).unwrap()[hit.offset as usize..][..24],
        );
        assert_eq!(decoded.map(|frame| frame.relative_seq), Some((next.last_seq - seqs(&image, 2).0) as u32));
        assert_eq!(inspected(&skips), [(2, hit.offset, hit.last_seq, hit.last_seq), (2, next.offset, 0, 0)]);
        // A record where OPEN should be.
        let (first, last) = seqs(&image, 3);
        let no_open = changed(&image, FileName::Segment(3), |bytes| {
            let header = SegmentHeader::decode(bytes).unwrap();
            let len = (found_in(&image, 3)[0].end - DATA_START) as u32 - FRAME_HEADER_LEN as u32;
            let frame =
                FrameHeader { payload_crc: 0, payload_len: len, relative_seq: 0, watermark: 0, key_len: 0, op: OP_PUT, kind: Kind::Record };
            frame.encode(header.seed, DATA_START, &mut bytes[DATA_START as usize..]);
            seal(bytes, DATA_START);
        });
        let mut told = inspected(&no_open);
        told.dedup();
        assert_eq!(told, [(3, DATA_START, first, last)]);
    });
}
