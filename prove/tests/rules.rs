//! The rules of the agreement between store and log, at each of their edges, and retention, which keeps them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wal_engine::config::{Config, SyncMode};
use wal_engine::error::{Code, Error};
use wal_engine::format::constants::{FRAME_HEADER_LEN, OP_PUT};
use wal_engine::log::{Durability, Entry, Log, ReplayOptions};
use wal_engine::names::FileName;
use wal_engine::protocol::torn::Verdict;
use wal_engine::protocol::{checkpoint, gap, torn, truncate};
use wal_engine::seq::{self, Tail};
use wal_prove::forge::{changed, frames, manifest};
use wal_prove::host::{bounded, config, put};
use wal_sim::{Disk, Image};

fn refusal(error: Error) -> (Code, u64, u64) {
    (error.code, error.seq, error.seq_last)
}

#[test]
fn what_a_checkpoint_covers() {
    assert_eq!(checkpoint::covered(seq::LAST, 7), Ok(7));
    assert_eq!(checkpoint::covered(0, 7), Ok(0));
    assert_eq!(checkpoint::covered(7, 7), Ok(7));
    assert_eq!(checkpoint::covered(8, 7).map_err(refusal), Err((Code::Range, 8, 0)));
    assert_eq!(checkpoint::covered(seq::LAST - 1, 7).map_err(refusal), Err((Code::Range, seq::MAX, 0)));
}

#[test]
fn what_a_checkpoint_licenses() {
    let before = Tail { seq: 9, data_seq: 7 };
    // Nothing but checkpoints between what is covered and its own record, or else data that the store lacks.
    assert_eq!(checkpoint::licence(9, before, 10), 10);
    assert_eq!(checkpoint::licence(7, before, 10), 10);
    assert_eq!(checkpoint::licence(6, before, 10), 6);
}

#[test]
fn when_there_is_a_gap() {
    let extent = gap::Extent { forgotten_data: 5, last: 9 };
    for there in [5, 7, 9] {
        assert_eq!(gap::check(there, extent), Ok(()), "{there}");
    }
    assert_eq!(gap::check(4, extent).map_err(refusal), Err((Code::Gap, 5, 5)));
    assert_eq!(gap::check(0, extent).map_err(refusal), Err((Code::Gap, 1, 5)));
    assert_eq!(gap::check(10, extent).map_err(refusal), Err((Code::Gap, 10, 10)));
    assert_eq!(gap::check(12, extent).map_err(refusal), Err((Code::Gap, 10, 12)));
    assert_eq!(refusal(gap::lost(3, 4)), (Code::Gap, 3, 4));
}

#[test]
fn what_may_be_forgotten() {
    let known = truncate::Known { floor: 3, last: 9, licence: 6 };
    for (up_to, checked, unchecked) in [
        (0, Ok(false), Ok(false)),
        (3, Ok(false), Ok(false)),
        (4, Ok(true), Ok(true)),
        (6, Ok(true), Ok(true)),
        (7, Err((Code::NotCheckpointed, 7, 7)), Ok(true)),
        (9, Err((Code::NotCheckpointed, 7, 9)), Ok(true)),
        (10, Err((Code::Range, 10, 0)), Err((Code::Range, 10, 0))),
        (u64::MAX, Err((Code::Range, seq::MAX, 0)), Err((Code::Range, seq::MAX, 0))),
    ] {
        assert_eq!(truncate::check(up_to, known, false).map_err(refusal), checked, "{up_to}");
        assert_eq!(truncate::check(up_to, known, true).map_err(refusal), unchecked, "{up_to} unchecked");
    }
}

#[test]
fn torn_or_rotten() {
    assert_eq!(torn::verdict(7, 8), Verdict::Rotten);
    assert_eq!(torn::verdict(8, 8), Verdict::Torn);
    assert_eq!(torn::verdict(9, 8), Verdict::Torn);
}

fn always() -> Config {
    config(SyncMode::Always, true)
}

/// A log of several segments, in which checkpoints and a batch stand among the records; for each seq the last data seq up to it.
fn mixed() -> (Image, Vec<u64>) {
    let disk = Disk::new(1);
    let log = Log::open(disk.storage(), &always()).unwrap();
    let mut data = vec![0];
    while log.stat().segments < 4 {
        let last = put(&log, 300);
        data.push(last);
        if last.is_multiple_of(5) {
            let batch: Vec<Entry<'_>> = (0..3).map(|_| Entry { op: OP_PUT, key: b"k", value: b"v" }).collect();
            let last = log.append_batch(&batch[..], Durability::Mode).unwrap();
            data.extend(last - 2..=last);
        }
        if last.is_multiple_of(3) {
            log.checkpoint(0).unwrap();
            log.checkpoint(0).unwrap();
            data.extend([*data.last().unwrap(); 2]);
        }
    }
    // A segment that begins and ends with checkpoints.
    while log.stat().segments < 6 {
        log.checkpoint(0).unwrap();
        data.push(*data.last().unwrap());
    }
    data.push(put(&log, 10));
    assert_eq!(log.last_seq() + 1, data.len() as u64);
    log.close().unwrap();
    (disk.visible_image(), data)
}

#[test]
fn what_was_forgotten_is_known() {
    bounded(|| {
        let (image, data) = mixed();
        for up_to in 1..data.len() as u64 {
            // An opening knows nothing of earlier checkpoints: they are read from the segments.
            let disk = Disk::from_image(&image, 2);
            let log = Log::open(disk.storage(), &always()).unwrap();
            log.truncate(up_to, true).unwrap();
            let expected = data[up_to as usize];
            log.close().unwrap();
            let log = Log::open(disk.storage(), &always()).unwrap();
            let report = log.report();
            assert_eq!((report.floor_seq, report.forgotten_data_seq), (up_to, expected));
            // A store that holds that much needs nothing of what is gone, one that holds less does.
            for store in expected.saturating_sub(1)..=expected {
                let outcome = log.replay(store, ReplayOptions::default()).map(drop).map_err(refusal);
                assert_eq!(outcome, if store < expected { Err((Code::Gap, expected, expected)) } else { Ok(()) }, "{store} of {up_to}");
            }
        }
    });
}

/// What cannot be read may have been data.
#[test]
fn what_cannot_be_read_counts_as_data() {
    bounded(|| {
        let (image, data) = mixed();
        let second = frames(image.read(FileName::Segment(2)).unwrap()).1;
        let (damaged, last) = (second[2], second[second.len() - 1].last_seq);
        let image = changed(&image, FileName::Segment(2), |bytes| bytes[damaged.offset as usize + FRAME_HEADER_LEN] ^= 1);
        for up_to in second[1].last_seq..=last {
            let disk = Disk::from_image(&image, 2);
            let log = Log::open(disk.storage(), &always()).unwrap();
            log.truncate(up_to, true).unwrap();
            log.close().unwrap();
            let expected = if up_to < damaged.last_seq.min(second[1].last_seq + 1) { data[up_to as usize] } else { up_to };
            assert_eq!(manifest(&disk.visible_image()).forgotten_data, expected, "{up_to}");
        }
    });
}

#[test]
fn only_a_checkpoint_licenses() {
    bounded(|| {
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &always()).unwrap();
        for _ in 0..4 {
            put(&log, 100);
        }
        let refused = Err((Code::NotCheckpointed, 1, 1));
        assert_eq!(log.truncate(1, false).map_err(refusal), refused);
        assert_eq!(log.truncate(0, false), Ok(()));
        assert_eq!(log.truncate(5, true).map_err(refusal), Err((Code::Range, 5, 0)));
        assert_eq!(log.stat().floor_seq, 0);
        assert_eq!(log.checkpoint(2), Ok(2));
        assert_eq!(log.truncate(3, false).map_err(refusal), Err((Code::NotCheckpointed, 3, 3)));
        log.truncate(2, false).unwrap();
        assert_eq!(log.stat().floor_seq, 2);
        // A lower one takes nothing back.
        assert_eq!(log.checkpoint(4), Ok(6));
        assert_eq!(log.checkpoint(1), Ok(1));
        assert_eq!((log.checkpoint_seq(), log.stat().checkpoint_covered), (6, 4));
        log.truncate(6, false).unwrap();
        log.close().unwrap();
        // A store that says what it holds licenses that much.
        let log = Log::open(disk.storage(), &Config { store_seq: Some(7), ..always() }).unwrap();
        assert_eq!(log.report().checkpoint_seq, 6);
        put(&log, 100);
        log.truncate(7, false).unwrap();
        assert_eq!(log.truncate(8, false).map_err(refusal), Err((Code::NotCheckpointed, 8, 8)));
    });
}

/// Of two checkpoints with one licence the first is remembered; a later one that licenses less is not.
#[test]
fn which_checkpoint_is_remembered() {
    bounded(|| {
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &always()).unwrap();
        put(&log, 10);
        assert_eq!(log.checkpoint(1), Ok(2));
        put(&log, 10);
        // The record 3 is not covered, so that this one licenses no more.
        assert_eq!(log.checkpoint(2), Ok(2));
        assert_eq!(log.checkpoint(0), Ok(0));
        let remembered = manifest(&disk.visible_image()).checkpoint;
        assert_eq!((remembered.n, remembered.covered), (2, 1));
        let killed = Disk::from_image(&disk.visible_image(), 2);
        log.close().unwrap();
        for disk in [disk, killed] {
            let log = Log::open(disk.storage(), &always()).unwrap();
            assert_eq!((log.report().checkpoint_seq, log.report().checkpoint_covered), (2, 1));
        }
    });
}

/// Both slots of the manifest are written where segments are about to go, one where they stay.
#[test]
fn how_often_the_manifest_is_written() {
    bounded(|| {
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &always()).unwrap();
        while log.stat().segments < 3 {
            put(&log, 500);
        }
        let written = |what: &dyn Fn()| {
            let before = manifest(&disk.visible_image()).generation;
            what();
            manifest(&disk.visible_image()).generation - before
        };
        let end_of_first = frames(disk.visible_image().read(FileName::Segment(1)).unwrap()).1.last().unwrap().last_seq;
        assert_eq!(written(&|| log.truncate(1, true).unwrap()), 1);
        assert_eq!(written(&|| log.truncate(1, true).unwrap()), 0);
        assert_eq!(written(&|| log.truncate(end_of_first - 1, true).unwrap()), 1);
        assert_eq!(written(&|| log.truncate(end_of_first, true).unwrap()), 2);
        assert_eq!(manifest(&disk.visible_image()).oldest_segment, 2);
        assert_eq!(log.stat().segments, 2);
    });
}

/// Of two truncations at once the lower one finds nothing left to do.
#[test]
fn a_truncation_behind_a_higher_one() {
    bounded(|| {
        for lower in [1, 3] {
            let disk = Disk::new(1);
            let log = Arc::new(Log::open(disk.storage(), &always()).unwrap());
            for _ in 0..4 {
                put(&log, 100);
            }
            let other: Arc<Mutex<Option<JoinHandle<()>>>> = Arc::default();
            let (slot, weak) = (Arc::clone(&other), Arc::downgrade(&log));
            disk.on_sync(move |name| {
                let mut slot = slot.lock().unwrap();
                if name == Some(FileName::Manifest) && slot.is_none() {
                    let log = weak.upgrade().unwrap();
                    *slot = Some(thread::spawn(move || log.truncate(lower, true).unwrap()));
                    // Until it waits for its turn, having found that there is something to do.
                    thread::sleep(Duration::from_millis(200));
                }
            });
            log.truncate(3, true).unwrap();
            let generation = manifest(&disk.visible_image()).generation;
            let other = other.lock().unwrap().take().unwrap();
            other.join().unwrap();
            assert_eq!(manifest(&disk.visible_image()).generation, generation, "written once more for {lower}");
            assert_eq!(log.stat().floor_seq, 3);
        }
    });
}
