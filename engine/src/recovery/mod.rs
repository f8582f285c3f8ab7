//! Opening: what is there, is it whole, and what has to be made durable before anything is shown. `docs/DESIGN.md` numbers the steps.
//!
//! `survey` only reads. What it finds is refused, or shown as it is (`inspect`, read-only), or made the state of an open log by `create` and
//! `recover`.

mod create;
mod ending;
mod evidence;
mod examine;
mod pinned;
mod prefix;
mod rebuild;
mod recover;
mod strict;
mod survey;
mod surveyor;

use crate::chain::{Segment, oldest_kept};
use crate::config::{Config, LogId, Recovery};
use crate::error::{Error, Result};
use crate::format::constants::END_PAYLOAD_LEN;
use crate::format::control::{Checkpoint, Link};
use crate::format::frame::frame_len;
use crate::format::manifest_slot::Manifest;
use crate::format::segment_header::SegmentHeader;
use crate::names::FileName;
use crate::pins;
use crate::protocol::gap;
use crate::segment::buffer::Placed;
use crate::segment::head::Family;
use crate::seq::{Seq, Tail};

pub use create::create;
pub use recover::recover;
pub use survey::{examine, survey};

/// What an opening found, and did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// The log.
    pub log_id: LogId,
    /// Rises at each unclean opening and at each that dropped something.
    pub epoch: u64,
    /// Whether the last close was clean.
    pub clean: bool,
    /// Whether this opening made the log.
    pub created: bool,
    /// Whether the manifest was rebuilt from the segments.
    pub rebuilt_manifest: bool,
    /// The last seq.
    pub last_seq: Seq,
    /// Records up to here are forgotten.
    pub floor_seq: Seq,
    /// The last data record among them.
    pub forgotten_data_seq: Seq,
    /// What the highest checkpoint allows to truncate to.
    pub checkpoint_seq: Seq,
    /// What the host declared with it.
    pub checkpoint_covered: Seq,
    /// The oldest record kept, one above the last if there is none.
    pub oldest_seq: Seq,
    /// Segments that hold records.
    pub segments: u64,
    /// Files that wait to be used again.
    pub spares: u64,
    /// Size of a segment, in bytes.
    pub segment_bytes: u64,
    /// Bytes read by this opening.
    pub bytes_read: u64,
    /// Records that nothing vouched for and that were copied to be durable.
    pub copied_records: u64,
    /// Their frames, in bytes.
    pub copied_bytes: u64,
    /// Where garbage was dropped; 0 if there was none.
    pub dropped_segment: u64,
    /// Its offset.
    pub dropped_offset: u64,
    /// Its length, as far as it can be told from what the blocks held before.
    pub dropped_bytes: u64,
    /// Frame headers in it that are valid by themselves.
    pub dropped_frames: u64,
    /// The damage that was found.
    pub damage: Option<Error>,
    /// How many damages an inspection found.
    pub damages: u64,
    /// Files that an earlier prefix recovery moved aside.
    pub damaged_files: u64,
    /// Files named like segments that are not of this log, or have lost the header that says so, and that it does without.
    pub foreign_files: u64,
    /// The first record that damage took; 0 if it took none.
    pub lost_first_seq: Seq,
    /// The last.
    pub lost_last_seq: Seq,
    /// Damaged files moved aside.
    pub files_aside: u64,
    /// How long it took.
    pub duration_us: u64,
}

/// What stands in the directory.
#[expect(clippy::large_enum_variant, reason = "it is moved once, and a box would be one more thing that memory can lack")]
pub enum Survey {
    /// No log. The files are what an interrupted creation left.
    Nothing(Vec<FileName>),
    /// A log.
    Log(Found),
}

/// A log as it was found.
pub struct Found {
    /// The newest manifest.
    pub manifest: Manifest,
    /// What its segments share.
    pub family: Family,
    /// The segments that count, from the oldest on. All but the last have an end.
    pub segments: Vec<Segment>,
    /// The forgotten ones that pins keep, from the oldest on: they lead up to those that count.
    pub kept: Vec<Segment>,
    /// The pins.
    pub pins: Vec<pins::Kept>,
    /// Files of segments that stay for the sake of pins.
    pub kept_files: u64,
    /// How the last one ends.
    pub ending: Ending,
    /// Whether a slot of the manifest has to be written again, the log being clean otherwise.
    pub restore_slot: bool,
    /// The end of the last segment as it was read, so that what is copied is what was verified.
    pub held: Option<Held>,
    /// The highest checkpoint.
    pub checkpoint: Checkpoint,
    /// Files that nothing needs once the opening is committed, and that it needs until then.
    pub until_commit: Vec<FileName>,
    /// Files that nothing needs.
    pub leftovers: Vec<FileName>,
    /// Damaged files, which a prefix recovery moves aside.
    pub aside: Vec<FileName>,
    /// The highest index in directory and manifest.
    pub highest_index: u32,
    /// So far.
    pub report: Report,
}

/// How the chain ends.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// Clean: appending goes on at the manifest's bound.
    Clean,
    /// Everything behind a point is unvouched: it is copied into a new segment.
    Unclean(Unclean),
}

/// What an unclean opening starts from.
#[derive(Clone, Copy, Debug)]
pub struct Unclean {
    /// The link that the new segment's OPEN carries.
    pub link: Link,
    /// The tail at the link's end.
    pub before: Tail,
    /// The seq that the new segment's first record gets: above `before` by more than one if records were lost.
    pub first_seq: Seq,
    /// Frames to copy.
    pub copy: Option<Copy>,
    /// The tail behind them.
    pub tail: Tail,
}

/// Bytes of a segment in memory.
pub struct Held {
    buffer: Vec<u8>,
    /// Their offset and how many there are.
    place: (u64, usize),
}

/// Frames that nothing vouches for.
#[derive(Clone, Copy, Debug)]
pub struct Copy {
    /// Their segment.
    pub segment: SegmentHeader,
    /// The first seq of that segment, to which relative seqs refer.
    pub segment_first_seq: Seq,
    /// Offset of the first.
    pub from: u64,
    /// Offset behind the last.
    pub end: u64,
}

/// A position in a walk that can be gone back to.
#[derive(Clone, Copy, Debug, Default)]
struct Position {
    offset: u64,
    relative: u32,
    tail: Tail,
    last_frame: Placed,
}

/// Whether a segment whose frames end at `end` can be left the usual way, by rotation.
fn has_room_for_end(capacity: u64, end: u64) -> bool {
    end + frame_len(END_PAYLOAD_LEN as u64) <= capacity
}

impl Found {
    /// The tail of everything found.
    pub fn tail(&self) -> Tail {
        match self.ending {
            Ending::Clean => self.manifest.bound.tail,
            Ending::Unclean(unclean) => unclean.tail,
        }
    }

    /// The tail of what something vouches for.
    pub fn vouched(&self) -> Tail {
        match self.ending {
            Ending::Clean => self.manifest.bound.tail,
            // Behind a hole: the seqs in it were given out for good, whatever became of their records.
            Ending::Unclean(unclean) if unclean.first_seq > unclean.before.seq + 1 => unclean.tail,
            Ending::Unclean(unclean) => unclean.before,
        }
    }

    /// Whether the log is the host's: its id, and nothing missing between the store and the log.
    pub fn check_store(&self, config: &Config) -> Result<()> {
        let Some(store) = config.store_seq else {
            return Ok(());
        };
        gap::check(store, gap::Extent { forgotten_data: self.manifest.forgotten_data, last: self.tail().seq })?;
        if config.recovery == Recovery::Strict {
            let hole = self.segments.iter().rev().filter_map(Segment::hole).find(|&(_, last)| store < last);
            if let Some((first, last)) = hole {
                return Err(gap::lost(first, last));
            }
        }
        Ok(())
    }

    /// Completes the report with what is known before anything is written. `names` is what stands in the directory.
    fn complete_report(&mut self, names: &[FileName]) {
        let tail = self.tail();
        let floor = self.manifest.floor;
        let oldest_seq = oldest_kept(&self.segments, floor);
        let report = &mut self.report;
        report.log_id = self.manifest.log_id;
        report.epoch = self.manifest.epoch;
        report.last_seq = tail.seq;
        report.floor_seq = floor;
        report.forgotten_data_seq = self.manifest.forgotten_data;
        report.checkpoint_seq = self.checkpoint.n;
        report.checkpoint_covered = self.checkpoint.covered;
        report.oldest_seq = oldest_seq;
        report.segments = self.segments.len() as u64;
        report.damaged_files = names.iter().filter(|name| matches!(name, FileName::Damaged(_))).count() as u64;
        let is_segment = |name: &&FileName| matches!(name, FileName::Segment(_));
        let named = names.iter().filter(is_segment).count() as u64;
        let known = [&self.leftovers, &self.until_commit, &self.aside].map(|names| names.iter().filter(is_segment).count() as u64);
        report.foreign_files = named.saturating_sub(report.segments + self.kept_files + known.iter().sum::<u64>());
        report.spares = (self.leftovers.len() + self.until_commit.len()) as u64;
        report.segment_bytes = self.manifest.segment_bytes;
    }
}
