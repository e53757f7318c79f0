//! Losses as functions.

use super::options::settings;
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::tensor::Tensor;

/// What becomes of the elements' losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// They stay.
    None,
    /// Their mean; weighted where there are class weights.
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

impl Reduction {
    fn of(self, loss: &Tensor) -> Result<Tensor> {
        match self {
            Reduction::None => Ok(loss.clone()),
            Reduction::Mean => loss.mean(),
            Reduction::Sum => loss.sum(),
        }
    }
}

settings! {
    /// Options of [`nll_loss`].
    NllOptions {
        /// A weight for each class.
        weight: Option<Tensor> = None,
        /// Targets of this value count for nothing.
        ignore_index: i64 = -100,
        /// What becomes of the elements' losses.
        reduction: Reduction = Reduction::Mean,
    }
}

settings! {
    /// Options of [`cross_entropy`].
    CrossEntropyOptions {
        /// A weight for each class.
        weight: Option<Tensor> = None,
        /// Targets of this value count for nothing.
        ignore_index: i64 = -100,
        /// What becomes of the elements' losses.
        reduction: Reduction = Reduction::Mean,
        /// The share of the target that all classes have equally.
        label_smoothing: f64 = 0.0,
    }
}

settings! {
    /// Options of [`binary_cross_entropy_with_logits`].
    BceOptions {
        /// A weight for each element.
        weight: Option<Tensor> = None,
        /// How much more what is 1 weighs.
        pos_weight: Option<Tensor> = None,
        /// What becomes of the elements' losses.
        reduction: Reduction = Reduction::Mean,
    }
}

/// Scores and classes of equal leading dimensions, the classes' place in the former, and the weights.
struct Classes {
    x: Tensor,
    target: Tensor,
    dim: isize,
    /// The weight of each target: 0 where it is ignored.
    counts: Tensor,
}

/// Scores `[n, c, ..]` or `[c]` and their targets, checked.
fn classes(op: &'static str, x: &Tensor, target: &Tensor, weight: Option<&Tensor>, ignore: i64) -> Result<Classes> {
    let (xs, ts) = (x.shape(), target.shape());
    let dim = isize::from(xs.len() > 1);
    let fits = match xs.len() {
        0 => false,
        1 => ts.is_empty(),
        _ => ts.len() + 1 == xs.len() && ts[0] == xs[0] && ts[1..] == xs[2..],
    };
    if !fits {
        bail!(Shape, op, "expected scores [n, classes, ..] and targets [n, ..], got {:?} and {:?}", xs, ts);
    }
    if !target.dtype().is_int() {
        bail!(DType, op, "expected targets of an integer dtype, got {}", target.dtype());
    }
    let count = xs[dim as usize];
    if let Some(weight) = weight
        && weight.shape()[..] != [count]
    {
        bail!(
            Shape,
            op,
            "weight tensor should be defined either for all {count} classes or no classes, got {:?}",
            weight.shape()
        );
    }
    let target = target.to_dtype(DType::I32)?;
    // PyTorch's target types hold any number, so this is compared as one
    let kept = target.ne(ignore as i32)?;
    let target = kept.where_(&target, 0)?;
    let counts = match weight {
        Some(weight) => kept.where_(&weight.take(&target)?, 0.0)?,
        None => kept.to_dtype(x.dtype())?,
    };
    Ok(Classes { x: x.clone(), target, dim, counts })
}

impl Classes {
    /// `-x[target]`, weighted.
    fn picked(&self) -> Result<Tensor> {
        let at = self.target.unsqueeze(self.dim)?;
        self.x.gather(self.dim, &at)?.squeeze_dim(self.dim)?.neg()? * &self.counts
    }

    fn reduce(&self, loss: &Tensor, reduction: Reduction) -> Result<Tensor> {
        match reduction {
            // of those that count
            Reduction::Mean => loss.sum()? / self.counts.sum()?,
            other => other.of(loss),
        }
    }
}

/// `-x[target]` for logarithms of probabilities `[n, classes, ..]` and classes `[n, ..]`.
///
/// The mean is taken over the targets that are not ignored, weighted where there are class weights.
///
/// # Errors
/// `Shape` where both do not fit, `DType` for targets that are no integers; a class out of range is an `Index` error
/// at the next host synchronisation.
pub fn nll_loss(x: &Tensor, target: &Tensor, options: impl Into<NllOptions>) -> Result<Tensor> {
    let o = options.into();
    let classes = classes("nll_loss", x, target, o.weight.as_ref(), o.ignore_index)?;
    classes.reduce(&classes.picked()?, o.reduction)
}

/// `-log softmax(x)[target]` for scores `[n, classes, ..]` and classes `[n, ..]`, or, for float targets of the shape
/// of `x`, `-sum target log softmax(x)`.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let (x, y) = (Tensor::new([[0.0f32, 0.0, 0.0]], ())?, Tensor::new([2], ())?);
/// assert!((f::cross_entropy(&x, &y, ())?.item()? - 3f64.ln()).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// As those of [`nll_loss`].
pub fn cross_entropy(x: &Tensor, target: &Tensor, options: impl Into<CrossEntropyOptions>) -> Result<Tensor> {
    const OP: &str = "cross_entropy";
    let o = options.into();
    if !(0.0..=1.0).contains(&o.label_smoothing) {
        bail!(Value, OP, "label_smoothing must be between 0 and 1, got {}", o.label_smoothing);
    }
    let shape = x.shape();
    let dim = isize::from(shape.len() > 1);
    let log = x.log_softmax(dim)?;
    let count = if shape.is_empty() { 1 } else { shape[dim as usize] };
    let smooth = o.label_smoothing;
    // weights as they stand beside scores
    let beside = |weight: &Tensor| -> Result<Tensor> {
        let mut sizes = vec![1; shape.len()];
        sizes[dim as usize] = count;
        weight.reshape(sizes)
    };
    if target.dtype().is_float() {
        if target.shape() != shape {
            bail!(Shape, OP, "expected class probabilities of shape {:?}, got {:?}", shape, target.shape());
        }
        let target = if smooth > 0.0 { ((target * (1.0 - smooth))? + smooth / count as f64)? } else { target.clone() };
        let mut terms = (log * target)?;
        if let Some(weight) = &o.weight {
            terms = (terms * beside(weight)?)?;
        }
        let loss = terms.sum_dims(&[dim], false)?.neg()?;
        return o.reduction.of(&loss);
    }
    let classes = classes(OP, &log, target, o.weight.as_ref(), o.ignore_index)?;
    let mut loss = classes.picked()?;
    if smooth > 0.0 {
        let all = match &o.weight {
            Some(weight) => (&log * beside(weight)?)?,
            None => log,
        };
        let kept = classes.counts.ne(0.0)?;
        let even = kept.where_(&all.sum_dims(&[dim], false)?.neg()?, 0.0)?;
        loss = ((loss * (1.0 - smooth))? + (even * (smooth / count as f64))?)?;
    }
    classes.reduce(&loss, o.reduction)
}

/// `(x - target)^2`.
///
/// ```
/// use calor::{Tensor, nn::functional as f, nn::functional::Reduction};
/// let (x, y) = (Tensor::new([1.0f32, 3.0], ())?, Tensor::new([0.0f32, 0.0], ())?);
/// assert_eq!(f::mse_loss(&x, &y, Reduction::Mean)?.item()?, 5.0);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn mse_loss(x: &Tensor, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
    reduction.of(&(x - target)?.square()?)
}

/// `|x - target|`.
pub fn l1_loss(x: &Tensor, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
    reduction.of(&(x - target)?.abs()?)
}

/// `-(target log sigmoid(x) + (1 - target) log(1 - sigmoid(x)))` for scores `x`, without overflow.
///
/// # Errors
/// `Shape` where the shapes differ.
pub fn binary_cross_entropy_with_logits(x: &Tensor, target: &Tensor, options: impl Into<BceOptions>) -> Result<Tensor> {
    let o = options.into();
    if x.shape() != target.shape() {
        bail!(
            Shape,
            "binary_cross_entropy_with_logits",
            "target size {:?} must be the same as input size {:?}",
            target.shape(),
            x.shape()
        );
    }
    let negative = ((1.0 - target)? * x)?;
    let soft = x.logsigmoid()?;
    let mut loss = match &o.pos_weight {
        Some(weight) => (negative - (((weight - 1.0)? * target)? + 1.0)? * soft)?,
        None => (negative - soft)?,
    };
    if let Some(weight) = &o.weight {
        loss = (loss * weight)?;
    }
    o.reduction.of(&loss)
}
