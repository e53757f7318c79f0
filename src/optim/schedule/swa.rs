//! Annealing between two rates, and the rate of stochastic weight averaging.

use super::{At, Curve, Curved, PerGroup};
use crate::error::Result;
use crate::optim::Optimizer;

/// How a rate goes from one value to another.
///
/// ```
/// use calor::optim::{Anneal, Optimizer, Scheduler, Sgd, SgdOptions, SwaLr};
/// let rate = |anneal| -> calor::Result<f64> {
///     let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
///     SwaLr::new(&mut sgd, 0.0, 4, anneal)?.step(&mut sgd)?;
///     Ok(sgd.lr(0))
/// };
/// assert!(rate(Anneal::Linear)? < rate(Anneal::Cos)?);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Anneal {
    /// Along half a cosine.
    Cos,
    /// Straight.
    Linear,
}

impl Anneal {
    /// The value after a share of the way.
    pub(super) fn between(self, from: f64, to: f64, share: f64) -> f64 {
        match self {
            Anneal::Cos => to + (from - to) / 2.0 * (1.0 + (std::f64::consts::PI * share).cos()),
            Anneal::Linear => (to - from) * share + from,
        }
    }

    fn share(self, t: f64) -> f64 {
        match self {
            Anneal::Cos => (1.0 - (std::f64::consts::PI * t).cos()) / 2.0,
            Anneal::Linear => t,
        }
    }
}

/// The formula of [`SwaLr`].
///
/// ```
/// use calor::optim::{Curve, curves::Towards};
/// assert_eq!(Towards::NAME, "SWALR");
/// ```
#[derive(Clone, Debug)]
pub struct Towards {
    swa_lr: Vec<f64>,
    anneal_epochs: u64,
    anneal: Anneal,
}

/// Brings the rates to `swa_lr` in `anneal_epochs` epochs and keeps them there, whatever other schedulers do before.
///
/// Izmailov and others, [Averaging Weights Leads to Wider Optima and Better
/// Generalization](https://arxiv.org/abs/1803.05407).
///
/// ```
/// use calor::optim::{Anneal, Optimizer, Scheduler, Sgd, SgdOptions, SwaLr};
/// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
/// let mut schedule = SwaLr::new(&mut sgd, 0.5, 2, Anneal::Linear)?;
/// schedule.step(&mut sgd)?;
/// assert_eq!(sgd.lr(0), 0.75);
/// (0..5).try_for_each(|_| schedule.step(&mut sgd))?;
/// assert_eq!(sgd.lr(0), 0.5);
/// # Ok::<(), calor::Error>(())
/// ```
pub type SwaLr = Curved<Towards>;

impl SwaLr {
    /// A schedule at its start; PyTorch's defaults are 10 epochs and a cosine.
    ///
    /// ```
    /// use calor::optim::{Anneal, Sgd, SgdOptions, SwaLr};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// // two rates for one group
    /// assert!(SwaLr::new(&mut sgd, [0.5, 0.1], 10, Anneal::Cos).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(
        optimizer: &mut dyn Optimizer,
        swa_lr: impl Into<PerGroup>,
        anneal_epochs: u64,
        anneal: Anneal,
    ) -> Result<Self> {
        let swa_lr = swa_lr.into().spread(Towards::NAME, "swa_lr", optimizer.num_groups())?;
        Self::start(optimizer, Towards { swa_lr, anneal_epochs, anneal })
    }
}

impl Curve for Towards {
    const NAME: &'static str = "SWALR";

    fn rate(&self, at: At) -> f64 {
        let Some(&to) = self.swa_lr.get(at.group) else { return at.lr };
        let step = if self.anneal_epochs == 0 { at.step.max(1) } else { at.step } as f64;
        let share = |step: f64| self.anneal.share((step / self.anneal_epochs.max(1) as f64).clamp(0.0, 1.0));
        let before = share(step - 1.0);
        // where the rate would have started from
        let from = if before == 1.0 { to } else { (at.lr - before * to) / (1.0 - before) };
        let now = share(step);
        to * now + from * (1.0 - now)
    }
}
