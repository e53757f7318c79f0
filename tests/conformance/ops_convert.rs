//! Drivers of dtype conversion and promotion.

use crate::backend::{arg, dt, dtype, one, op};
use crate::call::{Failure, Output};
use crate::drivers::Table;
use calor::{DType, Scalar};

/// Rows of conversions.
macro_rules! convert {
    ($($op:literal => $method:ident,)*) => {
        &[$(($op, |c| one(c.tensor(0)?.$method())),)*]
    };
}

/// Conversions to a fixed dtype.
pub const OPS: Table = convert! {
    "Tensor.bfloat16" => bfloat16,
    "Tensor.bool" => bool,
    "Tensor.double" => double,
    "Tensor.float" => float,
    "Tensor.half" => half,
    "Tensor.int" => int,
    "Tensor.long" => long,
};

/// Conversions by argument, and promotion.
pub const MORE: Table = &[
    ("Tensor.item", |c| {
        Ok(vec![match c.tensor("self")?.item_scalar().map_err(op)? {
            Scalar::Int(i) => Output::Int(i),
            Scalar::Float(f) => Output::Float(f),
            Scalar::Bool(b) => Output::Bool(b),
        }])
    }),
    ("Tensor.to", |c| {
        let x = c.tensor(0)?;
        one(match c.is_tensor(1) {
            true => x.type_as(&c.tensor(1)?),
            false => x.to(dtype(c.dtype(1)?)),
        })
    }),
    ("Tensor.type_as", |c| {
        let other = c.tensor("other")?;
        one(c.tensor("self")?.type_as(&other))
    }),
    ("promote_types", |c| {
        let (a, b) = (c.dtype(0)?, c.dtype(1)?);
        Ok(vec![Output::DType(dt(DType::promote(dtype(a), dtype(b))).map_err(Failure::Op)?)])
    }),
    ("result_type", |c| {
        let operands = [arg(c, 0)?.operand().map_err(op)?, arg(c, 1)?.operand().map_err(op)?];
        Ok(vec![Output::DType(dt(calor::dtype::result_type(&operands)).map_err(Failure::Op)?)])
    }),
];
