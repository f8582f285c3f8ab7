//! The crash states: complete where that is promised, within the rules everywhere, and the same for the same seed.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{durable_file, segment, spare};
use wal_engine::names::FileName;
use wal_engine::storage::{Access, File, Storage};
use wal_sim::{Budget, Call, Disk, Fault, Image, Mark, Op, Point};

/// A state in plain form.
type State = BTreeMap<FileName, Vec<u8>>;

fn plain(image: &Image) -> State {
    image.names().map(|name| (name, image.read(name).expect("a name has content").to_vec())).collect()
}

/// What a crash may leave, found a second time and without any thrift: every subset, every order of the writes of one file, every size of one file, and
/// the extreme sizes of all.
#[derive(Clone, Default)]
struct Reference {
    durable: Vec<Vec<u8>>,
    names: Vec<(FileName, usize)>,
    pending: Vec<Pending>,
}

#[derive(Clone)]
enum Pending {
    Write { file: usize, offset: usize, bytes: Vec<u8> },
    Create { name: FileName, file: usize },
    Rename { to: FileName, file: usize },
    Remove { name: FileName, file: usize },
}

impl Reference {
    fn states(&self) -> BTreeSet<State> {
        let mut states = BTreeSet::new();
        for bits in 0..1u32 << self.pending.len() {
            let chosen: Vec<&Pending> = (0..self.pending.len()).filter(|at| bits >> at & 1 == 1).map(|at| &self.pending[at]).collect();
            let mut names = self.names.clone();
            for op in &chosen {
                match **op {
                    Pending::Create { name, file } => {
                        names.retain(|&(other, _)| other != name);
                        names.push((name, file));
                    }
                    Pending::Rename { to, file } => {
                        names.retain(|&(other, named)| other != to && named != file);
                        names.push((to, file));
                    }
                    Pending::Remove { name, file } => names.retain(|&named| named != (name, file)),
                    Pending::Write { .. } => {}
                }
            }
            let mut add = |contents: &[Vec<u8>]| {
                states.insert(names.iter().map(|&(name, file)| (name, contents[file].clone())).collect());
            };
            let of_file = |wanted: usize| -> Vec<(usize, &[u8])> {
                let writes = chosen.iter().filter_map(|op| match op {
                    Pending::Write { file, offset, bytes } if *file == wanted => Some((*offset, &bytes[..])),
                    _ => None,
                });
                writes.collect()
            };
            let contents: Vec<Vec<u8>> = (0..self.durable.len()).map(|file| written(&self.durable[file], &of_file(file))).collect();
            let with = |file: usize, bytes: Vec<u8>| {
                let mut changed = contents.clone();
                changed[file] = bytes;
                changed
            };
            add(&contents);
            let sizes: Vec<BTreeSet<usize>> = (0..self.durable.len()).map(|file| self.sizes(file)).collect();
            for file in 0..self.durable.len() {
                for order in all_orders(&of_file(file)) {
                    add(&with(file, written(&self.durable[file], &order)));
                }
                for &size in &sizes[file] {
                    add(&with(file, resized(&contents[file], size)));
                }
            }
            for largest in [false, true] {
                let all: Vec<Vec<u8>> = contents
                    .iter()
                    .zip(&sizes)
                    .map(|(bytes, sizes)| resized(bytes, *if largest { sizes.last() } else { sizes.first() }.expect("the durable size")))
                    .collect();
                add(&all);
            }
        }
        states
    }

    fn sizes(&self, wanted: usize) -> BTreeSet<usize> {
        let durable = self.durable[wanted].len();
        let ends = self.pending.iter().filter_map(|op| match op {
            Pending::Write { file, offset, bytes } if *file == wanted => Some(offset + bytes.len()),
            _ => None,
        });
        ends.filter(|&end| end > durable).chain([durable]).collect()
    }
}

fn written(durable: &[u8], writes: &[(usize, &[u8])]) -> Vec<u8> {
    let mut file = durable.to_vec();
    for (offset, bytes) in writes {
        for (at, byte) in bytes.iter().enumerate() {
            if file.len() <= offset + at {
                file.resize(offset + at + 1, 0);
            }
            file[offset + at] = *byte;
        }
    }
    file
}

fn resized(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(size, 0);
    bytes
}

fn all_orders<'a>(writes: &[(usize, &'a [u8])]) -> Vec<Vec<(usize, &'a [u8])>> {
    if writes.is_empty() {
        return vec![Vec::new()];
    }
    let mut orders = Vec::new();
    for first in 0..writes.len() {
        let mut rest = writes.to_vec();
        let head = rest.remove(first);
        for mut order in all_orders(&rest) {
            order.insert(0, head);
            orders.push(order);
        }
    }
    orders
}

/// A generator of its own, so that the scripts do not share the disk's.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// Two durable files and up to `ops` operations on them and on new ones, on a disk and in the reference.
fn random_script(seed: u64, ops: usize) -> (Disk, Reference) {
    let mut dice = Dice(seed);
    let disk = Disk::new(seed);
    let storage = disk.storage();
    let mut reference = Reference::default();
    let mut files = Vec::new();
    for index in 1..=2 {
        let len = dice.roll(12);
        let file = durable_file(&storage, spare(index), 12);
        file.write_at(0, &vec![index as u8; len]).expect("write");
        file.sync().expect("sync");
        let mut bytes = vec![0; 12];
        bytes[..len].fill(index as u8);
        reference.durable.push(bytes);
        reference.names.push((spare(index), files.len()));
        files.push(file);
    }
    let mut visible = reference.names.clone();
    for step in 0..ops as u32 {
        match dice.roll(8) {
            0 => {
                // Sometimes under a name that was used before.
                let name = if dice.roll(2) == 0 { spare(10 + step) } else { spare(1 + dice.roll(2) as u32) };
                if !visible.iter().any(|&(other, _)| other == name) {
                    files.push(storage.create(name).expect("create"));
                    reference.durable.push(Vec::new());
                    visible.push((name, files.len() - 1));
                    reference.pending.push(Pending::Create { name, file: files.len() - 1 });
                }
            }
            1 | 2 if !visible.is_empty() => {
                let chosen = dice.roll(visible.len());
                let (name, file) = visible[chosen];
                let to = segment(20 + step);
                storage.rename(name, to).expect("rename");
                visible[chosen].0 = to;
                reference.pending.push(Pending::Rename { to, file });
            }
            3 if !visible.is_empty() => {
                let (name, file) = visible.remove(dice.roll(visible.len()));
                storage.remove(name).expect("remove");
                reference.pending.push(Pending::Remove { name, file });
            }
            _ => {
                let file = dice.roll(files.len());
                let end = files[file].len().expect("len") as usize;
                let (offset, bytes) = (dice.roll(10).min(end), vec![100 + step as u8; 1 + dice.roll(6)]);
                files[file].write_at(offset as u64, &bytes).expect("write");
                reference.pending.push(Pending::Write { file, offset, bytes });
            }
        }
    }
    (disk, reference)
}

#[test]
fn up_to_six_operations_give_exactly_the_states_that_brute_force_finds() {
    let mut states = 0;
    for seed in 0..400 {
        let (disk, reference) = random_script(seed, 1 + seed as usize % 6);
        let images: Vec<Image> = disk.point().images(&Budget { torn: 0, ..Budget::default() }).collect();
        let found: BTreeSet<State> = images.iter().map(plain).collect();
        assert_eq!(found.len(), images.len(), "seed {seed}: a state came twice");
        let wanted = reference.states();
        assert_eq!(found, wanted, "seed {seed}\n{}", disk.trace());
        states += found.len();
    }
    assert!(states > 5000, "the scripts are too poor: {states} states");
}

#[test]
fn the_points_of_a_trace_are_the_moments_at_which_it_was_made() {
    let disk = Disk::new(3);
    let storage = disk.storage();
    let budget = Budget { torn: 6, ..Budget::default() };
    let states = |point: &Point| point.images(&budget).map(|image| image.hash()).collect::<Vec<_>>();
    let mut live = vec![states(&disk.point())];
    let mut now = || live.push(states(&disk.point()));
    let file = storage.create(spare(1)).expect("create");
    now();
    file.write_at(0, b"abc").expect("write");
    now();
    file.sync().expect("sync");
    now();
    storage.sync_dir().expect("sync_dir");
    now();
    file.write_at(1, b"xyz").expect("write");
    now();
    disk.fail(Fault::nth(1).of(Call::Sync));
    assert!(file.sync().is_err());
    now();
    storage.rename(spare(1), segment(1)).expect("rename");
    now();
    file.drop_cache();
    now();
    file.write_at(0, b"q").expect("write");
    now();
    storage.remove(segment(1)).expect("remove");
    now();
    storage.sync_dir().expect("sync_dir");
    now();
    let trace = disk.trace();
    assert_eq!(trace.ops().len() + 1, live.len());
    let replayed: Vec<Vec<u64>> = trace.crash_points().map(|point| states(&point)).collect();
    assert_eq!(replayed, live);
    let tail: Vec<Vec<u64>> = trace.crash_points_from(4).map(|point| states(&point)).collect();
    assert_eq!(tail, live[4..]);
    assert!(matches!(trace.ops()[0], Op::Create { .. }));
}

#[test]
fn marks_are_in_force_from_their_moment_on() {
    let disk = Disk::new(1);
    let storage = disk.storage();
    disk.mark(Mark::Appended(1));
    storage.create(spare(1)).expect("create");
    disk.acknowledge(1);
    disk.mark(Mark::Note(7, 8));
    storage.create(spare(2)).expect("create");
    let trace = disk.trace();
    let marks: Vec<Vec<Mark>> = trace.crash_points().map(|point| point.marks().to_vec()).collect();
    let all = [Mark::Appended(1), Mark::Durable(1), Mark::Note(7, 8)];
    assert_eq!(marks, [&all[..1], &all[..], &all[..]]);
    let durable: Vec<Option<u64>> = trace.crash_points().map(|point| point.durable()).collect();
    assert_eq!(durable, [None, Some(1), Some(1)]);
    assert_eq!(
        trace.to_string(),
        "       Appended(1)\n    1  create 0000000001.spare (file 0)\n       Durable(1)\n       Note(7, 8)\n    2  create 0000000002.spare (file 1)\n"
    );
}

#[test]
fn a_trace_that_starts_from_an_image_is_explored_from_it() {
    let disk = Disk::new(1);
    durable_file(&disk.storage(), spare(1), 4);
    let rebooted = Disk::from_image(&disk.durable_image(), 2);
    let file = rebooted.storage().open(spare(1), Access::Write).expect("open");
    file.write_at(0, b"ab").expect("write");
    let states: Vec<State> = rebooted
        .trace()
        .crash_points()
        .flat_map(|point| point.images(&Budget { torn: 0, ..Budget::default() }).map(|image| plain(&image)).collect::<Vec<_>>())
        .collect();
    let with = |bytes: &[u8]| State::from([(spare(1), bytes.to_vec())]);
    assert_eq!(states, [with(b"\0\0\0\0"), with(b"\0\0\0\0"), with(b"ab\0\0")]);
}

#[test]
fn more_operations_are_sampled_with_none_and_all_among_them() {
    let disk = Disk::new(1);
    let storage = disk.storage();
    let file = durable_file(&storage, spare(1), 4096);
    for at in 0..20 {
        file.write_at(at * 100, &[at as u8 + 1; 50]).expect("write");
    }
    let budget = Budget { torn: 0, samples: 50, ..Budget::default() };
    let point = disk.point();
    let images: Vec<Image> = point.images(&budget).collect();
    assert_eq!((&images[0], &images[1]), (&disk.durable_image(), &disk.visible_image()));
    assert_eq!((&images[0], &images[1]), (&point.none_survives(), &point.all_survive()));
    assert!((40..=52).contains(&images.len()), "{}", images.len());
    let again: Vec<Image> = point.images(&budget).collect();
    assert_eq!(images, again);
    let other: BTreeSet<u64> = point.images(&Budget { seed: 9, ..budget }).map(|image| image.hash()).collect();
    assert!(images.iter().filter(|image| !other.contains(&image.hash())).count() > 10);
    // Every write is missing somewhere and there somewhere else.
    for at in 0..20usize {
        let seen: BTreeSet<u8> = images.iter().filter_map(|image| image.read(spare(1))).map(|bytes| bytes[at * 100]).collect();
        assert_eq!(seen, BTreeSet::from([0, at as u8 + 1]));
    }
}

#[test]
fn a_tear_changes_only_bytes_that_unsynced_writes_changed() {
    for seed in 0..12 {
        let mut dice = Dice(seed);
        let disk = Disk::new(seed);
        let storage = disk.storage();
        let file = durable_file(&storage, spare(1), 9000);
        file.write_at(0, &(0..9000).map(|at| (at % 251) as u8).collect::<Vec<u8>>()).expect("write");
        file.sync().expect("sync");
        let durable = disk.durable_image().read(spare(1)).expect("there").to_vec();
        let mut changed = vec![false; durable.len()];
        for _ in 0..=dice.roll(9) {
            let (offset, len) = (dice.roll(8000), 1 + dice.roll(1000));
            file.write_at(offset as u64, &vec![dice.roll(256) as u8; len]).expect("write");
            changed[offset..offset + len].fill(true);
        }
        let mut images = 0;
        for image in disk.point().images(&Budget { torn: 30, samples: 10, seed, ..Budget::default() }) {
            let bytes = image.read(spare(1)).expect("the name is durable");
            assert_eq!(bytes.len(), durable.len());
            assert!((0..bytes.len()).all(|at| changed[at] || bytes[at] == durable[at]), "seed {seed}");
            images += 1;
        }
        assert!(images > 6);
    }
}

#[test]
fn every_choice_of_a_few_sectors_is_made_in_every_filling() {
    let disk = Disk::new(1);
    let file = durable_file(&disk.storage(), spare(1), 3 * 4096);
    file.write_at(0, &[1; 3 * 4096]).expect("write");
    file.sync().expect("sync");
    // Three sectors at either size, and no other bytes in them.
    for (size, at) in [(512, 3584), (4096, 0)] {
        let file = disk.storage().open(spare(1), Access::Write).expect("open");
        file.write_at(at, &vec![2; 3 * size]).expect("write");
        let mut seen = BTreeSet::new();
        for image in disk.point().images(&Budget { torn: 6 * 7, ..Budget::default() }) {
            let bytes = &image.read(spare(1)).expect("there")[at as usize..at as usize + 3 * size];
            let kinds: Vec<Option<u8>> =
                bytes.chunks(size).map(|sector| sector.iter().all(|&byte| byte == sector[0]).then_some(sector[0])).collect();
            seen.insert(kinds);
        }
        for mask in 0..8 {
            for fill in [Some(0), Some(1), None] {
                let wanted: Vec<Option<u8>> = (0..3).map(|sector| if mask >> sector & 1 == 1 { fill } else { Some(2) }).collect();
                assert!(seen.contains(&wanted), "{size}: {wanted:?}");
            }
        }
        file.sync().expect("sync");
        file.write_at(0, &[1; 3 * 4096]).expect("write");
        file.sync().expect("sync");
    }
}

#[test]
fn torn_images_are_bounded_by_the_budget() {
    let disk = Disk::new(1);
    let file = durable_file(&disk.storage(), spare(1), 65536);
    file.write_at(0, &[1; 65536]).expect("write");
    for torn in [0, 1, 5, 12, 40] {
        let count = disk.point().images(&Budget { torn, ..Budget::default() }).count();
        assert!(count <= 2 + torn, "{count} images");
        assert!(count >= 2 + torn / 2, "{count} images");
    }
}

#[test]
fn images_can_be_changed_and_booted() {
    let disk = Disk::new(1);
    durable_file(&disk.storage(), spare(1), 4);
    let image = disk.durable_image();
    let mut changed = image.clone();
    assert_eq!(changed.hash(), image.hash());
    changed.write(spare(1), b"\0\x01\0\0".to_vec());
    assert_ne!(changed.hash(), image.hash());
    assert_eq!(changed.remove(spare(1)), Some(b"\0\x01\0\0".to_vec()));
    changed.write(spare(2), vec![0; 4]);
    assert_ne!(changed.hash(), image.hash(), "the name counts");
    let booted = Disk::from_image(&changed, 1);
    assert_eq!(booted.visible_image(), changed);
    assert_eq!(booted.used(), 4);
    assert_eq!(booted.point().images(&Budget::default()).count(), 1);
}
