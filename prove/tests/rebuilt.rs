//! A manifest made anew, where it is the order of segments that decides: which recovered segment counts, and what the chain still knows.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wal_engine::config::{Config, Recovery, SyncMode};
use wal_engine::format::constants::OP_PUT;
use wal_engine::format::control::How;
use wal_engine::format::segment_header::SegmentHeader;
use wal_engine::log::{Log, ReplayOptions};
use wal_engine::names::FileName;
use wal_engine::segment::head::decode_open;
use wal_engine::seq;
use wal_prove::forge::{changed, forged_open, frames, manifest, segments};
use wal_prove::host::{bounded, config, put};
use wal_sim::{Call, Disk, Fault, Image, SimStorage};

fn fill(log: &Log<SimStorage>, more: u64) {
    let goal = log.stat().segments + more;
    while log.stat().segments < goal {
        put(log, 400);
    }
}

fn open(image: &Image) -> Log<SimStorage> {
    let config = Config { recovery: Recovery::Prefix, ..config(SyncMode::Always, true) };
    Log::open(Disk::from_image(image, 4).storage(), &config).unwrap()
}

fn read_all(log: &Log<SimStorage>) -> Vec<u64> {
    let mut cursor = log.replay(seq::OLDEST, ReplayOptions { skip_lost: true, ..ReplayOptions::default() }).unwrap();
    let mut seqs = Vec::new();
    while let Some(record) = cursor.next().unwrap() {
        seqs.push(record.seq);
    }
    seqs
}

/// A recovered segment that others follow was made to count, even if nothing in it was ever synced.
#[test]
fn a_recovered_segment_that_is_followed() {
    bounded(|| {
        for more in [0, 1, 2] {
            let os = config(SyncMode::Os, true);
            let disk = Disk::new(1);
            let log = Log::open(disk.storage(), &os).unwrap();
            put(&log, 400);
            log.sync(seq::LAST).unwrap();
            put(&log, 400);
            drop(log);
            let log = Log::open(disk.storage(), &os).unwrap();
            fill(&log, more);
            let last = put(&log, 50);
            drop(log);
            let mut image = disk.visible_image();
            image.remove(FileName::Manifest);
            let log = open(&image);
            assert_eq!((read_all(&log), log.last_seq(), log.report().lost_first_seq), ((1..=last).collect(), last, 0), "{more} more");
        }
    });
}

/// What a recovery copied into a segment that another followed is there, whatever became of where it stood before.
#[test]
fn a_copy_that_outlives_its_original() {
    bounded(|| {
        let always = config(SyncMode::Always, true);
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &always).unwrap();
        (0..4).for_each(|_| assert!(put(&log, 100) > 0));
        drop(log);
        let first = frames(disk.visible_image().read(FileName::Segment(1)).unwrap()).1;
        // The last record is copied; nothing comes behind it before the log is opened again.
        let log = Log::open(disk.storage(), &always).unwrap();
        let copied = manifest(&disk.visible_image()).bound.segment;
        assert_eq!((log.report().copied_records, copied > 1), (1, true));
        disk.fail(Fault::nth(1).of(Call::WriteAt).on(FileName::Segment(copied)));
        assert!(log.append(OP_PUT, b"", b"not written").is_err());
        drop(log);
        assert_eq!(Log::open(disk.storage(), &always).unwrap().report().copied_records, 0);
        assert!(manifest(&disk.visible_image()).bound.segment > copied);
        let mut image = changed(&disk.visible_image(), FileName::Segment(1), |bytes| bytes[first[4].offset as usize + 30] ^= 1);
        image.remove(FileName::Manifest);
        assert_eq!(read_all(&open(&image)), [1, 2, 3, 4]);
    });
}

/// What any segment says that the log may forget, it may forget, even if that segment is not kept.
#[test]
fn the_highest_checkpoint_of_all() {
    bounded(|| {
        let always = config(SyncMode::Always, true);
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &always).unwrap();
        put(&log, 30);
        let low = log.checkpoint(1).unwrap();
        fill(&log, 3);
        let high = log.checkpoint(12).unwrap();
        fill(&log, 2);
        assert!(high > low);
        drop(log);
        let mut image = changed(&disk.visible_image(), FileName::Segment(2), |bytes| bytes[3000] ^= 1);
        image.remove(FileName::Manifest);
        let report = open(&image).report();
        assert!(report.lost_first_seq > 0);
        assert_eq!((report.checkpoint_seq, report.checkpoint_covered), (high, 12));
    });
}

/// A first segment that says that it follows itself, or one behind it: the way back ends there, and at all.
#[test]
fn a_chain_that_leads_round() {
    bounded(|| {
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &config(SyncMode::Always, true)).unwrap();
        fill(&log, 3);
        let last = log.last_seq();
        log.close().unwrap();
        for follows in [1u32, 2] {
            let mut image = forged_open(&disk.visible_image(), 1, |open| open[8..12].copy_from_slice(&follows.to_le_bytes()));
            image.remove(FileName::Manifest);
            let log = open(&image);
            assert_eq!((read_all(&log), log.last_seq(), log.report().lost_first_seq), ((1..=last).collect(), last, 0), "follows {follows}");
        }
    });
}

/// The chain goes through recovered segments, forwards and backwards.
#[test]
fn a_chain_with_recovered_segments() {
    bounded(|| {
        let always = config(SyncMode::Always, true);
        let disk = Disk::new(1);
        for _ in 0..3 {
            let log = Log::open(disk.storage(), &always).unwrap();
            fill(&log, 1);
            put(&log, 30);
        }
        let log = Log::open(disk.storage(), &always).unwrap();
        let checkpoint = log.checkpoint(seq::LAST).unwrap();
        fill(&log, 2);
        let last = log.last_seq();
        log.close().unwrap();
        let image = disk.visible_image();
        let bound = manifest(&image).bound.segment;
        let found = frames(image.read(FileName::Segment(bound)).unwrap()).1;
        // Damage in the last record: everything in front of it is kept.
        let damaged = changed(&image, FileName::Segment(bound), |bytes| bytes[found[found.len() - 1].offset as usize + 30] ^= 1);
        let log = open(&damaged);
        let all: Vec<u64> = (1..=last).filter(|&seq| seq != checkpoint).collect();
        assert_eq!((&read_all(&log)[..], log.report().lost_first_seq, log.report().lost_last_seq), (&all[..all.len() - 1], last, last));
        let mut without = image.clone();
        without.remove(FileName::Manifest);
        let log = open(&without);
        assert_eq!((&read_all(&log), log.last_seq()), (&all, last));
        // The licence is in the OPENs behind it.
        assert_eq!((log.report().checkpoint_seq, log.report().checkpoint_covered), (checkpoint, checkpoint - 1));
        // What does not end with the frame that a recovered segment names is not in the chain, nor is what stands before it.
        let (link, first_seq) = segments(&image)
            .into_iter()
            .rev()
            .filter_map(|index| {
                let bytes = image.read(FileName::Segment(index)).unwrap();
                decode_open(&SegmentHeader::decode(bytes).unwrap(), bytes)
            })
            .find_map(|open| (open.how == How::Recovered).then_some((open.link, open.first_seq)))
            .unwrap();
        let broken = changed(&without, FileName::Segment(link.index), |bytes| bytes[link.last_frame as usize] ^= 1);
        let log = open(&broken);
        let kept: Vec<u64> = all.iter().copied().filter(|&seq| seq >= first_seq).collect();
        assert_eq!((read_all(&log), log.report().floor_seq, log.last_seq()), (kept, first_seq - 1, last));
    });
}
