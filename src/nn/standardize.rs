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
    /// `(h - mean(h) - n * mean(h * n)) / std`: only `x` and what is known of each row is kept for it.
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
                let mut grads = Grads::new();
                let h = match &weight {
                    Some(w) => (g * w.get()?)?,
                    None => g.clone(),
                };
                let along = (&h * &n)?.mean_dims(&dims, true)?;
                grads.push(Some((((&h - h.mean_dims(&dims, true)?)? - (&n * along)?)? * scale)?));
                if let Some(w) = &weight {
                    grads.push(Some((g * n)?.sum_to_size(w.get()?.shape())?));
                }
                if let Some(shape) = &bias {
                    grads.push(Some(g.sum_to_size(shape)?));
                }
                Ok(grads)
            }
        });
        Ok(Standardized { y, mean, var })
    }
}
