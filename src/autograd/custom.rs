//! Custom functions: a forward and a backward of one's own.

use crate::error::Result;
use crate::tensor::Tensor;
use crate::tensor::grad::{GradFn, Grads, Saved, is_grad_enabled, no_grad};
use std::sync::{Mutex, PoisonError};

/// What a forward keeps for its backward.
#[derive(Default)]
pub struct Context {
    saved: Mutex<Vec<Saved>>,
}

impl Context {
    /// Keeps tensors; they are checked for in-place writes when they are asked back.
    pub fn save(&self, tensors: &[&Tensor]) {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        saved.extend(tensors.iter().map(|t| Saved::input(t)));
    }

    /// The tensors kept, in order.
    pub fn saved(&self) -> Result<Vec<Tensor>> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner).iter().map(Saved::get).collect()
    }
}

/// A function with a gradient of its own: `torch.autograd.Function`.
pub trait Function: Send + Sync + 'static {
    /// Its name, as printed in `grad_fn`.
    fn name(&self) -> &str;

    /// The outputs; runs without being recorded.
    fn forward(&self, cx: &Context, inputs: &[Tensor]) -> Result<Vec<Tensor>>;

    /// Gradients of the inputs from those of the outputs (`None` is zero).
    fn backward(&self, cx: &Context, gradients: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>>;
}

/// Applies a custom function.
///
/// ```
/// use calor::autograd::{Context, Function, apply};
/// use calor::{Result, Tensor};
///
/// struct Cube;
/// impl Function for Cube {
///     fn name(&self) -> &str {
///         "Cube"
///     }
///     fn forward(&self, cx: &Context, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
///         cx.save(&[&inputs[0]]);
///         Ok(vec![inputs[0].square()?.mul(&inputs[0])?])
///     }
///     fn backward(&self, cx: &Context, gradients: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
///         let x = &cx.saved()?[0];
///         gradients.iter().map(|g| g.as_ref().map(|g| g.mul(&x.square()?.mul(3.0)?)).transpose()).collect()
///     }
/// }
///
/// let x = Tensor::new([2.0f32], ())?.requires_grad_(true)?;
/// apply(Cube, &[&x])?[0].sum()?.backward()?;
/// assert_eq!(x.grad().unwrap().item()?, 12.0);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn apply<F: Function>(function: F, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
    let cx = Context::default();
    let owned: Vec<Tensor> = inputs.iter().map(|t| (*t).clone()).collect();
    let outputs = no_grad(|| function.forward(&cx, &owned))?;
    if !is_grad_enabled() || !inputs.iter().any(|t| t.requires_grad()) {
        return Ok(outputs);
    }
    let name = format!("{}Backward", function.name());
    let edges = inputs.iter().map(|t| t.edge()).collect();
    let count = outputs.len();
    let rule = Box::new(move |g: &[Option<Tensor>]| Ok(Grads::from_vec(function.backward(&cx, g)?)));
    let grad_fn = GradFn::new(name, edges, count, rule);
    let traced = outputs.into_iter().enumerate().map(|(i, t)| {
        // an input given back as it is must not lose its own history
        let t = if owned.iter().any(|o| o.id() == t.id()) { t.detach() } else { t };
        if t.dtype().is_float() {
            t.set_output_of(&grad_fn, i);
        }
        t
    });
    Ok(traced.collect())
}
