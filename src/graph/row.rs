//! `Row`: how the elements that folds join lie in rows. Pure arithmetic on layouts.

use crate::gpu::Facts;
use crate::layout::{Layout, merged};

/// Equally long rows of elements: element `k` of row `(outer, i)` is number `(outer * length + k) * inner + i`, the
/// row itself number `outer * inner + i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// How many rows.
    pub rows: usize,
    /// Elements of each; at least two.
    pub length: usize,
    /// Rows that lie side by side; not known before someone reads elements and rows together.
    pub inner: Option<usize>,
    /// Whether values of all rows are folded in the end, too; one workgroup then walks all rows.
    pub total: bool,
}

/// Elements of all rows that one workgroup walks by itself.
const TOTAL: usize = 1 << 14;

/// What a value of a row program has one element for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Each row.
    Row,
    /// Each element of each row.
    Element,
    /// All rows together.
    Total,
}

impl Level {
    /// The level among rows that are the elements of the row it had its level in.
    pub fn nested(self) -> Option<Level> {
        match self {
            Level::Element => Some(Level::Row),
            Level::Row => Some(Level::Total),
            Level::Total => None,
        }
    }
}

impl Row {
    /// Elements of all rows.
    pub fn numel(&self) -> usize {
        self.rows * self.length
    }

    /// Rows that lie side by side.
    pub fn inner(&self) -> usize {
        self.inner.unwrap_or(1)
    }

    /// Whether an invocation takes an element of each of four rows side by side.
    pub fn beside(&self) -> bool {
        self.inner().is_multiple_of(4)
    }

    /// Rows, or groups of four that are walked together.
    pub fn tasks(&self) -> usize {
        if self.beside() { self.rows / 4 } else { self.rows }
    }

    /// Whether elements can be written four at a time, which packed types need.
    pub fn by_four(&self) -> bool {
        self.beside() || self.inner() == 1 && self.length.is_multiple_of(4)
    }

    /// The level of a value with so many elements.
    pub fn level(&self, numel: usize) -> Option<Level> {
        match numel {
            n if n == self.rows => Some(Level::Row),
            n if n == self.numel() => Some(Level::Element),
            1 if self.total => Some(Level::Total),
            _ => None,
        }
    }

    /// Rows of both, if they can be the same.
    pub fn joined(&self, other: &Row) -> Option<Row> {
        let same = self.rows == other.rows && self.length == other.length;
        let inner = match (self.inner, other.inner) {
            (Some(a), Some(b)) if a != b => return None,
            (a, b) => a.or(b),
        };
        same.then_some(Row { inner, total: self.total || other.total, ..*self })
    }

    /// The rows, if `outer` is one row whose elements they are.
    pub fn nested(&self, outer: &Row) -> Option<Row> {
        let one = outer.rows == 1 && outer.length == self.rows && !outer.total;
        (one && self.numel() <= TOTAL).then_some(Row { total: true, ..*self })
    }

    fn with_inner(&self, inner: usize) -> Option<Row> {
        let fits = self.inner.is_none_or(|own| own == inner);
        fits.then_some(Row { inner: Some(inner), ..*self })
    }

    /// The rows, if `layout` shows every element the value of its row.
    pub fn spread(&self, layout: &Layout) -> Option<Row> {
        if layout.offset() != 0 || layout.numel() != self.numel() {
            return None;
        }
        let axes = merged(layout.shape(), layout.strides());
        let at = axes.iter().position(|&a| a == (self.length, 0))?;
        let inner = match axes[at + 1..] {
            [] => 1,
            [(size, 1)] => size,
            _ => return None,
        };
        let outer = match axes[..at] {
            [] => 1,
            [(size, stride)] if stride == inner as isize => size,
            _ => return None,
        };
        if outer * inner == self.rows { self.with_inner(inner) } else { None }
    }

    /// The rows, if a fold that reads through `layout`, whose first `keep` axes stay, joins each row's elements.
    pub fn folded(&self, layout: &Layout, keep: usize) -> Option<Row> {
        if layout.offset() != 0 || layout.numel() != self.numel() {
            return None;
        }
        let kept = merged(&layout.shape()[..keep], &layout.strides()[..keep]);
        let rest = merged(&layout.shape()[keep..], &layout.strides()[keep..]);
        let [(length, step)] = rest[..] else { return None };
        let inner = usize::try_from(step).ok()?;
        let beside = (inner, 1);
        let below = (self.rows.checked_div(inner)?, (length * inner) as isize);
        let fits = match kept[..] {
            [] => self.rows == 1 && inner == 1,
            [one] => one == if inner == 1 { below } else { beside } && (inner == 1 || inner == self.rows),
            [outer, one] => outer == below && one == beside,
            _ => false,
        };
        if fits && length == self.length { self.with_inner(inner) } else { None }
    }

    /// Where a shape's dimensions part: those before the elements of a row, and those up to their end.
    pub fn split(&self, shape: &[usize]) -> Option<(usize, usize)> {
        let inner = self.inner();
        let reach = |from: usize, wanted: usize| {
            let mut size = 1;
            (from..=shape.len()).find(|&d| {
                let here = size;
                size *= shape.get(d).copied().unwrap_or(1);
                here == wanted
            })
        };
        let a = reach(0, self.rows / inner)?;
        let b = reach(a, self.length)?;
        (shape[b..].iter().product::<usize>() == inner).then_some((a, b))
    }

    /// Whether one kernel does well at walking these rows: enough invocations, and few enough steps for each.
    pub fn is_fit(&self, facts: &Facts) -> bool {
        let cap = facts.max_loop_iterations.map_or(usize::MAX, |m| m as usize);
        let lanes = self.lanes(facts) as usize;
        // four elements of a row at a time, or one of each of four rows
        let walk = if self.inner() == 1 { self.length.div_ceil(4) } else { self.length };
        let busy = self.tasks() * lanes;
        let rounds = if self.total { busy.div_ceil(group(busy, facts) as usize) } else { 1 };
        let steps = rounds * walk.div_ceil(lanes);
        let (wanted, short) = if facts.is_cpu { (16, 512) } else { (1024, 64) };
        self.numel() < 1 << 31 && steps <= cap / 8 && (busy >= wanted && !self.total || steps <= short)
    }

    /// Invocations that share a row: neighbours read neighbours, which caches of a GPU want and a CPU does not need.
    pub fn lanes(&self, facts: &Facts) -> u32 {
        if self.inner() == 1 { lanes(self.length.next_multiple_of(4), facts) } else { 1 }
    }
}

/// Invocations of a workgroup that walks rows, at most.
///
/// ```
/// assert!(calor::graph::GROUP <= calor::gpu::Facts::portable().max_invocations);
/// ```
pub const GROUP: u32 = 64;

/// Invocations of a workgroup, where so many walk rows: a CPU's cores take a workgroup each.
///
/// ```
/// use calor::{gpu::Facts, graph::{GROUP, group}};
/// let (gpu, cpu) = (Facts::portable(), Facts { is_cpu: true, ..Facts::portable() });
/// assert_eq!((group(100, &gpu), group(100, &cpu)), (GROUP, GROUP / 4));
/// ```
pub fn group(invocations: usize, facts: &Facts) -> u32 {
    if facts.is_cpu && invocations < 1024 { GROUP / 4 } else { GROUP }
}

/// Invocations that share a contiguous row.
///
/// ```
/// use calor::{gpu::Facts, graph::lanes};
/// let (gpu, cpu) = (Facts::portable(), Facts { is_cpu: true, ..Facts::portable() });
/// assert_eq!((lanes(512, &gpu), lanes(8, &gpu), lanes(512, &cpu)), (32, 1, 1));
/// ```
pub fn lanes(length: usize, facts: &Facts) -> u32 {
    if facts.is_cpu { 1 } else { (length / 16).clamp(1, GROUP as usize).next_power_of_two() as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(rows: usize, length: usize) -> Row {
        Row { rows, length, inner: None, total: false }
    }

    #[test]
    fn views_that_spread_rows_are_known() {
        let view = |kept: &[usize], at: usize, shape: &[usize]| {
            Layout::contiguous(kept).unsqueezed(at).expand("", shape).unwrap()
        };
        assert_eq!(row(6, 5).spread(&view(&[2, 3], 2, &[2, 3, 5])).unwrap().inner, Some(1));
        assert_eq!(row(6, 5).spread(&view(&[2, 3], 1, &[2, 5, 3])).unwrap().inner, Some(3));
        assert_eq!(row(6, 5).spread(&view(&[2, 3], 0, &[5, 2, 3])).unwrap().inner, Some(6));
        assert_eq!(row(1, 5).spread(&view(&[], 0, &[5])).unwrap().inner, Some(1));
        // rows in another order, or of another length
        assert_eq!(row(6, 5).spread(&view(&[2, 3], 2, &[2, 3, 5]).transpose(0, 1).unwrap()), None);
        assert_eq!(row(6, 4).spread(&view(&[2, 3], 2, &[2, 3, 5])), None);
        let fixed = Row { inner: Some(3), ..row(6, 5) };
        assert_eq!(fixed.spread(&view(&[2, 3], 2, &[2, 3, 5])), None);
    }

    #[test]
    fn folds_of_adjacent_axes_are_known() {
        let t = Layout::contiguous(&[2, 5, 3]);
        assert_eq!(row(10, 3).folded(&t, 2).unwrap().inner, Some(1));
        assert_eq!(row(2, 15).folded(&t, 1).unwrap().inner, Some(1));
        assert_eq!(row(6, 5).folded(&t.permuted(&[0, 2, 1]), 2).unwrap().inner, Some(3));
        assert_eq!(row(15, 2).folded(&t.permuted(&[1, 2, 0]), 2).unwrap().inner, Some(15));
        assert_eq!(row(1, 30).folded(&t, 0).unwrap().inner, Some(1));
        // two axes with another one between them
        assert_eq!(row(5, 6).folded(&t.permuted(&[1, 0, 2]), 1), None);
        assert_eq!(row(6, 5).folded(&t.permuted(&[2, 0, 1]), 2), None);
    }

    #[test]
    fn shapes_part_at_rows() {
        let r = Row { inner: Some(3), ..row(6, 5) };
        assert_eq!(r.split(&[2, 5, 3]), Some((1, 2)));
        assert_eq!(r.split(&[1, 2, 5, 1, 3]), Some((2, 3)));
        assert_eq!(r.split(&[10, 3]), None);
        let r = Row { inner: Some(1), ..row(6, 4) };
        assert_eq!(r.split(&[2, 3, 2, 2]), Some((2, 4)));
        assert_eq!(r.split(&[24]), None);
        assert_eq!(row(1, 4).split(&[4]), Some((0, 1)));
    }
}
