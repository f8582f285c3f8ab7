//! How things are printed: for people on a terminal, as JSON lines elsewhere; and what a log's bytes may do to a terminal, which is nothing.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde_json::Value;

use crate::cli::Form;

/// Columns where there is no terminal to ask.
const WIDTH: u16 = 100;

/// Where output goes and in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) width: u16,
}

impl Output {
    pub(crate) fn new(form: &Form) -> Output {
        let terminal = io::stdout().is_terminal();
        let width = Table::new().width().filter(|_| terminal).unwrap_or(WIDTH);
        Output { json: form.json || !(form.human || terminal), width: width.max(40) }
    }

    /// Sentences in lines no longer than the terminal's, with a line feed at the end.
    pub(crate) fn paragraph(self, text: &str) -> String {
        let (mut out, mut columns) = (String::new(), 0);
        for word in text.split(' ') {
            let len = word.chars().count();
            if columns > 0 && columns + 1 + len > usize::from(self.width) {
                out.push('\n');
                columns = 0;
            } else if columns > 0 {
                out.push(' ');
                columns += 1;
            }
            out.push_str(word);
            columns += len;
        }
        out + "\n"
    }

    /// A table without lines, as wide as the terminal.
    pub(crate) fn table(self) -> Table {
        let mut table = Table::new();
        table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(self.width);
        table
    }

    /// Two columns: what, and its value.
    pub(crate) fn pairs(self, pairs: &[(&str, String)]) -> Table {
        let mut table = self.table();
        for (name, value) in pairs {
            table.add_row([*name, value.as_str()]);
        }
        table
    }
}

/// Numbers stand to the right.
pub(crate) fn right(table: &mut Table, columns: impl IntoIterator<Item = usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Prints, and tells whether the reader is still there: `walctl dump | head` is no error.
pub(crate) fn print(text: &str) -> io::Result<()> {
    io::stdout().lock().write_all(text.as_bytes())
}

/// Prints a table, without the spaces at the ends of its lines.
pub(crate) fn print_table(table: &Table) -> io::Result<()> {
    let mut out = String::new();
    for line in table.lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    print(&out)
}

/// One line of JSON.
pub(crate) fn print_json(value: &Value) -> io::Result<()> {
    print(&(json_text(value) + "\n"))
}

/// JSON that is safe on a terminal, too: what steers one stands as an escape, which only strings can contain.
pub(crate) fn json_text(value: &Value) -> String {
    let text = value.to_string();
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_graphic() || c == ' ' || !steers(c) {
            out.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

/// Whether a character does something instead of showing something: control characters, and those that change the direction of text, hide, or join.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}')
}

/// Bytes of a log as text that a terminal shows and does not obey: `\n`, `\x1b`, `\u{202e}`, and `\\` for a backslash.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    escape(bytes, &mut |piece| out.push_str(piece));
    out
}

/// The same piece by piece: a character, or what stands for one.
fn escape(bytes: &[u8], put: &mut dyn FnMut(&str)) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => put("\\\\"),
                '\n' => put("\\n"),
                '\r' => put("\\r"),
                '\t' => put("\\t"),
                c if c.is_ascii_control() => put(&format!("\\x{:02x}", c as u32)),
                c if steers(c) => put(&format!("\\u{{{:x}}}", c as u32)),
                c => put(c.encode_utf8(&mut [0; 4])),
            }
        }
        for byte in chunk.invalid() {
            put(&format!("\\x{byte:02x}"));
        }
    }
}

/// The same in at most `width` columns, as far as one column is one character; what does not fit is replaced by how long it is.
pub(crate) fn escaped_within(bytes: &[u8], width: usize) -> String {
    // A character has four bytes at the most, and no more are looked at than can be shown.
    let looked_at = &bytes[..bytes.len().min(4 * width + 4)];
    let note = format!("... {} bytes", bytes.len());
    let (mut whole, mut kept, mut columns) = (String::new(), 0, 0);
    escape(looked_at, &mut |piece| {
        whole.push_str(piece);
        columns += piece.chars().count();
        if columns + note.len() <= width {
            kept = whole.len();
        }
    });
    if columns > width || looked_at.len() < bytes.len() {
        whole.truncate(kept);
        whole.push_str(&note);
    }
    whole
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// `16.0 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut amount, mut unit) = (bytes as f64, 0);
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{amount:.1} {}", UNITS[unit]) }
}

/// `1,234,567`.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 record`, `2 records`.
pub(crate) fn count(amount: u64, one: &str) -> String {
    format!("{} {one}{}", number(amount), if amount == 1 { "" } else { "s" })
}

/// `850 us`, `3.2 ms`, `1.5 s`.
pub(crate) fn duration(us: f64) -> String {
    match us {
        us if us < 10.0 => format!("{us:.1} us"),
        us if us < 1000.0 => format!("{us:.0} us"),
        us if us < 10_000.0 => format!("{:.2} ms", us / 1000.0),
        us if us < 1_000_000.0 => format!("{:.0} ms", us / 1000.0),
        us => format!("{:.1} s", us / 1_000_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_byte_steers_the_terminal() {
        assert_eq!(escaped(b"plain \xc3\xa9"), "plain é");
        assert_eq!(escaped(b"\x1b[2J\x07\n\r\t\\\x7f"), "\\x1b[2J\\x07\\n\\r\\t\\\\\\x7f");
        assert_eq!(escaped(b"\xff\xc2\x9b31m"), "\\xff\\u{9b}31m");
        assert_eq!(escaped("a\u{202e}b\u{200d}c\u{feff}".as_bytes()), "a\\u{202e}b\\u{200d}c\\u{feff}");
        for byte in 0..=255u8 {
            assert!(escaped(&[byte]).chars().all(|c| c.is_ascii_graphic() || c == ' '), "{byte}");
        }
        for c in (0..0x11_0000).filter_map(char::from_u32).filter(|c| c.is_control()) {
            assert!(!escaped(c.to_string().as_bytes()).contains(c), "{c:?}");
            assert!(!json_text(&json!(c.to_string())).contains(c), "{c:?}");
        }
    }

    #[test]
    fn json_says_the_same_after_escaping() {
        let all: String = (0..0x11_0000).filter_map(char::from_u32).collect();
        let back: String = serde_json::from_str(&json_text(&json!(all))).expect("it is JSON");
        assert_eq!(back, all);
    }

    #[test]
    fn long_values_say_how_long_they_are() {
        assert_eq!(escaped_within(b"0123456789", 10), "0123456789");
        assert_eq!(escaped_within(&[b'x'; 100], 20), "xxxxxxx... 100 bytes");
        assert_eq!(escaped_within(&[0; 100], 20), "\\x00... 100 bytes", "no half of an escape");
        assert_eq!(escaped_within("é".repeat(12).as_bytes(), 12), "é".repeat(12));
    }

    #[test]
    fn sentences_fit_the_terminal() {
        let output = Output { json: false, width: 10 };
        assert_eq!(
            output.paragraph("ten column is what fits, not-this-one-though é"),
            "ten column\nis what\nfits,\nnot-this-one-though\né\n"
        );
        assert_eq!(output.paragraph(""), "\n");
    }

    #[test]
    fn figures_read_well() {
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1023, 1024, 16 << 20].map(size), ["0 B", "1023 B", "1.0 KiB", "16.0 MiB"]);
        assert_eq!([0.5, 850.0, 3210.0, 45_000.0, 1_500_000.0].map(duration), ["0.5 us", "850 us", "3.21 ms", "45 ms", "1.5 s"]);
    }
}
