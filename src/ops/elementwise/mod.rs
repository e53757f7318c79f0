//! Elementwise operations: a row each, with its gradient, in `unary`, `binary` and `compare`. Their WGSL functions
//! stand in `shaders/map/` under `op_` and the same name.

mod binary;
mod cast;
mod select;
mod unary;

pub use binary::{BINARY, add, div, mul, remainder, sub};
pub use unary::UNARY;

use super::arg::{Arg, device_of, meet};
use crate::dtype::{Category, DType};
use crate::error::{Result, bail};
use crate::graph::{Body, Map, Primitive};
use crate::shape::{Dims, broadcast};
use crate::tensor::Tensor;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// How an operation chooses the dtypes it computes and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As its operands.
    Same,
    /// As its operands; bools are refused.
    Number,
    /// As its operands; integers and bools become floats.
    Float,
    /// As its operands, which must not be floats.
    Int,
    /// A truth value.
    Truth,
    /// A truth value of truth values: operands are asked whether they are not zero.
    Logic,
}

impl Kind {
    /// What operands that meet in `dtype` are computed in, and what comes out.
    fn dtypes(self, op: &str, dtype: DType) -> Result<(DType, DType)> {
        match self {
            Kind::Same => Ok((dtype, dtype)),
            Kind::Number if dtype == DType::Bool => bail!(DType, op, "is not supported for bool tensors"),
            Kind::Number => Ok((dtype, dtype)),
            Kind::Float => Ok((dtype.to_float(), dtype.to_float())),
            Kind::Int if dtype.category() == Category::Float => {
                bail!(DType, op, "is not supported for {dtype} tensors")
            }
            Kind::Int => Ok((dtype, dtype)),
            Kind::Truth => Ok((dtype, DType::Bool)),
            Kind::Logic => Ok((DType::Bool, DType::Bool)),
        }
    }
}

/// The primitive of a library function; each is made once.
pub(super) fn function(name: &'static str, inputs: usize) -> Arc<dyn Primitive> {
    type Known = Mutex<std::collections::HashMap<(&'static str, usize), Arc<Map>>>;
    static KNOWN: LazyLock<Known> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let map = known
        .entry((name, inputs))
        .or_insert_with(|| Arc::new(Map { name: name.into(), body: Body::call_all(format!("op_{name}"), inputs) }));
    map.clone()
}

/// A row of the tables: what a test walks.
pub struct Row {
    /// PyTorch's name.
    pub name: &'static str,
    /// Dtypes.
    pub kind: Kind,
    /// Whether it has a gradient.
    pub differentiable: bool,
}

/// A library function of one tensor, without history.
pub(crate) fn map1(name: &'static str, kind: Kind, x: &Tensor) -> Result<Tensor> {
    let (compute, out) = kind.dtypes(name, x.dtype())?;
    let x = x.to_dtype(compute)?;
    Tensor::apply(function(name, 1), x.device(), (&x.shape(), out), &[&x], &[])
}

/// A library function of tensors that broadcast, without history; they are of one dtype already.
pub(crate) fn map_n(name: &'static str, out: DType, inputs: &[&Tensor]) -> Result<Tensor> {
    let mut shape = Dims::new();
    for input in inputs {
        shape = broadcast(name, &shape, &input.shape())?;
    }
    let views: Vec<Tensor> =
        inputs.iter().map(|t| Ok(t.alias(t.layout().expand(name, &shape)?))).collect::<Result<_>>()?;
    let views: Vec<&Tensor> = views.iter().collect();
    Tensor::apply(function(name, inputs.len()), inputs[0].device(), (&shape, out), &views, &[])
}

/// Both operands as tensors of the dtype an operation computes in, and the dtype it gives.
pub(crate) fn operands(op: &str, kind: Kind, a: &Arg, b: &Arg) -> Result<(Tensor, Tensor, DType)> {
    let device = device_of(&[a, b])?;
    let (compute, out) = kind.dtypes(op, meet(&[a, b])?)?;
    Ok((a.tensor(compute, &device)?, b.tensor(compute, &device)?, out))
}

impl Tensor {
    /// Summed over broadcast dimensions back to `shape`: what a broadcast operand's gradient needs.
    pub fn sum_to_size(&self, shape: impl AsRef<[usize]>) -> Result<Tensor> {
        let (shape, own) = (shape.as_ref(), self.shape());
        if own[..] == *shape {
            return Ok(self.clone());
        }
        let Some(lead) = own.len().checked_sub(shape.len()) else {
            bail!(Shape, "sum_to_size", "size {shape:?} is not expandable to size {:?}", &own[..]);
        };
        let mut dims: Vec<isize> = (0..lead as isize).collect();
        for (d, &size) in shape.iter().enumerate() {
            match own[lead + d] {
                s if s == size => {}
                _ if size == 1 => dims.push((lead + d) as isize),
                _ => bail!(Shape, "sum_to_size", "size {shape:?} is not expandable to size {:?}", &own[..]),
            }
        }
        self.sum_dims(&dims, true)?.reshape(shape)
    }
}
