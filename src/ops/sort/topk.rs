//! The best few elements of a row.

use super::quantile::gathered;
use super::{around, order};
use crate::dtype::{DType, Scalar};
use crate::error::{Result, bail};
use crate::graph::library::{compute, scalar, shader};
use crate::graph::{Load, LowerCx, Lowering, Primitive, Prologue, Store, Template};
use crate::ops::reduce::{GROUP, parts, take, wide};
use crate::shape::{check_places, dim as check_dim, numel};
use crate::tensor::Tensor;
use std::sync::Arc;

/// Up to so many are kept while walking; for more, rows are sorted.
const FEW: usize = 16;

/// Where the best `take` elements of each part of dimension `d` stand, best first; parts come behind `d`'s outer
/// dimensions where there are several.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Topk {
    d: usize,
    take: usize,
    parts: usize,
    descending: bool,
}

impl Primitive for Topk {
    fn name(&self) -> &str {
        "topk"
    }

    fn lower(&self, cx: &LowerCx<'_>) -> Result<Lowering> {
        let shape = cx.inputs[0].layout.shape();
        let (outer, length, inner) = around(shape, self.d);
        let rows = outer * inner;
        let dtype = cx.inputs[0].dtype;
        let ty = compute(dtype);
        let rest = shape.len() - self.d - 1;
        let split = usize::from(self.parts > 1);
        Ok(Lowering::Template(Template {
            name: "topk",
            source: shader!("topk.wgsl"),
            types: vec![("T", scalar(ty).to_string())],
            consts: vec![
                ("GROUP", GROUP),
                ("ROOM", self.take.next_power_of_two() as u32),
                ("DESCENDING", u32::from(self.descending)),
            ],
            calls: vec![("smaller", "op_lt", ty), ("missing", "op_isnan", ty)],
            loads: vec![Load { name: "load", input: 0, coords: vec![self.d, 1, rest], lanes: None, dtype }],
            stores: vec![Store { name: "store", coords: vec![self.d, split, 1, rest], lanes: false }],
            params: vec![
                ("rows", rows as u32),
                ("inner", inner as u32),
                ("length", length as u32),
                ("parts", self.parts as u32),
                ("take", self.take as u32),
            ],
            groups: (rows * self.parts).div_ceil(GROUP as usize) as u32,
            prologue: Prologue::Any,
            work: 8 * (rows * length) as u64,
        }))
    }
}

/// Where the best `k` elements of dimension `d` stand, best first.
fn best(x: &Tensor, d: usize, k: usize, descending: bool) -> Result<Tensor> {
    let (mut shape, device) = (x.shape(), x.device());
    let length = shape[d];
    shape[d] = k;
    if numel(&shape) == 0 {
        return Tensor::constant(&shape, Scalar::Int(0), DType::I32, device);
    }
    if k > FEW || length <= 32 {
        return order(x, d, descending)?.narrow(d as isize, 0, k)?.contiguous();
    }
    let x = x.detach().to_dtype(wide(x.dtype()))?;
    // each element may shift all that were kept
    let cap = device.facts().max_loop_iterations.map_or(length, |c| c as usize / (k + 2));
    let parts = parts(numel(&shape) / k, length, device.facts()).max(length.div_ceil(cap)).min(length / k);
    let prim = Arc::new(Topk { d, take: k, parts, descending });
    if parts == 1 {
        return Tensor::apply(prim, device, (&shape, DType::I32), &[&x], &[]);
    }
    let mut each = shape.clone();
    each.insert(d, parts);
    let partial = Tensor::apply(prim, device, (&each, DType::I32), &[&x], &[])?;
    // the best of each part, then the best of those: of equal ones, the earlier part's come first
    shape[d] = parts * k;
    let partial = partial.reshape(&shape)?;
    take("topk", &partial, d, &best(&take("topk", &x, d, &partial)?, d, k, descending)?)
}

impl Tensor {
    /// The `k` largest (or smallest) elements of a dimension, best first, and where they stand, as `i32`: values and
    /// indices.
    ///
    /// ```
    /// let t = calor::Tensor::new([3.0f32, 1.0, 2.0], ())?;
    /// let (values, indices) = t.topk(2, -1, true)?;
    /// assert_eq!(values.to_vec::<f32>()?, [3.0, 2.0]);
    /// assert_eq!(indices.to_vec::<i32>()?, [0, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn topk(&self, k: usize, dim: isize, largest: bool) -> Result<(Tensor, Tensor)> {
        let d = check_dim("topk", dim, self.dim())?;
        let size = self.shape().get(d).copied().unwrap_or(1);
        if k > size {
            bail!(Index, "topk", "selected index k out of range: {k} of {size}");
        }
        if self.dim() == 0 {
            return self.sort(dim, largest);
        }
        check_places("topk", size)?;
        let index = best(self, d, k, largest)?;
        if k == 0 {
            return Ok((self.narrow(dim, 0, 0)?.contiguous()?, index));
        }
        Ok((gathered(self, d, &index)?, index))
    }
}
