//! `Place`: which element a function computes, and where that element of a strided view lies.

use super::{Kernel, index::Ix, index::Scope};
use crate::dtype::DType;
use crate::error::Result;
use crate::layout::{Layout, merged};
use crate::shape::{Dims, numel};
use smallvec::SmallVec;

/// Number of a place within one function.
pub type PlaceId = usize;
/// One of the numbers by which a place is given.
type Group = (PlaceId, usize);

/// An element of a shape.
#[derive(Clone, Debug)]
pub struct Place {
    /// The shape.
    pub shape: Dims,
    /// How it is given.
    pub kind: Kind,
}

/// How a place is given.
#[derive(Clone, Debug)]
pub enum Kind {
    /// By coordinates that each stand for some dimensions, row by row.
    Groups(SmallVec<[(Ix, usize); 4]>),
    /// The element of `shape`, in row-by-row order, that a view shows at the parent place.
    Seen {
        /// The place of the view's element.
        parent: PlaceId,
        /// The view over `shape`'s elements; its shape is the parent's.
        layout: Layout,
    },
}

/// Places and what was computed for them, within one function.
#[derive(Debug, Default)]
pub struct Places {
    /// All places.
    pub list: Vec<Place>,
    coords: Vec<((Group, usize, usize, bool), Ix)>,
    quotients: Vec<((Group, usize, bool), Ix)>,
    flats: Vec<(PlaceId, Ix)>,
}

impl Places {
    /// Adds a place.
    pub fn add(&mut self, shape: &[usize], kind: Kind) -> PlaceId {
        self.list.push(Place { shape: shape.into(), kind });
        self.list.len() - 1
    }

    /// The place `flat` elements into `shape`; the same one if it was asked for before.
    pub fn at(&mut self, shape: &[usize], flat: &Ix) -> PlaceId {
        let same = |p: &Place| match &p.kind {
            Kind::Groups(g) => p.shape[..] == *shape && g.len() == 1 && g[0].0 == *flat && g[0].1 == shape.len(),
            Kind::Seen { .. } => false,
        };
        if let Some(id) = self.list.iter().position(same) {
            return id;
        }
        // never one that is seen: this is asked for where its view cannot be followed
        let known = |(id, ix): &&(PlaceId, Ix)| {
            let place = &self.list[*id];
            ix == flat && place.shape[..] == *shape && matches!(place.kind, Kind::Groups(_))
        };
        if let Some(&(id, _)) = self.flats.iter().find(known) {
            return id;
        }
        self.add(shape, Kind::Groups(SmallVec::from_iter([(flat.clone(), shape.len())])))
    }

    /// Notes a place's number in row-by-row order, which is known already.
    pub fn lies_at(&mut self, id: PlaceId, flat: &Ix) {
        if !self.flats.iter().any(|f| f.0 == id) {
            self.flats.push((id, flat.clone()));
        }
    }

    /// The place that a view shows at `parent`; the same one if it was asked for before.
    pub fn seen(&mut self, shape: &[usize], parent: PlaceId, layout: &Layout) -> PlaceId {
        let same = |p: &Place| match &p.kind {
            Kind::Seen { parent: q, layout: l } => p.shape[..] == *shape && *q == parent && l == layout,
            Kind::Groups(_) => false,
        };
        if let Some(id) = self.list.iter().position(same) {
            return id;
        }
        self.add(shape, Kind::Seen { parent, layout: layout.clone() })
    }
}

/// Invocations past the end compute places too, which are not used but must not look like others.
const MARGIN: usize = 1 << 16;

/// Factor `m` and shift `s` with `x / d = (x * m) >> 32 >> s` for all `x` below `extent`: the rounding error of
/// `m = 2^(31 + l) / d`, where `d <= 2^l`, stays below one part as long as `x < 2^31` (Granlund and Montgomery 1994).
fn reciprocal(d: usize, extent: usize) -> Option<(u32, u32)> {
    if !(2..=1 << 30).contains(&d) || extent + MARGIN > 1 << 31 {
        return None;
    }
    let l = d.next_power_of_two().trailing_zeros();
    let factor = (1u64 << (31 + l)) / d as u64 + 1;
    u32::try_from(factor).ok().map(|m| (m, l - 1))
}

impl Kernel<'_> {
    /// Where `layout`, whose shape is the place's, shows the place's element.
    pub(super) fn offset(
        &mut self,
        scope: &mut Scope,
        places: &mut Places,
        id: PlaceId,
        layout: &Layout,
    ) -> Result<Ix> {
        if let Some((_, flat)) = places.flats.iter().find(|f| f.0 == id)
            && layout.is_identity(numel(&places.list[id].shape))
        {
            return Ok(flat.clone());
        }
        match places.list[id].kind.clone() {
            Kind::Seen { parent, layout: seen } => {
                // one strided read instead of two, where strides can say so
                if let Some(both) = layout.reshape(&places.list[id].shape).and_then(|l| seen.compose(&l)) {
                    return self.offset(scope, places, parent, &both);
                }
                let flat = self.flat(scope, places, id)?;
                let at = places.at(&places.list[id].shape.clone(), &flat);
                self.offset(scope, places, at, layout)
            }
            Kind::Groups(groups) => {
                let mut sum = match layout.offset() {
                    0 => Ix::zero(),
                    o => Ix::scalar(self.number(o as u32), o % 4 == 0),
                };
                let mut from = 0;
                for (g, (ix, dims)) in groups.iter().enumerate() {
                    let axes = merged(&layout.shape()[from..from + dims], &layout.strides()[from..from + dims]);
                    let extent = numel(&layout.shape()[from..from + dims]);
                    from += dims;
                    let mut inner = extent;
                    for (position, &(size, stride)) in axes.iter().enumerate() {
                        inner /= size.max(1);
                        if stride == 0 {
                            continue;
                        }
                        let c = self.coordinate(scope, places, (id, g), ix, (position == 0, size, inner, extent))?;
                        let term = match stride {
                            1 => c,
                            s => {
                                let number = self.number(s as u32);
                                c.times(&number, s % 4 == 0)
                            }
                        };
                        sum = sum.add(&term);
                    }
                }
                Ok(scope.bind_ix(sum))
            }
        }
    }

    /// The place's number in row-by-row order.
    pub(super) fn flat(&mut self, scope: &mut Scope, places: &mut Places, id: PlaceId) -> Result<Ix> {
        if let Some((_, ix)) = places.flats.iter().find(|f| f.0 == id) {
            return Ok(ix.clone());
        }
        let shape = places.list[id].shape.clone();
        let ix = match places.list[id].kind.clone() {
            Kind::Groups(groups) if groups.len() == 1 => groups[0].0.clone(),
            Kind::Groups(_) => self.offset(scope, places, id, &Layout::contiguous(&shape))?,
            Kind::Seen { parent, layout } => self.offset(scope, places, parent, &layout)?,
        };
        places.flats.push((id, ix.clone()));
        Ok(ix)
    }

    /// The place's coordinate in dimension `d`.
    pub(super) fn coord(&mut self, scope: &mut Scope, places: &mut Places, id: PlaceId, d: usize) -> Result<Ix> {
        let shape = places.list[id].shape.clone();
        if shape[d] == 1 {
            return Ok(Ix::zero());
        }
        match places.list[id].kind.clone() {
            Kind::Groups(groups) => {
                let mut from = 0;
                for (g, (ix, dims)) in groups.iter().enumerate() {
                    if d < from + dims {
                        let group = &shape[from..from + dims];
                        let inner = numel(&group[d - from + 1..]);
                        let outermost = group[..d - from].iter().all(|&s| s == 1);
                        let how = (outermost, shape[d], inner, numel(group));
                        return self.coordinate(scope, places, (id, g), ix, how);
                    }
                    from += dims;
                }
                Ok(Ix::zero())
            }
            Kind::Seen { .. } => {
                let flat = self.flat(scope, places, id)?;
                let at = places.at(&shape, &flat);
                self.coord(scope, places, at, d)
            }
        }
    }

    /// `ix / inner % size` of a group of `extent` elements: the remainder falls away for the outermost axis, the
    /// quotient for the innermost.
    fn coordinate(
        &mut self,
        scope: &mut Scope,
        places: &mut Places,
        group: Group,
        ix: &Ix,
        (outermost, size, inner, extent): (bool, usize, usize, usize),
    ) -> Result<Ix> {
        if outermost && inner == 1 {
            return Ok(ix.clone());
        }
        // keyed by group too: two groups of one place may have equal sizes
        let key = (group, size, inner, outermost);
        if let Some((_, ix)) = places.coords.iter().find(|c| c.0 == key) {
            return Ok(ix.clone());
        }
        // four lanes within one row: only the innermost coordinate differs between them
        let together = inner.is_multiple_of(4) || inner == 1 && size.is_multiple_of(4);
        let lane = match ix {
            Ix::Linear { text, m4: true } if together => Ix::scalar(text.clone(), true),
            Ix::Linear { text, .. } => self.lanes(scope, places, group, text, extent),
            ix => ix.clone(),
        };
        let mut out = self.within(scope, places, group, &lane, (inner, extent))?;
        if !outermost {
            let outer = self.within(scope, places, group, &lane, (inner * size, extent))?;
            let n = self.number(size as u32);
            let text = format!("({} - {} * {n})", out.text(), outer.text());
            out = match (ix, out.is_four()) {
                (_, true) => Ix::Vec(text),
                (Ix::Linear { .. }, _) if inner == 1 => Ix::Linear { text, m4: true },
                _ => Ix::scalar(text, false),
            };
        }
        let out = scope.bind_ix(out);
        places.coords.push((key, out.clone()));
        Ok(out)
    }

    /// Four lanes of a group's number from `first` on, written once. Lanes past the end repeat the last element, so that no
    /// coordinate is out of range.
    fn lanes(&mut self, scope: &mut Scope, places: &mut Places, group: Group, first: &str, extent: usize) -> Ix {
        let key = (group, 1, true);
        if let Some((_, lanes)) = places.quotients.iter().find(|q| q.0 == key) {
            return lanes.clone();
        }
        let mut text = Ix::Linear { text: first.into(), m4: false }.text();
        if !extent.is_multiple_of(4) {
            text = format!("min({text}, vec4<u32>({}))", self.number(extent as u32 - 1));
        }
        let lanes = Ix::Vec(scope.bind(text));
        places.quotients.push((key, lanes.clone()));
        lanes
    }

    /// `ix / divisor` of a group's number `ix`, written once: the quotient of one coordinate is what the next one's
    /// remainder takes away.
    fn within(
        &mut self,
        scope: &mut Scope,
        places: &mut Places,
        group: Group,
        ix: &Ix,
        (divisor, extent): (usize, usize),
    ) -> Result<Ix> {
        let key = (group, divisor, ix.is_four());
        if let Some((_, quotient)) = places.quotients.iter().find(|q| q.0 == key) {
            return Ok(quotient.clone());
        }
        let quotient = self.quotient(scope, ix.clone(), divisor, extent)?;
        let quotient = scope.bind_ix(quotient);
        places.quotients.push((key, quotient.clone()));
        Ok(quotient)
    }

    /// `ix / divisor`, where `ix` is below `extent`: a product instead of a division, which few processors do fast.
    pub(super) fn quotient(&mut self, scope: &mut Scope, ix: Ix, divisor: usize, extent: usize) -> Result<Ix> {
        if divisor == 1 {
            return Ok(ix);
        }
        let Some((factor, shift)) = reciprocal(divisor, extent) else {
            let n = self.number(divisor as u32);
            return Ok(ix.over(&n));
        };
        let function = self.instances.call(None, "quotient", DType::U32, ix.is_four())?;
        let (factor, shift) = (self.number(factor), self.number(shift));
        let wide = |n: String| if ix.is_four() { format!("vec4<u32>({n})") } else { n };
        let text = scope.bind(format!("{function}({}, {}, {})", ix.text(), wide(factor), wide(shift)));
        Ok(if ix.is_four() { Ix::Vec(text) } else { Ix::scalar(text, false) })
    }
}

#[cfg(test)]
mod tests {
    use super::reciprocal;

    #[test]
    fn products_divide_exactly() {
        let mut x = 0x1234_5678u64;
        let mut next = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 33) as usize
        };
        let mut divisors: Vec<usize> =
            (2..2000).chain((0..30).flat_map(|b| [(1 << b) + 1, 1 << b, (1 << b) - 1])).collect();
        divisors.extend((0..2000).map(|_| next() >> 1));
        for d in divisors.into_iter().filter(|&d| d >= 2) {
            let (m, s) = reciprocal(d, (1 << 31) - super::MARGIN).unwrap();
            let last = (1usize << 31) - 1;
            let near = [0, 1, d - 1, d, d + 1, last / d * d, (last / d * d).saturating_sub(1), last];
            for x in near.into_iter().chain((0..20).map(|_| next())) {
                let x = x.min(last);
                assert_eq!(((x as u64 * u64::from(m)) >> 32 >> s) as usize, x / d, "{x} / {d}");
            }
        }
        assert!(reciprocal(3, 1 << 31).is_none());
    }
}
