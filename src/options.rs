//! `wal_options_t`: what an opening can be told.

use core::ffi::c_void;

use wal_engine::config::{Config, OpenKind, Recovery, SyncMode};
use wal_engine::error::Error;
use wal_engine::seq;
use wal_engine::storage::posix::Modes;

use crate::check::{self, invalid};
use crate::message::WalLogCallback;
use crate::storage::WalStorage;

/// ## Options: sync_mode
/// Durable when append returns (default).
pub const WAL_SYNC_ALWAYS: u32 = 0;
/// A bounded number of records at risk.
pub const WAL_SYNC_BATCH: u32 = 1;
/// Handed to the operating system.
pub const WAL_SYNC_OS: u32 = 2;
/// Copied into the log's buffer.
pub const WAL_SYNC_NONE: u32 = 3;

/// ## Options: recovery
/// Refuse a damaged log (default).
pub const WAL_RECOVER_STRICT: u32 = 0;
/// Keep what precedes the damage.
pub const WAL_RECOVER_PREFIX: u32 = 1;

/// ## Options: open_flags
/// There must be a log.
pub const WAL_OPEN_EXISTING: u32 = 1;
/// There must be none yet.
pub const WAL_OPEN_NEW: u32 = 2;
/// There must be one; write nothing.
pub const WAL_OPEN_READ_ONLY: u32 = 4;
/// With READ_ONLY: another may write it.
pub const WAL_OPEN_LIVE: u32 = 8;

/// ## Options: option_flags
/// Start no background thread.
pub const WAL_OPTION_NO_THREAD: u32 = 1;
/// Write past the system's cache: see DIRECT WRITES at the top.
pub const WAL_OPTION_DIRECT: u32 = 2;

/// ## Options: other special values
/// As recycle_segments: keep none.
pub const WAL_RECYCLE_NONE: u32 = u32::MAX;

/// As store_seq: the store is empty.
pub const WAL_STORE_EMPTY: u64 = u64::MAX - 1;

const _: () = assert!(WAL_STORE_EMPTY == seq::STORE_EMPTY && WAL_RECYCLE_NONE == wal_engine::config::RECYCLE_NONE);

/// How to open a log. Fill it with wal_options_init, then set what should differ: 0 is every
/// member's default. The struct grows in later versions; struct_size says which version the
/// program was compiled with, and a member that the running library does not know is refused
/// if it is set.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WalOptions {
    /// sizeof(wal_options_t), written by wal_options_init.
    pub struct_size: u32,
    /// When an append returns: WAL_SYNC_...; see the table at the top.
    pub sync_mode: u32,
    /// For a log that is created: bytes in a segment, a multiple of 4096 from 4096 to
    /// 1073741824. 0: 16 MiB. An existing log keeps its own.
    pub segment_size: u64,
    /// What the store says it durably holds: the n saved after the last checkpoint, or
    /// WAL_STORE_EMPTY. The log proves that it has everything above, or refuses with
    /// WAL_E_GAP. 0: not given, nothing is proven.
    pub store_seq: u64,
    /// WAL_OPEN_...; 0: open the log, or create it. store_seq (except WAL_STORE_EMPTY) and
    /// expected_log_id imply WAL_OPEN_EXISTING. WAL_OPEN_LIVE: see LIVE READERS at the top.
    pub open_flags: u32,
    /// What to do about damage: WAL_RECOVER_...
    pub recovery: u32,
    /// For WAL_SYNC_BATCH: most records that are not yet durable. 0: 1000.
    pub batch_records: u32,
    /// For WAL_SYNC_BATCH: longest time until a record is durable, in microseconds; needs the
    /// background thread. 0: no such limit.
    pub batch_interval_us: u32,
    /// The log id that the store remembers (wal_log_id); another log is refused with
    /// WAL_E_WRONG_LOG. All 0: not given.
    pub expected_log_id: [u8; 16],
    /// Forgotten segments kept to be written again, which is faster than new files. 0: 8.
    /// WAL_RECYCLE_NONE: none.
    pub recycle_segments: u32,
    /// WAL_OPTION_...
    pub option_flags: u32,
    /// Permissions of a directory that is created, as for chmod(2). 0: 0700.
    pub directory_mode: u32,
    /// Permissions of the files that are created. 0: 0600.
    pub file_mode: u32,
    /// Reserved, 0.
    pub reserved: [u64; 7],
    /// Hears what happens beside the answers of calls: see wal_log_callback_t. NULL: nobody.
    pub log_callback: WalLogCallback,
    /// What it gets as its first argument.
    pub log_context: *mut c_void,
    /// The callback hears of a sync that took as many microseconds. 0: 1 second.
    pub slow_sync_us: u32,
    /// Reserved, 0.
    pub reserved_2: u32,
    /// The host's own file layer: see YOUR OWN FILE LAYER at the top. directory_mode and
    /// file_mode must be 0 with it. NULL: the system's files.
    pub storage: *const WalStorage,
    /// Reserved, NULL.
    pub reserved_3: *mut c_void,
}

const _: () = assert!(size_of::<WalOptions>() == 128 + 4 * size_of::<usize>() + 8);

impl WalOptions {
    pub(crate) const DEFAULT: WalOptions = WalOptions {
        struct_size: size_of::<WalOptions>() as u32,
        sync_mode: WAL_SYNC_ALWAYS,
        segment_size: 0,
        store_seq: 0,
        open_flags: 0,
        recovery: WAL_RECOVER_STRICT,
        batch_records: 0,
        batch_interval_us: 0,
        expected_log_id: [0; 16],
        recycle_segments: 0,
        option_flags: 0,
        directory_mode: 0,
        file_mode: 0,
        reserved: [0; 7],
        log_callback: None,
        log_context: core::ptr::null_mut(),
        slow_sync_us: 0,
        reserved_2: 0,
        storage: core::ptr::null(),
        reserved_3: core::ptr::null_mut(),
    };

    /// What the engine is told. Whether the values go together is the engine's to say.
    pub(crate) fn config(&self) -> Result<Config, Error> {
        let sync_mode = match self.sync_mode {
            WAL_SYNC_ALWAYS => SyncMode::Always,
            WAL_SYNC_BATCH => SyncMode::Batch,
            WAL_SYNC_OS => SyncMode::Os,
            WAL_SYNC_NONE => SyncMode::None,
            _ => return Err(invalid("sync_mode is none of WAL_SYNC_...")),
        };
        let recovery = match self.recovery {
            WAL_RECOVER_STRICT => Recovery::Strict,
            WAL_RECOVER_PREFIX => Recovery::Prefix,
            _ => return Err(invalid("recovery is none of WAL_RECOVER_...")),
        };
        const READ_ONLY_EXISTING: u32 = WAL_OPEN_READ_ONLY | WAL_OPEN_EXISTING;
        const LIVE: u32 = WAL_OPEN_READ_ONLY | WAL_OPEN_LIVE;
        const LIVE_EXISTING: u32 = LIVE | WAL_OPEN_EXISTING;
        check::flags(self.open_flags, LIVE_EXISTING | WAL_OPEN_NEW, "open_flags has unknown bits")?;
        let open = match self.open_flags {
            0 => OpenKind::Any,
            WAL_OPEN_EXISTING => OpenKind::Existing,
            WAL_OPEN_NEW => OpenKind::New,
            WAL_OPEN_READ_ONLY | READ_ONLY_EXISTING => OpenKind::ReadOnly,
            LIVE | LIVE_EXISTING => OpenKind::Live,
            flags if flags & LIVE == WAL_OPEN_LIVE => return Err(invalid("open_flags: WAL_OPEN_LIVE needs WAL_OPEN_READ_ONLY")),
            _ => return Err(invalid("open_flags: WAL_OPEN_NEW contradicts the others")),
        };
        check::flags(self.option_flags, WAL_OPTION_NO_THREAD | WAL_OPTION_DIRECT, "option_flags has unknown bits")?;
        if self.is_direct() {
            if matches!(sync_mode, SyncMode::Os | SyncMode::None) {
                return Err(invalid("WAL_OPTION_DIRECT is for logs that sync what they write: it needs WAL_SYNC_ALWAYS or WAL_SYNC_BATCH"));
            }
            if self.open_flags & WAL_OPEN_READ_ONLY != 0 {
                return Err(invalid("WAL_OPTION_DIRECT is about writing, which WAL_OPEN_READ_ONLY excludes"));
            }
        }
        if self.reserved != [0; 7] || self.reserved_2 != 0 || !self.reserved_3.is_null() {
            return Err(invalid("options->reserved must be 0"));
        }
        Ok(Config {
            sync_mode,
            recovery,
            open,
            segment_bytes: self.segment_size,
            store_seq: (self.store_seq != 0).then_some(self.store_seq),
            expected_log_id: (self.expected_log_id != [0; 16]).then_some(self.expected_log_id),
            batch_records: self.batch_records,
            batch_interval_us: self.batch_interval_us,
            recycle_segments: self.recycle_segments,
            background: self.option_flags & WAL_OPTION_NO_THREAD == 0,
            slow_sync_us: self.slow_sync_us,
        })
    }

    /// Whether segments are written past the system's cache.
    pub(crate) fn is_direct(&self) -> bool {
        self.option_flags & WAL_OPTION_DIRECT != 0
    }

    /// Permissions of what is created. The owner must be able to use it.
    pub(crate) fn modes(&self) -> Result<Modes, Error> {
        let fits = |mode: u32, owner: u32| mode == 0 || (mode & !0o7777 == 0 && mode & owner == owner);
        if !fits(self.directory_mode, 0o700) {
            return Err(invalid("directory_mode must be a mode that gives the owner 0700, or 0"));
        }
        if !fits(self.file_mode, 0o600) {
            return Err(invalid("file_mode must be a mode that gives the owner 0600, or 0"));
        }
        Ok(Modes { directory: self.directory_mode, file: self.file_mode })
    }
}

/// ## Opening and closing
/// Makes options that ask for nothing but defaults: zeros, and `size` in struct_size.
///
/// options   memory of `size` bytes, overwritten. NULL: nothing happens.
/// size      sizeof(wal_options_t). Below 4: nothing happens.
///
/// Threads:  any, any time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_options_init(options: *mut WalOptions, size: usize) {
    caller!().init_options(options, size);
}

#[cfg(test)]
#[allow(clippy::host_endian_bytes)] // A struct in memory is the host's.
mod tests {
    use super::*;
    use crate::boundary::Caller;
    use wal_engine::error::Code;

    fn config(change: impl FnOnce(&mut WalOptions)) -> Result<Config, Error> {
        let mut options = WalOptions::DEFAULT;
        change(&mut options);
        options.config()
    }

    fn what(change: impl FnOnce(&mut WalOptions)) -> &'static str {
        let error = config(change).expect_err("it must be refused");
        assert_eq!(error.code, Code::Invalid);
        error.what
    }

    /// Options in memory of their own, as a program compiled with another version has them.
    fn read(bytes: &mut [u8]) -> Result<WalOptions, Error> {
        let size = bytes.len() as u32;
        bytes[..4].copy_from_slice(&size.to_ne_bytes());
        caller!().options(bytes.as_ptr().cast())
    }

    #[test]
    fn zeros_are_the_engines_defaults() {
        assert_eq!(config(|_| {}), Ok(Config::default()));
        assert_eq!(caller!().options(core::ptr::null()).and_then(|options| options.config()), Ok(Config::default()));
    }

    #[test]
    fn every_member_arrives() {
        let config = config(|options| {
            options.sync_mode = WAL_SYNC_BATCH;
            options.segment_size = 8192;
            options.store_seq = 5;
            options.open_flags = WAL_OPEN_READ_ONLY | WAL_OPEN_EXISTING;
            options.recovery = WAL_RECOVER_PREFIX;
            options.batch_records = 6;
            options.batch_interval_us = 7;
            options.expected_log_id = [8; 16];
            options.recycle_segments = 9;
            options.option_flags = WAL_OPTION_NO_THREAD;
            options.slow_sync_us = 10;
        });
        let expected = Config {
            sync_mode: SyncMode::Batch,
            recovery: Recovery::Prefix,
            open: OpenKind::ReadOnly,
            segment_bytes: 8192,
            store_seq: Some(5),
            expected_log_id: Some([8; 16]),
            batch_records: 6,
            batch_interval_us: 7,
            recycle_segments: 9,
            background: false,
            slow_sync_us: 10,
        };
        assert_eq!(config, Ok(expected));
    }

    #[test]
    fn unknown_values_are_refused_by_name() {
        assert!(what(|options| options.sync_mode = 4).contains("sync_mode"));
        assert!(what(|options| options.recovery = 2).contains("recovery"));
        assert!(what(|options| options.open_flags = 8).contains("open_flags"));
        assert!(what(|options| options.open_flags = WAL_OPEN_NEW | WAL_OPEN_EXISTING).contains("WAL_OPEN_NEW"));
        assert!(what(|options| options.open_flags = WAL_OPEN_NEW | WAL_OPEN_READ_ONLY).contains("WAL_OPEN_NEW"));
        assert!(what(|options| options.option_flags = 4).contains("option_flags"));
        assert!(what(|options| options.reserved[6] = 1).contains("reserved"));
        assert!(what(|options| options.reserved_2 = 1).contains("reserved"));
        assert!(what(|options| options.reserved_3 = core::ptr::dangling_mut()).contains("reserved"));
    }

    #[test]
    fn direct_writes_are_for_writers_that_sync() {
        let direct = |change: fn(&mut WalOptions)| {
            config(|options| {
                options.option_flags = WAL_OPTION_DIRECT;
                change(options);
            })
            .map_err(|error| error.what.contains("WAL_OPTION_DIRECT"))
        };
        assert!(direct(|_| {}).is_ok());
        assert!(direct(|options| options.sync_mode = WAL_SYNC_BATCH).is_ok());
        assert_eq!(direct(|options| options.sync_mode = WAL_SYNC_OS), Err(true));
        assert_eq!(direct(|options| options.sync_mode = WAL_SYNC_NONE), Err(true));
        assert_eq!(direct(|options| options.open_flags = WAL_OPEN_READ_ONLY), Err(true));
        assert_eq!(direct(|options| options.open_flags = WAL_OPEN_READ_ONLY | WAL_OPEN_LIVE), Err(true));
    }

    #[test]
    fn modes_leave_the_owner_in() {
        let modes = |directory_mode, file_mode| WalOptions { directory_mode, file_mode, ..WalOptions::DEFAULT }.modes().is_ok();
        assert!(modes(0, 0) && modes(0o750, 0o640) && modes(0o2770, 0o660));
        assert!(!modes(0o070, 0) && !modes(0, 0o040) && !modes(0o40700, 0) && !modes(0, u32::MAX));
    }

    #[test]
    fn a_shorter_struct_is_extended_with_zeros() {
        let mut bytes = [0xFF; 8];
        bytes[4..8].copy_from_slice(&WAL_SYNC_OS.to_ne_bytes());
        let options = read(&mut bytes).expect("a struct of an older version");
        assert_eq!((options.sync_mode, options.segment_size, options.reserved), (WAL_SYNC_OS, 0, [0; 7]));
        assert!(read(&mut [0; 4]).is_ok());
    }

    /// The callback of a struct that ends inside it, or before its context, is nobody's; so is a storage's.
    #[test]
    fn pointers_are_taken_whole_or_not_at_all() {
        let callback = core::mem::offset_of!(WalOptions, log_callback);
        for size in (callback..size_of::<WalOptions>()).step_by(4) {
            let mut bytes = [0xFF; size_of::<WalOptions>()];
            bytes[4..callback].fill(0);
            let options = read(&mut bytes[..size]).expect("a struct of some version");
            assert_eq!(options.log_callback.is_some(), size >= callback + 2 * size_of::<usize>(), "{size}");
            let storage = core::mem::offset_of!(WalOptions, storage) + size_of::<usize>();
            assert_eq!(options.storage.is_null(), size < storage, "{size}");
        }
    }

    #[test]
    fn a_longer_struct_passes_only_if_its_tail_is_zero() {
        let mut bytes = [0; 200];
        assert!(read(&mut bytes).is_ok());
        bytes[199] = 1;
        assert_eq!(read(&mut bytes).map(|_| ()).map_err(|error| error.code), Err(Code::Invalid));
    }

    #[test]
    fn a_size_that_nobody_initialised_is_refused() {
        for size in [0u32, 3, 4097, 0xDEAD_BEEF, u32::MAX] {
            let bytes = size.to_ne_bytes();
            let outcome = caller!().options(bytes.as_ptr().cast());
            assert_eq!(outcome.map(|_| ()).map_err(|error| error.code), Err(Code::Invalid), "{size}");
        }
    }

    #[test]
    fn init_writes_the_size_and_zeros_and_nothing_else() {
        let caller: Caller = caller!();
        let mut bytes = [0xFFu8; 140];
        caller.init_options(bytes.as_mut_ptr().cast(), 132);
        assert_eq!(bytes[..4], 132u32.to_ne_bytes());
        assert!(bytes[4..132].iter().all(|&byte| byte == 0) && bytes[132..].iter().all(|&byte| byte == 0xFF));
        let mut bytes = [0xFFu8; 4];
        caller.init_options(bytes.as_mut_ptr().cast(), 3);
        caller.init_options(core::ptr::null_mut(), 128);
        assert_eq!(bytes, [0xFF; 4]);
    }
}
