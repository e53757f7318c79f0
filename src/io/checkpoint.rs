//! A whole training state in one file.

use super::safetensors::{load_with_texts, save_with_texts};
use crate::error::{Error, ErrorKind, Result, bail};
use crate::nn::{Mismatch, Module, StateDict};
use crate::optim::{GradScaler, OptimState, Optimizer, ReduceLrOnPlateau, Scheduler, SchedulerState};
use crate::tensor::Device;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

const OP: &str = "Checkpoint";

/// Modules, optimizers, schedulers, scalers, random states and numbers under names: what a training run needs to go on as
/// if it had not been stopped.
///
/// The file is a safetensors file; numbers and texts stand in its metadata. It is written beside the one before and put in
/// its place when it is on the disk: whoever is stopped at any moment finds one that is whole.
///
/// ```
/// use calor::io::Checkpoint;
/// use calor::nn::{Linear, Module};
/// use calor::optim::{Adam, AdamOptions, Optimizer};
/// use calor::Device;
/// # let path = std::env::temp_dir().join(format!("calor-checkpoint-{}", std::process::id()));
/// let device = Device::best()?;
/// let model = Linear::new(3, 2, ())?;
/// let adam = Adam::new(model.parameters(), AdamOptions::new(0.1))?;
/// let mut saved = Checkpoint::new();
/// saved.module("model", &model)?.optimizer("adam", &adam)?.generator("random", &device)?.number("epoch", 5)?;
/// saved.save(&path)?;
///
/// let other = Linear::new(3, 2, ())?;
/// let mut its_adam = Adam::new(other.parameters(), AdamOptions::new(1.0))?;
/// let loaded = Checkpoint::load(&path, &device)?;
/// loaded.load_module("model", &other, true)?;
/// loaded.load_optimizer("adam", &mut its_adam)?;
/// loaded.load_generator("random", &device)?;
/// assert_eq!((loaded.get_number::<u64>("epoch")?, its_adam.lr(0)), (5, 0.1));
/// # std::fs::remove_file(path)?;
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    tensors: StateDict,
    texts: BTreeMap<String, String>,
}

impl Checkpoint {
    /// An empty one.
    ///
    /// ```
    /// assert!(calor::io::Checkpoint::new().names().is_empty());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// What a file holds, with its tensors on a device: PyTorch's `map_location`.
    ///
    /// ```
    /// use calor::{Device, io::Checkpoint};
    /// # let path = std::env::temp_dir().join(format!("calor-doc-load-{}", std::process::id()));
    /// Checkpoint::new().number("epoch", 5)?.save(&path)?;
    /// assert_eq!(Checkpoint::load(&path, &Device::best()?)?.get_number::<u32>("epoch")?, 5);
    /// # std::fs::remove_file(&path)?;
    /// assert!(Checkpoint::load(&path, &Device::best()?).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Io` for a file that is missing, truncated or malformed.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let (tensors, texts) = load_with_texts(path, device)?;
        Ok(Self { tensors, texts })
    }

    /// Writes it to a file; waits for its tensors.
    ///
    /// ```
    /// use calor::io::Checkpoint;
    /// # let path = std::env::temp_dir().join(format!("calor-doc-save-{}", std::process::id()));
    /// Checkpoint::new().text("note", "half way")?.save(&path)?;
    /// assert!(path.is_file());
    /// # std::fs::remove_file(path)?;
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Io` where that cannot be written: the file before is then as it was.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        save_with_texts(path, &self.tensors, &self.texts)
    }

    /// The names of what it holds.
    ///
    /// ```
    /// let mut saved = calor::io::Checkpoint::new();
    /// saved.number("epoch", 5)?.text("note", "half way")?;
    /// assert_eq!(saved.names(), ["epoch", "note"]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .tensors
            .names()
            .chain(self.texts.keys().map(String::as_str))
            .map(|key| key.split_once('/').map_or(key, |(name, _)| name).to_string())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Takes a module's parameters and persistent buffers up.
    ///
    /// ```
    /// use calor::{io::Checkpoint, nn::Linear};
    /// let mut saved = Checkpoint::new();
    /// saved.module("model", &Linear::new(3, 2, ())?)?;
    /// assert_eq!(&saved.get_state("model")?.get("weight").unwrap().shape()[..], [2, 3]);
    /// assert!(saved.module("model", &Linear::new(3, 2, ())?).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As all that take something up: `Value` for a name that is empty, taken or contains `/`.
    pub fn module(&mut self, name: &str, module: &dyn Module) -> Result<&mut Self> {
        self.state(name, &module.state_dict())
    }

    /// Takes tensors up.
    ///
    /// ```
    /// use calor::{Tensor, io::Checkpoint, nn::StateDict};
    /// let state: StateDict = [("mean".to_string(), Tensor::ones([2], ())?)].into_iter().collect();
    /// let mut saved = Checkpoint::new();
    /// saved.state("statistics", &state)?;
    /// assert_eq!(saved.get_state("statistics")?.len(), 1);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn state(&mut self, name: &str, state: &StateDict) -> Result<&mut Self> {
        self.parts(name, state, &BTreeMap::new())
    }

    /// Takes an optimizer's settings and state up.
    ///
    /// ```
    /// use calor::{io::Checkpoint, optim::{Optimizer, Sgd, SgdOptions}};
    /// let mut saved = Checkpoint::new();
    /// saved.optimizer("sgd", &Sgd::new([], SgdOptions::new(0.5))?)?;
    /// let mut other = Sgd::new([], SgdOptions::new(1.0))?;
    /// saved.load_optimizer("sgd", &mut other)?;
    /// assert_eq!(other.lr(0), 0.5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn optimizer(&mut self, name: &str, optimizer: &dyn Optimizer) -> Result<&mut Self> {
        let (tensors, texts) = optimizer.state_dict().to_parts();
        self.parts(name, &tensors, &texts)
    }

    /// Takes a scheduler's state up.
    ///
    /// ```
    /// use calor::{io::Checkpoint, optim::{Scheduler, Sgd, SgdOptions, StepLr}};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let mut schedule = StepLr::new(&mut sgd, 1, 0.5)?;
    /// schedule.step(&mut sgd)?;
    /// let mut saved = Checkpoint::new();
    /// saved.scheduler("schedule", &schedule)?;
    /// saved.load_scheduler("schedule", &mut StepLr::new(&mut sgd, 1, 0.5)?)?;
    /// assert_eq!(saved.names(), ["schedule"]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn scheduler(&mut self, name: &str, scheduler: &dyn Scheduler) -> Result<&mut Self> {
        self.numbers(name, scheduler.state_dict())
    }

    /// Takes the state of a scheduler by a measured value up.
    ///
    /// ```
    /// use calor::io::Checkpoint;
    /// use calor::optim::{PlateauOptions, ReduceLrOnPlateau, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let mut plateau = ReduceLrOnPlateau::new(&sgd, PlateauOptions::new())?;
    /// plateau.step(&mut sgd, 0.25);
    /// let mut saved = Checkpoint::new();
    /// saved.plateau("schedule", &plateau)?;
    /// let mut other = ReduceLrOnPlateau::new(&sgd, PlateauOptions::new())?;
    /// saved.load_plateau("schedule", &mut other)?;
    /// assert_eq!(other.best(), 0.25);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn plateau(&mut self, name: &str, plateau: &ReduceLrOnPlateau) -> Result<&mut Self> {
        self.numbers(name, plateau.state_dict())
    }

    fn numbers(&mut self, name: &str, state: SchedulerState) -> Result<&mut Self> {
        let texts = state.into_iter().map(|(key, value)| (key, format!("{value:?}"))).collect();
        self.parts(name, &StateDict::new(), &texts)
    }

    /// Takes a gradient scaler's state up.
    ///
    /// ```
    /// use calor::{Device, io::Checkpoint, optim::GradScaler};
    /// let mut saved = Checkpoint::new();
    /// saved.scaler("scaler", &GradScaler::new(&Device::best()?, ())?)?;
    /// assert_eq!(saved.get_state("scaler")?.get("scale").unwrap().item()?, 65536.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn scaler(&mut self, name: &str, scaler: &GradScaler) -> Result<&mut Self> {
        let factors = [
            ("growth_factor", format!("{:?}", scaler.get_growth_factor())),
            ("backoff_factor", format!("{:?}", scaler.get_backoff_factor())),
            ("growth_interval", scaler.get_growth_interval().to_string()),
        ];
        let factors = factors.map(|(key, value)| (key.to_string(), value));
        let kept = if scaler.is_enabled() { BTreeMap::from(factors) } else { BTreeMap::new() };
        self.parts(name, &scaler.state_dict(), &kept)
    }

    /// Takes a device's random state up.
    ///
    /// ```
    /// use calor::{Device, Tensor, io::Checkpoint};
    /// let (device, mut saved) = (Device::best()?, Checkpoint::new());
    /// saved.generator("random", &device)?;
    /// let first = Tensor::rand([4], ())?.to_vec::<f32>()?;
    /// saved.load_generator("random", &device)?;
    /// assert_eq!(Tensor::rand([4], ())?.to_vec::<f32>()?, first);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn generator(&mut self, name: &str, device: &Device) -> Result<&mut Self> {
        let (seed, draws) = device.generator().state();
        self.text(name, format!("{seed} {draws}"))
    }

    /// Takes a number up: an epoch, a step, a best loss.
    ///
    /// ```
    /// let mut saved = calor::io::Checkpoint::new();
    /// saved.number("epoch", 5)?.number("best", 0.25)?;
    /// assert_eq!((saved.get_number::<u64>("epoch")?, saved.get_number::<f64>("best")?), (5, 0.25));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn number(&mut self, name: &str, value: impl Display) -> Result<&mut Self> {
        self.text(name, value.to_string())
    }

    /// Takes a text up.
    ///
    /// ```
    /// let mut saved = calor::io::Checkpoint::new();
    /// saved.text("note", "half way")?;
    /// assert_eq!(saved.get_text("note")?, "half way");
    /// assert!(saved.text("a/b", "").is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn text(&mut self, name: &str, text: impl Into<String>) -> Result<&mut Self> {
        self.parts(name, &StateDict::new(), &BTreeMap::from([(String::new(), text.into())]))
    }

    fn parts(&mut self, name: &str, tensors: &StateDict, texts: &BTreeMap<String, String>) -> Result<&mut Self> {
        if name.is_empty() || name.contains('/') {
            bail!(Value, OP, "a name must not be empty or contain '/', got {name:?}");
        }
        if self.names().iter().any(|known| known == name) {
            bail!(Value, OP, "{name:?} is taken");
        }
        self.tensors.extend(tensors.iter().map(|(key, t)| (format!("{name}/{key}"), t.clone())));
        let texts = texts.iter().map(|(key, text)| {
            let key = if key.is_empty() { name.to_string() } else { format!("{name}/{key}") };
            (key, text.clone())
        });
        self.texts.extend(texts);
        // what is empty is there all the same
        if !self.names().iter().any(|known| known == name) {
            self.texts.insert(format!("{name}/"), String::new());
        }
        Ok(self)
    }

    fn texts_of(&self, name: &str) -> BTreeMap<String, String> {
        let prefix = format!("{name}/");
        let own = self.texts.iter().filter_map(|(key, text)| Some((key.strip_prefix(&prefix)?, text)));
        own.filter(|(key, _)| !key.is_empty()).map(|(key, text)| (key.to_string(), text.clone())).collect()
    }

    fn require(&self, name: &str) -> Result<()> {
        let names = self.names();
        if !names.iter().any(|known| known == name) {
            bail!(Value, OP, "there is no {name:?}, but {names:?}");
        }
        Ok(())
    }

    /// The tensors under a name.
    ///
    /// ```
    /// use calor::{io::Checkpoint, nn::Linear};
    /// let mut saved = Checkpoint::new();
    /// saved.module("model", &Linear::new(3, 2, ())?)?;
    /// assert_eq!(saved.get_state("model")?.names().collect::<Vec<_>>(), ["weight", "bias"]);
    /// assert!(saved.get_state("other").is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As all that give something back: `Value` where nothing has this name.
    pub fn get_state(&self, name: &str) -> Result<StateDict> {
        self.require(name)?;
        Ok(self.tensors.part(&format!("{name}/")))
    }

    /// The text under a name.
    ///
    /// ```
    /// let mut saved = calor::io::Checkpoint::new();
    /// saved.text("note", "half way")?;
    /// assert!(saved.get_text("note")? == "half way" && saved.get_text("other").is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn get_text(&self, name: &str) -> Result<&str> {
        match self.texts.get(name) {
            Some(text) => Ok(text),
            None => bail!(Value, OP, "there is no text {name:?}, but {:?}", self.names()),
        }
    }

    /// The number under a name.
    ///
    /// ```
    /// let mut saved = calor::io::Checkpoint::new();
    /// saved.number("epoch", 5)?.text("note", "half way")?;
    /// assert!(saved.get_number::<u64>("epoch")? == 5 && saved.get_number::<u64>("note").is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where there is none, or none of this type.
    pub fn get_number<T: FromStr<Err: Display>>(&self, name: &str) -> Result<T> {
        let text = self.get_text(name)?;
        text.parse().map_err(|e| Error::new(ErrorKind::Value, OP, format!("{name:?} is {text:?}: {e}")))
    }

    /// Gives a module its parameters and buffers back; see [`Module::load_state_dict`].
    ///
    /// ```
    /// use calor::{io::Checkpoint, nn::Linear};
    /// let (a, b) = (Linear::new(3, 2, ())?, Linear::new(3, 2, ())?);
    /// let mut saved = Checkpoint::new();
    /// saved.module("model", &a)?;
    /// saved.load_module("model", &b, true)?;
    /// assert!(a.weight.tensor().equal(&b.weight.tensor())?);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn load_module(&self, name: &str, module: &dyn Module, strict: bool) -> Result<Mismatch> {
        module.load_state_dict(&self.get_state(name)?, strict)
    }

    /// Gives an optimizer its settings and state back.
    ///
    /// ```
    /// use calor::{io::Checkpoint, optim::{Adam, AdamOptions, Optimizer}};
    /// let mut saved = Checkpoint::new();
    /// saved.optimizer("adam", &Adam::new([], AdamOptions::new(0.5))?)?;
    /// let mut other = Adam::new([], AdamOptions::new(1.0))?;
    /// saved.load_optimizer("adam", &mut other)?;
    /// assert_eq!(other.lr(0), 0.5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn load_optimizer(&self, name: &str, optimizer: &mut dyn Optimizer) -> Result<()> {
        optimizer.load_state_dict(&OptimState::from_parts(&self.get_state(name)?, &self.texts_of(name))?)
    }

    /// Gives a scheduler its state back.
    ///
    /// ```
    /// use calor::{io::Checkpoint, optim::{Scheduler, Sgd, SgdOptions, StepLr}};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let mut schedule = StepLr::new(&mut sgd, 1, 0.5)?;
    /// schedule.step(&mut sgd)?;
    /// let mut saved = Checkpoint::new();
    /// saved.scheduler("schedule", &schedule)?;
    /// let mut other = StepLr::new(&mut sgd, 1, 0.5)?;
    /// saved.load_scheduler("schedule", &mut other)?;
    /// assert_eq!(other.last_epoch(), 1);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn load_scheduler(&self, name: &str, scheduler: &mut dyn Scheduler) -> Result<()> {
        scheduler.load_state_dict(&self.get_numbers(name)?)
    }

    /// Gives a scheduler by a measured value its state back.
    ///
    /// ```
    /// use calor::io::Checkpoint;
    /// use calor::optim::{PlateauOptions, ReduceLrOnPlateau, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let mut plateau = ReduceLrOnPlateau::new(&sgd, PlateauOptions::new())?;
    /// plateau.step(&mut sgd, 0.5);
    /// let mut saved = Checkpoint::new();
    /// saved.plateau("schedule", &plateau)?.load_plateau("schedule", &mut plateau)?;
    /// assert_eq!(plateau.best(), 0.5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn load_plateau(&self, name: &str, plateau: &mut ReduceLrOnPlateau) -> Result<()> {
        plateau.load_state_dict(&self.get_numbers(name)?)
    }

    fn get_numbers(&self, name: &str) -> Result<SchedulerState> {
        self.require(name)?;
        let mut state = SchedulerState::new();
        for (key, text) in self.texts_of(name) {
            let value = text.parse();
            let value =
                value.map_err(|e| Error::new(ErrorKind::Value, OP, format!("{name}/{key} is {text:?}: {e}")))?;
            state.insert(key, value);
        }
        Ok(state)
    }

    /// Gives a gradient scaler its state back.
    ///
    /// ```
    /// use calor::{Device, io::Checkpoint, optim::{GradScaler, GradScalerOptions}};
    /// let small = GradScalerOptions { init_scale: 8.0, ..GradScalerOptions::default() };
    /// let mut saved = Checkpoint::new();
    /// saved.scaler("scaler", &GradScaler::new(&Device::best()?, small)?)?;
    /// let mut other = GradScaler::new(&Device::best()?, ())?;
    /// saved.load_scaler("scaler", &mut other)?;
    /// assert_eq!(other.get_scale()?, 8.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn load_scaler(&self, name: &str, scaler: &mut GradScaler) -> Result<()> {
        scaler.load_state_dict(&self.get_state(name)?)?;
        if !scaler.is_enabled() {
            return Ok(());
        }
        let factors = self.get_numbers(name)?;
        if let Some(factor) = factors.get("growth_factor") {
            scaler.set_growth_factor(*factor)?;
        }
        if let Some(factor) = factors.get("backoff_factor") {
            scaler.set_backoff_factor(*factor)?;
        }
        if let Some(interval) = factors.get("growth_interval") {
            scaler.set_growth_interval(*interval as u32);
        }
        Ok(())
    }

    /// Gives a device its random state back.
    ///
    /// ```
    /// use calor::{Device, io::Checkpoint};
    /// let (device, mut saved) = (Device::best()?, Checkpoint::new());
    /// saved.generator("random", &device)?.text("note", "no state")?;
    /// assert!(saved.load_generator("random", &device).is_ok() && saved.load_generator("note", &device).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn load_generator(&self, name: &str, device: &Device) -> Result<()> {
        let text = self.get_text(name)?;
        let state = text.split_once(' ').and_then(|(seed, draws)| Some((seed.parse().ok()?, draws.parse().ok()?)));
        match state {
            Some(state) => device.generator().set_state(state),
            None => bail!(Value, OP, "{name:?} is no random state: {text:?}"),
        }
        Ok(())
    }
}
