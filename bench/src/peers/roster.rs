//! Who takes part, and how each is built.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::abi::{Failure, Outcome};

pub(crate) enum Origin {
    /// This program, which serves the log and the bare loops as well.
    Own,
    /// A program of `peers-c/`, and the Debian package that it needs.
    Debian(&'static str),
    /// `peers-rust/`.
    Crate,
    /// `peers-go/`.
    Module,
}

pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) origin: Origin,
    /// Who puts the records of several threads into one sync: a wrapper in front of the log, or the log.
    pub(crate) is_wrapped: bool,
}

const fn side(name: &'static str, title: &'static str, origin: Origin, is_wrapped: bool) -> Side {
    Side { name, title, origin, is_wrapped }
}

/// The limit comes first, for the others are compared with it; then this log.
pub(crate) const ROSTER: [Side; 19] = [
    side("limit", "limit", Origin::Own, false),
    side("wal", "**this log**", Origin::Own, false),
    side("wal-direct", "**this log**, direct", Origin::Own, false),
    side("rocksdb", "RocksDB", Origin::Debian("librocksdb-dev"), false),
    side("sqlite", "SQLite", Origin::Debian("libsqlite3-dev"), true),
    side("lmdb", "LMDB", Origin::Debian("liblmdb-dev"), true),
    side("wiredtiger", "WiredTiger", Origin::Debian("libwiredtiger-dev"), true),
    side("berkeleydb", "Berkeley DB", Origin::Debian("libdb5.3-dev"), false),
    side("raft-engine", "raft-engine", Origin::Crate, false),
    side("okaywal", "okaywal", Origin::Crate, false),
    side("walrus-rust", "walrus-rust", Origin::Crate, false),
    side("fjall", "fjall", Origin::Crate, true),
    side("commitlog", "commitlog", Origin::Crate, false),
    side("nano-wal", "nano-wal", Origin::Crate, true),
    side("wal-db", "wal-db", Origin::Crate, false),
    side("open-wal", "open-wal", Origin::Crate, true),
    side("etcd", "etcd wal", Origin::Module, true),
    side("tidwall", "tidwall/wal", Origin::Module, true),
    side("raft-wal", "hashicorp/raft-wal", Origin::Module, true),
];

/// The argument that makes this program a side.
pub(crate) const SERVE: &str = "--side";

/// A side that can be started.
pub(crate) struct Ready {
    pub(crate) side: &'static Side,
    program: PathBuf,
    arguments: Vec<&'static str>,
}

impl Ready {
    pub(crate) fn command(&self) -> Command {
        let mut command = match crate::real_time_priority() {
            // Sides take turns on the cores where they spin, or those ahead of everybody else would keep this program from ending them.
            Some(priority) => {
                let mut command = Command::new("chrt");
                command.args(["--rr", &priority.to_string()]).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        // walrus-rust says much on its standard output otherwise.
        command.args(&self.arguments).env("WALRUS_QUIET", "1");
        command
    }
}

/// Builds those that are `wanted`, and says what is missing for the others.
pub(crate) fn build(wanted: impl Fn(&str) -> bool) -> Outcome<Vec<Ready>> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let this = env::current_exe()?;
    let out = this.parent().ok_or_else(|| Failure("this program has no directory".into()))?.join("peers");
    let wanted: Vec<&'static Side> = ROSTER.iter().filter(|side| matches!(side.origin, Origin::Own) || wanted(side.name)).collect();
    let crates = wanted.iter().any(|side| matches!(side.origin, Origin::Crate)).then(|| build_crates(sources));
    let modules = wanted.iter().any(|side| matches!(side.origin, Origin::Module)).then(|| build_modules(sources, &out));
    for (what, built) in [("crates.io", &crates), ("Go's modules", &modules)] {
        if let Some(Err(Failure(why))) = built {
            println!("peers of {what} are left out: {why}");
        }
    }
    let mut ready = Vec::new();
    let mut missing = Vec::new();
    for side in wanted {
        let found = match side.origin {
            Origin::Own => Some((this.clone(), vec![SERVE, side.name])),
            Origin::Debian(package) => match build_with_make(sources, &out, side.name) {
                Ok(program) => Some((program, Vec::new())),
                Err(Failure(why)) => {
                    println!("{} is left out: {why}", side.title);
                    missing.push(package);
                    None
                }
            },
            Origin::Crate => crates.as_ref().and_then(|built| built.as_ref().ok()).map(|program| (program.clone(), vec![side.name])),
            Origin::Module => modules.as_ref().and_then(|built| built.as_ref().ok()).map(|program| (program.clone(), vec![side.name])),
        };
        ready.extend(found.map(|(program, arguments)| Ready { side, program, arguments }));
    }
    if !missing.is_empty() {
        println!("missing, if the reasons above name headers or libraries: apt-get install {}", missing.join(" "));
    }
    Ok(ready)
}

/// Runs a builder that says nothing unless it fails; then what it said first.
fn run(command: &mut Command) -> Outcome<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| Failure(format!("{program}: {error}")))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().find(|line| line.contains("error") || line.contains("requires") || line.contains("cannot"));
    Err(Failure(format!("{program}: {}", first.or(said.lines().next()).unwrap_or("failed without a word").trim())))
}

fn build_with_make(sources: &Path, out: &Path, name: &str) -> Outcome<PathBuf> {
    let to = format!("OUT={}", out.display());
    run(Command::new("make").args(["--no-print-directory", "-s", "-C"]).arg(sources.join("peers-c")).args([name, &to]))?;
    Ok(out.join(name))
}

fn build_crates(sources: &Path) -> Outcome<PathBuf> {
    println!("building the peers of crates.io (the first time takes some minutes)");
    let manifest = sources.join("peers-rust/Cargo.toml");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run(Command::new(cargo).args(["build", "--release", "--locked", "--manifest-path"]).arg(&manifest))?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or(sources.join("peers-rust/target"), PathBuf::from);
    Ok(target.join("release/peers-rust"))
}

fn build_modules(sources: &Path, out: &Path) -> Outcome<PathBuf> {
    println!("building the peers of Go's modules");
    let program = out.join("peers-go");
    let go = env::var_os("GO").unwrap_or_else(|| "go".into());
    run(Command::new(go)
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(sources.join("peers-go"))
        .env("GOFLAGS", "-mod=readonly"))?;
    Ok(program)
}
