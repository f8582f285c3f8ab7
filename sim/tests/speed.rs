//! States per second. Ignored in the ordinary run: it measures the machine as much as the code.

mod common;

use std::time::Instant;

use common::{durable_file, segment};
use wal_engine::names::FileName;
use wal_engine::storage::{File, Storage};
use wal_sim::{Budget, Disk};

#[test]
#[ignore = "measures speed: run it in a release build"]
fn at_least_fifty_thousand_images_a_second_are_made_hashed_and_booted() {
    let disk = Disk::new(1);
    let storage = disk.storage();
    let manifest = durable_file(&storage, FileName::Manifest, 16384);
    let segments: Vec<_> = (1..=3).map(|index| durable_file(&storage, segment(index), 16384)).collect();
    manifest.write_at(4096, &[3; 256]).expect("write");
    for at in 0..4 {
        segments[2].write_at(64 + at * 200, &[at as u8; 190]).expect("write");
    }
    storage.remove(segment(1)).expect("remove");
    let point = disk.point();
    let (start, mut count, mut sum) = (Instant::now(), 0u64, 0);
    for seed in 0..200 {
        for image in point.images(&Budget { seed, ..Budget::default() }) {
            sum ^= image.hash();
            count += 1;
            let booted = Disk::from_image(&image, seed);
            assert_eq!(booted.calls(), 0);
        }
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    println!("{count} images, {rate:.0} in a second, sum {sum:x}");
    assert!(rate > 50_000.0);
}
