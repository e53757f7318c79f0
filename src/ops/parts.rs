//! Gradients of views that show parts of a tensor: put together, not summed among zeros, where there are many.

use super::join::cat;
use crate::error::Result;
use crate::layout::Layout;
use crate::shape::Dims;
use crate::tensor::Tensor;
use crate::tensor::grad::{GradFn, Grads, Outputs, Parts, Rule, is_grad_enabled};

/// Of so few parts, gradients are put among zeros; those of more are joined.
const FEW: usize = 2;

impl Tensor {
    /// Records that each of `views` shows the elements of this tensor that lie at its place in one stored row by row.
    pub(super) fn part_grads(&self, name: &str, views: &[Tensor], places: Vec<Layout>) {
        let Some(edge) = self.edge().filter(|_| is_grad_enabled() && self.dtype().is_float()) else { return };
        let (shape, inner) = (self.shape(), places.clone());
        let rule: Rule = Box::new(move |given| {
            let parts = given.iter().zip(&inner).filter_map(|(g, place)| Some((g.clone()?, place.clone())));
            Ok(Grads::from_iter([gathered(&shape, parts.collect())?]))
        });
        let parts = Parts { shape: self.shape(), places };
        let function = GradFn::make(name.into(), vec![Some(edge)], views.len(), (rule, false), Outputs::Parts(parts));
        views.iter().enumerate().for_each(|(i, view)| view.set_output_of(&function, i));
    }
}

/// A stretch of one dimension, and a gradient that has this dimension.
struct Stretch {
    start: usize,
    end: usize,
    gradient: Tensor,
}

/// The gradient of a tensor of a shape from those of parts of it, by their places in one stored row by row; `None`
/// where there are none.
pub(crate) fn gathered(shape: &[usize], parts: Vec<(Tensor, Layout)>) -> Result<Option<Tensor>> {
    let Some((one, _)) = parts.first() else { return Ok(None) };
    let zeros = Tensor::zeros(shape, (one.dtype(), one.device()))?;
    let whole = Layout::contiguous(shape);
    let mut along: Vec<Vec<Stretch>> = shape.iter().map(|_| Vec::new()).collect();
    let mut all = Vec::new();
    for (g, place) in parts.into_iter().filter(|part| part.1.numel() > 0) {
        match stretch(&whole, &place) {
            Some((d, start, end)) => {
                let gradient = if place.rank() < shape.len() { g.unsqueeze(d as isize)? } else { g };
                along[d].push(Stretch { start, end, gradient });
            }
            None => all.push(zeros.with_region(&whole, &place, &g)?),
        }
    }
    for (d, stretches) in along.into_iter().enumerate() {
        for layer in layers(stretches) {
            if layer.len() > FEW {
                all.push(joined(layer, (shape, d), &zeros)?);
                continue;
            }
            // what does not overlap needs no sum
            let mut placed = zeros.clone();
            for s in layer {
                placed = placed.with_region(&whole, &whole.sliced(d, s.start, s.end - s.start, 1), &s.gradient)?;
            }
            all.push(placed);
        }
    }
    let sum = all.into_iter().map(Ok).reduce(|sum, g: Result<Tensor>| sum?.add(&g?));
    Ok(Some(sum.transpose()?.unwrap_or(zeros)))
}

/// Which dimension of `whole` a place takes a stretch of, all of the others, and which: `(dim, start, end)`.
fn stretch(whole: &Layout, place: &Layout) -> Option<(usize, usize, usize)> {
    let shape = whole.shape();
    (0..shape.len()).find_map(|d| {
        let stride = whole.strides()[d];
        let start = usize::try_from(place.offset() / stride.max(1)).ok().filter(|&at| at < shape[d])?;
        let length = if place.rank() < shape.len() { 1 } else { place.shape()[d] };
        let taken = whole.sliced(d, start, length.min(shape[d] - start), 1);
        let same = if place.rank() < shape.len() { taken.squeezed(|k| k == d) == *place } else { taken == *place };
        same.then_some((d, start, start + length))
    })
}

/// Stretches in as few groups as their overlaps allow, each in order.
fn layers(mut all: Vec<Stretch>) -> Vec<Vec<Stretch>> {
    all.sort_by_key(|s| s.start);
    let mut out: Vec<Vec<Stretch>> = Vec::new();
    for s in all {
        match out.iter_mut().find(|layer| layer.last().is_none_or(|last| last.end <= s.start)) {
            Some(layer) => layer.push(s),
            None => out.push(vec![s]),
        }
    }
    out
}

/// Stretches that lie one after the other along a dimension, with zeros between.
fn joined(layer: Vec<Stretch>, (shape, dim): (&[usize], usize), zeros: &Tensor) -> Result<Tensor> {
    let mut all: Vec<Tensor> = Vec::new();
    let gap = |from: usize, to: usize| {
        let mut sizes = Dims::from_slice(shape);
        sizes[dim] = to - from;
        Tensor::zeros(&sizes[..], (zeros.dtype(), zeros.device()))
    };
    let mut at = 0;
    for s in layer {
        if s.start > at {
            all.push(gap(at, s.start)?);
        }
        at = s.end;
        all.push(s.gradient);
    }
    if at < shape[dim] {
        all.push(gap(at, shape[dim])?);
    }
    cat(&all.iter().collect::<Vec<_>>(), dim as isize)
}
