//! Drivers of the family `loss`.

use crate::backend::op;
use crate::call::{Call, Failure, Output};
use crate::drivers::{Table, Tensor};
use calor::nn::functional::{self as f, BceOptions, CrossEntropyOptions, CtcOptions, NllOptions, Reduction};

type Outputs = Result<Vec<Output<Tensor>>, Failure>;
type Args<'a> = &'a mut Call<Tensor>;

fn one(t: calor::Result<Tensor>) -> Outputs {
    Ok(vec![Output::Tensor(t.map_err(op)?)])
}

pub fn reduction(c: Args<'_>) -> Result<Reduction, Failure> {
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

/// Lengths as a tensor or a list.
pub fn lengths(c: Args<'_>, name: &str) -> Result<f::Lengths, Failure> {
    if c.is_tensor(name) {
        return Ok(f::Lengths::Tensor(c.tensor(name)?));
    }
    let list = c.ints(name)?.into_iter().map(usize::try_from).collect::<Result<Vec<usize>, _>>();
    list.map(f::Lengths::List).map_err(|_| Failure::Op(format!("{name} are negative")))
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
    ("nn.functional.smooth_l1_loss", |c| {
        let (x, y, beta, r) = (c.tensor(0)?, c.tensor(1)?, c.float_or("beta", 1.0)?, reduction(c)?);
        one(f::smooth_l1_loss(&x, &y, beta, r))
    }),
    ("nn.functional.huber_loss", |c| {
        let (x, y, delta, r) = (c.tensor(0)?, c.tensor(1)?, c.float_or("delta", 1.0)?, reduction(c)?);
        let weight = c.tensor_opt("weight")?;
        one(f::huber_loss(&x, &y, delta, weight.as_ref(), r))
    }),
    ("nn.functional.binary_cross_entropy", |c| {
        let (x, y, weight, r) = (c.tensor(0)?, c.tensor(1)?, c.tensor_opt("weight")?, reduction(c)?);
        one(f::binary_cross_entropy(&x, &y, weight.as_ref(), r))
    }),
    ("nn.functional.ctc_loss", |c| {
        let (x, y) = (c.tensor("log_probs")?, c.tensor("targets")?);
        let (inputs, outputs) = (lengths(c, "input_lengths")?, lengths(c, "target_lengths")?);
        let blank = usize::try_from(c.int_or("blank", 0)?).unwrap_or(usize::MAX);
        let options = CtcOptions::default().blank(blank).reduction(reduction(c)?);
        one(f::ctc_loss(&x, &y, inputs, outputs, options.zero_infinity(c.bool_or("zero_infinity", false)?)))
    }),
    ("nn.functional.kl_div", |c| {
        let (x, y, log_target) = (c.tensor(0)?, c.tensor(1)?, c.bool_or("log_target", false)?);
        if c.has("reduction") && c.str_or("reduction", "mean")? == "batchmean" {
            let sum = f::kl_div(&x, &y, log_target, Reduction::Sum).map_err(op)?;
            return one(sum / x.shape().first().copied().unwrap_or(1));
        }
        let r = reduction(c)?;
        one(f::kl_div(&x, &y, log_target, r))
    }),
    ("nn.functional.poisson_nll_loss", |c| {
        let (x, y, r) = (c.tensor(0)?, c.tensor(1)?, reduction(c)?);
        let (log_input, full) = (c.bool_or("log_input", true)?, c.bool_or("full", false)?);
        one(f::poisson_nll_loss(&x, &y, log_input, full, c.float_or("eps", 1e-8)?, r))
    }),
    ("nn.functional.gaussian_nll_loss", |c| {
        let (x, y, r) = (c.tensor(0)?, c.tensor(1)?, reduction(c)?);
        let var = match c.is_tensor("var") {
            true => c.tensor("var")?,
            false => Tensor::full([], c.float("var")?, (x.dtype(), x.device())).map_err(op)?,
        };
        let full = c.bool_or("full", false)?;
        one(f::gaussian_nll_loss(&x, &y, &var, full, c.float_or("eps", 1e-6)?, r))
    }),
    ("nn.functional.multilabel_margin_loss", |c| plain(c, f::multilabel_margin_loss)),
    ("nn.functional.soft_margin_loss", |c| plain(c, f::soft_margin_loss)),
    ("nn.functional.hinge_embedding_loss", |c| {
        let (x, y, margin, r) = (c.tensor(0)?, c.tensor(1)?, c.float_or("margin", 1.0)?, reduction(c)?);
        one(f::hinge_embedding_loss(&x, &y, margin, r))
    }),
    ("nn.functional.margin_ranking_loss", |c| {
        let (a, b, y) = (c.tensor(0)?, c.tensor(1)?, c.tensor(2)?);
        let (margin, r) = (c.float_or("margin", 0.0)?, reduction(c)?);
        one(f::margin_ranking_loss(&a, &b, &y, margin, r))
    }),
    ("nn.functional.cosine_embedding_loss", |c| {
        let (a, b, y) = (c.tensor(0)?, c.tensor(1)?, c.tensor(2)?);
        let (margin, r) = (c.float_or("margin", 0.0)?, reduction(c)?);
        one(f::cosine_embedding_loss(&a, &b, &y, margin, r))
    }),
    ("nn.functional.triplet_margin_loss", |c| {
        let (a, p, n) = (c.tensor(0)?, c.tensor(1)?, c.tensor(2)?);
        let (margin, norm) = (c.float_or("margin", 1.0)?, (c.float_or("p", 2.0)?, c.float_or("eps", 1e-6)?));
        let (swap, r) = (c.bool_or("swap", false)?, reduction(c)?);
        one(f::triplet_margin_loss((&a, &p, &n), margin, norm, swap, r))
    }),
    ("nn.functional.triplet_margin_with_distance_loss", |c| {
        if c.has("distance_function") {
            return Err(Failure::Unsupported("a distance of one's own".into()));
        }
        let (a, p, n) = (c.tensor(0)?, c.tensor(1)?, c.tensor(2)?);
        let (margin, swap, r) = (c.float_or("margin", 1.0)?, c.bool_or("swap", false)?, reduction(c)?);
        let distance = |a: &Tensor, b: &Tensor| f::pairwise_distance(a, b, 2.0, 1e-6, false);
        one(f::triplet_margin_with_distance_loss((&a, &p, &n), distance, margin, swap, r))
    }),
    ("nn.functional.multilabel_soft_margin_loss", |c| {
        let (x, y, weight, r) = (c.tensor(0)?, c.tensor(1)?, c.tensor_opt("weight")?, reduction(c)?);
        one(f::multilabel_soft_margin_loss(&x, &y, weight.as_ref(), r))
    }),
    ("nn.functional.multi_margin_loss", |c| {
        let (x, y, weight, r) = (c.tensor(0)?, c.tensor(1)?, c.tensor_opt("weight")?, reduction(c)?);
        let p = u32::try_from(c.int_or("p", 1)?).unwrap_or(0);
        one(f::multi_margin_loss(&x, &y, p, c.float_or("margin", 1.0)?, weight.as_ref(), r))
    }),
];
