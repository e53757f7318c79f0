//! Functions of three tensors: `lerp`, `addcmul`, `addcdiv`.

use super::{Item, Kind, call};
use crate::dtype::Scalar;
use crate::error::{Result, bail};
use crate::ops::arg::{Arg, meet};
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;

impl Tensor {
    /// `self + weight (end - self)`; exact at weight 1.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// assert_eq!(x.lerp(&x.zeros_like()?, 0.5)?.to_vec::<f32>()?, [0.5, 1.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn lerp(&self, end: &Tensor, weight: impl Into<Arg>) -> Result<Tensor> {
        let dtype = Kind::Real.dtypes("lerp", self.dtype())?.0;
        let weight = match weight.into() {
            Arg::Scalar(s) => Tensor::constant(&[], s, dtype.compute(), self.device())?,
            Arg::Tensor(t) if t.dtype() != dtype => {
                bail!(DType, "lerp", "expected dtype {dtype} for weight, got {}", t.dtype())
            }
            Arg::Tensor(t) => t,
            Arg::Err(e) => return Err(e),
        };
        if end.dtype() != dtype {
            bail!(DType, "lerp", "expected dtype {dtype} for end, got {}", end.dtype());
        }
        let out = call("lerp", dtype, &[self.into(), end.into(), (&weight).into()])?;
        let (ss, se, sw, dw) = (self.shape(), end.shape(), weight.shape(), weight.dtype());
        Ok(out.with_grad("lerp", &[self, end, &weight], |r| {
            let wanted = weight.requires_grad();
            let ends = wanted.then(|| (r.save(self), r.save(end)));
            let weight = r.save(&weight);
            move |g: &Tensor| {
                let weight = weight.get()?;
                let ge = g.mul(&weight)?.fit(&se, dtype)?;
                let gs = g.mul(&weight.neg()?.add(1.0)?)?.fit(&ss, dtype)?;
                let gw = match &ends {
                    Some((start, end)) => Some(g.mul(&end.get()?.sub(&start.get()?)?)?.fit(&sw, dw)?),
                    None => None,
                };
                Ok(Grads::from_iter([Some(gs), Some(ge), gw]))
            }
        }))
    }

    /// [`Tensor::lerp`] in place.
    ///
    /// ```
    /// use calor::Tensor;
    /// let x = Tensor::new([0.0f32, 4.0], ())?;
    /// assert_eq!(x.lerp_(&Tensor::new([2.0f32, 8.0], ())?, 0.5)?.to_vec::<f32>()?, [1.0, 6.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn lerp_(&self, end: &Tensor, weight: impl Into<Arg>) -> Result<Tensor> {
        self.modify("lerp_", |x| x.lerp(end, weight))
    }

    /// `self + value tensor1 tensor2`.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// assert_eq!(x.addcmul(&x, &x, 0.5)?.to_vec::<f32>()?, [1.5, 4.0, 12.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn addcmul(&self, tensor1: &Tensor, tensor2: &Tensor, value: impl Into<Scalar>) -> Result<Tensor> {
        let value = value.into();
        let [x, a, b] = self.three("addcmul", Kind::Number, tensor1, tensor2, value)?;
        let dtype = x.dtype();
        let out = call("addcmul", dtype, &[(&x).into(), Item::Number(value), (&a).into(), (&b).into()])?;
        let (sx, sa, sb) = (x.shape(), a.shape(), b.shape());
        Ok(out.with_grad("addcmul", &[&x, &a, &b], |r| {
            let keep_a = a.requires_grad().then(|| r.save(&b));
            let keep_b = b.requires_grad().then(|| r.save(&a));
            move |g: &Tensor| {
                let gx = g.fit(&sx, dtype)?;
                let ga = match &keep_a {
                    Some(b) => Some(g.mul(&b.get()?.mul(value)?)?.fit(&sa, dtype)?),
                    None => None,
                };
                let gb = match &keep_b {
                    Some(a) => Some(g.mul(&a.get()?.mul(value)?)?.fit(&sb, dtype)?),
                    None => None,
                };
                Ok(Grads::from_iter([Some(gx), ga, gb]))
            }
        }))
    }

    /// [`Tensor::addcmul`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0], ())?;
    /// let y = x.try_clone()?;
    /// assert_eq!(x.addcmul_(&y, &y, 0.5)?.to_vec::<f32>()?, [1.5, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn addcmul_(&self, tensor1: &Tensor, tensor2: &Tensor, value: impl Into<Scalar>) -> Result<Tensor> {
        self.modify("addcmul_", |x| x.addcmul(tensor1, tensor2, value))
    }

    /// `self + value tensor1 / tensor2`; not for integers.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// assert_eq!(x.addcdiv(&x, &x, 0.5)?.to_vec::<f32>()?, [1.5, 2.5, 4.5]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn addcdiv(&self, tensor1: &Tensor, tensor2: &Tensor, value: impl Into<Scalar>) -> Result<Tensor> {
        let value = value.into();
        if !tensor1.dtype().is_float() && !tensor2.dtype().is_float() {
            bail!(DType, "addcdiv", "integer division of {} by {} is not supported", tensor1.dtype(), tensor2.dtype());
        }
        let [x, a, b] = self.three("addcdiv", Kind::Real, tensor1, tensor2, value)?;
        let dtype = x.dtype();
        let out = call("addcdiv", dtype, &[(&x).into(), Item::Number(value), (&a).into(), (&b).into()])?;
        let (sx, sa, sb) = (x.shape(), a.shape(), b.shape());
        Ok(out.with_grad("addcdiv", &[&x, &a, &b], |r| {
            let wanted = [a.requires_grad(), b.requires_grad()];
            let (a, b) = (wanted[1].then(|| r.save(&a)), r.save(&b));
            move |g: &Tensor| {
                let b = b.get()?;
                let gx = g.fit(&sx, dtype)?;
                let quotient = super::div(value.as_f64(), &b)?;
                let ga = if wanted[0] { Some(g.mul(&quotient)?.fit(&sa, dtype)?) } else { None };
                let gb = match &a {
                    Some(a) => Some(g.mul(&quotient.mul(&a.get()?)?.div(&b)?)?.neg()?.fit(&sb, dtype)?),
                    None => None,
                };
                Ok(Grads::from_iter([Some(gx), ga, gb]))
            }
        }))
    }

    /// [`Tensor::addcdiv`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0], ())?;
    /// let y = x.try_clone()?;
    /// assert_eq!(x.addcdiv_(&y, &y, 0.5)?.to_vec::<f32>()?, [1.5, 2.5]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn addcdiv_(&self, tensor1: &Tensor, tensor2: &Tensor, value: impl Into<Scalar>) -> Result<Tensor> {
        self.modify("addcdiv_", |x| x.addcdiv(tensor1, tensor2, value))
    }

    /// Three operands in the dtype in which they meet.
    fn three(&self, op: &str, kind: Kind, a: &Tensor, b: &Tensor, value: Scalar) -> Result<[Tensor; 3]> {
        let dtype = kind.dtypes(op, meet(&[&self.into(), &a.into(), &b.into()])?)?.0;
        if value.category() > dtype.category() {
            bail!(DType, op, "for {dtype} tensors, value must not be {value:?}");
        }
        Ok([self.to_dtype(dtype)?, a.to_dtype(dtype)?, b.to_dtype(dtype)?])
    }
}
