//! Activations, as layers.

use super::{Field, Layer, Module, Parameter, Training, Visitor, init};
use crate::Approximate;
use crate::error::{Result, bail};
use crate::tensor::{Options, Tensor};

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

            fn extra_repr(&self) -> String {
                crate::nn::summary::fields(self)
            }
        }

        impl Field for $name {
            fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
                visitor.module(name, self);
                visitor.leave();
            }
        }
    };
}
pub(super) use plain_layer;

/// The same for a type over `N` dimensions.
macro_rules! plain_layer_n {
    ($name:ident, |$this:ident, $x:ident| $forward:expr) => {
        impl<const N: usize> Layer for $name<N> {
            fn forward(&self, $x: &Tensor) -> Result<Tensor> {
                let $this = self;
                $forward
            }
        }

        impl<const N: usize> Module for $name<N> {
            fn visit(&self, _visitor: &mut dyn Visitor) {}
            fn set_training(&self, _training: bool) {}

            fn extra_repr(&self) -> String {
                crate::nn::summary::fields(self)
            }
        }

        impl<const N: usize> Field for $name<N> {
            fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
                visitor.module(name, self);
                visitor.leave();
            }
        }
    };
}
pub(super) use plain_layer_n;

macro_rules! activation {
    ($($(#[$doc:meta])* $name:ident, $x:ident => $forward:expr, $from:literal => $to:literal;)*) => {
        $(
            $(#[$doc])*
            ///
            /// ```
            /// use calor::{Tensor, nn::*};
            #[doc = concat!("let y = ", stringify!($name), ".forward(&Tensor::new([", $from, "f32], ())?)?.item()?;")]
            #[doc = concat!("assert!((y - ", $to, ").abs() < 1e-5);")]
            /// # Ok::<(), calor::Error>(())
            /// ```
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            pub struct $name;

            plain_layer!($name, |_this, $x| $forward);
        )*
    };
}

activation! {
    /// Its input.
    Identity, x => Ok(x.clone()), "-3.0" => "-3.0";
    /// `max(x, 0)`.
    ReLU, x => x.relu(), "-3.0" => "0.0";
    /// `min(max(x, 0), 6)`.
    ReLU6, x => x.relu6(), "9.0" => "6.0";
    /// `x sigmoid(x)`.
    SiLU, x => x.silu(), "1.0" => "0.731058";
    /// `x tanh(softplus(x))`.
    Mish, x => x.mish(), "1.0" => "0.865098";
    /// `1 / (1 + e^-x)`.
    Sigmoid, x => x.sigmoid(), "1.0" => "0.731058";
    /// Hyperbolic tangent.
    Tanh, x => x.tanh(), "1.0" => "0.761594";
    /// `x relu6(x + 3) / 6`.
    Hardswish, x => x.hardswish(), "1.0" => "0.666667";
    /// `relu6(x + 3) / 6`.
    Hardsigmoid, x => x.hardsigmoid(), "1.5" => "0.75";
    /// `scale (max(x, 0) + min(alpha (e^x - 1), 0))`, with the constants that keep mean and variance.
    SELU, x => x.selu(), "1.0" => "1.050701";
    /// `log sigmoid(x)`.
    LogSigmoid, x => x.logsigmoid(), "0.0" => "-0.693147";
    /// `x - tanh(x)`.
    Tanhshrink, x => x.tanhshrink(), "1.0" => "0.238406";
    /// `x / (1 + |x|)`.
    Softsign, x => x.softsign(), "3.0" => "0.75";
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
///
/// ```
/// use calor::{Tensor, nn::{Layer, LeakyReLU}};
/// let y = LeakyReLU::default().forward(&Tensor::new([-100.0f32, 2.0], ())?)?;
/// assert_eq!(y.to_vec::<f32>()?, [-1.0, 2.0]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeakyReLU {
    /// Slope below zero.
    pub negative_slope: f64,
}

impl LeakyReLU {
    /// With a slope below zero.
    ///
    /// ```
    /// use calor::{Tensor, nn::{Layer, LeakyReLU}};
    /// assert_eq!(LeakyReLU::new(0.5).forward(&Tensor::new([-2.0f32], ())?)?.item()?, -1.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
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
///
/// ```
/// use calor::{Tensor, nn::{ELU, Layer}};
/// let y = ELU::default().forward(&Tensor::new([2.0f32, f32::NEG_INFINITY], ())?)?;
/// assert_eq!(y.to_vec::<f32>()?, [2.0, -1.0]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ELU {
    /// What it tends to, negated.
    pub alpha: f64,
}

impl ELU {
    /// With what it tends to, negated.
    ///
    /// ```
    /// use calor::{Tensor, nn::{ELU, Layer}};
    /// assert_eq!(ELU::new(3.0).forward(&Tensor::new([f32::NEG_INFINITY], ())?)?.item()?, -3.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
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
///
/// ```
/// use calor::{Tensor, nn::{Layer, Softplus}};
/// let y = Softplus::default().forward(&Tensor::new([0.0f32, 30.0], ())?)?.to_vec::<f32>()?;
/// assert!((y[0] - 2f32.ln()).abs() < 1e-6 && y[1] == 30.0);
/// # Ok::<(), calor::Error>(())
/// ```
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

macro_rules! parametric {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty = $default:expr => $example:literal,)* }
        |$this:ident, $x:ident| $forward:expr, $from:literal => $to:literal;)*) => {
        $(
            $(#[$doc])*
            ///
            /// ```
            /// use calor::{Tensor, nn::*};
            #[doc = concat!("let y = ", stringify!($name), "::default().forward(&Tensor::new([", $from, "], ())?)?;")]
            #[doc = concat!("assert_eq!(y.to_vec::<f32>()?, [", $to, "]);")]
            /// # Ok::<(), calor::Error>(())
            /// ```
            #[derive(Clone, Copy, Debug, PartialEq)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $ty,)*
            }

            impl $name {
                /// With these numbers.
                ///
                /// ```
                /// use calor::nn::*;
                #[doc = concat!("let layer = ", stringify!($name), "::new(", $(stringify!($example), ", ",)* ");")]
                $(#[doc = concat!("assert_eq!(layer.", stringify!($field), ", ", stringify!($example), ");")])*
                /// ```
                pub fn new($($field: $ty),*) -> Self {
                    Self { $($field),* }
                }
            }

            impl Default for $name {
                fn default() -> Self {
                    Self { $($field: $default),* }
                }
            }
            plain_layer!($name, |$this, $x| $forward);
        )*
    };
}

parametric! {
    /// `max(x, 0) + min(alpha (e^(x / alpha) - 1), 0)`.
    CELU {
        /// What it tends to, negated.
        alpha: f64 = 1.0 => 2.0,
    } |this, x| x.celu(this.alpha), "2.0f32, f32::NEG_INFINITY" => "2.0, -1.0";
    /// `x`, kept between two numbers.
    Hardtanh {
        /// The least value.
        min_val: f64 = -1.0 => 0.0,
        /// The largest value.
        max_val: f64 = 1.0 => 6.0,
    } |this, x| x.hardtanh(this.min_val, this.max_val), "-3.0f32, 0.5" => "-1.0, 0.5";
    /// `x` where it is farther than `lambda` from zero, else 0.
    Hardshrink {
        /// What counts as zero.
        lambda: f64 = 0.5 => 0.25,
    } |this, x| x.hardshrink(this.lambda), "-3.0f32, 0.25" => "-3.0, 0.0";
    /// `x` nearer to zero by `lambda`, or 0.
    Softshrink {
        /// How much nearer.
        lambda: f64 = 0.5 => 0.25,
    } |this, x| x.softshrink(this.lambda), "-3.0f32, 0.25" => "-2.5, 0.0";
    /// `x` above `threshold`, else `value`.
    Threshold {
        /// From where on `x` stays.
        threshold: f64 = 0.0 => 1.0,
        /// What stands below.
        value: f64 = 0.0 => 20.0,
    } |this, x| x.threshold(this.threshold, this.value), "-3.0f32, 0.25" => "0.0, 0.25";
    /// `a sigmoid(b)` for the halves `a` and `b` of a dimension.
    GLU {
        /// The dimension.
        dim: isize = -1 => 0,
    } |this, x| x.glu(this.dim), "4.0f32, 0.0" => "2.0";
}

/// `max(x, 0) + weight min(x, 0)`, with one learned slope or one for each channel, which is dimension 1.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{Layer, PReLU};
/// let y = PReLU::new(1, 0.25, ())?.forward(&Tensor::new([-4.0f32, 2.0], ())?)?;
/// assert_eq!(y.to_vec::<f32>()?, [-1.0, 2.0]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct PReLU {
    /// `[count]`.
    pub weight: Parameter,
}

impl PReLU {
    /// With `count` slopes that start with `init`.
    ///
    /// ```
    /// use calor::nn::PReLU;
    /// assert_eq!(PReLU::new(3, 0.25, ())?.weight.tensor().to_vec::<f32>()?, [0.25; 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(count: usize, init: f64, tensor: impl Into<Options>) -> Result<Self> {
        let weight = init::empty("PReLU", [count], &tensor.into())?;
        init::constant_(&weight, init)?;
        Ok(Self { weight: Parameter::new(&weight)? })
    }
}

impl Layer for PReLU {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.prelu(&self.weight.tensor())
    }
}

/// [`Tensor::rrelu`] with its slopes kept: random ones in training, their mean in evaluation.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{Layer, Module, RReLU};
/// let layer = RReLU::new(0.25, 0.75)?;
/// layer.eval();
/// assert_eq!(layer.forward(&Tensor::new([-2.0f32, 2.0], ())?)?.to_vec::<f32>()?, [-1.0, 2.0]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct RReLU {
    /// Whether it trains.
    pub training: Training,
    lower: f64,
    upper: f64,
}

impl RReLU {
    /// With slopes below zero between `lower` and `upper` (usually 1/8 and 1/3).
    ///
    /// ```
    /// use calor::nn::RReLU;
    /// assert!(RReLU::new(0.125, 0.5).is_ok() && RReLU::new(0.5, 0.125).is_err());
    /// ```
    ///
    /// # Errors
    /// `Value` where `lower` is above `upper`.
    pub fn new(lower: f64, upper: f64) -> Result<Self> {
        if lower > upper {
            bail!(Value, "RReLU", "lower bound should be less than or equal to the upper, got {lower} and {upper}");
        }
        Ok(Self { training: Training::default(), lower, upper })
    }
}

impl Layer for RReLU {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.rrelu(self.lower, self.upper, self.training.get())
    }
}

/// Softmax over the channels of `[n, c, h, w]` or `[c, h, w]`.
///
/// ```
/// use calor::{Tensor, nn::{Layer, Softmax2d}};
/// let y = Softmax2d.forward(&Tensor::ones([4, 2, 3], ())?)?;
/// assert_eq!(y.to_vec::<f32>()?, [0.25; 24]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Softmax2d;
plain_layer!(Softmax2d, |_this, x| {
    if x.dim() != 3 && x.dim() != 4 {
        bail!(Shape, "Softmax2d", "expected input to be 3D or 4D, got {:?}", x.shape());
    }
    x.softmax(-3)
});

macro_rules! along {
    ($($(#[$doc:meta])* $name:ident $method:ident $to:literal;)*) => {
        $(
            $(#[$doc])*
            ///
            /// ```
            /// use calor::{Tensor, nn::*};
            #[doc = concat!("let y = ", stringify!($name), "::new(-1).forward(&Tensor::new([0.0f32, 3f32.ln()], ())?)?;")]
            #[doc = concat!("assert!((y.to_vec::<f32>()?[0] - ", $to, ").abs() < 1e-6);")]
            /// # Ok::<(), calor::Error>(())
            /// ```
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct $name {
                /// The dimension along which values sum to one.
                pub dim: isize,
            }

            impl $name {
                /// Along a dimension.
                ///
                /// ```
                #[doc = concat!("assert_eq!(calor::nn::", stringify!($name), "::new(1).dim, 1);")]
                /// ```
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
    Softmax softmax "0.25";
    /// `log(e^x / sum e^x)` along a dimension.
    LogSoftmax log_softmax "0.25f32.ln()";
    /// Softmax of the negated values.
    Softmin softmin "0.75";
}
