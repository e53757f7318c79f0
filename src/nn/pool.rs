//! Pooling and flattening.

use super::activation::plain_layer;
use super::conv::Sides;
use super::{Field, Layer, Module, Visitor, functional};
use crate::error::Result;
use crate::tensor::Tensor;

/// The largest value in each window of `[n, c, h, w]` or `[c, h, w]`.
///
/// ```
/// use calor::nn::{Layer, MaxPool2d};
/// use calor::Tensor;
/// let x = Tensor::new([[[1.0f32, 2.0], [4.0, 3.0]]], ())?;
/// assert_eq!(MaxPool2d::new(2).forward(&x)?.item()?, 4.0);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool2d {
    /// Sides of a window.
    pub kernel_size: [usize; 2],
    /// Steps of the window.
    pub stride: [usize; 2],
    /// Border of negative infinity.
    pub padding: [usize; 2],
    /// Distance between a window's elements.
    pub dilation: [usize; 2],
    /// Whether a window may pass the end.
    pub ceil_mode: bool,
}

impl MaxPool2d {
    /// Windows side by side.
    pub fn new(kernel_size: impl Sides<2>) -> Self {
        let kernel_size = kernel_size.sides();
        Self { kernel_size, stride: kernel_size, padding: [0; 2], dilation: [1; 2], ceil_mode: false }
    }

    /// Steps of the window.
    #[must_use]
    pub fn stride(self, stride: impl Sides<2>) -> Self {
        Self { stride: stride.sides(), ..self }
    }

    /// Border of negative infinity, at most half a window.
    #[must_use]
    pub fn padding(self, padding: impl Sides<2>) -> Self {
        Self { padding: padding.sides(), ..self }
    }

    /// Distance between a window's elements.
    #[must_use]
    pub fn dilation(self, dilation: impl Sides<2>) -> Self {
        Self { dilation: dilation.sides(), ..self }
    }

    /// Whether a window may pass the end.
    #[must_use]
    pub fn ceil_mode(self, ceil_mode: bool) -> Self {
        Self { ceil_mode, ..self }
    }
}

plain_layer!(MaxPool2d, |this, x| functional::max_pool2d(x, this));

/// The mean of each window of `[n, c, h, w]` or `[c, h, w]`.
///
/// ```
/// use calor::nn::{AvgPool2d, Layer};
/// use calor::Tensor;
/// let x = Tensor::new([[[1.0f32, 2.0], [4.0, 3.0]]], ())?;
/// assert_eq!(AvgPool2d::new(2).forward(&x)?.item()?, 2.5);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPool2d {
    /// Sides of a window.
    pub kernel_size: [usize; 2],
    /// Steps of the window.
    pub stride: [usize; 2],
    /// Border of zeros.
    pub padding: [usize; 2],
    /// Whether a window may pass the end.
    pub ceil_mode: bool,
    /// Whether the border counts.
    pub count_include_pad: bool,
    /// Divides by this instead of the number of elements.
    pub divisor_override: Option<usize>,
}

impl AvgPool2d {
    /// Windows side by side.
    pub fn new(kernel_size: impl Sides<2>) -> Self {
        let kernel_size = kernel_size.sides();
        Self {
            kernel_size,
            stride: kernel_size,
            padding: [0; 2],
            ceil_mode: false,
            count_include_pad: true,
            divisor_override: None,
        }
    }

    /// Steps of the window.
    #[must_use]
    pub fn stride(self, stride: impl Sides<2>) -> Self {
        Self { stride: stride.sides(), ..self }
    }

    /// Border of zeros, at most half a window.
    #[must_use]
    pub fn padding(self, padding: impl Sides<2>) -> Self {
        Self { padding: padding.sides(), ..self }
    }

    /// Whether a window may pass the end.
    #[must_use]
    pub fn ceil_mode(self, ceil_mode: bool) -> Self {
        Self { ceil_mode, ..self }
    }

    /// Whether the border counts.
    #[must_use]
    pub fn count_include_pad(self, count_include_pad: bool) -> Self {
        Self { count_include_pad, ..self }
    }

    /// Divides by this instead of the number of elements.
    #[must_use]
    pub fn divisor_override(self, divisor: usize) -> Self {
        Self { divisor_override: Some(divisor), ..self }
    }
}

plain_layer!(AvgPool2d, |this, x| functional::avg_pool2d(x, this));

/// Dimensions `start..=end` as one; by default all but the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flatten {
    /// First dimension.
    pub start: isize,
    /// Last dimension.
    pub end: isize,
}

impl Flatten {
    /// All dimensions but the first.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Default for Flatten {
    fn default() -> Self {
        Self { start: 1, end: -1 }
    }
}

plain_layer!(Flatten, |this, x| x.flatten(this.start, this.end));
