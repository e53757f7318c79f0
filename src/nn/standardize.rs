//! What the normalisations share: `(x - mean) / sqrt(var + eps) * weight + bias`, with one rule for its gradient.

use crate::error::Result;
use crate::no_grad;
use crate::tensor::Tensor;
use crate::tensor::grad::{Grads, is_grad_enabled};

/// Along which dimensions a tensor is normalised, and what the result is multiplied by and moved by; both broadcast.
pub(super) struct Affine<'a> {
    pub op: &'static str,
    pub dims: &'a [isize],
    pub eps: f64,
    pub weight: Option<&'a Tensor>,
    pub bias: Option<&'a Tensor>,
}

/// A normalised tensor, with the mean and the biased variance, which have no history.
pub(super) struct Standardized {
    pub y: Tensor,
    pub mean: Tensor,
    pub var: Tensor,
}

impl Affine<'_> {
    /// Normalises `x`, which is of a compute dtype.
    ///
    /// With `n = (x - mean) / std` and `h = g * weight`, the gradient of `x` is
    /// `(h - mean(h) - n * mean(h * n)) / std`: only `x` and what is known of each row is kept for it. A weight that
    /// is the same for all of a row is left to the end, so that the sums are those of its own gradient.
    pub(super) fn standardize(&self, x: &Tensor) -> Result<Standardized> {
        let (op, eps, dims) = (self.op, self.eps, self.dims.to_vec());
        let (y, mean, var, scale) = no_grad(|| -> Result<_> {
            let (var, mean) = x.var_mean(&dims, 0.0, true)?;
            let scale = (&var + eps)?.rsqrt()?;
            let mut y = ((x - &mean)? * &scale)?;
            if let Some(weight) = self.weight {
                y = (y * weight)?;
            }
            if let Some(bias) = self.bias {
                y = (y + bias)?;
            }
            Ok((y, mean, var, scale))
        })?;
        let inputs: Vec<&Tensor> = [Some(x), self.weight, self.bias].into_iter().flatten().collect();
        let bias = self.bias.map(Tensor::shape);
        let y = y.with_grad(op, &inputs, |r| {
            let (x, mean, scale) = (r.save(x), r.save(&mean), r.save(&scale));
            let weight = self.weight.map(|w| r.save(w));
            move |g: &Tensor| {
                let x = x.get()?;
                let (mean, scale) = if is_grad_enabled() {
                    // their own history is wanted
                    let (var, mean) = x.var_mean(&dims, 0.0, true)?;
                    (mean, (var + eps)?.rsqrt()?)
                } else {
                    (mean.get()?, scale.get()?)
                };
                let n = ((&x - mean)? * &scale)?;
                let weight = weight.as_ref().map(|w| w.get()).transpose()?;
                let one_each = weight.as_ref().is_none_or(|w| is_of_rows(&w.shape(), &scale.shape()));
                let (h, factor) = match &weight {
                    Some(w) if one_each => (g.clone(), (&scale * w)?),
                    Some(w) => ((g * w)?, scale),
                    None => (g.clone(), scale),
                };
                let (sum, along) = (h.sum_dims(&dims, true)?, (&h * &n)?.sum_dims(&dims, true)?);
                let share = sum.numel() as f64 / x.numel().max(1) as f64;
                let dx = (((&h - (&sum * share)?)? - (&n * (&along * share)?)?)? * factor)?;
                let to_size = |rows: &Tensor, all: &Tensor, shape: &[usize]| {
                    let summed = one_each && is_of_rows(shape, &rows.shape());
                    if summed { rows } else { all }.sum_to_size(shape)
                };
                let mut grads = Grads::new();
                grads.push(Some(dx));
                if let Some(w) = &weight {
                    grads.push(Some(to_size(&along, &(g * &n)?, &w.shape())?));
                }
                if let Some(shape) = &bias {
                    grads.push(Some(to_size(&sum, g, shape)?));
                }
                Ok(grads)
            }
        });
        Ok(Standardized { y, mean, var })
    }
}

/// Whether a tensor of `shape` holds one value for all of a row, where `rows` is what rows' sums have.
fn is_of_rows(shape: &[usize], rows: &[usize]) -> bool {
    shape.len() <= rows.len() && shape.iter().rev().zip(rows.iter().rev()).all(|(&own, &row)| own == 1 || own == row)
}
