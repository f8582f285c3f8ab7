//! Committing went wrong here once. Each test tells what happened and what must hold instead.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wal_engine::config::{Config, SyncMode};
use wal_engine::error::Code;
use wal_engine::log::{Durability, Entry, Log, ReplayOptions, Waited};
use wal_engine::names::FileName;
use wal_engine::seq;
use wal_engine::storage::Storage;
use wal_prove::host::bounded;
use wal_prove::watched::{Signal, Watcher, wait_until};
use wal_sim::{Budget, Call, Disk, EIO, Effect, Fault, SimStorage};

const SEGMENT: FileName = FileName::Segment(1);
/// Time for a thread that cannot be observed to come to where it waits. Too short makes a test blind, not wrong.
const SETTLE: Duration = Duration::from_millis(100);

/// No background thread, so that nothing happens but what the test does.
fn config(segment_bytes: u64, sync_mode: SyncMode) -> Config {
    Config { segment_bytes, sync_mode, background: false, ..Config::default() }
}

/// Seqs and values of all records, CHECKPOINT records without their values.
fn dump<S: Storage>(log: &Log<S>) -> Vec<(u64, Vec<u8>)> {
    let mut cursor = log.replay(seq::OLDEST, ReplayOptions { raw: true, ..ReplayOptions::default() }).unwrap();
    let mut records = Vec::new();
    while let Some(record) = cursor.next().unwrap() {
        let value = if record.op == 3 { Vec::new() } else { record.value.to_vec() };
        records.push((record.seq, value));
    }
    records
}

/// What the next opening shows, after the process has died and, if `power_cut`, the machine too.
fn reopened(disk: &Disk, power_cut: bool) -> Vec<(u64, Vec<u8>)> {
    let disk = if power_cut { Disk::from_image(&disk.durable_image(), 9) } else { disk.clone() };
    disk.clear_faults();
    let log = Log::open(disk.storage(), &config(0, SyncMode::Always)).unwrap_or_else(|error| panic!("opening again: {error}"));
    dump(&log)
}

fn record(seq: u64, value: &[u8]) -> (u64, Vec<u8>) {
    (seq, value.to_vec())
}

fn batch<S: Storage>(log: &Log<S>, values: &[&[u8]]) -> wal_engine::error::Result<u64> {
    let entries: Vec<Entry<'_>> = values.iter().map(|value| Entry { op: 1, key: b"k", value }).collect();
    log.append_batch(&entries[..], Durability::Mode)
}

/// Whoever waited for a seq asked for the state of the handle while holding the lock under which waiters are woken, and appenders wake waiters while
/// holding the lock of the state: both together stood still for ever. Waiters and appenders must not know of each other's locks.
#[test]
fn waiters_and_appenders_do_not_stop_each_other() {
    const THREADS: u64 = 3;
    const EACH: u64 = 2500;
    bounded(|| {
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &config(1 << 20, SyncMode::Always)).unwrap();
        let log = &log;
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(move || (0..EACH).for_each(|_| assert!(log.append(1, b"k", b"v").is_ok())));
            }
            scope.spawn(move || (1..THREADS * EACH).for_each(|seq| assert_eq!(log.wait_durable(seq, u64::MAX), Ok(Waited::Durable))));
            scope.spawn(move || {
                let mut cursor = log.replay(0, ReplayOptions::default()).unwrap();
                let mut seen = 0;
                while seen < THREADS * EACH {
                    match cursor.next().unwrap().map(|record| record.seq) {
                        Some(seq) => {
                            seen += 1;
                            assert_eq!(seq, seen);
                        }
                        None => assert_eq!(cursor.wait(u64::MAX), Ok(Waited::Durable)),
                    }
                }
            });
        });
    });
}

/// A write of a frame failed although all of it happened, and so did the attempt to zero it. The append answered that its record had not been
/// appended; at the next opening it was there. If the range cannot be shown to be clean the record is in doubt, and the answer says so.
#[test]
fn a_failed_take_back_is_in_doubt() {
    bounded(|| {
        // The zeroing does not happen, happens in part, or is not made durable.
        let zeroing_fails =
            [Fault::nth(2).of(Call::WriteAt), Fault::nth(2).of(Call::WriteAt).effect(Effect::Prefix(8)), Fault::nth(1).of(Call::Sync)];
        for fault in zeroing_fails {
            let disk = Disk::new(1);
            let log = Log::open(disk.storage(), &config(4096, SyncMode::Always)).unwrap();
            log.append(1, b"k", b"one").unwrap();
            disk.fail(Fault::nth(1).of(Call::WriteAt).effect(Effect::Whole));
            disk.fail(fault);
            let error = log.append(1, b"k", b"two").unwrap_err();
            assert_eq!((error.code, error.seq, error.seq_last), (Code::Failed, 2, 2), "{fault:?}: {error}");
            assert_eq!(log.append(1, b"k", b"three").unwrap_err().code, Code::Failed, "{fault:?}");
            drop(log);
            for power_cut in [true, false] {
                let shown = reopened(&disk, power_cut);
                assert_eq!(shown[0], record(1, b"one"));
                assert!(shown.len() == 1 || shown[1..] == [record(2, b"two")], "{fault:?}: {shown:?}");
            }
        }
        // With the range clean the record was not appended, and its seq goes to the next one.
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &config(4096, SyncMode::Always)).unwrap();
        log.append(1, b"k", b"one").unwrap();
        disk.fail(Fault::nth(1).of(Call::WriteAt).effect(Effect::Whole));
        assert_eq!(log.append(1, b"k", b"two").unwrap_err().code, Code::Io);
        assert_eq!(log.append(1, b"k", b"three"), Ok(2));
        drop(log);
        assert_eq!(reopened(&disk, true), [record(1, b"one"), record(2, b"three")]);
    });
}

/// A frame larger than the buffers waited while a small one was written. The small write failed and was taken back, but the large frame had its place
/// behind it already: a seq too high, a hole in front. A large frame may take its place only when nothing is under way that can be taken back.
#[test]
fn a_large_frame_does_not_overtake_a_take_back() {
    bounded(|| {
        let disk = Disk::new(1);
        let watcher = Watcher::default();
        let log = Log::open(watcher.storage(&disk), &config(8 << 20, SyncMode::Always)).unwrap();
        log.append(1, b"k", b"one").unwrap();
        let (entered, go) = (Signal::default(), Signal::default());
        watcher.set({
            let (entered, go) = (entered.clone(), go.clone());
            move |call, name, len| {
                if call == Call::WriteAt && name == SEGMENT && len < 100 && !entered.is_given() {
                    entered.give();
                    go.wait();
                    return Some(EIO);
                }
                None
            }
        });
        let large_value = vec![5; 2 << 20];
        let (log_ref, large_ref) = (&log, &large_value);
        let (small, large) = thread::scope(|scope| {
            let small = scope.spawn(move || log_ref.append(1, b"k", b"two"));
            entered.wait();
            let large = scope.spawn(move || log_ref.append(1, b"k", large_ref));
            thread::sleep(SETTLE);
            go.give();
            (small.join().unwrap(), large.join().unwrap())
        });
        assert_eq!(small.unwrap_err().code, Code::Io);
        assert_eq!(large, Ok(2));
        assert_eq!(log.append(1, b"k", b"three"), Ok(3));
        let expected = [record(1, b"one"), (2, large_value.clone()), record(3, b"three")];
        assert!(dump(&log) == expected);
        drop(log);
        assert!(reopened(&disk, true) == expected);
    });
}

/// A cursor that shows unsynced records was in the middle of a batch when a sync failed; it went on to the end of the batch, although the handle was
/// poisoned and the batch not durable. On a poisoned handle every cursor stops at the durable seq.
#[test]
fn a_cursor_inside_a_batch_stops_when_the_handle_fails() {
    bounded(|| {
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &config(1 << 20, SyncMode::Os)).unwrap();
        batch(&log, &[b"a", b"b", b"c"]).unwrap();
        let mut cursor = log.replay(0, ReplayOptions { unsynced: true, ..ReplayOptions::default() }).unwrap();
        batch(&log, &[b"d", b"e", b"f"]).unwrap();
        for seq in 1..=4 {
            assert_eq!(cursor.next().unwrap().map(|record| record.seq), Some(seq));
        }
        disk.fail(Fault::nth(1).of(Call::Sync));
        assert_eq!(log.sync(seq::LAST).unwrap_err().code, Code::Failed);
        assert_eq!(log.durable_seq(), 3);
        assert!(matches!(cursor.next(), Ok(None)), "a record of a batch in doubt");
        assert_eq!(cursor.wait(1000).unwrap_err().code, Code::Failed);
    });
}

/// A cursor that had begun behind the last record said that there was more, because its segment begins with older ones; the next step then gave
/// nothing, and a loop over both never slept. There is more only if there is a record to show.
#[test]
fn waiting_for_more_is_told_the_truth() {
    bounded(|| {
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &config(1 << 20, SyncMode::Always)).unwrap();
        for _ in 0..5 {
            log.append(1, b"k", b"v").unwrap();
        }
        for after in 0..=5 {
            let mut cursor = log.replay(after, ReplayOptions::default()).unwrap();
            for seq in after + 1..=5 {
                assert_eq!(cursor.wait(0), Ok(Waited::Durable));
                assert_eq!(cursor.next().unwrap().map(|record| record.seq), Some(seq));
            }
            assert_eq!(cursor.wait(0), Ok(Waited::TimedOut), "after {after}");
            assert!(cursor.next().unwrap().is_none());
        }
        let mut cursor = log.replay(5, ReplayOptions::default()).unwrap();
        log.append(1, b"k", b"six").unwrap();
        assert_eq!(cursor.wait(0), Ok(Waited::Durable));
        assert_eq!(cursor.next().unwrap().map(|record| record.seq), Some(6));
    });
}

/// Holds the first sync of the segment until `go`, and takes note of a second one at the same time.
fn hold_first_sync(watcher: &Watcher) -> (Signal, Signal, Signal, Arc<AtomicU64>, Signal) {
    let (held, go, overlap, fail_write) = (Signal::default(), Signal::default(), Signal::default(), Signal::default());
    let syncs = Arc::new(AtomicU64::new(0));
    watcher.set({
        let (held, go, overlap, fail_write, syncs) = (held.clone(), go.clone(), overlap.clone(), fail_write.clone(), Arc::clone(&syncs));
        move |call, name, _| {
            if name != SEGMENT {
                return None;
            }
            if call == Call::Sync {
                if syncs.fetch_add(1, Ordering::SeqCst) == 0 {
                    held.give();
                    go.wait();
                } else if !go.is_given() {
                    overlap.give();
                }
            }
            (call == Call::WriteAt && fail_write.take()).then_some(EIO)
        }
    });
    (held, go, overlap, syncs, fail_write)
}

/// While one thread synced the segment, the write of another failed, and taking it back synced the same file at the same time. The kernel tells only
/// one of two syncs that a page was lost; the other one succeeds and acknowledges it. A file is synced by one thread at a time.
#[test]
fn a_file_is_not_synced_twice_at_once() {
    bounded(|| {
        let disk = Disk::new(1);
        let watcher = Watcher::default();
        let log = Log::open(watcher.storage(&disk), &config(1 << 20, SyncMode::Os)).unwrap();
        log.append(1, b"k", b"one").unwrap();
        let (held, go, overlap, _, fail_write) = hold_first_sync(&watcher);
        let log_ref = &log;
        let (sync, append) = thread::scope(|scope| {
            let sync = scope.spawn(move || log_ref.sync(seq::LAST));
            held.wait();
            fail_write.give();
            let append = scope.spawn(move || log_ref.append(1, b"k", b"two"));
            wait_until(|| !fail_write.is_given());
            thread::sleep(SETTLE);
            go.give();
            (sync.join().unwrap(), append.join().unwrap())
        });
        assert!(!overlap.is_given(), "two syncs of one file at once");
        assert_eq!(sync, Ok(()));
        assert_eq!(append.unwrap_err().code, Code::Io);
        assert_eq!(log.append(1, b"k", b"three"), Ok(2));
        log.close().unwrap();
        assert_eq!(reopened(&disk, true), [record(1, b"one"), record(2, b"three")]);
    });
}

/// The same, but the sync under way fails. The file must not be synced again to take the other write back: after a failed sync a second one proves
/// nothing. Both calls learn that their records are in doubt.
#[test]
fn a_take_back_does_not_repeat_a_failed_sync() {
    bounded(|| {
        let disk = Disk::new(1);
        let watcher = Watcher::default();
        let log = Log::open(watcher.storage(&disk), &config(1 << 20, SyncMode::Os)).unwrap();
        log.append(1, b"k", b"one").unwrap();
        let (held, go, _, syncs, fail_write) = hold_first_sync(&watcher);
        disk.fail(Fault::nth(1).of(Call::Sync).on(SEGMENT));
        let log_ref = &log;
        let (sync, append) = thread::scope(|scope| {
            let sync = scope.spawn(move || log_ref.sync(seq::LAST));
            held.wait();
            fail_write.give();
            let append = scope.spawn(move || log_ref.append(1, b"k", b"two"));
            wait_until(|| !fail_write.is_given());
            thread::sleep(SETTLE);
            go.give();
            (sync.join().unwrap(), append.join().unwrap())
        });
        assert_eq!(sync.unwrap_err().code, Code::Failed);
        assert_eq!(append.unwrap_err().code, Code::Failed);
        assert_eq!(log.close().unwrap_err().code, Code::Failed);
        disk.assert_ordered();
        assert_eq!(syncs.load(Ordering::SeqCst), 1, "the segment was synced again after a failed sync");
    });
}

/// A sync failed and poisoned the handle while another thread handed its record to the operating system; that call came back with success. Nothing
/// is acknowledged after the failure.
#[test]
fn no_success_after_a_failure() {
    bounded(|| {
        let disk = Disk::new(1);
        let watcher = Watcher::default();
        let log = Log::open(watcher.storage(&disk), &config(1 << 20, SyncMode::Os)).unwrap();
        log.append(1, b"k", b"one").unwrap();
        let signals = || (Signal::default(), Signal::default());
        let ((syncs, fail), (writes, finish)) = (signals(), signals());
        watcher.set({
            let (syncs, fail, writes, finish) = (syncs.clone(), fail.clone(), writes.clone(), finish.clone());
            move |call, name, _| {
                if name == SEGMENT && call == Call::Sync {
                    syncs.give();
                    fail.wait();
                    return Some(EIO);
                }
                if name == SEGMENT && call == Call::WriteAt {
                    writes.give();
                    finish.wait();
                }
                None
            }
        });
        let log_ref = &log;
        thread::scope(|scope| {
            let sync = scope.spawn(move || log_ref.sync(seq::LAST));
            syncs.wait();
            let append = scope.spawn(move || log_ref.append(1, b"k", b"two"));
            writes.wait();
            fail.give();
            wait_until(|| log_ref.stat().poisoned);
            finish.give();
            assert_eq!(append.join().unwrap().map_err(|error| error.code), Err(Code::Failed), "acknowledged by a poisoned handle");
            assert_eq!(sync.join().unwrap().map_err(|error| error.code), Err(Code::Failed));
        });
    });
}

/// The highest checkpoint went back when two checkpoints finished in the other order than they were made. `checkpoint_seq` never goes back.
#[test]
fn the_checkpoint_does_not_go_back() {
    const THREADS: u64 = 8;
    const EACH: u64 = 1000;
    bounded(|| {
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &config(16 << 20, SyncMode::Always)).unwrap();
        log.append(1, b"k", b"v").unwrap();
        let done = AtomicU64::new(0);
        let (log_ref, done_ref) = (&log, &done);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(move || {
                    for _ in 0..EACH {
                        let n = log_ref.checkpoint(log_ref.durable_seq()).unwrap();
                        assert!(log_ref.checkpoint_seq() >= n, "a checkpoint that was acknowledged is not known");
                    }
                    done_ref.fetch_add(1, Ordering::SeqCst);
                });
            }
            scope.spawn(move || {
                let mut before = 0;
                while done_ref.load(Ordering::SeqCst) < THREADS {
                    let now = log_ref.checkpoint_seq();
                    assert!(now >= before, "the checkpoint went back from {before} to {now}");
                    before = now;
                }
            });
        });
        let highest = log.checkpoint_seq();
        log.close().unwrap();
        let log = Log::open(disk.storage(), &config(0, SyncMode::Always)).unwrap();
        assert_eq!(log.checkpoint_seq(), highest);
    });
}

/// The two numbers of a checkpoint were read one after the other, and those of two checkpoints shown as one: `covered` above `n`, which no
/// checkpoint has.
#[test]
fn the_numbers_of_a_checkpoint_belong_together() {
    bounded(|| {
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &config(1 << 20, SyncMode::Always)).unwrap();
        let done = Signal::default();
        let (log_ref, done_ref) = (&log, &done);
        thread::scope(|scope| {
            scope.spawn(move || {
                while !done_ref.is_given() {
                    let stat = log_ref.stat();
                    let (n, covered) = (stat.checkpoint_seq, stat.checkpoint_covered);
                    assert!(covered <= n, "covered {covered}, but n is {n}");
                }
            });
            for _ in 0..3000 {
                log_ref.append(1, b"k", b"v").unwrap();
                log_ref.checkpoint(seq::LAST).unwrap();
            }
            done.give();
        });
    });
}

/// Two checkpoints were under way when the sync of the manifest failed for the first one. The second one synced the same file again, which succeeds
/// after a failure and proves nothing, and was acknowledged. After a failed sync of the manifest no install is acknowledged.
#[test]
fn no_install_is_acknowledged_after_a_failed_sync_of_the_manifest() {
    bounded(|| {
        let disk = Disk::new(1);
        let watcher = Watcher::default();
        let log = Log::open(watcher.storage(&disk), &config(1 << 20, SyncMode::Always)).unwrap();
        log.append(1, b"k", b"one").unwrap();
        let (entered, go) = (Signal::default(), Signal::default());
        watcher.set({
            let (entered, go) = (entered.clone(), go.clone());
            move |call, name, _| {
                if call == Call::Sync && name == FileName::Manifest && !entered.is_given() {
                    entered.give();
                    go.wait();
                }
                None
            }
        });
        disk.fail(Fault::nth(1).of(Call::Sync).on(FileName::Manifest));
        let log_ref = &log;
        let (first, second) = thread::scope(|scope| {
            let first = scope.spawn(move || log_ref.checkpoint(1));
            entered.wait();
            let second = scope.spawn(move || log_ref.checkpoint(1));
            // Its record is durable; it waits for its turn at the manifest.
            wait_until(|| log_ref.durable_seq() == 3);
            thread::sleep(SETTLE);
            go.give();
            (first.join().unwrap(), second.join().unwrap())
        });
        assert_eq!(first.unwrap_err().code, Code::Failed);
        assert_eq!(second.unwrap_err().code, Code::Failed, "acknowledged by a sync behind a failed one");
        assert_eq!(log.checkpoint_seq(), 0);
        assert_eq!(log.truncate(1, true).unwrap_err().code, Code::Failed);
        assert_eq!(log.append(1, b"k", b"two").unwrap_err().code, Code::Failed);
        assert_eq!(log.close().unwrap_err().code, Code::Failed);
        disk.assert_ordered();
        for power_cut in [true, false] {
            assert_eq!(reopened(&disk, power_cut), [record(1, b"one"), record(2, b""), record(3, b"")]);
        }
    });
}

/// The sync of the manifest failed in a checkpoint, while records were appended that nobody had synced yet. The handle was poisoned, which put them in
/// doubt, and the error did not name them.
#[test]
fn a_failed_sync_of_the_manifest_names_the_records_in_doubt() {
    bounded(|| {
        let disk = Disk::new(1);
        let watcher = Watcher::default();
        let log = Arc::new(Log::open(watcher.storage(&disk), &config(1 << 20, SyncMode::Os)).unwrap());
        log.append(1, b"k", b"one").unwrap();
        watcher.set({
            let log = Arc::downgrade(&log);
            move |call, name, _| {
                if call != Call::Sync || name != FileName::Manifest {
                    return None;
                }
                // The checkpoint's own record, 2, is durable by now.
                assert_eq!(log.upgrade().unwrap().append(1, b"k", b"three"), Ok(3));
                Some(EIO)
            }
        });
        let error = log.checkpoint(1).unwrap_err();
        assert_eq!((error.code, error.seq, error.seq_last), (Code::Failed, 3, 3), "{error}");
        let error = log.append(1, b"k", b"four").unwrap_err();
        assert_eq!((error.code, error.seq, error.seq_last), (Code::Failed, 3, 3), "{error}");
    });
}

/// A thread panicked while it wrote or synced, and what it had taken upon itself nobody gave back: later calls waited for it. The C shell poisons the
/// handle when it catches a panic; from then on every call must come back, those that wait already too.
#[test]
fn a_panic_under_way_hangs_nobody() {
    bounded(|| {
        for panics_in in [Call::WriteAt, Call::Sync] {
            let disk = Disk::new(1);
            let watcher = Watcher::default();
            let log = Log::open(watcher.storage(&disk), &config(4 << 20, SyncMode::Always)).unwrap();
            log.append(1, b"k", b"one").unwrap();
            let (entered, go) = (Signal::default(), Signal::default());
            watcher.set({
                let (entered, go) = (entered.clone(), go.clone());
                move |call, name, _| {
                    if call == panics_in && name == SEGMENT && !entered.is_given() {
                        entered.give();
                        go.wait();
                        // Without the message of a panic that nobody expected.
                        resume_unwind(Box::new("on purpose"));
                    }
                    None
                }
            });
            let large = vec![5; 2 << 20];
            let (log_ref, large_ref) = (&log, &large);
            thread::scope(|scope| {
                scope.spawn(move || {
                    assert!(catch_unwind(AssertUnwindSafe(|| log_ref.append(1, b"k", b"two"))).is_err());
                    log_ref.poison();
                });
                entered.wait();
                let waiting = [
                    scope.spawn(move || log_ref.append(1, b"k", b"three").map(drop)),
                    scope.spawn(move || log_ref.append(1, b"k", large_ref).map(drop)),
                    scope.spawn(move || log_ref.sync(seq::LAST)),
                    scope.spawn(move || log_ref.checkpoint(1).map(drop)),
                    scope.spawn(move || log_ref.truncate(1, true)),
                    scope.spawn(move || log_ref.wait_durable(2, u64::MAX).map(drop)),
                ];
                thread::sleep(SETTLE);
                go.give();
                // The truncation may have been done before the panic; all others need what the panic took.
                for (place, thread) in waiting.into_iter().enumerate() {
                    let outcome = thread.join().unwrap().map_err(|error| error.code);
                    assert!(outcome == Err(Code::Failed) || (place == 4 && outcome.is_ok()), "{panics_in}, call {place}: {outcome:?}");
                }
            });
            assert_eq!(log.append(1, b"k", b"four").unwrap_err().code, Code::Failed);
            assert_eq!(log.checkpoint(1).unwrap_err().code, Code::Failed);
            assert_eq!(log.flush().unwrap_err().code, Code::Failed);
            assert_eq!(log.close().unwrap_err().code, Code::Failed);
            let shown = reopened(&disk, true);
            assert!(shown.len() <= 5 && (shown.is_empty() || shown[0].0 <= 2), "{panics_in}");
        }
    });
}

/// The log was shut down while a frame larger than the buffers was on its way into the file. The append answered that the log was closed, the frame
/// stayed, and the close marked the log clean in front of it: the next opening took it for damage. An append under way still completes.
#[test]
fn a_shutdown_lets_a_large_frame_complete() {
    bounded(|| {
        for mode in [SyncMode::Always, SyncMode::Os, SyncMode::None] {
            let disk = Disk::new(1);
            let watcher = Watcher::default();
            let log = Log::open(watcher.storage(&disk), &config(8 << 20, mode)).unwrap();
            log.append(1, b"k", b"one").unwrap();
            log.sync(seq::LAST).unwrap();
            let (entered, go) = (Signal::default(), Signal::default());
            watcher.set({
                let (entered, go) = (entered.clone(), go.clone());
                move |call, name, len| {
                    if call == Call::WriteAt && name == SEGMENT && len > 1 << 20 {
                        entered.give();
                        go.wait();
                    }
                    None
                }
            });
            let large = vec![5; 2 << 20];
            let (log_ref, large_ref) = (&log, &large);
            let append = thread::scope(|scope| {
                let append = scope.spawn(move || log_ref.append(1, b"k", large_ref));
                entered.wait();
                log_ref.shutdown().unwrap();
                go.give();
                append.join().unwrap()
            });
            log.close().unwrap();
            for power_cut in [true, false] {
                let shown = reopened(&disk, power_cut);
                assert_eq!(append, Ok(2), "{mode:?}");
                assert!(shown == [record(1, b"one"), (2, large.clone())], "{mode:?}");
            }
        }
    });
}

/// A log whose active segment is more than half full, so that forgetting everything swaps it.
fn ready_to_swap(disk: &Disk) -> (Log<SimStorage>, Vec<(u64, Vec<u8>)>) {
    let log = Log::open(disk.storage(), &config(4096, SyncMode::Always)).unwrap();
    let mut records = Vec::new();
    for seq in 1..=3 {
        let value = vec![seq as u8; 900];
        assert_eq!(log.append(1, b"k", &value), Ok(seq));
        records.push((seq, value));
    }
    disk.acknowledge(3);
    (log, records)
}

/// The truncation of everything swaps the active segment. The sync of the new one failed, and its blocks were used again by the same handle, which
/// relied on a second sync of them. They must not be; the log goes on in the old segment, and nothing is forgotten.
#[test]
fn blocks_of_a_failed_swap_are_not_used_again() {
    bounded(|| {
        for effect in [Effect::Nothing, Effect::Whole] {
            let disk = Disk::new(1);
            let (log, mut records) = ready_to_swap(&disk);
            disk.fail(Fault::nth(1).of(Call::Sync).on(FileName::Segment(2)).effect(effect));
            assert!(log.truncate(3, true).is_err());
            assert_eq!(disk.injected(), 1, "there was no swap");
            assert_eq!(dump(&log), records);
            for seq in 4..=20 {
                let value = vec![seq as u8; 900];
                assert_eq!(log.append(1, b"k", &value), Ok(seq));
                records.push((seq, value));
                disk.acknowledge(seq);
            }
            disk.assert_ordered();
            assert_eq!(dump(&log), records);
            for image in disk.point().images(&Budget { exhaustive: 5, samples: 20, torn: 4, seed: 2 }) {
                assert_eq!(reopened(&Disk::from_image(&image, 3), true), records);
            }
            log.truncate(20, true).unwrap();
            assert!(dump(&log).is_empty());
            assert_eq!(log.append(1, b"k", b"new"), Ok(21));
            log.close().unwrap();
            disk.assert_ordered();
            assert_eq!(reopened(&disk, true), [record(21, b"new")]);
        }
    });
}

/// The manifest could not be written in the middle of a swap. Which of the two segments it names is not known then, so that neither may be written to:
/// the handle is poisoned, and the next opening finds all records or none.
#[test]
fn a_swap_whose_manifest_fails_poisons_the_handle() {
    bounded(|| {
        for call in [Call::WriteAt, Call::Sync] {
            for nth in 1..=2 {
                for effect in [Effect::Nothing, Effect::Prefix(100), Effect::Whole] {
                    let what = format!("{call} {nth} of the manifest, {effect:?}");
                    let disk = Disk::new(1);
                    let (log, records) = ready_to_swap(&disk);
                    disk.fail(Fault::nth(nth).of(call).on(FileName::Manifest).effect(effect));
                    assert_eq!(log.truncate(3, true).unwrap_err().code, Code::Failed, "{what}");
                    assert_eq!(disk.injected(), 1, "{what}");
                    assert_eq!(log.append(1, b"k", b"four").unwrap_err().code, Code::Failed, "{what}");
                    assert_eq!(log.close().unwrap_err().code, Code::Failed, "{what}");
                    disk.assert_ordered();
                    let images: Vec<_> = disk.point().images(&Budget { exhaustive: 5, samples: 20, torn: 4, seed: 2 }).collect();
                    for image in images.iter().chain([&disk.visible_image()]) {
                        let shown = reopened(&Disk::from_image(image, 3), true);
                        assert!(shown.is_empty() || shown == records, "{what}: {shown:?}");
                    }
                }
            }
        }
    });
}

/// What an open cursor still has to read outlives the swap of the active segment and everything that comes after it.
#[test]
fn a_cursor_reads_on_behind_a_swap() {
    bounded(|| {
        let disk = Disk::new(1);
        let (log, mut records) = ready_to_swap(&disk);
        let mut cursor = log.replay(0, ReplayOptions::default()).unwrap();
        assert_eq!(cursor.next().unwrap().map(|record| record.seq), Some(1));
        log.truncate(3, true).unwrap();
        assert!(dump(&log).is_empty());
        for seq in 4..=20 {
            let value = vec![seq as u8; 900];
            assert_eq!(log.append(1, b"k", &value), Ok(seq));
            records.push((seq, value));
        }
        for (seq, value) in &records[1..] {
            let shown = cursor.next().unwrap().map(|record| (record.seq, record.value.to_vec()));
            assert_eq!(shown.as_ref(), Some(&(*seq, value.clone())));
        }
        assert!(cursor.next().unwrap().is_none());
        drop(cursor);
        log.close().unwrap();
        disk.assert_ordered();
        assert_eq!(reopened(&disk, true), records[3..]);
    });
}

/// The timer of the batch mode was set again by each new group and never ran out while records kept coming. It runs from the first record that is
/// not synced.
#[test]
fn the_timer_is_not_put_off() {
    bounded(|| {
        let disk = Disk::new(1);
        let interval = Duration::from_millis(50);
        let config = Config {
            background: true,
            batch_interval_us: interval.as_micros() as u32,
            batch_records: u32::MAX,
            ..config(1 << 20, SyncMode::Batch)
        };
        let log = Log::open(disk.storage(), &config).unwrap();
        let began = Instant::now();
        while log.durable_seq() == 0 {
            log.append(1, b"k", b"v").unwrap();
            thread::sleep(Duration::from_millis(1));
            assert!(began.elapsed() < 40 * interval, "records keep coming, and none is synced");
        }
        log.close().unwrap();
    });
}

/// The sync of the manifest failed and poisoned the handle, but the call that met it was told of an I/O error, as if it could be tried again.
#[test]
fn the_call_that_poisons_the_handle_says_so() {
    bounded(|| {
        type Attempt = fn(&Log<SimStorage>) -> wal_engine::error::Result<()>;
        let calls: [Attempt; 3] =
            [|log| log.append(1, b"k", b"v").map(|_| ()), |log| log.checkpoint(1).map(|_| ()), |log| log.truncate(1, true)];
        for (which, call) in calls.iter().enumerate() {
            let disk = Disk::new(1);
            let log = Log::open(disk.storage(), &config(4096, SyncMode::Always)).unwrap();
            if which > 0 {
                log.append(1, b"k", b"one").unwrap();
                log.append(1, b"k", b"two").unwrap();
            }
            disk.fail(Fault::nth(1).of(Call::Sync).on(FileName::Manifest));
            assert_eq!(call(&log).unwrap_err().code, Code::Failed, "call {which}");
            assert_eq!(disk.injected(), 1);
            assert!(log.stat().poisoned);
        }
    });
}

/// A truncation forgot what it was to forget, durably, and then said that it had failed, because a file could not be removed.
#[test]
fn what_is_forgotten_is_not_called_a_failure() {
    let disk = Disk::new(1);
    let config = Config { background: false, ..config(4096, SyncMode::Always) };
    let log = Log::open(disk.storage(), &config).unwrap();
    for _ in 0..4 {
        log.append(1, b"k", &[7; 2000]).unwrap();
    }
    disk.fail(Fault::nth(1).of(Call::Rename).forever());
    disk.fail(Fault::nth(1).of(Call::Remove).forever());
    assert_eq!(log.truncate(3, true), Ok(()));
    assert!(disk.injected() > 0, "nothing was dropped: this tries nothing");
    assert_eq!(log.oldest_seq(), 4);
    disk.clear_faults();
    drop(log);
    let log = Log::open(disk.storage(), &config).unwrap();
    assert_eq!((log.oldest_seq(), log.last_seq()), (4, 4));
}
