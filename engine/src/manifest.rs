//! The manifest file: read at opening, installed atomically afterwards.

use crate::error::{Code, Error, Result};
use crate::format::constants::{MANIFEST_COPIES, MANIFEST_COPY_LEN, MANIFEST_LEN, MANIFEST_PAGE_LEN, MANIFEST_SLOTS};
use crate::format::manifest_slot::Manifest;
use crate::format::segment_header::BadHeader;
use crate::memory;
use crate::names::FileName;
use crate::storage::{Access, File, IoError, IoKind, Storage, write_zeros};
use crate::sync::Mutex;

/// Length of one slot.
const SLOT_LEN: usize = MANIFEST_PAGE_LEN * MANIFEST_COPIES;

/// What the manifest file holds.
#[derive(Clone, Copy, Debug)]
pub enum Read {
    /// There is no file.
    Missing,
    /// There is a file and no valid copy in it.
    Invalid,
    /// A valid copy; whether each slot has one. A slot without is one that a crash tore or damage took: the other may be out of date.
    Valid(Manifest, bool),
}

/// Reads the manifest from the device: what only a cache holds may be gone tomorrow.
pub fn read<S: Storage>(storage: &S) -> Result<Read> {
    let name = FileName::Manifest;
    let file = match storage.open(name, Access::Read) {
        Ok(file) => file,
        Err(IoError { kind: IoKind::NotFound, .. }) => return Ok(Read::Missing),
        Err(io) => return Err(io.in_file(name, "cannot open the manifest")),
    };
    file.sync().map_err(|io| io.in_file(name, "cannot sync the manifest before reading it"))?;
    file.drop_cache();
    let mut bytes = memory::zeroed(MANIFEST_LEN, "no memory to read the manifest")?;
    let read = file.read_at(0, &mut bytes).map_err(|io| io.in_file(name, "cannot read the manifest"))?;
    let slots = slots(&bytes[..read])?;
    Ok(newest(&slots).map_or(Read::Invalid, |newest| Read::Valid(newest, slots.iter().all(Option::is_some))))
}

/// What both slots say of a log that another process may be writing at this moment, as the cache has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peeked {
    /// The newest manifest. What it says of durable bytes was true before it was written; it need not be durable itself.
    pub newest: Manifest,
    /// The one before, if its slot is whole. It is durable: the newest was not written before.
    pub before: Option<Manifest>,
}

/// Reads a manifest into `buffer`, which holds at least `MANIFEST_LEN` bytes; `None` if no copy is whole.
pub fn peek<F: File>(file: &F, buffer: &mut [u8]) -> Result<Option<Peeked>> {
    let read = file.read_at(0, &mut buffer[..MANIFEST_LEN]).map_err(|io| io.in_file(FileName::Manifest, "cannot read the manifest"))?;
    let slots = slots(&buffer[..read])?;
    Ok(newest(&slots).map(|newest| {
        let before = slots.into_iter().flatten().find(|manifest| manifest.generation < newest.generation);
        Peeked { newest, before }
    }))
}

fn len<F: File>(file: &F) -> Result<u64> {
    file.len().map_err(|io| io.in_file(FileName::Manifest, "cannot ask for the manifest's size"))
}

fn newest(slots: &[Option<Manifest>; MANIFEST_SLOTS]) -> Option<Manifest> {
    slots.iter().flatten().max_by_key(|manifest| manifest.generation).copied()
}

/// The valid copy with the highest generation of each slot in `bytes`, which are at most a manifest.
fn slots(bytes: &[u8]) -> Result<[Option<Manifest>; MANIFEST_SLOTS]> {
    let mut slots: [Option<Manifest>; MANIFEST_SLOTS] = [None; MANIFEST_SLOTS];
    for (page, bytes) in bytes.chunks(MANIFEST_PAGE_LEN).enumerate() {
        let Some(copy) = bytes.get(..MANIFEST_COPY_LEN) else {
            break;
        };
        match Manifest::decode(copy) {
            Ok(manifest) => {
                let best = &mut slots[page / MANIFEST_COPIES];
                if best.is_none_or(|best| best.generation < manifest.generation) {
                    *best = Some(manifest);
                }
            }
            Err(BadHeader::Newer) => {
                return Err(Error::new(Code::Format, "the manifest was written by a newer format version; use a newer library")
                    .in_file(FileName::Manifest)
                    .at((page * MANIFEST_PAGE_LEN) as u64));
            }
            Err(BadHeader::Damaged) => {}
        }
    }
    Ok(slots)
}

/// How an install failed.
#[derive(Clone, Copy, Debug)]
pub struct InstallError {
    /// Why.
    pub error: Error,
    /// Whether a sync failed, after which nothing that this handle does can be trusted to last.
    pub is_final: bool,
}

impl InstallError {
    /// What the call that met it answers: what poisons the handle is `Code::Failed`, whatever the device said.
    pub fn told(self) -> Error {
        if self.is_final { Error { code: Code::Failed, ..self.error } } else { self.error }
    }
}

/// The manifest of an open log. Each install rewrites the slot that does not hold the newest content.
pub struct ManifestFile<F: File> {
    file: F,
    current: Mutex<Current>,
}

struct Current {
    manifest: Manifest,
    /// How long the file is: damage may have cut it.
    len: u64,
    /// The generation of the last write, whatever became of it. After a failed one a copy may hold it, so it stands for that content for good.
    tried: u64,
    /// Set when a sync failed: a later one that succeeds proves nothing.
    failed: Option<Error>,
}

impl Current {
    fn new(manifest: Manifest, len: u64) -> Mutex<Current> {
        Mutex::new(Current { manifest, len, tried: manifest.generation, failed: None })
    }
}

impl<F: File> ManifestFile<F> {
    /// The manifest file of a log that is opened for writing; `current` is what `read` said.
    pub fn open<S: Storage<File = F>>(storage: &S, current: Manifest) -> Result<ManifestFile<F>> {
        let name = FileName::Manifest;
        let file = storage.open(name, Access::Write).map_err(|io| io.in_file(name, "cannot open the manifest for writing"))?;
        let len = len(&file)?;
        Ok(ManifestFile { file, current: Current::new(current, len) })
    }

    /// Makes the file of a new log, both slots alike. Its name is durable after the directory is synced.
    pub fn create<S: Storage<File = F>>(storage: &S, first: Manifest) -> Result<ManifestFile<F>> {
        let name = FileName::Manifest;
        let file = storage.create(name).map_err(|io| io.in_file(name, "cannot create the manifest"))?;
        file.fill_zeros(MANIFEST_LEN as u64).map_err(|io| io.in_file(name, "cannot allocate the manifest"))?;
        let manifest = ManifestFile { file, current: Current::new(first, MANIFEST_LEN as u64) };
        manifest.install_twice(|_| {}).map_err(|failed| failed.error)?;
        Ok(manifest)
    }

    /// Writes a manifest where none is valid any more.
    pub fn rebuild<S: Storage<File = F>>(storage: &S, rebuilt: Manifest) -> Result<ManifestFile<F>> {
        let name = FileName::Manifest;
        let file = match storage.open(name, Access::Write) {
            Err(IoError { kind: IoKind::NotFound, .. }) => storage.create(name),
            opened => opened,
        };
        let file = file.map_err(|io| io.in_file(name, "cannot open the manifest for rebuilding it"))?;
        let len = len(&file)?;
        let manifest = ManifestFile { file, current: Current::new(rebuilt, len) };
        manifest.install_twice(|_| {}).map_err(|failed| failed.error)?;
        storage.sync_dir().map_err(|io| io.in_directory("cannot sync the log's directory"))?;
        Ok(manifest)
    }

    /// What was installed last.
    pub fn current(&self) -> Manifest {
        self.current.lock().manifest
    }

    /// Durable when this returns, or as before: with one sync.
    pub fn install(&self, edit: impl FnOnce(&mut Manifest)) -> core::result::Result<Manifest, InstallError> {
        let mut current = self.current.lock();
        let mut next = current.manifest;
        edit(&mut next);
        self.write(&mut current, next)?;
        Ok(next)
    }

    /// Like `install`, into both slots: needed where the older slot would not do any more, because what it names is about to go.
    pub fn install_twice(&self, edit: impl FnOnce(&mut Manifest)) -> core::result::Result<Manifest, InstallError> {
        let mut current = self.current.lock();
        let mut next = current.manifest;
        edit(&mut next);
        self.write(&mut current, next)?;
        self.write(&mut current, next)?;
        Ok(next)
    }

    fn write(&self, current: &mut Current, mut next: Manifest) -> core::result::Result<(), InstallError> {
        if let Some(error) = current.failed {
            return Err(InstallError { error, is_final: true });
        }
        // The next one that belongs to the slot without the newest content.
        let is_retry = current.tried > current.manifest.generation;
        next.generation = current.tried + if is_retry { MANIFEST_SLOTS as u64 } else { 1 };
        let copy = next.encode();
        if Manifest::decode(&copy) != Ok(next) {
            // What could not be read back must not replace what can.
            let error = Error::new(Code::Panic, "refused to install a manifest that contradicts itself").in_file(FileName::Manifest);
            return Err(InstallError { error, is_final: true });
        }
        let mut slot = [0; SLOT_LEN];
        for page in slot.chunks_exact_mut(MANIFEST_PAGE_LEN) {
            page[..MANIFEST_COPY_LEN].copy_from_slice(&copy);
        }
        let offset = (next.generation % MANIFEST_SLOTS as u64) * SLOT_LEN as u64;
        let name = FileName::Manifest;
        current.tried = next.generation;
        // Not every storage lets a write begin behind the end.
        write_zeros(&self.file, current.len, offset)
            .and_then(|()| self.file.write_at(offset, &slot))
            .map_err(|io| InstallError { error: io.in_file(name, "cannot write the manifest").at(offset), is_final: false })?;
        current.len = current.len.max(offset + SLOT_LEN as u64);
        if let Err(io) = self.file.sync() {
            let error = io.in_file(name, "cannot sync the manifest").at(offset);
            current.failed = Some(error);
            return Err(InstallError { error, is_final: true });
        }
        current.manifest = next;
        Ok(())
    }
}
