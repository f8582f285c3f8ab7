//! `walctl dump`: records, oldest first.

use std::io::{self, BufWriter, StdoutLock, Write};

use wal_engine::error::{Code, Error};
use wal_engine::log::{Log, Record, Replay, ReplayOptions};
use wal_engine::seq;
use wal_engine::storage::posix::Directory;

use crate::cli::Dump;
use crate::failure::{Failure, Result, Verdict, shown};
use crate::output::{Output, count};
use crate::pins;
use crate::records::{Lines, hex_dump, json_line};
use crate::source::{live, readable};

/// Prints records in the form that was asked for.
pub(crate) struct Printer<'a> {
    what: &'a Dump,
    out: BufWriter<StdoutLock<'static>>,
    form: Form,
    left: u64,
}

enum Form {
    Lines(Lines),
    Hex,
    Json,
}

pub(crate) fn run(output: Output, what: &Dump) -> Result<Verdict> {
    let mut after = what.from.map_or(seq::OLDEST, |from| from - 1);
    if what.follow {
        return follow(output, what, after);
    }
    let log = readable(&what.dir)?;
    there(what, &log)?;
    let mut printer = Printer::new(output, what, log.last_seq())?;
    printer.records(&mut log.replay(after, printer.options()).map_err(|error| printer.failed(error))?, &mut after)?;
    let hidden = log.last_seq().saturating_sub(log.durable_seq());
    if hidden > 0 && !what.unsynced && what.to.is_none_or(|to| to > log.durable_seq()) {
        eprintln!(
            "walctl: {} at the end that nothing proves to be durable: --unsynced shows what can be shown",
            count(hidden, "more record")
        );
    }
    Ok(Verdict::Good)
}

/// Until it is interrupted, or nobody reads its output any more.
fn follow(output: Output, what: &Dump, mut after: u64) -> Result<Verdict> {
    let log = live(&what.dir)?;
    there(what, &log)?;
    let mut printer = Printer::new(output, what, log.last_seq().max(99_999_999))?;
    let mut replay = log.replay(after, printer.options()).map_err(|error| printer.failed(error))?;
    loop {
        printer.records(&mut replay, &mut after)?;
        replay.wait(u64::MAX).map_err(|error| printer.failed(error))?;
    }
}

/// Whether the log has what was asked for: the engine's words for that are about stores.
fn there(what: &Dump, log: &Log<Directory>) -> Result<()> {
    let Some(from) = what.from else { return Ok(()) };
    let (oldest, last) = (log.oldest_seq(), log.last_seq());
    let missing = if from > last + 1 {
        format!("the log ends at seq {last}")
    } else if from < oldest && !what.pinned {
        let pinned = if pins::list(&what.dir)?.is_ok_and(|pins| !pins.is_empty()) { ", but for what pins keep: see --pinned" } else { "" };
        format!("the records up to seq {} have been forgotten{pinned}", oldest - 1)
    } else {
        return Ok(());
    };
    Err(Failure::Damaged(format!("{}: {missing}", shown(&what.dir))))
}

impl<'a> Printer<'a> {
    pub(crate) fn new(output: Output, what: &'a Dump, last_seq: u64) -> Result<Printer<'a>> {
        let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
        let form = if what.hex {
            Form::Hex
        } else if output.json {
            Form::Json
        } else {
            let lines = Lines::new(output, last_seq);
            out.write_all(lines.head().as_bytes())?;
            Form::Lines(lines)
        };
        Ok(Printer { what, out, form, left: what.limit.unwrap_or(u64::MAX) })
    }

    fn options(&self) -> ReplayOptions {
        ReplayOptions { raw: true, unsynced: self.what.unsynced, skip_lost: self.what.skip_lost, pinned: self.what.pinned }
    }

    fn failed(&self, error: Error) -> Failure {
        match Failure::of(&self.what.dir, error) {
            Failure::Damaged(text) if error.code == Code::Gap && error.seq_last > 0 && !self.what.skip_lost => {
                Failure::Damaged(format!("{text}; --skip-lost steps over records that a repair gave up"))
            }
            failure => failure,
        }
    }

    /// Everything that there is to be shown. `last` is the last record printed.
    fn records(&mut self, replay: &mut Replay<Directory>, last: &mut u64) -> Result<()> {
        let printed = self.try_records(replay, last);
        self.flush()?;
        printed
    }

    fn try_records(&mut self, replay: &mut Replay<Directory>, last: &mut u64) -> Result<()> {
        while self.wants(*last) {
            let next = replay.next();
            match next.map_err(|error| self.failed(error))? {
                Some(record) if self.print(&record)? => *last = record.seq,
                _ => break,
            }
        }
        Ok(())
    }

    /// Whether one more may be asked for, behind this one.
    pub(crate) fn wants(&self, last: u64) -> bool {
        self.left > 0 && self.what.to.is_none_or(|to| last == seq::OLDEST || last < to)
    }

    /// Prints the next record, unless it is behind what was asked for: then false.
    pub(crate) fn print(&mut self, record: &Record<'_>) -> Result<bool> {
        if self.what.to.is_some_and(|to| record.seq > to) {
            return Ok(false);
        }
        let text = match &mut self.form {
            Form::Lines(lines) => lines.line(record),
            Form::Hex => hex_dump(record),
            Form::Json => json_line(record),
        };
        self.out.write_all(text.as_bytes())?;
        self.left -= 1;
        Ok(true)
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }
}
