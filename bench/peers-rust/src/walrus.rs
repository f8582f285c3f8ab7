//! walrus-rust: one topic. `SyncEach` opens files with `O_SYNC`, so each record of a batch is a synced write of its own: threads append for themselves.

use std::path::{Path, PathBuf};

use walrus_rust::{FsyncSchedule, ReadConsistency, Walrus};

use crate::side::{Log, Mode, Outcome, Trouble};

const TOPIC: &str = "records";
/// The most that a batch may hold.
const BATCH: usize = 2000;

struct Peer {
    dir: PathBuf,
    log: Walrus,
    mode: Mode,
}

fn start(dir: &Path, mode: Mode) -> Outcome<Walrus> {
    // The log's place is `wal_files` in the working directory.
    std::env::set_current_dir(dir)?;
    let schedule = if mode == Mode::Durable { FsyncSchedule::SyncEach } else { FsyncSchedule::NoFsync };
    // Where reading stopped is not to be kept: the next replay begins at the beginning.
    let consistency = ReadConsistency::AtLeastOnce { persist_every: u32::MAX };
    Ok(Walrus::with_consistency_and_schedule(consistency, schedule)?)
}

pub(crate) fn open(dir: &Path, mode: Mode) -> Outcome<Box<dyn Log>> {
    Ok(Box::new(Peer { dir: dir.to_path_buf(), log: start(dir, mode)?, mode }))
}

impl Log for Peer {
    fn append(&self, _thread: usize, value: &[u8]) -> Outcome<()> {
        Ok(self.log.append_for_topic(TOPIC, value)?)
    }

    fn fill(&mut self, value: &[u8], count: u64) -> Outcome<()> {
        let mut left = count as usize;
        while left > 0 {
            let now = left.min(BATCH);
            self.log.batch_append_for_topic(TOPIC, &vec![value; now])?;
            left -= now;
        }
        Ok(())
    }

    /// No call for it: files are synced each time, every so often, or never.
    fn sync(&self) -> Outcome<()> {
        Ok(())
    }

    fn replay(&mut self, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        // Reading consumes; the position that was not kept comes back by opening.
        self.log = start(&self.dir, self.mode)?;
        loop {
            let records = self.log.batch_read_for_topic(TOPIC, 1 << 20, true)?;
            if records.is_empty() {
                return Ok(());
            }
            records.iter().for_each(|record| visit(&record.data));
        }
    }

    fn forget_half(&self) -> Outcome<()> {
        Err(Trouble::No("files go away when their readers have consumed them"))
    }
}
