//! Following a log that another process writes, without its lock: what of it may be shown, as it grows and as old segments go.
//!
//! Nothing here is told by the writer. The follower looks at the manifest and at the segment that is written, and believes only what vouches for bytes: the
//! manifest's bound, the watermarks of frames, and the OPEN of a segment that came by rotation. What it reads meanwhile may be renamed, removed or
//! overwritten by another segment. Three things make that harmless: a segment's frames are checksummed with a seed that no other segment has; the header of a
//! recycled file is replaced before any of its frames are, so that a header which still is the old one *after* a read proves that the bytes were old as well;
//! and the manifest that forgets a segment is installed before the segment goes, so that whoever misses something finds the reason there.

mod tip;

use crate::chain::{Chain, Segment};
use crate::config::Config;
use crate::error::{Code, Error, Result};
use crate::format::control::{How, Open};
use crate::format::manifest_slot::{Bound, Manifest};
use crate::manifest::{self, Peeked};
use crate::memory::{self, Shared};
use crate::names::FileName;
use crate::protocol::gap;
use crate::segment::buffer::read_buffer;
use crate::segment::head::{Family, ends_as_linked, load};
use crate::seq::{self, Seq, Tail};
use crate::storage::{Access, IoKind, Storage};
use crate::sync::Mutex;

use tip::Tip;

/// How often something is looked at again that the writer was changing meanwhile.
const ATTEMPTS: usize = 100;
/// How often a way back to what a pin keeps is looked for: a pin that holds is in nobody's way.
const PINNED_ATTEMPTS: usize = 3;
/// What is read of the end of the log at once, in bytes.
const LOOK_BYTES: u64 = 64 << 10;

/// See the module's head.
pub struct Follower<S: Storage> {
    storage: Shared<S>,
    chain: Shared<Chain>,
    state: Mutex<State<S>>,
}

struct State<S: Storage> {
    /// Stays the same file as long as the log lives.
    file: S::File,
    /// The newest manifest that is believed.
    manifest: Manifest,
    /// The generation of the newest that was seen.
    newest: u64,
    tip: Tip<S::File>,
    buffer: Vec<u8>,
}

impl<S: Storage> State<S> {
    fn peek(&mut self) -> Result<Option<Peeked>> {
        manifest::peek(&self.file, &mut self.buffer)
    }
}

/// What the first look found: where the log begins and ends, from the oldest segment that counts on.
struct Found<F> {
    segments: Vec<Segment>,
    tip: Tip<F>,
    /// A segment that was known before: its index, and its end as the first of these names it.
    joint: Option<(u32, (u64, Tail))>,
}

impl<S: Storage> Follower<S> {
    /// Begins to follow the log in `storage`.
    pub fn open(storage: &Shared<S>, config: &Config) -> Result<Follower<S>> {
        let name = FileName::Manifest;
        let file = storage.open(name, Access::Read).map_err(|io| match io.kind {
            IoKind::NotFound => Error::new(Code::NotFound, "there is no log in this directory").in_directory(),
            _ => io.in_file(name, "cannot open the manifest"),
        })?;
        let mut buffer = read_buffer(LOOK_BYTES)?;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let Some(peeked) = manifest::peek(&file, &mut buffer)? else {
                continue;
            };
            let manifest = peeked.newest;
            if config.expected_log_id.is_some_and(|expected| expected != manifest.log_id) {
                return Err(
                    Error::new(Code::WrongLog, "the log in this directory is not the one that was expected: its id differs").in_file(name)
                );
            }
            if let Some(store) = config.store_seq {
                gap::check(store, gap::Extent { forgotten_data: manifest.forgotten_data, last: seq::MAX })?;
            }
            let found = believed(&**storage, peeked, 0).and_then(|manifest| Ok((manifest, chain_back(&**storage, &manifest, None)?)));
            match found {
                Ok((manifest, Found { segments, tip, .. })) => {
                    let seq = manifest.bound.tail.seq;
                    let chain = Shared::new(Chain::new(&segments, manifest.floor, manifest.forgotten_data, seq, seq)?)?;
                    let state = Mutex::new(State { file, manifest, newest: peeked.newest.generation, tip, buffer });
                    let follower = Follower { storage: storage.clone(), chain, state };
                    follower.look()?;
                    return Ok(follower);
                }
                // What a manifest names stays as long as it is the newest.
                Err(error) if may_be_gone(&error) && last != Some(manifest.generation) => last = Some(manifest.generation),
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(Code::Corrupt, "no copy of the manifest is whole, or it changes faster than it can be followed").in_file(name))
    }

    /// The segments, and how far they may be shown.
    pub fn chain(&self) -> &Shared<Chain> {
        &self.chain
    }

    /// The newest manifest that was seen.
    pub fn manifest(&self) -> Manifest {
        self.state.lock().manifest
    }

    /// Finds out what has come since, and what has gone.
    pub fn look(&self) -> Result<()> {
        let mut state = self.state.lock();
        for _ in 0..ATTEMPTS {
            let peeked = state.peek()?;
            match self.step(&mut state, peeked) {
                Err(error) if may_be_gone(&error) => {
                    let now = state.peek()?.map(|peeked| peeked.newest.generation);
                    if now == Some(state.newest) {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
        // The writer is too fast at this moment; what was seen before stays true.
        Ok(())
    }

    fn step(&self, state: &mut State<S>, peeked: Option<Peeked>) -> Result<()> {
        if let Some(peeked) = peeked {
            state.newest = peeked.newest.generation;
            state.manifest = believed(&*self.storage, peeked, state.tip.index())?;
        }
        let State { manifest, tip, buffer, .. } = state;
        let bound = manifest.bound;
        if bound.segment > tip.index() {
            *tip = self.rejoin(manifest)?;
        }
        self.chain.forget(manifest.floor, manifest.forgotten_data, manifest.oldest_segment);
        // Only its memory: the files are the writer's.
        while self.chain.take_doomed(Seq::MAX).is_some() {}
        loop {
            tip.look(buffer, &bound)?;
            let Some((end, tail, successor)) = tip.ended() else {
                break;
            };
            let head = load(&*self.storage, &Family::from(&*manifest), successor, Access::Read)?;
            let Some(open) = head.open.filter(|open| tip.is_followed_by(open)) else {
                break;
            };
            let next = Segment { header: head.header, first_seq: open.first_seq, before: open.before, end: None };
            self.chain.splice(Some((tip.index(), (end, tail))), &[next])?;
            *tip = Tip::at_start(head.file, next);
        }
        let (vouched, seen) = tip.seqs();
        if vouched > self.chain.durable() {
            self.chain.publish_durable(vouched);
        }
        self.chain.publish_readable(seen.max(self.chain.durable()));
        Ok(())
    }

    /// The writer has gone on to other segments than those that are known: they are found from the manifest's bound backwards.
    fn rejoin(&self, manifest: &Manifest) -> Result<Tip<S::File>> {
        let is_known = |index| self.chain.segment(index).is_some();
        let Found { segments, tip, joint } = chain_back(&*self.storage, manifest, Some(&is_known))?;
        self.chain.splice(joint, &segments)?;
        Ok(tip)
    }

    /// An error of a reader as it is to be told: what was forgotten while it was read is no damage.
    pub fn explain(&self, error: Error, expected: Seq) -> Error {
        if !may_be_gone(&error) {
            return error;
        }
        let floor = match self.state.lock().peek() {
            Ok(Some(peeked)) => peeked.newest.floor,
            _ => self.chain.forgotten().0,
        };
        if floor >= expected { gap::overtaken(expected, floor) } else { error }
    }

    /// Makes what pins keep down to `lowest` known, in front of the chain, and calls `enter` before it can be forgotten again.
    pub fn with_pinned<T>(&self, lowest: Seq, enter: impl Fn() -> Result<T>) -> Result<T> {
        let mut outcome = self.try_pinned(lowest, &enter);
        for _ in 0..PINNED_ATTEMPTS {
            if !matches!(&outcome, Err(error) if may_be_gone(error) || error.code == Code::Gap) {
                break;
            }
            // What was known may have been forgotten a moment ago.
            self.look()?;
            outcome = self.try_pinned(lowest, &enter);
        }
        outcome
    }

    fn try_pinned<T>(&self, lowest: Seq, enter: impl Fn() -> Result<T>) -> Result<T> {
        let state = self.state.lock();
        let Some(oldest) = self.chain.first() else {
            return enter();
        };
        let family = Family::from(&state.manifest);
        let mut kept = Vec::new();
        let mut index = oldest.header.index;
        let mut open = load(&*self.storage, &family, index, Access::Read)?.open;
        // Where the way ends early, `enter` finds that something is missing.
        while let Some(this) = open.filter(|open| open.before.seq > lowest)
            && let Ok((segment, own)) = predecessor(&*self.storage, &family, index, &this)
        {
            memory::push(&mut kept, segment)?;
            (index, open) = (segment.header.index, Some(own));
        }
        kept.reverse();
        self.chain.keep(&kept)?;
        enter()
    }
}

/// Whether an error may mean that the writer has taken away what was read. Where a removed file is gone for those, too, who have it open, reading it fails.
fn may_be_gone(error: &Error) -> bool {
    matches!(error.code, Code::Corrupt | Code::Io)
}

/// The newest manifest, unless it is the first that names a segment that a recovery made. What stands in that one is durable, but it counts only by this
/// manifest: as long as the other slot is as it was, a power cut may take both back. Once the other one is written, too, this one is durable.
fn believed<S: Storage>(storage: &S, peeked: Peeked, known: u32) -> Result<Manifest> {
    let newest = peeked.newest;
    let Some(before) = peeked.before.filter(|before| newest.bound.segment > known.max(before.bound.segment)) else {
        return Ok(newest);
    };
    let open = load(storage, &Family::from(&newest), newest.bound.segment, Access::Read)?.open;
    Ok(if open.is_some_and(|open| open.how == How::Recovered) { before } else { newest })
}

/// From the manifest's bound back to the oldest segment; or, with `is_known`, to the one behind the first that is, which may have been forgotten and stand
/// there for a pin.
fn chain_back<S: Storage>(storage: &S, manifest: &Manifest, is_known: Option<&dyn Fn(u32) -> bool>) -> Result<Found<S::File>> {
    let family = Family::from(manifest);
    let Bound { segment: bound, offset, tail } = manifest.bound;
    let head = load(storage, &family, bound, Access::Read)?;
    if offset > head.header.data_start && head.open.is_none() {
        return Err(broken(bound));
    }
    let last = Segment {
        header: head.header,
        first_seq: head.open.map_or(tail.seq + 1, |open| open.first_seq),
        before: head.open.map_or(tail, |open| open.before),
        end: None,
    };
    let tip = Tip::at_start(head.file, last);
    let mut segments = memory::collect([last])?;
    let (mut index, mut open, mut joint) = (bound, head.open, None);
    loop {
        let is_oldest = index == manifest.oldest_segment;
        let Some(is_known) = is_known.or(if is_oldest { None } else { Some(&|_| false) }) else {
            break;
        };
        let before = open.ok_or_else(|| broken(index)).and_then(|open| {
            if is_known(open.link.index) {
                joint = Some((open.link.index, (open.link.end, open.before)));
                return Ok(None);
            }
            predecessor(storage, &family, index, &open).map(Some)
        });
        match before {
            Ok(Some((segment, own))) => {
                memory::push(&mut segments, segment)?;
                (index, open) = (segment.header.index, Some(own));
            }
            Ok(None) => break,
            // Below the oldest one nothing need be there.
            Err(error) if error.code == Code::Corrupt && index <= manifest.oldest_segment => break,
            Err(error) => return Err(error),
        }
    }
    segments.reverse();
    Ok(Found { segments, tip, joint })
}

/// The segment in front of the one with this index and OPEN.
fn predecessor<S: Storage>(storage: &S, family: &Family, index: u32, open: &Open) -> Result<(Segment, Open)> {
    let link = open.link;
    if !(1..index).contains(&link.index) {
        return Err(broken(index));
    }
    let head = load(storage, family, link.index, Access::Read)?;
    let own = head.open.ok_or_else(|| broken(link.index))?;
    if !ends_as_linked(&head.file, &head.header, &link)? {
        return Err(broken(link.index));
    }
    Ok((Segment::linked(head.header, &own, open), own))
}

fn broken(index: u32) -> Error {
    Error::new(Code::Corrupt, "the chain of segments is broken here; whoever opens the log for writing is told more")
        .in_file(FileName::Segment(index))
}
