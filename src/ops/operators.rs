//! `+ - * / %`, `& | ^ << >>` and unary `-`, `!` on tensors: each gives a `Result` and takes one, so that expressions
//! chain.

use super::arg::Arg;
use crate::error::Result;
use crate::tensor::Tensor;
use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Not, Rem, Shl, Shr, Sub};

macro_rules! operator {
    ($($trait:ident $method:ident $op:ident),*) => {
        $(
            impl<R: Into<Arg>> $trait<R> for &Tensor {
                type Output = Result<Tensor>;
                fn $method(self, other: R) -> Result<Tensor> {
                    Tensor::$op(self, other)
                }
            }
            impl<R: Into<Arg>> $trait<R> for Tensor {
                type Output = Result<Tensor>;
                fn $method(self, other: R) -> Result<Tensor> {
                    Tensor::$op(&self, other)
                }
            }
            operator!(@left $trait $method $op, Result<Tensor>: Tensor, &Tensor);
        )*
    };
    (@number $($trait:ident $method:ident $op:ident),*) => {
        $(
            // one float type only: else the type of a literal would be open
            operator!(@left $trait $method $op, f64: Tensor, &Tensor);
            operator!(@left $trait $method $op, i32: Tensor, &Tensor);
        )*
    };
    (@left $trait:ident $method:ident $op:ident, $left:ty: $($right:ty),*) => {
        $(impl $trait<$right> for $left {
            type Output = Result<Tensor>;
            fn $method(self, other: $right) -> Result<Tensor> {
                super::elementwise::$op(self, other)
            }
        })*
    };
}
operator!(Add add add, Sub sub sub, Mul mul mul, Div div div, Rem rem remainder);
operator!(@number Add add add, Sub sub sub, Mul mul mul, Div div div, Rem rem remainder);
operator!(BitAnd bitand bitwise_and, BitOr bitor bitwise_or, BitXor bitxor bitwise_xor);
operator!(Shl shl bitwise_left_shift, Shr shr bitwise_right_shift);

impl Neg for &Tensor {
    type Output = Result<Tensor>;
    fn neg(self) -> Result<Tensor> {
        Tensor::neg(self)
    }
}

impl Neg for Tensor {
    type Output = Result<Tensor>;
    fn neg(self) -> Result<Tensor> {
        Tensor::neg(&self)
    }
}

impl Not for &Tensor {
    type Output = Result<Tensor>;
    fn not(self) -> Result<Tensor> {
        self.bitwise_not()
    }
}

impl Not for Tensor {
    type Output = Result<Tensor>;
    fn not(self) -> Result<Tensor> {
        self.bitwise_not()
    }
}
