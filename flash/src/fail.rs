//! Why a call failed: what fits into a few words.

use wal_engine::error::{Code, Error};
use wal_engine::seq::Seq;

use crate::chip::Fault;

/// A failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fail {
    /// Why.
    pub code: Code,
    /// The driver's number, 0 if it gave none.
    pub driver: i32,
    /// Where, in bytes from the log's start; 0 if nowhere.
    pub offset: u32,
    /// The first record concerned, 0 if none.
    pub seq: Seq,
}

/// Shorthand for this crate.
pub type Result<T> = core::result::Result<T, Fail>;

impl Fail {
    /// About the call alone.
    pub(crate) const fn new(code: Code) -> Fail {
        Fail { code, driver: 0, offset: 0, seq: 0 }
    }

    /// Damage.
    pub(crate) const fn damage(offset: u32, seq: Seq) -> Fail {
        Fail { code: Code::Corrupt, driver: 0, offset, seq }
    }

    /// The same, at `offset`.
    pub(crate) const fn at(mut self, offset: u32) -> Fail {
        self.offset = offset;
        self
    }
}

impl From<Fault> for Fail {
    fn from(fault: Fault) -> Fail {
        let driver = if let Fault::Driver(code) = fault { code } else { 0 };
        Fail { driver, ..Fail::new(Code::Io) }
    }
}

impl From<Error> for Fail {
    fn from(error: Error) -> Fail {
        Fail { seq: error.seq, ..Fail::new(error.code) }
    }
}
