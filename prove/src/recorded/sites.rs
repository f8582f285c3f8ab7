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

/// The lines of the engine's sources that sync something: calls of `sync`, `sync_dir` and what these are made of.
pub fn lines_in_sources() -> BTreeSet<(String, u32)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/src");
    let mut lines = BTreeSet::new();
    let mut pending = vec![root.clone()];
    while let Some(dir) = pending.pop() {
        let entries = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let file = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
            let calls = ["file.sync()", "storage.sync_dir()", "sync_everything(", "sync_content(", "libc::fdatasync(", "libc::fsync("];
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or(line);
                if calls.iter().any(|call| code.contains(call)) && !code.contains("fn ") {
                    lines.insert((file.clone(), number as u32 + 1));
                }
            }
        }
    }
    lines
}
