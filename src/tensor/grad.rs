//! What a tensor remembers for autograd: its meta, the way on, saved values.
//!
//! The walk over the graph is `autograd/`; the gradients themselves stand beside their operations in `ops/`.

pub use super::grad_fn::{Edge, GradFn};
pub(crate) use super::grad_fn::{Outputs, Parts, SumRule, Watcher};
pub use super::grad_mode::{
    ModeGuard, detect_anomaly, enable_grad, is_anomaly_enabled, is_grad_enabled, no_grad, set_grad_enabled,
};
use super::storage::Storage;
use super::{Device, Tensor};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::layout::Layout;
use smallvec::SmallVec;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, Weak};

/// Gradients of an operation's inputs; `None` where there is none.
pub type Grads = SmallVec<[Option<Tensor>; 3]>;

/// A function on a gradient as it passes: sees it, may replace it.
pub type Hook = Arc<dyn Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync>;

/// An operation's gradient: from those of its outputs to those of its inputs. `None` stands for zero.
pub type Rule = Box<dyn Fn(&[Option<Tensor>]) -> Result<Grads> + Send + Sync>;

/// What a tensor knows about its gradient.
#[derive(Default)]
pub(crate) struct Meta {
    pub requires_grad: bool,
    pub grad: Option<Tensor>,
    pub grad_fn: Option<Arc<GradFn>>,
    /// Which output of `grad_fn` it is.
    pub output: usize,
    pub retain_grad: bool,
    /// Its hooks by number, where it is a leaf.
    pub hooks: Vec<(u64, Hook)>,
    /// Which operations, that made it at the time, hold other hooks: it may come from another one since.
    pub hooked: Vec<(u64, Weak<GradFn>)>,
    pub view: Option<View>,
    /// That it is a view, made without recording, of something with a history: that would not learn of a write.
    pub untracked: bool,
}

/// That a tensor shows a part of another one, and until which write its history is up to date.
#[derive(Clone)]
pub(crate) struct View {
    pub base: Tensor,
    pub version: u64,
}

/// A tensor kept for backward: gives it back, unless it was written to meanwhile.
pub struct Saved {
    storage: Arc<Storage>,
    layout: Layout,
    dtype: DType,
    device: Device,
    version: u64,
    history: History,
    /// The name of the operation whose output it is.
    origin: String,
}

/// How a saved tensor finds its history again.
enum History {
    None,
    /// The tensor itself: a leaf.
    Leaf(Tensor),
    /// An input that an operation made.
    Made(Arc<GradFn>, usize),
    /// The operation's own output: a strong reference would be a cycle.
    Own(Weak<GradFn>, usize),
}

impl Saved {
    fn of(t: &Tensor, history: History, origin: String) -> Self {
        Self {
            storage: t.0.storage.clone(),
            layout: t.layout(),
            dtype: t.dtype(),
            device: t.device().clone(),
            version: t.0.storage.version(),
            history,
            origin,
        }
    }

    /// Keeps an input.
    pub fn input(t: &Tensor) -> Self {
        let grad_fn = t.grad_fn();
        let origin = grad_fn.as_ref().map_or_else(|| "a leaf".to_string(), |f| format!("output of {}", f.name()));
        let history = match grad_fn {
            Some(f) => History::Made(f, t.meta().output),
            None if t.requires_grad() => History::Leaf(t.clone()),
            None => History::None,
        };
        Self::of(t, history, origin)
    }

    /// Notes that it is output `output` of `function`, which was recorded after it was kept.
    pub(crate) fn made_by(&mut self, function: &Arc<GradFn>, output: usize) {
        self.history = History::Own(Arc::downgrade(function), output);
        self.origin = format!("output {output} of {}", function.name());
    }

    /// The tensor; refused where its storage was written to since.
    pub fn get(&self) -> Result<Tensor> {
        let now = self.storage.version();
        if now != self.version {
            bail!(
                Autograd,
                "backward",
                "one of the variables needed for gradient computation has been modified by an inplace operation: \
                 [{} {:?}], which is {}, is at version {now}; expected version {} instead",
                self.dtype,
                self.layout.shape(),
                self.origin,
                self.version
            );
        }
        if let History::Leaf(t) = &self.history {
            return Ok(t.clone());
        }
        let t = Tensor::assemble(&self.device, self.dtype, self.storage.clone(), self.layout.clone());
        let found = match &self.history {
            History::Made(f, output) => Some((f.clone(), *output)),
            History::Own(f, output) => f.upgrade().map(|f| (f, *output)),
            _ => None,
        };
        if let Some((f, output)) = found {
            t.set_grad_fn(Some(f));
            t.meta().output = output;
        }
        Ok(t)
    }
}

/// The output of an operation, kept for its own gradient: filled in once the operation is recorded.
pub struct SavedOutput(Arc<std::sync::OnceLock<Saved>>);

impl SavedOutput {
    /// The output.
    pub fn get(&self) -> Result<Tensor> {
        match self.0.get() {
            Some(saved) => saved.get(),
            None => bail!(Autograd, "backward", "an output was not saved"),
        }
    }
}

/// What a gradient closure may keep.
pub struct Recorder {
    output: Arc<std::sync::OnceLock<Saved>>,
    used: Cell<bool>,
    sum_rule: Cell<Option<SumRule>>,
}

impl Recorder {
    /// Gradients of the output are summed by a rule of their own, which must be differentiable; not those of parts of it.
    pub(crate) fn sums_by(&self, rule: SumRule) {
        self.sum_rule.set(Some(rule));
    }

    /// Keeps an input.
    pub fn save(&self, t: &Tensor) -> Saved {
        self.used.set(true);
        Saved::input(t)
    }

    /// Keeps the operation's output.
    pub fn output(&self) -> SavedOutput {
        self.used.set(true);
        SavedOutput(self.output.clone())
    }
}

impl Tensor {
    /// Records the gradient of the operation that made `self` from `inputs`, where anyone wants it. `make` keeps
    /// what the gradient needs and gives the rule; it is not called where no input requires a gradient.
    ///
    /// ```
    /// use calor::{Tensor, no_grad};
    /// let x = Tensor::new([3.0f32], ())?.requires_grad_(true)?;
    /// let y = no_grad(|| x.square())?.with_grad("square", &[&x], |r| {
    ///     let x = r.save(&x);
    ///     move |g: &Tensor| Ok([Some((g * (x.get()? * 2.0)?)?)].into_iter().collect())
    /// });
    /// y.backward()?;
    /// assert_eq!(x.grad().unwrap().item()?, 6.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn with_grad<R>(self, name: &str, inputs: &[&Tensor], make: impl FnOnce(&Recorder) -> R) -> Tensor
    where
        R: Fn(&Tensor) -> Result<Grads> + Send + Sync + 'static,
    {
        let wanted = is_grad_enabled() && self.dtype().is_float() && inputs.iter().any(|t| t.requires_grad());
        if wanted {
            let recorder = Recorder { output: Arc::default(), used: Cell::new(false), sum_rule: Cell::default() };
            let rule = make(&recorder);
            let edges = inputs.iter().map(|t| t.edge()).collect();
            let rule: Rule = Box::new(move |g| match g.first() {
                Some(Some(g)) => rule(g),
                _ => Ok(Grads::new()),
            });
            let outputs = recorder.sum_rule.get().map_or(Outputs::Numbers, Outputs::Summed);
            let function = GradFn::make(name.into(), edges, 1, (rule, recorder.used.get()), outputs);
            // most rules do not keep their output
            if Arc::strong_count(&recorder.output) > 1 {
                let history = History::Own(Arc::downgrade(&function), 0);
                let saved = Saved::of(&self, history, format!("output 0 of {name}"));
                let _ = recorder.output.set(saved);
            }
            self.set_grad_fn(Some(function));
        }
        self
    }

    /// Where a gradient of this tensor goes; `None` where it needs none.
    ///
    /// ```
    /// let w = calor::Tensor::ones([2], ())?;
    /// assert!(w.edge().is_none());
    /// assert!(matches!(w.requires_grad_(true)?.edge(), Some(calor::Edge::Leaf(_))));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn edge(&self) -> Option<Edge> {
        match self.grad_fn() {
            Some(f) => Some(Edge::Fn(f, self.meta().output)),
            None if self.requires_grad() => Some(Edge::Leaf(self.clone())),
            None => None,
        }
    }

    /// The operation that made it, where that was recorded. A view whose base was written to through another
    /// view comes, from then on, from that base.
    ///
    /// ```
    /// let w = calor::Tensor::ones([2], ())?.requires_grad_(true)?;
    /// assert!(w.grad_fn().is_none() && w.exp()?.grad_fn().is_some());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn grad_fn(&self) -> Option<Arc<GradFn>> {
        let view = self.known()?.view.clone();
        if let Some(view) = view
            && view.version != self.version()
        {
            let edge = view.base.edge();
            let layout = self.layout();
            let grad_fn = edge.map(|edge| {
                let base = view.base.layout();
                let shape = view.base.shape();
                let rule: Rule = Box::new(move |g| {
                    let Some(Some(g)) = g.first() else { return Ok(Grads::new()) };
                    Ok(Grads::from_iter([Some(g.spread((&shape, &base), &layout)?)]))
                });
                GradFn::make("AsStridedBackward".into(), vec![Some(edge)], 1, (rule, false), Outputs::Numbers)
            });
            let mut meta = self.meta();
            // a view may be a leaf of its own where its base has no history
            let mut before = None;
            if grad_fn.is_some() || meta.grad_fn.is_some() {
                meta.requires_grad = grad_fn.is_some();
                before = std::mem::replace(&mut meta.grad_fn, grad_fn);
                meta.output = 0;
            }
            if let Some(v) = &mut meta.view {
                v.version = self.0.storage.version();
            }
            drop(meta);
            self.retain_from(before);
        }
        self.meta().grad_fn.clone()
    }

    /// Keeps the gradient of what this tensor is now, where that of what it was, made by `before`, was kept.
    pub(crate) fn retain_from(&self, before: Option<Arc<GradFn>>) {
        let (now, output, kept) = {
            let meta = self.meta();
            (meta.grad_fn.clone(), meta.output, meta.retain_grad)
        };
        let (Some(before), Some(now), true) = (before, now, kept) else { return };
        let own = |w: &Watcher| matches!(w, Watcher::Retain(t) if std::ptr::eq(t.as_ptr(), Arc::as_ptr(&self.0)));
        before.watchers().retain(|w| !own(&w.1));
        now.watchers().push((output, Watcher::Retain(Arc::downgrade(&self.0))));
    }

    /// Marks this tensor, just made as a view of `base`, as one: writes through either are seen in the history of
    /// both.
    #[must_use]
    pub(crate) fn viewing(self, base: &Tensor) -> Tensor {
        let (root, hidden) = match base.known() {
            Some(meta) => (meta.view.as_ref().map(|v| v.base.clone()), meta.untracked),
            None => (None, false),
        };
        let root = root.unwrap_or_else(|| base.clone());
        // writes under no_grad are not part of any history
        if is_grad_enabled() && self.dtype().is_float() {
            let version = self.version();
            self.meta().view = Some(View { base: root, version });
        }
        if hidden || (!is_grad_enabled() && base.requires_grad()) {
            self.meta().untracked = true;
        }
        self
    }

    pub(crate) fn adopt_history(&self, from: &Tensor) {
        let grad_fn = from.grad_fn();
        let (requires, output) = from.known().map_or((false, 0), |meta| (meta.requires_grad, meta.output));
        if !requires && self.known().is_none() {
            return;
        }
        let leaf = grad_fn.is_none() && requires;
        let mut meta = self.meta();
        meta.requires_grad = requires && !leaf;
        meta.grad_fn = grad_fn;
        meta.output = output;
    }

    /// Whether a gradient flows to it.
    ///
    /// ```
    /// let x = calor::Tensor::ones([2], ())?;
    /// assert!(!x.requires_grad() && (&x.requires_grad_(true)? * 2.0)?.requires_grad());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn requires_grad(&self) -> bool {
        {
            let Some(meta) = self.known() else { return false };
            if meta.view.as_ref().is_none_or(|v| v.version == self.version()) {
                return meta.requires_grad;
            }
        }
        // brings the history of a view up to date
        self.grad_fn();
        self.meta().requires_grad
    }

    /// Whether no operation made it, as far as autograd knows.
    ///
    /// ```
    /// let w = calor::Tensor::new([2.0f32], ())?.requires_grad_(true)?;
    /// assert!(w.is_leaf() && !(&w * 2.0)?.is_leaf());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn is_leaf(&self) -> bool {
        self.grad_fn().is_none()
    }

    /// Asks for gradients of this leaf, or no longer; gives the same tensor.
    ///
    /// ```
    /// let x = calor::Tensor::ones([2], ())?.requires_grad_(true)?;
    /// assert!(x.requires_grad());
    /// assert!(calor::Tensor::ones([2], calor::DType::I32)?.requires_grad_(true).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn requires_grad_(&self, on: bool) -> Result<Tensor> {
        if on && !self.dtype().is_float() {
            bail!(
                Autograd,
                "requires_grad_",
                "only tensors of floating point dtype can require gradients, got {}",
                self.dtype()
            );
        }
        if !self.is_leaf() && !on {
            bail!(
                Autograd,
                "requires_grad_",
                "you can only change requires_grad flags of leaf variables; use detach() for a tensor without history"
            );
        }
        self.meta().requires_grad = on;
        Ok(self.clone())
    }

    /// The gradient accumulated so far.
    ///
    /// ```
    /// let w = calor::Tensor::new([2.0f32], ())?.requires_grad_(true)?;
    /// w.square()?.sum()?.backward()?;
    /// assert_eq!(w.grad().unwrap().to_vec::<f32>()?, [4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn grad(&self) -> Option<Tensor> {
        self.known()?.grad.clone()
    }

    /// Puts a gradient in place of the accumulated one.
    ///
    /// ```
    /// let w = calor::Tensor::new([2.0f32], ())?.requires_grad_(true)?;
    /// (&w * 3.0)?.sum()?.backward()?;
    /// w.set_grad(None)?;
    /// assert!(w.grad().is_none());
    /// assert!(w.set_grad(Some(calor::Tensor::ones([3], ())?)).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn set_grad(&self, grad: Option<Tensor>) -> Result<()> {
        if let Some(grad) = &grad {
            grad.check_like(self, "set_grad", "assigned grad")?;
        }
        self.put_grad(grad);
        Ok(())
    }

    pub(crate) fn put_grad(&self, grad: Option<Tensor>) {
        // what is dropped may be a graph that locks this again
        let before = match grad {
            // nothing in place of nothing
            None => self.known().and_then(|mut meta| meta.grad.take()),
            grad => std::mem::replace(&mut self.meta().grad, grad),
        };
        drop(before);
    }

    /// Refuses a tensor that is not like `other`: `what` has data of another type, size or device.
    pub(crate) fn check_like(&self, other: &Tensor, op: &str, what: &str) -> Result<()> {
        if self.dtype() != other.dtype() {
            bail!(DType, op, "{what} has data of a different type, {} for {}", self.dtype(), other.dtype());
        }
        if self.shape() != other.shape() {
            bail!(
                Shape,
                op,
                "{what} has data of a different size, {:?} for {:?}",
                &self.shape()[..],
                &other.shape()[..]
            );
        }
        if !self.device().same(other.device()) {
            bail!(Value, op, "{what} has data located on a different device");
        }
        Ok(())
    }

    /// Adds to the accumulated gradient.
    pub(crate) fn accumulate_grad(&self, gradient: &Tensor) -> Result<()> {
        let _adding = self.0.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = match self.grad() {
            // without create_graph the old gradient has no history, and an alias of it sees the sum
            Some(old) if !is_grad_enabled() && !old.layout().overlaps() => {
                old.write(&old.snapshot()?.add(gradient)?)?;
                return Ok(());
            }
            Some(old) => old.add(gradient)?,
            // gradients may be shared inside the pass: the leaf gets a storage of its own
            None if is_grad_enabled() => gradient.try_clone()?,
            // a broadcast one could not be written to, a part would keep the memory of the whole
            None if gradient.layout().overlaps() || gradient.numel() != gradient.storage_numel() => {
                gradient.copy("clone")?
            }
            None => gradient.detach().snapshot()?,
        };
        self.put_grad(Some(sum));
        Ok(())
    }

    /// Keeps the gradient of this non-leaf too.
    ///
    /// ```
    /// let w = calor::Tensor::new([2.0f32], ())?.requires_grad_(true)?;
    /// let y = (&w * 3.0)?;
    /// y.retain_grad()?;
    /// y.square()?.sum()?.backward()?;
    /// assert_eq!(y.grad().unwrap().item()?, 12.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn retain_grad(&self) -> Result<()> {
        if !self.requires_grad() {
            bail!(Autograd, "retain_grad", "can't retain the gradient of a tensor that does not require one");
        }
        if let Some(f) = self.grad_fn() {
            let (output, first) = {
                let mut meta = self.meta();
                (meta.output, !std::mem::replace(&mut meta.retain_grad, true))
            };
            if first {
                f.watchers().push((output, Watcher::Retain(Arc::downgrade(&self.0))));
            }
        }
        Ok(())
    }

    /// Calls `hook` with this tensor's gradient whenever it is computed; a tensor it gives replaces the gradient.
    /// The number removes it again.
    ///
    /// ```
    /// let w = calor::Tensor::new([2.0f32], ())?.requires_grad_(true)?;
    /// w.register_hook(|g| Ok(Some((g * 10.0)?)))?;
    /// (&w * 3.0)?.sum()?.backward()?;
    /// assert_eq!(w.grad().unwrap().item()?, 30.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn register_hook(
        &self,
        hook: impl Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync + 'static,
    ) -> Result<u64> {
        if !self.requires_grad() {
            bail!(Autograd, "register_hook", "cannot register a hook on a tensor that doesn't require gradient");
        }
        let number = NEXT_HOOK.fetch_add(1, Ordering::Relaxed);
        let hook: Hook = Arc::new(hook);
        match self.grad_fn() {
            Some(f) => {
                let output = {
                    let mut meta = self.meta();
                    meta.hooked.push((number, Arc::downgrade(&f)));
                    meta.output
                };
                f.watchers().push((output, Watcher::Hook(number, hook)));
            }
            None => self.meta().hooks.push((number, hook)),
        }
        Ok(number)
    }

    /// Removes a hook of this tensor by its number, also where the tensor was written to since.
    ///
    /// ```
    /// let w = calor::Tensor::new([2.0f32], ())?.requires_grad_(true)?;
    /// let number = w.register_hook(|g| Ok(Some((g * 10.0)?)))?;
    /// w.remove_hook(number);
    /// (&w * 3.0)?.sum()?.backward()?;
    /// assert_eq!(w.grad().unwrap().item()?, 3.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn remove_hook(&self, number: u64) {
        let function = {
            let mut meta = self.meta();
            meta.hooks.retain(|h| h.0 != number);
            let at = meta.hooked.iter().position(|h| h.0 == number);
            at.and_then(|at| meta.hooked.swap_remove(at).1.upgrade())
        };
        if let Some(f) = function {
            f.watchers().retain(|w| !matches!(w.1, Watcher::Hook(n, _) if n == number));
        }
    }

    /// Gives a leaf that takes the place of `other` its hooks.
    pub(crate) fn hook_as(&self, other: &Tensor) {
        let hooks = other.meta().hooks.clone();
        self.meta().hooks = hooks;
    }

    /// The hooks of a leaf applied to its gradient.
    pub(crate) fn leaf_hooks(&self, mut gradient: Tensor) -> Result<Tensor> {
        let hooks: Vec<Hook> =
            self.known().map(|meta| meta.hooks.iter().map(|h| h.1.clone()).collect()).unwrap_or_default();
        for hook in hooks {
            if let Some(new) = hook(&gradient)? {
                new.check_like(&gradient, "backward", "the gradient that a hook gave")?;
                gradient = new;
            }
        }
        Ok(gradient)
    }

    /// The same storage without history: gradients stop here.
    ///
    /// ```
    /// let x = calor::Tensor::ones([2], ())?.requires_grad_(true)?;
    /// let y = (&x * 3.0)?.detach();
    /// assert!(!y.requires_grad() && y.is_leaf());
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn detach(&self) -> Tensor {
        self.alias(self.layout())
    }

    /// Forgets this tensor's history; refused for views, whose base keeps it.
    ///
    /// ```
    /// let w = calor::Tensor::ones([2], ())?.requires_grad_(true)?;
    /// let y = w.exp()?;
    /// y.detach_()?;
    /// assert!(y.is_leaf() && !y.requires_grad());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn detach_(&self) -> Result<Tensor> {
        if self.known().is_some_and(|meta| meta.view.is_some()) {
            bail!(Autograd, "detach_", "can't detach views in-place; use detach() instead");
        }
        self.set_grad_fn(None);
        Ok(self.clone())
    }
}

static NEXT_HOOK: AtomicU64 = AtomicU64::new(1);
