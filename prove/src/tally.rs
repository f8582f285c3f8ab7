//! Counts: the table at the end of a run, the lines by which other programs report theirs, and the file in which they add up over runs.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

/// What one suite did.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub suite: String,
    pub cases: u64,
    /// What the cases are.
    pub unit: String,
    /// Distinct crash states among them, where that is counted.
    pub distinct: Option<u64>,
    pub seconds: Option<f64>,
    /// Failures.
    pub found: u64,
}

/// Begins the lines by which programs report: `tally: NAME COUNT UNIT`, the name being one word.
const LINE: &str = "tally: ";

impl Row {
    /// A line of a program's output, if it is a report.
    pub fn parse(line: &str) -> Option<Row> {
        let mut words = line.strip_prefix(LINE)?.splitn(3, ' ');
        let (suite, cases, rest) = (words.next()?, words.next()?.parse().ok()?, words.next().unwrap_or("cases"));
        // Our own lines say more behind a semicolon.
        let mut parts = rest.trim().split("; ");
        let unit = parts.next().unwrap_or("cases").to_string();
        let mut row = Row { suite: suite.to_string(), cases, unit, distinct: None, seconds: None, found: 0 };
        for part in parts {
            let (number, what) = part.split_once(' ')?;
            match what {
                "distinct" => row.distinct = Some(number.parse().ok()?),
                "seconds" => row.seconds = Some(number.parse().ok()?),
                "found" => row.found = number.parse().ok()?,
                _ => return None,
            }
        }
        Some(row)
    }

    /// The line that `parse` reads.
    pub fn line(&self) -> String {
        let mut line = format!("{LINE}{} {} {}", self.suite, self.cases, self.unit);
        // Writing to a string cannot fail.
        let _ = self.distinct.map(|distinct| write!(line, "; {distinct} distinct"));
        let _ = self.seconds.map(|seconds| write!(line, "; {seconds:.1} seconds"));
        let _ = write!(line, "; {} found", self.found);
        line
    }
}

/// The rows of a file of such lines, those of one suite added up.
pub fn read(path: &Path) -> io::Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    for row in fs::read_to_string(path)?.lines().filter_map(Row::parse) {
        match rows.iter_mut().find(|known| known.suite == row.suite && known.unit == row.unit) {
            Some(known) => {
                known.cases += row.cases;
                known.distinct = sum(known.distinct, row.distinct);
                known.seconds = sum(known.seconds, row.seconds);
                known.found += row.found;
            }
            None => rows.push(row),
        }
    }
    Ok(rows)
}

fn sum<T: std::ops::Add<Output = T> + Default>(one: Option<T>, other: Option<T>) -> Option<T> {
    (one.is_some() || other.is_some()).then(|| one.unwrap_or_default() + other.unwrap_or_default())
}

/// The table.
pub fn table(rows: &[Row]) -> String {
    let heads = ["suite", "cases", "of", "distinct states", "seconds", "found"].map(str::to_string);
    let cells = rows.iter().map(|row| {
        let seconds = row.seconds.map_or(String::new(), |seconds| format!("{seconds:.1}"));
        [
            row.suite.clone(),
            grouped(row.cases),
            row.unit.clone(),
            row.distinct.map_or(String::new(), grouped),
            seconds,
            row.found.to_string(),
        ]
    });
    let lines: Vec<[String; 6]> = std::iter::once(heads).chain(cells).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let mut table = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let width = width(column);
            // Words to the left, numbers to the right.
            let _ = if matches!(column, 0 | 2) { write!(table, "{cell:<width$}  ") } else { write!(table, "{cell:>width$}  ") };
        }
        table.truncate(table.trim_end().len());
        table.push('\n');
    }
    table
}

/// With a comma between groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// The sums over all long runs: a line for each suite, columns separated by tabs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    rows: Vec<Sum>,
}

#[derive(Clone, Debug, PartialEq)]
struct Sum {
    suite: String,
    cases: u64,
    distinct: u64,
    seconds: u64,
    runs: u64,
}

const HEAD: &str = "suite\tcases\tdistinct states\tseconds\truns";

impl Sums {
    /// What the file holds; nothing if there is none.
    pub fn read(path: &Path) -> io::Result<Sums> {
        match fs::read_to_string(path) {
            Ok(text) => Sums::parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a file of sums")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Sums::default()),
            Err(error) => Err(error),
        }
    }

    fn parse(text: &str) -> Option<Sums> {
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return None;
        }
        let row = |line: &str| {
            let mut cells = line.split('\t');
            let suite = cells.next()?.to_string();
            let mut number = || cells.next()?.parse().ok();
            Some(Sum { suite, cases: number()?, distinct: number()?, seconds: number()?, runs: number()? })
        };
        Some(Sums { rows: lines.map(row).collect::<Option<_>>()? })
    }

    fn text(&self) -> String {
        let mut text = format!("{HEAD}\n");
        for Sum { suite, cases, distinct, seconds, runs } in &self.rows {
            let _ = writeln!(text, "{suite}\t{cases}\t{distinct}\t{seconds}\t{runs}");
        }
        text
    }

    /// Adds what one run did.
    pub fn add(&mut self, rows: &[Row]) {
        for row in rows {
            let at = self.rows.iter().position(|sum| sum.suite == row.suite).unwrap_or_else(|| {
                self.rows.push(Sum { suite: row.suite.clone(), cases: 0, distinct: 0, seconds: 0, runs: 0 });
                self.rows.len() - 1
            });
            let sum = &mut self.rows[at];
            sum.cases += row.cases;
            sum.distinct += row.distinct.unwrap_or(0);
            sum.seconds += row.seconds.unwrap_or(0.0).round() as u64;
            sum.runs += 1;
        }
    }

    /// Replaces what a suite has, by a number that is no sum.
    pub fn set(&mut self, suite: &str, distinct: u64) {
        self.rows.retain(|sum| sum.suite != suite);
        self.rows.push(Sum { suite: suite.to_string(), cases: 0, distinct, seconds: 0, runs: 0 });
    }

    /// The cases of a suite so far.
    pub fn cases(&self, suite: &str) -> u64 {
        self.rows.iter().find(|sum| sum.suite == suite).map_or(0, |sum| sum.cases)
    }

    /// Replaces the file as a whole.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("tsv.new");
        fs::write(&beside, self.text())?;
        fs::rename(beside, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(suite: &str, cases: u64, distinct: Option<u64>) -> Row {
        Row { suite: suite.to_string(), cases, unit: "states".to_string(), distinct, seconds: Some(1.5), found: 0 }
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let row = row("crash", 12, Some(7));
        assert_eq!(Row::parse(&row.line()), Some(row));
        let foreign = Row::parse("tally: kills 1000 kills of a C host").unwrap();
        assert_eq!((foreign.suite.as_str(), foreign.cases, foreign.unit.as_str()), ("kills", 1000, "kills of a C host"));
        assert_eq!(Row::parse("tally: nothing"), None);
        assert_eq!(Row::parse("something else"), None);
    }

    #[test]
    fn sums_add_up_and_come_back() {
        let mut sums = Sums::default();
        sums.add(&[row("crash", 12, Some(7)), row("faults", 3, None)]);
        sums.add(&[row("crash", 8, Some(1))]);
        assert_eq!(Sums::parse(&sums.text()), Some(sums.clone()));
        assert_eq!(sums.text(), format!("{HEAD}\ncrash\t20\t8\t4\t2\nfaults\t3\t0\t2\t1\n"));
        assert_eq!((sums.cases("crash"), sums.cases("damage")), (20, 0));
        sums.set("all", 9);
        sums.set("all", 11);
        assert!(sums.text().ends_with("\nall\t0\t11\t0\t0\n"));
        assert_eq!(Sums::parse("suite\tcases\n"), None);
    }

    #[test]
    fn the_table_lines_up() {
        let table = table(&[row("crash", 1234567, Some(7)), row("f", 1, None)]);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{table}");
        assert!(table.contains("1,234,567"));
    }
}
