//! Drivers of the family `binary`.

use crate::backend::{arg, many, one, op, operand, scalar};
use crate::call::{Call, Failure, Output};
use crate::drivers::{Table, Tensor};
use calor::{Rounding, Scalar, Tolerance};

/// Rows of functions of two operands, tensors or numbers.
macro_rules! binary {
    ($($op:literal => $function:ident,)*) => {
        &[$(($op, |c| {
            let (a, b) = (arg(c, 0)?, arg(c, 1)?);
            one(calor::$function(a, b))
        }),)*]
    };
}

/// Functions of two operands.
pub const OPS: Table = binary! {
    "atan2" => atan2,
    "bitwise_and" => bitwise_and,
    "bitwise_left_shift" => bitwise_left_shift,
    "bitwise_or" => bitwise_or,
    "bitwise_right_shift" => bitwise_right_shift,
    "bitwise_xor" => bitwise_xor,
    "copysign" => copysign,
    "eq" => eq,
    "float_power" => float_power,
    "floor_divide" => floor_divide,
    "fmax" => fmax,
    "fmin" => fmin,
    "fmod" => fmod,
    "gcd" => gcd,
    "ge" => ge,
    "gt" => gt,
    "heaviside" => heaviside,
    "hypot" => hypot,
    "lcm" => lcm,
    "le" => le,
    "logaddexp" => logaddexp,
    "logaddexp2" => logaddexp2,
    "logical_and" => logical_and,
    "logical_or" => logical_or,
    "logical_xor" => logical_xor,
    "lt" => lt,
    "maximum" => maximum,
    "minimum" => minimum,
    "mul" => mul,
    "ne" => ne,
    "pow" => pow,
    "remainder" => remainder,
    "xlogy" => xlogy,
    "special.xlog1py" => xlog1py,
};

/// The factor of an operand, 1 if absent.
pub fn factor(c: &mut Call<Tensor>, name: &str) -> Result<Option<Scalar>, Failure> {
    Ok(c.number_opt(name)?.map(scalar))
}

/// How `rounding_mode` is written in calor.
pub fn rounding(c: &mut Call<Tensor>) -> Result<Option<Rounding>, Failure> {
    match c.str_opt("rounding_mode")?.as_deref() {
        None => Ok(None),
        Some("trunc") => Ok(Some(Rounding::Trunc)),
        Some("floor") => Ok(Some(Rounding::Floor)),
        Some(other) => Err(Failure::Argument(format!("no rounding mode {other}"))),
    }
}

fn tolerance(c: &mut Call<Tensor>) -> Result<Tolerance, Failure> {
    let d = Tolerance::default();
    Ok(Tolerance {
        rtol: c.float_or("rtol", d.rtol)?,
        atol: c.float_or("atol", d.atol)?,
        equal_nan: c.bool_or("equal_nan", d.equal_nan)?,
    })
}

/// Functions with more than two operands, and those that give a truth value.
pub const MORE: Table = &[
    ("add", |c| {
        let (x, other) = (operand(c, "self")?, arg(c, "other")?);
        one(match factor(c, "alpha")? {
            Some(alpha) => x.add_alpha(other, alpha),
            None => x.add(other),
        })
    }),
    ("sub", |c| {
        let (x, other) = (operand(c, "self")?, arg(c, "other")?);
        one(match factor(c, "alpha")? {
            Some(alpha) => x.sub_alpha(other, alpha),
            None => x.sub(other),
        })
    }),
    ("rsub", |c| {
        let (x, other) = (c.tensor("self")?, arg(c, "other")?);
        one(match factor(c, "alpha")? {
            Some(alpha) => x.rsub_alpha(other, alpha),
            None => x.rsub(other),
        })
    }),
    ("div", |c| {
        let (x, other) = (operand(c, "self")?, arg(c, "other")?);
        one(match rounding(c)? {
            Some(mode) => x.div_mode(other, mode),
            None => x.div(other),
        })
    }),
    ("true_divide", |c| {
        let (x, other) = (operand(c, "self")?, arg(c, "other")?);
        one(x.true_divide(other))
    }),
    ("ldexp", |c| {
        let (x, other) = (c.tensor("self")?, arg(c, "other")?);
        one(x.ldexp(other))
    }),
    ("lerp", |c| {
        let (x, end, weight) = (c.tensor("self")?, c.tensor("end")?, arg(c, "weight")?);
        one(x.lerp(&end, weight))
    }),
    ("addcmul", |c| {
        let (x, a, b) = (c.tensor("self")?, c.tensor("tensor1")?, c.tensor("tensor2")?);
        let value = factor(c, "value")?.unwrap_or(Scalar::Int(1));
        one(x.addcmul(&a, &b, value))
    }),
    ("addcdiv", |c| {
        let (x, a, b) = (c.tensor("self")?, c.tensor("tensor1")?, c.tensor("tensor2")?);
        let value = factor(c, "value")?.unwrap_or(Scalar::Int(1));
        one(x.addcdiv(&a, &b, value))
    }),
    ("dist", |c| {
        let p = c.float_or("p", 2.0)?;
        let (x, other) = (c.tensor("self")?, c.tensor("other")?);
        one(x.dist(&other, p))
    }),
    ("isclose", |c| {
        let (x, other) = (c.tensor("self")?, c.tensor("other")?);
        one(x.isclose(&other, tolerance(c)?))
    }),
    ("allclose", |c| {
        let (x, other) = (c.tensor("self")?, c.tensor("other")?);
        Ok(vec![Output::Bool(x.allclose(&other, tolerance(c)?).map_err(op)?)])
    }),
    ("equal", |c| {
        let (x, other) = (c.tensor("self")?, c.tensor("other")?);
        Ok(vec![Output::Bool(x.equal(&other).map_err(op)?)])
    }),
    ("where", |c| {
        if c.len() < 2 {
            return Ok(many(c.tensor("condition")?.nonzero_tuple().map_err(op)?));
        }
        let (cond, yes, no) = (c.tensor("condition")?, arg(c, "self")?, arg(c, "other")?);
        one(cond.where_(yes, no))
    }),
    ("masked_fill", |c| {
        let (x, mask, value) = (c.tensor("self")?, c.tensor("mask")?, arg(c, "value")?);
        one(x.masked_fill(&mask, value))
    }),
];
