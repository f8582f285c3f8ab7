//! The suites: what they are called, how much of each is tried, and what their counts are called.

use std::time::{Duration, Instant};

use wal_engine::config::SyncMode;
use wal_sim::Budget;

use crate::chance::mix;
use crate::crash::{self, Count, Counts, Depth, Failure, verdict};
use crate::damage::{self, Extent, Made};
use crate::faults::Faults;
use crate::lives::{self, Lives};
use crate::run::{Done, Failed, Run, Slice};
use crate::scripts::{Scripts, settings};
use crate::tally::{Row, Sums};

/// How much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// What fits into a run for every change.
    Ci,
    /// What a run of hours gets through.
    Long,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Scripts,
    Lives,
    Faults,
    Pairs,
    Damage,
}

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::Scripts, Kind::Lives, Kind::Faults, Kind::Pairs, Kind::Damage];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Scripts => "scripts",
            Kind::Lives => "lives",
            Kind::Faults => "faults",
            Kind::Pairs => "pairs",
            Kind::Damage => "damage",
        }
    }

    /// Parts of a long run's time, of 20.
    fn share(self) -> u32 {
        match self {
            Kind::Scripts => 9,
            Kind::Lives => 7,
            Kind::Faults => 1,
            Kind::Pairs => 2,
            Kind::Damage => 1,
        }
    }
}

/// How long a long run stays with one suite before it goes to the next: this times the parts above.
const LONG_PART: Duration = Duration::from_secs(6);
/// Of the faults, CI explores the crashes behind one in so many.
const PAIRS_STRIDE: u64 = 6;
/// Random lives in CI.
const CI_LIVES: u64 = 600;

/// The logs that are damaged; each is closed cleanly and killed.
const DAMAGED: [Made; 4] = [Made::Always, Made::Recycled, Made::System, Made::Fragments];
/// Damage to one log in a long run: what is left to try are pairs.
const LONG_DAMAGE: Extent = Extent { flip_one_of: 9973, cut_one_of: 997, pairs: 1000, seed: 0, threads: 1 };

/// Everything that the items of the suites are made from.
pub struct Suites {
    size: Size,
    scripts: Scripts,
    faults: Faults,
}

impl Suites {
    pub fn new(size: Size) -> Result<Suites, Failure> {
        let settings = settings(&[SyncMode::Always, SyncMode::Os, SyncMode::None, SyncMode::Batch]);
        let longest = if size == Size::Ci { 3 } else { 4 };
        Ok(Suites { size, scripts: Scripts { settings, longest }, faults: Faults::new()? })
    }

    /// How many items there are; random lives never end.
    fn items(&self, kind: Kind) -> u64 {
        match (kind, self.size) {
            (Kind::Scripts, _) => self.scripts.count(),
            (Kind::Lives, Size::Ci) => CI_LIVES,
            (Kind::Lives | Kind::Damage, Size::Long) => u64::MAX,
            (Kind::Damage, Size::Ci) => DAMAGED.len() as u64 * 2,
            (Kind::Faults, _) | (Kind::Pairs, Size::Long) => self.faults.count(),
            (Kind::Pairs, Size::Ci) => self.faults.count() / PAIRS_STRIDE,
        }
    }

    fn depth(&self, kind: Kind, seed: u64) -> Depth {
        let budget = |samples, torn| Budget { exhaustive: 6, samples, torn, seed };
        let deep_budget = Budget { exhaustive: 2, samples: 3, torn: 2, seed };
        match (kind, self.size) {
            (Kind::Scripts, Size::Ci) => Depth { budget: budget(64, 192), deep: 1, deep_budget },
            (Kind::Scripts, Size::Long) => Depth { budget: budget(128, 384), deep: 3, deep_budget: budget(16, 6) },
            (Kind::Lives, Size::Ci) => Depth { budget: budget(32, 24), deep: 1, deep_budget },
            (Kind::Lives, Size::Long) => Depth { budget: budget(64, 96), deep: 2, deep_budget: budget(8, 4) },
            (Kind::Faults | Kind::Pairs | Kind::Damage, Size::Ci) => {
                Depth { budget: Budget { exhaustive: 3, samples: 4, torn: 2, seed }, deep: 0, deep_budget }
            }
            (Kind::Faults | Kind::Pairs | Kind::Damage, Size::Long) => Depth { budget: budget(16, 6), deep: 0, deep_budget },
        }
    }

    /// Tries one item.
    pub fn item(&self, run: &Run, kind: Kind, seed: u64, item: u64) -> Result<Counts, Failure> {
        let depth = self.depth(kind, mix(seed, item));
        match (kind, self.size) {
            (Kind::Scripts, _) => {
                // Equal points of different scripts get equal samples, so that equal states are seen to be; the next time round they get others.
                let depth = self.depth(kind, mix(seed, item / self.scripts.count()));
                crash::explore(&self.scripts.get(item), &depth, &run.seen)
            }
            (Kind::Lives, _) => lives::live(&Lives { steps: (5, 30), lives: (1, 4) }, seed, item, &depth, &run.seen),
            (Kind::Faults, _) => self.faults.try_one(item, None, &run.seen),
            (Kind::Pairs, Size::Long) => self.faults.try_one(item, Some(&depth), &run.seen),
            (Kind::Damage, _) => self.damage(seed, item),
            // Which ones follows from the seed.
            (Kind::Pairs, Size::Ci) => self.faults.try_one(item * PAIRS_STRIDE + mix(seed, item) % PAIRS_STRIDE, Some(&depth), &run.seen),
        }
    }

    /// Damages one of the logs; other seeds damage it elsewhere.
    fn damage(&self, seed: u64, item: u64) -> Result<Counts, Failure> {
        let began = Instant::now();
        let made = DAMAGED[(item / 2) as usize % DAMAGED.len()];
        let extent = if self.size == Size::Ci { Extent::WHOLE } else { LONG_DAMAGE };
        let damaged =
            verdict(|| Ok(damage::run_one(made, item.is_multiple_of(2), &Extent { seed: mix(seed, item), threads: 1, ..extent })))?;
        Ok(Counts { first: Count { cases: damaged.damages(), states: 0, busy: began.elapsed() }, ..Counts::default() })
    }

    /// All of one suite.
    pub fn whole(&self, run: &Run, kind: Kind) -> (Done, Option<Failed>) {
        self.slice(run, kind, Slice::whole(self.items(kind)))
    }

    fn slice(&self, run: &Run, kind: Kind, slice: Slice) -> (Done, Option<Failed>) {
        run.spread(kind.name(), slice, |item| self.item(run, kind, run.seed, item))
    }

    /// All suites in turn, again and again, until the time is over. `sums` says how far earlier runs came; `save` is called after each turn.
    pub fn until<E>(
        &self,
        run: &Run,
        until: Instant,
        sums: &Sums,
        rows: &mut Rows,
        mut save: impl FnMut(&Rows) -> Result<(), E>,
    ) -> Result<Option<(Kind, Failed)>, E> {
        let mut next = Kind::ALL.map(|kind| items_row(kind).map_or(0, |row| sums.cases(row)));
        while Instant::now() < until {
            for (kind, next) in Kind::ALL.into_iter().zip(&mut next) {
                let turn = until.min(Instant::now() + LONG_PART * kind.share());
                let slice = Slice { first: *next, items: u64::MAX, until: Some(turn), run_until: Some(until) };
                let (done, failed) = self.slice(run, kind, slice);
                rows.add(kind, &done, failed.is_some(), run.threads);
                *next += done.items;
                if let Some(failed) = failed {
                    save(rows)?;
                    return Ok(Some((kind, failed)));
                }
            }
            save(rows)?;
        }
        Ok(None)
    }
}

/// The row that counts the items of a suite whose next long run goes on where the last one ended; the others begin with another seed.
fn items_row(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Scripts => Some("scripts"),
        Kind::Faults => Some("faults"),
        Kind::Pairs => Some("faults-then-crash"),
        Kind::Lives | Kind::Damage => None,
    }
}

/// The rows of the table, as they fill.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    pub rows: Vec<Row>,
}

impl Rows {
    /// Adds what a suite has done.
    pub fn add(&mut self, kind: Kind, done: &Done, failed: bool, threads: usize) {
        let Counts { first, second } = done.counts;
        match kind {
            Kind::Scripts => {
                self.count("scripts", done.items, "scripts of calls", failed);
                self.states("script-states", "crash states of scripts", first, threads);
                self.states("recovery-states", "crash states of recoveries", second, threads);
            }
            Kind::Lives => {
                self.count("lives", done.items, "chains of random lives", failed);
                self.states("life-states", "crash states of random lives", first, threads);
                self.states("recovery-states", "crash states of recoveries", second, threads);
            }
            Kind::Faults => {
                self.count("faults", done.items, "failing calls and deaths in calls", failed);
                self.seconds("faults", done.elapsed);
            }
            Kind::Pairs => {
                self.count("faults-then-crash", done.items, "faults followed by every crash", failed);
                self.states("fault-crash-states", "crash states behind a fault", second, threads);
            }
            Kind::Damage => {
                self.count("damage", first.cases, "bits, bytes, files and pairs damaged", failed);
                self.seconds("damage", done.elapsed);
            }
        }
    }

    fn row(&mut self, suite: &str, unit: &str) -> &mut Row {
        let at = self.rows.iter().position(|row| row.suite == suite).unwrap_or_else(|| {
            let (suite, unit) = (suite.to_string(), unit.to_string());
            self.rows.push(Row { suite, cases: 0, unit, distinct: None, seconds: None, found: 0 });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    fn count(&mut self, suite: &str, more: u64, unit: &str, failed: bool) {
        let row = self.row(suite, unit);
        row.cases += more;
        row.found += u64::from(failed);
    }

    fn states(&mut self, suite: &str, unit: &str, count: Count, threads: usize) {
        let row = self.row(suite, unit);
        row.cases += count.cases;
        *row.distinct.get_or_insert(0) += count.states;
        *row.seconds.get_or_insert(0.0) += count.busy.as_secs_f64() / threads as f64;
    }

    fn seconds(&mut self, suite: &str, more: Duration) {
        *self.row(suite, "").seconds.get_or_insert(0.0) += more.as_secs_f64();
    }
}
