//! NAdam: Adam with Nesterov momentum.

use super::Optim;
use super::formula::{Number, Term, formula, gradient};
use super::rule::{Keep, Rule, State, betas, by_options, not_negative, options, shares};
use crate::error::Result;
use crate::tensor::Tensor;

options! {
    /// Settings of [`NAdam`], PyTorch's names and defaults.
    ///
    /// ```
    /// let options = calor::optim::NAdamOptions::default();
    /// assert_eq!((options.lr, options.momentum_decay), (2e-3, 4e-3));
    /// ```
    NAdamOptions {
        /// Learning rate.
        lr: f64 = 2e-3,
        /// How much of the mean gradient goes on.
        beta1: f64 = 0.9,
        /// How much of the mean squared gradient goes on.
        beta2: f64 = 0.999,
        /// Keeps the divisor from zero.
        eps: f64 = 1e-8,
        /// The parameter times this is added to its gradient.
        weight_decay: f64 = 0.0,
        /// How fast the momentum grows towards `beta1`.
        momentum_decay: f64 = 4e-3,
        /// The parameter shrinks by `lr weight_decay` instead of the gradient growing.
        decoupled_weight_decay: bool = false,
        /// Ascends instead.
        maximize: bool = false,
    }
}

/// NAdam: [`Adam`](super::Adam)'s means, and a step that looks ahead along the momentum
/// `mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)`:
/// `p -= lr (1 - mu_t) / (1 - mu_1 .. mu_t) g / d + lr mu_(t+1) / (1 - mu_1 .. mu_(t+1)) m / d`, where
/// `d = sqrt(v / (1 - beta2^t)) + eps`.
///
/// Dozat, [Incorporating Nesterov Momentum into Adam](https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ).
///
/// ```
/// use calor::nn::Parameter;
/// use calor::optim::{NAdam, NAdamOptions, Optimizer};
/// use calor::Tensor;
/// let w = Parameter::new(&Tensor::ones([2], ())?)?;
/// let mut optimizer = NAdam::new([w.clone()], NAdamOptions::new(0.5))?;
/// (&w * 3.0)?.sum()?.backward()?;
/// optimizer.step()?;
/// assert!((w.tensor().to_vec::<f32>()?[0] - 0.471_774).abs() < 1e-5);
/// # Ok::<(), calor::Error>(())
/// ```
pub type NAdam = Optim<NAdamOptions>;

impl Rule for NAdamOptions {
    const NAME: &'static str = "NAdam";
    const COUNTS: bool = true;
    const ELEMENTWISE: bool = true;

    by_options!();

    fn check(&self) -> Result<()> {
        not_negative(Self::NAME, "learning rate", self.lr)?;
        not_negative(Self::NAME, "epsilon value", self.eps)?;
        not_negative(Self::NAME, "weight_decay value", self.weight_decay)?;
        not_negative(Self::NAME, "momentum_decay value", self.momentum_decay)?;
        shares(Self::NAME, "beta", &[self.beta1, self.beta2])
    }

    fn keeps(&self, _: &[usize]) -> Vec<Keep> {
        vec![Keep::zeros("exp_avg"), Keep::zeros("exp_avg_sq")]
    }

    fn numbers(&self) -> Vec<(&'static str, f64)> {
        vec![("mu_product", 1.0)]
    }

    fn advance(&self, state: &State) -> Result<Vec<(&'static str, Number)>> {
        let before = state.number("mu_product")?;
        Ok(vec![("mu_product", Number::of(|f| self.product(f.number(before), f.number(&state.step)))?)])
    }

    fn update(&self, p: &Tensor, g: &Tensor, state: &State) -> Result<()> {
        let (o, dtype) = (self, p.dtype());
        let (mean, square) = (state.get("exp_avg")?, state.get("exp_avg_sq")?);
        let coupled = if o.decoupled_weight_decay { 0.0 } else { o.weight_decay };
        let kept = if o.decoupled_weight_decay { 1.0 - o.lr * o.weight_decay } else { 1.0 };
        let new_mean =
            formula("nadam_mean", dtype, |f| f.read(mean).lerp(gradient(f, p, g, o.maximize, coupled), 1.0 - o.beta1))?;
        let new_square = formula("nadam_square", dtype, |f| {
            let g = gradient(f, p, g, o.maximize, coupled);
            f.read(square) * o.beta2 + g * g * (1.0 - o.beta2)
        })?;
        let before = state.number("mu_product")?;
        let new = formula("nadam", dtype, |f| {
            let step = f.number(&state.step);
            let (product, next) = (o.product(f.number(before), step), o.momentum(step + 1.0));
            let by_gradient = o.lr * (1.0 - o.momentum(step)) / (1.0 - product);
            let by_mean = o.lr * next / (1.0 - product * next);
            let correction = step.correction(o.beta2);
            let g = gradient(f, p, g, o.maximize, coupled);
            let divisor = (f.read(&new_square) / correction).sqrt() + o.eps;
            let p = if kept == 1.0 { f.read(p) } else { f.read(p) * kept };
            p - g / divisor * by_gradient - f.read(&new_mean) / divisor * by_mean
        })?;
        mean.write(&new_mean)?;
        square.write(&new_square)?;
        p.write(&new)
    }
}
betas!(NAdamOptions);

impl NAdamOptions {
    /// The momentum of a step.
    fn momentum<'f>(&self, step: Term<'f>) -> Term<'f> {
        let power = 1.0 - (step * self.momentum_decay).correction(0.96);
        self.beta1 * (1.0 - 0.5 * power)
    }

    /// The product of all momenta up to this step, which PyTorch keeps in single precision.
    fn product<'f>(&self, before: Term<'f>, step: Term<'f>) -> Term<'f> {
        (before.single() * self.momentum(step).single()).single()
    }
}
