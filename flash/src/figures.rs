//! Where the log stands.

use wal_engine::config::LogId;
use wal_engine::seq::Seq;

use crate::chip::{Chip, Geometry};
use crate::log::{BAD, Log};

/// Numbers about a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// The last record appended, 0 if there never was one.
    pub last_seq: Seq,
    /// The last one known to be durable.
    pub durable_seq: Seq,
    /// The highest n of any checkpoint.
    pub checkpoint_seq: Seq,
    /// What the host declared with it.
    pub checkpoint_covered: Seq,
    /// Records up to here are forgotten.
    pub floor_seq: Seq,
    /// The last data record among them.
    pub forgotten_data_seq: Seq,
    /// Rises with the first write after each opening.
    pub epoch: u64,
    /// Segments that count.
    pub segments: u32,
    /// Segments that do not.
    pub free_segments: u32,
    /// Segments that the chip refused since this opening.
    pub bad_segments: u32,
    /// The most erasures of any segment's blocks, as far as they are on record.
    pub most_erasures: u32,
    /// The log's identity.
    pub log_id: LogId,
}

impl<C: Chip> Log<'_, C> {
    /// The shape of the chip.
    pub fn shape(&self) -> Geometry {
        *self.geometry()
    }

    /// Where the log stands.
    pub fn figures(&self) -> Figures {
        let all = self.slots.len() as u32;
        let (free, bad) = (self.free(), self.slots.iter().filter(|&&index| index == BAD).count() as u32);
        Figures {
            last_seq: self.tail().seq,
            durable_seq: self.durable,
            checkpoint_seq: self.state.checkpoint.n,
            checkpoint_covered: self.state.checkpoint.covered,
            floor_seq: self.state.floor,
            forgotten_data_seq: self.state.forgotten_data,
            epoch: self.epoch,
            segments: all - free - bad,
            free_segments: free,
            bad_segments: bad,
            most_erasures: self.most_erasures,
            log_id: self.log_id,
        }
    }
}
