//! Opens a directory in every way there is. Any error is a good answer; a panic, a hang, a hole that nobody names and a log that cannot be opened
//! again are not.

use wal_engine::config::{Config, OpenKind, Recovery, SyncMode};
use wal_engine::error::Code;
use wal_engine::format::constants::OP_PUT;
use wal_engine::log::{Log, ReplayOptions, inspect};
use wal_engine::seq;
use wal_prove::host::config;
use wal_sim::{Disk, Image, SimStorage};

use crate::edit::Part;

/// A stranger's header may ask for segments of a gigabyte; the disk has no room for them.
const DISK_BYTES: u64 = 4 << 20;

fn disk(image: &Image) -> Disk {
    let disk = Disk::from_image(image, 1);
    disk.limit_space(Some(DISK_BYTES));
    disk
}

fn existing(recovery: Recovery) -> Config {
    Config { recovery, open: OpenKind::Existing, ..config(SyncMode::Always, true) }
}

/// What lies with a right checksum may be believed: then an opening may fail late, and the next one, too. A segment that an inspection finds nothing
/// wrong with must hold what it says.
pub(crate) fn every_opening(image: &Image, part: Part) {
    let before = disk(image);
    let mut damages = 0;
    let inspected = inspect(&before.storage(), &existing(Recovery::Strict), true, &mut |_| damages += 1);
    if let Ok(log) = Log::open(before.storage(), &Config { open: OpenKind::ReadOnly, ..existing(Recovery::Strict) }) {
        let _any_error_will_do = read(&log, false);
    }
    assert!(before.visible_image() == *image, "looking has changed something");

    for recovery in [Recovery::Strict, Recovery::Prefix] {
        let disk = disk(image);
        let Ok(log) = Log::open(disk.storage(), &existing(recovery)) else { continue };
        let skip_lost = recovery == Recovery::Prefix;
        let shown = read(&log, skip_lost);
        if recovery == Recovery::Strict && inspected.is_ok() && damages == 0 {
            assert!(shown.is_ok(), "inspection saw no damage in what cannot be read: {shown:?}");
        }
        // Goes on: what can be appended is there after a restart, behind what was there.
        let appended = log.append(OP_PUT, b"key", b"value");
        if log.close().is_err() {
            continue;
        }
        let again = match Log::open(disk.storage(), &existing(Recovery::Strict)) {
            Ok(again) => again,
            Err(_) if part == Part::Manifest || damages > 0 => continue,
            Err(error) => panic!("what was closed cleanly does not open: {error:?}"),
        };
        if let (Ok(shown), Ok(seq), 0) = (shown, appended, damages) {
            assert!(seq > shown, "seq {seq} was used before");
            let read = read(&again, skip_lost);
            assert!(read == Ok(seq) || part == Part::Manifest && read.is_err(), "another log after the restart: {read:?}, not {seq}");
        }
    }
}

/// Reads everything; the last seq, if nothing was in the way.
fn read(log: &Log<SimStorage>, skip_lost: bool) -> Result<u64, Code> {
    let stat = log.stat();
    let mut last = stat.floor_seq;
    let mut cursor =
        log.replay(seq::OLDEST, ReplayOptions { raw: true, skip_lost, ..ReplayOptions::default() }).map_err(|error| error.code)?;
    while let Some(record) = cursor.next().map_err(|error| error.code)? {
        assert!(record.seq > last, "seq {} behind {last}", record.seq);
        assert!(skip_lost || record.seq == last + 1, "a hole in front of {} that nobody names", record.seq);
        assert!(record.batch_last_seq >= record.seq);
        last = record.seq;
    }
    Ok(last)
}
