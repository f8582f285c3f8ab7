//! Logs of format version 1, committed as files and never made anew silently: the engine still writes these bytes, the engine still reads them,
//! and so does a reader that shares no code with it.
//!
//! A difference here means that the format changed. Then the version rises and these files stay, as what old logs look like.
//! `UPDATE_GOLDEN=1` writes files that are missing, and only those.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use wal_engine::config::{Config, Recovery, SyncMode};
use wal_engine::format::constants::{FRAME_HEADER_LEN, OP_DELETE, OP_PUT};
use wal_engine::format::frame::{FrameHeader, Kind, padded, payload_crc};
use wal_engine::format::segment_header::SegmentHeader;
use wal_engine::log::{Durability, Entry, Log, ReplayOptions};
use wal_engine::names::FileName;
use wal_engine::seq;
use wal_sim::{Disk, Image, SimStorage};

const NAMES: [&str; 6] = ["clean", "killed", "recovered", "truncated", "fragments", "hole"];

fn golden_dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(name)
}

fn config() -> Config {
    Config { segment_bytes: 4096, background: false, sync_mode: SyncMode::Always, ..Config::default() }
}

fn open(disk: &Disk) -> Log<SimStorage> {
    Log::open(disk.storage(), &config()).unwrap()
}

/// Records of all shapes, over `segments` segments or a little more.
fn fill(log: &Log<SimStorage>, segments: u64) {
    let first = log.last_seq();
    while log.stat().rotations < segments {
        let seq = log.last_seq() + 1;
        let key = format!("key-{seq}");
        match seq % 5 {
            0 => log.append(OP_DELETE, key.as_bytes(), b""),
            1 => log.append(16, b"", &[seq as u8; 40]),
            2 => {
                let entries = [
                    Entry { op: OP_PUT, key: key.as_bytes(), value: b"first of a batch" },
                    Entry { op: OP_DELETE, key: b"", value: b"" },
                    Entry { op: 255, key: b"k", value: &[0; 64] },
                ];
                log.append_batch(&entries[..], Durability::Mode)
            }
            3 => log.append(OP_PUT, key.as_bytes(), format!("value of {seq}").as_bytes()),
            _ => log.append(OP_PUT, b"", b""),
        }
        .unwrap();
    }
    assert!(log.last_seq() > first);
}

fn make(name: &str) -> Image {
    let disk = Disk::new(name.bytes().map(u64::from).sum());
    match name {
        "clean" => {
            let log = open(&disk);
            fill(&log, 2);
            log.checkpoint(seq::LAST).unwrap();
            log.close().unwrap();
        }
        "killed" => {
            let log = open(&disk);
            fill(&log, 1);
            log.append(OP_PUT, b"last", b"and not vouched for").unwrap();
            drop(log);
        }
        "recovered" => {
            for _ in 0..3 {
                let log = open(&disk);
                fill(&log, 1);
                log.checkpoint(log.last_seq() - 2).unwrap();
                drop(log);
            }
            open(&disk).append(OP_PUT, b"k", b"v").unwrap();
        }
        "truncated" => {
            let log = open(&disk);
            fill(&log, 3);
            let n = log.checkpoint(seq::LAST).unwrap();
            log.truncate(n - 10, false).unwrap();
            log.append(OP_PUT, b"k", b"behind the checkpoint").unwrap();
            log.close().unwrap();
        }
        "fragments" => {
            let log = open(&disk);
            log.append(OP_PUT, b"k", b"before the fragments").unwrap();
            drop(log);
            return with_fragments(&disk.durable_image());
        }
        "hole" => {
            let log = open(&disk);
            fill(&log, 4);
            log.close().unwrap();
            let mut image = disk.durable_image();
            let mut bytes = image.read(FileName::Segment(2)).unwrap().to_vec();
            bytes[2000] ^= 1;
            image.write(FileName::Segment(2), bytes);
            let disk = Disk::from_image(&image, 1);
            let log = Log::open(disk.storage(), &Config { recovery: Recovery::Prefix, ..config() }).unwrap();
            assert!(log.report().lost_last_seq > 0);
            log.append(OP_PUT, b"k", b"behind the hole").unwrap();
            log.close().unwrap();
            return disk.durable_image();
        }
        _ => unreachable!("{name}"),
    }
    disk.durable_image()
}

/// The same with a record in three fragments behind the first one, and one that never became whole between: as firmware writes them.
fn with_fragments(image: &Image) -> Image {
    let name = FileName::Segment(1);
    let mut image = image.clone();
    let mut bytes = image.read(name).unwrap().to_vec();
    let segment = SegmentHeader::decode(&bytes).unwrap();
    // Behind OPEN and the record of one byte of key and twenty of value.
    let mut at = 64 + 104 + FRAME_HEADER_LEN + 24;
    let mut put = |kind, payload: &[u8], key_len| {
        let header = FrameHeader {
            payload_crc: payload_crc(&[payload]),
            payload_len: payload.len() as u32,
            relative_seq: 1,
            watermark: at as u64,
            key_len,
            op: if kind == Kind::First { OP_PUT } else { 0 },
            kind,
        };
        header.encode(segment.seed, at as u64, &mut bytes[at..at + FRAME_HEADER_LEN]);
        bytes[at + FRAME_HEADER_LEN..at + FRAME_HEADER_LEN + payload.len()].copy_from_slice(payload);
        at += FRAME_HEADER_LEN + padded(payload.len() as u64) as usize;
    };
    put(Kind::First, b"never whole", 3);
    put(Kind::First, b"ke", 3);
    put(Kind::Middle, b"y and its", 0);
    put(Kind::Last, b" value", 0);
    image.write(name, bytes);
    image
}

fn files(image: &Image) -> Vec<FileName> {
    image.names().filter(|name| matches!(name, FileName::Manifest | FileName::Segment(_))).collect()
}

fn committed(name: &str) -> Image {
    let mut image = Image::new();
    for entry in fs::read_dir(golden_dir(name)).unwrap() {
        let entry = entry.unwrap();
        if let Some(file) = FileName::parse(entry.file_name().as_encoded_bytes()) {
            image.write(file, fs::read(entry.path()).unwrap());
        }
    }
    image
}

#[test]
fn the_engine_still_writes_these_bytes() {
    for name in NAMES {
        let image = make(name);
        if env::var_os("UPDATE_GOLDEN").is_some() && !golden_dir(name).exists() {
            fs::create_dir_all(golden_dir(name)).unwrap();
            for file in files(&image) {
                fs::write(golden_dir(name).join(file.to_string()), image.read(file).unwrap()).unwrap();
            }
        }
        let committed = committed(name);
        assert_eq!(files(&image), files(&committed), "{name}");
        for file in files(&image) {
            assert!(image.read(file) == committed.read(file), "{name}: {file} differs from what version 1 wrote");
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// What the engine reads, in the lines of the independent reader.
fn listing(image: &Image) -> String {
    let disk = Disk::from_image(image, 2);
    let log = open(&disk);
    let mut cursor = log.replay(seq::OLDEST, ReplayOptions { raw: true, skip_lost: true, ..ReplayOptions::default() }).unwrap();
    let mut out = String::new();
    while let Some(record) = cursor.next().unwrap() {
        let _ = write!(
            out,
            "{{\"seq\": {}, \"op\": {}, \"key\": \"{}\", \"value\": \"{}\"",
            record.seq,
            record.op,
            hex(record.key),
            hex(record.value)
        );
        // A batch of one does not occur in these logs.
        let in_batch =
            record.batch_last_seq != record.seq || out.lines().nth_back(1).is_some_and(|line| line.contains(&last_of(record.seq)));
        if in_batch {
            let _ = write!(out, ", \"batch_last_seq\": {}", record.batch_last_seq);
        }
        out.push_str("}\n");
    }
    out
}

fn last_of(seq: u64) -> String {
    format!("\"batch_last_seq\": {seq}}}")
}

#[test]
fn engine_and_independent_reader_read_the_same() {
    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reader/walread.py");
    for name in NAMES {
        let expected_path = golden_dir(name).join("expected.jsonl");
        let engine = listing(&committed(name));
        let output = match Command::new("python3").arg(&reader).arg("--raw").arg(golden_dir(name)).output() {
            Ok(output) => output,
            Err(error) if env::var_os("CI").is_none() => {
                eprintln!("python3 is missing ({error}): the independent reader is not run");
                return;
            }
            Err(error) => panic!("python3 is missing: {error}"),
        };
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let independent = String::from_utf8(output.stdout).unwrap();
        if env::var_os("UPDATE_GOLDEN").is_some() && !expected_path.exists() {
            fs::write(&expected_path, &independent).unwrap();
        }
        assert_eq!(independent, fs::read_to_string(&expected_path).unwrap(), "{name}");
        let records: String =
            independent.lines().filter(|line| line.starts_with("{\"seq\"")).fold(String::new(), |out, line| out + line + "\n");
        assert_eq!(engine, records, "{name}");
        assert!(records.lines().count() >= 2, "{name}");
    }
}
