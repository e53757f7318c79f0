//! `MultiheadAttention`.

use super::functional::{self, AttentionOptions};
use super::linear::{Linear, LinearOptions};
use super::options::{options, settings};
use super::{Module, Parameter, Training, init};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::ops::join::cat;
use crate::tensor::Tensor;

const OP: &str = "MultiheadAttention";

options! {
    /// Options of [`MultiheadAttention`].
    ///
    /// ```
    /// use calor::{Tensor, nn::{MultiheadAttention, MultiheadAttentionOptions}};
    /// let attention = MultiheadAttention::new(8, 2, MultiheadAttentionOptions::default().batch_first(true))?;
    /// let x = Tensor::ones([3, 5, 8], ())?;
    /// assert_eq!(&attention.forward(&x, &x, &x, ())?.1.unwrap().shape()[..], [3, 5, 5]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    MultiheadAttentionOptions {
        /// The probability with which a weight is dropped in training.
        dropout: f64 = 0.0 => 0.5,
        /// Whether projections have addends.
        bias: bool = true => false,
        /// Whether a learned key and value stand behind the given ones.
        add_bias_kv: bool = false => true,
        /// Whether a key and a value of zeros stand behind the others.
        add_zero_attn: bool = false => true,
        /// Size of keys, if another than that of queries.
        kdim: Option<usize> = None => Some(8),
        /// Size of values, if another than that of queries.
        vdim: Option<usize> = None => Some(8),
        /// Whether inputs are `[n, length, size]` rather than `[length, n, size]`.
        batch_first: bool = false => true,
    }
}

settings! {
    /// What [`MultiheadAttention::forward`] leaves out, and whether it gives the weights.
    ///
    /// ```
    /// use calor::{Tensor, nn::{AttentionCall, MultiheadAttention}};
    /// let (attention, x) = (MultiheadAttention::new(8, 2, ())?, Tensor::ones([5, 3, 8], ())?);
    /// let call = AttentionCall::default().average_attn_weights(false);
    /// assert_eq!(&attention.forward(&x, &x, &x, call)?.1.unwrap().shape()[..], [3, 2, 5, 5]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    AttentionCall {
        /// Keys that nobody sees, `[n, S]` or `[S]`: true ones, or numbers that are added.
        ///
        /// ```
        /// use calor::{Tensor, nn::{AttentionCall, MultiheadAttention}};
        /// let (attention, x) = (MultiheadAttention::new(8, 2, ())?, Tensor::ones([2, 1, 8], ())?);
        /// let call = AttentionCall::default().key_padding_mask(Tensor::new([[false, true]], ())?);
        /// let weights = attention.forward(&x, &x, &x, call)?.1.unwrap();
        /// assert_eq!(weights.to_vec::<f32>()?, [1.0, 0.0, 1.0, 0.0]);
        /// # Ok::<(), calor::Error>(())
        /// ```
        key_padding_mask: Option<Tensor> = None,
        /// Keys that a query does not see, `[L, S]` or `[n heads, L, S]`: true ones, or numbers that are added.
        ///
        /// ```
        /// use calor::{Tensor, nn::{AttentionCall, MultiheadAttention}};
        /// let (attention, x) = (MultiheadAttention::new(8, 2, ())?, Tensor::ones([2, 1, 8], ())?);
        /// let call = AttentionCall::default().attn_mask(Tensor::new([[false, true], [true, false]], ())?);
        /// let weights = attention.forward(&x, &x, &x, call)?.1.unwrap();
        /// assert_eq!(weights.to_vec::<f32>()?, [1.0, 0.0, 0.0, 1.0]);
        /// # Ok::<(), calor::Error>(())
        /// ```
        attn_mask: Option<Tensor> = None,
        /// Whether the weights are given too.
        need_weights: bool = true => false,
        /// Whether they are the mean over the heads.
        average_attn_weights: bool = true => false,
    }
}

/// Attention with several heads: `softmax(q k^T / sqrt(size / heads) + mask) v` for each head, of projected inputs,
/// projected again.
///
/// `in_proj_weight` (or `q_proj_weight` and so on, where sizes differ) starts as Xavier's, addends with zeros.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::MultiheadAttention;
/// let (attention, x) = (MultiheadAttention::new(8, 2, ())?, Tensor::ones([5, 3, 8], ())?);
/// let (y, weights) = attention.forward(&x, &x, &x, ())?;
/// assert_eq!(&y.shape()[..], [5, 3, 8]);
/// assert_eq!(&weights.unwrap().shape()[..], [3, 5, 5]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct MultiheadAttention {
    /// `[3 size, size]`.
    pub in_proj_weight: Option<Parameter>,
    /// `[size, size]`.
    pub q_proj_weight: Option<Parameter>,
    /// `[size, kdim]`.
    pub k_proj_weight: Option<Parameter>,
    /// `[size, vdim]`.
    pub v_proj_weight: Option<Parameter>,
    /// `[3 size]`.
    pub in_proj_bias: Option<Parameter>,
    /// `[1, 1, size]`.
    pub bias_k: Option<Parameter>,
    /// `[1, 1, size]`.
    pub bias_v: Option<Parameter>,
    /// The last projection.
    pub out_proj: Linear,
    /// Whether it trains.
    pub training: Training,
    size: usize,
    heads: usize,
    #[module(skip)]
    options: MultiheadAttentionOptions,
}

impl MultiheadAttention {
    /// A layer with fresh parameters.
    ///
    /// ```
    /// use calor::nn::MultiheadAttention;
    /// assert_eq!(&MultiheadAttention::new(8, 2, ())?.in_proj_weight.unwrap().shape()[..], [24, 8]);
    /// assert!(MultiheadAttention::new(8, 3, ()).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where the heads do not divide the size.
    pub fn new(size: usize, heads: usize, options: impl Into<MultiheadAttentionOptions>) -> Result<Self> {
        let o = options.into();
        if size == 0 || heads == 0 || !size.is_multiple_of(heads) {
            bail!(Value, OP, "embed_dim must be divisible by num_heads, got {size} and {heads}");
        }
        let xavier = |shape: [usize; 2]| -> Result<Option<Parameter>> {
            let t = init::empty(OP, shape, &o.tensor)?;
            init::xavier_uniform_(&t, 1.0)?;
            Ok(Some(Parameter::new(&t)?))
        };
        let (kdim, vdim) = (o.kdim.unwrap_or(size), o.vdim.unwrap_or(size));
        let [mut all, mut q, mut k, mut v] = [None, None, None, None];
        if kdim == size && vdim == size {
            all = xavier([3 * size, size])?;
        } else {
            (q, k, v) = (xavier([size, size])?, xavier([size, kdim])?, xavier([size, vdim])?);
        }
        let in_bias = || Parameter::new(&init::empty(OP, [3 * size], &o.tensor)?);
        let extra = || -> Result<Option<Parameter>> {
            if !o.add_bias_kv {
                return Ok(None);
            }
            let t = init::empty(OP, [1, 1, size], &o.tensor)?;
            init::xavier_normal_(&t, 1.0)?;
            Ok(Some(Parameter::new(&t)?))
        };
        let out_proj = Linear::new(size, size, LinearOptions { bias: o.bias, tensor: o.tensor.clone() })?;
        if let Some(bias) = &out_proj.bias {
            init::zeros_(&bias.tensor())?;
        }
        Ok(Self {
            in_proj_weight: all,
            q_proj_weight: q,
            k_proj_weight: k,
            v_proj_weight: v,
            in_proj_bias: o.bias.then(in_bias).transpose()?,
            bias_k: extra()?,
            bias_v: extra()?,
            out_proj,
            training: Training::default(),
            size,
            heads,
            options: o,
        })
    }

    /// Attention of queries `[L, n, size]` to keys `[S, n, kdim]` and values `[S, n, vdim]`, or with the batch first,
    /// or without one; and the weights `[n, L, S]` or `[n, heads, L, S]`, if asked for.
    ///
    /// ```
    /// use calor::{Tensor, nn::MultiheadAttention};
    /// let attention = MultiheadAttention::new(8, 2, ())?;
    /// let (query, key) = (Tensor::ones([4, 8], ())?, Tensor::ones([6, 8], ())?);
    /// let (y, weights) = attention.forward(&query, &key, &key, ())?;
    /// assert_eq!((&y.shape()[..], &weights.unwrap().shape()[..]), (&[4, 8][..], &[4, 6][..]));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        call: impl Into<AttentionCall>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let call = call.into();
        let rank = query.dim();
        if !matches!(rank, 2 | 3) || key.dim() != rank || value.dim() != rank {
            let shapes = (query.shape(), key.shape(), value.shape());
            bail!(Shape, OP, "expected query, key and value to be all 2D or all 3D, got {shapes:?}");
        }
        let inner = |t: &Tensor| match (rank, self.options.batch_first) {
            (2, _) => t.unsqueeze(1),
            (_, true) => t.transpose(0, 1),
            (_, false) => Ok(t.clone()),
        };
        let (y, weights) = self.attend(&inner(query)?, &inner(key)?, &inner(value)?, &call, rank == 2)?;
        match (rank, self.options.batch_first) {
            (2, _) => Ok((y.squeeze_dim(1)?, weights.map(|w| w.squeeze_dim(0)).transpose()?)),
            (_, true) => Ok((y.transpose(0, 1)?, weights)),
            (_, false) => Ok((y, weights)),
        }
    }

    /// Query, key and value, projected.
    fn projected(&self, all: [&Tensor; 3]) -> Result<[Tensor; 3]> {
        let bias = match &self.in_proj_bias {
            Some(bias) => bias.tensor().chunk(3, 0)?.into_iter().map(Some).collect(),
            None => vec![None; 3],
        };
        let weights = match (&self.in_proj_weight, &self.q_proj_weight, &self.k_proj_weight, &self.v_proj_weight) {
            (Some(all), ..) => all.tensor().chunk(3, 0)?,
            (None, Some(q), Some(k), Some(v)) => vec![q.tensor(), k.tensor(), v.tensor()],
            _ => bail!(Value, OP, "has neither a weight for all inputs nor one for each"),
        };
        let project = |i: usize| functional::linear(all[i], &weights[i], bias[i].as_ref());
        Ok([project(0)?, project(1)?, project(2)?])
    }

    /// All masks as numbers that are added, broadcast to `[n, heads, L, S]`.
    fn mask(&self, call: &AttentionCall, x: &Tensor, [n, l, s]: [usize; 3]) -> Result<Option<Tensor>> {
        let h = self.heads;
        let mut sum = None;
        if let Some(mask) = &call.attn_mask {
            let shape = mask.shape();
            let mask = match shape[..] {
                [a, b] if [a, b] == [l, s] => mask.reshape([1, 1, l, s])?,
                [a, b, c] if [a, b, c] == [n * h, l, s] => mask.reshape([n, h, l, s])?,
                _ => bail!(Shape, OP, "the shape of attn_mask is {shape:?}, but should be {:?}", [l, s]),
            };
            sum = Some(additive(&mask, x)?);
        }
        if let Some(mask) = &call.key_padding_mask {
            let shape = mask.shape();
            if shape[..] != [n, s] && (n != 1 || shape[..] != [s]) {
                bail!(Shape, OP, "key_padding_mask should be {:?}, got {shape:?}", [n, s]);
            }
            let mask = additive(&mask.reshape([n, 1, 1, s])?, x)?;
            sum = Some(match sum {
                Some(sum) => (sum + mask)?,
                None => mask,
            });
        }
        Ok(sum)
    }

    fn attend(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        call: &AttentionCall,
        single: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let (qs, ks, vs, h) = (query.shape(), key.shape(), value.shape(), self.heads);
        if qs[2] != self.size {
            bail!(Shape, OP, "was expecting embedding dimension of {}, but got {}", self.size, qs[2]);
        }
        if ks[..2] != vs[..2] || ks[1] != qs[1] {
            bail!(Shape, OP, "query {qs:?}, key {ks:?} and value {vs:?} do not fit each other");
        }
        if let (true, Some(mask)) = (single, &call.key_padding_mask)
            && mask.dim() != 1
        {
            bail!(Shape, OP, "for an unbatched query expected key_padding_mask to be 1-D, got {}-D", mask.dim());
        }
        let (l, n, s) = (qs[0], qs[1], ks[0]);
        let [q, mut k, mut v] = self.projected([query, key, value])?;
        let mut mask = self.mask(call, &q, [n, l, s])?;
        let mut longer = 0;
        if let (Some(bias_k), Some(bias_v)) = (&self.bias_k, &self.bias_v) {
            k = cat(&[&k, &bias_k.tensor().expand([1, n, self.size])?], 0)?;
            v = cat(&[&v, &bias_v.tensor().expand([1, n, self.size])?], 0)?;
            longer += 1;
        }
        if self.options.add_zero_attn {
            (k, v) = (k.constant_pad(&[0, 0, 0, 0, 0, 1], 0.0)?, v.constant_pad(&[0, 0, 0, 0, 0, 1], 0.0)?);
            longer += 1;
        }
        if longer > 0 {
            mask = mask.map(|m| m.constant_pad(&[0, longer], 0.0)).transpose()?;
        }
        let heads = |t: &Tensor| t.reshape([t.size(0)?, n, h, self.size / h])?.permute(&[1, 2, 0, 3]);
        let (q, k, v) = (heads(&q)?, heads(&k)?, heads(&v)?);
        let drop = if self.training.get() { self.options.dropout } else { 0.0 };
        let (y, weights) = if call.need_weights {
            let scores = (q * ((self.size / h) as f64).powf(-0.5))?.matmul(&k.transpose(-2, -1)?)?;
            let scores = match mask {
                Some(mask) => (scores + mask)?,
                None => scores,
            };
            let weights = scores.softmax(-1)?.dropout(drop, true)?;
            let y = weights.matmul(&v)?;
            (y, Some(if call.average_attn_weights { weights.mean_dims(&[1], false)? } else { weights }))
        } else {
            let options = AttentionOptions { attn_mask: mask, dropout_p: drop, ..AttentionOptions::default() };
            (functional::scaled_dot_product_attention(&q, &k, &v, &options)?, None)
        };
        let y = y.permute(&[2, 0, 1, 3])?.reshape([l, n, self.size])?;
        let bias = self.out_proj.bias.as_ref().map(Parameter::tensor);
        Ok((functional::linear(&y, &self.out_proj.weight.tensor(), bias.as_ref())?, weights))
    }
}

/// A mask as numbers of `x`'s dtype: true ones become minus infinity.
fn additive(mask: &Tensor, x: &Tensor) -> Result<Tensor> {
    match mask.dtype() {
        DType::Bool => Tensor::zeros(mask.shape(), (x.dtype(), x.device()))?.masked_fill(mask, f64::NEG_INFINITY),
        dtype if dtype.is_float() => mask.to_dtype(x.dtype()),
        dtype => bail!(DType, OP, "only bool and floating types of masks are supported, got {dtype}"),
    }
}
