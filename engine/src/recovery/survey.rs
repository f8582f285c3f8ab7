//! What is in the directory, and whether it is a whole log. Writes nothing.

use super::create::FIRST_INDEX;
use super::rebuild::rebuild;
use super::surveyor::Surveyor;
use super::{Found, Survey};
use super::{examine::every_damage, prefix};
use crate::config::{Config, Recovery};
use crate::error::{Code, Error, Result};
use crate::format::constants::SEGMENT_HEADER_LEN;
use crate::format::segment_header::{BadHeader, SegmentHeader};
use crate::manifest::{self, Read};
use crate::memory;
use crate::names::FileName;
use crate::segment::buffer::read_buffer;
use crate::segment::head::newer;
use crate::segment::scan::{self, Window};
use crate::storage::{Access, File, IoError, IoKind, Storage};

/// Calls `each` with every damage of a log that `survey` finds, in the order of its files.
pub fn examine<S: Storage>(storage: &S, config: &Config, each: &mut dyn FnMut(&Error)) -> Result<()> {
    let names = list(storage)?;
    let Read::Valid(manifest, both_slots) = manifest::read(storage)? else {
        // Without a manifest nothing says which segments count; that it is gone is what has to be dealt with first.
        return match survey(storage, &Config { recovery: Recovery::Strict, ..*config }, false) {
            Err(damage) if damage.code == Code::Corrupt => {
                each(&damage);
                Ok(())
            }
            other => other.map(|_| ()),
        };
    };
    let mut surveyor = Surveyor::new(storage, names, manifest, both_slots);
    let strict = match surveyor.strict() {
        Ok(_) => None,
        Err(damage) if damage.code == Code::Corrupt => Some(damage),
        Err(error) => return Err(error),
    };
    every_damage(&mut surveyor, strict, each)
}

/// Reads what an opening needs to know: manifest, segment headers, and one segment after an unclean close; everything if `full` is set or
/// damage is to be worked around.
pub fn survey<S: Storage>(storage: &S, config: &Config, full: bool) -> Result<Survey> {
    let names = list(storage)?;
    let prefix = config.recovery == Recovery::Prefix;
    let (manifest, both_slots, rebuilt) = match manifest::read(storage)? {
        Read::Valid(manifest, both_slots) => (manifest, both_slots, None),
        Read::Missing | Read::Invalid => {
            if let Some(remains) = remains(storage, &names)? {
                return Ok(Survey::Nothing(remains));
            }
            let damage = Error::new(
                Code::Corrupt,
                "the manifest is missing or both its slots are damaged, but there are segments with records; restore it, or open with WAL_RECOVER_PREFIX to rebuild it",
            )
            .in_file(FileName::Manifest);
            if !prefix {
                return Err(damage);
            }
            (rebuild(storage, config, &names)?, true, Some(damage))
        }
    };
    if config.expected_log_id.is_some_and(|expected| expected != manifest.log_id) {
        return Err(Error::new(Code::WrongLog, "the log in this directory is not the one that the store belongs to: its id differs")
            .in_file(FileName::Manifest));
    }
    let mut found = run(Surveyor::new(storage, names, manifest, both_slots), prefix, full)?;
    found.report.rebuilt_manifest = rebuilt.is_some();
    found.report.clean &= rebuilt.is_none();
    found.report.damage = found.report.damage.or(rebuilt);
    Ok(Survey::Log(found))
}

/// The names in the log's directory, in order.
fn list<S: Storage>(storage: &S) -> Result<Vec<FileName>> {
    let mut names = Vec::new();
    let mut listed = Ok(());
    storage
        .list(&mut |name| {
            if listed.is_ok() {
                listed = memory::push(&mut names, name);
            }
        })
        .map_err(|io| io.in_directory("cannot list the log's directory"))?;
    listed?;
    names.sort_unstable();
    Ok(names)
}

/// What an interrupted creation left; `None` if any segment holds a frame. Without one and without a manifest there is only an unfinished creation, and
/// files of log names that none can have left: those are somebody else's.
fn remains<S: Storage>(storage: &S, names: &[FileName]) -> Result<Option<Vec<FileName>>> {
    let mut remains = Vec::new();
    for &name in names {
        let is_left = match name {
            FileName::Lock | FileName::Damaged(_) | FileName::Pins | FileName::Pin(_) | FileName::Draft(_) => false,
            FileName::Manifest | FileName::Spare(_) => true,
            FileName::Segment(index) => match holds_frames(storage, name)? {
                Some(true) => return Ok(None),
                Some(false) => true,
                // The first segment has its name before it has a header.
                None => index == FIRST_INDEX,
            },
        };
        if is_left {
            memory::push(&mut remains, name)?;
        }
    }
    Ok(Some(remains))
}

/// Whether a segment holds a frame; `None` if it has no header of any log.
fn holds_frames<S: Storage>(storage: &S, name: FileName) -> Result<Option<bool>> {
    let file = match storage.open(name, Access::Read) {
        Ok(file) => file,
        Err(io) if matches!(io.kind, IoKind::NotFound | IoKind::NotAFile) => return Ok(None),
        // There may be records in it: whoever took that for an unfinished creation would remove them.
        Err(io) => return Err(io.in_file(name, "cannot open the segment")),
    };
    let mut head = [0; SEGMENT_HEADER_LEN];
    let cannot_read = |io: IoError| io.in_file(name, "cannot read the segment");
    let read = file.read_at(0, &mut head).map_err(cannot_read)?;
    // Without the manifest nothing tells stale bytes from frames but the header's own seed.
    let header = match SegmentHeader::decode(&head[..read]) {
        Ok(header) => header,
        Err(BadHeader::Damaged) => return Ok(None),
        // What a newer version calls its manifest, and where it keeps frames, only that version knows.
        Err(BadHeader::Newer) => return Err(newer(name)),
    };
    let mut buffer = read_buffer(header.capacity)?;
    let frames = scan::behind(&mut Window::new(&file, &mut buffer), &header, header.data_start, 0).map_err(cannot_read)?;
    Ok(Some(frames.headers > 0))
}

/// The log as it should be, or what stands before the first damage.
fn run<S: Storage>(mut surveyor: Surveyor<'_, S>, prefix: bool, full: bool) -> Result<Found> {
    let strict = surveyor.strict().and_then(|found| {
        if prefix || full {
            surveyor.verify_all(&found)?;
        }
        Ok(found)
    });
    let mut found = match strict {
        Ok(found) => found,
        Err(damage) if damage.code == Code::Corrupt && (prefix || full) => prefix::before_damage(&mut surveyor, damage)?,
        Err(error) => return Err(error),
    };
    found.report = surveyor.report;
    found.complete_report(&surveyor.names);
    Ok(found)
}
