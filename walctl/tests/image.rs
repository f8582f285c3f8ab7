//! Images of flash chips: what the program says of a dump is what the device says of its chip.
#![allow(clippy::unwrap_used)]

mod support;

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use flash_engine::error::Code;
use serde_json::{Value, json};
use support::{place, walctl};
use wal_flash::chip::Geometry;
use wal_flash::replay::Cursor;
use wal_flash_sim::chip::{Flash, Tear};
use wal_flash_sim::judge::{Memory, Model, Op, is_there, open, settings};

/// Fills segments, begins new ones, forgets old ones, and leaves a record half appended.
const SCRIPT: [Op; 12] = [
    Op::Small,
    Op::Big,
    Op::Batch,
    Op::GivenUp,
    Op::Pieces,
    Op::Checkpoint,
    Op::Big,
    Op::Small,
    Op::Truncate,
    Op::Batch,
    Op::Prepare,
    Op::Big,
];

fn chips() -> impl Iterator<Item = Geometry> {
    let units = [(1, 0xFF), (4, 0), (8, 0xFF), (16, 0), (32, 0xFF), (256, 0xFF), (256, 0)];
    units.into_iter().map(|(unit, erased)| Geometry { block_bytes: 2048, blocks: 12, segment_blocks: 2, unit, erased })
}

/// Runs the script until it is over or the power fails; whether it was over.
fn run(flash: &RefCell<Flash>) -> bool {
    let settings = settings(flash.borrow().geometry, true);
    let mut memory = Memory::new(&settings.geometry, 256);
    let mut model = Model::default();
    for ops in SCRIPT.chunks(5) {
        let Ok(mut log) = open(flash, &mut memory, settings) else { return false };
        // A full log refuses, and goes on when there is room.
        if ops.iter().any(|op| !matches!(model.run(&mut log, *op, true), Ok(()) | Err(Code::NoSpace))) {
            return false;
        }
    }
    true
}

/// What the device says: its records as `walctl dump` prints them, and where the log stands as `walctl stat` does.
fn device(flash: &RefCell<Flash>) -> Result<(Vec<Value>, Value), String> {
    let settings = settings(flash.borrow().geometry, true);
    let mut memory = Memory::new(&settings.geometry, 256);
    let mut log = open(flash, &mut memory, settings).map_err(|code| format!("{code:?}"))?;
    let mut cursor = Cursor::default();
    log.replay(&mut cursor, u64::MAX - 2, true).map_err(|code| format!("{code:?}"))?;
    let mut records = Vec::new();
    while is_there(log.next(&mut cursor)).map_err(|code| format!("{code:?}"))? {
        let found = *cursor.record();
        let mut bytes = vec![0; (found.key_len + found.value_len) as usize];
        log.read(&mut cursor, 0, &mut bytes, &mut 0).unwrap();
        let value = bytes.split_off(found.key_len as usize);
        records.push(json!([found.seq, found.batch_last_seq, found.op, bytes, value]));
    }
    let figures = log.figures();
    let told = json!({
        "log_id": figures.log_id.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "last_seq": figures.last_seq,
        "forgotten_seq": figures.floor_seq,
        "forgotten_data_seq": figures.forgotten_data_seq,
        "checkpoint_seq": figures.checkpoint_seq,
        "checkpoint_covered": figures.checkpoint_covered,
        "segments": figures.segments,
        "free_segments": figures.free_segments,
        "most_erasures": figures.most_erasures,
        "epoch": figures.epoch,
    });
    Ok((records, told))
}

fn bytes_of(record: &Value, name: &str) -> Vec<u8> {
    match (record[name].as_str(), record[format!("{name}_hex")].as_str()) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(hex)) => (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect(),
        _ => [&record["n"], &record["covered"]].iter().flat_map(|number| number.as_u64().unwrap().to_le_bytes()).collect(),
    }
}

/// A line of `walctl dump` in the same form as `device` has it.
fn record(line: &str) -> Value {
    let record: Value = serde_json::from_str(line).unwrap();
    let op = match record["op"].as_str() {
        Some("put") => 1,
        Some("delete") => 2,
        Some("checkpoint") => 3,
        _ => record["op"].as_u64().unwrap(),
    };
    let key = if op == 3 { Vec::new() } else { bytes_of(&record, "key") };
    json!([record["seq"], record["batch_last_seq"], op, key, bytes_of(&record, "value")])
}

fn object(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Compares what is said of a dump with what the device says.
fn compare(dir: &Path, flash: &RefCell<Flash>, what: &str) -> bool {
    fs::write(dir.join("image"), flash.borrow().bytes()).unwrap();
    let [dumped, told, verified] = [["dump", "image"], ["stat", "image"], ["verify", "image"]].map(|arguments| walctl(dir, &arguments));
    let (records, figures) = match device(flash) {
        Ok(said) => said,
        Err(code) => panic!("{what}: the device: {code}"),
    };
    if told.code == 3 {
        // A chip on which nothing was begun, as far as it shows.
        assert!(records.is_empty() && figures["segments"] == 0, "{what}: {}", told.err);
        return false;
    }
    assert_eq!([dumped.code, told.code, verified.code], [0; 3], "{what}: {}{}{}", dumped.err, told.err, verified.err);
    assert_eq!(dumped.out.lines().map(record).collect::<Vec<_>>(), records, "{what}");
    let told = object(&told.out);
    for (name, value) in figures.as_object().unwrap() {
        // A log without a segment has no identity yet.
        if name != "log_id" || figures["segments"] != 0 {
            assert_eq!(&told[name], value, "{what}: {name}");
        }
    }
    let verified = object(&verified.out);
    assert_eq!((&verified["damaged"], &verified["records_read"]), (&json!(false), &json!(records.len())), "{what}");
    true
}

#[test]
fn a_dump_says_what_the_device_says_wherever_the_power_failed() {
    let dir = place("image-cuts");
    let (mut logs, mut empty) = (0, 0);
    for geometry in chips() {
        for (number, tear) in [Tear::Nothing, Tear::Half, Tear::Mix(7), Tear::Everything].into_iter().enumerate() {
            // Another step for each tear, so that between them they meet many.
            for step in (number as u32..2000).step_by(17) {
                let flash = RefCell::new(Flash::new(geometry, false));
                flash.borrow_mut().cut_at(step, tear);
                let is_over = run(&flash);
                flash.borrow_mut().power_on();
                match compare(&dir, &flash, &format!("{geometry:?}, {tear:?} at step {step}")) {
                    true => logs += 1,
                    false => empty += 1,
                }
                if is_over {
                    break;
                }
            }
        }
    }
    println!("{logs} images of logs, {empty} of chips without one");
    assert!(logs > 100 && empty > 0, "{logs}, {empty}");
}

#[test]
fn worn_blocks_are_stepped_over() {
    let dir = place("image-worn");
    for geometry in chips() {
        for worn in 0..geometry.blocks {
            let flash = RefCell::new(Flash::new(geometry, false));
            flash.borrow_mut().worn[worn as usize] = (worn % 2 == 0, true);
            run(&flash);
            assert!(compare(&dir, &flash, &format!("{geometry:?}, block {worn}")));
        }
    }
}

#[test]
fn a_log_is_found_within_a_larger_image() {
    let dir = place("image-within");
    let flash = RefCell::new(Flash::new(chips().nth(2).unwrap(), false));
    assert!(run(&flash));
    assert!(compare(&dir, &flash, "alone"));
    let alone = walctl(&dir, &["dump", "image"]);
    // Firmware in front, and something else behind.
    fs::write(dir.join("whole"), [&[0x5A; 8192], flash.borrow().bytes(), &[0; 1000]].concat()).unwrap();
    let within = walctl(&dir, &["dump", "whole"]);
    assert_eq!((within.code, within.out), (0, alone.out));
    let told = object(&walctl(&dir, &["stat", "whole"]).out);
    assert_eq!((&told["log_offset"], &told["program_bytes"], &told["blocks"]), (&json!(8192), &json!(8), &json!(12)));
}

#[test]
fn people_read_it_too() {
    let dir = place("image-people");
    let flash = RefCell::new(Flash::new(chips().nth(2).unwrap(), false));
    assert!(run(&flash));
    fs::write(dir.join("image"), flash.borrow().bytes()).unwrap();
    let said = walctl(&dir, &["stat", "--human", "image"]);
    assert_eq!(said.code, 0);
    for piece in ["image\n", "12 blocks of 2.0 KiB, programmed in units of 8 B, erased to FF", "up to seq 7", "30313233"] {
        assert!(said.out.contains(piece), "{piece}: {}", said.out);
    }
    let said = walctl(&dir, &["dump", "--human", "--from", "8", "-n", "2", "image"]);
    assert_eq!((said.code, said.out.lines().count()), (0, 3), "{}{}", said.out, said.err);
    let said = walctl(&dir, &["verify", "--human", "image"]);
    assert!(said.code == 0 && said.out.ends_with("no damage\n"), "{}{}", said.out, said.err);
}

#[test]
fn damage_is_named_and_ends_with_1() {
    let dir = place("image-damage");
    let flash = RefCell::new(Flash::new(chips().nth(2).unwrap(), false));
    assert!(run(&flash));
    let mut met = 0;
    for at in (0..flash.borrow().bytes().len()).step_by(151) {
        let mut bytes = flash.borrow().bytes().to_vec();
        bytes[at] ^= 0x10;
        let damaged = RefCell::new(flash.borrow().clone());
        damaged.borrow_mut().bytes_mut().copy_from_slice(&bytes);
        fs::write(dir.join("image"), &bytes).unwrap();
        let verified = walctl(&dir, &["verify", "image"]);
        match device(&damaged) {
            Ok((records, _)) => {
                assert_eq!(verified.code, 0, "byte {at}: {}", verified.err);
                assert_eq!(object(&verified.out)["records_read"], json!(records.len()), "byte {at}");
            }
            Err(code) => {
                assert_eq!(code, "Corrupt", "byte {at}");
                assert_eq!(verified.code, 1, "byte {at}: {}", verified.err);
                assert!(verified.err.contains("image: damaged at byte"), "{}", verified.err);
                met += 1;
            }
        }
    }
    assert!(met > 10, "{met} damages");
}

#[test]
fn what_is_no_image_of_a_log_is_refused() {
    let dir = place("image-none");
    fs::write(dir.join("blank"), [0xFF; 65536]).unwrap();
    fs::write(dir.join("empty"), []).unwrap();
    let flash = RefCell::new(Flash::new(chips().next().unwrap(), false));
    assert!(run(&flash));
    let bytes = flash.borrow().bytes().to_vec();
    fs::write(dir.join("cut"), &bytes[..bytes.len() - 1]).unwrap();
    fs::write(dir.join("image"), bytes).unwrap();
    for (arguments, code, says) in [
        (&["stat", "blank"][..], 3, "no log in this file"),
        (&["dump", "empty"], 3, "no log in this file"),
        (&["verify", "cut"], 1, "dump all of it"),
        (&["dump", "--follow", "image"], 2, "--follow is for logs in directories"),
        (&["dump", "--pinned", "image"], 2, "--pinned is for logs in directories"),
        (&["stat", "--prometheus", "image"], 2, "--prometheus is for logs in directories"),
        (&["dump", "--from", "9999", "image"], 1, "the log ends at seq"),
        (&["dump", "--from", "1", "image"], 1, "have been forgotten"),
    ] {
        let said = walctl(&dir, arguments);
        assert_eq!(said.code, code, "{arguments:?}: {}", said.err);
        assert!(said.err.contains(says), "{arguments:?}: {}", said.err);
    }
}
