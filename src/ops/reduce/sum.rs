//! Sums, products, means, counts, truth of all or any.

use super::{count, keep_dims, reduce_dims, wide};
use crate::dtype::{DType, Scalar};
use crate::error::{Result, bail};
use crate::shape::dim as check_dim;
use crate::tensor::Tensor;
use crate::tensor::autocast::full;
use crate::tensor::grad::Grads;

impl Tensor {
    /// The sum of all elements; integers and bools give `i32`, `i64` stays.
    ///
    /// ```
    /// let t = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert_eq!(t.sum()?.item()?, 10.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn sum(&self) -> Result<Tensor> {
        self.sum_dims(&[], false)
    }

    /// The sum over some dimensions, all if none is named.
    ///
    /// ```
    /// let t = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert_eq!(t.sum_dims(&[0], false)?.to_vec::<f32>()?, [4.0, 6.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn sum_dims(&self, dims: &[isize], keepdim: bool) -> Result<Tensor> {
        let x = full(self)?;
        let dtype = x.dtype().to_sum();
        let x = x.to_dtype(dtype.compute())?;
        let (shape, rank, dims) = (self.shape(), self.dim(), dims.to_vec());
        let out = reduce_dims(("sum", "op_add", Scalar::Int(0)), &x, &dims, keepdim)?;
        let out = out.with_grad("sum", &[&x], |_| {
            move |g: &Tensor| {
                let g = keep_dims("sum", g, &dims, rank, keepdim)?;
                Ok(Grads::from_iter([Some(g.expand(&shape)?)]))
            }
        });
        out.to_dtype(dtype)
    }

    /// The sum of the elements that are not NaN.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([1.0f32, f32::NAN], ())?.nansum()?.item()?, 1.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn nansum(&self) -> Result<Tensor> {
        self.nansum_dims(&[], false)
    }

    /// [`Tensor::nansum`] over some dimensions, all if none is named.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, f32::NAN], [2.0, 3.0]], ())?;
    /// assert_eq!(x.nansum_dims(&[1], false)?.to_vec::<f32>()?, [1.0, 5.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn nansum_dims(&self, dims: &[isize], keepdim: bool) -> Result<Tensor> {
        if !self.dtype().is_float() {
            return self.sum_dims(dims, keepdim);
        }
        self.isnan()?.logical_not()?.where_(self, 0.0)?.sum_dims(dims, keepdim)
    }

    /// The mean of all elements, which must be floats; NaN where there is none.
    ///
    /// ```
    /// let t = calor::Tensor::new([1.0f32, 2.0, 6.0], ())?;
    /// assert_eq!(t.mean()?.item()?, 3.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn mean(&self) -> Result<Tensor> {
        self.mean_dims(&[], false)
    }

    /// The mean over some dimensions, all if none is named.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert_eq!(x.mean_dims(&[0], false)?.to_vec::<f32>()?, [2.0, 3.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn mean_dims(&self, dims: &[isize], keepdim: bool) -> Result<Tensor> {
        let dtype = self.dtype();
        if !dtype.is_float() {
            bail!(DType, "mean", "input dtype must be a floating point dtype, got {dtype}");
        }
        let n = count("mean", self, dims)?;
        self.to_dtype(dtype.compute())?.sum_dims(dims, keepdim)?.div(n as f64)?.to_dtype(dtype)
    }

    /// The mean of the elements that are not NaN.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([1.0f32, f32::NAN, 3.0], ())?.nanmean()?.item()?, 2.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn nanmean(&self) -> Result<Tensor> {
        self.nanmean_dims(&[], false)
    }

    /// [`Tensor::nanmean`] over some dimensions, all if none is named.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, f32::NAN], [2.0, 4.0]], ())?;
    /// assert_eq!(x.nanmean_dims(&[1], false)?.to_vec::<f32>()?, [1.0, 3.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn nanmean_dims(&self, dims: &[isize], keepdim: bool) -> Result<Tensor> {
        let dtype = self.dtype();
        if !dtype.is_float() {
            bail!(DType, "nanmean", "expected input to have floating point dtype but got {dtype}");
        }
        let x = self.to_dtype(dtype.compute())?;
        let n = x.isnan()?.logical_not()?.sum_dims(dims, keepdim)?.to_dtype(x.dtype())?;
        x.nansum_dims(dims, keepdim)?.div(&n)?.to_dtype(dtype)
    }

    /// The product of all elements; integers and bools give `i32`, `i64` stays.
    ///
    /// ```
    /// let t = calor::Tensor::new([2.0f32, 3.0, 4.0], ())?;
    /// assert_eq!(t.prod()?.item()?, 24.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn prod(&self) -> Result<Tensor> {
        self.reshape([self.numel()])?.prod_dim(0, false)
    }

    /// The product over one dimension.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert_eq!(x.prod_dim(1, false)?.to_vec::<f32>()?, [2.0, 12.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn prod_dim(&self, dim: isize, keepdim: bool) -> Result<Tensor> {
        let x = full(self)?;
        let dtype = x.dtype().to_sum();
        let x = x.to_dtype(dtype.compute())?;
        let rank = x.dim();
        check_dim("prod", dim, rank)?;
        let out = reduce_dims(("prod", "op_mul", Scalar::Int(1)), &x, &[dim], keepdim)?;
        let out = out.with_grad("prod", &[&x], |r| {
            let x = r.save(&x);
            move |g: &Tensor| {
                let x = x.get()?;
                if rank == 0 {
                    return Ok(Grads::from_iter([Some(g.clone())]));
                }
                // the product of all others, right at zeros too
                let before = x.cumprod_along(dim, false)?.shifted(dim, false, 1.0)?;
                let after = x.cumprod_along(dim, true)?.shifted(dim, true, 1.0)?;
                let g = keep_dims("prod", g, &[dim], rank, keepdim)?;
                Ok(Grads::from_iter([Some(before.mul(&after)?.mul(&g)?)]))
            }
        });
        out.to_dtype(dtype)
    }

    /// How many elements are not zero, as `i32`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([0, 3, 0, 1], ())?.count_nonzero()?.item()?, 2.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn count_nonzero(&self) -> Result<Tensor> {
        self.count_nonzero_dims(&[])
    }

    /// [`Tensor::count_nonzero`] over some dimensions, all if none is named.
    ///
    /// ```
    /// let x = calor::Tensor::new([[0, 1], [2, 3]], ())?;
    /// assert_eq!(x.count_nonzero_dims(&[1])?.to_vec::<i32>()?, [1, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn count_nonzero_dims(&self, dims: &[isize]) -> Result<Tensor> {
        self.to_dtype(DType::Bool)?.sum_dims(dims, false)
    }

    /// Whether all elements are true, that is, not zero; `u8` stays `u8`.
    ///
    /// ```
    /// let t = calor::Tensor::new([[true, false], [true, true]], ())?;
    /// assert_eq!(t.all_dims(&[1], false)?.to_vec::<bool>()?, [false, true]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn all(&self) -> Result<Tensor> {
        self.all_dims(&[], false)
    }

    /// [`Tensor::all`] over some dimensions, all if none is named.
    ///
    /// ```
    /// let x = calor::Tensor::new([[true, false], [true, true]], ())?;
    /// assert_eq!(x.all_dims(&[1], false)?.to_vec::<bool>()?, [false, true]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn all_dims(&self, dims: &[isize], keepdim: bool) -> Result<Tensor> {
        self.truth(("all", "op_minimum", Scalar::Int(1)), dims, keepdim)
    }

    /// Whether any element is true, that is, not zero; `u8` stays `u8`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([false, true], ())?.any()?.item()?, 1.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn any(&self) -> Result<Tensor> {
        self.any_dims(&[], false)
    }

    /// [`Tensor::any`] over some dimensions, all if none is named.
    ///
    /// ```
    /// let x = calor::Tensor::new([[false, false], [true, false]], ())?;
    /// assert_eq!(x.any_dims(&[1], false)?.to_vec::<bool>()?, [false, true]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn any_dims(&self, dims: &[isize], keepdim: bool) -> Result<Tensor> {
        self.truth(("any", "op_maximum", Scalar::Int(0)), dims, keepdim)
    }

    fn truth(&self, what: (&'static str, &'static str, Scalar), dims: &[isize], keepdim: bool) -> Result<Tensor> {
        let x = self.to_dtype(DType::Bool)?.to_dtype(wide(DType::Bool))?;
        let dtype = if self.dtype() == DType::U8 { DType::U8 } else { DType::Bool };
        reduce_dims(what, &x, dims, keepdim)?.to_dtype(dtype)
    }

    /// The trapezoid rule over a dimension with points `dx` apart.
    ///
    /// ```
    /// let y = calor::Tensor::new([1.0f32, 2.0, 3.0], ())?;
    /// assert_eq!(y.trapezoid(1.0, 0)?.item()?, 4.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn trapezoid(&self, dx: f64, dim: isize) -> Result<Tensor> {
        self.trapezoids("trapezoid", None, dim)?.sum_dims(&[dim], false)?.mul(dx / 2.0)
    }

    /// The trapezoid rule over a dimension with points at `x`, which broadcasts or has that dimension only.
    ///
    /// ```
    /// use calor::Tensor;
    /// let (y, x) = (Tensor::new([1.0f32, 3.0], ())?, Tensor::new([0.0f32, 2.0], ())?);
    /// assert_eq!(y.trapezoid_x(&x, 0)?.item()?, 4.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn trapezoid_x(&self, x: &Tensor, dim: isize) -> Result<Tensor> {
        self.trapezoids("trapezoid", Some(x), dim)?.sum_dims(&[dim], false)?.div(2.0)
    }

    /// [`Tensor::trapezoid`] up to each point but the first.
    ///
    /// ```
    /// let y = calor::Tensor::new([1.0f32, 3.0, 5.0], ())?;
    /// assert_eq!(y.cumulative_trapezoid(1.0, 0)?.to_vec::<f32>()?, [2.0, 6.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn cumulative_trapezoid(&self, dx: f64, dim: isize) -> Result<Tensor> {
        self.trapezoids("cumulative_trapezoid", None, dim)?.cumsum(dim)?.mul(dx / 2.0)
    }

    /// [`Tensor::trapezoid_x`] up to each point but the first.
    ///
    /// ```
    /// use calor::Tensor;
    /// let (y, x) = (Tensor::new([1.0f32, 3.0, 5.0], ())?, Tensor::new([0.0f32, 2.0, 3.0], ())?);
    /// assert_eq!(y.cumulative_trapezoid_x(&x, 0)?.to_vec::<f32>()?, [4.0, 8.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn cumulative_trapezoid_x(&self, x: &Tensor, dim: isize) -> Result<Tensor> {
        self.trapezoids("cumulative_trapezoid", Some(x), dim)?.cumsum(dim)?.div(2.0)
    }

    /// Twice the area between each two neighbours; points without `x` are 1 apart.
    fn trapezoids(&self, op: &str, x: Option<&Tensor>, dim: isize) -> Result<Tensor> {
        for t in [Some(self), x].into_iter().flatten() {
            if t.dtype() == DType::Bool {
                bail!(DType, op, "received a bool input, but bool is not supported");
            }
        }
        let y = self.to_dtype(self.dtype().to_float())?;
        let rank = y.dim();
        if rank == 0 {
            bail!(Dim, op, "expects a tensor with at least one dimension, got none");
        }
        let d = check_dim(op, dim, rank)?;
        let pairs = |t: &Tensor, d: usize| -> Result<(Tensor, Tensor)> {
            let n = t.shape()[d].saturating_sub(1);
            let d = d as isize;
            Ok((t.narrow(d, t.shape()[d as usize].min(1) as isize, n)?, t.narrow(d, 0, n)?))
        };
        let (right, left) = pairs(&y, d)?;
        let sum = rounded(&right.add(&left)?)?;
        let Some(x) = x else { return Ok(sum) };
        let n = y.shape()[d];
        let x = if x.dim() == 1 {
            if x.shape()[0] != n {
                bail!(Shape, op, "there must be one x value for each sample point, got {} and {n}", x.shape()[0]);
            }
            let mut shape = crate::shape::Dims::from_elem(1, rank);
            shape[d] = n;
            x.reshape(&shape)?
        } else {
            x.clone()
        };
        let lead = rank.checked_sub(x.dim()).filter(|&l| l <= d);
        let Some(lead) = lead else {
            bail!(Shape, op, "x of shape {:?} has no dimension {d} of y's shape {:?}", &x.shape()[..], &y.shape()[..]);
        };
        let (far, near) = pairs(&x, d - lead)?;
        rounded(&sum.mul(&rounded(&far.sub(&near)?)?)?)
    }
}

/// A half type's value rounded now: what is fused is else rounded only at the end.
fn rounded(t: &Tensor) -> Result<Tensor> {
    t.to_dtype(t.dtype().compute())?.to_dtype(t.dtype())
}
