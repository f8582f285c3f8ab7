//! What an opening found, and what one would find.

use core::ffi::{CStr, c_char};

use wal_engine::error::Error;
use wal_engine::log::{self, Report};

use crate::boundary::Caller;
use crate::check::invalid;
use crate::error::{WalError, segment_of};
use crate::files::Files;
use crate::handle::Wal;
use crate::options::WalOptions;
use crate::status::{WAL_OK, WalStatus};

/// ## wal_inspect: flags
/// Read every byte, not just the chain.
pub const WAL_INSPECT_FULL: u32 = 1;

/// What an opening found and did, or would. Grows in later versions.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WalReport {
    /// Unclean openings so far, and those that dropped something.
    pub epoch: u64,
    /// Last record, 0 if there never was one.
    pub last_seq: u64,
    /// Oldest record kept; last_seq + 1 if there is none.
    pub oldest_seq: u64,
    /// Records up to here have been forgotten.
    pub floor_seq: u64,
    /// The last forgotten one that was no CHECKPOINT record: a store below it has a gap.
    pub forgotten_data_seq: u64,
    /// Highest n of any checkpoint.
    pub checkpoint_seq: u64,
    /// What the host declared with it.
    pub checkpoint_covered: u64,
    /// Segments that hold records.
    pub segments: u64,
    /// Files prepared or kept for coming segments.
    pub spares: u64,
    /// Bytes in a segment file of this log.
    pub segment_size: u64,
    /// Bytes read to find all this out.
    pub bytes_read: u64,
    /// Records at the end that a crash had left undecided and that were made durable.
    pub copied_records: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Garbage behind the last usable byte, as a torn write leaves it: the segment, 0 if none,
    pub dropped_segment: u64,
    /// where in it,
    pub dropped_offset: u64,
    /// how much,
    pub dropped_bytes: u64,
    /// and how many whole frames were in it that cannot be reached.
    pub dropped_frames: u64,
    /// Damage (see damage_code): the segment, 0 if it is the manifest or there is none,
    pub damage_segment: u64,
    /// where in it,
    pub damage_offset: u64,
    /// the first record at risk, 0 if unknown,
    pub damage_seq: u64,
    /// and the last; UINT64_MAX: all later ones.
    pub damage_seq_last: u64,
    /// First record that WAL_RECOVER_PREFIX gave up, 0 if none.
    pub lost_first_seq: u64,
    /// The last one.
    pub lost_last_seq: u64,
    /// Damaged files moved aside ("NNNNNNNNNN.damaged").
    pub files_aside: u64,
    /// Damages; with WAL_INSPECT_FULL all there are.
    pub damages: u64,
    /// Files that an earlier WAL_RECOVER_PREFIX moved aside.
    pub damaged_files: u64,
    /// Files with a segment's name that the log does without and that have not its header.
    pub foreign_files: u64,
    /// Time it took, in microseconds.
    pub duration_us: u64,
    /// The log's identity.
    pub log_id: [u8; 16],
    /// 1 if the last close was clean, else 0.
    pub clean: u32,
    /// 1 if this opening created the log, else 0.
    pub created: u32,
    /// 1 if WAL_RECOVER_PREFIX had to rebuild the manifest, else 0.
    pub rebuilt_manifest: u32,
    /// The status that a strict opening returns because of the damage, WAL_OK if there is none.
    pub damage_code: i32,
    /// The operating system's error number with it, 0 if none.
    pub damage_os_error: i32,
    /// Reserved, 0.
    pub reserved: u32,
}

// Without padding, so that every byte that a caller gets has a value.
const _: () = assert!(size_of::<WalReport>() == 28 * 8 + 16 + 6 * 4);

impl From<&Report> for WalReport {
    fn from(report: &Report) -> WalReport {
        let damage = report.damage.as_ref();
        WalReport {
            epoch: report.epoch,
            last_seq: report.last_seq,
            oldest_seq: report.oldest_seq,
            floor_seq: report.floor_seq,
            forgotten_data_seq: report.forgotten_data_seq,
            checkpoint_seq: report.checkpoint_seq,
            checkpoint_covered: report.checkpoint_covered,
            segments: report.segments,
            spares: report.spares,
            segment_size: report.segment_bytes,
            bytes_read: report.bytes_read,
            copied_records: report.copied_records,
            copied_bytes: report.copied_bytes,
            dropped_segment: report.dropped_segment,
            dropped_offset: report.dropped_offset,
            dropped_bytes: report.dropped_bytes,
            dropped_frames: report.dropped_frames,
            damage_segment: damage.map_or(0, segment_of),
            damage_offset: damage.and_then(|error| error.offset).unwrap_or(0),
            damage_seq: damage.map_or(0, |error| error.seq),
            damage_seq_last: damage.map_or(0, |error| error.seq_last),
            lost_first_seq: report.lost_first_seq,
            lost_last_seq: report.lost_last_seq,
            files_aside: report.files_aside,
            damages: report.damages,
            damaged_files: report.damaged_files,
            foreign_files: report.foreign_files,
            duration_us: report.duration_us,
            log_id: report.log_id,
            clean: report.clean.into(),
            created: report.created.into(),
            rebuilt_manifest: report.rebuilt_manifest.into(),
            damage_code: damage.map_or(WAL_OK, |error| error.code as i32),
            damage_os_error: damage.map_or(0, |error| error.os_error),
            reserved: 0,
        }
    }
}

/// What the opening of this log found and did: whether the last close was clean, what had to be
/// dropped or copied, which damage was met.
///
/// report    receives the first `size` bytes.
/// size      sizeof(wal_report_t).
///
/// Returns:  WAL_OK, WAL_E_INVALID, WAL_E_FORKED, WAL_E_PANIC.
/// Threads:  any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_report(wal: *const Wal, report: *mut WalReport, size: usize, err: *mut WalError) -> WalStatus {
    let caller = caller!();
    caller.log(wal, err, |log| {
        caller.need_struct(report, size, "report is NULL")?;
        caller.put_struct(report, size, &WalReport::from(&log.engine.report()));
        Ok(WAL_OK)
    })
}

/// ## Looking at a log without opening it
/// Finds out what wal_open would find, and changes nothing. Damage is not an error here: it is in
/// the report, the first one with its place, all of them as a number. expected_log_id is
/// compared; store_seq is not, but an opening accepts it if forgotten_data_seq <= store_seq <=
/// last_seq (and it is not inside or below lost records).
///
/// dir       the log's directory.
/// options   as for wal_open; NULL: defaults. Nothing is created whatever they say.
/// flags     0: what an opening reads; or WAL_INSPECT_FULL: verify every record of every segment
///           and count the damages, each of which wal_inspect_damage names.
/// report    receives the first `size` bytes.
/// size      sizeof(wal_report_t).
///
/// Returns:  WAL_OK, with damage_code in the report;
///           WAL_E_INVALID, WAL_E_NOT_FOUND, WAL_E_LOCKED (a writer has the log open),
///           WAL_E_WRONG_LOG, WAL_E_FORMAT, WAL_E_IO, WAL_E_NO_MEMORY, WAL_E_PANIC.
/// Threads:  any, any time.
/// Lifetime: nothing is kept.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn wal_inspect(
    dir: *const c_char,
    options: *const WalOptions,
    flags: u32,
    report: *mut WalReport,
    size: usize,
    err: *mut WalError,
) -> WalStatus {
    let caller = caller!();
    let name = caller.dir_name(dir);
    caller.guard(err, &name, || {
        let path = caller.path(dir)?;
        crate::check::flags(flags, WAL_INSPECT_FULL, "flags must be 0 or WAL_INSPECT_FULL")?;
        caller.need_struct(report, size, "report is NULL")?;
        let found = inspect(&caller, path, &caller.options(options)?, flags & WAL_INSPECT_FULL != 0, &mut |_| {})?;
        caller.put_struct(report, size, &WalReport::from(&found));
        Ok(WAL_OK)
    })
}

fn inspect(caller: &Caller, path: &CStr, options: &WalOptions, full: bool, each: &mut dyn FnMut(&Error)) -> Result<Report, Error> {
    let config = options.config()?;
    config.checked()?;
    let files = Files::open(caller.storage(options)?.as_ref(), path, false, options.modes()?, false)?;
    log::inspect(&files, &config, full, each)
}

/// Reads every byte of the log, changes nothing, and tells each damage: code, file (segment 0 is
/// the manifest), offset and the records at risk, as the error that would name it. Behind a
/// damaged frame it goes on at the next whole one, so that all are found at once; seq is 0 where
/// no record is lost, or none can be named. What an opening does not mind is told, too: a damaged
/// copy of the manifest if others are whole, and damage among forgotten records that pins keep.
///
/// dir       the log's directory.
/// options   as for wal_open; NULL: defaults.
/// damages   receives the first `capacity` of them, in the order of the files; NULL if capacity
///           is 0. Their content is undefined if the call fails.
/// count     receives how many there are, which may be more.
///
/// Returns:  WAL_OK, whatever is damaged; the errors of wal_inspect.
/// Threads:  any, any time.
/// Lifetime: nothing is kept.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn wal_inspect_damage(
    dir: *const c_char,
    options: *const WalOptions,
    damages: *mut WalError,
    capacity: usize,
    count: *mut usize,
    err: *mut WalError,
) -> WalStatus {
    let caller = caller!();
    let name = caller.dir_name(dir);
    caller.guard(err, &name, || {
        let path = caller.path(dir)?;
        if damages.is_null() && capacity > 0 {
            return Err(invalid("damages is NULL"));
        }
        caller.need(count, "count is NULL")?;
        let mut found = 0;
        inspect(&caller, path, &caller.options(options)?, true, &mut |damage| {
            if found < capacity {
                caller.put(damages.wrapping_add(found), WalError::new(damage, &name));
            }
            found += 1;
        })?;
        caller.put(count, found);
        Ok(WAL_OK)
    })
}
