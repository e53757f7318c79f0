//! Loss scaling, so that small gradients do not vanish in f16.

use super::Optimizer;
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::nn::{Parameter, StateDict};
use crate::no_grad;
use crate::tensor::{Device, Tensor};

/// Settings of a [`GradScaler`]: PyTorch's.
///
/// ```
/// use calor::{Device, optim::{GradScaler, GradScalerOptions}};
/// let options = GradScalerOptions { init_scale: 8.0, ..GradScalerOptions::default() };
/// assert_eq!(GradScaler::new(&Device::best()?, options)?.get_scale()?, 8.0);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct GradScalerOptions {
    /// What losses are multiplied by at first.
    pub init_scale: f64,
    /// The factor of the scale after `growth_interval` steps without overflow.
    pub growth_factor: f64,
    /// The factor of the scale after an overflow.
    pub backoff_factor: f64,
    /// Steps without overflow before the scale grows.
    pub growth_interval: u32,
    /// Whether it does anything.
    pub enabled: bool,
}

impl Default for GradScalerOptions {
    fn default() -> Self {
        Self { init_scale: 65536.0, growth_factor: 2.0, backoff_factor: 0.5, growth_interval: 2000, enabled: true }
    }
}

impl GradScalerOptions {
    fn check(&self) -> Result<()> {
        if self.growth_factor.is_nan() || self.growth_factor <= 1.0 {
            bail!(Value, "GradScaler", "the growth factor must be > 1.0, got {}", self.growth_factor);
        }
        if !(self.backoff_factor > 0.0 && self.backoff_factor < 1.0) {
            bail!(Value, "GradScaler", "the backoff factor must be between 0.0 and 1.0, got {}", self.backoff_factor);
        }
        Ok(())
    }
}

impl From<()> for GradScalerOptions {
    fn from((): ()) -> Self {
        Self::default()
    }
}

/// How far an optimizer came since the last `update`.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Unscaled,
    Stepped,
}

/// Multiplies losses by a scale that grows until gradients overflow, and skips steps whose gradients did:
/// `torch.amp.GradScaler` (Micikevicius et al. 2018). Scale, overflow and the decision stay on the device: a step reads nothing
/// back.
///
/// ```
/// use calor::optim::{GradScaler, Optimizer, Sgd, SgdOptions};
/// use calor::{Device, Tensor, nn::Parameter};
/// let w = Parameter::new(&Tensor::new([1.0f32], ())?)?;
/// let mut sgd = Sgd::new([w.clone()], SgdOptions::new(0.5))?;
/// let mut scaler = GradScaler::new(&Device::best()?, ())?;
/// for (factor, want) in [(2.0, 0.0), (f64::INFINITY, 0.0), (2.0, -1.0)] {
///     sgd.zero_grad();
///     scaler.scale(&(w.tensor() * factor)?.sum()?)?.backward()?;
///     scaler.step(&mut sgd)?;
///     scaler.update()?;
///     assert_eq!(w.tensor().item()?, want); // the second step was none
/// }
/// assert_eq!(scaler.get_scale()?, 32768.0);
/// # Ok::<(), calor::Error>(())
/// ```
pub struct GradScaler {
    options: GradScalerOptions,
    scale: Tensor,
    /// Steps without overflow so far.
    growth_tracker: Tensor,
    /// Optimizers since the last update, by their first parameter, and whether their gradients overflowed.
    seen: Vec<(Parameter, Stage, Tensor)>,
}

impl GradScaler {
    /// A scaler for optimizers on a device.
    ///
    /// ```
    /// use calor::{Device, optim::{GradScaler, GradScalerOptions}};
    /// let device = Device::best()?;
    /// assert_eq!(GradScaler::new(&device, ())?.get_scale()?, 65536.0);
    /// let shrinks = GradScalerOptions { growth_factor: 0.5, ..GradScalerOptions::default() };
    /// assert!(GradScaler::new(&device, shrinks).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` for factors that do not grow and shrink.
    pub fn new(device: &Device, options: impl Into<GradScalerOptions>) -> Result<Self> {
        let options = options.into();
        options.check()?;
        let o = &options;
        let scale = Tensor::full([], o.init_scale, (DType::F32, device))?;
        let growth_tracker = Tensor::zeros([], (DType::I32, device))?;
        Tensor::eval_all(&[scale.clone(), growth_tracker.clone()])?;
        Ok(Self { options, scale, growth_tracker, seen: Vec::new() })
    }

    /// The loss times the scale.
    ///
    /// ```
    /// use calor::{Device, Tensor, optim::GradScaler};
    /// let scaler = GradScaler::new(&Device::best()?, ())?;
    /// assert_eq!(scaler.scale(&Tensor::new([2.0f32], ())?)?.item()?, 131072.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn scale(&self, loss: &Tensor) -> Result<Tensor> {
        if self.options.enabled { loss.mul(self.scale.snapshot()?) } else { Ok(loss.clone()) }
    }

    fn place(&self, first: &Parameter) -> Option<usize> {
        self.seen.iter().position(|(p, ..)| p.same(first))
    }

    /// Divides the gradients of an optimizer by the scale, for whoever wants to clip or look at them before
    /// [`GradScaler::step`], which does it otherwise.
    ///
    /// ```
    /// use calor::{Device, Tensor, nn::Parameter, optim::{GradScaler, Sgd, SgdOptions}};
    /// let w = Parameter::new(&Tensor::new([1.0f32], ())?)?;
    /// let sgd = Sgd::new([w.clone()], SgdOptions::new(0.5))?;
    /// let mut scaler = GradScaler::new(&Device::best()?, ())?;
    /// scaler.scale(&(w.tensor() * 3.0)?.sum()?)?.backward()?;
    /// scaler.unscale_(&sgd)?;
    /// assert_eq!(w.grad().unwrap().item()?, 3.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where that was done since the last update, `DType` for gradients in f16.
    pub fn unscale_(&mut self, optimizer: &dyn Optimizer) -> Result<()> {
        if !self.options.enabled {
            return Ok(());
        }
        let parameters = optimizer.parameters();
        let Some(first) = parameters.first() else { return Ok(()) };
        match self.place(first).map(|at| self.seen[at].1) {
            Some(Stage::Unscaled) => {
                bail!(Value, "unscale_", "has already been called on this optimizer since the last update()")
            }
            Some(Stage::Stepped) => bail!(Value, "unscale_", "is being called after step()"),
            None => {}
        }
        let gradients: Vec<Tensor> = parameters.iter().filter_map(Parameter::grad).collect();
        if gradients.iter().any(|g| g.dtype() == DType::F16) {
            bail!(DType, "unscale_", "attempting to unscale f16 gradients: keep parameters in f32 and use autocast");
        }
        let overflow = no_grad(|| {
            let inverse = self.scale.snapshot()?.reciprocal()?;
            let mut overflow: Option<Tensor> = None;
            for gradient in &gradients {
                let own = gradient.isfinite()?.logical_not()?.any()?;
                overflow = Some(match overflow {
                    Some(known) => known.logical_or(&own)?,
                    None => own,
                });
                gradient.modify("unscale_", |g| g.mul(&inverse))?;
            }
            match overflow {
                Some(overflow) => Ok(overflow),
                None => Tensor::full([], false, (DType::Bool, self.scale.device())),
            }
        })?;
        self.seen.push((first.clone(), Stage::Unscaled, overflow));
        Ok(())
    }

    /// Unscales the gradients of an optimizer, where that was not done, and steps unless one of them is infinite or NaN.
    ///
    /// ```
    /// use calor::{Device, Tensor, nn::Parameter, optim::{GradScaler, Sgd, SgdOptions}};
    /// let w = Parameter::new(&Tensor::new([1.0f32], ())?)?;
    /// let mut sgd = Sgd::new([w.clone()], SgdOptions::new(0.5))?;
    /// let mut scaler = GradScaler::new(&Device::best()?, ())?;
    /// scaler.scale(&(w.tensor() * 4.0)?.sum()?)?.backward()?;
    /// scaler.step(&mut sgd)?;
    /// assert_eq!(w.tensor().item()?, -1.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where it stepped already since the last update; those of [`GradScaler::unscale_`] and of the optimizer.
    pub fn step(&mut self, optimizer: &mut dyn Optimizer) -> Result<()> {
        if !self.options.enabled {
            return optimizer.step();
        }
        let parameters = optimizer.parameters();
        let Some(first) = parameters.first() else { return optimizer.step() };
        if self.place(first).is_none() {
            self.unscale_(optimizer)?;
        }
        let Some(at) = self.place(first) else { return optimizer.step() };
        if self.seen[at].1 == Stage::Stepped {
            bail!(Value, "step", "has already been called since the last update()");
        }
        optimizer.step_unless(&self.seen[at].2)?;
        self.seen[at].1 = Stage::Stepped;
        Ok(())
    }

    /// Lowers the scale where gradients overflowed since the last update, raises it after enough steps where none did.
    ///
    /// ```
    /// use calor::{Device, Tensor, nn::Parameter, optim::{GradScaler, Sgd, SgdOptions}};
    /// let w = Parameter::new(&Tensor::new([1.0f32], ())?)?;
    /// let mut sgd = Sgd::new([w.clone()], SgdOptions::new(0.5))?;
    /// let mut scaler = GradScaler::new(&Device::best()?, ())?;
    /// scaler.scale(&(w.tensor() * f64::INFINITY)?.sum()?)?.backward()?;
    /// scaler.step(&mut sgd)?;
    /// scaler.update()?;
    /// assert_eq!(scaler.get_scale()?, 32768.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where no optimizer was unscaled or stepped.
    pub fn update(&mut self) -> Result<()> {
        if !self.options.enabled {
            return Ok(());
        }
        let mut seen = std::mem::take(&mut self.seen).into_iter().map(|(.., overflow)| overflow);
        let Some(first) = seen.next() else {
            bail!(Value, "update", "no inf checks were recorded prior to update");
        };
        let o = &self.options;
        no_grad(|| {
            let overflow = seen.try_fold(first, |all, one| all.logical_or(&one))?;
            let (scale, steps) = (self.scale.snapshot()?, self.growth_tracker.snapshot()?.add(1)?);
            let due = steps.ge(i64::from(o.growth_interval))?;
            let grown = scale.mul(o.growth_factor)?;
            // a scale that overflows itself would end all steps
            let grown = grown.isfinite()?.logical_and(&due)?.where_(&grown, &scale)?;
            self.scale.write(&overflow.where_(&scale.mul(o.backoff_factor)?, &grown)?)?;
            self.growth_tracker.write(&overflow.logical_or(&due)?.where_(0, &steps)?)
        })
    }

    /// Sets the scale and makes ready for the next iteration, whatever gradients were: PyTorch's `update(new_scale)`.
    ///
    /// ```
    /// use calor::{Device, optim::GradScaler};
    /// let mut scaler = GradScaler::new(&Device::best()?, ())?;
    /// scaler.update_to(64.0)?;
    /// scaler.set_growth_interval(10);
    /// scaler.set_growth_factor(4.0)?;
    /// scaler.set_backoff_factor(0.25)?;
    /// assert_eq!((scaler.get_scale()?, scaler.get_growth_interval()), (64.0, 10));
    /// assert_eq!((scaler.get_growth_factor(), scaler.get_backoff_factor()), (4.0, 0.25));
    /// assert!(scaler.set_growth_factor(1.0).is_err() && scaler.set_backoff_factor(1.0).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn update_to(&mut self, new_scale: f64) -> Result<()> {
        if !self.options.enabled {
            return Ok(());
        }
        self.seen.clear();
        let like = (DType::F32, self.scale.device());
        no_grad(|| self.scale.write(&Tensor::full([], new_scale, like)?))
    }

    /// Whether it does anything.
    ///
    /// ```
    /// use calor::{Device, optim::{GradScaler, GradScalerOptions}};
    /// let off = GradScalerOptions { enabled: false, ..GradScalerOptions::default() };
    /// assert!(!GradScaler::new(&Device::best()?, off)?.is_enabled());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn is_enabled(&self) -> bool {
        self.options.enabled
    }

    /// The factor of the scale after enough steps without overflow.
    ///
    /// ```
    /// use calor::{Device, optim::GradScaler};
    /// assert_eq!(GradScaler::new(&Device::best()?, ())?.get_growth_factor(), 2.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn get_growth_factor(&self) -> f64 {
        self.options.growth_factor
    }

    /// Changes that factor.
    ///
    /// ```
    /// use calor::{Device, optim::GradScaler};
    /// let mut scaler = GradScaler::new(&Device::best()?, ())?;
    /// scaler.set_growth_factor(4.0)?;
    /// assert!(scaler.get_growth_factor() == 4.0 && scaler.set_growth_factor(1.0).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where it is not above 1.
    pub fn set_growth_factor(&mut self, new_factor: f64) -> Result<()> {
        self.set_options(GradScalerOptions { growth_factor: new_factor, ..self.options.clone() })
    }

    /// The factor of the scale after an overflow.
    ///
    /// ```
    /// use calor::{Device, optim::GradScaler};
    /// assert_eq!(GradScaler::new(&Device::best()?, ())?.get_backoff_factor(), 0.5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn get_backoff_factor(&self) -> f64 {
        self.options.backoff_factor
    }

    /// Changes that factor.
    ///
    /// ```
    /// use calor::{Device, optim::GradScaler};
    /// let mut scaler = GradScaler::new(&Device::best()?, ())?;
    /// scaler.set_backoff_factor(0.25)?;
    /// assert!(scaler.get_backoff_factor() == 0.25 && scaler.set_backoff_factor(1.0).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where it is not between 0 and 1.
    pub fn set_backoff_factor(&mut self, new_factor: f64) -> Result<()> {
        self.set_options(GradScalerOptions { backoff_factor: new_factor, ..self.options.clone() })
    }

    /// Steps without overflow before the scale grows.
    ///
    /// ```
    /// use calor::{Device, optim::GradScaler};
    /// assert_eq!(GradScaler::new(&Device::best()?, ())?.get_growth_interval(), 2000);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn get_growth_interval(&self) -> u32 {
        self.options.growth_interval
    }

    /// Changes how many these are.
    ///
    /// ```
    /// use calor::{Device, optim::GradScaler};
    /// let mut scaler = GradScaler::new(&Device::best()?, ())?;
    /// scaler.set_growth_interval(10);
    /// assert_eq!(scaler.get_growth_interval(), 10);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn set_growth_interval(&mut self, new_interval: u32) {
        self.options.growth_interval = new_interval;
    }

    fn set_options(&mut self, options: GradScalerOptions) -> Result<()> {
        options.check()?;
        self.options = options;
        Ok(())
    }

    /// Steps without overflow so far; waits for them.
    pub(crate) fn growth_tracker(&self) -> Result<u32> {
        Ok(self.growth_tracker.item()? as u32)
    }

    /// Takes a whole state: scale, steps without overflow, and both factors with the interval.
    pub(crate) fn restore(&mut self, scale: f64, steps: u32, (grow, back, every): (f64, f64, u32)) -> Result<()> {
        let new =
            GradScalerOptions { growth_factor: grow, backoff_factor: back, growth_interval: every, ..self.options };
        self.set_options(new)?;
        self.update_to(scale)?;
        let like = (DType::I32, self.scale.device());
        no_grad(|| self.growth_tracker.write(&Tensor::full([], f64::from(steps), like)?))
    }

    /// The scale; waits for it. 1 where the scaler is off.
    ///
    /// ```
    /// use calor::{Device, optim::{GradScaler, GradScalerOptions}};
    /// let off = GradScalerOptions { enabled: false, ..GradScalerOptions::default() };
    /// assert_eq!(GradScaler::new(&Device::best()?, off)?.get_scale()?, 1.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn get_scale(&self) -> Result<f64> {
        if self.options.enabled { self.scale.item() } else { Ok(1.0) }
    }

    /// Scale and number of steps without overflow as `scale` and `growth_tracker`; empty where the scaler is off.
    ///
    /// ```
    /// use calor::{Device, optim::GradScaler};
    /// let state = GradScaler::new(&Device::best()?, ())?.state_dict();
    /// assert_eq!(state.get("scale").unwrap().item()?, 65536.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn state_dict(&self) -> StateDict {
        let mut out = StateDict::new();
        if self.options.enabled {
            out.insert("scale", self.scale.detach());
            out.insert("growth_tracker", self.growth_tracker.detach());
        }
        out
    }

    /// Takes what [`GradScaler::state_dict`] gave; PyTorch's name `_growth_tracker` and its factors are known too.
    ///
    /// ```
    /// use calor::{Device, optim::{GradScaler, GradScalerOptions}};
    /// let device = Device::best()?;
    /// let saved = GradScaler::new(&device, ())?.state_dict();
    /// let options = GradScalerOptions { init_scale: 8.0, ..GradScalerOptions::default() };
    /// let mut scaler = GradScaler::new(&device, options)?;
    /// scaler.load_state_dict(&saved)?;
    /// assert_eq!(scaler.get_scale()?, 65536.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where one of them is missing, `Shape` where one is not a single number.
    pub fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        if !self.options.enabled {
            return Ok(());
        }
        let find = |name: &str| state.get(name).or_else(|| state.get(&format!("_{name}")));
        let factor = |name: &str, own: f64| find(name).map_or(Ok(own), Tensor::item);
        let o = &self.options;
        let growth_factor = factor("growth_factor", o.growth_factor)?;
        let backoff_factor = factor("backoff_factor", o.backoff_factor)?;
        let growth_interval = factor("growth_interval", o.growth_interval.into())? as u32;
        self.set_options(GradScalerOptions { growth_factor, backoff_factor, growth_interval, ..self.options })?;
        for (name, own) in [("scale", &self.scale), ("growth_tracker", &self.growth_tracker)] {
            let Some(given) = find(name) else {
                bail!(Value, "load_state_dict", "the state of a gradient scaler has no {name:?}");
            };
            crate::nn::copy_into(own, given)?;
        }
        self.seen.clear();
        Ok(())
    }
}
