//! Drivers of the family `sort`.

use crate::backend::op;
use crate::call::{Call, Failure, Number, Output};
use crate::drivers::{Table, Tensor};
use calor::{Arg, Interpolation, Scalar};

type Outputs = Result<Vec<Output<Tensor>>, Failure>;
type Args<'a> = &'a mut Call<Tensor>;

fn one(t: calor::Result<Tensor>) -> Outputs {
    Ok(vec![Output::Tensor(t.map_err(op)?)])
}

fn two(t: calor::Result<(Tensor, Tensor)>) -> Outputs {
    let (a, b) = t.map_err(op)?;
    Ok(vec![Output::Tensor(a), Output::Tensor(b)])
}

fn dim_opt(c: Args<'_>) -> Result<Option<isize>, Failure> {
    Ok(c.int_opt("dim")?.map(|d| d as isize))
}

fn dim_or_last(c: Args<'_>) -> Result<isize, Failure> {
    Ok(dim_opt(c)?.unwrap_or(-1))
}

fn keep(c: Args<'_>) -> Result<bool, Failure> {
    c.bool_or("keepdim", false)
}

fn count(c: Args<'_>, name: &str) -> Result<usize, Failure> {
    let k = c.int(name)?;
    usize::try_from(k).map_err(|_| Failure::Argument(format!("{name} is {k}")))
}

/// A tensor or a number.
fn operand(c: Args<'_>, name: &str) -> Result<Arg, Failure> {
    if c.is_tensor(name) {
        return Ok(c.tensor(name)?.into());
    }
    Ok(match c.number(name)? {
        Number::Int(i) => Scalar::Int(i),
        Number::Float(f) => Scalar::Float(f),
        Number::Bool(b) => Scalar::Bool(b),
    }
    .into())
}

type Middle = fn(&Tensor) -> calor::Result<Tensor>;
type MiddleDim = fn(&Tensor, isize, bool) -> calor::Result<(Tensor, Tensor)>;

fn median(c: Args<'_>, all: Middle, along: MiddleDim) -> Outputs {
    let x = c.tensor("self")?;
    match dim_opt(c)? {
        Some(dim) => two(along(&x, dim, keep(c)?)),
        None => one(all(&x)),
    }
}

type Quantile = fn(&Tensor, Arg, Option<isize>, bool, Interpolation) -> calor::Result<Tensor>;

fn quantile(c: Args<'_>, f: Quantile) -> Outputs {
    let (x, q, dim, keep) = (c.tensor("self")?, operand(c, "q")?, dim_opt(c)?, keep(c)?);
    let how = match c.str_or("interpolation", "linear")?.as_str() {
        "linear" => Interpolation::Linear,
        "lower" => Interpolation::Lower,
        "higher" => Interpolation::Higher,
        "nearest" => Interpolation::Nearest,
        "midpoint" => Interpolation::Midpoint,
        other => return Err(Failure::Argument(format!("interpolation {other}"))),
    };
    one(f(&x, q, dim, keep, how))
}

fn unique(c: Args<'_>, f: fn(&Tensor, Option<isize>) -> calor::Result<calor::Unique>) -> Outputs {
    let x = c.tensor(0)?;
    c.ignore("sorted");
    let (inverse, counts) = (c.bool_or("return_inverse", false)?, c.bool_or("return_counts", false)?);
    let unique = f(&x, dim_opt(c)?).map_err(op)?;
    let mut out = vec![Output::Tensor(unique.values)];
    if inverse {
        out.push(Output::Tensor(unique.inverse));
    }
    if counts {
        out.push(Output::Tensor(unique.counts));
    }
    Ok(out)
}

/// Whether equal elements are passed over.
fn right(c: Args<'_>) -> Result<bool, Failure> {
    c.ignore("out_int32");
    let right = c.bool_or("right", false)?;
    match c.str_opt("side")?.as_deref() {
        None => Ok(right),
        Some("right") => Ok(true),
        Some("left") if !right => Ok(false),
        Some(side) => Err(Failure::Argument(format!("side {side} with right={right}"))),
    }
}

/// Drivers by name.
pub const OPS: Table = &[
    ("sort", |c| {
        c.ignore("stable");
        let (x, dim, down) = (c.tensor("self")?, dim_or_last(c)?, c.bool_or("descending", false)?);
        two(x.sort(dim, down))
    }),
    ("argsort", |c| {
        c.ignore("stable");
        let (x, dim, down) = (c.tensor("self")?, dim_or_last(c)?, c.bool_or("descending", false)?);
        one(x.argsort(dim, down))
    }),
    ("msort", |c| one(c.tensor("self")?.msort())),
    ("topk", |c| {
        c.ignore("sorted");
        let (x, k, dim) = (c.tensor("self")?, count(c, "k")?, dim_or_last(c)?);
        two(x.topk(k, dim, c.bool_or("largest", true)?))
    }),
    ("kthvalue", |c| {
        let (x, k, dim, keep) = (c.tensor("self")?, count(c, "k")?, dim_or_last(c)?, keep(c)?);
        two(x.kthvalue(k, dim, keep))
    }),
    ("median", |c| median(c, Tensor::median, Tensor::median_dim)),
    ("nanmedian", |c| median(c, Tensor::nanmedian, Tensor::nanmedian_dim)),
    ("mode", |c| {
        let (x, dim, keep) = (c.tensor("self")?, dim_or_last(c)?, keep(c)?);
        two(x.mode(dim, keep))
    }),
    ("quantile", |c| quantile(c, Tensor::quantile)),
    ("nanquantile", |c| quantile(c, Tensor::nanquantile)),
    ("searchsorted", |c| {
        let (edges, values) = (c.tensor("sorted_sequence")?, operand(c, "self")?);
        let (right, sorter) = (right(c)?, c.tensor_opt("sorter")?);
        one(edges.searchsorted(values, right, sorter.as_ref()))
    }),
    ("bucketize", |c| {
        let (x, edges, right) = (c.tensor("self")?, c.tensor("boundaries")?, right(c)?);
        one(x.bucketize(&edges, right))
    }),
    ("isin", |c| {
        c.ignore("assume_unique");
        let x = if c.has("elements") { c.tensor("elements")? } else { c.tensor("element")? };
        let name = if c.has("test_elements") { "test_elements" } else { "test_element" };
        let (test, invert) = (operand(c, name)?, c.bool_or("invert", false)?);
        one(x.isin(test, invert))
    }),
    ("bincount", |c| {
        let (x, weights, least) = (c.tensor("self")?, c.tensor_opt("weights")?, c.int_or("minlength", 0)?);
        one(x.bincount(weights.as_ref(), least as usize))
    }),
    ("histc", |c| {
        let (x, bins) = (c.tensor("self")?, c.int_or("bins", 100)?);
        let (min, max) = (c.float_or("min", 0.0)?, c.float_or("max", 0.0)?);
        one(x.histc(bins as usize, min, max))
    }),
    ("unique", |c| unique(c, Tensor::unique)),
    ("unique_consecutive", |c| unique(c, Tensor::unique_consecutive)),
];
