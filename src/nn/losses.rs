//! Losses as functions.

use super::options::settings;
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::no_grad;
use crate::ops::build::checked;
use crate::tensor::Tensor;
use crate::tensor::autocast::{self, autocast_dtype, full};
use crate::tensor::grad::Grads;

/// What becomes of the elements' losses.
///
/// ```
/// use calor::{Tensor, nn::functional::{Reduction, l1_loss}};
/// let (x, y) = (Tensor::new([1.0f32, 3.0], ())?, Tensor::zeros([2], ())?);
/// assert_eq!(l1_loss(&x, &y, Reduction::None)?.to_vec::<f32>()?, [1.0, 3.0]);
/// assert_eq!(l1_loss(&x, &y, Reduction::Mean)?.item()?, 2.0);
/// assert_eq!(l1_loss(&x, &y, Reduction::Sum)?.item()?, 4.0);
/// # Ok::<(), calor::Error>(())
/// ```
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
    pub(super) fn of(self, loss: &Tensor) -> Result<Tensor> {
        match self {
            Reduction::None => Ok(loss.clone()),
            Reduction::Mean => loss.mean(),
            Reduction::Sum => loss.sum(),
        }
    }
}

settings! {
    /// Options of [`nll_loss`].
    ///
    /// ```
    /// use calor::{Tensor, nn::functional::{NllOptions, nll_loss}};
    /// let (x, y) = (Tensor::new([[-1.0f32, -2.0], [-3.0, -4.0]], ())?, Tensor::new([0, 1], ())?);
    /// assert_eq!(nll_loss(&x, &y, NllOptions::default().ignore_index(1))?.item()?, 1.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    NllOptions {
        /// A weight for each class.
        ///
        /// ```
        /// use calor::{Tensor, nn::functional::NllOptions};
        /// assert_eq!(NllOptions::default().weight(Tensor::ones([3], ())?).weight.unwrap().numel(), 3);
        /// # Ok::<(), calor::Error>(())
        /// ```
        weight: Option<Tensor> = None,
        /// Targets of this value count for nothing.
        ignore_index: i64 = -100 => 7,
        /// What becomes of the elements' losses.
        reduction: Reduction = Reduction::Mean => Reduction::Sum,
    }
}

settings! {
    /// Options of [`cross_entropy`].
    ///
    /// ```
    /// use calor::{Tensor, nn::functional::{CrossEntropyOptions, Reduction, cross_entropy}};
    /// let options = CrossEntropyOptions::default().reduction(Reduction::None);
    /// let loss = cross_entropy(&Tensor::zeros([3, 4], ())?, &Tensor::new([0, 1, 2], ())?, options)?;
    /// assert_eq!(&loss.shape()[..], [3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    CrossEntropyOptions {
        /// A weight for each class.
        ///
        /// ```
        /// use calor::{Tensor, nn::functional::CrossEntropyOptions};
        /// assert_eq!(CrossEntropyOptions::default().weight(Tensor::ones([3], ())?).weight.unwrap().numel(), 3);
        /// # Ok::<(), calor::Error>(())
        /// ```
        weight: Option<Tensor> = None,
        /// Targets of this value count for nothing.
        ignore_index: i64 = -100 => 7,
        /// What becomes of the elements' losses.
        reduction: Reduction = Reduction::Mean => Reduction::Sum,
        /// The share of the target that all classes have equally.
        label_smoothing: f64 = 0.0 => 0.5,
    }
}

settings! {
    /// Options of [`binary_cross_entropy_with_logits`].
    ///
    /// ```
    /// use calor::{Tensor, nn::functional::{BceOptions, binary_cross_entropy_with_logits}};
    /// let options = BceOptions::default().weight(Tensor::zeros([1], ())?);
    /// let loss = binary_cross_entropy_with_logits(&Tensor::ones([1], ())?, &Tensor::zeros([1], ())?, options)?;
    /// assert_eq!(loss.item()?, 0.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    BceOptions {
        /// A weight for each element.
        ///
        /// ```
        /// use calor::{Tensor, nn::functional::BceOptions};
        /// assert_eq!(BceOptions::default().weight(Tensor::ones([3], ())?).weight.unwrap().numel(), 3);
        /// # Ok::<(), calor::Error>(())
        /// ```
        weight: Option<Tensor> = None,
        /// How much more what is 1 weighs.
        ///
        /// ```
        /// use calor::{Tensor, nn::functional::BceOptions};
        /// assert_eq!(BceOptions::default().pos_weight(Tensor::ones([3], ())?).pos_weight.unwrap().numel(), 3);
        /// # Ok::<(), calor::Error>(())
        /// ```
        pos_weight: Option<Tensor> = None,
        /// What becomes of the elements' losses.
        reduction: Reduction = Reduction::Mean => Reduction::Sum,
    }
}

/// Scores and classes of equal leading dimensions, the classes' place in the former, and the weights.
struct Classes {
    x: Tensor,
    target: Tensor,
    dim: isize,
    /// The targets as they were given, and what is ignored.
    given: (Tensor, i64),
    /// The weight of each target where classes have weights: 0 where it is ignored.
    weights: Option<Tensor>,
    /// How much each target counts in a mean.
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
    if let Some(weight) = weight {
        if weight.shape()[..] != [count] {
            bail!(
                Shape,
                op,
                "weight tensor should be defined either for all {count} classes or no classes, got {:?}",
                weight.shape()
            );
        }
        if weight.dtype() != x.dtype() {
            bail!(DType, op, "expected weights of dtype {}, as that of the scores, got {}", x.dtype(), weight.dtype());
        }
    }
    let kept = counted(target, ignore)?;
    let at = kept.where_(&target.to_dtype(DType::I32)?, 0)?;
    let weights = weight.map(|weight| kept.where_(&weight.take(&at)?, 0.0)).transpose()?;
    let counts = weights.as_ref().map_or_else(|| kept.to_dtype(x.dtype()), |w| Ok(w.clone()))?;
    Ok(Classes { x: x.clone(), target: at, dim, given: (target.clone(), ignore), weights, counts })
}

/// Which targets are not ignored.
fn counted(target: &Tensor, ignore: i64) -> Result<Tensor> {
    // PyTorch's target types hold any number, so this is compared as one
    target.to_dtype(DType::I32)?.ne(ignore as i32)
}

impl Classes {
    /// `-x[target]`, weighted.
    fn picked(&self, op: &'static str) -> Result<Tensor> {
        let at = self.target.unsqueeze(self.dim)?;
        let loss = self.kept(op, &self.x.along(op, self.dim, &at, false)?.squeeze_dim(self.dim)?.neg()?)?;
        match &self.weights {
            Some(weights) => loss * weights,
            None => Ok(loss),
        }
    }

    /// `loss` where the target is not ignored, else 0, whatever stands there. Its gradient finds that out again: truth
    /// values would be kept apart.
    fn kept(&self, op: &'static str, loss: &Tensor) -> Result<Tensor> {
        let (given, ignore) = (&self.given.0, self.given.1);
        let out = no_grad(|| counted(given, ignore)?.where_(loss, 0.0))?;
        Ok(out.with_grad(op, &[loss], |r| {
            let given = r.save(given);
            move |g: &Tensor| Ok(Grads::from_iter([Some(counted(&given.get()?, ignore)?.where_(g, 0.0)?)]))
        }))
    }

    fn reduce(&self, loss: &Tensor, reduction: Reduction) -> Result<Tensor> {
        match reduction {
            // of those that count; a half type may not hold how many these are
            Reduction::Mean => {
                let wide = |t: &Tensor| t.to_dtype(t.dtype().compute())?.sum();
                (wide(loss)? / wide(&self.counts)?)?.to_dtype(loss.dtype())
            }
            other => other.of(loss),
        }
    }
}

/// `-x[target]` for logarithms of probabilities `[n, classes, ..]` and classes `[n, ..]`.
///
/// The mean is taken over the targets that are not ignored, weighted where there are class weights.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let x = Tensor::new([[-0.5f32, -1.0], [-3.0, -0.25]], ())?;
/// assert_eq!(f::nll_loss(&x, &Tensor::new([1, 1], ())?, ())?.item()?, 0.625);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where both do not fit, `DType` for targets that are no integers or weights of another dtype than `x`; a class out of range is an `Index` error
/// at the next host synchronisation.
pub fn nll_loss(x: &Tensor, target: &Tensor, options: impl Into<NllOptions>) -> Result<Tensor> {
    let o = options.into();
    let x = &full(x)?;
    let classes = classes("nll_loss", x, target, o.weight.as_ref(), o.ignore_index)?;
    classes.reduce(&classes.picked("nll_loss")?, o.reduction)
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
/// As those of [`nll_loss`]; `Value` for a smoothing outside of 0 to 1 or float targets with an `ignore_index` from 0 on.
pub fn cross_entropy(x: &Tensor, target: &Tensor, options: impl Into<CrossEntropyOptions>) -> Result<Tensor> {
    const OP: &str = "cross_entropy";
    let o = options.into();
    let (x, target) = (&full(x)?, &full(target)?);
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
        if o.ignore_index >= 0 {
            bail!(Value, OP, "ignore_index is not supported for floating point target, got {}", o.ignore_index);
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
    let mut loss = classes.picked(OP)?;
    if smooth > 0.0 {
        let all = match &o.weight {
            Some(weight) => (&log * beside(weight)?)?,
            None => log,
        };
        let even = classes.kept(OP, &all.sum_dims(&[dim], false)?.neg()?)?;
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
    reduction.of(&(full(x)? - full(target)?)?.square()?)
}

/// `|x - target|`.
///
/// ```
/// use calor::nn::functional::{self as f, Reduction};
/// let (x, y) = (calor::Tensor::new([1.0f32, -2.0], ())?, calor::Tensor::zeros([2], ())?);
/// assert_eq!(f::l1_loss(&x, &y, Reduction::Mean)?.item()?, 1.5);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn l1_loss(x: &Tensor, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
    reduction.of(&(full(x)? - full(target)?)?.abs()?)
}

/// `-(target log sigmoid(x) + (1 - target) log(1 - sigmoid(x)))` for scores `x`, without overflow.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let loss = f::binary_cross_entropy_with_logits(&Tensor::zeros([3], ())?, &Tensor::ones([3], ())?, ())?;
/// assert!((loss.item()? - 2f64.ln()).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where the shapes differ.
pub fn binary_cross_entropy_with_logits(x: &Tensor, target: &Tensor, options: impl Into<BceOptions>) -> Result<Tensor> {
    let o = options.into();
    let (x, target) = (&full(x)?, &full(target)?);
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

/// Refuses a tensor of another shape.
pub(super) fn same_shape(op: &str, t: &Tensor, shape: &[usize]) -> Result<()> {
    if t.shape()[..] != *shape {
        bail!(Shape, op, "expected a tensor of size {shape:?}, got {:?}", t.shape());
    }
    Ok(())
}

/// `-(target log x + (1 - target) log(1 - x))` for probabilities `x`; logarithms below -100 count as -100.
///
/// ```
/// use calor::{Tensor, nn::functional::{Reduction, binary_cross_entropy}};
/// let (x, y) = (Tensor::new([0.5f32], ())?, Tensor::new([1.0f32], ())?);
/// assert!((binary_cross_entropy(&x, &y, None, Reduction::Mean)?.item()? - 2f64.ln()).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where the shapes differ; a probability or target out of range is a `Value` error at the next host
/// synchronisation.
pub fn binary_cross_entropy(
    x: &Tensor,
    target: &Tensor,
    weight: Option<&Tensor>,
    reduction: Reduction,
) -> Result<Tensor> {
    const OP: &str = "binary_cross_entropy";
    if autocast_dtype().is_some() {
        bail!(
            DType,
            OP,
            "and BCELoss are unsafe to autocast: many models use a sigmoid layer right before them; combine both using \
             binary_cross_entropy_with_logits or BCEWithLogitsLoss, which are safe to autocast"
        );
    }
    if x.shape() != target.shape() {
        bail!(
            Shape,
            OP,
            "using a target size {:?} that is different to the input size {:?} is deprecated. Please ensure they have \
             the same size",
            target.shape(),
            x.shape()
        );
    }
    let x = probabilities(OP, x, "input")?;
    let target = &probabilities(OP, target, "target")?;
    let mut loss = crossed(OP, &x, target)?;
    if let Some(weight) = weight {
        loss = (loss * weight)?;
    }
    reduction.of(&loss)
}

/// The binary cross-entropy of each element. One rule for its gradients: those of the logarithms are NaN at 0 and 1.
fn crossed(op: &'static str, x: &Tensor, target: &Tensor) -> Result<Tensor> {
    let dtype = DType::promote(x.dtype(), target.dtype());
    // the least slope is no half number
    let (x, target) = (&x.to_dtype(x.dtype().compute())?, &target.to_dtype(target.dtype().compute())?);
    let log = |x: &Tensor| -> Result<Tensor> { x.log()?.clamp_min(-100.0) };
    let loss = no_grad(|| ((target - 1.0)? * log(&(1.0 - x)?)?)? - (target * log(x)?)?)?;
    let loss = loss.with_grad(op, &[x, target], |r| {
        let (wanted, x, target) = (target.requires_grad(), r.save(x), r.save(target));
        move |g: &Tensor| {
            let (x, target) = (x.get()?, target.get()?);
            let slope = (&x * (1.0 - &x)?)?.clamp_min(1e-12)?;
            let of_x = ((g * (&x - target)?)? / slope)?;
            let of_target = wanted.then(|| g * (x.neg()?.log1p()? - x.log()?)?).transpose()?;
            Ok(Grads::from_iter([Some(of_x), of_target]))
        }
    });
    loss.to_dtype(dtype)
}

/// `x`, with a fault reported by the device where an element is not between 0 and 1.
fn probabilities(op: &'static str, x: &Tensor, name: &str) -> Result<Tensor> {
    let message = format!("all elements of {name} should be between 0 and 1");
    checked(op, x, &[("op_ge", 0.0), ("op_le", 1.0)], message)
}

/// `far` where it is not beyond a limit: what is infinite must not meet the zero gradient of its square.
fn near(beyond: &Tensor, far: &Tensor) -> Result<Tensor> {
    beyond.where_(0.0, far)
}

/// `(x - target)^2 / (2 beta)` where the difference is below `beta`, else `|x - target| - beta / 2`.
///
/// ```
/// use calor::nn::functional::{self as f, Reduction};
/// let (x, y) = (calor::Tensor::new([1.0f32, -2.0], ())?, calor::Tensor::zeros([2], ())?);
/// assert_eq!(f::smooth_l1_loss(&x, &y, 1.0, Reduction::Mean)?.item()?, 1.0);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` where `beta` is negative.
pub fn smooth_l1_loss(x: &Tensor, target: &Tensor, beta: f64, reduction: Reduction) -> Result<Tensor> {
    if beta < 0.0 {
        bail!(Value, "smooth_l1_loss", "does not support negative values for beta, got {beta}");
    }
    if beta == 0.0 {
        return l1_loss(x, target, reduction);
    }
    let far = (full(x)? - full(target)?)?.abs()?;
    let beyond = far.ge(beta)?;
    let loss = beyond.where_(&(&far - 0.5 * beta)?, &(near(&beyond, &far)?.square()? * (0.5 / beta))?)?;
    reduction.of(&loss)
}

/// `(x - target)^2 / 2` where the difference is at most `delta`, else `delta (|x - target| - delta / 2)`.
///
/// ```
/// use calor::nn::functional::{self as f, Reduction};
/// let (x, y) = (calor::Tensor::new([1.0f32, -2.0], ())?, calor::Tensor::zeros([2], ())?);
/// assert_eq!(f::huber_loss(&x, &y, 1.0, None, Reduction::Mean)?.item()?, 1.0);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` where `delta` is not positive.
pub fn huber_loss(
    x: &Tensor,
    target: &Tensor,
    delta: f64,
    weight: Option<&Tensor>,
    reduction: Reduction,
) -> Result<Tensor> {
    if delta.is_nan() || delta <= 0.0 {
        bail!(Value, "huber_loss", "does not support non-positive values for delta, got {delta}");
    }
    let far = (full(x)? - full(target)?)?.abs()?;
    let beyond = far.gt(delta)?;
    let mut loss = beyond.where_(&((&far - 0.5 * delta)? * delta)?, &(near(&beyond, &far)?.square()? * 0.5)?)?;
    if let Some(weight) = weight {
        loss = (loss * weight)?;
    }
    reduction.of(&loss)
}

/// `target (log target - x)` for logarithms of probabilities `x`; with `log_target` the target is a logarithm too.
///
/// ```
/// use calor::{Tensor, nn::functional::{Reduction, kl_div}};
/// let (x, y) = (Tensor::new([0.5f32.ln()], ())?, Tensor::new([1.0f32], ())?);
/// assert!((kl_div(&x, &y, false, Reduction::Sum)?.item()? - 2f64.ln()).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn kl_div(x: &Tensor, target: &Tensor, log_target: bool, reduction: Reduction) -> Result<Tensor> {
    let (x, target) = (&full(x)?, &full(target)?);
    let loss = match log_target {
        true => target.exp()? * (target - x)?,
        false => target.xlogy(target)? - (target * x)?,
    }?;
    reduction.of(&loss)
}

/// `e^x - target x`, or `x - target log(x + eps)` without `log_input`; `full` adds Stirling's formula where the target
/// is above 1.
///
/// ```
/// use calor::{Tensor, nn::functional::{Reduction, poisson_nll_loss}};
/// let (x, y) = (Tensor::new([0.0f32], ())?, Tensor::new([3.0f32], ())?);
/// assert_eq!(poisson_nll_loss(&x, &y, true, false, 1e-8, Reduction::Mean)?.item()?, 1.0);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn poisson_nll_loss(
    x: &Tensor,
    target: &Tensor,
    log_input: bool,
    full: bool,
    eps: f64,
    reduction: Reduction,
) -> Result<Tensor> {
    let (x, target) = (&autocast::full(x)?, &autocast::full(target)?);
    let mut loss = match log_input {
        true => x.exp()? - (target * x)?,
        false => x - (target * (x + eps)?.log()?)?,
    }?;
    if full {
        let log = target.log()?;
        let rest = ((target * std::f64::consts::TAU)?.log()? * 0.5)?;
        let stirling = (((target * log)? - target)? + rest)?;
        loss = (loss + target.gt(1.0)?.where_(&stirling, 0.0)?)?;
    }
    reduction.of(&loss)
}

/// `(log v + (x - target)^2 / v) / 2` with `v = max(var, eps)`; `full` adds `log(2 pi) / 2`.
///
/// `var` has the input's shape, or that without the last dimension, or 1 in one of them; without dimensions it is one
/// variance for all.
///
/// ```
/// use calor::nn::functional::{self as f, Reduction};
/// let (x, y) = (calor::Tensor::ones([2, 3], ())?, calor::Tensor::zeros([2, 3], ())?);
/// let loss = f::gaussian_nll_loss(&x, &y, &calor::Tensor::ones([1, 3], ())?, false, 1e-6, Reduction::Mean)?;
/// assert_eq!(loss.item()?, 0.5);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where `var` has another one; a negative variance is a `Value` error at the next host synchronisation.
pub fn gaussian_nll_loss(
    x: &Tensor,
    target: &Tensor,
    var: &Tensor,
    full: bool,
    eps: f64,
    reduction: Reduction,
) -> Result<Tensor> {
    const OP: &str = "gaussian_nll_loss";
    let (xs, vs) = (x.shape(), var.shape());
    let lead = &xs[..xs.len().saturating_sub(1)];
    // PyTorch's test of one dimension that differs and is 1
    let apart = || xs.iter().zip(&vs).filter(|(x, v)| x != v).map(|(_, v)| v).sum::<usize>();
    let var = if vs == xs || vs.is_empty() {
        var.clone()
    } else if vs[..] == *lead {
        var.unsqueeze(-1)?
    } else if vs.len() == xs.len() && apart() == 1 {
        var.clone()
    } else {
        bail!(Shape, OP, "var is of incorrect size: {:?} for an input of {:?}", vs, xs)
    };
    let var = checked(OP, &var, &[("!op_lt", 0.0)], "var has negative entry/entries")?;
    // the limit is no part of the gradient
    let lift = var.lt(eps)?.where_(&(eps - var.detach())?, 0.0)?;
    let var = (var + lift)?;
    let mut loss = ((var.log()? + (autocast::full(&(x - target)?)?.square()? / &var)?)? * 0.5)?;
    if full {
        loss = (loss + 0.5 * std::f64::consts::TAU.ln())?;
    }
    reduction.of(&loss)
}
