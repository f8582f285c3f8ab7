//! Checkpoint and truncation: what the host has declared and what may be forgotten.

use crate::chain::Segment;
use crate::error::Result;
use crate::format::control::Checkpoint;
use crate::format::manifest_slot::{Bound, Manifest};
use crate::manifest::InstallError;
use crate::names::FileName;
use crate::parts::Parts;
use crate::protocol::truncate::{self, Known};
use crate::segment::buffer::read_buffer;
use crate::segment::scan::{Walk, Window};
use crate::seq::{Seq, Tail};
use crate::storage::{Access, Storage};
use crate::sync::{AtomicU64, Mutex, Ordering};

/// See the module's head.
pub struct Retention<S: Storage> {
    parts: Parts<S>,
    /// The highest seq that the host has declared durable in its store.
    licence: AtomicU64,
    /// One checkpoint or truncation at a time. Appends never wait for it.
    turn: Mutex<()>,
}

/// What to forget, decided under the turn.
#[derive(Clone, Copy, Debug)]
pub struct Forget {
    /// Records up to here.
    pub up_to: Seq,
    /// The last data record among them.
    pub data_seq: Seq,
}

impl Forget {
    /// The manifest's content with these records forgotten.
    pub fn apply(&self, manifest: &mut Manifest, oldest_segment: u32) {
        manifest.floor = manifest.floor.max(self.up_to);
        manifest.forgotten_data = manifest.forgotten_data.max(self.data_seq);
        manifest.oldest_segment = manifest.oldest_segment.max(oldest_segment);
    }
}

impl<S: Storage> Retention<S> {
    /// `licence` is what the opening knows: the store's own seq, or the manifest's checkpoint.
    pub fn new(parts: Parts<S>, licence: Seq) -> Retention<S> {
        Retention { parts, licence: AtomicU64::new(licence), turn: Mutex::new(()) }
    }

    /// Remembers a checkpoint in the manifest; only then does it license anything. Returns the highest one so far.
    pub fn install_checkpoint(&self, checkpoint: Checkpoint, bound: Bound) -> core::result::Result<Checkpoint, InstallError> {
        let _turn = self.turn.lock();
        let installed = self.parts.manifest.install(|manifest| {
            if checkpoint.n > manifest.checkpoint.n {
                manifest.checkpoint = checkpoint;
            }
            advance_bound(manifest, bound);
        })?;
        self.licence.fetch_max(checkpoint.n, Ordering::AcqRel);
        Ok(installed.checkpoint)
    }

    /// Makes it known in the manifest that everything up to `bound` is durable, unless it is.
    pub fn publish(&self, bound: Bound) -> core::result::Result<(), InstallError> {
        let _turn = self.turn.lock();
        let known = self.parts.manifest.current().bound;
        if (bound.segment, bound.offset) > (known.segment, known.offset) {
            self.parts.manifest.install(|manifest| advance_bound(manifest, bound))?;
        }
        Ok(())
    }

    /// Whether records up to `up_to` may be forgotten; false if they are already.
    pub fn check(&self, up_to: Seq, last: Seq, unchecked: bool) -> Result<bool> {
        let known = Known { floor: self.parts.chain.forgotten().0, last, licence: self.licence.load(Ordering::Acquire) };
        truncate::check(up_to, known, unchecked)
    }

    /// Forgets records, all of which are durable: durably in the manifest, at once for every new cursor. `swap` replaces the active segment if
    /// all of its records are to be forgotten and it is worth it; it says whether it did.
    pub fn forget(
        &self,
        forget: Forget,
        bound: Bound,
        swap: impl FnOnce(&Forget) -> core::result::Result<Option<u32>, InstallError>,
    ) -> core::result::Result<(), InstallError> {
        let _turn = self.turn.lock();
        if forget.up_to <= self.parts.chain.forgotten().0 {
            return Ok(());
        }
        #[cfg(wal_plants)]
        if crate::plants::Mistake::FloorInMemory.is_planted() {
            self.parts.chain.forget(forget.up_to, forget.data_seq, self.parts.chain.oldest_needed(forget.up_to));
            return Ok(());
        }
        let oldest = match swap(&forget)? {
            Some(oldest) => oldest,
            None => {
                // The bound's segment stays, even with everything in it forgotten: after a rotation its successor's OPEN may not be durable yet.
                let bound_segment = bound.segment.max(self.parts.manifest.current().bound.segment);
                let oldest = self.parts.chain.oldest_needed(forget.up_to).min(bound_segment);
                let edit = |manifest: &mut Manifest| {
                    forget.apply(manifest, oldest);
                    advance_bound(manifest, bound);
                };
                if oldest > self.parts.manifest.current().oldest_segment {
                    // The older slot names segments that are about to go.
                    self.parts.manifest.install_twice(edit)?;
                } else {
                    self.parts.manifest.install(edit)?;
                }
                oldest
            }
        };
        self.parts.chain.forget(forget.up_to, forget.data_seq, oldest);
        Ok(())
    }

    /// The last data seq at or below `up_to`, read from the segment that holds it.
    pub fn read_data_seq(&self, up_to: Seq) -> Result<Seq> {
        let Some(segment) = self.parts.chain.holding(up_to) else {
            return Ok(up_to);
        };
        self.walk_to(&segment, up_to)
    }

    fn walk_to(&self, segment: &Segment, up_to: Seq) -> Result<Seq> {
        let name = FileName::Segment(segment.header.index);
        let cannot_read = |io: crate::storage::IoError| io.in_file(name, "cannot read the segment");
        let file = self.parts.storage.open(name, Access::Read).map_err(cannot_read)?;
        let mut buffer = read_buffer(segment.header.capacity)?;
        let mut window = Window::new(&file, &mut buffer);
        let mut walk = Walk::new(segment.header);
        let mut tail = Tail { seq: segment.first_seq - 1, data_seq: segment.data_before() };
        while tail.seq < up_to {
            let Ok(frame) = walk.next(&mut window).map_err(cannot_read)? else {
                // Damaged or not written yet: what cannot be read may have been data.
                return Ok(up_to);
            };
            tail = frame.tail_behind(tail);
        }
        Ok(tail.data_seq.min(up_to))
    }
}

/// A later bound replaces an earlier one; two calls may come in either order.
fn advance_bound(manifest: &mut Manifest, bound: Bound) {
    #[cfg(wal_plants)]
    if crate::plants::Mistake::StaleBound.is_planted() {
        manifest.bound = bound;
    }
    if (bound.segment, bound.offset) > (manifest.bound.segment, manifest.bound.offset) {
        manifest.bound = bound;
    }
}
