//! What the recordings of the real storage code found. Each test tells what happened and what must hold instead.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wal_engine::config::{Config, OpenKind, Recovery, SyncMode};
use wal_engine::format::constants::{MANIFEST_LEN, OP_PUT};
use wal_engine::log::{Log, ReplayOptions};
use wal_engine::names::FileName;
use wal_engine::seq;
use wal_engine::storage::{Access, File, Storage};
use wal_prove::host::config;
use wal_sim::Disk;

/// A process that made a log died when the manifest was written and its name not yet synced. Another one opened that log, and a power cut later there
/// was none: a host that had saved its id was refused. A log that was opened exists.
#[test]
fn an_opened_log_exists() {
    let always = config(SyncMode::Always, true);
    let mut opened = 0;
    for death in 1.. {
        let disk = Disk::new(1);
        disk.kill_at(death);
        let made = Log::open(disk.storage(), &always).is_ok();
        disk.clear_faults();
        drop(Log::open(disk.storage(), &always).unwrap());
        let disk = Disk::from_image(&disk.durable_image(), 2);
        let existing = Config { open: OpenKind::Existing, ..always };
        Log::open(disk.storage(), &existing).unwrap_or_else(|error| panic!("death at call {death}: {error}"));
        opened += 1;
        if made {
            break;
        }
    }
    assert!(opened > 10, "the making of a log takes more than {opened} calls");
}

/// A process died with records in the cache alone, and the manifest was lost. A prefix recovery rebuilt it with a bound that named bytes in the cache; a
/// power cut later these were gone, the next recovery took that for damage, and gave up records that the one before had shown. What a rebuilt manifest
/// names is durable.
#[test]
fn a_rebuilt_bound_is_durable() {
    let os = config(SyncMode::Os, true);
    let prefix = Config { recovery: Recovery::Prefix, ..os };
    let disk = Disk::new(1);
    let log = Log::open(disk.storage(), &os).unwrap();
    log.append(OP_PUT, b"", b"in the cache alone").unwrap();
    drop(log);
    let manifest = disk.storage().open(FileName::Manifest, Access::Write).unwrap();
    manifest.write_at(0, &[0; MANIFEST_LEN]).unwrap();
    manifest.sync().unwrap();
    let shown = |disk: &Disk| {
        let log = Log::open(disk.storage(), &prefix).unwrap();
        let mut cursor = log.replay(seq::OLDEST, ReplayOptions::default()).unwrap();
        cursor.next().unwrap().map(|record| record.value.to_vec())
    };
    assert_eq!(shown(&disk).as_deref(), Some(&b"in the cache alone"[..]));
    let disk = Disk::from_image(&disk.durable_image(), 2);
    assert_eq!(shown(&disk).as_deref(), Some(&b"in the cache alone"[..]), "after a power cut");
}
