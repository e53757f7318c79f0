//! Whether operations are recorded on this thread, and whether their backward passes look for NaN.

use std::cell::Cell;

thread_local! {
    static ENABLED: Cell<bool> = const { Cell::new(true) };
    static ANOMALY: Cell<bool> = const { Cell::new(false) };
}

/// Restores a thread's setting when dropped.
///
/// ```
/// {
///     let _guard = calor::set_grad_enabled(false);
///     assert!(!calor::is_grad_enabled());
/// }
/// assert!(calor::is_grad_enabled());
/// ```
pub struct ModeGuard {
    cell: &'static std::thread::LocalKey<Cell<bool>>,
    before: bool,
    // a guard belongs to its thread
    _here: std::marker::PhantomData<*const ()>,
}

impl Drop for ModeGuard {
    fn drop(&mut self) {
        self.cell.set(self.before);
    }
}

fn set(cell: &'static std::thread::LocalKey<Cell<bool>>, on: bool) -> ModeGuard {
    ModeGuard { cell, before: cell.replace(on), _here: std::marker::PhantomData }
}

/// Whether operations on this thread are recorded for autograd.
///
/// ```
/// assert!(calor::is_grad_enabled() && !calor::no_grad(calor::is_grad_enabled));
/// ```
pub fn is_grad_enabled() -> bool {
    ENABLED.get()
}

/// Records operations on this thread, or does not, until the guard is dropped.
///
/// ```
/// let guard = calor::set_grad_enabled(false);
/// assert!(!calor::is_grad_enabled());
/// drop(guard);
/// assert!(calor::is_grad_enabled());
/// ```
pub fn set_grad_enabled(on: bool) -> ModeGuard {
    set(&ENABLED, on)
}

/// Runs `f` without recording operations.
///
/// ```
/// use calor::{Tensor, no_grad};
/// let x = Tensor::ones([2], ())?.requires_grad_(true)?;
/// let y = no_grad(|| &x + 1.0)?;
/// assert!(!y.requires_grad());
/// # Ok::<(), calor::Error>(())
/// ```
pub fn no_grad<R>(f: impl FnOnce() -> R) -> R {
    let _guard = set_grad_enabled(false);
    f()
}

/// Runs `f` with operations recorded, inside [`no_grad`] too.
///
/// ```
/// assert!(calor::no_grad(|| calor::enable_grad(calor::is_grad_enabled)));
/// ```
pub fn enable_grad<R>(f: impl FnOnce() -> R) -> R {
    let _guard = set_grad_enabled(true);
    f()
}

/// Whether backward passes check for NaN and operations remember where they ran.
pub fn is_anomaly_enabled() -> bool {
    ANOMALY.get()
}

/// Until the guard is dropped, backward passes on this thread fail at the first NaN and name the forward operation
/// that it belongs to.
///
/// ```
/// let _guard = calor::detect_anomaly();
/// let x = calor::Tensor::new([-1.0f32], ())?.requires_grad_(true)?;
/// let error = x.sqrt()?.sum()?.backward().unwrap_err();
/// assert!(error.to_string().contains("sqrt"), "{error}");
/// # Ok::<(), calor::Error>(())
/// ```
pub fn detect_anomaly() -> ModeGuard {
    set(&ANOMALY, true)
}
