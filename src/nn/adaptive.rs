//! Pooling to a given size, by a norm, and across channels.

use super::functional::avg_pool;
use super::{AvgPool, AvgPool3d};
use crate::error::{Result, bail};
use crate::tensor::Tensor;

/// Elements `floor(i n / m) .. ceil((i + 1) n / m)` of each of the last dimensions, padded to the longest: where they
/// stand, and which are there.
struct Spans {
    /// Windows of each dimension.
    counts: Vec<usize>,
    /// Elements of the longest window of each dimension.
    longest: Vec<usize>,
    /// First and one past the last of each window.
    ranges: Vec<Vec<(usize, usize)>>,
}

impl Spans {
    fn new(op: &str, x: &Tensor, output: &[Option<usize>]) -> Result<Self> {
        let (shape, rank) = (x.shape(), output.len());
        if shape.len() != rank + 1 && shape.len() != rank + 2 {
            bail!(Shape, op, "expected an input of {} or {} dimensions, got {:?}", rank + 1, rank + 2, &shape[..]);
        }
        let sizes = &shape[shape.len() - rank..];
        if shape[shape.len() - rank - 1..].contains(&0) {
            bail!(Shape, op, "expected non-zero sizes for all dimensions but the batch, got {:?}", &shape[..]);
        }
        let counts: Vec<usize> = output.iter().zip(sizes).map(|(o, &n)| o.unwrap_or(n)).collect();
        let range = |(&m, &n): (&usize, &usize)| -> Vec<(usize, usize)> {
            (0..m).map(|i| (i * n / m, ((i + 1) * n).div_ceil(m))).collect()
        };
        let ranges: Vec<_> = counts.iter().zip(sizes).map(range).collect();
        let longest = ranges.iter().map(|r| r.iter().map(|(a, b)| b - a).max().unwrap_or(0)).collect();
        Ok(Self { counts, longest, ranges })
    }

    /// `[lead.., windows.., elements]`, with `fill` where a window is shorter than the longest.
    fn columns(&self, x: &Tensor, fill: f64) -> Result<Tensor> {
        let (rank, lead) = (self.counts.len(), x.dim() - self.counts.len());
        let mut out = x.clone();
        // from the last dimension on, each is replaced by windows and their elements
        for d in (0..rank).rev() {
            let longest = self.longest[d];
            let last = x.shape()[lead + d].saturating_sub(1);
            let at: Vec<i32> =
                self.ranges[d].iter().flat_map(|&(a, _)| (0..longest).map(move |k| (a + k).min(last) as i32)).collect();
            let there: Vec<bool> =
                self.ranges[d].iter().flat_map(|&(a, b)| (0..longest).map(move |k| a + k < b)).collect();
            let n = at.len();
            let dim = (lead + d) as isize;
            out = out.index_select(dim, &Tensor::from_slice(&at, [n], x.device())?)?;
            if there.contains(&false) {
                let mut sides = vec![1; out.dim()];
                sides[lead + d] = n;
                out = Tensor::from_slice(&there, sides, x.device())?.where_(&out, fill)?;
            }
            let mut shape = out.shape().to_vec();
            shape.splice(lead + d..=lead + d, [self.counts[d], longest]);
            out = out.reshape(shape)?;
        }
        let mut order: Vec<isize> = (0..lead as isize).collect();
        order.extend((0..rank).map(|d| (lead + 2 * d) as isize));
        order.extend((0..rank).map(|d| (lead + 2 * d + 1) as isize));
        let mut shape = x.shape()[..lead].to_vec();
        shape.extend(&self.counts);
        shape.push(self.longest.iter().product());
        out.permute(&order)?.reshape(shape)
    }
}

/// The mean over windows that divide the last dimensions into `output` parts; `None` keeps a dimension.
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
    let spans = Spans::new("adaptive_avg_pool", x, output)?;
    let wide = x.to_dtype(x.dtype().compute())?;
    let mut mean = spans.columns(&wide, 0.0)?.sum_dims(&[-1], false)?;
    for (d, ranges) in spans.ranges.iter().enumerate() {
        let lengths: Vec<f32> = ranges.iter().map(|(a, b)| (b - a) as f32).collect();
        let mut sides = vec![1; spans.counts.len()];
        sides[d] = lengths.len();
        mean = (mean / Tensor::from_slice(&lengths, sides, x.device())?.to_dtype(wide.dtype())?)?;
    }
    mean.to_dtype(x.dtype())
}

/// The largest values in windows that divide the last dimensions into `output` parts, and where they stand in those
/// dimensions, counted row by row, `i32`.
///
/// # Errors
/// `Shape` where `x` has not one or two dimensions more than are pooled.
pub fn adaptive_max_pool(x: &Tensor, output: &[Option<usize>]) -> Result<(Tensor, Tensor)> {
    let spans = Spans::new("adaptive_max_pool", x, output)?;
    let columns = spans.columns(x, f64::NEG_INFINITY)?;
    let shape = columns.shape();
    if columns.numel() == 0 {
        let empty = &shape[..shape.len() - 1];
        let places = Tensor::zeros(empty, (crate::dtype::DType::I32, x.device()))?;
        return Ok((columns.sum_dims(&[-1], false)?, places));
    }
    let (values, at) = columns.max_dim(-1, false)?;
    let rank = spans.counts.len();
    let sizes = &x.shape()[x.dim() - rank..];
    // of every window, where its elements stand
    let (windows, elements): (usize, usize) = (spans.counts.iter().product(), spans.longest.iter().product());
    let places: Vec<i32> = (0..windows * elements)
        .map(|i| {
            let (mut window, mut element, mut step, mut place) = (i / elements, i % elements, 1, 0);
            for d in (0..rank).rev() {
                let start = spans.ranges[d][window % spans.counts[d]].0;
                place += (start + element % spans.longest[d]) * step;
                window /= spans.counts[d];
                element /= spans.longest[d];
                step *= sizes[d];
            }
            place as i32
        })
        .collect();
    let mut sides = spans.counts.clone();
    sides.push(elements);
    let places = Tensor::from_slice(&places, sides, x.device())?.expand(&shape)?;
    let found = places.gather(-1, &at.unsqueeze(-1)?)?.squeeze_dim(-1)?;
    Ok((values, found))
}

/// `(sum x^p)^(1 / p)` over each window, windows as in [`avg_pool`].
pub fn lp_pool<const N: usize>(x: &Tensor, p: f64, windows: &AvgPool<N>) -> Result<Tensor> {
    let area: usize = windows.kernel_size.iter().product();
    let mean = avg_pool(&x.pow(p)?, windows)?;
    ((mean.sign()? * mean.abs()?.relu()?)? * area)?.pow(1.0 / p)
}

/// `x / (k + alpha mean(x^2))^beta`, the mean over `size` neighbouring channels, which are dimension 1.
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
