// Philox 4x32-10: a counter-based generator (Salmon et al., 2011), equal on every adapter.
// Instantiated by replacing T and U (f32 and u32, or their vec4); every function foo becomes foo_<suffix>.
alias T = f32;
alias U = u32;

// High word of a 32 x 32 product, by 16-bit halves.
fn mulhi(a: u32, b: u32) -> u32 {
    let al = a & 0xffffu;
    let ah = a >> 16u;
    let bl = b & 0xffffu;
    let bh = b >> 16u;
    let m = ah * bl + ((al * bl) >> 16u);
    let l = al * bh + (m & 0xffffu);
    return ah * bh + (m >> 16u) + (l >> 16u);
}
fn philox_round(c: vec4<u32>, k: vec2<u32>) -> vec4<u32> {
    let a = 0xd2511f53u;
    let b = 0xcd9e8d57u;
    return vec4<u32>(mulhi(b, c.z) ^ c.y ^ k.x, b * c.z, mulhi(a, c.x) ^ c.w ^ k.y, a * c.x);
}
fn philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    let w = vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    var c = philox_round(counter, key);
    c = philox_round(c, key + w);
    c = philox_round(c, key + w * 2u);
    c = philox_round(c, key + w * 3u);
    c = philox_round(c, key + w * 4u);
    c = philox_round(c, key + w * 5u);
    c = philox_round(c, key + w * 6u);
    c = philox_round(c, key + w * 7u);
    c = philox_round(c, key + w * 8u);
    return philox_round(c, key + w * 9u);
}
// Uniform in [0, 1), multiples of 2^-24.
fn uniform_from(bits: U) -> T { return T(bits >> U(8u)) * 5.9604644775390625e-8; }
// Uniform in (0, 1].
fn uniform_open_from(bits: U) -> T { return T((bits >> U(8u)) + U(1u)) * 5.9604644775390625e-8; }
// Random bits of element i of a draw: word i mod 4 of block i / 4. Each lane computes its own block.
fn wide_mulhi(a: U, b: U) -> U {
    let al = a & U(0xffffu);
    let ah = a >> U(16u);
    let bl = b & U(0xffffu);
    let bh = b >> U(16u);
    let m = ah * bl + ((al * bl) >> U(16u));
    let l = al * bh + (m & U(0xffffu));
    return ah * bh + (m >> U(16u)) + (l >> U(16u));
}
fn wide_round(x: ptr<function, U>, y: ptr<function, U>, z: ptr<function, U>, w: ptr<function, U>, k: U, l: U) {
    let a = U(0xd2511f53u);
    let b = U(0xcd9e8d57u);
    let x1 = wide_mulhi(b, *z) ^ *y ^ k;
    let y1 = b * *z;
    let z1 = wide_mulhi(a, *x) ^ *w ^ l;
    *w = a * *x;
    *x = x1;
    *y = y1;
    *z = z1;
}
fn op_random(i: U, stream: U, n0: U, n1: U, k0: U, k1: U) -> U {
    var x = i >> U(2u);
    var y = stream;
    var z = n0;
    var w = n1;
    let a = U(0x9e3779b9u);
    let b = U(0xbb67ae85u);
    wide_round(&x, &y, &z, &w, k0, k1);
    wide_round(&x, &y, &z, &w, k0 + a, k1 + b);
    wide_round(&x, &y, &z, &w, k0 + a * U(2u), k1 + b * U(2u));
    wide_round(&x, &y, &z, &w, k0 + a * U(3u), k1 + b * U(3u));
    wide_round(&x, &y, &z, &w, k0 + a * U(4u), k1 + b * U(4u));
    wide_round(&x, &y, &z, &w, k0 + a * U(5u), k1 + b * U(5u));
    wide_round(&x, &y, &z, &w, k0 + a * U(6u), k1 + b * U(6u));
    wide_round(&x, &y, &z, &w, k0 + a * U(7u), k1 + b * U(7u));
    wide_round(&x, &y, &z, &w, k0 + a * U(8u), k1 + b * U(8u));
    wide_round(&x, &y, &z, &w, k0 + a * U(9u), k1 + b * U(9u));
    let lane = i & U(3u);
    let low = select(x, y, lane == U(1u));
    let high = select(z, w, lane == U(3u));
    return select(low, high, lane > U(1u));
}
