//! Faults hit the calls that they are meant for, with the effect that they are meant to have.

mod common;

use common::{durable_file, read_all, segment, spare};
use wal_engine::storage::{Access, File, IoError, LockKind, Storage};
use wal_sim::{Call, Disk, EINTR, EIO, ENOSPC, Effect, Fault};

/// Makes every kind of call once, in the order of `Call::ALL` but for what must exist before, and returns each with its answer.
fn every_call(disk: &Disk) -> Vec<(Call, Result<(), IoError>)> {
    let file = durable_file(&disk.storage(), spare(9), 8);
    let storage = disk.storage();
    let mut answers = vec![
        (Call::Lock, storage.lock(LockKind::Exclusive)),
        (Call::LockPins, storage.lock_pins(true).map(drop)),
        (Call::List, storage.list(&mut |_| {})),
        (Call::Random, storage.random(&mut [0; 4])),
    ];
    let fresh = storage.create(spare(1));
    answers.push((Call::Create, fresh.as_ref().map(|_| ()).map_err(|&error| error)));
    if let Ok(fresh) = fresh {
        answers.push((Call::FillZeros, fresh.fill_zeros(100)));
    }
    answers.push((Call::Open, storage.open(spare(9), Access::Write).map(|_| ())));
    answers.push((Call::Len, file.len().map(|_| ())));
    answers.push((Call::ReadAt, file.read_at(0, &mut [0; 8]).map(|_| ())));
    answers.push((Call::WriteAt, file.write_at(0, b"12345678")));
    answers.push((Call::Sync, file.sync()));
    answers.push((Call::Rename, storage.rename(spare(9), segment(9))));
    answers.push((Call::Remove, storage.remove(segment(9)).or_else(|_| storage.remove(spare(9)))));
    answers.push((Call::SyncDir, storage.sync_dir()));
    answers
}

const PREPARATION: u64 = 4;

#[test]
fn every_call_is_counted_once_under_its_name() {
    let disk = Disk::new(1);
    let answers = every_call(&disk);
    assert!(answers.iter().all(|(_, answer)| answer.is_ok()), "{answers:?}");
    assert_eq!(disk.calls(), PREPARATION + answers.len() as u64);
    for call in Call::ALL {
        let prepared = [Call::Create, Call::FillZeros, Call::Sync, Call::SyncDir].contains(&call);
        assert_eq!(disk.calls_of(call), 1 + u64::from(prepared), "{call}");
    }
}

#[test]
fn the_nth_call_of_all_fails_and_no_other() {
    let count = Disk::new(1);
    let expected = every_call(&count);
    for (at, &(call, _)) in expected.iter().enumerate() {
        let disk = Disk::new(1);
        disk.fail(Fault::nth(PREPARATION + at as u64 + 1));
        let answers = every_call(&disk);
        let failed: Vec<Call> = answers.iter().filter(|(_, answer)| answer.is_err()).map(|&(call, _)| call).collect();
        // A failed removal is tried again under the other name, which does not exist.
        assert_eq!(failed, [call]);
        assert_eq!(disk.injected(), 1);
    }
}

#[test]
fn the_nth_call_of_a_kind_fails_and_all_later_ones_if_so_wished() {
    for forever in [false, true] {
        let disk = Disk::new(1);
        let file = durable_file(&disk.storage(), spare(1), 8);
        let fault = Fault::nth(2).of(Call::WriteAt).error(EINTR);
        disk.fail(if forever { fault.forever() } else { fault });
        let answers: Vec<bool> = (0..4).map(|at| file.write_at(at, b"x").is_ok()).collect();
        assert_eq!(answers, [true, false, !forever, !forever]);
        file.sync().expect("another kind");
        disk.clear_faults();
        file.write_at(0, b"y").expect("no fault any more");
    }
}

#[test]
fn a_fault_may_be_meant_for_one_file() {
    let disk = Disk::new(1);
    let storage = disk.storage();
    let (first, second) = (durable_file(&storage, spare(1), 8), durable_file(&storage, spare(2), 8));
    disk.fail(Fault::nth(1).of(Call::WriteAt).on(spare(2)).error(ENOSPC));
    first.write_at(0, b"x").expect("another file");
    assert_eq!(second.write_at(0, b"x"), Err(ENOSPC));
    second.write_at(0, b"x").expect("once only");
}

#[test]
fn a_failing_write_has_the_planned_part() {
    for (effect, seen) in
        [(Effect::Nothing, &b"\0\0\0\0"[..]), (Effect::Prefix(2), b"ab\0\0"), (Effect::Prefix(9), b"abc\0"), (Effect::Whole, b"abcd")]
    {
        let disk = Disk::new(1);
        let file = durable_file(&disk.storage(), spare(1), 4);
        disk.fail(Fault::nth(1).of(Call::WriteAt).effect(effect));
        assert_eq!(file.write_at(0, b"abcd"), Err(EIO));
        assert_eq!(read_all(&file), seen, "{effect:?}");
    }
}

#[test]
fn a_failing_fill_leaves_a_shorter_file() {
    let disk = Disk::new(1);
    let file = disk.storage().create(spare(1)).expect("create");
    disk.fail(Fault::nth(1).of(Call::FillZeros).effect(Effect::Prefix(100)).error(ENOSPC));
    assert_eq!(file.fill_zeros(4096), Err(ENOSPC));
    assert_eq!(file.len(), Ok(100));
}

#[test]
fn a_failing_sync_saves_the_planned_number_of_writes() {
    for (effect, durable, visible) in [
        (Effect::Nothing, &b"\0\0\0"[..], &b"\0\0\0"[..]),
        (Effect::Prefix(1), b"a\0\0", b"a\0\0"),
        (Effect::Prefix(7), b"abc", b"abc"),
        (Effect::Whole, b"abc", b"abc"),
    ] {
        let disk = Disk::new(1);
        let file = durable_file(&disk.storage(), spare(1), 3);
        for (at, byte) in b"abc".iter().enumerate() {
            file.write_at(at as u64, &[*byte]).expect("write");
        }
        disk.fail(Fault::nth(1).of(Call::Sync).effect(effect));
        assert_eq!(file.sync(), Err(EIO));
        assert_eq!(disk.durable_image().read(spare(1)), Some(durable), "{effect:?}");
        file.drop_cache();
        assert_eq!(read_all(&file), visible, "{effect:?}");
    }
}

#[test]
fn an_operation_on_names_may_happen_although_it_fails() {
    let disk = Disk::new(1);
    let storage = disk.storage();
    durable_file(&storage, spare(1), 3);
    disk.fail(Fault::nth(1).of(Call::Rename).effect(Effect::Whole));
    assert_eq!(storage.rename(spare(1), segment(1)), Err(EIO));
    storage.open(segment(1), Access::Read).expect("it was renamed");
    disk.fail(Fault::nth(1).of(Call::Remove));
    assert_eq!(storage.remove(segment(1)), Err(EIO));
    storage.open(segment(1), Access::Read).expect("it was not removed");
}

#[test]
fn a_dead_process_does_nothing_more_and_its_successor_sees_the_cache() {
    for seed in 0..20 {
        let disk = Disk::new(seed);
        let storage = disk.storage();
        storage.lock(LockKind::Exclusive).expect("lock");
        let file = durable_file(&storage, spare(1), 8);
        file.write_at(0, b"ab").expect("write");
        disk.kill_at(disk.calls() + 2);
        file.write_at(2, b"cd").expect("the call before");
        assert_eq!(file.write_at(4, b"ef"), Err(EIO));
        let calls = disk.calls();
        assert_eq!(file.write_at(6, b"gh"), Err(EIO));
        assert_eq!(file.sync(), Err(EIO));
        assert_eq!(storage.remove(spare(1)), Err(EIO));
        assert_eq!(disk.calls(), calls, "the dead make no calls");
        let successor = disk.storage();
        successor.lock(LockKind::Exclusive).expect("the lock died with its holder");
        let seen = read_all(&successor.open(spare(1), Access::Read).expect("open"));
        assert_eq!((&seen[..4], &seen[6..]), (&b"abcd"[..], &b"\0\0"[..]));
        assert_eq!(disk.durable_image().read(spare(1)), Some(&[0; 8][..]));
    }
}

#[test]
fn a_process_that_dies_in_a_sync_loses_nothing() {
    let mut durable = 0;
    for seed in 0..40 {
        let disk = Disk::new(seed);
        let file = durable_file(&disk.storage(), spare(1), 4);
        file.write_at(0, b"ab").expect("write");
        file.write_at(2, b"cd").expect("write");
        disk.kill_at(disk.calls() + 1);
        assert_eq!(file.sync(), Err(EIO));
        let file = disk.storage().open(spare(1), Access::Read).expect("open");
        durable += u32::from(disk.durable_image().read(spare(1)) == Some(b"abcd"));
        file.sync().expect("sync");
        assert_eq!(disk.durable_image().read(spare(1)), Some(&b"abcd"[..]));
    }
    assert!((1..40).contains(&durable), "both ways must occur: {durable} of 40");
}
