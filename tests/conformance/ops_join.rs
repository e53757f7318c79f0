//! Drivers of the families `join_split` and of what pads and rearranges.

use crate::backend::{many, one, op};
use crate::call::{Call, Failure, Output};
use crate::drivers::{Table, Tensor};
use crate::ops_shape::{dims, size, sizes};
use calor::{Indexing, PadMode, Sections};

/// Rows of functions of a list of tensors.
macro_rules! lists {
    ($($op:literal => $function:ident,)*) => {
        &[$(($op, |c| {
            // a list, or each by itself
            let all = match c.has("tensors") {
                true => c.tensors("tensors")?,
                false => c.tensors(0)?,
            };
            one(calor::$function(&all.iter().collect::<Vec<_>>()))
        }),)*]
    };
}

/// Functions of a list of tensors.
pub const OPS: Table = lists! {
    "block_diag" => block_diag,
    "cartesian_prod" => cartesian_prod,
    "column_stack" => column_stack,
    "dstack" => dstack,
    "hstack" => hstack,
    "vstack" => vstack,
};

fn sections(c: &mut Call<Tensor>, position: usize) -> Result<Sections, Failure> {
    if c.is_tensor(position) {
        return c.tensor(position)?.to_sections().map_err(op);
    }
    let value = c.get(position).cloned();
    match value {
        Some(crate::corpus::Value::Int(n)) => Ok(Sections::Parts(size(n)?)),
        _ => Ok(Sections::At(c.ints(position)?.into_iter().map(|d| d as isize).collect())),
    }
}

fn list(result: calor::Result<Vec<Tensor>>) -> Result<Vec<Output<Tensor>>, Failure> {
    Ok(many(result.map_err(op)?))
}

/// The others.
pub const MORE: Table = &[
    ("cat", |c| {
        let (all, dim) = (c.tensors("tensors")?, c.int_or("dim", 0)?);
        one(calor::cat(&all.iter().collect::<Vec<_>>(), dim as isize))
    }),
    ("stack", |c| {
        let (all, dim) = (c.tensors("tensors")?, c.int_or("dim", 0)?);
        one(calor::stack(&all.iter().collect::<Vec<_>>(), dim as isize))
    }),
    ("combinations", |c| {
        let (r, again) = (size(c.int_or("r", 2)?)?, c.bool_or("with_replacement", false)?);
        one(calor::combinations(&c.tensor("self")?, r, again))
    }),
    ("meshgrid", |c| {
        let how = match c.str_opt("indexing")?.as_deref() {
            None | Some("ij") => Indexing::Ij,
            Some("xy") => Indexing::Xy,
            Some(other) => return Err(Failure::Argument(format!("no indexing {other}"))),
        };
        let all = c.tensors("tensors")?;
        list(calor::meshgrid(&all.iter().collect::<Vec<_>>(), how))
    }),
    ("split", |c| {
        let (x, dim) = (c.tensor("tensor")?, c.int_or("dim", 0)? as isize);
        let several = matches!(c.get("split_size_or_sections"), Some(crate::corpus::Value::List(_)));
        let parts = sizes(&c.ints("split_size_or_sections")?)?;
        list(if several { x.split_with_sizes(&parts, dim) } else { x.split(parts[0], dim) })
    }),
    ("split_with_sizes", |c| {
        let (x, dim) = (c.tensor("self")?, c.int_or("dim", 0)? as isize);
        list(x.split_with_sizes(&sizes(&c.ints("split_sizes")?)?, dim))
    }),
    ("chunk", |c| {
        let (x, dim) = (c.tensor("self")?, c.int_or("dim", 0)? as isize);
        list(x.chunk(size(c.int("chunks")?)?, dim))
    }),
    ("tensor_split", |c| {
        let (x, dim) = (c.tensor("self")?, c.int_or("dim", 0)? as isize);
        list(x.tensor_split(&sections(c, 1)?, dim))
    }),
    ("hsplit", |c| {
        let x = c.tensor("self")?;
        list(x.hsplit(&sections(c, 1)?))
    }),
    ("vsplit", |c| {
        let x = c.tensor("self")?;
        list(x.vsplit(&sections(c, 1)?))
    }),
    ("dsplit", |c| {
        let x = c.tensor("self")?;
        list(x.dsplit(&sections(c, 1)?))
    }),
    ("unbind", |c| {
        let (x, dim) = (c.tensor("self")?, c.int_or("dim", 0)? as isize);
        list(x.unbind(dim))
    }),
    ("nn.functional.pad", |c| {
        let (pad, value) = (dims(c, "pad")?, c.float_or("value", 0.0)?);
        let mode = match c.str_or("mode", "constant")?.as_str() {
            "constant" => PadMode::Constant(value),
            "reflect" => PadMode::Reflect,
            "replicate" => PadMode::Replicate,
            "circular" => PadMode::Circular,
            other => return Err(Failure::Argument(format!("no mode {other}"))),
        };
        one(c.tensor("input")?.pad(&pad, mode))
    }),
    ("nn.functional.one_hot", |c| {
        let classes = match c.int_or("num_classes", -1)? {
            -1 => None,
            n => Some(size(n)?),
        };
        one(c.tensor("self")?.one_hot(classes))
    }),
    ("nn.functional.pixel_shuffle", |c| {
        let factor = size(c.int("upscale_factor")?)?;
        one(c.tensor("self")?.pixel_shuffle(factor))
    }),
    ("nn.functional.pixel_unshuffle", |c| {
        let factor = size(c.int("downscale_factor")?)?;
        one(c.tensor("self")?.pixel_unshuffle(factor))
    }),
    ("nn.functional.channel_shuffle", |c| {
        let groups = size(c.int("groups")?)?;
        one(c.tensor("self")?.channel_shuffle(groups))
    }),
];
