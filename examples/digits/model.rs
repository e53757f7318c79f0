//! The network.

use calor::nn::{Layer, Linear, Module};
use calor::{Device, Result, Tensor};

/// Reads digits from pictures `[n, 1, size, size]`.
#[derive(Module)]
pub struct Net {
    hidden: Linear,
    hidden2: Linear,
    out: Linear,
}

impl Net {
    /// A network for pictures of `size` pixels a side.
    pub fn new(size: usize, device: &Device) -> Result<Self> {
        Ok(Self {
            hidden: Linear::new(size * size, 128, device)?,
            hidden2: Linear::new(128, 64, device)?,
            out: Linear::new(64, 10, device)?,
        })
    }
}

impl Layer for Net {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.hidden.forward(&x.flatten(1, -1)?)?.relu()?;
        let x = self.hidden2.forward(&x)?.relu()?;
        self.out.forward(&x)
    }
}
