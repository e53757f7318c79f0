//! Stateless forms of the layers: `torch.nn.functional`.

use super::{AvgPool2d, MaxPool2d};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::no_grad;
use crate::ops::window::Windows;
use crate::tensor::Tensor;

pub use crate::ops::index::{BagMode, EmbeddingBagOptions, EmbeddingLookup, embedding, embedding_bag};

/// `x A^T + b` over the last dimension: `x` is `[*, in]`, `weight` `[out, in]`, `bias` `[out]`.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let (x, w) = (Tensor::new([[1.0f32, 2.0]], ())?, Tensor::new([[3.0f32, 4.0]], ())?);
/// assert_eq!(f::linear(&x, &w, None)?.to_vec::<f32>()?, [11.0]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let y = x.matmul(&weight.t()?)?;
    match bias {
        Some(bias) => y + bias,
        None => Ok(y),
    }
}

macro_rules! of_one {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(x: &Tensor) -> Result<Tensor> {
                x.$name()
            }
        )*
    };
}

of_one! {
    /// `max(x, 0)`.
    relu;
    /// `x sigmoid(x)`.
    silu;
    /// `1 / (1 + e^-x)`.
    sigmoid;
    /// Hyperbolic tangent.
    tanh;
}

/// `e^x / sum e^x` along a dimension.
pub fn softmax(x: &Tensor, dim: isize) -> Result<Tensor> {
    x.softmax(dim)
}

/// `log(e^x / sum e^x)` along a dimension.
pub fn log_softmax(x: &Tensor, dim: isize) -> Result<Tensor> {
    x.log_softmax(dim)
}

/// How much a batch moves running statistics.
#[derive(Clone)]
pub enum Momentum {
    /// The batch's share.
    Share(f64),
    /// The batch's share, a number on the device.
    Tensor(Tensor),
}

/// `(x - mean) / sqrt(var + eps) * weight + bias` for each channel, which is dimension 1.
///
/// With `batch`, mean and (biased) variance are those of `x`, and the running ones (mean, variance) move towards the
/// batch's, with the unbiased variance, in place; else they are the running ones.
///
/// # Errors
/// `Shape` where `x` has fewer than two dimensions, or a batch has one value per channel; `Value` without any
/// statistics.
pub fn batch_norm(
    x: &Tensor,
    running: Option<(&Tensor, &Tensor)>,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    batch: bool,
    momentum: &Momentum,
    eps: f64,
) -> Result<Tensor> {
    let shape = x.shape();
    if shape.len() < 2 {
        bail!(Shape, "batch_norm", "expected at least 2 dimensions, got {:?}", &shape[..]);
    }
    let mut channel = vec![1; shape.len()];
    channel[1] = shape[1];
    let (mean, var) = if batch {
        let dims: Vec<isize> = (0..shape.len() as isize).filter(|&d| d != 1).collect();
        let count = x.numel() / shape[1].max(1);
        if count == 1 {
            bail!(Shape, "batch_norm", "expected more than 1 value per channel when training, got {:?}", &shape[..]);
        }
        let (var, mean) = x.to_dtype(x.dtype().compute())?.var_mean(&dims, 0.0, true)?;
        if let Some((running_mean, running_var)) = running {
            let unbiased = (var.detach() * (count as f64 / (count as f64 - 1.0)))?;
            for (running, new) in [(running_mean, mean.detach()), (running_var, unbiased)] {
                no_grad(|| {
                    running.modify("batch_norm", |old| {
                        let new = new.reshape(old.shape())?.to_dtype(old.dtype())?;
                        match momentum {
                            Momentum::Share(share) => (old * (1.0 - share))? + (new * *share)?,
                            Momentum::Tensor(share) => old + ((new - old)? * share)?,
                        }
                    })
                })?;
            }
        }
        (mean, var)
    } else {
        match running {
            Some((mean, var)) => (mean.reshape(&channel)?, var.reshape(&channel)?),
            None => bail!(Value, "batch_norm", "needs running statistics in evaluation"),
        }
    };
    let y = ((x - mean)? * (var + eps)?.rsqrt()?)?;
    affine(&y, weight, bias, &channel, x.dtype())
}

/// `y * weight + bias`, both seen as `shape`, in a dtype.
fn affine(y: &Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>, shape: &[usize], dtype: DType) -> Result<Tensor> {
    let mut y = y.clone();
    if let Some(weight) = weight {
        y = (y * weight.reshape(shape)?)?;
    }
    if let Some(bias) = bias {
        y = (y + bias.reshape(shape)?)?;
    }
    y.to_dtype(dtype)
}

/// `(x - mean) / sqrt(var + eps) * weight + bias` over the last dimensions, whose sizes are `normalized_shape`.
///
/// # Errors
/// `Shape` where `x` does not end with those sizes.
pub fn layer_norm(
    x: &Tensor,
    normalized_shape: &[usize],
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let shape = x.shape();
    if normalized_shape.is_empty() || !shape.ends_with(normalized_shape) {
        bail!(
            Shape,
            "layer_norm",
            "given normalized_shape {normalized_shape:?}, expected input to end with it, got {:?}",
            &shape[..]
        );
    }
    let dims: Vec<isize> = (1..=normalized_shape.len() as isize).map(|d| -d).collect();
    let wide = x.to_dtype(x.dtype().compute())?;
    let (var, mean) = wide.var_mean(&dims, 0.0, true)?;
    let y = ((wide - mean)? * (var + eps)?.rsqrt()?)?;
    affine(&y, weight, bias, normalized_shape, x.dtype())
}

/// The mean of `-log softmax(x)[target]` over a batch: `x` is `[n, classes]`, `target` `[n]` of class numbers.
pub fn cross_entropy(x: &Tensor, target: &Tensor) -> Result<Tensor> {
    x.log_softmax(1)?.gather(1, &target.unsqueeze(1)?)?.mean()?.neg()
}

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
    windows.unfold(op, x, fill.into())?.flatten(lead, lead + 1)
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
