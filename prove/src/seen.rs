//! Which states were tried already.
//!
//! Two questions, two memories. *Counted*: is this state, durable image and acknowledged seq, a new one? Exact, and asked once for each examination;
//! beyond this run a sketch remembers about how many there were.
//! *Examined*: was this image judged under these very promises before? It only saves time, so it is a table that forgets.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::sketch::Sketch;

const SHARDS: usize = 64;
const TABLE: usize = 1 << 22;

/// The keys are hashes.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("the keys are numbers");
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Keys = HashSet<u64, BuildHasherDefault<AsItIs>>;

/// See the module's head. Shared by all threads.
pub struct Seen {
    counted: Vec<Mutex<Keys>>,
    examined: Vec<AtomicU64>,
    /// Of the counted states.
    pub sketch: Sketch,
}

impl Default for Seen {
    fn default() -> Seen {
        Seen {
            counted: (0..SHARDS).map(|_| Mutex::default()).collect(),
            examined: (0..TABLE).map(|_| AtomicU64::new(0)).collect(),
            sketch: Sketch::default(),
        }
    }
}

impl Seen {
    /// Whether this state was not counted before.
    pub fn count(&self, state: u64) -> bool {
        // The low bits choose the place within a shard.
        let shard = &self.counted[(state >> 40) as usize % SHARDS];
        let is_new = shard.lock().unwrap_or_else(PoisonError::into_inner).insert(state);
        if is_new {
            self.sketch.add(state);
        }
        is_new
    }

    /// Whether this judgement was not made before, as far as is remembered. Whoever asks makes it.
    pub fn examine(&self, judgement: u64) -> bool {
        self.examined[judgement as usize % TABLE].swap(judgement, Ordering::Relaxed) != judgement
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_counts_once_and_a_judgement_is_made_at_least_once() {
        let seen = Seen::default();
        assert!(seen.count(5) && !seen.count(5) && seen.count(6));
        assert!(seen.examine(5) && !seen.examine(5));
        assert!(seen.examine(5 + TABLE as u64) && seen.examine(5));
    }
}
