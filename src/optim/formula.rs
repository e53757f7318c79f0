//! `Formula`: one new value of an update as arithmetic on numbers and tensors of one shape. It becomes a single map,
//! so that a parameter's whole update is few nodes and one kernel; numbers from the host never enter the kernel's text.

use crate::dtype::{DType, Scalar};
use crate::error::{Result, bail};
use crate::graph::{Body, Map, Param};
use crate::tensor::Tensor;
use std::cell::RefCell;
use std::ops::{Add, Div, Mul, Neg, Sub};
use std::sync::Arc;

/// A formula being written.
pub struct Formula<'t> {
    dtype: DType,
    inner: RefCell<Inner<'t>>,
}

#[derive(Default)]
struct Inner<'t> {
    body: Body,
    inputs: Vec<&'t Tensor>,
    params: Vec<Param>,
}

/// A value inside a formula.
#[derive(Clone, Copy)]
pub struct X<'f> {
    formula: &'f dyn Call,
    at: u16,
}

/// What values need of their formula, whatever it borrows.
trait Call {
    fn call(&self, name: &'static str, args: &[u16]) -> u16;
    fn literal(&self, value: f64) -> u16;
}

impl Call for Formula<'_> {
    fn call(&self, name: &'static str, args: &[u16]) -> u16 {
        self.inner.borrow_mut().body.call(name, args)
    }

    fn literal(&self, value: f64) -> u16 {
        let mut inner = self.inner.borrow_mut();
        let k = inner.params.len();
        inner.params.push(Param::scalar(Scalar::Float(value), self.dtype.compute()));
        inner.body.value(k, self.dtype.compute())
    }
}

/// The value of a formula as a lazy tensor: `formula("sgd", dtype, |f| f.read(p) - f.read(g) * lr)`.
pub fn formula<'t>(
    name: &'static str,
    dtype: DType,
    write: impl for<'f> FnOnce(&'f Formula<'t>) -> X<'f>,
) -> Result<Tensor> {
    let formula = Formula { dtype, inner: RefCell::default() };
    let last = write(&formula).at;
    let Inner { mut body, inputs, params } = formula.inner.into_inner();
    if last as usize + 1 != body.ops.len() {
        // a body gives its last step
        body.cast(dtype, last);
    }
    let Some(first) = inputs.first() else {
        bail!(Value, name, "a formula must read a tensor");
    };
    let map = Arc::new(Map { name: name.into(), body });
    Tensor::apply(map, first.device(), (&first.shape(), dtype), &inputs, &params)
}

impl<'t> Formula<'t> {
    /// An element of a tensor; all of them have the shape of the result.
    pub fn read(&self, tensor: &'t Tensor) -> X<'_> {
        let mut inner = self.inner.borrow_mut();
        let k = match inner.inputs.iter().position(|t| t.id() == tensor.id()) {
            Some(k) => k,
            None => {
                inner.inputs.push(tensor);
                inner.inputs.len() - 1
            }
        };
        let mut at = inner.body.input(k);
        if tensor.dtype().compute() != self.dtype.compute() {
            at = inner.body.cast(self.dtype.compute(), at);
        }
        drop(inner);
        X { formula: self, at }
    }
}

impl<'f> X<'f> {
    fn with(self, name: &'static str, other: X<'f>) -> X<'f> {
        X { at: self.formula.call(name, &[self.at, other.at]), ..self }
    }

    fn number(self, value: f64) -> X<'f> {
        X { at: self.formula.literal(value), ..self }
    }

    fn alone(self, name: &'static str) -> X<'f> {
        X { at: self.formula.call(name, &[self.at]), ..self }
    }

    /// Square root.
    pub fn sqrt(self) -> X<'f> {
        self.alone("op_sqrt")
    }

    /// The larger one.
    pub fn maximum(self, other: X<'f>) -> X<'f> {
        self.with("op_maximum", other)
    }

    /// `self + (other - self) * weight`, which is exact where both agree.
    pub fn lerp(self, other: X<'f>, weight: f64) -> X<'f> {
        self + (other - self) * weight
    }
}

macro_rules! arithmetic {
    ($($trait:ident $method:ident $name:literal),*) => {
        $(
            impl<'f> $trait for X<'f> {
                type Output = X<'f>;
                fn $method(self, other: X<'f>) -> X<'f> {
                    self.with($name, other)
                }
            }
            impl<'f> $trait<f64> for X<'f> {
                type Output = X<'f>;
                fn $method(self, other: f64) -> X<'f> {
                    self.with($name, self.number(other))
                }
            }
        )*
    };
}
arithmetic!(Add add "op_add", Sub sub "op_sub", Mul mul "op_mul", Div div "op_div");

impl<'f> Neg for X<'f> {
    type Output = X<'f>;
    fn neg(self) -> X<'f> {
        self.alone("op_neg")
    }
}
