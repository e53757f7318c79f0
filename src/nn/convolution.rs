//! Convolution and pooling as functions.

use super::{AvgPool2d, MaxPool2d};
use crate::error::{Result, bail};
use crate::ops::window::Windows;
use crate::tensor::Tensor;

/// A convolution over the last one, two or three dimensions: `x` is `[n, in, ...]` or `[in, ...]`, `weight`
/// `[out, in / groups, kernel...]`, `bias` `[out]`; stride, padding with zeros and dilation have a number for each
/// dimension.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let (x, w) = (Tensor::new([[[1.0f32, 2.0, 4.0]]], ())?, Tensor::new([[[1.0f32, -1.0]]], ())?);
/// assert_eq!(f::conv(&x, &w, None, (&[1], &[0], &[1]), 1)?.to_vec::<f32>()?, [-1.0, -2.0]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where channels, groups or dimensions do not fit; `DType` where the dtypes differ.
pub fn conv(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    (stride, padding, dilation): (&[usize], &[usize], &[usize]),
    groups: usize,
) -> Result<Tensor> {
    let spatial = stride.len();
    let op = ["conv1d", "conv2d", "conv3d"].get(spatial.wrapping_sub(1)).copied().unwrap_or("conv");
    let (w, own) = (weight.shape(), x.shape());
    if w.len() != spatial + 2 || padding.len() != spatial || dilation.len() != spatial {
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
    if groups == 0 || own[1] != w[1] * groups || !w[0].is_multiple_of(groups) {
        bail!(
            Shape,
            op,
            "given groups={groups}, weight of size {:?}, expected input {:?} to have {} channels",
            &w[..],
            &own[..],
            w[1] * groups
        );
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
    let windows =
        Windows { kernel: w[2..].into(), stride: stride.into(), padding: padding.into(), dilation: dilation.into() };
    windows.convolve(op, (x, weight, bias), groups)
}

/// Every window of the last two dimensions, as `[.., kernel area, h, w]`.
fn windows_2d(op: &'static str, x: &Tensor, fill: f64, windows: &Windows) -> Result<Tensor> {
    let shape = x.shape();
    if !(3..=4).contains(&shape.len()) {
        bail!(Shape, op, "expected an input of 3 or 4 dimensions, got {:?}", &shape[..]);
    }
    for d in 0..2 {
        if windows.padding[d] * 2 > windows.kernel[d] {
            bail!(
                Value,
                op,
                "pad should be at most half of effective kernel size, got padding {} and kernel size {}",
                windows.padding[d],
                windows.kernel[d]
            );
        }
    }
    let lead = shape.len() as isize - 2;
    windows.unfold(op, x, fill)?.flatten(lead, lead + 1)
}

/// The largest value in each window of `[n, c, h, w]` or `[c, h, w]`; the gradient goes to the first of equals.
///
/// # Errors
/// `Shape` for other dimensions; `Value` where the padding is more than half a window.
pub fn max_pool2d(x: &Tensor, o: &MaxPool2d) -> Result<Tensor> {
    let windows = Windows {
        kernel: o.kernel_size[..].into(),
        stride: o.stride[..].into(),
        padding: o.padding[..].into(),
        dilation: o.dilation[..].into(),
    };
    let columns = windows_2d("max_pool2d", x, f64::NEG_INFINITY, &windows)?;
    Ok(columns.max_dim(-3, false)?.0)
}

/// The mean of each window of `[n, c, h, w]` or `[c, h, w]`.
///
/// # Errors
/// `Shape` for other dimensions; `Value` where the padding is more than half a window.
pub fn avg_pool2d(x: &Tensor, o: &AvgPool2d) -> Result<Tensor> {
    let windows = Windows {
        kernel: o.kernel_size[..].into(),
        stride: o.stride[..].into(),
        padding: o.padding[..].into(),
        dilation: [1, 1][..].into(),
    };
    let columns = windows_2d("avg_pool2d", x, 0.0, &windows)?;
    let sum = columns.sum_dims(&[-3], false)?;
    match o.divisor_override {
        Some(divisor) => sum / divisor,
        None => sum / (o.kernel_size[0] * o.kernel_size[1]),
    }
}
