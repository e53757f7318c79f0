//! Schedulers of schedulers: one after the other, and all at once.

use super::{Scheduler, SchedulerState, count, counted, initial_rates, need_count, put, rates, take};
use crate::error::{Result, bail};
use crate::optim::Optimizer;

/// A scheduler up to each milestone, and one after the last.
///
/// ```
/// use calor::optim::{ExponentialLr, LinearLr, Optimizer, Scheduler, SequentialLr, Sgd, SgdOptions};
/// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
/// let warm = LinearLr::new(&mut sgd, 0.5, 1.0, 2)?;
/// let fall = ExponentialLr::new(&mut sgd, 0.5)?;
/// let mut schedule = SequentialLr::new(&mut sgd, vec![Box::new(warm), Box::new(fall)], [2])?;
/// let mut rates = vec![sgd.lr(0)];
/// for _ in 0..4 {
///     schedule.step(&mut sgd)?;
///     rates.push(sgd.lr(0));
/// }
/// assert_eq!(rates, [0.5, 0.75, 1.0, 0.5, 0.25]);
/// # Ok::<(), calor::Error>(())
/// ```
pub struct SequentialLr {
    schedulers: Vec<Box<dyn Scheduler>>,
    milestones: Vec<u64>,
    last_epoch: i64,
    last_lr: Vec<f64>,
}

impl SequentialLr {
    /// A schedule at its start, from schedulers that were made for this optimizer and have not stepped.
    ///
    /// ```
    /// use calor::optim::{ExponentialLr, SequentialLr, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let fall = ExponentialLr::new(&mut sgd, 0.5)?;
    /// // one scheduler has no milestones
    /// assert!(SequentialLr::new(&mut sgd, vec![Box::new(fall)], [2]).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(
        optimizer: &mut dyn Optimizer,
        schedulers: Vec<Box<dyn Scheduler>>,
        milestones: impl Into<Vec<u64>>,
    ) -> Result<Self> {
        let (mut schedulers, milestones) = (schedulers, milestones.into());
        if schedulers.len() != milestones.len() + 1 {
            let (n, m) = (schedulers.len(), milestones.len());
            bail!(Value, "SequentialLR", "expected one scheduler more than milestones, got {n} and {m}");
        }
        for (group, lr) in initial_rates(optimizer).into_iter().enumerate() {
            optimizer.set_lr(group, lr);
        }
        schedulers.iter_mut().for_each(|s| s.rewind());
        let passed = milestones.iter().filter(|m| **m == 0).count();
        if let Some(first) = schedulers.get_mut(passed) {
            first.initial_step(optimizer)?;
        }
        Ok(Self { schedulers, milestones, last_epoch: 0, last_lr: rates(optimizer) })
    }
}

impl SequentialLr {
    /// Goes on after an epoch: PyTorch's `last_epoch=epoch`, which counts, and starts the first scheduler all the same.
    ///
    /// ```
    /// use calor::optim::{ConstantLr, Optimizer, Scheduler, SequentialLr, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let parts: [Box<dyn Scheduler>; 2] =
    ///     [Box::new(ConstantLr::new(&mut sgd, 0.5, 9)?), Box::new(ConstantLr::new(&mut sgd, 0.25, 9)?)];
    /// let mut schedule = SequentialLr::new(&mut sgd, parts.into(), [5])?.resumed_at(3)?;
    /// schedule.step(&mut sgd)?;
    /// assert_eq!((sgd.lr(0), schedule.last_epoch()), (0.25, 5));
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` for an epoch beyond what can be counted.
    pub fn resumed_at(mut self, epoch: u64) -> Result<Self> {
        self.last_epoch = counted("SequentialLR", epoch)? + 1;
        Ok(self)
    }
}

impl Scheduler for SequentialLr {
    fn step(&mut self, optimizer: &mut dyn Optimizer) -> Result<()> {
        self.last_epoch += 1;
        let passed = self.milestones.iter().filter(|m| count(**m) <= self.last_epoch).count();
        let starts = passed > 0 && count(self.milestones[passed - 1]) == self.last_epoch;
        match &mut self.schedulers[passed] {
            scheduler if starts => scheduler.step_to(optimizer, 0)?,
            scheduler => scheduler.step(optimizer)?,
        }
        self.last_lr = rates(optimizer);
        Ok(())
    }

    fn step_to(&mut self, optimizer: &mut dyn Optimizer, epoch: u64) -> Result<()> {
        self.last_epoch = counted("SequentialLR", epoch)?;
        let passed = self.milestones.iter().filter(|m| **m <= epoch).count();
        let from = self.milestones.iter().copied().filter(|m| *m <= epoch).max().unwrap_or(0);
        self.schedulers[passed].step_to(optimizer, epoch - from)?;
        self.last_lr = rates(optimizer);
        Ok(())
    }

    fn rewind(&mut self) {
        self.last_epoch -= 1;
        self.schedulers.iter_mut().for_each(|s| s.rewind());
    }

    fn last_epoch(&self) -> i64 {
        self.last_epoch
    }

    fn get_last_lr(&self) -> Vec<f64> {
        self.last_lr.clone()
    }

    fn state_dict(&self) -> SchedulerState {
        let mut out = nested(&self.schedulers, &self.last_lr);
        out.insert("last_epoch".into(), self.last_epoch as f64);
        out
    }

    fn load_state_dict(&mut self, state: &SchedulerState) -> Result<()> {
        let last = need_count(state, "SequentialLR", "last_epoch")?;
        self.last_lr = load_nested(&mut self.schedulers, state, "SequentialLR", &self.last_lr)?;
        self.last_epoch = last;
        Ok(())
    }
}

/// Several schedulers at every epoch, one after the other.
///
/// ```
/// use calor::optim::{ChainedScheduler, ConstantLr, ExponentialLr, Optimizer, Scheduler, Sgd, SgdOptions};
/// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
/// let held = ConstantLr::new(&mut sgd, 0.5, 2)?;
/// let fall = ExponentialLr::new(&mut sgd, 0.5)?;
/// let mut schedule = ChainedScheduler::new(&sgd, vec![Box::new(held), Box::new(fall)])?;
/// (0..2).try_for_each(|_| schedule.step(&mut sgd))?;
/// assert_eq!(sgd.lr(0), 0.25);
/// # Ok::<(), calor::Error>(())
/// ```
pub struct ChainedScheduler {
    schedulers: Vec<Box<dyn Scheduler>>,
    last_lr: Vec<f64>,
}

impl ChainedScheduler {
    /// A schedule at its start, from schedulers that were made for this optimizer.
    ///
    /// ```
    /// use calor::optim::{ChainedScheduler, Sgd, SgdOptions};
    /// assert!(ChainedScheduler::new(&Sgd::new([], SgdOptions::new(1.0))?, vec![]).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(optimizer: &dyn Optimizer, schedulers: Vec<Box<dyn Scheduler>>) -> Result<Self> {
        if schedulers.is_empty() {
            bail!(Value, "ChainedScheduler", "expected at least one scheduler to chain");
        }
        Ok(Self { schedulers, last_lr: rates(optimizer) })
    }
}

impl Scheduler for ChainedScheduler {
    fn step(&mut self, optimizer: &mut dyn Optimizer) -> Result<()> {
        self.schedulers.iter_mut().try_for_each(|s| s.step(optimizer))?;
        self.last_lr = rates(optimizer);
        Ok(())
    }

    fn step_to(&mut self, optimizer: &mut dyn Optimizer, epoch: u64) -> Result<()> {
        self.schedulers.iter_mut().try_for_each(|s| s.step_to(optimizer, epoch))?;
        self.last_lr = rates(optimizer);
        Ok(())
    }

    fn rewind(&mut self) {
        self.schedulers.iter_mut().for_each(|s| s.rewind());
    }

    fn last_epoch(&self) -> i64 {
        self.schedulers.first().map_or(0, |s| s.last_epoch())
    }

    fn get_last_lr(&self) -> Vec<f64> {
        self.last_lr.clone()
    }

    fn state_dict(&self) -> SchedulerState {
        nested(&self.schedulers, &self.last_lr)
    }

    fn load_state_dict(&mut self, state: &SchedulerState) -> Result<()> {
        self.last_lr = load_nested(&mut self.schedulers, state, "ChainedScheduler", &self.last_lr)?;
        Ok(())
    }
}

/// The states of several schedulers in one.
fn nested(schedulers: &[Box<dyn Scheduler>], last_lr: &[f64]) -> SchedulerState {
    let mut out = SchedulerState::new();
    for (i, scheduler) in schedulers.iter().enumerate() {
        out.extend(scheduler.state_dict().into_iter().map(|(name, value)| (format!("_schedulers.{i}.{name}"), value)));
    }
    put(&mut out, "_last_lr", last_lr);
    out
}

fn load_nested(
    schedulers: &mut [Box<dyn Scheduler>],
    state: &SchedulerState,
    rule: &str,
    last_lr: &[f64],
) -> Result<Vec<f64>> {
    for (i, scheduler) in schedulers.iter_mut().enumerate() {
        let prefix = format!("_schedulers.{i}.");
        let own = state.iter().filter_map(|(k, v)| Some((k.strip_prefix(&prefix)?.to_string(), *v))).collect();
        scheduler.load_state_dict(&own)?;
    }
    take(state, rule, "_last_lr", last_lr)
}
