//! Good logs to begin with, one of each shape that an opening can meet.

use std::sync::OnceLock;

use wal_engine::config::SyncMode;
use wal_prove::host::{Host, Step, config};
use wal_sim::{Disk, Image};

const SHORT: &[Step] = &[Step::Append, Step::Batch];
const FIVE_SEGMENTS: &[Step] = &[
    Step::AppendRotating,
    Step::Append,
    Step::AppendRotating,
    Step::Batch,
    Step::CheckpointBefore,
    Step::AppendRotating,
    Step::AppendRotating,
    Step::Append,
    Step::AppendRotating,
    Step::AppendRotating,
    Step::Append,
    Step::Batch,
];
const RECYCLED: &[Step] = &[
    Step::AppendRotating,
    Step::AppendRotating,
    Step::AppendRotating,
    Step::CheckpointLast,
    Step::TruncateLast,
    Step::AppendRotating,
    Step::AppendRotating,
    Step::TruncateHalf,
    Step::Batch,
    Step::Append,
];
const REOPENED: &[Step] = &[Step::Append, Step::Reopen, Step::AppendRotating, Step::AppendRotating, Step::Reopen, Step::Batch];

/// The logs: each script closed, and killed in two modes.
pub(crate) fn logs() -> &'static [Image] {
    static LOGS: OnceLock<Vec<Image>> = OnceLock::new();
    LOGS.get_or_init(|| {
        let mut logs = Vec::new();
        for script in [SHORT, FIVE_SEGMENTS, RECYCLED, REOPENED] {
            for (mode, clean) in [(SyncMode::Always, true), (SyncMode::Always, false), (SyncMode::Os, false)] {
                logs.push(left_by(script, mode, clean));
            }
        }
        logs
    })
}

fn left_by(script: &[Step], mode: SyncMode, clean: bool) -> Image {
    let mut host = Host::open(Disk::new(3), config(mode, true)).expect("an empty disk takes a log");
    for &step in script {
        host.step(step).expect("nothing fails here");
    }
    let log = host.log.take().expect("it is open");
    if clean {
        log.close().expect("nothing fails here");
    }
    // What the next process finds where only this one died.
    host.disk.visible_image()
}
