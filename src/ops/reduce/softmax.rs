//! The softmax family: computed without history, each with one gradient rule.

use super::{GROUP, count, keep_dims, lanes};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::graph::library::{compute, scalar, shader};
use crate::graph::{Load, LowerCx, Lowering, Primitive, Prologue, Store, Template};
use crate::no_grad;
use crate::ops::elementwise::except;
use crate::shape::{dim as check_dim, numel};
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;
use std::sync::Arc;

/// Softmax, or its logarithm, along dimension `d`, in one kernel.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Softmax {
    d: usize,
    log: bool,
}

impl Primitive for Softmax {
    fn name(&self) -> &str {
        if self.log { "log_softmax" } else { "softmax" }
    }

    fn lower(&self, cx: &LowerCx<'_>) -> Result<Lowering> {
        let layout = &cx.inputs[0].layout;
        let (shape, rank) = (layout.shape(), layout.rank());
        let (length, inner) = (shape[self.d], numel(&shape[self.d + 1..]));
        let rows = numel(&shape[..self.d]) * inner;
        let four = self.d + 1 == rank && layout.strides()[self.d] == 1;
        let whole = four && length.is_multiple_of(4);
        let lanes = if inner == 1 { lanes(length, cx.facts) } else { 1 };
        let dtype = cx.output.dtype;
        let ty = compute(dtype);
        let (coords, pair) = (vec![self.d, 1, rank - self.d - 1], vec![self.d, 1]);
        let mut loads = Vec::new();
        let mut stores = Vec::new();
        if four {
            loads.push(Load { name: "load4", input: 0, coords: pair.clone(), lanes: Some(1), dtype });
        }
        if whole {
            stores.push(Store { name: "store4", coords: pair, lanes: true });
        } else {
            stores.push(Store { name: "store", coords: coords.clone(), lanes: false });
        }
        loads.push(Load { name: "load", input: 0, coords, lanes: None, dtype });
        let lowest = if ty == DType::F64 { "f64(bitcast<f32>(p_lowest))" } else { "bitcast<f32>(p_lowest)" };
        Ok(Lowering::Template(Template {
            name: "softmax",
            source: shader!("softmax.wgsl"),
            types: vec![("T", scalar(ty).to_string()), ("LOWEST", lowest.to_string())],
            consts: vec![
                ("GROUP", GROUP),
                ("LANES", lanes),
                ("FOUR", u32::from(four)),
                ("WHOLE", u32::from(whole)),
                ("LOG", u32::from(self.log)),
            ],
            calls: vec![
                ("larger", "op_maximum", ty),
                ("larger4", "op_maximum", ty),
                ("power", "op_exp", ty),
                ("power4", "op_exp", ty),
                ("logarithm", "op_log", ty),
            ],
            loads,
            stores,
            params: vec![
                ("rows", rows as u32),
                ("inner", inner as u32),
                ("length", length as u32),
                ("lowest", f32::NEG_INFINITY.to_bits()),
            ],
            groups: (rows * lanes as usize).div_ceil(GROUP as usize) as u32,
            prologue: Prologue::Free,
            work: 32 * (rows * length) as u64,
        }))
    }
}

/// Softmax of a float tensor, or its logarithm, without history.
fn forward(x: &Tensor, dim: isize, log: bool) -> Result<Tensor> {
    let x = x.detach();
    let shape = x.shape();
    let length = if shape.is_empty() { 1 } else { shape[check_dim("softmax", dim, shape.len())?] };
    let rows = numel(&shape) / length.max(1);
    // a row is walked by one workgroup, on a CPU by one invocation: few long ones are better cut into parts
    let facts = x.device().facts();
    let cap = facts.max_loop_iterations.unwrap_or(u32::MAX) as usize / 4;
    let short = if facts.is_cpu { 1 << 11 } else { 1 << 14 };
    if !shape.is_empty() && length <= cap && (length <= short || rows >= 256) {
        let d = check_dim("softmax", dim, shape.len())?;
        return Tensor::apply(Arc::new(Softmax { d, log }), x.device(), (&shape, x.dtype()), &[&x], &[]);
    }
    let x = x.sub(&x.amax(&[dim], true)?)?;
    let e = x.exp()?;
    let sum = e.sum_dims(&[dim], true)?;
    if log { x.sub(&sum.log()?) } else { e.div(&sum) }
}

impl Tensor {
    /// `e^x / sum(e^x)` over a dimension; floats only.
    ///
    /// ```
    /// let t = calor::Tensor::zeros([1, 4], ())?;
    /// assert_eq!(t.softmax(-1)?.to_vec::<f32>()?, [0.25; 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn softmax(&self, dim: isize) -> Result<Tensor> {
        let Some(x) = self.softmax_input("softmax", dim)? else { return self.try_clone() };
        let out = forward(&x, dim, false)?;
        let out = out.with_grad("softmax", &[&x], |r| {
            let y = r.output();
            move |g: &Tensor| {
                let y = y.get()?;
                let gy = g.mul(&y)?;
                Ok(Grads::from_iter([Some(gy.sub(&y.mul(&gy.sum_dims(&[dim], true)?)?)?)]))
            }
        });
        out.to_dtype(self.dtype())
    }

    /// `softmax(-x)`: `torch.nn.functional.softmin`.
    pub fn softmin(&self, dim: isize) -> Result<Tensor> {
        self.neg()?.softmax(dim)
    }

    /// The logarithm of [`Tensor::softmax`], computed without overflow.
    pub fn log_softmax(&self, dim: isize) -> Result<Tensor> {
        let Some(x) = self.softmax_input("log_softmax", dim)? else { return self.try_clone() };
        let out = forward(&x, dim, true)?;
        let out = out.with_grad("log_softmax", &[&x], |r| {
            let y = r.output();
            move |g: &Tensor| {
                let sum = g.sum_dims(&[dim], true)?;
                Ok(Grads::from_iter([Some(g.sub(&y.get()?.exp()?.mul(&sum)?)?)]))
            }
        });
        out.to_dtype(self.dtype())
    }

    /// The input in the dtype it is computed in; nothing where there is nothing to compute.
    fn softmax_input(&self, op: &str, dim: isize) -> Result<Option<Tensor>> {
        if !self.dtype().is_float() {
            bail!(DType, op, "is not implemented for {}", self.dtype());
        }
        check_dim(op, dim, self.dim())?;
        if self.numel() == 0 {
            return Ok(None);
        }
        self.to_dtype(self.dtype().compute()).map(Some)
    }

    /// `log(sum(e^x))` over some dimensions, all if none is named, without overflow; integers give floats.
    pub fn logsumexp(&self, dims: &[isize], keepdim: bool) -> Result<Tensor> {
        let dtype = self.dtype().to_float();
        let x = self.to_dtype(dtype.compute())?;
        let rank = x.dim();
        if count("logsumexp", &x, dims)? == 0 {
            return x.exp()?.sum_dims(dims, keepdim)?.log()?.to_dtype(dtype);
        }
        let out = no_grad(|| {
            let max = x.amax(dims, true)?;
            // infinite ones would give inf - inf
            let shift = except(&max.isinf()?, &max)?;
            let out = x.sub(&shift)?.exp()?.sum_dims(dims, true)?.log()?.add(&shift)?;
            let shape = x.amax(dims, keepdim)?.shape();
            out.reshape(&shape)
        })?;
        let dims = dims.to_vec();
        let out = out.with_grad("logsumexp", &[&x], |r| {
            let (x, y) = (r.save(&x), r.output());
            move |g: &Tensor| {
                let y = keep_dims("logsumexp", &y.get()?, &dims, rank, keepdim)?;
                let g = keep_dims("logsumexp", g, &dims, rank, keepdim)?;
                let share = except(&y.isneginf()?, &x.get()?.sub(&y)?.exp()?)?;
                Ok(Grads::from_iter([Some(share.mul(&g)?)]))
            }
        });
        out.to_dtype(dtype)
    }
}
