//! A softmax over many classes whose rare ones are computed from fewer numbers.

use super::functional;
use super::options::options;
use super::{Layer, Linear, LinearOptions, Module};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::ops::build::checked;
use crate::ops::join::cat;
use crate::tensor::Tensor;

options! {
    /// Options of [`AdaptiveLogSoftmaxWithLoss`].
    ///
    /// ```
    /// use calor::nn::{AdaptiveLogSoftmaxWithLoss, AdaptiveLogSoftmaxWithLossOptions};
    /// let options = AdaptiveLogSoftmaxWithLossOptions::default().div_value(2.0).head_bias(true);
    /// let softmax = AdaptiveLogSoftmaxWithLoss::new(8, 100, &[10], options)?;
    /// assert_eq!(softmax.head.bias.as_ref().map(|b| b.numel()), Some(11));
    /// assert_eq!(softmax.tail[0][0].weight.shape()[..], [4, 8]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    AdaptiveLogSoftmaxWithLossOptions {
        /// By how much fewer numbers each cluster has than the one before.
        div_value: f64 = 4.0 => 2.0,
        /// Whether the head learns an addend.
        head_bias: bool = false => true,
    }
}

/// The logarithm of a softmax in clusters (Grave et al., 2017): classes below the first cutoff, the frequent ones, stand in
/// the head, with one more for each cluster of those between two cutoffs.
///
/// `log p(class) = head(x)[class]`, or `head(x)[cluster] + tail[i](x)[class]`, each after a `log_softmax`. A cluster's
/// scores come from `in / div_value^(i + 1)` numbers, rounded down. All clusters are computed for all samples, so that
/// targets need not be read; one without targets has a gradient of zeros.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{AdaptiveLogSoftmaxWithLoss, Module};
/// let softmax = AdaptiveLogSoftmaxWithLoss::new(8, 100, &[10, 40], ())?;
/// let x = Tensor::ones([2, 8], ())?;
/// let (output, loss) = softmax.forward(&x, &Tensor::new([3, 77], ())?)?;
/// assert!((output.mean()?.item()? + loss.item()?).abs() < 1e-6);
/// assert!((softmax.log_prob(&x)?.exp()?.sum()?.item()? - 2.0).abs() < 1e-4);
/// let names: Vec<String> = softmax.named_parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["head.weight", "tail.0.0.weight", "tail.0.1.weight", "tail.1.0.weight", "tail.1.1.weight"]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct AdaptiveLogSoftmaxWithLoss {
    /// Scores of the frequent classes and of the clusters.
    pub head: Linear,
    /// For each cluster what makes fewer numbers, and scores of these.
    pub tail: Vec<[Linear; 2]>,
    #[module(skip)]
    inputs: usize,
    /// Where clusters end.
    #[module(skip)]
    cutoffs: Vec<usize>,
    classes: usize,
}

const OP: &str = "AdaptiveLogSoftmaxWithLoss";

impl AdaptiveLogSoftmaxWithLoss {
    /// A layer with fresh parameters, those of [`Linear`].
    ///
    /// # Errors
    /// `Value` for cutoffs that are not rising numbers from 1 to `n_classes - 1`, or a `div_value` that is not above 0.
    ///
    /// ```
    /// use calor::nn::AdaptiveLogSoftmaxWithLoss;
    /// let softmax = AdaptiveLogSoftmaxWithLoss::new(64, 1000, &[100, 500], ())?;
    /// assert_eq!((softmax.head.weight.shape()[0], softmax.tail.len()), (102, 2));
    /// assert!(AdaptiveLogSoftmaxWithLoss::new(64, 1000, &[500, 100], ()).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(
        in_features: usize,
        n_classes: usize,
        cutoffs: &[usize],
        options: impl Into<AdaptiveLogSoftmaxWithLossOptions>,
    ) -> Result<Self> {
        let o = options.into();
        let (Some(&first), Some(&last)) = (cutoffs.first(), cutoffs.last()) else {
            bail!(Value, OP, "cutoffs should be a sequence of length larger than 0");
        };
        if first == 0 || last >= n_classes || cutoffs.windows(2).any(|two| two[0] >= two[1]) {
            bail!(
                Value,
                OP,
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing order, where each value \
                 is between 1 and n_classes-1, got {cutoffs:?} for {n_classes} classes"
            );
        }
        if o.div_value.is_nan() || o.div_value <= 0.0 {
            bail!(Value, OP, "div_value must be above 0, got {}", o.div_value);
        }
        let linear = |inputs: usize, outputs: usize, bias: bool| {
            Linear::new(inputs, outputs, LinearOptions::default().bias(bias).tensor(o.tensor.clone()))
        };
        let mut tail = Vec::with_capacity(cutoffs.len());
        let mut low = first;
        for (i, &high) in cutoffs.iter().skip(1).chain([&n_classes]).enumerate() {
            let hidden = floored(in_features as f64, o.div_value.powf((i + 1) as f64));
            tail.push([linear(in_features, hidden, false)?, linear(hidden, high - low, false)?]);
            low = high;
        }
        Ok(Self {
            head: linear(in_features, first + cutoffs.len(), o.head_bias)?,
            tail,
            inputs: in_features,
            cutoffs: cutoffs.to_vec(),
            classes: n_classes,
        })
    }

    /// The frequent classes of the head, and its logarithms of probabilities.
    fn head(&self, x: &Tensor) -> Result<(usize, Tensor)> {
        let shape = x.shape();
        if !matches!(shape.len(), 1 | 2) || shape[shape.len() - 1] != self.inputs {
            bail!(Shape, OP, "expected an input [n, {0}] or [{0}], got {1:?}", self.inputs, &shape[..]);
        }
        let short = self.cutoffs.first().copied().unwrap_or(self.classes);
        Ok((short, self.head.forward(x)?))
    }

    /// For each cluster its first class, the class behind, and its own logarithms of probabilities.
    fn clusters(&self, x: &Tensor) -> Result<Vec<(usize, usize, Tensor)>> {
        let ends = self.cutoffs.iter().skip(1).chain([&self.classes]);
        let sides = self.cutoffs.iter().zip(ends);
        let log = |[project, score]: &[Linear; 2]| functional::log_softmax(&score.forward(&project.forward(x)?)?, -1);
        self.tail.iter().zip(sides).map(|(own, (&low, &high))| Ok((low, high, log(own)?))).collect()
    }

    /// The logarithm of the probability of each target, `[n]`, and their negated mean, for inputs `[n, in]` and classes
    /// `[n]`, or `[in]` and one class.
    ///
    /// # Errors
    /// `Shape` where both do not fit, `DType` for targets that are no integers; a class out of range is a `Value` error at
    /// the next host synchronisation.
    ///
    /// ```
    /// use calor::{Tensor, nn::AdaptiveLogSoftmaxWithLoss};
    /// let softmax = AdaptiveLogSoftmaxWithLoss::new(8, 20, &[5], ())?;
    /// let (x, target) = (Tensor::ones([2, 8], ())?, Tensor::new([0, 19], ())?);
    /// let (output, loss) = softmax.forward(&x, &target)?;
    /// let same = softmax.log_prob(&x)?.gather(1, &target.unsqueeze(1)?)?.squeeze_dim(1)?;
    /// assert!(output.allclose(&same, calor::Tolerance::default())? && loss.item()? > 0.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(&self, x: &Tensor, target: &Tensor) -> Result<(Tensor, Tensor)> {
        let (xs, ts) = (x.shape(), target.shape());
        match (&ts[..], &xs[..]) {
            ([], [_]) => {}
            ([n], [rows, _]) if n == rows => {}
            ([_], [_, _]) => bail!(Shape, OP, "Input and target should have the same size in the batch dimension."),
            ([_], _) => {
                bail!(Shape, OP, "1D target tensor expects 2D input tensors, but found inputs with size {:?}", xs)
            }
            ([], _) => {
                bail!(Shape, OP, "0D target tensor expects 1D input tensors, but found inputs with size {:?}", xs)
            }
            _ => bail!(Shape, OP, "0D or 1D target tensor expected, multi-target not supported"),
        }
        if !target.dtype().is_int() {
            bail!(DType, OP, "expected targets of an integer dtype, got {}", target.dtype());
        }
        let (short, scores) = self.head(x)?;
        let message = format!("Target values should be in [0, {}]", self.classes - 1);
        let target = checked(OP, target, &[("op_ge", 0.0), ("op_lt", self.classes as f64)], message)?;
        let target = target.to_dtype(DType::I32)?;
        // one place for a target in the head, one in each cluster; those outside are not looked at
        let mut at = target.clamp(0, short as i32 - 1)?;
        let mut own = Vec::with_capacity(self.tail.len());
        for (i, (low, high, log)) in self.clusters(x)?.into_iter().enumerate() {
            let inside = target.ge(low as i32)?.logical_and(&target.lt(high as i32)?)?;
            at = inside.where_((short + i) as i32, &at)?;
            let place = inside.where_(&(&target - low as i32)?, 0)?;
            own.push(inside.where_(&picked(&log, &place)?, 0.0)?);
        }
        let head = functional::log_softmax(&scores, -1)?;
        let output = own.iter().try_fold(picked(&head, &at)?, |sum, own| sum + own)?;
        let loss = output.neg()?.mean()?;
        Ok((output, loss))
    }

    /// The logarithms of the probabilities of all classes, `[n, classes]`, for `[n, in]`; or without the batch.
    ///
    /// ```
    /// use calor::Tensor;
    /// use calor::nn::AdaptiveLogSoftmaxWithLoss;
    /// let softmax = AdaptiveLogSoftmaxWithLoss::new(8, 10, &[3, 6], ())?;
    /// assert_eq!(softmax.log_prob(&Tensor::ones([2, 8], ())?)?.shape()[..], [2, 10]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Shape` for an input of other sizes.
    pub fn log_prob(&self, x: &Tensor) -> Result<Tensor> {
        let (short, scores) = self.head(x)?;
        let head = functional::log_softmax(&scores, -1)?;
        let mut parts = vec![head.narrow(-1, 0, short)?];
        for (i, (_, _, log)) in self.clusters(x)?.into_iter().enumerate() {
            parts.push((log + head.narrow(-1, (short + i) as isize, 1)?)?);
        }
        cat(&parts.iter().collect::<Vec<_>>(), -1)
    }

    /// The class of the largest probability, `[n]`, for `[n, in]`: that of [`log_prob`](Self::log_prob).
    ///
    /// ```
    /// use calor::Tensor;
    /// use calor::nn::AdaptiveLogSoftmaxWithLoss;
    /// let softmax = AdaptiveLogSoftmaxWithLoss::new(8, 10, &[3, 6], ())?;
    /// let x = Tensor::ones([2, 8], ())?;
    /// let all = softmax.log_prob(&x)?.argmax(Some(-1), false)?;
    /// assert_eq!(softmax.predict(&x)?.to_vec::<i32>()?, all.to_vec::<i32>()?);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Shape` for an input of other sizes.
    pub fn predict(&self, x: &Tensor) -> Result<Tensor> {
        let (short, scores) = self.head(x)?;
        // where a frequent class scores most, no class of a cluster can be above it
        let head = scores.argmax(Some(-1), false)?;
        head.lt(short as i32)?.where_(&head, &self.log_prob(x)?.argmax(Some(-1), false)?)
    }
}

/// The quotient as a whole number, as Python's `//` finds it: from what remains.
fn floored(a: f64, b: f64) -> usize {
    ((a - a % b) / b).round() as usize
}

/// The element that `at` names in each row, or in the only one.
fn picked(rows: &Tensor, at: &Tensor) -> Result<Tensor> {
    rows.along(OP, -1, &at.unsqueeze(-1)?, false)?.squeeze_dim(-1)
}
