//! Why a call failed: a code that fits a register, and in the log's memory what else there is to say about it.

use wal_engine::error::Code;
use wal_engine::seq::Seq;

/// Shorthand for this crate.
pub type Result<T> = core::result::Result<T, Code>;

/// What the last failed call was about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// The first record concerned, 0 if none.
    pub seq: Seq,
    /// Where, in bytes from the log's start; 0 if nowhere.
    pub offset: u32,
    /// The driver's number, 0 if it gave none.
    pub driver: i32,
}

/// Why something was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// It is not there.
    None,
    /// The call fails.
    Fail(Code),
}

impl From<Code> for Miss {
    fn from(code: Code) -> Miss {
        Miss::Fail(code)
    }
}

/// Why something was not written.
pub(crate) enum Halt {
    /// The block is worn out; another one may do.
    Worn,
    /// The call fails.
    Fail(Code),
}

impl From<Code> for Halt {
    fn from(code: Code) -> Halt {
        Halt::Fail(code)
    }
}

impl Halt {
    /// Where there is no other block to try.
    pub(crate) fn code(self) -> Code {
        match self {
            Halt::Worn => Code::Io,
            Halt::Fail(code) => code,
        }
    }
}
