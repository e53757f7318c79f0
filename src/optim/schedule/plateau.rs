//! Rates that fall where a measured value no longer gets better.

use super::{PerGroup, SchedulerState, choices, need, need_count, put, rates, take};
use crate::error::{Result, bail};
use crate::optim::Optimizer;

/// Whether smaller or larger is better.
///
/// ```
/// use calor::optim::{Mode, PlateauOptions, ReduceLrOnPlateau, Sgd, SgdOptions};
/// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
/// let mut schedule = ReduceLrOnPlateau::new(&sgd, PlateauOptions::new().mode(Mode::Max))?;
/// schedule.step(&mut sgd, 0.25);
/// schedule.step(&mut sgd, 0.75);
/// assert_eq!(schedule.best(), 0.75);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Smaller, as for a loss.
    Min,
    /// Larger, as for an accuracy.
    Max,
}

/// How the threshold is meant.
///
/// ```
/// use calor::optim::{PlateauOptions, ReduceLrOnPlateau, Sgd, SgdOptions, Threshold};
/// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
/// let options = PlateauOptions::new().threshold(0.5).threshold_mode(Threshold::Abs);
/// let mut schedule = ReduceLrOnPlateau::new(&sgd, options)?;
/// schedule.step(&mut sgd, 10.0);
/// schedule.step(&mut sgd, 9.75);
/// assert_eq!(schedule.best(), 10.0);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// As a share of the best value.
    Rel,
    /// As a difference.
    Abs,
}

choices! {
    /// Settings of [`ReduceLrOnPlateau`], PyTorch's names and defaults.
    ///
    /// ```
    /// let options = calor::optim::PlateauOptions::new().patience(3u64);
    /// assert_eq!((options.factor, options.patience), (0.1, 3));
    /// ```
    PlateauOptions () "PlateauOptions::new()" "assert_eq!((options.factor, options.patience), (0.1, 10));" {
        /// Whether smaller or larger is better.
        mode: Mode = Mode::Min => Mode::Max,
        /// What rates are multiplied by.
        factor: f64 = 0.1 => 0.5,
        /// How many epochs that are not better are borne.
        patience: u64 = 10u64 => 3u64,
        /// How much better counts.
        threshold: f64 = 1e-4 => 1e-3,
        /// How that is meant.
        threshold_mode: Threshold = Threshold::Rel => Threshold::Abs,
        /// How many epochs after a fall are not looked at.
        cooldown: u64 = 0u64 => 2u64,
        /// The smallest rate.
        min_lr: PerGroup = 0.0 => 0.25,
        /// A fall by no more than this is left out.
        eps: f64 = 1e-8 => 1e-3,
    }
}

/// Multiplies the rates by `factor` where a value was not better for more than `patience` epochs.
///
/// ```
/// use calor::optim::{Optimizer, PlateauOptions, ReduceLrOnPlateau, Sgd, SgdOptions};
/// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
/// let mut schedule = ReduceLrOnPlateau::new(&sgd, PlateauOptions::new().factor(0.5).patience(1u64))?;
/// for loss in [3.0, 2.0, 2.0, 2.0] {
///     schedule.step(&mut sgd, loss);
/// }
/// assert_eq!(sgd.lr(0), 0.5);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ReduceLrOnPlateau {
    options: PlateauOptions,
    min_lr: Vec<f64>,
    best: f64,
    num_bad_epochs: u64,
    cooldown_counter: u64,
    last_epoch: u64,
    last_lr: Vec<f64>,
}

const NAME: &str = "ReduceLROnPlateau";

impl ReduceLrOnPlateau {
    /// A schedule at its start.
    ///
    /// ```
    /// use calor::optim::{PlateauOptions, ReduceLrOnPlateau, Sgd, SgdOptions};
    /// let sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// assert!(ReduceLrOnPlateau::new(&sgd, PlateauOptions::new().factor(1.0)).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(optimizer: &dyn Optimizer, options: PlateauOptions) -> Result<Self> {
        if options.factor.is_nan() || options.factor >= 1.0 {
            bail!(Value, NAME, "the factor must be below 1, it is {}", options.factor);
        }
        let min_lr = options.min_lr.spread(NAME, "min_lr", optimizer.num_groups())?;
        let best = match options.mode {
            Mode::Min => f64::INFINITY,
            Mode::Max => f64::NEG_INFINITY,
        };
        let last_lr = rates(optimizer);
        Ok(Self { options, min_lr, best, num_bad_epochs: 0, cooldown_counter: 0, last_epoch: 0, last_lr })
    }

    fn is_better(&self, value: f64) -> bool {
        let (best, t) = (self.best, self.options.threshold);
        match (self.options.mode, self.options.threshold_mode) {
            (Mode::Min, Threshold::Rel) => value < best * (1.0 - t),
            (Mode::Min, Threshold::Abs) => value < best - t,
            (Mode::Max, Threshold::Rel) => value > best * (t + 1.0),
            (Mode::Max, Threshold::Abs) => value > best + t,
        }
    }

    /// Takes an epoch's value and sets the rates.
    ///
    /// ```
    /// use calor::optim::{Optimizer, PlateauOptions, ReduceLrOnPlateau, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let mut schedule = ReduceLrOnPlateau::new(&sgd, PlateauOptions::new().patience(0u64).factor(0.5))?;
    /// for loss in [1.0, 1.0] {
    ///     schedule.step(&mut sgd, loss);
    /// }
    /// assert_eq!(sgd.lr(0), 0.5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn step(&mut self, optimizer: &mut dyn Optimizer, value: f64) {
        self.last_epoch += 1;
        if self.is_better(value) {
            self.best = value;
            self.num_bad_epochs = 0;
        } else {
            self.num_bad_epochs += 1;
        }
        if self.cooldown_counter > 0 {
            self.cooldown_counter -= 1;
            self.num_bad_epochs = 0;
        }
        if self.num_bad_epochs > self.options.patience {
            for (group, min) in self.min_lr.iter().enumerate() {
                let old = optimizer.lr(group);
                let new = (old * self.options.factor).max(*min);
                if old - new > self.options.eps {
                    optimizer.set_lr(group, new);
                }
            }
            self.cooldown_counter = self.options.cooldown;
            self.num_bad_epochs = 0;
        }
        self.last_lr = rates(optimizer);
    }

    /// The best value so far.
    ///
    /// ```
    /// use calor::optim::{PlateauOptions, ReduceLrOnPlateau, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let mut schedule = ReduceLrOnPlateau::new(&sgd, PlateauOptions::new())?;
    /// schedule.step(&mut sgd, 3.0);
    /// schedule.step(&mut sgd, 4.0);
    /// assert_eq!(schedule.best(), 3.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn best(&self) -> f64 {
        self.best
    }

    /// The rates that were set last, one for each group.
    ///
    /// ```
    /// use calor::optim::{PlateauOptions, ReduceLrOnPlateau, Sgd, SgdOptions};
    /// let sgd = Sgd::new([], SgdOptions::new(0.5))?;
    /// assert_eq!(ReduceLrOnPlateau::new(&sgd, PlateauOptions::new())?.get_last_lr(), [0.5]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn get_last_lr(&self) -> Vec<f64> {
        self.last_lr.clone()
    }

    /// What goes on with another schedule that was made alike.
    ///
    /// ```
    /// use calor::optim::{PlateauOptions, ReduceLrOnPlateau, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let mut schedule = ReduceLrOnPlateau::new(&sgd, PlateauOptions::new())?;
    /// schedule.step(&mut sgd, 3.0);
    /// assert_eq!((schedule.state_dict()["best"], schedule.state_dict()["last_epoch"]), (3.0, 1.0));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn state_dict(&self) -> SchedulerState {
        let numbers = [
            ("best", self.best),
            ("num_bad_epochs", self.num_bad_epochs as f64),
            ("cooldown_counter", self.cooldown_counter as f64),
            ("last_epoch", self.last_epoch as f64),
        ];
        let mut out: SchedulerState = numbers.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        put(&mut out, "_last_lr", &self.last_lr);
        out
    }

    /// Goes on as the saved one would, without touching rates, which are in the optimizer's state.
    ///
    /// ```
    /// use calor::optim::{PlateauOptions, ReduceLrOnPlateau, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let mut schedule = ReduceLrOnPlateau::new(&sgd, PlateauOptions::new())?;
    /// let start = schedule.state_dict();
    /// schedule.step(&mut sgd, 3.0);
    /// schedule.load_state_dict(&start)?;
    /// assert_eq!(schedule.best(), f64::INFINITY);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn load_state_dict(&mut self, state: &SchedulerState) -> Result<()> {
        let number = |name| need_count(state, NAME, name).map(|n| n.max(0) as u64);
        let (best, bad, cool) = (need(state, NAME, "best")?, number("num_bad_epochs")?, number("cooldown_counter")?);
        let last = number("last_epoch")?;
        self.last_lr = take(state, NAME, "_last_lr", &self.last_lr)?;
        self.best = best;
        (self.num_bad_epochs, self.cooldown_counter, self.last_epoch) = (bad, cool, last);
        Ok(())
    }
}
