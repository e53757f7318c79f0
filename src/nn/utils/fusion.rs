//! A batch normalisation put into the layer in front of it, for evaluation: `torch.nn.utils.fusion`.
//!
//! ```
//! use calor::nn::{BatchNorm2d, Conv2d, Layer, Module, utils::fusion::fuse_conv_bn_eval};
//! use calor::Tensor;
//! let (conv, norm) = (Conv2d::new(2, 4, 3, ())?, BatchNorm2d::new(4, ())?);
//! norm.eval();
//! let x = Tensor::ones([1, 2, 5, 5], ())?;
//! let (y, want) = (fuse_conv_bn_eval(&conv, &norm)?.forward(&x)?, norm.forward(&conv.forward(&x)?)?);
//! assert!((y - want)?.abs()?.max()?.item()? < 1e-5);
//! # Ok::<(), calor::Error>(())
//! ```

use crate::error::{Result, bail};
use crate::nn::{BatchNorm, Conv, ConvTranspose, Linear, Parameter};
use crate::no_grad;
use crate::tensor::Tensor;

/// `(x - mean) factor + bias`, what a batch normalisation makes of each channel.
struct Folded<'a> {
    mean: &'a Tensor,
    factor: Tensor,
    bias: Option<&'a Tensor>,
}

impl<'a> Folded<'a> {
    fn new(
        op: &str,
        (mean, var, eps): (&'a Tensor, &Tensor, f64),
        weight: Option<&Tensor>,
        bias: Option<&'a Tensor>,
    ) -> Result<Self> {
        let shape = mean.shape();
        for other in [Some(var), weight, bias].into_iter().flatten() {
            if shape.len() != 1 || other.shape() != shape {
                bail!(Shape, op, "expected a number for each channel, got {:?} and {:?}", shape, other.shape());
            }
        }
        let root = (var + eps)?.rsqrt()?;
        let factor = weight.map_or_else(|| Ok(root.clone()), |weight| weight * &root)?;
        Ok(Self { mean, factor, bias })
    }

    /// The bias of a layer that had `bias`, or none and weights `like`.
    fn bias(&self, bias: Option<&Tensor>, channels: usize, like: &Tensor) -> Result<Parameter> {
        let centred = bias.map_or_else(|| self.mean.neg(), |bias| bias - self.mean)?;
        let scaled = (centred * &self.factor)?;
        let fused = self.bias.map_or_else(|| Ok(scaled.clone()), |bias| &scaled + bias)?;
        let dtype = bias.unwrap_or(like).dtype();
        parameter(&fused.expand([channels])?.contiguous()?.to_dtype(dtype)?, bias)
    }
}

/// A parameter that learns where `of` did, or where there was none.
fn parameter(fused: &Tensor, of: Option<&Tensor>) -> Result<Parameter> {
    let parameter = Parameter::new(fused)?;
    parameter.requires_grad_(of.is_none_or(Tensor::requires_grad))?;
    Ok(parameter)
}

/// Weights and biases of a convolution that does what one with `conv_w` and `conv_b` and a batch normalisation behind it do:
/// `w weight / sqrt(var + eps)` and `(b - mean) weight / sqrt(var + eps) + bias`.
///
/// `statistics` are the running mean, the running variance and `eps`; `transpose` says that `conv_w` is that of a transposed
/// convolution, `[in, out / groups, ..]`.
///
/// ```
/// use calor::{Tensor, nn::utils::fusion::fuse_conv_bn_weights};
/// let (w, mean, var) = (Tensor::ones([2, 1, 1], ())?, Tensor::new([1.0f32, 2.0], ())?, Tensor::new([4.0f32, 1.0], ())?);
/// let (w, b) = fuse_conv_bn_weights(&w, None, (&mean, &var, 0.0), None, None, false)?;
/// assert_eq!((w.tensor().to_vec::<f32>()?, b.tensor().to_vec::<f32>()?), (vec![0.5, 1.0], vec![-0.5, -2.0]));
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where there is not a number for each output channel.
pub fn fuse_conv_bn_weights(
    conv_w: &Tensor,
    conv_b: Option<&Tensor>,
    statistics: (&Tensor, &Tensor, f64),
    bn_w: Option<&Tensor>,
    bn_b: Option<&Tensor>,
    transpose: bool,
) -> Result<(Parameter, Parameter)> {
    const OP: &str = "fuse_conv_bn_weights";
    no_grad(|| {
        let folded = Folded::new(OP, statistics, bn_w, bn_b)?;
        let (shape, channels) = (conv_w.shape(), folded.factor.numel());
        let fits = |b: &Tensor| b.shape()[..] == [channels];
        let (split, sides) = match (&shape[..], transpose) {
            // inputs of a group see its outputs only
            ([inputs, outputs, sides @ ..], true)
                if *outputs > 0 && channels.is_multiple_of(*outputs) && inputs.is_multiple_of(channels / outputs) =>
            {
                let groups = channels / outputs;
                (vec![groups, inputs / groups, *outputs], sides)
            }
            ([outputs, inputs, sides @ ..], false) if *outputs == channels => (vec![1, *outputs, *inputs], sides),
            _ => bail!(Shape, OP, "expected {channels} output channels, got weights {:?}", &shape[..]),
        };
        if !conv_b.is_none_or(fits) {
            bail!(Shape, OP, "expected a bias of {channels} channels, got {:?}", conv_b.map(Tensor::shape));
        }
        let factor = match (&split[..], transpose) {
            (&[groups, _, outputs], true) => folded.factor.reshape([groups, 1, outputs, 1])?,
            _ => folded.factor.reshape([1, channels, 1, 1])?,
        };
        let mut whole = split;
        whole.push(sides.iter().product());
        let fused = (conv_w.reshape(&whole)? * factor)?.reshape(&shape)?.to_dtype(conv_w.dtype())?;
        Ok((parameter(&fused, Some(conv_w))?, folded.bias(conv_b, channels, conv_w)?))
    })
}

/// Weights and biases of a linear layer that does what one with `linear_w` and `linear_b` and a batch normalisation behind
/// it do: as [`fuse_conv_bn_weights`], for `[out, in]`. The normalisation may have one channel, for all outputs.
///
/// ```
/// use calor::{Tensor, nn::utils::fusion::fuse_linear_bn_weights};
/// let (w, mean, var) = (Tensor::ones([2, 1], ())?, Tensor::new([1.0f32], ())?, Tensor::new([4.0f32], ())?);
/// let (w, b) = fuse_linear_bn_weights(&w, None, (&mean, &var, 0.0), None, None)?;
/// assert_eq!((w.tensor().to_vec::<f32>()?, b.tensor().to_vec::<f32>()?), (vec![0.5, 0.5], vec![-0.5, -0.5]));
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where there is neither a number for each output nor one for all.
pub fn fuse_linear_bn_weights(
    linear_w: &Tensor,
    linear_b: Option<&Tensor>,
    statistics: (&Tensor, &Tensor, f64),
    bn_w: Option<&Tensor>,
    bn_b: Option<&Tensor>,
) -> Result<(Parameter, Parameter)> {
    const OP: &str = "fuse_linear_bn_weights";
    no_grad(|| {
        let folded = Folded::new(OP, statistics, bn_w, bn_b)?;
        let (shape, channels) = (linear_w.shape(), folded.factor.numel());
        let outputs = match &shape[..] {
            [outputs, _] if *outputs == channels || channels == 1 => *outputs,
            _ => bail!(
                Shape,
                OP,
                "To fuse, linear.out_features == bn.num_features or bn.num_features == 1, got weights {:?} and \
                 {channels} channels",
                &shape[..]
            ),
        };
        if linear_b.is_some_and(|b| b.shape()[..] != [outputs]) {
            bail!(Shape, OP, "expected a bias of {outputs} elements, got {:?}", linear_b.map(Tensor::shape));
        }
        let fused = (linear_w * folded.factor.unsqueeze(-1)?)?.to_dtype(linear_w.dtype())?;
        Ok((parameter(&fused, Some(linear_w))?, folded.bias(linear_b, outputs, linear_w)?))
    })
}

/// What [`fuse_conv_bn_weights`] and its like take, but for whether the convolution is transposed.
type Fuse = fn(
    &Tensor,
    Option<&Tensor>,
    (&Tensor, &Tensor, f64),
    Option<&Tensor>,
    Option<&Tensor>,
) -> Result<(Parameter, Parameter)>;

/// A layer's parameters with a batch normalisation, which must not train, put into them.
fn fused<const N: usize>(
    op: &str,
    (weight, bias): (&Parameter, &Option<Parameter>),
    bn: &BatchNorm<N>,
    fuse: Fuse,
) -> Result<(Parameter, Option<Parameter>)> {
    if bn.training.get() {
        bail!(Value, op, "Fusion only for eval!");
    }
    let (Some(mean), Some(var)) = (&bn.running_mean, &bn.running_var) else {
        bail!(Value, op, "expected a batch normalisation with running statistics");
    };
    let [bias, bn_w, bn_b] = [bias, &bn.weight, &bn.bias].map(|p| p.as_ref().map(Parameter::tensor));
    let statistics = (&mean.tensor(), &var.tensor(), bn.eps());
    let (weight, bias) = fuse(&weight.tensor(), bias.as_ref(), statistics, bn_w.as_ref(), bn_b.as_ref())?;
    Ok((weight, Some(bias)))
}

/// A convolution that does what `conv` and `bn` behind it do in evaluation, with weights of its own.
///
/// ```
/// use calor::nn::{BatchNorm1d, Conv1d, Module, utils::fusion::fuse_conv_bn_eval};
/// let (conv, norm) = (Conv1d::new(2, 4, 3, ())?, BatchNorm1d::new(4, ())?);
/// assert!(fuse_conv_bn_eval(&conv, &norm).is_err(), "it trains");
/// norm.eval();
/// assert_eq!(fuse_conv_bn_eval(&conv, &norm)?.parameters().len(), 2);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` where `bn` trains or keeps no statistics, `Shape` where it has other channels.
pub fn fuse_conv_bn_eval<const N: usize>(conv: &Conv<N>, bn: &BatchNorm<N>) -> Result<Conv<N>> {
    let fuse: Fuse = |w, b, statistics, bn_w, bn_b| fuse_conv_bn_weights(w, b, statistics, bn_w, bn_b, false);
    let (weight, bias) = fused("fuse_conv_bn_eval", (&conv.weight, &conv.bias), bn, fuse)?;
    let mut fused = conv.clone();
    (fused.weight, fused.bias) = (weight, bias);
    Ok(fused)
}

/// [`fuse_conv_bn_eval`] for a transposed convolution: PyTorch's with `transpose=True`.
///
/// ```
/// use calor::nn::{BatchNorm1d, ConvTranspose1d, Module, utils::fusion::fuse_conv_transpose_bn_eval};
/// let (conv, norm) = (ConvTranspose1d::new(2, 4, 3, ())?, BatchNorm1d::new(4, ())?);
/// norm.eval();
/// assert_eq!(fuse_conv_transpose_bn_eval(&conv, &norm)?.weight.shape()[..], [2, 4, 3]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// As those of [`fuse_conv_bn_eval`].
pub fn fuse_conv_transpose_bn_eval<const N: usize>(
    conv: &ConvTranspose<N>,
    bn: &BatchNorm<N>,
) -> Result<ConvTranspose<N>> {
    let fuse: Fuse = |w, b, statistics, bn_w, bn_b| fuse_conv_bn_weights(w, b, statistics, bn_w, bn_b, true);
    let (weight, bias) = fused("fuse_conv_transpose_bn_eval", (&conv.weight, &conv.bias), bn, fuse)?;
    let mut fused = conv.clone();
    (fused.weight, fused.bias) = (weight, bias);
    Ok(fused)
}

/// A linear layer that does what `linear` and `bn` behind it do in evaluation, with weights of its own.
///
/// ```
/// use calor::nn::{BatchNorm1d, Layer, Linear, Module, utils::fusion::fuse_linear_bn_eval};
/// use calor::Tensor;
/// let (linear, norm) = (Linear::new(2, 4, ())?, BatchNorm1d::new(4, ())?);
/// norm.eval();
/// let x = Tensor::ones([3, 2], ())?;
/// let (y, want) = (fuse_linear_bn_eval(&linear, &norm)?.forward(&x)?, norm.forward(&linear.forward(&x)?)?);
/// assert!((y - want)?.abs()?.max()?.item()? < 1e-5);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` where `bn` trains or keeps no statistics, `Shape` where it has neither a channel for each output nor one.
pub fn fuse_linear_bn_eval<const N: usize>(linear: &Linear, bn: &BatchNorm<N>) -> Result<Linear> {
    let (weight, bias) = fused("fuse_linear_bn_eval", (&linear.weight, &linear.bias), bn, fuse_linear_bn_weights)?;
    Ok(Linear { weight, bias })
}
