//! `include/wal_flash.h` is what the sources say.
use std::env;
use std::fs;
use std::path::Path;

const HEADER: &str = "../include/wal_flash.h";

/// The constants that wal.h has too stand apart, so that a program can include both.
fn generate() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_root_or_default(root);
    let builder = cbindgen::Builder::new().with_config(config).with_src(root.join("src/c/types.rs")).with_src(root.join("src/c/calls.rs"));
    let mut raw = Vec::new();
    builder.generate().expect("cbindgen takes the sources").write(&mut raw);
    let raw = String::from_utf8(raw).expect("UTF-8").trim_start().to_string();
    let (mut out, mut shared, mut comment) = (String::new(), String::new(), String::new());
    let mut place = None;
    let is_shared = |line: &str| {
        (line.starts_with("#define WAL_") && !line.starts_with("#define WAL_FLASH_")) || line.starts_with("typedef int32_t wal_status_t")
    };
    for line in raw.lines() {
        if line == "/**" || (!comment.is_empty() && line.starts_with(" *")) {
            comment.extend([line, "\n"]);
            continue;
        }
        if !comment.is_empty() {
            place.get_or_insert(out.len());
        }
        let to = if is_shared(line) { &mut shared } else { &mut out };
        // A negative number stands in parentheses.
        let line = match line.rsplit_once(" -") {
            Some((name, number)) if is_shared(line) && number.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("{name} (-{number})\n\n")
            }
            _ if is_shared(line) => format!("{line}\n\n"),
            _ => format!("{line}\n"),
        };
        to.extend([comment.as_str(), &line]);
        comment.clear();
    }
    let place = place.expect("something is documented");
    out.insert_str(place, &format!("/* What wal.h says too. */\n#ifndef WAL_H\n\n{shared}#endif\n\n"));
    // Before and after: no more than one empty line.
    while out.contains("\n\n\n") {
        out = out.replace("\n\n\n", "\n\n");
    }
    out
}

#[test]
fn the_header_is_what_the_sources_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(HEADER);
    let generated = generate();
    if env::var_os("UPDATE_HEADER").is_some() {
        fs::write(&path, &generated).expect("writing the header");
    }
    let committed = fs::read_to_string(&path).expect("the header");
    assert!(generated == committed, "UPDATE_HEADER=1 cargo test --test header rewrites {HEADER}");
}
