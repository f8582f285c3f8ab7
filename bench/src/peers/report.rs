//! What came out: tables for the terminal and for `docs/PERFORMANCE.md`, and every figure in `docs/performance/peers.tsv`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::bars::{self, Panel};
use super::board::{Board, Column, TABLES, Unit};
use super::program::Lack;
use super::roster::Ready;
use crate::abi::{Failure, Outcome};

pub(crate) struct Report<'a> {
    pub(crate) sides: &'a [Ready],
    /// In the sides' order.
    pub(crate) versions: &'a [String],
    pub(crate) board: &'a Board,
    pub(crate) log_bytes: u64,
}

/// The tables that are drawn as well.
const BARS: [(&str, &str); 2] =
    [("durable", "Durable appends of 128 B, records in a second"), ("plain", "Not synced, and read, records in a second")];

const BEGIN: &str = "<!-- measured: peers -->\n";
const END: &str = "<!-- end: peers -->\n";

impl Report<'_> {
    /// The tables of which something was measured: title, then lines of cells, the heads first.
    fn tables(&self) -> Vec<(String, Vec<Vec<String>>)> {
        let mut tables = Vec::new();
        for (work, title, columns) in TABLES {
            let any = |side: usize| columns.iter().any(|column| self.board.rounds(side, column.key) > 0);
            if !(0..self.sides.len()).any(any) {
                continue;
            }
            let size = if work == "open" { format!(", {} MiB", self.log_bytes >> 20) } else { String::new() };
            let mut lines = vec![vec![String::new()]];
            lines[0].extend(columns.iter().map(|column| column.title.to_string()));
            for (at, ready) in self.sides.iter().enumerate() {
                let mark = if ready.side.is_wrapped && work == "durable" { " †" } else { "" };
                let mut line = vec![format!("{}{mark}", ready.side.title)];
                line.extend(columns.iter().map(|column| self.board.cell(at, column)));
                lines.push(line);
            }
            tables.push((format!("{title}{size}"), lines));
        }
        tables
    }

    /// Why cells are empty: side, what, reason.
    fn notes(&self) -> Vec<String> {
        let mut reasons: BTreeMap<(usize, String), Vec<&'static str>> = BTreeMap::new();
        for (work, _, columns) in TABLES {
            for (at, _) in self.sides.iter().enumerate() {
                for Column { key, .. } in columns {
                    let why = match self.board.why_not(at, key) {
                        Some(Lack::No(why)) => why.clone(),
                        Some(Lack::Failed(why)) => format!("failed: {why}"),
                        None => continue,
                    };
                    let works = reasons.entry((at, why)).or_default();
                    if !works.contains(&work) {
                        works.push(work);
                    }
                }
            }
        }
        reasons.into_iter().map(|((at, why), works)| format!("{} ({}): {why}", self.sides[at].side.title, works.join(", "))).collect()
    }

    pub(crate) fn print(&self) {
        for (title, lines) in self.tables() {
            println!("\n{title}");
            let lines: Vec<Vec<String>> =
                lines.into_iter().map(|line| line.into_iter().map(|cell| cell.replace("**", "")).collect()).collect();
            let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
            for line in &lines {
                let cells: Vec<String> = line
                    .iter()
                    .enumerate()
                    .map(|(at, cell)| if at == 0 { format!("{cell:<0$}", width(0)) } else { format!("{cell:>0$}", width(at)) })
                    .collect();
                println!("{}", cells.join("  "));
            }
        }
        println!("\n† threads that meet are put into one sync by a wrapper in front of the log");
        self.notes().iter().for_each(|note| println!("– {note}"));
    }

    /// Replaces what stands between the markers of `docs/PERFORMANCE.md`, the file of figures, and the bars.
    pub(crate) fn write(&self, machine: &str) -> Outcome<()> {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        fs::create_dir_all(docs.join("performance"))?;
        fs::write(docs.join("performance/peers.tsv"), self.figures())?;
        for (work, title) in
            [("durable", "Durable appends of 128 B, records in a second"), ("plain", "Not synced, and read, records in a second")]
        {
            fs::write(docs.join(format!("performance/peers-{work}.svg")), self.bars(work, title))?;
        }
        let path = docs.join("PERFORMANCE.md");
        let text = fs::read_to_string(&path)?;
        let parts = text.split_once(BEGIN).and_then(|(before, rest)| rest.split_once(END).map(|(_, after)| (before, after)));
        let (before, after) = parts.ok_or_else(|| Failure(format!("docs/PERFORMANCE.md has no place for peers: {}", BEGIN.trim())))?;
        fs::write(&path, format!("{before}{BEGIN}\n{}\n{END}{after}", self.markdown(machine)?))?;
        println!("\nwritten: docs/PERFORMANCE.md, docs/performance/peers.tsv, docs/performance/peers-*.svg");
        Ok(())
    }

    /// The rates of one table.
    fn bars(&self, work: &str, title: &str) -> String {
        let name = |at: usize| self.sides[at].side.title.replace("**", "");
        let columns = TABLES.iter().filter(|(of, _, _)| *of == work).flat_map(|(_, _, columns)| columns.iter());
        let mut panels: Vec<Panel> = columns
            .filter(|column| column.unit == Unit::PerSecond)
            .map(|column| Panel {
                title: column.title.into(),
                bars: (0..self.sides.len()).filter_map(|at| Some((name(at), self.board.median(at, column.key)?))).collect(),
            })
            .collect();
        bars::svg(title, &name(1), &name(0), &mut panels)
    }

    fn markdown(&self, machine: &str) -> Outcome<String> {
        let today = Command::new("date").args(["-u", "+%-d %B %Y"]).env("LC_ALL", "C").output()?;
        let mut text = format!("*{}, {machine}.*\n", String::from_utf8_lossy(&today.stdout).trim());
        for (title, lines) in self.tables() {
            text.push_str(&format!("\n{title}:\n\n"));
            for (at, line) in lines.iter().enumerate() {
                text.push_str(&format!("| {} |\n", line.join(" | ")));
                if at == 0 {
                    text.push_str(&format!("|---|{}\n", "--:|".repeat(line.len() - 1)));
                }
            }
        }
        for (work, _) in BARS {
            text.push_str(&format!("\n![The same as bars](performance/peers-{work}.svg)\n"));
        }
        text.push_str("\n† threads that meet are put into one sync by a wrapper in front of the log.\n\n");
        self.notes().iter().for_each(|note| text.push_str(&format!("- – {note}.\n")));
        let versions: Vec<String> =
            self.sides.iter().zip(self.versions).skip(1).map(|(ready, version)| format!("{} {version}", ready.side.name)).collect();
        text.push_str(&format!("\nVersions: {}.\n", versions.join(", ")));
        Ok(text)
    }

    /// A line for each figure: side, version, what, median, ratio to the limit, rounds; or why there is none.
    fn figures(&self) -> String {
        let mut text = "side\tversion\tfigure\tmedian\tratio\trounds\tnote\n".to_string();
        for (at, (ready, version)) in self.sides.iter().zip(self.versions).enumerate() {
            for (_, _, columns) in TABLES {
                for Column { key, .. } in columns {
                    let number = |figure: Option<f64>| figure.map_or(String::new(), |figure| format!("{figure:.4}"));
                    let note = match self.board.why_not(at, key) {
                        Some(Lack::No(why)) => why.clone(),
                        Some(Lack::Failed(why)) => format!("failed: {why}"),
                        None => String::new(),
                    };
                    let (median, rounds) = (self.board.median(at, key), self.board.rounds(at, key));
                    if rounds == 0 && note.is_empty() {
                        continue;
                    }
                    let ratio = number(self.board.ratio(at, key));
                    text.push_str(&format!("{}\t{version}\t{key}\t{}\t{ratio}\t{rounds}\t{note}\n", ready.side.name, number(median)));
                }
            }
        }
        text
    }
}
