//! Faults: which calls fail, how, and how much of them happens all the same.
//!
//! A fault counts the calls that match it from the moment it is installed, the first one being number 1. A fault that hits returns its error;
//! its `Effect` says how much of the call takes place. Of several faults that hit one call the one installed first decides. The death of
//! the process counts every call on the disk: the call that reaches the number may still happen in whole or in part, all later calls of that
//! storage value fail without effect, and its lock is free.

use wal_engine::names::FileName;
use wal_engine::storage::{IoError, IoKind};

use crate::call::Call;
use crate::random::Random;

/// An I/O error of the device.
pub const EIO: IoError = IoError { kind: IoKind::Other, os_error: 5 };
/// A call that a signal interrupted.
pub const EINTR: IoError = IoError { kind: IoKind::Other, os_error: 4 };
/// No memory in the kernel.
pub const ENOMEM: IoError = IoError { kind: IoKind::NoMemory, os_error: 12 };
/// A full disk.
pub const ENOSPC: IoError = IoError { kind: IoKind::NoSpace, os_error: 28 };

/// How much of a failing call happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing. A sync loses all that it should have made durable.
    Nothing,
    /// A write stops after this many bytes, at the latest before its last; a sync makes this many writes durable and loses the rest. Nothing of any
    /// other call.
    Prefix(u64),
    /// All of it; only the answer is wrong.
    Whole,
}

/// A planned failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Only calls of this kind count.
    pub call: Option<Call>,
    /// Only calls about the file of this name count; for a rename it is the old name.
    pub file: Option<FileName>,
    /// Which of the matching calls fails, counted from 1.
    pub nth: u64,
    /// Whether all later ones fail too.
    pub forever: bool,
    /// What the call answers.
    pub error: IoError,
    /// How much of it happens.
    pub effect: Effect,
}

impl Fault {
    /// The `nth` call fails once with `EIO`, without effect.
    pub fn nth(nth: u64) -> Fault {
        Fault { call: None, file: None, nth, forever: false, error: EIO, effect: Effect::Nothing }
    }

    /// Only calls of this kind count.
    #[must_use]
    pub fn of(mut self, call: Call) -> Fault {
        self.call = Some(call);
        self
    }

    /// Only calls about this file count.
    #[must_use]
    pub fn on(mut self, file: FileName) -> Fault {
        self.file = Some(file);
        self
    }

    /// With this answer.
    #[must_use]
    pub fn error(mut self, error: IoError) -> Fault {
        self.error = error;
        self
    }

    /// With this effect.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Fault {
        self.effect = effect;
        self
    }

    /// And all later ones.
    #[must_use]
    pub fn forever(mut self) -> Fault {
        self.forever = true;
        self
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) effect: Effect,
    error: Option<IoError>,
}

impl Outcome {
    pub(crate) const SUCCESS: Outcome = Outcome { effect: Effect::Whole, error: None };

    /// Whether a call that has no parts takes place.
    pub(crate) fn happens(self) -> bool {
        self.effect == Effect::Whole
    }

    /// How many of `len` bytes a write gets done.
    pub(crate) fn written(self, len: u64) -> u64 {
        match self.effect {
            Effect::Nothing => 0,
            Effect::Prefix(prefix) => prefix.min(len.saturating_sub(1)),
            Effect::Whole => len,
        }
    }

    /// What the call answers if nothing else went wrong.
    pub(crate) fn answer(self) -> Result<(), IoError> {
        self.error.map_or(Ok(()), Err)
    }
}

/// A fault and the number of matching calls so far.
#[derive(Clone, Debug)]
struct Armed {
    fault: Fault,
    seen: u64,
}

/// The faults of a disk and its counts.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    armed: Vec<Armed>,
    death: Option<u64>,
    counts: [u64; Call::ALL.len()],
    injected: u64,
    random: Random,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Plan {
        Plan { armed: Vec::new(), death: None, counts: [0; Call::ALL.len()], injected: 0, random: Random::new(seed) }
    }

    pub(crate) fn install(&mut self, fault: Fault) {
        self.armed.push(Armed { fault, seen: 0 });
    }

    pub(crate) fn clear(&mut self) {
        self.armed.clear();
        self.death = None;
    }

    pub(crate) fn kill_at(&mut self, call: u64) {
        self.death = Some(call);
    }

    pub(crate) fn calls(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(crate) fn calls_of(&self, call: Call) -> u64 {
        self.counts[call as usize]
    }

    pub(crate) fn injected(&self) -> u64 {
        self.injected
    }

    /// Counts a call and decides about it. The second part says whether the process dies of it.
    pub(crate) fn enter(&mut self, call: Call, file: Option<FileName>) -> (Outcome, bool) {
        self.counts[call as usize] += 1;
        let mut hit = None;
        for armed in &mut self.armed {
            let fault = armed.fault;
            if fault.call.is_some_and(|wanted| wanted != call) || (fault.file.is_some() && fault.file != file) {
                continue;
            }
            armed.seen += 1;
            if armed.seen == fault.nth || (fault.forever && armed.seen > fault.nth) {
                hit = hit.or(Some(fault));
            }
        }
        if self.death.is_some_and(|at| self.calls() >= at) {
            self.death = None;
            self.injected += 1;
            let effect = match self.random.below(4) {
                0 => Effect::Whole,
                1 => Effect::Nothing,
                _ => Effect::Prefix(self.random.below(4096)),
            };
            return (Outcome { effect, error: Some(EIO) }, true);
        }
        match hit {
            Some(fault) => {
                self.injected += 1;
                (Outcome { effect: fault.effect, error: Some(fault.error) }, false)
            }
            None => (Outcome::SUCCESS, false),
        }
    }
}
