//! scratch
#![allow(missing_docs, clippy::unwrap_used)]
use wal_prove::recorded::{judge::Judge, replay::replay, script::run, suite, tools::Tools};
use wal_sim::{Budget, Disk};
fn main() {
    let tools = Tools::get();
    let budget = Budget { exhaustive: 4, samples: 16, torn: 6, seed: 3 };
    let s = suite::try_all(tools, &suite::special(), budget, 50);
    for g in &s.openings {
        for sc in g {
            let r = run(tools, &[sc.clone()], &[]).remove(0);
            let rep = replay(&r);
            let mut j = Judge { budget, full_every: 1, ..Judge::default() };
            if let Some(w) = j.explore(&rep, &sc.config(), 0) {
                let (im, mo) = sc.base.as_ref().unwrap();
                println!("{w}\n{}", rep.trace);
                println!("{im:?} used {} {:?} exists {} {}", Disk::from_image(im, 1).used(), mo.promised, mo.exists, mo.history.len());
                return;
            }
        }
    }
}
