//! What a run leaves behind: its tables between the markers of `docs/PERFORMANCE.md`, its series as files beside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::abi::{Failure, Outcome};
use crate::figures::{Section, Table};

/// Where figures are kept, if they are.
pub(crate) struct Report {
    docs: Option<PathBuf>,
    /// When and where they were measured.
    caption: String,
}

impl Report {
    /// `write` has tables and plots replaced in the tree that this program was built from. `how` says how it was run.
    pub(crate) fn new(write: bool, how: &str) -> Outcome<Report> {
        if !write {
            return Ok(Report { docs: None, caption: String::new() });
        }
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        fs::create_dir_all(docs.join("performance"))?;
        Ok(Report { docs: Some(docs), caption: format!("*{}, {how}.*", today()?) })
    }

    /// Keeps the tables of every work that was measured.
    pub(crate) fn tables(&self, table: &Table) -> Outcome<()> {
        let Some(docs) = &self.docs else {
            return Ok(());
        };
        let path = docs.join("PERFORMANCE.md");
        let mut text = fs::read_to_string(&path)?;
        let mut rest = table.sections();
        while let Some(first) = rest.first() {
            let count = rest.iter().take_while(|section| section.work == first.work).count();
            let (work, later) = rest.split_at(count);
            let tables: Vec<String> = work.iter().map(markdown).collect();
            text = replaced(&text, first.work, &format!("{}\n\n{}", self.caption, tables.join("\n")))?;
            rest = later;
        }
        fs::write(&path, text)?;
        println!("\nwritten: {}", path.display());
        Ok(())
    }

    /// The path of a file beside the document, without its ending; `None` if nothing is kept.
    pub(crate) fn file(&self, name: &str) -> Option<PathBuf> {
        self.docs.as_ref().map(|docs| docs.join("performance").join(name))
    }
}

fn today() -> Outcome<String> {
    let output = Command::new("date").args(["-u", "+%-d %B %Y"]).env("LC_ALL", "C").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}

fn markdown(section: &Section) -> String {
    let line =
        |cells: &[String]| format!("| {} |\n", cells.iter().map(|cell| cell.trim().replace('|', "\\|")).collect::<Vec<_>>().join(" | "));
    let rule: Vec<String> = (0..section.columns.len()).map(|at| if at == 0 { "---" } else { "--:" }.into()).collect();
    let rows: String = section.rows.iter().map(|row| line(row)).collect();
    format!("{}\n\n{}{}{rows}", section.title.trim(), line(&section.columns), line(&rule))
}

/// `text` with other lines between the markers of `work`.
fn replaced(text: &str, work: &str, lines: &str) -> Outcome<String> {
    let (begin, end) = (format!("<!-- measured: {work} -->\n"), format!("<!-- end: {work} -->\n"));
    let parts = text.split_once(&begin).and_then(|(before, rest)| rest.split_once(&end).map(|(_, after)| (before, after)));
    let (before, after) = parts.ok_or_else(|| Failure(format!("docs/PERFORMANCE.md has no place for {work}: {}", begin.trim())))?;
    Ok(format!("{before}{begin}\n{}\n\n{end}{after}", lines.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_is_replaced() {
        let text = "a\n<!-- measured: w1 -->\nold\n<!-- end: w1 -->\nb\n<!-- measured: w2 -->\nkept\n<!-- end: w2 -->\nc\n";
        let expected = text.replace("\nold\n", "\n\nnew\n\n");
        assert_eq!(replaced(text, "w1", "new\n").map_err(|error| error.0), Ok(expected));
        assert!(replaced(text, "w3", "new").is_err());
    }
}
