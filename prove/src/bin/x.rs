//! scratch
#![allow(missing_docs, clippy::unwrap_used)]
use wal_engine::config::{Recovery, SyncMode};
use wal_prove::recorded::{script::{Script, run}, sites, tools::Tools};
fn main() {
    let tools = Tools::get();
    let steps = std::env::args().nth(1).unwrap();
    let s = Script { recovery: Recovery::Prefix, ..Script::new(SyncMode::Os, true, &steps) };
    let r = run(tools, &[s.clone()], &[]).remove(0);
    for (_, f) in sites::ways(tools, [&r]) { println!("{}", f.iter().map(|f| format!("{}:{} {}", f.file, f.line, f.function)).collect::<Vec<_>>().join(" < ")); }
}
