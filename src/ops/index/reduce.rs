//! `scatter_reduce` and `index_reduce`.

use super::at_least_1d;
use super::buckets::{Join, meeting};
use super::gather::Along;
use super::scatter::{cut, same_dtype};
use crate::dtype::Scalar;
use crate::error::{Error, ErrorKind, Result, bail};
use crate::ops::elementwise::Rounding;
use crate::shape::{Dims, dim as check_dim};
use crate::tensor::Tensor;
use crate::tensor::grad::{Grads, no_grad};

/// How the elements that meet in one place are joined.
///
/// ```
/// use calor::{Reduce, Tensor};
/// let (t, index) = (Tensor::zeros([1], ())?, Tensor::new([0, 0], ())?);
/// let src = Tensor::new([2.0f32, 4.0], ())?;
/// let of = |how: Reduce| t.scatter_reduce(0, &index, &src, how, false)?.item();
/// assert_eq!((of(Reduce::Prod)?, of(Reduce::Amax)?, of("mean".parse()?)?), (8.0, 4.0, 3.0));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// Their sum.
    Sum,
    /// Their product.
    Prod,
    /// Their mean, rounded down for integers.
    Mean,
    /// The largest.
    Amax,
    /// The smallest.
    Amin,
}

impl std::str::FromStr for Reduce {
    type Err = Error;

    /// PyTorch's names: `sum`, `prod`, `mean`, `amax`, `amin`.
    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "sum" | "add" => Reduce::Sum,
            "prod" | "multiply" => Reduce::Prod,
            "mean" => Reduce::Mean,
            "amax" => Reduce::Amax,
            "amin" => Reduce::Amin,
            other => {
                let message = format!("reduce argument must be either sum, prod, mean, amax or amin, got {other}");
                return Err(Error::new(ErrorKind::Value, "scatter_reduce", message));
            }
        })
    }
}

/// Sources of the index's shape joined into `x`, without history.
fn joined(along: &Along, x: &Tensor, source: &Tensor, reduce: Reduce, include_self: bool) -> Result<Tensor> {
    let dtype = x.dtype();
    let wide = meeting(dtype);
    let buckets = along.buckets()?;
    let (x, source) = (x.to_dtype(wide)?, source.to_dtype(wide)?);
    let join = match reduce {
        Reduce::Sum | Reduce::Mean => Join::Sum,
        Reduce::Prod => Join::Prod,
        Reduce::Amax => Join::Max,
        Reduce::Amin => Join::Min,
    };
    let new = along.joined(&buckets, join, &source)?;
    let count = along.counts(&buckets)?;
    let touched = count.gt(0)?;
    let neutral = |n: i64| -> Result<Tensor> {
        if include_self {
            return Ok(x.clone());
        }
        touched.where_(Tensor::constant(&[], Scalar::Int(n), wide, x.device())?, &x)
    };
    let out = match reduce {
        Reduce::Sum => neutral(0)?.add(new)?,
        Reduce::Prod => neutral(1)?.mul(new)?,
        Reduce::Mean => {
            let sum = neutral(0)?.add(new)?;
            let count = count.add(i64::from(include_self))?.clamp_min(1)?.to_dtype(wide)?;
            if wide.is_float() { sum.div(count)? } else { sum.div_mode(count, Rounding::Floor)? }
        }
        Reduce::Amax if include_self => x.maximum(new)?,
        Reduce::Amin if include_self => x.minimum(new)?,
        Reduce::Amax | Reduce::Amin => touched.where_(new, &x)?,
    };
    out.to_dtype(dtype)
}

/// The gradients of `x` and `source`.
fn gradients(
    along: &Along,
    (x, source, result): (&Tensor, &Tensor, &Tensor),
    (reduce, include_self): (Reduce, bool),
    g: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let dtype = g.dtype();
    let (gx, gs) = match reduce {
        Reduce::Sum => (g.clone(), along.pick(g)?),
        Reduce::Mean => {
            let ones = Tensor::ones(along.index.shape(), (dtype, g.device()))?;
            let count = along.collect(&ones)?.add(i64::from(include_self))?.clamp_min(1)?;
            let g = g.div(count)?;
            (g.clone(), along.pick(&g)?)
        }
        Reduce::Prod => {
            let again = |x: &Tensor, s: &Tensor| whole(along, x, s, reduce, include_self);
            let rest = x.eq(0)?.where_(1.0, x)?;
            let gx = g.mul(again(&rest, source)?)?.div(&rest)?;
            // where one source is 0, its gradient is the product of the others
            let zero = source.eq(0)?;
            let zeros = along.pick(&along.collect(&zero.to_dtype(dtype)?)?)?;
            let only = zero.logical_and(&zeros.eq(1)?)?;
            let others = again(x, &only.where_(1.0, source)?)?;
            let single = along.pick(&g.mul(others)?)?;
            let usual = along.pick(&g.mul(result)?)?.div(zero.where_(1.0, source)?)?;
            (gx, only.where_(single, usual)?)
        }
        Reduce::Amax | Reduce::Amin => {
            // equal ones share
            let own = x.eq(result)?.to_dtype(dtype)?;
            let its = source.eq(along.pick(result)?)?.to_dtype(dtype)?;
            let share = g.div(own.add(along.collect(&its)?)?)?;
            (own.mul(&share)?, its.mul(along.pick(&share)?)?)
        }
    };
    Ok((if include_self { gx } else { along.clear(&gx)? }, gs))
}

/// Sources of the index's shape joined into `x`.
fn whole(along: &Along, x: &Tensor, source: &Tensor, reduce: Reduce, include_self: bool) -> Result<Tensor> {
    let out = no_grad(|| joined(along, x, source, reduce, include_self))?;
    Ok(out.with_grad(along.op, &[x, source], |r| {
        let kept = (reduce != Reduce::Sum && reduce != Reduce::Mean).then(|| (r.save(x), r.save(source), r.output()));
        let along = along.clone();
        move |g: &Tensor| {
            let (gx, gs) = match &kept {
                Some((x, source, result)) => {
                    let values = (x.get()?, source.get()?, result.get()?);
                    gradients(&along, (&values.0, &values.1, &values.2), (reduce, include_self), g)?
                }
                None => gradients(&along, (g, g, g), (reduce, include_self), g)?,
            };
            Ok(Grads::from_iter([Some(gx), Some(gs)]))
        }
    }))
}

impl Tensor {
    /// This tensor with the elements of `src` joined where `index` says along `dim`, together with what is there, or,
    /// without `include_self`, in its place. Places that no index names stay.
    ///
    /// ```
    /// use calor::{Reduce, Tensor};
    /// let t = Tensor::new([5.0f32, 5.0], ())?;
    /// let (index, src) = (Tensor::new([1, 1], ())?, Tensor::new([2.0f32, 4.0], ())?);
    /// assert_eq!(t.scatter_reduce(0, &index, &src, Reduce::Mean, false)?.to_vec::<f32>()?, [5.0, 3.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn scatter_reduce(
        &self,
        dim: isize,
        index: &Tensor,
        src: &Tensor,
        reduce: Reduce,
        include_self: bool,
    ) -> Result<Tensor> {
        self.reduce_along("scatter_reduce", dim, index, src, reduce, include_self)
    }

    fn reduce_along(
        &self,
        op: &'static str,
        dim: isize,
        index: &Tensor,
        src: &Tensor,
        reduce: Reduce,
        include_self: bool,
    ) -> Result<Tensor> {
        same_dtype(op, self, src)?;
        let (x, i, s) = (at_least_1d(self)?, at_least_1d(index)?, at_least_1d(src)?);
        let along = Along::new(op, &x.shape(), dim, &i)?;
        if i.numel() == 0 {
            return self.try_clone();
        }
        whole(&along, &x, &cut(op, &s, &i)?, reduce, include_self)?.reshape(self.shape())
    }

    /// [`Tensor::scatter_reduce`] in place.
    ///
    /// ```
    /// use calor::{Reduce, Tensor};
    /// let t = Tensor::new([5.0f32, 5.0], ())?;
    /// let (index, src) = (Tensor::new([1, 1], ())?, Tensor::new([2.0f32, 9.0], ())?);
    /// assert_eq!(t.scatter_reduce_(0, &index, &src, Reduce::Amax, true)?.to_vec::<f32>()?, [5.0, 9.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn scatter_reduce_(
        &self,
        dim: isize,
        index: &Tensor,
        src: &Tensor,
        reduce: Reduce,
        include_self: bool,
    ) -> Result<Tensor> {
        self.modify("scatter_reduce_", |x| x.scatter_reduce(dim, index, src, reduce, include_self))
    }

    /// This tensor with the slices of `source` joined where the vector `index` says along `dim`, as in
    /// [`Tensor::scatter_reduce`].
    ///
    /// ```
    /// use calor::{Reduce, Tensor};
    /// let t = Tensor::ones([2, 2], ())?;
    /// let (index, source) = (Tensor::new([1, 1], ())?, Tensor::new([[2.0f32, 3.0], [4.0, 5.0]], ())?);
    /// let y = t.index_reduce(0, &index, &source, Reduce::Prod, true)?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 1.0, 8.0, 15.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn index_reduce(
        &self,
        dim: isize,
        index: &Tensor,
        source: &Tensor,
        reduce: Reduce,
        include_self: bool,
    ) -> Result<Tensor> {
        const OP: &str = "index_reduce";
        if reduce == Reduce::Sum {
            bail!(Value, OP, "reduce argument must be either prod, mean, amax or amin, got sum");
        }
        let (_, _, s) = self.index_parts(OP, dim, index, Some(source))?;
        let s = s.unwrap_or(source.clone());
        let d = check_dim(OP, dim, s.dim())?;
        let mut shape = Dims::from_elem(1, s.dim());
        shape[d] = index.numel();
        let index = index.reshape(&shape)?.expand(s.shape())?;
        self.reduce_along(OP, dim, &index, &s, reduce, include_self)
    }

    /// [`Tensor::index_reduce`] in place.
    ///
    /// ```
    /// use calor::{Reduce, Tensor};
    /// let t = Tensor::ones([2], ())?;
    /// let (index, source) = (Tensor::new([1, 1], ())?, Tensor::new([2.0f32, 4.0], ())?);
    /// assert_eq!(t.index_reduce_(0, &index, &source, Reduce::Mean, false)?.to_vec::<f32>()?, [1.0, 3.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn index_reduce_(
        &self,
        dim: isize,
        index: &Tensor,
        source: &Tensor,
        reduce: Reduce,
        include_self: bool,
    ) -> Result<Tensor> {
        self.modify("index_reduce_", |x| x.index_reduce(dim, index, source, reduce, include_self))
    }
}
