//! The logs that are damaged: five segments and more, written in several ways, closed or killed.

use wal_engine::config::SyncMode;
use wal_engine::format::constants::OP_PUT;
use wal_engine::format::frame::{FrameHeader, Kind, payload_crc};
use wal_engine::log::Log;
use wal_engine::names::FileName;
use wal_sim::{Disk, Image};

use super::layout::{self, Segment};
use crate::host::{History, Host, Known, Step, config, value_of};

/// How a log came to be as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// Each append synced, segments fresh.
    Always,
    /// The same in segments whose blocks held other frames before.
    Recycled,
    /// Appends handed to the operating system, the process killed: long stretches that nothing vouches for.
    System,
    /// With records in fragments, as other writers write them.
    Fragments,
}

/// A log as it was left, and what is known of it.
pub(super) struct Left {
    pub(super) made: Made,
    pub(super) clean: bool,
    pub(super) image: Image,
    /// The same at every earlier moment at which anything in it was different.
    pub(super) older: Vec<Image>,
    pub(super) history: History,
    pub(super) last: u64,
    pub(super) floor: u64,
    pub(super) chain: Vec<Segment>,
    /// The last seq that something vouches for.
    pub(super) vouched: u64,
}

/// Five segments with records, batches, a checkpoint, and a floor inside the first.
const FIVE_SEGMENTS: [Step; 14] = [
    Step::AppendRotating,
    Step::Append,
    Step::Append,
    Step::AppendRotating,
    Step::Batch,
    Step::AppendRotating,
    Step::CheckpointBefore,
    Step::TruncateHalf,
    Step::AppendRotating,
    Step::Append,
    Step::AppendRotating,
    Step::AppendRotating,
    Step::Batch,
    Step::Append,
];

/// Fills segments and forgets them, so that what comes next is written over them.
const USED_BEFORE: [Step; 9] = [
    Step::AppendRotating,
    Step::AppendRotating,
    Step::AppendRotating,
    Step::AppendRotating,
    Step::AppendRotating,
    Step::AppendRotating,
    Step::AppendRotating,
    Step::CheckpointLast,
    Step::TruncateLast,
];

impl Left {
    pub(super) fn new(made: Made, clean: bool) -> Left {
        let mode = if made == Made::System { SyncMode::Os } else { SyncMode::Always };
        let mut host = Host::open(Disk::new(3), config(mode, true)).unwrap();
        let mut older: Vec<Image> = Vec::new();
        let used_before: &[Step] = if made == Made::Recycled { &USED_BEFORE } else { &[] };
        for &step in used_before.iter().chain(&FIVE_SEGMENTS) {
            host.step(step).unwrap();
            let image = host.disk.visible_image();
            if older.last() != Some(&image) {
                older.push(image);
            }
        }
        if made == Made::Fragments {
            add_fragments(&mut host);
        }
        let log = host.log.take().unwrap();
        let last = log.last_seq();
        if clean {
            log.close().unwrap()
        } else {
            drop(log)
        }
        // What a killed process handed to the system is still there.
        let image = host.disk.visible_image();
        let chain = layout::chain(&image);
        assert!(chain.len() >= 5, "{made:?}: {} segments", chain.len());
        assert!(chain[chain.len() - 1].recycled || made != Made::Recycled, "a fresh segment");
        assert_eq!(chain[chain.len() - 1].frames.last().map(|frame| frame.next_after), Some(last + 1));
        let floor = layout::manifest(&image).unwrap().floor;
        let vouched = if clean { last } else { layout::vouched(&image, &chain) };
        Left { made, clean, image, older, history: host.history, last, floor, chain, vouched }
    }

    /// The segment at the log's end.
    pub(super) fn last_segment(&self) -> &Segment {
        &self.chain[self.chain.len() - 1]
    }

    /// Whether a byte lies in a frame of a killed log for which nothing vouches.
    pub(super) fn is_unvouched(&self, name: FileName, at: usize) -> bool {
        let segment = self.last_segment();
        let frame = if name == FileName::Segment(segment.index) { segment.frame_at(at) } else { None };
        frame.is_some_and(|frame| !self.clean && frame.next_after > self.vouched + 1)
    }

    pub(super) fn names(&self) -> Vec<FileName> {
        self.image.names().collect()
    }
}

/// Kills the host's log, writes two records in fragments behind its end, which no call of the engine can do, and opens it again.
fn add_fragments(host: &mut Host) {
    drop(host.log.take());
    let mut image = host.disk.visible_image();
    let chain = layout::chain(&image);
    let segment = &chain[chain.len() - 1];
    let name = FileName::Segment(segment.index);
    let mut bytes = image.read(name).unwrap().to_vec();
    let seed = u32::from_le_bytes(bytes[36..40].try_into().unwrap());
    let mut at = segment.end();
    let last = segment.frames[segment.frames.len() - 1];
    for seq in last.next_after..last.next_after + 2 {
        let value = value_of(seq, 150);
        for (piece, kind) in value.chunks(50).zip([Kind::First, Kind::Middle, Kind::Last]) {
            let header = FrameHeader {
                payload_crc: payload_crc(&[piece]),
                payload_len: piece.len() as u32,
                relative_seq: (seq - segment.first_seq) as u32,
                watermark: last.end as u64,
                key_len: 0,
                op: if kind == Kind::First { OP_PUT } else { 0 },
                kind,
            };
            header.encode(seed, at as u64, &mut bytes[at..]);
            bytes[at + 24..][..piece.len()].copy_from_slice(piece);
            at += header.len() as usize;
        }
        host.history.insert(seq, Known { op: OP_PUT, value, batch_last: seq });
    }
    image.write(name, bytes);
    host.disk = Disk::from_image(&image, 5);
    host.log = Some(Log::open(host.disk.storage(), &host.config).unwrap());
    // What was copied by that opening is vouched for; two more records are not, but for the first.
    host.step(Step::Append).unwrap();
    host.step(Step::Append).unwrap();
}
