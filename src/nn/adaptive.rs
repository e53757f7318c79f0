//! Pooling to a given size, by a norm, and across channels.

use super::convolution::lowest;
use super::functional::avg_pool;
use super::{AvgPool, AvgPool3d};
use crate::error::{Result, bail};
use crate::ops::adaptive::Adaptive;
use crate::ops::window::Sizes;
use crate::shape::{checked_numel, numel};
use crate::tensor::Tensor;

/// How the last dimensions of `x` are cut, which must not be empty, nor the channels where these count.
fn cut(op: &str, x: &Tensor, output: &[Option<usize>], channels: bool) -> Result<Adaptive> {
    let (shape, rank) = (x.shape(), output.len());
    if rank == 0 || (shape.len() != rank + 1 && shape.len() != rank + 2) {
        bail!(Shape, op, "expected an input of {} or {} dimensions, got {:?}", rank + 1, rank + 2, &shape[..]);
    }
    let pooled = shape.len() - rank;
    if shape[pooled - usize::from(channels)..].contains(&0) {
        bail!(Shape, op, "expected non-zero sizes for all dimensions but the batch, got {:?}", &shape[..]);
    }
    let from = Sizes::from_slice(&shape[pooled..]);
    let to: Sizes = from.iter().zip(output).map(|(&size, to)| to.unwrap_or(size)).collect();
    checked_numel(op, &[&shape[..pooled], &to[..]].concat())?;
    Ok(Adaptive { from, to })
}

/// The mean over windows that divide the last dimensions into `output` parts; `None` keeps a dimension. Window `i`
/// reaches from `i from / to`, rounded down, to `(i + 1) from / to`, rounded up.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let x = Tensor::new([[[1.0f32, 2.0, 3.0, 4.0]]], ())?;
/// assert_eq!(f::adaptive_avg_pool(&x, &[Some(2)])?.to_vec::<f32>()?, [1.5, 3.5]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where `x` has not one or two dimensions more than are pooled.
pub fn adaptive_avg_pool(x: &Tensor, output: &[Option<usize>]) -> Result<Tensor> {
    const OP: &str = "adaptive_avg_pool";
    let rank = output.len();
    // one window is all there is, and may be empty
    if matches!(x.dim().checked_sub(rank), Some(1 | 2)) && rank > 0 && output.iter().all(|n| *n == Some(1)) {
        let dims: Vec<isize> = (1..=rank as isize).map(|d| -d).collect();
        return x.mean_dims(&dims, true);
    }
    // as in PyTorch, where three dimensions are stricter than one or two
    let cut = cut(OP, x, output, rank > 2)?;
    let compute = x.dtype().compute();
    let mut mean = cut.sum(OP, &x.to_dtype(compute)?)?;
    for d in 0..output.len() {
        let numbers: Vec<f32> = cut.lengths(d).map(|n| n as f32).collect();
        mean = match numbers.first() {
            Some(&first) if numbers.iter().all(|&n| n == first) => mean / f64::from(first),
            _ => {
                let mut sides = vec![1; output.len()];
                sides[d] = numbers.len();
                mean / Tensor::from_slice(&numbers, sides, x.device())?.to_dtype(compute)?
            }
        }?;
    }
    mean.to_dtype(x.dtype())
}

/// The largest values in windows that divide the last dimensions into `output` parts, and where they stand in those
/// dimensions, counted row by row, `i32`; the gradient goes to the first of equals.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let (y, at) = f::adaptive_max_pool(&Tensor::new([[1.0f32, 5.0, 3.0, 2.0]], ())?, &[Some(2)])?;
/// assert_eq!((y.to_vec::<f32>()?, at.to_vec::<i32>()?), (vec![5.0, 3.0], vec![1, 2]));
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where `x` has not one or two dimensions more than are pooled.
pub fn adaptive_max_pool(x: &Tensor, output: &[Option<usize>]) -> Result<(Tensor, Tensor)> {
    const OP: &str = "adaptive_max_pool";
    let at = cut(OP, x, output, true)?.largest(OP, x, lowest(x.dtype()))?;
    let first = (x.dim() - output.len()) as isize;
    let values = x.flatten(first, -1)?.gather(-1, &at.flatten(first, -1)?)?.reshape(at.shape())?;
    Ok((values, at))
}

/// `(sum x^p)^(1 / p)` over each window, windows as in [`avg_pool`].
///
/// ```
/// use calor::{Tensor, nn::{AvgPool, functional as f}};
/// let x = Tensor::new([[3.0f32, 4.0]], ())?;
/// assert_eq!(f::lp_pool(&x, 2.0, &AvgPool::<1>::new(2))?.item()?, 5.0);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn lp_pool<const N: usize>(x: &Tensor, p: f64, windows: &AvgPool<N>) -> Result<Tensor> {
    let mean = avg_pool(&x.pow(p)?, windows)?;
    ((mean.sign()? * mean.abs()?.relu()?)? * numel(&windows.kernel_size))?.pow(1.0 / p)
}

/// `x / (k + alpha mean(x^2))^beta`, the mean over `size` neighbouring channels, which are dimension 1.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let y = f::local_response_norm(&Tensor::ones([1, 3, 1], ())?, 1, 3.0, 1.0, 1.0)?;
/// assert_eq!(y.to_vec::<f32>()?, [0.25; 3]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where `x` has fewer than three dimensions.
pub fn local_response_norm(x: &Tensor, size: usize, alpha: f64, beta: f64, k: f64) -> Result<Tensor> {
    let shape = x.shape();
    if shape.len() < 3 {
        bail!(Shape, "local_response_norm", "expected 3D or higher dimensionality input, got {:?}", &shape[..]);
    }
    if x.numel() == 0 {
        return Ok(x.clone());
    }
    let rest: usize = shape[2..].iter().product();
    let square = x.square()?.reshape([shape[0], 1, shape[1], rest, 1])?;
    let padded = square.constant_pad(&[0, 0, 0, 0, (size / 2) as isize, (size.saturating_sub(1) / 2) as isize], 0.0)?;
    let mean = avg_pool(&padded, &AvgPool3d::new([size, 1, 1]).stride(1))?.reshape(&shape)?;
    x / ((mean * alpha)? + k)?.pow(beta)?
}
