//! Distinct elements. Their number decides the shape of the result, so these operations wait for the device.

use super::search::{iota, search};
use super::{inverse, merged, order};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::ops::reduce::{take, wide};
use crate::shape::{Dims, dim as check_dim, numel};
use crate::tensor::Tensor;
use smallvec::SmallVec;

/// Distinct elements, or slices.
///
/// ```
/// use calor::{Tensor, Unique};
/// let x = Tensor::new([5, 3, 5], ())?;
/// let Unique { values, inverse, counts } = x.unique(None)?;
/// assert_eq!(values.index_select(0, &inverse)?.to_vec::<i32>()?, [5, 3, 5]);
/// assert_eq!(counts.to_vec::<i32>()?, [1, 2]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone)]
pub struct Unique {
    /// Each once.
    pub values: Tensor,
    /// For each input element or slice which of `values` it is, `i32`.
    pub inverse: Tensor,
    /// How often each occurs, `i32`.
    pub counts: Tensor,
}

impl Tensor {
    /// The distinct elements, sorted, or the distinct slices along a dimension; each NaN counts by itself.
    ///
    /// This waits for the number of distinct elements.
    ///
    /// ```
    /// let t = calor::Tensor::new([3i32, 1, 3], ())?;
    /// let unique = t.unique(None)?;
    /// assert_eq!(unique.values.to_vec::<i32>()?, [1, 3]);
    /// assert_eq!(unique.inverse.to_vec::<i32>()?, [1, 0, 1]);
    /// assert_eq!(unique.counts.to_vec::<i32>()?, [1, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn unique(&self, dim: Option<isize>) -> Result<Unique> {
        self.distinct("unique", dim, true)
    }

    /// The elements, or slices along a dimension, that differ from the one before.
    ///
    /// This waits for the number of runs.
    ///
    /// ```
    /// let runs = calor::Tensor::new([1, 1, 2, 1], ())?.unique_consecutive(None)?;
    /// assert_eq!(runs.values.to_vec::<i32>()?, [1, 2, 1]);
    /// assert_eq!(runs.counts.to_vec::<i32>()?, [2, 1, 1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn unique_consecutive(&self, dim: Option<isize>) -> Result<Unique> {
        self.distinct("unique_consecutive", dim, false)
    }

    fn distinct(&self, op: &'static str, dim: Option<isize>, sort: bool) -> Result<Unique> {
        let x = self.detach();
        let shape = x.shape();
        let d = dim.map(|dim| check_dim(op, dim, shape.len())).transpose()?;
        // rows that are compared, one for each element or slice
        let (rows, length) = match d {
            Some(d) if !shape.is_empty() => {
                let order: SmallVec<[isize; 6]> = (0..shape.len()).filter(|&i| i != d).map(|i| i as isize).collect();
                let order: SmallVec<[isize; 6]> = std::iter::once(d as isize).chain(order).collect();
                let width = numel(&shape) / shape[d].max(1);
                if shape[d] > 0 && width == 0 {
                    bail!(Shape, op, "there are {} slices without elements, shape {:?}", shape[d], &shape[..]);
                }
                (x.permute(&order)?.reshape([shape[d], width])?, shape[d])
            }
            _ => (x.reshape([x.numel(), 1])?, x.numel()),
        };
        let index = |n: usize| Tensor::zeros([n], (DType::I32, x.device()));
        if length == 0 {
            let inverse = if d.is_some() { index(0)? } else { index(0)?.reshape(&shape)? };
            let values = if d.is_some() { x.try_clone()? } else { x.reshape([0])? };
            return Ok(Unique { values, inverse, counts: index(0)? });
        }
        let keys = rows.to_dtype(wide(x.dtype()))?;
        let width = keys.shape()[1];
        let places = match (sort, width) {
            (false, _) => None,
            (true, 1) => Some(order(&keys.reshape([length])?, 0, false)?),
            (true, _) => Some(lexical(&keys)?),
        };
        let keys = match &places {
            Some(p) => take(op, &keys, 0, &p.unsqueeze(1)?.expand([length, width])?)?,
            None => keys,
        };
        let here = iota(length, &x)?;
        let changed = keys.ne(&keys.shifted(0, false, 0.0)?)?.any_dims(&[1], false)?.logical_and(&here.ne(0)?)?;
        // which distinct row each one is
        let number = changed.cumsum(0)?;
        let count = number.narrow(0, length as isize - 1, 1)?.item_scalar()?.as_i64() as usize + 1;
        let starts = search(&number, &iota(count, &x)?, false)?;
        let counts = search(&number, &iota(count, &x)?, true)?.sub(&starts)?;
        let (from, inverse) = match &places {
            Some(p) => (take(op, p, 0, &starts)?, take(op, &number, 0, &inverse(p, 0)?)?),
            None => (starts, number),
        };
        let (values, inverse) = match d {
            Some(d) if !shape.is_empty() => {
                let mut out = Dims::from_elem(1, shape.len());
                out[d] = count;
                let from = from.reshape(&out)?;
                out = shape.clone();
                out[d] = count;
                (take(op, &x, d, &from.expand(&out)?)?, inverse)
            }
            _ => (take(op, &x.reshape([length])?, 0, &from)?, inverse.reshape(&shape)?),
        };
        Ok(Unique { values, inverse, counts })
    }
}

/// The permutation that sorts rows by their first components, then the next ones.
fn lexical(keys: &Tensor) -> Result<Tensor> {
    let (length, width) = (keys.shape()[0], keys.shape()[1]);
    // a comparison walks components; a search makes up to 32 comparisons
    let cap = keys.device().facts().max_loop_iterations.map_or(width, |c| (c / 64) as usize).max(1);
    let mut places = iota(length, keys)?;
    let mut end = width;
    while end > 0 {
        let start = end.saturating_sub(cap);
        let part = keys.narrow(1, start as isize, end - start)?;
        let part = take("lexical", &part, 0, &places.unsqueeze(1)?.expand([length, end - start])?)?;
        let next = merged(&part, iota(length, keys)?, 0, 1, false)?;
        places = take("lexical", &places, 0, &next)?;
        end = start;
    }
    Ok(places)
}
