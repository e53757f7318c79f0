//! Forms in two arguments: attention, bilinear maps, distances within a batch.

use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::ops::attention::{Weighing, attention};
use crate::ops::contract::distance;
use crate::ops::join::cat;
use crate::shape::{Dims, MOST, numel};
use crate::tensor::Tensor;
use crate::tensor::autocast::{autocast_off, full, lowered, lowered_if, widest};

/// How [`scaled_dot_product_attention`] weighs.
///
/// ```
/// use calor::{Tensor, nn::functional::{AttentionOptions, scaled_dot_product_attention}};
/// let (x, v) = (Tensor::ones([1, 2, 1], ())?, Tensor::new([[[1.0f32], [3.0]]], ())?);
/// let options = AttentionOptions { is_causal: true, ..AttentionOptions::default() };
/// assert_eq!(scaled_dot_product_attention(&x, &x, &v, &options)?.to_vec::<f32>()?, [1.0, 2.0]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct AttentionOptions {
    /// Broadcast to `[.., L, S]`: truth values say what takes part, numbers are added to the products.
    pub attn_mask: Option<Tensor>,
    /// The probability with which a weight is dropped.
    pub dropout_p: f64,
    /// Query `i` sees keys up to `i` only.
    pub is_causal: bool,
    /// The factor of the products; else `1 / sqrt(E)`.
    pub scale: Option<f64>,
    /// Fewer heads of keys and values than of queries: each serves several.
    pub enable_gqa: bool,
}

/// `softmax(scale query key^T + mask) value` for `query` `[.., L, E]`, `key` `[.., S, E]`, `value` `[.., S, Ev]`; a
/// query that may see no key gives 0. One kernel, without the matrix of weights, and two for its gradients; with
/// dropout, a mask that learns or heads of more than 256 elements, products and a softmax.
///
/// ```
/// use calor::nn::functional::{AttentionOptions, scaled_dot_product_attention};
/// let x = calor::Tensor::ones([1, 2, 4], ())?;
/// let y = scaled_dot_product_attention(&x, &x, &x, &AttentionOptions::default())?;
/// assert_eq!(y.to_vec::<f32>()?, [1.0; 8]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` for a mask together with `is_causal`; `Shape` where shapes do not fit; `DType` for a mask of whole numbers.
pub fn scaled_dot_product_attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    options: &AttentionOptions,
) -> Result<Tensor> {
    const OP: &str = "scaled_dot_product_attention";
    let (query, key, value) = (&lowered(query)?, &lowered(key)?, &lowered(value)?);
    let mask = lowered_if(options.attn_mask.as_ref())?;
    // products of scores are summed in f32 as they are
    let _off = autocast_off();
    let dtype = query.dtype();
    if !dtype.is_float() || key.dtype() != dtype || value.dtype() != dtype {
        let (k, v) = (key.dtype(), value.dtype());
        bail!(DType, OP, "expected query, key and value to be floats of one dtype, got {dtype}, {k} and {v}");
    }
    if options.is_causal && options.attn_mask.is_some() {
        bail!(Value, OP, "an explicit attn_mask should not be set when is_causal is");
    }
    // PyTorch refuses them as well: nobody can tell whether they are truth values or addends
    if let Some(mask) = &mask
        && mask.dtype() != DType::Bool
        && !mask.dtype().is_float()
    {
        bail!(DType, OP, "expected attn_mask to be bool or a float, got {}", mask.dtype());
    }
    let how = Weighing {
        mask: mask.as_ref(),
        causal: options.is_causal,
        scale: options.scale,
        dropout: options.dropout_p,
        shared_heads: options.enable_gqa,
    };
    attention(OP, query, key, value, &how)
}

/// `y_o = x1^T W_o x2 + b_o` over the last dimensions: `x1` is `[*, in1]`, `x2` `[*, in2]`, `weight`
/// `[out, in1, in2]`, `bias` `[out]`.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let (x1, x2) = (Tensor::new([2.0f32], ())?, Tensor::new([3.0f32], ())?);
/// assert_eq!(f::bilinear(&x1, &x2, &Tensor::new([[[5.0f32]]], ())?, None)?.item()?, 30.0);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn bilinear(x1: &Tensor, x2: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    const OP: &str = "bilinear";
    let [x1, x2, weight, addend] = &widest([x1, x2, weight, bias.unwrap_or(weight)])?;
    let bias = bias.map(|_| addend);
    let _off = autocast_off();
    let (s1, s2, sw) = (x1.shape(), x2.shape(), weight.shape());
    let dtype = x1.dtype();
    if x2.dtype() != dtype || weight.dtype() != dtype {
        bail!(DType, OP, "expected one dtype, got {dtype}, {} and {}", x2.dtype(), weight.dtype());
    }
    let (&[ref lead @ .., m], &[ref lead2 @ .., n], &[out, wm, wn]) = (&s1[..], &s2[..], &sw[..]) else {
        bail!(Dim, OP, "expected weights of 3 dimensions and inputs of at least one, got {sw:?}, {s1:?} and {s2:?}");
    };
    if let Some(bias) = bias
        && bias.shape()[..] != [out]
    {
        bail!(Shape, OP, "expected a bias of {out} elements, got {:?}", bias.shape());
    }
    if lead != lead2 || (m, n) != (wm, wn) {
        bail!(Shape, OP, "inputs {s1:?} and {s2:?} do not fit each other and weights {sw:?}");
    }
    let rows = numel(lead);
    let wide = |t: &Tensor| t.to_dtype(dtype.compute());
    let w = wide(weight)?.permute(&[1, 0, 2])?.reshape([m, out * n])?;
    let half = wide(x1)?.reshape([rows, m])?.matmul(&w)?.reshape([rows, out, n])?;
    let mut y = half.matmul(&wide(x2)?.reshape([rows, n, 1])?)?.squeeze_dim(-1)?;
    if let Some(bias) = bias {
        y = y.add(&wide(bias)?)?;
    }
    let shape: Dims = lead.iter().copied().chain([out]).collect();
    y.to_dtype(dtype)?.reshape(&shape)
}

/// The `p`-norms of the differences of all pairs of rows `i < j` of a matrix.
///
/// ```
/// let x = calor::Tensor::new([[0.0f32, 0.0], [3.0, 4.0]], ())?;
/// assert_eq!(calor::nn::functional::pdist(&x, 2.0)?.to_vec::<f32>()?, [5.0]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn pdist(x: &Tensor, p: f64) -> Result<Tensor> {
    if x.dim() != 2 {
        bail!(Dim, "pdist", "only supports 2D tensors, got {}D", x.dim());
    }
    if p < 0.0 {
        bail!(Value, "pdist", "only supports non-negative p values, got {p}");
    }
    let x = &full(x)?;
    let n = x.shape()[0];
    let pairs = Tensor::triu_indices(n, n, 1, x.device())?;
    // as many at a time as have differences that can be counted
    let most = (MOST / x.size(1)?.max(1)).max(1);
    let parts = pairs.split(most, 1)?.into_iter().map(|pairs| {
        let rows = |k: isize| x.index_select(0, &pairs.select(0, k)?);
        distance(&rows(0)?.sub(&rows(1)?)?, p)
    });
    match &parts.collect::<Result<Vec<Tensor>>>()?[..] {
        [all] => Ok(all.clone()),
        parts => cat(&parts.iter().collect::<Vec<_>>(), 0),
    }
}
