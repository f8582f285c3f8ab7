//! What a log tells a host beside its answers.

use core::ffi::{c_char, c_void};
use core::fmt::Write;

use wal_engine::log::{Event, Level};

use crate::text::{DirName, Text};

/// ## log_callback: level
/// Somebody has to do something.
pub const WAL_LOG_ERROR: u32 = 1;
/// Somebody should know.
pub const WAL_LOG_WARNING: u32 = 2;
/// Part of a log's life.
pub const WAL_LOG_INFO: u32 = 3;

const _: () =
    assert!(WAL_LOG_ERROR == Level::Error as u32 && WAL_LOG_WARNING == Level::Warning as u32 && WAL_LOG_INFO == Level::Info as u32);

/// What wal_options_t takes as log_callback: a function that gets `log_context`, a level and one
/// sentence in UTF-8, NUL-terminated, which names the log's directory and is the callee's until
/// it returns.
///
/// The log calls it at the end of calls on its handle, wal_open and wal_close among them, and from
/// its background thread; never under a lock of its own, never twice at once, in the order in
/// which things happened, and never after wal_close has returned or wal_open has failed. It may
/// call every function of this library but wal_close of the same log (what that causes it hears
/// when it has returned), must return, and must not be left by an exception or longjmp. While it
/// runs, messages of other threads wait for it, up to 64; more are counted, and the count is told.
///
/// It hears WAL_LOG_ERROR when the handle is poisoned, when a failed write was taken back, and
/// when an opening found damage, with the records it took; WAL_LOG_WARNING when an opening
/// dropped an unfinished write, rebuilt the manifest or moved damaged files aside, when the
/// background thread could not prepare or remove a segment, and when a sync took longer than
/// `slow_sync_us`; WAL_LOG_INFO when the log was created, recovered after a crash, opened, and
/// closed.
pub type WalLogCallback = Option<unsafe extern "C" fn(context: *mut c_void, level: u32, message: *const c_char)>;

/// Size of a message, its NUL included.
const MESSAGE_LEN: usize = 512;

/// The sentence for one event.
pub(crate) fn sentence(event: &Event, dir: &DirName) -> Text<MESSAGE_LEN> {
    let mut text = Text::new();
    // Writing into a `Text` does not fail: it cuts.
    let _ = write!(text, "{}: {event}", dir.as_str());
    if let Some(error) = event.error() {
        let _ = write!(text, ": {error}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal_engine::error::{Code, Error};
    use wal_engine::names::FileName;

    #[test]
    fn a_sentence_names_the_log_and_what_failed() {
        let dir = DirName::of(b"/var/db/log/");
        let error = Error::new(Code::Failed, "cannot sync the segment").in_file(FileName::Segment(3)).seqs(7, 9).os(5);
        let said = |event: &Event| sentence(event, &dir).as_str().to_string();
        assert_eq!(
            said(&Event::Poisoned(error)),
            "/var/db/log: the log accepts nothing more until it is closed and opened again: \
             0000000003.wal: cannot sync the segment (seq 7 to 9) (os error 5)"
        );
        assert_eq!(said(&Event::Closed { last: 9 }), "/var/db/log: closed at seq 9");
        assert_eq!(
            said(&Event::Opened { oldest: 10, last: 9, duration_us: 1999 }),
            "/var/db/log: opened in 1 ms: no records, the next seq is 10"
        );
    }

    #[test]
    fn the_longest_sentence_fits() {
        let dir = DirName::of(&[b'd'; 500]);
        let what = "an error's sentence that is as long as the longest of them all, which is something over one hundred and fifty characters of text, or a few more than that";
        let error =
            Error::new(Code::Failed, what).in_file(FileName::Segment(u32::MAX)).at(u64::MAX).seqs(u64::MAX - 1, u64::MAX - 1).os(i32::MIN);
        let text = sentence(&Event::PrepareFailed(error), &dir);
        assert!(text.as_str().ends_with(')'), "{}", text.as_str());
    }
}
