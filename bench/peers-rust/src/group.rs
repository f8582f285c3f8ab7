//! Group commit for logs that have none of their own: what a host with many threads would put in front of them. The first caller that finds
//! nobody at work writes the records of all that wait, with one sync; the others wait for it.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::side::Outcome;

#[derive(Default)]
struct State {
    waiting: Vec<Vec<u8>>,
    /// The group that is being gathered, and the last that is done.
    gathering: u64,
    done: u64,
    is_working: bool,
    failure: Option<String>,
}

#[derive(Default)]
pub(crate) struct Group {
    state: Mutex<State>,
    changed: Condvar,
}

impl Group {
    /// Has `write` make the record durable, together with others. `write` gets one group at a time, in order.
    pub(crate) fn commit(&self, value: &[u8], write: impl Fn(&[Vec<u8>]) -> Outcome<()>) -> Outcome<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting.push(value.to_vec());
        let mine = state.gathering + 1;
        loop {
            if let Some(failure) = &state.failure {
                return Err(failure.clone().into());
            }
            if state.done >= mine {
                return Ok(());
            }
            if state.is_working {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.is_working = true;
            state.gathering += 1;
            let group = std::mem::take(&mut state.waiting);
            drop(state);
            let outcome = write(&group);
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.is_working = false;
            state.done = state.gathering;
            if let Err(trouble) = outcome {
                state.failure = Some(format!("{trouble:?}"));
            }
            self.changed.notify_all();
        }
    }
}
