//! The scripts, and running them all.

use std::collections::{BTreeSet, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use wal_engine::config::{Recovery, SyncMode};
use wal_sim::{Budget, Disk};

use super::judge::{Judge, Judged};
use super::replay::{Replayed, expected_of, replay};
use super::script::{Maker, Record, Recording, Script, Told, letter, run};
use super::sites::{self, Site};
use super::tools::Tools;
use crate::host::STEPS;

/// Scripts that one process runs.
const CHUNK: usize = 64;
/// What makes a log of several segments, with one forgotten.
const SEGMENTS: &str = "rrah";
/// When an append returns, and whether segments are written past the system's cache.
const WAYS: [(SyncMode, bool); 4] = [(SyncMode::Always, false), (SyncMode::Always, true), (SyncMode::Os, false), (SyncMode::None, false)];

/// Scripts that share a configuration and a beginning, so that they have states in common.
type Group = Vec<Script>;

/// Every script of `len` calls behind `prefix`. Each shorter one is the beginning of one of these.
fn all_behind(prefix: &str, len: usize) -> Vec<String> {
    (0..len).fold(vec![prefix.to_string()], |shorter, _| {
        shorter.iter().flat_map(|script| STEPS.map(|step| format!("{script}{}", letter(step)))).collect()
    })
}

/// All scripts of `len` calls, from nothing and from a log of several segments, in all ways, with and without recycling.
fn all(len: usize) -> Vec<Group> {
    let mut groups = Vec::new();
    for (mode, direct) in WAYS {
        for recycle in [true, false] {
            for prefix in ["", SEGMENTS] {
                groups.push(all_behind(prefix, len).iter().map(|steps| Script { direct, ..Script::new(mode, recycle, steps) }).collect());
            }
        }
    }
    groups
}

/// What no script of calls alone leads to: processes that die between calls, a directory that the host makes, writes that fail half-way, a lost manifest.
fn special() -> Vec<Group> {
    let mut groups = Vec::new();
    for (mode, direct) in WAYS {
        let script = |steps: &str| Script { direct, ..Script::new(mode, true, steps) };
        groups.push(["a", "r", "b"].map(|steps| Script { maker: Maker::Host, ..script(steps) }).to_vec());
        groups.push(
            [
                "ax",
                "raxa",
                "rbxr",
                "rrahx",
                "rrahxr",
                "racxtxa",
                "raxxa",
                "rtxa",
                "rrkxb",
                "aah",
                "baahx",
                "rrrrhrrrra",
                "rrahort",
                "rrahoat",
            ]
            .map(script)
            .to_vec(),
        );
        groups.push(["rnrrrrcx", "rrcnrrrkx", "arnrrccx"].map(script).to_vec());
        if mode != SyncMode::None {
            groups.push(["fa", "afa", "afaa", "afbx", "rafrx", "afca"].map(script).to_vec());
            groups.push(["aFa", "aFaa", "rFbx", "raFcx", "aFca", "bFaox"].map(script).to_vec());
        }
        let lost = |steps: &str| Script { recovery: Recovery::Prefix, ..script(steps) };
        groups.push(["axdv", "raxdv", "raxdva", "rrahxdv", "rrbxdvr", "rrcaxdv", "raaxgv", "rrxgva"].map(lost).to_vec());
    }
    // Writes past the cache of several blocks, and from one block to the next.
    for mode in [SyncMode::Always, SyncMode::Batch] {
        for recycle in [true, false] {
            let script = |steps: &str| Script { direct: true, segment_bytes: 4 * 4096, ..Script::new(mode, recycle, steps) };
            groups.push(["rarbrraxrrrbrrrhrrrrrrrra", "rrrrrrrrrcrrrrrrrrrtrrrx", "rrfraFrrax", "aorrorbrxrorrr"].map(script).to_vec());
        }
    }
    groups
}

/// The beginnings of which processes die at every call.
fn mortal() -> Vec<Group> {
    let mut groups = Vec::new();
    for (mode, recycle, direct) in [(SyncMode::Always, true, false), (SyncMode::Always, true, true), (SyncMode::Os, false, false)] {
        let script = |steps| Script { direct, ..Script::new(mode, recycle, steps) };
        let scripts = ["ao", "rr", "bc", "rt", "rrahr", "rrcto", "rrahxr"].map(script);
        groups.extend(scripts.map(|script| vec![script]));
    }
    groups.push(doomed());
    groups
}

/// The beginnings that end in damage: the second segment is lost, whenever the process dies.
fn doomed() -> Group {
    let script = |steps: &str| Script { recovery: Recovery::Prefix, ..Script::new(SyncMode::Os, true, steps) };
    ["asrrxgv", "rbrxgva"].map(script).to_vec()
}

/// For each call of the first process of these scripts one in which it dies there, and another opens the log and goes on.
fn deaths(tools: &Tools, groups: &[Group]) -> Vec<Group> {
    let mut dying = Vec::new();
    for group in groups {
        for recording in run(tools, group, &[]) {
            let second_life = recording.records.iter().enumerate().filter(|(_, record)| **record == Record::Told(Told::Life)).nth(1);
            let first_life = &recording.records[..second_life.map_or(recording.records.len(), |(at, _)| at)];
            let calls = first_life.iter().filter(|record| record.changes()).count() as u64;
            let (first_steps, second_steps) = recording.script.steps.split_once('x').unwrap_or((&recording.script.steps, "a"));
            let steps = format!("{first_steps}x{second_steps}");
            dying.push((1..=calls).map(|die_at| Script { die_at, steps: steps.clone(), ..recording.script.clone() }).collect());
        }
    }
    dying
}

/// Openings, by the real code, of states that a power cut left.
fn openings(group: &Group, kept: &[Judged]) -> Group {
    let Some(script) = group.first() else { return Vec::new() };
    let opening = |judged: &Judged| Script {
        recovery: if judged.moment.kept.is_some() { Recovery::Prefix } else { Recovery::Strict },
        base: Some((judged.image.clone(), judged.moment.clone())),
        steps: "va".into(),
        die_at: 0,
        ..script.clone()
    };
    kept.iter().map(opening).collect()
}

/// How many states are tried for each point. So many torn ones that a whole slot of the manifest is lost in some.
const BUDGET: Budget = Budget { exhaustive: 4, samples: 16, torn: 18, seed: 3 };
/// For scripts of calls alone, of which there are many.
const BUDGET_OF_MANY: Budget = Budget { torn: 6, ..BUDGET };

/// All of it: scripts of `len` calls, and what no script of calls leads to; deaths of processes between any two calls; and openings, by the real
/// code, of states that a power cut left.
pub fn run_suite(tools: &Tools, len: usize) -> Tried {
    // Mostly the long scripts are wanted for their states and the short ones for their recordings.
    let mut tried = try_all(tools, &all(1), BUDGET, 50);
    if len > 1 {
        let mut longer = try_all(tools, &all(len), BUDGET_OF_MANY, 2000);
        longer.recordings.clear();
        tried.add(longer);
    }
    tried.add(try_all(tools, &special(), BUDGET, 25));
    tried.add(try_all(tools, &deaths(tools, &mortal()), BUDGET_OF_MANY, 250));
    let groups = std::mem::take(&mut tried.openings);
    let mut opened = try_all(tools, &groups, BUDGET_OF_MANY, 0);
    opened.compared = opened.scripts;
    tried.add(opened);
    tried
}

/// A small part of it.
pub fn run_small(tools: &Tools) -> Tried {
    let mut tried = try_all(tools, &all(1), BUDGET_OF_MANY, 100);
    tried.add(try_all(tools, &special(), BUDGET_OF_MANY, 100));
    let groups = std::mem::take(&mut tried.openings);
    let mut opened = try_all(tools, &groups, BUDGET_OF_MANY, 0);
    opened.compared = opened.scripts;
    tried.add(opened);
    tried
}

/// What was tried.
#[derive(Default)]
pub struct Tried {
    pub scripts: u64,
    pub operations: u64,
    pub states: u64,
    /// Of the states, those that differ in image or in what was acknowledged.
    pub distinct: HashSet<(u64, u64)>,
    pub twice: u64,
    /// Openings by the real code, which showed what they should.
    pub compared: u64,
    pub wrong: Vec<String>,
    pub recordings: Vec<Recording>,
    openings: Vec<Group>,
}

impl Tried {
    fn add(&mut self, other: Tried) {
        self.scripts += other.scripts;
        self.operations += other.operations;
        self.states += other.states;
        self.distinct.extend(other.distinct);
        self.twice += other.twice;
        self.compared += other.compared;
        self.wrong.extend(other.wrong);
        self.recordings.extend(other.recordings);
        self.openings.extend(other.openings);
    }
}

/// Calls `job` for each number below `count`, in as many threads as there are processors.
fn in_parallel(count: usize, job: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from).min(count);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    job(number);
                }
            });
        }
    });
}

/// Runs groups of scripts and judges every point of each recording. `keep_every`: of so many states one is kept to be opened by the real code.
fn try_all(tools: &Tools, groups: &[Group], budget: Budget, keep_every: u64) -> Tried {
    let tried = Mutex::new(Tried::default());
    in_parallel(groups.len(), |number| {
        let part = try_group(tools, &groups[number], budget, keep_every);
        tried.lock().unwrap().add(part);
    });
    tried.into_inner().unwrap()
}

fn try_group(tools: &Tools, group: &Group, budget: Budget, keep_every: u64) -> Tried {
    let mut tried = Tried::default();
    let mut judge = Judge { budget, keep_every, full_every: 8, ..Judge::default() };
    for chunk in group.chunks(CHUNK) {
        for recording in run(tools, chunk, &[]) {
            let replayed = replay(&recording);
            tried.scripts += 1;
            tried.operations += replayed.trace.ops().len() as u64;
            tried.wrong.extend(replayed.violations.iter().chain(&compared(&recording, &replayed)).map(|wrong| told(&recording, wrong)));
            // What it has in common with the one before was judged there.
            let common = match tried.recordings.last() {
                Some(before) if before.script.base.is_none() && recording.script.base.is_none() => common_records(before, &recording),
                _ => 0,
            };
            let first = replayed.point_before(common);
            judge.space = space_of(&recording);
            if let Some(wrong) = judge.explore(&replayed, &recording.script.config(), first) {
                tried.wrong.push(told(&recording, &wrong));
            }
            tried.recordings.push(recording);
        }
    }
    tried.states = judge.states;
    tried.twice = judge.twice;
    tried.distinct = judge.seen.iter().map(|(image, promised)| (*image, promised[0])).collect();
    tried.openings.push(openings(group, &judge.kept));
    tried
}

fn told(recording: &Recording, wrong: &str) -> String {
    let Script { mode, direct, recycle, maker, die_at, steps, base, .. } = &recording.script;
    let from = if base.is_some() { ", from the state of a crash" } else { "" };
    format!(
        "{steps} in mode {mode:?}, past the cache {direct}, recycling {recycle}, directory made by {maker:?}, death at call {die_at}{from}: {wrong}"
    )
}

/// What an opening gives back for a moment is still there for it on a full disk.
fn space_of(recording: &Recording) -> u64 {
    recording.script.base.as_ref().map_or(0, |(image, _)| Disk::from_image(image, 1).used())
}

fn common_records(one: &Recording, other: &Recording) -> usize {
    one.records.iter().zip(&other.records).take_while(|(one, other)| one == other).count()
}

/// Where the real code opened a state: whether it showed everything that was promised, and the records as they were appended.
fn compared(recording: &Recording, replayed: &Replayed) -> Option<String> {
    let (_, moment) = recording.script.base.as_ref()?;
    let (last, floor, _) = replayed.opened?;
    let expected = expected_of(&moment.history, floor, last);
    (replayed.shown != expected).then(|| format!("the real code shows {:?} instead of {expected:?}", replayed.shown))
}

/// Sites whose syncs nothing would miss, and why they are there all the same.
pub const SPARED: [(&str, &str); 14] = [
    ("manifest.rs rebuild", "the recovery that follows syncs the directory before it commits; once in a disaster"),
    ("manifest.rs rebuild < log/open.rs open_heard", "the same"),
    (
        "manifest.rs write < install_twice < create < recovery/create.rs create #1",
        "creation reads the manifest back, and syncs it before; once in a log's life",
    ),
    ("manifest.rs write < install_twice < create < recovery/create.rs create #2", "the same"),
    (
        "manifest.rs write < install_twice < rebuild < log/open.rs open_heard #1",
        "there is no valid slot to spare, and the recovery that follows syncs the file",
    ),
    ("manifest.rs write < install_twice < rebuild < log/open.rs open_heard #2", "the same"),
    ("spares.rs fresh < prepare_one < ensure < commit/exclusive.rs swap_forgotten", SWAP),
    ("spares.rs finish < ensure < commit/exclusive.rs swap_forgotten", SWAP),
    ("spares.rs sync_dir < finish < ensure < commit/exclusive.rs swap_forgotten", SWAP),
    ("spares.rs fresh < prepare_one < ensure < recovery/recover.rs recover_once", RECOVERED),
    ("spares.rs fresh < prepare_one < ensure < commit/exclusive.rs make_dirty", HEADER),
    ("commit/group.rs write_out", TOLD),
    ("commit/group.rs write_out < lead_sync < reach < reach_durable < commit/append.rs append_checkpoint", TOLD),
    ("commit/group.rs write_out < lead_sync < reach < reach_durable < commit/append.rs settle", TOLD),
];

const TOLD: &str =
    "behind a failed direct write, so that no file system tells the next opening of it; nothing relies on what it makes durable";
const RECOVERED: &str = "the recovered segment is synced as a whole before the manifest names it; shared with callers that need it";
const HEADER: &str = "no script shows the need here: the sync of the header covers the same file; shared with callers that need it";
const SWAP: &str = "a log that is dirty has a spare ready, and one that is not makes no swap; shared with callers that need it";
/// Of the scripts that pass a spared site, or one that the monitor has caught, so many are run.
const SPARED_SCRIPTS: usize = 40;

/// What leaving out the syncs of a site does.
pub struct Left {
    pub site: Site,
    /// Why nothing misses them, if that is known.
    pub spared: Option<&'static str>,
    /// Scripts that pass it, and how many of them were run until it was caught.
    pub passing: usize,
    pub ran: usize,
    /// What the monitor says, and what the first bad state is; each with the script.
    pub monitor: Option<String>,
    pub state: Option<String>,
}

/// Leaves out the syncs of each site in turn. `recordings` are those with all syncs in their places.
pub fn leave_out(tools: &Tools, recordings: &[Recording]) -> Vec<Left> {
    leave_out_of(tools, recordings, sites::sites(&sites::ways(tools, recordings)))
}

/// The same for the three calls of the posix code alone, each with all that come through it.
pub fn leave_out_posix(tools: &Tools, recordings: &[Recording]) -> Vec<Left> {
    let mut sites = sites::sites(&sites::ways(tools, recordings));
    sites.retain(|site| site.line.is_empty());
    leave_out_of(tools, recordings, sites)
}

fn leave_out_of(tools: &Tools, recordings: &[Recording], sites: Vec<Site>) -> Vec<Left> {
    let left = Mutex::new(Vec::new());
    in_parallel(sites.len(), |number| {
        let outcome = leave_out_one(tools, &sites[number], recordings);
        left.lock().unwrap().push((number, outcome));
    });
    let mut left = left.into_inner().unwrap();
    left.sort_by_key(|(number, _)| *number);
    left.into_iter().map(|(_, outcome)| outcome).collect()
}

/// First with a few states for each point, which mostly suffices; then, if nothing was caught, with many more.
fn leave_out_one(tools: &Tools, site: &Site, recordings: &[Recording]) -> Left {
    let skipped: Vec<u64> = site.ways.iter().map(|way| sites::number_of(way)).collect();
    let passes = |record: &Record| matches!(record, Record::Sync { way, .. } if site.ways.contains(way));
    let passing: Vec<&Recording> = recordings.iter().filter(|recording| recording.records.iter().any(passes)).collect();
    let spared = SPARED.iter().find(|(name, _)| *name == site.name).map(|(_, why)| *why);
    let mut left = Left { site: site.clone(), spared, passing: passing.len(), ran: 0, monitor: None, state: None };
    let (most, budgets) = match spared {
        Some(_) => (SPARED_SCRIPTS, vec![BUDGET_OF_MANY]),
        None => (usize::MAX, vec![BUDGET_OF_MANY, BUDGET]),
    };
    for budget in budgets {
        let mut judge = Judge { budget, full_every: 1, ..Judge::default() };
        left.ran = 0;
        for chunk in passing[..passing.len().min(most)].chunks(CHUNK / 8) {
            let scripts: Vec<Script> = chunk.iter().map(|recording| recording.script.clone()).collect();
            for recording in run(tools, &scripts, &skipped) {
                left.ran += 1;
                let replayed = replay(&recording);
                assert!(replayed.skipped > 0, "{}: no sync was left out", site.name);
                if left.monitor.is_none() {
                    left.monitor = replayed.violations.first().map(|violation| told(&recording, violation));
                }
                let first = recording.records.iter().position(|record| matches!(record, Record::Sync { skipped: true, .. }));
                let first = replayed.point_before(first.unwrap_or_default());
                judge.space = space_of(&recording);
                left.state = judge.explore(&replayed, &recording.script.config(), first).map(|wrong| told(&recording, &wrong));
                if left.state.is_some() {
                    return left;
                }
            }
            if left.monitor.is_some() && left.ran >= SPARED_SCRIPTS {
                return left;
            }
        }
    }
    left
}

impl Left {
    /// Whether a bad state was found, or the monitor saw that a rule was broken.
    pub fn is_caught(&self) -> bool {
        self.state.is_some() || self.monitor.is_some()
    }

    /// Whether it was not caught, and the reason is known.
    pub fn is_spared(&self) -> bool {
        !self.is_caught() && self.spared.is_some()
    }
}

/// For people: each site, and what came of leaving out its syncs.
pub fn table(left: &[Left]) -> String {
    let mut text = String::new();
    for left in left {
        let line = if left.site.line.is_empty() { String::new() } else { format!(" (lines {})", left.site.line) };
        let outcome = match (&left.state, &left.monitor, left.spared) {
            (Some(state), _, _) => format!("caught by a state: {state}"),
            (None, Some(violation), _) => format!("caught by the monitor: {violation}"),
            (None, None, Some(why)) => format!("not missed: {why}"),
            (None, None, None) => "NOT CAUGHT".into(),
        };
        let outcome: String = outcome.chars().take(300).collect();
        text.push_str(&format!("  {}{line}\n      {outcome}\n", left.site.name));
    }
    text
}

/// Reasons that are given for sites that there are not, or that are caught.
pub fn stale_reasons(left: &[Left]) -> Vec<String> {
    let stale = SPARED.iter().filter(|(name, _)| !left.iter().any(|left| left.site.name == *name && left.is_spared()));
    stale.map(|(name, _)| format!("no longer to be explained: {name}")).collect()
}

/// Lines of the engine that sync something and that no recording has passed.
pub fn unseen_lines(tools: &Tools, recordings: &[Recording]) -> Vec<String> {
    let seen: BTreeSet<(String, u32)> =
        sites::ways(tools, recordings).into_values().flatten().map(|frame| (frame.file, frame.line)).collect();
    let lines = sites::lines_in_sources();
    lines.difference(&seen).map(|(file, line)| format!("no script comes to the sync in {file}:{line}")).collect()
}
