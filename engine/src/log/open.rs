//! Opening a log and looking at one.

use super::writer::{Calls, Writer, start_thread};
use super::{FoundState, Log, Report};
use crate::bell::Bell;
use crate::chain::{Chain, Segment};
use crate::commit::{Committer, Start};
use crate::config::{Config, OpenKind, Recovery};
use crate::error::{Code, Error, Result};
use crate::events::{Event, Events, Listener};
use crate::follow::Follower;
use crate::format::control::{Checkpoint, How, Link, Open};
use crate::format::manifest_slot::Manifest;
use crate::format::segment_header::SegmentHeader;
use crate::manifest::ManifestFile;
use crate::memory::{Shared, boxed};
use crate::names::FileName;
use crate::parts::Parts;
use crate::pins::{Held, Keeper};
use crate::recovery::{self, Ending, Found, Survey};
use crate::retention::Retention;
use crate::segment::buffer::Placed;
use crate::segment::head::load;
use crate::spares::Spares;
use crate::storage::{Access, IoError, IoKind, LockKind, Storage};
use crate::sync::{Instant, Mutex};

/// What open would find. Changes nothing, but holds the lock as a reader while it looks. If `full`, every record is verified, and `each` is called with
/// every damage.
pub fn inspect<S: Storage>(storage: &S, config: &Config, full: bool, each: &mut dyn FnMut(&Error)) -> Result<Report> {
    let began = Instant::now();
    let config = config.checked()?;
    lock(storage, LockKind::Shared)?;
    let strict = Config { recovery: Recovery::Strict, ..config };
    let survey = match recovery::survey(storage, &strict, full) {
        // As a prefix recovery sees it, so that damage is described and not just met.
        Err(damage) if damage.code == Code::Corrupt => recovery::survey(storage, &Config { recovery: Recovery::Prefix, ..config }, true)?,
        survey => survey?,
    };
    let mut report = match survey {
        Survey::Nothing(_) => return Err(no_log()),
        Survey::Log(found) => found.report,
    };
    if full {
        recovery::examine(storage, &config, &mut |damage| {
            report.damages += 1;
            each(damage);
        })?;
    } else {
        report.damages = report.damage.is_some().into();
    }
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
        Log::open_heard(storage, config, None)
    }

    /// The same with a listener, which first hears of a log once it is open, before this returns.
    pub fn open_heard(storage: S, config: &Config, listener: Option<Box<dyn Listener>>) -> Result<Log<S>> {
        let began = Instant::now();
        let config = config.checked()?;
        if config.open == OpenKind::Live {
            let log = Self::follow(Shared::new(storage)?, &config, began, Events::new(listener)?)?;
            log.tell_of_opening();
            return Ok(log);
        }
        let read_only = config.open == OpenKind::ReadOnly;
        lock(&storage, if read_only { LockKind::Shared } else { LockKind::Exclusive })?;
        let storage = Shared::new(storage)?;
        let events = Events::new(listener)?;
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
                Self::start(storage, &config, found, manifest, events)?
            }
            Survey::Log(found) => {
                found.check_store(&config)?;
                if read_only {
                    Self::read_only(storage, found, events)?
                } else {
                    let manifest = if found.report.rebuilt_manifest {
                        ManifestFile::rebuild(&*storage, found.manifest)?
                    } else {
                        ManifestFile::open(&*storage, found.manifest)?
                    };
                    Self::start(storage, &config, found, manifest, events)?
                }
            }
        };
        log.found.report.duration_us = elapsed_us(began);
        log.tell_of_opening();
        Ok(log)
    }

    fn tell_of_opening(&self) {
        let report = &self.found.report;
        let say = |event| self.events.say(event);
        if self.writer.is_some() {
            if report.created {
                say(Event::Created);
            }
            if let Some(damage) = report.damage {
                say(Event::Damaged(damage));
            }
            if report.rebuilt_manifest {
                say(Event::ManifestRebuilt);
            }
            if report.lost_first_seq > 0 {
                say(Event::Lost { first: report.lost_first_seq, last: report.lost_last_seq });
            }
            if report.files_aside > 0 {
                say(Event::MovedAside { files: report.files_aside });
            }
            if report.dropped_bytes > 0 {
                say(Event::Dropped {
                    segment: report.dropped_segment,
                    offset: report.dropped_offset,
                    bytes: report.dropped_bytes,
                    frames: report.dropped_frames,
                });
            }
            if !report.clean && !report.created {
                say(Event::Recovered { records: report.copied_records, bytes: report.copied_bytes });
            }
        }
        say(Event::Opened { oldest: self.oldest_seq(), last: self.last_seq(), duration_us: report.duration_us });
        self.events.deliver();
    }

    /// A log that another process may be writing: without its lock, and without a word to it.
    fn follow(storage: Shared<S>, config: &Config, began: Instant, events: Shared<Events>) -> Result<Log<S>> {
        let follower = Follower::open(&storage, config)?;
        let manifest = follower.manifest();
        let chain = follower.chain().clone();
        let report = Report {
            log_id: manifest.log_id,
            epoch: manifest.epoch,
            clean: !manifest.dirty,
            last_seq: chain.durable(),
            floor_seq: manifest.floor,
            forgotten_data_seq: manifest.forgotten_data,
            checkpoint_seq: manifest.checkpoint.n,
            checkpoint_covered: manifest.checkpoint.covered,
            oldest_seq: chain.oldest(),
            segments: chain.counts().0 as u64,
            segment_bytes: manifest.segment_bytes,
            duration_us: elapsed_us(began),
            ..Report::default()
        };
        let found = FoundState {
            report,
            log_id: manifest.log_id,
            epoch: manifest.epoch,
            segment_bytes: manifest.segment_bytes,
            pins: Held::default(),
        };
        let checkpoint = Mutex::new(manifest.checkpoint);
        Ok(Log { storage, chain, writer: None, follower: Some(Shared::new(follower)?), found, checkpoint, events })
    }

    fn read_only(storage: Shared<S>, found: Found, events: Shared<Events>) -> Result<Log<S>> {
        // Room for what is added below.
        let mut segments = Vec::new();
        segments.try_reserve(found.segments.len() + 2).map_err(|_| Error::new(Code::NoMemory, "no memory for the list of segments"))?;
        segments.extend_from_slice(&found.segments);
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
            if unclean.first_seq > unclean.before.seq + 1 {
                // The hole at the end, as a segment without a frame, so that a cursor meets it.
                let mut header = segments.last().map_or(Self::nowhere(&found), |last| last.header);
                header.index += 1;
                let end = Some((header.data_start, unclean.tail));
                segments.push(Segment { header, first_seq: unclean.first_seq, before: unclean.before, end });
            }
        }
        if segments.is_empty() {
            // Killed before anything in its first segment was durable: nothing to show, but a place to begin.
            let header = Self::nowhere(&found);
            segments.push(Segment { header, first_seq: tail.seq + 1, before: tail, end: Some((header.data_start, tail)) });
        }
        let forgotten = (found.manifest.floor, found.manifest.forgotten_data);
        let chain = Shared::new(Chain::new(&segments, forgotten.0, forgotten.1, found.vouched().seq, tail.seq)?)?;
        chain.keep(&found.kept)?;
        Ok(Self::assemble(storage, chain, None, &found, events))
    }

    /// The header of a segment that stands for none.
    fn nowhere(found: &Found) -> SegmentHeader {
        SegmentHeader::new(found.family.log_id, found.family.seed_base, found.manifest.bound.segment, found.family.segment_bytes, false)
    }

    fn assemble(
        storage: Shared<S>,
        chain: Shared<Chain>,
        writer: Option<Shared<Writer<S>>>,
        found: &Found,
        events: Shared<Events>,
    ) -> Log<S> {
        Log {
            storage,
            chain,
            writer,
            follower: None,
            found: FoundState {
                report: found.report,
                log_id: found.manifest.log_id,
                epoch: found.manifest.epoch,
                segment_bytes: found.manifest.segment_bytes,
                pins: Held::of(&found.pins),
            },
            checkpoint: Mutex::new(found.checkpoint),
            events,
        }
    }

    fn start(
        storage: Shared<S>,
        config: &Config,
        mut found: Found,
        manifest: ManifestFile<S::File>,
        events: Shared<Events>,
    ) -> Result<Log<S>> {
        let pool_limit = config.recycle_segments as usize;
        let spares = Spares::new(storage.clone(), found.family, pool_limit, &found.leftovers, found.highest_index)?;
        let start = match found.ending {
            Ending::Unclean(unclean) => {
                let recovered = recovery::recover(&*storage, &manifest, &spares, &mut found, unclean)?;
                found.report.epoch = found.manifest.epoch;
                let offset = recovered.bound.offset;
                #[cfg(wal_plants)]
                let offset = crate::plants::Mistake::AppendsBehindTornEnd
                    .or(offset.saturating_add(found.report.dropped_bytes.next_multiple_of(8)), offset);
                Start {
                    header: recovered.prepared.header,
                    file: recovered.prepared.file,
                    open: recovered.open,
                    offset,
                    last_frame: recovered.last_frame,
                    tail: recovered.bound.tail,
                    bound: recovered.bound,
                    checkpoint: found.checkpoint,
                    epoch: found.manifest.epoch,
                }
            }
            Ending::Clean => {
                if found.restore_slot {
                    manifest.install_twice(|_| {}).map_err(|failed| failed.error)?;
                }
                if found.tail().seq == 0 && !found.report.created {
                    // Whoever made this log may have died before its names were durable. The first append would see to that; but a host that
                    // has opened a log may rely on there being one.
                    storage.sync_dir().map_err(|io| io.in_directory("cannot sync the log's directory"))?;
                }
                Self::go_on(&*storage, &found)?
            }
        };
        Self::move_aside(&*storage, &spares, &mut found)?;
        let tail = start.tail;
        let chain = Chain::new(&found.segments, found.manifest.floor, found.manifest.forgotten_data, tail.seq, tail.seq)?;
        chain.keep(&found.kept)?;
        let (chain, spares) = (Shared::new(chain)?, Shared::new(spares)?);
        let Manifest { log_id, segment_bytes, .. } = found.manifest;
        let keeper = Keeper::new(storage.clone(), chain.clone(), spares.clone(), log_id, segment_bytes, &found.pins);
        let parts = Parts {
            storage: storage.clone(),
            manifest: Shared::new(manifest)?,
            spares,
            chain,
            pins: Shared::new(keeper)?,
            bell: Shared::new(Bell::default())?,
            events: events.clone(),
        };
        let chain = parts.chain.clone();
        let committer = Committer::new(parts.clone(), config, found.manifest.segment_bytes, start)?;
        let retention = Retention::new(parts.clone(), config.store_seq.unwrap_or(found.checkpoint.n));
        let writer = Shared::new(Writer {
            parts,
            committer,
            retention,
            first_seq_of_opening: tail.seq + 1,
            thread: Mutex::new(None),
            calls: Calls::default(),
        })?;
        if config.background {
            let weak = Shared::downgrade(&writer);
            writer.parts.bell.set_starter(boxed(move || start_thread(&weak))?);
        }
        Ok(Self::assemble(storage, chain, Some(writer), &found, events))
    }

    /// Appending goes on in the segment that was closed cleanly.
    fn go_on(storage: &S, found: &Found) -> Result<Start<S::File>> {
        let bound = found.manifest.bound;
        let tail = bound.tail;
        #[cfg(wal_plants)]
        let tail = if tail.seq.eq(&found.manifest.floor) {
            crate::plants::Mistake::SeqsBeginAgain.or(crate::seq::Tail::default(), tail)
        } else {
            tail
        };
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
            file: Shared::new(head.file)?,
            open,
            offset: bound.offset,
            last_frame: Placed::default(),
            tail,
            bound,
            checkpoint: found.checkpoint,
            epoch: found.manifest.epoch,
        })
    }

    /// Renames damaged files. The manifest says which already, so that a crash between does not lose them.
    fn move_aside(storage: &S, spares: &Spares<S>, found: &mut Found) -> Result<()> {
        for name in &found.aside {
            match storage.rename(*name, FileName::Damaged(name.index())) {
                // Somebody put the segment back under its name: both stay where they are, and neither counts.
                Ok(()) | Err(IoError { kind: IoKind::Exists, .. }) => {}
                Err(io) => return Err(io.in_file(*name, "cannot move a damaged segment aside")),
            }
        }
        if !found.aside.is_empty() {
            spares.sync_dir()?;
        }
        found.report.files_aside = found.aside.len() as u64;
        Ok(())
    }
}
