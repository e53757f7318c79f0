//! Drivers of the family `loss`.

use crate::backend::op;
use crate::call::{Call, Failure, Output};
use crate::drivers::{Table, Tensor};
use calor::nn::functional::{self as f, BceOptions, CrossEntropyOptions, NllOptions, Reduction};

type Outputs = Result<Vec<Output<Tensor>>, Failure>;
type Args<'a> = &'a mut Call<Tensor>;

fn one(t: calor::Result<Tensor>) -> Outputs {
    Ok(vec![Output::Tensor(t.map_err(op)?)])
}

fn reduction(c: Args<'_>) -> Result<Reduction, Failure> {
    // the older way to say it
    let (size_average, reduce) = (c.bool_opt("size_average")?, c.bool_opt("reduce")?);
    if size_average.is_some() || reduce.is_some() {
        return Ok(match (reduce.unwrap_or(true), size_average.unwrap_or(true)) {
            (false, _) => Reduction::None,
            (true, true) => Reduction::Mean,
            (true, false) => Reduction::Sum,
        });
    }
    match c.str_or("reduction", "mean")?.as_str() {
        "none" => Ok(Reduction::None),
        "mean" => Ok(Reduction::Mean),
        "sum" => Ok(Reduction::Sum),
        other => Err(Failure::Op(format!("{other} is not a valid value for reduction"))),
    }
}

type Plain = fn(&Tensor, &Tensor, Reduction) -> calor::Result<Tensor>;

fn plain(c: Args<'_>, loss: Plain) -> Outputs {
    let (x, y, r) = (c.tensor("input")?, c.tensor("target")?, reduction(c)?);
    one(loss(&x, &y, r))
}

/// Drivers by name.
pub const OPS: Table = &[
    ("nn.functional.cross_entropy", |c| {
        let (x, y) = (c.tensor("input")?, c.tensor("target")?);
        let mut options = CrossEntropyOptions::default().reduction(reduction(c)?);
        options.weight = c.tensor_opt("weight")?;
        options.ignore_index = c.int_or("ignore_index", -100)?;
        options.label_smoothing = c.float_or("label_smoothing", 0.0)?;
        one(f::cross_entropy(&x, &y, options))
    }),
    ("nn.functional.nll_loss", |c| {
        let (x, y) = (c.tensor("input")?, c.tensor("target")?);
        let mut options = NllOptions::default().reduction(reduction(c)?);
        options.weight = c.tensor_opt("weight")?;
        options.ignore_index = c.int_or("ignore_index", -100)?;
        one(f::nll_loss(&x, &y, options))
    }),
    ("nn.functional.mse_loss", |c| plain(c, f::mse_loss)),
    ("nn.functional.l1_loss", |c| plain(c, f::l1_loss)),
    ("nn.functional.binary_cross_entropy_with_logits", |c| {
        let (x, y) = (c.tensor("input")?, c.tensor("target")?);
        let mut options = BceOptions::default().reduction(reduction(c)?);
        options.weight = c.tensor_opt("weight")?;
        options.pos_weight = c.tensor_opt("pos_weight")?;
        one(f::binary_cross_entropy_with_logits(&x, &y, options))
    }),
];
