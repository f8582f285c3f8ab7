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

/// A heading and what stands under it.
pub(crate) struct Section {
    /// The work that it belongs to, as `ONLY` names it.
    pub(crate) work: &'static str,
    pub(crate) title: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// Prints figures row by row, and keeps them for the document.
#[derive(Default)]
pub(crate) struct Table {
    missed: usize,
    broken: usize,
    work: &'static str,
    sections: Vec<Section>,
}

const WIDTH: usize = 118;

impl Table {
    /// What follows belongs to this work.
    pub(crate) fn begin(&mut self, work: &'static str) {
        self.work = work;
    }

    /// Begins a comparison with a limit; `row` adds to it.
    pub(crate) fn heading(&mut self, title: &str) {
        println!("\n{title}");
        println!("{}", "-".repeat(WIDTH));
        println!("{:<58}{:>12}{:>12}{:>9}{:>10}  ", "", "this log", "limit", "figure", "goal");
        let columns = ["", "this log", "limit", "figure", "goal", ""].map(String::from).to_vec();
        self.sections.push(Section { work: self.work, title: title.into(), columns, rows: Vec::new() });
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
        if let Some(section) = self.sections.last_mut() {
            section.rows.push([what, ours, limit, &figure, &goal, verdict].map(String::from).to_vec());
        }
    }

    /// Begins a table without goals; `line` adds to it, a cell for each column.
    pub(crate) fn grid(&mut self, title: &str, columns: &[&str]) {
        println!("\n{title}");
        println!("{}", "-".repeat(WIDTH));
        let columns: Vec<String> = columns.iter().map(|&column| column.into()).collect();
        print_line(&columns, &columns);
        self.sections.push(Section { work: self.work, title: title.into(), columns, rows: Vec::new() });
    }

    pub(crate) fn line(&mut self, cells: Vec<String>) {
        if let Some(section) = self.sections.last_mut() {
            print_line(&cells, &section.columns);
            section.rows.push(cells);
        }
    }

    pub(crate) fn sections(&self) -> &[Section] {
        &self.sections
    }

    pub(crate) fn missed(&self) -> usize {
        self.missed
    }

    /// Goals missed that do not depend on time.
    pub(crate) fn broken(&self) -> usize {
        self.broken
    }
}

/// The first cell to the left, the others to the right, as wide as their titles need.
fn print_line(cells: &[String], columns: &[String]) {
    let width = |title: &String| (title.chars().count() + 3).max(12);
    let padded = cells.iter().zip(columns).enumerate().map(|(at, (cell, title))| match at {
        0 => format!("{cell:<28}"),
        _ => format!("{cell:>width$}", width = width(title)),
    });
    println!("{}", padded.collect::<String>());
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

/// A length in the unit that suits it: 16 B, 4 KiB, 8 GiB.
pub(crate) fn bytes(bytes: f64) -> String {
    let (mut left, mut unit) = (bytes, 0);
    while left >= 1024.0 && unit < 3 {
        left /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 || (left - left.round()).abs() < 0.005 { 0 } else { 2 };
    format!("{left:.digits$} {}", ["B", "KiB", "MiB", "GiB"][unit])
}

/// Bytes per second.
pub(crate) fn speed(per_second: f64) -> String {
    match per_second / 1e6 {
        many if many >= 100.0 => format!("{many:.0} MB/s"),
        some if some >= 1.0 => format!("{some:.1} MB/s"),
        few => format!("{few:.2} MB/s"),
    }
}
