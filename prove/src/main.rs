//! `prove`: tries to make the log lose something, and counts what it tried. `make prove` runs it among others.
//!
//! ```text
//! prove                         the size for every change
//! prove --long MINUTES          as long as that, from where the last long run ended, with other samples; adds up in docs/proof-counts.tsv
//! prove --seed NUMBER           the samples of another run
//! prove --repeat WHICH          one case again, as a failure names it
//! prove --tally FILE            appends the counts to FILE instead of printing them as a table
//! prove --table FILE            only prints the counts in FILE as a table
//! prove --threads NUMBER        instead of one for each processor
//! ```

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wal_prove::run::{Failed, Run};
use wal_prove::suites::{Kind, Rows, Size, Suites};
use wal_prove::tally::{self, Sums};

/// Where the counts of long runs add up, seen from the root of the repository.
const SUMS: &str = "docs/proof-counts.tsv";
/// Beside it what the estimate of all distinct states follows from, and the row that has it.
const SKETCH: &str = "docs/proof-states.sketch";
const ALL_STATES: &str = "all-distinct-states";
/// Samples of the run for every change: always the same, so that a failure is due to the change.
const CI_SEED: u64 = 3;

#[derive(Default)]
struct Arguments {
    long: Option<f64>,
    seed: Option<u64>,
    repeat: Option<String>,
    tally: Option<String>,
    table: Option<String>,
    threads: Option<usize>,
}

impl Arguments {
    fn parse(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = Arguments::default();
        while let Some(name) = given.next() {
            let value = given.next().ok_or(format!("{name} needs a value, or is unknown"))?;
            let wrong = || format!("{name} {value}: not a number");
            match name.as_str() {
                "--long" => arguments.long = Some(value.parse().map_err(|_| wrong())?),
                "--seed" => arguments.seed = Some(value.parse().map_err(|_| wrong())?),
                "--threads" => arguments.threads = Some(value.parse().map_err(|_| wrong())?),
                "--repeat" => arguments.repeat = Some(value),
                "--tally" => arguments.tally = Some(value),
                "--table" => arguments.table = Some(value),
                _ => return Err(format!("unknown: {name}")),
            }
        }
        Ok(arguments)
    }
}

fn main() -> ExitCode {
    let outcome = Arguments::parse(std::env::args().skip(1)).and_then(|arguments| prove(&arguments));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("prove: {error}");
            ExitCode::FAILURE
        }
    }
}

fn prove(arguments: &Arguments) -> Result<(), String> {
    if let Some(file) = &arguments.table {
        let rows = tally::read(Path::new(file)).map_err(|error| format!("{file}: {error}"))?;
        print!("{}", tally::table(&rows));
        return Ok(());
    }
    if let Some(which) = &arguments.repeat {
        return repeat(which);
    }
    let threads = arguments.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |threads| threads.get()));
    let size = if arguments.long.is_some() { Size::Long } else { Size::Ci };
    let fresh = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seed = arguments.seed.unwrap_or_else(|| if size == Size::Ci { CI_SEED } else { fresh() });
    let run = Run::new(threads, seed);
    println!("prove: {threads} threads, seed {seed}");
    let suites = Suites::new(size)?;
    let mut rows = Rows::default();
    let failed = match arguments.long {
        Some(minutes) => {
            let until = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
            let before = Sums::read(Path::new(SUMS)).map_err(|error| format!("{SUMS}: {error}"))?;
            run.seen.sketch.read(Path::new(SKETCH)).map_err(|error| format!("{SKETCH}: {error}"))?;
            let failed = suites.until(&run, until, &before, &mut rows, |rows| save(&before, rows, &run))?;
            println!("about {} distinct crash states in all long runs", run.seen.sketch.estimate());
            failed
        }
        None => Kind::ALL.into_iter().find_map(|kind| {
            let (done, failed) = suites.whole(&run, kind);
            rows.add(kind, &done, failed.is_some(), threads);
            failed.map(|failed| (kind, failed))
        }),
    };
    match &arguments.tally {
        Some(file) => append(Path::new(file), &rows).map_err(|error| format!("{file}: {error}"))?,
        None => print!("{}", tally::table(&rows.rows)),
    }
    failed.map_or(Ok(()), |(kind, failed)| Err(describe(size, kind, seed, &failed)))
}

/// Adds what this run has done so far to what was done before it.
fn save(before: &Sums, rows: &Rows, run: &Run) -> Result<(), String> {
    let mut sums = before.clone();
    sums.add(&rows.rows);
    sums.set(ALL_STATES, run.seen.sketch.estimate());
    sums.write(Path::new(SUMS)).map_err(|error| format!("{SUMS}: {error}"))?;
    run.seen.sketch.write(Path::new(SKETCH)).map_err(|error| format!("{SKETCH}: {error}"))
}

fn append(file: &Path, rows: &Rows) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    rows.rows.iter().try_for_each(|row| writeln!(file, "{}", row.line()))
}

fn describe(size: Size, kind: Kind, seed: u64, failed: &Failed) -> String {
    let size = if size == Size::Ci { "ci" } else { "long" };
    let which = format!("{size}:{}:{seed}:{}", kind.name(), failed.item);
    format!("FAILED\n{}\nagain: cargo run --profile prove -p wal-prove -- --repeat {which}", failed.failure)
}

/// One case again.
fn repeat(which: &str) -> Result<(), String> {
    let wrong = || format!("--repeat {which}: not SIZE:SUITE:SEED:ITEM");
    let [size, kind, seed, item] = which.split(':').collect::<Vec<_>>().try_into().map_err(|_| wrong())?;
    let size = match size {
        "ci" => Size::Ci,
        "long" => Size::Long,
        _ => return Err(wrong()),
    };
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).ok_or_else(wrong)?;
    let (seed, item) = (seed.parse().map_err(|_| wrong())?, item.parse().map_err(|_| wrong())?);
    let counts = Suites::new(size)?
        .item(&Run::new(1, seed), kind, seed, item)
        .map_err(|failure| describe(size, kind, seed, &Failed { item, failure }))?;
    println!("nothing found: {counts:?}");
    Ok(())
}
