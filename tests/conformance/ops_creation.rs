//! Drivers of the family `creation`.

use crate::backend::{arg, device, dtype, one, op, scalar};
use crate::call::{Call, Failure};
use crate::drivers::{Table, Tensor};
use crate::ops_shape::{size, sizes};
use calor::{Arg, DType, Options, Scalar};

/// The dtype asked for, or `default`.
fn asked(c: &mut Call<Tensor>, default: DType) -> Result<DType, Failure> {
    for name in ["layout", "device", "pin_memory", "memory_format", "requires_grad"] {
        c.ignore(name);
    }
    Ok(c.dtype_opt("dtype")?.map_or(default, dtype))
}

fn options(c: &mut Call<Tensor>) -> Result<Options, Failure> {
    for name in ["layout", "device", "pin_memory"] {
        c.ignore(name);
    }
    Ok(c.dtype_opt("dtype")?.map_or_else(|| Options::from(()), |d| Options::from(dtype(d))))
}

/// A number, or a tensor without dimensions that holds one.
fn number(c: &mut Call<Tensor>, key: &str) -> Result<Scalar, Failure> {
    match arg(c, key)? {
        Arg::Scalar(s) => Ok(s),
        Arg::Tensor(t) if t.dim() == 0 => t.item_scalar().map_err(op),
        Arg::Tensor(t) => Err(Failure::Argument(format!("{key} has {} dimensions, a number in calor", t.dim()))),
        Arg::Err(e) => Err(op(e)),
    }
}

/// Drivers by name.
pub const OPS: Table = &[
    ("Tensor.new_full", |c| {
        let (x, shape, value) = (c.tensor("self")?, sizes(&c.ints("size")?)?, number(c, "fill_value")?);
        let dtype = asked(c, x.dtype())?;
        one(Tensor::full(shape, value, (dtype, x.device())))
    }),
    ("Tensor.new_ones", |c| {
        let (x, shape) = (c.tensor("self")?, sizes(&c.ints("size")?)?);
        let dtype = asked(c, x.dtype())?;
        one(Tensor::ones(shape, (dtype, x.device())))
    }),
    ("Tensor.new_zeros", |c| {
        let (x, shape) = (c.tensor("self")?, sizes(&c.ints("size")?)?);
        let dtype = asked(c, x.dtype())?;
        one(Tensor::zeros(shape, (dtype, x.device())))
    }),
    ("arange", |c| {
        let numbers: Vec<Scalar> = ["start", "end", "step"]
            .into_iter()
            .filter_map(|key| c.number_opt(key).transpose())
            .map(|n| n.map(scalar))
            .collect::<Result<_, _>>()?;
        let (start, end, step) = match numbers.as_slice() {
            [end] => (Scalar::Int(0), *end, Scalar::Int(1)),
            [start, end] => (*start, *end, Scalar::Int(1)),
            [start, end, step] => (*start, *end, *step),
            _ => return Err(Failure::Argument("no end".into())),
        };
        let options = options(c)?;
        one(Tensor::arange(start, end, step, options))
    }),
    ("eye", |c| {
        let n = size(c.int("n")?)?;
        let m = c.int_opt("m")?.map_or(Ok(n), size)?;
        let options = options(c)?;
        one(Tensor::eye(n, m, options))
    }),
    ("full", |c| {
        let (shape, value) = (sizes(&c.ints("size")?)?, number(c, "fill_value")?);
        let options = options(c)?;
        one(Tensor::full(shape, value, options))
    }),
    ("full_like", |c| {
        let (x, value) = (c.tensor("self")?, number(c, "fill_value")?);
        let dtype = asked(c, x.dtype())?;
        one(Tensor::full(x.shape(), value, (dtype, x.device())))
    }),
    ("linalg.vander", |c| {
        let n = c.int_opt("N")?.map(size).transpose()?;
        one(c.tensor("x")?.linalg_vander(n))
    }),
    ("linspace", |c| {
        let (start, end, steps) = (number(c, "start")?, number(c, "end")?, size(c.int("steps")?)?);
        let options = options(c)?;
        one(Tensor::linspace(start, end, steps, options))
    }),
    ("logspace", |c| {
        let (start, end, steps) = (number(c, "start")?, number(c, "end")?, size(c.int("steps")?)?);
        let base = c.float_or("base", 10.0)?;
        let options = options(c)?;
        one(Tensor::logspace(start, end, steps, base, options))
    }),
    ("ones", |c| {
        let shape = sizes(&c.ints("size")?)?;
        let options = options(c)?;
        one(Tensor::ones(shape, options))
    }),
    ("zeros", |c| {
        let shape = sizes(&c.ints("size")?)?;
        let options = options(c)?;
        one(Tensor::zeros(shape, options))
    }),
    ("ones_like", |c| {
        let x = c.tensor("self")?;
        let dtype = asked(c, x.dtype())?;
        one(Tensor::ones(x.shape(), (dtype, x.device())))
    }),
    ("zeros_like", |c| {
        let x = c.tensor("self")?;
        let dtype = asked(c, x.dtype())?;
        one(Tensor::zeros(x.shape(), (dtype, x.device())))
    }),
    ("scalar_tensor", |c| {
        let value = number(c, "s")?;
        let dtype = asked(c, DType::F32)?;
        one(Tensor::scalar(value, (dtype, &device())))
    }),
];
