//! Gradients checked against differences.

use super::Backward;
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::tensor::Tensor;
use crate::tensor::grad::no_grad;

/// Settings of [`gradcheck`]: step and tolerances, for `f32` or `f64` inputs.
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
    pub fn for_dtype(dtype: DType) -> Self {
        match dtype {
            DType::F64 => Self { eps: 1e-6, atol: 1e-5, rtol: 1e-3, fast_mode: false },
            _ => Self { eps: 1e-2, atol: 2e-2, rtol: 2e-2, fast_mode: false },
        }
    }
}

/// Checks the gradients of the sum of `f`'s output, weighted differently for each element, against central
/// differences for every element of every input that requires a gradient. `Err` names the first that differs.
/// With [`fast_mode`](GradCheck::fast_mode) two evaluations for each input do, whatever its size.
///
/// ```
/// use calor::{Tensor, autograd::gradcheck};
/// let x = Tensor::new([0.3f32, 0.7], ())?.requires_grad_(true)?;
/// gradcheck(|t| t[0].sin(), &[&x], None)?;
/// # Ok::<(), calor::Error>(())
/// ```
pub fn gradcheck(
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[&Tensor],
    settings: Option<GradCheck>,
) -> Result<()> {
    let inputs: Vec<Tensor> =
        inputs.iter().map(|t| t.detach().requires_grad_(t.requires_grad())).collect::<Result<_>>()?;
    let Some(first) = inputs.iter().find(|t| t.requires_grad()) else {
        bail!(Value, "gradcheck", "expects at least one input tensor to require gradient, but none does");
    };
    let s = settings.unwrap_or_else(|| GradCheck::for_dtype(first.dtype()));
    let weighted = |t: &Tensor| {
        let n = t.numel();
        let weights: Vec<f32> = (0..n).map(|i| 0.5 + ((i * 7919) % 13) as f32 / 13.0).collect();
        let w = Tensor::from_slice(&weights, t.shape(), t.device())?.to_dtype(t.dtype())?;
        t.mul(&w)?.sum()
    };
    let output = weighted(&f(&inputs)?)?;
    let wanted: Vec<&Tensor> = inputs.iter().filter(|t| t.requires_grad()).collect();
    let found = Backward::new().allow_unused(true).grad(&[&output], &wanted, &[None])?;
    for (position, (input, gradient)) in inputs.iter().filter(|t| t.requires_grad()).zip(&found).enumerate() {
        let values = doubles(&input.detach())?;
        let analytic = match gradient {
            Some(g) => doubles(g)?,
            None => vec![0.0; values.len()],
        };
        let directions = if s.fast_mode { values.len().min(1) } else { values.len() };
        for i in 0..directions {
            // the direction's element at j: one unit vector after the other, or signs and sizes as if by chance
            let along = |j: usize| match s.fast_mode {
                true => (((j * 7919 + 31 * position) % 17) as f64 + 1.0) / 18.0 * if j % 3 == 1 { -1.0 } else { 1.0 },
                false => f64::from(u8::from(i == j)),
            };
            let at = |delta: f64| -> Result<f64> {
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
                no_grad(|| weighted(&f(&all)?))?.item()
            };
            let numeric = (at(s.eps)? - at(-s.eps)?) / (2.0 * s.eps);
            let analytic: f64 =
                analytic.iter().enumerate().map(|(j, g)| if along(j) == 0.0 { 0.0 } else { g * along(j) }).sum();
            let off = (numeric - analytic).abs();
            if off.is_nan() || off > s.atol + s.rtol * numeric.abs() {
                let place = if s.fast_mode { "in one direction".to_owned() } else { format!("at element {i}") };
                bail!(
                    Autograd,
                    "gradcheck",
                    "jacobian mismatch for input {position} {place}: numerical {numeric}, analytical {analytic}"
                );
            }
        }
    }
    Ok(())
}

/// [`gradcheck`] of the gradients themselves: the second derivative.
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
            let mut sum = Tensor::zeros([], (out.dtype(), out.device()))?;
            for g in found.into_iter().flatten() {
                sum = sum.add(&g.square()?.sum()?)?;
            }
            Ok(sum)
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
