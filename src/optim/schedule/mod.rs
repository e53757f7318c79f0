//! Learning rate schedulers, which act on an optimizer's groups.
//!
//! Most are a [`Curve`]: what a group's rate is at an epoch, from its first and its present rate. The rest (counting,
//! setting, saving) is [`Curved`], the same for all. Formulas go from rate to rate as PyTorch's do, so that schedulers can
//! be chained, and give its rates to the last bits.
//!
//! ```
//! use calor::optim::{ExponentialLr, Optimizer, Scheduler, Sgd, SgdOptions};
//! let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
//! let mut schedule = ExponentialLr::new(&mut sgd, 0.5)?;
//! schedule.step(&mut sgd)?;
//! assert_eq!((sgd.lr(0), schedule.last_epoch()), (0.5, 1));
//! # Ok::<(), calor::Error>(())
//! ```

mod cosine;
mod cycle;
mod factors;
mod joined;
mod plateau;
mod swa;

pub use cosine::{CosineAnnealingLr, CosineAnnealingWarmRestarts};
pub use cycle::{CyclicLr, CyclicMode, CyclicOptions, OneCycleLr, OneCycleOptions};
pub use factors::{ConstantLr, ExponentialLr, LambdaLr, LinearLr, MultiStepLr, MultiplicativeLr, PolynomialLr, StepLr};
pub use joined::{ChainedScheduler, SequentialLr};
pub use plateau::{Mode, PlateauOptions, ReduceLrOnPlateau, Threshold};
pub use swa::{Anneal, SwaLr};

/// The formulas of schedulers.
///
/// ```
/// use calor::optim::{Curve, curves::{Exponential, HalfCosine}};
/// assert_eq!((Exponential::NAME, HalfCosine::NAME), ("ExponentialLR", "CosineAnnealingLR"));
/// ```
pub mod curves {
    pub use super::cosine::{HalfCosine, Restarts};
    pub use super::cycle::{Cycle, OneCycle};
    pub use super::factors::{Constant, Exponential, Factors, Linear, Milestones, Of, Polynomial, Stepped};
    pub use super::swa::Towards;
}

use super::Optimizer;
use crate::error::{Result, bail};
use std::collections::BTreeMap;

/// What a scheduler saves: numbers by name, lists numbered as in `base_lrs.0`.
///
/// ```
/// use calor::optim::{ExponentialLr, Scheduler, SchedulerState, Sgd, SgdOptions};
/// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
/// let state: SchedulerState = ExponentialLr::new(&mut sgd, 0.5)?.state_dict();
/// assert_eq!((state["last_epoch"], state["base_lrs.0"]), (0.0, 1.0));
/// # Ok::<(), calor::Error>(())
/// ```
pub type SchedulerState = BTreeMap<String, f64>;

/// A scheduler: `step` once an epoch (or once a batch) after the optimizer's step.
///
/// Making one sets the rates of epoch 0, as in PyTorch; states of optimizer and scheduler are loaded after that.
///
/// ```
/// use calor::optim::{Optimizer, Scheduler, Sgd, SgdOptions, StepLr};
/// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
/// let mut schedule: Box<dyn Scheduler> = Box::new(StepLr::new(&mut sgd, 1, 0.5)?);
/// schedule.step(&mut sgd)?;
/// assert_eq!(sgd.lr(0), 0.5);
/// # Ok::<(), calor::Error>(())
/// ```
pub trait Scheduler {
    /// Goes on by one epoch and sets the rates.
    ///
    /// ```
    /// # use calor::optim::{Optimizer, Scheduler, Sgd, SgdOptions, StepLr};
    /// # let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let mut schedule = StepLr::new(&mut sgd, 1, 0.5)?;
    /// schedule.step(&mut sgd)?;
    /// assert_eq!(sgd.lr(0), 0.5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn step(&mut self, optimizer: &mut dyn Optimizer) -> Result<()>;

    /// Goes to an epoch and sets the rates, by the formula that starts from the first rates where there is one.
    ///
    /// ```
    /// # use calor::optim::{Optimizer, Scheduler, Sgd, SgdOptions, StepLr};
    /// # let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let mut schedule = StepLr::new(&mut sgd, 1, 0.5)?;
    /// schedule.step_to(&mut sgd, 3)?;
    /// assert_eq!(sgd.lr(0), 0.125);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn step_to(&mut self, optimizer: &mut dyn Optimizer, epoch: u64) -> Result<()>;

    /// Takes the count of epochs back by one, without touching rates: [`SequentialLr`] starts a scheduler later so.
    ///
    /// ```
    /// # use calor::optim::{Optimizer, Scheduler, Sgd, SgdOptions, StepLr};
    /// # let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let mut schedule = StepLr::new(&mut sgd, 1, 0.5)?;
    /// schedule.rewind();
    /// assert_eq!((schedule.last_epoch(), sgd.lr(0)), (-1, 1.0));
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn rewind(&mut self);

    /// The step that making it was, once more.
    ///
    /// ```
    /// use calor::optim::{Scheduler, Sgd, SgdOptions, StepLr};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let mut schedule = StepLr::new(&mut sgd, 1, 0.5)?;
    /// schedule.rewind();
    /// schedule.initial_step(&mut sgd)?;
    /// assert_eq!(schedule.last_epoch(), 0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn initial_step(&mut self, optimizer: &mut dyn Optimizer) -> Result<()> {
        self.step(optimizer)
    }

    /// The epoch that the rates are of.
    ///
    /// ```
    /// # use calor::optim::{Optimizer, Scheduler, Sgd, SgdOptions, StepLr};
    /// # let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let mut schedule = StepLr::new(&mut sgd, 1, 0.5)?;
    /// schedule.step(&mut sgd)?;
    /// assert_eq!(schedule.last_epoch(), 1);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn last_epoch(&self) -> i64;

    /// The rates that were set last, one for each group.
    ///
    /// ```
    /// # use calor::optim::{Optimizer, Scheduler, Sgd, SgdOptions, StepLr};
    /// # let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// assert_eq!(StepLr::new(&mut sgd, 1, 0.5)?.get_last_lr(), [1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn get_last_lr(&self) -> Vec<f64>;

    /// What goes on with another scheduler that was made alike.
    ///
    /// ```
    /// # use calor::optim::{Optimizer, Scheduler, Sgd, SgdOptions, StepLr};
    /// # let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let mut schedule = StepLr::new(&mut sgd, 1, 0.5)?;
    /// schedule.step(&mut sgd)?;
    /// assert_eq!(schedule.state_dict()["_last_lr.0"], 0.5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn state_dict(&self) -> SchedulerState;

    /// Goes on as the saved one would, without touching rates, which are in the optimizer's state. `last_epoch` is all
    /// that must be given.
    ///
    /// ```
    /// # use calor::optim::{Optimizer, Scheduler, Sgd, SgdOptions, StepLr};
    /// # let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let mut schedule = StepLr::new(&mut sgd, 1, 0.5)?;
    /// schedule.load_state_dict(&[("last_epoch".to_string(), 7.0)].into())?;
    /// assert_eq!(schedule.last_epoch(), 7);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn load_state_dict(&mut self, state: &SchedulerState) -> Result<()>;
}

/// Where a scheduler stands with a group.
///
/// ```
/// use calor::optim::{At, Curve, Curved, Optimizer, Scheduler, Sgd, SgdOptions};
/// #[derive(Clone)]
/// struct Harmonic;
/// impl Curve for Harmonic {
///     const NAME: &'static str = "Harmonic";
///     fn rate(&self, At { epoch, base, .. }: At) -> f64 {
///         base / (1.0 + epoch as f64)
///     }
/// }
/// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
/// Curved::start(&mut sgd, Harmonic)?.step(&mut sgd)?;
/// assert_eq!(sgd.lr(0), 0.5);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// The epoch to come, from 0.
    pub epoch: i64,
    /// Whether the scheduler is being made: what the optimizer holds is then the rate of that epoch for most formulas.
    pub initial: bool,
    /// Steps since the scheduler was made, without that one.
    pub step: i64,
    /// Number of the group.
    pub group: usize,
    /// The group's first rate.
    pub base: f64,
    /// The group's present rate.
    pub lr: f64,
}

/// A scheduler's formula.
///
/// ```
/// use calor::optim::{At, Curve, Curved, Optimizer, Scheduler, Sgd, SgdOptions};
/// #[derive(Clone)]
/// struct Falling(f64);
/// impl Curve for Falling {
///     const NAME: &'static str = "Falling";
///     fn rate(&self, at: At) -> f64 {
///         if at.epoch == 0 { at.lr } else { at.lr - self.0 }
///     }
///     fn closed(&self, at: At) -> Option<f64> {
///         Some(at.base - at.epoch as f64 * self.0)
///     }
/// }
/// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
/// let mut schedule = Curved::start(&mut sgd, Falling(0.125))?;
/// schedule.step(&mut sgd)?;
/// assert_eq!(sgd.lr(0), 0.875);
/// schedule.step_to(&mut sgd, 4)?;
/// assert_eq!(sgd.lr(0), 0.5);
/// # Ok::<(), calor::Error>(())
/// ```
pub trait Curve {
    /// PyTorch's name.
    const NAME: &'static str;

    /// A group's rate at an epoch, which may start from its present rate.
    ///
    /// ```
    /// use calor::optim::{At, Curve, ExponentialLr, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let schedule = ExponentialLr::new(&mut sgd, 0.5)?;
    /// assert_eq!(schedule.curve().rate(At { epoch: 1, initial: false, step: 1, group: 0, base: 1.0, lr: 0.25 }), 0.125);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn rate(&self, at: At) -> f64;

    /// The same from the first rate alone, where there is such a formula.
    ///
    /// ```
    /// use calor::optim::{At, Curve, ExponentialLr, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let schedule = ExponentialLr::new(&mut sgd, 0.5)?;
    /// assert_eq!(schedule.curve().closed(At { epoch: 3, initial: false, step: 3, group: 0, base: 1.0, lr: 0.0 }), Some(0.125));
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn closed(&self, _at: At) -> Option<f64> {
        None
    }

    /// A group's momentum, or first beta, at an epoch, where that is scheduled.
    ///
    /// ```
    /// use calor::optim::{At, Curve, OneCycleLr, OneCycleOptions, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0).momentum(0.9))?;
    /// let schedule = OneCycleLr::new(&mut sgd, OneCycleOptions::new(1.0, 10u64))?;
    /// assert_eq!(schedule.curve().momentum(At { epoch: 0, initial: true, step: 0, group: 0, base: 1.0, lr: 1.0 }), Some(0.95));
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn momentum(&self, _at: At) -> Option<f64> {
        None
    }

    /// What it changes of an optimizer that it begins with.
    ///
    /// ```
    /// use calor::optim::{Curve, CyclicLr, CyclicOptions, Optimizer, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(9.0).momentum(0.9))?;
    /// let schedule = CyclicLr::new(&mut sgd, CyclicOptions::new(0.25, 0.5))?;
    /// sgd.set_lr(0, 9.0);
    /// schedule.curve().begin(&mut sgd);
    /// assert_eq!(sgd.lr(0), 0.25);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn begin(&self, _optimizer: &mut dyn Optimizer) {}

    /// The first rates that all epochs but that of its start go by, where those are not the optimizer's.
    ///
    /// ```
    /// use calor::optim::{Curve, CyclicLr, CyclicOptions, ExponentialLr, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0).momentum(0.9))?;
    /// assert!(ExponentialLr::new(&mut sgd, 0.5)?.curve().base_lrs().is_none());
    /// let schedule = CyclicLr::new(&mut sgd, CyclicOptions::new(0.25, 0.5))?;
    /// assert_eq!(schedule.curve().base_lrs(), Some(&[0.25][..]));
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn base_lrs(&self) -> Option<&[f64]> {
        None
    }

    /// Counts as if `last` were the last epoch, before the step that makes it.
    ///
    /// ```
    /// use calor::optim::{CosineAnnealingWarmRestarts, Curve, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let mut curve = CosineAnnealingWarmRestarts::new(&mut sgd, 2, 1, 0.0)?.curve().clone();
    /// curve.resume(4);
    /// assert_eq!(curve.next(4, None)?, 5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn resume(&mut self, _last: i64) {}

    /// The epoch after the last one, or the one that is gone to; refuses where there is none.
    ///
    /// ```
    /// use calor::optim::{Curve, ExponentialLr, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let mut curve = ExponentialLr::new(&mut sgd, 0.5)?.curve().clone();
    /// assert_eq!((curve.next(3, None)?, curve.next(3, Some(8))?), (4, 8));
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn next(&mut self, last: i64, to: Option<u64>) -> Result<i64> {
        to.map_or(Ok(last.saturating_add(1)), |epoch| counted(Self::NAME, epoch))
    }

    /// What it counts itself.
    ///
    /// ```
    /// use calor::optim::{CosineAnnealingWarmRestarts, Curve, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let mut curve = CosineAnnealingWarmRestarts::new(&mut sgd, 2, 2, 0.0)?.curve().clone();
    /// assert!(curve.counts().iter().any(|(name, value)| *name == "T_i" && **value == 2.0));
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn counts(&mut self) -> Vec<(&'static str, &mut f64)> {
        Vec::new()
    }
}

/// A scheduler by a [`Curve`].
///
/// ```
/// use calor::optim::{Curved, ExponentialLr, Scheduler, Sgd, SgdOptions, curves::Exponential};
/// // `ExponentialLr` is this type
/// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
/// let schedule: Curved<Exponential> = ExponentialLr::new(&mut sgd, 0.5)?;
/// assert_eq!(schedule.get_last_lr(), [1.0]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Curved<C> {
    curve: C,
    base: Vec<f64>,
    last_epoch: i64,
    step_count: i64,
    last_lr: Vec<f64>,
    /// What the optimizer's groups held before.
    found: Vec<Found>,
}

#[derive(Clone, Debug)]
struct Found {
    lr: f64,
    initial_lr: Option<f64>,
    momentum: Option<f64>,
}

/// What the groups hold of what schedulers change.
fn found(optimizer: &dyn Optimizer) -> Vec<Found> {
    let momentum = momentum_name(optimizer);
    let one = |g: usize| Found {
        lr: optimizer.lr(g),
        initial_lr: optimizer.setting(g, "initial_lr"),
        momentum: momentum.and_then(|name| optimizer.setting(g, name)),
    };
    (0..optimizer.num_groups()).map(one).collect()
}

impl<C: Curve> Curved<C> {
    /// A scheduler at epoch 0 of a curve.
    ///
    /// ```
    /// use calor::optim::{Curved, ExponentialLr, Scheduler, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let curve = ExponentialLr::new(&mut sgd, 0.5)?.curve().clone();
    /// assert_eq!(Curved::start(&mut sgd, curve)?.last_epoch(), 0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn start(optimizer: &mut dyn Optimizer, curve: C) -> Result<Self> {
        let found = found(optimizer);
        curve.begin(optimizer);
        let base = initial_rates(optimizer);
        let mut out = Self { curve, base, last_epoch: -1, step_count: 0, last_lr: Vec::new(), found };
        out.initial(optimizer)?;
        Ok(out)
    }

    /// Goes on after an epoch, with the rates that the optimizer had before this scheduler was made: PyTorch's
    /// `last_epoch=epoch`. Where there is a state dict, [`Scheduler::load_state_dict`] is more exact.
    ///
    /// ```
    /// use calor::optim::{ExponentialLr, Optimizer, Scheduler, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(0.25))?;
    /// assert!(ExponentialLr::new(&mut sgd, 0.5)?.resumed_at(&mut sgd, 1).is_err());
    /// sgd.set_setting(0, "initial_lr", 1.0); // a loaded state has it
    /// let mut schedule = ExponentialLr::new(&mut sgd, 0.5)?.resumed_at(&mut sgd, 1)?;
    /// assert_eq!((sgd.lr(0), schedule.last_epoch()), (0.25, 2));
    /// schedule.step(&mut sgd)?;
    /// assert_eq!(sgd.lr(0), 0.125);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where a group had no `initial_lr`; the optimizer then is as it was before this scheduler.
    pub fn resumed_at(mut self, optimizer: &mut dyn Optimizer, epoch: u64) -> Result<Self> {
        let momentum = momentum_name(optimizer);
        for (group, found) in self.found.iter().enumerate() {
            optimizer.set_lr(group, found.lr);
            // NaN stands for none
            optimizer.set_setting(group, "initial_lr", found.initial_lr.unwrap_or(f64::NAN));
            if let (Some(name), Some(value)) = (momentum, found.momentum) {
                optimizer.set_setting(group, name, value);
            }
        }
        if let Some(group) = self.found.iter().position(|f| f.initial_lr.is_none()) {
            bail!(
                Value,
                C::NAME,
                "group {group} has no \"initial_lr\" to resume from: load the optimizer's state first"
            );
        }
        let last = counted(C::NAME, epoch)?;
        self.base = self.found.iter().filter_map(|f| f.initial_lr).collect();
        self.last_epoch = last;
        self.curve.resume(last);
        self.initial(optimizer)?;
        Ok(self)
    }

    /// The step that makes it.
    fn initial(&mut self, optimizer: &mut dyn Optimizer) -> Result<()> {
        self.step_count = 0;
        self.go(optimizer, None, true)?;
        if let Some(base) = self.curve.base_lrs() {
            self.base = base.to_vec();
        }
        Ok(())
    }

    /// Its curve.
    ///
    /// ```
    /// use calor::optim::{At, Curve, ExponentialLr, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let schedule = ExponentialLr::new(&mut sgd, 0.5)?;
    /// assert_eq!(schedule.curve().rate(At { epoch: 1, initial: false, step: 1, group: 0, base: 1.0, lr: 1.0 }), 0.5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn curve(&self) -> &C {
        &self.curve
    }

    fn go(&mut self, optimizer: &mut dyn Optimizer, to: Option<u64>, initial: bool) -> Result<()> {
        self.last_epoch = self.curve.next(self.last_epoch, to)?;
        // PyTorch counts no step where SequentialLR starts a scheduler
        self.step_count += i64::from(to.is_none());
        self.set(optimizer, to.is_some(), initial);
        Ok(())
    }

    /// Sets the rates and momenta of the epoch, by the closed formula where there is one and it is asked for.
    fn set(&mut self, optimizer: &mut dyn Optimizer, closed: bool, initial: bool) {
        let momentum = momentum_name(optimizer);
        for (group, &base) in self.base.iter().enumerate() {
            let (epoch, step) = (self.last_epoch, self.step_count - 1);
            let at = At { epoch, initial, step, group, base, lr: optimizer.lr(group) };
            let closed = if closed { self.curve.closed(at) } else { None };
            optimizer.set_lr(group, closed.unwrap_or_else(|| self.curve.rate(at)));
            if let (Some(name), Some(value)) = (momentum, self.curve.momentum(at)) {
                optimizer.set_setting(group, name, value);
            }
        }
        self.last_lr = rates(optimizer);
    }
}

impl<C: Curve + Clone> Scheduler for Curved<C> {
    fn step(&mut self, optimizer: &mut dyn Optimizer) -> Result<()> {
        self.go(optimizer, None, false)
    }

    fn step_to(&mut self, optimizer: &mut dyn Optimizer, epoch: u64) -> Result<()> {
        self.go(optimizer, Some(epoch), false)
    }

    fn rewind(&mut self) {
        self.last_epoch -= 1;
    }

    fn initial_step(&mut self, optimizer: &mut dyn Optimizer) -> Result<()> {
        self.initial(optimizer)
    }

    fn last_epoch(&self) -> i64 {
        self.last_epoch
    }

    fn get_last_lr(&self) -> Vec<f64> {
        self.last_lr.clone()
    }

    fn state_dict(&self) -> SchedulerState {
        let counts = [("last_epoch", self.last_epoch), ("_step_count", self.step_count)];
        let mut out: SchedulerState = counts.into_iter().map(|(name, n)| (name.to_string(), n as f64)).collect();
        put(&mut out, "base_lrs", &self.base);
        put(&mut out, "_last_lr", &self.last_lr);
        out.extend(self.curve.clone().counts().into_iter().map(|(name, value)| (name.to_string(), *value)));
        out
    }

    fn load_state_dict(&mut self, state: &SchedulerState) -> Result<()> {
        let last = need_count(state, C::NAME, "last_epoch")?;
        let steps = match state.contains_key("_step_count") {
            true => need_count(state, C::NAME, "_step_count")?,
            false => last + 1,
        };
        let base = take(state, C::NAME, "base_lrs", &self.base)?;
        self.last_lr = take(state, C::NAME, "_last_lr", &self.last_lr)?;
        (self.last_epoch, self.base, self.step_count) = (last, base, steps);
        for (name, value) in self.curve.counts() {
            *value = state.get(name).copied().unwrap_or(*value);
        }
        Ok(())
    }
}

/// The present rates of an optimizer's groups.
fn rates(optimizer: &dyn Optimizer) -> Vec<f64> {
    (0..optimizer.num_groups()).map(|g| optimizer.lr(g)).collect()
}

/// The rates that an optimizer's groups had before any scheduler; noted in the groups.
fn initial_rates(optimizer: &mut dyn Optimizer) -> Vec<f64> {
    let groups = 0..optimizer.num_groups();
    let first = |g: usize| {
        let lr = optimizer.setting(g, "initial_lr").unwrap_or_else(|| optimizer.lr(g));
        optimizer.set_setting(g, "initial_lr", lr);
        lr
    };
    groups.map(first).collect()
}

/// What a scheduler of momenta changes: the first beta where there is one.
fn momentum_name(optimizer: &dyn Optimizer) -> Option<&'static str> {
    ["beta1", "momentum"].into_iter().find(|name| optimizer.setting(0, name).is_some())
}

fn put(state: &mut SchedulerState, name: &str, values: &[f64]) {
    state.extend(values.iter().enumerate().map(|(i, v)| (format!("{name}.{i}"), *v)));
}

fn need(state: &SchedulerState, rule: &str, name: &str) -> Result<f64> {
    match state.get(name) {
        Some(value) => Ok(*value),
        None => bail!(Value, rule, "the loaded state has no {name:?}"),
    }
}

/// Above it not every number has its neighbour in double precision.
const MOST: f64 = 9_007_199_254_740_992.0;

/// A count of a state, which may stand before 0.
fn need_count(state: &SchedulerState, rule: &str, name: &str) -> Result<i64> {
    match need(state, rule, name)? {
        n if (-MOST..=MOST).contains(&n) => Ok(n as i64),
        n => bail!(Value, rule, "{name:?} of the loaded state is {n}, which is beyond what can be counted"),
    }
}

/// Above it a count is as good as infinite; twice as much is still a number.
const ENDLESS: i64 = i64::MAX / 4;

/// A length that epochs are compared with.
fn count(epochs: u64) -> i64 {
    i64::try_from(epochs).map_or(ENDLESS, |epochs| epochs.min(ENDLESS))
}

/// An epoch that is gone to.
fn counted(rule: &str, epoch: u64) -> Result<i64> {
    match i64::try_from(epoch) {
        Ok(epoch) if epoch < ENDLESS => Ok(epoch),
        _ => bail!(Value, rule, "{epoch} is beyond what can be counted"),
    }
}

/// A list of a state; what it does not name stays. Refused where it is of more groups.
fn take(state: &SchedulerState, rule: &str, name: &str, own: &[f64]) -> Result<Vec<f64>> {
    if state.contains_key(&format!("{name}.{}", own.len())) {
        bail!(Value, rule, "the loaded state has more groups than {}", own.len());
    }
    let value = |(i, own): (usize, &f64)| state.get(&format!("{name}.{i}")).copied().unwrap_or(*own);
    Ok(own.iter().enumerate().map(value).collect())
}

/// One number for all groups, or one for each.
///
/// ```
/// use calor::optim::PerGroup;
/// assert_eq!(PerGroup::from(0.5), PerGroup::from([0.5]));
/// assert_ne!(PerGroup::from(vec![0.5, 0.1]), PerGroup::from([0.1, 0.5]));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PerGroup(Vec<f64>);

impl PerGroup {
    /// One for each of so many groups.
    fn spread(&self, rule: &str, name: &str, groups: usize) -> Result<Vec<f64>> {
        match &self.0[..] {
            [one] => Ok(vec![*one; groups]),
            all if all.len() == groups => Ok(all.to_vec()),
            all => bail!(Value, rule, "{name} has {} values, the optimizer {groups} groups", all.len()),
        }
    }
}

impl From<f64> for PerGroup {
    fn from(value: f64) -> Self {
        Self(vec![value])
    }
}

impl From<Vec<f64>> for PerGroup {
    fn from(values: Vec<f64>) -> Self {
        Self(values)
    }
}

impl<const N: usize> From<[f64; N]> for PerGroup {
    fn from(values: [f64; N]) -> Self {
        Self(values.to_vec())
    }
}

/// Options of a scheduler: a struct with defaults and one method to set each.
macro_rules! choices {
    ($(#[$doc:meta])* $name:ident ($($(#[$need_doc:meta])* $need:ident: $need_ty:ty),*) $made:literal $check:literal
        { $($(#[$field_doc:meta])* $field:ident: $ty:ty = $default:expr $(=> $set:expr)?,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $($(#[$need_doc])* pub $need: $need_ty,)*
            $($(#[$field_doc])* pub $field: $ty,)*
        }

        impl $name {
            /// PyTorch's defaults with these.
            ///
            /// ```
            /// use calor::optim::*;
            #[doc = concat!("let options = ", $made, ";")]
            #[doc = $check]
            /// ```
            #[allow(clippy::new_without_default, reason = "PyTorch has no default for the first ones")]
            pub fn new($($need: impl Into<$need_ty>),*) -> Self {
                Self { $($need: $need.into(),)* $($field: $default.into(),)* }
            }

            $(
                $(#[$field_doc])*
                $(
                    ///
                    /// ```
                    /// use calor::optim::*;
                    #[doc = concat!("let options = ", $made, ".", stringify!($field), "(", stringify!($set), ");")]
                    #[doc = concat!("assert_eq!(options.", stringify!($field), ", <", stringify!($ty), ">::from(", stringify!($set), "));")]
                    /// ```
                )?
                #[must_use]
                pub fn $field(mut self, $field: impl Into<$ty>) -> Self {
                    self.$field = $field.into();
                    self
                }
            )*
        }
    };
}
use choices;
