//! A new log.

use crate::config::{Config, LOG_ID_BYTES};
use crate::error::Result;
use crate::format::constants::DATA_START;
use crate::format::control::Checkpoint;
use crate::format::manifest_slot::{Bound, Manifest};
use crate::format::segment_header::SegmentHeader;
use crate::manifest::ManifestFile;
use crate::names::FileName;
use crate::seq::Tail;
use crate::storage::{File, Storage};

/// The first segment of every log.
pub(super) const FIRST_INDEX: u32 = 1;

/// Makes a log: segment 1 with its header only, then the manifest. A crash before that leaves no valid manifest and no
/// frame, and the creation is begun again. `remains` are the files of such an attempt.
pub fn create<S: Storage>(storage: &S, config: &Config, remains: &[FileName]) -> Result<ManifestFile<S::File>> {
    for &name in remains {
        storage.remove(name).map_err(|io| io.in_file(name, "cannot remove what an interrupted creation left"))?;
    }
    let mut random = [0; LOG_ID_BYTES + 4];
    storage.random(&mut random).map_err(|io| io.in_directory("cannot get random bytes for the log's id"))?;
    let mut log_id = [0; LOG_ID_BYTES];
    log_id.copy_from_slice(&random[..LOG_ID_BYTES]);
    let seed_base = u32::from_le_bytes([random[16], random[17], random[18], random[19]]);
    let header = SegmentHeader::new(log_id, seed_base, FIRST_INDEX, config.segment_bytes, false);

    let name = FileName::Segment(FIRST_INDEX);
    let file = storage.create(name).map_err(|io| io.in_file(name, "cannot create the first segment"))?;
    file.fill_zeros(config.segment_bytes)
        .and_then(|()| file.write_at(0, &header.encode()))
        .and_then(|()| file.sync())
        .map_err(|io| io.in_file(name, "cannot allocate the first segment"))?;
    // Before there is a manifest: one whose segment's name did not last would be a damaged log, not an unfinished creation.
    let sync_dir = || storage.sync_dir().map_err(|io| io.in_directory("cannot sync the log's directory"));
    sync_dir()?;
    let manifest = ManifestFile::create(
        storage,
        Manifest {
            generation: 0,
            dirty: false,
            log_id,
            floor: 0,
            forgotten_data: 0,
            checkpoint: Checkpoint::default(),
            epoch: 1,
            bound: Bound { segment: FIRST_INDEX, offset: DATA_START, tail: Tail::default() },
            oldest_segment: FIRST_INDEX,
            seed_base,
            segment_bytes: config.segment_bytes,
            aside: (0, 0),
        },
    )?;
    sync_dir()?;
    Ok(manifest)
}
