//! Records and batches of every length, the longest and one byte more: what is accepted is there after a close and after a power cut, what is not is
//! refused and leaves no trace. A reader's limit below the writer's once made a log that nobody could open.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wal_engine::config::{Config, MIN_SEGMENT_BYTES, SEGMENT_OVERHEAD_BYTES, SyncMode};
use wal_engine::error::{Code, Result};
use wal_engine::format::constants::{BATCH_COUNT_LEN, BATCH_ENTRY_LEN, MAX_FRAME_KEY_LEN, OP_PUT};
use wal_engine::log::{Durability, Entry, Log, ReplayOptions};
use wal_engine::seq;
use wal_prove::host::{config, value_of};
use wal_sim::{Disk, Image, SimStorage};

/// The longest payload of a frame.
const LONGEST: usize = (MIN_SEGMENT_BYTES - SEGMENT_OVERHEAD_BYTES) as usize;
/// What a batch of one record has beside it.
const BATCH_TABLE: usize = BATCH_COUNT_LEN + BATCH_ENTRY_LEN;

fn records(image: &Image) -> Result<Vec<(u64, Vec<u8>)>> {
    let disk = Disk::from_image(image, 2);
    let log = Log::open(disk.storage(), &config(SyncMode::Always, true))?;
    let mut cursor = log.replay(seq::OLDEST, ReplayOptions::default())?;
    let mut records = Vec::new();
    while let Some(record) = cursor.next()? {
        records.push((record.seq, record.value.to_vec()));
    }
    Ok(records)
}

/// A record of this length between two short ones, written by `append`.
fn try_length(len: usize, fits: bool, append: impl Fn(&Log<SimStorage>, &[u8]) -> Result<u64>) {
    for closes in [false, true] {
        let disk = Disk::new(1);
        let log = Log::open(disk.storage(), &config(SyncMode::Always, true)).unwrap();
        let mut expected = Vec::new();
        for (len, fits) in [(10, true), (len, fits), (20, true)] {
            let value = value_of(log.last_seq() + 1, len);
            match append(&log, &value) {
                Ok(seq) => expected.push((seq, value)),
                Err(error) => assert!(!fits && error.code == Code::TooLarge, "{len} bytes: {error:?}"),
            }
        }
        assert_eq!(expected.len(), if fits { 3 } else { 2 }, "{len} bytes");
        if closes {
            log.close().unwrap();
        } else {
            drop(log);
        }
        let found = records(&disk.durable_image()).unwrap_or_else(|error| panic!("{len} bytes, closed: {closes}: {error:?}"));
        assert!(found == expected, "{len} bytes, closed: {closes}: not what was appended");
    }
}

#[test]
fn records_of_every_length() {
    for len in 0..=LONGEST + 1 {
        try_length(len, len <= LONGEST, |log, value| log.append(OP_PUT, b"", value));
    }
}

#[test]
fn batches_of_every_length() {
    for len in 0..=LONGEST - BATCH_TABLE + 1 {
        try_length(len, len <= LONGEST - BATCH_TABLE, |log, value| {
            log.append_batch(&[Entry { op: OP_PUT, key: b"", value }][..], Durability::Mode)
        });
    }
}

/// A key that a frame's header cannot say makes its record a batch of one.
#[test]
fn keys_of_every_length() {
    let config = Config { segment_bytes: 256 << 10, ..config(SyncMode::Always, true) };
    let disk = Disk::new(1);
    let log = Log::open(disk.storage(), &config).unwrap();
    let lens = [0, 1, MAX_FRAME_KEY_LEN - 1, MAX_FRAME_KEY_LEN, MAX_FRAME_KEY_LEN + 1, 2 * MAX_FRAME_KEY_LEN];
    for (seq, len) in (1..).zip(lens) {
        assert_eq!(log.append(OP_PUT, &value_of(seq, len), b"value"), Ok(seq));
    }
    let mut cursor = log.replay(seq::OLDEST, ReplayOptions::default()).unwrap();
    for (seq, len) in (1..).zip(lens) {
        let record = cursor.next().unwrap().unwrap();
        assert_eq!((record.seq, record.key, record.value), (seq, &value_of(seq, len)[..], &b"value"[..]));
    }
    assert!(cursor.next().unwrap().is_none());
}
