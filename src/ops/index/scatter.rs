//! Writing at places that index tensors name.

use super::at_least_1d;
use super::buckets::Join;
use super::gather::{Along, Indices};
use crate::dtype::Scalar;
use crate::error::{Result, bail};
use crate::shape::{Dims, dim as check_dim, numel};
use crate::tensor::Tensor;
use smallvec::SmallVec;

/// A source as large as the index, cut to it where it is larger.
fn cut(op: &str, source: &Tensor, index: &Tensor) -> Result<Tensor> {
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

fn same_dtype(op: &str, x: &Tensor, source: &Tensor) -> Result<()> {
    if x.dtype() != source.dtype() {
        bail!(DType, op, "expected self.dtype to be equal to src.dtype, got {} and {}", x.dtype(), source.dtype());
    }
    Ok(())
}

impl Tensor {
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
        self.scatter_sum("scatter_add", dim, index, src)
    }

    fn scatter_sum(&self, op: &'static str, dim: isize, index: &Tensor, src: &Tensor) -> Result<Tensor> {
        same_dtype(op, self, src)?;
        let (x, i, s) = (at_least_1d(self)?, at_least_1d(index)?, at_least_1d(src)?);
        let along = Along::new(op, &x.shape(), dim, &i)?;
        if i.numel() == 0 {
            return self.try_clone();
        }
        let wide = super::buckets::meeting(self.dtype());
        let sum = along.collect(Join::Sum, &cut(op, &s, &i)?.to_dtype(wide)?)?;
        x.to_dtype(wide)?.add(sum)?.to_dtype(self.dtype())?.reshape(self.shape())
    }

    /// [`Tensor::scatter_add`] in place.
    pub fn scatter_add_(&self, dim: isize, index: &Tensor, src: &Tensor) -> Result<Tensor> {
        self.modify("scatter_add_", |x| x.scatter_add(dim, index, src))
    }

    /// Checks what the `index_..` operations share: a vector of as many indices as `source` has slices along `dim`,
    /// and slices of equal shape. Gives all with at least one dimension.
    fn index_parts(
        &self,
        op: &'static str,
        dim: isize,
        index: &Tensor,
        source: &Tensor,
    ) -> Result<(Tensor, Indices, Tensor)> {
        let d = check_dim(op, dim, self.dim())?;
        if index.dim() > 1 {
            bail!(Shape, op, "index is supposed to be a vector, got shape {:?}", &index.shape()[..]);
        }
        same_dtype(op, self, source)?;
        let (x, i) = (at_least_1d(self)?, at_least_1d(index)?);
        let n = i.numel();
        // a source without dimensions is one slice
        let mut want = x.shape();
        want[d] = n;
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
        let mut list: SmallVec<[Option<Tensor>; 4]> = SmallVec::from_elem(None, d);
        list.push(Some(i));
        let indices = Indices::new(op, &x.shape(), &list, false)?;
        Ok((x, indices, s))
    }

    /// This tensor with the slices of `alpha source` added where the vector `index` says along `dim`.
    pub fn index_add(&self, dim: isize, index: &Tensor, source: &Tensor, alpha: impl Into<Scalar>) -> Result<Tensor> {
        let (x, indices, s) = self.index_parts("index_add", dim, index, source)?;
        let alpha = alpha.into();
        let wide = super::buckets::meeting(self.dtype());
        let s = s.to_dtype(wide)?;
        let s = if alpha.as_f64() == 1.0 { s } else { s.mul(alpha)? };
        let sum = indices.deposit(&s)?;
        x.to_dtype(wide)?.add(sum)?.to_dtype(self.dtype())?.reshape(self.shape())
    }

    /// [`Tensor::index_add`] in place.
    pub fn index_add_(&self, dim: isize, index: &Tensor, source: &Tensor, alpha: impl Into<Scalar>) -> Result<Tensor> {
        self.modify("index_add_", |x| x.index_add(dim, index, source, alpha))
    }
}

#[allow(dead_code)]
fn unused(_: Dims) {}
