//! One copy of a pin's content.

use super::checksum;
use super::constants::{FORMAT_VERSION, PIN_COPY_LEN, PIN_DROPPED, PIN_LOST, PIN_MAGIC, PIN_NAME_LEN, PIN_REFUSES, READER_VERSION};
use super::field::{put, u16_at, u32_at, u64_at};
use super::segment_header::BadHeader;
use crate::config::LogId;
use crate::seq::{self, Seq};

/// What a pin is called: 1 to 63 of the characters a-z, A-Z, 0-9, `.`, `_` and `-`. Fits into a file name, a command line and a table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PinName {
    bytes: [u8; PIN_NAME_LEN],
    len: u8,
}

impl PinName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = PIN_NAME_LEN - 1;

    /// The name that `text` is, if it is one.
    pub fn new(text: &[u8]) -> Option<PinName> {
        let good = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        if text.is_empty() || text.len() > Self::MAX_LEN || !text.iter().all(good) {
            return None;
        }
        let mut bytes = [0; PIN_NAME_LEN];
        bytes[..text.len()].copy_from_slice(text);
        Some(PinName { bytes, len: text.len() as u8 })
    }

    /// Its characters.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("")
    }
}

impl core::fmt::Debug for PinName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a pin says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Rises with every change; the valid copy with the highest one counts.
    pub generation: u64,
    /// The log.
    pub log_id: LogId,
    /// What it is called.
    pub name: PinName,
    /// Everything above stays.
    pub seq: Seq,
    /// The most that forgotten segments may hold for it, in bytes; 0 = no limit.
    pub max_bytes: u64,
    /// Whether appends are refused above the limit; else the pin is lost.
    pub refuses: bool,
    /// Up to where records above `seq` may be gone, because the limit was reached.
    pub lost_to: Option<Seq>,
    /// Whether it was taken away, and only its file is left.
    pub dropped: bool,
}

impl Pin {
    /// Whether it keeps anything.
    pub fn holds(&self) -> bool {
        self.lost_to.is_none() && !self.dropped
    }

    /// The 256 bytes of a copy.
    pub fn encode(&self) -> [u8; PIN_COPY_LEN] {
        let mut flags = 0;
        for (set, flag) in [(self.lost_to.is_some(), PIN_LOST), (self.dropped, PIN_DROPPED), (self.refuses, PIN_REFUSES)] {
            if set {
                flags |= flag;
            }
        }
        let mut out = [0; PIN_COPY_LEN];
        put(&mut out, 0, &PIN_MAGIC);
        put(&mut out, 8, &FORMAT_VERSION.to_le_bytes());
        put(&mut out, 10, &READER_VERSION.to_le_bytes());
        put(&mut out, 12, &flags.to_le_bytes());
        put(&mut out, 16, &self.generation.to_le_bytes());
        put(&mut out, 24, &self.log_id);
        put(&mut out, 40, &self.seq.to_le_bytes());
        put(&mut out, 48, &self.max_bytes.to_le_bytes());
        put(&mut out, 56, &self.lost_to.unwrap_or(0).to_le_bytes());
        put(&mut out, 64, &self.name.bytes);
        let crc = checksum::of(&out[..PIN_COPY_LEN - 4]);
        put(&mut out, PIN_COPY_LEN - 4, &crc.to_le_bytes());
        out
    }

    /// Reads a copy.
    pub fn decode(bytes: &[u8]) -> Result<Pin, BadHeader> {
        let bytes = bytes.get(..PIN_COPY_LEN).ok_or(BadHeader::Damaged)?;
        if bytes[..8] != PIN_MAGIC || u32_at(bytes, PIN_COPY_LEN - 4) != checksum::of(&bytes[..PIN_COPY_LEN - 4]) {
            return Err(BadHeader::Damaged);
        }
        if u16_at(bytes, 10) > FORMAT_VERSION {
            return Err(BadHeader::Newer);
        }
        let mut log_id = [0; 16];
        log_id.copy_from_slice(&bytes[24..40]);
        let text = &bytes[64..64 + PIN_NAME_LEN];
        let len = text.iter().position(|&byte| byte == 0).unwrap_or(PIN_NAME_LEN);
        let (text, rest) = text.split_at(len);
        let name = PinName::new(text).filter(|_| rest.iter().all(|&byte| byte == 0)).ok_or(BadHeader::Damaged)?;
        let flags = u32_at(bytes, 12);
        let pin = Pin {
            generation: u64_at(bytes, 16),
            log_id,
            name,
            seq: u64_at(bytes, 40),
            max_bytes: u64_at(bytes, 48),
            refuses: flags & PIN_REFUSES != 0,
            lost_to: (flags & PIN_LOST != 0).then(|| u64_at(bytes, 56)),
            dropped: flags & PIN_DROPPED != 0,
        };
        let legal = pin.seq.max(pin.lost_to.unwrap_or(0)) <= seq::MAX && pin.generation < u64::MAX;
        if legal { Ok(pin) } else { Err(BadHeader::Damaged) }
    }
}
