//! The limits: loops that do nothing but the system calls, and the same checksums over the same frame bytes as the library.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Condvar, LockResult, Mutex};
use std::time::{Duration, Instant};

use crc32fast::Hasher;

/// Bytes of a frame's header, and of the static header of a segment, as `docs/FORMAT.md` has them.
pub(crate) const FRAME_HEADER: usize = 24;
pub(crate) const SEGMENT_HEADER: usize = 64;
const KIND_RECORD: u8 = 1;
const KIND_END: u8 = 4;
pub(crate) const BUFFER: usize = 1 << 20;

/// A frame's length on disk.
pub(crate) fn frame_len(payload: usize) -> usize {
    FRAME_HEADER + payload.next_multiple_of(8)
}

/// A new file whose blocks are all written, with zeros, and on the disk.
pub(crate) fn zero_filled(path: &Path, len: usize) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    let zeros = vec![0; BUFFER];
    let mut at = 0;
    while at < len {
        let piece = (len - at).min(zeros.len());
        file.write_all_at(&zeros[..piece], at as u64)?;
        at += piece;
    }
    file.sync_all()?;
    Ok(file)
}

fn header_crc(seed: u32, tail: &[u8], offset: u64) -> u32 {
    let mut bytes = [0; 28];
    bytes[..20].copy_from_slice(tail);
    bytes[20..].copy_from_slice(&offset.to_le_bytes());
    let mut hasher = Hasher::new_with_initial(seed);
    hasher.update(&bytes);
    hasher.finalize()
}

/// The header of a frame that holds a record.
#[inline]
pub(crate) fn header(seed: u32, relative: u32, payload_crc: u32, len: u32, offset: u64) -> [u8; FRAME_HEADER] {
    let mut out = [0; FRAME_HEADER];
    out[4..8].copy_from_slice(&payload_crc.to_le_bytes());
    out[8..12].copy_from_slice(&len.to_le_bytes());
    out[12..16].copy_from_slice(&relative.to_le_bytes());
    out[22] = 1;
    out[23] = KIND_RECORD;
    let crc = header_crc(seed, &out[4..], offset);
    out[..4].copy_from_slice(&crc.to_le_bytes());
    out
}

/// One record after another, each written and synced.
pub(crate) struct Durable {
    file: File,
    frame: Vec<u8>,
    len: u64,
    at: u64,
}

impl Durable {
    /// Into a zero-filled file of `len` bytes, which is begun again when it is full.
    pub(crate) fn new(path: &Path, len: usize) -> io::Result<Durable> {
        Ok(Durable { file: zero_filled(path, len)?, frame: Vec::with_capacity(BUFFER), len: len as u64, at: 0 })
    }

    /// Appends `count` records in one write and one sync.
    pub(crate) fn append(&mut self, value: &[u8], count: usize) -> io::Result<()> {
        self.frame.clear();
        for _ in 0..count {
            let at = self.at + self.frame.len() as u64;
            self.frame.extend_from_slice(&header(7, 0, crc32fast::hash(value), value.len() as u32, at));
            self.frame.extend_from_slice(value);
        }
        if self.at + self.frame.len() as u64 > self.len {
            self.at = 0;
        }
        self.file.write_all_at(&self.frame, self.at)?;
        self.file.sync_data()?;
        self.at += self.frame.len() as u64;
        Ok(())
    }
}

/// One record after another, each written and synced, past the page cache: in whole blocks, the last of which is kept for the next record.
pub(crate) struct PastCache {
    file: File,
    memory: Vec<u8>,
    /// Where a block begins in `memory`.
    skew: usize,
    len: u64,
    at: u64,
}

impl PastCache {
    const BLOCK: usize = 4096;

    /// Into a zero-filled file of `len` bytes, which is begun again when it is full.
    pub(crate) fn new(path: &Path, len: usize) -> io::Result<PastCache> {
        drop(zero_filled(path, len)?);
        let file = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path)?;
        let memory = vec![0; 3 * Self::BLOCK];
        let skew = memory.as_ptr().align_offset(Self::BLOCK);
        Ok(PastCache { file, memory, skew, len: len as u64, at: 0 })
    }

    /// A record whose frame is shorter than a block.
    pub(crate) fn append(&mut self, value: &[u8]) -> io::Result<()> {
        let frame = frame_len(value.len());
        if self.at + frame as u64 > self.len {
            self.at = 0;
        }
        let blocks = &mut self.memory[self.skew..][..2 * Self::BLOCK];
        let into = self.at as usize % Self::BLOCK;
        blocks[into..][..FRAME_HEADER].copy_from_slice(&header(7, 0, crc32fast::hash(value), value.len() as u32, self.at));
        blocks[into + FRAME_HEADER..][..value.len()].copy_from_slice(value);
        let end = into + frame;
        let padded = end.next_multiple_of(Self::BLOCK);
        self.file.write_all_at(&blocks[..padded], self.at - into as u64)?;
        self.file.sync_data()?;
        if end >= Self::BLOCK {
            blocks.copy_within(Self::BLOCK.., 0);
        }
        self.at += frame as u64;
        Ok(())
    }
}

/// The least that threads can do which share syncs: each counts itself in under a lock, the last one writes and syncs a frame for each of them and
/// wakes them all.
pub(crate) struct Gathered {
    of: usize,
    state: Mutex<Gathering>,
    woken: Condvar,
}

struct Gathering {
    file: Durable,
    arrived: usize,
    turn: u64,
    /// When there is to be no further turn.
    ends: Instant,
    over: bool,
}

impl Gathered {
    /// For `of` threads, each of which appends until it hears that it is over.
    pub(crate) fn new(file: Durable, of: usize, slice: Duration) -> Gathered {
        let state = Gathering { file, arrived: 0, turn: 0, ends: Instant::now() + slice, over: false };
        Gathered { of, state: Mutex::new(state), woken: Condvar::new() }
    }

    /// Returns when the record is on the disk; false when it is over.
    pub(crate) fn append(&self, value: &[u8]) -> io::Result<bool> {
        let mut state = sane(self.state.lock())?;
        state.arrived += 1;
        if state.arrived == self.of {
            state.file.append(value, self.of)?;
            state.arrived = 0;
            state.turn += 1;
            // Decided for all at once: a thread that went on alone would wait for ever.
            state.over = Instant::now() >= state.ends;
            self.woken.notify_all();
        } else {
            let turn = state.turn;
            state = sane(self.woken.wait_while(state, |state| state.turn == turn))?;
        }
        Ok(!state.over)
    }

    /// How many records there are, and the file again.
    pub(crate) fn end(self) -> io::Result<(u64, Durable)> {
        let state = sane(self.state.into_inner())?;
        Ok((state.turn * self.of as u64, state.file))
    }
}

/// What a lock gives, or that another thread panicked under it.
fn sane<T>(locked: LockResult<T>) -> io::Result<T> {
    locked.map_err(|_| io::Error::other("a thread panicked"))
}

/// Records copied into one buffer of 1 MiB under a lock that nobody else wants, written when it is full and never synced.
pub(crate) struct Buffered {
    file: File,
    len: u64,
    state: Mutex<(Vec<u8>, u64, u32)>,
}

impl Buffered {
    pub(crate) fn new(path: &Path, len: usize) -> io::Result<Buffered> {
        Ok(Buffered { file: zero_filled(path, len)?, len: len as u64, state: Mutex::new((Vec::with_capacity(BUFFER), 0, 0)) })
    }

    #[inline]
    pub(crate) fn append(&self, value: &[u8]) -> io::Result<()> {
        let crc = crc32fast::hash(value);
        let mut state = sane(self.state.lock())?;
        let (buffer, base, seq) = &mut *state;
        if buffer.len() + frame_len(value.len()) > BUFFER {
            if *base + buffer.len() as u64 > self.len {
                *base = 0;
            }
            self.file.write_all_at(buffer, *base)?;
            *base += buffer.len() as u64;
            buffer.clear();
        }
        *seq += 1;
        let at = *base + buffer.len() as u64;
        buffer.extend_from_slice(&header(7, *seq, crc, value.len() as u32, at));
        buffer.extend_from_slice(value);
        Ok(())
    }

    /// Makes what is written durable, so that the disk is idle before the next measurement.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

/// Reads a segment in pieces of 1 MiB and verifies both checksums of every frame up to its END, or to the first that does not verify; how many
/// records it holds.
pub(crate) fn scan(path: &Path, buffer: &mut Vec<u8>) -> io::Result<u64> {
    let file = File::open(path)?;
    buffer.resize(BUFFER, 0);
    let mut first = [0; SEGMENT_HEADER];
    file.read_exact_at(&mut first, 0)?;
    let seed = u32_at(&first, 36);
    let mut base = SEGMENT_HEADER as u64;
    let mut records = 0;
    loop {
        let filled = file.read_at(buffer, base)?;
        let mut at = 0;
        while at + FRAME_HEADER <= filled {
            let frame = &buffer[at..filled];
            let len = (u32_at(frame, 8) as usize).next_multiple_of(8);
            if FRAME_HEADER + len > frame.len() {
                break;
            }
            let sound = u32_at(frame, 0) == header_crc(seed, &frame[4..FRAME_HEADER], base + at as u64)
                && u32_at(frame, 4) == crc32fast::hash(&frame[FRAME_HEADER..FRAME_HEADER + len]);
            if !sound || frame[23] == KIND_END {
                return Ok(records);
            }
            records += u64::from(frame[23] == KIND_RECORD);
            at += FRAME_HEADER + len;
        }
        if at == 0 {
            return Ok(records);
        }
        base += at as u64;
    }
}

/// Reads a segment in pieces of 1 MiB with one checksum over each.
pub(crate) fn read_and_hash(path: &Path, buffer: &mut Vec<u8>) -> io::Result<u32> {
    let file = File::open(path)?;
    buffer.resize(BUFFER, 0);
    let mut hasher = Hasher::new();
    let mut base = 0;
    loop {
        let filled = file.read_at(buffer, base)?;
        if filled == 0 {
            return Ok(hasher.finalize());
        }
        hasher.update(&buffer[..filled]);
        base += filled as u64;
    }
}

/// What an opening has to do to a disk after a kill, on files of its own: makes durable what the page cache holds of the last segment, drops it from there,
/// reads and verifies it; takes a spare with two renames and a new header, copies `copied` bytes into it, and writes both slots of a manifest. Seven
/// syncs. In `dir` stand `tail`, `spare` and `manifest`.
pub(crate) fn recover(dir: &Path, copied: usize, buffer: &mut Vec<u8>) -> io::Result<u64> {
    let open = |name: &str| OpenOptions::new().read(true).write(true).open(dir.join(name));
    let directory = File::open(dir)?;
    let tail = open("tail")?;
    tail.sync_data()?;
    // SAFETY: a file that is open; the call changes nothing of this process's memory.
    unsafe { libc::posix_fadvise(tail.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    let records = scan(&dir.join("tail"), buffer)?;
    fs::rename(dir.join("spare"), dir.join("spare.taken"))?;
    directory.sync_all()?;
    let spare = open("spare.taken")?;
    spare.write_all_at(&[1; 88], 0)?;
    spare.sync_data()?;
    fs::rename(dir.join("spare.taken"), dir.join("segment"))?;
    directory.sync_all()?;
    let mut at = SEGMENT_HEADER;
    while at < SEGMENT_HEADER + copied {
        let piece = (SEGMENT_HEADER + copied - at).min(buffer.len());
        spare.write_all_at(&buffer[..piece], at as u64)?;
        at += piece;
    }
    spare.sync_data()?;
    let manifest = open("manifest")?;
    for slot in 0..2 {
        manifest.write_all_at(&buffer[..8192], slot * 8192)?;
        manifest.sync_data()?;
    }
    Ok(records)
}
