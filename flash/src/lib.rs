//! The write-ahead log for microcontrollers: the engine's formats, rules and frame scan over flash behind callbacks. No operating system, no allocator,
//! no recursion; the caller brings all memory.
//!
//! Floors, from the bottom: `body`, `chip`, `fail`, `trail`; `desk`; `walk`; `log`, `advance`, `opening`, `retain`, `replay`, which are parts of one type; the C shell.
#![no_std]
#![allow(clippy::missing_safety_doc)] // The contracts are the header's, stated there once for all functions.
#![allow(clippy::too_many_arguments)] // The signatures are the ABI's.

pub mod chip;
pub mod fail;
pub mod figures;

mod body;
mod desk;
mod trail;
mod walk;

mod advance;
pub mod log;
mod opening;
pub mod replay;
mod retain;

pub mod c;
