//! The file system that the simulated disk assumes, rule by rule.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{durable_file, read_all, segment, spare};
use wal_engine::names::FileName;
use wal_engine::storage::{Access, File, IoKind, LockKind, Storage};
use wal_sim::{Budget, Call, Disk, ENOSPC, Fault, Image};

/// Every content that `name` may have after a crash now; `None` is "no such file".
fn outcomes(disk: &Disk, name: FileName, torn: usize) -> Vec<Option<Vec<u8>>> {
    let budget = Budget { torn, ..Budget::default() };
    let mut all: Vec<Option<Vec<u8>>> = disk.point().images(&budget).map(|image| image.read(name).map(<[u8]>::to_vec)).collect();
    all.sort();
    all.dedup();
    all
}

#[test]
fn an_unsynced_write_is_seen_at_once_and_may_be_lost_or_kept() {
    let disk = Disk::new(1);
    let storage = disk.storage();
    let file = durable_file(&storage, spare(1), 8);
    file.write_at(2, b"abc").expect("write");
    assert_eq!(read_all(&file), b"\0\0abc\0\0\0");
    assert_eq!(outcomes(&disk, spare(1), 0), [Some(vec![0; 8]), Some(b"\0\0abc\0\0\0".to_vec())]);
    file.sync().expect("sync");
    assert_eq!(outcomes(&disk, spare(1), 12), [Some(b"\0\0abc\0\0\0".to_vec())]);
}

#[test]
fn reads_stop_where_the_file_ends() {
    let disk = Disk::new(1);
    let file = durable_file(&disk.storage(), spare(1), 8);
    let mut buf = [1; 8];
    assert_eq!(file.read_at(6, &mut buf), Ok(2));
    assert_eq!(buf, [0, 0, 1, 1, 1, 1, 1, 1]);
    assert_eq!(file.read_at(8, &mut buf), Ok(0));
    assert_eq!(file.read_at(u64::MAX, &mut buf), Ok(0));
}

#[test]
fn an_unsynced_write_over_two_sectors_tears_between_them() {
    let disk = Disk::new(1);
    let file = durable_file(&disk.storage(), spare(1), 8192);
    file.write_at(500, &[7; 24]).expect("write");
    let seen = outcomes(&disk, spare(1), 60);
    let with = |first: u8, second: u8| {
        let mut bytes = vec![0; 8192];
        bytes[500..512].fill(first);
        bytes[512..524].fill(second);
        Some(bytes)
    };
    for wanted in [with(0, 0), with(7, 0), with(0, 7), with(7, 7)] {
        assert!(seen.contains(&wanted));
    }
    // A 4096-byte sector does not tear at 512: with garbage in both halves neither is what it was.
    assert!(seen.iter().flatten().any(|bytes| bytes[500..512] != [0; 12] && bytes[512..524] != [0; 12] && bytes[500..524] != [7; 24]));
    assert!(seen.iter().flatten().all(|bytes| bytes[..500].iter().chain(&bytes[524..]).all(|&byte| byte == 0)));
}

#[test]
fn zeros_and_old_bytes_are_both_possible_in_a_torn_sector() {
    let disk = Disk::new(1);
    let file = durable_file(&disk.storage(), spare(1), 512);
    file.write_at(0, &[1; 512]).expect("write");
    file.sync().expect("sync");
    file.write_at(100, &[2; 10]).expect("write");
    let seen = outcomes(&disk, spare(1), 12);
    let with = |middle: u8| {
        let mut bytes = vec![1; 512];
        bytes[100..110].fill(middle);
        Some(bytes)
    };
    assert!([0, 1, 2].into_iter().all(|middle| seen.contains(&with(middle))));
    assert!(seen.len() > 3, "garbage is missing");
    assert!(seen.iter().flatten().all(|bytes| bytes[..100] == [1; 100] && bytes[110..] == [1; 402]));
}

#[test]
fn an_unsynced_extension_may_be_missing_or_there_without_its_bytes() {
    let disk = Disk::new(1);
    let storage = disk.storage();
    let file = durable_file(&storage, spare(1), 4);
    file.write_at(4, b"five").expect("write");
    file.write_at(8, b"nine").expect("write");
    let seen = outcomes(&disk, spare(1), 0);
    for wanted in
        [&b"\0\0\0\0"[..], b"\0\0\0\0\0\0\0\0", b"\0\0\0\0five", b"\0\0\0\0five\0\0\0\0", b"\0\0\0\0\0\0\0\0nine", b"\0\0\0\0fivenine"]
    {
        assert!(seen.contains(&Some(wanted.to_vec())), "{wanted:?}");
    }
}

#[test]
fn syncing_a_file_does_not_make_its_name_durable() {
    let disk = Disk::new(1);
    let storage = disk.storage();
    let file = storage.create(spare(1)).expect("create");
    file.write_at(0, b"abc").expect("write");
    file.sync().expect("sync");
    assert_eq!(outcomes(&disk, spare(1), 12), [None, Some(b"abc".to_vec())]);
    storage.sync_dir().expect("sync_dir");
    assert_eq!(outcomes(&disk, spare(1), 12), [Some(b"abc".to_vec())]);
}

#[test]
fn syncing_the_directory_does_not_make_content_durable() {
    let disk = Disk::new(1);
    let storage = disk.storage();
    let file = storage.create(spare(1)).expect("create");
    file.write_at(0, b"abc").expect("write");
    storage.sync_dir().expect("sync_dir");
    assert_eq!(outcomes(&disk, spare(1), 0), [Some(vec![]), Some(vec![0; 3]), Some(b"abc".to_vec())]);
}

#[test]
fn a_rename_is_whole_or_absent_until_the_directory_is_synced() {
    let disk = Disk::new(1);
    let storage = disk.storage();
    durable_file(&storage, spare(1), 3);
    storage.rename(spare(1), segment(2)).expect("rename");
    let mut seen: Vec<Vec<FileName>> = disk.point().images(&Budget::default()).map(|image| image.names().collect()).collect();
    seen.sort();
    assert_eq!(seen, [[segment(2)], [spare(1)]]);
    storage.sync_dir().expect("sync_dir");
    assert_eq!(disk.point().none_survives().names().collect::<Vec<_>>(), [segment(2)]);
}

#[test]
fn a_later_operation_on_names_may_survive_an_earlier_one() {
    let disk = Disk::new(1);
    let storage = disk.storage();
    durable_file(&storage, segment(1), 3);
    durable_file(&storage, segment(2), 3);
    storage.remove(segment(1)).expect("remove");
    storage.remove(segment(2)).expect("remove");
    let mut seen: Vec<Vec<FileName>> = disk.point().images(&Budget::default()).map(|image| image.names().collect()).collect();
    seen.sort();
    assert_eq!(seen, [vec![], vec![segment(1)], vec![segment(1), segment(2)], vec![segment(2)]]);
}

#[test]
fn a_file_keeps_its_unsynced_bytes_through_a_rename() {
    let disk = Disk::new(1);
    let storage = disk.storage();
    let file = durable_file(&storage, spare(1), 3);
    file.write_at(0, b"abc").expect("write");
    storage.rename(spare(1), segment(1)).expect("rename");
    file.sync().expect("sync");
    assert_eq!(outcomes(&disk, spare(1), 0), [None, Some(b"abc".to_vec())]);
    assert_eq!(outcomes(&disk, segment(1), 0), [None, Some(b"abc".to_vec())]);
}

#[test]
fn what_is_written_while_a_sync_runs_is_not_covered_by_it() {
    let disk = Disk::new(1);
    let storage = disk.storage();
    let file = Arc::new(durable_file(&storage, spare(1), 6));
    file.write_at(0, b"abc").expect("write");
    let (late, armed) = (Arc::clone(&file), AtomicBool::new(true));
    disk.on_sync(move |name| {
        assert_eq!(name, Some(spare(1)));
        if armed.swap(false, Ordering::Relaxed) {
            late.write_at(3, b"def").expect("write");
        }
    });
    file.sync().expect("sync");
    assert_eq!(read_all(&file), b"abcdef");
    assert_eq!(disk.durable_image().read(spare(1)), Some(&b"abc\0\0\0"[..]));
    file.sync().expect("sync");
    assert_eq!(disk.durable_image().read(spare(1)), Some(&b"abcdef"[..]));
}

#[test]
fn a_sync_after_a_failed_one_succeeds_and_saves_nothing() {
    let disk = Disk::new(1);
    let storage = disk.storage();
    let file = durable_file(&storage, spare(1), 4);
    file.write_at(0, b"abc").expect("write");
    disk.fail(Fault::nth(1).of(Call::Sync));
    assert!(file.sync().is_err());
    file.sync().expect("the second sync succeeds");
    assert_eq!(read_all(&file), b"abc\0", "readers still see the bytes");
    // The device may have taken them or not.
    assert_eq!(outcomes(&disk, spare(1), 0), [Some(vec![0; 4]), Some(b"abc\0".to_vec())]);
    // What is written afterwards is durable after the next sync, and supersedes what was lost at the same place.
    file.write_at(1, b"XYZ").expect("write");
    file.sync().expect("sync");
    assert_eq!(outcomes(&disk, spare(1), 0), [Some(b"\0XYZ".to_vec()), Some(b"aXYZ".to_vec())]);
    file.drop_cache();
    assert_eq!(read_all(&file), b"\0XYZ", "the device never had the first byte");
    assert_eq!(outcomes(&disk, spare(1), 12), [Some(b"\0XYZ".to_vec())]);
}

#[test]
fn dropping_the_cache_loses_nothing_that_no_sync_has_lost() {
    let disk = Disk::new(1);
    let file = durable_file(&disk.storage(), spare(1), 4);
    file.write_at(0, b"ab").expect("write");
    disk.fail(Fault::nth(1).of(Call::Sync));
    assert!(file.sync().is_err());
    file.write_at(2, b"cd").expect("write");
    disk.drop_caches();
    assert_eq!(read_all(&file), b"\0\0cd");
    assert_eq!(outcomes(&disk, spare(1), 0), [Some(vec![0; 4]), Some(b"\0\0cd".to_vec())]);
}

#[test]
fn names_stay_in_doubt_after_a_failed_directory_sync_until_the_log_is_opened_again() {
    let disk = Disk::new(1);
    let storage = disk.storage();
    storage.create(spare(1)).expect("create");
    disk.fail(Fault::nth(1).of(Call::SyncDir));
    assert!(storage.sync_dir().is_err());
    storage.sync_dir().expect("the second sync succeeds");
    assert_eq!(outcomes(&disk, spare(1), 0), [None, Some(vec![])]);
    let again = disk.storage();
    again.sync_dir().expect("sync_dir");
    assert_eq!(outcomes(&disk, spare(1), 0), [Some(vec![])]);
}

#[test]
fn space_is_taken_by_new_bytes_only_and_comes_back() {
    let disk = Disk::new(1);
    disk.limit_space(Some(10_000));
    let storage = disk.storage();
    let file = durable_file(&storage, spare(1), 6000);
    let second = storage.create(spare(2)).expect("create");
    assert_eq!(second.fill_zeros(6000), Err(ENOSPC));
    assert_eq!(second.len(), Ok(4000), "what there was room for is there");
    file.write_at(0, &[1; 6000]).expect("overwriting needs no space");
    assert_eq!(file.write_at(5999, &[1; 2]), Err(ENOSPC));
    storage.remove(spare(2)).expect("remove");
    assert_eq!(disk.used(), 10_000, "an open file keeps its space");
    drop(second);
    assert_eq!(disk.used(), 6000);
    file.write_at(6000, &[1; 4000]).expect("now there is room");
    disk.limit_space(None);
    file.write_at(10_000, &[1; 4000]).expect("there is no limit");
}

#[test]
fn a_size_that_survives_without_its_bytes_is_a_hole() {
    let disk = Disk::new(1);
    let storage = disk.storage();
    let file = storage.create(spare(1)).expect("create");
    storage.sync_dir().expect("sync_dir");
    file.fill_zeros(4096).expect("fill");
    let sizes_and_space: Vec<(usize, u64)> = disk
        .point()
        .images(&Budget { torn: 0, ..Budget::default() })
        .map(|image| (image.read(spare(1)).map_or(0, <[u8]>::len), Disk::from_image(&image, 1).used()))
        .collect();
    assert_eq!(sizes_and_space, [(0, 0), (4096, 0)], "filled but unsynced blocks count only where content shows it");
    file.sync().expect("sync");
    let image = disk.durable_image();
    assert_eq!(Disk::from_image(&image, 1).used(), 4096);
}

#[test]
fn a_lock_is_held_until_its_storage_goes() {
    let disk = Disk::new(1);
    let first = disk.storage();
    let second = disk.storage();
    first.lock(LockKind::Exclusive).expect("lock");
    assert_eq!(second.lock(LockKind::Exclusive).map_err(|error| error.kind), Err(IoKind::Locked));
    assert_eq!(second.lock(LockKind::Shared).map_err(|error| error.kind), Err(IoKind::Locked));
    drop(first);
    second.lock(LockKind::Shared).expect("lock");
    let third = disk.storage();
    third.lock(LockKind::Shared).expect("lock");
    assert_eq!(disk.storage().lock(LockKind::Exclusive).map_err(|error| error.kind), Err(IoKind::Locked));
    let image = disk.point().none_survives();
    assert_eq!(image.names().collect::<Vec<_>>(), [FileName::Lock]);
    Disk::from_image(&image, 1).storage().lock(LockKind::Exclusive).expect("a crash releases the lock");
}

#[test]
fn a_shared_lock_creates_nothing() {
    let disk = Disk::new(1);
    disk.storage().lock(LockKind::Shared).expect("lock");
    assert_eq!(disk.visible_image(), Image::new());
}

#[test]
fn names_are_checked() {
    let disk = Disk::new(1);
    let storage = disk.storage();
    durable_file(&storage, spare(1), 1);
    durable_file(&storage, spare(2), 1);
    assert_eq!(storage.create(spare(1)).err().map(|error| error.kind), Some(IoKind::Exists));
    assert_eq!(storage.open(spare(3), Access::Read).err().map(|error| error.kind), Some(IoKind::NotFound));
    assert_eq!(storage.remove(spare(3)).map_err(|error| error.kind), Err(IoKind::NotFound));
    assert_eq!(storage.rename(spare(3), spare(4)).map_err(|error| error.kind), Err(IoKind::NotFound));
    assert_eq!(storage.rename(spare(1), spare(2)).map_err(|error| error.kind), Err(IoKind::Exists));
    let read_only = storage.open(spare(1), Access::Read).expect("open");
    assert!(read_only.write_at(0, b"x").is_err());
    let mut names = Vec::new();
    storage.list(&mut |name| names.push(name)).expect("list");
    names.sort();
    assert_eq!(names, [spare(1), spare(2)]);
}

#[test]
fn an_unlinked_file_lives_as_long_as_its_handle() {
    let disk = Disk::new(1);
    let storage = disk.storage();
    let file = durable_file(&storage, spare(1), 3);
    storage.remove(spare(1)).expect("remove");
    storage.sync_dir().expect("sync_dir");
    file.write_at(0, b"abc").expect("write");
    file.sync().expect("sync");
    assert_eq!(read_all(&file), b"abc");
    assert_eq!(disk.point().unsynced(), 0, "nobody can find it after a crash");
}

#[test]
fn everything_random_follows_from_the_seed() {
    let draw = |seed: u64| {
        let storage = Disk::new(seed).storage();
        let mut out = [0; 20];
        storage.random(&mut out).expect("random");
        out
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn a_restart_of_the_process_keeps_the_cache_and_a_restart_of_the_machine_does_not() {
    let disk = Disk::new(1);
    let storage = disk.storage();
    let file = durable_file(&storage, spare(1), 3);
    file.write_at(0, b"abc").expect("write");
    drop((file, storage));
    let file = disk.storage().open(spare(1), Access::Read).expect("open");
    assert_eq!(read_all(&file), b"abc");
    let rebooted = Disk::from_image(&disk.point().none_survives(), 1);
    let file = rebooted.storage().open(spare(1), Access::Read).expect("open");
    assert_eq!(read_all(&file), b"\0\0\0");
}
