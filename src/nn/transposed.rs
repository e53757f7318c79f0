//! Transposed convolution, and windows as columns, as functions.

use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::ops::window::{Sizes, Windows};
use crate::shape::Dims;
use crate::tensor::Tensor;

/// The transpose of [`conv`](super::functional::conv): `x` is `[n, in, ..]` or `[in, ..]`, `weight`
/// `[in, out / groups, kernel..]`, `bias` `[out]`; stride, padding, output padding and dilation have a number for
/// each dimension. A side of `size` becomes
/// `(size - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1`.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let (x, w) = (Tensor::new([[[1.0f32, 2.0]]], ())?, Tensor::new([[[1.0f32, 10.0]]], ())?);
/// let y = f::conv_transpose(&x, &w, None, ([1], [0], [0], [1]), 1)?;
/// assert_eq!(y.to_vec::<f32>()?, [1.0, 12.0, 20.0]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where channels, groups or dimensions do not fit; `DType` where the dtypes differ; `Value` where the output
/// padding is not smaller than stride or dilation.
pub fn conv_transpose<const N: usize>(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    (stride, padding, output_padding, dilation): ([usize; N], [usize; N], [usize; N], [usize; N]),
    groups: usize,
) -> Result<Tensor> {
    let op = ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"].get(N.wrapping_sub(1)).copied();
    let op = op.unwrap_or("conv_transpose");
    let (w, own, dtype) = (weight.shape(), x.shape(), x.dtype());
    if w.len() != N + 2 {
        bail!(Shape, op, "expected a weight of {} dimensions, got {:?}", N + 2, &w[..]);
    }
    if own.len() == N + 1 {
        let parameters = (stride, padding, output_padding, dilation);
        return conv_transpose(&x.unsqueeze(0)?, weight, bias, parameters, groups)?.squeeze_dim(0);
    }
    if own.len() != N + 2 {
        bail!(Shape, op, "expected an input of {} or {} dimensions, got {:?}", N + 1, N + 2, &own[..]);
    }
    if let Some(other) = [Some(weight), bias].into_iter().flatten().find(|t| t.dtype() != x.dtype()) {
        bail!(DType, op, "input is {}, weight or bias {}", x.dtype(), other.dtype());
    }
    if groups == 0 || own[1] != w[0] || !w[0].is_multiple_of(groups) {
        bail!(
            Shape,
            op,
            "given groups={groups}, transposed weight of size {:?}, expected input {:?} to have {} channels",
            &w[..],
            &own[..],
            w[0]
        );
    }
    let outputs = w[1] * groups;
    if let Some(bias) = bias
        && bias.shape()[..] != [outputs]
    {
        bail!(Shape, op, "expected bias to have {outputs} elements, got {:?}", bias.shape());
    }
    let mut sizes = Sizes::new();
    for d in 0..N {
        let (stride, dilation, more, kernel) = (stride[d], dilation[d], output_padding[d], w[d + 2]);
        if stride == 0 || dilation == 0 || kernel == 0 {
            bail!(Value, op, "kernel, stride and dilation must be positive, got {kernel}, {stride}, {dilation}");
        }
        if more >= stride && more >= dilation {
            bail!(
                Value,
                op,
                "output padding must be smaller than either stride or dilation, but got output_padding={more}, \
                 stride={stride}, dilation={dilation}"
            );
        }
        let whole = own[d + 2].saturating_sub(1) * stride + dilation * (kernel - 1) + more + 1;
        match whole.checked_sub(2 * padding[d]) {
            Some(size) if size > 0 && own[d + 2] > 0 => sizes.push(size),
            _ => bail!(Shape, op, "input {:?} is too small for padding {}", &own[..], padding[d]),
        }
    }
    let windows = Windows {
        kernel: w[2..].into(),
        stride: stride[..].into(),
        padding: padding[..].into(),
        after: padding[..].into(),
        dilation: dilation[..].into(),
    };
    let (depth, area) = (w[0] / groups, own[2..].iter().product::<usize>());
    // the columns are stored: f16 has the digits for that, bf16 has not
    let stored = if x.dtype() == DType::BF16 { DType::F32 } else { x.dtype() };
    let (x, weight) = (x.to_dtype(stored)?, weight.to_dtype(stored)?);
    let kernel = weight.reshape([groups, depth, w[1..].iter().product()])?.transpose(1, 2)?;
    let columns = kernel.matmul(&x.reshape([own[0], groups, depth, area])?)?;
    let mut shape = Dims::from_slice(&[own[0], outputs]);
    shape.extend_from_slice(&w[2..]);
    shape.extend_from_slice(&own[2..]);
    let mut y = windows.fold(&columns.reshape(&shape)?, &sizes)?;
    if let Some(bias) = bias {
        let mut channel = [1; 4];
        channel[0] = outputs;
        y = (y + bias.reshape(&channel[..N + 1])?)?;
    }
    y.to_dtype(dtype)
}

/// Windows over two dimensions.
fn planar([kernel, stride, padding, dilation]: [[usize; 2]; 4]) -> Windows {
    Windows {
        kernel: kernel[..].into(),
        stride: stride[..].into(),
        padding: padding[..].into(),
        after: padding[..].into(),
        dilation: dilation[..].into(),
    }
}

/// Every window of images `[n, c, h, w]` or `[c, h, w]` as a column: `[n, c * kernel, windows]`.
///
/// # Errors
/// `Shape` for other dimensions, or where no window fits; `Value` for a kernel, stride or dilation of zero.
pub fn unfold(
    x: &Tensor,
    kernel_size: [usize; 2],
    dilation: [usize; 2],
    padding: [usize; 2],
    stride: [usize; 2],
) -> Result<Tensor> {
    const OP: &str = "unfold";
    let shape = x.shape();
    if shape.len() == 3 {
        return unfold(&x.unsqueeze(0)?, kernel_size, dilation, padding, stride)?.squeeze_dim(0);
    }
    if shape.len() != 4 || shape[1..].contains(&0) {
        bail!(Shape, OP, "expected a tensor [c, h, w] or [n, c, h, w] of non-zero sizes, got {:?}", &shape[..]);
    }
    let windows = planar([kernel_size, stride, padding, dilation]);
    let count: usize = windows.count(OP, &shape[2..])?.iter().product();
    let columns = windows.unfold(OP, x, 0.0)?;
    columns.reshape([shape[0], shape[1] * kernel_size[0] * kernel_size[1], count])
}

/// The other way of [`unfold()`]: columns `[n, c * kernel, windows]` to images `[n, c, h, w]`, adding what lies in the
/// same place; without `n` likewise.
///
/// # Errors
/// `Shape` where the columns do not fit; `Value` for a kernel, stride or dilation of zero.
pub fn fold(
    x: &Tensor,
    output_size: [usize; 2],
    kernel_size: [usize; 2],
    dilation: [usize; 2],
    padding: [usize; 2],
    stride: [usize; 2],
) -> Result<Tensor> {
    const OP: &str = "fold";
    let shape = x.shape();
    if shape.len() == 2 {
        return fold(&x.unsqueeze(0)?, output_size, kernel_size, dilation, padding, stride)?.squeeze_dim(0);
    }
    if shape.len() != 3 || shape[1..].contains(&0) {
        bail!(Shape, OP, "expected a tensor of 2 or 3 dimensions of non-zero sizes, got {:?}", &shape[..]);
    }
    let windows = planar([kernel_size, stride, padding, dilation]);
    let counts = windows.count(OP, &output_size)?;
    let area = kernel_size[0] * kernel_size[1];
    if !shape[1].is_multiple_of(area) {
        bail!(
            Shape,
            OP,
            "expected size of input's dimension 1 to be divisible by the product of kernel_size, but got {} and \
             {kernel_size:?}",
            shape[1]
        );
    }
    if counts[0] * counts[1] != shape[2] {
        bail!(
            Shape,
            OP,
            "given output_size={output_size:?}, expected size of input's dimension 2 to be {} * {}, got {}",
            counts[0],
            counts[1],
            shape[2]
        );
    }
    let spread = [shape[0], shape[1] / area, kernel_size[0], kernel_size[1], counts[0], counts[1]];
    windows.fold(&x.reshape(spread)?, &output_size)
}
