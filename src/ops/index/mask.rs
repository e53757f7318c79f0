//! Truth values as indices. How many are true decides shapes, so these operations wait for the device.

use super::buckets::{exclusive_sum, places_of};
use super::gather::Indices;
use super::scatter::same_dtype;
use super::{Build, at_least_1d};
use crate::dtype::{DType, Element};
use crate::error::{Error, ErrorKind, Result, bail};
use crate::graph::Param;
use crate::layout::Layout;
use crate::shape::{Dims, broadcast, check_places, numel};
use crate::tensor::Tensor;
use crate::tensor::grad::no_grad;
use std::sync::Arc;

/// How many of the elements before each one, in row-by-row order, are true; and a last one: how many are in all.
fn ranks(mask: &Tensor) -> Result<Tensor> {
    let n = mask.numel();
    let flat = mask.to_dtype(DType::U32)?.reshape([n])?;
    let mut b = Build::default();
    let at = b.body.flat();
    let (inside, near) = (b.less(at, n as isize), b.at_most(at, n as isize - 1));
    let (one, zero) = (b.body.load(0, &[near]), b.number(0));
    b.body.select(inside, one, zero);
    exclusive_sum(&b.apply("nonzero", &[n + 1], DType::U32, &[&flat])?)
}

/// Places of the true elements in row-by-row order, `u32`. Reads their number back.
fn true_places(mask: &Tensor) -> Result<Tensor> {
    no_grad(|| {
        let n = mask.numel();
        if n == 0 {
            return Tensor::zeros([0], (DType::U32, mask.device()));
        }
        let ranks = ranks(mask)?;
        let last = ranks.alias(Layout::contiguous(&[n + 1]).sliced(0, n, 1, 1));
        let count = u32::from_bytes(&last.read_bytes()?).first().copied().unwrap_or(0);
        places_of(&mask.reshape([n])?, &ranks, count as usize)
    })
}

/// Coordinate `d` of places in a tensor of `shape`, `i32`.
fn coordinates(places: &Tensor, shape: &[usize], d: usize) -> Result<Tensor> {
    let mut b = Build::default();
    let at = b.body.input(0);
    let row = b.div(at, numel(&shape[d + 1..]));
    let c = b.rem(row, shape[d]);
    b.body.bits(DType::I32, c);
    b.apply("nonzero", &places.shape(), DType::I32, &[places])
}

/// Index lists with each mask as the index tensors that name its true elements.
pub(super) fn without_masks(op: &str, sizes: &[usize], indices: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
    let mut out = Vec::new();
    for index in indices {
        match index {
            Some(mask) if matches!(mask.dtype(), DType::Bool | DType::U8) => {
                let (own, from) = (mask.shape(), out.len());
                if own.is_empty() {
                    bail!(Index, op, "a mask needs at least one dimension");
                }
                if sizes.get(from..from + own.len()) != Some(&own[..]) {
                    bail!(
                        Index,
                        op,
                        "the shape of the mask {:?} at index {from} does not match the shape of the indexed tensor \
                         {sizes:?} at index {from}",
                        &own[..]
                    );
                }
                out.extend(mask.nonzero_tuple()?.into_iter().map(Some));
            }
            other => out.push(other.clone()),
        }
    }
    Ok(out)
}

impl Tensor {
    /// The coordinates of the elements that are not zero, a row each, `i32`. Waits for the device to count them.
    ///
    /// ```
    /// let t = calor::Tensor::new([[0.0f32, 2.0], [3.0, 0.0]], ())?;
    /// assert_eq!(t.nonzero()?.to_vec::<i32>()?, [0, 1, 1, 0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn nonzero(&self) -> Result<Tensor> {
        self.shape().iter().try_for_each(|&size| check_places("nonzero", size))?;
        let places = true_places(&no_grad(|| self.detach().to_dtype(DType::Bool))?)?;
        let (shape, count) = (self.shape(), places.numel());
        if shape.is_empty() || count == 0 {
            return Tensor::zeros([count, shape.len()], (DType::I32, self.device()));
        }
        let mut b = Build::default();
        let (row, column) = (b.body.coord(0), b.body.coord(1));
        let at = b.body.load(0, &[row]);
        let mut value = None;
        for d in 0..shape.len() {
            let c = b.div(at, numel(&shape[d + 1..]));
            let c = b.rem(c, shape[d]);
            value = Some(match value {
                Some(v) => {
                    let before = b.less(column, d as isize);
                    b.body.select(before, v, c)
                }
                None => c,
            });
        }
        if let Some(value) = value {
            b.body.bits(DType::I32, value);
        }
        b.apply("nonzero", &[count, shape.len()], DType::I32, &[&places])
    }

    /// The columns of [`Tensor::nonzero`], an index tensor for each dimension: `torch.where` of a condition alone. A
    /// tensor without dimensions counts as one of one element.
    ///
    /// ```
    /// let t = calor::Tensor::new([[0, 1], [2, 0]], ())?;
    /// let places = t.nonzero_tuple()?;
    /// assert_eq!(places[0].to_vec::<i32>()?, [0, 1]);
    /// assert_eq!(places[1].to_vec::<i32>()?, [1, 0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn nonzero_tuple(&self) -> Result<Vec<Tensor>> {
        self.shape().iter().try_for_each(|&size| check_places("nonzero", size))?;
        let x = no_grad(|| at_least_1d(&self.detach().to_dtype(DType::Bool)?))?;
        let places = true_places(&x)?;
        (0..x.dim()).map(|d| coordinates(&places, &x.shape(), d)).collect()
    }

    /// [`Tensor::nonzero`] under another name.
    ///
    /// ```
    /// let t = calor::Tensor::new([[0, 1], [2, 0]], ())?;
    /// assert_eq!(t.argwhere()?.to_vec::<i32>()?, [0, 1, 1, 0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn argwhere(&self) -> Result<Tensor> {
        self.nonzero()
    }

    /// The elements where `mask` is true, as a vector; both broadcast. Waits for the device to count them.
    ///
    /// ```
    /// let t = calor::Tensor::new([1.0f32, -2.0, 3.0], ())?;
    /// assert_eq!(t.masked_select(&t.gt(0.0)?)?.to_vec::<f32>()?, [1.0, 3.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn masked_select(&self, mask: &Tensor) -> Result<Tensor> {
        const OP: &str = "masked_select";
        if !matches!(mask.dtype(), DType::Bool | DType::U8) {
            bail!(DType, OP, "expected bool tensor for mask, got {}", mask.dtype());
        }
        let shape = broadcast(OP, &self.shape(), &mask.shape())?;
        let n = numel(&shape);
        let places = true_places(&mask.to_dtype(DType::Bool)?.expand(&shape)?)?;
        let flat = self.expand(&shape)?.reshape([n])?;
        Indices::new(OP, &[n], &[Some(places)], false)?.pick(&flat)
    }

    /// This tensor with elements of `source`, in order, where `mask` is true; it broadcasts with the mask.
    ///
    /// `source` must have as many elements as the mask has true ones; too few are reported at the next read.
    ///
    /// ```
    /// use calor::Tensor;
    /// let t = Tensor::zeros([3], ())?;
    /// let mask = Tensor::new([true, false, true], ())?;
    /// let y = t.masked_scatter(&mask, &Tensor::new([7.0f32, 8.0], ())?)?;
    /// assert_eq!(y.to_vec::<f32>()?, [7.0, 0.0, 8.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn masked_scatter(&self, mask: &Tensor, source: &Tensor) -> Result<Tensor> {
        const OP: &str = "masked_scatter";
        if mask.dtype() != DType::Bool {
            bail!(DType, OP, "only supports boolean masks, but got mask with dtype {}", mask.dtype());
        }
        same_dtype(OP, self, source)?;
        let shape: Dims = broadcast(OP, &self.shape(), &mask.shape())?;
        let (x, mask, n) = (self.expand(&shape)?, mask.expand(&shape)?, source.numel());
        if x.numel() == 0 {
            return x.try_clone();
        }
        let index = no_grad(|| -> Result<Tensor> {
            let ranks = ranks(&mask)?.alias(Layout::contiguous(&shape));
            let mut b = Build::default();
            let (chosen, rank, zero) = (b.body.input(0), b.body.input(1), b.number(0));
            let rank = b.body.select(chosen, rank, zero);
            let one = b.number(1);
            // one that is not chosen needs nothing
            let need = b.body.select(chosen, one, zero);
            let need = b.op(crate::graph::IndexOp::Add, rank, need);
            let fits = b.less(need, n as isize + 1);
            let message = format!("expected source to have no fewer elements than the mask has ones, got {n}");
            b.params.push(Param::Fault(Arc::new(Error::new(ErrorKind::Value, OP, message))));
            let rank = b.body.guard(fits, rank, b.params.len() - 1);
            let rank = b.at_most(rank, n.max(1) as isize - 1);
            b.body.bits(DType::I32, rank);
            b.apply(OP, &shape, DType::I32, &[&mask, &ranks])
        })?;
        if n == 0 {
            // nothing is taken, but whether something was asked for still shows
            return x.add(index.to_dtype(x.dtype())?.detach())?.to_dtype(x.dtype());
        }
        let new = Indices::new(OP, &[n], &[Some(index)], false)?.pick(&source.reshape([n])?)?;
        mask.where_(new, x)
    }

    /// [`Tensor::masked_scatter`] in place.
    ///
    /// ```
    /// use calor::Tensor;
    /// let t = Tensor::zeros([3], ())?;
    /// t.masked_scatter_(&Tensor::new([false, true, false], ())?, &Tensor::ones([1], ())?)?;
    /// assert_eq!(t.to_vec::<f32>()?, [0.0, 1.0, 0.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn masked_scatter_(&self, mask: &Tensor, source: &Tensor) -> Result<Tensor> {
        self.modify("masked_scatter_", |x| x.masked_scatter(mask, source))
    }
}
