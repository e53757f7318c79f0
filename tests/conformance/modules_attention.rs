//! How attention and transformers are made and called.

use crate::backend::{one, op};
use crate::call::{Failure, Output};
use crate::corpus::{ModuleSpec, Value};
use crate::module_table::Row;
use crate::modules::{Args, Built, with_call};
use crate::modules_layers::count;
use crate::ops_nn::size;
use calor::nn;

fn attention(c: Args<'_>) -> Result<Built, Failure> {
    let mut o = nn::MultiheadAttentionOptions::default()
        .dropout(c.float_or("dropout", 0.0)?)
        .bias(c.bool_or("bias", true)?)
        .add_bias_kv(c.bool_or("add_bias_kv", false)?)
        .add_zero_attn(c.bool_or("add_zero_attn", false)?)
        .batch_first(c.bool_or("batch_first", false)?);
    o.kdim = c.int_opt("kdim")?.map(size).transpose()?;
    o.vdim = c.int_opt("vdim")?.map(size).transpose()?;
    let own = nn::MultiheadAttention::new(count(c, "embed_dim")?, count(c, "num_heads")?, o);
    Built::other(own, |m, c| {
        if c.bool_or("is_causal", false)? && !c.has("attn_mask") {
            return Err(Failure::Op("is_causal is a hint about attn_mask".into()));
        }
        let call = nn::AttentionCall::default()
            .key_padding_mask(c.tensor_opt("key_padding_mask")?)
            .attn_mask(c.tensor_opt("attn_mask")?)
            .need_weights(c.bool_or("need_weights", true)?)
            .average_attn_weights(c.bool_or("average_attn_weights", true)?);
        let (y, weights) = m.forward(&c.tensor("query")?, &c.tensor("key")?, &c.tensor("value")?, call).map_err(op)?;
        Ok(vec![Output::Tensor(y), weights.map_or(Output::None, Output::Tensor)])
    })
}

fn layer_options(c: Args<'_>) -> Result<nn::TransformerLayerOptions, Failure> {
    let activation = match c.str_or("activation", "relu")?.as_str() {
        "relu" => nn::Activation::Relu,
        "gelu" => nn::Activation::Gelu,
        other => return Err(Failure::Op(format!("activation {other}"))),
    };
    Ok(nn::TransformerLayerOptions::default()
        .dim_feedforward(size(c.int_or("dim_feedforward", 2048)?)?)
        .dropout(c.float_or("dropout", 0.1)?)
        .activation(activation)
        .layer_norm_eps(c.float_or("layer_norm_eps", 1e-5)?)
        .batch_first(c.bool_or("batch_first", false)?)
        .norm_first(c.bool_or("norm_first", false)?)
        .bias(c.bool_or("bias", true)?))
}

fn encoder_layer(c: Args<'_>) -> Result<nn::TransformerEncoderLayer, Failure> {
    let o = layer_options(c)?;
    nn::TransformerEncoderLayer::new(count(c, "d_model")?, count(c, "nhead")?, o).map_err(op)
}

fn decoder_layer(c: Args<'_>) -> Result<nn::TransformerDecoderLayer, Failure> {
    let o = layer_options(c)?;
    nn::TransformerDecoderLayer::new(count(c, "d_model")?, count(c, "nhead")?, o).map_err(op)
}

/// The module that is an argument.
fn spec(c: Args<'_>, name: &str) -> Result<Option<ModuleSpec>, Failure> {
    match c.get(name).cloned() {
        Some(Value::Module(spec)) => Ok(Some(spec)),
        None | Some(Value::None) => Ok(None),
        other => Err(Failure::Argument(format!("{name} is {other:?}"))),
    }
}

/// The norm behind the layers of a stack.
fn norm(c: Args<'_>) -> Result<Option<nn::LayerNorm>, Failure> {
    let Some(spec) = spec(c, "norm")? else { return Ok(None) };
    let own = with_call(&spec, "init(normalized_shape, eps=1e-05, elementwise_affine=True, bias=True)", |c| {
        let o = nn::LayerNormOptions::default().eps(c.float_or("eps", 1e-5)?).bias(c.bool_or("bias", true)?);
        let o = o.elementwise_affine(c.bool_or("elementwise_affine", true)?);
        nn::LayerNorm::new(crate::modules_layers::sizes(c, "normalized_shape")?, o).map_err(op)
    })?;
    Ok(Some(own))
}

fn required(c: Args<'_>, name: &str) -> Result<ModuleSpec, Failure> {
    spec(c, name)?.ok_or_else(|| Failure::Argument(format!("{name} is missing")))
}

const LAYER: &str = "init(d_model, nhead, dim_feedforward=2048, dropout=0.1, activation='relu', layer_norm_eps=1e-05, batch_first=False, norm_first=False, bias=True, device=None, dtype=None)";

fn encoder_masks(c: Args<'_>, prefix: &str) -> Result<nn::EncoderMasks, Failure> {
    c.ignore("is_causal");
    let mask = if prefix.is_empty() { "mask" } else { "src_mask" };
    Ok(nn::EncoderMasks::default().mask(c.tensor_opt(mask)?).key_padding_mask(c.tensor_opt("src_key_padding_mask")?))
}

fn decoder_masks(c: Args<'_>) -> Result<nn::DecoderMasks, Failure> {
    for name in ["tgt_is_causal", "memory_is_causal"] {
        c.ignore(name);
    }
    Ok(nn::DecoderMasks::default()
        .tgt_mask(c.tensor_opt("tgt_mask")?)
        .memory_mask(c.tensor_opt("memory_mask")?)
        .tgt_key_padding_mask(c.tensor_opt("tgt_key_padding_mask")?)
        .memory_key_padding_mask(c.tensor_opt("memory_key_padding_mask")?))
}

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        name: "nn.MultiheadAttention",
        init: "init(embed_dim, num_heads, dropout=0.0, bias=True, add_bias_kv=False, add_zero_attn=False, kdim=None, vdim=None, batch_first=False, device=None, dtype=None)",
        forward: "forward(query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None, average_attn_weights=True, is_causal=False)",
        build: attention,
    },
    Row {
        name: "nn.TransformerEncoderLayer",
        init: LAYER,
        forward: "forward(src, src_mask=None, src_key_padding_mask=None, is_causal=False)",
        build: |c| {
            Built::other(Ok(encoder_layer(c)?), |m, c| {
                let masks = encoder_masks(c, "src_")?;
                one(m.forward(&c.tensor("src")?, masks))
            })
        },
    },
    Row {
        name: "nn.TransformerDecoderLayer",
        init: LAYER,
        forward: "forward(tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None, memory_key_padding_mask=None, tgt_is_causal=False, memory_is_causal=False)",
        build: |c| {
            Built::other(Ok(decoder_layer(c)?), |m, c| {
                let masks = decoder_masks(c)?;
                one(m.forward(&c.tensor("tgt")?, &c.tensor("memory")?, masks))
            })
        },
    },
    Row {
        name: "nn.TransformerEncoder",
        init: "init(encoder_layer, num_layers, norm=None, enable_nested_tensor=True, mask_check=True)",
        forward: "forward(src, mask=None, src_key_padding_mask=None, is_causal=None)",
        build: |c| {
            for name in ["enable_nested_tensor", "mask_check"] {
                c.ignore(name);
            }
            let layer = with_call(&required(c, "encoder_layer")?, LAYER, encoder_layer)?;
            Built::other(nn::TransformerEncoder::new(&layer, count(c, "num_layers")?, norm(c)?), |m, c| {
                let masks = encoder_masks(c, "")?;
                one(m.forward(&c.tensor("src")?, masks))
            })
        },
    },
    Row {
        name: "nn.TransformerDecoder",
        init: "init(decoder_layer, num_layers, norm=None)",
        forward: "forward(tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None, memory_key_padding_mask=None, tgt_is_causal=None, memory_is_causal=False)",
        build: |c| {
            let layer = with_call(&required(c, "decoder_layer")?, LAYER, decoder_layer)?;
            Built::other(nn::TransformerDecoder::new(&layer, count(c, "num_layers")?, norm(c)?), |m, c| {
                let masks = decoder_masks(c)?;
                one(m.forward(&c.tensor("tgt")?, &c.tensor("memory")?, masks))
            })
        },
    },
    Row {
        name: "nn.Transformer",
        init: "init(d_model=512, nhead=8, num_encoder_layers=6, num_decoder_layers=6, dim_feedforward=2048, dropout=0.1, activation='relu', custom_encoder=None, custom_decoder=None, layer_norm_eps=1e-05, batch_first=False, norm_first=False, bias=True, device=None, dtype=None)",
        forward: "forward(src, tgt, src_mask=None, tgt_mask=None, memory_mask=None, src_key_padding_mask=None, tgt_key_padding_mask=None, memory_key_padding_mask=None, src_is_causal=None, tgt_is_causal=None, memory_is_causal=False)",
        build: |c| {
            let o = nn::TransformerOptions::default()
                .num_encoder_layers(size(c.int_or("num_encoder_layers", 6)?)?)
                .num_decoder_layers(size(c.int_or("num_decoder_layers", 6)?)?)
                .layer(layer_options(c)?);
            let (width, heads) = (size(c.int_or("d_model", 512)?)?, size(c.int_or("nhead", 8)?)?);
            Built::other(nn::Transformer::new(width, heads, o), |m, c| {
                c.ignore("src_is_causal");
                let masks =
                    nn::TransformerMasks::default().encoder(encoder_masks(c, "src_")?).decoder(decoder_masks(c)?);
                one(m.forward(&c.tensor("src")?, &c.tensor("tgt")?, masks))
            })
        },
    },
];
