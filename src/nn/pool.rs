//! Pooling and flattening.

use super::activation::plain_layer;
use super::{Field, Layer, Module, Visitor};
use crate::error::Result;
use crate::tensor::Tensor;

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
