//! `Dropout`: zeros at random places while training.

use super::{Layer, Module, Training, functional};
use crate::error::{Result, bail};
use crate::tensor::Tensor;

/// While training, sets elements to zero with probability `p` and divides the others by `1 - p`; in evaluation, gives
/// its input.
///
/// ```
/// use calor::nn::{Dropout, Layer, Module};
/// use calor::Tensor;
/// let (drop, x) = (Dropout::new(0.5)?, Tensor::ones([100], ())?);
/// assert!(drop.forward(&x)?.to_vec::<f32>()?.iter().all(|&y| y == 0.0 || y == 2.0));
/// drop.eval();
/// assert_eq!(drop.forward(&x)?.to_vec::<f32>()?, [1.0; 100]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Dropout {
    /// Whether it trains.
    pub training: Training,
    p: f64,
}

impl Dropout {
    /// A layer that drops with probability `p`.
    ///
    /// # Errors
    /// `Value` where `p` is not between 0 and 1.
    pub fn new(p: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&p) {
            bail!(Value, "Dropout", "dropout probability has to be between 0 and 1, but got {p}");
        }
        Ok(Self { training: Training::default(), p })
    }
}

impl Layer for Dropout {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        functional::dropout(x, self.p, self.training.get())
    }
}

macro_rules! channel_dropout {
    ($($(#[$doc:meta])* $name:ident $whole:literal;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Module)]
            pub struct $name {
                /// Whether it trains.
                pub training: Training,
                p: f64,
            }

            impl $name {
                /// A layer that drops with probability `p`.
                ///
                /// # Errors
                /// `Value` where `p` is not between 0 and 1.
                pub fn new(p: f64) -> Result<Self> {
                    Ok(Self { p: Dropout::new(p)?.p, training: Training::default() })
                }
            }

            impl Layer for $name {
                fn forward(&self, x: &Tensor) -> Result<Tensor> {
                    let shape = x.shape();
                    if shape.len() != $whole && shape.len() + 1 != $whole {
                        bail!(Shape, stringify!($name), "expected {} or {} dimensions, got {shape:?}", $whole - 1, $whole);
                    }
                    if !self.training.get() || self.p == 0.0 {
                        return Ok(x.clone());
                    }
                    let mut channel = vec![1; shape.len()];
                    let lead = shape.len() + 2 - $whole;
                    channel[..lead].copy_from_slice(&shape[..lead]);
                    x * Tensor::ones(channel, (x.dtype(), x.device()))?.dropout(self.p, true)?
                }
            }
        )*
    };
}

channel_dropout! {
    /// [`Dropout`] of whole channels of `[n, c, l]` or `[c, l]`.
    Dropout1d 3;
    /// [`Dropout`] of whole channels of `[n, c, h, w]` or `[c, h, w]`.
    Dropout2d 4;
    /// [`Dropout`] of whole channels of `[n, c, d, h, w]` or `[c, d, h, w]`.
    Dropout3d 5;
}

/// While training, sets elements to SELU's least value with probability `p`, then scales and shifts so that mean 0 and
/// variance 1 stay.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{AlphaDropout, Layer, Module};
/// let drop = AlphaDropout::new(0.5)?;
/// drop.eval();
/// assert_eq!(drop.forward(&Tensor::ones([1], ())?)?.item()?, 1.0);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct AlphaDropout {
    /// Whether it trains.
    pub training: Training,
    p: f64,
}

impl AlphaDropout {
    /// A layer that drops with probability `p`.
    ///
    /// # Errors
    /// `Value` where `p` is not between 0 and 1.
    pub fn new(p: f64) -> Result<Self> {
        Ok(Self { p: Dropout::new(p)?.p, training: Training::default() })
    }
}

impl Layer for AlphaDropout {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        // -scale * alpha of SELU
        const LEAST: f64 = -1.758_099_340_847_376_6;
        if !self.training.get() || self.p == 0.0 {
            return Ok(x.clone());
        }
        if self.p == 1.0 {
            return x * 0.0;
        }
        let keep = 1.0 - self.p;
        let scale = 1.0 / (keep * (1.0 + self.p * LEAST * LEAST)).sqrt();
        let kept = Tensor::ones(x.shape(), (x.dtype(), x.device()))?.dropout(self.p, true)?.gt(0.0)?;
        (kept.where_(x, LEAST)? * scale)? - scale * self.p * LEAST
    }
}
