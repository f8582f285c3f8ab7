//! Checkpoints and truncations beside everything else.

use std::collections::BTreeSet;

use wal_engine::config::{Config, RECYCLE_NONE};
use wal_engine::error::Code;
use wal_engine::format::constants::OP_CHECKPOINT;
use wal_engine::log::{ReplayOptions, Waited};
use wal_engine::seq;

use super::{HALF, Scenario, always, choose, closed_log, end, join, thread};
use crate::world::{Store, id_of};

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "a_store_and_its_writers", share: 4, life: store },
    Scenario { name: "checkpoints_beside_rotation", share: 4, life: checkpoints },
    Scenario { name: "truncation_swaps_the_segment", share: 4, life: swaps },
    Scenario { name: "two_truncations", share: 3, life: two_truncations },
    Scenario { name: "a_follower", share: 3, life: follower },
    Scenario { name: "replays_beside_truncation", share: 3, life: replays },
    Scenario { name: "spares_in_the_background", share: 3, life: background },
];

/// Two writers append and apply; the host flushes its store, declares what it holds and forgets, twice.
fn store() {
    let world = closed_log(always());
    world.note(|ledger| ledger.store = Some(Store { applied: [(1, 0)].into(), ..Store::default() }));
    let log = world.open().expect("open");
    let writers = [10, 20].map(|id| {
        thread(&world, &log, move |world, log| {
            for id in id..id + 2 {
                let seq = world.append(log, id, if id == 21 { HALF } else { 40 }).expect("append");
                world.apply(id, seq);
            }
        })
    });
    let host = thread(&world, &log, |world, log| {
        let mut checkpoints = BTreeSet::new();
        for _ in 0..2 {
            world.store_and_forget(log, &mut checkpoints).expect("checkpoint and truncate");
        }
    });
    join(writers);
    join([host]);
    end(&world, log);
}

/// A checkpoint reads where the log is and writes it down later, when the log may be in another segment and the one it was in forgotten.
fn checkpoints() {
    let world = closed_log(always());
    let log = world.open().expect("open");
    world.append(&log, 1, HALF).expect("the first");
    let writer = thread(&world, &log, |world, log| {
        for id in 10..13 {
            world.append(log, id, HALF).expect("append");
        }
    });
    let hosts = [0, 1].map(|_| {
        thread(&world, &log, |world, log| {
            let n = world.checkpoint(log, log.durable_seq()).expect("checkpoint");
            world.truncate(log, n).expect("truncate");
        })
    });
    join([writer]);
    join(hosts);
    end(&world, log);
}

/// Everything is forgotten, which replaces the active segment, while somebody appends.
fn swaps() {
    let world = closed_log(always());
    let log = world.open().expect("open");
    world.append(&log, 1, 2600).expect("the first");
    let host = thread(&world, &log, |world, log| {
        for _ in 0..2 {
            let n = world.checkpoint(log, seq::LAST).expect("checkpoint");
            world.truncate(log, n).expect("truncate");
        }
    });
    let writers = [10, 20].map(|id| {
        thread(&world, &log, move |world, log| {
            if id == 20 && choose(2) == 0 {
                world.sync(log, seq::LAST).expect("sync");
            }
            world.append(log, id, 300).expect("append");
        })
    });
    join([host]);
    join(writers);
    end(&world, log);
}

/// Two of them at once, over several segments, with their blocks used again or not.
fn two_truncations() {
    let recycle_segments = [0, RECYCLE_NONE][choose(2)];
    let world = closed_log(Config { recycle_segments, ..always() });
    let log = world.open().expect("open");
    for id in 1..5 {
        world.append(&log, id, HALF).expect("append");
    }
    let n = world.checkpoint(&log, seq::LAST).expect("checkpoint");
    let truncations = [n, 3].map(|up_to| thread(&world, &log, move |world, log| world.truncate(log, up_to).expect("truncate")));
    let writer = thread(&world, &log, |world, log| {
        for id in 10..12 {
            world.append(log, id, HALF).expect("append");
        }
    });
    join(truncations);
    join([writer]);
    end(&world, log);
}

/// A cursor in front of appends, a rotation and a truncation that would take what it still has to read.
fn follower() {
    let unsynced = choose(3) == 0;
    let world = closed_log(always());
    let log = world.open().expect("open");
    // It is opened before anything can be forgotten.
    let mut cursor = log.replay(0, ReplayOptions { raw: true, unsynced, ..ReplayOptions::default() }).expect("replay");
    let follower = thread(&world, &log, move |_, _| {
        let mut expected = 1;
        // The record before, three here and at least one of the checkpoint.
        while expected <= 5 {
            let next = cursor.next().expect("next").map(|record| (record.seq, record.op == OP_CHECKPOINT || id_of(record.value).is_some()));
            match next {
                Some(record) => {
                    assert_eq!(record, (expected, true));
                    expected += 1;
                }
                None => assert_eq!(cursor.wait(u64::MAX).expect("wait"), Waited::Durable),
            }
        }
    });
    let writer = thread(&world, &log, |world, log| {
        for id in 10..13 {
            world.append(log, id, HALF).expect("append");
        }
    });
    let host = thread(&world, &log, |world, log| {
        let n = world.checkpoint(log, log.durable_seq()).expect("checkpoint");
        world.truncate(log, n).expect("truncate");
    });
    join([follower, writer, host]);
    end(&world, log);
}

/// Cursors are opened while what they ask for is being forgotten: each gets everything, or the gap.
fn replays() {
    let world = closed_log(always());
    let log = world.open().expect("open");
    for id in 1..4 {
        world.append(&log, id, HALF).expect("append");
    }
    let host = thread(&world, &log, |world, log| {
        for _ in 0..2 {
            let n = world.checkpoint(log, seq::LAST).expect("checkpoint");
            world.truncate(log, n).expect("truncate");
        }
    });
    let writer = thread(&world, &log, |world, log| {
        for id in 10..12 {
            world.append(log, id, HALF).expect("append");
        }
    });
    let reader = thread(&world, &log, |world, log| {
        for after in [seq::OLDEST, 2] {
            let promised = world.ledger().durable;
            let mut cursor = match log.replay(after, ReplayOptions { raw: true, ..ReplayOptions::default() }) {
                Ok(cursor) => cursor,
                Err(gap) => {
                    assert!(after != seq::OLDEST && gap.code == Code::Gap && world.ledger().asked_floor > after, "{gap}");
                    continue;
                }
            };
            let mut expected = if after == seq::OLDEST { None } else { Some(after + 1) };
            while let Some(record) = cursor.next().expect("next") {
                // What was forgotten before the cursor was there begins where the oldest record is.
                let first = *expected.get_or_insert(record.seq);
                assert!(record.seq == first || (record.seq > first && world.ledger().asked_floor >= first), "{} after {first}", record.seq);
                expected = Some(record.seq + 1);
            }
            assert!(expected.is_none_or(|next| next > promised), "the cursor ends before {promised}, which was durable");
        }
    });
    join([host, writer, reader]);
    end(&world, log);
}

/// The background thread prepares and drops segments while two writers rotate and the host forgets.
fn background() {
    let world = closed_log(Config { background: true, recycle_segments: 1, ..always() });
    let log = world.open().expect("open");
    let writers = [10, 20].map(|id| {
        thread(&world, &log, move |world, log| {
            for id in id..id + 2 {
                world.append(log, id, HALF).expect("append");
            }
        })
    });
    let host = thread(&world, &log, |world, log| {
        let n = world.checkpoint(log, seq::LAST).expect("checkpoint");
        world.truncate(log, n).expect("truncate");
    });
    join(writers);
    join([host]);
    end(&world, log);
}
