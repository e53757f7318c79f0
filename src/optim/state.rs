//! An optimizer's settings and state, as PyTorch's state dict holds them, and as files can.

use super::formula::Number;
use crate::error::{Error, ErrorKind, Result};
use crate::nn::StateDict;
use crate::tensor::Tensor;
use std::collections::BTreeMap;

/// Something kept for a parameter.
///
/// ```
/// use calor::optim::{Kept, Number};
/// assert!(matches!(Kept::from(&Number::Host(3.0)), Kept::Number(3.0)));
/// ```
#[derive(Clone)]
pub enum Kept {
    /// A tensor of the parameter's shape.
    Tensor(Tensor),
    /// A number, such as the count of steps; a tensor where only the device knows it.
    Number(f64),
}

impl From<&Number> for Kept {
    fn from(number: &Number) -> Self {
        match number {
            Number::Host(value) => Kept::Number(*value),
            Number::Device(tensor) => Kept::Tensor(tensor.detach()),
        }
    }
}

/// A parameter group without its parameters.
///
/// ```
/// use calor::optim::{Optimizer, Sgd, SgdOptions};
/// let group = &Sgd::new([], SgdOptions::new(0.5))?.state_dict().param_groups[0];
/// assert_eq!((group.params.len(), group.settings["lr"]), (0, 0.5));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupState {
    /// Numbers of its parameters, counted through all groups.
    pub params: Vec<usize>,
    /// Settings by PyTorch's names; truth values are 0 and 1.
    pub settings: BTreeMap<String, f64>,
}

/// The state dict of an optimizer.
///
/// ```
/// use calor::optim::{OptimState, Optimizer, Sgd, SgdOptions};
/// let state: OptimState = Sgd::new([], SgdOptions::new(0.5))?.state_dict();
/// assert!(state.state.is_empty() && state.param_groups.len() == 1);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct OptimState {
    /// By number of the parameter: what is kept for it, by PyTorch's names.
    pub state: BTreeMap<usize, BTreeMap<String, Kept>>,
    /// The groups.
    pub param_groups: Vec<GroupState>,
}

impl OptimState {
    /// As tensors (`state.0.exp_avg`) and texts (`state.0.step`, `param_groups.0.lr`): what a safetensors file holds.
    ///
    /// ```
    /// use calor::optim::{Optimizer, Sgd, SgdOptions};
    /// let (tensors, texts) = Sgd::new([], SgdOptions::new(0.5))?.state_dict().to_parts();
    /// assert!(tensors.is_empty() && texts["param_groups.0.lr"] == "0.5");
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn to_parts(&self) -> (StateDict, BTreeMap<String, String>) {
        let (mut tensors, mut texts) = (StateDict::new(), BTreeMap::new());
        for (number, kept) in &self.state {
            for (name, value) in kept {
                match value {
                    Kept::Tensor(t) => tensors.extend([(format!("state.{number}.{name}"), t.clone())]),
                    Kept::Number(n) => {
                        texts.insert(format!("state.{number}.{name}"), format!("{n:?}"));
                    }
                }
            }
        }
        for (i, group) in self.param_groups.iter().enumerate() {
            let list: Vec<String> = group.params.iter().map(usize::to_string).collect();
            texts.insert(format!("param_groups.{i}.params"), list.join(","));
            for (name, value) in &group.settings {
                texts.insert(format!("param_groups.{i}.{name}"), format!("{value:?}"));
            }
        }
        (tensors, texts)
    }

    /// From what [`OptimState::to_parts`] gave; other names are ignored.
    ///
    /// ```
    /// use calor::optim::{OptimState, Optimizer, Sgd, SgdOptions};
    /// let state = Sgd::new([], SgdOptions::new(0.5))?.state_dict();
    /// let (tensors, texts) = state.to_parts();
    /// assert_eq!(OptimState::from_parts(&tensors, &texts)?.param_groups, state.param_groups);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn from_parts(tensors: &StateDict, texts: &BTreeMap<String, String>) -> Result<Self> {
        let mut out = Self::default();
        for (name, tensor) in tensors.iter() {
            if let Some((number, name)) = numbered(name, "state.") {
                out.state.entry(number).or_default().insert(name.into(), Kept::Tensor(tensor.clone()));
            }
        }
        let number = |key: &str, text: &str| {
            text.parse::<f64>().map_err(|e| {
                Error::new(ErrorKind::Io, "load_state_dict", format!("{key:?} is no number: {text:?}, {e}"))
            })
        };
        for (key, text) in texts {
            if let Some((parameter, name)) = numbered(key, "state.") {
                let value = Kept::Number(number(key, text)?);
                out.state.entry(parameter).or_default().insert(name.into(), value);
            } else if let Some((group, name)) = numbered(key, "param_groups.") {
                // a file decides this number: it must not decide how much memory is taken
                if group > texts.len() {
                    return Err(Error::new(ErrorKind::Io, "load_state_dict", format!("{key:?} names no group")));
                }
                if out.param_groups.len() <= group {
                    out.param_groups.resize_with(group + 1, GroupState::default);
                }
                if name == "params" {
                    let list = text.split(',').filter(|s| !s.is_empty()).map(|s| Ok(number(key, s)? as usize));
                    out.param_groups[group].params = list.collect::<Result<_>>()?;
                } else {
                    out.param_groups[group].settings.insert(name.into(), number(key, text)?);
                }
            }
        }
        Ok(out)
    }
}

/// `prefix`, a number, a dot and the rest.
fn numbered<'a>(key: &'a str, prefix: &str) -> Option<(usize, &'a str)> {
    let (number, rest) = key.strip_prefix(prefix)?.split_once('.')?;
    Some((number.parse().ok()?, rest))
}

/// A setting as a number.
pub(super) trait Setting: Copy {
    fn to_number(self) -> f64;
    fn from_number(value: f64) -> Self;
}

impl Setting for f64 {
    fn to_number(self) -> f64 {
        self
    }

    fn from_number(value: f64) -> Self {
        value
    }
}

impl Setting for u64 {
    fn to_number(self) -> f64 {
        self as f64
    }

    fn from_number(value: f64) -> Self {
        value as u64
    }
}

/// NaN stands for none.
impl<T: Setting> Setting for Option<T> {
    fn to_number(self) -> f64 {
        self.map_or(f64::NAN, T::to_number)
    }

    fn from_number(value: f64) -> Self {
        (!value.is_nan()).then(|| T::from_number(value))
    }
}

impl Setting for bool {
    fn to_number(self) -> f64 {
        f64::from(u8::from(self))
    }

    fn from_number(value: f64) -> Self {
        value != 0.0
    }
}
