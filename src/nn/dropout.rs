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
