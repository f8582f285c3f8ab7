//! No code. Cargo fetches the sources of the peers, and `Cargo.lock` says which.
