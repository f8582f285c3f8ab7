//! A simulated disk for the tests of the log: it tears, reorders, fails, fills up and crashes, keeps the order of operations, enumerates the states
//! that a crash may leave, and watches the order of what the log does. It is no part of the shipped library.
//!
//! ```
//! use wal_engine::names::FileName;
//! use wal_engine::storage::{File, Storage};
//! use wal_sim::{Budget, Disk};
//!
//! let disk = Disk::new(1);
//! let storage = disk.storage();
//! let file = storage.create(FileName::Spare(1))?;
//! file.write_at(0, b"hello")?;
//! file.sync()?;
//! storage.sync_dir()?;
//! disk.acknowledge(1);
//! for point in disk.trace().crash_points() {
//!     for image in point.images(&Budget::default()) {
//!         let rebooted = Disk::from_image(&image, 2);
//!         let found = rebooted.durable_image().read(FileName::Spare(1)).map(<[u8]>::to_vec);
//!         if point.durable() == Some(1) {
//!             assert_eq!(found.as_deref(), Some(&b"hello"[..]));
//!         }
//!     }
//! }
//! disk.assert_ordered();
//! # Ok::<(), wal_engine::storage::IoError>(())
//! ```
//!
//! # The file system that is assumed
//!
//! *Content.* A write goes to the cache, where every reader sees it at once. `sync` makes durable what was written to that file before the sync
//! began, and the size that goes with it; nothing about the file's name. At a crash each write that is not durable is there, or not, or in part: some
//! of its 512-byte or 4096-byte sectors (counted from the start of the file) are there and the others hold their old bytes, zeros or garbage.
//! Whatever happens to a sector, only bytes that an unsynced write changed are touched; the rest of it keeps its durable value. Writes that
//! overlap may reach the disk in any order.
//!
//! *Size.* A file that unsynced writes have extended may have its durable size, or the end of any of those writes, whether or not the bytes are
//! there; missing bytes read as zeros. A size that survives without the bytes is a hole: it owns no space.
//!
//! *Names.* Creations, renames and removals are visible at once and durable after `sync_dir`. At a crash each one that is not durable is there or
//! not, independently of the others; those that are there take effect in the order in which they were made. A rename that is there carries the
//! entry of its file with it, whatever became of the operations that gave the file its earlier names; a removal takes an entry only if it still
//! names that file; a creation replaces what has its name. A rename is whole or absent: never two names, never none. A file without a name is gone.
//! `LOCK` is durable as soon as it is created: it holds nothing, and leaving it out would only double the number of states.
//!
//! *A failed sync.* The writes that it should have made durable are *lost*: readers still see them, the next sync succeeds without making them
//! durable, and `drop_cache` (or `Disk::drop_caches`, or the end of the machine) shows what is durable instead. A crash before that treats them like any
//! unsynced write. A newer write that is synced supersedes them where they overlap. After a failed `sync_dir`, further ones on the same
//! storage value succeed and make nothing durable; a storage value opened later can sync the names again, because a file system that cannot
//! write its journal does not go on working.
//!
//! *Space.* Where there is a limit, bytes that a file did not have before need space, overwriting needs none, and a file gives its space back when
//! it has no name and no handle.
//!
//! *Processes.* Dropping a storage value and making another is a restart of the process: the cache stays. `Disk::kill_at` is the death of
//! the process in the middle of a call. Only booting an image (`Disk::from_image`) is a restart of the machine.

mod call;
mod crash;
mod disk;
mod fault;
mod image;
mod model;
mod monitor;
mod random;
mod storage;
mod trace;

pub use call::Call;
pub use crash::{Budget, Images};
pub use disk::Disk;
pub use fault::{EINTR, EIO, ENOMEM, ENOSPC, Effect, Fault};
pub use image::Image;
pub use model::{Data, Inode, Op};
pub use monitor::{Rule, Violation};
pub use storage::{SimFile, SimPinsLock, SimStorage};
pub use trace::{CrashPoints, Mark, Point, Trace};
