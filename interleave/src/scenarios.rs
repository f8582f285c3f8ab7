//! The lives of logs that are run in many orders. Each is small: what needs more than four threads or a dozen calls to go wrong is for other tests.

mod appending;
mod ending;
mod forgetting;
mod modes;
mod parts;

use std::sync::{Arc, OnceLock};

use shuttle::scheduler::RandomScheduler;
use shuttle::thread::{JoinHandle, spawn};
use wal_engine::config::Config;
use wal_engine::log::Log;
use wal_sim::Image;

use crate::judge::judge;
use crate::world::{Fate, Ledger, SharedLog, World};

/// A life of a log.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// How large a share of the runs it gets; 0 for those that are small enough to be explored to the last order.
    pub share: usize,
    /// Lives it once, and judges.
    pub life: fn(),
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    [appending::ALL, forgetting::ALL, ending::ALL, modes::ALL, parts::ALL].concat()
}

/// The scenario of this name.
pub fn named(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name == name)
}

static CLOSED: OnceLock<Image> = OnceLock::new();

/// Makes what the scenarios begin with. To be called before the first of them runs.
pub(crate) fn prepare(config: shuttle::Config) {
    CLOSED.get_or_init(|| {
        let made = Arc::new(OnceLock::new());
        let image = Arc::clone(&made);
        shuttle::Runner::new(RandomScheduler::new_from_seed(0, 1), config).run(move || {
            let world = World::new(&Image::new(), Ledger::default(), always());
            let log = world.open().expect("a new log");
            world.append(&log, 0, 100).expect("its first record");
            close(log).expect("its end");
            image.get_or_init(|| world.disk.durable_image());
        });
        made.get().expect("the scenario has run").clone()
    });
}

/// A log that was closed with one record in it.
fn closed_log(config: Config) -> Arc<World> {
    let ledger = Ledger { records: [(0, Fate::At(1))].into(), most: 1, durable: 1, written: 1, ..Ledger::default() };
    Arc::new(World::new(CLOSED.get().expect("`prepare` was called"), ledger, config))
}

/// The smallest segments, nothing in the background.
fn always() -> Config {
    Config { segment_bytes: 4096, background: false, ..Config::default() }
}

/// Half a segment: two of them need another one.
const HALF: usize = 1700;

/// Ends the log, which nobody else holds any more.
fn close(log: SharedLog) -> wal_engine::error::Result<()> {
    let log = Arc::into_inner(log).expect("the threads of the scenario are over");
    Log::close(log)
}

/// A thread of the scenario.
fn thread(world: &Arc<World>, log: &SharedLog, life: impl FnOnce(&World, &SharedLog) + Send + 'static) -> JoinHandle<()> {
    let (world, log) = (Arc::clone(world), Arc::clone(log));
    spawn(move || life(&world, &log))
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    for thread in threads {
        thread.join().expect("a thread of the scenario");
    }
}

/// One of `count` numbers, as the schedule wants it.
fn choose(count: usize) -> usize {
    use shuttle::rand::Rng;
    shuttle::rand::thread_rng().gen_range(0..count)
}

/// Everything is over: the log is closed if it can be, and the run judged.
fn end(world: &World, log: SharedLog) {
    let last = log.last_seq();
    let poisoned = world.ledger().poisoned;
    match close(log) {
        Ok(()) => {
            assert!(!poisoned, "a poisoned log was closed without a word");
            world.durable(last);
        }
        Err(error) => assert!(poisoned || world.disk.injected() > 0, "the close failed: {error}"),
    }
    judge(world);
}
