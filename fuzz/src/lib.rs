//! What the fuzz targets do with their input. `fuzz_targets/` hands them to libFuzzer; `tests/corpus.rs` replays the corpus without it.
//!
//! `segments` and `manifest` take a good log, edit it as the input says, make the checksums right again and open what came out in every way there
//! is. `calls` makes the C calls that the input spells, sensible and senseless ones, and holds every answer against a model.

mod base;
mod calls;
mod edit;
mod judge;
mod memory;
mod repair;

use arbitrary::Unstructured;

pub use calls::calls;
use edit::Part;

/// A log directory whose segments a stranger wrote.
pub fn segments(data: &[u8]) {
    directory(data, Part::Segments);
}

/// A log directory whose manifest a stranger wrote.
pub fn manifest(data: &[u8]) {
    directory(data, Part::Manifest);
}

fn directory(data: &[u8], part: Part) {
    let mut input = Unstructured::new(data);
    let Ok(base) = input.arbitrary::<u8>() else { return };
    let Ok(repairs) = input.arbitrary::<u8>() else { return };
    let mut image = base::logs()[usize::from(base) % base::logs().len()].clone();
    if edit::apply(&mut image, part, &mut input).is_err() {
        return;
    }
    repair::checksums(&mut image, repairs);
    judge::every_opening(&image, part);
}
