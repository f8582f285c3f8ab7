//! The agreement between store and log, explored exhaustively: writers that append, are acknowledged and apply at their own pace; checkpoints that
//! flush, declare, save and truncate step by step beside them; a crash anywhere; a store that comes back from a backup.
//!
//! The rules are the engine's own functions (`wal_engine::protocol`). What must hold: an acknowledged record is in the store or will be replayed,
//! unless the log refuses to open, which it may do only where the store is older than what it allowed to forget. Where a rule, or the host's order
//! of steps, is replaced by a mistake that real systems made, the exploration must find the loss.
#![expect(clippy::cast_possible_truncation, reason = "a handful of records")]

use stateright::{Checker, HasDiscoveries, Model, Property};
use wal_engine::protocol::{checkpoint, gap, truncate};
use wal_engine::seq::Tail;

const LOSS: &str = "what was acknowledged is in the store or will be applied";
const REFUSAL: &str = "only a store older than what it allowed to forget is refused";

const WRITERS: usize = 3;
const CHECKPOINTS: usize = 2;

/// Sequence numbers as bits; seq 1 is bit 1.
type Seqs = u16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Entry {
    Data,
    Checkpoint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Writer {
    Idle,
    /// In the log, perhaps not durable, not acknowledged.
    Appended(u8),
    /// The append has returned; the store does not have it yet.
    Acknowledged(u8),
}

/// How far a checkpoint has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Round {
    Idle,
    /// The store's flush has begun with what was applied then.
    Flushing(Seqs),
    /// Flushed; the host will declare that everything up to here is durable.
    Flushed(u8),
    /// The CHECKPOINT record is durable.
    Recorded(u8),
    /// The manifest names it: n has been returned.
    Returned(u8),
    /// The store has saved n.
    Saved(u8),
    Done,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Store {
    durable: Seqs,
    saved_n: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    log: Vec<Entry>,
    /// Entries that no crash takes back.
    durable_len: u8,
    floor: u8,
    forgotten_data: u8,
    licence: u8,
    applied: Seqs,
    acknowledged: Seqs,
    store: Store,
    backup: Option<Store>,
    writers: [Writer; WRITERS],
    appends_left: [u8; WRITERS],
    rounds: [Round; CHECKPOINTS],
    crashes_left: u8,
    /// The store came back from a backup.
    restored: bool,
    /// The last opening was refused; what the store said.
    refused: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Append(usize),
    Return(usize),
    Apply(usize),
    BeginFlush(usize),
    EndFlush(usize),
    Record(usize),
    Install(usize),
    Save(usize),
    Truncate(usize),
    Backup,
    /// What of the unacknowledged end survives, and whether the store is restored from the backup.
    Crash {
        keep: u8,
        restore: bool,
    },
}

/// A rule of the log or a step of the host replaced by a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// n is the CHECKPOINT record's own seq, whatever was appended in between.
    OwnSeq,
    /// An opening does not ask what the store holds.
    NoGapCheck,
    /// The host declares what it has applied before that is flushed.
    DeclaredBeforeFlush,
    /// The host declares the highest seq that it has applied, with others below it missing.
    DeclaredWithHoles,
    /// A truncation forgets what no checkpoint covers.
    TruncateUnchecked,
}

struct Agreement {
    appends: u8,
    crashes: u8,
    mistake: Mistake,
}

fn bit(seq: u8) -> Seqs {
    1 << seq
}

impl State {
    fn last(&self) -> u8 {
        self.log.len() as u8
    }

    fn data_up_to(&self, seq: u8) -> u8 {
        (1..=seq).rev().find(|&seq| self.log[usize::from(seq) - 1] == Entry::Data).unwrap_or(0)
    }

    /// The highest seq up to which `seqs` has every data record.
    fn whole_up_to(&self, seqs: Seqs) -> u8 {
        (1..=self.last()).take_while(|&seq| self.log[usize::from(seq) - 1] == Entry::Checkpoint || seqs & bit(seq) != 0).last().unwrap_or(0)
    }

    fn restart(&mut self, mistake: Mistake) {
        let store = self.store;
        let extent = gap::Extent { forgotten_data: self.forgotten_data.into(), last: self.last().into() };
        self.applied = store.durable;
        self.writers = [Writer::Idle; WRITERS];
        for round in &mut self.rounds {
            *round = if *round == Round::Idle { Round::Idle } else { Round::Done };
        }
        if mistake != Mistake::NoGapCheck && gap::check(store.saved_n.into(), extent).is_err() {
            self.refused = Some(store.saved_n);
            return;
        }
        for seq in store.saved_n.max(self.floor) + 1..=self.last() {
            if self.log[usize::from(seq) - 1] == Entry::Data {
                self.applied |= bit(seq);
            }
        }
        self.durable_len = self.last();
        self.licence = store.saved_n;
    }
}

impl Model for Agreement {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            log: Vec::new(),
            durable_len: 0,
            floor: 0,
            forgotten_data: 0,
            licence: 0,
            applied: 0,
            acknowledged: 0,
            store: Store::default(),
            backup: None,
            writers: [Writer::Idle; WRITERS],
            appends_left: [self.appends; WRITERS],
            rounds: [Round::Idle; CHECKPOINTS],
            crashes_left: self.crashes,
            restored: false,
            refused: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.refused.is_some() {
            return;
        }
        for (who, writer) in state.writers.iter().enumerate() {
            match writer {
                Writer::Idle if state.appends_left[who] > 0 => actions.push(Action::Append(who)),
                Writer::Idle => {}
                Writer::Appended(_) => actions.push(Action::Return(who)),
                Writer::Acknowledged(_) => actions.push(Action::Apply(who)),
            }
        }
        for (which, round) in state.rounds.iter().enumerate() {
            match round {
                Round::Idle => actions.push(Action::BeginFlush(which)),
                Round::Flushing(_) => actions.push(Action::EndFlush(which)),
                Round::Flushed(_) => actions.push(Action::Record(which)),
                Round::Recorded(_) => actions.push(Action::Install(which)),
                Round::Returned(_) => actions.push(Action::Save(which)),
                Round::Saved(_) => actions.push(Action::Truncate(which)),
                Round::Done => {}
            }
        }
        if state.backup.is_none() {
            actions.push(Action::Backup);
        }
        if state.crashes_left > 0 {
            for keep in state.durable_len..=state.last() {
                actions.push(Action::Crash { keep, restore: false });
                if state.backup.is_some_and(|backup| backup != state.store) {
                    actions.push(Action::Crash { keep, restore: true });
                }
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Append(who) => {
                state.log.push(Entry::Data);
                state.appends_left[who] -= 1;
                state.writers[who] = Writer::Appended(state.last());
            }
            Action::Return(who) => {
                let Writer::Appended(seq) = state.writers[who] else { return None };
                // One sync makes everything in front of it durable, too.
                state.durable_len = state.durable_len.max(seq);
                state.acknowledged |= bit(seq);
                state.writers[who] = Writer::Acknowledged(seq);
            }
            Action::Apply(who) => {
                let Writer::Acknowledged(seq) = state.writers[who] else { return None };
                state.applied |= bit(seq);
                state.writers[who] = Writer::Idle;
            }
            Action::BeginFlush(which) => {
                state.rounds[which] = if self.mistake == Mistake::DeclaredBeforeFlush {
                    Round::Flushed(state.whole_up_to(state.applied))
                } else {
                    Round::Flushing(state.applied)
                };
            }
            Action::EndFlush(which) => {
                let Round::Flushing(seqs) = state.rounds[which] else { return None };
                state.store.durable |= seqs;
                let covered = match self.mistake {
                    Mistake::DeclaredWithHoles => (1..=state.last()).rev().find(|&seq| seqs & bit(seq) != 0).unwrap_or(0),
                    _ => state.whole_up_to(seqs),
                };
                state.rounds[which] = Round::Flushed(covered);
            }
            Action::Record(which) => {
                let Round::Flushed(covered) = state.rounds[which] else { return None };
                let last = state.last();
                let before = Tail { seq: last.into(), data_seq: state.data_up_to(last).into() };
                let own = last + 1;
                let covered = checkpoint::covered(covered.into(), last.into()).ok()?;
                let n = match self.mistake {
                    Mistake::OwnSeq => own,
                    _ => checkpoint::licence(covered, before, own.into()) as u8,
                };
                state.log.push(Entry::Checkpoint);
                state.durable_len = own;
                state.rounds[which] = Round::Recorded(n);
            }
            Action::Install(which) => {
                let Round::Recorded(n) = state.rounds[which] else { return None };
                state.licence = state.licence.max(n);
                state.rounds[which] = Round::Returned(n);
            }
            Action::Save(which) => {
                let Round::Returned(n) = state.rounds[which] else { return None };
                state.store.saved_n = state.store.saved_n.max(n);
                state.rounds[which] = Round::Saved(n);
            }
            Action::Truncate(which) => {
                let Round::Saved(n) = state.rounds[which] else { return None };
                let unchecked = self.mistake == Mistake::TruncateUnchecked;
                let up_to = if unchecked { state.last() } else { n };
                let known = truncate::Known { floor: state.floor.into(), last: state.last().into(), licence: state.licence.into() };
                if truncate::check(up_to.into(), known, unchecked).ok()? {
                    state.durable_len = state.durable_len.max(up_to);
                    state.floor = up_to;
                    state.forgotten_data = state.forgotten_data.max(state.data_up_to(up_to));
                }
                state.rounds[which] = Round::Done;
            }
            Action::Backup => state.backup = Some(state.store),
            Action::Crash { keep, restore } => {
                state.crashes_left -= 1;
                state.log.truncate(keep.into());
                if restore {
                    state.store = state.backup?;
                    state.restored = true;
                }
                state.restart(self.mistake);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Agreement>> {
        vec![
            Property::always(LOSS, |_, state: &State| {
                let pending = state
                    .writers
                    .iter()
                    .fold(0, |seqs, writer| if let Writer::Acknowledged(seq) = writer { seqs | bit(*seq) } else { seqs });
                state.refused.is_some() || state.acknowledged & !pending & !state.applied == 0
            }),
            Property::always(REFUSAL, |_, state: &State| state.refused.is_none_or(|said| state.restored && said < state.forgotten_data)),
            Property::sometimes("n is less than the CHECKPOINT record's own seq", |_, state: &State| {
                state
                    .rounds
                    .iter()
                    .any(|round| matches!(round, Round::Recorded(n) if *n < state.last() && state.log.last() == Some(&Entry::Checkpoint)))
            }),
            Property::sometimes("a restored store is refused", |_, state: &State| state.refused.is_some()),
            Property::sometimes("a restored store is let in and completed", |_, state: &State| {
                state.restored && state.refused.is_none() && state.acknowledged != 0 && state.floor > 0
            }),
        ]
    }
}

#[test]
fn nothing_acknowledged_is_lost() {
    let checker = Agreement { appends: 1, crashes: 2, mistake: Mistake::None }.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    println!("tally: protocol-model {} states", checker.unique_state_count());
    assert!(checker.unique_state_count() > 100_000, "this explored next to nothing");
}

#[test]
fn each_known_mistake_is_found() {
    // What the log cannot know, and loses; and what it can know, and refuses.
    for (mistake, broken) in [
        (Mistake::OwnSeq, LOSS),
        (Mistake::NoGapCheck, LOSS),
        (Mistake::DeclaredBeforeFlush, LOSS),
        (Mistake::DeclaredWithHoles, LOSS),
        (Mistake::TruncateUnchecked, REFUSAL),
    ] {
        let agreement = Agreement { appends: 1, crashes: 1, mistake };
        let checker = agreement.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let path = checker.discovery(broken);
        let path = path.unwrap_or_else(|| panic!("{mistake:?} breaks nothing: the model cannot find it"));
        println!("{mistake:?}, found after {} states: {:?}", checker.unique_state_count(), path.into_actions());
    }
}
