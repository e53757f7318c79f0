//! Indexing: gathering and scattering by index tensors, masks, diagonals and triangles, and the `i(..)` method.
//!
//! Reading at computed places is a map and fuses like one. Writing to computed places is turned round: each
//! destination collects its sources in ascending order (`buckets`), so that results do not depend on the device.

mod buckets;
mod embedding;
mod expression;
mod gather;
mod mask;
mod reduce;
mod region;
mod scatter;

pub use embedding::{BagMode, EmbeddingBagOptions, EmbeddingLookup, embedding, embedding_bag};
pub use expression::{Ellipsis, IndexExpr, IndexItem, NewAxis, Slice};
pub use reduce::Reduce;

use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result, bail};
use crate::graph::{Body, IndexOp, Map, Param};
use crate::tensor::Tensor;
use std::sync::Arc;

/// A body with its host numbers.
#[derive(Default)]
struct Build {
    body: Body,
    params: Vec<Param>,
}

impl Build {
    /// A host number as a place.
    fn number(&mut self, n: isize) -> u16 {
        let known = self.params.iter().position(|p| matches!(p, Param::U32(v) if *v == n as u32));
        let k = known.unwrap_or_else(|| {
            self.params.push(Param::index(n));
            self.params.len() - 1
        });
        self.body.param(k)
    }

    /// A host number as a value.
    fn value(&mut self, n: f64, dtype: DType) -> u16 {
        self.params.push(Param::scalar(crate::dtype::Scalar::Float(n), dtype));
        self.body.value(self.params.len() - 1, dtype)
    }

    fn op(&mut self, op: IndexOp, a: u16, b: u16) -> u16 {
        self.body.index(op, a, b)
    }

    fn add(&mut self, a: u16, n: isize) -> u16 {
        let n = self.number(n);
        self.op(IndexOp::Add, a, n)
    }

    fn less(&mut self, a: u16, n: isize) -> u16 {
        let n = self.number(n);
        self.op(IndexOp::Lt, a, n)
    }

    fn at_most(&mut self, a: u16, n: isize) -> u16 {
        let n = self.number(n);
        self.op(IndexOp::Min, a, n)
    }

    fn div(&mut self, a: u16, n: usize) -> u16 {
        let n = self.number(n.max(1) as isize);
        self.op(IndexOp::Div, a, n)
    }

    fn rem(&mut self, a: u16, n: usize) -> u16 {
        let n = self.number(n.max(1) as isize);
        self.op(IndexOp::Rem, a, n)
    }

    /// Both of two truth values, of which the first may be missing.
    fn both(&mut self, a: Option<u16>, b: u16) -> u16 {
        a.map_or(b, |a| self.op(IndexOp::And, a, b))
    }

    /// An `i32` index as a place within `size`; with `wrap`, negative ones count from the end. One out of range is
    /// reported under `op`, and becomes a place in range.
    fn place(&mut self, op: &str, index: u16, dim: usize, size: usize, wrap: bool) -> u16 {
        let size = size as isize;
        let mut at = self.body.bits(DType::U32, index);
        if wrap {
            let back = self.add(at, size);
            let inside = self.less(at, size);
            at = self.body.select(inside, at, back);
        }
        let inside = self.less(at, size);
        let message = format!("an index is out of bounds for dimension {dim} with size {size}");
        self.params.push(Param::Fault(Arc::new(Error::new(ErrorKind::Index, op, message))));
        let at = self.body.guard(inside, at, self.params.len() - 1);
        self.at_most(at, size - 1)
    }

    /// The map as a tensor, without history.
    fn apply(self, name: &'static str, shape: &[usize], dtype: DType, inputs: &[&Tensor]) -> Result<Tensor> {
        let Some(first) = inputs.first() else { bail!(Value, name, "needs a tensor") };
        let map = Arc::new(Map { name: name.into(), body: self.body });
        Tensor::apply(map, first.device(), (shape, dtype), inputs, &self.params)
    }
}

/// An index tensor as `i32`, cut off from later writes; 64-bit values out of range stay out of range.
fn whole(op: &str, index: &Tensor) -> Result<Tensor> {
    match index.dtype() {
        DType::I32 => Ok(index.detach().snapshot()),
        DType::U32 => index.to_dtype(DType::I32),
        DType::I64 => index.clamp(i64::from(i32::MIN), i64::from(i32::MAX))?.to_dtype(DType::I32),
        other => bail!(DType, op, "expected an index tensor of dtype i32 or i64, got {other}"),
    }
}

/// `x` with one dimension where it has none.
fn at_least_1d(x: &Tensor) -> Result<Tensor> {
    if x.dim() == 0 { x.reshape([1]) } else { Ok(x.clone()) }
}

/// The numbers `0, 1, ..` as `i32` or `u32`.
fn iota(n: usize, dtype: DType, device: &crate::tensor::Device) -> Result<Tensor> {
    let mut body = Body::new();
    let flat = body.flat();
    if dtype == DType::I32 {
        body.bits(DType::I32, flat);
    }
    let map = Arc::new(Map { name: "iota".into(), body });
    Tensor::apply(map, device, (&[n], dtype), &[], &[])
}
