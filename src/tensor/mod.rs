//! `Tensor`: the handle. Storage and views, in-place writing, autograd meta, host conversion, display.

#[cfg(feature = "ndarray")]
mod arrays;
pub mod autocast;
mod check;
mod device;
mod display;
pub mod grad;
mod grad_fn;
mod grad_mode;
mod host;
mod inplace;
mod pack;
mod profile;
mod random;
mod slots;
mod storage;

pub use check::{Difference, FusionCheck, check_fusion};
pub use device::{Device, Options};
pub use host::{HostData, NestedArray};
pub(crate) use pack::{PARTS, Pack, side_by_side};
pub use profile::{Profiler, profile};
pub use random::{Draw, Generator};

use crate::dtype::{DType, Element};
use crate::error::{Result, bail};
use crate::graph::{Input, Param, Primitive, Spec, Value};
use crate::layout::Layout;
use crate::shape::Dims;
use grad::{GradFn, Meta};
use smallvec::SmallVec;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use storage::Storage;

/// An n-dimensional array on a device: a handle on a lazy value.
///
/// Clones are the same tensor. Views share storage: a write through one is seen by all. Nothing is computed until a
/// value is needed on the host, an optimizer steps, or [`Device::submit`] is called.
///
/// ```
/// use calor::Tensor;
/// let x = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
/// let y = (x.matmul(&x)? + 1.0)?;
/// assert_eq!(y.to_vec::<f32>()?, [8.0, 11.0, 16.0, 23.0]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone)]
pub struct Tensor(Arc<Inner>);

pub(crate) struct Inner {
    id: u64,
    device: Device,
    dtype: DType,
    storage: Arc<Storage>,
    layout: Layout,
    /// The layout since an in-place operation changed it. Few tensors have one, so few are locked to be looked at.
    revised: OnceLock<Box<RwLock<Layout>>>,
    /// Made when there is something to remember.
    meta: OnceLock<Box<Mutex<Meta>>>,
    /// Held while a gradient is added: passes of several threads may reach one leaf.
    adding: Mutex<()>,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

impl Tensor {
    fn assemble(device: &Device, dtype: DType, storage: Arc<Storage>, layout: Layout) -> Self {
        Self(Arc::new(Inner {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            device: device.clone(),
            dtype,
            storage,
            layout,
            revised: OnceLock::new(),
            meta: OnceLock::new(),
            adding: Mutex::default(),
        }))
    }

    /// A tensor over a value of its own.
    pub(crate) fn from_value(device: &Device, value: Value) -> Self {
        let (dtype, layout) = (value.spec.dtype, Layout::contiguous(&value.spec.shape));
        Self::assemble(device, dtype, Storage::new(value), layout)
    }

    /// The result of a primitive: the way every operation makes its output.
    ///
    /// ```
    /// use calor::{DType, Tensor, graph::{Body, Map}};
    /// let mut body = Body::new();
    /// let x = body.input(0);
    /// body.call("op_sqrt", &[x]);
    /// let map = std::sync::Arc::new(Map { name: "root".into(), body });
    /// let x = Tensor::new([4.0f32, 9.0], ())?;
    /// let y = Tensor::apply(map, x.device(), (&[2], DType::F32), &[&x], &[])?;
    /// assert!((y.sum()?.item()? - 5.0).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn apply(
        prim: Arc<dyn Primitive>,
        device: &Device,
        (shape, dtype): (&[usize], DType),
        inputs: &[&Tensor],
        params: &[Param],
    ) -> Result<Self> {
        for input in inputs {
            if !input.device().same(device) {
                device.engine().gpu().alive(prim.name())?;
                input.device().engine().gpu().alive(prim.name())?;
                bail!(Value, prim.name(), "tensors lie on different devices");
            }
        }
        // inputs are large: collecting them would move all of them
        let mut read: SmallVec<[Input; 2]> = SmallVec::with_capacity(inputs.len());
        for t in inputs {
            read.push(t.input()?);
        }
        let value = device.engine().node(prim, Spec::new(shape, dtype), read, params.into())?;
        Ok(Self::from_value(device, value))
    }

    /// What a node reads when it reads this tensor now.
    pub(crate) fn input(&self) -> Result<Input> {
        self.0.storage.look(self.layout(), || self.value())
    }

    /// The value of all of its storage.
    pub(crate) fn value(&self) -> Result<Value> {
        self.0.storage.value(|slots| slots.assembled(&self.0.device))
    }

    /// Another view of the same storage, without autograd history.
    pub(crate) fn alias(&self, layout: Layout) -> Self {
        Self::assemble(&self.0.device, self.0.dtype, self.0.storage.clone(), layout)
    }

    /// The same values in a storage of their own, at no cost: values are immutable, storages are not.
    pub(crate) fn snapshot(&self) -> Result<Self> {
        let Input { value, layout } = self.input()?;
        let t = Self::assemble(&self.0.device, self.0.dtype, Storage::new(value), layout);
        t.adopt_history(self);
        Ok(t)
    }

    /// The same without history, and without putting together what was written to slots.
    fn forked(&self) -> Self {
        Self::assemble(&self.0.device, self.0.dtype, self.0.storage.copied(), self.layout())
    }

    /// A number that no other tensor of this process has.
    ///
    /// ```
    /// let x = calor::Tensor::ones([2], ())?;
    /// assert!(x.id() == x.clone().id() && x.id() != x.try_clone()?.id());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The number that the next tensor will have.
    pub(crate) fn next_id() -> u64 {
        NEXT.load(Ordering::Relaxed)
    }

    /// Where it lies.
    ///
    /// ```
    /// let device = calor::Device::best()?;
    /// assert!(calor::Tensor::ones([2], &device)?.device().same(&device));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// The type of its elements.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([1, 2], ())?.dtype(), calor::DType::I32);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// Shape, strides and offset.
    ///
    /// ```
    /// let x = calor::Tensor::ones([2, 3], ())?.t()?;
    /// assert_eq!((x.layout().shape(), x.layout().strides()), (&[3, 2][..], &[1, 3][..]));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn layout(&self) -> Layout {
        self.seen(Layout::clone)
    }

    /// What `look` makes of the layout.
    fn seen<R>(&self, look: impl FnOnce(&Layout) -> R) -> R {
        match self.0.revised.get() {
            None => look(&self.0.layout),
            Some(revised) => look(&revised.read().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    pub(crate) fn set_layout(&self, layout: Layout) {
        let revised = self.0.revised.get_or_init(|| Box::new(RwLock::new(self.0.layout.clone())));
        *revised.write().unwrap_or_else(PoisonError::into_inner) = layout;
    }

    /// Sizes of its dimensions.
    ///
    /// ```
    /// let t = calor::Tensor::zeros([2, 3], ())?;
    /// assert_eq!((&t.shape()[..], t.dim(), t.numel()), (&[2, 3][..], 2, 6));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn shape(&self) -> Dims {
        self.seen(|layout| Dims::from_slice(layout.shape()))
    }

    /// Whether its sizes are these.
    pub(crate) fn has_shape(&self, shape: &[usize]) -> bool {
        self.seen(|layout| layout.shape() == shape)
    }

    /// Number of dimensions.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::zeros([2, 3], ())?.dim(), 2);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn dim(&self) -> usize {
        self.seen(Layout::rank)
    }

    /// Number of elements.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::zeros([2, 3], ())?.numel(), 6);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn numel(&self) -> usize {
        self.seen(Layout::numel)
    }

    /// The size of one dimension.
    ///
    /// ```
    /// let x = calor::Tensor::zeros([2, 3], ())?;
    /// assert_eq!(x.size(-1)?, 3);
    /// assert!(x.size(2).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn size(&self, dim: isize) -> Result<usize> {
        let shape = self.shape();
        if shape.is_empty() {
            bail!(Dim, "size", "dimension {dim} of a tensor without dimensions");
        }
        Ok(shape[crate::shape::dim("size", dim, shape.len())?])
    }

    /// Whether its elements lie row by row without gaps.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert!(x.is_contiguous() && !x.t()?.is_contiguous());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn is_contiguous(&self) -> bool {
        self.seen(Layout::is_contiguous)
    }

    /// Whether both share storage, so that a write to one may be seen in the other.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert!(x.shares_storage(&x.t()?) && !x.shares_storage(&x.try_clone()?));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn shares_storage(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.0.storage, &other.0.storage)
    }

    /// It, or a copy where it is a view of `other`: for operations whose result may be written to.
    pub(crate) fn apart_from(self, other: &Tensor) -> Result<Tensor> {
        if self.shares_storage(other) { self.try_clone() } else { Ok(self) }
    }

    /// Number of elements of its storage.
    pub(crate) fn storage_numel(&self) -> usize {
        self.0.storage.numel()
    }

    /// How often its storage was written to.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// let before = x.version();
    /// x.t()?.zero_()?;
    /// assert_eq!(x.version(), before + 1);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn version(&self) -> u64 {
        self.0.storage.version()
    }

    /// Counts a change of how the tensor sees its storage as a write, as PyTorch does.
    pub(crate) fn count_write(&self) {
        self.0.storage.touch();
    }

    fn meta(&self) -> MutexGuard<'_, Meta> {
        self.0.meta.get_or_init(Box::default).lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it remembers, where it remembers anything.
    fn known(&self) -> Option<MutexGuard<'_, Meta>> {
        self.0.meta.get().map(|meta| meta.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The kernels that would run to compute this tensor now, as text.
    ///
    /// ```
    /// let x = calor::Tensor::zeros([4, 4], ())?;
    /// let y = ((&x + 1.0)?.exp()? * 2.0)?;
    /// assert!(y.explain()?.starts_with("1 kernels"));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn explain(&self) -> Result<String> {
        let value = self.value()?;
        if value.get().is_some() {
            return Ok("0 kernels\n".into());
        }
        Ok(self.0.device.engine().plan(&[value])?.to_string())
    }

    /// What would run to compute this tensor now, as a picture: operations in boxes that stand for kernels, values in
    /// memory as cylinders, dashed arrows where a view is read. `dot -Tsvg` of Graphviz draws the text.
    ///
    /// [`make_dot`](crate::autograd::make_dot) draws the backward graph.
    ///
    /// ```
    /// let x = calor::Tensor::ones([4, 4], ())?;
    /// let y = (x.exp()? * 2.0)?.matmul(&x)?;
    /// let text = y.explain_dot()?;
    /// assert!(text.starts_with("digraph") && text.contains("cluster_0") && text.contains("matmul"));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn explain_dot(&self) -> Result<String> {
        self.0.device.engine().dot(&[self.value()?])
    }

    /// Computes it and submits the work, without waiting.
    ///
    /// ```
    /// let x = (calor::Tensor::ones([4], ())? * 2.0)?;
    /// x.eval()?;
    /// assert_eq!(x.explain()?, "0 kernels\n");
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn eval(&self) -> Result<()> {
        self.0.device.engine().run(&[self.value()?])
    }

    /// Computes several tensors together and submits the work, without waiting: one submission for each device.
    ///
    /// ```
    /// use calor::Tensor;
    /// let x = Tensor::ones([4], ())?;
    /// Tensor::eval_all(&[(&x * 2.0)?, (&x + 1.0)?])?;
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn eval_all(tensors: &[Tensor]) -> Result<()> {
        let mut left: Vec<&Tensor> = tensors.iter().collect();
        while let Some(first) = left.first().copied() {
            let (here, elsewhere): (Vec<&Tensor>, Vec<&Tensor>) =
                left.into_iter().partition(|t| t.device().same(first.device()));
            let roots: Vec<Value> = here.iter().map(|t| t.value()).collect::<Result<_>>()?;
            first.device().engine().run(&roots)?;
            left = elsewhere;
        }
        Ok(())
    }

    /// Its elements, row by row; waits for them.
    ///
    /// Errors that the device reported come out here: a bad index, memory, a lost device.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert_eq!(x.t()?.to_vec::<f32>()?, [1.0, 3.0, 2.0, 4.0]);
    /// assert!(x.to_vec::<i32>().is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        if T::DTYPE != self.dtype() {
            bail!(DType, "to_vec", "the tensor is {}, asked for {}", self.dtype(), T::DTYPE);
        }
        let value = self.in_order()?.value()?;
        self.0.device.engine().read_as(&value, T::from_bytes)
    }

    /// [`Tensor::to_vec`] without blocking the thread.
    ///
    /// ```
    /// let x = calor::Tensor::new([1, 2], ())?;
    /// let values = pollster::block_on(x.to_vec_async::<i32>())?;
    /// assert_eq!(values, [1, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub async fn to_vec_async<T: Element>(&self) -> Result<Vec<T>> {
        if T::DTYPE != self.dtype() {
            bail!(DType, "to_vec", "the tensor is {}, asked for {}", self.dtype(), T::DTYPE);
        }
        let value = self.in_order()?.value()?;
        self.0.device.engine().read_as_async(&value, T::from_bytes).await
    }

    /// Its elements as the bytes the device holds, row by row.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1u8, 2], [3, 4]], ())?;
    /// assert_eq!(x.t()?.read_bytes()?, [1, 3, 2, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn read_bytes(&self) -> Result<Vec<u8>> {
        let value = self.in_order()?.value()?;
        self.0.device.engine().read(&value)
    }

    /// A tensor whose storage is just its elements, row by row; itself where it is that already.
    fn in_order(&self) -> Result<Tensor> {
        if self.layout().is_identity(self.0.storage.numel()) {
            return Ok(self.clone());
        }
        grad::no_grad(|| self.copy("copy"))
    }

    /// A copy of its elements, without history.
    pub(crate) fn copy(&self, name: &'static str) -> Result<Tensor> {
        let map = crate::graph::Map { name: name.into(), body: copy_body() };
        Tensor::apply(Arc::new(map), self.device(), (&self.shape(), self.dtype()), &[self], &[])
    }
}

fn copy_body() -> crate::graph::Body {
    let mut body = crate::graph::Body::new();
    body.input(0);
    body
}

impl Tensor {
    /// Marks this tensor as output `output` of a recorded operation.
    pub(crate) fn set_output_of(&self, grad_fn: &Arc<GradFn>, output: usize) {
        self.set_grad_fn(Some(grad_fn.clone()));
        self.meta().output = output;
    }

    pub(crate) fn set_grad_fn(&self, grad_fn: Option<Arc<GradFn>>) {
        let mut meta = self.meta();
        meta.requires_grad = grad_fn.is_some();
        meta.grad_fn = grad_fn;
    }
}
