//! Text in a fixed array: what does not fit is cut at a character, nothing is allocated.

use core::fmt;

/// At most `N - 1` bytes of UTF-8 and a NUL.
#[derive(Clone, Copy)]
pub(crate) struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
    cut: bool,
}

impl<const N: usize> Text<N> {
    pub(crate) const fn new() -> Text<N> {
        Text { bytes: [0; N], len: 0, cut: false }
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }

    /// The text with its NUL; zeros behind it.
    pub(crate) fn bytes(&self) -> &[u8; N] {
        &self.bytes
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.cut {
            return Ok(());
        }
        let room = N - 1 - self.len;
        let fits = if text.len() <= room { text.len() } else { text.floor_char_boundary(room) };
        self.bytes[self.len..self.len + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.len += fits;
        self.cut = fits < text.len();
        Ok(())
    }
}

/// Bytes of a path kept for messages. A longer path keeps its end, which tells more.
const DIR_NAME_LEN: usize = 120;
const ELLIPSIS: &str = "...";

/// A log's directory as messages name it.
pub(crate) type DirName = Text<DIR_NAME_LEN>;

impl DirName {
    /// Bytes that are not UTF-8 become question marks, trailing slashes go.
    pub(crate) fn of(path: &[u8]) -> DirName {
        let end = path.iter().rposition(|&byte| byte != b'/').map_or(path.len().min(1), |last| last + 1);
        let path = &path[..end];
        let mut name = DirName::new();
        let shown = if path.len() < DIR_NAME_LEN {
            path
        } else {
            name.push(ELLIPSIS);
            let tail = &path[path.len() - (DIR_NAME_LEN - 1 - ELLIPSIS.len())..];
            let continuation = tail.iter().take_while(|&&byte| byte & 0xC0 == 0x80).count();
            &tail[continuation.min(3)..]
        };
        for chunk in shown.utf8_chunks() {
            name.push(chunk.valid());
            for _ in chunk.invalid() {
                name.push("?");
            }
        }
        name
    }
}

impl<const N: usize> Text<N> {
    /// Appends what fits.
    pub(crate) fn push(&mut self, text: &str) {
        let _ = fmt::Write::write_str(self, text); // Cutting is not an error.
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;

    #[test]
    fn text_is_cut_at_a_character_and_stays_cut() {
        let mut text = Text::<6>::new();
        write!(text, "abcé{}", 1).expect("cutting is not an error");
        assert_eq!(text.as_str(), "abcé");
        text.push("x");
        assert_eq!((text.as_str(), text.bytes()[5]), ("abcé", 0));

        let mut text = Text::<5>::new();
        text.push("abcé");
        text.push("x");
        assert_eq!(text.as_str(), "abc", "nothing may follow a gap");
    }

    #[test]
    fn a_directory_is_named_by_its_end() {
        assert_eq!(DirName::of(b"/var/db/log//").as_str(), "/var/db/log");
        assert_eq!(DirName::of(b"/").as_str(), "/");
        assert_eq!(DirName::of(b"").as_str(), "");
        assert_eq!(DirName::of(b"a\xFF\xFEb").as_str(), "a??b");
        let long = [b"/x".repeat(200), b"/tail".to_vec()].concat();
        let name = DirName::of(&long);
        assert!(name.as_str().starts_with("...") && name.as_str().ends_with("/tail"), "{}", name.as_str());
        assert_eq!(name.as_str().len(), DIR_NAME_LEN - 1);
        for len in 0..400 {
            assert!(DirName::of(&b"\xC3\xA9/\x80\xFF\xF0".repeat(70)[..len]).as_str().len() < DIR_NAME_LEN);
        }
        let long = "é".repeat(200);
        assert!(DirName::of(long.as_bytes()).as_str().chars().all(|c| c == '.' || c == 'é'));
    }
}
