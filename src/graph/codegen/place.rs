//! `Place`: which element a function computes, and where that element of a strided view lies.

use super::{Kernel, index::Ix, index::Scope};
use crate::layout::Layout;
use crate::shape::{Dims, numel};
use smallvec::SmallVec;

/// Number of a place within one function.
pub type PlaceId = usize;

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
    coords: Vec<((PlaceId, usize, usize, bool), Ix)>,
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
        self.add(shape, Kind::Groups(SmallVec::from_iter([(flat.clone(), shape.len())])))
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

/// Dimensions of one group, outermost first, with those that lie like one joined; sizes of 1 are gone.
fn merge(shape: &[usize], strides: &[isize]) -> SmallVec<[(usize, isize); 6]> {
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

impl Kernel<'_> {
    /// Where `layout`, whose shape is the place's, shows the place's element.
    pub(super) fn offset(&mut self, scope: &mut Scope, places: &mut Places, id: PlaceId, layout: &Layout) -> Ix {
        match places.list[id].kind.clone() {
            Kind::Seen { parent, layout: seen } => {
                // one strided read instead of two, where strides can say so
                if let Some(both) = layout.reshape(&places.list[id].shape).and_then(|l| seen.compose(&l)) {
                    return self.offset(scope, places, parent, &both);
                }
                let flat = self.flat(scope, places, id);
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
                    let axes = merge(&layout.shape()[from..from + dims], &layout.strides()[from..from + dims]);
                    let extent = numel(&layout.shape()[from..from + dims]);
                    from += dims;
                    let mut inner = extent;
                    for (position, &(size, stride)) in axes.iter().enumerate() {
                        inner /= size.max(1);
                        if stride == 0 {
                            continue;
                        }
                        let c = self.coordinate(scope, places, (id, g), ix, (position == 0, size, inner, extent));
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
                scope.bind_ix(sum)
            }
        }
    }

    /// The place's number in row-by-row order.
    pub(super) fn flat(&mut self, scope: &mut Scope, places: &mut Places, id: PlaceId) -> Ix {
        if let Some((_, ix)) = places.flats.iter().find(|f| f.0 == id) {
            return ix.clone();
        }
        let shape = places.list[id].shape.clone();
        let ix = match places.list[id].kind.clone() {
            Kind::Groups(groups) if groups.len() == 1 => groups[0].0.clone(),
            Kind::Groups(_) => self.offset(scope, places, id, &Layout::contiguous(&shape)),
            Kind::Seen { parent, layout } => self.offset(scope, places, parent, &layout),
        };
        places.flats.push((id, ix.clone()));
        ix
    }

    /// The place's coordinate in dimension `d`.
    pub(super) fn coord(&mut self, scope: &mut Scope, places: &mut Places, id: PlaceId, d: usize) -> Ix {
        let shape = places.list[id].shape.clone();
        if shape[d] == 1 {
            return Ix::zero();
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
                Ix::zero()
            }
            Kind::Seen { .. } => {
                let flat = self.flat(scope, places, id);
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
        (id, group): (PlaceId, usize),
        ix: &Ix,
        (outermost, size, inner, extent): (bool, usize, usize, usize),
    ) -> Ix {
        if outermost && inner == 1 {
            return ix.clone();
        }
        // keyed by group too: two groups of one place may have equal sizes
        let key = (id * 16 + group, size, inner, outermost);
        if let Some((_, ix)) = places.coords.iter().find(|c| c.0 == key) {
            return ix.clone();
        }
        let out = match ix {
            // four lanes within one row: only the innermost coordinate differs between them
            Ix::Linear { text, m4: true } if inner == 1 && size % 4 == 0 => {
                let s = self.number(size as u32);
                Ix::Linear { text: format!("({text} % {s})"), m4: true }
            }
            Ix::Linear { text, m4: true } if inner % 4 == 0 => {
                let n = self.number(inner as u32);
                let quotient = Ix::scalar(format!("({text} / {n})"), false);
                self.wrap(quotient, outermost, size)
            }
            ix => {
                let mut out = match ix {
                    // lanes past the end repeat the last element, so that no coordinate is out of range
                    Ix::Linear { text, .. } if extent % 4 != 0 => {
                        let last = self.number(extent as u32 - 1);
                        let lanes = Ix::Linear { text: text.clone(), m4: false }.text();
                        Ix::Vec(format!("min({lanes}, vec4<u32>({last}))"))
                    }
                    ix => ix.clone(),
                };
                if inner != 1 {
                    let n = self.number(inner as u32);
                    out = out.binary("/", &n);
                }
                self.wrap(out, outermost, size)
            }
        };
        let out = scope.bind_ix(out);
        places.coords.push((key, out.clone()));
        out
    }

    fn wrap(&mut self, ix: Ix, outermost: bool, size: usize) -> Ix {
        if outermost {
            return ix;
        }
        let s = self.number(size as u32);
        ix.binary("%", &s)
    }
}
