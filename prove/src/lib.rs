//! The suites that try to make the log lose something, as functions of how much to try. `prove/tests` calls them with little, for `make test`;
//! the program `prove` with much, for `make prove`, which counts what was tried.
#![allow(missing_docs, clippy::unwrap_used, reason = "shared by tests, where names suffice and a panic is the verdict")]

pub mod forge;
pub mod host;

pub mod memory;
pub mod watched;
