//! One record in each of its printed forms.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use wal_engine::format::constants::{OP_CHECKPOINT, OP_DELETE, OP_PUT};
use wal_engine::format::control::Checkpoint;
use wal_engine::log::Record;

use crate::output::{Output, escaped_within, hex, json_text};

const OP_WIDTH: usize = 10;
/// A key has that many columns, or a fifth of a wide terminal.
const KEY_WIDTH: usize = 24;
/// Bytes in a line of a hexadecimal dump.
const HEX_LINE: usize = 16;

fn op_name(op: u8) -> String {
    match op {
        OP_PUT => "put".to_string(),
        OP_DELETE => "delete".to_string(),
        OP_CHECKPOINT => "checkpoint".to_string(),
        op => format!("op {op}"),
    }
}

fn checkpoint(record: &Record<'_>) -> Option<Checkpoint> {
    if record.op == OP_CHECKPOINT { Checkpoint::decode(record.value) } else { None }
}

/// Lines of a table that is never complete, so that each record is printed when it is read.
pub(crate) struct Lines {
    seq_width: usize,
    key_width: usize,
    value_width: usize,
    /// The last seq of the batch that is being printed.
    batch_last: u64,
}

impl Lines {
    pub(crate) fn new(output: Output, last_seq: u64) -> Lines {
        let seq_width = last_seq.to_string().len().max(3);
        let width = usize::from(output.width);
        let key_width = KEY_WIDTH.max(width / 5);
        let value_width = width.saturating_sub(seq_width + OP_WIDTH + key_width + 2 + 3 * 2).max(20);
        Lines { seq_width, key_width, value_width, batch_last: 0 }
    }

    pub(crate) fn head(&self) -> String {
        format!("{:>w$}    {:OP_WIDTH$}  {:k$}  VALUE\n", "SEQ", "OP", "KEY", w = self.seq_width, k = self.key_width)
    }

    /// `[`, `|` and `]` beside the seqs hold a batch together.
    pub(crate) fn line(&mut self, record: &Record<'_>) -> String {
        let within = record.seq <= self.batch_last;
        let mark = match (within, record.seq == record.batch_last_seq) {
            (false, true) => ' ',
            (false, false) => '[',
            (true, false) => '|',
            (true, true) => ']',
        };
        self.batch_last = record.batch_last_seq;
        let key = escaped_within(record.key, self.key_width);
        let value = match checkpoint(record) {
            Some(Checkpoint { n, covered }) => format!("covered {covered}, n {n}"),
            None => escaped_within(record.value, self.value_width),
        };
        let (w, k) = (self.seq_width, self.key_width);
        let line = format!("{:>w$} {mark}  {:OP_WIDTH$}  {key:k$}  {value}", record.seq, op_name(record.op));
        line.trim_end().to_string() + "\n"
    }
}

/// Every byte.
pub(crate) fn hex_dump(record: &Record<'_>) -> String {
    let mut out = format!("seq {}  {}", record.seq, op_name(record.op));
    if record.batch_last_seq != record.seq {
        let _ = write!(out, "  in a batch up to seq {}", record.batch_last_seq);
    }
    out.push('\n');
    for (name, bytes) in [("key", record.key), ("value", record.value)] {
        if bytes.is_empty() {
            let _ = writeln!(out, "  {name:5}  empty");
        }
        for (line, chunk) in bytes.chunks(HEX_LINE).enumerate() {
            let name = if line == 0 { name } else { "" };
            let digits: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
            let text: String = chunk.iter().map(|&byte| if byte.is_ascii_graphic() || byte == b' ' { byte as char } else { '.' }).collect();
            let _ = writeln!(out, "  {name:5}  {:08x}  {:47}  {text}", line * HEX_LINE, digits.join(" "));
        }
    }
    out
}

/// One line of JSON. Bytes that are UTF-8 stand as text under `key` and `value`, others in hexadecimal under `key_hex` and `value_hex`.
pub(crate) fn json_line(record: &Record<'_>) -> String {
    let mut object = Map::new();
    object.insert("seq".into(), json!(record.seq));
    object.insert("batch_last_seq".into(), json!(record.batch_last_seq));
    let op = match record.op {
        OP_PUT | OP_DELETE | OP_CHECKPOINT => json!(op_name(record.op)),
        op => json!(op),
    };
    object.insert("op".into(), op);
    match checkpoint(record) {
        Some(Checkpoint { n, covered }) => {
            object.insert("n".into(), json!(n));
            object.insert("covered".into(), json!(covered));
        }
        None => {
            for (name, bytes) in [("key", record.key), ("value", record.value)] {
                match std::str::from_utf8(bytes) {
                    Ok(text) => object.insert(name.into(), json!(text)),
                    Err(_) => object.insert(format!("{name}_hex"), json!(hex(bytes))),
                };
            }
        }
    }
    json_text(&Value::Object(object)) + "\n"
}
