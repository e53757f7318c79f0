//! Adaptive and power-mean pooling, and what undoes a pooling, as functions.

use super::convolution::{avg_pool, lowest};
use super::{AvgPool, MaxPool};
use crate::error::{Result, bail};
use crate::ops::adaptive::Adaptive;
use crate::ops::window::Sizes;
use crate::tensor::Tensor;

/// How the last `N` dimensions of `x` are cut.
fn cut<const N: usize>(op: &str, x: &Tensor, output_size: [Option<usize>; N]) -> Result<Adaptive> {
    let shape = x.shape();
    if shape.len() != N + 1 && shape.len() != N + 2 {
        bail!(Shape, op, "expected an input of {} or {} dimensions, got {:?}", N + 1, N + 2, &shape[..]);
    }
    if shape[shape.len() - N..].contains(&0) {
        bail!(Shape, op, "expected non-zero sizes for all dimensions but the batch, got {:?}", &shape[..]);
    }
    let from = Sizes::from_slice(&shape[shape.len() - N..]);
    let to = from.iter().zip(output_size).map(|(&size, to)| to.unwrap_or(size)).collect();
    Ok(Adaptive { from, to })
}

/// The mean of each of as many windows as are asked for over the last `N` dimensions of `[n, c, ..]` or `[c, ..]`;
/// `None` keeps a size. Window `i` reaches from `i from / to`, rounded down, to `(i + 1) from / to`, rounded up.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let x = Tensor::new([[1.0f32, 2.0, 6.0]], ())?;
/// assert_eq!(f::adaptive_avg_pool(&x, [Some(2)])?.to_vec::<f32>()?, [1.5, 4.0]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` for other dimensions, or sizes of zero.
pub fn adaptive_avg_pool<const N: usize>(x: &Tensor, output_size: [Option<usize>; N]) -> Result<Tensor> {
    const OP: &str = "adaptive_avg_pool";
    let cut = cut(OP, x, output_size)?;
    let compute = x.dtype().compute();
    let mut mean = cut.sum(OP, &x.to_dtype(compute)?)?;
    for d in 0..N {
        let numbers: Vec<f32> = cut.lengths(d).into_iter().map(|n| n as f32).collect();
        mean = match numbers.first() {
            Some(&first) if numbers.iter().all(|&n| n == first) => mean / f64::from(first),
            _ => {
                let mut sides = vec![1; N];
                sides[d] = numbers.len();
                mean / Tensor::from_slice(&numbers, sides, x.device())?.to_dtype(compute)?
            }
        }?;
    }
    mean.to_dtype(x.dtype())
}

/// The largest value in each window of [`adaptive_avg_pool`], and where it stands in the last `N` dimensions of the
/// input, counted row by row, `i32`; the gradient goes to the first of equals.
///
/// # Errors
/// `Shape` for other dimensions, or sizes of zero.
pub fn adaptive_max_pool_with_indices<const N: usize>(
    x: &Tensor,
    output_size: [Option<usize>; N],
) -> Result<(Tensor, Tensor)> {
    const OP: &str = "adaptive_max_pool";
    let cut = cut(OP, x, output_size)?;
    let at = cut.largest(OP, x, lowest(x.dtype()))?;
    let first = (x.dim() - N) as isize;
    let values = x.flatten(first, -1)?.gather(-1, &at.flatten(first, -1)?)?.reshape(at.shape())?;
    Ok((values, at))
}

/// The values of [`adaptive_max_pool_with_indices`].
pub fn adaptive_max_pool<const N: usize>(x: &Tensor, output_size: [Option<usize>; N]) -> Result<Tensor> {
    Ok(adaptive_max_pool_with_indices(x, output_size)?.0)
}

/// `(sum x^p)^(1 / p)` of each window of the last `N` dimensions.
///
/// # Errors
/// Those of [`avg_pool`].
pub fn lp_pool<const N: usize>(
    x: &Tensor,
    norm_type: f64,
    (kernel, stride): ([usize; N], [usize; N]),
    ceil_mode: bool,
) -> Result<Tensor> {
    let pool = AvgPool { kernel_size: kernel, stride, padding: [0; N], ceil_mode, ..AvgPool::new(kernel) };
    let mean = avg_pool(&x.pow(norm_type)?, &pool)?;
    let size: usize = kernel.iter().product();
    // a negative sum has no root: it counts as zero
    ((mean.sign()? * mean.abs()?.relu()?)? * size as f64)?.pow(1.0 / norm_type)
}

/// Puts the values of a maximum pooling back where they came from, zeros elsewhere; `output_size` says which of the
/// sizes that pool to `x`'s is meant.
///
/// # Errors
/// `Shape` where indices or the output size do not fit, `DType` for indices that are no integers; `Index`, on the
/// device, for a place outside the output.
pub fn max_unpool<const N: usize>(
    x: &Tensor,
    indices: &Tensor,
    pool: &MaxPool<N>,
    output_size: Option<[usize; N]>,
) -> Result<Tensor> {
    const OP: &str = "max_unpool";
    let shape = x.shape();
    if shape.len() != N + 1 && shape.len() != N + 2 {
        bail!(Shape, OP, "expected an input of {} or {} dimensions, got {:?}", N + 1, N + 2, &shape[..]);
    }
    if indices.shape() != shape {
        bail!(Shape, OP, "expected shape of indices to be that of the input, {:?}, got {:?}", shape, indices.shape());
    }
    if !indices.dtype().is_int() {
        bail!(DType, OP, "expected indices of an integer dtype, got {}", indices.dtype());
    }
    let lead = shape.len() - N;
    if shape[lead - 1..].contains(&0) {
        bail!(Shape, OP, "expected non-zero sizes for all dimensions but the batch, got {:?}", &shape[..]);
    }
    let mut sizes = Sizes::new();
    for d in 0..N {
        let (stride, whole) = (pool.stride[d], (shape[lead + d] - 1) * pool.stride[d] + pool.kernel_size[d]);
        let usual = whole.saturating_sub(2 * pool.padding[d]);
        let size = output_size.map_or(usual, |o| o[d]);
        if output_size.is_some() && (size + stride <= usual || size >= usual + stride) {
            bail!(Shape, OP, "output size {size} of dimension {d} is not within {stride} of {usual}");
        }
        sizes.push(size);
    }
    let first = lead as isize;
    let mut flat = shape.clone();
    flat.truncate(lead);
    flat.push(sizes.iter().product());
    let zeros = Tensor::zeros(&flat[..], (x.dtype(), x.device()))?;
    let out = zeros.scatter(-1, &indices.flatten(first, -1)?, x.flatten(first, -1)?)?;
    flat.truncate(lead);
    flat.extend_from_slice(&sizes);
    out.reshape(&flat)
}
