//! Adam and AdamW.

use super::Optim;
use super::formula::{formula, gradient};
use super::rule::{Keep, Rule, State, betas, by_options, not_negative, options, shares};
use crate::error::Result;
use crate::tensor::Tensor;

options! {
    /// Settings of [`Adam`], PyTorch's names and defaults.
    ///
    /// ```
    /// let options = calor::optim::AdamOptions::default().amsgrad(true);
    /// assert_eq!((options.lr, options.beta1, options.beta2, options.amsgrad), (1e-3, 0.9, 0.999, true));
    /// ```
    AdamOptions {
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
        /// Divides by the largest mean square so far.
        amsgrad: bool = false,
        /// Ascends instead.
        maximize: bool = false,
        /// The parameter shrinks by `lr weight_decay` instead, as in [`AdamW`].
        decoupled_weight_decay: bool = false,
    }
}

options! {
    /// Settings of [`AdamW`], PyTorch's names and defaults.
    ///
    /// ```
    /// let options = calor::optim::AdamWOptions::new(0.1);
    /// assert_eq!((options.lr, options.weight_decay), (0.1, 1e-2));
    /// ```
    AdamWOptions {
        /// Learning rate.
        lr: f64 = 1e-3,
        /// How much of the mean gradient goes on.
        beta1: f64 = 0.9,
        /// How much of the mean squared gradient goes on.
        beta2: f64 = 0.999,
        /// Keeps the divisor from zero.
        eps: f64 = 1e-8,
        /// The parameter shrinks by `lr` times this.
        weight_decay: f64 = 1e-2,
        /// Divides by the largest mean square so far.
        amsgrad: bool = false,
        /// Ascends instead.
        maximize: bool = false,
    }
}

/// Adam: `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g^2`,
/// `p -= lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps)`.
///
/// ```
/// use calor::nn::Parameter;
/// use calor::optim::{Adam, AdamOptions, Optimizer};
/// use calor::Tensor;
/// let w = Parameter::new(&Tensor::ones([2], ())?)?;
/// let mut adam = Adam::new([w.clone()], AdamOptions::new(0.5))?;
/// (&w * 3.0)?.sum()?.backward()?;
/// adam.step()?;
/// // the first step is as long as the learning rate
/// assert!((w.tensor().to_vec::<f32>()?[0] - 0.5).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
pub type Adam = Optim<AdamOptions>;

/// Adam with decoupled weight decay: `p *= 1 - lr weight_decay` before [`Adam`]'s step.
///
/// ```
/// use calor::optim::{AdamW, AdamWOptions, Optimizer};
/// use calor::{Tensor, nn::Parameter};
/// let w = Parameter::new(&Tensor::new([4.0f32], ())?)?;
/// let mut adam = AdamW::new([w.clone()], AdamWOptions::new(0.5).weight_decay(0.5))?;
/// (w.tensor() * 0.0)?.sum()?.backward()?;
/// adam.step()?;
/// // without a gradient the decay is left
/// assert_eq!(w.tensor().item()?, 3.0);
/// # Ok::<(), calor::Error>(())
/// ```
pub type AdamW = Optim<AdamWOptions>;

/// What both rules are, by their settings.
struct Moments {
    lr: f64,
    beta1: f64,
    beta2: f64,
    eps: f64,
    weight_decay: f64,
    amsgrad: bool,
    maximize: bool,
    decoupled: bool,
}

impl Moments {
    fn check(&self, name: &str) -> Result<()> {
        let o = self;
        not_negative(name, "learning rate", o.lr)?;
        not_negative(name, "epsilon value", o.eps)?;
        not_negative(name, "weight_decay value", o.weight_decay)?;
        shares(name, "beta", &[o.beta1, o.beta2])
    }

    fn keeps(&self) -> Vec<Keep> {
        let mut keeps = vec![Keep::zeros("exp_avg"), Keep::zeros("exp_avg_sq")];
        if self.amsgrad {
            keeps.push(Keep::zeros("max_exp_avg_sq"));
        }
        keeps
    }

    fn update(&self, p: &Tensor, g: &Tensor, state: &State) -> Result<()> {
        let (o, dtype) = (self, p.dtype());
        let coupled = if o.decoupled { 0.0 } else { o.weight_decay };
        let (mean, square) = (state.get("exp_avg")?, state.get("exp_avg_sq")?);
        let new_mean = formula("adam_mean", dtype, |f| {
            let g = gradient(f, p, g, o.maximize, coupled);
            f.read(mean).lerp(g, 1.0 - o.beta1)
        })?;
        let new_square = formula("adam_square", dtype, |f| {
            let g = gradient(f, p, g, o.maximize, coupled);
            f.read(square) * o.beta2 + g * g * (1.0 - o.beta2)
        })?;
        let largest = if o.amsgrad {
            let kept = state.get("max_exp_avg_sq")?;
            let new = formula("adam_largest", dtype, |f| f.read(kept).maximum(f.read(&new_square)))?;
            kept.write(&new)?;
            new
        } else {
            new_square.clone()
        };
        let new = formula("adam", dtype, |f| {
            let step = f.number(&state.step);
            let (step_size, root) = (o.lr / step.correction(o.beta1), step.correction(o.beta2).sqrt());
            let p = f.read(p);
            let p = if o.decoupled && o.weight_decay != 0.0 { p * (1.0 - o.lr * o.weight_decay) } else { p };
            p - f.read(&new_mean) / (f.read(&largest).sqrt() / root + o.eps) * step_size
        })?;
        mean.write(&new_mean)?;
        square.write(&new_square)?;
        p.write(&new)
    }
}

macro_rules! rule {
    ($options:ident $name:literal $decoupled:expr) => {
        impl $options {
            fn moments(&self) -> Moments {
                let Self { lr, beta1, beta2, eps, weight_decay, amsgrad, maximize, .. } = *self;
                let decoupled: fn(&Self) -> bool = $decoupled;
                Moments { lr, beta1, beta2, eps, weight_decay, amsgrad, maximize, decoupled: decoupled(self) }
            }
        }

        impl Rule for $options {
            const NAME: &'static str = $name;
            const COUNTS: bool = true;
            const ELEMENTWISE: bool = true;

            by_options!();

            fn check(&self) -> Result<()> {
                self.moments().check($name)
            }

            fn keeps(&self, _: &[usize]) -> Vec<Keep> {
                self.moments().keeps()
            }

            fn update(&self, p: &Tensor, g: &Tensor, state: &State) -> Result<()> {
                self.moments().update(p, g, state)
            }
        }
    };
}
rule!(AdamOptions "Adam" |o| o.decoupled_weight_decay);
rule!(AdamWOptions "AdamW" |_| true);
betas!(AdamOptions);
betas!(AdamWOptions);
