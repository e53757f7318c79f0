//! Functions that are called around a layer's forward pass.

use super::{Field, Layer, Module, Visitor};
use crate::error::Result;
use crate::tensor::Tensor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

type Before = Arc<dyn Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync>;
type After = Arc<dyn Fn(&Tensor, &Tensor) -> Result<Option<Tensor>> + Send + Sync>;

#[derive(Default)]
struct Hooks {
    next: u64,
    before: Vec<(u64, Before)>,
    after: Vec<(u64, After)>,
}

fn lock(hooks: &Mutex<Hooks>) -> MutexGuard<'_, Hooks> {
    hooks.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A layer with forward hooks; its parameters have the names that they have without.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{Hooked, Layer, Linear, Module};
/// use std::sync::{Arc, Mutex};
/// let layer = Hooked::new(Linear::new(3, 2, ())?);
/// let seen = Arc::new(Mutex::new(Vec::new()));
/// let kept = seen.clone();
/// let handle = layer.register_forward_hook(move |_, y| {
///     kept.lock().unwrap().push(y.shape().to_vec());
///     Ok(None)
/// });
/// let x = Tensor::ones([5, 3], ())?;
/// layer.forward(&x)?;
/// handle.remove();
/// layer.forward(&x)?;
/// assert_eq!(*seen.lock().unwrap(), [[5, 2]]);
/// assert_eq!(layer.named_parameters()[0].0, "weight");
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone)]
pub struct Hooked<L> {
    layer: L,
    hooks: Arc<Mutex<Hooks>>,
}

impl<L> Hooked<L> {
    /// A layer without hooks so far.
    ///
    /// ```
    /// use calor::{Tensor, nn::{Hooked, Layer, ReLU}};
    /// assert_eq!(Hooked::new(ReLU).forward(&Tensor::new([-1.0f32], ())?)?.item()?, 0.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(layer: L) -> Self {
        Self { layer, hooks: Arc::default() }
    }

    /// The layer.
    ///
    /// ```
    /// use calor::nn::{Hooked, LeakyReLU};
    /// assert_eq!(Hooked::new(LeakyReLU::new(0.5)).layer().negative_slope, 0.5);
    /// ```
    pub fn layer(&self) -> &L {
        &self.layer
    }

    /// Calls `f` with each input before the layer is; what it gives stands for the input.
    ///
    /// ```
    /// use calor::{Tensor, nn::{Hooked, Layer, ReLU}};
    /// let layer = Hooked::new(ReLU);
    /// layer.register_forward_pre_hook(|x| Ok(Some(x.neg()?)));
    /// assert_eq!(layer.forward(&Tensor::new([-3.0f32], ())?)?.item()?, 3.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn register_forward_pre_hook(
        &self,
        f: impl Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync + 'static,
    ) -> HookHandle {
        self.register(|hooks, id| hooks.before.push((id, Arc::new(f))))
    }

    /// Calls `f` with each input and output; what it gives stands for the output.
    ///
    /// ```
    /// use calor::{Tensor, nn::{Hooked, Layer, ReLU}};
    /// let layer = Hooked::new(ReLU);
    /// layer.register_forward_hook(|_x, y| Ok(Some((y + 1.0)?)));
    /// assert_eq!(layer.forward(&Tensor::new([-3.0f32], ())?)?.item()?, 1.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn register_forward_hook(
        &self,
        f: impl Fn(&Tensor, &Tensor) -> Result<Option<Tensor>> + Send + Sync + 'static,
    ) -> HookHandle {
        self.register(|hooks, id| hooks.after.push((id, Arc::new(f))))
    }

    fn register(&self, add: impl FnOnce(&mut Hooks, u64)) -> HookHandle {
        let mut hooks = lock(&self.hooks);
        hooks.next += 1;
        let id = hooks.next;
        add(&mut hooks, id);
        HookHandle { hooks: Arc::downgrade(&self.hooks), id }
    }
}

/// A hook that can be taken off again; dropped, it leaves the hook in place.
///
/// ```
/// use calor::{Tensor, nn::{HookHandle, Hooked, Layer, ReLU}};
/// let layer = Hooked::new(ReLU);
/// let handle: HookHandle = layer.register_forward_hook(|_, y| Ok(Some(y.neg()?)));
/// assert_eq!(layer.forward(&Tensor::new([3.0f32], ())?)?.item()?, -3.0);
/// handle.remove();
/// # Ok::<(), calor::Error>(())
/// ```
pub struct HookHandle {
    hooks: Weak<Mutex<Hooks>>,
    id: u64,
}

impl HookHandle {
    /// Takes the hook off.
    ///
    /// ```
    /// use calor::{Tensor, nn::{Hooked, Layer, ReLU}};
    /// let layer = Hooked::new(ReLU);
    /// layer.register_forward_hook(|_, y| Ok(Some(y.neg()?))).remove();
    /// assert_eq!(layer.forward(&Tensor::new([3.0f32], ())?)?.item()?, 3.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn remove(self) {
        if let Some(hooks) = self.hooks.upgrade() {
            let mut hooks = lock(&hooks);
            hooks.before.retain(|h| h.0 != self.id);
            hooks.after.retain(|h| h.0 != self.id);
        }
    }
}

impl<L: Layer> Layer for Hooked<L> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        // not held while they are called: a hook may take itself off
        let (before, after) = {
            let hooks = lock(&self.hooks);
            (hooks.before.clone(), hooks.after.clone())
        };
        let mut x = x.clone();
        for (_, f) in before {
            x = f(&x)?.unwrap_or(x);
        }
        let mut y = self.layer.forward(&x)?;
        for (_, f) in after {
            y = f(&x, &y)?.unwrap_or(y);
        }
        Ok(y)
    }
}

impl<L: Module> Module for Hooked<L> {
    fn visit(&self, visitor: &mut dyn Visitor) {
        self.layer.visit(visitor);
    }

    fn set_training(&self, training: bool) {
        Module::set_training(&self.layer, training);
    }

    fn forget_statistics(&self) -> Result<bool> {
        self.layer.forget_statistics()
    }

    fn kind(&self) -> String {
        self.layer.kind()
    }
}

impl<L: Field> Field for Hooked<L> {
    fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
        self.layer.visit_field(name, visitor);
    }

    fn set_training(&self, training: bool) {
        self.layer.set_training(training);
    }
}
