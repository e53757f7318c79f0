//! Norms of vectors.

use super::keep_dims;
use crate::error::{Result, bail};
use crate::no_grad;
use crate::ops::elementwise::except;
use crate::shape::dim as check_dim;
use crate::tensor::Tensor;
use crate::tensor::autocast::full;
use crate::tensor::grad::Grads;

impl Tensor {
    /// The norm of all elements as one vector, of order 2.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([3.0f32, 4.0], ())?.norm()?.item()?, 5.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn norm(&self) -> Result<Tensor> {
        self.vector_norm(2.0, &[], false)
    }

    /// `sum(|x|^p)^(1/p)` over some dimensions, all if none is named: the largest for infinite `p`, the smallest for
    /// negative infinite `p`, the number of elements that are not zero for 0. Floats only.
    ///
    /// ```
    /// let x = calor::Tensor::new([[3.0f32, 4.0], [-1.0, 0.0]], ())?;
    /// assert_eq!(x.vector_norm(1.0, &[1], false)?.to_vec::<f32>()?, [7.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn vector_norm(&self, p: f64, dims: &[isize], keepdim: bool) -> Result<Tensor> {
        let op = "vector_norm";
        let dtype = self.dtype();
        if !dtype.is_float() {
            bail!(DType, op, "expected a floating point tensor, got {dtype}");
        }
        let x = full(self)?;
        let dtype = x.dtype();
        let x = x.to_dtype(dtype.compute())?;
        let rank = x.dim();
        if super::count(op, &x, dims)? == 0 && (p < 0.0 || p == f64::INFINITY) {
            bail!(Shape, op, "the norm of order {p} of no elements is not defined, shape {:?}", &x.shape()[..]);
        }
        if p == 0.0 {
            // a count has a history, and no gradient
            let out = x.ne(0.0)?.to_dtype(x.dtype())?.sum_dims(dims, keepdim)?;
            return out.with_grad(op, &[&x], |_| |_: &Tensor| Ok(Grads::from_iter([None]))).to_dtype(dtype);
        }
        if p.is_infinite() {
            let a = x.abs()?;
            let out = if p > 0.0 { a.amax(dims, keepdim)? } else { a.amin(dims, keepdim)? };
            return out.to_dtype(dtype);
        }
        let out = no_grad(|| {
            if p == 1.0 {
                x.abs()?.sum_dims(dims, keepdim)
            } else if p == 2.0 {
                x.square()?.sum_dims(dims, keepdim)?.sqrt()
            } else {
                x.abs()?.pow(p)?.sum_dims(dims, keepdim)?.pow(1.0 / p)
            }
        })?;
        let dims = dims.to_vec();
        let out = out.with_grad(op, &[&x], |r| {
            let (x, y) = (r.save(&x), r.output());
            move |g: &Tensor| {
                let (x, g) = (x.get()?, keep_dims(op, g, &dims, rank, keepdim)?);
                let y = keep_dims(op, &y.get()?, &dims, rank, keepdim)?;
                let gx = if p == 1.0 {
                    x.sgn()?.mul(&g)?
                } else if p == 2.0 {
                    except(&y.eq(0.0)?, &x.mul(&g.div(&y)?)?)?
                } else if p < 1.0 {
                    let slope = except(&x.eq(0.0)?, &x.sgn()?.mul(&x.abs()?.pow(p - 1.0)?)?)?;
                    slope.mul(&g.mul(&y.pow(1.0 - p)?)?)?
                } else if p < 2.0 {
                    let slope = x.sgn()?.mul(&x.abs()?.pow(p - 1.0)?)?;
                    slope.mul(&except(&y.eq(0.0)?, &g.div(&y.pow(p - 1.0)?)?)?)?
                } else {
                    let slope = x.mul(&x.abs()?.pow(p - 2.0)?)?;
                    slope.mul(&except(&y.eq(0.0)?, &g.div(&y.pow(p - 1.0)?)?)?)?
                };
                Ok(Grads::from_iter([Some(gx)]))
            }
        });
        out.to_dtype(dtype)
    }

    /// The norm of order `p` of `self - other`, which broadcast; see [`Tensor::vector_norm`].
    ///
    /// ```
    /// let x = calor::Tensor::new([3.0f32, 4.0], ())?;
    /// assert_eq!(x.dist(&calor::Tensor::zeros([2], ())?, 2.0)?.item()?, 5.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn dist(&self, other: &Tensor, p: f64) -> Result<Tensor> {
        full(self)?.sub(&full(other)?)?.vector_norm(p, &[], false)
    }

    /// Every slice along a dimension whose norm of order `p` exceeds `maxnorm` scaled down to it.
    ///
    /// ```
    /// let x = calor::Tensor::new([[3.0f32, 4.0], [0.0, 0.5]], ())?;
    /// let y = x.renorm(2.0, 0, 1.0)?.to_vec::<f32>()?;
    /// assert!((y[0] - 0.6).abs() < 1e-5 && y[3] == 0.5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn renorm(&self, p: f64, dim: isize, maxnorm: f64) -> Result<Tensor> {
        let rank = self.dim();
        if rank < 2 {
            bail!(Dim, "renorm", "input needs at least 2 dimensions, got {rank} dimensions");
        }
        if p <= 0.0 || maxnorm < 0.0 {
            bail!(Value, "renorm", "needs a positive p and maxnorm >= 0, got {p} and {maxnorm}");
        }
        let d = check_dim("renorm", dim, rank)?;
        let others: Vec<isize> = (0..rank).filter(|&i| i != d).map(|i| i as isize).collect();
        let own = full(self)?;
        let x = own.to_dtype(own.dtype().compute())?;
        let norm = x.vector_norm(p, &others, true)?;
        let over = norm.gt(maxnorm)?;
        let safe = over.where_(&norm, 1.0)?.add(1e-7)?;
        let scale = over.where_(safe.reciprocal()?.mul(maxnorm)?, 1.0)?;
        x.mul(&scale)?.to_dtype(own.dtype())
    }

    /// [`Tensor::renorm`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([[3.0f32, 4.0]], ())?;
    /// assert!((x.renorm_(2.0, 0, 1.0)?.norm()?.item()? - 1.0).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn renorm_(&self, p: f64, dim: isize, maxnorm: f64) -> Result<Tensor> {
        self.modify("renorm_", |x| x.renorm(p, dim, maxnorm))
    }
}
