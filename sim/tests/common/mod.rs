//! A log made by hand, for the tests of the disk and of its monitor.
#![allow(dead_code, reason = "every test file takes what it needs")]

use wal_engine::format::constants::{DATA_START, FRAME_HEADER_LEN, MANIFEST_PAGE_LEN, OP_PUT};
use wal_engine::format::control::{How, Link, Open};
use wal_engine::format::frame::{FrameHeader, Kind, frame_len, payload_crc};
use wal_engine::format::manifest_slot::{Bound, Manifest};
use wal_engine::format::segment_header::SegmentHeader;
use wal_engine::names::FileName;
use wal_engine::seq::Tail;
use wal_engine::storage::{File, Storage};
use wal_sim::{Disk, SimFile, SimStorage};

pub(crate) const SEGMENT_BYTES: u64 = 4096;
pub(crate) const SEED_BASE: u32 = 7;
const LOG_ID: [u8; 16] = [9; 16];

pub(crate) fn segment(index: u32) -> FileName {
    FileName::Segment(index)
}

pub(crate) fn spare(index: u32) -> FileName {
    FileName::Spare(index)
}

/// A file of this name, durable with its name and `size` zeros.
pub(crate) fn durable_file(storage: &SimStorage, name: FileName, size: u64) -> SimFile {
    let file = storage.create(name).expect("create");
    file.fill_zeros(size).expect("fill");
    file.sync().expect("sync");
    storage.sync_dir().expect("sync_dir");
    file
}

pub(crate) fn read_all(file: &SimFile) -> Vec<u8> {
    let mut bytes = vec![0; file.len().expect("len") as usize];
    let read = file.read_at(0, &mut bytes).expect("read");
    assert_eq!(read, bytes.len());
    bytes
}

pub(crate) fn header(index: u32) -> Vec<u8> {
    SegmentHeader::new(LOG_ID, SEED_BASE, index, SEGMENT_BYTES, false).encode().to_vec()
}

pub(crate) fn frame(index: u32, offset: u64, kind: Kind, relative_seq: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; frame_len(payload.len() as u64) as usize];
    out[FRAME_HEADER_LEN..FRAME_HEADER_LEN + payload.len()].copy_from_slice(payload);
    let frame = FrameHeader {
        payload_crc: payload_crc(&[payload]),
        payload_len: payload.len() as u32,
        relative_seq,
        watermark: 0,
        key_len: 0,
        op: OP_PUT,
        kind,
    };
    frame.encode(SEED_BASE + index, offset, &mut out);
    out
}

pub(crate) fn open_frame(index: u32, how: How, predecessor: u32, first_seq: u64) -> Vec<u8> {
    let open = Open {
        first_seq,
        how,
        link: Link { index: predecessor, ..Link::default() },
        before: Tail { seq: first_seq - 1, data_seq: first_seq - 1 },
        checkpoint: Default::default(),
        epoch: 1,
    };
    frame(index, DATA_START, Kind::Open, 0, &open.encode())
}

/// Where the first record of a segment stands.
pub(crate) fn first_record() -> u64 {
    DATA_START + open_frame(1, How::First, 0, 1).len() as u64
}

pub(crate) fn record(index: u32, offset: u64, relative_seq: u32) -> Vec<u8> {
    frame(index, offset, Kind::Record, relative_seq, b"a record")
}

pub(crate) fn manifest(generation: u64, oldest_segment: u32, bound_segment: u32, bound_offset: u64) -> Manifest {
    Manifest {
        generation,
        dirty: true,
        log_id: LOG_ID,
        floor: 0,
        forgotten_data: 0,
        checkpoint: Default::default(),
        epoch: 1,
        bound: Bound { segment: bound_segment, offset: bound_offset, tail: Tail::default() },
        oldest_segment,
        seed_base: SEED_BASE,
        segment_bytes: SEGMENT_BYTES,
        aside: (0, 0),
    }
}

/// Writes the manifest into the slot of its generation; it is durable after a sync.
pub(crate) fn write_manifest(file: &SimFile, manifest: &Manifest) {
    let slot = manifest.generation % 2 * 2 * MANIFEST_PAGE_LEN as u64;
    for copy in 0..2 {
        file.write_at(slot + copy * MANIFEST_PAGE_LEN as u64, &manifest.encode()).expect("write");
    }
}

/// A log of three segments, each rotated from the one before, with the bound at the start of the records of the second; all of it durable.
pub(crate) struct HandMade {
    pub(crate) disk: Disk,
    pub(crate) storage: SimStorage,
    pub(crate) manifest: SimFile,
    pub(crate) segments: Vec<SimFile>,
}

pub(crate) fn hand_made() -> HandMade {
    let disk = Disk::new(1);
    let storage = disk.storage();
    let mut segments = Vec::new();
    for index in 1..=3 {
        let file = durable_file(&storage, segment(index), SEGMENT_BYTES);
        let how = if index == 1 { How::First } else { How::Rotated };
        file.write_at(0, &header(index)).expect("write");
        file.write_at(DATA_START, &open_frame(index, how, index - 1, u64::from(index) * 10)).expect("write");
        file.write_at(first_record(), &record(index, first_record(), 0)).expect("write");
        file.sync().expect("sync");
        segments.push(file);
    }
    let file = durable_file(&storage, FileName::Manifest, 16384);
    write_manifest(&file, &manifest(1, 1, 2, first_record()));
    file.sync().expect("sync");
    disk.assert_all_synced();
    HandMade { disk, storage, manifest: file, segments }
}
