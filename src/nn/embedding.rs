//! `Embedding`: a learned vector for each number.

use super::functional::{self, BagMode, EmbeddingBagOptions, EmbeddingLookup};
use super::options::options;
use super::{Layer, Module, Parameter, init};
use crate::error::{Result, bail};
use crate::no_grad;
use crate::tensor::Tensor;

options! {
    /// Options of [`Embedding`].
    ///
    /// ```
    /// use calor::{Tensor, nn::{Embedding, EmbeddingOptions, Layer}};
    /// let table = Embedding::new(4, 3, EmbeddingOptions::default().padding_idx(Some(1)))?;
    /// assert_eq!(table.forward(&Tensor::new([1], ())?)?.to_vec::<f32>()?, [0.0; 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    EmbeddingOptions {
        /// A number whose vector starts with zeros and is not learned; negative ones count from the end.
        padding_idx: Option<isize> = None => Some(-1),
        /// Vectors that are looked up are first scaled, in place, to at most this norm.
        max_norm: Option<f64> = None => Some(0.5),
        /// The exponent of that norm.
        norm_type: f64 = 2.0 => 1.0,
        /// Whether a vector's gradient is divided by how often it is looked up.
        scale_grad_by_freq: bool = false => true,
    }
}

impl EmbeddingOptions {
    fn lookup(&self) -> EmbeddingLookup {
        let Self { padding_idx, max_norm, norm_type, scale_grad_by_freq, .. } = *self;
        EmbeddingLookup { padding_idx, max_norm, norm_type, scale_grad_by_freq }
    }
}

/// A vector for each number: integers `[*]` to `[*, dim]`, `weight` is `[count, dim]` and starts normal.
///
/// ```
/// use calor::nn::{Embedding, Layer};
/// use calor::Tensor;
/// let embedding = Embedding::new(10, 4, ())?;
/// assert_eq!(&embedding.forward(&Tensor::new([[1, 2, 3], [4, 5, 9]], ())?)?.shape()[..], [2, 3, 4]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Embedding {
    /// `[count, dim]`.
    pub weight: Parameter,
    #[module(skip)]
    lookup: EmbeddingLookup,
}

impl Embedding {
    /// A layer with fresh vectors.
    ///
    /// ```
    /// use calor::nn::{Embedding, EmbeddingOptions};
    /// assert_eq!(&Embedding::new(10, 4, ())?.weight.shape()[..], [10, 4]);
    /// assert!(Embedding::new(10, 4, EmbeddingOptions::default().padding_idx(Some(10))).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where `padding_idx` is out of range.
    pub fn new(count: usize, dim: usize, options: impl Into<EmbeddingOptions>) -> Result<Self> {
        let options = options.into();
        let weight = init::empty("Embedding", [count, dim], &options.tensor)?;
        init::normal_(&weight, 0.0, 1.0)?;
        if let Some(row) = options.padding_idx {
            let range = -(count as isize)..count as isize;
            if !range.contains(&row) {
                bail!(Value, "Embedding", "padding_idx {row} is out of range for {count} vectors");
            }
            no_grad(|| weight.select(0, row)?.mul_(0.0))?;
        }
        Ok(Self { weight: Parameter::new(&weight)?, lookup: options.lookup() })
    }

    /// With these vectors `[count, dim]`, which do not learn: PyTorch's `from_pretrained`; `requires_grad_` unfreezes
    /// them.
    ///
    /// ```
    /// use calor::nn::{Embedding, Layer};
    /// use calor::Tensor;
    /// let embedding = Embedding::from_pretrained(&Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?, ())?;
    /// assert_eq!(embedding.forward(&Tensor::new([1], ())?)?.to_vec::<f32>()?, [3.0, 4.0]);
    /// assert!(!embedding.weight.requires_grad());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Shape` where they are no matrix.
    pub fn from_pretrained(vectors: &Tensor, options: impl Into<EmbeddingOptions>) -> Result<Self> {
        if vectors.dim() != 2 {
            bail!(
                Shape,
                "Embedding",
                "embeddings parameter is expected to be 2-dimensional, got {:?}",
                vectors.shape()
            );
        }
        let weight = Parameter::new(vectors)?;
        weight.requires_grad_(false)?;
        Ok(Self { weight, lookup: options.into().lookup() })
    }
}

impl Layer for Embedding {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        functional::embedding(x, &self.weight.tensor(), self.lookup.clone())
    }
}

options! {
    /// Options of [`EmbeddingBag`].
    ///
    /// ```
    /// use calor::nn::{EmbeddingBagLayerOptions, functional::BagMode};
    /// let options = EmbeddingBagLayerOptions::default().mode(BagMode::Sum);
    /// assert!(options.mode == BagMode::Sum && !options.include_last_offset);
    /// ```
    EmbeddingBagLayerOptions {
        /// What becomes of the vectors of a bag.
        mode: BagMode = BagMode::Mean => BagMode::Max,
        /// Whether the last offset is only the end of the last bag.
        include_last_offset: bool = false => true,
        /// Norms, gradients by frequency, and a number that is left out of its bag.
        ///
        /// ```
        /// use calor::nn::{EmbeddingBagLayerOptions, functional::EmbeddingLookup};
        /// let table = EmbeddingLookup { max_norm: Some(1.0), ..EmbeddingLookup::default() };
        /// assert_eq!(EmbeddingBagLayerOptions::default().table(table).table.max_norm, Some(1.0));
        /// ```
        table: EmbeddingLookup = EmbeddingLookup::default(),
    }
}

/// Sums, means or maxima of bags of vectors: `weight` is `[count, dim]` and starts normal.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::EmbeddingBag;
/// let bags = EmbeddingBag::new(10, 4, ())?;
/// let y = bags.forward(&Tensor::new([1, 2, 3], ())?, Some(&Tensor::new([0, 2], ())?), None)?;
/// assert_eq!(&y.shape()[..], [2, 4]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct EmbeddingBag {
    /// `[count, dim]`.
    pub weight: Parameter,
    #[module(skip)]
    options: EmbeddingBagLayerOptions,
}

impl EmbeddingBag {
    /// A layer with fresh vectors.
    ///
    /// ```
    /// assert_eq!(&calor::nn::EmbeddingBag::new(10, 4, ())?.weight.shape()[..], [10, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where `padding_idx` is out of range.
    pub fn new(count: usize, dim: usize, options: impl Into<EmbeddingBagLayerOptions>) -> Result<Self> {
        let options = options.into();
        let own = EmbeddingOptions::default().padding_idx(options.table.padding_idx).tensor(options.tensor.clone());
        Ok(Self { weight: Embedding::new(count, dim, own)?.weight, options })
    }

    /// A row for each bag: a row of a matrix `x`, or what lies between two of the offsets of a vector `x`; sums may
    /// weigh each vector.
    ///
    /// ```
    /// use calor::{Tensor, nn::EmbeddingBag};
    /// let (bags, x) = (EmbeddingBag::new(10, 4, ())?, Tensor::new([[1, 2, 3], [4, 5, 6]], ())?);
    /// assert_eq!(&bags.forward(&x, None, None)?.shape()[..], [2, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(&self, x: &Tensor, offsets: Option<&Tensor>, weights: Option<&Tensor>) -> Result<Tensor> {
        let o = &self.options;
        let options = EmbeddingBagOptions {
            offsets: offsets.cloned(),
            mode: o.mode,
            per_sample_weights: weights.cloned(),
            include_last_offset: o.include_last_offset,
            table: o.table.clone(),
        };
        functional::embedding_bag(x, &self.weight.tensor(), options)
    }
}
