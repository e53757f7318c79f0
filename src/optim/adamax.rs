//! Adamax: Adam with the largest gradient in place of the mean square.

use super::Optim;
use super::formula::{formula, gradient};
use super::rule::{Keep, Rule, State, betas, by_options, not_negative, options, shares};
use crate::error::Result;
use crate::tensor::Tensor;

options! {
    /// Settings of [`Adamax`], PyTorch's names and defaults.
    ///
    /// ```
    /// let options = calor::optim::AdamaxOptions::default();
    /// assert_eq!((options.lr, options.beta1, options.beta2), (2e-3, 0.9, 0.999));
    /// ```
    AdamaxOptions {
        /// Learning rate.
        lr: f64 = 2e-3,
        /// How much of the mean gradient goes on.
        beta1: f64 = 0.9,
        /// How much of the largest gradient goes on.
        beta2: f64 = 0.999,
        /// Keeps the divisor from zero.
        eps: f64 = 1e-8,
        /// The parameter times this is added to its gradient.
        weight_decay: f64 = 0.0,
        /// Ascends instead.
        maximize: bool = false,
    }
}

/// Adamax: `m = beta1 m + (1 - beta1) g`, `u = max(beta2 u, |g| + eps)`, `p -= lr / (1 - beta1^t) m / u`.
///
/// Kingma and Ba, [Adam: A Method for Stochastic Optimization](https://arxiv.org/abs/1412.6980), section 7.1.
///
/// ```
/// use calor::nn::Parameter;
/// use calor::optim::{Adamax, AdamaxOptions, Optimizer};
/// use calor::Tensor;
/// let w = Parameter::new(&Tensor::ones([2], ())?)?;
/// let mut optimizer = Adamax::new([w.clone()], AdamaxOptions::new(0.5))?;
/// (&w * 3.0)?.sum()?.backward()?;
/// optimizer.step()?;
/// assert!((w.tensor().to_vec::<f32>()?[0] - 0.5).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
pub type Adamax = Optim<AdamaxOptions>;

impl Rule for AdamaxOptions {
    const NAME: &'static str = "Adamax";
    const COUNTS: bool = true;
    const ELEMENTWISE: bool = true;

    by_options!();

    fn check(&self) -> Result<()> {
        not_negative(Self::NAME, "learning rate", self.lr)?;
        not_negative(Self::NAME, "epsilon value", self.eps)?;
        not_negative(Self::NAME, "weight_decay value", self.weight_decay)?;
        shares(Self::NAME, "beta", &[self.beta1, self.beta2])
    }

    fn keeps(&self, _: &[usize]) -> Vec<Keep> {
        vec![Keep::zeros("exp_avg"), Keep::zeros("exp_inf")]
    }

    fn update(&self, p: &Tensor, g: &Tensor, state: &State) -> Result<()> {
        let (o, dtype) = (self, p.dtype());
        let (mean, largest) = (state.get("exp_avg")?, state.get("exp_inf")?);
        let new_mean = formula("adamax_mean", dtype, |f| {
            let g = gradient(f, p, g, o.maximize, o.weight_decay);
            f.read(mean).lerp(g, 1.0 - o.beta1)
        })?;
        let new_largest = formula("adamax_largest", dtype, |f| {
            let g = gradient(f, p, g, o.maximize, o.weight_decay);
            (f.read(largest) * o.beta2).maximum(g.abs() + o.eps)
        })?;
        let new = formula("adamax", dtype, |f| {
            let rate = o.lr / f.number(&state.step).correction(o.beta1);
            f.read(p) - f.read(&new_mean) / f.read(&new_largest) * rate
        })?;
        mean.write(&new_mean)?;
        largest.write(&new_largest)?;
        p.write(&new)
    }
}
betas!(AdamaxOptions);
