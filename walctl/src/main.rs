//! `walctl`: looks at write-ahead logs, checks them, repairs them, and asks a disk how it likes them.

mod bench;
mod cli;
mod dump;
mod failure;
mod image;
mod output;
mod pages;
mod pins;
mod prometheus;
mod records;
mod repair;
mod source;
mod stat;
mod system;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use failure::{Failure, Result, Verdict};
use image::is_image;
use output::Output;

fn main() -> ExitCode {
    let Cli { form, command } = Cli::parse();
    let output = Output::new(&form);
    match run(output, command) {
        Ok(verdict) => verdict.exit_code(),
        Err(failure) => {
            if !matches!(failure, Failure::NobodyReads) {
                eprintln!("walctl: {failure}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(output: Output, command: Command) -> Result<Verdict> {
    match command {
        Command::Dump(what) if is_image(&what.dir) => image::dump(output, &what),
        Command::Dump(what) => dump::run(output, &what),
        Command::Stat(what) if what.prometheus => prometheus::run(&what.dirs),
        Command::Stat(what) => {
            stat::each(output, &what.dirs, |dir| if is_image(dir) { image::stat(output, dir) } else { stat::run(output, dir) })
        }
        Command::Verify(what) if is_image(&what.dir) => image::verify(output, &what.dir),
        Command::Verify(what) => verify::run(output, &what.dir),
        Command::Repair(what) => repair::run(output, &what),
        Command::Unpin(what) => pins::unpin(output, &what),
        Command::Bench(what) => bench::run(output, &what),
        Command::Completions { shell } => pages::completions(shell),
        Command::Man { dir } => pages::man(&dir),
    }
}
