//! Reads Rust sources as far as the house rules need it: what is code in them, and what they import.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below `directory`, which is relative to the root as they are, in order. Leaves out what git and cargo keep and what was built.
pub(crate) fn files(directory: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(&root().join(directory), &mut found);
    found.sort();
    assert!(!found.is_empty(), "{directory} holds no files");
    found
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            let name = path.file_name().unwrap_or_default();
            let built = path.join("CACHEDIR.TAG").exists() || [".git", "target", "build"].iter().any(|&skipped| name == skipped);
            if !built && !path.is_symlink() {
                collect(&path, found);
            }
        } else if path.file_name().is_none_or(|name| name != ".git") {
            // In a linked worktree `.git` is a file.
            found.push(path.strip_prefix(root()).expect("below the root").to_path_buf());
        }
    }
}

/// The Rust sources below the directories.
pub(crate) fn sources(directories: &[&str]) -> Vec<PathBuf> {
    let rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    directories.iter().flat_map(|directory| files(directory)).filter(rust).collect()
}

/// A source with comments, and what stands in strings and characters, blanked out: every byte that is left is code, in its place.
pub(crate) fn code(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut blank = |from: usize, to: usize| {
        for byte in &mut out[from..to] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    };
    let mut at = 0;
    while at < bytes.len() {
        let rest = &source[at..];
        let before = source[..at].chars().next_back().unwrap_or(' ');
        let end = if rest.starts_with("//") {
            let end = at + rest.find('\n').unwrap_or(rest.len());
            blank(at, end);
            end
        } else if rest.starts_with("/*") {
            let end = at + block_comment(rest);
            blank(at, end);
            end
        } else if let Some(hashes) = raw_string(rest).filter(|_| !is_word(before) || before == 'b') {
            let open = at + rest.find('"').unwrap_or(0) + 1;
            let close = format!("\"{}", "#".repeat(hashes));
            let end = open + source[open..].find(&close).expect("a raw string ends");
            blank(open, end);
            end + close.len()
        } else if let Some(behind) = rest.strip_prefix('"') {
            let end = at + 1 + quoted(behind, '"');
            blank(at + 1, end);
            end + 1
        } else if let Some(len) = character(rest) {
            blank(at + 1, at + len - 1);
            at + len
        } else {
            at + rest.chars().next().map_or(1, char::len_utf8)
        };
        at = end;
    }
    String::from_utf8(out).expect("whole characters are blanked out")
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length of a block comment; they nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        match rest {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The number of `#` if a raw string begins here.
fn raw_string(text: &str) -> Option<usize> {
    let behind = text.strip_prefix('r')?;
    let hashes = behind.len() - behind.trim_start_matches('#').len();
    behind[hashes..].starts_with('"').then_some(hashes)
}

/// Where a string ends whose opening quote has been read.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at,
            _ => {}
        }
    }
    panic!("a string does not end");
}

/// The length of a character in quotes, if it is one and not a lifetime.
fn character(text: &str) -> Option<usize> {
    let behind = text.strip_prefix('\'')?;
    let first = behind.chars().next()?;
    if first == '\\' {
        return Some(2 + quoted(behind, '\''));
    }
    behind[first.len_utf8()..].starts_with('\'').then_some(2 + first.len_utf8())
}

/// Code without the items that are compiled for tests only. Takes what `code` returns.
pub(crate) fn shipped(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::new();
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        out.push_str(&rest[..start]);
        rest = &rest[start + MARK.len()..];
        rest = &rest[item(rest)..];
    }
    out + rest
}

/// Length of the item at the start of the code.
fn item(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The name of a module by its file: `["recovery", "survey"]`.
pub(crate) fn module(file: &Path, crate_root: &str) -> Vec<String> {
    let below = file.strip_prefix(crate_root).expect("a source of the crate").with_extension("");
    let mut name: Vec<String> = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if name.last().is_some_and(|last| last == "mod" || last == "lib") {
        name.pop();
    }
    name
}

/// Every path in a module's code that begins with `crate`, `super` or `self`, from the root of the crate on.
pub(crate) fn paths(code: &str, module: &[String]) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    let mut at = 0;
    while at < code.len() {
        let rest = &code[at..];
        let word = rest.len() - rest.trim_start_matches(is_word).len();
        let before = code[..at].trim_end();
        // `$crate` in a macro is this crate wherever it is used; `a::self` and `pub(super)` are no beginnings.
        let begins = !before.ends_with("::") && rest[word..].trim_start().starts_with("::");
        if word > 0 && begins {
            let start = match &rest[..word] {
                "crate" => Some(Vec::new()),
                "self" => Some(module.to_vec()),
                "super" => Some(module[..module.len().saturating_sub(1)].to_vec()),
                _ => None,
            };
            if let Some(start) = start {
                branch(&rest[word..], start, &mut found);
            }
        }
        at += word.max(rest.chars().next().map_or(1, char::len_utf8));
    }
    found
}

/// Follows `::a::{b, c::d}`; the length of what it took.
fn branch(code: &str, mut path: Vec<String>, found: &mut BTreeSet<Vec<String>>) -> usize {
    let skip = |at: usize| at + code[at..].len() - code[at..].trim_start().len();
    let mut at = 0;
    loop {
        let colons = skip(at);
        if !code[colons..].starts_with("::") {
            break;
        }
        let next = skip(colons + 2);
        let rest = &code[next..];
        let word = rest.len() - rest.trim_start_matches(is_word).len();
        if word > 0 {
            match &rest[..word] {
                "super" => drop(path.pop()),
                "self" => {}
                name => path.push(name.to_string()),
            }
            at = next + word;
        } else if rest.starts_with('{') {
            let mut inner = next + 1;
            loop {
                inner = skip(inner);
                match code.as_bytes().get(inner) {
                    Some(b'}') | None => break,
                    Some(b',') => inner += 1,
                    // What stands in the braces reads as if it stood behind `::` itself.
                    Some(_) => {
                        let piece = format!("::{}", &code[inner..]);
                        inner += branch(&piece, path.clone(), found) - 2;
                    }
                }
            }
            return inner + 1;
        } else {
            at = next + usize::from(rest.starts_with('*'));
            break;
        }
    }
    // `as` renames what has been reached already.
    let rest = &code[skip(at)..];
    if rest.starts_with("as ") {
        at = skip(at) + 3;
        at = skip(at) + code[skip(at)..].len() - code[skip(at)..].trim_start_matches(is_word).len();
    }
    found.insert(path);
    at
}

#[test]
fn sources_are_read_as_the_compiler_reads_them() {
    let source = "use crate::a::{b::{self, C}, d as e, f}; use super::super::k; // crate::comment\n/* /* self::x */ super::y */ let s = \"crate::\\\"text\";
        let c = ('\"', 'a', '\\''); fn f<'a>(x: &'a u8) { super::g::h(r#\"crate::raw\"\"#) }\n#[cfg(test)]\nmod tests { fn t() { crate::test(); } }\nself::i::J";
    let code = code(source);
    assert_eq!(code.len(), source.len());
    assert!(!code.contains("comment") && !code.contains("text") && !code.contains("raw") && code.contains("&'a u8"), "{code}");
    let shipped = shipped(&code);
    assert!(!shipped.contains("tests") && shipped.contains("self::i"), "{shipped}");
    let module = ["top".to_string(), "inner".to_string()];
    let found: Vec<String> = paths(&shipped, &module).iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["a::b", "a::b::C", "a::d", "a::f", "k", "top::g::h", "top::inner::i::J"]);
}
