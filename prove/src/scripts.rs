//! Scripts of calls: all of a length behind all beginnings in all settings, each with a number; and random ones.

use std::fmt;

use wal_engine::config::{Config, SyncMode};

use crate::chance::Chance;
use crate::host::{STEPS, Step, config};

/// How the log of a script is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    pub mode: SyncMode,
    pub recycle: bool,
}

impl Setting {
    pub fn config(self) -> Config {
        config(self.mode, self.recycle)
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            SyncMode::Always => "always",
            SyncMode::Batch => "batch",
            SyncMode::Os => "os",
            SyncMode::None => "none",
        };
        write!(f, "{mode}, {}", if self.recycle { "recycling" } else { "not recycling" })
    }
}

/// These modes, with recycling and without.
pub fn settings(modes: &[SyncMode]) -> Vec<Setting> {
    modes.iter().flat_map(|&mode| [true, false].map(|recycle| Setting { mode, recycle })).collect()
}

/// What precedes a script: nothing, or a log of three segments, a batch cut by the floor, and what was forgotten before.
pub const STARTS: [&[Step]; 2] =
    [&[], &[Step::AppendRotating, Step::AppendRotating, Step::Batch, Step::AppendRotating, Step::AppendRotating, Step::TruncateHalf]];

/// Calls to make in this order on a new log.
#[derive(Clone, Debug)]
pub struct Script {
    pub setting: Setting,
    pub start: &'static [Step],
    pub steps: Vec<Step>,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}|{}", self.setting, letters(self.start), letters(&self.steps))
    }
}

pub fn letters(steps: &[Step]) -> String {
    steps.iter().map(|step| step.letter()).collect()
}

/// Every script of at most `longest` steps, behind every start, in every setting.
#[derive(Clone, Debug)]
pub struct Scripts {
    pub settings: Vec<Setting>,
    pub longest: u32,
}

impl Scripts {
    pub fn count(&self) -> u64 {
        self.settings.len() as u64 * STARTS.len() as u64 * sequences(self.longest)
    }

    /// Script number `number`; behind the last one comes the first again. Neighbours differ in their settings.
    pub fn get(&self, number: u64) -> Script {
        let mut rest = number % self.count();
        let mut digit = |base: usize| {
            let digit = rest % base as u64;
            rest /= base as u64;
            digit as usize
        };
        let setting = self.settings[digit(self.settings.len())];
        let start = STARTS[digit(STARTS.len())];
        let mut length = 0;
        while rest >= sequences_of(length) {
            rest -= sequences_of(length);
            length += 1;
        }
        let steps = (0..length).map(|_| {
            let step = STEPS[(rest % STEPS.len() as u64) as usize];
            rest /= STEPS.len() as u64;
            step
        });
        Script { setting, start, steps: steps.collect() }
    }
}

fn sequences_of(length: u32) -> u64 {
    (STEPS.len() as u64).pow(length)
}

fn sequences(longest: u32) -> u64 {
    (0..=longest).map(sequences_of).sum()
}

/// So many random steps. Appends are more frequent than the rest, so that there is something to forget.
pub fn random_steps(chance: &mut Chance, count: u64) -> Vec<Step> {
    let weighted = |chance: &mut Chance| match chance.below(16) {
        0..=2 => Step::Append,
        3..=5 => Step::AppendRotating,
        6..=7 => Step::Batch,
        8..=9 => Step::Sync,
        10 => Step::CheckpointLast,
        11 => Step::CheckpointBefore,
        12..=13 => Step::TruncateHalf,
        14 => Step::TruncateLast,
        _ => Step::Reopen,
    };
    (0..count).map(|_| weighted(chance)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_script_has_one_number() {
        let scripts = Scripts { settings: settings(&[SyncMode::Always, SyncMode::Os]), longest: 2 };
        assert_eq!(scripts.count(), 4 * 2 * (1 + 9 + 81));
        let all: HashSet<String> = (0..scripts.count()).map(|number| scripts.get(number).to_string()).collect();
        assert_eq!(all.len() as u64, scripts.count());
        assert_eq!(scripts.get(scripts.count()).to_string(), scripts.get(0).to_string());
    }
}
