//! What a killed log can still vouch for, in every configuration: a sync is known to every frame that is written after it, whatever the mode and
//! whatever is switched on. So each flipped bit in front of it is told of, and so is each byte that a file lacks, where a record ends as elsewhere.
//! Another log knew of its syncs only while a metric was measured.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wal_engine::config::{Config, RECYCLE_NONE, SyncMode};
use wal_engine::error::Code;
use wal_engine::format::constants::{DATA_START, FRAME_HEADER_LEN, OP_PUT};
use wal_engine::log::Log;
use wal_engine::names::FileName;
use wal_engine::seq;
use wal_prove::host::value_of;
use wal_sim::{Disk, Image};

const SEGMENT: FileName = FileName::Segment(1);
const LEN: usize = 100;
/// Records that are synced before the last one is written.
const SYNCED: u64 = 3;

fn configurations() -> Vec<Config> {
    let mut all = Vec::new();
    for sync_mode in [SyncMode::Always, SyncMode::Batch, SyncMode::Os, SyncMode::None] {
        for recycle_segments in [0, RECYCLE_NONE] {
            for background in [false, true] {
                let batch_interval_us = if sync_mode == SyncMode::Batch && background { 1000 } else { 0 };
                all.push(Config { segment_bytes: 4096, sync_mode, recycle_segments, background, batch_interval_us, ..Config::default() });
            }
        }
    }
    all
}

/// A log that was killed: three synced records and one behind them, which is durable too. Where the frame of that one stands.
fn killed(config: &Config) -> (Image, usize) {
    let disk = Disk::new(1);
    let log = Log::open(disk.storage(), config).unwrap();
    for seq in 1..=SYNCED + 1 {
        assert_eq!(log.append(OP_PUT, b"", &value_of(seq, LEN)), Ok(seq));
        log.sync(seq::LAST).unwrap();
    }
    drop(log);
    let image = disk.durable_image();
    let last = value_of(SYNCED + 1, LEN);
    let at = image.read(SEGMENT).unwrap().windows(LEN).position(|bytes| bytes == last).unwrap();
    (image, at - FRAME_HEADER_LEN)
}

fn opens(image: &Image, config: &Config) -> Result<u64, Code> {
    Log::open(Disk::from_image(image, 2).storage(), config).map(|log| log.last_seq()).map_err(|error| error.code)
}

#[test]
fn a_flip_in_front_of_a_sync_is_told() {
    for config in configurations() {
        let (image, vouched) = killed(&config);
        assert_eq!(opens(&image, &config), Ok(SYNCED + 1));
        for at in DATA_START as usize..vouched {
            for bit in [at % 8, (at + 3) % 8] {
                let mut damaged = image.clone();
                let mut bytes = image.read(SEGMENT).unwrap().to_vec();
                bytes[at] ^= 1 << bit;
                damaged.write(SEGMENT, bytes);
                assert_eq!(opens(&damaged, &config), Err(Code::Corrupt), "bit {bit} of byte {at}, vouched to {vouched}, {config:?}");
            }
        }
    }
}

#[test]
fn a_cut_is_told_at_every_byte() {
    for config in configurations() {
        let (image, _) = killed(&config);
        let whole = image.read(SEGMENT).unwrap();
        for len in 0..whole.len() {
            let mut damaged = image.clone();
            damaged.write(SEGMENT, whole[..len].to_vec());
            assert_eq!(opens(&damaged, &config), Err(Code::Corrupt), "cut at {len}, {config:?}");
        }
    }
}
