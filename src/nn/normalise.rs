//! Normalisation of single examples, as functions.

use super::functional::affine;
use crate::error::{Result, bail};
use crate::no_grad;
use crate::ops::elementwise::Rounding;
use crate::tensor::Tensor;

/// `(x - mean) / sqrt(var + eps) * weight + bias` for each channel, which is dimension 1, of each example.
///
/// With `use_input_stats`, mean and (biased) variance are those of each example, and the running ones (mean,
/// variance) move by `momentum` towards their means over the batch, with the unbiased variance, in place; else they
/// are the running ones.
///
/// # Errors
/// `Shape` where `x` has fewer than two dimensions, or one value per channel; `Value` without any statistics.
pub fn instance_norm(
    x: &Tensor,
    running: Option<(&Tensor, &Tensor)>,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    use_input_stats: bool,
    momentum: f64,
    eps: f64,
) -> Result<Tensor> {
    const OP: &str = "instance_norm";
    let shape = x.shape();
    if shape.len() < 2 {
        bail!(Shape, OP, "expected at least 2 dimensions, got {:?}", &shape[..]);
    }
    let mut channel = vec![1; shape.len()];
    channel[1] = shape[1];
    let count: usize = shape[2..].iter().product();
    if use_input_stats && count == 1 {
        bail!(Shape, OP, "expected more than 1 spatial element when training, got input size {:?}", &shape[..]);
    }
    if x.numel() == 0 {
        return Ok(x.clone());
    }
    let (mean, scale) = if use_input_stats {
        let dims: Vec<isize> = (2..shape.len() as isize).collect();
        let (var, mean) = x.to_dtype(x.dtype().compute())?.var_mean(&dims, 0.0, true)?;
        if let Some((running_mean, running_var)) = running {
            let unbiased = (var.detach() * (count as f64 / (count as f64 - 1.0)))?;
            for (running, new) in [(running_mean, mean.detach()), (running_var, unbiased)] {
                no_grad(|| {
                    running.modify(OP, |old| {
                        let new = new.mean_dims(&[0], false)?.reshape(old.shape())?.to_dtype(old.dtype())?;
                        (old * (1.0 - momentum))? + (new * momentum)?
                    })
                })?;
            }
        }
        // statistics have the dtype of what they normalise
        let own = |t: Tensor| t.to_dtype(x.dtype())?.to_dtype(x.dtype().compute());
        (own(mean)?, own((var + eps)?.rsqrt()?)?)
    } else {
        match running {
            Some((mean, var)) => (mean.reshape(&channel)?, (var.reshape(&channel)? + eps)?.rsqrt()?),
            None => bail!(Value, OP, "needs running statistics where those of the input are not used"),
        }
    };
    let y = ((x - mean)? * scale)?;
    affine(&y, weight, bias, &channel, x.dtype().to_float())
}

/// `x / (k + alpha mean(x^2))^beta`, the mean over `size` channels around each; the channels are dimension 1, and
/// beyond them lie zeros.
///
/// # Errors
/// `Shape` where `x` has fewer than three dimensions; `Value` for a size of zero.
pub fn local_response_norm(x: &Tensor, size: usize, alpha: f64, beta: f64, k: f64) -> Result<Tensor> {
    const OP: &str = "local_response_norm";
    let shape = x.shape();
    if shape.len() < 3 {
        bail!(Shape, OP, "expected 3 or more dimensions, got {:?}", &shape[..]);
    }
    if size == 0 {
        bail!(Value, OP, "expected a positive size, got 0");
    }
    if x.numel() == 0 {
        return Ok(x.clone());
    }
    let wide = if x.dtype().is_float() { x.to_dtype(x.dtype().compute())? } else { x.clone() };
    let mut pad = vec![0; 2 * (shape.len() - 1)];
    let last = pad.len() - 2;
    pad[last] = (size / 2) as isize;
    pad[last + 1] = ((size - 1) / 2) as isize;
    let sum = wide.square()?.constant_pad(&pad, 0.0)?.unfold(1, size, 1)?.sum_dims(&[-1], false)?;
    let mean = match x.dtype().is_float() {
        true => (sum / size as f64)?,
        // as a mean of integers is
        false => sum.div_mode(size, Rounding::Trunc)?,
    };
    (wide / ((mean * alpha)? + k)?.pow(beta)?)?.to_dtype(x.dtype().to_float())
}
