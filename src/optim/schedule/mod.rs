//! Learning rate schedulers, which act on an optimizer's groups.
//!
//! Most are a [`Curve`]: what a group's rate is at an epoch, from its first and its present rate. The rest (counting,
//! setting, saving) is [`Curved`], the same for all. Formulas go from rate to rate as PyTorch's do, so that schedulers can
//! be chained, and give its rates to the last bits.

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
pub type SchedulerState = BTreeMap<String, f64>;

/// A scheduler: `step` once an epoch (or once a batch) after the optimizer's step.
///
/// Making one sets the rates of epoch 0, as in PyTorch; states of optimizer and scheduler are loaded after that.
pub trait Scheduler {
    /// Goes on by one epoch and sets the rates.
    fn step(&mut self, optimizer: &mut dyn Optimizer) -> Result<()>;

    /// Goes to an epoch and sets the rates, by the formula that starts from the first rates where there is one.
    fn step_to(&mut self, optimizer: &mut dyn Optimizer, epoch: u64) -> Result<()>;

    /// Takes the count of epochs back by one, without touching rates: [`SequentialLr`] starts a scheduler later so.
    fn rewind(&mut self);

    /// The step that making it was, once more.
    fn initial_step(&mut self, optimizer: &mut dyn Optimizer) -> Result<()> {
        self.step(optimizer)
    }

    /// The epoch that the rates are of.
    fn last_epoch(&self) -> i64;

    /// The rates that were set last, one for each group.
    fn get_last_lr(&self) -> Vec<f64>;

    /// What goes on with another scheduler that was made alike.
    fn state_dict(&self) -> SchedulerState;

    /// Goes on as the saved one would, without touching rates, which are in the optimizer's state. `last_epoch` is all
    /// that must be given.
    fn load_state_dict(&mut self, state: &SchedulerState) -> Result<()>;
}

/// Where a scheduler stands with a group.
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
pub trait Curve {
    /// PyTorch's name.
    const NAME: &'static str;

    /// A group's rate at an epoch, which may start from its present rate.
    fn rate(&self, at: At) -> f64;

    /// The same from the first rate alone, where there is such a formula.
    fn closed(&self, _at: At) -> Option<f64> {
        None
    }

    /// A group's momentum, or first beta, at an epoch, where that is scheduled.
    fn momentum(&self, _at: At) -> Option<f64> {
        None
    }

    /// What it changes of an optimizer that it begins with.
    fn begin(&self, _optimizer: &mut dyn Optimizer) {}

    /// The first rates that all epochs but that of its start go by, where those are not the optimizer's.
    fn base_lrs(&self) -> Option<&[f64]> {
        None
    }

    /// Counts as if `last` were the last epoch, before the step that makes it.
    fn resume(&mut self, _last: i64) {}

    /// The epoch after the last one, or the one that is gone to; refuses where there is none.
    fn next(&mut self, last: i64, to: Option<u64>) -> Result<i64> {
        Ok(to.map_or(last + 1, |epoch| epoch as i64))
    }

    /// What it counts itself.
    fn counts(&mut self) -> Vec<(&'static str, &mut f64)> {
        Vec::new()
    }
}

/// A scheduler by a [`Curve`].
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
        let Some(last) = i64::try_from(epoch).ok().filter(|&last| last < i64::MAX / 2) else {
            bail!(Value, C::NAME, "{epoch} is beyond what can be counted");
        };
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
        let last = need(state, C::NAME, "last_epoch")?;
        let base = take(state, C::NAME, "base_lrs", &self.base)?;
        self.last_lr = take(state, C::NAME, "_last_lr", &self.last_lr)?;
        (self.last_epoch, self.base) = (last as i64, base);
        self.step_count = state.get("_step_count").map_or(self.last_epoch + 1, |n| *n as i64);
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

/// A list of a state; what it does not name stays. Refused where it is of more groups.
fn take(state: &SchedulerState, rule: &str, name: &str, own: &[f64]) -> Result<Vec<f64>> {
    if state.contains_key(&format!("{name}.{}", own.len())) {
        bail!(Value, rule, "the loaded state has more groups than {}", own.len());
    }
    let value = |(i, own): (usize, &f64)| state.get(&format!("{name}.{i}")).copied().unwrap_or(*own);
    Ok(own.iter().enumerate().map(value).collect())
}

/// One number for all groups, or one for each.
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
    ($(#[$doc:meta])* $name:ident ($($(#[$need_doc:meta])* $need:ident: $need_ty:ty),*)
        { $($(#[$field_doc:meta])* $field:ident: $ty:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $($(#[$need_doc])* pub $need: $need_ty,)*
            $($(#[$field_doc])* pub $field: $ty,)*
        }

        impl $name {
            /// PyTorch's defaults with these.
            #[allow(clippy::new_without_default, reason = "PyTorch has no default for the first ones")]
            pub fn new($($need: impl Into<$need_ty>),*) -> Self {
                Self { $($need: $need.into(),)* $($field: $default.into(),)* }
            }

            $(
                $(#[$field_doc])*
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
