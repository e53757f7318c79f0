//! Drivers of the family `index`.

use crate::backend::op;
use crate::call::{Call, Failure, Number, Output};
use crate::drivers::{Table, Tensor};
use calor::{Arg, Scalar};

type Outputs = Result<Vec<Output<Tensor>>, Failure>;

fn one(result: calor::Result<Tensor>) -> Outputs {
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

fn dim(c: &mut Call<Tensor>) -> Result<isize, Failure> {
    Ok(c.int("dim")? as isize)
}

fn alpha(c: &mut Call<Tensor>) -> Result<Scalar, Failure> {
    Ok(c.number_opt("alpha")?.map_or(Scalar::Int(1), scalar))
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
    ("scatter_add", |c| one(c.tensor("self")?.scatter_add(dim(c)?, &c.tensor("index")?, &c.tensor("src")?))),
    ("Tensor.scatter_add_", |c| one(c.tensor("self")?.scatter_add_(dim(c)?, &c.tensor("index")?, &c.tensor("src")?))),
    ("index_add", |c| one(c.tensor("self")?.index_add(dim(c)?, &c.tensor("index")?, &c.tensor("source")?, alpha(c)?))),
    ("Tensor.index_add_", |c| {
        one(c.tensor("self")?.index_add_(dim(c)?, &c.tensor("index")?, &c.tensor("source")?, alpha(c)?))
    }),
];
