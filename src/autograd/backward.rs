//! The walk over the backward graph, from results to leaves.

use crate::error::{Error, ErrorKind, Result, bail};
use crate::layout::Layout;
use crate::ops::parts::gathered;
use crate::shape::Dims;
use crate::tensor::Tensor;
use crate::tensor::autocast::{autocast_off, forget_casts};
use crate::tensor::grad::{Edge, GradFn, SumRule, is_anomaly_enabled, set_grad_enabled};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Settings of a backward pass.
///
/// ```
/// use calor::{Tensor, autograd::Backward};
/// let x = Tensor::new([3.0f32], ())?.requires_grad_(true)?;
/// let y = (&x * &x)?;
/// Backward::new().retain_graph(true).run(&[&y], &[None])?;
/// Backward::new().run(&[&y], &[None])?;
/// assert_eq!(x.grad().unwrap().item()?, 12.0);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Backward {
    retain_graph: Option<bool>,
    create_graph: bool,
    allow_unused: bool,
}

impl Backward {
    /// PyTorch's defaults: the graph is freed, gradients have no history.
    ///
    /// ```
    /// use calor::{Tensor, autograd::Backward};
    /// let x = Tensor::new([3.0f32], ())?.requires_grad_(true)?;
    /// Backward::new().run(&[&x.square()?], &[None])?;
    /// assert_eq!(x.grad().unwrap().item()?, 6.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps saved values, so that the same graph can be walked again.
    ///
    /// ```
    /// use calor::{Tensor, autograd::Backward};
    /// let x = Tensor::new([3.0f32], ())?.requires_grad_(true)?;
    /// let y = x.square()?;
    /// Backward::new().run(&[&y], &[None])?;
    /// assert!(Backward::new().run(&[&y], &[None]).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn retain_graph(mut self, on: bool) -> Self {
        self.retain_graph = Some(on);
        self
    }

    /// Records the pass itself, so that gradients can be differentiated; the graph is kept then.
    ///
    /// ```
    /// use calor::{Tensor, autograd::Backward};
    /// let x = Tensor::new([3.0f32], ())?.requires_grad_(true)?;
    /// let first = Backward::new().create_graph(true).grad(&[&x.square()?], &[&x], &[None])?.remove(0).unwrap();
    /// let second = Backward::new().grad(&[&first], &[&x], &[None])?.remove(0).unwrap();
    /// assert_eq!(second.item()?, 2.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn create_graph(mut self, on: bool) -> Self {
        self.create_graph = on;
        self
    }

    /// Lets [`Backward::grad`] give `None` for an input that the outputs do not depend on.
    ///
    /// ```
    /// use calor::{Tensor, autograd::Backward};
    /// let [x, y] = [1.0f32, 2.0].map(|v| Tensor::new([v], ()).and_then(|t| t.requires_grad_(true)));
    /// let (x, y) = (x?, y?);
    /// assert!(Backward::new().allow_unused(true).grad(&[&x.square()?], &[&y], &[None])?[0].is_none());
    /// assert!(Backward::new().grad(&[&x.square()?], &[&y], &[None]).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn allow_unused(mut self, on: bool) -> Self {
        self.allow_unused = on;
        self
    }

    /// Adds the gradients of `outputs` to those of all leaves; a gradient may be left out for scalars.
    ///
    /// ```
    /// use calor::{Tensor, autograd::Backward};
    /// let x = Tensor::new([3.0f32, 4.0], ())?.requires_grad_(true)?;
    /// let weights = Tensor::new([1.0f32, 10.0], ())?;
    /// Backward::new().run(&[&x.square()?], &[Some(&weights)])?;
    /// assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [6.0, 80.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn run(self, outputs: &[&Tensor], gradients: &[Option<&Tensor>]) -> Result<()> {
        let seeds = seeds("backward", outputs, gradients)?;
        self.walk(seeds, Sinks { accumulates: true, ..Sinks::default() }, None)?;
        Ok(())
    }

    /// The gradients of `outputs` for `inputs`; leaves accumulate nothing.
    ///
    /// ```
    /// use calor::{Tensor, autograd::Backward};
    /// let x = Tensor::new([3.0f32], ())?.requires_grad_(true)?;
    /// let gradients = Backward::new().grad(&[&x.square()?], &[&x], &[None])?;
    /// assert_eq!(gradients[0].as_ref().unwrap().item()?, 6.0);
    /// assert!(x.grad().is_none());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn grad(
        self,
        outputs: &[&Tensor],
        inputs: &[&Tensor],
        gradients: &[Option<&Tensor>],
    ) -> Result<Vec<Option<Tensor>>> {
        for input in inputs {
            if !input.requires_grad() {
                bail!(Autograd, "grad", "one of the differentiated tensors does not require grad");
            }
        }
        let seeds = seeds("grad", outputs, gradients)?;
        let needed = needed(&seeds, inputs);
        let edges: Vec<Edge> = inputs.iter().filter_map(|t| t.edge()).collect();
        let found = self.walk(seeds, Sinks::new(&edges), Some(needed))?;
        if !self.allow_unused && found.iter().any(Option::is_none) {
            bail!(
                Autograd,
                "grad",
                "one of the differentiated tensors appears to not have been used in the graph. Set allow_unused if \
                 this is the desired behavior"
            );
        }
        Ok(found)
    }

    /// The gradients of `output` that arrive at `edges`, behind which nothing runs: not even hooks, which the pass that goes
    /// on from there calls.
    pub(super) fn until(self, output: &Tensor, edges: &[Edge], gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let seeds = seeds("backward", &[output], &[Some(gradient)])?;
        let sinks = Sinks::new(edges);
        let ends = sinks.functions.keys().map(|key| key.0).collect();
        self.walk(seeds, Sinks { passes_on: true, ends, ..sinks }, None)
    }

    fn walk(
        self,
        seeds: Vec<(Edge, Tensor)>,
        mut sinks: Sinks,
        needed: Option<HashMap<u64, bool>>,
    ) -> Result<Vec<Option<Tensor>>> {
        let _mode = set_grad_enabled(self.create_graph);
        let _off = autocast_off();
        forget_casts();
        let keep = self.retain_graph.unwrap_or(self.create_graph);
        // operations by age, youngest first: an operation runs when all its readers have
        let mut ready: BTreeMap<u64, (Arc<GradFn>, Vec<Sum>)> = BTreeMap::new();
        let give =
            |ready: &mut BTreeMap<u64, (Arc<GradFn>, Vec<Sum>)>, sinks: &mut Sinks, edge: &Edge, gradient| match edge {
                Edge::Leaf(leaf) => sinks.leaf(leaf, gradient),
                Edge::Fn(function, output) => {
                    if needed.as_ref().is_some_and(|n| !n.contains_key(&function.sequence)) {
                        return Ok(());
                    }
                    let entry = ready
                        .entry(function.sequence)
                        .or_insert_with(|| (function.clone(), vec![Sum::default(); function.outputs()]));
                    entry.1[*output].add(gradient, function.sum_rule())
                }
            };
        for (edge, gradient) in seeds {
            give(&mut ready, &mut sinks, &edge, Given::Whole(gradient))?;
        }
        while let Some((_, (function, sums))) = ready.pop_last() {
            let mut gradients = Vec::with_capacity(sums.len());
            let ends = sinks.ends.contains(&function.sequence);
            for (output, sum) in sums.into_iter().enumerate() {
                let mut gradient = sum.finish()?;
                if !ends {
                    gradient = gradient.map(|gradient| function.notify(output, gradient)).transpose()?;
                }
                if let Some(gradient) = &gradient {
                    sinks.output(&function, output, gradient);
                }
                gradients.push(gradient);
            }
            if ends || needed.as_ref().is_some_and(|needed| needed.get(&function.sequence) == Some(&false)) {
                continue;
            }
            // parts of one tensor are put together when all are there
            if let (Some(parts), [Some(edge)]) = (function.parts(), function.edges()) {
                if is_anomaly_enabled() {
                    check(&function, &gradients)?;
                }
                for (gradient, place) in gradients.into_iter().zip(&parts.places) {
                    if let Some(gradient) = gradient {
                        let part = Given::Part(gradient, parts.shape.clone(), place.clone());
                        give(&mut ready, &mut sinks, edge, part)?;
                    }
                }
                continue;
            }
            let results = function.backward(&gradients).map_err(|e| e.context(format!("in {}", function.name())))?;
            if is_anomaly_enabled() {
                check(&function, &results)?;
            }
            for (edge, gradient) in function.edges().iter().zip(results) {
                if let (Some(edge), Some(gradient)) = (edge, gradient) {
                    give(&mut ready, &mut sinks, edge, Given::Whole(gradient))?;
                }
            }
            if !keep {
                function.free();
            }
        }
        sinks.finish()
    }
}

/// What is added to a gradient.
enum Given {
    Whole(Tensor),
    /// That of a part of a tensor of this shape, by its place.
    Part(Tensor, Dims, Layout),
}

/// The gradients of one tensor, so far.
#[derive(Clone, Default)]
struct Sum {
    whole: Option<Tensor>,
    shape: Dims,
    parts: Vec<(Tensor, Layout)>,
    /// Which of the parts has a place: what is seen often is summed at once.
    places: HashMap<Layout, usize>,
}

impl Sum {
    fn add(&mut self, given: Given, sum_of: SumRule) -> Result<()> {
        match given {
            Given::Whole(gradient) => {
                self.whole = Some(match self.whole.take() {
                    Some(sum) => sum_of(&sum, &gradient)?,
                    None => gradient,
                });
            }
            Given::Part(gradient, shape, place) => {
                self.shape = shape;
                if let Some((sum, _)) = self.places.get(&place).and_then(|&i| self.parts.get_mut(i)) {
                    *sum = sum.add(&gradient)?;
                    return Ok(());
                }
                self.places.insert(place.clone(), self.parts.len());
                self.parts.push((gradient, place));
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Option<Tensor>> {
        match (self.whole, gathered(&self.shape, self.parts)?) {
            (Some(whole), Some(parts)) => Ok(Some(whole.add(&parts)?)),
            (whole, parts) => Ok(whole.or(parts)),
        }
    }
}

/// The operations on a path from the results to `inputs`, and whether they must run: those that only made an input
/// need not.
fn needed(seeds: &[(Edge, Tensor)], inputs: &[&Tensor]) -> HashMap<u64, bool> {
    let targets: HashSet<u64> = inputs.iter().filter_map(|t| t.grad_fn()).map(|f| f.sequence).collect();
    let leaves: HashSet<u64> = inputs.iter().filter(|t| t.is_leaf()).map(|t| t.id()).collect();
    let mut all: BTreeMap<u64, Arc<GradFn>> = BTreeMap::new();
    let mut stack: Vec<Arc<GradFn>> = Vec::new();
    for (edge, _) in seeds {
        if let Edge::Fn(f, _) = edge {
            stack.push(f.clone());
        }
    }
    while let Some(f) = stack.pop() {
        if all.contains_key(&f.sequence) {
            continue;
        }
        for edge in f.edges().iter().flatten() {
            if let Edge::Fn(next, _) = edge {
                stack.push(next.clone());
            }
        }
        all.insert(f.sequence, f);
    }
    // oldest first: what an operation leads to is known before it is asked
    let mut needed = HashMap::new();
    for (sequence, f) in &all {
        let leads = f.edges().iter().flatten().any(|edge| match edge {
            Edge::Fn(next, _) => needed.contains_key(&next.sequence),
            Edge::Leaf(t) => leaves.contains(&t.id()),
        });
        if leads || targets.contains(sequence) {
            needed.insert(*sequence, leads);
        }
    }
    needed
}

/// Where gradients end up: accumulated into leaves, or collected for some inputs.
#[derive(Default)]
struct Sinks {
    /// Whether leaves that are no input accumulate.
    accumulates: bool,
    /// Which inputs a leaf is, by its number.
    inputs: HashMap<u64, Vec<usize>>,
    /// Which inputs an operation's output is, by the operation's number.
    functions: HashMap<(u64, usize), Vec<usize>>,
    /// Operations behind whose outputs nothing runs.
    ends: HashSet<u64>,
    /// Whether another pass goes on with the gradients of leaves, and calls their hooks.
    passes_on: bool,
    found: Vec<Option<Tensor>>,
    leaves: HashMap<u64, (Tensor, Sum)>,
    order: Vec<u64>,
}

impl Sinks {
    fn new(inputs: &[Edge]) -> Self {
        let mut sinks = Self { found: vec![None; inputs.len()], ..Self::default() };
        for (i, input) in inputs.iter().enumerate() {
            match input {
                Edge::Fn(f, output) => sinks.functions.entry((f.sequence, *output)).or_default().push(i),
                Edge::Leaf(leaf) => sinks.inputs.entry(leaf.id()).or_default().push(i),
            }
        }
        sinks
    }

    fn leaf(&mut self, leaf: &Tensor, given: Given) -> Result<()> {
        if !self.accumulates && !self.inputs.contains_key(&leaf.id()) {
            return Ok(());
        }
        let entry = self.leaves.entry(leaf.id()).or_insert_with(|| {
            self.order.push(leaf.id());
            (leaf.clone(), Sum::default())
        });
        entry.1.add(given, |a, b| a.add(b))
    }

    fn output(&mut self, function: &GradFn, output: usize, gradient: &Tensor) {
        for &i in self.functions.get(&(function.sequence, output)).into_iter().flatten() {
            self.found[i] = Some(gradient.clone());
        }
    }

    fn finish(mut self) -> Result<Vec<Option<Tensor>>> {
        for id in &self.order {
            let Some((leaf, sum)) = self.leaves.remove(id) else { continue };
            let Some(gradient) = sum.finish()? else { continue };
            let gradient = if self.passes_on { gradient } else { leaf.leaf_hooks(gradient)? };
            match self.inputs.get(id) {
                Some(inputs) => inputs.iter().for_each(|&i| self.found[i] = Some(gradient.clone())),
                // one that was frozen after the forward pass is left alone
                None if leaf.requires_grad() => leaf.accumulate_grad(&gradient)?,
                None => {}
            }
        }
        Ok(self.found)
    }
}

/// Refuses NaN in gradients, naming the forward operation.
fn check(function: &GradFn, results: &[Option<Tensor>]) -> Result<()> {
    for (i, gradient) in results.iter().enumerate() {
        let Some(gradient) = gradient else { continue };
        if gradient.dtype().is_float() && gradient.isnan()?.to_dtype(crate::DType::I32)?.sum()?.item()? > 0.0 {
            let place = function.trace.as_deref().map(|t| format!("; the forward call:\n{t}")).unwrap_or_default();
            return Err(Error::new(
                ErrorKind::Autograd,
                "backward",
                format!("function '{}' returned nan values in its {i}th output{place}", function.name()),
            ));
        }
    }
    Ok(())
}

/// Edges and gradients to start from.
fn seeds(op: &str, outputs: &[&Tensor], gradients: &[Option<&Tensor>]) -> Result<Vec<(Edge, Tensor)>> {
    if outputs.len() != gradients.len() && !gradients.is_empty() {
        bail!(Value, op, "got {} tensors and {} gradients", outputs.len(), gradients.len());
    }
    let mut seeds = Vec::new();
    for (i, output) in outputs.iter().enumerate() {
        let Some(edge) = output.edge() else {
            bail!(Autograd, op, "element {i} of tensors does not require grad and does not have a grad_fn");
        };
        let gradient = match gradients.get(i).copied().flatten() {
            Some(g) if g.shape() != output.shape() => bail!(
                Shape,
                op,
                "mismatch in shape: grad_output[{i}] has a shape of {:?} and output[{i}] has a shape of {:?}",
                &g.shape()[..],
                &output.shape()[..]
            ),
            Some(g) if !g.device().same(output.device()) => {
                bail!(Value, op, "grad_output[{i}] and output[{i}] lie on different devices")
            }
            Some(g) => g.to_dtype(output.dtype())?,
            None if output.numel() != 1 => {
                bail!(Autograd, op, "grad can be implicitly created only for scalar outputs")
            }
            None => Tensor::ones(output.shape(), (output.dtype(), output.device()))?,
        };
        seeds.push((edge, gradient));
    }
    Ok(seeds)
}

impl Tensor {
    /// Adds the gradients of this scalar to those of all leaves it was computed from.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0], ())?.requires_grad_(true)?;
    /// (&x * &x)?.sum()?.backward()?;
    /// assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [2.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn backward(&self) -> Result<()> {
        Backward::new().run(&[self], &[None])
    }

    /// [`Tensor::backward`] from a given gradient of this tensor.
    ///
    /// ```
    /// use calor::Tensor;
    /// let x = Tensor::new([3.0f32, 4.0], ())?.requires_grad_(true)?;
    /// x.square()?.backward_with(&Tensor::new([1.0f32, 10.0], ())?)?;
    /// assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [6.0, 80.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn backward_with(&self, gradient: &Tensor) -> Result<()> {
        Backward::new().run(&[self], &[Some(gradient)])
    }
}

/// The gradients of scalar `outputs` for `inputs`: `torch.autograd.grad`.
///
/// ```
/// use calor::{Tensor, autograd};
/// let x = Tensor::new([2.0f32], ())?.requires_grad_(true)?;
/// let g = autograd::grad(&[&x.square()?], &[&x])?;
/// assert_eq!(g[0].item()?, 4.0);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn grad(outputs: &[&Tensor], inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
    let found = Backward::new().grad(outputs, inputs, &vec![None; outputs.len()])?;
    found
        .into_iter()
        .map(|g| g.ok_or_else(|| Error::new(ErrorKind::Autograd, "grad", "a gradient is missing")))
        .collect()
}
