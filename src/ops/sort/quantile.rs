//! Medians, modes, quantiles.

use super::{order, permuted};
use crate::dtype::{DType, Scalar};
use crate::error::{Result, bail};
use crate::ops::arg::Arg;
use crate::ops::build::checked;
use crate::ops::reduce::{check_some, take};
use crate::ops::scan::places;
use crate::shape::{Dims, dim as check_dim};
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;
use smallvec::SmallVec;

/// What a quantile between two elements is.
///
/// ```
/// use calor::{Interpolation, Tensor};
/// let t = Tensor::new([1.0f32, 2.0], ())?;
/// let of = |how| t.quantile(0.25, None, false, how)?.item();
/// assert_eq!((of(Interpolation::Linear)?, of(Interpolation::Lower)?), (1.25, 1.0));
/// assert_eq!((of(Interpolation::Higher)?, of(Interpolation::Midpoint)?), (2.0, 1.5));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interpolation {
    /// On the line between them.
    #[default]
    Linear,
    /// The lower one.
    Lower,
    /// The higher one.
    Higher,
    /// The nearer one, at half the one with the even number.
    Nearest,
    /// Half their sum.
    Midpoint,
}

/// For so many at most, a sum over all places is asked for each element what it gave: one kernel.
const FEW: usize = 32;

/// Elements of dimension `d` by place, a few of them, in any order: `index` has `x`'s other dimensions.
pub(super) fn gathered(x: &Tensor, d: usize, index: &Tensor) -> Result<Tensor> {
    let size = x.shape()[d];
    let out = take("gather", x, d, index)?;
    Ok(out.with_grad("gather", &[x], |r| {
        let index = r.save(index);
        move |g: &Tensor| {
            // each place sums what was taken from it
            let index = index.get()?;
            if index.shape()[d] > FEW {
                let mut shape = index.shape();
                shape[d] = size;
                let none = Tensor::zeros(&shape[..], (g.dtype(), g.device()))?;
                return Ok(Grads::from_iter([Some(none.scatter_add(d as isize, &index, g)?)]));
            }
            let next = d as isize + 1;
            let index = index.unsqueeze(next)?;
            let mut shape = index.shape();
            shape[d + 1] = size;
            let all = Tensor::ones(&shape[..], (DType::Bool, g.device()))?;
            let hit = places(&all, d + 1)?.eq(&index)?;
            Ok(Grads::from_iter([Some(hit.where_(g.unsqueeze(next)?, 0.0)?.sum_dims(&[d as isize], false)?)]))
        }
    }))
}

impl Tensor {
    /// The median of all elements: the lower of the two in the middle; NaN if any is NaN.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([4.0f32, 1.0, 3.0, 2.0], ())?.median()?.item()?, 2.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn median(&self) -> Result<Tensor> {
        self.middle("median", false)
    }

    /// The median of the elements that are not NaN.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([3.0f32, f32::NAN, 1.0, 2.0], ())?.nanmedian()?.item()?, 2.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn nanmedian(&self) -> Result<Tensor> {
        self.middle("nanmedian", true)
    }

    /// The medians along a dimension and where they stand, as `i32`: values and indices.
    ///
    /// ```
    /// let (value, place) = calor::Tensor::new([[5, 9, 7]], ())?.median_dim(1, false)?;
    /// assert_eq!((value.item()?, place.item()?), (7.0, 2.0));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn median_dim(&self, dim: isize, keepdim: bool) -> Result<(Tensor, Tensor)> {
        self.middle_dim("median", dim, keepdim, false)
    }

    /// The medians of what is not NaN along a dimension and where they stand, as `i32`: values and indices.
    ///
    /// ```
    /// let x = calor::Tensor::new([[f32::NAN, 9.0, 7.0, 8.0]], ())?;
    /// let (value, place) = x.nanmedian_dim(1, false)?;
    /// assert_eq!((value.item()?, place.item()?), (8.0, 3.0));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn nanmedian_dim(&self, dim: isize, keepdim: bool) -> Result<(Tensor, Tensor)> {
        self.middle_dim("nanmedian", dim, keepdim, true)
    }

    fn middle(&self, name: &'static str, ignore: bool) -> Result<Tensor> {
        if self.numel() == 0 {
            let nan = if self.dtype().is_float() {
                Scalar::Float(f64::NAN)
            } else {
                Scalar::Int(i64::MIN).saturated(self.dtype())
            };
            return Tensor::full([], nan, (self.dtype(), self.device()));
        }
        let flat = self.detach().reshape([self.numel()])?;
        let out = flat.middle_dim(name, 0, false, ignore)?.0;
        Ok(out.with_grad(name, &[self], |r| {
            let (x, out) = (r.save(self), r.output());
            move |g: &Tensor| {
                let (x, out) = (x.get()?.detach(), out.get()?.detach());
                let ties = x.eq(&out)?.logical_or(&x.isnan()?.logical_and(&out.isnan()?)?)?.to_dtype(g.dtype())?;
                Ok(Grads::from_iter([Some(ties.div(&ties.sum()?)?.mul(g)?)]))
            }
        }))
    }

    fn middle_dim(&self, name: &'static str, dim: isize, keepdim: bool, ignore: bool) -> Result<(Tensor, Tensor)> {
        let d = check_dim(name, dim, self.dim())?;
        check_some(name, self, &[dim])?;
        if self.dim() == 0 {
            return self.sort(dim, false);
        }
        let x = self.detach();
        let order = order(&x, d, false)?;
        let n = x.shape()[d] as i64;
        // NaN stands behind the numbers
        let numbers = x.isnan()?.logical_not()?.sum_dims(&[dim], true)?;
        let middle = if ignore {
            numbers.sub(1)?.clamp_min(0)?.floor_divide(2)?
        } else {
            numbers.lt(n)?.where_(&numbers, (n - 1) / 2)?
        };
        self.at_place(name, d, &take(name, &order, d, &middle.to_dtype(DType::I32)?)?, keepdim)
    }

    /// The most frequent elements along a dimension, the smallest among equally frequent ones, and where they last
    /// stand, as `i32`: values and indices.
    ///
    /// ```
    /// let (value, place) = calor::Tensor::new([2, 5, 2, 7], ())?.mode(0, false)?;
    /// assert_eq!((value.item()?, place.item()?), (2.0, 2.0));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn mode(&self, dim: isize, keepdim: bool) -> Result<(Tensor, Tensor)> {
        let d = check_dim("mode", dim, self.dim())?;
        check_some("mode", self, &[dim])?;
        if self.dim() == 0 {
            return self.sort(dim, false);
        }
        let x = self.detach();
        let order = order(&x, d, false)?;
        let sorted = permuted(&x, &order, d)?;
        let here = places(&Tensor::ones(x.shape(), (DType::Bool, x.device()))?, d)?;
        let starts = sorted.ne(&sorted.shifted(dim, false, 0.0)?)?.logical_or(&here.eq(0)?)?;
        // the place in its run is largest at the end of the longest one
        let run = here.sub(&places(&starts, d)?.cummax(dim)?.0)?;
        let best = run.argmax(Some(dim), true)?;
        self.at_place("mode", d, &take("mode", &order, d, &best)?, keepdim)
    }

    /// Quantiles `q`, a number or a tensor of at most one dimension, along a dimension or of all elements; several come
    /// as a first dimension. NaN if any element is NaN.
    ///
    /// ```
    /// use calor::{Interpolation, Tensor};
    /// let t = Tensor::new([1.0f32, 2.0, 3.0, 4.0], ())?;
    /// assert_eq!(t.quantile(0.5, None, false, Interpolation::Linear)?.item()?, 2.5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn quantile(
        &self,
        q: impl Into<Arg>,
        dim: Option<isize>,
        keepdim: bool,
        interpolation: Interpolation,
    ) -> Result<Tensor> {
        self.quantiles("quantile", q.into(), dim, keepdim, (interpolation, false))
    }

    /// [`Tensor::quantile`] of the elements that are not NaN.
    ///
    /// ```
    /// use calor::{Interpolation, Tensor};
    /// let t = Tensor::new([1.0f32, f32::NAN, 3.0], ())?;
    /// assert_eq!(t.nanquantile(0.5, None, false, Interpolation::Linear)?.item()?, 2.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn nanquantile(
        &self,
        q: impl Into<Arg>,
        dim: Option<isize>,
        keepdim: bool,
        interpolation: Interpolation,
    ) -> Result<Tensor> {
        self.quantiles("nanquantile", q.into(), dim, keepdim, (interpolation, true))
    }

    fn quantiles(
        &self,
        op: &'static str,
        q: Arg,
        dim: Option<isize>,
        keepdim: bool,
        (how, ignore): (Interpolation, bool),
    ) -> Result<Tensor> {
        let dtype = self.dtype();
        if !matches!(dtype, DType::F32 | DType::F64) {
            bail!(DType, op, "input tensor must be either f32 or f64, got {dtype}");
        }
        if self.numel() == 0 {
            bail!(Shape, op, "input tensor must be non-empty, shape {:?}", &self.shape()[..]);
        }
        let q = match q {
            Arg::Tensor(q) if q.dim() > 1 => bail!(Dim, op, "q must be a scalar or 1D tensor, got {} dims", q.dim()),
            Arg::Tensor(q) if q.dtype() != dtype => {
                bail!(DType, op, "q tensor must be same dtype as the input tensor, {} and {dtype}", q.dtype())
            }
            Arg::Scalar(s) if !(0.0..=1.0).contains(&s.as_f64()) => {
                bail!(Value, op, "q must be in the range [0, 1] but got {}", s.as_f64())
            }
            Arg::Tensor(q) => {
                checked(op, &q, &[("op_ge", 0.0), ("op_le", 1.0)], "q values must be in the range [0, 1]")?
            }
            q => q.tensor(dtype, self.device())?,
        };
        let (several, count) = (q.dim() == 1, q.numel());
        let q = q.reshape([count])?;
        let rank = self.dim();
        let shape = self.shape();
        let d = dim.map(|dim| check_dim(op, dim, rank)).transpose()?;
        // the dimension goes to the end
        let x = match d {
            Some(d) if rank > 0 => {
                let order: SmallVec<[isize; 6]> =
                    (0..rank).filter(|&i| i != d).chain([d]).map(|i| i as isize).collect();
                self.permute(&order)?
            }
            _ => self.reshape([self.numel()])?,
        };
        let reduced = |i: &usize| d.is_none_or(|d| d == *i);
        let mut rest: Dims =
            (0..rank).filter(|i| keepdim || !reduced(i)).map(|i| if reduced(&i) { 1 } else { shape[i] }).collect();
        let last = x.dim() - 1;
        let n = x.shape()[last];
        let sorted = x.sort(-1, false)?.0;
        let numbers = x.isnan()?.logical_not()?.sum_dims(&[-1], true)?;
        let ranks = if ignore {
            q.mul(&numbers.sub(1)?.clamp_min(0)?.to_dtype(dtype)?)?
        } else {
            // the last of a row that has NaN is one
            numbers.lt(n)?.where_((n - 1) as f64, &q.mul((n - 1) as f64)?)?.to_dtype(dtype)?
        };
        let ranks = match how {
            Interpolation::Lower => ranks.floor()?,
            Interpolation::Higher => ranks.ceil()?,
            Interpolation::Nearest => ranks.round()?,
            _ => ranks,
        };
        let below = ranks.floor()?;
        let values = gathered(&sorted, last, &below.detach().to_dtype(DType::I32)?)?;
        let values = if matches!(how, Interpolation::Linear | Interpolation::Midpoint) {
            let above = gathered(&sorted, last, &ranks.detach().ceil()?.to_dtype(DType::I32)?)?;
            let weight = if how == Interpolation::Midpoint {
                Tensor::full([], 0.5, (dtype, self.device()))?
            } else {
                ranks.sub(&below)?
            };
            values.lerp(&above, &weight)?
        } else {
            values
        };
        if several {
            rest.insert(0, count);
            let order: SmallVec<[isize; 6]> = std::iter::once(last as isize).chain(0..last as isize).collect();
            return values.permute(&order)?.reshape(&rest);
        }
        values.reshape(&rest)
    }
}
