//! What an opening finds and says of it: every number of the report, and logs that only a rare course of events, or a forger, leaves behind.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wal_engine::config::{Config, OpenKind, Recovery, SyncMode};
use wal_engine::error::{Code, Place};
use wal_engine::format::constants::{FRAME_HEADER_LEN, OP_PUT};
use wal_engine::log::{Durability, Entry, Log, ReplayOptions, Report, inspect};
use wal_engine::names::FileName;
use wal_engine::seq;
use wal_prove::forge::{changed, forged, forged_open, frames, last_with_frames, manifest, segments};
use wal_prove::host::{bounded, config, put, value_of};
use wal_sim::{Call, Disk, EIO, Fault, Image, SimStorage};

fn strict() -> Config {
    config(SyncMode::Always, true)
}

fn prefix() -> Config {
    Config { recovery: Recovery::Prefix, ..strict() }
}

fn read_only() -> Config {
    Config { open: OpenKind::ReadOnly, ..strict() }
}

fn fill(log: &Log<SimStorage>, segments: u64) {
    while log.stat().segments < segments {
        put(log, 400);
    }
    put(log, 100);
}

/// A log of so many segments, and its last seq.
fn left(segments: u64, clean: bool) -> (Image, u64) {
    let disk = Disk::new(3);
    let log = Log::open(disk.storage(), &strict()).unwrap();
    fill(&log, segments);
    let last = log.last_seq();
    if clean {
        log.close().unwrap();
    } else {
        drop(log);
    }
    (disk.visible_image(), last)
}

fn code(image: &Image, config: &Config) -> Option<Code> {
    Log::open(Disk::from_image(image, 4).storage(), config).err().map(|error| error.code)
}

/// The seqs that a log shows, over any hole, with the bytes that were appended.
fn read_all(log: &Log<SimStorage>, unsynced: bool) -> Vec<u64> {
    let mut cursor = log.replay(seq::OLDEST, ReplayOptions { skip_lost: true, unsynced, ..ReplayOptions::default() }).unwrap();
    let mut seqs = Vec::new();
    while let Some(record) = cursor.next().unwrap() {
        assert_eq!(record.value, value_of(record.seq, record.value.len()), "seq {}", record.seq);
        seqs.push(record.seq);
    }
    seqs
}

/// A report without what differs between two openings of one log.
fn said(report: Report) -> String {
    format!("{:?}", Report { duration_us: 0, bytes_read: 0, ..report })
}

#[test]
fn every_number_of_a_report() {
    bounded(|| {
        let disk = Disk::new(3);
        let log = Log::open(disk.storage(), &strict()).unwrap();
        let log_id = log.log_id();
        assert!(log.report().created && log.report().clean);
        fill(&log, 4);
        assert_eq!(log.checkpoint(15), Ok(15));
        log.truncate(12, true).unwrap();
        put(&log, 100);
        let last = put(&log, 100);
        let spares = log.stat().spares;
        assert!(spares > 0);
        log.close().unwrap();
        let image = disk.visible_image();
        let kept =
            segments(&image).into_iter().filter(|index| !frames(image.read(FileName::Segment(*index)).unwrap()).1.is_empty()).count();
        let others = image.names().filter(|name| matches!(name, FileName::Segment(_) | FileName::Spare(_))).count() - kept;
        let oldest = manifest(&image).oldest_segment;
        assert!(oldest > 1, "nothing was dropped");
        let counted = segments(&image).into_iter().filter(|&index| index >= oldest).count() as u64;
        let expected = Report {
            log_id,
            epoch: 1,
            clean: true,
            last_seq: last,
            floor_seq: 12,
            forgotten_data_seq: 12,
            checkpoint_seq: 15,
            checkpoint_covered: 15,
            oldest_seq: 13,
            segments: kept as u64,
            spares: others as u64,
            segment_bytes: 4096,
            ..Report::default()
        };
        assert!(expected.segments < counted + 1 && expected.spares > 0);
        let found = inspect(&Disk::from_image(&image, 4).storage(), &strict(), false, &mut |_| {}).unwrap();
        assert_eq!(said(found), said(expected));
        let log = Log::open(Disk::from_image(&image, 4).storage(), &read_only()).unwrap();
        assert_eq!(said(log.report()), said(expected));
        assert_eq!((log.stat().segments, log.stat().spares), (expected.segments, expected.spares));
        let log = Log::open(disk.storage(), &strict()).unwrap();
        assert_eq!(said(log.report()), said(expected));
        assert_eq!((log.oldest_seq(), log.checkpoint_seq()), (13, 15));
    });
}

/// What an unclean opening copies and what a reader may show, by what vouches for it.
#[test]
fn what_is_vouched_for() {
    bounded(|| {
        let disk = Disk::new(3);
        let log = Log::open(disk.storage(), &strict()).unwrap();
        let mut ends = vec![0];
        for _ in 0..4 {
            put(&log, 100);
            ends.push(frames(disk.visible_image().read(FileName::Segment(1)).unwrap()).1.last().unwrap().end);
        }
        drop(log);
        let image = disk.visible_image();
        // Each record vouches for those before it, the last one for nobody.
        let reader = Log::open(Disk::from_image(&image, 4).storage(), &read_only()).unwrap();
        assert_eq!((reader.last_seq(), reader.durable_seq()), (4, 3));
        assert_eq!((read_all(&reader, false), read_all(&reader, true)), (vec![1, 2, 3], vec![1, 2, 3, 4]));
        assert_eq!(said(inspect(&Disk::from_image(&image, 4).storage(), &strict(), true, &mut |_| {}).unwrap()), said(reader.report()));
        assert!(!reader.report().clean);
        let disk = Disk::from_image(&image, 4);
        let log = Log::open(disk.storage(), &strict()).unwrap();
        let report = log.report();
        assert_eq!((report.copied_records, report.copied_bytes), (1, ends[4] - ends[3]));
        assert_eq!((report.epoch, report.clean, report.last_seq), (2, false, 4));
        assert_eq!((log.durable_seq(), read_all(&log, false)), (4, vec![1, 2, 3, 4]));
        // All of it in a segment of which nothing was vouched for, and which will wait to be used again like the spares.
        let (image, last) = left(1, false);
        let found = inspect(&Disk::from_image(&image, 4).storage(), &strict(), false, &mut |_| {}).unwrap();
        let files = image.names().filter(|name| matches!(name, FileName::Segment(_) | FileName::Spare(_))).count() as u64;
        assert!(files > 1);
        assert_eq!((found.segments, found.spares, found.last_seq), (0, files, last));
        let disk = Disk::from_image(&image, 4);
        drop(Log::open(disk.storage(), &strict()).unwrap());
        let log = Log::open(disk.storage(), &strict()).unwrap();
        assert_eq!((log.report().copied_records, log.report().clean, log.last_seq()), (0, true, last));
    });
}

#[test]
fn what_is_dropped() {
    bounded(|| {
        let disk = Disk::new(3);
        let log = Log::open(disk.storage(), &strict()).unwrap();
        let last = (0..3).map(|_| put(&log, 100)).last().unwrap();
        drop(log);
        let image = disk.visible_image();
        let (name, found) = last_with_frames(&image);
        let (before, frame) = (found[found.len() - 2], found[found.len() - 1]);
        let dropped = |image: &Image| {
            let report = Log::open(Disk::from_image(image, 4).storage(), &strict()).unwrap().report();
            (report.dropped_segment, report.dropped_offset, report.dropped_bytes, report.dropped_frames, report.last_seq)
        };
        assert_eq!(dropped(&image), (0, 0, 0, 0, last));
        // The last record's payload, its header, and something behind it.
        let payload = changed(&image, name, |bytes| bytes[frame.offset as usize + FRAME_HEADER_LEN + 3] ^= 1);
        assert_eq!(dropped(&payload), (1, frame.offset, frame.end - frame.offset, 1, before.last_seq));
        let nonzero = image.read(name).unwrap().iter().rposition(|&byte| byte != 0).unwrap() as u64 + 1;
        let header = changed(&image, name, |bytes| bytes[frame.offset as usize + 3] ^= 1);
        assert_eq!(dropped(&header), (1, frame.offset, nonzero.next_multiple_of(8) - frame.offset, 0, before.last_seq));
        let behind = changed(&image, name, |bytes| bytes[frame.end as usize + 100] = 1);
        let end = (frame.end + 100 + 1).next_multiple_of(8);
        assert_eq!(dropped(&behind), (1, frame.end, end - frame.end, 0, last));
        // In the last bytes of the segment, where no frame has room.
        let last_byte = changed(&image, name, |bytes| bytes[4095] = 1);
        assert_eq!(dropped(&last_byte), (1, frame.end, 4096 - frame.end, 0, last));
        // The last two records, of which the second is whole: nothing vouches for either, and its header is seen.
        let both = changed(&image, name, |bytes| bytes[before.offset as usize + 3] ^= 1);
        let error = Log::open(Disk::from_image(&both, 4).storage(), &strict()).err().unwrap();
        assert_eq!((error.code, error.offset, error.seq, error.seq_last), (Code::Corrupt, Some(before.offset), before.last_seq, last));
    });
}

/// A log belongs to a store, or the store is told.
#[test]
fn the_log_of_another_store() {
    bounded(|| {
        let (image, _) = left(3, false);
        let id = manifest(&image).log_id;
        let mut without = image.clone();
        without.remove(FileName::Manifest);
        for (image, config) in [(&image, strict()), (&image, prefix()), (&without, prefix())] {
            assert_eq!(code(image, &Config { expected_log_id: Some(id), ..config }), None);
            assert_eq!(code(image, &Config { expected_log_id: Some([1; 16]), ..config }), Some(Code::WrongLog));
        }
        // Segments of two logs: which one it is would be a guess.
        let other = Disk::new(99);
        fill(&Log::open(other.storage(), &strict()).unwrap(), 3);
        let foreign = other.visible_image().read(FileName::Segment(2)).unwrap().to_vec();
        let mixed = changed(&without, FileName::Segment(2), |bytes| *bytes = foreign.clone());
        let error = Log::open(Disk::from_image(&mixed, 4).storage(), &prefix()).err().unwrap();
        assert!(matches!((error.code, error.place), (Code::Corrupt, Place::File(FileName::Segment(_)))), "{error}");
        // With a manifest the foreign one is damage in its place.
        let image = left(3, true).0;
        let mixed = changed(&image, FileName::Segment(2), |bytes| *bytes = foreign.clone());
        let error = Log::open(Disk::from_image(&mixed, 4).storage(), &strict()).err().unwrap();
        assert_eq!((error.code, error.place, error.offset), (Code::Corrupt, Place::File(FileName::Segment(2)), Some(0)));
        assert_eq!(Log::open(Disk::from_image(&mixed, 4).storage(), &prefix()).unwrap().report().lost_first_seq, frames_end(&image, 1) + 1);
    });
}

fn frames_end(image: &Image, index: u32) -> u64 {
    frames(image.read(FileName::Segment(index)).unwrap()).1.last().unwrap().last_seq
}

/// A store that lacks what damage took is refused, as long as the log is not told to work around damage.
#[test]
fn a_store_that_lacks_what_was_lost() {
    bounded(|| {
        let (image, last) = left(4, true);
        let damaged = changed(&image, FileName::Segment(3), |bytes| bytes[900] ^= 1);
        let disk = Disk::from_image(&damaged, 4);
        let log = Log::open(disk.storage(), &prefix()).unwrap();
        let report = log.report();
        assert_eq!(report.lost_last_seq, last);
        assert!(report.lost_first_seq > frames_end(&image, 2) + 1 && report.files_aside > 0);
        put(&log, 50);
        log.close().unwrap();
        let image = disk.visible_image();
        for store in report.lost_first_seq - 1..=last + 1 {
            let open = |config| {
                let opened = Log::open(Disk::from_image(&image, 5).storage(), &Config { store_seq: Some(store), ..config });
                opened.map(drop).map_err(|error| (error.code, error.seq, error.seq_last))
            };
            let refused = Err((Code::Gap, report.lost_first_seq, last));
            assert_eq!(open(strict()), if store < last { refused } else { Ok(()) }, "{store}");
            assert_eq!(open(read_only()), if store < last { refused } else { Ok(()) }, "{store}");
            assert_eq!(open(prefix()), Ok(()), "{store}");
        }
        let beyond = Log::open(Disk::from_image(&image, 5).storage(), &Config { store_seq: Some(last + 2), ..strict() });
        assert_eq!(beyond.err().map(|error| (error.code, error.seq, error.seq_last)), Some((Code::Gap, last + 2, last + 2)));
    });
}

/// A manifest that forgets less, or knows less, than the segments say.
#[test]
fn a_manifest_that_does_not_fit_its_segments() {
    bounded(|| {
        for clean in [true, false] {
            let disk = Disk::new(3);
            let log = Log::open(disk.storage(), &strict()).unwrap();
            fill(&log, 5);
            let end_of_third = frames_end(&disk.visible_image(), 3);
            let (second, third) = (frames_end(&disk.visible_image(), 1) + 1, frames_end(&disk.visible_image(), 2) + 1);
            log.truncate(end_of_third, true).unwrap();
            let checkpoint = log.checkpoint(end_of_third).unwrap();
            fill(&log, 3);
            let last = log.last_seq();
            if clean {
                log.close().unwrap();
            } else {
                drop(log);
            }
            let image = disk.visible_image();
            let oldest = manifest(&image).oldest_segment;
            let corrupt = |image: &Image, name: FileName, what: &str| {
                let error = Log::open(Disk::from_image(image, 4).storage(), &strict()).err();
                let error = error.unwrap_or_else(|| panic!("{what}, clean {clean}: opens"));
                assert_eq!((error.code, error.place), (Code::Corrupt, Place::File(name)), "{what}, clean {clean}: {error}");
                error
            };
            // Records between the floor and the oldest segment are missing.
            for floor in [0, second, third, end_of_third - 1] {
                let image = forged(&image, |manifest| (manifest.floor, manifest.forgotten_data) = (floor, floor));
                corrupt(&image, FileName::Segment(oldest), "floor too low");
            }
            assert_eq!(code(&forged(&image, |_| {}), &strict()), None);
            // More forgotten than there is.
            let beyond = forged(&image, |manifest| (manifest.floor, manifest.forgotten_data) = (last + 1, last + 1));
            let error = corrupt(&beyond, last_with_frames(&image).0, "floor too high");
            assert_eq!((error.seq, error.seq_last), (last + 1, last + 1));
            assert_eq!(code(&forged(&image, |manifest| (manifest.floor, manifest.forgotten_data) = (last, last)), &strict()), None);
            // The chain goes on to a segment that is gone.
            let too_low = forged(&image, |manifest| manifest.oldest_segment -= 1);
            let error = corrupt(&too_low, FileName::Segment(oldest - 1), "oldest too low");
            assert_eq!(error.seq, end_of_third + 1);
            // A checkpoint that only an OPEN still knows.
            let image = forged(&image, |manifest| (manifest.checkpoint.n, manifest.checkpoint.covered) = (1, 1));
            let log = Log::open(Disk::from_image(&image, 4).storage(), &strict()).unwrap();
            assert_eq!((log.report().checkpoint_seq, log.report().checkpoint_covered), (checkpoint, end_of_third));
        }
    });
}

/// The chain passes by the segment that the manifest names as the oldest.
#[test]
fn a_chain_that_leads_elsewhere() {
    bounded(|| {
        let disk = Disk::new(3);
        let log = Log::open(disk.storage(), &strict()).unwrap();
        put(&log, 100);
        put(&log, 100);
        put(&log, 100);
        drop(log);
        Log::open(disk.storage(), &strict()).unwrap().close().unwrap();
        let image = disk.visible_image();
        let bound = manifest(&image).bound.segment;
        assert!(manifest(&image).oldest_segment == 1 && bound > 2);
        for oldest in 2..bound {
            let image = forged(&image, |manifest| manifest.oldest_segment = oldest);
            let error = Log::open(Disk::from_image(&image, 4).storage(), &strict()).err().unwrap();
            assert_eq!((error.code, error.place), (Code::Corrupt, Place::File(FileName::Segment(bound))), "{oldest}");
        }
        assert_eq!(code(&forged(&image, |manifest| manifest.oldest_segment = 1), &strict()), None);
    });
}

/// A clean log ends at the bound: an old copy of the manifest is found out by the frame there, or by the segments behind.
#[test]
fn an_old_manifest() {
    bounded(|| {
        let (image, last) = left(3, true);
        let (name, found) = last_with_frames(&image);
        assert_eq!(manifest(&image).bound.offset, found[found.len() - 1].end);
        for frame in &found {
            let image = forged(&image, |manifest| {
                manifest.bound.offset = frame.offset;
                (manifest.bound.tail.seq, manifest.bound.tail.data_seq) = (frame.last_seq - 1, frame.last_seq - 1);
            });
            let error = Log::open(Disk::from_image(&image, 4).storage(), &strict()).err().unwrap();
            assert_eq!((error.code, error.place), (Code::Corrupt, Place::File(name)));
            let log = Log::open(Disk::from_image(&image, 4).storage(), &prefix()).unwrap();
            assert!(log.last_seq() >= last, "{} of {last}", log.last_seq());
        }
        let open = |clean: bool| {
            let mut image = image.clone();
            let first = frames(image.read(FileName::Segment(1)).unwrap()).1;
            image = forged(&image, |manifest| {
                manifest.dirty = !clean;
                manifest.bound.segment = 1;
                manifest.bound.offset = first[2].offset;
                (manifest.bound.tail.seq, manifest.bound.tail.data_seq) = (1, 1);
            });
            Log::open(Disk::from_image(&image, 4).storage(), &strict()).map(|log| log.last_seq()).map_err(|error| error.code)
        };
        assert_eq!(open(true), Err(Code::Corrupt));
        assert_eq!(open(false), Ok(last));
        // A bound behind the end that the successor names, in a log that was not closed.
        let first = frames(image.read(FileName::Segment(1)).unwrap()).1;
        let end = first[first.len() - 1];
        for (offset, expected) in [(end.end, None), (end.end + 8, Some(Code::Corrupt))] {
            let image = forged(&image, |manifest| {
                manifest.dirty = true;
                manifest.bound.segment = 1;
                manifest.bound.offset = offset;
                (manifest.bound.tail.seq, manifest.bound.tail.data_seq) = (end.last_seq, end.last_seq);
            });
            assert_eq!(code(&image, &strict()), expected, "bound at {offset}");
        }
    });
}

/// The newer slot, which said dirty, is gone, and the other one says clean: the log is what the segments say, wherever they have got to since.
#[test]
fn a_slot_that_is_out_of_date() {
    bounded(|| {
        for records in [0, 1, 30] {
            for damage in [false, true] {
                let disk = Disk::new(3);
                let log = Log::open(disk.storage(), &strict()).unwrap();
                fill(&log, 2);
                log.close().unwrap();
                let log = Log::open(disk.storage(), &strict()).unwrap();
                for _ in 0..records {
                    put(&log, 200);
                }
                let last = log.last_seq();
                drop(log);
                let image = disk.visible_image();
                let newest = manifest(&image);
                let slot = if newest.dirty { newest.generation % 2 } else { (newest.generation + 1) % 2 } as usize * 8192;
                let mut image = changed(&image, FileName::Manifest, |bytes| bytes[slot..slot + 8192].fill(0));
                let bound = manifest(&image).bound;
                assert!(!manifest(&image).dirty);
                let mut lost = 0;
                if damage {
                    // A frame behind the bound that nothing vouches for but its successor.
                    let place = bound.offset as usize + 1;
                    image = changed(&image, FileName::Segment(bound.segment), |bytes| bytes[place] ^= 1);
                    lost = records;
                }
                let disk = Disk::from_image(&image, 4);
                let log = Log::open(disk.storage(), &strict()).unwrap();
                if records == 30 && damage {
                    // Not in the last segment: reading finds it.
                    let mut cursor = log.replay(last - records, ReplayOptions::default()).unwrap();
                    let error = cursor.next().map(|_| ()).unwrap_err();
                    assert_eq!((error.code, error.seq), (Code::Corrupt, last - records + 1));
                    continue;
                }
                assert_eq!(read_all(&log, false), (1..=last - lost).collect::<Vec<_>>(), "{records}, {damage}");
                assert_eq!(put(&log, 10), last - lost + 1);
            }
        }
    });
}

/// A manifest made anew, with the chain as the segments tell it.
#[test]
fn a_rebuilt_manifest() {
    bounded(|| {
        let (image, last) = left(4, false);
        let without = |image: &Image| {
            let mut image = image.clone();
            image.remove(FileName::Manifest);
            image
        };
        let open = |image: &Image| Log::open(Disk::from_image(image, 4).storage(), &prefix()).unwrap();
        let log = open(&without(&image));
        assert_eq!((log.last_seq(), log.report().segments, read_all(&log, false)), (last, 4, (1..=last).collect()));
        assert!(log.report().rebuilt_manifest && !log.report().clean && log.report().damage.is_some());
        assert_eq!(log.report().epoch, manifest(&image).epoch + 1);
        // A segment under another name is none of the chain.
        let mut doubled = without(&image);
        doubled.write(FileName::Segment(77), image.read(FileName::Segment(2)).unwrap().to_vec());
        let log = open(&doubled);
        assert_eq!((log.last_seq(), read_all(&log, false)), (last, (1..=last).collect()));
        // Without its oldest segments it begins later, and says what is gone.
        for gone in 1..=3 {
            let mut image = without(&image);
            (1..=gone).for_each(|index| drop(image.remove(FileName::Segment(index))));
            let log = open(&image);
            let floor = frames_end(&left(4, false).0, gone);
            assert_eq!((log.report().floor_seq, log.report().forgotten_data_seq), (floor, floor));
            assert_eq!(read_all(&log, false), (floor + 1..=last).collect::<Vec<_>>());
        }
        // Where a segment does not end as its successor says, the chain breaks off.
        let second = frames(image.read(FileName::Segment(2)).unwrap()).1;
        let end = second[second.len() - 1];
        let log = open(&without(&changed(&image, FileName::Segment(2), |bytes| bytes[end.offset as usize] ^= 1)));
        assert_eq!((read_all(&log, false), log.report().lost_last_seq), ((1..=end.last_seq).collect(), last));
        // A passing error is not the absence of a segment.
        for nth in 1..12 {
            let disk = Disk::from_image(&without(&image), 4);
            disk.fail(Fault::nth(nth).of(Call::Open).error(EIO));
            // Refused, or passed over where nothing needs it.
            drop(Log::open(disk.storage(), &prefix()));
            disk.clear_faults();
            let log = Log::open(disk.storage(), &prefix()).unwrap();
            assert!(log.last_seq() >= last, "open {nth}");
        }
    });
}

/// A rebuilt manifest after a prefix recovery: what was lost stays lost, and what was recovered counts.
#[test]
fn a_rebuilt_manifest_behind_a_hole() {
    bounded(|| {
        let (image, last) = left(4, true);
        let damaged = changed(&image, FileName::Segment(3), |bytes| bytes[900] ^= 1);
        let disk = Disk::from_image(&damaged, 4);
        let log = Log::open(disk.storage(), &prefix()).unwrap();
        let report = log.report();
        drop(log);
        for appended in [0, 1] {
            let disk = Disk::from_image(&disk.visible_image(), 4);
            let mut expected: Vec<u64> = (1..report.lost_first_seq).collect();
            if appended > 0 {
                let log = Log::open(disk.storage(), &strict()).unwrap();
                expected.push(put(&log, 30));
            }
            let mut image = disk.visible_image();
            image.remove(FileName::Manifest);
            let disk = Disk::from_image(&image, 4);
            let log = Log::open(disk.storage(), &prefix()).unwrap();
            assert_eq!(read_all(&log, false), expected);
            // The hole is no news.
            assert_eq!((log.report().lost_first_seq, log.last_seq()), (0, last + appended));
        }
    });
}

/// The active segment was forgotten and swapped before anything was appended, so that its successor does not name a last frame. The log opens, and is
/// rebuilt, with and without what was forgotten.
#[test]
fn a_swapped_segment() {
    bounded(|| {
        let disk = Disk::new(3);
        let log = Log::open(disk.storage(), &strict()).unwrap();
        fill(&log, 2);
        put(&log, 2500);
        log.close().unwrap();
        let log = Log::open(disk.storage(), &strict()).unwrap();
        let last = log.last_seq();
        disk.fail(Fault::nth(1).of(Call::WriteAt).on(last_with_frames(&disk.visible_image()).0));
        assert_eq!(log.append(OP_PUT, b"", b"taken back").map_err(|error| error.code), Err(Code::Io));
        let image = disk.visible_image();
        let forgotten: Vec<(FileName, Vec<u8>)> = image.names().map(|name| (name, image.read(name).unwrap().to_vec())).collect();
        log.truncate(last, true).unwrap();
        let kept = put(&log, 100);
        drop(log);
        let image = disk.visible_image();
        assert!(manifest(&image).oldest_segment > 2, "not swapped");
        for manifest_is_gone in [false, true] {
            for back in [false, true] {
                let mut image = image.clone();
                if manifest_is_gone {
                    image.remove(FileName::Manifest);
                }
                if back {
                    for (name, bytes) in &forgotten {
                        if image.read(*name).is_none() && *name != FileName::Manifest {
                            image.write(*name, bytes.clone());
                        }
                    }
                }
                let log = Log::open(Disk::from_image(&image, 4).storage(), &prefix()).unwrap();
                let shown = read_all(&log, false);
                let first = if manifest_is_gone && back { 1 } else { kept };
                assert_eq!((shown.first(), shown.last()), (Some(&first), Some(&kept)), "gone {manifest_is_gone}, back {back}");
                assert_eq!(log.last_seq(), kept);
            }
        }
    });
}

/// A segment that does not name the last frame of the one before: a prefix recovery follows it, as it follows any other.
#[test]
fn a_segment_that_names_no_last_frame() {
    bounded(|| {
        let (image, last) = left(4, true);
        let names_none = forged_open(&image, 3, |open| [12..16, 24..32].into_iter().for_each(|field| open[field].fill(0)));
        let (name, found) = last_with_frames(&image);
        let hit = found[found.len() - 1];
        assert_eq!(hit.last_seq, last);
        let damaged = changed(&names_none, name, |bytes| bytes[hit.offset as usize + FRAME_HEADER_LEN] ^= 1);
        let log = Log::open(Disk::from_image(&damaged, 4).storage(), &prefix()).unwrap();
        assert_eq!((read_all(&log, false), log.report().lost_first_seq), ((1..last).collect(), last));
        // It still names the end: there the chain breaks off if no frame ends.
        let elsewhere = forged_open(&damaged, 3, |open| open[16] ^= 8);
        let log = Log::open(Disk::from_image(&elsewhere, 4).storage(), &prefix()).unwrap();
        let second = frames_end(&image, 2);
        assert_eq!((read_all(&log, false), log.report().lost_first_seq), ((1..=second).collect(), second + 1));
    });
}

/// Segments larger than a buffer, and more unsynced than one holds: what is copied is what was written.
#[test]
fn a_long_tail() {
    bounded(|| {
        let disk = Disk::new(3);
        let config = Config { segment_bytes: 8 << 20, ..config(SyncMode::Os, true) };
        let log = Log::open(disk.storage(), &config).unwrap();
        put(&log, 100);
        log.sync(seq::LAST).unwrap();
        let lens = [1 << 19, (1 << 20) - 24, (1 << 20) - 23, 600_000, 0, 100, 500_000, 300_000];
        for len in lens {
            put(&log, len);
        }
        let entries = [Entry { op: OP_PUT, key: b"", value: &value_of(10, 10) }, Entry { op: OP_PUT, key: b"", value: &value_of(11, 20) }];
        log.append_batch(&entries[..], Durability::Mode).unwrap();
        // The last one larger than a buffer.
        let last = put(&log, (1 << 20) + 5000);
        drop(log);
        // A prefix opening reads everything once more.
        for (config, read) in [(config, 9 << 20), (Config { recovery: Recovery::Prefix, ..config }, 18 << 20)] {
            let disk = Disk::from_image(&disk.visible_image(), 4);
            let reader = Log::open(disk.storage(), &Config { open: OpenKind::ReadOnly, ..config }).unwrap();
            let vouched = reader.durable_seq();
            assert_eq!(read_all(&reader, true), (1..=last).collect::<Vec<_>>());
            drop(reader);
            let log = Log::open(disk.storage(), &config).unwrap();
            let report = log.report();
            assert_eq!((report.copied_records, report.dropped_bytes, report.last_seq), (last - vouched, 0, last));
            assert!(report.copied_bytes > 1 << 20, "{} bytes were copied", report.copied_bytes);
            assert_eq!(read_all(&log, false), (1..=last).collect::<Vec<_>>());
            assert!(report.bytes_read < read, "{} bytes were read", report.bytes_read);
            drop(log);
            let log = Log::open(disk.storage(), &config).unwrap();
            assert_eq!((log.report().copied_records, read_all(&log, false).len() as u64), (0, last));
        }
    });
}

/// What an interrupted creation left is no log, and is in nobody's way; what an earlier recovery moved aside stays.
#[test]
fn the_remains_of_a_creation() {
    bounded(|| {
        let mut image = Image::new();
        let damaged = FileName::Damaged(3);
        for name in [FileName::Lock, FileName::Segment(1), FileName::Segment(2), FileName::Spare(5), FileName::Manifest, damaged] {
            image.write(name, vec![0; 100]);
        }
        let disk = Disk::from_image(&image, 4);
        assert_eq!(Log::open(disk.storage(), &read_only()).err().map(|error| error.code), Some(Code::NotFound));
        let log = Log::open(disk.storage(), &strict()).unwrap();
        assert!(log.report().created);
        assert_eq!(put(&log, 10), 1);
        log.close().unwrap();
        let after = disk.visible_image();
        assert_eq!(after.read(damaged), image.read(damaged));
        assert!(after.read(FileName::Spare(5)).is_none_or(|bytes| bytes.len() == 4096));
    });
}
