//! Functions of one tensor: a row each.

use super::{Kind, Row, map1};
use crate::error::Result;
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;

/// Rows: docs, name, dtypes, and the gradient from the input `x` or the output `y`.
macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident $inplace:ident $kind:ident $(, $what:ident, $v:ident, $g:ident => $grad:expr)?;)*) => {
        impl Tensor {
            $(
                $(#[$doc])*
                pub fn $name(&self) -> Result<Tensor> {
                    let name = stringify!($name);
                    let out = map1(name, Kind::$kind, self)?;
                    unary!(@record out, self, name $(, $what, $v, $g => $grad)?)
                }

                #[doc = concat!("[`Tensor::", stringify!($name), "`] in place.")]
                pub fn $inplace(&self) -> Result<Tensor> {
                    self.modify(stringify!($inplace), Tensor::$name)
                }
            )*
        }

        /// Every row of the table.
        pub const UNARY: &[Row] = &[$(
            Row { name: stringify!($name), kind: Kind::$kind, differentiable: unary!(@has $($what)?) },
        )*];
    };
    (@record $out:ident, $x:expr, $name:ident) => {
        Ok($out)
    };
    (@record $out:ident, $x:expr, $name:ident, x, $v:ident, $g:ident => $grad:expr) => {{
        let input = $x.to_dtype($out.dtype())?;
        Ok($out.with_grad($name, &[&input], |r| {
            let saved = r.save(&input);
            move |$g: &Tensor| {
                let $v = saved.get()?;
                Ok(Grads::from_iter([Some($grad)]))
            }
        }))
    }};
    (@record $out:ident, $x:expr, $name:ident, y, $v:ident, $g:ident => $grad:expr) => {{
        let input = $x.to_dtype($out.dtype())?;
        Ok($out.with_grad($name, &[&input], |r| {
            let saved = r.output();
            move |$g: &Tensor| {
                let $v = saved.get()?;
                Ok(Grads::from_iter([Some($grad)]))
            }
        }))
    }};
    (@record $out:ident, $x:expr, $name:ident, none, $v:ident, $g:ident => $grad:expr) => {{
        let input = $x.to_dtype($out.dtype())?;
        Ok($out.with_grad($name, &[&input], |_| move |$g: &Tensor| Ok(Grads::from_iter([Some($grad)]))))
    }};
    (@has) => { false };
    (@has $what:ident) => { true };
}

unary! {
    /// `-x`.
    neg neg_ Number, none, _x, g => g.neg()?;
    /// `|x|`; the gradient at 0 is 0.
    abs abs_ Same, x, x, g => g.mul(&x.sign()?)?;
    /// -1, 0 or 1 by sign; 0 at NaN.
    sign sign_ Same, none, _x, g => g.mul(0.0)?;
    /// `x * x`.
    square square_ Same, x, x, g => g.mul(&x)?.mul(2.0)?;
    /// `e^x`.
    exp exp_ Float, y, y, g => g.mul(&y)?;
    /// Natural logarithm.
    log log_ Float, x, x, g => g.div(&x)?;
    /// Square root.
    sqrt sqrt_ Float, y, y, g => g.div(&y.mul(2.0)?)?;
    /// `1 / sqrt(x)`.
    rsqrt rsqrt_ Float, y, y, g => g.mul(&y.mul(&y)?.mul(&y)?)?.mul(-0.5)?;
    /// `1 / x`.
    reciprocal reciprocal_ Float, y, y, g => g.mul(&y.mul(&y)?)?.neg()?;
    /// Sine, radians.
    sin sin_ Float, x, x, g => g.mul(&x.cos()?)?;
    /// Cosine, radians.
    cos cos_ Float, x, x, g => g.mul(&x.sin()?)?.neg()?;
    /// Hyperbolic tangent.
    tanh tanh_ Float, y, y, g => g.mul(&y.mul(&y)?.neg()?.add(1.0)?)?;
    /// `1 / (1 + e^-x)`.
    sigmoid sigmoid_ Float, y, y, g => g.mul(&y.mul(&y.neg()?.add(1.0)?)?)?;
    /// `max(x, 0)`; the gradient at 0 is 0.
    relu relu_ Same, y, y, g => g.mul(&y.gt(0.0)?)?;
    /// The largest integer not above.
    floor floor_ Same, none, _x, g => g.mul(0.0)?;
    /// Whether an element is NaN.
    isnan isnan_ Truth;
}
