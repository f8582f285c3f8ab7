//! The real storage code, recorded and replayed on the simulated disk: a small part of what the program `prove-recorded` tries.

use wal_prove::recorded::suite::{self, run_small};
use wal_prove::recorded::tools::Tools;

#[test]
fn what_the_real_code_does_survives_every_crash_and_needs_its_syncs() {
    let tools = Tools::get();
    let tried = run_small(tools);
    assert!(tried.wrong.is_empty(), "{}", tried.wrong.join("\n"));
    assert!(
        tried.states > 1000 && tried.compared > 10,
        "this test tried next to nothing: {} states, {} openings",
        tried.states,
        tried.compared
    );
    let left = suite::leave_out_posix(tools, &tried.recordings);
    assert_eq!(left.len(), 3, "the calls of the posix code that sync: {}", suite::table(&left));
    assert!(left.iter().all(|left| left.state.is_some()), "without them nothing fails:\n{}", suite::table(&left));
}
