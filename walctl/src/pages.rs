//! Completions and man pages, made from the command line's own description.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::failure::{Failure, Result, Verdict};
use crate::output::print;

pub(crate) fn completions(shell: Shell) -> Result<Verdict> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "walctl", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Verdict::Good)
}

/// `walctl.1`, `walctl-dump.1` and so on.
pub(crate) fn man(dir: &Path) -> Result<Verdict> {
    let mut command = Cli::command();
    command.build();
    write_page(dir, &command, "walctl")?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        write_page(dir, sub, &format!("walctl-{}", sub.get_name()))?;
    }
    Ok(Verdict::Good)
}

fn write_page(dir: &Path, command: &clap::Command, name: &str) -> Result<()> {
    let path = dir.join(format!("{name}.1"));
    let mut page = Vec::new();
    let written = Man::new(command.clone())
        .title(name.to_uppercase())
        .manual("Write-ahead log")
        .render(&mut page)
        .and_then(|()| -> io::Result<()> { fs::write(&path, page) });
    written.map_err(|error| Failure::io(path.display(), &error))
}
