//! The figures of all sides, round by round.

use std::collections::BTreeMap;

use super::program::Lack;
use crate::figures::{median, rate, us};

/// How a column's figures are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    /// Measured in nanoseconds.
    Time,
    Plain,
}

pub(crate) struct Column {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    /// Whether the table shows how it compares with the limit of the same round.
    pub(crate) is_compared: bool,
}

const fn column(key: &'static str, title: &'static str, unit: Unit, is_compared: bool) -> Column {
    Column { key, title, unit, is_compared }
}

/// A table for each work, in the order of printing.
pub(crate) const TABLES: [(&str, &str, &[Column]); 4] = [
    (
        "durable",
        "Durable appends of 128 B, records in a second (of the limit: one caller that writes and syncs ideal batches)",
        &[
            column("d1", "1 thread", Unit::PerSecond, true),
            column("d1_p50", "p50", Unit::Time, false),
            column("d1_p99", "p99", Unit::Time, false),
            column("d1_p999", "p99.9", Unit::Time, false),
            column("d16", "16 threads", Unit::PerSecond, true),
            column("d16_max", "longest", Unit::Time, false),
            column("d64", "64 threads", Unit::PerSecond, true),
            column("d64_max", "longest", Unit::Time, false),
        ],
    ),
    (
        "plain",
        "Appends that are not synced, and replay from the page cache, one thread, records in a second",
        &[
            column("b128", "append 128 B", Unit::PerSecond, true),
            column("b1k", "append 1 KiB", Unit::PerSecond, true),
            column("r128", "replay 128 B", Unit::PerSecond, true),
            column("r1k", "replay 1 KiB", Unit::PerSecond, true),
        ],
    ),
    (
        "open",
        "A large log of records of 1 KiB: opened after `kill -9`; its older half forgotten while one thread appends 128 B durably",
        &[
            column("open", "open", Unit::Time, false),
            column("open_replay", "open + replay", Unit::Time, false),
            column("cut", "forget half", Unit::Time, false),
            column("cut_before", "longest append before", Unit::Time, false),
            column("cut_longest", "meanwhile and after", Unit::Time, false),
        ],
    ),
    (
        "syncs",
        "System calls that sync, counted by `strace`",
        &[
            column("syncs", "for a durable append, 1 thread", Unit::Plain, false),
            column("group", "durable appends for one, 16 threads", Unit::Plain, false),
            column("loose", "in 1024 appends that are not synced", Unit::Plain, false),
        ],
    ),
];

#[derive(Default)]
pub(crate) struct Board {
    figures: BTreeMap<(usize, &'static str), Vec<f64>>,
    lacks: BTreeMap<(usize, &'static str), Lack>,
}

impl Board {
    pub(crate) fn add(&mut self, side: usize, key: &'static str, figure: f64) {
        self.figures.entry((side, key)).or_default().push(figure);
    }

    /// From now on there is no figure, and none that came before counts.
    pub(crate) fn lack(&mut self, side: usize, keys: &[&'static str], lack: &Lack) {
        for &key in keys {
            self.figures.remove(&(side, key));
            self.lacks.insert((side, key), lack.clone());
        }
    }

    /// The median over the rounds.
    pub(crate) fn median(&self, side: usize, key: &'static str) -> Option<f64> {
        self.figures.get(&(side, key)).map(|figures| median(&mut figures.clone()))
    }

    /// The median of the rounds' ratios to the limit, which is the first side.
    pub(crate) fn ratio(&self, side: usize, key: &'static str) -> Option<f64> {
        let (figures, limits) = (self.figures.get(&(side, key))?, self.figures.get(&(0, key))?);
        Some(median(&mut figures.iter().zip(limits).map(|(figure, limit)| figure / limit).collect::<Vec<_>>()))
    }

    pub(crate) fn rounds(&self, side: usize, key: &'static str) -> usize {
        self.figures.get(&(side, key)).map_or(0, Vec::len)
    }

    pub(crate) fn why_not(&self, side: usize, key: &'static str) -> Option<&Lack> {
        self.lacks.get(&(side, key))
    }

    /// What the table shows.
    pub(crate) fn cell(&self, side: usize, column: &Column) -> String {
        let Some(figure) = self.median(side, column.key) else {
            return match self.why_not(side, column.key) {
                Some(Lack::Failed(_)) => "failed".into(),
                _ => "–".into(),
            };
        };
        let text = match column.unit {
            Unit::PerSecond => rate(figure).trim_end_matches("/s").trim_end().to_string(),
            Unit::Time => us(figure / 1000.0).replace("us", "µs"),
            Unit::Plain => format!("{figure:.2}"),
        };
        match self.ratio(side, column.key) {
            Some(ratio) if column.is_compared && side > 0 => format!("{text} ({ratio:.2})"),
            _ => text,
        }
    }
}
