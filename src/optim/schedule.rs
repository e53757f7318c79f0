//! Learning rate schedules, which act on an optimizer's groups.

use super::Optimizer;

/// A schedule: `step` once an epoch (or once a batch) after the optimizer's step.
pub trait Schedule {
    /// Goes on by one and sets the optimizer's learning rates.
    fn step(&mut self, optimizer: &mut dyn Optimizer);

    /// Steps so far: all that a checkpoint must keep, since the optimizer's state holds the rates.
    fn count(&self) -> u64;

    /// Goes on as after `count` steps, without touching rates: for a schedule made anew as before, beside a loaded
    /// optimizer.
    fn set_count(&mut self, count: u64);
}

macro_rules! counts {
    () => {
        fn count(&self) -> u64 {
            self.count
        }

        fn set_count(&mut self, count: u64) {
            self.count = count;
        }
    };
}

/// The learning rates that an optimizer's groups started with.
fn rates(optimizer: &dyn Optimizer) -> Vec<f64> {
    (0..optimizer.num_groups()).map(|g| optimizer.lr(g)).collect()
}

/// Multiplies the rates by `gamma` every `step_size` steps.
///
/// ```
/// use calor::optim::{Optimizer, Schedule, Sgd, SgdOptions, StepLr};
/// let mut sgd = Sgd::new([], SgdOptions::new(0.5))?;
/// let mut schedule = StepLr::new(2, 0.5);
/// (0..3).for_each(|_| schedule.step(&mut sgd));
/// assert_eq!(sgd.lr(0), 0.25);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StepLr {
    step_size: u64,
    gamma: f64,
    count: u64,
}

impl StepLr {
    /// A schedule at its start.
    pub fn new(step_size: u64, gamma: f64) -> Self {
        Self { step_size: step_size.max(1), gamma, count: 0 }
    }
}

impl Schedule for StepLr {
    fn step(&mut self, optimizer: &mut dyn Optimizer) {
        self.count += 1;
        if self.count.is_multiple_of(self.step_size) {
            for (group, rate) in rates(optimizer).into_iter().enumerate() {
                optimizer.set_lr(group, rate * self.gamma);
            }
        }
    }

    counts!();
}

/// Goes from the first rates to `eta_min` along half a cosine in `t_max` steps.
///
/// `lr = eta_min + (lr_0 - eta_min) (1 + cos(pi t / t_max)) / 2`
#[derive(Clone, Debug)]
pub struct CosineAnnealingLr {
    base: Vec<f64>,
    t_max: u64,
    eta_min: f64,
    count: u64,
}

impl CosineAnnealingLr {
    /// A schedule that starts from an optimizer's present rates.
    pub fn new(optimizer: &dyn Optimizer, t_max: u64, eta_min: f64) -> Self {
        Self { base: rates(optimizer), t_max: t_max.max(1), eta_min, count: 0 }
    }
}

impl Schedule for CosineAnnealingLr {
    fn step(&mut self, optimizer: &mut dyn Optimizer) {
        self.count += 1;
        let share = (1.0 + (std::f64::consts::PI * self.count as f64 / self.t_max as f64).cos()) / 2.0;
        for (group, &base) in self.base.iter().enumerate() {
            optimizer.set_lr(group, self.eta_min + (base - self.eta_min) * share);
        }
    }

    counts!();
}
