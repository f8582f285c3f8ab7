//! `walctl repair`: what a recovery of a damaged log would keep, and doing it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use wal_engine::config::{Config, OpenKind, Recovery};
use wal_engine::log::{Event, Listener, Log, Report};
use wal_engine::names::FileName;

use crate::cli::Repair;
use crate::failure::{Failure, Result, Verdict, shown};
use crate::output::{Output, count, number, print, print_json};
use crate::source::directory;
use crate::verify::{Found, damage_json, look, print_damages, seqs};

/// What a recovery does; said as it happens.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<String>>>);

impl Said {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Listener for Said {
    fn hear(&self, event: &Event) {
        let text = event.error().map_or(event.to_string(), |error| format!("{event}: {error}"));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
}

pub(crate) fn run(output: Output, what: &Repair) -> Result<Verdict> {
    let dir = what.dir.as_path();
    let found = look(dir)?;
    if found.damages.is_empty() {
        if output.json {
            print_json(&json!({ "dir": shown(dir), "damaged": false, "repaired": false }))?;
        } else {
            print(&format!("{}: no damage, nothing to repair\n", shown(dir)))?;
        }
        return Ok(Verdict::Good);
    }
    if found.damages.iter().all(|damage| damage.seq > 0 && damage.seq.max(damage.seq_last) <= found.report.floor_seq) {
        only_pins(output, dir, &found)?;
        return Ok(Verdict::Damaged);
    }
    if !what.yes {
        propose(output, dir, &found)?;
        return Ok(Verdict::Damaged);
    }
    let manifest = keep_manifest(dir)?;
    let said = Said::default();
    let config = Config { open: OpenKind::Existing, recovery: Recovery::Prefix, ..Config::default() };
    let log = Log::open_heard(directory(dir)?, &config, Some(Box::new(said.clone()))).map_err(|error| Failure::of(dir, error))?;
    let report = log.report();
    log.close().map_err(|error| Failure::of(dir, error))?;
    let after = look(dir)?;
    if output.json {
        print_json(&json!({
            "dir": shown(dir),
            "damaged": true,
            "repaired": true,
            "messages": said.take(),
            "oldest_seq": report.oldest_seq,
            "last_seq": report.last_seq,
            "lost_first_seq": (report.lost_first_seq > 0).then_some(report.lost_first_seq),
            "lost_last_seq": (report.lost_first_seq > 0).then_some(report.lost_last_seq),
            "files_aside": report.files_aside,
            "manifest_copy": manifest.as_deref().map(shown),
            "damages_left": after.damages.iter().map(damage_json).collect::<Vec<_>>(),
        }))?;
    } else {
        for line in said.take() {
            print(&format!("{line}\n"))?;
        }
        if let Some(manifest) = manifest {
            print(&format!("the manifest as it was: {}\n", shown(&manifest)))?;
        }
        print(&format!("\n{}", output.paragraph(&outcome(&report))))?;
        if !after.damages.is_empty() {
            print(&format!("\nstill there, and not in the way of an opening: {}\n\n", count(after.damages.len() as u64, "damage")))?;
            print_damages(output, &after.damages)?;
        }
    }
    Ok(if after.report.damage.is_some() { Verdict::Damaged } else { Verdict::Good })
}

fn propose(output: Output, dir: &Path, found: &Found) -> Result<()> {
    let report = &found.report;
    if output.json {
        let mut told = unrepaired(dir, found);
        told["oldest_seq"] = json!(report.oldest_seq);
        told["last_seq"] = json!(report.last_seq);
        told["lost_first_seq"] = json!((report.lost_first_seq > 0).then_some(report.lost_first_seq));
        told["lost_last_seq"] = json!((report.lost_first_seq > 0).then_some(report.lost_last_seq));
        print_json(&told)?;
        return Ok(());
    }
    print_found(output, dir, found)?;
    let what = if report.damage.is_none() {
        "The log opens as it is, and reading meets the damage; a repair rewrites what can be rewritten.".to_string()
    } else {
        outcome(report)
    };
    let nothing_lost = "A repair deletes nothing: a damaged segment is renamed to NNNNNNNNNN.damaged, or stays in place if records before \
                        the damage are needed, and the manifest is copied.";
    let copies = "If there is a good copy of this log, or the store holds more than what is kept, use that.";
    let [nothing_lost, what, copies] = [nothing_lost, &what, copies].map(|text| output.paragraph(text));
    print(&format!("\n{nothing_lost}{what}\n{copies}Nothing was changed; --yes does it.\n"))?;
    Ok(())
}

/// Everything that is damaged has been forgotten, and stays for the sake of pins.
fn only_pins(output: Output, dir: &Path, found: &Found) -> Result<()> {
    if output.json {
        let mut told = unrepaired(dir, found);
        told["only_pins"] = json!(true);
        print_json(&told)?;
        return Ok(());
    }
    print_found(output, dir, found)?;
    print("\n")?;
    print(&output.paragraph(
        "Only pins need what is damaged: the log works without, and a repair does nothing for them. Restore the files, or let whoever \
         reads from the pins begin anew; walctl stat names them, walctl unpin drops one.",
    ))?;
    Ok(())
}

/// What is damaged, as an object to which more can be added.
fn unrepaired(dir: &Path, found: &Found) -> Value {
    json!({
        "dir": shown(dir),
        "damaged": true,
        "repaired": false,
        "damages": found.damages.iter().map(damage_json).collect::<Vec<_>>(),
    })
}

/// The same for people.
fn print_found(output: Output, dir: &Path, found: &Found) -> Result<()> {
    print(&format!("{}: {}\n\n", shown(dir), count(found.damages.len() as u64, "damage")))?;
    print_damages(output, &found.damages)?;
    Ok(())
}

/// What is left of the log, in one sentence or two.
fn outcome(report: &Report) -> String {
    let lost = match report.lost_first_seq {
        0 => "No record is lost".to_string(),
        first => format!("Lost: seq {}", seqs(first, report.lost_last_seq)),
    };
    let kept_last = if report.lost_first_seq > 0 { report.lost_first_seq - 1 } else { report.last_seq };
    let kept = if report.oldest_seq > kept_last {
        "no record is kept".to_string()
    } else {
        format!("kept: seq {} to {}", number(report.oldest_seq), number(kept_last))
    };
    format!("{lost}; {kept}. Appending goes on at seq {}.", number(report.last_seq.saturating_add(1)))
}

/// Copies the manifest, which a recovery overwrites, beside itself; where to. There may be none.
fn keep_manifest(dir: &Path) -> Result<Option<PathBuf>> {
    let from = dir.join(FileName::Manifest.to_string());
    let bytes = match fs::read(&from) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::io(shown(&from), &error)),
    };
    for number in 1..1000 {
        let to = dir.join(format!("MANIFEST.before-repair-{number}"));
        match OpenOptions::new().write(true).create_new(true).open(&to) {
            Ok(mut file) => {
                return match file.write_all(&bytes).and_then(|()| file.sync_all()) {
                    Ok(()) => Ok(Some(to)),
                    Err(error) => Err(Failure::io(shown(&to), &error)),
                };
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Failure::io(shown(&to), &error)),
        }
    }
    Err(Failure::Other(format!("{}: there are a thousand copies of the manifest already; look at them first", shown(dir))))
}
