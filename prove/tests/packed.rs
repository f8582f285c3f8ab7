//! A batch that comes packed is the batch that it says, and nothing in the log tells them apart.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wal_engine::config::SyncMode;
use wal_engine::format::batch::BatchEntry;
use wal_engine::format::constants::OP_PUT;
use wal_engine::log::{Durability, Entry, Log, Packed, Pieces, ReplayOptions};
use wal_engine::seq;
use wal_prove::forge::last_with_frames;
use wal_prove::host::{bounded, config};
use wal_sim::Disk;

struct Table(Vec<u8>);

impl Pieces for Table {
    fn visit(&self, each: &mut impl FnMut(&[u8])) {
        self.0.chunks(5).for_each(each);
    }
}

#[test]
fn the_same_frame() {
    bounded(|| {
        let entries = [(&b"key"[..], &b"value"[..], OP_PUT), (b"", b"without a key", 7), (b"k", b"", OP_PUT + 1)];
        let logs = [false, true].map(|is_packed| {
            let disk = Disk::new(1);
            let log = Log::open(disk.storage(), &config(SyncMode::Always, true)).unwrap();
            let last = if is_packed {
                let lens =
                    |&(key, value, op): &(&[u8], &[u8], u8)| BatchEntry { key_len: key.len() as u32, value_len: value.len() as u32, op };
                let table = Table(entries.iter().flat_map(|entry| lens(entry).encode()).collect());
                let bytes: Vec<u8> = entries.iter().flat_map(|(key, value, _)| [*key, *value].concat()).collect();
                log.append_packed(&Packed { count: 3, table: &table, bytes: &bytes }, Durability::Mode)
            } else {
                let entries = entries.map(|(key, value, op)| Entry { op, key, value });
                log.append_batch(&entries[..], Durability::Mode)
            };
            assert_eq!((last, log.last_seq(), log.durable_seq()), (Ok(3), 3, 3));
            let mut cursor = log.replay(seq::OLDEST, ReplayOptions::default()).unwrap();
            for (seq, (key, value, op)) in (1..).zip(entries) {
                let record = cursor.next().unwrap().unwrap();
                assert_eq!((record.seq, record.op, record.key, record.value, record.batch_last_seq), (seq, op, key, value, 3));
            }
            assert!(cursor.next().unwrap().is_none());
            assert_eq!(log.append(OP_PUT, b"", b"next"), Ok(4));
            let image = disk.visible_image();
            let (name, frames) = last_with_frames(&image);
            frames
                .iter()
                .map(|frame| (frame.offset, frame.end, frame.kind, frame.last_seq))
                .zip(std::iter::repeat(name))
                .collect::<Vec<_>>()
        });
        assert_eq!(logs[0], logs[1]);
    });
}
