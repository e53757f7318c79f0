//! The softmax family: computed without history, each with one gradient rule.

use super::{count, keep_dims};
use crate::error::{Result, bail};
use crate::no_grad;
use crate::ops::elementwise::except;
use crate::shape::dim as check_dim;
use crate::tensor::Tensor;
use crate::tensor::autocast::full;
use crate::tensor::grad::Grads;

/// Softmax of a float tensor, or its logarithm, without history.
fn forward(x: &Tensor, dim: isize, log: bool) -> Result<Tensor> {
    let x = x.detach();
    let x = x.sub(&x.amax(&[dim], true)?)?;
    let e = x.exp()?;
    let sum = e.sum_dims(&[dim], true)?;
    if log { x.sub(&sum.log()?) } else { e.div(&sum) }
}

impl Tensor {
    /// `e^x / sum(e^x)` over a dimension; floats only.
    ///
    /// ```
    /// let t = calor::Tensor::zeros([1, 4], ())?;
    /// assert_eq!(t.softmax(-1)?.to_vec::<f32>()?, [0.25; 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn softmax(&self, dim: isize) -> Result<Tensor> {
        let own = full(self)?;
        let Some(x) = own.softmax_input("softmax", dim)? else { return own.try_clone() };
        let out = forward(&x, dim, false)?;
        let out = out.with_grad("softmax", &[&x], |r| {
            let y = r.output();
            move |g: &Tensor| {
                let y = y.get()?;
                // y sums to 1 only as far as rounding goes: what g has in common cancels at the second time
                let centred = |g: &Tensor| g.sub(&y.mul(g)?.sum_dims(&[dim], true)?);
                Ok(Grads::from_iter([Some(y.mul(&centred(&centred(g)?)?)?)]))
            }
        });
        out.to_dtype(own.dtype())
    }

    /// `softmax(-x)`: `torch.nn.functional.softmin`.
    ///
    /// ```
    /// let x = calor::Tensor::new([0.0f32, 200.0], ())?;
    /// assert_eq!(x.softmin(0)?.to_vec::<f32>()?, [1.0, 0.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn softmin(&self, dim: isize) -> Result<Tensor> {
        self.neg()?.softmax(dim)
    }

    /// The logarithm of [`Tensor::softmax`], computed without overflow.
    ///
    /// ```
    /// let y = calor::Tensor::zeros([2], ())?.log_softmax(0)?.to_vec::<f32>()?;
    /// assert!((y[0] + 2f32.ln()).abs() < 1e-6);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn log_softmax(&self, dim: isize) -> Result<Tensor> {
        let own = full(self)?;
        let Some(x) = own.softmax_input("log_softmax", dim)? else { return own.try_clone() };
        let out = forward(&x, dim, true)?;
        let out = out.with_grad("log_softmax", &[&x], |r| {
            let y = r.output();
            move |g: &Tensor| {
                let sum = g.sum_dims(&[dim], true)?;
                Ok(Grads::from_iter([Some(g.sub(&y.get()?.exp()?.mul(&sum)?)?)]))
            }
        });
        out.to_dtype(own.dtype())
    }

    /// The input in the dtype it is computed in; nothing where there is nothing to compute.
    fn softmax_input(&self, op: &str, dim: isize) -> Result<Option<Tensor>> {
        if !self.dtype().is_float() {
            bail!(DType, op, "is not implemented for {}", self.dtype());
        }
        check_dim(op, dim, self.dim())?;
        if self.numel() == 0 {
            return Ok(None);
        }
        self.to_dtype(self.dtype().compute()).map(Some)
    }

    /// `log(sum(e^x))` over some dimensions, all if none is named, without overflow; integers give floats.
    ///
    /// ```
    /// let y = calor::Tensor::zeros([2, 4], ())?.logsumexp(&[1], false)?.to_vec::<f32>()?;
    /// assert!((y[1] - 4f32.ln()).abs() < 1e-6);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn logsumexp(&self, dims: &[isize], keepdim: bool) -> Result<Tensor> {
        let own = full(self)?;
        let dtype = own.dtype().to_float();
        let x = own.to_dtype(dtype.compute())?;
        let rank = x.dim();
        if count("logsumexp", &x, dims)? == 0 {
            return x.exp()?.sum_dims(dims, keepdim)?.log()?.to_dtype(dtype);
        }
        let out = no_grad(|| {
            let max = x.amax(dims, true)?;
            // infinite ones would give inf - inf
            let shift = except(&max.isinf()?, &max)?;
            let out = x.sub(&shift)?.exp()?.sum_dims(dims, true)?.log()?.add(&shift)?;
            let shape = x.amax(dims, keepdim)?.shape();
            out.reshape(&shape)
        })?;
        let dims = dims.to_vec();
        let out = out.with_grad("logsumexp", &[&x], |r| {
            let (x, y) = (r.save(&x), r.output());
            move |g: &Tensor| {
                let y = keep_dims("logsumexp", &y.get()?, &dims, rank, keepdim)?;
                let g = keep_dims("logsumexp", g, &dims, rank, keepdim)?;
                let share = except(&y.isneginf()?, &x.get()?.sub(&y)?.exp()?)?;
                Ok(Grads::from_iter([Some(share.mul(&g)?)]))
            }
        });
        out.to_dtype(dtype)
    }
}
