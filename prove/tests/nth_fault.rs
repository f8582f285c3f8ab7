//! Each storage call of each script fails: with an error of the device or a full disk, without effect or in part, once or from then on.
//!
//! Mistakes that this is to catch: a failed append leaves bytes behind and the next one lands after them; an error was returned but the record is
//! there after a restart; a sync that succeeds after a failed one acknowledges lost writes; something is acknowledged after a failed sync.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wal_engine::config::{Config, SyncMode};
use wal_engine::error::Code;
use wal_prove::host::{Host, Promised, Step, check_open, config};
use wal_sim::{Budget, Disk, EIO, ENOSPC, Effect, Fault};

const SCRIPTS: [&[Step]; 5] = [
    &[Step::Append, Step::Append, Step::Batch, Step::Append, Step::CheckpointLast, Step::Append],
    &[Step::AppendRotating, Step::AppendRotating, Step::AppendRotating, Step::CheckpointLast, Step::TruncateLast, Step::Append],
    &[Step::AppendRotating, Step::Append, Step::AppendRotating, Step::TruncateHalf, Step::Batch, Step::AppendRotating, Step::Append],
    &[Step::Append, Step::Reopen, Step::Append, Step::AppendRotating, Step::AppendRotating, Step::Reopen, Step::Append],
    &[Step::AppendRotating, Step::Sync, Step::AppendRotating, Step::CheckpointBefore, Step::TruncateHalf, Step::AppendRotating, Step::Sync],
];

/// Runs a script in which some steps may fail; false if not even the log could be made.
fn run(disk: &Disk, script: &[Step], config: &Config) -> Option<Host> {
    let mut host = Host::open(disk.clone(), *config).ok()?;
    let mut poisoned = false;
    for &step in script {
        match host.step(step) {
            // Only an opening gives a handle that may acknowledge anything again.
            Ok(()) => assert!(!poisoned || step == Step::Reopen, "{step:?} succeeded on a poisoned handle"),
            Err(error) => poisoned |= error.code == Code::Failed && step != Step::Reopen,
        }
        if step == Step::Reopen {
            poisoned = false;
        }
    }
    Some(host)
}

/// After the fault: what was acknowledged is there and what was refused is not, for the process that opens the log again on the same machine and
/// for a machine that lost power at any time after that.
fn judge(host: Host, context: &str) {
    let Host { disk, config, log, history } = host;
    drop(log);
    disk.clear_faults();
    disk.assert_ordered();
    let promised = Promised::at(&disk.point());
    let crashed = disk.point();
    let (log, shown) = check_open(&disk, &config, &promised, &history).unwrap_or_else(|error| panic!("{error:?}\n{context}"));
    drop(log);
    // What that opening showed is durable, whatever the cache made of the failed sync.
    let rebooted = Disk::from_image(&disk.durable_image(), 5);
    let (log, again) = check_open(&rebooted, &config, &promised, &history).unwrap_or_else(|error| panic!("{error:?}\n{context}"));
    assert_eq!(again, shown, "{context}");
    drop(log);
    for image in crashed.images(&Budget { exhaustive: 3, samples: 4, torn: 2, seed: 9 }) {
        let disk = Disk::from_image(&image, 6);
        drop(check_open(&disk, &config, &promised, &history).unwrap_or_else(|error| panic!("{error:?}\n{context}")));
    }
}

fn every_fault(config: &Config) {
    let mut faults = 0;
    for script in SCRIPTS {
        let disk = Disk::new(11);
        let host = run(&disk, script, config).unwrap();
        drop(host);
        let calls = disk.calls();
        for nth in 1..=calls {
            for (error, effect) in
                [(EIO, Effect::Nothing), (EIO, Effect::Prefix(100)), (ENOSPC, Effect::Nothing), (ENOSPC, Effect::Prefix(24))]
            {
                for forever in [false, true] {
                    let mut fault = Fault::nth(nth).error(error).effect(effect);
                    if forever {
                        fault = fault.forever();
                    }
                    let disk = Disk::new(11);
                    disk.fail(fault);
                    let context = format!("{script:?} {fault:?}");
                    let outcome = std::panic::catch_unwind(|| {
                        if let Some(host) = run(&disk, script, config) {
                            judge(host, &context);
                        }
                    });
                    if let Err(panic) = outcome {
                        eprintln!("{context}\n{}", disk.trace());
                        std::panic::resume_unwind(panic);
                    }
                    faults += 1;
                }
            }
        }
    }
    println!("{faults} faults");
    assert!(faults > 1000);
}

#[test]
fn every_call_fails_always_mode() {
    every_fault(&config(SyncMode::Always, true));
}

#[test]
fn every_call_fails_os_mode() {
    every_fault(&config(SyncMode::Os, true));
}

#[test]
fn every_call_fails_buffer_mode() {
    every_fault(&config(SyncMode::None, false));
}

/// A manifest, a segment and a spare of 4 KiB.
const MINIMUM_BYTES: u64 = 16384 + 2 * 4096;

/// The disk is full from some point on and has room again later: nothing acknowledged is lost, truncation frees, and appends go on.
#[test]
fn a_disk_that_fills_up_at_any_byte() {
    let config = config(SyncMode::Always, true);
    for limit in (20_000..70_000u64).step_by(1000) {
        let disk = Disk::new(11);
        disk.limit_space(Some(limit));
        let Ok(mut host) = Host::open(disk.clone(), config) else {
            continue;
        };
        let mut refused = 0;
        for _ in 0..12 {
            match host.step(Step::AppendRotating) {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error.code, Code::NoSpace, "limit {limit}: {error:?}");
                    refused += 1;
                }
            }
        }
        // On the full disk: checkpoint and truncation work, the log can be opened and read.
        let n = host.log.as_ref().unwrap().checkpoint(wal_engine::seq::LAST).unwrap_or_else(|error| panic!("limit {limit}: {error:?}"));
        let log = host.log.take().unwrap();
        let last = log.last_seq();
        let appended = host.history.keys().next_back().copied().unwrap_or(0);
        assert!(last >= appended, "limit {limit}");
        drop(log);
        let log = wal_engine::log::Log::open(disk.storage(), &config).unwrap_or_else(|error| panic!("limit {limit}: {error:?}"));
        assert_eq!(log.last_seq(), last);
        log.truncate(n, false).unwrap_or_else(|error| panic!("limit {limit}: {error:?}"));
        // Manifest, segment and spare: with less the log can be made but never written.
        if limit >= MINIMUM_BYTES {
            // What was forgotten makes room for more, without any help from outside.
            log.append(1, b"", &[1; 2000]).unwrap_or_else(|error| panic!("limit {limit}, {refused} refused: {error:?}"));
        }
        drop(log);
        disk.limit_space(None);
        let log = wal_engine::log::Log::open(disk.storage(), &config).unwrap();
        log.append(1, b"", &[1; 2000]).unwrap();
        log.close().unwrap();
        disk.assert_ordered();
    }
}
