//! Reading at places that index tensors name, and the sums that are the gradients of that.

use super::buckets::{Buckets, Join, meeting};
use super::{Build, at_least_1d, whole};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::graph::IndexOp;
use crate::layout::Layout;
use crate::shape::{Dims, broadcast, check_places, dim as check_dim, numel};
use crate::tensor::Tensor;
use crate::tensor::grad::{Grads, no_grad};
use smallvec::SmallVec;
use std::sync::Arc;

/// A kernel that reads by more index tensors than this might lack bindings.
const MANY: usize = 4;

/// Index tensors for some dimensions of a tensor, which all have one shape.
#[derive(Clone)]
pub(super) struct Indices(Arc<Inner>);

struct Inner {
    op: &'static str,
    /// The index of each dimension, `i32` under `shape`; `None` where all of it is taken.
    index: SmallVec<[Option<Tensor>; 4]>,
    /// The shape of the indices.
    shape: Dims,
    /// How many of the dimensions that stay come before those of `shape`.
    at: usize,
    /// The indexed tensor's shape.
    sizes: Dims,
    wrap: bool,
    /// An index whose gradient is dropped.
    skip: Option<usize>,
}

impl Indices {
    /// Index tensors for the leading dimensions of a tensor of shape `sizes`. With `wrap`, negative ones count from
    /// the end. The index's dimensions stand where the first indexed dimension was, or first if a dimension that
    /// stays lies between two indexed ones.
    pub(super) fn new(op: &'static str, sizes: &[usize], index: &[Option<Tensor>], wrap: bool) -> Result<Self> {
        if index.len() > sizes.len() {
            bail!(Index, op, "too many indices ({}) for a tensor of dimension {}", index.len(), sizes.len());
        }
        let mut shape = Dims::new();
        for t in index.iter().flatten() {
            shape = match broadcast(op, &shape, &t.shape()) {
                Ok(shape) => shape,
                Err(_) => {
                    let shapes: Vec<Dims> = index.iter().flatten().map(Tensor::shape).collect();
                    bail!(Index, op, "indexing tensors could not be broadcast together with shapes {shapes:?}");
                }
            };
        }
        let mut all: SmallVec<[Option<Tensor>; 4]> = SmallVec::new();
        for (d, t) in index.iter().enumerate() {
            all.push(match t {
                Some(t) => {
                    if sizes[d] == 0 && numel(&shape) > 0 {
                        bail!(Index, op, "an index is out of bounds for dimension {d} with size 0");
                    }
                    check_places(op, sizes[d])?;
                    let t = no_grad(|| whole(op, t))?;
                    Some(t.alias(t.layout().expand(op, &shape)?))
                }
                None => None,
            });
        }
        all.resize_with(sizes.len(), || None);
        let indexed: SmallVec<[usize; 4]> = (0..sizes.len()).filter(|&d| all[d].is_some()).collect();
        let adjacent = indexed.windows(2).all(|w| w[0] + 1 == w[1]);
        let at = if adjacent { indexed.first().copied().unwrap_or(0) } else { 0 };
        Ok(Self(Arc::new(Inner { op, index: all, shape, at, sizes: sizes.into(), wrap, skip: None })))
    }

    /// The same with the gradient of one index dropped.
    pub(super) fn skipping(self, skip: Option<usize>) -> Self {
        match Arc::try_unwrap(self.0) {
            Ok(inner) => Self(Arc::new(Inner { skip, ..inner })),
            Err(shared) => Self(shared),
        }
    }

    fn kept(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.0.sizes.len()).filter(|&d| self.0.index[d].is_none())
    }

    fn indexed(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.0.sizes.len()).filter(|&d| self.0.index[d].is_some())
    }

    /// The shape of what is read.
    pub(super) fn result(&self) -> Dims {
        let mut shape: Dims = self.kept().map(|d| self.0.sizes[d]).collect();
        shape.insert_many(self.0.at, self.0.shape.iter().copied());
        shape
    }

    /// The elements that the indices name; its gradient sums what comes from equal ones.
    pub(super) fn pick(&self, x: &Tensor) -> Result<Tensor> {
        let i = &*self.0;
        if self.indexed().count() > MANY {
            return self.pick_flat(x);
        }
        let mut b = Build::default();
        let own: SmallVec<[u16; 6]> = (0..i.shape.len()).map(|d| b.body.coord(i.at + d)).collect();
        let (mut coords, mut inputs): (SmallVec<[u16; 6]>, SmallVec<[&Tensor; 4]>) =
            (SmallVec::new(), SmallVec::from_iter([x]));
        let mut kept = 0;
        for (d, index) in i.index.iter().enumerate() {
            coords.push(match index {
                Some(t) => {
                    inputs.push(t);
                    let index = b.body.load(inputs.len() - 1, &own);
                    b.place(i.op, index, d, i.sizes[d], i.wrap)
                }
                None => {
                    kept += 1;
                    b.body.coord(if kept <= i.at { kept - 1 } else { kept - 1 + i.shape.len() })
                }
            });
        }
        b.body.load(0, &coords);
        let out = b.apply(i.op, &self.result(), x.dtype(), &inputs)?;
        let indices = self.clone();
        Ok(out.with_grad(i.op, &[x], |_| move |g: &Tensor| Ok(Grads::from_iter([Some(indices.deposit(g)?)]))))
    }

    /// [`Indices::pick`] with one index in place of many.
    fn pick_flat(&self, x: &Tensor) -> Result<Tensor> {
        let i = &*self.0;
        let (place, total) = no_grad(|| self.places())?;
        let order: SmallVec<[isize; 6]> = self.indexed().chain(self.kept()).map(|d| d as isize).collect();
        let mut sizes: Dims = SmallVec::from_iter([total]);
        sizes.extend(self.kept().map(|d| i.sizes[d]));
        let mut index: SmallVec<[Option<Tensor>; 4]> = SmallVec::from_iter([Some(whole(i.op, &place)?)]);
        index.resize_with(sizes.len(), || None);
        let x = x.permute(&order)?.reshape(&sizes)?;
        let (shape, at) = (i.shape.clone(), i.at);
        Self(Arc::new(Inner { op: i.op, index, shape, at, sizes, wrap: false, skip: None })).pick(&x)
    }

    /// Where each index points among the elements of the indexed dimensions, row by row, and how many there are.
    pub(super) fn places(&self) -> Result<(Tensor, usize)> {
        let i = &*self.0;
        let (mut place, mut total): (Option<Tensor>, _) = (None, 1);
        // a map for each index: they fuse as far as there are bindings
        for (d, t) in i.index.iter().enumerate() {
            let Some(t) = t else { continue };
            let mut b = Build::default();
            let index = b.body.input(0);
            let at = b.place(i.op, index, d, i.sizes[d], i.wrap);
            total *= i.sizes[d];
            let size = b.number(i.sizes[d] as isize);
            let mut inputs: SmallVec<[&Tensor; 2]> = SmallVec::from_iter([t]);
            if let Some(before) = &place {
                inputs.push(before);
                let row = b.body.input(1);
                let row = b.op(IndexOp::Mul, row, size);
                b.op(IndexOp::Add, row, at);
            } else if let Some(skip) = i.skip {
                let skip = b.number(skip as isize);
                let same = b.op(IndexOp::Eq, at, skip);
                b.body.select(same, size, at);
            }
            let next = b.apply(i.op, &i.shape, DType::U32, &inputs)?;
            drop(inputs);
            place = Some(next);
        }
        match place {
            Some(place) => Ok((place, total)),
            None => bail!(Value, i.op, "needs an index"),
        }
    }

    /// What is read, with the index's dimensions first.
    pub(super) fn fronted(&self, source: &Tensor) -> Tensor {
        let (at, n) = (self.0.at, self.0.shape.len());
        let order: SmallVec<[usize; 6]> = (at..at + n).chain(0..at).chain(at + n..source.dim()).collect();
        source.alias(source.layout().permuted(&order))
    }

    /// A tensor with the indexed dimensions as one in front, as the indexed tensor lies.
    fn home(&self, t: &Tensor) -> Tensor {
        let order: SmallVec<[usize; 6]> = self.indexed().chain(self.kept()).collect();
        let shape: Dims = order.iter().map(|&d| self.0.sizes[d]).collect();
        let mut back: SmallVec<[usize; 6]> = SmallVec::from_elem(0, order.len());
        for (k, &d) in order.iter().enumerate() {
            back[d] = k;
        }
        t.alias(Layout::contiguous(&shape).permuted(&back))
    }

    /// Zeros of the indexed tensor's shape to which the elements of `source`, of the shape of what is read, are
    /// added where the indices say.
    pub(super) fn deposit(&self, source: &Tensor) -> Result<Tensor> {
        let i = &*self.0;
        let dtype = source.dtype();
        let sum = no_grad(|| -> Result<Tensor> {
            let source = self.fronted(&source.to_dtype(meeting(dtype))?);
            let (place, total) = self.places()?;
            let width = numel(&source.shape()[i.shape.len()..]);
            let sum = Buckets::new(&place, 0, total, width)?.join(Join::Sum, &source)?;
            self.home(&sum).to_dtype(dtype)
        })?;
        let indices = self.clone();
        Ok(sum.with_grad(i.op, &[source], |_| {
            move |g: &Tensor| {
                let picked = indices.pick(g)?;
                let Some(skip) = indices.0.skip else { return Ok(Grads::from_iter([Some(picked)])) };
                // what was dropped gets nothing back
                let Some(Some(index)) = indices.0.index.first() else { return Ok(Grads::new()) };
                let mut shape = indices.0.shape.clone();
                shape.resize(picked.dim(), 1);
                let dropped = index.eq(skip as i64)?.reshape(&shape)?;
                Ok(Grads::from_iter([Some(dropped.where_(0.0, picked)?)]))
            }
        }))
    }

    /// `x` with `source`, of the shape of what is read, where the indices say; of several sources for one element the
    /// last one.
    pub(super) fn assign(&self, x: &Tensor, source: &Tensor) -> Result<Tensor> {
        let out = no_grad(|| self.replace(x, source))?;
        let (indices, wanted) = (self.clone(), [x.requires_grad(), source.requires_grad()]);
        Ok(out.with_grad(self.0.op, &[x, source], |_| {
            move |g: &Tensor| {
                let zero = || Tensor::zeros(indices.result(), (g.dtype(), g.device()));
                let gx = if wanted[0] { Some(indices.assign(g, &zero()?)?) } else { None };
                let gs = if wanted[1] { Some(indices.pick(g)?) } else { None };
                Ok(Grads::from_iter([gx, gs]))
            }
        }))
    }

    /// Which elements of the indexed dimensions, row by row, any index names.
    pub(super) fn named(&self) -> Result<Tensor> {
        no_grad(|| {
            let (place, total) = self.places()?;
            Buckets::new(&place, 0, total, 1)?.last()?.ge(0)
        })
    }

    fn replace(&self, x: &Tensor, source: &Tensor) -> Result<Tensor> {
        let i = &*self.0;
        let (place, total) = self.places()?;
        let n = numel(&i.shape);
        if n == 0 || x.numel() == 0 {
            return x.copy(i.op);
        }
        let last = Buckets::new(&place, 0, total, 1)?.last()?;
        let mut b = Build::default();
        let old = b.body.input(0);
        let mut at = None;
        for d in self.indexed() {
            let c = b.body.coord(d);
            let size = b.number(i.sizes[d] as isize);
            at = Some(match at {
                Some(p) => {
                    let row = b.op(IndexOp::Mul, p, size);
                    b.op(IndexOp::Add, row, c)
                }
                None => c,
            });
        }
        let at = at.unwrap_or_else(|| b.number(0));
        let last_at = b.body.load(1, &[at]);
        let k = b.body.bits(DType::U32, last_at);
        let any = b.less(k, n as isize);
        let k = b.at_most(k, n as isize - 1);
        let mut coords: SmallVec<[u16; 6]> = SmallVec::new();
        let mut inner = n;
        for &size in &i.shape {
            inner /= size;
            let c = b.div(k, inner);
            coords.push(b.rem(c, size));
        }
        let kept: SmallVec<[u16; 6]> = self.kept().map(|d| b.body.coord(d)).collect();
        coords.extend(kept);
        let new = b.body.load(2, &coords);
        b.body.select(any, new, old);
        b.apply(i.op, &x.shape(), x.dtype(), &[x, &last, &self.fronted(source)])
    }
}

/// An index along one dimension of a tensor, whose other coordinates it shares: what `gather` and `scatter` take.
#[derive(Clone)]
pub(super) struct Along {
    pub op: &'static str,
    pub dim: usize,
    /// `i32`.
    pub index: Tensor,
    /// The indexed tensor's shape.
    pub sizes: Dims,
    /// Whether negative indices count from the end.
    pub wrap: bool,
}

impl Along {
    /// An index for dimension `dim` of a tensor of shape `sizes`, both with at least one dimension.
    pub(super) fn new(op: &'static str, sizes: &[usize], dim: isize, index: &Tensor) -> Result<Self> {
        let dim = check_dim(op, dim, sizes.len())?;
        check_places(op, sizes.get(dim).copied().unwrap_or(1))?;
        let shape = index.shape();
        if numel(&shape) > 0 {
            if shape.len() != sizes.len() {
                let (a, b) = (shape.len(), sizes.len());
                bail!(Shape, op, "index tensor must have the same number of dimensions as self, got {a} and {b}");
            }
            if (0..shape.len()).any(|d| d != dim && shape[d] > sizes[d]) {
                bail!(
                    Shape,
                    op,
                    "expected index {:?} to be no larger than self {sizes:?} apart from dimension {dim}",
                    &shape[..]
                );
            }
            if sizes[dim] == 0 {
                bail!(Index, op, "an index is out of bounds for dimension {dim} with size 0");
            }
        }
        let index = match numel(&shape) {
            // what picks nothing may be of any dtype
            0 => Tensor::zeros(&shape[..], (DType::I32, index.device()))?,
            _ => no_grad(|| whole(op, index))?,
        };
        Ok(Self { op, dim, index, sizes: sizes.into(), wrap: false })
    }

    /// Dimension order with the indexed one last.
    fn order(&self) -> SmallVec<[usize; 6]> {
        (0..self.sizes.len()).filter(|&d| d != self.dim).chain([self.dim]).collect()
    }

    /// The element of `x` at each index; its gradient sums what comes from equal ones.
    pub(super) fn pick(&self, x: &Tensor) -> Result<Tensor> {
        let mut b = Build::default();
        let index = b.body.input(1);
        let at = b.place(self.op, index, self.dim, self.sizes[self.dim], self.wrap);
        let shape = self.index.shape();
        if numel(&shape) == 0 {
            return Tensor::zeros(&shape[..], (x.dtype(), x.device()));
        }
        let coords: SmallVec<[u16; 6]> =
            (0..shape.len()).map(|d| if d == self.dim { at } else { b.body.coord(d) }).collect();
        b.body.load(0, &coords);
        let out = b.apply(self.op, &shape, x.dtype(), &[x, &self.index])?;
        let along = self.clone();
        Ok(out.with_grad(self.op, &[x], |_| move |g: &Tensor| Ok(Grads::from_iter([Some(along.collect(g)?)]))))
    }

    /// Which sources go to which of the destinations along the dimension.
    pub(super) fn buckets(&self) -> Result<Buckets> {
        let mut b = Build::default();
        let index = b.body.input(0);
        b.place(self.op, index, self.dim, self.sizes[self.dim], self.wrap);
        let place = b.apply(self.op, &self.index.shape(), DType::U32, &[&self.index])?;
        let place = place.alias(place.layout().permuted(&self.order()));
        Buckets::new(&place, self.sizes.len() - 1, self.sizes[self.dim], 1)
    }

    /// A tensor whose dimensions are in [`Along::order`], in their own order.
    fn home(&self, t: &Tensor) -> Tensor {
        let mut back: SmallVec<[usize; 6]> = SmallVec::from_elem(0, t.dim());
        for (k, &d) in self.order().iter().enumerate() {
            back[d] = k;
        }
        t.alias(t.layout().permuted(&back))
    }

    /// `x` with `source`, of the index's shape, where the indices say; of several sources for one element the last
    /// one.
    pub(super) fn assign(&self, x: &Tensor, source: &Tensor) -> Result<Tensor> {
        let out = no_grad(|| self.replace(x, source))?;
        let (along, wanted) = (self.clone(), [x.requires_grad(), source.requires_grad()]);
        Ok(out.with_grad(self.op, &[x, source], |_| {
            move |g: &Tensor| {
                let gx = if wanted[0] { Some(along.clear(g)?) } else { None };
                let gs = if wanted[1] { Some(along.pick(g)?) } else { None };
                Ok(Grads::from_iter([gx, gs]))
            }
        }))
    }

    /// `x` with 0 where the indices say.
    pub(super) fn clear(&self, x: &Tensor) -> Result<Tensor> {
        self.assign(x, &Tensor::zeros(self.index.shape(), (x.dtype(), x.device()))?)
    }

    fn replace(&self, x: &Tensor, source: &Tensor) -> Result<Tensor> {
        let shape = self.index.shape();
        let n = shape[self.dim];
        if x.numel() == 0 || numel(&shape) == 0 {
            return x.copy(self.op);
        }
        let last = self.home(&self.buckets()?.last()?);
        let mut b = Build::default();
        let old = b.body.input(0);
        let (mut inside, mut coords): (_, SmallVec<[u16; 6]>) = (None, SmallVec::new());
        for (d, &size) in last.shape().iter().enumerate() {
            let c = b.body.coord(d);
            let fits = b.less(c, size as isize);
            inside = Some(b.both(inside, fits));
            coords.push(b.at_most(c, size as isize - 1));
        }
        let k = b.body.load(1, &coords);
        let k = b.body.bits(DType::U32, k);
        let any = b.less(k, n as isize);
        let any = b.both(inside, any);
        coords[self.dim] = b.at_most(k, n as isize - 1);
        let new = b.body.load(2, &coords);
        b.body.select(any, new, old);
        b.apply(self.op, &x.shape(), x.dtype(), &[x, &last, source])
    }

    /// Grows `t`, of the index's size in other dimensions, to the indexed tensor's shape, with `rest` elsewhere.
    fn grow(&self, t: &Tensor, rest: f64) -> Result<Tensor> {
        if t.shape() == self.sizes {
            return Ok(t.clone());
        }
        let shape = t.shape();
        let mut b = Build::default();
        let (mut inside, mut coords): (_, SmallVec<[u16; 6]>) = (None, SmallVec::new());
        for (d, &size) in shape.iter().enumerate() {
            let c = b.body.coord(d);
            let fits = b.less(c, size as isize);
            inside = Some(b.both(inside, fits));
            coords.push(b.at_most(c, size as isize - 1));
        }
        if numel(&shape) == 0 {
            return Tensor::full(&self.sizes[..], rest, (t.dtype(), t.device()));
        }
        let (value, rest) = (b.body.load(0, &coords), b.value(rest, t.dtype()));
        if let Some(inside) = inside {
            b.body.select(inside, value, rest);
        }
        b.apply(self.op, &self.sizes, t.dtype(), &[t])
    }

    /// The elements of `source`, of the index's shape, joined at their destinations, in the indexed tensor's shape.
    /// Without history.
    pub(super) fn joined(&self, buckets: &Buckets, join: Join, source: &Tensor) -> Result<Tensor> {
        let source = source.alias(source.layout().permuted(&self.order()));
        let out = self.home(&buckets.join(join, &source)?);
        self.grow(&out, join.start(out.dtype()).as_f64())
    }

    /// How many sources each element has, `i32`, in the indexed tensor's shape.
    pub(super) fn counts(&self, buckets: &Buckets) -> Result<Tensor> {
        self.grow(&self.home(&buckets.counts()?), 0.0)
    }

    /// Whether each slice along the dimension has one index, so that no two name the same element.
    fn is_single(&self) -> bool {
        let shape = self.index.shape();
        numel(&shape) > 0 && (0..shape.len()).all(|d| shape[d] == if d == self.dim { 1 } else { self.sizes[d] })
    }

    /// Zeros of the indexed tensor's shape with the elements of `source` where single indices say.
    fn lay(&self, source: &Tensor) -> Result<Tensor> {
        let mut b = Build::default();
        let (value, index) = (b.body.input(0), b.body.input(1));
        let at = b.place(self.op, index, self.dim, self.sizes[self.dim], self.wrap);
        let here = b.body.coord(self.dim);
        let here = b.body.index(IndexOp::Eq, here, at);
        let zero = b.value(0.0, source.dtype());
        b.body.select(here, value, zero);
        b.apply(self.op, &self.sizes, source.dtype(), &[&source.expand(&self.sizes)?, &self.index.expand(&self.sizes)?])
    }

    /// Zeros of the indexed tensor's shape to which the elements of `source`, of the index's shape, are added.
    pub(super) fn collect(&self, source: &Tensor) -> Result<Tensor> {
        let dtype = source.dtype();
        let out = no_grad(|| -> Result<Tensor> {
            if self.is_single() {
                return self.lay(source);
            }
            let wide = source.to_dtype(meeting(dtype))?;
            self.joined(&self.buckets()?, Join::Sum, &wide)?.to_dtype(dtype)
        })?;
        let along = self.clone();
        Ok(out.with_grad(self.op, &[source], |_| move |g: &Tensor| Ok(Grads::from_iter([Some(along.pick(g)?)]))))
    }
}

impl Tensor {
    /// The elements that `index` names along `dim`: `out[i][j] = self[index[i][j]][j]` for `dim` 0. `index` is no
    /// larger than `self` in the other dimensions; the result has its shape.
    ///
    /// Indices must lie in `0..self.size(dim)`; others are reported at the next read.
    ///
    /// ```
    /// use calor::Tensor;
    /// let t = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// let i = Tensor::new([[0, 0], [1, 0]], ())?;
    /// assert_eq!(t.gather(1, &i)?.to_vec::<f32>()?, [1.0, 1.0, 4.0, 3.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn gather(&self, dim: isize, index: &Tensor) -> Result<Tensor> {
        self.along("gather", dim, index, false)
    }

    /// [`Tensor::gather`] on behalf of `op`, which errors name; with `wrap`, negative indices count from the end.
    pub(crate) fn along(&self, op: &'static str, dim: isize, index: &Tensor, wrap: bool) -> Result<Tensor> {
        let (x, i) = (at_least_1d(self)?, at_least_1d(index)?);
        let out = Along { wrap, ..Along::new(op, &x.shape(), dim, &i)? }.pick(&x)?;
        if index.dim() == 0 { out.reshape([]) } else { Ok(out) }
    }

    /// The slices that the vector `index` names along `dim`.
    ///
    /// Indices must lie in `0..self.size(dim)`; others are reported at the next read.
    ///
    /// ```
    /// use calor::Tensor;
    /// let t = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// let rows = t.index_select(0, &Tensor::new([1, 1], ())?)?;
    /// assert_eq!(rows.to_vec::<f32>()?, [3.0, 4.0, 3.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn index_select(&self, dim: isize, index: &Tensor) -> Result<Tensor> {
        if index.dim() > 1 {
            bail!(Shape, "index_select", "index is supposed to be a vector, got shape {:?}", &index.shape()[..]);
        }
        let d = check_dim("index_select", dim, self.dim())?;
        let x = at_least_1d(self)?;
        let mut list: SmallVec<[Option<Tensor>; 4]> = SmallVec::from_elem(None, d);
        list.push(Some(at_least_1d(index)?));
        let out = Indices::new("index_select", &x.shape(), &list, false)?.pick(&x)?;
        if self.dim() == 0 { out.reshape([]) } else { Ok(out) }
    }

    /// The elements that `index` names in row-by-row order; negative indices count from the end. The result has the
    /// index's shape.
    ///
    /// ```
    /// use calor::Tensor;
    /// let t = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert_eq!(t.take(&Tensor::new([2, -1], ())?)?.to_vec::<f32>()?, [3.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn take(&self, index: &Tensor) -> Result<Tensor> {
        let flat = self.reshape([self.numel()])?;
        Indices::new("take", &flat.shape(), &[Some(index.clone())], true)?.pick(&flat)
    }

    /// [`Tensor::gather`] where the other dimensions broadcast and indices count around, negative ones from the end;
    /// without `dim`, of both as vectors, and only negative ones count from the end.
    ///
    /// ```
    /// let t = calor::Tensor::new([[3, 1], [2, 4]], ())?;
    /// let sorted = t.take_along_dim(&t.argsort(1, false)?, Some(1))?;
    /// assert_eq!(sorted.to_vec::<i32>()?, [1, 3, 2, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn take_along_dim(&self, indices: &Tensor, dim: Option<isize>) -> Result<Tensor> {
        const OP: &str = "take_along_dim";
        if !indices.dtype().is_int() {
            bail!(DType, OP, "expected indices of an integer dtype, got {}", indices.dtype());
        }
        let Some(dim) = dim else {
            return self.reshape([self.numel()])?.along(OP, 0, &indices.reshape([indices.numel()])?, true);
        };
        let (mut a, mut b) = (self.shape(), indices.shape());
        if a.len() != b.len() {
            let (a, b) = (a.len(), b.len());
            bail!(Shape, OP, "input and indices should have the same number of dimensions, got {a} and {b}");
        }
        let d = check_dim(OP, dim, a.len())?;
        if a.is_empty() {
            return self.along(OP, dim, indices, true);
        }
        let (size, length) = (std::mem::replace(&mut a[d], 1), std::mem::replace(&mut b[d], 1));
        let mut shape = broadcast(OP, &a, &b)?;
        shape[d] = size;
        let x = self.expand(&shape)?;
        shape[d] = length;
        let indices = if size > 0 { indices.remainder(size as i64)? } else { indices.clone() };
        x.along(OP, dim, &indices.expand(&shape)?, true)
    }
}
