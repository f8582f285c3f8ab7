//! What pins keep of what the host has forgotten. A pin never stands in the way of an opening: where what it keeps is damaged, the log opens, and whoever
//! reads from the pin is told.

use super::surveyor::{Fact, Pinned, Surveyor};
use crate::chain::Segment;
use crate::error::{Code, Error, Result};
use crate::format::control::Open;
use crate::format::segment_header::SegmentHeader;
use crate::memory;
use crate::pins::{self, Kept};
use crate::storage::Storage;

impl<S: Storage> Surveyor<'_, S> {
    /// What pins keep in front of `first`, the oldest segment that counts; `None` if that is damaged.
    pub(super) fn pinned(&mut self, first: Option<Fact>) -> Result<Pinned> {
        let mut pinned = Pinned { pins: pins::read_all(self.storage, &self.names, self.manifest.log_id)?, ..Pinned::default() };
        let Some(keep) = pinned.pins.iter().filter_map(Kept::keeps).min().filter(|&keep| keep < self.manifest.floor) else {
            return Ok(pinned);
        };
        let oldest = self.manifest.oldest_segment;
        let Some(Fact { header, open: Some(open) }) = first else {
            pinned.below = oldest;
            return Ok(pinned);
        };
        let (mut index, mut open) = (header.index, open);
        while open.before.seq > keep {
            match self.predecessor(index, &open) {
                Ok((header, own)) => {
                    memory::push(&mut pinned.segments, Segment::linked(header, &own, &open))?;
                    (index, open) = (header.index, own);
                }
                Err(error) if error.code == Code::NoMemory => return Err(error),
                Err(_) => {
                    pinned.below = oldest;
                    break;
                }
            }
        }
        pinned.segments.reverse();
        Ok(pinned)
    }

    /// The segment in front of the one with this index and OPEN, with its own, if it is the one.
    fn predecessor(&mut self, index: u32, open: &Open) -> Result<(SegmentHeader, Open)> {
        let broken = || Error::new(Code::Corrupt, "the chain of segments ends before what a pin keeps").in_directory();
        if !(1..index).contains(&open.link.index) {
            return Err(broken());
        }
        let head = self.load(open.link.index)?;
        self.check_link(&head.file, &head.header, &open.link)?;
        Ok((head.header, head.open.ok_or_else(broken)?))
    }
}
