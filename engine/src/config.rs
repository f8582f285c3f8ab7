//! How a log is opened, checked once and complete afterwards.

use crate::error::{Code, Error, Result};
use crate::seq::{self, Seq};

/// Size of a segment file when nothing else is asked for, in bytes.
pub const DEFAULT_SEGMENT_BYTES: u64 = 16 << 20;
/// Smallest legal segment, in bytes.
pub const MIN_SEGMENT_BYTES: u64 = 4 << 10;
/// Largest legal segment, in bytes.
pub const MAX_SEGMENT_BYTES: u64 = 1 << 30;
/// What a segment needs beside one record or batch, in bytes: header, OPEN, the frame's own header, and room for END and CHECKPOINT records.
pub const SEGMENT_OVERHEAD_BYTES: u64 = 512;
/// Bytes in a log id.
pub const LOG_ID_BYTES: usize = 16;
/// Unsynced records that `SyncMode::Batch` allows when nothing else is asked for.
pub const DEFAULT_BATCH_RECORDS: u32 = 1000;
/// Forgotten segments kept for recycling when nothing else is asked for.
pub const DEFAULT_RECYCLE_SEGMENTS: u32 = 8;
/// As `recycle_segments`: keep none.
pub const RECYCLE_NONE: u32 = u32::MAX;
/// A sync that takes as long is told of when nothing else is asked for, in microseconds.
pub const DEFAULT_SLOW_SYNC_US: u32 = 1_000_000;
/// `SyncMode::Os` and `SyncMode::None` sync after this many bytes, which bounds what an unclean opening has to copy.
pub const BACKGROUND_SYNC_BYTES: u64 = 16 << 20;
/// Size of each of the two commit buffers and of a cursor's read buffer, in bytes.
pub const BUFFER_BYTES: usize = 1 << 20;

/// A place in a segment, or a length there, in bytes. No segment exceeds `MAX_SEGMENT_BYTES`: microcontrollers, whose words are short, do with 32 bits.
#[cfg(feature = "std")]
pub type Offset = u64;
/// A place in a segment, or a length there, in bytes. No segment exceeds `MAX_SEGMENT_BYTES`: microcontrollers, whose words are short, do with 32 bits.
#[cfg(not(feature = "std"))]
pub type Offset = u32;

/// A log's identity: random, made at creation.
pub type LogId = [u8; LOG_ID_BYTES];

/// When an append returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SyncMode {
    /// Durable.
    #[default]
    Always,
    /// Accepted; at most `batch_records` are not durable.
    Batch,
    /// Handed to the operating system.
    Os,
    /// Copied into the log's buffer.
    None,
}

/// What an opening does with damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Recovery {
    /// Refuse.
    #[default]
    Strict,
    /// Keep what precedes it, move the rest aside.
    Prefix,
}

/// What an opening expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OpenKind {
    /// A log or nothing; nothing becomes a new log.
    #[default]
    Any,
    /// A log.
    Existing,
    /// Nothing.
    New,
    /// A log, which is only read.
    ReadOnly,
    /// A log that another process may be writing, which is only read.
    Live,
}

/// Everything an opening can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// When an append returns.
    pub sync_mode: SyncMode,
    /// What to do with damage.
    pub recovery: Recovery,
    /// What to expect.
    pub open: OpenKind,
    /// Segment size of a log that is created, in bytes; 0 = default. An existing log keeps its own.
    pub segment_bytes: u64,
    /// Up to where the host's store holds everything; `None` = not given.
    pub store_seq: Option<Seq>,
    /// The log that the store belongs to; `None` = not given.
    pub expected_log_id: Option<LogId>,
    /// Most unsynced records in `SyncMode::Batch`; 0 = default.
    pub batch_records: u32,
    /// Longest time between syncs in `SyncMode::Batch`, in microseconds; 0 = no timer.
    pub batch_interval_us: u32,
    /// Forgotten segments kept for recycling; 0 = default, `RECYCLE_NONE` = none.
    pub recycle_segments: u32,
    /// Whether a background thread may be started.
    pub background: bool,
    /// A sync that takes as long is told of, in microseconds; 0 = default.
    pub slow_sync_us: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            sync_mode: SyncMode::Always,
            recovery: Recovery::Strict,
            open: OpenKind::Any,
            segment_bytes: 0,
            store_seq: None,
            expected_log_id: None,
            batch_records: 0,
            batch_interval_us: 0,
            recycle_segments: 0,
            background: true,
            slow_sync_us: 0,
        }
    }
}

impl Config {
    /// The same with every default filled in, or what is wrong with it.
    pub fn checked(mut self) -> Result<Config> {
        if self.segment_bytes == 0 {
            self.segment_bytes = DEFAULT_SEGMENT_BYTES;
        }
        if !(MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&self.segment_bytes) || !self.segment_bytes.is_multiple_of(MIN_SEGMENT_BYTES) {
            return Err(Error::new(Code::Invalid, "segment_size must be a multiple of 4096 from 4096 to 1073741824, or 0"));
        }
        match self.store_seq {
            Some(seq::STORE_EMPTY) => self.store_seq = Some(0),
            Some(given) if given > seq::MAX => {
                return Err(Error::new(Code::Invalid, "store_seq is neither a sequence number nor WAL_STORE_EMPTY"));
            }
            _ => {}
        }
        let names_a_log = self.expected_log_id.is_some() || self.store_seq.is_some_and(|given| given > 0);
        if names_a_log {
            match self.open {
                OpenKind::Any => self.open = OpenKind::Existing,
                OpenKind::New => {
                    return Err(Error::new(
                        Code::Invalid,
                        "WAL_OPEN_NEW contradicts store_seq or expected_log_id: a new log holds nothing of that store",
                    ));
                }
                OpenKind::Existing | OpenKind::ReadOnly | OpenKind::Live => {}
            }
        }
        if self.open == OpenKind::Live && self.recovery == Recovery::Prefix {
            return Err(Error::new(Code::Invalid, "WAL_OPEN_LIVE contradicts WAL_RECOVER_PREFIX: who follows a log changes nothing in it"));
        }
        if self.batch_interval_us > 0 {
            if self.sync_mode != SyncMode::Batch {
                return Err(Error::new(Code::Invalid, "batch_interval_us needs WAL_SYNC_BATCH"));
            }
            if !self.background {
                return Err(Error::new(Code::Invalid, "batch_interval_us needs the background thread"));
            }
        }
        if self.batch_records > 0 && self.sync_mode != SyncMode::Batch {
            return Err(Error::new(Code::Invalid, "batch_records needs WAL_SYNC_BATCH"));
        }
        if self.batch_records == 0 {
            self.batch_records = DEFAULT_BATCH_RECORDS;
        }
        if self.slow_sync_us == 0 {
            self.slow_sync_us = DEFAULT_SLOW_SYNC_US;
        }
        self.recycle_segments = match self.recycle_segments {
            0 => DEFAULT_RECYCLE_SEGMENTS,
            RECYCLE_NONE => 0,
            count => count,
        };
        Ok(self)
    }
}
