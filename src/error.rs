//! `wal_error_t`: what went wrong, in the caller's memory.

use core::ffi::c_char;
use core::fmt::Write;

use wal_engine::error::{Error, Place};

use crate::status::WalStatus;
use crate::text::{DirName, Text};

/// Size of `message`, its NUL included.
const MESSAGE_LEN: usize = 272;

/// What went wrong. Every function that can fail takes a pointer to one as its last argument,
/// or NULL. It is the caller's, needs no initialising, holds no memory to free, and is written
/// whole on every negative return and never otherwise. Programs look at `code` and the numbers;
/// `message` is for people and may change its wording.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WalError {
    /// First record concerned, 0 if none: the missing, endangered or doubtful ones.
    pub seq: u64,
    /// Last record concerned; UINT64_MAX: `seq` and all later ones; 0 if only `seq`.
    pub seq_last: u64,
    /// Number in the name of the file concerned (3 in "0000000003.wal"), 0 if none.
    pub segment: u64,
    /// Byte offset in that file, 0 if none. For an entry of a batch: its index.
    pub offset: u64,
    /// The status that the function returned.
    pub code: i32,
    /// Reserved for finer codes; 0 in this version.
    pub extended: i32,
    /// The operating system's error number (`errno`), 0 if none.
    pub os_error: i32,
    /// Reserved, 0.
    pub reserved: i32,
    /// One sentence in UTF-8, NUL-terminated; begins with the file's path if there is one.
    pub message: [c_char; 272],
}

const _: () = assert!(size_of::<WalError>() == 320 && size_of::<WalError>() - core::mem::offset_of!(WalError, message) == MESSAGE_LEN);

impl WalError {
    /// `error` as the caller of a log in `dir` sees it.
    pub(crate) fn new(error: &Error, dir: &DirName) -> WalError {
        let mut message = Text::new();
        let offset = error.offset.unwrap_or(0);
        // Writing into a `Text` does not fail: it cuts.
        let _ = match (error.place, error.offset) {
            (Place::Call, None) => Ok(()),
            (Place::Call, Some(index)) => write!(message, "entry {index}: "),
            (Place::Directory, _) => write!(message, "{}: ", dir.as_str()),
            (Place::File(name), None) => write!(message, "{}/{name}: ", dir.as_str()),
            (Place::File(name), Some(offset)) => write!(message, "{}/{name} at byte {offset}: ", dir.as_str()),
        };
        let _ = write!(message, "{}", Error { place: Place::Call, ..*error });
        WalError {
            seq: error.seq,
            seq_last: error.seq_last,
            segment: segment_of(error),
            offset,
            os_error: error.os_error,
            ..bare(error.code as i32, &message)
        }
    }

    /// A caught panic; `text` is what it said.
    pub(crate) fn panicked(code: WalStatus, text: &str) -> WalError {
        let mut message = Text::new();
        message.push("a bug in this library was caught, the handle is unusable from now on; close it and open the log again: ");
        message.push(text);
        bare(code, &message)
    }
}

/// The number in the name of the file concerned, 0 if there is none.
pub(crate) fn segment_of(error: &Error) -> u64 {
    match error.place {
        Place::File(name) => u64::from(name.index()),
        Place::Call | Place::Directory => 0,
    }
}

fn bare(code: WalStatus, message: &Text<MESSAGE_LEN>) -> WalError {
    let message = message.bytes().map(|byte| byte as c_char);
    WalError { seq: 0, seq_last: 0, segment: 0, offset: 0, code, extended: 0, os_error: 0, reserved: 0, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ffi::CStr;
    use wal_engine::error::Code;
    use wal_engine::names::FileName;

    fn message(error: &WalError) -> String {
        let bytes = error.message.map(|byte| byte as u8);
        CStr::from_bytes_until_nul(&bytes).expect("a NUL").to_str().expect("UTF-8").to_string()
    }

    #[test]
    fn an_error_names_the_file() {
        let dir = DirName::of(b"/var/db/log/");
        let error = Error::new(Code::Corrupt, "bad frame checksum").in_file(FileName::Segment(3)).at(4096).seqs(7, 9).os(5);
        let error = WalError::new(&error, &dir);
        assert_eq!(message(&error), "/var/db/log/0000000003.wal at byte 4096: bad frame checksum (seq 7 to 9) (os error 5)");
        assert_eq!((error.code, error.segment, error.offset), (-10, 3, 4096));
        assert_eq!((error.seq, error.seq_last, error.os_error), (7, 9, 5));

        let error = WalError::new(&Error::new(Code::Locked, "open elsewhere").in_directory(), &dir);
        assert_eq!(message(&error), "/var/db/log: open elsewhere");
        let error = WalError::new(&Error::new(Code::Corrupt, "no valid slot").in_file(FileName::Manifest), &dir);
        assert_eq!((message(&error).as_str(), error.segment), ("/var/db/log/MANIFEST: no valid slot", 0));
    }

    #[test]
    fn an_error_about_the_call_names_no_file() {
        let dir = DirName::of(b"/var/db/log");
        assert_eq!(message(&WalError::new(&Error::new(Code::Range, "too high"), &dir)), "too high");
        let error = WalError::new(&Error::new(Code::Invalid, "bad op").at(17), &dir);
        assert_eq!((message(&error).as_str(), error.offset), ("entry 17: bad op", 17));
    }

    #[test]
    fn a_long_message_ends_in_a_nul() {
        let error = WalError::panicked(-19, &"é".repeat(1000));
        assert_eq!(error.message[MESSAGE_LEN - 1], 0);
        assert!(message(&error).len() > MESSAGE_LEN - 4);
    }

    #[test]
    fn the_longest_path_leaves_room_for_the_sentence() {
        let dir = DirName::of(&b"d".repeat(4096));
        let error = Error::new(Code::Corrupt, "bad frame checksum").in_file(FileName::Damaged(u32::MAX)).at(u64::MAX).seqs(7, 9);
        let text = message(&WalError::new(&error, &dir));
        assert!(text.ends_with("bad frame checksum (seq 7 to 9)"), "{text}");
    }
}
