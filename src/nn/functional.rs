//! Stateless forms of the layers: `torch.nn.functional`.
//!
//! ```
//! use calor::{Tensor, nn::functional as f};
//! let logits = Tensor::new([[0.0f32, 100.0], [100.0, 0.0]], ())?;
//! assert_eq!(f::cross_entropy(&logits, &Tensor::new([1, 0], ())?, ())?.item()?, 0.0);
//! # Ok::<(), calor::Error>(())
//! ```

pub use super::adaptive::{adaptive_avg_pool, adaptive_max_pool, local_response_norm, lp_pool};
pub use super::attention::{AttentionOptions, bilinear, pdist, scaled_dot_product_attention};
pub use super::convolution::{Padding, avg_pool, conv, conv_transpose, fold, max_pool, max_pool_with_indices, unfold};
pub use super::ctc::{CtcOptions, Lengths, ctc_loss};
pub use super::dropout::{alpha_dropout, dropout, dropout1d, dropout2d, dropout3d, feature_alpha_dropout};
pub use super::fractional::fractional_max_pool;
pub use super::grid::{GridMode, GridOptions, GridPadding, grid_sample};
pub use super::linear_loss::linear_cross_entropy;
pub use super::losses::{
    BceOptions, CrossEntropyOptions, NllOptions, Reduction, binary_cross_entropy, binary_cross_entropy_with_logits,
    cross_entropy, gaussian_nll_loss, huber_loss, kl_div, l1_loss, mse_loss, nll_loss, poisson_nll_loss,
    smooth_l1_loss,
};
pub use super::margins::{
    cosine_embedding_loss, cosine_similarity, hinge_embedding_loss, margin_ranking_loss, multi_margin_loss,
    multilabel_margin_loss, multilabel_soft_margin_loss, normalize, pairwise_distance, soft_margin_loss,
    triplet_margin_loss, triplet_margin_with_distance_loss,
};
pub use super::resize::{Resize, ResizeMode, affine_grid, interpolate, max_unpool};

use super::standardize::{Affine, Standardized};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::no_grad;
use crate::tensor::Tensor;
use crate::tensor::autocast::{full, lowered, lowered_if};

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
    let y = x.matmul(&lowered(weight)?.t()?)?;
    match lowered_if(bias)? {
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
    ///
    /// ```
    /// use calor::{Tensor, nn::functional as f};
    /// assert_eq!(f::relu(&Tensor::new([-1.0f32, 2.0], ())?)?.to_vec::<f32>()?, [0.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    relu;
    /// `x sigmoid(x)`.
    ///
    /// ```
    /// use calor::{Tensor, nn::functional as f};
    /// assert_eq!(f::silu(&Tensor::new([0.0f32, 50.0], ())?)?.to_vec::<f32>()?, [0.0, 50.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    silu;
    /// `1 / (1 + e^-x)`.
    ///
    /// ```
    /// use calor::{Tensor, nn::functional as f};
    /// assert_eq!(f::sigmoid(&Tensor::new([0.0f32, 100.0], ())?)?.to_vec::<f32>()?, [0.5, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    sigmoid;
    /// Hyperbolic tangent.
    ///
    /// ```
    /// use calor::{Tensor, nn::functional as f};
    /// assert_eq!(f::tanh(&Tensor::new([0.0f32, 50.0], ())?)?.to_vec::<f32>()?, [0.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    tanh;
}

/// `e^x / sum e^x` along a dimension.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// assert_eq!(f::softmax(&Tensor::zeros([4], ())?, 0)?.to_vec::<f32>()?, [0.25; 4]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn softmax(x: &Tensor, dim: isize) -> Result<Tensor> {
    x.softmax(dim)
}

/// `log(e^x / sum e^x)` along a dimension.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let y = f::log_softmax(&Tensor::zeros([4], ())?, 0)?.to_vec::<f32>()?;
/// assert!((y[0] + 4f32.ln()).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn log_softmax(x: &Tensor, dim: isize) -> Result<Tensor> {
    x.log_softmax(dim)
}

/// Samples of the Gumbel-softmax distribution (Jang et al., 2016): `softmax((logits + g) / tau)` along a dimension, with
/// Gumbel random numbers `g`. With `hard` the largest becomes 1 and the others 0, with the gradient of the soft ones.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let y = f::gumbel_softmax(&Tensor::zeros([5, 3], ())?, 1.0, true, -1)?;
/// assert_eq!(y.sum_dims(&[-1], false)?.to_vec::<f32>()?, [1.0; 5]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn gumbel_softmax(logits: &Tensor, tau: f64, hard: bool, dim: isize) -> Result<Tensor> {
    let gumbels = no_grad(|| logits.detach().zeros_like()?.exponential_(1.0)?.log()?.neg())?;
    let soft = ((logits + gumbels)? / tau)?.softmax(dim)?;
    if !hard {
        return Ok(soft);
    }
    let rest = no_grad(|| {
        let largest = soft.detach().max_dim(dim, true)?.1;
        soft.detach().zeros_like()?.scatter(dim, &largest, 1.0)? - soft.detach()
    })?;
    rest + soft
}

/// How much a batch moves running statistics.
///
/// ```
/// use calor::{Tensor, nn::functional::{self as f, Momentum}};
/// let (mean, var) = (Tensor::zeros([1], ())?, Tensor::ones([1], ())?);
/// let x = Tensor::new([[2.0f32], [6.0]], ())?;
/// f::batch_norm(&x, Some((&mean, &var)), None, None, true, &Momentum::Share(0.5), 0.0)?;
/// assert_eq!(mean.item()?, 2.0);
/// # Ok::<(), calor::Error>(())
/// ```
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
/// ```
/// use calor::{Tensor, nn::functional::{self as f, Momentum}};
/// let x = Tensor::new([[2.0f32], [6.0]], ())?;
/// let y = f::batch_norm(&x, None, None, None, true, &Momentum::Share(0.1), 0.0)?;
/// assert_eq!(y.to_vec::<f32>()?, [-1.0, 1.0]);
/// # Ok::<(), calor::Error>(())
/// ```
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
    if shape[..] == [0] {
        return Ok(x.clone());
    }
    if shape.len() < 2 {
        bail!(Shape, "batch_norm", "expected at least 2 dimensions, got {:?}", &shape[..]);
    }
    let mut channel = vec![1; shape.len()];
    channel[1] = shape[1];
    let compute = x.dtype().compute();
    let wide = x.to_dtype(compute)?;
    let beside = |t: &Tensor| t.reshape(&channel)?.to_dtype(compute);
    let (weight, bias) = (weight.map(beside).transpose()?, bias.map(beside).transpose()?);
    let (weight, bias) = (weight.as_ref(), bias.as_ref());
    let y = if batch {
        let dims: Vec<isize> = (0..shape.len() as isize).filter(|&d| d != 1).collect();
        let count = x.numel() / shape[1].max(1);
        if count == 1 {
            bail!(Shape, "batch_norm", "expected more than 1 value per channel when training, got {:?}", &shape[..]);
        }
        let affine = Affine { op: "batch_norm", dims: &dims, eps, weight, bias };
        let Standardized { y, mean, var } = affine.standardize(&wide)?;
        // an empty batch has no statistics
        if let Some((running_mean, running_var)) = running.filter(|_| count > 0) {
            let unbiased = (var * (count as f64 / (count as f64 - 1.0)))?;
            for (running, new) in [(running_mean, mean), (running_var, unbiased)] {
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
        y
    } else {
        let Some((mean, var)) = running else {
            bail!(Value, "batch_norm", "needs running statistics in evaluation");
        };
        let y = ((x - mean.reshape(&channel)?)? * (var.reshape(&channel)? + eps)?.rsqrt()?)?;
        return affine(&y, weight, bias, &channel, x.dtype());
    };
    y.to_dtype(x.dtype())
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
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let y = f::layer_norm(&Tensor::new([1.0f32, 3.0], ())?, &[2], None, None, 0.0)?;
/// assert_eq!(y.to_vec::<f32>()?, [-1.0, 1.0]);
/// # Ok::<(), calor::Error>(())
/// ```
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
    let x = &full(x)?;
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
    let compute = x.dtype().compute();
    let wide = |t: &Tensor| t.to_dtype(compute);
    for (name, t) in [("weight", weight), ("bias", bias)] {
        if let Some(t) = t
            && t.shape()[..] != *normalized_shape
        {
            let (want, have) = (normalized_shape, t.shape());
            bail!(Shape, "layer_norm", "expected {name} of shape {want:?}, got {:?}", &have[..]);
        }
    }
    let (weight, bias) = (weight.map(wide).transpose()?, bias.map(wide).transpose()?);
    let affine = Affine { op: "layer_norm", dims: &dims, eps, weight: weight.as_ref(), bias: bias.as_ref() };
    affine.standardize(&wide(x)?)?.y.to_dtype(x.dtype())
}

/// [`layer_norm`] over groups of channels: `x` is `[n, c, ..]`, weight and bias `[c]`.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let y = f::group_norm(&Tensor::new([[1.0f32, 3.0, 5.0, 9.0]], ())?, 2, None, None, 0.0)?;
/// assert_eq!(y.to_vec::<f32>()?, [-1.0, 1.0, -1.0, 1.0]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where the groups do not divide the channels, or `x` has fewer than two dimensions.
pub fn group_norm(
    x: &Tensor,
    num_groups: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    const OP: &str = "group_norm";
    let x = &full(x)?;
    let shape = x.shape();
    if shape.len() < 2 {
        bail!(Shape, OP, "expected at least 2 dimensions for input tensor but received {:?}", &shape[..]);
    }
    if num_groups == 0 || shape[1] == 0 || !shape[1].is_multiple_of(num_groups) {
        bail!(
            Shape,
            OP,
            "expected number of channels in input to be divisible by num_groups, got input of shape {:?} and \
             num_groups={num_groups}",
            &shape[..]
        );
    }
    if x.numel() == num_groups {
        bail!(Shape, OP, "expected more than 1 value per channel when training, got input size {:?}", &shape[..]);
    }
    if shape[2..].contains(&0) {
        bail!(Shape, OP, "expected elements in every dimension behind the channels, got {:?}", &shape[..]);
    }
    if x.numel() == 0 {
        return Ok(x.clone());
    }
    let wide = x.to_dtype(x.dtype().compute())?.reshape([shape[0], num_groups, x.numel() / shape[0] / num_groups])?;
    let y = Affine { op: OP, dims: &[-1], eps, weight: None, bias: None }.standardize(&wide)?.y.reshape(&shape)?;
    let mut channel = vec![1; shape.len()];
    channel[1] = shape[1];
    affine(&y, weight, bias, &channel, x.dtype())
}

/// [`batch_norm`] with the statistics of each sample: `x` is `[n, c, ..]`. With `own` they are those of `x`, and the
/// running ones move towards their mean over the batch; else the running ones are used.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let x = Tensor::new([[[2.0f32, 6.0]], [[1.0, 5.0]]], ())?;
/// let y = f::instance_norm(&x, None, None, None, true, 0.1, 0.0)?;
/// assert_eq!(y.to_vec::<f32>()?, [-1.0, 1.0, -1.0, 1.0]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where a sample has one value per channel.
pub fn instance_norm(
    x: &Tensor,
    running: Option<(&Tensor, &Tensor)>,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    own: bool,
    momentum: f64,
    eps: f64,
) -> Result<Tensor> {
    const OP: &str = "instance_norm";
    if !own {
        return batch_norm(x, running, weight, bias, false, &Momentum::Share(momentum), eps);
    }
    let shape = x.shape();
    let count: usize = shape.iter().skip(2).product();
    if shape.len() < 2 || count == 1 {
        bail!(Shape, OP, "expected more than 1 spatial element when training, got input size {:?}", &shape[..]);
    }
    if x.numel() == 0 {
        return Ok(x.clone());
    }
    let dims: Vec<isize> = (2..shape.len() as isize).collect();
    let wide = x.to_dtype(x.dtype().compute())?;
    let (var, mean) = wide.var_mean(&dims, 0.0, true)?;
    if let Some((running_mean, running_var)) = running {
        let unbiased = (var.detach() * (count as f64 / (count as f64 - 1.0)))?;
        for (running, new) in [(running_mean, mean.detach()), (running_var, unbiased)] {
            no_grad(|| {
                running.modify(OP, |old| {
                    let new = new.mean_dims(&[0], false)?.reshape(old.shape())?.to_dtype(old.dtype())?;
                    (old * (1.0 - momentum))? + (new * momentum)?
                })
            })?;
        }
    }
    let mut channel = vec![1; shape.len()];
    channel[1] = shape[1];
    // statistics have the dtype of what they normalise
    let kept = |t: Tensor| t.to_dtype(x.dtype())?.to_dtype(x.dtype().compute());
    let (mean, scale) = (kept(mean)?, kept((var + eps)?.rsqrt()?)?);
    affine(&((wide - mean)? * scale)?, weight, bias, &channel, x.dtype())
}

/// `x / sqrt(mean(x^2) + eps) * weight` over the last dimensions, whose sizes are `normalized_shape`; without `eps`
/// the smallest step of the dtype.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let y = f::rms_norm(&Tensor::new([-2.0f32, 2.0], ())?, &[2], None, Some(0.0))?;
/// assert_eq!(y.to_vec::<f32>()?, [-1.0, 1.0]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where `x` or `weight` does not fit those sizes.
pub fn rms_norm(x: &Tensor, normalized_shape: &[usize], weight: Option<&Tensor>, eps: Option<f64>) -> Result<Tensor> {
    const OP: &str = "rms_norm";
    let x = &full(x)?;
    let shape = x.shape();
    if normalized_shape.is_empty() || !shape.ends_with(normalized_shape) {
        bail!(Shape, OP, "given normalized_shape {normalized_shape:?}, expected input to end with it, got {:?}", shape);
    }
    if let Some(weight) = weight
        && weight.shape()[..] != *normalized_shape
    {
        bail!(Shape, OP, "expected weight to be of same shape as {normalized_shape:?}, got {:?}", weight.shape());
    }
    let eps = eps.unwrap_or(match x.dtype() {
        DType::F64 => f64::EPSILON,
        _ => f64::from(f32::EPSILON),
    });
    let dims: Vec<isize> = (1..=normalized_shape.len() as isize).map(|d| -d).collect();
    let wide = x.to_dtype(x.dtype().compute())?;
    let scale = (wide.square()?.mean_dims(&dims, true)? + eps)?.rsqrt()?;
    affine(&(wide * scale)?, weight, None, normalized_shape, x.dtype())
}
