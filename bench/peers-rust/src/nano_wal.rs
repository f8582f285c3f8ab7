//! nano-wal: threads that meet are put into one `append_batch` with `durable`. Segments are spans of time; all records here fall into one. A record is
//! read by its place, which the host must have kept: the log cannot list what it holds.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::nano_wal::{EntryRef, ReadDescriptor, Wal, WalOptions, WriteEntry, read_batch};

use crate::group::Group;
use crate::side::{Log, Mode, Outcome, Trouble};

const DAY: Duration = Duration::from_secs(86400);
/// More in one call run into the system's limit for pieces of a write.
const BATCH: usize = 200;

struct Peer {
    log: Wal,
    mode: Mode,
    now_ms: i64,
    /// Where the records are that `fill` has written.
    places: Mutex<Vec<EntryRef>>,
    group: Group,
}

pub(crate) fn open(dir: &Path, mode: Mode) -> Outcome<Box<dyn Log>> {
    let log = Wal::new(dir, "log", WalOptions { retention: DAY, segment_duration: DAY })?;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    Ok(Box::new(Peer { log, mode, now_ms, places: Mutex::default(), group: Group::default() }))
}

impl Log for Peer {
    fn append(&self, _thread: usize, value: &[u8]) -> Outcome<()> {
        if self.mode == Mode::Buffered {
            self.log.append(None, value, self.now_ms, false)?;
            return Ok(());
        }
        self.group.commit(value, |records| {
            let entries: Vec<WriteEntry<'_>> = records.iter().map(|record| WriteEntry { header: None, content: record }).collect();
            for entries in entries.chunks(BATCH) {
                self.log.append_batch(entries, self.now_ms, true)?;
            }
            Ok(())
        })
    }

    fn fill(&mut self, value: &[u8], count: u64) -> Outcome<()> {
        let places = self.places.get_mut().map_err(|_| "a thread panicked")?;
        let mut left = count as usize;
        while left > 0 {
            let entries: Vec<WriteEntry<'_>> = (0..left.min(BATCH)).map(|_| WriteEntry { header: None, content: value }).collect();
            places.extend(self.log.append_batch(&entries, self.now_ms, false)?);
            left -= entries.len();
        }
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.log.sync()?)
    }

    fn replay(&mut self, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let places = self.places.get_mut().map_err(|_| "a thread panicked")?;
        if places.is_empty() {
            return Err(Trouble::No("records are read by places that the host must have kept"));
        }
        let segment = self.log.ensure_segment(self.now_ms)?;
        for places in places.chunks(1000) {
            let describe = |place: &EntryRef| ReadDescriptor {
                read_fd: segment.read_fd().clone(),
                file_offset: place.file_offset,
                byte_size: place.byte_size,
            };
            let wanted: Vec<ReadDescriptor> = places.iter().map(describe).collect();
            read_batch(&wanted)?.iter().for_each(|record| visit(&record.content));
        }
        Ok(())
    }

    fn forget_half(&self) -> Outcome<()> {
        Err(Trouble::No("segments expire by the clock"))
    }
}
