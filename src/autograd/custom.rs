//! Custom functions: a forward and a backward of one's own.

use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result, bail};
use crate::tensor::grad::{GradFn, Saved, is_grad_enabled, no_grad};
use crate::tensor::{Device, Tensor};
use std::sync::{Arc, Mutex, PoisonError};

/// What a forward keeps for its backward.
///
/// ```
/// use calor::{Tensor, autograd::Context};
/// let cx = Context::default();
/// cx.save(&[&Tensor::new([3.0f32], ())?]);
/// assert_eq!(cx.saved()?[0].item()?, 3.0);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Default)]
pub struct Context {
    /// What is kept, with the numbers of the tensors.
    saved: Mutex<Vec<(u64, Saved)>>,
}

impl Context {
    /// Keeps tensors; they are checked for in-place writes when they are asked back.
    ///
    /// ```
    /// use calor::{Tensor, autograd::Context};
    /// let (cx, x) = (Context::default(), Tensor::new([3.0f32], ())?);
    /// cx.save(&[&x, &x]);
    /// assert_eq!(cx.saved()?.len(), 2);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn save(&self, tensors: &[&Tensor]) {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        saved.extend(tensors.iter().map(|t| (t.id(), Saved::input(t))));
    }

    /// The tensors kept, in order.
    ///
    /// ```
    /// use calor::{Tensor, autograd::Context};
    /// let (cx, x) = (Context::default(), Tensor::new([3.0f32], ())?);
    /// cx.save(&[&x]);
    /// x.add_(1.0)?;
    /// assert!(cx.saved().is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn saved(&self) -> Result<Vec<Tensor>> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|s| s.1.get()).collect()
    }

    /// Gives what was kept of an output, made before anything was recorded, the history that the output has now.
    fn settle(&self, output: u64, grad_fn: &Arc<GradFn>, number: usize) {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        saved.iter_mut().filter(|s| s.0 == output).for_each(|s| s.1.made_by(grad_fn, number));
    }
}

/// A function with a gradient of its own: `torch.autograd.Function`.
///
/// ```
/// use calor::{Result, Tensor, autograd::{Context, Function, apply}};
/// /// Its input, whose gradient is turned round.
/// struct Reverse;
/// impl Function for Reverse {
///     fn name(&self) -> &str {
///         "Reverse"
///     }
///     fn forward(&self, _: &Context, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
///         Ok(vec![(&inputs[0] * 1.0)?])
///     }
///     fn backward(&self, _: &Context, gradients: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
///         gradients.iter().map(|g| g.as_ref().map(Tensor::neg).transpose()).collect()
///     }
/// }
/// let x = Tensor::new([3.0f32], ())?.requires_grad_(true)?;
/// apply(Reverse, &[&x])?[0].sum()?.backward()?;
/// assert_eq!(x.grad().unwrap().item()?, -1.0);
/// # Ok::<(), calor::Error>(())
/// ```
pub trait Function: Send + Sync + 'static {
    /// Its name, as printed in `grad_fn`.
    ///
    /// ```
    /// # use calor::{Result, Tensor, autograd::{Context, Function, apply}};
    /// struct Double;
    /// impl Function for Double {
    ///     fn name(&self) -> &str {
    ///         "Double"
    ///     }
    ///     fn forward(&self, _: &Context, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    ///         Ok(vec![(&inputs[0] * 2.0)?])
    ///     }
    ///     fn backward(&self, _: &Context, gradients: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
    ///         gradients.iter().map(|g| g.as_ref().map(|g| g * 2.0).transpose()).collect()
    ///     }
    /// }
    /// let x = Tensor::new([3.0f32], ())?.requires_grad_(true)?;
    /// assert!(apply(Double, &[&x])?[0].grad_fn().unwrap().name().contains(Double.name()));
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn name(&self) -> &str;

    /// The outputs; runs without being recorded.
    ///
    /// ```
    /// # use calor::{Result, Tensor, autograd::{Context, Function, apply}};
    /// struct Double;
    /// impl Function for Double {
    ///     fn name(&self) -> &str {
    ///         "Double"
    ///     }
    ///     fn forward(&self, _: &Context, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    ///         Ok(vec![(&inputs[0] * 2.0)?])
    ///     }
    ///     fn backward(&self, _: &Context, gradients: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
    ///         gradients.iter().map(|g| g.as_ref().map(|g| g * 2.0).transpose()).collect()
    ///     }
    /// }
    /// assert_eq!(Double.forward(&Context::default(), &[Tensor::new([3.0f32], ())?])?[0].item()?, 6.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn forward(&self, cx: &Context, inputs: &[Tensor]) -> Result<Vec<Tensor>>;

    /// Gradients of the inputs from those of the outputs (`None` is zero).
    ///
    /// ```
    /// # use calor::{Result, Tensor, autograd::{Context, Function, apply}};
    /// struct Double;
    /// impl Function for Double {
    ///     fn name(&self) -> &str {
    ///         "Double"
    ///     }
    ///     fn forward(&self, _: &Context, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    ///         Ok(vec![(&inputs[0] * 2.0)?])
    ///     }
    ///     fn backward(&self, _: &Context, gradients: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
    ///         gradients.iter().map(|g| g.as_ref().map(|g| g * 2.0).transpose()).collect()
    ///     }
    /// }
    /// let x = Tensor::new([3.0f32], ())?.requires_grad_(true)?;
    /// apply(Double, &[&x])?[0].sum()?.backward()?;
    /// assert_eq!(x.grad().unwrap().item()?, 2.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
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
    let cx = Arc::new(Context::default());
    let owned: Vec<Tensor> = inputs.iter().map(|t| (*t).clone()).collect();
    let outputs = no_grad(|| function.forward(&cx, &owned))?;
    if !is_grad_enabled() || !inputs.iter().any(|t| t.requires_grad()) {
        return Ok(outputs);
    }
    let name = format!("{}Backward", function.name());
    let edges = inputs.iter().map(|t| t.edge()).collect();
    let count = outputs.len();
    let like: Vec<_> =
        inputs.iter().map(|t| t.requires_grad().then(|| (t.shape(), t.dtype(), t.device().clone()))).collect();
    let own = cx.clone();
    let rule = Box::new(move |g: &[Option<Tensor>]| {
        let mut gradients = function.backward(&own, g)?;
        // as in PyTorch, more of them are no harm where there is nothing in them
        if gradients.iter().skip(like.len()).all(Option::is_none) {
            gradients.truncate(like.len());
        }
        if gradients.len() != like.len() {
            bail!(
                Autograd,
                "backward",
                "function {}Backward returned an incorrect number of gradients (expected {}, got {})",
                function.name(),
                like.len(),
                gradients.len()
            );
        }
        let fitted = gradients.into_iter().zip(&like).enumerate().map(|(i, both)| match both {
            (Some(g), Some((shape, dtype, device))) => {
                fitted(&g, i, (shape, *dtype, device), function.name()).map(Some)
            }
            _ => Ok(None),
        });
        fitted.collect()
    });
    let grad_fn = GradFn::new(name, edges, count, rule);
    let traced = outputs.into_iter().enumerate().map(|(i, t)| {
        // an input given back as it is must not lose its own history
        let t = if owned.iter().any(|o| o.id() == t.id()) { t.detach() } else { t };
        if t.dtype().is_float() {
            t.set_output_of(&grad_fn, i);
            cx.settle(t.id(), &grad_fn, i);
        }
        t
    });
    Ok(traced.collect())
}

/// A gradient as input `i`, which is like this, takes it: summed where the input was broadcast, in its dtype.
fn fitted(g: &Tensor, i: usize, (shape, dtype, device): (&[usize], DType, &Device), name: &str) -> Result<Tensor> {
    if !g.device().same(device) {
        bail!(Value, "backward", "function {name}Backward returned a gradient on another device at index {i}");
    }
    g.fit(shape, dtype).map_err(|e| match e.kind() {
        ErrorKind::Shape => Error::new(
            ErrorKind::Shape,
            "backward",
            format!(
                "function {name}Backward returned an invalid gradient at index {i} - got {:?} but expected shape \
                 compatible with {shape:?}",
                &g.shape()[..]
            ),
        ),
        _ => e,
    })
}
