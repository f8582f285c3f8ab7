//! Shutdown and close beside those who append and those who wait.

use wal_engine::config::Config;
use wal_engine::error::Code;
use wal_engine::log::{ReplayOptions, Waited};
use wal_engine::seq;
use wal_sim::{Call, Fault};

use super::{HALF, Scenario, always, choose, close, closed_log, end, join, thread};
use crate::judge::judge;

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "shutdown_wakes_everybody", share: 4, life: shutdown },
    Scenario { name: "a_failure_wakes_everybody", share: 3, life: failure },
    Scenario { name: "waits_for_what_comes", share: 3, life: waits },
    Scenario { name: "a_cursor_outlives_the_log", share: 2, life: outlived },
    Scenario { name: "close_beside_the_background", share: 2, life: close_beside_background },
];

fn is_closed<T>(outcome: &wal_engine::error::Result<T>) -> bool {
    outcome.as_ref().is_err_and(|error| error.code == Code::Closed)
}

/// Whatever a thread is doing when the log is shut down, it comes back, and with the right answer.
fn shutdown() {
    let world = closed_log(Config { background: choose(2) == 0, ..always() });
    let log = world.open().expect("open");
    let writer = thread(&world, &log, |world, log| {
        for id in 10..13 {
            let outcome = world.append(log, id, HALF);
            assert!(outcome.is_ok() || is_closed(&outcome), "{outcome:?}");
        }
    });
    let waiter = thread(&world, &log, |_, log| {
        let outcome = log.wait_durable(100, u64::MAX);
        assert!(is_closed(&outcome), "{outcome:?}");
        assert!(is_closed(&log.sync(seq::LAST)));
    });
    let mut cursor = log.replay(0, ReplayOptions { raw: true, ..ReplayOptions::default() }).expect("replay");
    let reader = thread(&world, &log, move |_, _| {
        loop {
            match cursor.next().map(|record| record.is_some()) {
                Ok(true) => continue,
                Ok(false) => {}
                closed => {
                    assert!(is_closed(&closed), "{closed:?}");
                    return;
                }
            }
            let waited = cursor.wait(u64::MAX);
            if waited != Ok(Waited::Durable) {
                assert!(is_closed(&waited), "{waited:?}");
                return;
            }
        }
    });
    let host = thread(&world, &log, |world, log| {
        let outcome = world.checkpoint(log, log.durable_seq());
        assert!(outcome.is_ok() || is_closed(&outcome), "{outcome:?}");
        if let Ok(n) = outcome {
            let outcome = world.truncate(log, n);
            assert!(outcome.is_ok() || is_closed(&outcome), "{outcome:?}");
        }
    });
    log.shutdown().expect("shutdown");
    join([writer, waiter, reader, host]);
    end(&world, log);
}

/// Whoever waits when the handle is poisoned hears of it: waiters for durability, cursors, and appends that wait for their turn.
fn failure() {
    let world = closed_log(always());
    let log = world.open().expect("open");
    world.append(&log, 1, 100).expect("the first");
    let mut cursor = log.replay(0, ReplayOptions { raw: true, ..ReplayOptions::default() }).expect("replay");
    world.disk.fail(Fault::nth(1 + choose(3) as u64).of(Call::Sync).forever());
    let writers = [10, 20].map(|id| {
        thread(&world, &log, move |world, log| {
            // Two syncs may succeed, and each makes a record of this thread durable at the most.
            assert!((id..id + 3).any(|id| world.append(log, id, 40).is_err()), "no sync succeeds");
        })
    });
    let waiter = thread(&world, &log, |_, log| {
        let outcome = log.wait_durable(100, u64::MAX);
        assert!(outcome.is_err_and(|error| error.code == Code::Failed), "{outcome:?}");
    });
    let reader = thread(&world, &log, move |_, _| {
        loop {
            while cursor.next().expect("next").is_some() {}
            match cursor.wait(u64::MAX) {
                Ok(waited) => assert_eq!(waited, Waited::Durable),
                Err(error) => {
                    assert_eq!(error.code, Code::Failed);
                    return;
                }
            }
        }
    });
    join(writers);
    join([waiter, reader]);
    end(&world, log);
}

/// Waits for seqs that do not exist yet, with a limit and without, in a mode in which only a sync makes anything durable.
fn waits() {
    let world = closed_log(Config { sync_mode: wal_engine::config::SyncMode::None, ..always() });
    let log = world.open().expect("open");
    let waiters = [2, 3].map(|seq| {
        thread(&world, &log, move |world, log| {
            assert_eq!(log.wait_durable(seq, u64::MAX), Ok(Waited::Durable));
            world.durable(seq);
        })
    });
    let limited = thread(&world, &log, |world, log| {
        if log.wait_durable(3, 1000) == Ok(Waited::Durable) {
            world.durable(3);
        }
        assert_eq!(log.wait_durable(100, 1000), Ok(Waited::TimedOut));
    });
    let writer = thread(&world, &log, |world, log| {
        for id in 10..12 {
            world.append(log, id, 100).expect("append");
        }
        world.sync(log, seq::LAST).expect("sync");
    });
    join(waiters);
    join([limited, writer]);
    end(&world, log);
}

/// A cursor that was there before the log was closed is used after it, beside the next opening.
fn outlived() {
    let world = closed_log(always());
    let log = world.open().expect("open");
    world.append(&log, 1, HALF).expect("append");
    let mut cursors = [false, true].map(|unsynced| {
        let mut cursor = log.replay(0, ReplayOptions { raw: true, unsynced, ..ReplayOptions::default() }).expect("replay");
        assert!(cursor.next().expect("next").is_some());
        cursor
    });
    let last = log.last_seq();
    close(log).expect("close");
    world.durable(last);
    let reader = shuttle::thread::spawn(move || {
        for cursor in &mut cursors {
            let next = cursor.next().map(|record| record.is_some());
            assert!(is_closed(&next), "{next:?}");
            let waited = cursor.wait(u64::MAX);
            assert!(is_closed(&waited), "{waited:?}");
        }
    });
    let again = world.open().expect("the next opening: nobody holds the lock");
    world.append(&again, 2, 100).expect("append");
    join([reader]);
    end(&world, again);
}

/// The background thread has work, or is being started, when the log is closed or dropped.
fn close_beside_background() {
    let world = closed_log(Config { background: true, ..always() });
    let log = world.open().expect("open");
    let writer = thread(&world, &log, |world, log| {
        for id in 10..12 {
            world.append(log, id, HALF).expect("append");
        }
    });
    join([writer]);
    if choose(2) == 0 {
        // As after a crash, but for the thread, which ends with the log.
        drop(log);
        let again = world.open().expect("the next opening");
        end(&world, again);
    } else {
        let last = log.last_seq();
        close(log).expect("close");
        world.durable(last);
        judge(&world);
    }
}
