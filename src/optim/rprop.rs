//! Rprop: steps by the signs of gradients alone.

use super::Optim;
use super::formula::formula;
use super::rule::{Keep, Rule, State, by_options, not_negative, options};
use crate::error::{Result, bail};
use crate::tensor::Tensor;

options! {
    /// Settings of [`Rprop`], PyTorch's names and defaults.
    ///
    /// ```
    /// let options = calor::optim::RpropOptions::default();
    /// assert_eq!((options.eta_minus, options.eta_plus, options.step_max), (0.5, 1.2, 50.0));
    /// ```
    RpropOptions {
        /// Learning rate.
        lr: f64 = 1e-2,
        /// What a step is multiplied by where the gradient changed its sign.
        eta_minus: f64 = 0.5,
        /// What a step is multiplied by where it kept it.
        eta_plus: f64 = 1.2,
        /// The smallest step.
        step_min: f64 = 1e-6,
        /// The largest step.
        step_max: f64 = 50.0,
        /// Ascends instead.
        maximize: bool = false,
    }
}

/// Resilient backpropagation: each element has a step of its own, `lr` at first. Where `g` has the sign that it had before,
/// the step grows by `eta_plus`; where it has the other, the step shrinks by `eta_minus` and `g` counts as 0. Then
/// `p -= sign(g) step`.
///
/// Riedmiller and Braun, [A Direct Adaptive Method for Faster Backpropagation
/// Learning](https://doi.org/10.1109/ICNN.1993.298623).
///
/// ```
/// use calor::nn::Parameter;
/// use calor::optim::{Rprop, RpropOptions, Optimizer};
/// use calor::Tensor;
/// let w = Parameter::new(&Tensor::ones([2], ())?)?;
/// let mut optimizer = Rprop::new([w.clone()], RpropOptions::new(0.25))?;
/// (&w * 3.0)?.sum()?.backward()?;
/// optimizer.step()?;
/// assert!((w.tensor().to_vec::<f32>()?[0] - 0.75).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
pub type Rprop = Optim<RpropOptions>;

impl Rule for RpropOptions {
    const NAME: &'static str = "Rprop";
    const COUNTS: bool = true;
    const ELEMENTWISE: bool = true;

    by_options!();

    fn check(&self) -> Result<()> {
        not_negative(Self::NAME, "learning rate", self.lr)?;
        not_negative(Self::NAME, "step_min value", self.step_min)?;
        if !(0.0 < self.eta_minus && self.eta_minus < 1.0 && 1.0 < self.eta_plus) {
            bail!(Value, Self::NAME, "invalid eta values: {}, {}", self.eta_minus, self.eta_plus);
        }
        Ok(())
    }

    fn keeps(&self, _: &[usize]) -> Vec<Keep> {
        vec![Keep::zeros("prev"), Keep::filled("step_size", self.lr)]
    }

    fn update(&self, p: &Tensor, g: &Tensor, state: &State) -> Result<()> {
        let (o, dtype) = (self, p.dtype());
        let (before, size) = (state.get("prev")?, state.get("step_size")?);
        let ascent = if o.maximize { -1.0 } else { 1.0 };
        let new_size = formula("rprop_size", dtype, |f| {
            let agree = f.read(g) * f.read(before) * ascent;
            let factor = agree.by_sign(agree.constant(o.eta_minus), agree.constant(1.0), agree.constant(o.eta_plus));
            (f.read(size) * factor).clamp(o.step_min, o.step_max)
        })?;
        let used = formula("rprop_used", dtype, |f| {
            let g = f.read(g) * ascent;
            (g * f.read(before)).by_sign(g.constant(0.0), g, g)
        })?;
        let new = formula("rprop", dtype, |f| f.read(p) - f.read(&used).sign() * f.read(&new_size))?;
        before.write(&used)?;
        size.write(&new_size)?;
        p.write(&new)
    }
}
