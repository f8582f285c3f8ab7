//! fjall: one keyspace with the record's number as the key, memtable and journal large enough for nothing but the journal to be written. Threads
//! that meet are put into one write batch with `PersistMode::SyncData`; without syncs the journal's buffer is left to itself.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use ::fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::group::Group;
use crate::side::{Log, Mode, Outcome, Trouble};

const LARGE: u64 = 4 << 30;

struct Peer {
    database: Database,
    records: Keyspace,
    mode: Mode,
    last: AtomicU64,
    group: Group,
}

pub(crate) fn open(dir: &Path, mode: Mode) -> Outcome<Box<dyn Log>> {
    let database = Database::builder(dir)
        .journal_compression(CompressionType::None)
        .max_journaling_size(LARGE)
        .manual_journal_persist(mode == Mode::Buffered)
        .open()?;
    let options = || KeyspaceCreateOptions::default().max_memtable_size(LARGE).manual_journal_persist(mode == Mode::Buffered);
    let records = database.keyspace("records", options)?;
    let last = match records.last_key_value() {
        Some(last) => last.key()?.first_chunk().map_or(0, |key| u64::from_be_bytes(*key)),
        None => 0,
    };
    Ok(Box::new(Peer { database, records, mode, last: AtomicU64::new(last), group: Group::default() }))
}

impl Peer {
    fn next(&self) -> [u8; 8] {
        (self.last.fetch_add(1, Ordering::Relaxed) + 1).to_be_bytes()
    }
}

impl Log for Peer {
    fn append(&self, _thread: usize, value: &[u8]) -> Outcome<()> {
        if self.mode == Mode::Buffered {
            return Ok(self.records.insert(self.next(), value)?);
        }
        self.group.commit(value, |records| {
            let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
            records.iter().for_each(|record| batch.insert(&self.records, self.next(), record.as_slice()));
            Ok(batch.commit()?)
        })
    }

    fn fill(&mut self, value: &[u8], count: u64) -> Outcome<()> {
        let mut left = count;
        while left > 0 {
            let mut batch = self.database.batch();
            (0..left.min(1000)).for_each(|_| batch.insert(&self.records, self.next(), value));
            batch.commit()?;
            left -= left.min(1000);
        }
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.database.persist(PersistMode::SyncData)?)
    }

    fn replay(&mut self, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        for record in self.records.iter() {
            visit(&record.value()?);
        }
        Ok(())
    }

    fn forget_half(&self) -> Outcome<()> {
        Err(Trouble::No("keys can only be removed one by one"))
    }
}
