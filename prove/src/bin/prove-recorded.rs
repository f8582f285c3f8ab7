//! scratch
#![allow(missing_docs, clippy::unwrap_used)]
use std::time::Instant;
use wal_prove::recorded::{sites, suite, tools::Tools};
use wal_sim::Budget;
fn main() {
    let tools = Tools::get();
    let budget = Budget { exhaustive: 4, samples: 16, torn: 6, seed: 3 };
    let len: usize = std::env::args().nth(1).map_or(1, |n| n.parse().unwrap());
    let t = Instant::now();
    let show = |name: &str, tried: &suite::Tried| {
        println!(
            "{name}: {} scripts, {} ops, {} states, {} distinct, {} twice, {} wrong, {} openings, {:?}",
            tried.scripts,
            tried.operations,
            tried.states,
            tried.distinct.len(),
            tried.twice,
            tried.wrong.len(),
            tried.openings.iter().map(Vec::len).sum::<usize>(),
            t.elapsed()
        );
        for wrong in tried.wrong.iter().take(12) {
            println!("  {wrong}");
        }
    };
    let a = suite::try_all(tools, &suite::all(len), budget, 50);
    show("all", &a);
    let s = suite::try_all(tools, &suite::special(), budget, 12);
    show("special", &s);
    let d = suite::try_all(tools, &suite::deaths(tools, &suite::mortal()), budget, 200);
    show("deaths", &d);
    let o: Vec<suite::Group> = a.openings.iter().chain(&s.openings).chain(&d.openings).cloned().collect();
    let o = suite::try_all(tools, &o, budget, 0);
    show("openings", &o);
    let w = sites::ways(tools, a.recordings.iter().chain(&s.recordings).chain(&d.recordings).chain(&o.recordings));
    let seen: std::collections::BTreeSet<_> = w.values().flatten().map(|f| (f.file.clone(), f.line)).collect();
    println!("{} ways; lines never seen: {:?}", w.len(), sites::lines_in_sources().difference(&seen).collect::<Vec<_>>());
    let t = Instant::now();
    let mut all = vec![];
    for part in [a, s, d, o] {
        all.extend(part.recordings);
    }
    for left in suite::leave_out(tools, &all, budget) {
        println!(
            "{} [{}] {}/{}\n    monitor: {}\n    state: {}",
            left.site.name,
            left.site.line,
            left.ran,
            left.passing,
            left.monitor.unwrap_or_default(),
            left.state.unwrap_or(left.spared.map_or("NOT CAUGHT".to_string(), |why| format!("spared: {why}")))
        );
    }
    println!("{:?}", t.elapsed());
}
