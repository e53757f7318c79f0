//! Losses, as modules: how far outputs are from what they should be.

use super::functional::{self, BceOptions, CrossEntropyOptions, NllOptions, Reduction};
use super::{Buffer, Module};
use crate::error::Result;
use crate::tensor::Tensor;

/// [`functional::cross_entropy`] with its options kept; class weights are a buffer.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::CrossEntropyLoss;
/// let (x, y) = (Tensor::new([[0.0f32, 0.0], [0.0, 0.0]], ())?, Tensor::new([0, 1], ())?);
/// let loss = CrossEntropyLoss::new(()).forward(&x, &y)?.item()?;
/// assert!((loss - 2f64.ln()).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct CrossEntropyLoss {
    /// A weight for each class.
    pub weight: Option<Buffer>,
    #[module(skip)]
    options: CrossEntropyOptions,
}

impl CrossEntropyLoss {
    /// A loss with these options.
    pub fn new(options: impl Into<CrossEntropyOptions>) -> Self {
        let mut options = options.into();
        Self { weight: options.weight.take().map(|w| Buffer::new(&w)), options }
    }

    /// The loss of scores `[n, classes, ..]` for classes `[n, ..]`.
    pub fn forward(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        let weight = self.weight.as_ref().map(Buffer::tensor);
        functional::cross_entropy(x, target, CrossEntropyOptions { weight, ..self.options.clone() })
    }
}

/// [`functional::nll_loss`] with its options kept; class weights are a buffer.
#[derive(Clone, Debug, Module)]
pub struct NLLLoss {
    /// A weight for each class.
    pub weight: Option<Buffer>,
    #[module(skip)]
    options: NllOptions,
}

impl NLLLoss {
    /// A loss with these options.
    pub fn new(options: impl Into<NllOptions>) -> Self {
        let mut options = options.into();
        Self { weight: options.weight.take().map(|w| Buffer::new(&w)), options }
    }

    /// The loss of logarithms of probabilities `[n, classes, ..]` for classes `[n, ..]`.
    pub fn forward(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        let weight = self.weight.as_ref().map(Buffer::tensor);
        functional::nll_loss(x, target, NllOptions { weight, ..self.options.clone() })
    }
}

/// [`functional::binary_cross_entropy_with_logits`] with its options kept; weights are buffers.
#[derive(Clone, Debug, Module)]
pub struct BCEWithLogitsLoss {
    /// A weight for each element.
    pub weight: Option<Buffer>,
    /// How much more what is 1 weighs.
    pub pos_weight: Option<Buffer>,
    #[module(skip)]
    options: BceOptions,
}

impl BCEWithLogitsLoss {
    /// A loss with these options.
    pub fn new(options: impl Into<BceOptions>) -> Self {
        let mut options = options.into();
        let [weight, pos_weight] =
            [options.weight.take(), options.pos_weight.take()].map(|w| w.map(|w| Buffer::new(&w)));
        Self { weight, pos_weight, options }
    }

    /// The loss of scores for targets between 0 and 1.
    pub fn forward(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        let [weight, pos_weight] = [&self.weight, &self.pos_weight].map(|w| w.as_ref().map(Buffer::tensor));
        let options = BceOptions { weight, pos_weight, ..self.options.clone() };
        functional::binary_cross_entropy_with_logits(x, target, options)
    }
}

macro_rules! plain_loss {
    ($($(#[$doc:meta])* $name:ident $function:ident;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Default, Module)]
            pub struct $name {
                /// What becomes of the elements' losses.
                #[module(skip)]
                pub reduction: Reduction,
            }

            impl $name {
                /// A loss with this reduction.
                pub fn new(reduction: Reduction) -> Self {
                    Self { reduction }
                }

                /// The loss of an output for a target.
                pub fn forward(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
                    functional::$function(x, target, self.reduction)
                }
            }
        )*
    };
}

plain_loss! {
    /// `(x - target)^2`.
    MSELoss mse_loss;
    /// `|x - target|`.
    L1Loss l1_loss;
}
