// Elementwise f32 trigonometric and hyperbolic functions and their inverses.
// Instantiated as float.wgsl, whose functions it uses.
alias T = f32;
alias U = u32;
alias I = i32;
alias B = bool;
var<private> zero_bits: u32 = 0u;

// High word of the product with a < 2^24, by 16-bit halves.
fn product_high(a: U, b: U) -> U {
    let al = a & U(0xffffu);
    let ah = a >> U(16u);
    let bl = b & U(0xffffu);
    let bh = b >> U(16u);
    let m = ah * bl + ((al * bl) >> U(16u));
    let l = al * bh + (m & U(0xffffu));
    return ah * bh + (m >> U(16u)) + (l >> U(16u));
}
// Words of 2/pi after 32 zero bits.
fn two_over_pi(i: U) -> U {
    var w = select(U(0u), U(0xa2f9836eu), i == U(1u));
    w = select(w, U(0x4e441529u), i == U(2u));
    w = select(w, U(0xfc2757d1u), i == U(3u));
    w = select(w, U(0xf534ddc0u), i == U(4u));
    w = select(w, U(0xdb629599u), i == U(5u));
    w = select(w, U(0x3c439041u), i == U(6u));
    return select(w, U(0xfe5163abu), i == U(7u));
}
// Payne-Hanek: the 24-bit mantissa times the 96 bits of 2/pi that matter at this exponent, modulo 4.
fn reduce_large(x: T, quadrant: ptr<function, U>) -> T {
    let b = bits_abs(x);
    let m = (b & U(0x007fffffu)) | U(0x00800000u);
    // x = m 2^e, so the window starts e - 2 bits after the point (30 bits into the padded words).
    let at = (b >> U(23u)) - U(150u - 30u);
    let i = at >> U(5u);
    let s = at & U(31u);
    let w0 = two_over_pi(i);
    let w1 = two_over_pi(i + U(1u));
    let w2 = two_over_pi(i + U(2u));
    let w3 = two_over_pi(i + U(3u));
    let back = (U(32u) - s) & U(31u);
    let keep = s == U(0u);
    let p0 = (w0 << s) | select(w1 >> back, U(0u), keep);
    let p1 = (w1 << s) | select(w2 >> back, U(0u), keep);
    let p2 = (w2 << s) | select(w3 >> back, U(0u), keep);
    let low = m * p1;
    let mid = low + product_high(m, p2);
    let high = m * p0 + product_high(m, p1) + select(U(0u), U(1u), mid < low);
    let q = (high + U(0x20000000u)) >> U(30u);
    let f = bitcast<I>(high - (q << U(30u)));
    // f + mid 2^-32 in units of pi/2 2^-30, the top and the rest each exact
    let top = f & I(-65536);
    let rest = T(f - top) + T(mid) * 2.3283064365386963e-10;
    let r = (T(top) + rest) * 1.4629180792671596e-9;
    let negative = op_signbit(x);
    *quadrant = select(q, U(0u) - q, negative) & U(3u);
    return select(r, -r, negative);
}
// x = n pi/2 + r, |r| <= pi/4; n mod 4 through the pointer.
// Cody-Waite with 8 + 11 + 11 + 24 bits up to 8192, exact products; the integer reduction above that.
fn reduce_angle(x: T, quadrant: ptr<function, U>) -> T {
    let large = bits_abs(x) > U(0x46000000u);
    let c = select(x, T(0.0), large);
    let n = round(c * 0.636619772367581343);
    var r = fma(n, T(-1.5703125), c);
    r = fma(n, T(-4.837512969970703125e-4), r);
    r = fma(n, T(-7.5496435165405273e-8), r);
    r = fma(n, T(-1.4643836e-12), r);
    var q = bitcast<U>(I(n)) & U(3u);
    if any(large) {
        var ql = U(0u);
        let rl = reduce_large(x, &ql);
        r = select(r, rl, large);
        q = select(q, ql, large);
    }
    *quadrant = q;
    return r;
}
fn sin_kernel(r: T) -> T {
    let z = r * r;
    return ((z * -1.9515295891e-4 + 8.3321608736e-3) * z - 1.6666654611e-1) * z * r + r;
}
fn cos_kernel(r: T) -> T {
    let z = r * r;
    return ((z * 2.443315711809948e-5 - 1.388731625493765e-3) * z + 4.166664568298827e-2) * z * z - z * 0.5 + 1.0;
}
fn sin_quadrant(r: T, q: U) -> T {
    let y = select(sin_kernel(r), cos_kernel(r), (q & U(1u)) != U(0u));
    return select(y, -y, (q & U(2u)) != U(0u));
}
fn only_finite(y: T, x: T) -> T { return select(nan_(), y, op_isfinite(x)); }
// 1.5 ulp at every argument.
fn op_sin(x: T) -> T {
    var q = U(0u);
    let r = reduce_angle(x, &q);
    return select(only_finite(sin_quadrant(r, q), x), x, bits_abs(x) == U(0u));
}
fn op_cos(x: T) -> T {
    var q = U(0u);
    let r = reduce_angle(x, &q);
    return only_finite(sin_quadrant(r, q + U(1u)), x);
}
// 3 ulp.
fn op_tan(x: T) -> T {
    var q = U(0u);
    let r = reduce_angle(x, &q);
    let z = r * r;
    let t = (((((z * 9.38540185543e-3 + 3.11992232697e-3) * z + 2.44301354525e-2) * z + 5.34112807005e-2) * z
        + 1.33387994085e-1) * z + 3.33331568548e-1) * z * r + r;
    let y = select(t, T(-1.0) / t, (q & U(1u)) != U(0u));
    return select(only_finite(y, x), x, bits_abs(x) == U(0u));
}
// sin(pi x), exactly 0 at integers; x finite.
fn sin_pi(x: T) -> T {
    let h = x - round(x * 0.5) * 2.0;
    let n = round(h * 2.0);
    let r = (h - n * 0.5) * 3.14159265358979324;
    return sin_quadrant(r, bitcast<U>(I(n)) & U(3u));
}
fn op_sinc(x: T) -> T {
    let y = sin_pi(x) / (x * 3.14159265358979324);
    return select(only_finite(y, select(x, T(0.0), op_isinf(x))), T(1.0), bits_abs(x) == U(0u));
}

// asin(a) for a in 0 .. 0.5
fn asin_kernel(a: T) -> T {
    let z = a * a;
    return ((((z * 4.2163199048e-2 + 2.4181311049e-2) * z + 4.5470025998e-2) * z + 7.4953002686e-2) * z
        + 1.6666752422e-1) * z * a + a;
}
// Above 0.5: pi/2 - 2 asin(sqrt((1-a)/2)). 2 ulp.
fn op_asin(x: T) -> T {
    let a = op_abs(x);
    let big = a > T(0.5);
    let s = asin_kernel(select(a, sqrt(max((T(1.0) - a) * 0.5, T(0.0))), big));
    let y = select(s, (T(1.57079637) - s * 2.0) - 4.37113883e-8, big);
    return select(with_sign(y, x), nan_(), is_nan(x) | (a > T(1.0)));
}
fn op_acos(x: T) -> T {
    let a = op_abs(x);
    let big = a > T(0.5);
    let s = asin_kernel(select(x, sqrt(max((T(1.0) - a) * 0.5, T(0.0))), big));
    let t = s * 2.0;
    let far = select(t, (T(3.14159274) - t) - 8.74227766e-8, x < T(0.0));
    let y = select((T(1.57079637) - s) - 4.37113883e-8, far, big);
    return select(y, nan_(), is_nan(x) | (a > T(1.0)));
}
// atan(t) for t in 0 .. 1, about 0 or about 1. 2 ulp.
fn atan_kernel(t: T) -> T {
    let far = t > T(0.4142135624);
    let a = select(t, (t - 1.0) / (t + 1.0), far);
    let z = a * a;
    let y = (((z * 8.05374449538e-2 - 1.38776856032e-1) * z + 1.99777106478e-1) * z - 3.33329491539e-1) * z * a + a;
    return select(y, y + 0.785398163397448310, far);
}
fn op_atan(x: T) -> T {
    let a = op_abs(x);
    let big = a > T(1.0);
    let k = atan_kernel(select(a, T(1.0) / a, big));
    let y = select(k, (T(1.57079637) - k) - 4.37113883e-8, big);
    return select(with_sign(y, x), x, is_nan(x));
}
fn op_atan2(y: T, x: T) -> T {
    let ax = op_abs(x);
    let ay = op_abs(y);
    let steep = ay > ax;
    // scaled so that neither quotient nor divisor leaves the normal range
    let s = select(T(1.0), T(0.25), max(ax, ay) > T(1.0e38)) * select(T(1.0), T(16777216.0), max(ax, ay) < T(1.0e-30));
    let low = min(ax, ay) * s;
    let high = max(ax, ay) * s;
    var t = select(low / high, T(1.0), ax == ay);
    t = select(t, T(0.0), high == T(0.0));
    let k = atan_kernel(t);
    let a = select(k, (T(1.57079637) - k) - 4.37113883e-8, steep);
    let r = select(a, (T(3.14159274) - a) - 8.74227766e-8, op_signbit(x));
    return select(with_sign(r, y), x + y, unordered(x, y));
}

// Series below 1, else with e = exp|x| / 2. 2 ulp.
fn op_sinh(x: T) -> T {
    let z = x * x;
    let small = ((z * 2.03721912945e-4 + 8.33028376239e-3) * z + 1.66667160211e-1) * z * x + x;
    let e = exp_scaled(op_abs(x), I(-1));
    let y = select(with_sign(e - T(0.25) / e, x), small, op_abs(x) < T(1.0));
    return select(y, x, is_nan(x) | (bits_abs(x) < U(0x39000000u)));
}
fn op_cosh(x: T) -> T {
    let e = exp_scaled(op_abs(x), I(-1));
    return e + T(0.25) / e;
}
// tanh(x) - x for |x| < 0.625
fn tanh_tail(x: T) -> T {
    let z = x * x;
    return ((((z * -5.70498872745e-3 + 2.06390887954e-2) * z - 5.37397155531e-2) * z + 1.33314422036e-1) * z
        - 3.33332819422e-1) * z * x;
}
fn tanh_large(x: T) -> T {
    let e = exp_scaled(min(op_abs(x), T(10.0)) * 2.0, I(0));
    return with_sign(T(1.0) - T(2.0) / (e + 1.0), x);
}
// 2 ulp.
fn op_tanh(x: T) -> T {
    let y = select(tanh_large(x), tanh_tail(x) + x, op_abs(x) < T(0.625));
    return select(y, x, is_nan(x) | (bits_abs(x) < U(0x39000000u)));
}
fn op_tanhshrink(x: T) -> T {
    let y = select(x - tanh_large(x), -tanh_tail(x), op_abs(x) < T(0.625));
    return select(y, x, is_nan(x));
}
// log1p(a + a^2/(1+sqrt(a^2+1))); log(a) + ln2 above 1e4. 3 ulp.
fn op_asinh(x: T) -> T {
    let a = min(op_abs(x), T(1.0e4));
    let z = a * a;
    let y = op_log1p(a + z / (sqrt(z + 1.0) + 1.0));
    let far = op_log(op_abs(x)) + 0.693147180559945309;
    let r = with_sign(select(y, far, op_abs(x) > T(1.0e4)), x);
    return select(r, x, is_nan(x) | (bits_abs(x) < U(0x39000000u)));
}
fn op_acosh(x: T) -> T {
    let t = clamp(x, T(1.0), T(1.0e4)) - 1.0;
    let y = op_log1p(t + sqrt(t * 2.0 + t * t));
    let far = op_log(x) + 0.693147180559945309;
    let r = select(y, far, x > T(1.0e4));
    return select(select(r, nan_(), x < T(1.0)), x, is_nan(x));
}
fn op_atanh(x: T) -> T {
    let a = op_abs(x);
    let t = a + a;
    let q = select(t / (T(1.0) - a), t + t * a / (T(1.0) - a), a < T(0.5));
    let y = with_sign(op_log1p(q) * 0.5, x);
    let r = select(select(y, nan_(), a > T(1.0)), with_sign(inf_(), x), a == T(1.0));
    return select(r, x, is_nan(x) | (bits_abs(x) < U(0x39000000u)));
}
