//! The calls of the storage traits, by name, so that they can be counted and made to fail.

use std::fmt;

/// A storage call that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// `Storage::lock`.
    Lock,
    /// `Storage::lock_pins`.
    LockPins,
    /// `Storage::list`.
    List,
    /// `Storage::create`.
    Create,
    /// `Storage::open`.
    Open,
    /// `Storage::rename`.
    Rename,
    /// `Storage::remove`.
    Remove,
    /// `Storage::sync_dir`.
    SyncDir,
    /// `Storage::random`.
    Random,
    /// `File::len`.
    Len,
    /// `File::read_at`.
    ReadAt,
    /// `File::write_at`.
    WriteAt,
    /// `File::fill_zeros`.
    FillZeros,
    /// `File::sync`.
    Sync,
}

impl Call {
    /// Every kind.
    pub const ALL: [Call; 14] = [
        Call::Lock,
        Call::LockPins,
        Call::List,
        Call::Create,
        Call::Open,
        Call::Rename,
        Call::Remove,
        Call::SyncDir,
        Call::Random,
        Call::Len,
        Call::ReadAt,
        Call::WriteAt,
        Call::FillZeros,
        Call::Sync,
    ];

    /// The name of the trait's method.
    pub fn name(self) -> &'static str {
        match self {
            Call::Lock => "lock",
            Call::LockPins => "lock_pins",
            Call::List => "list",
            Call::Create => "create",
            Call::Open => "open",
            Call::Rename => "rename",
            Call::Remove => "remove",
            Call::SyncDir => "sync_dir",
            Call::Random => "random",
            Call::Len => "len",
            Call::ReadAt => "read_at",
            Call::WriteAt => "write_at",
            Call::FillZeros => "fill_zeros",
            Call::Sync => "sync",
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
