// Elementwise f32 functions: arithmetic, rounding, comparison, exponentials, powers.
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
fn with_sign(x: T, s: T) -> T { return bitcast<T>(bits_abs(x) | bits_sign(s)); }
fn high_bits(x: T) -> T { return bitcast<T>(bitcast<U>(x) & U(0xfffff000u)); }
// 2^n, n in -126 .. 127.
fn power_of_two(n: I) -> T { return bitcast<T>(bitcast<U>(n + I(127)) << U(23u)); }
// x * 2^n, n in -252 .. 254.
fn scale_by(x: T, n: I) -> T {
    let h = n >> U(1u);
    return x * power_of_two(h) * power_of_two(n - h);
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
fn op_trunc_divide(x: T, y: T) -> T { return op_trunc(x / y); }

// exp(r) - 1 - r for |r| <= 0.347, error 2^-28.
fn exp_tail(r: T) -> T {
    let p = ((((r * 1.9875691500e-4 + 1.3981999507e-3) * r + 8.3334519073e-3) * r + 4.1665795894e-2) * r
        + 1.6666665459e-1) * r + 5.0000001201e-1;
    return p * r * r;
}
// exp(x) * 2^k; x = n ln2 + r. 1 ulp.
fn exp_scaled(x: T, k: I) -> T {
    let c = clamp(x, T(-120.0), T(100.0));
    let n = round(c * 1.44269504088896341);
    let r = fma(n, T(2.12194440e-4), fma(n, T(-0.693359375), c));
    let y = scale_by(exp_tail(r) + r + 1.0, I(n) + k);
    return select(y, x, is_nan(x));
}
fn op_exp(x: T) -> T { return exp_scaled(x, I(0)); }
// 2^x; exact at integers. 1 ulp.
fn op_exp2(x: T) -> T {
    let c = clamp(x, T(-160.0), T(140.0));
    let n = round(c);
    let f = c - n;
    let r = f * 0.693147180559945309;
    let y = scale_by(exp_tail(r) + r + 1.0, I(n));
    return select(y, x, is_nan(x));
}
// 1.5 ulp.
fn op_expm1(x: T) -> T {
    let c = clamp(x, T(-30.0), T(100.0));
    let n = round(c * 1.44269504088896341);
    let r = fma(n, T(2.12194440e-4), fma(n, T(-0.693359375), c));
    let k = min(I(n), I(150));
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
    let u = x + 1.0;
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
    let tl = a - (th - base);
    let sl = v * ((u - sh * th) - sh * tl);
    let z = s * s;
    let r = z * z * (((((z * 2.0697501302e-01 + 2.3066075146e-01) * z + 2.7272811532e-01) * z
        + 3.3333334327e-01) * z + 4.2857143283e-01) * z + 6.0000002384e-01) + sl * (sh + s);
    let q = sh * sh;
    let gh = high_bits(q + r + 3.0);
    let gl = r - ((gh - 3.0) - q);
    let eu = sh * gh;
    let ev = sl * gh + gl * s;
    let ph = high_bits(eu + ev);
    let pl = ev - (ph - eu);
    let zh = ph * 9.6191406250e-01;
    let zl = ph * -1.1736857402e-04 + pl * 9.6179670095e-01 + dl;
    let t1 = high_bits(((zh + zl) + dh) + n);
    let t2 = zl - (((t1 - n) - dh) - zh);
    // y * log2|x| = w + wl
    let y1 = high_bits(y);
    let wl = (y - y1) * t1 + y * t2;
    let w = y1 * t1;
    let e = wl + w;
    let over = e >= T(129.0);
    let under = e <= T(-152.0);
    let regular = !(over | under) & (bits_abs(e) < U(0x7f800000u));
    let k = round(select(T(0.0), e, regular));
    let g = w - k;
    let t = bitcast<T>(bitcast<U>(wl + g) & U(0xffff8000u));
    let lu = t * 6.93145752e-01;
    let lv = (wl - (t - g)) * 6.9314718246e-01 + t * 1.42860654e-06;
    let m = select(T(0.0), lu + lv, regular);
    let rest = select(T(0.0), lv - (m - lu), regular);
    let p = scale_by((exp_tail(m) + (rest + m * rest)) + m + 1.0, I(k));
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
    let whole = (trunc(ay) == ay) | yinf;
    let odd = whole & (ay < T(16777216.0)) & (fract(ay * 0.5) > T(0.25));
    let negative = op_signbit(x);
    f = select(f, -f, negative & odd);
    f = select(f, nan_(), negative & !whole & op_isfinite(x) & (ax > T(0.0)));
    f = select(f, x + y, unordered(x, y));
    let unit = (y == T(0.0)) & !is_nan(y) | (x == T(1.0)) & !is_nan(x) | (ax == T(1.0)) & yinf;
    return select(f, T(1.0), unit);
}
// x 2^e as PyTorch computes it.
fn op_ldexp(x: T, e: T) -> T { return x * op_exp2(e); }
// Scaled by a power of two against overflow. 1 ulp.
fn op_hypot(x: T, y: T) -> T {
    let m = max(op_abs(x), op_abs(y));
    let s = select(select(T(1.0), T(8.470329472543003e-22), m > T(1.0e18)), T(1.1805916207174113e21), m < T(1.0e-18));
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
