//! Every input that was ever worth keeping, replayed without the fuzzer.

use std::fs;
use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(&dir).expect("the corpus").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(paths.len() > 50, "the corpus of {target} has been lost");
    for path in &paths {
        let input = fs::read(path).expect("an input");
        let outcome = std::panic::catch_unwind(|| run(&input));
        assert!(outcome.is_ok(), "{}", path.display());
    }
    println!("tally: fuzz-corpus-{target} {} inputs", paths.len());
}

#[test]
fn segments() {
    replay("segments", wal_fuzz::segments);
}

#[test]
fn manifest() {
    replay("manifest", wal_fuzz::manifest);
}

#[test]
fn calls() {
    replay("calls", wal_fuzz::calls);
}
