//! The engine of the write-ahead log: everything but the C ABI.
//!
//! Floors, from the bottom; imports go strictly down and a test checks it:
//! 0 `error`, `names`, `seq`, `config`, `memory`; 1 `format`, `protocol`, the traits of `storage`; 2 `storage::posix`; 3 `segment`, `sync`; 4 `manifest`, `spares`,
//! `chain`, `events`, and above them `pins`; 5 `commit`, `recovery`, `retention`, `cursor`, `follow`, which are peers; 6 `log`.
//!
//! Floors 0 and 1, but for `memory`, and `segment::scan` need neither std nor an allocator.
#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(feature = "std", allow(clippy::useless_conversion, reason = "an `Offset` is a `u64` only here"))]
#![cfg_attr(not(feature = "std"), allow(clippy::unnecessary_cast, reason = "an `Offset` is a `u32` only here"))]

pub mod config;
pub mod error;
pub mod format;
pub mod names;
#[cfg(wal_plants)]
pub mod plants;
pub mod protocol;
pub mod segment;
pub mod seq;
pub mod storage;

#[cfg(all(feature = "std", not(unix)))]
compile_error!("an open log has a POSIX thread");

#[cfg(feature = "std")]
pub mod bell;
#[cfg(feature = "std")]
pub mod chain;
#[cfg(feature = "std")]
pub mod commit;
#[cfg(feature = "std")]
pub mod cursor;
#[cfg(feature = "std")]
pub mod events;
#[cfg(feature = "std")]
pub mod follow;
#[cfg(feature = "std")]
pub mod log;
#[cfg(feature = "std")]
pub mod manifest;
#[cfg(feature = "std")]
pub mod memory;
#[cfg(feature = "std")]
pub mod parts;
#[cfg(feature = "std")]
pub mod pins;
#[cfg(feature = "std")]
pub mod recovery;
#[cfg(feature = "std")]
pub mod retention;
#[cfg(feature = "std")]
pub mod spares;
#[cfg(feature = "std")]
pub mod sync;
