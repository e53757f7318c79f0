// Conversions between element types, in integer and plain float arithmetic only.
// Instantiated by replacing T, U, I, B: f32, u32, i32, bool (or f64, u64, i64, bool for the functions below the line), or their
// vec4; every function foo becomes foo_<suffix>.
alias T = f32;
alias U = u32;
alias I = i32;
alias B = bool;

// IEEE half from f32: to nearest even, overflow to infinity, subnormals, NaN to 0x7e00.
fn f16_bits(x: T) -> U {
    let b = bitcast<U>(x);
    let a = b & U(0x7fffffffu);
    let r = a + U(0xfffu) + ((a >> U(13u)) & U(1u));
    let normal = min((r - U(0x38000000u)) >> U(13u), U(0x7c00u));
    let s = clamp(U(126u) - min(a >> U(23u), U(126u)), U(1u), U(31u));
    let m = (a & U(0x007fffffu)) | U(0x00800000u);
    let h = m >> s;
    let rest = m - (h << s);
    let half = U(1u) << (s - U(1u));
    let small = h + select(U(0u), U(1u), (rest > half) | ((rest == half) & ((h & U(1u)) != U(0u))));
    var y = select(small, normal, a >= U(0x38800000u));
    y = select(y, U(0x7e00u), a > U(0x7f800000u));
    return y | ((b >> U(16u)) & U(0x8000u));
}
fn f16_value(b: U) -> T {
    let e = (b >> U(10u)) & U(31u);
    let m = b & U(0x3ffu);
    let normal = ((e + U(112u)) << U(23u)) | (m << U(13u));
    let small = bitcast<U>(T(m) * 5.9604644775390625e-8);
    var y = select(normal, small, e == U(0u));
    y = select(y, U(0x7f800000u) | (m << U(13u)), e == U(31u));
    return bitcast<T>(y | ((b & U(0x8000u)) << U(16u)));
}
fn bf16_bits(x: T) -> U {
    let b = bitcast<U>(x);
    let r = (b + U(0x7fffu) + ((b >> U(16u)) & U(1u))) >> U(16u);
    return select(r, U(0x7fc0u) | ((b >> U(16u)) & U(0x8000u)), (b & U(0x7fffffffu)) > U(0x7f800000u));
}
fn bf16_value(b: U) -> T { return bitcast<T>(b << U(16u)); }
// Through half or bfloat precision and back.
fn f16_round(x: T) -> T { return f16_value(f16_bits(x)); }
fn bf16_round(x: T) -> T { return bf16_value(bf16_bits(x)); }

// ---- for f32 and f64 alike ----

// Truncates; out of range saturates, NaN gives 0.
fn int_of(x: T) -> I {
    let most = bitcast<I>(~U(0) / U(2));
    let over = x >= T(most);
    return select(I(select(T(0.0), x, (x < T(0.0)) | ((x > T(0.0)) & !over))), most, over);
}
// Modulo 256 after truncation; beyond the integer's range the low byte is 0, as in PyTorch.
fn u8_of(x: T) -> U {
    let inside = abs(x) < T(2147483648.0);
    return bitcast<U>(I(select(T(0.0), x, inside))) & U(255);
}
fn bool_of(x: T) -> B { return !(x == T(0.0)); }
fn value_of_int(x: I) -> T { return T(x); }
fn value_of_u8(x: U) -> T { return T(x); }
fn value_of_bool(x: B) -> T { return select(T(0.0), T(1.0), x); }
fn u8_of_int(x: I) -> U { return bitcast<U>(x) & U(255); }
fn bool_of_int(x: I) -> B { return x != I(0); }
fn bool_of_u8(x: U) -> B { return x != U(0); }
fn int_of_bool(x: B) -> I { return select(I(0), I(1), x); }
fn u8_of_bool(x: B) -> U { return select(U(0), U(1), x); }
fn int_of_u8(x: U) -> I { return bitcast<I>(x); }
