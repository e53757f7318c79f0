//! Searching in sorted rows, and counting by it.

use super::order;
use crate::dtype::{DType, Scalar};
use crate::error::{Result, bail};
use crate::graph::library::{compute, scalar, shader};
use crate::graph::{Load, LowerCx, Lowering, Primitive, Prologue, Store, Template};
use crate::ops::arg::{Arg, device_of, meet};
use crate::ops::build::checked;
use crate::ops::elementwise::Rounding;
use crate::ops::reduce::{GROUP, take, wide};
use crate::ops::scan::places;
use crate::shape::numel;
use crate::tensor::Tensor;
use std::sync::Arc;

/// Where the second input's values belong in the rows of the first, along last dimensions.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Search {
    right: bool,
}

impl Primitive for Search {
    fn name(&self) -> &str {
        "search"
    }

    fn lower(&self, cx: &LowerCx<'_>) -> Result<Lowering> {
        let (edges, values) = (cx.inputs[0].layout.shape(), cx.inputs[1].layout.shape());
        let lead = edges.len() - 1;
        let (rows, length, count) = (numel(&edges[..lead]), edges[lead], values[lead]);
        let dtype = cx.inputs[0].dtype;
        let ty = compute(dtype);
        let load = |name, input| Load { name, input, coords: vec![lead, 1], lanes: None, dtype };
        Ok(Lowering::Template(Template {
            name: "search",
            source: shader!("search.wgsl"),
            types: vec![("T", scalar(ty).to_string())],
            consts: vec![("GROUP", GROUP), ("RIGHT", u32::from(self.right))],
            calls: vec![("smaller", "op_lt", ty), ("missing", "op_isnan", ty)],
            loads: vec![load("edge", 0), load("load", 1)],
            stores: vec![Store { name: "store", coords: vec![lead, 1], lanes: false }],
            params: vec![("rows", rows as u32), ("length", length as u32), ("values", count as u32)],
            groups: (rows * count).div_ceil(GROUP as usize) as u32,
            prologue: Prologue::Free,
            work: 32 * (rows * count) as u64,
        }))
    }
}

/// Where `values` belong in sorted `edges` of the same wide dtype and leading dimensions.
pub(super) fn search(edges: &Tensor, values: &Tensor, right: bool) -> Result<Tensor> {
    let (shape, device) = (values.shape(), edges.device());
    if numel(&shape) == 0 || edges.numel() == 0 {
        return Tensor::constant(&shape, Scalar::Int(0), DType::I32, device);
    }
    Tensor::apply(Arc::new(Search { right }), device, (&shape, DType::I32), &[edges, values], &[])
}

/// The numbers from 0 on, `i32`.
pub(super) fn iota(n: usize, like: &Tensor) -> Result<Tensor> {
    places(&Tensor::ones([n], (DType::Bool, like.device()))?, 0)
}

/// How often each number below `bins` occurs among the elements of `x`, `i32`.
fn tally(x: &Tensor, bins: usize) -> Result<Tensor> {
    let sorted = take("tally", x, 0, &order(x, 0, false)?)?;
    let bins = iota(bins, x)?;
    search(&sorted, &bins, true)?.sub(&search(&sorted, &bins, false)?)
}

impl Tensor {
    /// Where `values` would be inserted into this tensor, sorted along its last dimension, to keep it sorted: before
    /// equal elements, or with `right` behind them; `i32`. This tensor has one dimension or those of `values` but for
    /// the last; `sorter` holds the indices that sort it, if it is not sorted itself.
    ///
    /// ```
    /// use calor::Tensor;
    /// let edges = Tensor::new([1.0f32, 3.0, 5.0], ())?;
    /// let places = edges.searchsorted(&Tensor::new([3.0f32, 4.0], ())?, false, None)?;
    /// assert_eq!(places.to_vec::<i32>()?, [1, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn searchsorted(&self, values: impl Into<Arg>, right: bool, sorter: Option<&Tensor>) -> Result<Tensor> {
        self.searched("searchsorted", values.into(), right, sorter)
    }

    /// The bucket of each element between sorted `boundaries`, a tensor of one dimension; `i32`. A bucket ends with
    /// its upper boundary, or with `right` before it.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// assert_eq!(x.bucketize(&calor::Tensor::new([1.5f32, 3.0], ())?, false)?.to_vec::<i32>()?, [0, 1, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn bucketize(&self, boundaries: &Tensor, right: bool) -> Result<Tensor> {
        if boundaries.dim() != 1 {
            bail!(Dim, "bucketize", "boundaries tensor must be 1 dimension, but got dim({})", boundaries.dim());
        }
        boundaries.searched("bucketize", self.into(), right, None)
    }

    fn searched(&self, op: &'static str, values: Arg, right: bool, sorter: Option<&Tensor>) -> Result<Tensor> {
        let own = self.shape();
        let Some((&last, lead)) = own.split_last() else {
            bail!(Dim, op, "boundaries tensor should have positive dimension, but got 0 dimension");
        };
        let dtype = match &values {
            Arg::Tensor(t) if t.dim() > 0 && t.dtype() != self.dtype() => {
                bail!(
                    DType,
                    op,
                    "boundary and input value tensors should have same dtype, {} and {}",
                    self.dtype(),
                    t.dtype()
                )
            }
            v => wide(meet(&[&self.into(), v])?),
        };
        let values = values.tensor(dtype, self.device())?.detach();
        let shape = values.shape();
        let lines = !lead.is_empty();
        if lines && (shape.is_empty() || shape[..shape.len() - 1] != *lead) {
            bail!(
                Shape,
                op,
                "boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries tensor and input \
                 value tensor must match, but got {:?} and {:?}",
                &own[..],
                &shape[..]
            );
        }
        let mut edges = self.detach().to_dtype(dtype)?;
        if let Some(sorter) = sorter {
            if sorter.shape() != own {
                bail!(
                    Shape,
                    op,
                    "boundary and sorter must have the same size, got {:?} and {:?}",
                    &own[..],
                    &sorter.shape()[..]
                );
            }
            if !matches!(sorter.dtype(), DType::I64 | DType::I32) {
                bail!(DType, op, "sorter must be an integer tensor, got {}", sorter.dtype());
            }
            if last > 0 {
                let tests = [("op_ge", 0.0), ("op_lt", last as f64)];
                let sorter = checked(op, &sorter.to_dtype(DType::I32)?, &tests, "sorter index out of range")?;
                edges = take(op, &edges, own.len() - 1, &sorter.detach())?;
            }
        }
        if lines {
            return search(&edges, &values, right);
        }
        search(&edges, &values.reshape([values.numel()])?, right)?.reshape(&shape)
    }

    /// Whether each element occurs in `test`, or with `invert` does not.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// let found = x.isin(&calor::Tensor::new([2.0f32, 3.0], ())?, false)?;
    /// assert_eq!(found.to_vec::<bool>()?, [false, true, false]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn isin(&self, test: impl Into<Arg>, invert: bool) -> Result<Tensor> {
        let test = test.into();
        let dtype = wide(meet(&[&self.into(), &test])?);
        let device = device_of(&[&self.into()])?;
        let test = test.tensor(dtype, &device)?.detach();
        let (x, test) = (self.detach().to_dtype(dtype)?, test.reshape([test.numel()])?);
        let found = if test.numel() == 0 {
            Tensor::zeros(x.shape(), (DType::Bool, &device))?
        } else {
            let sorted = take("isin", &test, 0, &order(&test, 0, false)?)?;
            let flat = x.reshape([x.numel()])?;
            let found = search(&sorted, &flat, true)?.gt(&search(&sorted, &flat, false)?)?.reshape(x.shape())?;
            found.logical_and(&x.isnan()?.logical_not()?)?
        };
        if invert { found.logical_not() } else { Ok(found) }
    }

    /// How often each number from 0 on occurs in this tensor of one dimension, as `i32`, or with `weights` the sum of
    /// their weights: `f64` unless they are `f32`. At least `minlength` numbers are counted.
    ///
    /// This waits for the largest number: it decides the size of the result.
    ///
    /// ```
    /// let x = calor::Tensor::new([0, 2, 2], ())?;
    /// assert_eq!(x.bincount(None, 4)?.to_vec::<i32>()?, [1, 0, 2, 0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn bincount(&self, weights: Option<&Tensor>, minlength: usize) -> Result<Tensor> {
        let op = "bincount";
        if self.dim() != 1 || !self.dtype().is_int() {
            bail!(
                Value,
                op,
                "only supports 1-d non-negative integral inputs, got {} {:?}",
                self.dtype(),
                &self.shape()[..]
            );
        }
        if let Some(w) = weights
            && w.shape() != self.shape()
        {
            bail!(Shape, op, "weights should be 1-d and have the same length as input, got {:?}", &w.shape()[..]);
        }
        let mut bins = minlength;
        if self.numel() > 0 {
            let (low, high) = self.aminmax(None, false)?;
            Tensor::eval_all(&[low.clone(), high.clone()])?;
            if low.item_scalar()?.as_i64() < 0 {
                bail!(Value, op, "only supports 1-d non-negative integral inputs, got {}", low.item()?);
            }
            bins = bins.max(high.item_scalar()?.as_i64() as usize + 1);
        }
        let x = self.to_dtype(DType::I32)?;
        let Some(weights) = weights else {
            return if self.numel() == 0 {
                Tensor::zeros([bins], (DType::I32, self.device()))
            } else {
                tally(&x, bins)
            };
        };
        let dtype = if weights.dtype() == DType::F32 { DType::F32 } else { DType::F64 };
        Tensor::zeros([bins], (dtype, self.device()))?.scatter_add(0, &x, &weights.to_dtype(dtype)?)
    }

    /// How many elements fall into each of `bins` equal intervals from `min` to `max`, or from the smallest to the
    /// largest element where these are equal, which must be finite then. Floats only.
    ///
    /// ```
    /// let t = calor::Tensor::new([0.5f32, 1.5, 1.0, 4.0], ())?;
    /// assert_eq!(t.histc(4, 0.0, 4.0)?.to_vec::<f32>()?, [1.0, 2.0, 0.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn histc(&self, bins: usize, min: f64, max: f64) -> Result<Tensor> {
        let op = "histc";
        let dtype = self.dtype();
        if !dtype.is_float() {
            bail!(DType, op, "is not implemented for {dtype}");
        }
        if bins == 0 {
            bail!(Value, op, "bins must be > 0, but got 0");
        }
        if !(min <= max && min.is_finite() && max.is_finite()) {
            bail!(Value, op, "max must be larger than min and both finite, got {min} and {max}");
        }
        if self.numel() == 0 {
            return Tensor::zeros([bins], (dtype, self.device()));
        }
        let wide = dtype.compute();
        let x = self.detach().reshape([self.numel()])?.to_dtype(wide)?;
        let number = |n: f64| Tensor::full([], n, (wide, self.device()));
        let (low, high) = if min == max { x.aminmax(None, false)? } else { (number(min)?, number(max)?) };
        let (low, high) = if min == max {
            let finite =
                |t: &Tensor| checked(op, t, &[("op_isfinite", 0.0)], "the range of the elements is not finite");
            let (low, high) = (finite(&low)?, finite(&high)?);
            let flat = low.eq(&high)?;
            (flat.where_(low.sub(1.0)?, &low)?, flat.where_(high.add(1.0)?, &high)?)
        } else {
            (low, high)
        };
        let place = x.sub(&low)?.mul(bins as f64)?;
        // GPUs need not divide exactly, and whole numbers must not fall into the bin below
        let place = place.div_mode(&high.sub(&low)?, Rounding::Trunc)?.clamp_max(bins as f64 - 1.0)?;
        let inside = x.ge(&low)?.logical_and(&x.le(&high)?)?;
        // what lies outside goes into a bin of its own
        let place = inside.where_(&place, bins as f64)?.to_dtype(DType::I32)?;
        tally(&place, bins)?.to_dtype(dtype)
    }
}
