//! A crash behind a fault lost something here once. Each test tells what happened and what must hold instead.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wal_engine::config::SyncMode;
use wal_engine::error::Code;
use wal_engine::format::constants::OP_PUT;
use wal_engine::log::Log;
use wal_engine::names::FileName;
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
