//! Functions of one tensor: a row each.

use super::{Kind, map_n, operand, zero};
use crate::error::Result;
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;
use std::f64::consts::{FRAC_2_SQRT_PI, LN_2, LN_10, PI};

/// Rows: docs, names, dtypes, and the gradient from the input `x`, the output `y`, or none of them.
macro_rules! unary {
    ($table:ident: $($(#[$doc:meta])* $name:ident $($inplace:ident)? : $kind:ident
        $(, $what:ident $v:pat, $g:ident => $grad:expr)?;)*) => {
        impl $crate::tensor::Tensor {
            $(
                $(#[$doc])*
                pub fn $name(&self) -> $crate::error::Result<$crate::tensor::Tensor> {
                    let name = stringify!($name);
                    let (input, dtype) = $crate::ops::elementwise::operand(
                        name, $crate::ops::elementwise::Kind::$kind, self)?;
                    let out = $crate::ops::elementwise::map_n(name, dtype, &[&input])?;
                    $crate::ops::elementwise::unary::unary!(@record out, input, name $(, $what $v, $g => $grad)?)
                }

                $(
                    #[doc = concat!("[`Tensor::", stringify!($name), "`] in place.")]
                    pub fn $inplace(&self) -> $crate::error::Result<$crate::tensor::Tensor> {
                        self.modify(stringify!($inplace), $crate::tensor::Tensor::$name)
                    }
                )?
            )*
        }

        /// Every row of the table.
        #[cfg(test)]
        pub(super) const $table: &[$crate::ops::elementwise::Row] = &[$(
            $crate::ops::elementwise::Row {
                name: stringify!($name),
                kind: $crate::ops::elementwise::Kind::$kind,
                differentiable: $crate::ops::elementwise::unary::unary!(@has $($what)?),
            },
        )*];
    };
    (@record $out:ident, $x:ident, $name:ident) => {
        Ok($out)
    };
    (@record $out:ident, $x:ident, $name:ident, x $v:pat, $g:ident => $grad:expr) => {
        Ok($out.with_grad($name, &[&$x], |r| {
            let saved = r.save(&$x);
            move |$g: &$crate::tensor::Tensor| {
                let $v = saved.get()?;
                Ok($crate::tensor::grad::Grads::from_iter([Some($grad)]))
            }
        }))
    };
    (@record $out:ident, $x:ident, $name:ident, y $v:pat, $g:ident => $grad:expr) => {
        Ok($out.with_grad($name, &[&$x], |r| {
            let saved = r.output();
            move |$g: &$crate::tensor::Tensor| {
                let $v = saved.get()?;
                Ok($crate::tensor::grad::Grads::from_iter([Some($grad)]))
            }
        }))
    };
    (@record $out:ident, $x:ident, $name:ident, none $v:pat, $g:ident => $grad:expr) => {
        Ok($out.with_grad($name, &[&$x], |_| {
            move |$g: &$crate::tensor::Tensor| Ok($crate::tensor::grad::Grads::from_iter([Some($grad)]))
        }))
    };
    (@has) => { false };
    (@has $what:ident) => { true };
}
pub(super) use unary;

unary! { UNARY:
    /// `-x`.
    neg neg_: Number, none _, g => g.neg()?;
    /// `|x|`; the gradient at 0 is 0.
    ///
    /// ```
    /// let x = calor::Tensor::new([-1.5f32, 2.0], ())?;
    /// assert_eq!(x.abs()?.to_vec::<f32>()?, [1.5, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    abs abs_: Same, x x, g => g.mul(&x.sgn()?)?;
    /// -1, 0 or 1 by sign; 0 at NaN.
    sign sign_: Same, none _, g => zero(g)?;
    /// [`Tensor::sign`]: they differ for complex numbers only.
    sgn sgn_: Same, none _, g => zero(g)?;
    /// Square root.
    sqrt sqrt_: Float, y y, g => g.div(&y.mul(2.0)?)?;
    /// `1 / sqrt(x)`.
    rsqrt rsqrt_: Wide, y y, g => g.mul(&y.pow(3)?)?.mul(-0.5)?;
    /// `1 / x`.
    reciprocal reciprocal_: Wide, y y, g => g.mul(&y.mul(&y)?)?.neg()?;

    /// `e^x`.
    exp exp_: Wide, y y, g => g.mul(&y)?;
    /// `2^x`.
    exp2 exp2_: Float, y y, g => g.mul(&y)?.mul(LN_2)?;
    /// `e^x - 1`, exact near 0.
    expm1 expm1_: Wide, y y, g => g.mul(&y.add(1.0)?)?;
    /// Natural logarithm.
    log log_: Wide, x x, g => g.div(&x)?;
    /// Logarithm to base 2.
    log2 log2_: Wide, x x, g => g.div(&x.mul(LN_2)?)?;
    /// Logarithm to base 10.
    log10 log10_: Wide, x x, g => g.div(&x.mul(LN_10)?)?;
    /// `log(1 + x)`, exact near 0.
    log1p log1p_: Wide, x x, g => g.div(&x.add(1.0)?)?;

    /// Sine, radians.
    sin sin_: Float, x x, g => g.mul(&x.cos()?)?;
    /// Cosine, radians.
    cos cos_: Float, x x, g => g.mul(&x.sin()?)?.neg()?;
    /// Tangent, radians.
    tan tan_: Wide, y y, g => g.mul(&y.square()?.add(1.0)?)?;
    /// The angle whose sine it is, -pi/2 to pi/2.
    asin asin_: Wide, x x, g => g.mul(&x.square()?.neg()?.add(1.0)?.rsqrt()?)?;
    /// The angle whose cosine it is, 0 to pi.
    acos acos_: Wide, x x, g => g.mul(&x.square()?.neg()?.add(1.0)?.rsqrt()?)?.neg()?;
    /// The angle whose tangent it is, -pi/2 to pi/2.
    atan atan_: Float, x x, g => g.div(&x.square()?.add(1.0)?)?;
    /// Hyperbolic sine.
    sinh sinh_: Wide, x x, g => g.mul(&x.cosh()?)?;
    /// Hyperbolic cosine.
    cosh cosh_: Wide, x x, g => g.mul(&x.sinh()?)?;
    /// Hyperbolic tangent.
    tanh tanh_: Float, y y, g => g.mul(&y.square()?.neg()?.add(1.0)?)?;
    /// Inverse of [`Tensor::sinh`].
    asinh asinh_: Float, x x, g => g.mul(&x.square()?.add(1.0)?.rsqrt()?)?;
    /// Inverse of [`Tensor::cosh`], not negative.
    acosh acosh_: Float, x x, g => g.mul(&x.square()?.sub(1.0)?.rsqrt()?)?;
    /// Inverse of [`Tensor::tanh`].
    atanh atanh_: Float, x x, g => g.div(&x.square()?.neg()?.add(1.0)?)?;
    /// `sin(pi x) / (pi x)`, 1 at 0.
    sinc sinc_: Float, x x, g => sinc_gradient(&x, g)?;
    /// Degrees to radians.
    deg2rad deg2rad_: Float, none _, g => g.mul(PI / 180.0)?;
    /// Radians to degrees.
    rad2deg rad2deg_: Float, none _, g => g.mul(180.0 / PI)?;

    /// The largest integer not above.
    floor floor_: Number, none _, g => zero(g)?;
    /// The smallest integer not below.
    ceil ceil_: Number, none _, g => zero(g)?;
    /// The nearest integer, half to even.
    round round_: Number, none _, g => zero(g)?;
    /// The integer part.
    trunc trunc_: Number, none _, g => zero(g)?;
    /// `x - trunc(x)`.
    frac frac_: Real, none _, g => g.clone();

    /// `1 / (1 + e^-x)`.
    sigmoid sigmoid_: Float, y y, g => g.mul(&y.neg()?.add(1.0)?)?.mul(&y)?;
    /// Error function.
    erf erf_: Float, x x, g => g.mul(&x.square()?.neg()?.exp()?)?.mul(FRAC_2_SQRT_PI)?;
    /// `1 - erf(x)`, exact for large `x`.
    erfc erfc_: Float, x x, g => g.mul(&x.square()?.neg()?.exp()?)?.mul(-FRAC_2_SQRT_PI)?;
    /// Inverse of [`Tensor::erf`].
    erfinv erfinv_: Wide, y y, g => g.mul(&y.square()?.exp()?)?.mul(1.0 / FRAC_2_SQRT_PI)?;
    /// Logarithm of the absolute gamma function.
    lgamma lgamma_: Float, x x, g => g.mul(&x.digamma()?)?;
    /// Derivative of [`Tensor::lgamma`].
    digamma digamma_: Float, x x, g => g.mul(&x.polygamma(1)?)?;
    /// Modified Bessel function of the first kind, order 0.
    i0 i0_: Float, x x, g => g.mul(&x.i1()?)?;
    /// Modified Bessel function of the first kind, order 1: `torch.special.i1`.
    i1: Float, x x, g => g.mul(&i1_slope(&x)?)?;
    /// `-x log(x)`, 0 at 0, -inf below: `torch.special.entr`.
    entr: Float, x x, g => g.mul(&x.log()?.neg()?.sub(1.0)?)?;

    /// Every bit flipped; not for floats.
    bitwise_not bitwise_not_: Int;
    /// Whether an element is zero.
    logical_not: Truth;
    /// Whether an element is NaN.
    isnan: Truth;
    /// Whether an element is infinite.
    isinf: Truth;
    /// Whether an element is neither infinite nor NaN.
    isfinite: Truth;
    /// Whether an element is positive infinity.
    isposinf: Truth;
    /// Whether an element is negative infinity.
    isneginf: Truth;
    /// Whether the sign bit is set, of zeros and NaN too.
    signbit: Truth;
}

fn sinc_gradient(x: &Tensor, g: &Tensor) -> Result<Tensor> {
    let px = x.mul(PI)?;
    let d = px.mul(x)?;
    let slope = px.mul(&px.cos()?)?.sub(&px.sin()?)?.div(&d)?;
    super::except(&d.eq(0.0)?, &g.mul(&slope)?)
}

fn i1_slope(x: &Tensor) -> Result<Tensor> {
    let far = x.abs()?.gt(f64::from(f32::EPSILON))?;
    let safe = far.where_(x, f64::from(f32::EPSILON))?;
    far.where_(safe.i0()?.sub(&safe.i1()?.div(&safe)?)?, 0.5)
}

impl Tensor {
    /// This tensor; bools are refused.
    pub fn positive(&self) -> Result<Tensor> {
        Kind::Number.dtypes("positive", self.dtype())?;
        Ok(self.clone())
    }

    /// `x * x`; bools give `i32`.
    pub fn square(&self) -> Result<Tensor> {
        let dtype = if self.dtype().is_float() || self.dtype().is_int() { self.dtype() } else { self.dtype().to_sum() };
        let (x, dtype) = operand("square", Kind::Same, &self.to_dtype(dtype)?)?;
        let out = map_n("square", dtype, &[&x])?;
        Ok(out.with_grad("square", &[&x], |r| {
            let x = r.save(&x);
            move |g: &Tensor| Ok(Grads::from_iter([Some(g.mul(&x.get()?)?.mul(2.0)?)]))
        }))
    }

    /// [`Tensor::logical_not`] in place; a float tensor's history stays as it was, as in PyTorch.
    pub fn logical_not_(&self) -> Result<Tensor> {
        self.check_writable("logical_not_")?;
        crate::no_grad(|| self.modify("logical_not_", Tensor::logical_not))
    }

    /// [`Tensor::square`] in place.
    pub fn square_(&self) -> Result<Tensor> {
        self.modify("square_", Tensor::square)
    }

    /// Rounded to that many decimals, or for a negative number to a power of ten.
    pub fn round_decimals(&self, decimals: i32) -> Result<Tensor> {
        let (x, _) = operand("round", Kind::Number, self)?;
        if decimals == 0 || !x.dtype().is_float() {
            return x.round();
        }
        let ten = 10f64.powi(decimals.abs());
        let out =
            crate::no_grad(
                || {
                    if decimals > 0 { x.mul(ten)?.round()?.div(ten) } else { x.div(ten)?.round()?.mul(ten) }
                },
            )?;
        Ok(out.with_grad("round", &[&x], |_| move |g: &Tensor| Ok(Grads::from_iter([Some(zero(g)?)]))))
    }

    /// [`Tensor::round_decimals`] in place.
    pub fn round_decimals_(&self, decimals: i32) -> Result<Tensor> {
        self.modify("round_", |x| x.round_decimals(decimals))
    }
}
