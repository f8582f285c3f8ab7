//! Several damages at once, which an inspection must all find.

use wal_engine::error::{Code, Error, Place};
use wal_engine::names::FileName;

use super::damages::Dice;
use super::judge::inspected;
use super::layout::Frame;
use super::left::Left;

/// Damages up to six frames in `rounds` copies of the log, and holds what an inspection finds against it; returns how many it had to find.
pub(super) fn find_each(left: &Left, rounds: u64, seed: u64) -> Result<u64, String> {
    let mut dice = Dice::new(seed);
    let mut expected = 0;
    for _ in 0..rounds {
        let mut image = left.image.clone();
        let mut hit: Vec<(u32, Frame, bool)> = Vec::new();
        for _ in 0..=dice.below(6) {
            let segment = &left.chain[dice.below(left.chain.len())];
            let place = dice.below(segment.frames.len());
            let frame = segment.frames[place];
            let is_vouched = left.clean || segment.index != left.last_segment().index;
            if !is_vouched || hit.iter().any(|(index, other, _)| (*index, other.start) == (segment.index, frame.start)) {
                continue;
            }
            let name = FileName::Segment(segment.index);
            let mut bytes = image.read(name).unwrap().to_vec();
            bytes[frame.start + dice.below(frame.end - frame.start)] ^= 1 << dice.below(8);
            image.write(name, bytes);
            hit.push((segment.index, frame, place == 0));
        }
        let found = inspected(&image)?;
        let lost_open = |index: u32| hit.iter().any(|(other, _, is_open)| *other == index && *is_open);
        for (index, frame, _) in &hit {
            let names = |damage: &&Error| names(damage, *index, frame, left.floor, lost_open(*index));
            if !found.iter().any(|damage| names(&damage)) {
                return Err(format!("{hit:?}: nothing names {frame:?} of segment {index} in {found:?}"));
            }
        }
        let is_hit = |damage: &&Error| hit.iter().any(|(index, ..)| damage.place == Place::File(FileName::Segment(*index)));
        if let Some(damage) = found.iter().find(|damage| !is_hit(damage)) {
            return Err(format!("{hit:?}: {damage:?} is none"));
        }
        expected += hit.len() as u64;
    }
    Ok(expected)
}

/// Whether `damage` is the damage of this frame, or of a stretch with it. Where the OPEN is lost as well, its seqs cannot be told.
fn names(damage: &Error, index: u32, frame: &Frame, floor: u64, lost_open: bool) -> bool {
    let begins = damage.offset.is_some_and(|offset| offset < frame.end as u64);
    let lost = frame.next_before.max(floor + 1)..frame.next_after;
    let covers = lost.is_empty() || (damage.seq > 0 && damage.seq <= lost.start && damage.seq_last >= lost.end - 1);
    damage.code == Code::Corrupt && damage.place == Place::File(FileName::Segment(index)) && begins && (covers || lost_open)
}
