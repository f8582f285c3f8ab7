//! The names of the files in a log's directory.

use core::fmt;

/// A file of the log, by what it is. The text form is the file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// `LOCK`: empty, exists to be locked.
    Lock,
    /// `MANIFEST`: two slots of two copies.
    Manifest,
    /// `PINS`: empty, exists to be locked by whoever makes, moves or takes away a pin, and by the log while it drops segments.
    Pins,
    /// `NNNNNNNNNN.wal`: a segment whose static header is durable.
    Segment(u32),
    /// `NNNNNNNNNN.spare`: blocks to be used again; the content means nothing.
    Spare(u32),
    /// `NNNNNNNNNN.damaged`: a segment that a prefix recovery moved aside.
    Damaged(u32),
    /// `NNNNNNNNNN.pin`: a pin, the number of which means nothing.
    Pin(u32),
    /// `NNNNNNNNNN.draft`: a pin that is being made.
    Draft(u32),
}

impl FileName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 18;

    /// The file that a directory entry names, or `None` for a foreign file.
    pub fn parse(name: &[u8]) -> Option<FileName> {
        match name {
            b"LOCK" => return Some(FileName::Lock),
            b"MANIFEST" => return Some(FileName::Manifest),
            b"PINS" => return Some(FileName::Pins),
            _ => {}
        }
        let (digits, suffix) = name.split_at_checked(10)?;
        let mut index: u64 = 0;
        for &digit in digits {
            if !digit.is_ascii_digit() {
                return None;
            }
            index = index * 10 + u64::from(digit - b'0');
        }
        let index = u32::try_from(index).ok().filter(|&index| index > 0)?;
        match suffix {
            b".wal" => Some(FileName::Segment(index)),
            b".spare" => Some(FileName::Spare(index)),
            b".damaged" => Some(FileName::Damaged(index)),
            b".pin" => Some(FileName::Pin(index)),
            b".draft" => Some(FileName::Draft(index)),
            _ => None,
        }
    }

    /// The number in the name; 0 for `LOCK`, `MANIFEST` and `PINS`.
    pub fn index(self) -> u32 {
        match self {
            FileName::Lock | FileName::Manifest | FileName::Pins => 0,
            FileName::Segment(index)
            | FileName::Spare(index)
            | FileName::Damaged(index)
            | FileName::Pin(index)
            | FileName::Draft(index) => index,
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileName::Lock => f.write_str("LOCK"),
            FileName::Manifest => f.write_str("MANIFEST"),
            FileName::Pins => f.write_str("PINS"),
            FileName::Segment(index) => write!(f, "{index:010}.wal"),
            FileName::Spare(index) => write!(f, "{index:010}.spare"),
            FileName::Damaged(index) => write!(f, "{index:010}.damaged"),
            FileName::Pin(index) => write!(f, "{index:010}.pin"),
            FileName::Draft(index) => write!(f, "{index:010}.draft"),
        }
    }
}
