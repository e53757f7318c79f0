// Batched matrix product for adapters with fast workgroup memory: a workgroup computes TILE_M x TILE_N elements. It
// brings DEPTH steps of k of both sides into workgroup memory, then each invocation adds ROWS * 4 x COLUMNS * 4 products
// a step to sums in registers. All sums are written out: an array of them would lie in memory. Loops over EACH_.. are
// written out by the code generator: drivers do not unroll loops that wgpu bounds. Loads come in blocks of four by four,
// whichever way they lie, and are stored with neighbours along m and n side by side.
//
// With parts, each computes a range of k and the output counts them first. `load_a4`, `load_b4`, `store` and `store4` are
// written by the code generator.

alias T = f32;
// what the tiles hold: T, or halves where nothing is lost by it
alias S = f32;
// steps of k that are written out
const EACH_STEP: u32 = 4u;
const GROUP_M: u32 = 8u;
const GROUP_N: u32 = 8u;
// fours of rows and of columns that an invocation computes, 1 or 2
const ROWS: u32 = 2u;
const COLUMNS: u32 = 2u;
// steps of k in a tile, a multiple of four; TILE_M / 4 * DEPTH / 4 is at most GROUP, and so for n
const DEPTH: u32 = 16u;
// unused vectors behind each step, so that transposing stores spread over the memory's banks
const PAD: u32 = 1u;
// four values of a lie along k, or along m
const A_ALONG_K: u32 = 1u;
// four values of b lie along n, or along k
const B_ALONG_N: u32 = 1u;
// the columns are a multiple of four
const WHOLE: u32 = 1u;
// k is no multiple of DEPTH
const TAIL: u32 = 1u;
const GROUP: u32 = GROUP_M * GROUP_N;
const TILE_M: u32 = GROUP_M * ROWS * 4u;
const TILE_N: u32 = GROUP_N * COLUMNS * 4u;
const PITCH_A: u32 = TILE_M / 4u + PAD;
const PITCH_B: u32 = TILE_N / 4u + PAD;
const BLOCKS_A: u32 = TILE_M / 4u * (DEPTH / 4u);
const BLOCKS_B: u32 = TILE_N / 4u * (DEPTH / 4u);
// rows of tiles that are computed at about the same time: their loads of b meet in the caches
const PANEL: u32 = 8u;
var<private> p_first: u32;
var<private> p_batches: u32;
var<private> p_parts: u32;
var<private> p_chunk: u32;
var<private> p_m: u32;
var<private> p_n: u32;
var<private> p_k: u32;
var<workgroup> tile_a: array<vec4<S>, DEPTH * PITCH_A>;
var<workgroup> tile_b: array<vec4<S>, DEPTH * PITCH_B>;

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
fn inside4(x: vec4<T>, k: u32, last: u32) -> vec4<T> {
    if TAIL == 0u { return x; }
    return select(vec4<T>(0), x, vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(last));
}

fn inside(x: vec4<T>, k: u32, last: u32) -> vec4<T> {
    if TAIL == 0u { return x; }
    return select(vec4<T>(0), x, k < last);
}

// Four rows at four steps of k into the tile at `to`, step by step. Rows past the end repeat the last ones and are not
// written.
fn fill_a(batch: u32, m: u32, k: u32, last: u32, to: u32) {
    var x: vec4<T>;
    var y: vec4<T>;
    var z: vec4<T>;
    var w: vec4<T>;
    if A_ALONG_K == 1u {
        let end = p_m - 1u;
        let at = select(k, min(k, (last - 1u) & 0xfffffffcu), TAIL == 1u);
        let r0 = inside4(load_a4(batch, min(m, end), at), k, last);
        let r1 = inside4(load_a4(batch, min(m + 1u, end), at), k, last);
        let r2 = inside4(load_a4(batch, min(m + 2u, end), at), k, last);
        let r3 = inside4(load_a4(batch, min(m + 3u, end), at), k, last);
        x = vec4<T>(r0.x, r1.x, r2.x, r3.x);
        y = vec4<T>(r0.y, r1.y, r2.y, r3.y);
        z = vec4<T>(r0.z, r1.z, r2.z, r3.z);
        w = vec4<T>(r0.w, r1.w, r2.w, r3.w);
    } else {
        let row = min(m, (p_m - 1u) & 0xfffffffcu);
        let end = select(0xffffffffu, last - 1u, TAIL == 1u);
        x = inside(load_a4(batch, row, min(k, end)), k, last);
        y = inside(load_a4(batch, row, min(k + 1u, end)), k + 1u, last);
        z = inside(load_a4(batch, row, min(k + 2u, end)), k + 2u, last);
        w = inside(load_a4(batch, row, min(k + 3u, end)), k + 3u, last);
    }
    tile_a[to] = vec4<S>(x);
    tile_a[to + PITCH_A] = vec4<S>(y);
    tile_a[to + 2u * PITCH_A] = vec4<S>(z);
    tile_a[to + 3u * PITCH_A] = vec4<S>(w);
}

// four columns at four steps of k, likewise
fn fill_b(batch: u32, k: u32, n: u32, last: u32, to: u32) {
    var x: vec4<T>;
    var y: vec4<T>;
    var z: vec4<T>;
    var w: vec4<T>;
    if B_ALONG_N == 1u {
        let column = min(n, (p_n - 1u) & 0xfffffffcu);
        let end = select(0xffffffffu, last - 1u, TAIL == 1u);
        x = inside(load_b4(batch, min(k, end), column), k, last);
        y = inside(load_b4(batch, min(k + 1u, end), column), k + 1u, last);
        z = inside(load_b4(batch, min(k + 2u, end), column), k + 2u, last);
        w = inside(load_b4(batch, min(k + 3u, end), column), k + 3u, last);
    } else {
        let end = p_n - 1u;
        let at = select(k, min(k, (last - 1u) & 0xfffffffcu), TAIL == 1u);
        let r0 = inside4(load_b4(batch, at, min(n, end)), k, last);
        let r1 = inside4(load_b4(batch, at, min(n + 1u, end)), k, last);
        let r2 = inside4(load_b4(batch, at, min(n + 2u, end)), k, last);
        let r3 = inside4(load_b4(batch, at, min(n + 3u, end)), k, last);
        x = vec4<T>(r0.x, r1.x, r2.x, r3.x);
        y = vec4<T>(r0.y, r1.y, r2.y, r3.y);
        z = vec4<T>(r0.z, r1.z, r2.z, r3.z);
        w = vec4<T>(r0.w, r1.w, r2.w, r3.w);
    }
    tile_b[to] = vec4<S>(x);
    tile_b[to + PITCH_B] = vec4<S>(y);
    tile_b[to + 2u * PITCH_B] = vec4<S>(z);
    tile_b[to + 3u * PITCH_B] = vec4<S>(w);
}

fn pick(i: u32, x0: vec4<T>, x1: vec4<T>, x2: vec4<T>, x3: vec4<T>) -> vec4<T> {
    return select(select(x0, x1, i == 1u), select(x2, x3, i == 3u), i >= 2u);
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let tiles_m = (p_m + TILE_M - 1u) / TILE_M;
    let tiles_n = (p_n + TILE_N - 1u) / TILE_N;
    let task = p_first + group.x + group.y * groups.x;
    let slab = task / tiles_n / tiles_m;
    if slab >= p_batches * p_parts {
        return;
    }
    let tile = task % (tiles_n * tiles_m);
    let panel = tile / (PANEL * tiles_n) * PANEL;
    let height = min(PANEL, tiles_m - panel);
    let within = tile % (PANEL * tiles_n);
    let m = (panel + within % height) * TILE_M;
    let n = within / height * TILE_N;
    let batch = slab % p_batches;
    let first = slab / p_batches * p_chunk;
    let last = min(first + p_chunk, p_k);
    let lane_m = lane / GROUP_N;
    let lane_n = lane % GROUP_N;
    // the blocks that this invocation brings: neighbours read what lies side by side
    const DEEP: u32 = DEPTH / 4u;
    let a_m = select(lane % (TILE_M / 4u), lane / DEEP, A_ALONG_K == 1u);
    let a_k = select(lane / (TILE_M / 4u), lane % DEEP, A_ALONG_K == 1u) * 4u;
    let other = lane - (GROUP - BLOCKS_B);
    let b_n = select(other / DEEP, other % (TILE_N / 4u), B_ALONG_N == 1u);
    let b_k = select(other % DEEP, other / (TILE_N / 4u), B_ALONG_N == 1u) * 4u;
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
    for (var k = first; k < last; k += DEPTH) {
        workgroupBarrier();
        if lane < BLOCKS_A {
            fill_a(batch, m + a_m * 4u, k + a_k, last, a_k * PITCH_A + a_m);
        }
        if lane >= GROUP - BLOCKS_B {
            fill_b(batch, k + b_k, n + b_n * 4u, last, b_k * PITCH_B + b_n);
        }
        workgroupBarrier();
        for (var step = 0u; step < DEPTH; step += 4u) {
            let from_a = step * PITCH_A + lane_m;
            let from_b = step * PITCH_B + lane_n;
            for (var s = 0u; s < EACH_STEP; s++) {
                let a = vec4<T>(tile_a[from_a + s * PITCH_A]);
                let b = vec4<T>(tile_b[from_b + s * PITCH_B]);
                c0 += a.x * b;
                c1 += a.y * b;
                c2 += a.z * b;
                c3 += a.w * b;
                if COLUMNS == 2u {
                    let d = vec4<T>(tile_b[from_b + s * PITCH_B + GROUP_N]);
                    c4 += a.x * d;
                    c5 += a.y * d;
                    c6 += a.z * d;
                    c7 += a.w * d;
                }
                if ROWS == 2u {
                    let e = vec4<T>(tile_a[from_a + s * PITCH_A + GROUP_M]);
                    c8 += e.x * b;
                    c9 += e.y * b;
                    c10 += e.z * b;
                    c11 += e.w * b;
                    if COLUMNS == 2u {
                        let d = vec4<T>(tile_b[from_b + s * PITCH_B + GROUP_N]);
                        c12 += e.x * d;
                        c13 += e.y * d;
                        c14 += e.z * d;
                        c15 += e.w * d;
                    }
                }
            }
        }
    }
    // one place that stores: what is fused behind the product stands in the kernel once
    for (var i = 0u; i < 4u * ROWS * COLUMNS; i++) {
        let right = i % COLUMNS;
        let row = i / COLUMNS;
        var c = pick(row % 4u, c0, c1, c2, c3);
        if COLUMNS == 2u { c = select(c, pick(row % 4u, c4, c5, c6, c7), right == 1u); }
        if ROWS == 2u {
            var low = pick(row % 4u, c8, c9, c10, c11);
            if COLUMNS == 2u { low = select(low, pick(row % 4u, c12, c13, c14, c15), right == 1u); }
            c = select(c, low, row >= 4u);
        }
        let to_m = m + (lane_m + row / 4u * GROUP_M) * 4u + row % 4u;
        write(slab, to_m, n + (lane_n + right * GROUP_N) * 4u, c);
    }
}
