//! Stochastic gradient descent with momentum.

use super::Optim;
use super::formula::{Formula, Term, formula, gradient};
use super::rule::{Keep, Rule, State, by_options, not_negative, options};
use crate::error::{Result, bail};
use crate::tensor::Tensor;

options! {
    /// Settings of [`Sgd`], PyTorch's names and defaults.
    ///
    /// ```
    /// let options = calor::optim::SgdOptions::new(0.1).momentum(0.9);
    /// assert_eq!((options.lr, options.momentum, options.nesterov), (0.1, 0.9, false));
    /// ```
    SgdOptions {
        /// Learning rate.
        lr: f64 = 1e-3,
        /// How much of the last update goes on.
        momentum: f64 = 0.0,
        /// How much less the gradient weighs in the momentum.
        dampening: f64 = 0.0,
        /// The parameter times this is added to its gradient.
        weight_decay: f64 = 0.0,
        /// Looks ahead along the momentum.
        nesterov: bool = false,
        /// Ascends instead.
        maximize: bool = false,
    }
}

/// Stochastic gradient descent.
///
/// With `g = gradient + weight_decay p`: `b = momentum b + (1 - dampening) g` (`g` at first), `p -= lr b`, or
/// `p -= lr (g + momentum b)` with `nesterov`.
///
/// ```
/// use calor::nn::Parameter;
/// use calor::optim::{Optimizer, Sgd, SgdOptions};
/// use calor::Tensor;
/// let w = Parameter::new(&Tensor::ones([2], ())?)?;
/// let mut sgd = Sgd::new([w.clone()], SgdOptions::new(0.25))?;
/// (&w * &w)?.sum()?.backward()?;
/// sgd.step()?;
/// assert_eq!(w.tensor().to_vec::<f32>()?, [0.5, 0.5]);
/// # Ok::<(), calor::Error>(())
/// ```
pub type Sgd = Optim<SgdOptions>;

impl Rule for SgdOptions {
    const NAME: &'static str = "SGD";
    const COUNTS: bool = false;
    const ELEMENTWISE: bool = true;

    by_options!();

    fn check(&self) -> Result<()> {
        not_negative(Self::NAME, "learning rate", self.lr)?;
        not_negative(Self::NAME, "momentum value", self.momentum)?;
        not_negative(Self::NAME, "weight_decay value", self.weight_decay)?;
        if self.nesterov && (self.momentum <= 0.0 || self.dampening != 0.0) {
            bail!(Value, Self::NAME, "Nesterov momentum requires a momentum and zero dampening");
        }
        Ok(())
    }

    fn keeps(&self, _: &[usize]) -> Vec<Keep> {
        if self.momentum == 0.0 { Vec::new() } else { vec![Keep::zeros("momentum_buffer")] }
    }

    fn update(&self, p: &Tensor, g: &Tensor, state: &State) -> Result<()> {
        let buffer = if self.momentum == 0.0 {
            None
        } else {
            let kept = state.get("momentum_buffer")?;
            let new = formula("sgd_momentum", p.dtype(), |f| {
                let step = f.number(&state.step);
                // the first time the gradient enters whole
                let share = step.above(1.0, || step.constant(1.0 - self.dampening), || step.constant(1.0));
                f.read(kept) * self.momentum + self.gradient(f, p, g) * share
            })?;
            kept.write(&new)?;
            Some(new)
        };
        let new = formula("sgd", p.dtype(), |f| {
            let direction = match &buffer {
                None => self.gradient(f, p, g),
                Some(b) if self.nesterov => self.gradient(f, p, g) + f.read(b) * self.momentum,
                Some(b) => f.read(b),
            };
            f.read(p) - direction * self.lr
        })?;
        p.write(&new)
    }
}

impl SgdOptions {
    fn gradient<'f, 't>(&self, f: &'f Formula<'t>, p: &'t Tensor, g: &'t Tensor) -> Term<'f> {
        gradient(f, p, g, self.maximize, self.weight_decay)
    }
}
