//! The segments of an open log, who still reads them, and how far their bytes are durable. Shared by everything that writes, forgets or reads.

use std::collections::VecDeque;
use std::time::Duration;

use crate::error::{Code, Error, Result};
use crate::format::control::Open;
use crate::format::segment_header::SegmentHeader;
use crate::protocol::gap;
use crate::seq::{Seq, Tail};
use crate::sync::{AtomicBool, AtomicU64, Condvar, Instant, Mutex, Ordering, fence};

/// A segment that holds records.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Its static header.
    pub header: SegmentHeader,
    /// Seq of its first record.
    pub first_seq: Seq,
    /// The tail in front of it. `first_seq` lies more than one above it if records between were lost.
    pub before: Tail,
    /// End of its frames and the tail there; `None` for the segment that is appended to.
    pub end: Option<(u64, Tail)>,
}

impl Segment {
    /// One that has both its OPEN, `own`, and a successor, whose is `next`.
    pub fn linked(header: SegmentHeader, own: &Open, next: &Open) -> Segment {
        Segment { header, first_seq: own.first_seq, before: own.before, end: Some((next.link.end, next.before)) }
    }

    /// The last data seq in front of this segment's first record. What was lost may have been data.
    pub fn data_before(&self) -> Seq {
        if self.hole().is_some() { self.first_seq - 1 } else { self.before.data_seq }
    }

    /// Whether it holds, or may come to hold, anything above `seq`.
    pub fn ends_above(&self, seq: Seq) -> bool {
        self.end.is_none_or(|(_, tail)| tail.seq > seq)
    }

    /// The records that were lost in front of this segment.
    pub fn hole(&self) -> Option<(Seq, Seq)> {
        (self.first_seq > self.before.seq + 1).then(|| (self.before.seq + 1, self.first_seq - 1))
    }
}

/// Seq of the oldest record kept: one above the floor, or behind the hole that begins there.
pub fn oldest_kept<'a>(segments: impl IntoIterator<Item = &'a Segment>, floor: Seq) -> Seq {
    let first = floor + 1;
    let hole = segments.into_iter().filter_map(Segment::hole).find(|&(from, to)| (from..=to).contains(&first));
    hole.map_or(first, |(_, to)| to + 1)
}

/// A reader's registration: segments from the one it names on stay on disk.
#[derive(Debug)]
pub struct ReaderId(usize);

#[derive(Debug, Default)]
struct Inner {
    segments: VecDeque<Segment>,
    /// Forgotten, in the manifest already, still under their names.
    doomed: VecDeque<Segment>,
    readers: Vec<Option<u32>>,
    floor: Seq,
    forgotten_data: Seq,
}

impl Inner {
    /// Everything that still stands under its name, from the oldest on: by index, since a successor's is always higher.
    fn known(&self) -> impl Iterator<Item = &Segment> {
        self.doomed.iter().chain(self.segments.iter())
    }

    /// The first of them with this index or a higher one. A replay asks once for each segment, so that the answer may not cost a walk along the chain.
    fn known_from(&self, index: u32) -> Option<Segment> {
        debug_assert!(self.known().is_sorted_by_key(|segment| segment.header.index));
        let first = |segments: &VecDeque<Segment>| {
            let place = segments.partition_point(|segment| segment.header.index < index);
            segments.get(place).copied()
        };
        first(&self.doomed).or_else(|| first(&self.segments))
    }

    /// Room for `more` segments, and for all of them to be doomed, so that forgetting cannot fail either.
    fn reserve(&mut self, more: usize) -> Result<()> {
        let no_memory = |_| Error::new(Code::NoMemory, "no memory for the list of segments");
        self.segments.try_reserve(more).map_err(no_memory)?;
        self.doomed.try_reserve(self.segments.len() + more).map_err(no_memory)
    }
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Chain {
    inner: Mutex<Inner>,
    durable: AtomicU64,
    readable: AtomicU64,
    closed: AtomicBool,
    /// Notified, under `wakes`, when one of the three above changes.
    changed: Condvar,
    /// How often that happened.
    wakes: Mutex<u64>,
    waiters: AtomicU64,
}

impl Chain {
    /// The chain that an opening found, `segments` from the oldest on.
    pub fn new(segments: &[Segment], floor: Seq, forgotten_data: Seq, durable: Seq, readable: Seq) -> Result<Chain> {
        let mut inner = Inner { floor, forgotten_data, ..Inner::default() };
        inner.reserve(segments.len())?;
        inner.segments.extend(segments);
        Ok(Chain { inner: Mutex::new(inner), durable: AtomicU64::new(durable), readable: AtomicU64::new(readable), ..Chain::default() })
    }

    /// Everything up to here is durable.
    #[inline]
    pub fn durable(&self) -> Seq {
        self.durable.load(Ordering::Acquire)
    }

    /// Everything up to here can be read from the files, durable or not.
    #[inline]
    pub fn readable(&self) -> Seq {
        self.readable.load(Ordering::Acquire)
    }

    /// Makes it known that everything up to `seq` is durable.
    pub fn publish_durable(&self, seq: Seq) {
        self.durable.store(seq, Ordering::Release);
        if self.readable() < seq {
            self.readable.store(seq, Ordering::Release);
        }
        self.wake();
    }

    /// Makes it known that everything up to `seq` is in the files. Goes back when records are taken back.
    pub fn publish_readable(&self, seq: Seq) {
        self.readable.store(seq, Ordering::Release);
    }

    /// No reader gets anything from here on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether the log was closed.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Wakes those who wait in `wait_until`, which is cheap when nobody does.
    pub fn wake(&self) {
        // The waiter counts itself before it looks at what it waits for; so either it sees the change or this sees the waiter.
        fence(Ordering::SeqCst);
        if self.waiters.load(Ordering::SeqCst) > 0 {
            *self.wakes.lock() += 1;
            self.changed.notify_all();
        }
    }

    /// Waits until `ready` or the time is over; whether it was ready. `None` waits for ever. `ready` is called without any lock of the chain, and
    /// may take others.
    pub fn wait_until(&self, timeout: Option<Duration>, mut ready: impl FnMut() -> bool) -> bool {
        if ready() {
            return true;
        }
        if timeout == Some(Duration::ZERO) {
            return false;
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.waiters.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let outcome = loop {
            let seen = *self.wakes.lock();
            if ready() {
                break true;
            }
            let wakes = self.wakes.lock();
            if *wakes != seen {
                continue;
            }
            match deadline {
                None => drop(self.changed.wait(wakes)),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break false;
                    }
                    drop(self.changed.wait_timeout(wakes, left));
                }
            }
        };
        self.waiters.fetch_sub(1, Ordering::SeqCst);
        outcome
    }

    /// Records up to here are forgotten, and the last data record among them.
    pub fn forgotten(&self) -> (Seq, Seq) {
        let inner = self.inner.lock();
        (inner.floor, inner.forgotten_data)
    }

    /// How many segments hold records, and how many more wait to be dropped.
    pub fn counts(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.segments.len(), inner.doomed.len())
    }

    /// Seq of the oldest record kept, given the last seq: one above the floor, or behind the hole that begins there.
    pub fn oldest(&self) -> Seq {
        let inner = self.inner.lock();
        oldest_kept(&inner.segments, inner.floor)
    }

    /// Makes room for one more segment, so that `append` cannot fail.
    pub fn reserve(&self) -> Result<()> {
        self.inner.lock().reserve(1)
    }

    /// The last segment ended at `end`, `next` comes behind it.
    pub fn append(&self, end: (u64, Tail), next: Segment) {
        let mut inner = self.inner.lock();
        if let Some(last) = inner.segments.back_mut() {
            last.end = Some(end);
        }
        inner.segments.push_back(next);
    }

    /// Index of the oldest segment that still holds records above `floor`, the active one at the latest.
    pub fn oldest_needed(&self, floor: Seq) -> u32 {
        let inner = self.inner.lock();
        let needed = inner.segments.iter().find(|segment| segment.end.is_none_or(|(_, tail)| tail.seq > floor));
        needed.or(inner.segments.back()).map_or(0, |segment| segment.header.index)
    }

    /// The segment that holds the record `seq`.
    pub fn holding(&self, seq: Seq) -> Option<Segment> {
        let inner = self.inner.lock();
        let place = inner.segments.iter().position(|segment| segment.end.is_none_or(|(_, tail)| tail.seq >= seq));
        place.map(|place| inner.segments[place])
    }

    /// Records up to `floor` are forgotten and segments before `oldest` doomed, as the manifest says already.
    pub fn forget(&self, floor: Seq, forgotten_data: Seq, oldest: u32) {
        let mut inner = self.inner.lock();
        inner.floor = inner.floor.max(floor);
        inner.forgotten_data = inner.forgotten_data.max(forgotten_data);
        while inner.segments.len() > 1 && inner.segments.front().is_some_and(|segment| segment.header.index < oldest) {
            if let Some(segment) = inner.segments.pop_front() {
                inner.doomed.push_back(segment);
            }
        }
    }

    /// Forgotten segments that were found and that pins keep, from the oldest on: they stand in front of the chain.
    pub fn keep(&self, kept: &[Segment]) -> Result<()> {
        let mut inner = self.inner.lock();
        inner.reserve(kept.len())?;
        let first = kept.first().map_or(u32::MAX, |segment| segment.header.index);
        inner.doomed.retain(|segment| segment.header.index < first);
        inner.doomed.extend(kept);
        Ok(())
    }

    /// How many forgotten segments hold records above `seq`.
    pub fn kept_above(&self, seq: Seq) -> u64 {
        self.inner.lock().doomed.iter().filter(|segment| segment.ends_above(seq)).count() as u64
    }

    /// Takes the oldest doomed segment that nobody reads any more and in which nothing is above `keep`.
    pub fn take_doomed(&self, keep: Seq) -> Option<u32> {
        let mut inner = self.inner.lock();
        let oldest_read = inner.readers.iter().flatten().min().copied().unwrap_or(u32::MAX);
        match inner.doomed.front() {
            Some(segment) if segment.header.index < oldest_read && !segment.ends_above(keep) => {
                inner.doomed.pop_front().map(|segment| segment.header.index)
            }
            _ => None,
        }
    }

    /// Registers a reader that needs everything above `after`; returns the segment in which that begins, with `pinned` also among the forgotten ones.
    pub fn enter(&self, after: Seq, pinned: bool) -> Result<(ReaderId, Segment)> {
        let mut inner = self.inner.lock();
        let forgotten = if pinned { 0 } else { inner.doomed.len() };
        let found = inner.known().skip(forgotten).find(|segment| segment.ends_above(after));
        let Some(segment) = found.or(inner.segments.back()).copied() else {
            return Err(Error::new(Code::NotFound, "the log has no segment"));
        };
        if pinned && segment.before.seq > after {
            return Err(gap::unpinned(after + 1, segment.before.seq));
        }
        let slot = match inner.readers.iter().position(Option::is_none) {
            Some(slot) => slot,
            None => {
                inner.readers.try_reserve(1).map_err(|_| Error::new(Code::NoMemory, "no memory for another cursor"))?;
                inner.readers.push(None);
                inner.readers.len() - 1
            }
        };
        inner.readers[slot] = Some(segment.header.index);
        Ok((ReaderId(slot), segment))
    }

    /// The oldest segment that is not forgotten.
    pub fn first(&self) -> Option<Segment> {
        self.inner.lock().segments.front().copied()
    }

    /// For a log that another process writes: `segments` come behind the one that `joint` names, with its end, in the place of those that were known there; or
    /// in the place of all.
    pub fn splice(&self, joint: Option<(u32, (u64, Tail))>, segments: &[Segment]) -> Result<()> {
        let mut inner = self.inner.lock();
        inner.reserve(segments.len())?;
        let Inner { segments: known, doomed, .. } = &mut *inner;
        let joint = joint.unwrap_or((0, (0, Tail::default())));
        known.retain(|segment| segment.header.index <= joint.0);
        doomed.retain(|segment| segment.header.index <= joint.0);
        if let Some(last) = known.back_mut().or(doomed.back_mut()) {
            last.end = Some(joint.1);
        }
        known.extend(segments);
        Ok(())
    }

    /// Registers a reader anew, whose segment is not known any more: the one that holds what comes behind `after`.
    pub fn enter_again(&self, reader: &ReaderId, after: Seq) -> Option<Segment> {
        let mut inner = self.inner.lock();
        let segment = inner.known().find(|segment| segment.ends_above(after)).copied()?;
        inner.readers[reader.0] = Some(segment.header.index);
        Some(segment)
    }

    /// The reader is done with everything before the successor of `index`, which is returned; `None` if there is no successor.
    pub fn advance(&self, reader: &ReaderId, index: u32) -> Option<Segment> {
        let mut inner = self.inner.lock();
        let next = inner.known_from(index.checked_add(1)?)?;
        inner.readers[reader.0] = Some(next.header.index);
        Some(next)
    }

    /// What is known now about a segment.
    pub fn segment(&self, index: u32) -> Option<Segment> {
        self.inner.lock().known_from(index).filter(|segment| segment.header.index == index)
    }

    /// The reader is gone.
    pub fn leave(&self, reader: &ReaderId) {
        self.inner.lock().readers[reader.0] = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::segment_header::SegmentHeader;

    fn segment(index: u32) -> Segment {
        let tail = |seq| Tail { seq, data_seq: seq };
        let header = SegmentHeader::new([1; 16], 0, index, 4096, false);
        Segment {
            header,
            first_seq: u64::from(index) * 10,
            before: tail(u64::from(index) * 10 - 1),
            end: Some((64, tail(u64::from(index) * 10 + 9))),
        }
    }

    /// Indexes have gaps: those of segments that were never used.
    #[test]
    fn the_next_segment_is_found_among_forgotten_and_kept_ones() {
        let segments: Vec<Segment> = [3, 4, 7, 9, 20].map(segment).into();
        let Ok(chain) = Chain::new(&segments, 0, 0, 300, 300) else { panic!("there is memory") };
        // Segments 3 and 4 wait to be dropped, for a reader that is still in the first.
        let Ok((reader, first)) = chain.enter(0, false) else { panic!("there are segments") };
        chain.forget(49, 49, 7);
        let mut seen = vec![first.header.index];
        while let Some(next) = chain.advance(&reader, seen[seen.len() - 1]) {
            seen.push(next.header.index);
        }
        assert_eq!(seen, [3, 4, 7, 9, 20]);
        for index in 0..30 {
            let expected = seen.contains(&index).then_some(index);
            assert_eq!(chain.segment(index).map(|segment| segment.header.index), expected);
        }
        assert!(chain.advance(&reader, u32::MAX).is_none());
    }
}
