//! `t.i(..)` and `t.set(.., value)`: Python's `t[..]` with Rust's ranges, tuples and tensors.

use super::gather::Indices;
use super::mask::without_masks;
use super::scatter::without_leading_ones;
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::ops::arg::Arg;
use crate::tensor::Tensor;
use std::iter::StepBy;
use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// As many full slices as there are dimensions left: `...`.
///
/// ```
/// let t = calor::Tensor::zeros([2, 3, 4], ())?;
/// assert_eq!(t.i((calor::Ellipsis, 0))?.shape()[..], [2, 3]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Ellipsis;

/// A new dimension of size 1: `None`.
///
/// ```
/// let t = calor::Tensor::zeros([2, 3], ())?;
/// assert_eq!(t.i((.., calor::NewAxis))?.shape()[..], [2, 1, 3]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct NewAxis;

/// `start:end:step`; negative places count from the end.
///
/// ```
/// use calor::{Slice, Tensor};
/// let t = Tensor::new([0, 1, 2, 3, 4, 5], ())?;
/// assert_eq!(t.i(Slice::from(1..-1).step(2))?.to_vec::<i32>()?, [1, 3]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    start: Option<isize>,
    end: Option<isize>,
    step: isize,
}

impl Slice {
    /// A slice with both ends given, or open.
    ///
    /// ```
    /// let t = calor::Tensor::arange(0, 6, 1, ())?;
    /// assert_eq!(t.i(calor::Slice::new(Some(-2), None))?.to_vec::<i32>()?, [4, 5]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(start: Option<isize>, end: Option<isize>) -> Self {
        Self { start, end, step: 1 }
    }

    /// Every `step`-th element.
    ///
    /// ```
    /// let t = calor::Tensor::arange(0, 6, 1, ())?;
    /// assert_eq!(t.i(calor::Slice::from(1..).step(2))?.to_vec::<i32>()?, [1, 3, 5]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn step(mut self, step: isize) -> Self {
        self.step = step;
        self
    }
}

/// First element and number of elements of a slice of a dimension.
pub(super) fn span(size: usize, start: Option<isize>, end: Option<isize>, step: usize) -> (usize, usize) {
    let size = size as isize;
    let at = |i: isize| if i < 0 { i.saturating_add(size) } else { i }.clamp(0, size) as usize;
    let (from, to) = (at(start.unwrap_or(0)), at(end.unwrap_or(size)));
    (from, to.saturating_sub(from).div_ceil(step.max(1)))
}

/// One component of an index.
///
/// ```
/// use calor::{IndexItem, Tensor};
/// let t = Tensor::new([[1, 2], [3, 4]], ())?;
/// // an index whose length the program decides
/// let index = vec![IndexItem::Ellipsis, IndexItem::At(-1)];
/// assert_eq!(t.i(index)?.to_vec::<i32>()?, [2, 4]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone)]
pub enum IndexItem {
    /// One element of a dimension, which disappears; negative ones count from the end.
    At(isize),
    /// A part of a dimension.
    Slice(Slice),
    /// All dimensions that the other components leave over.
    Ellipsis,
    /// A new dimension of size 1.
    NewAxis,
    /// An index tensor, or a mask.
    Tensor(Tensor),
    /// A list of numbers: an index tensor.
    List(Vec<i32>),
    /// All of the tensor, or nothing of it, under a new dimension.
    Bool(bool),
}

/// What [`Tensor::i`] takes: a component, a tuple of components, or a list of them.
///
/// ```
/// use calor::{IndexExpr, IndexItem};
/// let items = (1, ..).items();
/// assert!(matches!(items[..], [IndexItem::At(1), IndexItem::Slice(_)]));
/// ```
pub trait IndexExpr {
    /// The components.
    ///
    /// ```
    /// use calor::{IndexExpr, IndexItem};
    /// assert!(matches!((-1, ..).items()[..], [IndexItem::At(-1), IndexItem::Slice(_)]));
    /// ```
    fn items(self) -> Vec<IndexItem>;
}

impl IndexExpr for Vec<IndexItem> {
    fn items(self) -> Vec<IndexItem> {
        self
    }
}

impl IndexExpr for &[IndexItem] {
    fn items(self) -> Vec<IndexItem> {
        self.to_vec()
    }
}

macro_rules! component {
    ($($ty:ty, $x:ident => $item:expr;)*) => {
        $(
            impl From<$ty> for IndexItem {
                fn from($x: $ty) -> Self {
                    $item
                }
            }

            impl IndexExpr for $ty {
                fn items(self) -> Vec<IndexItem> {
                    vec![self.into()]
                }
            }
        )*
    };
}

component! {
    RangeFull, _x => IndexItem::Slice(Slice::new(None, None));
    Slice, x => IndexItem::Slice(x);
    Ellipsis, _x => IndexItem::Ellipsis;
    NewAxis, _x => IndexItem::NewAxis;
    Tensor, x => IndexItem::Tensor(x);
    &Tensor, x => IndexItem::Tensor(x.clone());
    Vec<i32>, x => IndexItem::List(x);
    &[i32], x => IndexItem::List(x.to_vec());
    bool, x => IndexItem::Bool(x);
}

impl IndexExpr for IndexItem {
    fn items(self) -> Vec<IndexItem> {
        vec![self]
    }
}

impl<const N: usize> From<[i32; N]> for IndexItem {
    fn from(x: [i32; N]) -> Self {
        IndexItem::List(x.to_vec())
    }
}

impl<const N: usize> IndexExpr for [i32; N] {
    fn items(self) -> Vec<IndexItem> {
        vec![self.into()]
    }
}

macro_rules! numbers {
    ($($ty:ty),*) => {
        $(
            impl From<Range<$ty>> for Slice {
                fn from(r: Range<$ty>) -> Self {
                    Slice::new(Some(place(r.start)), Some(place(r.end)))
                }
            }
            impl From<RangeFrom<$ty>> for Slice {
                fn from(r: RangeFrom<$ty>) -> Self {
                    Slice::new(Some(place(r.start)), None)
                }
            }
            impl From<RangeTo<$ty>> for Slice {
                fn from(r: RangeTo<$ty>) -> Self {
                    Slice::new(None, Some(place(r.end)))
                }
            }
            impl From<RangeInclusive<$ty>> for Slice {
                fn from(r: RangeInclusive<$ty>) -> Self {
                    Slice::new(Some(place(*r.start())), after(place(*r.end())))
                }
            }
            impl From<RangeToInclusive<$ty>> for Slice {
                fn from(r: RangeToInclusive<$ty>) -> Self {
                    Slice::new(None, after(place(r.end)))
                }
            }
            impl From<StepBy<Range<$ty>>> for Slice {
                fn from(r: StepBy<Range<$ty>>) -> Self {
                    let count = r.size_hint().0;
                    let mut all = r;
                    let (first, second) = (all.next(), all.next());
                    let Some(first) = first.map(place) else { return Slice::new(Some(0), Some(0)) };
                    let step = second.map_or(1, |s| place(s).saturating_sub(first));
                    let reach = step.saturating_mul(place(count.saturating_sub(1)));
                    Slice::new(Some(first), after(first.saturating_add(reach))).step(step)
                }
            }
            component! {
                $ty, x => IndexItem::At(place(x));
                Range<$ty>, x => IndexItem::Slice(x.into());
                RangeFrom<$ty>, x => IndexItem::Slice(x.into());
                RangeTo<$ty>, x => IndexItem::Slice(x.into());
                RangeInclusive<$ty>, x => IndexItem::Slice(x.into());
                RangeToInclusive<$ty>, x => IndexItem::Slice(x.into());
                StepBy<Range<$ty>>, x => IndexItem::Slice(x.into());
            }
        )*
    };
}
numbers!(i32, i64, isize, usize);

/// The end of a slice whose last element is named; -1 is the end itself.
fn after(last: isize) -> Option<isize> {
    (last != -1).then_some(last.saturating_add(1))
}

/// A number as a place; one beyond all places stays beyond them, and must not become a negative one.
fn place<N: TryInto<isize> + PartialOrd + Default + Copy>(n: N) -> isize {
    n.try_into().unwrap_or(if n < N::default() { isize::MIN } else { isize::MAX })
}

macro_rules! tuples {
    ($($($name:ident $at:tt),+;)*) => {
        $(
            impl<$($name: Into<IndexItem>),+> IndexExpr for ($($name,)+) {
                fn items(self) -> Vec<IndexItem> {
                    vec![$(self.$at.into()),+]
                }
            }
        )*
    };
}
tuples! {
    A 0;
    A 0, B 1;
    A 0, B 1, C 2;
    A 0, B 1, C 2, D 3;
    A 0, B 1, C 2, D 3, E 4;
    A 0, B 1, C 2, D 3, E 4, F 5;
    A 0, B 1, C 2, D 3, E 4, F 5, G 6;
    A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7;
}

/// What an index comes to: a view, and index tensors for its dimensions.
struct Resolved {
    view: Tensor,
    indices: Vec<Option<Tensor>>,
}

impl Tensor {
    /// `read`: the view is only read, so that an index without dimensions may stay on the device.
    fn resolve(&self, op: &'static str, items: Vec<IndexItem>, read: bool) -> Result<Resolved> {
        let is_mask = |t: &Tensor| matches!(t.dtype(), DType::Bool | DType::U8);
        let uses = |item: &IndexItem| match item {
            IndexItem::At(_) | IndexItem::Slice(_) | IndexItem::List(_) => 1,
            IndexItem::Tensor(t) if is_mask(t) => t.dim(),
            IndexItem::Tensor(_) => 1,
            IndexItem::Ellipsis | IndexItem::NewAxis | IndexItem::Bool(_) => 0,
        };
        let used: usize = items.iter().map(uses).sum();
        let Some(mut left) = self.dim().checked_sub(used) else {
            bail!(Index, op, "too many indices ({used}) for tensor of dimension {}", self.dim());
        };
        if items.iter().filter(|i| matches!(i, IndexItem::Ellipsis)).count() > 1 {
            bail!(Index, op, "an index can only have a single ellipsis");
        }
        let mut view = self.clone();
        let mut indices: Vec<Option<Tensor>> = Vec::new();
        for item in items {
            let d = indices.len() as isize;
            match item {
                IndexItem::At(i) => view = view.select(d, i)?,
                IndexItem::Slice(s) => {
                    if s.step <= 0 {
                        bail!(Value, op, "step must be greater than zero, got {}", s.step);
                    }
                    if s.start.is_some() || s.end.is_some() || s.step != 1 {
                        view = view.slice(d, s.start, s.end, s.step as usize)?;
                    }
                    indices.push(None);
                }
                IndexItem::Ellipsis => indices.resize_with(indices.len() + std::mem::take(&mut left), || None),
                IndexItem::NewAxis => {
                    view = view.unsqueeze(d)?;
                    indices.push(None);
                }
                IndexItem::Bool(on) => {
                    view = view.unsqueeze(d)?;
                    let list: &[i32] = if on { &[0] } else { &[] };
                    indices.push(Some(Tensor::from_slice(list, [list.len()], self.device())?));
                }
                IndexItem::Tensor(t) if is_mask(&t) && t.dim() == 0 => {
                    view = view.unsqueeze(d)?;
                    indices.push(Some(t.reshape([1])?));
                }
                IndexItem::Tensor(t) if t.dim() == 0 && !read => {
                    if !t.dtype().is_int() {
                        bail!(DType, op, "tensors used as indices must be integers or masks, got {}", t.dtype());
                    }
                    view = view.select(d, t.item()? as isize)?;
                }
                IndexItem::Tensor(t) if t.dim() == 0 => {
                    let mut one = indices.iter().map(|_| None).collect::<Vec<_>>();
                    one.push(Some(t));
                    view = Indices::new(op, &view.shape(), &one, true)?.pick(&view)?;
                }
                IndexItem::Tensor(t) => {
                    let dims = uses(&IndexItem::Tensor(t.clone()));
                    let from = indices.len();
                    let sizes = view.shape();
                    if is_mask(&t) && sizes[from..from + dims] != t.shape()[..] {
                        bail!(
                            Index,
                            op,
                            "the shape of the mask {:?} at index {from} does not match the shape of the indexed \
                             tensor {:?} at index {from}",
                            &t.shape()[..],
                            &self.shape()[..]
                        );
                    }
                    indices.extend(without_masks(op, &sizes[from..from + dims], &[Some(t)])?);
                }
                IndexItem::List(list) => {
                    indices.push(Some(Tensor::from_slice(&list, [list.len()], self.device())?));
                }
            }
        }
        let indices = without_masks(op, &view.shape(), &indices)?;
        Ok(Resolved { view, indices })
    }

    /// `self[index]`: numbers, ranges, [`Slice`], [`Ellipsis`], [`NewAxis`], index tensors and masks, alone or in a
    /// tuple. Negative numbers count from the end.
    ///
    /// Without tensors it gives a view. Index tensors broadcast together and copy; their dimensions stand where they
    /// were, or first if something stands between them; one without dimensions counts as a number. A mask must have the shape of the dimensions it stands for,
    /// and is read back.
    ///
    /// ```
    /// use calor::{NewAxis, Tensor};
    /// let t = Tensor::new([[0, 1, 2], [3, 4, 5]], ())?;
    /// assert_eq!(t.i((.., 1..3))?.to_vec::<i32>()?, [1, 2, 4, 5]);
    /// assert_eq!(t.i(-1)?.to_vec::<i32>()?, [3, 4, 5]);
    /// assert_eq!(t.i((NewAxis, 0, (0..3).step_by(2)))?.to_vec::<i32>()?, [0, 2]);
    /// assert_eq!(t.i((.., [2, 0]))?.to_vec::<i32>()?, [2, 0, 5, 3]);
    /// assert_eq!(t.i(&t.gt(3)?)?.to_vec::<i32>()?, [4, 5]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn i(&self, index: impl IndexExpr) -> Result<Tensor> {
        let Resolved { view, indices } = self.resolve("index", index.items(), true)?;
        if indices.iter().all(Option::is_none) {
            return Ok(view);
        }
        Indices::new("index", &view.shape(), &indices, true)?.pick(&view)
    }

    /// `self[index] = value`, in place: `value` is a number, or a tensor that broadcasts to `self.i(index)`, and takes
    /// this tensor's dtype. Gives this tensor.
    ///
    /// ```
    /// use calor::Tensor;
    /// let t = Tensor::zeros([2, 3], ())?;
    /// t.set((.., 1), 5.0)?;
    /// t.set((0, [0, 2]), &Tensor::new([1.0f32, 2.0], ())?)?;
    /// assert_eq!(t.to_vec::<f32>()?, [1.0, 5.0, 2.0, 0.0, 5.0, 0.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn set(&self, index: impl IndexExpr, value: impl Into<Arg>) -> Result<Tensor> {
        let Resolved { view, indices } = self.resolve("index_put_", index.items(), false)?;
        let value = value.into().tensor(self.dtype(), self.device())?.to_dtype(self.dtype())?;
        if !indices.iter().all(Option::is_none) {
            view.index_put_(&indices, value, false)?;
            return Ok(self.clone());
        }
        let shape = view.shape();
        let value = value.reshape(without_leading_ones(&value.shape(), shape.len()))?;
        // a leaf would lose its gradient if it became this tensor's value itself
        let value = value.expand(&shape)?.try_clone()?;
        view.modify("copy_", |_| Ok(value))?;
        Ok(self.clone())
    }
}
