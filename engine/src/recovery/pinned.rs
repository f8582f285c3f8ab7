//! What pins keep of what the host has forgotten. A pin never stands in the way of an opening: where what it keeps is damaged, the log opens, and whoever
//! reads from the pin is told.

use super::surveyor::{Fact, Pinned, Surveyor};
use crate::chain::Segment;
use crate::error::{Code, Error, Result};
use crate::memory;
use crate::pins::{self, Kept};
use crate::segment::head::Head;
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
            let link = open.link;
            let before = match self.predecessor(index, &link) {
                Ok(before) => before,
                Err(error) if error.code == Code::NoMemory => return Err(error),
                Err(_) => {
                    pinned.below = oldest;
                    break;
                }
            };
            let fact = Fact { header: before.header, open: before.open };
            let Some(next) = fact.open else {
                pinned.below = oldest;
                break;
            };
            let begin = self.begin(fact);
            let segment =
                Segment { header: fact.header, first_seq: begin.first_seq, before: next.before, end: Some((link.end, open.before)) };
            memory::push(&mut pinned.segments, segment)?;
            (index, open) = (link.index, next);
        }
        pinned.segments.reverse();
        Ok(pinned)
    }

    /// The segment that a link names, if it is the one.
    fn predecessor(&mut self, of: u32, link: &crate::format::control::Link) -> Result<Head<S::File>> {
        if !(1..of).contains(&link.index) {
            return Err(Error::new(Code::Corrupt, "the chain of segments ends before what a pin keeps").in_directory());
        }
        let head = self.load(link.index)?;
        self.check_link(&head.file, &head.header, link)?;
        Ok(head)
    }
}
