//! The C ABI of the write-ahead log.
//!
//! One file per noun. An export guards (panics, NULL, `fork`), checks, makes one engine call and maps the result. Pointers are followed only in
//! `boundary` and `handle`. `include/wal.h` is generated from this crate, so the doc comments of whatever is exported speak C.
#![allow(clippy::missing_safety_doc)] // The contracts are the header's, stated there once for all functions.
#![allow(clippy::too_many_arguments)] // The signatures are the ABI's.

#[macro_use]
mod boundary;
mod callbacks;
mod check;
mod files;
mod handle;
mod text;

// What is exported stands in the order in which a host meets it: it is the order of the header.
mod version;

mod status;

mod error;
mod message;
mod storage;

mod options;

mod log;

mod append;
mod sync;

mod checkpoint;
mod replay;

mod pin;

mod stat;

mod inspect;

pub use append::*;
pub use checkpoint::*;
pub use error::WalError;
pub use handle::{Wal, WalCursor};
pub use inspect::*;
pub use log::*;
pub use message::*;
pub use options::*;
pub use pin::*;
pub use replay::*;
pub use stat::*;
pub use status::*;
pub use storage::*;
pub use sync::*;
pub use version::*;
