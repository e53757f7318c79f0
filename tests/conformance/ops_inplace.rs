//! Drivers of pointwise operations in place.

use crate::backend::{arg, arg_opt, one};
use crate::drivers::Table;
use crate::ops_binary::{factor, rounding};
use crate::ops_unary::unary;
use calor::Scalar;

/// Functions of one tensor alone.
pub const OPS: Table = unary! {
    "Tensor.abs_" => abs_,
    "Tensor.exp_" => exp_,
    "Tensor.floor_" => floor_,
    "Tensor.log_" => log_,
    "Tensor.logical_not_" => logical_not_,
    "Tensor.neg_" => neg_,
    "Tensor.reciprocal_" => reciprocal_,
    "Tensor.relu_" => relu_,
    "Tensor.rsqrt_" => rsqrt_,
    "Tensor.sigmoid_" => sigmoid_,
    "Tensor.sqrt_" => sqrt_,
    "Tensor.square_" => square_,
    "Tensor.tanh_" => tanh_,
    "Tensor.zero_" => zero_,
};

/// Rows of functions of a tensor and an operand.
macro_rules! binary {
    ($($op:literal => $method:ident,)*) => {
        &[$(($op, |c| {
            let other = arg(c, 1)?;
            one(c.tensor(0)?.$method(other))
        }),)*]
    };
}

/// Functions of a tensor and an operand.
pub const BINARY: Table = binary! {
    "Tensor.bitwise_and_" => bitwise_and_,
    "Tensor.eq_" => eq_,
    "Tensor.floor_divide_" => floor_divide_,
    "Tensor.fmod_" => fmod_,
    "Tensor.mul_" => mul_,
    "Tensor.pow_" => pow_,
    "Tensor.remainder_" => remainder_,
};

/// The others.
pub const MORE: Table = &[
    ("Tensor.add_", |c| {
        let (x, other) = (c.tensor("self")?, arg(c, "other")?);
        one(match factor(c, "alpha")? {
            Some(alpha) => x.add_alpha_(other, alpha),
            None => x.add_(other),
        })
    }),
    ("Tensor.sub_", |c| {
        let (x, other) = (c.tensor("self")?, arg(c, "other")?);
        one(match factor(c, "alpha")? {
            Some(alpha) => x.sub_alpha_(other, alpha),
            None => x.sub_(other),
        })
    }),
    ("Tensor.div_", |c| {
        let (x, other) = (c.tensor("self")?, arg(c, "other")?);
        one(match rounding(c)? {
            Some(mode) => x.div_mode_(other, mode),
            None => x.div_(other),
        })
    }),
    ("Tensor.addcmul_", |c| {
        let (x, a, b) = (c.tensor("self")?, c.tensor("tensor1")?, c.tensor("tensor2")?);
        let value = factor(c, "value")?.unwrap_or(Scalar::Int(1));
        one(x.addcmul_(&a, &b, value))
    }),
    ("Tensor.addcdiv_", |c| {
        let (x, a, b) = (c.tensor("self")?, c.tensor("tensor1")?, c.tensor("tensor2")?);
        let value = factor(c, "value")?.unwrap_or(Scalar::Int(1));
        one(x.addcdiv_(&a, &b, value))
    }),
    ("Tensor.clamp_", |c| {
        let x = c.tensor("self")?;
        let (min, max) = (arg_opt(c, "min")?, arg_opt(c, "max")?);
        one(match (min, max) {
            (Some(min), Some(max)) => x.clamp_(min, max),
            (Some(min), None) => x.clamp_min_(min),
            (None, Some(max)) => x.clamp_max_(max),
            (None, None) => Err(calor::Error::new(calor::ErrorKind::Value, "clamp_", "needs min or max")),
        })
    }),
    ("Tensor.copy_", |c| {
        let x = c.tensor(0)?;
        c.ignore("non_blocking");
        one(match c.is_tensor(1) {
            true => x.copy_(&c.tensor(1)?),
            false => x.fill_(arg(c, 1)?),
        })
    }),
    ("Tensor.fill_", |c| {
        let value = arg(c, "value")?;
        one(c.tensor("self")?.fill_(value))
    }),
    ("Tensor.lerp_", |c| {
        let (x, end, weight) = (c.tensor("self")?, c.tensor("end")?, arg(c, "weight")?);
        one(x.lerp_(&end, weight))
    }),
    ("Tensor.masked_fill_", |c| {
        let (x, mask, value) = (c.tensor("self")?, c.tensor("mask")?, arg(c, "value")?);
        one(x.masked_fill_(&mask, value))
    }),
    ("Tensor.nan_to_num_", |c| {
        let (nan, high, low) = (c.float_opt("nan")?, c.float_opt("posinf")?, c.float_opt("neginf")?);
        one(c.tensor("self")?.nan_to_num_(nan, high, low))
    }),
    ("Tensor.round_", |c| {
        let x = c.tensor("self")?;
        one(match c.int_opt("decimals")? {
            Some(d) => x.round_decimals_(d as i32),
            None => x.round_(),
        })
    }),
];
