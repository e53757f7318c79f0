//! The network: two convolutions with pooling between, two linear layers.

use calor::nn::{Conv2d, Conv2dOptions, Dropout, Layer, Linear, MaxPool2d, Module};
use calor::{Device, Result, Tensor};

/// Reads digits from pictures `[n, 1, size, size]`.
#[derive(Module)]
pub struct Net {
    conv1: Conv2d,
    conv2: Conv2d,
    pool: MaxPool2d,
    /// Large pictures are halved once more.
    last: Option<MaxPool2d>,
    drop: Dropout,
    hidden: Linear,
    out: Linear,
}

impl Net {
    /// A network for pictures of `size` pixels a side.
    pub fn new(size: usize, device: &Device) -> Result<Self> {
        let near = || Conv2dOptions::default().padding(1).tensor(device);
        let last = (size >= 16).then(|| MaxPool2d::new(2));
        let left = if last.is_some() { size / 4 } else { size / 2 };
        Ok(Self {
            conv1: Conv2d::new(1, 16, 3, near())?,
            conv2: Conv2d::new(16, 32, 3, near())?,
            pool: MaxPool2d::new(2),
            last,
            drop: Dropout::new(0.3)?,
            hidden: Linear::new(32 * left * left, 64, device)?,
            out: Linear::new(64, 10, device)?,
        })
    }
}

impl Layer for Net {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.pool.forward(&self.conv1.forward(x)?.relu()?)?;
        let mut x = self.conv2.forward(&x)?.relu()?;
        if let Some(pool) = &self.last {
            x = pool.forward(&x)?;
        }
        let x = self.drop.forward(&x.flatten(1, -1)?)?;
        self.out.forward(&self.hidden.forward(&x)?.relu()?)
    }
}
