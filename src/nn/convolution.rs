//! Convolution and pooling as functions.

use super::{AvgPool, MaxPool};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::ops::window::{Sizes, Windows, by_images};
use crate::shape::numel;
use crate::tensor::Tensor;
use crate::tensor::autocast::{lowered, lowered_if};
use crate::tensor::grad::is_grad_enabled;
use smallvec::SmallVec;

/// Zeros around the input of a convolution.
///
/// ```
/// use calor::{Tensor, nn::functional::{Padding, conv}};
/// let (x, w) = (Tensor::ones([1, 1, 5], ())?, Tensor::ones([1, 1, 3], ())?);
/// let side = |padding| conv(&x, &w, None, (&[1], padding, &[1]), 1)?.size(2);
/// assert_eq!((side(Padding::Valid)?, side(Padding::Same)?, side(Padding::Sides(&[2]))?), (3, 5, 7));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding<'a> {
    /// None.
    Valid,
    /// As many as keep the sizes, for a stride of 1.
    Same,
    /// As many at both ends of each dimension.
    Sides(&'a [usize]),
}

/// A convolution over the last one, two or three dimensions: `x` is `[n, in, ...]` or `[in, ...]`, `weight`
/// `[out, in / groups, kernel...]`, `bias` `[out]`; stride, padding with zeros and dilation have a number for each
/// dimension.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let (x, w) = (Tensor::new([[[1.0f32, 2.0, 4.0]]], ())?, Tensor::new([[[1.0f32, -1.0]]], ())?);
/// assert_eq!(f::conv(&x, &w, None, (&[1], f::Padding::Valid, &[1]), 1)?.to_vec::<f32>()?, [-1.0, -2.0]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where channels, groups or dimensions do not fit; `DType` where the dtypes differ.
pub fn conv(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    (stride, padding, dilation): (&[usize], Padding<'_>, &[usize]),
    groups: usize,
) -> Result<Tensor> {
    let (x, weight, bias) = (&lowered(x)?, &lowered(weight)?, lowered_if(bias)?);
    let bias = bias.as_ref();
    let spatial = stride.len();
    let op = ["conv1d", "conv2d", "conv3d"].get(spatial.wrapping_sub(1)).copied().unwrap_or("conv");
    let (w, own) = (weight.shape(), x.shape());
    let fits = !matches!(padding, Padding::Sides(sides) if sides.len() != spatial);
    if w.len() != spatial + 2 || !fits || dilation.len() != spatial {
        bail!(Shape, op, "expected a weight of {} dimensions, got {:?}", spatial + 2, &w[..]);
    }
    if own.len() == spatial + 1 {
        return conv(&x.unsqueeze(0)?, weight, bias, (stride, padding, dilation), groups)?.squeeze_dim(0);
    }
    if own.len() != spatial + 2 {
        bail!(Shape, op, "expected an input of {} or {} dimensions, got {:?}", spatial + 1, spatial + 2, &own[..]);
    }
    if x.dtype() != weight.dtype() {
        bail!(DType, op, "input is {}, weight {}", x.dtype(), weight.dtype());
    }
    if w[0] == 0 {
        bail!(Shape, op, "expected weight to be at least 1 at dimension 0, but got weight of size {:?}", &w[..]);
    }
    if groups == 0 || own[1] != w[1].saturating_mul(groups) || !w[0].is_multiple_of(groups) {
        bail!(
            Shape,
            op,
            "given groups={groups}, weight of size {:?}, expected input {:?} to have {} channels",
            &w[..],
            &own[..],
            w[1].saturating_mul(groups)
        );
    }
    if let Some(bias) = bias
        && bias.dtype() != x.dtype()
    {
        bail!(DType, op, "input is {}, bias {}", x.dtype(), bias.dtype());
    }
    if let Some(bias) = bias
        && bias.shape()[..] != [w[0]]
    {
        bail!(
            Shape,
            op,
            "given weight of size {:?}, expected bias to have {} elements, got {:?}",
            w,
            w[0],
            bias.shape()
        );
    }
    let kernel = Sizes::from_slice(&w[2..]);
    let reach = |d: usize| dilation[d].saturating_mul(kernel[d].saturating_sub(1));
    let (before, after): (Sizes, Sizes) = match padding {
        Padding::Valid => (SmallVec::from_elem(0, spatial), SmallVec::from_elem(0, spatial)),
        Padding::Sides(sides) => (sides.into(), sides.into()),
        Padding::Same if stride.iter().any(|&s| s != 1) => {
            bail!(Value, op, "padding='same' is not supported for strided convolutions, got stride {stride:?}")
        }
        // the odd place goes behind
        Padding::Same => {
            ((0..spatial).map(|d| reach(d) / 2).collect(), (0..spatial).map(|d| reach(d) - reach(d) / 2).collect())
        }
    };
    let windows = Windows { kernel, stride: stride.into(), padding: before, after, dilation: dilation.into() };
    windows.convolve(op, (x, weight, bias), groups)
}

/// How many windows a pooling makes of each dimension, and the windows.
fn pool_windows<const N: usize>(
    op: &'static str,
    x: &Tensor,
    (kernel, stride, padding, dilation): ([usize; N], [usize; N], [usize; N], [usize; N]),
    ceil_mode: bool,
) -> Result<Windows> {
    let shape = x.shape();
    if shape.len() != N + 1 && shape.len() != N + 2 {
        bail!(Shape, op, "expected an input of {} or {} dimensions, got {:?}", N + 1, N + 2, &shape[..]);
    }
    let sizes = &shape[shape.len() - N..];
    let mut after = Sizes::from_slice(&padding);
    for d in 0..N {
        let (kernel, stride, padding) = (kernel[d], stride[d], padding[d]);
        if stride == 0 || kernel == 0 || dilation[d] == 0 {
            bail!(
                Value,
                op,
                "kernel size, stride and dilation must not be zero, got {kernel}, {stride}, {}",
                dilation[d]
            );
        }
        let need = dilation[d].saturating_mul(kernel - 1).saturating_add(1);
        if padding.saturating_mul(2) > need {
            bail!(
                Value,
                op,
                "pad should be at most half of effective kernel size, but got pad={padding}, kernel_size={kernel} and \
                 dilation={}",
                dilation[d]
            );
        }
        // one window even where the last step alone reaches its size
        let reach = sizes[d].saturating_add(2 * padding).saturating_add(stride - 1);
        if let (true, Some(rest)) = (ceil_mode, reach.checked_sub(need)) {
            let mut count = rest / stride + 1;
            // a window must start inside the input or its border before
            if count > 1 && (count - 1).saturating_mul(stride) >= sizes[d] + padding {
                count -= 1;
            }
            after[d] = ((count - 1) * stride + need).saturating_sub(sizes[d] + padding);
        }
    }
    let windows = Windows {
        kernel: kernel[..].into(),
        stride: stride[..].into(),
        padding: padding[..].into(),
        after,
        dilation: dilation[..].into(),
    };
    if shape[shape.len() - N - 1..].contains(&0) {
        bail!(Shape, op, "expected non-zero sizes for all dimensions but the batch, got {:?}", &shape[..]);
    }
    Ok(windows)
}

/// Every window, its elements along one dimension, and which dimension that is.
fn flat_windows(op: &'static str, x: &Tensor, fill: f64, windows: &Windows) -> Result<(Tensor, isize)> {
    let rank = windows.kernel.len() as isize;
    let lead = x.dim() as isize - rank;
    Ok((windows.unfold(op, x, fill)?.flatten(lead, lead + rank - 1)?, lead))
}

/// What is smaller than any other value of a dtype: the border of a maximum.
pub(super) fn lowest(dtype: DType) -> f64 {
    match dtype {
        DType::I32 => f64::from(i32::MIN),
        DType::I64 => i64::MIN as f64,
        DType::U8 | DType::U32 | DType::Bool => 0.0,
        _ => f64::NEG_INFINITY,
    }
}

/// The largest value in each window of the last `N` dimensions of `[n, c, ..]` or `[c, ..]`; the gradient goes to the
/// first of equals.
///
/// ```
/// use calor::nn::{MaxPool2d, functional as f};
/// let x = calor::Tensor::arange(0, 16, 1, calor::DType::F32)?.reshape([1, 1, 4, 4])?;
/// assert_eq!(f::max_pool(&x, &MaxPool2d::new(2))?.to_vec::<f32>()?, [5.0, 7.0, 13.0, 15.0]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` for other dimensions; `Value` where the padding is more than half a window.
pub fn max_pool<const N: usize>(x: &Tensor, o: &MaxPool<N>) -> Result<Tensor> {
    let windows = pool_windows("max_pool", x, (o.kernel_size, o.stride, o.padding, o.dilation), o.ceil_mode)?;
    let places = x.requires_grad() && is_grad_enabled();
    if let Some((values, _)) = windows.largest("max_pool", x, lowest(x.dtype()), places)? {
        return Ok(values);
    }
    let (columns, dim) = flat_windows("max_pool", x, lowest(x.dtype()), &windows)?;
    Ok(columns.max_dim(dim, false)?.0)
}

/// [`max_pool`] and where each value stands in the last `N` dimensions of the input, counted row by row, `i32`.
///
/// ```
/// use calor::{Tensor, nn::{MaxPool1d, functional as f}};
/// let x = Tensor::new([[1.0f32, 3.0, 4.0, 2.0]], ())?;
/// let (y, at) = f::max_pool_with_indices(&x, &MaxPool1d::new(2))?;
/// assert_eq!((y.to_vec::<f32>()?, at.to_vec::<i32>()?), (vec![3.0, 4.0], vec![1, 2]));
/// # Ok::<(), calor::Error>(())
/// ```
pub fn max_pool_with_indices<const N: usize>(x: &Tensor, o: &MaxPool<N>) -> Result<(Tensor, Tensor)> {
    let windows = pool_windows("max_pool", x, (o.kernel_size, o.stride, o.padding, o.dilation), o.ceil_mode)?;
    if let Some((values, Some(at))) = windows.largest("max_pool", x, lowest(x.dtype()), true)? {
        return Ok((values, at));
    }
    let (columns, dim) = flat_windows("max_pool", x, lowest(x.dtype()), &windows)?;
    let (values, at) = columns.max_dim(dim, false)?;
    let shape = x.shape();
    Ok((values, windows.places(&at, &shape[shape.len() - N..])?))
}

/// The mean of each window of the last `N` dimensions of `[n, c, ..]` or `[c, ..]`.
///
/// ```
/// use calor::nn::{AvgPool2d, functional as f};
/// let x = calor::Tensor::arange(0, 16, 1, calor::DType::F32)?.reshape([1, 1, 4, 4])?;
/// assert_eq!(f::avg_pool(&x, &AvgPool2d::new(2))?.to_vec::<f32>()?, [2.5, 4.5, 10.5, 12.5]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` for other dimensions; `Value` where the padding is more than half a window, or the divisor is zero.
pub fn avg_pool<const N: usize>(x: &Tensor, o: &AvgPool<N>) -> Result<Tensor> {
    const OP: &str = "avg_pool";
    if o.divisor_override == Some(0) {
        bail!(Value, OP, "divisor must be not zero");
    }
    let windows = pool_windows(OP, x, (o.kernel_size, o.stride, o.padding, [1; N]), o.ceil_mode)?;
    let shape = x.shape();
    let sizes = &shape[shape.len() - N..];
    let counts = windows.count(OP, sizes)?;
    let each = numel(&[&shape[1..shape.len() - N], &windows.kernel[..], &counts[..]].concat());
    let sum = by_images(&x.to_dtype(x.dtype().compute())?, each, |x| {
        let (columns, dim) = flat_windows(OP, x, 0.0, &windows)?;
        columns.sum_dims(&[dim], false)
    })?;
    if let Some(divisor) = o.divisor_override {
        return (sum / divisor as f64)?.to_dtype(x.dtype());
    }
    let mut mean = sum;
    for d in 0..N {
        let within = |i: usize| {
            let (start, end) = (i * o.stride[d], i * o.stride[d] + o.kernel_size[d]);
            let (low, high) = (o.padding[d], o.padding[d] + sizes[d]);
            // the border counts, what lies beyond it does not
            match o.count_include_pad {
                true => end.min(high + o.padding[d]) - start,
                false => end.min(high) - start.max(low),
            }
        };
        let numbers: Vec<f32> = (0..counts[d]).map(|i| within(i) as f32).collect();
        mean = match numbers.first() {
            Some(&first) if numbers.iter().all(|&n| n == first) => mean / f64::from(first),
            _ => {
                let mut sides = vec![1; N];
                sides[d] = counts[d];
                mean / Tensor::from_slice(&numbers, sides, x.device())?.to_dtype(x.dtype().compute())?
            }
        }?;
    }
    mean.to_dtype(x.dtype())
}

/// The windows of `[n, c, ..]` or `[c, ..]` as columns: `[n, c * kernel, windows]`.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let y = f::unfold(&Tensor::new([[1.0f32, 2.0, 3.0]], ())?, &[2], (&[1], &[0], &[1]))?;
/// assert_eq!(y.to_vec::<f32>()?, [1.0, 2.0, 2.0, 3.0]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` for other dimensions, or where no window fits.
pub fn unfold(
    x: &Tensor,
    kernel: &[usize],
    (stride, padding, dilation): (&[usize], &[usize], &[usize]),
) -> Result<Tensor> {
    const OP: &str = "unfold";
    let (shape, rank) = (x.shape(), kernel.len());
    if shape.len() == rank + 1 {
        return unfold(&x.unsqueeze(0)?, kernel, (stride, padding, dilation))?.squeeze_dim(0);
    }
    if shape.len() != rank + 2 || stride.len() != rank || padding.len() != rank || dilation.len() != rank {
        bail!(Shape, OP, "expected an input of {} or {} dimensions, got {:?}", rank + 1, rank + 2, &shape[..]);
    }
    let windows = sliding(kernel, (stride, padding, dilation));
    let counts: usize = windows.count(OP, &shape[2..])?.iter().product();
    let depth = shape[1] * kernel.iter().product::<usize>();
    windows.unfold(OP, x, 0.0)?.reshape([shape[0], depth, counts])
}

/// The other way: columns `[n, c * kernel, windows]` to `[n, c, output..]`, adding what lies in the same place.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let y = f::fold(&Tensor::ones([2, 2], ())?, &[3], &[2], (&[1], &[0], &[1]))?;
/// assert_eq!(y.to_vec::<f32>()?, [1.0, 2.0, 1.0]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where the columns do not fit the output.
pub fn fold(
    x: &Tensor,
    output: &[usize],
    kernel: &[usize],
    (stride, padding, dilation): (&[usize], &[usize], &[usize]),
) -> Result<Tensor> {
    const OP: &str = "fold";
    let (shape, rank) = (x.shape(), kernel.len());
    if shape.len() == 2 {
        return fold(&x.unsqueeze(0)?, output, kernel, (stride, padding, dilation))?.squeeze_dim(0);
    }
    let fits = [output.len(), stride.len(), padding.len(), dilation.len()] == [rank; 4];
    if shape.len() != 3 || !fits {
        bail!(Shape, OP, "expected an input of 2 or 3 dimensions and {rank} sizes each, got {:?}", &shape[..]);
    }
    let windows = sliding(kernel, (stride, padding, dilation));
    let (area, counts) = (numel(kernel), windows.count(OP, output)?);
    let length = numel(&counts);
    if area == 0 || !shape[1].is_multiple_of(area) {
        bail!(
            Shape,
            OP,
            "expected size of input's dimension 1 to be divisible by the product of kernel_size, but got {} and \
             {kernel:?}",
            shape[1]
        );
    }
    if shape[2] != length {
        bail!(
            Shape,
            OP,
            "given output_size={output:?}, expected size of input's dimension 2 to match the calculated number of \
             sliding blocks {length}, but got {}",
            shape[2]
        );
    }
    let mut sizes = vec![shape[0], shape[1] / area];
    sizes.extend_from_slice(kernel);
    sizes.extend_from_slice(&counts);
    windows.fold(&x.reshape(sizes)?, output)
}

fn sliding(kernel: &[usize], (stride, padding, dilation): (&[usize], &[usize], &[usize])) -> Windows {
    Windows {
        kernel: kernel.into(),
        stride: stride.into(),
        padding: padding.into(),
        after: padding.into(),
        dilation: dilation.into(),
    }
}

/// The transposed convolution, which is a convolution's gradient of its input: `x` is `[n, in, ..]` or `[in, ..]`,
/// `weight` `[in, out / groups, kernel..]`, `bias` `[out]`. A side of `size` becomes
/// `(size - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1`.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let (x, w) = (Tensor::new([[[1.0f32, 2.0]]], ())?, Tensor::new([[[1.0f32, 10.0]]], ())?);
/// let y = f::conv_transpose(&x, &w, None, (&[1], &[0], &[0], &[1]), 1)?;
/// assert_eq!(y.to_vec::<f32>()?, [1.0, 12.0, 20.0]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where channels, groups or dimensions do not fit; `DType` where the dtypes differ; `Value` where the output
/// padding is not smaller than stride or dilation.
pub fn conv_transpose(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    (stride, padding, output_padding, dilation): (&[usize], &[usize], &[usize], &[usize]),
    groups: usize,
) -> Result<Tensor> {
    let (x, weight, bias) = (&lowered(x)?, &lowered(weight)?, lowered_if(bias)?);
    let bias = bias.as_ref();
    let rank = stride.len();
    let op = ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]
        .get(rank.wrapping_sub(1))
        .copied()
        .unwrap_or("conv_transpose");
    let (w, own) = (weight.shape(), x.shape());
    if own.len() == rank + 1 {
        let all = (stride, padding, output_padding, dilation);
        return conv_transpose(&x.unsqueeze(0)?, weight, bias, all, groups)?.squeeze_dim(0);
    }
    let fits = [padding.len(), output_padding.len(), dilation.len()] == [rank; 3];
    if own.len() != rank + 2 || w.len() != rank + 2 || !fits {
        bail!(Shape, op, "expected input and weight of {} dimensions, got {:?} and {:?}", rank + 2, own, w);
    }
    if x.dtype() != weight.dtype() || bias.is_some_and(|b| b.dtype() != x.dtype()) {
        bail!(DType, op, "input is {}, weight {}, and the bias must agree", x.dtype(), weight.dtype());
    }
    if w[0] == 0 || w[1] == 0 {
        bail!(Shape, op, "expected weight to be at least 1 at dimensions 0 and 1, but got weight of size {:?}", w);
    }
    if groups == 0 || own[1] != w[0] || !w[0].is_multiple_of(groups) {
        bail!(
            Shape,
            op,
            "given transposed=1, weight of size {:?}, expected input {:?} to have {} channels in {groups} groups",
            w,
            own,
            w[0]
        );
    }
    let outputs = w[1].saturating_mul(groups);
    if let Some(bias) = bias
        && bias.shape()[..] != [outputs]
    {
        bail!(Shape, op, "expected bias to have {outputs} elements, got {:?}", bias.shape());
    }
    let mut sizes = Sizes::new();
    for d in 0..rank {
        if stride[d] == 0 || dilation[d] == 0 {
            bail!(Value, op, "stride and dilation must be positive, got {} and {}", stride[d], dilation[d]);
        }
        if output_padding[d] >= stride[d].max(dilation[d]) {
            bail!(
                Value,
                op,
                "output padding must be smaller than either stride or dilation, but got {}, {} and {}",
                output_padding[d],
                stride[d],
                dilation[d]
            );
        }
        let steps = (own[2 + d].max(1) - 1).saturating_mul(stride[d]);
        let window = dilation[d].saturating_mul(w[2 + d].max(1) - 1).saturating_add(1);
        let reach = steps.saturating_add(window).saturating_add(output_padding[d]);
        match reach.checked_sub(padding[d].saturating_mul(2)) {
            Some(size) if size > 0 => sizes.push(size),
            _ => bail!(Shape, op, "the output would be too small: padding {} of {reach}", padding[d]),
        }
    }
    let dtype = x.dtype();
    let windows = sliding(&w[2..], (stride, padding, dilation));
    // bf16 is rounded once, after the bias; f16 before its sums over a window too, as in PyTorch
    let wide = if dtype == DType::F16 { dtype } else { dtype.compute() };
    let (x, weight) = (&x.to_dtype(wide)?, &weight.to_dtype(wide)?);
    let y = if dtype == DType::F16 {
        let depth: usize = w[1..].iter().product();
        let rows = weight.reshape([groups, w[0] / groups, depth])?.transpose(1, 2)?;
        let columns = rows.matmul(&x.reshape([own[0], groups, w[0] / groups, own[2..].iter().product()])?)?;
        let mut shape = vec![own[0], outputs];
        shape.extend_from_slice(&w[2..]);
        shape.extend_from_slice(&own[2..]);
        windows.fold(&columns.reshape(shape)?, &sizes)?
    } else {
        windows.transposed(op, x, weight, &sizes, groups)?
    };
    let y = match bias {
        Some(bias) => {
            let mut channel = vec![1; rank + 2];
            channel[1] = outputs;
            (y + bias.to_dtype(wide)?.reshape(channel)?)?
        }
        None => y,
    };
    y.to_dtype(dtype)
}
