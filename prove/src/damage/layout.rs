//! Where things stand in a log's files and what vouches for them, read from the bytes by the rules of `docs/FORMAT.md` alone. Nothing of the engine is
//! used, so that a rule which the engine has wrong is not wrong here in the same way.

use std::ops::Range;

use wal_engine::names::FileName;
use wal_sim::Image;

const FRAME_HEADER: usize = 24;
const SEGMENT_HEADER: usize = 64;
const COPY: usize = 256;
const PAGE: usize = 4096;
pub(super) const SLOT: usize = 2 * PAGE;

const RECORD: u8 = 1;
const BATCH: u8 = 2;
const OPEN: u8 = 3;
const LAST: u8 = 7;

/// CRC-32/ISO-HDLC, continued from a finished checksum.
fn crc32(value: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    !bytes.iter().fold(!value, |crc, &byte| (crc >> 8) ^ TABLE[((crc ^ u32::from(byte)) & 0xff) as usize])
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut entry = 0;
    while entry < 256 {
        let mut crc = entry as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[entry] = crc;
        entry += 1;
    }
    table
}

fn number(bytes: &[u8], range: Range<usize>) -> u64 {
    bytes[range].iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

/// What the manifest says, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manifest {
    generation: u64,
    pub(super) floor: u64,
    pub(super) bound_segment: u32,
    bound_offset: u64,
    pub(super) oldest_segment: u32,
    seed_base: u32,
    capacity: u64,
}

/// Section 3: the valid copy with the highest generation.
pub(super) fn manifest(image: &Image) -> Option<Manifest> {
    let bytes = image.read(FileName::Manifest)?;
    let copies = bytes.chunks(PAGE).filter_map(|page| page.get(..COPY)).filter(|copy| {
        copy[..8] == *b"\x89WALMAN\n" && crc32(0, &copy[..COPY - 4]) == number(copy, COPY - 4..COPY) as u32 && number(copy, 10..12) <= 1
    });
    copies
        .map(|copy| Manifest {
            generation: number(copy, 16..24),
            floor: number(copy, 40..48),
            bound_offset: number(copy, 80..88),
            capacity: number(copy, 104..112),
            bound_segment: number(copy, 112..116) as u32,
            oldest_segment: number(copy, 116..120) as u32,
            seed_base: number(copy, 120..124) as u32,
        })
        .max_by_key(|copy| copy.generation)
}

/// A frame of an undamaged segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) start: usize,
    pub(super) end: usize,
    /// The seq that came next in front of it and behind it.
    pub(super) next_before: u64,
    pub(super) next_after: u64,
}

/// An undamaged segment.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) index: u32,
    pub(super) recycled: bool,
    /// The seq of its first record.
    pub(super) first_seq: u64,
    pub(super) frames: Vec<Frame>,
}

impl Segment {
    /// Where its frames end.
    pub(super) fn end(&self) -> usize {
        self.frames.last().map_or(SEGMENT_HEADER, |frame| frame.end)
    }

    /// The frame in which a byte lies.
    pub(super) fn frame_at(&self, at: usize) -> Option<&Frame> {
        self.frames.iter().find(|frame| (frame.start..frame.end).contains(&at))
    }
}

fn header(seed: u32, bytes: &[u8], at: usize) -> Option<&[u8]> {
    let header = bytes.get(at..at + FRAME_HEADER)?;
    let kind = header[23];
    let fits = at as u64 + FRAME_HEADER as u64 + (number(header, 8..12).next_multiple_of(8)) <= bytes.len() as u64;
    let legal = (1..=7).contains(&kind) && fits && number(header, 16..20) * 8 <= at as u64;
    let key_fits = number(header, 20..22) <= number(header, 8..12) || kind == 5;
    let crc = || crc32(crc32(seed, &header[4..]), &(at as u64).to_le_bytes());
    (legal && key_fits && crc() == number(header, 0..4) as u32).then_some(header)
}

/// Section 4, and the checksum alone: whether the file begins with the header of the segment that its name says.
fn usable(manifest: &Manifest, index: u32, bytes: &[u8]) -> bool {
    bytes.len() as u64 >= manifest.capacity
        && bytes[..8] == *b"\x89WALSEG\n"
        && crc32(0, &bytes[..60]) == number(bytes, 60..64) as u32
        && number(bytes, 32..36) == u64::from(index)
        && number(bytes, 36..40) as u32 == manifest.seed_base.wrapping_add(index)
}

/// The frame at `at`, payload checked too: its header, its end, and how many records count from it on.
fn frame(seed: u32, bytes: &[u8], at: usize) -> Option<(&[u8], usize, u64)> {
    let header = header(seed, bytes, at)?;
    let from = at + FRAME_HEADER;
    let end = from + (number(header, 8..12) as usize).next_multiple_of(8);
    let payload = &bytes[from..end];
    if crc32(0, payload) != number(header, 4..8) as u32 {
        return None;
    }
    let records = match header[23] {
        RECORD | LAST => 1,
        BATCH => number(payload, 0..4),
        _ => 0,
    };
    Some((header, end, records))
}

/// Reads an undamaged segment; `None` if it is only prepared.
fn segment(manifest: &Manifest, index: u32, bytes: &[u8]) -> Option<Segment> {
    let seed = manifest.seed_base.wrapping_add(index);
    let open = open(manifest, index, bytes)?;
    let mut segment = Segment { index, recycled: bytes[12] & 1 == 1, first_seq: open.first_seq, frames: Vec::new() };
    let (mut at, mut next) = (SEGMENT_HEADER, open.first_seq);
    while let Some((header, end, records)) = frame(seed, bytes, at) {
        if next - open.first_seq != number(header, 12..16) {
            break;
        }
        segment.frames.push(Frame { start: at, end, next_before: next, next_after: next + records });
        (at, next) = (end, next + records);
    }
    Some(segment)
}

struct Open {
    first_seq: u64,
    link: u32,
    /// Where the predecessor's frames end.
    link_end: usize,
    rotated: bool,
}

fn open(manifest: &Manifest, index: u32, bytes: &[u8]) -> Option<Open> {
    if !usable(manifest, index, bytes) {
        return None;
    }
    let (header, end, _) = frame(manifest.seed_base.wrapping_add(index), bytes, SEGMENT_HEADER)?;
    let payload = &bytes[SEGMENT_HEADER + FRAME_HEADER..end];
    (header[23] == OPEN && payload.len() == 80).then(|| Open {
        first_seq: number(payload, 0..8),
        link: number(payload, 8..12) as u32,
        link_end: number(payload, 16..24) as usize,
        rotated: payload[72] == 2,
    })
}

/// The segments that count in an undamaged log, oldest first: section 8.
pub(super) fn chain(image: &Image) -> Vec<Segment> {
    let manifest = manifest(image).expect("an undamaged log has a manifest");
    let read = |index| image.read(FileName::Segment(index));
    let mut indexes = vec![manifest.bound_segment];
    while indexes[0] != manifest.oldest_segment {
        let index = indexes[0];
        let open = open(&manifest, index, read(index).expect("a counting segment")).expect("a counting OPEN");
        indexes.insert(0, open.link);
    }
    loop {
        let last = indexes[indexes.len() - 1];
        let follows = |&index: &u32| open(&manifest, index, read(index).unwrap()).is_some_and(|open| open.rotated && open.link == last);
        let mut later = image.names().filter_map(|name| if let FileName::Segment(index) = name { Some(index) } else { None });
        match later.find(|index| *index > last && follows(index)) {
            Some(index) => indexes.push(index),
            None => break,
        }
    }
    let mut chain: Vec<Segment> = indexes.iter().filter_map(|&index| segment(&manifest, index, read(index).unwrap())).collect();
    for place in 1..chain.len() {
        let index = chain[place].index;
        let end = open(&manifest, index, read(index).unwrap()).expect("a counting OPEN").link_end;
        chain[place - 1].frames.retain(|frame| frame.end <= end);
    }
    chain
}

/// The last seq at or below which nothing may be missing without an error, in `image`, which damage made from the log with this `chain`: section
/// 11. Everything in front of the last segment that counts is vouched for by that one's OPEN, and in it whatever the bound or a watermark says.
pub(super) fn vouched(image: &Image, chain: &[Segment]) -> u64 {
    let Some(manifest) = manifest(image) else {
        return 0;
    };
    for segment in chain.iter().rev() {
        let Some(bytes) = image.read(FileName::Segment(segment.index)) else {
            continue;
        };
        if segment.index != manifest.bound_segment && open(&manifest, segment.index, bytes).is_none() {
            continue;
        }
        let bound = if segment.index == manifest.bound_segment { manifest.bound_offset as usize } else { SEGMENT_HEADER };
        let end = highest_watermark(&manifest, segment.index, bytes).max(bound);
        let whole = segment.frames.iter().take_while(|frame| frame.end <= end);
        return whole.last().map_or(segment.first_seq, |frame| frame.next_after) - 1;
    }
    0
}

/// The highest watermark of any header in a segment that is valid by itself.
fn highest_watermark(manifest: &Manifest, index: u32, bytes: &[u8]) -> usize {
    if !usable(manifest, index, bytes) {
        return 0;
    }
    let seed = manifest.seed_base.wrapping_add(index);
    let places = (SEGMENT_HEADER..bytes.len()).step_by(8);
    places.filter_map(|at| header(seed, bytes, at)).map(|header| number(header, 16..20) as usize * 8).max().unwrap_or(0)
}
