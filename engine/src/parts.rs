//! The parts of an open log that floor 5 has in common.

use crate::bell::Bell;
use crate::chain::Chain;
use crate::events::Events;
use crate::manifest::ManifestFile;
use crate::memory::Shared;
use crate::pins::Keeper;
use crate::spares::Spares;
use crate::storage::Storage;

/// See the module's head.
pub struct Parts<S: Storage> {
    /// The directory.
    pub storage: Shared<S>,
    /// The manifest.
    pub manifest: Shared<ManifestFile<S::File>>,
    /// The spares.
    pub spares: Shared<Spares<S>>,
    /// The segments.
    pub chain: Shared<Chain>,
    /// What pins keep.
    pub pins: Shared<Keeper<S>>,
    /// The way to the background thread.
    pub bell: Shared<Bell>,
    /// What the host hears of.
    pub events: Shared<Events>,
}

impl<S: Storage> Clone for Parts<S> {
    fn clone(&self) -> Parts<S> {
        Parts {
            storage: self.storage.clone(),
            manifest: self.manifest.clone(),
            spares: self.spares.clone(),
            chain: self.chain.clone(),
            pins: self.pins.clone(),
            bell: self.bell.clone(),
            events: self.events.clone(),
        }
    }
}
