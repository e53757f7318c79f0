//! What a module holds: parameters, which are learned, and buffers, which are only kept.

use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::ops::arg::Arg;
use crate::tensor::{Device, Tensor};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// A cell that several holders share: replacing its tensor is seen by all.
#[derive(Clone)]
struct Slot(Arc<RwLock<Tensor>>);

impl Slot {
    fn new(tensor: Tensor) -> Self {
        Self(Arc::new(RwLock::new(tensor)))
    }

    fn get(&self) -> Tensor {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, tensor: Tensor) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = tensor;
    }
}

/// A learned tensor: a leaf that requires a gradient, in a cell that modules and optimizers share.
///
/// Clones are the same parameter: converting it to another dtype or device is seen by every holder.
///
/// ```
/// use calor::{Tensor, nn::Parameter};
/// let w = Parameter::new(&Tensor::ones([2], ())?)?;
/// (&w * 3.0)?.sum()?.backward()?;
/// assert_eq!(w.grad().unwrap().to_vec::<f32>()?, [3.0, 3.0]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone)]
pub struct Parameter(Slot);

impl Parameter {
    /// A parameter that starts with `tensor`'s elements and shares its storage; refused for integers and bools.
    pub fn new(tensor: &Tensor) -> Result<Self> {
        Ok(Self(Slot::new(leaf(tensor, true)?)))
    }

    /// The tensor: a leaf.
    pub fn tensor(&self) -> Tensor {
        self.0.get()
    }

    /// Puts another leaf with `tensor`'s elements in; what was accumulated in the old one's gradient is gone.
    pub fn replace(&self, tensor: &Tensor) -> Result<()> {
        self.0.put(leaf(tensor, self.requires_grad())?);
        Ok(())
    }

    /// Puts a tensor in that was computed from other parameters, with its history.
    pub(super) fn compute_as(&self, tensor: Tensor) {
        self.0.put(tensor);
    }

    /// Writes `tensor`'s elements into the storage, converted to this dtype and device; shapes must agree.
    pub fn copy_from(&self, tensor: &Tensor) -> Result<()> {
        copy_into(&self.tensor(), tensor)
    }

    /// The gradient accumulated so far.
    pub fn grad(&self) -> Option<Tensor> {
        self.tensor().grad()
    }

    /// Forgets the gradient.
    pub fn zero_grad(&self) {
        self.tensor().put_grad(None);
    }

    /// Whether it is learned or frozen.
    pub fn requires_grad(&self) -> bool {
        self.tensor().requires_grad()
    }

    /// Freezes it, or lets it learn again.
    pub fn requires_grad_(&self, on: bool) -> Result<()> {
        self.tensor().requires_grad_(on).map(|_| ())
    }

    /// Its sizes.
    pub fn shape(&self) -> crate::shape::Dims {
        self.tensor().shape()
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.tensor().numel()
    }

    /// Converts it; a no-op where it has that dtype.
    pub fn to_dtype(&self, dtype: DType) -> Result<()> {
        let own = self.tensor();
        if own.dtype() != dtype {
            self.replace(&own.detach().to_dtype(dtype)?)?;
        }
        Ok(())
    }

    /// Moves it, through the host; a no-op where it lies there.
    pub fn to_device(&self, device: &Device) -> Result<()> {
        let own = self.tensor();
        if !own.device().same(device) {
            self.replace(&moved(&own, device)?)?;
        }
        Ok(())
    }

    /// Whether both are the same parameter, as where two modules share weights.
    pub fn same(&self, other: &Parameter) -> bool {
        Arc::ptr_eq(&self.0.0, &other.0.0)
    }
}

/// A tensor that belongs to a module's state but is not learned: running statistics, masks.
///
/// ```
/// use calor::{Tensor, nn::Buffer};
/// let mean = Buffer::new(&Tensor::zeros([4], ())?);
/// mean.set(&Tensor::ones([4], ())?);
/// assert!(mean.is_persistent() && !mean.tensor().requires_grad());
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone)]
pub struct Buffer {
    slot: Slot,
    persistent: bool,
}

impl Buffer {
    /// A buffer that is part of the state dict.
    pub fn new(tensor: &Tensor) -> Self {
        Self { slot: Slot::new(tensor.detach()), persistent: true }
    }

    /// A buffer that moves and converts with its module but is not saved.
    pub fn not_persistent(tensor: &Tensor) -> Self {
        Self { persistent: false, ..Self::new(tensor) }
    }

    /// Whether it is part of the state dict.
    pub fn is_persistent(&self) -> bool {
        self.persistent
    }

    /// The tensor.
    pub fn tensor(&self) -> Tensor {
        self.slot.get()
    }

    /// Puts another tensor in.
    pub fn set(&self, tensor: &Tensor) {
        self.slot.put(tensor.detach());
    }

    /// Writes `tensor`'s elements into the storage, converted to this dtype and device; shapes must agree.
    pub fn copy_from(&self, tensor: &Tensor) -> Result<()> {
        copy_into(&self.tensor(), tensor)
    }

    /// Converts it where it holds floats.
    pub fn to_dtype(&self, dtype: DType) -> Result<()> {
        let own = self.tensor();
        if own.dtype().is_float() && own.dtype() != dtype {
            self.set(&own.to_dtype(dtype)?);
        }
        Ok(())
    }

    /// Moves it, through the host.
    pub fn to_device(&self, device: &Device) -> Result<()> {
        let own = self.tensor();
        if !own.device().same(device) {
            self.set(&moved(&own, device)?);
        }
        Ok(())
    }
}

fn leaf(tensor: &Tensor, requires_grad: bool) -> Result<Tensor> {
    if !tensor.dtype().is_float() {
        bail!(
            Autograd,
            "Parameter",
            "only tensors of floating point dtype can require gradients, got {}",
            tensor.dtype()
        );
    }
    tensor.detach().requires_grad_(requires_grad)
}

pub(crate) fn moved(tensor: &Tensor, device: &Device) -> Result<Tensor> {
    if tensor.device().same(device) {
        return Ok(tensor.clone());
    }
    Tensor::from_host(tensor.to_host()?, device)
}

pub(crate) fn copy_into(to: &Tensor, from: &Tensor) -> Result<()> {
    if to.shape() != from.shape() {
        bail!(Shape, "copy_", "sizes differ, {:?} from {:?}", &to.shape()[..], &from.shape()[..]);
    }
    crate::no_grad(|| to.write(&moved(from, to.device())?.detach().to_dtype(to.dtype())?))
}

/// Whether a module trains or evaluates: dropout and batch normalisation ask. Starts with training.
#[derive(Debug)]
pub struct Training(AtomicBool);

impl Training {
    /// Whether it trains.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Training, or evaluation.
    pub fn set(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }
}

impl Default for Training {
    fn default() -> Self {
        Self(AtomicBool::new(true))
    }
}

impl Clone for Training {
    fn clone(&self) -> Self {
        Self(AtomicBool::new(self.get()))
    }
}

impl std::fmt::Debug for Parameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let t = self.tensor();
        write!(f, "Parameter({} {:?})", t.dtype(), &t.shape()[..])
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let t = self.tensor();
        write!(f, "Buffer({} {:?})", t.dtype(), &t.shape()[..])
    }
}

impl From<&Parameter> for Arg {
    fn from(p: &Parameter) -> Self {
        Arg::Tensor(p.tensor())
    }
}

impl From<&Buffer> for Arg {
    fn from(b: &Buffer) -> Self {
        Arg::Tensor(b.tensor())
    }
}

macro_rules! parameter_operator {
    ($($trait:ident $method:ident),*) => {
        $(impl<R: Into<Arg>> std::ops::$trait<R> for &Parameter {
            type Output = Result<Tensor>;
            fn $method(self, other: R) -> Result<Tensor> {
                std::ops::$trait::$method(self.tensor(), other)
            }
        })*
    };
}
parameter_operator!(Add add, Sub sub, Mul mul, Div div);
