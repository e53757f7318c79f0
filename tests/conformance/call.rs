//! A call as an operation's driver sees it: arguments by name or position, tensors already made.

use crate::corpus::{Case, Value};
use crate::host::Dt;
use crate::signature::{self, Bound, Signature};
use std::collections::{BTreeMap, HashMap};

/// Why a driver gave no outputs.
#[derive(Clone, Debug)]
pub enum Failure {
    /// calor returned an error, which is what an error case asks for.
    Op(String),
    /// The call can't be written in Rust: an argument is missing or has a type that calor's signature rules out.
    Argument(String),
    /// The driver knows that calor doesn't have this.
    Unsupported(String),
}

/// One output of a driver.
#[derive(Clone, Debug)]
pub enum Output<T> {
    Tensor(T),
    Int(i64),
    Float(f64),
    Bool(bool),
    DType(Dt),
    /// An output the call left out.
    None,
    List(Vec<Output<T>>),
}

/// A scalar argument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Int(i64),
    Float(f64),
    Bool(bool),
}

/// Names an argument: by its parameter's name or its position.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    Name(&'a str),
    At(usize),
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(name: &'a str) -> Self {
        Key::Name(name)
    }
}

impl From<usize> for Key<'_> {
    fn from(position: usize) -> Self {
        Key::At(position)
    }
}

/// The arguments of one call, with tensors of type `T`.
///
/// Each getter takes a name (`"dim"`) or a position (`1`). An absent argument and None are alike: `x_opt` gives None,
/// `x_or` the default, and `x` fails.
pub struct Call<T> {
    bound: Bound,
    args: Vec<Value>,
    tensors: HashMap<String, T>,
    used: Vec<bool>,
}

type Result<T> = std::result::Result<T, Failure>;

impl<T: Clone> Call<T> {
    /// `tensors` holds what each tensor key of `case` became.
    pub fn new(signatures: &[Signature], case: &Case, tensors: HashMap<String, T>) -> Call<T> {
        Call::of(signatures, &case.args, &case.kwargs, tensors)
    }

    /// A call with these arguments.
    pub fn of(
        signatures: &[Signature],
        args: &[Value],
        kwargs: &BTreeMap<String, Value>,
        tensors: HashMap<String, T>,
    ) -> Call<T> {
        let bound = signature::bind(signatures, args, kwargs);
        let used = vec![false; bound.slots.len()];
        Call { bound, args: args.to_vec(), tensors, used }
    }

    /// The overload that the arguments fit, such as `max.dim`; empty if there is none.
    pub fn overload(&self) -> &str {
        self.bound.overload.as_deref().unwrap_or("")
    }

    /// Number of positional arguments.
    pub fn len(&self) -> usize {
        self.args.len()
    }

    pub fn is_empty(&self) -> bool {
        self.args.is_empty()
    }

    /// The argument named `name`, or else the one at `position` if that has no other name.
    pub fn arg(&mut self, position: usize, name: &str) -> Option<&Value> {
        match self.slot(Key::Name(name)) {
            Some(_) => self.get(name),
            None if self.bound.overload.is_none() => self.get(position),
            None => None,
        }
    }

    /// The argument as the case has it. Reading it counts as using it.
    pub fn get<'k>(&mut self, key: impl Into<Key<'k>>) -> Option<&Value> {
        let key = key.into();
        let slot = self.slot(key)?;
        self.used[slot] = true;
        match key {
            // One of `*tensors` is not the whole slot.
            Key::At(position) => self.args.get(position),
            Key::Name(_) => Some(&self.bound.slots[slot].1),
        }
    }

    fn slot(&self, key: Key<'_>) -> Option<usize> {
        match key {
            Key::At(position) => self.bound.positions.get(position).copied(),
            Key::Name(name) => {
                let same = |n: &Option<String>| n.as_deref().is_some_and(|n| signature::same_name(n, name));
                self.bound.slots.iter().position(|(n, _)| same(n))
            }
        }
    }

    /// Whether the argument is there and not None. Doesn't count as using it.
    pub fn has<'k>(&self, key: impl Into<Key<'k>>) -> bool {
        self.slot(key.into()).is_some_and(|i| self.bound.slots[i].1 != Value::None)
    }

    /// Whether the argument is a tensor. Doesn't count as using it.
    pub fn is_tensor<'k>(&self, key: impl Into<Key<'k>>) -> bool {
        let key = key.into();
        match (key, self.slot(key)) {
            (Key::At(position), Some(_)) => matches!(self.args[position], Value::Tensor(_)),
            (_, Some(slot)) => matches!(self.bound.slots[slot].1, Value::Tensor(_)),
            (_, None) => false,
        }
    }

    /// Marks an argument as meaningless to calor, such as `non_blocking`.
    pub fn ignore<'k>(&mut self, key: impl Into<Key<'k>>) {
        let _ = self.get(key);
    }

    /// Arguments that the driver never read, so that none is silently dropped.
    pub fn unused(&self) -> Vec<String> {
        let slots = self.bound.slots.iter().zip(&self.used).enumerate();
        let nothing = |v: &Value| *v == Value::None || *v == Value::List(Vec::new());
        let unread = slots.filter(|(_, ((_, value), used))| !**used && !nothing(value));
        unread.map(|(i, ((name, _), _))| name.clone().unwrap_or_else(|| format!("#{i}"))).collect()
    }

    /// Replaces the tensor of `key`; for the harness.
    pub fn set_tensor(&mut self, key: &str, tensor: T) {
        self.tensors.insert(key.to_owned(), tensor);
    }

    fn convert<'k, R>(
        &mut self,
        key: impl Into<Key<'k>>,
        what: &str,
        f: impl FnOnce(&Value, &HashMap<String, T>) -> Option<R>,
    ) -> Result<Option<R>> {
        let key = key.into();
        let value = match self.get(key) {
            None | Some(Value::None) => return Ok(None),
            Some(value) => value.clone(),
        };
        let wrong = || Failure::Argument(format!("{key:?} is {value:?}, not {what}"));
        f(&value, &self.tensors).map(Some).ok_or_else(wrong)
    }

    pub fn tensor_opt<'k>(&mut self, key: impl Into<Key<'k>>) -> Result<Option<T>> {
        self.convert(key, "a tensor", as_tensor)
    }

    pub fn tensor<'k>(&mut self, key: impl Into<Key<'k>>) -> Result<T> {
        let key = key.into();
        self.tensor_opt(key)?.ok_or_else(|| missing(key))
    }

    /// A list of tensors, or `*tensors`; one tensor is a list of one, and a list inside `*tensors` is unpacked.
    pub fn tensors<'k>(&mut self, key: impl Into<Key<'k>>) -> Result<Vec<T>> {
        let key = key.into();
        let list = |value: &Value, tensors: &HashMap<String, T>| {
            let mut items = std::slice::from_ref(value);
            while let [Value::List(inner)] = items {
                items = inner;
            }
            items.iter().map(|v| as_tensor(v, tensors)).collect()
        };
        self.convert(key, "a list of tensors", list)?.ok_or_else(|| missing(key))
    }

    /// A list of tensors and Nones, as `index_put` has it.
    pub fn optional_tensors<'k>(&mut self, key: impl Into<Key<'k>>) -> Result<Vec<Option<T>>> {
        let key = key.into();
        let list = |value: &Value, tensors: &HashMap<String, T>| match value {
            Value::List(items) => items
                .iter()
                .map(|v| if *v == Value::None { Some(None) } else { as_tensor(v, tensors).map(Some) })
                .collect(),
            _ => None,
        };
        self.convert(key, "a list of tensors and Nones", list)?.ok_or_else(|| missing(key))
    }

    /// What became of a tensor inside a value from [`Call::get`], such as one component of an index.
    pub fn tensor_of(&self, value: &Value) -> Option<T> {
        as_tensor(value, &self.tensors)
    }

    pub fn int_opt<'k>(&mut self, key: impl Into<Key<'k>>) -> Result<Option<i64>> {
        self.convert(key, "an integer", |v, _| as_int(v))
    }

    pub fn int<'k>(&mut self, key: impl Into<Key<'k>>) -> Result<i64> {
        let key = key.into();
        self.int_opt(key)?.ok_or_else(|| missing(key))
    }

    pub fn int_or<'k>(&mut self, key: impl Into<Key<'k>>, default: i64) -> Result<i64> {
        Ok(self.int_opt(key)?.unwrap_or(default))
    }

    /// A list of integers; one integer is a list of one.
    pub fn ints_opt<'k>(&mut self, key: impl Into<Key<'k>>) -> Result<Option<Vec<i64>>> {
        self.convert(key, "a list of integers", |v, _| match v {
            Value::List(items) => items.iter().map(as_int).collect(),
            _ => as_int(v).map(|i| vec![i]),
        })
    }

    pub fn ints<'k>(&mut self, key: impl Into<Key<'k>>) -> Result<Vec<i64>> {
        let key = key.into();
        self.ints_opt(key)?.ok_or_else(|| missing(key))
    }

    /// A list of floats, as `interpolate` has it; one number is a list of one.
    pub fn floats_opt<'k>(&mut self, key: impl Into<Key<'k>>) -> Result<Option<Vec<f64>>> {
        self.convert(key, "a list of floats", |v, _| match v {
            Value::List(items) => items.iter().map(as_float).collect(),
            _ => as_float(v).map(|f| vec![f]),
        })
    }

    /// A float; an integer is one, too.
    pub fn float_opt<'k>(&mut self, key: impl Into<Key<'k>>) -> Result<Option<f64>> {
        self.convert(key, "a float", |v, _| as_float(v))
    }

    pub fn float<'k>(&mut self, key: impl Into<Key<'k>>) -> Result<f64> {
        let key = key.into();
        self.float_opt(key)?.ok_or_else(|| missing(key))
    }

    pub fn float_or<'k>(&mut self, key: impl Into<Key<'k>>, default: f64) -> Result<f64> {
        Ok(self.float_opt(key)?.unwrap_or(default))
    }

    /// A scalar whose kind takes part in type promotion.
    pub fn number_opt<'k>(&mut self, key: impl Into<Key<'k>>) -> Result<Option<Number>> {
        self.convert(key, "a number", |v, _| match *v {
            Value::Int(i) => Some(Number::Int(i)),
            Value::Float(f) => Some(Number::Float(f)),
            Value::Bool(b) => Some(Number::Bool(b)),
            _ => None,
        })
    }

    pub fn number<'k>(&mut self, key: impl Into<Key<'k>>) -> Result<Number> {
        let key = key.into();
        self.number_opt(key)?.ok_or_else(|| missing(key))
    }

    pub fn bool_opt<'k>(&mut self, key: impl Into<Key<'k>>) -> Result<Option<bool>> {
        self.convert(key, "a bool", |v, _| match *v {
            Value::Bool(b) => Some(b),
            // Python takes 0 and 1 for a bool.
            Value::Int(i) => Some(i != 0),
            _ => None,
        })
    }

    pub fn bool_or<'k>(&mut self, key: impl Into<Key<'k>>, default: bool) -> Result<bool> {
        Ok(self.bool_opt(key)?.unwrap_or(default))
    }

    pub fn str_opt<'k>(&mut self, key: impl Into<Key<'k>>) -> Result<Option<String>> {
        self.convert(key, "a string", |v, _| match v {
            Value::Str(s) => Some(s.clone()),
            _ => None,
        })
    }

    pub fn str_or<'k>(&mut self, key: impl Into<Key<'k>>, default: &str) -> Result<String> {
        Ok(self.str_opt(key)?.unwrap_or_else(|| default.to_owned()))
    }

    pub fn dtype_opt<'k>(&mut self, key: impl Into<Key<'k>>) -> Result<Option<Dt>> {
        self.convert(key, "a dtype", |v, _| match *v {
            Value::DType(d) => Some(d),
            _ => None,
        })
    }

    pub fn dtype<'k>(&mut self, key: impl Into<Key<'k>>) -> Result<Dt> {
        let key = key.into();
        self.dtype_opt(key)?.ok_or_else(|| missing(key))
    }
}

fn missing(key: Key<'_>) -> Failure {
    Failure::Argument(format!("{key:?} is missing"))
}

fn as_tensor<T: Clone>(value: &Value, tensors: &HashMap<String, T>) -> Option<T> {
    match value {
        Value::Tensor(t) => tensors.get(&t.key).cloned(),
        _ => None,
    }
}

fn as_int(value: &Value) -> Option<i64> {
    match *value {
        Value::Int(i) => Some(i),
        _ => None,
    }
}

fn as_float(value: &Value) -> Option<f64> {
    match *value {
        Value::Float(f) => Some(f),
        Value::Int(i) => Some(i as f64),
        _ => None,
    }
}
