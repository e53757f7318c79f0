//! Drivers of the family `nn`.

use crate::backend::op;
use crate::call::{Call, Failure, Output};
use crate::corpus::Value;
use crate::drivers::{Table, Tensor};
use calor::nn::functional::{self as f, GridMode, GridOptions, GridPadding, Momentum, Padding, Resize, ResizeMode};
use calor::nn::{AvgPool, MaxPool};

type Outputs = Result<Vec<Output<Tensor>>, Failure>;
type Args<'a> = &'a mut Call<Tensor>;

fn one(t: calor::Result<Tensor>) -> Outputs {
    Ok(vec![Output::Tensor(t.map_err(op)?)])
}

/// A size: negative ones are refused, as calor's types do.
pub fn size(n: i64) -> Result<usize, Failure> {
    usize::try_from(n).map_err(|_| Failure::Op(format!("{n} is negative")))
}

/// One number for each dimension; one alone stands for all, none for `default`.
pub fn sides<const N: usize>(c: Args<'_>, name: &str, default: [usize; N]) -> Result<[usize; N], Failure> {
    let list = c.ints_opt(name)?.unwrap_or_default();
    let list: Vec<usize> = list.into_iter().map(size).collect::<Result<_, _>>()?;
    match list[..] {
        [] => Ok(default),
        [n] => Ok([n; N]),
        _ => list.try_into().map_err(|l| Failure::Op(format!("{name} is {l:?} for {N} dimensions"))),
    }
}

fn conv<const N: usize>(c: Args<'_>) -> Outputs {
    let (x, w, b) = (c.tensor("input")?, c.tensor("weight")?, c.tensor_opt("bias")?);
    let (stride, dilation) = (sides(c, "stride", [1; N])?, sides(c, "dilation", [1; N])?);
    let groups = size(c.int_or("groups", 1)?)?;
    let named = match c.get("padding") {
        Some(Value::Str(_)) => Some(c.str_or("padding", "valid")?),
        _ => None,
    };
    let numbers;
    let padding = match named.as_deref() {
        Some("same") => Padding::Same,
        Some("valid") => Padding::Valid,
        Some(other) => return Err(Failure::Op(format!("padding {other:?}"))),
        None => {
            numbers = sides(c, "padding", [0; N])?;
            Padding::Sides(&numbers)
        }
    };
    one(f::conv(&x, &w, b.as_ref(), (&stride, padding, &dilation), groups))
}

fn max_pool<const N: usize>(c: Args<'_>) -> Outputs {
    let x = c.tensor(0)?;
    let kernel_size = sides(c, "kernel_size", [0; N])?;
    let pool = MaxPool {
        kernel_size,
        stride: sides(c, "stride", kernel_size)?,
        padding: sides(c, "padding", [0; N])?,
        dilation: sides(c, "dilation", [1; N])?,
        ceil_mode: c.bool_or("ceil_mode", false)?,
    };
    if c.bool_or("return_indices", false)? {
        let (values, indices) = f::max_pool_with_indices(&x, &pool).map_err(op)?;
        return Ok(vec![Output::Tensor(values), Output::Tensor(indices)]);
    }
    one(f::max_pool(&x, &pool))
}

fn avg_pool<const N: usize>(c: Args<'_>) -> Outputs {
    let x = c.tensor(0)?;
    let kernel_size = sides(c, "kernel_size", [0; N])?;
    let pool = AvgPool {
        kernel_size,
        stride: sides(c, "stride", kernel_size)?,
        padding: sides(c, "padding", [0; N])?,
        ceil_mode: c.bool_or("ceil_mode", false)?,
        count_include_pad: c.bool_or("count_include_pad", true)?,
        divisor_override: if N == 1 { None } else { c.int_opt("divisor_override")? },
    };
    one(f::avg_pool(&x, &pool))
}

fn batch_norm(c: Args<'_>) -> Outputs {
    let x = c.tensor(0)?;
    let (mean, var) = (c.tensor_opt("running_mean")?, c.tensor_opt("running_var")?);
    let (weight, bias) = (c.tensor_opt("weight")?, c.tensor_opt("bias")?);
    let training = c.bool_or("training", false)?;
    let momentum = Momentum::Share(c.float_or("momentum", 0.1)?);
    let eps = c.float_or("eps", 1e-5)?;
    let running = mean.as_ref().zip(var.as_ref());
    one(f::batch_norm(&x, running, weight.as_ref(), bias.as_ref(), training, &momentum, eps))
}

fn layer_norm(c: Args<'_>) -> Outputs {
    let x = c.tensor(0)?;
    let shape: Vec<usize> = c.ints("normalized_shape")?.into_iter().map(size).collect::<Result<_, _>>()?;
    let (weight, bias) = (c.tensor_opt("weight")?, c.tensor_opt("bias")?);
    one(f::layer_norm(&x, &shape, weight.as_ref(), bias.as_ref(), c.float_or("eps", 1e-5)?))
}

/// Sizes to pool to; None keeps a dimension.
pub fn outputs<const N: usize>(c: Args<'_>) -> Result<Vec<Option<usize>>, Failure> {
    let one = |v: &Value| match v {
        Value::None => Ok(None),
        Value::Int(n) => size(*n).map(Some),
        other => Err(Failure::Op(format!("output_size holds {other:?}"))),
    };
    match c.get("output_size").cloned() {
        Some(Value::List(list)) if list.len() == N => list.iter().map(one).collect(),
        Some(Value::List(list)) => Err(Failure::Op(format!("output_size must be {N} numbers, got {list:?}"))),
        Some(value) => Ok(vec![one(&value)?; N]),
        None => Err(Failure::Op("output_size is missing".into())),
    }
}

fn adaptive_avg<const N: usize>(c: Args<'_>) -> Outputs {
    let (x, output) = (c.tensor(0)?, outputs::<N>(c)?);
    one(f::adaptive_avg_pool(&x, &output))
}

fn adaptive_max<const N: usize>(c: Args<'_>) -> Outputs {
    let (x, output) = (c.tensor(0)?, outputs::<N>(c)?);
    let (values, indices) = f::adaptive_max_pool(&x, &output).map_err(op)?;
    Ok(match c.bool_or("return_indices", false)? {
        true => vec![Output::Tensor(values), Output::Tensor(indices)],
        false => vec![Output::Tensor(values)],
    })
}

fn lp_pool<const N: usize>(c: Args<'_>) -> Outputs {
    let (x, p) = (c.tensor(0)?, c.float("norm_type")?);
    let kernel = sides(c, "kernel_size", [0; N])?;
    let windows = AvgPool::new(kernel).stride(sides(c, "stride", kernel)?).ceil_mode(c.bool_or("ceil_mode", false)?);
    one(f::lp_pool(&x, p, &windows))
}

fn conv_transpose<const N: usize>(c: Args<'_>) -> Outputs {
    let (x, w, b) = (c.tensor("input")?, c.tensor("weight")?, c.tensor_opt("bias")?);
    let (stride, padding) = (sides(c, "stride", [1; N])?, sides(c, "padding", [0; N])?);
    let (output_padding, dilation) = (sides(c, "output_padding", [0; N])?, sides(c, "dilation", [1; N])?);
    let groups = size(c.int_or("groups", 1)?)?;
    one(f::conv_transpose(&x, &w, b.as_ref(), (&stride, &padding, &output_padding, &dilation), groups))
}

/// The pooling that is undone.
pub fn unpooled<const N: usize>(c: Args<'_>) -> Result<MaxPool<N>, Failure> {
    let kernel_size = sides(c, "kernel_size", [0; N])?;
    let mut pool = MaxPool::<N>::new(kernel_size);
    pool.stride = sides(c, "stride", kernel_size)?;
    pool.padding = sides(c, "padding", [0; N])?;
    Ok(pool)
}

/// What a pooling is undone to; the batch and the channels may stand before.
pub fn unpooled_size<const N: usize>(c: Args<'_>) -> Result<Option<[usize; N]>, Failure> {
    let size: Option<Vec<usize>> =
        c.ints_opt("output_size")?.map(|l| l.into_iter().map(size).collect::<Result<_, _>>()).transpose()?;
    match size {
        Some(size) => match size.last_chunk::<N>() {
            Some(last) if matches!(size.len() - N, 0 | 2) => Ok(Some(*last)),
            _ => Err(Failure::Op(format!("output_size is {size:?}"))),
        },
        None => Ok(None),
    }
}

fn max_unpool<const N: usize>(c: Args<'_>) -> Outputs {
    let (x, indices, pool) = (c.tensor(0)?, c.tensor(1)?, unpooled::<N>(c)?);
    one(f::max_unpool(&x, &indices, &pool, unpooled_size(c)?))
}

/// Those of dropout, which draw nothing here.
fn dropped(c: Args<'_>, (p, training): (f64, bool), f: fn(&Tensor, f64, bool) -> calor::Result<Tensor>) -> Outputs {
    let (x, p, training) = (c.tensor(0)?, c.float_or("p", p)?, c.bool_or("training", training)?);
    c.ignore("inplace");
    one(f(&x, p, training))
}

/// `upsample_nearest` and `upsample_bilinear`.
fn upsampled(c: Args<'_>, mode: ResizeMode, align_corners: bool) -> Outputs {
    let x = c.tensor(0)?;
    let size = c.ints_opt("size")?.map(|l| l.into_iter().map(size).collect::<Result<_, _>>()).transpose()?;
    let options =
        Resize { size, scale_factor: c.floats_opt("scale_factor")?, mode, align_corners, ..Resize::default() };
    one(f::interpolate(&x, &options))
}

fn interpolate(c: Args<'_>) -> Outputs {
    let x = c.tensor(0)?;
    let sizes = c.ints_opt("size")?.map(|l| l.into_iter().map(size).collect::<Result<_, _>>()).transpose()?;
    if c.bool_or("antialias", false)? {
        return Err(Failure::Unsupported("antialias".into()));
    }
    let mode = match c.str_or("mode", "nearest")?.as_str() {
        "nearest" => ResizeMode::Nearest,
        "nearest-exact" => ResizeMode::NearestExact,
        "linear" => ResizeMode::Linear,
        "bilinear" => ResizeMode::Bilinear,
        "trilinear" => ResizeMode::Trilinear,
        "bicubic" => ResizeMode::Bicubic,
        "area" => ResizeMode::Area,
        other => return Err(Failure::Op(format!("mode {other}"))),
    };
    let options = Resize {
        size: sizes,
        scale_factor: c.floats_opt("scale_factor")?,
        mode,
        align_corners: c.bool_or("align_corners", false)?,
        recompute_scale_factor: c.bool_or("recompute_scale_factor", false)?,
    };
    one(f::interpolate(&x, &options))
}

fn grid_sample(c: Args<'_>) -> Outputs {
    let (x, grid) = (c.tensor(0)?, c.tensor(1)?);
    let mode = match c.str_or("mode", "bilinear")?.as_str() {
        "bilinear" => GridMode::Bilinear,
        "nearest" => GridMode::Nearest,
        "bicubic" => GridMode::Bicubic,
        other => return Err(Failure::Op(format!("mode {other}"))),
    };
    let padding = match c.str_or("padding_mode", "zeros")?.as_str() {
        "zeros" => GridPadding::Zeros,
        "border" => GridPadding::Border,
        "reflection" => GridPadding::Reflection,
        other => return Err(Failure::Op(format!("padding {other}"))),
    };
    let align_corners = c.bool_or("align_corners", false)?;
    one(f::grid_sample(&x, &grid, GridOptions { mode, padding, align_corners }))
}

/// Drivers by name.
pub const OPS: Table = &[
    ("nn.functional.max_unpool1d", max_unpool::<1>),
    ("nn.functional.max_unpool2d", max_unpool::<2>),
    ("nn.functional.max_unpool3d", max_unpool::<3>),
    ("nn.functional.grid_sample", grid_sample),
    ("nn.functional.interpolate", interpolate),
    ("nn.functional.upsample", interpolate),
    ("nn.functional.upsample_nearest", |c| upsampled(c, ResizeMode::Nearest, false)),
    ("nn.functional.upsample_bilinear", |c| upsampled(c, ResizeMode::Bilinear, true)),
    ("nn.functional.affine_grid", |c| {
        let theta = c.tensor(0)?;
        let sizes: Vec<usize> = c.ints("size")?.into_iter().map(size).collect::<Result<_, _>>()?;
        one(f::affine_grid(&theta, &sizes, c.bool_or("align_corners", false)?))
    }),
    ("nn.functional.linear", |c| {
        let (x, w, b) = (c.tensor("input")?, c.tensor("weight")?, c.tensor_opt("bias")?);
        one(f::linear(&x, &w, b.as_ref()))
    }),
    ("nn.functional.conv1d", conv::<1>),
    ("nn.functional.conv2d", conv::<2>),
    ("nn.functional.conv3d", conv::<3>),
    ("nn.functional.max_pool1d", max_pool::<1>),
    ("nn.functional.max_pool2d", max_pool::<2>),
    ("nn.functional.max_pool3d", max_pool::<3>),
    ("nn.functional.avg_pool1d", avg_pool::<1>),
    ("nn.functional.avg_pool2d", avg_pool::<2>),
    ("nn.functional.avg_pool3d", avg_pool::<3>),
    ("nn.functional.dropout", |c| dropped(c, (0.5, true), f::dropout)),
    ("nn.functional.dropout1d", |c| dropped(c, (0.5, true), f::dropout1d)),
    ("nn.functional.dropout2d", |c| dropped(c, (0.5, true), f::dropout2d)),
    ("nn.functional.dropout3d", |c| dropped(c, (0.5, true), f::dropout3d)),
    ("nn.functional.alpha_dropout", |c| dropped(c, (0.5, false), f::alpha_dropout)),
    ("nn.functional.feature_alpha_dropout", |c| dropped(c, (0.5, false), f::feature_alpha_dropout)),
    ("nn.functional.rrelu", |c| {
        let (x, training) = (c.tensor(0)?, c.bool_or("training", false)?);
        let (lower, upper) = (c.float_or("lower", 1.0 / 8.0)?, c.float_or("upper", 1.0 / 3.0)?);
        c.ignore("inplace");
        one(x.rrelu(lower, upper, training))
    }),
    ("nn.functional.batch_norm", batch_norm),
    ("nn.functional.layer_norm", layer_norm),
    ("nn.functional.group_norm", |c| {
        let (x, groups) = (c.tensor(0)?, size(c.int("num_groups")?)?);
        let (weight, bias) = (c.tensor_opt("weight")?, c.tensor_opt("bias")?);
        one(f::group_norm(&x, groups, weight.as_ref(), bias.as_ref(), c.float_or("eps", 1e-5)?))
    }),
    ("nn.functional.rms_norm", |c| {
        let x = c.tensor(0)?;
        let shape: Vec<usize> = c.ints("normalized_shape")?.into_iter().map(size).collect::<Result<_, _>>()?;
        let (weight, eps) = (c.tensor_opt("weight")?, c.float_opt("eps")?);
        one(f::rms_norm(&x, &shape, weight.as_ref(), eps))
    }),
    ("nn.functional.normalize", |c| {
        let (x, p, dim, eps) = (c.tensor(0)?, c.float_or("p", 2.0)?, c.int_or("dim", 1)?, c.float_or("eps", 1e-12)?);
        one(f::normalize(&x, p, dim as isize, eps))
    }),
    ("nn.functional.cosine_similarity", |c| {
        let (a, b, dim, eps) = (c.tensor(0)?, c.tensor(1)?, c.int_or("dim", 1)?, c.float_or("eps", 1e-8)?);
        one(f::cosine_similarity(&a, &b, dim as isize, eps))
    }),
    ("nn.functional.pairwise_distance", |c| {
        let (a, b, p, eps) = (c.tensor(0)?, c.tensor(1)?, c.float_or("p", 2.0)?, c.float_or("eps", 1e-6)?);
        one(f::pairwise_distance(&a, &b, p, eps, c.bool_or("keepdim", false)?))
    }),
    ("nn.functional.adaptive_avg_pool1d", adaptive_avg::<1>),
    ("nn.functional.adaptive_avg_pool2d", adaptive_avg::<2>),
    ("nn.functional.adaptive_avg_pool3d", adaptive_avg::<3>),
    ("nn.functional.adaptive_max_pool1d", adaptive_max::<1>),
    ("nn.functional.adaptive_max_pool2d", adaptive_max::<2>),
    ("nn.functional.adaptive_max_pool3d", adaptive_max::<3>),
    ("nn.functional.lp_pool1d", lp_pool::<1>),
    ("nn.functional.lp_pool2d", lp_pool::<2>),
    ("nn.functional.lp_pool3d", lp_pool::<3>),
    ("nn.functional.conv_transpose1d", conv_transpose::<1>),
    ("nn.functional.conv_transpose2d", conv_transpose::<2>),
    ("nn.functional.conv_transpose3d", conv_transpose::<3>),
    ("nn.functional.unfold", |c| {
        let (x, kernel) = (c.tensor(0)?, sides(c, "kernel_size", [0; 2])?);
        let (stride, padding) = (sides(c, "stride", [1; 2])?, sides(c, "padding", [0; 2])?);
        one(f::unfold(&x, &kernel, (&stride, &padding, &sides(c, "dilation", [1; 2])?)))
    }),
    ("nn.functional.fold", |c| {
        let (x, output, kernel) = (c.tensor(0)?, sides(c, "output_size", [0; 2])?, sides(c, "kernel_size", [0; 2])?);
        let (stride, padding) = (sides(c, "stride", [1; 2])?, sides(c, "padding", [0; 2])?);
        one(f::fold(&x, &output, &kernel, (&stride, &padding, &sides(c, "dilation", [1; 2])?)))
    }),
    ("nn.functional.local_response_norm", |c| {
        let (x, n) = (c.tensor(0)?, size(c.int("size")?)?);
        let (alpha, beta, k) = (c.float_or("alpha", 1e-4)?, c.float_or("beta", 0.75)?, c.float_or("k", 1.0)?);
        one(f::local_response_norm(&x, n, alpha, beta, k))
    }),
    ("nn.functional.instance_norm", |c| {
        let x = c.tensor(0)?;
        let (mean, var) = (c.tensor_opt("running_mean")?, c.tensor_opt("running_var")?);
        let (weight, bias) = (c.tensor_opt("weight")?, c.tensor_opt("bias")?);
        let (own, momentum) = (c.bool_or("use_input_stats", true)?, c.float_or("momentum", 0.1)?);
        let (running, eps) = (mean.as_ref().zip(var.as_ref()), c.float_or("eps", 1e-5)?);
        one(f::instance_norm(&x, running, weight.as_ref(), bias.as_ref(), own, momentum, eps))
    }),
];
