//! Functions of two tensors or a tensor and a number, with broadcasting and type promotion: a row each.

use super::{Kind, Row, map_n, operands};
use crate::error::Result;
use crate::ops::arg::Arg;
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;

/// Rows: docs, names, dtypes, and both gradients: in brackets the operands that each one uses.
macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident $inplace:ident $kind:ident $(, |$a:ident, $b:ident, $g:ident| [$($ua:ident)*] $ga:expr, [$($ub:ident)*] $gb:expr)?;)*) => {
        impl Tensor {
            $(
                $(#[$doc])*
                pub fn $name(&self, other: impl Into<Arg>) -> Result<Tensor> {
                    $name(self, other)
                }

                #[doc = concat!("[`Tensor::", stringify!($name), "`] in place.")]
                pub fn $inplace(&self, other: impl Into<Arg>) -> Result<Tensor> {
                    let other = other.into();
                    self.modify(stringify!($inplace), |x| x.$name(other))
                }
            )*
        }

        $(
            #[doc = concat!("[`Tensor::", stringify!($name), "`] with either side a tensor or a number.")]
            pub fn $name(a: impl Into<Arg>, b: impl Into<Arg>) -> Result<Tensor> {
                let name = stringify!($name);
                let (a, b, dtype) = operands(name, Kind::$kind, &a.into(), &b.into())?;
                let out = map_n(name, dtype, &[&a, &b])?;
                binary!(@record out, a, b, name $(, |$a, $b, $g| [$($ua)*] $ga, [$($ub)*] $gb)?)
            }
        )*

        /// Every row of the table.
        pub const BINARY: &[Row] = &[$(
            Row { name: stringify!($name), kind: Kind::$kind, differentiable: binary!(@has $($a)?) },
        )*];
    };
    (@record $out:ident, $x:ident, $y:ident, $name:ident) => {{
        Ok($out)
    }};
    (@record $out:ident, $x:ident, $y:ident, $name:ident,
        |$a:ident, $b:ident, $g:ident| [$($ua:ident)*] $ga:expr, [$($ub:ident)*] $gb:expr) => {{
        let (sx, sy) = ($x.shape(), $y.shape());
        Ok($out.with_grad($name, &[&$x, &$y], |r| {
            let ($a, $b) = (&$x, &$y);
            let _ = ($a, $b, r);
            // only what the wanted gradients use is kept
            let keep_a = $x.requires_grad().then(|| ($(r.save($ua),)*));
            let keep_b = $y.requires_grad().then(|| ($(r.save($ub),)*));
            move |$g: &Tensor| {
                let ga = match &keep_a {
                    Some(($($ua,)*)) => {
                        $(let $ua = $ua.get()?;)*
                        Some($ga.sum_to_size(&sx)?)
                    }
                    None => None,
                };
                let gb = match &keep_b {
                    Some(($($ub,)*)) => {
                        $(let $ub = $ub.get()?;)*
                        Some($gb.sum_to_size(&sy)?)
                    }
                    None => None,
                };
                Ok(Grads::from_iter([ga, gb]))
            }
        }))
    }};
    (@has) => { false };
    (@has $a:ident) => { true };
}

binary! {
    /// `a + b`.
    add add_ Same, |a, b, g| [] g.clone(), [] g.clone();
    /// `a - b`; bools are refused.
    sub sub_ Number, |a, b, g| [] g.clone(), [] g.neg()?;
    /// `a * b`.
    mul mul_ Same, |a, b, g| [b] g.mul(&b)?, [a] g.mul(&a)?;
    /// `a / b`; integers give floats.
    div div_ Float, |a, b, g| [b] g.div(&b)?, [a b] g.mul(&a)?.div(&b.mul(&b)?)?.neg()?;
    /// The remainder with the sign of `b`.
    remainder remainder_ Number, |a, b, g| [] g.clone(), [a b] g.mul(&a.div(&b)?.floor()?)?.neg()?;
    /// Whether `a == b`.
    eq eq_ Truth;
    /// Whether `a != b`.
    ne ne_ Truth;
    /// Whether `a < b`.
    lt lt_ Truth;
    /// Whether `a <= b`.
    le le_ Truth;
    /// Whether `a > b`.
    gt gt_ Truth;
    /// Whether `a >= b`.
    ge ge_ Truth;
}
