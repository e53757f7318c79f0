//! Optimizers and learning rate schedules.
//!
//! An optimizer is a [`Rule`]: settings, and how one parameter is updated from its gradient and state. Everything else
//! (groups, stepping, saving) is [`Optim`], the same for all.

mod adam;
mod flat;
mod formula;
mod schedule;
mod sgd;
mod state;

pub use adam::{Adam, AdamOptions, AdamW, AdamWOptions};
pub use schedule::{CosineAnnealingLr, Schedule, StepLr};
pub use sgd::{Sgd, SgdOptions};
pub use state::{GroupState, Kept, OptimState};

use crate::error::{Result, bail};
use crate::nn::Parameter;
use crate::tensor::{Device, Tensor};
use std::collections::BTreeMap;

/// What every optimizer does.
pub trait Optimizer {
    /// Updates all parameters that have a gradient, and submits the work without waiting for it.
    ///
    /// Parameters of a group, and what is kept for them, lie in one buffer from then on where their dtype and count of
    /// steps are the same: one kernel updates them all. Whoever keeps one of them keeps that buffer; a clone does not.
    fn step(&mut self) -> Result<()>;

    /// Forgets the gradients of all parameters.
    fn zero_grad(&mut self);

    /// Number of parameter groups.
    fn num_groups(&self) -> usize;

    /// The learning rate of a group.
    fn lr(&self, group: usize) -> f64;

    /// Changes the learning rate of a group.
    fn set_lr(&mut self, group: usize, lr: f64);

    /// Settings and state, sharing storage with the optimizer.
    fn state_dict(&self) -> OptimState;

    /// Takes settings and state over, converted to each parameter's dtype and device.
    fn load_state_dict(&mut self, state: &OptimState) -> Result<()>;
}

/// An update rule with its settings.
pub trait Rule: Clone {
    /// PyTorch's name.
    const NAME: &'static str;
    /// Whether the number of steps is part of the state dict.
    const COUNTS: bool;
    /// Whether an element's update depends on that element's values alone. Then `update` may get many parameters at once,
    /// as one flat tensor with zeros or leftovers between them.
    const ELEMENTWISE: bool = false;

    /// The learning rate.
    fn lr(&self) -> f64;

    /// Changes the learning rate.
    fn set_lr(&mut self, lr: f64);

    /// Settings by PyTorch's names; truth values are 0 and 1.
    fn settings(&self) -> Vec<(&'static str, f64)>;

    /// Changes a setting; false if there is none of that name.
    fn set(&mut self, name: &str, value: f64) -> bool;

    /// Refuses settings that make no sense.
    fn check(&self) -> Result<()>;

    /// Names of the tensors kept for a parameter; they start with zeros.
    fn keeps(&self) -> Vec<&'static str>;

    /// Updates `parameter` and `state` in place; `state.step` counts this step already.
    fn update(&self, parameter: &Tensor, gradient: &Tensor, state: &State) -> Result<()>;
}

/// What an optimizer keeps for one parameter.
#[derive(Clone, Default)]
pub struct State {
    /// Number of updates.
    pub step: u64,
    tensors: BTreeMap<String, Tensor>,
}

impl State {
    /// A kept tensor.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        match self.tensors.get(name) {
            Some(t) => Ok(t),
            None => bail!(Value, "step", "the optimizer's state has no {name:?}"),
        }
    }
}

struct Group<R> {
    parameters: Vec<Parameter>,
    states: Vec<State>,
    rule: R,
    /// Which parameters lie in the buffers of the last step's packs.
    packed: Vec<Vec<usize>>,
}

impl<R: Rule> Group<R> {
    /// Updates parameters that have a gradient, packs of them at once.
    fn step(&mut self, due: Vec<flat::Due>) -> Result<()> {
        for one in &due {
            self.states[one.index].step += 1;
        }
        let packs = flat::packs::<R>(due, &self.states);
        packs.iter().try_for_each(|pack| flat::update(&self.rule, pack, &self.states))?;
        let packed = packs.iter().filter(|p| p.len() > 1).map(|p| p.iter().map(|d| d.index).collect());
        let before = std::mem::replace(&mut self.packed, packed.collect());
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

/// An optimizer by a [`Rule`]: groups of parameters, each with settings of its own.
pub struct Optim<R: Rule> {
    groups: Vec<Group<R>>,
}

impl<R: Rule> Optim<R> {
    /// An optimizer of one group.
    pub fn new(parameters: impl IntoIterator<Item = Parameter>, options: R) -> Result<Self> {
        let mut out = Self { groups: Vec::new() };
        out.add_param_group(parameters, options)?;
        Ok(out)
    }

    /// Adds a group with settings of its own; refused where a parameter is in a group already.
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
        Tensor::eval_all(&tensors)?;
        let states = vec![State::default(); parameters.len()];
        self.groups.push(Group { parameters, states, rule: options, packed: Vec::new() });
        Ok(())
    }

    /// A group's settings.
    pub fn options(&self, group: usize) -> Option<&R> {
        self.groups.get(group).map(|g| &g.rule)
    }

    /// A group's settings, to change them.
    pub fn options_mut(&mut self, group: usize) -> Option<&mut R> {
        self.groups.get_mut(group).map(|g| &mut g.rule)
    }

    /// Makes the state of parameters that step for the first time, all in one submission: a step's kernels are then
    /// the same from the first one on.
    fn start(&mut self) -> Result<()> {
        let mut fresh: Vec<Tensor> = Vec::new();
        for group in &mut self.groups {
            let names = group.rule.keeps();
            for (parameter, state) in group.parameters.iter().zip(&mut group.states) {
                let tensor = parameter.tensor();
                if tensor.grad().is_none() {
                    continue;
                }
                for &name in &names {
                    if !state.tensors.contains_key(name) {
                        let zeros = Tensor::zeros(&tensor.shape()[..], (tensor.dtype(), tensor.device()))?;
                        fresh.push(zeros.clone());
                        state.tensors.insert(name.to_string(), zeros);
                    }
                }
            }
        }
        Tensor::eval_all(&fresh)
    }
}

impl<R: Rule> Optimizer for Optim<R> {
    fn step(&mut self) -> Result<()> {
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
        self.groups.iter_mut().zip(due).try_for_each(|(group, due)| group.step(due))?;
        devices.iter().try_for_each(Device::submit)
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

    fn state_dict(&self) -> OptimState {
        let mut out = OptimState::default();
        let mut number = 0;
        for group in &self.groups {
            let first = number;
            for state in &group.states {
                let mut kept: BTreeMap<String, Kept> =
                    state.tensors.iter().map(|(n, t)| (n.clone(), Kept::Tensor(t.detach()))).collect();
                if R::COUNTS && state.step > 0 {
                    kept.insert("step".into(), Kept::Number(state.step as f64));
                }
                if !kept.is_empty() {
                    out.state.insert(number, kept);
                }
                number += 1;
            }
            let settings = group.rule.settings().into_iter().map(|(n, v)| (n.to_string(), v)).collect();
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
                .map(|(p, number)| from.state.get(number).map_or_else(|| Ok(State::default()), |s| taken(p, s)))
                .collect::<Result<_>>()?;
            loaded.push((rule, states));
        }
        for (group, (rule, states)) in self.groups.iter_mut().zip(loaded) {
            (group.rule, group.states) = (rule, states);
        }
        Ok(())
    }
}

/// A parameter's state from a state dict.
fn taken(parameter: &Parameter, kept: &BTreeMap<String, Kept>) -> Result<State> {
    let own = parameter.tensor();
    let mut state = State::default();
    for (name, value) in kept {
        match value {
            Kept::Number(n) if name == "step" => state.step = *n as u64,
            Kept::Number(_) => {}
            Kept::Tensor(t) if name == "step" => state.step = t.item()? as u64,
            Kept::Tensor(t) => {
                if t.shape() != own.shape() {
                    bail!(
                        Shape,
                        "load_state_dict",
                        "{name} has shape {:?}, its parameter {:?}",
                        &t.shape()[..],
                        &own.shape()[..]
                    );
                }
                // a copy: the state dict may be another optimizer's
                let copy = Tensor::zeros(&own.shape()[..], (own.dtype(), own.device()))?;
                crate::nn::copy_into(&copy, t)?;
                state.tensors.insert(name.clone(), copy);
            }
        }
    }
    if state.step == 0 && !state.tensors.is_empty() {
        state.step = 1;
    }
    Ok(state)
}

/// Options of a rule: a struct with defaults, one method to set each, and the lists that state dicts need.
macro_rules! options {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $ty,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $name {
            /// PyTorch's defaults with this learning rate.
            pub fn new(lr: f64) -> Self {
                Self { lr, ..Self::default() }
            }

            $(
                $(#[$field_doc])*
                #[must_use]
                pub fn $field(mut self, $field: $ty) -> Self {
                    self.$field = $field;
                    self
                }
            )*

            fn listed(&self) -> Vec<(&'static str, f64)> {
                vec![$((stringify!($field), $crate::optim::state::Setting::to_number(self.$field)),)*]
            }

            fn assign(&mut self, name: &str, value: f64) -> bool {
                match name {
                    $(stringify!($field) => self.$field = $crate::optim::state::Setting::from_number(value),)*
                    _ => return false,
                }
                true
            }
        }
    };
}
use options;

/// Refuses a negative or NaN setting.
fn not_negative(rule: &str, name: &str, value: f64) -> Result<()> {
    if value.is_nan() || value < 0.0 {
        bail!(Value, rule, "invalid {name}: {value}");
    }
    Ok(())
}
