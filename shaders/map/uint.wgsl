// Elementwise functions of unsigned integers. u8 is held as u32: the generator masks results to 8 bits. x / 0 = 0.
// Instantiated by replacing T, U, B, W: u32, u32, bool, u32, or their vec4; every function foo becomes foo_<suffix>.
alias T = u32;
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
fn op_signbit(x: T) -> B { return x != x; }

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
fn op_abs(x: T) -> T { return x; }
fn op_sign(x: T) -> T { return min(x, T(1)); }
fn op_sgn(x: T) -> T { return op_sign(x); }

fn op_trunc_divide(x: T, y: T) -> T { return select(x / max(y, T(1)), T(0), y == T(0)); }
fn op_floor_divide(x: T, y: T) -> T { return op_trunc_divide(x, y); }
fn op_fmod(x: T, y: T) -> T { return x % max(y, T(1)); }
fn op_remainder(x: T, y: T) -> T { return op_fmod(x, y); }
// Modulo 2^width.
fn op_pow(x: T, y: T) -> T {
    var e = y;
    var b = x;
    var r = T(1);
    for (var k = 0; k < 32; k++) {
        if !any(e > T(0)) { break; }
        r = select(r, r * b, (e & T(1)) != T(0));
        b = b * b;
        e = e >> W(1);
    }
    return r;
}
fn op_bitwise_left_shift(x: T, y: T) -> T { return select(x << W(y & T(31)), T(0), y > T(31)); }
fn op_bitwise_right_shift(x: T, y: T) -> T { return select(x >> W(y & T(31)), T(0), y > T(31)); }
// Euclid: at most 46 steps for 32 bits.
fn op_gcd(x: T, y: T) -> T {
    var a = x;
    var b = y;
    for (var k = 0; k < 48; k++) {
        let go = b != T(0);
        if !any(go) { break; }
        let r = a % select(T(1), b, go);
        a = select(a, b, go);
        b = select(b, r, go);
    }
    return a;
}
fn op_lcm(x: T, y: T) -> T { return op_trunc_divide(x, op_gcd(x, y)) * y; }

// x / d for x < 2^31, where m and s belong to d: (x * m) >> 32 >> s, the upper half by sums of 16-bit parts.
fn quotient(x: T, m: T, s: T) -> T {
    let low = (x & T(0xffffu)) * (m & T(0xffffu));
    let a = (x >> W(16u)) * (m & T(0xffffu)) + (low >> W(16u));
    let b = (x & T(0xffffu)) * (m >> W(16u)) + (a & T(0xffffu));
    return ((x >> W(16u)) * (m >> W(16u)) + (a >> W(16u)) + (b >> W(16u))) >> s;
}
