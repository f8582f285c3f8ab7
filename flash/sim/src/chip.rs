//! A flash chip in memory. It tears what a power cut interrupts, wears out, and complains about whatever a real one would not forgive.

use std::cell::RefCell;

use wal_flash::chip::{Chip, Fault, Geometry};

/// Bytes that share an error correction.
const WORD: usize = 8;

/// How an interrupted program or erasure ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    /// Nothing happened yet.
    Nothing,
    /// Everything did.
    Everything,
    /// The first half of the units did; the next one is torn bit by bit.
    Half,
    /// Each unit by itself: done, not done, or torn bit by bit.
    Mix(u32),
    /// As `Mix`, and torn units cannot be read.
    Unreadable(u32),
}

/// What was asked for and is not yet durable.
#[derive(Clone)]
enum Pending {
    Program(usize, Vec<u8>),
    Erase(u32),
}

/// The chip.
#[derive(Clone)]
pub struct Flash {
    pub geometry: Geometry,
    /// Whether programs and erasures wait for a sync.
    cached: bool,
    bytes: Vec<u8>,
    /// Units that were programmed, or may have been, since their block was erased.
    used: Vec<bool>,
    unreadable: Vec<bool>,
    pub erasures: Vec<u32>,
    /// Blocks that refuse to be erased, and those that refuse to be programmed.
    pub worn: Vec<(bool, bool)>,
    pending: Vec<Pending>,
    /// What a cached chip durably held when its cache was last empty.
    durable: Option<Image>,
    /// Programs, erasures and syncs so far.
    pub steps: u32,
    cut: Option<(u32, Tear)>,
    pub dead: bool,
    /// The driver's error for this step, without a power cut.
    pub fails: Option<u32>,
    /// What a real chip would not have forgiven.
    pub complaint: Option<String>,
}

/// The chip as the log gets it.
pub struct Pins<'a>(pub &'a RefCell<Flash>);

fn next(random: &mut u32) -> u32 {
    *random ^= *random << 13;
    *random ^= *random >> 17;
    *random ^= *random << 5;
    *random
}

impl Flash {
    pub fn new(geometry: Geometry, cached: bool) -> Flash {
        let len = (geometry.block_bytes * geometry.blocks) as usize;
        Flash {
            geometry,
            cached,
            bytes: vec![geometry.erased; len],
            used: vec![false; len / geometry.unit as usize],
            unreadable: vec![false; len / WORD],
            erasures: vec![0; geometry.blocks as usize],
            worn: vec![(false, false); geometry.blocks as usize],
            pending: Vec::new(),
            durable: None,
            steps: 0,
            cut: None,
            dead: false,
            fails: None,
            complaint: None,
        }
    }

    /// What stands on it, for those who read a dump.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The power fails at a step from now on.
    pub fn cut_at(&mut self, step: u32, tear: Tear) {
        self.cut = Some((step, tear));
    }

    /// The power is back.
    pub fn power_on(&mut self) {
        assert!(self.complaint.is_none(), "{}", self.complaint.as_deref().unwrap_or_default());
        self.cut = None;
        self.dead = false;
        self.fails = None;
        self.pending.clear();
        self.durable = None;
    }

    fn complain(&mut self, what: String) {
        self.complaint.get_or_insert(what);
    }

    /// Counts a step; whether the chip still works.
    fn step(&mut self) -> Result<Option<Tear>, Fault> {
        if self.dead {
            return Err(Fault::Driver(-99));
        }
        let step = self.steps;
        self.steps += 1;
        if self.fails == Some(step) {
            return Err(Fault::Driver(-5));
        }
        match self.cut {
            Some((at, tear)) if at == step => {
                self.dead = true;
                Ok(Some(tear))
            }
            _ => Ok(None),
        }
    }

    fn units(&self, offset: usize, len: usize) -> std::ops::Range<usize> {
        let unit = self.geometry.unit as usize;
        offset / unit..(offset + len).div_ceil(unit)
    }

    /// Where bits are that this program or erasure changes, each step of its way.
    fn apply(&mut self, what: &Pending, tear: Tear) {
        let unit = self.geometry.unit as usize;
        let (offset, new) = match what {
            Pending::Program(offset, bytes) => (*offset, bytes.clone()),
            Pending::Erase(block) => {
                let len = self.geometry.block_bytes as usize;
                (*block as usize * len, vec![self.geometry.erased; len])
            }
        };
        // Erasing goes on in larger pieces than units.
        let piece = if matches!(what, Pending::Program(..)) { unit } else { 512.min(new.len()) };
        let count = new.len() / piece;
        let mut random = match tear {
            Tear::Mix(seed) | Tear::Unreadable(seed) => seed.wrapping_mul(0x9E37_79B9) | 1,
            _ => 0x1234_5677,
        };
        for (i, bytes) in new.chunks(piece).enumerate() {
            let at = offset + i * piece;
            // 0 is not begun, 1 is torn, 2 is done.
            let state = match tear {
                Tear::Nothing => 0,
                Tear::Everything => 2,
                Tear::Half if i < count / 2 => 2,
                Tear::Half if i == count / 2 => 1,
                Tear::Half => 0,
                Tear::Mix(_) | Tear::Unreadable(_) => next(&mut random) % 3,
            };
            if state == 0 {
                continue;
            }
            for (j, &byte) in bytes.iter().enumerate() {
                let mask = if state == 2 { 0xFF } else { next(&mut random) as u8 };
                let old = self.bytes[at + j];
                self.bytes[at + j] = old & !mask | byte & mask;
            }
            let is_bad = state == 1 && matches!(tear, Tear::Unreadable(_));
            for word in at / WORD..(at + piece).div_ceil(WORD) {
                if is_bad {
                    self.unreadable[word] = true;
                } else if matches!(what, Pending::Erase(_)) {
                    self.unreadable[word] = false;
                }
            }
        }
        for index in self.units(offset, new.len()) {
            // An interrupted erasure leaves units that may not be programmed, whatever they look like.
            self.used[index] = !matches!((what, tear), (Pending::Erase(_), Tear::Everything));
        }
    }

    /// Everything that waits, as a power cut leaves it.
    fn lose_power(&mut self, tear: Tear) {
        let pending = std::mem::take(&mut self.pending);
        let mut random = match tear {
            Tear::Mix(seed) | Tear::Unreadable(seed) => seed.wrapping_mul(0x85EB_CA6B) | 1,
            _ => 1,
        };
        for (i, what) in pending.iter().enumerate() {
            let is_last = i + 1 == pending.len();
            let fate = match tear {
                Tear::Nothing | Tear::Everything => tear,
                Tear::Half if is_last => Tear::Half,
                Tear::Half => Tear::Everything,
                Tear::Mix(seed) | Tear::Unreadable(seed) => match next(&mut random) % 3 {
                    0 => Tear::Nothing,
                    1 => Tear::Everything,
                    _ if matches!(tear, Tear::Mix(_)) => Tear::Mix(seed + i as u32),
                    _ => Tear::Unreadable(seed + i as u32),
                },
            };
            self.apply(what, fate);
        }
    }

    fn submit(&mut self, what: Pending) -> Result<(), Fault> {
        let cut = self.step()?;
        if self.cached {
            // A cache shows what it holds.
            if cut.is_none() {
                self.shadow(&what);
            }
            self.pending.push(what);
            if let Some(tear) = cut {
                self.restore();
                self.lose_power(tear);
                return Err(Fault::Driver(-99));
            }
            return Ok(());
        }
        self.apply(&what, cut.unwrap_or(Tear::Everything));
        if cut.is_some() { Err(Fault::Driver(-99)) } else { Ok(()) }
    }

    /// Applies to what is seen, and remembers what was durable when the cache was last empty.
    fn shadow(&mut self, what: &Pending) {
        if self.pending.is_empty() {
            self.durable = Some((self.bytes.clone(), self.used.clone(), self.unreadable.clone()));
        }
        self.apply(what, Tear::Everything);
    }

    fn restore(&mut self) {
        if let Some(image) = self.durable.take() {
            (self.bytes, self.used, self.unreadable) = image;
        }
    }
}

/// Bytes, used units, unreadable words.
type Image = (Vec<u8>, Vec<bool>, Vec<bool>);

impl Chip for Pins<'_> {
    fn read(&self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        let mut flash = self.0.borrow_mut();
        if flash.dead {
            return Err(Fault::Driver(-99));
        }
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if end > flash.bytes.len() {
            flash.complain(format!("read beyond the chip: {start}..{end}"));
            return Err(Fault::Driver(-1));
        }
        bytes.copy_from_slice(&flash.bytes[start..end]);
        let bad = (start / WORD..end.div_ceil(WORD)).any(|word| flash.unreadable[word]);
        if bad {
            bytes.fill(0xA5);
            return Err(Fault::Unreadable);
        }
        Ok(())
    }

    fn program(&self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        let mut flash = self.0.borrow_mut();
        if flash.dead {
            return Err(Fault::Driver(-99));
        }
        let unit = flash.geometry.unit as usize;
        let (start, len) = (offset as usize, bytes.len());
        if len == 0 || !start.is_multiple_of(unit) || !len.is_multiple_of(unit) || start + len > flash.bytes.len() {
            flash.complain(format!("program of {len} bytes at {start}, unit {unit}"));
            return Err(Fault::Driver(-1));
        }
        let units = flash.units(start, len);
        let erased = flash.geometry.erased;
        if flash.used[units.clone()].iter().any(|&used| used) || flash.bytes[start..start + len].iter().any(|&byte| byte != erased) {
            flash.complain(format!("program of {len} bytes at {start}: not known to be erased"));
            return Err(Fault::Driver(-1));
        }
        let block = offset / flash.geometry.block_bytes;
        if flash.worn[block as usize].1 {
            flash.steps += 1;
            for index in units {
                flash.used[index] = true;
            }
            return Err(Fault::BadBlock);
        }
        flash.submit(Pending::Program(start, bytes.to_vec()))
    }

    fn erase(&self, block: u32) -> Result<(), Fault> {
        let mut flash = self.0.borrow_mut();
        if flash.dead {
            return Err(Fault::Driver(-99));
        }
        if block >= flash.geometry.blocks {
            flash.complain(format!("erasure of block {block}"));
            return Err(Fault::Driver(-1));
        }
        if flash.worn[block as usize].0 {
            flash.steps += 1;
            return Err(Fault::BadBlock);
        }
        flash.erasures[block as usize] += 1;
        flash.submit(Pending::Erase(block))
    }

    fn sync(&self) -> Result<(), Fault> {
        let mut flash = self.0.borrow_mut();
        if !flash.cached {
            return if flash.dead { Err(Fault::Driver(-99)) } else { Ok(()) };
        }
        if let Some(tear) = flash.step()? {
            flash.restore();
            flash.lose_power(tear);
            return Err(Fault::Driver(-99));
        }
        flash.pending.clear();
        flash.durable = None;
        Ok(())
    }
}
