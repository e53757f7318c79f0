//! How activations are made.

use crate::call::Failure;
use crate::module_table::Row;
use crate::modules::Args;
use crate::modules_layers::{Make, ignored, layer, row};
use calor::{Approximate, nn};

fn dim(c: Args<'_>) -> Result<isize, Failure> {
    match c.int_opt("dim")? {
        Some(dim) => Ok(dim as isize),
        None => Err(Failure::Unsupported("a dimension that is chosen by the input".into())),
    }
}

fn hardtanh(c: Args<'_>) -> Make {
    ignored(c);
    let (low, high) = (c.float_opt("min_value")?, c.float_opt("max_value")?);
    let (low, high) = (low.unwrap_or(c.float_or("min_val", -1.0)?), high.unwrap_or(c.float_or("max_val", 1.0)?));
    layer(nn::Hardtanh::new(low, high))
}

fn gelu(c: Args<'_>) -> Make {
    match c.str_or("approximate", "none")?.as_str() {
        "none" => layer(nn::GELU::default()),
        "tanh" => layer(nn::GELU { approximate: Approximate::Tanh }),
        other => Err(Failure::Op(format!("approximate {other}"))),
    }
}

macro_rules! rows {
    ($($name:literal $init:literal |$c:ident| $build:expr;)*) => {
        /// The rows.
        pub const ROWS: &[Row] = &[$(row!($name, $init, |$c| {
            ignored($c);
            $build
        }),)*];
    };
}

rows! {
    "nn.ReLU" "inplace=False" |c| layer(nn::ReLU);
    "nn.ReLU6" "inplace=False" |c| layer(nn::ReLU6);
    "nn.SiLU" "inplace=False" |c| layer(nn::SiLU);
    "nn.Mish" "inplace=False" |c| layer(nn::Mish);
    "nn.SELU" "inplace=False" |c| layer(nn::SELU);
    "nn.Hardswish" "inplace=False" |c| layer(nn::Hardswish);
    "nn.Hardsigmoid" "inplace=False" |c| layer(nn::Hardsigmoid);
    "nn.Sigmoid" "" |c| layer(nn::Sigmoid);
    "nn.LogSigmoid" "" |c| layer(nn::LogSigmoid);
    "nn.Tanh" "" |c| layer(nn::Tanh);
    "nn.Tanhshrink" "" |c| layer(nn::Tanhshrink);
    "nn.Softsign" "" |c| layer(nn::Softsign);
    "nn.Softmax2d" "" |c| layer(nn::Softmax2d);
    "nn.ELU" "alpha=1.0, inplace=False" |c| layer(nn::ELU::new(c.float_or("alpha", 1.0)?));
    "nn.CELU" "alpha=1.0, inplace=False" |c| layer(nn::CELU::new(c.float_or("alpha", 1.0)?));
    "nn.LeakyReLU" "negative_slope=0.01, inplace=False" |c| {
        layer(nn::LeakyReLU::new(c.float_or("negative_slope", 0.01)?))
    };
    "nn.Hardshrink" "lambd=0.5" |c| layer(nn::Hardshrink::new(c.float_or("lambd", 0.5)?));
    "nn.Softshrink" "lambd=0.5" |c| layer(nn::Softshrink::new(c.float_or("lambd", 0.5)?));
    "nn.Softplus" "beta=1.0, threshold=20.0" |c| {
        layer(nn::Softplus { beta: c.float_or("beta", 1.0)?, threshold: c.float_or("threshold", 20.0)? })
    };
    "nn.Threshold" "threshold, value, inplace=False" |c| {
        layer(nn::Threshold::new(c.float("threshold")?, c.float("value")?))
    };
    "nn.RReLU" "lower=0.125, upper=0.3333333333333333, inplace=False" |c| {
        let (lower, upper) = (c.float_or("lower", 1.0 / 8.0)?, c.float_or("upper", 1.0 / 3.0)?);
        crate::modules::Built::layer(nn::RReLU::new(lower, upper))
    };
    "nn.Hardtanh" "min_val=-1.0, max_val=1.0, inplace=False, min_value=None, max_value=None" |c| hardtanh(c);
    "nn.GELU" "approximate='none'" |c| gelu(c);
    "nn.GLU" "dim=-1" |c| layer(nn::GLU::new(c.int_or("dim", -1)? as isize));
    "nn.PReLU" "num_parameters=1, init=0.25, device=None, dtype=None" |c| {
        let count = crate::ops_nn::size(c.int_or("num_parameters", 1)?)?;
        crate::modules::Built::layer(nn::PReLU::new(count, c.float_or("init", 0.25)?, ()))
    };
    "nn.Softmax" "dim=None" |c| layer(nn::Softmax::new(dim(c)?));
    "nn.LogSoftmax" "dim=None" |c| layer(nn::LogSoftmax::new(dim(c)?));
    "nn.Softmin" "dim=None" |c| layer(nn::Softmin::new(dim(c)?));
}
