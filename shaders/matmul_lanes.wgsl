// Batched matrix product for an adapter whose memory costs more than its arithmetic (a CPU): one subgroup is one
// workgroup and computes ROWS x (LANES * 4) elements. Each lane holds four columns; the rows of a
// are spread over the lanes and handed round, so that each of its elements is loaded once for all of them.
// LANES is 8 or 4; ROWS is 8, 16 or 32. Loads of four run along k or along the other axis, whichever lies contiguously;
// `load_a4`, `load_b4`, `store` and `store4` are written by the code generator. With parts, each computes a range of k and
// the output counts them first.

alias T = f32;
const LANES: u32 = 8u;
const ROWS: u32 = 32u;
// four values of a lie along k, or along m
const A_ALONG_K: u32 = 1u;
// four values of b lie along n, or along k
const B_ALONG_N: u32 = 1u;
// the columns are a multiple of four
const WHOLE: u32 = 1u;
// k is no multiple of four
const TAIL: u32 = 0u;
var<private> p_first: u32;
var<private> p_batches: u32;
var<private> p_parts: u32;
var<private> p_chunk: u32;
var<private> p_m: u32;
var<private> p_n: u32;
var<private> p_k: u32;

fn load_a4(batch: u32, m: u32, k: u32) -> vec4<T> { return vec4<T>(0); }
fn load_b4(batch: u32, k: u32, n: u32) -> vec4<T> { return vec4<T>(0); }
fn store(batch: u32, m: u32, n: u32, value: T) {}
fn store4(batch: u32, m: u32, n: u32, value: vec4<T>) {}

fn write(batch: u32, m: u32, n: u32, value: vec4<T>) {
    if m >= p_m || n >= p_n {
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

// steps of k past the end count as zero on both sides: an infinity there would give NaN
fn inside4(x: vec4<T>, k: u32) -> vec4<T> {
    if TAIL == 0u { return x; }
    return select(vec4<T>(0), x, vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(p_k));
}

fn inside(x: vec4<T>, k: u32) -> vec4<T> {
    if TAIL == 0u { return x; }
    return select(vec4<T>(0), x, k < p_k);
}

// this lane's share of eight rows of a and four steps of k: a row's four steps, or four rows at one step
fn part(batch: u32, m: u32, k: u32, lane: u32) -> vec4<T> {
    if A_ALONG_K == 1u {
        return inside4(load_a4(batch, min(m + lane, p_m - 1u), k), k);
    }
    let step = min(k + lane % 4u, p_k - 1u);
    // four rows from a multiple of four on, the last ones past the end
    return inside(load_a4(batch, min(m + lane / 4u * 4u, (p_m - 1u) & 0xfffffffcu), step), k + lane % 4u);
}

// four steps of row r of those eight
fn row(low: vec4<T>, high: vec4<T>, r: u32) -> vec4<T> {
    if A_ALONG_K == 1u {
        if LANES == 4u && r >= 4u { return subgroupShuffle(high, r - 4u); }
        return subgroupShuffle(low, r);
    }
    let first = select(0u, r / 4u * 4u, LANES == 8u);
    let x = select(low[r % 4u], high[r % 4u], LANES == 4u && r >= 4u);
    return vec4<T>(
        subgroupShuffle(x, first),
        subgroupShuffle(x, first + 1u),
        subgroupShuffle(x, first + 2u),
        subgroupShuffle(x, first + 3u),
    );
}

// four columns of b at four steps of k, a vector for each step
fn columns(batch: u32, k: u32, n: u32) -> mat4x4<T> {
    if B_ALONG_N == 1u {
        let k1 = select(k + 1u, min(k + 1u, p_k - 1u), TAIL == 1u);
        let k2 = select(k + 2u, min(k + 2u, p_k - 1u), TAIL == 1u);
        let k3 = select(k + 3u, min(k + 3u, p_k - 1u), TAIL == 1u);
        return mat4x4<T>(
            load_b4(batch, k, n),
            inside(load_b4(batch, k1, n), k + 1u),
            inside(load_b4(batch, k2, n), k + 2u),
            inside(load_b4(batch, k3, n), k + 3u),
        );
    }
    let last = p_n - 1u;
    return transpose(mat4x4<T>(
        inside4(load_b4(batch, k, n), k),
        inside4(load_b4(batch, k, min(n + 1u, last)), k),
        inside4(load_b4(batch, k, min(n + 2u, last)), k),
        inside4(load_b4(batch, k, min(n + 3u, last)), k),
    ));
}

fn sum4(c: vec4<T>, a: vec4<T>, b: mat4x4<T>) -> vec4<T> {
    return c + a.x * b[0] + a.y * b[1] + a.z * b[2] + a.w * b[3];
}

fn pick(
    i: u32, x0: vec4<T>, x1: vec4<T>, x2: vec4<T>, x3: vec4<T>, x4: vec4<T>, x5: vec4<T>, x6: vec4<T>, x7: vec4<T>,
) -> vec4<T> {
    let low = select(select(x0, x1, i == 1u), select(x2, x3, i == 3u), i >= 2u);
    let high = select(select(x4, x5, i == 5u), select(x6, x7, i == 7u), i >= 6u);
    return select(low, high, i >= 4u);
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    // workgroups one after the other share columns of b, pieces of rows far apart: they stay in the cache, a streams by
    let tiles_m = (p_m + ROWS - 1u) / ROWS;
    let tiles_n = (p_n + LANES * 4u - 1u) / (LANES * 4u);
    let task = p_first + group.x + group.y * groups.x;
    let slab = task / tiles_m / tiles_n;
    if slab >= p_batches * p_parts {
        return;
    }
    let batch = slab % p_batches;
    let first = slab / p_batches * p_chunk;
    // a part that is not the last one ends at a multiple of four
    let last = min(first + p_chunk, p_k);
    let m = task % tiles_m * ROWS;
    let n = (task / tiles_m % tiles_n * LANES + lane) * 4u;
    // columns past the end repeat the last ones and are not written
    let column = min(n, (p_n - 1u) & 0xfffffffcu);
    var c0 = vec4<T>(0);
    var c1 = vec4<T>(0);
    var c2 = vec4<T>(0);
    var c3 = vec4<T>(0);
    var c4 = vec4<T>(0);
    var c5 = vec4<T>(0);
    var c6 = vec4<T>(0);
    var c7 = vec4<T>(0);
    var c8 = vec4<T>(0);
    var c9 = vec4<T>(0);
    var c10 = vec4<T>(0);
    var c11 = vec4<T>(0);
    var c12 = vec4<T>(0);
    var c13 = vec4<T>(0);
    var c14 = vec4<T>(0);
    var c15 = vec4<T>(0);
    var c16 = vec4<T>(0);
    var c17 = vec4<T>(0);
    var c18 = vec4<T>(0);
    var c19 = vec4<T>(0);
    var c20 = vec4<T>(0);
    var c21 = vec4<T>(0);
    var c22 = vec4<T>(0);
    var c23 = vec4<T>(0);
    var c24 = vec4<T>(0);
    var c25 = vec4<T>(0);
    var c26 = vec4<T>(0);
    var c27 = vec4<T>(0);
    var c28 = vec4<T>(0);
    var c29 = vec4<T>(0);
    var c30 = vec4<T>(0);
    var c31 = vec4<T>(0);
    for (var k = first; k < last; k += 4u) {
        let b = columns(batch, k, column);
        var high: vec4<T>;
        var low = part(batch, m, k, lane);
        if LANES == 4u { high = part(batch, m + 4u, k, lane); }
        let a0 = row(low, high, 0u);
        c0 = sum4(c0, a0, b);
        let a1 = row(low, high, 1u);
        c1 = sum4(c1, a1, b);
        let a2 = row(low, high, 2u);
        c2 = sum4(c2, a2, b);
        let a3 = row(low, high, 3u);
        c3 = sum4(c3, a3, b);
        let a4 = row(low, high, 4u);
        c4 = sum4(c4, a4, b);
        let a5 = row(low, high, 5u);
        c5 = sum4(c5, a5, b);
        let a6 = row(low, high, 6u);
        c6 = sum4(c6, a6, b);
        let a7 = row(low, high, 7u);
        c7 = sum4(c7, a7, b);
        if ROWS >= 16u {
            low = part(batch, m + 8u, k, lane);
            if LANES == 4u { high = part(batch, m + 12u, k, lane); }
            let a8 = row(low, high, 0u);
            c8 = sum4(c8, a8, b);
            let a9 = row(low, high, 1u);
            c9 = sum4(c9, a9, b);
            let a10 = row(low, high, 2u);
            c10 = sum4(c10, a10, b);
            let a11 = row(low, high, 3u);
            c11 = sum4(c11, a11, b);
            let a12 = row(low, high, 4u);
            c12 = sum4(c12, a12, b);
            let a13 = row(low, high, 5u);
            c13 = sum4(c13, a13, b);
            let a14 = row(low, high, 6u);
            c14 = sum4(c14, a14, b);
            let a15 = row(low, high, 7u);
            c15 = sum4(c15, a15, b);
        }
        if ROWS >= 32u {
            low = part(batch, m + 16u, k, lane);
            if LANES == 4u { high = part(batch, m + 20u, k, lane); }
            let a16 = row(low, high, 0u);
            c16 = sum4(c16, a16, b);
            let a17 = row(low, high, 1u);
            c17 = sum4(c17, a17, b);
            let a18 = row(low, high, 2u);
            c18 = sum4(c18, a18, b);
            let a19 = row(low, high, 3u);
            c19 = sum4(c19, a19, b);
            let a20 = row(low, high, 4u);
            c20 = sum4(c20, a20, b);
            let a21 = row(low, high, 5u);
            c21 = sum4(c21, a21, b);
            let a22 = row(low, high, 6u);
            c22 = sum4(c22, a22, b);
            let a23 = row(low, high, 7u);
            c23 = sum4(c23, a23, b);
            low = part(batch, m + 24u, k, lane);
            if LANES == 4u { high = part(batch, m + 28u, k, lane); }
            let a24 = row(low, high, 0u);
            c24 = sum4(c24, a24, b);
            let a25 = row(low, high, 1u);
            c25 = sum4(c25, a25, b);
            let a26 = row(low, high, 2u);
            c26 = sum4(c26, a26, b);
            let a27 = row(low, high, 3u);
            c27 = sum4(c27, a27, b);
            let a28 = row(low, high, 4u);
            c28 = sum4(c28, a28, b);
            let a29 = row(low, high, 5u);
            c29 = sum4(c29, a29, b);
            let a30 = row(low, high, 6u);
            c30 = sum4(c30, a30, b);
            let a31 = row(low, high, 7u);
            c31 = sum4(c31, a31, b);
        }
    }
    // one place that stores: what is fused behind the product stands in the kernel once
    for (var r = 0u; r < ROWS; r++) {
        let i = r % 8u;
        var c = pick(i, c0, c1, c2, c3, c4, c5, c6, c7);
        if ROWS >= 16u { c = select(c, pick(i, c8, c9, c10, c11, c12, c13, c14, c15), r >= 8u); }
        if ROWS >= 32u {
            c = select(c, pick(i, c16, c17, c18, c19, c20, c21, c22, c23), r >= 16u);
            c = select(c, pick(i, c24, c25, c26, c27, c28, c29, c30, c31), r >= 24u);
        }
        write(slab, m + r, n, c);
    }
}
