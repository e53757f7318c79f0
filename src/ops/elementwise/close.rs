//! Comparisons with a tolerance, and of whole tensors.

use crate::error::{Result, bail};
use crate::tensor::Tensor;

/// How near numbers must be: `|a - b| <= atol + rtol |b|`.
///
/// ```
/// use calor::{Tensor, Tolerance};
/// let (x, y) = (Tensor::new([100.0f32], ())?, Tensor::new([101.0f32], ())?);
/// assert!(!x.allclose(&y, Tolerance::default())?);
/// assert!(x.allclose(&y, Tolerance { rtol: 0.1, ..Tolerance::default() })?);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Relative to the second number.
    pub rtol: f64,
    /// Absolute.
    pub atol: f64,
    /// Whether NaN is close to NaN.
    pub equal_nan: bool,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { rtol: 1e-5, atol: 1e-8, equal_nan: false }
    }
}

impl Tensor {
    /// Whether `|self - other| <= atol + rtol |other|`, element by element; both are of one dtype.
    ///
    /// ```
    /// use calor::{Tensor, Tolerance};
    /// let x = Tensor::new([1.0f32, 2.0], ())?;
    /// let near = x.isclose(&(&x + 1e-3)?, Tolerance { atol: 1e-2, ..Tolerance::default() })?;
    /// assert_eq!(near.to_vec::<bool>()?, [true, true]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn isclose(&self, other: &Tensor, tolerance: Tolerance) -> Result<Tensor> {
        let Tolerance { rtol, atol, equal_nan } = tolerance;
        if self.dtype() != other.dtype() {
            bail!(DType, "isclose", "dtypes differ, {} and {}", self.dtype(), other.dtype());
        }
        for (name, value) in [("rtol", rtol), ("atol", atol)] {
            if value < 0.0 {
                bail!(Value, "isclose", "{name} must be greater than or equal to zero, but got {value}");
            }
        }
        crate::no_grad(|| {
            let mut close = self.eq(other)?;
            if equal_nan && self.dtype().is_float() {
                close = close.logical_or(&self.isnan()?.logical_and(&other.isnan()?)?)?;
            }
            if rtol == 0.0 && atol == 0.0 {
                return Ok(close);
            }
            let wide = other.to_dtype(other.dtype().to_float())?;
            let allowed = wide.mul(rtol)?.abs()?.add(atol)?;
            let actual = self.to_dtype(wide.dtype())?.sub(&wide)?.abs()?;
            close.logical_or(&actual.isfinite()?.logical_and(&actual.le(&allowed)?)?)
        })
    }

    /// Whether all elements are close; waits for the device.
    ///
    /// ```
    /// use calor::{Tensor, Tolerance};
    /// let x = Tensor::ones([2], ())?;
    /// assert!(x.allclose(&(&x + 1e-7)?, Tolerance::default())?);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn allclose(&self, other: &Tensor, tolerance: Tolerance) -> Result<bool> {
        let far = self.isclose(other, tolerance)?.logical_not()?;
        Ok(far.sum()?.item()? == 0.0)
    }

    /// Whether both have one shape and equal elements, in the dtype in which they meet; waits for the device.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// assert!(x.equal(&x.try_clone()?)? && !x.equal(&x.zeros_like()?)?);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn equal(&self, other: &Tensor) -> Result<bool> {
        if self.shape() != other.shape() {
            return Ok(false);
        }
        Ok(self.ne(other)?.sum()?.item()? == 0.0)
    }
}
