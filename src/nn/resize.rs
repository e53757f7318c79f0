//! Resizing, affine grids and what undoes a pooling, as functions.

use super::MaxPool;
use super::adaptive::adaptive_avg_pool;
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::ops::window::Sizes;
use crate::shape::{checked_numel, numel};
use crate::tensor::Tensor;
use crate::tensor::autocast::full;

/// How [`interpolate`] finds a value between places.
///
/// ```
/// use calor::{Tensor, nn::functional::{Resize, ResizeMode, interpolate}};
/// let x = Tensor::new([[[1.0f32, 3.0]]], ())?;
/// let y = interpolate(&x, &Resize { size: Some(vec![1]), mode: ResizeMode::Area, ..Resize::default() })?;
/// assert_eq!(y.item()?, 2.0);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResizeMode {
    /// The element before.
    #[default]
    Nearest,
    /// The nearest element.
    NearestExact,
    /// Between two elements of `[n, c, l]`.
    Linear,
    /// Between four elements of `[n, c, h, w]`.
    Bilinear,
    /// Between eight elements of `[n, c, d, h, w]`.
    Trilinear,
    /// A cubic through sixteen elements of `[n, c, h, w]`.
    Bicubic,
    /// The mean of what a place covers.
    Area,
}

/// Options of [`interpolate`].
///
/// ```
/// use calor::{Tensor, nn::functional::{Resize, ResizeMode, interpolate}};
/// let options = Resize { size: Some(vec![3]), mode: ResizeMode::Linear, align_corners: true, ..Resize::default() };
/// assert_eq!(interpolate(&Tensor::new([[[1.0f32, 3.0]]], ())?, &options)?.to_vec::<f32>()?, [1.0, 2.0, 3.0]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Resize {
    /// Sizes, one for all or one for each dimension; else `scale_factor` says them.
    pub size: Option<Vec<usize>>,
    /// Factors of the sizes, one for all or one for each dimension.
    pub scale_factor: Option<Vec<f64>>,
    /// How values between places are found.
    pub mode: ResizeMode,
    /// Whether the outermost elements keep their places, rather than the outermost edges.
    pub align_corners: bool,
    /// Whether places are found by the sizes' ratio even where a factor is given.
    pub recompute_scale_factor: bool,
}

/// Elements that some places take, with their shares.
type Taps = Vec<(Vec<i32>, Vec<f64>)>;

/// What each of `to` places takes of a side of `from` elements, `step` being their distance where it was given.
fn taps(mode: ResizeMode, (from, to): (usize, usize), step: Option<f64>, align_corners: bool) -> Taps {
    let last = from as i64 - 1;
    let at = |i: i64| i.clamp(0, last) as i32;
    let ratio = step.unwrap_or(from as f64 / to.max(1) as f64);
    // where a place lies in the input
    let source = |i: usize| match (align_corners, to) {
        (true, 0 | 1) => 0.0,
        (true, _) => i as f64 * last as f64 / (to - 1) as f64,
        (false, _) => (i as f64 + 0.5) * ratio - 0.5,
    };
    match mode {
        ResizeMode::Nearest | ResizeMode::NearestExact => {
            // single precision, as PyTorch rounds
            let shift = if mode == ResizeMode::Nearest { 0.0f32 } else { 0.5 };
            let ratio = step.map_or(from as f32 / to.max(1) as f32, |s| s as f32);
            let index = (0..to).map(|i| at(((i as f32 + shift) * ratio).floor() as i64)).collect();
            vec![(index, Vec::new())]
        }
        ResizeMode::Bicubic => {
            const A: f64 = -0.75;
            let near = |t: f64| ((A + 2.0) * t - (A + 3.0)) * t * t + 1.0;
            let far = |t: f64| ((A * t - 5.0 * A) * t + 8.0 * A) * t - 4.0 * A;
            let share = |j: i64, t: f64| match j {
                -1 => far(t + 1.0),
                0 => near(t),
                1 => near(1.0 - t),
                _ => far(2.0 - t),
            };
            let places = || (0..to).map(source).map(|s| (s.floor() as i64, s - s.floor()));
            (-1..3)
                .map(|j| (places().map(|(i, _)| at(i + j)).collect(), places().map(|(_, t)| share(j, t)).collect()))
                .collect()
        }
        _ => {
            let places = || (0..to).map(source).map(|s| s.max(0.0)).map(|s| (s.floor() as i64, s - s.floor()));
            vec![
                (places().map(|(i, _)| at(i)).collect(), places().map(|(_, t)| 1.0 - t).collect()),
                (places().map(|(i, _)| at(i + 1)).collect(), places().map(|(_, t)| t).collect()),
            ]
        }
    }
}

/// `numbers` as a tensor of a float dtype.
fn constants(numbers: &[f64], shape: Vec<usize>, like: &Tensor) -> Result<Tensor> {
    match like.dtype() {
        DType::F64 => Tensor::from_slice(numbers, shape, like.device()),
        _ => {
            let numbers: Vec<f32> = numbers.iter().map(|&n| n as f32).collect();
            Tensor::from_slice(&numbers, shape, like.device())
        }
    }
}

/// Images `[n, c, ..]` with other sizes.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let x = Tensor::new([[[1.0f32, 3.0]]], ())?;
/// let options = f::Resize { size: Some(vec![4]), mode: f::ResizeMode::Linear, ..Default::default() };
/// assert_eq!(f::interpolate(&x, &options)?.to_vec::<f32>()?, [1.0, 1.5, 2.5, 3.0]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where dimensions and mode do not fit; `Value` unless either a size or a factor is given, and for sizes of
/// zero; `DType` for values that are no floats where places lie between them.
pub fn interpolate(x: &Tensor, options: &Resize) -> Result<Tensor> {
    const OP: &str = "interpolate";
    let x = &if options.mode == ResizeMode::Area { x.clone() } else { full(x)? };
    let shape = x.shape();
    let rank = shape.len().saturating_sub(2);
    let fits = match options.mode {
        ResizeMode::Linear => rank == 1,
        ResizeMode::Bilinear | ResizeMode::Bicubic => rank == 2,
        ResizeMode::Trilinear => rank == 3,
        _ => (1..=3).contains(&rank),
    };
    if !fits {
        bail!(Shape, OP, "{:?} does not work on {} dimensions, got {:?}", options.mode, shape.len(), &shape[..]);
    }
    let exact = matches!(options.mode, ResizeMode::Nearest | ResizeMode::NearestExact);
    if options.align_corners && (exact || options.mode == ResizeMode::Area) {
        bail!(Value, OP, "align_corners can only be set with linear and cubic modes, got {:?}", options.mode);
    }
    let spread = |given: usize, d: usize| if given == 1 { 0 } else { d };
    let (sizes, steps): (Vec<usize>, Vec<Option<f64>>) = match (&options.size, &options.scale_factor) {
        (Some(size), None) if size.len() == 1 || size.len() == rank => {
            ((0..rank).map(|d| size[spread(size.len(), d)]).collect(), vec![None; rank])
        }
        (None, Some(factor)) if factor.len() == 1 || factor.len() == rank => (0..rank)
            .map(|d| {
                let factor = factor[spread(factor.len(), d)];
                let step = (!options.recompute_scale_factor && factor > 0.0).then_some(1.0 / factor);
                ((shape[d + 2] as f64 * factor).floor() as usize, step)
            })
            .unzip(),
        (Some(_), Some(_)) | (None, None) => {
            bail!(Value, OP, "either size or scale_factor should be defined, got {:?}", options)
        }
        _ => bail!(Shape, OP, "size or scale_factor does not fit {rank} spatial dimensions: {:?}", options),
    };
    if sizes.contains(&0) || shape[2..].contains(&0) {
        bail!(Value, OP, "input and output sizes should be greater than 0, got {:?} and {sizes:?}", &shape[2..]);
    }
    // places are made on the host before anything else is
    checked_numel(OP, &sizes)?;
    if !exact && !x.dtype().is_float() {
        bail!(DType, OP, "{:?} is not supported for {} tensors", options.mode, x.dtype());
    }
    if options.mode == ResizeMode::Area {
        let sizes: Vec<Option<usize>> = sizes.into_iter().map(Some).collect();
        return adaptive_avg_pool(x, &sizes);
    }
    let mut y = if exact { x.clone() } else { x.to_dtype(x.dtype().compute())? };
    for d in 0..rank {
        let mut sum: Option<Tensor> = None;
        for (index, shares) in taps(options.mode, (shape[d + 2], sizes[d]), steps[d], options.align_corners) {
            let index = Tensor::from_slice(&index, [sizes[d]], x.device())?;
            let mut term = y.index_select(d as isize + 2, &index)?;
            if !shares.is_empty() {
                let mut sides = vec![1; rank];
                sides[d] = sizes[d];
                term = (term * constants(&shares, sides, &y)?)?;
            }
            sum = Some(match sum {
                Some(sum) => (sum + term)?,
                None => term,
            });
        }
        y = sum.unwrap_or(y);
    }
    y.to_dtype(x.dtype())
}

/// The places `[n, (d,) h, w, 2 or 3]` at which images of `size` (`[n, c, (d,) h, w]`) read under affine maps `theta`,
/// `[n, 2, 3]` or `[n, 3, 4]`; places reach from -1 to 1.
///
/// ```
/// use calor::{Tensor, nn::functional::affine_grid};
/// let same = Tensor::new([[[1.0f32, 0.0, 0.0], [0.0, 1.0, 0.0]]], ())?;
/// assert_eq!(affine_grid(&same, &[1, 1, 1, 2], true)?.to_vec::<f32>()?, [-1.0, 0.0, 1.0, 0.0]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where `theta` and `size` do not fit; `DType` for a `theta` of no floats; `Value` for sizes of zero.
pub fn affine_grid(theta: &Tensor, size: &[usize], align_corners: bool) -> Result<Tensor> {
    const OP: &str = "affine_grid";
    if !theta.dtype().is_float() {
        bail!(DType, OP, "expected theta to have floating point type, but got {}", theta.dtype());
    }
    let rank = size.len().saturating_sub(2);
    if !(2..=3).contains(&rank) || theta.shape()[..] != [size[0], rank, rank + 1] {
        bail!(Shape, OP, "expected a batch of affine maps for size {size:?}, got {:?}", theta.shape());
    }
    if size.contains(&0) {
        bail!(Value, OP, "expected non-zero, positive output size, got {size:?}");
    }
    let sides = &size[2..];
    let place = |d: usize, i: usize| {
        let n = sides[d] as f64;
        match (align_corners, sides[d]) {
            (_, 1) => 0.0,
            (true, _) => 2.0 * i as f64 / (n - 1.0) - 1.0,
            (false, _) => (2.0 * i as f64 + 1.0) / n - 1.0,
        }
    };
    let count = checked_numel(OP, sides)?;
    let mut base = Vec::with_capacity(count * (rank + 1));
    for flat in 0..count {
        let mut left = flat;
        for d in (0..rank).rev() {
            base.push(place(d, left % sides[d]));
            left /= sides[d];
        }
        base.push(1.0);
    }
    let wide = theta.to_dtype(theta.dtype().compute())?;
    let grid = constants(&base, vec![count, rank + 1], &wide)?.matmul(&wide.transpose(1, 2)?)?;
    let mut shape = vec![size[0]];
    shape.extend_from_slice(sides);
    shape.push(rank);
    grid.reshape(&shape)?.to_dtype(theta.dtype())
}

/// Puts the values of a maximum pooling back where they came from, zeros elsewhere; `output_size` says which of the
/// sizes that pool to `x`'s is meant.
///
/// ```
/// use calor::{Tensor, nn::{MaxPool1d, functional as f}};
/// let (x, at) = (Tensor::new([[3.0f32]], ())?, Tensor::new([[1i32]], ())?);
/// assert_eq!(f::max_unpool(&x, &at, &MaxPool1d::new(2), None)?.to_vec::<f32>()?, [0.0, 3.0]);
/// # Ok::<(), calor::Error>(())
/// ```
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
        let (stride, steps) = (pool.stride[d], shape[lead + d] - 1);
        let whole = steps.saturating_mul(stride).saturating_add(pool.kernel_size[d]);
        let usual = whole.saturating_sub(pool.padding[d].saturating_mul(2));
        let size = output_size.map_or(usual, |o| o[d]);
        if output_size.is_some() && (size.saturating_add(stride) <= usual || size >= usual.saturating_add(stride)) {
            bail!(Shape, OP, "output size {size} of dimension {d} is not within {stride} of {usual}");
        }
        sizes.push(size);
    }
    let first = lead as isize;
    let mut flat = shape.clone();
    flat.truncate(lead);
    flat.push(numel(&sizes));
    let zeros = Tensor::zeros(&flat[..], (x.dtype(), x.device()))?;
    let out = zeros.scatter(-1, &indices.flatten(first, -1)?, x.flatten(first, -1)?)?;
    flat.truncate(lead);
    flat.extend_from_slice(&sizes);
    out.reshape(&flat)
}
