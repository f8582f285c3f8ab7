//! A simulated flash chip, and the judge of the log on it.
#![allow(missing_docs)]

pub mod chip;
pub mod explore;
pub mod judge;
