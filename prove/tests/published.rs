//! What a writer makes visible to those who follow it, and what they see of it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wal_engine::config::SyncMode;
use wal_engine::format::constants::{MANIFEST_LEN, MANIFEST_PAGE_LEN, OP_PUT};
use wal_engine::log::Log;
use wal_engine::manifest::peek;
use wal_engine::names::FileName;
use wal_engine::seq::Tail;
use wal_engine::storage::{Access, Storage};
use wal_prove::forge::{changed, manifest};
use wal_prove::host::{bounded, config};
use wal_sim::{Call, Disk};

/// Everything durable is in the manifest afterwards; where it is already, nothing is written.
#[test]
fn the_newest_bound() {
    bounded(|| {
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &config(SyncMode::Always, true)).unwrap();
        for last in 1..=3 {
            assert_eq!(log.append(OP_PUT, b"", b"value"), Ok(last));
            assert!(manifest(&disk.visible_image()).bound.tail.seq < last);
            for _ in 0..2 {
                log.publish().unwrap();
                assert_eq!(manifest(&disk.durable_image()).bound.tail, Tail { seq: last, data_seq: last });
            }
            let writes = disk.calls_of(Call::WriteAt);
            log.publish().unwrap();
            assert_eq!(disk.calls_of(Call::WriteAt), writes);
        }
    });
}

/// The newest whole copy, and none where the writer is amid all of them.
#[test]
fn a_manifest_that_is_being_written() {
    let disk = Disk::new(1);
    let log = Log::open(disk.storage(), &config(SyncMode::Always, true)).unwrap();
    log.append(OP_PUT, b"", b"value").unwrap();
    log.publish().unwrap();
    let image = disk.visible_image();
    let newest = manifest(&image);
    let slots = |broken: &[usize]| {
        let image = changed(&image, FileName::Manifest, |bytes| broken.iter().for_each(|page| bytes[page * MANIFEST_PAGE_LEN] ^= 1));
        let file = Disk::from_image(&image, 2).storage().open(FileName::Manifest, Access::Read).unwrap();
        let peeked = peek(&file, &mut vec![0xA5; MANIFEST_LEN]).unwrap();
        peeked.map(|peeked| (peeked.newest.generation, peeked.before.map(|before| before.generation)))
    };
    let generation = newest.generation;
    let (slot, other) = ((generation % 2) as usize * 2, (generation + 1) as usize % 2 * 2);
    for whole in [&[][..], &[slot], &[slot + 1], &[other], &[slot, other + 1]] {
        assert_eq!(slots(whole), Some((generation, Some(generation - 1))), "{whole:?}");
    }
    assert_eq!(slots(&[slot, slot + 1]), Some((generation - 1, None)));
    assert_eq!(slots(&[slot, other, other + 1]), Some((generation, None)));
    assert_eq!(slots(&[0, 1, 2, 3]), None);
}
