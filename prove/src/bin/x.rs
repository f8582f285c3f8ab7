//! scratch
#![allow(missing_docs, clippy::unwrap_used)]
use wal_engine::config::{Recovery, SyncMode};
use wal_prove::recorded::{judge::Judge, replay::replay, script::{Script, run}, sites, tools::Tools};
use wal_sim::Budget;
fn main() {
    let tools = Tools::get();
    let steps = std::env::args().nth(1).unwrap();
    let s = Script { recovery: Recovery::Prefix, ..Script::new(SyncMode::Os, true, &steps) };
    let r = run(tools, &[s.clone()], &[]).remove(0);
    let rep = replay(&r);
    println!("{}", rep.trace);
    let mut judge = Judge { budget: Budget { exhaustive: 4, samples: 16, torn: 6, seed: 3 }, ..Judge::default() };
    println!("{:?}", judge.explore(&rep, &s.config(), 0));
    for (_, f) in sites::ways(tools, [&r]) { println!("{}", f.iter().map(|f| format!("{}:{}", f.file, f.line)).collect::<Vec<_>>().join(" < ")); }
    for (n, m) in rep.moments.iter().enumerate() { println!("{n} {:?} {} {} {}", m.promised, m.damaged, m.exists, m.named); }
}
