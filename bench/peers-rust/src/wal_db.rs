//! wal-db: segments of 16 MiB; `append_and_sync`, whose syncs are grouped by the log itself. Its truncation must not meet appends, so the host keeps
//! them apart by a lock.

use std::path::Path;
use std::sync::RwLock;

use ::wal_db::{Lsn, SegmentedStore, Wal};

use crate::side::{Log, Mode, Outcome};

struct Peer {
    log: Wal<SegmentedStore>,
    mode: Mode,
    truncating: RwLock<()>,
    half: Lsn,
}

pub(crate) fn open(dir: &Path, mode: Mode) -> Outcome<Box<dyn Log>> {
    Ok(Box::new(Peer { log: Wal::open_segmented(dir, 16 << 20)?, mode, truncating: RwLock::new(()), half: Lsn::new(0) }))
}

impl Log for Peer {
    fn append(&self, _thread: usize, value: &[u8]) -> Outcome<()> {
        if self.mode == Mode::Buffered {
            return Ok(self.log.append(value).map(drop)?);
        }
        let _no_truncation = self.truncating.read().map_err(|_| "a thread panicked")?;
        Ok(self.log.append_and_sync(value).map(drop)?)
    }

    fn fill(&mut self, value: &[u8], count: u64) -> Outcome<()> {
        Ok((0..count).try_for_each(|_| self.log.append(value).map(drop))?)
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.log.sync()?)
    }

    fn replay(&mut self, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        for record in self.log.iter()? {
            visit(record?.data());
        }
        Ok(())
    }

    fn prepare_forget(&mut self) -> Outcome<()> {
        for record in self.log.iter()? {
            self.half = record?.lsn();
            if self.half.get() >= self.log.len() / 2 {
                break;
            }
        }
        Ok(())
    }

    fn forget_half(&self) -> Outcome<()> {
        let _no_appends = self.truncating.write().map_err(|_| "a thread panicked")?;
        Ok(self.log.truncate_before(self.half).map(drop)?)
    }
}
