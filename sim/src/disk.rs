//! The running disk: the cache above `Model`, the trace, the faults, the space, the lock and the ordering monitor, behind one mutex. `Disk` is
//! the handle of the test, `SimStorage` and `SimFile` are what the log gets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wal_engine::names::FileName;
use wal_engine::storage::{IoError, IoKind, LockKind};

use crate::call::Call;
use crate::fault::{ENOSPC, Fault, Plan};
use crate::image::{Content, Image, Stored};
use crate::model::{Data, Inode, Model, Op, Write};
use crate::monitor::{Monitor, Violation};
use crate::random::{Random, mix};
use crate::storage::SimStorage;
use crate::trace::{Mark, Point, Trace};

/// Called with the name of the file in the middle of every `sync`, while nothing is locked.
pub(crate) type SyncHook = Arc<dyn Fn(Option<FileName>) + Send + Sync>;

/// What readers see of a file.
#[derive(Debug, Default)]
pub(crate) struct Cached {
    pub(crate) content: Arc<Content>,
    /// Bytes from the start of the file on that own their space.
    allocated: u64,
    pub(crate) handles: u64,
}

pub(crate) struct State {
    pub(crate) model: Model,
    pub(crate) cache: BTreeMap<Inode, Cached>,
    pub(crate) plan: Plan,
    pub(crate) random: Random,
    pub(crate) list_salt: u64,
    pub(crate) monitor: Monitor,
    pub(crate) hook: Option<SyncHook>,
    /// The storage value whose `sync_dir` failed, as long as no other was made.
    pub(crate) names_stuck: Option<u64>,
    base: Image,
    ops: Vec<Op>,
    marks: Vec<(usize, Mark)>,
    /// How many operations preceded the first fault that hit.
    first_fault: Option<usize>,
    limit: Option<u64>,
    /// Who holds the lock, by number of the storage value.
    holders: Vec<(u64, LockKind)>,
    /// Who holds the pins' lock.
    pins_holder: Option<u64>,
    storages: u64,
    next_inode: u64,
}

impl State {
    /// Takes note of an operation and carries it out below the cache.
    pub(crate) fn record(&mut self, op: Op) {
        self.model.apply(&op);
        self.monitor.after(&op);
        self.ops.push(op);
    }

    /// A fault is about to hit.
    pub(crate) fn note_fault(&mut self) {
        self.first_fault.get_or_insert(self.ops.len());
    }

    pub(crate) fn create(&mut self, name: FileName) -> Inode {
        let inode = Inode(self.next_inode);
        self.next_inode += 1;
        self.cache.insert(inode, Cached::default());
        self.record(Op::Create { name, inode });
        inode
    }

    pub(crate) fn rename(&mut self, from: FileName, to: FileName) -> Result<(), IoError> {
        let inode = *self.model.names.get(&from).ok_or(NOT_FOUND)?;
        if self.model.names.contains_key(&to) {
            return Err(EXISTS);
        }
        self.monitor.before_taking(&self.model, from, Some(to), self.ops.len());
        self.record(Op::Rename { from, to, inode });
        Ok(())
    }

    pub(crate) fn remove(&mut self, name: FileName) -> Result<(), IoError> {
        let inode = *self.model.names.get(&name).ok_or(NOT_FOUND)?;
        self.monitor.before_taking(&self.model, name, None, self.ops.len());
        self.record(Op::Remove { name, inode });
        self.forget_unused(inode);
        Ok(())
    }

    /// Drops a file that has neither name nor handle.
    pub(crate) fn forget_unused(&mut self, inode: Inode) {
        if self.cache.get(&inode).is_some_and(|cached| cached.handles == 0) && self.model.name_of(inode).is_none() {
            self.cache.remove(&inode);
        }
    }

    /// Writes as much of `data` as there is space for.
    pub(crate) fn write(&mut self, inode: Inode, offset: u64, mut data: Data) -> Result<(), IoError> {
        let end = offset + data.len();
        let used = self.used();
        let Some(cached) = self.cache.get_mut(&inode) else { return Ok(()) };
        let mut answer = Ok(());
        if let Some(limit) = self.limit {
            let room = cached.allocated + limit.saturating_sub(used);
            if end > room {
                data = data_before(data, room.saturating_sub(offset));
                answer = Err(ENOSPC);
            }
        }
        if data.len() == 0 {
            return answer;
        }
        cached.allocated = cached.allocated.max(offset + data.len());
        let write = Write { id: self.model.next_write(), offset, data, lost: false };
        write.apply(Arc::make_mut(&mut cached.content).bytes_mut());
        let name = self.model.name_of(inode);
        self.monitor.before_write(&self.model, inode, &write, self.ops.len());
        self.record(Op::Write { name, inode, offset, data: write.data });
        answer
    }

    /// The next reads of this file come from the device.
    pub(crate) fn drop_cache(&mut self, inode: Inode) {
        if !self.model.inodes.get(&inode).is_some_and(|file| file.has_lost()) {
            return;
        }
        let name = self.model.name_of(inode);
        self.record(Op::DropCache { name, inode });
        if let (Some(file), Some(cached)) = (self.model.inodes.get(&inode), self.cache.get_mut(&inode)) {
            let mut content = Content::clone(&file.durable);
            file.writes.iter().for_each(|write| write.apply(content.bytes_mut()));
            cached.content = Arc::new(content);
        }
    }

    /// A sync of this file has answered that all is well.
    pub(crate) fn sync_succeeded(&mut self, inode: Inode, storage: u64) {
        self.monitor.sync_succeeded(&self.model, inode, storage, self.ops.len());
    }

    /// A `sync_dir` after a failed one has answered that all is well.
    pub(crate) fn names_sync_repeated(&mut self) {
        self.monitor.names_sync_repeated(&self.model, self.ops.len());
    }

    pub(crate) fn lock(&mut self, storage: u64, kind: LockKind) -> Result<(), IoError> {
        let free = match kind {
            LockKind::Exclusive => self.holders.is_empty(),
            LockKind::Shared => self.holders.iter().all(|&(_, held)| held == LockKind::Shared),
        };
        if !free {
            return Err(IoError { kind: IoKind::Locked, os_error: 11 });
        }
        if kind == LockKind::Exclusive && !self.model.names.contains_key(&FileName::Lock) {
            self.create(FileName::Lock);
        }
        self.holders.push((storage, kind));
        Ok(())
    }

    pub(crate) fn unlock(&mut self, storage: u64) {
        self.holders.retain(|&(holder, _)| holder != storage);
    }

    pub(crate) fn lock_pins(&mut self, storage: u64, create: bool) -> Result<(), IoError> {
        if !self.model.names.contains_key(&FileName::Pins) {
            if !create {
                return Err(NOT_FOUND);
            }
            self.create(FileName::Pins);
        }
        if self.pins_holder.is_some() {
            return Err(IoError { kind: IoKind::Locked, os_error: 11 });
        }
        self.pins_holder = Some(storage);
        Ok(())
    }

    pub(crate) fn unlock_pins(&mut self, storage: u64) {
        if self.pins_holder == Some(storage) {
            self.pins_holder = None;
        }
    }

    fn used(&self) -> u64 {
        self.cache.values().map(|cached| cached.allocated).sum()
    }
}

pub(crate) const NOT_FOUND: IoError = IoError { kind: IoKind::NotFound, os_error: 2 };
pub(crate) const EXISTS: IoError = IoError { kind: IoKind::Exists, os_error: 17 };

/// The first `len` bytes of `data`.
pub(crate) fn data_before(data: Data, len: u64) -> Data {
    match data {
        Data::Bytes { all, part } => {
            let end = part.start + part.len().min(len as usize);
            Data::Bytes { all, part: part.start..end }
        }
        Data::Zeros(whole) => Data::Zeros(whole.min(len)),
    }
}

/// A simulated disk with one directory. Clones are handles of the same disk.
#[derive(Clone)]
pub struct Disk {
    pub(crate) state: Arc<Mutex<State>>,
}

impl Disk {
    /// An empty disk. All that looks random on it follows from `seed`.
    pub fn new(seed: u64) -> Disk {
        Disk::from_image(&Image::new(), seed)
    }

    /// A disk as a machine finds it when it starts.
    pub fn from_image(image: &Image, seed: u64) -> Disk {
        let model = Model::from_image(image);
        let cache = image.files().enumerate().map(|(number, (_, stored))| {
            (Inode(number as u64), Cached { content: Arc::clone(&stored.content), allocated: stored.allocated, handles: 0 })
        });
        let state = State {
            cache: cache.collect(),
            next_inode: model.inodes.len() as u64,
            model,
            plan: Plan::new(mix(seed ^ 1)),
            random: Random::new(mix(seed ^ 2)),
            list_salt: mix(seed ^ 3),
            monitor: Monitor::default(),
            hook: None,
            names_stuck: None,
            base: image.clone(),
            ops: Vec::new(),
            marks: Vec::new(),
            first_fault: None,
            limit: None,
            holders: Vec::new(),
            pins_holder: None,
            storages: 0,
        };
        Disk { state: Arc::new(Mutex::new(state)) }
    }

    /// A storage for one opening of the log. A further one is what another process, or the same one started again, would see.
    pub fn storage(&self) -> SimStorage {
        let mut state = self.lock();
        state.storages += 1;
        state.names_stuck = None;
        let number = state.storages;
        drop(state);
        SimStorage::new(self.clone(), number)
    }

    /// Puts a mark into the trace, and shows it to the ordering monitor.
    pub fn mark(&self, mark: Mark) {
        let state = &mut *self.lock();
        let at = state.ops.len();
        if let Mark::Durable(seq) = mark {
            state.monitor.acknowledged(&state.model, &state.cache, seq, at);
        }
        state.marks.push((at, mark));
    }

    /// From here on record `seq` and all before it were acknowledged as durable: `Mark::Durable`.
    pub fn acknowledge(&self, seq: u64) {
        self.mark(Mark::Durable(seq));
    }

    /// Has the monitor check that nothing is unsynced that the log may have written: for moments at which a log in its strictest mode is at rest.
    pub fn check_at_rest(&self) {
        let state = &mut *self.lock();
        state.monitor.at_rest(&state.model, state.ops.len());
    }

    /// The same; panics if the monitor has found that, or anything before.
    pub fn assert_all_synced(&self) {
        self.check_at_rest();
        self.assert_ordered();
    }

    /// What the monitor has found so far.
    pub fn violations(&self) -> Vec<Violation> {
        self.lock().monitor.violations().to_vec()
    }

    /// Panics if the monitor has found anything.
    #[track_caller]
    pub fn assert_ordered(&self) {
        let violations = self.violations();
        if !violations.is_empty() {
            let list: Vec<String> = violations.iter().map(|violation| violation.to_string()).collect();
            panic!("the order of operations is wrong:\n{}\ntrace:\n{}", list.join("\n"), self.trace());
        }
    }

    /// All operations and marks so far.
    pub fn trace(&self) -> Trace {
        let state = self.lock();
        Trace::new(state.base.clone(), state.ops.clone(), &state.marks)
    }

    /// Operations so far that can change what a crash leaves: the index of `point`.
    pub fn operations(&self) -> usize {
        self.lock().ops.len()
    }

    /// Whether a crash now could leave anything but what readers see.
    pub fn has_unsynced(&self) -> bool {
        let state = self.lock();
        !state.model.name_ops.is_empty() || state.model.inodes.values().any(|file| !file.writes.is_empty())
    }

    /// A crash at this moment.
    pub fn point(&self) -> Point {
        let state = self.lock();
        let marks = state.marks.iter().map(|&(_, mark)| mark).collect();
        Point::new(&state.model, state.ops.len(), state.ops.last().cloned(), marks, state.marks.len())
    }

    /// Storage calls so far that could fail.
    pub fn calls(&self) -> u64 {
        self.lock().plan.calls()
    }

    /// Those of one kind.
    pub fn calls_of(&self, call: Call) -> u64 {
        self.lock().plan.calls_of(call)
    }

    /// Installs a fault.
    pub fn fail(&self, fault: Fault) {
        self.lock().plan.install(fault);
    }

    /// The process dies in the storage call with this number, counted from 1 since the disk was made.
    pub fn kill_at(&self, call: u64) {
        self.lock().plan.kill_at(call);
    }

    /// Takes back all faults that were installed and the planned death.
    pub fn clear_faults(&self) {
        self.lock().plan.clear();
    }

    /// How many calls failed because a fault or the planned death hit them.
    pub fn injected(&self) -> u64 {
        self.lock().plan.injected()
    }

    /// How many operations preceded the first call that failed so: the index of the point at which it did.
    pub fn first_fault(&self) -> Option<usize> {
        self.lock().first_fault
    }

    /// Limits the space for all files together; `None` is no limit.
    pub fn limit_space(&self, bytes: Option<u64>) {
        self.lock().limit = bytes;
    }

    /// Space that the files own, in bytes.
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    /// Memory pressure: every file is read from the device again, which shows what failed syncs have lost.
    pub fn drop_caches(&self) {
        let mut state = self.lock();
        let inodes: Vec<Inode> = state.cache.keys().copied().collect();
        inodes.into_iter().for_each(|inode| state.drop_cache(inode));
    }

    /// Calls `hook` in the middle of every `File::sync`, with the name of the file: what is written there comes too late for that sync. The
    /// hook may use the disk.
    pub fn on_sync(&self, hook: impl Fn(Option<FileName>) + Send + Sync + 'static) {
        self.lock().hook = Some(Arc::new(hook));
    }

    /// What readers see, as an image: as if all of it had been synced.
    pub fn visible_image(&self) -> Image {
        let state = self.lock();
        let mut image = Image::new();
        for (name, inode) in &state.model.names {
            if let Some(cached) = state.cache.get(inode) {
                image.put(*name, Stored { content: Arc::clone(&cached.content), allocated: cached.allocated });
            }
        }
        image
    }

    /// What is durable, as an image: a crash that nothing unsynced survives.
    pub fn durable_image(&self) -> Image {
        self.lock().model.durable_image()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panics with the disk locked has failed already; its clean-up may still want to look.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
