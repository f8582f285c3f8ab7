//! Writing past the system's cache: whole blocks, from memory that begins at a multiple of one.
//!
//! Frames end anywhere, blocks do not. So the last two blocks that were written are kept, and are written again with what comes into them: two, because the
//! zeros behind the frames may reach into the next one. Behind the last byte of a write, what a block held that was not kept is lost, and zeros are there
//! instead: a log writes forwards, and what lies in front of it is worth nothing. Reading goes through the cache, which the system keeps in step.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::Result;
use crate::memory;
use crate::storage::IoError;

/// What offsets, lengths and addresses are multiples of: as much as any device asks for.
pub(super) const BLOCK_BYTES: usize = 4096;
/// How much is kept of what was written last.
const KEPT_BYTES: usize = 2 * BLOCK_BYTES;
/// Largest write, in bytes. What is larger goes through the cache: to copy it here costs more than to go past the cache saves.
const STAGED_BYTES: usize = 256 << 10;

/// The memory that a directory's files are written from.
#[derive(Debug)]
pub(super) struct Stage {
    inner: Mutex<Staged>,
    files: AtomicU64,
}

#[derive(Debug)]
struct Staged {
    memory: Vec<u8>,
    /// Where in `memory` the first block begins.
    skew: usize,
    kept: Option<Kept>,
}

/// Blocks that stand first in memory as they stand in a file.
#[derive(Clone, Copy, Debug)]
struct Kept {
    file: u64,
    offset: u64,
    len: usize,
}

impl Stage {
    pub(super) fn new() -> Result<Stage> {
        // A write may begin at the end of one block and end at the beginning of another.
        let memory = memory::zeroed(STAGED_BYTES + 3 * BLOCK_BYTES, "no memory to write past the system's cache from")?;
        let skew = memory.as_ptr().align_offset(BLOCK_BYTES);
        Ok(Stage { inner: Mutex::new(Staged { memory, skew, kept: None }), files: AtomicU64::new(0) })
    }

    /// A number for a file that was opened.
    pub(super) fn enter(&self) -> u64 {
        self.files.fetch_add(1, Ordering::Relaxed)
    }

    /// Has a block from here, or into here, tried out on a file of which nothing is kept.
    pub(super) fn try_out(
        &self,
        attempt: impl FnOnce(&mut [u8]) -> core::result::Result<(), IoError>,
    ) -> core::result::Result<(), IoError> {
        let mut staged = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Staged { memory, skew, kept } = &mut *staged;
        *kept = None;
        memory.get_mut(*skew..).and_then(|blocks| blocks.get_mut(..BLOCK_BYTES)).map_or(Ok(()), attempt)
    }

    /// Writes `bytes` at `offset` of `file`, and the rest of the blocks that they begin and end in. `read` reads a block, `write` writes blocks. `None` if this
    /// write is not one for here.
    pub(super) fn write(
        &self,
        file: u64,
        offset: u64,
        bytes: &[u8],
        read: impl FnOnce(u64, &mut [u8]) -> core::result::Result<usize, IoError>,
        write: impl FnOnce(u64, &[u8]) -> core::result::Result<(), IoError>,
    ) -> Option<core::result::Result<(), IoError>> {
        if bytes.is_empty() {
            return Some(Ok(()));
        }
        let mut staged = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Staged { memory, skew, kept } = &mut *staged;
        if bytes.len() > STAGED_BYTES {
            // What is kept of this file would not be what it holds.
            let _lost = kept.take_if(|kept| kept.file == file);
            return None;
        }
        let into_block = (offset % BLOCK_BYTES as u64) as usize;
        let first = offset - into_block as u64;
        let blocks = memory.get_mut(*skew..)?;
        // Nothing is kept until all of this is done.
        let before = kept.take().filter(|kept| kept.file == file);
        // How much of the file from `first` on stands in memory.
        let known = match before {
            Some(before) if before.offset == first => before.len,
            Some(before) if before.offset + BLOCK_BYTES as u64 == first && before.len == KEPT_BYTES => {
                blocks.copy_within(BLOCK_BYTES..KEPT_BYTES, 0);
                BLOCK_BYTES
            }
            _ if into_block == 0 => 0,
            _ => {
                let block = blocks.get_mut(..BLOCK_BYTES)?;
                match read(first, block) {
                    Ok(got) => block.get_mut(got..)?.fill(0),
                    Err(io) => return Some(Err(io)),
                }
                BLOCK_BYTES
            }
        };
        let end = into_block + bytes.len();
        let padded = end.next_multiple_of(BLOCK_BYTES);
        blocks.get_mut(into_block..end)?.copy_from_slice(bytes);
        if padded > known {
            blocks.get_mut(end.max(known)..padded)?.fill(0);
        }
        let written = write(first, blocks.get(..padded)?);
        let stands = padded.max(known);
        *kept = Some(match written {
            Ok(()) => {
                let passed = stands.saturating_sub(KEPT_BYTES);
                blocks.copy_within(passed..stands, 0);
                Kept { file, offset: first + passed as u64, len: stands - passed }
            }
            // What stands in front of `offset` is what was written before, and what stands there on the disk may be anything.
            Err(_) => {
                blocks.get_mut(into_block..BLOCK_BYTES)?.fill(0);
                Kept { file, offset: first, len: BLOCK_BYTES }
            }
        });
        Some(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::IoKind;

    const BLOCK: u64 = BLOCK_BYTES as u64;
    const EIO: IoError = IoError { kind: IoKind::Other, os_error: 5 };

    /// A disk of whole blocks, and how often it was asked.
    struct Disk {
        bytes: Vec<u8>,
        reads: usize,
        writes: Vec<(u64, usize)>,
    }

    impl Disk {
        /// Full of what blocks held before.
        fn new(blocks: usize) -> Disk {
            Disk { bytes: vec![0xEE; blocks * BLOCK_BYTES], reads: 0, writes: Vec::new() }
        }

        /// What was written ends at `at`, in zeros as far as the block of `zeros`; the block behind that one is as it was.
        fn ends_at(&self, at: u64, zeros: u64) {
            let begin = at.saturating_sub(2 * BLOCK);
            assert_eq!(self.bytes[begin as usize..at as usize], pattern(begin, (at - begin) as usize), "in front of {at}");
            let end = zeros.next_multiple_of(BLOCK) as usize;
            assert!(self.bytes[at as usize..end].iter().all(|&byte| byte == 0), "behind {at}");
            assert!(self.bytes[end..][..BLOCK_BYTES].iter().all(|&byte| byte == 0xEE), "the block behind {at}");
        }

        fn write(&mut self, stage: &Stage, file: u64, offset: u64, bytes: &[u8]) -> Option<core::result::Result<(), IoError>> {
            let Disk { bytes: disk, reads, writes } = self;
            let disk = core::cell::RefCell::new(disk);
            stage.write(
                file,
                offset,
                bytes,
                |at, block| {
                    *reads += 1;
                    block.copy_from_slice(&disk.borrow()[at as usize..][..BLOCK_BYTES]);
                    Ok(BLOCK_BYTES)
                },
                |at, blocks| {
                    assert!(at.is_multiple_of(BLOCK) && blocks.len().is_multiple_of(BLOCK_BYTES) && !blocks.is_empty());
                    assert_eq!(blocks.as_ptr().align_offset(BLOCK_BYTES), 0);
                    writes.push((at, blocks.len()));
                    disk.borrow_mut()[at as usize..][..blocks.len()].copy_from_slice(blocks);
                    Ok(())
                },
            )
        }
    }

    fn pattern(from: u64, len: usize) -> Vec<u8> {
        (from..from + len as u64).map(|at| (at % 251) as u8).collect()
    }

    /// Between two large pieces of a frame nothing was gathered.
    #[test]
    fn nothing_is_written_of_nothing() {
        let stage = Stage::new().expect("memory");
        let mut disk = Disk::new(2);
        assert_eq!(disk.write(&stage, 1, 0, &[]), Some(Ok(())));
        assert_eq!(disk.write(&stage, 1, 0, &pattern(0, BLOCK_BYTES)), Some(Ok(())));
        for at in [0, 7, BLOCK, BLOCK + 7] {
            assert_eq!(disk.write(&stage, 1, at, &[]), Some(Ok(())));
        }
        assert_eq!((disk.reads, disk.writes.as_slice()), (0, [(0, BLOCK_BYTES)].as_slice()));
        assert_eq!(disk.bytes[..BLOCK_BYTES], pattern(0, BLOCK_BYTES));
    }

    /// As a log writes: one piece behind the other, of any length.
    #[test]
    fn pieces_end_up_one_behind_the_other() {
        let stage = Stage::new().expect("memory");
        let mut disk = Disk::new(200);
        let mut at = 0;
        for number in 0..300u64 {
            let len = (1 + number * number * 37 % 5000) as usize;
            assert_eq!(disk.write(&stage, 1, at, &pattern(at, len)), Some(Ok(())));
            at += len as u64;
            disk.ends_at(at, at);
        }
        assert_eq!(disk.bytes[..at as usize], pattern(0, at as usize));
        assert_eq!((disk.reads, disk.writes.len()), (0, 300));
    }

    #[test]
    fn a_piece_that_begins_a_block_needs_no_read() {
        let stage = Stage::new().expect("memory");
        let mut disk = Disk::new(4);
        assert_eq!(disk.write(&stage, 1, BLOCK, &pattern(BLOCK, 2 * BLOCK_BYTES)), Some(Ok(())));
        assert_eq!(disk.write(&stage, 1, 3 * BLOCK, &[7]), Some(Ok(())));
        assert_eq!((disk.reads, disk.writes.as_slice()), (0, [(BLOCK, 2 * BLOCK_BYTES), (3 * BLOCK, BLOCK_BYTES)].as_slice()));
    }

    /// What is in front of a piece, as in a segment that is gone on with, is read once.
    #[test]
    fn a_piece_inside_a_block_keeps_what_is_beside_it() {
        let stage = Stage::new().expect("memory");
        let mut disk = Disk::new(1);
        for at in [64, 164] {
            assert_eq!(disk.write(&stage, 1, at, &pattern(at, 100)), Some(Ok(())));
        }
        assert_eq!(disk.bytes[64..264], pattern(64, 200));
        assert!(disk.bytes[..64].iter().chain(&disk.bytes[264..]).all(|&byte| byte == 0xEE));
        assert_eq!(disk.reads, 1);
    }

    /// What lies behind a piece in a block that is known stays: only what nobody wrote becomes zero.
    #[test]
    fn a_piece_may_be_overwritten() {
        let stage = Stage::new().expect("memory");
        let mut disk = Disk::new(2);
        assert_eq!(disk.write(&stage, 1, 0, &pattern(0, 5000)), Some(Ok(())));
        assert_eq!(disk.write(&stage, 1, BLOCK + 10, &[0; 20]), Some(Ok(())));
        let mut expected = pattern(0, 5000);
        expected[BLOCK_BYTES + 10..][..20].fill(0);
        assert_eq!(disk.bytes[..5000], expected);
        assert_eq!(disk.reads, 0);
    }

    /// The zeros behind frames may reach into the next block, and the next frame begins in front of them.
    #[test]
    fn a_piece_may_begin_in_the_block_before_the_last() {
        let stage = Stage::new().expect("memory");
        let mut disk = Disk::new(40);
        let mut at = 0;
        for number in 0..1000u64 {
            let len = (1 + number * 7 % 150) as usize;
            let mut bytes = pattern(at, len);
            bytes.resize(len + 24, 0);
            assert_eq!(disk.write(&stage, 1, at, &bytes), Some(Ok(())));
            at += len as u64;
            disk.ends_at(at, at + 24);
        }
        assert_eq!(disk.bytes[..at as usize], pattern(0, at as usize));
        assert_eq!(disk.reads, 0);
        // One block further back is not known any more.
        assert_eq!(disk.write(&stage, 1, at - 2 * BLOCK, &[1]), Some(Ok(())));
        assert_eq!(disk.reads, 1);
    }

    #[test]
    fn files_do_not_take_each_others_blocks() {
        let stage = Stage::new().expect("memory");
        let (mut one, mut other) = (Disk::new(2), Disk::new(2));
        let (first, second) = (stage.enter(), stage.enter());
        assert_ne!(first, second);
        for at in [100, 200, 300] {
            assert_eq!(one.write(&stage, first, at, &pattern(at, 100)), Some(Ok(())));
            assert_eq!(other.write(&stage, second, at, &[9; 100]), Some(Ok(())));
        }
        assert_eq!(one.bytes[100..400], pattern(100, 300));
        assert_eq!(other.bytes[100..400], [9; 300]);
        assert_eq!((one.reads, other.reads), (3, 3));
    }

    #[test]
    fn a_large_piece_is_left_to_others_and_what_follows_it_reads_its_end() {
        let stage = Stage::new().expect("memory");
        let mut disk = Disk::new(STAGED_BYTES / BLOCK_BYTES + 3);
        assert_eq!(disk.write(&stage, 1, 0, &pattern(0, 100)), Some(Ok(())));
        let large = pattern(100, STAGED_BYTES + 1);
        assert_eq!(disk.write(&stage, 1, 100, &large), None);
        disk.bytes[100..][..large.len()].copy_from_slice(&large);
        let end = 100 + large.len() as u64;
        assert_eq!(disk.write(&stage, 1, end, &pattern(end, 50)), Some(Ok(())));
        assert_eq!(disk.bytes[..end as usize + 50], pattern(0, end as usize + 50));
        // Also where the next one begins in the block that was kept.
        assert_eq!(disk.write(&stage, 1, 100, &large), None);
        disk.bytes[60] = 1;
        assert_eq!(disk.write(&stage, 1, 61, &[2]), Some(Ok(())));
        assert_eq!(disk.bytes[60..62], [1, 2]);
    }

    #[test]
    fn the_largest_piece_fits_wherever_it_begins() {
        let stage = Stage::new().expect("memory");
        let mut disk = Disk::new(STAGED_BYTES / BLOCK_BYTES + 2);
        let at = BLOCK - 1;
        assert_eq!(disk.write(&stage, 1, at, &pattern(at, STAGED_BYTES)), Some(Ok(())));
        assert_eq!(disk.bytes[at as usize..][..STAGED_BYTES], pattern(at, STAGED_BYTES));
    }

    /// A write that fails may have written anything; zeros over it keep what was in front of it, whatever the disk says now.
    #[test]
    fn after_a_failed_write_what_was_written_before_it_is_known() {
        let stage = Stage::new().expect("memory");
        let mut disk = Disk::new(4);
        assert_eq!(disk.write(&stage, 1, 0, &pattern(0, 300)), Some(Ok(())));
        let failed = stage.write(1, 300, &[5; 6000], |_, _| unreachable!(), |_, _| Err(EIO));
        assert_eq!(failed, Some(Err(EIO)));
        disk.bytes.fill(0xDD);
        assert_eq!(disk.write(&stage, 1, 300, &[0; 6000]), Some(Ok(())));
        assert_eq!(disk.bytes[..300], pattern(0, 300));
        assert!(disk.bytes[300..2 * BLOCK_BYTES].iter().all(|&byte| byte == 0));
        assert_eq!(disk.reads, 0);
    }

    #[test]
    fn after_a_failed_read_nothing_is_written_and_nothing_is_known() {
        let stage = Stage::new().expect("memory");
        let failed = stage.write(1, 300, &[5; 60], |_, _| Err(EIO), |_, _| unreachable!());
        assert_eq!(failed, Some(Err(EIO)));
        let mut disk = Disk::new(1);
        assert_eq!(disk.write(&stage, 1, 300, &[5; 60]), Some(Ok(())));
        assert_eq!((disk.reads, disk.bytes[299], disk.bytes[300]), (1, 0xEE, 5));
    }

    /// A file that ends inside the block has nothing there.
    #[test]
    fn a_short_read_leaves_zeros() {
        let stage = Stage::new().expect("memory");
        let mut disk = Disk::new(1);
        assert_eq!(disk.write(&stage, 2, 0, &[3; BLOCK_BYTES - 1]), Some(Ok(())));
        let mut seen = Vec::new();
        let read = |_, block: &mut [u8]| {
            block[..5].fill(1);
            Ok(5)
        };
        let write = |_, blocks: &[u8]| {
            seen = blocks.to_vec();
            Ok(())
        };
        assert_eq!(stage.write(1, 100, &[2; 4], read, write), Some(Ok(())));
        assert_eq!((&seen[..5], &seen[100..104]), ([1; 5].as_slice(), [2; 4].as_slice()));
        assert!(seen[5..100].iter().chain(&seen[104..]).all(|&byte| byte == 0));
    }
}
