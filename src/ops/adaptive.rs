//! Windows that divide a side into a given number of parts, as even as they can be: what adaptive pooling reads.

use super::build::Build;
use super::window::Sizes;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::IndexOp;
use crate::graph::body::Ref;
use crate::shape::Dims;
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;
use smallvec::SmallVec;

/// Sides `from` cut into `to` windows, of which number `i` reaches from `i from / to`, rounded down, to
/// `(i + 1) from / to`, rounded up.
#[derive(Clone, Debug)]
pub struct Adaptive {
    /// The sides that are cut.
    pub from: Sizes,
    /// Numbers of windows.
    pub to: Sizes,
}

impl Adaptive {
    /// Sizes of the windows over one side.
    pub fn lengths(&self, d: usize) -> Vec<usize> {
        let (from, to) = (self.from[d], self.to[d]);
        (0..to).map(|i| ((i + 1) * from).div_ceil(to) - i * from / to).collect()
    }

    /// Sides of the largest window.
    fn longest(&self) -> Sizes {
        (0..self.from.len()).map(|d| self.lengths(d).into_iter().max().unwrap_or(0)).collect()
    }

    /// Where window `at` starts.
    fn start(&self, b: &mut Build, d: usize, at: Ref) -> Ref {
        let from = b.number(self.from[d] as isize);
        let whole = b.op(IndexOp::Mul, at, from);
        b.div(whole, self.to[d])
    }

    /// `[lead.., from..]` to `[lead.., longest.., to..]`: every window's elements, `fill` where one is shorter.
    /// Without history.
    fn windows(&self, op: &'static str, x: &Tensor, fill: f64) -> Result<Tensor> {
        let (shape, rank) = (x.shape(), self.from.len());
        let lead = shape.len() - rank;
        let mut out = Dims::from_slice(&shape[..lead]);
        out.extend_from_slice(&self.longest());
        out.extend_from_slice(&self.to);
        if out.contains(&0) || shape.contains(&0) {
            return Tensor::full(&out[..], fill, (x.dtype(), x.device()));
        }
        let mut build = Build::default();
        let mut coords: SmallVec<[Ref; 6]> = (0..lead).map(|d| build.body.coord(d)).collect();
        let mut ok = None;
        for d in 0..rank {
            let (inner, at) = (build.body.coord(lead + d), build.body.coord(lead + rank + d));
            let start = self.start(&mut build, d, at);
            let place = build.op(IndexOp::Add, start, inner);
            if !self.from[d].is_multiple_of(self.to[d]) {
                let next = build.add(at, 1);
                let from = build.number(self.from[d] as isize);
                let end = build.op(IndexOp::Mul, next, from);
                let end = build.add(end, self.to[d] as isize - 1);
                let end = build.div(end, self.to[d]);
                let fits = build.op(IndexOp::Lt, place, end);
                ok = Some(build.both(ok, fits));
            }
            coords.push(build.at_most(place, self.from[d] as isize - 1));
        }
        let value = build.body.load(0, &coords);
        if let Some(ok) = ok {
            let fill = build.value(fill, x.dtype().compute());
            build.body.select(ok, value, fill);
        }
        build.apply(op, &out, x.dtype(), &[&x.detach()])
    }

    /// The sum of each window. An element lies in as many windows as a cut the other way round puts into one, so that
    /// is the gradient.
    pub fn sum(&self, op: &'static str, x: &Tensor) -> Result<Tensor> {
        let (rank, lead) = (self.from.len(), x.dim() - self.from.len());
        let dims: SmallVec<[isize; 3]> = (lead..lead + rank).map(|d| d as isize).collect();
        let out = self.windows(op, x, 0.0)?.sum_dims(&dims, false)?;
        let back = Adaptive { from: self.to.clone(), to: self.from.clone() };
        Ok(out.with_grad(op, &[x], |_| move |g: &Tensor| Ok(Grads::from_iter([Some(back.sum(op, g)?)]))))
    }

    /// Where the largest element of each window stands among those of the sides, row by row; without history.
    pub fn largest(&self, op: &'static str, x: &Tensor, lowest: f64) -> Result<Tensor> {
        let (rank, lead) = (self.from.len(), x.dim() - self.from.len());
        let longest = self.longest();
        let columns = self.windows(op, x, lowest)?.flatten(lead as isize, (lead + rank - 1) as isize)?;
        let at = columns.max_dim(lead as isize, false)?.1;
        if at.numel() == 0 {
            return Ok(at);
        }
        let mut build = Build::default();
        let named = build.body.input(0);
        let mut left = build.body.bits(DType::U32, named);
        let (mut flat, mut step) = (build.number(0), 1);
        for d in (0..rank).rev() {
            let inner = build.rem(left, longest[d]);
            left = build.div(left, longest[d]);
            let window = build.body.coord(lead + d);
            let start = self.start(&mut build, d, window);
            let place = build.op(IndexOp::Add, start, inner);
            let step_ref = build.number(step);
            let place = build.op(IndexOp::Mul, place, step_ref);
            flat = build.op(IndexOp::Add, flat, place);
            step *= self.from[d] as isize;
        }
        build.body.bits(DType::I32, flat);
        build.apply("window_places", &at.shape(), DType::I32, &[&at])
    }
}
