//! How layers are made and called.

use crate::backend::{one, op};
use crate::call::{Call, Failure, Output};
use crate::corpus::Value;
use crate::drivers::Tensor;
use crate::module_table::Row;
use crate::modules::{Args, Built};
use crate::ops_nn::{outputs, sides, size, unpooled, unpooled_size};
use calor::PadMode;
use calor::nn::functional::{BagMode, EmbeddingLookup, Resize, ResizeMode};
use calor::nn::{self, Layer, Module};

pub type Make = Result<Built, Failure>;

/// A size that must be given.
pub fn count(c: Args<'_>, name: &str) -> Result<usize, Failure> {
    size(c.int(name)?)
}

/// A layer that nothing refuses.
pub fn layer<L: Layer + Module + 'static>(layer: L) -> Make {
    Built::layer(Ok(layer))
}

/// What has no options besides a tensor's.
pub fn ignored(c: &mut Call<Tensor>) {
    for name in ["device", "inplace"] {
        c.ignore(name);
    }
}

fn pad_mode(c: Args<'_>) -> Result<PadMode, Failure> {
    match c.str_or("padding_mode", "zeros")?.as_str() {
        "zeros" => Ok(PadMode::Constant(0.0)),
        "reflect" => Ok(PadMode::Reflect),
        "replicate" => Ok(PadMode::Replicate),
        "circular" => Ok(PadMode::Circular),
        other => Err(Failure::Op(format!("padding_mode {other}"))),
    }
}

fn conv<const N: usize>(c: Args<'_>) -> Make {
    let mut o = nn::ConvOptions::<N>::default()
        .stride(sides(c, "stride", [1; N])?)
        .dilation(sides(c, "dilation", [1; N])?)
        .groups(size(c.int_or("groups", 1)?)?)
        .bias(c.bool_or("bias", true)?)
        .padding_mode(pad_mode(c)?);
    match c.get("padding").cloned() {
        Some(Value::Str(s)) if s == "same" => o.same = true,
        Some(Value::Str(s)) if s == "valid" => {}
        Some(Value::Str(s)) => return Err(Failure::Op(format!("padding {s:?}"))),
        _ => o.padding = sides(c, "padding", [0; N])?,
    }
    let kernel = sides(c, "kernel_size", [0; N])?;
    Built::layer(nn::Conv::<N>::new(count(c, "in_channels")?, count(c, "out_channels")?, kernel, o))
}

fn conv_transpose<const N: usize>(c: Args<'_>) -> Make {
    let o = nn::ConvTransposeOptions::<N>::default()
        .stride(sides(c, "stride", [1; N])?)
        .dilation(sides(c, "dilation", [1; N])?)
        .padding(sides(c, "padding", [0; N])?)
        .output_padding(sides(c, "output_padding", [0; N])?)
        .groups(size(c.int_or("groups", 1)?)?)
        .bias(c.bool_or("bias", true)?);
    c.ignore("padding_mode");
    let kernel = sides(c, "kernel_size", [0; N])?;
    Built::layer(nn::ConvTranspose::<N>::new(count(c, "in_channels")?, count(c, "out_channels")?, kernel, o))
}

fn max_pool<const N: usize>(c: Args<'_>) -> Make {
    let kernel = sides(c, "kernel_size", [0; N])?;
    let pool = nn::MaxPool::<N>::new(kernel)
        .stride(sides(c, "stride", kernel)?)
        .padding(sides(c, "padding", [0; N])?)
        .dilation(sides(c, "dilation", [1; N])?)
        .ceil_mode(c.bool_or("ceil_mode", false)?);
    if c.bool_or("return_indices", false)? {
        return Built::other(Ok(pool), |m, c| {
            let (values, at) = m.forward_with_indices(&c.tensor("input")?).map_err(op)?;
            Ok(vec![Output::Tensor(values), Output::Tensor(at)])
        });
    }
    layer(pool)
}

fn avg_pool<const N: usize>(c: Args<'_>) -> Make {
    let kernel = sides(c, "kernel_size", [0; N])?;
    let mut pool = nn::AvgPool::<N>::new(kernel)
        .stride(sides(c, "stride", kernel)?)
        .padding(sides(c, "padding", [0; N])?)
        .ceil_mode(c.bool_or("ceil_mode", false)?)
        .count_include_pad(c.bool_or("count_include_pad", true)?);
    pool.divisor_override = c.int_opt("divisor_override")?;
    layer(pool)
}

fn adaptive_avg<const N: usize>(c: Args<'_>) -> Make {
    let list = outputs::<N>(c)?;
    let list = list.try_into().map_err(|l| Failure::Op(format!("{l:?}")))?;
    layer(nn::AdaptiveAvgPool::<N>::keeping(list))
}

fn adaptive_max<const N: usize>(c: Args<'_>) -> Make {
    let list = outputs::<N>(c)?;
    let pool = nn::AdaptiveMaxPool::<N>::keeping(list.try_into().map_err(|l| Failure::Op(format!("{l:?}")))?);
    if c.bool_or("return_indices", false)? {
        return Built::other(Ok(pool), |m, c| {
            let (values, at) = m.forward_with_indices(&c.tensor("input")?).map_err(op)?;
            Ok(vec![Output::Tensor(values), Output::Tensor(at)])
        });
    }
    layer(pool)
}

fn fractional<const N: usize>(c: Args<'_>) -> Make {
    let kernel = sides(c, "kernel_size", [0; N])?;
    let pool = match (c.has("output_size"), c.floats_opt("output_ratio")?) {
        (true, None) => nn::FractionalMaxPool::<N>::new(kernel, sides(c, "output_size", [0; N])?),
        (false, Some(ratio)) => {
            let ratio = std::array::from_fn(|d| ratio.get(d).or(ratio.first()).copied().unwrap_or(f64::NAN));
            nn::FractionalMaxPool::<N>::with_ratio(kernel, ratio).map_err(op)?
        }
        _ => return Err(Failure::Op("one of output_size and output_ratio must be specified".into())),
    };
    let pool = match c.tensor_opt("_random_samples")? {
        Some(samples) => pool.random_samples(&samples),
        None => pool,
    };
    if c.bool_or("return_indices", false)? {
        return Built::other(Ok(pool), |m, c| {
            let (values, at) = m.forward_with_indices(&c.tensor("input")?).map_err(op)?;
            Ok(vec![Output::Tensor(values), Output::Tensor(at)])
        });
    }
    Built::layer(Ok(pool))
}

fn dropout<L: Layer + Module + 'static>(c: Args<'_>, make: fn(f64) -> calor::Result<L>) -> Make {
    ignored(c);
    Built::layer(make(c.float_or("p", 0.5)?))
}

fn lp_pool<const N: usize>(c: Args<'_>) -> Make {
    let kernel = sides(c, "kernel_size", [0; N])?;
    let pool = nn::LPPool::<N>::new(c.float("norm_type")?, kernel).stride(sides(c, "stride", kernel)?);
    layer(pool.ceil_mode(c.bool_or("ceil_mode", false)?))
}

fn ends<const N: usize>(c: Args<'_>) -> Result<[[isize; 2]; N], Failure> {
    let list: Vec<isize> = c.ints("padding")?.into_iter().map(|n| n as isize).collect();
    match &list[..] {
        [n] => Ok([[*n; 2]; N]),
        list if list.len() == 2 * N => Ok(std::array::from_fn(|d| [list[2 * d], list[2 * d + 1]])),
        list => Err(Failure::Op(format!("padding {list:?} for {N} dimensions"))),
    }
}

fn batch_norm<const N: usize>(c: Args<'_>) -> Make {
    let mut o = nn::BatchNormOptions::default().eps(c.float_or("eps", 1e-5)?).affine(c.bool_or("affine", true)?);
    let absent = c.get("momentum").is_none();
    o.momentum = if absent { Some(0.1) } else { c.float_opt("momentum")? };
    o.track_running_stats = c.bool_or("track_running_stats", true)?;
    o.bias = c.bool_or("bias", true)?;
    Built::layer(nn::BatchNorm::<N>::new(count(c, "num_features")?, o))
}

fn instance_norm<const N: usize>(c: Args<'_>) -> Make {
    let o = nn::InstanceNormOptions::default()
        .eps(c.float_or("eps", 1e-5)?)
        .momentum(c.float_or("momentum", 0.1)?)
        .affine(c.bool_or("affine", false)?)
        .track_running_stats(c.bool_or("track_running_stats", false)?)
        .bias(c.bool_or("bias", true)?);
    Built::layer(nn::InstanceNorm::<N>::new(count(c, "num_features")?, o))
}

pub fn sizes(c: Args<'_>, name: &str) -> Result<Vec<usize>, Failure> {
    c.ints(name)?.into_iter().map(size).collect()
}

fn sliding(c: Args<'_>) -> Result<nn::Sliding, Failure> {
    Ok(nn::Sliding {
        kernel_size: sides(c, "kernel_size", [0; 2])?.to_vec(),
        dilation: sides(c, "dilation", [1; 2])?.to_vec(),
        padding: sides(c, "padding", [0; 2])?.to_vec(),
        stride: sides(c, "stride", [1; 2])?.to_vec(),
    })
}

fn upsample(c: Args<'_>) -> Make {
    let size = if c.has("size") { Some(sizes(c, "size")?) } else { None };
    let mode = match c.str_or("mode", "nearest")?.as_str() {
        "nearest" => ResizeMode::Nearest,
        "nearest-exact" => ResizeMode::NearestExact,
        "linear" => ResizeMode::Linear,
        "bilinear" => ResizeMode::Bilinear,
        "trilinear" => ResizeMode::Trilinear,
        "bicubic" => ResizeMode::Bicubic,
        other => return Err(Failure::Op(format!("mode {other}"))),
    };
    layer(nn::Upsample::new(Resize {
        size,
        scale_factor: c.floats_opt("scale_factor")?,
        mode,
        align_corners: c.bool_or("align_corners", false)?,
        recompute_scale_factor: c.bool_or("recompute_scale_factor", false)?,
    }))
}

/// A size or factors.
type Upsampled = (Option<[usize; 2]>, Option<[f64; 2]>);

/// Sizes and factors of an upsampling of two dimensions.
fn upsampled(c: Args<'_>) -> Result<Upsampled, Failure> {
    let size = if c.has("size") { Some(sides(c, "size", [0; 2])?) } else { None };
    let factors = match c.floats_opt("scale_factor")?.as_deref() {
        None => None,
        Some(&[both]) => Some([both; 2]),
        Some(&[h, w]) => Some([h, w]),
        Some(other) => return Err(Failure::Op(format!("scale_factor is {other:?}"))),
    };
    Ok((size, factors))
}

fn max_unpool<const N: usize>(c: Args<'_>) -> Make {
    let pool = unpooled::<N>(c)?;
    Built::other(Ok(nn::MaxUnpool { pool }), |m, c| {
        one(m.forward(&c.tensor("input")?, &c.tensor("indices")?, unpooled_size(c)?))
    })
}

fn table(c: Args<'_>) -> Result<EmbeddingLookup, Failure> {
    Ok(EmbeddingLookup {
        padding_idx: c.int_opt("padding_idx")?.map(|n| n as isize),
        max_norm: c.float_opt("max_norm")?,
        norm_type: c.float_or("norm_type", 2.0)?,
        scale_grad_by_freq: c.bool_or("scale_grad_by_freq", false)?,
    })
}

fn embedding(c: Args<'_>) -> Make {
    let table = table(c)?;
    c.ignore("sparse");
    let o = nn::EmbeddingOptions::default()
        .padding_idx(table.padding_idx)
        .max_norm(table.max_norm)
        .norm_type(table.norm_type)
        .scale_grad_by_freq(table.scale_grad_by_freq);
    Built::layer(nn::Embedding::new(count(c, "num_embeddings")?, count(c, "embedding_dim")?, o))
}

fn embedding_bag(c: Args<'_>) -> Make {
    let mode = match c.str_or("mode", "mean")?.as_str() {
        "sum" => BagMode::Sum,
        "mean" => BagMode::Mean,
        "max" => BagMode::Max,
        other => return Err(Failure::Op(format!("mode {other}"))),
    };
    c.ignore("sparse");
    let o = nn::EmbeddingBagLayerOptions::default().mode(mode).table(table(c)?);
    let o = o.include_last_offset(c.bool_or("include_last_offset", false)?);
    let bags = nn::EmbeddingBag::new(count(c, "num_embeddings")?, count(c, "embedding_dim")?, o);
    Built::other(bags, |m, c| {
        let (offsets, weights) = (c.tensor_opt("offsets")?, c.tensor_opt("per_sample_weights")?);
        one(m.forward(&c.tensor("input")?, offsets.as_ref(), weights.as_ref()))
    })
}

fn bilinear(c: Args<'_>) -> Make {
    let o = nn::LinearOptions::default().bias(c.bool_or("bias", true)?);
    let (in1, in2) = (count(c, "in1_features")?, count(c, "in2_features")?);
    Built::other(nn::Bilinear::new(in1, in2, count(c, "out_features")?, o), |m, c| {
        one(m.forward(&c.tensor("input1")?, &c.tensor("input2")?))
    })
}

fn flatten(c: Args<'_>) -> Make {
    let (start, end) = (c.int_or("start_dim", 1)? as isize, c.int_or("end_dim", -1)? as isize);
    layer(nn::Flatten { start, end })
}

fn dim(c: Args<'_>) -> Result<isize, Failure> {
    match c.int_opt("dim")? {
        Some(dim) => Ok(dim as isize),
        None => Err(Failure::Unsupported("a dimension that is chosen by the input".into())),
    }
}

const UNPOOL: &str = "forward(input, indices, output_size=None)";

macro_rules! row {
    ($name:literal, $init:literal, $build:expr) => {
        Row { name: $name, init: concat!("init(", $init, ")"), forward: "forward(input)", build: $build }
    };
}

pub(crate) use row;

macro_rules! rows_by_dimension {
    ($(($one:literal, $two:literal, $three:literal, $init:literal, |$c:ident, $n:ident| $build:expr),)*) => {
        &[$(
            row!($one, $init, { const $n: usize = 1; |$c| $build }),
            row!($two, $init, { const $n: usize = 2; |$c| $build }),
            row!($three, $init, { const $n: usize = 3; |$c| $build }),
        )*]
    };
}

/// Those of one, two and three dimensions.
pub const BY_DIMENSION: &[Row] = rows_by_dimension![
    (
        "nn.Conv1d",
        "nn.Conv2d",
        "nn.Conv3d",
        "in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True, padding_mode='zeros', device=None, dtype=None",
        |c, N| conv::<N>(c)
    ),
    (
        "nn.ConvTranspose1d",
        "nn.ConvTranspose2d",
        "nn.ConvTranspose3d",
        "in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, bias=True, dilation=1, padding_mode='zeros', device=None, dtype=None",
        |c, N| conv_transpose::<N>(c)
    ),
    (
        "nn.MaxPool1d",
        "nn.MaxPool2d",
        "nn.MaxPool3d",
        "kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False",
        |c, N| max_pool::<N>(c)
    ),
    (
        "nn.AvgPool1d",
        "nn.AvgPool2d",
        "nn.AvgPool3d",
        "kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None",
        |c, N| avg_pool::<N>(c)
    ),
    ("nn.AdaptiveAvgPool1d", "nn.AdaptiveAvgPool2d", "nn.AdaptiveAvgPool3d", "output_size", |c, N| adaptive_avg::<N>(
        c
    )),
    (
        "nn.AdaptiveMaxPool1d",
        "nn.AdaptiveMaxPool2d",
        "nn.AdaptiveMaxPool3d",
        "output_size, return_indices=False",
        |c, N| adaptive_max::<N>(c)
    ),
    ("nn.LPPool1d", "nn.LPPool2d", "nn.LPPool3d", "norm_type, kernel_size, stride=None, ceil_mode=False", |c, N| {
        lp_pool::<N>(c)
    }),
    ("nn.ConstantPad1d", "nn.ConstantPad2d", "nn.ConstantPad3d", "padding, value", |c, N| layer(
        nn::ConstantPad::<N>::new(ends(c)?, c.float("value")?)
    )),
    ("nn.ZeroPad1d", "nn.ZeroPad2d", "nn.ZeroPad3d", "padding", |c, N| layer(nn::ZeroPad::<N>::new(ends(c)?))),
    ("nn.ReflectionPad1d", "nn.ReflectionPad2d", "nn.ReflectionPad3d", "padding", |c, N| layer(
        nn::ReflectionPad::<N>::new(ends(c)?)
    )),
    ("nn.ReplicationPad1d", "nn.ReplicationPad2d", "nn.ReplicationPad3d", "padding", |c, N| layer(
        nn::ReplicationPad::<N>::new(ends(c)?)
    )),
    ("nn.CircularPad1d", "nn.CircularPad2d", "nn.CircularPad3d", "padding", |c, N| layer(nn::CircularPad::<N>::new(
        ends(c)?
    ))),
    (
        "nn.BatchNorm1d",
        "nn.BatchNorm2d",
        "nn.BatchNorm3d",
        "num_features, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True, device=None, dtype=None, *, bias=True",
        |c, N| batch_norm::<N>(c)
    ),
    (
        "nn.InstanceNorm1d",
        "nn.InstanceNorm2d",
        "nn.InstanceNorm3d",
        "num_features, eps=1e-05, momentum=0.1, affine=False, track_running_stats=False, device=None, dtype=None, *, bias=True",
        |c, N| instance_norm::<N>(c)
    ),
];

/// The rest.
pub const ROWS: &[Row] = &[
    row!("nn.Linear", "in_features, out_features, bias=True, device=None, dtype=None", |c| {
        let o = nn::LinearOptions::default().bias(c.bool_or("bias", true)?);
        Built::layer(nn::Linear::new(count(c, "in_features")?, count(c, "out_features")?, o))
    }),
    row!(
        "nn.LayerNorm",
        "normalized_shape, eps=1e-05, elementwise_affine=True, bias=True, device=None, dtype=None",
        |c| {
            let o = nn::LayerNormOptions::default().eps(c.float_or("eps", 1e-5)?).bias(c.bool_or("bias", true)?);
            let o = o.elementwise_affine(c.bool_or("elementwise_affine", true)?);
            Built::layer(nn::LayerNorm::new(sizes(c, "normalized_shape")?, o))
        }
    ),
    row!("nn.RMSNorm", "normalized_shape, eps=None, elementwise_affine=True, device=None, dtype=None", |c| {
        let o = nn::RMSNormOptions::default().eps(c.float_opt("eps")?);
        let o = o.elementwise_affine(c.bool_or("elementwise_affine", true)?);
        Built::layer(nn::RMSNorm::new(sizes(c, "normalized_shape")?, o))
    }),
    row!(
        "nn.GroupNorm",
        "num_groups, num_channels, eps=1e-05, affine=True, device=None, dtype=None, *, bias=True",
        |c| {
            let o = nn::GroupNormOptions::default().eps(c.float_or("eps", 1e-5)?).affine(c.bool_or("affine", true)?);
            let o = o.bias(c.bool_or("bias", true)?);
            Built::layer(nn::GroupNorm::new(count(c, "num_groups")?, count(c, "num_channels")?, o))
        }
    ),
    row!("nn.LocalResponseNorm", "size, alpha=0.0001, beta=0.75, k=1.0", |c| {
        let (alpha, beta, k) = (c.float_or("alpha", 1e-4)?, c.float_or("beta", 0.75)?, c.float_or("k", 1.0)?);
        layer(nn::LocalResponseNorm { size: count(c, "size")?, alpha, beta, k })
    }),
    row!("nn.CrossMapLRN2d", "size, alpha=0.0001, beta=0.75, k=1", |c| {
        let (alpha, beta, k) = (c.float_or("alpha", 1e-4)?, c.float_or("beta", 0.75)?, c.float_or("k", 1.0)?);
        layer(nn::CrossMapLRN2d { size: count(c, "size")?, alpha, beta, k })
    }),
    Row {
        name: "nn.MaxUnpool1d",
        init: "init(kernel_size, stride=None, padding=0)",
        forward: UNPOOL,
        build: max_unpool::<1>,
    },
    Row {
        name: "nn.MaxUnpool2d",
        init: "init(kernel_size, stride=None, padding=0)",
        forward: UNPOOL,
        build: max_unpool::<2>,
    },
    Row {
        name: "nn.MaxUnpool3d",
        init: "init(kernel_size, stride=None, padding=0)",
        forward: UNPOOL,
        build: max_unpool::<3>,
    },
    row!("nn.UpsamplingNearest2d", "size=None, scale_factor=None", |c| {
        let (size, scale_factor) = upsampled(c)?;
        layer(nn::UpsamplingNearest2d { size, scale_factor })
    }),
    row!("nn.UpsamplingBilinear2d", "size=None, scale_factor=None", |c| {
        let (size, scale_factor) = upsampled(c)?;
        layer(nn::UpsamplingBilinear2d { size, scale_factor })
    }),
    row!("nn.Dropout", "p=0.5, inplace=False", |c| dropout(c, nn::Dropout::new)),
    row!("nn.Dropout1d", "p=0.5, inplace=False", |c| dropout(c, nn::Dropout1d::new)),
    row!("nn.Dropout2d", "p=0.5, inplace=False", |c| dropout(c, nn::Dropout2d::new)),
    row!("nn.Dropout3d", "p=0.5, inplace=False", |c| dropout(c, nn::Dropout3d::new)),
    row!("nn.AlphaDropout", "p=0.5, inplace=False", |c| dropout(c, nn::AlphaDropout::new)),
    row!("nn.FeatureAlphaDropout", "p=0.5, inplace=False", |c| dropout(c, nn::FeatureAlphaDropout::new)),
    row!(
        "nn.FractionalMaxPool2d",
        "kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None",
        fractional::<2>
    ),
    row!(
        "nn.FractionalMaxPool3d",
        "kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None",
        fractional::<3>
    ),
    row!(
        "nn.Embedding",
        "num_embeddings, embedding_dim, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False, _weight=None, _freeze=False, device=None, dtype=None",
        embedding
    ),
    Row {
        name: "nn.EmbeddingBag",
        init: "init(num_embeddings, embedding_dim, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, mode='mean', sparse=False, _weight=None, include_last_offset=False, padding_idx=None, device=None, dtype=None)",
        forward: "forward(input, offsets=None, per_sample_weights=None)",
        build: embedding_bag,
    },
    Row {
        name: "nn.Bilinear",
        init: "init(in1_features, in2_features, out_features, bias=True, device=None, dtype=None)",
        forward: "forward(input1, input2)",
        build: bilinear,
    },
    Row {
        name: "nn.CosineSimilarity",
        init: "init(dim=1, eps=1e-08)",
        forward: "forward(x1, x2)",
        build: |c| {
            let own = nn::CosineSimilarity { dim: c.int_or("dim", 1)? as isize, eps: c.float_or("eps", 1e-8)? };
            Built::other(Ok(own), |m, c| one(m.forward(&c.tensor("x1")?, &c.tensor("x2")?)))
        },
    },
    Row {
        name: "nn.PairwiseDistance",
        init: "init(p=2.0, eps=1e-06, keepdim=False)",
        forward: "forward(x1, x2)",
        build: |c| {
            let (p, eps) = (c.float_or("p", 2.0)?, c.float_or("eps", 1e-6)?);
            let own = nn::PairwiseDistance { p, eps, keepdim: c.bool_or("keepdim", false)? };
            Built::other(Ok(own), |m, c| one(m.forward(&c.tensor("x1")?, &c.tensor("x2")?)))
        },
    },
    row!("nn.Identity", "*args, **kwargs", |c| {
        c.ignore("args");
        layer(nn::Identity)
    }),
    row!("nn.Flatten", "start_dim=1, end_dim=-1", flatten),
    row!("nn.Unflatten", "dim, unflattened_size", |c| {
        let list: Vec<isize> = c.ints("unflattened_size")?.into_iter().map(|n| n as isize).collect();
        layer(nn::Unflatten::new(dim(c)?, &list))
    }),
    row!("nn.Unfold", "kernel_size, dilation=1, padding=0, stride=1", |c| layer(nn::Unfold::new(sliding(c)?))),
    row!("nn.Fold", "output_size, kernel_size, dilation=1, padding=0, stride=1", |c| {
        let output = sides(c, "output_size", [0; 2])?;
        layer(nn::Fold::new(&output, sliding(c)?))
    }),
    row!("nn.PixelShuffle", "upscale_factor", |c| layer(nn::PixelShuffle::new(count(c, "upscale_factor")?))),
    row!("nn.PixelUnshuffle", "downscale_factor", |c| layer(nn::PixelUnshuffle::new(count(c, "downscale_factor")?))),
    row!("nn.ChannelShuffle", "groups", |c| layer(nn::ChannelShuffle::new(count(c, "groups")?))),
    row!(
        "nn.Upsample",
        "size=None, scale_factor=None, mode='nearest', align_corners=None, recompute_scale_factor=None",
        upsample
    ),
];
