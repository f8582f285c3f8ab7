//! Medians, percentiles, and the table.

/// The median; the figures are put in order.
pub(crate) fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => figures[len / 2],
        len => (figures[len / 2 - 1] + figures[len / 2]) / 2.0,
    }
}

/// What two loops did in the same rounds.
#[derive(Default)]
pub(crate) struct Pair {
    ours: Vec<f64>,
    limit: Vec<f64>,
}

impl Pair {
    pub(crate) fn add(&mut self, ours: f64, limit: f64) {
        self.ours.push(ours);
        self.limit.push(limit);
    }

    pub(crate) fn ours(&self) -> f64 {
        median(&mut self.ours.clone())
    }

    pub(crate) fn limit(&self) -> f64 {
        median(&mut self.limit.clone())
    }

    /// The median of the rounds' ratios, so that a slow round counts for both sides.
    pub(crate) fn ratio(&self) -> f64 {
        median(&mut self.ours.iter().zip(&self.limit).map(|(ours, limit)| ours / limit).collect::<Vec<_>>())
    }
}

/// Times of single calls, in nanoseconds.
#[derive(Default)]
pub(crate) struct Latencies(pub(crate) Vec<u32>);

impl Latencies {
    pub(crate) fn sorted(mut self) -> Latencies {
        self.0.sort_unstable();
        self
    }

    /// In microseconds, of sorted times.
    pub(crate) fn us(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let place = (share * self.0.len() as f64) as usize;
        self.0.get(place.min(last)).map_or(f64::NAN, |&ns| f64::from(ns) / 1000.0)
    }
}

/// A goal and what it is compared with.
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// At most so much, on any machine: more is a mistake.
    Must(f64),
    /// Printed for comparison.
    None,
}

/// Prints the table row by row.
#[derive(Default)]
pub(crate) struct Table {
    missed: usize,
    broken: usize,
}

const WIDTH: usize = 118;

impl Table {
    pub(crate) fn heading(&self, title: &str) {
        println!("\n{title}");
        println!("{}", "-".repeat(WIDTH));
        println!("{:<58}{:>12}{:>12}{:>9}{:>10}  ", "", "this log", "limit", "figure", "goal");
    }

    /// One row: our figure, the limit's (both with their unit), and the figure that has a goal.
    pub(crate) fn row(&mut self, what: &str, ours: &str, limit: &str, figure: f64, goal: Goal) {
        let (goal, verdict) = match goal {
            Goal::AtLeast(least) => (format!(">= {least}"), if figure >= least { "OK" } else { "BELOW" }),
            Goal::AtMost(most) => (format!("<= {most}"), if figure <= most { "OK" } else { "ABOVE" }),
            Goal::Must(most) => (format!("<= {most}"), if figure <= most { "OK" } else { "BROKEN" }),
            Goal::None => (String::new(), ""),
        };
        self.broken += usize::from(verdict == "BROKEN");
        self.missed += usize::from(matches!(verdict, "BELOW" | "ABOVE"));
        let figure = if figure.is_nan() { String::new() } else { format!("{figure:.2}") };
        println!("{what:<58}{ours:>12}{limit:>12}{figure:>9}{goal:>10}  {verdict}");
    }

    pub(crate) fn missed(&self) -> usize {
        self.missed
    }

    /// Goals missed that do not depend on time.
    pub(crate) fn broken(&self) -> usize {
        self.broken
    }
}

/// Operations per second.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        many if many >= 1e6 => format!("{:.2} M/s", many / 1e6),
        many if many >= 1e4 => format!("{:.1} k/s", many / 1e3),
        few => format!("{few:.0} /s"),
    }
}

pub(crate) fn us(us: f64) -> String {
    if us >= 1000.0 { format!("{:.2} ms", us / 1000.0) } else { format!("{us:.0} us") }
}

pub(crate) fn mib(bytes: f64) -> String {
    format!("{:.2} MiB", bytes / f64::from(1 << 20))
}
