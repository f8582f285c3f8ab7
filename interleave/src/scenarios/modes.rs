//! The modes in which an append does not wait for the disk.

use wal_engine::config::{Config, SyncMode};
use wal_engine::seq;
use wal_sim::{Call, EIO, Fault};

use super::{HALF, Scenario, always, choose, closed_log, end, join, thread};
use crate::world::{Fate, SharedLog, World};

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "batch_mode", share: 3, life: batch },
    Scenario { name: "batch_mode_with_a_timer", share: 3, life: timer },
    Scenario { name: "batch_mode_fails", share: 2, life: batch_fails },
    Scenario { name: "os_mode", share: 3, life: os },
];

/// The most records that may not be durable in these scenarios.
const UNSYNCED: u32 = 2;

/// Appends, and holds what is accepted and not durable against the limit.
fn append(world: &World, log: &SharedLog, id: u32, len: usize) {
    let seq = world.append(log, id, len).expect("append");
    // What is durable only grows, so that asking for it later errs to the log's side.
    let durable = log.durable_seq();
    assert!(seq <= durable + u64::from(UNSYNCED), "seq {seq} was accepted when {durable} was durable");
}

/// What a power cut may take at any moment is limited.
fn batch() {
    let world = closed_log(Config { sync_mode: SyncMode::Batch, batch_records: UNSYNCED, ..always() });
    let log = world.open().expect("open");
    let writers = [10, 20, 30].map(|id| {
        thread(&world, &log, move |world, log| {
            for id in id..id + 2 {
                append(world, log, id, if id == 21 { HALF } else { 900 });
            }
        })
    });
    join(writers);
    end(&world, log);
}

/// The timer makes everything durable, without anybody asking for it.
fn timer() {
    let world =
        closed_log(Config { sync_mode: SyncMode::Batch, batch_records: UNSYNCED, batch_interval_us: 500, background: true, ..always() });
    let log = world.open().expect("open");
    let writers = [10, 20].map(|id| {
        thread(&world, &log, move |world, log| {
            for id in id..id + 2 {
                append(world, log, id, 100);
            }
        })
    });
    join(writers);
    let last = log.last_seq();
    log.wait_durable(last, u64::MAX).expect("the timer's sync");
    world.durable(last);
    end(&world, log);
}

/// The sync that fails is nobody's own: later calls hear of it.
fn batch_fails() {
    let world = closed_log(Config { sync_mode: SyncMode::Batch, batch_records: UNSYNCED, ..always() });
    let log = world.open().expect("open");
    world.append(&log, 1, 100).expect("the first");
    let call = [Call::Sync, Call::WriteAt][choose(2)];
    world.disk.fail(Fault::nth(1 + choose(2) as u64).of(call).error(EIO));
    let writers = [10, 20].map(|id| {
        thread(&world, &log, move |world, log| {
            for id in id..id + 3 {
                let _may_fail = world.append(log, id, 40);
            }
        })
    });
    join(writers);
    let outcome = world.sync(&log, seq::LAST);
    let doubtful = world.ledger().records.values().any(|fate| *fate == Fate::InDoubt);
    assert!(outcome.is_err() || !doubtful, "somebody was told that the handle is poisoned, and a sync succeeded");
    end(&world, log);
}

/// What an append handed to the system survives the process, and a sync makes it survive the machine.
fn os() {
    let world = closed_log(Config { sync_mode: SyncMode::Os, background: choose(2) == 0, ..always() });
    let log = world.open().expect("open");
    let writers = [10, 20, 30].map(|id| {
        thread(&world, &log, move |world, log| {
            for id in id..id + 2 {
                world.append(log, id, 900).expect("append");
            }
        })
    });
    world.sync(&log, seq::LAST).expect("sync");
    join(writers);
    end(&world, log);
}
