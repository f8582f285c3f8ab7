//! The engine, every room of it from the library's own sources, but `sync`: there it finds locks, threads and a clock that a test's scheduler commands.
//!
//! A room that the engine gets and this list lacks is an error of the compiler.

#![expect(clippy::useless_conversion, reason = "offsets have 32 bits in the engine without std")]

#[path = "../../../engine/src/bell.rs"]
pub mod bell;
#[path = "../../../engine/src/chain.rs"]
pub mod chain;
#[path = "../../../engine/src/commit/mod.rs"]
pub mod commit;
#[path = "../../../engine/src/config.rs"]
pub mod config;
#[path = "../../../engine/src/cursor/mod.rs"]
pub mod cursor;
#[path = "../../../engine/src/error.rs"]
pub mod error;
#[path = "../../../engine/src/events.rs"]
pub mod events;
#[path = "../../../engine/src/follow/mod.rs"]
pub mod follow;
#[path = "../../../engine/src/format/mod.rs"]
pub mod format;
#[path = "../../../engine/src/log/mod.rs"]
pub mod log;
#[path = "../../../engine/src/manifest.rs"]
pub mod manifest;
#[path = "../../../engine/src/memory.rs"]
pub mod memory;
#[path = "../../../engine/src/names.rs"]
pub mod names;
#[path = "../../../engine/src/parts.rs"]
pub mod parts;
#[path = "../../../engine/src/pins/mod.rs"]
pub mod pins;
#[cfg(wal_plants)]
#[path = "../../../engine/src/plants.rs"]
pub mod plants;
#[path = "../../../engine/src/protocol/mod.rs"]
pub mod protocol;
#[path = "../../../engine/src/recovery/mod.rs"]
pub mod recovery;
#[path = "../../../engine/src/retention/mod.rs"]
pub mod retention;
#[path = "../../../engine/src/segment/mod.rs"]
pub mod segment;
#[path = "../../../engine/src/seq.rs"]
pub mod seq;
#[path = "../../../engine/src/spares.rs"]
pub mod spares;
#[path = "../../../engine/src/storage/mod.rs"]
pub mod storage;

pub mod sync;
