//! Functions of two tensors or a tensor and a number, with broadcasting and type promotion: a row each.

use super::{Kind, except, map_n, only, operands, zero};
use crate::error::Result;
use crate::ops::arg::Arg;
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;
use std::f64::consts::LN_2;

/// Rows: docs, names, dtypes, and both gradients: in brackets the operands (`a`, `b`) or the output (`y`) that each
/// one uses.
macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident $($inplace:ident)? : $kind:ident
        $(, $g:ident => [$($ua:ident)*] $ga:expr, [$($ub:ident)*] $gb:expr)?;)*) => {
        impl Tensor {
            $(
                $(#[$doc])*
                pub fn $name(&self, other: impl Into<Arg>) -> Result<Tensor> {
                    $name(self, other)
                }

                $(
                    #[doc = concat!(
                        "[`Tensor::", stringify!($name), "`] in place.\n\n```\n\
                        let x = calor::Tensor::new([6.0f32, 3.0], ())?;\n\
                        # let x = if matches!(\"", stringify!($kind), "\", \"Int\" | \"Whole\") { x.int()? } else { x };\n\
                        let y = x.", stringify!($name), "(2)?.type_as(&x)?;\n\
                        assert_eq!(x.", stringify!($inplace), "(2)?.read_bytes()?, y.read_bytes()?);\n\
                        # Ok::<(), calor::Error>(())\n```"
                    )]
                    pub fn $inplace(&self, other: impl Into<Arg>) -> Result<Tensor> {
                        let other = other.into();
                        self.modify(stringify!($inplace), |x| x.$name(other))
                    }
                )?
            )*
        }

        $(
            #[doc = concat!(
                "[`Tensor::", stringify!($name), "`] with either side a tensor or a number.\n\n```\n\
                let x = calor::Tensor::new([6, 3], ())?;\n\
                # let x = if \"", stringify!($kind), "\" == \"Real\" { x.float()? } else { x };\n\
                let y = calor::", stringify!($name), "(12, &x)?;\n\
                assert_eq!(y.read_bytes()?, x.full_like(12)?.", stringify!($name), "(&x)?.read_bytes()?);\n\
                # Ok::<(), calor::Error>(())\n```"
            )]
            pub fn $name(a: impl Into<Arg>, b: impl Into<Arg>) -> Result<Tensor> {
                let name = stringify!($name);
                let (x, y, dtype) = operands(name, Kind::$kind, a.into(), b.into())?;
                let out = map_n(name, dtype, &[&x, &y])?;
                binary!(@record out, x, y, name $(, $g => [$($ua)*] $ga, [$($ub)*] $gb)?)
            }
        )*

        /// Every row of the table.
        #[cfg(test)]
        pub(super) const BINARY: &[super::Row] = &[$(
            super::Row { name: stringify!($name), kind: Kind::$kind, differentiable: binary!(@has $($g)?) },
        )*];
    };
    (@record $out:ident, $x:ident, $y:ident, $name:ident) => {{
        Ok($out)
    }};
    (@record $out:ident, $x:ident, $y:ident, $name:ident,
        $g:ident => [$($ua:ident)*] $ga:expr, [$($ub:ident)*] $gb:expr) => {{
        Ok($out.with_grad($name, &[&$x, &$y], |r| {
            let _ = r;
            let (sx, sy) = ($x.shape(), $y.shape());
            let (dx, dy) = ($x.dtype(), $y.dtype());
            // only what the wanted gradients use is kept
            let keep_a = $x.requires_grad().then(|| ($(binary!(@save r, $x, $y, $ua),)*));
            let keep_b = $y.requires_grad().then(|| ($(binary!(@save r, $x, $y, $ub),)*));
            move |$g: &Tensor| {
                let ga = match &keep_a {
                    Some(($($ua,)*)) => {
                        $(let $ua = $ua.get()?;)*
                        Some($ga.fit(&sx, dx)?)
                    }
                    None => None,
                };
                let gb = match &keep_b {
                    Some(($($ub,)*)) => {
                        $(let $ub = $ub.get()?;)*
                        Some($gb.fit(&sy, dy)?)
                    }
                    None => None,
                };
                Ok(Grads::from_iter([ga, gb]))
            }
        }))
    }};
    (@save $r:ident, $x:ident, $y:ident, a) => { $r.save(&$x) };
    (@save $r:ident, $x:ident, $y:ident, b) => { $r.save(&$y) };
    (@save $r:ident, $x:ident, $y:ident, y) => { $r.output() };
    (@has) => { false };
    (@has $g:ident) => { true };
}

binary! {
    /// `a + b`.
    ///
    /// ```
    /// use calor::Tensor;
    /// let x = Tensor::new([[1.0f32], [2.0]], ())?;
    /// let y = Tensor::new([10.0f32, 20.0], ())?;
    /// assert_eq!(x.add(&y)?.to_vec::<f32>()?, [11.0, 21.0, 12.0, 22.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    add add_: Same, g => [] g.clone(), [] g.clone();
    /// `a - b`; bools are refused.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([5, 3], ())?.sub(1)?.to_vec::<i32>()?, [4, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    sub sub_: Number, g => [] g.clone(), [] g.neg()?;
    /// `a * b`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([5, 3], ())?.mul(2)?.to_vec::<i32>()?, [10, 6]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    mul mul_: Same, g => [b] g.mul(&b)?, [a] g.mul(&a)?;
    /// `a / b`; integers give floats.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([5, 3], ())?.div(2)?.to_vec::<f32>()?, [2.5, 1.5]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    div div_: Float, g => [b] g.div(&b)?, [a b] g.mul(&a.div(&b)?.div(&b)?)?.neg()?;
    /// The remainder with the sign of `b`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([-5, 5], ())?.remainder(3)?.to_vec::<i32>()?, [1, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    remainder remainder_: Number, g => [] g.clone(), [a b] g.mul(&a.floor_divide(&b)?)?.neg()?;
    /// The remainder with the sign of `a`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([-5, 5], ())?.fmod(3)?.to_vec::<i32>()?, [-2, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fmod fmod_: Number, g => [] g.clone(), [a b] g.mul(&a.div(&b)?.trunc()?)?.neg()?;
    /// `a / b` rounded down; an integer divided by 0 gives 0.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([-5, 5], ())?.floor_divide(3)?.to_vec::<i32>()?, [-2, 1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    floor_divide floor_divide_: Number, g => [] zero(g)?, [] zero(g)?;

    /// The larger one, NaN if either is; equal ones share the gradient.
    ///
    /// ```
    /// let y = calor::Tensor::new([1.0f32, f32::NAN], ())?.maximum(2.0)?.to_vec::<f32>()?;
    /// assert!(y[0] == 2.0 && y[1].is_nan());
    /// # Ok::<(), calor::Error>(())
    /// ```
    maximum: Same, g => [a b] except(&a.lt(&b)?, &half(&a, &b, g)?)?, [a b] except(&a.gt(&b)?, &half(&a, &b, g)?)?;
    /// The smaller one, NaN if either is; equal ones share the gradient.
    ///
    /// ```
    /// let y = calor::Tensor::new([1.0f32, f32::NAN], ())?.minimum(2.0)?.to_vec::<f32>()?;
    /// assert!(y[0] == 1.0 && y[1].is_nan());
    /// # Ok::<(), calor::Error>(())
    /// ```
    minimum: Same, g => [a b] except(&a.gt(&b)?, &half(&a, &b, g)?)?, [a b] except(&a.lt(&b)?, &half(&a, &b, g)?)?;
    /// The larger one, or the other one where one is NaN; equal ones share the gradient.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([1.0f32, f32::NAN], ())?.fmax(2.0)?.to_vec::<f32>()?, [2.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fmax: Same, g =>
        [a b] only(&a.ge(&b)?.logical_or(&b.isnan()?)?, &half(&a, &b, g)?)?,
        [a b] except(&a.gt(&b)?.logical_or(&b.isnan()?)?, &half(&a, &b, g)?)?;
    /// The smaller one, or the other one where one is NaN; equal ones share the gradient.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([1.0f32, f32::NAN], ())?.fmin(2.0)?.to_vec::<f32>()?, [1.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fmin: Same, g =>
        [a b] only(&a.le(&b)?.logical_or(&b.isnan()?)?, &half(&a, &b, g)?)?,
        [a b] except(&a.lt(&b)?.logical_or(&b.isnan()?)?, &half(&a, &b, g)?)?;
    /// The absolute value of `a` with the sign of `b`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([1.0f32, -2.0], ())?.copysign(-0.0)?.to_vec::<f32>()?, [-1.0, -2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    copysign copysign_: Float, g => [a y] except(&a.eq(0.0)?, &g.mul(&y.div(&a)?)?)?, [] zero(g)?;
    /// 0 where `a < 0`, 1 where `a > 0`, `b` where it is 0.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([-3.0f32, 0.0, 3.0], ())?.heaviside(0.5)?.to_vec::<f32>()?, [0.0, 0.5, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    heaviside heaviside_: Same;
    /// The angle of the point `(b, a)`, -pi to pi.
    ///
    /// ```
    /// let angle = calor::Tensor::new([1.0f32], ())?.atan2(-1.0)?;
    /// assert!((angle.item()? - 0.75 * std::f64::consts::PI).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    atan2 atan2_: Float, g =>
        [a b] g.mul(&turned(&b, &a, &b)?)?, [a b] g.mul(&turned(&a, &a, &b)?)?.neg()?;
    /// `sqrt(a^2 + b^2)` without overflow.
    ///
    /// ```
    /// assert!((calor::Tensor::new([3.0f32], ())?.hypot(4.0)?.item()? - 5.0).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    hypot hypot_: Real, g => [a y] g.mul(&a.div(&y)?)?, [b y] g.mul(&b.div(&y)?)?;
    /// `log(e^a + e^b)` without overflow.
    ///
    /// ```
    /// assert!((calor::Tensor::new([100.0f32], ())?.logaddexp(100.0)?.item()? - (100.0 + 2f64.ln())).abs() < 1e-4);
    /// # Ok::<(), calor::Error>(())
    /// ```
    logaddexp: Real, g => [a b] g.mul(&share(&a, &b, 1.0)?)?, [a b] g.mul(&share(&b, &a, 1.0)?)?;
    /// `log2(2^a + 2^b)` without overflow.
    ///
    /// ```
    /// assert!((calor::Tensor::new([200.0f32], ())?.logaddexp2(200.0)?.item()? - 201.0).abs() < 1e-3);
    /// # Ok::<(), calor::Error>(())
    /// ```
    logaddexp2: Real, g => [a b] g.mul(&share(&a, &b, LN_2)?)?, [a b] g.mul(&share(&b, &a, LN_2)?)?;
    /// `a log(b)`, 0 where `a` is 0, unless `b` is NaN.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([0.0f32, 2.0], ())?.xlogy(1.0)?.to_vec::<f32>()?, [0.0, 0.0]);
    /// assert_eq!(calor::Tensor::new([0.0f32], ())?.xlogy(0.0)?.item()?, 0.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    xlogy xlogy_: Float, g =>
        [a b] except(&a.eq(0.0)?.logical_and(&b.le(0.0)?)?, &g.xlogy(&b)?)?, [a b] g.mul(&a)?.div(&b)?;
    /// `a log(1 + b)`, 0 where `a` is 0, unless `b` is NaN: `torch.special.xlog1py`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([0.0f32], ())?.xlog1py(-1.0)?.item()?, 0.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    xlog1py: Float, g =>
        [a b] except(&a.eq(0.0)?.logical_and(&b.le(-1.0)?)?, &g.xlog1py(&b)?)?, [a b] g.mul(&a)?.div(&b.add(1.0)?)?;

    /// Greatest common divisor, not negative.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([12, -18], ())?.gcd(8)?.to_vec::<i32>()?, [4, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    gcd gcd_: Whole;
    /// Least common multiple, not negative.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([4, -6], ())?.lcm(10)?.to_vec::<i32>()?, [20, 30]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    lcm lcm_: Whole;
    /// Bits set in both; not for floats.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([6, 3], ())?.bitwise_and(5)?.to_vec::<i32>()?, [4, 1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    bitwise_and bitwise_and_: Int;
    /// Bits set in either; not for floats.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([6, 3], ())?.bitwise_or(5)?.to_vec::<i32>()?, [7, 7]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    bitwise_or bitwise_or_: Int;
    /// Bits set in one; not for floats.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([6, 3], ())?.bitwise_xor(5)?.to_vec::<i32>()?, [3, 6]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    bitwise_xor bitwise_xor_: Int;
    /// `a` times `2^b`, in bits; 0 for shifts outside the width.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([1, 3], ())?.bitwise_left_shift(4)?.to_vec::<i32>()?, [16, 48]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    bitwise_left_shift bitwise_left_shift_: Whole;
    /// Bits of `a` moved down, with copies of the sign.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([16, -16], ())?.bitwise_right_shift(2)?.to_vec::<i32>()?, [4, -4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    bitwise_right_shift bitwise_right_shift_: Whole;
    /// Whether both are not zero.
    ///
    /// ```
    /// let (x, y) = (calor::Tensor::new([0, 2, 3], ())?, calor::Tensor::new([0, 0, 1], ())?);
    /// assert_eq!(x.logical_and(&y)?.to_vec::<bool>()?, [false, false, true]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    logical_and logical_and_: Logic;
    /// Whether either is not zero.
    ///
    /// ```
    /// let (x, y) = (calor::Tensor::new([0, 2, 3], ())?, calor::Tensor::new([0, 0, 1], ())?);
    /// assert_eq!(x.logical_or(&y)?.to_vec::<bool>()?, [false, true, true]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    logical_or logical_or_: Logic;
    /// Whether just one is not zero.
    ///
    /// ```
    /// let (x, y) = (calor::Tensor::new([0, 2, 3], ())?, calor::Tensor::new([0, 0, 1], ())?);
    /// assert_eq!(x.logical_xor(&y)?.to_vec::<bool>()?, [false, true, false]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    logical_xor logical_xor_: Logic;

    /// Whether `a == b`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([1, 2, 3], ())?.eq(2)?.to_vec::<bool>()?, [false, true, false]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    eq eq_: Truth;
    /// Whether `a != b`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([1, 2, 3], ())?.ne(2)?.to_vec::<bool>()?, [true, false, true]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ne ne_: Truth;
    /// Whether `a < b`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([1, 2, 3], ())?.lt(2)?.to_vec::<bool>()?, [true, false, false]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    lt lt_: Truth;
    /// Whether `a <= b`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([1, 2, 3], ())?.le(2)?.to_vec::<bool>()?, [true, true, false]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    le le_: Truth;
    /// Whether `a > b`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([1, 2, 3], ())?.gt(2)?.to_vec::<bool>()?, [false, false, true]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    gt gt_: Truth;
    /// Whether `a >= b`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([1, 2, 3], ())?.ge(2)?.to_vec::<bool>()?, [false, true, true]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ge ge_: Truth;
}

/// Half the gradient at ties.
fn half(a: &Tensor, b: &Tensor, g: &Tensor) -> Result<Tensor> {
    a.eq(b)?.where_(g.div(2.0)?, g)
}

/// `x / (a^2 + b^2)`, 0 where that is 0 in every digit.
fn turned(x: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let square = a.square()?.add(&b.square()?)?;
    except(&square.eq(0.0)?, &x.div(&square)?)
}

/// `1 / (1 + e^(scale (b - a)))`: the part of `a` in a sum of powers; half where both are the same infinity.
fn share(a: &Tensor, b: &Tensor, scale: f64) -> Result<Tensor> {
    except(&a.eq(b)?, &a.sub(b)?.mul(scale)?)?.sigmoid()
}
