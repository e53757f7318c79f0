//! Initial values, as in `torch.nn.init`: each function fills a tensor in place, without recording it.
//!
//! ```
//! use calor::nn::{Linear, init};
//! let linear = Linear::new(4, 2, ())?;
//! init::zeros_(&linear.bias.as_ref().unwrap().tensor())?;
//! init::xavier_uniform_(&linear.weight.tensor(), init::gain(init::Nonlinearity::Tanh, 0.0))?;
//! assert!(linear.weight.tensor().abs()?.max()?.item()? <= 5.0 / 3.0);
//! # Ok::<(), calor::Error>(())
//! ```

use super::Parameter;
use crate::dtype::{DType, Scalar};
use crate::error::{Result, bail};
use crate::no_grad;
use crate::tensor::{Options, Tensor};

/// Which side of a weight keeps its variance.
///
/// ```
/// use calor::{Tensor, nn::init::{self, Fan, Nonlinearity}};
/// // 100 inputs, 4 outputs
/// let w = Tensor::zeros([4, 100], ())?;
/// init::kaiming_uniform_(&w, 0.0, Fan::In, Nonlinearity::Linear)?;
/// assert!(w.abs()?.max()?.item()? <= (3f64 / 100.0).sqrt() + 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fan {
    /// The inputs: forward values keep their size.
    In,
    /// The outputs: gradients keep their size.
    Out,
}

/// What follows a weight: decides the gain.
///
/// ```
/// use calor::nn::init::{Nonlinearity, gain};
/// assert_eq!((gain(Nonlinearity::Tanh, 0.0), gain(Nonlinearity::Selu, 0.0)), (5.0 / 3.0, 0.75));
/// ```
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
///
/// ```
/// use calor::nn::init::fans;
/// // 8 outputs, 4 inputs, windows of 3 x 3
/// assert_eq!(fans(&[8, 4, 3, 3])?, (36, 72));
/// assert!(fans(&[8]).is_err());
/// # Ok::<(), calor::Error>(())
/// ```
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
///
/// ```
/// use calor::{Tensor, nn::init};
/// let w = Tensor::zeros([10_000], ())?;
/// init::normal_(&w, 1.0, 0.1)?;
/// assert!((w.mean()?.item()? - 1.0).abs() < 0.01);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn normal_(t: &Tensor, mean: f64, std: f64) -> Result<()> {
    no_grad(|| t.normal_(mean, std)).map(drop)
}

/// The same number everywhere.
///
/// ```
/// use calor::{Tensor, nn::init};
/// let w = Tensor::zeros([2], ())?;
/// init::constant_(&w, 0.5)?;
/// assert_eq!(w.to_vec::<f32>()?, [0.5, 0.5]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn constant_(t: &Tensor, value: impl Into<Scalar>) -> Result<()> {
    no_grad(|| t.fill_(value.into())).map(drop)
}

/// Zeros.
///
/// ```
/// let w = calor::Tensor::ones([2], ())?;
/// calor::nn::init::zeros_(&w)?;
/// assert_eq!(w.to_vec::<f32>()?, [0.0, 0.0]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn zeros_(t: &Tensor) -> Result<()> {
    constant_(t, 0.0)
}

/// Ones.
///
/// ```
/// let w = calor::Tensor::zeros([2], ())?;
/// calor::nn::init::ones_(&w)?;
/// assert_eq!(w.to_vec::<f32>()?, [1.0, 1.0]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn ones_(t: &Tensor) -> Result<()> {
    constant_(t, 1.0)
}

/// Uniform in `± gain sqrt(6 / (fan_in + fan_out))`.
///
/// ```
/// use calor::{Tensor, nn::init};
/// let w = Tensor::zeros([3, 3], ())?;
/// init::xavier_uniform_(&w, 1.0)?;
/// assert!(w.to_vec::<f32>()?.iter().all(|v| v.abs() <= 1.0 && *v != 0.0));
/// # Ok::<(), calor::Error>(())
/// ```
pub fn xavier_uniform_(t: &Tensor, gain: f64) -> Result<()> {
    let (inputs, outputs) = fans(&t.shape())?;
    let bound = gain * (6.0 / (inputs + outputs) as f64).sqrt();
    uniform_(t, -bound, bound)
}

/// Normal with standard deviation `gain sqrt(2 / (fan_in + fan_out))`.
///
/// ```
/// use calor::{Tensor, nn::init};
/// let w = Tensor::zeros([100, 100], ())?;
/// init::xavier_normal_(&w, 1.0)?;
/// assert!((w.std()?.item()? - 0.1).abs() < 0.01);
/// # Ok::<(), calor::Error>(())
/// ```
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
///
/// ```
/// use calor::{Tensor, nn::init::{self, Fan, Nonlinearity}};
/// let w = Tensor::zeros([4, 6], ())?;
/// init::kaiming_uniform_(&w, 0.0, Fan::In, Nonlinearity::Relu)?;
/// assert!(w.to_vec::<f32>()?.iter().all(|v| v.abs() <= 1.0 && *v != 0.0));
/// # Ok::<(), calor::Error>(())
/// ```
pub fn kaiming_uniform_(t: &Tensor, slope: f64, fan: Fan, nonlinearity: Nonlinearity) -> Result<()> {
    let bound = 3f64.sqrt() * kaiming_std(t, slope, fan, nonlinearity)?;
    uniform_(t, -bound, bound)
}

/// Normal with standard deviation `gain / sqrt(fan)`.
///
/// ```
/// use calor::{Tensor, nn::init::{self, Fan, Nonlinearity}};
/// let w = Tensor::zeros([100, 200], ())?;
/// init::kaiming_normal_(&w, 0.0, Fan::In, Nonlinearity::Relu)?;
/// assert!((w.std()?.item()? - 0.1).abs() < 0.01);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn kaiming_normal_(t: &Tensor, slope: f64, fan: Fan, nonlinearity: Nonlinearity) -> Result<()> {
    normal_(t, 0.0, kaiming_std(t, slope, fan, nonlinearity)?)
}

/// Normal with this mean and standard deviation, kept within `low` and `high` by drawing from that part of it only.
///
/// ```
/// use calor::{Tensor, nn::init};
/// let t = Tensor::zeros([100], ())?;
/// init::trunc_normal_(&t, 0.0, 1.0, -0.5, 0.5)?;
/// assert!(t.to_vec::<f32>()?.iter().all(|x| (-0.5..=0.5).contains(x)));
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` where `low` is above `high` or `std` negative.
pub fn trunc_normal_(t: &Tensor, mean: f64, std: f64, low: f64, high: f64) -> Result<()> {
    if low > high || std < 0.0 || std.is_nan() {
        bail!(Value, "trunc_normal_", "expects low <= high and std >= 0, but found {low}, {high} and {std}");
    }
    if std == 0.0 {
        return constant_(t, mean.clamp(low, high));
    }
    no_grad(|| {
        let wide = (t.dtype().compute(), t.device());
        let at = Tensor::new([(low - mean) / std, (high - mean) / std], (DType::F32, t.device()))?;
        // of the numbers below, twice the share less one
        let bounds = (at * std::f64::consts::FRAC_1_SQRT_2)?.erf()?;
        let (low_share, high_share) = (bounds.select(0, 0)?, bounds.select(0, 1)?);
        let u = Tensor::rand(t.shape(), (DType::F32, t.device()))?;
        let normal = (((&high_share - &low_share)? * u)? + low_share)?.erfinv()?;
        let scaled = ((normal * (std * std::f64::consts::SQRT_2))? + mean)?.clamp(low, high)?;
        t.copy_(&scaled.to_dtype(wide.0)?).map(drop)
    })
}

/// The identity: ones on the diagonal of a matrix.
///
/// ```
/// use calor::{Tensor, nn::init};
/// let w = Tensor::zeros([2, 3], ())?;
/// init::eye_(&w)?;
/// assert_eq!(w.to_vec::<f32>()?, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` unless there are 2 dimensions.
pub fn eye_(t: &Tensor) -> Result<()> {
    let shape = t.shape();
    let &[rows, columns] = &shape[..] else {
        bail!(Shape, "eye_", "only tensors with 2 dimensions are supported, got {shape:?}");
    };
    no_grad(|| t.copy_(&Tensor::eye(rows, columns, (t.dtype(), t.device()))?)).map(drop)
}

/// A convolution's weight `[out, in, kernel..]` that gives its input, in each of `groups` groups of outputs: ones in the
/// kernel's middle.
///
/// ```
/// use calor::{Tensor, nn::init};
/// let t = Tensor::zeros([2, 2, 3], ())?;
/// init::dirac_(&t, 1)?;
/// assert_eq!(t.to_vec::<f32>()?, [0., 1., 0., 0., 0., 0., 0., 0., 0., 0., 1., 0.]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` unless there are 3, 4 or 5 dimensions, `Value` where the groups do not divide the outputs.
pub fn dirac_(t: &Tensor, groups: usize) -> Result<()> {
    let shape = t.shape();
    let &[outputs, inputs, ref kernel @ ..] = &shape[..] else {
        bail!(Shape, "dirac_", "only tensors with 3, 4, or 5 dimensions are supported, got {shape:?}");
    };
    if !matches!(kernel.len(), 1..=3) {
        bail!(Shape, "dirac_", "only tensors with 3, 4, or 5 dimensions are supported, got {shape:?}");
    }
    if groups == 0 || !outputs.is_multiple_of(groups) {
        bail!(Value, "dirac_", "dim 0 must be divisible by groups, got {outputs} and {groups}");
    }
    zeros_(t)?;
    no_grad(|| {
        let mut middle = t.clone();
        for &side in kernel {
            if side == 0 {
                return Ok(());
            }
            middle = middle.select(2, (side / 2) as isize)?;
        }
        let each = outputs / groups;
        let one = Tensor::eye(each, inputs, (t.dtype(), t.device()))?;
        middle.copy_(&one.repeat([groups, 1])?).map(drop)
    })
}

/// A matrix of `gain` times orthonormal rows or columns, whichever are fewer, where all but the first dimension count as
/// one (Saxe et al., 2013). Computed on the host.
///
/// ```
/// use calor::{Tensor, nn::init};
/// let t = Tensor::zeros([2, 3], ())?;
/// init::orthogonal_(&t, 1.0)?;
/// let product = t.matmul(&t.t()?)?;
/// assert!((product - Tensor::eye(2, 2, ())?)?.abs()?.max()?.item()? < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where there are fewer than 2 dimensions.
pub fn orthogonal_(t: &Tensor, gain: f64) -> Result<()> {
    let shape = t.shape();
    if shape.len() < 2 {
        bail!(Shape, "orthogonal_", "only tensors with 2 or more dimensions are supported, got {shape:?}");
    }
    if t.numel() == 0 {
        return Ok(());
    }
    let (rows, columns) = (shape[0], t.numel() / shape[0]);
    let (few, many) = (rows.min(columns), rows.max(columns));
    let normal = Tensor::randn([few, many], (DType::F32, t.device()))?.to_vec::<f32>()?;
    let mut vectors: Vec<f64> = normal.into_iter().map(f64::from).collect();
    orthonormalize(&mut vectors, many);
    let values: Vec<f32> = vectors.iter().map(|x| (x * gain) as f32).collect();
    no_grad(|| {
        let made = Tensor::from_slice(&values, [few, many], t.device())?;
        let made = if rows > columns { made.t()? } else { made };
        t.copy_(&made.reshape(&shape)?).map(drop)
    })
}

/// The method of Gram and Schmidt for rows of `columns` numbers. Each is freed from those before it twice, which is enough
/// for full precision (Giraud et al., 2005).
fn orthonormalize(rows: &mut [f64], columns: usize) {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for at in (0..rows.len()).step_by(columns) {
        let (before, row) = rows.split_at_mut(at);
        let row = &mut row[..columns];
        for _ in 0..2 {
            for other in before.chunks_exact(columns) {
                let share = dot(other, row);
                row.iter_mut().zip(other).for_each(|(x, y)| *x -= share * y);
            }
        }
        let length = dot(row, row).sqrt();
        row.iter_mut().for_each(|x| *x /= length);
    }
}

/// Normal with mean 0 and this standard deviation, with a share of `sparsity` of each column zero (Martens, 2010).
///
/// ```
/// use calor::{Tensor, nn::init};
/// let t = Tensor::zeros([10, 3], ())?;
/// init::sparse_(&t, 0.3, 0.01)?;
/// assert_eq!(t.eq(0.0)?.sum_dims(&[0], false)?.to_vec::<i32>()?, [3, 3, 3]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` unless there are 2 dimensions, `Value` where `sparsity` is not between 0 and 1.
pub fn sparse_(t: &Tensor, sparsity: f64, std: f64) -> Result<()> {
    let shape = t.shape();
    let &[rows, columns] = &shape[..] else {
        bail!(Shape, "sparse_", "only tensors with 2 dimensions are supported, got {shape:?}");
    };
    if !(0.0..=1.0).contains(&sparsity) {
        bail!(Value, "sparse_", "sparsity must be between 0 and 1, got {sparsity}");
    }
    normal_(t, 0.0, std)?;
    if t.numel() == 0 {
        return Ok(());
    }
    let zeros = (sparsity * rows as f64).ceil() as i64;
    no_grad(|| {
        let order = Tensor::rand([rows, columns], (DType::F32, t.device()))?.argsort(0, false)?.argsort(0, false)?;
        t.masked_fill_(&order.lt(zeros)?, 0.0).map(drop)
    })
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
