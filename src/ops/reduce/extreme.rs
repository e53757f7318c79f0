//! Largest and smallest elements, and where they are.

use super::{GROUP, keep_dims, lanes, parts, reduce_dims, wide};
use crate::dtype::{DType, Scalar};
use crate::error::{Result, bail};
use crate::graph::library::{compute, scalar, shader};
use crate::graph::{Body, IndexOp, Load, LowerCx, Lowering, Map, Param, Primitive, Prologue, Store, Template};
use crate::layout::Layout;
use crate::shape::{Dims, check_places, dim as check_dim, dims_or_all, numel};
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;
use smallvec::SmallVec;
use std::sync::Arc;

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Side {
    Max,
    Min,
}

impl Side {
    /// The library function that joins two elements.
    fn join(self) -> &'static str {
        match self {
            Side::Max => "op_maximum",
            Side::Min => "op_minimum",
        }
    }

    /// The element that loses against every other one.
    fn start(self, dtype: DType) -> Scalar {
        match (self, dtype) {
            (Side::Max, DType::I64) => Scalar::Int(i64::MIN),
            (Side::Min, DType::I64) => Scalar::Int(i64::MAX),
            (Side::Max, DType::I32) => Scalar::Int(i64::from(i32::MIN)),
            (Side::Min, DType::I32) => Scalar::Int(i64::from(i32::MAX)),
            (Side::Max, DType::U32) => Scalar::Int(0),
            (Side::Min, DType::U32) => Scalar::Int(i64::from(u32::MAX)),
            (Side::Max, _) => Scalar::Float(f64::NEG_INFINITY),
            (Side::Min, _) => Scalar::Float(f64::INFINITY),
        }
    }
}

/// The place of the first extreme element of the last axis, whose dtype is wide; the others stay. With parts, a first
/// axis counts them, and each holds one part's place.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Arg {
    name: &'static str,
    side: Side,
    parts: usize,
}

impl Primitive for Arg {
    fn name(&self) -> &str {
        self.name
    }

    fn lower(&self, cx: &LowerCx<'_>) -> Result<Lowering> {
        let input = &cx.inputs[0];
        let keep = input.layout.rank() - 1;
        let (rows, length) = (numel(&input.layout.shape()[..keep]), input.layout.shape()[keep]);
        let chunk = length.div_ceil(self.parts);
        // neighbours in a row share it; where neighbours of other rows lie side by side, each takes a row
        let along = input.layout.strides()[keep].abs() <= 1 || keep == 0 || rows < 4;
        let lanes = if along { lanes(chunk, cx.facts) } else { 1 };
        let split = self.parts > 1;
        let ty = compute(input.dtype);
        let outs = vec![usize::from(split), keep];
        Ok(Lowering::Template(Template {
            name: "arg_rows",
            source: shader!("arg_rows.wgsl"),
            types: vec![("T", scalar(ty).to_string())],
            consts: vec![("GROUP", GROUP), ("LANES", lanes)],
            calls: vec![
                ("beats", if self.side == Side::Max { "op_gt" } else { "op_lt" }, ty),
                ("missing", "op_isnan", ty),
            ],
            loads: vec![Load { name: "load", input: 0, coords: vec![keep, 1], lanes: None, dtype: input.dtype }],
            stores: vec![Store { name: "store", coords: outs, lanes: false }],
            params: vec![
                ("rows", rows as u32),
                ("length", length as u32),
                ("chunk", chunk as u32),
                ("parts", self.parts as u32),
            ],
            groups: (rows * self.parts * lanes as usize).div_ceil(GROUP as usize) as u32,
            prologue: Prologue::Any,
            work: 2 * (rows * length) as u64,
        }))
    }
}

/// Where the extreme element of the last axis of `x`, of a wide dtype, first stands.
fn arg_last(name: &'static str, side: Side, x: &Tensor) -> Result<Tensor> {
    let shape = x.shape();
    let keep = shape.len() - 1;
    let (kept, length) = (&shape[..keep], shape[keep]);
    check_places(name, length)?;
    if numel(kept) == 0 {
        return Tensor::constant(kept, Scalar::Int(0), DType::I32, x.device());
    }
    let parts = parts(numel(kept), length, x.device().facts());
    let prim = Arc::new(Arg { name, side, parts });
    if parts == 1 {
        return Tensor::apply(prim, x.device(), (kept, DType::I32), &[x], &[]);
    }
    let mut first = Dims::from_elem(parts, 1);
    first.extend_from_slice(kept);
    let partial = Tensor::apply(prim, x.device(), (&first, DType::I32), &[x], &[])?;
    let order: SmallVec<[usize; 6]> = (1..=keep).chain([0]).collect();
    let partial = partial.alias(partial.layout().permuted(&order));
    // the best of each part, then the best of those
    let best = arg_last(name, side, &take(name, x, keep, &partial)?)?;
    let best = best.alias(best.layout().unsqueezed(keep));
    let out = take(name, &partial, keep, &best)?;
    Ok(out.alias(Layout::contiguous(kept)))
}

/// Elements of dimension `d` by place, without history: `index` has `x`'s shape but for `d`.
pub(crate) fn take(name: &'static str, x: &Tensor, d: usize, index: &Tensor) -> Result<Tensor> {
    let mut body = Body::new();
    let at = body.input(1);
    let at = body.bits(DType::U32, at);
    let last = body.param(0);
    let at = body.index(IndexOp::Min, at, last);
    let coords: SmallVec<[u16; 6]> = (0..x.dim()).map(|i| if i == d { at } else { body.coord(i) }).collect();
    body.load(0, &coords);
    let size = x.shape()[d] as isize;
    let map = Arc::new(Map { name: name.into(), body });
    Tensor::apply(map, x.device(), (&index.shape(), x.dtype()), &[x, index], &[Param::index(size - 1)])
}

/// The element of dimension `d` that `index`, of size 1 there, names.
pub(crate) fn pick(name: &'static str, x: &Tensor, d: usize, index: &Tensor) -> Result<Tensor> {
    let size = x.shape()[d];
    let out = take(name, x, d, index)?;
    Ok(out.with_grad(name, &[x], |r| {
        let index = r.save(index);
        move |g: &Tensor| Ok(Grads::from_iter([Some(place(name, g, d, &index.get()?, size)?)]))
    }))
}

/// `x`, of size 1 in dimension `d`, at the place that `index` names there among `size` zeros.
pub(crate) fn place(name: &'static str, x: &Tensor, d: usize, index: &Tensor, size: usize) -> Result<Tensor> {
    let mut shape = x.shape();
    shape[d] = size;
    let mut body = Body::new();
    let (value, at) = (body.input(0), body.input(1));
    let at = body.bits(DType::U32, at);
    let here = body.coord(d);
    let hit = body.index(IndexOp::Eq, here, at);
    let zero = body.value(0, x.dtype());
    body.select(hit, value, zero);
    let map = Arc::new(Map { name: name.into(), body });
    let view = |t: &Tensor| -> Result<Tensor> { Ok(t.alias(t.layout().expand(name, &shape)?)) };
    let params = [Param::scalar(Scalar::Int(0), x.dtype())];
    let out = Tensor::apply(map, x.device(), (&shape, x.dtype()), &[&view(x)?, &view(index)?], &params)?;
    Ok(out.with_grad(name, &[x], |r| {
        let index = r.save(index);
        move |g: &Tensor| Ok(Grads::from_iter([Some(pick(name, g, d, &index.get()?)?)]))
    }))
}

/// Refuses a reduction that would have to choose among no elements.
pub(crate) fn check_some(op: &str, x: &Tensor, dims: &[isize]) -> Result<()> {
    let shape = x.shape();
    let named = dims_or_all(op, dims, shape.len())?;
    if dims.is_empty() && numel(&shape) == 0 {
        bail!(
            Shape,
            op,
            "expected reduction dim to be specified for a tensor without elements, shape {:?}",
            &shape[..]
        );
    }
    match named.iter().find(|&&d| shape[d] == 0) {
        Some(d) => bail!(Shape, op, "expected reduction dim {d} to have non-zero size, shape {:?}", &shape[..]),
        None => Ok(()),
    }
}

impl Tensor {
    /// The largest elements over some dimensions, all if none is named; NaN wins. Equal ones share the gradient.
    ///
    /// ```
    /// let t = calor::Tensor::new([[1.0f32, 5.0], [3.0, 4.0]], ())?;
    /// assert_eq!(t.amax(&[1], false)?.to_vec::<f32>()?, [5.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn amax(&self, dims: &[isize], keepdim: bool) -> Result<Tensor> {
        self.extreme("amax", Side::Max, dims, keepdim)
    }

    /// The smallest elements over some dimensions, all if none is named; NaN wins. Equal ones share the gradient.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert_eq!(x.amin(&[0], false)?.to_vec::<f32>()?, [1.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn amin(&self, dims: &[isize], keepdim: bool) -> Result<Tensor> {
        self.extreme("amin", Side::Min, dims, keepdim)
    }

    /// [`Tensor::amin`] and [`Tensor::amax`] over one dimension, or all.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// let (low, high) = x.aminmax(None, false)?;
    /// assert_eq!((low.item()?, high.item()?), (1.0, 4.0));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn aminmax(&self, dim: Option<isize>, keepdim: bool) -> Result<(Tensor, Tensor)> {
        let dims = dim.as_slice();
        let min = self.extreme("aminmax", Side::Min, dims, keepdim)?;
        Ok((min, self.extreme("aminmax", Side::Max, dims, keepdim)?))
    }

    /// The largest element; NaN wins. Equal ones share the gradient.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([1.0f32, 5.0, 3.0], ())?.max()?.item()?, 5.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn max(&self) -> Result<Tensor> {
        self.extreme("max", Side::Max, &[], false)
    }

    /// The smallest element; NaN wins. Equal ones share the gradient.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert_eq!(x.min()?.item()?, 1.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn min(&self) -> Result<Tensor> {
        self.extreme("min", Side::Min, &[], false)
    }

    /// The largest elements of a dimension and where they first stand, as `i32`: values and indices. The gradient goes
    /// to those places.
    ///
    /// ```
    /// let t = calor::Tensor::new([[1.0f32, 5.0], [3.0, 2.0]], ())?;
    /// let (values, indices) = t.max_dim(1, false)?;
    /// assert_eq!(values.to_vec::<f32>()?, [5.0, 3.0]);
    /// assert_eq!(indices.to_vec::<i32>()?, [1, 0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn max_dim(&self, dim: isize, keepdim: bool) -> Result<(Tensor, Tensor)> {
        self.extreme_dim("max", Side::Max, dim, keepdim)
    }

    /// The smallest elements of a dimension and where they first stand, as `i32`: values and indices.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// let (values, places) = x.min_dim(1, false)?;
    /// assert_eq!((values.to_vec::<f32>()?, places.to_vec::<i32>()?), (vec![1.0, 3.0], vec![0, 0]));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn min_dim(&self, dim: isize, keepdim: bool) -> Result<(Tensor, Tensor)> {
        self.extreme_dim("min", Side::Min, dim, keepdim)
    }

    /// Where the largest element of a dimension first stands, or, without one, of all elements row by row; `i32`.
    ///
    /// ```
    /// let t = calor::Tensor::new([[1.0f32, 5.0], [3.0, 2.0]], ())?;
    /// assert_eq!(t.argmax(Some(0), false)?.to_vec::<i32>()?, [1, 0]);
    /// assert_eq!(t.argmax(None, false)?.item()?, 1.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn argmax(&self, dim: Option<isize>, keepdim: bool) -> Result<Tensor> {
        self.arg("argmax", Side::Max, dim, keepdim)
    }

    /// Where the smallest element of a dimension first stands, or, without one, of all elements row by row; `i32`.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert_eq!(x.argmin(None, false)?.item()?, 0.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn argmin(&self, dim: Option<isize>, keepdim: bool) -> Result<Tensor> {
        self.arg("argmin", Side::Min, dim, keepdim)
    }

    fn extreme(&self, name: &'static str, side: Side, dims: &[isize], keepdim: bool) -> Result<Tensor> {
        check_some(name, self, dims)?;
        let x = self.to_dtype(wide(self.dtype()))?;
        let out = reduce_dims((name, side.join(), side.start(x.dtype())), &x, dims, keepdim)?;
        let (dims, rank) = (dims.to_vec(), x.dim());
        let out = out.with_grad(name, &[&x], |r| {
            let (x, out) = (r.save(&x), r.output());
            move |g: &Tensor| {
                let (x, out) = (x.get()?.detach(), out.get()?.detach());
                let out = keep_dims(name, &out, &dims, rank, keepdim)?;
                let g = keep_dims(name, g, &dims, rank, keepdim)?;
                let ties = x.eq(&out)?.logical_or(&x.isnan()?.logical_and(&out.isnan()?)?)?.to_dtype(x.dtype())?;
                let share = ties.div(&ties.sum_dims(&dims, true)?)?;
                Ok(Grads::from_iter([Some(share.mul(&g)?)]))
            }
        });
        out.to_dtype(self.dtype())
    }

    /// The place along a dimension, which stays with size 1.
    fn arg_keep(&self, name: &'static str, side: Side, dim: isize) -> Result<(Tensor, usize)> {
        let d = check_dim(name, dim, self.dim())?;
        check_some(name, self, &[dim])?;
        let x = self.detach().to_dtype(wide(self.dtype()))?;
        let order: SmallVec<[usize; 6]> = (0..x.dim()).filter(|&i| i != d).chain([d]).collect();
        let out = arg_last(name, side, &x.alias(x.layout().permuted(&order)))?;
        Ok((out.alias(out.layout().unsqueezed(d)), d))
    }

    fn arg(&self, name: &'static str, side: Side, dim: Option<isize>, keepdim: bool) -> Result<Tensor> {
        let Some(dim) = dim else {
            check_some(name, self, &[])?;
            let out = self.detach().reshape([self.numel()])?.arg_keep(name, side, 0)?.0;
            let shape: Dims = self.shape().iter().filter(|_| keepdim).map(|_| 1).collect();
            return Ok(out.alias(Layout::contiguous(&shape)));
        };
        if self.dim() == 0 {
            check_dim(name, dim, 0)?;
            return Tensor::zeros([], (DType::I32, self.device()));
        }
        let (out, d) = self.arg_keep(name, side, dim)?;
        Ok(if keepdim { out } else { out.alias(out.layout().squeezed(|i| i == d)) })
    }

    fn extreme_dim(&self, name: &'static str, side: Side, dim: isize, keepdim: bool) -> Result<(Tensor, Tensor)> {
        if self.dim() == 0 {
            return Ok((self.try_clone()?, self.arg(name, side, Some(dim), keepdim)?));
        }
        let (index, d) = self.arg_keep(name, side, dim)?;
        let values = pick(name, self, d, &index)?;
        if keepdim {
            return Ok((values, index));
        }
        Ok((values.squeeze_dim(d as isize)?, index.alias(index.layout().squeezed(|i| i == d))))
    }
}
