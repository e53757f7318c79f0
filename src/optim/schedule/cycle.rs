//! Schedules that go up and down, of rates and momenta.

use super::swa::Anneal;
use super::{At, Curve, Curved, PerGroup, choices, count, counted, momentum_name};
use crate::error::{Result, bail};
use crate::optim::Optimizer;

choices! {
    /// Settings of [`OneCycleLr`], PyTorch's names and defaults.
    ///
    /// ```
    /// let options = calor::optim::OneCycleOptions::new(0.1, 100u64).three_phase(true);
    /// assert_eq!((options.total_steps, options.pct_start, options.three_phase), (100, 0.3, true));
    /// ```
    OneCycleOptions (
        /// The largest rate.
        max_lr: PerGroup,
        /// How many steps there are: epochs times steps of an epoch.
        total_steps: u64
    ) "OneCycleOptions::new(0.1, 100u64)" "assert_eq!((options.total_steps, options.div_factor), (100, 25.0));" {
        /// Which share of the steps goes up.
        pct_start: f64 = 0.3 => 0.5,
        /// How rates go from one to the next.
        anneal_strategy: Anneal = Anneal::Cos => Anneal::Linear,
        /// Whether the momentum goes against the rate.
        cycle_momentum: bool = true => false,
        /// The momentum where the rate is largest.
        base_momentum: PerGroup = 0.85 => 0.5,
        /// The momentum where the rate is smallest.
        max_momentum: PerGroup = 0.95 => 0.99,
        /// What the largest rate is divided by for the first one.
        div_factor: f64 = 25.0 => 10.0,
        /// What the first rate is divided by for the last one.
        final_div_factor: f64 = 1e4 => 100.0,
        /// Goes down to the first rate as fast as it went up, and to the last one then.
        three_phase: bool = false => true,
    }
}

/// A group's ends of a cycle.
#[derive(Clone, Copy, Debug)]
struct Ends {
    low: f64,
    high: f64,
    last: f64,
    /// Where the rate is high, and where it is low.
    momenta: (f64, f64),
}

/// The formula of [`OneCycleLr`].
///
/// ```
/// use calor::optim::{Curve, curves::OneCycle};
/// assert_eq!(OneCycle::NAME, "OneCycleLR");
/// ```
#[derive(Clone, Debug)]
pub struct OneCycle {
    ends: Vec<Ends>,
    total_steps: u64,
    pct_start: f64,
    anneal: Anneal,
    cycle_momentum: bool,
    three_phase: bool,
}

/// Goes from a small rate to the largest and down to a tiny one, the momentum the other way. It is stepped every batch.
///
/// Smith and Topin, [Super-Convergence: Very Fast Training of Neural Networks Using Large Learning
/// Rates](https://arxiv.org/abs/1708.07120).
///
/// ```
/// use calor::optim::{OneCycleLr, OneCycleOptions, Optimizer, Scheduler, Sgd, SgdOptions};
/// let mut sgd = Sgd::new([], SgdOptions::new(0.1).momentum(0.9))?;
/// let mut schedule = OneCycleLr::new(&mut sgd, OneCycleOptions::new(1.0, 11u64).pct_start(0.5))?;
/// assert!((sgd.lr(0) - 0.04).abs() < 1e-12 && sgd.setting(0, "momentum") == Some(0.95));
/// (0..10).try_for_each(|_| schedule.step(&mut sgd))?;
/// assert!(sgd.lr(0) < 1e-5);
/// # Ok::<(), calor::Error>(())
/// ```
pub type OneCycleLr = Curved<OneCycle>;

impl OneCycleLr {
    /// A schedule at its start; the optimizer's rates are forgotten.
    ///
    /// ```
    /// use calor::optim::{OneCycleLr, OneCycleOptions, Optimizer, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(9.0).momentum(0.9))?;
    /// OneCycleLr::new(&mut sgd, OneCycleOptions::new(1.0, 10u64).div_factor(4.0))?;
    /// assert_eq!(sgd.lr(0), 0.25);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(optimizer: &mut dyn Optimizer, options: OneCycleOptions) -> Result<Self> {
        let (name, o, groups) = (OneCycle::NAME, options, optimizer.num_groups());
        if o.total_steps == 0 || !(0.0..=1.0).contains(&o.pct_start) {
            bail!(Value, name, "invalid total_steps or pct_start: {}, {}", o.total_steps, o.pct_start);
        }
        let high = o.max_lr.spread(name, "max_lr", groups)?;
        let less = o.base_momentum.spread(name, "base_momentum", groups)?;
        let more = o.max_momentum.spread(name, "max_momentum", groups)?;
        let ends = high.iter().zip(less.into_iter().zip(more)).map(|(&high, momenta)| {
            let low = high / o.div_factor;
            Ends { low, high, last: low / o.final_div_factor, momenta }
        });
        let curve = OneCycle {
            ends: ends.collect(),
            total_steps: o.total_steps,
            pct_start: o.pct_start,
            anneal: o.anneal_strategy,
            cycle_momentum: o.cycle_momentum,
            three_phase: o.three_phase,
        };
        has_momentum(optimizer, name, curve.cycle_momentum)?;
        Self::start(optimizer, curve)
    }
}

fn has_momentum(optimizer: &dyn Optimizer, name: &str, wanted: bool) -> Result<()> {
    if wanted && optimizer.num_groups() > 0 && momentum_name(optimizer).is_none() {
        bail!(Value, name, "the optimizer has no momentum or beta1 for cycle_momentum");
    }
    Ok(())
}

impl OneCycle {
    /// Between values that belong to the first, largest and last rate.
    fn value(&self, epoch: i64, first: f64, top: f64, last: f64, back: f64) -> f64 {
        let (total, share) = (self.total_steps as f64, self.pct_start);
        let up = (share * total - 1.0, first, top);
        let phases = if self.three_phase {
            vec![up, (2.0 * share * total - 2.0, top, back), (total - 1.0, back, last)]
        } else {
            vec![up, (total - 1.0, top, last)]
        };
        let (step, mut start) = (epoch as f64, 0.0);
        let mut out = last;
        for (i, (end, from, to)) in phases.iter().enumerate() {
            if step <= *end || i + 1 == phases.len() {
                let pct = if *end == start { 1.0 } else { (step - start) / (end - start) };
                out = self.anneal.between(*from, *to, pct);
                break;
            }
            start = *end;
        }
        out
    }
}

impl Curve for OneCycle {
    const NAME: &'static str = "OneCycleLR";

    fn begin(&self, optimizer: &mut dyn Optimizer) {
        for (group, ends) in self.ends.iter().enumerate() {
            optimizer.set_setting(group, "initial_lr", ends.low);
        }
    }

    fn rate(&self, at: At) -> f64 {
        match self.ends.get(at.group) {
            Some(e) => self.value(at.epoch, e.low, e.high, e.last, e.low),
            None => at.lr,
        }
    }

    fn momentum(&self, at: At) -> Option<f64> {
        let (less, more) = self.ends.get(at.group).filter(|_| self.cycle_momentum)?.momenta;
        Some(self.value(at.epoch, more, less, more, more))
    }

    fn next(&mut self, last: i64, to: Option<u64>) -> Result<i64> {
        let epoch = to.map_or(Ok(last + 1), |epoch| counted(Self::NAME, epoch))?;
        if epoch > count(self.total_steps) {
            bail!(Value, Self::NAME, "tried to step {epoch} times, the total number of steps is {}", self.total_steps);
        }
        Ok(epoch)
    }
}

/// How the cycles of [`CyclicLr`] differ.
///
/// ```
/// use calor::optim::{CyclicLr, CyclicMode, CyclicOptions, Optimizer, Scheduler, Sgd, SgdOptions};
/// let mut sgd = Sgd::new([], SgdOptions::new(1.0).momentum(0.9))?;
/// let options = CyclicOptions::new(0.0, 1.0).step_size_up(1.0).mode(CyclicMode::Triangular2);
/// let mut schedule = CyclicLr::new(&mut sgd, options)?;
/// (0..3).try_for_each(|_| schedule.step(&mut sgd))?;
/// // the second peak is half as high
/// assert_eq!(sgd.lr(0), 0.5);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub enum CyclicMode {
    /// Not at all.
    Triangular,
    /// Each is half as high as the one before.
    Triangular2,
    /// The height falls by a factor every step.
    ExpRange,
    /// The height is multiplied by a function of the cycle's number, from 1.
    OfCycle(fn(f64) -> f64),
    /// The height is multiplied by a function of the step's number, from 0.
    OfStep(fn(f64) -> f64),
}

choices! {
    /// Settings of [`CyclicLr`], PyTorch's names and defaults.
    ///
    /// ```
    /// let options = calor::optim::CyclicOptions::new(0.1, 0.5).step_size_up(100.0);
    /// assert_eq!((options.step_size_up, options.step_size_down), (100.0, None));
    /// ```
    CyclicOptions (
        /// The smallest rate.
        base_lr: PerGroup,
        /// The largest rate.
        max_lr: PerGroup
    ) "CyclicOptions::new(0.1, 0.5)" "assert_eq!((options.step_size_up, options.gamma), (2000.0, 1.0));" {
        /// How many steps go up.
        step_size_up: f64 = 2000.0 => 10.0,
        /// How many go down; none is as many.
        step_size_down: Option<f64> = None => 5.0,
        /// How cycles differ.
        ///
        /// ```
        /// use calor::optim::{CyclicMode, CyclicOptions};
        /// let options = CyclicOptions::new(0.1, 0.5).mode(CyclicMode::ExpRange);
        /// assert!(matches!(options.mode, CyclicMode::ExpRange));
        /// ```
        mode: CyclicMode = CyclicMode::Triangular,
        /// The factor of [`CyclicMode::ExpRange`].
        gamma: f64 = 1.0 => 0.5,
        /// Whether the momentum goes against the rate.
        cycle_momentum: bool = true => false,
        /// The momentum where the rate is largest.
        base_momentum: PerGroup = 0.8 => 0.5,
        /// The momentum where the rate is smallest.
        max_momentum: PerGroup = 0.9 => 0.99,
    }
}

/// The formula of [`CyclicLr`].
///
/// ```
/// use calor::optim::{Curve, curves::Cycle};
/// assert_eq!(Cycle::NAME, "CyclicLR");
/// ```
#[derive(Clone, Debug)]
pub struct Cycle {
    base: Vec<f64>,
    max: Vec<f64>,
    momenta: Vec<(f64, f64)>,
    total_size: f64,
    step_ratio: f64,
    mode: CyclicMode,
    gamma: f64,
    cycle_momentum: bool,
}

/// Goes up and down between two rates, the momentum the other way. It is stepped every batch.
///
/// Smith, [Cyclical Learning Rates for Training Neural Networks](https://arxiv.org/abs/1506.01186).
///
/// ```
/// use calor::optim::{CyclicLr, CyclicOptions, Optimizer, Scheduler, Sgd, SgdOptions};
/// let mut sgd = Sgd::new([], SgdOptions::new(1.0).momentum(0.9))?;
/// let mut schedule = CyclicLr::new(&mut sgd, CyclicOptions::new(0.25, 0.75).step_size_up(2.0))?;
/// schedule.step(&mut sgd)?;
/// assert!((sgd.lr(0) - 0.5).abs() < 1e-12 && (sgd.setting(0, "momentum").unwrap() - 0.85).abs() < 1e-12);
/// # Ok::<(), calor::Error>(())
/// ```
pub type CyclicLr = Curved<Cycle>;

impl CyclicLr {
    /// A schedule at its start; the optimizer's rates are forgotten.
    ///
    /// ```
    /// use calor::optim::{CyclicLr, CyclicOptions, Optimizer, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(9.0).momentum(0.9))?;
    /// CyclicLr::new(&mut sgd, CyclicOptions::new(0.125, 0.5))?;
    /// assert_eq!(sgd.lr(0), 0.125);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(optimizer: &mut dyn Optimizer, options: CyclicOptions) -> Result<Self> {
        let (name, o, groups) = (Cycle::NAME, options, optimizer.num_groups());
        let down = o.step_size_down.unwrap_or(o.step_size_up);
        if !(o.step_size_up > 0.0 && down > 0.0) {
            bail!(Value, name, "a cycle must go up and down by steps, not {} and {down}", o.step_size_up);
        }
        let base = o.base_lr.spread(name, "base_lr", groups)?;
        let less = o.base_momentum.spread(name, "base_momentum", groups)?;
        let more = o.max_momentum.spread(name, "max_momentum", groups)?;
        let total_size = o.step_size_up + down;
        let curve = Cycle {
            base,
            max: o.max_lr.spread(name, "max_lr", groups)?,
            momenta: less.into_iter().zip(more).collect(),
            total_size,
            step_ratio: o.step_size_up / total_size,
            mode: o.mode,
            gamma: o.gamma,
            cycle_momentum: o.cycle_momentum,
        };
        has_momentum(optimizer, name, curve.cycle_momentum)?;
        Self::start(optimizer, curve)
    }
}

impl Cycle {
    /// How far up it is, and what the cycle's height is multiplied by.
    fn place(&self, epoch: i64) -> (f64, f64) {
        let step = epoch as f64;
        let cycle = (1.0 + step / self.total_size).floor();
        let x = 1.0 + step / self.total_size - cycle;
        let up = if x <= self.step_ratio { x / self.step_ratio } else { (x - 1.0) / (self.step_ratio - 1.0) };
        let height = match self.mode {
            CyclicMode::Triangular => 1.0,
            CyclicMode::Triangular2 => 1.0 / 2f64.powf(cycle - 1.0),
            CyclicMode::ExpRange => self.gamma.powf(step),
            CyclicMode::OfCycle(f) => f(cycle),
            CyclicMode::OfStep(f) => f(step),
        };
        (up, height)
    }
}

impl Curve for Cycle {
    const NAME: &'static str = "CyclicLR";

    fn begin(&self, optimizer: &mut dyn Optimizer) {
        self.base.iter().enumerate().for_each(|(group, base)| optimizer.set_lr(group, *base));
    }

    fn base_lrs(&self) -> Option<&[f64]> {
        Some(&self.base)
    }

    fn rate(&self, at: At) -> f64 {
        let (up, height) = self.place(at.epoch);
        self.max.get(at.group).map_or(at.lr, |max| at.base + (max - at.base) * up * height)
    }

    fn momentum(&self, at: At) -> Option<f64> {
        let (less, more) = *self.momenta.get(at.group).filter(|_| self.cycle_momentum)?;
        let (up, height) = self.place(at.epoch);
        Some(more - (more - less) * up * height)
    }
}
