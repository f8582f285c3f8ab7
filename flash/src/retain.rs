//! Checkpoint and truncate: the host's store holds this much, so this much may be forgotten.

use wal_engine::error::Code;
use wal_engine::format::control::Checkpoint;
use wal_engine::format::flash::State;
use wal_engine::protocol::checkpoint;
use wal_engine::protocol::truncate::{self, Known};
use wal_engine::seq::Seq;

use crate::chip::Chip;
use crate::fail::{Miss, Result};
use crate::log::Log;

impl<C: Chip> Log<'_, C> {
    /// The host's store durably holds every record up to `covered`. `n` receives up to where truncation is safe.
    pub fn checkpoint(&mut self, covered: Seq, n: &mut Seq) -> Result<()> {
        self.refuse_between_pieces()?;
        let before = self.tail();
        let covered = checkpoint::covered(covered, before.seq).map_err(|error| self.refuse(error))?;
        self.sync()?;
        let mut made = Checkpoint { n: checkpoint::licence(covered, before, before.seq + 1), covered };
        if self.append_checkpoint(&made.encode())? {
            self.sync()?;
            self.adopt(made);
        } else {
            // No room for a further record: a STATE has room always.
            made.n = covered;
            let kept = self.state;
            self.adopt(made);
            self.put_or_restore(&kept)?;
        }
        self.licence = self.licence.max(made.n);
        *n = made.n;
        Ok(())
    }

    /// Forgets every record up to `up_to`.
    pub fn truncate(&mut self, up_to: Seq, unchecked: bool) -> Result<()> {
        self.refuse_between_pieces()?;
        let known = Known { floor: self.state.floor, last: self.tail().seq, licence: self.licence };
        if !truncate::check(up_to, known, unchecked).map_err(|error| self.refuse(error))? {
            return Ok(());
        }
        self.sync()?;
        let forgotten_data = self.data_up_to(up_to)?;
        self.forget(up_to, forgotten_data)
    }

    #[inline(never)]
    fn forget(&mut self, floor: Seq, forgotten_data: Seq) -> Result<()> {
        let kept = self.state;
        self.state.floor = floor;
        self.state.forgotten_data = forgotten_data;
        self.put_or_restore(&kept)?;
        self.generation = self.generation.wrapping_add(1);
        self.chain()
    }

    #[inline(never)]
    fn put_or_restore(&mut self, kept: &State) -> Result<()> {
        let put = self.put_state();
        if put.is_err() {
            self.state = *kept;
        }
        put
    }

    /// Forgets the oldest segment, whether or not the host's store holds it.
    pub(crate) fn forget_oldest(&mut self) -> Result<()> {
        match self.after(self.oldest) {
            Ok(_) => {}
            Err(Miss::None) => return Err(Code::NoSpace),
            Err(Miss::Fail(code)) => return Err(code),
        }
        let before = self.desk.trail.before;
        self.forget(before.seq, before.data_seq)
    }

    /// The last data record up to `up_to`.
    fn data_up_to(&mut self, up_to: Seq) -> Result<Seq> {
        let tail = self.tail();
        if up_to >= tail.data_seq {
            return Ok(tail.data_seq);
        }
        let end = self.locate(up_to)?;
        self.desk.last_point(end, up_to)?;
        let tail = self.desk.trail.point.tail;
        // Inside a batch everything is data.
        Ok(if tail.seq == up_to { tail.data_seq } else { up_to })
    }
}
