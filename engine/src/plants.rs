//! Mistakes that real write-ahead logs have made. Exists only in a build with `--cfg wal_plants`, which the proof makes to show that it catches each
//! of them; what is shipped never has them.
//!
//! One at a time is planted: by `choose`, or by the environment variable `WAL_PLANT` with the mistake's number, for programs that are not Rust. The
//! code that it spoils asks for it in one line, under the same `cfg`.

use core::sync::atomic::{AtomicU8, Ordering};

/// A mistake, numbered as in the table of `docs/RELIABILITY.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mistake {
    /// A file gets its name, and the directory is not synced.
    NameNotSynced = 1,
    /// A torn write whose blocks still hold the preallocated zeros is taken for damage.
    ZerosAreDamage = 2,
    /// Readers have a limit on the length of a frame that writers do not have.
    ReaderHasLimit = 3,
    /// A damaged frame is taken for the end, whatever the frames behind it say.
    DamageIsTheEnd = 4,
    /// The watermark is written in one sync mode only.
    WatermarkNeedsMode = 5,
    /// After a torn end appending goes on behind it instead of in its place.
    AppendsBehindTornEnd = 6,
    /// After a failed write the next frame goes behind the place of the failed one.
    FailedWriteStays = 7,
    /// A sync that fails is tried again, and the second answer believed.
    SyncIsRetried = 8,
    /// Those who wait for somebody else's sync are not told that it failed.
    FollowersHearSuccess = 9,
    /// Frames that were written while a sync ran are taken for synced by it.
    SyncedCountsLater = 10,
    /// An append is acknowledged first and saved afterwards.
    AcknowledgedFirst = 11,
    /// A checkpoint licenses to forget everything in front of its record.
    LicenceIsOwnSeq = 12,
    /// A checkpoint installs the end of the log as it was when it began, even where the log has moved on to another segment since.
    StaleBound = 13,
    /// What a truncation has left of a batch is passed over.
    CutBatchIsSkipped = 14,
    /// A recycled segment has the seed of the one that it was.
    SeedIsNotRenewed = 15,
    /// A failed write is reported and not taken back.
    RefusedRecordStays = 16,
    /// A file that is too short is not noticed.
    CutFileLooksWhole = 17,
    /// A log without a record starts counting again.
    SeqsBeginAgain = 18,
    /// The host lets the log forget before its own file is synced. Planted in the host.
    StoreNotSynced = 19,
    /// The floor advances in memory, and segments go, without the manifest.
    FloorInMemory = 20,
}

/// In `CHOSEN`: the environment has not been asked yet.
const NOT_ASKED: u8 = u8::MAX;

static CHOSEN: AtomicU8 = AtomicU8::new(NOT_ASKED);

/// Plants a mistake in this process, in place of the one that was planted; `None` plants none.
pub fn choose(mistake: Option<Mistake>) {
    CHOSEN.store(mistake.map_or(0, |mistake| mistake as u8), Ordering::SeqCst);
}

impl Mistake {
    /// Whether this one is planted.
    pub fn is_planted(self) -> bool {
        let chosen = match CHOSEN.load(Ordering::Relaxed) {
            NOT_ASKED => ask(),
            chosen => chosen,
        };
        chosen == self as u8
    }

    /// `wrong` where this one is planted, `right` otherwise.
    pub fn or<T>(self, wrong: T, right: T) -> T {
        if self.is_planted() { wrong } else { right }
    }
}

#[cfg(feature = "std")]
fn ask() -> u8 {
    let chosen = std::env::var("WAL_PLANT").ok().and_then(|number| number.parse().ok()).unwrap_or(0);
    CHOSEN.store(chosen, Ordering::SeqCst);
    chosen
}

#[cfg(not(feature = "std"))]
fn ask() -> u8 {
    0
}
