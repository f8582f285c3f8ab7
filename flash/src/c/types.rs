//! What C sees: statuses, structs, constants.

use core::ffi::c_void;

use wal_engine::error::Code;
use wal_engine::seq;

/// What every function that can fail returns: 0 done, 1 nothing more, negative an error. The
/// numbers are those of wal.h.
pub type WalStatus = i32;

/// Done.
pub const WAL_OK: i32 = 0;
/// No more records for now; nothing left to prepare.
pub const WAL_END: i32 = 1;
/// An argument or a member of the config is wrong, or the chip holds a log of another shape.
pub const WAL_E_INVALID: i32 = -1;
/// A record or batch exceeds one segment.
pub const WAL_E_TOO_LARGE: i32 = -2;
/// A seq above the last one.
pub const WAL_E_RANGE: i32 = -3;
/// No checkpoint allows this truncation.
pub const WAL_E_NOT_CHECKPOINTED: i32 = -4;
/// Records that the store lacks are gone.
pub const WAL_E_GAP: i32 = -5;
/// The log id is another one.
pub const WAL_E_WRONG_LOG: i32 = -6;
/// There is no log here, although the config says that there is.
pub const WAL_E_NOT_FOUND: i32 = -8;
/// Stored bytes are not what was written.
pub const WAL_E_CORRUPT: i32 = -10;
/// The log needs a newer library.
pub const WAL_E_FORMAT: i32 = -11;
/// The driver reported an error: see `driver` in the error. What was being appended is in doubt.
pub const WAL_E_IO: i32 = -12;
/// No space; nothing has been appended.
pub const WAL_E_NO_SPACE: i32 = -13;
/// The memory given is too small; see wal_flash_memory_size.
pub const WAL_E_NO_MEMORY: i32 = -14;
/// Not allowed in this state.
pub const WAL_E_MISUSE: i32 = -20;

/// As covered: everything appended so far.
pub const WAL_SEQ_LAST: u64 = u64::MAX;
/// As store_seq: the store is empty.
pub const WAL_STORE_EMPTY: u64 = u64::MAX - 1;
/// As after_seq: start at the oldest record kept.
pub const WAL_REPLAY_OLDEST: u64 = u64::MAX - 2;

/// What a record does: put.
pub const WAL_OP_PUT: u8 = 1;
/// What a record does: delete.
pub const WAL_OP_DELETE: u8 = 2;
/// The log's own record. 16 to 255 are the host's.
pub const WAL_OP_CHECKPOINT: u8 = 3;

/// wal_flash_replay_open: CHECKPOINT records too.
pub const WAL_REPLAY_RAW: u32 = 1;
/// wal_flash_truncate: the host keeps its own books.
pub const WAL_TRUNCATE_UNCHECKED: u32 = 1;

/// A driver's read answers this if the error correction gave up.
pub const WAL_FLASH_UNREADABLE: i32 = 1;
/// A driver's program or erase answers this if the block is worn out.
pub const WAL_FLASH_BAD_BLOCK: i32 = 2;

/// Config: read back what was programmed, and take a difference for a worn block.
pub const WAL_FLASH_VERIFY: u32 = 1;
/// Config: a full log forgets its oldest segment, whether or not the store has it, rather than
/// refuse a record.
pub const WAL_FLASH_OVERWRITE: u32 = 2;
/// Config: the driver caches, and an append does not call its sync; wal_flash_sync does.
pub const WAL_FLASH_SYNC_LATER: u32 = 4;

const _: () = assert!(WAL_SEQ_LAST == seq::LAST && WAL_STORE_EMPTY == seq::STORE_EMPTY && WAL_REPLAY_OLDEST == seq::OLDEST);
const _: () =
    assert!(WAL_E_INVALID == Code::Invalid as i32 && WAL_E_TOO_LARGE == Code::TooLarge as i32 && WAL_E_RANGE == Code::Range as i32);
const _: () = assert!(WAL_E_NOT_CHECKPOINTED == Code::NotCheckpointed as i32 && WAL_E_GAP == Code::Gap as i32);
const _: () = assert!(WAL_E_WRONG_LOG == Code::WrongLog as i32 && WAL_E_NOT_FOUND == Code::NotFound as i32);
const _: () = assert!(WAL_E_CORRUPT == Code::Corrupt as i32 && WAL_E_FORMAT == Code::Format as i32 && WAL_E_IO == Code::Io as i32);
const _: () =
    assert!(WAL_E_NO_SPACE == Code::NoSpace as i32 && WAL_E_NO_MEMORY == Code::NoMemory as i32 && WAL_E_MISUSE == Code::Misuse as i32);

/// How the log reaches the flash. Offsets count from the first byte of the log. All functions
/// return 0, one of the WAL_FLASH_ answers, or an error of their own, which comes back in
/// wal_flash_error_t. What they were doing when the power failed or they returned an error is
/// never relied on: the log expects any mix of old and new bits there.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WalFlashDriver {
    /// Passed on as it is.
    pub ctx: *mut c_void,
    /// Reads `len` bytes, any number at any offset.
    pub read: Option<unsafe extern "C" fn(ctx: *mut c_void, offset: u32, bytes: *mut c_void, len: u32) -> i32>,
    /// Programs `len` bytes, whole units in units that are erased. The log programs each unit
    /// once between two erasures; within a block in any order.
    pub program: Option<unsafe extern "C" fn(ctx: *mut c_void, offset: u32, bytes: *const c_void, len: u32) -> i32>,
    /// Erases a block; the first one is 0.
    pub erase: Option<unsafe extern "C" fn(ctx: *mut c_void, block: u32) -> i32>,
    /// Makes durable what was programmed and erased; NULL if it is already.
    pub sync: Option<unsafe extern "C" fn(ctx: *mut c_void) -> i32>,
}

/// The chip, and what is expected on it. Set it to zeros, then struct_size and what differs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WalFlashConfig {
    /// What the store holds durably; WAL_STORE_EMPTY: nothing; 0: not given. Then the opening
    /// proves that nothing above it is missing.
    pub store_seq: u64,
    /// The log that the store belongs to; zeros: not given.
    pub expected_log_id: [u8; 16],
    /// The identity of a log that is created: another one each time.
    pub new_log_id: [u8; 16],
    /// sizeof(wal_flash_config_t).
    pub struct_size: u32,
    /// WAL_FLASH_VERIFY, WAL_FLASH_OVERWRITE, WAL_FLASH_SYNC_LATER.
    pub flags: u32,
    /// Bytes that are erased together.
    pub block_size: u32,
    /// Blocks of the log.
    pub block_count: u32,
    /// Blocks of a segment, which has at least 4096 bytes. The log has at least two segments.
    pub segment_blocks: u32,
    /// Bytes that are programmed together: a power of two up to 256.
    pub program_unit: u32,
    /// What erased bytes read as: 0xFF or 0.
    pub erased_value: u32,
    /// Bytes that are programmed in one call at most: a multiple of program_unit and of 8.
    /// 0: the smallest such number from 32 on.
    pub page_size: u32,
    /// How to reach it.
    pub driver: WalFlashDriver,
}

/// Why a call failed. Written on every negative return, if given.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WalFlashError {
    /// The first record concerned, 0 if none.
    pub seq: u64,
    /// Where, in bytes from the log's start, 0 if nowhere.
    pub offset: u64,
    /// The status that was returned.
    pub code: i32,
    /// What the driver returned, 0 if it is not concerned.
    pub driver: i32,
}

/// A record of a batch.
#[repr(C)]
pub struct WalFlashEntry {
    /// Its key, NULL if key_len is 0.
    pub key: *const c_void,
    /// Its value, NULL if value_len is 0.
    pub value: *const c_void,
    /// Length of its key.
    pub key_len: u32,
    /// Length of its value.
    pub value_len: u32,
    /// What it does.
    pub op: u32,
    /// 0.
    pub reserved: u32,
}

/// A record that was read back, without its bytes.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WalFlashRecord {
    /// Its number.
    pub seq: u64,
    /// The number of its batch's last record; its own if it came alone.
    pub batch_last_seq: u64,
    /// Length of its key.
    pub key_len: u32,
    /// Length of its value.
    pub value_len: u32,
    /// What it does.
    pub op: u32,
    /// 0.
    pub reserved: u32,
}

/// Where the log stands.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WalFlashStat {
    /// The last record appended, 0 if there never was one.
    pub last_seq: u64,
    /// The last one known to be durable.
    pub durable_seq: u64,
    /// The highest n of any checkpoint.
    pub checkpoint_seq: u64,
    /// What the host declared with it.
    pub checkpoint_covered: u64,
    /// Records up to here are forgotten.
    pub floor_seq: u64,
    /// The last forgotten one that was no CHECKPOINT record: a store below it has a gap.
    pub forgotten_data_seq: u64,
    /// Rises with the first write after each opening.
    pub epoch: u64,
    /// Bytes of frames that can be appended before the log is full.
    pub free_bytes: u64,
    /// The longest record: key and value together.
    pub max_record: u32,
    /// Segments that hold records.
    pub segments: u32,
    /// Segments that do not.
    pub free_segments: u32,
    /// Segments that the driver refused since this opening.
    pub bad_segments: u32,
    /// The most erasures of a segment, as far as they are on record.
    pub most_erasures: u32,
    /// 0.
    pub reserved: u32,
    /// The log's identity.
    pub log_id: [u8; 16],
}

/// A replay, in memory of the caller's. What is in it is the log's.
#[repr(C)]
pub struct WalFlashCursor {
    /// The log's.
    pub words: [u64; 32],
}

const _: () = assert!(size_of::<WalFlashError>() == 24 && size_of::<WalFlashRecord>() == 32 && size_of::<WalFlashStat>() == 104);
const _: () = assert!(size_of::<crate::replay::Cursor>() <= size_of::<WalFlashCursor>());
