//! What a host asks of pins. Needs the directory and no open log: any process may, whether another has the log open or not.

use super::store::{Kept, Standing, make, names, read_all, rewrite, sync_dir};
use crate::config::LogId;
use crate::error::{Code, Error, Result};
use crate::format::manifest_slot::Manifest;
use crate::format::pin::{Pin, PinName};
use crate::manifest::{self, Read};
use crate::memory;
use crate::names::FileName;
use crate::protocol::gap;
use crate::segment::head::{Family, load};
use crate::seq::{self, Seq};
use crate::storage::{Access, IoKind, Storage};

/// How often something is tried again that another process was changing meanwhile.
const ATTEMPTS: usize = 100;

/// How much a pin may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// The most that forgotten segments may hold for it, in bytes; 0 = no limit.
    pub max_bytes: u64,
    /// Whether appends are refused above it; else the pin is lost.
    pub refuses: bool,
}

/// A pin as a host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinInfo {
    /// The number in its file's name.
    pub index: u32,
    /// What it says; `None` if it is damaged.
    pub pin: Option<Pin>,
    /// Bytes of forgotten segments that stand on disk and that it needs.
    pub held_bytes: u64,
    /// How many they are.
    pub held_segments: u64,
}

/// Makes a pin: from here on everything above `seq`, or above what is forgotten if that is more, stays. Returns from where on. `seq::OLDEST` pins all
/// that the host has not forgotten.
pub fn create<S: Storage>(storage: &S, name: PinName, seq: Seq, limit: Limit) -> Result<Seq> {
    if seq > seq::MAX && seq != seq::OLDEST {
        return Err(Error::new(Code::Range, "seq is no sequence number"));
    }
    let _lock = lock(storage)?;
    let manifest = read_manifest(storage)?;
    let from = pinnable(&manifest, seq)?;
    let names = names(storage)?;
    let pins = read_all(storage, &names, manifest.log_id)?;
    for kept in &pins {
        match kept.standing {
            Standing::Whole(pin) if pin.dropped => {
                // Whoever took it away did not come to removing the file.
                storage
                    .remove(FileName::Pin(kept.index))
                    .map_err(|io| io.in_file(FileName::Pin(kept.index), "cannot remove a pin's file"))?;
            }
            Standing::Whole(pin) if pin.name == name => {
                return Err(Error::new(Code::Exists, "there is a pin of this name already").in_file(FileName::Pin(kept.index)));
            }
            // It may be the one.
            Standing::Unreadable(error) => return Err(error),
            Standing::Whole(_) | Standing::Damaged => {}
        }
    }
    for &draft in names.iter().filter(|name| matches!(name, FileName::Draft(_))) {
        // Nobody else makes one now, so it is what a crash left.
        storage.remove(draft).map_err(|io| io.in_file(draft, "cannot remove what an interrupted making of a pin left"))?;
    }
    let index = free_index(&names)?;
    let pin = Pin {
        generation: 1,
        log_id: manifest.log_id,
        name,
        seq: from,
        max_bytes: limit.max_bytes,
        refuses: limit.refuses,
        lost_to: None,
        dropped: false,
    };
    make(storage, index, &pin)?;
    // Only now does a log that drops segments see it. What was forgotten before that may be gone; what is forgotten later stays.
    match settle(storage, index, pin, seq) {
        Ok(pin) => Ok(pin.seq),
        Err(error) => {
            storage
                .remove(FileName::Pin(index))
                .map_err(|io| io.in_file(FileName::Pin(index), "cannot remove a pin that came too late"))?;
            sync_dir(storage)?;
            Err(error)
        }
    }
}

/// Sees to it that a new pin holds: one that is to begin wherever the host has forgotten up to follows it up to there.
fn settle<S: Storage>(storage: &S, index: u32, mut pin: Pin, seq: Seq) -> Result<Pin> {
    for _ in 0..ATTEMPTS {
        let from = pinnable(&read_manifest(storage)?, if seq == seq::OLDEST { seq } else { pin.seq })?;
        if seq != seq::OLDEST || from == pin.seq {
            return Ok(pin);
        }
        pin = rewrite(storage, index, &pin, |pin| pin.seq = from)?;
    }
    Err(Error::new(Code::Gap, "the host forgets faster than a pin can be made").seqs(pin.seq + 1, pin.seq + 1))
}

/// Moves a pin up to `seq`, durably before anything that it kept may go. A pin never moves back.
pub fn advance<S: Storage>(storage: &S, name: &str, seq: Seq) -> Result<()> {
    if seq > seq::MAX {
        return Err(Error::new(Code::Range, "seq is no sequence number"));
    }
    let _lock = lock(storage)?;
    let (kept, pin) = find(storage, name)?;
    if let Some(lost_to) = pin.lost_to {
        let what = "the pin reached its limit and was given up: records above it may be gone; drop it and begin anew";
        return Err(Error::new(Code::Gap, what).in_file(FileName::Pin(kept.index)).seqs(pin.seq + 1, lost_to));
    }
    if seq < pin.seq {
        let what = "a pin moves up only: what is below it may be gone";
        return Err(Error::new(Code::Range, what).in_file(FileName::Pin(kept.index)).seqs(seq, pin.seq));
    }
    if seq > pin.seq {
        rewrite(storage, kept.index, &pin, |pin| pin.seq = seq)?;
    }
    Ok(())
}

/// Takes a pin away, for good. A damaged one is called by the name of its file.
pub fn remove<S: Storage>(storage: &S, name: &str) -> Result<()> {
    let _lock = lock(storage)?;
    let index = match damaged(storage, name)? {
        Some(index) => index,
        None => {
            let (kept, pin) = find(storage, name)?;
            // Durable before the name goes: a log that sees no file may drop segments at once, and a power cut may bring the file back.
            rewrite(storage, kept.index, &pin, |pin| pin.dropped = true)?;
            kept.index
        }
    };
    storage.remove(FileName::Pin(index)).map_err(|io| io.in_file(FileName::Pin(index), "cannot remove the pin's file"))?;
    sync_dir(storage)
}

/// Calls `each` with every pin, and what is on disk for its sake.
pub fn list<S: Storage>(storage: &S, each: &mut dyn FnMut(&PinInfo) -> Result<()>) -> Result<()> {
    let manifest = read_manifest(storage)?;
    let names = names(storage)?;
    if names.is_empty() {
        return Ok(());
    }
    let _lock = lock(storage)?;
    let pins = read_all(storage, &names, manifest.log_id)?;
    let lowest = pins.iter().filter_map(Kept::keeps).min().unwrap_or(seq::MAX);
    let ends = forgotten_ends(storage, &manifest, lowest)?;
    for kept in &pins {
        let pin = match kept.standing {
            Standing::Whole(pin) if pin.dropped => continue,
            Standing::Whole(pin) => Some(pin),
            Standing::Damaged => None,
            Standing::Unreadable(error) => return Err(error),
        };
        let held_segments = kept.keeps().map_or(0, |seq| ends.iter().filter(|&&end| end > seq).count() as u64);
        each(&PinInfo { index: kept.index, pin, held_bytes: held_segments * manifest.segment_bytes, held_segments })?;
    }
    Ok(())
}

/// The last seqs of the forgotten segments that are still there and hold something above `lowest`: back from the oldest one that counts.
fn forgotten_ends<S: Storage>(storage: &S, manifest: &Manifest, lowest: Seq) -> Result<Vec<Seq>> {
    let family = Family::from(manifest);
    let mut ends = Vec::new();
    let mut index = manifest.oldest_segment;
    // Where the way back ends, for whatever reason, nobody can read on either.
    while let Ok(head) = load(storage, &family, index, Access::Read) {
        let Some(open) = head.open.filter(|open| open.before.seq > lowest && (1..index).contains(&open.link.index)) else {
            break;
        };
        index = open.link.index;
        if load(storage, &family, index, Access::Read).is_err() {
            break;
        }
        memory::push(&mut ends, open.before.seq)?;
    }
    Ok(ends)
}

fn lock<S: Storage>(storage: &S) -> Result<S::PinsLock> {
    // First of all: a directory without a log gets no file.
    match storage.open(FileName::Manifest, Access::Read) {
        Err(io) if io.kind == IoKind::NotFound => return Err(no_log()),
        opened => drop(opened.map_err(|io| io.in_file(FileName::Manifest, "cannot open the manifest"))?),
    }
    storage
        .lock_pins(true)
        .map_err(|io| io.in_file(FileName::Pins, "cannot lock the pins: another process holds the lock, or it cannot be written"))
}

fn no_log() -> Error {
    Error::new(Code::NotFound, "there is no log in this directory").in_directory()
}

/// The manifest of a log that somebody may be writing: a read that falls into two writes may find no copy whole.
fn read_manifest<S: Storage>(storage: &S) -> Result<Manifest> {
    for _ in 0..ATTEMPTS {
        match manifest::read(storage)? {
            Read::Valid(manifest, _) => return Ok(manifest),
            Read::Missing => return Err(no_log()),
            Read::Invalid => {}
        }
    }
    Err(Error::new(Code::Corrupt, "both slots of the manifest are damaged; open the log, which says what can be done")
        .in_file(FileName::Manifest))
}

/// From where on everything is there and will be kept by a pin at `seq`.
fn pinnable(manifest: &Manifest, seq: Seq) -> Result<Seq> {
    if seq == seq::OLDEST {
        return Ok(manifest.floor);
    }
    gap::check(seq, gap::Extent { forgotten_data: manifest.forgotten_data, last: seq::MAX })?;
    Ok(seq.max(manifest.floor))
}

fn free_index(names: &[FileName]) -> Result<u32> {
    let highest = names.iter().map(|name| name.index()).max().unwrap_or(0);
    if let Some(next) = highest.checked_add(1) {
        return Ok(next);
    }
    // Somebody has used the highest name there is.
    (1..u32::MAX)
        .find(|&index| !names.iter().any(|name| name.index() == index))
        .ok_or_else(|| Error::new(Code::NoSpace, "there is no name left for a pin"))
}

/// The pin called `name`.
fn find<S: Storage>(storage: &S, name: &str) -> Result<(Kept, Pin)> {
    let log_id: LogId = read_manifest(storage)?.log_id;
    let mut unread = Ok(());
    for kept in read_all(storage, &names(storage)?, log_id)? {
        match kept.standing {
            Standing::Whole(pin) if pin.name.as_str() == name && !pin.dropped => return Ok((kept, pin)),
            Standing::Unreadable(error) => unread = Err(error),
            Standing::Whole(_) | Standing::Damaged => {}
        }
    }
    unread.and_then(|()| Err(Error::new(Code::NotFound, "there is no pin of this name")))
}

/// The damaged pin whose file has this name.
fn damaged<S: Storage>(storage: &S, name: &str) -> Result<Option<u32>> {
    let Some(FileName::Pin(index)) = FileName::parse(name.as_bytes()) else {
        return Ok(None);
    };
    let pins = read_all(storage, &[FileName::Pin(index)], LogId::default())?;
    Ok(pins.iter().find(|kept| kept.standing == Standing::Damaged).map(|kept| kept.index))
}

/// The lowest seq of a pin that can be read; `None` without one.
pub fn oldest<S: Storage>(storage: &S, log_id: LogId) -> Result<Option<Seq>> {
    let pins = read_all(storage, &names(storage)?, log_id)?;
    let whole = pins.iter().filter(|kept| matches!(kept.standing, Standing::Whole(_)));
    Ok(whole.filter_map(Kept::keeps).min())
}
