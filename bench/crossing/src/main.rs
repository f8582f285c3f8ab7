//! What a call through the C ABI costs over the engine's own. One loop calls the engine's `Log`, the other `wal_append` and `wal_replay_next` through
//! pointers, as a program in C would; each has a log of its own, and both are part of this program, so that they are compiled alike.
//!
//!     wal-crossing time DIR ROUNDS           nanoseconds of one call: append by the engine, through the ABI, the median of the rounds'
//!                                            differences; the same three of replay
//!     wal-crossing append|replay engine|abi DIR   the calls alone, RECORDS of them, for a program that counts instructions

use std::env;
use std::ffi::{CString, c_void};
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::ptr::{null, null_mut};
use std::time::Instant;

use wal::{WAL_OK, WAL_OP_PUT, WAL_SYNC_NONE, Wal, WalCursor, WalError, WalOptions, WalRecord, WalStatus};
use wal_engine::config::{Config, SyncMode};
use wal_engine::log::{Log, Replay, ReplayOptions};
use wal_engine::storage::posix::{Directory, Modes};

type Outcome<T> = Result<T, String>;
type Append = unsafe extern "C" fn(*mut Wal, u8, *const c_void, usize, *const c_void, usize, *mut u64, *mut WalError) -> WalStatus;
type Next = unsafe extern "C" fn(*mut WalCursor, *mut WalRecord, *mut WalError) -> WalStatus;

const VALUE: [u8; 128] = [7; 128];
/// In each half of a round: less than the log syncs in the background.
const RECORDS: usize = 20_000;
const SEGMENT: u64 = 64 << 20;

/// Both ways to the same work. What the figures are of, `append` and `read`, is made part of no other function.
trait Way: Sized {
    type Cursor;
    fn open(dir: &Path) -> Outcome<Self>;
    fn append(&self, count: usize) -> Outcome<()>;
    fn cursor(&self, after: u64) -> Outcome<Self::Cursor>;
    fn read(cursor: &mut Self::Cursor, count: usize) -> Outcome<()>;
    fn sync(&self) -> Outcome<()>;
    fn last_seq(&self) -> u64;
    fn forget(&self) -> Outcome<()>;
}

struct Engine(Log<Directory>);

fn c_path(dir: &Path) -> Outcome<CString> {
    CString::new(dir.as_os_str().as_bytes()).map_err(|error| error.to_string())
}

fn engine(error: wal_engine::error::Error) -> String {
    format!("{:?}: {}", error.code, error.what)
}

impl Way for Engine {
    type Cursor = Replay<Directory>;

    fn open(dir: &Path) -> Outcome<Engine> {
        let config = Config { sync_mode: SyncMode::None, segment_bytes: SEGMENT, ..Config::default() };
        let directory = Directory::open(&c_path(dir)?, true, Modes::default()).map_err(engine)?;
        Log::open(directory, &config).map(Engine).map_err(engine)
    }

    #[inline(never)]
    fn append(&self, count: usize) -> Outcome<()> {
        // As through the ABI, nothing is known of the arguments when this is compiled.
        let (op, key, value): (u8, &[u8], &[u8]) = black_box((WAL_OP_PUT as u8, &[], &VALUE));
        for _ in 0..count {
            black_box(self.0.append(op, black_box(key), black_box(value)).map_err(engine)?);
        }
        Ok(())
    }

    fn cursor(&self, after: u64) -> Outcome<Replay<Directory>> {
        self.0.replay(after, ReplayOptions::default()).map_err(engine)
    }

    #[inline(never)]
    fn read(cursor: &mut Replay<Directory>, count: usize) -> Outcome<()> {
        for _ in 0..count {
            black_box(cursor.next().map_err(engine)?.ok_or("a record is missing")?);
        }
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        self.0.sync(wal_engine::seq::LAST).map_err(engine)
    }

    fn last_seq(&self) -> u64 {
        self.0.last_seq()
    }

    fn forget(&self) -> Outcome<()> {
        let n = self.0.checkpoint(wal_engine::seq::LAST).map_err(engine)?;
        self.0.truncate(n, false).map_err(engine)
    }
}

struct Abi(*mut Wal);

struct AbiCursor(*mut WalCursor);

impl Drop for Abi {
    fn drop(&mut self) {
        // SAFETY: opened by `open`, and nobody uses it any more.
        unsafe { wal::wal_close(self.0, null_mut()) };
    }
}

impl Drop for AbiCursor {
    fn drop(&mut self) {
        // SAFETY: opened by `cursor`, and nobody uses it any more.
        unsafe { wal::wal_replay_close(self.0) };
    }
}

fn checked(status: WalStatus) -> Outcome<()> {
    if status == WAL_OK { Ok(()) } else { Err(format!("status {status}")) }
}

impl Way for Abi {
    type Cursor = AbiCursor;

    fn open(dir: &Path) -> Outcome<Abi> {
        let mut options = MaybeUninit::<WalOptions>::uninit();
        let mut wal = null_mut();
        // SAFETY: memory of that size, which the call fills; then a string, options, and a place for the handle.
        let status = unsafe {
            wal::wal_options_init(options.as_mut_ptr(), size_of::<WalOptions>());
            let options = options.assume_init_mut();
            options.sync_mode = WAL_SYNC_NONE;
            options.segment_size = SEGMENT;
            wal::wal_open(c_path(dir)?.as_ptr(), options, &mut wal, null_mut())
        };
        checked(status).map(|()| Abi(wal))
    }

    #[inline(never)]
    fn append(&self, count: usize) -> Outcome<()> {
        let append: Append = black_box(wal::wal_append);
        let mut error = MaybeUninit::<WalError>::uninit();
        for _ in 0..count {
            let mut seq = 0;
            let value: &[u8] = black_box(&VALUE[..]);
            // SAFETY: an open log, no key, `value.len()` bytes, places for seq and error.
            checked(unsafe {
                append(self.0, WAL_OP_PUT as u8, null(), 0, value.as_ptr().cast(), value.len(), &mut seq, error.as_mut_ptr())
            })?;
            black_box(seq);
        }
        Ok(())
    }

    fn cursor(&self, after: u64) -> Outcome<AbiCursor> {
        let mut cursor = null_mut();
        // SAFETY: an open log and a place for the cursor.
        checked(unsafe { wal::wal_replay_open(self.0, after, 0, &mut cursor, null_mut()) })?;
        Ok(AbiCursor(cursor))
    }

    #[inline(never)]
    fn read(cursor: &mut AbiCursor, count: usize) -> Outcome<()> {
        let next: Next = black_box(wal::wal_replay_next);
        let mut error = MaybeUninit::<WalError>::uninit();
        for _ in 0..count {
            let mut record = MaybeUninit::<WalRecord>::uninit();
            // SAFETY: an open cursor, places for record and error.
            checked(unsafe { next(cursor.0, record.as_mut_ptr(), error.as_mut_ptr()) })?;
            black_box(&record);
        }
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        // SAFETY: an open log.
        checked(unsafe { wal::wal_sync(self.0, wal::WAL_SEQ_LAST, null_mut()) })
    }

    fn last_seq(&self) -> u64 {
        // SAFETY: an open log.
        unsafe { wal::wal_last_seq(self.0) }
    }

    fn forget(&self) -> Outcome<()> {
        let mut n = 0;
        // SAFETY: an open log, and a place for the answer.
        checked(unsafe { wal::wal_checkpoint(self.0, wal::WAL_SEQ_LAST, &mut n, null_mut()) })?;
        // SAFETY: an open log.
        checked(unsafe { wal::wal_truncate(self.0, n, 0, null_mut()) })
    }
}

/// Nanoseconds of one append, and of reading one record.
fn half<W: Way>(way: &W) -> Outcome<[f64; 2]> {
    way.sync()?;
    let after = way.last_seq();
    let each = |began: Instant| began.elapsed().as_nanos() as f64 / RECORDS as f64;
    let began = Instant::now();
    way.append(RECORDS)?;
    let append = each(began);
    let mut cursor = way.cursor(after)?;
    // The first record pays for all that lie before it in its segment.
    W::read(&mut cursor, 1)?;
    let began = Instant::now();
    W::read(&mut cursor, RECORDS - 1)?;
    Ok([append, each(began)])
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn time(dir: &Path, rounds: usize) -> Outcome<()> {
    let (engine, abi) = (Engine::open(&dir.join("engine"))?, Abi::open(&dir.join("abi"))?);
    let mut figures: [[Vec<f64>; 3]; 2] = Default::default();
    for round in 0..rounds + 4 {
        // Neither is always the one that comes after the other's work.
        let (ours, through) = if round % 2 == 0 {
            (half(&engine)?, half(&abi)?)
        } else {
            let through = half(&abi)?;
            (half(&engine)?, through)
        };
        if round % 8 == 7 {
            engine.forget()?;
            abi.forget()?;
        }
        if round >= 4 {
            for (figures, (ours, through)) in figures.iter_mut().zip(ours.into_iter().zip(through)) {
                for (figures, figure) in figures.iter_mut().zip([ours, through, through - ours]) {
                    figures.push(figure);
                }
            }
        }
    }
    let figures = figures.iter_mut().flatten().map(|figures| format!("{:.3}", median(figures)));
    println!("{}", figures.collect::<Vec<_>>().join(" "));
    Ok(())
}

/// What is counted: everything between entry and return, calls included.
#[unsafe(no_mangle)]
#[inline(never)]
fn wal_crossing_counted(work: &mut dyn FnMut()) {
    work();
}

fn count<W: Way>(work: &str, dir: &Path) -> Outcome<()> {
    let way = W::open(dir)?;
    way.append(1)?;
    way.sync()?;
    let mut outcome = Ok(());
    if work == "append" {
        wal_crossing_counted(&mut || outcome = way.append(RECORDS));
    } else {
        way.append(RECORDS)?;
        let mut cursor = way.cursor(0)?;
        W::read(&mut cursor, 1)?;
        wal_crossing_counted(&mut || outcome = W::read(&mut cursor, RECORDS));
    }
    println!("{RECORDS}");
    outcome
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["time", dir, rounds] => {
            let made = std::fs::create_dir(dir).map_err(|error| format!("{dir}: {error}"));
            made.and_then(|()| time(Path::new(dir), rounds.parse().map_err(|_| format!("{rounds} is no number of rounds"))?))
        }
        [work @ ("append" | "replay"), "engine", dir] => count::<Engine>(work, Path::new(dir)),
        [work @ ("append" | "replay"), "abi", dir] => count::<Abi>(work, Path::new(dir)),
        _ => Err("see the source's head".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("wal-crossing: {what}");
            ExitCode::FAILURE
        }
    }
}
