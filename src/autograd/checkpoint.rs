//! Checkpointing: a part of a model computed again in the backward pass instead of being stored.

use super::Backward;
use crate::error::{Result, bail};
use crate::tensor::grad::{GradFn, Grads, Saved, enable_grad, is_grad_enabled, no_grad};
use crate::tensor::{Device, Tensor, autocast};

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
    if owned.is_empty() {
        bail!(Value, "checkpoint", "needs at least one input");
    }
    let mut states: States = Vec::new();
    for device in owned.iter().map(Tensor::device) {
        if !states.iter().any(|s| s.0.same(device)) {
            states.push((device.clone(), device.generator().state()));
        }
    }
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
        let create = is_grad_enabled();
        let inputs: Vec<Tensor> = saved
            .iter()
            .zip(&wanted)
            .map(|(s, &w)| match create && w {
                true => Ok(passed(&s.get()?)),
                false => s.get()?.detach().requires_grad_(w),
            })
            .collect::<Result<_>>()?;
        let output = {
            let _rewound = Rewound::to(&states);
            let _mode = autocast::restore(precision);
            enable_grad(|| f(&inputs))?
        };
        if !output.requires_grad() {
            return Ok(Grads::from_elem(None, inputs.len()));
        }
        if !create {
            Backward::new().run(&[&output], &[Some(g)])?;
            return Ok(inputs.iter().map(Tensor::grad).collect());
        }
        let stops: Vec<&Tensor> = inputs.iter().zip(&wanted).filter(|i| *i.1).map(|i| i.0).collect();
        let mut found = Backward::new().create_graph(true).until(&output, &stops, g)?.into_iter();
        Ok(wanted.iter().map(|&w| if w { found.next().flatten() } else { None }).collect())
    });
    let output = output.detach();
    output.set_output_of(&GradFn::new("CheckpointFunctionBackward", edges, 1, rule), 0);
    Ok(output)
}

/// The same elements as what an operation of its own gives: where a pass that is recorded can end.
fn passed(t: &Tensor) -> Tensor {
    t.alias(t.layout()).with_grad("view_as", &[t], |_| |g: &Tensor| Ok(Grads::from_iter([Some(g.clone())])))
}

/// Devices with the states of their generators.
type States = Vec<(Device, (u64, u64))>;

/// Generators that were set back, until it is dropped.
struct Rewound(States);

impl Rewound {
    fn to(states: &States) -> Self {
        let now = states.iter().map(|(device, _)| (device.clone(), device.generator().state())).collect();
        states.iter().for_each(|(device, state)| device.generator().set_state(*state));
        Self(now)
    }
}

impl Drop for Rewound {
    fn drop(&mut self) {
        self.0.iter().for_each(|(device, state)| device.generator().set_state(*state));
    }
}
