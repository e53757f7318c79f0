//! In-place writing: a new value goes into the storage cell, and the history follows PyTorch's rules.

use super::Tensor;
use super::grad::{GradFn, Grads, is_grad_enabled, no_grad};
use super::slots::Cut;
use crate::dtype::{DType, Scalar};
use crate::error::{Result, bail};
use crate::graph::{Body, IndexOp, Map, Param};
use crate::layout::Layout;
use crate::shape::numel;
use smallvec::SmallVec;
use std::sync::Arc;

impl Tensor {
    /// Refuses what an in-place operation must not write to.
    pub(crate) fn check_writable(&self, op: &str) -> Result<()> {
        self.check_history(op)?;
        if self.layout().overlaps() {
            bail!(
                Value,
                op,
                "unsupported operation: more than one element of the written-to tensor refers to a single memory \
                 location, strides {:?} of shape {:?}; clone() the tensor before performing the operation",
                self.layout().strides(),
                self.shape()
            );
        }
        Ok(())
    }

    /// Refuses what must not change in place while gradients are recorded.
    pub(crate) fn check_history(&self, op: &str) -> Result<()> {
        if is_grad_enabled() {
            if self.known().is_some_and(|meta| meta.untracked) {
                bail!(
                    Autograd,
                    op,
                    "a view was created in no_grad mode and is being modified inplace with grad mode enabled; move \
                     both inside no_grad or both outside"
                );
            }
            let base = self.known().and_then(|meta| meta.view.as_ref().map(|v| v.base.clone()));
            if self.requires_grad() && self.is_leaf() {
                bail!(Autograd, op, "a leaf Variable that requires grad is being used in an in-place operation");
            }
            if base.is_some_and(|b| b.requires_grad() && b.is_leaf()) {
                bail!(
                    Autograd,
                    op,
                    "a view of a leaf Variable that requires grad is being used in an in-place operation"
                );
            }
        }
        Ok(())
    }

    /// An in-place operation: `make` computes the new elements from the old ones, out of place.
    ///
    /// The result must broadcast to nothing larger than this tensor, and its dtype must not be of a higher category.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0], ())?;
    /// x.modify("twice_", |x| x + x)?;
    /// assert_eq!(x.to_vec::<f32>()?, [2.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn modify(&self, op: &str, make: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        self.check_writable(op)?;
        let old = self.snapshot()?;
        // what is written keeps its dtype
        let _off = super::autocast::autocast_off();
        let mut new = make(&old)?;
        if Arc::strong_count(&new.0) > 1 {
            // others hold it: its history and its writes stay its own
            new = new.try_clone()?;
        }
        if new.shape() != self.shape() {
            bail!(
                Shape,
                op,
                "output with shape {:?} doesn't match the broadcast shape {:?}",
                &self.shape()[..],
                &new.shape()[..]
            );
        }
        if new.dtype().category() > self.dtype().category() {
            bail!(DType, op, "result type {} can't be cast to the desired output type {}", new.dtype(), self.dtype());
        }
        let mut new = new.to_dtype(self.dtype())?;
        if !new.requires_grad() {
            // a step function
            new = new.replacing(op, self);
        }
        self.write(&new)?;
        Ok(self.clone())
    }

    /// These elements, written over `old` whatever that was: its gradient is zero, and is there. (That of what a view
    /// shows is cut out by its base.)
    pub(crate) fn replacing(self, op: &str, old: &Tensor) -> Tensor {
        if !old.requires_grad() || old.meta().view.is_some() {
            return self;
        }
        let new = self.clone();
        let traced = new.requires_grad();
        self.with_grad(op, &[old, &new], |_| {
            move |g: &Tensor| {
                let zero = Tensor::zeros(g.shape(), (g.dtype(), g.device()))?;
                Ok(Grads::from_iter([Some(zero), traced.then(|| g.clone())]))
            }
        })
    }

    /// Puts `new`, of the same shape and dtype, in place of this tensor's elements, with `new`'s history.
    pub(crate) fn write(&self, new: &Tensor) -> Result<()> {
        new.check_like(self, "copy_", "what is written")?;
        let layout = self.layout();
        let whole = layout.is_identity(self.0.storage.numel());
        let traced = is_grad_enabled() && (new.requires_grad() || self.requires_grad());
        let base = self.known().and_then(|meta| meta.view.as_ref().map(|v| v.base.clone()));
        // the base's history before the write
        let before = base.as_ref().map(Tensor::snapshot_history);
        if whole && new.layout().is_identity(new.0.storage.numel()) {
            self.0.storage.replace(new.value()?);
            if new.requires_grad() {
                // its operation may have saved it
                new.0.storage.taken_by(&self.0.storage);
            }
        } else if whole {
            self.0.storage.replace(new.copy("copy_")?.value()?);
        } else if let Some(slot) = Cut::of(&layout, self.0.storage.numel()).filter(|c| c.0.pays(self.dtype().size())) {
            let value = new.in_order()?.value()?;
            self.0.storage.put(slot, value, |slots| slots.assembled(self.device()))?;
        } else {
            let old = self.alias(Layout::contiguous(&[self.0.storage.numel()]));
            let value = no_grad(|| old.with_region(&old.layout(), &layout, new))?.value()?;
            self.0.storage.replace(value);
        }
        let Some(base) = base else {
            if traced {
                let before = self.meta().grad_fn.clone();
                self.adopt_history(new);
                if new.grad_fn().is_none() {
                    self.set_grad_fn(None);
                }
                self.retain_from(before);
            }
            return Ok(());
        };
        // the base now comes from its old self and from what was written; this view, and every other one, from the
        // base
        if is_grad_enabled() && (new.requires_grad() || base.requires_grad()) {
            let outer = base.layout();
            let (shape, dtype, device) = (self.shape(), self.dtype(), self.device().clone());
            let edges = vec![before.and_then(|b| b.edge()), new.edge()];
            let rule = Box::new(move |g: &[Option<Tensor>]| {
                let Some(Some(g)) = g.first() else { return Ok(Grads::new()) };
                let zero = Tensor::zeros(&shape[..], (dtype, &device))?;
                let part = g.region(&outer, &layout)?;
                let rest = if outer.is_identity(g.numel()) && !is_grad_enabled() {
                    let rest = g.in_order()?.forked();
                    rest.alias(layout.clone()).write(&zero)?;
                    rest
                } else {
                    g.with_region(&outer, &layout, &zero)?
                };
                Ok(Grads::from_iter([Some(rest), Some(part)]))
            });
            let own = base.meta().grad_fn.clone();
            base.set_grad_fn(Some(GradFn::new("CopySlicesBackward", edges, 1, rule)));
            base.meta().output = 0;
            base.retain_from(own);
        }
        Ok(())
    }

    /// A stand-in with this tensor's history, for use as an edge.
    fn snapshot_history(&self) -> Tensor {
        let t = self.alias(self.layout());
        t.adopt_history(self);
        t
    }

    /// This tensor, whose elements stand for those of a storage seen through `outer`, with the elements that `inner`
    /// shows of that storage replaced by those of `new`. `inner` must not overlap itself.
    pub(crate) fn with_region(&self, outer: &Layout, inner: &Layout, new: &Tensor) -> Result<Tensor> {
        if inner.numel() == 0 {
            return Ok(self.clone());
        }
        // storage position of an element, then its coordinates in `inner`, largest stride first
        let mut params: Vec<Param> = Vec::new();
        let mut body = Body::new();
        let old = body.input(0);
        let number = |body: &mut Body, params: &mut Vec<Param>, n: isize| {
            params.push(Param::index(n));
            // params are few: their count bounds the rank
            body.param(params.len() - 1)
        };
        let mut position = number(&mut body, &mut params, outer.offset());
        for (d, &stride) in outer.strides().iter().enumerate() {
            let c = body.coord(d);
            let s = number(&mut body, &mut params, stride);
            let term = body.index(IndexOp::Mul, c, s);
            position = body.index(IndexOp::Add, position, term);
        }
        let low = number(&mut body, &mut params, inner.bounds().0);
        let mut rest = body.index(IndexOp::Sub, position, low);
        let mut order: Vec<usize> = (0..inner.rank()).filter(|&d| inner.shape()[d] != 1).collect();
        order.sort_by_key(|&d| std::cmp::Reverse(inner.strides()[d].unsigned_abs()));
        let zero = number(&mut body, &mut params, 0);
        let mut coords: SmallVec<[u16; 6]> = SmallVec::from_elem(zero, inner.rank());
        let mut inside = None;
        for d in order {
            let stride = inner.strides()[d];
            let step = number(&mut body, &mut params, stride.abs());
            let size = number(&mut body, &mut params, inner.shape()[d] as isize);
            let c = body.index(IndexOp::Div, rest, step);
            rest = body.index(IndexOp::Rem, rest, step);
            let fits = body.index(IndexOp::Lt, c, size);
            inside = Some(match inside {
                Some(i) => body.index(IndexOp::And, i, fits),
                None => fits,
            });
            let last = number(&mut body, &mut params, inner.shape()[d] as isize - 1);
            let c = body.index(IndexOp::Min, c, last);
            coords[d] = if stride < 0 { body.index(IndexOp::Sub, last, c) } else { c };
        }
        let exact = body.index(IndexOp::Eq, rest, zero);
        let inside = inside.map_or(exact, |i| body.index(IndexOp::And, i, exact));
        let replaced = body.load(1, &coords);
        body.select(inside, replaced, old);
        debug_assert_eq!(numel(inner.shape()), new.numel());
        let map = Arc::new(Map { name: "copy_slices".into(), body });
        let out = Tensor::apply(map, self.device(), (&self.shape(), self.dtype()), &[self, new], &params)?;
        let (outer, inner, shape) = (outer.clone(), inner.clone(), new.shape());
        Ok(out.with_grad("copy_slices", &[self, new], |_| {
            move |g: &Tensor| {
                let zero = Tensor::zeros(&shape[..], (g.dtype(), g.device()))?;
                let rest = g.with_region(&outer, &inner, &zero)?;
                Ok(Grads::from_iter([Some(rest), Some(g.region(&outer, &inner)?)]))
            }
        }))
    }

    /// The gradient of a tensor of this shape and layout, where this is that of what `inner` shows of its storage: the
    /// sum over all that show one element.
    pub(crate) fn spread(&self, (shape, outer): (&[usize], &Layout), inner: &Layout) -> Result<Tensor> {
        let kind = (self.dtype(), self.device());
        if !inner.overlaps() {
            return Tensor::zeros(shape, kind)?.with_region(outer, inner, self);
        }
        // broadcast dimensions are summed; windows that overlap are added by place
        let repeated = |d: &usize| inner.strides()[*d] == 0 && inner.shape()[*d] > 1;
        let dims: Vec<isize> = (0..inner.rank()).filter(repeated).map(|d| d as isize).collect();
        if !dims.is_empty() {
            let narrow = dims.iter().try_fold(inner.clone(), |l, &d| l.narrow("expand", d, 0, 1))?;
            return self.sum_dims(&dims, true)?.spread((shape, outer), &narrow);
        }
        let n = outer.bounds().1.max(inner.bounds().1) as usize + 1;
        let places = Tensor::arange(0, n as i64, 1, (DType::I32, self.device()))?.alias(inner.clone());
        let flat = Tensor::zeros([n], kind)?.index_add(
            0,
            &places.reshape([self.numel()])?,
            &self.reshape([self.numel()])?,
            Scalar::Int(1),
        )?;
        flat.region(&Layout::contiguous(&[n]), outer)
    }

    /// The elements that `inner` shows of the storage whose elements, seen through `outer`, this tensor holds.
    fn region(&self, outer: &Layout, inner: &Layout) -> Result<Tensor> {
        let seen = if outer.is_identity(self.numel()) {
            self.in_order()?.alias(inner.clone())
        } else {
            // put the elements where the storage has them, then look
            let high = outer.bounds().1.max(inner.bounds().1);
            let storage = Tensor::zeros(&[high as usize + 1][..], (self.dtype(), self.device()))?;
            no_grad(|| storage.with_region(&storage.layout(), outer, self))?.alias(inner.clone())
        };
        let (outer, inner, shape) = (outer.clone(), inner.clone(), self.shape());
        Ok(seen.with_grad("as_strided", &[self], |_| {
            move |g: &Tensor| {
                let zero = Tensor::zeros(&shape[..], (g.dtype(), g.device()))?;
                Ok(Grads::from_iter([Some(zero.with_region(&outer, &inner, g)?)]))
            }
        }))
    }
}
