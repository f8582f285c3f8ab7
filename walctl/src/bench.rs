//! `walctl bench`: which way of syncing a disk likes, and whether it tells the truth about it.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::cli::{Bench, Method};
use crate::failure::{Failure, Result, Verdict, shown};
use crate::output::{Output, duration, number, print, print_json, print_table, right};
use crate::system::{Disk, allocate};

/// What each sync makes durable.
const BLOCK: usize = 4096;
/// Size of the file that is written over.
const FILE_BYTES: u64 = 16 << 20;
/// Most syncs that are counted: more say nothing new.
const MOST: usize = 1_000_000;

/// Median times below which an answer is not believed, in microseconds. Getting through the kernel, over the bus and back takes longer than the first
/// for any device; only one with a cache that survives a power cut answers within the second; a disk that turns takes milliseconds.
const NOTHING_DONE_US: f64 = 5.0;
const CACHE_ONLY_US: f64 = 60.0;
const TURNING_US: f64 = 1000.0;

struct Measured {
    method: Method,
    /// Sorted, in microseconds.
    times: Vec<f64>,
}

impl Measured {
    fn at(&self, share: f64) -> f64 {
        let last = self.times.len().saturating_sub(1);
        self.times.get((share * last as f64).round() as usize).copied().unwrap_or(0.0)
    }

    fn per_second(&self) -> f64 {
        let sum: f64 = self.times.iter().sum();
        if sum > 0.0 { self.times.len() as f64 * 1_000_000.0 / sum } else { 0.0 }
    }

    fn name(&self) -> String {
        self.method.to_possible_value().map_or(String::new(), |value| value.get_name().to_string())
    }
}

/// A file that goes when it is done with.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0); // It may never have been made.
    }
}

pub(crate) fn run(output: Output, what: &Bench) -> Result<Verdict> {
    let disk = Disk::under(&what.dir).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::Other(format!("{}: no such directory", shown(&what.dir))),
        _ => Failure::io(shown(&what.dir), &error),
    })?;
    let methods = if what.methods.is_empty() { Method::value_variants().to_vec() } else { what.methods.clone() };
    let style = ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = ProgressBar::new_spinner().with_style(style);
    let mut measured: Vec<Measured> = Vec::new();
    for method in methods {
        let said = method.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string)).unwrap_or_default();
        bar.set_message(format!("{said}, {} s", what.seconds));
        bar.tick();
        let scratch = Scratch(what.dir.join(format!(".walctl-bench-{}", std::process::id())));
        let times = measure(&scratch.0, method, Duration::from_secs(what.seconds.into()));
        // Not every file system can do without a cache; where nobody asked for it in particular, nobody misses it.
        if method == Method::Direct
            && what.methods.is_empty()
            && times.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL))
        {
            continue;
        }
        measured.push(Measured { method, times: times.map_err(|error| Failure::io(shown(&scratch.0), &error))? });
    }
    bar.finish_and_clear();
    let (verdict, sentence) = judge(&disk, &measured);
    if output.json {
        print_json(&json!({
            "dir": shown(&what.dir),
            "file_system": disk.file_system,
            "device": disk.device,
            "rotational": disk.rotational,
            "write_cache": disk.write_cache,
            "methods": measured.iter().map(|one| json!({
                "method": one.name(),
                "syncs": one.times.len(),
                "syncs_per_second": one.per_second().round(),
                "p50_us": one.at(0.5),
                "p90_us": one.at(0.9),
                "p99_us": one.at(0.99),
                "max_us": one.at(1.0),
            })).collect::<Vec<_>>(),
            "verdict": verdict,
            "why": sentence,
        }))?;
    } else {
        for_people(output, &what.dir, &disk, &measured, &sentence)?;
    }
    Ok(Verdict::Good)
}

fn for_people(output: Output, dir: &Path, disk: &Disk, measured: &[Measured], sentence: &str) -> Result<()> {
    let mut about = vec![disk.file_system.clone()];
    about.extend(disk.device.as_ref().map(|device| format!("on {device}")));
    about.extend(disk.rotational.map(|turns| if turns { "said to turn".into() } else { "not turning".into() }));
    about.extend(disk.write_cache.as_ref().map(|cache| format!("cache: {cache}")));
    print(&format!("{}: {}; 4 KiB written and synced, again and again\n\n", shown(dir), about.join(", ")))?;
    let mut table = output.table();
    table.set_header(["METHOD", "PER SECOND", "MEDIAN", "90 %", "99 %", "LONGEST", "HOW"]);
    let fastest = measured.iter().map(Measured::per_second).fold(0.0, f64::max);
    for one in measured {
        let how = one.method.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string)).unwrap_or_default();
        let mark = if one.per_second() >= fastest { " *" } else { "" };
        table.add_row([
            one.name() + mark,
            number(one.per_second().round() as u64),
            duration(one.at(0.5)),
            duration(one.at(0.9)),
            duration(one.at(0.99)),
            duration(one.at(1.0)),
            how,
        ]);
    }
    right(&mut table, 1..6);
    print_table(&table)?;
    print(&format!("\n* the fastest here\n{}", output.paragraph(sentence)))?;
    Ok(())
}

/// Whether what was measured can be true.
fn judge(disk: &Disk, measured: &[Measured]) -> (&'static str, String) {
    // The library's own way counts, if it was measured.
    let Some(one) = measured.iter().find(|one| one.method == Method::Overwrite).or(measured.first()) else {
        return ("unknown", "Nothing was measured.".into());
    };
    let median = one.at(0.5);
    let (verdict, mut why) = believe(disk, median, &one.name());
    let faster = measured.iter().find(|other| other.at(0.5) * 10.0 < median);
    if let Some(other) = faster {
        let _ = write!(
            why,
            "\nBeware of {}: it answers in {} where {} takes {}, so it does not wait for the same thing.",
            other.name(),
            duration(other.at(0.5)),
            one.name(),
            duration(median)
        );
    }
    (verdict, why)
}

fn believe(disk: &Disk, median: f64, name: &str) -> (&'static str, String) {
    let text = duration(median);
    if disk.is_memory {
        ("memory", format!("This is memory ({}): nothing here survives a power cut.", disk.file_system))
    } else if median < NOTHING_DONE_US {
        (
            "implausible",
            format!("Implausible: {name} in {text} cannot have reached any device. Something ignores it, and a power cut loses data."),
        )
    } else if disk.rotational == Some(true) && median < TURNING_US {
        (
            "doubtful",
            format!(
                "Doubtful: a disk that turns does not sync in {text}; a cache answers, or it does not turn. A power cut may lose data."
            ),
        )
    } else if median < CACHE_ONLY_US {
        (
            "doubtful",
            format!(
                "Fast: {text} is possible only where a cache that survives a power cut answers, or a virtual disk that lies. Find out which."
            ),
        )
    } else {
        ("plausible", format!("Plausible: {name} takes {text}, as long as a device needs that does what it says. That is no proof."))
    }
}

fn measure(path: &Path, method: Method, time: Duration) -> io::Result<Vec<f64>> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    if method == Method::Dsync {
        options.custom_flags(libc::O_DSYNC);
    }
    let mut file = options.open(path)?;
    prepare(&file, method)?;
    if method == Method::Direct {
        file = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path)?;
    }
    // Past the cache only memory will do that begins where a block may.
    let memory = vec![0xA5; 2 * BLOCK];
    let block = &memory[memory.as_ptr().align_offset(BLOCK)..][..BLOCK];
    let mut times = Vec::new();
    let mut at = 0;
    let began = Instant::now();
    while began.elapsed() < time && times.len() < MOST {
        let before = Instant::now();
        file.write_all_at(block, at)?;
        if method != Method::Dsync {
            file.sync_data()?;
        }
        times.push(before.elapsed().as_secs_f64() * 1_000_000.0);
        at += BLOCK as u64;
        if at + BLOCK as u64 > FILE_BYTES {
            at = 0;
            // From here on it would be written over.
            match method {
                Method::Growing | Method::Allocated => {
                    file.set_len(0)?;
                    prepare(&file, method)?;
                }
                Method::Overwrite | Method::Direct | Method::Dsync => {}
            }
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

fn prepare(file: &File, method: Method) -> io::Result<()> {
    match method {
        Method::Overwrite | Method::Direct | Method::Dsync => {
            let zeros = vec![0; 1 << 20];
            for at in (0..FILE_BYTES).step_by(zeros.len()) {
                file.write_all_at(&zeros, at)?;
            }
        }
        Method::Allocated => allocate(file, FILE_BYTES)?,
        Method::Growing => {}
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(median: f64, rotational: Option<bool>, is_memory: bool) -> &'static str {
        let disk = Disk { rotational, is_memory, ..Disk::default() };
        judge(&disk, &[Measured { method: Method::Overwrite, times: vec![median; 9] }]).0
    }

    #[test]
    fn answers_that_come_too_early_are_not_believed() {
        assert_eq!(verdict(1.0, None, true), "memory");
        assert_eq!(verdict(2.0, Some(false), false), "implausible");
        assert_eq!(verdict(200.0, Some(true), false), "doubtful");
        assert_eq!(verdict(30.0, Some(false), false), "doubtful");
        assert_eq!(verdict(500.0, Some(false), false), "plausible");
        assert_eq!(verdict(8000.0, Some(true), false), "plausible");
        assert_eq!(judge(&Disk::default(), &[]).0, "unknown");
        let both = [(Method::Dsync, 80.0), (Method::Overwrite, 4000.0)].map(|(method, us)| Measured { method, times: vec![us; 3] });
        let (verdict, why) = judge(&Disk::default(), &both);
        assert!(verdict == "plausible" && why.contains("Beware of dsync"), "{why}");
    }

    #[test]
    fn shares_of_a_sorted_list() {
        let measured = Measured { method: Method::Growing, times: (1..=101).map(f64::from).collect() };
        assert_eq!((measured.at(0.5), measured.at(0.9), measured.at(1.0)), (51.0, 91.0, 101.0));
        assert_eq!(measured.name(), "growing");
    }
}
