// Batched matrix product: an invocation computes four rows of four columns.
// Loads of four run along k or along the other axis, whichever lies contiguously; `load_a`, `load_a4`, `load_b`,
// `load_b4`, `store` and `store4` are written by the code generator. With parts, each computes a range of k and the output
// counts them first.

alias T = f32;
const GROUP: u32 = 64u;
// four values of a lie along k, or along m
const A_ALONG_K: u32 = 1u;
// four values of b lie along n, or along k
const B_ALONG_N: u32 = 1u;
// the columns are a multiple of four
const WHOLE: u32 = 1u;
var<private> p_first: u32;
var<private> p_batches: u32;
var<private> p_parts: u32;
var<private> p_chunk: u32;
var<private> p_m: u32;
var<private> p_n: u32;
var<private> p_k: u32;

fn load_a(batch: u32, m: u32, k: u32) -> T { return T(0); }
fn load_a4(batch: u32, m: u32, k: u32) -> vec4<T> { return vec4<T>(0); }
fn load_b(batch: u32, k: u32, n: u32) -> T { return T(0); }
fn load_b4(batch: u32, k: u32, n: u32) -> vec4<T> { return vec4<T>(0); }
fn store(batch: u32, m: u32, n: u32, value: T) {}
fn store4(batch: u32, m: u32, n: u32, value: vec4<T>) {}

fn write(batch: u32, m: u32, n: u32, value: vec4<T>) {
    if m >= p_m {
        return;
    }
    if WHOLE == 1u {
        store4(batch, m, n, value);
        return;
    }
    store(batch, m, n, value.x);
    if n + 1u < p_n { store(batch, m, n + 1u, value.y); }
    if n + 2u < p_n { store(batch, m, n + 2u, value.z); }
    if n + 3u < p_n { store(batch, m, n + 3u, value.w); }
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let tiles_m = (p_m + 3u) / 4u;
    let tiles_n = (p_n + 3u) / 4u;
    let task = (p_first + group.x + group.y * groups.x) * GROUP + lane;
    let n = task % tiles_n * 4u;
    let m = task / tiles_n % tiles_m * 4u;
    let slab = task / tiles_n / tiles_m;
    if slab >= p_batches * p_parts {
        return;
    }
    let batch = slab % p_batches;
    let first = slab / p_batches * p_chunk;
    let last = min(first + p_chunk, p_k);
    // rows and columns past the end repeat the last one and are not written
    let m1 = min(m + 1u, p_m - 1u);
    let m2 = min(m + 2u, p_m - 1u);
    let m3 = min(m + 3u, p_m - 1u);
    let n1 = min(n + 1u, p_n - 1u);
    let n2 = min(n + 2u, p_n - 1u);
    let n3 = min(n + 3u, p_n - 1u);
    var c0 = vec4<T>(0);
    var c1 = vec4<T>(0);
    var c2 = vec4<T>(0);
    var c3 = vec4<T>(0);
    let whole = last & 0xfffffffcu;
    for (var k = first; k < whole; k += 4u) {
        var a0: vec4<T>;
        var a1: vec4<T>;
        var a2: vec4<T>;
        var a3: vec4<T>;
        if A_ALONG_K == 1u {
            a0 = load_a4(batch, m, k);
            a1 = load_a4(batch, m1, k);
            a2 = load_a4(batch, m2, k);
            a3 = load_a4(batch, m3, k);
        } else {
            let x = load_a4(batch, m, k);
            let y = load_a4(batch, m, k + 1u);
            let z = load_a4(batch, m, k + 2u);
            let w = load_a4(batch, m, k + 3u);
            a0 = vec4<T>(x.x, y.x, z.x, w.x);
            a1 = vec4<T>(x.y, y.y, z.y, w.y);
            a2 = vec4<T>(x.z, y.z, z.z, w.z);
            a3 = vec4<T>(x.w, y.w, z.w, w.w);
        }
        var b0: vec4<T>;
        var b1: vec4<T>;
        var b2: vec4<T>;
        var b3: vec4<T>;
        if B_ALONG_N == 1u {
            b0 = load_b4(batch, k, n);
            b1 = load_b4(batch, k + 1u, n);
            b2 = load_b4(batch, k + 2u, n);
            b3 = load_b4(batch, k + 3u, n);
        } else {
            let x = load_b4(batch, k, n);
            let y = load_b4(batch, k, n1);
            let z = load_b4(batch, k, n2);
            let w = load_b4(batch, k, n3);
            b0 = vec4<T>(x.x, y.x, z.x, w.x);
            b1 = vec4<T>(x.y, y.y, z.y, w.y);
            b2 = vec4<T>(x.z, y.z, z.z, w.z);
            b3 = vec4<T>(x.w, y.w, z.w, w.w);
        }
        // step by step, as other kernels add, and with one multiply-add for each where there is one
        c0 = c0 + a0.x * b0 + a0.y * b1 + a0.z * b2 + a0.w * b3;
        c1 = c1 + a1.x * b0 + a1.y * b1 + a1.z * b2 + a1.w * b3;
        c2 = c2 + a2.x * b0 + a2.y * b1 + a2.z * b2 + a2.w * b3;
        c3 = c3 + a3.x * b0 + a3.y * b1 + a3.z * b2 + a3.w * b3;
    }
    for (var k = whole; k < last; k++) {
        let b = vec4<T>(load_b(batch, k, n), load_b(batch, k, n1), load_b(batch, k, n2), load_b(batch, k, n3));
        c0 += load_a(batch, m, k) * b;
        c1 += load_a(batch, m1, k) * b;
        c2 += load_a(batch, m2, k) * b;
        c3 += load_a(batch, m3, k) * b;
    }
    write(slab, m, n, c0);
    write(slab, m + 1u, n, c1);
    write(slab, m + 2u, n, c2);
    write(slab, m + 3u, n, c3);
}
