//! Pins on disk: read from the device, written so that a torn write leaves what was there.

use crate::config::LogId;
use crate::error::{Code, Error, Result};
use crate::format::constants::{PIN_COPIES, PIN_COPY_LEN, PIN_LEN, PIN_PAGE_LEN};
use crate::format::pin::Pin;
use crate::memory;
use crate::names::FileName;
use crate::seq::Seq;
use crate::storage::{Access, File, IoError, IoKind, Storage, write_zeros};

/// What a pin's file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A pin of this log.
    Whole(Pin),
    /// Damaged, or of a newer version: what it promises is not known, so nothing may go.
    Damaged,
    /// It cannot be read today. Nothing may go either.
    Unreadable(Error),
}

/// A pin's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The number in its name.
    pub index: u32,
    /// What it says.
    pub standing: Standing,
}

impl Kept {
    /// Everything above must stay; `None` if it keeps nothing.
    pub fn keeps(&self) -> Option<Seq> {
        match self.standing {
            Standing::Whole(pin) => pin.holds().then_some(pin.seq),
            Standing::Damaged | Standing::Unreadable(_) => Some(0),
        }
    }
}

/// The pins of log `log_id` among the files `names`; those of other logs are passed over.
pub fn read_all<S: Storage>(storage: &S, names: &[FileName], log_id: LogId) -> Result<Vec<Kept>> {
    let mut pins = Vec::new();
    for &name in names {
        if let FileName::Pin(index) = name
            && let Some(standing) = read(storage, index)?
            && !matches!(standing, Standing::Whole(pin) if pin.log_id != log_id)
        {
            memory::push(&mut pins, Kept { index, standing })?;
        }
    }
    Ok(pins)
}

/// The names of all pins and drafts in the directory, in order.
pub(super) fn names<S: Storage>(storage: &S) -> Result<Vec<FileName>> {
    let mut names = Vec::new();
    let mut listed = Ok(());
    storage
        .list(&mut |name| {
            if listed.is_ok() && matches!(name, FileName::Pin(_) | FileName::Draft(_)) {
                listed = memory::push(&mut names, name);
            }
        })
        .map_err(|io| io.in_directory("cannot list the log's directory"))?;
    listed?;
    names.sort_unstable();
    Ok(names)
}

/// What the device says, not the cache: a write that is not synced may be gone tomorrow. `None` if there is no such file.
fn read<S: Storage>(storage: &S, index: u32) -> Result<Option<Standing>> {
    let cannot_read = |io: IoError| io.in_file(FileName::Pin(index), "cannot read a pin");
    let file = match storage.open(FileName::Pin(index), Access::Read) {
        Ok(file) => file,
        Err(io) if io.kind == IoKind::NotFound => return Ok(None),
        Err(io) if io.kind == IoKind::NoMemory => return Err(cannot_read(io)),
        Err(io) if io.kind == IoKind::NotAFile => return Ok(Some(Standing::Damaged)),
        Err(io) => return Ok(Some(Standing::Unreadable(cannot_read(io)))),
    };
    if let Err(io) = file.sync() {
        return Ok(Some(Standing::Unreadable(cannot_read(io))));
    }
    file.drop_cache();
    let mut best: Option<Pin> = None;
    for page in 0..PIN_COPIES {
        let mut copy = [0; PIN_COPY_LEN];
        let read = match file.read_at((page * PIN_PAGE_LEN) as u64, &mut copy) {
            Ok(read) => read,
            Err(io) => return Ok(Some(Standing::Unreadable(cannot_read(io)))),
        };
        if let Ok(pin) = Pin::decode(&copy[..read])
            && best.is_none_or(|best| best.generation < pin.generation)
        {
            best = Some(pin);
        }
    }
    Ok(Some(best.map_or(Standing::Damaged, Standing::Whole)))
}

/// Replaces what a pin says, durably or not at all. It overwrites the older of the two copies, whose blocks are there: a full disk does not hinder it.
pub(super) fn rewrite<S: Storage>(storage: &S, index: u32, before: &Pin, change: impl FnOnce(&mut Pin)) -> Result<Pin> {
    let name = FileName::Pin(index);
    let mut pin = Pin { generation: before.generation + 1, ..*before };
    change(&mut pin);
    let copy = pin.encode();
    if Pin::decode(&copy) != Ok(pin) {
        return Err(Error::new(Code::Panic, "refused to write a pin that contradicts itself").in_file(name));
    }
    let file = storage.open(name, Access::Write).map_err(|io| io.in_file(name, "cannot open the pin for writing"))?;
    let offset = pin.generation % PIN_COPIES as u64 * PIN_PAGE_LEN as u64;
    // Damage may have cut the file, and not every storage lets a write begin behind the end.
    let len = file.len().map_err(|io| io.in_file(name, "cannot ask for the pin's size"))?;
    write_zeros(&file, len, offset)
        .and_then(|()| file.write_at(offset, &copy))
        .map_err(|io| io.in_file(name, "cannot write the pin").at(offset))?;
    file.sync().map_err(|io| io.in_file(name, "cannot sync the pin: whether it was changed, only reading it again can say").at(offset))?;
    Ok(pin)
}

/// Makes the file of a new pin, under a draft's name until all of it is durable: a pin's file without a valid copy is so never what a crash left.
pub(super) fn make<S: Storage>(storage: &S, index: u32, pin: &Pin) -> Result<()> {
    let draft = FileName::Draft(index);
    let cannot_make = |io: IoError| io.in_file(draft, "cannot make the pin's file");
    let file = storage.create(draft).map_err(cannot_make)?;
    let copy = pin.encode();
    let written = file.fill_zeros(PIN_LEN as u64).and_then(|()| {
        (0..PIN_COPIES).try_for_each(|page| file.write_at((page * PIN_PAGE_LEN) as u64, &copy))?;
        file.sync()
    });
    drop(file);
    if let Err(io) = written.and_then(|()| storage.rename(draft, FileName::Pin(index))) {
        // The next one who makes a pin removes it, if this cannot.
        let _may_fail = storage.remove(draft);
        return Err(cannot_make(io));
    }
    sync_dir(storage)
}

/// The directory's names are durable afterwards.
pub(super) fn sync_dir<S: Storage>(storage: &S) -> Result<()> {
    storage.sync_dir().map_err(|io| io.in_directory("cannot sync the log's directory: whether the pin is there, only a listing can say"))
}
