//! Checkpointing: a part of a model computed again in the backward pass instead of being stored.

use super::Backward;
use crate::error::{Result, bail};
use crate::tensor::grad::{Edge, GradFn, Grads, Saved, enable_grad, is_grad_enabled};
use crate::tensor::{Device, Tensor, autocast};
use std::collections::HashSet;

/// Runs `f` without keeping what it computes on the way; the backward pass runs it again.
///
/// What `f` captures gets its gradient as the inputs do. Random numbers that `f` draws are the same both times.
///
/// ```
/// use calor::{Tensor, autograd::checkpoint};
/// let (x, w) = (Tensor::new([0.5f32], ())?, Tensor::new([3.0f32], ())?.requires_grad_(true)?);
/// let captured = w.clone();
/// let y = checkpoint(move |inputs| inputs[0].mul(&captured)?.exp(), &[&x])?;
/// y.sum()?.backward()?;
/// assert!((w.grad().unwrap().item()? - 0.5 * 1.5f64.exp()).abs() < 1e-5);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` without inputs, and those of `f`. The backward pass fails with `Autograd` where `f` no longer reaches what it
/// reached at first.
pub fn checkpoint<F>(f: F, inputs: &[&Tensor]) -> Result<Tensor>
where
    F: Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
{
    let owned: Vec<Tensor> = inputs.iter().map(|t| (*t).clone()).collect();
    if owned.is_empty() {
        bail!(Value, "checkpoint", "needs at least one input");
    }
    if !is_grad_enabled() {
        return f(&owned);
    }
    let mut states: States = Vec::new();
    for device in owned.iter().map(Tensor::device) {
        if !states.iter().any(|s| s.0.same(device)) {
            states.push((device.clone(), device.generator().state()));
        }
    }
    let precision = autocast::autocast_dtype();
    // recorded to see what it leads to: what the record keeps is dropped below
    let born = Born::now();
    let recorded = autocast::own_casts(|| f(&owned))?;
    let edges = born.before(&recorded);
    if edges.is_empty() {
        return Ok(recorded);
    }
    let output = recorded.detach();
    drop(recorded);
    let saved: Vec<Saved> = inputs.iter().map(|t| Saved::input(t)).collect();
    let ends = edges.clone();
    let rule = Box::new(move |g: &[Option<Tensor>]| {
        let Some(Some(g)) = g.first() else { return Ok(Grads::new()) };
        let create = is_grad_enabled();
        let inputs: Vec<Tensor> = saved.iter().map(Saved::get).collect::<Result<_>>()?;
        let output = {
            let _rewound = Rewound::to(&states);
            let _mode = autocast::restore(precision);
            enable_grad(|| autocast::own_casts(|| f(&inputs)))?
        };
        let met = born.before(&output);
        let places: HashSet<Place> = met.iter().map(place).collect();
        let frozen = |edge: &Edge| matches!(edge, Edge::Leaf(leaf) if !leaf.requires_grad());
        if ends.iter().any(|edge| !frozen(edge) && !places.contains(&place(edge))) {
            bail!(
                Autograd,
                "checkpoint",
                "the function did not reach the tensors again that it reached in the forward pass: it must do the same \
                 both times"
            );
        }
        if met.is_empty() {
            return Ok(Grads::from_elem(None, ends.len()));
        }
        // what was unfrozen since is no part of the outer graph
        let stops: Vec<Edge> = ends.iter().cloned().chain(met).collect();
        let mut found = Backward::new().create_graph(create).until(&output, &stops, g)?;
        found.truncate(ends.len());
        Ok(Grads::from_vec(found))
    });
    let edges = edges.into_iter().map(Some).collect();
    output.set_output_of(&GradFn::new("CheckpointFunctionBackward", edges, 1, rule), 0);
    Ok(output)
}

/// A time: the first numbers of operations and of tensors after it.
struct Born {
    operation: u64,
    tensor: u64,
}

impl Born {
    fn now() -> Self {
        Self { operation: GradFn::next(), tensor: Tensor::next_id() }
    }

    /// Where the history of a tensor leads out of what was made since, each place once.
    fn before(&self, output: &Tensor) -> Vec<Edge> {
        let (mut out, mut seen) = (Vec::new(), HashSet::new());
        let mut stack: Vec<Edge> = output.edge().into_iter().collect();
        while let Some(edge) = stack.pop() {
            match &edge {
                Edge::Fn(f, _) if f.sequence >= self.operation => {
                    if seen.insert((false, f.sequence, usize::MAX)) {
                        stack.extend(f.edges().iter().flatten().cloned());
                    }
                }
                // nobody else has it
                Edge::Leaf(leaf) if leaf.id() >= self.tensor => {}
                _ => {
                    if seen.insert(place(&edge)) {
                        out.push(edge);
                    }
                }
            }
        }
        out
    }
}

/// Whether it is a leaf, its number, and which output it is.
type Place = (bool, u64, usize);

fn place(edge: &Edge) -> Place {
    match edge {
        Edge::Fn(f, output) => (false, f.sequence, *output),
        Edge::Leaf(leaf) => (true, leaf.id(), 0),
    }
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
