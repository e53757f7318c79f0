//! Neural networks: modules, layers, losses, initialisation; `functional` holds the stateless forms.
//!
//! Names, shapes and initial values are PyTorch's, so its state dicts load.
//!
//! ```
//! use calor::{Tensor, nn::{Layer, Linear, Module, ReLU, Sequential}};
//! let model = Sequential::new().add(Linear::new(4, 8, ())?).add(ReLU).add(Linear::new(8, 2, ())?);
//! assert_eq!(model.forward(&Tensor::ones([3, 4], ())?)?.shape()[..], [3, 2]);
//! assert_eq!(model.parameters().len(), 4);
//! # Ok::<(), calor::Error>(())
//! ```

mod activation;
mod adaptive;
mod adaptive_softmax;
mod attention;
mod cell;
mod container;
mod conv;
mod convolution;
mod ctc;
mod dropout;
mod embedding;
mod fractional;
pub mod functional;
mod grid;
mod hook;
pub mod init;
mod linear;
mod linear_loss;
mod loss;
mod losses;
mod margins;
mod mode;
mod module;
mod multihead;
mod norm;
mod norms;
mod options;
mod padding;
mod parameter;
mod parametrize;
mod pool;
mod pooling;
mod recurrent;
mod resize;
mod shaping;
mod standardize;
mod state;
mod summary;
mod transformer;
mod transposed;
pub mod utils;
mod visit;

pub use activation::*;
pub use adaptive_softmax::{AdaptiveLogSoftmaxWithLoss, AdaptiveLogSoftmaxWithLossOptions};
pub use cell::{GRUCell, GRUCellOptions, LSTMCell, LSTMCellOptions, RNNCell, RNNCellOptions, Recurrence};
pub use container::{Lambda, ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential};
pub use conv::{Conv, Conv1d, Conv1dOptions, Conv2d, Conv2dOptions, Conv3d, Conv3dOptions, ConvOptions, Sides};
pub use dropout::{AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d, FeatureAlphaDropout};
pub use embedding::{Embedding, EmbeddingBag, EmbeddingBagLayerOptions, EmbeddingOptions};
pub use fractional::{FractionalMaxPool, FractionalMaxPool2d, FractionalMaxPool3d, FractionalOutput};
pub use hook::{HookHandle, Hooked};
pub use linear::{Linear, LinearOptions};
pub use linear_loss::{LinearCrossEntropyLoss, LinearCrossEntropyOptions};
pub use loss::*;
pub use module::{Mismatch, Module};
pub use multihead::{AttentionCall, MultiheadAttention, MultiheadAttentionOptions};
pub use norm::{BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d, BatchNormOptions, LayerNorm, LayerNormOptions};
pub use norms::*;
pub use padding::*;
pub use parameter::{Buffer, Parameter, Training};
pub use pool::{AvgPool, AvgPool1d, AvgPool2d, AvgPool3d, Flatten, MaxPool, MaxPool1d, MaxPool2d, MaxPool3d};
pub use pooling::*;
pub use recurrent::{GRU, GRUOptions, LSTM, LSTMOptions, RNN, RNNOptions};
pub use shaping::*;
pub use state::StateDict;
pub use transformer::*;
pub use transposed::{ConvTranspose, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, ConvTransposeOptions};
pub use visit::{Field, Visitor};

pub(crate) use mode::Modes;
pub(crate) use norm::cumulative;
pub(crate) use parameter::{copy_into, moved};

/// For a struct, named or tuple:
///
/// ```
/// use calor::nn::{Linear, Module};
/// #[derive(Module)]
/// struct Head {
///     out: Linear,
///     #[module(rename = "type")]
///     kind: Linear,
///     #[module(skip)]
///     names: std::collections::BTreeMap<u32, String>,
/// }
/// ```
///
/// An enum is refused:
///
/// ```compile_fail
/// use calor::nn::{Linear, Module};
/// #[derive(Module)]
/// enum Head {
///     Out(Linear),
/// }
/// ```
pub use calor_derive::Module;

use crate::error::Result;
use crate::tensor::Tensor;

/// A module that takes a tensor and gives one: what [`Sequential`] is made of.
///
/// ```
/// use calor::nn::{Layer, Linear, Module, Sequential};
/// use calor::{Result, Tensor};
/// /// `x + f(x)`.
/// #[derive(Module)]
/// struct Residual {
///     inner: Linear,
/// }
/// impl Layer for Residual {
///     fn forward(&self, x: &Tensor) -> Result<Tensor> {
///         x + self.inner.forward(x)?
///     }
/// }
/// let model = Sequential::new().add(Residual { inner: Linear::new(4, 4, ())? });
/// assert_eq!(model.forward(&Tensor::ones([2, 4], ())?)?.shape()[..], [2, 4]);
/// # Ok::<(), calor::Error>(())
/// ```
pub trait Layer: Field + Send + Sync {
    /// The output for an input.
    ///
    /// ```
    /// use calor::{Tensor, nn::{Layer, ReLU}};
    /// assert_eq!(ReLU.forward(&Tensor::new([-1.0f32, 2.0], ())?)?.to_vec::<f32>()?, [0.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn forward(&self, x: &Tensor) -> Result<Tensor>;
}

impl<L: Layer + ?Sized> Layer for std::sync::Arc<L> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        (**self).forward(x)
    }
}

impl<L: Layer + ?Sized> Layer for Box<L> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        (**self).forward(x)
    }
}
