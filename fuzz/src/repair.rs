//! Makes checksums right again, so that an edit reaches the rules behind them.

use wal_engine::format::checksum;
use wal_engine::format::constants::{
    DATA_START, FRAME_ALIGN, FRAME_HEADER_LEN, KIND_LAST, KIND_OPEN, MANIFEST_COPIES, MANIFEST_COPY_LEN, MANIFEST_PAGE_LEN, MANIFEST_SLOTS,
    OPEN_PAYLOAD_LEN, SEGMENT_HEADER_LEN,
};
use wal_engine::format::frame::frame_len;
use wal_engine::names::FileName;
use wal_sim::Image;

const HEADERS: u8 = 1;
const PAYLOADS: u8 = 2;
const FRAMES: u8 = 4;
const LINKS: u8 = 8;
const MANIFEST: u8 = 16;

/// The names of the segments in `image`.
pub(crate) fn segments(image: &Image) -> Vec<FileName> {
    image.names().filter(|name| matches!(name, FileName::Segment(_))).collect()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |field| u32::from_le_bytes([field[0], field[1], field[2], field[3]]))
}

/// Where frames stand, as far as their lengths lead, whatever their checksums say.
pub(crate) fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = DATA_START as usize;
    while at + FRAME_HEADER_LEN <= bytes.len() {
        let kind = bytes[at + 23];
        let len = frame_len(u32_at(bytes, at + 8).into());
        if kind == 0 || kind > KIND_LAST || len > (bytes.len() - at) as u64 {
            at += FRAME_ALIGN;
            continue;
        }
        found.push(at);
        at += len as usize;
    }
    found
}

/// Repairs what the bits of `repairs` say; those that are clear leave the damage as it is.
pub(crate) fn checksums(image: &mut Image, repairs: u8) {
    // A link holds the checksum of a frame in front of it, so that segments are repaired in the order of their indexes.
    for name in segments(image) {
        let Some(mut bytes) = image.remove(name) else { continue };
        if bytes.len() >= SEGMENT_HEADER_LEN {
            segment(image, &mut bytes, repairs);
        }
        image.write(name, bytes);
    }
    if repairs & MANIFEST != 0
        && let Some(mut bytes) = image.remove(FileName::Manifest)
    {
        for copy in bytes.chunks_mut(MANIFEST_PAGE_LEN).take(MANIFEST_SLOTS * MANIFEST_COPIES) {
            if copy.len() >= MANIFEST_COPY_LEN {
                let crc = checksum::of(&copy[..MANIFEST_COPY_LEN - 4]);
                copy[MANIFEST_COPY_LEN - 4..MANIFEST_COPY_LEN].copy_from_slice(&crc.to_le_bytes());
            }
        }
        image.write(FileName::Manifest, bytes);
    }
}

fn segment(image: &Image, bytes: &mut [u8], repairs: u8) {
    if repairs & HEADERS != 0 {
        let crc = checksum::of(&bytes[..SEGMENT_HEADER_LEN - 4]);
        bytes[SEGMENT_HEADER_LEN - 4..SEGMENT_HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
    }
    let seed = u32_at(bytes, 36);
    for at in frames(bytes) {
        let len = frame_len(u32_at(bytes, at + 8).into()) as usize;
        let frame = &mut bytes[at..at + len];
        if repairs & LINKS != 0 && frame[23] == KIND_OPEN && len >= FRAME_HEADER_LEN + OPEN_PAYLOAD_LEN {
            link(image, frame);
        }
        if repairs & PAYLOADS != 0 {
            let crc = checksum::of(&frame[FRAME_HEADER_LEN..]);
            frame[4..8].copy_from_slice(&crc.to_le_bytes());
        }
        if repairs & FRAMES != 0 {
            let crc = checksum::of_frame_header(seed, &frame[4..FRAME_HEADER_LEN], at as u64);
            frame[..4].copy_from_slice(&crc.to_le_bytes());
        }
    }
}

/// Makes an OPEN name the last frame of its predecessor, whatever that is now.
fn link(image: &Image, open: &mut [u8]) {
    let predecessor = u32_at(open, FRAME_HEADER_LEN + 8);
    let Some(bytes) = image.read(FileName::Segment(predecessor)) else { return };
    let Some(&last) = frames(bytes).last() else { return };
    let end = last as u64 + frame_len(u32_at(bytes, last + 8).into());
    open[FRAME_HEADER_LEN + 12..FRAME_HEADER_LEN + 16].copy_from_slice(&bytes[last..last + 4]);
    open[FRAME_HEADER_LEN + 16..FRAME_HEADER_LEN + 24].copy_from_slice(&end.to_le_bytes());
    open[FRAME_HEADER_LEN + 24..FRAME_HEADER_LEN + 32].copy_from_slice(&(last as u64).to_le_bytes());
}
