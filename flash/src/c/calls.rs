//! The functions.

use core::ffi::c_void;

use wal_engine::error::Code;
use wal_engine::segment::payload::Entry;
use wal_engine::seq;

pub use super::boundary::WalFlash;
use super::boundary::{Sizes, caller};
use super::types::{
    WAL_FLASH_OVERWRITE, WAL_FLASH_SYNC_LATER, WAL_FLASH_VERIFY, WAL_OK, WAL_REPLAY_RAW, WAL_TRUNCATE_UNCHECKED, WalFlashConfig,
    WalFlashCursor, WalFlashEntry, WalFlashError, WalFlashRecord, WalFlashStat, WalStatus,
};
use crate::chip::{Chip, Fault, Geometry};
use crate::fail::{Detail, Result};
use crate::log::Settings;
use crate::replay::Record;

/// Bytes of the window through which the log looks at the flash, at least.
const WINDOW: usize = 128;

const INVALID: Code = Code::Invalid;

/// What a config says, checked.
fn checked(config: &WalFlashConfig) -> Option<(Settings, Sizes)> {
    let geometry = Geometry {
        block_bytes: config.block_size,
        blocks: config.block_count,
        segment_blocks: config.segment_blocks,
        unit: config.program_unit,
        erased: config.erased_value as u8,
    };
    let known = WAL_FLASH_VERIFY | WAL_FLASH_OVERWRITE | WAL_FLASH_SYNC_LATER;
    let smallest = geometry.unit.max(8);
    let page = if config.page_size == 0 { geometry.unit.max(32) } else { config.page_size };
    let store_seq = match config.store_seq {
        0 => None,
        seq::STORE_EMPTY => Some(0),
        given if given <= seq::MAX => Some(given),
        _ => return None,
    };
    let fits = page >= smallest && page <= geometry.segment_bytes();
    if !geometry.is_legal() || !fits || page & (smallest - 1) != 0 || config.erased_value > 0xFF || config.flags & !known != 0 {
        return None;
    }
    let has = |flag: u32| config.flags & flag != 0;
    let settings = Settings {
        geometry,
        sync_each: !has(WAL_FLASH_SYNC_LATER),
        verify: has(WAL_FLASH_VERIFY),
        overwrite: has(WAL_FLASH_OVERWRITE),
        store_seq,
        expected_log_id: Some(config.expected_log_id).filter(|id| *id != [0; 16]),
        new_log_id: config.new_log_id,
    };
    Some((settings, Sizes { slots: geometry.slots() as usize, page: page as usize, window: WINDOW }))
}

/// Bytes that wal_flash_init needs for this config; 0 if the config is not legal. The log itself
/// takes 512 of them on a 32-bit machine; beside it there are 4 for each segment, a
/// page, and the window of at least 128 through which the flash is looked at.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_flash_memory_size(config: *const WalFlashConfig) -> usize {
    let caller = caller!();
    caller.config(config).and_then(checked).map_or(0, |(_, sizes)| sizes.total())
}

/// Opens the log on a chip, or a new one if the chip holds none. Reads, and writes nothing: what
/// has to be made durable or erased is so at the first append, or at wal_flash_prepare.
///
/// memory   aligned to 8; the log's for as long as it is used. There is nothing to close.
/// size     at least wal_flash_memory_size; what is more makes the window larger, and replay
///          faster.
/// log      receives the handle. One thread at a time may use it.
///
/// Returns: WAL_OK; WAL_E_INVALID (also for a log of another shape), WAL_E_NO_MEMORY,
///          WAL_E_NOT_FOUND, WAL_E_WRONG_LOG, WAL_E_GAP, WAL_E_CORRUPT, WAL_E_FORMAT, WAL_E_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_flash_init(
    memory: *mut c_void,
    size: usize,
    config: *const WalFlashConfig,
    log: *mut *mut WalFlash,
    err: *mut WalFlashError,
) -> WalStatus {
    let caller = caller!();
    let prepared = || -> Result<(&mut WalFlash, Settings)> {
        let config = caller.config(config).ok_or(INVALID)?;
        let (settings, mut sizes) = checked(config).ok_or(INVALID)?;
        let chip = caller.chip(&config.driver)?;
        if log.is_null() {
            return Err(INVALID);
        }
        sizes.window += size.saturating_sub(sizes.total());
        Ok((caller.lay_out(memory, size, chip, &settings, &sizes)?, settings))
    };
    let opened = match prepared() {
        Ok((handle, settings)) => handle.open(&settings),
        Err(code) => Err((code, Detail::default())),
    };
    match opened {
        Ok(handle) => {
            if let Some(to) = caller.answer(log) {
                *to = handle;
            }
            WAL_OK
        }
        Err((code, detail)) => caller.fail(err, code, &detail),
    }
}

/// Erases every block of the log: whatever it held is gone, and the next wal_flash_init makes a
/// new log. If the power fails, call it again.
///
/// Returns: WAL_OK, WAL_E_INVALID, WAL_E_IO. Worn blocks are passed over.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_flash_format(config: *const WalFlashConfig, err: *mut WalFlashError) -> WalStatus {
    let caller = caller!();
    let mut detail = Detail::default();
    let mut format = || -> Result<()> {
        let config = caller.config(config).ok_or(INVALID)?;
        let chip = caller.chip(&config.driver)?;
        checked(config).ok_or(INVALID)?;
        for step in 0..=config.block_count {
            match if step < config.block_count { chip.erase(step) } else { chip.sync() } {
                Ok(()) => {}
                Err(Fault::BadBlock) if step < config.block_count => {}
                Err(fault) => {
                    if let Fault::Driver(number) = fault {
                        detail.driver = number;
                    }
                    return Err(Code::Io);
                }
            }
        }
        Ok(())
    };
    match format() {
        Ok(()) => WAL_OK,
        Err(code) => caller.fail(err, code, &detail),
    }
}

/// Appends a record. It is durable when this returns, unless the config says WAL_FLASH_SYNC_LATER.
///
/// key      up to 65535 bytes; key and value together up to max_record of wal_flash_stat.
/// seq      receives its number; may be NULL.
///
/// Returns: WAL_OK; WAL_E_INVALID, WAL_E_TOO_LARGE, WAL_E_NO_SPACE, WAL_E_MISUSE (in the middle
///          of another record's pieces); WAL_E_IO: in doubt until the next call that writes
///          succeeds, and not appended then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_flash_append(
    log: *mut WalFlash,
    op: u8,
    key: *const c_void,
    key_len: u32,
    value: *const c_void,
    value_len: u32,
    seq: *mut u64,
    err: *mut WalFlashError,
) -> WalStatus {
    let caller = caller!();
    let Some(found) = caller.log(log) else { return caller.no_log(log, err) };
    let result = match (caller.bytes(key, key_len), caller.bytes(value, value_len)) {
        (Some(key), Some(value)) => found.append(Entry { op, key, value }),
        _ => Err(INVALID),
    };
    caller.put(seq, found.last_seq(), &result);
    caller.report(log, err, result)
}

/// Appends several records, all or none, with consecutive numbers.
///
/// last_seq receives the last one's; may be NULL.
///
/// Returns: as wal_flash_append.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_flash_append_batch(
    log: *mut WalFlash,
    entries: *const WalFlashEntry,
    count: u32,
    last_seq: *mut u64,
    err: *mut WalFlashError,
) -> WalStatus {
    let caller = caller!();
    let Some(found) = caller.log(log) else { return caller.no_log(log, err) };
    let result = caller.entries(entries, count).ok_or(INVALID).and_then(|entries| found.append_batch(&entries));
    caller.put(last_seq, found.last_seq(), &result);
    caller.report(log, err, result)
}

/// Begins a record that is too large for the memory at hand. Its pieces follow with
/// wal_flash_append_piece, key_len bytes of key first; nothing counts before
/// wal_flash_append_end. Meanwhile other records are refused.
///
/// Returns: as wal_flash_append.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_flash_append_begin(log: *mut WalFlash, op: u8, key_len: u32, err: *mut WalFlashError) -> WalStatus {
    let caller = caller!();
    let Some(found) = caller.log(log) else { return caller.no_log(log, err) };
    caller.report(log, err, found.begin(op, key_len))
}

/// Adds a piece. An error leaves the record as it was: try again, or cancel.
///
/// Returns: as wal_flash_append; WAL_E_TOO_LARGE if the pieces together exceed one segment.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_flash_append_piece(log: *mut WalFlash, piece: *const c_void, len: u32, err: *mut WalFlashError) -> WalStatus {
    let caller = caller!();
    let Some(found) = caller.log(log) else { return caller.no_log(log, err) };
    caller.report(log, err, caller.bytes(piece, len).ok_or(INVALID).and_then(|piece| found.add(piece)))
}

/// Ends the record: now it is appended.
///
/// seq      receives its number; may be NULL.
///
/// Returns: as wal_flash_append; WAL_E_MISUSE if bytes of its key are missing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_flash_append_end(log: *mut WalFlash, seq: *mut u64, err: *mut WalFlashError) -> WalStatus {
    let caller = caller!();
    let Some(found) = caller.log(log) else { return caller.no_log(log, err) };
    let result = found.end();
    caller.put(seq, found.last_seq(), &result);
    caller.report(log, err, result)
}

/// Gives the record up: nothing of it was appended.
///
/// Returns: WAL_OK, WAL_E_INVALID.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_flash_append_cancel(log: *mut WalFlash, err: *mut WalFlashError) -> WalStatus {
    let caller = caller!();
    let Some(found) = caller.log(log) else { return caller.no_log(log, err) };
    found.cancel();
    WAL_OK
}

/// Everything appended is durable when this returns.
///
/// Returns: WAL_OK, WAL_E_INVALID, WAL_E_NO_SPACE, WAL_E_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_flash_sync(log: *mut WalFlash, err: *mut WalFlashError) -> WalStatus {
    let caller = caller!();
    let Some(found) = caller.log(log) else { return caller.no_log(log, err) };
    caller.report(log, err, found.sync())
}

/// The host declares that its store durably holds every record with seq <= covered.
///
/// covered  WAL_SEQ_LAST: everything appended so far.
/// n        receives up to where wal_flash_truncate is allowed now.
///
/// Returns: WAL_OK, WAL_E_INVALID, WAL_E_RANGE, WAL_E_MISUSE, WAL_E_IO. Works on a full log.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_flash_checkpoint(log: *mut WalFlash, covered: u64, n: *mut u64, err: *mut WalFlashError) -> WalStatus {
    let caller = caller!();
    let Some(found) = caller.log(log) else { return caller.no_log(log, err) };
    let mut made = 0;
    let result = found.checkpoint(covered, &mut made);
    caller.put(n, made, &result);
    caller.report(log, err, result)
}

/// Forgets every record with seq <= up_to.
///
/// flags    0 or WAL_TRUNCATE_UNCHECKED.
///
/// Returns: WAL_OK, WAL_E_INVALID, WAL_E_RANGE, WAL_E_NOT_CHECKPOINTED, WAL_E_MISUSE,
///          WAL_E_CORRUPT, WAL_E_IO. Works on a full log.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_flash_truncate(log: *mut WalFlash, up_to: u64, flags: u32, err: *mut WalFlashError) -> WalStatus {
    let caller = caller!();
    let Some(found) = caller.log(log) else { return caller.no_log(log, err) };
    let known = flags & !WAL_TRUNCATE_UNCHECKED == 0;
    caller.report(log, err, if known { found.truncate(up_to, flags != 0) } else { Err(INVALID) })
}

/// A replay of every record with seq > after_seq. Makes durable first what is not.
///
/// after_seq  what the store holds, or WAL_REPLAY_OLDEST.
/// flags      0 or WAL_REPLAY_RAW.
///
/// Returns: WAL_OK, WAL_E_INVALID, WAL_E_GAP, WAL_E_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_flash_replay_open(
    log: *mut WalFlash,
    after_seq: u64,
    flags: u32,
    cursor: *mut WalFlashCursor,
    err: *mut WalFlashError,
) -> WalStatus {
    let caller = caller!();
    let Some(found) = caller.log(log) else { return caller.no_log(log, err) };
    let legal = flags & !WAL_REPLAY_RAW == 0 && (after_seq <= seq::MAX || after_seq == seq::OLDEST);
    let result = match caller.new_cursor(cursor) {
        Some(cursor) if legal => found.replay(cursor, after_seq, flags != 0),
        _ => Err(INVALID),
    };
    caller.report(log, err, result)
}

/// The next record. Its checksum was right; its bytes are read with wal_flash_replay_read.
///
/// Returns: WAL_OK; WAL_END: no more for now, call again later; WAL_E_INVALID, WAL_E_GAP (what
///          comes next was forgotten meanwhile), WAL_E_CORRUPT, WAL_E_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_flash_replay_next(
    log: *mut WalFlash,
    cursor: *mut WalFlashCursor,
    record: *mut WalFlashRecord,
    err: *mut WalFlashError,
) -> WalStatus {
    let caller = caller!();
    let Some(found) = caller.log(log) else { return caller.no_log(log, err) };
    let Some(cursor) = caller.cursor(cursor) else { return caller.report(log, err, Err(INVALID)) };
    let result = found.next(cursor);
    if result.is_ok()
        && let Some(to) = caller.answer(record)
    {
        let Record { seq, batch_last_seq, key_len, value_len, op } = *cursor.record();
        *to = WalFlashRecord { seq, batch_last_seq, key_len, value_len, op: op.into(), reserved: 0 };
    }
    caller.report_end(log, err, result)
}

/// Copies bytes of the record that wal_flash_replay_next returned last: key and value as one,
/// from `from` on. Before the next call that writes.
///
/// copied   receives how many there were, up to len.
///
/// Returns: WAL_OK, WAL_E_INVALID, WAL_E_MISUSE (something was written in between),
///          WAL_E_CORRUPT, WAL_E_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_flash_replay_read(
    log: *mut WalFlash,
    cursor: *mut WalFlashCursor,
    from: u32,
    bytes: *mut c_void,
    len: u32,
    copied: *mut u32,
    err: *mut WalFlashError,
) -> WalStatus {
    let caller = caller!();
    let Some(found) = caller.log(log) else { return caller.no_log(log, err) };
    let mut count = 0;
    let result = match (caller.cursor(cursor), caller.buffer(bytes, len)) {
        (Some(cursor), Some(buffer)) => found.read(cursor, from, buffer, &mut count),
        _ => Err(INVALID),
    };
    if result.is_ok()
        && let Some(to) = caller.answer(copied)
    {
        *to = count;
    }
    caller.report(log, err, result)
}

/// Does a part of what the next append might have to do, at most one erasure. A host that calls
/// this when it has time, until it answers WAL_END, has appends that never erase.
///
/// Returns: WAL_OK: call again; WAL_END: nothing left to do; WAL_E_INVALID, WAL_E_NO_SPACE,
///          WAL_E_MISUSE, WAL_E_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_flash_prepare(log: *mut WalFlash, err: *mut WalFlashError) -> WalStatus {
    let caller = caller!();
    let Some(found) = caller.log(log) else { return caller.no_log(log, err) };
    caller.report_end(log, err, found.prepare())
}

/// Bytes of frames that can be appended before the log is full. A record takes 24 bytes beside
/// its own, rounded up to 8 and to the program unit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_flash_free_bytes(log: *mut WalFlash) -> u64 {
    let caller = caller!();
    caller.log(log).map_or(0, |log| log.free_bytes())
}

/// Where the log stands.
///
/// Returns: WAL_OK, WAL_E_INVALID.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_flash_stat(log: *mut WalFlash, stat: *mut WalFlashStat, err: *mut WalFlashError) -> WalStatus {
    let caller = caller!();
    let Some(found) = caller.log(log) else { return caller.no_log(log, err) };
    if let Some(stat) = caller.answer(stat) {
        let figures = found.figures();
        stat.last_seq = figures.last_seq;
        stat.durable_seq = figures.durable_seq;
        stat.checkpoint_seq = figures.checkpoint_seq;
        stat.checkpoint_covered = figures.checkpoint_covered;
        stat.floor_seq = figures.floor_seq;
        stat.forgotten_data_seq = figures.forgotten_data_seq;
        stat.epoch = figures.epoch;
        stat.free_bytes = found.free_bytes();
        stat.max_record = found.shape().max_payload();
        stat.segments = figures.segments;
        stat.free_segments = figures.free_segments;
        stat.bad_segments = figures.bad_segments;
        stat.most_erasures = figures.most_erasures;
        stat.reserved = 0;
        stat.log_id = figures.log_id;
    }
    WAL_OK
}
