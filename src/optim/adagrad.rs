//! Adagrad and Adadelta: rates by what all gradients so far were.

use super::Optim;
use super::formula::{formula, gradient};
use super::rule::{Keep, Rule, State, by_options, not_negative, options};
use crate::error::{Result, bail};
use crate::tensor::Tensor;

options! {
    /// Settings of [`Adagrad`], PyTorch's names and defaults.
    ///
    /// ```
    /// let options = calor::optim::AdagradOptions::default();
    /// assert_eq!((options.lr, options.lr_decay, options.eps), (1e-2, 0.0, 1e-10));
    /// ```
    AdagradOptions {
        /// Learning rate.
        lr: f64 = 1e-2,
        /// How fast the learning rate falls: it is divided by `1 + (t - 1) lr_decay`.
        lr_decay: f64 = 0.0,
        /// The parameter times this is added to its gradient.
        weight_decay: f64 = 0.0,
        /// What the sums of squares start with.
        initial_accumulator_value: f64 = 0.0,
        /// Keeps the divisor from zero.
        eps: f64 = 1e-10,
        /// Ascends instead.
        maximize: bool = false,
    }
}

options! {
    /// Settings of [`Adadelta`], PyTorch's names and defaults.
    ///
    /// ```
    /// let options = calor::optim::AdadeltaOptions::default().rho(0.95);
    /// assert_eq!((options.lr, options.rho, options.eps), (1.0, 0.95, 1e-6));
    /// ```
    AdadeltaOptions {
        /// Learning rate.
        lr: f64 = 1.0,
        /// How much of the mean squares goes on.
        rho: f64 = 0.9,
        /// Keeps the divisor from zero, and the first steps from being none.
        eps: f64 = 1e-6,
        /// The parameter times this is added to its gradient.
        weight_decay: f64 = 0.0,
        /// Ascends instead.
        maximize: bool = false,
    }
}

/// Adagrad: `s += g^2`, `p -= lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)`.
///
/// Duchi, Hazan and Singer,
/// [Adaptive Subgradient Methods for Online Learning and Stochastic Optimization](https://jmlr.org/papers/v12/duchi11a.html).
/// The sums are there as soon as the optimizer is.
///
/// ```
/// use calor::nn::Parameter;
/// use calor::optim::{Adagrad, AdagradOptions, Optimizer};
/// use calor::Tensor;
/// let w = Parameter::new(&Tensor::ones([2], ())?)?;
/// let mut optimizer = Adagrad::new([w.clone()], AdagradOptions::new(0.5))?;
/// (&w * 3.0)?.sum()?.backward()?;
/// optimizer.step()?;
/// assert!((w.tensor().to_vec::<f32>()?[0] - 0.5).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
pub type Adagrad = Optim<AdagradOptions>;

impl Rule for AdagradOptions {
    const NAME: &'static str = "Adagrad";
    const COUNTS: bool = true;
    const ELEMENTWISE: bool = true;
    const EAGER: bool = true;

    by_options!();

    fn check(&self) -> Result<()> {
        not_negative(Self::NAME, "learning rate", self.lr)?;
        not_negative(Self::NAME, "lr_decay value", self.lr_decay)?;
        not_negative(Self::NAME, "weight_decay value", self.weight_decay)?;
        not_negative(Self::NAME, "initial_accumulator_value value", self.initial_accumulator_value)?;
        not_negative(Self::NAME, "epsilon value", self.eps)?;
        Ok(())
    }

    fn keeps(&self, _: &[usize]) -> Vec<Keep> {
        vec![Keep::filled("sum", self.initial_accumulator_value)]
    }

    fn update(&self, p: &Tensor, g: &Tensor, state: &State) -> Result<()> {
        let (o, dtype) = (self, p.dtype());
        let sum = state.get("sum")?;
        let new_sum = formula("adagrad_sum", dtype, |f| {
            let g = gradient(f, p, g, o.maximize, o.weight_decay);
            f.read(sum) + g * g
        })?;
        let new = formula("adagrad", dtype, |f| {
            let rate = o.lr / (1.0 + (f.number(&state.step) - 1.0) * o.lr_decay);
            let g = gradient(f, p, g, o.maximize, o.weight_decay);
            f.read(p) - g / (f.read(&new_sum).sqrt() + o.eps) * rate
        })?;
        sum.write(&new_sum)?;
        p.write(&new)
    }
}

/// Adadelta: `v = rho v + (1 - rho) g^2`, `d = sqrt(u + eps) / sqrt(v + eps) g`, `u = rho u + (1 - rho) d^2`, `p -= lr d`.
///
/// Zeiler, [ADADELTA: An Adaptive Learning Rate Method](https://arxiv.org/abs/1212.5701).
///
/// ```
/// use calor::nn::Parameter;
/// use calor::optim::{Adadelta, AdadeltaOptions, Optimizer};
/// use calor::Tensor;
/// let w = Parameter::new(&Tensor::ones([2], ())?)?;
/// let mut optimizer = Adadelta::new([w.clone()], AdadeltaOptions::new(100.0))?;
/// (&w * 3.0)?.sum()?.backward()?;
/// optimizer.step()?;
/// assert!((w.tensor().to_vec::<f32>()?[0] - 0.683_77).abs() < 1e-4);
/// # Ok::<(), calor::Error>(())
/// ```
pub type Adadelta = Optim<AdadeltaOptions>;

impl Rule for AdadeltaOptions {
    const NAME: &'static str = "Adadelta";
    const COUNTS: bool = true;
    const ELEMENTWISE: bool = true;

    by_options!();

    fn check(&self) -> Result<()> {
        not_negative(Self::NAME, "learning rate", self.lr)?;
        not_negative(Self::NAME, "epsilon value", self.eps)?;
        not_negative(Self::NAME, "weight_decay value", self.weight_decay)?;
        if !(0.0..=1.0).contains(&self.rho) {
            bail!(Value, Self::NAME, "invalid rho value: {}", self.rho);
        }
        Ok(())
    }

    fn keeps(&self, _: &[usize]) -> Vec<Keep> {
        vec![Keep::zeros("square_avg"), Keep::zeros("acc_delta")]
    }

    fn update(&self, p: &Tensor, g: &Tensor, state: &State) -> Result<()> {
        let (o, dtype) = (self, p.dtype());
        let (square, moved) = (state.get("square_avg")?, state.get("acc_delta")?);
        let new_square = formula("adadelta_square", dtype, |f| {
            let g = gradient(f, p, g, o.maximize, o.weight_decay);
            f.read(square) * o.rho + g * g * (1.0 - o.rho)
        })?;
        let delta = formula("adadelta_delta", dtype, |f| {
            let g = gradient(f, p, g, o.maximize, o.weight_decay);
            (f.read(moved) + o.eps).sqrt() / (f.read(&new_square) + o.eps).sqrt() * g
        })?;
        let new_moved = formula("adadelta_moved", dtype, |f| {
            let delta = f.read(&delta);
            f.read(moved) * o.rho + delta * delta * (1.0 - o.rho)
        })?;
        let new = formula("adadelta", dtype, |f| f.read(p) - f.read(&delta) * o.lr)?;
        square.write(&new_square)?;
        moved.write(&new_moved)?;
        p.write(&new)
    }
}
