// Elementwise f32 functions: arithmetic, rounding, comparison, exponentials, powers, trigonometric and hyperbolic.
// Instantiated by replacing T, U, I, B by f32, u32, i32, bool or their vec4, and every function foo by foo_<suffix>.
// The alias and zero_bits lines serve only to parse this file alone.
alias T = f32;
alias U = u32;
alias I = i32;
alias B = bool;
var<private> zero_bits: u32 = 0u;

// NaN and infinity by bits: compilers may assume that neither exists.
fn inf_() -> T { return bitcast<T>(U(zero_bits) + U(0x7f800000u)); }
fn nan_() -> T { return bitcast<T>(U(zero_bits) + U(0x7fc00000u)); }
fn bits_abs(x: T) -> U { return bitcast<U>(x) & U(0x7fffffffu); }
fn bits_sign(x: T) -> U { return bitcast<U>(x) & U(0x80000000u); }
fn is_nan(x: T) -> B { return bits_abs(x) > U(0x7f800000u); }
// Keeps a compiler that reassociates from seeing through x: zero_bits is 0 only at run time.
fn opaque(x: T) -> T { return bitcast<T>(bitcast<U>(x) | U(zero_bits)); }
fn with_sign(x: T, s: T) -> T { return bitcast<T>(bits_abs(x) | bits_sign(s)); }
fn high_bits(x: T) -> T { return bitcast<T>(bitcast<U>(x) & U(0xfffff000u)); }
// x, |x| < 2^21, shifted so that the low bits hold the whole number nearest to it: some CPU drivers convert to integers slowly.
// `whole` and `whole_bits` give it.
fn shifted(x: T) -> T { return opaque(x + 12582912.0); }
fn whole(t: T) -> T { return t - 12582912.0; }
fn whole_bits(t: T) -> I { return bitcast<I>(t) - I(0x4b400000); }
// 2^n, n in -126 .. 127.
fn power_of_two(n: I) -> T { return bitcast<T>(bitcast<U>(n + I(127)) << U(23u)); }
// x * 2^n, n in -252 .. 254: in two steps, for 2^n alone may be too much.
fn scale_by(x: T, n: I) -> T {
    let h = n >> U(1u);
    return opaque(x * power_of_two(h)) * power_of_two(n - h);
}

fn op_isnan(x: T) -> B { return is_nan(x); }
fn op_isinf(x: T) -> B { return bits_abs(x) == U(0x7f800000u); }
fn op_isfinite(x: T) -> B { return bits_abs(x) < U(0x7f800000u); }
fn op_isposinf(x: T) -> B { return bitcast<U>(x) == U(0x7f800000u); }
fn op_isneginf(x: T) -> B { return bitcast<U>(x) == U(0xff800000u); }
fn op_signbit(x: T) -> B { return bits_sign(x) != U(0u); }

fn unordered(x: T, y: T) -> B { return is_nan(x) | is_nan(y); }
fn op_eq(x: T, y: T) -> B { return (x == y) & !unordered(x, y); }
fn op_ne(x: T, y: T) -> B { return !op_eq(x, y); }
fn op_lt(x: T, y: T) -> B { return (x < y) & !unordered(x, y); }
fn op_le(x: T, y: T) -> B { return (x <= y) & !unordered(x, y); }
fn op_gt(x: T, y: T) -> B { return (x > y) & !unordered(x, y); }
fn op_ge(x: T, y: T) -> B { return (x >= y) & !unordered(x, y); }
fn truth(x: T) -> B { return bits_abs(x) != U(0u); }
fn op_logical_and(x: T, y: T) -> B { return truth(x) & truth(y); }
fn op_logical_or(x: T, y: T) -> B { return truth(x) | truth(y); }
fn op_logical_xor(x: T, y: T) -> B { return truth(x) != truth(y); }
fn op_logical_not(x: T) -> B { return !truth(x); }

fn op_add(x: T, y: T) -> T { return x + y; }
fn op_sub(x: T, y: T) -> T { return x - y; }
fn op_mul(x: T, y: T) -> T { return x * y; }
fn op_div(x: T, y: T) -> T { return x / y; }
fn op_neg(x: T) -> T { return bitcast<T>(bitcast<U>(x) ^ U(0x80000000u)); }
fn op_abs(x: T) -> T { return bitcast<T>(bits_abs(x)); }
fn op_positive(x: T) -> T { return x; }
fn op_square(x: T) -> T { return x * x; }
fn op_reciprocal(x: T) -> T { return T(1.0) / x; }
fn op_sqrt(x: T) -> T { return sqrt(x); }
fn op_rsqrt(x: T) -> T { return T(1.0) / sqrt(x); }
// NaN and zero give 0, as in PyTorch.
fn op_sign(x: T) -> T {
    return select(T(0.0), with_sign(T(1.0), x), (bits_abs(x) != U(0u)) & !is_nan(x));
}
fn op_sgn(x: T) -> T { return op_sign(x); }
fn op_floor(x: T) -> T { return floor(x); }
fn op_ceil(x: T) -> T { return with_sign(ceil(x), x); }
fn op_trunc(x: T) -> T { return with_sign(trunc(x), x); }
// Half to even.
fn op_round(x: T) -> T {
    let r = with_sign(round(x), x);
    return select(r, x, bits_abs(x) >= U(0x4b000000u));
}
fn op_frac(x: T) -> T { return x - trunc(x); }
fn op_deg2rad(x: T) -> T { return x * 0.017453292519943295; }
fn op_rad2deg(x: T) -> T { return x * 57.29577951308232; }
fn op_copysign(x: T, y: T) -> T { return with_sign(x, y); }
fn op_nan_to_num(x: T, nan: T, high: T, low: T) -> T {
    let y = select(select(x, high, op_isposinf(x)), low, op_isneginf(x));
    return select(y, nan, is_nan(x));
}

fn op_maximum(x: T, y: T) -> T { return select(select(x, y, y > x), x + y, unordered(x, y)); }
fn op_minimum(x: T, y: T) -> T { return select(select(x, y, y < x), x + y, unordered(x, y)); }
fn op_fmax(x: T, y: T) -> T { return select(select(x, y, (y > x) | is_nan(x)), x, is_nan(y)); }
fn op_fmin(x: T, y: T) -> T { return select(select(x, y, (y < x) | is_nan(x)), x, is_nan(y)); }
fn op_clamp(x: T, low: T, high: T) -> T { return op_minimum(op_maximum(x, low), high); }
fn op_clamp_min(x: T, low: T) -> T { return op_maximum(x, low); }
fn op_clamp_max(x: T, high: T) -> T { return op_minimum(x, high); }
fn op_heaviside(x: T, v: T) -> T {
    let step = select(T(0.0), T(1.0), op_gt(x, T(0.0)));
    return select(step, v, bits_abs(x) == U(0u));
}
fn op_lerp(start: T, end: T, weight: T) -> T {
    let d = end - start;
    return select(end - d * (T(1.0) - weight), start + weight * d, abs(weight) < T(0.5));
}
fn op_addcmul(x: T, value: T, a: T, b: T) -> T { return x + value * a * b; }
fn op_addcdiv(x: T, value: T, a: T, b: T) -> T { return x + value * a / b; }
fn op_nextafter(x: T, y: T) -> T {
    let b = bitcast<U>(x);
    let up = (y > x) == !op_signbit(x);
    var r = select(b - U(1u), b + U(1u), up);
    r = select(r, bits_sign(y) | U(1u), bits_abs(x) == U(0u));
    let z = select(bitcast<T>(r), y, x == y);
    return select(z, x + y, unordered(x, y));
}

// Exact: long division of the mantissas, eight quotient bits a step.
fn op_fmod(x: T, y: T) -> T {
    let a = bits_abs(x);
    let b = bits_abs(y);
    let ea = max(a >> U(23u), U(1u));
    let eb = max(b >> U(23u), U(1u));
    let hidden = U(0x00800000u);
    let ma = (a & U(0x007fffffu)) | select(U(0u), hidden, a >= hidden);
    let mb = max((b & U(0x007fffffu)) | select(U(0u), hidden, b >= hidden), U(1u));
    let small = (a < b) | (b == U(0u)) | (a >= U(0x7f800000u));
    var d = select(ea - eb, U(0u), small);
    var m = ma % mb;
    for (var i = 0; i < 32; i++) {
        if !any(d > U(0u)) { break; }
        let s = min(d, U(8u));
        m = (m << s) % mb;
        d -= s;
    }
    let z = countLeadingZeros(m | U(1u)) - U(8u);
    let normal = ((m << z) & U(0x007fffffu)) | ((eb - z) << U(23u));
    let r = select(m << ((eb - U(1u)) & U(31u)), normal, (eb > z) & (m != U(0u)));
    let signed = bitcast<T>(select(r, U(0u), m == U(0u)) | bits_sign(x));
    let invalid = (a >= U(0x7f800000u)) | (b > U(0x7f800000u)) | (b == U(0u));
    return select(select(signed, x, a < b), nan_(), invalid);
}
fn op_remainder(x: T, y: T) -> T {
    let m = op_fmod(x, y);
    let wrong = truth(m) & (op_signbit(m) != op_signbit(y)) & !is_nan(m);
    return select(m, m + y, wrong);
}
fn op_floor_divide(x: T, y: T) -> T {
    let m = op_fmod(x, y);
    let wrong = truth(m) & (op_signbit(m) != op_signbit(y));
    let d = (x - m) / y - select(T(0.0), T(1.0), wrong);
    let f = floor(d);
    let r = select(f, f + T(1.0), d - f > T(0.5));
    let q = x / y;
    let zero = bitcast<T>(bits_sign(q));
    return select(select(r, zero, d == T(0.0)), q, (y == T(0.0)) & !is_nan(y));
}
// trunc of the correctly rounded quotient, which is whole where the exact one lacks at most half of its last digit.
fn op_trunc_divide(x: T, y: T) -> T {
    let q = x / y;
    let a = op_abs(x);
    let b = op_abs(y);
    let m = op_fmod(a, b);
    let n = floor(opaque((a - m) / b + 0.5));
    let next = n + 1.0;
    let last = next - bitcast<T>(bitcast<U>(next) - U(1u));
    let near = with_sign(select(n, next, b - m <= last * 0.5 * b), q);
    // beyond 2^21, where a division may be off by half, it is what the device's division gives; infinities and NaN leave no
    // remainder
    let small = (bits_abs(q) < U(0x4a000000u)) & (bits_abs(y) < U(0x7f800000u));
    return select(op_trunc(q), near, small);
}

// exp(r) - 1 - r for |r| <= 0.347, error 2^-28.
fn exp_tail(r: T) -> T {
    let p = ((((r * 1.9875691500e-4 + 1.3981999507e-3) * r + 8.3334519073e-3) * r + 4.1665795894e-2) * r
        + 1.6666665459e-1) * r + 5.0000001201e-1;
    return p * r * r;
}
// exp(x) * 2^k; x = n ln2 + r. 1 ulp.
fn exp_scaled(x: T, k: I) -> T {
    let c = clamp(x, T(-120.0), T(100.0));
    let t = shifted(c * 1.44269504088896341);
    let n = whole(t);
    let r = opaque(c - n * 0.693359375) + n * 2.12194440e-4;
    let y = scale_by(exp_tail(r) + r + 1.0, whole_bits(t) + k);
    return select(y, x, is_nan(x));
}
fn op_exp(x: T) -> T { return exp_scaled(x, I(0)); }
// 2^x; exact at integers. 1 ulp.
fn op_exp2(x: T) -> T {
    let c = clamp(x, T(-160.0), T(140.0));
    let t = shifted(c);
    let r = (c - whole(t)) * 0.693147180559945309;
    let y = scale_by(exp_tail(r) + r + 1.0, whole_bits(t));
    return select(y, x, is_nan(x));
}
// 1.5 ulp.
fn op_expm1(x: T) -> T {
    let c = clamp(x, T(-30.0), T(100.0));
    let t = shifted(c * 1.44269504088896341);
    let n = whole(t);
    let r = opaque(c - n * 0.693359375) + n * 2.12194440e-4;
    let k = min(whole_bits(t), I(150));
    let low = exp_tail(r) + r;
    let one = T(1.0) - scale_by(T(1.0), -k);
    let y = scale_by(low + one, k);
    let keep = is_nan(x) | (bits_abs(x) < U(0x33000000u));
    return select(y, x, keep);
}

// x = 2^k m, m in sqrt(1/2) .. sqrt(2); k comes back through the pointer. Subnormals are scaled first.
fn log_split(x: T, k: ptr<function, T>) -> T {
    let tiny = bitcast<U>(x) < U(0x00800000u);
    let b = bitcast<U>(select(x, x * 33554432.0, tiny)) + U(0x3f800000u - 0x3f3504f3u);
    *k = T(bitcast<I>(b >> U(23u)) - I(127)) - select(T(0.0), T(25.0), tiny);
    return bitcast<T>((b & U(0x007fffffu)) + U(0x3f3504f3u));
}
// log(1 + f) - f + f^2/2 for f in -0.293 .. 0.415, with s = f/(2+f); relative to the sum 2^-34.
fn log_series(f: T) -> T {
    let s = f / (f + 2.0);
    let z = s * s;
    let w = z * z;
    let r = (w * 0.24279078841 + 0.40000972152) * w + (w * 0.28498786688 + 0.66666662693) * z;
    return s * (f * f * 0.5 + r);
}
fn log_edges(y: T, x: T) -> T {
    let r = select(select(y, -inf_(), bits_abs(x) == U(0u)), nan_(), op_signbit(x) & truth(x));
    return select(r, x, is_nan(x) | op_isposinf(x));
}
// 1 ulp.
fn op_log(x: T) -> T {
    var k = T(0.0);
    let f = log_split(x, &k) - 1.0;
    let h = f * f * 0.5;
    let y = ((log_series(f) + k * 9.0580006145e-6) - h) + f + k * 6.9313812256e-1;
    return log_edges(y, x);
}
// The base-2 and base-10 forms multiply high and low parts of log m. 1 ulp.
fn op_log2(x: T) -> T {
    var k = T(0.0);
    let f = log_split(x, &k) - 1.0;
    let h = f * f * 0.5;
    let hi = high_bits(f - h);
    let lo = ((f - hi) - h) + log_series(f);
    let y = (lo + hi) * -1.7605285393e-4 + lo * 1.4428710938 + hi * 1.4428710938 + k;
    return log_edges(y, x);
}
fn op_log10(x: T) -> T {
    var k = T(0.0);
    let f = log_split(x, &k) - 1.0;
    let h = f * f * 0.5;
    let hi = high_bits(f - h);
    let lo = ((f - hi) - h) + log_series(f);
    let y = k * 7.9034151668e-7 + (lo + hi) * -3.1689971365e-5 + lo * 4.3432617188e-1 + hi * 4.3432617188e-1
        + k * 3.0102920532e-1;
    return log_edges(y, x);
}
// log(1+x) with the rounding of 1+x carried as c. 1 ulp.
fn op_log1p(x: T) -> T {
    let near = (x > T(-0.2929)) & (x < T(0.4142));
    let u = opaque(x + 1.0);
    var k = T(0.0);
    let m = log_split(u, &k);
    let c0 = select(x - (u - 1.0), T(1.0) - (u - x), k >= T(2.0)) / u;
    let c = select(select(c0, T(0.0), k >= T(25.0)), T(0.0), near);
    k = select(k, T(0.0), near);
    let f = select(m - 1.0, x, near);
    let h = f * f * 0.5;
    let y = (log_series(f) + (k * 9.0580006145e-6 + c) - h) + f + k * 6.9313812256e-1;
    let r = log_edges(y, u);
    return select(r, x, is_nan(x) | (bits_abs(x) < U(0x33000000u)));
}

// |x|^y through log2 |x| in two floats (24 + 12 bits); signs and edge cases of C99 after it. 1 ulp.
fn op_pow(x: T, y: T) -> T {
    let tiny = bits_abs(x) < U(0x00800000u);
    let b = bits_abs(select(x, x * 16777216.0, tiny));
    let j = b & U(0x007fffffu);
    let middle = (j > U(0x1cc471u)) & (j < U(0x5db3d7u));
    let top = j >= U(0x5db3d7u);
    let n = T(bitcast<I>(b >> U(23u)) - I(127)) + select(T(0.0), T(1.0), top) - select(T(0.0), T(24.0), tiny);
    let ib = (j | U(0x3f800000u)) - select(U(0u), U(0x00800000u), top);
    let a = bitcast<T>(ib);
    let base = select(T(1.0), T(1.5), middle);
    let dh = select(T(0.0), T(5.84960938e-01), middle);
    let dl = select(T(0.0), T(1.56322085e-06), middle);
    let u = a - base;
    let v = T(1.0) / (a + base);
    let s = u * v;
    let sh = high_bits(s);
    let th = bitcast<T>((((ib >> U(1u)) & U(0xfffff000u)) | U(0x20000000u)) + U(0x00400000u)
        + select(U(0u), U(0x00200000u), middle));
    let tl = a - opaque(th - base);
    let sl = v * ((u - sh * th) - sh * tl);
    let z = s * s;
    let r = z * z * (((((z * 2.0697501302e-01 + 2.3066075146e-01) * z + 2.7272811532e-01) * z
        + 3.3333334327e-01) * z + 4.2857143283e-01) * z + 6.0000002384e-01) + sl * (sh + s);
    let q = sh * sh;
    let g_high = high_bits(q + r + 3.0);
    let g_low = r - (opaque(g_high - 3.0) - q);
    let eu = sh * g_high;
    let ev = sl * g_high + g_low * s;
    let ph = high_bits(eu + ev);
    let pl = ev - opaque(ph - eu);
    let zh = ph * 9.6191406250e-01;
    let zl = ph * -1.1736857402e-04 + pl * 9.6179670095e-01 + dl;
    let t1 = high_bits(((zh + zl) + dh) + n);
    let t2 = zl - (opaque(opaque(t1 - n) - dh) - zh);
    // y * log2|x| = w + wl
    let y1 = high_bits(y);
    let wl = (y - y1) * t1 + y * t2;
    let w = y1 * t1;
    let e = wl + w;
    let over = e >= T(129.0);
    let under = e <= T(-152.0);
    let regular = !(over | under) & (bits_abs(e) < U(0x7f800000u));
    let whole_e = shifted(select(T(0.0), e, regular));
    let g = w - whole(whole_e);
    let t = bitcast<T>(bitcast<U>(wl + g) & U(0xffff8000u));
    let lu = t * 6.93145752e-01;
    let lv = (wl - (t - g)) * 6.9314718246e-01 + t * 1.42860654e-06;
    let m = select(T(0.0), opaque(lu + lv), regular);
    let rest = select(T(0.0), lv - (m - lu), regular);
    let p = scale_by((exp_tail(m) + (rest + m * rest)) + m + 1.0, whole_bits(whole_e));
    let inf = inf_();
    var f = select(select(p, inf, over), T(0.0), under);
    // zero and infinite bases and exponents
    let ax = op_abs(x);
    let down = op_signbit(y);
    f = select(f, select(T(0.0), inf, down), ax == T(0.0));
    f = select(f, select(inf, T(0.0), down), op_isinf(x));
    let yinf = op_isinf(y);
    f = select(f, select(T(0.0), inf, (ax > T(1.0)) != down), yinf);
    let ay = op_abs(y);
    let whole_y = (trunc(ay) == ay) | yinf;
    let odd = whole_y & (ay < T(16777216.0)) & (fract(ay * 0.5) > T(0.25));
    let negative = op_signbit(x);
    f = select(f, -f, negative & odd);
    f = select(f, nan_(), negative & !whole_y & op_isfinite(x) & (ax > T(0.0)));
    f = select(f, x + y, unordered(x, y));
    let unit = ((y == T(0.0)) & !is_nan(y)) | ((x == T(1.0)) & !is_nan(x)) | ((ax == T(1.0)) & yinf);
    return select(f, T(1.0), unit);
}
// x 2^e as PyTorch computes it.
fn op_ldexp(x: T, e: T) -> T { return x * op_exp2(e); }
// Scaled by a power of two against overflow. 1 ulp.
fn op_hypot(x: T, y: T) -> T {
    let m = max(op_abs(x), op_abs(y));
    let s = select(select(T(1.0), T(8.470329472543003e-22), m > T(1.0e18)), T(1.2676506002282294e30), m < T(1.0e-18));
    let a = x * s;
    let b = y * s;
    let r = sqrt(a * a + b * b) / s;
    return select(r, inf_(), op_isinf(x) | op_isinf(y));
}
fn op_logaddexp(x: T, y: T) -> T {
    let m = op_maximum(x, y);
    let d = op_abs(x - y);
    let r = m + op_log1p(op_exp(-d));
    return select(r, x, op_isinf(x) & (x == y));
}
fn op_logaddexp2(x: T, y: T) -> T {
    let m = op_maximum(x, y);
    let d = op_abs(x - y);
    let r = m + op_log1p(op_exp2(-d)) * 1.44269504088896341;
    return select(r, x, op_isinf(x) & (x == y));
}
fn op_entr(x: T) -> T {
    let y = -x * op_log(x);
    let r = select(select(y, T(0.0), x == T(0.0)), -inf_(), x < T(0.0));
    return select(r, x, is_nan(x));
}
fn op_xlogy(x: T, y: T) -> T {
    let r = select(x * op_log(y), T(0.0), bits_abs(x) == U(0u));
    return select(r, y, is_nan(y));
}
fn op_xlog1py(x: T, y: T) -> T {
    let r = select(x * op_log1p(y), T(0.0), bits_abs(x) == U(0u));
    return select(r, y, is_nan(y));
}

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
// Cody-Waite with 11 + 11 + 11 + 24 bits up to 8192, exact products; the integer reduction above that.
fn reduce_angle(x: T, quadrant: ptr<function, U>) -> T {
    let large = bits_abs(x) > U(0x46000000u);
    let c = select(x, T(0.0), large);
    let t = shifted(c * 0.636619772367581343);
    let n = whole(t);
    var r = opaque(c - n * 1.5703125);
    r = opaque(r - n * 0.00048375129699707031);
    r = opaque(r - n * 7.5495336204767227e-08);
    r = r - n * 2.5633441515945189e-12;
    var q = bitcast<U>(whole_bits(t)) & U(3u);
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
    let t = shifted(h * 2.0);
    let r = (h - whole(t) * 0.5) * 3.14159265358979324;
    return sin_quadrant(r, bitcast<U>(whole_bits(t)) & U(3u));
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
