//! `Generator`: the counter behind random numbers. Philox 4x32-10 makes element `i` of a draw from the seed, the
//! draw's place in the sequence and `i`, so numbers are the same on every adapter and can be made again.

use std::sync::{Mutex, PoisonError};

/// A seeded sequence of draws.
#[derive(Debug)]
pub struct Generator(Mutex<State>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    seed: u64,
    next: u64,
}

/// The place of one draw in a generator's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The generator's seed: the key of Philox.
    pub seed: u64,
    /// The number of the draw: the upper half of Philox's counter.
    pub number: u64,
}

impl Generator {
    /// A generator at the start of a seed's sequence.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(State { seed, next: 0 }))
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Goes to the start of a seed's sequence.
    pub fn set_seed(&self, seed: u64) {
        self.with(|s| *s = State { seed, next: 0 });
    }

    /// The seed and the number of draws so far: what a checkpoint keeps.
    pub fn state(&self) -> (u64, u64) {
        self.with(|s| (s.seed, s.next))
    }

    /// Goes to a state that [`Generator::state`] gave.
    pub fn set_state(&self, (seed, next): (u64, u64)) {
        self.with(|s| *s = State { seed, next });
    }

    /// The next draw.
    pub fn draw(&self) -> Draw {
        self.with(|s| {
            s.next += 1;
            Draw { seed: s.seed, number: s.next - 1 }
        })
    }
}
