//! One side of the comparison: a program that keeps one log open and does what it is told line by line. The harness starts one for each log,
//! this library and the bare loops included, and asks them in turns. Programs in C and Go speak the same lines.
//!
//! | asked | answered |
//! |---|---|
//! | (nothing, at the start) | `ready VERSION` |
//! | `open DIR durable` or `open DIR buffered` | `ok NS`: how long opening took. The mode says when an append returns |
//! | `append THREADS BYTES MS COUNT` | `ok COUNT NS P50 P99 P999 MAX`: appends until `MS` have passed or `COUNT` are done, and times of single ones |
//! | `fill COUNT BYTES` | `ok COUNT`: so many records in whatever way is fastest, then a sync |
//! | `sync` | `ok`: everything appended is durable |
//! | `replay` | `ok COUNT NS`: every record is read, in order |
//! | `truncate MS` | `ok CALL_NS LONGEST_BEFORE_NS LONGEST_NS COUNT`: durable appends of 128 B by one thread for `MS`; half-way, another thread \
//!   forgets the older half of what the log held at the beginning |
//! | `close` | `ok` |
//!
//! Times are in nanoseconds. Any request may be answered `no REASON`, if the log has no such operation, or `failed REASON`.

use std::fmt::Display;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The log has no such operation.
    No(&'static str),
    Failed(String),
}

impl<E: Display> From<E> for Trouble {
    fn from(error: E) -> Trouble {
        Trouble::Failed(error.to_string())
    }
}

pub(crate) type Outcome<T> = Result<T, Trouble>;

/// When an append returns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// When the record is on the disk.
    Durable,
    /// As soon as the log has it.
    Buffered,
}

/// Appends so many records with one sync.
pub(crate) type IdealGroup<'a> = Box<dyn Fn(&[u8], usize) -> Outcome<()> + 'a>;

/// An open log.
pub(crate) trait Log: Sync {
    /// Appends a record; `thread` counts the callers from 0.
    fn append(&self, thread: usize, value: &[u8]) -> Outcome<()>;

    /// For loops that show what could be reached at best: one caller's append in the place of `count` threads'. Logs have none.
    fn ideal_group(&self) -> Option<IdealGroup<'_>> {
        None
    }

    /// Appends `count` records in the fastest way that there is.
    fn fill(&mut self, value: &[u8], count: u64) -> Outcome<()> {
        (0..count).try_for_each(|_| self.append(0, value))
    }

    fn sync(&self) -> Outcome<()>;

    /// Shows every record to `visit`, in order.
    fn replay(&mut self, visit: &mut dyn FnMut(&[u8])) -> Outcome<()>;

    /// Forgets the older half of the records that were there when `forget_half` was prepared; appends go on meanwhile.
    fn forget_half(&self) -> Outcome<()>;

    /// Finds out where the half is.
    fn prepare_forget(&mut self) -> Outcome<()> {
        Ok(())
    }
}

pub(crate) type Opener = fn(&Path, Mode) -> Outcome<Box<dyn Log>>;

/// Answers until there is nothing more to read.
pub(crate) fn serve(version: &str, open: Opener) -> std::io::Result<()> {
    let mut log = None;
    say(&format!("ready {version}"))?;
    for line in std::io::stdin().lock().lines() {
        let answer = match answer(&line?, open, &mut log) {
            Ok(text) => format!("ok {text}"),
            Err(Trouble::No(why)) => format!("no {why}"),
            Err(Trouble::Failed(why)) => format!("failed {}", why.replace('\n', "; ")),
        };
        say(&answer)?;
    }
    Ok(())
}

fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    // In one call, which is a mark for whoever counts system calls.
    out.write_all(format!("{line}\n").as_bytes())?;
    out.flush()
}

struct Open {
    log: Box<dyn Log>,
    mode: Mode,
}

fn answer(line: &str, open: Opener, current: &mut Option<Open>) -> Outcome<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if let ["open", dir, mode] = words[..] {
        let mode = if mode == "durable" { Mode::Durable } else { Mode::Buffered };
        std::fs::create_dir_all(dir)?;
        let began = Instant::now();
        let log = open(Path::new(dir), mode)?;
        let took = began.elapsed().as_nanos();
        *current = Some(Open { log, mode });
        return Ok(took.to_string());
    }
    if words[..] == ["close"] {
        *current = None;
        return Ok(String::new());
    }
    let Open { log, mode } = current.as_mut().ok_or("no log is open")?;
    match words[..] {
        ["append", threads, bytes, ms, count] => {
            let value = vec![0x5A; bytes.parse()?];
            append(&**log, *mode, threads.parse()?, &value, Duration::from_millis(ms.parse()?), count.parse()?)
        }
        ["fill", count, bytes] => {
            log.fill(&vec![0x5A; bytes.parse()?], count.parse()?)?;
            log.sync()?;
            Ok(count.to_string())
        }
        ["sync"] => log.sync().map(|()| String::new()),
        ["replay"] => {
            let (mut count, mut wrong) = (0u64, 0u64);
            let began = Instant::now();
            log.replay(&mut |value| {
                count += 1;
                wrong += u64::from(value.first() != Some(&0x5A) || value.last() != Some(&0x5A));
            })?;
            let took = began.elapsed().as_nanos();
            if wrong > 0 { Err(format!("{wrong} wrong records"))? } else { Ok(format!("{count} {took}")) }
        }
        ["truncate", ms] => truncate(&mut **log, Duration::from_millis(ms.parse()?)),
        _ => Err(format!("not understood: {line}"))?,
    }
}

/// Times of single appends, of which every one is kept as long as they are slow.
#[derive(Default)]
struct Times {
    ns: Vec<u32>,
    count: u64,
}

/// Appends until the time is over or enough is done. Where an append takes less than reading the clock, the clock is read for many at once.
fn repeat(mode: Mode, time: Duration, most: u64, mut append: impl FnMut() -> Outcome<()>) -> Outcome<Times> {
    let mut times = Times::default();
    if mode == Mode::Durable {
        times.ns.reserve(1 << 16);
    }
    let began = Instant::now();
    let mut last = began;
    while last - began < time && times.count < most {
        let at_once = if mode == Mode::Durable { 1 } else { 256.min(most - times.count) };
        for _ in 0..at_once {
            append()?;
        }
        let now = Instant::now();
        if mode == Mode::Durable {
            times.ns.push((now - last).as_nanos().min(u128::from(u32::MAX)) as u32);
        }
        times.count += at_once;
        last = now;
    }
    Ok(times)
}

fn append(log: &dyn Log, mode: Mode, threads: usize, value: &[u8], time: Duration, count: u64) -> Outcome<String> {
    let most = if count == 0 { u64::MAX } else { count / threads as u64 };
    let (mut all, mut done) = (Vec::new(), 0);
    let mut began = Instant::now();
    if threads == 1 {
        let times = repeat(mode, time, most, || log.append(0, value))?;
        done = times.count;
        all = times.ns;
    } else if let Some(append) = log.ideal_group() {
        let times = repeat(mode, time, most, || append(value, threads))?;
        done = times.count * threads as u64;
        all = times.ns;
    } else {
        let start = Barrier::new(threads + 1);
        thread::scope(|scope| {
            let handles: Vec<_> = (0..threads)
                .map(|thread| {
                    let start = &start;
                    scope.spawn(move || {
                        start.wait();
                        repeat(mode, time, most, || log.append(thread, value))
                    })
                })
                .collect();
            start.wait();
            began = Instant::now();
            for handle in handles {
                let times = handle.join().map_err(|_| "a thread panicked")??;
                done += times.count;
                all.extend(times.ns);
            }
            Ok::<(), Trouble>(())
        })?;
    }
    let took = began.elapsed().as_nanos();
    all.sort_unstable();
    let at = |share: f64| all.get(((share * all.len() as f64) as usize).min(all.len().saturating_sub(1))).copied().unwrap_or(0);
    Ok(format!("{done} {took} {} {} {} {}", at(0.5), at(0.99), at(0.999), all.last().copied().unwrap_or(0)))
}

fn truncate(log: &mut dyn Log, time: Duration) -> Outcome<String> {
    log.prepare_forget()?;
    let log = &*log;
    let began = Instant::now();
    thread::scope(|scope| {
        let appender = scope.spawn(move || {
            let value = [0x5A; 128];
            let mut spans = Vec::with_capacity(1 << 16);
            let mut last = began;
            while last - began < time {
                log.append(0, &value)?;
                let now = Instant::now();
                spans.push((last, now));
                last = now;
            }
            Ok::<_, Trouble>(spans)
        });
        thread::sleep(time / 2);
        let called = Instant::now();
        let forgotten = log.forget_half();
        let took = called.elapsed();
        let spans = appender.join().map_err(|_| "a thread panicked")??;
        forgotten?;
        // What overlaps the call or comes after it, until the end: much of the work may be done behind the call.
        let longest = |of: &dyn Fn(&(Instant, Instant)) -> bool| spans.iter().filter(|span| of(span)).map(|(from, to)| *to - *from).max();
        let before = longest(&|span| span.1 <= called).unwrap_or_default();
        let meanwhile = longest(&|span| span.1 > called).unwrap_or_default();
        Ok(format!("{} {} {} {}", took.as_nanos(), before.as_nanos(), meanwhile.as_nanos(), spans.len()))
    })
}
