//! Status codes. The numbers are the engine's and never change their meaning; a retired one is not used again.

use core::ffi::{CStr, c_char};

use wal_engine::error::Code;

/// What a function that can fail returns: 0 done, positive "not an error, but look", negative
/// one of WAL_E_... New codes of either sign may appear: test with `< 0`, and treat an error
/// that the program does not know like WAL_E_IO.
pub type WalStatus = i32;

/// ## What functions return
/// Done.
pub const WAL_OK: i32 = 0;
/// No more records for now.
pub const WAL_END: i32 = 1;
/// The time is up.
pub const WAL_TIMEOUT: i32 = 2;

/// ## Errors
/// An argument or option is wrong by itself.
pub const WAL_E_INVALID: i32 = -1;
/// Record or batch exceeds one segment.
pub const WAL_E_TOO_LARGE: i32 = -2;
/// A seq above the last one.
pub const WAL_E_RANGE: i32 = -3;
/// No checkpoint allows this truncation.
pub const WAL_E_NOT_CHECKPOINTED: i32 = -4;
/// Records the store lacks are gone.
pub const WAL_E_GAP: i32 = -5;
/// The log id is another one.
pub const WAL_E_WRONG_LOG: i32 = -6;
/// Somebody has the log open.
pub const WAL_E_LOCKED: i32 = -7;
/// There is no log here.
pub const WAL_E_NOT_FOUND: i32 = -8;
/// There is a log here already.
pub const WAL_E_EXISTS: i32 = -9;
/// Stored bytes are not what was written.
pub const WAL_E_CORRUPT: i32 = -10;
/// The log needs a newer library.
pub const WAL_E_FORMAT: i32 = -11;
/// The operating system reported an error.
pub const WAL_E_IO: i32 = -12;
/// No space; nothing has been written.
pub const WAL_E_NO_SPACE: i32 = -13;
/// Out of memory; nothing has changed.
pub const WAL_E_NO_MEMORY: i32 = -14;
/// The log was opened read-only.
pub const WAL_E_READ_ONLY: i32 = -15;
/// An earlier failure poisoned the handle.
pub const WAL_E_FAILED: i32 = -16;
/// The log was shut down or closed.
pub const WAL_E_CLOSED: i32 = -17;
/// The handle came through fork.
pub const WAL_E_FORKED: i32 = -18;
/// A bug in this library, caught.
pub const WAL_E_PANIC: i32 = -19;
/// Not allowed in this state.
pub const WAL_E_MISUSE: i32 = -20;
/// The next record does not fit there.
pub const WAL_E_NO_ROOM: i32 = -21;

/// Name and sentence of every status. `Code` is matched, so that the compiler asks for a row when the engine learns a new one.
struct Row {
    name: &'static CStr,
    text: &'static CStr,
}

const UNKNOWN: Row =
    Row { name: c"WAL_E_?", text: c"unknown status: it comes from a newer version of this library, or not from this library" };

const fn row(code: Code) -> Row {
    match code {
        Code::Invalid => Row { name: c"WAL_E_INVALID", text: c"an argument or an option is wrong by itself; nothing has changed" },
        Code::TooLarge => Row {
            name: c"WAL_E_TOO_LARGE",
            text: c"the record or batch does not fit into one segment; split it, or create the log with larger segments",
        },
        Code::Range => Row { name: c"WAL_E_RANGE", text: c"the sequence number is above the last one appended" },
        Code::NotCheckpointed => Row {
            name: c"WAL_E_NOT_CHECKPOINTED",
            text: c"no checkpoint covers these records; call wal_checkpoint and truncate to the n that it gives",
        },
        Code::Gap => Row {
            name: c"WAL_E_GAP",
            text: c"records between the store and the log are missing; store and log do not belong to the same point in time",
        },
        Code::WrongLog => Row { name: c"WAL_E_WRONG_LOG", text: c"this is another log than the one the store belongs to" },
        Code::Locked => Row { name: c"WAL_E_LOCKED", text: c"another handle, in this process or another, has the log open" },
        Code::NotFound => Row { name: c"WAL_E_NOT_FOUND", text: c"there is no log in this directory" },
        Code::Exists => Row { name: c"WAL_E_EXISTS", text: c"there is a log in this directory already" },
        Code::Corrupt => Row {
            name: c"WAL_E_CORRUPT",
            text: c"stored bytes are not what was written; restore the log, or open it with WAL_RECOVER_PREFIX to keep what precedes the damage",
        },
        Code::Format => Row { name: c"WAL_E_FORMAT", text: c"the log was written by a newer version and needs a newer library" },
        Code::Io => Row { name: c"WAL_E_IO", text: c"the operating system reported an input/output error" },
        Code::NoSpace => {
            Row { name: c"WAL_E_NO_SPACE", text: c"no space; nothing has been written and the log works again once there is space" }
        }
        Code::NoMemory => Row { name: c"WAL_E_NO_MEMORY", text: c"out of memory; nothing has changed" },
        Code::ReadOnly => Row { name: c"WAL_E_READ_ONLY", text: c"the log was opened read-only" },
        Code::Failed => Row {
            name: c"WAL_E_FAILED",
            text: c"a failed write or sync has poisoned this handle; close it and open the log again to learn what is durable",
        },
        Code::Closed => Row { name: c"WAL_E_CLOSED", text: c"the log was shut down or closed" },
        Code::Forked => Row { name: c"WAL_E_FORKED", text: c"the handle came through fork; the child must open the log itself" },
        Code::Panic => Row { name: c"WAL_E_PANIC", text: c"a bug in this library was caught; close the handle and report it" },
        Code::Misuse => Row { name: c"WAL_E_MISUSE", text: c"the call is not allowed in this state, or a cursor was used by two threads at once" },
        Code::NoRoom => Row { name: c"WAL_E_NO_ROOM", text: c"the memory for keys and values does not hold the next record; nothing was read" },
    }
}

/// Every code: the numbers in the header and the engine's are the same.
const CODES: [(i32, Code); 21] = [
    (WAL_E_INVALID, Code::Invalid),
    (WAL_E_TOO_LARGE, Code::TooLarge),
    (WAL_E_RANGE, Code::Range),
    (WAL_E_NOT_CHECKPOINTED, Code::NotCheckpointed),
    (WAL_E_GAP, Code::Gap),
    (WAL_E_WRONG_LOG, Code::WrongLog),
    (WAL_E_LOCKED, Code::Locked),
    (WAL_E_NOT_FOUND, Code::NotFound),
    (WAL_E_EXISTS, Code::Exists),
    (WAL_E_CORRUPT, Code::Corrupt),
    (WAL_E_FORMAT, Code::Format),
    (WAL_E_IO, Code::Io),
    (WAL_E_NO_SPACE, Code::NoSpace),
    (WAL_E_NO_MEMORY, Code::NoMemory),
    (WAL_E_READ_ONLY, Code::ReadOnly),
    (WAL_E_FAILED, Code::Failed),
    (WAL_E_CLOSED, Code::Closed),
    (WAL_E_FORKED, Code::Forked),
    (WAL_E_PANIC, Code::Panic),
    (WAL_E_MISUSE, Code::Misuse),
    (WAL_E_NO_ROOM, Code::NoRoom),
];

const _: () = {
    let mut i = 0;
    while i < CODES.len() {
        assert!(CODES[i].0 == CODES[i].1 as i32);
        i += 1;
    }
};

fn describe(status: WalStatus) -> Row {
    match status {
        WAL_OK => Row { name: c"WAL_OK", text: c"done" },
        WAL_END => Row { name: c"WAL_END", text: c"no more records for now" },
        WAL_TIMEOUT => Row { name: c"WAL_TIMEOUT", text: c"the time is up" },
        _ => CODES.iter().find(|(number, _)| *number == status).map_or(UNKNOWN, |&(_, code)| row(code)),
    }
}

/// ## Statuses
/// One sentence about a status, for logs and users. `err->message` says more about one failure.
///
/// code      any number; an unknown one gets a sentence, too.
///
/// Returns:  UTF-8, never NULL.
/// Threads:  any, any time.
/// Lifetime: static.
#[unsafe(no_mangle)]
pub extern "C" fn wal_strerror(code: WalStatus) -> *const c_char {
    describe(code).text.as_ptr()
}

/// The name of a status as this header spells it: "WAL_E_GAP".
///
/// code      any number; an unknown one gives "WAL_E_?".
///
/// Returns:  ASCII, never NULL.
/// Threads:  any, any time.
/// Lifetime: static.
#[unsafe(no_mangle)]
pub extern "C" fn wal_status_name(code: WalStatus) -> *const c_char {
    describe(code).name.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_own_name_and_sentence() {
        let known: Vec<i32> = CODES.iter().map(|(number, _)| *number).chain([WAL_OK, WAL_END, WAL_TIMEOUT]).collect();
        for (i, &a) in known.iter().enumerate() {
            assert_ne!(describe(a).name, UNKNOWN.name, "{a}");
            for &b in &known[..i] {
                assert!(describe(a).name != describe(b).name && describe(a).text != describe(b).text, "{a} and {b}");
            }
        }
    }

    #[test]
    fn an_unknown_status_has_a_sentence() {
        for status in [3, -22, i32::MIN, i32::MAX] {
            assert_eq!(describe(status).name, UNKNOWN.name);
            assert!(!describe(status).text.is_empty());
        }
    }
}
