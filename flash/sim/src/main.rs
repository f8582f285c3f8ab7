//! Explores the log in flash and prints what was tried. `--long` tries every script of four operations on every chip.
use std::env;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use wal_flash::chip::Geometry;
use wal_flash_sim::explore::{Job, Tally, run};

const UNITS: [u32; 6] = [1, 4, 8, 16, 32, 256];

fn jobs(long: bool) -> Vec<(String, Job)> {
    let mut jobs = Vec::new();
    for unit in UNITS {
        for erased in [0xFF, 0] {
            // Bytes of flash in four segments of two blocks each.
            let geometry = Geometry { block_bytes: 2048, blocks: 8, segment_blocks: 2, unit, erased };
            let whole = unit == 8 && erased == 0xFF;
            let name = format!("unit {unit:3}, erased {erased:#04x}");
            let job =
                Job { geometry, cached: false, sync_each: true, page: 256, depth: 4, cuts: 1, every: if long || whole { 1 } else { 20 } };
            jobs.push((name.clone(), job));
            if whole {
                let twice = Job { depth: if long { 3 } else { 2 }, cuts: 2, every: 1, ..job };
                jobs.push((format!("{name}, two power cuts"), twice));
                jobs.push((format!("{name}, small page"), Job { page: 32, depth: 2, every: 1, ..job }));
                let few = Geometry { blocks: 4, ..geometry };
                jobs.push((format!("{name}, two segments"), Job { geometry: few, ..job }));
                let cached = Job { cached: true, depth: 3, every: 1, ..job };
                jobs.push((format!("{name}, cached"), cached));
                jobs.push((format!("{name}, cached, synced when asked"), Job { sync_each: false, ..cached }));
            }
        }
    }
    jobs
}

fn main() {
    let long = env::args().any(|argument| argument == "--long");
    let start = Instant::now();
    let queue = Mutex::new(jobs(long));
    let sum = Mutex::new(Tally::default());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some((name, job)) = queue.lock().expect("no thread panicked").pop() else { break };
                    let begun = Instant::now();
                    let tally = run(&job);
                    println!("{name}: {} scripts, {} states, {:.1} s", tally.scripts, tally.states, begun.elapsed().as_secs_f64());
                    sum.lock().expect("no thread panicked").add(&tally);
                }
            });
        }
    });
    let sum = sum.into_inner().expect("no thread panicked");
    println!("a full log refused {} times; {:.0} s in all", sum.full, start.elapsed().as_secs_f64());
    println!("tally: flash-scripts {} scripts", sum.scripts);
    println!("tally: flash-states {} power cuts on a flash chip", sum.states);
}
