//! RAdam: Adam that waits until its mean square can be trusted.

use super::Optim;
use super::formula::{Term, formula, gradient};
use super::rule::{Keep, Rule, State, betas, by_options, not_negative, options, shares};
use crate::error::Result;
use crate::tensor::Tensor;

options! {
    /// Settings of [`RAdam`], PyTorch's names and defaults.
    ///
    /// ```
    /// let options = calor::optim::RAdamOptions::default().decoupled_weight_decay(true);
    /// assert_eq!((options.lr, options.decoupled_weight_decay), (1e-3, true));
    /// ```
    RAdamOptions {
        /// Learning rate.
        lr: f64 = 1e-3,
        /// How much of the mean gradient goes on.
        beta1: f64 = 0.9,
        /// How much of the mean squared gradient goes on.
        beta2: f64 = 0.999,
        /// Keeps the divisor from zero.
        eps: f64 = 1e-8,
        /// The parameter times this is added to its gradient.
        weight_decay: f64 = 0.0,
        /// The parameter shrinks by `lr weight_decay` instead of the gradient growing.
        decoupled_weight_decay: bool = false,
        /// Ascends instead.
        maximize: bool = false,
    }
}

/// RAdam: [`Adam`](super::Adam)'s means with a rectified rate. With `r_inf = 2 / (1 - beta2) - 1` and
/// `r = r_inf - 2 t beta2^t / (1 - beta2^t)`: while `r <= 5`, `p -= lr m / (1 - beta1^t)`, then times
/// `sqrt((r - 4) (r - 2) r_inf / ((r_inf - 4) (r_inf - 2) r)) sqrt(1 - beta2^t) / (sqrt(v) + eps)`.
///
/// Liu and others, [On the Variance of the Adaptive Learning Rate and Beyond](https://arxiv.org/abs/1908.03265).
///
/// ```
/// use calor::nn::Parameter;
/// use calor::optim::{RAdam, RAdamOptions, Optimizer};
/// use calor::Tensor;
/// let w = Parameter::new(&Tensor::ones([2], ())?)?;
/// let mut optimizer = RAdam::new([w.clone()], RAdamOptions::new(0.25))?;
/// (&w * 2.0)?.sum()?.backward()?;
/// optimizer.step()?;
/// assert!((w.tensor().to_vec::<f32>()?[0] - 0.5).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
pub type RAdam = Optim<RAdamOptions>;

impl Rule for RAdamOptions {
    const NAME: &'static str = "RAdam";
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
        vec![Keep::zeros("exp_avg"), Keep::zeros("exp_avg_sq")]
    }

    fn update(&self, p: &Tensor, g: &Tensor, state: &State) -> Result<()> {
        let (o, dtype) = (self, p.dtype());
        let (mean, square) = (state.get("exp_avg")?, state.get("exp_avg_sq")?);
        let coupled = if o.decoupled_weight_decay { 0.0 } else { o.weight_decay };
        let kept = if o.decoupled_weight_decay { 1.0 - o.lr * o.weight_decay } else { 1.0 };
        let new_mean =
            formula("radam_mean", dtype, |f| f.read(mean).lerp(gradient(f, p, g, o.maximize, coupled), 1.0 - o.beta1))?;
        let new_square = formula("radam_square", dtype, |f| {
            let g = gradient(f, p, g, o.maximize, coupled);
            f.read(square) * o.beta2 + g * g * (1.0 - o.beta2)
        })?;
        let new = formula("radam", dtype, |f| {
            let p = if kept == 1.0 { f.read(p) } else { f.read(p) * kept };
            let step = f.number(&state.step);
            let rate = o.lr / step.correction(o.beta1);
            let (length, factor) = o.rectification(step);
            let mean = f.read(&new_mean);
            let adapted = || mean / (f.read(&new_square).sqrt() + o.eps) * (rate * factor);
            // few steps say too little of the mean square
            p - length.above(5.0, adapted, || mean * rate)
        })?;
        mean.write(&new_mean)?;
        square.write(&new_square)?;
        p.write(&new)
    }
}
betas!(RAdamOptions);

impl RAdamOptions {
    /// How many steps the mean square stands for, and what the adaptive step is multiplied by.
    fn rectification<'f>(&self, step: Term<'f>) -> (Term<'f>, Term<'f>) {
        let correction = step.correction(self.beta2);
        let limit = 2.0 / (1.0 - self.beta2) - 1.0;
        let length = limit - 2.0 * step * (1.0 - correction) / correction;
        let trust = (length - 4.0) * (length - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * length);
        (length, trust.sqrt() * correction.sqrt())
    }
}
