//! The places in the engine's sources at which something is synced, found from the ways that the recorder took down.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use super::script::{Record, Recording};
use super::tools::{Tools, must};

/// A way through the library to a sync, as the recorder numbers it.
pub fn number_of(way: &[u64]) -> u64 {
    let bytes = way.iter().flat_map(|frame| frame.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// A call in the engine: file below `engine/src`, line, function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frame {
    pub file: String,
    pub line: u32,
    pub function: String,
}

impl Frame {
    /// The function's own name: without path, types and closures.
    fn name(&self) -> &str {
        let path = self.function.trim_end_matches("::{{closure}}");
        path.rsplit("::").next().unwrap_or(path)
    }
}

/// A place at which something is synced, and how it comes to that.
#[derive(Clone, Debug)]
pub struct Site {
    /// Unique, and without line numbers.
    pub name: String,
    /// Its line.
    pub line: String,
    /// The ways to it.
    pub ways: Vec<Vec<u64>>,
}

const POSIX: &str = "storage/posix/";

/// Ways by the name and the lines that they share.
type Round = BTreeMap<(String, Vec<u32>), Vec<Vec<u64>>>;

/// The sites that these ways pass, in three rounds: the calls of the posix code, all that come through each; the lines of the engine; and these
/// again, apart by who calls them, as far as the first file that calls from outside.
pub fn sites(ways: &BTreeMap<Vec<u64>, Vec<Frame>>) -> Vec<Site> {
    let mut found: [Round; 3] = Default::default();
    for (way, frames) in ways {
        let mut engine: Vec<&Frame> = frames.iter().skip_while(|frame| frame.file.starts_with(POSIX)).collect();
        engine.dedup_by(|outer, inner| outer.file == inner.file && outer.line == inner.line);
        let content = frames.first().is_some_and(|frame| frame.name() == "sync_content");
        let posix = match engine.first() {
            _ if content => "PlainFile::sync: fdatasync of a file",
            Some(_) => "Directory::sync_dir: fsync of the log's directory",
            None => "Directory::sync_name: fsync of the directory above",
        };
        let mut add = |round: usize, name: String, lines: Vec<u32>| found[round].entry((name, lines)).or_default().push(way.clone());
        add(0, posix.into(), Vec::new());
        let Some(first) = engine.first() else { continue };
        let called_from = engine.iter().position(|frame| frame.file != first.file).unwrap_or(engine.len() - 1);
        let part = &engine[..=called_from];
        add(1, format!("{} {}", first.file, first.name()), vec![first.line]);
        let mut name = format!("{} {}", first.file, first.name());
        for pair in part.windows(2) {
            let file = if pair[0].file == pair[1].file { String::new() } else { format!("{} ", pair[1].file) };
            name.push_str(&format!(" < {file}{}", pair[1].name()));
        }
        add(2, name, part.iter().map(|frame| frame.line).collect());
    }
    let mut sites = Vec::new();
    for round in found {
        let names: Vec<String> = round.keys().map(|(name, _)| name.clone()).collect();
        for (at, ((name, lines), ways)) in round.into_iter().enumerate() {
            // Several calls in one function are numbered in their order.
            let same = names.iter().filter(|&other| *other == name).count();
            let before = names[..at].iter().filter(|&other| *other == name).count();
            let number = if same > 1 { format!(" #{}", before + 1) } else { String::new() };
            let lines: Vec<String> = lines.iter().map(u32::to_string).collect();
            sites.push(Site { name: format!("{name}{number}"), line: lines.join(" < "), ways });
        }
    }
    sites
}

/// The ways to syncs in recordings, each with the engine's frames on it, innermost first.
pub fn ways<'a>(tools: &Tools, recordings: impl IntoIterator<Item = &'a Recording>) -> BTreeMap<Vec<u64>, Vec<Frame>> {
    let mut ways: BTreeSet<&[u64]> = BTreeSet::new();
    for recording in recordings {
        for record in &recording.records {
            if let Record::Sync { way, .. } = record
                && !way.is_empty()
            {
                ways.insert(way);
            }
        }
    }
    let addresses: BTreeSet<u64> = ways.iter().flat_map(|way| way.iter().copied()).collect();
    let frames = symbolise(tools, &addresses);
    let frames_on = |way: &[u64]| way.iter().flat_map(|address| frames.get(address).cloned().unwrap_or_default()).collect();
    ways.into_iter().map(|way| (way.to_vec(), frames_on(way))).collect()
}

/// Which of the engine's calls stand at these return addresses; several where functions were inlined.
fn symbolise(tools: &Tools, addresses: &BTreeSet<u64>) -> BTreeMap<u64, Vec<Frame>> {
    let mut command = Command::new("addr2line");
    command.args(["--addresses", "--inlines", "--functions", "--demangle", "--exe"]).arg(&tools.library);
    // What is looked up is the call, and a return address stands behind it.
    command.args(addresses.iter().map(|address| format!("{:x}", address - 1)));
    let output = must(&mut command);
    let text = String::from_utf8_lossy(&output.stdout);
    let mut found: BTreeMap<u64, Vec<Frame>> = BTreeMap::new();
    let (mut address, mut function) = (0, None);
    for line in text.lines() {
        if let Some(number) = line.strip_prefix("0x") {
            address = u64::from_str_radix(number, 16).map_or(0, |number| number + 1);
            function = None;
            found.entry(address).or_default();
            continue;
        }
        let Some(name) = function.take() else {
            function = Some(line);
            continue;
        };
        let place = line.split(" (").next().unwrap_or(line);
        let Some((path, number)) = place.rsplit_once(':') else { continue };
        if let (Some((_, file)), Ok(number)) = (path.rsplit_once("engine/src/"), number.parse()) {
            let frame = Frame { file: file.into(), line: number, function: name.into() };
            found.entry(address).or_default().push(frame);
        }
    }
    found
}

/// The lines of the engine's sources that call `sync` or `sync_dir`. The posix code below is left out: what it calls at the end of a function is not on
/// the way, and it is all that these lead to.
pub fn lines_in_sources() -> BTreeSet<(String, u32)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/src");
    let mut lines = BTreeSet::new();
    let mut pending = vec![root.clone()];
    while let Some(dir) = pending.pop() {
        let entries = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                // No script here makes a pin: those have their own suite, on the simulated disk.
                if !path.ends_with("storage") && !path.ends_with("pins") {
                    pending.push(path);
                }
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let file = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
            let calls = ["file.sync()", "storage.sync_dir()"];
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or(line);
                // A planted mistake is in no library that is recorded.
                if calls.iter().any(|call| code.contains(call)) && !code.contains("plants::") {
                    lines.insert((file.clone(), number as u32 + 1));
                }
            }
        }
    }
    lines
}
