//! Cross-entropy of scores that a linear map gives.

use super::functional::{self, CrossEntropyOptions, Reduction};
use super::options::options;
use super::{Buffer, Linear, LinearOptions, Module};
use crate::error::{Result, bail};
use crate::tensor::Tensor;

options! {
    /// Options of [`LinearCrossEntropyLoss`] and [`linear_cross_entropy`]; `bias`, `out_features` and `tensor` are the
    /// layer's alone.
    ///
    /// ```
    /// use calor::nn::{LinearCrossEntropyOptions, functional::Reduction};
    /// let options = LinearCrossEntropyOptions::default().bias(true);
    /// assert!(options.bias && options.reduction == Reduction::Mean);
    /// ```
    LinearCrossEntropyOptions {
        /// Sizes that each class has besides: scores are `[n, classes, ..out_features]`.
        out_features: Vec<usize> = Vec::new() => vec![2, 3],
        /// Whether the map learns an addend.
        bias: bool = false => true,
        /// A weight for each class.
        ///
        /// ```
        /// use calor::{Tensor, nn::LinearCrossEntropyOptions};
        /// let options = LinearCrossEntropyOptions::default().weight(Some(Tensor::ones([3], ())?));
        /// assert_eq!(options.weight.unwrap().numel(), 3);
        /// # Ok::<(), calor::Error>(())
        /// ```
        weight: Option<Tensor> = None,
        /// What becomes of the samples' losses.
        reduction: Reduction = Reduction::Mean => Reduction::Sum,
        /// Targets of this value count for nothing; none is for class probabilities, and -100 for classes.
        ignore_index: Option<i64> = None => Some(7),
        /// The share of the target that all classes have equally.
        label_smoothing: f64 = 0.0 => 0.5,
    }
}

/// [`cross_entropy`](functional::cross_entropy) of `x A^T + b`: `x` is `[n, in]` or `[in]`, `weight` is
/// `[classes, .., in]` and `bias` `[classes, ..]`.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let (x, w) = (Tensor::new([[1.0f32, 2.0]], ())?, Tensor::zeros([4, 2], ())?);
/// let loss = f::linear_cross_entropy(&x, &w, &Tensor::new([3], ())?, None, ())?;
/// assert!((loss.item()? - 4f64.ln()).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where sizes do not fit, `Value` for an `ignore_index` with probabilities, and those of `cross_entropy`.
pub fn linear_cross_entropy(
    x: &Tensor,
    weight: &Tensor,
    target: &Tensor,
    bias: Option<&Tensor>,
    options: impl Into<LinearCrossEntropyOptions>,
) -> Result<Tensor> {
    const OP: &str = "linear_cross_entropy";
    let o = options.into();
    let (xs, ws) = (x.shape(), weight.shape());
    if xs.is_empty() || xs.len() > 2 || ws.len() < 2 || ws[ws.len() - 1] != xs[xs.len() - 1] {
        bail!(Shape, OP, "expected an input [n, in] or [in] and weights [classes, .., in], got {:?} and {:?}", xs, ws);
    }
    let classes = &ws[..ws.len() - 1];
    if let Some(bias) = bias
        && bias.shape()[..] != *classes
    {
        bail!(Shape, OP, "expected a bias of shape {classes:?}, got {:?}", bias.shape());
    }
    if classes.len() > 1 && xs.len() == 1 {
        bail!(Shape, OP, "weights of shape {:?} need an input with a batch, got {:?}", ws, xs);
    }
    let mut scores = xs[..xs.len() - 1].to_vec();
    scores.extend_from_slice(classes);
    if target.shape()[..] == scores[..] {
        if o.ignore_index.is_some() {
            bail!(Value, OP, "ignore_index cannot be specified when target contains probabilities");
        }
        if !target.dtype().is_float() {
            bail!(DType, OP, "expected class probabilities of a float dtype, got {}", target.dtype());
        }
    }
    let bias = bias.map(|b| b.flatten(0, -1)).transpose()?;
    let x = functional::linear(x, &weight.flatten(0, -2)?, bias.as_ref())?.reshape(&scores)?;
    let options = CrossEntropyOptions {
        weight: o.weight,
        ignore_index: o.ignore_index.unwrap_or(-100),
        reduction: o.reduction,
        label_smoothing: o.label_smoothing,
    };
    functional::cross_entropy(&x, target, options)
}

/// [`linear_cross_entropy`] with its map, `linear`, as a layer.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{LinearCrossEntropyLoss, Module};
/// let loss = LinearCrossEntropyLoss::new(5, 10, ())?;
/// assert_eq!(loss.forward(&Tensor::ones([2, 5], ())?, &Tensor::new([3, 9], ())?)?.dim(), 0);
/// assert_eq!(loss.named_parameters()[0].0, "linear.weight");
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct LinearCrossEntropyLoss {
    /// `[classes * out_features, in]`.
    pub linear: Linear,
    /// A weight for each class.
    pub weight: Option<Buffer>,
    #[module(skip)]
    shape: Vec<usize>,
    #[module(skip)]
    options: LinearCrossEntropyOptions,
}

impl LinearCrossEntropyLoss {
    /// A loss with a fresh map from `inputs` features to `classes`.
    ///
    /// ```
    /// use calor::nn::{LinearCrossEntropyLoss, Module};
    /// assert_eq!(LinearCrossEntropyLoss::new(2, 3, ())?.num_parameters(), 6);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Shape` for weights that are not one for each class, `Value` for a smoothing outside of 0 to 1.
    pub fn new(inputs: usize, classes: usize, options: impl Into<LinearCrossEntropyOptions>) -> Result<Self> {
        const OP: &str = "LinearCrossEntropyLoss";
        let mut options = options.into();
        let weight = options.weight.take();
        if let Some(weight) = &weight
            && weight.shape()[..] != [classes]
        {
            bail!(Shape, OP, "expected weight shape to be [{classes}], got {:?}", weight.shape());
        }
        if !(0.0..=1.0).contains(&options.label_smoothing) {
            bail!(Value, OP, "expected label_smoothing to be in range [0, 1], got {}", options.label_smoothing);
        }
        let mut shape = vec![classes];
        shape.extend_from_slice(&options.out_features);
        let own = LinearOptions::default().bias(options.bias).tensor(options.tensor.clone());
        let linear = Linear::new(inputs, shape.iter().product(), own)?;
        Ok(Self { linear, weight: weight.map(|w| Buffer::new(&w)), shape, options })
    }

    /// The loss of inputs `[n, in]` for classes `[n, ..out_features]`, or for probabilities
    /// `[n, classes, ..out_features]`.
    ///
    /// ```
    /// use calor::{Tensor, nn::LinearCrossEntropyLoss};
    /// let (loss, x) = (LinearCrossEntropyLoss::new(2, 3, ())?, Tensor::zeros([4, 2], ())?);
    /// let loss = loss.forward(&x, &Tensor::new([0, 1, 2, 0], ())?)?.item()?;
    /// assert!((loss - 3f64.ln()).abs() < 1e-6);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As those of [`linear_cross_entropy`].
    pub fn forward(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        let bias = self.linear.bias.as_ref().map(|b| b.tensor().reshape(&self.shape)).transpose()?;
        let mut shape = self.shape.clone();
        let own = self.linear.weight.tensor();
        shape.push(own.size(-1)?);
        let weight = self.weight.as_ref().map(Buffer::tensor);
        let options = LinearCrossEntropyOptions { weight, ..self.options.clone() };
        linear_cross_entropy(x, &own.reshape(&shape)?, target, bias.as_ref(), options)
    }
}
