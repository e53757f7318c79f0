//! Parts of a tensor that are known on the host: slices and diagonals written out of place, triangles.

use super::Build;
use super::expression::span;
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::graph::IndexOp;
use crate::layout::Layout;
use crate::shape::{Dims, checked_numel, dim as check_dim};
use crate::tensor::grad::Grads;
use crate::tensor::{Options, Tensor};
use smallvec::SmallVec;

/// Which side of a diagonal stays.
#[derive(Clone, Copy)]
enum Side {
    Lower,
    Upper,
}

impl Tensor {
    /// This tensor with `src` in the part that `of` shows of a tensor stored row by row.
    fn with_part(&self, op: &str, src: &Tensor, of: impl Fn(&Layout) -> Result<Layout>) -> Result<Tensor> {
        let whole = Layout::contiguous(&self.shape());
        let part = of(&whole)?;
        if part.shape() != &src.shape()[..] {
            bail!(
                Shape,
                op,
                "expected src to have a size equal to the slice of self, src size = {:?}, slice size = {:?}",
                &src.shape()[..],
                part.shape()
            );
        }
        if part.numel() == 0 {
            return self.try_clone();
        }
        self.with_region(&whole, &part, &src.to_dtype(self.dtype())?)
    }

    /// This tensor with `src` in place of `self.select(dim, index)`.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// let y = x.select_scatter(&calor::Tensor::zeros([2], ())?, 0, 1)?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 2.0, 0.0, 0.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn select_scatter(&self, src: &Tensor, dim: isize, index: isize) -> Result<Tensor> {
        self.with_part("select_scatter", src, |l| l.select("select_scatter", dim, index))
    }

    /// This tensor with `src` in place of `self.slice(dim, start, end, step)`.
    ///
    /// ```
    /// let x = calor::Tensor::zeros([4], ())?;
    /// let y = x.slice_scatter(&calor::Tensor::ones([2], ())?, 0, Some(1), None, 2)?;
    /// assert_eq!(y.to_vec::<f32>()?, [0.0, 1.0, 0.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn slice_scatter(
        &self,
        src: &Tensor,
        dim: isize,
        start: Option<isize>,
        end: Option<isize>,
        step: usize,
    ) -> Result<Tensor> {
        let d = check_dim("slice_scatter", dim, self.dim())?;
        if self.dim() == 0 || step == 0 {
            bail!(Value, "slice_scatter", "needs a dimension and a positive step, got step {step}");
        }
        let (from, length) = span(self.shape()[d], start, end, step);
        self.with_part("slice_scatter", src, |l| Ok(l.sliced(d, from, length, step as isize)))
    }

    /// This tensor with `src` in place of `self.diagonal(offset, dim1, dim2)`.
    ///
    /// ```
    /// let x = calor::Tensor::zeros([2, 2], ())?;
    /// let y = x.diagonal_scatter(&calor::Tensor::new([5.0f32, 6.0], ())?, 0, 0, 1)?;
    /// assert_eq!(y.to_vec::<f32>()?, [5.0, 0.0, 0.0, 6.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn diagonal_scatter(&self, src: &Tensor, offset: isize, dim1: isize, dim2: isize) -> Result<Tensor> {
        self.with_part("diagonal_scatter", src, |l| l.diagonal("diagonal_scatter", offset, dim1, dim2))
    }

    /// The diagonal of a matrix, copied, or the square matrix that has this vector as its diagonal.
    ///
    /// ```
    /// let t = calor::Tensor::new([1.0f32, 2.0], ())?.diag(0)?;
    /// assert_eq!(t.to_vec::<f32>()?, [1.0, 0.0, 0.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn diag(&self, diagonal: isize) -> Result<Tensor> {
        match self.dim() {
            1 => self.diag_embed(diagonal, 0, 1),
            2 => self.diagonal(diagonal, 0, 1)?.try_clone(),
            n => bail!(Dim, "diag", "supports 1D or 2D tensors, got {n}D"),
        }
    }

    /// The square matrix that has the elements, row by row, as its diagonal.
    ///
    /// ```
    /// let t = calor::Tensor::new([[1.0f32, 2.0]], ())?.diagflat(0)?;
    /// assert_eq!(t.to_vec::<f32>()?, [1.0, 0.0, 0.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn diagflat(&self, offset: isize) -> Result<Tensor> {
        self.reshape([self.numel()])?.diag_embed(offset, 0, 1)
    }

    /// Matrices, in dimensions `dim1` and `dim2`, that have the last dimension as their diagonal `offset`, and are 0
    /// elsewhere.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0], ())?;
    /// assert_eq!(x.diag_embed(0, -2, -1)?.to_vec::<f32>()?, [1.0, 0.0, 0.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn diag_embed(&self, offset: isize, dim1: isize, dim2: isize) -> Result<Tensor> {
        const OP: &str = "diag_embed";
        let shape = self.shape();
        let Some((&n, lead)) = shape.split_last() else {
            bail!(Dim, OP, "needs a tensor with at least one dimension");
        };
        let rank = shape.len() + 1;
        let (a, b) = (check_dim(OP, dim1, rank)?, check_dim(OP, dim2, rank)?);
        if a == b {
            bail!(Dim, OP, "diagonal dimensions cannot be identical, got {dim1} and {dim2}");
        }
        let shift = offset.unsigned_abs();
        let mut full = Dims::from_slice(lead);
        for d in [a.min(b), a.max(b)] {
            full.insert(d, n + shift);
        }
        if n == 0 {
            return Tensor::zeros(&full, (self.dtype(), self.device()));
        }
        let mut body = Build::default();
        let (row, column) = (body.body.coord(a), body.body.coord(b));
        // the one that runs ahead
        let (at, other) = if offset >= 0 { (row, column) } else { (column, row) };
        let ahead = body.add(at, shift as isize);
        let on = body.op(IndexOp::Eq, ahead, other);
        let mut coords: SmallVec<[u16; 6]> =
            (0..rank).filter(|&d| d != a && d != b).map(|d| body.body.coord(d)).collect();
        coords.push(body.at_most(at, n as isize - 1));
        let value = body.body.load(0, &coords);
        let zero = body.value(0.0, self.dtype());
        body.body.select(on, value, zero);
        let out = body.apply(OP, &full, self.dtype(), &[self])?;
        Ok(out.with_grad(OP, &[self], |_| {
            move |g: &Tensor| Ok(Grads::from_iter([Some(g.diagonal(offset, dim1, dim2)?)]))
        }))
    }

    /// Rows and columns on and below diagonal `diagonal` of the last two dimensions; 0 above.
    ///
    /// ```
    /// let t = calor::Tensor::ones([2, 2], ())?.tril(0)?;
    /// assert_eq!(t.to_vec::<f32>()?, [1.0, 0.0, 1.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn tril(&self, diagonal: isize) -> Result<Tensor> {
        self.triangle("tril", diagonal, Side::Lower)
    }

    /// [`Tensor::tril`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::ones([2, 2], ())?;
    /// assert_eq!(x.tril_(0)?.to_vec::<f32>()?, [1.0, 0.0, 1.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn tril_(&self, diagonal: isize) -> Result<Tensor> {
        self.modify("tril_", |x| x.tril(diagonal))
    }

    /// Rows and columns on and above diagonal `diagonal` of the last two dimensions; 0 below.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert_eq!(x.triu(0)?.to_vec::<f32>()?, [1.0, 2.0, 0.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn triu(&self, diagonal: isize) -> Result<Tensor> {
        self.triangle("triu", diagonal, Side::Upper)
    }

    /// [`Tensor::triu`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::ones([2, 2], ())?;
    /// assert_eq!(x.triu_(0)?.to_vec::<f32>()?, [1.0, 1.0, 0.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn triu_(&self, diagonal: isize) -> Result<Tensor> {
        self.modify("triu_", |x| x.triu(diagonal))
    }

    fn triangle(&self, op: &'static str, diagonal: isize, side: Side) -> Result<Tensor> {
        let (shape, rank) = (self.shape(), self.dim());
        if rank < 2 {
            bail!(Dim, op, "input tensor must have at least 2 dimensions, got {rank}");
        }
        let reach = (shape[rank - 2] + shape[rank - 1]) as isize;
        let diagonal = diagonal.clamp(-reach, reach);
        // column < row + bound: in the lower triangle, or below the upper one
        let bound = match side {
            Side::Lower => diagonal + 1,
            Side::Upper => diagonal,
        };
        let mut b = Build::default();
        let value = b.body.input(0);
        let (row, column) = (b.body.coord(rank - 2), b.body.coord(rank - 1));
        let (row, column) = (b.add(row, bound.max(0)), b.add(column, (-bound).max(0)));
        let below = b.op(IndexOp::Lt, column, row);
        let zero = b.value(0.0, self.dtype());
        match side {
            Side::Lower => b.body.select(below, value, zero),
            Side::Upper => b.body.select(below, zero, value),
        };
        let out = b.apply(op, &shape, self.dtype(), &[self])?;
        Ok(out.with_grad(op, &[self], |_| {
            move |g: &Tensor| Ok(Grads::from_iter([Some(g.triangle(op, diagonal, side)?)]))
        }))
    }

    /// Row and column numbers, `[2, n]`, of the lower triangle of a matrix, row by row; `i32` unless asked otherwise.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::tril_indices(2, 2, 0, ())?.to_vec::<i32>()?, [0, 1, 1, 0, 0, 1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn tril_indices(rows: usize, columns: usize, offset: isize, options: impl Into<Options>) -> Result<Tensor> {
        let end = |row: usize| offset.saturating_add(row as isize + 1).clamp(0, columns as isize) as usize;
        triangle_indices("tril_indices", (rows, columns), |row| 0..end(row), options.into())
    }

    /// Row and column numbers, `[2, n]`, of the upper triangle of a matrix, row by row; `i32` unless asked otherwise.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::triu_indices(2, 2, 0, ())?.to_vec::<i32>()?, [0, 0, 1, 0, 1, 1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn triu_indices(rows: usize, columns: usize, offset: isize, options: impl Into<Options>) -> Result<Tensor> {
        let begin = |row: usize| offset.saturating_add(row as isize).clamp(0, columns as isize) as usize;
        triangle_indices("triu_indices", (rows, columns), |row| begin(row)..columns, options.into())
    }
}

fn triangle_indices(
    op: &str,
    (rows, columns): (usize, usize),
    within: impl Fn(usize) -> std::ops::Range<usize>,
    options: Options,
) -> Result<Tensor> {
    checked_numel(op, &[rows])?;
    checked_numel(op, &[columns])?;
    let count = (0..rows).fold(0usize, |n, row| n.saturating_add(within(row).len()));
    checked_numel(op, &[2, count])?;
    let mut numbers: Vec<i32> = Vec::new();
    for row in 0..rows {
        numbers.extend(within(row).map(|_| row as i32));
    }
    let n = numbers.len();
    for row in 0..rows {
        numbers.extend(within(row).map(|c| c as i32));
    }
    let dtype = options.dtype_or(DType::I32);
    Tensor::from_slice(&numbers, [2, n], &options.device()?)?.to_dtype(dtype)
}
