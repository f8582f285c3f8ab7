//! Appenders beside each other: groups, their leaders and their failures.

use wal_engine::config::Config;
use wal_engine::log::Durability;
use wal_engine::seq;
use wal_sim::{Call, EIO, Effect, Fault};

use super::{HALF, Scenario, always, choose, closed_log, end, join, thread};

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "appenders", share: 4, life: appenders },
    Scenario { name: "groups_that_wait", share: 4, life: groups_that_wait },
    Scenario { name: "first_appends_of_an_opening", share: 2, life: first_appends },
    Scenario { name: "a_sync_fails", share: 4, life: a_sync_fails },
    Scenario { name: "a_write_fails", share: 4, life: a_write_fails },
    Scenario { name: "a_call_fails_beside_rotation", share: 3, life: a_call_fails },
    Scenario { name: "rotations", share: 3, life: rotations },
    Scenario { name: "batches_and_syncs", share: 3, life: batches },
];

/// Three threads form groups: what is written while a sync runs belongs to the next one.
fn appenders() {
    let world = closed_log(always());
    let log = world.open().expect("open");
    world.append(&log, 1, 100).expect("the first");
    let threads = [10, 20, 30].map(|id| {
        thread(&world, &log, move |world, log| {
            for id in id..id + 2 {
                world.append(log, id, 40).expect("append");
            }
        })
    });
    join(threads);
    end(&world, log);
}

/// Threads that come back, so that groups wait for them, while one syncs what others appended, and segments change, which settles records without
/// any leader of their group.
fn groups_that_wait() {
    let world = closed_log(always());
    let log = world.open().expect("open");
    world.append(&log, 1, HALF).expect("the first");
    let threads = [10, 20].map(|id| {
        thread(&world, &log, move |world, log| {
            for id in id..id + 3 {
                world.append(log, id, 40).expect("append");
            }
        })
    });
    let rotating = thread(&world, &log, move |world, log| {
        world.append(log, 30, 40).expect("append");
        world.append(log, 31, HALF).expect("append");
        world.batch(log, &[32], HALF, Durability::Async).expect("append");
        world.sync(log, seq::LAST).expect("sync");
    });
    join(threads.into_iter().chain([rotating]));
    end(&world, log);
}

/// The opening's first frame needs the manifest and a spare first, and everybody comes at once.
fn first_appends() {
    let world = closed_log(always());
    let log = world.open().expect("open");
    let threads = [10, 20, 30].map(|id| {
        thread(&world, &log, move |world, log| {
            world.append(log, id, 40).expect("append");
        })
    });
    join(threads);
    end(&world, log);
}

/// A sync fails: whoever waits for it hears of it, and nothing is acknowledged afterwards.
fn a_sync_fails() {
    let world = closed_log(always());
    let log = world.open().expect("open");
    world.append(&log, 1, 100).expect("the first");
    let effect = [Effect::Nothing, Effect::Prefix(1)][choose(2)];
    world.disk.fail(Fault::nth(1 + choose(3) as u64).of(Call::Sync).error(EIO).effect(effect));
    let threads = [10, 20, 30].map(|id| {
        thread(&world, &log, move |world, log| {
            for id in id..id + 2 {
                // Either answer may be right: the judge knows.
                let _may_fail = world.append(log, id, 40);
            }
        })
    });
    join(threads);
    end(&world, log);
}

/// A write fails, and is taken back if nobody's record that was accepted stands in or behind it.
fn a_write_fails() {
    let world = closed_log(always());
    let log = world.open().expect("open");
    world.append(&log, 1, 100).expect("the first");
    let effect = [Effect::Nothing, Effect::Prefix(40)][choose(2)];
    world.disk.fail(Fault::nth(1 + choose(3) as u64).of(Call::WriteAt).error(EIO).effect(effect));
    let threads = [10, 20, 30].map(|id| {
        thread(&world, &log, move |world, log| {
            let durability = if id == 30 { Durability::Async } else { Durability::Mode };
            let _may_fail = world.batch(log, &[id, id + 1], 40, durability);
            let _may_fail = world.append(log, id + 2, 40);
        })
    });
    join(threads);
    end(&world, log);
}

/// Any write or sync fails while segments change.
fn a_call_fails() {
    let world = closed_log(always());
    let log = world.open().expect("open");
    world.append(&log, 1, HALF).expect("the first");
    let (call, most) = [(Call::WriteAt, 8), (Call::Sync, 8), (Call::SyncDir, 3), (Call::Rename, 3), (Call::Create, 2)][choose(5)];
    let effect = [Effect::Nothing, Effect::Prefix(600)][choose(2)];
    world.disk.fail(Fault::nth(1 + choose(most) as u64).of(call).error(EIO).effect(effect));
    let threads = [10, 20].map(|id| {
        thread(&world, &log, move |world, log| {
            for id in id..id + 2 {
                let _may_fail = world.append(log, id, HALF);
            }
        })
    });
    join(threads);
    end(&world, log);
}

/// Every other record needs another segment.
fn rotations() {
    let world = closed_log(always());
    let log = world.open().expect("open");
    let threads = [10, 20].map(|id| {
        thread(&world, &log, move |world, log| {
            for id in id..id + 3 {
                world.append(log, id, HALF).expect("append");
            }
        })
    });
    join(threads);
    end(&world, log);
}

/// Batches that wait and batches that do not, and whoever wants everything durable.
fn batches() {
    let world = closed_log(Config { sync_mode: wal_engine::config::SyncMode::None, ..always() });
    let log = world.open().expect("open");
    world.append(&log, 1, 100).expect("the first");
    let sync = thread(&world, &log, |world, log| {
        world.batch(log, &[10, 11, 12], 600, Durability::Sync).expect("batch");
    });
    let no_sync = thread(&world, &log, |world, log| {
        world.batch(log, &[20, 21], 600, Durability::Async).expect("batch");
        world.sync(log, seq::LAST).expect("sync");
        world.append(log, 22, 600).expect("append");
    });
    let other = thread(&world, &log, |world, log| {
        let seq = world.append(log, 30, 600).expect("append");
        log.flush().expect("flush");
        world.sync(log, seq).expect("sync");
    });
    join([sync, no_sync, other]);
    end(&world, log);
}
