//! `Generator`: the counter behind random numbers. Philox 4x32-10 makes element `i` of a draw from the seed, the
//! draw's place in the sequence and `i`, so numbers are the same on every adapter and can be made again.

use std::sync::{Mutex, PoisonError};

/// A seeded sequence of draws.
///
/// ```
/// use calor::Generator;
/// let (a, b) = (Generator::new(7), Generator::new(7));
/// a.draw();
/// assert_ne!(a.draw(), b.draw());
/// a.set_seed(7);
/// assert_eq!((a.draw(), a.state()), (calor::Draw { seed: 7, number: 0 }, (7, 1)));
/// ```
#[derive(Debug)]
pub struct Generator(Mutex<State>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    seed: u64,
    next: u64,
}

/// The place of one draw in a generator's sequence.
///
/// ```
/// let draw = calor::Generator::new(5).draw();
/// assert_eq!((draw.seed, draw.number), (5, 0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The generator's seed: the key of Philox.
    pub seed: u64,
    /// The number of the draw: the upper half of Philox's counter.
    pub number: u64,
}

impl Generator {
    /// A generator at the start of a seed's sequence.
    ///
    /// ```
    /// assert_eq!(calor::Generator::new(5).state(), (5, 0));
    /// ```
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(State { seed, next: 0 }))
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Goes to the start of a seed's sequence.
    ///
    /// ```
    /// let generator = calor::Generator::new(5);
    /// generator.draw();
    /// generator.set_seed(6);
    /// assert_eq!(generator.state(), (6, 0));
    /// ```
    pub fn set_seed(&self, seed: u64) {
        self.with(|s| *s = State { seed, next: 0 });
    }

    /// The seed and the number of draws so far: what a checkpoint keeps.
    ///
    /// ```
    /// let generator = calor::Generator::new(5);
    /// generator.draw();
    /// assert_eq!(generator.state(), (5, 1));
    /// ```
    pub fn state(&self) -> (u64, u64) {
        self.with(|s| (s.seed, s.next))
    }

    /// Goes to a state that [`Generator::state`] gave.
    ///
    /// ```
    /// let generator = calor::Generator::new(5);
    /// let before = generator.state();
    /// let draw = generator.draw();
    /// generator.set_state(before);
    /// assert_eq!(generator.draw(), draw);
    /// ```
    pub fn set_state(&self, (seed, next): (u64, u64)) {
        self.with(|s| *s = State { seed, next });
    }

    /// The next draw.
    ///
    /// ```
    /// let generator = calor::Generator::new(5);
    /// assert_eq!((generator.draw().number, generator.draw().number), (0, 1));
    /// ```
    pub fn draw(&self) -> Draw {
        self.with(|s| {
            s.next += 1;
            Draw { seed: s.seed, number: s.next - 1 }
        })
    }
}
