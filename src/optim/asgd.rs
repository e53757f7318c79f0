//! Averaged stochastic gradient descent.

use super::Optim;
use super::formula::{Number, formula, gradient};
use super::rule::{Keep, Rule, State, by_options, not_negative, options};
use crate::error::Result;
use crate::tensor::Tensor;

options! {
    /// Settings of [`Asgd`], PyTorch's names and defaults.
    ///
    /// ```
    /// let options = calor::optim::AsgdOptions::default();
    /// assert_eq!((options.lr, options.lambd, options.t0), (1e-2, 1e-4, 1e6));
    /// ```
    AsgdOptions {
        /// Learning rate.
        lr: f64 = 1e-2,
        /// How fast the step length falls, and how much the parameter shrinks by it.
        lambd: f64 = 1e-4,
        /// The power of the step length's fall.
        alpha: f64 = 0.75,
        /// The step at which averaging starts.
        t0: f64 = 1e6,
        /// The parameter times this is added to its gradient.
        weight_decay: f64 = 0.0,
        /// Ascends instead.
        maximize: bool = false,
    }
}

/// Averaged SGD: `p = (1 - lambd eta) p - eta g`, `a += mu (p - a)`, and for the next step
/// `eta = lr / (1 + lambd lr t)^alpha`, `mu = 1 / max(1, t - t0)`. The average `a` is `ax` in the state dict.
///
/// Polyak and Juditsky, [Acceleration of Stochastic Approximation by
/// Averaging](https://doi.org/10.1137/0330046).
///
/// ```
/// use calor::nn::Parameter;
/// use calor::optim::{Asgd, AsgdOptions, Optimizer};
/// use calor::Tensor;
/// let w = Parameter::new(&Tensor::ones([2], ())?)?;
/// let mut optimizer = Asgd::new([w.clone()], AsgdOptions::new(0.25).lambd(0.0))?;
/// (&w * 2.0)?.sum()?.backward()?;
/// optimizer.step()?;
/// assert!((w.tensor().to_vec::<f32>()?[0] - 0.5).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
pub type Asgd = Optim<AsgdOptions>;

impl Rule for AsgdOptions {
    const NAME: &'static str = "ASGD";
    const COUNTS: bool = true;
    const ELEMENTWISE: bool = true;

    by_options!();

    fn check(&self) -> Result<()> {
        not_negative(Self::NAME, "learning rate", self.lr)?;
        not_negative(Self::NAME, "weight_decay value", self.weight_decay)?;
        Ok(())
    }

    fn keeps(&self, _: &[usize]) -> Vec<Keep> {
        vec![Keep::zeros("ax")]
    }

    fn numbers(&self) -> Vec<(&'static str, f64)> {
        vec![("eta", f64::from(self.lr as f32)), ("mu", 1.0)]
    }

    fn advance(&self, state: &State) -> Result<Vec<(&'static str, Number)>> {
        // PyTorch keeps both in single precision
        let eta = Number::of(|f| {
            let step = f.number(&state.step);
            (self.lr / (1.0 + self.lambd * self.lr * step).powf(self.alpha)).single()
        })?;
        let mu = Number::of(|f| {
            let later = f.number(&state.step) - self.t0;
            (1.0 / later.maximum(later.constant(1.0))).single()
        })?;
        Ok(vec![("eta", eta), ("mu", mu)])
    }

    fn update(&self, p: &Tensor, g: &Tensor, state: &State) -> Result<()> {
        let (o, dtype) = (self, p.dtype());
        let average = state.get("ax")?;
        let (eta, mu) = (state.number("eta")?, state.number("mu")?);
        let new = formula("asgd", dtype, |f| {
            let eta = f.number(eta);
            f.read(p) * (1.0 - o.lambd * eta) - gradient(f, p, g, o.maximize, o.weight_decay) * eta
        })?;
        let new_average = formula("asgd_average", dtype, |f| {
            let (new, mu) = (f.read(&new), f.number(mu));
            let lerp = || f.read(average) + (new - f.read(average)) * mu;
            // a share of 1 copies, whatever was there before
            (1.0 - mu).above(0.0, lerp, || new * 1.0)
        })?;
        average.write(&new_average)?;
        p.write(&new)
    }
}
