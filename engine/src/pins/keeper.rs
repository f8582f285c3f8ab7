//! The log's side of pins: which forgotten segments may go, and whether a pin holds so much that appends have to wait for it.

use super::store::{Kept, Standing, names, read_all, rewrite};
use crate::chain::Chain;
use crate::config::LogId;
use crate::error::{Code, Error, Result};
use crate::format::pin::Pin;
use crate::memory::Shared;
use crate::names::FileName;
use crate::seq::Seq;
use crate::spares::Spares;
use crate::storage::{IoError, IoKind, Storage};
use crate::sync::{AtomicBool, Mutex, Ordering};

/// What pins hold, as the log saw them last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Pins that keep something, or could.
    pub pins: u64,
    /// Pins that reached their limit and were given up.
    pub lost: u64,
    /// Files that are no whole pin any more. While there is one, nothing is dropped.
    pub damaged: u64,
    /// Everything above must stay; `None` without a pin.
    pub oldest: Option<Seq>,
}

impl Held {
    /// What these pins hold.
    pub fn of(pins: &[Kept]) -> Held {
        let mut held = Held { oldest: pins.iter().filter_map(Kept::keeps).min(), ..Held::default() };
        for kept in pins {
            match kept.standing {
                Standing::Whole(pin) if pin.holds() => held.pins += 1,
                Standing::Whole(pin) => held.lost += u64::from(!pin.dropped),
                Standing::Damaged | Standing::Unreadable(_) => held.damaged += 1,
            }
        }
        held
    }
}

/// See the module's head.
pub struct Keeper<S: Storage> {
    storage: Shared<S>,
    chain: Shared<Chain>,
    spares: Shared<Spares<S>>,
    log_id: LogId,
    segment_bytes: u64,
    /// One thread at a time drops segments.
    dropping: Mutex<()>,
    /// What was seen last, never held over I/O.
    held: Mutex<Held>,
    /// Whether a pin that refuses appends holds more than it may.
    is_full: AtomicBool,
}

impl<S: Storage> Keeper<S> {
    /// `pins` are those that the opening found, for whose sake the chain keeps what it keeps.
    pub fn new(
        storage: Shared<S>,
        chain: Shared<Chain>,
        spares: Shared<Spares<S>>,
        log_id: LogId,
        segment_bytes: u64,
        pins: &[Kept],
    ) -> Keeper<S> {
        let keeper = Keeper {
            storage,
            chain,
            spares,
            log_id,
            segment_bytes,
            dropping: Mutex::new(()),
            held: Mutex::new(Held::default()),
            is_full: AtomicBool::new(false),
        };
        keeper.note(pins);
        keeper
    }

    /// What pins hold.
    pub fn held(&self) -> Held {
        *self.held.lock()
    }

    /// Gives back the disk space of forgotten segments that nobody reads and no pin keeps.
    pub fn drop_segments(&self) -> Result<()> {
        let _turn = self.dropping.lock();
        if self.chain.counts().1 == 0 {
            return Ok(());
        }
        // What is forgotten from here on waits for the next time: a pin that is made meanwhile may need it.
        let (floor, _) = self.chain.forgotten();
        // Held until the segments are gone: who makes a pin meanwhile waits, and then learns what was forgotten.
        let (_lock, keep) = self.agree()?;
        self.spares.drop_segments(|| self.chain.take_doomed(keep.min(floor)))
    }

    /// Whether another segment may be begun. Where a pin has forbidden it, the pins are looked at again: one may have moved.
    pub fn admit(&self) -> Result<()> {
        if !self.is_full.load(Ordering::Acquire) {
            return Ok(());
        }
        self.drop_segments()?;
        if !self.is_full.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(Error::new(Code::NoSpace, "a pin holds more than its max_bytes and was made to refuse appends then: advance it or drop it"))
    }

    /// Takes the pins' lock and reads what they keep: everything above the seq stays. A directory that has no file for the lock has no pins, and
    /// whoever makes the first one now looks afterwards whether he came too late; so there is nothing to hold.
    fn agree(&self) -> Result<(Option<S::PinsLock>, Seq)> {
        let had_pins = self.held() != Held::default();
        let lock = match self.storage.lock_pins(had_pins) {
            Ok(lock) => lock,
            Err(IoError { kind: IoKind::NotFound, .. }) => return Ok((None, Seq::MAX)),
            Err(io) => return Err(io.in_file(FileName::Pins, "cannot lock the pins, so nothing that is forgotten can be dropped")),
        };
        let mut pins = read_all(&*self.storage, &names(&*self.storage)?, self.log_id)?;
        for kept in &mut pins {
            if let Standing::Whole(pin) = kept.standing
                && pin.holds()
                && !pin.refuses
                && self.is_above_limit(&pin)
            {
                let (floor, _) = self.chain.forgotten();
                // If that cannot be written the pin holds on.
                if let Ok(lost) = rewrite(&*self.storage, kept.index, &pin, |pin| pin.lost_to = Some(floor)) {
                    kept.standing = Standing::Whole(lost);
                }
            }
        }
        self.note(&pins);
        Ok((Some(lock), self.held().oldest.unwrap_or(Seq::MAX)))
    }

    fn is_above_limit(&self, pin: &Pin) -> bool {
        pin.max_bytes > 0 && self.chain.kept_above(pin.seq) * self.segment_bytes > pin.max_bytes
    }

    fn note(&self, pins: &[Kept]) {
        let is_above =
            |kept: &Kept| matches!(kept.standing, Standing::Whole(pin) if pin.holds() && pin.refuses && self.is_above_limit(&pin));
        self.is_full.store(pins.iter().any(is_above), Ordering::Release);
        *self.held.lock() = Held::of(pins);
    }
}
