//! Connectionist temporal classification.

use super::losses::Reduction;
use super::options::settings;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result, bail};
use crate::gpu::Facts;
use crate::graph::library::{compute, scalar, shader};
use crate::graph::{GROUP, IndexOp, Load, LowerCx, Lowering, Param, Primitive, Prologue, Store, Template};
use crate::no_grad;
use crate::ops::build::Build;
use crate::ops::join::{cat, stack};
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;
use std::sync::Arc;

const OP: &str = "ctc_loss";

/// How long the sequences of a batch are.
///
/// ```
/// use calor::{Tensor, nn::functional::Lengths};
/// assert!(matches!(Lengths::from([2, 3]), Lengths::List(list) if list == [2, 3]));
/// assert!(matches!(Lengths::from(&Tensor::new([2i32, 3], ())?), Lengths::Tensor(_)));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone)]
pub enum Lengths {
    /// Known on the host.
    List(Vec<usize>),
    /// Integers on the device.
    Tensor(Tensor),
}

impl From<&[usize]> for Lengths {
    fn from(list: &[usize]) -> Self {
        Self::List(list.to_vec())
    }
}

impl<const N: usize> From<[usize; N]> for Lengths {
    fn from(list: [usize; N]) -> Self {
        Self::List(list.to_vec())
    }
}

impl From<&Tensor> for Lengths {
    fn from(t: &Tensor) -> Self {
        Self::Tensor(t.clone())
    }
}

settings! {
    /// Options of [`ctc_loss`].
    ///
    /// ```
    /// use calor::nn::functional::CtcOptions;
    /// let options = CtcOptions::default().zero_infinity(true);
    /// assert!(options.zero_infinity && options.blank == 0);
    /// ```
    CtcOptions {
        /// The class that stands for no label.
        blank: usize = 0 => 2usize,
        /// What becomes of the samples' losses; the mean is of losses divided by their numbers of labels.
        reduction: Reduction = Reduction::Mean => Reduction::Sum,
        /// Whether a loss that is infinite, because the input is too short, counts as 0.
        zero_infinity: bool = false => true,
    }
}

/// Path probabilities of `[samples, steps, states]` with whether a state may follow the one before the last, the numbers
/// of steps and of labels: one row of steps more.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Paths {
    reverse: bool,
}

/// Room for the states of two steps in workgroup memory.
fn room(states: usize) -> usize {
    (2 * states).next_power_of_two().max(64)
}

impl Primitive for Paths {
    fn name(&self) -> &str {
        OP
    }

    fn lower(&self, cx: &LowerCx<'_>) -> Result<Lowering> {
        let shape = cx.inputs[0].layout.shape();
        let (samples, steps, states) = (shape[0], shape[1], shape[2]);
        let dtype = cx.output.dtype;
        let ty = compute(dtype);
        let number = |name, input, coords: &[usize]| Load {
            name,
            input,
            coords: coords.to_vec(),
            lanes: None,
            dtype: DType::I32,
        };
        let coords = vec![1, 1, 1];
        Ok(Lowering::Template(Template {
            name: "ctc",
            source: shader!("ctc.wgsl"),
            types: vec![("T", scalar(ty).to_string())],
            consts: vec![("GROUP", GROUP), ("REVERSE", u32::from(self.reverse)), ("ROOM", room(states) as u32)],
            calls: vec![("power", "op_exp", ty), ("logarithm", "op_log", ty)],
            loads: vec![
                Load { name: "load", input: 0, coords: coords.clone(), lanes: None, dtype },
                number("skips", 1, &[1, 1]),
                number("steps_of", 2, &[1]),
                number("labels_of", 3, &[1]),
            ],
            stores: vec![Store { name: "store", coords, lanes: false }],
            params: vec![("samples", samples as u32), ("steps", steps as u32), ("states", states as u32)],
            groups: samples as u32,
            prologue: Prologue::Free,
            work: 64 * (samples * steps * states) as u64,
        }))
    }
}

/// The lengths as `i32[samples]`, none above `most`.
fn lengths(what: &str, lengths: &Lengths, samples: usize, most: usize, like: &Tensor) -> Result<Tensor> {
    let message = format!("expected {what} of at most {most}");
    let t = match lengths {
        Lengths::List(list) => {
            if let Some(n) = list.iter().find(|n| **n > most) {
                bail!(Value, OP, "{message}, but got {n}");
            }
            let list: Vec<i32> = list.iter().map(|&n| n as i32).collect();
            Tensor::from_slice(&list, [list.len()], like.device())?
        }
        Lengths::Tensor(t) => {
            if !t.dtype().is_int() {
                bail!(DType, OP, "{what} must be integral, got {}", t.dtype());
            }
            let t = t.to_dtype(DType::I32)?.reshape([t.numel()])?;
            let mut b = Build::default();
            let n = b.body.input(0);
            let place = b.body.bits(DType::U32, n);
            let limit = b.number(most as isize + 1);
            let fits = b.body.index(IndexOp::Lt, place, limit);
            b.params.push(Param::Fault(Arc::new(Error::new(ErrorKind::Value, OP, message))));
            b.body.guard(fits, n, b.params.len() - 1);
            b.apply(OP, &t.shape(), DType::I32, &[&t])?
        }
    };
    if t.shape()[..] != [samples] {
        bail!(Shape, OP, "{what} must be of size {samples}, the batch's, got {:?}", t.shape());
    }
    Ok(t)
}

/// What the kernels read.
struct Problem {
    /// The class of each state, `[samples, states]`.
    classes: Tensor,
    skips: Tensor,
    steps: Tensor,
    labels: Tensor,
}

impl Problem {
    fn new(x: &Tensor, targets: &Tensor, inputs: &Lengths, outputs: &Lengths, blank: usize) -> Result<Self> {
        let (steps, samples) = (x.size(0)?, x.size(1)?);
        let total = targets.numel();
        let width = match (targets.dim(), outputs) {
            (2, _) => targets.size(1)?,
            (_, Lengths::List(list)) => {
                let sum = list.iter().fold(0usize, |sum, &n| sum.saturating_add(n));
                if sum != total {
                    bail!(Shape, OP, "expected {sum} targets, the sum of their lengths, got {total}");
                }
                list.iter().copied().max().unwrap_or(0)
            }
            _ => total,
        };
        let count = lengths("input_lengths", inputs, samples, steps, x)?;
        let labels = lengths("target_lengths", outputs, samples, width, x)?;
        // more labels than steps have no path, whatever they are
        let most = width.min(steps);
        let at = (DType::I32, x.device());
        let k = Tensor::arange(0, most as i64, 1, at)?.reshape([1, most])?;
        let within = k.lt(&labels.unsqueeze(1)?)?;
        let targets = targets.to_dtype(DType::I32)?;
        let padded = if most == 0 {
            Tensor::zeros([samples, 0], at)?
        } else if targets.dim() == 2 {
            targets.narrow(1, 0, most)?
        } else {
            let before = labels.cumsum(0)?.sub(&labels)?.unsqueeze(1)?;
            targets.take(&within.where_(&before.add(&k)?, 0)?.clamp_max(total as i32 - 1)?)?
        };
        let padded = within.where_(&padded, blank as i32)?.to_dtype(DType::I32)?;
        let none = Tensor::full([samples, most], blank as i32, at)?;
        let both = stack(&[&none, &padded], 2)?.reshape([samples, 2 * most])?;
        let classes = cat(&[&both, &Tensor::full([samples, 1], blank as i32, at)?], 1)?;
        let mut skips = Tensor::zeros([samples, 2 * most + 1], at)?;
        if most > 0 {
            let odd = Tensor::arange(0, 2 * most as i64 - 1, 1, at)?.remainder(2)?.ne(0)?;
            let differ = classes.narrow(1, 2, 2 * most - 1)?.ne(&classes.narrow(1, 0, 2 * most - 1)?)?;
            let able = differ.logical_and(&odd)?.to_dtype(DType::I32)?;
            skips = cat(&[&skips.narrow(1, 0, 2)?, &able], 1)?;
        }
        Ok(Self { classes, skips, steps: count, labels })
    }

    /// Logarithms of the paths' probabilities, `[samples, steps + 1, states]`.
    fn paths(&self, emitted: &Tensor, reverse: bool) -> Result<Tensor> {
        let mut shape = emitted.shape();
        if !fits(emitted.device().facts(), &shape, emitted.dtype()) {
            return self.composed(emitted, reverse);
        }
        shape[1] += 1;
        let inputs = [emitted, &self.skips, &self.steps, &self.labels];
        Tensor::apply(Arc::new(Paths { reverse }), emitted.device(), (&shape, emitted.dtype()), &inputs, &[])
    }

    /// What [`Paths`] computes, by ordinary operations, a step after the other.
    fn composed(&self, emitted: &Tensor, reverse: bool) -> Result<Tensor> {
        let shape = emitted.shape();
        let (samples, steps, states) = (shape[0], shape[1], shape[2]);
        let (steps_of, labels) = (self.steps.unsqueeze(1)?, self.labels.unsqueeze(1)?);
        let k = Tensor::arange(0, states as i64, 1, (DType::I32, emitted.device()))?.unsqueeze(0)?;
        let last = labels.mul(2)?;
        let known = k.le(&last)?;
        // where paths begin, and how a state and the one it comes from by a skip lie
        let (begins, way) = if reverse { (k.ge(&last.sub(1)?)?, -1) } else { (k.lt(2)?, 1) };
        let skips = self.skips.ne(0)?;
        let skips = if reverse { moved(&skips, -2, 0.0)? } else { skips };
        let mut row = Tensor::full([samples, states], NEVER, (emitted.dtype(), emitted.device()))?;
        let mut rows = Vec::with_capacity(steps + 1);
        for t in 0..steps {
            let t = if reverse { steps - 1 - t } else { t };
            let b = moved(&row, way, NEVER)?;
            let c = skips.where_(&moved(&row, 2 * way, NEVER)?, NEVER)?;
            let most = row.maximum(&b)?.maximum(&c)?;
            let sum =
                row.sub(&most)?.exp()?.add(&b.sub(&most)?.exp()?)?.add(&c.sub(&most)?.exp()?)?.log()?.add(&most)?;
            let (first, inside) = if reverse {
                (steps_of.eq(t as i32 + 1)?, steps_of.gt(t as i32)?)
            } else {
                (Tensor::full([1, 1], t == 0, emitted.device())?, steps_of.gt(t as i32)?)
            };
            let sum = first.where_(&begins.where_(0.0, NEVER)?, &sum)?;
            let value = sum.add(&emitted.select(1, t as isize)?)?.clamp_min(NEVER)?;
            row = known.logical_and(&inside)?.where_(&value, NEVER)?.to_dtype(emitted.dtype())?;
            rows.push(row.clone());
        }
        if reverse {
            rows.reverse();
        }
        let all = stack(&rows.iter().collect::<Vec<_>>(), 1)?;
        // where paths end, in their last step
        let (ends, row) = if reverse {
            (k.lt(2)?, row)
        } else {
            let at = steps_of.sub(1)?.clamp_min(0)?.unsqueeze(2)?.expand([samples, 1, states])?;
            (k.ge(&last.sub(1)?)?, all.gather(1, &at)?.squeeze_dim(1)?)
        };
        let whole = known.logical_and(&ends)?.where_(&row, NEVER)?;
        let nothing = labels.eq(0)?.where_(0.0, NEVER)?;
        let total = steps_of.eq(0)?.where_(&nothing, &whole.logsumexp(&[1], true)?.clamp_min(NEVER)?)?;
        let total = labels.le(&steps_of)?.where_(&total, NEVER)?.neg()?.to_dtype(emitted.dtype())?;
        let total = k.eq(0)?.where_(&total, 0.0)?.to_dtype(emitted.dtype())?.unsqueeze(1)?;
        cat(&[&all, &total], 1)
    }
}

/// The logarithm of nothing: infinities are not to be relied upon.
const NEVER: f64 = -1e30;

/// Whether a workgroup's memory and an adapter's loops are enough for `[samples, steps, states]`.
fn fits(facts: &Facts, shape: &[usize], dtype: DType) -> bool {
    let (steps, states) = (shape[1], shape[2]);
    let walked = steps * (states.div_ceil(GROUP as usize) + 1) + states;
    room(states) * dtype.size() <= 16_384 && facts.max_loop_iterations.is_none_or(|most| walked <= most as usize / 2)
}

/// A row `[samples, states]` moved along by `way` states, with `fill` where nothing comes from.
fn moved(row: &Tensor, way: isize, fill: f64) -> Result<Tensor> {
    if way.unsigned_abs() >= row.size(1)? {
        return Tensor::full(row.shape(), fill, (row.dtype(), row.device()));
    }
    row.constant_pad(&[way, -way], fill)
}

/// The losses of samples, `[samples]`, of `x`, `[steps, samples, classes]`.
fn losses(x: &Tensor, p: Problem, zero_infinity: bool) -> Result<Tensor> {
    let (steps, samples, states) = (x.size(0)?, x.size(1)?, p.classes.size(1)?);
    let index = p.classes.unsqueeze(1)?.expand([samples, steps, states])?;
    let (emitted, alpha) = no_grad(|| {
        let emitted = x.permute(&[1, 0, 2])?.gather(2, &index)?;
        let alpha = p.paths(&emitted, false)?;
        Ok::<_, Error>((emitted, alpha))
    })?;
    let total = alpha.narrow(1, steps as isize, 1)?.narrow(2, 0, 1)?.reshape([samples])?;
    let infinite = total.gt(1e29)?;
    let shown = if zero_infinity { 0.0 } else { f64::INFINITY };
    let out = infinite.where_(shown, &total)?.to_dtype(x.dtype())?;
    Ok(out.with_grad(OP, &[x], |r| {
        let x = r.save(x);
        move |g: &Tensor| {
            let x = x.get()?;
            let gx = no_grad(|| {
                let beta = p.paths(&emitted, true)?.narrow(1, 0, steps)?;
                let (each, infinite) = (total.reshape([samples, 1, 1])?, infinite.reshape([samples, 1, 1])?);
                // both ends contain what is emitted at the step itself
                let path = alpha.narrow(1, 0, steps)?.add(&beta)?.add(&each)?.sub(&emitted)?;
                let outside = infinite.logical_or(&path.lt(-1e28)?)?;
                let share = outside.where_(0.0, &path)?.exp()?;
                let share = outside.where_(0.0, &share)?.to_dtype(x.dtype())?;
                let zeros = Tensor::zeros([samples, steps, x.size(2)?], (x.dtype(), x.device()))?;
                let posterior = zeros.scatter_add(2, &index, &share)?;
                let gx = x.permute(&[1, 0, 2])?.exp()?.sub(&posterior)?.mul(&g.reshape([samples, 1, 1])?)?;
                let k = Tensor::arange(0, steps as i64, 1, (DType::I32, x.device()))?.reshape([1, steps, 1])?;
                let lost = if zero_infinity { 0.0 } else { f64::NAN };
                let gx = infinite.where_(lost, &gx)?;
                let walked = k.lt(&p.steps.reshape([samples, 1, 1])?)?;
                walked.where_(&gx, 0.0)?.to_dtype(x.dtype())?.permute(&[1, 0, 2])
            })?;
            let gx = gx.with_grad("ctc_loss_backward", &[&x, g], |_| {
                |_: &Tensor| bail!(Autograd, OP, "its gradient is not differentiable")
            });
            Ok(Grads::from_iter([Some(gx)]))
        }
    }))
}

/// The negative logarithm of the probability that `log_probs`, `[steps, samples, classes]` or `[steps, classes]`, spell
/// the targets, over all ways to place blanks between labels and to repeat them (Graves et al. 2006). Targets are
/// `[samples, labels]`, padded, or all one after the other; lengths that stand in a list spare memory in the latter case.
///
/// The gradient is `e^x - p(class)`, where `p` is the class's posterior probability: PyTorch's, which is exact where
/// `log_probs` come from a `log_softmax`.
///
/// ```
/// use calor::{Tensor, nn::functional::{self as f, CtcOptions}};
/// let x = Tensor::full([2, 1, 2], 0.5f32.ln(), ())?;
/// let target = Tensor::new([[1i32]], ())?;
/// // of four ways, all but two blanks spell it
/// let loss = f::ctc_loss(&x, &target, [2], [1], CtcOptions::default())?;
/// assert!((loss.item()? + 0.75f64.ln()).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` where a length exceeds what it belongs to, on reading where lengths are tensors.
pub fn ctc_loss(
    log_probs: &Tensor,
    targets: &Tensor,
    input_lengths: impl Into<Lengths>,
    target_lengths: impl Into<Lengths>,
    options: CtcOptions,
) -> Result<Tensor> {
    let (inputs, outputs) = (input_lengths.into(), target_lengths.into());
    let dtype = log_probs.dtype();
    if !dtype.is_float() {
        bail!(DType, OP, "expected log_probs of a floating point dtype, got {dtype}");
    }
    if !targets.dtype().is_int() {
        bail!(DType, OP, "targets must be integral, got {}", targets.dtype());
    }
    let batched = log_probs.dim() == 3;
    let x = match log_probs.dim() {
        3 => log_probs.clone(),
        2 => log_probs.unsqueeze(1)?,
        n => bail!(Dim, OP, "expected log_probs of 2 or 3 dimensions, got {n}"),
    };
    let (samples, classes) = (x.size(1)?, x.size(2)?);
    if options.blank >= classes {
        bail!(Value, OP, "blank must be in label range, got {} of {classes}", options.blank);
    }
    if !matches!(targets.dim(), 1 | 2) || targets.dim() == 2 && targets.size(0)? != samples {
        bail!(Shape, OP, "expected targets [{samples}, labels] or all in one dimension, got {:?}", targets.shape());
    }
    if samples == 0 || x.size(0)? == 0 {
        bail!(Shape, OP, "expected steps and samples, got log_probs of shape {:?}", log_probs.shape());
    }
    let x = x.to_dtype(dtype.compute())?;
    let p = no_grad(|| Problem::new(&x, targets, &inputs, &outputs, options.blank))?;
    let labels = p.labels.clamp_min(1)?.to_dtype(x.dtype())?;
    let loss = losses(&x, p, options.zero_infinity)?;
    let loss = match options.reduction {
        Reduction::None if batched => loss,
        Reduction::None => loss.squeeze_dim(0)?,
        Reduction::Mean => loss.div(&labels)?.mean()?,
        Reduction::Sum => loss.sum()?,
    };
    loss.to_dtype(dtype)
}
