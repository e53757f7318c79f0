//! Initial values, as in `torch.nn.init`: each function fills a tensor in place, without recording it.

use super::Parameter;
use crate::dtype::{DType, Scalar};
use crate::error::{Result, bail};
use crate::no_grad;
use crate::tensor::{Options, Tensor};

/// Which side of a weight keeps its variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fan {
    /// The inputs: forward values keep their size.
    In,
    /// The outputs: gradients keep their size.
    Out,
}

/// What follows a weight: decides the gain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonlinearity {
    /// Nothing, or a convolution: gain 1.
    Linear,
    /// Gain 1.
    Sigmoid,
    /// Gain 5/3.
    Tanh,
    /// Gain sqrt 2.
    Relu,
    /// Gain `sqrt(2 / (1 + a^2))` for slope `a`.
    LeakyRelu,
    /// Gain 3/4.
    Selu,
}

/// The recommended gain; `slope` matters for leaky ReLU only.
///
/// ```
/// use calor::nn::init::{Nonlinearity, gain};
/// assert_eq!(gain(Nonlinearity::Relu, 0.0), 2f64.sqrt());
/// ```
pub fn gain(nonlinearity: Nonlinearity, slope: f64) -> f64 {
    match nonlinearity {
        Nonlinearity::Linear | Nonlinearity::Sigmoid => 1.0,
        Nonlinearity::Tanh => 5.0 / 3.0,
        Nonlinearity::Relu => 2f64.sqrt(),
        Nonlinearity::LeakyRelu => (2.0 / (1.0 + slope * slope)).sqrt(),
        Nonlinearity::Selu => 0.75,
    }
}

/// Inputs and outputs that meet in one element: `[out, in, kernel...]`.
pub fn fans(shape: &[usize]) -> Result<(usize, usize)> {
    if shape.len() < 2 {
        bail!(
            Shape,
            "init",
            "fan in and fan out can not be computed for a tensor with fewer than 2 dimensions, {shape:?}"
        );
    }
    let field: usize = shape[2..].iter().product();
    Ok((shape[1] * field, shape[0] * field))
}

/// Uniform in `[low, high)`.
///
/// ```
/// use calor::{Tensor, nn::init};
/// let t = Tensor::zeros([100], ())?;
/// init::uniform_(&t, -0.5, 0.5)?;
/// assert!(t.to_vec::<f32>()?.iter().all(|x| (-0.5..0.5).contains(x)));
/// # Ok::<(), calor::Error>(())
/// ```
pub fn uniform_(t: &Tensor, low: f64, high: f64) -> Result<()> {
    no_grad(|| t.uniform_(low, high)).map(drop)
}

/// Normal with this mean and standard deviation.
pub fn normal_(t: &Tensor, mean: f64, std: f64) -> Result<()> {
    no_grad(|| t.normal_(mean, std)).map(drop)
}

/// The same number everywhere.
pub fn constant_(t: &Tensor, value: impl Into<Scalar>) -> Result<()> {
    no_grad(|| t.fill_(value.into())).map(drop)
}

/// Zeros.
pub fn zeros_(t: &Tensor) -> Result<()> {
    constant_(t, 0.0)
}

/// Ones.
pub fn ones_(t: &Tensor) -> Result<()> {
    constant_(t, 1.0)
}

/// Uniform in `± gain sqrt(6 / (fan_in + fan_out))`.
pub fn xavier_uniform_(t: &Tensor, gain: f64) -> Result<()> {
    let (inputs, outputs) = fans(&t.shape())?;
    let bound = gain * (6.0 / (inputs + outputs) as f64).sqrt();
    uniform_(t, -bound, bound)
}

/// Normal with standard deviation `gain sqrt(2 / (fan_in + fan_out))`.
pub fn xavier_normal_(t: &Tensor, gain: f64) -> Result<()> {
    let (inputs, outputs) = fans(&t.shape())?;
    normal_(t, 0.0, gain * (2.0 / (inputs + outputs) as f64).sqrt())
}

fn kaiming_std(t: &Tensor, slope: f64, fan: Fan, nonlinearity: Nonlinearity) -> Result<f64> {
    let (inputs, outputs) = fans(&t.shape())?;
    let fan = if fan == Fan::In { inputs } else { outputs };
    // a tensor without elements has nothing to fill
    Ok(gain(nonlinearity, slope) / (fan.max(1) as f64).sqrt())
}

/// Uniform in `± gain sqrt(3 / fan)`.
pub fn kaiming_uniform_(t: &Tensor, slope: f64, fan: Fan, nonlinearity: Nonlinearity) -> Result<()> {
    let bound = 3f64.sqrt() * kaiming_std(t, slope, fan, nonlinearity)?;
    uniform_(t, -bound, bound)
}

/// Normal with standard deviation `gain / sqrt(fan)`.
pub fn kaiming_normal_(t: &Tensor, slope: f64, fan: Fan, nonlinearity: Nonlinearity) -> Result<()> {
    normal_(t, 0.0, kaiming_std(t, slope, fan, nonlinearity)?)
}

/// A tensor to be filled, of the dtype and on the device asked for.
pub(super) fn empty(layer: &str, shape: impl AsRef<[usize]>, options: &Options) -> Result<Tensor> {
    let dtype = options.dtype_or(DType::F32);
    if !dtype.is_float() {
        bail!(DType, layer, "parameters must have a floating point dtype, got {dtype}");
    }
    Tensor::zeros(shape.as_ref(), (dtype, &options.device()?))
}

/// A bias as PyTorch's layers start it: uniform in `± 1 / sqrt(fan_in)`.
pub(super) fn bias(layer: &str, outputs: usize, fan_in: usize, options: &Options) -> Result<Parameter> {
    let t = empty(layer, [outputs], options)?;
    let bound = if fan_in > 0 { 1.0 / (fan_in as f64).sqrt() } else { 0.0 };
    uniform_(&t, -bound, bound)?;
    Parameter::new(&t)
}
