//! The rules of the agreement between store and log, as functions of numbers: no I/O, no state.

pub mod checkpoint;
pub mod gap;
pub mod torn;
pub mod truncate;
