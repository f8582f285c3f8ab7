//! The suite is tested: mistakes that real logs made are planted one after the other in a build of its own, and each must be caught by the tests that
//! are there for it; without any of them the same tests of the same build must pass.
//!
//! The build is that of `--cfg wal_plants`, in a target directory of its own: see `engine/src/plants.rs`. What is run are the tests of the repository
//! as they are, each in a process.
#![allow(missing_docs, reason = "a program")]

mod mistakes;

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mistakes::{C_TESTS, INTERLEAVINGS, MISTAKES, Test};

/// A test that takes longer has not caught anything.
const PATIENCE: Duration = Duration::from_secs(120);
const PLANTS: &str = "--cfg wal_plants";
/// How much of what a test says stands in the table.
const SAID_CHARS: usize = 90;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The test programs by package and name.
type Programs = BTreeMap<(String, String), PathBuf>;

/// Builds the tests of some packages; with the mistakes in, if `flags` say so.
fn build(arguments: &[&str], flags: Option<&str>, target_dir: &Path, programs: &mut Programs) -> Result<(), String> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(root()).args(["test", "--no-run", "--quiet", "--locked", "--message-format=json-render-diagnostics"]).args(arguments);
    if let Some(flags) = flags {
        cargo.env("RUSTFLAGS", flags).env_remove("CARGO_ENCODED_RUSTFLAGS");
    }
    let cargo = cargo.arg("--target-dir").arg(target_dir).stderr(Stdio::inherit());
    let output = cargo.output().map_err(|error| format!("{cargo:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{cargo:?}: {}", output.status));
    }
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some(executable) = text_of(line, "executable") else { continue };
        let package = text_of(line, "manifest_path").and_then(|path| Path::new(path).parent()?.file_name()?.to_str());
        let target = line.split_once("\"target\":{").and_then(|(_, target)| text_of(target, "name"));
        if let (Some(package), Some(target)) = (package, target) {
            programs.insert((package.into(), target.into()), executable.into());
        }
    }
    Ok(())
}

/// The text that a line of JSON, as cargo writes it, has under a key.
fn text_of<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{key}\":\""))?;
    rest.split_once('"').map(|(text, _)| text)
}

/// How a run of a test ended.
struct Outcome {
    passed: bool,
    seconds: f64,
    said: String,
}

fn program<'a>(programs: &'a Programs, test: &Test) -> Result<&'a Path, String> {
    let program = programs.get(&(test.package.into(), test.target.into()));
    program.map(PathBuf::as_path).ok_or_else(|| format!("{test} was not built"))
}

/// The tests of interleavings plant mistakes by themselves, and say in a line for each what found it.
fn run_interleavings(programs: &Programs, plant: u8) -> Result<Outcome, String> {
    static SAID: OnceLock<Result<(String, f64), String>> = OnceLock::new();
    let said = SAID.get_or_init(|| {
        let began = Instant::now();
        let output = Command::new(program(programs, &INTERLEAVINGS)?).output().map_err(|error| format!("{INTERLEAVINGS}: {error}"))?;
        Ok((String::from_utf8_lossy(&output.stdout).into(), began.elapsed().as_secs_f64()))
    });
    let (said, seconds) = said.as_ref().map_err(String::clone)?;
    let line = said.lines().find(|line| line.starts_with(&format!("mistake {plant} "))).ok_or("not tried by the interleavings")?;
    let found = line.split_once("found by ").map(|(_, found)| found);
    Ok(Outcome { passed: found.is_none(), seconds: *seconds, said: found.unwrap_or("").chars().take(SAID_CHARS).collect() })
}

/// Runs one test with a mistake planted, or none.
fn run(programs: &Programs, test: &Test, plant: u8) -> Result<Outcome, String> {
    if *test == INTERLEAVINGS {
        return run_interleavings(programs, plant);
    }
    let program = program(programs, test)?;
    let mut output = tempfile().map_err(|error| format!("no file for what {test} says: {error}"))?;
    let sink = || output.try_clone().map(Stdio::from).map_err(|error| error.to_string());
    let mut command = Command::new(program);
    command.current_dir(root().join(test.package)).args([test.name, "--exact"]).env("RUSTFLAGS", PLANTS).env("RUST_BACKTRACE", "0");
    command.env("WAL_PLANT", plant.to_string()).stdin(Stdio::null()).stdout(sink()?).stderr(sink()?);
    let began = Instant::now();
    let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if began.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let _it_is_gone = child.kill().and_then(|()| child.wait());
                return Err(format!("{test}: not done after {} s", PATIENCE.as_secs()));
            }
            Err(error) => return Err(format!("{test}: {error}")),
        }
    };
    let seconds = began.elapsed().as_secs_f64();
    let mut said = String::new();
    output.rewind().and_then(|()| output.read_to_string(&mut said)).map_err(|error| format!("{test}: {error}"))?;
    if status.success() && !said.contains("1 passed") {
        return Err(format!("{test} is not there"));
    }
    Ok(Outcome { passed: status.success(), seconds, said: complaint(&said) })
}

/// A file without a name.
fn tempfile() -> io::Result<File> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let name = format!("prove-plants.{}.{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let path = env::temp_dir().join(name);
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// The line that says what is wrong.
fn complaint(said: &str) -> String {
    let mut lines = said.lines().skip_while(|line| !line.contains(" panicked at ")).skip(1);
    // In front of what a C program says stands how it was called.
    let line = lines.find(|line| !line.contains("exit status") && !line.trim().is_empty()).unwrap_or("");
    line.trim().chars().take(SAID_CHARS).collect()
}

/// Does all of `work` on as many threads as there are processors.
fn spread<T: Sync, R: Send>(work: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((at, item)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, work.get(at)?))) {
                    let result = each(item);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

fn prove() -> Result<(), String> {
    let target_dir = env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    let began = Instant::now();
    let mut programs = Programs::new();
    let planted = target_dir.join("plants");
    let mut arguments = vec!["--package", "wal-prove", "--package", "wal-ffi-tests"];
    for test in MISTAKES.iter().flat_map(|mistake| mistake.caught_by).map(|(_, test)| test).filter(|test| **test != INTERLEAVINGS) {
        arguments.extend(["--test", test.target]);
    }
    build(&arguments, Some(PLANTS), &planted, &mut programs)?;
    // These have the mistakes in by a feature, and are built already where they have been run.
    let interleavings = ["--manifest-path", "interleave/Cargo.toml", "--release", "--features", "plants", "--test", "planted"];
    build(&interleavings, None, &target_dir, &mut programs)?;
    // The C tests build the library and themselves when they are run.
    let mut lists = Command::new(program(&programs, &C_TESTS)?);
    lists.current_dir(root()).args([C_TESTS.name, "--exact"]).env("RUSTFLAGS", PLANTS).stdout(Stdio::null());
    if !lists.status().is_ok_and(|status| status.success()) {
        return Err(format!("{lists:?} failed"));
    }
    println!("built in {:.0} s", began.elapsed().as_secs_f64());

    let began = Instant::now();
    let mut tests: Vec<&Test> = MISTAKES.iter().flat_map(|mistake| mistake.caught_by).map(|(_, test)| test).collect();
    tests.sort_unstable();
    tests.dedup();
    tests.retain(|test| **test != INTERLEAVINGS);
    let sound = spread(&tests, |test| run(&programs, test, 0));
    for (test, outcome) in tests.iter().zip(sound) {
        let outcome = outcome?;
        if !outcome.passed {
            return Err(format!("without any mistake {test} fails: {}", outcome.said));
        }
    }
    println!("{} tests pass without a mistake, in {:.0} s", tests.len(), began.elapsed().as_secs_f64());

    let began = Instant::now();
    let trials: Vec<_> = MISTAKES.iter().flat_map(|mistake| mistake.caught_by.iter().map(move |catch| (mistake, catch))).collect();
    let outcomes = spread(&trials, |(mistake, (_, test))| run(&programs, test, mistake.number));
    let (mut table, mut missed) = (String::new(), Vec::new());
    let mut last = 0;
    for ((mistake, (suite, test)), outcome) in trials.iter().zip(outcomes) {
        if mistake.number != last {
            last = mistake.number;
            let _ = writeln!(table, "{:>2}  {}: {}", mistake.number, mistake.place, mistake.what);
        }
        let (verdict, said) = match outcome {
            Ok(Outcome { passed: false, seconds, said }) => (format!("{seconds:5.1} s"), said),
            Ok(Outcome { passed: true, .. }) => {
                missed.push(format!("{} by {test}", mistake.number));
                ("MISSED".into(), String::new())
            }
            Err(error) => {
                missed.push(format!("{}: {error}", mistake.number));
                ("FAILED".into(), error)
            }
        };
        let _ = writeln!(table, "      {verdict}  {suite}: {test}\n               {said}");
    }
    print!("{table}");
    println!("{} trials in {:.0} s", trials.len(), began.elapsed().as_secs_f64());
    if !missed.is_empty() {
        return Err(format!("not caught: {}", missed.join("; ")));
    }
    println!("tally: planted-mistakes {} caught", MISTAKES.len());
    Ok(())
}

fn main() -> ExitCode {
    match prove() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("prove-plants: {error}");
            ExitCode::FAILURE
        }
    }
}
