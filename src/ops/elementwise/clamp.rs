//! Limits.

use super::{Kind, except, map_n, only};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::ops::arg::{Arg, meet};
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;

/// A number as a limit of integers: beyond their range it limits nothing, or is refused where it leaves nothing.
fn within(op: &str, limit: Arg, dtype: DType, lower: bool) -> Result<Arg> {
    let Arg::Scalar(number) = limit else { return Ok(limit) };
    let near = number.saturated(dtype);
    let (near_is, is) = (near.as_f64(), number.as_f64());
    if !dtype.is_float() && if lower { near_is < is } else { near_is > is } {
        bail!(Value, op, "{} {number:?} is outside the range of {dtype}", if lower { "min" } else { "max" });
    }
    Ok(Arg::Scalar(near))
}

impl Tensor {
    /// Elements below `min` raised to it, those above `max` lowered to it; `max` where `min > max`. Gradients pass
    /// between numbers, not at them; a tensor's limit shares that of an equal element. Integers are not limited by
    /// numbers beyond their range.
    ///
    /// # Errors
    /// A number above or below all that integers of this dtype can be, where it leaves none of them.
    ///
    /// ```
    /// let x = calor::Tensor::new([-2.0f32, 0.5, 3.0], ())?;
    /// assert_eq!(x.clamp(-1.0, 1.0)?.to_vec::<f32>()?, [-1.0, 0.5, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn clamp(&self, min: impl Into<Arg>, max: impl Into<Arg>) -> Result<Tensor> {
        let (min, max) = (min.into(), max.into());
        let dtype = Kind::Number.dtypes("clamp", meet(&[&self.into(), &min, &max])?)?.0;
        let device = self.device();
        let (min, max) = (within("clamp", min, dtype, true)?, within("clamp", max, dtype, false)?);
        // strictly between numbers, as in PyTorch; limits that are tensors share ties and let NaN pass
        let numbers = !matches!((&min, &max), (Arg::Tensor(_), _) | (_, Arg::Tensor(_)));
        let (x, low, high) = (self.to_dtype(dtype)?, min.tensor(dtype, device)?, max.tensor(dtype, device)?);
        let out = map_n("clamp", dtype, &[&x, &low, &high])?;
        let (sx, sl, sh) = (x.shape(), low.shape(), high.shape());
        Ok(out.with_grad("clamp", &[&x, &low, &high], |r| {
            let wanted = [x.requires_grad(), low.requires_grad(), high.requires_grad()];
            let (x, low, high) = (r.save(&x), r.save(&low), r.save(&high));
            move |g: &Tensor| {
                let (x, low, high) = (x.get()?, low.get()?, high.get()?);
                let mut grads = Grads::from_elem(None, 3);
                if numbers {
                    let inside = x.gt(&low)?.logical_and(&x.lt(&high)?)?;
                    grads[0] = Some(only(&inside, g)?.fit(&sx, dtype)?);
                    return Ok(grads);
                }
                let (apart, half) = (low.lt(&high)?, g.div(2.0)?);
                let (at_low, at_high) = (x.eq(&low)?.logical_and(&apart)?, x.eq(&high)?.logical_and(&apart)?);
                let below = x.lt(&low)?.logical_and(&low.le(&high)?)?;
                let above = x.gt(&high)?.logical_and(&high.ge(&low)?)?.logical_or(&high.lt(&low)?)?;
                if wanted[0] {
                    let shared = at_low.logical_or(&at_high)?.where_(&half, g)?;
                    let outside = x.lt(&low)?.logical_or(&x.gt(&high)?)?;
                    grads[0] = Some(except(&outside, &shared)?.fit(&sx, dtype)?);
                }
                if wanted[1] {
                    grads[1] = Some(at_low.where_(&half, only(&below, g)?)?.fit(&sl, dtype)?);
                }
                if wanted[2] {
                    grads[2] = Some(at_high.where_(&half, only(&above, g)?)?.fit(&sh, dtype)?);
                }
                Ok(grads)
            }
        }))
    }

    /// [`Tensor::clamp`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// assert_eq!(x.clamp_(1.5, 3.0)?.to_vec::<f32>()?, [1.5, 2.0, 3.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn clamp_(&self, min: impl Into<Arg>, max: impl Into<Arg>) -> Result<Tensor> {
        self.modify("clamp_", |x| x.clamp(min, max))
    }

    /// Elements below `min` raised to it. A tie has no gradient, or shares it with a tensor.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// assert_eq!(x.clamp_min(2.0)?.to_vec::<f32>()?, [2.0, 2.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn clamp_min(&self, min: impl Into<Arg>) -> Result<Tensor> {
        match min.into() {
            Arg::Tensor(min) => self.maximum(min),
            min => self.limited("clamp_min", "maximum", (min, true), |x, m| x.gt(m)),
        }
    }

    /// [`Tensor::clamp_min`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 4.0], ())?;
    /// assert_eq!(x.clamp_min_(2.0)?.to_vec::<f32>()?, [2.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn clamp_min_(&self, min: impl Into<Arg>) -> Result<Tensor> {
        self.modify("clamp_min_", |x| x.clamp_min(min))
    }

    /// Elements above `max` lowered to it. A tie has no gradient, or shares it with a tensor.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// assert_eq!(x.clamp_max(2.0)?.to_vec::<f32>()?, [1.0, 2.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn clamp_max(&self, max: impl Into<Arg>) -> Result<Tensor> {
        match max.into() {
            Arg::Tensor(max) => self.minimum(max),
            max => self.limited("clamp_max", "minimum", (max, false), |x, m| x.lt(m)),
        }
    }

    /// [`Tensor::clamp_max`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 4.0], ())?;
    /// assert_eq!(x.clamp_max_(2.0)?.to_vec::<f32>()?, [1.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn clamp_max_(&self, max: impl Into<Arg>) -> Result<Tensor> {
        self.modify("clamp_max_", |x| x.clamp_max(max))
    }

    fn limited(
        &self,
        op: &'static str,
        function: &'static str,
        (limit, lower): (Arg, bool),
        inside: fn(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let dtype = Kind::Number.dtypes(op, meet(&[&self.into(), &limit])?)?.0;
        let limit = within(op, limit, dtype, lower)?;
        let (x, limit) = (self.to_dtype(dtype)?, limit.tensor(dtype, self.device())?);
        let out = map_n(function, dtype, &[&x, &limit])?;
        let (sx, sl) = (x.shape(), limit.shape());
        Ok(out.with_grad(op, &[&x, &limit], |r| {
            let wanted = limit.requires_grad();
            let (x, limit) = (r.save(&x), r.save(&limit));
            move |g: &Tensor| {
                let inside = inside(&x.get()?, &limit.get()?)?;
                let gx = only(&inside, g)?.fit(&sx, dtype)?;
                let gl = if wanted { Some(except(&inside, g)?.fit(&sl, dtype)?) } else { None };
                Ok(Grads::from_iter([Some(gx), gl]))
            }
        }))
    }
}
