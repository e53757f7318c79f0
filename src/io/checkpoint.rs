//! `Checkpoint`: all that a training run needs to go on, in one file.

use super::object::Object;
use super::pt::{load_pt, save_pt};
use crate::error::{Result, bail};
use crate::nn::{Module, StateDict};
use crate::optim::{Optimizer, SchedulerState};
use crate::tensor::Device;
use std::path::Path;

const OP: &str = "checkpoint";

/// A training run at one moment: what is in a file that `torch.load(weights_only=True)` reads as a dict.
///
/// The file is written beside its place and put there when it is on the disk, so that a crash at any moment leaves the one
/// before. Loading brings everything to one device, PyTorch's `map_location`; a run that goes on from a checkpoint computes
/// the bits that it would have computed without a stop.
///
/// ```
/// use calor::io::Checkpoint;
/// use calor::nn::{Linear, Module};
/// use calor::optim::{AdamW, AdamWOptions, Optimizer, Scheduler, StepLr};
/// use calor::{Device, Result};
/// # let path = std::env::temp_dir().join(format!("calor-checkpoint-{}.pt", std::process::id()));
/// let device = Device::best()?;
/// let start = || -> Result<_> {
///     let model = Linear::new(2, 2, ())?;
///     let mut optimizer = AdamW::new(model.parameters(), AdamWOptions::new(0.1))?;
///     let schedule = StepLr::new(&mut optimizer, 1, 0.5)?;
///     Ok((model, optimizer, schedule))
/// };
/// let (model, mut optimizer, mut schedule) = start()?;
/// schedule.step(&mut optimizer)?;
/// Checkpoint::new()
///     .model(&model)
///     .optimizer(&optimizer)
///     .scheduler(&schedule.state_dict())
///     .random(&device)
///     .position(1, 0)
///     .save(&path)?;
///
/// let (model, mut optimizer, mut schedule) = start()?;
/// let saved = Checkpoint::load(&path, &device)?;
/// saved.load_model(&model)?;
/// saved.load_optimizer(&mut optimizer)?;
/// schedule.load_state_dict(&saved.load_scheduler()?)?;
/// saved.load_random(&device)?;
/// assert_eq!((saved.load_position()?, optimizer.lr(0)), ((1, 0), 0.05));
/// # std::fs::remove_file(path)?;
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Checkpoint(Vec<(String, Object)>);

impl Checkpoint {
    /// One of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// With something more under a name, or in place of what had it.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Object>) -> Self {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_string(), value.into()));
        self
    }

    /// With a model's parameters and buffers, as `model`.
    #[must_use]
    pub fn model<M: Module + ?Sized>(self, model: &M) -> Self {
        self.with("model", &model.state_dict())
    }

    /// With an optimizer's settings and state, as `optimizer`.
    #[must_use]
    pub fn optimizer(self, optimizer: &dyn Optimizer) -> Self {
        self.with("optimizer", &optimizer.state_dict())
    }

    /// With a scheduler's state, as `scheduler`.
    #[must_use]
    pub fn scheduler(self, state: &SchedulerState) -> Self {
        self.with("scheduler", Object::dict(state.iter().map(|(name, value)| (name.clone(), Object::Float(*value)))))
    }

    /// With the state of a gradient scaler, as `scaler`.
    #[must_use]
    pub fn scaler(self, state: &StateDict) -> Self {
        self.with("scaler", state)
    }

    /// With the state of a device's random generator, as `random`.
    #[must_use]
    pub fn random(self, device: &Device) -> Self {
        let (seed, next) = device.generator().state();
        // the bits of numbers that have no sign
        let both = [seed, next].map(|n| Object::Int(n.cast_signed()));
        self.with("random", Object::Tuple(both.to_vec()))
    }

    /// With the epoch and the batch of it that come next, as `epoch` and `batch`: what
    /// [`DataLoader::set_epoch`](crate::data::DataLoader::set_epoch) and
    /// [`DataLoader::iter_from`](crate::data::DataLoader::iter_from) take.
    #[must_use]
    pub fn position(self, epoch: u64, batch: usize) -> Self {
        self.with("epoch", epoch.cast_signed()).with("batch", batch as i64)
    }

    /// Writes it to a file; waits for its tensors.
    ///
    /// # Errors
    /// `Io` where the file cannot be written; the one before is then as it was.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        save_pt(path, &Object::dict(self.0.iter().cloned()))
    }

    /// Reads a file, with all tensors on `device`.
    ///
    /// # Errors
    /// Those of [`load_pt`], and `Value` where it holds no dict.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let Object::Dict(entries) = load_pt(path, device)? else {
            bail!(Value, OP, "the file holds no dict");
        };
        let named = |(key, value): (Object, Object)| Some((key.as_text()?.to_string(), value));
        Ok(Self(entries.into_iter().filter_map(named).collect()))
    }

    /// What stands under a name.
    pub fn get(&self, name: &str) -> Option<&Object> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    fn require(&self, name: &str) -> Result<&Object> {
        match self.get(name) {
            Some(value) => Ok(value),
            None => {
                let names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
                bail!(Value, OP, "there is no {name:?}, only {names:?}")
            }
        }
    }

    /// Brings a model to the saved state.
    ///
    /// # Errors
    /// `Value` where there is none, and those of [`Module::load_state_dict`].
    pub fn load_model<M: Module + ?Sized>(&self, model: &M) -> Result<()> {
        model.load_state_dict(&self.require("model")?.state_dict()?, true).map(drop)
    }

    /// Brings an optimizer to the saved state.
    ///
    /// # Errors
    /// `Value` where there is none, and those of [`Optimizer::load_state_dict`].
    pub fn load_optimizer(&self, optimizer: &mut dyn Optimizer) -> Result<()> {
        optimizer.load_state_dict(&self.require("optimizer")?.optimizer_state()?)
    }

    /// The state of a scheduler.
    ///
    /// # Errors
    /// `Value` where there is none.
    pub fn load_scheduler(&self) -> Result<SchedulerState> {
        let state = self.require("scheduler")?;
        let entries = state.entries().unwrap_or_default().iter();
        Ok(entries.filter_map(|(name, value)| Some((name.as_text()?.to_string(), value.as_float()?))).collect())
    }

    /// The state of a gradient scaler.
    ///
    /// # Errors
    /// `Value` where there is none.
    pub fn load_scaler(&self) -> Result<StateDict> {
        self.require("scaler")?.state_dict()
    }

    /// Brings a device's random generator to the saved state.
    ///
    /// # Errors
    /// `Value` where there is none.
    pub fn load_random(&self, device: &Device) -> Result<()> {
        let state = self.require("random")?.items().unwrap_or_default();
        let (Some(seed), Some(next)) = (state.first().and_then(Object::as_int), state.get(1).and_then(Object::as_int))
        else {
            bail!(Value, OP, "\"random\" is no pair of integers");
        };
        device.generator().set_state((seed.cast_unsigned(), next.cast_unsigned()));
        Ok(())
    }

    /// The epoch, and the batch of it, that come next.
    ///
    /// # Errors
    /// `Value` where they are missing.
    pub fn load_position(&self) -> Result<(u64, usize)> {
        let number = |name: &str| match self.require(name)?.as_int() {
            Some(n) => Ok(n.cast_unsigned()),
            None => bail!(Value, OP, "{name:?} is no integer"),
        };
        Ok((number("epoch")?, number("batch")? as usize))
    }
}
