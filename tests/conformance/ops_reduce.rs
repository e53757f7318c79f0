//! Drivers of the family `reduce`.

use crate::backend::{dtype, op};
use crate::call::{Call, Failure, Output};
use crate::corpus::Value;
use crate::drivers::{Table, Tensor};
use calor::{Arg, NormOrder};

type Outputs = Result<Vec<Output<Tensor>>, Failure>;
type Args<'a> = &'a mut Call<Tensor>;

fn one(t: calor::Result<Tensor>) -> Outputs {
    Ok(vec![Output::Tensor(t.map_err(op)?)])
}

fn two(t: calor::Result<(Tensor, Tensor)>) -> Outputs {
    let (a, b) = t.map_err(op)?;
    Ok(vec![Output::Tensor(a), Output::Tensor(b)])
}

fn dims(c: Args<'_>) -> Result<Vec<isize>, Failure> {
    Ok(c.ints_opt("dim")?.unwrap_or_default().into_iter().map(|d| d as isize).collect())
}

fn dim(c: Args<'_>) -> Result<isize, Failure> {
    Ok(c.int("dim")? as isize)
}

fn dim_opt(c: Args<'_>) -> Result<Option<isize>, Failure> {
    Ok(c.int_opt("dim")?.map(|d| d as isize))
}

fn keep(c: Args<'_>) -> Result<bool, Failure> {
    c.bool_or("keepdim", false)
}

/// The input, first cast where the call names a dtype.
fn input(c: Args<'_>) -> Result<Tensor, Failure> {
    let x = c.tensor("self")?;
    match c.dtype_opt("dtype")? {
        Some(dt) => x.to_dtype(dtype(dt)).map_err(op),
        None => Ok(x),
    }
}

/// The result, cast where the call names a dtype: sums of bytes are `i32` in calor.
fn output(c: Args<'_>, y: calor::Result<Tensor>) -> calor::Result<Tensor> {
    match c.dtype_opt("dtype") {
        Ok(Some(dt)) => y?.to_dtype(dtype(dt)),
        _ => y,
    }
}

/// What corrects the number of elements.
fn correction(c: Args<'_>) -> Result<f64, Failure> {
    if c.has("unbiased") {
        return Ok(if c.bool_or("unbiased", true)? { 1.0 } else { 0.0 });
    }
    c.float_or("correction", 1.0)
}

type Dims = fn(&Tensor, &[isize], bool) -> calor::Result<Tensor>;

fn over_dims(c: Args<'_>, f: Dims) -> Outputs {
    let (x, dims, keep) = (input(c)?, dims(c)?, keep(c)?);
    one(output(c, f(&x, &dims, keep)))
}

type Spread = fn(&Tensor, &[isize], f64, bool) -> calor::Result<Tensor>;

fn spread(c: Args<'_>, f: Spread) -> Outputs {
    let (x, dims, correction, keep) = (c.tensor("self")?, dims(c)?, correction(c)?, keep(c)?);
    one(f(&x, &dims, correction, keep))
}

type SpreadMean = fn(&Tensor, &[isize], f64, bool) -> calor::Result<(Tensor, Tensor)>;

fn spread_mean(c: Args<'_>, f: SpreadMean) -> Outputs {
    let (x, dims, correction, keep) = (c.tensor("self")?, dims(c)?, correction(c)?, keep(c)?);
    two(f(&x, &dims, correction, keep))
}

type Whole = fn(&Tensor) -> calor::Result<Tensor>;
type Along = fn(&Tensor, isize, bool) -> calor::Result<(Tensor, Tensor)>;
type Other = fn(&Tensor, Arg) -> calor::Result<Tensor>;

/// `max` and `min`, which mean three things.
fn extreme(c: Args<'_>, all: Whole, along: Along, other: Other) -> Outputs {
    let x = c.tensor("self")?;
    if c.has("other") {
        return one(other(&x, c.tensor("other")?.into()));
    }
    match dim_opt(c)? {
        Some(dim) => two(along(&x, dim, keep(c)?)),
        None => one(all(&x)),
    }
}

fn softmax(c: Args<'_>, f: fn(&Tensor, isize) -> calor::Result<Tensor>) -> Outputs {
    c.ignore("_stacklevel");
    let x = c.arg(0, "input").is_some().then(|| c.tensor(0)).transpose()?.map_or_else(|| c.tensor("self"), Ok)?;
    let x = match c.dtype_opt("dtype")? {
        Some(dt) => x.to_dtype(dtype(dt)).map_err(op)?,
        None => x,
    };
    // without a dimension: the last one, or the first of 0, 1 or 3
    let rank = x.dim();
    let dim = dim_opt(c)?.unwrap_or(if matches!(rank, 0 | 1 | 3) { 0 } else { 1 });
    one(f(&x, dim))
}

fn scan(c: Args<'_>, f: fn(&Tensor, isize) -> calor::Result<Tensor>) -> Outputs {
    let (x, dim) = (input(c)?, dim(c)?);
    one(output(c, f(&x, dim)))
}

/// An in-place operation, whose dtype argument must be its own.
fn scan_self(c: Args<'_>, f: fn(&Tensor, isize) -> calor::Result<Tensor>) -> Outputs {
    let x = c.tensor("self")?;
    if let Some(dt) = c.dtype_opt("dtype")?
        && dtype(dt) != x.dtype()
    {
        return Err(Failure::Op(format!("expected dtype {} to be {}", dt, x.dtype())));
    }
    one(f(&x, dim(c)?))
}

fn vector_norm(c: Args<'_>) -> Outputs {
    let (x, p, dims, keep) = (input(c)?, c.float_or("ord", 2.0)?, dims(c)?, keep(c)?);
    one(x.vector_norm(p, &dims, keep))
}

fn norm(c: Args<'_>) -> Outputs {
    let x = c.tensor("input")?;
    let x = match c.dtype_opt("dtype")? {
        Some(dt) => x.to_dtype(dtype(dt)).map_err(op)?,
        None => x,
    };
    let (dims, keep) = (dims(c)?, keep(c)?);
    let p = match c.get("p") {
        Some(Value::Str(name)) if name == "nuc" => {
            let all: Vec<isize> = if dims.is_empty() { (0..x.dim() as isize).collect() } else { dims };
            return match all[..] {
                [a, b] => one(x.linalg_matrix_norm(NormOrder::Nuc, [a, b], keep)),
                _ => Err(Failure::Op("dim must be a 2-tuple".into())),
            };
        }
        Some(Value::Str(name)) if name == "fro" => 2.0,
        _ => c.float_or("p", 2.0)?,
    };
    one(x.vector_norm(p, &dims, keep))
}

fn trapezoid(c: Args<'_>, cumulative: bool) -> Outputs {
    let y = c.tensor("y")?;
    let dim = c.int_or("dim", -1)? as isize;
    if let Some(x) = c.tensor_opt("x")? {
        return one(if cumulative { y.cumulative_trapezoid_x(&x, dim) } else { y.trapezoid_x(&x, dim) });
    }
    let dx = c.float_or("dx", 1.0)?;
    one(if cumulative { y.cumulative_trapezoid(dx, dim) } else { y.trapezoid(dx, dim) })
}

/// Drivers by name.
pub const OPS: Table = &[
    ("sum", |c| over_dims(c, Tensor::sum_dims)),
    ("nansum", |c| over_dims(c, Tensor::nansum_dims)),
    ("mean", |c| over_dims(c, Tensor::mean_dims)),
    ("nanmean", |c| over_dims(c, Tensor::nanmean_dims)),
    ("all", |c| over_dims(c, Tensor::all_dims)),
    ("any", |c| over_dims(c, Tensor::any_dims)),
    ("amax", |c| over_dims(c, Tensor::amax)),
    ("amin", |c| over_dims(c, Tensor::amin)),
    ("logsumexp", |c| over_dims(c, Tensor::logsumexp)),
    ("prod", |c| {
        let x = input(c)?;
        let out = match dim_opt(c)? {
            Some(dim) => x.prod_dim(dim, keep(c)?),
            None => x.prod(),
        };
        one(output(c, out))
    }),
    ("count_nonzero", |c| {
        let (x, dims) = (c.tensor("self")?, dims(c)?);
        one(x.count_nonzero_dims(&dims))
    }),
    ("aminmax", |c| {
        let (x, dim, keep) = (c.tensor("self")?, dim_opt(c)?, keep(c)?);
        two(x.aminmax(dim, keep))
    }),
    ("argmax", |c| {
        let (x, dim, keep) = (c.tensor("self")?, dim_opt(c)?, keep(c)?);
        one(x.argmax(dim, keep))
    }),
    ("argmin", |c| {
        let (x, dim, keep) = (c.tensor("self")?, dim_opt(c)?, keep(c)?);
        one(x.argmin(dim, keep))
    }),
    ("max", |c| extreme(c, Tensor::max, Tensor::max_dim, Tensor::maximum)),
    ("min", |c| extreme(c, Tensor::min, Tensor::min_dim, Tensor::minimum)),
    ("var", |c| spread(c, Tensor::var_dims)),
    ("std", |c| spread(c, Tensor::std_dims)),
    ("var_mean", |c| spread_mean(c, Tensor::var_mean)),
    ("std_mean", |c| spread_mean(c, Tensor::std_mean)),
    ("cov", |c| {
        let (x, correction) = (c.tensor("self")?, c.int_or("correction", 1)?);
        let (f, a) = (c.tensor_opt("fweights")?, c.tensor_opt("aweights")?);
        one(x.cov(correction, f.as_ref(), a.as_ref()))
    }),
    ("linalg.vector_norm", vector_norm),
    ("renorm", |c| {
        let (x, p, dim, most) = (c.tensor("self")?, c.float("p")?, dim(c)?, c.float("maxnorm")?);
        one(x.renorm(p, dim, most))
    }),
    ("softmax", |c| softmax(c, Tensor::softmax)),
    ("log_softmax", |c| softmax(c, Tensor::log_softmax)),
    ("nn.functional.softmin", |c| softmax(c, Tensor::softmin)),
    ("cumsum", |c| scan(c, Tensor::cumsum)),
    ("cumprod", |c| scan(c, Tensor::cumprod)),
    ("logcumsumexp", |c| scan(c, Tensor::logcumsumexp)),
    ("Tensor.cumsum_", |c| scan_self(c, Tensor::cumsum_)),
    ("Tensor.cumprod_", |c| scan_self(c, Tensor::cumprod_)),
    ("cummax", |c| {
        let (x, dim) = (c.tensor("self")?, dim(c)?);
        two(x.cummax(dim))
    }),
    ("cummin", |c| {
        let (x, dim) = (c.tensor("self")?, dim(c)?);
        two(x.cummin(dim))
    }),
    ("diff", |c| {
        let (x, n, dim) = (c.tensor("self")?, c.int_or("n", 1)?, c.int_or("dim", -1)? as isize);
        let n = usize::try_from(n).map_err(|_| Failure::Argument(format!("n is {n}")))?;
        let (prepend, append) = (c.tensor_opt("prepend")?, c.tensor_opt("append")?);
        one(x.diff(n, dim, prepend.as_ref(), append.as_ref()))
    }),
    ("norm", norm),
    ("trapezoid", |c| trapezoid(c, false)),
    ("cumulative_trapezoid", |c| trapezoid(c, true)),
];
