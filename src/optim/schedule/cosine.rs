//! Cosine annealing, once and with warm restarts.

use super::{At, Curve, Curved, MOST, count, counted};
use crate::error::{Result, bail};
use crate::optim::Optimizer;
use std::f64::consts::PI;

/// The formula of [`CosineAnnealingLr`].
///
/// ```
/// use calor::optim::{Curve, curves::HalfCosine};
/// assert_eq!(HalfCosine::NAME, "CosineAnnealingLR");
/// ```
#[derive(Clone, Debug)]
pub struct HalfCosine {
    t_max: i64,
    eta_min: f64,
}

/// Goes from the first rates to `eta_min` along half a cosine in `t_max` epochs, and back in as many.
///
/// `lr = eta_min + (lr_0 - eta_min) (1 + cos(pi t / t_max)) / 2`, from rate to rate.
/// Loshchilov and Hutter, [SGDR: Stochastic Gradient Descent with Warm Restarts](https://arxiv.org/abs/1608.03983).
///
/// ```
/// use calor::optim::{CosineAnnealingLr, Optimizer, Scheduler, Sgd, SgdOptions};
/// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
/// let mut schedule = CosineAnnealingLr::new(&mut sgd, 4, 0.0)?;
/// (0..2).try_for_each(|_| schedule.step(&mut sgd))?;
/// assert!((sgd.lr(0) - 0.5).abs() < 1e-12);
/// # Ok::<(), calor::Error>(())
/// ```
pub type CosineAnnealingLr = Curved<HalfCosine>;

impl CosineAnnealingLr {
    /// A schedule at its start.
    ///
    /// ```
    /// use calor::optim::{CosineAnnealingLr, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// assert!(CosineAnnealingLr::new(&mut sgd, 4, 0.0).is_ok() && CosineAnnealingLr::new(&mut sgd, 0, 0.0).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(optimizer: &mut dyn Optimizer, t_max: u64, eta_min: f64) -> Result<Self> {
        if t_max == 0 {
            bail!(Value, HalfCosine::NAME, "t_max must be above 0");
        }
        Self::start(optimizer, HalfCosine { t_max: count(t_max), eta_min })
    }
}

impl Curve for HalfCosine {
    const NAME: &'static str = "CosineAnnealingLR";

    fn rate(&self, at: At) -> f64 {
        let (epoch, t_max) = (at.epoch as f64, self.t_max as f64);
        if at.initial {
            return at.lr;
        }
        // the quotient below would be one of zeros
        if (at.epoch - 1 - self.t_max).rem_euclid(2 * self.t_max) == 0 {
            return at.lr + (at.base - self.eta_min) * (1.0 - (PI / t_max).cos()) / 2.0;
        }
        (1.0 + (PI * epoch / t_max).cos()) / (1.0 + (PI * (epoch - 1.0) / t_max).cos()) * (at.lr - self.eta_min)
            + self.eta_min
    }

    fn closed(&self, at: At) -> Option<f64> {
        let share = (1.0 + (PI * at.epoch as f64 / self.t_max as f64).cos()) / 2.0;
        Some(self.eta_min + (at.base - self.eta_min) * share)
    }
}

/// The formula of [`CosineAnnealingWarmRestarts`].
///
/// ```
/// use calor::optim::{CosineAnnealingWarmRestarts, Curve, Sgd, SgdOptions};
/// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
/// let restarts = CosineAnnealingWarmRestarts::new(&mut sgd, 2, 2, 0.0)?.curve().clone();
/// assert!(restarts.closed(calor::optim::At { epoch: 1, initial: false, step: 1, group: 0, base: 1.0, lr: 1.0 }).is_none());
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Restarts {
    t_0: u64,
    t_mult: u64,
    eta_min: f64,
    t_cur: f64,
    t_i: f64,
}

/// Half cosines from the first rates to `eta_min`, the first of `t_0` epochs, each next `t_mult` times as long.
///
/// Loshchilov and Hutter, [SGDR: Stochastic Gradient Descent with Warm Restarts](https://arxiv.org/abs/1608.03983).
///
/// ```
/// use calor::optim::{CosineAnnealingWarmRestarts, Optimizer, Scheduler, Sgd, SgdOptions};
/// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
/// let mut schedule = CosineAnnealingWarmRestarts::new(&mut sgd, 2, 2, 0.0)?;
/// schedule.step(&mut sgd)?;
/// assert!((sgd.lr(0) - 0.5).abs() < 1e-12);
/// schedule.step(&mut sgd)?;
/// assert_eq!(sgd.lr(0), 1.0);
/// # Ok::<(), calor::Error>(())
/// ```
pub type CosineAnnealingWarmRestarts = Curved<Restarts>;

impl CosineAnnealingWarmRestarts {
    /// A schedule at its start; PyTorch's defaults are 1 for `t_mult` and 0 for `eta_min`.
    ///
    /// ```
    /// use calor::optim::{CosineAnnealingWarmRestarts, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// assert!(CosineAnnealingWarmRestarts::new(&mut sgd, 0, 1, 0.0).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(optimizer: &mut dyn Optimizer, t_0: u64, t_mult: u64, eta_min: f64) -> Result<Self> {
        if t_0 == 0 || t_mult == 0 {
            bail!(Value, Restarts::NAME, "t_0 and t_mult must be above 0, they are {t_0} and {t_mult}");
        }
        Self::start(optimizer, Restarts { t_0, t_mult, eta_min, t_cur: 0.0, t_i: t_0 as f64 })
    }

    /// Goes to a place inside an epoch and sets the rates: PyTorch's `step(epoch + i / iters)`, after every batch.
    ///
    /// ```
    /// use calor::optim::{CosineAnnealingWarmRestarts, Optimizer, Scheduler, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let mut schedule = CosineAnnealingWarmRestarts::new(&mut sgd, 1, 2, 0.0)?;
    /// schedule.step_at(&mut sgd, 2.0)?;
    /// assert!((sgd.lr(0) - 0.5).abs() < 1e-12);
    /// schedule.step_at(&mut sgd, 2.5)?;
    /// assert!(sgd.lr(0) < 0.15 && schedule.last_epoch() == 2);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` for an epoch below 0, or that is not finite.
    pub fn step_at(&mut self, optimizer: &mut dyn Optimizer, epoch: f64) -> Result<()> {
        if !(0.0..=MOST).contains(&epoch) {
            bail!(Value, Restarts::NAME, "expected an epoch from 0 on, got {epoch}");
        }
        self.curve.place(epoch);
        self.last_epoch = epoch.floor() as i64;
        self.step_count += 1;
        self.set(optimizer, false, false);
        Ok(())
    }
}

impl Restarts {
    /// Finds the period of an epoch.
    fn place(&mut self, epoch: f64) {
        let (mut rest, mut length) = (epoch, self.t_0 as f64);
        if self.t_mult == 1 {
            rest %= length;
        } else {
            while rest >= length {
                rest -= length;
                length *= self.t_mult as f64;
            }
        }
        (self.t_cur, self.t_i) = (rest, length);
    }
}

impl Curve for Restarts {
    const NAME: &'static str = "CosineAnnealingWarmRestarts";

    fn rate(&self, at: At) -> f64 {
        self.eta_min + (at.base - self.eta_min) * (1.0 + (PI * self.t_cur / self.t_i).cos()) / 2.0
    }

    fn resume(&mut self, last: i64) {
        (self.t_cur, self.t_i) = (last as f64, self.t_0 as f64);
    }

    fn next(&mut self, last: i64, to: Option<u64>) -> Result<i64> {
        let to = if last < 0 { Some(to.unwrap_or(0)) } else { to };
        let Some(epoch) = to else {
            self.t_cur += 1.0;
            if self.t_cur >= self.t_i {
                self.t_cur %= self.t_i;
                self.t_i *= self.t_mult as f64;
            }
            return Ok(last + 1);
        };
        let next = counted(Self::NAME, epoch)?;
        self.place(epoch as f64);
        Ok(next)
    }

    fn counts(&mut self) -> Vec<(&'static str, &mut f64)> {
        vec![("T_cur", &mut self.t_cur), ("T_i", &mut self.t_i)]
    }
}
