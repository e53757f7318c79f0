//! Powers.

use super::{Kind, except, map_n, operands};
use crate::dtype::{DType, Scalar};
use crate::error::{Result, bail};
use crate::ops::arg::{Arg, meet};
use crate::tensor::Tensor;
use crate::tensor::autocast::full;
use crate::tensor::grad::Grads;

/// `a^b` with either side a tensor or a number.
///
/// ```
/// let x = calor::Tensor::new([1.0f32, 3.0], ())?;
/// assert_eq!(calor::pow(2.0, &x)?.to_vec::<f32>()?, [2.0, 8.0]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn pow(a: impl Into<Arg>, b: impl Into<Arg>) -> Result<Tensor> {
    let full = |arg: Arg| match arg {
        Arg::Tensor(t) => full(&t).map(Arg::Tensor),
        number => Ok(number),
    };
    let (a, b) = (full(a.into())?, full(b.into())?);
    let exponent = if let Arg::Scalar(e) = &b { Some(*e) } else { None };
    let (x, y, dtype) = operands("pow", Kind::Number, a, b)?;
    if let Some(e) = exponent {
        if dtype.is_int() && e.as_f64() < 0.0 {
            bail!(Value, "pow", "integers to negative integer powers are not allowed, got {}", e.as_i64());
        }
        return to_number(&x, &y, e);
    }
    let out = map_n("pow", dtype, &[&x, &y])?;
    let (sx, sy) = (x.shape(), y.shape());
    let (dx, dy) = (x.dtype(), y.dtype());
    Ok(out.with_grad("pow", &[&x, &y], |r| {
        let (base, exponent, result) = (r.save(&x), r.save(&y), r.output());
        let (wants_base, wants_exponent) = (x.requires_grad(), y.requires_grad());
        move |g: &Tensor| {
            let (x, y) = (base.get()?, exponent.get()?);
            let gx = if wants_base {
                let slope = y.mul(&x.pow(&y.sub(1.0)?)?)?;
                Some(except(&y.eq(0.0)?, &g.mul(&slope)?)?.fit(&sx, dx)?)
            } else {
                None
            };
            let gy = if wants_exponent {
                let flat = x.eq(0.0)?.logical_and(&y.ge(0.0)?)?;
                Some(except(&flat, &g.mul(&result.get()?.mul(&x.log()?)?)?)?.fit(&sy, dy)?)
            } else {
                None
            };
            Ok(Grads::from_iter([gx, gy]))
        }
    }))
}

/// `x^e`; `y` is the number as a tensor.
fn to_number(x: &Tensor, y: &Tensor, e: Scalar) -> Result<Tensor> {
    let dtype = x.dtype();
    let number = e.as_f64();
    // PyTorch, too, takes these for powers
    let simple = match number {
        2.0 => Some("square"),
        0.5 => Some("sqrt"),
        -0.5 => Some("rsqrt"),
        -1.0 => Some("reciprocal"),
        _ => None,
    };
    let out = match simple.filter(|_| dtype.is_float()) {
        Some(function) => map_n(function, dtype, &[x])?,
        None => map_n("pow", dtype, &[x, y])?,
    };
    Ok(out.with_grad("pow", &[x], |r| {
        let x = r.save(x);
        move |g: &Tensor| {
            let x = x.get()?;
            let gx = match number {
                0.0 => super::zero(g)?,
                1.0 => g.clone(),
                2.0 => g.mul(&x.mul(2.0)?)?,
                e => g.mul(&x.pow(e - 1.0)?.mul(e)?)?,
            };
            Ok(Grads::from_iter([Some(gx)]))
        }
    }))
}

/// [`Tensor::float_power`] with either side a tensor or a number.
///
/// ```
/// use calor::{DType, Tensor};
/// let x = Tensor::new([1, 3], ())?;
/// if x.device().supports(DType::F64) {
///     assert_eq!(calor::float_power(2, &x)?.to_vec::<f64>()?, [2.0, 8.0]);
/// }
/// # Ok::<(), calor::Error>(())
/// ```
pub fn float_power(a: impl Into<Arg>, b: impl Into<Arg>) -> Result<Tensor> {
    let (a, b) = (a.into(), b.into());
    let wide = |x: Arg| -> Result<Arg> {
        Ok(match x {
            Arg::Tensor(t) => Arg::Tensor(t.to_dtype(DType::F64)?),
            Arg::Scalar(s) => Arg::Scalar(Scalar::Float(s.as_f64())),
            Arg::Err(e) => return Err(e),
        })
    };
    pow(wide(a)?, wide(b)?)
}

impl Tensor {
    /// `self^exponent`.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// assert_eq!(x.pow(2)?.to_vec::<f32>()?, [1.0, 4.0, 16.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn pow(&self, exponent: impl Into<Arg>) -> Result<Tensor> {
        pow(self, exponent)
    }

    /// [`Tensor::pow`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([2.0f32, 3.0], ())?;
    /// assert_eq!(x.pow_(2)?.to_vec::<f32>()?, [4.0, 9.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn pow_(&self, exponent: impl Into<Arg>) -> Result<Tensor> {
        self.modify("pow_", |x| x.pow(exponent))
    }

    /// `self^exponent`, computed in `f64`, on adapters that have it.
    ///
    /// ```
    /// use calor::{DType, Tensor};
    /// let x = Tensor::new([3, 4], ())?;
    /// if x.device().supports(DType::F64) {
    ///     assert_eq!(x.float_power(2)?.to_vec::<f64>()?, [9.0, 16.0]);
    /// }
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn float_power(&self, exponent: impl Into<Arg>) -> Result<Tensor> {
        float_power(self, exponent)
    }

    /// [`Tensor::float_power`] in place.
    ///
    /// ```
    /// use calor::{DType, Tensor};
    /// let x = Tensor::new([3.0f32, 4.0], ())?;
    /// if x.device().supports(DType::F64) {
    ///     assert_eq!(x.float_power_(2)?.to_vec::<f32>()?, [9.0, 16.0]);
    /// }
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn float_power_(&self, exponent: impl Into<Arg>) -> Result<Tensor> {
        self.modify("float_power_", |x| x.float_power(exponent))
    }

    /// `self 2^other`, in the dtype of both; integers give `f32`.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.5f32, 3.0], ())?;
    /// assert!((x.ldexp(2)?.sub(&calor::Tensor::new([6.0f32, 12.0], ())?)?.abs()?.max()?.item()?) < 1e-4);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn ldexp(&self, other: impl Into<Arg>) -> Result<Tensor> {
        let other = other.into();
        let dtype = meet(&[&self.into(), &other])?.to_float();
        self.mul(pow(2.0, other)?)?.to_dtype(dtype)
    }

    /// [`Tensor::ldexp`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.5f32], ())?;
    /// assert!((x.ldexp_(2)?.item()? - 6.0).abs() < 1e-4);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn ldexp_(&self, other: impl Into<Arg>) -> Result<Tensor> {
        self.modify("ldexp_", |x| x.ldexp(other))
    }
}
