//! This log, and the bare loops that show what could be reached, as sides of the comparison.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::side::{self, IdealGroup, Log, Mode, Outcome, Trouble};
use crate::abi::{self, Failure, WAL_SYNC_ALWAYS, WAL_SYNC_NONE};
use crate::bare::{self, Buffered, Durable, SEGMENT_HEADER, frame_len};

impl From<Failure> for Trouble {
    fn from(Failure(why): Failure) -> Trouble {
        Trouble::Failed(why)
    }
}

/// Serves one of them until the harness has no more requests.
pub(crate) fn serve(name: &str) -> abi::Outcome<()> {
    let version = abi::version();
    match name {
        "wal" => Ok(side::serve(&version, open_ours)?),
        "wal-direct" => Ok(side::serve(&version, open_direct)?),
        "limit" => Ok(side::serve("-", open_bare)?),
        _ => Err(Failure(format!("{name} is no side"))),
    }
}

struct Ours {
    log: abi::Log,
    half: u64,
}

fn open_ours(dir: &Path, mode: Mode) -> Outcome<Box<dyn Log>> {
    let mode = if mode == Mode::Durable { WAL_SYNC_ALWAYS } else { WAL_SYNC_NONE };
    Ok(Box::new(Ours { log: abi::Log::open(dir, &abi::options(mode))?, half: 0 }))
}

fn open_direct(dir: &Path, mode: Mode) -> Outcome<Box<dyn Log>> {
    if mode == Mode::Buffered {
        return Err(Trouble::No("what is not synced stays in the cache"));
    }
    Ok(Box::new(Ours { log: abi::Log::open(dir, &abi::direct_options())?, half: 0 }))
}

impl Log for Ours {
    fn append(&self, _thread: usize, value: &[u8]) -> Outcome<()> {
        Ok(self.log.append(value).map(drop)?)
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.log.sync()?)
    }

    fn replay(&mut self, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let mut cursor = self.log.replay(0)?;
        while let Some((_, value)) = cursor.next()? {
            visit(value);
        }
        Ok(())
    }

    fn prepare_forget(&mut self) -> Outcome<()> {
        self.half = self.log.last_seq() / 2;
        self.log.checkpoint(self.half)?;
        Ok(())
    }

    fn forget_half(&self) -> Outcome<()> {
        Ok(self.log.truncate(self.half)?)
    }
}

/// Bytes of a segment, as the library has them unless told otherwise.
const SEGMENT: usize = 16 << 20;
/// The files into which the loops append; they begin again when one is full.
const DURABLE_FILE: usize = 32 << 20;
const BUFFERED_FILE: usize = 64 << 20;
const SEED: u32 = 7;

/// What is appended to.
enum Target {
    Durable(Mutex<Durable>),
    Buffered(Buffered),
    /// Full segments that are only read.
    Nothing,
}

/// The bare loops: appends into files written ahead, durable ones and others; segments of the library's frames that are filled, read and forgotten.
struct Bare {
    dir: PathBuf,
    target: Target,
    segments: Vec<PathBuf>,
}

fn open_bare(dir: &Path, mode: Mode) -> Outcome<Box<dyn Log>> {
    let mut segments: Vec<PathBuf> = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
    segments.sort();
    // What an opening cannot do without: the last segment is verified.
    if let Some(last) = segments.last() {
        bare::scan(last, &mut Vec::new())?;
    }
    let target = match mode {
        Mode::Durable => Target::Durable(Mutex::new(Durable::new(&dir.join("durable"), DURABLE_FILE)?)),
        Mode::Buffered if segments.is_empty() => Target::Buffered(Buffered::new(&dir.join("buffered"), BUFFERED_FILE)?),
        Mode::Buffered => Target::Nothing,
    };
    Ok(Box::new(Bare { dir: dir.to_path_buf(), target, segments }))
}

fn append_durably(file: &Mutex<Durable>, value: &[u8], count: usize) -> Outcome<()> {
    Ok(file.lock().map_err(|_| "a thread panicked")?.append(value, count)?)
}

impl Log for Bare {
    fn append(&self, _thread: usize, value: &[u8]) -> Outcome<()> {
        match &self.target {
            Target::Durable(file) => append_durably(file, value, 1),
            Target::Buffered(file) => Ok(file.append(value)?),
            Target::Nothing => Err("nothing to append to")?,
        }
    }

    fn ideal_group(&self) -> Option<IdealGroup<'_>> {
        match &self.target {
            Target::Durable(file) => Some(Box::new(|value, count| append_durably(file, value, count))),
            _ => None,
        }
    }

    fn fill(&mut self, value: &[u8], count: u64) -> Outcome<()> {
        let mut segment = Vec::with_capacity(SEGMENT);
        let mut left = count;
        while left > 0 {
            segment.clear();
            segment.resize(SEGMENT_HEADER, 0);
            segment[36..40].copy_from_slice(&SEED.to_le_bytes());
            while left > 0 && segment.len() + frame_len(value.len()) <= SEGMENT {
                let header = bare::header(SEED, 1, crc32fast::hash(value), value.len() as u32, segment.len() as u64);
                segment.extend_from_slice(&header);
                segment.extend_from_slice(value);
                left -= 1;
            }
            let path = self.dir.join(format!("{:010}.wal", self.segments.len() + 1));
            fs::write(&path, &segment)?;
            self.segments.push(path);
        }
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        if let Target::Buffered(file) = &self.target {
            file.sync()?;
        }
        for segment in &self.segments {
            File::open(segment)?.sync_data()?;
        }
        Ok(())
    }

    fn replay(&mut self, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        if self.segments.is_empty() {
            return Err(Trouble::No("its file begins again when it is full"));
        }
        let mut buffer = Vec::new();
        for segment in &self.segments {
            for _ in 0..bare::scan(segment, &mut buffer)? {
                visit(&[0x5A]);
            }
        }
        Ok(())
    }

    fn forget_half(&self) -> Outcome<()> {
        for segment in &self.segments[..self.segments.len() / 2] {
            fs::rename(segment, segment.with_extension("spare"))?;
        }
        Ok(File::open(&self.dir)?.sync_all()?)
    }
}
