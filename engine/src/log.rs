//! The handle that ties the parts together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::bell::Bell;
use crate::chain::{Chain, Segment};
use crate::commit::{Committer, Start};
use crate::config::{Config, LogId, OpenKind};
use crate::cursor::Cursor;
use crate::error::{Code, Error, Result};
use crate::format::constants::MANIFEST_LEN;
use crate::format::control::{Checkpoint, How, Link, Open};
use crate::manifest::{InstallError, ManifestFile};
use crate::names::FileName;
use crate::parts::Parts;
use crate::protocol::gap;
use crate::recovery::{self, Ending, Found, Survey};
use crate::retention::{Forget, Retention};
use crate::segment::buffer::Placed;
use crate::segment::head::load;
use crate::seq::{self, Seq};
use crate::spares::Spares;
use crate::storage::{Access, LockKind, Storage};

pub use crate::commit::Durability;
pub use crate::cursor::{Record, ReplayOptions};
pub use crate::recovery::Report;
pub use crate::segment::payload::{Entries, Entry};

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// With what was waited for.
    Durable,
    /// Without it.
    TimedOut,
}

/// What an operator wants to see.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stat {
    /// The last seq appended.
    pub last_seq: Seq,
    /// The last durable one.
    pub durable_seq: Seq,
    /// What the highest checkpoint allows to truncate to.
    pub checkpoint_seq: Seq,
    /// What the host declared with it.
    pub checkpoint_covered: Seq,
    /// The oldest record kept, one above the last if there is none.
    pub oldest_seq: Seq,
    /// Records up to here are forgotten.
    pub floor_seq: Seq,
    /// Rises at each unclean opening and at each that dropped something.
    pub epoch: u64,
    /// Size of a segment, in bytes.
    pub segment_bytes: u64,
    /// Bytes on disk: segments, spares and manifest.
    pub disk_bytes: u64,
    /// Segments that hold records, those that wait to be dropped included.
    pub segments: u64,
    /// Segments that wait to be used.
    pub spares: u64,
    /// Calls that appended, since this opening like the rest.
    pub appends: u64,
    /// Records appended.
    pub records: u64,
    /// Bytes of frames appended.
    pub appended_bytes: u64,
    /// Writes to segments.
    pub writes: u64,
    /// Syncs of segments.
    pub syncs: u64,
    /// Changes to another segment.
    pub rotations: u64,
    /// Segments prepared from blocks used before.
    pub recycled: u64,
    /// Whether a failure poisoned the handle.
    pub poisoned: bool,
}

/// What a log opened for writing has beside what every open log has.
struct Writer<S: Storage> {
    parts: Parts<S>,
    committer: Committer<S>,
    retention: Retention<S>,
    first_seq_of_opening: Seq,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// An open log.
pub struct Log<S: Storage> {
    storage: Arc<S>,
    chain: Arc<Chain>,
    writer: Option<Arc<Writer<S>>>,
    found: FoundState,
    checkpoint_n: Arc<AtomicU64>,
    checkpoint_covered: AtomicU64,
}

/// What stays as the opening found it.
struct FoundState {
    report: Report,
    log_id: LogId,
    epoch: u64,
    segment_bytes: u64,
}

/// What open would find. Changes nothing, but holds the lock as a reader while it looks.
pub fn inspect<S: Storage>(storage: S, config: &Config, full: bool) -> Result<Report> {
    let began = Instant::now();
    let config = config.checked()?;
    lock(&storage, LockKind::Shared)?;
    // As a prefix recovery sees it, so that damage is described and not just met.
    let config = Config { recovery: crate::config::Recovery::Prefix, ..config };
    let mut report = match recovery::survey(&storage, &config, full)? {
        Survey::Nothing(_) => return Err(no_log()),
        Survey::Log(found) => found.report,
    };
    report.duration_us = elapsed_us(began);
    Ok(report)
}

fn lock<S: Storage>(storage: &S, kind: LockKind) -> Result<()> {
    storage
        .lock(kind)
        .map_err(|io| io.in_file(FileName::Lock, "cannot lock the log: another handle, in this process or another, may have it open"))
}

fn no_log() -> Error {
    Error::new(Code::NotFound, "there is no log in this directory").in_directory()
}

fn elapsed_us(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

impl<S: Storage> Log<S> {
    /// Opens the log in `storage`, or makes one. Returns only when everything that replay will show is durable.
    pub fn open(storage: S, config: &Config) -> Result<Log<S>> {
        let began = Instant::now();
        let config = config.checked()?;
        let read_only = config.open == OpenKind::ReadOnly;
        lock(&storage, if read_only { LockKind::Shared } else { LockKind::Exclusive })?;
        let storage = Arc::new(storage);
        let mut log = match recovery::survey(&*storage, &config, false)? {
            Survey::Log(_) if config.open == OpenKind::New => {
                return Err(Error::new(Code::Exists, "there is a log in this directory already").in_directory());
            }
            Survey::Nothing(_) if matches!(config.open, OpenKind::Existing | OpenKind::ReadOnly) => return Err(no_log()),
            Survey::Nothing(remains) => {
                let manifest = recovery::create(&*storage, &config, &remains)?;
                let Survey::Log(mut found) = recovery::survey(&*storage, &config, false)? else {
                    return Err(Error::new(Code::Io, "the log that was just made cannot be read back").in_directory());
                };
                found.report.created = true;
                Self::start(storage, &config, *found, manifest)?
            }
            Survey::Log(found) => {
                found.check_store(&config)?;
                if read_only {
                    Self::read_only(storage, *found)
                } else {
                    let manifest = if found.report.rebuilt_manifest {
                        ManifestFile::rebuild(&*storage, found.manifest)?
                    } else {
                        ManifestFile::open(&*storage, found.manifest)?
                    };
                    Self::start(storage, &config, *found, manifest)?
                }
            }
        };
        log.found.report.duration_us = elapsed_us(began);
        Ok(log)
    }

    fn read_only(storage: Arc<S>, found: Found) -> Log<S> {
        let mut segments = found.segments.clone();
        let mut tail = found.tail();
        if let Ending::Unclean(unclean) = found.ending {
            // What nothing vouches for is still where it was written, and can be shown from there.
            match (unclean.copy, segments.last_mut()) {
                (Some(copy), Some(last)) if last.header.index == copy.segment.index => last.end = Some((copy.end, unclean.tail)),
                (Some(copy), _) => segments.push(Segment {
                    header: copy.segment,
                    first_seq: copy.segment_first_seq,
                    before: unclean.before,
                    end: Some((copy.end, unclean.tail)),
                }),
                (None, _) => tail = found.vouched(),
            }
        }
        let forgotten = (found.manifest.floor, found.manifest.forgotten_data);
        let chain = Arc::new(Chain::new(segments, forgotten.0, forgotten.1, found.vouched().seq, tail.seq));
        Self::assemble(storage, chain, None, &found)
    }

    fn assemble(storage: Arc<S>, chain: Arc<Chain>, writer: Option<Arc<Writer<S>>>, found: &Found) -> Log<S> {
        Log {
            storage,
            chain,
            writer,
            found: FoundState {
                report: found.report,
                log_id: found.manifest.log_id,
                epoch: found.manifest.epoch,
                segment_bytes: found.manifest.segment_bytes,
            },
            checkpoint_n: Arc::new(AtomicU64::new(found.checkpoint.n)),
            checkpoint_covered: AtomicU64::new(found.checkpoint.covered),
        }
    }

    fn start(storage: Arc<S>, config: &Config, mut found: Found, manifest: ManifestFile<S::File>) -> Result<Log<S>> {
        let pool_limit = config.recycle_segments as usize;
        let leftovers = found.leftovers.iter().copied();
        let spares = Spares::new(Arc::clone(&storage), found.family, pool_limit, leftovers, found.highest_index);
        let start = match found.ending {
            Ending::Unclean(unclean) => {
                let recovered = recovery::recover(&*storage, &manifest, &spares, &mut found, unclean)?;
                found.report.epoch = found.manifest.epoch;
                Start {
                    header: recovered.prepared.header,
                    file: recovered.prepared.file,
                    open: recovered.open,
                    offset: recovered.bound.offset,
                    last_frame: recovered.last_frame,
                    tail: recovered.bound.tail,
                    bound: recovered.bound,
                    checkpoint: found.checkpoint,
                    epoch: found.manifest.epoch,
                }
            }
            Ending::Clean => Self::go_on(&*storage, &found)?,
        };
        Self::move_aside(&*storage, &spares, &mut found)?;
        let tail = start.tail;
        let chain =
            Arc::new(Chain::new(found.segments.iter().copied(), found.manifest.floor, found.manifest.forgotten_data, tail.seq, tail.seq));
        let parts = Parts {
            storage: Arc::clone(&storage),
            manifest: Arc::new(manifest),
            spares: Arc::new(spares),
            chain: Arc::clone(&chain),
            bell: Arc::new(Bell::default()),
        };
        let committer = Committer::new(parts.clone(), config, found.manifest.segment_bytes, start)?;
        let retention = Retention::new(parts.clone(), config.store_seq.unwrap_or(found.checkpoint.n));
        let writer = Arc::new(Writer { parts, committer, retention, first_seq_of_opening: tail.seq + 1, thread: Mutex::new(None) });
        if config.background {
            let weak = Arc::downgrade(&writer);
            writer.parts.bell.set_starter(Box::new(move || start_thread(&weak)));
        }
        Ok(Self::assemble(storage, chain, Some(writer), &found))
    }

    /// Appending goes on in the segment that was closed cleanly.
    fn go_on(storage: &S, found: &Found) -> Result<Start<S::File>> {
        let bound = found.manifest.bound;
        let head = load(storage, &found.family, bound.segment, Access::Write)?;
        let open = head.open.unwrap_or(Open {
            first_seq: bound.tail.seq + 1,
            how: How::First,
            link: Link::default(),
            before: bound.tail,
            checkpoint: Checkpoint::default(),
            epoch: found.manifest.epoch,
        });
        Ok(Start {
            header: head.header,
            file: head.file,
            open,
            offset: bound.offset,
            last_frame: Placed::default(),
            tail: bound.tail,
            bound,
            checkpoint: found.checkpoint,
            epoch: found.manifest.epoch,
        })
    }

    /// Renames damaged files. The manifest says which already, so that a crash between does not lose them.
    fn move_aside(storage: &S, spares: &Spares<S>, found: &mut Found) -> Result<()> {
        for name in &found.aside {
            let damaged = FileName::Damaged(name.index());
            storage.rename(*name, damaged).map_err(|io| io.in_file(*name, "cannot move a damaged segment aside"))?;
        }
        if !found.aside.is_empty() {
            spares.sync_dir()?;
        }
        found.report.files_aside = found.aside.len() as u64;
        Ok(())
    }

    fn writer(&self) -> Result<&Writer<S>> {
        self.writer.as_deref().ok_or_else(|| Error::new(Code::ReadOnly, "the log was opened read-only"))
    }

    /// Appends one record; returns its seq as the sync mode says.
    pub fn append(&self, op: u8, key: &[u8], value: &[u8]) -> Result<Seq> {
        self.writer()?.committer.append(op, key, value)
    }

    /// Appends records that are there all or not at all after any crash; returns the last one's seq.
    pub fn append_batch<E: Entries + ?Sized>(&self, entries: &E, durability: Durability) -> Result<Seq> {
        self.writer()?.committer.append_batch(entries, durability)
    }

    /// Returns once everything up to `seq` is durable; `seq::LAST` stands for everything appended so far.
    pub fn sync(&self, seq: Seq) -> Result<()> {
        self.writer()?.committer.sync(seq)
    }

    /// Hands everything appended so far to the operating system.
    pub fn flush(&self) -> Result<()> {
        self.writer()?.committer.flush().map(|_| ())
    }

    /// Waits until `seq` is durable, without starting a sync; `seq` may still have to be appended. 0 polls, `u64::MAX` waits for ever.
    pub fn wait_durable(&self, seq: Seq, timeout_us: u64) -> Result<Waited> {
        let writer = self.writer()?;
        if seq > seq::MAX {
            return Err(Error::new(Code::Range, "seq is no sequence number"));
        }
        let mut outcome = Ok(Waited::TimedOut);
        self.chain.wait_until(timeout(timeout_us), || {
            if self.chain.durable() >= seq {
                outcome = Ok(Waited::Durable);
                return true;
            }
            match writer.committer.check_usable() {
                Ok(()) => false,
                Err(error) => {
                    outcome = Err(error);
                    true
                }
            }
        });
        if outcome == Ok(Waited::Durable) && self.chain.is_closed() {
            writer.committer.check_usable()?;
        }
        outcome
    }

    /// The host's store durably holds every record up to `covered`; returns the highest seq that this makes safe to truncate to.
    pub fn checkpoint(&self, covered: Seq) -> Result<Seq> {
        let writer = self.writer()?;
        let checkpoint = match writer.committer.append_checkpoint(covered) {
            Ok((_, checkpoint)) => checkpoint,
            Err((Some(covered), error)) if error.code == Code::NoSpace => {
                // No frame can be written; the manifest alone can still hold what the host declares.
                writer.committer.sync(covered)?;
                Checkpoint { n: covered, covered }
            }
            Err((_, error)) => return Err(error),
        };
        let highest =
            writer.retention.install_checkpoint(checkpoint, writer.committer.bound()).map_err(|failed| writer.install_failed(failed))?;
        writer.committer.note_checkpoint(highest);
        self.checkpoint_covered.store(highest.covered, Ordering::Release);
        self.checkpoint_n.store(highest.n, Ordering::Release);
        Ok(checkpoint.n)
    }

    /// Forgets every record up to `up_to`.
    pub fn truncate(&self, up_to: Seq, unchecked: bool) -> Result<()> {
        let writer = self.writer()?;
        writer.committer.check_usable()?;
        if !writer.retention.check(up_to, writer.committer.last_seq(), unchecked)? {
            return Ok(());
        }
        // What is forgotten was durable first: else a crash could bring a seq back that was forgotten.
        writer.committer.sync(up_to)?;
        let data_seq = match writer.committer.data_seq_at(up_to) {
            Some(data_seq) => data_seq,
            None => writer.retention.read_data_seq(up_to)?,
        };
        let forget = Forget { up_to, data_seq };
        let bound = writer.committer.bound();
        writer.retention.forget(forget, bound, |forget| writer.swap(forget)).map_err(|failed| writer.install_failed(failed))?;
        if !writer.parts.bell.ring(|work| work.drop = true) {
            writer.retention.drop_segments()?;
        }
        Ok(())
    }

    /// A cursor over every record above `after`; `seq::OLDEST` begins at the oldest one kept.
    pub fn replay(&self, after: Seq, options: ReplayOptions) -> Result<Replay<S>> {
        if self.chain.is_closed() {
            return Err(Error::new(Code::Closed, "the log has been shut down"));
        }
        if let Some(writer) = &self.writer
            && !writer.committer.is_poisoned()
        {
            writer.committer.sync(seq::LAST)?;
        }
        let (floor, forgotten_data) = self.chain.forgotten();
        let after = match after {
            seq::OLDEST => floor,
            after => {
                let last = if self.writer.is_some() || options.unsynced { self.last_seq() } else { self.chain.durable() };
                gap::check(after, gap::Extent { forgotten_data, last })?;
                after.max(floor)
            }
        };
        let cursor = Cursor::new(&self.storage, Arc::clone(&self.chain), after, options, self.found.segment_bytes)?;
        // A truncation may have come between; then the segments it needs may be gone.
        let (_, forgotten_now) = self.chain.forgotten();
        if forgotten_now > forgotten_data && after < forgotten_now && after != floor {
            gap::check(after, gap::Extent { forgotten_data: forgotten_now, last: self.last_seq() })?;
        }
        Ok(Replay { cursor, writer: self.writer.as_ref().map_or_else(Weak::new, Arc::downgrade) })
    }

    /// No appends, syncs, checkpoints or truncations from here on; wakes everybody who waits. Appends under way still complete.
    pub fn shutdown(&self) -> Result<()> {
        match &self.writer {
            Some(writer) => writer.committer.shut_down(),
            None => self.chain.close(),
        }
        Ok(())
    }

    /// Syncs what is left, marks the log clean and frees everything. The error is the final sync's. A log that is dropped without it is found
    /// as after a crash.
    pub fn close(self) -> Result<()> {
        self.writer.as_ref().map_or(Ok(()), |writer| writer.close())
    }

    /// In a child made by `fork`: forgets the handle without touching locks, files or the thread, none of which belong to the child.
    pub fn discard(self) {
        std::mem::forget(self);
    }

    /// After a caught panic: nothing may be appended any more.
    pub fn poison(&self) {
        if let Some(writer) = &self.writer {
            writer.committer.poison();
        }
    }

    /// The last seq appended.
    pub fn last_seq(&self) -> Seq {
        self.writer.as_ref().map_or_else(|| self.chain.readable(), |writer| writer.committer.last_seq())
    }

    /// The last seq that is durable.
    pub fn durable_seq(&self) -> Seq {
        self.chain.durable()
    }

    /// What the highest checkpoint allows to truncate to.
    pub fn checkpoint_seq(&self) -> Seq {
        self.checkpoint_n.load(Ordering::Acquire)
    }

    /// The oldest record kept, one above the last if there is none.
    pub fn oldest_seq(&self) -> Seq {
        self.chain.oldest()
    }

    /// The log's identity.
    pub fn log_id(&self) -> LogId {
        self.found.log_id
    }

    /// What this opening found and did.
    pub fn report(&self) -> Report {
        self.found.report
    }

    /// What an operator wants to see.
    pub fn stat(&self) -> Stat {
        let (segments, doomed) = self.chain.counts();
        let mut stat = Stat {
            last_seq: self.last_seq(),
            durable_seq: self.durable_seq(),
            checkpoint_seq: self.checkpoint_seq(),
            checkpoint_covered: self.checkpoint_covered.load(Ordering::Acquire),
            oldest_seq: self.oldest_seq(),
            floor_seq: self.chain.forgotten().0,
            epoch: self.found.epoch,
            segment_bytes: self.found.segment_bytes,
            segments: (segments + doomed) as u64,
            spares: self.found.report.spares,
            ..Stat::default()
        };
        if let Some(writer) = &self.writer {
            let counts = writer.committer.counts();
            let (ready, pool) = writer.parts.spares.counts();
            stat.spares = (ready + pool) as u64;
            stat.appends = counts.appends;
            stat.records = stat.last_seq + 1 - writer.first_seq_of_opening;
            stat.appended_bytes = counts.bytes;
            stat.writes = counts.writes;
            stat.syncs = counts.syncs;
            stat.rotations = counts.rotations;
            stat.recycled = writer.parts.spares.recycled();
            stat.poisoned = writer.committer.is_poisoned();
        }
        stat.disk_bytes = (stat.segments + stat.spares) * stat.segment_bytes + MANIFEST_LEN as u64;
        stat
    }
}

impl<S: Storage> Drop for Log<S> {
    fn drop(&mut self) {
        match &self.writer {
            Some(writer) => writer.stop(),
            None => self.chain.close(),
        }
    }
}

impl<S: Storage> Writer<S> {
    /// Replaces the active segment if all its records are forgotten and it is worth it: half full, or no successor could be had for it.
    fn swap(&self, forget: &Forget) -> core::result::Result<Option<u32>, InstallError> {
        if forget.up_to != self.committer.last_seq() {
            return Ok(None);
        }
        let bound = self.committer.bound();
        let (ready, pool) = self.parts.spares.counts();
        let worth_it = bound.offset >= self.parts.manifest.current().segment_bytes / 2 || ready + pool < 2;
        if !worth_it {
            return Ok(None);
        }
        self.committer.swap_forgotten(forget.up_to, |manifest, segment| forget.apply(manifest, segment))
    }

    fn install_failed(&self, failed: InstallError) -> Error {
        if failed.is_final {
            self.committer.poison();
        }
        failed.error
    }

    /// Ends the background thread, which holds the log while it runs.
    fn stop(&self) {
        self.committer.shut_down();
        if self.parts.bell.stop() {
            let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(thread) = thread {
                // A panic of the thread left nothing half done that the next opening would not find.
                let _panicked = thread.join();
            }
        }
    }

    fn close(&self) -> Result<()> {
        self.stop();
        let (bound, dirty) = self.committer.finish()?;
        // What fails to be dropped now, the next opening drops.
        let _next_time = self.retention.drop_segments();
        if dirty {
            self.parts
                .manifest
                .install(|manifest| {
                    manifest.dirty = false;
                    manifest.bound = bound;
                })
                .map_err(|failed| failed.error)?;
        }
        Ok(())
    }

    /// The background thread's work until it is told to end.
    fn work(&self) {
        loop {
            let work = self.parts.bell.take();
            if work.stop {
                return;
            }
            if work.sync {
                self.committer.sync_in_background();
            }
            if work.prepare {
                // The error, if any, is met again by the append that needs the spare.
                let _met_again = self.parts.spares.ensure(2);
            }
            if work.drop {
                let _next_time = self.retention.drop_segments();
            }
        }
    }
}

fn start_thread<S: Storage>(writer: &Weak<Writer<S>>) -> bool {
    let Some(writer) = writer.upgrade() else {
        return false;
    };
    let mut started = None;
    let for_thread = Arc::clone(&writer);
    let mut for_thread = Some(for_thread);
    writer.parts.storage.start_thread(&mut || {
        if let Some(writer) = for_thread.take() {
            started = std::thread::Builder::new().name("wal".into()).stack_size(256 << 10).spawn(move || writer.work()).ok();
        }
    });
    let running = started.is_some();
    *writer.thread.lock().unwrap_or_else(PoisonError::into_inner) = started;
    running
}

fn timeout(timeout_us: u64) -> Option<Duration> {
    (timeout_us != u64::MAX).then(|| Duration::from_micros(timeout_us))
}

/// A cursor, and its way to the log for what is not written yet. Outlives the log.
pub struct Replay<S: Storage> {
    cursor: Cursor<S>,
    /// Weak, so that a cursor that outlives the log does not hold its lock.
    writer: Weak<Writer<S>>,
}

impl<S: Storage> Replay<S> {
    /// The next record; `None` at the end. Called again later it goes on with what came since.
    #[expect(clippy::should_implement_trait, reason = "the record borrows from the cursor")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        if self.cursor.shows_unsynced() && !self.cursor.has_more() {
            self.flush();
        }
        self.cursor.next()
    }

    /// Waits until there is more. 0 polls, `u64::MAX` waits for ever.
    pub fn wait(&mut self, timeout_us: u64) -> Result<Waited> {
        /// What is only in the log's buffer is looked for this often.
        const LOOK_US: u64 = 1000;
        let deadline = timeout(timeout_us).and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if self.cursor.shows_unsynced() {
                self.flush();
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let slice =
                if self.cursor.shows_unsynced() { Some(left.unwrap_or(Duration::MAX).min(Duration::from_micros(LOOK_US))) } else { left };
            let cursor = &self.cursor;
            let writer = self.writer.upgrade();
            let failed = || writer.as_ref().is_some_and(|writer| writer.committer.is_poisoned());
            cursor.wait_until(slice, || cursor.has_more() || cursor.is_closed() || failed());
            if cursor.is_closed() {
                return Err(Error::new(Code::Closed, "the log has been shut down or closed"));
            }
            if cursor.has_more() {
                return Ok(Waited::Durable);
            }
            if let Some(writer) = &writer
                && failed()
            {
                writer.committer.check_usable()?;
            }
            if deadline.is_some_and(|at| at <= Instant::now()) {
                return Ok(Waited::TimedOut);
            }
        }
    }

    /// In a child made by `fork`: forgets the cursor without touching locks.
    pub fn discard(self) {
        std::mem::forget(self);
    }

    fn flush(&self) {
        if let Some(writer) = self.writer.upgrade() {
            // On a failure the cursor stops at what is durable.
            let _poisoned_if_failed = writer.committer.flush();
        }
    }
}
