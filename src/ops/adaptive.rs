//! Windows that divide a side into a given number of parts, as even as they can be: what adaptive pooling reads.

use super::build::Build;
use super::window::{Sizes, times};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::graph::IndexOp;
use crate::graph::body::Ref;
use crate::shape::Dims;
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;
use smallvec::SmallVec;

/// What a number of a window is divided by where its product with a side is too large.
const STEP: usize = 1024;

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
    pub fn lengths(&self, d: usize) -> impl Iterator<Item = usize> {
        let (from, to) = (self.from[d], self.to[d]);
        (0..to).map(move |i| ((i + 1) * from).div_ceil(to) - i * from / to)
    }

    /// Sides of the largest window.
    fn longest(&self) -> Sizes {
        (0..self.from.len()).map(|d| self.lengths(d).max().unwrap_or(0)).collect()
    }

    /// Refuses sides whose windows cannot be found by numbers of 32 bits, as [`Adaptive::place`] finds them.
    fn check(&self, op: &str) -> Result<()> {
        for (&from, &to) in self.from.iter().zip(&self.to) {
            let rest = (to / STEP + 1).saturating_mul(to).saturating_add(to.saturating_mul(STEP + 1));
            if self.is_long(from, to) && rest > u32::MAX as usize {
                bail!(Unsupported, op, "a side of {from} cannot be cut into {to} windows");
            }
        }
        Ok(())
    }

    /// Whether a side's product with a window's number may exceed 32 bits.
    fn is_long(&self, from: usize, to: usize) -> bool {
        (to + 1).saturating_mul(from).saturating_add(to) > u32::MAX as usize
    }

    /// `(at from + more) / to`, rounded down, for `at` up to `to` and `more` below it.
    fn place(&self, b: &mut Build, d: usize, at: Ref, more: usize) -> Ref {
        let (from, to) = (self.from[d], self.to[d]);
        if !self.is_long(from, to) {
            let whole = times(b, at, from);
            let whole = b.add(whole, more as isize);
            return b.div(whole, to);
        }
        // in whole quotients, and one of what these leave
        let (high, low) = (b.div(at, STEP), b.rem(at, STEP));
        let (mut whole, mut rest) = (b.number(0), b.number(more as isize));
        for (count, product) in [(high, STEP * from), (low, from)] {
            let (more, left) = (times(b, count, product / to), times(b, count, product % to));
            whole = b.op(IndexOp::Add, whole, more);
            rest = b.op(IndexOp::Add, rest, left);
        }
        let rest = b.div(rest, to);
        b.op(IndexOp::Add, whole, rest)
    }

    /// `[lead.., from..]` to `[lead.., longest.., to..]`: every window's elements, `fill` where one is shorter.
    /// Without history.
    fn windows(&self, op: &'static str, x: &Tensor, fill: f64) -> Result<Tensor> {
        let (shape, rank) = (x.shape(), self.from.len());
        let lead = shape.len() - rank;
        self.check(op)?;
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
            let start = self.place(&mut build, d, at, 0);
            let place = build.op(IndexOp::Add, start, inner);
            if !self.from[d].is_multiple_of(self.to[d]) {
                let next = build.add(at, 1);
                let end = self.place(&mut build, d, next, self.to[d] - 1);
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
            let start = self.place(&mut build, d, window, 0);
            let place = build.op(IndexOp::Add, start, inner);
            let place = times(&mut build, place, step);
            flat = build.op(IndexOp::Add, flat, place);
            step *= self.from[d];
        }
        build.body.bits(DType::I32, flat);
        build.apply("window_places", &at.shape(), DType::I32, &[&at])
    }
}
