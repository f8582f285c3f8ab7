//! What a prefix recovery takes as proof that a seq was given out, exactly: one too few is given out again, one too many is skipped.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wal_engine::config::{Config, Recovery, SyncMode};
use wal_engine::error::{Code, Error, Place};
use wal_engine::format::constants::{DATA_START, FRAME_HEADER_LEN, OP_PUT};
use wal_engine::format::control::{Checkpoint, How, Link, Open};
use wal_engine::format::frame::FrameHeader;
use wal_engine::format::frame::Kind;
use wal_engine::format::segment_header::SegmentHeader;
use wal_engine::log::{Durability, Entry, Log, Report};
use wal_engine::names::FileName;
use wal_engine::seq;
use wal_engine::seq::Tail;
use wal_engine::storage::{IoError, IoKind};
use wal_prove::forge::{changed, flipped, forged, frames, manifest, seal, segments};
use wal_prove::host::{bounded, config, put};
use wal_sim::{Call, Disk, Fault, Image};

fn strict() -> Config {
    config(SyncMode::Always, true)
}

fn prefix(image: &Image) -> Report {
    let log = Log::open(Disk::from_image(image, 4).storage(), &Config { recovery: Recovery::Prefix, ..strict() }).unwrap();
    let report = log.report();
    assert_eq!(log.last_seq(), report.lost_last_seq.max(report.last_seq));
    report
}

/// A log whose last segment, the fifth, ends with a batch; how it was left, and its last seq.
fn left(clean: bool) -> (Image, u64) {
    let disk = Disk::new(3);
    let log = Log::open(disk.storage(), &strict()).unwrap();
    while log.stat().segments < 5 {
        put(&log, 400);
    }
    put(&log, 10);
    let batch: Vec<Entry<'_>> = (0..4).map(|_| Entry { op: OP_PUT, key: b"", value: b"value" }).collect();
    let last = log.append_batch(&batch[..], Durability::Mode).unwrap();
    if clean {
        log.close().unwrap();
    } else {
        drop(log);
    }
    (disk.visible_image(), last)
}

fn end_of(image: &Image, index: u32) -> u64 {
    frames(image.read(FileName::Segment(index)).unwrap()).1.last().unwrap().last_seq
}

/// The manifest knows of the first segment alone, so that what was given out later has to be proven by the segments.
fn forgetful(image: &Image) -> Image {
    let first = frames(image.read(FileName::Segment(1)).unwrap()).1[1];
    forged(image, |manifest| {
        manifest.dirty = true;
        manifest.bound.segment = 1;
        manifest.bound.offset = first.end;
        (manifest.bound.tail.seq, manifest.bound.tail.data_seq) = (1, 1);
    })
}

#[test]
fn each_proof_by_itself() {
    bounded(|| {
        for clean in [false, true] {
            let (image, last) = left(clean);
            let (_, fifth) = frames(image.read(FileName::Segment(5)).unwrap());
            // The third segment is damaged, so that the others are evidence and no more.
            let base = flipped(&forgetful(&image), 3, 900);
            assert_eq!((prefix(&base).lost_last_seq, prefix(&base).last_seq), (last, last));
            // Without the batch's payload its first record is all that its header proves.
            let batch = fifth[fifth.len() - 1];
            assert_eq!(batch.kind, Kind::Batch);
            let image = flipped(&base, 5, batch.offset + FRAME_HEADER_LEN as u64 + 30);
            assert_eq!(prefix(&image).lost_last_seq, last - 3);
            // Without the batch's header the record before it.
            let image = flipped(&base, 5, batch.offset + 5);
            assert_eq!(prefix(&image).lost_last_seq, last - 4);
            // Without the fifth OPEN, the END before it says where the relative seqs begin.
            let image = flipped(&base, 5, fifth[0].offset + 30);
            assert_eq!(prefix(&image).lost_last_seq, last);
            let image = flipped(&base, 5, 70);
            assert_eq!(prefix(&image).lost_last_seq, last);
            // Without either, what the END's segment holds.
            let fourth = frames(image.read(FileName::Segment(4)).unwrap()).1;
            let end = fourth[fourth.len() - 1];
            let image = flipped(&image, 4, end.offset + FRAME_HEADER_LEN as u64);
            assert_eq!(prefix(&image).lost_last_seq, end_of(&image, 4));
            // An END without the fifth segment, and nothing but the OPEN of the fourth.
            let mut gone = base.clone();
            gone.remove(FileName::Segment(5));
            assert_eq!(prefix(&gone).lost_last_seq, end_of(&base, 4));
            let only_open = changed(&gone, FileName::Segment(4), |bytes| bytes[fourth[1].offset as usize..].fill(0));
            assert_eq!(prefix(&only_open).lost_last_seq, end_of(&base, 3));
            // A segment that is cut behind its OPEN, and one that is cut inside of it.
            for (len, proven) in
                [(fourth[2].end, fourth[2].last_seq), (fourth[1].offset, end_of(&base, 3)), (100, end_of(&base, 3)), (10, end_of(&base, 3))]
            {
                let image = changed(&gone, FileName::Segment(4), |bytes| bytes.truncate(len as usize));
                assert_eq!(prefix(&image).lost_last_seq, proven, "cut at {len}");
            }
        }
    });
}

/// The manifest's bound says what the relative seqs in its segment refer to, where neither an OPEN nor an END does.
#[test]
fn the_bound_as_a_proof() {
    bounded(|| {
        let disk = Disk::from_image(&left(false).0, 4);
        let log = Log::open(disk.storage(), &strict()).unwrap();
        let before = log.last_seq();
        put(&log, 10);
        log.checkpoint(0).unwrap();
        let last = put(&log, 10);
        drop(log);
        let image = disk.visible_image();
        let bound = manifest(&image).bound;
        assert!(bound.offset > DATA_START && bound.tail.seq > before);
        let open_is_gone = flipped(&image, bound.segment, 70);
        assert_eq!((prefix(&open_is_gone).last_seq, prefix(&open_is_gone).lost_last_seq), (last, last));
        // The frame at the bound is gone as well: what the manifest says is left.
        let both = flipped(&open_is_gone, bound.segment, bound.offset + 3);
        assert_eq!(prefix(&both).lost_last_seq, bound.tail.seq);
        // A bound at the segment's start.
        let (image, _) = left(false);
        let segment = segments(&image)[0];
        let (_, first) = frames(image.read(FileName::Segment(segment)).unwrap());
        let start = forged(&image, |manifest| {
            manifest.bound.segment = segment;
            manifest.bound.offset = DATA_START;
            (manifest.bound.tail.seq, manifest.bound.tail.data_seq) = (0, 0);
        });
        let mut alone = flipped(&start, segment, 70);
        segments(&image).into_iter().skip(1).for_each(|index| drop(alone.remove(FileName::Segment(index))));
        let image = changed(&alone, FileName::Segment(segment), |bytes| bytes[first[first.len() - 1].offset as usize] ^= 1);
        assert_eq!(prefix(&image).lost_last_seq, end_of(&start, segment));
    });
}

/// A segment that holds nothing yet proves the seqs in front of it, and not the one that it would give out next.
#[test]
fn an_open_without_a_record() {
    bounded(|| {
        let disk = Disk::from_image(&left(false).0, 4);
        let log = Log::open(disk.storage(), &strict()).unwrap();
        let last = log.checkpoint(seq::LAST).unwrap();
        drop(log);
        // The bound covers everything: nothing is copied.
        let log = Log::open(disk.storage(), &strict()).unwrap();
        assert_eq!((log.report().copied_records, log.last_seq()), (0, last));
        drop(log);
        let image = flipped(&forgetful(&disk.visible_image()), 3, 900);
        let report = prefix(&forged(&image, |manifest| (manifest.checkpoint.n, manifest.checkpoint.covered) = (0, 0)));
        assert_eq!((report.lost_last_seq, report.last_seq), (last, last));
    });
}

/// Numbers that no log gives out prove nothing, and do not spoil what others prove.
#[test]
fn numbers_that_prove_nothing() {
    bounded(|| {
        let (image, last) = left(true);
        let base = flipped(&forgetful(&image), 3, 900);
        let end = *frames(base.read(FileName::Segment(4)).unwrap()).1.last().unwrap();
        for absurd in [seq::MAX, seq::MAX + 1, u64::MAX] {
            let image = changed(&base, FileName::Segment(4), |bytes| {
                bytes[end.offset as usize + FRAME_HEADER_LEN..][..8].copy_from_slice(&absurd.to_le_bytes());
                seal(bytes, end.offset);
            });
            assert_eq!(prefix(&image).lost_last_seq, last, "END says {absurd}");
        }
        // A licence in an OPEN: the highest that there may be, and the next lower.
        for (absurd, expected) in [(seq::MAX, None), (seq::MAX - 1, Some(seq::MAX - 1))] {
            let image = changed(&base, FileName::Segment(5), |bytes| {
                bytes[DATA_START as usize + FRAME_HEADER_LEN + 48..][..8].copy_from_slice(&absurd.to_le_bytes());
                seal(bytes, DATA_START);
            });
            let report = prefix(&image);
            assert!(report.lost_last_seq < seq::MAX);
            assert!(expected.is_none_or(|expected| report.lost_last_seq == expected), "{report:?}");
        }
    });
}

fn frame(kind: Kind, payload_len: u32, relative_seq: u32) -> FrameHeader {
    FrameHeader { payload_crc: 0, payload_len, relative_seq, watermark: 0, key_len: 0, op: 0, kind }
}

/// What another log's segment says proves nothing about this one.
#[test]
fn a_segment_of_another_log() {
    bounded(|| {
        let (image, last) = left(true);
        let other = Disk::new(99);
        let log = Log::open(other.storage(), &strict()).unwrap();
        while log.stat().segments < 12 {
            put(&log, 400);
        }
        let mut mixed = flipped(&image, 3, 900);
        mixed.write(FileName::Segment(11), other.visible_image().read(FileName::Segment(11)).unwrap().to_vec());
        assert_eq!(prefix(&mixed).lost_last_seq, last);
    });
}

/// A file that may hold records is moved aside, one that certainly holds none is used again.
#[test]
fn what_is_moved_aside() {
    bounded(|| {
        let (image, _) = left(true);
        let base = flipped(&image, 3, 900);
        let aside = |image: &Image| {
            let disk = Disk::from_image(image, 4);
            drop(Log::open(disk.storage(), &Config { recovery: Recovery::Prefix, ..strict() }).unwrap());
            disk.visible_image()
                .names()
                .filter_map(|name| if let FileName::Damaged(index) = name { Some(index) } else { None })
                .collect::<Vec<_>>()
        };
        // The third holds what is kept; a prepared segment holds nothing.
        assert_eq!(aside(&base), [4, 5]);
        let prepared = segments(&base).into_iter().find(|&index| index > 5).unwrap();
        let with = |change: &dyn Fn(&mut Vec<u8>)| changed(&base, FileName::Segment(prepared), change);
        assert_eq!(aside(&with(&|bytes| bytes[200] ^= 1)), [4, 5]);
        // Above the log's own indexes, a file that has no header of this log may be anybody's: it stays as it is.
        for change in [(|bytes: &mut Vec<u8>| bytes[10] ^= 1) as fn(&mut Vec<u8>), |bytes| bytes.truncate(20)] {
            let image = with(&change);
            assert_eq!(aside(&image), [4, 5]);
            let disk = Disk::from_image(&image, 4);
            drop(Log::open(disk.storage(), &Config { recovery: Recovery::Prefix, ..strict() }).unwrap());
            assert_eq!(disk.visible_image().read(FileName::Segment(prepared)), image.read(FileName::Segment(prepared)));
        }
        // A symlink, or nothing at all any more.
        for kind in [IoKind::NotAFile, IoKind::NotFound] {
            let disk = Disk::from_image(&base, 4);
            disk.fail(Fault::nth(1).of(Call::Open).on(FileName::Segment(5)).error(IoError { kind, os_error: 40 }).forever());
            let log = Log::open(disk.storage(), &Config { recovery: Recovery::Prefix, ..strict() }).unwrap();
            assert_eq!(log.report().files_aside, 2);
        }
        // A frame of its own, further on.
        let crafted = with(&|bytes| {
            let header = SegmentHeader::decode(bytes).unwrap();
            frame(Kind::Record, 0, 0).encode(header.seed, 800, &mut bytes[800..]);
        });
        assert_eq!(aside(&crafted), [4, 5, prepared]);
    });
}

/// A recovery announces what it will move aside. One that was interrupted is completed by whoever opens the log next; other files are left alone.
#[test]
fn an_interrupted_move_is_completed() {
    bounded(|| {
        let (image, _) = left(true);
        let base = flipped(&image, 3, 900);
        for stuck in [4, 5] {
            let disk = Disk::from_image(&base, 4);
            disk.fail(Fault::nth(1).of(Call::Rename).on(FileName::Segment(stuck)).forever());
            let opened = Log::open(disk.storage(), &Config { recovery: Recovery::Prefix, ..strict() });
            assert_eq!(opened.err().map(|error| error.code), Some(Code::Io));
            assert_eq!(manifest(&disk.visible_image()).aside, (4, 5));
            let disk = Disk::from_image(&disk.durable_image(), 4);
            let log = Log::open(disk.storage(), &strict()).unwrap();
            assert!(log.report().files_aside > 0);
            put(&log, 10);
            log.close().unwrap();
            let after = disk.visible_image();
            for index in [4, 5] {
                assert_eq!(after.read(FileName::Damaged(index)), image.read(FileName::Segment(index)), "{index}, stuck at {stuck}");
            }
            assert_eq!(after.names().filter(|name| matches!(name, FileName::Damaged(_))).count(), 2);
        }
        // A second recovery that is interrupted as well does not take back what the first one announced.
        let disk = Disk::from_image(&base, 4);
        let open = |disk: &Disk| Log::open(disk.storage(), &Config { recovery: Recovery::Prefix, ..strict() }).map(drop);
        disk.fail(Fault::nth(1).of(Call::Rename).on(FileName::Segment(5)).forever());
        assert_eq!(open(&disk).map_err(|error| error.code), Err(Code::Io));
        let image_of_first = disk.visible_image();
        assert!(image_of_first.read(FileName::Segment(4)).is_none());
        let recovered = manifest(&image_of_first).bound.segment;
        let disk = Disk::from_image(&flipped(&image_of_first, recovered, 100), 4);
        disk.fail(Fault::nth(1).of(Call::Rename).on(FileName::Segment(5)).forever());
        assert_eq!(open(&disk).map_err(|error| error.code), Err(Code::Io));
        assert_eq!(manifest(&disk.visible_image()).aside, (4, recovered));
        // Nothing was announced: what nobody needs is no evidence, whatever its index.
        let mut strange = image.clone();
        strange.write(FileName::Segment(0), vec![0; 4096]);
        let disk = Disk::from_image(&strange, 4);
        let log = Log::open(disk.storage(), &strict()).unwrap();
        assert_eq!(log.report().files_aside, 0);
        log.close().unwrap();
        assert!(disk.visible_image().names().all(|name| !matches!(name, FileName::Damaged(_))));
    });
}

fn damage(image: &Image) -> Error {
    prefix(image).damage.unwrap()
}

/// The report names the first damage on the way from the oldest segment on.
#[test]
fn which_damage_is_reported() {
    bounded(|| {
        let (image, last) = left(true);
        let third = frames(image.read(FileName::Segment(3)).unwrap()).1;
        let end = third[third.len() - 1];
        // The chain breaks off.
        let mut gone = image.clone();
        gone.remove(FileName::Segment(4));
        let found = damage(&gone);
        assert_eq!((found.code, found.place, found.offset), (Code::Corrupt, Place::File(FileName::Segment(3)), Some(end.end)));
        assert_eq!((found.seq, found.seq_last), (end.last_seq + 1, u64::MAX));
        // It does not, but there is a frame behind the end that the manifest names.
        let fifth = frames(image.read(FileName::Segment(5)).unwrap()).1;
        let batch = fifth[fifth.len() - 1];
        let old = forged(&image, |manifest| {
            manifest.bound.offset = batch.offset;
            (manifest.bound.tail.seq, manifest.bound.tail.data_seq) = (last - 4, last - 4);
        });
        let found = damage(&old);
        assert_eq!((found.place, found.offset), (Place::File(FileName::Segment(5)), Some(batch.offset)));
        assert_eq!((prefix(&old).last_seq, prefix(&old).lost_first_seq), (last, 0));
        // A byte, in a segment behind the bound; what stands in front of it is kept.
        assert_eq!(prefix(&flipped(&forgetful(&image), 3, 900)).lost_first_seq, prefix(&flipped(&image, 3, 900)).lost_first_seq);
        let found = damage(&flipped(&image, 3, 900));
        let hit = third.iter().rfind(|frame| frame.offset <= 900).unwrap();
        assert_eq!((found.place, found.offset), (Place::File(FileName::Segment(3)), Some(hit.offset)));
    });
}

/// A log killed between an END and the OPEN of its successor, in which somebody has put an OPEN of his own.
#[test]
fn a_successor_that_does_not_follow() {
    bounded(|| {
        // The last segment whose successor holds nothing yet.
        let mut image = left(false).0;
        let fifth = frames(image.read(FileName::Segment(5)).unwrap()).1;
        let fourth = frames(image.read(FileName::Segment(4)).unwrap()).1;
        assert_eq!(fourth[fourth.len() - 1].kind, Kind::End);
        image = changed(&image, FileName::Segment(5), |bytes| bytes[fifth[0].offset as usize..].fill(0));
        let last = end_of(&image, 4);
        assert_eq!(Log::open(Disk::from_image(&image, 4).storage(), &strict()).unwrap().last_seq(), last);
        for how in [How::Rotated, How::Recovered] {
            let open = Open {
                first_seq: 7,
                how,
                link: Link { index: 77, end: 4000, last_frame: 3900, last_crc: 5 },
                before: Tail { seq: 6, data_seq: 6 },
                checkpoint: Checkpoint::default(),
                epoch: 1,
            };
            let image = changed(&image, FileName::Segment(5), |bytes| {
                let header = SegmentHeader::decode(bytes).unwrap();
                let payload = open.encode();
                let at = DATA_START as usize;
                frame(Kind::Open, payload.len() as u32, 0).encode(header.seed, DATA_START, &mut bytes[at..]);
                bytes[at + FRAME_HEADER_LEN..][..payload.len()].copy_from_slice(&payload);
                seal(bytes, DATA_START);
            });
            let strictly = Log::open(Disk::from_image(&image, 4).storage(), &strict()).map(|log| log.last_seq());
            if how == How::Recovered {
                // As an interrupted opening leaves it.
                assert_eq!(strictly, Ok(last));
                continue;
            }
            // It follows a segment that is not there.
            assert_eq!(strictly.map_err(|error| (error.code, error.place)), Err((Code::Corrupt, Place::File(FileName::Segment(77)))));
            assert_eq!(damage(&image).place, Place::File(FileName::Segment(5)));
        }
    });
}

/// The checkpoint that counts is the highest in what is kept, whatever the manifest says; of two alike the first.
#[test]
fn checkpoints_in_what_is_kept() {
    bounded(|| {
        let disk = Disk::new(3);
        let log = Log::open(disk.storage(), &strict()).unwrap();
        put(&log, 10);
        assert_eq!(log.checkpoint(1), Ok(2));
        while log.stat().segments < 2 {
            put(&log, 400);
        }
        assert_eq!(log.checkpoint(2), Ok(2));
        while log.stat().segments < 4 {
            put(&log, 400);
        }
        let high = log.checkpoint(12).unwrap();
        while log.stat().segments < 6 {
            put(&log, 400);
        }
        drop(log);
        let image = forged(&disk.visible_image(), |manifest| (manifest.checkpoint.n, manifest.checkpoint.covered) = (0, 0));
        for (damaged, expected) in [(2, (2, 1)), (3, (2, 1)), (5, (high, 12))] {
            let report = prefix(&flipped(&image, damaged, 3000));
            assert!(report.damage.is_some());
            assert_eq!((report.checkpoint_seq, report.checkpoint_covered), expected, "damage in {damaged}");
        }
        let report = prefix(&forged(&flipped(&image, 3, 3000), |manifest| (manifest.checkpoint.n, manifest.checkpoint.covered) = (3, 3)));
        assert_eq!((report.checkpoint_seq, report.checkpoint_covered), (3, 3));
    });
}

/// A segment that says that it follows itself.
#[test]
fn a_segment_behind_itself() {
    bounded(|| {
        let disk = Disk::new(3);
        let log = Log::open(disk.storage(), &strict()).unwrap();
        (0..4).for_each(|_| assert!(put(&log, 100) > 0));
        drop(log);
        let found = frames(disk.visible_image().read(FileName::Segment(1)).unwrap()).1;
        let image = changed(&disk.visible_image(), FileName::Segment(1), |bytes| {
            bytes[DATA_START as usize + FRAME_HEADER_LEN + 8..][..4].copy_from_slice(&1u32.to_le_bytes());
            seal(bytes, DATA_START);
        });
        let report = prefix(&flipped(&image, 1, found[2].offset + 30));
        assert_eq!((report.lost_first_seq, report.lost_last_seq), (2, 4));
    });
}
