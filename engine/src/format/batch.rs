//! The payload of a batch: count, a table of lengths and ops, then the bytes in the order of the table.

use super::constants::{BATCH_COUNT_LEN, BATCH_ENTRY_LEN};
use super::field::{put, u8_at, u32_at};

/// One entry of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchEntry {
    /// Length of the key.
    pub key_len: u32,
    /// Length of the value.
    pub value_len: u32,
    /// What the record does.
    pub op: u8,
}

impl BatchEntry {
    /// The entry's bytes in the table.
    pub fn encode(&self) -> [u8; BATCH_ENTRY_LEN] {
        let mut out = [0; BATCH_ENTRY_LEN];
        put(&mut out, 0, &self.key_len.to_le_bytes());
        put(&mut out, 4, &self.value_len.to_le_bytes());
        out[8] = self.op;
        out
    }

    /// Reads an entry of a table.
    pub fn decode(bytes: &[u8]) -> BatchEntry {
        BatchEntry { key_len: u32_at(bytes, 0), value_len: u32_at(bytes, 4), op: u8_at(bytes, 8) }
    }
}

/// Length of count and table for `count` records.
pub const fn table_len(count: u64) -> u64 {
    BATCH_COUNT_LEN as u64 + count * BATCH_ENTRY_LEN as u64
}

/// The count at the front of a payload, if the table fits into the payload.
pub fn count(front: &[u8], payload_len: u64) -> Option<u32> {
    if front.len() < BATCH_COUNT_LEN {
        return None;
    }
    let count = u32_at(front, 0);
    (count > 0 && table_len(u64::from(count)) <= payload_len).then_some(count)
}

/// Whether a complete payload is a batch whose lengths add up to it exactly.
pub fn is_consistent(payload: &[u8]) -> bool {
    let Some(count) = count(payload, payload.len() as u64) else {
        return false;
    };
    let mut end = table_len(u64::from(count));
    for entry in payload[BATCH_COUNT_LEN..].chunks_exact(BATCH_ENTRY_LEN).take(count as usize) {
        let entry = BatchEntry::decode(entry);
        end += u64::from(entry.key_len) + u64::from(entry.value_len);
    }
    end == payload.len() as u64
}
