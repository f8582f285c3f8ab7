//! Positions and counters.

use wal_engine::log::{BUCKETS, Stat};

use crate::error::{WalError, segment_of};
use crate::handle::Wal;
use crate::status::{WAL_OK, WalStatus};

/// ## wal_stat
/// Members of a histogram.
pub const WAL_STAT_BUCKETS: u32 = 24;

/// Where a log stands and what it has done. Grows in later versions. A histogram's member 0 counts
/// zeros, member i the numbers from 2^(i-1) up to but not including 2^i, the last one all larger
/// ones, too.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WalStat {
    /// Last record appended, 0 if there never was one.
    pub last_seq: u64,
    /// Last record known to be durable.
    pub durable_seq: u64,
    /// Highest n of any checkpoint.
    pub checkpoint_seq: u64,
    /// What the host declared with it.
    pub checkpoint_covered: u64,
    /// Oldest record kept; last_seq + 1 if there is none.
    pub oldest_seq: u64,
    /// Records up to here have been forgotten.
    pub floor_seq: u64,
    /// Unclean openings so far, and those that dropped something.
    pub epoch: u64,
    /// Bytes in a segment file of this log.
    pub segment_size: u64,
    /// Bytes on disk: segments, spares, manifest.
    pub disk_bytes: u64,
    /// Segments that hold records.
    pub segments: u64,
    /// Files prepared or kept for coming segments.
    pub spares: u64,
    /// Since this opening: calls that appended.
    pub appends: u64,
    /// Since this opening: records appended.
    pub records: u64,
    /// Since this opening: bytes appended, headers and padding included.
    pub appended_bytes: u64,
    /// Since this opening: writes to segments.
    pub writes: u64,
    /// Since this opening: syncs of segments.
    pub syncs: u64,
    /// Since this opening: segments begun.
    pub rotations: u64,
    /// Since this opening: segments begun in a forgotten one's blocks.
    pub recycled: u64,
    /// 1 if a failed write or sync has poisoned the handle, else 0.
    pub poisoned: u32,
    /// Reserved, 0.
    pub reserved: u32,
    /// Of the spares, those that are prepared: an append can go on in them at once.
    pub spares_ready: u64,
    /// Of the segments, those that are forgotten and not yet removed, perhaps for an open cursor.
    pub segments_forgotten: u64,
    /// Since this opening: checkpoints.
    pub checkpoints: u64,
    /// Since this opening: truncations that forgot something.
    pub truncations: u64,
    /// Since this opening: records that syncs made durable.
    pub synced_records: u64,
    /// The most records that one sync made durable.
    pub group_max_records: u64,
    /// Since this opening: time spent in syncs, in microseconds.
    pub sync_us: u64,
    /// The longest sync, in microseconds.
    pub sync_max_us: u64,
    /// How long the sync under way has taken so far, in microseconds; 0 if there is none.
    pub sync_running_us: u64,
    /// Since this opening: failures of the log's own work (a write, a sync, a segment that could
    /// not be prepared or removed, the manifest), told by a call or not.
    pub failures: u64,
    /// When the last of them was, in microseconds since 1970; 0 if there was none.
    pub last_error_us: u64,
    /// First record that it concerns, 0 if none.
    pub last_error_seq: u64,
    /// Last record that it concerns, 0 if none or only last_error_seq.
    pub last_error_seq_last: u64,
    /// The segment that it concerns, 0 if none.
    pub last_error_segment: u64,
    /// Its status, WAL_OK if there was none.
    pub last_error_code: i32,
    /// The operating system's error number with it, 0 if none.
    pub last_error_os_error: i32,
    /// Pins that keep something or could, as this handle saw them last: when it opened the log,
    /// and when it last had forgotten segments to drop. wal_pin_list tells how they are now. A
    /// live reader does not look: 0.
    pub pins: u64,
    /// Pins that reached their limit and were lost.
    pub pins_lost: u64,
    /// Files of pins that are damaged. While there is one, nothing is dropped.
    pub pins_damaged: u64,
    /// The lowest seq of any pin; UINT64_MAX if there is none, 0 if one is damaged.
    pub pinned_seq: u64,
    /// Bytes of forgotten segments that are on disk because pins need them.
    pub pinned_bytes: u64,
    /// Since this opening: syncs by the records that each made durable.
    pub group_histogram: [u64; 24],
    /// Since this opening: syncs by the microseconds that each took.
    pub sync_us_histogram: [u64; 24],
}

// Without padding, so that every byte that a caller gets has a value.
const _: () = assert!(size_of::<WalStat>() == (18 + 14 + 5 + 2 * BUCKETS) * 8 + 4 * 4);
const _: () = assert!(WAL_STAT_BUCKETS as usize == BUCKETS && BUCKETS == 24);

impl From<&Stat> for WalStat {
    fn from(now: &Stat) -> WalStat {
        let error = now.failures.last.as_ref();
        WalStat {
            last_seq: now.last_seq,
            durable_seq: now.durable_seq,
            checkpoint_seq: now.checkpoint_seq,
            checkpoint_covered: now.checkpoint_covered,
            oldest_seq: now.oldest_seq,
            floor_seq: now.floor_seq,
            epoch: now.epoch,
            segment_size: now.segment_bytes,
            disk_bytes: now.disk_bytes,
            segments: now.segments,
            spares: now.spares,
            appends: now.appends,
            records: now.records,
            appended_bytes: now.appended_bytes,
            writes: now.writes,
            syncs: now.syncs,
            rotations: now.rotations,
            recycled: now.recycled,
            poisoned: now.poisoned.into(),
            reserved: 0,
            spares_ready: now.spares_ready,
            segments_forgotten: now.segments_forgotten,
            checkpoints: now.checkpoints,
            truncations: now.truncations,
            synced_records: now.groups.sum,
            group_max_records: now.groups.max,
            sync_us: now.sync_us.sum,
            sync_max_us: now.sync_us.max,
            sync_running_us: now.sync_running_us,
            failures: now.failures.count,
            last_error_us: now.failures.last_us,
            last_error_seq: error.map_or(0, |error| error.seq),
            last_error_seq_last: error.map_or(0, |error| error.seq_last),
            last_error_segment: error.map_or(0, segment_of),
            last_error_code: error.map_or(WAL_OK, |error| error.code as i32),
            last_error_os_error: error.map_or(0, |error| error.os_error),
            pins: now.pins.pins,
            pins_lost: now.pins.lost,
            pins_damaged: now.pins.damaged,
            pinned_seq: now.pins.oldest.unwrap_or(u64::MAX),
            pinned_bytes: now.pinned_bytes,
            group_histogram: now.groups.buckets,
            sync_us_histogram: now.sync_us.buckets,
        }
    }
}

/// ## Where the log stands
/// The seq of the last record appended; 0 before the first. A number that is never given out
/// again once it is durable, even if all records are forgotten.
///
/// Returns:  the seq. 0 if wal is NULL or came through fork.
/// Threads:  any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_last_seq(wal: *const Wal) -> u64 {
    caller!().number(wal, |engine| engine.last_seq())
}

/// The seq up to which every record is durable. Starts no sync.
///
/// Returns:  the seq. 0 if wal is NULL or came through fork.
/// Threads:  any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_durable_seq(wal: *const Wal) -> u64 {
    caller!().number(wal, |engine| engine.durable_seq())
}

/// The highest n that any wal_checkpoint of this log has given, in this opening or before.
///
/// Returns:  the seq, 0 if there was no checkpoint, wal is NULL or came through fork.
/// Threads:  any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_checkpoint_seq(wal: *const Wal) -> u64 {
    caller!().number(wal, |engine| engine.checkpoint_seq())
}

/// The seq of the oldest record that has not been forgotten.
///
/// Returns:  the seq, wal_last_seq + 1 if all are forgotten. 0 if wal is NULL or came through
///           fork.
/// Threads:  any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_oldest_seq(wal: *const Wal) -> u64 {
    caller!().number(wal, |engine| engine.oldest_seq())
}

/// The log's identity: random bytes made at its creation. A store that saves them and passes them
/// as expected_log_id can never be paired with another store's log.
///
/// id        receives 16 bytes: all 0 (which means "not given") if wal is NULL or came through
///           fork. NULL: nothing happens.
///
/// Threads:  any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_log_id(wal: *const Wal, id: *mut u8) {
    let caller = caller!();
    let mut found = [0; 16];
    caller.number(wal, |engine| {
        found = engine.log_id();
        0
    });
    caller.put(id.cast(), found);
}

/// Positions and counters at one point in time.
///
/// stat      receives the first `size` bytes.
/// size      sizeof(wal_stat_t).
///
/// Returns:  WAL_OK, WAL_E_INVALID, WAL_E_FORKED, WAL_E_PANIC.
/// Threads:  any. Waits for the log's lock; not for every append.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_stat(wal: *const Wal, stat: *mut WalStat, size: usize, err: *mut WalError) -> WalStatus {
    let caller = caller!();
    caller.log(wal, err, |log| {
        caller.need_struct(stat, size, "stat is NULL")?;
        caller.put_struct(stat, size, &WalStat::from(&log.engine.stat()));
        Ok(WAL_OK)
    })
}

#[cfg(test)]
mod tests {
    use crate::boundary::Caller;

    #[test]
    fn a_struct_is_filled_as_far_as_the_caller_has_it() {
        let caller: Caller = caller!();
        let value = [1u64, 2, 3];
        let fill = |size: usize| {
            let mut memory = [u64::MAX; 5];
            caller.put_struct(memory.as_mut_ptr().cast::<[u64; 3]>(), size, &value);
            memory
        };
        assert_eq!(fill(16), [1, 2, u64::MAX, u64::MAX, u64::MAX]);
        assert_eq!(fill(24), [1, 2, 3, u64::MAX, u64::MAX]);
        assert_eq!(fill(32), [1, 2, 3, 0, u64::MAX]);
    }

    #[test]
    fn a_struct_needs_a_sane_size() {
        let caller: Caller = caller!();
        let place = 0u64;
        for (size, good) in [(0, false), (1, true), (4096, true), (4097, false), (usize::MAX, false)] {
            assert_eq!(caller.need_struct(&place, size, "NULL").is_ok(), good, "{size}");
        }
        assert!(caller.need_struct::<u64>(core::ptr::null(), 8, "NULL").is_err());
    }
}
