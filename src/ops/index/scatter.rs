//! Writing at places that index tensors name.

use super::at_least_1d;
use super::buckets::meeting;
use super::gather::{Along, Indices};
use super::mask::without_masks;
use crate::dtype::Scalar;
use crate::error::{Result, bail};
use crate::ops::arg::Arg;
use crate::shape::{Dims, dim as check_dim, numel};
use crate::tensor::Tensor;
use crate::tensor::autocast::widest;
use smallvec::SmallVec;

/// A source as large as the index, cut to it where it is larger.
pub(super) fn cut(op: &str, source: &Tensor, index: &Tensor) -> Result<Tensor> {
    let (have, want) = (source.shape(), index.shape());
    if have.len() != want.len() || have.iter().zip(&want).any(|(a, b)| a < b) {
        bail!(Shape, op, "expected index {:?} to be no larger than src {:?}", &want[..], &have[..]);
    }
    (0..want.len()).try_fold(
        source.clone(),
        |s, d| {
            if have[d] == want[d] { Ok(s) } else { s.narrow(d as isize, 0, want[d]) }
        },
    )
}

pub(super) fn same_dtype(op: &str, x: &Tensor, source: &Tensor) -> Result<()> {
    if x.dtype() != source.dtype() {
        bail!(DType, op, "expected self.dtype to be equal to src.dtype, got {} and {}", x.dtype(), source.dtype());
    }
    Ok(())
}

/// A tensor of `x`'s dtype, or a number as one without dimensions.
fn value(op: &str, x: &Tensor, value: Arg) -> Result<Tensor> {
    match value {
        Arg::Tensor(t) => {
            same_dtype(op, x, &t)?;
            Ok(t)
        }
        number => number.tensor(x.dtype(), x.device()),
    }
}

impl Tensor {
    /// This tensor with the elements of `src` where `index` says along `dim`: `self[index[i][j]][j] = src[i][j]` for
    /// `dim` 0. `src` is a tensor no smaller than the index, or a number; of several elements for one place the last
    /// one stays.
    ///
    /// Indices must lie in `0..self.size(dim)`; others are reported at the next read.
    ///
    /// ```
    /// use calor::Tensor;
    /// let t = Tensor::zeros([2, 2], ())?.scatter(1, &Tensor::new([[1], [0]], ())?, 5.0)?;
    /// assert_eq!(t.to_vec::<f32>()?, [0.0, 5.0, 5.0, 0.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn scatter(&self, dim: isize, index: &Tensor, src: impl Into<Arg>) -> Result<Tensor> {
        let src = src.into();
        let number = matches!(src, Arg::Scalar(_));
        let src = value("scatter", self, src)?;
        let (x, i) = (at_least_1d(self)?, at_least_1d(index)?);
        let along = Along::new("scatter", &x.shape(), dim, &i)?;
        if i.numel() == 0 {
            return self.try_clone();
        }
        let src = if number { src.expand(i.shape())? } else { cut("scatter", &at_least_1d(&src)?, &i)? };
        along.assign(&x, &src)?.reshape(self.shape())
    }

    /// [`Tensor::scatter`] in place.
    ///
    /// ```
    /// let (x, i) = (calor::Tensor::zeros([3], ())?, calor::Tensor::new([2, 0], ())?);
    /// x.scatter_(0, &i, 5.0)?;
    /// assert_eq!(x.to_vec::<f32>()?, [5.0, 0.0, 5.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn scatter_(&self, dim: isize, index: &Tensor, src: impl Into<Arg>) -> Result<Tensor> {
        let src = src.into();
        self.modify("scatter_", |x| x.scatter(dim, index, src))
    }

    /// This tensor with the elements of `src` added where `index` says along `dim`:
    /// `self[index[i][j]][j] += src[i][j]` for `dim` 0. Sums are in the order of the sources: the same on every run.
    ///
    /// Indices must lie in `0..self.size(dim)`; others are reported at the next read.
    ///
    /// ```
    /// use calor::Tensor;
    /// let t = Tensor::zeros([3], ())?;
    /// let t = t.scatter_add(0, &Tensor::new([2, 0, 2], ())?, &Tensor::new([1.0f32, 2.0, 3.0], ())?)?;
    /// assert_eq!(t.to_vec::<f32>()?, [2.0, 0.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn scatter_add(&self, dim: isize, index: &Tensor, src: &Tensor) -> Result<Tensor> {
        let [own, src] = &widest([self, src])?;
        own.scatter_sum("scatter_add", dim, index, src)
    }

    pub(super) fn scatter_sum(&self, op: &'static str, dim: isize, index: &Tensor, src: &Tensor) -> Result<Tensor> {
        same_dtype(op, self, src)?;
        let (x, i, s) = (at_least_1d(self)?, at_least_1d(index)?, at_least_1d(src)?);
        let along = Along::new(op, &x.shape(), dim, &i)?;
        if i.numel() == 0 {
            return self.try_clone();
        }
        let wide = meeting(self.dtype());
        let sum = along.collect(&cut(op, &s, &i)?.to_dtype(wide)?)?;
        x.to_dtype(wide)?.add(sum)?.to_dtype(self.dtype())?.reshape(self.shape())
    }

    /// [`Tensor::scatter_add`] in place.
    ///
    /// ```
    /// let (x, i) = (calor::Tensor::zeros([3], ())?, calor::Tensor::new([2, 0], ())?);
    /// x.scatter_add_(0, &i, &calor::Tensor::ones([2], ())?)?;
    /// assert_eq!(x.to_vec::<f32>()?, [1.0, 0.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn scatter_add_(&self, dim: isize, index: &Tensor, src: &Tensor) -> Result<Tensor> {
        self.modify("scatter_add_", |x| x.scatter_sum("scatter_add_", dim, index, src))
    }

    /// Checks a vector of indices along `dim`, and, where there is one, a source with as many slices. Gives this tensor
    /// and the source with at least one dimension.
    pub(super) fn index_parts(
        &self,
        op: &'static str,
        dim: isize,
        index: &Tensor,
        source: Option<&Tensor>,
    ) -> Result<(Tensor, Indices, Option<Tensor>)> {
        let d = check_dim(op, dim, self.dim())?;
        if index.dim() > 1 {
            bail!(Shape, op, "index is supposed to be a vector, got shape {:?}", &index.shape()[..]);
        }
        let (x, i) = (at_least_1d(self)?, at_least_1d(index)?);
        let n = i.numel();
        let mut list: SmallVec<[Option<Tensor>; 4]> = SmallVec::from_elem(None, d);
        list.push(Some(i));
        // slices that are filled may be counted from the end
        let indices = Indices::new(op, &x.shape(), &list, source.is_none())?;
        let Some(source) = source else { return Ok((x, indices, None)) };
        same_dtype(op, self, source)?;
        let mut want = x.shape();
        want[d] = n;
        // a source without dimensions is one slice
        let s = if source.dim() == 0 && numel(&want) == 1 { source.reshape(&want)? } else { source.clone() };
        if s.dim() == x.dim() && s.shape()[d] != n {
            bail!(Shape, op, "number of indices ({n}) should be equal to source.size({d}) ({})", s.shape()[d]);
        }
        if s.shape() != want {
            bail!(
                Shape,
                op,
                "source tensor shape must match self tensor shape, excluding the specified dimension: {:?} and {:?}",
                &source.shape()[..],
                &self.shape()[..]
            );
        }
        Ok((x, indices, Some(s)))
    }

    /// This tensor with the slices of `alpha source` added where the vector `index` says along `dim`.
    ///
    /// ```
    /// use calor::Tensor;
    /// let t = Tensor::ones([2, 2], ())?;
    /// let t = t.index_add(0, &Tensor::new([1, 1], ())?, &Tensor::ones([2, 2], ())?, 10.0)?;
    /// assert_eq!(t.to_vec::<f32>()?, [1.0, 1.0, 21.0, 21.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn index_add(&self, dim: isize, index: &Tensor, source: &Tensor, alpha: impl Into<Scalar>) -> Result<Tensor> {
        let (x, indices, s) = self.index_parts("index_add", dim, index, Some(source))?;
        let (alpha, wide) = (alpha.into(), meeting(self.dtype()));
        let alpha = if self.dtype().is_float() { alpha } else { Scalar::Int(alpha.as_i64()) };
        let s = s.unwrap_or(x.clone()).to_dtype(wide)?;
        let s = if alpha.as_f64() == 1.0 { s } else { s.mul(alpha)? };
        let sum = indices.deposit(&s)?;
        x.to_dtype(wide)?.add(sum)?.to_dtype(self.dtype())?.reshape(self.shape())
    }

    /// [`Tensor::index_add`] in place.
    ///
    /// ```
    /// use calor::Tensor;
    /// let (x, i) = (Tensor::zeros([2], ())?, Tensor::new([1, 1], ())?);
    /// assert_eq!(x.index_add_(0, &i, &Tensor::ones([2], ())?, 3)?.to_vec::<f32>()?, [0.0, 6.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn index_add_(&self, dim: isize, index: &Tensor, source: &Tensor, alpha: impl Into<Scalar>) -> Result<Tensor> {
        self.modify("index_add_", |x| x.index_add(dim, index, source, alpha))
    }

    /// This tensor with the slices of `source` where the vector `index` says along `dim`; of several for one place
    /// the last one stays.
    ///
    /// ```
    /// let (x, i) = (calor::Tensor::zeros([3], ())?, calor::Tensor::new([2, 0], ())?);
    /// let y = x.index_copy(0, &i, &calor::Tensor::new([1.0f32, 2.0], ())?)?;
    /// assert_eq!(y.to_vec::<f32>()?, [2.0, 0.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn index_copy(&self, dim: isize, index: &Tensor, source: &Tensor) -> Result<Tensor> {
        let (x, indices, s) = self.index_parts("index_copy", dim, index, Some(source))?;
        indices.assign(&x, &s.unwrap_or(x.clone()))?.reshape(self.shape())
    }

    /// [`Tensor::index_copy`] in place.
    ///
    /// ```
    /// use calor::Tensor;
    /// let (x, i) = (Tensor::zeros([3], ())?, Tensor::new([2, 0], ())?);
    /// x.index_copy_(0, &i, &Tensor::new([1.0f32, 2.0], ())?)?;
    /// assert_eq!(x.to_vec::<f32>()?, [2.0, 0.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn index_copy_(&self, dim: isize, index: &Tensor, source: &Tensor) -> Result<Tensor> {
        self.modify("index_copy_", |x| x.index_copy(dim, index, source))
    }

    /// This tensor with `value`, a number or a tensor without dimensions, in the slices that the vector `index` names
    /// along `dim`.
    ///
    /// ```
    /// let (x, i) = (calor::Tensor::zeros([3], ())?, calor::Tensor::new([2, 0], ())?);
    /// assert_eq!(x.index_fill(0, &i, 7.0)?.to_vec::<f32>()?, [7.0, 0.0, 7.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn index_fill(&self, dim: isize, index: &Tensor, value: impl Into<Arg>) -> Result<Tensor> {
        const OP: &str = "index_fill";
        let value = value.into();
        if let Arg::Tensor(t) = &value
            && t.dim() > 0
        {
            bail!(Dim, OP, "only supports a 0-dimensional value tensor, but got tensor with {} dimension(s)", t.dim());
        }
        value.fits(OP, self.dtype())?;
        let (x, indices, _) = self.index_parts(OP, dim, index, None)?;
        let d = check_dim(OP, dim, x.dim())?;
        let mut shape: Dims = Dims::from_elem(1, x.dim() - d);
        shape[0] = x.shape()[d];
        let mask = indices.named()?.reshape(&shape)?;
        mask.where_(value.tensor(self.dtype(), self.device())?, x)?.reshape(self.shape())
    }

    /// [`Tensor::index_fill`] in place.
    ///
    /// ```
    /// let (x, i) = (calor::Tensor::zeros([3], ())?, calor::Tensor::new([2, 0], ())?);
    /// assert_eq!(x.index_fill_(0, &i, 7.0)?.to_vec::<f32>()?, [7.0, 0.0, 7.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn index_fill_(&self, dim: isize, index: &Tensor, value: impl Into<Arg>) -> Result<Tensor> {
        let value = value.into();
        self.modify("index_fill_", |x| x.index_fill(dim, index, value))
    }

    /// This tensor with `values` where `indices` say: `self[indices] = values`, or `+=` with `accumulate`.
    ///
    /// There is an index tensor or a mask for each leading dimension, or `None` for all of it, as in [`Tensor::i`];
    /// negative indices count from the end. `values` broadcasts to `self[indices]`. Without `accumulate` the last of
    /// several values for one place stays. Masks are read back.
    ///
    /// ```
    /// let (x, i) = (calor::Tensor::zeros([3], ())?, calor::Tensor::new([2, 0], ())?);
    /// let y = x.index_put(&[Some(i)], 3.0, false)?;
    /// assert_eq!(y.to_vec::<f32>()?, [3.0, 0.0, 3.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn index_put(&self, indices: &[Option<Tensor>], values: impl Into<Arg>, accumulate: bool) -> Result<Tensor> {
        const OP: &str = "index_put";
        let (own, values) = match values.into() {
            Arg::Tensor(t) => {
                let [own, t] = widest([self, &t])?;
                (own, Arg::Tensor(t))
            }
            other => (self.clone(), other),
        };
        let values = value(OP, &own, values)?;
        let shape = own.shape();
        let indices = without_masks(OP, &shape, indices)?;
        if indices.iter().all(Option::is_none) {
            values.layout().expand(OP, &shape)?;
            let values = values.expand(&shape)?;
            return if accumulate { own.add(values) } else { values.try_clone() };
        }
        let indices = Indices::new(OP, &shape, &indices, true)?;
        let result = indices.result();
        let values = values.reshape(without_leading_ones(&values.shape(), result.len()))?;
        values.layout().expand(OP, &result)?;
        let values = values.expand(&result)?;
        if !accumulate {
            return indices.assign(&own, &values);
        }
        let wide = meeting(own.dtype());
        let sum = indices.deposit(&values.to_dtype(wide)?)?;
        own.to_dtype(wide)?.add(sum)?.to_dtype(own.dtype())
    }

    /// [`Tensor::index_put`] in place.
    ///
    /// ```
    /// let (x, i) = (calor::Tensor::zeros([3], ())?, calor::Tensor::new([2, 2], ())?);
    /// assert_eq!(x.index_put_(&[Some(i)], 3.0, true)?.to_vec::<f32>()?, [0.0, 0.0, 6.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn index_put_(&self, indices: &[Option<Tensor>], values: impl Into<Arg>, accumulate: bool) -> Result<Tensor> {
        let values = values.into();
        self.modify("index_put_", |x| x.index_put(indices, values, accumulate))
    }

    /// This tensor with the elements of `source` where `index` says in row-by-row order, or with them added; negative
    /// indices count from the end.
    ///
    /// ```
    /// use calor::Tensor;
    /// let (x, i) = (Tensor::zeros([2, 2], ())?, Tensor::new([3, 0], ())?);
    /// let y = x.put(&i, &Tensor::new([1.0f32, 2.0], ())?, false)?;
    /// assert_eq!(y.to_vec::<f32>()?, [2.0, 0.0, 0.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn put(&self, index: &Tensor, source: &Tensor, accumulate: bool) -> Result<Tensor> {
        same_dtype("put", self, source)?;
        let n = index.numel();
        if source.numel() != n {
            bail!(Shape, "put", "expected source and index to have as many elements, got {} and {n}", source.numel());
        }
        let (x, index) = (self.reshape([self.numel()])?, index.reshape([n])?);
        let indices = Indices::new("put", &x.shape(), &[Some(index)], true)?;
        let source = source.reshape([n])?;
        let out = if accumulate {
            let wide = meeting(self.dtype());
            let sum = indices.deposit(&source.to_dtype(wide)?)?;
            x.to_dtype(wide)?.add(sum)?.to_dtype(self.dtype())?
        } else {
            indices.assign(&x, &source)?
        };
        out.reshape(self.shape())
    }

    /// [`Tensor::put`] in place.
    ///
    /// ```
    /// use calor::Tensor;
    /// let (x, i) = (Tensor::ones([2], ())?, Tensor::new([-1, -1], ())?);
    /// x.put_(&i, &Tensor::new([1.0f32, 2.0], ())?, true)?;
    /// assert_eq!(x.to_vec::<f32>()?, [1.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn put_(&self, index: &Tensor, source: &Tensor, accumulate: bool) -> Result<Tensor> {
        self.modify("put_", |x| x.put(index, source, accumulate))
    }
}

/// A shape without the leading sizes of 1 that make it longer than `rank`.
pub(super) fn without_leading_ones(shape: &[usize], rank: usize) -> Dims {
    let extra = shape.len().saturating_sub(rank);
    let ones = shape.iter().take(extra).take_while(|&&s| s == 1).count();
    Dims::from_slice(&shape[ones..])
}
