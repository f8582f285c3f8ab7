fn main() {
    let seconds = std::time::Instant::now();
    let runs: usize = std::env::var("RUNS").ok().and_then(|x| x.parse().ok()).unwrap_or(100);
    let only = std::env::var("ONLY").unwrap_or_default();
    for s in wal_interleave::scenarios::all().into_iter().filter(|s| s.name.contains(&only)) {
        for choice in [wal_interleave::explore::Choice::Random, wal_interleave::explore::Choice::Priorities(3)] {
            let t = std::time::Instant::now();
            let r = wal_interleave::explore::explore(&s, choice, 1, runs, Some(std::path::Path::new("/tmp/team/interscratch")));
            println!("{} {:?}: {:?} {:?}", s.name, choice, r, t.elapsed());
        }
    }
    println!("{:?}", seconds.elapsed());
}
