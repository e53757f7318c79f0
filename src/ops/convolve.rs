//! Convolution and its two gradients. Each is a matrix product one side of which reads windows of a tensor as it is, so
//! that no copy of them is stored, and the three are each other's gradients: any order comes out of them.

use super::window::{Windows, at_once, by_images};
use crate::error::{Result, bail};
use crate::no_grad;
use crate::shape::{Dims, numel};
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;

/// Products that a gradient of weights is cut into, at least, where there are as many images: fewer would leave
/// processors idle.
const BUSY_CPU: usize = 8;
const BUSY: usize = 512;

impl Windows {
    /// The convolution of `[n, in, sizes..]` with `[out, in / groups, kernel..]`, plus a bias `[out]`; shapes were
    /// checked.
    pub fn convolve(
        &self,
        op: &'static str,
        (x, weight, bias): (&Tensor, &Tensor, Option<&Tensor>),
        groups: usize,
    ) -> Result<Tensor> {
        let y = self.forward(op, x, weight, groups)?;
        let Some(bias) = bias else { return Ok(y) };
        let mut channel = Dims::from_elem(1, self.kernel.len() + 1);
        channel[0] = weight.shape()[0];
        y.add(&bias.reshape(&channel)?)
    }

    fn forward(&self, op: &'static str, x: &Tensor, weight: &Tensor, groups: usize) -> Result<Tensor> {
        let (own, w) = (x.shape(), weight.shape());
        let counts = self.count(op, &own[2..])?;
        let y = no_grad(|| {
            let rows = weight.reshape([groups, w[0] / groups, numel(&w[1..])])?;
            let (depth, length) = (numel(&w[1..]), numel(&counts));
            by_images(x, numel(&[groups, depth, length]), |x| {
                let n = x.size(0)?;
                let columns = self.unfold(op, x, 0.0)?.reshape([n, groups, depth, length])?;
                let shape: Dims = [n, w[0]].into_iter().chain(counts.iter().copied()).collect();
                rows.matmul(&columns)?.reshape(&shape)
            })
        })?;
        let windows = self.clone();
        Ok(y.with_grad(op, &[x, weight], |r| {
            let for_x = x.requires_grad().then(|| r.save(weight));
            let for_weight = weight.requires_grad().then(|| r.save(x));
            move |g: &Tensor| {
                let gx = for_x.as_ref().map(|w| windows.transposed(op, g, &w.get()?, &own[2..], groups));
                let gw = for_weight.as_ref().map(|x| windows.weights(op, &x.get()?, g, &w, groups));
                Ok(Grads::from_iter([gx.transpose()?, gw.transpose()?]))
            }
        }))
    }

    /// The transposed convolution, `[n, out, counts..]` to `[n, in, sizes..]`: what each input place gives to all
    /// windows, the other way.
    pub fn transposed(
        &self,
        op: &'static str,
        g: &Tensor,
        weight: &Tensor,
        sizes: &[usize],
        groups: usize,
    ) -> Result<Tensor> {
        let (own, w) = (g.shape(), weight.shape());
        let (n, inputs) = (own[0], w[1] * groups);
        let mut shape = Dims::from_slice(&[n, inputs]);
        shape.extend_from_slice(sizes);
        let y = no_grad(|| {
            if own.contains(&0) || w.contains(&0) || shape.contains(&0) {
                return Tensor::zeros(&shape[..], (g.dtype(), g.device()));
            }
            let (kernel, each) = (numel(&w[2..]), w[0] / groups);
            let rows = weight.reshape([groups, each, w[1], kernel])?.transpose(1, 2)?;
            let rows = rows.reshape([groups, w[1], each * kernel])?;
            by_images(&g.detach(), numel(&[w[0], kernel, numel(sizes)]), |g| {
                let n = g.size(0)?;
                let spread = self.spread(op, g, (2, false), sizes)?;
                let columns = spread.reshape([n, groups, each * kernel, numel(sizes)])?;
                let mut shape = shape.clone();
                shape[0] = n;
                rows.matmul(&columns)?.reshape(&shape)
            })
        })?;
        let windows = self.clone();
        Ok(y.with_grad(op, &[g, weight], |r| {
            let for_g = g.requires_grad().then(|| r.save(weight));
            let for_weight = weight.requires_grad().then(|| r.save(g));
            move |v: &Tensor| {
                // windows that reached past the sizes are none of the forward direction's
                let counts = &own[2..];
                let gg = for_g.as_ref().map(|w| windows.forward(op, v, &w.get()?, groups)?.shrunk(counts));
                let gw = for_weight.as_ref().map(|g| windows.weights(op, v, &g.get()?, &w, groups));
                Ok(Grads::from_iter([gg.transpose()?, gw.transpose()?]))
            }
        }))
    }

    /// The gradient of weights of shape `w`: of each of their elements, the products of what it met in `x`,
    /// `[n, in, sizes..]`, with `g`, `[n, out, counts..]`.
    fn weights(&self, op: &'static str, x: &Tensor, g: &Tensor, w: &[usize], groups: usize) -> Result<Tensor> {
        let (own, gs) = (x.shape(), g.shape());
        let y = no_grad(|| {
            if own.contains(&0) || gs.contains(&0) || w.contains(&0) {
                return Tensor::zeros(w, (x.dtype(), x.device()));
            }
            let most = at_once(numel(&[groups, numel(&w[1..]), numel(&gs[2..])]));
            let mut sum: Option<Tensor> = None;
            for (x, g) in x.split(most, 0)?.iter().zip(&g.split(most, 0)?) {
                let part = self.weights_of_some(op, x, g, w, groups)?;
                sum = Some(match sum {
                    Some(sum) => sum.add(&part)?,
                    None => part,
                });
            }
            // half types are rounded once, after the sum
            let Some(sum) = sum else { bail!(Shape, op, "there are no images") };
            sum.to_dtype(x.dtype())
        })?;
        let windows = self.clone();
        Ok(y.with_grad(op, &[x, g], |r| {
            let for_x = x.requires_grad().then(|| r.save(g));
            let for_g = g.requires_grad().then(|| r.save(x));
            move |v: &Tensor| {
                let gx = for_x.as_ref().map(|g| windows.transposed(op, &g.get()?, v, &own[2..], groups));
                let gg = for_g.as_ref().map(|x| windows.forward(op, &x.get()?, v, groups)?.shrunk(&gs[2..]));
                Ok(Grads::from_iter([gx.transpose()?, gg.transpose()?]))
            }
        }))
    }

    /// [`Windows::weights`] of some images, in the type that is computed in, without history.
    fn weights_of_some(&self, op: &'static str, x: &Tensor, g: &Tensor, w: &[usize], groups: usize) -> Result<Tensor> {
        let gs = g.shape();
        let (n, each, depth, length) = (gs[0], w[0] / groups, numel(&w[1..]), numel(&gs[2..]));
        let wide = x.dtype().compute();
        let columns = self.unfold_some(op, &x.to_dtype(wide)?, 0.0, &gs[2..])?;
        // one product over all images, or a few sums of some
        let busy = if x.device().facts().is_cpu { BUSY_CPU } else { BUSY };
        let tiles = groups * each.div_ceil(32) * depth.div_ceil(32);
        let parts = (1..=n).find(|p| n.is_multiple_of(*p) && p * tiles >= busy).unwrap_or(n);
        let images = n / parts;
        let rows = g.to_dtype(wide)?.reshape([parts, images, groups, each, length])?.permute(&[0, 2, 3, 1, 4])?;
        let rows = rows.reshape([parts, groups, each, images * length])?;
        let columns = columns.reshape([parts, images, groups, depth, length])?.permute(&[0, 2, 1, 4, 3])?;
        let columns = columns.reshape([parts, groups, images * length, depth])?;
        rows.matmul(&columns)?.sum_dims(&[0], false)?.reshape(w)
    }
}

impl Tensor {
    /// The first `sizes` of the last dimensions.
    fn shrunk(&self, sizes: &[usize]) -> Result<Tensor> {
        let lead = self.dim() - sizes.len();
        sizes.iter().enumerate().try_fold(self.clone(), |t, (d, &size)| {
            if t.shape()[lead + d] == size { Ok(t) } else { t.narrow((lead + d) as isize, 0, size) }
        })
    }
}
