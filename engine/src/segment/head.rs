//! Opening a segment file: is it the one that its name says, whole, and what does its OPEN say?

use crate::config::LogId;
use crate::error::{Code, Error, Result};
use crate::format::constants::{FRAME_HEADER_LEN, OPEN_PAYLOAD_LEN, SEGMENT_HEADER_LEN};
use crate::format::control::{Link, Open};
use crate::format::frame::{FrameHeader, Kind, payload_crc};
use crate::format::manifest_slot::Manifest;
use crate::format::segment_header::{BadHeader, SegmentHeader};
use crate::names::FileName;
use crate::storage::{Access, File, IoError, IoKind, Storage};

/// Header and first frame in one read.
pub const HEAD_LEN: usize = 4096;

/// What every segment of one log shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// The log.
    pub log_id: LogId,
    /// Seeds count from here.
    pub seed_base: u32,
    /// Size of each file, in bytes.
    pub segment_bytes: u64,
}

impl From<&Manifest> for Family {
    fn from(manifest: &Manifest) -> Family {
        Family { log_id: manifest.log_id, seed_base: manifest.seed_base, segment_bytes: manifest.segment_bytes }
    }
}

/// A segment file whose header is right.
pub struct Head<F> {
    /// The file.
    pub file: F,
    /// Its header.
    pub header: SegmentHeader,
    /// Its OPEN frame, if that is valid.
    pub open: Option<Open>,
    /// Bytes read to know this.
    pub bytes_read: u64,
}

/// Opens segment `index` and checks that its header is this log's and its file whole.
pub fn load<S: Storage>(storage: &S, family: &Family, index: u32, access: Access) -> Result<Head<S::File>> {
    let name = FileName::Segment(index);
    let file = storage.open(name, access).map_err(|io| match io.kind {
        IoKind::NotFound => Error::new(Code::Corrupt, "this segment is missing; restore it, or open with WAL_RECOVER_PREFIX").in_file(name),
        IoKind::NotAFile => Error::new(Code::Corrupt, "not a plain file where a segment should be").in_file(name).os(io.os_error),
        _ => io.in_file(name, "cannot open the segment"),
    })?;
    let mut bytes = [0; HEAD_LEN];
    let read = file.read_at(0, &mut bytes).map_err(|io| io.in_file(name, "cannot read the segment's header"))?;
    let header = match SegmentHeader::decode(&bytes[..read]) {
        Ok(header) => header,
        Err(BadHeader::Newer) => {
            return Err(newer(name));
        }
        Err(BadHeader::Damaged) => {
            return Err(Error::new(Code::Corrupt, "the segment's header is damaged; restore it, or open with WAL_RECOVER_PREFIX")
                .in_file(name)
                .at(0));
        }
    };
    let belongs = header.log_id == family.log_id
        && header.index == index
        && header.seed == SegmentHeader::seed(family.seed_base, index)
        && header.capacity == family.segment_bytes;
    if !belongs {
        return Err(Error::new(Code::Corrupt, "this file is another segment or another log's under this name").in_file(name).at(0));
    }
    let size = file.len().map_err(|io| io.in_file(name, "cannot ask for the segment's size"))?;
    #[cfg(wal_plants)]
    let size = crate::plants::Mistake::CutFileLooksWhole.or(header.capacity, size);
    if size < header.capacity {
        return Err(Error::new(Code::Corrupt, "the segment has been cut: it is shorter than its header says").in_file(name).at(size));
    }
    let open = decode_open(&header, &bytes[..read]);
    Ok(Head { file, header, open, bytes_read: read as u64 })
}

/// Refuses a segment whose header says that only a newer library reads it.
pub fn newer(name: FileName) -> Error {
    Error::new(Code::Format, "this segment was written by a newer format version; use a newer library").in_file(name)
}

/// The OPEN frame in the first bytes of a segment, if it is valid.
pub fn decode_open(segment: &SegmentHeader, bytes: &[u8]) -> Option<Open> {
    let start = usize::try_from(segment.data_start).ok()?;
    debug_assert!(start >= SEGMENT_HEADER_LEN);
    let frame = bytes.get(start..start + FRAME_HEADER_LEN + OPEN_PAYLOAD_LEN)?;
    let header = FrameHeader::decode(segment.seed, segment.capacity, segment.data_start, frame)?;
    let payload = &frame[FRAME_HEADER_LEN..];
    let is_open = header.kind == Kind::Open && header.relative_seq == 0 && header.payload_len as usize == OPEN_PAYLOAD_LEN;
    if !is_open || payload_crc(&[payload]) != header.payload_crc {
        return None;
    }
    Open::decode(payload)
}

/// Whether `file` still is this segment. A header is the first that is overwritten: seen behind a read, it proves that what was read was this segment's.
pub fn is_still<F: File>(file: &F, segment: &SegmentHeader) -> core::result::Result<bool, IoError> {
    let mut bytes = [0; SEGMENT_HEADER_LEN];
    let read = file.read_at(0, &mut bytes)?;
    Ok(SegmentHeader::decode(&bytes[..read]) == Ok(*segment))
}

/// Whether the frame that a successor's OPEN names as this segment's last one stands there. Names it none, every end is right.
pub fn ends_as_linked<F: File>(file: &F, segment: &SegmentHeader, link: &Link) -> Result<bool> {
    if link.last_frame == 0 {
        return Ok(true);
    }
    let name = FileName::Segment(segment.index);
    // What lies behind the end of the file stays zero, which is no header.
    let mut bytes = [0; FRAME_HEADER_LEN];
    file.read_at(link.last_frame, &mut bytes).map_err(|io| io.in_file(name, "cannot read the segment's last frame"))?;
    if FrameHeader::stored_crc(&bytes) != link.last_crc {
        return Ok(false);
    }
    let header = FrameHeader::decode(segment.seed, segment.capacity, link.last_frame, &bytes);
    Ok(header.is_some_and(|header| link.last_frame + header.len() == link.end))
}
