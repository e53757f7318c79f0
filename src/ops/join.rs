//! Joining: `cat`, `stack` and what is made of them. A joined tensor is a map that reads whichever part an element
//! lies in, so joins fuse into their readers.

use super::build::Build;
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::graph::IndexOp;
use crate::ops::index::whole;
use crate::shape::{Dims, checked_numel, dim as check_dim};
use crate::tensor::grad::Grads;
use crate::tensor::{PARTS, Tensor, side_by_side};

/// The parts as tensors of one dtype on one device.
fn alike(op: &str, tensors: &[&Tensor]) -> Result<Vec<Tensor>> {
    let Some(first) = tensors.first() else { bail!(Value, op, "expected a non-empty list of tensors") };
    let mut dtype = first.dtype();
    for t in tensors {
        if !t.device().same(first.device()) {
            bail!(Value, op, "tensors lie on different devices");
        }
        dtype = DType::promote(dtype, t.dtype());
    }
    tensors.iter().map(|t| t.to_dtype(dtype)).collect()
}

/// Tensors one after the other along dimension `d`; all other sizes are equal.
fn join(tensors: &[Tensor], d: usize) -> Result<Tensor> {
    if let [one] = tensors {
        return Ok(one.clone());
    }
    if let Some(side_by_side) = side_by_side(tensors, d)? {
        return Ok(side_by_side);
    }
    if tensors.len() > PARTS {
        let size = tensors.len().div_ceil(PARTS).max(2);
        let joined: Vec<Tensor> = tensors.chunks(size).map(|part| join(part, d)).collect::<Result<_>>()?;
        return join(&joined, d);
    }
    let rank = tensors[0].dim();
    let mut shape = tensors[0].shape();
    shape[d] = tensors.iter().map(|t| t.shape()[d]).sum();
    let mut b = Build::default();
    let at = b.body.coord(d);
    let (mut start, mut out) = (0, None);
    for (k, t) in tensors.iter().enumerate() {
        let size = t.shape()[d] as isize;
        let here = b.add(at, -start);
        // before the part it wraps to a large number
        let inside = b.less(here, size);
        let place = b.at_most(here, size - 1);
        let coords: Vec<u16> = (0..rank).map(|c| if c == d { place } else { b.body.coord(c) }).collect();
        let value = b.body.load(k, &coords);
        out = Some(out.map_or(value, |before| b.body.select(inside, value, before)));
        start += size;
    }
    let inputs: Vec<&Tensor> = tensors.iter().collect();
    b.apply("cat", &shape, tensors[0].dtype(), &inputs)
}

/// Tensors one after the other along a dimension; other sizes must be equal, dtypes are promoted.
///
/// ```
/// use calor::{Tensor, cat};
/// let (a, b) = (Tensor::new([[1i32, 2]], ())?, Tensor::new([[3i32, 4]], ())?);
/// assert_eq!(cat(&[&a, &b], 0)?.to_vec::<i32>()?, [1, 2, 3, 4]);
/// assert_eq!(&cat(&[&a, &b], 1)?.shape()[..], [1, 4]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn cat(tensors: &[&Tensor], dim: isize) -> Result<Tensor> {
    let all = alike("cat", tensors)?;
    // an empty vector fits anywhere, as in PyTorch
    let parts: Vec<&Tensor> = all.iter().filter(|t| t.shape()[..] != [0]).collect();
    let Some(first) = parts.first() else {
        check_dim("cat", dim, 1)?;
        return all[0].try_clone();
    };
    if let Some(t) = all.iter().find(|t| t.dim() == 0) {
        bail!(Dim, "cat", "zero-dimensional tensor of shape {:?} cannot be concatenated", t.shape());
    }
    let d = check_dim("cat", dim, first.dim())?;
    for t in &parts {
        let fits = t.dim() == first.dim() && (0..t.dim()).all(|i| i == d || t.shape()[i] == first.shape()[i]);
        if !fits {
            let (a, b) = (first.shape(), t.shape());
            bail!(Shape, "cat", "sizes of tensors must match except in dimension {d}, got {a:?} and {b:?}");
        }
    }
    let sizes: Vec<usize> = all.iter().map(|t| if t.shape()[..] == [0] { 0 } else { t.shape()[d] }).collect();
    let filled: Vec<Tensor> = parts.iter().filter(|t| t.numel() > 0).map(|t| (*t).clone()).collect();
    let out = match filled.as_slice() {
        [] => {
            let mut shape = first.shape();
            shape[d] = sizes.iter().sum();
            Tensor::zeros(shape, (first.dtype(), first.device()))?
        }
        [one] => one.detach().snapshot()?,
        several => join(several, d)?,
    };
    let inputs: Vec<&Tensor> = all.iter().collect();
    let shapes: Vec<Dims> = all.iter().map(|t| t.shape()).collect();
    Ok(out.with_grad("cat", &inputs, |_| {
        move |g: &Tensor| {
            let mut start = 0;
            let mut grads = Grads::new();
            for (size, shape) in sizes.iter().zip(&shapes) {
                grads.push(Some(g.narrow(d as isize, start, *size)?.reshape(shape)?));
                start += *size as isize;
            }
            Ok(grads)
        }
    }))
}

/// Tensors of one shape along a new dimension.
///
/// ```
/// use calor::{Tensor, stack};
/// let a = Tensor::new([1i32, 2], ())?;
/// assert_eq!(&stack(&[&a, &a, &a], 1)?.shape()[..], [2, 3]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn stack(tensors: &[&Tensor], dim: isize) -> Result<Tensor> {
    let Some(first) = tensors.first() else { bail!(Value, "stack", "expected a non-empty list of tensors") };
    if let Some(t) = tensors.iter().find(|t| t.shape() != first.shape()) {
        bail!(Shape, "stack", "expects each tensor to be equal size, got {:?} and {:?}", first.shape(), t.shape());
    }
    let d = check_dim("stack", dim, first.dim() + 1)? as isize;
    let all: Vec<Tensor> = tensors.iter().map(|t| t.unsqueeze(d)).collect::<Result<_>>()?;
    cat(&all.iter().collect::<Vec<_>>(), d)
}

fn joined(op: &str, tensors: &[&Tensor], dim: isize, view: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    if tensors.is_empty() {
        bail!(Value, op, "expected a non-empty list of tensors");
    }
    let all: Vec<Tensor> = tensors.iter().map(|t| view(t)).collect::<Result<_>>()?;
    cat(&all.iter().collect::<Vec<_>>(), dim)
}

/// Tensors side by side: along dimension 1, or 0 for vectors.
///
/// ```
/// let x = calor::Tensor::ones([2, 1], ())?;
/// assert_eq!(calor::hstack(&[&x, &x])?.shape()[..], [2, 2]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn hstack(tensors: &[&Tensor]) -> Result<Tensor> {
    let dim = tensors.first().map_or(0, |t| isize::from(t.dim() > 1));
    joined("hstack", tensors, dim, Tensor::atleast_1d)
}

/// Tensors one below the other; vectors become rows.
///
/// ```
/// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
/// assert_eq!(calor::vstack(&[&x, &x])?.shape()[..], [2, 3]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn vstack(tensors: &[&Tensor]) -> Result<Tensor> {
    joined("vstack", tensors, 0, Tensor::atleast_2d)
}

/// Tensors along a third dimension.
///
/// ```
/// let x = calor::Tensor::ones([2, 3], ())?;
/// assert_eq!(calor::dstack(&[&x, &x])?.shape()[..], [2, 3, 2]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn dstack(tensors: &[&Tensor]) -> Result<Tensor> {
    joined("dstack", tensors, 2, Tensor::atleast_3d)
}

/// Tensors side by side; vectors become columns.
///
/// ```
/// let x = calor::Tensor::new([1, 2, 3], ())?;
/// assert_eq!(calor::column_stack(&[&x, &x])?.to_vec::<i32>()?, [1, 1, 2, 2, 3, 3]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn column_stack(tensors: &[&Tensor]) -> Result<Tensor> {
    joined("column_stack", tensors, 1, |t| if t.dim() < 2 { t.reshape([t.numel(), 1]) } else { Ok(t.clone()) })
}

/// Matrices along the diagonal of a matrix of zeros; vectors are rows, tensors without dimensions single elements.
///
/// ```
/// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
/// assert_eq!(calor::block_diag(&[&x, &x])?.shape()[..], [4, 4]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn block_diag(tensors: &[&Tensor]) -> Result<Tensor> {
    let all = alike("block_diag", tensors)?;
    let mut blocks = Vec::new();
    for t in &all {
        if t.dim() > 2 {
            bail!(Dim, "block_diag", "input tensors must have 2 or fewer dimensions, got shape {:?}", t.shape());
        }
        blocks.push(t.atleast_2d()?);
    }
    let columns: usize = blocks.iter().map(|t| t.shape()[1]).sum();
    let mut start = 0;
    let mut rows = Vec::new();
    for t in &blocks {
        let after = columns - start - t.shape()[1];
        rows.push(t.constant_pad(&[start as isize, after as isize], 0.0)?);
        start += t.shape()[1];
    }
    cat(&rows.iter().collect::<Vec<_>>(), 0)
}

/// How [`meshgrid`] orders its dimensions.
///
/// ```
/// use calor::{Indexing, Tensor, meshgrid};
/// let (a, b) = (Tensor::arange(0, 2, 1, ())?, Tensor::arange(0, 3, 1, ())?);
/// assert_eq!(meshgrid(&[&a, &b], Indexing::Ij)?[0].shape()[..], [2, 3]);
/// assert_eq!(meshgrid(&[&a, &b], Indexing::Xy)?[0].shape()[..], [3, 2]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Indexing {
    /// As the vectors are given.
    #[default]
    Ij,
    /// The first two swapped, as for plots.
    Xy,
}

/// Each vector spread over the grid of all of them.
///
/// ```
/// use calor::{Indexing, Tensor, meshgrid};
/// let grid = meshgrid(&[&Tensor::arange(0, 2, 1, ())?, &Tensor::arange(0, 3, 1, ())?], Indexing::Ij)?;
/// assert_eq!(grid[0].to_vec::<i32>()?, [0, 0, 0, 1, 1, 1]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn meshgrid(tensors: &[&Tensor], indexing: Indexing) -> Result<Vec<Tensor>> {
    let Some(first) = tensors.first() else { bail!(Value, "meshgrid", "expects a non-empty list of tensors") };
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    if indexing == Indexing::Xy && tensors.len() > 1 {
        order.swap(0, 1);
    }
    let mut shape = Dims::new();
    for &k in &order {
        let t = tensors[k];
        if t.dim() > 1 {
            bail!(Dim, "meshgrid", "expected 0D or 1D tensors, got shape {:?}", t.shape());
        }
        if t.dtype() != first.dtype() {
            bail!(DType, "meshgrid", "expects all tensors to have the same dtype");
        }
        shape.push(t.numel());
    }
    let grid = |k: usize| {
        let at = order.iter().position(|&o| o == k).unwrap_or(k);
        let mut view = Dims::from_elem(1, shape.len());
        view[at] = shape[at];
        tensors[k].reshape(&view)?.expand(&shape)
    };
    (0..tensors.len()).map(grid).collect()
}

/// All combinations of one element of each vector, as rows.
///
/// ```
/// let x = calor::Tensor::arange(0, 2, 1, ())?;
/// assert_eq!(calor::cartesian_prod(&[&x, &x])?.to_vec::<i32>()?, [0, 0, 0, 1, 1, 0, 1, 1]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn cartesian_prod(tensors: &[&Tensor]) -> Result<Tensor> {
    for t in tensors {
        if t.dim() != 1 {
            bail!(Dim, "cartesian_prod", "expects 1D tensors, got shape {:?}", t.shape());
        }
    }
    if let [one] = tensors {
        return Ok((*one).clone());
    }
    let grids = meshgrid(tensors, Indexing::Ij)?;
    let flat: Vec<Tensor> = grids.iter().map(|t| t.reshape([t.numel()])).collect::<Result<_>>()?;
    stack(&flat.iter().collect::<Vec<_>>(), 1)
}

/// `r` different elements of a vector, in all choices, as rows; with replacement, elements may repeat.
///
/// ```
/// let x = calor::Tensor::arange(0, 3, 1, ())?;
/// assert_eq!(calor::combinations(&x, 2, false)?.to_vec::<i32>()?, [0, 1, 0, 2, 1, 2]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn combinations(x: &Tensor, r: usize, with_replacement: bool) -> Result<Tensor> {
    if x.dim() != 1 {
        bail!(Dim, "combinations", "expects a 1D vector, got shape {:?}", x.shape());
    }
    if r == 0 {
        return Tensor::zeros([0], (x.dtype(), x.device()));
    }
    let n = x.numel();
    let mut flat: Vec<i32> = Vec::new();
    let mut choice: Vec<usize> = if with_replacement { vec![0; r] } else { (0..r).collect() };
    let limit = |i: usize| if with_replacement { n } else { (n + i + 1).saturating_sub(r) };
    while choice.iter().enumerate().all(|(i, &c)| c < limit(i)) {
        flat.extend(choice.iter().map(|&c| c as i32));
        let Some(i) = (0..r).rev().find(|&i| choice[i] + 1 < limit(i)) else { break };
        choice[i] += 1;
        for j in i + 1..r {
            choice[j] = if with_replacement { choice[i] } else { choice[j - 1] + 1 };
        }
    }
    let rows = flat.len() / r;
    x.index_select(0, &Tensor::from_slice(&flat, [rows * r], x.device())?)?.reshape([rows, r])
}

impl Tensor {
    /// This tensor with `pad` elements of `value` before and after the last dimension, the one before it, and so on;
    /// negative numbers take elements away.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// assert_eq!(x.constant_pad(&[1, 0], 9.0)?.to_vec::<f32>()?, [9.0, 1.0, 2.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn constant_pad(&self, pad: &[isize], value: f64) -> Result<Tensor> {
        let rank = self.dim();
        if !pad.len().is_multiple_of(2) || pad.len() / 2 > rank {
            bail!(Shape, "pad", "{} paddings do not fit shape {:?}", pad.len(), self.shape());
        }
        let mut x = self.clone();
        let mut shape = self.shape();
        let mut before = vec![0isize; rank];
        for (i, p) in pad.chunks(2).enumerate() {
            let d = rank - 1 - i;
            let (left, right) = (p[0], p[1]);
            let size = shape[d] as isize;
            let (from, to) = (left.saturating_neg().max(0), size.saturating_add(right.min(0)));
            let whole = size.saturating_add(left).saturating_add(right);
            if whole < 0 || from > to {
                bail!(Shape, "pad", "padding ({left}, {right}) gives dimension {d} of size {size} a negative size");
            }
            x = x.narrow(d as isize, from, (to - from) as usize)?;
            before[d] = left.max(0);
            shape[d] = whole as usize;
        }
        checked_numel("pad", &shape)?;
        if x.shape() == shape {
            return x.try_clone();
        }
        if x.numel() == 0 {
            let none = x.shape();
            return Ok(Tensor::full(shape, value, (x.dtype(), x.device()))?.with_grad(
                "constant_pad_nd",
                &[&x],
                |_| move |g: &Tensor| Ok(Grads::from_iter([Some(Tensor::zeros(&none[..], (g.dtype(), g.device()))?)])),
            ));
        }
        let mut b = Build::default();
        let mut inside = None;
        let mut coords = Vec::new();
        for d in 0..rank {
            let at = b.body.coord(d);
            let size = x.shape()[d] as isize;
            if shape[d] == x.shape()[d] {
                coords.push(at);
                continue;
            }
            let at = b.add(at, -before[d]);
            let here = b.less(at, size);
            inside = Some(b.both(inside, here));
            coords.push(b.at_most(at, size - 1));
        }
        let old = b.body.load(0, &coords);
        let fill = b.value(value, x.dtype());
        if let Some(inside) = inside {
            b.body.select(inside, old, fill);
        }
        let out = b.apply("pad", &shape, x.dtype(), &[&x])?;
        let own = x.shape();
        Ok(out.with_grad("constant_pad_nd", &[&x], |_| {
            move |g: &Tensor| {
                let mut g = g.clone();
                for (d, &start) in before.iter().enumerate() {
                    g = g.narrow(d as isize, start, own[d])?;
                }
                Ok(Grads::from_iter([Some(g)]))
            }
        }))
    }

    /// One row per number: 1 at its place, else 0. `classes` of `None` reads back for the largest number.
    ///
    /// ```
    /// let t = calor::Tensor::new([0i32, 2], ())?;
    /// assert_eq!(t.one_hot(Some(3))?.to_vec::<i32>()?, [1, 0, 0, 0, 0, 1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn one_hot(&self, classes: Option<usize>) -> Result<Tensor> {
        if !matches!(self.dtype(), DType::I32 | DType::I64) {
            bail!(DType, "one_hot", "is only applicable to index tensors of dtype i32 or i64, got {}", self.dtype());
        }
        let classes = match classes {
            Some(0) => bail!(Value, "one_hot", "class numbers must be positive, got 0"),
            Some(n) => n,
            None if self.numel() == 0 => bail!(Value, "one_hot", "cannot infer the number of classes of no elements"),
            None => {
                if self.min()?.item()? < 0.0 {
                    bail!(Value, "one_hot", "class values must be non-negative");
                }
                self.max()?.item()? as usize + 1
            }
        };
        let mut shape = self.shape();
        let rank = shape.len();
        shape.push(classes);
        let index = whole("one_hot", &self.detach())?.unsqueeze(-1)?;
        let mut b = Build::default();
        let mut coords: Vec<u16> = (0..rank).map(|d| b.body.coord(d)).collect();
        coords.push(b.number(0));
        let value = b.body.load(0, &coords);
        let at = b.place("one_hot", value, rank, classes, false);
        let class = b.body.coord(rank);
        let same = b.op(IndexOp::Eq, at, class);
        b.body.cast(DType::I32, same);
        b.apply("one_hot", &shape, DType::I32, &[&index])?.to_dtype(self.dtype())
    }
}
