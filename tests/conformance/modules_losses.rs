//! How losses are made and called.

use crate::backend::{many, one, op};
use crate::call::Failure;
use crate::drivers::Tensor;
use crate::module_table::Row;
use crate::modules::{Args, Built};
use crate::modules_layers::{count, sizes};
use crate::ops_loss::{lengths, reduction};
use calor::nn::functional::{BceOptions, CrossEntropyOptions, CtcOptions, NllOptions};
use calor::nn::{self, Module};

type Make = Result<Built, Failure>;

fn loss<M: Module + Send + Sync + 'static>(module: M, f: fn(&M, &Tensor, &Tensor) -> calor::Result<Tensor>) -> Make {
    Built::other(Ok(module), move |m, c| one(f(m, &c.tensor("input")?, &c.tensor("target")?)))
}

const PAIR: &str = "forward(input, target)";

macro_rules! row {
    ($name:literal, $init:literal, $build:expr) => {
        Row {
            name: $name,
            init: concat!("init(", $init, "size_average=None, reduce=None, reduction='mean')"),
            forward: PAIR,
            build: $build,
        }
    };
}

fn triplet(c: Args<'_>) -> Make {
    let loss = nn::TripletMarginLoss {
        margin: c.float_or("margin", 1.0)?,
        p: c.float_or("p", 2.0)?,
        eps: c.float_or("eps", 1e-6)?,
        swap: c.bool_or("swap", false)?,
        reduction: reduction(c)?,
    };
    Built::other(Ok(loss), |m, c| one(m.forward(&c.tensor("anchor")?, &c.tensor("positive")?, &c.tensor("negative")?)))
}

fn triplet_with_distance(c: Args<'_>) -> Make {
    if c.has("distance_function") {
        return Err(Failure::Unsupported("a distance of one's own".into()));
    }
    let (margin, swap) = (c.float_or("margin", 1.0)?, c.bool_or("swap", false)?);
    let loss = nn::TripletMarginWithDistanceLoss::pairwise(margin, swap, reduction(c)?);
    Built::other(Ok(loss), |m, c| one(m.forward(&c.tensor("anchor")?, &c.tensor("positive")?, &c.tensor("negative")?)))
}

fn ctc(c: Args<'_>) -> Make {
    let blank = usize::try_from(c.int_or("blank", 0)?).unwrap_or(usize::MAX);
    let options = CtcOptions::default().blank(blank).reduction(reduction(c)?);
    let options = options.zero_infinity(c.bool_or("zero_infinity", false)?);
    Built::other(Ok(nn::CTCLoss::new(options)), |m, c| {
        let (x, y) = (c.tensor("log_probs")?, c.tensor("targets")?);
        one(m.forward(&x, &y, lengths(c, "input_lengths")?, lengths(c, "target_lengths")?))
    })
}

fn linear_cross_entropy(c: Args<'_>) -> Make {
    if c.has("options") {
        return Err(Failure::Unsupported("settings of PyTorch's own computation in parts".into()));
    }
    let sizes = if c.has("out_features") { sizes(c, "out_features")? } else { Vec::new() };
    let mut o = nn::LinearCrossEntropyOptions::default()
        .out_features(sizes)
        .bias(c.bool_or("bias", false)?)
        .reduction(reduction(c)?)
        .label_smoothing(c.float_or("label_smoothing", 0.0)?);
    o.ignore_index = c.int_opt("ignore_index")?;
    o.weight = c.tensor_opt("weight")?;
    let made = nn::LinearCrossEntropyLoss::new(count(c, "in_features")?, count(c, "num_classes")?, o);
    Built::other(made, |m, c| one(m.forward(&c.tensor("input")?, &c.tensor("target")?)))
}

fn clusters(c: Args<'_>) -> Make {
    let options = nn::AdaptiveLogSoftmaxWithLossOptions::default()
        .div_value(c.float_or("div_value", 4.0)?)
        .head_bias(c.bool_or("head_bias", false)?);
    let cutoffs = sizes(c, "cutoffs")?;
    let made = nn::AdaptiveLogSoftmaxWithLoss::new(count(c, "in_features")?, count(c, "n_classes")?, &cutoffs, options);
    Built::other(made, |m, c| {
        let (output, loss) = m.forward(&c.tensor("input_")?, &c.tensor("target_")?).map_err(op)?;
        Ok(many([output, loss]))
    })
}

fn kl_div(c: Args<'_>) -> Make {
    let mut loss_ = nn::KLDivLoss::new().log_target(c.bool_or("log_target", false)?);
    loss_.batch_mean = c.has("reduction") && c.str_or("reduction", "mean")? == "batchmean";
    if !loss_.batch_mean {
        loss_.reduction = reduction(c)?;
    }
    loss(loss_, nn::KLDivLoss::forward)
}

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        name: "nn.AdaptiveLogSoftmaxWithLoss",
        init: "init(in_features, n_classes, cutoffs, div_value=4.0, head_bias=False, device=None, dtype=None)",
        forward: "forward(input_, target_)",
        build: clusters,
    },
    row!("nn.MSELoss", "", |c| loss(nn::MSELoss::new(reduction(c)?), nn::MSELoss::forward)),
    row!("nn.L1Loss", "", |c| loss(nn::L1Loss::new(reduction(c)?), nn::L1Loss::forward)),
    row!("nn.SoftMarginLoss", "", |c| loss(nn::SoftMarginLoss::new(reduction(c)?), nn::SoftMarginLoss::forward)),
    row!("nn.MultiLabelMarginLoss", "", |c| {
        loss(nn::MultiLabelMarginLoss::new(reduction(c)?), nn::MultiLabelMarginLoss::forward)
    }),
    Row {
        name: "nn.CrossEntropyLoss",
        init: "init(weight=None, size_average=None, ignore_index=-100, reduce=None, reduction='mean', label_smoothing=0.0)",
        forward: PAIR,
        build: |c| {
            let mut o = CrossEntropyOptions::default().reduction(reduction(c)?);
            o.weight = c.tensor_opt("weight")?;
            o.ignore_index = c.int_or("ignore_index", -100)?;
            o.label_smoothing = c.float_or("label_smoothing", 0.0)?;
            loss(nn::CrossEntropyLoss::new(o), nn::CrossEntropyLoss::forward)
        },
    },
    Row {
        name: "nn.NLLLoss",
        init: "init(weight=None, size_average=None, ignore_index=-100, reduce=None, reduction='mean')",
        forward: PAIR,
        build: |c| {
            let mut o = NllOptions::default().reduction(reduction(c)?);
            o.weight = c.tensor_opt("weight")?;
            o.ignore_index = c.int_or("ignore_index", -100)?;
            loss(nn::NLLLoss::new(o), nn::NLLLoss::forward)
        },
    },
    Row {
        name: "nn.BCEWithLogitsLoss",
        init: "init(weight=None, size_average=None, reduce=None, reduction='mean', pos_weight=None)",
        forward: PAIR,
        build: |c| {
            let mut o = BceOptions::default().reduction(reduction(c)?);
            o.weight = c.tensor_opt("weight")?;
            o.pos_weight = c.tensor_opt("pos_weight")?;
            loss(nn::BCEWithLogitsLoss::new(o), nn::BCEWithLogitsLoss::forward)
        },
    },
    row!("nn.BCELoss", "weight=None, ", |c| {
        loss(nn::BCELoss::new(c.tensor_opt("weight")?.as_ref(), reduction(c)?), nn::BCELoss::forward)
    }),
    row!("nn.MultiLabelSoftMarginLoss", "weight=None, ", |c| {
        let module = nn::MultiLabelSoftMarginLoss::new(c.tensor_opt("weight")?.as_ref(), reduction(c)?);
        loss(module, nn::MultiLabelSoftMarginLoss::forward)
    }),
    row!("nn.MultiMarginLoss", "p=1, margin=1.0, weight=None, ", |c| {
        let (p, margin, weight) = (c.int_or("p", 1)?, c.float_or("margin", 1.0)?, c.tensor_opt("weight")?);
        let p = u32::try_from(p).map_err(|e| Failure::Op(e.to_string()))?;
        loss(nn::MultiMarginLoss::new(p, margin, weight.as_ref(), reduction(c)?), nn::MultiMarginLoss::forward)
    }),
    Row {
        name: "nn.CTCLoss",
        init: "init(blank=0, reduction='mean', zero_infinity=False)",
        forward: "forward(log_probs, targets, input_lengths, target_lengths)",
        build: ctc,
    },
    Row {
        name: "nn.LinearCrossEntropyLoss",
        init: "init(in_features, num_classes, *, out_features=[], bias=False, device=None, dtype=None, reduction='mean', weight=None, ignore_index=None, label_smoothing=0.0, options=None)",
        forward: PAIR,
        build: linear_cross_entropy,
    },
    Row {
        name: "nn.SmoothL1Loss",
        init: "init(size_average=None, reduce=None, reduction='mean', beta=1.0)",
        forward: PAIR,
        build: |c| {
            let beta = c.float_or("beta", 1.0)?;
            loss(nn::SmoothL1Loss::new().beta(beta).reduction(reduction(c)?), nn::SmoothL1Loss::forward)
        },
    },
    Row {
        name: "nn.HuberLoss",
        init: "init(reduction='mean', delta=1.0)",
        forward: PAIR,
        build: |c| {
            let delta = c.float_or("delta", 1.0)?;
            loss(nn::HuberLoss::new().delta(delta).reduction(reduction(c)?), nn::HuberLoss::forward)
        },
    },
    Row {
        name: "nn.KLDivLoss",
        init: "init(size_average=None, reduce=None, reduction='mean', log_target=False)",
        forward: PAIR,
        build: kl_div,
    },
    Row {
        name: "nn.PoissonNLLLoss",
        init: "init(log_input=True, full=False, size_average=None, eps=1e-08, reduce=None, reduction='mean')",
        forward: PAIR,
        build: |c| {
            let o = nn::PoissonNLLLoss::new().log_input(c.bool_or("log_input", true)?).full(c.bool_or("full", false)?);
            let o = o.eps(c.float_or("eps", 1e-8)?).reduction(reduction(c)?);
            loss(o, nn::PoissonNLLLoss::forward)
        },
    },
    Row {
        name: "nn.GaussianNLLLoss",
        init: "init(*, full=False, eps=1e-06, reduction='mean')",
        forward: "forward(input, target, var)",
        build: |c| {
            let o = nn::GaussianNLLLoss::new().full(c.bool_or("full", false)?).eps(c.float_or("eps", 1e-6)?);
            Built::other(Ok(o.reduction(reduction(c)?)), |m, c| {
                let x = c.tensor("input")?;
                let var = match c.is_tensor("var") {
                    true => c.tensor("var")?,
                    false => Tensor::full([], c.float("var")?, (x.dtype(), x.device())).map_err(op)?,
                };
                one(m.forward(&x, &c.tensor("target")?, &var))
            })
        },
    },
    row!("nn.MarginRankingLoss", "margin=0.0, ", |c| {
        let o = nn::MarginRankingLoss::new().margin(c.float_or("margin", 0.0)?).reduction(reduction(c)?);
        Built::other(Ok(o), |m, c| one(m.forward(&c.tensor(0)?, &c.tensor(1)?, &c.tensor(2)?)))
    }),
    row!("nn.CosineEmbeddingLoss", "margin=0.0, ", |c| {
        let o = nn::CosineEmbeddingLoss::new().margin(c.float_or("margin", 0.0)?).reduction(reduction(c)?);
        Built::other(Ok(o), |m, c| one(m.forward(&c.tensor(0)?, &c.tensor(1)?, &c.tensor(2)?)))
    }),
    row!("nn.HingeEmbeddingLoss", "margin=1.0, ", |c| {
        let o = nn::HingeEmbeddingLoss::new().margin(c.float_or("margin", 1.0)?).reduction(reduction(c)?);
        loss(o, nn::HingeEmbeddingLoss::forward)
    }),
    Row {
        name: "nn.TripletMarginLoss",
        init: "init(margin=1.0, p=2.0, eps=1e-06, swap=False, size_average=None, reduce=None, reduction='mean')",
        forward: "forward(anchor, positive, negative)",
        build: triplet,
    },
    Row {
        name: "nn.TripletMarginWithDistanceLoss",
        init: "init(*, distance_function=None, margin=1.0, swap=False, reduction='mean')",
        forward: "forward(anchor, positive, negative)",
        build: triplet_with_distance,
    },
];
