//! Why a run fails, and the exit status that says so.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use wal_engine::error::{Code, Error, Place};
use wal_engine::names::FileName;

use crate::output::escaped;

/// How a run ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All is well.
    Good,
    /// Damage, or records that are missing.
    Damaged,
}

/// Why a run failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The engine's error, about a log in a directory.
    Log(String),
    /// There is no log.
    NoLog(String),
    /// A writer has it open.
    Locked(String),
    /// The log is damaged, or lacks what was asked for.
    Damaged(String),
    /// Whoever read the output went away.
    NobodyReads,
    /// Anything else.
    Other(String),
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// An error of the engine about the log in `dir`.
    pub(crate) fn of(dir: &Path, error: Error) -> Failure {
        let text = sentence(dir, &error);
        match error.code {
            // The directory itself is missing, or holds no log.
            Code::NotFound => Failure::NoLog(text),
            Code::Locked if error.place == Place::File(FileName::Lock) => {
                Failure::Locked(format!("{}: a writer has the log open; stat and dump can look at it meanwhile", shown(dir)))
            }
            Code::Locked => Failure::Locked(text),
            Code::Corrupt | Code::Gap => Failure::Damaged(text),
            _ => Failure::Log(text),
        }
    }

    /// An error of the system.
    pub(crate) fn io(what: impl fmt::Display, error: &io::Error) -> Failure {
        Failure::Other(format!("{what}: {error}"))
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::NobodyReads => 0,
            Failure::Damaged(_) => 1,
            Failure::NoLog(_) => 3,
            Failure::Locked(_) => 4,
            Failure::Log(_) | Failure::Other(_) => 5,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Log(text) | Failure::NoLog(text) | Failure::Locked(text) | Failure::Damaged(text) | Failure::Other(text) => {
                f.write_str(text)
            }
            Failure::NobodyReads => Ok(()),
        }
    }
}

impl From<io::Error> for Failure {
    /// Of printing.
    fn from(error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe { Failure::NobodyReads } else { Failure::io("cannot print", &error) }
    }
}

impl Verdict {
    pub(crate) fn exit_code(self) -> ExitCode {
        ExitCode::from(u8::from(self == Verdict::Damaged))
    }
}

/// A directory as messages name it.
pub(crate) fn shown(dir: &Path) -> String {
    escaped(dir.as_os_str().as_encoded_bytes())
}

/// `/var/log/0000000003.wal at byte 4096: what (seq 7 to 9): Input/output error`.
pub(crate) fn sentence(dir: &Path, error: &Error) -> String {
    let place = match error.place {
        Place::Call | Place::Directory => format!("{}: ", shown(dir)),
        Place::File(_) => format!("{}/", shown(dir).trim_end_matches('/')),
    };
    let shown = if let Place::Directory = error.place { Error { place: Place::Call, ..*error } } else { *error };
    let system = match error.os_error {
        0 => String::new(),
        number => {
            let text = io::Error::from_raw_os_error(number).to_string();
            format!(": {}", text.split(" (os error").next().unwrap_or_default())
        }
    };
    format!("{place}{}{system}", Error { os_error: 0, ..shown })
}
