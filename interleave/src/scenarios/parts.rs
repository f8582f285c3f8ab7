//! Parts of the engine by themselves, small enough that every order of their steps can be tried.

use std::sync::Arc;

use shuttle::thread::spawn;
use wal_engine::bell::Bell;
use wal_engine::chain::Chain;

use super::{Scenario, join};

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "chain_wakes_a_waiter", share: 0, life: chain },
    Scenario { name: "chain_closes", share: 0, life: chain_closes },
    Scenario { name: "bell_is_heard", share: 0, life: bell },
];

/// A waiter that begins to wait while what it waits for happens.
fn chain() {
    let chain = Arc::new(Chain::default());
    let waiting = Arc::clone(&chain);
    let waiter = spawn(move || assert!(waiting.wait_until(None, || waiting.durable() >= 1)));
    chain.publish_durable(1);
    join([waiter]);
}

/// A waiter that begins to wait while the log is closed.
fn chain_closes() {
    let chain = Arc::new(Chain::default());
    let waiting = Arc::clone(&chain);
    let waiter = spawn(move || assert!(waiting.wait_until(None, || waiting.is_closed())));
    chain.close();
    join([waiter]);
}

/// Work that is rung for while the thread looks for it, and the end.
fn bell() {
    let bell = Arc::new(Bell::default());
    bell.set_starter(Box::new(|| true));
    let listening = Arc::clone(&bell);
    let thread = spawn(move || {
        let mut heard = 0;
        loop {
            let work = listening.take();
            if work.stop {
                return heard;
            }
            heard += u32::from(work.drop);
        }
    });
    assert!(bell.ring(|work| work.drop = true));
    assert!(bell.stop());
    assert!(thread.join().is_ok_and(|heard| heard <= 1));
    assert!(!bell.ring(|work| work.drop = true), "nobody would do it");
}
