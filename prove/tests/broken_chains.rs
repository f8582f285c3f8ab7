//! What a strict opening says of a chain of segments that is broken or longer than the manifest knows: the file, the offset and the seqs at risk.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wal_engine::config::{Config, SyncMode};
use wal_engine::error::{Code, Place};
use wal_engine::format::constants::{DATA_START, FRAME_HEADER_LEN};
use wal_engine::log::Log;
use wal_engine::names::FileName;
use wal_engine::seq::Tail;
use wal_prove::forge::{changed, flipped, forged, found_in, frames, last_with_frames, manifest};
use wal_prove::host::{bounded, config, put};
use wal_sim::{Disk, Image, SimStorage};

fn strict() -> Config {
    config(SyncMode::Always, true)
}

fn fill(log: &Log<SimStorage>, segments: u64) {
    while log.stat().segments < segments {
        put(log, 400);
    }
}

fn left(segments: u64) -> Image {
    let disk = Disk::new(3);
    fill(&Log::open(disk.storage(), &strict()).unwrap(), segments);
    disk.visible_image()
}

/// A byte of a segment's first frame, OPEN.
const IN_OPEN: u64 = DATA_START + FRAME_HEADER_LEN as u64 + 6;
const IN_HEADER: u64 = 10;

/// The manifest's bound at the start or behind the first frames of the first segment, as it is before anything moved it.
fn bound_in_first(image: &Image, offset: u64, seq: u64) -> Image {
    forged(image, |manifest| {
        manifest.dirty = true;
        (manifest.bound.segment, manifest.bound.offset, manifest.bound.tail) = (1, offset, Tail { seq, data_seq: seq });
    })
}

/// Which segment is named, where in it, and which seqs; `None` if the log opens.
fn refusal(image: &Image) -> Option<(u32, Option<u64>, u64, u64)> {
    let error = Log::open(Disk::from_image(image, 4).storage(), &strict()).err()?;
    assert_eq!(error.code, Code::Corrupt, "{error}");
    let Place::File(FileName::Segment(index)) = error.place else { panic!("no segment is named: {error}") };
    Some((index, error.offset, error.seq, error.seq_last))
}

/// Nothing was left in the log, so that the next seq is all that is at risk.
#[test]
fn damage_to_a_log_of_which_everything_was_forgotten() {
    bounded(|| {
        let disk = Disk::new(3);
        let log = Log::open(disk.storage(), &strict()).unwrap();
        fill(&log, 3);
        let last = log.last_seq();
        log.truncate(last, true).unwrap();
        log.close().unwrap();
        let image = disk.visible_image();
        let bound = manifest(&image).bound;
        assert_eq!((bound.tail.seq, manifest(&image).floor), (last, last));
        assert_eq!(refusal(&flipped(&image, bound.segment, IN_HEADER)), Some((bound.segment, Some(0), last + 1, last + 1)));
    });
}

/// The frame that says where a segment belongs is looked at, though nothing else of a clean log is.
#[test]
fn a_first_frame_that_the_manifest_vouches_for() {
    bounded(|| {
        for segments in [1, 3] {
            let disk = Disk::new(3);
            let log = Log::open(disk.storage(), &strict()).unwrap();
            fill(&log, segments);
            put(&log, 100);
            put(&log, 100);
            log.close().unwrap();
            let image = disk.visible_image();
            let bound = manifest(&image).bound;
            assert_eq!(refusal(&flipped(&image, bound.segment, IN_OPEN)), Some((bound.segment, Some(DATA_START), 1, u64::MAX)));
            // It says that the segment begins behind the last record that the manifest knows.
            if segments > 1 {
                let first = found_in(&image, bound.segment)[1].last_seq;
                let tail = Tail { seq: first - 2, data_seq: first - 2 };
                let image = forged(&image, |manifest| manifest.bound.tail = tail);
                assert_eq!(refusal(&image), Some((bound.segment, Some(DATA_START), 1, u64::MAX)));
            }
        }
    });
}

/// Only of the bound's own segment does the manifest say how far it went.
#[test]
fn a_later_segment_that_is_shorter() {
    bounded(|| {
        let disk = Disk::new(3);
        let log = Log::open(disk.storage(), &strict()).unwrap();
        fill(&log, 2);
        put(&log, 800);
        put(&log, 2800);
        assert_eq!(log.stat().segments, 3);
        let last = log.last_seq();
        drop(log);
        let image = disk.visible_image();
        let ends = [1, 2].map(|index| *found_in(&image, index).last().unwrap());
        assert!(ends[1].end + 800 < ends[0].end);
        let image = bound_in_first(&image, ends[0].end, ends[0].last_seq);
        assert_eq!(Log::open(Disk::from_image(&image, 4).storage(), &strict()).map(|log| log.last_seq()), Ok(last));
    });
}

/// A first frame that nothing vouches for but the segments behind it.
#[test]
fn a_first_frame_that_a_successor_vouches_for() {
    bounded(|| {
        let image = bound_in_first(&left(3), DATA_START, 0);
        assert_eq!(refusal(&image), None);
        assert_eq!(refusal(&flipped(&image, 1, IN_OPEN)), Some((1, Some(DATA_START), 1, u64::MAX)));
    });
}

/// The segment between the first and the third is damaged: what the third says tells what is missing.
#[test]
fn a_segment_that_is_missing_between_others() {
    bounded(|| {
        let image = left(3);
        let first = found_in(&image, 1);
        let end_of_second = found_in(&image, 2).last().unwrap().last_seq;
        let unbound = flipped(&bound_in_first(&image, DATA_START, 0), 1, IN_OPEN);
        assert_eq!(refusal(&flipped(&unbound, 2, IN_HEADER)), Some((2, Some(0), 1, end_of_second)));
        assert_eq!(refusal(&flipped(&unbound, 2, IN_OPEN)), Some((2, Some(DATA_START), 1, end_of_second)));
        // What was forgotten is not at risk any more.
        let forgotten = forged(&bound_in_first(&image, first[3].end, first[3].last_seq), |manifest| {
            (manifest.floor, manifest.forgotten_data) = (2, 2);
        });
        assert_eq!(refusal(&forgotten), None);
        assert_eq!(refusal(&flipped(&forgotten, 2, IN_HEADER)), Some((2, Some(0), 3, end_of_second)));
    });
}

/// An old copy of the manifest, from before a recovery: records were appended behind it since, and opening would forget them.
#[test]
fn a_manifest_from_before_a_recovery() {
    bounded(|| {
        for records in [0, 1, 30] {
            let disk = Disk::new(3);
            let log = Log::open(disk.storage(), &strict()).unwrap();
            (1..=3).for_each(|seq| assert_eq!(put(&log, 100), seq));
            drop(log);
            let old = disk.visible_image().read(FileName::Manifest).unwrap().to_vec();
            let log = Log::open(disk.storage(), &strict()).unwrap();
            let recovered = manifest(&disk.visible_image()).bound.segment;
            (0..records).for_each(|_| assert!(put(&log, 200) > 3));
            drop(log);
            let image = changed(&disk.visible_image(), FileName::Manifest, |bytes| *bytes = old);
            // Where nothing was appended, what was recovered still stands where it stood.
            let expected = (records > 0).then_some((recovered, None, 0, 0));
            assert_eq!(refusal(&image), expected, "{records} records");
            if records == 30 {
                // Its own frames are gone; the segment that followed it still tells.
                let (FileName::Segment(last), _) = last_with_frames(&image) else { panic!("no segment") };
                assert!(last > recovered);
                let mut image = image;
                for index in recovered..=last {
                    if let Some(bytes) = image.read(FileName::Segment(index)).map(<[u8]>::to_vec) {
                        let open_end = frames(&bytes).1.first().map_or(bytes.len(), |open| open.end as usize);
                        image = changed(&image, FileName::Segment(index), |bytes| bytes[open_end..].fill(0));
                    }
                }
                assert_eq!(refusal(&image), expected);
            }
        }
    });
}
