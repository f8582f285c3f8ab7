//! `examples-cpp/ledger.cpp`, killed again and again while its writers and its checkpoints run.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use wal_ffi_tests::{Library, Program, Tool, build, must, scratch, skipped};

const TMP: &str = env!("CARGO_TARGET_TMPDIR");
const LEDGER: Program<'static> = Program { name: "ledger", sources: &["../../examples-cpp/ledger.cpp"], arguments: &[] };
const WRITERS: usize = 4;

/// What the runs have said so far.
#[derive(Default)]
struct Ledger {
    /// Transfers of each writer that were said to be durable.
    made: [u64; WRITERS],
    /// Whether a run has begun with what the runs before had made.
    replayed: u64,
    /// Checkpoints whose n is what the store had, below records that others had appended meanwhile.
    n_is_covered: u32,
    /// Checkpoints whose n is their own record.
    n_is_its_own: u32,
}

fn numbers(words: &str) -> Vec<u64> {
    words.split(' ').filter_map(|word| word.parse().ok()).collect()
}

impl Ledger {
    /// The line with which a run begins. A transfer may have been durable and not yet been said to be.
    fn begins_with(&mut self, line: &str) {
        let Some(said) = line.strip_prefix("replayed ").map(numbers) else { panic!("a run begins with {line:?}") };
        assert_eq!(said.len(), 1 + WRITERS, "{line:?}");
        for (writer, &made) in said[1..].iter().enumerate() {
            let before = self.made[writer];
            assert!(made == before || made == before + 1, "writer {writer} had made {before}, and has {made}");
            self.made[writer] = made;
        }
        self.replayed += said[0];
    }

    fn goes_on_with(&mut self, line: &str) {
        if let Some(&[writer, number]) = line.strip_prefix("made ").map(numbers).as_deref() {
            let made = &mut self.made[writer as usize];
            assert_eq!(number, *made + 1, "writer {writer} leaves out a number");
            *made = number;
        } else if let Some(&[covered, n, last]) = line.strip_prefix("checkpoint ").map(numbers).as_deref() {
            assert!(covered <= n && n <= last, "{line}");
            self.n_is_covered += u32::from(n == covered && n + 1 < last);
            self.n_is_its_own += u32::from(n > covered);
        } else {
            panic!("a run says {line:?}");
        }
    }
}

/// Each run is killed so many milliseconds after it was ready; 0 is while it opens the store.
const PLAN_MS: [u64; 16] = [30, 0, 7, 120, 0, 1, 60, 15, 0, 90, 3, 40, 0, 20, 10, 50];

#[test]
fn nothing_that_was_made_is_lost_when_it_is_killed() {
    let program = build(LEDGER, Library::Static, TMP);
    let dir = scratch(&Path::new(TMP).join("ledger"));
    let mut ledger = Ledger::default();
    for delay_ms in PLAN_MS {
        let mut child = Command::new(&program)
            .arg(&dir)
            .arg("1000000000")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        let (mut begin, mut rest) = (String::new(), String::new());
        if delay_ms == 0 {
            sleep(Duration::from_millis(2));
        } else {
            out.read_line(&mut begin).expect("its first line");
            sleep(Duration::from_millis(delay_ms));
        }
        child.kill().expect("it can be killed");
        out.read_to_string(&mut rest).expect("the rest of what it said");
        let mut complaint = String::new();
        child.stderr.take().expect("its complaints").read_to_string(&mut complaint).expect("text");
        child.wait().expect("it has ended");
        assert_eq!(complaint, "", "the files are in {}", dir.display());
        // A line that was cut by the kill was not said.
        let whole = begin + &rest;
        let mut lines = whole.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        if let Some(line) = lines.next() {
            ledger.begins_with(line);
        }
        lines.for_each(|line| ledger.goes_on_with(line));
    }
    let output = must(Command::new(&program).arg(&dir).arg("5"));
    let said = String::from_utf8_lossy(&output.stdout);
    let mut lines = said.lines();
    ledger.begins_with(lines.next().unwrap_or_default());
    lines.for_each(|line| ledger.goes_on_with(line));

    let made: u64 = ledger.made.iter().sum();
    println!("{made} transfers, {} records replayed, {} checkpoints with n below their own record", ledger.replayed, ledger.n_is_covered);
    assert!(ledger.replayed > 0, "no run had anything to replay");
    assert!(ledger.n_is_covered > 0, "no writer came between a flush and its checkpoint");
    assert!(ledger.n_is_its_own > 0, "the last checkpoint has nobody beside it");
    // What cannot be removed is no failure of the test.
    let _still_there = std::fs::remove_dir_all(dir);
}

#[test]
fn its_threads_do_not_race() {
    if let Some(reason) = Tool::ThreadSanitizer.lacks() {
        skipped("ledger under ThreadSanitizer", reason);
        return;
    }
    let dir = scratch(&Path::new(TMP).join("ledger-threads"));
    let program = build(LEDGER, Tool::ThreadSanitizer.library(), TMP);
    must(Command::new(program).arg(&dir).arg("50").envs(Tool::ThreadSanitizer.environment().iter().copied()));
    let _still_there = std::fs::remove_dir_all(dir);
}
