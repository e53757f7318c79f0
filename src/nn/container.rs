//! Layers made of layers and of functions.

use super::{Field, Layer, Module, Visitor};
use crate::error::Result;
use crate::tensor::Tensor;

/// Layers one after the other, named `0`, `1`, ...
///
/// ```
/// use calor::nn::{Layer, Linear, Module, ReLU, Sequential};
/// use calor::Tensor;
/// let model = Sequential::new().add(Linear::new(4, 8, ())?).add(ReLU).add(Linear::new(8, 2, ())?);
/// assert_eq!(&model.forward(&Tensor::ones([3, 4], ())?)?.shape()[..], [3, 2]);
/// assert_eq!(model.named_parameters()[2].0, "2.weight");
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Default)]
pub struct Sequential {
    layers: Vec<Box<dyn Layer>>,
}

impl Sequential {
    /// Without layers: gives its input.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more layer at the end.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "adds a layer, as `add_module` does")]
    pub fn add(mut self, layer: impl Layer + 'static) -> Self {
        self.layers.push(Box::new(layer));
        self
    }

    /// Adds a layer at the end.
    pub fn push(&mut self, layer: Box<dyn Layer>) {
        self.layers.push(layer);
    }

    /// The layers.
    pub fn layers(&self) -> &[Box<dyn Layer>] {
        &self.layers
    }

    /// Number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

impl Layer for Sequential {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.layers.iter().try_fold(x.clone(), |x, layer| layer.forward(&x))
    }
}

impl Module for Sequential {
    fn visit(&self, visitor: &mut dyn Visitor) {
        for (i, layer) in self.layers.iter().enumerate() {
            layer.visit_field(&i.to_string(), visitor);
        }
    }

    fn set_training(&self, training: bool) {
        self.layers.iter().for_each(|layer| Field::set_training(layer, training));
    }
}

impl Field for Sequential {
    fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
        visitor.enter(name);
        self.visit(visitor);
        visitor.leave();
    }

    fn set_training(&self, training: bool) {
        Module::set_training(self, training);
    }
}

/// A function as a layer.
///
/// ```
/// use calor::nn::{Lambda, Layer};
/// use calor::Tensor;
/// let double = Lambda::new(|x: &Tensor| x * 2.0);
/// assert_eq!(double.forward(&Tensor::ones([1], ())?)?.item()?, 2.0);
/// # Ok::<(), calor::Error>(())
/// ```
pub struct Lambda<F>(F);

impl<F: Fn(&Tensor) -> Result<Tensor> + Send + Sync> Lambda<F> {
    /// A layer that calls `f`.
    pub fn new(f: F) -> Self {
        Self(f)
    }
}

impl<F> Field for Lambda<F> {
    fn visit_field(&self, _name: &str, _visitor: &mut dyn Visitor) {}
}

impl<F: Fn(&Tensor) -> Result<Tensor> + Send + Sync> Layer for Lambda<F> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        (self.0)(x)
    }
}
