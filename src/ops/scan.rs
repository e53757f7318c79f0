//! Running sums, products, extremes and their like along a dimension.

use super::reduce::{GROUP, parts, wide};
use crate::dtype::{DType, Scalar};
use crate::error::{Result, bail};
use crate::graph::library::{compute, scalar, shader};
use crate::graph::{Body, IndexOp, Load, LowerCx, Lowering, Map, Param, Primitive, Prologue, Store, Template};
use crate::ops::elementwise::{except, only};
use crate::shape::{Dims, check_places, dim as check_dim, numel};
use crate::tensor::Tensor;
use crate::tensor::autocast::full;
use crate::tensor::grad::Grads;
use smallvec::SmallVec;
use std::sync::Arc;

/// How a result follows from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// By a library function of it and the element.
    Join(&'static str),
    /// By a second input: `factor * before + x`.
    Recur,
}

/// Running results along dimension `d`, or with `total` only the last one of each part, parts first.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Scan {
    name: &'static str,
    step: Step,
    d: usize,
    reverse: bool,
    parts: usize,
    total: bool,
}

impl Primitive for Scan {
    fn name(&self) -> &str {
        self.name
    }

    fn lower(&self, cx: &LowerCx<'_>) -> Result<Lowering> {
        let shape = cx.inputs[0].layout.shape();
        let rank = shape.len();
        let (outer, length, inner) = (numel(&shape[..self.d]), shape[self.d], numel(&shape[self.d + 1..]));
        let recur = matches!(self.step, Step::Recur);
        let inputs = 1 + usize::from(recur);
        let carry = cx.inputs.len() > inputs;
        let dtype = cx.output.dtype;
        let ty = compute(dtype);
        let sides = [self.d, rank - self.d - 1];
        let coords = vec![sides[0], 1, sides[1]];
        let by_part = vec![1, sides[0], sides[1]];
        let load = |name, input, coords: &[usize]| Load { name, input, coords: coords.to_vec(), lanes: None, dtype };
        let mut loads = vec![load("load", 0, &coords)];
        if recur {
            loads.push(load("factor", 1, &coords));
        }
        if carry {
            loads.push(load("carry", inputs, &by_part));
        }
        let store = if self.total {
            Store { name: "store_total", coords: by_part, lanes: false }
        } else {
            Store { name: "store", coords, lanes: false }
        };
        let rows = outer * inner;
        Ok(Lowering::Template(Template {
            name: "scan",
            source: shader!("scan.wgsl"),
            types: vec![("T", scalar(ty).to_string())],
            consts: vec![
                ("GROUP", GROUP),
                ("REVERSE", u32::from(self.reverse)),
                ("RECUR", u32::from(recur)),
                ("TOTAL", u32::from(self.total)),
                ("CARRY", u32::from(carry)),
            ],
            calls: match self.step {
                Step::Join(join) => vec![("join", join, ty)],
                Step::Recur => Vec::new(),
            },
            loads,
            stores: vec![store],
            params: vec![
                ("rows", rows as u32),
                ("inner", inner as u32),
                ("length", length as u32),
                ("chunk", length.div_ceil(self.parts) as u32),
                ("parts", self.parts as u32),
            ],
            groups: (rows * self.parts).div_ceil(GROUP as usize) as u32,
            prologue: Prologue::Any,
            work: 2 * (rows * length) as u64,
        }))
    }
}

/// Running results of `inputs` (elements and, for a recurrence, factors) along dimension `d`, without history.
fn scan(name: &'static str, step: Step, inputs: &[&Tensor], d: usize, reverse: bool) -> Result<Tensor> {
    let x = inputs[0];
    let (shape, device, dtype) = (x.shape(), x.device(), x.dtype());
    if numel(&shape) == 0 {
        return Tensor::constant(&shape, Scalar::Int(0), dtype, device);
    }
    let length = shape[d];
    let parts = parts(numel(&shape) / length, length, device.facts());
    let make = |step, parts, total| Arc::new(Scan { name, step, d, reverse, parts, total });
    if parts == 1 {
        return Tensor::apply(make(step, 1, false), device, (&shape, dtype), inputs, &[]);
    }
    let mut first = Dims::from_elem(parts, 1);
    first.extend(shape.iter().enumerate().filter(|i| i.0 != d).map(|i| *i.1));
    let total = |step, inputs: &[&Tensor]| Tensor::apply(make(step, parts, true), device, (&first, dtype), inputs, &[]);
    let totals = total(step, inputs)?;
    // the results at the end of each part
    let carry = match (step, inputs) {
        (Step::Recur, [_, factors]) => {
            let factors = total(Step::Join("op_mul"), &[factors])?;
            scan(name, step, &[&totals, &factors], 0, false)?
        }
        _ => scan(name, step, &[&totals], 0, false)?,
    };
    let mut all: SmallVec<[&Tensor; 3]> = inputs.into();
    all.push(&carry);
    Tensor::apply(make(step, parts, false), device, (&shape, dtype), &all, &[])
}

/// `y[k] = a[k] y[k - 1] + b[k]` along dimension `d`, from 0 on, or from the end backwards.
pub(crate) fn recurrence(a: &Tensor, b: &Tensor, d: usize, reverse: bool) -> Result<Tensor> {
    let out = scan("recurrence", Step::Recur, &[b, a], d, reverse)?;
    Ok(out.with_grad("recurrence", &[a, b], |r| {
        let (a, y) = (r.save(a), r.output());
        move |g: &Tensor| {
            let dim = d as isize;
            let u = recurrence(&a.get()?.shifted(dim, !reverse, 0.0)?, g, d, !reverse)?;
            let ga = u.mul(&y.get()?.shifted(dim, reverse, 0.0)?)?;
            Ok(Grads::from_iter([Some(ga), Some(u)]))
        }
    }))
}

/// Each element's coordinate in dimension `d` where `mask` holds, else 0.
pub(crate) fn places(mask: &Tensor, d: usize) -> Result<Tensor> {
    let mut body = Body::new();
    let (hit, here) = (body.input(0), body.coord(d));
    let here = body.bits(DType::I32, here);
    let zero = body.value(0, DType::I32);
    body.select(hit, here, zero);
    let map = Arc::new(Map { name: "places".into(), body });
    Tensor::apply(map, mask.device(), (&mask.shape(), DType::I32), &[mask], &[Param::I32(0)])
}

impl Tensor {
    /// Its elements one place further along a dimension, or back; the free place holds `fill`.
    pub(crate) fn shifted(&self, dim: isize, back: bool, fill: f64) -> Result<Tensor> {
        let d = check_dim("shift", dim, self.dim())?;
        let mut body = Body::new();
        let here = body.coord(d);
        let (last, one, edge) = (body.param(0), body.param(1), body.param(2));
        let from = body.index(IndexOp::Add, here, one);
        let from = body.index(IndexOp::Min, from, last);
        let coords: SmallVec<[u16; 6]> = (0..self.dim()).map(|i| if i == d { from } else { body.coord(i) }).collect();
        let value = body.load(0, &coords);
        let free = body.index(IndexOp::Eq, here, edge);
        let fill = (body.value(3, self.dtype()), fill);
        body.select(free, fill.0, value);
        let last = self.shape()[d] as isize - 1;
        let params = [
            Param::index(last),
            Param::index(if back { 1 } else { -1 }),
            Param::index(if back { last } else { 0 }),
            Param::scalar(Scalar::Float(fill.1), self.dtype()),
        ];
        let map = Arc::new(Map { name: "shift".into(), body });
        let out = Tensor::apply(map, self.device(), (&self.shape(), self.dtype()), &[self], &params)?;
        Ok(out.with_grad("shift", &[self], |_| {
            move |g: &Tensor| Ok(Grads::from_iter([Some(g.shifted(dim, !back, 0.0)?)]))
        }))
    }

    /// The dtype it is scanned in; nothing where there is no dimension to walk along.
    fn scan_input(&self, op: &str, dim: isize, dtype: DType) -> Result<Option<(Tensor, usize)>> {
        let d = check_dim(op, dim, self.dim())?;
        if self.dim() == 0 {
            return Ok(None);
        }
        Ok(Some((self.to_dtype(dtype)?, d)))
    }

    /// Running sums along a dimension; integers and bools give `i32`, `i64` stays.
    ///
    /// ```
    /// let t = calor::Tensor::new([1.0f32, 2.0, 3.0], ())?;
    /// assert_eq!(t.cumsum(0)?.to_vec::<f32>()?, [1.0, 3.0, 6.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn cumsum(&self, dim: isize) -> Result<Tensor> {
        let own = full(self)?;
        let dtype = own.dtype().to_sum();
        match own.scan_input("cumsum", dim, dtype.compute())? {
            Some((x, d)) => x.cumsum_along(d, false)?.to_dtype(dtype),
            None => own.to_dtype(dtype)?.try_clone(),
        }
    }

    /// [`Tensor::cumsum`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([1, 2, 3], ())?;
    /// assert_eq!(x.cumsum_(0)?.to_vec::<i32>()?, [1, 3, 6]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn cumsum_(&self, dim: isize) -> Result<Tensor> {
        self.modify("cumsum_", |x| x.cumsum(dim))
    }

    pub(crate) fn cumsum_along(&self, d: usize, reverse: bool) -> Result<Tensor> {
        let out = scan("cumsum", Step::Join("op_add"), &[self], d, reverse)?;
        Ok(out.with_grad("cumsum", &[self], |_| {
            move |g: &Tensor| Ok(Grads::from_iter([Some(g.cumsum_along(d, !reverse)?)]))
        }))
    }

    /// Running products along a dimension; integers and bools give `i32`, `i64` stays.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// assert_eq!(x.cumprod(0)?.to_vec::<f32>()?, [1.0, 2.0, 8.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn cumprod(&self, dim: isize) -> Result<Tensor> {
        let own = full(self)?;
        let dtype = own.dtype().to_sum();
        match own.scan_input("cumprod", dim, dtype.compute())? {
            Some((x, d)) => x.cumprod_along(d as isize, false)?.to_dtype(dtype),
            None => own.to_dtype(dtype)?.try_clone(),
        }
    }

    /// [`Tensor::cumprod`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([2, 3, 4], ())?;
    /// assert_eq!(x.cumprod_(0)?.to_vec::<i32>()?, [2, 6, 24]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn cumprod_(&self, dim: isize) -> Result<Tensor> {
        self.modify("cumprod_", |x| x.cumprod(dim))
    }

    pub(crate) fn cumprod_along(&self, dim: isize, reverse: bool) -> Result<Tensor> {
        let d = check_dim("cumprod", dim, self.dim())?;
        let out = scan("cumprod", Step::Join("op_mul"), &[self], d, reverse)?;
        Ok(out.with_grad("cumprod", &[self], |r| {
            let x = r.save(self);
            move |g: &Tensor| {
                let (x, dim) = (x.get()?, d as isize);
                // what stands before, times the gradient of what follows: no division, so zeros do no harm
                let before = x.cumprod_along(dim, reverse)?.shifted(dim, reverse, 1.0)?;
                let after = recurrence(&x.shifted(dim, !reverse, 0.0)?, g, d, !reverse)?;
                Ok(Grads::from_iter([Some(before.mul(&after)?)]))
            }
        }))
    }

    /// Running `log(sum(e^x))` along a dimension; floats only.
    ///
    /// ```
    /// let x = calor::Tensor::zeros([3], ())?;
    /// assert!((x.logcumsumexp(0)?.to_vec::<f32>()?[2] - 3f32.ln()).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn logcumsumexp(&self, dim: isize) -> Result<Tensor> {
        let dtype = self.dtype();
        if !dtype.is_float() {
            bail!(DType, "logcumsumexp", "is not implemented for {dtype}");
        }
        let Some((x, d)) = self.scan_input("logcumsumexp", dim, dtype.compute())? else { return self.try_clone() };
        let out = scan("logcumsumexp", Step::Join("op_logaddexp"), &[&x], d, false)?;
        let out = out.with_grad("logcumsumexp", &[&x], |r| {
            let (x, y) = (r.save(&x), r.output());
            move |g: &Tensor| {
                let (x, y) = (x.get()?, y.get()?);
                let ratio = |a: &Tensor, b: &Tensor| -> Result<Tensor> { except(&a.eq(b)?, &a.sub(b)?)?.exp() };
                let next = y.shifted(d as isize, true, f64::INFINITY)?;
                let sum = recurrence(&ratio(&y, &next)?, g, d, true)?;
                Ok(Grads::from_iter([Some(sum.mul(&ratio(&x, &y)?)?)]))
            }
        });
        out.to_dtype(dtype)
    }

    /// Running maxima along a dimension and where each last occurred, as `i32`: values and indices; NaN wins.
    ///
    /// ```
    /// let t = calor::Tensor::new([1.0f32, 3.0, 2.0], ())?;
    /// let (values, indices) = t.cummax(0)?;
    /// assert_eq!(values.to_vec::<f32>()?, [1.0, 3.0, 3.0]);
    /// assert_eq!(indices.to_vec::<i32>()?, [0, 1, 1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn cummax(&self, dim: isize) -> Result<(Tensor, Tensor)> {
        self.running("cummax", "op_maximum", dim)
    }

    /// Running minima along a dimension and where each last occurred, as `i32`: values and indices; NaN wins.
    ///
    /// ```
    /// let (values, _) = calor::Tensor::new([3.0f32, 1.0, 2.0], ())?.cummin(0)?;
    /// assert_eq!(values.to_vec::<f32>()?, [3.0, 1.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn cummin(&self, dim: isize) -> Result<(Tensor, Tensor)> {
        self.running("cummin", "op_minimum", dim)
    }

    fn running(&self, name: &'static str, join: &'static str, dim: isize) -> Result<(Tensor, Tensor)> {
        let dtype = self.dtype();
        let Some((x, d)) = self.scan_input(name, dim, wide(dtype))? else {
            return Ok((self.try_clone()?, Tensor::zeros([], (DType::I32, self.device()))?));
        };
        check_places(name, x.shape()[d])?;
        let values = scan(name, Step::Join(join), &[&x], d, false)?;
        let plain = x.detach();
        let reached = plain.eq(&values)?.logical_or(&plain.isnan()?.logical_and(&values.isnan()?)?)?;
        let index = scan(name, Step::Join("op_maximum"), &[&places(&reached, d)?], d, false)?;
        let values = values.with_grad(name, &[&x], |r| {
            let index = r.save(&index);
            move |g: &Tensor| {
                let index = index.get()?;
                // equal indices stand side by side, and the first of them stands at its own place
                let same = index.eq(&index.shifted(d as isize, true, -1.0)?)?.to_dtype(g.dtype())?;
                let sum = recurrence(&same, g, d, true)?;
                let own = Tensor::ones(index.shape(), (DType::Bool, index.device()))?;
                Ok(Grads::from_iter([Some(only(&index.eq(&places(&own, d)?)?, &sum)?)]))
            }
        });
        Ok((values.to_dtype(dtype)?, index))
    }
}

/// `a` followed by `b` along dimension `d`; they have one dtype, and one shape but for `d`.
fn joined(a: &Tensor, b: &Tensor, d: usize) -> Result<Tensor> {
    let (na, nb) = (a.shape()[d], b.shape()[d]);
    if na == 0 || nb == 0 {
        return Ok(if na == 0 { b.clone() } else { a.clone() });
    }
    let mut body = Body::new();
    let here = body.coord(d);
    let (first, last, border) = (body.param(0), body.param(1), body.param(2));
    let near = body.index(IndexOp::Min, here, first);
    let beyond = body.index(IndexOp::Sub, here, border);
    let far = body.index(IndexOp::Min, beyond, last);
    let at = |body: &mut Body, place| -> SmallVec<[u16; 6]> {
        (0..a.dim()).map(|i| if i == d { place } else { body.coord(i) }).collect()
    };
    let (near, far) = (at(&mut body, near), at(&mut body, far));
    let (x, y) = (body.load(0, &near), body.load(1, &far));
    let inside = body.index(IndexOp::Lt, here, border);
    body.select(inside, x, y);
    let params = [na - 1, nb - 1, na].map(|n| Param::index(n as isize));
    let mut shape = a.shape();
    shape[d] = na + nb;
    let map = Arc::new(Map { name: "join".into(), body });
    let out = Tensor::apply(map, a.device(), (&shape, a.dtype()), &[a, b], &params)?;
    Ok(out.with_grad("join", &[a, b], |_| {
        move |g: &Tensor| {
            let d = d as isize;
            Ok(Grads::from_iter([Some(g.narrow(d, 0, na)?), Some(g.narrow(d, na as isize, nb)?)]))
        }
    }))
}

impl Tensor {
    /// The `n`-th differences of neighbours along a dimension, after `prepend` and `append` were put before and behind
    /// it; bools differ by exclusive or.
    ///
    /// ```
    /// let t = calor::Tensor::new([1.0f32, 4.0, 9.0], ())?;
    /// assert_eq!(t.diff(1, 0, None, None)?.to_vec::<f32>()?, [3.0, 5.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn diff(&self, n: usize, dim: isize, prepend: Option<&Tensor>, append: Option<&Tensor>) -> Result<Tensor> {
        let op = "diff";
        if self.dim() == 0 {
            bail!(Dim, op, "expects input to be at least one-dimensional");
        }
        let d = check_dim(op, dim, self.dim())?;
        let mut x = self.clone();
        if n == 0 {
            return self.try_clone();
        }
        for (more, name, before) in [(prepend, "prepend", true), (append, "append", false)] {
            let Some(more) = more else { continue };
            let (own, other) = (x.shape(), more.shape());
            let fits = own.len() == other.len() && (0..own.len()).all(|i| i == d || own[i] == other[i]);
            if !fits {
                bail!(Shape, op, "{name} of shape {:?} does not fit {:?} but for dimension {d}", &other[..], &own[..]);
            }
            let dtype = DType::promote(x.dtype(), more.dtype());
            let (own, other) = (x.to_dtype(dtype)?, more.to_dtype(dtype)?);
            x = if before { joined(&other, &own, d)? } else { joined(&own, &other, d)? };
        }
        let dim = d as isize;
        for _ in 0..n.min(x.shape()[d]) {
            let length = x.shape()[d] - 1;
            let (next, previous) = (x.narrow(dim, 1, length)?, x.narrow(dim, 0, length)?);
            x = if x.dtype() == DType::Bool { next.ne(&previous)? } else { next.sub(&previous)? };
        }
        Ok(x)
    }
}
