//! The states that a crash may leave.
//!
//! For a point with n operations that are not durable (each write, and each operation on a name, is one) the images are, in this order:
//!
//! - for every subset of the operations if n is at most `Budget::exhaustive`, otherwise for none of them, all of them, and `Budget::samples` subsets that
//!   `Budget::seed` chooses (prefixes, all but one, and any): the image in which just these operations took place. Where writes of a subset overlap
//!   in a file, an image for each order of those writes (up to `MAX_ORDERS`; one file at a time);
//! - for every such subset, if unsynced writes extend a file: the image with each other size that this file may have, and those with the smallest and
//!   the largest size of every file at once;
//! - for every such subset up to `Budget::torn` images in which sectors of its writes are torn: at 512 and at 4096 bytes, the sectors that are missing with
//!   their old bytes, zeros or garbage. If few sectors are concerned every choice of missing ones is made, otherwise the last, the first, all, all but
//!   the last or the first, and any, then with mixed fillings and sizes in between. Garbage is random bytes, or new bytes up to some place and old
//!   ones behind it.
//!
//! No image comes twice from one point. Everything follows from the point and the budget.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use crate::image::{Content, Image, Stored};
use crate::model::Write;
use crate::random::{Random, combine};
use crate::trace::{Crashed, Point};

/// The most orders of overlapping writes that are tried for one subset: all of them for six writes.
const MAX_ORDERS: usize = 720;
/// Sector sizes and fillings that torn images take in turn.
const TEARS: [(u64, Fill); 6] =
    [(512, Fill::Garbage), (4096, Fill::Zeros), (512, Fill::Old), (4096, Fill::Garbage), (512, Fill::Zeros), (4096, Fill::Old)];

/// How many images to make of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Up to this many unsynced operations every subset is taken. More than 16 count as 16.
    pub exhaustive: usize,
    /// Subsets to sample where there are more, beside none and all.
    pub samples: usize,
    /// The most torn images for each subset.
    pub torn: usize,
    /// What the samples and the garbage follow from.
    pub seed: u64,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { exhaustive: 6, samples: 64, torn: 12, seed: 0 }
    }
}

/// What a torn sector holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fill {
    Old,
    Zeros,
    Garbage,
}

/// Which sectors are torn.
#[derive(Clone, Copy, Debug)]
enum Pattern {
    /// Those whose bit is set.
    Mask(u64),
    Last,
    First,
    All,
    AllButLast,
    AllButFirst,
    /// Any, each with a filling of its own.
    Any,
}

impl Point {
    /// The images that a crash at this point may leave.
    pub fn images(&self, budget: &Budget) -> Images<'_> {
        Images::new(self, *budget)
    }

    /// The image that nothing unsynced survives.
    pub fn none_survives(&self) -> Image {
        self.plain(|_| false)
    }

    /// The image that everything survives.
    pub fn all_survive(&self) -> Image {
        self.plain(|_| true)
    }

    fn plain(&self, survives: impl FnMut(usize) -> bool) -> Image {
        let mut images = Images::new(self, Budget { exhaustive: 0, samples: 0, torn: 0, seed: 0 });
        let subset = Subset::new(self, survives);
        let contents = images.contents(&subset);
        images.image(&subset, &contents, None)
    }
}

/// The operations that survive: for each file the numbers of its writes in their order, and the numbers of the operations on names.
struct Subset {
    writes: Vec<Vec<usize>>,
    names: Vec<usize>,
}

impl Subset {
    /// `survives` is asked for every operation, numbered through.
    fn new(point: &Point, mut survives: impl FnMut(usize) -> bool) -> Subset {
        let mut number = 0;
        let mut pick = |count: usize| {
            let picked = (0..count).filter(|at| survives(number + at)).collect();
            number += count;
            picked
        };
        let writes = point.files.iter().map(|file| pick(file.writes.len())).collect();
        Subset { writes, names: pick(point.name_ops.len()) }
    }
}

/// Iterator over the images of a point.
pub struct Images<'a> {
    point: &'a Point,
    budget: Budget,
    random: Random,
    /// Number of the next subset.
    next: usize,
    subsets: usize,
    every_subset: bool,
    ready: VecDeque<Image>,
    seen: HashSet<u64>,
    /// Contents that were made before: file, and a bit for each write that took place.
    made: HashMap<(usize, u64), Arc<Content>>,
}

impl<'a> Images<'a> {
    fn new(point: &'a Point, budget: Budget) -> Images<'a> {
        let unsynced = point.unsynced();
        let every_subset = unsynced <= budget.exhaustive.min(16);
        Images {
            point,
            budget,
            random: Random::new(combine(budget.seed, point.index() as u64)),
            next: 0,
            subsets: if every_subset { 1 << unsynced } else { budget.samples + 2 },
            every_subset,
            ready: VecDeque::new(),
            seen: HashSet::new(),
            made: HashMap::new(),
        }
    }

    fn subset(&mut self, number: usize) -> Subset {
        let point = self.point;
        if self.every_subset {
            return Subset::new(point, |op| number >> op & 1 == 1);
        }
        let random = &mut self.random;
        let count = point.unsynced();
        let chosen = random.below(count as u64 + 1) as usize;
        match number {
            0 => Subset::new(point, |_| false),
            1 => Subset::new(point, |_| true),
            _ => match number % 4 {
                0 => Subset::new(point, |op| op < chosen),
                1 => Subset::new(point, |op| op != chosen),
                2 => Subset::new(point, |_| random.chance(128)),
                _ => {
                    let part = if random.chance(128) { 32 } else { 224 };
                    Subset::new(point, |_| random.chance(part))
                }
            },
        }
    }

    /// Queues every image of this subset that is new.
    fn expand(&mut self, subset: &Subset) {
        let contents = self.contents(subset);
        self.offer(self.image(subset, &contents, None));
        self.expand_orders(subset, &contents);
        self.expand_sizes(subset, &contents);
        self.expand_torn(subset, &contents);
    }

    fn offer(&mut self, image: Image) {
        if self.seen.insert(image.hash()) {
            self.ready.push_back(image);
        }
    }

    /// Every file after the surviving writes, in their order.
    fn contents(&mut self, subset: &Subset) -> Vec<Arc<Content>> {
        subset.writes.iter().enumerate().map(|(file, writes)| self.content(file, writes)).collect()
    }

    /// `file` after these of its writes.
    fn content(&mut self, file: usize, writes: &[usize]) -> Arc<Content> {
        let crashed = &self.point.files[file];
        if writes.is_empty() {
            return Arc::clone(&crashed.durable);
        }
        let make = || Arc::new(written(crashed, writes));
        if self.every_subset {
            let key = writes.iter().fold(0, |bits, write| bits | 1u64 << write);
            Arc::clone(self.made.entry((file, key)).or_insert_with(make))
        } else {
            make()
        }
    }

    /// The names that survive, with these contents. Space that a torn file did not own before is a hole.
    fn image(&self, subset: &Subset, contents: &[Arc<Content>], torn: Option<&[bool]>) -> Image {
        let mut names = self.point.names.clone();
        subset.names.iter().for_each(|&op| self.point.name_ops[op].apply(&mut names));
        let mut image = Image::new();
        for (name, inode) in names {
            let Ok(file) = self.point.files.binary_search_by_key(&inode, |file| file.inode) else { continue };
            let crashed = &self.point.files[file];
            let mut allocated = crashed.allocated;
            if !torn.is_some_and(|torn| torn[file]) {
                allocated = subset.writes[file].iter().map(|&write| crashed.writes[write].range().end).fold(allocated, u64::max);
            }
            let content = Arc::clone(&contents[file]);
            image.put(name, Stored { allocated: allocated.min(content.len()), content });
        }
        image
    }

    fn expand_orders(&mut self, subset: &Subset, contents: &[Arc<Content>]) {
        for (file, writes) in subset.writes.iter().enumerate() {
            let groups = overlapping(&self.point.files[file].writes, writes);
            if groups.is_empty() {
                continue;
            }
            // Orders of different files are independent, and no more interesting together than apart; only the contents of this one change.
            for order in orders(&groups) {
                let mut changed = contents.to_vec();
                changed[file] = Arc::new(written(&self.point.files[file], &in_order(writes, &order)));
                self.offer(self.image(subset, &changed, None));
            }
        }
    }

    fn expand_sizes(&mut self, subset: &Subset, contents: &[Arc<Content>]) {
        let sizes: Vec<Vec<u64>> = self.point.files.iter().map(possible_sizes).collect();
        if sizes.iter().all(|sizes| sizes.len() < 2) {
            return;
        }
        let resized = |content: &Arc<Content>, size: u64| {
            if content.len() == size {
                return Arc::clone(content);
            }
            let mut bytes = content.bytes().to_vec();
            bytes.resize(size as usize, 0);
            Arc::new(Content::new(bytes))
        };
        for (file, sizes) in sizes.iter().enumerate() {
            for &size in sizes {
                let mut changed = contents.to_vec();
                changed[file] = resized(&contents[file], size);
                self.offer(self.image(subset, &changed, None));
            }
        }
        for pick in [|sizes: &Vec<u64>| sizes.first().copied(), |sizes: &Vec<u64>| sizes.last().copied()] {
            let changed: Vec<Arc<Content>> =
                contents.iter().zip(&sizes).map(|(content, sizes)| resized(content, pick(sizes).unwrap_or(content.len()))).collect();
            self.offer(self.image(subset, &changed, None));
        }
    }

    fn expand_torn(&mut self, subset: &Subset, contents: &[Arc<Content>]) {
        let touched = [512, 4096].map(|size| touched_sectors(self.point, subset, size));
        if touched[0].is_empty() {
            return;
        }
        for attempt in 0..self.budget.torn {
            let (size, fill) = TEARS[attempt % TEARS.len()];
            let sectors = &touched[usize::from(size == 4096)];
            let rounds = self.budget.torn.div_ceil(TEARS.len());
            let Some(pattern) = pattern(attempt / TEARS.len(), rounds, sectors.len()) else { continue };
            let image = self.torn(subset, contents, size, fill, pattern, sectors);
            self.offer(image);
        }
    }

    fn torn(
        &mut self,
        subset: &Subset,
        contents: &[Arc<Content>],
        size: u64,
        fill: Fill,
        pattern: Pattern,
        sectors: &[(usize, u64)],
    ) -> Image {
        let mut changed = contents.to_vec();
        let mut torn = vec![false; contents.len()];
        let last = sectors.len() - 1;
        for (at, &(file, sector)) in sectors.iter().enumerate() {
            let (missing, fill) = match pattern {
                Pattern::Mask(mask) => (mask >> at & 1 == 1, fill),
                Pattern::Last => (at == last, fill),
                Pattern::First => (at == 0, fill),
                Pattern::All => (true, fill),
                Pattern::AllButLast => (at != last, fill),
                Pattern::AllButFirst => (at != 0, fill),
                Pattern::Any => (self.random.chance(128), [Fill::Old, Fill::Zeros, Fill::Garbage][self.random.below(3) as usize]),
            };
            if !missing {
                continue;
            }
            torn[file] = true;
            let crashed = &self.point.files[file];
            let bytes = Arc::make_mut(&mut changed[file]).bytes_mut();
            tear(bytes, crashed, &subset.writes[file], sector * size..(sector + 1) * size, fill, &mut self.random);
        }
        if matches!(pattern, Pattern::Any) {
            for (file, crashed) in self.point.files.iter().enumerate() {
                let (low, high) = (crashed.durable.len(), changed[file].len());
                if low < high && self.random.chance(128) {
                    let cut = low.max(self.random.below(high) / size * size);
                    Arc::make_mut(&mut changed[file]).bytes_mut().truncate(cut as usize);
                }
            }
        }
        self.image(subset, &changed, Some(&torn))
    }
}

impl Iterator for Images<'_> {
    type Item = Image;

    fn next(&mut self) -> Option<Image> {
        loop {
            if let Some(image) = self.ready.pop_front() {
                return Some(image);
            }
            if self.next == self.subsets {
                return None;
            }
            let subset = self.subset(self.next);
            self.next += 1;
            self.expand(&subset);
        }
    }
}

/// A file after these of its writes, in this order.
fn written(file: &Crashed, writes: &[usize]) -> Content {
    let mut bytes = file.durable.bytes().to_vec();
    writes.iter().for_each(|&write| file.writes[write].apply(&mut bytes));
    Content::new(bytes)
}

/// The sizes that a file may have, in order: its durable one and the ends of the writes that extend it.
fn possible_sizes(file: &Crashed) -> Vec<u64> {
    let durable = file.durable.len();
    let mut sizes = vec![durable];
    sizes.extend(file.writes.iter().map(|write| write.range().end).filter(|&end| end > durable));
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// The sectors that surviving writes touch, each with its file.
fn touched_sectors(point: &Point, subset: &Subset, size: u64) -> Vec<(usize, u64)> {
    let mut sectors = Vec::new();
    for (file, writes) in subset.writes.iter().enumerate() {
        for &write in writes {
            let range = point.files[file].writes[write].range();
            sectors.extend((range.start / size..range.end.div_ceil(size)).map(|sector| (file, sector)));
        }
    }
    sectors.sort_unstable();
    sectors.dedup();
    sectors
}

/// The pattern of a round; `None` if the rounds before have exhausted what there is.
fn pattern(round: usize, rounds: usize, sectors: usize) -> Option<Pattern> {
    if sectors < 16 && (1 << sectors) - 1 <= rounds {
        return (round < (1 << sectors) - 1).then_some(Pattern::Mask(round as u64 + 1));
    }
    Some(match round {
        0 => Pattern::Last,
        2 => Pattern::All,
        3 => Pattern::First,
        4 => Pattern::AllButLast,
        5 => Pattern::AllButFirst,
        _ => Pattern::Any,
    })
}

/// Replaces what surviving writes have changed in `sector` of a file that they were all applied to.
fn tear(bytes: &mut [u8], file: &Crashed, writes: &[usize], sector: Range<u64>, fill: Fill, random: &mut Random) {
    let split = (fill == Fill::Garbage && random.chance(85)).then(|| sector.start + random.below(sector.end - sector.start));
    for &write in writes {
        let range = file.writes[write].range();
        let start = range.start.max(sector.start);
        let end = range.end.min(sector.end).min(bytes.len() as u64);
        if start >= end {
            continue;
        }
        match (fill, split) {
            (Fill::Old, _) => restore(bytes, file.durable.bytes(), start..end),
            (Fill::Zeros, _) => bytes[start as usize..end as usize].fill(0),
            (Fill::Garbage, None) => random.fill(&mut bytes[start as usize..end as usize]),
            (Fill::Garbage, Some(split)) => restore(bytes, file.durable.bytes(), start.max(split)..end),
        }
    }
}

/// Puts the durable bytes back; behind the durable end there are zeros.
fn restore(bytes: &mut [u8], durable: &[u8], range: Range<u64>) {
    if range.start >= range.end {
        return;
    }
    let known = (durable.len() as u64).clamp(range.start, range.end);
    if range.start < known {
        bytes[range.start as usize..known as usize].copy_from_slice(&durable[range.start as usize..known as usize]);
    }
    bytes[known as usize..range.end as usize].fill(0);
}

/// The groups of more than one write in which each overlaps another of its group.
fn overlapping(all: &[Write], writes: &[usize]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for &write in writes {
        let range = all[write].range();
        let meets =
            |group: &Vec<usize>| group.iter().any(|&other| all[other].range().start < range.end && range.start < all[other].range().end);
        let (met, apart): (Vec<Vec<usize>>, Vec<Vec<usize>>) = groups.into_iter().partition(meets);
        let mut joined: Vec<usize> = met.into_iter().flatten().collect();
        joined.push(write);
        groups = apart;
        groups.push(joined);
    }
    groups.retain(|group| group.len() > 1);
    for group in &mut groups {
        group.sort_unstable();
    }
    groups
}

/// Every order of every group, one after the other, up to `MAX_ORDERS`.
fn orders(groups: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for group in groups {
        let mut longer = Vec::new();
        for order in &orders {
            let mut rest = group.clone();
            permute(&mut rest, 0, &mut |permuted| {
                longer.push(order.iter().chain(permuted).copied().collect());
                longer.len() < MAX_ORDERS
            });
        }
        orders = longer;
    }
    orders
}

/// Calls `each` with every order of `items[at..]` behind what precedes it, the present one first, until it wants no more; whether it still does.
fn permute(items: &mut [usize], at: usize, each: &mut impl FnMut(&[usize]) -> bool) -> bool {
    if at + 1 >= items.len() {
        return each(items);
    }
    let mut more = true;
    for other in at..items.len() {
        items.swap(at, other);
        more = more && permute(items, at + 1, each);
        items.swap(at, other);
    }
    more
}

/// `writes` with those that overlap others at the end, in this order: what does not overlap may go anywhere.
fn in_order(writes: &[usize], order: &[usize]) -> Vec<usize> {
    writes.iter().filter(|write| !order.contains(write)).chain(order).copied().collect()
}
