//! Normalisation within a sample: over groups, instances, roots of mean squares, neighbouring channels.

use super::activation::plain_layer;
use super::options::options;
use super::{AvgPool3d, Buffer, Field, Layer, Module, Parameter, Training, Visitor, functional, init};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::tensor::{Options, Tensor};

fn full(layer: &str, shape: &[usize], value: f64, options: &Options) -> Result<Tensor> {
    let t = init::empty(layer, shape, options)?;
    init::constant_(&t, value)?;
    Ok(t)
}

options! {
    /// Options of [`GroupNorm`].
    ///
    /// ```
    /// use calor::nn::{GroupNorm, GroupNormOptions, Module};
    /// assert!(GroupNorm::new(2, 4, GroupNormOptions::default().affine(false))?.parameters().is_empty());
    /// # Ok::<(), calor::Error>(())
    /// ```
    GroupNormOptions {
        /// Keeps the divisor from zero.
        eps: f64 = 1e-5 => 1e-3,
        /// Whether it learns a factor, and an addend unless `bias` is off.
        affine: bool = true => false,
        /// Whether it learns an addend.
        bias: bool = true => false,
    }
}

/// Normalises groups of channels of `[n, c, ..]`: `(x - mean) / sqrt(var + eps) * weight + bias`.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{GroupNorm, Layer};
/// let y = GroupNorm::new(1, 2, ())?.forward(&Tensor::new([[1.0f32, 3.0]], ())?)?.to_vec::<f32>()?;
/// assert!((y[0] + 1.0).abs() < 1e-4 && (y[1] - 1.0).abs() < 1e-4);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct GroupNorm {
    /// A factor for each channel; starts with ones.
    pub weight: Option<Parameter>,
    /// An addend for each channel; starts with zeros.
    pub bias: Option<Parameter>,
    groups: usize,
    channels: usize,
    eps: f64,
}

impl GroupNorm {
    /// A layer for inputs of so many channels.
    ///
    /// ```
    /// use calor::nn::GroupNorm;
    /// assert_eq!(&GroupNorm::new(2, 4, ())?.weight.unwrap().shape()[..], [4]);
    /// assert!(GroupNorm::new(3, 4, ()).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where the groups do not divide the channels.
    pub fn new(groups: usize, channels: usize, options: impl Into<GroupNormOptions>) -> Result<Self> {
        let o = options.into();
        if groups == 0 || !channels.is_multiple_of(groups) {
            bail!(Value, "GroupNorm", "num_channels ({channels}) must be divisible by num_groups ({groups})");
        }
        let parameter = |value| Parameter::new(&full("GroupNorm", &[channels], value, &o.tensor)?);
        Ok(Self {
            weight: o.affine.then(|| parameter(1.0)).transpose()?,
            bias: (o.affine && o.bias).then(|| parameter(0.0)).transpose()?,
            groups,
            channels,
            eps: o.eps,
        })
    }
}

impl Layer for GroupNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if x.shape().get(1) != Some(&self.channels) {
            bail!(Shape, "GroupNorm", "expected {} channels, got {:?}", self.channels, x.shape());
        }
        let [weight, bias] = [&self.weight, &self.bias].map(|p| p.as_ref().map(Parameter::tensor));
        functional::group_norm(x, self.groups, weight.as_ref(), bias.as_ref(), self.eps)
    }
}

options! {
    /// Options of [`RMSNorm`].
    ///
    /// ```
    /// use calor::nn::{Module, RMSNorm, RMSNormOptions};
    /// assert!(RMSNorm::new([4], RMSNormOptions::default().elementwise_affine(false))?.parameters().is_empty());
    /// # Ok::<(), calor::Error>(())
    /// ```
    RMSNormOptions {
        /// Keeps the divisor from zero; `None` is the smallest step of the dtype.
        eps: Option<f64> = None => Some(0.5),
        /// Whether it learns a factor.
        elementwise_affine: bool = true => false,
    }
}

/// `x / sqrt(mean(x^2) + eps) * weight` over the last dimensions.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{Layer, RMSNorm};
/// let y = RMSNorm::new([2], ())?.forward(&Tensor::new([3.0f32, 3.0], ())?)?.to_vec::<f32>()?;
/// assert!((y[0] - 1.0).abs() < 1e-5);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct RMSNorm {
    /// A factor for each element; starts with ones.
    pub weight: Option<Parameter>,
    normalized_shape: Vec<usize>,
    eps: Option<f64>,
}

impl RMSNorm {
    /// A layer for inputs that end with these sizes.
    ///
    /// ```
    /// assert_eq!(&calor::nn::RMSNorm::new([2, 3], ())?.weight.unwrap().shape()[..], [2, 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(normalized_shape: impl AsRef<[usize]>, options: impl Into<RMSNormOptions>) -> Result<Self> {
        let (shape, o) = (normalized_shape.as_ref(), options.into());
        let weight = || Parameter::new(&full("RMSNorm", shape, 1.0, &o.tensor)?);
        let weight = o.elementwise_affine.then(weight).transpose()?;
        Ok(Self { weight, normalized_shape: shape.to_vec(), eps: o.eps })
    }
}

impl Layer for RMSNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let weight = self.weight.as_ref().map(Parameter::tensor);
        functional::rms_norm(x, &self.normalized_shape, weight.as_ref(), self.eps)
    }
}

options! {
    /// Options of [`InstanceNorm`].
    ///
    /// ```
    /// use calor::nn::{InstanceNorm1d, InstanceNormOptions, Module};
    /// let options = InstanceNormOptions::default().affine(true).track_running_stats(true);
    /// assert_eq!(InstanceNorm1d::new(3, options)?.state_dict().names().next(), Some("weight"));
    /// # Ok::<(), calor::Error>(())
    /// ```
    InstanceNormOptions {
        /// Keeps the divisor from zero.
        eps: f64 = 1e-5 => 1e-3,
        /// How much a batch moves the running statistics.
        momentum: f64 = 0.1 => 0.5,
        /// Whether it learns a factor, and an addend unless `bias` is off.
        affine: bool = false => true,
        /// Whether it keeps running statistics for evaluation.
        track_running_stats: bool = false => true,
        /// Whether it learns an addend.
        bias: bool = true => false,
    }
}

/// Normalises each channel of each sample of `[n, c, ..]` or `[c, ..]` with `N` spatial dimensions; with running
/// statistics, evaluation uses those.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{InstanceNorm1d, Layer};
/// let y = InstanceNorm1d::new(1, ())?.forward(&Tensor::new([[1.0f32, 3.0]], ())?)?.to_vec::<f32>()?;
/// assert!((y[0] + 1.0).abs() < 1e-4 && (y[1] - 1.0).abs() < 1e-4);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct InstanceNorm<const N: usize> {
    /// A factor for each channel; starts with ones.
    pub weight: Option<Parameter>,
    /// An addend for each channel; starts with zeros.
    pub bias: Option<Parameter>,
    /// Mean of each channel over batches.
    pub running_mean: Option<Buffer>,
    /// Variance of each channel over batches.
    pub running_var: Option<Buffer>,
    /// As in PyTorch, never counted.
    pub num_batches_tracked: Option<Buffer>,
    /// Whether it trains.
    pub training: Training,
    channels: usize,
    #[module(skip)]
    options: InstanceNormOptions,
}

/// Instance normalisation of `[n, c, l]`.
///
/// ```
/// use calor::{Tensor, nn::{InstanceNorm1d, Layer}};
/// let y = InstanceNorm1d::new(1, ())?.forward(&Tensor::new([[[1.0f32, 3.0]]], ())?)?.to_vec::<f32>()?;
/// assert!((y[0] + 1.0).abs() < 1e-4 && (y[1] - 1.0).abs() < 1e-4);
/// # Ok::<(), calor::Error>(())
/// ```
pub type InstanceNorm1d = InstanceNorm<1>;
/// Instance normalisation of `[n, c, h, w]`.
///
/// ```
/// use calor::{Tensor, nn::{InstanceNorm2d, Layer}};
/// let y = InstanceNorm2d::new(3, ())?.forward(&Tensor::ones([1, 3, 2, 2], ())?)?;
/// assert_eq!(y.abs()?.max()?.item()?, 0.0);
/// # Ok::<(), calor::Error>(())
/// ```
pub type InstanceNorm2d = InstanceNorm<2>;
/// Instance normalisation of `[n, c, d, h, w]`.
///
/// ```
/// use calor::{Tensor, nn::{InstanceNorm3d, Layer}};
/// let y = InstanceNorm3d::new(3, ())?.forward(&Tensor::ones([1, 3, 2, 2, 2], ())?)?;
/// assert_eq!(y.abs()?.max()?.item()?, 0.0);
/// # Ok::<(), calor::Error>(())
/// ```
pub type InstanceNorm3d = InstanceNorm<3>;

impl<const N: usize> InstanceNorm<N> {
    /// A layer for inputs of so many channels.
    ///
    /// ```
    /// use calor::nn::{InstanceNorm2d, Module};
    /// assert!(InstanceNorm2d::new(3, ())?.parameters().is_empty());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(channels: usize, options: impl Into<InstanceNormOptions>) -> Result<Self> {
        let options = options.into();
        let name = format!("InstanceNorm{N}d");
        let parameter = |value| Parameter::new(&full(&name, &[channels], value, &options.tensor)?);
        let buffer = |value| -> Result<Buffer> { Ok(Buffer::new(&full(&name, &[channels], value, &options.tensor)?)) };
        let count =
            || -> Result<Buffer> { Ok(Buffer::new(&Tensor::zeros([], (DType::I32, &options.tensor.device()?))?)) };
        let (affine, track) = (options.affine, options.track_running_stats);
        Ok(Self {
            weight: affine.then(|| parameter(1.0)).transpose()?,
            bias: (affine && options.bias).then(|| parameter(0.0)).transpose()?,
            running_mean: track.then(|| buffer(0.0)).transpose()?,
            running_var: track.then(|| buffer(1.0)).transpose()?,
            num_batches_tracked: track.then(count).transpose()?,
            training: Training::default(),
            channels,
            options,
        })
    }
}

impl<const N: usize> Layer for InstanceNorm<N> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let shape = x.shape();
        if shape.len() == N + 1 {
            return self.forward(&x.unsqueeze(0)?)?.squeeze_dim(0);
        }
        let name = format!("InstanceNorm{N}d");
        if shape.len() != N + 2 {
            bail!(Shape, name, "expected {}D or {}D input, got {shape:?}", N + 1, N + 2);
        }
        if self.weight.is_some() && shape[1] != self.channels {
            bail!(
                Shape,
                name,
                "expected input's size at dim=1 to match num_features ({}), got {shape:?}",
                self.channels
            );
        }
        let [mean, var] = [&self.running_mean, &self.running_var].map(|b| b.as_ref().map(Buffer::tensor));
        let [weight, bias] = [&self.weight, &self.bias].map(|p| p.as_ref().map(Parameter::tensor));
        let own = self.training.get() || mean.is_none();
        let (running, o) = (mean.as_ref().zip(var.as_ref()), &self.options);
        functional::instance_norm(x, running, weight.as_ref(), bias.as_ref(), own, o.momentum, o.eps)
    }
}

/// `x / (k + alpha mean(x^2))^beta`, the mean over `size` neighbouring channels of `[n, c, ..]`.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{Layer, LocalResponseNorm};
/// let norm = LocalResponseNorm { alpha: 0.0, ..LocalResponseNorm::new(3) };
/// assert_eq!(norm.forward(&Tensor::ones([1, 1, 1], ())?)?.item()?, 1.0);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalResponseNorm {
    /// Number of channels.
    pub size: usize,
    /// Factor of the mean.
    pub alpha: f64,
    /// Exponent.
    pub beta: f64,
    /// Added to the mean.
    pub k: f64,
}

impl LocalResponseNorm {
    /// Over `size` channels, with PyTorch's numbers: `alpha` 1e-4, `beta` 0.75, `k` 1.
    ///
    /// ```
    /// let norm = calor::nn::LocalResponseNorm::new(3);
    /// assert_eq!((norm.size, norm.alpha, norm.beta, norm.k), (3, 1e-4, 0.75, 1.0));
    /// ```
    pub fn new(size: usize) -> Self {
        Self { size, alpha: 1e-4, beta: 0.75, k: 1.0 }
    }
}
plain_layer!(LocalResponseNorm, |this, x| functional::local_response_norm(x, this.size, this.alpha, this.beta, this.k));

/// `x / (k + alpha / size sum(x^2))^beta` for `[n, c, h, w]`, the sum over up to `(size - 1) / 2` channels on either side.
///
/// As in PyTorch, and other than in [`LocalResponseNorm`], the first channel's square is in the sums of all channels that are
/// further away, too. The gradient is that of these numbers; PyTorch's own is that of other windows.
///
/// ```
/// use calor::{Tensor, nn::{CrossMapLRN2d, Layer}};
/// let norm = CrossMapLRN2d { alpha: 1.0, beta: 1.0, ..CrossMapLRN2d::new(1) };
/// assert_eq!(norm.forward(&Tensor::ones([1, 3, 1, 1], ())?)?.to_vec::<f32>()?[0], 0.5);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// When it is called: `Shape` for other dimensions, `Value` for a size of 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossMapLRN2d {
    /// Number of channels.
    pub size: usize,
    /// Factor of the sum, by `size`.
    pub alpha: f64,
    /// Exponent.
    pub beta: f64,
    /// Added to the sum.
    pub k: f64,
}

impl CrossMapLRN2d {
    /// Over `size` channels, with PyTorch's numbers: `alpha` 1e-4, `beta` 0.75, `k` 1.
    ///
    /// ```
    /// let norm = calor::nn::CrossMapLRN2d::new(5);
    /// assert_eq!((norm.size, norm.alpha, norm.beta, norm.k), (5, 1e-4, 0.75, 1.0));
    /// ```
    pub fn new(size: usize) -> Self {
        Self { size, alpha: 1e-4, beta: 0.75, k: 1.0 }
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        const OP: &str = "CrossMapLRN2d";
        let &[n, channels, h, w] = &x.shape()[..] else {
            bail!(Shape, OP, "expected input to be 4D, got {:?}", x.shape());
        };
        if self.size == 0 {
            bail!(Value, OP, "size must not be zero");
        }
        if x.numel() == 0 {
            return Ok(x.clone());
        }
        // what lies further away than all channels is zeros
        let reach = self.size.div_ceil(2).min(channels);
        let square = x.square()?;
        let beside = reach as isize - 1;
        let padded = square.reshape([n, 1, channels, h * w, 1])?.constant_pad(&[0, 0, 0, 0, beside, beside], 0.0)?;
        let windows = AvgPool3d::new([2 * reach - 1, 1, 1]).stride(1).divisor_override(1);
        let sum = functional::avg_pool(&padded, &windows)?.reshape([n, channels, h, w])?;
        let far: Vec<f32> = (0..channels).map(|c| if c >= self.size.div_ceil(2) { 1.0 } else { 0.0 }).collect();
        let far = Tensor::from_slice(&far, [channels, 1, 1], x.device())?.to_dtype(x.dtype())?;
        let sum = (sum + (square.narrow(1, 0, 1)? * far)?)?;
        x * ((sum * (self.alpha / self.size as f64))? + self.k)?.pow(-self.beta)?
    }
}
plain_layer!(CrossMapLRN2d, |this, x| this.apply(x));
