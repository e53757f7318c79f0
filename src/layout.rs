//! `Layout`: how a tensor lies in its storage. Shape, strides and offset; every view is arithmetic on these.

use crate::error::{Result, bail};
use crate::shape::{Dims, Strides, checked_numel, contiguous_strides, dim as check_dim, numel};
use smallvec::SmallVec;

/// Shape, strides and offset, in elements: element `(i, j, ..)` lies at `offset + i * strides[0] + j * strides[1] + ..`.
///
/// ```
/// use calor::Layout;
/// let t = Layout::contiguous(&[2, 3]).transpose(0, 1).unwrap();
/// assert_eq!((t.shape(), t.strides(), t.is_contiguous()), (&[3, 2][..], &[1, 3][..], false));
/// ```
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    shape: Dims,
    strides: Strides,
    offset: isize,
}

impl Clone for Layout {
    fn clone(&self) -> Self {
        // `SmallVec` by itself would clone element by element
        let (shape, strides) = (Dims::from_slice(&self.shape), Strides::from_slice(&self.strides));
        Self { shape, strides, offset: self.offset }
    }
}

impl Layout {
    /// Row by row from the start.
    ///
    /// ```
    /// assert_eq!(calor::Layout::contiguous(&[2, 3]).strides(), [3, 1]);
    /// ```
    pub fn contiguous(shape: &[usize]) -> Self {
        Self { shape: Dims::from_slice(shape), strides: contiguous_strides(shape), offset: 0 }
    }

    /// Any shape, strides and offset; refused where the lengths differ or an element would lie before the start.
    ///
    /// ```
    /// use calor::Layout;
    /// assert_eq!(Layout::strided("as_strided", &[2, 2], &[1, 1], 0)?.numel(), 4);
    /// assert!(Layout::strided("as_strided", &[2], &[-1], 0).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn strided(op: &str, shape: &[usize], strides: &[isize], offset: isize) -> Result<Self> {
        if shape.len() != strides.len() {
            bail!(Shape, op, "{} sizes but {} strides", shape.len(), strides.len());
        }
        let layout = Self { shape: shape.into(), strides: strides.into(), offset };
        if checked_numel(op, shape)? == 0 {
            return Ok(layout);
        }
        let (low, high) = layout.bounds();
        if low < 0 {
            bail!(Index, op, "strides {strides:?} at offset {offset} reach before the start of the storage");
        }
        if high == isize::MAX {
            bail!(Index, op, "strides {strides:?} at offset {offset} reach further than can be addressed");
        }
        Ok(layout)
    }

    /// Sizes.
    ///
    /// ```
    /// assert_eq!(calor::Layout::contiguous(&[2, 3]).shape(), [2, 3]);
    /// ```
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Steps between neighbours, in elements.
    ///
    /// ```
    /// let rows = calor::Layout::contiguous(&[2, 3]).expand("expand", &[4, 2, 3])?;
    /// assert_eq!(rows.strides(), [0, 3, 1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn strides(&self) -> &[isize] {
        &self.strides
    }

    /// Where element (0, 0, ..) lies.
    ///
    /// ```
    /// let second = calor::Layout::contiguous(&[2, 3]).select("select", 0, 1)?;
    /// assert_eq!(second.offset(), 3);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn offset(&self) -> isize {
        self.offset
    }

    /// Number of dimensions.
    ///
    /// ```
    /// assert_eq!(calor::Layout::contiguous(&[2, 3]).rank(), 2);
    /// ```
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    ///
    /// ```
    /// assert_eq!(calor::Layout::contiguous(&[2, 3]).numel(), 6);
    /// ```
    pub fn numel(&self) -> usize {
        numel(&self.shape)
    }

    /// Whether the elements lie row by row without gaps, wherever they start.
    ///
    /// ```
    /// let t = calor::Layout::contiguous(&[4, 3]);
    /// assert!(t.narrow("narrow", 0, 2, 2)?.is_contiguous() && !t.narrow("narrow", 1, 0, 2)?.is_contiguous());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn is_contiguous(&self) -> bool {
        let mut step = 1isize;
        for (&size, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if size == 0 {
                return true;
            }
            if size != 1 {
                if stride != step {
                    return false;
                }
                step = step.saturating_mul(size as isize);
            }
        }
        true
    }

    /// Whether it reads a storage of `n` elements as it stands: contiguous, from the start, all of it.
    ///
    /// ```
    /// let t = calor::Layout::contiguous(&[2, 3]);
    /// assert!(t.is_identity(6) && !t.is_identity(7));
    /// ```
    pub fn is_identity(&self, n: usize) -> bool {
        self.offset == 0 && self.numel() == n && self.is_contiguous()
    }

    /// Smallest and largest position of an element; meaningless without elements.
    ///
    /// ```
    /// let t = calor::Layout::contiguous(&[4, 3]).narrow("narrow", 0, 1, 2)?;
    /// assert_eq!(t.bounds(), (3, 8));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn bounds(&self) -> (isize, isize) {
        let (mut low, mut high) = (self.offset, self.offset);
        for (&size, &stride) in self.shape.iter().zip(&self.strides) {
            let reach = (size.max(1) as isize - 1).saturating_mul(stride);
            if reach < 0 {
                low = low.saturating_add(reach);
            } else {
                high = high.saturating_add(reach);
            }
        }
        (low, high)
    }

    /// Whether two indices may name the same element: what makes a view unfit to be written to.
    /// Exact for layouts made by views; strided ones that interleave are called overlapping.
    ///
    /// ```
    /// let t = calor::Layout::contiguous(&[1, 3]);
    /// assert!(!t.overlaps() && t.expand("expand", &[2, 3])?.overlaps());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn overlaps(&self) -> bool {
        let mut axes: SmallVec<[(usize, usize); 6]> = SmallVec::new();
        for (&size, &stride) in self.shape.iter().zip(&self.strides) {
            if size == 0 {
                return false;
            }
            if size > 1 {
                axes.push((stride.unsigned_abs(), size));
            }
        }
        axes.sort_unstable();
        let mut reach = 0usize;
        for (stride, size) in axes {
            if stride <= reach {
                return true;
            }
            reach = reach.saturating_add(stride.saturating_mul(size - 1));
        }
        false
    }

    /// Dimensions in another order.
    ///
    /// ```
    /// let t = calor::Layout::contiguous(&[2, 3, 4]).permute("permute", &[-1, 0, 1])?;
    /// assert_eq!((t.shape(), t.strides()), (&[4, 2, 3][..], &[1, 12, 4][..]));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn permute(&self, op: &str, order: &[isize]) -> Result<Self> {
        let order_of = crate::shape::dims(op, order, self.rank())?;
        if order.len() != self.rank() {
            bail!(Dim, op, "{} dimensions named for a tensor of {}", order.len(), self.rank());
        }
        Ok(self.permuted(&order_of))
    }

    /// `permute` by dimensions known to be a permutation.
    ///
    /// ```
    /// assert_eq!(calor::Layout::contiguous(&[2, 3]).permuted(&[1, 0]).shape(), [3, 2]);
    /// ```
    pub fn permuted(&self, order: &[usize]) -> Self {
        Self {
            shape: order.iter().map(|&d| self.shape[d]).collect(),
            strides: order.iter().map(|&d| self.strides[d]).collect(),
            offset: self.offset,
        }
    }

    /// Two dimensions swapped.
    ///
    /// ```
    /// assert_eq!(calor::Layout::contiguous(&[2, 3]).transpose(0, -1)?.strides(), [1, 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn transpose(&self, a: isize, b: isize) -> Result<Self> {
        let (a, b) = (check_dim("transpose", a, self.rank())?, check_dim("transpose", b, self.rank())?);
        let mut out = self.clone();
        if self.rank() > 0 {
            out.shape.swap(a, b);
            out.strides.swap(a, b);
        }
        Ok(out)
    }

    /// Sizes 1 repeated to `shape` with stride 0; new dimensions come in front.
    ///
    /// ```
    /// let t = calor::Layout::contiguous(&[3, 1]);
    /// assert_eq!(t.expand("expand", &[3, 5])?.strides(), [1, 0]);
    /// assert!(t.expand("expand", &[4, 5]).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn expand(&self, op: &str, shape: &[usize]) -> Result<Self> {
        if shape.len() < self.rank() {
            bail!(Shape, op, "cannot expand {:?} to the fewer dimensions of {shape:?}", self.shape);
        }
        checked_numel(op, shape)?;
        let lead = shape.len() - self.rank();
        let mut strides: Strides = SmallVec::from_elem(0, shape.len());
        for (i, (&size, &stride)) in self.shape.iter().zip(&self.strides).enumerate() {
            match shape[lead + i] {
                want if want == size => strides[lead + i] = stride,
                _ if size == 1 => {}
                want => bail!(
                    Shape,
                    op,
                    "cannot expand {:?} to {shape:?}: size {size} against {want} in dimension {}",
                    self.shape,
                    lead + i
                ),
            }
        }
        Ok(Self { shape: shape.into(), strides, offset: self.offset })
    }

    /// Elements `start`, `start + step`, .. of a dimension, `length` of them; the caller has checked the range.
    ///
    /// ```
    /// let t = calor::Layout::contiguous(&[10]).sliced(0, 1, 3, 2);
    /// assert_eq!(t.positions().collect::<Vec<_>>(), [1, 3, 5]);
    /// ```
    pub fn sliced(&self, dim: usize, start: usize, length: usize, step: isize) -> Self {
        let mut out = self.clone();
        if length > 0 && self.numel() > 0 {
            out.offset += start as isize * self.strides[dim];
        }
        out.shape[dim] = length;
        // the stride of one element or none is never walked
        out.strides[dim] = out.strides[dim].saturating_mul(step);
        out
    }

    /// `length` elements of a dimension from `start` on.
    ///
    /// ```
    /// let t = calor::Layout::contiguous(&[4, 3]).narrow("narrow", 0, -1, 1)?;
    /// assert_eq!((t.shape(), t.offset()), (&[1, 3][..], 9));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn narrow(&self, op: &str, dim: isize, start: isize, length: usize) -> Result<Self> {
        if self.rank() == 0 {
            bail!(Dim, op, "cannot be applied to a tensor without dimensions");
        }
        let d = check_dim(op, dim, self.rank())?;
        let size = self.shape[d] as isize;
        let from = if start < 0 { start + size } else { start };
        if start < -size || from > size {
            bail!(Index, op, "start {start} is out of range for dimension {d} of size {size}");
        }
        if length > (size - from) as usize {
            bail!(Index, op, "start {start} and length {length} exceed size {size} of dimension {d}");
        }
        Ok(self.sliced(d, from as usize, length, 1))
    }

    /// One element of a dimension, which disappears.
    ///
    /// ```
    /// let t = calor::Layout::contiguous(&[4, 3]).select("select", 1, 2)?;
    /// assert_eq!(t.positions().collect::<Vec<_>>(), [2, 5, 8, 11]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn select(&self, op: &str, dim: isize, index: isize) -> Result<Self> {
        if self.rank() == 0 {
            bail!(Dim, op, "cannot be applied to a tensor without dimensions");
        }
        let d = check_dim(op, dim, self.rank())?;
        let size = self.shape[d] as isize;
        if index < -size || index >= size {
            bail!(Index, op, "index {index} is out of range for dimension {d} of size {size}");
        }
        let mut out = self.sliced(d, if index < 0 { index + size } else { index } as usize, 1, 1);
        out.shape.remove(d);
        out.strides.remove(d);
        Ok(out)
    }

    /// A new dimension of size 1 before position `at` (0..=rank).
    ///
    /// ```
    /// assert_eq!(calor::Layout::contiguous(&[2, 3]).unsqueezed(1).shape(), [2, 1, 3]);
    /// ```
    pub fn unsqueezed(&self, at: usize) -> Self {
        // strides of one element or none are never walked, whatever they are
        let stride = if at < self.rank() { self.strides[at].saturating_mul(self.shape[at] as isize) } else { 1 };
        let mut out = self.clone();
        out.shape.insert(at, 1);
        out.strides.insert(at, stride);
        out
    }

    /// Without the dimensions of size 1 for which `drop` says so.
    ///
    /// ```
    /// assert_eq!(calor::Layout::contiguous(&[1, 3, 1]).squeezed(|d| d == 0).shape(), [3, 1]);
    /// ```
    pub fn squeezed(&self, drop: impl Fn(usize) -> bool) -> Self {
        let keep: SmallVec<[usize; 6]> = (0..self.rank()).filter(|&d| self.shape[d] != 1 || !drop(d)).collect();
        self.permuted(&keep)
    }

    /// Dimensions read backwards.
    ///
    /// ```
    /// let t = calor::Layout::contiguous(&[3]).flipped(&[0]);
    /// assert_eq!(t.positions().collect::<Vec<_>>(), [2, 1, 0]);
    /// ```
    pub fn flipped(&self, dims: &[usize]) -> Self {
        let mut out = self.clone();
        for &d in dims {
            if self.numel() > 0 {
                out.offset += (self.shape[d] as isize - 1) * self.strides[d];
            }
            out.strides[d] = self.strides[d].saturating_neg();
        }
        out
    }

    /// The same elements in the same order under another shape, where strides can say so; `None` too where the
    /// shape has another number of elements.
    ///
    /// ```
    /// let t = calor::Layout::contiguous(&[2, 3]);
    /// assert_eq!(t.reshape(&[6]).unwrap().strides(), [1]);
    /// // what was transposed needs a copy
    /// assert!(t.permuted(&[1, 0]).reshape(&[6]).is_none());
    /// ```
    pub fn reshape(&self, shape: &[usize]) -> Option<Self> {
        if numel(shape) != self.numel() {
            return None;
        }
        if self.numel() == 0 || self.is_contiguous() {
            return Some(Self { shape: shape.into(), strides: contiguous_strides(shape), offset: self.offset });
        }
        // runs of old dimensions that lie like one, matched against the new sizes from the right
        let mut strides: Strides = SmallVec::from_elem(0, shape.len());
        let mut new = shape.len();
        let mut old = self.rank();
        while old > 0 {
            let step = self.strides[old - 1];
            let mut run = self.shape[old - 1];
            old -= 1;
            while old > 0 && (self.shape[old - 1] == 1 || self.strides[old - 1] == step * run as isize || run == 1) {
                if run == 1 && self.shape[old - 1] != 1 {
                    break;
                }
                run *= self.shape[old - 1];
                old -= 1;
            }
            if run == 1 {
                continue;
            }
            let mut filled = 1;
            while filled < run {
                if new == 0 {
                    return None;
                }
                new -= 1;
                strides[new] = step * filled as isize;
                filled *= shape[new];
            }
            if filled != run {
                return None;
            }
        }
        // what is left are sizes of 1
        while new > 0 {
            new -= 1;
            strides[new] = if new + 1 < shape.len() { strides[new + 1] * shape[new + 1] as isize } else { 1 };
        }
        Some(Self { shape: shape.into(), strides, offset: self.offset })
    }

    /// Elements `(i, i + shift)` of two dimensions as a new last one.
    ///
    /// ```
    /// let t = calor::Layout::contiguous(&[3, 3]).diagonal("diagonal", 1, 0, 1)?;
    /// assert_eq!(t.positions().collect::<Vec<_>>(), [1, 5]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn diagonal(&self, op: &str, shift: isize, a: isize, b: isize) -> Result<Self> {
        if self.rank() < 2 {
            bail!(Dim, op, "needs two dimensions, got shape {:?}", self.shape);
        }
        let (a, b) = (check_dim(op, a, self.rank())?, check_dim(op, b, self.rank())?);
        if a == b {
            bail!(Dim, op, "dimensions must differ, got {a} twice");
        }
        let (rows, cols) = (self.shape[a] as isize, self.shape[b] as isize);
        let length = if shift >= 0 { rows.min(cols - shift) } else { (rows + shift).min(cols) }.max(0);
        let mut out = self.clone();
        if out.numel() > 0 && length > 0 {
            out.offset += if shift >= 0 { shift * self.strides[b] } else { -shift * self.strides[a] };
        }
        let stride = self.strides[a].saturating_add(self.strides[b]);
        for d in [a.max(b), a.min(b)] {
            out.shape.remove(d);
            out.strides.remove(d);
        }
        out.shape.push(length as usize);
        out.strides.push(stride);
        Ok(out)
    }

    /// Windows of `size` every `step` elements of a dimension, as a new last dimension.
    ///
    /// ```
    /// let t = calor::Layout::contiguous(&[5]).unfold("unfold", 0, 2, 1)?;
    /// assert_eq!((t.shape(), t.strides()), (&[4, 2][..], &[1, 1][..]));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn unfold(&self, op: &str, dim: isize, size: usize, step: usize) -> Result<Self> {
        let d = check_dim(op, dim, self.rank())?;
        let (length, stride) = if self.rank() == 0 { (1, 1) } else { (self.shape[d], self.strides[d]) };
        if size > length {
            bail!(Shape, op, "window of {size} exceeds size {length} of dimension {d}");
        }
        if step == 0 {
            bail!(Value, op, "step must be positive, got 0");
        }
        let mut out = self.clone();
        if self.rank() > 0 {
            out.shape[d] = (length - size) / step + 1;
            out.strides[d] = stride.saturating_mul(isize::try_from(step).unwrap_or(isize::MAX));
        }
        out.shape.push(size);
        out.strides.push(stride);
        // windows that overlap are more than there are elements
        checked_numel(op, &out.shape)?;
        Ok(out)
    }

    /// This layout applied to what `inner` shows, as one layout over `inner`'s storage.
    /// `None` where the step between neighbours is not constant.
    ///
    /// ```
    /// use calor::Layout;
    /// let inner = Layout::contiguous(&[2, 3]).permuted(&[1, 0]);
    /// let row = Layout::contiguous(&[3, 2]).select("select", 0, 1)?;
    /// assert_eq!(row.compose(&inner).unwrap().positions().collect::<Vec<_>>(), [1, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn compose(&self, inner: &Layout) -> Option<Self> {
        if inner.is_contiguous() {
            return Some(Self {
                shape: self.shape.clone(),
                strides: self.strides.clone(),
                offset: self.offset.saturating_add(inner.offset),
            });
        }
        if self.offset == 0 && self.is_contiguous() && self.numel() == inner.numel() {
            return inner.reshape(&self.shape);
        }
        if self.numel() == 0 {
            return Some(Self { shape: self.shape.clone(), strides: self.strides.clone(), offset: 0 });
        }
        // coordinates inside the inner sizes name a position once: where those of the first step of each dimension,
        // taken again and again, stay inside, they are the coordinates of every element
        let axes = merged(&inner.shape, &inner.strides);
        let mut flat: Strides = axes.iter().map(|&(size, _)| size as isize).collect();
        flat.iter_mut().rev().fold(1, |step, size| std::mem::replace(size, step) * step);
        let split = |mut position: isize| -> Strides {
            flat.iter()
                .map(|&f| {
                    let c = position.div_euclid(f);
                    position -= c * f;
                    c
                })
                .collect()
        };
        let start = split(self.offset);
        let mut reach: SmallVec<[(isize, isize); 6]> = start.iter().map(|&s| (s, s)).collect();
        let mut strides: Strides = SmallVec::from_elem(0, self.rank());
        for (d, (&size, &stride)) in self.shape.iter().zip(&self.strides).enumerate() {
            if size == 1 || stride == 0 {
                continue;
            }
            for (axis, next) in split(self.offset + stride).into_iter().enumerate() {
                let step = next - start[axis];
                strides[d] += step * axes[axis].1;
                let far = step * (size as isize - 1);
                let (low, high) = &mut reach[axis];
                *(if far < 0 { low } else { high }) += far;
            }
        }
        if reach.iter().zip(&axes).any(|(&(low, high), &(size, _))| low < 0 || high >= size as isize) {
            return None;
        }
        let offset = inner.offset + start.iter().zip(&axes).map(|(&c, &(_, s))| c * s).sum::<isize>();
        Some(Self { shape: self.shape.clone(), strides, offset })
    }

    /// The index of each element in storage order: what a slow exact reader walks. For tests and printing.
    ///
    /// ```
    /// let t = calor::Layout::contiguous(&[2, 2]).permuted(&[1, 0]);
    /// assert_eq!(t.positions().collect::<Vec<_>>(), [0, 2, 1, 3]);
    /// ```
    pub fn positions(&self) -> impl Iterator<Item = isize> + '_ {
        let mut index: SmallVec<[usize; 6]> = SmallVec::from_elem(0, self.rank());
        let mut left = self.numel();
        std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            left -= 1;
            let at = self.offset + index.iter().zip(&self.strides).map(|(&i, &s)| i as isize * s).sum::<isize>();
            for d in (0..self.rank()).rev() {
                index[d] += 1;
                if index[d] < self.shape[d] {
                    break;
                }
                index[d] = 0;
            }
            Some(at)
        })
    }
}

/// Sizes and strides of some axes, outermost first, with those that lie like one joined; sizes of 1 are gone.
pub(crate) fn merged(shape: &[usize], strides: &[isize]) -> SmallVec<[(usize, isize); 6]> {
    let mut axes: SmallVec<[(usize, isize); 6]> = SmallVec::new();
    for (&size, &stride) in shape.iter().zip(strides) {
        if size == 1 {
            continue;
        }
        match axes.last_mut() {
            Some((s, outer)) if *outer == stride * size as isize => {
                *s *= size;
                *outer = stride;
            }
            _ => axes.push((size, stride)),
        }
    }
    axes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshape_keeps_order_or_refuses() {
        let t = Layout::contiguous(&[2, 3, 4]);
        let p = t.permuted(&[1, 0, 2]);
        assert!(p.reshape(&[6, 4]).is_none());
        let r = p.reshape(&[3, 2, 2, 2]).unwrap();
        assert!(r.positions().eq(p.positions()));
        let s = Layout::contiguous(&[4, 6]).sliced(1, 1, 2, 2);
        assert!(s.reshape(&[2, 2, 1, 2]).unwrap().positions().eq(s.positions()));
    }

    #[test]
    fn compose_equals_two_reads() {
        let inner = Layout::contiguous(&[4, 6]).transpose(0, 1).unwrap();
        let outer = Layout::contiguous(&[6, 4]).sliced(0, 1, 3, 2).flipped(&[1]);
        let both = outer.compose(&inner).unwrap();
        let flat: Vec<isize> = inner.positions().collect();
        assert!(both.positions().eq(outer.positions().map(|p| flat[p as usize])));
    }

    #[test]
    fn steps_across_dimensions_compose() {
        // -1 is one step back in the second dimension and one on in the third
        let inner = Layout::contiguous(&[3]).expand("expand", &[2, 2, 3]).unwrap().permuted(&[0, 2, 1]);
        let outer = Layout { shape: [2, 2].as_slice().into(), strides: [6, -1].as_slice().into(), offset: 4 };
        let flat: Vec<isize> = inner.positions().collect();
        assert!(outer.compose(&inner).unwrap().positions().eq(outer.positions().map(|p| flat[p as usize])));
        // dimensions that lie like one are crossed
        let inner = Layout::contiguous(&[2, 3, 4]).narrow("narrow", 2, 0, 2).unwrap();
        let outer = Layout::contiguous(&[12]).sliced(0, 1, 4, 3);
        assert_eq!(outer.compose(&inner), None);
        let outer = Layout::contiguous(&[12]).sliced(0, 1, 3, 4);
        assert_eq!(outer.compose(&inner).unwrap().positions().collect::<Vec<_>>(), [1, 9, 17]);
    }

    #[test]
    fn overlap_is_seen() {
        assert!(Layout::contiguous(&[1, 3]).expand("expand", &[2, 3]).unwrap().overlaps());
        assert!(!Layout::contiguous(&[2, 3]).flipped(&[0]).overlaps());
        assert!(Layout::contiguous(&[5]).unfold("unfold", 0, 3, 1).unwrap().overlaps());
    }
}
