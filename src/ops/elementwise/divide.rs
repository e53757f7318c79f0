//! Forms of the arithmetic with more than two operands or a choice: scaled sums, rounded quotients.

use super::{Kind, add, div, map_n, operands, sub, zero};
use crate::dtype::Scalar;
use crate::error::{Result, bail};
use crate::ops::arg::{Arg, device_of};
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;

/// How a quotient is rounded.
///
/// ```
/// use calor::{Rounding, Tensor};
/// let x = Tensor::new([-7], ())?;
/// assert_eq!(x.div_mode(2, Rounding::Trunc)?.item()?, -3.0);
/// assert_eq!(x.div_mode(2, Rounding::Floor)?.item()?, -4.0);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Towards zero, as in C.
    Trunc,
    /// Down, as in Python.
    Floor,
}

/// `alpha x`; itself where `alpha` is 1. Integers take no float.
fn scaled(op: &str, x: Arg, other: &Arg, alpha: Scalar) -> Result<Arg> {
    if matches!(alpha, Scalar::Int(1) | Scalar::Bool(true)) || alpha == Scalar::Float(1.0) {
        return Ok(x);
    }
    let dtype = super::meet(&[&x, other])?;
    if alpha.category() > dtype.category() {
        bail!(DType, op, "for {dtype} tensors, argument alpha must not be {alpha:?}");
    }
    Ok(Arg::Tensor(match x {
        Arg::Tensor(t) => t.mul(alpha)?,
        x => super::mul(x.tensor(dtype.compute(), &device_of(&[other])?)?, alpha)?,
    }))
}

impl Tensor {
    /// `self + alpha other`: `torch.add(..., alpha=)`.
    ///
    /// ```
    /// let x = calor::Tensor::new([1, 2], ())?;
    /// assert_eq!(x.add_alpha(&x, 10)?.to_vec::<i32>()?, [11, 22]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn add_alpha(&self, other: impl Into<Arg>, alpha: impl Into<Scalar>) -> Result<Tensor> {
        add(self, scaled("add", other.into(), &self.into(), alpha.into())?)
    }

    /// [`Tensor::add_alpha`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([1, 2], ())?;
    /// assert_eq!(x.add_alpha_(3, 2)?.to_vec::<i32>()?, [7, 8]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn add_alpha_(&self, other: impl Into<Arg>, alpha: impl Into<Scalar>) -> Result<Tensor> {
        self.modify("add_", |x| x.add_alpha(other, alpha))
    }

    /// `self - alpha other`: `torch.sub(..., alpha=)`.
    ///
    /// ```
    /// let x = calor::Tensor::new([1, 2], ())?;
    /// assert_eq!(x.sub_alpha(&x, 10)?.to_vec::<i32>()?, [-9, -18]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn sub_alpha(&self, other: impl Into<Arg>, alpha: impl Into<Scalar>) -> Result<Tensor> {
        sub(self, scaled("sub", other.into(), &self.into(), alpha.into())?)
    }

    /// [`Tensor::sub_alpha`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([1, 2], ())?;
    /// assert_eq!(x.sub_alpha_(3, 2)?.to_vec::<i32>()?, [-5, -4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn sub_alpha_(&self, other: impl Into<Arg>, alpha: impl Into<Scalar>) -> Result<Tensor> {
        self.modify("sub_", |x| x.sub_alpha(other, alpha))
    }

    /// `other - self`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([1, 2], ())?.rsub(10)?.to_vec::<i32>()?, [9, 8]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn rsub(&self, other: impl Into<Arg>) -> Result<Tensor> {
        sub(other, self)
    }

    /// `other - alpha self`: `torch.rsub(..., alpha=)`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([1, 2], ())?.rsub_alpha(10, 3)?.to_vec::<i32>()?, [7, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn rsub_alpha(&self, other: impl Into<Arg>, alpha: impl Into<Scalar>) -> Result<Tensor> {
        let other = other.into();
        let own = scaled("rsub", self.into(), &other, alpha.into())?;
        sub(other, own)
    }

    /// [`Tensor::div`].
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([1, 3], ())?.true_divide(2)?.to_vec::<f32>()?, [0.5, 1.5]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn true_divide(&self, other: impl Into<Arg>) -> Result<Tensor> {
        div(self, other)
    }

    /// [`Tensor::div`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 3.0], ())?;
    /// assert_eq!(x.true_divide_(2)?.to_vec::<f32>()?, [0.5, 1.5]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn true_divide_(&self, other: impl Into<Arg>) -> Result<Tensor> {
        self.div_(other)
    }

    /// `self / other` rounded, integers staying integers: `torch.div(..., rounding_mode=)`. An integer divided by 0
    /// gives 0.
    ///
    /// ```
    /// use calor::{Rounding, Tensor};
    /// let x = Tensor::new([-7, 7], ())?;
    /// assert_eq!(x.div_mode(2, Rounding::Floor)?.to_vec::<i32>()?, [-4, 3]);
    /// assert_eq!(x.div_mode(2, Rounding::Trunc)?.to_vec::<i32>()?, [-3, 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn div_mode(&self, other: impl Into<Arg>, rounding: Rounding) -> Result<Tensor> {
        let function = match rounding {
            Rounding::Trunc => "trunc_divide",
            Rounding::Floor => "floor_divide",
        };
        let (a, b, dtype) = operands("div", Kind::Number, self.into(), other.into())?;
        let out = map_n(function, dtype, &[&a, &b])?;
        let (sa, sb) = (a.shape(), b.shape());
        let (da, db) = (a.dtype(), b.dtype());
        Ok(out.with_grad("div", &[&a, &b], |_| {
            move |g: &Tensor| Ok(Grads::from_iter([Some(zero(g)?.fit(&sa, da)?), Some(zero(g)?.fit(&sb, db)?)]))
        }))
    }

    /// [`Tensor::div_mode`] in place.
    ///
    /// ```
    /// use calor::{Rounding, Tensor};
    /// let x = Tensor::new([-7, 7], ())?;
    /// assert_eq!(x.div_mode_(2, Rounding::Floor)?.to_vec::<i32>()?, [-4, 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn div_mode_(&self, other: impl Into<Arg>, rounding: Rounding) -> Result<Tensor> {
        self.modify("div_", |x| x.div_mode(other, rounding))
    }
}
