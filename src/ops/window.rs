//! Sliding windows over the last dimensions: what convolution and pooling read. A window's elements are found by
//! arithmetic on places, so that products and reductions read the input itself and no copy of the windows is stored.

use super::build::Build;
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::graph::IndexOp;
use crate::graph::body::Ref;
use crate::shape::{Dims, checked_numel};
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

/// `at` kept below `size`, and whether it was.
fn inside(b: &mut Build, at: Ref, size: usize, ok: &mut Option<Ref>) -> Ref {
    let fits = b.less(at, size as isize);
    *ok = Some(b.both(*ok, fits));
    b.at_most(at, size as isize - 1)
}

fn times(b: &mut Build, at: Ref, n: usize) -> Ref {
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
    fn unfold_some(&self, op: &'static str, x: &Tensor, fill: f64, counts: &[usize]) -> Result<Tensor> {
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
        let mut spread = Dims::from_slice(lead);
        spread.extend_from_slice(&self.kernel);
        spread.extend_from_slice(sizes);
        checked_numel("fold", &spread)?;
        let mut build = Build::default();
        let mut coords: SmallVec<[Ref; 8]> = (0..lead.len() + rank).map(|d| build.body.coord(d)).collect();
        let mut ok = None;
        for (d, &count) in counts.iter().enumerate() {
            let (inner, at) = (build.body.coord(lead.len() + d), build.body.coord(lead.len() + rank + d));
            let inner = times(&mut build, inner, self.dilation[d]);
            let at = build.add(at, self.padding[d] as isize);
            // wraps to a large number where it is negative, which no window has
            let mut place = build.op(IndexOp::Sub, at, inner);
            if self.stride[d] > 1 {
                let fits = build.less(place, count.saturating_mul(self.stride[d]) as isize);
                ok = Some(build.both(ok, fits));
                let over = build.rem(place, self.stride[d]);
                let exact = build.less(over, 1);
                ok = Some(build.both(ok, exact));
                place = build.div(place, self.stride[d]);
            }
            coords.push(inside(&mut build, place, count, &mut ok));
        }
        let dims: SmallVec<[isize; 3]> = (lead.len()..lead.len() + rank).map(|d| d as isize).collect();
        let wide = x.to_dtype(x.dtype().compute())?;
        let y = finish(build, "fold", &wide.detach(), &spread, (&coords, ok), 0.0)?;
        let y = y.sum_dims(&dims, false)?.to_dtype(x.dtype())?;
        let (windows, counts) = (self.clone(), Sizes::from_slice(counts));
        Ok(y.with_grad("fold", &[x], |_| {
            move |g: &Tensor| Ok(Grads::from_iter([Some(windows.unfold_some("unfold", g, 0.0, &counts)?)]))
        }))
    }
}

/// Product of some sizes.
fn area(sizes: &[usize]) -> usize {
    sizes.iter().product()
}

impl Windows {
    /// The convolution of `[n, in, sizes..]` with `[out, in / groups, kernel..]`, plus a bias `[out]`; shapes were
    /// checked. It is a matrix product whose right side reads the windows, and so are its gradients.
    pub fn convolve(
        &self,
        op: &'static str,
        (x, weight, bias): (&Tensor, &Tensor, Option<&Tensor>),
        groups: usize,
    ) -> Result<Tensor> {
        let (own, w) = (x.shape(), weight.shape());
        let counts = self.count(op, &own[2..])?;
        let (n, depth) = (own[0], area(&w[1..]));
        let columns = self.unfold(op, x, 0.0)?.reshape([n, groups, depth, area(&counts)])?;
        let y = weight.reshape([groups, w[0] / groups, depth])?.matmul(&columns)?;
        let y = match bias {
            // before the reshape, where the product can take it along
            Some(bias) => y.add(&bias.reshape([groups, w[0] / groups, 1])?)?,
            None => y,
        };
        let mut shape = Dims::from_slice(&[n, w[0]]);
        shape.extend_from_slice(&counts);
        y.reshape(&shape)
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
