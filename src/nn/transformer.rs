//! Transformers and their layers.

use super::functional;
use super::module::copied;
use super::multihead::{AttentionCall, MultiheadAttention, MultiheadAttentionOptions};
use super::options::{options, settings};
use super::{Dropout, Layer, LayerNorm, LayerNormOptions, Linear, LinearOptions, Module, init};
use crate::Approximate;
use crate::error::{Result, bail};
use crate::tensor::{Options, Tensor};

/// The function between the two projections of a transformer's layer.
///
/// ```
/// use calor::nn::{Activation, TransformerLayerOptions};
/// assert_eq!(TransformerLayerOptions::default().activation, Activation::Relu);
/// assert_eq!(TransformerLayerOptions::default().activation(Activation::Gelu).activation, Activation::Gelu);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// `x Phi(x)`.
    Gelu,
}

options! {
    /// Options of [`TransformerEncoderLayer`] and [`TransformerDecoderLayer`].
    ///
    /// ```
    /// use calor::nn::{TransformerEncoderLayer, TransformerLayerOptions};
    /// let options = TransformerLayerOptions::default().dim_feedforward(16).norm_first(true);
    /// assert_eq!(&TransformerEncoderLayer::new(8, 2, options)?.linear1.weight.shape()[..], [16, 8]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    TransformerLayerOptions {
        /// Size between the two projections.
        dim_feedforward: usize = 2048 => 8,
        /// The probability with which elements are dropped in training.
        dropout: f64 = 0.1 => 0.5,
        /// The function between the two projections.
        activation: Activation = Activation::Relu => Activation::Gelu,
        /// Keeps the divisor of norms from zero.
        layer_norm_eps: f64 = 1e-5 => 1e-3,
        /// Whether inputs are `[n, length, size]` rather than `[length, n, size]`.
        batch_first: bool = false => true,
        /// Whether norms stand before attention and projections rather than behind.
        norm_first: bool = false => true,
        /// Whether projections and norms have addends.
        bias: bool = true => false,
    }
}

impl TransformerLayerOptions {
    fn attention(&self, size: usize, heads: usize) -> Result<MultiheadAttention> {
        let options = MultiheadAttentionOptions::default().dropout(self.dropout).bias(self.bias);
        MultiheadAttention::new(size, heads, options.batch_first(self.batch_first).tensor(self.tensor.clone()))
    }

    fn linear(&self, inputs: usize, outputs: usize) -> Result<Linear> {
        Linear::new(inputs, outputs, LinearOptions::default().bias(self.bias).tensor(self.tensor.clone()))
    }

    fn norm(&self, size: usize) -> Result<LayerNorm> {
        let options = LayerNormOptions::default().eps(self.layer_norm_eps).bias(self.bias);
        LayerNorm::new([size], options.tensor(self.tensor.clone()))
    }

    fn activate(&self, x: &Tensor) -> Result<Tensor> {
        match self.activation {
            Activation::Relu => functional::relu(x),
            Activation::Gelu => x.gelu(Approximate::None),
        }
    }
}

settings! {
    /// What an encoder does not see.
    ///
    /// ```
    /// use calor::{Tensor, nn::EncoderMasks};
    /// let masks = EncoderMasks::default().mask(Tensor::zeros([5, 5], ())?);
    /// assert!(masks.mask.is_some() && masks.key_padding_mask.is_none());
    /// # Ok::<(), calor::Error>(())
    /// ```
    EncoderMasks {
        /// Which positions do not see which, `[L, L]`.
        ///
        /// ```
        /// use calor::{Tensor, nn::EncoderMasks};
        /// assert_eq!(&EncoderMasks::default().mask(Tensor::zeros([5, 5], ())?).mask.unwrap().shape()[..], [5, 5]);
        /// # Ok::<(), calor::Error>(())
        /// ```
        mask: Option<Tensor> = None,
        /// Positions that nobody sees, `[n, L]`.
        ///
        /// ```
        /// use calor::{Tensor, nn::EncoderMasks};
        /// let masks = EncoderMasks::default().key_padding_mask(Tensor::new([[false, true]], ())?);
        /// assert_eq!(masks.key_padding_mask.unwrap().to_vec::<bool>()?, [false, true]);
        /// # Ok::<(), calor::Error>(())
        /// ```
        key_padding_mask: Option<Tensor> = None,
    }
}

settings! {
    /// What a decoder does not see, of its input (`tgt`) and of the encoder's output (`memory`).
    ///
    /// ```
    /// use calor::{Tensor, nn::DecoderMasks};
    /// let masks = DecoderMasks::default().tgt_mask(Tensor::zeros([4, 4], ())?);
    /// assert!(masks.tgt_mask.is_some() && masks.memory_mask.is_none());
    /// # Ok::<(), calor::Error>(())
    /// ```
    DecoderMasks {
        /// Which positions do not see which, `[T, T]`.
        ///
        /// ```
        /// use calor::{Tensor, nn::DecoderMasks};
        /// assert_eq!(DecoderMasks::default().tgt_mask(Tensor::zeros([4, 4], ())?).tgt_mask.unwrap().numel(), 16);
        /// # Ok::<(), calor::Error>(())
        /// ```
        tgt_mask: Option<Tensor> = None,
        /// Which positions do not see which of the encoder's, `[T, S]`.
        ///
        /// ```
        /// use calor::{Tensor, nn::DecoderMasks};
        /// assert_eq!(DecoderMasks::default().memory_mask(Tensor::zeros([4, 5], ())?).memory_mask.unwrap().numel(), 20);
        /// # Ok::<(), calor::Error>(())
        /// ```
        memory_mask: Option<Tensor> = None,
        /// Positions that nobody sees, `[n, T]`.
        ///
        /// ```
        /// use calor::{Tensor, nn::DecoderMasks};
        /// let masks = DecoderMasks::default().tgt_key_padding_mask(Tensor::new([[false, true]], ())?);
        /// assert_eq!(masks.tgt_key_padding_mask.unwrap().to_vec::<bool>()?, [false, true]);
        /// # Ok::<(), calor::Error>(())
        /// ```
        tgt_key_padding_mask: Option<Tensor> = None,
        /// Positions of the encoder that nobody sees, `[n, S]`.
        ///
        /// ```
        /// use calor::{Tensor, nn::DecoderMasks};
        /// let masks = DecoderMasks::default().memory_key_padding_mask(Tensor::new([[false, true]], ())?);
        /// assert_eq!(masks.memory_key_padding_mask.unwrap().to_vec::<bool>()?, [false, true]);
        /// # Ok::<(), calor::Error>(())
        /// ```
        memory_key_padding_mask: Option<Tensor> = None,
    }
}

settings! {
    /// What a [`Transformer`] does not see.
    ///
    /// ```
    /// use calor::nn::TransformerMasks;
    /// let masks = TransformerMasks::default();
    /// assert!(masks.encoder.mask.is_none() && masks.decoder.tgt_mask.is_none());
    /// ```
    TransformerMasks {
        /// The encoder's masks.
        ///
        /// ```
        /// use calor::{Tensor, nn::{EncoderMasks, TransformerMasks}};
        /// let encoder = EncoderMasks::default().mask(Tensor::zeros([5, 5], ())?);
        /// assert!(TransformerMasks::default().encoder(encoder).encoder.mask.is_some());
        /// # Ok::<(), calor::Error>(())
        /// ```
        encoder: EncoderMasks = EncoderMasks::default(),
        /// The decoder's masks.
        ///
        /// ```
        /// use calor::{DType, nn::{DecoderMasks, Transformer, TransformerMasks}};
        /// let later = Transformer::generate_square_subsequent_mask(4, DType::F32)?;
        /// let masks = TransformerMasks::default().decoder(DecoderMasks::default().tgt_mask(later));
        /// assert!(masks.decoder.tgt_mask.is_some());
        /// # Ok::<(), calor::Error>(())
        /// ```
        decoder: DecoderMasks = DecoderMasks::default(),
    }
}

/// Attention without its weights.
fn attend(
    attention: &MultiheadAttention,
    x: &Tensor,
    memory: &Tensor,
    mask: &Option<Tensor>,
    padding: &Option<Tensor>,
) -> Result<Tensor> {
    let call = AttentionCall::default().attn_mask(mask.clone()).key_padding_mask(padding.clone()).need_weights(false);
    Ok(attention.forward(x, memory, memory, call)?.0)
}

/// `x` and a part of the layer added to it, with the norm before or behind.
fn residual(x: &Tensor, norm: &LayerNorm, first: bool, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    match first {
        true => x + f(&norm.forward(x)?)?,
        false => norm.forward(&(x + f(x)?)?),
    }
}

/// Attention among its input, then two projections, each added to its input and normalised.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{TransformerEncoderLayer, TransformerLayerOptions};
/// let layer = TransformerEncoderLayer::new(8, 2, TransformerLayerOptions::default().dim_feedforward(16))?;
/// assert_eq!(&layer.forward(&Tensor::ones([5, 3, 8], ())?, ())?.shape()[..], [5, 3, 8]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct TransformerEncoderLayer {
    /// Attention among the input.
    pub self_attn: MultiheadAttention,
    /// The first projection.
    pub linear1: Linear,
    /// Between the projections.
    pub dropout: Dropout,
    /// The second projection.
    pub linear2: Linear,
    /// The attention's norm.
    pub norm1: LayerNorm,
    /// The projections' norm.
    pub norm2: LayerNorm,
    /// Behind the attention.
    pub dropout1: Dropout,
    /// Behind the projections.
    pub dropout2: Dropout,
    size: usize,
    heads: usize,
    #[module(skip)]
    options: TransformerLayerOptions,
}

impl TransformerEncoderLayer {
    /// A layer with fresh parameters.
    ///
    /// ```
    /// use calor::nn::TransformerEncoderLayer;
    /// assert_eq!(&TransformerEncoderLayer::new(8, 2, ())?.linear1.weight.shape()[..], [2048, 8]);
    /// assert!(TransformerEncoderLayer::new(8, 3, ()).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where the heads do not divide the size.
    pub fn new(size: usize, heads: usize, options: impl Into<TransformerLayerOptions>) -> Result<Self> {
        let o = options.into();
        Ok(Self {
            self_attn: o.attention(size, heads)?,
            linear1: o.linear(size, o.dim_feedforward)?,
            dropout: Dropout::new(o.dropout)?,
            linear2: o.linear(o.dim_feedforward, size)?,
            norm1: o.norm(size)?,
            norm2: o.norm(size)?,
            dropout1: Dropout::new(o.dropout)?,
            dropout2: Dropout::new(o.dropout)?,
            size,
            heads,
            options: o,
        })
    }

    /// A layer of its own with the same values, dtypes and devices, as frozen and in the same modes; without gradients.
    ///
    /// ```
    /// use calor::nn::{TransformerEncoderLayer, TransformerLayerOptions};
    /// let layer = TransformerEncoderLayer::new(8, 2, TransformerLayerOptions::default().dim_feedforward(16))?;
    /// let own = layer.duplicate()?;
    /// assert!(!own.linear1.weight.same(&layer.linear1.weight));
    /// assert!(own.linear1.weight.tensor().equal(&layer.linear1.weight.tensor())?);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn duplicate(&self) -> Result<Self> {
        copied(Self::new(self.size, self.heads, self.options.clone())?, self)
    }

    /// The output for `[L, n, size]`, or with the batch first, or without one.
    ///
    /// ```
    /// use calor::{Tensor, nn::{TransformerEncoderLayer, TransformerLayerOptions}};
    /// let options = TransformerLayerOptions::default().dim_feedforward(16).batch_first(true);
    /// let layer = TransformerEncoderLayer::new(8, 2, options)?;
    /// assert_eq!(&layer.forward(&Tensor::ones([3, 5, 8], ())?, ())?.shape()[..], [3, 5, 8]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(&self, x: &Tensor, masks: impl Into<EncoderMasks>) -> Result<Tensor> {
        let (masks, o) = (masks.into(), &self.options);
        let x = residual(x, &self.norm1, o.norm_first, |x| {
            self.dropout1.forward(&attend(&self.self_attn, x, x, &masks.mask, &masks.key_padding_mask)?)
        })?;
        residual(&x, &self.norm2, o.norm_first, |x| {
            let inner = self.dropout.forward(&o.activate(&self.linear1.forward(x)?)?)?;
            self.dropout2.forward(&self.linear2.forward(&inner)?)
        })
    }
}

/// Attention among its input, attention to an encoder's output, then two projections.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{TransformerDecoderLayer, TransformerLayerOptions};
/// let layer = TransformerDecoderLayer::new(8, 2, TransformerLayerOptions::default().dim_feedforward(16))?;
/// let y = layer.forward(&Tensor::ones([4, 3, 8], ())?, &Tensor::ones([5, 3, 8], ())?, ())?;
/// assert_eq!(&y.shape()[..], [4, 3, 8]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct TransformerDecoderLayer {
    /// Attention among the input.
    pub self_attn: MultiheadAttention,
    /// Attention to the encoder's output.
    pub multihead_attn: MultiheadAttention,
    /// The first projection.
    pub linear1: Linear,
    /// Between the projections.
    pub dropout: Dropout,
    /// The second projection.
    pub linear2: Linear,
    /// The first attention's norm.
    pub norm1: LayerNorm,
    /// The second attention's norm.
    pub norm2: LayerNorm,
    /// The projections' norm.
    pub norm3: LayerNorm,
    /// Behind the first attention.
    pub dropout1: Dropout,
    /// Behind the second attention.
    pub dropout2: Dropout,
    /// Behind the projections.
    pub dropout3: Dropout,
    size: usize,
    heads: usize,
    #[module(skip)]
    options: TransformerLayerOptions,
}

impl TransformerDecoderLayer {
    /// A layer with fresh parameters.
    ///
    /// ```
    /// use calor::nn::TransformerDecoderLayer;
    /// assert_eq!(&TransformerDecoderLayer::new(8, 2, ())?.linear1.weight.shape()[..], [2048, 8]);
    /// assert!(TransformerDecoderLayer::new(8, 3, ()).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where the heads do not divide the size.
    pub fn new(size: usize, heads: usize, options: impl Into<TransformerLayerOptions>) -> Result<Self> {
        let o = options.into();
        Ok(Self {
            self_attn: o.attention(size, heads)?,
            multihead_attn: o.attention(size, heads)?,
            linear1: o.linear(size, o.dim_feedforward)?,
            dropout: Dropout::new(o.dropout)?,
            linear2: o.linear(o.dim_feedforward, size)?,
            norm1: o.norm(size)?,
            norm2: o.norm(size)?,
            norm3: o.norm(size)?,
            dropout1: Dropout::new(o.dropout)?,
            dropout2: Dropout::new(o.dropout)?,
            dropout3: Dropout::new(o.dropout)?,
            size,
            heads,
            options: o,
        })
    }

    /// A layer of its own with the same values, dtypes and devices, as frozen and in the same modes; without gradients.
    ///
    /// ```
    /// use calor::nn::{TransformerDecoderLayer, TransformerLayerOptions};
    /// let layer = TransformerDecoderLayer::new(8, 2, TransformerLayerOptions::default().dim_feedforward(16))?;
    /// let own = layer.duplicate()?;
    /// assert!(!own.linear1.weight.same(&layer.linear1.weight));
    /// assert!(own.linear1.weight.tensor().equal(&layer.linear1.weight.tensor())?);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn duplicate(&self) -> Result<Self> {
        copied(Self::new(self.size, self.heads, self.options.clone())?, self)
    }

    /// The output for `[T, n, size]` and an encoder's output `[S, n, size]`.
    ///
    /// ```
    /// use calor::{Tensor, nn::{TransformerDecoderLayer, TransformerLayerOptions}};
    /// let layer = TransformerDecoderLayer::new(8, 2, TransformerLayerOptions::default().dim_feedforward(16))?;
    /// let y = layer.forward(&Tensor::ones([4, 8], ())?, &Tensor::ones([5, 8], ())?, ())?;
    /// assert_eq!(&y.shape()[..], [4, 8]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(&self, x: &Tensor, memory: &Tensor, masks: impl Into<DecoderMasks>) -> Result<Tensor> {
        let (m, o) = (masks.into(), &self.options);
        let x = residual(x, &self.norm1, o.norm_first, |x| {
            self.dropout1.forward(&attend(&self.self_attn, x, x, &m.tgt_mask, &m.tgt_key_padding_mask)?)
        })?;
        let x = residual(&x, &self.norm2, o.norm_first, |x| {
            let y = attend(&self.multihead_attn, x, memory, &m.memory_mask, &m.memory_key_padding_mask)?;
            self.dropout2.forward(&y)
        })?;
        residual(&x, &self.norm3, o.norm_first, |x| {
            let inner = self.dropout.forward(&o.activate(&self.linear1.forward(x)?)?)?;
            self.dropout3.forward(&self.linear2.forward(&inner)?)
        })
    }
}

macro_rules! stack {
    ($($(#[$doc:meta])* $name:ident of $layer:ident;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Module)]
            pub struct $name {
                /// The layers.
                pub layers: Vec<$layer>,
                /// The last norm.
                pub norm: Option<LayerNorm>,
            }

            impl $name {
                /// So many layers that start with the values of `layer`, and a norm behind them.
                ///
                /// ```
                /// use calor::nn::*;
                /// let options = TransformerLayerOptions::default().dim_feedforward(16);
                #[doc = concat!("let layer = ", stringify!($layer), "::new(8, 2, options)?;")]
                #[doc = concat!("assert_eq!(", stringify!($name), "::new(&layer, 3, None)?.layers.len(), 3);")]
                /// # Ok::<(), calor::Error>(())
                /// ```
                pub fn new(layer: &$layer, count: usize, norm: Option<LayerNorm>) -> Result<Self> {
                    let layers = (0..count).map(|_| layer.duplicate()).collect::<Result<_>>()?;
                    Ok(Self { layers, norm })
                }

                fn normalized(&self, x: Tensor) -> Result<Tensor> {
                    match &self.norm {
                        Some(norm) => norm.forward(&x),
                        None => Ok(x),
                    }
                }
            }
        )*
    };
}

stack! {
    /// Encoder layers one after the other.
    ///
    /// ```
    /// use calor::Tensor;
    /// use calor::nn::{TransformerEncoder, TransformerEncoderLayer, TransformerLayerOptions};
    /// let layer = TransformerEncoderLayer::new(8, 2, TransformerLayerOptions::default().dim_feedforward(16))?;
    /// let encoder = TransformerEncoder::new(&layer, 2, None)?;
    /// assert_eq!(&encoder.forward(&Tensor::ones([5, 3, 8], ())?, ())?.shape()[..], [5, 3, 8]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    TransformerEncoder of TransformerEncoderLayer;
    /// Decoder layers one after the other.
    ///
    /// ```
    /// use calor::{Tensor, nn::{TransformerDecoder, TransformerDecoderLayer, TransformerLayerOptions}};
    /// let layer = TransformerDecoderLayer::new(8, 2, TransformerLayerOptions::default().dim_feedforward(16))?;
    /// let decoder = TransformerDecoder::new(&layer, 2, None)?;
    /// let y = decoder.forward(&Tensor::ones([4, 3, 8], ())?, &Tensor::ones([5, 3, 8], ())?, ())?;
    /// assert_eq!(&y.shape()[..], [4, 3, 8]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    TransformerDecoder of TransformerDecoderLayer;
}

impl TransformerEncoder {
    /// The output for `[L, n, size]`.
    ///
    /// ```
    /// use calor::{Tensor, nn::{LayerNorm, TransformerEncoder, TransformerEncoderLayer, TransformerLayerOptions}};
    /// let layer = TransformerEncoderLayer::new(8, 2, TransformerLayerOptions::default().dim_feedforward(16))?;
    /// let y = TransformerEncoder::new(&layer, 1, Some(LayerNorm::new([8], ())?))?.forward(&Tensor::ones([5, 8], ())?, ())?;
    /// assert!(y.mean_dims(&[-1], false)?.abs()?.max()?.item()? < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(&self, x: &Tensor, masks: impl Into<EncoderMasks>) -> Result<Tensor> {
        let masks = masks.into();
        self.normalized(self.layers.iter().try_fold(x.clone(), |x, layer| layer.forward(&x, masks.clone()))?)
    }
}

impl TransformerDecoder {
    /// The output for `[T, n, size]` and an encoder's output.
    ///
    /// ```
    /// use calor::{Tensor, nn::{LayerNorm, TransformerDecoder, TransformerDecoderLayer, TransformerLayerOptions}};
    /// let layer = TransformerDecoderLayer::new(8, 2, TransformerLayerOptions::default().dim_feedforward(16))?;
    /// let decoder = TransformerDecoder::new(&layer, 1, Some(LayerNorm::new([8], ())?))?;
    /// let y = decoder.forward(&Tensor::ones([4, 8], ())?, &Tensor::ones([5, 8], ())?, ())?;
    /// assert!(y.mean_dims(&[-1], false)?.abs()?.max()?.item()? < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(&self, x: &Tensor, memory: &Tensor, masks: impl Into<DecoderMasks>) -> Result<Tensor> {
        let masks = masks.into();
        self.normalized(self.layers.iter().try_fold(x.clone(), |x, layer| layer.forward(&x, memory, masks.clone()))?)
    }
}

options! {
    /// Options of [`Transformer`].
    ///
    /// ```
    /// use calor::nn::TransformerOptions;
    /// let options = TransformerOptions::default().num_encoder_layers(1);
    /// assert_eq!((options.num_encoder_layers, options.num_decoder_layers), (1, 6));
    /// ```
    TransformerOptions {
        /// Number of the encoder's layers.
        num_encoder_layers: usize = 6 => 2,
        /// Number of the decoder's layers.
        num_decoder_layers: usize = 6 => 2,
        /// What the layers are like; its dtype and device are those of all.
        ///
        /// ```
        /// use calor::nn::{TransformerLayerOptions, TransformerOptions};
        /// let layer = TransformerLayerOptions::default().dim_feedforward(16);
        /// assert_eq!(TransformerOptions::default().layer(layer).layer.dim_feedforward, 16);
        /// ```
        layer: TransformerLayerOptions = TransformerLayerOptions::default(),
    }
}

/// An encoder and a decoder that attends to it, each with a norm behind its layers; matrices start as Xavier's.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{Transformer, TransformerLayerOptions, TransformerOptions};
/// let layer = TransformerLayerOptions::default().dim_feedforward(16);
/// let options = TransformerOptions::default().num_encoder_layers(1).num_decoder_layers(1).layer(layer);
/// let model = Transformer::new(8, 2, options)?;
/// let y = model.forward(&Tensor::ones([5, 3, 8], ())?, &Tensor::ones([4, 3, 8], ())?, ())?;
/// assert_eq!(&y.shape()[..], [4, 3, 8]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Transformer {
    /// Reads the source.
    pub encoder: TransformerEncoder,
    /// Reads the target.
    pub decoder: TransformerDecoder,
    size: usize,
    batch_first: bool,
}

impl Transformer {
    /// A model with fresh parameters.
    ///
    /// ```
    /// use calor::nn::{Transformer, TransformerLayerOptions, TransformerOptions};
    /// let layer = TransformerLayerOptions::default().dim_feedforward(16);
    /// let model = Transformer::new(8, 2, TransformerOptions::default().num_decoder_layers(2).layer(layer))?;
    /// assert_eq!((model.encoder.layers.len(), model.decoder.layers.len()), (6, 2));
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where the heads do not divide the size.
    pub fn new(size: usize, heads: usize, options: impl Into<TransformerOptions>) -> Result<Self> {
        let TransformerOptions { num_encoder_layers, num_decoder_layers, layer: o, .. } = options.into();
        let encoder = TransformerEncoderLayer::new(size, heads, o.clone())?;
        let decoder = TransformerDecoderLayer::new(size, heads, o.clone())?;
        let own = Self {
            encoder: TransformerEncoder::new(&encoder, num_encoder_layers, Some(o.norm(size)?))?,
            decoder: TransformerDecoder::new(&decoder, num_decoder_layers, Some(o.norm(size)?))?,
            size,
            batch_first: o.batch_first,
        };
        for p in own.parameters().iter().filter(|p| p.shape().len() > 1) {
            init::xavier_uniform_(&p.tensor(), 1.0)?;
        }
        Ok(own)
    }

    /// The decoder's output for a source `[S, n, size]` and a target `[T, n, size]`, or with the batch first, or
    /// without one.
    ///
    /// ```
    /// use calor::{Tensor, nn::{Transformer, TransformerLayerOptions, TransformerOptions}};
    /// let layer = TransformerLayerOptions::default().dim_feedforward(16).batch_first(true);
    /// let options = TransformerOptions::default().num_encoder_layers(1).num_decoder_layers(1).layer(layer);
    /// let y = Transformer::new(8, 2, options)?.forward(&Tensor::ones([3, 5, 8], ())?, &Tensor::ones([3, 4, 8], ())?, ())?;
    /// assert_eq!(&y.shape()[..], [3, 4, 8]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(&self, src: &Tensor, tgt: &Tensor, masks: impl Into<TransformerMasks>) -> Result<Tensor> {
        let (s, t, masks) = (src.shape(), tgt.shape(), masks.into());
        let batch = usize::from(!self.batch_first);
        if s.len() == 3 && t.len() == 3 && s[batch] != t[batch] {
            bail!(Shape, "Transformer", "the batch number of src and tgt must be equal, got {s:?} and {t:?}");
        }
        if s.last() != Some(&self.size) || t.last() != Some(&self.size) {
            bail!(Shape, "Transformer", "the feature number of src and tgt must be {}, got {s:?}, {t:?}", self.size);
        }
        let memory = self.encoder.forward(src, masks.encoder)?;
        self.decoder.forward(tgt, &memory, masks.decoder)
    }

    /// A mask `[n, n]` that hides later positions: minus infinity above the diagonal, else 0.
    ///
    /// ```
    /// let mask = calor::nn::Transformer::generate_square_subsequent_mask(2, ())?;
    /// assert_eq!(mask.to_vec::<f32>()?, [0.0, f32::NEG_INFINITY, 0.0, 0.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn generate_square_subsequent_mask(n: usize, options: impl Into<Options>) -> Result<Tensor> {
        Tensor::full([n, n], f64::NEG_INFINITY, options)?.triu(1)
    }
}
