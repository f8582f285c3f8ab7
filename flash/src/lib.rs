//! The write-ahead log for microcontrollers: the engine's formats, rules and frame scan over flash behind callbacks. No operating system, no allocator,
//! no recursion; the caller brings all memory.
//!
//! Floors, from the bottom: `chip`, `fail`; `desk`; `log`, `advance`, `opening`, `retain`, `replay`, which are parts of one type; the C shell.
#![cfg_attr(not(test), no_std)]

pub mod chip;
pub mod fail;
pub mod figures;

mod desk;

mod advance;
pub mod log;
mod opening;
pub mod replay;
mod retain;
