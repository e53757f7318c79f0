//! Everything that a run needs to go on: weights, optimizer, course, random numbers, in one safetensors file.

use crate::data::{Anyhow, Frame};
use calor::nn::{Module, StateDict};
use calor::optim::{OptimState, Optimizer};
use calor::{Device, io};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// One epoch's result.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Epoch {
    /// Mean training loss.
    pub loss: f64,
    /// Share of the test digits read rightly.
    pub accuracy: f64,
}

/// What happened so far.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Course {
    /// Finished epochs.
    pub epochs: Vec<Epoch>,
    /// Training loss over time, which is counted in epochs.
    pub losses: Vec<(f64, f64)>,
}

/// What is not a tensor.
#[derive(Clone, Serialize, Deserialize)]
pub struct Run {
    /// Pixels of a picture's side.
    pub size: usize,
    /// How digits lie in the training pictures.
    pub frame: Frame,
    /// Epochs planned.
    pub planned: usize,
    /// Digits in a batch.
    pub batch: usize,
    /// Learning rate at the start.
    pub lr: f64,
    /// Seed of everything random.
    pub seed: u64,
    /// Seed and place of the device's random generator.
    pub generator: (u64, u64),
    /// What happened so far.
    pub course: Course,
}

/// A checkpoint read from a file.
pub struct Checkpoint {
    tensors: StateDict,
    texts: BTreeMap<String, String>,
    /// What is not a tensor.
    pub run: Run,
}

/// Writes a checkpoint.
pub fn save(path: &Path, model: &dyn Module, optimizer: &dyn Optimizer, run: &Run) -> Anyhow<()> {
    let (kept, mut texts) = optimizer.state_dict().to_parts();
    let mut tensors = model.state_dict().prefixed("model.");
    tensors.extend(kept);
    texts.insert("run".into(), serde_json::to_string(run)?);
    io::save_with_texts(path, &tensors, &texts)?;
    Ok(())
}

impl Checkpoint {
    /// Reads a checkpoint.
    pub fn load(path: &Path, device: &Device) -> Anyhow<Self> {
        let (tensors, texts) = io::load_with_texts(path, device)?;
        let text = texts.get("run").ok_or_else(|| format!("{} is no checkpoint of this program", path.display()))?;
        let run = serde_json::from_str(text)?;
        Ok(Self { tensors, texts, run })
    }

    /// Puts the weights in.
    pub fn restore_model(&self, model: &dyn Module) -> Anyhow<()> {
        model.load_state_dict(&self.tensors.part("model."), true)?;
        Ok(())
    }

    /// Puts the optimizer's state in.
    pub fn restore_optimizer(&self, optimizer: &mut dyn Optimizer) -> Anyhow<()> {
        optimizer.load_state_dict(&OptimState::from_parts(&self.tensors, &self.texts)?)?;
        Ok(())
    }
}
