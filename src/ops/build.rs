//! `Build`: a map's body written together with its host numbers.

use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result, bail};
use crate::graph::{Body, IndexOp, Map, Param};
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;
use std::sync::Arc;

/// A body with its host numbers.
#[derive(Default)]
pub(crate) struct Build {
    pub body: Body,
    pub params: Vec<Param>,
    /// Numbers that follow from sizes, with their places: equal ones are one.
    known: Vec<(u32, usize)>,
}

impl Build {
    /// A host number that follows from sizes, as a place.
    pub fn number(&mut self, n: isize) -> u16 {
        let known = self.known.iter().find(|(v, _)| *v == n as u32).map(|(_, k)| *k);
        let k = known.unwrap_or_else(|| {
            self.known.push((n as u32, self.params.len()));
            self.params.push(Param::index(n));
            self.params.len() - 1
        });
        self.body.param(k)
    }

    /// A host number that changes from run to run. It has a place of its own even where it equals another one by
    /// chance, so that the body stays the same.
    pub fn word(&mut self, n: u32) -> u16 {
        self.params.push(Param::U32(n));
        self.body.param(self.params.len() - 1)
    }

    /// A host number as a value.
    pub fn value(&mut self, n: f64, dtype: DType) -> u16 {
        self.params.push(Param::scalar(crate::dtype::Scalar::Float(n), dtype));
        self.body.value(self.params.len() - 1, dtype)
    }

    pub fn op(&mut self, op: IndexOp, a: u16, b: u16) -> u16 {
        self.body.index(op, a, b)
    }

    pub fn add(&mut self, a: u16, n: isize) -> u16 {
        let n = self.number(n);
        self.op(IndexOp::Add, a, n)
    }

    pub fn less(&mut self, a: u16, n: isize) -> u16 {
        let n = self.number(n);
        self.op(IndexOp::Lt, a, n)
    }

    pub fn at_most(&mut self, a: u16, n: isize) -> u16 {
        let n = self.number(n);
        self.op(IndexOp::Min, a, n)
    }

    pub fn div(&mut self, a: u16, n: usize) -> u16 {
        let n = self.number(n.max(1) as isize);
        self.op(IndexOp::Div, a, n)
    }

    pub fn rem(&mut self, a: u16, n: usize) -> u16 {
        let n = self.number(n.max(1) as isize);
        self.op(IndexOp::Rem, a, n)
    }

    /// Both of two truth values, of which the first may be missing.
    pub fn both(&mut self, a: Option<u16>, b: u16) -> u16 {
        a.map_or(b, |a| self.op(IndexOp::And, a, b))
    }

    /// An `i32` index as a place within `size`; with `wrap`, negative ones count from the end. One out of range is
    /// reported under `op`, and becomes a place in range.
    pub fn place(&mut self, op: &str, index: u16, dim: usize, size: usize, wrap: bool) -> u16 {
        let size = size as isize;
        let mut at = self.body.bits(DType::U32, index);
        if wrap {
            let back = self.add(at, size);
            let inside = self.less(at, size);
            at = self.body.select(inside, at, back);
        }
        let inside = self.less(at, size);
        let message = format!("an index is out of bounds for dimension {dim} with size {size}");
        self.params.push(Param::Fault(Arc::new(Error::new(ErrorKind::Index, op, message))));
        let at = self.body.guard(inside, at, self.params.len() - 1);
        self.at_most(at, size - 1)
    }

    /// The map as a tensor, without history.
    pub fn apply(self, name: &'static str, shape: &[usize], dtype: DType, inputs: &[&Tensor]) -> Result<Tensor> {
        let Some(first) = inputs.first() else { bail!(Value, name, "needs a tensor") };
        let map = Arc::new(Map { name: name.into(), body: self.body });
        Tensor::apply(map, first.device(), (shape, dtype), inputs, &self.params)
    }
}

/// `x`, with a fault under `op` where an element fails one of the tests: a function of it and a number, which with a `!`
/// in front must not hold.
pub fn checked(
    op: &'static str,
    x: &Tensor,
    tests: &[(&'static str, f64)],
    message: impl Into<String>,
) -> Result<Tensor> {
    let mut b = Build::default();
    let mut value = b.body.input(0);
    b.params.push(Param::Fault(Arc::new(Error::new(ErrorKind::Value, op, message))));
    let code = b.params.len() - 1;
    for &(test, number) in tests {
        let args = [value, b.value(number, x.dtype().compute())];
        let (name, negated) = test.strip_prefix('!').map_or((test, false), |name| (name, true));
        let mut fits = b.body.call(name, if name == "op_isfinite" { &args[..1] } else { &args });
        if negated {
            fits = b.body.call("op_logical_not", &[fits]);
        }
        value = b.body.guard(fits, value, code);
    }
    let out = b.apply(op, &x.shape(), x.dtype(), &[x])?;
    Ok(out.with_grad(op, &[x], |_| move |g: &Tensor| Ok(Grads::from_iter([Some(g.clone())]))))
}
