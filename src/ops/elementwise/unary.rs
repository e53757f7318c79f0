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
                    #[doc = concat!(
                        "[`Tensor::", stringify!($name), "`] in place.\n\n```\n\
                        let x = calor::Tensor::new([0.5f32], ())?;\n\
                        # let x = if \"", stringify!($kind), "\" == \"Int\" { x.to_dtype(calor::DType::I32)? } else { x };\n\
                        let y = x.", stringify!($name), "()?;\n\
                        assert_eq!(x.", stringify!($inplace), "()?.read_bytes()?, y.read_bytes()?);\n\
                        # Ok::<(), calor::Error>(())\n```"
                    )]
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
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([1.5f32, -2.0], ())?.neg()?.to_vec::<f32>()?, [-1.5, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
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
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([-3.0f32, 0.0, 2.0], ())?.sign()?.to_vec::<f32>()?, [-1.0, 0.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    sign sign_: Same, none _, g => zero(g)?;
    /// [`Tensor::sign`]: they differ for complex numbers only.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([-3.0f32, 0.0, 2.0], ())?.sgn()?.to_vec::<f32>()?, [-1.0, 0.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    sgn sgn_: Same, none _, g => zero(g)?;
    /// Square root.
    ///
    /// ```
    /// assert!((calor::Tensor::new([9], ())?.sqrt()?.item()? - 3.0).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    sqrt sqrt_: Float, y y, g => g.div(&y.mul(2.0)?)?;
    /// `1 / sqrt(x)`.
    ///
    /// ```
    /// assert!((calor::Tensor::new([4.0f32], ())?.rsqrt()?.item()? - 0.5).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    rsqrt rsqrt_: Wide, y y, g => g.mul(&y.pow(3)?)?.mul(-0.5)?;
    /// `1 / x`.
    ///
    /// ```
    /// assert!((calor::Tensor::new([4.0f32], ())?.reciprocal()?.item()? - 0.25).abs() < 1e-6);
    /// # Ok::<(), calor::Error>(())
    /// ```
    reciprocal reciprocal_: Wide, y y, g => g.mul(&y.mul(&y)?)?.neg()?;

    /// `e^x`.
    ///
    /// ```
    /// assert!((calor::Tensor::new([1.0f32], ())?.exp()?.item()? - std::f64::consts::E).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    exp exp_: Wide, y y, g => g.mul(&y)?;
    /// `2^x`.
    ///
    /// ```
    /// assert!((calor::Tensor::new([3.0f32], ())?.exp2()?.item()? - 8.0).abs() < 1e-4);
    /// # Ok::<(), calor::Error>(())
    /// ```
    exp2 exp2_: Float, y y, g => g.mul(&y)?.mul(LN_2)?;
    /// `e^x - 1`, exact near 0.
    ///
    /// ```
    /// assert!((calor::Tensor::new([1e-10f32], ())?.expm1()?.item()? - 1e-10).abs() < 1e-16);
    /// # Ok::<(), calor::Error>(())
    /// ```
    expm1 expm1_: Wide, y y, g => g.mul(&y.add(1.0)?)?;
    /// Natural logarithm.
    ///
    /// ```
    /// assert!((calor::Tensor::new([std::f32::consts::E], ())?.log()?.item()? - 1.0).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    log log_: Wide, x x, g => g.div(&x)?;
    /// Logarithm to base 2.
    ///
    /// ```
    /// assert!((calor::Tensor::new([8.0f32], ())?.log2()?.item()? - 3.0).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    log2 log2_: Wide, x x, g => g.div(&x.mul(LN_2)?)?;
    /// Logarithm to base 10.
    ///
    /// ```
    /// assert!((calor::Tensor::new([100.0f32], ())?.log10()?.item()? - 2.0).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    log10 log10_: Wide, x x, g => g.div(&x.mul(LN_10)?)?;
    /// `log(1 + x)`, exact near 0.
    ///
    /// ```
    /// assert!((calor::Tensor::new([1e-10f32], ())?.log1p()?.item()? - 1e-10).abs() < 1e-16);
    /// # Ok::<(), calor::Error>(())
    /// ```
    log1p log1p_: Wide, x x, g => g.div(&x.add(1.0)?)?;

    /// Sine, radians.
    ///
    /// ```
    /// assert!((calor::Tensor::new([std::f32::consts::FRAC_PI_2], ())?.sin()?.item()? - 1.0).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    sin sin_: Float, x x, g => g.mul(&x.cos()?)?;
    /// Cosine, radians.
    ///
    /// ```
    /// assert!((calor::Tensor::new([std::f32::consts::PI], ())?.cos()?.item()? + 1.0).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    cos cos_: Float, x x, g => g.mul(&x.sin()?)?.neg()?;
    /// Tangent, radians.
    ///
    /// ```
    /// assert!((calor::Tensor::new([std::f32::consts::FRAC_PI_4], ())?.tan()?.item()? - 1.0).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    tan tan_: Wide, y y, g => g.mul(&y.square()?.add(1.0)?)?;
    /// The angle whose sine it is, -pi/2 to pi/2.
    ///
    /// ```
    /// assert!((calor::Tensor::new([1.0f32], ())?.asin()?.item()? - std::f64::consts::FRAC_PI_2).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    asin asin_: Wide, x x, g => g.mul(&x.square()?.neg()?.add(1.0)?.rsqrt()?)?;
    /// The angle whose cosine it is, 0 to pi.
    ///
    /// ```
    /// assert!((calor::Tensor::new([-1.0f32], ())?.acos()?.item()? - std::f64::consts::PI).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    acos acos_: Wide, x x, g => g.mul(&x.square()?.neg()?.add(1.0)?.rsqrt()?)?.neg()?;
    /// The angle whose tangent it is, -pi/2 to pi/2.
    ///
    /// ```
    /// assert!((calor::Tensor::new([1.0f32], ())?.atan()?.item()? - std::f64::consts::FRAC_PI_4).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    atan atan_: Float, x x, g => g.div(&x.square()?.add(1.0)?)?;
    /// Hyperbolic sine.
    ///
    /// ```
    /// assert!((calor::Tensor::new([1.0f32], ())?.sinh()?.item()? - 1f64.sinh()).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    sinh sinh_: Wide, x x, g => g.mul(&x.cosh()?)?;
    /// Hyperbolic cosine.
    ///
    /// ```
    /// assert!((calor::Tensor::new([1.0f32], ())?.cosh()?.item()? - 1f64.cosh()).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    cosh cosh_: Wide, x x, g => g.mul(&x.sinh()?)?;
    /// Hyperbolic tangent.
    ///
    /// ```
    /// let y = calor::Tensor::new([-50.0f32, 0.0, 50.0], ())?.tanh()?;
    /// assert_eq!(y.to_vec::<f32>()?, [-1.0, 0.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    tanh tanh_: Float, y y, g => g.mul(&y.square()?.neg()?.add(1.0)?)?;
    /// Inverse of [`Tensor::sinh`].
    ///
    /// ```
    /// let x = calor::Tensor::new([2.0f32], ())?;
    /// assert!((x.asinh()?.sinh()?.item()? - 2.0).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    asinh asinh_: Float, x x, g => g.mul(&x.square()?.add(1.0)?.rsqrt()?)?;
    /// Inverse of [`Tensor::cosh`], not negative.
    ///
    /// ```
    /// let x = calor::Tensor::new([2.0f32], ())?;
    /// assert!((x.acosh()?.cosh()?.item()? - 2.0).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    acosh acosh_: Float, x x, g => g.mul(&x.square()?.sub(1.0)?.rsqrt()?)?;
    /// Inverse of [`Tensor::tanh`].
    ///
    /// ```
    /// let x = calor::Tensor::new([0.5f32], ())?;
    /// assert!((x.atanh()?.tanh()?.item()? - 0.5).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    atanh atanh_: Float, x x, g => g.div(&x.square()?.neg()?.add(1.0)?)?;
    /// `sin(pi x) / (pi x)`, 1 at 0.
    ///
    /// ```
    /// let y = calor::Tensor::new([0.0f32, 1.0], ())?.sinc()?.to_vec::<f32>()?;
    /// assert!(y[0] == 1.0 && y[1].abs() < 1e-6);
    /// # Ok::<(), calor::Error>(())
    /// ```
    sinc sinc_: Float, x x, g => sinc_gradient(&x, g)?;
    /// Degrees to radians.
    ///
    /// ```
    /// assert!((calor::Tensor::new([180.0f32], ())?.deg2rad()?.item()? - std::f64::consts::PI).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    deg2rad deg2rad_: Float, none _, g => g.mul(PI / 180.0)?;
    /// Radians to degrees.
    ///
    /// ```
    /// assert!((calor::Tensor::new([std::f32::consts::PI], ())?.rad2deg()?.item()? - 180.0).abs() < 1e-3);
    /// # Ok::<(), calor::Error>(())
    /// ```
    rad2deg rad2deg_: Float, none _, g => g.mul(180.0 / PI)?;

    /// The largest integer not above.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([-1.5f32, 1.5], ())?.floor()?.to_vec::<f32>()?, [-2.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    floor floor_: Number, none _, g => zero(g)?;
    /// The smallest integer not below.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([-1.5f32, 1.5], ())?.ceil()?.to_vec::<f32>()?, [-1.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ceil ceil_: Number, none _, g => zero(g)?;
    /// The nearest integer, half to even.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([0.5f32, 1.5, 1.6], ())?.round()?.to_vec::<f32>()?, [0.0, 2.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    round round_: Number, none _, g => zero(g)?;
    /// The integer part.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([-1.5f32, 1.5], ())?.trunc()?.to_vec::<f32>()?, [-1.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    trunc trunc_: Number, none _, g => zero(g)?;
    /// `x - trunc(x)`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([-1.5f32, 1.25], ())?.frac()?.to_vec::<f32>()?, [-0.5, 0.25]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    frac frac_: Real, none _, g => g.clone();

    /// `1 / (1 + e^-x)`.
    ///
    /// ```
    /// let y = calor::Tensor::new([0.0f32, 100.0], ())?.sigmoid()?;
    /// assert_eq!(y.to_vec::<f32>()?, [0.5, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    sigmoid sigmoid_: Float, y y, g => g.mul(&y.neg()?.add(1.0)?)?.mul(&y)?;
    /// Error function.
    ///
    /// ```
    /// let y = calor::Tensor::new([0.0f32, 10.0], ())?.erf()?.to_vec::<f32>()?;
    /// assert!(y[0].abs() < 1e-6 && (y[1] - 1.0).abs() < 1e-6);
    /// # Ok::<(), calor::Error>(())
    /// ```
    erf erf_: Float, x x, g => g.mul(&x.square()?.neg()?.exp()?)?.mul(FRAC_2_SQRT_PI)?;
    /// `1 - erf(x)`, exact for large `x`.
    ///
    /// ```
    /// let y = calor::Tensor::new([0.0f32, 5.0], ())?.erfc()?.to_vec::<f32>()?;
    /// assert!((y[0] - 1.0).abs() < 1e-6 && y[1] > 0.0 && y[1] < 1e-11);
    /// # Ok::<(), calor::Error>(())
    /// ```
    erfc erfc_: Float, x x, g => g.mul(&x.square()?.neg()?.exp()?)?.mul(-FRAC_2_SQRT_PI)?;
    /// Inverse of [`Tensor::erf`].
    ///
    /// ```
    /// let x = calor::Tensor::new([0.5f32], ())?;
    /// assert!((x.erfinv()?.erf()?.item()? - 0.5).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    erfinv erfinv_: Wide, y y, g => g.mul(&y.square()?.exp()?)?.mul(1.0 / FRAC_2_SQRT_PI)?;
    /// Logarithm of the absolute gamma function.
    ///
    /// ```
    /// assert!((calor::Tensor::new([5.0f32], ())?.lgamma()?.item()? - 24f64.ln()).abs() < 1e-4);
    /// # Ok::<(), calor::Error>(())
    /// ```
    lgamma lgamma_: Float, x x, g => g.mul(&x.digamma()?)?;
    /// Derivative of [`Tensor::lgamma`].
    ///
    /// ```
    /// // the Euler-Mascheroni constant, negative
    /// assert!((calor::Tensor::new([1.0f32], ())?.digamma()?.item()? + 0.5772157).abs() < 1e-4);
    /// # Ok::<(), calor::Error>(())
    /// ```
    digamma digamma_: Float, x x, g => g.mul(&x.polygamma(1)?)?;
    /// Modified Bessel function of the first kind, order 0.
    ///
    /// ```
    /// assert!((calor::Tensor::new([1.0f32], ())?.i0()?.item()? - 1.2660659).abs() < 1e-4);
    /// # Ok::<(), calor::Error>(())
    /// ```
    i0 i0_: Float, x x, g => g.mul(&x.i1()?)?;
    /// Modified Bessel function of the first kind, order 1: `torch.special.i1`.
    ///
    /// ```
    /// assert!((calor::Tensor::new([1.0f32], ())?.i1()?.item()? - 0.5651591).abs() < 1e-4);
    /// # Ok::<(), calor::Error>(())
    /// ```
    i1: Float, x x, g => g.mul(&i1_slope(&x)?)?;
    /// `-x log(x)`, 0 at 0, -inf below: `torch.special.entr`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([0.0f32, -1.0], ())?.entr()?.to_vec::<f32>()?, [0.0, f32::NEG_INFINITY]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    entr: Float, x x, g => g.mul(&x.log()?.neg()?.sub(1.0)?)?;

    /// Every bit flipped; not for floats.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([0, 5], ())?.bitwise_not()?.to_vec::<i32>()?, [-1, -6]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    bitwise_not bitwise_not_: Int;
    /// Whether an element is zero.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([0, 5], ())?.logical_not()?.to_vec::<bool>()?, [true, false]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    logical_not: Truth;
    /// Whether an element is NaN.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([f32::NAN, 1.0], ())?.isnan()?.to_vec::<bool>()?, [true, false]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    isnan: Truth;
    /// Whether an element is infinite.
    ///
    /// ```
    /// let x = calor::Tensor::new([f32::NEG_INFINITY, f32::NAN], ())?;
    /// assert_eq!(x.isinf()?.to_vec::<bool>()?, [true, false]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    isinf: Truth;
    /// Whether an element is neither infinite nor NaN.
    ///
    /// ```
    /// let x = calor::Tensor::new([f32::INFINITY, f32::NAN, 1.0], ())?;
    /// assert_eq!(x.isfinite()?.to_vec::<bool>()?, [false, false, true]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    isfinite: Truth;
    /// Whether an element is positive infinity.
    ///
    /// ```
    /// let x = calor::Tensor::new([f32::INFINITY, f32::NEG_INFINITY], ())?;
    /// assert_eq!(x.isposinf()?.to_vec::<bool>()?, [true, false]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    isposinf: Truth;
    /// Whether an element is negative infinity.
    ///
    /// ```
    /// let x = calor::Tensor::new([f32::INFINITY, f32::NEG_INFINITY], ())?;
    /// assert_eq!(x.isneginf()?.to_vec::<bool>()?, [false, true]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    isneginf: Truth;
    /// Whether the sign bit is set, of zeros and NaN too.
    ///
    /// ```
    /// let x = calor::Tensor::new([-0.0f32, 0.0, -1.0], ())?;
    /// assert_eq!(x.signbit()?.to_vec::<bool>()?, [true, false, true]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    signbit: Truth;
}

fn sinc_gradient(x: &Tensor, g: &Tensor) -> Result<Tensor> {
    let px = x.mul(PI)?;
    let d = px.mul(x)?;
    let slope = px.mul(&px.cos()?)?.sub(&px.sin()?)?.div(&d)?;
    super::except(&d.eq(0.0)?, &g.mul(&slope)?)
}

fn i1_slope(x: &Tensor) -> Result<Tensor> {
    let near = x.abs()?.le(f64::from(f32::EPSILON))?;
    let safe = near.where_(f64::from(f32::EPSILON), x)?;
    near.where_(0.5, safe.i0()?.sub(&safe.i1()?.div(&safe)?)?)
}

impl Tensor {
    /// This tensor; bools are refused.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([-1.5f32], ())?.positive()?.item()?, -1.5);
    /// assert!(calor::Tensor::new([true], ())?.positive().is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn positive(&self) -> Result<Tensor> {
        Kind::Number.dtypes("positive", self.dtype())?;
        Ok(self.clone())
    }

    /// `x * x`; bools give `i32`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([-3.0f32, 2.0], ())?.square()?.to_vec::<f32>()?, [9.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
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
    ///
    /// ```
    /// let x = calor::Tensor::new([0.0f32, 5.0], ())?;
    /// assert_eq!(x.logical_not_()?.to_vec::<f32>()?, [1.0, 0.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn logical_not_(&self) -> Result<Tensor> {
        self.check_writable("logical_not_")?;
        crate::no_grad(|| self.modify("logical_not_", Tensor::logical_not))
    }

    /// [`Tensor::square`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([-3.0f32, 2.0], ())?;
    /// x.square_()?;
    /// assert_eq!(x.to_vec::<f32>()?, [9.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn square_(&self) -> Result<Tensor> {
        self.modify("square_", Tensor::square)
    }

    /// Rounded to that many decimals, or for a negative number to a power of ten.
    ///
    /// ```
    /// let x = calor::Tensor::new([16.25f32], ())?;
    /// assert!((x.round_decimals(1)?.item()? - 16.2).abs() < 1e-5);
    /// assert_eq!(x.round_decimals(-1)?.item()?, 20.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn round_decimals(&self, decimals: i32) -> Result<Tensor> {
        let (x, _) = operand("round", Kind::Number, self)?;
        if decimals == 0 || !x.dtype().is_float() {
            return x.round();
        }
        let ten = 10f64.powi(decimals.saturating_abs());
        let out =
            crate::no_grad(
                || {
                    if decimals > 0 { x.mul(ten)?.round()?.div(ten) } else { x.div(ten)?.round()?.mul(ten) }
                },
            )?;
        Ok(out.with_grad("round", &[&x], |_| move |g: &Tensor| Ok(Grads::from_iter([Some(zero(g)?)]))))
    }

    /// [`Tensor::round_decimals`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([16.25f32], ())?;
    /// assert_eq!(x.round_decimals_(-1)?.item()?, 20.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn round_decimals_(&self, decimals: i32) -> Result<Tensor> {
        self.modify("round_", |x| x.round_decimals(decimals))
    }
}
