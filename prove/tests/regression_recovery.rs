//! Opening went wrong here once. Each test tells what happened and what must hold instead.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use wal_engine::config::{Config, OpenKind, Recovery, SyncMode};
use wal_engine::error::{Code, Error};
use wal_engine::format::checksum;
use wal_engine::format::constants::{DATA_START, FRAME_HEADER_LEN, OP_PUT};
use wal_engine::format::frame::{FrameHeader, Kind, frame_len};
use wal_engine::format::manifest_slot::Manifest;
use wal_engine::log::{Durability, Entry, Log, ReplayOptions, Waited, inspect};
use wal_engine::names::FileName;
use wal_engine::seq;
use wal_engine::storage::{Access, File, Storage};
use wal_prove::forge::{changed, forged, frames, last_with_frames, seal, segments};
use wal_prove::host::{bounded, config, value_of};
use wal_sim::{Budget, Call, Disk, EIO, ENOMEM, Fault, Image, SimStorage};

type Records = BTreeMap<u64, Vec<u8>>;

fn strict() -> Config {
    config(SyncMode::Always, true)
}

fn prefix() -> Config {
    Config { recovery: Recovery::Prefix, ..strict() }
}

fn read_only(recovery: Recovery) -> Config {
    Config { open: OpenKind::ReadOnly, recovery, ..strict() }
}

/// What a log left behind, and what it had acknowledged.
struct Left {
    image: Image,
    records: Records,
    last: u64,
    clean: bool,
}

fn put(log: &Log<SimStorage>, records: &mut Records, len: usize) {
    let seq = log.last_seq() + 1;
    let value = value_of(seq, len);
    assert_eq!(log.append(OP_PUT, b"", &value), Ok(seq));
    records.insert(seq, value);
}

fn put_batch(log: &Log<SimStorage>, records: &mut Records, count: u64) {
    let first = log.last_seq() + 1;
    let values: Vec<Vec<u8>> = (first..first + count).map(|seq| value_of(seq, 60)).collect();
    let entries: Vec<Entry<'_>> = values.iter().map(|value| Entry { op: OP_PUT, key: b"", value }).collect();
    assert_eq!(log.append_batch(&entries[..], Durability::Mode), Ok(first + count - 1));
    records.extend((first..).zip(values));
}

fn put_segments(log: &Log<SimStorage>, records: &mut Records, segments: u64) {
    while log.stat().segments < segments {
        put(log, records, 250);
        if log.last_seq().is_multiple_of(5) {
            put_batch(log, records, 3);
        }
    }
}

/// A log that ended cleanly or with the process, in its last segment a few records and then a batch.
fn left(segments: u64, clean: bool) -> Left {
    let disk = Disk::new(3);
    let log = Log::open(disk.storage(), &strict()).unwrap();
    let mut records = Records::new();
    put_segments(&log, &mut records, segments);
    for _ in 0..4 {
        put(&log, &mut records, 100);
    }
    put_batch(&log, &mut records, 5);
    let last = log.last_seq();
    if clean {
        log.close().unwrap();
    } else {
        drop(log);
    }
    Left { image: disk.visible_image(), records, last, clean }
}

/// The records that a cursor shows, held against what was appended, and the error that stopped it.
fn read(log: &Log<SimStorage>, records: &Records, after: u64, options: ReplayOptions) -> (Vec<u64>, Option<Error>) {
    let mut cursor = match log.replay(after, options) {
        Ok(cursor) => cursor,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut seqs: Vec<u64> = Vec::new();
    loop {
        match cursor.next() {
            Ok(Some(record)) => {
                assert!(seqs.last().is_none_or(|last| *last < record.seq), "out of order");
                assert_eq!(records.get(&record.seq).map(Vec::as_slice), Some(record.value), "seq {}", record.seq);
                seqs.push(record.seq);
            }
            Ok(None) => return (seqs, None),
            Err(error) => return (seqs, Some(error)),
        }
    }
}

/// The same over any hole.
fn read_all(log: &Log<SimStorage>, records: &Records) -> Vec<u64> {
    let (seqs, error) = read(log, records, seq::OLDEST, ReplayOptions { skip_lost: true, ..ReplayOptions::default() });
    assert_eq!(error, None);
    seqs
}

/// A cursor that began right behind what a prefix recovery had kept, or inside of what it had lost, went on behind the hole without a word. Wherever it
/// begins in front of the hole's end, it meets `Gap` before it shows anything from behind.
#[test]
fn a_cursor_that_begins_at_a_hole_meets_it() {
    bounded(|| {
        let left = left(5, true);
        for (segment, offset) in [(3, 800), (1, 10), (5, 80)] {
            let image = changed(&left.image, FileName::Segment(segment), |bytes| bytes[offset] ^= 1);
            let disk = Disk::from_image(&image, 4);
            let log = Log::open(disk.storage(), &prefix()).unwrap();
            let report = log.report();
            let mut records = left.records.clone();
            assert!(report.lost_first_seq > 0 && report.lost_last_seq == left.last, "{report:?}");
            put(&log, &mut records, 50);
            let again = |log: &Log<SimStorage>| {
                for after in (0..report.lost_last_seq).chain([seq::OLDEST]) {
                    let (seqs, error) = read(log, &records, after, ReplayOptions::default());
                    let kept: Vec<u64> = (1..report.lost_first_seq).filter(|seq| after == seq::OLDEST || *seq > after).collect();
                    assert_eq!(seqs, kept, "after {after}");
                    let error = error.unwrap_or_else(|| panic!("after {after}: over the hole without an error"));
                    let first = if after == seq::OLDEST { 1 } else { after + 1 }.max(report.lost_first_seq);
                    assert_eq!((error.code, error.seq, error.seq_last), (Code::Gap, first, left.last), "after {after}");
                }
                // Who waits there does not wait in vain.
                let mut cursor = log.replay(report.lost_first_seq - 1, ReplayOptions::default()).unwrap();
                let told = cursor.wait(0).map_err(|error| error.code);
                assert!(matches!(told, Ok(Waited::Durable) | Err(Code::Gap)), "{told:?}");
                let (seqs, error) = read(log, &records, left.last, ReplayOptions::default());
                assert_eq!((seqs, error), (vec![left.last + 1], None));
                let all: Vec<u64> = (1..report.lost_first_seq).chain([left.last + 1]).collect();
                assert_eq!(read_all(log, &records), all);
            };
            again(&log);
            log.close().unwrap();
            again(&Log::open(disk.storage(), &strict()).unwrap());
        }
    });
}

/// A segment that could not be read, because of its OPEN, its header or its length, counted as if no seq of it had ever been given out; and of a batch only
/// the first seq counted. A prefix recovery gave seqs out again that had been durable. Every frame header that is valid by itself proves its seqs.
#[test]
fn damage_gives_no_seq_out_again() {
    bounded(|| {
        for left in [left(1, false), left(5, false), left(5, true)] {
            let (name, frames) = last_with_frames(&left.image);
            let (open, end) = (frames[0], frames[frames.len() - 1].end);
            assert_eq!((open.kind, frames[frames.len() - 1].kind), (Kind::Open, Kind::Batch));
            let mut cases: Vec<(String, Image, u64)> = Vec::new();
            // Magic, index, seed, capacity and checksum of the header; header and payload of the OPEN; every byte of them in the long run.
            for byte in [0, 32, 36, 41, 60, 64, 70, 79, 87, 88, 96, 104, 120, 160] {
                let image = changed(&left.image, name, |bytes| bytes[byte] ^= 4);
                cases.push((format!("byte {byte}"), image, left.last));
            }
            // A record in front of the batch that ends the log.
            let record = frames[frames.len() - 3];
            let image = changed(&left.image, name, |bytes| bytes[record.offset as usize + FRAME_HEADER_LEN] ^= 4);
            cases.push(("a record".to_string(), image, left.last));
            for frame in &frames[1..] {
                let image = changed(&left.image, name, |bytes| bytes.truncate(frame.end as usize));
                cases.push((format!("cut at {}", frame.end), image, frame.last_seq));
            }
            let image = changed(&left.image, name, |bytes| bytes.truncate(end as usize + 100));
            cases.push(("cut behind the last frame".to_string(), image, left.last));
            for (what, image, proven) in cases {
                let what = format!("{name}, {what}, clean {}", left.clean);
                let disk = Disk::from_image(&image, 4);
                let log = Log::open(disk.storage(), &prefix()).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(log.report().damage.is_some(), "{what}");
                assert!(log.last_seq() >= proven, "{what}: {} is the last seq, {proven} was given out", log.last_seq());
                let mut records = left.records.clone();
                records.split_off(&(log.last_seq() + 1));
                put(&log, &mut records, 50);
                let shown = read_all(&log, &records);
                log.close().unwrap();
                let log = Log::open(disk.storage(), &strict()).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(read_all(&log, &records), shown, "{what}");
            }
        }
    });
}

/// An error of the device, or a lack of memory, while a prefix recovery looked for the damage was taken for damage itself: whole segments were moved aside
/// because they could not be read at that moment. Such an error ends the opening, and the next one finds what it would have found.
#[test]
fn a_passing_error_is_not_damage() {
    bounded(|| {
        let left = left(4, false);
        let (last, _) = last_with_frames(&left.image);
        let mut refused = 0;
        for name in [last, FileName::Segment(2)] {
            let image = changed(&left.image, name, |bytes| bytes[10] ^= 1);
            let open = |disk: &Disk| Log::open(disk.storage(), &prefix());
            let expected = open(&Disk::from_image(&image, 4)).map(|log| (log.last_seq(), read_all(&log, &left.records))).unwrap();
            for (call, error) in
                [(Call::Open, EIO), (Call::Open, ENOMEM), (Call::ReadAt, EIO), (Call::ReadAt, ENOMEM), (Call::Len, EIO), (Call::List, EIO)]
            {
                for nth in 1.. {
                    let disk = Disk::from_image(&image, 4);
                    disk.fail(Fault::nth(nth).of(call).error(error));
                    let opened = open(&disk);
                    let hit = disk.injected() > 0;
                    disk.clear_faults();
                    let log = match opened {
                        Ok(log) => log,
                        Err(error) => {
                            refused += 1;
                            assert!(matches!(error.code, Code::Io | Code::NoMemory), "{call} {nth}: {error}");
                            open(&disk).unwrap_or_else(|error| panic!("after {call} {nth}: {error}"))
                        }
                    };
                    assert_eq!((log.last_seq(), read_all(&log, &left.records)), expected, "{call} {nth} with {error:?}");
                    if !hit {
                        break;
                    }
                }
            }
        }
        assert!(refused > 50, "this test tried next to nothing");
    });
}

/// A segment of a newer format version was taken for a damaged one and moved aside. Nothing of a log is touched that this library is too old for.
#[test]
fn a_newer_segment_is_not_damage() {
    bounded(|| {
        for clean in [true, false] {
            let left = left(4, clean);
            for newer in segments(&left.image) {
                for damaged in segments(&left.image) {
                    let mut image = left.image.clone();
                    if damaged != newer {
                        image = changed(&image, FileName::Segment(damaged), |bytes| bytes[10] ^= 1);
                    }
                    let image = changed(&image, FileName::Segment(newer), |bytes| {
                        bytes[8..12].copy_from_slice(&[2, 0, 2, 0]);
                        let crc = checksum::of(&bytes[..DATA_START as usize - 4]);
                        bytes[DATA_START as usize - 4..DATA_START as usize].copy_from_slice(&crc.to_le_bytes());
                    });
                    let disk = Disk::from_image(&image, 4);
                    let error = Log::open(disk.storage(), &prefix()).err().map(|error| error.code);
                    assert_eq!(error, Some(Code::Format), "{newer} is newer, {damaged} damaged, clean {clean}");
                    assert!(disk.durable_image() == image, "something was touched");
                }
            }
        }
    });
}

/// The process died when it had written the END of a segment and not yet synced it; then the successor vanished. A prefix recovery kept the segment as
/// it was and showed its records, some of which were in the cache alone: a power cut later they were gone. What it keeps it syncs.
#[test]
fn what_is_kept_is_durable() {
    bounded(|| {
        let os = config(SyncMode::Os, true);
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &os).unwrap();
        let mut records = Records::new();
        put(&log, &mut records, 300);
        log.sync(seq::LAST).unwrap();
        let synced = disk.durable_image();
        put_segments(&log, &mut records, 2);
        let whole = disk.visible_image().read(FileName::Segment(1)).unwrap().to_vec();
        drop(log);
        assert_eq!(frames(&whole).1.last().map(|frame| frame.kind), Some(Kind::End));
        // The synced bytes on the device, the later ones in the cache.
        let disk = Disk::from_image(&synced, 4);
        let storage = disk.storage();
        storage.open(FileName::Segment(1), Access::Write).unwrap().write_at(DATA_START, &whole[DATA_START as usize..]).unwrap();
        storage.remove(FileName::Segment(2)).unwrap();
        storage.sync_dir().unwrap();
        drop(storage);
        assert_eq!(Log::open(disk.storage(), &strict()).err().map(|error| error.code), Some(Code::Corrupt));
        let log = Log::open(disk.storage(), &prefix()).unwrap();
        let shown = read_all(&log, &records);
        assert!(shown.len() > 1, "nothing was kept that could have been in the cache alone");
        drop(log);
        for image in disk.point().images(&Budget { exhaustive: 5, samples: 20, torn: 4, seed: 2 }) {
            let disk = Disk::from_image(&image, 5);
            let log = Log::open(disk.storage(), &strict()).unwrap_or_else(|error| panic!("after a power cut: {error}"));
            assert_eq!(read_all(&log, &records), shown);
        }
    });
}

/// The manifest was lost, and a segment there that an interrupted opening had left behind half copied. The rebuilt manifest took it for the end of the log,
/// and what had not been copied was gone. A segment that was not made to count does not count.
#[test]
fn a_rebuilt_manifest_passes_over_what_an_opening_left() {
    bounded(|| {
        let mut images = 0;
        for seed in 0..6 {
            let disk = Disk::new(seed);
            let mut records = Records::new();
            for round in 0..3 {
                let log = Log::open(disk.storage(), &strict()).unwrap();
                for step in 0..3 + (seed * 5 + round * 7) % 14 {
                    put(&log, &mut records, 200);
                    if step == 4 {
                        log.checkpoint(seq::LAST).unwrap();
                    }
                }
                if seed >= 4 && round == 1 {
                    let n = log.checkpoint(seq::LAST).unwrap();
                    log.truncate(if seed == 4 { n } else { n - 4 }, false).unwrap();
                }
                if round == 1 && seed.is_multiple_of(2) {
                    log.close().unwrap();
                }
            }
            let last = *records.keys().last().unwrap();
            let opening = Disk::from_image(&disk.visible_image(), 4);
            drop(Log::open(opening.storage(), &strict()).unwrap());
            for point in opening.trace().crash_points() {
                for mut image in point.images(&Budget { exhaustive: 5, samples: 20, torn: 6, seed: 1 }) {
                    image.remove(FileName::Manifest);
                    images += 1;
                    let disk = Disk::from_image(&image, 6);
                    let log = Log::open(disk.storage(), &prefix()).unwrap();
                    let what = format!("seed {seed}, crash at {}: {image:?}", point.index());
                    assert!(log.report().rebuilt_manifest, "{what}");
                    let seqs = read_all(&log, &records);
                    let kept: Vec<u64> = records.keys().copied().filter(|seq| *seq > log.stat().floor_seq).collect();
                    assert_eq!(seqs, kept, "{what}");
                    assert!(log.last_seq() >= last, "{what}");
                }
            }
        }
        assert!(images > 100);
    });
}

/// The manifest was lost, and a segment could not be opened at that moment, for want of descriptors or memory. Rebuilding took it for one that is not there,
/// and an opening that found no other with records took the directory for an unfinished creation and removed it. What cannot be read today may be whole
/// tomorrow.
#[test]
fn without_a_manifest_a_segment_that_cannot_be_read_now_is_not_given_up() {
    bounded(|| {
        for segments in [1, 4] {
            let left = left(segments, false);
            let mut image = left.image.clone();
            image.remove(FileName::Manifest);
            for config in [strict(), prefix()] {
                for call in [Call::Open, Call::ReadAt] {
                    for nth in 1.. {
                        let disk = Disk::from_image(&image, nth);
                        disk.fail(Fault::nth(nth).of(call).error(ENOMEM));
                        drop(Log::open(disk.storage(), &config));
                        let met = disk.injected() > 0;
                        disk.clear_faults();
                        let log = Log::open(disk.storage(), &prefix()).unwrap_or_else(|error| panic!("{call:?} {nth}: {error}"));
                        let seqs: Vec<u64> = left.records.keys().copied().collect();
                        assert_eq!(read_all(&log, &left.records), seqs, "{segments} segments, {call:?} {nth}");
                        if !met {
                            break;
                        }
                    }
                }
            }
        }
    });
}

/// A segment was replaced by one of the same name and length from a copy of the log that had gone its own way. A prefix recovery kept its records, which
/// nobody had appended here, and the next strict opening refused the log once more. What cannot be told to be this log's is not kept.
#[test]
fn nothing_of_a_diverged_copy_is_kept() {
    bounded(|| {
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &strict()).unwrap();
        let mut records = Records::new();
        for _ in 0..3 {
            put(&log, &mut records, 250);
        }
        drop(log);
        let common = disk.visible_image();
        let go_on = |salt: u8, records: &mut Records| {
            let disk = Disk::from_image(&common, 7);
            let log = Log::open(disk.storage(), &strict()).unwrap();
            while log.stat().segments < 5 {
                let seq = log.last_seq() + 1;
                let value: Vec<u8> = value_of(seq, 250).into_iter().map(|byte| byte ^ salt).collect();
                assert_eq!(log.append(OP_PUT, b"", &value), Ok(seq));
                records.insert(seq, value);
            }
            log.close().unwrap();
            disk.visible_image()
        };
        let ours = go_on(0, &mut records);
        let theirs = go_on(0x55, &mut Records::new());
        let last = *records.keys().last().unwrap();
        let differ = segments(&ours).into_iter().map(FileName::Segment).filter(|name| ours.read(*name) != theirs.read(*name));
        let differ: Vec<FileName> = differ.filter(|name| theirs.read(*name).is_some()).collect();
        assert!(differ.len() >= 4);
        for name in differ {
            let image = changed(&ours, name, |bytes| *bytes = theirs.read(name).unwrap().to_vec());
            let disk = Disk::from_image(&image, 4);
            assert_eq!(Log::open(disk.storage(), &strict()).err().map(|error| error.code), Some(Code::Corrupt), "{name}");
            let log = Log::open(disk.storage(), &prefix()).unwrap();
            assert!(log.last_seq() >= last, "{name}");
            let mut records = records.clone();
            put(&log, &mut records, 50);
            // Compares what it shows with what was appended here.
            let shown = read_all(&log, &records);
            log.close().unwrap();
            let log = Log::open(disk.storage(), &strict()).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(read_all(&log, &records), shown, "{name}");
        }
    });
}

/// One slot of the manifest of a clean log was lost, and the disk was full: the opening wanted a spare to recover, and there was no room for one. A log that
/// lacks nothing but a slot opens without, and so does whatever a crash of that opening leaves.
#[test]
fn a_lost_slot_needs_no_space() {
    bounded(|| {
        let left = left(1, false);
        let disk = Disk::from_image(&left.image, 4);
        Log::open(disk.storage(), &strict()).unwrap().close().unwrap();
        let clean = disk.visible_image();
        for slot in 0..2 {
            let image = changed(&clean, FileName::Manifest, |bytes| bytes[slot * 8192..(slot + 1) * 8192].fill(0x5a));
            let full = |image: &Image| {
                let disk = Disk::from_image(image, 5);
                disk.limit_space(Some(disk.used()));
                disk
            };
            let disk = full(&image);
            let log = Log::open(disk.storage(), &strict()).unwrap_or_else(|error| panic!("slot {slot}: {error}"));
            assert_eq!(read_all(&log, &left.records).last(), Some(&left.last));
            drop(log);
            for point in disk.trace().crash_points() {
                for image in point.images(&Budget::default()) {
                    let disk = full(&image);
                    let log = Log::open(disk.storage(), &strict())
                        .unwrap_or_else(|error| panic!("slot {slot}, crash at {}: {error}", point.index()));
                    assert_eq!(read_all(&log, &left.records).last(), Some(&left.last));
                }
            }
        }
    });
}

/// A log was killed before its first OPEN was durable. Reading it failed, because there was no segment to begin with. There is nothing to show, and that is
/// no error.
#[test]
fn a_log_without_a_durable_frame_can_be_read() {
    bounded(|| {
        let mut empty = 0;
        for call in 1..40 {
            let disk = Disk::new(1);
            disk.kill_at(call);
            if let Ok(log) = Log::open(disk.storage(), &strict()) {
                let _may_be_killed_in_it = log.append(OP_PUT, b"", &value_of(1, 50));
            }
            let records = Records::from([(1, value_of(1, 50))]);
            for image in disk.point().images(&Budget::default()) {
                for recovery in [Recovery::Strict, Recovery::Prefix] {
                    let disk = Disk::from_image(&image, 4);
                    let log = match Log::open(disk.storage(), &read_only(recovery)) {
                        Ok(log) => log,
                        Err(error) => {
                            assert_eq!(error.code, Code::NotFound, "call {call}: {error}");
                            continue;
                        }
                    };
                    for unsynced in [false, true] {
                        let (seqs, error) = read(&log, &records, seq::OLDEST, ReplayOptions { unsynced, ..ReplayOptions::default() });
                        assert_eq!(error, None, "call {call}");
                        assert!(seqs.is_empty() || unsynced, "call {call}: nothing vouches for it");
                        empty += u32::from(seqs.is_empty() && unsynced);
                    }
                    assert!(disk.trace().ops().is_empty(), "a reader wrote");
                }
            }
        }
        assert!(empty > 10);
    });
}

/// A reader that works around damage came to the end of what is kept and said that this was all. What was lost is met there, as by a writer.
#[test]
fn a_reader_meets_the_hole_at_the_end() {
    bounded(|| {
        for clean in [true, false] {
            let left = left(5, clean);
            for segment in [3, 1] {
                let image = changed(&left.image, FileName::Segment(segment), |bytes| bytes[800] ^= 1);
                let disk = Disk::from_image(&image, 4);
                let log = Log::open(disk.storage(), &read_only(Recovery::Prefix)).unwrap();
                let (report, end) = (log.report(), log.last_seq());
                assert!(end >= left.last && report.lost_last_seq == end, "{report:?}");
                for unsynced in [false, true] {
                    let options = ReplayOptions { unsynced, ..ReplayOptions::default() };
                    let (seqs, error) = read(&log, &left.records, seq::OLDEST, options);
                    assert_eq!(seqs, (1..report.lost_first_seq).collect::<Vec<_>>());
                    let error = error.map(|error| (error.code, error.seq, error.seq_last));
                    assert_eq!(error, Some((Code::Gap, report.lost_first_seq, end)), "clean {clean}");
                    let (_, error) = read(&log, &left.records, report.lost_first_seq - 1, options);
                    assert_eq!(error.map(|error| error.code), Some(Code::Gap));
                    let (seqs, error) = read(&log, &left.records, seq::OLDEST, ReplayOptions { skip_lost: true, ..options });
                    assert_eq!((seqs.len() as u64, error), (report.lost_first_seq - 1, None));
                }
                drop(log);
                let found = inspect(&disk.storage(), &strict(), true, &mut |_| {}).unwrap();
                assert_eq!((found.lost_first_seq, found.lost_last_seq), (report.lost_first_seq, report.lost_last_seq));
                assert!(disk.trace().ops().is_empty(), "a reader wrote");
            }
        }
    });
}

/// Somebody had copied a segment under the name of a spare of the same index. When the log wanted to use that segment again it could not be renamed, and every
/// append failed. The copy is worth nothing and gives way.
#[test]
fn a_segment_doubled_as_a_spare_is_not_in_the_way() {
    bounded(|| {
        for clean in [true, false] {
            let left = left(3, clean);
            for index in segments(&left.image) {
                for recovery in [Recovery::Strict, Recovery::Prefix] {
                    let what = format!("segment {index}, clean {clean}, {recovery:?}");
                    let mut image = left.image.clone();
                    image.write(FileName::Spare(index), image.read(FileName::Segment(index)).unwrap().to_vec());
                    let disk = Disk::from_image(&image, 4);
                    let config = Config { recovery, ..strict() };
                    let mut records = left.records.clone();
                    for _ in 0..2 {
                        let log = Log::open(disk.storage(), &config).unwrap_or_else(|error| panic!("{what}: {error}"));
                        let goal = log.stat().segments + 3;
                        put_segments(&log, &mut records, goal);
                        log.close().unwrap();
                        disk.assert_ordered();
                    }
                    let log = Log::open(disk.storage(), &strict()).unwrap();
                    assert_eq!(read_all(&log, &records), records.keys().copied().collect::<Vec<_>>(), "{what}");
                }
            }
        }
    });
}

/// A file with the highest index that there is: the next index does not exist, and adding one to it ended the process. Reading goes on; what needs another
/// segment is refused with an error.
#[test]
fn the_highest_index_is_no_overflow() {
    bounded(|| {
        for clean in [true, false] {
            let left = left(2, clean);
            let copy = left.image.read(FileName::Segment(1)).unwrap().to_vec();
            for name in [FileName::Segment(u32::MAX), FileName::Spare(u32::MAX), FileName::Damaged(u32::MAX)] {
                for bytes in [Vec::new(), copy.clone()] {
                    let mut image = left.image.clone();
                    image.write(name, bytes);
                    for config in [strict(), prefix(), read_only(Recovery::Strict)] {
                        let disk = Disk::from_image(&image, 4);
                        let log = match Log::open(disk.storage(), &config) {
                            Ok(log) => log,
                            Err(error) => {
                                assert_eq!(error.code, Code::NoSpace, "{name}: {error}");
                                continue;
                            }
                        };
                        let options = ReplayOptions { unsynced: true, ..ReplayOptions::default() };
                        let (seqs, error) = read(&log, &left.records, 0, options);
                        assert_eq!((seqs.last(), error), (Some(&left.last), None), "{name}");
                        if config.open != OpenKind::ReadOnly {
                            let outcome = log.append(OP_PUT, b"", b"x").map_err(|error| error.code);
                            assert!(matches!(outcome, Ok(_) | Err(Code::NoSpace)), "{name}: {outcome:?}");
                        }
                    }
                }
            }
        }
    });
}

/// The fragments of a record, as firmware writes them, were copied from the watermark on that stood between two of them. The first fragment stayed behind, the
/// record could not be read any more, and the next opening took the log for damaged. A record is copied as a whole or not at all.
#[test]
fn fragments_are_not_torn_apart() {
    bounded(|| {
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &strict()).unwrap();
        let mut before = Records::new();
        put(&log, &mut before, 100);
        drop(log);
        let pieces: [(Kind, u32, &[u8]); 4] =
            [(Kind::First, 1, b"one "), (Kind::Middle, 1, b"two "), (Kind::Last, 1, b"three"), (Kind::Record, 2, b"whole")];
        // So many of them were synced before the others were written.
        for synced in 0..pieces.len() {
            let image = changed(&disk.visible_image(), FileName::Segment(1), |bytes| {
                let (header, found) = frames(bytes);
                let mut at = found[found.len() - 1].end;
                let mut watermark = at;
                for (number, (kind, relative_seq, payload)) in pieces.into_iter().enumerate() {
                    let payload_len = payload.len() as u32;
                    let frame = FrameHeader { payload_crc: 0, payload_len, relative_seq, watermark, key_len: 0, op: OP_PUT, kind };
                    let place = at as usize;
                    frame.encode(header.seed, at, &mut bytes[place..]);
                    bytes[place + FRAME_HEADER_LEN..][..payload.len()].copy_from_slice(payload);
                    seal(bytes, at);
                    at += frame_len(payload.len() as u64);
                    if number < synced {
                        watermark = at;
                    }
                }
            });
            let mut records = before.clone();
            records.insert(2, b"one two three".to_vec());
            records.insert(3, b"whole".to_vec());
            let disk = Disk::from_image(&image, 4);
            let log = Log::open(disk.storage(), &read_only(Recovery::Strict)).unwrap();
            let (seqs, error) = read(&log, &records, 0, ReplayOptions { unsynced: true, ..ReplayOptions::default() });
            assert_eq!((seqs, error), (vec![1, 2, 3], None), "{synced} synced");
            drop(log);
            for last in 3..6 {
                let log = Log::open(disk.storage(), &strict()).unwrap_or_else(|error| panic!("{synced} synced, opening {last}: {error}"));
                let (seqs, error) = read(&log, &records, seq::OLDEST, ReplayOptions::default());
                assert_eq!((seqs, error), ((1..=last).collect(), None), "{synced} synced");
                put(&log, &mut records, 60);
            }
        }
    });
}

/// A prefix recovery announced in the manifest which segments it would move aside, and was interrupted. The next one met other damage and replaced the
/// announcement by its own, without the segments that still stood under their names. Whatever held records stays on disk, under its name or its damaged one,
/// through any number of interruptions, and the log opens.
#[test]
fn evidence_survives_interrupted_moves() {
    bounded(|| {
        let left = left(5, false);
        // A prefix recovery, cut short where it moves the segment of this index; `None` if it does not come to that.
        let interrupted = |image: &Image, index| {
            let disk = Disk::from_image(image, 4);
            disk.fail(Fault::nth(1).of(Call::Rename).on(FileName::Segment(index)).forever());
            let opened = Log::open(disk.storage(), &prefix()).map(drop);
            let hit = disk.injected() > 0;
            assert!(!hit || opened.map_err(|error| error.code) == Err(Code::Io));
            hit.then(|| disk.durable_image())
        };
        let damaged = |image: &Image, name, byte: usize| changed(image, name, |bytes| bytes[byte] ^= 1);
        let first_damage = damaged(&left.image, FileName::Segment(3), 800);
        let mut tried = 0;
        for first in 3..=5 {
            let Some(announced) = interrupted(&first_damage, first) else { continue };
            // Below what was announced, and in the segment that the first recovery made.
            for (name, byte) in [(FileName::Segment(2), 800), (last_with_frames(&announced).0, 70)] {
                let second_damage = damaged(&announced, name, byte);
                for second in 3..=9 {
                    let what = format!("stuck at {first}, damage in {name}, stuck at {second}");
                    let image = interrupted(&second_damage, second).unwrap_or_else(|| second_damage.clone());
                    tried += 1;
                    let disk = Disk::from_image(&image, 5);
                    let mut records = left.records.clone();
                    for config in [prefix(), strict(), strict()] {
                        let log = Log::open(disk.storage(), &config).unwrap_or_else(|error| panic!("{what}: {error}"));
                        let goal = log.stat().segments + 6;
                        put_segments(&log, &mut records, goal);
                        log.close().unwrap();
                    }
                    let after = disk.visible_image();
                    for index in 3..=5 {
                        let bytes = image.read(FileName::Segment(index)).or(image.read(FileName::Damaged(index)));
                        assert!(bytes.is_some() && after.names().any(|name| after.read(name) == bytes), "{what}: segment {index} is gone");
                    }
                }
            }
        }
        assert!(tried > 20);
    });
}

/// The OPEN of the segment in which the manifest's bound lies was damaged, its successors were whole. A strict opening did not look at it, took the log for
/// whole and acknowledged appends; the next one refused the log. An OPEN in front of which and behind which something counts is vouched for.
#[test]
fn a_strict_opening_refuses_what_the_next_one_would_refuse() {
    bounded(|| {
        let left = left(3, false);
        let (_, found) = frames(left.image.read(FileName::Segment(1)).unwrap());
        for byte in found[0].offset..found[0].end {
            let image = changed(&left.image, FileName::Segment(1), |bytes| bytes[byte as usize] ^= 1);
            let disk = Disk::from_image(&image, 4);
            let Ok(log) = Log::open(disk.storage(), &strict()) else { continue };
            log.append(OP_PUT, b"", b"x").unwrap();
            log.close().unwrap();
            let again = Log::open(disk.storage(), &strict());
            assert!(again.is_ok(), "byte {byte} of the segment: opened, acknowledged an append, and then {:?}", again.err());
        }
    });
}

/// A change to a manifest and what it is.
type Forgery = (&'static str, fn(&mut Manifest));

/// Opens a forged image in every way and goes on as far as it lets; what must not happen, if it happens.
fn try_forged(image: &Image) -> Vec<String> {
    let mut wrong = Vec::new();
    for config in [strict(), prefix(), read_only(Recovery::Strict), read_only(Recovery::Prefix)] {
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            let disk = Disk::from_image(image, 5);
            let log = match Log::open(disk.storage(), &config) {
                Ok(log) => log,
                Err(error) => {
                    let refused = matches!(error.code, Code::Corrupt | Code::NoSpace);
                    return if refused { None } else { Some(format!("opening: {:?} {error}", error.code)) };
                }
            };
            for options in [ReplayOptions::default(), ReplayOptions { raw: true, unsynced: true, skip_lost: true, pinned: false }] {
                if let Ok(mut cursor) = log.replay(seq::OLDEST, options) {
                    while let Ok(Some(_)) = cursor.next() {}
                }
            }
            if config.open == OpenKind::ReadOnly || log.append(OP_PUT, b"", b"x").is_err() {
                return None;
            }
            let last = log.last_seq();
            log.close().ok()?;
            // A recovery that has read everything leaves a log that is whole.
            match Log::open(disk.storage(), &strict()) {
                Err(error) if config.recovery == Recovery::Prefix => Some(format!("opening again: {error}")),
                Ok(log) if log.last_seq() != last => Some(format!("opening again: {} instead of {last}", log.last_seq())),
                _ => None,
            }
        }));
        let attempt = attempt.unwrap_or_else(|panic| Some(format!("panic: {:?}", panic.downcast_ref::<String>())));
        wrong.extend(attempt.map(|what| format!("{:?} {:?}: {what}", config.recovery, config.open)));
    }
    wrong
}

/// Manifests and control frames whose checksums are right and whose numbers are absurd, as a bug or a bad joke may write them, overflowed or ran into
/// assertions. They are refused, or what comes of them is harmless; nothing panics.
#[test]
fn absurd_numbers_with_right_checksums() {
    bounded(|| {
        let manifests: [Forgery; 19] = [
            ("floor", |manifest| manifest.floor = u64::MAX),
            ("floor above the end", |manifest| manifest.floor = 1000),
            ("forgotten data", |manifest| manifest.forgotten_data = u64::MAX),
            ("forgotten data above the floor", |manifest| (manifest.floor, manifest.forgotten_data) = (5, 9)),
            ("checkpoint", |manifest| manifest.checkpoint.n = u64::MAX),
            ("epoch", |manifest| manifest.epoch = u64::MAX),
            ("generation", |manifest| manifest.generation = u64::MAX),
            ("seq of the bound", |manifest| manifest.bound.tail.seq = u64::MAX),
            ("data seq of the bound", |manifest| manifest.bound.tail.data_seq = u64::MAX),
            ("bound at 0", |manifest| manifest.bound.offset = 0),
            ("bound in the header", |manifest| manifest.bound.offset = 8),
            ("bound off the grid", |manifest| manifest.bound.offset = 65),
            ("bound at the end of the file", |manifest| manifest.bound.offset = 4096),
            ("bound in segment 0", |manifest| (manifest.bound.segment, manifest.oldest_segment) = (0, 0)),
            ("bound in the highest segment", |manifest| manifest.bound.segment = u32::MAX),
            ("oldest segment 0", |manifest| manifest.oldest_segment = 0),
            ("everything aside", |manifest| manifest.aside = (1, u32::MAX)),
            ("segment size off the grid", |manifest| manifest.segment_bytes = 5000),
            ("segment size", |manifest| manifest.segment_bytes = 8192),
        ];
        let mut wrong = Vec::new();
        let mut tried = 0;
        let mut attempt = |what: String, image: &Image| {
            tried += 1;
            wrong.extend(try_forged(image).into_iter().map(|wrong| format!("{what}: {wrong}")));
        };
        for clean in [true, false] {
            let left = left(4, clean);
            for (what, forge) in manifests {
                attempt(format!("manifest, {what}, clean {clean}"), &forged(&left.image, forge));
            }
            for index in [1, 2, 4] {
                let name = FileName::Segment(index);
                for frame in frames(left.image.read(name).unwrap()).1 {
                    let at = frame.offset as usize;
                    let payload = at + FRAME_HEADER_LEN;
                    // Offset in the frame and the bytes that go there.
                    let mut forgeries: Vec<(usize, Vec<u8>)> = vec![
                        (at + 12, u32::MAX.to_le_bytes().to_vec()),
                        (at + 12, (1u32 << 31).to_le_bytes().to_vec()),
                        (at + 8, (3500 - payload.min(3400) as u32).to_le_bytes().to_vec()),
                        (at + 16, (at as u32 / 8 - 1).to_le_bytes().to_vec()),
                        (at + 22, vec![3]),
                    ];
                    forgeries.extend((1..8).map(|kind| (at + 23, vec![kind])));
                    let numbers = |at: usize| [0, u64::MAX, 1 << 62, u64::MAX - 1].map(|number: u64| (at, number.to_le_bytes().to_vec()));
                    match frame.kind {
                        Kind::Open => {
                            forgeries.extend((0..9).filter(|field| *field != 1).flat_map(|field| numbers(payload + field * 8)));
                            forgeries.extend([0, 1, index, index + 1, u32::MAX].map(|link| (payload + 8, link.to_le_bytes().to_vec())));
                            forgeries.extend((0..5).map(|how| (payload + 72, vec![how])));
                        }
                        Kind::End => {
                            forgeries.extend(numbers(payload));
                            forgeries.extend([0, 1, index, 77, u32::MAX].map(|next| (payload + 8, next.to_le_bytes().to_vec())));
                        }
                        Kind::Batch => {
                            let counts = [0, 1, 1 << 28, 0x1555_5555, u32::MAX];
                            forgeries.extend(counts.map(|count: u32| (payload, count.to_le_bytes().to_vec())));
                        }
                        _ => {}
                    }
                    for (offset, new) in forgeries {
                        let image = changed(&left.image, name, |bytes| {
                            bytes[offset..offset + new.len()].copy_from_slice(&new);
                            seal(bytes, frame.offset);
                        });
                        attempt(format!("{name}, {:?} at {at}, {new:?} at {offset}, clean {clean}", frame.kind), &image);
                    }
                }
            }
        }
        println!("{tried} forgeries");
        assert!(tried > 500 && wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
    });
}
