//! The numbers of `docs/FORMAT.md`, version 1. Reader and writer share them; nothing else repeats them.

/// Format version that this library writes.
pub const FORMAT_VERSION: u16 = 1;
/// Oldest reader that understands what this library writes.
pub const READER_VERSION: u16 = 1;

/// First bytes of a segment.
pub const SEGMENT_MAGIC: [u8; 8] = *b"\x89WALSEG\n";
/// First bytes of a pin's copy.
pub const PIN_MAGIC: [u8; 8] = *b"\x89WALPIN\n";
/// First bytes of a manifest page.
pub const MANIFEST_MAGIC: [u8; 8] = *b"\x89WALMAN\n";

/// Length of a segment's static header.
pub const SEGMENT_HEADER_LEN: usize = 64;
/// Where frames start in the segments that this library writes.
pub const DATA_START: u64 = SEGMENT_HEADER_LEN as u64;
/// Header flag: the blocks held other frames before.
pub const SEGMENT_RECYCLED: u32 = 1;
/// Largest unit in which a segment may be written, in bytes.
pub const MAX_WRITE_UNIT: u32 = 4096;
/// Unit in which this library's segments are written to files, in bytes.
pub const WRITE_UNIT: u32 = FRAME_ALIGN as u32;

/// Frames start at multiples of this.
pub const FRAME_ALIGN: usize = 8;
/// Length of a frame's header.
pub const FRAME_HEADER_LEN: usize = 24;
/// Longest key that fits a record frame; a longer one makes the record a batch of one.
pub const MAX_FRAME_KEY_LEN: usize = u16::MAX as usize;

/// `kind`: one record.
pub const KIND_RECORD: u8 = 1;
/// `kind`: a batch.
pub const KIND_BATCH: u8 = 2;
/// `kind`: first frame of a segment.
pub const KIND_OPEN: u8 = 3;
/// `kind`: last frame of a segment.
pub const KIND_END: u8 = 4;
/// `kind`: first fragment of a record.
pub const KIND_FIRST: u8 = 5;
/// `kind`: neither first nor last fragment.
pub const KIND_MIDDLE: u8 = 6;
/// `kind`: last fragment, which makes the record count.
pub const KIND_LAST: u8 = 7;

/// `op`: put.
pub const OP_PUT: u8 = 1;
/// `op`: delete.
pub const OP_DELETE: u8 = 2;
/// `op`: the log's own CHECKPOINT record.
pub const OP_CHECKPOINT: u8 = 3;
/// `op` of a STATE, which is no record.
pub const OP_STATE: u8 = 4;
/// First `op` that belongs to the host.
pub const OP_HOST_FIRST: u8 = 16;

/// Length of a CHECKPOINT record's value.
pub const CHECKPOINT_VALUE_LEN: usize = 16;
/// Length of an OPEN frame's payload.
pub const OPEN_PAYLOAD_LEN: usize = 80;
/// Length of an END frame's payload.
pub const END_PAYLOAD_LEN: usize = 16;
/// `how` in OPEN: the first segment of a log.
pub const OPEN_FIRST: u8 = 1;
/// `how` in OPEN: the predecessor was full.
pub const OPEN_ROTATED: u8 = 2;
/// `how` in OPEN: made by an opening or by a truncation of everything.
pub const OPEN_RECOVERED: u8 = 3;

/// Length of the count in front of a batch's table.
pub const BATCH_COUNT_LEN: usize = 4;
/// Length of one entry of a batch's table.
pub const BATCH_ENTRY_LEN: usize = 12;

/// Distance of two manifest copies.
pub const MANIFEST_PAGE_LEN: usize = 4096;
/// Meaningful bytes of a manifest copy, checksum last; the rest of its page is zero.
pub const MANIFEST_COPY_LEN: usize = 256;
/// Copies in a slot.
pub const MANIFEST_COPIES: usize = 2;
/// Slots in the manifest.
pub const MANIFEST_SLOTS: usize = 2;
/// Length of the manifest file.
pub const MANIFEST_LEN: usize = MANIFEST_PAGE_LEN * MANIFEST_COPIES * MANIFEST_SLOTS;
/// Manifest flag: frames may stand behind the bound.
pub const MANIFEST_DIRTY: u32 = 1;

/// Distance of a pin's two copies.
pub const PIN_PAGE_LEN: usize = 4096;
/// Meaningful bytes of a pin's copy, checksum last; the rest of its page is zero.
pub const PIN_COPY_LEN: usize = 256;
/// Copies of a pin.
pub const PIN_COPIES: usize = 2;
/// Length of a pin's file.
pub const PIN_LEN: usize = PIN_PAGE_LEN * PIN_COPIES;
/// Room for a pin's name.
pub const PIN_NAME_LEN: usize = 64;
/// Pin flag: what it was to keep is given up.
pub const PIN_LOST: u32 = 1;
/// Pin flag: it was taken away; only its file is still there.
pub const PIN_DROPPED: u32 = 2;
/// Pin flag: above its limit appends are refused instead of the pin being lost.
pub const PIN_REFUSES: u32 = 4;
/// First bytes of the chip header behind a segment's header in flash.
pub const CHIP_MAGIC: [u8; 4] = *b"\x89WFL";
/// Length of the chip header.
pub const CHIP_HEADER_LEN: usize = 32;
/// Length of a STATE's payload.
pub const STATE_PAYLOAD_LEN: usize = 32;
