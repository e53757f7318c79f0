//! Drivers of the family `index`: reading by index, parts, diagonals, triangles. Writing by index is `ops_scatter`.

use crate::backend::{dtype, op};
use crate::call::{Call, Failure, Number, Output};
use crate::corpus::Value;
use crate::drivers::{Table, Tensor};
use calor::nn::functional as f;
use calor::{Arg, DType, IndexItem, Scalar, Slice};

pub type Outputs = Result<Vec<Output<Tensor>>, Failure>;

pub fn one(result: calor::Result<Tensor>) -> Outputs {
    Ok(vec![Output::Tensor(result.map_err(op)?)])
}

/// A number as calor takes it.
pub fn scalar(n: Number) -> Scalar {
    match n {
        Number::Int(i) => Scalar::Int(i),
        Number::Float(f) => Scalar::Float(f),
        Number::Bool(b) => Scalar::Bool(b),
    }
}

/// A tensor or a number.
pub fn arg(c: &mut Call<Tensor>, name: &str) -> Result<Arg, Failure> {
    if c.is_tensor(name) { Ok(c.tensor(name)?.into()) } else { Ok(scalar(c.number(name)?).into()) }
}

pub fn dim(c: &mut Call<Tensor>) -> Result<isize, Failure> {
    Ok(c.int("dim")? as isize)
}

fn int(c: &mut Call<Tensor>, name: &str, default: i64) -> Result<isize, Failure> {
    Ok(c.int_or(name, default)? as isize)
}

/// The components of an index expression.
pub fn index(c: &mut Call<Tensor>) -> Result<Vec<IndexItem>, Failure> {
    let value = c.get(1).cloned().ok_or_else(|| Failure::Argument("no index".to_owned()))?;
    let Value::List(items) = value else {
        return Err(Failure::Argument(format!("{value:?} is no index")));
    };
    let item = |v: &Value| {
        Ok(match v {
            Value::Int(i) => IndexItem::At(*i as isize),
            Value::None => IndexItem::NewAxis,
            Value::Ellipsis => IndexItem::Ellipsis,
            Value::Slice(start, end, step) => {
                let slice = Slice::new(start.map(|i| i as isize), end.map(|i| i as isize));
                IndexItem::Slice(slice.step(step.unwrap_or(1) as isize))
            }
            Value::List(numbers) => {
                let number = |n: &Value| match n {
                    Value::Int(i) => Ok(*i as i32),
                    other => Err(Failure::Argument(format!("{other:?} in an index list"))),
                };
                IndexItem::List(numbers.iter().map(number).collect::<Result<_, _>>()?)
            }
            other => match c.tensor_of(other) {
                Some(t) => IndexItem::Tensor(t),
                None => return Err(Failure::Argument(format!("{other:?} in an index"))),
            },
        })
    };
    items.iter().map(item).collect()
}

fn triangle_indices(
    c: &mut Call<Tensor>,
    make: fn(usize, usize, isize, calor::Options) -> calor::Result<Tensor>,
) -> Outputs {
    let dtype = c.dtype_opt("dtype")?.map_or(DType::I32, dtype);
    let dtype = if dtype == DType::I64 { DType::I32 } else { dtype };
    one(make(c.int("row")? as usize, c.int("col")? as usize, int(c, "offset", 0)?, dtype.into()))
}

fn embedding_options(c: &mut Call<Tensor>) -> Result<f::EmbeddingLookup, Failure> {
    c.ignore("sparse");
    Ok(f::EmbeddingLookup {
        padding_idx: c.int_opt("padding_idx")?.map(|i| i as isize),
        max_norm: c.float_opt("max_norm")?,
        norm_type: c.float_or("norm_type", 2.0)?,
        scale_grad_by_freq: c.bool_or("scale_grad_by_freq", false)?,
    })
}

/// Drivers by name.
pub const OPS: Table = &[
    ("gather", |c| {
        c.ignore("sparse_grad");
        one(c.tensor("self")?.gather(dim(c)?, &c.tensor("index")?))
    }),
    ("index_select", |c| one(c.tensor("self")?.index_select(dim(c)?, &c.tensor("index")?))),
    ("take", |c| one(c.tensor("self")?.take(&c.tensor("index")?))),
    ("take_along_dim", |c| {
        let dim = c.int_opt("dim")?.map(|d| d as isize);
        one(c.tensor("self")?.take_along_dim(&c.tensor("indices")?, dim))
    }),
    ("nonzero", |c| {
        if !c.bool_or("as_tuple", false)? {
            return one(c.tensor("self")?.nonzero());
        }
        let columns = c.tensor("self")?.nonzero_tuple().map_err(op)?;
        Ok(columns.into_iter().map(Output::Tensor).collect())
    }),
    ("argwhere", |c| one(c.tensor("self")?.argwhere())),
    ("masked_select", |c| one(c.tensor("self")?.masked_select(&c.tensor("mask")?))),
    ("Tensor.__getitem__", |c| one(c.tensor("self")?.i(index(c)?))),
    ("Tensor.__setitem__", |c| {
        let index = index(c)?;
        let value: Arg = match c.get(2) {
            Some(Value::Tensor(_)) => c.tensor(2)?.into(),
            _ => scalar(c.number(2)?).into(),
        };
        one(c.tensor("self")?.set(index, value))
    }),
    ("narrow", |c| {
        let start = if c.is_tensor("start") {
            c.tensor("start")?.item().map_err(op)? as isize
        } else {
            c.int("start")? as isize
        };
        one(c.tensor("self")?.narrow(dim(c)?, start, c.int("length")? as usize))
    }),
    ("select", |c| one(c.tensor("self")?.select(dim(c)?, c.int("index")? as isize))),
    ("diagonal", |c| {
        let (offset, dim1, dim2) = (int(c, "offset", 0)?, int(c, "dim1", 0)?, int(c, "dim2", 1)?);
        one(c.tensor("self")?.diagonal(offset, dim1, dim2))
    }),
    ("diag", |c| one(c.tensor("self")?.diag(int(c, "diagonal", 0)?))),
    ("diag_embed", |c| {
        let (offset, dim1, dim2) = (int(c, "offset", 0)?, int(c, "dim1", -2)?, int(c, "dim2", -1)?);
        one(c.tensor("self")?.diag_embed(offset, dim1, dim2))
    }),
    ("diagflat", |c| one(c.tensor("self")?.diagflat(int(c, "offset", 0)?))),
    ("tril", |c| one(c.tensor("self")?.tril(int(c, "diagonal", 0)?))),
    ("triu", |c| one(c.tensor("self")?.triu(int(c, "diagonal", 0)?))),
    ("Tensor.tril_", |c| one(c.tensor("self")?.tril_(int(c, "diagonal", 0)?))),
    ("Tensor.triu_", |c| one(c.tensor("self")?.triu_(int(c, "diagonal", 0)?))),
    ("tril_indices", |c| triangle_indices(c, Tensor::tril_indices)),
    ("triu_indices", |c| triangle_indices(c, Tensor::triu_indices)),
    ("nn.functional.embedding", |c| {
        let options = embedding_options(c)?;
        one(f::embedding(&c.tensor("input")?, &c.tensor("weight")?, options))
    }),
    ("nn.functional.embedding_bag", |c| {
        let mode = match c.str_or("mode", "mean")?.as_str() {
            "sum" => f::BagMode::Sum,
            "mean" => f::BagMode::Mean,
            "max" => f::BagMode::Max,
            other => return Err(Failure::Argument(format!("mode {other}"))),
        };
        let options = f::EmbeddingBagOptions {
            offsets: c.tensor_opt("offsets")?,
            mode,
            per_sample_weights: c.tensor_opt("per_sample_weights")?,
            include_last_offset: c.bool_or("include_last_offset", false)?,
            table: embedding_options(c)?,
        };
        one(f::embedding_bag(&c.tensor("input")?, &c.tensor("weight")?, options))
    }),
];
