//! Every script of operations, with a power cut at each step of its last one; and again while the log recovers.

use std::cell::RefCell;

use wal_engine::error::Code;
use wal_flash::chip::Geometry;

use crate::chip::{Flash, Tear};
use crate::judge::{Memory, Model, OPS, Op, open, settings};

/// What is explored on one chip.
#[derive(Clone, Copy)]
pub struct Job {
    pub geometry: Geometry,
    pub cached: bool,
    pub sync_each: bool,
    /// Bytes that are programmed at once.
    pub page: usize,
    /// Operations in a script.
    pub depth: usize,
    /// Power cuts one after the other.
    pub cuts: usize,
    /// Of the scripts, one in so many; 1 is all.
    pub every: usize,
}

/// What was tried.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tally {
    pub scripts: u64,
    pub states: u64,
    pub full: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.scripts += other.scripts;
        self.states += other.states;
        self.full += other.full;
    }
}

struct World {
    flash: RefCell<Flash>,
    model: Model,
}

/// `Nothing` is `Everything` of the step before.
const TEARS: [Tear; 4] = [Tear::Everything, Tear::Half, Tear::Mix(1), Tear::Unreadable(2)];

pub fn run(job: &Job) -> Tally {
    let mut tally = Tally::default();
    for len in 1..=job.depth {
        let count = OPS.len().pow(len as u32);
        for number in 0..count {
            if len == job.depth && number % job.every != 0 {
                continue;
            }
            let script: Vec<Op> = (0..len).map(|i| OPS[number / OPS.len().pow(i as u32) % OPS.len()]).collect();
            script_with_cuts(job, &script, &mut tally);
        }
    }
    tally
}

/// Runs a script; a cut comes in its last operation, at each step and in each way.
fn script_with_cuts(job: &Job, script: &[Op], tally: &mut Tally) {
    tally.scripts += 1;
    let (last, front) = script.split_last().expect("a script");
    let mut world = World { flash: RefCell::new(Flash::new(job.geometry, job.cached)), model: Model::default() };
    let mut memory = Memory::new(&job.geometry, job.page);
    // Without a cut first, which tells how many steps there are.
    let steps = play(job, &mut world, &mut memory, front, *last, None, tally);
    check(job, &mut world, &mut memory, 0, tally, script);
    for step in steps {
        for tear in TEARS {
            let mut world = World { flash: RefCell::new(Flash::new(job.geometry, job.cached)), model: Model::default() };
            play(job, &mut world, &mut memory, front, *last, Some((step, tear)), tally);
            world.flash.borrow_mut().power_on();
            check(job, &mut world, &mut memory, job.cuts - 1, tally, script);
        }
    }
}

/// The steps of the last operation.
fn play(
    job: &Job,
    world: &mut World,
    memory: &mut Memory,
    front: &[Op],
    last: Op,
    cut: Option<(u32, Tear)>,
    tally: &mut Tally,
) -> std::ops::Range<u32> {
    let flash = &world.flash;
    let mut log = Some(open(flash, memory, settings(job.geometry, job.sync_each)).expect("an empty chip opens"));
    for op in front {
        if *op == Op::Reopen {
            log = Some(open(flash, memory, settings(job.geometry, job.sync_each)).expect("opens again"));
            continue;
        }
        let Some(log) = log.as_mut() else { continue };
        match world.model.run(log, *op, job.sync_each) {
            Ok(()) => {}
            Err(Code::NoSpace) => tally.full += 1,
            Err(fail) => panic!("{op:?} of {front:?}: {fail:?} {:?}", flash.borrow().complaint),
        }
    }
    let from = flash.borrow().steps;
    if let Some((step, tear)) = cut {
        flash.borrow_mut().cut_at(step, tear);
    }
    if let Some(log) = log.as_mut()
        && last != Op::Reopen
    {
        match world.model.run(log, last, job.sync_each) {
            Ok(()) => assert!(cut.is_none() || job.cached, "the cut came"),
            Err(Code::NoSpace) => tally.full += 1,
            Err(fail) => assert!(cut.is_some(), "{last:?} after {front:?}: {fail:?} {:?}", flash.borrow().complaint),
        }
    }
    assert!(flash.borrow().complaint.is_none(), "{front:?} {last:?}: {:?}", flash.borrow().complaint);
    from..flash.borrow().steps
}

/// Opens, compares, opens again, appends; with more cuts in that if there are any left.
fn check(job: &Job, world: &mut World, memory: &mut Memory, cuts: usize, tally: &mut Tally, script: &[Op]) {
    tally.states += 1;
    let flash = &world.flash;
    let reset = settings(job.geometry, job.sync_each);
    let opened = open(flash, memory, reset).map(|mut log| world.model.judge(&mut log));
    let first = opened.unwrap_or_else(|fail| panic!("{script:?}: opening {fail:?}"));
    let again = open(flash, memory, reset).map(|mut log| world.model.judge(&mut log));
    assert_eq!(Ok(first), again, "{script:?}: opened again");
    if cuts > 0 {
        let before = (flash.borrow().clone(), world.model.clone());
        let mut whole = World { flash: RefCell::new(before.0.clone()), model: before.1.clone() };
        let steps = go_on(job, &mut whole, memory, None);
        for step in steps {
            for tear in TEARS {
                let mut world = World { flash: RefCell::new(before.0.clone()), model: before.1.clone() };
                go_on(job, &mut world, memory, Some((step, tear)));
                world.flash.borrow_mut().power_on();
                check(job, &mut world, memory, cuts - 1, tally, script);
            }
        }
    }
    go_on(job, world, memory, None);
    let flash = &world.flash;
    let complaint = flash.borrow().complaint.clone();
    assert!(complaint.is_none(), "{script:?}: {complaint:?}");
    open(flash, memory, reset).map(|mut log| world.model.judge(&mut log)).unwrap_or_else(|fail| panic!("{script:?}: at last {fail:?}"));
}

/// The log goes on after an opening: a record, and if it is full, room is made first. The steps that this takes.
fn go_on(job: &Job, world: &mut World, memory: &mut Memory, cut: Option<(u32, Tear)>) -> std::ops::Range<u32> {
    let flash = &world.flash;
    let mut log = open(flash, memory, settings(job.geometry, job.sync_each)).expect("opens");
    let from = flash.borrow().steps;
    if let Some((step, tear)) = cut {
        flash.borrow_mut().cut_at(step, tear);
    }
    for op in [Op::Small, Op::Checkpoint, Op::Truncate, Op::Small] {
        match world.model.run(&mut log, op, job.sync_each) {
            Ok(()) if op == Op::Small => break,
            Ok(()) => {}
            Err(Code::NoSpace) if op == Op::Small => {}
            Err(fail) => {
                assert!(cut.is_some(), "{op:?}: {fail:?} {:?}", flash.borrow().complaint);
                break;
            }
        }
    }
    from..flash.borrow().steps
}
