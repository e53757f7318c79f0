//! Drivers of the family `shape`.

use crate::backend::{many, one, op};
use crate::call::{Call, Failure, Output};
use crate::drivers::{Table, Tensor};
use crate::ops_unary::unary;

/// Integers as dimensions.
pub fn dims(c: &mut Call<Tensor>, key: &str) -> Result<Vec<isize>, Failure> {
    Ok(c.ints(key)?.into_iter().map(|d| d as isize).collect())
}

/// Integers as sizes; a negative one cannot be written in Rust.
pub fn sizes(values: &[i64]) -> Result<Vec<usize>, Failure> {
    let size = |&v: &i64| usize::try_from(v).map_err(|_| Failure::Argument(format!("size {v} is negative")));
    values.iter().map(size).collect()
}

/// One integer as a size.
pub fn size(value: i64) -> Result<usize, Failure> {
    Ok(sizes(&[value])?[0])
}

/// What PyTorch's `expand` takes: -1 keeps a size.
fn expanded(c: &mut Call<Tensor>, x: &Tensor, key: &str) -> Result<Vec<usize>, Failure> {
    let asked = c.ints(key)?;
    let own = x.shape();
    let lead = asked.len().saturating_sub(own.len());
    let keep = |(i, &s): (usize, &i64)| match s {
        -1 if i >= lead => Ok(own[i - lead]),
        s => size(s),
    };
    asked.iter().enumerate().map(keep).collect()
}

/// Functions of one tensor alone.
pub const OPS: Table = unary! {
    "Tensor.T" => T,
    "Tensor.mT" => mT,
    "Tensor.contiguous" => contiguous,
    "Tensor.t_" => t_,
    "clone" => try_clone,
    "fliplr" => fliplr,
    "flipud" => flipud,
    "ravel" => ravel,
    "t" => t,
};

fn atleast(c: &mut Call<Tensor>, f: fn(&Tensor) -> calor::Result<Tensor>) -> Result<Vec<Output<Tensor>>, Failure> {
    let all = c.tensors(0)?;
    Ok(many(all.iter().map(f).collect::<calor::Result<Vec<_>>>().map_err(op)?))
}

/// Functions with arguments.
pub const MORE: Table = &[
    ("Tensor.expand", |c| {
        let x = c.tensor("self")?;
        let shape = expanded(c, &x, "size")?;
        one(x.expand(shape))
    }),
    ("broadcast_to", |c| {
        let x = c.tensor("self")?;
        let shape = expanded(c, &x, "size")?;
        one(x.broadcast_to(shape))
    }),
    ("Tensor.expand_as", |c| {
        let (x, other) = (c.tensor("self")?, c.tensor("other")?);
        one(x.expand_as(&other))
    }),
    ("Tensor.view_as", |c| {
        let (x, other) = (c.tensor("self")?, c.tensor("other")?);
        one(x.view_as(&other))
    }),
    ("Tensor.reshape_as", |c| {
        let (x, other) = (c.tensor("self")?, c.tensor("other")?);
        one(x.reshape_as(&other))
    }),
    ("Tensor.view", |c| {
        let shape = dims(c, "size")?;
        one(c.tensor("self")?.view(&shape))
    }),
    ("reshape", |c| {
        let shape = dims(c, "shape")?;
        one(c.tensor("self")?.reshape_infer("reshape", &shape))
    }),
    ("Tensor.repeat", |c| {
        let times = sizes(&c.ints("repeats")?)?;
        one(c.tensor("self")?.repeat(times))
    }),
    ("tile", |c| {
        let times = sizes(&c.ints("dims")?)?;
        one(c.tensor("self")?.tile(times))
    }),
    ("Tensor.sum_to_size", |c| {
        let shape = sizes(&c.ints("size")?)?;
        one(c.tensor("self")?.sum_to_size(shape))
    }),
    ("Tensor.unfold", |c| {
        let (dim, window, step) = (c.int("dimension")?, size(c.int("size")?)?, size(c.int("step")?)?);
        one(c.tensor("self")?.unfold(dim as isize, window, step))
    }),
    ("as_strided", |c| {
        let (shape, strides) = (sizes(&c.ints("size")?)?, dims(c, "stride")?);
        let offset = size(c.int_or("storage_offset", 0)?)?;
        one(c.tensor("self")?.as_strided(&shape, &strides, offset))
    }),
    ("atleast_1d", |c| atleast(c, Tensor::atleast_1d)),
    ("atleast_2d", |c| atleast(c, Tensor::atleast_2d)),
    ("atleast_3d", |c| atleast(c, Tensor::atleast_3d)),
    ("broadcast_tensors", |c| {
        let all = c.tensors("tensors")?;
        Ok(many(calor::broadcast_tensors(&all.iter().collect::<Vec<_>>()).map_err(op)?))
    }),
    ("flatten", |c| {
        let (start, end) = (c.int_or("start_dim", 0)?, c.int_or("end_dim", -1)?);
        one(c.tensor("self")?.flatten(start as isize, end as isize))
    }),
    ("flip", |c| {
        let dims = dims(c, "dims")?;
        one(c.tensor("self")?.flip(&dims))
    }),
    ("movedim", |c| {
        let (from, to) = (dims(c, "source")?, dims(c, "destination")?);
        one(c.tensor("self")?.movedim(&from, &to))
    }),
    ("permute", |c| {
        let dims = dims(c, "dims")?;
        one(c.tensor("self")?.permute(&dims))
    }),
    ("repeat_interleave", |c| {
        let known = c.int_opt("output_size")?.map(size).transpose()?;
        let out = if c.overload() == "repeat_interleave.Tensor" {
            let repeats = c.tensor("repeats")?;
            let places = Tensor::arange(0, repeats.numel() as i64, 1, (repeats.dtype(), repeats.device()));
            places.and_then(|p| match known {
                Some(n) => p.repeat_interleave_to(&repeats, Some(0), n),
                None => p.repeat_interleave_by(&repeats, Some(0)),
            })
        } else {
            let x = c.tensor("self")?;
            let dim = c.int_opt("dim")?.map(|d| d as isize);
            if c.is_tensor("repeats") {
                let repeats = c.tensor("repeats")?;
                match known {
                    Some(n) => x.repeat_interleave_to(&repeats, dim, n),
                    None => x.repeat_interleave_by(&repeats, dim),
                }
            } else {
                x.repeat_interleave(size(c.int("repeats")?)?, dim)
            }
        };
        let out = out.map_err(op)?;
        match known {
            // a number of repeats has no size to be told
            Some(n) if c.has("dim") && out.dim() == 1 && out.numel() != n => {
                Err(Failure::Op(format!("output_size {n} is not {}", out.numel())))
            }
            _ => one(Ok(out)),
        }
    }),
    ("roll", |c| {
        let shifts = dims(c, "shifts")?;
        let dims = c.ints_opt("dims")?.unwrap_or_default().into_iter().map(|d| d as isize).collect::<Vec<_>>();
        one(c.tensor("self")?.roll(&shifts, &dims))
    }),
    ("rot90", |c| {
        let k = c.int_or("k", 1)?;
        let dims = c.ints_opt("dims")?.unwrap_or(vec![0, 1]);
        match dims.as_slice() {
            [a, b] => one(c.tensor("self")?.rot90(k as isize, [*a as isize, *b as isize])),
            _ => Err(Failure::Argument(format!("{dims:?} are not two dimensions"))),
        }
    }),
    ("squeeze", |c| {
        let x = c.tensor("self")?;
        one(match c.ints_opt("dim")? {
            None => x.squeeze(),
            Some(dims) => x.squeeze_dims(&dims.iter().map(|&d| d as isize).collect::<Vec<_>>()),
        })
    }),
    ("Tensor.squeeze_", |c| {
        let x = c.tensor("self")?;
        one(match c.ints_opt("dim")? {
            None => x.squeeze_(),
            Some(dims) => x.squeeze_dims_(&dims.iter().map(|&d| d as isize).collect::<Vec<_>>()),
        })
    }),
    ("swapaxes", |c| {
        let (a, b) = (c.int("axis0")?, c.int("axis1")?);
        one(c.tensor("self")?.swapaxes(a as isize, b as isize))
    }),
    ("transpose", |c| {
        let (a, b) = (c.int("dim0")?, c.int("dim1")?);
        one(c.tensor("self")?.transpose(a as isize, b as isize))
    }),
    ("Tensor.transpose_", |c| {
        let (a, b) = (c.int("dim0")?, c.int("dim1")?);
        one(c.tensor("self")?.transpose_(a as isize, b as isize))
    }),
    ("unflatten", |c| {
        let (dim, sizes) = (c.int("dim")?, dims(c, "sizes")?);
        one(c.tensor("self")?.unflatten(dim as isize, &sizes))
    }),
    ("unsqueeze", |c| {
        let dim = c.int("dim")?;
        one(c.tensor("self")?.unsqueeze(dim as isize))
    }),
    ("Tensor.unsqueeze_", |c| {
        let dim = c.int("dim")?;
        one(c.tensor("self")?.unsqueeze_(dim as isize))
    }),
];
