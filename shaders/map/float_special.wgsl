// Elementwise f32 functions, continued: special functions and activations.
// Instantiated as float.wgsl, whose functions it uses.
alias T = f32;
alias U = u32;
alias I = i32;
alias B = bool;
var<private> zero_bits: u32 = 0u;

// erf(x) / x for |x| < 1 in z = x^2, error 1e-9.
fn erf_kernel(z: T) -> T {
    return (((((z * 7.88249711e-05 - 0.0008018854993) * z + 0.005189311943) * z - 0.0268543288) * z
        + 0.1128359746) * z - 0.376126269) * z + 1.128379166;
}
// erfc(a) for a >= 0: exp(-a^2) / (1+2a) times a polynomial in (a-2)/(a+2), error 1e-8.
// a^2 is h^2 and the rest, so that its exponential is as exact as any. About 5 ulp.
fn erfc_kernel(a: T) -> T {
    let c = min(a, T(10.2));
    let s = c + 2.0;
    let w = c * 2.0 + 1.0;
    let d = T(1.0) / (s * w);
    let q = (c - 2.0) * (w * d);
    let p = (((((((((q * 3.481640691e-05 - 0.0003479984962) * q - 0.001251852582) * q + 0.001259577289) * q
        + 0.008633175497) * q - 0.008040997345) * q - 0.05420348137) * q + 0.1640528452) * q
        - 0.1660315045) * q - 0.09276389073) * q + 1.276978394;
    let h = high_bits(c);
    let t = shifted(c * c * -1.44269504088896341);
    let n = whole(t);
    let r = opaque(-h * h - n * 0.693359375) + (n * 2.12194440e-4 + (h - c) * (h + c));
    return scale_by((exp_tail(r) + r + 1.0) * (p * (s * d)), whole_bits(t));
}
// 1.5 ulp.
fn op_erf(x: T) -> T {
    let a = op_abs(x);
    let y = select(with_sign(T(1.0) - erfc_kernel(a), x), erf_kernel(x * x) * x, a < T(1.0));
    return select(y, x, is_nan(x));
}
fn op_erfc(x: T) -> T {
    let e = erfc_kernel(op_abs(x));
    let y = select(e, T(2.0) - e, op_signbit(x));
    let near = select(y, T(1.0) - erf_kernel(x * x) * x, op_abs(x) < T(0.25));
    return select(near, x, is_nan(x));
}
// Giles' polynomials in -log(1 - x^2). 4 ulp.
fn op_erfinv(x: T) -> T {
    let w = -op_log1p(-x * x);
    let far = -op_log((T(1.0) - op_abs(x)) * (T(1.0) + op_abs(x)));
    let l = select(w, far, op_abs(x) > T(0.5));
    let a = l - 2.5;
    let p = (((((((a * 2.81022636e-08 + 3.43273939e-07) * a - 3.5233877e-06) * a - 4.39150654e-06) * a
        + 0.00021858087) * a - 0.00125372503) * a - 0.00417768164) * a + 0.246640727) * a + 1.50140941;
    let b = sqrt(max(l, T(5.0))) - 3.0;
    let q = (((((((b * -0.000200214257 + 0.000100950558) * b + 0.00134934322) * b - 0.00367342844) * b
        + 0.00573950773) * b - 0.0076224613) * b + 0.00943887047) * b + 1.00167406) * b + 2.83297682;
    let y = select(p, q, l >= T(5.0)) * x;
    let edge = select(y, with_sign(inf_(), x), op_abs(x) == T(1.0));
    return select(edge, nan_(), op_gt(op_abs(x), T(1.0)) | is_nan(x));
}

// log gamma(2 + t) = t (1 + t) P(t) for |t| <= 0.5, error 2e-10.
fn lgamma_kernel(t: T) -> T {
    let p = ((((((((t * -9.651198743e-05 + 0.0002087006675) * t - 0.0004022425219) * t + 0.0009094833107) * t
        - 0.002108516007) * t + 0.004999175317) * t - 0.01238417483) * t + 0.03296498378) * t
        - 0.1003173019) * t + 0.4227843352;
    return t * (t + 1.0) * p;
}
// log gamma(x) for x > 0: the kernel after shifting x into 1.5 .. 2.5, Stirling from 8 on.
fn lgamma_positive(x: T) -> T {
    let c = min(x, T(8.0));
    var t = c;
    var down = T(1.0);
    for (var k = 0; k < 6; k++) {
        let big = t > T(2.5);
        t = select(t, t - 1.0, big);
        down = select(down, down * t, big);
    }
    // the distance from 2 after the shift, exact near 1 and 2
    let one = c < T(1.5);
    let two = c < T(0.5);
    let d = select(select(t - 2.0, c - 1.0, one), c, two);
    let up = select(c, c * (c + 1.0), two);
    let near = lgamma_kernel(d) + op_log(select(down, up, one)) * select(T(1.0), T(-1.0), one);
    let s = max(x, T(8.0));
    let r = T(1.0) / s;
    let z = r * r;
    let l = op_log(s);
    let far = (s - 0.5) * (l - 1.0) + 0.418938533204672742 + ((z * 7.9365e-4 - 2.7777778e-3) * z + 8.3333333e-2) * r;
    return select(near, far, x >= T(8.0));
}
// Below 0 by reflection: absolute error 1e-6 near the zeros.
fn op_lgamma(x: T) -> T {
    let a = op_abs(x);
    let p = lgamma_positive(a);
    let s = op_abs(sin_pi(select(a, T(0.5), a > T(8388608.0)))) * a;
    let n = T(1.1447298858494002) - op_log(s) - p;
    let tiny = -op_log(a);
    var y = select(p, select(n, tiny, a < T(1.0e-8)), op_signbit(x));
    y = select(y, inf_(), (op_signbit(x) & (trunc(x) == x)) | (bits_abs(x) == U(0u)) | op_isinf(x));
    return select(y, x, is_nan(x));
}
// Shifted to 6 or more, then asymptotic; below 0 by reflection. Absolute error 3e-7 near the root.
fn op_digamma(x: T) -> T {
    let below = x < T(0.0);
    let p = select(x, T(1.0) - x, below);
    var t = p;
    var sum = T(0.0);
    for (var k = 0; k < 6; k++) {
        let low = t < T(6.0);
        sum = select(sum, sum + T(1.0) / t, low);
        t = select(t, t + 1.0, low);
    }
    let r = T(1.0) / t;
    let z = r * r;
    let w = (((z * -4.1666667e-3 + 3.9682540e-3) * z - 8.3333333e-3) * z + 8.3333333e-2) * z;
    var y = op_log(t) - r * 0.5 - w - sum;
    y = select(y, y - T(3.14159265358979324) * cos_pi(x) / sin_pi(x), below);
    y = select(y, nan_(), (below & (trunc(x) == x)) | op_isneginf(x));
    y = select(y, with_sign(inf_(), -x), bits_abs(x) == U(0u));
    return select(y, x, is_nan(x) | op_isposinf(x));
}
fn cos_pi(x: T) -> T {
    let h = x - round(x * 0.5) * 2.0;
    let t = shifted(h * 2.0);
    let r = (h - whole(t) * 0.5) * 3.14159265358979324;
    return sin_quadrant(r, (bitcast<U>(whole_bits(t)) + U(1u)) & U(3u));
}
// Box-Muller: u1 in (0, 1], u2 in [0, 1).
fn normal_from(u1: T, u2: T) -> T { return sqrt(op_log(u1) * -2.0) * cos_pi(u2 * 2.0); }
fn normal_pair_from(u1: T, u2: T) -> T { return sqrt(op_log(u1) * -2.0) * sin_pi(u2 * 2.0); }
// Below 0.5 by reflection.
fn op_trigamma(x: T) -> T {
    let below = x < T(0.5);
    var t = select(x, T(1.0) - x, below);
    var sum = T(0.0);
    for (var k = 0; k < 6; k++) {
        sum += T(1.0) / (t * t);
        t += 1.0;
    }
    let r = T(1.0) / t;
    let z = r * r;
    sum += (((z * 2.3809524e-2 - 3.3333333e-2) * z + 1.6666667e-1) * z + r * 0.5 + 1.0) * r;
    let s = sin_pi(x);
    let y = select(sum, T(9.8696044010893586) / (s * s) - sum, below);
    let pole = (x <= T(0.0)) & (trunc(x) == x);
    let e = select(select(y, inf_(), pole), T(0.0), op_isposinf(x));
    return select(e, nan_(), is_nan(x) | op_isneginf(x));
}
// Hurwitz zeta: 10 terms (more below 0), then Euler-Maclaurin.
fn op_zeta(s: T, q: T) -> T {
    var a = q;
    var sum = T(0.0);
    for (var k = 0; k < 256; k++) {
        let go = (a <= T(9.0)) | (T(f32(k)) < T(10.0));
        if !any(go) { break; }
        sum = select(sum, sum + op_pow(a, -s), go);
        a = select(a, a + 1.0, go);
    }
    let v = op_pow(a, T(1.0) - s);
    let w = v / a;
    let z = T(1.0) / (a * a);
    var t = s * w / a;
    var tail = v / (s - 1.0) + w * 0.5 + t * 8.3333333e-2;
    t *= (s + 1.0) * (s + 2.0) * z;
    tail -= t * 1.3888889e-3;
    t *= (s + 3.0) * (s + 4.0) * z;
    tail += t * 3.3068783e-5;
    t *= (s + 5.0) * (s + 6.0) * z;
    tail -= t * 8.2671958e-7;
    t *= (s + 7.0) * (s + 8.0) * z;
    tail += t * 2.0876757e-8;
    var y = select(sum + tail, sum, op_isinf(sum) | (v == T(0.0)));
    y = select(y, select(nan_(), inf_(), trunc(q) == q), (q <= T(0.0)) & ((trunc(q) == q) | (trunc(s) != s)));
    y = select(y, inf_(), s == T(1.0));
    y = select(y, nan_(), s < T(1.0));
    return select(y, s + q, unordered(s, q));
}
// (-1)^(n+1) n! zeta(n + 1, x)
fn op_polygamma(n: T, x: T) -> T {
    let f = op_exp(lgamma_positive(n + 1.0)) * select(T(-1.0), T(1.0), fract(n * 0.5) > T(0.25));
    let y = select(op_trigamma(x), f * op_zeta(max(n, T(2.0)) + 1.0, x), n > T(1.0));
    return select(y, op_digamma(x), n == T(0.0));
}

// Series in x^2 below 6; exp(x) / sqrt(x) times a polynomial in 1/x above. 3 ulp.
fn op_i0(x: T) -> T {
    let a = op_abs(x);
    let z = min(a, T(6.0)) * min(a, T(6.0));
    let p = ((((((((z * 4.52289145e-17 + 8.054144914e-15) * z + 2.461152146e-12) * z + 4.694264652e-10) * z
        + 6.784130632e-08) * z + 6.781445808e-06) * z + 0.0004340291068) * z + 0.01562499624) * z
        + 0.2500000041) * z + 0.9999999993;
    let c = max(a, T(6.0));
    let u = T(12.0) / c - 1.0;
    let q = (((((u * 3.874146955e-07 + 2.341533966e-06) * u + 7.464171467e-06) * u + 3.22994857e-05) * u
        + 0.0002638632555) * u + 0.004607060163) * u + 0.403312264;
    let far = exp_scaled(c, I(-8)) * (q * 256.0 / sqrt(c));
    let y = select(p, far, a > T(6.0));
    return select(y, x, is_nan(x));
}
fn op_i1(x: T) -> T {
    let a = op_abs(x);
    let z = min(a, T(6.0)) * min(a, T(6.0));
    let p = ((((((((z * 2.173847241e-18 + 4.623442375e-16) * z + 1.527576876e-13) * z + 3.357197034e-11) * z
        + 5.652483346e-09) * z + 6.781578951e-07) * z + 5.425353081e-05) * z + 0.002604166501) * z
        + 0.06250000018) * z + 0.5;
    let c = max(a, T(6.0));
    let u = T(12.0) / c - 1.0;
    let q = (((((u * -4.893130493e-07 - 2.745235515e-06) * u - 8.958280299e-06) * u - 4.279410059e-05) * u
        - 0.0004188261193) * u - 0.01320136148) * u + 0.3861236559;
    let far = with_sign(exp_scaled(c, I(-8)) * (q * 256.0 / sqrt(c)), x);
    let y = select(p * x, far, a > T(6.0));
    return select(y, x, is_nan(x));
}

fn op_sigmoid(x: T) -> T { return T(1.0) / (op_exp(-x) + 1.0); }
fn op_logit(x: T) -> T { return op_log(x / (T(1.0) - x)); }
// Limits in PyTorch's order, which matters where eps > 0.5.
fn op_logit_eps(x: T, eps: T) -> T {
    let high = T(1.0) - eps;
    return op_logit(select(select(x, high, x > high), eps, x < eps));
}
fn op_logsigmoid(x: T) -> T {
    let y = min(x, T(0.0)) - op_log1p(op_exp(-op_abs(x)));
    return select(y, x, is_nan(x));
}
fn op_softplus(x: T, beta: T, threshold: T) -> T {
    let y = x * beta;
    return select(op_log1p(op_exp(y)) / beta, x, op_gt(y, threshold));
}
fn op_relu(x: T) -> T { return op_maximum(x, T(0.0)); }
fn op_relu6(x: T) -> T { return op_clamp(x, T(0.0), T(6.0)); }
fn op_hardtanh(x: T, low: T, high: T) -> T { return op_clamp(x, low, high); }
fn op_hardsigmoid(x: T) -> T { return op_clamp(x + 3.0, T(0.0), T(6.0)) / 6.0; }
fn op_hardswish(x: T) -> T { return x * op_clamp(x + 3.0, T(0.0), T(6.0)) / 6.0; }
fn op_elu(x: T, alpha: T) -> T { return select(alpha * op_expm1(x), x, op_gt(x, T(0.0))); }
fn op_selu(x: T) -> T {
    let y = select(op_expm1(x) * 1.6732632423543772, x, op_gt(x, T(0.0)));
    return y * 1.0507009873554805;
}
fn op_celu(x: T, alpha: T) -> T { return select(alpha * op_expm1(x / alpha), x, op_gt(x, T(0.0))); }
// Through erfc, which keeps the relative error in the negative tail. About 5 ulp.
fn op_gelu(x: T) -> T {
    let e = erfc_kernel(op_abs(x) * 0.70710678118654752);
    return x * 0.5 * select(e, T(2.0) - e, x > T(0.0));
}
fn op_gelu_tanh(x: T) -> T {
    let u = (x * x * x * 0.044715 + x) * 0.79788456080286536;
    return x * 0.5 * (op_tanh(u) + 1.0);
}
fn op_silu(x: T) -> T { return x / (op_exp(-x) + 1.0); }
// x tanh(log1p(e)) = x (e^2 + 2e) / (e^2 + 2e + 2)
fn op_mish(x: T) -> T {
    let e = op_exp(min(x, T(20.0)));
    let n = e * (e + 2.0);
    let y = x * (n / (n + 2.0));
    return select(y, x, (x > T(20.0)) | is_nan(x));
}
fn op_hardshrink(x: T, bound: T) -> T { return select(x, T(0.0), op_ge(x, -bound) & op_le(x, bound)); }
fn op_softshrink(x: T, bound: T) -> T {
    let y = select(select(T(0.0), x + bound, x < -bound), x - bound, x > bound);
    return select(y, x, is_nan(x));
}
fn op_softsign(x: T) -> T { return x / (op_abs(x) + 1.0); }
fn op_leaky_relu(x: T, slope: T) -> T { return select(x * slope, x, op_gt(x, T(0.0))); }
fn op_prelu(x: T, slope: T) -> T { return op_leaky_relu(x, slope); }
fn op_threshold(x: T, level: T, value: T) -> T { return select(x, value, op_le(x, level)); }
