//! Damage to logs of five segments and more, closed cleanly or killed: bits flipped, files cut, lengthened, deleted, doubled, swapped, replaced by
//! older copies of themselves, and the pieces of the manifest likewise.
//!
//! A strict opening, and the replay behind it, must give an error that names the place, or everything. A prefix opening must give an exact prefix
//! and say so. After a kill only what nothing vouches for may be missing, and must be reported. A silent wrong answer is what this is to catch: one
//! flipped bit once cost another log half of its records without a word.

mod damages;
mod judge;
mod layout;
mod left;
mod many;

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use wal_engine::names::FileName;

pub use left::Made;

use damages::Damage;
use judge::{Outcome, judge};
use left::Left;

/// Where one log of the suite is like another, one of so many bits and bytes is enough.
const ELSEWHERE: usize = 8;

/// How much is damaged.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// One of so many bits is flipped, another one in each byte; 1 is every bit.
    pub flip_one_of: usize,
    /// One of so many bytes is a cut; 1 is every byte.
    pub cut_one_of: usize,
    /// Pairs of flips for each log.
    pub pairs: u64,
    /// Where the pairs are follows from it.
    pub seed: u64,
    /// Threads.
    pub threads: usize,
}

impl Extent {
    /// Every bit and every byte.
    pub const WHOLE: Extent = Extent { flip_one_of: 1, cut_one_of: 1, pairs: 10_000, seed: 1, threads: 2 };
}

/// What was tried, and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub flips: u64,
    pub pairs: u64,
    pub cuts: u64,
    pub files: u64,
    pub manifest_pieces: u64,
    /// Damages of several at once, each found by an inspection.
    pub found: u64,
    /// The damage made no difference.
    pub whole: u64,
    /// An error named the place.
    pub told: u64,
    /// After a kill: dropped as a torn write, and reported.
    pub dropped: u64,
    /// After a kill: dropped, with nothing left to report.
    pub unseen: u64,
    /// Bits of what nothing vouches for after a kill.
    pub tail: Tail,
}

/// What became of the flipped bits of frames that nothing vouches for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    pub told: u64,
    pub dropped: u64,
    pub unseen: u64,
    pub whole: u64,
}

impl Counts {
    /// All damages.
    pub fn damages(&self) -> u64 {
        self.flips + self.pairs + self.cuts + self.files + self.manifest_pieces
    }

    /// Name, number and unit of each row of the table.
    pub fn rows(&self) -> [(&'static str, u64, &'static str); 8] {
        let tail = &self.tail;
        [
            ("damage-flips", self.flips, "bits flipped"),
            ("damage-pairs", self.pairs, "pairs of bits flipped"),
            ("damage-cuts", self.cuts, "files cut or lengthened"),
            ("damage-files", self.files, "files deleted, doubled, swapped or replaced by older copies"),
            ("damage-manifests", self.manifest_pieces, "slots and copies of manifests replaced"),
            ("damage-inspected", self.found, "of several damages at once, each found by an inspection"),
            ("damage-last-group", tail.told + tail.dropped + tail.unseen + tail.whole, "bits of a last synced group flipped after a kill"),
            ("damage-last-group-told", tail.told, "of them told from a torn write"),
        ]
    }

    fn count(&mut self, left: &Left, damage: &Damage, outcome: Outcome) {
        match damage {
            Damage::Flip { .. } => self.flips += 1,
            Damage::Pair { .. } => self.pairs += 1,
            Damage::Cut { .. } | Damage::Extend { .. } => self.cuts += 1,
            Damage::Manifest { .. } => self.manifest_pieces += 1,
            Damage::Delete { .. } | Damage::Double { .. } | Damage::Swap { .. } | Damage::Older { .. } => self.files += 1,
        }
        let mut tail = Tail::default();
        let (all, in_tail) = match outcome {
            Outcome::Whole => (&mut self.whole, &mut tail.whole),
            Outcome::Told => (&mut self.told, &mut tail.told),
            Outcome::Dropped => (&mut self.dropped, &mut tail.dropped),
            Outcome::Unseen => (&mut self.unseen, &mut tail.unseen),
        };
        *all += 1;
        *in_tail += 1;
        if let Damage::Flip { name, bit } = *damage
            && left.is_unvouched(name, bit / 8)
        {
            self.tail.add(&tail);
        }
    }

    /// Adds up.
    pub fn add(&mut self, other: &Counts) {
        self.flips += other.flips;
        self.pairs += other.pairs;
        self.cuts += other.cuts;
        self.files += other.files;
        self.manifest_pieces += other.manifest_pieces;
        self.found += other.found;
        self.whole += other.whole;
        self.told += other.told;
        self.dropped += other.dropped;
        self.unseen += other.unseen;
        self.tail.add(&other.tail);
    }
}

impl Tail {
    fn add(&mut self, other: &Tail) {
        self.told += other.told;
        self.dropped += other.dropped;
        self.unseen += other.unseen;
        self.whole += other.whole;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} flips, {} pairs, {} cuts and extensions, {} files, {} pieces of manifests: {} told, {} without effect, {} dropped and reported, {} \
             dropped with nothing left to report; silent wrong answers: 0. Bits of what nothing vouches for: {} told, {} reported, {} unseen, {} \
             without effect. {} of several at once found by inspection",
            self.flips,
            self.pairs,
            self.cuts,
            self.files,
            self.manifest_pieces,
            self.told,
            self.whole,
            self.dropped,
            self.unseen,
            self.tail.told,
            self.tail.dropped,
            self.tail.unseen,
            self.tail.whole,
            self.found,
        )
    }
}

/// Damages every log of the suite. The two whose appends are synced one by one get every flip of `extent` in every file; the others, which differ
/// in their ends, get them in their last segment, and one bit of each byte elsewhere.
pub fn run(extent: &Extent) -> Counts {
    let mut counts = Counts::default();
    for made in [Made::Always, Made::Recycled, Made::System, Made::Fragments] {
        for clean in [true, false] {
            let of_log = run_one(made, clean, extent);
            println!("damage: {made:?}, {}: {of_log}", if clean { "closed" } else { "killed" });
            counts.add(&of_log);
        }
    }
    counts
}

/// Damages one log of the suite.
pub fn run_one(made: Made, clean: bool, extent: &Extent) -> Counts {
    let left = Left::new(made, clean);
    let last = FileName::Segment(left.last_segment().index);
    let mut damages = if made == Made::Always {
        damages::flips(&left, &left.names(), extent.flip_one_of)
    } else {
        let others: Vec<FileName> = left.names().into_iter().filter(|&name| name != last).collect();
        let mut flips = damages::flips(&left, &[last], extent.flip_one_of);
        flips.extend(damages::flips(&left, &others, extent.flip_one_of.max(ELSEWHERE)));
        flips
    };
    let cut_one_of = if made == Made::Always { extent.cut_one_of } else { extent.cut_one_of.max(ELSEWHERE) };
    damages.extend(damages::cuts(&left, cut_one_of));
    damages.extend(damages::whole_files(&left));
    damages.extend(damages::manifest_pieces(&left));
    damages.extend(damages::pairs(&left, extent.pairs, extent.seed));
    let mut counts = judge_all(&left, &damages, extent);
    counts.found = many::find_each(&left, extent.pairs, extent.seed).unwrap_or_else(|said| panic!("{made:?}, {clean}: {said}"));
    counts
}

fn judge_all(left: &Left, damages: &[Damage], extent: &Extent) -> Counts {
    const AT_ONCE: usize = 64;
    const SHOWN: usize = 8;
    let next = AtomicUsize::new(0);
    let total = Mutex::new((Counts::default(), Vec::new()));
    let work = || {
        let mut counts = Counts::default();
        let mut wrong = Vec::new();
        loop {
            let from = next.fetch_add(AT_ONCE, Ordering::Relaxed);
            let Some(part) = damages.get(from..damages.len().min(from + AT_ONCE)).filter(|part| !part.is_empty()) else {
                break;
            };
            for damage in part {
                let Some(image) = damage.apply(left) else {
                    continue;
                };
                // One bit of each byte: what comes after a recovery depends on the frame that is hit and not on the bit.
                let goes_on = !matches!(damage, Damage::Flip { bit, .. } if bit % 8 != bit / 8 % 8);
                match judge(left, damage, &image, goes_on) {
                    Ok(outcome) => counts.count(left, damage, outcome),
                    Err(said) => wrong.push(format!("{damage}: {said}")),
                }
            }
        }
        let mut total = total.lock().unwrap();
        total.0.add(&counts);
        total.1.extend(wrong);
    };
    thread::scope(|scope| (0..extent.threads).for_each(|_| drop(scope.spawn(work))));
    let (counts, wrong) = total.into_inner().unwrap();
    let shown = wrong.iter().step_by(wrong.len().div_ceil(SHOWN).max(1)).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{:?}, {}: {} wrong of {}:\n{shown}", left.made, left.clean, wrong.len(), damages.len());
    counts
}
