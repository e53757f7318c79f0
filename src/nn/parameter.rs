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
    ///
    /// ```
    /// use calor::{Tensor, nn::Parameter};
    /// assert!(Parameter::new(&Tensor::ones([2], ())?)?.requires_grad());
    /// assert!(Parameter::new(&Tensor::new([1i32], ())?).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(tensor: &Tensor) -> Result<Self> {
        Ok(Self(Slot::new(leaf(tensor, true)?)))
    }

    /// The tensor: a leaf.
    ///
    /// ```
    /// use calor::{Tensor, nn::Parameter};
    /// assert_eq!(Parameter::new(&Tensor::new([2.0f32], ())?)?.tensor().item()?, 2.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn tensor(&self) -> Tensor {
        self.0.get()
    }

    /// Puts another leaf with `tensor`'s elements in; what was accumulated in the old one's gradient is gone.
    ///
    /// ```
    /// use calor::{Tensor, nn::Parameter};
    /// let w = Parameter::new(&Tensor::ones([2], ())?)?;
    /// w.replace(&Tensor::zeros([3], ())?)?;
    /// assert_eq!(w.numel(), 3);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn replace(&self, tensor: &Tensor) -> Result<()> {
        self.0.put(leaf(tensor, self.requires_grad())?);
        Ok(())
    }

    /// Puts a tensor in that was computed from other parameters, with its history.
    pub(super) fn compute_as(&self, tensor: Tensor) {
        self.0.put(tensor);
    }

    /// Writes `tensor`'s elements into the storage, converted to this dtype and device; shapes must agree.
    ///
    /// ```
    /// use calor::{Tensor, nn::Parameter};
    /// let w = Parameter::new(&Tensor::ones([2], ())?)?;
    /// w.copy_from(&Tensor::new([3.0f32, 4.0], ())?)?;
    /// assert_eq!(w.tensor().to_vec::<f32>()?, [3.0, 4.0]);
    /// assert!(w.copy_from(&Tensor::ones([3], ())?).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn copy_from(&self, tensor: &Tensor) -> Result<()> {
        copy_into(&self.tensor(), tensor)
    }

    /// The gradient accumulated so far.
    ///
    /// ```
    /// use calor::{Tensor, nn::Parameter};
    /// let w = Parameter::new(&Tensor::new([3.0f32], ())?)?;
    /// assert!(w.grad().is_none());
    /// w.tensor().square()?.sum()?.backward()?;
    /// assert_eq!(w.grad().unwrap().item()?, 6.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn grad(&self) -> Option<Tensor> {
        self.tensor().grad()
    }

    /// Forgets the gradient.
    ///
    /// ```
    /// use calor::{Tensor, nn::Parameter};
    /// let w = Parameter::new(&Tensor::new([3.0f32], ())?)?;
    /// w.tensor().sum()?.backward()?;
    /// w.zero_grad();
    /// assert!(w.grad().is_none());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn zero_grad(&self) {
        self.tensor().put_grad(None);
    }

    /// Whether it is learned or frozen.
    ///
    /// ```
    /// use calor::{Tensor, nn::Parameter};
    /// assert!(Parameter::new(&Tensor::ones([2], ())?)?.requires_grad());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn requires_grad(&self) -> bool {
        self.tensor().requires_grad()
    }

    /// Freezes it, or lets it learn again.
    ///
    /// ```
    /// use calor::{Tensor, nn::Parameter};
    /// let w = Parameter::new(&Tensor::ones([2], ())?)?;
    /// w.requires_grad_(false)?;
    /// assert!(!w.requires_grad() && !w.tensor().requires_grad());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn requires_grad_(&self, on: bool) -> Result<()> {
        self.tensor().requires_grad_(on).map(|_| ())
    }

    /// Its sizes.
    ///
    /// ```
    /// use calor::{Tensor, nn::Parameter};
    /// assert_eq!(&Parameter::new(&Tensor::ones([2, 3], ())?)?.shape()[..], [2, 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn shape(&self) -> crate::shape::Dims {
        self.tensor().shape()
    }

    /// Number of elements.
    ///
    /// ```
    /// use calor::{Tensor, nn::Parameter};
    /// assert_eq!(Parameter::new(&Tensor::ones([2, 3], ())?)?.numel(), 6);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn numel(&self) -> usize {
        self.tensor().numel()
    }

    /// Puts in what `f` makes of it; its gradient is converted along, its hooks stay.
    fn convert(&self, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<()> {
        let own = self.tensor();
        let new = leaf(&f(&own.detach())?, own.requires_grad())?;
        let grad = own.grad().map(|g| f(&g.detach())).transpose()?;
        new.put_grad(grad);
        new.hook_as(&own);
        self.0.put(new);
        Ok(())
    }

    /// Converts it and its gradient; a no-op where it has that dtype.
    ///
    /// ```
    /// use calor::{DType, Tensor, nn::Parameter};
    /// let w = Parameter::new(&Tensor::ones([2], ())?)?;
    /// w.to_dtype(DType::F16)?;
    /// assert_eq!(w.tensor().dtype(), DType::F16);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn to_dtype(&self, dtype: DType) -> Result<()> {
        match self.tensor().dtype() == dtype {
            true => Ok(()),
            false => self.convert(|t| t.to_dtype(dtype)),
        }
    }

    /// Moves it and its gradient, through the host; a no-op where it lies there.
    ///
    /// ```
    /// use calor::{Device, Tensor, nn::Parameter};
    /// let (w, device) = (Parameter::new(&Tensor::ones([2], ())?)?, Device::best()?);
    /// w.to_device(&device)?;
    /// assert!(w.tensor().device().same(&device));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn to_device(&self, device: &Device) -> Result<()> {
        match self.tensor().device().same(device) {
            true => Ok(()),
            false => self.convert(|t| moved(t, device)),
        }
    }

    /// Whether both are the same parameter, as where two modules share weights.
    ///
    /// ```
    /// use calor::{Tensor, nn::Parameter};
    /// let w = Parameter::new(&Tensor::ones([2], ())?)?;
    /// assert!(w.same(&w.clone()) && !w.same(&Parameter::new(&Tensor::ones([2], ())?)?));
    /// # Ok::<(), calor::Error>(())
    /// ```
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
    ///
    /// ```
    /// use calor::{Tensor, nn::Buffer};
    /// assert!(Buffer::new(&Tensor::ones([2], ())?).is_persistent());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(tensor: &Tensor) -> Self {
        Self { slot: Slot::new(tensor.detach()), persistent: true }
    }

    /// A buffer that moves and converts with its module but is not saved.
    ///
    /// ```
    /// use calor::{Tensor, nn::Buffer};
    /// assert!(!Buffer::not_persistent(&Tensor::ones([2], ())?).is_persistent());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn not_persistent(tensor: &Tensor) -> Self {
        Self { persistent: false, ..Self::new(tensor) }
    }

    /// Whether it is part of the state dict.
    ///
    /// ```
    /// use calor::{Tensor, nn::Buffer};
    /// let x = Tensor::ones([2], ())?;
    /// assert!(Buffer::new(&x).is_persistent() && !Buffer::not_persistent(&x).is_persistent());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn is_persistent(&self) -> bool {
        self.persistent
    }

    /// The tensor.
    ///
    /// ```
    /// use calor::{Tensor, nn::Buffer};
    /// assert_eq!(Buffer::new(&Tensor::new([2.0f32], ())?).tensor().item()?, 2.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn tensor(&self) -> Tensor {
        self.slot.get()
    }

    /// Puts another tensor in.
    ///
    /// ```
    /// use calor::{Tensor, nn::Buffer};
    /// let buffer = Buffer::new(&Tensor::ones([2], ())?);
    /// buffer.set(&Tensor::zeros([3], ())?);
    /// assert_eq!(buffer.tensor().numel(), 3);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn set(&self, tensor: &Tensor) {
        self.slot.put(tensor.detach());
    }

    /// Writes `tensor`'s elements into the storage, converted to this dtype and device; shapes must agree.
    ///
    /// ```
    /// use calor::{Tensor, nn::Buffer};
    /// let buffer = Buffer::new(&Tensor::ones([2], ())?);
    /// buffer.copy_from(&Tensor::new([3.0f32, 4.0], ())?)?;
    /// assert_eq!(buffer.tensor().to_vec::<f32>()?, [3.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn copy_from(&self, tensor: &Tensor) -> Result<()> {
        copy_into(&self.tensor(), tensor)
    }

    /// Converts it where it holds floats.
    ///
    /// ```
    /// use calor::{DType, Tensor, nn::Buffer};
    /// let buffer = Buffer::new(&Tensor::ones([2], ())?);
    /// buffer.to_dtype(DType::F16)?;
    /// assert_eq!(buffer.tensor().dtype(), DType::F16);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn to_dtype(&self, dtype: DType) -> Result<()> {
        let own = self.tensor();
        if own.dtype().is_float() && own.dtype() != dtype {
            self.set(&own.to_dtype(dtype)?);
        }
        Ok(())
    }

    /// Moves it, through the host.
    ///
    /// ```
    /// use calor::{Device, Tensor, nn::Buffer};
    /// let (buffer, device) = (Buffer::new(&Tensor::ones([2], ())?), Device::best()?);
    /// buffer.to_device(&device)?;
    /// assert!(buffer.tensor().device().same(&device));
    /// # Ok::<(), calor::Error>(())
    /// ```
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
///
/// ```
/// use calor::nn::{Dropout, Module};
/// let drop = Dropout::new(0.5)?;
/// assert!(drop.training.get());
/// drop.eval();
/// assert!(!drop.training.get());
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Debug)]
pub struct Training(AtomicBool);

impl Training {
    /// Whether it trains.
    ///
    /// ```
    /// assert!(calor::nn::Training::default().get());
    /// ```
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Training, or evaluation.
    ///
    /// ```
    /// let training = calor::nn::Training::default();
    /// training.set(false);
    /// assert!(!training.get());
    /// ```
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
