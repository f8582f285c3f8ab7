//! What the exploration does not cover: worn blocks, failing drivers, damage, a full log, wear.
use std::cell::RefCell;

use wal_engine::error::Code;
use wal_engine::seq;
use wal_flash::chip::Geometry;
use wal_flash::log::Settings;
use wal_flash::replay::Cursor;
use wal_flash_sim::chip::Flash;
use wal_flash_sim::judge::{Memory, Model, Op, checkpoint, is_there, open, settings, show};

const PAGE: usize = 64;

fn geometry(slots: u32) -> Geometry {
    Geometry { block_bytes: 4096, blocks: slots, segment_blocks: 1, unit: 8, erased: 0xFF }
}

fn world(slots: u32) -> (RefCell<Flash>, Memory, Settings, Model) {
    let geometry = geometry(slots);
    (RefCell::new(Flash::new(geometry, false)), Memory::new(&geometry, PAGE), settings(geometry, true), Model::default())
}

/// Appends until the log is full; how many records that were.
fn fill(model: &mut Model, flash: &RefCell<Flash>, memory: &mut Memory, settings: Settings) -> u32 {
    let mut log = open(flash, memory, settings).expect("opens");
    let mut count = 0;
    // To the last byte that it takes.
    for op in [Op::Big, Op::Small] {
        let full = loop {
            match model.run(&mut log, op, true) {
                Ok(()) => count += 1,
                Err(fail) => break fail,
            }
        };
        assert_eq!(full, Code::NoSpace);
    }
    count
}

#[test]
fn a_full_log_is_read_checkpointed_and_truncated_and_goes_on() {
    for slots in 2..6 {
        let (flash, mut memory, settings, mut model) = world(slots);
        for round in 0..20 {
            let count = fill(&mut model, &flash, &mut memory, settings);
            assert!(count >= slots - 1, "round {round}: {count} records in {slots} segments");
            // Opened again and again it stays usable, although each opening needs a segment.
            for _ in 0..5 {
                let mut log = open(&flash, &mut memory, settings).expect("a full log opens");
                model.judge(&mut log);
                model.run(&mut log, Op::Checkpoint, true).expect("a checkpoint has room");
            }
            let mut log = open(&flash, &mut memory, settings).expect("opens");
            model.run(&mut log, Op::Truncate, true).expect("a truncation has room");
            model.judge(&mut log);
        }
        assert_eq!(flash.borrow().complaint, None);
        let erasures = flash.borrow().erasures.clone();
        let (least, most) = (erasures.iter().min().expect("blocks"), erasures.iter().max().expect("blocks"));
        assert!(most - least <= most / 2 + 2, "wear is spread: {erasures:?}");
    }
}

#[test]
fn worn_blocks_are_passed_over() {
    for worn in 0..6 {
        for refuses_program in [false, true] {
            let (flash, mut memory, settings, mut model) = world(6);
            let mut log = open(&flash, &mut memory, settings).expect("opens");
            for i in 0..40 {
                if i == 5 {
                    flash.borrow_mut().worn[worn] = (!refuses_program, refuses_program);
                }
                for op in [Op::Big, Op::Small, Op::Pieces, Op::Checkpoint, Op::Truncate] {
                    model.run(&mut log, op, true).unwrap_or_else(|fail| panic!("block {worn}, {op:?} {i}: {fail:?}"));
                }
            }
            model.judge(&mut log);
            let mut log = open(&flash, &mut memory, settings).expect("opens again");
            model.judge(&mut log);
        }
    }
}

#[test]
fn a_driver_that_fails_once_loses_nothing() {
    let script = [Op::Small, Op::Big, Op::Batch, Op::Checkpoint, Op::Big, Op::Truncate, Op::Pieces, Op::Prepare, Op::Big, Op::Small];
    for step in 0.. {
        let (flash, mut memory, settings, mut model) = world(5);
        let mut failed = 0;
        {
            let mut log = open(&flash, &mut memory, settings).expect("opens");
            flash.borrow_mut().fails = Some(step);
            for op in script {
                match model.run(&mut log, op, true) {
                    Ok(()) => {}
                    Err(fail) => {
                        assert_eq!((fail, log.detail().driver), (Code::Io, -5), "step {step}, {op:?}");
                        failed += 1;
                        // The next call leaves it out.
                        model.maybe = Default::default();
                    }
                }
            }
            model.judge(&mut log);
        }
        let mut log = open(&flash, &mut memory, settings).expect("opens again");
        model.judge(&mut log);
        assert_eq!(flash.borrow().complaint, None, "step {step}");
        if failed == 0 {
            assert!(step > 20, "the script has steps: {step}");
            break;
        }
    }
}

#[test]
fn every_flipped_bit_in_front_of_the_last_record_is_found() {
    let (flash, mut memory, settings, mut model) = world(4);
    {
        let mut log = open(&flash, &mut memory, settings).expect("opens");
        for op in [Op::Small, Op::Batch, Op::Big, Op::Big, Op::Pieces, Op::Small, Op::Small] {
            model.run(&mut log, op, true).expect("appends");
        }
    }
    let whole = flash.borrow().clone();
    let wanted = show(&mut open(&flash, &mut memory, settings).expect("opens"));
    let (mut found, mut harmless) = (0, 0);
    for at in 0..whole.bytes().len() {
        *flash.borrow_mut() = whole.clone();
        flash.borrow_mut().bytes_mut()[at] ^= 1 << (at % 8);
        let shown = open(&flash, &mut memory, settings).and_then(|mut log| {
            let mut cursor = Cursor::default();
            log.replay(&mut cursor, seq::OLDEST, true)?;
            while is_there(log.next(&mut cursor))? {}
            Ok(show(&mut log))
        });
        match shown {
            Ok(shown) if shown == wanted => harmless += 1,
            // The last record is what a power cut can take.
            Ok(shown) => assert!(shown.is_front_of(&wanted, 1), "byte {at}: {shown:?}"),
            Err(fail) => {
                assert!(matches!(fail, Code::Corrupt | Code::Invalid), "byte {at}: {fail:?}");
                found += 1;
            }
        }
    }
    assert!(found > 4000 && harmless > 0, "{found} found, {harmless} harmless");
}

#[test]
fn a_log_that_overwrites_keeps_the_newest() {
    let (flash, mut memory, mut settings, _) = world(4);
    settings.overwrite = true;
    let mut log = open(&flash, &mut memory, settings).expect("opens");
    for i in 0..500u32 {
        let value = [i as u8; 200];
        let entry = wal_engine::segment::payload::Entry { op: 1, key: &i.to_le_bytes(), value: &value };
        assert_eq!(log.append(entry).map(|()| log.last_seq()), Ok(u64::from(i) + 1));
    }
    let figures = log.figures();
    assert!(figures.last_seq == 500 && figures.floor_seq > 400 && figures.floor_seq < 480, "{figures:?}");
    let mut cursor = Cursor::default();
    log.replay(&mut cursor, seq::OLDEST, false).expect("a cursor");
    let mut next = figures.floor_seq + 1;
    while is_there(log.next(&mut cursor)).expect("a record") {
        let record = cursor.record();
        assert_eq!(record.seq, next);
        next += 1;
    }
    assert_eq!(next, 501);
    assert_eq!(log.replay(&mut cursor, figures.forgotten_data_seq - 1, false), Err(Code::Gap));
}

#[test]
fn a_store_that_does_not_fit_is_refused() {
    let (flash, mut memory, settings, mut model) = world(4);
    {
        let mut log = open(&flash, &mut memory, settings).expect("opens");
        for op in [Op::Small, Op::Small, Op::Checkpoint, Op::Small, Op::Truncate] {
            model.run(&mut log, op, true).expect("runs");
        }
        assert_eq!(log.truncate(4, false).unwrap_err(), Code::NotCheckpointed);
        assert_eq!(log.truncate(9, false).unwrap_err(), Code::Range);
        assert_eq!(checkpoint(&mut log, 9), Err(Code::Range));
    }
    let with = |store_seq: Option<u64>, expected: Option<[u8; 16]>| {
        let mut settings = settings;
        settings.store_seq = store_seq;
        settings.expected_log_id = expected;
        settings
    };
    let mut code = |settings| open(&flash, &mut memory, settings).map(|_| ());
    assert_eq!(code(with(Some(4), None)), Ok(()));
    assert_eq!(code(with(Some(2), None)), Ok(()), "record 3 is a CHECKPOINT: nothing is missing");
    assert_eq!(code(with(Some(1), None)), Err(Code::Gap));
    assert_eq!(code(with(Some(5), None)), Err(Code::Gap));
    assert_eq!(code(with(None, Some([7; 16]))), Err(Code::WrongLog));
    let mut other = settings;
    other.geometry.unit = 16;
    assert_eq!(code(other), Err(Code::Invalid));
}

#[test]
fn what_is_written_behind_a_checkpoint_makes_no_data_of_it() {
    // A STATE and pieces that were given up stand behind the CHECKPOINT record when the log is opened again.
    let (flash, mut memory, settings, mut model) = world(4);
    let mut log = open(&flash, &mut memory, settings).expect("opens");
    for _ in 0..10 {
        model.run(&mut log, Op::Small, true).expect("a record");
    }
    assert_eq!(checkpoint(&mut log, 10), Ok(11));
    log.truncate(5, false).expect("a STATE");
    log.begin(16, 0).expect("a first piece");
    log.cancel();
    let mut log = open(&flash, &mut memory, settings).expect("opens again");
    log.truncate(11, false).expect("everything is covered");
    assert_eq!((log.figures().floor_seq, log.figures().forgotten_data_seq), (11, 10));
    let holding_all_data = Settings { store_seq: Some(10), ..settings };
    assert!(open(&flash, &mut memory, holding_all_data).is_ok(), "a store that holds every data record lacks nothing");
}
