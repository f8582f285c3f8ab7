//! The storage traits on a simulated disk.

use std::sync::Arc;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};

use wal_engine::names::FileName;
use wal_engine::storage::{Access, File, IoError, IoKind, LockKind, Storage};

use crate::call::Call;
use crate::disk::{Disk, EXISTS, NOT_FOUND, State, data_before};
use crate::fault::{EIO, Effect, Outcome};
use crate::image::key;
use crate::model::{Data, Inode, Op};
use crate::random::mix;

const BAD_DESCRIPTOR: IoError = IoError { kind: IoKind::Other, os_error: 9 };
const INVALID: IoError = IoError { kind: IoKind::Other, os_error: 22 };

/// One opening: a storage value and the files that were opened through it.
struct Session {
    disk: Disk,
    number: u64,
    dead: AtomicBool,
}

impl Session {
    /// Counts a call and says what becomes of it.
    fn enter(&self, call: Call, file: impl FnOnce(&State) -> Option<FileName>) -> Result<(MutexGuard<'_, State>, Outcome), IoError> {
        let mut state = self.disk.lock();
        self.alive()?;
        let file = file(&state);
        let (outcome, dies) = state.plan.enter(call, file);
        if outcome.answer().is_err() {
            state.note_fault();
        }
        if dies {
            self.dead.store(true, Ordering::Relaxed);
            state.unlock(self.number);
            state.unlock_pins(self.number);
        }
        Ok((state, outcome))
    }

    /// The same for a call without effects, which happens or fails.
    fn enter_query(&self, call: Call, file: impl FnOnce(&State) -> Option<FileName>) -> Result<MutexGuard<'_, State>, IoError> {
        let (state, outcome) = self.enter(call, file)?;
        outcome.answer()?;
        Ok(state)
    }

    fn alive(&self) -> Result<(), IoError> {
        if self.dead.load(Ordering::Relaxed) { Err(EIO) } else { Ok(()) }
    }
}

/// The directory of a log on a simulated disk.
pub struct SimStorage {
    session: Arc<Session>,
}

impl SimStorage {
    pub(crate) fn new(disk: Disk, number: u64) -> SimStorage {
        SimStorage { session: Arc::new(Session { disk, number, dead: AtomicBool::new(false) }) }
    }

    fn file(&self, state: &mut State, inode: Inode, access: Access) -> SimFile {
        if let Some(cached) = state.cache.get_mut(&inode) {
            cached.handles += 1;
        }
        SimFile { session: Arc::clone(&self.session), inode, access }
    }
}

impl Drop for SimStorage {
    fn drop(&mut self) {
        self.session.disk.lock().unlock(self.session.number);
    }
}

impl Storage for SimStorage {
    type File = SimFile;
    type PinsLock = SimPinsLock;

    fn lock(&self, kind: LockKind) -> Result<(), IoError> {
        let mut state = self.session.enter_query(Call::Lock, |_| Some(FileName::Lock))?;
        state.lock(self.session.number, kind)
    }

    /// Does not wait: who tests with several threads tries again.
    fn lock_pins(&self, create: bool) -> Result<SimPinsLock, IoError> {
        let mut state = self.session.enter_query(Call::LockPins, |_| Some(FileName::Pins))?;
        state.lock_pins(self.session.number, create)?;
        drop(state);
        Ok(SimPinsLock { session: Arc::clone(&self.session) })
    }

    /// In an order that is not that of the names, as directories have it.
    fn list(&self, each: &mut dyn FnMut(FileName)) -> Result<(), IoError> {
        let state = self.session.enter_query(Call::List, |_| None)?;
        let mut names: Vec<FileName> = state.model.names.keys().copied().collect();
        names.sort_by_key(|&name| mix(key(name) ^ state.list_salt));
        drop(state);
        names.into_iter().for_each(each);
        Ok(())
    }

    fn create(&self, name: FileName) -> Result<SimFile, IoError> {
        let (mut state, outcome) = self.session.enter(Call::Create, |_| Some(name))?;
        if !outcome.happens() {
            outcome.answer()?;
        }
        if state.model.names.contains_key(&name) {
            return Err(EXISTS);
        }
        let inode = state.create(name);
        outcome.answer()?;
        Ok(self.file(&mut state, inode, Access::Write))
    }

    fn open(&self, name: FileName, access: Access) -> Result<SimFile, IoError> {
        let mut state = self.session.enter_query(Call::Open, |_| Some(name))?;
        let inode = *state.model.names.get(&name).ok_or(NOT_FOUND)?;
        Ok(self.file(&mut state, inode, access))
    }

    fn rename(&self, from: FileName, to: FileName) -> Result<(), IoError> {
        let (mut state, outcome) = self.session.enter(Call::Rename, |_| Some(from))?;
        if outcome.happens() {
            state.rename(from, to)?;
        }
        outcome.answer()
    }

    fn remove(&self, name: FileName) -> Result<(), IoError> {
        let (mut state, outcome) = self.session.enter(Call::Remove, |_| Some(name))?;
        if outcome.happens() {
            state.remove(name)?;
        }
        outcome.answer()
    }

    fn sync_dir(&self) -> Result<(), IoError> {
        let (mut state, outcome) = self.session.enter(Call::SyncDir, |_| None)?;
        let number = self.session.number;
        if state.names_stuck == Some(number) {
            if outcome.happens() {
                state.names_sync_repeated();
            }
        } else if !outcome.happens() {
            // Whoever dies in a sync has told nobody that it failed.
            if self.session.alive().is_ok() {
                state.names_stuck = Some(number);
            }
        } else if !state.model.name_ops.is_empty() {
            state.record(Op::SyncDir);
        }
        outcome.answer()
    }

    fn random(&self, out: &mut [u8]) -> Result<(), IoError> {
        let mut state = self.session.enter_query(Call::Random, |_| None)?;
        state.random.fill(out);
        Ok(())
    }
}

/// The pins' lock on a simulated disk, held.
pub struct SimPinsLock {
    session: Arc<Session>,
}

impl Drop for SimPinsLock {
    fn drop(&mut self) {
        self.session.disk.lock().unlock_pins(self.session.number);
    }
}

/// A file on a simulated disk.
pub struct SimFile {
    session: Arc<Session>,
    inode: Inode,
    access: Access,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.session.disk.lock();
        if let Some(cached) = state.cache.get_mut(&self.inode) {
            cached.handles -= 1;
        }
        state.forget_unused(self.inode);
    }
}

impl SimFile {
    fn enter(&self, call: Call) -> Result<(MutexGuard<'_, State>, Outcome), IoError> {
        self.session.enter(call, |state| state.model.name_of(self.inode))
    }

    fn enter_query(&self, call: Call) -> Result<MutexGuard<'_, State>, IoError> {
        self.session.enter_query(call, |state| state.model.name_of(self.inode))
    }

    fn write(&self, state: &mut State, outcome: Outcome, offset: u64, data: Data) -> Result<(), IoError> {
        if self.access != Access::Write {
            return Err(BAD_DESCRIPTOR);
        }
        let part = outcome.written(data.len());
        state.write(self.inode, offset, data_before(data, part))?;
        outcome.answer()
    }
}

impl File for SimFile {
    fn len(&self) -> Result<u64, IoError> {
        let state = self.enter_query(Call::Len)?;
        Ok(state.cache.get(&self.inode).map_or(0, |cached| cached.content.len()))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, IoError> {
        let state = self.enter_query(Call::ReadAt)?;
        let Some(cached) = state.cache.get(&self.inode) else { return Ok(0) };
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = cached.content.bytes().get(from..).unwrap_or(&[]);
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        let (mut state, outcome) = self.enter(Call::WriteAt)?;
        let len = state.cache.get(&self.inode).map_or(0, |cached| cached.content.len());
        assert!(offset <= len, "a write at {offset}, behind the end of a file of {len} bytes");
        self.write(&mut state, outcome, offset, Data::new(bytes))
    }

    fn fill_zeros(&self, size: u64) -> Result<(), IoError> {
        let (mut state, outcome) = self.enter(Call::FillZeros)?;
        if state.cache.get(&self.inode).is_some_and(|cached| cached.content.len() > 0) {
            return Err(INVALID);
        }
        self.write(&mut state, outcome, 0, Data::Zeros(size))
    }

    fn sync(&self) -> Result<(), IoError> {
        let (mut state, outcome) = self.enter(Call::Sync)?;
        let (inode, number) = (self.inode, self.session.number);
        let covers = state.model.next_write();
        let name = state.model.name_of(inode);
        if let Some(hook) = state.hook.clone() {
            drop(state);
            hook(name);
            state = self.session.disk.lock();
        }
        let Some(file) = state.model.inodes.get(&inode) else { return outcome.answer() };
        let durable_before = match outcome.effect {
            Effect::Whole => covers,
            Effect::Nothing => 0,
            Effect::Prefix(count) => {
                let mut covered = file.writes.iter().filter(|write| !write.lost && write.id < covers);
                covered.nth(count as usize).map_or(covers, |write| write.id)
            }
        };
        if file.is_unsynced(durable_before) {
            state.record(Op::Sync { name, inode, covers: durable_before });
        }
        let unsynced = state.model.inodes.get(&inode).is_some_and(|file| file.is_unsynced(covers));
        // Whoever dies in a sync has told nobody that it failed, and the cache keeps what is not yet written.
        if unsynced && outcome.effect != Effect::Whole && self.session.alive().is_ok() {
            state.record(Op::SyncFailed { name, inode, covers });
            state.monitor.sync_failed(inode, number);
        } else if outcome.answer().is_ok() {
            state.sync_succeeded(inode, number);
        }
        outcome.answer()
    }

    fn drop_cache(&self) {
        let mut state = self.session.disk.lock();
        if self.session.alive().is_ok() {
            state.drop_cache(self.inode);
        }
    }
}
