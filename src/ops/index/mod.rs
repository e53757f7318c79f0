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

use super::build::Build;
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::graph::{Body, Map};
use crate::tensor::Tensor;
use std::sync::Arc;

/// An index tensor as `i32`, cut off from later writes; 64-bit values out of range stay out of range.
pub(crate) fn whole(op: &str, index: &Tensor) -> Result<Tensor> {
    match index.dtype() {
        DType::I32 => index.detach().snapshot(),
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
