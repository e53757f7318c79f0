//! Pointwise operations at their edges (NaN, infinities, large arguments, ties, limits) and as operators.

#![allow(clippy::approx_constant, reason = "the rows hold numbers as they were computed")]

use calor::autograd::{gradcheck, gradgradcheck};
use calor::gpu::AdapterChoice;
use calor::{DType, Device, Result, Rounding, Tensor};

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

fn new(values: &[f32]) -> Result<Tensor> {
    Tensor::new(values.to_vec(), ())
}

fn near(got: f32, want: f32) -> bool {
    (got.is_nan() && want.is_nan()) || got == want || (got - want).abs() <= 1e-6 + 1e-5 * want.abs()
}

/// Rows: a function and its values at `AT`, computed by numpy and scipy in double precision.
macro_rules! rows {
    ($(($name:ident, $want:expr),)*) => {
        type Function = fn(&Tensor) -> Result<Tensor>;
        const ROWS: &[(&str, Function, [f32; AT.len()])] = &[$((stringify!($name), Tensor::$name, $want)),*];
    };
}

const AT: [f32; 10] = [0.0, INF, -INF, NAN, 1e10, -1e10, 0.5, -2.5, 88.5, -104.0];

#[rustfmt::skip]
rows! {
    (abs, [0.0, INF, INF, NAN, 1e10, 1e10, 0.5, 2.5, 88.5, 104.0]),
    (acos, [1.5707964, NAN, NAN, NAN, NAN, NAN, 1.0471976, NAN, NAN, NAN]),
    (acosh, [NAN, INF, NAN, NAN, 23.718998, NAN, NAN, NAN, 5.176118, NAN]),
    (asin, [0.0, NAN, NAN, NAN, NAN, NAN, 0.5235988, NAN, NAN, NAN]),
    (asinh, [0.0, INF, -INF, NAN, 23.718998, -23.718998, 0.4812118, -1.6472311, 5.176182, -5.337561]),
    (atan, [0.0, 1.5707964, -1.5707964, NAN, 1.5707964, -1.5707964, 0.4636476, -1.19029, 1.5594974, -1.5611812]),
    (atanh, [0.0, NAN, NAN, NAN, NAN, NAN, 0.54930615, NAN, NAN, NAN]),
    (ceil, [0.0, INF, -INF, NAN, 1e10, -1e10, 1.0, -2.0, 89.0, -104.0]),
    (cos, [1.0, NAN, NAN, NAN, 0.87311965, 0.87311965, 0.87758255, -0.8011436, 0.8600617, -0.946868]),
    (cosh, [1.0, INF, INF, NAN, INF, INF, 1.127626, 6.1322894, 1.361544e38, INF]),
    (deg2rad, [0.0, INF, -INF, NAN, 1.7453293e8, -1.7453293e8, 0.008726646, -0.04363323, 1.5446163, -1.8151424]),
    (digamma, [-INF, INF, NAN, NAN, 23.02585, NAN, -1.96351, 1.1031567, 4.477342, NAN]),
    (entr, [0.0, -INF, -INF, NAN, -2.302585e11, -INF, 0.3465736, -INF, -396.74573, -INF]),
    (erf, [0.0, 1.0, -1.0, NAN, 1.0, -1.0, 0.5204999, -0.999593, 1.0, -1.0]),
    (erfc, [1.0, 0.0, 2.0, NAN, 0.0, 2.0, 0.47950011, 1.999593, 0.0, 2.0]),
    (erfinv, [0.0, NAN, NAN, NAN, NAN, NAN, 0.47693628, NAN, NAN, NAN]),
    (exp, [1.0, INF, 0.0, NAN, INF, 0.0, 1.6487212, 0.082085, 2.723088e38, 0.0]),
    (exp2, [1.0, INF, 0.0, NAN, INF, 0.0, 1.4142135, 0.17677669, 4.376779e26, 4.9303807e-32]),
    (expm1, [0.0, INF, -1.0, NAN, INF, -1.0, 0.6487213, -0.917915, 2.723088e38, -1.0]),
    (floor, [0.0, INF, -INF, NAN, 1e10, -1e10, 0.0, -3.0, 88.0, -104.0]),
    (frac, [0.0, NAN, NAN, NAN, 0.0, 0.0, 0.5, -0.5, 0.5, 0.0]),
    (hardsigmoid, [0.5, 1.0, 0.0, NAN, 1.0, 0.0, 0.5833333, 0.083333336, 1.0, 0.0]),
    (hardswish, [0.0, INF, NAN, NAN, 1e10, 0.0, 0.29166666, -0.20833333, 88.5, 0.0]),
    (i0, [1.0, NAN, NAN, NAN, INF, INF, 1.0634834, 3.289839, 1.1564238e37, INF]),
    (i1, [0.0, NAN, NAN, NAN, INF, -INF, 0.2578943, -2.5167162, 1.1498715e37, -INF]),
    (isfinite, [1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
    (isinf, [0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
    (isnan, [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
    (isneginf, [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
    (isposinf, [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
    (lgamma, [INF, INF, INF, NAN, 2.2025852e11, INF, 0.5723649, -0.056243718, 306.9241, INF]),
    (log, [-INF, INF, NAN, NAN, 23.02585, NAN, -0.6931472, NAN, 4.4830027, NAN]),
    (log10, [-INF, INF, NAN, NAN, 10.0, NAN, -0.30103, NAN, 1.9469433, NAN]),
    (log1p, [0.0, INF, NAN, NAN, 23.02585, NAN, 0.4054651, NAN, 4.494239, NAN]),
    (log2, [-INF, INF, NAN, NAN, 33.21928, NAN, -1.0, NAN, 6.4676056, NAN]),
    (logical_not, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
    (logsigmoid, [-0.6931472, 0.0, -INF, NAN, 0.0, -1e10, -0.474077, -2.5788898, -3.672302e-39, -104.0]),
    (mish, [0.0, INF, NAN, NAN, 1e10, 0.0, 0.3752452, -0.1968162, 88.5, -7.1e-44]),
    (neg, [0.0, -INF, INF, NAN, -1e10, 1e10, -0.5, 2.5, -88.5, 104.0]),
    (rad2deg, [0.0, INF, -INF, NAN, 5.729578e11, -5.729578e11, 28.64789, -143.23946, 5070.6763, -5958.761]),
    (reciprocal, [INF, 0.0, 0.0, NAN, 1e-10, -1e-10, 2.0, -0.4, 0.011299435, -0.009615385]),
    (relu, [0.0, INF, 0.0, NAN, 1e10, 0.0, 0.5, 0.0, 88.5, 0.0]),
    (relu6, [0.0, 6.0, 0.0, NAN, 6.0, 0.0, 0.5, 0.0, 6.0, 0.0]),
    (round, [0.0, INF, -INF, NAN, 1e10, -1e10, 0.0, -2.0, 88.0, -104.0]),
    (rsqrt, [INF, 0.0, NAN, NAN, 1e-5, NAN, 1.4142135, NAN, 0.106298804, NAN]),
    (selu, [0.0, INF, -1.7580993, NAN, 1.050701e10, -1.7580993, 0.5253505, -1.6137857, 92.98704, -1.7580993]),
    (sgn, [0.0, 1.0, -1.0, 0.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0]),
    (sigmoid, [0.5, 1.0, 0.0, NAN, 1.0, 0.0, 0.62245935, 0.07585818, 1.0, 0.0]),
    (sign, [0.0, 1.0, -1.0, 0.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0]),
    (signbit, [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]),
    (silu, [0.0, INF, NAN, NAN, 1e10, 0.0, 0.31122968, -0.18964545, 88.5, -7.1e-44]),
    (sin, [0.0, NAN, NAN, NAN, -0.48750603, 0.48750603, 0.47942555, -0.5984721, 0.51019, 0.3216224]),
    (sinc, [1.0, NAN, NAN, NAN, -7.128113e-17, -7.128113e-17, 0.63661975, 0.12732396, 0.003596722, 4.8007812e-17]),
    (sinh, [0.0, INF, -INF, NAN, INF, -INF, 0.5210953, -6.0502043, 1.361544e38, -INF]),
    (softsign, [0.0, NAN, NAN, NAN, 1.0, -1.0, 0.33333334, -0.71428573, 0.9888268, -0.9904762]),
    (sqrt, [0.0, INF, NAN, NAN, 1e5, NAN, 0.70710677, NAN, 9.407444, NAN]),
    (square, [0.0, INF, INF, NAN, 1e20, 1e20, 0.25, 6.25, 7832.25, 10816.0]),
    (tan, [0.0, NAN, NAN, NAN, -0.5583496, 0.5583496, 0.5463025, 0.7470223, 0.59320164, -0.33966973]),
    (tanh, [0.0, 1.0, -1.0, NAN, 1.0, -1.0, 0.46211717, -0.9866143, 1.0, -1.0]),
    (tanhshrink, [0.0, INF, -INF, NAN, 1e10, -1e10, 0.037882842, -1.5133857, 87.5, -103.0]),
    (trunc, [0.0, INF, -INF, NAN, 1e10, -1e10, 0.0, -2.0, 88.0, -104.0]),
}

#[test]
fn of_one_tensor() -> Result<()> {
    let x = new(&AT)?;
    let mut wrong = Vec::new();
    for (name, function, want) in ROWS {
        let got = function(&x)?.to_dtype(DType::F32)?.to_vec::<f32>()?;
        for ((at, got), want) in AT.iter().zip(got).zip(want) {
            if !near(got, *want) {
                wrong.push(format!("{name}({at}) gave {got}, not {want}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[test]
fn half_types_are_functions_of_f32() -> Result<()> {
    let values: Vec<f32> = (-40..40).map(|i| i as f32 * 0.17).collect();
    let x = new(&values)?;
    for dtype in [DType::F16, DType::BF16] {
        let x = x.to_dtype(dtype)?;
        for function in [Tensor::sin, Tensor::exp, Tensor::erf, Tensor::silu, Tensor::square] {
            let want = function(&x.to_dtype(DType::F32)?)?.to_dtype(dtype)?;
            let got = function(&x)?;
            // the same within one kernel and after a store
            let again = function(&got)?.to_dtype(DType::F32)?.to_vec::<f32>()?;
            assert!(got.equal(&want)?);
            assert_eq!(function(&got)?.to_dtype(DType::F32)?.to_vec::<f32>()?, again);
        }
        // the number is not rounded to the half type first
        let want = x.to_dtype(DType::F32)?.mul(1.001)?.to_dtype(dtype)?;
        assert!(x.mul(1.001)?.equal(&want)?);
    }
    Ok(())
}

#[test]
fn maxima_and_limits() -> Result<()> {
    let a = new(&[NAN, 1.0, NAN, 2.0])?;
    let b = new(&[1.0, NAN, NAN, 3.0])?;
    let same = |t: Tensor, want: [f32; 4]| -> Result<bool> {
        Ok(t.to_vec::<f32>()?.iter().zip(want).all(|(g, w)| near(*g, w)))
    };
    assert!(same(a.maximum(&b)?, [NAN, NAN, NAN, 3.0])?);
    assert!(same(a.fmin(&b)?, [1.0, 1.0, NAN, 2.0])?);
    assert!(same(a.clamp(0.0, 1.5)?, [NAN, 1.0, NAN, 1.5])?);
    assert!(same(b.clamp(5.0, 1.5)?, [1.5, NAN, NAN, 1.5])?);
    assert!(same(b.nan_to_num(Some(7.0), None, None)?, [1.0, 7.0, 7.0, 3.0])?);
    assert!(Tensor::new([true, false], ())?.clamp_min(true).is_err());
    Ok(())
}

#[test]
fn gradients_at_limits() -> Result<()> {
    let leaf = |v: &[f32]| new(v)?.requires_grad_(true);
    let grad = |t: &Tensor| t.grad().map_or(Ok(Vec::new()), |g| g.to_vec::<f32>());
    let x = leaf(&[1.0, 2.0, 3.0])?;
    x.clamp(2.0, 3.0)?.sum()?.backward()?;
    x.clamp_min(2.0)?.sum()?.backward()?;
    x.clamp_max(2.0)?.sum()?.backward()?;
    // one at a limit that is a number has none
    assert_eq!(grad(&x)?, [1.0, 0.0, 1.0]);
    let (x, y) = (leaf(&[1.0, 2.0, 3.0])?, leaf(&[2.0; 3])?);
    x.maximum(&y)?.sum()?.backward()?;
    assert_eq!(grad(&x)?, [0.0, 0.5, 1.0]);
    assert_eq!(grad(&y)?, [1.0, 0.5, 0.0]);
    let x = leaf(&[-1.0, 0.0, 6.0])?;
    for f in [Tensor::relu, Tensor::relu6, Tensor::abs] {
        f(&x)?.sum()?.backward()?;
    }
    assert_eq!(grad(&x)?, [-1.0, 0.0, 2.0]);
    Ok(())
}

#[test]
fn gradients_agree_with_differences() -> Result<()> {
    let device = calor::Device::best()?;
    if !device.supports(DType::F64) {
        return Ok(());
    }
    let x = Tensor::new([[0.31f64, 0.7], [-0.4, 0.55]], (DType::F64, &device))?.requires_grad_(true)?;
    let y = Tensor::new([1.3f64, 0.45], (DType::F64, &device))?.requires_grad_(true)?;
    let functions: [fn(&Tensor, &Tensor) -> Result<Tensor>; 8] = [
        |x, y| x.dist(y, 3.0),
        |x, y| y.pow(x),
        |x, y| x.lerp(y, 0.3)?.square(),
        |x, y| x.addcdiv(x, y, 0.5),
        |x, y| x.atan2(y)?.hypot(y),
        |x, y| x.logaddexp(y)?.xlogy(y),
        |x, y| x.mul(y)?.gelu(calor::Approximate::Tanh)?.mish()?.softplus(1.5, 20.0),
        |x, y| x.erfinv()?.lgamma()?.mul(y.digamma()?),
    ];
    for f in functions {
        gradcheck(|t| f(&t[0], &t[1]), &[&x, &y], None)?;
        gradgradcheck(|t| f(&t[0], &t[1]), &[&x, &y], None)?;
    }
    Ok(())
}

#[test]
fn integers() -> Result<()> {
    let a = Tensor::new([-7, 7, i32::MIN, i32::MAX], ())?;
    assert_eq!(a.remainder(3)?.to_vec::<i32>()?, [2, 1, 1, 1]);
    assert_eq!(a.fmod(3)?.to_vec::<i32>()?, [-1, 1, -2, 1]);
    assert_eq!(a.div_mode(2, Rounding::Floor)?.to_vec::<i32>()?, [-4, 3, i32::MIN / 2, i32::MAX / 2]);
    assert_eq!(a.add(1)?.to_vec::<i32>()?, [-6, 8, i32::MIN + 1, i32::MIN]);
    assert_eq!(a.abs()?.to_vec::<i32>()?, [7, 7, i32::MIN, i32::MAX]);
    assert_eq!(a.bitwise_left_shift(32)?.to_vec::<i32>()?, [0; 4]);
    assert_eq!(a.bitwise_right_shift(40)?.to_vec::<i32>()?, [-1, 0, -1, 0]);
    assert_eq!(Tensor::new([3, -3, 0], ())?.pow(3)?.to_vec::<i32>()?, [27, -27, 0]);
    assert_eq!(a.div(2)?.dtype(), DType::F32);
    Ok(())
}

#[test]
fn operators() -> Result<()> {
    let (a, b) = (new(&[1.0, -2.0])?, new(&[4.0, 0.5])?);
    let is = |t: Result<Tensor>, want: [f32; 2]| -> Result<()> {
        assert_eq!(t?.to_vec::<f32>()?, want);
        Ok(())
    };
    is(&a + 1.0, [2.0, -1.0])?;
    is(1.0 - &a, [0.0, 3.0])?;
    is(-&a, [-1.0, 2.0])?;
    is((&a + &b)? * &b, [20.0, -0.75])?;
    is((&a + &b)? * (&a - 1.0), [0.0, 4.5])?;
    is(2.0 / &b, [0.5, 4.0])?;
    is(&a % 1.5, [1.0, 1.0])?;
    let mask = (!&a.gt(0.0)?)? | a.eq(1.0)?;
    assert_eq!(mask?.to_vec::<bool>()?, [true, true]);
    let n = Tensor::new([5, 6], ())?;
    assert_eq!(((&n & 4)? << 1)?.to_vec::<i32>()?, [8, 8]);
    assert_eq!(((&n ^ 1)? >> 1)?.to_vec::<i32>()?, [2, 3]);
    // an error travels through the expression
    let wrong = (&a + &new(&[1.0, 2.0, 3.0])?) * &b;
    assert!(wrong.is_err_and(|e| e.to_string().contains("add")));
    Ok(())
}

#[test]
fn between_devices() -> Result<()> {
    let other = Device::open(&AdapterChoice::from_env()?)?;
    let x = new(&[1.5, -2.0])?.requires_grad_(true)?;
    let y = x.mul(2.0)?.to((DType::F16, &other))?;
    assert!(y.device().same(&other) && !x.device().same(&other) && y.dtype() == DType::F16);
    assert!((&y + &x).is_err());
    let z = y.type_as(&x)?.square()?;
    z.sum()?.backward()?;
    assert_eq!(z.to_vec::<f32>()?, [9.0, 16.0]);
    assert_eq!(x.grad().map_or(Ok(Vec::new()), |g| g.to_vec::<f32>())?, [12.0, -16.0]);
    assert_eq!(x.bool()?.int()?.to_vec::<i32>()?, [1, 1]);
    Ok(())
}

#[test]
fn gradients_at_ties_and_nan() -> Result<()> {
    let grads = |f: fn(&Tensor, &Tensor) -> Result<Tensor>, a: &[f32], b: &[f32]| -> Result<[Vec<f32>; 2]> {
        let (a, b) = (new(a)?.requires_grad_(true)?, new(b)?.requires_grad_(true)?);
        f(&a, &b)?.sum()?.backward()?;
        let of = |t: &Tensor| t.grad().map_or(Ok(Vec::new()), |g| g.to_vec::<f32>());
        Ok([of(&a)?, of(&b)?])
    };
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let (a, b) = ([2.0, inf, nan, 1.0, nan], [2.0, inf, 1.0, nan, nan]);
    for f in [|a: &Tensor, b: &Tensor| a.fmax(b), |a: &Tensor, b: &Tensor| a.fmin(b)] {
        assert_eq!(grads(f, &a, &b)?, [vec![0.5, 0.5, 0.0, 1.0, 1.0], vec![0.5, 0.5, 1.0, 0.0, 0.0]]);
    }
    // large equal ones: each has half, which the rounded sum does not tell
    for f in [|a: &Tensor, b: &Tensor| a.logaddexp(b), |a: &Tensor, b: &Tensor| a.logaddexp2(b)] {
        let [ga, gb] = grads(f, &[1e20, 13437.7, -1e20], &[1e20, 13437.7, 1.0])?;
        assert_eq!((&ga[..], &gb[..]), (&[0.5, 0.5, 0.0][..], &[0.5, 0.5, 1.0][..]));
    }
    // NaN lies within limits that are tensors, and not within numbers
    let x = new(&[nan, 2.0, 0.5])?.requires_grad_(true)?;
    x.clamp(&new(&[0.0, nan, 0.0])?, &new(&[1.0, 1.0, nan])?)?.sum()?.backward()?;
    assert_eq!(x.grad().map_or(Ok(Vec::new()), |g| g.to_vec::<f32>())?, [1.0, 0.0, 1.0]);
    x.set_grad(None)?;
    x.clamp(0.0, 1.0)?.sum()?.backward()?;
    assert_eq!(x.grad().map_or(Ok(Vec::new()), |g| g.to_vec::<f32>())?, [0.0, 0.0, 1.0]);
    // NaN is not outside of what shrinks, as in PyTorch's vectors (single numbers behind those pass it on)
    for shrink in [|x: &Tensor| x.hardshrink(0.5), |x: &Tensor| x.softshrink(0.5)] {
        let x = new(&[nan, 2.0, 0.25, -0.75])?.requires_grad_(true)?;
        shrink(&x)?.sum()?.backward()?;
        assert_eq!(x.grad().map_or(Ok(Vec::new()), |g| g.to_vec::<f32>())?, [0.0, 1.0, 0.0, 1.0]);
    }
    Ok(())
}

#[test]
fn numbers_beyond_a_dtype() -> Result<()> {
    let mask = Tensor::new([true, false], ())?;
    let filled = |dtype, value: f64| Tensor::zeros([2], dtype)?.masked_fill(&mask, value);
    assert_eq!(filled(DType::Bool, 10.0)?.to_vec::<bool>()?, [true, false]);
    assert_eq!(filled(DType::I32, 2.5)?.to_vec::<i32>()?, [2, 0]);
    assert_eq!(filled(DType::U8, -1.0)?.to_vec::<u8>()?, [255, 0]);
    assert_eq!(filled(DType::F16, f64::NEG_INFINITY)?.to_dtype(DType::F32)?.to_vec::<f32>()?, [f32::NEG_INFINITY, 0.0]);
    let index = Tensor::new([1i32], ())?;
    for (dtype, value) in [(DType::U8, 300.0), (DType::I32, f64::NAN), (DType::I32, 1e10), (DType::F16, 1e5)] {
        let x = Tensor::zeros([2], dtype)?;
        for refused in
            [filled(dtype, value), x.fill_(value), x.index_fill(0, &index, value), Tensor::full([2], value, dtype)]
        {
            assert!(refused.is_err_and(|e| e.to_string().contains("without overflow")), "{dtype} {value}");
        }
    }
    assert_eq!(Tensor::full([1], 255, DType::U8)?.to_vec::<u8>()?, [255]);
    Ok(())
}

#[test]
fn ldexp_dtypes() -> Result<()> {
    let n = Tensor::new([3i32, -1], ())?;
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        let y = new(&[1.5, 4.0])?.to_dtype(dtype)?.ldexp(&n)?;
        assert_eq!((y.dtype(), y.to_dtype(DType::F32)?.to_vec::<f32>()?), (dtype, vec![12.0, 2.0]));
    }
    assert_eq!(n.ldexp(&n)?.dtype(), DType::F32);
    Ok(())
}

#[test]
fn atan2_at_the_origin() -> Result<()> {
    let (a, b) = (new(&[0.0, 1e-30, 3.0])?.requires_grad_(true)?, new(&[0.0, 1e-30, 4.0])?.requires_grad_(true)?);
    a.atan2(&b)?.sum()?.backward()?;
    let grad = |t: &Tensor| t.grad().map_or(Ok(Vec::new()), |g| g.to_vec::<f32>());
    assert_eq!((grad(&a)?, grad(&b)?), (vec![0.0, 0.0, 0.16], vec![0.0, 0.0, -0.12]));
    Ok(())
}

#[test]
fn limits_beyond_the_range_of_integers_do_not_wrap() -> Result<()> {
    let bytes = Tensor::new([0u8, 100, 255], ())?;
    assert_eq!(bytes.clamp(-5, 300)?.to_vec::<u8>()?, [0, 100, 255]);
    assert_eq!(bytes.clamp_min(-5)?.clamp_max(1 << 20)?.to_vec::<u8>()?, [0, 100, 255]);
    assert_eq!(bytes.hardtanh(-5.0, 300.0)?.to_vec::<u8>()?, [0, 100, 255]);
    assert_eq!(bytes.hardtanh(1.5, 200.9)?.to_vec::<u8>()?, [1, 100, 200]);
    let whole = Tensor::new([-5, 5], ())?;
    assert_eq!(whole.clamp(0, 1i64 << 40)?.to_vec::<i32>()?, [0, 5]);
    assert_eq!(whole.clamp(0, i64::MAX)?.to_vec::<i32>()?, [0, 5]);
    // nothing is as small or as large as that
    assert!(bytes.clamp_max(-1).is_err() && bytes.clamp(300, 400).is_err() && whole.clamp(0, -1i64 << 40).is_err());
    Ok(())
}

#[test]
fn integers_meet_what_they_are_taken_from() -> Result<()> {
    let whole = Tensor::new([1, 2], ())?;
    assert_eq!(whole.rsub_alpha(Tensor::new([1.0f32, 2.0], ())?, 0.5)?.to_vec::<f32>()?, [0.5, 1.0]);
    assert_eq!(whole.rsub_alpha(1.5, 0.5)?.to_vec::<f32>()?, [1.0, 0.5]);
    assert!(whole.rsub_alpha(&whole, 0.5).is_err());
    assert!(whole.equal(&Tensor::new([1.0f32, 2.0], ())?)? && !whole.equal(&Tensor::new([1.0f32, 2.5], ())?)?);
    Ok(())
}

/// Truncation is of the rounded quotient, as in C, though below 2^21 kernels find it without trusting a
/// GPU's division; what is shown here is that this agrees, not how a GPU divides.
#[test]
fn truncated_quotients_are_those_of_the_host() -> Result<()> {
    let mut state = 7u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for i in 0..60_000 {
        let y = f32::from_bits((next() % (40 << 23)) + (107 << 23)) * if i % 3 == 0 { -1.0 } else { 1.0 };
        // close to a multiple, or anything
        let x =
            if i % 2 == 0 { y * (next() % 5_000) as f32 } else { f32::from_bits((next() % (60 << 23)) + (100 << 23)) };
        a.push(f32::from_bits(x.to_bits().wrapping_add(next() % 3).wrapping_sub(1)));
        b.push(y);
    }
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    for x in [0.0, -0.0, 41.0, -41.0, inf, -inf, nan, 16_777_217.0, 3e38] {
        for y in [0.0, -0.0, 41.0, 0.5, -3.0, inf, -inf, nan, 1e-30] {
            a.push(x);
            b.push(y);
        }
    }
    let want: Vec<f32> = a.iter().zip(&b).map(|(x, y)| (x / y).trunc()).collect();
    let (x, y) = (Tensor::from_slice(&a, [a.len()], ())?, Tensor::from_slice(&b, [b.len()], ())?);
    let got = x.div_mode(&y, Rounding::Trunc)?.to_vec::<f32>()?;
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        assert!(g == w || (g.is_nan() && w.is_nan()), "{} / {}: {g}, expected {w}", a[i], b[i]);
    }
    Ok(())
}

#[test]
fn nan_reaches_the_gradient_of_a_bessel_function() -> Result<()> {
    let x = new(&[NAN, 0.0, 0.5])?.requires_grad_(true)?;
    x.i1()?.sum()?.backward()?;
    let g = x.grad().map_or(Ok(Vec::new()), |g| g.to_vec::<f32>())?;
    assert!(g[0].is_nan() && g[1] == 0.5 && near(g[2], 0.547_694_9), "{g:?}");
    Ok(())
}

#[test]
fn decimals_beyond_all_numbers() -> Result<()> {
    for decimals in [i32::MIN, i32::MAX] {
        assert!(new(&[1.5])?.round_decimals(decimals)?.item()?.is_nan(), "{decimals}");
    }
    Ok(())
}
