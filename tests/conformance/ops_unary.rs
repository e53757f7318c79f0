//! Drivers of the family `unary`.

use crate::backend::{arg, arg_opt, one};
use crate::drivers::Table;

/// Rows of functions of one tensor alone.
macro_rules! unary {
    ($($op:literal => $method:ident,)*) => {
        &[$(($op, |c| one(c.tensor(0)?.$method())),)*]
    };
}
pub(crate) use unary;

/// Functions of one tensor alone.
pub const OPS: Table = unary! {
    "abs" => abs,
    "acos" => acos,
    "acosh" => acosh,
    "asin" => asin,
    "asinh" => asinh,
    "atan" => atan,
    "atanh" => atanh,
    "bitwise_not" => bitwise_not,
    "ceil" => ceil,
    "cos" => cos,
    "cosh" => cosh,
    "deg2rad" => deg2rad,
    "digamma" => digamma,
    "erf" => erf,
    "erfc" => erfc,
    "erfinv" => erfinv,
    "exp" => exp,
    "exp2" => exp2,
    "expm1" => expm1,
    "floor" => floor,
    "frac" => frac,
    "i0" => i0,
    "isfinite" => isfinite,
    "isinf" => isinf,
    "isnan" => isnan,
    "isneginf" => isneginf,
    "isposinf" => isposinf,
    "lgamma" => lgamma,
    "log" => log,
    "log10" => log10,
    "log1p" => log1p,
    "log2" => log2,
    "logical_not" => logical_not,
    "neg" => neg,
    "positive" => positive,
    "rad2deg" => rad2deg,
    "reciprocal" => reciprocal,
    "rsqrt" => rsqrt,
    "sgn" => sgn,
    "sigmoid" => sigmoid,
    "sign" => sign,
    "signbit" => signbit,
    "sin" => sin,
    "sinc" => sinc,
    "sinh" => sinh,
    "sqrt" => sqrt,
    "square" => square,
    "tan" => tan,
    "tanh" => tanh,
    "trunc" => trunc,
    "special.entr" => entr,
};

/// Functions with numbers beside the tensor.
pub const MORE: Table = &[
    ("clamp", |c| {
        let x = c.tensor("self")?;
        let (min, max) = (arg_opt(c, "min")?, arg_opt(c, "max")?);
        one(match (min, max) {
            (Some(min), Some(max)) => x.clamp(min, max),
            (Some(min), None) => x.clamp_min(min),
            (None, Some(max)) => x.clamp_max(max),
            (None, None) => Err(calor::Error::new(calor::ErrorKind::Value, "clamp", "needs min or max")),
        })
    }),
    ("clamp_max", |c| {
        let max = arg(c, "max")?;
        one(c.tensor("self")?.clamp_max(max))
    }),
    ("clamp_min", |c| {
        let min = arg(c, "min")?;
        one(c.tensor("self")?.clamp_min(min))
    }),
    ("logit", |c| {
        let eps = c.float_opt("eps")?;
        one(c.tensor("self")?.logit(eps))
    }),
    ("nan_to_num", |c| {
        let (nan, high, low) = (c.float_opt("nan")?, c.float_opt("posinf")?, c.float_opt("neginf")?);
        one(c.tensor("self")?.nan_to_num(nan, high, low))
    }),
    ("polygamma", |c| {
        let n = c.int("n")?;
        match u32::try_from(n) {
            Ok(n) => one(c.tensor("self")?.polygamma(n)),
            Err(_) => Err(crate::call::Failure::Argument(format!("n is {n}, a u32 in calor"))),
        }
    }),
    ("round", |c| {
        let x = c.tensor("self")?;
        one(match c.int_opt("decimals")? {
            Some(d) => x.round_decimals(d as i32),
            None => x.round(),
        })
    }),
];
