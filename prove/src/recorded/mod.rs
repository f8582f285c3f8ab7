//! The real storage code under the crash-state generator.
//!
//! A host in C (prove/c/host.c) runs scripts against the shared library as it is shipped, on real files. A preloaded recorder (prove/c/record.c) takes
//! down every call that changes a file. The recording is then made once more on the simulated disk, so that the generator of crash states and the
//! ordering monitor see what the real code did, and every state is opened and held against what the host was promised.
//!
//! That the recorder misses nothing is checked for every script: the files that the simulated disk shows in the end are those that the library left.

pub mod judge;
pub mod replay;
pub mod script;
pub mod sites;
pub mod suite;
pub mod tools;
