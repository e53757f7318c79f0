//! Adafactor: the mean squares of a matrix kept as those of its rows and columns.

use super::Optim;
use super::formula::Number;
use super::rule::{Keep, Rule, State, by_options, not_negative, options};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::tensor::Tensor;

options! {
    /// Settings of [`Adafactor`], PyTorch's names and defaults; its `eps` is a pair, here `eps1` and `eps2`.
    ///
    /// ```
    /// let options = calor::optim::AdafactorOptions::default();
    /// assert_eq!((options.lr, options.beta2_decay, options.eps1), (1e-2, -0.8, None));
    /// ```
    AdafactorOptions {
        /// Upper bound of the relative step, and what the weight decay is multiplied by.
        lr: f64 = 1e-2,
        /// The mean squares of step `t` weigh the new one by `t` to this power.
        beta2_decay: f64 = -0.8,
        /// Keeps the divisor from zero; none is the parameter dtype's rounding error.
        eps1: Option<f64> = None,
        /// The smallest size of a parameter that a step is relative to.
        eps2: f64 = 1e-3,
        /// A step is no longer than this, as a root of a mean square.
        d: f64 = 1.0,
        /// The parameter shrinks by `lr` times this.
        weight_decay: f64 = 0.0,
        /// Ascends instead.
        maximize: bool = false,
    }
}

/// Adafactor: `r` and `c`, the running means of `g^2` over each row and column, give `v = r c / mean(r)` (a vector keeps `v`
/// itself); with `u = g / sqrt(v)` and `rms` the root of a mean square,
/// `p -= max(eps2, rms(p)) min(lr, 1 / sqrt(t)) u / max(1, rms(u) / d)`.
///
/// Shazeer and Stern, [Adafactor: Adaptive Learning Rates with Sublinear Memory Cost](https://arxiv.org/abs/1804.04235).
///
/// ```
/// use calor::nn::Parameter;
/// use calor::optim::{Adafactor, AdafactorOptions, Optimizer};
/// use calor::Tensor;
/// let w = Parameter::new(&Tensor::ones([2, 3], ())?)?;
/// let mut optimizer = Adafactor::new([w.clone()], AdafactorOptions::new(0.25))?;
/// (&w * 3.0)?.sum()?.backward()?;
/// optimizer.step()?;
/// assert!((w.tensor().to_vec::<f32>()?[0] - 0.75).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
pub type Adafactor = Optim<AdafactorOptions>;

impl Rule for AdafactorOptions {
    const NAME: &'static str = "Adafactor";
    const COUNTS: bool = true;
    const STACKED: bool = true;

    by_options!();

    fn check(&self) -> Result<()> {
        not_negative(Self::NAME, "learning rate", self.lr)?;
        not_negative(Self::NAME, "epsilon1", self.eps1.unwrap_or(0.0))?;
        not_negative(Self::NAME, "epsilon2", self.eps2)?;
        not_negative(Self::NAME, "weight_decay value", self.weight_decay)?;
        if self.beta2_decay.is_nan() || self.beta2_decay > 0.0 {
            bail!(Value, Self::NAME, "beta2_decay should be <= 0 but is: {}", self.beta2_decay);
        }
        if self.d.is_nan() || self.d < 1.0 {
            bail!(Value, Self::NAME, "clipping threshold d should be >= 1 but is: {}", self.d);
        }
        Ok(())
    }

    fn keeps(&self, shape: &[usize]) -> Vec<Keep> {
        let Some(column) = shape.len().checked_sub(2) else { return vec![Keep::zeros("variance")] };
        let without = |dim: usize| {
            let mut shape = shape.to_vec();
            shape[dim] = 1;
            shape
        };
        vec![Keep::of("row_var", without(column + 1)), Keep::of("col_var", without(column))]
    }

    fn update(&self, p: &Tensor, g: &Tensor, state: &State) -> Result<()> {
        if p.numel() == 0 {
            return Ok(());
        }
        let eps1 = self.eps1.unwrap_or_else(|| rounding(p.dtype()));
        let items = p.shape().first().copied().unwrap_or(1);
        let root = ((p.numel() / items) as f64).sqrt();
        let share = Number::of(|f| f.number(&state.step).powf(self.beta2_decay))?.arg();
        let relative = Number::of(|f| {
            let root = 1.0 / f.number(&state.step).sqrt();
            root.minimum(root.constant(self.lr))
        })?;
        let length = |x: &Tensor| {
            let dims: Vec<isize> = (1..x.dim()).map(|d| d as isize).collect();
            if dims.is_empty() { x.abs() } else { x.vector_norm(2.0, &dims, true) }
        };
        // lengths stay on the device: a step waits for nothing
        let rate = length(p)?.div(root)?.clamp_min(self.eps2)?.mul(relative.arg())?;
        let kept = if self.weight_decay == 0.0 { p.clone() } else { p.mul(1.0 - self.lr * self.weight_decay)? };
        let g = if self.maximize { g.neg()? } else { g.clone() };
        let square = g.square()?;
        let variance = if p.dim() > 2 {
            let (rows, columns) = (state.get("row_var")?, state.get("col_var")?);
            let new_rows = rows.lerp(&square.mean_dims(&[-1], true)?, share.clone())?;
            let new_columns = columns.lerp(&square.mean_dims(&[-2], true)?, share)?;
            rows.write(&new_rows)?;
            columns.write(&new_columns)?;
            new_rows.mul(&new_columns)?.div(&new_rows.mean_dims(&[-2], true)?.clamp_min(eps1)?)?
        } else {
            let kept = state.get("variance")?;
            let new = kept.lerp(&square, share)?;
            kept.write(&new)?;
            new
        };
        let update = variance.clamp_min(eps1 * eps1)?.rsqrt()?.mul(&g)?;
        let too_long = length(&update)?.div(root * self.d)?.clamp_min(1.0)?;
        p.write(&kept.sub(&update.mul(&rate.div(&too_long)?)?)?)
    }
}

/// The distance from 1 to the next number.
fn rounding(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        DType::F16 => 0.000_976_562_5,
        DType::BF16 => 0.007_812_5,
        _ => f64::from(f32::EPSILON),
    }
}
