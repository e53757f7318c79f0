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
    ///
    /// ```
    /// let empty = calor::nn::Sequential::new();
    /// assert!(empty.is_empty() && empty.layers().is_empty());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more layer at the end.
    ///
    /// ```
    /// use calor::{Tensor, nn::{Layer, ReLU, Sequential, Tanh}};
    /// let model = Sequential::new().add(ReLU).add(Tanh);
    /// assert_eq!(model.forward(&Tensor::new([-1.0f32], ())?)?.item()?, 0.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "adds a layer, as `add_module` does")]
    pub fn add(mut self, layer: impl Layer + 'static) -> Self {
        self.layers.push(Box::new(layer));
        self
    }

    /// Adds a layer at the end.
    ///
    /// ```
    /// let mut model = calor::nn::Sequential::new();
    /// model.push(Box::new(calor::nn::ReLU));
    /// assert_eq!(model.len(), 1);
    /// ```
    pub fn push(&mut self, layer: Box<dyn Layer>) {
        self.layers.push(layer);
    }

    /// The layers.
    ///
    /// ```
    /// use calor::{Tensor, nn::{Layer, ReLU, Sequential}};
    /// let model = Sequential::new().add(ReLU);
    /// assert_eq!(model.layers()[0].forward(&Tensor::new([-1.0f32], ())?)?.item()?, 0.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn layers(&self) -> &[Box<dyn Layer>] {
        &self.layers
    }

    /// Number of layers.
    ///
    /// ```
    /// assert_eq!(calor::nn::Sequential::new().add(calor::nn::ReLU).len(), 1);
    /// ```
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are none.
    ///
    /// ```
    /// use calor::nn::{ReLU, Sequential};
    /// assert!(Sequential::new().is_empty() && !Sequential::new().add(ReLU).is_empty());
    /// ```
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
        visitor.module(name, self);
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
    ///
    /// ```
    /// use calor::{Tensor, nn::{Lambda, Layer}};
    /// let double = Lambda::new(|x: &Tensor| x * 2.0);
    /// assert_eq!(double.forward(&Tensor::new([3.0f32], ())?)?.item()?, 6.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(f: F) -> Self {
        Self(f)
    }
}

impl<F> Module for Lambda<F> {
    fn visit(&self, _visitor: &mut dyn Visitor) {}
    fn set_training(&self, _training: bool) {}
}

impl<F> Field for Lambda<F> {
    fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
        visitor.module(name, self);
        visitor.leave();
    }
}

impl<F: Fn(&Tensor) -> Result<Tensor> + Send + Sync> Layer for Lambda<F> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        (self.0)(x)
    }
}

/// Modules in a list, named `0`, `1`, ...
///
/// ```
/// use calor::nn::{Linear, Module, ModuleList};
/// let list: ModuleList<Linear> = [Linear::new(2, 2, ())?, Linear::new(2, 1, ())?].into_iter().collect();
/// assert_eq!(list.named_parameters()[2].0, "1.weight");
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ModuleList<M>(Vec<M>);

impl<M> Default for ModuleList<M> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<M> FromIterator<M> for ModuleList<M> {
    fn from_iter<I: IntoIterator<Item = M>>(modules: I) -> Self {
        Self(modules.into_iter().collect())
    }
}

impl<M> std::ops::Deref for ModuleList<M> {
    type Target = Vec<M>;
    fn deref(&self) -> &Vec<M> {
        &self.0
    }
}

impl<M> std::ops::DerefMut for ModuleList<M> {
    fn deref_mut(&mut self) -> &mut Vec<M> {
        &mut self.0
    }
}

/// Modules by name, in the order in which they were added.
///
/// ```
/// use calor::nn::{Linear, Module, ModuleDict};
/// let mut dict = ModuleDict::default();
/// dict.insert("head", Linear::new(2, 1, ())?);
/// assert_eq!(dict.named_parameters()[0].0, "head.weight");
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ModuleDict<M>(Vec<(String, M)>);

impl<M> Default for ModuleDict<M> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<M> ModuleDict<M> {
    /// Adds a module, or puts it in place of the one of that name.
    ///
    /// ```
    /// use calor::nn::{Linear, ModuleDict};
    /// let mut parts = ModuleDict::default();
    /// parts.insert("a", Linear::new(2, 3, ())?);
    /// parts.insert("a", Linear::new(2, 5, ())?);
    /// assert_eq!(parts.get("a").unwrap().weight.shape()[0], 5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn insert(&mut self, name: impl Into<String>, module: M) {
        let name = name.into();
        match self.0.iter_mut().find(|(n, _)| *n == name) {
            Some((_, own)) => *own = module,
            None => self.0.push((name, module)),
        }
    }

    /// The module of a name.
    ///
    /// ```
    /// use calor::nn::{Linear, ModuleDict};
    /// let mut parts = ModuleDict::default();
    /// parts.insert("a", Linear::new(2, 3, ())?);
    /// assert!(parts.get("a").is_some() && parts.get("b").is_none());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn get(&self, name: &str) -> Option<&M> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, m)| m)
    }

    /// Names and modules in order.
    ///
    /// ```
    /// use calor::nn::{Linear, ModuleDict};
    /// let mut parts = ModuleDict::default();
    /// parts.insert("b", Linear::new(2, 3, ())?);
    /// parts.insert("a", Linear::new(2, 3, ())?);
    /// assert_eq!(parts.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["b", "a"]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&str, &M)> {
        self.0.iter().map(|(n, m)| (n.as_str(), m))
    }
}

/// Parameters in a list, named `0`, `1`, ...
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{Module, Parameter, ParameterList};
/// let list: ParameterList = [Parameter::new(&Tensor::ones([2], ())?)?].into_iter().collect();
/// assert_eq!(list.named_parameters()[0].0, "0");
/// # Ok::<(), calor::Error>(())
/// ```
pub type ParameterList = ModuleList<super::Parameter>;

/// Parameters by name, in the order in which they were added.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{Module, Parameter, ParameterDict};
/// let mut dict = ParameterDict::default();
/// dict.insert("scale", Parameter::new(&Tensor::ones([2], ())?)?);
/// assert_eq!(dict.named_parameters()[0].0, "scale");
/// # Ok::<(), calor::Error>(())
/// ```
pub type ParameterDict = ModuleDict<super::Parameter>;

macro_rules! container {
    ($name:ident, |$this:ident| $names:expr) => {
        impl<M: Field> Module for $name<M> {
            fn visit(&self, visitor: &mut dyn Visitor) {
                let $this = self;
                for (name, module) in $names {
                    module.visit_field(&name, visitor);
                }
            }

            fn set_training(&self, training: bool) {
                let $this = self;
                for (_, module) in $names {
                    module.set_training(training);
                }
            }
        }

        impl<M: Field> Field for $name<M> {
            fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
                visitor.module(name, self);
                self.visit(visitor);
                visitor.leave();
            }

            fn set_training(&self, training: bool) {
                Module::set_training(self, training);
            }
        }
    };
}
container!(ModuleList, |this| this.0.iter().enumerate().map(|(i, m)| (i.to_string(), m)));
container!(ModuleDict, |this| this.0.iter().map(|(n, m)| (n.clone(), m)));
