// Elementwise f64 functions, continued: special functions and activations.
// Instantiated as double.wgsl, whose functions it uses.
alias T = f64;
alias U = u64;
alias I = i64;
alias B = bool;
alias W = u32;
var<private> zero_bits: u32 = 0u;

// erf(x) / x for |x| < 1 in z = x^2.
fn erf_kernel(z: T) -> T {
    return (((((((((((((z * 2.8073526176477029e-13 - 6.1971845088408517e-12) * z + 9.3238636179622251e-11) * z
        - 1.2277760280084826e-09) * z + 1.4806030251337853e-08) * z - 1.636576890552566e-07) * z
        + 1.6462110796906402e-06) * z - 1.4925650237575669e-05) * z + 0.00012055332978896794) * z
        - 0.00085483270234033349) * z + 0.0052239776254416779) * z - 0.026866170645131218) * z
        + 0.11283791670955126) * z - 0.37612638903183754) * z + 1.1283791670955126;
}
// erfc(a) for a >= 0: exp(-a^2) / (1+2a) times a polynomial in (a-3)/(a+3), error 1e-13.
fn erfc_kernel(a: T) -> T {
    let c = min(a, T(27.5));
    let q = ((c - 3.0) / (c + 3.0) + 0.095) * 1.1049723756906078;
    let p = (((((((((((((((((((q * 3.0055721834310292e-09 + 3.009771564001949e-09) * q - 3.2569448473892391e-08) * q
        - 5.0730326071209811e-08) * q + 2.110288503996611e-07) * q + 5.1679390344440704e-07) * q
        - 1.2225795681051104e-06) * q - 4.4041445892012878e-06) * q + 8.4169542587546944e-06) * q
        + 3.5322812788699644e-05) * q - 8.4080921372443071e-05) * q - 0.00025244655935290392) * q
        + 0.0011228851171145354) * q + 0.0004249885538384051) * q - 0.013691887069485825) * q
        + 0.049924797554504255) * q - 0.10397584686967844) * q + 0.13456650352425328) * q
        - 0.075010323925297093) * q - 0.110985710622825) * q + 1.2653413980210213;
    let h = high_bits(c);
    let e = exp_scaled(-h * h, I(0)) * exp_tail_small((h - c) * (h + c));
    return e * p / (c * 2.0 + 1.0);
}
// exp(r) for |r| <= 1e-5
fn exp_tail_small(r: T) -> T { return ((r * 0.16666666666666667 + 0.5) * r + 1.0) * r + 1.0; }
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
// Giles' single-precision start (the asymptotic one in the tail), then three Halley steps on erf or erfc.
fn op_erfinv(x: T) -> T {
    let ax = op_abs(x);
    let l = -op_log((T(1.0) - ax) * (T(1.0) + ax));
    let a = l - 2.5;
    let p = (((((((a * 2.81022636e-08 + 3.43273939e-07) * a - 3.5233877e-06) * a - 4.39150654e-06) * a
        + 0.00021858087) * a - 0.00125372503) * a - 0.00417768164) * a + 0.246640727) * a + 1.50140941;
    let b = sqrt(max(l, T(5.0))) - 3.0;
    let q = (((((((b * -0.000200214257 + 0.000100950558) * b + 0.00134934322) * b - 0.00367342844) * b
        + 0.00573950773) * b - 0.0076224613) * b + 0.00943887047) * b + 1.00167406) * b + 2.83297682;
    let t = max(-op_log(T(1.0) - ax), T(15.0));
    let tail = sqrt(t - 0.5723649429247001 - op_log(t) * 0.5);
    var y = select(select(p, q, l >= T(5.0)) * ax, tail, l > T(15.0));
    for (var k = 0; k < 3; k++) {
        let far = erfc_kernel(y) - (T(1.0) - ax);
        let near = ax - erf_kernel(y * y) * y;
        let d = select(near, far, y > T(0.9));
        let u = d * 0.886226925452758014 * op_exp(y * y);
        y += u / (T(1.0) - y * u);
    }
    y = with_sign(y, x);
    let edge = select(y, with_sign(inf_(), x), ax == T(1.0));
    return select(edge, nan_(), op_gt(ax, T(1.0)) | is_nan(x));
}

// log gamma(2 + t) = t (1 + t) P(t) for |t| <= 0.5.
fn lgamma_kernel(t: T) -> T {
    let p = (((((((((((((((((t * 1.2214643213741007e-07 - 2.5260320622422615e-07) * t + 3.8635445198597008e-07) * t
        - 8.2084070619822816e-07) * t + 1.8133549578469549e-06) * t - 3.8563389755973576e-06) * t
        + 8.2212400047481732e-06) * t - 1.766018813545317e-05) * t + 3.8168995030035368e-05) * t
        - 8.3095274031937621e-05) * t + 0.00018255263193523976) * t - 0.00040570738892010342) * t
        + 0.00091537692252802139) * t - 0.0021081308342257234) * t + 0.0049986411646918867) * t
        - 0.012384192193367427) * t + 0.032965000621155864) * t - 0.10031730167435393) * t
        + 0.42278433509846713;
    return t * (t + 1.0) * p;
}
// log gamma(x) for x > 0: the kernel after shifting x into 1.5 .. 2.5, Stirling from 8 on.
fn lgamma_positive(x: T) -> T {
    let c = min(x, T(8.0));
    var t = c;
    var down = T(1.0);
    for (var k = 0; k < 10; k++) {
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
    let far = (s - 0.5) * (l - 1.0) + 0.418938533204672742
        + ((((((z * 6.4102564102564103e-3 - 1.9175269175269175e-3) * z
        + 8.4175084175084175e-4) * z
        - 5.9523809523809524e-4) * z + 7.9365079365079365e-4) * z
        - 2.7777777777777778e-3) * z + 8.3333333333333333e-2) * r;
    return select(near, far, x >= T(8.0));
}
// Below 0 by reflection:
fn op_lgamma(x: T) -> T {
    let a = op_abs(x);
    let p = lgamma_positive(a);
    let s = op_abs(sin_pi(select(a, T(0.5), a > T(4503599627370496.0)))) * a;
    let n = T(1.1447298858494002) - op_log(s) - p;
    let tiny = -op_log(a);
    var y = select(p, select(n, tiny, a < T(1.0e-17)), op_signbit(x));
    y = select(y, inf_(), (op_signbit(x) & (trunc(x) == x)) | (bits_abs(x) == U(0)) | op_isinf(x));
    return select(y, x, is_nan(x));
}
// Shifted to 6 or more, then asymptotic; below 0 by reflection.
fn op_digamma(x: T) -> T {
    let below = x < T(0.0);
    let p = select(x, T(1.0) - x, below);
    var t = p;
    var sum = T(0.0);
    for (var k = 0; k < 10; k++) {
        let low = t < T(10.0);
        sum = select(sum, sum + T(1.0) / t, low);
        t = select(t, t + 1.0, low);
    }
    let r = T(1.0) / t;
    let z = r * r;
    let w = ((((((z * 8.3333333333333333e-2 - 2.1092796092796093e-2) * z + 7.5757575757575758e-3) * z
        - 4.1666666666666667e-3) * z
        + 3.9682539682539683e-3) * z - 8.3333333333333333e-3) * z + 8.3333333333333333e-2) * z;
    var y = op_log(t) - r * 0.5 - w - sum;
    y = select(y, y - T(3.14159265358979324) * cos_pi(x) / sin_pi(x), below);
    y = select(y, nan_(), (below & (trunc(x) == x)) | op_isneginf(x));
    y = select(y, with_sign(inf_(), -x), bits_abs(x) == U(0));
    return select(y, x, is_nan(x) | op_isposinf(x));
}
fn cos_pi(x: T) -> T {
    let h = x - round(x * 0.5) * 2.0;
    let t = shifted(h * 2.0);
    let r = (h - whole(t) * 0.5) * 3.14159265358979324;
    return sin_quadrant(r, (bitcast<U>(whole_bits(t)) + U(1)) & U(3));
}
// Box-Muller: u1 in (0, 1], u2 in [0, 1).
fn normal_from(u1: T, u2: T) -> T { return sqrt(op_log(u1) * -2.0) * cos_pi(u2 * 2.0); }
fn normal_pair_from(u1: T, u2: T) -> T { return sqrt(op_log(u1) * -2.0) * sin_pi(u2 * 2.0); }
// Below 0.5 by reflection.
fn op_trigamma(x: T) -> T {
    let below = x < T(0.5);
    var t = select(x, T(1.0) - x, below);
    var sum = T(0.0);
    for (var k = 0; k < 10; k++) {
        sum += T(1.0) / (t * t);
        t += 1.0;
    }
    let r = T(1.0) / t;
    let z = r * r;
    sum += ((((((z * -0.25311355311355311 + 7.5757575757575758e-2) * z - 3.3333333333333333e-2) * z
        + 2.3809523809523810e-2) * z
        - 3.3333333333333333e-2) * z + 1.6666666666666667e-1) * z + r * 0.5 + 1.0) * r;
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
        let go = (a <= T(9.0)) | (T(f64(k)) < T(10.0));
        if !any(go) { break; }
        sum = select(sum, sum + op_pow(a, -s), go);
        a = select(a, a + 1.0, go);
    }
    let v = op_pow(a, T(1.0) - s);
    let w = v / a;
    let z = T(1.0) / (a * a);
    var t = s * w / a;
    var tail = v / (s - 1.0) + w * 0.5 + t * 8.3333333333333333e-2;
    t *= (s + 1.0) * (s + 2.0) * z;
    tail -= t * 1.3888888888888889e-3;
    t *= (s + 3.0) * (s + 4.0) * z;
    tail += t * 3.3068783068783069e-5;
    t *= (s + 5.0) * (s + 6.0) * z;
    tail -= t * 8.2671957671957672e-7;
    t *= (s + 7.0) * (s + 8.0) * z;
    tail += t * 2.0876756987868099e-8;
    t *= (s + 9.0) * (s + 10.0) * z;
    tail -= t * 5.2841901386874932e-10;
    t *= (s + 11.0) * (s + 12.0) * z;
    tail += t * 1.3382536530684679e-11;
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

// Series in x^2 below 8; exp(x) / sqrt(x) times a polynomial in 1/x above.
fn op_i0(x: T) -> T {
    let a = op_abs(x);
    let z = min(a, T(8.0)) * min(a, T(8.0));
    let p = (((((((((((((((((z * 5.3969595216719264e-43 + 4.0486725741528044e-40) * z + 5.4161804552459973e-37) * z
        + 5.4346845513550318e-34) * z + 4.9026547170296589e-31) * z + 3.8428404219735895e-28) * z
        + 2.5978058169322934e-25) * z + 1.4963342840696474e-22) * z + 7.2422585122417061e-20) * z
        + 2.8969033913786845e-17) * z + 9.3859669904453217e-15) * z + 2.4028075495230146e-12) * z
        + 4.7095027970680296e-10) * z + 6.7816840277777698e-08) * z + 6.7816840277777782e-06) * z
        + 0.00043402777777777775) * z + 0.015625) * z + 0.25) * z + 1;
    let c = max(a, T(8.0));
    let u = T(16.0) / c - 1.0;
    let q = (((((((((((((((((u * 2.3233300175998502e-10 + 2.4980230434669346e-10) * u - 1.3585917245471386e-09) * u
        - 1.7416890753329856e-09) * u + 3.3388464317980515e-09) * u + 5.9861124711229835e-09) * u
        - 2.9882808619860748e-09) * u - 1.2516419274223566e-08) * u - 7.6807699790772809e-09) * u
        + 7.2340083675266418e-09) * u + 2.1775469505877374e-08) * u + 3.9395280666131564e-08) * u
        + 8.8689712620159668e-08) * u + 2.9735158042074912e-07) * u + 1.4838499636290073e-06) * u
        + 1.1143034244517171e-05) * u + 0.00013621607432248806) * u + 0.0033605519836605153) * u
        + 0.40217650944500843;
    let far = exp_scaled(c, I(-8)) * (q * 256.0 / sqrt(c));
    let y = select(p, far, a > T(8.0));
    return select(y, x, is_nan(x));
}
fn op_i1(x: T) -> T {
    let a = op_abs(x);
    let z = min(a, T(8.0)) * min(a, T(8.0));
    let p = (((((((((((((((((z * 1.3912236529877055e-44 + 1.1417905479809018e-41) * z + 1.5883347723358807e-38) * z
        + 1.6991092895273481e-35) * z + 1.6341315843688656e-32) * z + 1.3724500268736332e-29) * z
        + 9.9915566078447431e-27) * z + 6.2347263761913875e-24) * z + 3.2919356806892007e-21) * z
        + 1.4484516958669829e-18) * z + 5.2144261057671656e-16) * z + 1.5017547184524246e-13) * z
        + 3.3639305693342465e-11) * z + 5.6514033564814795e-09) * z + 6.781684027777778e-07) * z
        + 5.4253472222222219e-05) * z + 0.0026041666666666665) * z + 0.0625) * z + 0.5;
    let c = max(a, T(8.0));
    let u = T(16.0) / c - 1.0;
    let q = (((((((((((((((((u * -2.4646186113574929e-10 - 2.4998071975523173e-10) * u + 1.4505300113268043e-09) * u
        + 1.762414631297821e-09) * u - 3.6174868059565515e-09) * u - 6.1568412845507229e-09) * u
        + 3.4503540616025393e-09) * u + 1.3184416933503857e-08) * u + 7.7096592663952415e-09) * u
        - 8.1215071478397061e-09) * u - 2.3611366296584103e-08) * u - 4.3195640005956094e-08) * u
        - 9.9978905973462446e-08) * u - 3.4837763860994399e-07) * u - 1.8349126413802365e-06) * u
        - 1.503854763606362e-05) * u - 0.00021923576376121798) * u - 0.009749577193228675) * u
        + 0.389398459025872;
    let far = with_sign(exp_scaled(c, I(-8)) * (q * 256.0 / sqrt(c)), x);
    let y = select(p * x, far, a > T(8.0));
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
// Through erfc, which keeps the relative error in the negative tail.
fn op_gelu(x: T) -> T { return x * 0.5 * op_erfc(x * -0.70710678118654752); }
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
// Uniform in [0, 1) from 64 bits, multiples of 2^-53; and in (0, 1].
fn uniform_from(bits: U) -> T { return T(bitcast<I>(bits >> W(11))) * 1.1102230246251565e-16; }
fn uniform_open_from(bits: U) -> T { return T(bitcast<I>(bits >> W(11)) + I(1)) * 1.1102230246251565e-16; }
