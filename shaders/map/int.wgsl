// Elementwise functions of signed integers, i32 and i64. Nothing traps: x / 0 = 0, least / -1 = least.
// Instantiated by replacing T, U, B, W: i32 or i64, the unsigned and truth types of that width, and u32 (shift counts),
// or their vec4; every function foo becomes foo_<suffix>.
alias T = i32;
alias U = u32;
alias B = bool;
alias W = u32;

fn op_eq(x: T, y: T) -> B { return x == y; }
fn op_ne(x: T, y: T) -> B { return x != y; }
fn op_lt(x: T, y: T) -> B { return x < y; }
fn op_le(x: T, y: T) -> B { return x <= y; }
fn op_gt(x: T, y: T) -> B { return x > y; }
fn op_ge(x: T, y: T) -> B { return x >= y; }
fn truth(x: T) -> B { return x != T(0); }
fn op_logical_and(x: T, y: T) -> B { return truth(x) & truth(y); }
fn op_logical_or(x: T, y: T) -> B { return truth(x) | truth(y); }
fn op_logical_xor(x: T, y: T) -> B { return truth(x) != truth(y); }
fn op_logical_not(x: T) -> B { return !truth(x); }
fn op_isnan(x: T) -> B { return x != x; }
fn op_isinf(x: T) -> B { return x != x; }
fn op_isposinf(x: T) -> B { return x != x; }
fn op_isneginf(x: T) -> B { return x != x; }
fn op_isfinite(x: T) -> B { return x == x; }
fn op_signbit(x: T) -> B { return x < T(0); }

fn op_add(x: T, y: T) -> T { return x + y; }
fn op_sub(x: T, y: T) -> T { return x - y; }
fn op_mul(x: T, y: T) -> T { return x * y; }
fn op_neg(x: T) -> T { return T(0) - x; }
fn op_positive(x: T) -> T { return x; }
fn op_square(x: T) -> T { return x * x; }
fn op_addcmul(x: T, value: T, a: T, b: T) -> T { return x + value * a * b; }
fn op_floor(x: T) -> T { return x; }
fn op_ceil(x: T) -> T { return x; }
fn op_round(x: T) -> T { return x; }
fn op_trunc(x: T) -> T { return x; }
fn op_maximum(x: T, y: T) -> T { return max(x, y); }
fn op_minimum(x: T, y: T) -> T { return min(x, y); }
fn op_fmax(x: T, y: T) -> T { return max(x, y); }
fn op_fmin(x: T, y: T) -> T { return min(x, y); }
fn op_clamp(x: T, low: T, high: T) -> T { return min(max(x, low), high); }
fn op_clamp_min(x: T, low: T) -> T { return max(x, low); }
fn op_clamp_max(x: T, high: T) -> T { return min(x, high); }
fn op_hardtanh(x: T, low: T, high: T) -> T { return op_clamp(x, low, high); }
fn op_relu(x: T) -> T { return max(x, T(0)); }
fn op_relu6(x: T) -> T { return op_clamp(x, T(0), T(6)); }
fn op_threshold(x: T, level: T, value: T) -> T { return select(x, value, x <= level); }
fn op_heaviside(x: T, v: T) -> T { return select(select(T(0), T(1), x > T(0)), v, x == T(0)); }
fn op_bitwise_and(x: T, y: T) -> T { return x & y; }
fn op_bitwise_or(x: T, y: T) -> T { return x | y; }
fn op_bitwise_xor(x: T, y: T) -> T { return x ^ y; }
fn op_bitwise_not(x: T) -> T { return ~x; }
fn op_abs(x: T) -> T { return select(x, T(0) - x, x < T(0)); }
fn op_sign(x: T) -> T { return select(select(T(0), T(1), x > T(0)), T(-1), x < T(0)); }
fn op_sgn(x: T) -> T { return op_sign(x); }

fn op_trunc_divide(x: T, y: T) -> T {
    let minus = y == T(-1);
    let q = x / select(y, T(1), minus | (y == T(0)));
    return select(select(q, T(0) - x, minus), T(0), y == T(0));
}
fn op_fmod(x: T, y: T) -> T {
    let trivial = (y == T(-1)) | (y == T(0));
    // not %: GLSL leaves it open for negative operands
    let d = select(y, T(1), trivial);
    return select(x - x / d * d, T(0), trivial);
}
fn op_floor_divide(x: T, y: T) -> T {
    let wrong = (op_fmod(x, y) != T(0)) & ((x < T(0)) != (y < T(0)));
    return op_trunc_divide(x, y) - select(T(0), T(1), wrong);
}
fn op_remainder(x: T, y: T) -> T {
    let m = op_fmod(x, y);
    return select(m, m + y, (m != T(0)) & ((m < T(0)) != (y < T(0))));
}
// Modulo 2^width. Negative exponents: 1 and -1 keep their powers, all else gives 0.
fn op_pow(x: T, y: T) -> T {
    var e = max(y, T(0));
    var b = x;
    var r = T(1);
    for (var k = 0; k < 63; k++) {
        if !any(e > T(0)) { break; }
        r = select(r, r * b, (e & T(1)) != T(0));
        b = b * b;
        e = e >> W(1);
    }
    let odd = (y & T(1)) != T(0);
    let unit = select(select(T(0), select(T(1), T(-1), odd), x == T(-1)), T(1), x == T(1));
    return select(r, unit, y < T(0));
}
// PyTorch's CPU rule: counts out of range give 0, or the sign for right shifts.
fn op_bitwise_left_shift(x: T, y: T) -> T {
    let n = countOneBits(~(x ^ x));
    let outside = (y < T(0)) | (y >= n);
    return select(x << W(select(y, T(0), outside)), T(0), outside);
}
fn op_bitwise_right_shift(x: T, y: T) -> T {
    let n = countOneBits(~(x ^ x)) - T(1);
    return x >> W(select(y, n, (y < T(0)) | (y > n)));
}
// Euclid on the absolute values: at most 92 steps for 64 bits.
fn op_gcd(x: T, y: T) -> T {
    var a = bitcast<U>(op_abs(x));
    var b = bitcast<U>(op_abs(y));
    for (var k = 0; k < 96; k++) {
        let go = b != U(0);
        if !any(go) { break; }
        let r = a % select(U(1), b, go);
        a = select(a, b, go);
        b = select(b, r, go);
    }
    return bitcast<T>(a);
}
fn op_lcm(x: T, y: T) -> T { return op_abs(op_trunc_divide(x, op_gcd(x, y)) * y); }
