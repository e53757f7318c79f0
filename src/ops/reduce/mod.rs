//! Reductions along any set of axes: what they share.

mod extreme;
mod norm;
mod softmax;
mod statistics;
mod sum;

pub(crate) use extreme::{check_some, pick, take};

use crate::dtype::{DType, Scalar};
use crate::error::{Result, bail};
use crate::gpu::Facts;
use crate::graph::library::{compute, scalar, shader};
use crate::graph::{Fold, Load, LowerCx, Lowering, Param, Primitive, Prologue, Store, Template, group};
use crate::layout::{Layout, merged};
use crate::shape::{dims_or_all, numel};
use crate::tensor::Tensor;
use smallvec::SmallVec;
use std::sync::Arc;

pub(crate) use crate::graph::{GROUP, lanes};

/// A part of a row has at least so many elements.
const PART: usize = 1024;
/// Columns so long are cut on a CPU, into parts of so many elements: each lies in a page of its own, and prefetching
/// follows only some pages at a time, those of a second tensor among them.
const COLUMN: usize = 256;
const COLUMN_PART: usize = 8;
/// An axis so long is reduced by itself where it lies apart from the others that are.
const APART: usize = 64;

/// Joins the elements of the last axes by a library function; the first `keep` axes stay. With parts, a first axis
/// counts them, and each holds one part's result.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Reduce {
    name: &'static str,
    join: &'static str,
    init: Start,
    keep: usize,
    parts: usize,
}

/// What a reduction starts with. Compared by its bits: 0 and -0 start differently.
#[derive(Clone, Copy, Debug)]
struct Start(Scalar);

impl Start {
    fn bits(self) -> (u8, u64) {
        match self.0 {
            Scalar::Bool(b) => (0, b.into()),
            Scalar::Int(i) => (1, i as u64),
            Scalar::Float(f) => (2, f.to_bits()),
        }
    }
}

impl PartialEq for Start {
    fn eq(&self, other: &Self) -> bool {
        self.bits() == other.bits()
    }
}

impl Eq for Start {}

impl std::hash::Hash for Start {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.bits().hash(state);
    }
}

impl Primitive for Reduce {
    fn name(&self) -> &str {
        self.name
    }

    fn lower(&self, cx: &LowerCx<'_>) -> Result<Lowering> {
        let input = &cx.inputs[0];
        let (kept, reduced) = input.layout.shape().split_at(self.keep);
        let (rows, length) = (numel(kept), numel(reduced));
        let chunk = length.div_ceil(self.parts).next_multiple_of(4);
        // how the innermost axis of each kind lies
        let stride = |range: std::ops::Range<usize>| {
            let axes = range.rev().find(|&d| input.layout.shape()[d] != 1);
            axes.map_or(0, |d| input.layout.strides()[d].abs())
        };
        let columns = stride(0..self.keep) == 1 && stride(self.keep..input.layout.rank()) != 1 && rows >= 4;
        let ty = compute(cx.output.dtype);
        let coords = vec![self.keep, reduced.len()];
        let load = |name, lanes| Load { name, input: 0, coords: coords.clone(), lanes, dtype: cx.output.dtype };
        let split = self.parts > 1;
        let outs = |lanes: bool| if lanes { vec![self.keep] } else { vec![usize::from(split), self.keep] };
        let store = |name, lanes| Store { name, coords: outs(lanes), lanes };
        let init = Param::scalar(self.init.0, cx.output.dtype);
        let (bits, text) = match init {
            Param::F32(v) => ((v.to_bits(), 0), "bitcast<f32>(p_init)".to_string()),
            Param::I32(v) => ((v as u32, 0), "bitcast<i32>(p_init)".to_string()),
            Param::I64(v) => {
                ((v as u32, (v >> 32) as u32), "bitcast<i64>(u64(p_init) | (u64(p_high) << 32u))".to_string())
            }
            // 0, 1 and infinities are exact
            Param::F64(v) => (((v as f32).to_bits(), 0), "f64(bitcast<f32>(p_init))".to_string()),
            Param::U32(v) => ((v, 0), "p_init".to_string()),
            Param::Fault(_) => bail!(Device, self.name, "has no start value"),
        };
        let mut params = vec![("length", length as u32), ("chunk", chunk as u32), ("parts", self.parts as u32)];
        params.push(("init", bits.0));
        if ty == DType::I64 {
            params.push(("high", bits.1));
        }
        let mut template = Template {
            name: "reduce_rows",
            source: shader!("reduce_rows.wgsl"),
            types: vec![("T", scalar(ty).to_string()), ("INIT", text)],
            consts: vec![("SPLIT", u32::from(split))],
            calls: vec![("join4", self.join, ty)],
            loads: vec![load("load4", Some(usize::from(!columns)))],
            stores: Vec::new(),
            params,
            groups: 0,
            prologue: Prologue::Any,
            work: (rows * length) as u64,
        };
        let tasks = if columns {
            template.name = "reduce_columns";
            template.source = shader!("reduce_columns.wgsl");
            template.stores.push(if split { store("store", false) } else { store("store4", true) });
            template.params.push(("columns", rows as u32));
            rows.div_ceil(4) * self.parts
        } else {
            let lanes = lanes(chunk, cx.facts);
            template.consts.push(("LANES", lanes));
            template.calls.push(("join", self.join, ty));
            template.loads.push(load("load", None));
            template.stores.push(store("store", false));
            template.params.push(("rows", rows as u32));
            rows * self.parts * lanes as usize
        };
        let group = group(tasks, cx.facts);
        template.consts.push(("GROUP", group));
        template.groups = tasks.div_ceil(group as usize) as u32;
        if split {
            return Ok(Lowering::Template(template));
        }
        Ok(Lowering::Fold(Fold { join: self.join, init: init.bits(), keep: self.keep }, template))
    }
}

/// The dtype in which elements are reduced: a template writes whole words.
pub(crate) fn wide(dtype: DType) -> DType {
    match dtype {
        DType::Bool | DType::U8 => DType::I32,
        other => other.compute(),
    }
}

/// Into how many parts rows are cut: enough to keep the adapter busy, and few enough iterations for each invocation.
pub(crate) fn parts(rows: usize, length: usize, facts: &Facts) -> usize {
    let wanted = if facts.is_cpu { 512 } else { 65_536 };
    let busy = (wanted / rows.max(1)).clamp(1, length.div_ceil(PART).max(1));
    // an iteration takes two elements down a column, the slowest walk, and drivers may count more than one for it
    let cap = facts.max_loop_iterations.unwrap_or(1 << 20) as usize / 2;
    busy.max(length.div_ceil(cap))
}

/// Whether neighbours in memory belong to different results.
fn walks_columns(x: &Tensor, keep: usize) -> bool {
    let layout = x.layout();
    let inner = |range: std::ops::Range<usize>| range.rev().find(|&d| layout.shape()[d] != 1);
    let stride = |d: Option<usize>| d.map_or(0, |d| layout.strides()[d].abs());
    let (kept, reduced) = (inner(0..keep), inner(keep..layout.rank()));
    stride(kept) == 1 && stride(reduced) > 64 && numel(&layout.shape()[..keep]) >= 64
}

/// A reduction of all axes after the first `keep`, in as many stages as it takes.
fn reduce(name: &'static str, join: &'static str, init: Scalar, x: &Tensor, keep: usize) -> Result<Tensor> {
    let shape = x.shape();
    let facts = x.device().facts();
    let (kept, length) = (&shape[..keep], numel(&shape[keep..]));
    if length == 0 || numel(kept) == 0 {
        return Tensor::constant(kept, init, x.dtype(), x.device());
    }
    // so many rows keep a device busy by themselves, and whole ones can be folded together with others
    let whole = numel(kept) >= 128 && (facts.is_cpu || length <= 1 << 14);
    let rows = if whole { usize::MAX } else { numel(kept) };
    let mut parts = parts(rows, length, facts);
    if facts.is_cpu && length >= COLUMN && walks_columns(x, keep) {
        parts = parts.max(length.div_ceil(COLUMN_PART));
    }
    let apply = |view: &Tensor, keep: usize, parts: usize, shape: &[usize]| {
        let prim = Arc::new(Reduce { name, join, init: Start(init), keep, parts });
        Tensor::apply(prim, x.device(), (shape, x.dtype()), &[view], &[])
    };
    let (partial, order) = match divided(x, keep, parts) {
        Some(Divided { view, keep, order }) => (apply(&view, keep, 1, &view.shape()[..keep])?, order),
        None if parts == 1 => return apply(x, keep, 1, kept),
        None => {
            let mut shape: SmallVec<[usize; 6]> = SmallVec::from_elem(parts, 1);
            shape.extend_from_slice(kept);
            (apply(x, keep, parts, &shape)?, (1..=keep).chain([0]).collect())
        }
    };
    let rest = partial.alias(partial.layout().permuted(&order));
    reduce(name, join, init, &rest, keep)
}

/// The first stage of a reduction as one of shorter rows.
struct Divided {
    view: Tensor,
    keep: usize,
    /// The dimensions of its result, those that stay before those that are left to reduce.
    order: SmallVec<[usize; 6]>,
}

/// Each row of `x` as at least so many rows of their own, which kernels of rows can take where the whole of a row is
/// none to them; `None` where one stage does or rows do not divide evenly.
fn divided(x: &Tensor, keep: usize, parts: usize) -> Option<Divided> {
    let layout = x.layout();
    let (kept, reduced) = (0..keep, merged(&layout.shape()[keep..], &layout.strides()[keep..]));
    let (&(length, step), outer) = reduced.split_last()?;
    let whole: usize = outer.iter().map(|a| a.0).product();
    let apart = whole > 1 && length >= APART;
    // of short rows too much would be left
    if whole > 1 && !apart || parts == 1 && !(apart && layout.numel() >= 1 << 14) {
        return None;
    }
    // as much of the last axis as it takes, in equal parts
    let more = parts.div_ceil(whole);
    let fits = |n: &usize| {
        let chunk = length / n;
        length.is_multiple_of(*n) && (chunk.is_multiple_of(4) || step != 1)
    };
    let most = (length / 8).clamp(1, more * 4);
    let more = (more..=most).find(|n| *n == 1 || fits(n))?;
    let mut axes: SmallVec<[(usize, isize, bool); 6]> =
        kept.map(|d| (layout.shape()[d], layout.strides()[d], true)).collect();
    let mut left: SmallVec<[(usize, isize); 6]> = outer.into();
    left.push((more, step * (length / more) as isize));
    for (size, stride) in left.into_iter().filter(|a| a.0 > 1) {
        // as they lie in memory, so that rows that lie side by side are seen to
        let at = axes.iter().position(|a| a.1.abs() < stride.abs()).unwrap_or(axes.len());
        axes.insert(at, (size, stride, false));
    }
    let columns = step != 1 && axes.last().is_some_and(|a| a.1 == 1);
    if columns && !axes.last().is_some_and(|a| a.0.is_multiple_of(4)) {
        return None;
    }
    let order = (0..axes.len()).filter(|&d| axes[d].2).chain((0..axes.len()).filter(|&d| !axes[d].2)).collect();
    let keep = axes.len();
    let (mut shape, mut strides): (Vec<usize>, Vec<isize>) = axes.iter().map(|a| (a.0, a.1)).unzip();
    shape.push(length / more);
    strides.push(step);
    let view = Layout::strided("sum", &shape, &strides, layout.offset()).ok()?;
    Some(Divided { view: x.alias(view), keep, order })
}

/// A tensor seen with the dimensions of a reduction last, and the shape of its result.
struct Axes {
    view: Tensor,
    keep: usize,
    shape: SmallVec<[usize; 6]>,
}

fn axes(op: &str, x: &Tensor, dims: &[isize], keepdim: bool) -> Result<Axes> {
    let rank = x.dim();
    let dims = dims_or_all(op, dims, rank)?;
    let kept: SmallVec<[usize; 6]> = (0..rank).filter(|d| !dims.contains(d)).collect();
    let own = x.shape();
    let shape = (0..rank).filter(|d| keepdim || !dims.contains(d));
    let shape = shape.map(|d| if dims.contains(&d) { 1 } else { own[d] }).collect();
    let mut order = kept.clone();
    // in their own order, so that they stay contiguous
    order.extend((0..rank).filter(|d| dims.contains(d)));
    Ok(Axes { view: x.alias(x.layout().permuted(&order)), keep: kept.len(), shape })
}

/// Reduces `dims` (all, if empty), without history.
pub(crate) fn reduce_dims(
    (name, join, init): (&'static str, &'static str, Scalar),
    x: &Tensor,
    dims: &[isize],
    keepdim: bool,
) -> Result<Tensor> {
    let a = axes(name, x, dims, keepdim)?;
    let out = reduce(name, join, init, &a.view, a.keep)?;
    Ok(out.alias(Layout::contiguous(&a.shape)))
}

/// `t` with dimensions of size 1 where `dims` of a tensor of `rank` were reduced away.
pub(crate) fn keep_dims(op: &str, t: &Tensor, dims: &[isize], rank: usize, kept: bool) -> Result<Tensor> {
    if kept || rank == 0 {
        return Ok(t.clone());
    }
    let mut dims = dims_or_all(op, dims, rank)?;
    dims.sort_unstable();
    dims.iter().try_fold(t.clone(), |t, &d| t.unsqueeze(d as isize))
}

/// How many elements a reduction of `dims` joins.
fn count(op: &str, x: &Tensor, dims: &[isize]) -> Result<usize> {
    let shape = x.shape();
    Ok(dims_or_all(op, dims, shape.len())?.iter().map(|&d| shape[d]).product())
}
