//! Where a walk through a segment is, and the points between records that it passes.

use wal_engine::config::Offset;
use wal_engine::format::constants::{OP_STATE, STATE_PAYLOAD_LEN};
use wal_engine::format::control::{Checkpoint, Link};
use wal_engine::format::frame::{FrameHeader, Kind};
use wal_engine::segment::scan::{Frame, Walk};
use wal_engine::seq::Tail;

/// A point between two records of a segment.
#[derive(Clone, Copy, Default)]
pub(crate) struct Point {
    pub(crate) at: Offset,
    /// The frame that ends there.
    pub(crate) last_frame: Offset,
    pub(crate) last_crc: u32,
    pub(crate) tail: Tail,
}

impl Point {
    /// Moves behind a frame, if nothing is incomplete there.
    #[inline(never)]
    pub(crate) fn pass(&mut self, frame: &Frame, next: Offset) {
        if is_state(&frame.header) || !matches!(frame.header.kind, Kind::First | Kind::Middle) {
            *self = Point { at: next, last_frame: frame.offset, last_crc: frame.crc, tail: frame.tail_behind(self.tail) };
        }
    }
}

/// Whether it is the header of a STATE.
#[inline(never)]
pub(crate) fn is_state(header: &FrameHeader) -> bool {
    header.kind == Kind::First && header.op == OP_STATE && header.payload_len == STATE_PAYLOAD_LEN as u32
}

/// Where a walk through a segment is.
#[derive(Default)]
pub(crate) struct Trail {
    pub(crate) slot: u32,
    pub(crate) walk: Walk,
    /// The last one passed.
    pub(crate) point: Point,
    /// From its OPEN: what it continues,
    pub(crate) link: Link,
    pub(crate) before: Tail,
    /// and what else the log needs to know.
    pub(crate) checkpoint: Checkpoint,
    pub(crate) epoch: u64,
}
