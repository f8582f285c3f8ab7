//! open-wal: one writer, so a lock around it, and threads that meet share a commit. An append is memory only, and every commit syncs.

use std::path::Path;
use std::sync::Mutex;

use ::open_wal::{Lsn, Wal, WalConfig};

use crate::group::Group;
use crate::side::{Log, Mode, Outcome};

struct Peer {
    log: Mutex<Wal>,
    mode: Mode,
    group: Group,
    half: Lsn,
}

pub(crate) fn open(dir: &Path, mode: Mode) -> Outcome<Box<dyn Log>> {
    let (log, _report) = Wal::open(dir, WalConfig::default())?;
    Ok(Box::new(Peer { log: Mutex::new(log), mode, group: Group::default(), half: Lsn(0) }))
}

impl Log for Peer {
    fn append(&self, _thread: usize, value: &[u8]) -> Outcome<()> {
        if self.mode == Mode::Buffered {
            self.log.lock().map_err(|_| "a thread panicked")?.append(value)?;
            return Ok(());
        }
        self.group.commit(value, |records| {
            let mut log = self.log.lock().map_err(|_| "a thread panicked")?;
            for record in records {
                log.append(record)?;
            }
            log.commit()?;
            Ok(())
        })
    }

    fn fill(&mut self, value: &[u8], count: u64) -> Outcome<()> {
        let log = self.log.get_mut().map_err(|_| "a thread panicked")?;
        for number in 1..=count {
            log.append(value)?;
            if number % 10_000 == 0 {
                log.commit()?;
            }
        }
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        self.log.lock().map_err(|_| "a thread panicked")?.commit()?;
        Ok(())
    }

    fn replay(&mut self, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let log = self.log.get_mut().map_err(|_| "a thread panicked")?;
        let mut reader = log.reader_from(Lsn(0))?;
        while let Some(record) = reader.next() {
            visit(record?.1);
        }
        Ok(())
    }

    fn prepare_forget(&mut self) -> Outcome<()> {
        self.half = Lsn(self.log.get_mut().map_err(|_| "a thread panicked")?.durable_lsn().0 / 2);
        Ok(())
    }

    fn forget_half(&self) -> Outcome<()> {
        Ok(self.log.lock().map_err(|_| "a thread panicked")?.checkpoint(self.half)?)
    }
}
