//! Images with a change: damage, and forgeries whose checksums are right.

use wal_engine::format::checksum;
use wal_engine::format::constants::{DATA_START, FRAME_HEADER_LEN, MANIFEST_COPY_LEN, MANIFEST_LEN, MANIFEST_PAGE_LEN};
use wal_engine::format::control::Open;
use wal_engine::format::frame::{FrameHeader, Kind, padded};
use wal_engine::format::manifest_slot::Manifest;
use wal_engine::format::segment_header::SegmentHeader;
use wal_engine::names::FileName;
use wal_sim::Image;

pub fn changed(image: &Image, name: FileName, change: impl FnOnce(&mut Vec<u8>)) -> Image {
    let mut image = image.clone();
    let mut bytes = image.read(name).unwrap().to_vec();
    change(&mut bytes);
    image.write(name, bytes);
    image
}

/// An image in which one bit of a segment is another.
pub fn flipped(image: &Image, index: u32, byte: u64) -> Image {
    changed(image, FileName::Segment(index), |bytes| bytes[byte as usize] ^= 1)
}

/// A frame of a segment: where it stands, what it is and which seqs it holds.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    pub offset: u64,
    pub end: u64,
    pub kind: Kind,
    pub last_seq: u64,
}

pub fn frames(segment: &[u8]) -> (SegmentHeader, Vec<Placed>) {
    let header = SegmentHeader::decode(segment).unwrap();
    let (mut offset, mut first_seq, mut found) = (header.data_start, 0, Vec::new());
    while let Some(bytes) = segment.get(offset as usize..offset as usize + FRAME_HEADER_LEN)
        && let Some(frame) = FrameHeader::decode(header.seed, header.capacity, offset, bytes)
    {
        let payload = &segment[offset as usize + FRAME_HEADER_LEN..][..frame.payload_len as usize];
        if frame.kind == Kind::Open {
            first_seq = Open::decode(payload).unwrap().first_seq;
        }
        let records = match frame.kind {
            Kind::Batch => u64::from(u32::from_le_bytes(payload[..4].try_into().unwrap())),
            Kind::Open | Kind::End => 0,
            _ => 1,
        };
        let end = offset + frame.len();
        found.push(Placed { offset, end, kind: frame.kind, last_seq: first_seq + u64::from(frame.relative_seq) + records - 1 });
        offset = end;
    }
    (header, found)
}

/// The frames of segment `index`.
pub fn found_in(image: &Image, index: u32) -> Vec<Placed> {
    frames(image.read(FileName::Segment(index)).unwrap()).1
}

pub fn segments(image: &Image) -> Vec<u32> {
    image.names().filter_map(|name| if let FileName::Segment(index) = name { Some(index) } else { None }).collect()
}

/// The last segment with frames and what stands in it.
pub fn last_with_frames(image: &Image) -> (FileName, Vec<Placed>) {
    let with_frames = segments(image).into_iter().map(|index| {
        let name = FileName::Segment(index);
        (name, frames(image.read(name).unwrap()).1)
    });
    with_frames.rev().find(|(_, frames)| !frames.is_empty()).unwrap()
}

/// Gives the frame at `at` the checksums that its bytes ask for.
pub fn seal(segment: &mut [u8], at: u64) {
    let header = SegmentHeader::decode(segment).unwrap();
    let at = at as usize;
    let len = u32::from_le_bytes(segment[at + 8..at + 12].try_into().unwrap());
    let payload = at + FRAME_HEADER_LEN;
    let end = (payload + padded(u64::from(len)) as usize).min(segment.len());
    let payload_crc = checksum::of(&segment[payload..end]);
    segment[at + 4..at + 8].copy_from_slice(&payload_crc.to_le_bytes());
    let header_crc = checksum::of_frame_header(header.seed, &segment[at + 4..payload], at as u64);
    segment[at..at + 4].copy_from_slice(&header_crc.to_le_bytes());
}

/// An image in which the payload of a segment's OPEN has a change, and the right checksums.
pub fn forged_open(image: &Image, index: u32, change: impl FnOnce(&mut [u8])) -> Image {
    changed(image, FileName::Segment(index), |bytes| {
        change(&mut bytes[DATA_START as usize + FRAME_HEADER_LEN..]);
        seal(bytes, DATA_START);
    })
}

/// The newest manifest of an image.
pub fn manifest(image: &Image) -> Manifest {
    let bytes = image.read(FileName::Manifest).unwrap();
    let copies = bytes.chunks(MANIFEST_PAGE_LEN).filter_map(|page| Manifest::decode(page).ok());
    copies.max_by_key(|manifest| manifest.generation).unwrap()
}

/// An image whose newest manifest has a change, all copies alike and with the right checksum.
pub fn forged(image: &Image, forge: impl Fn(&mut Manifest)) -> Image {
    let mut manifest = manifest(image);
    forge(&mut manifest);
    changed(image, FileName::Manifest, |bytes| {
        let copy = manifest.encode();
        *bytes = vec![0; MANIFEST_LEN];
        bytes.chunks_mut(MANIFEST_PAGE_LEN).for_each(|page| page[..MANIFEST_COPY_LEN].copy_from_slice(&copy));
    })
}
