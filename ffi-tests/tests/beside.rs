//! One process with this library, SQLite and RocksDB, all at work.

use std::path::Path;
use std::process::Command;

use wal_ffi_tests::{Library, Program, build, must, scratch, skipped};

const TMP: &str = env!("CARGO_TARGET_TMPDIR");
const BESIDE: Program<'static> = Program { name: "beside", sources: &["beside.c"], arguments: &["-lsqlite3", "-lrocksdb"] };

fn work_side_by_side(library: Library) {
    let name = format!("beside {library:?}").to_lowercase();
    for header in ["sqlite3.h", "rocksdb/c.h"] {
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let found = Command::new(compiler).args(["-E", "-xc", "-include", header, "/dev/null"]).output();
        if !found.is_ok_and(|output| output.status.success()) {
            skipped(&name, &format!("{header} is not there: install libsqlite3-dev and librocksdb-dev"));
            return;
        }
    }
    let program = build(BESIDE, library, TMP);
    let dir = scratch(&Path::new(TMP).join(name.replace(' ', ".")));
    let output = must(Command::new(program).arg(&dir));
    assert!(String::from_utf8_lossy(&output.stdout).contains("all three"), "it said nothing");
    // What cannot be removed is no failure of the test.
    let _still_there = std::fs::remove_dir_all(dir);
}

#[test]
fn the_static_archive_beside_sqlite_and_rocksdb() {
    work_side_by_side(Library::Static);
}

#[test]
fn the_shared_library_beside_sqlite_and_rocksdb() {
    work_side_by_side(Library::Shared);
}
