//! Sorting, searching in what is sorted, and what follows from order: medians, quantiles, distinct elements, counts.
//!
//! A sort computes a permutation: blocks of 256 are sorted in workgroup memory, then runs are merged, twice as long
//! each time. NaN counts as larger than every number, and equal elements keep their order.

mod quantile;
mod search;
mod topk;
mod unique;

pub use quantile::Interpolation;
pub use unique::Unique;

use super::reduce::{GROUP, take, wide};
use crate::dtype::{DType, Scalar};
use crate::error::{Result, bail};
use crate::graph::library::{compute, scalar, shader};
use crate::graph::{Load, LowerCx, Lowering, Primitive, Prologue, Store, Template};
use crate::shape::{check_places, dim as check_dim, numel};
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;
use std::sync::Arc;

/// Slots of a workgroup that sorts blocks.
const SLOTS: usize = 256;
/// Elements of a block that is sorted without workgroup memory.
const RANKED: usize = 32;

/// Elements that an invocation merges; a power of two.
const CHUNK: usize = 16;

/// The sizes in front of, along and behind a dimension.
fn around(shape: &[usize], d: usize) -> (usize, usize, usize) {
    (numel(&shape[..d]), shape[d], numel(&shape[d + 1..]))
}

/// The permutation that sorts each block along dimension `d`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Tiles {
    d: usize,
    descending: bool,
}

impl Primitive for Tiles {
    fn name(&self) -> &str {
        "sort_tiles"
    }

    fn lower(&self, cx: &LowerCx<'_>) -> Result<Lowering> {
        let shape = cx.inputs[0].layout.shape();
        let (outer, length, inner) = around(shape, self.d);
        let block = length.next_power_of_two().clamp(2, SLOTS);
        let (rows, blocks) = (outer * inner, length.div_ceil(block));
        let dtype = cx.inputs[0].dtype;
        let ty = compute(dtype);
        let coords = vec![self.d, 1, shape.len() - self.d - 1];
        Ok(Lowering::Template(Template {
            name: "sort_tiles",
            source: shader!("sort_tiles.wgsl"),
            types: vec![("T", scalar(ty).to_string())],
            consts: vec![("GROUP", GROUP), ("SLOTS", SLOTS as u32), ("DESCENDING", u32::from(self.descending))],
            calls: vec![("smaller", "op_lt", ty), ("missing", "op_isnan", ty)],
            loads: vec![Load { name: "load", input: 0, coords: coords.clone(), lanes: None, dtype }],
            stores: vec![Store { name: "store", coords, lanes: false }],
            params: vec![
                ("rows", rows as u32),
                ("inner", inner as u32),
                ("length", length as u32),
                ("block", block as u32),
                ("blocks", blocks as u32),
            ],
            groups: (rows * blocks).div_ceil(SLOTS / block) as u32,
            prologue: Prologue::Any,
            work: 64 * (rows * length) as u64,
        }))
    }
}

/// [`Tiles`] for a CPU: smaller blocks, without workgroup memory.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Ranks {
    d: usize,
    descending: bool,
}

impl Primitive for Ranks {
    fn name(&self) -> &str {
        "sort_ranks"
    }

    fn lower(&self, cx: &LowerCx<'_>) -> Result<Lowering> {
        let shape = cx.inputs[0].layout.shape();
        let (outer, length, inner) = around(shape, self.d);
        let count = outer * length * inner;
        let dtype = cx.inputs[0].dtype;
        let ty = compute(dtype);
        let coords = vec![self.d, 1, shape.len() - self.d - 1];
        Ok(Lowering::Template(Template {
            name: "sort_ranks",
            source: shader!("sort_ranks.wgsl"),
            types: vec![("T", scalar(ty).to_string())],
            consts: vec![("GROUP", GROUP), ("DESCENDING", u32::from(self.descending))],
            calls: vec![("smaller", "op_lt", ty), ("missing", "op_isnan", ty)],
            loads: vec![Load { name: "load", input: 0, coords: coords.clone(), lanes: None, dtype }],
            stores: vec![Store { name: "store", coords, lanes: false }],
            params: vec![
                ("count", count as u32),
                ("inner", inner as u32),
                ("length", length as u32),
                ("block", RANKED as u32),
            ],
            groups: count.div_ceil(GROUP as usize) as u32,
            prologue: Prologue::Free,
            work: (RANKED * count) as u64,
        }))
    }
}

/// Merges runs of a permutation along dimension `d`: inputs are the keys, with a last dimension of components, and the
/// permutation.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Merge {
    d: usize,
    run: usize,
    descending: bool,
}

impl Primitive for Merge {
    fn name(&self) -> &str {
        "sort_merge"
    }

    fn lower(&self, cx: &LowerCx<'_>) -> Result<Lowering> {
        let shape = cx.inputs[1].layout.shape();
        let width = cx.inputs[0].layout.shape()[shape.len()];
        let (outer, length, inner) = around(shape, self.d);
        let dtype = cx.inputs[0].dtype;
        let ty = compute(dtype);
        let coords = vec![self.d, 1, shape.len() - self.d - 1];
        let mut key = coords.clone();
        key.push(1);
        let load = Load { name: "load", input: 1, coords: coords.clone(), lanes: None, dtype: DType::I32 };
        let chunk = CHUNK.min(2 * self.run);
        let chunks = length.div_ceil(chunk);
        let tasks = outer * inner * chunks;
        Ok(Lowering::Template(Template {
            name: "sort_merge",
            source: shader!("sort_merge.wgsl"),
            types: vec![("T", scalar(ty).to_string())],
            consts: vec![("GROUP", GROUP), ("DESCENDING", u32::from(self.descending))],
            calls: vec![("smaller", "op_lt", ty), ("missing", "op_isnan", ty)],
            loads: vec![Load { name: "key", input: 0, coords: key, lanes: None, dtype }, load],
            stores: vec![Store { name: "store", coords, lanes: false }],
            params: vec![
                ("tasks", tasks as u32),
                ("inner", inner as u32),
                ("length", length as u32),
                ("chunks", chunks as u32),
                ("chunk", chunk as u32),
                ("run", self.run as u32),
                ("width", width as u32),
            ],
            groups: tasks.div_ceil(GROUP as usize) as u32,
            prologue: Prologue::Free,
            work: 8 * (outer * inner * length * width) as u64,
        }))
    }
}

/// The inverse of a permutation along dimension `d`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Invert(usize);

impl Primitive for Invert {
    fn name(&self) -> &str {
        "invert"
    }

    fn lower(&self, cx: &LowerCx<'_>) -> Result<Lowering> {
        let shape = cx.inputs[0].layout.shape();
        let (outer, length, inner) = around(shape, self.0);
        let coords = vec![self.0, 1, shape.len() - self.0 - 1];
        let count = outer * inner * length;
        Ok(Lowering::Template(Template {
            name: "invert",
            source: shader!("invert.wgsl"),
            types: Vec::new(),
            consts: vec![("GROUP", GROUP)],
            calls: Vec::new(),
            loads: vec![Load { name: "load", input: 0, coords: coords.clone(), lanes: None, dtype: DType::I32 }],
            stores: vec![Store { name: "store", coords, lanes: false }],
            params: vec![("count", count as u32), ("inner", inner as u32), ("length", length as u32)],
            groups: count.div_ceil(GROUP as usize) as u32,
            prologue: Prologue::Any,
            work: count as u64,
        }))
    }
}

/// The inverse of a permutation along dimension `d`.
fn inverse(order: &Tensor, d: usize) -> Result<Tensor> {
    if order.numel() == 0 {
        return Ok(order.clone());
    }
    Tensor::apply(Arc::new(Invert(d)), order.device(), (&order.shape(), DType::I32), &[order], &[])
}

/// The permutation that sorts `x` along dimension `d`.
fn order(x: &Tensor, d: usize, descending: bool) -> Result<Tensor> {
    let (shape, device) = (x.shape(), x.device());
    if numel(&shape) == 0 {
        return Tensor::constant(&shape, Scalar::Int(0), DType::I32, device);
    }
    check_places("sort", shape[d])?;
    let x = x.detach().to_dtype(wide(x.dtype()))?;
    let block = if device.facts().is_cpu { RANKED } else { SLOTS };
    let blocks: Arc<dyn Primitive> =
        if device.facts().is_cpu { Arc::new(Ranks { d, descending }) } else { Arc::new(Tiles { d, descending }) };
    let order = Tensor::apply(blocks, device, (&shape, DType::I32), &[&x], &[])?;
    merged(&x.alias(x.layout().unsqueezed(shape.len())), order, d, block, descending)
}

/// A permutation whose runs of `run` are sorted by `keys`, which have a last dimension of components, wholly sorted.
fn merged(keys: &Tensor, mut order: Tensor, d: usize, mut run: usize, descending: bool) -> Result<Tensor> {
    let shape = order.shape();
    while run < shape[d] {
        let merge = Arc::new(Merge { d, run, descending });
        order = Tensor::apply(merge, keys.device(), (&shape, DType::I32), &[keys, &order], &[])?;
        run *= 2;
    }
    Ok(order)
}

/// `x` in the order of a permutation along dimension `d`.
fn permuted(x: &Tensor, order: &Tensor, d: usize) -> Result<Tensor> {
    if x.numel() == 0 {
        return x.try_clone();
    }
    let out = take("sort", x, d, order)?;
    Ok(out.with_grad("sort", &[x], |r| {
        let order = r.save(order);
        move |g: &Tensor| Ok(Grads::from_iter([Some(permuted(g, &inverse(&order.get()?, d)?, d)?)]))
    }))
}

impl Tensor {
    /// The elements of a dimension in ascending or descending order, and where they stood, as `i32`: values and
    /// indices. Equal elements keep their order; NaN counts as the largest.
    ///
    /// ```
    /// let t = calor::Tensor::new([3.0f32, 1.0, 2.0], ())?;
    /// let (values, indices) = t.sort(-1, false)?;
    /// assert_eq!(values.to_vec::<f32>()?, [1.0, 2.0, 3.0]);
    /// assert_eq!(indices.to_vec::<i32>()?, [1, 2, 0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn sort(&self, dim: isize, descending: bool) -> Result<(Tensor, Tensor)> {
        self.sorted("sort", dim, descending)
    }

    /// The indices of [`Tensor::sort`].
    ///
    /// ```
    /// let x = calor::Tensor::new([3.0f32, 1.0, 2.0], ())?;
    /// assert_eq!(x.argsort(0, false)?.to_vec::<i32>()?, [1, 2, 0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn argsort(&self, dim: isize, descending: bool) -> Result<Tensor> {
        Ok(self.sorted("argsort", dim, descending)?.1)
    }

    /// The values of [`Tensor::sort`] along the first dimension.
    ///
    /// ```
    /// let x = calor::Tensor::new([[3, 1], [2, 4]], ())?;
    /// assert_eq!(x.msort()?.to_vec::<i32>()?, [2, 1, 3, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn msort(&self) -> Result<Tensor> {
        Ok(self.sorted("msort", 0, false)?.0)
    }

    fn sorted(&self, op: &str, dim: isize, descending: bool) -> Result<(Tensor, Tensor)> {
        let d = check_dim(op, dim, self.dim())?;
        if self.dim() == 0 {
            return Ok((self.try_clone()?, Tensor::zeros([], (DType::I32, self.device()))?));
        }
        let order = order(self, d, descending)?;
        Ok((permuted(self, &order, d)?, order))
    }

    /// The `k`-th smallest element of a dimension, counted from 1, and where it stands, as `i32`: values and indices.
    ///
    /// ```
    /// let x = calor::Tensor::new([3.0f32, 1.0, 2.0], ())?;
    /// assert_eq!(x.kthvalue(2, 0, false)?.0.item()?, 2.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn kthvalue(&self, k: usize, dim: isize, keepdim: bool) -> Result<(Tensor, Tensor)> {
        let d = check_dim("kthvalue", dim, self.dim())?;
        let size = self.shape().get(d).copied().unwrap_or(1);
        if k == 0 || k > size {
            bail!(Index, "kthvalue", "selected number k out of range for dimension {d}: {k} of {size}");
        }
        if self.dim() == 0 {
            return self.sorted("kthvalue", dim, false);
        }
        let order = order(self, d, false)?;
        let at = order.narrow(dim, k as isize - 1, 1)?;
        self.at_place("kthvalue", d, &at, keepdim)
    }

    /// The elements that `index`, of size 1 in dimension `d`, names there, and `index` itself.
    fn at_place(&self, name: &'static str, d: usize, index: &Tensor, keepdim: bool) -> Result<(Tensor, Tensor)> {
        let index = index.contiguous()?;
        let values = super::reduce::pick(name, self, d, &index)?;
        if keepdim {
            return Ok((values, index));
        }
        let layout = index.layout().squeezed(|i| i == d);
        Ok((values.squeeze_dim(d as isize)?, index.alias(layout)))
    }
}
