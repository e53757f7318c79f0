//! RMSprop: gradients divided by a running root of their mean square.

use super::Optim;
use super::formula::{formula, gradient};
use super::rule::{Keep, Rule, State, by_options, not_negative, options};
use crate::error::Result;
use crate::tensor::Tensor;

options! {
    /// Settings of [`RmsProp`], PyTorch's names and defaults.
    ///
    /// ```
    /// let options = calor::optim::RmsPropOptions::default().centered(true);
    /// assert_eq!((options.lr, options.alpha, options.centered), (1e-2, 0.99, true));
    /// ```
    RmsPropOptions {
        /// Learning rate.
        lr: f64 = 1e-2,
        /// How much of the mean square goes on.
        alpha: f64 = 0.99,
        /// Keeps the divisor from zero.
        eps: f64 = 1e-8,
        /// The parameter times this is added to its gradient.
        weight_decay: f64 = 0.0,
        /// How much of the last update goes on.
        momentum: f64 = 0.0,
        /// Divides by the variance: the mean gradient's square is taken off.
        centered: bool = false,
        /// Ascends instead.
        maximize: bool = false,
    }
}

/// RMSprop: `v = alpha v + (1 - alpha) g^2`, `p -= lr g / (sqrt(v) + eps)`; with momentum `b = momentum b + g / (sqrt(v) +
/// eps)` and `p -= lr b`; centered, `v - a^2` stands for `v`, where `a` is the running mean of `g`.
///
/// Hinton, [lecture 6e of the course Neural Networks for Machine
/// Learning](https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf); centered as in Graves,
/// [Generating Sequences With Recurrent Neural Networks](https://arxiv.org/abs/1308.0850).
///
/// ```
/// use calor::nn::Parameter;
/// use calor::optim::{RmsProp, RmsPropOptions, Optimizer};
/// use calor::Tensor;
/// let w = Parameter::new(&Tensor::ones([2], ())?)?;
/// let mut optimizer = RmsProp::new([w.clone()], RmsPropOptions::new(0.05))?;
/// (&w * 3.0)?.sum()?.backward()?;
/// optimizer.step()?;
/// assert!((w.tensor().to_vec::<f32>()?[0] - 0.5).abs() < 1e-5);
/// # Ok::<(), calor::Error>(())
/// ```
pub type RmsProp = Optim<RmsPropOptions>;

impl Rule for RmsPropOptions {
    const NAME: &'static str = "RMSprop";
    const COUNTS: bool = true;
    const ELEMENTWISE: bool = true;

    by_options!();

    fn check(&self) -> Result<()> {
        not_negative(Self::NAME, "learning rate", self.lr)?;
        not_negative(Self::NAME, "epsilon value", self.eps)?;
        not_negative(Self::NAME, "momentum value", self.momentum)?;
        not_negative(Self::NAME, "weight_decay value", self.weight_decay)?;
        not_negative(Self::NAME, "alpha value", self.alpha)?;
        Ok(())
    }

    fn keeps(&self, _: &[usize]) -> Vec<Keep> {
        let mut keeps = vec![Keep::zeros("square_avg")];
        if self.momentum > 0.0 {
            keeps.push(Keep::zeros("momentum_buffer"));
        }
        if self.centered {
            keeps.push(Keep::zeros("grad_avg"));
        }
        keeps
    }

    fn update(&self, p: &Tensor, g: &Tensor, state: &State) -> Result<()> {
        let (o, dtype) = (self, p.dtype());
        let square = state.get("square_avg")?;
        let new_square = formula("rmsprop_square", dtype, |f| {
            let g = gradient(f, p, g, o.maximize, o.weight_decay);
            f.read(square) * o.alpha + g * g * (1.0 - o.alpha)
        })?;
        let mean = if o.centered {
            let kept = state.get("grad_avg")?;
            let new = formula("rmsprop_mean", dtype, |f| {
                f.read(kept).lerp(gradient(f, p, g, o.maximize, o.weight_decay), 1.0 - o.alpha)
            })?;
            kept.write(&new)?;
            Some(new)
        } else {
            None
        };
        let step = formula("rmsprop_step", dtype, |f| {
            let variance = match &mean {
                Some(mean) => f.read(&new_square) - f.read(mean) * f.read(mean),
                None => f.read(&new_square),
            };
            gradient(f, p, g, o.maximize, o.weight_decay) / (variance.sqrt() + o.eps)
        })?;
        let step = if o.momentum > 0.0 {
            let kept = state.get("momentum_buffer")?;
            let new = formula("rmsprop_momentum", dtype, |f| f.read(kept) * o.momentum + f.read(&step))?;
            kept.write(&new)?;
            new
        } else {
            step
        };
        let new = formula("rmsprop", dtype, |f| f.read(p) - f.read(&step) * o.lr)?;
        square.write(&new_square)?;
        p.write(&new)
    }
}
