//! Checkpointing: a part of a model computed again in the backward pass instead of being stored.

use super::Backward;
use crate::error::{Result, bail};
use crate::tensor::Tensor;
use crate::tensor::autocast;
use crate::tensor::grad::{GradFn, Grads, Saved, enable_grad, is_grad_enabled, no_grad};

/// Runs `f` without keeping what it computes on the way; the backward pass runs it again.
///
/// Random numbers that `f` draws are the same both times.
///
/// ```
/// use calor::{Tensor, autograd::checkpoint};
/// let x = Tensor::new([0.5f32], ())?.requires_grad_(true)?;
/// let y = checkpoint(|inputs| inputs[0].exp()?.sin(), &[&x])?;
/// y.sum()?.backward()?;
/// let want = 0.5f64.exp().cos() * 0.5f64.exp();
/// assert!((x.grad().unwrap().item()? - want).abs() < 1e-5);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn checkpoint<F>(f: F, inputs: &[&Tensor]) -> Result<Tensor>
where
    F: Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
{
    let owned: Vec<Tensor> = inputs.iter().map(|t| (*t).clone()).collect();
    let Some(first) = owned.first() else {
        bail!(Value, "checkpoint", "needs at least one input");
    };
    let device = first.device().clone();
    let state = device.generator().state();
    let precision = autocast::autocast_dtype();
    let output = no_grad(|| f(&owned))?;
    if !is_grad_enabled() || !output.dtype().is_float() {
        return Ok(output);
    }
    let edges = inputs.iter().map(|t| t.edge()).collect();
    let saved: Vec<Saved> = inputs.iter().map(|t| Saved::input(t)).collect();
    let wanted: Vec<bool> = inputs.iter().map(|t| t.requires_grad()).collect();
    let rule = Box::new(move |g: &[Option<Tensor>]| {
        let Some(Some(g)) = g.first() else { return Ok(Grads::new()) };
        let after = device.generator().state();
        device.generator().set_state(state);
        let again = (|| -> Result<(Vec<Tensor>, Tensor)> {
            let inputs: Vec<Tensor> =
                saved.iter().zip(&wanted).map(|(s, &w)| s.get()?.detach().requires_grad_(w)).collect::<Result<_>>()?;
            let _mode = autocast::restore(precision);
            let output = enable_grad(|| f(&inputs))?;
            Ok((inputs, output))
        })();
        device.generator().set_state(after);
        let (inputs, output) = again?;
        if output.requires_grad() {
            Backward::new().run(&[&output], &[Some(g)])?;
        }
        Ok(inputs.iter().map(Tensor::grad).collect())
    });
    let output = output.detach();
    output.set_output_of(&GradFn::new("CheckpointFunctionBackward", edges, 1, rule), 0);
    Ok(output)
}
