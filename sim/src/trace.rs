//! What happened on a disk, and the points at which a crash may stop it.
//!
//! Point k is the moment after the first k operations that can change what a crash leaves; calls that change nothing make no point. A mark is in
//! force from the point on at which it was made. A crash in the middle of an operation leaves nothing that a crash before or after it cannot
//! leave: a write in progress is an unsynced write, and a sync in progress has made some of them durable.

use std::fmt;
use std::sync::Arc;

use wal_engine::names::FileName;

use crate::image::{Content, Image};
use crate::model::{Inode, Model, NameOp, Names, Op, Write};

/// What the test knows at some moment of a trace. The disk and the monitor understand only `Durable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The log said that every record up to this seq is durable.
    Durable(u64),
    /// Records up to this seq were handed to the log; make it before the call.
    Appended(u64),
    /// A checkpoint was acknowledged with this n.
    Checkpoint(u64),
    /// A truncation was acknowledged up to this seq.
    Floor(u64),
    /// Anything else.
    Note(u32, u64),
}

/// Operations and marks, from the image on with which the disk began.
#[derive(Clone, Debug)]
pub struct Trace {
    base: Image,
    ops: Vec<Op>,
    marks: Arc<[Mark]>,
    /// For each mark how many operations precede it.
    places: Vec<usize>,
}

impl Trace {
    pub(crate) fn new(base: Image, ops: Vec<Op>, marks: &[(usize, Mark)]) -> Trace {
        Trace { base, ops, marks: marks.iter().map(|&(_, mark)| mark).collect(), places: marks.iter().map(|&(at, _)| at).collect() }
    }

    /// What was on the disk at first.
    pub fn base(&self) -> &Image {
        &self.base
    }

    /// The operations.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Each mark with the number of operations before it.
    pub fn marks(&self) -> impl Iterator<Item = (usize, Mark)> {
        self.places.iter().copied().zip(self.marks.iter().copied())
    }

    /// The points of this trace in order, the first of them before any operation: one more than there are operations.
    pub fn crash_points(&self) -> CrashPoints<'_> {
        self.crash_points_from(0)
    }

    /// The points from number `first` on.
    pub fn crash_points_from(&self, first: usize) -> CrashPoints<'_> {
        let mut model = Model::from_image(&self.base);
        self.ops.iter().take(first).for_each(|op| model.apply(op));
        CrashPoints { trace: self, model, next: first }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut marks = self.marks().peekable();
        for done in 0..=self.ops.len() {
            while let Some((_, mark)) = marks.next_if(|&(at, _)| at == done) {
                writeln!(f, "       {mark:?}")?;
            }
            if let Some(op) = self.ops.get(done) {
                writeln!(f, "{:5}  {op}", done + 1)?;
            }
        }
        Ok(())
    }
}

/// Iterator over the points of a trace.
pub struct CrashPoints<'a> {
    trace: &'a Trace,
    model: Model,
    next: usize,
}

impl Iterator for CrashPoints<'_> {
    type Item = Point;

    fn next(&mut self) -> Option<Point> {
        let trace = self.trace;
        if self.next > trace.ops.len() {
            return None;
        }
        let in_force = trace.places.partition_point(|&at| at <= self.next);
        let op = self.next.checked_sub(1).and_then(|last| trace.ops.get(last)).cloned();
        let point = Point::new(&self.model, self.next, op, Arc::clone(&trace.marks), in_force);
        if let Some(op) = trace.ops.get(self.next) {
            self.model.apply(op);
        }
        self.next += 1;
        Some(point)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.trace.ops.len() + 1).saturating_sub(self.next);
        (left, Some(left))
    }
}

/// A file at the moment of a crash, with the writes that may survive it.
#[derive(Clone, Debug)]
pub(crate) struct Crashed {
    pub(crate) inode: Inode,
    pub(crate) durable: Arc<Content>,
    pub(crate) allocated: u64,
    pub(crate) writes: Vec<Write>,
}

/// A moment at which the machine stops.
#[derive(Clone, Debug)]
pub struct Point {
    index: usize,
    op: Option<Op>,
    marks: Arc<[Mark]>,
    in_force: usize,
    pub(crate) files: Vec<Crashed>,
    pub(crate) names: Names,
    pub(crate) name_ops: Vec<NameOp>,
}

impl Point {
    pub(crate) fn new(model: &Model, index: usize, op: Option<Op>, marks: Arc<[Mark]>, in_force: usize) -> Point {
        // A file that no survivor of the crash can name is gone; its writes make no states.
        let may_be_named = |inode: Inode| {
            model.durable_names.values().any(|&named| named == inode)
                || model.name_ops.iter().any(|op| match *op {
                    NameOp::Create { inode: named, .. } | NameOp::Rename { inode: named, .. } => named == inode,
                    NameOp::Remove { .. } => false,
                })
        };
        let files = model.inodes.iter().filter(|&(&inode, _)| may_be_named(inode));
        let files = files.map(|(&inode, file)| Crashed {
            inode,
            durable: Arc::clone(&file.durable),
            allocated: file.allocated,
            writes: file.writes.clone(),
        });
        Point { index, op, marks, in_force, files: files.collect(), names: model.durable_names.clone(), name_ops: model.name_ops.clone() }
    }

    /// How many operations precede it.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The last of them.
    pub fn op(&self) -> Option<&Op> {
        self.op.as_ref()
    }

    /// The marks in force, oldest first.
    pub fn marks(&self) -> &[Mark] {
        &self.marks[..self.in_force]
    }

    /// The highest `Mark::Durable` in force.
    pub fn durable(&self) -> Option<u64> {
        self.highest(|mark| if let Mark::Durable(seq) = mark { Some(seq) } else { None })
    }

    /// The highest number that `pick` takes from the marks in force.
    pub fn highest(&self, pick: impl Fn(Mark) -> Option<u64>) -> Option<u64> {
        self.marks().iter().copied().filter_map(pick).max()
    }

    /// How many writes and operations on names are not durable.
    pub fn unsynced(&self) -> usize {
        self.files.iter().map(|file| file.writes.len()).sum::<usize>() + self.name_ops.len()
    }

    /// The names that may exist after the crash, each once.
    pub fn possible_names(&self) -> Vec<FileName> {
        let mut names: Vec<FileName> = self.names.keys().copied().collect();
        names.extend(self.name_ops.iter().filter_map(|op| match *op {
            NameOp::Create { name, .. } | NameOp::Rename { to: name, .. } => Some(name),
            NameOp::Remove { .. } => None,
        }));
        names.sort_unstable();
        names.dedup();
        names
    }
}
