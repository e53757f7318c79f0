//! Elements replaced: by a mask, or where they are not finite.

use super::{Kind, call, only};
use crate::dtype::{DType, Scalar};
use crate::error::{Result, bail};
use crate::ops::arg::Arg;
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;

/// The largest finite number of a float type.
fn largest(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => half::f16::MAX.to_f64(),
        DType::BF16 => half::bf16::MAX.to_f64(),
        DType::F64 => f64::MAX,
        _ => f64::from(f32::MAX),
    }
}

impl Tensor {
    /// Writes the elements of `src`, which broadcast to this shape and are converted to this dtype.
    ///
    /// ```
    /// let x = calor::Tensor::zeros([2, 2], ())?;
    /// x.copy_(&calor::Tensor::new([1i32, 2], ())?)?;
    /// assert_eq!(x.to_vec::<f32>()?, [1.0, 2.0, 1.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn copy_(&self, src: &Tensor) -> Result<Tensor> {
        self.overwrite("copy_", src)
    }

    fn overwrite(&self, op: &str, src: &Tensor) -> Result<Tensor> {
        self.check_writable(op)?;
        if !src.device().same(self.device()) {
            bail!(Value, op, "tensors lie on different devices");
        }
        // a storage of its own, at no cost: the written value must not be shared with the source's history
        let new = src.try_clone()?.to_dtype(self.dtype())?;
        new.layout().expand(op, &self.shape())?;
        let new = new.expand(self.shape())?.replacing(op, self);
        self.write(&new)?;
        Ok(self.clone())
    }

    /// Writes one value, a number or a tensor without dimensions, to every element.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// x.narrow(0, 0, 2)?.fill_(9.0)?;
    /// assert_eq!(x.to_vec::<f32>()?, [9.0, 9.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn fill_(&self, value: impl Into<Arg>) -> Result<Tensor> {
        match value.into() {
            Arg::Tensor(t) if t.dim() != 0 => {
                bail!(Dim, "fill_", "only supports 0-dimension value tensor but got tensor with {} dimensions", t.dim())
            }
            value => {
                value.fits("fill_", self.dtype())?;
                self.overwrite("fill_", &value.tensor(self.dtype(), self.device())?)
            }
        }
    }

    /// Writes zeros.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// assert_eq!(x.zero_()?.to_vec::<f32>()?, [0.0, 0.0, 0.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn zero_(&self) -> Result<Tensor> {
        self.overwrite("zero_", &Tensor::scalar(0, (self.dtype(), self.device()))?)
    }

    /// `value`, a number or a tensor without dimensions, where `mask` is true.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0], ())?;
    /// assert_eq!(x.masked_fill(&x.gt(1.5)?, 9.0)?.to_vec::<f32>()?, [1.0, 9.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn masked_fill(&self, mask: &Tensor, value: impl Into<Arg>) -> Result<Tensor> {
        if mask.dtype() != DType::Bool {
            bail!(DType, "masked_fill", "only supports boolean masks, but got mask with dtype {}", mask.dtype());
        }
        let value = value.into();
        match &value {
            Arg::Tensor(t) if t.dim() > 0 => {
                bail!(
                    Dim,
                    "masked_fill",
                    "only supports a 0-dimensional value tensor, but got tensor with {} dimension(s)",
                    t.dim()
                )
            }
            value => value.fits("masked_fill", self.dtype())?,
        }
        mask.where_(value.tensor(self.dtype(), self.device())?, self)
    }

    /// [`Tensor::masked_fill`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// x.masked_fill_(&x.gt(1.5)?, 0.0)?;
    /// assert_eq!(x.to_vec::<f32>()?, [1.0, 0.0, 0.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn masked_fill_(&self, mask: &Tensor, value: impl Into<Arg>) -> Result<Tensor> {
        self.modify("masked_fill_", |x| x.masked_fill(mask, value))
    }

    /// NaN replaced by `nan` (0), infinities by `posinf` and `neginf` (the largest and smallest finite numbers).
    ///
    /// ```
    /// let x = calor::Tensor::new([f32::NAN, 1.0], ())?;
    /// assert_eq!(x.nan_to_num(Some(0.5), None, None)?.to_vec::<f32>()?, [0.5, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn nan_to_num(&self, nan: Option<f64>, posinf: Option<f64>, neginf: Option<f64>) -> Result<Tensor> {
        let dtype = self.dtype();
        if !dtype.is_float() {
            return self.try_clone();
        }
        let most = largest(dtype);
        let numbers = [nan.unwrap_or(0.0), posinf.unwrap_or(most), neginf.unwrap_or(-most)];
        let [nan, high, low] = numbers.map(|n| Scalar::Float(n).into());
        let out = call("nan_to_num", dtype, &[self.into(), nan, high, low])?;
        Ok(out.with_grad("nan_to_num", &[self], |r| {
            let x = r.save(self);
            move |g: &Tensor| Ok(Grads::from_iter([Some(only(&x.get()?.isfinite()?, g)?)]))
        }))
    }

    /// [`Tensor::nan_to_num`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([f32::NAN, f32::INFINITY], ())?;
    /// assert_eq!(x.nan_to_num_(None, Some(9.0), None)?.to_vec::<f32>()?, [0.0, 9.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn nan_to_num_(&self, nan: Option<f64>, posinf: Option<f64>, neginf: Option<f64>) -> Result<Tensor> {
        if !self.dtype().is_float() {
            return Ok(self.clone());
        }
        self.modify("nan_to_num_", |x| x.nan_to_num(nan, posinf, neginf))
    }

    /// `log(x / (1 - x))`, with `x` first clamped to `eps ..= 1 - eps` where `eps` is given.
    ///
    /// ```
    /// let x = calor::Tensor::new([0.25f32], ())?;
    /// assert!((x.logit(None)?.sigmoid()?.item()? - 0.25).abs() < 1e-5);
    /// assert!(x.zeros_like()?.logit(Some(1e-3))?.item()?.is_finite());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn logit(&self, eps: Option<f64>) -> Result<Tensor> {
        let (x, dtype) = super::operand("logit", Kind::Float, self)?;
        let out = match eps {
            Some(eps) => call("logit_eps", dtype, &[(&x).into(), eps.into()])?,
            None => call("logit", dtype, &[(&x).into()])?,
        };
        Ok(out.with_grad("logit", &[&x], |r| {
            let x = r.save(&x);
            move |g: &Tensor| {
                let x = x.get()?;
                let slope = g.div(&x.mul(&x.neg()?.add(1.0)?)?)?;
                let (low, outside) = eps.map_or((0.0, f64::NAN), |eps| (eps, 0.0));
                let inside = x.ge(low)?.logical_and(&x.le(1.0 - low)?)?;
                Ok(Grads::from_iter([Some(inside.where_(slope, outside)?)]))
            }
        }))
    }

    /// [`Tensor::logit`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([0.5f32], ())?;
    /// assert!(x.logit_(None)?.item()?.abs() < 1e-6);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn logit_(&self, eps: Option<f64>) -> Result<Tensor> {
        self.modify("logit_", |x| x.logit(eps))
    }

    /// The `n`-th derivative of [`Tensor::digamma`].
    ///
    /// ```
    /// // trigamma at 1 is pi^2 / 6
    /// let y = calor::Tensor::new([1.0f32], ())?.polygamma(1)?;
    /// assert!((y.item()? - std::f64::consts::PI.powi(2) / 6.0).abs() < 1e-4);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn polygamma(&self, n: u32) -> Result<Tensor> {
        let (x, dtype) = super::operand("polygamma", Kind::Float, self)?;
        let out = match n {
            0 => call("digamma", dtype, &[(&x).into()])?,
            1 => call("trigamma", dtype, &[(&x).into()])?,
            _ => call("polygamma", dtype, &[f64::from(n).into(), (&x).into()])?,
        };
        Ok(out.with_grad("polygamma", &[&x], |r| {
            let x = r.save(&x);
            move |g: &Tensor| Ok(Grads::from_iter([Some(g.mul(&x.get()?.polygamma(n + 1)?)?)]))
        }))
    }

    /// [`Tensor::polygamma`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32], ())?;
    /// assert!((x.polygamma_(1)?.item()? - 1.644934).abs() < 1e-4);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn polygamma_(&self, n: u32) -> Result<Tensor> {
        self.modify("polygamma_", |x| x.polygamma(n))
    }
}
