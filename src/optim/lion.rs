//! Lion: steps of equal length, by the sign of the momentum.

use super::Optim;
use super::formula::{formula, gradient};
use super::rule::{Keep, Rule, State, betas, by_options, not_negative, options, shares};
use crate::error::Result;
use crate::tensor::Tensor;

options! {
    /// Settings of [`Lion`], names as in [`Adam`](super::Adam), the paper's defaults.
    ///
    /// ```
    /// let options = calor::optim::LionOptions::default();
    /// assert_eq!((options.lr, options.beta1, options.beta2), (1e-4, 0.9, 0.99));
    /// ```
    LionOptions {
        /// Learning rate.
        lr: f64 = 1e-4,
        /// How much the momentum weighs in a step's direction.
        beta1: f64 = 0.9,
        /// How much of the momentum goes on.
        beta2: f64 = 0.99,
        /// The parameter shrinks by `lr` times this.
        weight_decay: f64 = 0.0,
        /// Ascends instead.
        maximize: bool = false,
    }
}

/// Lion: `p -= lr (sign(beta1 m + (1 - beta1) g) + weight_decay p)`, `m = beta2 m + (1 - beta2) g`.
///
/// Chen and others, [Symbolic Discovery of Optimization Algorithms](https://arxiv.org/abs/2302.06675).
///
/// ```
/// use calor::nn::Parameter;
/// use calor::optim::{Lion, LionOptions, Optimizer};
/// use calor::Tensor;
/// let w = Parameter::new(&Tensor::ones([2], ())?)?;
/// let mut optimizer = Lion::new([w.clone()], LionOptions::new(0.25))?;
/// (&w * -3.0)?.sum()?.backward()?;
/// optimizer.step()?;
/// assert!((w.tensor().to_vec::<f32>()?[0] - 1.25).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
pub type Lion = Optim<LionOptions>;

impl Rule for LionOptions {
    const NAME: &'static str = "Lion";
    const COUNTS: bool = true;
    const ELEMENTWISE: bool = true;

    by_options!();

    fn check(&self) -> Result<()> {
        not_negative(Self::NAME, "learning rate", self.lr)?;
        not_negative(Self::NAME, "weight_decay value", self.weight_decay)?;
        shares(Self::NAME, "beta", &[self.beta1, self.beta2])
    }

    fn keeps(&self, _: &[usize]) -> Vec<Keep> {
        vec![Keep::zeros("exp_avg")]
    }

    fn update(&self, p: &Tensor, g: &Tensor, state: &State) -> Result<()> {
        let (o, dtype) = (self, p.dtype());
        let mean = state.get("exp_avg")?;
        let new_mean =
            formula("lion_mean", dtype, |f| f.read(mean).lerp(gradient(f, p, g, o.maximize, 0.0), 1.0 - o.beta2))?;
        let new = formula("lion", dtype, |f| {
            let direction = f.read(mean).lerp(gradient(f, p, g, o.maximize, 0.0), 1.0 - o.beta1).sign();
            f.read(p) * (1.0 - o.lr * o.weight_decay) - direction * o.lr
        })?;
        mean.write(&new_mean)?;
        p.write(&new)
    }
}
betas!(LionOptions);
