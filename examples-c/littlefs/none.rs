//! No code. Cargo fetches the sources of littlefs, and `Cargo.lock` says which.
