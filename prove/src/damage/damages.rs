//! What is done to a log, one damage at a time.

use std::fmt;

use wal_engine::names::FileName;
use wal_sim::Image;

use super::layout::SLOT;
use super::left::Left;

/// An index that no segment of these logs has.
pub(super) const NEW_INDEX: u32 = 90;

/// What is done to a piece of the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Zeros,
    Garbage,
    /// As it was at an earlier moment.
    Older(usize),
    /// What stands in another piece of the same length.
    Copy(usize),
    /// That, and the other way round.
    Swap(usize),
}

/// One damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    Flip {
        name: FileName,
        bit: usize,
    },
    /// Two bits, perhaps of two files.
    Pair {
        first: (FileName, usize),
        second: (FileName, usize),
    },
    Cut {
        name: FileName,
        len: usize,
    },
    /// Bytes behind the end, zeros or not.
    Extend {
        name: FileName,
        by: usize,
        with: u8,
    },
    Delete {
        name: FileName,
    },
    Double {
        name: FileName,
        over: FileName,
    },
    Swap {
        name: FileName,
        with: FileName,
    },
    /// As it was at an earlier moment.
    Older {
        name: FileName,
        moment: usize,
    },
    /// A part of the manifest, one slot or one copy long.
    Manifest {
        from: usize,
        len: usize,
        piece: Piece,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Damage::Flip { name, bit } => write!(f, "bit {} of byte {} of {name} flipped", bit % 8, bit / 8),
            Damage::Pair { first, second } => write!(f, "bits {} of {} and {} of {} flipped", first.1, first.0, second.1, second.0),
            Damage::Cut { name, len } => write!(f, "{name} cut at {len}"),
            Damage::Extend { name, by, with } => write!(f, "{by} bytes of {with:#x} behind {name}"),
            Damage::Delete { name } => write!(f, "{name} deleted"),
            Damage::Double { name, over } => write!(f, "{name} doubled over {over}"),
            Damage::Swap { name, with } => write!(f, "{name} and {with} swapped"),
            Damage::Older { name, moment } => write!(f, "{name} as it was at moment {moment}"),
            Damage::Manifest { from, len, piece } => write!(f, "{len} bytes at {from} of the manifest: {piece:?}"),
        }
    }
}

impl Damage {
    /// The damaged image; `None` if it is the same as before.
    pub(super) fn apply(&self, left: &Left) -> Option<Image> {
        let mut image = left.image.clone();
        let mut change = |name: FileName, change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = image.read(name).unwrap_or_default().to_vec();
            change(&mut bytes);
            image.write(name, bytes);
        };
        match *self {
            Damage::Flip { name, bit } => change(name, &|bytes| bytes[bit / 8] ^= 1 << (bit % 8)),
            Damage::Pair { first, second } => {
                for (name, bit) in [first, second] {
                    change(name, &|bytes| bytes[bit / 8] ^= 1 << (bit % 8));
                }
            }
            Damage::Cut { name, len } => change(name, &|bytes| bytes.truncate(len)),
            Damage::Extend { name, by, with } => change(name, &|bytes| bytes.resize(bytes.len() + by, with)),
            Damage::Delete { name } => {
                image.remove(name);
            }
            Damage::Double { name, over } => image.write(over, left.image.read(name)?.to_vec()),
            Damage::Swap { name, with } => {
                image.write(with, left.image.read(name)?.to_vec());
                image.write(name, left.image.read(with)?.to_vec());
            }
            Damage::Older { name, moment } => match left.older[moment].read(name) {
                Some(older) => image.write(name, older.to_vec()),
                None => {
                    image.remove(name);
                }
            },
            Damage::Manifest { from, len, piece } => {
                let older = |moment: usize| left.older[moment].read(FileName::Manifest).unwrap();
                change(FileName::Manifest, &|bytes| match piece {
                    Piece::Zeros => bytes[from..from + len].fill(0),
                    Piece::Garbage => bytes[from..from + len].fill(0x5a),
                    Piece::Older(moment) => bytes[from..from + len].copy_from_slice(&older(moment)[from..from + len]),
                    Piece::Copy(other) => bytes.copy_within(other..other + len, from),
                    Piece::Swap(other) => {
                        let here = bytes[from..from + len].to_vec();
                        bytes.copy_within(other..other + len, from);
                        bytes[other..other + len].copy_from_slice(&here);
                    }
                });
            }
        }
        (image != left.image).then_some(image)
    }

    /// The file and the byte that are damaged, where it is one place.
    pub(super) fn spot(&self) -> Option<(FileName, usize)> {
        match *self {
            Damage::Flip { name, bit } => Some((name, bit / 8)),
            Damage::Cut { name, len } => Some((name, len)),
            Damage::Delete { name } => Some((name, 0)),
            _ => None,
        }
    }

    /// The files that are not what they were.
    pub(super) fn files(&self) -> [Option<FileName>; 2] {
        match *self {
            Damage::Flip { name, .. }
            | Damage::Cut { name, .. }
            | Damage::Extend { name, .. }
            | Damage::Delete { name }
            | Damage::Older { name, .. } => [Some(name), None],
            Damage::Pair { first, second } => [Some(first.0), Some(second.0)],
            Damage::Double { over, .. } => [Some(over), None],
            Damage::Swap { name, with } => [Some(name), Some(with)],
            Damage::Manifest { .. } => [Some(FileName::Manifest), None],
        }
    }
}

/// Every `every`th bit of the files in `names`, another one in each byte.
pub(super) fn flips(left: &Left, names: &[FileName], every: usize) -> Vec<Damage> {
    let bits_of = |name: FileName| {
        let bytes = left.image.read(name).unwrap_or_default().len();
        (0..bytes * 8).filter(move |bit| every == 1 || bit % every == bit / every % every).map(move |bit| Damage::Flip { name, bit })
    };
    names.iter().copied().flat_map(bits_of).collect()
}

/// Every `every`th byte of every file a cut, and every file made longer.
pub(super) fn cuts(left: &Left, every: usize) -> Vec<Damage> {
    let mut damages = Vec::new();
    for name in left.names() {
        let len = left.image.read(name).unwrap_or_default().len();
        damages.extend((0..len).step_by(every).map(|len| Damage::Cut { name, len }));
        for by in [1, 7, 8, 24, 64, 4096, 70_000] {
            damages.extend([0, 0x5a].map(|with| Damage::Extend { name, by, with }));
        }
    }
    damages
}

/// Every file deleted, doubled over every other and under a new name, swapped with every other, and as it was at every earlier moment.
pub(super) fn whole_files(left: &Left) -> Vec<Damage> {
    let names = left.names();
    let mut damages = Vec::new();
    for (place, &name) in names.iter().enumerate() {
        damages.push(Damage::Delete { name });
        damages.extend(names.iter().filter(|&&over| over != name).map(|&over| Damage::Double { name, over }));
        damages.extend(names[place + 1..].iter().map(|&with| Damage::Swap { name, with }));
        let new_names = [FileName::Segment(NEW_INDEX), FileName::Spare(NEW_INDEX), FileName::Damaged(NEW_INDEX)];
        damages.extend(new_names.map(|over| Damage::Double { name, over }));
        damages.extend((0..left.older.len()).map(|moment| Damage::Older { name, moment }));
    }
    damages
}

/// Every slot and every copy of the manifest zeroed, made garbage, as it was earlier, put in another's place, swapped with another.
pub(super) fn manifest_pieces(left: &Left) -> Vec<Damage> {
    let mut damages = Vec::new();
    for len in [SLOT, SLOT / 2] {
        let places: Vec<usize> = (0..2 * SLOT).step_by(len).collect();
        for &from in &places {
            let mut add = |piece| damages.push(Damage::Manifest { from, len, piece });
            add(Piece::Zeros);
            add(Piece::Garbage);
            (0..left.older.len()).for_each(|moment| add(Piece::Older(moment)));
            for &other in places.iter().filter(|&&other| other != from) {
                add(Piece::Copy(other));
                add(Piece::Swap(other));
            }
        }
    }
    damages
}

/// Pairs of flips, half of them in the last segment, all of them where frames stand.
pub(super) fn pairs(left: &Left, count: u64, seed: u64) -> Vec<Damage> {
    let mut dice = Dice::new(seed);
    let mut damages = Vec::new();
    for number in 0..count {
        let mut one = || {
            let place = if number % 2 == 0 { left.chain.len() - 1 } else { dice.below(left.chain.len() + 1) };
            match left.chain.get(place) {
                Some(segment) => (FileName::Segment(segment.index), dice.below(segment.end() * 8)),
                None => (FileName::Manifest, dice.below(2 * SLOT * 8)),
            }
        };
        damages.push(Damage::Pair { first: one(), second: one() });
    }
    damages
}

/// Numbers that follow from a seed.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((u128::from(self.0) * end as u128) >> 64) as usize
    }
}
