//! Calls without what they need: each answers `WAL_E_INVALID`, says what is missing, and touches nothing.

use core::ffi::{CStr, c_char};
use core::mem::zeroed;
use core::ptr::{null, null_mut};

use wal::*;

/// Calls with an error struct full of garbage and returns the message that it is given.
fn refused(call: impl FnOnce(*mut WalError) -> WalStatus) -> String {
    // SAFETY: the struct has integers only.
    let mut error: WalError = unsafe { zeroed() };
    error.seq = 99;
    error.message = [b'x' as c_char; 272];
    assert_eq!(call(&mut error), WAL_E_INVALID);
    assert_eq!((error.code, error.seq, error.os_error), (WAL_E_INVALID, 0, 0));
    let bytes = error.message.map(|byte| byte as u8);
    CStr::from_bytes_until_nul(&bytes).expect("a NUL").to_str().expect("UTF-8").to_string()
}

#[test]
fn a_log_is_needed() {
    let mut seq = 42;
    let mut cursor = null_mut();
    let entry = WalEntry { key: null(), value: null(), key_len: 0, value_len: 0, op: WAL_OP_PUT, reserved: 0 };
    let packed = WalPackedEntry { key_len: 0, value_len: 0, op: WAL_OP_PUT };
    // SAFETY: NULL is what each of these calls must cope with; the other pointers are good.
    unsafe {
        let mut stat: WalStat = zeroed();
        let mut report: WalReport = zeroed();
        for message in [
            refused(|err| wal_shutdown(null_mut(), err)),
            refused(|err| wal_close(null_mut(), err)),
            refused(|err| wal_append(null_mut(), 1, null(), 0, null(), 0, &mut seq, err)),
            refused(|err| wal_append_batch(null_mut(), &entry, 1, 0, &mut seq, err)),
            refused(|err| wal_append_packed(null_mut(), &packed, 1, null(), 0, 0, &mut seq, err)),
            refused(|err| wal_sync(null_mut(), WAL_SEQ_LAST, err)),
            refused(|err| wal_flush(null_mut(), err)),
            refused(|err| wal_wait_durable(null_mut(), 1, 0, err)),
            refused(|err| wal_checkpoint(null_mut(), WAL_SEQ_LAST, &mut seq, err)),
            refused(|err| wal_truncate(null_mut(), 1, 0, err)),
            refused(|err| wal_replay_open(null_mut(), 0, 0, &mut cursor, err)),
            refused(|err| wal_stat(null_mut(), &mut stat, size_of::<WalStat>(), err)),
            refused(|err| wal_report(null_mut(), &mut report, size_of::<WalReport>(), err)),
        ] {
            assert_eq!(message, "wal is NULL");
        }
    }
    assert!(seq == 42 && cursor.is_null(), "results are written on success only");
}

#[test]
fn a_cursor_is_needed() {
    // SAFETY: as above.
    unsafe {
        let mut record: WalRecord = zeroed();
        assert_eq!(refused(|err| wal_replay_next(null_mut(), &mut record, err)), "cursor is NULL");
        let (mut packed, mut count): (WalPackedRecord, usize) = (zeroed(), 42);
        let message = refused(|err| wal_replay_next_packed(null_mut(), &mut packed, 1, null_mut(), 0, &mut count, err));
        assert_eq!((message.as_str(), count), ("cursor is NULL", 42));
        assert_eq!(refused(|err| wal_replay_wait(null_mut(), 0, err)), "cursor is NULL");
        wal_replay_close(null_mut());
    }
}

#[test]
fn numbers_of_no_log_are_zero() {
    // SAFETY: as above.
    unsafe {
        let numbers = [wal_last_seq(null()), wal_durable_seq(null()), wal_checkpoint_seq(null()), wal_oldest_seq(null())];
        assert_eq!(numbers, [0; 4]);
        let mut id = [7; 16];
        wal_log_id(null(), id.as_mut_ptr());
        assert_eq!(id, [0; 16]);
        wal_log_id(null(), null_mut());
    }
}

#[test]
fn opening_checks_its_arguments_before_it_touches_the_disk() {
    let missing = c"/nonexistent-directory/log";
    let mut out = null_mut();
    // SAFETY: as above.
    unsafe {
        assert_eq!(refused(|err| wal_open(null(), null(), &mut out, err)), "dir is NULL");
        assert_eq!(refused(|err| wal_open(c"".as_ptr(), null(), &mut out, err)), "dir is empty");
        assert_eq!(refused(|err| wal_open(missing.as_ptr(), null(), null_mut(), err)), "out is NULL");
        let mut options: WalOptions = zeroed();
        assert!(refused(|err| wal_open(missing.as_ptr(), &options, &mut out, err)).contains("wal_options_init"));
        wal_options_init(&mut options, size_of::<WalOptions>());
        options.segment_size = 5000;
        assert!(refused(|err| wal_open(missing.as_ptr(), &options, &mut out, err)).contains("segment_size"));
        options.segment_size = 0;
        options.file_mode = 0o777_777;
        assert!(refused(|err| wal_open(missing.as_ptr(), &options, &mut out, err)).contains("file_mode"));
        assert_eq!(wal_open(null(), null(), &mut out, null_mut()), WAL_E_INVALID, "nobody needs to ask for the error");

        let mut report: WalReport = zeroed();
        let size = size_of::<WalReport>();
        assert_eq!(refused(|err| wal_inspect(null(), null(), 0, &mut report, size, err)), "dir is NULL");
        assert_eq!(refused(|err| wal_inspect(missing.as_ptr(), null(), 0, null_mut(), size, err)), "report is NULL");
        let mut count = 0;
        assert_eq!(refused(|err| wal_inspect_damage(null(), null(), null_mut(), 0, &mut count, err)), "dir is NULL");
        assert_eq!(refused(|err| wal_inspect_damage(missing.as_ptr(), null(), null_mut(), 1, &mut count, err)), "damages is NULL");
        assert_eq!(refused(|err| wal_inspect_damage(missing.as_ptr(), null(), null_mut(), 0, null_mut(), err)), "count is NULL");
        assert!(refused(|err| wal_inspect(missing.as_ptr(), null(), 2, &mut report, size, err)).contains("flags"));
        assert!(refused(|err| wal_inspect(missing.as_ptr(), null(), 0, &mut report, 0, err)).contains("size"));
    }
    assert!(out.is_null());
}
