//! Activations, as layers.

use super::{Field, Layer, Module, Visitor};
use crate::Approximate;
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
    /// `min(max(x, 0), 6)`.
    ReLU6, x => x.relu6();
    /// `x sigmoid(x)`.
    SiLU, x => x.silu();
    /// `x tanh(softplus(x))`.
    Mish, x => x.mish();
    /// `1 / (1 + e^-x)`.
    Sigmoid, x => x.sigmoid();
    /// Hyperbolic tangent.
    Tanh, x => x.tanh();
    /// `x relu6(x + 3) / 6`.
    Hardswish, x => x.hardswish();
    /// `relu6(x + 3) / 6`.
    Hardsigmoid, x => x.hardsigmoid();
}

/// `x Phi(x)`, with the error function or its approximation by a hyperbolic tangent.
///
/// ```
/// use calor::nn::{GELU, Layer};
/// use calor::Tensor;
/// let y = GELU::default().forward(&Tensor::new([0.0f32, 1.0], ())?)?.to_vec::<f32>()?;
/// assert!(y[0] == 0.0 && (y[1] - 0.841345).abs() < 1e-5);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GELU {
    /// How it is computed.
    pub approximate: Approximate,
}
plain_layer!(GELU, |this, x| x.gelu(this.approximate));

/// `max(x, 0) + slope min(x, 0)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeakyReLU {
    /// Slope below zero.
    pub negative_slope: f64,
}

impl LeakyReLU {
    /// With a slope below zero.
    pub fn new(negative_slope: f64) -> Self {
        Self { negative_slope }
    }
}

impl Default for LeakyReLU {
    fn default() -> Self {
        Self::new(0.01)
    }
}
plain_layer!(LeakyReLU, |this, x| x.leaky_relu(this.negative_slope));

/// `x` above zero, `alpha (e^x - 1)` below.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ELU {
    /// What it tends to, negated.
    pub alpha: f64,
}

impl ELU {
    /// With what it tends to, negated.
    pub fn new(alpha: f64) -> Self {
        Self { alpha }
    }
}

impl Default for ELU {
    fn default() -> Self {
        Self::new(1.0)
    }
}
plain_layer!(ELU, |this, x| x.elu(this.alpha));

/// `log(1 + e^(beta x)) / beta`; itself where `beta x` is above `threshold`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Softplus {
    /// How sharp it bends.
    pub beta: f64,
    /// From where on it is its input.
    pub threshold: f64,
}

impl Default for Softplus {
    fn default() -> Self {
        Self { beta: 1.0, threshold: 20.0 }
    }
}
plain_layer!(Softplus, |this, x| x.softplus(this.beta, this.threshold));

macro_rules! along {
    ($($(#[$doc:meta])* $name:ident $method:ident;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct $name {
                /// The dimension along which values sum to one.
                pub dim: isize,
            }

            impl $name {
                /// Along a dimension.
                pub fn new(dim: isize) -> Self {
                    Self { dim }
                }
            }
            plain_layer!($name, |this, x| x.$method(this.dim));
        )*
    };
}

along! {
    /// `e^x / sum e^x` along a dimension.
    Softmax softmax;
    /// `log(e^x / sum e^x)` along a dimension.
    LogSoftmax log_softmax;
}
