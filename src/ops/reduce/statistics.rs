//! Variance, standard deviation, covariance.

use super::{count, keep_dims};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::no_grad;
use crate::ops::build::checked;
use crate::ops::elementwise::except;
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;

impl Tensor {
    /// The variance of all elements: squares divided by `n - 1`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([1.0f32, 2.0, 3.0], ())?.var()?.item()?, 1.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn var(&self) -> Result<Tensor> {
        self.var_dims(&[], 1.0, false)
    }

    /// The variance over some dimensions, all if none is named: squares divided by `n - correction`.
    ///
    /// ```
    /// let t = calor::Tensor::new([1.0f32, 2.0, 3.0, 4.0], ())?;
    /// assert_eq!(t.var_dims(&[0], 0.0, false)?.item()?, 1.25);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn var_dims(&self, dims: &[isize], correction: f64, keepdim: bool) -> Result<Tensor> {
        let dtype = self.dtype();
        let x = self.to_dtype(dtype.compute())?;
        x.variance("var", dims, correction, keepdim)?.0.to_dtype(dtype)
    }

    /// The standard deviation of all elements, with `n - 1`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([1.0f32, 3.0, 5.0], ())?.std()?.item()?, 2.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn std(&self) -> Result<Tensor> {
        self.std_dims(&[], 1.0, false)
    }

    /// The standard deviation over some dimensions, all if none is named, with `n - correction`.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 3.0], [5.0, 5.0]], ())?;
    /// assert_eq!(x.std_dims(&[1], 0.0, false)?.to_vec::<f32>()?, [1.0, 0.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn std_dims(&self, dims: &[isize], correction: f64, keepdim: bool) -> Result<Tensor> {
        let dtype = self.dtype();
        let x = self.to_dtype(dtype.compute())?;
        root(&x.variance("std", dims, correction, keepdim)?.0)?.to_dtype(dtype)
    }

    /// [`Tensor::var_dims`] and the mean.
    ///
    /// ```
    /// let (var, mean) = calor::Tensor::new([1.0f32, 2.0, 3.0], ())?.var_mean(&[0], 1.0, false)?;
    /// assert_eq!((var.item()?, mean.item()?), (1.0, 2.0));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn var_mean(&self, dims: &[isize], correction: f64, keepdim: bool) -> Result<(Tensor, Tensor)> {
        let dtype = self.dtype();
        let x = self.to_dtype(dtype.compute())?;
        let (var, mean) = x.variance("var_mean", dims, correction, keepdim)?;
        Ok((var.to_dtype(dtype)?, mean.to_dtype(dtype)?))
    }

    /// [`Tensor::std_dims`] and the mean.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 3.0], ())?;
    /// let (std, mean) = x.std_mean(&[0], 0.0, false)?;
    /// assert_eq!((std.item()?, mean.item()?), (1.0, 2.0));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn std_mean(&self, dims: &[isize], correction: f64, keepdim: bool) -> Result<(Tensor, Tensor)> {
        let dtype = self.dtype();
        let x = self.to_dtype(dtype.compute())?;
        let (var, mean) = x.variance("std_mean", dims, correction, keepdim)?;
        Ok((root(&var)?.to_dtype(dtype)?, mean.to_dtype(dtype)?))
    }

    /// Variance and mean.
    fn variance(&self, op: &'static str, dims: &[isize], correction: f64, keepdim: bool) -> Result<(Tensor, Tensor)> {
        if !self.dtype().is_float() {
            bail!(DType, op, "only supports floating point dtypes, got {}", self.dtype());
        }
        let n = count(op, self, dims)? as f64;
        let free = n - correction;
        let mean = self.mean_dims(dims, keepdim)?;
        let rank = self.dim();
        let out = no_grad(|| {
            let mean = keep_dims(op, &mean, dims, rank, keepdim)?;
            self.sub(&mean)?.square()?.sum_dims(dims, keepdim)?.div(free.max(0.0))
        })?;
        let dims = dims.to_vec();
        let out = out.with_grad(op, &[self], |r| {
            let x = r.save(self);
            move |g: &Tensor| {
                let x = x.get()?;
                let g = keep_dims(op, g, &dims, rank, keepdim)?;
                let mean = x.mean_dims(&dims, true)?;
                let slope = if free <= 0.0 && dims.is_empty() {
                    x.eq(&mean)?.where_(f64::NAN, f64::INFINITY)?.to_dtype(x.dtype())?
                } else {
                    x.sub(&mean)?.mul(2.0 / free)?
                };
                Ok(Grads::from_iter([Some(slope.mul(&g)?)]))
            }
        });
        Ok((out, mean))
    }

    /// The covariance matrix of variables in rows, observations in columns; `fweights` counts each observation,
    /// `aweights` weighs it. A negative one is reported at the next read.
    ///
    /// ```
    /// let x = calor::Tensor::new([[0.0f32, 2.0], [0.0, 4.0]], ())?;
    /// assert_eq!(x.cov(1, None, None)?.to_vec::<f32>()?, [2.0, 4.0, 4.0, 8.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn cov(&self, correction: i64, fweights: Option<&Tensor>, aweights: Option<&Tensor>) -> Result<Tensor> {
        if self.dim() > 2 {
            bail!(Dim, "cov", "expected input to have two or fewer dimensions but got {}", self.dim());
        }
        let dtype = self.dtype().to_float();
        let x = self.to_dtype(dtype)?;
        let x = if x.dim() < 2 { x.reshape([1, x.numel()])? } else { x };
        let n = x.shape()[1];
        for (name, weights, float) in [("fweights", fweights, false), ("aweights", aweights, true)] {
            let Some(w) = weights else { continue };
            if w.dim() > 1 {
                bail!(Dim, "cov", "expected {name} to have one or fewer dimensions but got {}", w.dim());
            }
            if w.dtype().is_float() != float || w.dtype() == DType::Bool {
                let kind = if float { "floating point" } else { "integral" };
                bail!(DType, "cov", "expected {name} to have {kind} dtype but got {}", w.dtype());
            }
            if w.numel() != n {
                bail!(
                    Shape,
                    "cov",
                    "expected {name} to have the {n} elements of the observations but got {}",
                    w.numel()
                );
            }
        }
        let counted =
            |w: Option<&Tensor>, message: &str| w.map(|w| checked("cov", w, &[("op_ge", 0.0)], message)).transpose();
        let fweights = counted(fweights, "fweights cannot be negative")?;
        let aweights = counted(aweights, "aweights cannot be negative")?;
        let weights = match (&fweights, &aweights) {
            (Some(f), Some(a)) => Some(f.mul(a)?),
            (w, None) | (None, w) => w.clone(),
        };
        let (mean, norm) = match &weights {
            None => (x.mean_dims(&[1], true)?, None),
            Some(w) => {
                let w = w.reshape([n])?;
                let sum = w.sum()?;
                let mean = x.mul(&w)?.sum_dims(&[1], true)?.div(&sum)?;
                let norm = match &aweights {
                    Some(a) if correction != 0 => sum.sub(w.mul(a)?.sum()?.div(&sum)?.mul(correction as f64)?)?,
                    _ => sum.sub(correction)?,
                };
                (mean, Some(norm))
            }
        };
        let centred = x.sub(&mean)?;
        let weighted = match &weights {
            Some(w) => centred.mul(w)?,
            None => centred.clone(),
        };
        let product = centred.to_dtype(weighted.dtype())?.matmul(&weighted.t()?)?;
        let out = match norm {
            Some(norm) => product.div(&norm.clamp_min(0)?)?,
            None => product.div((n as i64 - correction).max(0) as f64)?,
        };
        out.squeeze()
    }
}

/// The square root of a variance: its gradient is 0 at 0.
fn root(var: &Tensor) -> Result<Tensor> {
    let out = no_grad(|| var.sqrt())?;
    Ok(out.with_grad("std", &[var], |r| {
        let y = r.output();
        move |g: &Tensor| {
            let y = y.get()?;
            Ok(Grads::from_iter([Some(except(&y.eq(0.0)?, &g.div(&y.mul(2.0)?)?)?)]))
        }
    }))
}
