//! Damaged, crafted and foreign files went wrong here once. Each test tells what happened and what must hold instead.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wal_engine::config::{Config, Recovery, SyncMode};
use wal_engine::error::{Code, Place};
use wal_engine::format::checksum;
use wal_engine::format::constants::{FRAME_HEADER_LEN, MANIFEST_COPY_LEN, MANIFEST_PAGE_LEN, OP_PUT};
use wal_engine::format::frame::{FrameHeader, Kind, payload_crc};
use wal_engine::format::manifest_slot::{Bound, Manifest};
use wal_engine::log::{Log, ReplayOptions};
use wal_engine::names::FileName;
use wal_engine::seq::{self, Tail};
use wal_prove::forge::{changed, forged};
use wal_prove::host::{Host, Step, config, value_of};
use wal_sim::{Disk, Image, SimStorage};

fn strict() -> Config {
    config(SyncMode::Always, true)
}

/// A log of these steps, killed.
fn killed(steps: &[Step]) -> Image {
    let mut host = Host::open(Disk::new(7), strict()).unwrap();
    steps.iter().for_each(|&step| host.step(step).unwrap());
    drop(host.log.take());
    host.disk.durable_image()
}

/// Seqs and values of all data records.
fn records(log: &Log<SimStorage>) -> Vec<(u64, Vec<u8>)> {
    let mut cursor = log.replay(seq::OLDEST, ReplayOptions::default()).unwrap();
    let mut found = Vec::new();
    while let Some(record) = cursor.next().unwrap() {
        found.push((record.seq, record.value.to_vec()));
    }
    found
}

/// Appends across a few segments, closes, and reads all of it again.
fn goes_on(disk: &Disk) {
    let log = Log::open(disk.storage(), &strict()).unwrap();
    let mut expected = records(&log);
    for _ in 0..6 {
        let next = log.last_seq() + 1;
        assert_eq!(log.append(OP_PUT, b"", &value_of(next, 1500)), Ok(next));
        expected.push((next, value_of(next, 1500)));
    }
    log.close().unwrap();
    for _ in 0..2 {
        let log = Log::open(disk.storage(), &strict()).unwrap();
        assert_eq!(records(&log), expected);
        drop(log);
    }
    disk.assert_ordered();
}

/// Writes one record whose frame ends at `end` behind the frames of segment 1, which end at `from`.
fn fill(image: &Image, from: usize, end: usize, seq: u64) -> Image {
    changed(image, FileName::Segment(1), |bytes| {
        let seed = u32::from_le_bytes(bytes[36..40].try_into().unwrap());
        let value = value_of(seq, end - from - FRAME_HEADER_LEN);
        let header = FrameHeader {
            payload_crc: payload_crc(&[&value]),
            payload_len: value.len() as u32,
            relative_seq: (seq - 1) as u32,
            watermark: 0,
            key_len: 0,
            op: OP_PUT,
            kind: Kind::Record,
        };
        header.encode(seed, from as u64, &mut bytes[from..]);
        bytes[from + FRAME_HEADER_LEN..end].copy_from_slice(&value);
    })
}

/// Where one record of 200 bytes behind an OPEN ends.
const FIRST_RECORD_END: usize = 64 + 104 + 224;

/// Other writers may fill a segment to its last byte. The first rotation afterwards wrote END behind the segment's end, where nobody looks for it.
#[test]
fn a_segment_without_room_for_its_end_can_be_left() {
    for spare in (0..=48).step_by(8) {
        let image = fill(&killed(&[Step::Append]), FIRST_RECORD_END, 4096 - spare, 2);
        let disk = Disk::from_image(&image, 1);
        goes_on(&disk);

        // The same, closed cleanly by that writer.
        let clean = changed(&image, FileName::Manifest, |bytes| {
            let manifest = bytes.chunks(MANIFEST_PAGE_LEN).filter_map(|page| Manifest::decode(page).ok());
            let newest = manifest.max_by_key(|manifest| manifest.generation).unwrap();
            let tail = Tail { seq: 2, data_seq: 2 };
            let bound = Bound { segment: 1, offset: 4096 - spare as u64, tail };
            for page in bytes.chunks_mut(MANIFEST_PAGE_LEN) {
                page[..MANIFEST_COPY_LEN].copy_from_slice(&Manifest { dirty: false, bound, ..newest }.encode());
            }
        });
        let disk = Disk::from_image(&clean, 1);
        goes_on(&disk);

        // And one slot of the manifest was lost.
        for slot in 0..2 {
            let image =
                changed(&clean, FileName::Manifest, |bytes| bytes[slot * 2 * MANIFEST_PAGE_LEN..][..2 * MANIFEST_PAGE_LEN].fill(0x5a));
            goes_on(&Disk::from_image(&image, 1));
        }
    }
}

/// Any file of the right name was taken for a segment of the log: the highest possible index left none to go on with, so that appending said
/// "no space" and a killed log could not be opened; and the file itself was renamed, written over or removed.
#[test]
fn a_foreign_file_takes_no_index_and_is_left_alone() {
    let foreign = b"somebody else's".repeat(400);
    let of_another_log = killed(&[Step::Append]).read(FileName::Segment(1)).unwrap().to_vec();
    let mut host = Host::open(Disk::new(8), strict()).unwrap();
    [Step::AppendRotating; 5].into_iter().for_each(|step| host.step(step).unwrap());
    drop(host.log.take());
    let image = host.disk.durable_image();
    let newest = image.names().filter(|name| matches!(name, FileName::Segment(_))).max().unwrap().index();
    for content in [Vec::new(), foreign, of_another_log] {
        for index in [newest + 1, newest + 2, u32::MAX - 1, u32::MAX] {
            let name = FileName::Segment(index);
            let mut image = image.clone();
            image.write(name, content.clone());
            let disk = Disk::from_image(&image, 1);
            goes_on(&disk);
            assert_eq!(disk.visible_image().read(name), Some(&content[..]), "{name}");

            // Nor does a prefix recovery, which moves damaged segments aside, run out of indexes.
            let damaged = changed(&image, FileName::Segment(2), |bytes| bytes[100] ^= 1);
            let disk = Disk::from_image(&damaged, 1);
            let log = Log::open(disk.storage(), &Config { recovery: Recovery::Prefix, ..strict() }).unwrap();
            assert!(log.report().damage.is_some());
            let last = log.last_seq();
            assert_eq!(log.append(OP_PUT, b"", b"after"), Ok(last + 1));
            log.close().unwrap();
            assert!(Log::open(disk.storage(), &strict()).is_ok());
            let kept = [name, FileName::Damaged(index)].map(|name| disk.visible_image().read(name).map(<[u8]>::to_vec));
            assert!(kept.contains(&Some(content.clone())), "{name}");
        }
    }
}

/// After a kill, damage in front of the last rotated segments was blamed on the manifest: "an old copy", with the name of a whole segment and no seqs.
#[test]
fn a_damaged_segment_behind_the_bound_is_named() {
    let image = killed(&[Step::AppendRotating; 9]);
    let damages: [fn(&mut Vec<u8>); 4] =
        [|bytes| bytes[3] ^= 1, |bytes| bytes[64] ^= 1, |bytes| bytes[170 - 24] ^= 1, |bytes| bytes.truncate(4095)];
    for damage in damages {
        let image = changed(&image, FileName::Segment(3), damage);
        let error = Log::open(Disk::from_image(&image, 1).storage(), &strict()).err().unwrap();
        assert_eq!((error.code, error.place), (Code::Corrupt, Place::File(FileName::Segment(3))), "{error:?}");
        let held = 3..=3;
        assert!(error.seq > 0 && error.seq <= *held.start() && error.seq_last >= *held.end() && error.offset.is_some(), "{error:?}");
    }
    let mut missing = image.clone();
    missing.remove(FileName::Segment(3));
    let error = Log::open(Disk::from_image(&missing, 1).storage(), &strict()).err().unwrap();
    assert_eq!((error.code, error.place), (Code::Corrupt, Place::File(FileName::Segment(3))), "{error:?}");
}

/// The OPEN of the last segment, damaged under a watermark, put seqs from 1 on at risk instead of the segment's.
#[test]
fn a_damaged_open_names_the_seqs_of_its_segment() {
    let image = killed(&[Step::AppendRotating, Step::AppendRotating, Step::AppendRotating, Step::Append, Step::Append]);
    let last = (1..9).rev().find(|&index| image.read(FileName::Segment(index)).is_some_and(|bytes| bytes[64 + 23] != 0)).unwrap();
    let image = changed(&image, FileName::Segment(last), |bytes| bytes[64 + 24] ^= 1);
    let error = Log::open(Disk::from_image(&image, 1).storage(), &strict()).err().unwrap();
    assert_eq!((error.code, error.place), (Code::Corrupt, Place::File(FileName::Segment(last))), "{error:?}");
    assert!(error.seq > 1 && error.seq_last >= 5, "{error:?}");
}

/// Without a manifest, and without a frame in a segment that this version can read, the directory was taken for an unfinished creation, and every segment
/// in it removed: those of a newer version, too, and files that are no log's at all.
#[test]
fn a_creation_removes_only_what_a_creation_leaves() {
    // A newer version, which need not call its manifest MANIFEST.
    let newer = changed(&killed(&[Step::Append, Step::AppendRotating, Step::AppendRotating]), FileName::Segment(1), |bytes| {
        bytes[10..12].copy_from_slice(&2u16.to_le_bytes());
        let crc = checksum::of(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    });
    let mut only = Image::new();
    only.write(FileName::Segment(1), newer.read(FileName::Segment(1)).unwrap().to_vec());
    for config in [strict(), Config { recovery: Recovery::Prefix, ..strict() }] {
        let disk = Disk::from_image(&only, 1);
        let error = Log::open(disk.storage(), &config).err().map(|error| (error.code, error.place));
        assert_eq!(error, Some((Code::Format, Place::File(FileName::Segment(1)))));
        assert_eq!(disk.visible_image().read(FileName::Segment(1)), only.read(FileName::Segment(1)));
    }

    // Somebody else's, and what a creation that was interrupted has left beside it.
    let foreign = b"somebody else's".repeat(400);
    for first in [None, Some(Vec::new()), Some(vec![0; 4096])] {
        let mut image = Image::new();
        for index in [2, 3, 77, u32::MAX] {
            image.write(FileName::Segment(index), foreign.clone());
        }
        if let Some(first) = first {
            image.write(FileName::Segment(1), first);
        }
        let disk = Disk::from_image(&image, 1);
        goes_on(&disk);
        for index in [2, 3, 77, u32::MAX] {
            assert_eq!(disk.visible_image().read(FileName::Segment(index)), Some(&foreign[..]), "{index}");
        }
    }
}

/// A manifest with right checksums that names a place in front of the frames, or inside of the first one: the log opened, and what was appended there
/// nobody found again.
#[test]
fn a_bound_where_no_frame_ends_is_refused() {
    let mut host = Host::open(Disk::new(9), strict()).unwrap();
    host.step(Step::Append).unwrap();
    host.log.take().unwrap().close().unwrap();
    let image = host.disk.durable_image();
    for offset in (72..168).step_by(8) {
        for dirty in [false, true] {
            let image = forged(&image, |manifest| {
                manifest.bound.offset = offset;
                manifest.bound.tail = Tail::default();
                manifest.dirty = dirty;
            });
            let error = Log::open(Disk::from_image(&image, 1).storage(), &strict()).err().map(|error| (error.code, error.place));
            assert_eq!(error, Some((Code::Corrupt, Place::File(FileName::Segment(1)))), "{offset}");
        }
    }
}

/// A writer may begin its frames wherever it likes. Where an OPEN and an END no longer fit behind that place, they were written over the segment's end.
#[test]
fn a_segment_that_begins_at_its_end_is_replaced() {
    let disk = Disk::new(10);
    Log::open(disk.storage(), &strict()).unwrap().close().unwrap();
    for data_start in (4096 - 200..4096u32).step_by(8) {
        let image = changed(&disk.durable_image(), FileName::Segment(1), |bytes| {
            bytes[52..56].copy_from_slice(&data_start.to_le_bytes());
            let crc = checksum::of(&bytes[..60]);
            bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        });
        let image = forged(&image, |manifest| manifest.bound.offset = u64::from(data_start));
        let disk = Disk::from_image(&image, 1);
        goes_on(&disk);
        let sizes = disk.visible_image();
        assert!(sizes.names().all(|name| !matches!(name, FileName::Segment(_)) || sizes.read(name).unwrap().len() == 4096));
    }
}

/// A clean log whose last segment is full goes on in another one, which links to the last frame of the full one: that of the bound, not any other.
#[test]
fn a_full_segment_ends_where_the_bound_says() {
    let image = fill(&killed(&[Step::Append]), FIRST_RECORD_END, 4096, 2);
    let refused = forged(&image, |manifest| {
        manifest.dirty = false;
        manifest.bound = Bound { segment: 1, offset: 4096 - 8, tail: Tail { seq: 2, data_seq: 2 } };
    });
    for _ in 0..2 {
        let error = Log::open(Disk::from_image(&refused, 1).storage(), &strict()).err().map(|error| error.code);
        assert_eq!(error, Some(Code::Corrupt));
    }
}
