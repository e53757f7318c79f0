//! Writes to equal parts of a storage, one after the other, as loops over times make them: kept apart until somebody
//! reads across them.

use super::pack::{PARTS, side_by_side};
use super::{Device, Tensor};
use crate::error::Result;
use crate::graph::{Input, Value, part_align};
use crate::layout::Layout;
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// So many slots are kept apart at most: each is a buffer of its own.
const MOST: usize = 1024;
/// Slots of fewer bytes are written at once where there are more than that.
const SMALL: usize = 64;

/// A storage of elements `[outer, count, inner]`, cut along `count`: a slot is `[outer, inner]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    outer: usize,
    count: usize,
    inner: usize,
}

impl Cut {
    /// How a layout cuts a storage of `numel` elements if it shows just a slot, in order; and which.
    pub fn of(layout: &Layout, numel: usize) -> Option<(Self, usize)> {
        // sizes and strides of what lies apart, from the last
        let mut groups: SmallVec<[(usize, usize); 4]> = SmallVec::new();
        for (&size, &stride) in layout.shape().iter().zip(layout.strides()).rev().filter(|d| *d.0 != 1) {
            let stride = usize::try_from(stride).ok().filter(|&s| s > 0 && size > 0)?;
            match groups.last_mut() {
                Some((all, step)) if *all * *step == stride => *all *= size,
                _ => groups.push((size, stride)),
            }
        }
        let (outer, inner, step) = match groups[..] {
            [] => (1, 1, numel),
            [(inner, 1)] => (1, inner, numel),
            [(outer, step)] => (outer, 1, step),
            [(inner, 1), (outer, step)] => (outer, inner, step),
            _ => return None,
        };
        let offset = usize::try_from(layout.offset()).ok()?;
        let fits = outer.checked_mul(step)? == numel && offset < step;
        let whole = step.is_multiple_of(inner) && offset.is_multiple_of(inner);
        let cut = Self { outer, count: step / inner, inner };
        (fits && whole && cut.count > 1).then_some((cut, offset / inner))
    }

    /// Whether slots of elements of so many bytes are worth keeping apart.
    pub fn pays(&self, size: usize) -> bool {
        self.count <= MOST || self.outer * self.inner * size >= SMALL
    }

    /// So many slots from one on, `[outer, slots, inner]`.
    fn place(&self, slot: usize, slots: usize) -> Result<Layout> {
        let strides = [(self.count * self.inner) as isize, self.inner as isize, 1];
        Layout::strided("copy_slices", &[self.outer, slots, self.inner], &strides, (slot * self.inner) as isize)
    }
}

/// A value and what was written to slots of it since.
#[derive(Clone)]
pub(super) struct Slots {
    cut: Cut,
    base: Value,
    given: BTreeMap<usize, Value>,
}

impl Slots {
    pub fn new(cut: Cut, base: Value) -> Self {
        Self { cut, base, given: BTreeMap::new() }
    }

    /// Writes to a slot; not where the cut is another.
    pub fn put(&mut self, cut: Cut, slot: usize, value: Value) -> bool {
        if self.cut != cut {
            return false;
        }
        self.given.insert(slot, value);
        true
    }

    /// Whether it should not get any longer.
    pub fn is_full(&self) -> bool {
        self.given.len() >= MOST
    }

    /// What a layout that stays within a slot reads.
    pub fn look(&self, layout: &Layout, numel: usize) -> Option<Input> {
        if let Some((cut, slot)) = Cut::of(layout, numel)
            && cut == self.cut
        {
            return Some(match self.given.get(&slot) {
                Some(value) => Input::whole(value, layout.shape()),
                None => Input { value: self.base.clone(), layout: layout.clone() },
            });
        }
        if self.cut.outer > 1 || layout.numel() == 0 {
            return None;
        }
        let (low, high) = layout.bounds();
        let (slot, last) = (low as usize / self.cut.inner, high as usize / self.cut.inner);
        let Some(value) = self.given.get(&slot).filter(|_| slot == last) else {
            let free = self.given.range(slot..=last).next().is_none();
            return free.then(|| Input { value: self.base.clone(), layout: layout.clone() });
        };
        let start = layout.offset() - (slot * self.cut.inner) as isize;
        let layout = Layout::strided("copy_slices", layout.shape(), layout.strides(), start).ok()?;
        Some(Input { value: value.clone(), layout })
    }

    /// All of it as one value.
    pub fn assembled(self, device: &Device) -> Result<Value> {
        let Self { cut, base, given } = self;
        let size = base.spec.numel();
        let mut flat = Tensor::from_value(device, base).alias(Layout::contiguous(&[size]));
        // with room between them they are read through one binding
        let (bytes, align) = ((cut.outer * cut.inner * flat.dtype().size()) as u64, part_align(device.facts()));
        let room = bytes.next_multiple_of(align).saturating_mul(cut.count as u64);
        // of a small share of a large storage the rest is not copied
        let many = given.len() > PARTS && (given.len() > 4 * PARTS || given.len() * 8 > cut.count);
        if many && (bytes.is_multiple_of(align) || room <= device.facts().max_binding_bytes) {
            let mut parts = Vec::with_capacity(given.len());
            let mut at = 0;
            for (&slot, value) in &given {
                if slot > at {
                    parts.push(flat.alias(cut.place(at, slot - at)?));
                }
                let layout = Layout::contiguous(&[cut.outer, 1, cut.inner]);
                parts.push(Tensor::from_value(device, value.clone()).alias(layout));
                at = slot + 1;
            }
            if at < cut.count {
                parts.push(flat.alias(cut.place(at, cut.count - at)?));
            }
            if let Some(whole) = side_by_side(&parts, 1)? {
                return whole.value();
            }
        }
        for (slot, value) in given {
            let new = Tensor::from_value(device, value).alias(Layout::contiguous(&[cut.outer, 1, cut.inner]));
            flat = flat.with_region(&Layout::contiguous(&[size]), &cut.place(slot, 1)?, &new)?;
        }
        flat.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_what_select_and_narrow_show() -> Result<()> {
        let whole = Layout::contiguous(&[3, 4, 5]);
        let cut = |layout: Result<Layout>| Ok::<_, crate::Error>(Cut::of(&layout?, 60));
        let of = |outer, count, inner, slot| Some((Cut { outer, count, inner }, slot));
        assert_eq!(cut(whole.select("select", 0, 2))?, of(1, 3, 20, 2));
        assert_eq!(cut(whole.select("select", 1, 3))?, of(3, 4, 5, 3));
        assert_eq!(cut(whole.narrow("narrow", 1, 2, 2))?, of(3, 2, 10, 1));
        assert_eq!(cut(whole.select("select", 2, 1))?, of(12, 5, 1, 1));
        assert_eq!(cut(whole.select("select", 0, 1)?.select("select", 0, 1))?, of(1, 12, 5, 5));
        // all of it, an odd stretch, some of the rows, turned, backwards, nothing
        assert_eq!(Cut::of(&whole, 60), None);
        assert_eq!(cut(whole.narrow("narrow", 1, 1, 2))?, None);
        assert_eq!(cut(whole.narrow("narrow", 0, 0, 2)?.select("select", 1, 1))?, None);
        assert_eq!(cut(whole.select("select", 0, 1)?.transpose(0, 1))?, None);
        assert_eq!(cut(whole.select("select", 0, 1).map(|l| l.flipped(&[0])))?, None);
        assert_eq!(cut(whole.narrow("narrow", 0, 0, 0))?, None);
        Ok(())
    }
}
