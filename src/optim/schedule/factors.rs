//! Schedulers that multiply the rates by factors.

use super::{At, Curve, Curved, count};
use crate::error::{Result, bail};
use crate::optim::Optimizer;
use std::fmt;
use std::sync::Arc;

/// The formula of [`StepLr`].
///
/// ```
/// use calor::optim::{Curve, curves::Stepped};
/// assert_eq!(Stepped::NAME, "StepLR");
/// ```
#[derive(Clone, Debug)]
pub struct Stepped {
    step_size: i64,
    gamma: f64,
}

/// Multiplies the rates by `gamma` every `step_size` epochs.
///
/// ```
/// use calor::optim::{Optimizer, Scheduler, Sgd, SgdOptions, StepLr};
/// let mut sgd = Sgd::new([], SgdOptions::new(0.5))?;
/// let mut schedule = StepLr::new(&mut sgd, 2, 0.5)?;
/// (0..3).try_for_each(|_| schedule.step(&mut sgd))?;
/// assert_eq!(sgd.lr(0), 0.25);
/// # Ok::<(), calor::Error>(())
/// ```
pub type StepLr = Curved<Stepped>;

impl StepLr {
    /// A schedule at its start.
    ///
    /// ```
    /// use calor::optim::{Sgd, SgdOptions, StepLr};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// assert!(StepLr::new(&mut sgd, 2, 0.5).is_ok() && StepLr::new(&mut sgd, 0, 0.5).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(optimizer: &mut dyn Optimizer, step_size: u64, gamma: f64) -> Result<Self> {
        if step_size == 0 {
            bail!(Value, Stepped::NAME, "step_size must be above 0");
        }
        Self::start(optimizer, Stepped { step_size: count(step_size), gamma })
    }
}

impl Curve for Stepped {
    const NAME: &'static str = "StepLR";

    fn rate(&self, at: At) -> f64 {
        if at.epoch != 0 && at.epoch % self.step_size == 0 { at.lr * self.gamma } else { at.lr }
    }

    fn closed(&self, at: At) -> Option<f64> {
        Some(at.base * self.gamma.powf((at.epoch / self.step_size) as f64))
    }
}

/// The formula of [`MultiStepLr`].
///
/// ```
/// use calor::optim::{Curve, curves::Milestones};
/// assert_eq!(Milestones::NAME, "MultiStepLR");
/// ```
#[derive(Clone, Debug)]
pub struct Milestones {
    milestones: Vec<u64>,
    gamma: f64,
}

/// Multiplies the rates by `gamma` at each milestone.
///
/// ```
/// use calor::optim::{MultiStepLr, Optimizer, Scheduler, Sgd, SgdOptions};
/// let mut sgd = Sgd::new([], SgdOptions::new(0.5))?;
/// let mut schedule = MultiStepLr::new(&mut sgd, [1, 3], 0.5)?;
/// (0..3).try_for_each(|_| schedule.step(&mut sgd))?;
/// assert_eq!(sgd.lr(0), 0.125);
/// # Ok::<(), calor::Error>(())
/// ```
pub type MultiStepLr = Curved<Milestones>;

impl MultiStepLr {
    /// A schedule at its start; a milestone may stand there more than once.
    ///
    /// ```
    /// use calor::optim::{MultiStepLr, Optimizer, Scheduler, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// MultiStepLr::new(&mut sgd, [1, 1], 0.5)?.step(&mut sgd)?;
    /// assert_eq!(sgd.lr(0), 0.25);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(optimizer: &mut dyn Optimizer, milestones: impl Into<Vec<u64>>, gamma: f64) -> Result<Self> {
        Self::start(optimizer, Milestones { milestones: milestones.into(), gamma })
    }
}

impl Curve for Milestones {
    const NAME: &'static str = "MultiStepLR";

    fn rate(&self, at: At) -> f64 {
        match self.milestones.iter().filter(|m| count(**m) == at.epoch).count() {
            0 => at.lr,
            times => at.lr * self.gamma.powf(times as f64),
        }
    }

    fn closed(&self, at: At) -> Option<f64> {
        let passed = self.milestones.iter().filter(|m| count(**m) <= at.epoch).count();
        Some(at.base * self.gamma.powf(passed as f64))
    }
}

/// The formula of [`ConstantLr`].
///
/// ```
/// use calor::optim::{Curve, curves::Constant};
/// assert_eq!(Constant::NAME, "ConstantLR");
/// ```
#[derive(Clone, Debug)]
pub struct Constant {
    factor: f64,
    total_iters: i64,
}

/// Multiplies the rates by `factor` until epoch `total_iters`.
///
/// ```
/// use calor::optim::{ConstantLr, Optimizer, Scheduler, Sgd, SgdOptions};
/// let mut sgd = Sgd::new([], SgdOptions::new(0.5))?;
/// let mut schedule = ConstantLr::new(&mut sgd, 0.5, 2)?;
/// assert_eq!(sgd.lr(0), 0.25);
/// (0..2).try_for_each(|_| schedule.step(&mut sgd))?;
/// assert_eq!(sgd.lr(0), 0.5);
/// # Ok::<(), calor::Error>(())
/// ```
pub type ConstantLr = Curved<Constant>;

impl ConstantLr {
    /// A schedule at its start; PyTorch's defaults are a third and 5.
    ///
    /// ```
    /// use calor::optim::{ConstantLr, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// assert!(ConstantLr::new(&mut sgd, 1.5, 5).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(optimizer: &mut dyn Optimizer, factor: f64, total_iters: u64) -> Result<Self> {
        if !(0.0..=1.0).contains(&factor) {
            bail!(Value, Constant::NAME, "the factor must be between 0 and 1, it is {factor}");
        }
        Self::start(optimizer, Constant { factor, total_iters: count(total_iters) })
    }
}

impl Curve for Constant {
    const NAME: &'static str = "ConstantLR";

    fn rate(&self, at: At) -> f64 {
        match at.epoch {
            0 => at.lr * self.factor,
            e if e == self.total_iters => at.lr * (1.0 / self.factor),
            _ => at.lr,
        }
    }

    fn closed(&self, at: At) -> Option<f64> {
        let over = f64::from(u8::from(at.epoch >= self.total_iters));
        Some(at.base * (self.factor + over * (1.0 - self.factor)))
    }
}

/// The formula of [`LinearLr`].
///
/// ```
/// use calor::optim::{Curve, curves::Linear};
/// assert_eq!(Linear::NAME, "LinearLR");
/// ```
#[derive(Clone, Debug)]
pub struct Linear {
    start_factor: f64,
    end_factor: f64,
    total_iters: i64,
}

/// Multiplies the rates by a factor that goes from `start_factor` to `end_factor` in `total_iters` epochs.
///
/// ```
/// use calor::optim::{LinearLr, Optimizer, Scheduler, Sgd, SgdOptions};
/// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
/// let mut schedule = LinearLr::new(&mut sgd, 0.5, 1.0, 2)?;
/// schedule.step(&mut sgd)?;
/// assert_eq!(sgd.lr(0), 0.75);
/// # Ok::<(), calor::Error>(())
/// ```
pub type LinearLr = Curved<Linear>;

impl LinearLr {
    /// A schedule at its start; PyTorch's defaults are a third, 1 and 5.
    ///
    /// ```
    /// use calor::optim::{LinearLr, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// assert!(LinearLr::new(&mut sgd, 0.0, 1.0, 5).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(optimizer: &mut dyn Optimizer, start_factor: f64, end_factor: f64, total_iters: u64) -> Result<Self> {
        if start_factor.is_nan() || start_factor <= 0.0 || start_factor > 1.0 {
            bail!(Value, Linear::NAME, "the starting factor must be above 0 and at most 1, it is {start_factor}");
        }
        if !(0.0..=1.0).contains(&end_factor) {
            bail!(Value, Linear::NAME, "the ending factor must be between 0 and 1, it is {end_factor}");
        }
        Self::start(optimizer, Linear { start_factor, end_factor, total_iters: count(total_iters) })
    }
}

impl Curve for Linear {
    const NAME: &'static str = "LinearLR";

    fn rate(&self, at: At) -> f64 {
        let change = self.end_factor - self.start_factor;
        if at.epoch == 0 {
            return at.lr * self.start_factor;
        }
        if at.initial || at.epoch > self.total_iters {
            return at.lr;
        }
        let before = self.total_iters as f64 * self.start_factor + (at.epoch - 1) as f64 * change;
        at.lr * (1.0 + change / before)
    }

    fn closed(&self, at: At) -> Option<f64> {
        let change = self.end_factor - self.start_factor;
        let share = self.total_iters.min(at.epoch) as f64 / self.total_iters as f64;
        Some(at.base * (self.start_factor + change * share))
    }
}

/// The formula of [`ExponentialLr`].
///
/// ```
/// use calor::optim::{Curve, curves::Exponential};
/// assert_eq!(Exponential::NAME, "ExponentialLR");
/// ```
#[derive(Clone, Debug)]
pub struct Exponential {
    gamma: f64,
}

/// Multiplies the rates by `gamma` every epoch.
///
/// ```
/// use calor::optim::{ExponentialLr, Optimizer, Scheduler, Sgd, SgdOptions};
/// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
/// let mut schedule = ExponentialLr::new(&mut sgd, 0.5)?;
/// (0..3).try_for_each(|_| schedule.step(&mut sgd))?;
/// assert_eq!(sgd.lr(0), 0.125);
/// # Ok::<(), calor::Error>(())
/// ```
pub type ExponentialLr = Curved<Exponential>;

impl ExponentialLr {
    /// A schedule at its start.
    ///
    /// ```
    /// use calor::optim::{ExponentialLr, Scheduler, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// assert_eq!(ExponentialLr::new(&mut sgd, 0.5)?.last_epoch(), 0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(optimizer: &mut dyn Optimizer, gamma: f64) -> Result<Self> {
        Self::start(optimizer, Exponential { gamma })
    }
}

impl Curve for Exponential {
    const NAME: &'static str = "ExponentialLR";

    fn rate(&self, at: At) -> f64 {
        if at.initial { at.lr } else { at.lr * self.gamma }
    }

    fn closed(&self, at: At) -> Option<f64> {
        Some(at.base * self.gamma.powf(at.epoch as f64))
    }
}

/// The formula of [`PolynomialLr`].
///
/// ```
/// use calor::optim::{Curve, curves::Polynomial};
/// assert_eq!(Polynomial::NAME, "PolynomialLR");
/// ```
#[derive(Clone, Debug)]
pub struct Polynomial {
    total_iters: i64,
    power: f64,
}

/// Multiplies the rates by `(1 - t / total_iters)^power`, which is 0 from then on.
///
/// ```
/// use calor::optim::{Optimizer, PolynomialLr, Scheduler, Sgd, SgdOptions};
/// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
/// let mut schedule = PolynomialLr::new(&mut sgd, 4, 2.0)?;
/// (0..2).try_for_each(|_| schedule.step(&mut sgd))?;
/// assert!((sgd.lr(0) - 0.25).abs() < 1e-12);
/// # Ok::<(), calor::Error>(())
/// ```
pub type PolynomialLr = Curved<Polynomial>;

impl PolynomialLr {
    /// A schedule at its start; PyTorch's defaults are 5 and 1.
    ///
    /// ```
    /// use calor::optim::{Optimizer, PolynomialLr, Scheduler, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// PolynomialLr::new(&mut sgd, 4, 1.0)?.step(&mut sgd)?;
    /// assert_eq!(sgd.lr(0), 0.75);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(optimizer: &mut dyn Optimizer, total_iters: u64, power: f64) -> Result<Self> {
        Self::start(optimizer, Polynomial { total_iters: count(total_iters), power })
    }
}

impl Curve for Polynomial {
    const NAME: &'static str = "PolynomialLR";

    fn rate(&self, at: At) -> f64 {
        if at.initial || at.epoch > self.total_iters {
            return at.lr;
        }
        let (epoch, total) = (at.epoch as f64, self.total_iters as f64);
        at.lr * ((1.0 - epoch / total) / (1.0 - (epoch - 1.0) / total)).powf(self.power)
    }

    fn closed(&self, at: At) -> Option<f64> {
        let share = self.total_iters.min(at.epoch) as f64 / self.total_iters as f64;
        Some(at.base * (1.0 - share).powf(self.power))
    }
}

/// A function of the epoch.
///
/// ```
/// use calor::optim::{LambdaLr, Optimizer, Scheduler, Sgd, SgdOptions, curves::Of};
/// let halved: Of = std::sync::Arc::new(|epoch| 0.5f64.powi(epoch as i32));
/// assert_eq!(halved(2), 0.25);
/// ```
pub type Of = Arc<dyn Fn(i64) -> f64 + Send + Sync>;

/// The formula of [`LambdaLr`], and of [`MultiplicativeLr`] where `CHAINED`.
///
/// ```
/// use calor::optim::{Curve, curves::Factors};
/// assert_eq!((Factors::<false>::NAME, Factors::<true>::NAME), ("LambdaLR", "MultiplicativeLR"));
/// ```
#[derive(Clone)]
pub struct Factors<const CHAINED: bool>(Vec<Of>);

impl<const CHAINED: bool> fmt::Debug for Factors<CHAINED> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Factors({} functions)", self.0.len())
    }
}

/// The first rates times a function of the epoch.
///
/// ```
/// use calor::optim::{LambdaLr, Optimizer, Scheduler, Sgd, SgdOptions};
/// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
/// let mut schedule = LambdaLr::new(&mut sgd, |epoch| 1.0 / (1.0 + epoch as f64))?;
/// (0..3).try_for_each(|_| schedule.step(&mut sgd))?;
/// assert_eq!(sgd.lr(0), 0.25);
/// # Ok::<(), calor::Error>(())
/// ```
pub type LambdaLr = Curved<Factors<false>>;

/// The rates times a function of the epoch at each epoch but that of the scheduler's start.
///
/// ```
/// use calor::optim::{MultiplicativeLr, Optimizer, Scheduler, Sgd, SgdOptions};
/// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
/// let mut schedule = MultiplicativeLr::new(&mut sgd, |_| 0.5)?;
/// (0..2).try_for_each(|_| schedule.step(&mut sgd))?;
/// assert_eq!(sgd.lr(0), 0.25);
/// # Ok::<(), calor::Error>(())
/// ```
pub type MultiplicativeLr = Curved<Factors<true>>;

impl<const CHAINED: bool> Curved<Factors<CHAINED>> {
    /// A schedule at its start, with one function for all groups.
    ///
    /// ```
    /// use calor::optim::{LambdaLr, Optimizer, Scheduler, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let mut schedule = LambdaLr::new(&mut sgd, |epoch| 0.5f64.powi(epoch as i32))?;
    /// schedule.step(&mut sgd)?;
    /// assert_eq!(sgd.lr(0), 0.5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(optimizer: &mut dyn Optimizer, factor: impl Fn(i64) -> f64 + Send + Sync + 'static) -> Result<Self> {
        let all = vec![Arc::new(factor) as Of; optimizer.num_groups()];
        Self::per_group(optimizer, all)
    }

    /// A schedule at its start, with a function for each group.
    ///
    /// ```
    /// use calor::optim::{LambdaLr, Optimizer, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// LambdaLr::per_group(&mut sgd, vec![std::sync::Arc::new(|_| 0.25)])?;
    /// assert_eq!(sgd.lr(0), 0.25);
    /// assert!(LambdaLr::per_group(&mut sgd, vec![]).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn per_group(optimizer: &mut dyn Optimizer, factors: Vec<Of>) -> Result<Self> {
        let groups = optimizer.num_groups();
        if factors.len() != groups {
            let name = Factors::<CHAINED>::NAME;
            bail!(Value, name, "expected {groups} functions, one for each group, got {}", factors.len());
        }
        Self::start(optimizer, Factors(factors))
    }
}

impl<const CHAINED: bool> Curve for Factors<CHAINED> {
    const NAME: &'static str = if CHAINED { "MultiplicativeLR" } else { "LambdaLR" };

    fn rate(&self, at: At) -> f64 {
        let factor = || self.0.get(at.group).map_or(1.0, |f| f(at.epoch));
        match (CHAINED, at.initial) {
            (false, _) => at.base * factor(),
            (true, true) => at.lr,
            (true, false) => at.lr * factor(),
        }
    }
}
