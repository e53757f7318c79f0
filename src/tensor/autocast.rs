//! Mixed precision: while `autocast` is on, products compute in a half type and what needs range or precision in f32.
//!
//! The classes are those of PyTorch's autocast (Micikevicius et al. 2018, "Mixed precision training"): products and
//! convolutions lower their operands, exponentials, logarithms, sums, norms and losses take theirs as f32, everything else
//! promotes as always. An operation states its class where it checks its arguments.

use super::Tensor;
use super::grad::is_grad_enabled;
use crate::dtype::DType;
use crate::error::{Result, bail};
use rustc_hash::FxHashMap as HashMap;
use std::cell::{Cell, RefCell};

thread_local! {
    static MODE: Cell<Option<DType>> = const { Cell::new(None) };
    static SCOPES: Cell<usize> = const { Cell::new(0) };
    static CASTS: RefCell<HashMap<(usize, DType), Cast>> = RefCell::default();
}

/// A weight that was lowered: kept with its source, so that the source's address names nothing else.
struct Cast {
    source: Tensor,
    version: u64,
    lowered: Tensor,
}

/// Restores a thread's precision when dropped.
///
/// ```
/// use calor::{DType, autocast, autocast_dtype};
/// let guard = autocast(DType::F16)?;
/// assert_eq!(autocast_dtype(), Some(DType::F16));
/// drop(guard);
/// assert_eq!(autocast_dtype(), None);
/// # Ok::<(), calor::Error>(())
/// ```
pub struct AutocastGuard {
    before: Option<DType>,
    // a guard belongs to its thread
    _here: std::marker::PhantomData<*const ()>,
}

impl AutocastGuard {
    fn new(mode: Option<DType>) -> Self {
        SCOPES.set(SCOPES.get() + 1);
        Self { before: MODE.replace(mode), _here: std::marker::PhantomData }
    }
}

impl Drop for AutocastGuard {
    fn drop(&mut self) {
        MODE.set(self.before);
        SCOPES.set(SCOPES.get().saturating_sub(1));
        if SCOPES.get() == 0 {
            forget_casts();
        }
    }
}

/// Until the guard is dropped, products on this thread compute in `dtype`, f16 or bf16: `torch.autocast`.
///
/// Weights stay f32 and are lowered once in a scope, their gradients are f32. Backward passes need not be inside: they
/// compute in the types of the forward pass.
///
/// ```
/// use calor::{DType, Tensor, autocast, autocast_off};
/// let w = Tensor::ones([2, 2], ())?.requires_grad_(true)?;
/// let loss = {
///     let _half = autocast(DType::BF16)?;
///     let y = w.matmul(&w)?;
///     assert_eq!((y.dtype(), y.exp()?.dtype(), y.relu()?.dtype()), (DType::BF16, DType::F32, DType::BF16));
///     let _full = autocast_off();
///     assert_eq!(w.matmul(&w)?.dtype(), DType::F32);
///     y.sum()?
/// };
/// loss.backward()?;
/// assert_eq!(w.grad().unwrap().dtype(), DType::F32);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `DType` for any other type.
pub fn autocast(dtype: DType) -> Result<AutocastGuard> {
    if !matches!(dtype, DType::F16 | DType::BF16) {
        bail!(DType, "autocast", "supports only f16 and bf16, got {dtype}");
    }
    Ok(AutocastGuard::new(Some(dtype)))
}

/// Until the guard is dropped, operations on this thread compute in the types of their operands, also within
/// [`autocast`].
///
/// ```
/// let _half = calor::autocast(calor::DType::BF16)?;
/// let full = calor::autocast_off();
/// assert_eq!(calor::autocast_dtype(), None);
/// drop(full);
/// assert_eq!(calor::autocast_dtype(), Some(calor::DType::BF16));
/// # Ok::<(), calor::Error>(())
/// ```
pub fn autocast_off() -> AutocastGuard {
    AutocastGuard::new(None)
}

/// The type that products on this thread compute in; `None` outside of [`autocast`].
///
/// ```
/// assert_eq!(calor::autocast_dtype(), None);
/// let _half = calor::autocast(calor::DType::BF16)?;
/// assert_eq!(calor::autocast_dtype(), Some(calor::DType::BF16));
/// # Ok::<(), calor::Error>(())
/// ```
pub fn autocast_dtype() -> Option<DType> {
    MODE.get()
}

/// The precision of another time, as when a part of the forward pass is computed again.
pub(crate) fn restore(mode: Option<DType>) -> AutocastGuard {
    AutocastGuard::new(mode)
}

/// Forgets lowered weights: their history was walked, and the weights are about to change.
pub(crate) fn forget_casts() {
    // dropped outside of the cell, because dropping tensors may come back here
    drop(CASTS.take());
}

/// Runs `f` with lowered weights of its own, so that what it computes has no history before it but that of the weights.
pub(crate) fn own_casts<R>(f: impl FnOnce() -> R) -> R {
    let before = CASTS.take();
    let out = f();
    // dropped outside of the cell
    drop(CASTS.replace(before));
    out
}

/// What is computed in f32 takes a half tensor so.
pub(crate) fn full(x: &Tensor) -> Result<Tensor> {
    match MODE.get() {
        Some(_) if x.dtype().is_float() => x.to_dtype(x.dtype().compute()),
        _ => Ok(x.clone()),
    }
}

/// What is computed in a half type takes a tensor so; doubles stay.
pub(crate) fn lowered(x: &Tensor) -> Result<Tensor> {
    match MODE.get() {
        Some(dtype) => to_half(x, dtype),
        None => Ok(x.clone()),
    }
}

/// What computes in the widest type of its operands takes them so; doubles stay.
pub(crate) fn widest<const N: usize>(tensors: [&Tensor; N]) -> Result<[Tensor; N]> {
    let mut out = tensors.map(Tensor::clone);
    let casts = |t: &&mut Tensor| t.dtype().is_float() && t.dtype() != DType::F64;
    if MODE.get().is_some()
        && let Some(dtype) = out.iter_mut().filter(casts).map(|t| t.dtype()).reduce(DType::promote)
    {
        for t in out.iter_mut().filter(casts) {
            *t = t.to_dtype(dtype)?;
        }
    }
    Ok(out)
}

/// [`lowered`] of a tensor that may be missing.
pub(crate) fn lowered_if(x: Option<&Tensor>) -> Result<Option<Tensor>> {
    x.map(lowered).transpose()
}

fn to_half(x: &Tensor, dtype: DType) -> Result<Tensor> {
    if !x.dtype().is_float() || x.dtype() == DType::F64 || x.dtype() == dtype {
        return Ok(x.clone());
    }
    // weights are lowered once; without history they must not serve a pass that wants one
    let weight = x.is_leaf() && x.requires_grad() && x.dtype() == DType::F32 && x.is_whole() && is_grad_enabled();
    if !weight {
        return x.to_dtype(dtype);
    }
    let key = (x.storage_key(), dtype);
    let known = CASTS.with_borrow(|casts| {
        let same = |c: &&Cast| c.source.0.id == x.0.id && c.version == x.version();
        casts.get(&key).filter(same).map(|c| c.lowered.clone())
    });
    if let Some(lowered) = known {
        return Ok(lowered);
    }
    let lowered = x.to_dtype(dtype)?;
    let cast = Cast { source: x.clone(), version: x.version(), lowered: lowered.clone() };
    // what it takes the place of is dropped outside of the cell
    let before = CASTS.with_borrow_mut(|casts| casts.insert(key, cast));
    drop(before);
    Ok(lowered)
}
