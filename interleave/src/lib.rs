//! The engine under a scheduler that tries one order of its threads after the other.
//!
//! `engine` and `sim` compile the sources of the log and of the simulated disk as they are, except that the engine finds its locks, threads and
//! clock in another room `sync` (`engine/src/sync.rs` says what that models and what it does not). A *scenario* is a small life of one log with two to
//! four threads; it is run again and again, each time in another order. At every lock, atomic, wait and storage call, and in the middle of every sync,
//! the scheduler decides who goes on. Each run is judged: by the ordering monitor of the disk, by what each call answered, and by
//! what a power cut leaves at the moments of the run, opened again. A deadlock is reported by the scheduler.

pub mod explore;
pub mod judge;
pub mod scenarios;
pub mod storage;
pub mod world;
