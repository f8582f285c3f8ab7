//! commitlog: one writer, so a lock around it. It has no call that syncs: `flush` asks `std::fs::File`, for which that is nothing.

use std::path::Path;
use std::sync::Mutex;

use ::commitlog::message::{MessageBuf, MessageSet};
use ::commitlog::{CommitLog, LogOptions, ReadLimit};

use crate::side::{Log, Mode, Outcome, Trouble};

struct Peer(Mutex<CommitLog>);

pub(crate) fn open(dir: &Path, mode: Mode) -> Outcome<Box<dyn Log>> {
    if mode == Mode::Durable {
        return Err(Trouble::No("no call syncs a record: flush() leaves it in the page cache"));
    }
    Ok(Box::new(Peer(Mutex::new(CommitLog::new(LogOptions::new(dir))?))))
}

impl Log for Peer {
    fn append(&self, _thread: usize, value: &[u8]) -> Outcome<()> {
        self.0.lock().map_err(|_| "a thread panicked")?.append_msg(value)?;
        Ok(())
    }

    fn fill(&mut self, value: &[u8], count: u64) -> Outcome<()> {
        let log = self.0.get_mut().map_err(|_| "a thread panicked")?;
        let mut left = count;
        while left > 0 {
            let mut messages = MessageBuf::default();
            for _ in 0..left.min(100) {
                messages.push(value).map_err(|error| format!("{error:?}"))?;
            }
            log.append(&mut messages)?;
            left -= left.min(100);
        }
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.0.lock().map_err(|_| "a thread panicked")?.flush()?)
    }

    fn replay(&mut self, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let log = self.0.get_mut().map_err(|_| "a thread panicked")?;
        let mut next = 0;
        loop {
            let messages = log.read(next, ReadLimit::max_bytes(1 << 20)).map_err(|error| format!("{error:?}"))?;
            if messages.is_empty() {
                return Ok(());
            }
            messages.iter().for_each(|message| visit(message.payload()));
            next += messages.len() as u64;
        }
    }

    fn forget_half(&self) -> Outcome<()> {
        Err(Trouble::No("truncate removes the newest records, not the oldest"))
    }
}
