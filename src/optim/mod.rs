//! Optimizers and learning rate schedules.
//!
//! An optimizer is a [`Rule`]: settings, and how one parameter is updated from its gradient and state. Everything else
//! (groups, stepping, saving) is [`Optim`], the same for all.
//!
//! ```
//! use calor::optim::{Optimizer, Sgd, SgdOptions, StepLr, Scheduler};
//! use calor::{Tensor, nn::Parameter};
//! let w = Parameter::new(&Tensor::new([1.0f32], ())?)?;
//! let mut sgd = Sgd::new([w.clone()], SgdOptions::new(0.25))?;
//! let mut schedule = StepLr::new(&mut sgd, 1, 0.5)?;
//! for _ in 0..2 {
//!     sgd.zero_grad();
//!     w.tensor().square()?.sum()?.backward()?;
//!     sgd.step()?;
//!     schedule.step(&mut sgd)?;
//! }
//! // 1 - 0.25 * 2, then 0.5 - 0.125 * 1
//! assert_eq!((w.tensor().item()?, sgd.lr(0)), (0.375, 0.0625));
//! # Ok::<(), calor::Error>(())
//! ```

mod adafactor;
mod adagrad;
mod adam;
mod adamax;
mod asgd;
mod average;
mod flat;
mod formula;
mod lbfgs;
mod lion;
mod muon;
mod nadam;
mod radam;
mod rmsprop;
mod rprop;
mod rule;
mod scaler;
mod schedule;
mod sgd;
mod state;
mod wolfe;

pub use adafactor::{Adafactor, AdafactorOptions};
pub use adagrad::{Adadelta, AdadeltaOptions, Adagrad, AdagradOptions};
pub use adam::{Adam, AdamOptions, AdamW, AdamWOptions};
pub use adamax::{Adamax, AdamaxOptions};
pub use asgd::{Asgd, AsgdOptions};
pub use average::{
    AveragedModel, AvgFn, get_ema_avg_fn, get_ema_multi_avg_fn, get_swa_avg_fn, get_swa_multi_avg_fn, update_bn,
};
pub use formula::{Formula, Number, Term, formula};
pub use lbfgs::{Lbfgs, LbfgsOptions};
pub use lion::{Lion, LionOptions};
pub use muon::{AdjustLr, Muon, MuonOptions};
pub use nadam::{NAdam, NAdamOptions};
pub use radam::{RAdam, RAdamOptions};
pub use rmsprop::{RmsProp, RmsPropOptions};
pub use rprop::{Rprop, RpropOptions};
pub use rule::{Keep, Rule, State};
pub use scaler::{GradScaler, GradScalerOptions};
pub use schedule::{
    Anneal, At, ChainedScheduler, ConstantLr, CosineAnnealingLr, CosineAnnealingWarmRestarts, Curve, Curved, CyclicLr,
    CyclicMode, CyclicOptions, ExponentialLr, LambdaLr, LinearLr, Mode, MultiStepLr, MultiplicativeLr, OneCycleLr,
    OneCycleOptions, PerGroup, PlateauOptions, PolynomialLr, ReduceLrOnPlateau, Scheduler, SchedulerState,
    SequentialLr, StepLr, SwaLr, Threshold, curves,
};
pub use sgd::{Sgd, SgdOptions};
pub use state::{GroupState, Kept, OptimState};

use crate::error::{Result, bail};
use crate::nn::Parameter;
use crate::tensor::{Device, Tensor};
use std::collections::BTreeMap;

/// What every optimizer does.
///
/// ```
/// use calor::optim::{AdamW, AdamWOptions, Optimizer};
/// use calor::{Tensor, nn::Parameter};
/// let w = Parameter::new(&Tensor::new([4.0f32], ())?)?;
/// let mut adam = AdamW::new([w.clone()], AdamWOptions::new(0.5).weight_decay(0.0))?;
/// for _ in 0..2 {
///     adam.zero_grad();
///     w.tensor().square()?.sum()?.backward()?;
///     adam.step()?;
/// }
/// assert!((w.tensor().item()? - 3.0).abs() < 0.01);
/// # Ok::<(), calor::Error>(())
/// ```
pub trait Optimizer {
    /// Updates all parameters that have a gradient, and submits the work without waiting for it.
    ///
    /// Parameters of a group, and what is kept for them, lie in one buffer from then on where their dtype and count of
    /// steps are the same: one kernel updates them all. Whoever keeps one of them keeps that buffer; a clone does not.
    ///
    /// ```
    /// # use calor::{Tensor, nn::Parameter, optim::{Optimizer, Sgd, SgdOptions}};
    /// # let w = Parameter::new(&Tensor::new([1.0f32], ())?)?;
    /// let mut sgd = Sgd::new([w.clone()], SgdOptions::new(0.5))?;
    /// (w.tensor() * 4.0)?.sum()?.backward()?;
    /// sgd.step()?;
    /// assert_eq!(w.tensor().item()?, -1.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn step(&mut self) -> Result<()>;

    /// [`Optimizer::step`], which changes no value where the device finds that `skip`, a truth value, holds; the host
    /// does not wait to know. A step that was skipped does not count, so that the count is on the device from then on.
    ///
    /// ```
    /// # use calor::{Tensor, nn::Parameter, optim::{Optimizer, Sgd, SgdOptions}};
    /// # let w = Parameter::new(&Tensor::new([1.0f32], ())?)?;
    /// let mut sgd = Sgd::new([w.clone()], SgdOptions::new(0.5))?;
    /// (w.tensor() * f64::INFINITY)?.sum()?.backward()?;
    /// sgd.step_unless(&w.grad().unwrap().isinf()?.any()?)?;
    /// assert_eq!(w.tensor().item()?, 1.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Unsupported` for optimizers whose steps the host decides.
    fn step_unless(&mut self, skip: &Tensor) -> Result<()>;

    /// All parameters, group by group.
    ///
    /// ```
    /// # use calor::{Tensor, nn::Parameter, optim::{Optimizer, Sgd, SgdOptions}};
    /// # let w = Parameter::new(&Tensor::new([1.0f32], ())?)?;
    /// let sgd = Sgd::new([w.clone()], SgdOptions::new(0.5))?;
    /// assert!(sgd.parameters().len() == 1 && sgd.parameters()[0].same(&w));
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn parameters(&self) -> Vec<Parameter>;

    /// Forgets the gradients of all parameters.
    ///
    /// ```
    /// # use calor::{Tensor, nn::Parameter, optim::{Optimizer, Sgd, SgdOptions}};
    /// # let w = Parameter::new(&Tensor::new([1.0f32], ())?)?;
    /// let mut sgd = Sgd::new([w.clone()], SgdOptions::new(0.5))?;
    /// w.tensor().sum()?.backward()?;
    /// sgd.zero_grad();
    /// assert!(w.grad().is_none());
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn zero_grad(&mut self);

    /// Number of parameter groups.
    ///
    /// ```
    /// # use calor::optim::{Optimizer, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(0.5))?;
    /// sgd.add_param_group([], SgdOptions::new(0.1))?;
    /// assert_eq!(sgd.num_groups(), 2);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn num_groups(&self) -> usize;

    /// The learning rate of a group.
    ///
    /// ```
    /// # use calor::optim::{Optimizer, Sgd, SgdOptions};
    /// assert_eq!(Sgd::new([], SgdOptions::new(0.5))?.lr(0), 0.5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn lr(&self, group: usize) -> f64;

    /// Changes the learning rate of a group.
    ///
    /// ```
    /// # use calor::optim::{Optimizer, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(0.5))?;
    /// sgd.set_lr(0, 0.25);
    /// assert_eq!(sgd.lr(0), 0.25);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn set_lr(&mut self, group: usize, lr: f64);

    /// A setting of a group by PyTorch's name, truth values as 0 and 1; `initial_lr` is what a scheduler started from.
    ///
    /// ```
    /// # use calor::optim::{Optimizer, Sgd, SgdOptions};
    /// let sgd = Sgd::new([], SgdOptions::new(0.5).momentum(0.9).nesterov(true))?;
    /// assert_eq!((sgd.setting(0, "momentum"), sgd.setting(0, "nesterov")), (Some(0.9), Some(1.0)));
    /// assert_eq!(sgd.setting(0, "beta1"), None);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn setting(&self, group: usize, name: &str) -> Option<f64>;

    /// Changes a setting of a group; false if there is none of that name.
    ///
    /// ```
    /// # use calor::optim::{Optimizer, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(0.5))?;
    /// assert!(sgd.set_setting(0, "momentum", 0.9) && !sgd.set_setting(0, "beta1", 0.9));
    /// assert_eq!(sgd.options(0).unwrap().momentum, 0.9);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn set_setting(&mut self, group: usize, name: &str, value: f64) -> bool;

    /// Settings and state, sharing storage with the optimizer.
    ///
    /// ```
    /// # use calor::{Tensor, nn::Parameter, optim::{AdamW, AdamWOptions, Kept, Optimizer}};
    /// # let w = Parameter::new(&Tensor::new([1.0f32], ())?)?;
    /// let mut adam = AdamW::new([w.clone()], AdamWOptions::new(0.5))?;
    /// w.tensor().sum()?.backward()?;
    /// adam.step()?;
    /// let state = adam.state_dict();
    /// assert!(matches!(state.state[&0]["step"], Kept::Number(1.0)));
    /// assert_eq!(state.param_groups[0].settings["lr"], 0.5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn state_dict(&self) -> OptimState;

    /// Takes settings and state over, converted to each parameter's dtype and device.
    ///
    /// ```
    /// # use calor::{Tensor, nn::Parameter, optim::{Optimizer, Sgd, SgdOptions}};
    /// # let w = Parameter::new(&Tensor::new([1.0f32], ())?)?;
    /// let saved = Sgd::new([w.clone()], SgdOptions::new(0.5).momentum(0.9))?.state_dict();
    /// let mut sgd = Sgd::new([w], SgdOptions::new(0.1))?;
    /// sgd.load_state_dict(&saved)?;
    /// assert_eq!((sgd.lr(0), sgd.setting(0, "momentum")), (0.5, Some(0.9)));
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn load_state_dict(&mut self, state: &OptimState) -> Result<()>;
}

struct Group<R> {
    parameters: Vec<Parameter>,
    states: Vec<State>,
    rule: R,
    initial_lr: Option<f64>,
    /// Which parameters lie in the buffers of the last step's packs.
    packed: Vec<Vec<usize>>,
}

impl<R: Rule> Group<R> {
    /// All parameters that learn, as if each were its own gradient.
    fn learning(&self) -> Vec<flat::Due> {
        let tensors = self.parameters.iter().map(Parameter::tensor).enumerate();
        let learning = tensors.filter(|(_, t)| t.requires_grad());
        learning.map(|(index, tensor)| flat::Due { index, gradient: tensor.clone(), tensor }).collect()
    }

    /// Lays parameters side by side, and what is kept for them: the first step then finds them as the others do, and
    /// takes no more memory.
    fn lay(&mut self, due: Vec<flat::Due>) -> Result<()> {
        let packs = flat::packs::<R>(due, &self.states);
        flat::lay(&packs, &self.states)?;
        self.packed = packed(&packs);
        Ok(())
    }

    /// Updates parameters that have a gradient, packs of them at once.
    fn step(&mut self, due: Vec<flat::Due>, skip: Option<&Tensor>) -> Result<()> {
        // parameters that have taken the same steps share their numbers, and go on to share them
        let mut seen: Vec<(flat::Key, State, State)> = Vec::new();
        for one in &due {
            let state = &mut self.states[one.index];
            let key = state.key();
            let at = match seen.iter().position(|s| s.0 == key) {
                Some(at) => at,
                None => {
                    let mut before = State { tensors: BTreeMap::new(), ..state.clone() };
                    if let Some(skip) = skip {
                        // the same kernels, and so the same bits, whether they were on the host or not
                        before.lift(skip.device())?;
                    }
                    let now = State { step: flat::counted(&before)?, ..before.clone() };
                    seen.push((key, before, now));
                    seen.len() - 1
                }
            };
            (state.step, state.numbers) = (seen[at].2.step.clone(), seen[at].2.numbers.clone());
        }
        let packs = flat::packs::<R>(due, &self.states);
        packs.iter().try_for_each(|pack| flat::update(&self.rule, pack, &self.states, skip))?;
        let advanced: Vec<(flat::Key, State)> = seen
            .iter()
            .map(|(_, before, now)| Ok((now.key(), flat::advanced(&self.rule, before, now, skip)?)))
            .collect::<Result<_>>()?;
        for one in packs.iter().flatten() {
            let state = &mut self.states[one.index];
            let key = state.key();
            if let Some((_, after)) = advanced.iter().find(|a| a.0 == key) {
                (state.step, state.numbers) = (after.step.clone(), after.numbers.clone());
            }
        }
        let before = std::mem::replace(&mut self.packed, packed(&packs));
        if before != self.packed {
            // who stays behind must not keep the buffer of those that went on
            let updated: Vec<usize> = packs.iter().flatten().map(|d| d.index).collect();
            for index in before.into_iter().flatten().filter(|i| !updated.contains(i)) {
                self.parameters[index].tensor().settle()?;
                self.states[index].tensors.values().try_for_each(Tensor::settle)?;
            }
        }
        Ok(())
    }
}

/// The parameters of packs of several.
fn packed(packs: &[Vec<flat::Due>]) -> Vec<Vec<usize>> {
    packs.iter().filter(|p| p.len() > 1).map(|p| p.iter().map(|d| d.index).collect()).collect()
}

/// An optimizer by a [`Rule`]: groups of parameters, each with settings of its own.
///
/// ```
/// use calor::optim::{Optim, Optimizer, SgdOptions};
/// // `Sgd` is this type
/// let sgd: Optim<SgdOptions> = Optim::new([], SgdOptions::new(0.5))?;
/// assert_eq!(sgd.lr(0), 0.5);
/// # Ok::<(), calor::Error>(())
/// ```
pub struct Optim<R: Rule> {
    groups: Vec<Group<R>>,
}

impl<R: Rule> Optim<R> {
    /// An optimizer of one group.
    ///
    /// ```
    /// use calor::optim::{Optimizer, Sgd, SgdOptions};
    /// use calor::{Tensor, nn::Parameter};
    /// let w = Parameter::new(&Tensor::ones([1], ())?)?;
    /// assert_eq!(Sgd::new([w.clone()], SgdOptions::new(0.5))?.num_groups(), 1);
    /// assert!(Sgd::new([w.clone(), w], SgdOptions::new(0.5)).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(parameters: impl IntoIterator<Item = Parameter>, options: R) -> Result<Self> {
        let mut out = Self { groups: Vec::new() };
        out.add_param_group(parameters, options)?;
        Ok(out)
    }

    /// Adds a group with settings of its own; refused where a parameter is in a group already.
    ///
    /// ```
    /// use calor::optim::{Optimizer, Sgd, SgdOptions};
    /// use calor::{Tensor, nn::Parameter};
    /// let [a, b] = [Parameter::new(&Tensor::ones([1], ())?)?, Parameter::new(&Tensor::ones([1], ())?)?];
    /// let mut sgd = Sgd::new([a], SgdOptions::new(0.1))?;
    /// sgd.add_param_group([b.clone()], SgdOptions::new(0.5))?;
    /// assert_eq!((sgd.lr(0), sgd.lr(1)), (0.1, 0.5));
    /// assert!(sgd.add_param_group([b], SgdOptions::new(0.5)).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn add_param_group(&mut self, parameters: impl IntoIterator<Item = Parameter>, options: R) -> Result<()> {
        options.check()?;
        let parameters: Vec<Parameter> = parameters.into_iter().collect();
        for (i, p) in parameters.iter().enumerate() {
            let known = self.groups.iter().flat_map(|g| &g.parameters).chain(&parameters[..i]);
            if known.into_iter().any(|q| q.same(p)) {
                bail!(Value, R::NAME, "some parameters appear in more than one parameter group");
            }
        }
        // initial values are computed by themselves, not inside the first step's kernels
        let tensors: Vec<Tensor> = parameters.iter().map(Parameter::tensor).collect();
        tensors.iter().try_for_each(|t| options.admit(t))?;
        Tensor::eval_all(&tensors)?;
        let states = vec![State::default(); parameters.len()];
        let mut group = Group { parameters, states, rule: options, initial_lr: None, packed: Vec::new() };
        group.lay(group.learning())?;
        self.groups.push(group);
        Tensor::eval_all(&tensors)?;
        if R::EAGER { self.start() } else { Ok(()) }
    }

    /// A group's settings.
    ///
    /// ```
    /// let sgd = calor::optim::Sgd::new([], calor::optim::SgdOptions::new(0.5))?;
    /// assert_eq!(sgd.options(0).map(|o| o.lr), Some(0.5));
    /// assert!(sgd.options(1).is_none());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn options(&self, group: usize) -> Option<&R> {
        self.groups.get(group).map(|g| &g.rule)
    }

    /// A group's settings, to change them.
    ///
    /// ```
    /// use calor::optim::{Optimizer, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(0.5))?;
    /// sgd.options_mut(0).unwrap().lr = 0.25;
    /// assert_eq!(sgd.lr(0), 0.25);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn options_mut(&mut self, group: usize) -> Option<&mut R> {
        self.groups.get_mut(group).map(|g| &mut g.rule)
    }

    /// Makes the state of parameters that step for the first time, all in one submission: a step's kernels are then
    /// the same from the first one on.
    fn start(&mut self) -> Result<()> {
        let mut fresh: Vec<Tensor> = Vec::new();
        for group in &mut self.groups {
            let numbers = group.rule.numbers();
            let known = fresh.len();
            for (parameter, state) in group.parameters.iter().zip(&mut group.states) {
                let tensor = parameter.tensor();
                if tensor.grad().is_none() && !R::EAGER {
                    continue;
                }
                for (name, value) in &numbers {
                    state.numbers.entry((*name).to_string()).or_insert(Number::Host(*value));
                }
                for keep in group.rule.keeps(&tensor.shape()) {
                    if !state.tensors.contains_key(keep.name) {
                        let shape = keep.shape.unwrap_or_else(|| tensor.shape().to_vec());
                        let first = Tensor::full(shape, keep.value, (tensor.dtype(), tensor.device()))?;
                        fresh.push(first.clone());
                        state.tensors.insert(keep.name.to_string(), first);
                        if !R::COUNTS {
                            // a momentum that is switched on later starts then
                            state.step = Number::Host(0.0);
                        }
                    }
                }
            }
            if fresh.len() > known {
                let due = if R::EAGER { group.learning() } else { flat::due(R::NAME, &group.parameters)? };
                group.lay(due)?;
            }
        }
        Tensor::eval_all(&fresh)
    }

    /// A step, which is none where the device finds that `skip` holds.
    fn advance(&mut self, skip: Option<&Tensor>) -> Result<()> {
        let _guard = crate::set_grad_enabled(false);
        self.start()?;
        let mut devices: Vec<Device> = Vec::new();
        // all is checked before anything changes
        let due: Vec<Vec<flat::Due>> =
            self.groups.iter().map(|g| flat::due(R::NAME, &g.parameters)).collect::<Result<_>>()?;
        for one in due.iter().flatten() {
            if !devices.iter().any(|d| d.same(one.tensor.device())) {
                devices.push(one.tensor.device().clone());
            }
        }
        self.groups.iter_mut().zip(due).try_for_each(|(group, due)| group.step(due, skip))?;
        devices.iter().try_for_each(Device::submit)
    }
}

impl<R: Rule> Optimizer for Optim<R> {
    fn step(&mut self) -> Result<()> {
        self.advance(None)
    }

    fn step_unless(&mut self, skip: &Tensor) -> Result<()> {
        self.advance(Some(skip))
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.groups.iter().flat_map(|g| g.parameters.iter().cloned()).collect()
    }

    fn zero_grad(&mut self) {
        self.groups.iter().flat_map(|g| &g.parameters).for_each(Parameter::zero_grad);
    }

    fn num_groups(&self) -> usize {
        self.groups.len()
    }

    fn lr(&self, group: usize) -> f64 {
        self.groups.get(group).map_or(f64::NAN, |g| g.rule.lr())
    }

    fn set_lr(&mut self, group: usize, lr: f64) {
        if let Some(g) = self.groups.get_mut(group) {
            g.rule.set_lr(lr);
        }
    }

    fn setting(&self, group: usize, name: &str) -> Option<f64> {
        let group = self.groups.get(group)?;
        if name == "initial_lr" {
            return group.initial_lr;
        }
        group.rule.settings().into_iter().find(|s| s.0 == name).map(|s| s.1)
    }

    fn set_setting(&mut self, group: usize, name: &str, value: f64) -> bool {
        let Some(group) = self.groups.get_mut(group) else { return false };
        if name == "initial_lr" {
            group.initial_lr = (!value.is_nan()).then_some(value);
            return true;
        }
        group.rule.set(name, value)
    }

    fn state_dict(&self) -> OptimState {
        let mut out = OptimState::default();
        let mut number = 0;
        for group in &self.groups {
            let first = number;
            for state in &group.states {
                let mut kept: BTreeMap<String, Kept> =
                    state.tensors.iter().map(|(n, t)| (n.clone(), Kept::Tensor(t.detach()))).collect();
                kept.extend(state.numbers.iter().map(|(n, v)| (n.clone(), Kept::from(v))));
                let unused = matches!(state.step, Number::Host(n) if n == 0.0);
                if R::COUNTS && (!unused || R::EAGER) {
                    kept.insert("step".into(), Kept::from(&state.step));
                }
                if !kept.is_empty() {
                    out.state.insert(number, kept);
                }
                number += 1;
            }
            let first_lr = group.initial_lr.map(|lr| ("initial_lr", lr));
            let settings = group.rule.settings().into_iter().chain(first_lr).map(|(n, v)| (n.to_string(), v)).collect();
            out.param_groups.push(GroupState { params: (first..number).collect(), settings });
        }
        out
    }

    fn load_state_dict(&mut self, from: &OptimState) -> Result<()> {
        if from.param_groups.len() != self.groups.len() {
            bail!(
                Value,
                "load_state_dict",
                "loaded state dict has {} parameter groups, the optimizer has {}",
                from.param_groups.len(),
                self.groups.len()
            );
        }
        for (group, given) in self.groups.iter().zip(&from.param_groups) {
            if group.parameters.len() != given.params.len() {
                bail!(
                    Value,
                    "load_state_dict",
                    "loaded state dict contains a parameter group of {} parameters, the optimizer's has {}",
                    given.params.len(),
                    group.parameters.len()
                );
            }
        }
        // everything is checked and converted before anything changes
        let mut loaded = Vec::new();
        for (group, given) in self.groups.iter().zip(&from.param_groups) {
            let mut rule = group.rule.clone();
            given.settings.iter().for_each(|(name, value)| {
                rule.set(name, *value);
            });
            rule.check()?;
            let states: Vec<State> = group
                .parameters
                .iter()
                .zip(&given.params)
                .map(|(p, number)| from.state.get(number).map_or_else(|| Ok(State::default()), |s| taken(&rule, p, s)))
                .collect::<Result<_>>()?;
            loaded.push((rule, states, given.settings.get("initial_lr").copied()));
        }
        for (group, (rule, states, initial_lr)) in self.groups.iter_mut().zip(loaded) {
            (group.rule, group.states) = (rule, states);
            group.initial_lr = initial_lr.or(group.initial_lr);
        }
        Ok(())
    }
}

/// A parameter's state from a state dict.
fn taken<R: Rule>(rule: &R, parameter: &Parameter, kept: &BTreeMap<String, Kept>) -> Result<State> {
    let own = parameter.tensor();
    let keeps = rule.keeps(&own.shape());
    let numbers = rule.numbers();
    let mut state = State::default();
    for (name, value) in kept {
        match value {
            Kept::Number(n) if name == "step" => state.step = Number::Host(n.trunc()),
            Kept::Number(n) => state.set_number(name, Number::Host(*n)),
            Kept::Tensor(t) if name == "step" => state.step = Number::Host(t.item()?.trunc()),
            // PyTorch keeps numbers in tensors
            Kept::Tensor(t) if numbers.iter().any(|n| n.0 == name) => state.set_number(name, Number::Host(t.item()?)),
            Kept::Tensor(t) => {
                let shape = keeps.iter().find(|k| k.name == name).and_then(|k| k.shape.clone());
                let shape = shape.unwrap_or_else(|| own.shape().to_vec());
                if t.shape()[..] != shape[..] {
                    let (given, own) = (t.shape(), own.shape());
                    bail!(
                        Shape,
                        "load_state_dict",
                        "{name} has shape {:?}, not {shape:?} as for a parameter of shape {:?}",
                        &given[..],
                        &own[..]
                    );
                }
                // a copy: the state dict may be another optimizer's
                let copy = Tensor::zeros(shape, (own.dtype(), own.device()))?;
                crate::nn::copy_into(&copy, t)?;
                state.tensors.insert(name.clone(), copy);
            }
        }
    }
    if !R::COUNTS && !state.tensors.is_empty() {
        state.step = Number::Host(1.0);
    }
    Ok(state)
}
