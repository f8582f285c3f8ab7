//! Edits of a log directory, as an input spells them: of fields where there are fields, so that few bytes of input reach deep.

use arbitrary::{Result, Unstructured};
use wal_engine::format::constants::{DATA_START, FRAME_HEADER_LEN, MANIFEST_COPIES, MANIFEST_COPY_LEN, MANIFEST_PAGE_LEN, MANIFEST_SLOTS};
use wal_engine::names::FileName;
use wal_sim::Image;

use crate::repair::{frames, segments};

/// What the input may edit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Segments,
    Manifest,
}

/// No file grows beyond this.
const MAX_BYTES: usize = 1 << 16;

const MAX_EDITS: usize = 16;

/// Byte ranges of the fields of a frame header that an edit may set: payload_len, relative seq, watermark, key_len, op, kind.
const FRAME_FIELDS: [(usize, usize); 6] = [(8, 4), (12, 4), (16, 4), (20, 2), (22, 1), (23, 1)];

/// Of a segment's header: version, oldest reader, flags, log id, index, seed, capacity, data start.
const HEADER_FIELDS: [(usize, usize); 8] = [(8, 2), (10, 2), (12, 4), (16, 8), (32, 4), (36, 4), (40, 8), (52, 4)];

/// Edits `image` until the input ends.
pub(crate) fn apply(image: &mut Image, part: Part, input: &mut Unstructured<'_>) -> Result<()> {
    for _ in 0..MAX_EDITS {
        if input.is_empty() {
            break;
        }
        match part {
            Part::Manifest => edit_manifest(image, input)?,
            Part::Segments => edit_segment(image, input)?,
        }
    }
    Ok(())
}

/// Numbers at which something may change, more often than any others.
fn number(input: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match input.arbitrary::<u8>()? {
        small @ 0..=63 => small.into(),
        64..=95 => u64::from(input.arbitrary::<u16>()?),
        96..=127 => u64::from(input.arbitrary::<u32>()?),
        128..=159 => input.arbitrary()?,
        160..=175 => 4096 - u64::from(input.arbitrary::<u8>()?),
        176..=191 => u64::from(u32::MAX) - u64::from(input.arbitrary::<u8>()?),
        192..=207 => u64::MAX - u64::from(input.arbitrary::<u8>()?),
        208..=223 => 1 << (input.arbitrary::<u8>()? % 64),
        _ => 8 * u64::from(input.arbitrary::<u16>()? % 512),
    })
}

fn set(bytes: &mut [u8], at: usize, len: usize, value: u64) {
    if let Some(field) = bytes.get_mut(at..at.saturating_add(len)) {
        field.copy_from_slice(&value.to_le_bytes()[..len]);
    }
}

fn edit_manifest(image: &mut Image, input: &mut Unstructured<'_>) -> Result<()> {
    let Some(mut bytes) = image.remove(FileName::Manifest) else { return Ok(()) };
    let copies: u8 = input.arbitrary()?;
    let at = usize::from(input.arbitrary::<u8>()?) % (MANIFEST_COPY_LEN - 4);
    let len = [1, 2, 4, 8][usize::from(input.arbitrary::<u8>()? % 4)];
    let value = number(input)?;
    for copy in 0..MANIFEST_SLOTS * MANIFEST_COPIES {
        if copies >> copy & 1 == 1 {
            set(&mut bytes, copy * MANIFEST_PAGE_LEN + at / len * len, len, value);
        }
    }
    if copies & 0xf0 == 0xf0 {
        bytes.truncate(value as usize);
    }
    image.write(FileName::Manifest, bytes);
    Ok(())
}

fn edit_segment(image: &mut Image, input: &mut Unstructured<'_>) -> Result<()> {
    let names = segments(image);
    if names.is_empty() {
        return Ok(());
    }
    let name = *input.choose(&names)?;
    let mut bytes = image.read(name).unwrap_or_default().to_vec();
    match input.arbitrary::<u8>()? % 10 {
        0..=2 => {
            let places = frames(&bytes);
            let Ok(&frame) = input.choose(&places) else { return Ok(()) };
            let (field, len) = *input.choose(&FRAME_FIELDS)?;
            set(&mut bytes, frame + field, len, number(input)?);
        }
        3 | 4 => {
            let places = frames(&bytes);
            let Ok(&frame) = input.choose(&places) else { return Ok(()) };
            let at = frame + FRAME_HEADER_LEN + usize::from(input.arbitrary::<u8>()?);
            let len = [1, 2, 4, 8][usize::from(input.arbitrary::<u8>()? % 4)];
            set(&mut bytes, at, len, number(input)?);
        }
        5 => {
            let (field, len) = *input.choose(&HEADER_FIELDS)?;
            set(&mut bytes, field, len, number(input)?);
        }
        6 => {
            // Bytes of one segment in another: what a recycled one may hold.
            let from = image.read(*input.choose(&names)?).unwrap_or_default().to_vec();
            let at = DATA_START as usize + 8 * usize::from(input.arbitrary::<u16>()? % 512);
            let source = DATA_START as usize + 8 * usize::from(input.arbitrary::<u16>()? % 512);
            let len = 8 * usize::from(input.arbitrary::<u8>()?);
            for (to, byte) in bytes.iter_mut().skip(at).zip(from.iter().skip(source).take(len)) {
                *to = *byte;
            }
        }
        7 => {
            let size = number(input)? as usize;
            bytes.resize(size.min(MAX_BYTES), 0);
        }
        8 => {
            let index = (number(input)? as u32).max(1);
            let other =
                [FileName::Segment(index), FileName::Spare(index), FileName::Damaged(index)][usize::from(input.arbitrary::<u8>()? % 3)];
            if input.arbitrary()? {
                image.remove(name);
            }
            image.write(other, bytes);
            return Ok(());
        }
        _ => {
            let at = number(input)? as usize;
            set(&mut bytes, at, 1, input.arbitrary::<u8>()?.into());
        }
    }
    image.write(name, bytes);
    Ok(())
}
