//! What a call through the C ABI costs over the engine's own: in nanoseconds, by two loops in turns, and in instructions. The program that does both is
//! `crossing/`: this one cannot, since it knows the library by its archive alone.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::abi::{Failure, Outcome};
use crate::callgrind;
use crate::figures::{Goal, Table};
use crate::place::Place;
use crate::{Extent, Plan};

/// Built by `build.rs`.
const PROGRAM: &str = env!("WAL_CROSSING");
/// How many calls the program makes when they are counted.
const CALLS: f64 = 20_000.0;

pub(crate) fn measure(plan: &Plan, place: &Place, table: &mut Table) -> Outcome<()> {
    table.heading("One call through the C ABI, over the engine's own: 128 B, WAL_SYNC_NONE. Limit: the same loop, calling the engine");
    let dir = place.fresh("crossing")?;
    let rounds = match plan.extent {
        Extent::Check => 4,
        Extent::Quick => 60,
        Extent::Full => 400,
    };
    let output = Command::new(PROGRAM).arg("time").arg(dir.path()).arg(rounds.to_string()).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let figures: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [append, append_abi, append_more, replay, replay_abi, replay_more] = figures[..] else {
        return Err(Failure(format!("{PROGRAM} said {text:?}")));
    };
    let ns = |ns: f64| format!("{ns:.1} ns");
    table.row("an append, ns more", &ns(append_abi), &ns(append), append_more, Goal::AtMost(5.0));
    table.row("one record of a replay, ns more", &ns(replay_abi), &ns(replay), replay_more, Goal::AtMost(5.0));
    for (work, title) in [("append", "an append, instructions more"), ("replay", "one record of a replay, instructions more")] {
        let mut counts = [0.0; 2];
        for (count, way) in counts.iter_mut().zip(["abi", "engine"]) {
            let dir = place.fresh(&format!("crossing-{work}-{way}"))?;
            let arguments = [work.as_ref(), way.as_ref(), dir.path().as_os_str()];
            let costs = callgrind::count(place, Path::new(PROGRAM), &arguments, "wal_crossing_counted")?;
            *count = costs.iter().map(|cost| cost.instructions as f64).sum::<f64>() / CALLS;
        }
        let count = |count: f64| format!("{count:.1}");
        table.row(title, &count(counts[0]), &count(counts[1]), counts[0] - counts[1], Goal::None);
    }
    Ok(())
}
