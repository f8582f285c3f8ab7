//! Long random lives: a host makes random calls, dies with its machine or alone, starts again in another mode, and goes on.
//!
//! Every crash of every life is explored as in `crash`. What a record holds depends on the life that wrote it, so that a record which comes back
//! from the dead under a seq that was given out again has the wrong bytes.

use std::ops::Add;

use wal_engine::config::SyncMode;
use wal_sim::{Budget, Disk};

use crate::chance::Chance;
use crate::crash::{Counts, DISK_SEED, Depth, Failure, explore_host, verdict};
use crate::host::{Host, Promised, check_open};
use crate::scripts::{letters, random_steps, settings};
use crate::seen::Seen;

/// How long and how many.
#[derive(Clone, Copy, Debug)]
pub struct Lives {
    pub steps: (u64, u64),
    pub lives: (u64, u64),
}

/// Lives the lives with this number.
pub fn live(lives: &Lives, seed: u64, number: u64, depth: &Depth, seen: &Seen) -> Result<Counts, Failure> {
    let mut chance = Chance::new(seed, number);
    let modes = settings(&[SyncMode::Always, SyncMode::Os, SyncMode::None, SyncMode::Batch]);
    let mut counts = Counts::default();
    let mut story = String::new();
    let mut first = 0;
    let mut config = modes[chance.below(modes.len() as u64) as usize].config();
    let mut host = verdict(|| Host::open(Disk::new(DISK_SEED), config))?;
    for life in 1..=chance.within(lives.lives.0, lives.lives.1) {
        let count = chance.within(lives.steps.0, lives.steps.1);
        let steps = random_steps(&mut chance, count);
        story = story.add(&format!("life {life}: {config:?} {}\n", letters(&steps)));
        verdict(|| {
            steps.iter().try_for_each(|&step| host.step(step))?;
            host.disk.assert_ordered();
            Ok(())
        })
        .map_err(|failure| format!("{failure}\n{story}{}", host.disk.trace()))?;
        drop(host.log.take());
        config = modes[chance.below(modes.len() as u64) as usize].config();
        let process_only = chance.below(4) == 0;
        let next = if process_only {
            // The same machine: what the system was handed is there.
            let promised = Promised::at(&host.disk.point());
            let (log, shown) = verdict(|| check_open(&host.disk, &config, &promised, &host.history))
                .map_err(|failure| format!("{failure}\n{story}opened by another process\n{}", host.disk.trace()))?;
            let safe = matches!(host.config.sync_mode, SyncMode::Always | SyncMode::Os);
            if safe && shown.last < host.accepted {
                return Err(format!("accepted {}, the next process sees {}\n{story}{}", host.accepted, shown.last, host.disk.trace()));
            }
            Some((host.disk.clone(), log, shown, host.history.clone()))
        } else {
            None
        };
        let explored = explore_host(&host, first..=usize::MAX, depth, seen).map_err(|failure| format!("{failure}\n{story}"))?;
        counts.first.add(explored.first);
        counts.second.add(explored.second);
        let (disk, log, shown, history) = match next {
            Some(next) => {
                first = next.0.operations() + 1;
                next
            }
            None => {
                first = 0;
                reboot(&host, &config, &mut chance).map_err(|failure| format!("{failure}\n{story}"))?
            }
        };
        host = Host::resume(disk, config, log, &shown, history, life);
    }
    Ok(counts)
}

type Rebooted = (Disk, wal_engine::log::Log<wal_sim::SimStorage>, crate::host::Shown, crate::host::History);

/// Some crash of this life, and the opening after it.
fn reboot(host: &Host, config: &wal_engine::config::Config, chance: &mut Chance) -> Result<Rebooted, Failure> {
    let trace = host.disk.trace();
    let index = chance.below(trace.ops().len() as u64 + 1) as usize;
    let point = trace.crash_points_from(index).next().ok_or("a trace without points")?;
    let images: Vec<_> = point.images(&Budget { exhaustive: 4, samples: 4, torn: 2, seed: chance.draw() }).collect();
    let image = &images[chance.below(images.len() as u64) as usize];
    let disk = Disk::from_image(image, DISK_SEED + 1);
    let promised = Promised::at(&point);
    promised.mark(&disk);
    let history = host.history_at(index);
    let (log, shown) = verdict(|| check_open(&disk, config, &promised, &history))
        .map_err(|failure| format!("{failure}\nrebooted in another mode after a crash at point {index}\n{trace}"))?;
    Ok((disk, log, shown, history))
}
