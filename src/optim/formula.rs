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
    fn select(&self, cond: u16, yes: u16, no: u16) -> u16;
}

impl Call for Formula<'_> {
    fn select(&self, cond: u16, yes: u16, no: u16) -> u16 {
        self.inner.borrow_mut().body.select(cond, yes, no)
    }

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

    /// Its magnitude.
    pub fn abs(self) -> X<'f> {
        self.alone("op_abs")
    }

    /// -1, 0 or 1; 0 for NaN.
    pub fn sign(self) -> X<'f> {
        self.alone("op_sign")
    }

    /// The smaller one.
    pub fn minimum(self, other: X<'f>) -> X<'f> {
        self.with("op_minimum", other)
    }

    /// At least `low`, at most `high`.
    pub fn clamp(self, low: f64, high: f64) -> X<'f> {
        self.maximum(self.number(low)).minimum(self.number(high))
    }

    /// `above` where it is above zero, `below` where it is below, else `level`.
    pub fn by_sign(self, below: X<'f>, level: X<'f>, above: X<'f>) -> X<'f> {
        let zero = self.number(0.0);
        let under = self.formula.select(self.with("op_lt", zero).at, below.at, level.at);
        X { at: self.formula.select(self.with("op_gt", zero).at, above.at, under), ..self }
    }

    /// A number beside it.
    pub fn constant(self, value: f64) -> X<'f> {
        self.number(value)
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

/// The gradient that a rule follows: turned round where it ascends, and with the parameter's share where the weight decay
/// is coupled.
pub fn gradient<'f, 't>(f: &'f Formula<'t>, p: &'t Tensor, g: &'t Tensor, maximize: bool, weight_decay: f64) -> X<'f> {
    let g = if maximize { -f.read(g) } else { f.read(g) };
    if weight_decay == 0.0 { g } else { g + f.read(p) * weight_decay }
}
