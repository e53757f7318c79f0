//! Adam and AdamW.

use super::formula::{Formula, X, formula};
use super::{Optim, Rule, State, not_negative, options};
use crate::error::{Result, bail};
use crate::tensor::Tensor;

options! {
    /// Settings of [`Adam`], PyTorch's names and defaults.
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
    }
}

options! {
    /// Settings of [`AdamW`], PyTorch's names and defaults.
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
        for (i, beta) in [o.beta1, o.beta2].into_iter().enumerate() {
            if !(0.0..1.0).contains(&beta) {
                bail!(Value, name, "invalid beta parameter at index {i}: {beta}");
            }
        }
        Ok(())
    }

    fn keeps(&self) -> Vec<&'static str> {
        let mut names = vec!["exp_avg", "exp_avg_sq"];
        if self.amsgrad {
            names.push("max_exp_avg_sq");
        }
        names
    }

    fn update(&self, p: &Tensor, g: &Tensor, state: &State) -> Result<()> {
        let (o, dtype, step) = (self, p.dtype(), state.step as f64);
        let (mean, square) = (state.get("exp_avg")?, state.get("exp_avg_sq")?);
        let new_mean = formula("adam_mean", dtype, |f| {
            let g = self.gradient(f, p, g);
            f.read(mean).lerp(g, 1.0 - o.beta1)
        })?;
        let new_square = formula("adam_square", dtype, |f| {
            let g = self.gradient(f, p, g);
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
        let step_size = o.lr / (1.0 - o.beta1.powf(step));
        let root = (1.0 - o.beta2.powf(step)).sqrt();
        let new = formula("adam", dtype, |f| {
            let p = f.read(p);
            let p = if o.decoupled && o.weight_decay != 0.0 { p * (1.0 - o.lr * o.weight_decay) } else { p };
            p - f.read(&new_mean) / (f.read(&largest).sqrt() / root + o.eps) * step_size
        })?;
        mean.write(&new_mean)?;
        square.write(&new_square)?;
        p.write(&new)
    }

    fn gradient<'f, 't>(&self, f: &'f Formula<'t>, p: &'t Tensor, g: &'t Tensor) -> X<'f> {
        let o = self;
        let g = if o.maximize { -f.read(g) } else { f.read(g) };
        if o.decoupled || o.weight_decay == 0.0 { g } else { g + f.read(p) * o.weight_decay }
    }
}

macro_rules! rule {
    ($options:ident $name:literal $decoupled:literal) => {
        impl $options {
            /// Both betas.
            #[must_use]
            pub fn betas(self, beta1: f64, beta2: f64) -> Self {
                self.beta1(beta1).beta2(beta2)
            }

            fn moments(&self) -> Moments {
                let Self { lr, beta1, beta2, eps, weight_decay, amsgrad, maximize } = *self;
                Moments { lr, beta1, beta2, eps, weight_decay, amsgrad, maximize, decoupled: $decoupled }
            }
        }

        impl Rule for $options {
            const NAME: &'static str = $name;
            const COUNTS: bool = true;
            const ELEMENTWISE: bool = true;

            fn lr(&self) -> f64 {
                self.lr
            }

            fn set_lr(&mut self, lr: f64) {
                self.lr = lr;
            }

            fn settings(&self) -> Vec<(&'static str, f64)> {
                self.listed()
            }

            fn set(&mut self, name: &str, value: f64) -> bool {
                self.assign(name, value)
            }

            fn check(&self) -> Result<()> {
                self.moments().check($name)
            }

            fn keeps(&self) -> Vec<&'static str> {
                self.moments().keeps()
            }

            fn update(&self, p: &Tensor, g: &Tensor, state: &State) -> Result<()> {
                self.moments().update(p, g, state)
            }
        }
    };
}
rule!(AdamOptions "Adam" false);
rule!(AdamWOptions "AdamW" true);
