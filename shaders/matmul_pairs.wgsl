// Product of matrices of pairs: a number is the sum of two, the second what the first leaves over. An invocation computes
// one element. Multiply-adds do no harm: products that count are exact.
// `load_a`, `load_b`, `rounded`, `is_finite` and `store` are written by the code generator; the first coordinate tells the
// halves of a pair.

const GROUP: u32 = 64u;
var<private> p_first: u32;
var<private> p_m: u32;
var<private> p_n: u32;
var<private> p_k: u32;

fn load_a(half: u32, m: u32, k: u32) -> f32 { return 0.0; }
fn load_b(half: u32, k: u32, n: u32) -> f32 { return 0.0; }
fn store(half: u32, m: u32, n: u32, value: f32) {}

// two numbers of twelve bits: products of such are exact
fn split(x: f32) -> vec2<f32> {
    let high = bitcast<f32>(bitcast<u32>(x) & 0xfffff000u);
    return vec2<f32>(high, x - high);
}

// compilers may take `(a + b) - a` for `b`: they must not see that a number is a sum
fn rounded(x: f32) -> f32 { return x; }

// the sum of a pair and a number; the second is what the rounded sums left over (Knuth, TAOCP 2, 4.2.2)
fn plus(c: vec2<f32>, x: f32) -> vec2<f32> {
    let sum = rounded(c.x + x);
    let of_x = rounded(sum - c.x);
    return vec2<f32>(sum, c.y + ((c.x - rounded(sum - of_x)) + (x - of_x)));
}

fn is_finite(x: f32) -> bool { return true; }

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let at = (p_first + group.x + group.y * groups.x) * GROUP + lane;
    let m = at / p_n;
    let n = at % p_n;
    if m >= p_m {
        return;
    }
    var c = vec2<f32>(0.0);
    var plain = 0.0;
    // a bound that is a plain number of the host makes some drivers compile again for each
    let last = p_k + (groups.x >> 16u);
    for (var k = 0u; k < last; k++) {
        let a = load_a(0u, m, k);
        let b = load_b(0u, k, n);
        let x = split(a);
        let y = split(b);
        let p = a * b;
        plain += p;
        // parts of small numbers may be flushed to zero
        if min(min(abs(a), abs(b)), abs(p)) < 1.0e-30 {
            c = plus(c, p);
        } else {
            c = plus(plus(plus(plus(c, x.x * y.x), x.x * y.y), x.y * y.x), x.y * y.y);
        }
        c.y += a * load_b(1u, k, n) + load_a(1u, m, k) * b;
    }
    let sum = rounded(c.x + c.y);
    // infinities leave nothing over
    if is_finite(sum) {
        c = vec2<f32>(sum, c.y - (sum - c.x));
    } else {
        c = vec2<f32>(plain, 0.0);
    }
    store(0u, m, n, c.x);
    store(1u, m, n, c.y);
}
