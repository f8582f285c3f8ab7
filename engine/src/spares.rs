//! Segments that wait for their turn: prepared ones, which a frame may be written to at once, and a pool of blocks to prepare them from.

use std::cmp::Reverse;
use std::collections::VecDeque;

use crate::error::{Code, Error, Result};
use crate::format::constants::{FRAME_HEADER_LEN, SEGMENT_HEADER_LEN};
use crate::format::segment_header::SegmentHeader;
use crate::memory::{self, Room, Shared};
use crate::names::FileName;
use crate::segment::head::Family;
use crate::storage::{Access, File, IoError, IoKind, Storage};
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering};

/// A segment whose header, size and name are durable and in which no frame was ever written.
pub struct Prepared<F> {
    /// Its header.
    pub header: SegmentHeader,
    /// Its file.
    pub file: Shared<F>,
}

struct Inner<F> {
    ready: VecDeque<Prepared<F>>,
    pool: VecDeque<FileName>,
    next_index: u32,
}

/// See the module's head.
pub struct Spares<S: Storage> {
    storage: Shared<S>,
    family: Family,
    pool_limit: usize,
    inner: Mutex<Inner<S::File>>,
    /// Held while a spare is being prepared, so that no two threads prepare the same.
    preparing: Mutex<()>,
    recycled: AtomicU64,
    /// Whether the names that the opening found are known to be durable: an earlier process may have failed to make them so.
    names_synced: AtomicBool,
    /// Set when a directory sync failed: later ones prove nothing.
    broken: Mutex<Option<Error>>,
}

impl<S: Storage> Spares<S> {
    /// `leftovers` are the files in the directory that nothing needs: spares, and segments outside the chain. Those keep no frame that counts,
    /// but may hold bytes that would pass under their index; so each is prepared anew, under an index above `highest_index`.
    ///
    /// The first of them may be used before an unclean opening commits, and a crash there may bring back an END that the opening did not see: one whose
    /// write failed, as did the zeros over it. The segment that such an END names must still be there. It was the oldest of at least two that were
    /// ready, so it comes last.
    pub fn new(storage: Shared<S>, family: Family, pool_limit: usize, leftovers: &[FileName], highest_index: u32) -> Result<Spares<S>> {
        let mut pool: VecDeque<FileName> = memory::collect(leftovers.iter().copied())?.into();
        pool.make_contiguous().sort_unstable_by_key(|name| (!matches!(name, FileName::Spare(_)), Reverse(name.index())));
        let inner = Inner { ready: VecDeque::new(), pool, next_index: highest_index.saturating_add(1) };
        Ok(Spares {
            storage,
            family,
            pool_limit,
            inner: Mutex::new(inner),
            preparing: Mutex::new(()),
            recycled: AtomicU64::new(0),
            names_synced: AtomicBool::new(false),
            broken: Mutex::new(None),
        })
    }

    /// Spares that are ready, and files in the pool.
    pub fn counts(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.ready.len(), inner.pool.len())
    }

    /// How many segments were prepared from blocks used before.
    pub fn recycled(&self) -> u64 {
        self.recycled.load(Ordering::Relaxed)
    }

    /// Takes the next prepared segment.
    pub fn take(&self) -> Option<Prepared<S::File>> {
        self.inner.lock().ready.pop_front()
    }

    /// Gives back what `take` gave, unused.
    pub fn put_back(&self, prepared: Prepared<S::File>) {
        self.inner.lock().ready.push_front(prepared);
    }

    /// Prepares segments until `count` are ready. Waits for a preparation that is under way in another thread.
    pub fn ensure(&self, count: usize) -> Result<()> {
        while self.inner.lock().ready.len() < count {
            let _turn = self.preparing.lock();
            if self.inner.lock().ready.len() >= count {
                break;
            }
            self.prepare_one()?;
        }
        Ok(())
    }

    /// A file that nothing needs any more, as `new` takes them. One that there is no memory to remember waits for the next opening to find it.
    pub fn give_back(&self, name: FileName) {
        let pool = &mut self.inner.lock().pool;
        if pool.try_reserve(1).is_ok() {
            pool.push_back(name);
        }
    }

    /// Drops segments that the durable manifest no longer needs, one at a time: into the pool while it has room, off the disk otherwise.
    pub fn drop_segments(&self, mut next: impl FnMut() -> Option<u32>) -> Result<()> {
        let mut renamed = Vec::new();
        let mut dropped = 0;
        let outcome = loop {
            let Some(index) = next() else {
                break Ok(());
            };
            dropped += 1;
            let name = FileName::Segment(index);
            let keep = self.inner.lock().pool.len() + renamed.len() < self.pool_limit && renamed.try_reserve(1).is_ok();
            let done = if keep { self.storage.rename(name, FileName::Spare(index)) } else { self.storage.remove(name) };
            match done {
                Ok(()) if keep => renamed.push(FileName::Spare(index)),
                Ok(()) => {}
                // The host removed it, or an earlier try did: it is gone either way.
                Err(io) if io.kind == IoKind::NotFound => {}
                Err(io) => break Err(io.in_file(name, "cannot drop a forgotten segment; the next opening will")),
            }
        };
        if dropped > 0 {
            // Only what lies durably under its new name may be overwritten.
            self.sync_dir()?;
            renamed.into_iter().for_each(|name| self.give_back(name));
        }
        outcome
    }

    /// Syncs the directory, for good: after a failure no later sync can prove that the names are durable.
    pub fn sync_dir(&self) -> Result<()> {
        let mut broken = self.broken.lock();
        if let Some(error) = *broken {
            return Err(error);
        }
        self.storage.sync_dir().map_err(|io| {
            let error = io.in_directory("cannot sync the log's directory; close the log and open it again");
            *broken = Some(error);
            error
        })?;
        self.names_synced.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn prepare_one(&self) -> Result<()> {
        if let Some(error) = *self.broken.lock() {
            return Err(error);
        }
        // One for this, and one for what a failed rotation may put back.
        self.inner.lock().ready.try_reserve(2).map_err(|_| Error::new(Code::NoMemory, "no memory for the list of spares"))?;
        let room = Room::new()?;
        loop {
            let front = self.inner.lock().pool.pop_front();
            let Some(name) = front else {
                let (file, spare) = self.fresh()?;
                return self.finish(room, file, spare, false);
            };
            if let Some((file, spare)) = self.recycle(name)? {
                return self.finish(room, file, spare, true);
            }
        }
    }

    /// The blocks of `name`, if they are usable. If they are not they are off the disk.
    fn recycle(&self, name: FileName) -> Result<Option<(S::File, FileName)>> {
        let spare = FileName::Spare(name.index());
        if name != spare {
            let renamed = match self.storage.rename(name, spare) {
                // A spare of the same index, which only somebody else can have put there, is worth nothing.
                Err(io) if io.kind == IoKind::Exists => self.storage.remove(spare).and_then(|()| self.storage.rename(name, spare)),
                renamed => renamed,
            };
            match renamed {
                Ok(()) => {}
                Err(io) if io.kind == IoKind::NotFound => return Ok(None),
                Err(io) => {
                    self.give_back(name);
                    return Err(io.in_file(name, "cannot rename a segment that nothing needs"));
                }
            }
        }
        // Only what lies durably under a name that nothing needs may be overwritten.
        if (name != spare || !self.names_synced.load(Ordering::Relaxed))
            && let Err(error) = self.sync_dir()
        {
            self.give_back(spare);
            return Err(error);
        }
        let file = match self.storage.open(spare, Access::Write) {
            Ok(file) => file,
            Err(io) if matches!(io.kind, IoKind::NotFound | IoKind::NotAFile) => return Ok(None),
            Err(io) => {
                self.give_back(spare);
                return Err(io.in_file(spare, "cannot open a spare"));
            }
        };
        let usable = match self.was_a_segment(&file) {
            Ok(usable) => usable,
            Err(io) => {
                self.give_back(spare);
                return Err(io.in_file(spare, "cannot read a spare"));
            }
        };
        if !usable {
            drop(file);
            self.storage.remove(spare).map_err(|io| io.in_file(spare, "cannot remove an incomplete spare"))?;
            return Ok(None);
        }
        Ok(Some((file, spare)))
    }

    /// Whether the blocks are those of a segment: size right and header valid. Without a header this is what an interrupted preparation left, and
    /// its size proves nothing: there may be holes in it, which need space to be written to.
    fn was_a_segment(&self, file: &S::File) -> core::result::Result<bool, IoError> {
        let mut header = [0; SEGMENT_HEADER_LEN];
        let read = file.read_at(0, &mut header)?;
        let size = file.len()?;
        Ok(SegmentHeader::decode(&header[..read]).is_ok_and(|header| header.capacity == size) && size == self.family.segment_bytes)
    }

    /// New blocks.
    fn fresh(&self) -> Result<(S::File, FileName)> {
        let spare = FileName::Spare(self.next_index()?);
        let file = self.storage.create(spare).map_err(|io| io.in_file(spare, "cannot create a spare segment"))?;
        // Synced before there is a header, which so proves that every block is there.
        if let Err(io) = file.fill_zeros(self.family.segment_bytes).and_then(|()| file.sync()) {
            drop(file);
            // What was allocated would only be in the way.
            let _may_fail = self.storage.remove(spare);
            return Err(io.in_file(spare, "no room for another segment: free disk space, or checkpoint and truncate"));
        }
        Ok((file, spare))
    }

    /// From blocks to a prepared segment: header, sync, name, directory sync.
    fn finish(&self, room: Room<S::File>, file: S::File, spare: FileName, recycled: bool) -> Result<()> {
        let index = if recycled { self.next_index()? } else { spare.index() };
        let name = FileName::Segment(index);
        let header = SegmentHeader::new(self.family.log_id, self.family.seed_base, index, self.family.segment_bytes, recycled);
        // Zeros behind it, for there is no frame yet.
        let mut front = [0; SEGMENT_HEADER_LEN + FRAME_HEADER_LEN];
        front[..SEGMENT_HEADER_LEN].copy_from_slice(&header.encode());
        let written = file.write_at(0, &front).and_then(|()| file.sync());
        if let Err(io) = written {
            drop(file);
            // After a failed sync nothing about this file is certain; its blocks are not worth keeping.
            let _may_fail = self.storage.remove(spare);
            return Err(io.in_file(spare, "cannot prepare a spare segment"));
        }
        if let Err(io) = self.storage.rename(spare, name) {
            self.give_back(spare);
            return Err(io.in_file(spare, "cannot give a spare segment its name"));
        }
        #[cfg(wal_plants)]
        if crate::plants::Mistake::NameNotSynced.is_planted() {
            self.inner.lock().ready.push_back(Prepared { header, file: room.fill(file) });
            return Ok(());
        }
        if let Err(error) = self.sync_dir() {
            self.give_back(name);
            return Err(error);
        }
        if recycled {
            self.recycled.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.lock().ready.push_back(Prepared { header, file: room.fill(file) });
        Ok(())
    }

    /// The next index whose names are free: somebody else's file may have one of them.
    fn next_index(&self) -> Result<u32> {
        loop {
            let mut inner = self.inner.lock();
            let index = inner.next_index;
            inner.next_index = index.checked_add(1).ok_or_else(|| Error::new(Code::NoSpace, "the log has used up its segment indexes"))?;
            drop(inner);
            if self.is_free(FileName::Segment(index))? && self.is_free(FileName::Spare(index))? {
                return Ok(index);
            }
        }
    }

    fn is_free(&self, name: FileName) -> Result<bool> {
        match self.storage.open(name, Access::Read) {
            Ok(_) => Ok(false),
            Err(io) if io.kind == IoKind::NotAFile => Ok(false),
            Err(io) if io.kind == IoKind::NotFound => Ok(true),
            Err(io) => Err(io.in_file(name, "cannot look whether the name of a spare segment is free")),
        }
    }
}
