//! A crash behind a fault lost something here once. Each test tells what happened and what must hold instead.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wal_engine::config::SyncMode;
use wal_engine::error::Code;
use wal_engine::format::constants::{MANIFEST_COPY_LEN, MANIFEST_PAGE_LEN, OP_PUT};
use wal_engine::format::manifest_slot::Manifest;
use wal_engine::log::Log;
use wal_engine::names::FileName;
use wal_engine::seq;
use wal_prove::host::{config, value_of};
use wal_sim::{Budget, Call, Disk, Effect, Fault};

/// The write of an END failed, and so did the zeros over it, but the cache had both. The next opening saw no END, recycled the segment that it
/// names, and lost power before it was done. Of the two writes only the END survived: a successor was missing, and the log refused to open.
#[test]
fn the_successor_of_an_end_that_comes_back_is_there() {
    let config = config(SyncMode::Always, true);
    let (mut tried, budget) = (0, Budget { torn: 0, ..Budget::default() });
    // Directories have an order of their own, which follows from the seed.
    for seed in 0..8 {
        let disk = Disk::new(seed);
        let log = Log::open(disk.storage(), &config).unwrap();
        log.append(OP_PUT, b"", &value_of(1, 2000)).unwrap();
        disk.fail(Fault::nth(1).of(Call::WriteAt).on(FileName::Segment(1)).effect(Effect::Whole).forever());
        assert_eq!(log.append(OP_PUT, b"", &value_of(2, 2000)).unwrap_err().code, Code::Failed);
        drop(log);
        disk.clear_faults();
        let from = disk.operations();
        drop(Log::open(disk.storage(), &config).unwrap());
        for point in disk.trace().crash_points_from(from) {
            for image in point.images(&budget) {
                let disk = Disk::from_image(&image, seed);
                let log = Log::open(disk.storage(), &config)
                    .unwrap_or_else(|error| panic!("point {}: {error:?}\n{}", point.index(), disk.trace()));
                assert_eq!(log.last_seq(), 1);
                tried += 1;
            }
        }
    }
    assert!(tried > 100);
}

/// The write of a manifest failed after its first copy; the next install, with another content, took the same generation. After a power cut each of
/// the two copies could hold one of them, and which of them counted was nobody's decision.
#[test]
fn a_generation_of_the_manifest_stands_for_one_content() {
    let disk = Disk::new(11);
    let log = Log::open(disk.storage(), &config(SyncMode::Always, true)).unwrap();
    for seq in 1..=4 {
        log.append(OP_PUT, b"", &value_of(seq, 2000)).unwrap();
    }
    disk.fail(Fault::nth(1).of(Call::WriteAt).on(FileName::Manifest).effect(Effect::Prefix(1000)));
    assert_eq!(log.checkpoint(seq::LAST).unwrap_err().code, Code::Io);
    let from = disk.operations();
    log.truncate(log.last_seq(), true).unwrap();
    drop(log);
    let mut both = 0;
    for point in disk.trace().crash_points_from(from) {
        for image in point.images(&Budget::default()) {
            let copies = image.read(FileName::Manifest).unwrap().chunks_exact(MANIFEST_PAGE_LEN);
            let valid: Vec<Manifest> = copies.filter_map(|page| Manifest::decode(&page[..MANIFEST_COPY_LEN]).ok()).collect();
            for (at, one) in valid.iter().enumerate() {
                for other in &valid[..at] {
                    assert!(one.generation != other.generation || one == other, "point {}: {one:?} {other:?}", point.index());
                    both += u64::from(one.generation == other.generation + 2);
                }
            }
        }
    }
    assert!(both > 0, "no state holds the failed write and the next one");
}
