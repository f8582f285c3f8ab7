//! The library as the people meet it who use it: what `make install` puts where, programs built against that from an empty folder, the commands of
//! README.md, and the interface that later versions must keep.
#![cfg(target_os = "linux")]

mod abi;
mod install;
mod readme;
mod workshop;
