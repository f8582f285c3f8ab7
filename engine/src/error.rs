//! What can go wrong, as a value that costs no allocation.

use core::fmt;

use crate::names::FileName;

/// Why a call failed. The numbers are those of the C ABI and never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(i32)]
pub enum Code {
    /// An argument or an option is wrong by itself.
    #[error("invalid argument")]
    Invalid = -1,
    /// A record or batch does not fit into one segment.
    #[error("record or batch too large for one segment")]
    TooLarge = -2,
    /// A sequence number is above the last one.
    #[error("sequence number out of range")]
    Range = -3,
    /// Truncation above what the host has declared durable.
    #[error("not covered by a checkpoint")]
    NotCheckpointed = -4,
    /// Records that the host still needs are not in this log.
    #[error("records are missing between the store and the log")]
    Gap = -5,
    /// The log id differs from the one expected.
    #[error("another log")]
    WrongLog = -6,
    /// Another handle has the log open.
    #[error("locked by another handle")]
    Locked = -7,
    /// There is no log.
    #[error("no log there")]
    NotFound = -8,
    /// There is a log already.
    #[error("a log exists already")]
    Exists = -9,
    /// Stored bytes are not what was written.
    #[error("damaged")]
    Corrupt = -10,
    /// Written by a newer version of the format.
    #[error("format is newer than this library")]
    Format = -11,
    /// The operating system reported an error.
    #[error("input/output error")]
    Io = -12,
    /// No space, or no usable spare segment.
    #[error("no space")]
    NoSpace = -13,
    /// Memory could not be had.
    #[error("out of memory")]
    NoMemory = -14,
    /// The log was opened read-only.
    #[error("opened read-only")]
    ReadOnly = -15,
    /// An earlier failure poisoned the handle.
    #[error("an earlier failure poisoned this handle")]
    Failed = -16,
    /// The log was shut down or closed.
    #[error("closed")]
    Closed = -17,
    /// The handle came through `fork`.
    #[error("not usable after fork")]
    Forked = -18,
    /// A bug in this library, caught.
    #[error("internal error")]
    Panic = -19,
    /// The call is not allowed in this state.
    #[error("misuse")]
    Misuse = -20,
    /// The caller's memory does not hold the next record.
    #[error("no room for the next record")]
    NoRoom = -21,
}

/// What an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing on disk.
    Call,
    /// The log's directory.
    Directory,
    /// One file of it.
    File(FileName),
}

/// A failed call: a code for programs, a place and a sentence for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// Why.
    pub code: Code,
    /// What happened and what to do about it.
    pub what: &'static str,
    /// Where.
    pub place: Place,
    /// Byte offset in the file, if there is one.
    pub offset: Option<u64>,
    /// First sequence number concerned, 0 if none.
    pub seq: u64,
    /// Last sequence number concerned, 0 if none.
    pub seq_last: u64,
    /// `errno`, 0 if none.
    pub os_error: i32,
}

/// Shorthand for this crate.
pub type Result<T> = core::result::Result<T, Error>;

impl Error {
    /// An error about the call alone.
    pub const fn new(code: Code, what: &'static str) -> Error {
        Error { code, what, place: Place::Call, offset: None, seq: 0, seq_last: 0, os_error: 0 }
    }

    /// The same, about `name`.
    pub const fn in_file(mut self, name: FileName) -> Error {
        self.place = Place::File(name);
        self
    }

    /// The same, about the directory.
    pub const fn in_directory(mut self) -> Error {
        self.place = Place::Directory;
        self
    }

    /// The same, at byte `offset`.
    pub const fn at(mut self, offset: u64) -> Error {
        self.offset = Some(offset);
        self
    }

    /// The same, concerning records `seq..=seq_last`.
    pub const fn seqs(mut self, seq: u64, seq_last: u64) -> Error {
        self.seq = seq;
        self.seq_last = seq_last;
        self
    }

    /// The same, with the operating system's error number.
    pub const fn os(mut self, os_error: i32) -> Error {
        self.os_error = os_error;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Call => {}
            Place::Directory => f.write_str("directory: ")?,
            Place::File(name) => match self.offset {
                Some(offset) => write!(f, "{name} at byte {offset}: ")?,
                None => write!(f, "{name}: ")?,
            },
        }
        f.write_str(self.what)?;
        match (self.seq, self.seq_last) {
            (0, 0) => {}
            (first, last) if first == last || last == 0 => write!(f, " (seq {first})")?,
            (first, u64::MAX) => write!(f, " (seq {first} and later)")?,
            (first, last) => write!(f, " (seq {first} to {last})")?,
        }
        if self.os_error != 0 {
            write!(f, " (os error {})", self.os_error)?;
        }
        Ok(())
    }
}

impl core::error::Error for Error {}
