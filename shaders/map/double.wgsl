// Elementwise f64 functions, for adapters that have f64 and i64; the names are those of float.wgsl.
// Instantiated by replacing T, U, I, B, W: f64, u64, i64, bool, u32 (shift counts), or their vec4; every function foo
// becomes foo_<suffix>. Relative error 1e-15 or so unless said otherwise.
alias T = f64;
alias U = u64;
alias I = i64;
alias B = bool;
alias W = u32;
var<private> zero_bits: u32 = 0u;

// NaN and infinity by bits: compilers may assume that neither exists.
fn inf_() -> T { return bitcast<T>(U(u64(zero_bits)) + U(0x7ff0000000000000)); }
fn nan_() -> T { return bitcast<T>(U(u64(zero_bits)) + U(0x7ff8000000000000)); }
fn bits_abs(x: T) -> U { return bitcast<U>(x) & U(0x7fffffffffffffff); }
fn bits_sign(x: T) -> U { return bitcast<U>(x) & ~U(0x7fffffffffffffff); }
fn is_nan(x: T) -> B { return bits_abs(x) > U(0x7ff0000000000000); }
fn opaque(x: T) -> T { return bitcast<T>(bitcast<U>(x) | U(u64(zero_bits))); }
fn with_sign(x: T, s: T) -> T { return bitcast<T>(bits_abs(x) | bits_sign(s)); }
fn high_bits(x: T) -> T { return bitcast<T>(bitcast<U>(x) & ~U(0x7ffffff)); }
// x, |x| < 2^50, shifted so that the low bits hold the whole number nearest to it: some CPU drivers convert to integers slowly.
// `whole` and `whole_bits` give it.
fn shifted(x: T) -> T { return opaque(x + 6755399441055744.0); }
fn whole(t: T) -> T { return t - 6755399441055744.0; }
fn whole_bits(t: T) -> I { return bitcast<I>(t) - I(0x4338000000000000); }
// 2^n, n in -1022 .. 1023.
fn power_of_two(n: I) -> T { return bitcast<T>(bitcast<U>(n + I(1023)) << W(52)); }
// x * 2^n, n in -2044 .. 2046.
fn scale_by(x: T, n: I) -> T {
    let h = n >> W(1);
    return opaque(x * power_of_two(h)) * power_of_two(n - h);
}

fn op_isnan(x: T) -> B { return is_nan(x); }
fn op_isinf(x: T) -> B { return bits_abs(x) == U(0x7ff0000000000000); }
fn op_isfinite(x: T) -> B { return bits_abs(x) < U(0x7ff0000000000000); }
fn op_isposinf(x: T) -> B { return bitcast<U>(x) == U(0x7ff0000000000000); }
fn op_isneginf(x: T) -> B { return bitcast<U>(x) == ~U(0x000fffffffffffff); }
fn op_signbit(x: T) -> B { return bits_sign(x) != U(0); }

fn unordered(x: T, y: T) -> B { return is_nan(x) | is_nan(y); }
fn op_eq(x: T, y: T) -> B { return (x == y) & !unordered(x, y); }
fn op_ne(x: T, y: T) -> B { return !op_eq(x, y); }
fn op_lt(x: T, y: T) -> B { return (x < y) & !unordered(x, y); }
fn op_le(x: T, y: T) -> B { return (x <= y) & !unordered(x, y); }
fn op_gt(x: T, y: T) -> B { return (x > y) & !unordered(x, y); }
fn op_ge(x: T, y: T) -> B { return (x >= y) & !unordered(x, y); }
fn truth(x: T) -> B { return bits_abs(x) != U(0); }
fn op_logical_and(x: T, y: T) -> B { return truth(x) & truth(y); }
fn op_logical_or(x: T, y: T) -> B { return truth(x) | truth(y); }
fn op_logical_xor(x: T, y: T) -> B { return truth(x) != truth(y); }
fn op_logical_not(x: T) -> B { return !truth(x); }

fn op_add(x: T, y: T) -> T { return x + y; }
fn op_sub(x: T, y: T) -> T { return x - y; }
fn op_mul(x: T, y: T) -> T { return x * y; }
fn op_div(x: T, y: T) -> T { return x / y; }
fn op_neg(x: T) -> T { return bitcast<T>(bitcast<U>(x) ^ ~U(0x7fffffffffffffff)); }
fn op_abs(x: T) -> T { return bitcast<T>(bits_abs(x)); }
fn op_positive(x: T) -> T { return x; }
fn op_square(x: T) -> T { return x * x; }
fn op_reciprocal(x: T) -> T { return T(1.0) / x; }
fn op_sqrt(x: T) -> T { return sqrt(x); }
fn op_rsqrt(x: T) -> T { return T(1.0) / sqrt(x); }
// NaN and zero give 0, as in PyTorch.
fn op_sign(x: T) -> T {
    return select(T(0.0), with_sign(T(1.0), x), (bits_abs(x) != U(0)) & !is_nan(x));
}
fn op_sgn(x: T) -> T { return op_sign(x); }
fn op_floor(x: T) -> T { return floor(x); }
fn op_ceil(x: T) -> T { return with_sign(ceil(x), x); }
fn op_trunc(x: T) -> T { return with_sign(trunc(x), x); }
// Half to even.
fn op_round(x: T) -> T {
    let r = with_sign(round(x), x);
    return select(r, x, bits_abs(x) >= U(0x4330000000000000));
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
    return select(step, v, bits_abs(x) == U(0));
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
    var r = select(b - U(1), b + U(1), up);
    r = select(r, bits_sign(y) | U(1), bits_abs(x) == U(0));
    let z = select(bitcast<T>(r), y, x == y);
    return select(z, x + y, unordered(x, y));
}

// Exact: long division of the mantissas, eleven quotient bits a step.
fn op_fmod(x: T, y: T) -> T {
    let a = bits_abs(x);
    let b = bits_abs(y);
    let ea = max(a >> W(52), U(1));
    let eb = max(b >> W(52), U(1));
    let hidden = U(0x0010000000000000);
    let ma = (a & U(0x000fffffffffffff)) | select(U(0), hidden, a >= hidden);
    let mb = max((b & U(0x000fffffffffffff)) | select(U(0), hidden, b >= hidden), U(1));
    let small = (a < b) | (b == U(0)) | (a >= U(0x7ff0000000000000));
    var d = select(ea - eb, U(0), small);
    var m = ma % mb;
    for (var i = 0; i < 187; i++) {
        if !any(d > U(0)) { break; }
        let s = min(d, U(11));
        m = (m << W(s)) % mb;
        d -= s;
    }
    // m 2^(eb - 1075) in two exact steps
    let signed = with_sign(T(bitcast<I>(m)) * 2.220446049250313e-16 * power_of_two(I(eb) - I(1023)), x);
    let invalid = (a >= U(0x7ff0000000000000)) | (b > U(0x7ff0000000000000)) | (b == U(0));
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

// exp(r) - 1 - r for |r| <= 0.347, error 2^-57.
fn exp_tail(r: T) -> T {
    let p = ((((((((((r * 1.6059043836821613e-10 + 2.08767569878681e-09) * r + 2.505210838544172e-08) * r
        + 2.7557319223985888e-07) * r + 2.7557319223985893e-06) * r + 2.4801587301587302e-05) * r
        + 0.00019841269841269841) * r + 0.0013888888888888889) * r + 0.0083333333333333332) * r
        + 0.041666666666666664) * r + 0.16666666666666666) * r + 0.5;
    return p * r * r;
}
// exp(x) * 2^k; x = n ln2 + r. 1 ulp.
fn exp_scaled(x: T, k: I) -> T {
    let c = clamp(x, T(-800.0), T(720.0));
    let t = shifted(c * 1.44269504088896341);
    let n = whole(t);
    let r = opaque(c - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
    let y = scale_by(exp_tail(r) + r + 1.0, whole_bits(t) + k);
    return select(y, x, is_nan(x));
}
fn op_exp(x: T) -> T { return exp_scaled(x, I(0)); }
// 2^x; exact at integers.
fn op_exp2(x: T) -> T {
    let c = clamp(x, T(-1100.0), T(1100.0));
    let t = shifted(c);
    let r = (c - whole(t)) * 0.693147180559945309;
    let y = scale_by(exp_tail(r) + r + 1.0, whole_bits(t));
    return select(y, x, is_nan(x));
}
fn op_expm1(x: T) -> T {
    let c = clamp(x, T(-50.0), T(720.0));
    let t = shifted(c * 1.44269504088896341);
    let n = whole(t);
    let r = opaque(c - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
    let k = whole_bits(t);
    let low = exp_tail(r) + r;
    let one = T(1.0) - scale_by(T(1.0), -k);
    let y = scale_by(low + one, k);
    return select(y, x, is_nan(x) | (bits_abs(x) < U(0x3c90000000000000)));
}

// x = 2^k m, m in sqrt(1/2) .. sqrt(2); k comes back through the pointer. Subnormals are scaled first.
fn log_split(x: T, k: ptr<function, T>) -> T {
    let tiny = bitcast<U>(x) < U(0x0010000000000000);
    let b = bitcast<U>(select(x, x * 18014398509481984.0, tiny)) + U(0x00095f6200000000);
    *k = T(bitcast<I>(b >> W(52)) - I(1023)) - select(T(0.0), T(54.0), tiny);
    return bitcast<T>((b & U(0x000fffffffffffff)) + U(0x3fe6a09e00000000));
}
// log(1 + f) - f + f^2/2 for f in -0.293 .. 0.415, with s = f/(2+f) (fdlibm's polynomial).
fn log_series(f: T) -> T {
    let s = f / (f + 2.0);
    let z = s * s;
    let w = z * z;
    let a = ((w * 1.531383769920937332e-01 + 2.222219843214978396e-01) * w + 3.999999999940941908e-01) * w;
    let b = (((w * 1.479819860511658591e-01 + 1.818357216161805012e-01) * w + 2.857142874366239149e-01) * w
        + 6.666666666666735130e-01) * z;
    return s * (f * f * 0.5 + (a + b));
}
fn log_edges(y: T, x: T) -> T {
    let r = select(select(y, -inf_(), bits_abs(x) == U(0)), nan_(), op_signbit(x) & truth(x));
    return select(r, x, is_nan(x) | op_isposinf(x));
}
fn op_log(x: T) -> T {
    var k = T(0.0);
    let f = log_split(x, &k) - 1.0;
    let h = f * f * 0.5;
    let y = ((log_series(f) + k * 1.90821492927058770002e-10) - h) + f + k * 6.93147180369123816490e-01;
    return log_edges(y, x);
}
fn op_log2(x: T) -> T {
    var k = T(0.0);
    let f = log_split(x, &k) - 1.0;
    let y = ((log_series(f) - f * f * 0.5) + f) * 1.44269504088896341 + k;
    return log_edges(y, x);
}
fn op_log10(x: T) -> T {
    var k = T(0.0);
    let f = log_split(x, &k) - 1.0;
    let y = ((log_series(f) - f * f * 0.5) + f) * 0.434294481903251828 + k * 0.301029995663981195;
    return log_edges(y, x);
}
// log(1+x) with the rounding of 1+x carried as c.
fn op_log1p(x: T) -> T {
    let near = (x > T(-0.2929)) & (x < T(0.4142));
    let u = opaque(x + 1.0);
    var k = T(0.0);
    let m = log_split(u, &k);
    let c0 = select(x - (u - 1.0), T(1.0) - (u - x), k >= T(2.0)) / u;
    let c = select(select(c0, T(0.0), k >= T(54.0)), T(0.0), near);
    k = select(k, T(0.0), near);
    let f = select(m - 1.0, x, near);
    let h = f * f * 0.5;
    let y = (log_series(f) + (k * 1.90821492927058770002e-10 + c) - h) + f + k * 6.93147180369123816490e-01;
    let r = log_edges(y, u);
    return select(r, x, is_nan(x) | (bits_abs(x) < U(0x3c90000000000000)));
}

// exp(y log|x|) with the logarithm in a high and a low part; signs and edge cases of C99 after it.
// Relative error 3e-15.
fn op_pow(x: T, y: T) -> T {
    var n = T(0.0);
    let ax = op_abs(x);
    let g = log_split(ax, &n) - 1.0;
    let h = g * g * 0.5;
    let hi = high_bits(g - h);
    let lo = ((g - hi) - h) + log_series(g);
    // (n + hi/ln2 + lo/ln2) y, n y split exactly
    let c = clamp(y, T(-1.0e25), T(1.0e25));
    let yh = high_bits(c);
    let yl = c - yh;
    let m1 = hi * 1.4426950216293335;
    let m2 = (hi + lo) * 1.9259629911266175e-8 + lo * 1.4426950216293335;
    let t1 = high_bits(n + m1 + m2);
    let t2 = (opaque(n - t1) + m1) + m2;
    let w = yh * t1;
    let wl = yl * t1 + c * t2;
    let e = w + wl;
    let over = e >= T(1025.0);
    let under = e <= T(-1080.0);
    let regular = !(over | under) & (bits_abs(e) < U(0x7ff0000000000000));
    let t = shifted(select(T(0.0), e, regular));
    let d = select(T(0.0), opaque(w - whole(t)) + wl, regular);
    let r = d * 0.693147180559945309;
    let p = scale_by(exp_tail(r) + r + 1.0, whole_bits(t));
    let inf = inf_();
    var f = select(select(p, inf, over), T(0.0), under);
    let down = op_signbit(y);
    f = select(f, select(T(0.0), inf, down), ax == T(0.0));
    f = select(f, select(inf, T(0.0), down), op_isinf(x));
    let yinf = op_isinf(y);
    f = select(f, select(T(0.0), inf, (ax > T(1.0)) != down), yinf);
    let ay = op_abs(y);
    let whole_y = (trunc(ay) == ay) | yinf;
    // integers to integer powers are exact
    f = select(f, round(f), whole_y & !down & (trunc(ax) == ax) & (f < T(17592186044416.0)));
    let odd = whole_y & (ay < T(9007199254740992.0)) & (fract(ay * 0.5) > T(0.25));
    let negative = op_signbit(x);
    f = select(f, -f, negative & odd);
    f = select(f, nan_(), negative & !whole_y & op_isfinite(x) & (ax > T(0.0)));
    f = select(f, x + y, unordered(x, y));
    let unit = ((y == T(0.0)) & !is_nan(y)) | ((x == T(1.0)) & !is_nan(x)) | ((ax == T(1.0)) & yinf);
    return select(f, T(1.0), unit);
}
// x 2^e as PyTorch computes it.
fn op_ldexp(x: T, e: T) -> T { return x * op_exp2(e); }
// Scaled by a power of two against overflow.
fn op_hypot(x: T, y: T) -> T {
    let m = max(op_abs(x), op_abs(y));
    let down = select(T(1.0), T(2.409919865102884e-181), m > T(1.0e150));
    let s = select(down, T(4.149515568880993e+180), m < T(1.0e-140));
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
    let r = select(x * op_log(y), T(0.0), bits_abs(x) == U(0));
    return select(r, y, is_nan(y));
}
fn op_xlog1py(x: T, y: T) -> T {
    let r = select(x * op_log1p(y), T(0.0), bits_abs(x) == U(0));
    return select(r, y, is_nan(y));
}

// High word of a 64 x 64 product, by 32-bit halves.
fn product_high(a: U, b: U) -> U {
    let al = a & U(0xffffffff);
    let ah = a >> W(32);
    let bl = b & U(0xffffffff);
    let bh = b >> W(32);
    let m = ah * bl + ((al * bl) >> W(32));
    let l = al * bh + (m & U(0xffffffff));
    return ah * bh + (m >> W(32)) + (l >> W(32));
}
// Words of 2/pi after 64 zero bits.
fn two_over_pi(i: U) -> U {
    var w = U(0);
    w = select(w, ((U(0xa2f9836e) << W(32)) | U(0x4e441529)), i == U(1));
    w = select(w, ((U(0xfc2757d1) << W(32)) | U(0xf534ddc0)), i == U(2));
    w = select(w, ((U(0xdb629599) << W(32)) | U(0x3c439041)), i == U(3));
    w = select(w, ((U(0xfe5163ab) << W(32)) | U(0xdebbc561)), i == U(4));
    w = select(w, ((U(0xb7246e3a) << W(32)) | U(0x424dd2e0)), i == U(5));
    w = select(w, ((U(0x06492eea) << W(32)) | U(0x09d1921c)), i == U(6));
    w = select(w, ((U(0xfe1deb1c) << W(32)) | U(0xb129a73e)), i == U(7));
    w = select(w, ((U(0xe88235f5) << W(32)) | U(0x2ebb4484)), i == U(8));
    w = select(w, ((U(0xe99c7026) << W(32)) | U(0xb45f7e41)), i == U(9));
    w = select(w, ((U(0x3991d639) << W(32)) | U(0x835339f4)), i == U(10));
    w = select(w, ((U(0x9c845f8b) << W(32)) | U(0xbdf9283b)), i == U(11));
    w = select(w, ((U(0x1ff897ff) << W(32)) | U(0xde05980f)), i == U(12));
    w = select(w, ((U(0xef2f118b) << W(32)) | U(0x5a0a6d1f)), i == U(13));
    w = select(w, ((U(0x6d367ecf) << W(32)) | U(0x27cb09b7)), i == U(14));
    w = select(w, ((U(0x4f463f66) << W(32)) | U(0x9e5fea2d)), i == U(15));
    w = select(w, ((U(0x7527bac7) << W(32)) | U(0xebe5f17b)), i == U(16));
    w = select(w, ((U(0x3d0739f7) << W(32)) | U(0x8a5292ea)), i == U(17));
    w = select(w, ((U(0x6bfb5fb1) << W(32)) | U(0x1f8d5d08)), i == U(18));
    return w;
}
// Payne-Hanek: the 53-bit mantissa times the 192 bits of 2/pi that matter at this exponent, modulo 4.
fn reduce_large(x: T, quadrant: ptr<function, U>) -> T {
    let b = bits_abs(x);
    let m = (b & U(0x000fffffffffffff)) | U(0x0010000000000000);
    let at = (b >> W(52)) - U(1075 - 62);
    let i = at >> W(6);
    let s = at & U(63);
    let w0 = two_over_pi(i);
    let w1 = two_over_pi(i + U(1));
    let w2 = two_over_pi(i + U(2));
    let w3 = two_over_pi(i + U(3));
    let back = (U(64) - s) & U(63);
    let keep = s == U(0);
    let p0 = (w0 << W(s)) | select(w1 >> W(back), U(0), keep);
    let p1 = (w1 << W(s)) | select(w2 >> W(back), U(0), keep);
    let p2 = (w2 << W(s)) | select(w3 >> W(back), U(0), keep);
    let low = m * p1;
    let mid = low + product_high(m, p2);
    let high = m * p0 + product_high(m, p1) + select(U(0), U(1), mid < low);
    let q = (high + U(0x2000000000000000)) >> W(62);
    let f = bitcast<I>(high - (q << W(62)));
    let top = (f >> W(32)) << W(32);
    let rest = T(f - top) + T(bitcast<I>(mid >> W(1))) * 1.0842021724855044e-19;
    let r = (T(top) + rest) * 3.4061215800865545e-19;
    let negative = op_signbit(x);
    *quadrant = select(q, U(0) - q, negative) & U(3);
    return select(r, -r, negative);
}
// x = n pi/2 + r, |r| <= pi/4; n mod 4 through the pointer.
// Cody-Waite with four pieces of 22 bits and a rest up to 2^30, exact products; the integer reduction above that.
fn reduce_angle(x: T, quadrant: ptr<function, U>) -> T {
    let large = bits_abs(x) > U(0x41d0000000000000);
    let c = select(x, T(0.0), large);
    let t = shifted(c * 0.636619772367581343);
    let n = whole(t);
    var r = opaque(c - n * 1.570796012878418);
    r = opaque(r - n * 3.139164164167596e-07);
    r = opaque(r - n * 6.2233719696699885e-14);
    r = opaque(r - n * 2.0222659584103533e-21);
    r = r - n * 2.9038559739793605e-28;
    var q = bitcast<U>(whole_bits(t)) & U(3);
    if any(large) {
        var ql = U(0);
        let rl = reduce_large(x, &ql);
        r = select(r, rl, large);
        q = select(q, ql, large);
    }
    *quadrant = q;
    return r;
}
fn sin_kernel(r: T) -> T {
    let z = r * r;
    let p = (((((z * -7.5866388288109035e-13 + 1.6058530632694526e-10) * z - 2.5052106226244822e-08) * z
        + 2.7557319219321379e-06) * z - 0.00019841269841265041) * z + 0.0083333333333333315) * z
        - 0.16666666666666666;
    return p * z * r + r;
}
fn cos_kernel(r: T) -> T {
    let z = r * r;
    let p = (((((z * 4.7458393861094979e-14 - 1.1470460337244595e-11) * z + 2.0876755787617889e-09) * z
        - 2.7557319221392893e-07) * z + 2.4801587301584635e-05) * z - 0.0013888888888888887) * z
        + 0.041666666666666664;
    return p * z * z - z * 0.5 + 1.0;
}
fn sin_quadrant(r: T, q: U) -> T {
    let y = select(sin_kernel(r), cos_kernel(r), (q & U(1)) != U(0));
    return select(y, -y, (q & U(2)) != U(0));
}
fn only_finite(y: T, x: T) -> T { return select(nan_(), y, op_isfinite(x)); }
fn op_sin(x: T) -> T {
    var q = U(0);
    let r = reduce_angle(x, &q);
    return select(only_finite(sin_quadrant(r, q), x), x, bits_abs(x) == U(0));
}
fn op_cos(x: T) -> T {
    var q = U(0);
    let r = reduce_angle(x, &q);
    return only_finite(sin_quadrant(r, q + U(1)), x);
}
fn op_tan(x: T) -> T {
    var q = U(0);
    let r = reduce_angle(x, &q);
    let s = sin_kernel(r);
    let c = cos_kernel(r);
    let odd = (q & U(1)) != U(0);
    let y = select(s, -c, odd) / select(c, s, odd);
    return select(only_finite(y, x), x, bits_abs(x) == U(0));
}
// sin(pi x), exactly 0 at integers; x finite.
fn sin_pi(x: T) -> T {
    let h = x - round(x * 0.5) * 2.0;
    let t = shifted(h * 2.0);
    let r = (h - whole(t) * 0.5) * 3.14159265358979324;
    return sin_quadrant(r, bitcast<U>(whole_bits(t)) & U(3));
}
fn op_sinc(x: T) -> T {
    let y = sin_pi(x) / (x * 3.14159265358979324);
    return select(only_finite(y, select(x, T(0.0), op_isinf(x))), T(1.0), bits_abs(x) == U(0));
}

// asin(a) for a in 0 .. 0.5
fn asin_kernel(a: T) -> T {
    let z = a * a;
    let p = ((((((((((((z * 0.02976107516203165 - 0.019481939807257091) * z + 0.019725766149922507) * z
        + 0.0029738312574686468) * z + 0.0093385649697107047) * z + 0.0096184135294281707) * z
        + 0.011566884158183674) * z + 0.013963744068678447) * z + 0.017352818577754621) * z
        + 0.022372157369440874) * z + 0.030381944477133251) * z + 0.04464285714253393) * z
        + 0.07500000000000126) * z + 0.16666666666666666;
    return p * z * a + a;
}
// Above 0.5: pi/2 - 2 asin(sqrt((1-a)/2)).
fn op_asin(x: T) -> T {
    let a = op_abs(x);
    let big = a > T(0.5);
    let s = asin_kernel(select(a, sqrt(max((T(1.0) - a) * 0.5, T(0.0))), big));
    let y = select(s, (T(1.5707963267948966) - s * 2.0) + 6.123233995736766e-17, big);
    return select(with_sign(y, x), nan_(), is_nan(x) | (a > T(1.0)));
}
fn op_acos(x: T) -> T {
    let a = op_abs(x);
    let big = a > T(0.5);
    let s = asin_kernel(select(x, sqrt(max((T(1.0) - a) * 0.5, T(0.0))), big));
    let t = s * 2.0;
    let far = select(t, (T(3.1415926535897931) - t) + 1.2246467991473532e-16, x < T(0.0));
    let y = select((T(1.5707963267948966) - s) + 6.123233995736766e-17, far, big);
    return select(y, nan_(), is_nan(x) | (a > T(1.0)));
}
// atan(t) for t in 0 .. 1, about 0 or about 1.
fn atan_kernel(t: T) -> T {
    let far = t > T(0.4142135623730950);
    let a = select(t, (t - 1.0) / (t + 1.0), far);
    let z = a * a;
    let p = (((((((((((z * -0.013927739115261481 + 0.030645928777641489) * z - 0.041049164983621711) * z
        + 0.047195244261351729) * z - 0.05258063637082673) * z + 0.058819277396235541) * z
        - 0.066666422066290115) * z + 0.076923067452079677) * z - 0.09090909067297849) * z
        + 0.11111111110760036) * z - 0.1428571428571157) * z + 0.19999999999999993) * z
        - 0.33333333333333331;
    let y = p * z * a + a;
    return select(y, y + 0.785398163397448310, far);
}
fn op_atan(x: T) -> T {
    let a = op_abs(x);
    let big = a > T(1.0);
    let k = atan_kernel(select(a, T(1.0) / a, big));
    let y = select(k, (T(1.5707963267948966) - k) + 6.123233995736766e-17, big);
    return select(with_sign(y, x), x, is_nan(x));
}
fn op_atan2(y: T, x: T) -> T {
    let ax = op_abs(x);
    let ay = op_abs(y);
    let steep = ay > ax;
    // scaled so that neither quotient nor divisor leaves the normal range
    let s = select(T(1.0), T(0.25), max(ax, ay) > T(1.0e300))
        * select(T(1.0), T(18014398509481984.0), max(ax, ay) < T(1.0e-280));
    let low = min(ax, ay) * s;
    let high = max(ax, ay) * s;
    var t = select(low / high, T(1.0), ax == ay);
    t = select(t, T(0.0), high == T(0.0));
    let k = atan_kernel(t);
    let a = select(k, (T(1.5707963267948966) - k) + 6.123233995736766e-17, steep);
    let r = select(a, (T(3.1415926535897931) - a) + 1.2246467991473532e-16, op_signbit(x));
    return select(with_sign(r, y), x + y, unordered(x, y));
}

// Through expm1 below 1, else with e = exp|x| / 2.
fn op_sinh(x: T) -> T {
    let a = op_abs(x);
    let t = op_expm1(min(a, T(1.0)));
    let e = exp_scaled(a, I(-1));
    let y = with_sign(select(e - T(0.25) / e, (t + t / (t + 1.0)) * 0.5, a < T(1.0)), x);
    return select(y, x, is_nan(x));
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
fn op_tanh(x: T) -> T {
    let t = op_expm1(min(op_abs(x), T(25.0)) * -2.0);
    let y = with_sign(-t / (t + 2.0), x);
    return select(y, x, is_nan(x));
}
fn op_tanhshrink(x: T) -> T { return x - op_tanh(x); }
// log1p(a + a^2/(1+sqrt(a^2+1))); log(a) + ln2 above 1e4.
fn op_asinh(x: T) -> T {
    let a = min(op_abs(x), T(1.0e10));
    let z = a * a;
    let y = op_log1p(a + z / (sqrt(z + 1.0) + 1.0));
    let far = op_log(op_abs(x)) + 0.693147180559945309;
    let r = with_sign(select(y, far, op_abs(x) > T(1.0e10)), x);
    return select(r, x, is_nan(x) | (bits_abs(x) < U(0x3e40000000000000)));
}
fn op_acosh(x: T) -> T {
    let t = clamp(x, T(1.0), T(1.0e10)) - 1.0;
    let y = op_log1p(t + sqrt(t * 2.0 + t * t));
    let far = op_log(x) + 0.693147180559945309;
    let r = select(y, far, x > T(1.0e10));
    return select(select(r, nan_(), x < T(1.0)), x, is_nan(x));
}
fn op_atanh(x: T) -> T {
    let a = op_abs(x);
    let t = a + a;
    let q = select(t / (T(1.0) - a), t + t * a / (T(1.0) - a), a < T(0.5));
    let y = with_sign(op_log1p(q) * 0.5, x);
    let r = select(select(y, nan_(), a > T(1.0)), with_sign(inf_(), x), a == T(1.0));
    return select(r, x, is_nan(x) | (bits_abs(x) < U(0x3e40000000000000)));
}
