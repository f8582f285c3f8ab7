//! Images of flash chips, as dumped from a device: read by the code that runs there.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory};
use flash_engine::error::Code;
use flash_engine::format::constants::{CHIP_HEADER_LEN, FRAME_ALIGN, SEGMENT_HEADER_LEN};
use flash_engine::format::flash::ChipHeader;
use flash_engine::format::segment_header::SegmentHeader;
use flash_engine::seq;
use serde_json::json;
use wal_engine::log::Record;
use wal_flash::chip::{Chip, Fault, Geometry};
use wal_flash::fail::Miss;
use wal_flash::figures::Figures;
use wal_flash::log::{Log, Settings};
use wal_flash::replay::Cursor;

use crate::cli::{Cli, Dump};
use crate::dump::Printer;
use crate::failure::{Failure, Result, Verdict, shown};
use crate::output::{Output, count, hex, number, print, print_json, print_table, size};
use crate::stat::{checkpoint, forgotten, kept};

/// Bytes that are looked at together.
const WINDOW: usize = 64 << 10;

/// Whether a path names an image and not a log's directory.
pub(crate) fn is_image(path: &Path) -> bool {
    path.is_file()
}

/// An image in memory, and what it says of the chip.
struct Image<'p> {
    path: &'p Path,
    bytes: Vec<u8>,
    /// Where the log's part of the chip begins in it.
    start: usize,
    geometry: Geometry,
}

/// The chip as the log gets it. It only reads: an opening writes nothing, and neither does a replay.
#[derive(Clone, Copy)]
struct Dumped<'i>(&'i [u8]);

impl Chip for Dumped<'_> {
    fn read(&self, offset: u32, bytes: &mut [u8]) -> std::result::Result<(), Fault> {
        let from = offset as usize;
        bytes.copy_from_slice(self.0.get(from..from + bytes.len()).ok_or(Fault::Unreadable)?);
        Ok(())
    }

    fn program(&self, _offset: u32, _bytes: &[u8]) -> std::result::Result<(), Fault> {
        Err(Fault::Driver(libc::EROFS))
    }

    fn erase(&self, _block: u32) -> std::result::Result<(), Fault> {
        Err(Fault::Driver(libc::EROFS))
    }

    fn sync(&self) -> std::result::Result<(), Fault> {
        Ok(())
    }
}

/// What an opening needs beside the chip.
struct Memory {
    slots: Vec<u32>,
    page: Vec<u8>,
    window: Vec<u8>,
}

/// Where a log begins in an image and the shape of its chip, if there are a segment's headers at `at`.
fn shape_at(bytes: &[u8], at: usize) -> Option<(usize, Geometry)> {
    let (front, chip) = bytes.get(at..at + SEGMENT_HEADER_LEN + CHIP_HEADER_LEN)?.split_at(SEGMENT_HEADER_LEN);
    let segment = SegmentHeader::decode(front).ok()?;
    let chip = ChipHeader::decode(chip.try_into().ok()?)?;
    let geometry = Geometry {
        block_bytes: chip.block_bytes,
        blocks: chip.blocks,
        segment_blocks: segment.capacity.checked_div(chip.block_bytes)?,
        unit: segment.write_unit,
        erased: chip.erased,
    };
    let slot = (chip.slot as usize).checked_mul(segment.capacity as usize)?;
    let start = at.checked_sub(slot)?;
    (geometry.is_legal() && geometry.segment_bytes() == segment.capacity && chip.slot < geometry.slots()).then_some((start, geometry))
}

impl<'p> Image<'p> {
    /// The segments' headers say where in the image the log begins and what the chip is like.
    fn read(path: &'p Path) -> Result<Image<'p>> {
        let bytes = fs::read(path).map_err(|error| Failure::io(shown(path), &error))?;
        let mut found: Vec<((usize, Geometry), u32)> = Vec::new();
        for at in (0..bytes.len()).step_by(FRAME_ALIGN) {
            if let Some(shape) = shape_at(&bytes, at) {
                match found.iter_mut().find(|(other, _)| *other == shape) {
                    Some((_, count)) => *count += 1,
                    None => found.push((shape, 1)),
                }
            }
        }
        // An older log of another shape may have left headers that nothing has erased yet.
        let Some(((start, geometry), _)) = found.into_iter().rev().max_by_key(|(_, count)| *count) else {
            return Err(Failure::NoLog(format!(
                "{}: no log in this file, taken for the image of a flash chip; a log in files is named by its directory",
                shown(path)
            )));
        };
        let whole = geometry.block_bytes as usize * geometry.blocks as usize;
        if bytes.len() - start < whole {
            let text = format!(
                "{}: the log takes {} from byte {start} on, and the image ends before: dump all of it",
                shown(path),
                size(whole as u64)
            );
            return Err(Failure::Damaged(text));
        }
        Ok(Image { path, bytes, start, geometry })
    }

    fn memory(&self) -> Memory {
        let page = (self.geometry.unit as usize).max(FRAME_ALIGN);
        Memory { slots: vec![0; self.geometry.slots() as usize], page: vec![0; page], window: vec![0; WINDOW] }
    }

    /// As the device opens it that tells the log nothing of a store.
    fn open<'m>(&'m self, memory: &'m mut Memory) -> Result<Log<'m, Dumped<'m>>> {
        let settings = Settings {
            geometry: self.geometry,
            sync_each: true,
            verify: false,
            overwrite: false,
            store_seq: None,
            expected_log_id: None,
            new_log_id: [0; 16],
        };
        let chip = Dumped(self.bytes.get(self.start..).unwrap_or_default());
        let mut log = Log::new(chip, &settings, &mut memory.slots, &mut memory.page, &mut memory.window);
        match log.open(&settings) {
            Ok(()) => Ok(log),
            Err(code) => Err(self.failed(&log, code)),
        }
    }

    /// What a call on the log failed of.
    fn failed(&self, log: &Log<'_, Dumped<'_>>, code: Code) -> Failure {
        let detail = log.detail();
        let (path, at) = (shown(self.path), self.start + detail.offset as usize);
        let seqs = if detail.seq > 0 { format!(" (seq {} and later)", detail.seq) } else { String::new() };
        match code {
            Code::Corrupt => Failure::Damaged(format!("{path}: damaged at byte {at}{seqs}")),
            Code::Gap => Failure::Damaged(format!("{path}: records have been forgotten{seqs}")),
            Code::Invalid => Failure::Damaged(format!("{path}: the segment at byte {at} tells another shape of the chip than the others")),
            Code::Format => Failure::Other(format!("{path}: the segment at byte {at} was written by a newer version")),
            code => Failure::Other(format!("{path}: {code:?} at byte {at}")),
        }
    }
}

/// Records one by one, with their bytes.
struct Records<'r, 'm> {
    image: &'r Image<'r>,
    log: Log<'m, Dumped<'m>>,
    cursor: Cursor,
    bytes: Vec<u8>,
}

impl<'r, 'm> Records<'r, 'm> {
    fn new(image: &'r Image<'r>, mut log: Log<'m, Dumped<'m>>, after: u64) -> Result<Records<'r, 'm>> {
        let mut cursor = Cursor::default();
        match log.replay(&mut cursor, after, true) {
            Ok(()) => Ok(Records { image, log, cursor, bytes: Vec::new() }),
            Err(code) => Err(image.failed(&log, code)),
        }
    }

    fn next(&mut self) -> Result<Option<Record<'_>>> {
        match self.log.next(&mut self.cursor) {
            Ok(()) => {}
            Err(Miss::None) => return Ok(None),
            Err(Miss::Fail(code)) => return Err(self.image.failed(&self.log, code)),
        }
        let found = *self.cursor.record();
        self.bytes.resize(found.key_len as usize + found.value_len as usize, 0);
        let mut copied = 0;
        self.log.read(&mut self.cursor, 0, &mut self.bytes, &mut copied).map_err(|code| self.image.failed(&self.log, code))?;
        let (key, value) = self.bytes.split_at(found.key_len as usize);
        Ok(Some(Record { seq: found.seq, batch_last_seq: found.batch_last_seq, op: found.op, key, value }))
    }
}

/// Ends the run as the parser of the command line does.
pub(crate) fn refuse(option: &str) -> ! {
    let mut command: Command = Cli::command();
    command.error(ErrorKind::ArgumentConflict, format!("{option} is for logs in directories, not for flash images")).exit()
}

pub(crate) fn dump(output: Output, what: &Dump) -> Result<Verdict> {
    for (given, option) in
        [(what.follow, "--follow"), (what.unsynced, "--unsynced"), (what.pinned, "--pinned"), (what.skip_lost, "--skip-lost")]
    {
        if given {
            refuse(option);
        }
    }
    let image = Image::read(&what.dir)?;
    let mut memory = image.memory();
    let log = image.open(&mut memory)?;
    let Figures { last_seq, floor_seq, .. } = log.figures();
    if let Some(from) = what.from {
        if from > last_seq + 1 {
            return Err(Failure::Damaged(format!("{}: the log ends at seq {last_seq}", shown(&what.dir))));
        }
        if from <= floor_seq {
            return Err(Failure::Damaged(format!("{}: the records up to seq {floor_seq} have been forgotten", shown(&what.dir))));
        }
    }
    let mut records = Records::new(&image, log, what.from.map_or(seq::OLDEST, |from| from - 1))?;
    let mut printer = Printer::new(output, what, last_seq)?;
    let mut last = what.from.map_or(0, |from| from - 1);
    let printed = (|| {
        while printer.wants(last) {
            match records.next()? {
                Some(record) if printer.print(&record)? => last = record.seq,
                _ => break,
            }
        }
        Ok(Verdict::Good)
    })();
    printer.flush()?;
    printed
}

pub(crate) fn stat(output: Output, path: &Path) -> Result<Verdict> {
    let image = Image::read(path)?;
    let mut memory = image.memory();
    let figures = image.open(&mut memory)?.figures();
    let geometry = &image.geometry;
    let oldest = figures.floor_seq + 1;
    if output.json {
        print_json(&json!({
            "image": shown(path),
            "image_bytes": image.bytes.len(),
            "log_offset": image.start,
            "log_id": hex(&figures.log_id),
            "records": kept(oldest, figures.last_seq),
            "oldest_seq": oldest,
            "last_seq": figures.last_seq,
            "forgotten_seq": figures.floor_seq,
            "forgotten_data_seq": figures.forgotten_data_seq,
            "checkpoint_seq": figures.checkpoint_seq,
            "checkpoint_covered": figures.checkpoint_covered,
            "segments": figures.segments,
            "free_segments": figures.free_segments,
            "segment_bytes": geometry.segment_bytes(),
            "block_bytes": geometry.block_bytes,
            "blocks": geometry.blocks,
            "program_bytes": geometry.unit,
            "erased_value": geometry.erased,
            "most_erasures": figures.most_erasures,
            "epoch": figures.epoch,
        }))?;
        return Ok(Verdict::Good);
    }
    let records = match kept(oldest, figures.last_seq) {
        0 => format!("none; the next one is seq {}", number(figures.last_seq + 1)),
        records => format!("{}, seq {} to {}", number(records), number(oldest), number(figures.last_seq)),
    };
    let chip = format!(
        "{} blocks of {}, programmed in units of {} B, erased to {:02X}; the log begins at byte {}",
        number(geometry.blocks.into()),
        size(geometry.block_bytes.into()),
        geometry.unit,
        geometry.erased,
        number(image.start as u64)
    );
    let pairs = [
        ("  records", records),
        ("  forgotten", forgotten(figures.floor_seq)),
        ("  checkpoint", checkpoint(figures.checkpoint_seq, figures.checkpoint_covered)),
        ("  segments", format!("{} of {}, {} free", figures.segments, size(geometry.segment_bytes().into()), figures.free_segments)),
        ("  chip", chip),
        ("  wear", format!("a block was erased {} at the most", count(figures.most_erasures.into(), "time"))),
        ("  epoch", format!("{}; it rises with the first write after each opening", number(figures.epoch))),
        ("  log id", hex(&figures.log_id)),
    ];
    print(&format!("{}\n", shown(path)))?;
    print_table(&output.pairs(&pairs))?;
    Ok(Verdict::Good)
}

/// Opens the log and reads every record. There is one answer: the first damage ends what can be told.
pub(crate) fn verify(output: Output, path: &Path) -> Result<Verdict> {
    let image = Image::read(path)?;
    let mut memory = image.memory();
    let log = image.open(&mut memory)?;
    let figures = log.figures();
    let mut records = Records::new(&image, log, seq::OLDEST)?;
    let (mut read, mut bytes) = (0, 0);
    while let Some(record) = records.next()? {
        read += 1;
        bytes += (record.key.len() + record.value.len()) as u64;
    }
    if output.json {
        print_json(&json!({
            "image": shown(path),
            "damaged": false,
            "oldest_seq": figures.floor_seq + 1,
            "last_seq": figures.last_seq,
            "segments": figures.segments,
            "records_read": read,
            "record_bytes": bytes,
        }))?;
    } else {
        let text =
            format!("{}: {} with {} in {}", shown(path), count(read, "record"), size(bytes), count(figures.segments.into(), "segment"));
        print(&output.paragraph(&text))?;
        print("no damage\n")?;
    }
    io::stdout().flush()?;
    Ok(Verdict::Good)
}
