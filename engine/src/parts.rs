//! The parts of an open log that floor 5 has in common.

use crate::bell::Bell;
use crate::chain::Chain;
use crate::manifest::ManifestFile;
use crate::spares::Spares;
use crate::storage::Storage;
use crate::sync::Arc;

/// See the module's head.
pub struct Parts<S: Storage> {
    /// The directory.
    pub storage: Arc<S>,
    /// The manifest.
    pub manifest: Arc<ManifestFile<S::File>>,
    /// The spares.
    pub spares: Arc<Spares<S>>,
    /// The segments.
    pub chain: Arc<Chain>,
    /// The way to the background thread.
    pub bell: Arc<Bell>,
}

impl<S: Storage> Clone for Parts<S> {
    fn clone(&self) -> Parts<S> {
        Parts {
            storage: Arc::clone(&self.storage),
            manifest: Arc::clone(&self.manifest),
            spares: Arc::clone(&self.spares),
            chain: Arc::clone(&self.chain),
            bell: Arc::clone(&self.bell),
        }
    }
}
