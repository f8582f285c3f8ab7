//! The suites that try to make the log lose something, as functions of how much to try. `prove/tests` calls them with little, for `make test`;
//! the program `prove` with much, for `make prove`, which counts what was tried.
#![allow(missing_docs, clippy::unwrap_used, reason = "shared by tests, where names suffice and a panic is the verdict")]

pub mod chance;
pub mod crash;
pub mod damage;
pub mod faults;
pub mod forge;
pub mod host;
pub mod lives;
pub mod memory;
pub mod pins;
pub mod recorded;
pub mod run;
pub mod scripts;
pub mod seen;
pub mod sketch;
pub mod suites;
pub mod tally;
pub mod watched;
