//! The last segment of a log that was not closed: what is vouched for in it, what checkpoint it holds, and how much is read to know.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wal_engine::config::{Config, SyncMode};
use wal_engine::error::{Code, Place};
use wal_engine::format::constants::{DATA_START, FRAME_HEADER_LEN, MANIFEST_LEN, OP_PUT};
use wal_engine::format::frame::{FrameHeader, Kind, frame_len};
use wal_engine::log::{Log, ReplayOptions, inspect};
use wal_engine::names::FileName;
use wal_engine::seq::{self, Tail};
use wal_prove::forge::{changed, forged, frames, manifest, seal, segments};
use wal_prove::host::{bounded, config, put};
use wal_sim::{Call, Disk, Fault, Image, SimStorage};

fn always() -> Config {
    config(SyncMode::Always, true)
}

/// Checkpoints whose records are durable while the manifest never heard of them.
fn unheard(log: &Log<SimStorage>, disk: &Disk, covered: u64) {
    disk.fail(Fault::nth(1).of(Call::WriteAt).on(FileName::Manifest));
    assert_eq!(log.checkpoint(covered).map_err(|error| error.code), Err(Code::Io));
}

#[test]
fn checkpoints_that_the_manifest_does_not_know() {
    bounded(|| {
        // What is covered one after the other, between records, and what counts.
        let cases: [(&[u64], (u64, u64)); 5] = [(&[1], (2, 1)), (&[1, 2], (2, 1)), (&[1, 3], (4, 3)), (&[1, 0], (2, 1)), (&[0], (0, 0))];
        for (covered, expected) in cases {
            let disk = Disk::new(1);
            let log = Log::open(disk.storage(), &always()).unwrap();
            for &covered in covered {
                put(&log, 20);
                unheard(&log, &disk, covered);
            }
            put(&log, 20);
            drop(log);
            let log = Log::open(disk.storage(), &always()).unwrap();
            let found = (log.report().checkpoint_seq, log.report().checkpoint_covered);
            assert_eq!(found, expected, "{covered:?}");
            assert_eq!(manifest(&disk.visible_image()).checkpoint.n, expected.0);
        }
        // Of two that allow the same the first stays, as it did for whoever made them.
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &always()).unwrap();
        put(&log, 20);
        assert_eq!(log.checkpoint(1), Ok(2));
        put(&log, 20);
        assert_eq!(log.checkpoint(2), Ok(2));
        let covered = manifest(&disk.visible_image()).checkpoint.covered;
        drop(log);
        let log = Log::open(disk.storage(), &always()).unwrap();
        assert_eq!((log.report().checkpoint_seq, log.report().checkpoint_covered), (2, covered));
        // Also if only the later one is seen, because the first stands in a segment that nobody has to look into.
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &always()).unwrap();
        put(&log, 20);
        assert_eq!(log.checkpoint(1), Ok(2));
        put(&log, 2500);
        put(&log, 2500);
        assert_eq!((log.stat().segments, log.checkpoint(2)), (2, Ok(2)));
        drop(log);
        let log = Log::open(disk.storage(), &always()).unwrap();
        assert_eq!((log.report().checkpoint_seq, log.report().checkpoint_covered), (2, 1));
    });
}

/// What is data and what is not, also where a segment begins with a checkpoint or with none of either.
#[test]
fn the_last_data_record() {
    bounded(|| {
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &always()).unwrap();
        for _ in 0..3 {
            put(&log, 20);
        }
        log.checkpoint(0).unwrap();
        log.checkpoint(0).unwrap();
        drop(log);
        let mut expected = Tail { seq: 5, data_seq: 3 };
        for _ in 0..3 {
            let log = Log::open(disk.storage(), &always()).unwrap();
            assert_eq!(manifest(&disk.visible_image()).bound.tail, expected);
            log.checkpoint(0).unwrap();
            expected.seq += 1;
        }
        let log = Log::open(disk.storage(), &always()).unwrap();
        while log.stat().segments < 6 {
            log.checkpoint(0).unwrap();
        }
        expected.seq = log.last_seq();
        drop(log);
        drop(Log::open(disk.storage(), &always()).unwrap());
        assert_eq!(manifest(&disk.visible_image()).bound.tail, expected);
    });
}

/// The fragments of a record of which the last was never written are dropped, whatever vouches for them, and what stood in front of them stays.
#[test]
fn fragments_without_an_end() {
    bounded(|| {
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &always()).unwrap();
        put(&log, 100);
        drop(log);
        for synced in 0..=2 {
            let image = changed(&disk.visible_image(), FileName::Segment(1), |bytes| {
                let (header, found) = frames(bytes);
                let mut at = found[found.len() - 1].end;
                let mut watermark = at;
                for (number, kind) in [Kind::First, Kind::Middle, Kind::Middle].into_iter().enumerate() {
                    let frame = FrameHeader { payload_crc: 0, payload_len: 5, relative_seq: 1, watermark, key_len: 0, op: OP_PUT, kind };
                    frame.encode(header.seed, at, &mut bytes[at as usize..]);
                    bytes[at as usize + FRAME_HEADER_LEN..][..5].copy_from_slice(b"piece");
                    seal(bytes, at);
                    at += frame_len(5);
                    if number < synced {
                        watermark = at;
                    }
                }
            });
            let disk = Disk::from_image(&image, 4);
            let log = Log::open(disk.storage(), &always()).unwrap_or_else(|error| panic!("{synced} synced: {error}"));
            assert_eq!(log.last_seq(), 1, "{synced} synced");
            assert!(log.report().dropped_bytes > 0);
            assert_eq!(put(&log, 10), 2);
            log.close().unwrap();
            let log = Log::open(disk.storage(), &always()).unwrap();
            let mut cursor = log.replay(0, ReplayOptions::default()).unwrap();
            assert_eq!((1..=2).map(|_| cursor.next().unwrap().unwrap().value.len()).collect::<Vec<_>>(), [100, 10]);
        }
    });
}

/// In a segment larger than the scan's buffer, what has to be copied is still in the buffer when the scan is done.
#[test]
fn what_is_copied_is_read_once() {
    bounded(|| {
        const MIB: usize = 1 << 20;
        // More in front than the buffer holds; more behind, through which the search for other frames goes; what is to be copied begins in one filling of the
        // buffer and ends in the next; and a record larger than the buffer, which is read twice.
        for (synced, unsynced, len, is_read_twice) in
            [(30, 6, 600_000, false), (17, 7, 600_000, false), (24, 7, 600_000, false), (5, 1, 17 * MIB, true)]
        {
            let config = Config { segment_bytes: 32 * MIB as u64, ..config(SyncMode::Os, true) };
            let disk = Disk::new(1);
            let log = Log::open(disk.storage(), &config).unwrap();
            let (small, value) = (vec![7; 600_000], vec![7; len]);
            for _ in 0..synced {
                log.append(OP_PUT, b"", &small).unwrap();
            }
            log.sync(seq::LAST).unwrap();
            for _ in 0..unsynced {
                log.append(OP_PUT, b"", &value).unwrap();
            }
            let last = log.last_seq();
            drop(log);
            let log = Log::open(disk.storage(), &config).unwrap();
            let report = log.report();
            assert_eq!((report.last_seq, report.dropped_bytes), (last, 0));
            assert!(report.copied_records >= unsynced && report.copied_bytes >= unsynced * value.len() as u64);
            let whole = 32 * MIB as u64 + if is_read_twice { report.copied_bytes } else { 0 };
            assert!((whole..whole + 2 * MIB as u64).contains(&report.bytes_read), "{} bytes were read", report.bytes_read);
            let mut cursor = log.replay(0, ReplayOptions::default()).unwrap();
            let mut count = 0;
            while let Some(record) = cursor.next().unwrap() {
                count += 1;
                assert!(record.seq == count && record.value == if count > synced { &value[..] } else { &small[..] });
            }
            assert_eq!(count, last);
        }
    });
}

/// What an opening reads to know what is there: the manifest, the front of each segment, and the last segment.
#[test]
fn how_much_is_read() {
    bounded(|| {
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &always()).unwrap();
        while log.stat().segments < 3 {
            put(&log, 500);
        }
        let killed = disk.visible_image();
        log.close().unwrap();
        let clean = disk.visible_image();
        let fronts = |image: &Image| 4096 * segments(image).len() as u64;
        let read = |image: &Image| inspect(&Disk::from_image(image, 2).storage(), &always(), false, &mut |_| {}).unwrap().bytes_read;
        // A clean log's last segment is looked at once more, at its end.
        assert_eq!(read(&clean), MANIFEST_LEN as u64 + fronts(&clean) + 4096 + FRAME_HEADER_LEN as u64);
        assert_eq!(read(&killed), MANIFEST_LEN as u64 + fronts(&killed) + 4096 - DATA_START);
        // Everything is every segment once more.
        let full = inspect(&Disk::from_image(&clean, 2).storage(), &always(), true, &mut |_| {}).unwrap().bytes_read;
        assert!(full > read(&clean) + 3 * 4000 && full <= read(&clean) + 3 * 2 * 4096, "{full}");
    });
}

/// What the manifest says stands in front of its bound is what stands there.
#[test]
fn a_bound_with_another_tail() {
    bounded(|| {
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &always()).unwrap();
        put(&log, 100);
        put(&log, 100);
        log.checkpoint(0).unwrap();
        let image = disk.visible_image();
        drop(log);
        let bound = manifest(&image).bound;
        assert_eq!(bound.tail, Tail { seq: 3, data_seq: 2 });
        let open = |image: &Image| Log::open(Disk::from_image(image, 2).storage(), &always()).map(|log| log.last_seq());
        assert_eq!(open(&image), Ok(3));
        for (seq, data_seq) in [(4, 2), (2, 2), (3, 3), (3, 1)] {
            let image = forged(&image, |manifest| manifest.bound.tail = Tail { seq, data_seq });
            let error = open(&image).unwrap_err();
            assert_eq!((error.code, error.place, error.offset), (Code::Corrupt, Place::File(FileName::Segment(1)), Some(bound.offset)));
        }
        // The frame in front of it, of which nothing is left: whatever came later may be lost as well.
        let flipped = changed(&image, FileName::Segment(1), |bytes| bytes[bound.offset as usize - 40] ^= 1);
        let error = Log::open(Disk::from_image(&flipped, 2).storage(), &always()).err().unwrap();
        assert_eq!((error.code, error.seq, error.seq_last), (Code::Corrupt, 3, u64::MAX));
        // A place where no frame ends.
        let image = forged(&image, |manifest| manifest.bound.offset -= 8);
        assert_eq!(open(&image).map_err(|error| (error.code, error.offset)), Err((Code::Corrupt, Some(bound.offset - 8))));
    });
}

/// A log that died in the first moments of a segment, and one whose END names a segment that is gone.
#[test]
fn right_behind_a_rotation() {
    bounded(|| {
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &always()).unwrap();
        while log.stat().segments < 2 {
            put(&log, 500);
        }
        let last = log.last_seq();
        drop(log);
        let image = disk.visible_image();
        let opened = Log::open(Disk::from_image(&image, 2).storage(), &always()).unwrap();
        assert_eq!((opened.last_seq(), opened.report().copied_records, opened.report().segments), (last, 1, 1));
        let mut gone = image.clone();
        gone.remove(FileName::Segment(2));
        let error = Log::open(Disk::from_image(&gone, 2).storage(), &always()).err().unwrap();
        assert_eq!((error.code, error.place), (Code::Corrupt, Place::File(FileName::Segment(2))));
        assert_eq!((error.seq, error.seq_last), (last, u64::MAX));
    });
}
