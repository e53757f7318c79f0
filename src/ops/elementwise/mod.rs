//! Elementwise operations: a row each, with its gradient, in `unary`, `binary` and `activation`; what takes more
//! operands has a file of its own. Their WGSL functions stand in `shaders/map/` under `op_` and the same name.

mod activation;
mod alias;
mod binary;
mod blend;
mod cast;
mod clamp;
mod close;
mod divide;
mod fill;
mod power;
mod select;
mod unary;

pub use activation::Approximate;
pub use binary::{
    add, atan2, bitwise_and, bitwise_left_shift, bitwise_or, bitwise_right_shift, bitwise_xor, copysign, div, eq,
    floor_divide, fmax, fmin, fmod, gcd, ge, gt, heaviside, hypot, lcm, le, logaddexp, logaddexp2, logical_and,
    logical_or, logical_xor, lt, maximum, minimum, mul, ne, remainder, sub, xlog1py, xlogy,
};
pub use close::Tolerance;
pub use divide::Rounding;
pub use power::{float_power, pow};

use super::arg::{Arg, device_of, meet};
use crate::dtype::{Category, DType, Scalar};
use crate::error::{Result, bail};
use crate::graph::{Body, Map, Param, Primitive};
use crate::shape::{Dims, broadcast};
use crate::tensor::{Tensor, autocast};
use rustc_hash::FxHashMap as HashMap;
use smallvec::SmallVec;
use std::cell::RefCell;
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
    /// As [`Kind::Float`]; under autocast halves are computed and given as f32.
    Wide,
    /// As its operands, which must be floats.
    Real,
    /// As its operands, which must not be floats.
    Int,
    /// As its operands, which must be integers.
    Whole,
    /// A truth value.
    Truth,
    /// A truth value of truth values: operands are asked whether they are not zero.
    Logic,
}

impl Kind {
    /// What operands that meet in `dtype` are computed in, and what comes out.
    pub(crate) fn dtypes(self, op: &str, dtype: DType) -> Result<(DType, DType)> {
        let category = dtype.category();
        let refused = match self {
            Kind::Number => category == Category::Bool,
            Kind::Real => category != Category::Float,
            Kind::Int => category == Category::Float,
            Kind::Whole => category != Category::Int,
            _ => false,
        };
        if refused {
            bail!(DType, op, "is not supported for {dtype} tensors");
        }
        Ok(match self {
            Kind::Wide if autocast::autocast_dtype().is_some() => {
                (dtype.to_float().compute(), dtype.to_float().compute())
            }
            Kind::Float | Kind::Wide => (dtype.to_float(), dtype.to_float()),
            Kind::Truth => (dtype, DType::Bool),
            Kind::Logic => (DType::Bool, DType::Bool),
            _ => (dtype, dtype),
        })
    }
}

/// A row of the tables.
#[cfg(test)]
#[derive(Clone)]
pub(crate) struct Row {
    /// PyTorch's name.
    pub name: &'static str,
    /// Dtypes.
    pub kind: Kind,
    /// Whether it has a gradient.
    pub differentiable: bool,
}

/// An argument of a library function.
#[derive(Clone, Copy)]
pub(crate) enum Item<'a> {
    /// A tensor, read at the element's own place.
    Tensor(&'a Tensor),
    /// A host number, in the compute type of the first tensor.
    Number(Scalar),
}

impl<'a> From<&'a Tensor> for Item<'a> {
    fn from(t: &'a Tensor) -> Self {
        Item::Tensor(t)
    }
}

impl From<f64> for Item<'_> {
    fn from(n: f64) -> Self {
        Item::Number(Scalar::Float(n))
    }
}

impl From<Scalar> for Item<'_> {
    fn from(n: Scalar) -> Self {
        Item::Number(n)
    }
}

/// What tells one call of a library function from another: its name, how many arguments it has, which of them are numbers, a
/// bit each, and the numbers' dtype.
type Shape = (&'static str, usize, u32, Option<DType>);

/// The primitive of a library function; each is made once.
fn function(shape: Shape) -> Arc<dyn Primitive> {
    thread_local! {
        /// Those that this thread asked for: found without a lock.
        static OWN: RefCell<HashMap<Shape, Arc<Map>>> = RefCell::default();
    }
    let own = OWN.with(|own| own.borrow().get(&shape).cloned());
    own.unwrap_or_else(|| {
        let made = shared_function(shape);
        OWN.with(|own| own.borrow_mut().insert(shape, made.clone()));
        made
    })
}

/// The same for all threads.
fn shared_function(shape: Shape) -> Arc<Map> {
    static KNOWN: LazyLock<Mutex<HashMap<Shape, Arc<Map>>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let make = |(name, count, numbers, dtype): Shape| {
        let mut body = Body::new();
        let (mut inputs, mut params) = (0, 0);
        let mut args: SmallVec<[u16; 4]> = SmallVec::new();
        for number in (0..count).map(|k| numbers >> k & 1 == 1) {
            args.push(match (number, dtype) {
                (true, Some(dtype)) => body.value(params, dtype),
                _ => body.input(inputs),
            });
            *(if number { &mut params } else { &mut inputs }) += 1;
        }
        body.call(format!("op_{name}"), &args);
        Arc::new(Map { name: name.into(), body })
    };
    known.entry(shape).or_insert_with(|| make(shape)).clone()
}

/// The library function `name` of tensors that broadcast and of numbers, without history; the tensors are of one
/// compute type already. At least one argument must be a tensor.
pub(crate) fn call(name: &'static str, out: DType, items: &[Item<'_>]) -> Result<Tensor> {
    let tensors: SmallVec<[&Tensor; 3]> = items
        .iter()
        .filter_map(|i| match i {
            Item::Tensor(t) => Some(*t),
            Item::Number(_) => None,
        })
        .collect();
    let Some(first) = tensors.first() else {
        bail!(Value, name, "needs a tensor");
    };
    // half types are computed in f32, and so are the numbers they meet
    let dtype = first.dtype().compute();
    let params: SmallVec<[Param; 2]> = items
        .iter()
        .filter_map(|i| match i {
            Item::Number(n) => Some(Param::scalar(*n, dtype)),
            Item::Tensor(_) => None,
        })
        .collect();
    let number = |(k, item): (usize, &Item<'_>)| u32::from(matches!(item, Item::Number(_))) << k;
    let numbers = items.iter().enumerate().map(number).sum();
    let prim = function((name, items.len(), numbers, (!params.is_empty()).then_some(dtype)));
    let shape = first.shape();
    if tensors[1..].iter().all(|t| t.has_shape(&shape)) {
        return Tensor::apply(prim, first.device(), (&shape, out), &tensors, &params);
    }
    let mut shape = Dims::new();
    for t in &tensors {
        shape = broadcast(name, &shape, &t.shape())?;
    }
    let views: SmallVec<[Tensor; 3]> =
        tensors.iter().map(|t| Ok(t.alias(t.layout().expand(name, &shape)?))).collect::<Result<_>>()?;
    let views: SmallVec<[&Tensor; 3]> = views.iter().collect();
    Tensor::apply(prim, first.device(), (&shape, out), &views, &params)
}

/// A library function of tensors that broadcast, without history; they are of one dtype already.
pub(crate) fn map_n(name: &'static str, out: DType, inputs: &[&Tensor]) -> Result<Tensor> {
    let items: SmallVec<[Item<'_>; 3]> = inputs.iter().map(|t| Item::Tensor(t)).collect();
    call(name, out, &items)
}

/// The operand as a tensor of the dtype an operation computes in, and the dtype it gives.
pub(crate) fn operand(op: &str, kind: Kind, x: &Tensor) -> Result<(Tensor, DType)> {
    let (compute, out) = kind.dtypes(op, x.dtype())?;
    Ok((x.to_dtype(compute)?, out))
}

/// Both operands as tensors of the dtype an operation computes in, and the dtype it gives.
pub(crate) fn operands(op: &str, kind: Kind, a: Arg, b: Arg) -> Result<(Tensor, Tensor, DType)> {
    let (compute, out) = kind.dtypes(op, meet(&[&a, &b])?)?;
    let (a, b) = match (a, b) {
        (Arg::Tensor(a), Arg::Tensor(b)) => (a.into_dtype(compute)?, b.into_dtype(compute)?),
        // a number is not rounded to half precision before it is computed with
        (Arg::Tensor(a), b) => {
            let b = b.tensor(compute.compute(), a.device())?;
            (a.into_dtype(compute)?, b)
        }
        (a, Arg::Tensor(b)) => (a.tensor(compute.compute(), b.device())?, b.into_dtype(compute)?),
        (a, b) => {
            let device = device_of(&[])?;
            (a.tensor(compute.compute(), &device)?, b.tensor(compute.compute(), &device)?)
        }
    };
    Ok((a, b, out))
}

/// Zeros like a gradient: what a step function passes on.
pub(crate) fn zero(g: &Tensor) -> Result<Tensor> {
    Tensor::zeros(g.shape(), (g.dtype(), g.device()))
}

/// `g` where `cond` holds, else 0.
pub(crate) fn only(cond: &Tensor, g: &Tensor) -> Result<Tensor> {
    cond.where_(g, 0.0)
}

/// 0 where `cond` holds, else `g`.
pub(crate) fn except(cond: &Tensor, g: &Tensor) -> Result<Tensor> {
    cond.where_(0.0, g)
}

impl Tensor {
    /// A gradient as an operand of this shape and dtype gets it: summed over broadcast dimensions.
    pub(crate) fn fit(&self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        self.sum_to_size(shape)?.to_dtype(dtype)
    }

    /// Summed over broadcast dimensions back to `shape`: what a broadcast operand's gradient needs.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert_eq!(x.sum_to_size([1, 2])?.to_vec::<f32>()?, [4.0, 6.0]);
    /// assert!(x.sum_to_size([3]).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::library;

    /// Every row has its function in the library for every class of numbers it computes in.
    #[test]
    fn rows_have_functions() {
        let mut missing = Vec::new();
        for row in [unary::UNARY, binary::BINARY, activation::ACTIVATIONS].concat() {
            for dtype in [DType::F32, DType::F64, DType::I32, DType::I64, DType::U32, DType::Bool] {
                let Ok((compute, _)) = row.kind.dtypes(row.name, dtype) else { continue };
                let name = format!("op_{}", row.name);
                if library::library(compute).gives(&name).is_none() {
                    missing.push(format!("{name} for {compute}"));
                }
            }
            assert!(!row.differentiable || !matches!(row.kind, Kind::Truth | Kind::Logic | Kind::Int), "{}", row.name);
        }
        assert!(missing.is_empty(), "{missing:?}");
    }
}
