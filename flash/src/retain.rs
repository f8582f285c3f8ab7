//! Checkpoint and truncate: the host's store holds this much, so this much may be forgotten.

use wal_engine::error::Code;
use wal_engine::format::control::Checkpoint;
use wal_engine::format::flash::State;
use wal_engine::protocol::checkpoint;
use wal_engine::protocol::truncate::{self, Known};
use wal_engine::segment::scan::Walk;
use wal_engine::seq::Seq;

use crate::chip::Chip;
use crate::fail::{Fail, Result};
use crate::log::Log;

impl<C: Chip> Log<'_, C> {
    fn refuse_pieces(&self) -> Result<()> {
        if self.pieces { Err(Fail::new(Code::Misuse)) } else { Ok(()) }
    }

    /// The host's store durably holds every record up to `covered`. Returns up to where truncation is safe.
    pub fn checkpoint(&mut self, covered: Seq) -> Result<Seq> {
        self.refuse_pieces()?;
        let before = self.tail();
        let covered = checkpoint::covered(covered, before.seq)?;
        self.sync()?;
        let own_seq = before.seq + 1;
        let n = checkpoint::licence(covered, before, own_seq);
        let made = Checkpoint { n, covered };
        if self.append_checkpoint(&made.encode())? {
            self.sync()?;
            self.adopt(made);
            self.licence = self.licence.max(n);
            return Ok(n);
        }
        // No room for a further record: a STATE has room always.
        let kept = self.state;
        self.adopt(Checkpoint { n: covered, covered });
        self.put_or_restore(kept)?;
        self.licence = self.licence.max(covered);
        Ok(covered)
    }

    /// Forgets every record up to `up_to`.
    pub fn truncate(&mut self, up_to: Seq, unchecked: bool) -> Result<()> {
        self.refuse_pieces()?;
        let known = Known { floor: self.state.floor, last: self.tail().seq, licence: self.licence };
        if !truncate::check(up_to, known, unchecked)? {
            return Ok(());
        }
        self.sync()?;
        let forgotten_data = self.data_up_to(up_to)?;
        self.forget(up_to, forgotten_data)
    }

    fn forget(&mut self, floor: Seq, forgotten_data: Seq) -> Result<()> {
        let kept = self.state;
        self.state.floor = floor;
        self.state.forgotten_data = forgotten_data;
        self.put_or_restore(kept)?;
        self.generation = self.generation.wrapping_add(1);
        self.chain()
    }

    fn put_or_restore(&mut self, kept: State) -> Result<()> {
        let put = self.put_state();
        if put.is_err() {
            self.state = kept;
        }
        put
    }

    /// Forgets the oldest segment, whether or not the host's store holds it.
    #[inline(never)]
    pub(crate) fn forget_oldest(&mut self) -> Result<()> {
        let oldest = self.oldest;
        let next = self.slots.iter().copied().filter(|&index| index > oldest && index < crate::log::BAD).min();
        let slot = next.and_then(|next| self.find(next)).ok_or(Fail::new(Code::NoSpace))?;
        let lost = Fail::damage(self.desk.place(slot, 0), 0);
        let (header, _) = self.desk.headers(slot)?.ok_or(lost)?;
        let (open, _) = self.desk.open(slot, &header)?.ok_or(lost)?;
        self.forget(open.before.seq, open.before.data_seq)
    }

    /// The last data record up to `up_to`.
    #[inline(never)]
    fn data_up_to(&mut self, up_to: Seq) -> Result<Seq> {
        let tail = self.tail();
        if up_to >= tail.data_seq {
            return Ok(tail.data_seq);
        }
        let place = self.segment_of(up_to)?;
        let mut at = place.open.tail_at_start();
        let mut walk = Walk::new(place.header);
        let mut data = at.data_seq;
        while at.seq < up_to && walk.offset() < u64::from(place.end) {
            let Ok(frame) = self.desk.step(place.slot, &mut walk)? else {
                return Err(Fail::damage(self.desk.place(place.slot, walk.offset() as u32), at.seq + 1));
            };
            at = frame.tail_behind(at);
            data = at.data_seq.min(up_to).max(data);
        }
        Ok(data)
    }
}
