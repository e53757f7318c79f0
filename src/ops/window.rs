//! Sliding windows over the last dimensions: what convolution and pooling read. A window's elements are found by
//! arithmetic on places, so that products and reductions read the input itself and no copy of the windows is stored.

use super::build::Build;
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::graph::IndexOp;
use crate::graph::body::Ref;
use crate::ops::join::cat;
use crate::shape::{Dims, MOST, checked_numel, numel};
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;
use smallvec::SmallVec;

/// One number for each windowed dimension.
pub type Sizes = SmallVec<[usize; 3]>;

/// How windows lie over the last dimensions.
#[derive(Clone, Debug)]
pub struct Windows {
    /// Sides of a window.
    pub kernel: Sizes,
    /// Steps from one window to the next.
    pub stride: Sizes,
    /// Places added before.
    pub padding: Sizes,
    /// Places added after.
    pub after: Sizes,
    /// Distance between a window's elements.
    pub dilation: Sizes,
}

/// Images that can be unfolded at a time where each has so many elements in all its windows.
pub(super) fn at_once(each: usize) -> usize {
    (MOST / each.max(1)).max(1)
}

/// `f` of images along the first dimension, of no more at a time than have windows that can be counted.
pub(crate) fn by_images(x: &Tensor, each: usize, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let most = at_once(each);
    if x.shape().first().is_none_or(|&n| n <= most) {
        return f(x);
    }
    let parts = x.split(most, 0)?.iter().map(f).collect::<Result<Vec<Tensor>>>()?;
    cat(&parts.iter().collect::<Vec<_>>(), 0)
}

/// `at` kept below `size`, and whether it was.
fn inside(b: &mut Build, at: Ref, size: usize, ok: &mut Option<Ref>) -> Ref {
    let fits = b.less(at, size as isize);
    *ok = Some(b.both(*ok, fits));
    b.at_most(at, size as isize - 1)
}

pub(super) fn times(b: &mut Build, at: Ref, n: usize) -> Ref {
    if n == 1 {
        return at;
    }
    let n = b.number(n as isize);
    b.op(IndexOp::Mul, at, n)
}

/// Input 0 at `coords` where `ok`, else `fill`.
fn finish(
    mut b: Build,
    name: &'static str,
    x: &Tensor,
    shape: &[usize],
    (coords, ok): (&[Ref], Option<Ref>),
    fill: f64,
) -> Result<Tensor> {
    let value = b.body.load(0, coords);
    if let Some(ok) = ok {
        let fill = b.value(fill, x.dtype().compute());
        b.body.select(ok, value, fill);
    }
    b.apply(name, shape, x.dtype(), &[x])
}

impl Windows {
    fn rank(&self) -> usize {
        self.kernel.len()
    }

    /// How many windows fit into `sizes`.
    pub fn count(&self, op: &str, sizes: &[usize]) -> Result<Sizes> {
        (0..self.rank())
            .map(|d| {
                let (kernel, stride, dilation) = (self.kernel[d], self.stride[d], self.dilation[d]);
                if kernel == 0 || stride == 0 || dilation == 0 {
                    bail!(
                        Value,
                        op,
                        "kernel size, stride and dilation must be positive, got {kernel}, {stride}, {dilation}"
                    );
                }
                // as large as it gets where it would be larger: no window fits, or their number is refused
                let whole = sizes[d].saturating_add(self.padding[d]).saturating_add(self.after[d]);
                let need = dilation.saturating_mul(kernel - 1).saturating_add(1);
                match whole.checked_sub(need) {
                    Some(rest) => Ok(rest / stride + 1),
                    None => bail!(
                        Shape,
                        op,
                        "calculated padded input size per dimension {d} is {whole}, smaller than the kernel's {need}"
                    ),
                }
            })
            .collect()
    }

    /// `[lead.., sizes..]` to `[lead.., kernel.., counts..]`: every window's elements, `fill` outside the input.
    pub fn unfold(&self, op: &'static str, x: &Tensor, fill: f64) -> Result<Tensor> {
        let shape = x.shape();
        let counts = self.count(op, &shape[shape.len() - self.rank()..])?;
        self.unfold_some(op, x, fill, &counts)
    }

    /// [`Windows::unfold`] of so many windows, whether or not more would fit.
    pub(super) fn unfold_some(&self, op: &'static str, x: &Tensor, fill: f64, counts: &[usize]) -> Result<Tensor> {
        let shape = x.shape();
        let (lead, sizes) = shape.split_at(shape.len() - self.rank());
        let mut out = Dims::from_slice(lead);
        out.extend_from_slice(&self.kernel);
        out.extend_from_slice(counts);
        checked_numel(op, &out)?;
        if out.contains(&0) || shape.contains(&0) {
            let none = Tensor::full(&out[..], fill, (x.dtype(), x.device()))?;
            return Ok(none.with_grad("unfold", &[x], |_| |_: &Tensor| Ok(Grads::from_iter([None]))));
        }
        let mut build = Build::default();
        let mut coords: SmallVec<[Ref; 6]> = (0..lead.len()).map(|d| build.body.coord(d)).collect();
        let mut ok = None;
        for d in 0..self.rank() {
            let (inner, at) = (build.body.coord(lead.len() + d), build.body.coord(lead.len() + self.rank() + d));
            let (at, inner) = (times(&mut build, at, self.stride[d]), times(&mut build, inner, self.dilation[d]));
            let mut place = build.op(IndexOp::Add, at, inner);
            let reach = (counts[d] - 1).saturating_mul(self.stride[d]) + self.dilation[d] * (self.kernel[d] - 1);
            if self.padding[d] > 0 {
                place = build.add(place, -(self.padding[d] as isize));
            }
            if self.padding[d] > 0 || reach >= sizes[d] {
                place = inside(&mut build, place, sizes[d], &mut ok);
            }
            coords.push(place);
        }
        let y = finish(build, op, x, &out, (&coords, ok), fill)?;
        let (windows, sizes) = (self.clone(), Sizes::from_slice(sizes));
        Ok(y.with_grad("unfold", &[x], |_| move |g: &Tensor| Ok(Grads::from_iter([Some(windows.fold(g, &sizes)?)]))))
    }

    /// The other way: `[lead.., kernel.., counts..]` to `[lead.., sizes..]`, adding what lies in the same place.
    pub fn fold(&self, x: &Tensor, sizes: &[usize]) -> Result<Tensor> {
        let shape = x.shape();
        let rank = self.rank();
        let (lead, rest) = shape.split_at(shape.len() - 2 * rank);
        if shape.contains(&0) || sizes.contains(&0) {
            let mut out = Dims::from_slice(lead);
            out.extend_from_slice(sizes);
            let none = Tensor::zeros(&out[..], (x.dtype(), x.device()))?;
            return Ok(none.with_grad("fold", &[x], |_| |_: &Tensor| Ok(Grads::from_iter([None]))));
        }
        let counts = &rest[rank..];
        let wide = x.to_dtype(x.dtype().compute())?;
        let dims: SmallVec<[isize; 3]> = (lead.len()..lead.len() + rank).map(|d| d as isize).collect();
        let each = numel(&[lead.get(1..).unwrap_or_default(), &self.kernel[..], sizes].concat());
        let y = by_images(&wide.detach(), each, |x| {
            self.spread("fold", x, (lead.len(), true), sizes)?.sum_dims(&dims, false)
        })?;
        let y = y.to_dtype(x.dtype())?;
        let (windows, counts) = (self.clone(), Sizes::from_slice(counts));
        Ok(y.with_grad("fold", &[x], |_| {
            move |g: &Tensor| Ok(Grads::from_iter([Some(windows.unfold_some("unfold", g, 0.0, &counts)?)]))
        }))
    }
}

impl Windows {
    /// For each place of `sizes` and each element of a window, what the window that has its element there holds: zero
    /// where there is none. From `[lead.., counts..]`, or where windows hold a value for each element
    /// `[lead.., kernel.., counts..]`, to `[lead.., kernel.., sizes..]`, without history.
    pub(super) fn spread(
        &self,
        op: &'static str,
        x: &Tensor,
        (lead, each): (usize, bool),
        sizes: &[usize],
    ) -> Result<Tensor> {
        let shape = x.shape();
        let rank = self.rank();
        let counts = &shape[shape.len() - rank..];
        let mut out = Dims::from_slice(&shape[..lead]);
        out.extend_from_slice(&self.kernel);
        out.extend_from_slice(sizes);
        checked_numel(op, &out)?;
        let mut build = Build::default();
        let coords = lead + if each { rank } else { 0 };
        let mut coords: SmallVec<[Ref; 8]> = (0..coords).map(|d| build.body.coord(d)).collect();
        let mut ok = None;
        for (d, &count) in counts.iter().enumerate() {
            let (inner, at) = (build.body.coord(lead + d), build.body.coord(lead + rank + d));
            let inner = times(&mut build, inner, self.dilation[d]);
            let at = if self.padding[d] == 0 { at } else { build.add(at, self.padding[d] as isize) };
            // wraps to a large number where it is negative, which no window has
            let mut place = build.op(IndexOp::Sub, at, inner);
            // a stride of 2^32 or more has but one window
            let stride = self.stride[d].min(u32::MAX as usize);
            if stride > 1 {
                let fits = build.less(place, count.saturating_mul(stride).min(u32::MAX as usize) as isize);
                ok = Some(build.both(ok, fits));
                let over = build.rem(place, stride);
                let exact = build.less(over, 1);
                ok = Some(build.both(ok, exact));
                place = build.div(place, stride);
            }
            coords.push(inside(&mut build, place, count, &mut ok));
        }
        finish(build, op, x, &out, (&coords, ok), 0.0)
    }
}

/// Windows of so many elements at most are written out element by element.
const FEW: usize = 32;

impl Windows {
    /// Whether a window, and the windows that share an element, are few enough to be written out.
    fn is_small(&self) -> bool {
        numel(&self.kernel) <= FEW && (0..self.rank()).map(|d| self.sharing(d)).product::<usize>() <= FEW
    }

    /// How many windows may share an element of dimension `d`.
    fn sharing(&self, d: usize) -> usize {
        (self.dilation[d] * (self.kernel[d] - 1) + 1).div_ceil(self.stride[d])
    }

    /// Each element of the windows in order: its value, `fill` outside of `sizes`, its place, and whether it lies inside.
    fn each(
        &self,
        build: &mut Build,
        (lead, sizes, counts): (usize, &[usize], &[usize]),
        (fill, dtype): (f64, DType),
        mut with: impl FnMut(&mut Build, Ref, &[Ref], Option<Ref>),
    ) {
        let rank = self.rank();
        let outer: SmallVec<[Ref; 6]> = (0..lead).map(|d| build.body.coord(d)).collect();
        let starts: SmallVec<[Ref; 3]> = (0..rank)
            .map(|d| {
                let at = build.body.coord(lead + d);
                times(build, at, self.stride[d])
            })
            .collect();
        for element in 0..numel(&self.kernel) {
            let mut ok = None;
            let mut places: SmallVec<[Ref; 3]> = SmallVec::new();
            let mut inner = numel(&self.kernel);
            for d in 0..rank {
                inner /= self.kernel[d];
                let step = (element / inner % self.kernel[d] * self.dilation[d]) as isize - self.padding[d] as isize;
                let last = ((counts[d] - 1) * self.stride[d]) as isize + step;
                let mut place = if step == 0 { starts[d] } else { build.add(starts[d], step) };
                if step < 0 || last >= sizes[d] as isize {
                    place = inside(build, place, sizes[d], &mut ok);
                }
                places.push(place);
            }
            let coords: SmallVec<[Ref; 6]> = outer.iter().chain(&places).copied().collect();
            let mut value = build.body.load(0, &coords);
            if let Some(ok) = ok {
                let fill = build.value(fill, dtype);
                value = build.body.select(ok, value, fill);
            }
            with(build, value, &places, ok);
        }
    }

    /// The largest element of each window of `[lead.., sizes..]`, NaN before all, `fill` standing for what lies
    /// outside, and, where `places` asks for it, where in `sizes` it first stands, row by row, as `i32`. Without
    /// history; `None` where windows are too large to be written out.
    pub fn largest(
        &self,
        op: &'static str,
        x: &Tensor,
        fill: f64,
        places: bool,
    ) -> Result<Option<(Tensor, Option<Tensor>)>> {
        let shape = x.shape();
        let (lead, sizes) = shape.split_at(shape.len() - self.rank());
        let counts = self.count(op, sizes)?;
        let mut out = Dims::from_slice(lead);
        out.extend_from_slice(&counts);
        let dtype = x.dtype().compute();
        if !self.is_small() || out.contains(&0) || x.dtype() == DType::Bool {
            return Ok(None);
        }
        let what = (lead.len(), sizes, &counts[..]);
        if !places {
            let mut build = Build::default();
            let mut best = None;
            self.each(&mut build, what, (fill, dtype), |b, value, _, _| {
                best = Some(best.map_or(value, |best| b.body.call("op_maximum", &[best, value])));
            });
            return Ok(Some((build.apply(op, &out, x.dtype(), &[&x.detach()])?, None)));
        }
        let mut build = Build::default();
        let mut best: Option<(Ref, Ref)> = None;
        // whether an element inside was seen; none where that is certain
        let mut seen = None;
        self.each(&mut build, what, (fill, dtype), |b, value, places, ok| {
            let mut at = places[0];
            for (&place, &size) in places.iter().zip(sizes).skip(1) {
                at = times(b, at, size);
                at = b.op(IndexOp::Add, at, place);
            }
            best = Some(match best {
                None => {
                    seen = ok;
                    (value, at)
                }
                Some((most, place)) => {
                    // keeps the first of equals, and the first NaN
                    let keep = b.body.call("op_ge", &[most, value]);
                    // true as well where the best is NaN already: then nothing beats it
                    let keep = match dtype.is_float() {
                        true => {
                            let nan = b.body.call("op_isnan", &[most]);
                            b.body.select(nan, nan, keep)
                        }
                        false => keep,
                    };
                    // the first element inside beats what lies outside, be it as low
                    let keep = match (seen, ok) {
                        (None, _) => keep,
                        (Some(before), None) => {
                            seen = None;
                            b.body.select(before, keep, before)
                        }
                        (Some(before), Some(ok)) => {
                            seen = Some(b.body.select(before, before, ok));
                            let first = b.body.select(ok, before, keep);
                            b.body.select(before, keep, first)
                        }
                    };
                    (b.body.select(keep, most, value), b.body.select(keep, place, at))
                }
            });
        });
        let Some((_, at)) = best else { return Ok(None) };
        build.body.bits(DType::I32, at);
        let at = build.apply(op, &out, DType::I32, &[&x.detach()])?;
        Ok(Some((self.pick(op, x, &at)?, Some(at))))
    }

    /// The elements of `[lead.., sizes..]` at `places` of `sizes`, `[lead.., counts..]`.
    pub fn pick(&self, op: &'static str, x: &Tensor, places: &Tensor) -> Result<Tensor> {
        let (shape, at) = (x.shape(), places.shape());
        let lead = shape.len() - self.rank();
        let sizes = Sizes::from_slice(&shape[lead..]);
        let mut build = Build::default();
        let index = build.body.input(1);
        let flat = build.body.bits(DType::U32, index);
        let flat = build.at_most(flat, numel(&sizes) as isize - 1);
        let mut coords: SmallVec<[Ref; 6]> = (0..lead).map(|d| build.body.coord(d)).collect();
        coords.push(flat);
        build.body.load(0, &coords);
        let mut flattened = Dims::from_slice(&shape[..lead]);
        flattened.push(numel(&sizes));
        let y = build.apply(op, &at, x.dtype(), &[&x.detach().reshape(&flattened)?, places])?;
        let windows = self.clone();
        Ok(y.with_grad(op, &[x], |r| {
            let places = r.save(places);
            move |g: &Tensor| Ok(Grads::from_iter([Some(windows.put(op, g, &places.get()?, &sizes)?)]))
        }))
    }

    /// The other way: each of `[lead.., counts..]` added at its place of `sizes`. Places must be as
    /// [`Windows::largest`] gives them: each inside its window.
    pub fn put(&self, op: &'static str, g: &Tensor, places: &Tensor, sizes: &[usize]) -> Result<Tensor> {
        let shape = g.shape();
        let rank = self.rank();
        let (lead, counts) = shape.split_at(shape.len() - rank);
        let mut out = Dims::from_slice(lead);
        out.extend_from_slice(sizes);
        let dtype = g.dtype().compute();
        let mut build = Build::default();
        let outer: SmallVec<[Ref; 6]> = (0..lead.len()).map(|d| build.body.coord(d)).collect();
        // the last window that may hold an element, and the element's place
        let mut windows: SmallVec<[Ref; 3]> = SmallVec::new();
        let mut here = None;
        for (d, &size) in sizes.iter().enumerate() {
            let at = build.body.coord(lead.len() + d);
            here = Some(match here {
                None => at,
                Some(flat) => {
                    let flat = times(&mut build, flat, size);
                    build.op(IndexOp::Add, flat, at)
                }
            });
            let at = if self.padding[d] == 0 { at } else { build.add(at, self.padding[d] as isize) };
            windows.push(if self.stride[d] == 1 { at } else { build.div(at, self.stride[d]) });
        }
        let Some(here) = here else { bail!(Shape, op, "has no windows") };
        let zero = build.value(0.0, dtype);
        let shared: Sizes = (0..rank).map(|d| self.sharing(d)).collect();
        let mut sum = None;
        for number in 0..numel(&shared) {
            let mut ok = None;
            let mut coords = outer.clone();
            let mut inner = numel(&shared);
            for d in 0..rank {
                inner /= shared[d];
                let back = (number / inner % shared[d]) as isize;
                // wraps to a large number before the first window
                let at = if back == 0 { windows[d] } else { build.add(windows[d], -back) };
                coords.push(inside(&mut build, at, counts[d], &mut ok));
            }
            let place = build.body.load(1, &coords);
            let place = build.body.bits(DType::U32, place);
            let hit = build.op(IndexOp::Eq, place, here);
            let hit = build.both(ok, hit);
            let value = build.body.load(0, &coords);
            let value = build.body.select(hit, value, zero);
            sum = Some(sum.map_or(value, |sum| build.body.call("op_add", &[sum, value])));
        }
        let y = build.apply(op, &out, g.dtype(), &[&g.detach(), places])?;
        let windows = self.clone();
        Ok(y.with_grad(op, &[g], |r| {
            let places = r.save(places);
            move |v: &Tensor| Ok(Grads::from_iter([Some(windows.pick(op, v, &places.get()?)?)]))
        }))
    }
}

impl Windows {
    /// Where in `sizes`, row by row, the elements of windows stand that `at`, `[lead.., counts..]`, names.
    pub fn places(&self, at: &Tensor, sizes: &[usize]) -> Result<Tensor> {
        let lead = at.dim() - self.rank();
        let mut build = Build::default();
        let named = build.body.input(0);
        let mut left = build.body.bits(DType::U32, named);
        let mut flat = build.number(0);
        let mut step = 1;
        for d in (0..self.rank()).rev() {
            let inner = build.rem(left, self.kernel[d]);
            left = build.div(left, self.kernel[d]);
            let inner = times(&mut build, inner, self.dilation[d]);
            let start = build.body.coord(lead + d);
            let start = times(&mut build, start, self.stride[d]);
            let place = build.op(IndexOp::Add, start, inner);
            let place = build.add(place, -(self.padding[d] as isize));
            let place = times(&mut build, place, step);
            flat = build.op(IndexOp::Add, flat, place);
            step *= sizes[d];
        }
        build.body.bits(DType::I32, flat);
        build.apply("window_places", &at.shape(), DType::I32, &[at])
    }
}
