//! Instructions, counted: valgrind executes a program on a processor of its own, and says how often it came by which instruction. The counts are the
//! same each time, whatever else the machine does.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::abi::{Failure, Outcome};
use crate::place::Place;

/// Instructions executed in one place.
pub(crate) struct Cost {
    /// The function, as the linker knows it.
    pub(crate) function: String,
    /// The program or library that it is in.
    pub(crate) object: String,
    address: u64,
    pub(crate) instructions: u64,
}

/// Runs `program` and counts what the thread that calls `function` executes in it.
pub(crate) fn count(place: &Place, program: &Path, arguments: &[&OsStr], function: &str) -> Outcome<Vec<Cost>> {
    let counts = place.fresh("callgrind.out")?;
    let mut out = std::ffi::OsString::from("--callgrind-out-file=");
    out.push(counts.path());
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--dump-instr=yes", "--compress-pos=no", "--compress-strings=no"])
        .arg(format!("--toggle-collect={function}"))
        .arg(out)
        .arg(program)
        .args(arguments)
        .output()
        .map_err(|error| Failure(format!("valgrind, which counts the instructions: {error}")))?;
    if !output.status.success() {
        return Err(Failure(format!("valgrind: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    let costs = parse(&fs::read_to_string(counts.path())?);
    if costs.is_empty() {
        return Err(Failure(format!("valgrind has counted nothing: does it know {function}?")));
    }
    Ok(costs)
}

/// The counts in a file of callgrind's: each line says what was executed at one instruction, the lines above it in which function. What a call cost
/// stands in the line after it, and is what was counted in the called function already.
fn parse(text: &str) -> Vec<Cost> {
    let (mut object, mut function, mut is_call) = (String::new(), String::new(), false);
    let mut counts: BTreeMap<(String, String, u64), u64> = BTreeMap::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("ob=") {
            object = name.into();
        } else if let Some(name) = line.strip_prefix("fn=") {
            function = name.into();
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if let Some(hex) = line.strip_prefix("0x") {
            let mut words = hex.split(' ');
            let address = words.next().and_then(|word| u64::from_str_radix(word, 16).ok());
            // Between the two stands a line of the source.
            let count = words.nth(1).and_then(|word| word.parse::<u64>().ok());
            if let (Some(address), Some(count), false) = (address, count, is_call) {
                *counts.entry((object.clone(), function.clone(), address)).or_default() += count;
            }
            is_call = false;
        }
    }
    counts.into_iter().map(|((object, function, address), instructions)| Cost { function, object, address, instructions }).collect()
}

/// For each cost, the source file that it comes from: of functions that were made part of others, and of those of the standard library, the file of
/// whoever calls them. Empty for what is not the program's own.
pub(crate) fn sources(program: &Path, costs: &[Cost]) -> Outcome<Vec<String>> {
    let name = program.to_string_lossy();
    let mut child = Command::new("addr2line")
        .args(["--addresses", "--inlines", "--exe"])
        .arg(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure(format!("addr2line, which knows where instructions come from: {error}")))?;
    let questions: String = costs.iter().map(|cost| format!("{:#x}\n", if cost.object == name { cost.address } else { 0 })).collect();
    let mut stdin = child.stdin.take().ok_or_else(|| Failure("addr2line has no input".into()))?;
    // From a thread of its own: the answers fill a pipe meanwhile.
    let asking = std::thread::spawn(move || stdin.write_all(questions.as_bytes()));
    let output = child.wait_with_output()?;
    asking.join().map_err(|_| Failure("a thread panicked".into()))??;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut answers: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.starts_with("0x") {
            answers.push(String::new());
        } else if let Some(answer) = answers.last_mut()
            && answer.is_empty()
            && !line.starts_with("/rustc/")
            && !line.starts_with("??")
        {
            *answer = line.rsplit_once(':').map_or(line, |(file, _)| file).into();
        }
    }
    if answers.len() == costs.len() {
        Ok(answers)
    } else {
        Err(Failure(format!("addr2line: {} answers to {} questions", answers.len(), costs.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_costs_is_not_counted_twice() {
        let text = "positions: instr line\nevents: Ir\nob=/bin/p\nfl=a.rs\nfn=f\n0x10 1 5\ncfn=g\ncalls=2 0x20 7\n0x12 1 100\n0x14 2 3\nfn=g\n0x20 7 100\n0x10 9 1\n";
        let found: Vec<_> = parse(text).into_iter().map(|cost| (cost.function, cost.address, cost.instructions)).collect();
        assert_eq!(found, [("f".into(), 0x10, 5), ("f".into(), 0x14, 3), ("g".into(), 0x10, 1), ("g".into(), 0x20, 100)]);
    }
}
