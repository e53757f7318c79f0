//! `Module`: a struct of parameters, buffers and other modules, walked by name.

use super::mode::Modes;
use super::parameter::{Buffer, Parameter, Training};
use super::state::StateDict;
use super::summary;
use super::visit::{Field, Visitor};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::tensor::{Device, Options, Tensor};
use std::fmt::{Debug, Write as _};

/// Something with parameters: derive it, and every field that is a parameter, a buffer or a module, or holds some
/// (`Option`, `Vec`, arrays, `Box`, tuples), takes part under its field name.
///
/// ```
/// use calor::nn::{Layer, Linear, Module};
/// use calor::{Result, Tensor};
///
/// #[derive(Module)]
/// struct Mlp {
///     hidden: Linear,
///     out: Linear,
/// }
///
/// impl Mlp {
///     fn forward(&self, x: &Tensor) -> Result<Tensor> {
///         self.out.forward(&self.hidden.forward(x)?.relu()?)
///     }
/// }
///
/// let mlp = Mlp { hidden: Linear::new(4, 8, ())?, out: Linear::new(8, 2, ())? };
/// let names: Vec<String> = mlp.named_parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["hidden.weight", "hidden.bias", "out.weight", "out.bias"]);
/// assert_eq!(&mlp.forward(&Tensor::ones([3, 4], ())?)?.shape()[..], [3, 2]);
/// # Ok::<(), calor::Error>(())
/// ```
pub trait Module {
    /// Shows its fields to a visitor; written by the derive.
    ///
    /// ```
    /// use calor::nn::{Buffer, Linear, Module, Parameter, Visitor};
    /// struct Names(Vec<String>);
    /// impl Visitor for Names {
    ///     fn enter(&mut self, _: &str) {}
    ///     fn leave(&mut self) {}
    ///     fn parameter(&mut self, name: &str, _: &Parameter) {
    ///         self.0.push(name.to_string());
    ///     }
    ///     fn buffer(&mut self, _: &str, _: &Buffer) {}
    /// }
    /// let mut names = Names(Vec::new());
    /// Linear::new(2, 3, ())?.visit(&mut names);
    /// assert_eq!(names.0, ["weight", "bias"]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn visit(&self, visitor: &mut dyn Visitor);

    /// Sets the training flag of everything inside; written by the derive.
    ///
    /// ```
    /// use calor::nn::{Dropout, Module};
    /// let drop = Dropout::new(0.5)?;
    /// Module::set_training(&drop, false);
    /// assert!(!drop.training.get());
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn set_training(&self, training: bool);

    /// Every parameter once, PyTorch's order: a module's own before those of its parts.
    ///
    /// ```
    /// use calor::nn::{Linear, Module};
    /// let shapes: Vec<usize> = Linear::new(2, 3, ())?.parameters().iter().map(|p| p.numel()).collect();
    /// assert_eq!(shapes, [6, 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn parameters(&self) -> Vec<Parameter> {
        self.named_parameters().into_iter().map(|(_, p)| p).collect()
    }

    /// Every parameter once, with the name under which it was met first.
    ///
    /// ```
    /// use calor::nn::{Linear, Module, Sequential};
    /// let model = Sequential::new().add(Linear::new(2, 3, ())?);
    /// assert_eq!(model.named_parameters()[1].0, "0.bias");
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn named_parameters(&self) -> Vec<(String, Parameter)> {
        let mut out: Vec<(String, Parameter)> = Vec::new();
        for (name, entry) in entries(self) {
            if let Entry::Parameter(p) = entry
                && !out.iter().any(|(_, known)| known.same(&p))
            {
                out.push((name, p));
            }
        }
        out
    }

    /// Every buffer, persistent or not.
    ///
    /// ```
    /// use calor::nn::{BatchNorm1d, Module};
    /// assert_eq!(BatchNorm1d::new(3, ())?.named_buffers()[0].0, "running_mean");
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn named_buffers(&self) -> Vec<(String, Buffer)> {
        let buffer = |(name, entry)| match entry {
            Entry::Buffer(b) => Some((name, b)),
            Entry::Parameter(_) => None,
        };
        entries(self).into_iter().filter_map(buffer).collect()
    }

    /// Parameters and persistent buffers by name, sharing storage with the module.
    ///
    /// ```
    /// use calor::nn::{Linear, Module};
    /// let names: Vec<String> = Linear::new(2, 3, ())?.state_dict().names().map(str::to_string).collect();
    /// assert_eq!(names, ["weight", "bias"]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn state_dict(&self) -> StateDict {
        entries(self)
            .into_iter()
            .filter_map(|(name, entry)| match entry {
                Entry::Parameter(p) => Some((name, p.tensor().detach())),
                Entry::Buffer(b) => b.is_persistent().then(|| (name, b.tensor())),
            })
            .collect()
    }

    /// Copies a state dict into the parameters and buffers, whose dtypes and devices stay.
    ///
    /// Names on one side only are refused if `strict`, else reported. Differing shapes are always refused. Nothing
    /// is changed where it is refused.
    ///
    /// ```
    /// use calor::nn::{Linear, LinearOptions, Module};
    /// let (a, b) = (Linear::new(2, 3, ())?, Linear::new(2, 3, LinearOptions::default().bias(false))?);
    /// assert!(a.load_state_dict(&b.state_dict(), true).is_err());
    /// assert_eq!(a.load_state_dict(&b.state_dict(), false)?.missing, ["bias"]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn load_state_dict(&self, state: &StateDict, strict: bool) -> Result<Mismatch> {
        load(self, state, strict)
    }

    /// Training mode: dropout drops, batch normalisation uses the batch.
    ///
    /// ```
    /// use calor::nn::{Dropout, Module};
    /// let drop = Dropout::new(0.5)?;
    /// drop.eval();
    /// drop.train();
    /// assert!(drop.training.get());
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn train(&self) {
        self.set_training(true);
    }

    /// Evaluation mode.
    ///
    /// ```
    /// use calor::nn::{Dropout, Module};
    /// let drop = Dropout::new(0.5)?;
    /// drop.eval();
    /// assert!(!drop.training.get());
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn eval(&self) {
        self.set_training(false);
    }

    /// Freezes all parameters, or lets them learn again.
    ///
    /// ```
    /// use calor::nn::{Linear, Module};
    /// let linear = Linear::new(2, 3, ())?;
    /// linear.requires_grad_(false)?;
    /// assert!(!linear.weight.requires_grad());
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn requires_grad_(&self, on: bool) -> Result<()> {
        self.parameters().iter().try_for_each(|p| p.requires_grad_(on))
    }

    /// Forgets all gradients.
    ///
    /// ```
    /// use calor::nn::{Linear, Module};
    /// let linear = Linear::new(2, 3, ())?;
    /// linear.weight.tensor().sum()?.backward()?;
    /// linear.zero_grad();
    /// assert!(linear.weight.grad().is_none());
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn zero_grad(&self) {
        self.parameters().iter().for_each(Parameter::zero_grad);
    }

    /// Converts parameters and buffers of floating point type.
    ///
    /// ```
    /// use calor::{DType, nn::{Linear, Module}};
    /// let linear = Linear::new(2, 3, ())?;
    /// linear.to_dtype(DType::BF16)?;
    /// assert_eq!(linear.weight.tensor().dtype(), DType::BF16);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn to_dtype(&self, dtype: DType) -> Result<()> {
        self.parameters().iter().try_for_each(|p| p.to_dtype(dtype))?;
        self.named_buffers().iter().try_for_each(|(_, b)| b.to_dtype(dtype))
    }

    /// Moves parameters and buffers.
    ///
    /// ```
    /// use calor::{Device, nn::{Linear, Module}};
    /// let (linear, device) = (Linear::new(2, 3, ())?, Device::best()?);
    /// linear.to_device(&device)?;
    /// assert!(linear.weight.tensor().device().same(&device));
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn to_device(&self, device: &Device) -> Result<()> {
        self.parameters().iter().try_for_each(|p| p.to_device(device))?;
        self.named_buffers().iter().try_for_each(|(_, b)| b.to_device(device))
    }

    /// Moves parameters and buffers, and converts those of floating point type, by what the options name.
    ///
    /// ```
    /// use calor::nn::{Linear, Module};
    /// use calor::DType;
    /// let linear = Linear::new(2, 2, ())?;
    /// linear.to(DType::F16)?;
    /// assert_eq!(linear.weight.tensor().dtype(), DType::F16);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `DType` for a type that is not of floating point; nothing is changed then.
    fn to(&self, options: impl Into<Options>) -> Result<()>
    where
        Self: Sized,
    {
        let options = options.into();
        if let Some(dtype) = options.dtype() {
            if !dtype.is_float() {
                bail!(DType, "to", "a module can only be of floating point type, got {dtype}");
            }
            self.to_dtype(dtype)?;
        }
        let here = |tensor: &Tensor| options.device_or(tensor.device());
        self.parameters().iter().try_for_each(|p| p.to_device(&here(&p.tensor())))?;
        self.named_buffers().iter().try_for_each(|(_, b)| b.to_device(&here(&b.tensor())))
    }

    /// Forgets the running statistics of its own, not those of its parts, that belong to its parameters: whether it is of a kind that
    /// has such, as batch normalisations are. [`update_bn`](crate::optim::update_bn) asks each module.
    ///
    /// ```
    /// use calor::nn::{BatchNorm1d, Linear, Module, init};
    /// let norm = BatchNorm1d::new(2, ())?;
    /// let mean = norm.running_mean.as_ref().unwrap().tensor();
    /// init::constant_(&mean, 3.0)?;
    /// assert!(norm.forget_statistics()? && !Linear::new(2, 2, ())?.forget_statistics()?);
    /// assert_eq!(mean.to_vec::<f32>()?, [0.0; 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn forget_statistics(&self) -> Result<bool> {
        Ok(false)
    }

    /// What it is called: the type's name.
    ///
    /// ```
    /// assert_eq!(calor::nn::Module::kind(&calor::nn::ReLU), "ReLU");
    /// ```
    fn kind(&self) -> String {
        summary::short(std::any::type_name::<Self>())
    }

    /// What [`Module::summary`] shows of it besides its fields.
    ///
    /// ```
    /// use calor::nn::{LeakyReLU, Module};
    /// assert_eq!(LeakyReLU::new(0.1).extra_repr(), "negative_slope=0.1");
    /// ```
    fn extra_repr(&self) -> String {
        String::new()
    }

    /// The module as a tree, each part with the number of numbers that it learns.
    ///
    /// ```
    /// use calor::nn::{LeakyReLU, Linear, Module, Sequential};
    /// let model = Sequential::new().add(Linear::new(4, 8, ())?).add(LeakyReLU::new(0.1)).add(Linear::new(8, 2, ())?);
    /// let tree = "\
    /// Sequential()  58
    ///   (0): Linear(weight=[8, 4], bias=[8])  40
    ///   (1): LeakyReLU(negative_slope=0.1)
    ///   (2): Linear(weight=[2, 8], bias=[2])  18
    /// ";
    /// assert_eq!(model.summary(), tree);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn summary(&self) -> String {
        summary::summary(self)
    }

    /// Calls `f` with each module inside and its name, a module before its parts.
    ///
    /// ```
    /// use calor::nn::{Linear, Module, ReLU, Sequential, init};
    /// let model = Sequential::new().add(Linear::new(4, 8, ())?).add(ReLU);
    /// model.apply(&mut |_, module| match &*module.kind() {
    ///     "Linear" => module.parameters().iter().try_for_each(|p| init::zeros_(&p.tensor())),
    ///     _ => Ok(()),
    /// })?;
    /// assert_eq!(model.parameters()[0].tensor().abs()?.sum()?.item()?, 0.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn apply(&self, f: &mut dyn FnMut(&str, &dyn Module) -> Result<()>) -> Result<()> {
        summary::each(self, f)
    }

    /// Names of the modules inside, and what they are; the module itself has the empty name.
    ///
    /// ```
    /// use calor::nn::{Linear, Module, ReLU, Sequential};
    /// let model = Sequential::new().add(Linear::new(4, 8, ())?).add(Sequential::new().add(ReLU));
    /// let names: Vec<String> = model.named_modules().into_iter().map(|(name, _)| name).collect();
    /// assert_eq!(names, ["", "0", "1", "1.0"]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn named_modules(&self) -> Vec<(String, String)> {
        let mut all = vec![(String::new(), self.kind())];
        // nothing is refused
        let _ = self.apply(&mut |name, module| {
            all.push((name.to_string(), module.kind()));
            Ok(())
        });
        all
    }

    /// Number of learned numbers.
    ///
    /// ```
    /// use calor::nn::{Linear, Module};
    /// assert_eq!(Linear::new(2, 3, ())?.num_parameters(), 9);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn num_parameters(&self) -> usize {
        self.parameters().iter().map(Parameter::numel).sum()
    }
}

impl Field for Parameter {
    fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
        visitor.parameter(name, self);
    }
}

impl Field for Buffer {
    fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
        visitor.buffer(name, self);
    }
}

impl Field for Training {
    fn visit_field(&self, _name: &str, visitor: &mut dyn Visitor) {
        visitor.training(self);
    }

    fn set_training(&self, training: bool) {
        self.set(training);
    }
}

impl<T: Field + ?Sized> Field for Box<T> {
    fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
        (**self).visit_field(name, visitor);
    }

    fn set_training(&self, training: bool) {
        (**self).set_training(training);
    }
}

impl<T: Field + ?Sized> Field for std::sync::Arc<T> {
    fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
        (**self).visit_field(name, visitor);
    }

    fn set_training(&self, training: bool) {
        (**self).set_training(training);
    }
}

impl<T: Field> Field for Option<T> {
    fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
        if let Some(inner) = self {
            inner.visit_field(name, visitor);
        }
    }

    fn set_training(&self, training: bool) {
        if let Some(inner) = self {
            inner.set_training(training);
        }
    }
}

impl<T: Field> Field for [T] {
    fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
        visitor.enter(name);
        for (i, inner) in self.iter().enumerate() {
            inner.visit_field(&i.to_string(), visitor);
        }
        visitor.leave();
    }

    fn set_training(&self, training: bool) {
        self.iter().for_each(|inner| inner.set_training(training));
    }
}

impl<T: Field> Field for Vec<T> {
    fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
        self.as_slice().visit_field(name, visitor);
    }

    fn set_training(&self, training: bool) {
        self.as_slice().set_training(training);
    }
}

impl<T: Field, const N: usize> Field for [T; N] {
    fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
        self.as_slice().visit_field(name, visitor);
    }

    fn set_training(&self, training: bool) {
        self.as_slice().set_training(training);
    }
}

macro_rules! tuple_field {
    ($($t:ident $i:tt),+) => {
        impl<$($t: Field),+> Field for ($($t,)+) {
            fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
                visitor.enter(name);
                $(self.$i.visit_field(stringify!($i), visitor);)+
                visitor.leave();
            }

            fn set_training(&self, training: bool) {
                $(self.$i.set_training(training);)+
            }
        }
    };
}
tuple_field!(A 0);
tuple_field!(A 0, B 1);
tuple_field!(A 0, B 1, C 2);
tuple_field!(A 0, B 1, C 2, D 3);

macro_rules! plain_field {
    ($($t:ty),*) => {
        $(impl Field for $t {
            fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
                visitor.value(name, self);
            }
        })*
    };
}
plain_field!(bool, u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, f32, f64, char, String, &'static str, (), DType);

macro_rules! hidden_field {
    ($($t:ty),*) => {
        $(impl Field for $t {
            fn visit_field(&self, _name: &str, _visitor: &mut dyn Visitor) {}
        })*
    };
}
hidden_field!(Device, Tensor);

impl<T: ?Sized> Field for std::marker::PhantomData<T> {
    fn visit_field(&self, _name: &str, _visitor: &mut dyn Visitor) {}
}

/// What a module holds under one name.
enum Entry {
    Parameter(Parameter),
    Buffer(Buffer),
}

/// One level of a module: its own entries, then its parts.
#[derive(Default)]
struct Level {
    name: String,
    own: Vec<(String, Entry)>,
    parts: Vec<Level>,
}

impl Level {
    fn flatten(self, prefix: &str, out: &mut Vec<(String, Entry)>) {
        // parameters stand before buffers
        let (parameters, buffers): (Vec<_>, Vec<_>) =
            self.own.into_iter().partition(|(_, entry)| matches!(entry, Entry::Parameter(_)));
        out.extend(parameters.into_iter().chain(buffers).map(|(name, entry)| (format!("{prefix}{name}"), entry)));
        for part in self.parts {
            let prefix = format!("{prefix}{}.", part.name);
            part.flatten(&prefix, out);
        }
    }
}

/// The levels entered and not yet left.
struct Collector(Vec<Level>);

impl Collector {
    fn own(&mut self, name: &str, entry: Entry) {
        if let Some(level) = self.0.last_mut() {
            level.own.push((name.into(), entry));
        }
    }
}

impl Visitor for Collector {
    fn enter(&mut self, name: &str) {
        self.0.push(Level { name: name.into(), ..Level::default() });
    }

    fn leave(&mut self) {
        if self.0.len() > 1
            && let Some(level) = self.0.pop()
            && let Some(outer) = self.0.last_mut()
        {
            outer.parts.push(level);
        }
    }

    fn parameter(&mut self, name: &str, parameter: &Parameter) {
        self.own(name, Entry::Parameter(parameter.clone()));
    }

    fn buffer(&mut self, name: &str, buffer: &Buffer) {
        self.own(name, Entry::Buffer(buffer.clone()));
    }
}

fn entries<M: Module + ?Sized>(module: &M) -> Vec<(String, Entry)> {
    let mut collector = Collector(vec![Level::default()]);
    module.visit(&mut collector);
    let mut out = Vec::new();
    if let Some(level) = collector.0.into_iter().next() {
        level.flatten("", &mut out);
    }
    out
}

/// `own`, which was built as `from` was, as its copy: dtypes, devices, values, what is frozen, and training flags.
pub(super) fn copied<M: Module>(own: M, from: &M) -> Result<M> {
    let models = entries(from);
    for (name, entry) in entries(&own) {
        match (entry, models.iter().find(|m| m.0 == name).map(|m| &m.1)) {
            (Entry::Parameter(p), Some(Entry::Parameter(model))) => {
                let tensor = model.tensor();
                p.to_dtype(tensor.dtype())?;
                p.to_device(tensor.device())?;
                p.requires_grad_(tensor.requires_grad())?;
            }
            (Entry::Buffer(b), Some(Entry::Buffer(model))) => {
                let tensor = model.tensor();
                b.to_dtype(tensor.dtype())?;
                b.to_device(tensor.device())?;
            }
            // names are compared below
            _ => {}
        }
    }
    own.load_state_dict(&from.state_dict(), true)?;
    Modes::of(from).restore(&own);
    Ok(own)
}

/// Names that stand on one side only.
///
/// ```
/// use calor::{Tensor, nn::{Linear, Module}};
/// let linear = Linear::new(2, 3, ())?;
/// let mut state = linear.state_dict();
/// state.insert("extra", Tensor::ones([1], ())?);
/// assert_eq!(linear.load_state_dict(&state, false)?.unexpected, ["extra"]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Names of the module that the state dict lacks.
    pub missing: Vec<String>,
    /// Names of the state dict that the module lacks.
    pub unexpected: Vec<String>,
}

fn load<M: Module + ?Sized>(module: &M, state: &StateDict, strict: bool) -> Result<Mismatch> {
    let wanted: Vec<(String, Entry)> = entries(module)
        .into_iter()
        .filter(|(_, entry)| !matches!(entry, Entry::Buffer(b) if !b.is_persistent()))
        .collect();
    let given: std::collections::HashMap<&str, &Tensor> = state.iter().collect();
    let mut mismatch = Mismatch::default();
    let mut problems = String::new();
    let mut pairs = Vec::new();
    for (name, entry) in &wanted {
        let Some(&tensor) = given.get(name.as_str()) else {
            // files from before PyTorch 0.4.1 and of other makers have none: it stays as it is
            if matches!(entry, Entry::Buffer(_)) && name.rsplit('.').next() == Some("num_batches_tracked") {
                continue;
            }
            mismatch.missing.push(name.clone());
            continue;
        };
        let own = match entry {
            Entry::Parameter(p) => p.tensor(),
            Entry::Buffer(b) => b.tensor(),
        };
        if own.shape() == tensor.shape() {
            pairs.push((own, tensor));
        } else {
            let _ = write!(
                problems,
                "\n\tsize mismatch for {name}: copying a param with shape {:?} from checkpoint, the shape in current \
                 model is {:?}.",
                &tensor.shape()[..],
                &own.shape()[..]
            );
        }
    }
    let names: std::collections::HashSet<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
    mismatch.unexpected = state.names().filter(|n| !names.contains(n)).map(str::to_string).collect();
    if strict {
        let quoted = |names: &[String]| names.iter().map(|n| format!("{n:?}")).collect::<Vec<_>>().join(", ");
        if !mismatch.missing.is_empty() {
            let _ = write!(problems, "\n\tMissing key(s) in state_dict: {}.", quoted(&mismatch.missing));
        }
        if !mismatch.unexpected.is_empty() {
            let _ = write!(problems, "\n\tUnexpected key(s) in state_dict: {}.", quoted(&mismatch.unexpected));
        }
    }
    if !problems.is_empty() {
        bail!(Value, "load_state_dict", "Error(s) in loading state_dict:{problems}");
    }
    for (own, tensor) in pairs {
        super::parameter::copy_into(&own, tensor)?;
    }
    Ok(mismatch)
}
