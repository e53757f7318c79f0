//! What an optimizer is: a [`Rule`] with its settings, and what it keeps for a parameter.

use super::formula::Number;
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::tensor::{Device, Tensor};
use std::collections::BTreeMap;

/// A tensor that a rule keeps for a parameter.
///
/// ```
/// use calor::optim::{Keep, Rule, SgdOptions};
/// assert_eq!(SgdOptions::new(0.1).momentum(0.9).keeps(&[2, 3]), [Keep::zeros("momentum_buffer")]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Keep {
    /// PyTorch's name.
    pub name: &'static str,
    /// Its shape where that is not the parameter's; only a rule that is not elementwise may say so.
    pub shape: Option<Vec<usize>>,
    /// What its elements start with.
    pub value: f64,
}

impl Keep {
    /// One of the parameter's shape that starts with zeros.
    ///
    /// ```
    /// let keep = calor::optim::Keep::zeros("exp_avg");
    /// assert_eq!((keep.name, keep.shape, keep.value), ("exp_avg", None, 0.0));
    /// ```
    pub fn zeros(name: &'static str) -> Self {
        Self { name, shape: None, value: 0.0 }
    }

    /// One of the parameter's shape that starts with a value.
    ///
    /// ```
    /// assert_eq!(calor::optim::Keep::filled("sum", 0.5).value, 0.5);
    /// ```
    pub fn filled(name: &'static str, value: f64) -> Self {
        Self { name, shape: None, value }
    }

    /// Zeros of a shape of its own.
    ///
    /// ```
    /// assert_eq!(calor::optim::Keep::of("row_var", vec![3, 1]).shape, Some(vec![3, 1]));
    /// ```
    pub fn of(name: &'static str, shape: Vec<usize>) -> Self {
        Self { name, shape: Some(shape), value: 0.0 }
    }
}

/// An update rule with its settings.
///
/// ```
/// use calor::optim::{Keep, Optim, Optimizer, Rule, State};
/// use calor::{Result, Tensor, nn::Parameter};
/// /// Steps by the gradient's sign.
/// #[derive(Clone)]
/// struct SignSgd(f64);
/// impl Rule for SignSgd {
///     const NAME: &'static str = "SignSGD";
///     const COUNTS: bool = false;
///     const ELEMENTWISE: bool = true;
///     fn lr(&self) -> f64 {
///         self.0
///     }
///     fn set_lr(&mut self, lr: f64) {
///         self.0 = lr;
///     }
///     fn settings(&self) -> Vec<(&'static str, f64)> {
///         vec![("lr", self.0)]
///     }
///     fn set(&mut self, name: &str, value: f64) -> bool {
///         if name == "lr" {
///             self.0 = value;
///         }
///         name == "lr"
///     }
///     fn check(&self) -> Result<()> {
///         Ok(())
///     }
///     fn keeps(&self, _: &[usize]) -> Vec<Keep> {
///         Vec::new()
///     }
///     fn update(&self, p: &Tensor, g: &Tensor, _: &State) -> Result<()> {
///         p.sub_alpha_(g.sign()?, self.0).map(drop)
///     }
/// }
/// let w = Parameter::new(&Tensor::new([1.0f32, -1.0], ())?)?;
/// let mut optimizer = Optim::new([w.clone()], SignSgd(0.25))?;
/// w.tensor().square()?.sum()?.backward()?;
/// optimizer.step()?;
/// assert_eq!(w.tensor().to_vec::<f32>()?, [0.75, -0.75]);
/// # Ok::<(), calor::Error>(())
/// ```
pub trait Rule: Clone {
    /// PyTorch's name.
    const NAME: &'static str;
    /// Whether the number of steps is part of the state dict.
    const COUNTS: bool;
    /// Whether an element's update depends on that element's values alone. Then `update` may get many parameters at once,
    /// as one flat tensor with zeros or leftovers between them.
    const ELEMENTWISE: bool = false;
    /// Whether parameters of one shape are updated together, each by itself: `update` gets them along a first dimension.
    const STACKED: bool = false;
    /// Whether state is made with the optimizer, not at a parameter's first step.
    const EAGER: bool = false;

    /// The learning rate.
    ///
    /// ```
    /// use calor::optim::{Rule, SgdOptions};
    /// assert_eq!(Rule::lr(&SgdOptions::new(0.5)), 0.5);
    /// ```
    fn lr(&self) -> f64;

    /// Changes the learning rate.
    ///
    /// ```
    /// use calor::optim::{Rule, SgdOptions};
    /// let mut sgd = SgdOptions::new(0.5);
    /// sgd.set_lr(0.25);
    /// assert_eq!(sgd.lr, 0.25);
    /// ```
    fn set_lr(&mut self, lr: f64);

    /// Settings by PyTorch's names; truth values are 0 and 1.
    ///
    /// ```
    /// use calor::optim::{AdagradOptions, Rule};
    /// assert!(AdagradOptions::new(0.5).settings().contains(&("maximize", 0.0)));
    /// ```
    fn settings(&self) -> Vec<(&'static str, f64)>;

    /// Changes a setting; false if there is none of that name.
    ///
    /// ```
    /// use calor::optim::{Rule, SgdOptions};
    /// let mut sgd = SgdOptions::new(0.5);
    /// assert!(sgd.set("nesterov", 1.0) && sgd.nesterov && !sgd.set("beta1", 0.5));
    /// ```
    fn set(&mut self, name: &str, value: f64) -> bool;

    /// Refuses settings that make no sense.
    ///
    /// ```
    /// use calor::optim::{Rule, SgdOptions};
    /// assert!(SgdOptions::new(0.5).check().is_ok() && SgdOptions::new(-0.5).check().is_err());
    /// ```
    fn check(&self) -> Result<()>;

    /// Refuses a parameter that it cannot update.
    ///
    /// ```
    /// use calor::optim::{MuonOptions, Rule, SgdOptions};
    /// let vector = calor::Tensor::ones([3], ())?;
    /// assert!(SgdOptions::new(0.5).admit(&vector).is_ok() && MuonOptions::new(0.5).admit(&vector).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn admit(&self, _parameter: &Tensor) -> Result<()> {
        Ok(())
    }

    /// The tensors kept for a parameter of a shape.
    ///
    /// ```
    /// use calor::optim::{AdamWOptions, Rule};
    /// let names: Vec<_> = AdamWOptions::default().keeps(&[3]).iter().map(|k| k.name).collect();
    /// assert_eq!(names, ["exp_avg", "exp_avg_sq"]);
    /// ```
    fn keeps(&self, shape: &[usize]) -> Vec<Keep>;

    /// Names and first values of the numbers kept for a parameter, besides the count of steps.
    ///
    /// ```
    /// use calor::optim::{NAdamOptions, Rule};
    /// assert_eq!(NAdamOptions::default().numbers(), [("mu_product", 1.0)]);
    /// ```
    fn numbers(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    /// Updates `parameter` and the tensors of `state` in place; `state.step` counts this step already. Where `STACKED` all have
    /// one more dimension in front.
    ///
    /// ```
    /// use calor::optim::{Rule, SgdOptions, State};
    /// use calor::Tensor;
    /// let (p, g) = (Tensor::ones([2], ())?, Tensor::ones([2], ())?);
    /// SgdOptions::new(0.25).update(&p, &g, &State::default())?;
    /// assert_eq!(p.to_vec::<f32>()?, [0.75, 0.75]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn update(&self, parameter: &Tensor, gradient: &Tensor, state: &State) -> Result<()>;

    /// New values of the numbers of `state`, after the update of its parameter.
    ///
    /// ```
    /// use calor::optim::{Rule, SgdOptions, State};
    /// // only rules that keep numbers have any to advance
    /// assert!(SgdOptions::new(0.25).advance(&State::default())?.is_empty());
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn advance(&self, _state: &State) -> Result<Vec<(&'static str, Number)>> {
        Ok(Vec::new())
    }
}

/// What an optimizer keeps for one parameter.
///
/// ```
/// use calor::optim::{Number, State};
/// let state = State::default();
/// assert!(matches!(state.step, Number::Host(0.0)) && state.get("exp_avg").is_err());
/// ```
#[derive(Clone)]
pub struct State {
    /// Number of updates, without those that were skipped; of a rule that does not count, since its tensors are there.
    pub step: Number,
    pub(super) tensors: BTreeMap<String, Tensor>,
    pub(super) numbers: BTreeMap<String, Number>,
}

impl Default for State {
    fn default() -> Self {
        Self { step: Number::Host(0.0), tensors: BTreeMap::new(), numbers: BTreeMap::new() }
    }
}

impl State {
    /// A kept tensor.
    ///
    /// ```
    /// let error = calor::optim::State::default().get("exp_avg").unwrap_err();
    /// assert!(error.message().contains("exp_avg"));
    /// ```
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        match self.tensors.get(name) {
            Some(t) => Ok(t),
            None => bail!(Value, "step", "the optimizer's state has no {name:?}"),
        }
    }

    /// A kept number.
    ///
    /// ```
    /// let error = calor::optim::State::default().number("mu_product").map(drop).unwrap_err();
    /// assert!(error.message().contains("mu_product"));
    /// ```
    pub fn number(&self, name: &str) -> Result<&Number> {
        match self.numbers.get(name) {
            Some(n) => Ok(n),
            None => bail!(Value, "step", "the optimizer's state has no number {name:?}"),
        }
    }

    /// Changes a kept number.
    pub(super) fn set_number(&mut self, name: &str, value: Number) {
        self.numbers.insert(name.into(), value);
    }

    /// Brings its numbers to a device.
    pub(super) fn lift(&mut self, device: &Device) -> Result<()> {
        for number in std::iter::once(&mut self.step).chain(self.numbers.values_mut()) {
            if let Number::Host(value) = number {
                *number = Number::Device(Tensor::full([], *value, (DType::F32, device))?);
            }
        }
        Ok(())
    }

    /// What tells the numbers of two states apart.
    pub(super) fn key(&self) -> Vec<(bool, u64)> {
        std::iter::once(&self.step).chain(self.numbers.values()).map(Number::key).collect()
    }
}

/// Options of a rule: a struct with defaults, one method to set each, and the lists that state dicts need.
macro_rules! options {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $ty,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $name {
            /// PyTorch's defaults with this learning rate.
            #[doc = concat!("\n```\nassert_eq!(calor::optim::", stringify!($name), "::new(0.5).lr, 0.5);\n```")]
            pub fn new(lr: f64) -> Self {
                Self { lr, ..Self::default() }
            }

            $(
                $(#[$field_doc])*
                #[doc = concat!(
                    "\n```\nlet options = calor::optim::", stringify!($name), "::default();\n\
                    let same = options.clone().", stringify!($field), "(options.", stringify!($field), ");\n\
                    assert_eq!(same, options);\n```"
                )]
                #[must_use]
                pub fn $field(mut self, $field: $ty) -> Self {
                    self.$field = $field;
                    self
                }
            )*

            fn listed(&self) -> Vec<(&'static str, f64)> {
                vec![$((stringify!($field), $crate::optim::state::Setting::to_number(self.$field)),)*]
            }

            fn assign(&mut self, name: &str, value: f64) -> bool {
                match name {
                    $(stringify!($field) => self.$field = $crate::optim::state::Setting::from_number(value),)*
                    _ => return false,
                }
                true
            }
        }
    };
}
pub(super) use options;

/// The methods of a rule that only hand its options on.
macro_rules! by_options {
    () => {
        fn lr(&self) -> f64 {
            self.lr
        }

        fn set_lr(&mut self, lr: f64) {
            self.lr = lr;
        }

        fn settings(&self) -> Vec<(&'static str, f64)> {
            self.listed()
        }

        fn set(&mut self, name: &str, value: f64) -> bool {
            self.assign(name, value)
        }
    };
}
pub(super) use by_options;

/// Both betas at once, for options that have them.
macro_rules! betas {
    ($options:ident) => {
        impl $options {
            /// Both betas.
            #[doc = concat!(
                        "\n```\nlet options = calor::optim::", stringify!($options), "::default().betas(0.5, 0.75);\n\
                assert_eq!((options.beta1, options.beta2), (0.5, 0.75));\n```"
                    )]
            #[must_use]
            pub fn betas(self, beta1: f64, beta2: f64) -> Self {
                self.beta1(beta1).beta2(beta2)
            }
        }
    };
}
pub(super) use betas;

/// Refuses a negative or NaN setting.
pub(super) fn not_negative(rule: &str, name: &str, value: f64) -> Result<()> {
    if value.is_nan() || value < 0.0 {
        bail!(Value, rule, "invalid {name}: {value}");
    }
    Ok(())
}

/// Refuses what is not in `0 .. 1`.
pub(super) fn shares(rule: &str, name: &str, values: &[f64]) -> Result<()> {
    for (i, value) in values.iter().enumerate() {
        if !(0.0..1.0).contains(value) {
            bail!(Value, rule, "invalid {name} parameter at index {i}: {value}");
        }
    }
    Ok(())
}
