//! `Buckets`: which sources go to which destination, and what becomes of them there.
//!
//! With few pairs of source and destination, each destination looks at every source. With many, the sources are
//! sorted by destination (radix sort, stable) and each destination reads its own run; long runs are cut into parts.
//! Either way the order is that of the sources, and no atomics are used.

use super::{Build, iota};
use crate::dtype::{DType, Scalar};
use crate::error::Result;
use crate::gpu::Facts;
use crate::graph::library::{scalar, shader};
use crate::graph::{IndexOp, Load, LowerCx, Lowering, Param, Primitive, Prologue, Store, Template};
use crate::layout::Layout;
use crate::shape::{Dims, checked_numel, numel};
use crate::tensor::Tensor;
use std::sync::Arc;

const GROUP: u32 = 64;
/// Elements that one invocation of a sort or scan walks.
const CHUNK: usize = 64;
/// Bits of a digit.
const DIGIT: u32 = 4;
/// Comparisons up to which every destination looks at every source.
const FEW: usize = 1 << 20;
/// Sources up to which it does so, whatever the number of destinations.
const SHORT: usize = 16;
/// The shortest part that a run is cut into.
const PART: usize = 512;

/// How sources meet in a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    Sum,
    Prod,
    Max,
    Min,
}

impl Join {
    fn function(self) -> &'static str {
        match self {
            Join::Sum => "op_add",
            Join::Prod => "op_mul",
            Join::Max => "op_maximum",
            Join::Min => "op_minimum",
        }
    }

    /// What an empty destination holds.
    pub(crate) fn start(self, dtype: DType) -> Scalar {
        match (self, dtype) {
            (Join::Sum, _) => Scalar::Int(0),
            (Join::Prod, _) => Scalar::Int(1),
            (Join::Max, DType::I32) => Scalar::Int(i32::MIN.into()),
            (Join::Min, DType::I32) => Scalar::Int(i32::MAX.into()),
            (Join::Max, DType::I64) => Scalar::Int(i64::MIN),
            (Join::Min, DType::I64) => Scalar::Int(i64::MAX),
            (Join::Max, DType::U32) => Scalar::Int(0),
            (Join::Min, DType::U32) => Scalar::Int(u32::MAX.into()),
            (Join::Max, _) => Scalar::Float(f64::NEG_INFINITY),
            (Join::Min, _) => Scalar::Float(f64::INFINITY),
        }
    }
}

/// The dtype in which sources of a dtype meet: what a kernel can write, and wide enough.
pub(crate) fn meeting(dtype: DType) -> DType {
    match dtype {
        DType::Bool | DType::U8 => DType::I32,
        other => other.compute(),
    }
}

/// A kernel that is known when its node is made.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Fixed(Template);

impl Primitive for Fixed {
    fn name(&self) -> &str {
        self.0.name
    }

    fn lower(&self, _: &LowerCx<'_>) -> Result<Lowering> {
        Ok(Lowering::Template(self.0.clone()))
    }
}

/// A kernel of `tasks` invocations whose loads each read one element: `(stub, input, coordinates, dtype)`.
fn kernel(
    (name, source): (&'static str, &'static str),
    tasks: usize,
    loads: &[(&'static str, usize, &[usize], DType)],
    store: &[usize],
    params: &[(&'static str, usize)],
) -> Template {
    let load = |&(name, input, coords, dtype): &(&'static str, usize, &[usize], DType)| Load {
        name,
        input,
        coords: coords.to_vec(),
        lanes: None,
        dtype,
    };
    Template {
        name,
        source,
        types: Vec::new(),
        consts: vec![("GROUP", GROUP)],
        calls: Vec::new(),
        loads: loads.iter().map(load).collect(),
        stores: vec![Store { name: "store", coords: store.to_vec(), lanes: false }],
        params: params.iter().map(|&(name, value)| (name, value as u32)).collect(),
        groups: tasks.div_ceil(GROUP as usize) as u32,
        prologue: Prologue::Free,
        work: tasks as u64,
    }
}

fn run(template: Template, shape: &[usize], dtype: DType, inputs: &[&Tensor]) -> Result<Tensor> {
    Tensor::apply(Arc::new(Fixed(template)), inputs[0].device(), (shape, dtype), inputs, &[])
}

/// Puts a type, a start value and a join into a template, and lets each invocation take four of `width` columns where
/// they come in fours.
fn joined(template: &mut Template, join: Join, dtype: DType, width: usize) {
    let four = width.is_multiple_of(4);
    template.consts.push(("LANES", if four { 4 } else { 1 }));
    if four {
        template.groups = template.groups.div_ceil(4);
        for load in template.loads.iter_mut().filter(|l| l.name == "load") {
            (load.name, load.lanes) = ("load4", Some(load.coords.len() - 1));
        }
        for store in &mut template.stores {
            (store.name, store.lanes) = ("store4", true);
        }
    }
    let (low, high, text) = match Param::scalar(join.start(dtype), dtype) {
        Param::F32(v) => (v.to_bits(), 0, "bitcast<f32>(p_init)"),
        Param::I32(v) => (v as u32, 0, "bitcast<i32>(p_init)"),
        Param::I64(v) => (v as u32, (v >> 32) as u32, "bitcast<i64>(u64(p_init) | (u64(p_high) << 32u))"),
        // 0, 1 and infinities are exact
        Param::F64(v) => ((v as f32).to_bits(), 0, "f64(bitcast<f32>(p_init))"),
        Param::U32(v) => (v, 0, "p_init"),
        Param::Fault(_) => (0, 0, "p_init"),
    };
    template.params.push(("init", low));
    if dtype == DType::I64 {
        template.params.push(("high", high));
    }
    template.types.push(("T", scalar(dtype).to_string()));
    template.types.push(("INIT", text.to_string()));
    template.calls.push((if four { "join4" } else { "join" }, join.function(), dtype));
}

/// The sum of all earlier elements, for each element of a `u32` vector.
pub(crate) fn exclusive_sum(x: &Tensor) -> Result<Tensor> {
    let n = x.numel();
    let chunks = n.div_ceil(CHUNK);
    let zeros = |n: usize| Tensor::zeros([n], (DType::U32, x.device()));
    if n == 0 {
        return zeros(0);
    }
    let pass = |base: &Tensor, each: bool| {
        let loads: [(_, _, &[usize], _); 2] = [("load", 0, &[1], DType::U32), ("base", 1, &[1], DType::U32)];
        let params = [("count", n), ("chunk", CHUNK), ("chunks", chunks)];
        let mut t = kernel(("offsets", shader!("offsets.wgsl")), chunks, &loads, &[1], &params);
        t.consts.push(("EACH", u32::from(each)));
        t.work = n as u64;
        run(t, &[if each { n } else { chunks }], DType::U32, &[x, base])
    };
    if chunks == 1 {
        return pass(&zeros(1)?, true);
    }
    let sums = pass(&zeros(chunks)?, false)?;
    pass(&exclusive_sum(&sums)?, true)
}

/// The order that sorts `keys`, a `u32` vector of numbers below `bound`; equal ones stay in their order.
pub(crate) fn sorted_order(keys: &Tensor, bound: usize) -> Result<Tensor> {
    let n = keys.numel();
    let chunks = n.div_ceil(CHUNK);
    let bits = usize::BITS - bound.saturating_sub(1).leading_zeros();
    let mut order = iota(n, DType::U32, keys.device())?;
    for shift in (0..bits).step_by(DIGIT as usize) {
        let params = [("count", n), ("chunk", CHUNK), ("chunks", chunks), ("shift", shift as usize)];
        let pass = |offsets: Option<&Tensor>| {
            let loads: [(_, _, &[usize], _); 3] =
                [("key", 0, &[1], DType::U32), ("order", 1, &[1], DType::U32), ("offset", 2, &[1], DType::U32)];
            let used = if offsets.is_some() { 3 } else { 2 };
            let mut t = kernel(("radix", shader!("radix.wgsl")), chunks, &loads[..used], &[1], &params);
            t.consts.push(("PLACE", u32::from(offsets.is_some())));
            t.work = n as u64;
            match offsets {
                Some(offsets) => run(t, &[n], DType::U32, &[keys, &order, offsets]),
                None => run(t, &[chunks << DIGIT], DType::U32, &[keys, &order]),
            }
        };
        let counts = pass(None)?;
        order = pass(Some(&exclusive_sum(&counts)?))?;
    }
    Ok(order)
}

/// Sources in the order of their destinations.
struct Sorted {
    /// Source numbers, `u32`.
    order: Tensor,
    /// Where each destination's run starts, and a last one where the last run ends; `u32`.
    starts: Tensor,
}

/// Sources and the destinations they go to, in each of some batches.
pub(crate) struct Buckets {
    /// `[batches.., sources..]`, `u32`; numbers that are no destination's are ignored.
    place: Tensor,
    /// How many dimensions count batches.
    batch: usize,
    destinations: usize,
    sorted: Option<Sorted>,
}

impl Buckets {
    /// Sources at `place`; the first `batch` dimensions count batches with destinations of their own, and each
    /// source has `width` elements.
    pub(crate) fn new(place: &Tensor, batch: usize, destinations: usize, width: usize) -> Result<Self> {
        let mut buckets = Self { place: place.clone(), batch, destinations, sorted: None };
        let (batches, sources) = buckets.counts_of();
        let pairs = [batches, destinations, width, sources].iter().fold(1usize, |a, &b| a.saturating_mul(b));
        let cap = cap(place.device().facts());
        if sources > 0 && destinations > 0 && batches > 0 && (sources > cap || sources > SHORT && pairs > FEW) {
            buckets.sorted = Some(buckets.sort()?);
        }
        Ok(buckets)
    }

    /// Batches, and sources of each.
    fn counts_of(&self) -> (usize, usize) {
        let shape = self.place.shape();
        (numel(&shape[..self.batch]), numel(&shape[self.batch..]))
    }

    fn sort(&self) -> Result<Sorted> {
        let (batches, sources) = self.counts_of();
        let all = checked_numel("scatter", &[batches, self.destinations])?;
        let n = batches * sources;
        // sources that go nowhere come last
        let mut b = Build::default();
        let (place, flat) = (b.body.input(0), b.body.flat());
        let batch = b.div(flat, sources);
        let size = b.number(self.destinations as isize);
        let first = b.op(IndexOp::Mul, batch, size);
        let key = b.op(IndexOp::Add, first, place);
        let valid = b.op(IndexOp::Lt, place, size);
        let nowhere = b.number(all as isize);
        b.body.select(valid, key, nowhere);
        let keys = b.apply("bucket", &self.place.shape(), DType::U32, &[&self.place])?;
        let keys = keys.alias(Layout::contiguous(&[n]));
        let order = sorted_order(&keys, all + 1)?;
        let loads: [(_, _, &[usize], _); 2] = [("key", 0, &[1], DType::U32), ("order", 1, &[1], DType::U32)];
        let t = kernel(("starts", shader!("starts.wgsl")), all + 1, &loads, &[1], &[("count", n), ("starts", all + 1)]);
        let starts = run(t, &[all + 1], DType::U32, &[&keys, &order])?;
        Ok(Sorted { order, starts })
    }

    /// Joins the sources of each destination: from `[batches.., sources.., width..]`, of a dtype from [`meeting`], to
    /// `[batches.., destinations, width..]`.
    pub(crate) fn join(&self, join: Join, source: &Tensor) -> Result<Tensor> {
        let (dtype, rank) = (source.dtype(), self.place.dim());
        let shape = source.shape();
        let (batches, sources) = self.counts_of();
        let (wide, width) = (shape.len() - rank, numel(&shape[rank..]));
        let mut out = Dims::from_slice(&shape[..self.batch]);
        out.push(self.destinations);
        out.extend_from_slice(&shape[rank..]);
        if numel(&out) == 0 || sources == 0 {
            return Tensor::constant(&out, join.start(dtype), dtype, source.device());
        }
        let Some(Sorted { order, starts }) = &self.sorted else {
            let inner = rank - self.batch;
            let loads: [(_, _, &[usize], _); 2] =
                [("place", 0, &[self.batch, inner], DType::U32), ("load", 1, &[self.batch, inner, wide], dtype)];
            let params =
                [("batches", batches), ("destinations", self.destinations), ("width", width), ("sources", sources)];
            let store = [self.batch, 1, wide];
            let mut t = kernel(("scatter", shader!("scatter.wgsl")), numel(&out), &loads, &store, &params);
            t.work = (numel(&out) * sources) as u64;
            joined(&mut t, join, dtype, width);
            return run(t, &out, dtype, &[&self.place, source]);
        };
        let runs = |starts: &Tensor, order: &Tensor, source: &Tensor, shape: &[usize]| {
            let lead = source.dim() - wide;
            let loads: [(_, _, &[usize], _); 3] =
                [("start", 0, &[1], DType::U32), ("order", 1, &[1], DType::U32), ("load", 2, &[lead, wide], dtype)];
            let params = [("runs", starts.numel() - 1), ("width", width)];
            let store = [shape.len() - wide, wide];
            let mut t = kernel(("segments", shader!("segments.wgsl")), numel(shape), &loads, &store, &params);
            t.work = (numel(shape) + source.numel()) as u64;
            joined(&mut t, join, dtype, width);
            run(t, shape, dtype, &[starts, order, source])
        };
        let n = batches * sources;
        let part = PART.max(n / 16_384).min(cap(source.device().facts()));
        if sources <= part {
            return runs(starts, order, source, &out);
        }
        // runs of at most `part` sources, then the sums of each destination's parts
        let all = starts.numel() - 1;
        let parts = n / part + all.min(n);
        let first = exclusive_sum(&part_counts(starts, part)?)?;
        let loads: [(_, _, &[usize], _); 2] = [("first", 0, &[1], DType::U32), ("start", 1, &[1], DType::U32)];
        let params = [("runs", all), ("part", part), ("parts", parts + 1)];
        let t = kernel(("parts", shader!("parts.wgsl")), parts + 1, &loads, &[1], &params);
        let bounds = run(t, &[parts + 1], DType::U32, &[&first, starts])?;
        let mut partial = Dims::from_slice(&[parts]);
        partial.extend_from_slice(&shape[rank..]);
        let partial = runs(&bounds, order, source, &partial)?;
        runs(&first, &iota(parts, DType::U32, source.device())?, &partial, &out)
    }

    /// How many sources each destination has, `i32`: `[batches.., destinations]`.
    pub(crate) fn counts(&self) -> Result<Tensor> {
        let ones = Tensor::constant(&self.place.shape(), Scalar::Int(1), DType::I32, self.place.device())?;
        self.join(Join::Sum, &ones)
    }

    /// The number of each destination's last source within its batch, `i32`, or -1: `[batches.., destinations]`.
    pub(crate) fn last(&self) -> Result<Tensor> {
        let shape = self.place.shape();
        let (_, sources) = self.counts_of();
        let mut out = Dims::from_slice(&shape[..self.batch]);
        out.push(self.destinations);
        if let Some(Sorted { order, starts }) = &self.sorted {
            let mut b = Build::default();
            let at = b.body.flat();
            let next = b.add(at, 1);
            let (begin, end) = (b.body.load(0, &[at]), b.body.load(0, &[next]));
            let any = b.op(IndexOp::Lt, begin, end);
            // an empty run reads any place
            let one = b.number(1);
            let last = b.op(IndexOp::Sub, end, one);
            let last = b.at_most(last, order.numel() as isize - 1);
            let last = b.body.load(1, &[last]);
            let last = b.rem(last, sources);
            let none = b.number(-1);
            let last = b.body.select(any, last, none);
            b.body.bits(DType::I32, last);
            return b.apply("last", &out, DType::I32, &[starts, order]);
        }
        // -1, where there is no source, is the least
        let numbers = iota(sources, DType::I32, self.place.device())?.alias(Layout::contiguous(&shape[self.batch..]));
        let numbers = numbers.alias(numbers.layout().expand("scatter", &shape)?);
        let last = self.join(Join::Max, &numbers)?;
        last.clamp_min(-1)
    }
}

/// Into how many parts each run is cut, and a last 0.
fn part_counts(starts: &Tensor, part: usize) -> Result<Tensor> {
    let n = starts.numel();
    let mut b = Build::default();
    let begin = b.body.input(0);
    let at = b.body.flat();
    let next = b.add(at, 1);
    let next = b.at_most(next, n as isize - 1);
    let end = b.body.load(1, &[next]);
    let length = b.op(IndexOp::Sub, end, begin);
    let length = b.add(length, part as isize - 1);
    b.div(length, part);
    b.apply("parts", &[n], DType::U32, &[starts, starts])
}

/// How many sources one invocation may walk.
fn cap(facts: &Facts) -> usize {
    facts.max_loop_iterations.unwrap_or(1 << 20) as usize / 2
}

/// The places of the true elements of a vector, of which there are `count`, by the number of true ones before each.
pub(super) fn places_of(mask: &Tensor, ranks: &Tensor, count: usize) -> Result<Tensor> {
    if count == 0 {
        return Tensor::zeros([0], (DType::U32, mask.device()));
    }
    let n = mask.numel();
    let loads: [(_, _, &[usize], _); 2] = [("mask", 0, &[1], DType::U32), ("rank", 1, &[1], DType::U32)];
    let t = kernel(("compact", shader!("compact.wgsl")), n, &loads, &[1], &[("count", n)]);
    run(t, &[count], DType::U32, &[mask, ranks])
}
