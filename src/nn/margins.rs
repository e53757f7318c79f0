//! Distances, similarities, and the losses made of them.

use super::losses::{Reduction, same_shape};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::tensor::Tensor;
use crate::tensor::autocast::full;

/// `x` kept from falling below `low`, with `x`'s own gradient everywhere.
fn floored(x: &Tensor, low: f64) -> Result<Tensor> {
    let lift = (x.detach().clamp_min(low)? - x.detach())?;
    x + lift
}

/// `(sum |x1 - x2 + eps|^p)^(1 / p)` over the last dimension.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let (x, y) = (Tensor::new([[3.0f32, 4.0]], ())?, Tensor::zeros([1, 2], ())?);
/// assert_eq!(f::pairwise_distance(&x, &y, 2.0, 0.0, true)?.to_vec::<f32>()?, [5.0]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn pairwise_distance(x1: &Tensor, x2: &Tensor, p: f64, eps: f64, keepdim: bool) -> Result<Tensor> {
    ((x1 - x2)? + eps)?.vector_norm(p, &[-1], keepdim)
}

/// `x1 . x2 / (|x1| |x2|)` along a dimension; norms below `eps` count as `eps`.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let (a, b) = (Tensor::new([[3.0f32, 4.0]], ())?, Tensor::new([[6.0f32, 8.0]], ())?);
/// assert!((f::cosine_similarity(&a, &b, 1, 1e-8)?.item()? - 1.0).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn cosine_similarity(x1: &Tensor, x2: &Tensor, dim: isize, eps: f64) -> Result<Tensor> {
    let (x1, x2) = (&full(x1)?, &full(x2)?);
    if !x1.dtype().is_float() || !x2.dtype().is_float() {
        bail!(DType, "cosine_similarity", "expected floats, got {} and {}", x1.dtype(), x2.dtype());
    }
    let shape = crate::shape::broadcast("cosine_similarity", &x1.shape(), &x2.shape())?;
    let (x1, x2) = (x1.expand(&shape)?, x2.expand(&shape)?);
    let unit = |x: &Tensor| -> Result<Tensor> { x / floored(&x.vector_norm(2.0, &[dim], true)?, eps)? };
    (unit(&x1)? * unit(&x2)?)?.sum_dims(&[dim], false)
}

/// `x / max(|x|_p, eps)` along a dimension.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let y = f::normalize(&Tensor::new([[3.0f32, 1.0]], ())?, 1.0, 1, 1e-12)?;
/// assert_eq!(y.to_vec::<f32>()?, [0.75, 0.25]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn normalize(x: &Tensor, p: f64, dim: isize, eps: f64) -> Result<Tensor> {
    let x = &full(x)?;
    x / x.vector_norm(p, &[dim], true)?.clamp_min(eps)?
}

/// `max(0, -target (x1 - x2) + margin)`: the first should be larger where `target` is 1, the second where it is -1.
///
/// ```
/// use calor::{Tensor, nn::functional::{Reduction, margin_ranking_loss}};
/// let (x1, x2, y) = (Tensor::new([1.0f32], ())?, Tensor::new([3.0f32], ())?, Tensor::new([1.0f32], ())?);
/// assert_eq!(margin_ranking_loss(&x1, &x2, &y, 0.5, Reduction::Mean)?.item()?, 2.5);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where the numbers of dimensions differ.
pub fn margin_ranking_loss(
    x1: &Tensor,
    x2: &Tensor,
    target: &Tensor,
    margin: f64,
    reduction: Reduction,
) -> Result<Tensor> {
    let (x1, x2) = (&full(x1)?, &full(x2)?);
    if x1.dim() != x2.dim() || x1.dim() != target.dim() {
        bail!(
            Shape,
            "margin_ranking_loss",
            "all input tensors should have same dimension but got sizes: {:?}, {:?}, {:?}",
            x1.shape(),
            x2.shape(),
            target.shape()
        );
    }
    reduction.of(&((target.neg()? * (x1 - x2)?)? + margin)?.clamp_min(0.0)?)
}

/// `x` where `target` is 1, `max(0, margin - x)` where it is -1.
///
/// ```
/// use calor::{Tensor, nn::functional::{Reduction, hinge_embedding_loss}};
/// let (x, y) = (Tensor::new([0.25f32, 0.25], ())?, Tensor::new([1.0f32, -1.0], ())?);
/// assert_eq!(hinge_embedding_loss(&x, &y, 1.0, Reduction::None)?.to_vec::<f32>()?, [0.25, 0.75]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn hinge_embedding_loss(x: &Tensor, target: &Tensor, margin: f64, reduction: Reduction) -> Result<Tensor> {
    let x = &full(x)?;
    let far = target.ne(1)?.where_(&(margin - x)?.clamp_min(0.0)?, 0.0)?;
    let near = target.ne(-1)?.where_(x, 0.0)?;
    reduction.of(&(far + near)?)
}

/// `1 - cos` where `target` is 1, `max(0, cos - margin)` where it is -1, for vectors or rows.
///
/// ```
/// use calor::{Tensor, nn::functional::{Reduction, cosine_embedding_loss}};
/// let (x1, x2) = (Tensor::new([1.0f32, 0.0], ())?, Tensor::new([0.0f32, 1.0], ())?);
/// let loss = cosine_embedding_loss(&x1, &x2, &Tensor::scalar(1.0f32, ())?, 0.0, Reduction::Mean)?;
/// assert!((loss.item()? - 1.0).abs() < 1e-5);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where the vectors and the targets do not fit.
pub fn cosine_embedding_loss(
    x1: &Tensor,
    x2: &Tensor,
    target: &Tensor,
    margin: f64,
    reduction: Reduction,
) -> Result<Tensor> {
    let (x1, x2) = (&full(x1)?, &full(x2)?);
    if target.dim() > 1 || x1.dim() != target.dim() + 1 || x2.dim() != target.dim() + 1 {
        bail!(
            Shape,
            "cosine_embedding_loss",
            "{}D target tensor expects {}D input tensors, but found inputs with sizes {:?} and {:?}",
            target.dim(),
            target.dim() + 1,
            x1.shape(),
            x2.shape()
        );
    }
    let sum = |a: &Tensor, b: &Tensor| -> Result<Tensor> { (a * b)?.sum_dims(&[-1], false) };
    let squares = ((sum(x1, x1)? + 1e-12)? * (sum(x2, x2)? + 1e-12)?)?;
    let cos = (sum(x1, x2)? / squares.sqrt()?)?;
    let near = target.eq(1)?.where_(&(1.0 - &cos)?, 0.0)?;
    let far = target.eq(-1)?.where_(&(cos - margin)?.clamp_min(0.0)?, 0.0)?;
    reduction.of(&(near + far)?)
}

/// `max(0, d(anchor, positive) - d(anchor, negative) + margin)`, with [`pairwise_distance`]; `swap` takes the distance
/// of positive and negative where that is smaller than the latter.
///
/// ```
/// use calor::{Tensor, nn::functional::{Reduction, triplet_margin_loss}};
/// let (a, p, n) = (Tensor::zeros([1, 1], ())?, Tensor::new([[3.0f32]], ())?, Tensor::new([[2.0f32]], ())?);
/// let loss = triplet_margin_loss((&a, &p, &n), 1.0, (2.0, 1e-6), false, Reduction::Mean)?;
/// assert!((loss.item()? - 2.0).abs() < 1e-4);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` where the margin is not positive, `Shape` where the numbers of dimensions differ.
pub fn triplet_margin_loss(
    (anchor, positive, negative): (&Tensor, &Tensor, &Tensor),
    margin: f64,
    (p, eps): (f64, f64),
    swap: bool,
    reduction: Reduction,
) -> Result<Tensor> {
    let (anchor, positive, negative) = (&full(anchor)?, &full(positive)?, &full(negative)?);
    // half types are rounded once, at the end
    let dtype = anchor.dtype().to_float();
    let wide = |t: &Tensor| t.to_dtype(t.dtype().compute());
    let all = (&wide(anchor)?, &wide(positive)?, &wide(negative)?);
    let distance = |a: &Tensor, b: &Tensor| pairwise_distance(a, b, p, eps, false);
    triplet_margin_with_distance_loss(all, distance, margin, swap, reduction)?.to_dtype(dtype)
}

/// [`triplet_margin_loss`] with a distance of one's own.
///
/// ```
/// use calor::{Tensor, nn::functional::{self as f, Reduction}};
/// let [a, p, n] = [0.0f32, 1.0, 4.0].map(|x| Tensor::new([x], ()));
/// let squares = |a: &Tensor, b: &Tensor| (a - b)?.square();
/// let loss = f::triplet_margin_with_distance_loss((&a?, &p?, &n?), squares, 20.0, false, Reduction::Mean)?;
/// assert_eq!(loss.item()?, 1.0 - 16.0 + 20.0);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// As those of [`triplet_margin_loss`], and of the distance.
pub fn triplet_margin_with_distance_loss(
    (anchor, positive, negative): (&Tensor, &Tensor, &Tensor),
    distance: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
    margin: f64,
    swap: bool,
    reduction: Reduction,
) -> Result<Tensor> {
    const OP: &str = "triplet_margin_loss";
    if margin <= 0.0 {
        bail!(Value, OP, "margin must be greater than 0, got {margin}");
    }
    if anchor.dim() != positive.dim() || anchor.dim() != negative.dim() {
        bail!(
            Shape,
            OP,
            "the anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: \
             {:?}, {:?}, {:?}",
            anchor.shape(),
            positive.shape(),
            negative.shape()
        );
    }
    let near = distance(anchor, positive)?;
    let mut far = distance(anchor, negative)?;
    if swap {
        far = far.minimum(distance(positive, negative)?)?;
    }
    reduction.of(&((near - far)? + margin)?.clamp_min(0.0)?)
}

/// `log(1 + e^(-target x))` for targets 1 and -1.
///
/// ```
/// use calor::{Tensor, nn::functional::{Reduction, soft_margin_loss}};
/// let loss = soft_margin_loss(&Tensor::zeros([2], ())?, &Tensor::new([1.0f32, -1.0], ())?, Reduction::Mean)?;
/// assert!((loss.item()? - 2f64.ln()).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn soft_margin_loss(x: &Tensor, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
    let x = &full(x)?;
    reduction.of(&(target * x)?.logsigmoid()?.neg()?)
}

/// The mean over classes, which are the last dimension, of `-(y log sigmoid(x) + (1 - y) log sigmoid(-x))`.
///
/// ```
/// use calor::{Tensor, nn::functional::{Reduction, multilabel_soft_margin_loss}};
/// let (x, y) = (Tensor::zeros([1, 2], ())?, Tensor::new([[1.0f32, 0.0]], ())?);
/// assert!((multilabel_soft_margin_loss(&x, &y, None, Reduction::Mean)?.item()? - 2f64.ln()).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn multilabel_soft_margin_loss(
    x: &Tensor,
    target: &Tensor,
    weight: Option<&Tensor>,
    reduction: Reduction,
) -> Result<Tensor> {
    let mut loss = ((target * x.logsigmoid()?)? + ((1.0 - target)? * x.neg()?.logsigmoid()?)?)?.neg()?;
    if let Some(weight) = weight {
        loss = (loss * weight)?;
    }
    reduction.of(&loss.mean_dims(&[-1], false)?)
}

/// `sum max(0, margin - x[target] + x[i])^p / classes` over all other classes `i`, for scores `[n, classes]` or
/// `[classes]`.
///
/// ```
/// use calor::{Tensor, nn::functional::{Reduction, multi_margin_loss}};
/// let (x, y) = (Tensor::new([[0.5f32, 0.0]], ())?, Tensor::new([0], ())?);
/// assert_eq!(multi_margin_loss(&x, &y, 1, 1.0, None, Reduction::Mean)?.item()?, 0.25);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where scores and targets do not fit, `DType` for targets that are no integers, `Value` where `p` is not 1
/// or 2.
pub fn multi_margin_loss(
    x: &Tensor,
    target: &Tensor,
    p: u32,
    margin: f64,
    weight: Option<&Tensor>,
    reduction: Reduction,
) -> Result<Tensor> {
    let x = &full(x)?;
    const OP: &str = "multi_margin_loss";
    let (xs, ts) = (x.shape(), target.shape());
    if xs.is_empty() {
        return multi_margin_loss(&x.reshape([1])?, target, p, margin, weight, reduction);
    }
    let fits = match xs.len() {
        1 => xs[0] > 0 && target.numel() == 1,
        2 => xs[1] > 0 && ts[..] == [xs[0]],
        _ => false,
    };
    if !fits {
        bail!(Shape, OP, "expected non-empty vector or matrix with a target for each row, got {:?} and {:?}", xs, ts);
    }
    if !target.dtype().is_int() {
        bail!(DType, OP, "expected targets of an integer dtype, got {}", target.dtype());
    }
    if !(1..=2).contains(&p) {
        bail!(Value, OP, "only p == 1 and p == 2 supported, got {p}");
    }
    let classes = xs[xs.len() - 1];
    let target = target.to_dtype(DType::I32)?;
    let at = if xs.len() == 1 { target.reshape([1])? } else { target.unsqueeze(-1)? };
    let own = x.gather(-1, &at)?;
    let mut terms = ((x - own)? + margin)?.clamp_min(0.0)?;
    if p == 2 {
        terms = terms.square()?;
    }
    if let Some(weight) = weight {
        same_shape(OP, weight, &[classes])?;
        terms = (terms * weight.take(&at)?)?;
    }
    let numbers: Vec<i32> = (0..classes as i32).collect();
    let others = Tensor::from_slice(&numbers, [classes], x.device())?.ne(&at)?;
    let sum = others.where_(&terms, 0.0)?.sum_dims(&[-1], false)?;
    // of a vector: as its target
    let loss = if xs.len() == 1 { (sum / classes as f64)?.reshape(&ts)? } else { (sum / classes as f64)? };
    reduction.of(&loss)
}

/// `sum max(0, 1 - x[y] + x[i]) / classes` over the labels `y` of an example, which stand in its row of `target`
/// before the first negative number, and all `i` that are none; scores and targets are `[n, classes]` or `[classes]`.
///
/// ```
/// use calor::{Tensor, nn::functional::{Reduction, multilabel_margin_loss}};
/// let (x, y) = (Tensor::new([0.5f32, 0.0], ())?, Tensor::new([0i32, -1], ())?);
/// assert_eq!(multilabel_margin_loss(&x, &y, Reduction::Mean)?.item()?, 0.25);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where scores and targets do not fit, `DType` for targets that are no integers; `Index`, on the device, for a
/// label that is no class.
pub fn multilabel_margin_loss(x: &Tensor, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
    let x = &full(x)?;
    const OP: &str = "multilabel_margin_loss";
    let (xs, ts) = (x.shape(), target.shape());
    if xs.is_empty() && target.numel() == 1 {
        return multilabel_margin_loss(&x.reshape([1])?, &target.reshape([1])?, reduction);
    }
    let classes = xs.last().copied().unwrap_or(0);
    if xs.len() > 2 || classes == 0 || xs != ts {
        bail!(Shape, OP, "expected non-empty vector or matrix and targets of the same size, got {:?} and {:?}", xs, ts);
    }
    if !target.dtype().is_int() {
        bail!(DType, OP, "expected targets of an integer dtype, got {}", target.dtype());
    }
    let target = target.to_dtype(DType::I32)?;
    let labels = target.lt(0)?.to_dtype(DType::I32)?.cumsum(-1)?.eq(0)?;
    let at = labels.where_(&target, 0)?;
    let numbers: Vec<i32> = (0..classes as i32).collect();
    let numbers = Tensor::from_slice(&numbers, [classes], x.device())?;
    let named = at.unsqueeze(-1)?.eq(&numbers)?.logical_and(labels.unsqueeze(-1)?)?;
    let counts = labels.unsqueeze(-1)?.logical_and(named.any_dims(&[-2], true)?.logical_not()?)?;
    let terms = ((x.unsqueeze(-2)? - x.gather(-1, &at)?.unsqueeze(-1)?)? + 1.0)?.clamp_min(0.0)?;
    let sum = counts.where_(&terms, 0.0)?.sum_dims(&[-2, -1], false)?;
    reduction.of(&(sum / classes as f64)?)
}
