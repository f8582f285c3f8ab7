//! Pins: named promises, each in a file of its own, that what is above a seq stays on disk after the host has forgotten it.
//!
//! Whoever makes, moves or takes away a pin holds the pins' lock, and so does the log while it decides which forgotten segments go. A pin may be
//! another process's, so the log believes nothing but the files, and of them nothing but what is durable: each is synced before it is read. A move
//! that only a cache holds would let the log drop what the pin, after a power cut, still promises.

mod calls;
mod keeper;
mod store;

pub use calls::{Limit, PinInfo, advance, create, list, oldest, remove};
pub use keeper::{Held, Keeper};
pub use store::{Kept, Standing, read_all};
