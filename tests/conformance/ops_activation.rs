//! Drivers of the family `activation`.

use crate::backend::one;
use crate::call::Failure;
use crate::drivers::Table;
use crate::ops_unary::unary;
use calor::Approximate;

/// Functions of one tensor alone.
pub const OPS: Table = unary! {
    "nn.functional.logsigmoid" => logsigmoid,
    "nn.functional.mish" => mish,
    "nn.functional.relu" => relu,
    "nn.functional.relu6" => relu6,
    "nn.functional.selu" => selu,
    "nn.functional.silu" => silu,
    "nn.functional.hardsigmoid" => hardsigmoid,
    "nn.functional.hardswish" => hardswish,
    "nn.functional.softsign" => softsign,
    "nn.functional.tanhshrink" => tanhshrink,
};

/// Functions with parameters.
pub const MORE: Table = &[
    ("nn.functional.elu", |c| {
        let alpha = c.float_or("alpha", 1.0)?;
        one(c.tensor(0)?.elu(alpha))
    }),
    ("nn.functional.celu", |c| {
        let alpha = c.float_or("alpha", 1.0)?;
        one(c.tensor(0)?.celu(alpha))
    }),
    ("nn.functional.gelu", |c| {
        let how = match c.str_or("approximate", "none")?.as_str() {
            "none" => Approximate::None,
            "tanh" => Approximate::Tanh,
            other => return Err(Failure::Argument(format!("no approximation {other}"))),
        };
        one(c.tensor(0)?.gelu(how))
    }),
    ("nn.functional.glu", |c| {
        let dim = c.int_or("dim", -1)?;
        one(c.tensor(0)?.glu(dim as isize))
    }),
    ("nn.functional.hardshrink", |c| {
        let lambda = c.float_or("lambd", 0.5)?;
        one(c.tensor(0)?.hardshrink(lambda))
    }),
    ("nn.functional.softshrink", |c| {
        let lambda = c.float_or("lambd", 0.5)?;
        one(c.tensor(0)?.softshrink(lambda))
    }),
    ("nn.functional.hardtanh", |c| {
        let (min, max) = (c.float_or("min_val", -1.0)?, c.float_or("max_val", 1.0)?);
        one(c.tensor(0)?.hardtanh(min, max))
    }),
    ("nn.functional.leaky_relu", |c| {
        let slope = c.float_or("negative_slope", 0.01)?;
        one(c.tensor(0)?.leaky_relu(slope))
    }),
    ("nn.functional.prelu", |c| {
        let weight = c.tensor("weight")?;
        one(c.tensor(0)?.prelu(&weight))
    }),
    ("nn.functional.softplus", |c| {
        let (beta, threshold) = (c.float_or("beta", 1.0)?, c.float_or("threshold", 20.0)?);
        one(c.tensor(0)?.softplus(beta, threshold))
    }),
    ("nn.functional.threshold", |c| {
        let (threshold, value) = (c.float("threshold")?, c.float("value")?);
        one(c.tensor(0)?.threshold(threshold, value))
    }),
];
