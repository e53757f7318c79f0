//! `Embedding`: a learned vector for each number.

use super::options::options;
use super::{Layer, Module, Parameter, init};
use crate::error::{Result, bail};
use crate::no_grad;
use crate::tensor::Tensor;

options! {
    /// Options of [`Embedding`].
    EmbeddingOptions {
        /// A number whose vector starts with zeros and is not learned; negative ones count from the end.
        padding_idx: Option<isize> = None,
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
    padding_idx: Option<isize>,
}

impl Embedding {
    /// A layer with fresh vectors.
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
        Ok(Self { weight: Parameter::new(&weight)?, padding_idx: options.padding_idx })
    }
}

impl Layer for Embedding {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.weight.tensor().embedding(x, self.padding_idx)
    }
}
