//! Activations, as layers.

use super::{Field, Layer, Module, Visitor};
use crate::error::Result;
use crate::tensor::Tensor;

/// A layer without parameters: it has nothing to visit.
macro_rules! plain_layer {
    ($name:ident, |$this:ident, $x:ident| $forward:expr) => {
        impl Layer for $name {
            fn forward(&self, $x: &Tensor) -> Result<Tensor> {
                let $this = self;
                let _ = $this;
                $forward
            }
        }

        impl Module for $name {
            fn visit(&self, _visitor: &mut dyn Visitor) {}
            fn set_training(&self, _training: bool) {}
        }

        impl Field for $name {
            fn visit_field(&self, _name: &str, _visitor: &mut dyn Visitor) {}
        }
    };
}
pub(super) use plain_layer;

macro_rules! activation {
    ($($(#[$doc:meta])* $name:ident, $x:ident => $forward:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            pub struct $name;

            plain_layer!($name, |_this, $x| $forward);
        )*
    };
}

activation! {
    /// Its input.
    Identity, x => Ok(x.clone());
    /// `max(x, 0)`.
    ReLU, x => x.relu();
    /// `1 / (1 + e^-x)`.
    Sigmoid, x => x.sigmoid();
    /// Hyperbolic tangent.
    Tanh, x => x.tanh();
}
