//! `Body`: what one element of a map is, as a short program over its inputs, its place and host numbers.
//!
//! A body reads an input at its own place ([`Body::input`]) or at any place it computes ([`Body::load`]); so
//! padding, gathering, joining and rolling are maps, and fuse like arithmetic does.
//!
//! ```
//! use calor::graph::{Body, IndexOp, Param};
//! // the elements in reverse: each reads the place `n - 1 - i`
//! let mut body = Body::new();
//! let (last, here) = (body.param(0), body.coord(0));
//! let there = body.index(IndexOp::Sub, last, here);
//! body.load(0, &[there]);
//! assert!(body.is_free() && !body.is_source());
//! // its host number, for 4 elements
//! assert_eq!(Param::index(3).bits(), 3);
//! ```

use crate::dtype::DType;
use crate::error::Error;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::sync::Arc;

/// A value inside a body.
///
/// ```
/// use calor::graph::{Body, body::{Op, Ref}};
/// let mut body = Body::new();
/// let x: Ref = body.input(0);
/// assert_eq!(body.ops[x as usize], Op::Input(0));
/// ```
pub type Ref = u16;

/// Arithmetic on places (`u32`, wrapping) and on truth values.
///
/// ```
/// use calor::graph::{Body, IndexOp, body::Op};
/// let mut body = Body::new();
/// let (i, n) = (body.flat(), body.param(0));
/// let inside = body.index(IndexOp::Lt, i, n);
/// assert_eq!(body.ops[inside as usize], Op::Index(IndexOp::Lt, i, n));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IndexOp {
    /// Sum, modulo 2^32: adding a negative host number works.
    Add,
    /// Difference, modulo 2^32.
    Sub,
    /// Product, modulo 2^32.
    Mul,
    /// Quotient of unsigned numbers; the divisor must not be zero.
    Div,
    /// Remainder of unsigned numbers; the divisor must not be zero.
    Rem,
    /// Unsigned less than; gives a truth value.
    Lt,
    /// Equality; gives a truth value.
    Eq,
    /// Smaller of two unsigned numbers.
    Min,
    /// Both of two truth values.
    And,
}

/// One step of a body.
///
/// ```
/// use calor::{DType, graph::{Body, body::Op}};
/// let mut body = Body::new();
/// let x = body.input(0);
/// body.cast(DType::F16, x);
/// assert_eq!(body.ops[..], [Op::Input(0), Op::Cast(DType::F16, 0)]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Input `k` at this element's place; its shape is the node's.
    Input(u8),
    /// Input `k` at computed coordinates, one `u32` for each of its dimensions, each in range.
    Load(u8, SmallVec<[Ref; 4]>),
    /// This element's coordinate in a dimension of the node's shape, `u32`.
    Coord(u8),
    /// This element's place in row-by-row order, `u32`.
    Flat,
    /// Host number `k` as a `u32`.
    Param(u8),
    /// Host number `k` as a value of a dtype.
    Value(u8, DType),
    /// A function of the shader library, or of the body's own source.
    Call(Cow<'static, str>, SmallVec<[Ref; 3]>),
    /// Arithmetic on `u32` and truth values.
    Index(IndexOp, Ref, Ref),
    /// The value converted to another dtype, rounded where that is narrower.
    Cast(DType, Ref),
    /// The bits of a 32-bit value read as another 32-bit type.
    Bits(DType, Ref),
    /// The second where the first is true, else the third.
    Select(Ref, Ref, Ref),
    /// The second value; reports the fault with host number `k` as its code where the first is false.
    Guard(Ref, Ref, u8),
}

/// A program that computes one element.
///
/// ```
/// use calor::{DType, graph::Body};
/// // 1 / (1 + x)
/// let mut body = Body::new();
/// let (x, one) = (body.input(0), body.value(0, DType::F32));
/// let sum = body.call("op_add", &[one, x]);
/// body.call("op_reciprocal", &[sum]);
/// assert_eq!((body.ops.len(), body.source), (4, None));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Body {
    /// The steps, each referring to earlier ones.
    pub ops: SmallVec<[Op; 4]>,
    /// Extra WGSL functions that `Call` may name: a user's own op.
    pub source: Option<Arc<str>>,
}

impl Body {
    /// An empty body.
    ///
    /// ```
    /// let body = calor::graph::Body::new();
    /// assert!(body.ops.is_empty() && body.is_source());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// The library function `name` applied to `inputs` inputs at this element's place.
    ///
    /// ```
    /// use calor::graph::{Body, body::Op};
    /// let body = Body::call_all("op_add", 2);
    /// assert_eq!(body.ops[2], Op::Call("op_add".into(), [0, 1].into_iter().collect()));
    /// ```
    pub fn call_all(name: impl Into<Cow<'static, str>>, inputs: usize) -> Self {
        let mut body = Self::new();
        let args: SmallVec<[Ref; 3]> = (0..inputs).map(|k| body.input(k)).collect();
        body.call(name, &args);
        body
    }

    fn push(&mut self, op: Op) -> Ref {
        // a body is short: looking back finds what was said already
        if let Some(same) = self.ops.iter().position(|o| *o == op) {
            return same as Ref;
        }
        self.ops.push(op);
        (self.ops.len() - 1) as Ref
    }

    /// Input `k` here.
    ///
    /// ```
    /// let mut body = calor::graph::Body::new();
    /// let x = body.input(0);
    /// // what was said already is not said again
    /// assert_eq!((body.input(0), body.ops.len()), (x, 1));
    /// ```
    pub fn input(&mut self, k: usize) -> Ref {
        self.push(Op::Input(k as u8))
    }

    /// Input `k` at computed coordinates.
    ///
    /// ```
    /// let mut body = calor::graph::Body::new();
    /// // a transposed matrix
    /// let (i, j) = (body.coord(0), body.coord(1));
    /// body.load(0, &[j, i]);
    /// assert!(body.is_free() && !body.is_source());
    /// ```
    pub fn load(&mut self, k: usize, coords: &[Ref]) -> Ref {
        self.push(Op::Load(k as u8, coords.into()))
    }

    /// This element's coordinate in dimension `d`.
    ///
    /// ```
    /// use calor::graph::{Body, body::Op};
    /// let mut body = Body::new();
    /// body.coord(1);
    /// assert_eq!(body.ops[0], Op::Coord(1));
    /// ```
    pub fn coord(&mut self, d: usize) -> Ref {
        self.push(Op::Coord(d as u8))
    }

    /// This element's place in row-by-row order.
    ///
    /// ```
    /// let mut body = calor::graph::Body::new();
    /// body.flat();
    /// assert!(body.is_source());
    /// ```
    pub fn flat(&mut self) -> Ref {
        self.push(Op::Flat)
    }

    /// Host number `k` as `u32`.
    ///
    /// ```
    /// use calor::graph::{Body, body::Op};
    /// let mut body = Body::new();
    /// body.param(2);
    /// assert_eq!(body.ops[0], Op::Param(2));
    /// ```
    pub fn param(&mut self, k: usize) -> Ref {
        self.push(Op::Param(k as u8))
    }

    /// Host number `k` as a value.
    ///
    /// ```
    /// use calor::{DType, graph::{Body, body::Op}};
    /// let mut body = Body::new();
    /// body.value(0, DType::F32);
    /// assert_eq!(body.ops[0], Op::Value(0, DType::F32));
    /// ```
    pub fn value(&mut self, k: usize, dtype: DType) -> Ref {
        self.push(Op::Value(k as u8, dtype))
    }

    /// A library function.
    ///
    /// ```
    /// let mut body = calor::graph::Body::new();
    /// let x = body.input(0);
    /// body.call("op_exp", &[x]);
    /// assert!(!body.is_free() && body.cost() > 0);
    /// ```
    pub fn call(&mut self, name: impl Into<Cow<'static, str>>, args: &[Ref]) -> Ref {
        self.push(Op::Call(name.into(), args.into()))
    }

    /// Arithmetic on places.
    ///
    /// ```
    /// use calor::graph::{Body, IndexOp, body::Op};
    /// let mut body = Body::new();
    /// let (i, n) = (body.coord(0), body.param(0));
    /// body.index(IndexOp::Rem, i, n);
    /// assert_eq!(body.ops[2], Op::Index(IndexOp::Rem, i, n));
    /// ```
    pub fn index(&mut self, op: IndexOp, a: Ref, b: Ref) -> Ref {
        self.push(Op::Index(op, a, b))
    }

    /// A cast.
    ///
    /// ```
    /// use calor::{DType, graph::Body};
    /// let mut body = Body::new();
    /// let x = body.input(0);
    /// body.cast(DType::BF16, x);
    /// // nothing is computed, so nobody stores it for its own sake
    /// assert_eq!((body.is_free(), body.cost()), (true, 0));
    /// ```
    pub fn cast(&mut self, dtype: DType, x: Ref) -> Ref {
        self.push(Op::Cast(dtype, x))
    }

    /// Bits read as another type.
    ///
    /// ```
    /// use calor::{DType, graph::{Body, body::Op}};
    /// let mut body = Body::new();
    /// let x = body.input(0);
    /// body.bits(DType::U32, x);
    /// assert_eq!(body.ops[1], Op::Bits(DType::U32, x));
    /// ```
    pub fn bits(&mut self, dtype: DType, x: Ref) -> Ref {
        self.push(Op::Bits(dtype, x))
    }

    /// `yes` where `cond`, else `no`.
    ///
    /// ```
    /// use calor::graph::{Body, IndexOp, body::Op};
    /// let mut body = Body::new();
    /// let (i, n) = (body.coord(0), body.param(0));
    /// let (inside, x, y) = (body.index(IndexOp::Lt, i, n), body.input(0), body.input(1));
    /// body.select(inside, x, y);
    /// assert_eq!(body.ops.last(), Some(&Op::Select(inside, x, y)));
    /// ```
    pub fn select(&mut self, cond: Ref, yes: Ref, no: Ref) -> Ref {
        self.push(Op::Select(cond, yes, no))
    }

    /// `value`, with a fault reported where `cond` is false; host number `code` is the fault's code.
    ///
    /// ```
    /// use calor::graph::{Body, IndexOp, body::Op};
    /// let mut body = Body::new();
    /// let (i, n, x) = (body.coord(0), body.param(0), body.input(0));
    /// let inside = body.index(IndexOp::Lt, i, n);
    /// body.guard(inside, x, 1);
    /// assert_eq!(body.ops.last(), Some(&Op::Guard(inside, x, 1)));
    /// ```
    pub fn guard(&mut self, cond: Ref, value: Ref, code: usize) -> Ref {
        self.push(Op::Guard(cond, value, code as u8))
    }

    /// Whether it moves, makes or converts values without computing on them: such a body is never worth storing.
    ///
    /// ```
    /// use calor::graph::Body;
    /// let mut copy = Body::new();
    /// copy.input(0);
    /// assert!(copy.is_free() && !Body::call_all("op_exp", 1).is_free());
    /// ```
    pub fn is_free(&self) -> bool {
        !self.ops.iter().any(|op| matches!(op, Op::Call(..)))
    }

    /// Whether it reads no input.
    ///
    /// ```
    /// use calor::graph::Body;
    /// assert!(Body::new().is_source() && !Body::call_all("op_exp", 1).is_source());
    /// ```
    pub fn is_source(&self) -> bool {
        !self.ops.iter().any(|op| matches!(op, Op::Input(_) | Op::Load(..)))
    }

    /// Whether it speaks of nothing that is not there: each step of earlier ones, of these inputs, and of so many host numbers.
    pub(super) fn fits(&self, inputs: &[&[usize]], params: usize, shape: &[usize]) -> bool {
        let step = |(at, op): (usize, &Op)| {
            let known = |of: &[Ref]| of.iter().all(|&r| (r as usize) < at);
            match op {
                Op::Input(k) => inputs.get(*k as usize) == Some(&shape),
                Op::Load(k, coords) => {
                    inputs.get(*k as usize).is_some_and(|i| i.len() == coords.len()) && known(coords)
                }
                Op::Coord(d) => (*d as usize) < shape.len(),
                Op::Flat => true,
                Op::Param(k) | Op::Value(k, _) => (*k as usize) < params,
                Op::Call(_, args) => known(args),
                Op::Index(_, a, b) => known(&[*a, *b]),
                Op::Cast(_, x) | Op::Bits(_, x) => known(&[*x]),
                Op::Select(cond, yes, no) => known(&[*cond, *yes, *no]),
                Op::Guard(cond, value, k) => known(&[*cond, *value]) && (*k as usize) < params,
            }
        };
        self.ops.iter().enumerate().all(step)
    }

    /// Rough count of instructions, for the choice between computing twice and storing.
    ///
    /// ```
    /// use calor::graph::Body;
    /// assert!(Body::call_all("op_lgamma", 1).cost() > Body::call_all("op_add", 2).cost());
    /// ```
    pub fn cost(&self) -> u32 {
        self.ops
            .iter()
            .map(|op| match op {
                Op::Call(name, _) => super::library::cost(name),
                Op::Load(..) => 4,
                Op::Index(..) | Op::Select(..) | Op::Guard(..) => 1,
                _ => 0,
            })
            .sum()
    }
}

/// A host number handed to a kernel; never part of its text.
///
/// ```
/// use calor::{DType, Scalar, graph::Param};
/// assert!(matches!(Param::scalar(Scalar::Int(3), DType::F32), Param::F32(3.0)));
/// assert!(matches!(Param::scalar(Scalar::Int(3), DType::U32), Param::U32(3)));
/// ```
#[derive(Clone, Debug)]
pub enum Param {
    /// A place, a size, a step; negative ones wrap.
    U32(u32),
    /// A single precision value.
    F32(f32),
    /// A signed integer.
    I32(i32),
    /// A 64-bit integer, two words.
    I64(i64),
    /// A double, two words.
    F64(f64),
    /// The code under which the engine finds this error when the device reports it.
    Fault(Arc<Error>),
}

impl Param {
    /// What a kernel's text and block depend on: all but the number itself.
    ///
    /// ```
    /// use calor::graph::Param;
    /// assert_eq!(Param::U32(1).kind(), Param::U32(2).kind());
    /// assert_ne!(Param::U32(1).kind(), Param::F32(1.0).kind());
    /// ```
    pub fn kind(&self) -> u8 {
        match self {
            Param::U32(_) => 0,
            Param::F32(_) => 1,
            Param::I32(_) => 2,
            Param::I64(_) => 3,
            Param::F64(_) => 4,
            Param::Fault(_) => 5,
        }
    }

    /// Its bits; a fault has none.
    ///
    /// ```
    /// use calor::graph::Param;
    /// assert_eq!((Param::F32(1.0).bits(), Param::I32(-1).bits()), (0x3f80_0000, 0xffff_ffff));
    /// ```
    pub fn bits(&self) -> u64 {
        match self {
            Param::U32(v) => u64::from(*v),
            Param::F32(v) => u64::from(v.to_bits()),
            Param::I32(v) => u64::from(*v as u32),
            Param::I64(v) => *v as u64,
            Param::F64(v) => v.to_bits(),
            Param::Fault(_) => 0,
        }
    }

    /// A size or step; wraps where negative.
    ///
    /// ```
    /// use calor::graph::Param;
    /// assert_eq!(Param::index(-1).bits(), u64::from(u32::MAX));
    /// ```
    pub fn index(value: isize) -> Self {
        Param::U32(value as u32)
    }

    /// A number as a value of `dtype`'s compute type.
    ///
    /// ```
    /// use calor::{DType, Scalar, graph::Param};
    /// // a half type's number is rounded to it, and computed with as f32
    /// assert_eq!(Param::scalar(Scalar::Float(1.001), DType::BF16).bits(), Param::F32(1.0).bits());
    /// ```
    pub fn scalar(value: crate::dtype::Scalar, dtype: DType) -> Self {
        match dtype {
            DType::Bool => Param::U32(u32::from(value.as_bool())),
            DType::U8 => Param::U32((value.as_i64() & 0xff) as u32),
            DType::U32 => Param::U32(value.as_i64() as u32),
            DType::I32 => Param::I32(value.as_i64() as i32),
            DType::I64 => Param::I64(value.as_i64()),
            DType::F16 => Param::F32(half::f16::from_f64(value.as_f64()).to_f32()),
            DType::BF16 => Param::F32(half::bf16::from_f64(value.as_f64()).to_f32()),
            DType::F32 => Param::F32(value.as_f64() as f32),
            DType::F64 => Param::F64(value.as_f64()),
        }
    }
}
