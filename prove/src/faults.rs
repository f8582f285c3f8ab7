//! Each storage call of each script fails: with each error, without effect or in part, once or from then on; and dies with its process.
//!
//! After the fault the host goes on with its script. What was acknowledged must then be there and what was refused must not, for the process that
//! opens the log next and for a machine that loses power at any later point: every one of those is explored as in `crash`.

use wal_engine::config::SyncMode;
use wal_engine::error::Code;
use wal_sim::{Call, Disk, EINTR, EIO, ENOMEM, ENOSPC, Effect, Fault};

use crate::crash::{Count, Counts, DISK_SEED, Depth, Failure, explore_host, verdict};
use crate::host::{Host, Promised, Step, check_open};
use crate::scripts::{Script, settings};
use crate::seen::Seen;

use Step::{Append, AppendRotating, Batch, CheckpointBefore, CheckpointLast, Reopen, Sync, TruncateHalf, TruncateLast};

/// What the calls of these scripts reach together: all that the log ever asks of its storage.
const SCRIPTS: [&[Step]; 6] = [
    &[Append, Append, Batch, Append, CheckpointLast, Append],
    &[AppendRotating, AppendRotating, AppendRotating, CheckpointLast, TruncateLast, Append],
    &[AppendRotating, Append, AppendRotating, TruncateHalf, Batch, AppendRotating, Append],
    &[Append, Reopen, Append, AppendRotating, AppendRotating, Reopen, Append],
    &[AppendRotating, Sync, AppendRotating, CheckpointBefore, TruncateHalf, AppendRotating, Sync],
    &[AppendRotating, AppendRotating, Batch, TruncateLast, Append, Reopen, Batch, AppendRotating],
];

/// What a call answers and how much of it happens.
const KINDS: [(wal_engine::storage::IoError, Effect); 8] = [
    (EIO, Effect::Nothing),
    (EIO, Effect::Prefix(100)),
    (EIO, Effect::Whole),
    (ENOSPC, Effect::Nothing),
    (ENOSPC, Effect::Prefix(24)),
    (EINTR, Effect::Nothing),
    (EINTR, Effect::Prefix(1000)),
    (ENOMEM, Effect::Nothing),
];

/// What befalls a script.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Fault(Fault),
    /// The process dies in the call with this number; how much of it happens follows from the seed.
    Death {
        call: u64,
        seed: u64,
    },
}

/// Every script, in every setting, with every fault.
pub struct Faults {
    cases: Vec<(Script, Blow)>,
}

impl Faults {
    /// Runs every script once, to see which calls it makes.
    pub fn new() -> Result<Faults, Failure> {
        let mut cases = Vec::new();
        for setting in settings(&[SyncMode::Always, SyncMode::Os, SyncMode::None, SyncMode::Batch]) {
            for steps in SCRIPTS {
                let script = Script { setting, start: &[], steps: steps.to_vec() };
                let disk = Disk::new(DISK_SEED);
                verdict(|| run(&disk, &script)).map_err(|failure| format!("{failure}\nscript {script}"))?;
                cases.extend(blows(&disk).into_iter().map(|blow| (script.clone(), blow)));
            }
        }
        Ok(Faults { cases })
    }

    pub fn count(&self) -> u64 {
        self.cases.len() as u64
    }

    /// Deals the blow with this number; the crashes behind it are explored in `depth`, if that is given. The first count is of the blows, the second
    /// of the crashes.
    pub fn try_one(&self, number: u64, depth: Option<&Depth>, seen: &Seen) -> Result<Counts, Failure> {
        let (script, blow) = &self.cases[(number % self.count()) as usize];
        let began = std::time::Instant::now();
        let disk = match *blow {
            Blow::Fault(_) => Disk::new(DISK_SEED),
            Blow::Death { seed, .. } => Disk::new(DISK_SEED + seed),
        };
        match *blow {
            Blow::Fault(fault) => disk.fail(fault),
            Blow::Death { call, .. } => disk.kill_at(call),
        }
        let context = |failure: Failure| format!("{failure}\nscript {script}\n{blow:?}\n{}", disk.trace());
        let host = verdict(|| run(&disk, script)).map_err(context)?;
        let mut counts = Counts::default();
        let Some(mut host) = host else {
            // Not even the log could be made. What that left is another creation's to clear away.
            disk.clear_faults();
            verdict(|| Host::open(disk.clone(), script.setting.config())).map_err(context)?;
            counts.first = Count { cases: 1, states: 0, busy: began.elapsed() };
            return Ok(counts);
        };
        drop(host.log.take());
        disk.clear_faults();
        let operations = disk.operations();
        verdict(|| judge(&host)).map_err(context)?;
        counts.first = Count { cases: 1, states: 0, busy: began.elapsed() };
        if let (Some(depth), Some(at)) = (depth, disk.first_fault()) {
            let explored =
                explore_host(&host, at..=operations, depth, seen).map_err(|failure| format!("{failure}\nscript {script}\n{blow:?}"))?;
            counts.second = explored.first;
        }
        Ok(counts)
    }
}

/// What can befall a script that made these calls.
fn blows(disk: &Disk) -> Vec<Blow> {
    let mut blows = Vec::new();
    for (error, effect) in KINDS {
        for nth in 1..=disk.calls() {
            let fault = Fault::nth(nth).error(error).effect(effect);
            blows.extend([Blow::Fault(fault), Blow::Fault(fault.forever())]);
        }
        // From then on, but other calls go well: a disk that reads and does not write, a directory that cannot be synced.
        for call in Call::ALL {
            blows.extend((1..=disk.calls_of(call)).map(|nth| Blow::Fault(Fault::nth(nth).of(call).error(error).effect(effect).forever())));
        }
    }
    blows.extend((1..=disk.calls()).flat_map(|call| (0..3).map(move |seed| Blow::Death { call, seed })));
    blows
}

/// Runs a script in which some steps may fail; nothing if not even the log could be made.
fn run(disk: &Disk, script: &Script) -> wal_engine::error::Result<Option<Host>> {
    let Ok(mut host) = Host::open(disk.clone(), script.setting.config()) else { return Ok(None) };
    let mut poisoned = false;
    for &step in &script.steps {
        match host.step(step) {
            // Only an opening gives a handle that may acknowledge anything again.
            Ok(()) => assert!(!poisoned || step == Step::Reopen, "{step:?} succeeded on a poisoned handle"),
            Err(error) => poisoned |= error.code == Code::Failed && step != Step::Reopen,
        }
        if step == Step::Reopen {
            poisoned = false;
        }
    }
    Ok(Some(host))
}

/// For the process that opens the log again on the same machine.
fn judge(host: &Host) -> wal_engine::error::Result<()> {
    host.disk.assert_ordered();
    let promised = Promised::at(&host.disk.point());
    let (log, shown) = check_open(&host.disk, &host.config, &promised, &host.history)?;
    drop(log);
    // What that opening showed is durable, whatever the cache made of a failed sync.
    let rebooted = Disk::from_image(&host.disk.durable_image(), 5);
    let (log, again) = check_open(&rebooted, &host.config, &promised, &host.history)?;
    assert_eq!(again, shown, "after the power was cut the opening shows something else");
    drop(log);
    host.disk.assert_ordered();
    rebooted.assert_ordered();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::STEPS;
    use crate::scripts::Setting;

    #[test]
    fn the_scripts_make_every_step_and_every_kind_of_call() {
        assert!(STEPS.iter().all(|step| SCRIPTS.iter().any(|script| script.contains(step))));
        let mut calls = [0; Call::ALL.len()];
        for steps in SCRIPTS {
            let script = Script { setting: Setting { mode: SyncMode::Always, recycle: false }, start: &[], steps: steps.to_vec() };
            let disk = Disk::new(DISK_SEED);
            run(&disk, &script).unwrap();
            Call::ALL.iter().zip(&mut calls).for_each(|(&call, sum)| *sum += disk.calls_of(call));
        }
        assert!(calls.iter().all(|&calls| calls > 0), "{calls:?}");
    }
}
