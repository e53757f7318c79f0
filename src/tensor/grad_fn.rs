//! Nodes of the backward graph.

use super::grad::{Grads, Hook, Rule};
use super::grad_mode::is_anomaly_enabled;
use super::{Inner, Tensor};
use crate::error::{Result, bail};
use crate::layout::Layout;
use crate::shape::Dims;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Where a gradient goes on: an operation's output, or a leaf.
///
/// ```
/// use calor::{Edge, Tensor};
/// let w = Tensor::ones([2], ())?.requires_grad_(true)?;
/// let y = (&w * 2.0)?.exp()?;
/// assert!(matches!(w.edge(), Some(Edge::Leaf(_))));
/// assert!(matches!(y.edge(), Some(Edge::Fn(f, 0)) if f.name() == "exp"));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone)]
pub enum Edge {
    /// Output `usize` of an operation.
    Fn(Arc<GradFn>, usize),
    /// A leaf that accumulates.
    Leaf(Tensor),
}

/// A node of the backward graph.
///
/// ```
/// let w = calor::Tensor::ones([2], ())?.requires_grad_(true)?;
/// let y = (&w * 2.0)?.exp()?;
/// let exp = y.grad_fn().unwrap();
/// assert!(matches!(&exp.edges()[0], Some(calor::Edge::Fn(mul, 0)) if mul.name() == "mul"));
/// # Ok::<(), calor::Error>(())
/// ```
pub struct GradFn {
    /// Grows with creation: the backward pass goes from large to small.
    pub sequence: u64,
    name: String,
    edges: Vec<Option<Edge>>,
    outputs: usize,
    rule: Mutex<Option<Rule>>,
    /// Whether the rule keeps values, which a walk frees.
    keeps: bool,
    outputs_are: Outputs,
    watchers: Mutex<Vec<(usize, Watcher)>>,
    /// Where the forward operation ran, under anomaly mode.
    pub trace: Option<String>,
}

/// What the outputs of an operation are to the walk.
pub(crate) enum Outputs {
    /// Tensors whose gradients are summed element by element.
    Numbers,
    /// Tensors whose gradients are summed by a rule of their own.
    Summed(SumRule),
    /// Views of the one input.
    Parts(Parts),
}

/// The sum of two gradients.
pub(crate) type SumRule = fn(&Tensor, &Tensor) -> Result<Tensor>;

/// The shape of a tensor, and where each view of it would lie if it were stored row by row; a view shows no element
/// twice.
pub(crate) struct Parts {
    pub shape: Dims,
    pub places: Vec<Layout>,
}

/// Something that wants the gradient of an operation's output.
#[derive(Clone)]
pub(crate) enum Watcher {
    /// A tensor that keeps it: `retain_grad`.
    Retain(Weak<Inner>),
    /// A hook, with its number.
    Hook(u64, Hook),
}

static SEQUENCE: AtomicU64 = AtomicU64::new(1);

impl GradFn {
    /// A node with a rule.
    ///
    /// ```
    /// use calor::{GradFn, Tensor};
    /// let w = Tensor::ones([2], ())?.requires_grad_(true)?;
    /// let rule = |g: &[Option<Tensor>]| Ok([g[0].as_ref().map(|g| g * 2.0).transpose()?].into_iter().collect());
    /// let double = GradFn::new("double", vec![w.edge()], 1, Box::new(rule));
    /// assert_eq!(double.backward(&[Some(w.clone())])?[0].as_ref().unwrap().to_vec::<f32>()?, [2.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(name: impl Into<String>, edges: Vec<Option<Edge>>, outputs: usize, rule: Rule) -> Arc<Self> {
        Self::make(name.into(), edges, outputs, (rule, true), Outputs::Numbers)
    }

    /// A node with a rule that may keep values. Where the outputs are parts of its one input, the rule says the same for one
    /// gradient of each.
    #[allow(clippy::arc_with_non_send_sync, reason = "the lint loses its way in types that contain themselves")]
    pub(crate) fn make(
        name: String,
        edges: Vec<Option<Edge>>,
        outputs: usize,
        (rule, keeps): (Rule, bool),
        outputs_are: Outputs,
    ) -> Arc<Self> {
        Arc::new(Self {
            sequence: SEQUENCE.fetch_add(1, Ordering::Relaxed),
            name,
            edges,
            outputs,
            rule: Mutex::new(Some(rule)),
            keeps,
            outputs_are,
            watchers: Mutex::default(),
            trace: is_anomaly_enabled().then(|| std::backtrace::Backtrace::force_capture().to_string()),
        })
    }

    /// The number that the next one will have.
    pub(crate) fn next() -> u64 {
        SEQUENCE.load(Ordering::Relaxed)
    }

    /// Which parts of its input its outputs are.
    pub(crate) fn parts(&self) -> Option<&Parts> {
        match &self.outputs_are {
            Outputs::Parts(parts) => Some(parts),
            _ => None,
        }
    }

    /// How gradients of one of its outputs are summed.
    pub(crate) fn sum_rule(&self) -> SumRule {
        match self.outputs_are {
            Outputs::Summed(rule) => rule,
            _ => |a, b| a.add(b),
        }
    }

    /// Its name, the operation's: `mul`.
    ///
    /// ```
    /// let w = calor::Tensor::ones([2], ())?.requires_grad_(true)?;
    /// assert_eq!(w.tanh()?.grad_fn().unwrap().name(), "tanh");
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the gradients of its inputs go.
    ///
    /// ```
    /// let w = calor::Tensor::ones([2], ())?.requires_grad_(true)?;
    /// // a constant gets no gradient
    /// let edges = w.mul(&calor::Tensor::ones([2], ())?)?.grad_fn().unwrap();
    /// assert!(edges.edges()[0].is_some() && edges.edges()[1].is_none());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn edges(&self) -> &[Option<Edge>] {
        &self.edges
    }

    /// How many outputs the operation had.
    ///
    /// ```
    /// let w = calor::Tensor::ones([2], ())?.requires_grad_(true)?;
    /// assert_eq!(w.exp()?.grad_fn().unwrap().outputs(), 1);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Applies the rule; refused once the graph was freed.
    ///
    /// ```
    /// use calor::Tensor;
    /// let w = Tensor::new([3.0f32], ())?.requires_grad_(true)?;
    /// let square = w.square()?.grad_fn().unwrap();
    /// let grads = square.backward(&[Some(Tensor::ones([1], ())?)])?;
    /// assert_eq!(grads[0].as_ref().unwrap().item()?, 6.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn backward(&self, gradients: &[Option<Tensor>]) -> Result<Grads> {
        match &*self.rule.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(rule) => rule(gradients),
            None => bail!(
                Autograd,
                "backward",
                "trying to backward through the graph a second time ({} was freed). Saved intermediate values of the \
                 graph are freed when you call backward() or grad(). Specify retain_graph if you need to backward \
                 through the graph a second time",
                self.name
            ),
        }
    }

    /// Lets go of saved values; what keeps none can be walked again.
    ///
    /// ```
    /// use calor::Tensor;
    /// let w = Tensor::new([3.0f32], ())?.requires_grad_(true)?;
    /// let square = w.square()?.grad_fn().unwrap();
    /// square.free();
    /// assert!(square.backward(&[Some(Tensor::ones([1], ())?)]).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn free(&self) {
        if self.keeps {
            self.clear();
        }
    }

    fn clear(&self) {
        let rule = self.rule.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(rule);
    }

    pub(super) fn watchers(&self) -> MutexGuard<'_, Vec<(usize, Watcher)>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the gradient of output `output` to those who watch it; gives what goes on.
    pub(crate) fn notify(&self, output: usize, mut gradient: Tensor) -> Result<Tensor> {
        let watchers: Vec<Watcher> = self.watchers().iter().filter(|w| w.0 == output).map(|w| w.1.clone()).collect();
        for watcher in &watchers {
            if let Watcher::Hook(_, hook) = watcher
                && let Some(new) = hook(&gradient)?
            {
                new.check_like(&gradient, "backward", "the gradient that a hook gave")?;
                gradient = new;
            }
        }
        for watcher in watchers {
            if let Watcher::Retain(tensor) = watcher
                && let Some(inner) = tensor.upgrade()
            {
                Tensor(inner).accumulate_grad(&gradient)?;
            }
        }
        Ok(gradient)
    }
}

impl Drop for GradFn {
    fn drop(&mut self) {
        // a long chain of operations must not be dropped by recursion
        let mut left: Vec<Edge> = std::mem::take(&mut self.edges).into_iter().flatten().collect();
        self.clear();
        while let Some(edge) = left.pop() {
            if let Edge::Fn(function, _) = edge
                && let Some(mut function) = Arc::into_inner(function)
            {
                function.clear();
                left.extend(std::mem::take(&mut function.edges).into_iter().flatten());
            }
        }
    }
}

impl std::fmt::Debug for GradFn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{}>", self.name)
    }
}
