//! The interface that compiled programs rely on, held against a committed baseline (`abi/`). Adding to it is allowed, removing and changing is not.
//!
//! The functions with the types of their arguments, and the structs with their layouts, are compared by libabigail. It looks at a library made by a C
//! compiler from the header alone, a body for each declaration: the real one describes its functions in Rust's terms. That the real one exports
//! exactly these functions is another test's (`header`). Constants leave no trace in a library, so they are compared as text.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workshop::{command, folder, must, present, read, root, write};

const BASELINE: &str = "abi/libwal.abi";
const CONSTANTS: &str = "abi/constants";
const RENEW: &str = "if it is meant, `make abi-baseline` accepts it";

/// A source that defines each function that the header declares.
fn surface(header: &str) -> String {
    let mut source = "#define WAL_MUST_USE\n#include \"wal.h\"\n".to_string();
    let mut count = 0;
    for declaration in header.split("\nWAL_API ").skip(1) {
        let declaration = declaration.split(';').next().unwrap_or_default().replace("WAL_MUST_USE ", "");
        let body = if declaration.starts_with("void ") { "{ }" } else { "{ return 0; }" };
        source += &format!("{declaration} {body}\n");
        count += 1;
    }
    assert!(count > 20, "the header declares only {count} functions");
    source
}

/// The library that is made of a header.
fn library(name: &str, header: &str) -> PathBuf {
    let here = folder(name);
    write(here.join("wal.h"), header);
    write(here.join("surface.c"), &surface(header));
    let library = here.join("libwal.so");
    // The same description of types from compilers of different ages.
    let mut compile = command("cc");
    compile.current_dir(&here).args(["-std=c11", "-g", "-gdwarf-4", "-O0", "-shared", "-fPIC", "-w", "-Wl,-soname,libwal.so"]);
    must(compile.args(["-o", "libwal.so", "surface.c"]));
    library
}

/// Constants but for the versions of the library and of the format, which are there to change.
fn constants(header: &str) -> BTreeMap<String, String> {
    let definition = |line: &str| {
        let (name, rest) = line.strip_prefix("#define WAL_")?.split_once(' ')?;
        let value = rest.split("/*").next().unwrap_or_default().trim();
        let is_interface =
            !value.is_empty() && (name == "ABI_VERSION" || !name.contains("VERSION")) && !["API", "MUST_USE"].contains(&name);
        is_interface.then(|| (format!("WAL_{name}"), value.to_string()))
    };
    header.lines().filter_map(definition).collect()
}

fn as_text(constants: &BTreeMap<String, String>) -> String {
    constants.iter().map(|(name, value)| format!("{name} {value}\n")).collect()
}

/// What a header takes away from the baseline or changes in it.
fn objections(name: &str, header: &str) -> String {
    let mut found = String::new();
    let now = constants(header);
    for line in read(CONSTANTS).lines() {
        let (constant, value) = line.split_once(' ').expect("a name and a value");
        if now.get(constant).map(String::as_str) != Some(value) {
            found += &format!("{constant} was {value}, is {:?}\n", now.get(constant));
        }
    }
    let mut compare = Command::new("abidiff");
    compare.args(["--no-added-syms", "--harmless", "--no-show-locs"]).arg(root().join(BASELINE)).arg(library(name, header));
    let output = compare.output().unwrap_or_else(|error| panic!("{compare:?}: {error}"));
    if !output.status.success() {
        found += &String::from_utf8_lossy(&output.stdout);
        found += &String::from_utf8_lossy(&output.stderr);
    }
    found
}

fn renew(header: &str) {
    let library = library("abi-baseline", header);
    let mut describe = command("abidw");
    describe.args(["--no-corpus-path", "--no-comp-dir-path", "--no-show-locs", "--type-id-style", "hash", "--out-file"]);
    fs::create_dir_all(root().join("abi")).expect("the directory of the baseline");
    must(describe.arg(root().join(BASELINE)).arg(library));
    write(root().join(CONSTANTS), &as_text(&constants(header)));
}

const TOOLS: [&str; 3] = ["cc", "abidw", "abidiff"];

#[test]
fn nothing_is_taken_away_or_changed() {
    if !present("the ABI's baseline", &TOOLS) {
        return;
    }
    let header = read("include/wal.h");
    if env::var_os("UPDATE_ABI").is_some() {
        renew(&header);
    }
    let found = objections("abi-now", &header);
    assert!(found.is_empty(), "programs that are compiled already would break; {RENEW}\n{found}");
}

/// The check must see what it is there for, and only that.
#[test]
fn a_change_is_noticed_and_an_addition_is_none() {
    if !present("changes of the ABI", &TOOLS) {
        return;
    }
    let header = read("include/wal.h");
    let changed = |from: &str, to: &str| {
        assert_eq!(header.matches(from).count(), 1, "{from:?} stands in the header once");
        header.replace(from, to)
    };
    let seqs = "typedef struct wal_record_t {\n  uint64_t seq;             /* Its sequence number. */\n";
    let seq = "  uint64_t seq;             /* Its sequence number. */\n";
    let flush = "WAL_API WAL_MUST_USE wal_status_t wal_flush(wal_t *wal, wal_error_t *err);\n";
    let mistakes = [
        ("a function is gone", changed(flush, "")),
        ("a function has another argument", changed(flush, &flush.replace("wal_t *wal,", "wal_t *wal, uint32_t flags,"))),
        ("an argument has another type", changed(flush, &flush.replace("wal_t *wal,", "wal_cursor_t *wal,"))),
        ("a function returns something else", changed(flush, &flush.replace("wal_status_t", "uint64_t"))),
        ("a struct has lost a member", changed(seqs, &seqs.replace(seq, ""))),
        ("a member has another size", changed(seqs, &seqs.replace("uint64_t", "uint32_t"))),
        ("a member has another name", changed(seqs, &seqs.replace("seq;", "sequence;"))),
        ("a struct has grown", changed(seqs, &format!("{seqs}uint64_t more;\n"))),
        ("a constant has another value", changed("#define WAL_E_GAP              (-5) ", "#define WAL_E_GAP              (-55) ")),
        ("a constant is gone", changed("#define WAL_SEQ_LAST     UINT64_MAX ", "")),
    ];
    for (number, (mistake, header)) in mistakes.iter().enumerate() {
        assert_ne!(objections(&format!("abi-mistake-{number}"), header), "", "{mistake}, and nothing is said");
    }
    let more = format!("{flush}WAL_API uint32_t wal_something_new(const wal_t *wal);\n");
    let additions = [changed(flush, &more), changed("#define WAL_END     1 ", "#define WAL_NEW 77\n#define WAL_END     1 ")];
    for (number, header) in additions.iter().enumerate() {
        assert_eq!(objections(&format!("abi-addition-{number}"), header), "");
    }
}

/// A baseline that nobody can read is none.
#[test]
fn the_baseline_is_of_this_abi() {
    let name = format!("WAL_ABI_VERSION {}", wal::WAL_ABI_VERSION);
    assert!(read(CONSTANTS).lines().any(|line| line == name), "{CONSTANTS} is of another ABI than {name}");
    assert!(Path::new(&root().join(BASELINE)).is_file());
}
