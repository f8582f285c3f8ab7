//! The rules of the house: what the sources, manifests and documents must keep to, whoever changes them.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{code, files, module, paths, read, root, shipped, sources};

const ENGINE: &str = "engine/src";
const SHELL: &str = "src";
const FLASH: &str = "flash/src";

// Floors.

/// The rooms of the engine from the bottom up. Those that share a line are peers: none imports another.
const FLOORS: [&[&str]; 11] = [
    &["names", "plants", "seq"],
    &["error"],
    &["config", "memory"],
    &["format", "protocol", "storage"],
    &["storage::posix"],
    &["segment", "sync"],
    &["bell", "chain", "events", "manifest", "spares"],
    &["pins"],
    &["parts"],
    &["commit", "cursor", "follow", "recovery", "retention"],
    &["log"],
];

fn room(module: &[String]) -> String {
    match module {
        [first, second, ..] if first == "storage" && second == "posix" => "storage::posix".to_string(),
        [first, ..] => first.clone(),
        [] => String::new(),
    }
}

fn floor(room: &str) -> usize {
    FLOORS.iter().position(|floor| floor.contains(&room)).unwrap_or_else(|| panic!("{room} has no floor: give it one in {}", file!()))
}

/// Which modules of a crate import which.
fn imports(crate_root: &str) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let files = sources(&[crate_root]);
    let modules: BTreeSet<Vec<String>> = files.iter().map(|file| module(file, crate_root)).collect();
    let mut graph = BTreeMap::new();
    for file in &files {
        let from = module(file, crate_root);
        // Each path leads to the innermost module on it; the rest of it is an item.
        let target = |path: &Vec<String>| (0..=path.len()).rev().map(|len| path[..len].to_vec()).find(|prefix| modules.contains(prefix));
        let to = paths(&shipped(&code(&read(file))), &from).iter().filter_map(target).filter(|to| *to != from).collect();
        graph.insert(from, to);
    }
    graph
}

#[test]
fn imports_go_strictly_down() {
    let graph = imports(ENGINE);
    assert!(graph.len() > 30, "the sources of the engine are {graph:?}");
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for (from, targets) in graph.iter().filter(|(from, _)| !from.is_empty()) {
        let from_room = room(from);
        seen.insert(from_room.clone());
        for to in targets {
            let to_room = room(to);
            if to.is_empty() {
                wrong.push(format!("{} imports the crate's root", from.join("::")));
            } else if to_room != from_room && floor(&to_room) >= floor(&from_room) {
                wrong.push(format!("{} imports {}", from.join("::"), to.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "against the order of the floors:\n{}", wrong.join("\n"));
    let listed: BTreeSet<String> = FLOORS.iter().flat_map(|floor| floor.iter()).map(|room| room.to_string()).collect();
    assert_eq!(listed, seen, "rooms that are listed and rooms that are there");
}

/// The rooms of the log in flash, likewise. Those of the third line from below are parts of one type, and see each other.
const FLASH_FLOORS: [&[&str]; 5] =
    [&["body", "chip", "fail", "trail"], &["desk"], &["walk"], &["advance", "figures", "log", "opening", "replay", "retain"], &["c"]];

#[test]
fn imports_of_the_log_in_flash_go_down() {
    let floor = |room: &str| FLASH_FLOORS.iter().position(|floor| floor.contains(&room)).unwrap_or_else(|| panic!("{room} has no floor"));
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    for (from, targets) in imports(FLASH).iter().filter(|(from, _)| !from.is_empty()) {
        seen.insert(from[0].clone());
        for to in targets.iter().filter(|to| !to.is_empty() && to[0] != from[0]) {
            let parts_of_one_type = floor(&to[0]) == 3 && floor(&from[0]) == 3;
            if floor(&to[0]) >= floor(&from[0]) && !parts_of_one_type {
                wrong.push(format!("{} imports {}", from.join("::"), to.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "against the order of the floors:\n{}", wrong.join("\n"));
    let listed: BTreeSet<String> = FLASH_FLOORS.iter().flat_map(|floor| floor.iter()).map(|room| room.to_string()).collect();
    assert_eq!(listed, seen, "rooms that are listed and rooms that are there");
}

/// A module and what it is made of see each other by nature. Siblings do not.
#[test]
fn modules_of_a_room_import_each_other_one_way() {
    let mut cycles = Vec::new();
    for crate_root in [ENGINE, SHELL, "walctl/src"] {
        let mut graph = imports(crate_root);
        for (from, targets) in &mut graph {
            targets.retain(|to| !from.starts_with(to) && !to.starts_with(from));
        }
        // Whatever imports nothing that is left is in no cycle.
        while let Some(done) = graph.iter().find(|(_, targets)| targets.is_empty()).map(|(from, _)| from.clone()) {
            graph.remove(&done);
            for targets in graph.values_mut() {
                targets.remove(&done);
            }
        }
        // Of what is left, whatever nobody imports is in none either.
        while let Some(top) = graph.keys().find(|from| !graph.values().any(|targets| targets.contains(*from))).cloned() {
            graph.remove(&top);
        }
        cycles.extend(graph.keys().map(|module| format!("{crate_root}/{}", module.join("/"))));
    }
    assert!(cycles.is_empty(), "these import each other, directly or through others: {cycles:?}");
}

/// The tests of interleavings put a scheduler of their own in the place of `sync`; what went past it would go past them. Real files know no scheduler.
#[test]
fn threads_of_the_engine_meet_in_one_room() {
    let mut wrong = Vec::new();
    for file in sources(&[ENGINE])
        .into_iter()
        .filter(|file| !file.ends_with("sync.rs") && !file.ends_with("memory.rs") && !file.starts_with("engine/src/storage/posix"))
    {
        for line in shipped(&code(&read(&file))).lines() {
            let is_clock = line.contains("std::time") && (line.contains("Instant") || line.contains("SystemTime"));
            if is_clock || line.contains("std::sync") || line.contains("std::thread") {
                wrong.push(format!("{}: {}", file.display(), line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "these belong to engine/src/sync.rs:\n{}", wrong.join("\n"));
}

// Code.

/// The files that follow pointers, ask the allocator, or call the C library.
const UNSAFE_FILES: [&str; 10] = [
    "engine/src/memory.rs",
    "engine/src/storage/posix/clock.rs",
    "engine/src/storage/posix/file.rs",
    "engine/src/storage/posix/fork.rs",
    "engine/src/storage/posix/mod.rs",
    "engine/src/storage/posix/thread.rs",
    "flash/src/c/boundary.rs",
    "src/boundary.rs",
    "src/callbacks.rs",
    "src/handle.rs",
];

#[test]
fn unsafe_code_stands_in_few_files() {
    let mut found = Vec::new();
    for file in sources(&[ENGINE, FLASH, SHELL, "sim/src"]) {
        // A signature that C calls is unsafe to call; it does nothing by itself.
        let code = shipped(&code(&read(&file))).replace("#[unsafe(no_mangle)]", "");
        let words: Vec<&str> = code.split_whitespace().collect();
        let is_signature = |at: usize| words[at + 1..].starts_with(&["extern", "\""]) || words[at + 1..].starts_with(&["extern", "\"\""]);
        let is_unsafe = |at: usize| words[at].split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
        if (0..words.len()).any(|at| is_unsafe(at) && !is_signature(at)) {
            found.push(file.display().to_string());
        }
    }
    assert_eq!(found, UNSAFE_FILES);
}

#[test]
fn shipped_code_does_not_panic_on_purpose() {
    let mut wrong = Vec::new();
    for file in sources(&[ENGINE, FLASH, SHELL]) {
        // `#[expect(..)]` is a lint's.
        let code = shipped(&code(&read(&file))).replace("#[expect(", "").replace("#![expect(", "");
        for call in [".unwrap()", ".expect(", ".unwrap_err()", "panic!(", "todo!(", "unimplemented!(", "dbg!(", "println!(", "eprintln!("] {
            if code.contains(call) {
                wrong.push(format!("{}: {call}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "an error is returned, and a library does not print:\n{}", wrong.join("\n"));
}

/// About 600 lines are the rule.
const MAX_LINES: usize = 700;

#[test]
fn no_file_is_too_long() {
    for file in sources(&[ENGINE, FLASH, SHELL, "sim/src"]) {
        let lines = read(&file).lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines, more than {MAX_LINES}: divide it", file.display());
    }
}

// Dependencies and manifests.

fn cargo_tree(arguments: &[&str]) -> Result<Vec<String>, String> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    command.args(["tree", "--locked", "--prefix", "none", "--no-dedupe"]).args(arguments).current_dir(root());
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    let lines: BTreeSet<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::trim).map(str::to_string).collect();
    // "[dev-dependencies]" and its like are headings.
    Ok(lines.into_iter().filter(|line| !line.is_empty() && !line.starts_with('[')).collect())
}

fn names_of(edges: &str) -> Vec<String> {
    let lines = cargo_tree(&["--offline", "--package", "wal", "--edges", edges, "--format", "{p}"]).expect("the tree of what is built");
    let names: BTreeSet<String> = lines.iter().filter_map(|line| line.split(' ').next()).map(str::to_string).collect();
    names.into_iter().collect()
}

/// What ends up in a program that links the library, and what builds that.
#[test]
fn the_library_has_few_dependencies() {
    let linked = ["cfg-if", "crc32fast", "libc", "thiserror", "wal", "wal-engine"];
    assert_eq!(names_of("normal,no-proc-macro"), linked);
    let builders = ["proc-macro2", "quote", "syn", "thiserror-impl", "unicode-ident"];
    let mut all = [&linked[..], &builders[..]].concat();
    all.sort_unstable();
    assert_eq!(names_of("normal,build"), all);
}

const LICENCES: [&str; 7] = ["Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "Unicode-3.0", "Zlib"];
/// A licence that a tool may have of which nothing is shipped.
const TOOL_LICENCE: &str = "MPL-2.0";

/// Whether one may use something under this expression: `OR` leaves the choice, `AND` does not, `WITH` only adds permissions.
fn allows(expression: &str, allowed: &[&str]) -> bool {
    let expression = expression.trim();
    // The operators outside parentheses, the loosest first.
    for (operator, all) in [(" OR ", false), ("/", false), (" AND ", true)] {
        let parts = split(expression, operator);
        if parts.len() > 1 {
            return if all { parts.iter().all(|part| allows(part, allowed)) } else { parts.iter().any(|part| allows(part, allowed)) };
        }
    }
    if let Some(inner) = expression.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        return allows(inner, allowed);
    }
    let name = expression.split(" WITH ").next().unwrap_or_default();
    allowed.contains(&name)
}

fn split<'a>(expression: &'a str, operator: &str) -> Vec<&'a str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in expression.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && at >= start && expression[at..].starts_with(operator) => {
                parts.push(&expression[start..at]);
                start = at + operator.len();
            }
            _ => {}
        }
    }
    parts.push(&expression[start..]);
    parts
}

#[test]
fn licence_expressions_are_understood() {
    assert!(allows("MIT OR Apache-2.0", &["MIT"]) && allows("GPL-3.0/MIT", &["MIT"]));
    assert!(allows("(GPL-3.0 OR MIT) AND Unicode-3.0", &["MIT", "Unicode-3.0"]));
    assert!(!allows("(GPL-3.0 OR MIT) AND Unicode-3.0", &["MIT"]) && !allows("MIT AND GPL-3.0", &["MIT"]));
    assert!(allows("Apache-2.0 WITH LLVM-exception", &["Apache-2.0"]) && !allows("", &["MIT"]));
}

#[test]
fn every_dependency_has_a_good_licence() {
    let arguments = ["--workspace", "--edges", "normal,build,dev", "--format", "{p}|{l}"];
    let everywhere = cargo_tree(&[&arguments[..], &["--target", "all"]].concat());
    let lines = match everywhere {
        Ok(lines) => lines,
        Err(why) => {
            // Packages for other systems are not here and cannot be fetched.
            assert!(env::var_os("CI").is_none(), "{why}");
            cargo_tree(&[&arguments[..], &["--offline"]].concat()).expect("the tree of what is built")
        }
    };
    assert!(lines.len() > 10, "{lines:?}");
    let shipped = names_of("normal,build");
    for line in lines {
        let (package, licence) = line.rsplit_once('|').expect("a package and its licence");
        let name = package.split(' ').next().unwrap_or_default();
        let mut allowed = LICENCES.to_vec();
        if !shipped.iter().any(|shipped| shipped == name) {
            allowed.push(TOOL_LICENCE);
        }
        assert!(allows(licence, &allowed), "{package}: {licence:?}");
    }
}

fn manifests() -> Vec<PathBuf> {
    files("").into_iter().filter(|file| file.file_name().is_some_and(|name| name == "Cargo.toml")).collect()
}

#[test]
fn manifests_agree() {
    let rust = format!("rust-version = \"{}\"", env!("CARGO_PKG_RUST_VERSION"));
    assert_eq!(env!("CARGO_PKG_RUST_VERSION"), "1.95");
    let manifests = manifests();
    assert!(manifests.len() >= 4, "{manifests:?}");
    for file in manifests {
        let text = read(&file);
        let says = |own: &str, shared: &str| text.lines().any(|line| line == own || line == shared);
        assert!(says(&rust, "rust-version.workspace = true"), "{}: {rust}", file.display());
        assert!(says("license = \"MIT\"", "license.workspace = true"), "{}: the licence is MIT", file.display());
        assert!(says("publish = false", "publish.workspace = true"), "{}: nothing is published by accident", file.display());
        assert!(
            file.with_extension("lock").exists() || says("", "version.workspace = true"),
            "{}: its versions are locked",
            file.display()
        );
    }
}

// Documents.

#[test]
fn the_version_has_its_papers() {
    let version = env!("CARGO_PKG_VERSION");
    let changes = read("CHANGELOG.md");
    assert!(changes.lines().any(|line| line.starts_with(&format!("## [{version}]"))), "CHANGELOG.md does not name {version}");
    assert!(read("LICENSE").starts_with("MIT License"));
}

/// `text` with one space wherever there is any.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_readme_shows_the_programs_that_are_tested() {
    let readme = read("README.md");
    for (fence, file) in [("```c first.c\n", "examples-c/first.c"), ("```cpp first.cpp\n", "examples-cpp/first.cpp")] {
        let program = readme.split(fence).nth(1).and_then(|rest| rest.split("```").next()).expect("a program");
        assert_eq!(program, read(file), "README.md and {file}");
    }
}

#[test]
fn the_readme_names_what_make_makes() {
    let makefile = read("Makefile");
    let readme = read("README.md");
    let mut named = BTreeSet::new();
    for command in readme.split("make ").skip(1) {
        let target = command.split(|c: char| !c.is_ascii_lowercase()).next().unwrap_or_default();
        if makefile.lines().any(|line| line.starts_with(&format!("{target}:"))) {
            named.insert(target.to_string());
        }
    }
    for target in ["demo", "test", "install"] {
        assert!(named.contains(target), "`make {target}` is in README.md and in the Makefile: {named:?}");
    }
}

/// Links between the documents lead somewhere.
#[test]
fn documents_link_to_files_that_are_there() {
    for file in files("").into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "md")) {
        let text = read(&file);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if path.is_empty() || link.contains("://") {
                continue;
            }
            let target = root().join(file.parent().unwrap_or(Path::new(""))).join(path);
            assert!(target.exists(), "{} links to {link}", file.display());
        }
    }
}

/// The tree says nothing about the machine on which it was written.
#[test]
fn no_path_of_a_workplace_stands_in_the_tree() {
    let words = [concat!("/wo", "rk/"), concat!("/tmp/", "team"), concat!("/ro", "ot/")];
    for file in files("") {
        let bytes = std::fs::read(root().join(&file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let text = String::from_utf8_lossy(&bytes);
        for (i, line) in text.lines().enumerate() {
            for word in words {
                assert!(!line.contains(word), "{}:{}: {word}", file.display(), i + 1);
            }
        }
    }
}

/// What `docs/FORMAT.md` says about a number of the format, with the number that the code has.
fn format_phrases() -> Vec<(&'static str, String)> {
    use wal_engine::format::constants::*;
    let hex = |bytes: [u8; 8]| bytes.map(|byte| format!("{byte:02X}")).join(" ");
    vec![
        ("FORMAT_VERSION", format!("format that the writer wrote: {FORMAT_VERSION} |")),
        ("READER_VERSION", format!("readers understand this copy: {READER_VERSION} |")),
        ("SEGMENT_MAGIC", hex(SEGMENT_MAGIC)),
        ("MANIFEST_MAGIC", hex(MANIFEST_MAGIC)),
        ("SEGMENT_HEADER_LEN", format!("A segment file begins with {SEGMENT_HEADER_LEN} bytes")),
        ("DATA_START", format!("where the first frame stands; {DATA_START} |")),
        ("SEGMENT_RECYCLED", format!("bit {}, *recycled*", SEGMENT_RECYCLED.trailing_zeros())),
        ("WRITE_UNIT", format!("unit in which the segment was written; {WRITE_UNIT}.")),
        ("MAX_WRITE_UNIT", format!("`write_unit` is a power of two up to {MAX_WRITE_UNIT}")),
        ("OP_STATE", format!("{OP_STATE} STATE")),
        ("CHIP_MAGIC", CHIP_MAGIC.map(|byte| format!("{byte:02X}")).join(" ")),
        ("CHIP_HEADER_LEN", format!("chip header, {CHIP_HEADER_LEN} bytes long")),
        ("STATE_PAYLOAD_LEN", format!("its payload has {STATE_PAYLOAD_LEN} bytes")),
        ("FRAME_ALIGN", format!("begins at a multiple of {FRAME_ALIGN} ")),
        ("FRAME_HEADER_LEN", format!("a header of {FRAME_HEADER_LEN} bytes")),
        ("MAX_FRAME_KEY_LEN", format!("key is longer than {MAX_FRAME_KEY_LEN} bytes")),
        ("KIND_RECORD", format!("{KIND_RECORD} RECORD")),
        ("KIND_BATCH", format!("{KIND_BATCH} BATCH")),
        ("KIND_OPEN", format!("{KIND_OPEN} OPEN")),
        ("KIND_END", format!("{KIND_END} END")),
        ("KIND_FIRST", format!("{KIND_FIRST} FIRST")),
        ("KIND_MIDDLE", format!("{KIND_MIDDLE} MIDDLE")),
        ("KIND_LAST", format!("{KIND_LAST} LAST")),
        ("OP_PUT", format!("`op`: {OP_PUT} PUT")),
        ("OP_DELETE", format!("{OP_DELETE} DELETE")),
        ("OP_CHECKPOINT", format!("{OP_CHECKPOINT} CHECKPOINT")),
        ("OP_HOST_FIRST", format!("{OP_HOST_FIRST} to 255 the host's own")),
        ("CHECKPOINT_VALUE_LEN", format!("`key_len` is 0 and `payload_len` is {CHECKPOINT_VALUE_LEN}.")),
        ("OPEN_PAYLOAD_LEN", format!("Valid if and only if `payload_len` is {OPEN_PAYLOAD_LEN}")),
        ("END_PAYLOAD_LEN", format!("Valid if and only if `payload_len` is {END_PAYLOAD_LEN}")),
        ("OPEN_FIRST", format!("{OPEN_FIRST} *first*")),
        ("OPEN_ROTATED", format!("{OPEN_ROTATED} *rotated*")),
        ("OPEN_RECOVERED", format!("{OPEN_RECOVERED} *recovered*")),
        ("BATCH_COUNT_LEN", format!("`payload_len >= {BATCH_COUNT_LEN}`")),
        ("BATCH_ENTRY_LEN", format!("`{BATCH_COUNT_LEN} + {BATCH_ENTRY_LEN} count")),
        ("MANIFEST_PAGE_LEN", format!("pages of {MANIFEST_PAGE_LEN} bytes")),
        ("MANIFEST_COPY_LEN", format!("in its first {MANIFEST_COPY_LEN} bytes")),
        ("MANIFEST_COPIES", format!("with one write of {} bytes", MANIFEST_COPIES * MANIFEST_PAGE_LEN)),
        ("MANIFEST_SLOTS", format!("slot `g mod {MANIFEST_SLOTS}`")),
        ("MANIFEST_LEN", format!("`MANIFEST` is {MANIFEST_LEN} bytes")),
        ("MANIFEST_DIRTY", format!("bit {}, *dirty*", MANIFEST_DIRTY.trailing_zeros())),
        ("PIN_MAGIC", hex(PIN_MAGIC)),
        ("PIN_LEN", format!("A pin's file has {PIN_LEN} bytes")),
        ("PIN_PAGE_LEN", format!("two pages of {PIN_PAGE_LEN} bytes, each holding one *copy*")),
        ("PIN_COPY_LEN", format!("one *copy* in its first {PIN_COPY_LEN} bytes; the rest of a page is zero and ignored. | offset")),
        ("PIN_COPIES", format!("stands in page `g mod {PIN_COPIES}`")),
        ("PIN_NAME_LEN", format!("| 64 | {PIN_NAME_LEN} | name |")),
        ("PIN_LOST", format!("bit {}, *lost*", PIN_LOST.trailing_zeros())),
        ("PIN_DROPPED", format!("Bit {}, *dropped*", PIN_DROPPED.trailing_zeros())),
        ("PIN_REFUSES", format!("Bit {}, *refuses*", PIN_REFUSES.trailing_zeros())),
    ]
}

#[test]
fn the_format_page_has_every_number() {
    let page = one_line(&read("docs/FORMAT.md"));
    let phrases = format_phrases();
    for (constant, phrase) in &phrases {
        assert!(page.contains(phrase), "docs/FORMAT.md does not say {phrase:?}, which is {constant}");
    }
    let source = read("engine/src/format/constants.rs");
    let constants = source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next()).collect::<BTreeSet<_>>();
    let checked = phrases.iter().map(|(constant, _)| *constant).collect::<BTreeSet<_>>();
    assert_eq!(constants, checked, "constants of the format and those that are looked up in its page");
}
