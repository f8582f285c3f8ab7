//! The manifest file: which copy counts, what an install writes, and what it refuses to write.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wal_engine::config::{Config, SyncMode};
use wal_engine::error::{Code, Place};
use wal_engine::format::constants::{MANIFEST_COPY_LEN, MANIFEST_LEN, MANIFEST_PAGE_LEN, OP_PUT};
use wal_engine::format::manifest_slot::Manifest;
use wal_engine::log::{Log, ReplayOptions};
use wal_engine::manifest::{ManifestFile, Read, read};
use wal_engine::names::FileName;
use wal_engine::seq;
use wal_prove::forge::{changed, forged, manifest};
use wal_prove::host::{bounded, config, value_of};
use wal_sim::{Call, Disk, Effect, Fault, Image};

fn always() -> Config {
    config(SyncMode::Always, true)
}

/// A log that is open: nobody closed it.
fn open_log() -> (Disk, u64) {
    let disk = Disk::new(1);
    for _ in 0..2 {
        let log = Log::open(disk.storage(), &always()).unwrap();
        log.append(OP_PUT, b"", &value_of(log.last_seq() + 1, 100)).unwrap();
        log.close().unwrap();
    }
    let log = Log::open(disk.storage(), &always()).unwrap();
    let last = log.append(OP_PUT, b"", &value_of(log.last_seq() + 1, 100)).unwrap();
    drop(log);
    (disk, last)
}

/// Generations of the four copies, 0 where one is not valid.
fn generations(image: &Image) -> Vec<u64> {
    let bytes = image.read(FileName::Manifest).unwrap();
    bytes.chunks(MANIFEST_PAGE_LEN).map(|page| Manifest::decode(page).map_or(0, |manifest| manifest.generation)).collect()
}

fn read_all(log: &Log<wal_sim::SimStorage>) -> Vec<u64> {
    let mut cursor = log.replay(seq::OLDEST, ReplayOptions::default()).unwrap();
    let mut seqs = Vec::new();
    while let Some(record) = cursor.next().unwrap() {
        seqs.push(record.seq);
    }
    seqs
}

/// The newest slot said dirty and is gone; the other one says clean and is out of date.
#[test]
fn the_newer_slot_destroyed() {
    bounded(|| {
        let (disk, last) = open_log();
        let image = disk.visible_image();
        let newest = manifest(&image);
        assert!(newest.dirty);
        let slot = generations(&image).iter().position(|&generation| generation == newest.generation).unwrap() / 2;
        let image = changed(&image, FileName::Manifest, |bytes| bytes[slot * 8192..(slot + 1) * 8192].fill(0));
        assert!(!manifest(&image).dirty);
        let disk = Disk::from_image(&image, 2);
        let log = Log::open(disk.storage(), &always()).unwrap();
        assert_eq!(read_all(&log), (1..=last).collect::<Vec<_>>());
    });
}

/// With one copy of each slot left nothing is amiss.
#[test]
fn one_copy_of_a_slot_is_enough() {
    bounded(|| {
        let (disk, last) = open_log();
        Log::open(disk.storage(), &always()).unwrap().close().unwrap();
        let image = disk.visible_image();
        for (first, second) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
            let image = changed(&image, FileName::Manifest, |bytes| {
                for page in [first, second] {
                    bytes[page * MANIFEST_PAGE_LEN] ^= 1;
                }
            });
            let disk = Disk::from_image(&image, 2);
            let Read::Valid(found, both) = read(&disk.storage()).unwrap() else { panic!("not valid") };
            assert_eq!((found, both), (manifest(&image), true));
            let log = Log::open(disk.storage(), &always()).unwrap();
            assert!(log.report().clean);
            assert_eq!(read_all(&log).len() as u64, last);
            // It had nothing to put right.
            assert_eq!(disk.visible_image().read(FileName::Manifest), image.read(FileName::Manifest));
        }
    });
}

#[test]
fn which_copy_counts() {
    let (disk, _) = open_log();
    let image = disk.visible_image();
    let newest = manifest(&image);
    for order in [[5, 7, 6, 4], [7, 6, 5, 4], [4, 5, 6, 7], [6, 6, 7, 7], [7, 7, 6, 6]] {
        let mut bytes = Vec::new();
        for generation in order {
            bytes.extend(Manifest { generation, floor: generation * 2, ..newest }.encode());
            bytes.resize(bytes.len().next_multiple_of(MANIFEST_PAGE_LEN), 0);
        }
        let image = changed(&image, FileName::Manifest, |all| *all = bytes);
        let disk = Disk::from_image(&image, 2);
        let Read::Valid(found, both) = read(&disk.storage()).unwrap() else { panic!("not valid") };
        assert_eq!((found.generation, found.floor, both), (7, 14, true), "{order:?}");
    }
    // As far as the file goes.
    for (len, expected) in
        [(MANIFEST_PAGE_LEN + MANIFEST_COPY_LEN, Some(false)), (2 * MANIFEST_PAGE_LEN + MANIFEST_COPY_LEN, Some(true)), (100, None)]
    {
        let image = changed(&forged(&image, |_| {}), FileName::Manifest, |bytes| bytes.truncate(len));
        let disk = Disk::from_image(&image, 2);
        let both = match read(&disk.storage()).unwrap() {
            Read::Valid(_, both) => Some(both),
            Read::Missing | Read::Invalid => None,
        };
        assert_eq!(both, expected, "{len} bytes");
    }
    assert!(matches!(read(&Disk::new(1).storage()).unwrap(), Read::Missing));
}

#[test]
fn a_newer_copy_is_not_for_this_library() {
    let (disk, _) = open_log();
    for page in 0..4 {
        let image = changed(&disk.visible_image(), FileName::Manifest, |bytes| {
            let copy = &mut bytes[page * MANIFEST_PAGE_LEN..][..MANIFEST_COPY_LEN];
            copy[10] = 2;
            let crc = wal_engine::format::checksum::of(&copy[..MANIFEST_COPY_LEN - 4]);
            copy[MANIFEST_COPY_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        });
        let error = read(&Disk::from_image(&image, 2).storage()).map(|_| ()).unwrap_err();
        let place = (Place::File(FileName::Manifest), Some((page * MANIFEST_PAGE_LEN) as u64));
        assert_eq!((error.code, (error.place, error.offset)), (Code::Format, place));
    }
}

/// An install writes the slot that does not hold the newest content, and both in turn where it is to be in both.
#[test]
fn what_an_install_writes() {
    let (disk, _) = open_log();
    let first = manifest(&disk.visible_image());
    let storage = disk.storage();
    let file = ManifestFile::open(&storage, first).unwrap();
    let mut expected = generations(&disk.visible_image());
    assert!(expected.contains(&first.generation));
    for generation in first.generation + 1..first.generation + 6 {
        let installed = file.install(|manifest| manifest.floor += 1).unwrap();
        assert_eq!(installed.floor, file.current().floor);
        let slot = (generation % 2) as usize * 2;
        expected[slot..slot + 2].fill(generation);
        assert_eq!(generations(&disk.durable_image()), expected);
        assert_eq!((file.current().generation, manifest(&disk.durable_image())), (generation, file.current()));
        assert_eq!(file.current().floor, first.floor + generation - first.generation);
    }
    let installed = file.install_twice(|manifest| manifest.epoch += 1).unwrap();
    let generation = first.generation + 7;
    assert_eq!((installed.epoch, file.current().generation), (first.epoch + 1, generation));
    expected = vec![generation - 1, generation - 1, generation, generation];
    expected.rotate_left(if generation.is_multiple_of(2) { 2 } else { 0 });
    assert_eq!(generations(&disk.durable_image()), expected);
    let epochs = disk.durable_image();
    let copies = epochs.read(FileName::Manifest).unwrap().chunks(MANIFEST_PAGE_LEN).map(|page| Manifest::decode(page).unwrap().epoch);
    assert_eq!(copies.collect::<Vec<_>>(), [first.epoch + 1; 4]);
}

/// What could not be read back does not replace what can.
#[test]
fn an_install_that_contradicts_itself() {
    let (disk, _) = open_log();
    let first = manifest(&disk.visible_image());
    let storage = disk.storage();
    let file = ManifestFile::open(&storage, first).unwrap();
    let before = disk.visible_image();
    for twice in [false, true] {
        let edit = |manifest: &mut Manifest| manifest.forgotten_data = manifest.floor + 1;
        let failed = if twice { file.install_twice(edit) } else { file.install(edit) }.unwrap_err();
        assert_eq!((failed.error.code, failed.is_final), (Code::Panic, true));
        assert!(disk.visible_image() == before);
        assert_eq!(file.current(), first);
    }
}

/// A write that fails may be tried again, a sync may not.
#[test]
fn an_install_that_fails() {
    let (disk, _) = open_log();
    let first = manifest(&disk.visible_image());
    let storage = disk.storage();
    let file = ManifestFile::open(&storage, first).unwrap();
    disk.fail(Fault::nth(1).of(Call::WriteAt));
    let failed = file.install(|manifest| manifest.floor += 1).unwrap_err();
    assert_eq!((failed.error.code, failed.is_final, file.current()), (Code::Io, false, first));
    // However often it fails: the slot with the newest content is not written to, since half of a write may be there.
    let newest = |image: &Image| {
        let slot = (first.generation % 2) as usize * 2 * MANIFEST_PAGE_LEN;
        image.read(FileName::Manifest).unwrap()[slot..][..2 * MANIFEST_PAGE_LEN].to_vec()
    };
    let before = newest(&disk.visible_image());
    for _ in 0..3 {
        disk.fail(Fault::nth(1).of(Call::WriteAt).effect(Effect::Prefix(100)));
        assert!(file.install(|manifest| manifest.floor += 1).is_err());
        assert!(newest(&disk.visible_image()) == before);
    }
    file.install(|manifest| manifest.floor += 1).unwrap();
    disk.fail(Fault::nth(1).of(Call::Sync));
    let failed = file.install(|manifest| manifest.floor += 1).unwrap_err();
    assert_eq!((failed.error.code, failed.is_final), (Code::Io, true));
    let calls = disk.calls();
    let again = file.install_twice(|_| {}).unwrap_err();
    assert_eq!((again.error, again.is_final, disk.calls()), (failed.error, true, calls));
    assert_eq!(file.current().floor, first.floor + 1);
}

#[test]
fn a_manifest_where_there_is_none() {
    let (disk, _) = open_log();
    let first = manifest(&disk.visible_image());
    for there in [false, true] {
        let mut image = disk.visible_image();
        image.remove(FileName::Manifest);
        if there {
            image.write(FileName::Manifest, vec![0x5a; MANIFEST_LEN]);
        }
        let disk = Disk::from_image(&image, 2);
        let storage = disk.storage();
        let expected = if there { "invalid" } else { "missing" };
        let found = match read(&storage).unwrap() {
            Read::Missing => "missing",
            Read::Invalid => "invalid",
            Read::Valid(..) => "valid",
        };
        assert_eq!(found, expected);
        let file = ManifestFile::rebuild(&storage, first).unwrap();
        assert_eq!(generations(&disk.durable_image()).iter().filter(|&&generation| generation > first.generation).count(), 4);
        assert_eq!(manifest(&disk.durable_image()), file.current());
        assert_eq!(Manifest { generation: 0, ..file.current() }, Manifest { generation: 0, ..first });
    }
    let disk = Disk::new(3);
    let storage = disk.storage();
    ManifestFile::create(&storage, Manifest { generation: 0, ..first }).unwrap();
    let image = disk.visible_image();
    assert_eq!(image.read(FileName::Manifest).unwrap().len(), MANIFEST_LEN);
    assert_eq!(generations(&image), [2, 2, 1, 1]);
}
