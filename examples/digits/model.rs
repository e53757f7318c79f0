//! The network: two convolutions, pooling down to 4 to 8 pixels, two linear layers.

use calor::nn::{Conv2d, Conv2dOptions, Layer, Linear, MaxPool2d, Module};
use calor::{Device, Result, Tensor};

/// Reads digits from pictures `[n, 1, size, size]`.
#[derive(Module)]
pub struct Net {
    conv1: Conv2d,
    conv2: Conv2d,
    pool1: Option<MaxPool2d>,
    pool2: MaxPool2d,
    hidden: Linear,
    out: Linear,
}

impl Net {
    /// A network for pictures of `size` pixels a side.
    pub fn new(size: usize, device: &Device) -> Result<Self> {
        let near = || Conv2dOptions::default().padding(1).tensor(device);
        // large pictures are halved after the first convolution already
        let pool1 = if size >= 16 { Some(MaxPool2d::new(2)) } else { None };
        let left = size / if size >= 16 { 4 } else { 2 };
        Ok(Self {
            conv1: Conv2d::new(1, 16, 3, near())?,
            conv2: Conv2d::new(16, 32, 3, near())?,
            pool1,
            pool2: MaxPool2d::new(2),
            hidden: Linear::new(32 * left * left, 64, device)?,
            out: Linear::new(64, 10, device)?,
        })
    }
}

impl Layer for Net {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = self.conv1.forward(x)?.relu()?;
        if let Some(pool) = &self.pool1 {
            x = pool.forward(&x)?;
        }
        let x = self.pool2.forward(&self.conv2.forward(&x)?.relu()?)?;
        let x = self.hidden.forward(&x.flatten(1, -1)?)?.relu()?;
        self.out.forward(&x)
    }
}
