//! How the parts of a module are walked.

use super::Module;
use super::parameter::{Buffer, Parameter, Training};
use std::fmt::Debug;

/// A field of a module: tells a visitor what it holds. Plain values hold nothing.
///
/// ```
/// use calor::nn::{Field, Linear, Module, Visitor};
/// /// A layer under another name than its field's.
/// struct Renamed(Linear);
/// impl Field for Renamed {
///     fn visit_field(&self, _: &str, visitor: &mut dyn Visitor) {
///         self.0.visit_field("head", visitor);
///     }
/// }
/// #[derive(Module)]
/// struct Model {
///     layer: Renamed,
/// }
/// let model = Model { layer: Renamed(Linear::new(2, 3, ())?) };
/// assert_eq!(model.named_parameters()[0].0, "head.weight");
/// # Ok::<(), calor::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no parameter, buffer, module or plain value",
    label = "cannot be a field of a module",
    note = "implement `calor::nn::Field`, or leave the field out with `#[module(skip)]`"
)]
pub trait Field {
    /// Shows what the field `name` holds.
    ///
    /// ```
    /// use calor::nn::{Buffer, Field, Linear, Parameter, Visitor};
    /// struct Depth(Vec<String>);
    /// impl Visitor for Depth {
    ///     fn enter(&mut self, name: &str) {
    ///         self.0.push(name.to_string());
    ///     }
    ///     fn leave(&mut self) {}
    ///     fn parameter(&mut self, _: &str, _: &Parameter) {}
    ///     fn buffer(&mut self, _: &str, _: &Buffer) {}
    /// }
    /// let mut parts = Depth(Vec::new());
    /// Linear::new(2, 3, ())?.visit_field("head", &mut parts);
    /// assert_eq!(parts.0, ["head"]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn visit_field(&self, name: &str, visitor: &mut dyn Visitor);

    /// Sets the training flag of what it holds.
    ///
    /// ```
    /// use calor::nn::{Dropout, Field};
    /// let drops = vec![Dropout::new(0.5)?, Dropout::new(0.1)?];
    /// Field::set_training(&drops, false);
    /// assert!(drops.iter().all(|drop| !drop.training.get()));
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn set_training(&self, training: bool) {
        let _ = training;
    }
}

/// Sees the parts of a module, in the order of its fields.
///
/// ```
/// use calor::nn::{Buffer, Linear, Module, Parameter, Sequential, Visitor};
/// /// What each method is called with.
/// #[derive(Default)]
/// struct Log(String);
/// impl Visitor for Log {
///     fn enter(&mut self, name: &str) {
///         self.0 += &format!("{name}(");
///     }
///     fn leave(&mut self) {
///         self.0 += ")";
///     }
///     fn parameter(&mut self, name: &str, _: &Parameter) {
///         self.0 += &format!("{name};");
///     }
///     fn buffer(&mut self, name: &str, _: &Buffer) {
///         self.0 += &format!("{name};");
///     }
/// }
/// let mut log = Log::default();
/// Sequential::new().add(Linear::new(2, 3, ())?).visit(&mut log);
/// assert_eq!(log.0, "0(weight;bias;)");
/// # Ok::<(), calor::Error>(())
/// ```
pub trait Visitor {
    /// The fields of part `name` follow.
    ///
    /// ```
    /// use calor::nn::{Buffer, Linear, Module, Parameter, Sequential, Visitor};
    /// struct Seen(Vec<String>);
    /// impl Visitor for Seen {
    ///     fn enter(&mut self, name: &str) {
    ///         self.0.push(name.to_string());
    ///     }
    /// #     fn leave(&mut self) {}
    /// #     fn parameter(&mut self, _: &str, _: &Parameter) {}
    /// #     fn buffer(&mut self, _: &str, _: &Buffer) {}
    /// }
    /// let mut seen = Seen(Vec::new());
    /// Sequential::new().add(Linear::new(2, 3, ())?).visit(&mut seen);
    /// assert_eq!(seen.0, ["0"]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn enter(&mut self, name: &str);

    /// The fields of part `name`, a module, follow.
    ///
    /// ```
    /// use calor::nn::{Buffer, Linear, Module, Parameter, Sequential, Visitor};
    /// struct Seen(Vec<String>);
    /// impl Visitor for Seen {
    ///     fn module(&mut self, name: &str, module: &dyn Module) {
    ///         self.0.push(format!("{name}: {}", module.kind()));
    ///     }
    /// #     fn enter(&mut self, _: &str) {}
    /// #     fn leave(&mut self) {}
    /// #     fn parameter(&mut self, _: &str, _: &Parameter) {}
    /// #     fn buffer(&mut self, _: &str, _: &Buffer) {}
    /// }
    /// let mut seen = Seen(Vec::new());
    /// Sequential::new().add(Linear::new(2, 3, ())?).visit(&mut seen);
    /// assert_eq!(seen.0, ["0: Linear"]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn module(&mut self, name: &str, module: &dyn Module) {
        let _ = module;
        self.enter(name);
    }

    /// The part's fields are over.
    ///
    /// ```
    /// use calor::nn::{Buffer, Linear, Module, Parameter, Sequential, Visitor};
    /// struct Seen(Vec<String>);
    /// impl Visitor for Seen {
    ///     fn leave(&mut self) {
    ///         self.0.push("over".to_string());
    ///     }
    /// #     fn enter(&mut self, _: &str) {}
    /// #     fn parameter(&mut self, _: &str, _: &Parameter) {}
    /// #     fn buffer(&mut self, _: &str, _: &Buffer) {}
    /// }
    /// let mut seen = Seen(Vec::new());
    /// Sequential::new().add(Linear::new(2, 3, ())?).visit(&mut seen);
    /// assert_eq!(seen.0, ["over"]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn leave(&mut self);

    /// A training flag.
    ///
    /// ```
    /// use calor::nn::{Buffer, Dropout, Module, Parameter, Training, Visitor};
    /// struct Seen(Vec<String>);
    /// impl Visitor for Seen {
    ///     fn training(&mut self, training: &Training) {
    ///         self.0.push(training.get().to_string());
    ///     }
    /// #     fn enter(&mut self, _: &str) {}
    /// #     fn leave(&mut self) {}
    /// #     fn parameter(&mut self, _: &str, _: &Parameter) {}
    /// #     fn buffer(&mut self, _: &str, _: &Buffer) {}
    /// }
    /// let mut seen = Seen(Vec::new());
    /// Dropout::new(0.5)?.visit(&mut seen);
    /// assert_eq!(seen.0, ["true"]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn training(&mut self, training: &Training) {
        let _ = training;
    }

    /// A plain value.
    ///
    /// ```
    /// use calor::nn::{Buffer, Dropout, Module, Parameter, Visitor};
    /// struct Seen(Vec<String>);
    /// impl Visitor for Seen {
    ///     fn value(&mut self, name: &str, value: &dyn std::fmt::Debug) {
    ///         self.0.push(format!("{name}={value:?}"));
    ///     }
    /// #     fn enter(&mut self, _: &str) {}
    /// #     fn leave(&mut self) {}
    /// #     fn parameter(&mut self, _: &str, _: &Parameter) {}
    /// #     fn buffer(&mut self, _: &str, _: &Buffer) {}
    /// }
    /// let mut seen = Seen(Vec::new());
    /// Dropout::new(0.5)?.visit(&mut seen);
    /// assert_eq!(seen.0, ["p=0.5"]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn value(&mut self, name: &str, value: &dyn Debug) {
        let _ = (name, value);
    }

    /// A parameter.
    ///
    /// ```
    /// use calor::nn::{Buffer, Linear, Module, Parameter, Visitor};
    /// struct Seen(Vec<String>);
    /// impl Visitor for Seen {
    ///     fn parameter(&mut self, name: &str, parameter: &Parameter) {
    ///         self.0.push(format!("{name} {}", parameter.numel()));
    ///     }
    /// #     fn enter(&mut self, _: &str) {}
    /// #     fn leave(&mut self) {}
    /// #     fn buffer(&mut self, _: &str, _: &Buffer) {}
    /// }
    /// let mut seen = Seen(Vec::new());
    /// Linear::new(2, 3, ())?.visit(&mut seen);
    /// assert_eq!(seen.0, ["weight 6", "bias 3"]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn parameter(&mut self, name: &str, parameter: &Parameter);

    /// A buffer.
    ///
    /// ```
    /// use calor::nn::{BatchNorm1d, Buffer, Module, Parameter, Visitor};
    /// struct Seen(Vec<String>);
    /// impl Visitor for Seen {
    ///     fn buffer(&mut self, name: &str, _: &Buffer) {
    ///         self.0.push(name.to_string());
    ///     }
    /// #     fn enter(&mut self, _: &str) {}
    /// #     fn leave(&mut self) {}
    /// #     fn parameter(&mut self, _: &str, _: &Parameter) {}
    /// }
    /// let mut seen = Seen(Vec::new());
    /// BatchNorm1d::new(3, ())?.visit(&mut seen);
    /// assert_eq!(seen.0, ["running_mean", "running_var", "num_batches_tracked"]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn buffer(&mut self, name: &str, buffer: &Buffer);
}
