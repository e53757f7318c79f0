//! Normalisation: over a batch, with running statistics, and over the last dimensions.

use super::options::options;
use super::{Buffer, Field, Layer, Module, Parameter, Training, Visitor, functional, init};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::no_grad;
use crate::tensor::Tensor;
use std::cell::Cell;

options! {
    /// Options of the batch normalisations.
    ///
    /// ```
    /// use calor::nn::{BatchNorm1d, BatchNormOptions};
    /// assert!(BatchNorm1d::new(3, BatchNormOptions::default().affine(false))?.weight.is_none());
    /// # Ok::<(), calor::Error>(())
    /// ```
    BatchNormOptions {
        /// Keeps the divisor from zero.
        eps: f64 = 1e-5 => 1e-3,
        /// How much a batch moves the running statistics; `None` makes them the mean over all batches.
        momentum: Option<f64> = Some(0.1) => Some(0.5),
        /// Whether it learns a factor and an addend for each channel.
        affine: bool = true => false,
        /// Whether it keeps running statistics for evaluation.
        track_running_stats: bool = true => false,
        /// Whether there is an addend where `affine` is on.
        bias: bool = true => false,
    }
}

/// Batch normalisation of inputs with `N` spatial dimensions: [`BatchNorm1d`], [`BatchNorm2d`], [`BatchNorm3d`].
///
/// `y = (x - mean) / sqrt(var + eps) * weight + bias` for each channel (dimension 1). While training, mean and
/// variance are the batch's, and move `running_mean` and `running_var` (with the unbiased variance) in place, without
/// history; in evaluation they are the running ones. `num_batches_tracked` is i32.
///
/// ```
/// use calor::nn::{BatchNorm2d, Layer, Module};
/// use calor::Tensor;
/// let norm = BatchNorm2d::new(3, ())?;
/// norm.forward(&Tensor::ones([4, 3, 2, 2], ())?)?;
/// let names: Vec<String> = norm.state_dict().names().map(str::to_string).collect();
/// assert_eq!(names, ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]);
/// assert_eq!(norm.state_dict().get("num_batches_tracked").unwrap().item()?, 1.0);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BatchNorm<const N: usize> {
    /// A factor for each channel; starts with ones.
    pub weight: Option<Parameter>,
    /// An addend for each channel; starts with zeros.
    pub bias: Option<Parameter>,
    /// Mean of each channel over batches.
    pub running_mean: Option<Buffer>,
    /// Variance of each channel over batches.
    pub running_var: Option<Buffer>,
    /// Number of batches seen in training.
    pub num_batches_tracked: Option<Buffer>,
    /// Whether it trains.
    pub training: Training,
    channels: usize,
    options: BatchNormOptions,
}

/// Batch normalisation of `[n, c]` or `[n, c, l]`.
///
/// ```
/// use calor::{Tensor, nn::{BatchNorm1d, Layer}};
/// let y = BatchNorm1d::new(1, ())?.forward(&Tensor::new([[1.0f32], [3.0]], ())?)?.to_vec::<f32>()?;
/// assert!((y[0] + 1.0).abs() < 1e-4 && (y[1] - 1.0).abs() < 1e-4);
/// # Ok::<(), calor::Error>(())
/// ```
pub type BatchNorm1d = BatchNorm<1>;
/// Batch normalisation of `[n, c, h, w]`.
///
/// ```
/// use calor::{Tensor, nn::{BatchNorm2d, Layer}};
/// let y = BatchNorm2d::new(3, ())?.forward(&Tensor::ones([4, 3, 2, 2], ())?)?;
/// assert_eq!(y.abs()?.max()?.item()?, 0.0);
/// # Ok::<(), calor::Error>(())
/// ```
pub type BatchNorm2d = BatchNorm<2>;
/// Batch normalisation of `[n, c, d, h, w]`.
///
/// ```
/// use calor::{Tensor, nn::{BatchNorm3d, Layer}};
/// let y = BatchNorm3d::new(3, ())?.forward(&Tensor::ones([4, 3, 2, 2, 2], ())?)?;
/// assert_eq!(y.abs()?.max()?.item()?, 0.0);
/// # Ok::<(), calor::Error>(())
/// ```
pub type BatchNorm3d = BatchNorm<3>;

impl<const N: usize> BatchNorm<N> {
    /// A layer for inputs of so many channels.
    ///
    /// ```
    /// use calor::nn::BatchNorm2d;
    /// assert_eq!(BatchNorm2d::new(3, ())?.running_var.unwrap().tensor().to_vec::<f32>()?, [1.0; 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(channels: usize, options: impl Into<BatchNormOptions>) -> Result<Self> {
        let options = options.into();
        let name = format!("BatchNorm{N}d");
        let full = |value: f64| -> Result<Tensor> {
            let t = init::empty(&name, [channels], &options.tensor)?;
            init::constant_(&t, value)?;
            Ok(t)
        };
        let parameter = |value| options.affine.then(|| Parameter::new(&full(value)?)).transpose();
        let buffer = |value| -> Result<Option<Buffer>> {
            options.track_running_stats.then(|| full(value).map(|t| Buffer::new(&t))).transpose()
        };
        let count =
            || -> Result<Buffer> { Ok(Buffer::new(&Tensor::zeros([], (DType::I32, &options.tensor.device()?))?)) };
        Ok(Self {
            weight: parameter(1.0)?,
            bias: if options.bias { parameter(0.0)? } else { None },
            running_mean: buffer(0.0)?,
            running_var: buffer(1.0)?,
            num_batches_tracked: options.track_running_stats.then(count).transpose()?,
            training: Training::default(),
            channels,
            options,
        })
    }

    /// What keeps the divisor from zero.
    pub(super) fn eps(&self) -> f64 {
        self.options.eps
    }

    /// Forgets what was seen: the running statistics are as in a new layer.
    ///
    /// ```
    /// use calor::{Tensor, nn::{BatchNorm1d, Layer}};
    /// let norm = BatchNorm1d::new(2, ())?;
    /// norm.forward(&Tensor::ones([3, 2], ())?)?;
    /// norm.reset_running_stats()?;
    /// assert_eq!(norm.running_mean.unwrap().tensor().to_vec::<f32>()?, [0.0; 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn reset_running_stats(&self) -> Result<()> {
        for (buffer, value) in [(&self.running_mean, 0.0), (&self.running_var, 1.0), (&self.num_batches_tracked, 0.0)] {
            if let Some(buffer) = buffer {
                init::constant_(&buffer.tensor(), value)?;
            }
        }
        Ok(())
    }
}

impl<const N: usize> Module for BatchNorm<N> {
    fn visit(&self, visitor: &mut dyn Visitor) {
        self.weight.visit_field("weight", visitor);
        self.bias.visit_field("bias", visitor);
        self.running_mean.visit_field("running_mean", visitor);
        self.running_var.visit_field("running_var", visitor);
        self.num_batches_tracked.visit_field("num_batches_tracked", visitor);
        visitor.training(&self.training);
        visitor.value("channels", &self.channels);
    }

    fn set_training(&self, training: bool) {
        self.training.set(training);
    }

    fn forget_statistics(&self) -> Result<bool> {
        self.reset_running_stats()?;
        Ok(true)
    }
}

impl<const N: usize> Field for BatchNorm<N> {
    fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
        visitor.module(name, self);
        self.visit(visitor);
        visitor.leave();
    }

    fn set_training(&self, training: bool) {
        self.training.set(training);
    }
}

thread_local! {
    /// Whether running statistics weigh all batches alike, whatever the layers' momenta are.
    static CUMULATIVE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f`, in which running statistics of this thread's batch normalisations weigh all batches alike.
pub(crate) fn cumulative<R>(f: impl FnOnce() -> R) -> R {
    struct Back(bool);
    impl Drop for Back {
        fn drop(&mut self) {
            CUMULATIVE.set(self.0);
        }
    }
    let _back = Back(CUMULATIVE.replace(true));
    f()
}

impl<const N: usize> Layer for BatchNorm<N> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let shape = x.shape();
        let fits = shape.len() == N + 2 || N == 1 && shape.len() == 2;
        if !fits || shape[1] != self.channels {
            let name = format!("BatchNorm{N}d");
            bail!(Shape, name, "expected {} channels and {N} spatial dimensions, got {:?}", self.channels, &shape[..]);
        }
        let training = self.training.get();
        if training && self.options.eps <= 0.0 {
            let eps = self.options.eps;
            bail!(Value, format!("BatchNorm{N}d"), "eps must be positive during training, but got {eps}");
        }
        let share = if CUMULATIVE.get() { None } else { self.options.momentum };
        let mut momentum = functional::Momentum::Share(share.unwrap_or(0.0));
        if training && let Some(count) = &self.num_batches_tracked {
            let count = count.tensor();
            no_grad(|| count.add_(1))?;
            if share.is_none() {
                momentum = functional::Momentum::Tensor(no_grad(|| 1.0 / count.to_dtype(DType::F32)?)?);
            }
        }
        let (mean, var) = (&self.running_mean, &self.running_var);
        let running = match (mean, var) {
            (Some(mean), Some(var)) => Some((mean.tensor(), var.tensor())),
            _ => None,
        };
        // without running statistics the batch's are used in evaluation too
        let batch = training || running.is_none();
        let (weight, bias) = (self.weight.as_ref().map(Parameter::tensor), self.bias.as_ref().map(Parameter::tensor));
        let running = running.as_ref().map(|(mean, var)| (mean, var));
        functional::batch_norm(x, running, weight.as_ref(), bias.as_ref(), batch, &momentum, self.options.eps)
    }
}

options! {
    /// Options of [`LayerNorm`].
    ///
    /// ```
    /// use calor::nn::{LayerNorm, LayerNormOptions, Module};
    /// assert_eq!(LayerNorm::new([4], LayerNormOptions::default().bias(false))?.parameters().len(), 1);
    /// # Ok::<(), calor::Error>(())
    /// ```
    LayerNormOptions {
        /// Keeps the divisor from zero.
        eps: f64 = 1e-5 => 1e-3,
        /// Whether it learns a factor, and an addend unless `bias` is off.
        elementwise_affine: bool = true => false,
        /// Whether it learns an addend.
        bias: bool = true => false,
    }
}

/// Normalises the last dimensions: `(x - mean) / sqrt(var + eps) * weight + bias`, with the biased variance.
///
/// ```
/// use calor::nn::{Layer, LayerNorm};
/// use calor::Tensor;
/// let y = LayerNorm::new([2], ())?.forward(&Tensor::new([[1.0f32, 3.0]], ())?)?.to_vec::<f32>()?;
/// assert!((y[0] + 1.0).abs() < 1e-4 && (y[1] - 1.0).abs() < 1e-4);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct LayerNorm {
    /// A factor for each element; starts with ones.
    pub weight: Option<Parameter>,
    /// An addend for each element; starts with zeros.
    pub bias: Option<Parameter>,
    normalized_shape: Vec<usize>,
    eps: f64,
}

impl LayerNorm {
    /// A layer for inputs that end with these sizes.
    ///
    /// ```
    /// assert_eq!(&calor::nn::LayerNorm::new([2, 3], ())?.weight.unwrap().shape()[..], [2, 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(normalized_shape: impl AsRef<[usize]>, options: impl Into<LayerNormOptions>) -> Result<Self> {
        let (shape, options) = (normalized_shape.as_ref(), options.into());
        let parameter = |value: f64| -> Result<Parameter> {
            let t = init::empty("LayerNorm", shape, &options.tensor)?;
            init::constant_(&t, value)?;
            Parameter::new(&t)
        };
        let affine = options.elementwise_affine;
        Ok(Self {
            weight: affine.then(|| parameter(1.0)).transpose()?,
            bias: (affine && options.bias).then(|| parameter(0.0)).transpose()?,
            normalized_shape: shape.to_vec(),
            eps: options.eps,
        })
    }
}

impl Layer for LayerNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (self.weight.as_ref().map(Parameter::tensor), self.bias.as_ref().map(Parameter::tensor));
        functional::layer_norm(x, &self.normalized_shape, weight.as_ref(), bias.as_ref(), self.eps)
    }
}
