//! Neural networks: modules, layers, losses, initialisation; `functional` holds the stateless forms.
//!
//! Names, shapes and initial values are PyTorch's, so its state dicts load.

mod activation;
mod container;
pub mod functional;
pub mod init;
mod linear;
mod module;
mod options;
mod parameter;
mod pool;

pub use activation::*;
pub use container::{Lambda, Sequential};
pub use linear::{Linear, LinearOptions};
pub use module::{Field, Mismatch, Module, StateDict, Visitor};
pub use parameter::{Buffer, Parameter, Training};
pub use pool::Flatten;

pub(crate) use parameter::copy_into;

/// Writes `visit` and `set_training` for a struct of parameters, buffers and modules, by its field names.
pub use calor_derive::Module;

use crate::error::Result;
use crate::tensor::Tensor;

/// A module that takes a tensor and gives one: what [`Sequential`] is made of.
pub trait Layer: Field + Send + Sync {
    /// The output for an input.
    fn forward(&self, x: &Tensor) -> Result<Tensor>;
}

impl<L: Layer + ?Sized> Layer for Box<L> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        (**self).forward(x)
    }
}
