//! A log directory from a stranger: checksums right, numbers absurd. No call may crash, hang, or take more memory than the directory is long and a
//! constant.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wal_engine::config::{Config, OpenKind, Recovery, SyncMode};
use wal_engine::error::Code;
use wal_engine::format::constants::{DATA_START, MANIFEST_COPY_LEN, MANIFEST_PAGE_LEN, OP_PUT};
use wal_engine::format::control::{How, Link, Open};
use wal_engine::format::frame::{FrameHeader, Kind, frame_len, payload_crc};
use wal_engine::format::manifest_slot::{Bound, Manifest};
use wal_engine::format::segment_header::SegmentHeader;
use wal_engine::log::{Log, ReplayOptions, inspect};
use wal_engine::names::FileName;
use wal_engine::seq::{self, Tail};
use wal_engine::storage::Storage;
use wal_engine::storage::posix::{Directory, Modes};
use wal_prove::host::config;
use wal_sim::{Disk, Image};

/// What the process holds, and the most that it held since `PEAK` was set.
static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// How many allocations are granted before one is refused; below 0: all.
static GRANTED: AtomicIsize = AtomicIsize::new(-1);

struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if GRANTED.load(Ordering::Relaxed) >= 0 && GRANTED.fetch_sub(1, Ordering::Relaxed) == 0 {
            return std::ptr::null_mut();
        }
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SEGMENT: u64 = 4096;
const LOG_ID: [u8; 16] = *b"somebodys log id";

/// A segment with an OPEN and whatever frames follow, each with its seq relative to the OPEN's.
fn segment(index: u32, open: &Open, frames: &[(FrameHeader, Vec<u8>)]) -> Vec<u8> {
    let header = SegmentHeader::new(LOG_ID, 0, index, SEGMENT, false);
    let mut bytes = vec![0; SEGMENT as usize];
    bytes[..DATA_START as usize].copy_from_slice(&header.encode());
    let open = open.encode();
    let first = FrameHeader { kind: Kind::Open, ..blank(open.len()) };
    let mut at = DATA_START;
    for (header_of, payload) in std::iter::once((first, open.to_vec())).chain(frames.iter().cloned()) {
        let signed = FrameHeader { payload_crc: payload_crc(&[&payload]), ..header_of };
        signed.encode(header.seed, at, &mut bytes[at as usize..]);
        bytes[at as usize + 24..][..payload.len()].copy_from_slice(&payload);
        at += frame_len(payload.len() as u64);
    }
    bytes
}

fn blank(len: usize) -> FrameHeader {
    FrameHeader { payload_crc: 0, payload_len: len as u32, relative_seq: 0, watermark: 0, key_len: 0, op: 0, kind: Kind::Record }
}

fn open(first_seq: u64, how: How, link: Link) -> Open {
    let tail = Tail { seq: first_seq - 1, data_seq: first_seq - 1 };
    Open { first_seq, how, link, before: tail, checkpoint: Default::default(), epoch: 1 }
}

fn manifest(edit: impl FnOnce(&mut Manifest)) -> Vec<u8> {
    let mut manifest = Manifest {
        generation: 2,
        dirty: true,
        log_id: LOG_ID,
        floor: 0,
        forgotten_data: 0,
        checkpoint: Default::default(),
        epoch: 1,
        bound: Bound { segment: 1, offset: DATA_START, tail: Tail::default() },
        oldest_segment: 1,
        seed_base: 0,
        segment_bytes: SEGMENT,
        aside: (0, 0),
    };
    edit(&mut manifest);
    let mut bytes = vec![0; 4 * MANIFEST_PAGE_LEN];
    for page in bytes.chunks_mut(MANIFEST_PAGE_LEN) {
        page[..MANIFEST_COPY_LEN].copy_from_slice(&manifest.encode());
    }
    bytes
}

/// One test at a time: what one holds is no other's.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens, reads and inspects a log in every way; returns the longest time and the most memory that a call took. `storage` gives the log's directory.
fn try_everything<S: Storage>(storage: impl Fn() -> S) -> (Duration, usize) {
    let (mut longest, mut most) = (Duration::ZERO, 0);
    let mut measure = |call: &mut dyn FnMut()| {
        let held = HELD.load(Ordering::Relaxed);
        PEAK.store(held, Ordering::Relaxed);
        let began = Instant::now();
        call();
        longest = longest.max(began.elapsed());
        most = most.max(PEAK.load(Ordering::Relaxed).saturating_sub(held));
    };
    for open in [OpenKind::ReadOnly, OpenKind::Existing] {
        for recovery in [Recovery::Strict, Recovery::Prefix] {
            let config = Config { open, recovery, ..config(SyncMode::Always, true) };
            measure(&mut || {
                let _refused = inspect(&storage(), &config, true, &mut |_| {});
            });
            measure(&mut || {
                let Ok(log) = Log::open(storage(), &config) else {
                    return;
                };
                if let Ok(mut cursor) = log.replay(seq::OLDEST, ReplayOptions { raw: true, unsynced: true, skip_lost: true, pinned: false })
                {
                    while let Ok(Some(_)) = cursor.next() {}
                }
                let _refused = log.append(OP_PUT, b"", b"x");
                let _refused = log.checkpoint(seq::LAST);
                let _refused = log.truncate(log.last_seq(), true);
                let _refused = log.close();
            });
        }
    }
    (longest, most)
}

/// An empty directory of real files.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _may_be_missing = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn opened(path: &Path) -> Directory {
    Directory::open(&CString::new(path.as_os_str().as_encoded_bytes()).unwrap(), false, Modes::default()).unwrap()
}

/// The buffers of an open log, of a cursor and of the simulated disk.
const CONSTANT: usize = 24 << 20;

/// Ten thousand segments that follow each other: in time that grows with their number, not with its square.
#[test]
fn ten_thousand_segments_take_ten_times_as_long_as_a_thousand() {
    let _turn = alone();
    let chain = |count: u32| {
        let path = directory(&format!("chain-{count}"));
        fs::write(path.join("MANIFEST"), manifest(|_| {})).unwrap();
        let mut link = Link::default();
        for index in 1..=count {
            let how = if index == 1 { How::First } else { How::Rotated };
            let bytes = segment(index, &open(1, how, link), &[]);
            let last_crc = u32::from_le_bytes(bytes[64..68].try_into().unwrap());
            link = Link { index, end: DATA_START + frame_len(80), last_frame: DATA_START, last_crc };
            fs::write(path.join(FileName::Segment(index).to_string()), bytes).unwrap();
        }
        let tried = try_everything(|| opened(&path));
        fs::remove_dir_all(path).unwrap();
        tried
    };
    let small = chain(1000).0;
    let (took, held) = chain(10_000);
    println!("1,000 segments: {small:?}, 10,000: {took:?}, {held} bytes");
    assert!(took < small * 40 + Duration::from_secs(2), "{small:?} and {took:?}");
    assert!(held < 10_000 * SEGMENT as usize + CONSTANT, "{held}");
}

/// Spares without number, none of which is one.
#[test]
fn ten_thousand_spares_are_no_burden() {
    let _turn = alone();
    let path = directory("spares");
    fs::write(path.join("MANIFEST"), manifest(|_| {})).unwrap();
    fs::write(path.join("0000000001.wal"), segment(1, &open(1, How::First, Link::default()), &[])).unwrap();
    for index in 2..10_002 {
        fs::write(path.join(FileName::Spare(index).to_string()), b"nothing").unwrap();
    }
    let (took, held) = try_everything(|| opened(&path));
    fs::remove_dir_all(path).unwrap();
    println!("10,000 spares: {took:?}, {held} bytes");
    assert!(took < Duration::from_secs(60) && held < CONSTANT, "{took:?}, {held}");
}

/// What is no plain file stands in place of files, and names that look like the log's.
#[cfg(unix)]
#[test]
fn pipes_directories_devices_and_odd_names_hang_nothing() {
    let _turn = alone();
    for victim in ["LOCK", "MANIFEST", "0000000001.wal", "0000000002.wal", "0000000009.wal", "0000000009.spare", "0000000009.damaged"] {
        for what in 0..5 {
            let path = directory("odd");
            fs::write(path.join("MANIFEST"), manifest(|_| {})).unwrap();
            fs::write(path.join("0000000001.wal"), segment(1, &open(1, How::First, Link::default()), &[])).unwrap();
            for odd in
                ["00000000001.wal", "0000000000.wal", "9999999999.wal", "+000000001.wal", "0000000001.WAL", "0000000001.wal ", ".wal"]
            {
                fs::write(path.join(odd), b"odd").unwrap();
            }
            let victim = path.join(victim);
            let _may_be_missing = fs::remove_file(&victim);
            match what {
                0 => assert!(std::process::Command::new("mkfifo").arg(&victim).status().unwrap().success()),
                1 => fs::create_dir(&victim).unwrap(),
                2 => std::os::unix::fs::symlink("/dev/zero", &victim).unwrap(),
                3 => std::os::unix::fs::symlink(&victim, &victim).unwrap(),
                // Says that it is as long as a tebibyte, and has no block.
                _ => fs::File::create(&victim).unwrap().set_len(1 << 40).unwrap(),
            }
            let (took, held) = try_everything(|| opened(&path));
            assert!(took < Duration::from_secs(20) && held < CONSTANT, "{}, {what}: {took:?}, {held} bytes", victim.display());
            fs::remove_dir_all(path).unwrap();
        }
    }
}

/// Lengths, counts, seqs and links that make no sense, each with right checksums.
#[test]
fn absurd_frames_take_no_memory_and_no_time() {
    let _turn = alone();
    let mut images = Vec::new();
    let mut add = |manifest: Vec<u8>, segments: &[Vec<u8>]| {
        let mut image = Image::new();
        image.write(FileName::Manifest, manifest);
        for (index, bytes) in (1..).zip(segments) {
            image.write(FileName::Segment(index), bytes.clone());
        }
        images.push(image);
    };
    let first = || open(1, How::First, Link::default());
    for count in [0, 1, 2, 1000, u32::MAX / 12, u32::MAX] {
        for lengths in [0, 1, u32::MAX / 2, u32::MAX] {
            let mut payload = count.to_le_bytes().to_vec();
            payload.extend([lengths.to_le_bytes(), lengths.to_le_bytes(), [1, 0, 0, 0]].concat());
            let header = FrameHeader { kind: Kind::Batch, ..blank(payload.len()) };
            add(manifest(|_| {}), &[segment(1, &first(), &[(header, payload)])]);
        }
    }
    for kind in [Kind::Record, Kind::First, Kind::Middle, Kind::Last, Kind::End, Kind::Open] {
        for key_len in [0, 1, 8, 9, u16::MAX] {
            for relative_seq in [0, 1, u32::MAX - 1, u32::MAX] {
                for watermark in [0, 8, 168, u64::from(u32::MAX) * 8] {
                    let header = FrameHeader { kind, key_len, relative_seq, watermark, op: OP_PUT, ..blank(8) };
                    add(manifest(|_| {}), &[segment(1, &first(), &[(header, vec![7; 8]), (header, vec![8; 8])])]);
                }
            }
        }
    }
    for seq in [1, 2, seq::MAX - 1, seq::MAX, u64::MAX - 1] {
        for index in [0, 1, 2, 3, u32::MAX] {
            for end in [0, 64, 168, SEGMENT, u64::MAX, u64::MAX - 7] {
                for how in [How::First, How::Rotated, How::Recovered] {
                    let link = Link { index, end, last_frame: end, last_crc: 5 };
                    let second = segment(2, &open(seq, how, link), &[(blank(8), vec![7; 8])]);
                    let one = segment(1, &first(), &[(blank(8), vec![7; 8])]);
                    add(manifest(|_| {}), &[one.clone(), second.clone()]);
                    let bound = Bound { segment: 2, offset: 168, tail: Tail { seq: seq.min(seq::MAX) - 1, data_seq: 0 } };
                    add(manifest(|manifest| manifest.bound = bound), &[one, second]);
                }
            }
        }
    }
    for dirty in [false, true] {
        for floor in [0, 1, seq::MAX] {
            for offset in [64, 168, SEGMENT - 8, SEGMENT] {
                for seq in [0, 1, seq::MAX] {
                    let edit = |manifest: &mut Manifest| {
                        manifest.dirty = dirty;
                        (manifest.floor, manifest.forgotten_data) = (floor, floor);
                        manifest.bound = Bound { segment: 1, offset, tail: Tail { seq, data_seq: seq } };
                        manifest.checkpoint.n = floor;
                    };
                    add(manifest(edit), &[segment(1, &first(), &[(blank(8), vec![7; 8])])]);
                }
            }
        }
    }
    let huge = manifest(|manifest| manifest.segment_bytes = 1 << 20);
    add(huge, &[segment(1, &first(), &[])]);
    let tried = images.len();
    for image in images {
        let disk = Disk::from_image(&image, 1);
        let (took, held) = try_everything(|| disk.storage());
        assert!(took < Duration::from_secs(20) && held < CONSTANT, "{took:?}, {held} bytes: {image:?}");
    }
    println!("tally: untrusted {tried} crafted logs");
}

/// A record in fragments that memory was refused for is read whole once there is memory: never without what was read before the refusal.
#[test]
fn a_record_in_fragments_is_whole_after_memory_was_refused() {
    let _turn = alone();
    let path = directory("fragments");
    let fragment = |kind, relative_seq, key_len, bytes: &[u8]| {
        (FrameHeader { kind, relative_seq, key_len, op: OP_PUT, ..blank(bytes.len()) }, bytes.to_vec())
    };
    let frames = [
        fragment(Kind::Record, 0, 0, b"in front"),
        fragment(Kind::First, 1, 3, b"keyfirst"),
        fragment(Kind::Middle, 1, 0, b" and middle of it"),
        fragment(Kind::Last, 1, 0, b" and last of it, which is longer than all before it"),
        fragment(Kind::Record, 2, 0, b"behind"),
    ];
    fs::write(path.join("MANIFEST"), manifest(|_| {})).unwrap();
    fs::write(path.join("0000000001.wal"), segment(1, &open(1, How::First, Link::default()), &frames)).unwrap();
    let whole = b"first and middle of it and last of it, which is longer than all before it";
    let config = Config { open: OpenKind::ReadOnly, ..config(SyncMode::Always, true) };
    let log = Log::open(opened(&path), &config).unwrap();
    let mut refused = 0;
    for granted in 0..3 {
        let mut cursor = log.replay(seq::OLDEST, ReplayOptions { unsynced: true, ..ReplayOptions::default() }).unwrap();
        assert_eq!(cursor.next().unwrap().unwrap().value, b"in front");
        GRANTED.store(granted, Ordering::Relaxed);
        let first = cursor.next().map(|record| record.map(|record| record.seq)).map_err(|error| error.code);
        GRANTED.store(-1, Ordering::Relaxed);
        refused += u32::from(first == Err(Code::NoMemory));
        if first != Ok(Some(2)) {
            let record = cursor.next().unwrap().unwrap();
            assert_eq!((record.seq, record.key, record.value), (2, &b"key"[..], &whole[..]), "after {granted}");
        }
        assert_eq!(cursor.next().unwrap().unwrap().seq, 3);
    }
    assert_eq!(refused, 3, "each fragment asks for memory");
    drop(log);
    fs::remove_dir_all(path).unwrap();
}
