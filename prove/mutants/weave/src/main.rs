//! Puts mutants into a copy of the sources side by side, each asleep until the variable `WAL_MUTANT` names it: one build and one link for all of them
//! instead of one for each.
//!
//! `weave TREE < LIST` takes a line for each mutant, with tabs between its number, its file in the tree, line, column and what it does in the words of
//! cargo-mutants. Prints the number of each with one of `woven`, `unviable` (what comes of it cannot be parsed) and `apart` (nothing can be chosen at run
//! time there, like in a constant).

mod weaver;

use std::collections::BTreeMap;
use std::io::Read;
use std::{env, fs, io};

use weaver::{Fate, Mutant, weave};

/// Behind the engine's last module: which mutant is awake. The variable is read once.
const CHOICE: &str = r#"
#[allow(missing_docs)]
pub mod woven {
    use std::sync::atomic::{AtomicU32, Ordering};
    static AWAKE: AtomicU32 = AtomicU32::new(u32::MAX);
    #[inline(always)]
    pub fn awake() -> u32 {
        match AWAKE.load(Ordering::Relaxed) {
            u32::MAX => first(),
            awake => awake,
        }
    }
    #[cold]
    fn first() -> u32 {
        let awake = std::env::var("WAL_MUTANT").map_or(0, |number| number.parse().expect("WAL_MUTANT is a number"));
        AWAKE.store(awake, Ordering::Relaxed);
        awake
    }
}
"#;

fn main() -> io::Result<()> {
    let tree = env::args().nth(1).expect("a tree");
    let mut list = String::new();
    io::stdin().read_to_string(&mut list)?;
    let mut by_file: BTreeMap<&str, Vec<Mutant>> = BTreeMap::new();
    for line in list.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [number, file, line, column, change] = fields[..] else { panic!("not a mutant: {line}") };
        let place = [line, column].map(|field| field.parse().expect("a place"));
        by_file.entry(file).or_default().push(Mutant::new(number.parse().expect("a number"), place, change));
    }
    for (file, mutants) in by_file {
        let path = format!("{tree}/{file}");
        let (text, fates) = weave(&fs::read_to_string(&path)?, mutants);
        fs::write(&path, text)?;
        for (number, fate) in fates {
            let word = match fate {
                Fate::Woven => "woven",
                Fate::Unviable => "unviable",
                Fate::Apart => "apart",
            };
            println!("{number}\t{word}");
        }
    }
    let root = format!("{tree}/engine/src/lib.rs");
    fs::write(&root, fs::read_to_string(&root)? + CHOICE)
}
