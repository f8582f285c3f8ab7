//! The state of the disk below the cache: what is durable, and the operations that are not, in their order. The running disk and the
//! replay of a trace share it, so a crash is explored by exactly the rules that the running disk obeys.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use wal_engine::names::FileName;

use crate::image::{Content, Image, Stored};

/// A file, whatever its name: numbered in the order of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inode(pub u64);

/// The bytes of a write, shared and never copied.
#[derive(Clone, Debug)]
pub enum Data {
    /// These.
    Bytes {
        /// What was written, or more.
        all: Arc<[u8]>,
        /// The part of it that counts.
        part: Range<usize>,
    },
    /// As many zeros.
    Zeros(u64),
}

impl Data {
    pub(crate) fn new(bytes: &[u8]) -> Data {
        Data::Bytes { all: Arc::from(bytes), part: 0..bytes.len() }
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Data::Bytes { part, .. } => part.len() as u64,
            Data::Zeros(len) => *len,
        }
    }

    fn slice(&self, range: Range<u64>) -> Data {
        match self {
            Data::Bytes { all, part } => {
                Data::Bytes { all: Arc::clone(all), part: part.start + range.start as usize..part.start + range.end as usize }
            }
            Data::Zeros(_) => Data::Zeros(range.end - range.start),
        }
    }
}

/// A write that is not durable.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    /// Numbers the writes of a disk.
    pub(crate) id: u64,
    pub(crate) offset: u64,
    pub(crate) data: Data,
    /// A sync that should have made it durable failed, and no later one will.
    pub(crate) lost: bool,
}

impl Write {
    pub(crate) fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.data.len()
    }

    /// Writes into `file`, extending it if it must.
    pub(crate) fn apply(&self, file: &mut Vec<u8>) {
        let range = self.range();
        if file.len() < range.end as usize {
            file.resize(range.end as usize, 0);
        }
        let target = &mut file[range.start as usize..range.end as usize];
        match &self.data {
            Data::Bytes { all, part } => target.copy_from_slice(&all[part.clone()]),
            Data::Zeros(_) => target.fill(0),
        }
    }

    /// What is left of it before and behind `covered`.
    fn without(self, covered: &Range<u64>) -> [Option<Write>; 2] {
        let range = self.range();
        if covered.end <= range.start || range.end <= covered.start {
            return [Some(self), None];
        }
        let piece = |start: u64, end: u64| {
            (start < end).then(|| Write {
                id: self.id,
                offset: start,
                data: self.data.slice(start - range.start..end - range.start),
                lost: self.lost,
            })
        };
        [piece(range.start, covered.start), piece(covered.end, range.end)]
    }
}

/// An operation on a name that is not durable.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NameOp {
    Create { name: FileName, inode: Inode },
    Rename { to: FileName, inode: Inode },
    Remove { name: FileName, inode: Inode },
}

/// Which file a name stands for.
pub(crate) type Names = BTreeMap<FileName, Inode>;

impl NameOp {
    pub(crate) fn apply(self, names: &mut Names) {
        match self {
            NameOp::Create { name, inode } => {
                names.insert(name, inode);
            }
            NameOp::Rename { to, inode } => {
                names.retain(|_, &mut named| named != inode);
                names.insert(to, inode);
            }
            NameOp::Remove { name, inode } => {
                if names.get(&name) == Some(&inode) {
                    names.remove(&name);
                }
            }
        }
    }
}

/// A file below the cache.
#[derive(Clone, Debug, Default)]
pub(crate) struct OnDisk {
    pub(crate) durable: Arc<Content>,
    /// Durable bytes from the start of the file on that own their space.
    pub(crate) allocated: u64,
    /// In the order in which they were made.
    pub(crate) writes: Vec<Write>,
}

impl OnDisk {
    /// Makes every write before number `covers` durable that is not lost. Lost ones stay, but for what newer writes have superseded.
    fn settle(&mut self, covers: u64) {
        if !self.writes.iter().any(|write| write.id < covers && !write.lost) {
            return;
        }
        let file = Arc::make_mut(&mut self.durable).bytes_mut();
        let mut kept = Vec::new();
        for write in std::mem::take(&mut self.writes) {
            if write.lost || write.id >= covers {
                kept.push(write);
                continue;
            }
            let range = write.range();
            write.apply(file);
            self.allocated = self.allocated.max(range.end);
            kept = kept.into_iter().flat_map(|lost| lost.without(&range)).flatten().collect();
        }
        self.writes = kept;
    }

    /// Whether a sync of the writes before number `covers` would change anything.
    pub(crate) fn is_unsynced(&self, covers: u64) -> bool {
        self.writes.iter().any(|write| write.id < covers && !write.lost)
    }

    pub(crate) fn has_lost(&self) -> bool {
        self.writes.iter().any(|write| write.lost)
    }
}

/// An operation that changes what a crash may leave.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are what the operations take")]
pub enum Op {
    /// A name for a new, empty file.
    Create { name: FileName, inode: Inode },
    /// Another name for a file.
    Rename { from: FileName, to: FileName, inode: Inode },
    /// A name goes.
    Remove { name: FileName, inode: Inode },
    /// Bytes go into the cache.
    Write { name: Option<FileName>, inode: Inode, offset: u64, data: Data },
    /// The file's writes before number `covers` become durable.
    Sync { name: Option<FileName>, inode: Inode, covers: u64 },
    /// The file's writes before number `covers` are lost.
    SyncFailed { name: Option<FileName>, inode: Inode, covers: u64 },
    /// All names become durable.
    SyncDir,
    /// Readers see the device again: lost writes are gone.
    DropCache { name: Option<FileName>, inode: Inode },
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = |name: &Option<FileName>, inode: &Inode| match name {
            Some(name) => format!("{name} (file {})", inode.0),
            None => format!("nameless file {}", inode.0),
        };
        match self {
            Op::Create { name, inode } => write!(f, "create {name} (file {})", inode.0),
            Op::Rename { from, to, inode } => write!(f, "rename {from} to {to} (file {})", inode.0),
            Op::Remove { name, inode } => write!(f, "remove {name} (file {})", inode.0),
            Op::Write { name, inode, offset, data } => {
                let what = if matches!(data, Data::Zeros(_)) { "fill" } else { "write" };
                write!(f, "{what} {} [{offset}, {})", file(name, inode), offset + data.len())
            }
            Op::Sync { name, inode, .. } => write!(f, "sync {}", file(name, inode)),
            Op::SyncFailed { name, inode, .. } => write!(f, "failed sync {}", file(name, inode)),
            Op::SyncDir => f.write_str("sync_dir"),
            Op::DropCache { name, inode } => write!(f, "drop_cache {}", file(name, inode)),
        }
    }
}

/// The disk below the cache, and the names that everybody sees.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) inodes: BTreeMap<Inode, OnDisk>,
    pub(crate) durable_names: Names,
    pub(crate) names: Names,
    pub(crate) name_ops: Vec<NameOp>,
    writes: u64,
}

impl Model {
    /// What a machine finds that starts from `image`.
    pub(crate) fn from_image(image: &Image) -> Model {
        let mut model = Model::default();
        for (number, (name, stored)) in image.files().enumerate() {
            let inode = Inode(number as u64);
            model.names.insert(name, inode);
            model.inodes.insert(inode, OnDisk { durable: Arc::clone(&stored.content), allocated: stored.allocated, writes: Vec::new() });
        }
        model.durable_names.clone_from(&model.names);
        model
    }

    /// The number that the next write gets.
    pub(crate) fn next_write(&self) -> u64 {
        self.writes
    }

    /// The name that readers see for a file.
    pub(crate) fn name_of(&self, inode: Inode) -> Option<FileName> {
        name_in(&self.names, inode)
    }

    /// The name that the file has if the machine stops now and nothing unsynced survives.
    pub(crate) fn durable_name_of(&self, inode: Inode) -> Option<FileName> {
        name_in(&self.durable_names, inode)
    }

    /// Only what is durable.
    pub(crate) fn durable_image(&self) -> Image {
        let mut image = Image::new();
        for (name, inode) in &self.durable_names {
            if let Some(file) = self.inodes.get(inode) {
                image.put(*name, Stored { content: Arc::clone(&file.durable), allocated: file.allocated });
            }
        }
        image
    }

    pub(crate) fn apply(&mut self, op: &Op) {
        match op {
            Op::Create { name, inode } => {
                self.inodes.insert(*inode, OnDisk::default());
                self.names.insert(*name, *inode);
                if *name == FileName::Lock {
                    self.durable_names.insert(*name, *inode);
                } else {
                    self.name_ops.push(NameOp::Create { name: *name, inode: *inode });
                }
            }
            Op::Rename { to, inode, .. } => self.change_name(NameOp::Rename { to: *to, inode: *inode }),
            Op::Remove { name, inode } => self.change_name(NameOp::Remove { name: *name, inode: *inode }),
            Op::Write { inode, offset, data, .. } => {
                let id = self.writes;
                self.writes += 1;
                if let Some(file) = self.inodes.get_mut(inode) {
                    file.writes.push(Write { id, offset: *offset, data: data.clone(), lost: false });
                }
            }
            Op::Sync { inode, covers, .. } => {
                if let Some(file) = self.inodes.get_mut(inode) {
                    file.settle(*covers);
                }
            }
            Op::SyncFailed { inode, covers, .. } => {
                if let Some(file) = self.inodes.get_mut(inode) {
                    file.writes.iter_mut().filter(|write| write.id < *covers).for_each(|write| write.lost = true);
                }
            }
            Op::SyncDir => {
                for op in self.name_ops.drain(..) {
                    op.apply(&mut self.durable_names);
                }
                let names = &self.names;
                self.inodes.retain(|&inode, _| name_in(names, inode).is_some());
            }
            Op::DropCache { inode, .. } => {
                if let Some(file) = self.inodes.get_mut(inode) {
                    file.writes.retain(|write| !write.lost);
                }
            }
        }
    }

    fn change_name(&mut self, op: NameOp) {
        op.apply(&mut self.names);
        self.name_ops.push(op);
    }
}

fn name_in(names: &Names, inode: Inode) -> Option<FileName> {
    names.iter().find(|&(_, &named)| named == inode).map(|(&name, _)| name)
}
