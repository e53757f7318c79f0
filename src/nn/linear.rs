//! `Linear`: `y = x A^T + b`.

use super::options::options;
use super::{Layer, Module, Parameter, functional, init};
use crate::error::Result;
use crate::tensor::Tensor;

options! {
    /// Options of [`Linear`].
    ///
    /// ```
    /// use calor::nn::{Linear, LinearOptions};
    /// assert!(Linear::new(2, 3, LinearOptions::default().bias(false))?.bias.is_none());
    /// # Ok::<(), calor::Error>(())
    /// ```
    LinearOptions {
        /// Whether it learns an addend.
        bias: bool = true => false,
    }
}

/// `y = x A^T + b` over the last dimension: `[*, in]` to `[*, out]`, `weight` is `[out, in]`.
///
/// Both start uniform in `±1 / sqrt(in)`.
///
/// ```
/// use calor::nn::{Layer, Linear, LinearOptions};
/// use calor::Tensor;
/// let linear = Linear::new(3, 2, LinearOptions::default().bias(false))?;
/// assert_eq!(&linear.forward(&Tensor::ones([5, 3], ())?)?.shape()[..], [5, 2]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Parameter,
    /// `[out]`.
    pub bias: Option<Parameter>,
}

impl Linear {
    /// A layer with fresh parameters.
    ///
    /// ```
    /// let linear = calor::nn::Linear::new(2, 3, calor::DType::F16)?;
    /// assert_eq!((&linear.weight.shape()[..], linear.weight.tensor().dtype()), (&[3, 2][..], calor::DType::F16));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(inputs: usize, outputs: usize, options: impl Into<LinearOptions>) -> Result<Self> {
        let options = options.into();
        let weight = init::empty("Linear", [outputs, inputs], &options.tensor)?;
        init::kaiming_uniform_(&weight, 5f64.sqrt(), init::Fan::In, init::Nonlinearity::LeakyRelu)?;
        let bias = match options.bias {
            true => Some(init::bias("Linear", outputs, inputs, &options.tensor)?),
            false => None,
        };
        Ok(Self { weight: Parameter::new(&weight)?, bias })
    }
}

impl Layer for Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let bias = self.bias.as_ref().map(Parameter::tensor);
        functional::linear(x, &self.weight.tensor(), bias.as_ref())
    }
}
