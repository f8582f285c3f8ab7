//! Pins through crashes, faults and other processes. Prints how many crash states it tried.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use wal_engine::config::{Config, Recovery, SyncMode};
use wal_engine::error::Code;
use wal_engine::format::constants::DATA_START;
use wal_engine::format::pin::PinName;
use wal_engine::log::{Log, ReplayOptions};
use wal_engine::names::FileName;
use wal_engine::pins::{self, Limit};
use wal_engine::storage::{IoError, IoKind, Storage};
use wal_prove::forge::{changed, flipped, forged_open, manifest};
use wal_prove::host::{bounded, config};
use wal_prove::pins::{CALLS, Call, STARTS, Setting, Tried, Wrong, explore, with_fault};
use wal_prove::watched::Watcher;
use wal_sim::{Budget, Call as SimCall, Disk, Fault, Image};

/// A call that is watched, and one that is made within it.
type Step = Box<dyn Fn()>;
type SharedStep = Box<dyn Fn() + Send + Sync>;

const BUDGET: Budget = Budget { exhaustive: 3, samples: 8, torn: 6, seed: 5 };

const ALWAYS: Setting = Setting { mode: SyncMode::Always, recycle: true, start: STARTS[0], believes: false };
const SYSTEM: Setting = Setting { mode: SyncMode::Os, recycle: false, start: STARTS[0], believes: false };

/// Every script of up to so many calls.
fn scripts(longest: usize) -> Vec<Vec<Call>> {
    let mut all: Vec<Vec<Call>> = Vec::new();
    let mut last = vec![Vec::new()];
    for _ in 0..longest {
        last = last.iter().flat_map(|script| CALLS.map(|call| [&script[..], &[call]].concat())).collect();
        all.extend(last.iter().cloned());
    }
    all
}

/// All scripts behind all starts, on two threads.
fn spread(longest: usize, judge: impl Fn(&'static [Call], &[Call]) -> Result<Tried, String> + Sync) -> Tried {
    let scripts = scripts(longest);
    let mut tried = Tried::default();
    thread::scope(|scope| {
        let (judge, scripts) = (&judge, &scripts);
        let run = move |part: usize| {
            let mut tried = Tried::default();
            for script in scripts.iter().skip(part).step_by(2) {
                for (number, start) in STARTS.into_iter().enumerate() {
                    // Without a pin in front of the last call there is nothing to look at.
                    if number > 0 || script.iter().any(|call| call.makes_pin()) {
                        tried.add(judge(start, script).unwrap_or_else(|failure| panic!("{failure}")));
                    }
                }
            }
            tried
        };
        let threads = [0, 1].map(|part| scope.spawn(move || run(part)));
        threads.into_iter().for_each(|thread| tried.add(thread.join().unwrap()));
    });
    tried
}

#[test]
fn crashes_at_every_operation() {
    let tried = spread(3, |start, script| {
        // The mode matters to pins only by what an opening has to recover.
        let setting = if script.len() % 2 == 1 { ALWAYS } else { SYSTEM };
        explore(&Setting { start, ..setting }, script, &BUDGET)
    });
    println!("{tried:?}");
    println!("tally: pins {} crash states of logs with pins", tried.states);
    println!("tally: pins-recovery {} crash states of openings with pins", tried.deep);
    assert!(
        tried.states > 30_000 && tried.deep > 10_000 && tried.pinned > 5_000 && tried.lost > 1_000,
        "this test tried next to nothing: {tried:?}"
    );
}

/// A pin that moves in the cache only is what this suite is there for.
#[test]
fn a_pin_that_moves_in_memory_only_is_noticed() {
    let script = [Call::PinOldest, Call::AdvanceToLast, Call::TruncateLast];
    explore(&ALWAYS, &script, &BUDGET).unwrap();
    let failure = explore(&Setting { believes: true, ..ALWAYS }, &script, &BUDGET).unwrap_err();
    assert!(failure.contains("not Allowed") || failure.contains("hole") || failure.contains("cannot be reached"), "{failure}");
}

#[test]
fn storage_calls_fail_and_processes_die() {
    // Longer scripts differ in what stands before; their last calls are those of the shorter ones.
    let tried = spread(2, |start, script| {
        let mut tried = Tried::default();
        for kind in [Wrong::Fails, Wrong::Dies] {
            for nth in 1.. {
                match with_fault(&Setting { start, ..ALWAYS }, script, kind(nth))? {
                    Some(more) => tried.add(more),
                    None => break,
                }
            }
        }
        Ok(tried)
    });
    println!("{tried:?}");
    println!("tally: pin-faults {} failing calls and deaths in the calls of pins", tried.faults);
    assert!(tried.faults > 2_000 && tried.pinned > 1_000, "this test tried next to nothing: {tried:?}");
}

fn name() -> PinName {
    PinName::new(b"feed").unwrap()
}

/// A log of ten segments.
fn long_log<S: Storage>(storage: S) -> Log<S> {
    let log = Log::open(storage, &config(SyncMode::Always, true)).unwrap();
    (1..=10u8).for_each(|seq| assert_eq!(log.append(1, b"", &[seq; 2500]).unwrap(), u64::from(seq)));
    log
}

/// Reads all above `after` from a pin.
fn read_from<S: Storage>(log: &Log<S>, after: u64) {
    let mut cursor = log.replay(after, ReplayOptions { pinned: true, ..ReplayOptions::default() }).unwrap();
    let mut next = after + 1;
    while let Some(record) = cursor.next().unwrap() {
        assert_eq!((record.seq, record.value), (next, &[next as u8; 2500][..]));
        next += 1;
    }
    assert_eq!(next, log.last_seq() + 1);
}

/// The host forgets in front of each write and sync of whoever makes a pin, and the other way round. Whoever comes too late is told so; who is not keeps all.
#[test]
fn pins_are_made_while_the_log_forgets() {
    bounded(|| {
        let (mut made, mut late) = (0, 0);
        for is_in_truncation in [false, true] {
            for had_pins in [false, true] {
                for at in 1.. {
                    let disk = Disk::new(3);
                    let (host, pinner) = (Watcher::default(), Watcher::default());
                    let log = Arc::new(long_log(host.storage(&disk)));
                    if had_pins {
                        pins::create(&disk.storage(), PinName::new(b"other").unwrap(), 8, Limit::default()).unwrap();
                    }
                    let outcome = Arc::new(Mutex::new(None));
                    let calls = Arc::new(AtomicU64::new(0));
                    let create = {
                        let (disk, outcome, pinner) = (disk.clone(), Arc::clone(&outcome), pinner.clone());
                        move || *outcome.lock().unwrap() = Some(pins::create(&pinner.storage(&disk), name(), 4, Limit::default()))
                    };
                    let forget = {
                        let log = Arc::clone(&log);
                        move || log.truncate(7, true).unwrap()
                    };
                    let count = Arc::clone(&calls);
                    let is_now = move || count.fetch_add(1, Ordering::SeqCst) + 1 == at;
                    let (watched, other) = if is_in_truncation { (host, pinner) } else { (pinner, host) };
                    let (body, within): (Step, SharedStep) =
                        if is_in_truncation { (Box::new(forget), Box::new(create)) } else { (Box::new(create), Box::new(forget)) };
                    watched.set(move |_, _, _| {
                        if is_now() {
                            within();
                        }
                        None
                    });
                    body();
                    watched.set(|_, _, _| None);
                    drop((body, watched, other));
                    if calls.load(Ordering::SeqCst) < at {
                        break;
                    }
                    match outcome.lock().unwrap().take().unwrap() {
                        Ok(from) => {
                            assert_eq!(from, 4);
                            log.truncate(9, true).unwrap();
                            read_from(&log, 4);
                            made += 1;
                        }
                        // The lock of a simulated disk does not wait.
                        Err(error) => {
                            assert!(matches!(error.code, Code::Gap | Code::Locked), "{error:?}");
                            late += 1;
                        }
                    }
                    disk.assert_ordered();
                }
            }
        }
        assert!(made >= 2 && late > 3, "{made} pins were made in time, {late} too late");
    });
}

/// A damaged pin keeps everything, does not hinder the host, and goes when it is told to.
#[test]
fn a_damaged_pin_keeps_everything() {
    let disk = Disk::new(3);
    let log = long_log(disk.storage());
    pins::create(&disk.storage(), name(), 4, Limit::default()).unwrap();
    log.truncate(6, true).unwrap();
    log.close().unwrap();
    let file = FileName::Pin(1);
    let whole = disk.visible_image();
    for (flips, is_damaged) in [(vec![100], false), (vec![4096 + 100], false), (vec![100, 4096 + 100], true)] {
        let image = changed(&whole, file, |bytes| flips.iter().for_each(|&at: &usize| bytes[at] ^= 1));
        let disk = Disk::from_image(&image, 5);
        let log = Log::open(disk.storage(), &config(SyncMode::Always, true)).unwrap();
        assert_eq!(log.stat().pins.damaged, u64::from(is_damaged));
        log.append(1, b"", &[11; 2500]).unwrap();
        log.truncate(10, true).unwrap();
        if !is_damaged {
            read_from(&log, 4);
            continue;
        }
        assert_eq!(log.stat().pins.oldest, Some(0));
        let kept = log.stat().segments;
        assert!(kept >= 7, "{kept} segments: what the pin may need is gone");
        assert_eq!(log.replay(4, ReplayOptions { pinned: true, ..ReplayOptions::default() }).err().unwrap().code, Code::Gap);
        let mut listed = 0;
        pins::list(&disk.storage(), &mut |info| {
            assert_eq!((info.index, info.pin), (1, None));
            listed += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(listed, 1);
        assert_eq!(pins::remove(&disk.storage(), "feed").unwrap_err().code, Code::NotFound);
        pins::remove(&disk.storage(), "0000000001.pin").unwrap();
        log.truncate(11, true).unwrap();
        assert!(log.stat().segments <= 2);
    }
}

/// What happens to a segment.
#[derive(Clone, Copy, Debug)]
enum Hit {
    Missing,
    Record,
    Open,
    /// It says that it follows this one.
    Link(u32),
}

/// Damage to what only a pin needs is the pin's, not the host's: the log opens, the host reads, and the reader from the pin is told.
#[test]
fn damage_to_pinned_segments_does_not_hinder_the_host() {
    let disk = Disk::new(3);
    let log = long_log(disk.storage());
    pins::create(&disk.storage(), name(), 2, Limit::default()).unwrap();
    log.truncate(8, true).unwrap();
    log.close().unwrap();
    let whole = disk.visible_image();
    for index in 3..=8 {
        let file = FileName::Segment(index);
        for damage in [Hit::Missing, Hit::Record, Hit::Open, Hit::Link(index), Hit::Link(index + 1), Hit::Link(0)] {
            let mut image = whole.clone();
            match damage {
                Hit::Missing => assert!(image.remove(file).is_some(), "segment {index} is not there"),
                Hit::Record => image = flipped(&image, index, 300),
                Hit::Open => image = flipped(&image, index, DATA_START + 40),
                Hit::Link(to) => image = forged_open(&image, index, |open| open[8..12].copy_from_slice(&to.to_le_bytes())),
            }
            let before = image.names().filter(|name| matches!(name, FileName::Segment(_))).count();
            let disk = Disk::from_image(&image, 5);
            let log = Log::open(disk.storage(), &config(SyncMode::Always, true)).unwrap();
            let mut cursor = log.replay(8, ReplayOptions::default()).unwrap();
            assert_eq!(cursor.next().unwrap().unwrap().seq, 9);
            drop(cursor);
            let told = match log.replay(2, ReplayOptions { pinned: true, ..ReplayOptions::default() }) {
                Err(error) => Some(error.code),
                Ok(mut cursor) => loop {
                    match cursor.next() {
                        Ok(Some(_)) => {}
                        Ok(None) => break None,
                        Err(error) => break Some(error.code),
                    }
                },
            };
            let expected = match damage {
                Hit::Record => Some(Code::Corrupt),
                // Nobody goes back beyond the segment in which the pin begins. But none that follows by rotation follows nothing.
                Hit::Link(to) if index == 3 && to > 0 => None,
                _ => Some(Code::Gap),
            };
            assert_eq!(told, expected, "segment {index}, {damage:?}");
            // Nothing of it is used again or thrown away as long as the pin is there.
            log.append(1, b"", &[11; 2500]).unwrap();
            log.close().unwrap();
            let after = disk.visible_image();
            let stay = |image: &Image| (3..=8).filter(|&index| image.read(FileName::Segment(index)).is_some()).count();
            assert_eq!(stay(&after), stay(&image), "{before} segments before, segment {index} damaged");
        }
    }
}

/// A prefix recovery, from damage to what the host needs or without a manifest, leaves to pins what they keep.
#[test]
fn a_prefix_recovery_leaves_to_pins_what_they_keep() {
    let disk = Disk::new(3);
    let log = long_log(disk.storage());
    pins::create(&disk.storage(), name(), 2, Limit::default()).unwrap();
    log.truncate(5, true).unwrap();
    log.close().unwrap();
    let whole = disk.visible_image();
    for is_manifest in [false, true] {
        let mut image = whole.clone();
        if is_manifest {
            image.remove(FileName::Manifest);
        } else {
            image = flipped(&image, 8, 300);
        }
        let disk = Disk::from_image(&image, 5);
        let prefix = Config { recovery: Recovery::Prefix, ..config(SyncMode::Always, true) };
        let log = Log::open(disk.storage(), &prefix).unwrap();
        let report = log.report();
        assert_eq!((report.foreign_files, report.files_aside > 0), (0, !is_manifest), "{report:?}");
        let mut log = Some(log);
        for _ in 0..2 {
            let log = log.take().unwrap_or_else(|| Log::open(disk.storage(), &config(SyncMode::Always, true)).unwrap());
            let options = ReplayOptions { pinned: true, skip_lost: true, ..ReplayOptions::default() };
            let mut cursor = log.replay(2, options).unwrap();
            let mut seqs = Vec::new();
            while let Some(record) = cursor.next().unwrap() {
                assert_eq!(record.value, &[record.seq as u8; 2500][..]);
                seqs.push(record.seq);
            }
            assert_eq!(seqs, if is_manifest { (3..=10).collect::<Vec<u64>>() } else { (3..=7).collect() });
            drop(cursor);
            log.close().unwrap();
        }
    }
}

/// The same where nothing is left from which the way back to what a pin keeps could begin: no file of it goes, and the reader is told.
#[test]
fn a_prefix_recovery_without_a_way_back() {
    let disk = Disk::new(3);
    let log = long_log(disk.storage());
    pins::create(&disk.storage(), name(), 2, Limit::default()).unwrap();
    log.truncate(5, true).unwrap();
    log.close().unwrap();
    let oldest = manifest(&disk.visible_image()).oldest_segment;
    let disk = Disk::from_image(&flipped(&disk.visible_image(), oldest, DATA_START + 40), 5);
    let log = Log::open(disk.storage(), &Config { recovery: Recovery::Prefix, ..config(SyncMode::Always, true) }).unwrap();
    assert_eq!((log.report().lost_first_seq, log.report().lost_last_seq), (6, 10));
    assert_eq!(log.append(1, b"", b"after").unwrap(), 11);
    for again in [false, true] {
        assert_eq!(
            log.replay(2, ReplayOptions { pinned: true, ..ReplayOptions::default() }).err().map(|error| error.code),
            Some(Code::Gap)
        );
        let image = disk.visible_image();
        assert!((3..oldest).all(|index| image.read(FileName::Segment(index)).is_some()), "again {again}");
        let is_there = |name| image.read(name).is_some();
        assert!(!is_there(FileName::Segment(oldest)) && is_there(FileName::Damaged(oldest)), "again {again}");
        log.truncate(11, true).unwrap();
    }
}

/// Where memory is lacking nothing is known of what a pin keeps: that is no damage, and the opening is refused.
#[test]
fn damage_is_not_what_lack_of_memory_looks_like() {
    let disk = Disk::new(3);
    let log = long_log(disk.storage());
    pins::create(&disk.storage(), name(), 2, Limit::default()).unwrap();
    log.truncate(8, true).unwrap();
    log.close().unwrap();
    let no_memory = IoError { kind: IoKind::NoMemory, os_error: 12 };
    let mut refused = 0;
    for index in 3..=8 {
        for nth in 1.. {
            let disk = Disk::from_image(&disk.visible_image(), 5);
            disk.fail(Fault::nth(nth).of(SimCall::Open).on(FileName::Segment(index)).error(no_memory));
            let opened = Log::open(disk.storage(), &config(SyncMode::Always, true));
            let injected = disk.injected();
            disk.clear_faults();
            match opened {
                Ok(log) => read_from(&log, 2),
                Err(error) => {
                    assert_eq!(error.code, Code::NoMemory, "{error}");
                    refused += 1;
                }
            }
            if injected == 0 {
                break;
            }
        }
    }
    assert!(refused >= 6, "{refused} openings were refused");
}

/// What a crash left of forgotten segments goes if no pin needs it: the segment in front of what a pin keeps, and all of them for a pin that keeps nothing.
#[test]
fn what_a_pin_does_not_need_goes() {
    for (kept_above, is_damaged) in [(4, false), (6, false), (6, true)] {
        let disk = Disk::new(3);
        let log = long_log(disk.storage());
        pins::create(&disk.storage(), name(), kept_above, Limit::default()).unwrap();
        let before = disk.visible_image();
        log.truncate(6, true).unwrap();
        log.close().unwrap();
        let mut image = disk.visible_image();
        let oldest = manifest(&image).oldest_segment;
        assert_eq!(oldest, 7);
        for index in 3..oldest {
            assert_eq!(image.read(FileName::Segment(index)).is_some(), u64::from(index) > kept_above);
            image.write(FileName::Segment(index), before.read(FileName::Segment(index)).unwrap().to_vec());
        }
        if is_damaged {
            image = flipped(&image, oldest, DATA_START + 40);
        }
        let disk = Disk::from_image(&image, 5);
        let recovery = if is_damaged { Recovery::Prefix } else { Recovery::Strict };
        let log = Log::open(disk.storage(), &Config { recovery, ..config(SyncMode::Always, true) }).unwrap();
        let is_there = |name| disk.visible_image().read(name).is_some();
        if is_damaged {
            assert!((3..=oldest).all(|index| !is_there(FileName::Segment(index)) && is_there(FileName::Damaged(index))));
        } else {
            // They are used again, under these names or others, as is the last one, into which nothing was written.
            let given_back = image.names().filter(|&name| match name {
                FileName::Segment(index) => u64::from(index) <= kept_above || index == 11,
                name => matches!(name, FileName::Spare(_)),
            });
            assert_eq!(log.report().spares, given_back.count() as u64, "pin at {kept_above}");
        }
        drop(log);
    }
}

/// What a pin does not keep costs nothing: no call of the storage that there would not be without pins, but for one look for the lock's file where segments
/// are dropped.
#[test]
fn without_a_pin_there_is_nothing_to_pay() {
    let disk = Disk::new(3);
    let log = long_log(disk.storage());
    assert_eq!(disk.calls_of(SimCall::LockPins), 0);
    let lists = disk.calls_of(SimCall::List);
    log.truncate(5, true).unwrap();
    assert_eq!(disk.calls_of(SimCall::LockPins), 1);
    log.truncate(5, true).unwrap();
    assert_eq!((disk.calls_of(SimCall::LockPins), disk.calls_of(SimCall::List)), (1, lists));
    assert!(disk.visible_image().read(FileName::Pins).is_none());
}
