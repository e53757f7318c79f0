//! Drivers of the family `index`: writing by index.

use crate::backend::op;
use crate::call::{Call, Failure};
use crate::drivers::{Table, Tensor};
use crate::ops_index::{Outputs, arg, dim, one, scalar};
use calor::{Reduce, Scalar};

type Result<T> = std::result::Result<T, Failure>;

fn alpha(c: &mut Call<Tensor>) -> Result<Scalar> {
    Ok(c.number_opt("alpha")?.map_or(Scalar::Int(1), scalar))
}

fn reduce(name: &str) -> Result<Reduce> {
    name.parse().map_err(op)
}

fn scatter(c: &mut Call<Tensor>, in_place: bool) -> Outputs {
    let (x, dim, index) = (c.tensor("self")?, dim(c)?, c.tensor("index")?);
    let source = if c.has("src") { arg(c, "src")? } else { arg(c, "value")? };
    let Some(name) = c.str_opt("reduce")? else {
        return one(if in_place { x.scatter_(dim, &index, source) } else { x.scatter(dim, &index, source) });
    };
    // the older form of scatter_reduce: with a number, too
    let source = match source {
        calor::Arg::Scalar(s) => Tensor::full(index.shape(), s, (x.dtype(), x.device())).map_err(op)?,
        calor::Arg::Tensor(t) => t,
        calor::Arg::Err(e) => return Err(op(e)),
    };
    let reduce = reduce(&name)?;
    one(if in_place {
        x.scatter_reduce_(dim, &index, &source, reduce, true)
    } else {
        x.scatter_reduce(dim, &index, &source, reduce, true)
    })
}

type Reducing = fn(&Tensor, isize, &Tensor, &Tensor, Reduce, bool) -> calor::Result<Tensor>;

fn reducing(c: &mut Call<Tensor>, source: &str, run: Reducing) -> Outputs {
    let reduce = reduce(&c.str_or("reduce", "")?)?;
    let include_self = c.bool_or("include_self", true)?;
    let (x, dim, index, source) = (c.tensor("self")?, dim(c)?, c.tensor("index")?, c.tensor(source)?);
    one(run(&x, dim, &index, &source, reduce, include_self))
}

/// Drivers by name.
pub const OPS: Table = &[
    ("scatter", |c| scatter(c, false)),
    ("Tensor.scatter_", |c| scatter(c, true)),
    ("scatter_add", |c| one(c.tensor("self")?.scatter_add(dim(c)?, &c.tensor("index")?, &c.tensor("src")?))),
    ("Tensor.scatter_add_", |c| one(c.tensor("self")?.scatter_add_(dim(c)?, &c.tensor("index")?, &c.tensor("src")?))),
    ("scatter_reduce", |c| reducing(c, "src", Tensor::scatter_reduce)),
    ("Tensor.scatter_reduce_", |c| reducing(c, "src", Tensor::scatter_reduce_)),
    ("index_reduce", |c| reducing(c, "source", Tensor::index_reduce)),
    ("index_add", |c| one(c.tensor("self")?.index_add(dim(c)?, &c.tensor("index")?, &c.tensor("source")?, alpha(c)?))),
    ("Tensor.index_add_", |c| {
        one(c.tensor("self")?.index_add_(dim(c)?, &c.tensor("index")?, &c.tensor("source")?, alpha(c)?))
    }),
    ("index_copy", |c| one(c.tensor("self")?.index_copy(dim(c)?, &c.tensor("index")?, &c.tensor("source")?))),
    ("Tensor.index_copy_", |c| one(c.tensor("self")?.index_copy_(dim(c)?, &c.tensor("index")?, &c.tensor("source")?))),
    ("index_fill", |c| one(c.tensor("self")?.index_fill(dim(c)?, &c.tensor("index")?, arg(c, "value")?))),
    ("Tensor.index_fill_", |c| one(c.tensor("self")?.index_fill_(dim(c)?, &c.tensor("index")?, arg(c, "value")?))),
    ("index_put", |c| {
        let (indices, accumulate) = (c.optional_tensors("indices")?, c.bool_or("accumulate", false)?);
        one(c.tensor("self")?.index_put(&indices, c.tensor("values")?, accumulate))
    }),
    ("Tensor.index_put_", |c| {
        let (indices, accumulate) = (c.optional_tensors("indices")?, c.bool_or("accumulate", false)?);
        one(c.tensor("self")?.index_put_(&indices, c.tensor("values")?, accumulate))
    }),
    ("put", |c| {
        let accumulate = c.bool_or("accumulate", false)?;
        one(c.tensor("self")?.put(&c.tensor("index")?, &c.tensor("source")?, accumulate))
    }),
    ("masked_scatter", |c| one(c.tensor("self")?.masked_scatter(&c.tensor("mask")?, &c.tensor("source")?))),
    ("Tensor.masked_scatter_", |c| one(c.tensor("self")?.masked_scatter_(&c.tensor("mask")?, &c.tensor("source")?))),
    ("select_scatter", |c| one(c.tensor("self")?.select_scatter(&c.tensor("src")?, dim(c)?, c.int("index")? as isize))),
    ("slice_scatter", |c| {
        let (start, end) = (c.int_opt("start")?.map(|i| i as isize), c.int_opt("end")?.map(|i| i as isize));
        let (dim, step) = (c.int_or("dim", 0)? as isize, c.int_or("step", 1)? as usize);
        one(c.tensor("self")?.slice_scatter(&c.tensor("src")?, dim, start, end, step))
    }),
    ("diagonal_scatter", |c| {
        let mut int = |name, default| Ok::<_, Failure>(c.int_or(name, default)? as isize);
        let (offset, dim1, dim2) = (int("offset", 0)?, int("dim1", 0)?, int("dim2", 1)?);
        one(c.tensor("self")?.diagonal_scatter(&c.tensor("src")?, offset, dim1, dim2))
    }),
];
