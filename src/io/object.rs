//! What a Python program may have saved: values of any kind, nested.

use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::nn::StateDict;
use crate::tensor::Tensor;

/// A value of a PyTorch checkpoint: a tensor, a number, a text, or lists and dicts of such.
///
/// ```
/// use calor::{Tensor, io::Object};
/// let saved = Object::dict([("epoch", Object::from(3)), ("weight", Tensor::ones([2], ())?.into())]);
/// assert_eq!(saved.get("epoch").and_then(Object::as_int), Some(3));
/// assert!(saved.get("weight").and_then(Object::as_tensor).is_some() && saved.get("bias").is_none());
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum Object {
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating point number.
    Float(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A tensor.
    Tensor(Tensor),
    /// An element type.
    DType(DType),
    /// A list or a set.
    List(Vec<Object>),
    /// A tuple.
    Tuple(Vec<Object>),
    /// A dict, in order.
    Dict(Vec<(Object, Object)>),
    /// Something of a class that has no place here, by the name of what would have made it; it is not read.
    Unknown(String),
}

impl Object {
    /// A dict with texts as keys.
    ///
    /// ```
    /// use calor::io::Object;
    /// assert_eq!(Object::dict([("epoch", Object::from(3))]).entries().unwrap().len(), 1);
    /// ```
    pub fn dict<K: Into<String>>(entries: impl IntoIterator<Item = (K, Object)>) -> Self {
        Object::Dict(entries.into_iter().map(|(k, v)| (Object::Text(k.into()), v)).collect())
    }

    /// The value of a key of a dict.
    ///
    /// ```
    /// use calor::io::Object;
    /// let saved = Object::dict([("epoch", Object::from(3))]);
    /// assert!(saved.get("epoch").is_some() && saved.get("step").is_none());
    /// ```
    pub fn get(&self, key: &str) -> Option<&Object> {
        self.entries()?.iter().find(|(k, _)| k.as_text() == Some(key)).map(|(_, v)| v)
    }

    /// The value of a key of a dict; an error that names the key and those that are there, where there is none.
    ///
    /// ```
    /// use calor::io::Object;
    /// let saved = Object::dict([("epoch", Object::from(3))]);
    /// assert!(saved.require("epoch")?.as_int() == Some(3) && saved.require("step").is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn require(&self, key: &str) -> Result<&Object> {
        match (self.get(key), self.entries()) {
            (Some(value), _) => Ok(value),
            (None, Some(entries)) => {
                let keys: Vec<&str> = entries.iter().filter_map(|(k, _)| k.as_text()).take(20).collect();
                bail!(Value, "load_pt", "there is no {key:?}, only {keys:?}")
            }
            (None, None) => bail!(Value, "load_pt", "{key:?} was looked for in {}, not in a dict", self.kind()),
        }
    }

    /// Keys and values of a dict.
    ///
    /// ```
    /// use calor::io::Object;
    /// let saved = Object::dict([("a", Object::from(3)), ("b", Object::from(4))]);
    /// assert_eq!(saved.entries().unwrap()[1].0.as_text(), Some("b"));
    /// assert!(Object::Int(3).entries().is_none());
    /// ```
    pub fn entries(&self) -> Option<&[(Object, Object)]> {
        match self {
            Object::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// The values of a list or tuple.
    ///
    /// ```
    /// use calor::io::Object;
    /// assert_eq!(Object::List(vec![Object::Int(3), Object::None]).items().unwrap().len(), 2);
    /// assert!(Object::Int(3).items().is_none());
    /// ```
    pub fn items(&self) -> Option<&[Object]> {
        match self {
            Object::List(items) | Object::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// An integer, or a truth value as one.
    ///
    /// ```
    /// use calor::io::Object;
    /// assert_eq!((Object::Int(3).as_int(), Object::None.as_int()), (Some(3), None));
    /// ```
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Object::Int(n) => Some(*n),
            Object::Bool(b) => Some((*b).into()),
            _ => None,
        }
    }

    /// A number.
    ///
    /// ```
    /// use calor::io::Object;
    /// assert_eq!((Object::Float(0.5).as_float(), Object::None.as_float()), (Some(0.5), None));
    /// ```
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Object::Float(x) => Some(*x),
            other => other.as_int().map(|n| n as f64),
        }
    }

    /// A text.
    ///
    /// ```
    /// use calor::io::Object;
    /// assert_eq!((Object::Text("a".into()).as_text(), Object::None.as_text()), (Some("a"), None));
    /// ```
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Object::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A tensor.
    ///
    /// ```
    /// use calor::{Tensor, io::Object};
    /// assert_eq!(Object::Tensor(Tensor::ones([2], ())?).as_tensor().unwrap().numel(), 2);
    /// assert!(Object::None.as_tensor().is_none());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn as_tensor(&self) -> Option<&Tensor> {
        match self {
            Object::Tensor(t) => Some(t),
            _ => None,
        }
    }

    /// A dict of tensors by name, for `load_state_dict`; an error that names the first entry that is something else.
    ///
    /// ```
    /// use calor::{Tensor, io::Object};
    /// let saved = Object::dict([("weight", Object::from(Tensor::ones([2], ())?))]);
    /// assert_eq!(saved.state_dict()?.names().collect::<Vec<_>>(), ["weight"]);
    /// assert!(Object::Int(3).state_dict().is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn state_dict(&self) -> Result<StateDict> {
        let Some(entries) = self.entries() else {
            bail!(Value, "state_dict", "expected a dict of tensors, got {}", self.kind());
        };
        let tensors = entries.iter().map(|(key, value)| match (key, value) {
            (Object::Text(name), Object::Tensor(t)) => Ok((name.clone(), t.detach())),
            (Object::Text(name), other) => {
                bail!(Value, "state_dict", "{name:?} is {}, not a tensor", other.kind())
            }
            (other, _) => bail!(Value, "state_dict", "a key is {}, not a text", other.kind()),
        });
        tensors.collect()
    }

    /// What it is, for messages.
    pub(super) fn kind(&self) -> String {
        match self {
            Object::None => "None".into(),
            Object::Bool(_) => "a bool".into(),
            Object::Int(_) => "an integer".into(),
            Object::Float(_) => "a float".into(),
            Object::Text(_) => "a text".into(),
            Object::Bytes(_) => "bytes".into(),
            Object::Tensor(_) => "a tensor".into(),
            Object::DType(_) => "a dtype".into(),
            Object::List(items) => format!("a list of {}", items.len()),
            Object::Tuple(items) => format!("a tuple of {}", items.len()),
            Object::Dict(entries) => format!("a dict of {}", entries.len()),
            Object::Unknown(name) => format!("a value of {name}"),
        }
    }
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Object::Bool(b) => b.fmt(f),
            Object::Int(n) => n.fmt(f),
            Object::Float(x) => x.fmt(f),
            Object::Text(text) => text.fmt(f),
            // without a look at its elements, which would wait for the device
            Object::Tensor(t) => write!(f, "Tensor({} {:?})", t.dtype(), &t.shape()[..]),
            Object::DType(d) => d.fmt(f),
            Object::List(items) | Object::Tuple(items) => f.debug_list().entries(items).finish(),
            Object::Dict(entries) => f.debug_map().entries(entries.iter().map(|(k, v)| (k, v))).finish(),
            Object::None | Object::Bytes(_) | Object::Unknown(_) => f.write_str(&self.kind()),
        }
    }
}

macro_rules! from {
    ($($ty:ty => $variant:ident),* $(,)?) => {
        $(impl From<$ty> for Object {
            fn from(value: $ty) -> Self {
                Object::$variant(value.into())
            }
        })*
    };
}
from!(bool => Bool, i32 => Int, i64 => Int, u32 => Int, f64 => Float, &str => Text, String => Text, Tensor => Tensor,
    DType => DType, Vec<Object> => List);

impl From<&StateDict> for Object {
    fn from(state: &StateDict) -> Self {
        Object::dict(state.iter().map(|(name, t)| (name, Object::Tensor(t.clone()))))
    }
}
