//! Gradients checked against differences.

use super::Backward;
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::tensor::Tensor;
use crate::tensor::grad::no_grad;

/// Settings of [`gradcheck`]: step and tolerances, for `f32` or `f64` inputs.
///
/// ```
/// use calor::{DType, Tensor, autograd::{GradCheck, gradcheck}};
/// let settings = GradCheck { fast_mode: true, ..GradCheck::for_dtype(DType::F32) };
/// let x = Tensor::new([1.0f32, 2.0], ())?.requires_grad_(true)?;
/// assert!(gradcheck(|x| x[0].square(), &[&x], Some(settings)).is_ok());
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GradCheck {
    /// Step of the central difference.
    pub eps: f64,
    /// Absolute tolerance.
    pub atol: f64,
    /// Relative tolerance.
    pub rtol: f64,
    /// One direction for each input, across all its elements, instead of every element by itself.
    pub fast_mode: bool,
}

impl GradCheck {
    /// Settings that fit a dtype's precision.
    ///
    /// ```
    /// use calor::{DType, autograd::GradCheck};
    /// assert!(GradCheck::for_dtype(DType::F64).eps < GradCheck::for_dtype(DType::F32).eps);
    /// ```
    pub fn for_dtype(dtype: DType) -> Self {
        match dtype {
            DType::F64 => Self { eps: 1e-6, atol: 1e-5, rtol: 1e-3, fast_mode: false },
            _ => Self { eps: 1e-2, atol: 2e-2, rtol: 2e-2, fast_mode: false },
        }
    }
}

/// What a checked function may return: one tensor, or several.
///
/// ```
/// use calor::{Tensor, autograd::gradcheck};
/// let x = Tensor::new([1.0f32, 2.0], ())?.requires_grad_(true)?;
/// assert!(gradcheck(|x| Ok(vec![x[0].square()?, x[0].sin()?]), &[&x], None).is_ok());
/// # Ok::<(), calor::Error>(())
/// ```
pub trait Outputs {
    /// Its tensors, in order.
    ///
    /// ```
    /// use calor::{Tensor, autograd::Outputs};
    /// assert_eq!(Tensor::ones([2], ())?.tensors().len(), 1);
    /// assert_eq!(vec![Tensor::ones([2], ())?; 3].tensors().len(), 3);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn tensors(self) -> Vec<Tensor>;
}

impl Outputs for Tensor {
    fn tensors(self) -> Vec<Tensor> {
        vec![self]
    }
}

impl Outputs for Vec<Tensor> {
    fn tensors(self) -> Vec<Tensor> {
        self
    }
}

/// Checks the gradients of the sum of each of `f`'s outputs, weighted differently for each element, against central
/// differences for every element of every input that requires a gradient. `Err` names the first that differs.
/// With [`fast_mode`](GradCheck::fast_mode) two evaluations for each input do, whatever its size.
///
/// ```
/// use calor::{Tensor, autograd::gradcheck};
/// let x = Tensor::new([0.3f32, 0.7], ())?.requires_grad_(true)?;
/// gradcheck(|t| t[0].sin(), &[&x], None)?;
/// gradcheck(|t| Ok(vec![t[0].sin()?, t[0].exp()?]), &[&x], None)?;
/// # Ok::<(), calor::Error>(())
/// ```
pub fn gradcheck<O: Outputs>(
    f: impl Fn(&[Tensor]) -> Result<O>,
    inputs: &[&Tensor],
    settings: Option<GradCheck>,
) -> Result<()> {
    let inputs: Vec<Tensor> =
        inputs.iter().map(|t| t.detach().requires_grad_(t.requires_grad())).collect::<Result<_>>()?;
    let wanted: Vec<&Tensor> = inputs.iter().filter(|t| t.requires_grad()).collect();
    let Some(first) = wanted.first() else {
        bail!(Value, "gradcheck", "expects at least one input tensor to require gradient, but none does");
    };
    let s = settings.unwrap_or_else(|| GradCheck::for_dtype(first.dtype()));
    let weighted = |inputs: &[Tensor]| -> Result<Vec<Tensor>> { f(inputs)?.tensors().iter().map(weighted).collect() };
    let outputs = weighted(&inputs)?;
    // for each output, what it gives each input
    let found: Vec<Vec<Option<Tensor>>> = outputs
        .iter()
        .map(|output| match output.requires_grad() {
            true => Backward::new().retain_graph(true).allow_unused(true).grad(&[output], &wanted, &[None]),
            false => Ok(vec![None; wanted.len()]),
        })
        .collect::<Result<_>>()?;
    Tensor::eval_all(&found.iter().flatten().flatten().cloned().collect::<Vec<_>>())?;
    for (position, input) in wanted.iter().enumerate() {
        let values = doubles(&input.detach())?;
        let analytic: Vec<Vec<f64>> = found
            .iter()
            .map(|gradients| gradients[position].as_ref().map_or_else(|| Ok(vec![0.0; values.len()]), doubles))
            .collect::<Result<_>>()?;
        let directions = if s.fast_mode { values.len().min(1) } else { values.len() };
        for i in 0..directions {
            // the direction's element at j: one unit vector after the other, or signs and sizes as if by chance
            let along = |j: usize| match s.fast_mode {
                true => (((j * 7919 + 31 * position) % 17) as f64 + 1.0) / 18.0 * if j % 3 == 1 { -1.0 } else { 1.0 },
                false => f64::from(u8::from(i == j)),
            };
            let at = |delta: f64| -> Result<Vec<f64>> {
                let moved: Vec<f64> = values.iter().enumerate().map(|(j, v)| v + delta * along(j)).collect();
                let t = Tensor::from_slice(&moved, input.shape(), (DType::F64, input.device()));
                // without f64 on the adapter the host rounds
                let t = match t {
                    Ok(t) => t.to_dtype(input.dtype())?,
                    Err(_) => {
                        let moved: Vec<f32> = moved.iter().map(|&v| v as f32).collect();
                        Tensor::from_slice(&moved, input.shape(), input.device())?.to_dtype(input.dtype())?
                    }
                };
                let all: Vec<Tensor> =
                    inputs.iter().map(|x| if x.id() == input.id() { t.clone() } else { x.detach() }).collect();
                let sums = no_grad(|| weighted(&all))?;
                Tensor::eval_all(&sums)?;
                sums.iter().map(Tensor::item).collect()
            };
            let (above, below) = (at(s.eps)?, at(-s.eps)?);
            for (output, (analytic, (above, below))) in analytic.iter().zip(above.iter().zip(&below)).enumerate() {
                let numeric = (above - below) / (2.0 * s.eps);
                let analytic: f64 =
                    analytic.iter().enumerate().map(|(j, g)| if along(j) == 0.0 { 0.0 } else { g * along(j) }).sum();
                let off = (numeric - analytic).abs();
                if off.is_nan() || off > s.atol + s.rtol * numeric.abs() {
                    let place = if s.fast_mode { "in one direction".to_owned() } else { format!("at element {i}") };
                    bail!(
                        Autograd,
                        "gradcheck",
                        "jacobian mismatch for output {output} with respect to input {position} {place}: numerical \
                         {numeric}, analytical {analytic}"
                    );
                }
            }
        }
    }
    Ok(())
}

/// The sum of its elements, each with another weight.
fn weighted(t: &Tensor) -> Result<Tensor> {
    let n = t.numel();
    if n == 1 {
        return t.reshape([]);
    }
    let weights: Vec<f32> = (0..n).map(|i| 0.5 + ((i * 7919) % 13) as f32 / 13.0).collect();
    let w = Tensor::from_slice(&weights, t.shape(), t.device())?.to_dtype(t.dtype())?;
    t.mul(&w)?.sum()
}

/// [`gradcheck`] of the gradients themselves: the second derivative.
///
/// ```
/// use calor::{Tensor, autograd::gradgradcheck};
/// let x = Tensor::new([1.0f32, 2.0], ())?.requires_grad_(true)?;
/// assert!(gradgradcheck(|x| x[0].square()?.mul(&x[0]), &[&x], None).is_ok());
/// # Ok::<(), calor::Error>(())
/// ```
pub fn gradgradcheck(
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[&Tensor],
    settings: Option<GradCheck>,
) -> Result<()> {
    let first = |inputs: &[Tensor]| {
        let leaves: Vec<Tensor> = inputs
            .iter()
            .map(|t| if t.requires_grad() { Ok(t.clone()) } else { t.detach().requires_grad_(t.dtype().is_float()) })
            .collect::<Result<_>>()?;
        crate::tensor::grad::enable_grad(|| {
            let out = f(&leaves)?;
            let wanted: Vec<&Tensor> = leaves.iter().filter(|t| t.requires_grad()).collect();
            let seed = Tensor::ones(out.shape(), (out.dtype(), out.device()))?;
            let found = Backward::new().create_graph(true).allow_unused(true).grad(&[&out], &wanted, &[Some(&seed)])?;
            let sums = found.into_iter().flatten().map(|g| weighted(&g));
            sums.reduce(|a, b| a?.add(&b?)).unwrap_or_else(|| Tensor::zeros([], (out.dtype(), out.device())))
        })
    };
    gradcheck(first, inputs, settings)
}

fn doubles(t: &Tensor) -> Result<Vec<f64>> {
    Ok(match t.dtype() {
        DType::F64 => t.to_vec::<f64>()?,
        _ => t.to_dtype(DType::F32)?.to_vec::<f32>()?.into_iter().map(f64::from).collect(),
    })
}
