//! Logs from crates.io, each behind the line protocol of `../../src/peers/side.rs`. The argument says which.

#[path = "../../src/peers/side.rs"]
mod side;

mod commitlog;
mod fjall;
mod group;
mod nano_wal;
mod okaywal;
mod open_wal;
mod raft_engine;
mod wal_db;
mod walrus;

use std::process::ExitCode;

use side::Opener;

const PEERS: [(&str, Opener); 8] = [
    ("raft-engine", raft_engine::open),
    ("okaywal", okaywal::open),
    ("walrus-rust", walrus::open),
    ("fjall", fjall::open),
    ("commitlog", commitlog::open),
    ("nano-wal", nano_wal::open),
    ("wal-db", wal_db::open),
    ("open-wal", open_wal::open),
];

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let Some((name, open)) = PEERS.iter().find(|(known, _)| *known == name) else {
        eprintln!("which of {:?}?", PEERS.map(|(name, _)| name));
        return ExitCode::FAILURE;
    };
    match side::serve(version(name), *open) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The version that was built, from the lock file.
fn version(name: &str) -> &'static str {
    let mut lines = include_str!("../Cargo.lock").lines();
    lines.find(|line| *line == format!("name = \"{name}\""));
    lines.next().and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"')).unwrap_or("?")
}
