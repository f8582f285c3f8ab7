//! Damage to a log of five segments, closed cleanly or killed: bits flipped, files cut, deleted, doubled, swapped, replaced by older copies.
//!
//! A strict opening, and the replay behind it, must give an error that names the place, or everything. A prefix opening must give an exact prefix
//! and say so. After a kill only what nothing vouches for may be missing, and must be reported. A silent wrong answer is what this is to catch: one
//! flipped bit once cost another log half of its records without a word.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wal_engine::config::{Config, OpenKind, Recovery, SyncMode};
use wal_engine::error::{Code, Error, Place};
use wal_engine::format::constants::{KIND_BATCH, OP_PUT};
use wal_engine::log::{Log, ReplayOptions, Report};
use wal_engine::names::FileName;
use wal_engine::seq;
use wal_prove::host::{History, Host, Step, config};
use wal_sim::{Disk, Image, SimStorage};

/// A log as it was left, and what is known of it.
struct Left {
    image: Image,
    /// The same, earlier.
    older: Image,
    history: History,
    last: u64,
    clean: bool,
}

const SCRIPT: [Step; 14] = [
    Step::AppendRotating,
    Step::Append,
    Step::Append,
    Step::AppendRotating,
    Step::Batch,
    Step::AppendRotating,
    Step::CheckpointBefore,
    Step::TruncateHalf,
    Step::AppendRotating,
    Step::Append,
    Step::AppendRotating,
    Step::AppendRotating,
    Step::Batch,
    Step::Append,
];

fn left(clean: bool) -> Left {
    let config = config(SyncMode::Always, true);
    let mut host = Host::open(Disk::new(3), config).unwrap();
    let mut older = None;
    for (at, step) in SCRIPT.into_iter().enumerate() {
        host.step(step).unwrap();
        if at == 10 {
            older = Some(host.disk.durable_image());
        }
    }
    let log = host.log.take().unwrap();
    let last = log.last_seq();
    if clean {
        log.close().unwrap();
    } else {
        drop(log);
    }
    Left { image: host.disk.durable_image(), older: older.unwrap(), history: host.history, last, clean }
}

/// What an opening and a replay gave.
struct Got {
    /// Where the replay began and ended.
    floor: u64,
    last_read: u64,
    error: Option<Error>,
    report: Report,
    log: Option<Log<SimStorage>>,
}

fn read(image: &Image, recovery: Recovery, history: &History) -> (Disk, Got) {
    let disk = Disk::from_image(image, 4);
    let config = Config { recovery, open: OpenKind::Existing, ..config(SyncMode::Always, true) };
    let log = match Log::open(disk.storage(), &config) {
        Ok(log) => log,
        Err(error) => return (disk, Got { floor: 0, last_read: 0, error: Some(error), report: Report::default(), log: None }),
    };
    let report = log.report();
    let mut got = Got { floor: log.stat().floor_seq, last_read: log.stat().floor_seq, error: None, report, log: None };
    match log.replay(seq::OLDEST, ReplayOptions { raw: true, ..ReplayOptions::default() }) {
        Err(error) => got.error = Some(error),
        Ok(mut cursor) => loop {
            match cursor.next() {
                Ok(Some(record)) => {
                    assert_eq!(record.seq, got.last_read + 1, "a hole in what is shown");
                    let known = history.get(&record.seq).expect("an invented record");
                    assert!(record.op != OP_PUT || record.value == known.value, "wrong bytes in seq {}", record.seq);
                    got.last_read = record.seq;
                }
                Ok(None) => break,
                Err(error) => {
                    got.error = Some(error);
                    break;
                }
            }
        },
    }
    got.log = Some(log);
    (disk, got)
}

fn names_a_place(error: &Error) -> bool {
    matches!(error.code, Code::Corrupt | Code::NotFound) && error.place != Place::Call
}

/// Judges one damaged image; whether the damage made a difference.
fn judge(left: &Left, image: &Image, what: &str) -> bool {
    let (_, strict) = read(image, Recovery::Strict, &left.history);
    let whole = |got: &Got| got.last_read == left.last || (got.error.is_none() && !left.clean && got.last_read + 1 >= left.last - 2);
    match &strict.error {
        Some(error) => assert!(names_a_place(error), "{what}: {error:?}"),
        None => {
            assert!(whole(&strict), "{what}: silent end at {} of {}", strict.last_read, left.last);
            assert!(
                strict.last_read == left.last || strict.report.dropped_bytes > 0,
                "{what}: dropped without a report, {} of {}",
                strict.last_read,
                left.last
            );
        }
    }
    drop(strict.log);
    let (disk, prefix) = read(image, Recovery::Prefix, &left.history);
    let Some(log) = prefix.log else {
        let error = prefix.error.unwrap();
        panic!("{what}: a prefix opening fails: {error:?}");
    };
    let report = prefix.report;
    let found_something = report.damage.is_some() || report.rebuilt_manifest;
    assert_eq!(found_something, strict.error.is_some(), "{what}: {report:?} and {:?}", strict.error);
    if prefix.last_read < left.last {
        let said = report.damage.is_some() || report.dropped_bytes > 0;
        assert!(said, "{what}: a shorter log and no report");
    }
    if let Some(error) = prefix.error {
        assert_eq!(error.code, Code::Gap, "{what}: {error:?}");
        assert_eq!((error.seq, error.seq_last), (prefix.last_read + 1, report.lost_last_seq), "{what}");
    }
    if strict.error.is_some() {
        assert!(
            prefix.last_read >= strict.last_read,
            "{what}: a prefix opening keeps {} where a strict one reads {}",
            prefix.last_read,
            strict.last_read
        );
    }
    // Goes on above everything that was used, and never opens as if nothing had happened.
    // Without a manifest the last frame of a clean log is like any that nothing vouches for.
    if left.clean && !report.rebuilt_manifest {
        assert_eq!(log.last_seq(), left.last, "{what}: seqs that were durable are given out again");
    }
    let next = log.append(OP_PUT, b"", b"after").unwrap();
    assert_eq!(next, log.last_seq());
    log.close().unwrap();
    let store = |store_seq| Config { store_seq: Some(store_seq), ..config(SyncMode::Always, true) };
    if report.lost_last_seq > 0 {
        let refused = Log::open(disk.storage(), &store(report.lost_last_seq - 1)).err().map(|error| error.code);
        assert_eq!(refused, Some(Code::Gap), "{what}: {report:?}");
    }
    let log = Log::open(disk.storage(), &store(next - 1)).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let mut cursor = log.replay(next - 1, ReplayOptions::default()).unwrap();
    assert_eq!(cursor.next().unwrap().map(|record| record.value.to_vec()), Some(b"after".to_vec()), "{what}");
    drop(cursor);
    let mut cursor = log.replay(seq::OLDEST, ReplayOptions { skip_lost: true, ..ReplayOptions::default() }).unwrap();
    let mut last = 0;
    while let Some(record) = cursor.next().unwrap() {
        last = record.seq;
    }
    assert_eq!(last, next, "{what}: reading over the hole");
    strict.error.is_some()
}

fn files(image: &Image) -> Vec<FileName> {
    image.names().filter(|name| *name != FileName::Lock).collect()
}

fn changed(left: &Left, name: FileName, change: impl FnOnce(&mut Vec<u8>)) -> Image {
    let mut image = left.image.clone();
    let mut bytes = image.read(name).unwrap().to_vec();
    change(&mut bytes);
    image.write(name, bytes);
    image
}

fn flips(left: &Left) {
    let mut counts = (0, 0);
    for name in files(&left.image) {
        let len = left.image.read(name).unwrap().len();
        for at in 0..len {
            // One bit of each byte here, a different one in each; every bit in the long run.
            let bits = if std::env::var_os("WAL_EVERY_BIT").is_some() { 0..8 } else { at % 8..at % 8 + 1 };
            for bit in bits {
                let image = changed(left, name, |bytes| bytes[at] ^= 1 << bit);
                counts.0 += 1;
                counts.1 += u32::from(judge(left, &image, &format!("bit {bit} of byte {at} of {name}")));
            }
        }
    }
    println!("{} flips, {} of them damage, silent wrong answers: 0", counts.0, counts.1);
    assert!(counts.0 > 10_000 && counts.1 > 3_000);
}

/// A flipped bit in the count of a batch was once taken as proof of seqs that nobody had given out. The segment with the batch, whole.
#[test]
fn every_bit_of_a_batch_after_a_clean_close() {
    let left = left(true);
    let name = FileName::Segment(2);
    let batch = left.image.read(name).unwrap().chunks(8).position(|unit| unit[7] == KIND_BATCH).unwrap() * 8 - 16;
    for bit in batch * 8..(batch + 400) * 8 {
        let image = changed(&left, name, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        judge(&left, &image, &format!("bit {} of byte {} of {name}", bit % 8, bit / 8));
    }
}

#[test]
fn flips_after_a_clean_close() {
    flips(&left(true));
}

#[test]
fn flips_after_a_kill() {
    flips(&left(false));
}

fn cuts(left: &Left) {
    for name in files(&left.image) {
        let len = left.image.read(name).unwrap().len();
        for at in (0..len).step_by(5) {
            let image = changed(left, name, |bytes| bytes.truncate(at));
            judge(left, &image, &format!("{name} cut at {at}"));
        }
    }
}

#[test]
fn cuts_after_a_clean_close() {
    cuts(&left(true));
}

#[test]
fn cuts_after_a_kill() {
    cuts(&left(false));
}

fn whole_files(left: &Left) {
    let names = files(&left.image);
    for &name in &names {
        let mut image = left.image.clone();
        image.remove(name);
        judge(left, &image, &format!("{name} deleted"));
        let bytes = left.image.read(name).unwrap().to_vec();
        for &other in names.iter().filter(|&&other| other != name) {
            let mut image = left.image.clone();
            image.write(other, bytes.clone());
            judge(left, &image, &format!("{name} doubled over {other}"));
            image.write(name, left.image.read(other).unwrap().to_vec());
            judge(left, &image, &format!("{name} and {other} swapped"));
        }
        let mut image = left.image.clone();
        image.write(FileName::Segment(90), bytes);
        judge(left, &image, &format!("{name} doubled under a new name"));
        if let Some(older) = left.older.read(name) {
            let mut image = left.image.clone();
            image.write(name, older.to_vec());
            let is_last = Some(name) == last_with_frames(&left.image);
            judge_older(left, &image, is_last, &format!("{name} replaced by an older copy"));
        }
    }
}

fn last_with_frames(image: &Image) -> Option<FileName> {
    const FIRST_KIND: usize = 64 + 23;
    image.names().filter(|name| matches!(name, FileName::Segment(_)) && image.read(*name).is_some_and(|bytes| bytes[FIRST_KIND] != 0)).max()
}

/// An older copy of the last segment of a killed log is a shorter log: nothing outside of it vouches for what is behind the manifest's bound.
fn judge_older(left: &Left, image: &Image, is_last: bool, what: &str) {
    let (_, strict) = read(image, Recovery::Strict, &left.history);
    if let Some(error) = strict.error {
        assert!(names_a_place(&error), "{what}: {error:?}");
    } else if left.clean || !is_last {
        assert_eq!(strict.last_read, left.last, "{what}: silent");
    }
}

#[test]
fn whole_files_after_a_clean_close() {
    whole_files(&left(true));
}

#[test]
fn whole_files_after_a_kill() {
    whole_files(&left(false));
}

/// One slot of the manifest destroyed: the other one opens the log, whichever it is.
#[test]
fn one_manifest_slot_destroyed() {
    for clean in [true, false] {
        let left = left(clean);
        for slot in 0..2 {
            let image = changed(&left, FileName::Manifest, |bytes| bytes[slot * 8192..(slot + 1) * 8192].fill(0x5a));
            let (_, got) = read(&image, Recovery::Strict, &left.history);
            assert_eq!(got.error, None, "slot {slot}, clean {clean}");
            assert_eq!(got.last_read, left.last);
            assert!(got.floor > 0);
        }
    }
}

/// Both slots destroyed: a strict opening refuses and makes nothing in their place; a prefix opening rebuilds them and loses nothing.
#[test]
fn both_manifest_slots_destroyed() {
    let left = left(true);
    let image = changed(&left, FileName::Manifest, |bytes| bytes.fill(0));
    let disk = Disk::from_image(&image, 4);
    let error = Log::open(disk.storage(), &config(SyncMode::Always, true)).err().unwrap();
    assert_eq!((error.code, error.place), (Code::Corrupt, Place::File(FileName::Manifest)));
    let unchanged = |name| disk.durable_image().read(name) == image.read(name);
    assert!(files(&image).into_iter().all(unchanged));
    let (_, got) = read(&image, Recovery::Prefix, &left.history);
    assert!(got.report.rebuilt_manifest);
    assert_eq!((got.error, got.last_read), (None, left.last));
}
