//! What is on a disk when the machine starts: names and bytes, nothing unsynced.
//!
//! Images share the content of files that they have in common, and content carries its hash, so that a state costs only what differs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use wal_engine::names::FileName;

use crate::random::{combine, hash};

/// The bytes of a file and, once asked for, their hash.
#[derive(Debug, Default)]
pub(crate) struct Content {
    bytes: Vec<u8>,
    hash: OnceLock<u64>,
}

impl Clone for Content {
    /// A clone is made to be changed, so it forgets the hash.
    fn clone(&self) -> Content {
        Content::new(self.bytes.clone())
    }
}

impl Content {
    pub(crate) fn new(bytes: Vec<u8>) -> Content {
        Content { bytes, hash: OnceLock::new() }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        self.hash = OnceLock::new();
        &mut self.bytes
    }

    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn hash(&self) -> u64 {
        *self.hash.get_or_init(|| hash(&self.bytes))
    }
}

/// A file of an image.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) content: Arc<Content>,
    /// Bytes from the start of the file on that own their space.
    pub(crate) allocated: u64,
}

/// A directory with its files, all of it durable. Cheap to clone.
#[derive(Clone, Default)]
pub struct Image {
    files: BTreeMap<FileName, Stored>,
}

impl Image {
    /// An empty directory.
    pub fn new() -> Image {
        Image::default()
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = FileName> {
        self.files.keys().copied()
    }

    /// The content of a file.
    pub fn read(&self, name: FileName) -> Option<&[u8]> {
        self.files.get(&name).map(|stored| stored.content.bytes())
    }

    /// Gives the file of this name, which need not exist, another content.
    pub fn write(&mut self, name: FileName, bytes: Vec<u8>) {
        let allocated = bytes.len() as u64;
        self.put(name, Stored { content: Arc::new(Content::new(bytes)), allocated });
    }

    /// Takes a file out and returns its content.
    pub fn remove(&mut self, name: FileName) -> Option<Vec<u8>> {
        self.files.remove(&name).map(|stored| stored.content.bytes().to_vec())
    }

    /// A number that is the same for equal images, on every machine, and practically never for others.
    pub fn hash(&self) -> u64 {
        self.files.iter().fold(self.files.len() as u64, |sum, (name, stored)| combine(combine(sum, key(*name)), stored.content.hash()))
    }

    pub(crate) fn put(&mut self, name: FileName, stored: Stored) {
        self.files.insert(name, stored);
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = (FileName, &Stored)> {
        self.files.iter().map(|(name, stored)| (*name, stored))
    }
}

impl PartialEq for Image {
    fn eq(&self, other: &Image) -> bool {
        self.files.len() == other.files.len()
            && self.files.iter().zip(&other.files).all(|((name, stored), (other_name, other_stored))| {
                name == other_name
                    && (Arc::ptr_eq(&stored.content, &other_stored.content) || stored.content.bytes() == other_stored.content.bytes())
            })
    }
}

impl Eq for Image {}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.files
                    .iter()
                    .map(|(name, stored)| (name.to_string(), format!("{} bytes, {:016x}", stored.content.len(), stored.content.hash()))),
            )
            .finish()
    }
}

/// A name as a number.
pub(crate) fn key(name: FileName) -> u64 {
    let kind = match name {
        FileName::Lock => 1,
        FileName::Manifest => 2,
        FileName::Segment(_) => 3,
        FileName::Spare(_) => 4,
        FileName::Damaged(_) => 5,
        FileName::Pins => 6,
        FileName::Pin(_) => 7,
        FileName::Draft(_) => 8,
    };
    kind << 32 | u64::from(name.index())
}
